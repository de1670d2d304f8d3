//! Memory implementation: an ordered map over a simulated disk that survives a crash of the store.

mod stores;

use crate::{Change, Error, Pair, Store};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use stores::MemoryStores;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// What survives a crash. Clones share it: keep one, drop the store, and open it again.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Map>>);

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that holds what was flushed last. Only one store may be open on a disk.
    pub fn open(&self) -> MemoryStore {
        MemoryStore { live: self.lock().clone(), unflushed: VecDeque::new(), disk: Some(self.clone()) }
    }

    fn lock(&self) -> MutexGuard<'_, Map> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    live: Map,
    /// Batches since the last flush: what a flush has to carry over, so that it costs no copy of the map.
    unflushed: VecDeque<Vec<Change>>,
    disk: Option<MemoryDisk>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store on a disk of its own.
    pub fn new() -> Self {
        MemoryDisk::new().open()
    }

    /// An empty store without a disk: flushing does nothing, a crash leaves nothing. For replays that nobody resumes.
    pub fn volatile() -> Self {
        Self { live: Map::new(), unflushed: VecDeque::new(), disk: None }
    }

    /// The store as it was at the last flush.
    #[must_use]
    pub fn crash(self) -> Self {
        match self.disk {
            Some(disk) => disk.open(),
            None => Self::volatile(),
        }
    }

    /// How many batches a crash would lose now.
    pub fn unflushed(&self) -> usize {
        self.unflushed.len()
    }

    /// Makes the first `batches` of the unflushed ones durable, as a flush in the background may do at any moment.
    pub fn persist(&mut self, batches: usize) {
        let Some(disk) = &self.disk else { return };
        let mut durable = disk.lock();
        for batch in self.unflushed.drain(..batches.min(self.unflushed.len())) {
            for change in batch {
                apply(&mut durable, change);
            }
        }
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.live.get(key).cloned())
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Pair>, Error> {
        // A map panics on a range that is none.
        if from >= until {
            return Ok(Vec::new());
        }
        let range = self.live.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(until)));
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn write(&mut self, batch: Vec<Change>) -> Result<(), Error> {
        if self.disk.is_some() {
            self.unflushed.push_back(batch.clone());
        }
        for change in batch {
            apply(&mut self.live, change);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.persist(usize::MAX);
        Ok(())
    }
}

fn apply(map: &mut Map, change: Change) {
    match change {
        Change::Put(key, value) => {
            map.insert(key, value);
        }
        Change::Delete(key) => {
            map.remove(&key);
        }
        Change::DeleteRange(from, until) if from < until => {
            let doomed: Vec<Vec<u8>> = map.range(from..until).map(|(key, _)| key.clone()).collect();
            for key in doomed {
                map.remove(&key);
            }
        }
        Change::DeleteRange(..) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract;

    #[test]
    fn it_keeps_the_contract() {
        contract::check(&contract::Subject { make: &MemoryStore::new, crash: &MemoryStore::crash });
    }

    #[test]
    fn it_keeps_the_contract_when_some_batches_became_durable_by_themselves() {
        let crash = |mut store: MemoryStore| {
            store.persist(store.unflushed() / 2);
            store.crash()
        };
        contract::check(&contract::Subject { make: &MemoryStore::new, crash: &crash });
    }

    fn put(key: &[u8], value: &[u8]) -> Vec<Change> {
        vec![Change::Put(key.to_vec(), value.to_vec())]
    }

    #[test]
    fn a_crash_keeps_what_was_flushed_and_a_prefix_of_the_rest() {
        let disk = MemoryDisk::new();
        let mut store = disk.open();
        store.write(put(b"a", b"1")).unwrap();
        store.flush().unwrap();
        store.write(put(b"a", b"2")).unwrap();
        store.write(put(b"b", b"3")).unwrap();
        store.persist(1);
        assert_eq!(store.unflushed(), 1);
        let store = store.crash();
        assert_eq!(store.scan(b"", b"\xff", 9).unwrap(), [(b"a".to_vec(), b"2".to_vec())]);
        drop(store);
        assert_eq!(disk.open().get(b"a").unwrap(), Some(b"2".to_vec()));
    }

    #[test]
    fn a_volatile_store_keeps_nothing() {
        let mut store = MemoryStore::volatile();
        store.write(put(b"a", b"1")).unwrap();
        store.flush().unwrap();
        assert_eq!(store.get(b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(store.crash().get(b"a").unwrap(), None);
    }
}
