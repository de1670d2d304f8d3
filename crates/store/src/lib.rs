//! Where a partition keeps its state: an ordered map of bytes with atomic batches.
//!
//! What it is: the traits [`Store`] and [`Stores`] (where stores come from, and their checkpoints) with their
//! contracts in prose, memory implementations for tests and the simulator, and one contract suite each that every
//! implementation passes.
//! What it is not: it is no source of truth. The log is; a store is a cache of it that may lose
//! everything since the last flush, and then the partition replays.

pub mod contract;
pub mod memory;
mod stores;

use std::any::Any;
use thiserror::Error;

pub use stores::{CheckpointInfo, CheckpointReport, Checkpointing, Condition, Frozen, KEPT, Opened, Origin, Stores};

/// Why a store cannot go on. Whoever meets one stops the partition: state must not be guessed.
#[derive(Debug, Error)]
pub enum Error {
    /// The medium failed or is full.
    #[error("store failed: {0}")]
    Io(String),
    /// What was read is not what was written.
    #[error("store is damaged: {0}\nhint: remove the store's directory; it is rebuilt from the log")]
    Damaged(String),
    /// A checkpoint was asked for where none are kept.
    #[error("checkpoints are not kept\nhint: configure a directory for them")]
    NoCheckpoints,
    /// A store was handed over that is not one of these stores: a mistake of the caller.
    #[error("the store of partition {partition} was not opened here")]
    Foreign {
        /// Which partition it was handed over for.
        partition: u32,
    },
}

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key, present or not.
    Delete(Vec<u8>),
    /// Removes every key in `[from, until)`; none when `from` is not below `until`.
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// Key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// An ordered map of bytes.
///
/// ```text
///   write ─▶ visible at once ─▶ flush ─▶ survives kill -9 and power loss
/// ```
/// * Keys are compared byte-wise. Keys and values may hold any bytes, values may be empty.
/// * [`Store::write`] is atomic: after a crash either all changes of a batch are there or none,
///   and batches survive in order: never a later one without all earlier ones.
/// * Changes of one batch apply in order; a later change of a key wins.
/// * Reads see every write that returned. One thread owns a store.
///
/// It is [`Any`] so that [`Stores`] know their own stores again.
pub trait Store: Any + Send {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// At most `limit` pairs with keys in `[from, until)`, in key order.
    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Pair>, Error>;

    /// Applies a batch atomically. It may be lost by a crash until [`Store::flush`] returns.
    fn write(&mut self, batch: Vec<Change>) -> Result<(), Error>;

    /// Makes everything written so far survive a crash.
    fn flush(&mut self) -> Result<(), Error>;
}
