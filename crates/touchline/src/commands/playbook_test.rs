//! `touchline playbook test`: scenarios, without a server.

use crate::client::{Server, print_json, print_line};
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use touchline_scenario::{Finding, Outcome, Scenario, Sources, run as play};

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
round is counted per partition), and in expectations `segments`, `attributes`, `owner`, `journeys`. More:
tests/scenarios.

Examples:
  touchline playbook test price-test.yaml
  touchline playbook test tests/scenarios --json

Exit status: 0 when every scenario passed, else 1."#;

/// Play scenarios against playbooks, without a server
///
/// Every scenario runs on the engine in memory with a clock of its own. Of a directory, every YAML file with the key
/// `scenario` is one.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    /// Scenario files, or directories of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// How many scenarios came to what.
#[derive(Default)]
struct Totals {
    passed: usize,
    failed: usize,
    refused: usize,
    invalid: usize,
}

pub(crate) fn run(server: &Server, options: &Options) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for path in &options.paths {
        collect(path, path.is_file(), &mut files)?;
    }
    if files.is_empty() {
        bail!("no scenario there\nhint: a scenario is a YAML file with the key `scenario`; --help shows one");
    }
    let mut totals = Totals::default();
    let mut reports = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let (text, report) = one(file, &mut totals)?;
        if server.json {
            reports.push(report);
        } else {
            print_line(format!("[{}/{}] {text}", at + 1, files.len()));
        }
    }
    let Totals { passed, failed, refused, invalid } = totals;
    if server.json {
        print_json(&json!({
            "passed": passed, "failed": failed, "refused": refused, "invalid": invalid, "reports": reports,
        }));
    }
    if passed < files.len() {
        bail!("{passed} passed, {failed} failed, {refused} refused by the compiler, {invalid} no scenario");
    }
    if !server.json {
        print_line(format!("{passed} passed"));
    }
    Ok(())
}

/// Plays one file: what came of it, for people and as data.
fn one(file: &Path, totals: &mut Totals) -> anyhow::Result<(String, Value)> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {shown}"))?;
    let scenario = match Scenario::read(&shown, &text) {
        Ok(scenario) => scenario,
        Err(findings) => {
            totals.invalid += 1;
            let listed: Vec<String> = findings.iter().map(Finding::to_string).collect();
            let report = json!({"file": shown, "outcome": "invalid", "findings": findings});
            return Ok((format!("invalid: {shown}\n{}", listed.join("\n\n")), report));
        }
    };
    let mut sources = Sources::new();
    for name in scenario.files() {
        let path = file.parent().unwrap_or_else(|| Path::new("")).join(name);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}, which {shown} names", path.display()))?;
        sources.insert(name.to_owned(), text);
    }
    let report = play(&scenario, &sources);
    match report.outcome {
        Outcome::Passed => totals.passed += 1,
        Outcome::Failed { .. } => totals.failed += 1,
        Outcome::Refused { .. } => totals.refused += 1,
    }
    let value = serde_json::to_value(&report).context("a report as JSON")?;
    Ok((report.to_string(), value))
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
