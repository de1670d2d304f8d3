//! `touchline replay`: the engine over recorded events with a virtual clock, without a server.

use crate::client::{Server, moment, print_json};
use crate::commands::{playbook, playbook_test};
use crate::json;
use crate::worlds::Replayed;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::Value as Json;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use touchline_channels::api;
use touchline_model::event::Event;
use touchline_model::output::Numbered;
use touchline_model::time::Time;
use touchline_processor::replay;
use touchline_proto::{contact_to, encode_output};
use touchline_scenario::{Play, World};

/// Runs playbooks over recorded events: every output one JSON line, the same bytes each time.
///
/// Lines are events as in `POST /v1/events`, with an optional `append_time` (default: `occurred_at`,
/// made non-decreasing). The clock is virtual and passes every due moment.
///
/// With `--scenario` it plays a scenario instead (`touchline playbook test --help` shows one): its
/// events, its commands and its clock. What it expects is compared, too.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Playbook, in the order of the bundle when given several times
    #[arg(long, required_unless_present = "scenario")]
    playbook: Vec<PathBuf>,
    /// Directory (`kind: directory`) that the playbooks look things up in
    #[arg(long)]
    directory: Vec<PathBuf>,
    /// Events, one JSON object per line; `-` reads stdin
    #[arg(long, required_unless_present = "scenario")]
    events: Option<PathBuf>,
    /// Where the clock ends, e.g. 2026-03-08T00:00:00+08:00; of a scenario: it goes on until then
    #[arg(long, value_parser = moment, required_unless_present = "scenario")]
    until: Option<Time>,
    /// A scenario to play, for the tenant that --tenant names
    #[arg(long, conflicts_with_all = ["playbook", "directory", "events"])]
    scenario: Option<PathBuf>,
    /// With --scenario: then every contact as it is at the end
    #[arg(long, requires = "scenario")]
    contacts: bool,
    /// Leave out where records lie, and sort: runs of the same story give the same lines
    #[arg(long)]
    comparable: bool,
}

pub(crate) fn run(server: &Server, options: &Options) -> anyhow::Result<()> {
    let lines = match (&options.scenario, &options.events, options.until) {
        (Some(scenario), ..) => return play(server, options, scenario),
        (None, Some(events), Some(until)) => outputs(&replayed(options, events, until)?)?,
        _ => bail!("--events and --until are needed\nhint: `touchline replay --help`"),
    };
    print(lines, options);
    Ok(())
}

fn print(lines: Vec<Json>, options: &Options) {
    let lines = if options.comparable { json::comparable(lines) } else { lines };
    lines.iter().for_each(print_json);
}

fn outputs(said: &[Numbered]) -> anyhow::Result<Vec<Json>> {
    let line = |numbered: &Numbered| Ok(json::output(numbered.output.stream(), &encode_output(numbered, None))?);
    said.iter().map(line).collect()
}

fn replayed(options: &Options, path: &Path, until: Time) -> anyhow::Result<Vec<Numbered>> {
    let sources = playbook::read(&options.playbook)?;
    let directories =
        options.directory.iter().map(|path| playbook::text_of(path)).collect::<anyhow::Result<Vec<String>>>()?;
    let events = read(path)?;
    let Some(tenant) = events.first().map(|(_, event)| event.tenant.clone()) else {
        bail!("{} holds no event", path.display());
    };
    if let Some((_, other)) = events.iter().find(|(_, event)| event.tenant != tenant) {
        bail!("events of two tenants ({tenant}, {})\nhint: replay each tenant by itself", other.tenant);
    }
    if !until.is_plausible() {
        bail!("--until {until} lies outside the years 2000 to 2200");
    }
    let last = events.iter().filter_map(|(append_time, event)| append_time.or(event.occurred_at)).max();
    if let Some(last) = last.filter(|last| *last > until) {
        bail!("--until {until} lies before the last event at {last}");
    }
    Ok(replay::run(events, (sources, directories), &tenant, until)?)
}

/// Plays a scenario over a log in memory. Errors: something is not as it expects.
fn play(server: &Server, options: &Options, path: &Path) -> anyhow::Result<()> {
    let case = playbook_test::read(path)?.map_err(|(text, _)| anyhow!(text))?;
    let play = Play::open(&case.scenario, &case.sources, &server.tenant);
    let mut play = play.map_err(|report| anyhow!("{report}"))?;
    let mut world = Replayed::new(play.partitions(), play.start())?;
    while play.next_at().is_some() {
        play.step(&mut world);
    }
    if let Some(until) = options.until {
        world.advance(until).map_err(|broken| anyhow!(broken))?;
    }
    let (said, contacts) = world.end()?;
    let mut lines = outputs(&said)?;
    if options.contacts {
        lines.extend(contacts.iter().map(|contact| json::contact_record(&contact_to(contact))));
    }
    print(lines, options);
    let report = play.report();
    if report.passed() { Ok(()) } else { bail!("{report}") }
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
