//! The clock, as the binary tells it: query itself knows the log only.

use touchline_model::time::Time;

/// What the server's time follows, and how it is moved.
pub trait ClockControl: Send + Sync {
    /// `wall` or `manual`.
    fn mode(&self) -> &'static str;
    /// Moves a virtual clock to `to` and waits until everything due has been done; returns where it stands. May block.
    fn advance(&self, to: Time) -> Result<Time, AdvanceError>;
}

/// Why the clock was not moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdvanceError {
    /// It is the wall clock.
    NotManual,
    /// Something stopped while it moved; the text says what.
    Failed(String),
}

/// The wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct WallClock;

impl ClockControl for WallClock {
    fn mode(&self) -> &'static str {
        "wall"
    }

    fn advance(&self, _: Time) -> Result<Time, AdvanceError> {
        Err(AdvanceError::NotManual)
    }
}
