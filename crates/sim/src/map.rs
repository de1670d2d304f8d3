//! State of an engine in memory.

use std::collections::BTreeMap;
use touchline_engine::{Pair, View, ViewError};

/// The state of a partition, by key.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Map(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl View for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Pair>, ViewError> {
        let range = self.0.range(from.to_vec()..until.to_vec());
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}
