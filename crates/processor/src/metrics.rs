//! Metrics of the processor: names exactly as Prometheus shows them.
//!
//! Outputs are counted when they are first published, never when they are replayed, so the counters
//! of a run without restarts agree with the topics. Labels come from closed sets.

use crate::batch::Applied;
use crate::outbox::Tally;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::time::Duration;
use touchline_engine::HOPS_ALARM;
use touchline_log::Topic;
use touchline_model::time::{Span, Time};
use touchline_store::Origin;

/// Time to read, apply and write one batch.
pub const BATCH_DURATION_SECONDS: &str = "touchline_processor_batch_duration_seconds";
/// Events applied for the first time, by channel and behaviour.
pub const EVENTS_APPLIED_TOTAL: &str = "touchline_events_applied_total";
/// Tag changes published, by operation (set, unset, swap).
pub const TAG_CHANGES_TOTAL: &str = "touchline_tag_changes_total";
/// Cards moved by published tag changes.
pub const STAGE_MOVES_TOTAL: &str = "touchline_stage_moves_total";
/// Touches published, by state.
pub const TOUCHES_TOTAL: &str = "touchline_touches_total";
/// How long after its due moment a touch was decided, on the partition's clock.
pub const TOUCH_LATENESS_SECONDS: &str = "touchline_touch_lateness_seconds";
/// Records put aside, by reason; they do not heal by themselves.
pub const DEAD_LETTERS_TOTAL: &str = "touchline_dead_letters_total";
/// Events whose id was applied before: dropped, as they should be.
pub const DUPLICATES_TOTAL: &str = "touchline_duplicates_total";
/// Loopback records that were not the next one: repeats after a failure; dropped, as they should be.
pub const LOOP_IGNORED_TOTAL: &str = "touchline_loop_ignored_total";
/// Events that passed eight forwards or more: chains of merged contacts are not that long.
pub const DEEP_FORWARDS_TOTAL: &str = "touchline_deep_forwards_total";
/// Records that did not fit the log and lost words or lists, by topic; counted again when replayed.
pub const RECORDS_CUT_TOTAL: &str = "touchline_records_cut_total";
/// Tags on phones that the directory does not map to a tag of a playbook; each is counted when it is first seen of a
/// contact, and counts with the next observation once the directory has it.
pub const TAGS_UNKNOWN_TOTAL: &str = "touchline_tags_unknown_total";
/// Rules that did not run because what sets them off came in the last round of a record; the compiler warned (PW004).
pub const ROUNDS_CUT_TOTAL: &str = "touchline_rounds_cut_total";
/// Timers fired.
pub const TIMERS_FIRED_TOTAL: &str = "touchline_timers_fired_total";
/// Cells looked at because a bundle came into force; at rest again when all of the tenant's have been.
pub const CONTACTS_SETTLED_TOTAL: &str = "touchline_contacts_settled_total";
/// Records of events not applied yet.
pub const CONSUMER_LAG_RECORDS: &str = "touchline_consumer_lag_records";
/// How old the partition's clock is while records wait; 0 when none do.
pub const CONSUMER_LAG_SECONDS: &str = "touchline_consumer_lag_seconds";
/// Publications, by outcome: ok, or failed (tried again).
pub const PUBLICATIONS_TOTAL: &str = "touchline_publications_total";
/// Entries in the outbox.
pub const OUTBOX_RECORDS: &str = "touchline_outbox_records";
/// Partitions opened, by where their state came from: local, checkpoint, empty.
pub const PARTITIONS_OPENED_TOTAL: &str = "touchline_partitions_opened_total";
/// Checkpoints, by outcome: kept, failed, or refused when they were to be used.
pub const CHECKPOINTS_TOTAL: &str = "touchline_checkpoints_total";
/// Offset of the newest checkpoint.
pub const CHECKPOINT_OFFSET: &str = "touchline_checkpoint_offset";
/// How long a partition paused for a checkpoint.
pub const CHECKPOINT_STALL_SECONDS: &str = "touchline_checkpoint_stall_seconds";
/// Clock of the partition, in seconds since 1970.
pub const PARTITION_CLOCK_SECONDS: &str = "touchline_partition_clock_seconds";

