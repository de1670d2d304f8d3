//! `touchline replay`: the engine over recorded events with a virtual clock, without a server.

use crate::client::{Server, moment, print_json};
use crate::commands::playbook;
use crate::json;
use anyhow::{Context, bail};
use clap::Args;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use touchline_channels::api;
use touchline_model::event::Event;
use touchline_model::time::Time;
use touchline_processor::replay;
use touchline_proto::encode_output;

/// Runs playbooks over recorded events: every output one JSON line, the same bytes each time.
///
/// Lines are events as in `POST /v1/events`, with an optional `append_time` (default: `occurred_at`,
/// made non-decreasing). The clock is virtual and passes every due moment.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Playbook, in the order of the bundle when given several times
    #[arg(long, required = true)]
    playbook: Vec<PathBuf>,
    /// Directory (`kind: directory`) that the playbooks look things up in
    #[arg(long)]
    directory: Vec<PathBuf>,
    /// Events, one JSON object per line; `-` reads stdin
    #[arg(long)]
    events: PathBuf,
    /// Where the clock ends, e.g. 2026-03-08T00:00:00+08:00
    #[arg(long, value_parser = moment)]
    until: Time,
}

pub(crate) fn run(_server: &Server, options: &Options) -> anyhow::Result<()> {
    let sources = playbook::read(&options.playbook)?;
    let text = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let directories = options.directory.iter().map(text).collect::<anyhow::Result<Vec<String>>>()?;
    let events = read(&options.events)?;
    let Some(tenant) = events.first().map(|(_, event)| event.tenant.clone()) else {
        bail!("{} holds no event", options.events.display());
    };
    if let Some((_, other)) = events.iter().find(|(_, event)| event.tenant != tenant) {
        bail!("events of two tenants ({tenant}, {})\nhint: replay each tenant by itself", other.tenant);
    }
    if !options.until.is_plausible() {
        bail!("--until {} lies outside the years 2000 to 2200", options.until);
    }
    let last = events.iter().filter_map(|(append_time, event)| append_time.or(event.occurred_at)).max();
    if let Some(last) = last.filter(|last| *last > options.until) {
        bail!("--until {} lies before the last event at {last}", options.until);
    }
    for numbered in replay::run(events, (sources, directories), &tenant, options.until)? {
        print_json(&json::output(numbered.output.stream(), &encode_output(&numbered, None))?);
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<(Option<Time>, Event)>> {
    let reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
        Box::new(BufReader::new(file))
    };
    let mut events = Vec::new();
    for (index, line) in reader.lines().enumerate() {
        let line = line.with_context(|| format!("reading {}", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let decoded = api::decode(line.as_bytes(), Time::EARLIEST)
            .with_context(|| format!("{} line {}", path.display(), index + 1))?;
        for event in decoded {
            let accepted = event.with_context(|| format!("{} line {}", path.display(), index + 1))?;
            events.push((accepted.append_time, accepted.event));
        }
    }
    Ok(events)
}
