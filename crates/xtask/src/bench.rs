//! `cargo xtask bench`: figures for the README. Never part of a test: they depend on the machine.

use crate::cargo::{cargo, watch};
use crate::setup::{self, Need};
use anyhow::{Result, bail};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The benchmark.
    #[arg(value_enum)]
    name: Name,
    /// Arguments of the benchmark itself, after `--`.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Name {
    /// The embedded log, against a plain write and fdatasync of the same bytes.
    Log,
}

/// Runs a benchmark. Errors: it failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::run(Need::Build)?;
    let example = match args.name {
        Name::Log => "bench_log",
    };
    // The whole workspace is selected for its features, see `cargo::build_tests`.
    let mut command = cargo(&["build", "--workspace", "--locked", "--example", example]);
    if !watch(&mut command)?.success {
        bail!("the benchmark does not compile");
    }
    let mut program = std::process::Command::new(crate::cargo::target_dir().join("debug/examples").join(example));
    let ran = watch(program.args(&args.rest).current_dir(crate::cargo::root()))?;
    if ran.success { Ok(()) } else { bail!("the benchmark failed") }
}
