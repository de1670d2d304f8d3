//! Located findings about a playbook or an expression, and how people read them.

use crate::codes::{self, Code, Severity};
use crate::lookup;
use std::collections::BTreeMap;
use std::fmt;
use touchline_model::time::Zone;

/// One finding: what, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, from [`crate::codes::ALL`].
    pub code: &'static str,
    /// How grave.
    pub severity: Severity,
    /// Id of the playbook source; `condition` for a single expression.
    pub source_id: String,
    /// Line, 1-based.
    pub line: u32,
    /// Column, 1-based, in characters.
    pub column: u32,
    /// Where in the document: `rules/asks-price/trigger`; empty for a single expression.
    pub path: String,
    /// What is wrong, in lower case.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(
            f,
            "{severity}[{}]: {}\n --> {}:{}:{}",
            self.code, self.message, self.source_id, self.line, self.column
        )?;
        if !self.path.is_empty() {
            write!(f, " ({})", self.path)?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// All findings as one text for people, in order, with a blank line between.
pub fn render(diagnostics: &[Diagnostic]) -> String {
    let texts: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    texts.join("\n\n")
}

/// Errors kept per compilation: more help nobody.
const ERRORS_MAX: usize = 200;
/// Warnings kept per compilation; counted apart, so that they never crowd out an error.
const WARNINGS_MAX: usize = 100;

/// Collects findings.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    source_id: String,
    /// Every source entered so far → its place in the order.
    sources: BTreeMap<String, usize>,
    found: Vec<Diagnostic>,
    /// Names of the directory, each under the code for that it does not have it, the name as the message.
    mentioned: Vec<(Code, Diagnostic)>,
    /// With those that are not kept.
    errors: usize,
    warnings: usize,
}

/// A place in a source, 1-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

impl Sink {
    pub(crate) fn new(source_id: &str) -> Self {
        let mut sink = Self::default();
        sink.enter(source_id);
        sink
    }

    /// Findings from now on belong to this source.
    pub(crate) fn enter(&mut self, source_id: &str) {
        source_id.clone_into(&mut self.source_id);
        let next = self.sources.len();
        if !self.sources.contains_key(source_id) {
            self.sources.insert(source_id.to_owned(), next);
        }
    }

    /// A finding; of a name that the directory should have ([`lookup::CODES`](crate::lookup::CODES)) the name alone,
    /// which is a finding where it does not.
    pub(crate) fn report(&mut self, code: Code, at: Place, path: &str, message: String, hint: Option<String>) {
        let found = Diagnostic {
            code: code.code,
            severity: code.severity,
            source_id: self.source_id.clone(),
            line: at.line,
            column: at.column,
            path: path.to_owned(),
            message,
            hint,
        };
        if lookup::CODES.contains(&code) {
            self.mentioned.push((code, found));
        } else {
            self.keep(code, found);
        }
    }

    /// Names of the directory, in the order of reading, to be looked up.
    pub(crate) fn take_mentioned(&mut self) -> Vec<(Code, Diagnostic)> {
        std::mem::take(&mut self.mentioned)
    }

