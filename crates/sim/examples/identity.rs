//! `cargo run -p touchline-sim --example identity -- --contacts 100000 --seed 1`: a crowd is linked, and judged.
//!
//! What is asked of it stands in `touchline_sim::crowd`; the tests run the same with a few thousand people.

#![expect(clippy::print_stdout, reason = "a command-line tool")]

use std::process::ExitCode;
use std::time::Instant;
use touchline_sim::crowd::{self, Options, Report};

const USAGE: &str = "usage: identity [--contacts N] [--seed N]";

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    match crowd::run(&options) {
        Ok(report) => {
            print(&options, &report, began.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("seed {}, {} people: {text}", options.seed, options.contacts);
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options { contacts: 100_000, seed: 1, plant: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        let wrong = |_| format!("{argument} wants a number\n{USAGE}");
        match argument.as_str() {
            "--contacts" => options.contacts = value.parse().map_err(wrong)?,
            "--seed" => options.seed = value.parse().map_err(wrong)?,
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(options)
}

fn print(options: &Options, report: &Report, seconds: f64) {
    let Report { records, events, forwarded, links, refused, weak, merges, contacts, chain_max, .. } = report;
    println!("{} people, five identifiers each, seed {}: as the oracle says", options.contacts, options.seed);
    println!(
        "  time                     {seconds:.1} s, of the processor {}",
        cpu().unwrap_or_else(|| "unknown".to_owned())
    );
    println!("  memory at most           {}", memory().unwrap_or_else(|| "unknown".to_owned()));
    println!(
        "  records applied          {records}: {events} events, {forwarded} of them passed on, and what cells tell"
    );
    println!("  links                    {links}: {refused} refused, {weak} too weak");
    println!("  merges                   {merges}, contacts left {contacts}, longest chain of forwards {chain_max}");
    println!("  touches due              {}, said under a new name {}", report.touches, report.renamed);
    let [exact, equal, different] = report.stage;
    println!("  stage across identifiers {exact} asked exactly; raced: {equal} as the oracle, {different} not");
    let [exact, equal, later, twice] = report.journey;
    println!("  journey                  {exact} asked exactly");
    println!(
        "  entered it twice         {equal} as the oracle, {later} by a later entry, {twice} sent something twice"
    );
    let (again, lost) = (report.said_again, report.reports_lost);
    println!("  after a merge            {again} touches said again that the other had been sent, {lost} reports lost");
}

/// Processor time of this process: what a busy machine leaves of the time.
fn cpu() -> Option<String> {
    /// The kernel counts in hundredths whatever its own tick is.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name in parentheses come state (3rd field), …, utime (14th), stime (15th).
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: Vec<f64> = rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
    Some(format!("{:.1} s", ticks.iter().sum::<f64>() / TICKS_PER_SECOND))
}

/// The most this process ever held.
fn memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(format!("{} MiB", kib / 1024))
}
