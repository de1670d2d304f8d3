//! `cargo xtask`: set-up, tests, tidiness, benchmarks, the demo and a broker for this workspace.
//!
//! What it is: the one place that knows which commands check the workspace, in which order, and what a machine
//! needs for them. `.ci/run` and the README call it, so they cannot drift apart.
//! What it is not: part of the product. It needs no native library, because it is what installs them.

#![expect(clippy::print_stdout, reason = "a command-line tool")]

mod bench;
mod cargo;
mod demo;
mod http;
mod kafka;
mod live;
mod metrics_test;
mod results;
mod setup;
mod soak;
mod suites;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Set-up, tests, tidiness, benchmarks and the demo of Touchline.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Start with `cargo xtask demo` to see the product, or `cargo xtask test` to check everything.
Both first install what the machine lacks (Debian and Ubuntu, as root or with password-less sudo), or print the one
line to run. The first build compiles RocksDB once, about 11 minutes on two cores; later builds take seconds.

  cargo xtask test tidy pure     only these suites; `cargo xtask test --list` names them all
  cargo xtask demo --serve       leave the demo running and say what to try next
  cargo xtask kafka              a Kafka broker to try things with, until Ctrl-C";

#[derive(Debug, Subcommand)]
enum Command {
    /// Find what the machine lacks and install it, or say how.
    Setup,
    /// Set up, then run the suites, cheapest first; says what each took.
    Test(suites::Args),
    /// Check what the compiler does not: crate edges, documents, metric names, test hygiene.
    Tidy,
    /// Run the main job on a fresh directory with a virtual clock, and check everything it shows.
    Demo(demo::Args),
    /// Run a Kafka broker in the foreground, for development and trials, until Ctrl-C.
    Kafka(kafka::Args),
    /// Kill processors over a real Kafka as often as you like, and judge what they leave.
    Soak(soak::Args),
    /// Measure something; figures are not tests.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let outcome = run(Cli::parse().command);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup => setup::run(setup::Need::Everything),
        Command::Test(args) => suites::run(&args),
        Command::Tidy => tidy::run(),
        Command::Demo(args) => demo::run(&args),
        Command::Kafka(args) => kafka::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}

/// Whether these are arguments of this tool: documents must not name others.
fn accepts(arguments: &[&str]) -> bool {
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
    match Cli::try_parse_from(["xtask"].iter().chain(arguments)) {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), DisplayHelp | DisplayVersion),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
