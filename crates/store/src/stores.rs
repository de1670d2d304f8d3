//! Where the stores of a process come from, and their checkpoints.

use crate::{Error, Store};
use touchline_model::time::Time;

/// How many checkpoints of a partition are kept: one to use, two to fall back on when it is damaged.
pub const KEPT: usize = 3;

/// The stores of the partitions of one process, and their checkpoints.
///
/// ```text
///   open ─▶ store ─▶ freeze (the store waits) ─▶ keep (any thread) ─▶ checkpoint, named by its offset
///     ▲                                                                  │
///     └── discard, or a process with an empty disk ◀─────────────────────┘
/// ```
/// * A checkpoint holds everything written before [`Stores::freeze`] and nothing after it, flushed or not.
/// * It counts whole or not at all: a process that dies while it is written leaves none.
/// * It never changes. Whoever writes to a restored store does not touch the checkpoint it came from.
/// * Nothing of a checkpoint is used before all of it was found to be what was written. One that is not is
///   refused, with its reason, and the next older one is taken; where there is none, the store is empty.
/// * A new one leaves the newest [`KEPT`] up to its offset, not counting those with a fault that shows without reading
///   them. Those above stay: they are of an owner that is further on, or of a store that was lost.
/// * A checkpoint says nothing about the log: whoever opens a store compares both, however the store came to be.
pub trait Stores: Send + Sync {
    /// The local store of a partition; where there is none, the newest checkpoint that is whole, else an empty store.
    ///
    /// [`Error::Damaged`] where the local store is there and cannot be used: [`Stores::discard`] it and open again.
    /// A store of the partition that was opened before has to be dropped first.
    fn open(&self, partition: u32) -> Result<Opened, Error>;

    /// Removes the local store of a partition, which nobody has open; the next [`Stores::open`] starts from a
    /// checkpoint. No store is no error.
    fn discard(&self, partition: u32) -> Result<(), Error>;

    /// Whether checkpoints are kept at all.
    fn checkpointing(&self) -> Checkpointing;

    /// Holds what an open store holds now. `offset` is the next one to apply, and becomes the checkpoint's name.
    ///
    /// The store waits for this call only, which is short; [`Frozen::keep`] does the work on any thread.
    /// [`Error::NoCheckpoints`] where none are kept, [`Error::Foreign`] for a store that these stores did not open.
    fn freeze(&self, partition: u32, store: &dyn Store, offset: u64) -> Result<Box<dyn Frozen>, Error>;

    /// [`Stores::freeze`] and [`Frozen::keep`] in one: writes a checkpoint while the store waits.
    fn checkpoint(&self, partition: u32, store: &dyn Store, offset: u64) -> Result<CheckpointReport, Error> {
        self.freeze(partition, store, offset)?.keep()
    }

    /// What checkpoints of a partition there are, newest first.
    fn checkpoints(&self, partition: u32) -> Result<Vec<CheckpointInfo>, Error>;
}

/// What a store held at one point, not a checkpoint yet. Dropping it leaves nothing.
pub trait Frozen: Send {
    /// Makes it a checkpoint, which survives everything from here on, and removes those too many. A checkpoint at
    /// the same offset is replaced. After an error there is no checkpoint, and the store is none the worse.
    fn keep(self: Box<Self>) -> Result<CheckpointReport, Error>;
}

/// A store and how it came to be.
pub struct Opened {
    /// The store.
    pub store: Box<dyn Store>,
    /// Where its content is from.
    pub origin: Origin,
    /// Checkpoints that were refused, newest first: one line each that says which and why.
    pub skipped: Vec<String>,
}

/// Where the content of an opened store is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was there.
    Local,
    /// It was restored.
    Checkpoint {
        /// The checkpoint's name: the next offset to apply.
        offset: u64,
    },
    /// There was nothing to restore: the partition replays its log from the start.
    Empty,
}

/// Whether checkpoints are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpointing {
    /// They are.
    On,
    /// There is no place for them: only local stores.
    Off,
}

/// What writing a checkpoint took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Its name: the next offset to apply.
    pub offset: u64,
    /// How large it is, in bytes.
    pub bytes: u64,
    /// How many of them were written for it; the others were there already.
    pub copied_bytes: u64,
    /// Older checkpoints that were removed.
    pub removed: usize,
}

/// A checkpoint, as far as can be told without reading all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Its name: the next offset to apply.
    pub offset: u64,
    /// How large it is, in bytes; 0 where that cannot be told.
    pub bytes: u64,
    /// When it was made, by the clock of the medium; `None` where that has none.
    pub made_at: Option<Time>,
    /// Whether it can be used.
    pub condition: Condition,
}

/// Whether a checkpoint can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Everything is there. Contents are compared only when it is restored.
    Whole,
    /// It will be refused, for this reason.
    Refused(String),
}
