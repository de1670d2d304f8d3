//! The wall clock of adapters and services. The engine never sees one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use touchline_model::time::Time;

/// A source of wall time.
pub trait Wall: Send + Sync {
    /// The time now.
    fn now(&self) -> Time;

    /// A record with this append time was read. A clock that follows a log of virtual time stands there from now on;
    /// others take no notice.
    fn observed(&self, append_time: Time) {
        let _ = append_time;
    }
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

/// The clock of a process that reads a log of virtual time which others write: it stands where the latest record read
/// says. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FollowingWall(pub ManualWall);

impl Wall for FollowingWall {
    fn now(&self) -> Time {
        self.0.now()
    }

    fn observed(&self, append_time: Time) {
        self.0.advance(append_time);
    }
}

impl Wall for ManualWall {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}
