//! The stores of a process, one directory each, and their checkpoints.
//!
//! ```text
//! STORES/<partition>/                                      an open store, or one that was
//! STORES/<partition>.{frozen-<n>,restoring,discarded}/     work of a moment, removed when the partition is opened
//! CHECKPOINTS/<partition>/<offset>/                        see `checkpoint.rs`
//! ```

use crate::checkpoint::{self, Files, Links, Place, Unusable, at, names, remove_dir, sync};
use crate::{Error, RocksStore, SharedCache};
use std::any::Any;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use touchline_store::{
    CheckpointInfo, CheckpointReport, Checkpointing, Condition, Error as StoreError, Frozen, Opened, Origin, Store,
    Stores,
};

/// Stores below one directory, checkpoints below another, which several processes may share.
pub struct RocksStores {
    store_dir: PathBuf,
    checkpoint_dir: Option<PathBuf>,
    links: Links,
    cache: SharedCache,
    next_frozen: AtomicU64,
    /// One checkpoint is written at a time: they would only wait for the same disk.
    writing: Arc<Mutex<()>>,
}

impl RocksStores {
    /// Stores in `store_dir/<partition>`, checkpoints in `checkpoint_dir/<partition>/<offset>`; without that directory
    /// there are none. Neither has to exist.
    pub fn new(store_dir: PathBuf, checkpoint_dir: Option<PathBuf>, links: Links, cache: SharedCache) -> Self {
        Self { store_dir, checkpoint_dir, links, cache, next_frozen: AtomicU64::new(0), writing: Arc::default() }
    }

    /// Where the store of a partition is.
    pub fn store_dir(&self, partition: u32) -> PathBuf {
        self.store_dir.join(partition.to_string())
    }

    /// A checkpoint's place, where there are any.
    fn place(&self, partition: u32, offset: u64) -> Option<Place> {
        let root = self.checkpoint_dir.as_ref()?.join(partition.to_string());
        Some(Place { root, partition, offset })
    }

    fn places(&self, partition: u32) -> Result<Vec<Place>, StoreError> {
        let Some(any) = self.place(partition, 0) else { return Ok(Vec::new()) };
        let offsets = checkpoint::offsets(&any.root)?;
        Ok(offsets.into_iter().map(|offset| Place { offset, ..any.clone() }).collect())
    }

    /// A directory beside the store's.
    fn beside(&self, partition: u32, name: &str) -> PathBuf {
        self.store_dir.join(format!("{partition}.{name}"))
    }

    fn open_local(&self, partition: u32) -> Result<Box<dyn Store>, StoreError> {
        let dir = self.store_dir(partition);
        let store = RocksStore::open_as_is(&dir, &self.cache).map_err(|error| cannot_open(&dir, &error))?;
        Ok(Box::new(store))
    }

    /// Restores a checkpoint to where the store belongs, where nothing may be, and opens it.
    fn restore(&self, place: &Place) -> Result<Box<dyn Store>, Unusable> {
        let restoring = self.beside(place.partition, "restoring");
        remove_dir(&restoring).map_err(Unusable::Failed)?;
        checkpoint::restore(place, &restoring, self.links)?;
        // Only a whole store gets the name of one.
        let dir = self.store_dir(place.partition);
        fs::rename(&restoring, &dir).map_err(|error| Unusable::Failed(at(&dir)(error)))?;
        sync(&self.store_dir).map_err(Unusable::Failed)?;
        match self.open_local(place.partition) {
            Ok(store) => Ok(store),
            // Every file is what was written, so it was damaged then.
            Err(StoreError::Damaged(reason)) => {
                remove_dir(&dir).map_err(Unusable::Failed)?;
                Err(Unusable::Refused(format!("it does not open: {reason}")))
            }
            Err(error) => Err(Unusable::Failed(error)),
        }
    }

    fn remove_leftovers(&self, partition: u32) -> Result<(), StoreError> {
        let prefix = format!("{partition}.");
        for name in names(&self.store_dir)? {
            if name.starts_with(&prefix) {
                remove_dir(&self.store_dir.join(name))?;
            }
        }
        Ok(())
    }
}

