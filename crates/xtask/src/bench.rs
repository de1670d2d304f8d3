//! `cargo xtask bench`: figures for the README. Never part of a test: they depend on the machine.

mod kafka;
mod report;
mod rig;

use crate::cargo::{self, cargo, watch};
use crate::setup::{self, Need};
use anyhow::{Result, bail};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    name: Name,
}

#[derive(Debug, clap::Subcommand)]
enum Name {
    /// The embedded log, against a plain write and fdatasync of the same bytes.
    Log(Local),
    /// Events per second, durable, applied and published: in one process, through HTTP, and what the bare disk does;
    /// how long one event takes, direct and over a forward.
    Pipeline(Local),
    /// Records per second and core when a lost state is rebuilt from the log.
    Replay(Local),
    /// Bytes of state per contact.
    State(Local),
    /// From `touchline dev` to the first answer; size of the program.
    Start(Local),
    /// Timers put in by events, pending beside other work, and due all at once (`-- --events 10000000`), on RocksDB.
    Timers(Local),
    /// What links, merges and forwards cost the engine, against a plain event.
    Identity(Local),
    /// What rules, keywords, counts and timers cost the engine, against ten rules.
    Language(Local),
    /// On a real broker, beside Kafka Streams and a pass-through that do the same job.
    Kafka(kafka::Args),
}

/// How a benchmark without a broker runs.
#[derive(Debug, clap::Args)]
struct Local {
    /// Figures as JSON (not for `log`).
    #[arg(long)]
    json: bool,
    /// Arguments of the benchmark itself, after `--`: `--runs N`, `--events N`, `--dir DIRECTORY`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs a benchmark. Errors: it failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.name {
        Name::Log(local) => run_example("bench_log", &[], local),
        Name::Pipeline(local) => run_example("bench", &["pipeline"], local),
        Name::Replay(local) => run_example("bench", &["replay"], local),
        Name::State(local) => run_example("bench", &["state"], local),
        Name::Start(local) => run_example("bench", &["start"], local),
        Name::Timers(local) => run_example("bench", &["timers"], local),
        Name::Identity(local) => run_example("bench_identity", &[], local),
        Name::Language(local) => run_example("bench_language", &[], local),
        Name::Kafka(args) => kafka::run(args),
    }
}

fn run_example(example: &str, first: &[&str], local: &Local) -> Result<()> {
    setup::run(Need::Build)?;
    build(example)?;
    let mut program = std::process::Command::new(example_path(example));
    program.args(first).args(local.json.then_some("--json")).args(&local.rest);
    let ran = watch(program.env("TOUCHLINE_BIN", cargo::touchline_bin()).current_dir(cargo::root()))?;
    if ran.success { Ok(()) } else { bail!("the benchmark failed") }
}

/// Compiles `touchline` and a program that measures.
fn build(example: &str) -> Result<()> {
    // The whole workspace is selected for its features, see `cargo::build_tests`.
    let mut command = cargo(&["build", "--workspace", "--locked", "--bin", "touchline", "--example", example]);
    if watch(&mut command)?.success { Ok(()) } else { bail!("the benchmark does not compile") }
}

fn example_path(example: &str) -> std::path::PathBuf {
    cargo::target_dir().join("debug/examples").join(example)
}
