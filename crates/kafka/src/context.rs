//! What librdkafka tells its clients: logs and errors.

use crate::metrics;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Logs and counts errors of one kind of client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quiet(pub(crate) &'static str);

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log(self.0, level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        report(self.0, &error, reason);
    }
}

impl ConsumerContext for Quiet {}

/// One line of librdkafka's own log.
pub(crate) fn log(client: &'static str, level: RDKafkaLogLevel, fac: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(client, fac, message, "kafka client");
        }
        _ => tracing::debug!(client, fac, message, "kafka client"),
    }
}

/// An error that is not the answer to a call: librdkafka goes on by itself.
pub(crate) fn report(client: &'static str, error: &KafkaError, reason: &str) {
    // The end of a partition is asked for (`enable.partition.eof`) and comes here as well: no error.
    if matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
        return;
    }
    metrics::client_error(client);
    tracing::warn!(client, %error, reason, "kafka client reports an error");
}
