//! Things that must not be in the repository, wherever they are.

use super::{Tree, numbered};

/// Finished code only.
const UNFINISHED: [&str; 2] = [concat!("todo", "!("), concat!("unimplemented", "!(")];

/// A test that sleeps is slow on a fast machine and fails on a slow one; an ignored one is no test.
const NOT_IN_TESTS: [(&str, &str); 4] = [
    (concat!("thread::", "sleep"), "wait for a condition instead of sleeping"),
    (concat!("time::", "sleep"), "wait for a condition instead of sleeping"),
    (concat!("std::thread::", "sleep_ms"), "wait for a condition instead of sleeping"),
    (concat!("#[", "ignore"), "fix the test or delete it"),
];

/// Names of the place where the project was written: they mean nothing to its readers.
const FOREIGN: [&str; 5] = [
    concat!("/work", "/main"),
    concat!("/work", "/shared"),
    concat!("../", "shared/"),
    concat!("/tmp", "/pure"),
    concat!("/tmp", "/touchline/brief"),
];

/// Where every dependency comes from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The lints of the pure crates: one text, five places, because clippy reads the nearest file.
const PURE_LINTS: [&str; 5] = [
    "crates/model/clippy.toml",
    "crates/playbook/clippy.toml",
    "crates/scenario/clippy.toml",
    "crates/engine/clippy.toml",
    "crates/channels/clippy.toml",
];

/// Checks every file.
pub(super) fn check(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for (path, text) in tree {
        if path.ends_with(".rs") {
            violations.extend(unfinished(path, text));
            violations.extend(test_hygiene(path, text));
        }
        violations.extend(foreign(path, text));
    }
    violations.extend(tree.get("Cargo.lock").map(|text| sources(text)).unwrap_or_default());
    violations.extend(pure_lints(tree));
    violations
}

fn unfinished(path: &str, text: &str) -> Vec<String> {
    let lines = numbered(text).filter(|(_, line)| UNFINISHED.iter().any(|word| line.contains(word)));
    lines.map(|(line_number, _)| format!("{path}:{line_number}: unfinished code")).collect()
}

fn test_hygiene(path: &str, text: &str) -> Vec<String> {
    let all_test = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
    let first_test_line = if all_test {
        0
    } else {
        numbered(text)
            .find(|(_, line)| line.contains("#[cfg(test)]"))
            .map_or(usize::MAX, |(line_number, _)| line_number)
    };
    let mut violations = Vec::new();
    for (line_number, line) in numbered(text).filter(|(line_number, _)| *line_number >= first_test_line) {
        let found = NOT_IN_TESTS.iter().find(|(word, _)| line.contains(word));
        violations.extend(found.map(|(word, hint)| format!("{path}:{line_number}: {word} in a test\nhint: {hint}")));
    }
    violations
}

fn foreign(path: &str, text: &str) -> Vec<String> {
    let lines = numbered(text).filter(|(_, line)| FOREIGN.iter().any(|word| line.contains(word)));
    lines.map(|(line_number, _)| format!("{path}:{line_number}: a path outside the repository")).collect()
}

fn sources(lock: &str) -> Vec<String> {
    let lines = numbered(lock).filter_map(|(line_number, line)| Some((line_number, line.strip_prefix("source = ")?)));
    let others = lines.filter(|(_, source)| source.trim_matches('"') != REGISTRY);
    others.map(|(line_number, source)| format!("Cargo.lock:{line_number}: a dependency from {source}")).collect()
}

fn pure_lints(tree: &Tree) -> Vec<String> {
    let [first, others @ ..] = PURE_LINTS;
    let expected = tree.get(first);
    let differing = others.iter().filter(|path| tree.get(**path) != expected);
    differing.map(|path| format!("{path} differs from {first}\nhint: the pure crates share their bans")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree;

    #[track_caller]
    fn check_file(path: &str, text: &str, expected: &[&str]) {
        let violations = check(&tree(&[(path, text)]));
        let first_lines: Vec<&str> = violations.iter().filter_map(|text| text.lines().next()).collect();
        assert_eq!(first_lines, expected);
    }

    #[test]
    fn unfinished_code_is_found() {
        check_file(
            "crates/x/src/a.rs",
            &["fn f() { todo", "!() }"].concat(),
            &["crates/x/src/a.rs:1: unfinished code"],
        );
    }

    #[test]
    fn tests_neither_sleep_nor_rest() {
        let sleep = ["std::thread::", "sleep(d);"].concat();
        let message = ["tests/a.rs:2: thread::", "sleep in a test"].concat();
        check_file("tests/a.rs", &format!("\n{sleep}"), &[&message]);
        check_file("crates/x/src/a.rs", &sleep, &[]);
        let message = ["crates/x/src/a.rs:2: thread::", "sleep in a test"].concat();
        check_file("crates/x/src/a.rs", &format!("#[cfg(test)]\n{sleep}"), &[&message]);
        let message = ["crates/x/tests/a.rs:1: #[", "ignore in a test"].concat();
        check_file("crates/x/tests/a.rs", &["#[", "ignore]"].concat(), &[&message]);
    }

    #[test]
    fn foreign_paths_are_found() {
        check_file("a.md", &["see /work", "/shared/x"].concat(), &["a.md:1: a path outside the repository"]);
    }

    #[test]
    fn dependencies_come_from_one_registry() {
        check_file("Cargo.lock", "source = \"registry+https://github.com/rust-lang/crates.io-index\"", &[]);
        check_file("Cargo.lock", "source = \"git+https://x\"", &["Cargo.lock:1: a dependency from \"git+https://x\""]);
    }

    #[test]
    fn pure_crates_share_their_bans() {
        check_file(
            "crates/model/clippy.toml",
            "a = 1",
            &PURE_LINTS[1..]
                .iter()
                .map(|path| format!("{path} differs from crates/model/clippy.toml"))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        );
    }

    /// Clippy reads the file nearest to a package, also inside a workspace that has one of its own.
    #[test]
    fn pure_bans_bite() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let lints = "[lints.clippy]\ndisallowed_methods = \"deny\"\n";
        let code = |name: &str| format!("pub fn {name}() -> u64 {{ std::time::Instant::now().elapsed().as_secs() }}\n");
        write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"pure\"]\n");
        write("clippy.toml", "allow-unwrap-in-tests = true\n");
        write("pure/Cargo.toml", &format!("[package]\nname = \"pure\"\nedition = \"2024\"\n{lints}"));
        write("pure/src/lib.rs", &code("now"));
        let check = || {
            let mut command = crate::cargo::cargo(&["clippy", "--quiet", "--offline"]);
            command.current_dir(directory.path()).env("CARGO_TARGET_DIR", directory.path().join("target"));
            let output = command.output().unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        assert!(check().0, "without the bans it passes");
        write("pure/clippy.toml", &std::fs::read_to_string(crate::cargo::root().join(PURE_LINTS[0])).unwrap());
        write("pure/src/lib.rs", &code("then"));
        let (success, said) = check();
        assert!(!success && said.contains("state is a function of the log"), "{said}");
    }
}
