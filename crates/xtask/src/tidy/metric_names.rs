//! Every metric that a dashboard or an alert asks for exists in the code, and every one in the code is documented.

use super::Tree;
use std::collections::{BTreeMap, BTreeSet};

const PREFIX: &str = "touchline_";
const PAGE: &str = "deploy/README.md";
/// Series that a histogram shows besides its name.
const HISTOGRAM_ENDINGS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Checks names both ways.
pub(super) fn check(tree: &Tree) -> Vec<String> {
    let defined = defined(tree);
    let mut violations = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| is_query_file(path)) {
        for name in names(text) {
            let base = HISTOGRAM_ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
            let known = defined.contains_key(&name) || defined.contains_key(base);
            if !known && !recorded(tree).contains(&name) {
                violations.push(format!("{path}: no code defines the metric {name}"));
            }
        }
    }
    let documented = tree.get(PAGE).map(|text| names(text)).unwrap_or_default();
    let undocumented = defined.iter().filter(|(name, _)| !documented.contains(*name));
    violations.extend(undocumented.map(|(name, path)| format!("{PAGE}: the metric {name} of {path} is not described")));
    violations
}

fn is_query_file(path: &str) -> bool {
    let in_deploy = path.starts_with("deploy/grafana/") || path.starts_with("deploy/prometheus/");
    // In rule tests and `job` labels other words may begin alike; rule tests are promtool's affair.
    in_deploy && !path.contains("/tests/") && (path.ends_with(".json") || path.ends_with(".yml"))
}

/// Names in quotes in files called `metrics.rs` and in the program: what code records under.
fn defined(tree: &Tree) -> BTreeMap<String, &str> {
    let mut defined = BTreeMap::new();
    let records = |path: &str| path.ends_with("src/metrics.rs") || path.starts_with("crates/touchline/src/");
    for (path, text) in tree.iter().filter(|(path, _)| records(path)) {
        for literal in text.split('"').skip(1).step_by(2).filter(|literal| is_name(literal)) {
            defined.insert(literal.to_owned(), path.as_str());
        }
    }
    defined
}

/// Names that recording rules give.
fn recorded(tree: &Tree) -> BTreeSet<String> {
    let rules = tree.iter().filter(|(path, _)| path.starts_with("deploy/prometheus/rules/"));
    let lines = rules.flat_map(|(_, text)| text.lines());
    lines.filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("record: ")).map(str::to_owned).collect()
}

fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| is_name(word)).map(str::to_owned).collect()
}

fn is_name(word: &str) -> bool {
    let rest = word.strip_prefix(PREFIX).unwrap_or_default();
    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree;

    const CODE: &str = "pub const A: &str = \"touchline_lateness_seconds\";";

    fn check_query(query: &str) -> Vec<String> {
        check(&tree(&[
            ("crates/x/src/metrics.rs", CODE),
            ("deploy/grafana/dashboards/d.json", query),
            (PAGE, "`touchline_lateness_seconds`"),
        ]))
    }

    #[test]
    fn queries_may_ask_for_what_the_code_records() {
        assert!(check_query("sum(rate(touchline_lateness_seconds_bucket[5m]))").is_empty());
        let violations = check_query("touchline_latenes_seconds");
        assert_eq!(
            violations,
            ["deploy/grafana/dashboards/d.json: no code defines the metric touchline_latenes_seconds"]
        );
    }

    #[test]
    fn metrics_must_be_described() {
        let violations = check(&tree(&[("crates/x/src/metrics.rs", CODE), (PAGE, "none")]));
        assert_eq!(
            violations,
            ["deploy/README.md: the metric touchline_lateness_seconds of crates/x/src/metrics.rs is not described"]
        );
    }
}
