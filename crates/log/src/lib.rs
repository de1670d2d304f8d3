//! The log: partitioned, append-only topics, and publications that carry their marker.
//!
//! What it is: the [`Log`] trait with its contract in prose, a memory implementation for tests and
//! the simulator, and one contract suite that every implementation (memory, embedded, Kafka) passes.
//! What it is not: it knows nothing of events; records are bytes with a key and headers.

pub mod consumer;
pub mod contract;
pub mod lane;
pub mod memory;
pub mod publish;
pub mod signal;
pub mod wall;

use futures::channel::oneshot;
use thiserror::Error;
use touchline_model::output::Stream;
use touchline_model::time::Time;

pub use publish::{Marker, Publication, Published, Publisher, TakenOver};
pub use signal::Signal;
pub use touchline_model::headers::Headers;
pub use wall::{FollowingWall, ManualWall, SystemWall, Wall};

/// The topics. Same partition count everywhere; output partition = source partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Topic {
    Events,
    TagChanges,
    Touches,
    CommandResults,
    Contacts,
    DeadLetters,
}

impl Topic {
    /// Every topic, in the order of its byte in embedded keys.
    pub const ALL: [Self; 6] =
        [Self::Events, Self::TagChanges, Self::Touches, Self::CommandResults, Self::Contacts, Self::DeadLetters];

    /// The name without prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::TagChanges => "tag-changes",
            Self::Touches => "touches",
            Self::CommandResults => "command-results",
            Self::Contacts => "contacts",
            Self::DeadLetters => "dead-letters",
        }
    }
}

impl From<Stream> for Topic {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::TagChanges => Self::TagChanges,
            Stream::Touches => Self::Touches,
            Stream::CommandResults => Self::CommandResults,
            Stream::DeadLetters => Self::DeadLetters,
        }
    }
}

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewRecord {
    /// Key; `None` for records that name their partition.
    pub key: Option<Vec<u8>>,
    /// CloudEvents headers.
    pub headers: Headers,
    /// Protobuf.
    pub value: Vec<u8>,
}

impl NewRecord {
    /// Key, headers and value together, in bytes: what [`RECORD_BYTES_MAX`] bounds.
    pub fn bytes(&self) -> usize {
        bytes_of(self.key.as_deref(), &self.headers, &self.value)
    }
}

/// A record as it lies in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// 0, 1, 2 … (Kafka may skip some; a reader goes on from `offset + 1`).
    pub offset: u64,
    /// The log's clock when it was appended: never decreasing within a partition when embedded.
    pub append_time: Time,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Headers.
    pub headers: Headers,
    /// Value.
    pub value: Vec<u8>,
}

impl StoredRecord {
    /// Key, headers and value together, in bytes.
    pub fn bytes(&self) -> usize {
        bytes_of(self.key.as_deref(), &self.headers, &self.value)
    }
}

/// Why the log cannot go on.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// The medium failed or is full. The record may or may not be there: append it again with the same id.
    #[error("log failed: {0}")]
    Io(String),
    /// The log cannot be reached. The record may or may not be there. It passes: try again, however often.
    #[error("log cannot be reached: {0}")]
    Unavailable(String),
    /// The log is not set up as it has to be.
    #[error("log is not set up as it has to be: {0}")]
    Misconfigured(String),
    /// The log closed before the answer. The record may or may not be there.
    #[error("log is closed")]
    Closed,
    /// A record above [`RECORD_BYTES_MAX`]; nothing was appended.
    #[error("record of {bytes} bytes is larger than {RECORD_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// More is waiting to become durable than the log holds in memory; nothing was appended. Try again a little later.
    #[error("log is busy: {waiting_bytes} bytes wait to become durable\nhint: try again")]
    Busy {
        /// Bytes accepted and not yet durable.
        waiting_bytes: usize,
    },
    /// An append of no records; nothing was appended.
    #[error("append of no records")]
    Empty,
    /// A partition that the log does not have.
    #[error("no partition {partition} in a log of {partitions}")]
    NoPartition {
        /// Asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// Reading from an offset that is not there any more.
    #[error("offset {offset} is before the start {start} of the partition")]
    Truncated {
        /// Asked for.
        offset: u64,
        /// First there is.
        start: u64,
    },
    /// What was read is not what was written.
    #[error("log is damaged: {0}")]
    Damaged(String),
    /// Somebody took the partition over after this publisher did; nothing of the publication is there.
    #[error("partition {partition} was taken over by another process")]
    Fenced {
        /// Which.
        partition: u32,
    },
    /// The log did not give the partition to this process, or took it back.
    #[error("partition {partition} is not assigned to this process")]
    NotOwner {
        /// Which.
        partition: u32,
    },
}

/// Largest record (key + headers + value), in bytes: Kafka's default `message.max.bytes`.
pub const RECORD_BYTES_MAX: usize = 1_000_000;

/// Room that is left in a record for what is added later: another target and headers when an event is forwarded, a
/// reason and headers around it in a dead letter. Twice what both can take (two keys of 512 bytes, each three times).
const HEADROOM_BYTES: usize = 16 * 1024;

/// Largest event or command that may enter from outside, in bytes: so large, it can be forwarded and put aside whole.
pub const ADMITTED_BYTES_MAX: usize = RECORD_BYTES_MAX - HEADROOM_BYTES;

