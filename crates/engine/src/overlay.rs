//! Pending writes over a view of the store: a batch reads its own writes.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Reading the state below the overlay failed: the partition has to stop, state must not be guessed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("reading state failed: {0}")]
pub struct ViewError(pub String);

/// State as it was before the batch: the store, or nothing.
pub trait View {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError>;
    /// At most `limit` pairs in `[from, until)`, in key order.
    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Pair>, ViewError>;
}

/// Pending writes over a [`View`]. One per batch; [`Overlay::into_writes`] is what the store gets.
pub struct Overlay<'a> {
    below: &'a dyn View,
    pending: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Overlay<'a> {
    /// An overlay without writes.
    pub fn new(below: &'a dyn View) -> Self {
        Self { below, pending: BTreeMap::new() }
    }

    /// The value under `key`, pending writes first.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        match self.pending.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.below.get(key),
        }
    }

    /// Sets a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.pending.insert(key, Some(value));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.pending.insert(key, None);
    }

    /// At most `limit` pairs in `[from, until)`, in key order, pending writes included.
    pub fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Pair>, ViewError> {
        if from >= until || limit == 0 {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(from.to_vec()), Bound::Excluded(until.to_vec()));
        let pending: Vec<_> = self.pending.range(range).collect();
        // Each pending deletion may hide one pair below.
        let hidden = pending.iter().filter(|(_, value)| value.is_none()).count();
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> =
            self.below.scan(from, until, limit.saturating_add(hidden))?.into_iter().collect();
        // Below was cut at its last key: pending writes beyond it are still in order, because the
        // result is cut at `limit` and everything below the cut is present.
        for (key, value) in pending {
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }

    /// The net writes in key order: `None` deletes.
    pub fn into_writes(self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        self.pending.into_iter()
    }
}

impl View for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Overlay::get(self, key)
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Pair>, ViewError> {
        Overlay::scan(self, from, until, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Below(BTreeMap<Vec<u8>, Vec<u8>>);

    impl View for Below {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
            Ok(self.0.get(key).cloned())
        }
        fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Pair>, ViewError> {
            let range = self.0.range(from.to_vec()..until.to_vec());
            Ok(range.take(limit).map(|(k, v)| (k.clone(), v.clone())).collect())
        }
    }

    #[test]
    fn scans_merge_writes_and_skip_deletions() {
        let below = Below((0..10u8).map(|n| (vec![n], vec![n])).collect());
        let mut overlay = Overlay::new(&below);
        overlay.delete(vec![2]);
        overlay.delete(vec![3]);
        overlay.put(vec![4], vec![44]);
        overlay.put(vec![9, 0], vec![90]);
        let keys = |from: u8, limit| -> Vec<u8> {
            overlay.scan(&[from], &[99], limit).expect("in memory").iter().map(|(_, value)| value[0]).collect()
        };
        assert_eq!(keys(1, 3), [1, 44, 5]);
        assert_eq!(keys(8, 9), [8, 9, 90]);
        assert_eq!(keys(8, 2), [8, 9]);
        assert_eq!(overlay.get(&[3]).expect("in memory"), None);
        assert!(overlay.scan(&[5], &[5], 9).expect("in memory").is_empty());
    }
}
