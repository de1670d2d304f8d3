//! The wall clock of adapters and services. The engine never sees one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use touchline_model::time::Time;

/// A source of wall time.
pub trait Wall: Send + Sync {
    /// The time now.
    fn now(&self) -> Time;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemWall;

impl Wall for SystemWall {
    fn now(&self) -> Time {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that moves only when told: `--clock manual`, replay, the simulator. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ManualWall(Arc<AtomicI64>);

impl ManualWall {
    /// A clock standing at `start`.
    pub fn new(start: Time) -> Self {
        Self(Arc::new(AtomicI64::new(start.0)))
    }

    /// Moves the clock forward to `to`; never backwards.
    pub fn advance(&self, to: Time) {
        self.0.fetch_max(to.0, Ordering::SeqCst);
    }
}

impl Wall for ManualWall {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}