impl Stores for RocksStores {
    fn open(&self, partition: u32) -> Result<Opened, StoreError> {
        let dir = self.store_dir(partition);
        fs::create_dir_all(&self.store_dir).map_err(at(&self.store_dir))?;
        self.remove_leftovers(partition)?;
        match local(&dir)? {
            Local::Present => {
                let store = self.open_local(partition)?;
                return Ok(Opened { store, origin: Origin::Local, skipped: Vec::new() });
            }
            Local::WithoutBeginning => {
                return Err(StoreError::Damaged(format!("{} has tables, but CURRENT is missing", dir.display())));
            }
            // What a process left that died before it had written anything.
            Local::Absent => remove_dir(&dir)?,
        }
        let mut skipped = Vec::new();
        for place in self.places(partition)? {
            match self.restore(&place) {
                Ok(store) => {
                    return Ok(Opened { store, origin: Origin::Checkpoint { offset: place.offset }, skipped });
                }
                Err(Unusable::Refused(reason)) => {
                    skipped.push(format!("checkpoint {} refused: {}", place.dir().display(), one_line(&reason)));
                }
                Err(Unusable::Failed(error)) => return Err(error),
            }
        }
        Ok(Opened { store: self.open_local(partition)?, origin: Origin::Empty, skipped })
    }

    fn discard(&self, partition: u32) -> Result<(), StoreError> {
        let (dir, discarded) = (self.store_dir(partition), self.beside(partition, "discarded"));
        remove_dir(&discarded)?;
        // Renamed first: half a store must not be taken for one.
        match fs::rename(&dir, &discarded) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(at(&dir)(error)),
            Ok(()) => remove_dir(&discarded),
        }
    }

    fn checkpointing(&self) -> Checkpointing {
        if self.checkpoint_dir.is_some() { Checkpointing::On } else { Checkpointing::Off }
    }

    fn freeze(&self, partition: u32, store: &dyn Store, offset: u64) -> Result<Box<dyn Frozen>, StoreError> {
        let place = self.place(partition, offset).ok_or(StoreError::NoCheckpoints)?;
        let store: &dyn Any = store;
        let store = store
            .downcast_ref::<RocksStore>()
            .filter(|store| store.dir() == self.store_dir(partition))
            .ok_or(StoreError::Foreign { partition })?;
        // Beside the store and so on its file system, where links always work.
        let number = self.next_frozen.fetch_add(1, Ordering::Relaxed);
        let dir = self.beside(partition, &format!("frozen-{number}"));
        store.freeze(&dir)?;
        let files = Files::all_in(dir)?;
        Ok(Box::new(FrozenFiles { files, place, links: self.links, writing: Arc::clone(&self.writing) }))
    }

    fn checkpoints(&self, partition: u32) -> Result<Vec<CheckpointInfo>, StoreError> {
        let info = |place: Place| {
            let (bytes, condition) = match checkpoint::inspect(&place) {
                Ok((_, bytes)) => (bytes, Condition::Whole),
                Err(reason) => (0, Condition::Refused(reason)),
            };
            CheckpointInfo { offset: place.offset, bytes, made_at: checkpoint::made_at(&place), condition }
        };
        Ok(self.places(partition)?.into_iter().map(info).collect())
    }
}

/// Links to the files of a store as of one point.
struct FrozenFiles {
    files: Files,
    place: Place,
    links: Links,
    writing: Arc<Mutex<()>>,
}

impl Frozen for FrozenFiles {
    fn keep(self: Box<Self>) -> Result<CheckpointReport, StoreError> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        checkpoint::write(&self.place, &self.files, self.links)
    }
}

impl Drop for FrozenFiles {
    fn drop(&mut self) {
        // What stays is removed when the partition is opened next.
        let _ = fs::remove_dir_all(&self.files.dir);
    }
}

/// What is where a store belongs.
enum Local {
    /// A store, as far as a look tells.
    Present,
    /// Tables without the file that RocksDB begins with: it would make a new store and remove them.
    WithoutBeginning,
    /// Nothing of worth.
    Absent,
}

fn local(dir: &Path) -> Result<Local, StoreError> {
    let names = names(dir)?;
    if names.iter().any(|name| name == "CURRENT") {
        return Ok(Local::Present);
    }
    Ok(if names.iter().any(|name| name.ends_with(".sst")) { Local::WithoutBeginning } else { Local::Absent })
}

fn cannot_open(dir: &Path, error: &rocksdb::Error) -> StoreError {
    let is_missing_file = error.kind() == rocksdb::ErrorKind::IOError && error.as_ref().contains("No such file");
    match Error::opening(dir, error) {
        Error::Damaged { dir, reason } => StoreError::Damaged(format!("{}: {reason}", dir.display())),
        Error::Io { dir, reason } if is_missing_file => StoreError::Damaged(format!("{}: {reason}", dir.display())),
        other => StoreError::Io(other.to_string()),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
