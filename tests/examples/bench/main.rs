//! `cargo xtask bench NAME`: how fast Touchline is on this machine, each figure from several runs.
//!
//! What it is: every part is the real one (the log, the stores, the processor, the program as a process), and what a
//! figure is compared with runs beside it in the same run. What it is not: a test. Nothing fails because it is slow.

#![expect(clippy::print_stdout, reason = "a command-line tool")]

mod embedded;
mod hop;
mod pipeline;
mod replay;
mod report;
mod start;
mod state;
mod timers;
mod workload;

use report::Report;
use std::error::Error;
use std::path::PathBuf;

/// What a benchmark returns: it fails as a whole or not at all.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How a benchmark runs.
#[derive(Debug, Clone)]
struct Options {
    /// Measured runs; the figures are their median and spread.
    runs: usize,
    /// Events per run, where a benchmark has such a number; `None`: what fits its two minutes.
    events: Option<u64>,
    /// Where data directories are made: the disk that is measured.
    dir: PathBuf,
    json: bool,
}

const USAGE: &str =
    "usage: bench pipeline|replay|state|start|timers [--runs N] [--events N] [--dir DIRECTORY] [--json]";

fn main() -> Outcome<()> {
    let mut options = Options { runs: 5, events: None, dir: std::env::temp_dir(), json: false };
    let mut name = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--runs" => options.runs = value()?.parse::<usize>()?.max(1),
            "--events" => options.events = Some(value()?.parse()?),
            "--dir" => options.dir = value()?.into(),
            "--json" => options.json = true,
            _ => name = Some(argument),
        }
    }
    let measure: fn(&Options, &mut Report) -> Outcome<()> = match name.as_deref() {
        Some("pipeline") => pipeline::run,
        Some("replay") => replay::run,
        Some("state") => state::run,
        Some("start") => start::run,
        Some("timers") => timers::run,
        _ => return Err(USAGE.into()),
    };
    let mut report = Report::new(name.as_deref().unwrap_or_default());
    measure(&options, &mut report)?;
    if options.json {
        println!("{}", report.to_json())
    } else {
        println!("{report}")
    }
    Ok(())
}
