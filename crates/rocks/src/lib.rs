//! The log and the store on RocksDB.
//!
//! What it is: [`EmbeddedLog`], a durable [`touchline_log::Log`] in one directory with one fsync for
//! many appends, and [`RocksStore`], a [`touchline_store::Store`] that is a cache of the log. [`RocksStores`] opens them
//! and keeps their checkpoints.
//! What it is not: it knows nothing of events and never decides to go on after a failed write.

pub mod bench;
mod checkpoint;
mod codec;
mod committer;
mod log;
mod store;
mod stores;

use std::path::{Path, PathBuf};
use thiserror::Error;

pub use checkpoint::Links;
pub use log::{EmbeddedLog, NewLog};
pub use store::{RocksStore, SharedCache};
pub use stores::RocksStores;

/// Why a directory cannot be opened. Nothing in it was changed.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// Another process has it open.
    #[error(
        "{dir} is in use by another process\nhint: stop the other touchline, or give this one its own data directory"
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// It was made with another number of partitions.
    #[error(
        "{dir} has {stored} partitions, not {asked}\nhint: start with {stored}; the number is fixed when the directory is made"
    )]
    Partitions {
        /// The directory.
        dir: PathBuf,
        /// What it has.
        stored: u32,
        /// What was asked for.
        asked: u32,
    },
    /// A number of partitions that no log can have.
    #[error("{asked} partitions: a log has 1 to {max}")]
    PartitionCount {
        /// What was asked for.
        asked: u32,
        /// The most there can be.
        max: u32,
    },
    /// It was written by a version this one does not know.
    #[error("{dir} has log format {stored}, this program knows {known}\nhint: use the program version that wrote it")]
    Version {
        /// The directory.
        dir: PathBuf,
        /// What it has.
        stored: u8,
        /// What this program writes.
        known: u8,
    },
    /// The files are damaged before their end: acknowledged records may be behind the damage, so nothing is dropped.
    #[error(
        "{dir} is damaged: {reason}\nhint: keep the directory as it is and restore a copy of it; nothing was removed"
    )]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What RocksDB or the check after opening said.
        reason: String,
    },
    /// A store, whose state can always be had again, cannot be opened.
    #[error(
        "the store in {dir} cannot be opened: {reason}\nhint: check permissions and free space; if its files are \
         damaged, remove this directory (not the log's): the state is rebuilt from the log"
    )]
    Store {
        /// The directory.
        dir: PathBuf,
        /// What RocksDB said.
        reason: String,
    },
    /// The medium failed or is full.
    #[error("{dir} cannot be opened: {reason}\nhint: check the path, its permissions and free space")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl Error {
    fn opening(dir: &Path, error: &rocksdb::Error) -> Self {
        let (dir, reason) = (dir.to_owned(), error.to_string());
        // RocksDB gives a lock conflict no kind of its own, only this text.
        if reason.contains("lock file") || reason.contains("lock hold by current process") {
            return Self::Locked { dir };
        }
        match error.kind() {
            rocksdb::ErrorKind::Corruption => Self::Damaged { dir, reason },
            _ => Self::Io { dir, reason },
        }
    }
}
