//! `touchline dev`: all roles in one process, one data directory, listeners on loopback.

use crate::client::moment;
use crate::clock::{Clock, ClockMode};
use crate::config::Config;
use crate::embedded;
use crate::listen::{self, Addresses};
use anyhow::{Context, bail};
use clap::Args;
use std::path::PathBuf;
use touchline_log::{ManualWall, SystemWall, Wall};
use touchline_model::time::Time;

/// Where `dev` keeps its data when not told otherwise.
pub(crate) const DATA_DIR: &str = ".touchline";

/// Runs all roles in one process, without a broker. Stop it with Ctrl-C; what was acknowledged is kept.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory for log and state; made when it is not there
    #[arg(long, default_value = DATA_DIR)]
    data_dir: PathBuf,
    #[command(flatten)]
    addresses: Addresses,
    /// Channel accounts and keys (TOML); without it only /v1/events and gRPC take events
    #[arg(long)]
    config: Option<PathBuf>,
    /// `manual`: time stands still until `touchline clock advance`; marks the directory as virtual for good
    #[arg(long, value_enum, default_value_t = ClockMode::System)]
    clock: ClockMode,
    /// With --clock manual on a new directory: where the clock starts
    #[arg(long, value_parser = moment)]
    clock_start: Option<Time>,
    /// Partitions of a new directory; fixed for its life
    #[arg(long, default_value_t = 4)]
    partitions: u32,
}

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    crate::roles::init_tracing();
    options.addresses.check()?;
    if let Some(start) = options.clock_start {
        if options.clock != ClockMode::Manual {
            bail!("--clock-start needs --clock manual");
        }
        if !start.is_plausible() {
            bail!("--clock-start {start} lies outside the years 2000 to 2200");
        }
    }
    let config = Config::load(options.config.as_deref())?;
    std::fs::create_dir_all(&options.data_dir)
        .with_context(|| format!("making the data directory {}", options.data_dir.display()))?;
    let clock = clock_of(&options)?;
    let (data_dir, partitions) = (options.data_dir.clone(), options.partitions);
    let hint = "next: touchline playbook activate tests/playbooks/a.yaml";
    listen::serve(&options.addresses, &options.data_dir, hint, move || {
        embedded::start(&data_dir, partitions, &config, &clock)
    })
}

/// The mode is written once: a directory whose times are invented must never meet the machine's clock, nor the other
/// way round.
fn clock_of(options: &Options) -> anyhow::Result<Clock> {
    let file = options.data_dir.join("clock");
    let mode = if options.clock == ClockMode::Manual { "manual" } else { "system" };
    match std::fs::read_to_string(&file) {
        Ok(stored) if stored.trim() != mode => {
            bail!(
                "{} was made with --clock {}\nhint: use the same mode, or another --data-dir",
                options.data_dir.display(),
                stored.trim()
            )
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::write(&file, mode).with_context(|| format!("writing {}", file.display()))?;
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    }
    Ok(match options.clock {
        ClockMode::System => Clock::System,
        ClockMode::Manual => Clock::Manual(ManualWall::new(options.clock_start.unwrap_or_else(|| SystemWall.now()))),
    })
}
