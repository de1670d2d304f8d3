//! Named places where a process may be killed on purpose: for crash tests, off otherwise.

use crate::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Environment variable that names a point and a passage: `after_apply:7` aborts at the seventh.
pub const KILL_AT: &str = "TOUCHLINE_KILL_AT";

/// A place where a crash must not hurt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// Records are applied in memory, nothing is written.
    BeforeWrite,
    /// The batch is in the store, nothing is published.
    AfterApply,
    /// A publication is put together, not handed over.
    BeforePublish,
    /// A publication is handed over, its outcome not known.
    DuringPublish,
    /// A publication is known to be durable, the outbox not trimmed.
    AfterPublishBeforeTrim,
    /// Loopback records are handed over, their outcome not known.
    DuringLoopback,
    /// Loopback records are known to be durable, the lane not trimmed.
    AfterLoopbackBeforeTrim,
    /// A tick is handed over.
    AfterTick,
    /// The store is flushed.
    AfterFlush,
}

impl Point {
    /// Every point, in the order of a step.
    pub const ALL: [Self; 9] = [
        Self::BeforeWrite,
        Self::AfterApply,
        Self::BeforePublish,
        Self::DuringPublish,
        Self::AfterPublishBeforeTrim,
        Self::DuringLoopback,
        Self::AfterLoopbackBeforeTrim,
        Self::AfterTick,
        Self::AfterFlush,
    ];

    /// The name in [`KILL_AT`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::BeforeWrite => "before_write",
            Self::AfterApply => "after_apply",
            Self::BeforePublish => "before_publish",
            Self::DuringPublish => "during_publish",
            Self::AfterPublishBeforeTrim => "after_publish_before_trim",
            Self::DuringLoopback => "during_loopback",
            Self::AfterLoopbackBeforeTrim => "after_loopback_before_trim",
            Self::AfterTick => "after_tick",
            Self::AfterFlush => "after_flush",
        }
    }

    /// The point with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }
}

/// What the simulator is asked at every point: whether to crash here.
pub type Hook = Arc<Mutex<dyn FnMut(Point) -> Verdict + Send>>;

/// What a [`Hook`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing happens.
    GoOn,
    /// The step ends with [`Error::Crashed`].
    Crash,
}

/// Fault points of a process. Off unless asked for; then passing one costs a look at an `Option`.
#[derive(Clone, Default)]
pub struct Faults(Option<Kind>);

#[derive(Clone)]
enum Kind {
    Kill(Arc<Countdown>),
    Hook(Hook),
}

/// Ends the process at a named point, after some passages: what [`KILL_AT`] asks for.
#[derive(Debug)]
pub struct Countdown {
    at: String,
    passages_left: AtomicU64,
}

impl Countdown {
    /// What [`KILL_AT`] says, whatever the point.
    pub fn from_env() -> Option<Self> {
        Self::parse(&std::env::var(KILL_AT).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, count) = text.split_once(':').unwrap_or((text, "1"));
        let count: u64 = count.parse().ok()?;
        Some(Self { at: name.to_owned(), passages_left: AtomicU64::new(count.max(1)) })
    }

    /// A point is passed: aborts when it is the one and its passages are used up.
    pub fn passed(&self, name: &str) {
        if self.at == name && self.passages_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            std::process::abort();
        }
    }
}

impl Faults {
    /// No faults.
    pub const fn off() -> Self {
        Self(None)
    }

    /// What [`KILL_AT`] says. Names of points that belong to other parts of the process count as off.
    pub fn from_env() -> Self {
        std::env::var(KILL_AT).map_or(Self::off(), |text| Self::parse(&text))
    }

    /// Asks `hook` at every point.
    pub fn hook(hook: Hook) -> Self {
        Self(Some(Kind::Hook(hook)))
    }

    fn parse(text: &str) -> Self {
        let kill = Countdown::parse(text).filter(|kill| Point::parse(&kill.at).is_some());
        kill.map_or(Self::off(), |kill| Self(Some(Kind::Kill(Arc::new(kill)))))
    }

    /// Called at a point: aborts the process, ends the step, or does nothing.
    pub fn reached(&self, point: Point) -> Result<(), Error> {
        match &self.0 {
            None => Ok(()),
            Some(Kind::Kill(kill)) => {
                kill.passed(point.name());
                Ok(())
            }
            Some(Kind::Hook(hook)) => {
                let mut hook = hook.lock().unwrap_or_else(PoisonError::into_inner);
                match hook(point) {
                    Verdict::GoOn => Ok(()),
                    Verdict::Crash => Err(Error::Crashed(point)),
                }
            }
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            None => "off",
            Some(Kind::Kill(kill)) => &kill.at,
            Some(Kind::Hook(_)) => "hook",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_ones_are_off() {
        for point in Point::ALL {
            assert_eq!(Point::parse(point.name()), Some(point));
            assert_eq!(format!("{:?}", Faults::parse(&format!("{}:3", point.name()))), point.name());
        }
        for off in ["after_append_before_ack:1", "", "after_apply:x"] {
            assert_eq!(format!("{:?}", Faults::parse(off)), "off", "{off}");
        }
    }

    #[test]
    fn a_hook_crashes_where_it_says() {
        let mut left = 2;
        let hook = move |point| {
            left -= i32::from(point == Point::AfterApply);
            if left == 0 { Verdict::Crash } else { Verdict::GoOn }
        };
        let faults = Faults::hook(Arc::new(Mutex::new(hook)));
        assert!(faults.reached(Point::AfterApply).is_ok());
        assert!(faults.reached(Point::BeforePublish).is_ok());
        assert!(matches!(faults.reached(Point::AfterApply), Err(Error::Crashed(Point::AfterApply))));
    }
}
