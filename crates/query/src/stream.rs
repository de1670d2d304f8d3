//! Numbered topics as streams: from a sequence on, then live; one thread per stream reads the log.

use crate::error;
use crate::shared::Shared;
use futures::{Stream, StreamExt};
use prost::Message;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use touchline_log::consumer::{Consumer, Position, Verdict};
use touchline_log::publish::sequence_in;
use touchline_log::{Error, Log, StoredRecord, last_record};
use touchline_model::id::CellKey;
use touchline_model::output::Stream as Numbered;
use touchline_proto::v1;

/// Records that wait for a slow receiver; then reading pauses.
const WAITING_MAX: usize = 256;
/// Looks again after this even when the signal was silent; also how long a closed stream keeps its thread.
const IDLE: Duration = Duration::from_secs(1);

/// How long a position that is ahead of all that is published may turn out not to be: whoever read it elsewhere may
/// have seen it before the log here shows it.
const AHEAD_WAIT: Duration = Duration::from_secs(1);

/// Records as a receiver gets them.
pub(crate) type Records<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// A message of a numbered topic.
pub(crate) trait Sequenced: Message + Default + Send + 'static {
    /// Its topic.
    const STREAM: Numbered;
    /// Cell key of the contact.
    fn contact(&self) -> &str;
}

impl Sequenced for v1::Touch {
    const STREAM: Numbered = Numbered::Touches;

    fn contact(&self) -> &str {
        &self.contact
    }
}

impl Sequenced for v1::TagChange {
    const STREAM: Numbered = Numbered::TagChanges;

    fn contact(&self) -> &str {
        &self.contact
    }
}

/// Opens a stream behind the positions (partition → last sequence the receiver has).
pub(crate) async fn open<M: Sequenced>(
    shared: Arc<Shared>,
    positions: HashMap<u32, u64>,
    tenant: String,
) -> Result<Records<M>, Status> {
    let partitions = shared.log.partitions();
    if let Some(unknown) = positions.keys().find(|partition| **partition >= partitions) {
        return Err(error::invalid("positions", format!("partition {unknown} does not exist, there are {partitions}")));
    }
    let permit = Arc::clone(&shared.streams).try_acquire_owned().map_err(|_| {
        let message = "as many streams are open as this server serves\nhint: close one, or raise the limit";
        error::status(Code::ResourceExhausted, "TOO_MANY_STREAMS", message)
    })?;
    let known = positions.clone();
    shared.ask_log(move |log| check_positions(log, M::STREAM, &known)).await?;
    let last = |partition| positions.get(&partition).copied().unwrap_or(0);
    let behind = |partition| Consumer::new(M::STREAM.into(), Position::after(partition, last(partition)));
    let consumers = (0..partitions).map(behind).collect();
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let reader = Reader { shared: Arc::clone(&shared), consumers, tenant, sender, _permit: permit };
    let thread = std::thread::Builder::new().name(format!("stream-{}", M::STREAM.name()));
    thread.spawn(move || reader.run()).map_err(|_| {
        error::unavailable("NO_THREAD", "the system has no thread left for the stream\nhint: try again later")
    })?;
    // Dropping the receiver is what ends the thread, also when it waits for a slow client.
    Ok(ReceiverStream::new(receiver).take_until(Box::pin(shared.stopped())).boxed())
}

/// Refuses positions that nothing published has reached: they are of another log.
fn check_positions(log: &dyn Log, stream: Numbered, positions: &HashMap<u32, u64>) -> Result<(), Status> {
    let give_up_at = Instant::now() + AHEAD_WAIT;
    for (&partition, &last) in positions.iter().filter(|(_, last)| **last > 0) {
        loop {
            let seen = log.signal().count();
            let highest = highest(log, stream, partition, last).map_err(|error| error::log(&error))?;
            if last <= highest {
                break;
            }
            let left = give_up_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = format!("sequence {last} of partition {partition} is after the last one, {highest}");
                return Err(error::status(Code::OutOfRange, "POSITION_AHEAD", message));
            }
            log.signal().wait_past(seen, left);
        }
    }
    Ok(())
}

/// The highest sequence known, as far as it takes to know whether there is a `wanted` one. Records can be read, and
/// were delivered, before the marker that goes with them.
fn highest(log: &dyn Log, stream: Numbered, partition: u32, wanted: u64) -> Result<u64, Error> {
    let published = log.published(partition)?.sequences[stream.index()];
    if published >= wanted {
        return Ok(published);
    }
    let is_numbered = |record: &StoredRecord| sequence_in(&record.headers).is_some();
    let last = last_record(log, stream.into(), partition, &is_numbered)?;
    Ok(last.and_then(|last| sequence_in(&last.headers)).unwrap_or(0).max(published))
}

struct Reader<M> {
    shared: Arc<Shared>,
    /// Behind what was delivered, by partition.
    consumers: Vec<Consumer>,
    tenant: String,
    sender: mpsc::Sender<Result<M, Status>>,
    _permit: OwnedSemaphorePermit,
}

/// Why a stream ends.
enum End {
    Gone,
    Failed(Status),
}

impl<M: Sequenced> Reader<M> {
    fn run(mut self) {
        while !self.sender.is_closed() && !self.shared.is_stopping() {
            let seen = self.shared.log.signal().count();
            match self.round() {
                Ok(true) => {}
                Ok(false) => {
                    self.shared.log.signal().wait_past(seen, IDLE);
                }
                Err(End::Gone) => return,
                Err(End::Failed(status)) => {
                    // If nobody listens any more there is nobody to tell.
                    let _ = self.sender.blocking_send(Err(status));
                    return;
                }
            }
        }
    }

    /// Delivers one read of every partition, so that they take turns; whether there was anything.
    fn round(&mut self) -> Result<bool, End> {
        let mut moved = false;
        for consumer in &mut self.consumers {
            let there = consumer.peek(&*self.shared.log).map_err(|error| End::Failed(error::log(&error)))?;
            moved |= there.is_some();
            while let Some((record, verdict)) = consumer.take() {
                match verdict {
                    Verdict::Next => {}
                    Verdict::Gap => {
                        crate::metrics::gap(M::STREAM.into());
                        continue;
                    }
                    Verdict::Repeat | Verdict::Foreign => continue,
                }
                let lost = consumer.alarms().lost;
                if lost > 0 {
                    let Position { partition, sequence, .. } = consumer.position();
                    let (first, last) = (sequence - lost, sequence - 1);
                    let message = format!("partition {partition} no longer holds sequences {first} to {last}");
                    return Err(End::Failed(error::status(Code::OutOfRange, "TRUNCATED", message)));
                }
                // The receiver sees what does not decode as a gap.
                let Ok(message) = M::decode(record.value.as_slice()) else {
                    crate::metrics::undecodable(M::STREAM.into());
                    continue;
                };
                let wanted = self.tenant.is_empty()
                    || CellKey::parse(message.contact()).is_ok_and(|contact| contact.tenant() == self.tenant);
                if wanted && self.sender.blocking_send(Ok(message)).is_err() {
                    return Err(End::Gone);
                }
            }
        }
        Ok(moved)
    }
}
