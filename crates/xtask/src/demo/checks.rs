//! What the demo expects, and whether it was observed.

use crate::live::{LOOK_AGAIN, interrupted};
use anyhow::{Result, bail};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How long the read side may take to show what was written. It takes milliseconds; a loaded machine takes longer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Counts expectations, and prints each with ✔ or ✘.
#[derive(Debug)]
pub(crate) struct Checks {
    observed: usize,
    missed: Vec<String>,
    patience: Duration,
    quiet: bool,
}

impl Checks {
    pub(crate) const fn new() -> Self {
        Self { observed: 0, missed: Vec::new(), patience: PATIENCE, quiet: false }
    }

    /// Prints only what is missed.
    pub(crate) fn quiet() -> Self {
        Self { quiet: true, ..Self::new() }
    }

    /// Whether only what is missed is printed.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Looks until `observe` gives `expected`, at most [`PATIENCE`] long. An error counts as not observed.
    pub(crate) fn expect<T: PartialEq + Serialize>(
        &mut self,
        what: &str,
        expected: T,
        observe: impl Fn() -> Result<T>,
    ) {
        let started = Instant::now();
        let mut seen = observe();
        while !seen.as_ref().is_ok_and(|seen| *seen == expected) && started.elapsed() < self.patience && !interrupted()
        {
            std::thread::sleep(LOOK_AGAIN);
            seen = observe();
        }
        match seen {
            Ok(seen) if seen == expected => {
                if !self.quiet {
                    println!("  ✔ {what}");
                }
                self.observed += 1;
            }
            Ok(seen) => {
                self.miss(what, &format!("expected {}\n      observed {}", shown(&expected), shown(&seen)));
            }
            Err(error) => self.miss(what, &format!("{error:#}")),
        }
    }

    fn miss(&mut self, what: &str, why: &str) {
        // Who ends it does not want to read what cannot be observed any more.
        if !interrupted() {
            println!("  ✘ {what}\n      {why}");
        }
        self.missed.push(what.to_owned());
    }

    /// How many expectations were observed.
    pub(crate) const fn observed(&self) -> usize {
        self.observed
    }

    /// Says how it went. Errors: something was not observed.
    pub(crate) fn conclude(&self) -> Result<()> {
        if !self.quiet {
            println!("\n{} of {} expectations observed", self.observed, self.observed + self.missed.len());
        }
        if self.missed.is_empty() { Ok(()) } else { bail!("not observed:\n  {}", self.missed.join("\n  ")) }
    }
}

fn shown(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn impatient() -> Checks {
        Checks { patience: Duration::ZERO, ..Checks::new() }
    }

    #[test]
    fn what_comes_late_is_observed() {
        let looks = Cell::new(0);
        let mut checks = Checks::new();
        checks.expect("three looks", 3, || {
            looks.set(looks.get() + 1);
            Ok(looks.get())
        });
        assert!(checks.conclude().is_ok());
    }

    #[test]
    fn one_miss_fails_all() {
        let mut checks = impatient();
        checks.expect("right", 1, || Ok(1));
        checks.expect("wrong", 1, || Ok(2));
        checks.expect("broken", 1, || bail!("no answer"));
        assert_eq!(checks.conclude().unwrap_err().to_string(), "not observed:\n  wrong\n  broken");
    }
}
