//! Documents exist, their links lead somewhere, and the commands they name exist.

use super::{Tree, numbered};

/// Pages that must be there, each with what a reader looks for in it.
const REQUIRED: [&str; 6] =
    ["README.md", "crates/README.md", "proto/README.md", "tests/README.md", "deploy/README.md", "LICENSE"];

/// Checks the pages. `accepts` says whether `cargo xtask` takes these arguments.
pub(super) fn check(tree: &Tree, accepts: &dyn Fn(&[&str]) -> bool) -> Vec<String> {
    let absent = REQUIRED.iter().filter(|page| !tree.contains_key(**page));
    let mut violations: Vec<String> = absent.map(|page| format!("{page} is missing")).collect();
    for (path, text) in tree {
        if path.ends_with(".md") {
            violations.extend(links(tree, path, text));
            violations.extend(commands(path, text, accepts));
        }
        let is_crate_root = path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs");
        if is_crate_root && !text.trim_start().starts_with("//!") {
            violations.push(format!("{path} does not say what the crate is\nhint: begin it with `//!`"));
        }
    }
    violations
}

/// Relative links `[…](path)` must lead to a file or directory of the repository.
fn links(tree: &Tree, page: &str, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    for (line_number, line) in numbered(text) {
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            let elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !elsewhere && !exists(tree, &resolve(page, target)) {
                violations.push(format!("{page}:{line_number}: link to {target}, which is not there"));
            }
        }
    }
    violations
}

fn resolve(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn exists(tree: &Tree, path: &str) -> bool {
    let directory = format!("{path}/");
    path.is_empty() || tree.contains_key(path) || tree.keys().any(|file| file.starts_with(&directory))
}

/// `cargo xtask …` in code: up to a comment, a backtick or a sign of the shell.
fn commands(page: &str, text: &str, accepts: &dyn Fn(&[&str]) -> bool) -> Vec<String> {
    let mut violations = Vec::new();
    for (line_number, line) in numbered(text) {
        for rest in line.split("cargo xtask").skip(1) {
            let end = rest.find(['`', '#', '|', '>', ';', '&', '"', ')']).unwrap_or(rest.len());
            let command = rest.get(..end).unwrap_or_default();
            let arguments: Vec<&str> = command.split_whitespace().collect();
            // Without arguments it is the tool's name in a sentence.
            if !arguments.is_empty() && !accepts(&arguments) {
                violations.push(format!("{page}:{line_number}: `cargo xtask {}` is no command", arguments.join(" ")));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree;

    fn check_page(text: &str) -> Vec<String> {
        let mut files: Vec<(&str, &str)> = REQUIRED.map(|page| (page, "")).to_vec();
        files.push(("docs/page.md", text));
        files.push(("crates/model/src/lib.rs", "//! Words.\n"));
        check(&tree(&files), &|arguments| arguments == ["test"])
    }

    #[test]
    fn pages_must_be_there() {
        let violations = check(&Tree::new(), &|_| true);
        assert_eq!(violations.len(), REQUIRED.len());
        assert_eq!(violations[0], "README.md is missing");
    }

    #[test]
    fn links_must_lead_somewhere() {
        assert!(check_page("[a](../README.md) [b](../crates/model) [c](https://x.example/y) [d](#here)").is_empty());
        assert_eq!(check_page("\n[a](../gone.md)"), ["docs/page.md:2: link to ../gone.md, which is not there"]);
    }

    #[test]
    fn commands_must_exist() {
        assert!(check_page("run `cargo xtask test`, by cargo xtask\ncargo xtask test   # all").is_empty());
        assert_eq!(check_page("`cargo xtask tset`"), ["docs/page.md:1: `cargo xtask tset` is no command"]);
    }

    #[test]
    fn crates_must_say_what_they_are() {
        let violations = check(&tree(&[("crates/x/src/lib.rs", "pub fn f() {}")]), &|_| true);
        assert!(violations.iter().any(|text| text.starts_with("crates/x/src/lib.rs does not say")));
    }
}
