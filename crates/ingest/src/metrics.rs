//! Metrics of ingest: names exactly as Prometheus shows them. Labels come from closed sets.

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use std::time::Duration;
use touchline_model::event::Channel;

/// Events taken in, by channel and result: accepted, rejected (content), failed (log).
pub const EVENTS_INGESTED_TOTAL: &str = "touchline_events_ingested_total";
/// Requests, archive lines and relayed messages refused before anything was appended, by channel and reason.
pub const WEBHOOK_REJECTED_TOTAL: &str = "touchline_webhook_rejected_total";
/// From handing events to the log until it answered.
pub const INGEST_APPEND_DURATION_SECONDS: &str = "touchline_ingest_append_duration_seconds";
/// Requests of tracked links, by result: recorded, not_durable, preview, invalid.
pub const LINK_CLICKS_TOTAL: &str = "touchline_link_clicks_total";
/// Events accepted without their time, which lay before 2000 or after 2200: append time serves instead.
pub const EVENT_TIMES_DROPPED_TOTAL: &str = "touchline_event_times_dropped_total";

/// Registers the help texts; call it once, after the recorder is installed.
pub fn describe() {
    describe_counter!(EVENTS_INGESTED_TOTAL, "Events taken in, by channel and result (accepted, rejected, failed)");
    describe_counter!(
        WEBHOOK_REJECTED_TOTAL,
        "Requests, archive lines and relayed messages refused, by channel and reason"
    );
    describe_histogram!(INGEST_APPEND_DURATION_SECONDS, Unit::Seconds, "Time until the log answered an append");
    describe_counter!(LINK_CLICKS_TOTAL, "Requests of tracked links, by result");
    describe_counter!(EVENT_TIMES_DROPPED_TOTAL, "Events accepted without their implausible time, by channel");
}

/// What became of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventResult {
    Accepted,
    Rejected,
    Failed,
}

/// What became of one request of a tracked link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClickResult {
    Recorded,
    NotDurable,
    Preview,
    Invalid,
}

pub(crate) fn event(channel: Channel, result: EventResult) {
    let result = match result {
        EventResult::Accepted => "accepted",
        EventResult::Rejected => "rejected",
        EventResult::Failed => "failed",
    };
    counter!(EVENTS_INGESTED_TOTAL, "channel" => channel.name(), "result" => result).increment(1);
}

pub(crate) fn rejected(channel: Channel, reason: &'static str) {
    counter!(WEBHOOK_REJECTED_TOTAL, "channel" => channel.name(), "reason" => reason).increment(1);
}

pub(crate) fn append_took(duration: Duration) {
    histogram!(INGEST_APPEND_DURATION_SECONDS).record(duration.as_secs_f64());
}

pub(crate) fn click(result: ClickResult) {
    let result = match result {
        ClickResult::Recorded => "recorded",
        ClickResult::NotDurable => "not_durable",
        ClickResult::Preview => "preview",
        ClickResult::Invalid => "invalid",
    };
    counter!(LINK_CLICKS_TOTAL, "result" => result).increment(1);
}

pub(crate) fn time_dropped(channel: Channel) {
    counter!(EVENT_TIMES_DROPPED_TOTAL, "channel" => channel.name()).increment(1);
}
