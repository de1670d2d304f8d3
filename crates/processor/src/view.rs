//! A store as the engine sees it.

use touchline_engine::{View, ViewError};
use touchline_store::Store;

/// Reads through to the store.
pub(crate) struct StoreView<'a>(pub(crate) &'a dyn Store);

impl View for StoreView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        self.0.get(key).map_err(|error| ViewError(error.to_string()))
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, ViewError> {
        self.0.scan(from, until, limit).map_err(|error| ViewError(error.to_string()))
    }
}
