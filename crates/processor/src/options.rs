//! How a partition runs.

use crate::faults::Faults;
use std::time::Duration;

/// How a partition runs. The defaults are what a server uses.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Time between checkpoints, where stores have a place for them; `None`: none are made.
    pub checkpoint_every: Option<Duration>,
    /// Whether pauses take wall time.
    pub pacing: Pacing,
    /// Crash points; off by default.
    pub faults: Faults,
    /// A defect built in on purpose, to prove that the simulator finds it.
    #[doc(hidden)]
    pub plant: Plant,
}

/// Whether back-offs, deadlines and delays take wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pacing {
    /// The wall moves by itself.
    #[default]
    Real,
    /// The wall moves only when a controller moves it (`--clock manual`, replay): nothing may wait for it.
    Virtual,
}

/// Defects for the simulator's own test.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plant {
    #[default]
    None,
    /// Outputs leave the outbox when they are handed over, not when they are known to be published.
    TrimBeforePublished,
    /// The next offset is written in a batch of its own.
    OffsetInAnotherBatch,
    /// After a recovery everything in the outbox is published, whatever the log's marker says.
    PublishWithoutFilter,
    /// A failed publication counts as published.
    FailedPublicationIsDone,
    /// A failed loopback append counts as delivered.
    FailedLoopbackIsDone,
    /// A lost tick is waited for without end.
    LostTickBlocks,
    /// Contacts changed again after the mark are left out of its publication for good.
    DirtyClearedBlindly,
}
