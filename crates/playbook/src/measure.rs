//! What conditions compare: quantities of a contact's past at a moment, and when they change by time alone.

use crate::bundle::FieldTest;
use crate::matching;
use touchline_model::directory::Directory;
use touchline_model::past::{Past, Tally};
use touchline_model::time::{Span, Time, Zone};
use touchline_model::value::{Number, Value};

/// The moment something is judged at, and what is looked up.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// Event time: windows end here.
    pub at: Time,
    /// Staff, groups, products.
    pub directory: &'a Directory,
}

/// A quantity that a condition compares, with the way it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity {
    /// In one way, so that parsing it again gives the same.
    pub written: String,
    /// What it is.
    pub of: Measure,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// How often something happened.
    Count {
        /// What.
        of: Counted,
        /// When.
        window: Window,
        /// Events of this name that nobody counted yet: the last one counts all the same.
        at_least: Option<String>,
    },
    /// The sum of a field.
    Sum {
        /// Its tally.
        tally: u64,
        /// Of so many calendar days, the day of the moment among them; `None`: ever.
        days: Option<u32>,
        /// Whose calendar days.
        zone: Zone,
    },
    /// How long ago something happened first or last, in milliseconds.
    Age {
        /// What.
        of: Counted,
        /// Which of them.
        end: End,
    },
    /// An attribute.
    Attribute(Reading),
}

/// Where a count or an end of something is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// With every event of this name.
    Happened(String),
    /// In a tally.
    Tally(u64),
}

/// Which times count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// All of them.
    Ever,
    /// Those after the moment less this, up to the moment.
    Within(Span),
    /// Those from the latest of this on.
    Since(Counted),
}

/// The earliest or the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum End {
    First,
    Last,
}

/// How an attribute's value comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// A value that is kept under this name: set by an action, computed when an event came, or a profile field.
    Kept(String),
    /// Completed units between a date that is kept under this name and the moment.
    Elapsed {
        /// Name of the date.
        from: String,
        /// What is counted.
        unit: Unit,
        /// Whose calendar.
        zone: Zone,
    },
    /// When something happened first or last.
    Moment {
        /// What.
        of: Counted,
        /// Which of them.
        end: End,
    },
}

/// Calendar units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Unit {
    Days,
    Months,
    Years,
}

impl Quantity {
    /// Its value at a moment; `None` where there is none.
    pub fn value(&self, past: &Past, at: Time) -> Option<Value> {
        match &self.of {
            Measure::Count { of, window, at_least } => {
                let last = at_least.as_ref().and_then(|name| past.happened.get(name)).map(|known| known.last);
                let least = last.is_some_and(|last| last <= at && window.holds(past, last, at));
                let count = count(past, of, window, at).max(u64::from(least));
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                Some(Value::integer(count))
            }
            Measure::Sum { tally, days, zone } => Some(Value::Number(sum(past, *tally, *days, *zone, at))),
            Measure::Age { of, end } => {
                let then = moment(past, of, *end)?;
                Some(Value::integer(at.since(then).0))
            }
            Measure::Attribute(reading) => reading.value(past, at),
        }
    }

    /// Whether time alone can change it.
    pub const fn ages(&self) -> bool {
        match &self.of {
            Measure::Count { window, .. } => matches!(window, Window::Within(_)),
            Measure::Sum { days, .. } => days.is_some(),
            Measure::Age { .. } => true,
            Measure::Attribute(reading) => matches!(reading, Reading::Elapsed { .. }),
        }
    }

    /// Whether it is a length of time.
    pub(crate) const fn is_age(&self) -> bool {
        matches!(self.of, Measure::Age { .. })
    }

    /// The next moment after `at` at which time alone changes whether `test` holds; `None`: never.
    pub fn next_change(&self, test: &FieldTest, past: &Past, at: Time) -> Option<Time> {
        let holds = |value: Option<Value>| matching::value_fits(test, value.as_ref());
        let now = holds(self.value(past, at));
        let flips = |then: &Time| *then > at && holds(self.value(past, *then)) != now;
        match &self.of {
            Measure::Count { of: Counted::Tally(key), window: Window::Within(span), at_least } => {
                let newest = match past.tallies.get(key) {
                    Some(Tally::Newest(newest)) => &newest[..],
                    _ => &[],
                };
                let last = at_least.as_ref().and_then(|name| past.happened.get(name)).map(|known| known.last);
                let times = newest.iter().map(|occurrence| occurrence.at).chain(last);
                times.map(|time| time.plus(*span)).filter(flips).min()
            }
            Measure::Sum { tally, days: Some(days), zone } => {
                let Some(Tally::Days(sums)) = past.tallies.get(tally) else { return None };
                let days = i32::try_from(*days).unwrap_or(i32::MAX);
                sums.keys().map(|day| zone.day_start(day.saturating_add(days))).find(flips)
            }
            Measure::Age { of, end } => {
                let then = moment(past, of, *end)?;
                let bounds = matching::bounds(test).into_iter().filter_map(Number::as_integer);
                // At the bound itself, and just after it.
                let changes = bounds.flat_map(|bound| [bound, bound + 1]).map(|age| then.plus(Span(age)));
                changes.filter(flips).min()
            }
            Measure::Attribute(Reading::Elapsed { from, unit, zone }) => {
                let date = date_of(past, from, *zone)?;
                let bounds = matching::bounds(test).into_iter().map(|bound| bound.0.div_euclid(Number::ONE));
                let counts = bounds.flat_map(|bound| [bound, bound + 1]).chain([0]);
                let days = counts.filter_map(|count| {
                    let (months, days) = months_and_days(*unit, count)?;
                    Zone::day_after(date, months, days)
                });
                let changes = days.map(|day| zone.day_start(day));
                changes.filter(flips).min()
            }
            Measure::Count { .. }
            | Measure::Sum { .. }
            | Measure::Attribute(Reading::Kept(_) | Reading::Moment { .. }) => None,
        }
    }
}