/// A read stops after the record that reaches this many bytes: what a reader holds in memory at once stays bounded.
pub const READ_BYTES_MAX: usize = 4 << 20;

/// Resolves when the append or publication is durable. Dropping it changes nothing.
pub type Ack<T> = oneshot::Receiver<Result<T, Error>>;

/// Waits on this thread for an acknowledgement. A log that went away without one is [`Error::Closed`].
pub fn wait<T>(ack: Ack<T>) -> Result<T, Error> {
    futures::executor::block_on(ack).unwrap_or(Err(Error::Closed))
}

/// Where the records of one append lie; without gaps when embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub first_offset: u64,
    /// Offset of the last record.
    pub last_offset: u64,
    /// Append time of the last record.
    pub append_time: Time,
}

/// Partitioned, append-only topics.
///
/// ```text
///   append ─▶ queued ─▶ fsync (one for many) ─▶ ack, visible to readers
///   offsets   0 1 2 3 4 5 │ 6 7            end() = 6: nothing past the fsync is ever read
/// ```
/// * [`Log::append`] keeps the order of calls made by one thread to one partition. The records of one
///   call lie next to each other among those of this process, in order.
/// * When the ack is `Ok`, the records survive kill -9 and power loss. When it is an error or the
///   process dies first, they may or may not be there (embedded: all or none; Kafka: any of them).
/// * [`Log::append`], [`Log::take_over`] and [`Publisher::publish`] never block on the medium; an append that does not
///   fit in memory is refused with [`Error::Busy`]: it passes. One record above [`RECORD_BYTES_MAX`] refuses the whole
///   call.
/// * [`Log::read`] never returns a record that could still be lost, nor one of a publication that is not whole.
/// * [`Log::published`] returns the marker of the last publication that is durable.
/// * [`Log::signal`] moves when something new became readable or an ack resolved.
pub trait Log: Send + Sync {
    /// Number of partitions of every topic.
    fn partitions(&self) -> u32;

    /// Identity of this log: stores of another log must not be used with it.
    fn cluster_id(&self) -> String;

    /// Appends records to one partition.
    fn append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended>;

    /// As [`Log::append`], for the cluster's own records (loopback, ticks): never [`Error::Busy`] when embedded, as
    /// whoever calls bounds them. A full queue of events from outside must not keep the cluster from emptying it.
    fn append_own(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        self.append(topic, partition, records)
    }

    /// At most `records_max` records from `offset` on; empty at or past the end. Stops early at [`READ_BYTES_MAX`].
    fn read(&self, topic: Topic, partition: u32, offset: u64, records_max: usize) -> Result<Vec<StoredRecord>, Error>;

    /// One past the last readable offset.
    fn end(&self, topic: Topic, partition: u32) -> Result<u64, Error>;

    /// [`Log::end`] for whoever reads a partition all the time and only wants to know how far behind it is. It may miss
    /// what another process appended within the last second, and may count what no reader will see (a mark of a
    /// transaction) until nothing has come for a moment.
    fn known_end(&self, topic: Topic, partition: u32) -> Result<u64, Error> {
        self.end(topic, partition)
    }

    /// Makes the caller the only publisher of a partition: every earlier one is fenced first, then what is published is
    /// found. [`Error::NotOwner`] where the log gives partitions out and did not give this one.
    fn take_over(&self, partition: u32) -> Ack<TakenOver>;

    /// The last durable marker; all zero when nothing was published yet. Whoever sees a marker can read everything that
    /// was published with it.
    fn published(&self, partition: u32) -> Result<Marker, Error>;

    /// Moves whenever there may be something to do.
    fn signal(&self) -> &Signal;
}

/// The last readable record of a partition that is `wanted`. Reads backwards in growing steps, so it is cheap where
/// such a record lies near the end. Topics with retention: `None` when it is gone.
pub fn last_record(
    log: &dyn Log,
    topic: Topic,
    partition: u32,
    wanted: &dyn Fn(&StoredRecord) -> bool,
) -> Result<Option<StoredRecord>, Error> {
    let end = log.end(topic, partition)?;
    let mut records_back = LAST_RECORDS_MIN;
    loop {
        let from = end.saturating_sub(records_back);
        let (mut offset, mut found) = (from, None);
        while offset < end {
            let records = match log.read(topic, partition, offset, LAST_RECORDS_READ) {
                Err(Error::Truncated { start, .. }) if start > offset => {
                    offset = start;
                    continue;
                }
                records => records?,
            };
            let Some(last) = records.last() else { break };
            offset = last.offset + 1;
            found = records.into_iter().rfind(|record| wanted(record)).or(found);
        }
        if found.is_some() || from == 0 {
            return Ok(found);
        }
        records_back = records_back.saturating_mul(16);
    }
}

/// How far [`last_record`] looks back at first.
const LAST_RECORDS_MIN: u64 = 16;
/// Records that [`last_record`] reads at once.
const LAST_RECORDS_READ: usize = 1_024;

fn bytes_of(key: Option<&[u8]>, headers: &Headers, value: &[u8]) -> usize {
    key.map_or(0, <[u8]>::len) + headers.bytes() + value.len()
}