/// Registers the help texts; call it once, after the recorder is installed.
pub fn describe() {
    describe_histogram!(BATCH_DURATION_SECONDS, Unit::Seconds, "Time to read, apply and write one batch");
    describe_counter!(EVENTS_APPLIED_TOTAL, "Events applied for the first time, by channel and behaviour");
    describe_counter!(TAG_CHANGES_TOTAL, "Tag changes published, by operation");
    describe_counter!(STAGE_MOVES_TOTAL, "Cards moved by published tag changes");
    describe_counter!(TOUCHES_TOTAL, "Touches published, by state");
    describe_histogram!(TOUCH_LATENESS_SECONDS, Unit::Seconds, "How long after its due moment a touch was decided");
    describe_counter!(DEAD_LETTERS_TOTAL, "Records put aside, by reason");
    describe_counter!(DUPLICATES_TOTAL, "Events dropped because their id was applied before");
    describe_counter!(LOOP_IGNORED_TOTAL, "Loopback records dropped because they were not the next one");
    describe_counter!(DEEP_FORWARDS_TOTAL, "Events that passed eight forwards or more");
    describe_counter!(RECORDS_CUT_TOTAL, "Records that did not fit the log and lost words or lists");
    describe_counter!(TAGS_UNKNOWN_TOTAL, "Tags on phones that the directory does not map to a tag of a playbook");
    describe_counter!(ROUNDS_CUT_TOTAL, "Rules that did not run because a record has 8 rounds");
    describe_counter!(CONTACTS_SETTLED_TOTAL, "Cells looked at because a bundle came into force");
    describe_counter!(TIMERS_FIRED_TOTAL, "Timers fired");
    describe_gauge!(CONSUMER_LAG_RECORDS, "Records of events not applied yet");
    describe_gauge!(CONSUMER_LAG_SECONDS, Unit::Seconds, "How old the clock of the partition is while records wait");
    describe_counter!(PUBLICATIONS_TOTAL, "Publications, by outcome");
    describe_gauge!(OUTBOX_RECORDS, "Entries in the outbox");
    describe_counter!(PARTITIONS_OPENED_TOTAL, "Partitions opened, by where their state came from");
    describe_counter!(CHECKPOINTS_TOTAL, "Checkpoints, by outcome");
    describe_gauge!(CHECKPOINT_OFFSET, "Offset of the newest checkpoint");
    describe_histogram!(CHECKPOINT_STALL_SECONDS, Unit::Seconds, "How long a partition paused for a checkpoint");
    describe_gauge!(PARTITION_CLOCK_SECONDS, Unit::Seconds, "Clock of the partition, seconds since 1970");
}

/// Counts a batch; records below `live_from` are replayed ones.
pub(crate) fn applied(batch: &Applied, live_from: u64, duration: Duration) {
    histogram!(BATCH_DURATION_SECONDS).record(duration.as_secs_f64());
    for noted in batch.notes.iter().filter(|noted| noted.offset >= live_from) {
        let notes = &noted.notes;
        if notes.duplicate {
            counter!(DUPLICATES_TOTAL).increment(1);
        } else if let Some((_, channel, behaviour)) = noted.event {
            counter!(EVENTS_APPLIED_TOTAL, "channel" => channel.name(), "behaviour" => behaviour).increment(1);
        }
        if notes.loop_ignored {
            counter!(LOOP_IGNORED_TOTAL).increment(1);
        }
        if notes.hops >= HOPS_ALARM {
            counter!(DEEP_FORWARDS_TOTAL).increment(1);
        }
        if notes.tags_unknown > 0 {
            counter!(TAGS_UNKNOWN_TOTAL).increment(u64::from(notes.tags_unknown));
        }
        if notes.rounds_cut > 0 {
            counter!(ROUNDS_CUT_TOTAL).increment(u64::from(notes.rounds_cut));
        }
        if notes.contacts_settled > 0 {
            counter!(CONTACTS_SETTLED_TOTAL).increment(u64::from(notes.contacts_settled));
        }
        if notes.timers_fired > 0 {
            counter!(TIMERS_FIRED_TOTAL).increment(u64::from(notes.timers_fired));
        }
    }
}

