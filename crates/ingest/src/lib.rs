//! Taking events in: webhooks of the channels, tracked links, `POST /v1/events` and gRPC `IngestService`.
//!
//! What it is: transport around `touchline-channels` (verify, decode) and `touchline-log` (append). It reads bodies
//! within bounds and time limits, answers what each caller expects, and counts.
//! What it is not: it dedupes nothing (the engine does, by event id), keeps no state and knows no processor or query.
//!
//! **Invariants**: an answer of success means that the log holds the events durably (only a tracked link's redirect
//! does not wait for ever, see [`Ingest::router`]); what is rejected never enters the log; outside callers cannot
//! send ticks, loopback records, commands or channel `internal`; no answer, log line or label carries a payload,
//! a secret or an identifier.
//!
//! Replay protection is the event id alone: a callback sent again is the same event. There is no window on the
//! channels' timestamps, since their retries and our outages are longer than any window would be.

mod faults;
mod grpc;
mod http;
mod metrics;
mod options;
mod publish;
mod settings;
#[cfg(test)]
mod testing;

pub use faults::KILL_AT;
pub use grpc::Grpc;
pub use http::{Ingest, Probes};
pub use metrics::{
    EVENT_TIMES_DROPPED_TOTAL, EVENTS_INGESTED_TOTAL, INGEST_APPEND_DURATION_SECONDS, LINK_CLICKS_TOTAL,
    WEBHOOK_REJECTED_TOTAL, describe,
};
pub use options::{ArchiveOptions, Options, TenantOptions, WecomOptions, YouzanOptions};
pub use publish::{Publisher, Unpublished};
pub use settings::{Archive, Limits, OptionsError, Settings};
