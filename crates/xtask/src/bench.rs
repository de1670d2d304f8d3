//! `cargo xtask bench`: figures for the README. Never part of a test: they depend on the machine.

use crate::cargo::{self, cargo, watch};
use crate::setup::{self, Need};
use anyhow::{Result, bail};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The benchmark.
    #[arg(value_enum)]
    name: Name,
    /// Figures as JSON (not for `log`).
    #[arg(long)]
    json: bool,
    /// Arguments of the benchmark itself, after `--`: `--runs N`, `--events N`, `--dir DIRECTORY`.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// The embedded log, against a plain write and fdatasync of the same bytes.
    Log,
    /// Events per second, durable, applied and published: in one process, through HTTP, and what the bare disk does.
    Pipeline,
    /// Records per second and core when a lost state is rebuilt from the log.
    Replay,
    /// Bytes of state per contact.
    State,
    /// From `touchline dev` to the first answer; size of the program.
    Start,
}

impl Name {
    /// The program that measures, and its first argument.
    const fn program(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Log => ("bench_log", &[]),
            Self::Pipeline => ("bench", &["pipeline"]),
            Self::Replay => ("bench", &["replay"]),
            Self::State => ("bench", &["state"]),
            Self::Start => ("bench", &["start"]),
        }
    }
}

/// Runs a benchmark. Errors: it failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::run(Need::Build)?;
    let (example, first) = args.name.program();
    // The whole workspace is selected for its features, see `cargo::build_tests`.
    let mut command = cargo(&["build", "--workspace", "--locked", "--bin", "touchline", "--example", example]);
    if !watch(&mut command)?.success {
        bail!("the benchmark does not compile");
    }
    let mut program = std::process::Command::new(cargo::target_dir().join("debug/examples").join(example));
    program.args(first).args(args.json.then_some("--json")).args(&args.rest);
    let ran = watch(program.env("TOUCHLINE_BIN", cargo::touchline_bin()).current_dir(cargo::root()))?;
    if ran.success { Ok(()) } else { bail!("the benchmark failed") }
}
