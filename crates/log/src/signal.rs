//! A counter that threads can wait on: what happened while nobody looked is not missed.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A shared counter with waiters. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Signal(Arc<(Mutex<u64>, Condvar)>);

impl Signal {
    /// A counter at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the counter and wakes every waiter.
    pub fn notify(&self) {
        let mut count = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        self.0.1.notify_all();
    }

    /// The counter now. Read it *before* looking for work, then wait past it.
    pub fn count(&self) -> u64 {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the counter is above `seen` or `timeout` has passed; returns the counter.
    pub fn wait_past(&self, seen: u64, timeout: Duration) -> u64 {
        let count = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, _) =
            self.0.1.wait_timeout_while(count, timeout, |count| *count <= seen).unwrap_or_else(PoisonError::into_inner);
        *count
    }
}
