//! Whether tests on a real broker can run here, and what becomes of them if not.

use crate::cluster::{Cluster, Options};
use crate::jars::{Jars, Unavailable};
use std::io::Write;

/// Environment variable that names an existing broker, `host:port`, to use instead of starting one.
pub const EXTERNAL: &str = "TOUCHLINE_TEST_KAFKA";

/// Whether a broker can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// [`Cluster::start`] has what it needs.
    Available,
    /// It has not; the line says what is missing and how to get it.
    Skip(String),
}

/// Whether a missing broker is a failure instead of a skipped test: with `CI=true`.
pub fn required() -> bool {
    required_by(std::env::var("CI").ok().as_deref())
}

/// Looks for an existing broker, then for Java and the jars. Downloads nothing.
///
/// Panics where a broker is [`required`] and cannot be had: a check that silently skips is none.
pub fn available() -> Availability {
    let external = std::env::var(EXTERNAL).is_ok_and(|address| !address.is_empty());
    let found = if external { Ok(()) } else { Jars::locate().map(|_| ()) };
    decide(found, required()).unwrap_or_else(|line| panic!("{line}"))
}

/// What a test begins with: a running cluster, or `None` after [`skip`] where none can be had.
///
/// Panics if a broker is [`required`] and cannot be had, or does not start.
pub fn start_or_skip(options: &Options) -> Option<Cluster> {
    if available_or_skip() { Some(Cluster::start(options).unwrap_or_else(|error| panic!("{error}"))) } else { None }
}

/// Whether a broker can be had; if not, after [`skip`]. For tests of programs that start a cluster themselves.
///
/// Panics if a broker is [`required`] and cannot be had.
pub fn available_or_skip() -> bool {
    match available() {
        Availability::Available => true,
        Availability::Skip(line) => {
            skip(&line);
            false
        }
    }
}

/// Says `SKIPPED: …` on standard output, past the test runner's capture; `cargo xtask test` then counts the test as
/// skipped. To be said once by a test, which then returns.
pub fn skip(line: &str) {
    // The runner may have begun a line of its own.
    let said = std::io::stdout().lock().write_all(format!("\nSKIPPED: {line}\n").as_bytes());
    said.expect("standard output is open in a test");
}

fn required_by(ci: Option<&str>) -> bool {
    ci == Some("true")
}

fn decide(found: Result<(), Unavailable>, required: bool) -> Result<Availability, String> {
    match found {
        Ok(()) => Ok(Availability::Available),
        Err(missing) if required => Err(format!("CI=true takes a broker: {missing}")),
        Err(missing) => Ok(Availability::Skip(missing.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing() -> Unavailable {
        Unavailable::new("no Java; hint: cargo xtask setup")
    }

    #[test]
    fn only_ci_requires_a_broker() {
        assert_eq!([None, Some("true"), Some(""), Some("1")].map(required_by), [false, true, false, false]);
    }

    #[test]
    fn a_missing_broker_skips_by_one_line_or_fails() {
        assert_eq!(decide(Ok(()), true), Ok(Availability::Available));
        assert_eq!(decide(Ok(()), false), Ok(Availability::Available));
        let line = "no Java; hint: cargo xtask setup";
        assert_eq!(decide(Err(missing()), false), Ok(Availability::Skip(line.into())));
        assert_eq!(decide(Err(missing()), true), Err(format!("CI=true takes a broker: {line}")));
    }
}
