//! Figures of several runs with their spread, and what one has to know to compare them.

use crate::cargo;
use serde_json::{Value, json};
use std::fmt;
use std::path::Path;
use std::process::Command;

/// What a benchmark says.
pub(crate) struct Report {
    facts: Vec<(String, String)>,
    figures: Vec<Figure>,
}

struct Figure {
    section: String,
    what: String,
    unit: String,
    values: Vec<f64>,
}

impl Report {
    /// A report that knows machine and versions.
    pub(crate) fn new() -> Self {
        let mut report = Self { facts: Vec::new(), figures: Vec::new() };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let cpu = line_after("/proc/cpuinfo", "model name").unwrap_or_default();
        let memory = line_after("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        report.fact("machine", format!("{cores} cores, {cpu}, {memory}, Linux {}", kernel.trim()));
        let locked = |name| version_in_lock(name).unwrap_or_default();
        let (touchline, commit) = (env!("CARGO_PKG_VERSION"), commit());
        let (rdkafka, librdkafka) = (locked("rdkafka"), locked("rdkafka-sys"));
        let versions = format!("Touchline {touchline} {commit}, rdkafka {rdkafka} (rdkafka-sys {librdkafka})");
        report.fact("versions", versions);
        report
    }

    /// Notes something that is no figure.
    pub(crate) fn fact(&mut self, name: &str, value: impl fmt::Display) {
        self.facts.push((name.to_owned(), value.to_string()));
    }

    /// Adds the value of a run to the figure of this name.
    pub(crate) fn add(&mut self, section: &str, what: &str, unit: &str, value: f64) {
        let known = |figure: &&mut Figure| figure.section == section && figure.what == what && figure.unit == unit;
        match self.figures.iter_mut().find(known) {
            Some(figure) => figure.values.push(value),
            None => {
                let [section, what, unit] = [section, what, unit].map(str::to_owned);
                self.figures.push(Figure { section, what, unit, values: vec![value] });
            }
        }
    }

    /// Adds how two values of one run relate, where both were measured.
    pub(crate) fn ratio(&mut self, section: &str, what: &str, unit: &str, value: f64, other: f64) {
        if value > 0.0 && other > 0.0 {
            self.add(section, what, unit, value / other);
        }
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        let facts: serde_json::Map<String, Value> =
            self.facts.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let figures: Vec<Value> = self.figures.iter().map(Figure::to_json).collect();
        json!({"benchmark": "kafka", "facts": facts, "figures": figures})
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.facts {
            writeln!(f, "{name:<10} {value}")?;
        }
        let mut sections: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if !sections.contains(&figure.section.as_str()) {
                sections.push(&figure.section);
            }
        }
        for section in sections {
            writeln!(f, "\n{section:<70} {:>10} {:>10} {:>10}  runs", "median", "least", "most")?;
            for figure in self.figures.iter().filter(|figure| figure.section == section) {
                let (least, median, most) = figure.spread();
                let what = format!("{}, {}", figure.what, figure.unit);
                let [median, least, most] = [median, least, most].map(shown);
                writeln!(f, "  {what:<68} {median:>10} {least:>10} {most:>10}  {}", figure.values.len())?;
            }
        }
        Ok(())
    }
}

impl Figure {
    fn spread(&self) -> (f64, f64, f64) {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        (sorted[0], f64::midpoint(low, high), sorted[sorted.len() - 1])
    }

    fn to_json(&self) -> Value {
        let (least, median, most) = self.spread();
        json!({"section": self.section, "what": self.what, "unit": self.unit, "median": median, "least": least,
            "most": most, "values": self.values})
    }
}

/// How busy the machine is: processes that want to run, over one, five and fifteen minutes.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Digits that mean something, thousands apart.
fn shown(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// `name: value` in a file of /proc.
fn line_after(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(cargo::root()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The version of a package that Cargo.lock names.
fn version_in_lock(package: &str) -> Option<String> {
    let lock = std::fs::read_to_string(cargo::root().join(Path::new("Cargo.lock"))).ok()?;
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_a_median_and_a_spread() {
        let mut report = Report::new();
        for value in [30.0, 10.0, 20.0] {
            report.add("a", "b", "ms", value);
            report.ratio("a", "c", "times", value, 10.0);
            report.ratio("a", "d", "times", value, 0.0);
        }
        let json = report.to_json();
        assert_eq!(json["figures"][0]["median"], 20.0);
        assert_eq!((&json["figures"][1]["least"], &json["figures"][1]["most"]), (&json!(1.0), &json!(3.0)));
        assert_eq!(json["figures"].as_array().map(Vec::len), Some(2));
        assert!(report.to_string().contains("b, ms"));
        assert_eq!([0.5, 1_234_567.4].map(shown), ["0.50", "1 234 567"]);
    }

    #[test]
    fn versions_are_those_that_are_locked() {
        assert!(version_in_lock("rdkafka").is_some_and(|version| version.starts_with("0.")));
        assert_eq!(version_in_lock("no-such-package"), None);
    }
}
