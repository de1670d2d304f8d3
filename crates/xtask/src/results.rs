//! What test programs print: totals, and what failed.

use std::collections::VecDeque;
use std::ops::AddAssign;

/// How many tests ran, as libtest reports it; it knows no skipped test, so those say it themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Whether a finished command succeeded, and what it passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) success: bool,
    pub(crate) totals: Totals,
    /// What each failed test printed last, under its name.
    pub(crate) failures: Vec<String>,
}

impl Ran {
    pub(crate) const fn of(success: bool, totals: Totals) -> Self {
        Self { success, totals, failures: Vec::new() }
    }
}

impl AddAssign for Ran {
    fn add_assign(&mut self, other: Self) {
        self.success &= other.success;
        self.totals += other.totals;
        self.failures.extend(other.failures);
    }
}

/// What a test prints, at the start of a line, that cannot run here (`touchline_broker::skip`). It passes all the same.
const SKIPPED: &str = "SKIPPED: ";
/// Lines kept of what a failed test printed: the last ones say why.
const LINES_MAX: usize = 40;

/// Reads the output of test programs, line by line.
#[derive(Default)]
pub(crate) struct Reader {
    totals: Totals,
    failures: Vec<VecDeque<String>>,
    /// Within the part of the output that repeats what failed tests printed.
    in_failures: bool,
}

impl Reader {
    pub(crate) fn read(&mut self, line: &str) {
        if line.starts_with(SKIPPED) {
            self.totals.skipped += 1;
        } else if let Some(more) = totals_of(line) {
            self.totals += more;
            self.in_failures = false;
        } else if line == "failures:" {
            // It comes twice: before what the tests printed, and before the list of their names.
            self.in_failures = !self.in_failures;
        } else if self.in_failures {
            self.keep(line);
        }
    }

    fn keep(&mut self, line: &str) {
        if line.starts_with("---- ") {
            self.failures.push(VecDeque::new());
        }
        let Some(failure) = self.failures.last_mut() else { return };
        failure.push_back(line.to_owned());
        if failure.len() > LINES_MAX {
            // The name stays.
            failure.remove(1);
        }
    }

    /// What a command came to. Skipped tests are no passed ones.
    pub(crate) fn conclude(self, success: bool) -> Ran {
        let totals = Totals { passed: self.totals.passed.saturating_sub(self.totals.skipped), ..self.totals };
        let text = |lines: VecDeque<String>| Vec::from(lines).join("\n").trim_end().to_owned();
        Ran { success, totals, failures: self.failures.into_iter().map(text).collect() }
    }
}

/// Reads `test result: ok. 5 passed; 0 failed; …`; anything else is `None`.
fn totals_of(line: &str) -> Option<Totals> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        let part = counts.split(';').find_map(|part| part.trim().strip_suffix(word))?;
        part.trim().parse::<u64>().ok()
    };
    Some(Totals { passed: count("passed")?, failed: count("failed")?, skipped: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_results_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(totals_of(line), Some(Totals { passed: 12, failed: 3, skipped: 0 }));
        let one = Totals { passed: 1, ..Totals::default() };
        assert_eq!(totals_of("test result: ok. 1 passed; 0 failed; 0 ignored"), Some(one));
        assert_eq!(totals_of("test id::tests::murmur2 ... ok"), None);
        assert_eq!(totals_of("test result: odd"), None);
    }

    fn read(lines: &[&str]) -> Ran {
        let mut reader = Reader::default();
        lines.iter().for_each(|line| reader.read(line));
        reader.conclude(true)
    }

    #[test]
    fn a_test_that_says_so_was_skipped_and_did_not_pass() {
        let lines = ["running 2 tests", "SKIPPED: no Java", "test a ... ok", "test result: ok. 2 passed; 0 failed; x"];
        assert_eq!(read(&lines).totals, Totals { passed: 1, failed: 0, skipped: 1 });
    }

    #[test]
    fn what_failed_tests_printed_is_kept() {
        let lines = [
            "running 3 tests",
            "successes:",
            "---- good stdout ----",
            "fine",
            "successes:",
            "    good",
            "failures:",
            "",
            "---- bad stdout ----",
            "left: 0",
            "right: 1",
            "",
            "---- worse stdout ----",
            "no",
            "",
            "failures:",
            "    bad",
            "    worse",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored",
            "running 1 test",
            "failures:",
            "---- third stdout ----",
            "test result: FAILED. 0 passed; 1 failed; 0 ignored",
            "---- not a test",
        ];
        let expected =
            ["---- bad stdout ----\nleft: 0\nright: 1", "---- worse stdout ----\nno", "---- third stdout ----"];
        assert_eq!(read(&lines).failures, expected);
    }

    #[test]
    fn of_much_output_the_last_lines_are_kept() {
        let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let lines: Vec<&str> =
            ["failures:", "---- bad stdout ----"].into_iter().chain(many.iter().map(String::as_str)).collect();
        let [failure] = &read(&lines).failures[..] else { panic!("one failure") };
        let kept: Vec<&str> = failure.lines().collect();
        assert_eq!((kept.len(), kept[0], kept[1], kept[39]), (LINES_MAX, "---- bad stdout ----", "61", "99"));
    }
}
