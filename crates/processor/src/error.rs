//! Why a partition stops.

use crate::faults::Point;
use touchline_engine::ViewError;
use touchline_log as log;
use touchline_store as store;

/// Why a partition cannot go on. Nothing is guessed: it stops with the message, the others go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log failed for good: every partition is concerned.
    #[error("{0}")]
    Log(#[from] log::Error),
    /// This partition's store failed.
    #[error("{0}")]
    Store(#[from] store::Error),
    /// This partition's state could not be read.
    #[error("{0}\nhint: remove the store's directory; it is rebuilt from the log")]
    State(#[from] ViewError),
    /// The store was filled from another log or for another partition.
    #[error("store belongs to {found}, not to {expected}\nhint: point the data directory at this cluster's stores")]
    ForeignStore {
        /// What the store says.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// The store has applied more than the log holds.
    #[error(
        "log ends at {end}, but {what} is at {offset}: the log lost data\nhint: restore the log; do not remove the store"
    )]
    LogLostData {
        /// `the store` or `the published marker`.
        what: &'static str,
        /// Where that is.
        offset: u64,
        /// End of the log.
        end: u64,
    },
    /// Retention took records that this state has not applied.
    #[error(
        "state is at {offset}, and retention took everything below {start}\nhint: restore a checkpoint at or after {start}; raise the retention of events"
    )]
    RetentionOutran {
        /// Next offset of the state.
        offset: u64,
        /// First offset there is.
        start: u64,
    },
    /// The last applied record is not the one that lies in the log.
    #[error(
        "record {offset} of the log is not the one that was applied\nhint: the log was replaced; remove the store to rebuild it"
    )]
    OtherRecord {
        /// The last applied offset.
        offset: u64,
    },
    /// Replaying gave other sequences than the published ones.
    #[error(
        "state diverges from what is published at offset {offset}: sequences {have:?}, published {published:?}\nhint: run the version that published it"
    )]
    Diverged {
        /// Where they were compared.
        offset: u64,
        /// Of the engine.
        have: [u64; 4],
        /// Of the log's marker.
        published: [u64; 4],
    },
    /// Another process has the partition now: this one has to drop it, and takes it up again only when told to.
    #[error("partition {partition} belongs to another process now")]
    NotOwner {
        /// Which.
        partition: u32,
    },
    /// Another process has published beyond this one since: the partition has to be opened again.
    #[error("another process has published partition {partition} meanwhile")]
    Overtaken {
        /// Which.
        partition: u32,
    },
    /// What the log lacks is not in the outbox any more: a publication was torn. A replay brings it back.
    #[error(
        "{stream} ends at {published} of partition {partition}, and the outbox does not hold what follows\nhint: remove the store's directory; it is rebuilt from the log"
    )]
    OutboxBehind {
        /// Which.
        partition: u32,
        /// Name of the numbered stream.
        stream: &'static str,
        /// Last contiguous sequence in its topic.
        published: u64,
    },
    /// The outbox or a lane is not what was put in.
    #[error("{0} is damaged\nhint: remove the store's directory; it is rebuilt from the log")]
    Residue(&'static str),
    /// A record that the log should hold is missing.
    #[error("offset {expected} expected, the log gave {found}")]
    Discontinuous {
        /// Next offset of the engine.
        expected: u64,
        /// What the log returned.
        found: u64,
    },
    /// A fault point said so: the simulator crashes the partition here.
    #[error("crashed at {}", .0.name())]
    Crashed(Point),
    /// Work did not come to rest within a bound that no healthy run reaches.
    #[error("did not come to rest within {0} steps\nhint: this is a defect; keep the log")]
    Restless(u64),
    /// Partitions did not come to rest in time.
    #[error("partitions did not come to rest within {0} s\nhint: see the status of the partitions")]
    Timeout(u64),
    /// A partition that is waited for has stopped.
    #[error("partition {partition} has stopped: {reason}")]
    Stopped {
        /// Which.
        partition: u32,
        /// Why.
        reason: String,
    },
    /// A thread could not be started.
    #[error("thread of a partition could not be started: {0}")]
    Thread(String),
}

impl Error {
    /// Whether removing this partition's store and rebuilding it helps.
    pub const fn is_of_store(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error, store::Error::Damaged(_)),
            Self::State(_) | Self::OutboxBehind { .. } | Self::Residue(_) | Self::RetentionOutran { .. } => true,
            _ => false,
        }
    }

    /// Whether the whole process is concerned, not one partition.
    pub const fn is_of_log(&self) -> bool {
        // A record that is too large, or one that retention took, is one partition's trouble; the log is fine.
        matches!(self, Self::Log(error) if !matches!(error, log::Error::TooLarge { .. } | log::Error::Truncated { .. }))
    }
}
