//! `cargo xtask test`: the suites, cheapest first, so that a red run is a fast one.

use crate::cargo::{self, TestProgram, cargo, clock, watch};
use crate::results::{Ran, Totals};
use crate::setup::{self, Need};
use crate::{demo, metrics_test, tidy};
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Suites to run, in the fixed order; all of them if none is named.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(SUITES.map(|suite| suite.name)))]
    suites: Vec<String>,
    /// Go on after a failed suite.
    #[arg(long)]
    no_fail_fast: bool,
    /// Name the suites and what each checks, and do nothing else.
    #[arg(long)]
    list: bool,
}

/// Packages without a native dependency: they compile and pass in seconds.
const PURE: [&str; 9] = [
    "touchline-model",
    "touchline-playbook",
    "touchline-engine",
    "touchline-scenario",
    "touchline-channels",
    "touchline-proto",
    "touchline-log",
    "touchline-store",
    "xtask",
];

/// End-to-end tests over Kafka.
pub(crate) const KAFKA_E2E: &str = "touchline-tests/kafka";

struct Suite {
    name: &'static str,
    checks: &'static str,
    work: Work,
}

enum Work {
    Cargo(&'static [&'static str]),
    /// `cargo test` of [`PURE`].
    Pure,
    Tidy,
    /// Compile the whole workspace with its tests.
    Build,
    /// Run the compiled tests of these packages, or of `package/target`.
    Packages(&'static [&'static str]),
    /// Prometheus against a live run.
    Metrics,
    /// The demo on Kafka.
    Demo,
}

const SUITES: [Suite; 13] = [
    Suite { name: "fmt", checks: "one way to format", work: Work::Cargo(&["fmt", "--all", "--check"]) },
    Suite { name: "tidy", checks: "crate edges, documents, metric names, test hygiene", work: Work::Tidy },
    Suite { name: "pure", checks: "the crates without native dependencies", work: Work::Pure },
    Suite {
        name: "clippy",
        checks: "lints of every target",
        work: Work::Cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    },
    Suite { name: "build", checks: "every program and test compiles", work: Work::Build },
    Suite {
        name: "sim",
        checks: "processor and seeded simulator",
        work: Work::Packages(&["touchline-processor", "touchline-sim"]),
    },
    Suite { name: "rocks", checks: "log and store on RocksDB", work: Work::Packages(&["touchline-rocks"]) },
    Suite {
        name: "kafka",
        checks: "log, topics, harness and killed processes on a real Kafka",
        work: Work::Packages(&["touchline-broker", "touchline-kafka", KAFKA_E2E]),
    },
    Suite {
        name: "services",
        checks: "ingest, query and the program",
        work: Work::Packages(&["touchline-ingest", "touchline-query", "touchline"]),
    },
    Suite {
        name: "e2e",
        checks: "real processes, killed and restarted",
        work: Work::Packages(&["touchline-tests/touchline_tests", "touchline-tests/e2e"]),
    },
    Suite { name: "demo", checks: "the demo on Kafka, equal to the embedded one's", work: Work::Demo },
    Suite {
        name: "doc",
        checks: "examples in the documentation",
        work: Work::Cargo(&["test", "--workspace", "--doc", "--locked"]),
    },
    Suite { name: "metrics", checks: "dashboards and alerts in a real Prometheus", work: Work::Metrics },
];

/// Sets up, then runs the suites. Errors: a suite failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.list {
        for suite in &SUITES {
            println!("{:<9} {}", suite.name, suite.checks);
        }
        return Ok(());
    }
    let chosen = |suite: &&Suite| args.suites.is_empty() || args.suites.iter().any(|name| name == suite.name);
    let suites: Vec<&Suite> = SUITES.iter().filter(chosen).collect();
    let needs_everything = suites.iter().any(|suite| suite.needs_more_than_a_build());
    let needs_build = suites.iter().any(|suite| suite.needs_rocksdb());
    match (needs_everything, needs_build) {
        (true, _) => setup::run(Need::Everything)?,
        (false, true) => setup::run(Need::Build)?,
        (false, false) => {}
    }
    let reports = run_all(&suites, args.no_fail_fast);
    conclude(&reports, suites.len())
}

impl Suite {
    fn needs_rocksdb(&self) -> bool {
        !matches!((self.name, &self.work), ("fmt", _) | (_, Work::Tidy | Work::Pure))
    }

    /// Prometheus or a broker.
    fn needs_more_than_a_build(&self) -> bool {
        ["kafka", "e2e", "demo", "metrics"].contains(&self.name)
    }
}

struct Report {
    name: &'static str,
    outcome: Result<Ran>,
    took: Duration,
}

impl Report {
    fn succeeded(&self) -> bool {
        matches!(self.outcome, Ok(Ran { success: true, .. }))
    }

    /// One skipped test makes the suite a skipped one: whoever reads only this must not think that all of it ran.
    fn word(&self) -> &'static str {
        match &self.outcome {
            Ok(Ran { success: true, totals, .. }) if totals.skipped > 0 => "skipped",
            Ok(Ran { success: true, .. }) => "passed",
            _ => "FAILED",
        }
    }
}

