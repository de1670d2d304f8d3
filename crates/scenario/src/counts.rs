//! What playbooks have counted, against what is expected.

use crate::format::{MetricExpectation, WantedNumber};
use crate::report::Failure;
use std::collections::BTreeMap;
use touchline_playbook::metrics::{Metric, Row};

/// The difference, if there is one; `found`: the metric with its numbers, if the playbooks have it.
pub(crate) fn check(wanted: &MetricExpectation, found: Option<(&Metric, &[Row])>, file: &str) -> Option<Failure> {
    let failure = |expected: String, found: String| Failure {
        file: file.to_owned(),
        line: wanted.place.line,
        column: wanted.place.column,
        what: format!("metric {}", wanted.metric),
        expected,
        found,
        because: Vec::new(),
    };
    let Some((metric, rows)) = found else {
        return Some(failure("a metric of the playbooks".to_owned(), "there is none of this name".to_owned()));
    };
    let found: BTreeMap<String, WantedNumber> =
        rows.iter().map(|row| (name(metric, row), WantedNumber { count: row.count, met: row.is_met })).collect();
    let fits = |(name, number): (&String, &WantedNumber)| {
        let wanted = wanted.numbers.get(name);
        wanted
            .is_some_and(|wanted| wanted.count == number.count && wanted.met.is_none_or(|met| Some(met) == number.met))
    };
    let is_right = found.len() == wanted.numbers.len() && found.iter().all(fits);
    (!is_right).then(|| failure(written(&wanted.numbers), written(&found)))
}

/// `li/2026-12`, `li`, `2026-12`; `-` where it is nobody's.
fn name(metric: &Metric, row: &Row) -> String {
    let executor = metric.per.executor.then(|| row.executor.as_deref().unwrap_or("-"));
    let period = metric.per.calendar.map(|_| row.period.as_str());
    executor.into_iter().chain(period).collect::<Vec<&str>>().join("/")
}

fn written(numbers: &BTreeMap<String, WantedNumber>) -> String {
    if numbers.is_empty() {
        return "nothing".to_owned();
    }
    let one = |(name, number): (&String, &WantedNumber)| match number.met {
        None => format!("{name}: {}", number.count),
        Some(met) => format!("{name}: {{count: {}, met: {met}}}", number.count),
    };
    numbers.iter().map(one).collect::<Vec<String>>().join(", ")
}