/// Counts what a publication holds.
pub(crate) fn published(tallies: Vec<Tally>) {
    counter!(PUBLICATIONS_TOTAL, "outcome" => "ok").increment(1);
    for tally in tallies {
        match tally {
            Tally::TagChange { operation, moves } => {
                counter!(TAG_CHANGES_TOTAL, "op" => operation.name()).increment(1);
                counter!(STAGE_MOVES_TOTAL).increment(moves as u64);
            }
            Tally::Touch { state, lateness_ms } => {
                counter!(TOUCHES_TOTAL, "state" => state).increment(1);
                if let Some(lateness) = lateness_ms {
                    let lateness = Duration::from_millis(lateness.unsigned_abs());
                    histogram!(TOUCH_LATENESS_SECONDS).record(lateness.as_secs_f64());
                }
            }
            Tally::CommandResult => {}
            Tally::DeadLetter { reason } => counter!(DEAD_LETTERS_TOTAL, "reason" => reason).increment(1),
        }
    }
}

/// Counts a record that was cut to fit the log.
pub(crate) fn record_cut(topic: Topic) {
    counter!(RECORDS_CUT_TOTAL, "topic" => topic.name()).increment(1);
}

/// Counts a publication whose outcome is not known.
pub(crate) fn publication_failed() {
    counter!(PUBLICATIONS_TOTAL, "outcome" => "failed").increment(1);
}

/// Counts an opened partition.
pub(crate) fn opened(origin: Option<Origin>) {
    let origin = match origin {
        Some(Origin::Local) => "local",
        Some(Origin::Checkpoint { .. }) => "checkpoint",
        Some(Origin::Empty) | None => "empty",
    };
    counter!(PARTITIONS_OPENED_TOTAL, "origin" => origin).increment(1);
}

/// Counts a checkpoint that can be used from now on.
#[allow(clippy::cast_precision_loss, reason = "gauges are floats; offsets are far below 2^53")]
pub(crate) fn checkpoint_kept(partition: u32, offset: u64) {
    counter!(CHECKPOINTS_TOTAL, "outcome" => "kept").increment(1);
    gauge!(CHECKPOINT_OFFSET, "partition" => partition.to_string()).set(offset as f64);
}

/// Counts a checkpoint that was not made.
pub(crate) fn checkpoint_failed() {
    counter!(CHECKPOINTS_TOTAL, "outcome" => "failed").increment(1);
}

/// Counts a checkpoint that could not be used.
pub(crate) fn checkpoint_refused() {
    counter!(CHECKPOINTS_TOTAL, "outcome" => "refused").increment(1);
}

/// Notes how long a partition paused.
pub(crate) fn checkpoint_stall(stall: Duration) {
    histogram!(CHECKPOINT_STALL_SECONDS).record(stall.as_secs_f64());
}

/// Sets the gauges of a partition.
#[allow(clippy::cast_precision_loss, reason = "gauges are floats; these numbers are far below 2^53")]
pub(crate) fn standing(partition: u32, lag_records: u64, lag: Span, outbox: usize, clock: Option<Time>) {
    let label = partition.to_string();
    gauge!(CONSUMER_LAG_RECORDS, "partition" => label.clone()).set(lag_records as f64);
    gauge!(CONSUMER_LAG_SECONDS, "partition" => label.clone()).set(lag.0 as f64 / 1_000.0);
    gauge!(OUTBOX_RECORDS, "partition" => label.clone()).set(outbox as f64);
    if let Some(clock) = clock {
        gauge!(PARTITION_CLOCK_SECONDS, "partition" => label).set(clock.0 as f64 / 1_000.0);
    }
}
