//! The processor: owns partitions, feeds their engines from the log and publishes what they say.
//!
//! What it is: [`partition::Partition`], the owner of one partition as a pollable state machine; the
//! same code runs live ([`runner`]), in `touchline replay` ([`cluster`], [`replay`]) and in the
//! simulator. [`check`] is the judge: whether a log holds exactly what an uninterrupted run had said.
//! What it is not: it decides nothing about contacts (that is the engine) and knows no medium (log
//! and store are traits).
//!
//! ```text
//!  events ─▶ read ─▶ decode ─▶ apply ─▶ ONE store write: cells, timers, meta, o| outbox, l| lanes, k| dirty
//!                                              │                       │             │
//!                       publication (outputs ending at a mark, marker) ┘             └▶ events of others
//! ```
//!
//! **Invariants**
//! * State of partition p at offset o is a pure function of events p[0..o), and so is every output with its number.
//! * Nothing leaves an outbox or a lane before it is known to be in the log.
//! * `apply` never waits for publishing; what piles up is bounded, then applying pauses.
//! * A store is a cache of the log: losing what it did not flush costs a replay, nothing else.

mod batch;
pub mod check;
pub mod cluster;
pub mod controller;
mod dirty;
pub mod error;
pub mod faults;
mod keys;
mod lane;
pub mod metrics;
mod opening;
pub mod options;
mod outbox;
mod pace;
pub mod partition;
mod publishing;
pub mod replay;
pub mod runner;
mod ticks;
mod view;
mod wire;

pub use error::Error;
pub use faults::{Faults, Point};
pub use options::{Options, Pacing};
pub use partition::{Partition, Status, Step};
pub use runner::{Handle, Processor, Role};
