//! Clock times that a change of the clocks skips or doubles: they have one meaning, but seldom the one that was thought of.

use crate::codes;
use crate::syntax::SyntaxError;
use std::cell::OnceCell;
use touchline_model::time::{ClockTime, Zone};

/// Days looked at, from the first to before the second: the compiler knows no today, and rules of zones change.
const LOOKED_AT: (&str, &str) = ("2026-01-01", "2041-01-01");

/// The changes of a zone's clocks, looked up when first asked for.
#[derive(Debug)]
pub(crate) struct Clocks {
    zone: Zone,
    days: OnceCell<Vec<i32>>,
}

impl Clocks {
    pub(crate) const fn new(zone: Zone) -> Self {
        Self { zone, days: OnceCell::new() }
    }

    /// What to say of a clock time that some days do not have exactly once.
    pub(crate) fn warning(&self, clock: ClockTime, at: u32) -> Option<SyntaxError> {
        self.said(clock, self.days(), at)
    }

    /// As [`Self::warning`], of midnight.
    pub(crate) fn midnight(&self, at: u32) -> Option<SyntaxError> {
        self.warning(ClockTime::MIDNIGHT, at)
    }

    /// As [`Self::midnight`], of one day.
    pub(crate) fn midnight_of(&self, day: i32, at: u32) -> Option<SyntaxError> {
        self.said(ClockTime::MIDNIGHT, &[day], at)
    }

    fn days(&self) -> &[i32] {
        self.days.get_or_init(|| {
            let day = |text: &str| Zone::parse_date(text).expect("a date");
            self.zone.clock_changes(day(LOOKED_AT.0), day(LOOKED_AT.1))
        })
    }

    fn said(&self, clock: ClockTime, days: &[i32], at: u32) -> Option<SyntaxError> {
        let zone = self.zone;
        let first = |times: usize| days.iter().copied().find(|day| zone.passes(*day, clock) == times);
        let skipped = first(0).map(|day| {
            let (year, month, of_month, hour, minute) = zone.civil(zone.at(day, clock));
            let date = format!("{year:04}-{month:02}-{of_month:02}");
            (format!("does not exist in {} on {date}", zone.name()), format!("there it means {hour:02}:{minute:02}"))
        });
        let doubled = first(2).map(|day| {
            let (year, month, of_month, ..) = zone.civil(zone.at(day, clock));
            let date = format!("{year:04}-{month:02}-{of_month:02}");
            (format!("comes twice in {} on {date}", zone.name()), "of two the first is meant".to_owned())
        });
        let (what, meant): (Vec<String>, Vec<String>) = skipped.into_iter().chain(doubled).unzip();
        if what.is_empty() {
            return None;
        }
        let message = format!("{clock} {}", what.join(", and "));
        Some(SyntaxError::new(codes::CLOCK, at, message).hint(format!("{}; other days are as usual", meant.join(", "))))
    }
}
