//! Every scenario on a running server, compared with the same scenario replayed alone.

use crate::{Server, binary, repository};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Numbers of partitions that scenarios are written for: most say nothing, some say one.
pub const PARTITIONS: [u32; 2] = [4, 1];

/// Scenario file → the tenant it was played for, and where the clock stood in the end.
pub type Played = BTreeMap<String, (String, String)>;

/// Plays all scenarios together on a server that has seen nothing: they pass.
///
/// # Panics
/// When one does not.
pub fn play(server: &Server, ingest: Option<&Server>) -> Played {
    let mut arguments = vec!["playbook", "test", "tests/scenarios", "--live"];
    if let Some(ingest) = ingest {
        arguments.extend(["--ingest", &ingest.grpc]);
    }
    let ran = Command::new(binary())
        .args(["--server", &server.grpc, "--json"])
        .args(arguments)
        .current_dir(repository("."))
        .output()
        .expect("the binary runs");
    let answer: Value = serde_json::from_slice(&ran.stdout)
        .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&ran.stderr)));
    let reports = answer["reports"].as_array().expect("reports");
    let failed: Vec<&Value> = reports.iter().filter(|report| report["outcome"] != "passed").collect();
    assert!(failed.is_empty(), "{} of {} scenarios do not pass: {failed:#?}", failed.len(), reports.len());
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = |report: &Value, name: &str| report[name].as_str().expect("a text").to_owned();
    reports.iter().map(|report| (text(report, "file"), (text(report, "tenant"), text(report, "until")))).collect()
}

/// Compares what `touchline verify --outputs FILE --comparable` has written with a replay of each scenario by itself:
/// every output and every contact, whose, what, when and why.
///
/// # Panics
/// When they differ, or when the file holds what no scenario led to.
pub fn compare(played: &Played, outputs: &Path) {
    let text = std::fs::read_to_string(outputs).expect("the outputs");
    let mut by_tenant: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a JSON line");
        by_tenant.entry(tenant(&line)).or_default().push(line);
    }
    let tenants: BTreeSet<&String> = played.values().map(|(tenant, _)| tenant).collect();
    let strangers: Vec<&String> = by_tenant.keys().filter(|tenant| !tenants.contains(tenant)).collect();
    assert!(strangers.is_empty(), "outputs of nobody: {strangers:?}");
    let mut differences = Vec::new();
    for (file, (tenant, until)) in played {
        let found = renumbered(by_tenant.remove(tenant).unwrap_or_default());
        let expected = renumbered(replay(file, tenant, until));
        assert!(!expected.is_empty(), "{file} leads to nothing");
        let only =
            |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect::<Vec<_>>();
        let (missing, surplus) = (only(&expected, &found), only(&found, &expected));
        if !missing.is_empty() || !surplus.is_empty() {
            differences.push(format!("{file}: missing {missing:#?}\nmore than replayed {surplus:#?}"));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

/// What `touchline replay --scenario` says of one, when time goes on as long.
fn replay(file: &str, tenant: &str, until: &str) -> Vec<Value> {
    let ran = Command::new(binary())
        .args(["--tenant", tenant, "replay", "--scenario", file, "--until", until, "--contacts", "--comparable"])
        .current_dir(repository("."))
        .output()
        .expect("the binary runs");
    assert!(ran.status.success(), "{file} does not pass when it is replayed: {}", String::from_utf8_lossy(&ran.stderr));
    let text = String::from_utf8(ran.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

/// Whose line it is.
fn tenant(line: &Value) -> String {
    let of_cell =
        |name: &str| line[name].as_str().and_then(|cell| cell.split('/').next()).filter(|tenant| !tenant.is_empty());
    let of_cells = || line["cells"][0].as_str().and_then(|cell| cell.split('/').next());
    let tenant = line["tenant"].as_str().or_else(|| of_cell("contact")).or_else(|| of_cell("key")).or_else(of_cells);
    tenant.unwrap_or_else(|| panic!("nobody's: {line}")).to_owned()
}

/// Bundles are numbered over all tenants: here each tenant's from 1. Lines that are there several times are numbered.
fn renumbered(mut lines: Vec<Value>) -> BTreeSet<String> {
    // An answer names the latest bundle of the partition, whoever's it is; a refused activation the one in force.
    for line in lines.iter_mut().filter(|line| line["topic"] == "command-results") {
        line["bundle"] = Value::Null;
        let Some(refused) = line.pointer_mut("/outcome/refused") else { continue };
        if ["orphaned_tag", "invalid_migration", "invalid_playbook"].iter().any(|code| refused["code"] == **code) {
            refused["current"] = Value::Null;
        }
    }
    // A replay shows what could not be applied without the record itself.
    lines.iter_mut().filter(|line| line["topic"] == "dead-letters").for_each(|line| line["record_bytes"] = Value::Null);
    let mut numbers = BTreeSet::new();
    lines.iter_mut().for_each(|line| bundles(line, &mut |number| numbers.extend([number.as_u64()])));
    let numbers: Vec<Option<u64>> = numbers.into_iter().collect();
    let rank = |number: &mut Value| *number = numbers.iter().position(|known| *known == number.as_u64()).into();
    lines.iter_mut().for_each(|line| bundles(line, &mut |number| rank(number)));
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut numbered = |line: String| {
        let count = times.entry(line.clone()).and_modify(|count| *count += 1).or_insert(1);
        format!("{count}: {line}")
    };
    lines.iter().map(|line| numbered(line.to_string())).collect()
}

fn bundles(value: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, field)| match name.as_str() {
            "bundle" => visit(field),
            _ => bundles(field, visit),
        }),
        Value::Array(values) => values.iter_mut().for_each(|value| bundles(value, visit)),
        _ => {}
    }
}
