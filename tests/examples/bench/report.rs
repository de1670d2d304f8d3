//! Figures with their spread, and what one has to know to compare them.

use serde_json::{Value, json};
use std::fmt;
use std::process::Command;
use touchline_tests::repository;

/// What one benchmark says.
pub(crate) struct Report {
    name: String,
    facts: Vec<(String, String)>,
    figures: Vec<Figure>,
}

struct Figure {
    what: String,
    unit: &'static str,
    values: Vec<f64>,
}

impl Report {
    /// A report that knows the machine.
    pub(crate) fn new(name: &str) -> Self {
        let mut report = Self { name: name.to_owned(), facts: Vec::new(), figures: Vec::new() };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let cpu = line_after("/proc/cpuinfo", "model name").unwrap_or_default();
        let memory = line_after("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        report.fact("machine", format!("{cores} cores, {cpu}, {memory}, Linux {}", kernel.trim()));
        let profile =
            if cfg!(debug_assertions) { "dev (optimised as Cargo.toml says, assertions on)" } else { "release" };
        report.fact("profile", profile);
        let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(repository(".")).output();
        let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        report.fact("version", format!("{} {commit}", env!("CARGO_PKG_VERSION")));
        report
    }

    /// Notes something that is no figure: data, sizes, what was left out.
    pub(crate) fn fact(&mut self, name: &str, value: impl fmt::Display) {
        self.facts.push((name.to_owned(), value.to_string()));
    }

    /// Adds a value to the figure of this name.
    pub(crate) fn add(&mut self, what: &str, unit: &'static str, value: f64) {
        match self.figures.iter_mut().find(|figure| figure.what == what) {
            Some(figure) => figure.values.push(value),
            None => self.figures.push(Figure { what: what.to_owned(), unit, values: vec![value] }),
        }
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        let facts: serde_json::Map<String, Value> =
            self.facts.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let figures: Vec<Value> = self.figures.iter().map(Figure::to_json).collect();
        json!({"benchmark": self.name, "facts": facts, "figures": figures})
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        for (name, value) in &self.facts {
            writeln!(f, "  {name:<10} {value}")?;
        }
        writeln!(f, "\n  {:<52} {:>12} {:>12} {:>12}  runs", "", "median", "least", "most")?;
        for figure in &self.figures {
            let (least, median, most) = figure.spread();
            let what = format!("{}, {}", figure.what, figure.unit);
            let [median, least, most] = [median, least, most].map(shown);
            writeln!(f, "  {what:<52} {median:>12} {least:>12} {most:>12}  {}", figure.values.len())?;
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
        json!({"what": self.what, "unit": self.unit, "median": median, "least": least, "most": most,
            "values": self.values})
    }
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
pub(crate) fn line_after(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// CPU seconds a process has used so far.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    /// The kernel counts in hundredths whatever its own tick is.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; behind it come state (3rd field), …, utime (14th), stime (15th).
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}
