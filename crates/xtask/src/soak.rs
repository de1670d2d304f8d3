//! `cargo xtask soak`: the kill suite over a real Kafka, for as many kills as one has time for.

use crate::cargo::{self, clock};
use crate::setup::{self, Need};
use crate::suites::KAFKA_E2E;
use anyhow::{Context, Result, bail};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What to do to the processes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Processors to kill: four in five at counted points, the others at any moment.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    kills: u64,
    /// Chooses points, passages and the order of faults; a new one each time otherwise. It is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How outputs are published.
    #[arg(long, default_value = "transactional", value_parser = ["transactional", "sequenced"])]
    publish: String,
    /// One broker that is killed and restarted, or three of which one is killed while the others go on.
    #[arg(long, default_value_t = 1, value_parser = crate::kafka::sizes)]
    brokers: u32,
}

const EXAMPLES: &str = "\
A kill takes about ten seconds. Between kills the other faults of the suite happen: zombies, lost networks, brokers that
are killed, requests that come late. Everything is judged at the end; see tests/README.md.

  cargo xtask soak --kills 500 --publish sequenced
  cargo xtask soak --brokers 3
  cargo xtask soak --seed 4711     the same kills again; the order of threads is its own";

/// Sets up, builds, and runs the suite. Errors: what is published is not what an uninterrupted run would have said.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::run(Need::Everything)?;
    let programs = cargo::build_tests()?;
    let program = programs.iter().find(|program| program.is(KAFKA_E2E)).context("the suite was not built")?;
    // Any number will do: it is printed, and can be given.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let environment = [
        ("TOUCHLINE_KILLS", args.kills.to_string()),
        ("TOUCHLINE_SEED", args.seed.unwrap_or(now).to_string()),
        ("TOUCHLINE_BROKERS", args.brokers.to_string()),
    ];
    let test = format!("kills::{}", args.publish);
    let started = Instant::now();
    let ran = program.run_with(&[&test, "--exact", "--nocapture"], &environment)?;
    println!(
        "soak: {} after {}",
        if ran.success { "nothing lost, nothing repeated" } else { "FAILED" },
        clock(started.elapsed())
    );
    if !ran.success || ran.totals.passed != 1 {
        bail!("the suite did not pass");
    }
    Ok(())
}
