//! What only the processor knows, as the binary tells it.

use touchline_model::time::Time;

/// How the processor stands.
pub trait StatusSource: Send + Sync {
    /// `wall` or `manual`.
    fn clock_mode(&self) -> &'static str;
    /// Moment of the partition's next timer.
    fn next_due(&self, partition: u32) -> Option<Time>;
}

/// Moves the virtual clock.
pub trait ClockControl: Send + Sync {
    /// Moves it to `to` and waits until everything due has been done; returns where it stands. May block.
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

/// A processor that tells nothing: the wall clock, no timers known. For a query role of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Elsewhere;

impl StatusSource for Elsewhere {
    fn clock_mode(&self) -> &'static str {
        "wall"
    }

    fn next_due(&self, _: u32) -> Option<Time> {
        None
    }
}

impl ClockControl for Elsewhere {
    fn advance(&self, _: Time) -> Result<Time, AdvanceError> {
        Err(AdvanceError::NotManual)
    }
}
