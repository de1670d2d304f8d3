//! Names of the metrics of this crate, as Prometheus shows them.

use std::time::Duration;
use touchline_log::Topic;

/// Time to evaluate a condition, by kind of question: count, list, board, segments.
pub const SEGMENT_QUERY_SECONDS: &str = "touchline_segment_query_duration_seconds";
/// Next offset of `events` that the read model reflects, by partition.
pub const APPLIED_OFFSET: &str = "touchline_readmodel_applied_offset";
/// Contacts in the read model, merged ones not counted.
pub const CONTACTS: &str = "touchline_readmodel_contacts";
/// Records of a numbered topic that were not the next one, by topic. They are ignored; the repair comes after them.
pub const GAPS_TOTAL: &str = "touchline_readmodel_gaps_total";
/// Records of a topic that could not be decoded, by topic. They are skipped and stay in the log.
pub const UNDECODABLE_TOTAL: &str = "touchline_readmodel_undecodable_total";
/// Answers of the gRPC services, by method and status code.
pub const GRPC_REQUESTS_TOTAL: &str = "touchline_grpc_requests_total";

/// Tells the recorder what the metrics mean.
pub fn describe() {
    metrics::describe_histogram!(SEGMENT_QUERY_SECONDS, metrics::Unit::Seconds, "time to evaluate a condition");
    metrics::describe_gauge!(APPLIED_OFFSET, "next offset of events that the read model reflects");
    metrics::describe_gauge!(CONTACTS, "contacts in the read model");
    metrics::describe_counter!(GAPS_TOTAL, "records ignored because a sequence before them is missing");
    metrics::describe_counter!(UNDECODABLE_TOTAL, "records skipped because they could not be decoded");
    metrics::describe_counter!(GRPC_REQUESTS_TOTAL, "answers of the gRPC services");
}

pub(crate) fn evaluated(kind: &'static str, took: Duration) {
    metrics::histogram!(SEGMENT_QUERY_SECONDS, "kind" => kind).record(took.as_secs_f64());
}

pub(crate) fn applied(partition: u32, offset: u64) {
    // A gauge is a float; offsets beyond 2^53 lose their last digits there and nowhere else.
    metrics::gauge!(APPLIED_OFFSET, "partition" => partition.to_string()).set(offset as f64);
}

pub(crate) fn contacts(count: u64) {
    metrics::gauge!(CONTACTS).set(count as f64);
}

pub(crate) fn gap(topic: Topic) {
    metrics::counter!(GAPS_TOTAL, "topic" => topic.name()).increment(1);
}

pub(crate) fn undecodable(topic: Topic) {
    metrics::counter!(UNDECODABLE_TOTAL, "topic" => topic.name()).increment(1);
}

pub(crate) fn answered(method: &'static str, code: tonic::Code) {
    metrics::counter!(GRPC_REQUESTS_TOTAL, "method" => method, "code" => code_name(code)).increment(1);
}

/// Codes as gRPC spells them: a closed set.
const fn code_name(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::Ok => "OK",
        tonic::Code::Cancelled => "CANCELLED",
        tonic::Code::Unknown => "UNKNOWN",
        tonic::Code::InvalidArgument => "INVALID_ARGUMENT",
        tonic::Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        tonic::Code::NotFound => "NOT_FOUND",
        tonic::Code::AlreadyExists => "ALREADY_EXISTS",
        tonic::Code::PermissionDenied => "PERMISSION_DENIED",
        tonic::Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        tonic::Code::FailedPrecondition => "FAILED_PRECONDITION",
        tonic::Code::Aborted => "ABORTED",
        tonic::Code::OutOfRange => "OUT_OF_RANGE",
        tonic::Code::Unimplemented => "UNIMPLEMENTED",
        tonic::Code::Internal => "INTERNAL",
        tonic::Code::Unavailable => "UNAVAILABLE",
        tonic::Code::DataLoss => "DATA_LOSS",
        tonic::Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
