//! Stores in memory, with checkpoints that can be damaged on demand.

use super::{Map, MemoryDisk, MemoryStore};
use crate::stores::{CheckpointInfo, CheckpointReport, Checkpointing, Condition, Frozen, KEPT, Opened, Origin, Stores};
use crate::{Error, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// No key is as large as this: how a checkpoint asks for everything.
const ABOVE_ALL_KEYS: [u8; 1024] = [0xFF; 1024];

/// Stores that survive what [`MemoryDisk`] survives. Clones share everything, as processes share a disk.
#[derive(Debug, Clone)]
pub struct MemoryStores {
    checkpointing: Checkpointing,
    partitions: Arc<Mutex<BTreeMap<u32, Partition>>>,
}

#[derive(Debug, Default)]
struct Partition {
    local: Option<Local>,
    checkpoints: BTreeMap<u64, Checkpoint>,
}

#[derive(Debug)]
struct Local {
    disk: MemoryDisk,
    damage: Option<String>,
}

#[derive(Debug)]
struct Checkpoint {
    state: Arc<Map>,
    damage: Option<String>,
}

impl Default for MemoryStores {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStores {
    /// No store yet; checkpoints are kept.
    pub fn new() -> Self {
        Self { checkpointing: Checkpointing::On, partitions: Arc::default() }
    }

    /// No store yet; there are no checkpoints.
    pub fn local_only() -> Self {
        Self { checkpointing: Checkpointing::Off, ..Self::new() }
    }

    /// As [`Stores::open`], and with the type of the store, for who plays crashes.
    pub fn open_memory(&self, partition: u32) -> Result<(MemoryStore, Origin, Vec<String>), Error> {
        let mut partitions = self.lock();
        let Partition { local, checkpoints } = partitions.entry(partition).or_default();
        if let Some(local) = local {
            return match &local.damage {
                Some(damage) => Err(Error::Damaged(format!("partition {partition}: {damage}"))),
                None => Ok((local.disk.open(), Origin::Local, Vec::new())),
            };
        }
        let disk = MemoryDisk::new();
        *local = Some(Local { disk: disk.clone(), damage: None });
        let mut skipped = Vec::new();
        for (offset, checkpoint) in checkpoints.iter().rev() {
            match &checkpoint.damage {
                Some(damage) => {
                    skipped.push(format!("checkpoint {offset} of partition {partition} refused: {damage}"));
                }
                None => {
                    disk.lock().clone_from(&checkpoint.state);
                    return Ok((disk.open(), Origin::Checkpoint { offset: *offset }, skipped));
                }
            }
        }
        Ok((disk.open(), Origin::Empty, skipped))
    }

    /// Damages the local store: opening it says so from now on.
    pub fn damage_store(&self, partition: u32, why: &str) {
        if let Some(local) = self.lock().entry(partition).or_default().local.as_mut() {
            local.damage = Some(why.to_owned());
        }
    }

    /// Damages a checkpoint: it is refused from now on.
    pub fn damage_checkpoint(&self, partition: u32, offset: u64, why: &str) {
        if let Some(checkpoint) = self.lock().entry(partition).or_default().checkpoints.get_mut(&offset) {
            checkpoint.damage = Some(why.to_owned());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Partition>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stores for MemoryStores {
    fn open(&self, partition: u32) -> Result<Opened, Error> {
        let (store, origin, skipped) = self.open_memory(partition)?;
        Ok(Opened { store: Box::new(store), origin, skipped })
    }

    fn discard(&self, partition: u32) -> Result<(), Error> {
        self.lock().entry(partition).or_default().local = None;
        Ok(())
    }

    fn checkpointing(&self) -> Checkpointing {
        self.checkpointing
    }

    /// Reads all of `store`, so any store will do: also one that a test has wrapped.
    fn freeze(&self, partition: u32, store: &dyn Store, offset: u64) -> Result<Box<dyn Frozen>, Error> {
        if self.checkpointing == Checkpointing::Off {
            return Err(Error::NoCheckpoints);
        }
        let state = store.scan(b"", &ABOVE_ALL_KEYS, usize::MAX)?.into_iter().collect();
        Ok(Box::new(FrozenMemory { stores: self.clone(), partition, offset, state: Arc::new(state) }))
    }

    fn checkpoints(&self, partition: u32) -> Result<Vec<CheckpointInfo>, Error> {
        let info = |(offset, checkpoint): (&u64, &Checkpoint)| CheckpointInfo {
            offset: *offset,
            bytes: bytes(&checkpoint.state),
            made_at: None,
            condition: checkpoint.damage.clone().map_or(Condition::Whole, Condition::Refused),
        };
        Ok(self.lock().entry(partition).or_default().checkpoints.iter().rev().map(info).collect())
    }
}

struct FrozenMemory {
    stores: MemoryStores,
    partition: u32,
    offset: u64,
    state: Arc<Map>,
}

impl Frozen for FrozenMemory {
    fn keep(self: Box<Self>) -> Result<CheckpointReport, Error> {
        let bytes = bytes(&self.state);
        let mut partitions = self.stores.lock();
        let checkpoints = &mut partitions.entry(self.partition).or_default().checkpoints;
        checkpoints.insert(self.offset, Checkpoint { state: self.state, damage: None });
        let whole = checkpoints.range(..=self.offset).rev().filter(|(_, checkpoint)| checkpoint.damage.is_none());
        let oldest_kept = whole.map(|(offset, _)| *offset).take(KEPT).last();
        let before = checkpoints.len();
        checkpoints.retain(|offset, _| oldest_kept.is_none_or(|oldest| *offset >= oldest));
        let removed = before - checkpoints.len();
        Ok(CheckpointReport { offset: self.offset, bytes, copied_bytes: bytes, removed })
    }
}

fn bytes(state: &Map) -> u64 {
    state.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::stores as contract;

    #[test]
    fn they_keep_the_contract() {
        let stores = MemoryStores::new();
        contract::check(&contract::Subject {
            stores: &stores,
            damage_checkpoint: &|partition, offset| stores.damage_checkpoint(partition, offset, "flipped"),
            damage_store: &|partition| stores.damage_store(partition, "flipped"),
        });
        contract::check_local_only(&MemoryStores::local_only());
    }

    #[test]
    fn what_is_damaged_is_named() {
        let stores = MemoryStores::new();
        let opened = stores.open(7).unwrap();
        stores.checkpoint(7, opened.store.as_ref(), 5).unwrap();
        stores.damage_checkpoint(7, 5, "flipped");
        stores.damage_store(7, "torn");
        let error = stores.open(7).err().unwrap().to_string();
        assert!(error.starts_with("store is damaged: partition 7: torn"), "{error}");
        stores.discard(7).unwrap();
        assert_eq!(stores.open(7).unwrap().skipped, ["checkpoint 5 of partition 7 refused: flipped"]);
    }
}