impl Reading {
    /// The value at a moment.
    pub fn value(&self, past: &Past, at: Time) -> Option<Value> {
        match self {
            Self::Kept(name) => past.attributes.get(name).map(|attribute| attribute.value.clone()),
            Self::Moment { of, end } => moment(past, of, *end).map(Value::Time),
            Self::Elapsed { from, unit, zone } => {
                let date = date_of(past, from, *zone)?;
                let today = zone.day_number(at);
                if today < date {
                    return None;
                }
                let months = || i64::from(Zone::months_between(date, today));
                Some(Value::integer(match unit {
                    Unit::Days => i64::from(today - date),
                    Unit::Months => months(),
                    Unit::Years => months() / 12,
                }))
            }
        }
    }
}

/// Months and days that make so many units.
fn months_and_days(unit: Unit, count: i64) -> Option<(i32, i32)> {
    let count = i32::try_from(count).ok().filter(|count| (0..1_000_000).contains(count))?;
    Some(match unit {
        Unit::Days => (0, count),
        Unit::Months => (count, 0),
        Unit::Years => (count.checked_mul(12)?, 0),
    })
}

/// When something happened first or last.
pub fn moment(past: &Past, of: &Counted, end: End) -> Option<Time> {
    let (first, last) = match of {
        Counted::Happened(name) => past.happened.get(name).map(|known| (known.first, known.last))?,
        Counted::Tally(key) => match past.tallies.get(key)? {
            Tally::Ends { first, last } => (*first, *last),
            Tally::Count(_) | Tally::Newest(_) | Tally::Sum(_) | Tally::Days(_) => return None,
        },
    };
    Some(match end {
        End::First => first,
        End::Last => last,
    })
}

fn count(past: &Past, of: &Counted, window: &Window, at: Time) -> u64 {
    let newest = |from: &dyn Fn(Time) -> bool| match of {
        Counted::Tally(key) => match past.tallies.get(key) {
            Some(Tally::Newest(newest)) => {
                newest.iter().filter(|occurrence| occurrence.at <= at && from(occurrence.at)).count() as u64
            }
            Some(Tally::Count(count)) => *count,
            Some(Tally::Ends { .. } | Tally::Sum(_) | Tally::Days(_)) | None => 0,
        },
        Counted::Happened(name) => past.happened.get(name).map_or(0, |known| known.count),
    };
    newest(&|time| window.holds(past, time, at))
}

impl Window {
    /// Whether a time up to `at` counts.
    fn holds(&self, past: &Past, time: Time, at: Time) -> bool {
        match self {
            Self::Ever => true,
            Self::Within(span) => at.since(time) < *span,
            Self::Since(since) => moment(past, since, End::Last).is_some_and(|since| time >= since),
        }
    }
}

fn sum(past: &Past, tally: u64, days: Option<u32>, zone: Zone, at: Time) -> Number {
    match (past.tallies.get(&tally), days) {
        (Some(Tally::Sum(sum)), _) => *sum,
        (Some(Tally::Days(sums)), days) => {
            let today = zone.day_number(at);
            let first = days.map_or(i32::MIN, |days| today.saturating_sub(i32::try_from(days).unwrap_or(i32::MAX) - 1));
            let sums = sums.range(first..=today).map(|(_, sum)| sum.0);
            Number(sums.fold(0, i64::saturating_add))
        }
        _ => Number(0),
    }
}

/// A date that is kept, as days since 1970-01-01.
fn date_of(past: &Past, name: &str, zone: Zone) -> Option<i32> {
    match &past.attributes.get(name)?.value {
        Value::Time(time) => Some(zone.day_number(*time)),
        Value::Text(text) => {
            Zone::parse_date(text).or_else(|| Time::parse_rfc3339(text).map(|time| zone.day_number(time)))
        }
        Value::Number(_) | Value::Bool(_) | Value::List(_) | Value::Record(_) => None,
    }
}
