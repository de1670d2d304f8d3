//! The `metrics` section: what is counted per person and calendar period, against a target.
//!
//! Which number an event adds to ([`Metric::slot`]) and what the numbers say ([`table`]) are decided here, for whoever
//! counts and whoever shows.

use crate::bundle::{FieldTest, Pattern};
use crate::codes;
use crate::compile::Scope;
use crate::diagnostic::{Place, Sink, did_you_mean};
use crate::documents;
use crate::matching::value_fits;
use crate::reader::{self, Mapping};
use crate::resolve::{Resolver, Type};
use crate::syntax::{self, Happening, Test, Word};
use crate::yaml::Node;
use std::collections::BTreeMap;
use touchline_model::counted::{Counted, Slot};
use touchline_model::event::{Event, FieldRef};
use touchline_model::kind::HANDOFF_CREATED;
use touchline_model::time::{Time, Zone};
use touchline_model::value::Value;
use xxhash_rust::xxh3::xxh3_64;

/// Most metrics of a bundle: each is a cell per person and period, and each event is tried on those that name it.
pub const METRICS_MAX: usize = 100;

/// Something that is counted per person and period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Its id, unique in the bundle.
    pub id: String,
    /// The playbook that declares it.
    pub playbook: String,
    /// Whose calendar.
    pub zone: Zone,
    /// Events that count.
    pub count: Pattern,
    /// How the count is divided.
    pub per: Per,
    /// What each number is to be; a test of a number.
    pub target: Option<FieldTest>,
}

/// How a count is divided; at least one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Per {
    /// By staff member.
    pub executor: bool,
    /// By calendar period.
    pub calendar: Option<Calendar>,
}

/// Calendar periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calendar {
    /// `2026-12-01`.
    Day,
    /// `2026-W49`: ISO 8601, from Monday.
    Week,
    /// `2026-12`.
    Month,
}

impl Calendar {
    const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    /// The name in playbooks.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "calendar_day",
            Self::Week => "calendar_week",
            Self::Month => "calendar_month",
        }
    }

    /// The period in which a moment lies. Periods of one kind sort by time.
    pub fn period(self, at: Time, zone: Zone) -> String {
        let (year, month, day, ..) = zone.civil(at);
        match self {
            Self::Day => format!("{year:04}-{month:02}-{day:02}"),
            Self::Week => {
                let (year, week) = zone.iso_week(at);
                format!("{year:04}-W{week:02}")
            }
            Self::Month => format!("{year:04}-{month:02}"),
        }
    }
}

impl Metric {
    /// The number that an event at `at` adds to. It belongs to whom the event names, else to the contact's `owner`.
    pub fn slot(&self, event: &Event, at: Time, owner: Option<&str>) -> Slot {
        let field = if event.name() == HANDOFF_CREATED { "executor" } else { "staff" };
        let named = event.field(field).and_then(FieldRef::as_text).filter(|staff| !staff.is_empty());
        let executor = named.or(owner).filter(|_| self.per.executor);
        Slot {
            playbook: self.playbook.clone(),
            metric: self.id.clone(),
            meaning: self.meaning(),
            executor: executor.map(str::to_owned),
            period: self.per.calendar.map(|calendar| calendar.period(at, self.zone)).unwrap_or_default(),
        }
    }

    /// Names what is counted and how it is divided. The target says nothing about that.
    pub fn meaning(&self) -> u64 {
        let zone = self.per.calendar.map_or("", |_| self.zone.name());
        xxh3_64(format!("{} {zone} {}", self.write_per().join(" "), self.count.write()).as_bytes())
    }

    /// Whether a number is what it is to be; `None` without a target.
    pub fn is_met(&self, count: u64) -> Option<bool> {
        let number = Value::integer(i64::try_from(count).unwrap_or(i64::MAX));
        self.target.as_ref().map(|target| value_fits(target, Some(&number)))
    }

    /// `per`, in the words of playbooks.
    pub fn write_per(&self) -> Vec<&'static str> {
        let executor = self.per.executor.then_some("executor");
        executor.into_iter().chain(self.per.calendar.map(Calendar::name)).collect()
    }

    /// `target`, in the words of playbooks; empty without one.
    pub fn write_target(&self) -> String {
        self.target.as_ref().map_or_else(String::new, |target| target.write_bound(false))
    }
}

/// A number of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whose; `None`: nobody's, or the metric is not divided by person.
    pub executor: Option<String>,
    /// When; empty where the metric is not divided by time.
    pub period: String,
    /// How often.
    pub count: u64,
    /// Whether that is what it is to be; `None` without a target.
    pub is_met: Option<bool>,
}

