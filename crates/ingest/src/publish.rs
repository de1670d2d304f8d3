//! Events → durable records: partition by native key, one append per partition, all acknowledgements awaited.

use crate::faults::KillPoint;
use crate::metrics::{self, EventResult};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use touchline_log::{ADMITTED_BYTES_MAX, Log, NewRecord, Topic, Wall};
use touchline_model::event::{Channel, Event};
use touchline_model::id::{Position, partition_of};
use touchline_model::record::{Input, Undecodable};
use touchline_model::time::Time;
use touchline_proto::{check_event, encode_input, input_headers};

/// Appends events. `Ok` means durable.
pub struct Publisher {
    log: Arc<dyn Log>,
    wall: Arc<dyn Wall>,
    kill: KillPoint,
}

/// Why an event is not (known to be) in the log. Texts carry no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpublished {
    /// It breaks a rule that every record keeps; nothing was appended.
    #[error("malformed event: {0}")]
    Invalid(#[from] Undecodable),
    /// It does not fit a record; nothing was appended.
    #[error("the event takes {bytes} bytes as a record, at most {ADMITTED_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// More waits to become durable than the log holds; nothing was appended.
    #[error("the log is busy; hint: send the event again a little later, its id stays the same")]
    Busy,
    /// The log failed or closed. The event may or may not be there.
    #[error("the log failed; hint: send the event again, its id stays the same")]
    Failed,
    /// The log did not answer in time. The event may or may not be there.
    #[error("the log did not answer in time; hint: send the event again, its id stays the same")]
    Slow,
}

impl Unpublished {
    /// A word of a closed set, for answers and labels.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "malformed",
            Self::TooLarge { .. } => "oversized",
            Self::Busy => "log_busy",
            Self::Failed => "log_failed",
            Self::Slow => "log_slow",
        }
    }

    /// Whether the event itself is at fault: sending it again cannot help.
    pub const fn is_content(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::TooLarge { .. })
    }
}

/// The events of one request that go to one partition, with their places in the request.
#[derive(Default)]
struct Group {
    places: Vec<usize>,
    records: Vec<NewRecord>,
}

impl Publisher {
    /// A publisher into `log`; `wall` stamps `received_at`.
    pub fn new(log: Arc<dyn Log>, wall: Arc<dyn Wall>) -> Self {
        Self { log, wall, kill: KillPoint::from_env() }
    }

    /// Ingest's clock.
    pub fn now(&self) -> Time {
        self.wall.now()
    }

    /// The log's partitions and identity, for consistency tokens.
    pub(crate) fn log(&self) -> &dyn Log {
        &*self.log
    }

    /// Appends events, grouped into one append per partition, and waits at most `wait` for all acknowledgements.
    /// One result per event, in order. Dropping the future appends or not, like a crash.
    pub async fn publish(&self, events: Vec<Event>, wait: Duration) -> Vec<Result<Position, Unpublished>> {
        let channels: Vec<Channel> = events.iter().map(|event| event.channel).collect();
        // Overwritten for every event below: by its own fault or by its group's acknowledgement.
        let mut results = vec![Err(Unpublished::Failed); events.len()];
        let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
        for (place, event) in events.into_iter().enumerate() {
            match record(event) {
                Ok((key, record)) => {
                    let group = groups.entry(partition_of(key.as_bytes(), self.log.partitions())).or_default();
                    group.places.push(place);
                    group.records.push(record);
                }
                Err(error) => results[place] = Err(error),
            }
        }
        for (partition, places, appended) in self.append(groups, wait).await {
            for (nth, place) in places.into_iter().enumerate() {
                results[place] = appended.clone().map(|first| Position { partition, offset: first + nth as u64 });
            }
        }
        if results.iter().any(Result::is_ok) {
            self.kill.reached();
        }
        for (channel, result) in channels.into_iter().zip(&results) {
            metrics::event(channel, outcome(result));
        }
        results
    }

    /// Appends all groups at once; per group the offset of its first record.
    async fn append(
        &self,
        groups: BTreeMap<u32, Group>,
        wait: Duration,
    ) -> Vec<(u32, Vec<usize>, Result<u64, Unpublished>)> {
        if groups.is_empty() {
            return Vec::new();
        }
        let started = Instant::now();
        let acks = groups.into_iter().map(|(partition, group)| {
            let ack = self.log.append(Topic::Events, partition, group.records);
            async move {
                let appended = match tokio::time::timeout(wait, ack).await {
                    Ok(Ok(Ok(appended))) => Ok(appended.first_offset),
                    Ok(Ok(Err(error))) => Err(refused(partition, &error)),
                    Ok(Err(_)) => Err(refused(partition, &touchline_log::Error::Closed)),
                    Err(_) => Err(Unpublished::Slow),
                };
                (partition, group.places, appended)
            }
        });
        // Collected first: every append is handed over before the first acknowledgement is awaited.
        let acks: Vec<_> = acks.collect();
        let appended = join_all(acks).await;
        metrics::append_took(started.elapsed());
        appended
    }
}

fn record(event: Event) -> Result<(String, NewRecord), Unpublished> {
    check_event(&event)?;
    let key = event.key().to_string();
    let input = Input::Event(Box::new(event));
    let record =
        NewRecord { key: Some(key.as_bytes().to_vec()), headers: input_headers(&input), value: encode_input(&input) };
    let bytes = record.bytes();
    if bytes > ADMITTED_BYTES_MAX { Err(Unpublished::TooLarge { bytes }) } else { Ok((key, record)) }
}

fn refused(partition: u32, error: &touchline_log::Error) -> Unpublished {
    tracing::warn!(partition, %error, "events not appended");
    match error {
        touchline_log::Error::Busy { .. } => Unpublished::Busy,
        _ => Unpublished::Failed,
    }
}

fn outcome(result: &Result<Position, Unpublished>) -> EventResult {
    match result {
        Ok(_) => EventResult::Accepted,
        Err(error) if error.is_content() => EventResult::Rejected,
        Err(_) => EventResult::Failed,
    }
}
