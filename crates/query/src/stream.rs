//! Numbered topics as streams: from a sequence on, then live; one thread per stream reads the log.

use crate::error;
use crate::shared::Shared;
use futures::{Stream, StreamExt};
use prost::Message;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use touchline_log::{Error, Topic};
use touchline_model::id::CellKey;
use touchline_model::output::Stream as Numbered;
use touchline_proto::v1;

/// Records that wait for a slow receiver; then reading pauses.
const WAITING_MAX: usize = 256;
/// Records read at once per partition: partitions take turns.
const BATCH_RECORDS: usize = 256;
/// Looks again after this even when the signal was silent; also how long a closed stream keeps its thread.
const IDLE: Duration = Duration::from_secs(1);

/// Records as a receiver gets them.
pub(crate) type Records<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// A message of a numbered topic.
pub(crate) trait Sequenced: Message + Default + Send + 'static {
    /// Its topic.
    const STREAM: Numbered;
    /// Its number in the partition.
    fn sequence(&self) -> u64;
    /// Cell key of the contact.
    fn contact(&self) -> &str;
}

impl Sequenced for v1::Touch {
    const STREAM: Numbered = Numbered::Touches;

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn contact(&self) -> &str {
        &self.contact
    }
}

impl Sequenced for v1::TagChange {
    const STREAM: Numbered = Numbered::TagChanges;

    fn sequence(&self) -> u64 {
        self.sequence
    }

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
    let mut lasts = Vec::new();
    for partition in 0..partitions {
        let last = positions.get(&partition).copied().unwrap_or(0);
        let published = shared.log.published(partition).map_err(|error| error::log(&error))?;
        let highest = published.sequences[M::STREAM.index()];
        if last > highest {
            let message = format!("sequence {last} of partition {partition} is after the last one, {highest}");
            return Err(error::status(Code::OutOfRange, "POSITION_AHEAD", message));
        }
        lasts.push(last);
    }
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let reader = Reader { shared: Arc::clone(&shared), lasts, tenant, sender, _permit: permit };
    let thread = std::thread::Builder::new().name(format!("stream-{}", M::STREAM.name()));
    thread.spawn(move || reader.run()).map_err(|_| {
        error::unavailable("NO_THREAD", "the system has no thread left for the stream\nhint: try again later")
    })?;
    // Dropping the receiver is what ends the thread, also when it waits for a slow client.
    Ok(ReceiverStream::new(receiver).take_until(Box::pin(shared.stopped())).boxed())
}

struct Reader<M> {
    shared: Arc<Shared>,
    /// Last sequence delivered, by partition.
    lasts: Vec<u64>,
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
        // The record with sequence n + 1 lies at offset n or, where records were repeated, later.
        let mut next = self.lasts.clone();
        while !self.sender.is_closed() && !self.shared.is_stopping() {
            let seen = self.shared.log.signal().count();
            let mut moved = false;
            for (partition, next) in next.iter_mut().enumerate() {
                match self.pump(partition, next) {
                    Ok(some) => moved |= some,
                    Err(End::Gone) => return,
                    Err(End::Failed(status)) => {
                        // If nobody listens any more there is nobody to tell.
                        let _ = self.sender.blocking_send(Err(status));
                        return;
                    }
                }
            }
            if !moved {
                self.shared.log.signal().wait_past(seen, IDLE);
            }
        }
    }

    /// Delivers what is there of one partition; whether there was anything.
    fn pump(&mut self, partition: usize, next: &mut u64) -> Result<bool, End> {
        let number = u32::try_from(partition).expect("partition counts are u32");
        let topic = Topic::from(M::STREAM);
        let records = self.shared.log.read(topic, number, *next, BATCH_RECORDS).map_err(|error| {
            End::Failed(match error {
                Error::Truncated { .. } => {
                    let message = format!("partition {number} no longer holds sequence {}", self.lasts[partition] + 1);
                    error::status(Code::OutOfRange, "TRUNCATED", message)
                }
                error => error::log(&error),
            })
        })?;
        let moved = !records.is_empty();
        for record in records {
            *next = record.offset + 1;
            // What does not decode has no number: the record after it shows as a gap.
            let Ok(message) = M::decode(record.value.as_slice()) else { continue };
            if message.sequence() != self.lasts[partition] + 1 {
                if message.sequence() > self.lasts[partition] + 1 {
                    crate::metrics::gap(topic);
                }
                continue;
            }
            self.lasts[partition] += 1;
            let wanted = self.tenant.is_empty()
                || CellKey::parse(message.contact()).is_ok_and(|contact| contact.tenant() == self.tenant);
            if wanted && self.sender.blocking_send(Ok(message)).is_err() {
                return Err(End::Gone);
            }
        }
        Ok(moved)
    }
}