/// What partitions have counted of a metric, added up: by period, then person. Where nothing was counted there is no row.
pub fn table<'c>(metric: &Metric, counted: impl Iterator<Item = &'c Counted>) -> Vec<Row> {
    let meaning = metric.meaning();
    let mut rows: BTreeMap<(&str, Option<&str>), u64> = BTreeMap::new();
    for Counted { slot, count, .. } in counted {
        if slot.meaning == meaning && slot.metric == metric.id && slot.playbook == metric.playbook {
            let sum = rows.entry((&slot.period, slot.executor.as_deref())).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
    let row = |((period, executor), count): ((&str, Option<&str>), u64)| Row {
        executor: executor.map(str::to_owned),
        period: period.to_owned(),
        count,
        is_met: metric.is_met(count),
    };
    rows.into_iter().map(row).collect()
}

/// Reads the section.
pub(crate) fn read(node: &Node, scope: &Scope<'_>, sink: &mut Sink, metrics: &mut Vec<Metric>) {
    for node in reader::list(node, "metrics", sink) {
        let Some((place, metric)) = one(node, scope, sink) else { continue };
        let path = reader::join("metrics", &metric.id);
        if metrics.iter().any(|have| have.id == metric.id) {
            let message = format!("the bundle has another metric `{}`", metric.id);
            sink.report(codes::DUPLICATE_ID, place, &path, message, None);
        } else if metrics.len() == METRICS_MAX {
            let message = format!("the bundle has more than {METRICS_MAX} metrics");
            return sink.report(codes::TOO_LARGE, place, &path, message, None);
        }
        metrics.push(metric);
    }
}

fn one(node: &Node, scope: &Scope<'_>, sink: &mut Sink) -> Option<(Place, Metric)> {
    let mut map = Mapping::open(node, &documents::METRIC, "metrics", sink)?;
    let id = map.id("id", sink);
    let path = id.map_or_else(|| "metrics".to_owned(), |id| reader::join("metrics", &id.text));
    let count = map.require("count", sink).and_then(|node| pattern(node, &path, scope, sink));
    let per = map.require("per", sink).and_then(|node| per(node, &path, sink));
    let target = match map.take("target") {
        Some(node) => Some(target(node, &path, scope, sink)?),
        None => None,
    };
    map.done(sink);
    let (id, playbook, zone) = (id?, scope.document.id.clone(), scope.document.zone);
    Some((id.place, Metric { id: id.text.clone(), playbook, zone, count: count?, per: per?, target }))
}

fn pattern(node: &Node, path: &str, scope: &Scope<'_>, sink: &mut Sink) -> Option<Pattern> {
    let (happening, scalar) = reader::expression(node, path, false, sink, syntax::trigger)?;
    let Happening::Event(pattern) = happening else {
        let hint = Some("events are counted: order.paid, handoff.created(reason=…)".to_owned());
        sink.report(codes::PLACE, scalar.place, path, format!("`{}` is no event", scalar.text), hint);
        return None;
    };
    let mut resolver = Resolver::new(scope.names).with_handoffs();
    let out = resolver.pattern(&pattern);
    resolver.problems.into_iter().for_each(|problem| reader::syntax_error(scalar, path, problem, sink));
    out
}

fn per(node: &Node, path: &str, sink: &mut Sink) -> Option<Per> {
    let mut per = Per::default();
    for node in reader::one_or_many(node) {
        let word = reader::text(node, path, sink)?;
        let calendar = Calendar::ALL.into_iter().find(|calendar| calendar.name() == word.text);
        let is_twice = match calendar {
            Some(_) => per.calendar.is_some(),
            None => per.executor,
        };
        match (word.text.as_str(), calendar) {
            (_, Some(_)) | ("executor", _) if is_twice => {
                let message = format!("`{}` divides a second time what is divided already", word.text);
                let hint = Some("`executor` once, and one of calendar_day, calendar_week, calendar_month".to_owned());
                sink.report(codes::VALUE, word.place, path, message, hint);
                return None;
            }
            (_, Some(_)) => per.calendar = calendar,
            ("executor", _) => per.executor = true,
            (other, None) => {
                let known = || Calendar::ALL.into_iter().map(Calendar::name).chain(["executor"]);
                let hint = did_you_mean(other, known())
                    .or_else(|| Some("it is executor, calendar_day, calendar_week or calendar_month".to_owned()));
                sink.report(codes::VALUE, word.place, path, format!("nothing is counted per `{other}`"), hint);
                return None;
            }
        }
    }
    if per == Per::default() {
        reader::shape(node, "executor or a calendar period", path, sink);
        return None;
    }
    Some(per)
}

fn target(node: &Node, path: &str, scope: &Scope<'_>, sink: &mut Sink) -> Option<FieldTest> {
    let (test, scalar) = reader::expression(node, path, false, sink, syntax::bound)?;
    if matches!(test, Test::Present | Test::Keywords(_)) {
        let hint = Some("write \"> 20\" or \"in 10..20\"".to_owned());
        sink.report(codes::TYPE, scalar.place, path, "a target is a comparison with a number".to_owned(), hint);
        return None;
    }
    let mut resolver = Resolver::new(scope.names);
    let count = Word { text: "count".to_owned(), at: 0 };
    let out = resolver.typed(String::new(), &Type::Number, &count, &test);
    resolver.problems.into_iter().for_each(|problem| reader::syntax_error(scalar, path, problem, sink));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_those_of_the_zone() {
        let at = |text: &str| Time::parse_rfc3339(text).unwrap();
        let london = Zone::parse("Europe/London").unwrap();
        for (moment, calendar, zone, expected) in [
            ("2026-11-30T16:00:00Z", Calendar::Month, Zone::SHANGHAI, "2026-12"),
            ("2026-11-30T16:00:00Z", Calendar::Month, london, "2026-11"),
            ("2026-11-30T15:59:59Z", Calendar::Day, Zone::SHANGHAI, "2026-11-30"),
            ("2026-11-30T16:00:00Z", Calendar::Day, Zone::SHANGHAI, "2026-12-01"),
            // A Sunday, the Monday after it, and a Friday that belongs to the last week of the year before.
            ("2026-11-29T04:00:00Z", Calendar::Week, Zone::SHANGHAI, "2026-W48"),
            ("2026-11-30T04:00:00Z", Calendar::Week, Zone::SHANGHAI, "2026-W49"),
            ("2027-01-01T04:00:00Z", Calendar::Week, Zone::SHANGHAI, "2026-W53"),
        ] {
            assert_eq!(calendar.period(at(moment), zone), expected, "{moment} {}", calendar.name());
        }
    }
}
