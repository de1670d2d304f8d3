//! The state of a partition in memory: for playing playbooks without a store, for simulators, tests and benchmarks.

use crate::{Effects, Engine, Overlay, Pair, View, ViewError};
use std::collections::BTreeMap;
use touchline_model::record::Record;

/// The state of a partition, by key.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Map(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl Map {
    /// Lets the engine whose state this is apply a record, and keeps what it writes.
    ///
    /// # Errors
    /// When a value cannot be decoded.
    pub fn apply(&mut self, engine: &mut Engine, record: &Record) -> Result<Effects, ViewError> {
        let mut overlay = Overlay::new(self);
        let effects = engine.apply(&mut overlay, record)?;
        let writes: Vec<_> = overlay.into_writes().collect();
        writes.into_iter().for_each(|(key, value)| self.write(key, value));
        Ok(effects)
    }

    /// Sets or removes a key.
    pub fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        match value {
            Some(value) => self.0.insert(key, value),
            None => self.0.remove(&key),
        };
    }
}

impl View for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Pair>, ViewError> {
        let range = self.0.range(from.to_vec()..until.to_vec());
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}
