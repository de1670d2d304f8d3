//! What is waited for: that nothing happens for a while, that a date comes.

use crate::bundle::Pattern;
use crate::measure::{Counted, End, Reading, moment};
use touchline_model::past::Past;
use touchline_model::time::{Span, Time, Zone};
use touchline_model::value::Value;
use xxhash_rust::xxh3::xxh3_64;

/// Something that a timer waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// Nothing happens for a while.
    Silence(Silence),
    /// A date comes.
    Reached(Reached),
    /// Nobody answers a touch.
    NotReplied {
        /// `journey/step`.
        touch: String,
        /// How long after it was sent.
        after: Span,
    },
}

/// `replied(journey/step, within=7d, text has 有帮助)`: an answer to a touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `journey/step`.
    pub touch: String,
    /// Not later than this after it was sent.
    pub within: Option<Span>,
    /// The text has a keyword of this set.
    pub keywords: Option<String>,
}

impl Reply {
    /// The answer as text.
    pub fn write(&self) -> String {
        let (journey, step) = self.touch.split_once('/').unwrap_or((&self.touch, ""));
        let within = self.within.map_or_else(String::new, |span| format!(", within={}s", span.0 / 1_000));
        let text = self.keywords.as_ref().map_or_else(String::new, |set| format!(", text has \"{set}\""));
        format!("replied(\"{journey}/{step}\"{within}{text})")
    }

    /// Names it: the same in every version of every playbook that asks for the same.
    pub fn key(&self) -> u64 {
        xxh3_64(self.write().as_bytes())
    }
}

/// `silence([…], for=60d, since=order.paid)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Any of these breaks it.
    pub patterns: Vec<Pattern>,
    /// This starts it, and breaks it too.
    pub since: Pattern,
    /// How long.
    pub span: Span,
    /// Where the latest of what starts it is kept, and of what breaks it: it may come in another order.
    pub latest: (Counted, Vec<Counted>),
}

/// `reached(attribute - 3d)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The attribute's name.
    pub attribute: String,
    /// Its value: a date.
    pub reading: Reading,
    /// So much later; earlier when negative. Whole days keep the clock time.
    pub shift: Span,
    /// Whose calendar.
    pub zone: Zone,
}

impl Wait {
    /// Names what is waited for: the same in every version of every playbook that waits for the same.
    pub fn key(&self) -> u64 {
        let written = match self {
            Self::Silence(Silence { patterns, since, span, .. }) => {
                let patterns: Vec<String> = patterns.iter().map(Pattern::write).collect();
                format!("silence {} {} {}", patterns.join(" | "), span.0, since.write())
            }
            Self::Reached(Reached { attribute, shift, zone, .. }) => {
                format!("reached {attribute} {} {}", shift.0, zone.name())
            }
            Self::NotReplied { touch, after } => format!("not replied {touch} {}", after.0),
        };
        xxh3_64(written.as_bytes())
    }
}

impl Silence {
    /// Since when it has run, as far as that is remembered without having waited for it.
    ///
    /// `is_counted`: what breaks it has been counted all along. Otherwise the last event of its kind counts for it: the
    /// silence may begin too late, never too early.
    pub fn known_since(&self, past: &Past, is_counted: bool) -> Option<Time> {
        let (since, patterns) = &self.latest;
        let last = |of: &Counted| moment(past, of, End::Last);
        let since = last(since)?;
        let of_kind = |pattern: &Pattern| last(&Counted::Happened(pattern.event.clone())).filter(|_| !is_counted);
        let broken =
            patterns.iter().zip(&self.patterns).filter_map(|(of, pattern)| last(of).or_else(|| of_kind(pattern)));
        Some(broken.fold(since, Time::max))
    }
}

impl Reached {
    /// When it comes; `None` while the attribute has no date.
    pub fn moment(&self, past: &Past, at: Time) -> Option<Time> {
        let date = match self.reading.value(past, at)? {
            Value::Time(time) => time,
            Value::Text(text) => match Zone::parse_date(&text) {
                Some(day) => self.zone.day_start(day),
                None => Time::parse_rfc3339(&text)?,
            },
            Value::Number(_) | Value::Bool(_) | Value::List(_) | Value::Record(_) => return None,
        };
        let day_ms = Span::days(1).0;
        Some(if self.shift.0 % day_ms == 0 {
            self.zone.plus_days(date, self.shift.0 / day_ms)
        } else {
            date.plus(self.shift)
        })
    }
}