fn run_all(suites: &[&Suite], no_fail_fast: bool) -> Vec<Report> {
    let mut reports = Vec::new();
    let mut built = Vec::new();
    for suite in suites {
        println!("\n== {}: {}", suite.name, suite.checks);
        let started = Instant::now();
        let outcome = run_suite(suite, &mut built);
        let report = Report { name: suite.name, outcome, took: started.elapsed() };
        if let Err(error) = &report.outcome {
            println!("error: {error:#}");
        }
        println!("== {}: {} in {}", report.name, report.word(), clock(report.took));
        let stop = !report.succeeded() && !no_fail_fast;
        reports.push(report);
        if stop {
            break;
        }
    }
    reports
}

fn run_suite(suite: &Suite, built: &mut Vec<TestProgram>) -> Result<Ran> {
    let passed = Ran::of(true, Totals::default());
    match &suite.work {
        Work::Cargo(arguments) => watch(&mut cargo(arguments)),
        Work::Pure => {
            let packages = PURE.iter().flat_map(|name| ["--package", name]);
            let arguments: Vec<&str> =
                ["test", "--locked", "--lib", "--bins", "--tests"].into_iter().chain(packages).collect();
            watch(&mut cargo(&arguments))
        }
        Work::Tidy => tidy::run().map(|()| passed),
        Work::Build => {
            *built = cargo::build_tests()?;
            println!("{} test programs", built.len());
            Ok(passed)
        }
        Work::Packages(packages) => {
            if built.is_empty() {
                *built = cargo::build_tests()?;
            }
            run_packages(built, packages)
        }
        Work::Metrics => {
            cargo::build_programs()?;
            metrics_test::run()
        }
        Work::Demo => demo::check_on_kafka(),
    }
}

/// Runs every test of these packages, also after a failure: one failing program must not hide another.
fn run_packages(built: &[TestProgram], packages: &[&str]) -> Result<Ran> {
    let mut chosen: Vec<&TestProgram> = Vec::new();
    for name in packages {
        let before = chosen.len();
        chosen.extend(built.iter().filter(|test| test.is(name)));
        if chosen.len() == before {
            bail!("no test program of package {name}");
        }
    }
    let mut all = Ran::of(true, Totals::default());
    for test in chosen {
        all += test.run(&["--show-output"])?;
    }
    Ok(all)
}

fn conclude(reports: &[Report], planned: usize) -> Result<()> {
    // Again, at the end: whoever reads only that must learn why it failed.
    for failure in reports.iter().filter_map(|report| report.outcome.as_ref().ok()).flat_map(|ran| &ran.failures) {
        println!("\n{failure}");
    }
    let mut totals = Totals::default();
    let mut took = Duration::ZERO;
    println!("\n{:<10} {:<8} {:>9} {:>8} {:>8} {:>8}", "suite", "result", "took", "passed", "failed", "skipped");
    for report in reports {
        let counts = report.outcome.as_ref().map(|ran| ran.totals).unwrap_or_default();
        let (name, word, suite_took) = (report.name, report.word(), clock(report.took));
        let Totals { passed, failed, skipped } = counts;
        println!("{name:<10} {word:<8} {suite_took:>9} {passed:>8} {failed:>8} {skipped:>8}");
        totals += counts;
        took += report.took;
    }
    let red: Vec<&str> = reports.iter().filter(|report| !report.succeeded()).map(|report| report.name).collect();
    if planned > reports.len() {
        println!("{} suites not run after the failure (--no-fail-fast runs them)", planned - reports.len());
    }
    let Totals { passed, failed, skipped } = totals;
    println!("all suites: {}\n{passed} passed, {failed} failed, {skipped} skipped", clock(took));
    if red.is_empty() { Ok(()) } else { bail!("failed: {}", red.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &'static str, outcome: Result<Ran>) -> Report {
        Report { name, outcome, took: Duration::from_secs(1) }
    }

    #[test]
    fn a_failed_suite_fails_the_run() {
        let ran = |success| Ok(Ran::of(success, Totals { passed: 1, failed: u64::from(!success), skipped: 0 }));
        assert!(conclude(&[report("fmt", ran(true)), report("tidy", ran(true))], 2).is_ok());
        let failed = conclude(&[report("fmt", ran(true)), report("pure", ran(false))], 3);
        assert_eq!(failed.unwrap_err().to_string(), "failed: pure");
        assert!(conclude(&[report("tidy", Err(anyhow::anyhow!("no")))], 1).is_err());
    }

    #[test]
    fn a_suite_with_a_skipped_test_is_not_called_passed() {
        let ran = |success, skipped| Ok(Ran::of(success, Totals { passed: 5, failed: 0, skipped }));
        let words = [ran(true, 0), ran(true, 1), ran(false, 1)].map(|outcome| report("kafka", outcome).word());
        assert_eq!(words, ["passed", "skipped", "FAILED"]);
    }

    #[test]
    fn a_package_without_tests_is_no_success() {
        assert!(run_packages(&[], &["touchline-rocks"]).is_err());
    }

    #[test]
    fn cheap_suites_need_no_rocksdb() {
        let cheap: Vec<&str> = SUITES.iter().filter(|suite| !suite.needs_rocksdb()).map(|suite| suite.name).collect();
        assert_eq!(cheap, ["fmt", "tidy", "pure"]);
    }
}
