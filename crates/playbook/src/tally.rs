//! What is counted as events come, because a condition or an attribute asks for it.

use crate::bundle::Pattern;
use crate::keywords::Scan;
use crate::matching::Matched;
use touchline_model::event::{Event, FieldRef};
use touchline_model::kind::Kind;
use touchline_model::past::{Occurrence, Past, Tally, add_newest};
use touchline_model::time::{Time, Zone};
use touchline_model::value::{Number, Value};
use xxhash_rust::xxh3::xxh3_64;

/// Something that is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tallied {
    /// Events that count.
    pub pattern: Pattern,
    /// What is kept of them.
    pub kept: Kept,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// How many, ever.
    Count,
    /// The earliest and the latest.
    Ends,
    /// The newest of them.
    Newest {
        /// As many as all conditions that ask need.
        keep: usize,
        /// A field of which each value counts once.
        distinct: Option<String>,
    },
    /// The sum of a field.
    Sum {
        /// Dotted path.
        field: String,
        /// By calendar day, of so many days; `None`: of all time in one.
        days: Option<u32>,
        /// Whose calendar.
        zone: Zone,
    },
}

impl Tallied {
    /// Names what is kept: the same in every version of every playbook that asks for the same.
    pub fn key(&self) -> u64 {
        let kept = match &self.kept {
            Kept::Count => "count".to_owned(),
            Kept::Ends => "ends".to_owned(),
            Kept::Newest { distinct, .. } => format!("newest {}", distinct.as_deref().unwrap_or_default()),
            Kept::Sum { field, days: None, .. } => format!("sum {field}"),
            Kept::Sum { field, days: Some(_), zone } => format!("days {field} {}", zone.name()),
        };
        xxh3_64(format!("{kept} {}", self.pattern.write()).as_bytes())
    }

    /// Makes room for what another condition needs of the same.
    pub(crate) fn widen(&mut self, other: &Self) {
        match (&mut self.kept, &other.kept) {
            (Kept::Newest { keep, .. }, Kept::Newest { keep: other, .. }) => *keep = (*keep).max(*other),
            (Kept::Sum { days: Some(days), .. }, Kept::Sum { days: Some(other), .. }) => *days = (*days).max(*other),
            _ => {}
        }
    }

    /// How many times it keeps.
    pub fn keep(&self) -> usize {
        match self.kept {
            Kept::Newest { keep, .. } => keep,
            Kept::Count | Kept::Ends | Kept::Sum { .. } => 0,
        }
    }

    /// Counts an event, if it fits.
    pub fn add(&self, key: u64, past: &mut Past, event: &Event, scan: &mut Scan<'_>, at: Time) {
        if matches!(self.pattern.matches(event, scan), Matched::No) {
            return;
        }
        let fresh = match &self.kept {
            Kept::Count => Tally::Count(0),
            Kept::Ends => Tally::Ends { first: at, last: at },
            Kept::Newest { .. } => Tally::Newest(Vec::new()),
            Kept::Sum { days: None, .. } => Tally::Sum(Number(0)),
            Kept::Sum { days: Some(_), .. } => Tally::Days(std::collections::BTreeMap::new()),
        };
        let known = past.tallies.entry(key).or_insert_with(|| fresh.clone());
        // The key had another meaning in an older version of this program.
        if std::mem::discriminant(known) != std::mem::discriminant(&fresh) {
            *known = fresh;
        }
        match (&self.kept, known) {
            (Kept::Count, Tally::Count(count)) => *count = count.saturating_add(1),
            (Kept::Ends, Tally::Ends { first, last }) => (*first, *last) = (at.min(*first), at.max(*last)),
            (Kept::Newest { keep, distinct }, Tally::Newest(newest)) => {
                let by = distinct.as_ref().and_then(|field| event.field(field)).and_then(hash_of);
                add_newest(newest, Occurrence { at, by }, *keep);
            }
            (Kept::Sum { field, .. }, Tally::Sum(sum)) => sum.0 = sum.0.saturating_add(number_of(event, field)),
            (Kept::Sum { field, days: Some(days), zone }, Tally::Days(sums)) => {
                let sum = sums.entry(zone.day_number(at)).or_insert(Number(0));
                sum.0 = sum.0.saturating_add(number_of(event, field));
                while sums.len() > *days as usize {
                    sums.pop_first();
                }
            }
            _ => {}
        }
    }
}

/// What one value of a field is told from others by; an absent or empty one counts by itself.
fn hash_of(field: FieldRef<'_>) -> Option<u64> {
    let written = match field {
        FieldRef::Text(text) => text.to_owned(),
        FieldRef::Value(Value::Text(text)) => text.clone(),
        FieldRef::Value(Value::Number(number)) => number.to_string(),
        FieldRef::Value(Value::Time(time)) => time.to_string(),
        FieldRef::Value(Value::Bool(_) | Value::List(_) | Value::Record(_)) => return None,
    };
    // 0 means none on the wire.
    (!written.is_empty()).then(|| xxh3_64(written.as_bytes()).max(1))
}

fn number_of(event: &Event, field: &str) -> i64 {
    let field = event.field(field);
    match field {
        Some(FieldRef::Value(Value::Number(number))) => number.0,
        // Declared as a number, so a text is none.
        _ if event.kind == Kind::Custom => 0,
        // Of an open set, or a channel that writes numbers as text.
        _ => field.and_then(FieldRef::as_text).and_then(Number::parse).map_or(0, |number| number.0),
    }
}
