//! `touchline playbook test`: scenarios, without a server or on a running one.

use crate::client::{Server, local, print_json, print_line};
use crate::commands::playbook;
use crate::worlds::Live;
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use touchline_model::time::Time;
use touchline_scenario::{Finding, Outcome, Play, Report, Scenario, Sources, run as play};

const EXAMPLES: &str = r#"A scenario is a YAML file: who does what when, and what is to be seen afterwards.

  scenario: 询价的人进入考虑价格
  playbooks: [price.yaml]                 # relative to this file; or written out: `playbook: |`
  timezone: Asia/Shanghai                 # of the moments below
  steps:
    - at: 2026-12-01 09:00
      小王: contact.added(staff=li, state=投放)
    - after: 2h                           # timers on the way fire at their own moments
      小王: chat.message(direction=in, text="你们产品多少钱")
    - after: 1h                           # the long form, for lists; `occurred`: it happened earlier
      occurred: 2026-12-01 08:00
      小王: {event: order.paid, lines: [{outer_sku: c9, qty: 1}], paid_fen: 990}
    - 小王: {move_card: 商机看板, to: 赢单}   # by hand; also {edit_tags: {add: [商机/赢单]}}
    - expect:                             # what is not named is not looked at
        小王:
          tags: [商机/赢单]                # exactly these; {商机: 赢单} looks at this group only
          stages: {商机看板: 赢单}
          why: {商机/赢单: command.move_card}
          touches: [{step: p1, at: 2026-12-01 11:05, state: due}]   # all that was said since the last look
          changes: [{set: 商机/考虑价格}, {set: 商机/赢单, unset: 商机/考虑价格}]

Also: `contacts: {小王: {yz_open_id: y1, wecom_external_userid: wm1}}` with `as: yz_open_id` in the long form,
`link: [小王, 小李]`, `playbook`/`directory` (also as steps), `leave_out: [journeys]`, `partitions: 1` (who is next in a
round is counted per partition), and in expectations `segments`, `attributes`, `owner`, `journeys`; beside the people
`metrics: {人均转销售: {li/2026-12: {count: 2, met: false}}}`, every number of a metric. More: tests/scenarios.

Examples:
  touchline playbook test price-test.yaml
  touchline playbook test tests/scenarios --json
  touchline dev --clock manual --clock-start 2020-01-01T00:00:00+08:00 --data-dir /tmp/fresh &
  touchline playbook test tests/scenarios --live

Exit status: 0 when every scenario passed, else 1."#;

/// Play scenarios against playbooks, without a server
///
/// Every scenario runs on the engine in memory with a clock of its own. Of a directory, every YAML file with the key
/// `scenario` is one. With `--live` all of them are played together on a running server, each for a tenant of its own,
/// through its public doors: what happens first in any of them happens first.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    /// Scenario files, or directories of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Play them on the running server (`--server`): its clock is a virtual one, its log has just begun
    #[arg(long)]
    live: bool,
    /// With --live: gRPC address of who takes events, where that is another process
    #[arg(long, requires = "live", value_name = "HOST:PORT")]
    ingest: Option<String>,
}

/// Between two words on how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// How many scenarios came to what.
#[derive(Default)]
struct Totals {
    passed: usize,
    failed: usize,
    refused: usize,
    invalid: usize,
    /// On a running server only: written for another number of partitions.
    elsewhere: usize,
}

/// A scenario with the files that it names.
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) sources: Sources,
}

/// What came of one file, for people and as data.
pub(crate) type Told = (String, Value);

pub(crate) fn run(server: &Server, options: &Options) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for path in &options.paths {
        collect(path, path.is_file(), &mut files)?;
    }
    if files.is_empty() {
        bail!("no scenario there\nhint: a scenario is a YAML file with the key `scenario`; --help shows one");
    }
    let (mut totals, mut cases, mut told) = (Totals::default(), Vec::new(), Vec::new());
    for file in &files {
        match read(file)? {
            Ok(case) => cases.push(case),
            Err(invalid) => {
                totals.invalid += 1;
                told.push(invalid);
            }
        }
    }
    if options.live {
        told.extend(play_live(server, options, &cases, &mut totals)?);
    } else {
        for case in &cases {
            told.push(totals.count(play(&case.scenario, &case.sources), None)?);
        }
    }
    if !server.json {
        told.iter().enumerate().for_each(|(at, (text, _))| print_line(format!("[{}/{}] {text}", at + 1, told.len())));
    }
    let Totals { passed, failed, refused, invalid, elsewhere } = totals;
    if server.json {
        let reports: Vec<Value> = told.into_iter().map(|(_, report)| report).collect();
        print_json(&json!({
            "passed": passed, "failed": failed, "refused": refused, "invalid": invalid, "not_played": elsewhere,
            "reports": reports,
        }));
    }
    let elsewhere =
        if elsewhere == 0 { String::new() } else { format!(", {elsewhere} for other partitions not played") };
    if failed + refused + invalid > 0 {
        bail!("{passed} passed, {failed} failed, {refused} refused by the compiler, {invalid} no scenario{elsewhere}");
    }
    if !server.json {
        print_line(format!("{passed} passed{elsewhere}"));
    }
    Ok(())
}