    pub(crate) fn keep(&mut self, code: Code, found: Diagnostic) {
        let (count, max) = match code.severity {
            Severity::Error => (&mut self.errors, ERRORS_MAX),
            Severity::Warning => (&mut self.warnings, WARNINGS_MAX),
        };
        *count += 1;
        if *count <= max {
            self.found.push(found);
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether another warning would be kept, so that a hint for it is not wasted.
    pub(crate) fn has_room(&self) -> bool {
        self.warnings < WARNINGS_MAX
    }

    /// Whether there are more errors than are kept, so that looking for others is wasted.
    pub(crate) fn is_full(&self) -> bool {
        self.errors > ERRORS_MAX
    }

    /// What is kept, by source and place; last, that there is more.
    pub(crate) fn into_found(self) -> Vec<Diagnostic> {
        let Self { sources, mut found, errors, warnings, .. } = self;
        let source = |id: &String| sources.get(id).copied();
        found.sort_by_key(|found| (source(&found.source_id), found.line, found.column));
        let last = found.last().cloned();
        let more = [
            (codes::MORE, errors > ERRORS_MAX, "mistakes", ERRORS_MAX),
            (codes::MORE_WARNINGS, warnings > WARNINGS_MAX, "warnings", WARNINGS_MAX),
        ];
        for ((code, _, what, max), last) in
            more.into_iter().filter(|(_, is_more, ..)| *is_more).zip(last.iter().cycle())
        {
            found.push(Diagnostic {
                code: code.code,
                severity: code.severity,
                path: String::new(),
                message: format!("there are more {what}: these are {max} of them"),
                hint: Some("mend these first".to_owned()),
                ..last.clone()
            });
        }
        found
    }
}

/// `did you mean …`, when a name close enough exists.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let length = wrong.chars().count();
    if length > SUGGESTION_CHARS_MAX {
        return None;
    }
    let allowed = (length / 3).max(1);
    let near = known.into_iter().take(SUGGESTION_NAMES_MAX);
    let near = near.filter(|name| name.chars().count().abs_diff(length) <= allowed);
    let best = near.map(|name| (distance(wrong, name), name)).min()?;
    (best.0 <= allowed).then(|| format!("did you mean `{}`?", best.1))
}

/// What to write in place of a name that no time zone has: the zone, when the name is nearly that, or nearly its city.
pub fn zone_hint(wrong: &str) -> String {
    let folded = |name: &str| name.trim().to_lowercase().replace(' ', "_");
    let city = |name: &str| name.rsplit_once('/').map_or(name, |(_, city)| city).to_owned();
    if wrong.chars().count() > SUGGESTION_CHARS_MAX {
        return ZONE_EXAMPLE.to_owned();
    }
    let wrong = folded(wrong);
    // It is what people say; the table has none of it.
    if let "beijing" | "peking" | "北京" | "上海" = city(&wrong).as_str() {
        return "did you mean `Asia/Shanghai`?".to_owned();
    }
    let allowed = match city(&wrong).chars().count() {
        // Most that is so short is an abbreviation, and near to many others.
        ..=4 => 0,
        length => length / 3,
    };
    let far = |name: &&'static str| {
        let whole = folded(name);
        let known = if wrong.contains('/') { whole } else { city(&whole) };
        (distance(&wrong, &known), *name)
    };
    // With a number in its name a zone is other than people think: Etc/GMT+8 is eight hours behind.
    let plain = Zone::names().filter(|name| !name.contains(|c: char| c.is_ascii_digit()));
    let best = plain.map(|name| far(&name)).min().filter(|(distance, _)| *distance <= allowed);
    best.map_or_else(|| ZONE_EXAMPLE.to_owned(), |(_, name)| format!("did you mean `{name}`?"))
}

const ZONE_EXAMPLE: &str = "use a name such as Asia/Shanghai";

/// Names longer than this get no suggestion: the comparison is quadratic.
const SUGGESTION_CHARS_MAX: usize = 60;
/// Names looked at for a suggestion.
const SUGGESTION_NAMES_MAX: usize = 500;

/// Edit distance in characters, a swap of neighbours counting as one.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut cost = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                cost = cost.min(rows[i - 1][j - 1] + 1);
            }
            row.push(cost);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes;

    #[test]
    fn reads_like_a_compiler() {
        let mut sink = Sink::new("price");
        let hint = Some("did you mean `tag`?".to_owned());
        sink.report(codes::UNKNOWN_KEY, Place { line: 3, column: 9 }, "rules/a", "unknown key `tga`".into(), hint);
        assert_eq!(
            render(&sink.into_found()),
            "error[PB005]: unknown key `tga`\n --> price:3:9 (rules/a)\n hint: did you mean `tag`?"
        );
    }

    #[test]
    fn suggests_only_what_is_close() {
        let known = ["trigger", "when", "商机看板"];
        assert_eq!(did_you_mean("tigger", known).as_deref(), Some("did you mean `trigger`?"));
        assert_eq!(did_you_mean("wehn", known).as_deref(), Some("did you mean `when`?"));
        assert_eq!(did_you_mean("商机看版", known).as_deref(), Some("did you mean `商机看板`?"));
        assert_eq!(did_you_mean("banana", known), None);
        assert_eq!(did_you_mean(&"x".repeat(200), known), None);
    }

    #[test]
    fn suggests_time_zones() {
        for (wrong, zone) in [
            ("shanghai", "Asia/Shanghai"),
            ("asia/shanghai", "Asia/Shanghai"),
            ("Asia/Shangai", "Asia/Shanghai"),
            ("Asia/Beijing", "Asia/Shanghai"),
            ("new york", "America/New_York"),
            ("Europe/Berln", "Europe/Berlin"),
            ("utc", "Etc/UTC"),
        ] {
            assert_eq!(zone_hint(wrong), format!("did you mean `{zone}`?"), "{wrong}");
        }
        for wrong in ["", "CST", "GMT+8", "UTC+8", "+08:00", "Asia/Atlantis", &"上".repeat(100_000)] {
            assert_eq!(zone_hint(wrong), ZONE_EXAMPLE, "{wrong}");
        }
    }
}
