//! `cargo xtask tidy`: what the compiler does not check. Every check has a test with a planted violation.

mod documents;
mod edges;
mod hygiene;
mod metric_names;

use crate::cargo;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::process::Command;

/// How many of the largest source files are shown: growth should be seen, not forbidden.
const LARGEST_SHOWN: usize = 10;

/// The text files of the repository by relative path: what git tracks and what it would.
type Tree = BTreeMap<String, String>;

/// Checks everything. Errors: how many violations there are; each is printed with its place.
pub(crate) fn run() -> Result<()> {
    let tree = load().context("cannot read the repository")?;
    let graph = edges::load().context("cannot read the workspace")?;
    let mut violations = edges::check(&graph);
    violations.extend(documents::check(&tree, &|arguments| crate::accepts(arguments)));
    violations.extend(metric_names::check(&tree));
    violations.extend(hygiene::check(&tree));
    print_largest(&tree);
    for violation in &violations {
        println!("tidy: {violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => bail!("tidy found {count} violations"),
    }
}

fn load() -> Result<Tree> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(cargo::root())
        .output()
        .context("cannot start git")?;
    if !listed.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr).trim());
    }
    let paths = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
    // A tracked file may be deleted in the working copy; a binary one has no text to check.
    let read = |path: &str| Some((path.to_owned(), std::fs::read_to_string(cargo::root().join(path)).ok()?));
    Ok(paths.split('\0').filter(|path| !path.is_empty()).filter_map(read).collect())
}

fn print_largest(tree: &Tree) {
    let sources = tree.iter().filter(|(path, _)| path.ends_with(".rs"));
    let mut sizes: Vec<(usize, &String)> = sources.map(|(path, text)| (text.lines().count(), path)).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    println!("largest source files, in lines:");
    for (lines, path) in sizes.iter().take(LARGEST_SHOWN) {
        println!("{lines:>6} {path}");
    }
}

/// The lines of a text with their numbers from 1.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}
