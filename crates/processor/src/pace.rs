//! Pauses between attempts, on a wall clock that may step back.

use crate::error::Error;
use crate::options::Pacing;
use touchline_log::Error as LogError;
use touchline_model::time::{Span, Time};

/// First pause after a failure: long enough not to spin, short enough not to be noticed.
pub(crate) const PAUSE_MIN: Span = Span(50);
/// Longest pause: a log that comes back is used within a second.
pub(crate) const PAUSE_MAX: Span = Span(1_000);
/// Failures in a row after which the log counts as failed for good (about 15 s).
const FAILURES_MAX: u32 = 20;

/// Doubling pauses after failures in a row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    failures: u32,
    since: Time,
    pause: Span,
}

impl Backoff {
    /// Notes a failure; the pause begins.
    pub(crate) fn failed(&mut self, now: Time, pacing: Pacing) {
        self.failures = self.failures.saturating_add(1);
        self.pause(now, pacing);
    }

    /// Notes what the log said. Busy is no failure, however often: it says that the log works.
    pub(crate) fn refused(&mut self, error: &LogError, now: Time, pacing: Pacing) {
        match error {
            LogError::Busy { .. } => self.pause(now, pacing),
            _ => self.failed(now, pacing),
        }
    }

    fn pause(&mut self, now: Time, pacing: Pacing) {
        self.since = now;
        self.pause = match pacing {
            Pacing::Virtual => Span(0),
            Pacing::Real if self.pause.0 == 0 => PAUSE_MIN,
            Pacing::Real => Span((self.pause.0 * 2).min(PAUSE_MAX.0)),
        };
    }

    /// Back to no pause.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Failures in a row.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// When the pause ends, if one is running. A wall that stepped back behind its start ends it.
    pub(crate) fn until(&self, now: Time) -> Option<Time> {
        let end = self.since.plus(self.pause);
        (self.since <= now && now < end).then_some(end)
    }
}

/// An error that may pass is tried again, but not for ever. A busy log and one that is away pass by themselves.
pub(crate) fn give_up_on(error: LogError, failures: u32) -> Result<(), Error> {
    match error {
        LogError::Busy { .. } | LogError::Unavailable(_) => Ok(()),
        LogError::Io(_) if failures < FAILURES_MAX => Ok(()),
        error => Err(Error::Log(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_second_and_end_when_the_wall_steps_back() {
        let mut backoff = Backoff::default();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            backoff.failed(Time(10_000), Pacing::Real);
            pauses.push(backoff.until(Time(10_000)).map(|end| end.0 - 10_000));
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000].map(Some));
        assert_eq!(backoff.until(Time(11_000)), None);
        assert_eq!(backoff.until(Time(9_999)), None);
        backoff.succeeded();
        assert_eq!((backoff.failures(), backoff.until(Time(10_000))), (0, None));
        backoff.failed(Time(10_000), Pacing::Virtual);
        assert_eq!(backoff.until(Time(10_000)), None);
    }
}
