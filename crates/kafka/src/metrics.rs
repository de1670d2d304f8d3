//! Metrics of the log on Kafka: names exactly as Prometheus shows them.

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use std::time::Duration;

/// Errors that librdkafka reports and heals itself from, mostly lost connections, by client.
pub const KAFKA_ERRORS_TOTAL: &str = "touchline_kafka_errors_total";
/// Time from handing a publication to the lane until it is known to be durable.
pub const COMMIT_DURATION_SECONDS: &str = "touchline_publish_commit_duration_seconds";
/// Takeovers that found records of a publication without its marker, or the reverse. In transactions never.
pub const TORN_TOTAL: &str = "touchline_publications_torn_total";
/// Partitions taken over, by outcome: ok or failed.
pub const TAKEOVERS_TOTAL: &str = "touchline_takeovers_total";

/// Registers the help texts; call it once, after the recorder is installed.
pub fn describe() {
    describe_counter!(KAFKA_ERRORS_TOTAL, "Errors reported by the Kafka client, by client");
    describe_histogram!(COMMIT_DURATION_SECONDS, Unit::Seconds, "Time until a publication is known to be durable");
    describe_counter!(TORN_TOTAL, "Takeovers that found records of a publication without its marker, or the reverse");
    describe_counter!(TAKEOVERS_TOTAL, "Partitions taken over, by outcome");
}

pub(crate) fn client_error(client: &'static str) {
    counter!(KAFKA_ERRORS_TOTAL, "client" => client).increment(1);
}

pub(crate) fn committed(duration: Duration) {
    histogram!(COMMIT_DURATION_SECONDS).record(duration.as_secs_f64());
}

pub(crate) fn torn() {
    counter!(TORN_TOTAL).increment(1);
}

pub(crate) fn taken_over(outcome: &'static str) {
    counter!(TAKEOVERS_TOTAL, "outcome" => outcome).increment(1);
}