impl Totals {
    /// `live`: whose it was on a server, and where its clock stood when all were over.
    fn count(&mut self, report: Report, live: Option<(&str, Time)>) -> anyhow::Result<Told> {
        match report.outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed { .. } => self.failed += 1,
            Outcome::Refused { .. } => self.refused += 1,
        }
        let mut value = serde_json::to_value(&report).context("a report as JSON")?;
        if let Some((tenant, until)) = live {
            value["tenant"] = tenant.into();
            value["until"] = until.to_string().into();
        }
        Ok((report.to_string(), value))
    }
}

/// Plays all of them in one world, whoever is next in time first.
fn play_live(server: &Server, options: &Options, cases: &[Case], totals: &mut Totals) -> anyhow::Result<Vec<Told>> {
    let mut told: Vec<Told> = Vec::new();
    let mut plays: Vec<(String, Play<'_>)> = Vec::new();
    for (number, case) in (1..).zip(cases) {
        let tenant = format!("s{number:03}");
        match Play::open(&case.scenario, &case.sources, &tenant) {
            Ok(play) => plays.push((tenant, play)),
            Err(report) => told.push(totals.count(report, None)?),
        }
    }
    let Some(start) = plays.iter().map(|(_, play)| play.start()).min() else { return Ok(told) };
    let mut live = Live::connect(server, options.ingest.as_deref(), start)?;
    let partitions = live.partitions();
    let before = plays.len();
    plays.retain(|(_, play)| play.partitions() == partitions);
    totals.elsewhere = before - plays.len();
    let mut told_at = Instant::now();
    while let Some((_, play)) =
        plays.iter_mut().filter(|(_, play)| play.next_at().is_some()).min_by_key(|(_, play)| play.next_at())
    {
        play.step(&mut live);
        if told_at.elapsed() > PROGRESS_EVERY {
            told_at = Instant::now();
            let over = plays.iter().filter(|(_, play)| play.next_at().is_none()).count();
            progress(&format!("{over} of {} are over, the clock stands at {}", plays.len(), local(live.now().0)));
        }
    }
    for (tenant, play) in plays {
        told.push(totals.count(play.report(), Some((&tenant, live.now())))?);
    }
    Ok(told)
}

/// For whoever waits; nothing depends on its being read.
fn progress(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Reads one file and those that it names; the inner error is what is wrong with it as a scenario.
pub(crate) fn read(file: &Path) -> anyhow::Result<Result<Case, Told>> {
    let shown = file.display().to_string();
    let text = playbook::text_of(file)?;
    let scenario = match Scenario::read(&shown, &text) {
        Ok(scenario) => scenario,
        Err(findings) => {
            let listed: Vec<String> = findings.iter().map(Finding::to_string).collect();
            let report = json!({"file": shown, "outcome": "invalid", "findings": findings});
            return Ok(Err((format!("invalid: {shown}\n{}", listed.join("\n\n")), report)));
        }
    };
    let mut sources = Sources::new();
    for name in scenario.files() {
        let path = file.parent().unwrap_or_else(|| Path::new("")).join(name);
        let text = playbook::text_of(&path).with_context(|| format!("{shown} names it"))?;
        sources.insert(name.to_owned(), text);
    }
    Ok(Ok(Case { scenario, sources }))
}

/// The scenarios of a path, in order of their names. A file that was named is one, whatever it holds.
fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
        let mut inside: Vec<PathBuf> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        inside.sort();
        return inside.iter().try_for_each(|path| collect(path, false, files));
    }
    let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    if named || is_yaml && std::fs::read_to_string(path).is_ok_and(|text| Scenario::is_one(&text)) {
        files.push(path.to_owned());
    }
    Ok(())
}
