//! Every scenario file: it passes, or it is listed as pending and does not; and what it claims to prove, it proves.
#![expect(clippy::disallowed_methods, reason = "the scenarios are files; the crate itself reads none")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use touchline_playbook::documents::{DOCUMENTS, Holds};
use touchline_playbook::syntax::FUNCTIONS;
use touchline_scenario::{Outcome, Report, Scenario, Sources, run};

/// Where scenario files lie.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/scenarios");

/// A scenario file by its path below [`ROOT`] without `.yaml`, with the files it names.
struct Case {
    name: String,
    scenario: Scenario,
    sources: Sources,
}

#[test]
fn every_scenario_passes_unless_it_is_pending() {
    let pending = pending();
    let mut wrong = Vec::new();
    for case in cases() {
        let report = run(&case.scenario, &case.sources);
        match (report.passed(), pending.get(&case.name)) {
            (true, None) => {}
            (true, Some(_)) => wrong.push(format!("{} passes: remove it from PENDING", case.name)),
            (false, None) => wrong.push(format!("{report}")),
            (false, Some(missing)) => wrong.extend(not_only_pending(&case.name, &report, missing)),
        }
    }
    assert!(wrong.is_empty(), "{} of the scenarios are not as they should be:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn every_scenario_notices_when_what_it_proves_is_ignored() {
    let pending = pending();
    let mut wrong = Vec::new();
    for case in cases() {
        for proof in case.scenario.proofs() {
            let (scenario, sources) = match case.scenario.without(proof, &case.sources) {
                Ok(changed) => changed,
                Err(error) => {
                    wrong.push(error);
                    continue;
                }
            };
            let report = run(&scenario, &sources);
            let claim = format!("{} line {}: proves {}", case.name, proof.line, proof.key);
            match (&report.outcome, pending.get(&case.name)) {
                (Outcome::Passed, _) => wrong.push(format!("{claim}, but passes without `{}`", proof.from)),
                // What takes the place of the key is a playbook too, or the proof shows nothing but a typing error.
                (Outcome::Refused { .. }, None) if !proof.refused => {
                    wrong.push(format!("{claim}, but does not compile without `{}`: {report}", proof.from));
                }
                (Outcome::Failed { .. }, None) if proof.refused => {
                    wrong.push(format!("{claim}, but compiles without `{}`", proof.from));
                }
                (_, Some(missing)) if !proof.refused => wrong.extend(not_only_pending(&claim, &report, missing)),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{} proofs do not hold:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn what_is_pending_is_there() {
    let names: BTreeSet<String> = cases().into_iter().map(|case| case.name).collect();
    let pending = pending();
    let gone: Vec<&String> = pending.keys().filter(|name| !names.contains(*name)).collect();
    assert!(gone.is_empty(), "PENDING names scenarios that are not there: {gone:?}");
}

/// What conditions and triggers are made of beside functions: words, operators, and the fields that have a meaning of
/// their own.
const CONDITIONS: [&str; 28] = [
    "and",
    "or",
    "not",
    "field =",
    "field !=",
    "field <",
    "field <=",
    "field >",
    "field >=",
    "field in [..]",
    "field in a..b",
    "attr in [..]",
    "attr in a..b",
    "stage in [..]",
    "stage =",
    "stage !=",
    "stage <",
    "stage <=",
    "stage >",
    "stage >=",
    "tag(group/*)",
    "has",
    "text",
    "channel",
    "account",
    "any_line.sku",
    "any_line.product",
    "group_kind",
];

/// Keys of documents that no scenario can prove, and all their words, each with why.
const NOT_PROVED: [(&str, &str); 23] = [
    ("kind", ONE_WORD),
    ("directory.kind", ONE_WORD),
    ("contents.links", ONE_WORD),
    ("handoff.by", ONE_WORD),
    ("late.then", ONE_WORD),
    ("journeys.backfill", "all but `none` is not yet"),
    ("journeys.priority", "checked, not yet followed"),
    ("playbook", ID),
    ("tag_groups.id", ID),
    ("boards.id", ID),
    ("rules.id", ID),
    ("journeys.id", ID),
    ("steps.id", ID),
    ("metrics.id", ID),
    ("tags.label", READ),
    ("boards.label", READ),
    ("directory.staff.name", READ),
    ("directory.stores.name", READ),
    ("directory.products.name", READ),
    ("directory.stores.store", "no rule looks a store up: staff say where they work"),
    ("directory.contents.content", SENT),
    ("directory.contents.text", SENT),
    ("directory.contents.media", SENT),
];
const SENT: &str = "what is sent decides nothing; the compiler warns where it is missing";
const ONE_WORD: &str = "there is one word for it";
const ID: &str = "what is expected of a scenario is named by it";
const READ: &str = "read by people only, decides nothing";

#[test]
fn every_key_of_the_language_is_proved_by_a_scenario() {
    let cases = cases();
    let proofs = cases.iter().flat_map(|case| case.scenario.proofs());
    let proved: BTreeSet<&str> =
        proofs.flat_map(|proof| [proof.key.as_str(), proof.key.split([' ', '(']).next().unwrap_or_default()]).collect();
    let functions = FUNCTIONS.iter().flat_map(|function| {
        let options = function.options.iter().map(|(option, ..)| format!("{}.{option}", function.name));
        std::iter::once(function.name.to_owned()).chain(options)
    });
    let keys: BTreeSet<String> =
        document_keys().into_iter().chain(functions).chain(CONDITIONS.map(str::to_owned)).collect();
    let is_excepted = |key: &str| NOT_PROVED.iter().any(|(except, _)| is_or_of(key, except));
    let missing: Vec<&String> = keys.iter().filter(|key| !proved.contains(key.as_str()) && !is_excepted(key)).collect();
    assert!(missing.is_empty(), "no scenario proves {missing:#?}");
    let is_stale = |except: &str| {
        !keys.iter().any(|key| is_or_of(key, except)) || proved.iter().any(|proved| is_or_of(proved, except))
    };
    let stale: Vec<&str> = NOT_PROVED.iter().map(|(except, _)| *except).filter(|except| is_stale(except)).collect();
    assert!(stale.is_empty(), "NOT_PROVED names what is proved, or is no key: {stale:?}");
}

/// Whether this is the key, or one of its words.
fn is_or_of(name: &str, key: &str) -> bool {
    name.strip_prefix(key).is_some_and(|word| word.is_empty() || word.starts_with('.'))
}

/// Every key that a document of this version can have, by the key that holds its mapping: `boards.columns`. What holds
/// nothing but a mapping is proved by the keys in it; what is one of several words, by each of them: `manual.wins`.
fn document_keys() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for document in &DOCUMENTS {
        let kind = if document.kind == "playbook" { String::new() } else { format!("{}.", document.kind) };
        let (mut open, mut seen) = (vec![(kind.clone(), document.keys)], BTreeSet::new());
        while let Some((prefix, mapping)) = open.pop() {
            for key in mapping.keys.iter().filter(|key| key.not_yet.is_none()) {
                let within = key.holds.mappings().into_iter().filter(|inner| seen.insert(inner.name));
                open.extend(within.map(|inner| (format!("{kind}{}.", key.name), inner)));
                let name = format!("{prefix}{}", key.name);
                match words(key.holds) {
                    _ if holds_only_a_mapping(key.holds) => {}
                    [] | [_] => drop(found.insert(name)),
                    words => found.extend(words.iter().map(|word| format!("{name}.{word}"))),
                }
            }
        }
    }
    found
}

/// The words that a value is of; none where it can be something else.
fn words(holds: Holds) -> &'static [&'static str] {
    match holds {
        Holds::Words(words) => words,
        Holds::List(inner, _) | Holds::OneOrMany(inner) | Holds::Named(inner) => words(*inner),
        _ => &[],
    }
}

fn holds_only_a_mapping(holds: Holds) -> bool {
    match holds {
        Holds::Keys(_) => true,
        Holds::List(inner, _) | Holds::OneOrMany(inner) | Holds::Named(inner) => holds_only_a_mapping(*inner),
        _ => false,
    }
}

/// A pending scenario may be refused as not yet, or with the codes that its line in PENDING names; other mistakes are
/// the scenario's own.
fn not_only_pending(name: &str, report: &Report, missing: &str) -> Option<String> {
    let Outcome::Refused { findings } = &report.outcome else { return None };
    let own = findings.iter().find(|finding| {
        finding.code.is_none_or(|code| !code.starts_with("NY") && !code.starts_with("PW") && !missing.contains(code))
    });
    own.map(|finding| format!("{name} is pending, but not for this:\n{finding}"))
}

/// Scenario names with what they wait for.
fn pending() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(Path::new(ROOT).join("PENDING")).expect("the list of what is pending");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            line.split_once("  ").map(|(name, why)| (name.into(), why.trim().into())).expect("name, two spaces, reason")
        })
        .collect()
}

fn cases() -> Vec<Case> {
    let mut paths = Vec::new();
    collect(Path::new(ROOT), &mut paths);
    paths.sort();
    let cases = paths.iter().map(|path| case(path));
    cases.collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory of scenarios") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            paths.push(path);
        }
    }
}

fn case(path: &Path) -> Case {
    let shown = path.strip_prefix(ROOT).expect("found below it").display().to_string();
    let text = std::fs::read_to_string(path).expect("a readable file");
    let scenario = Scenario::read(&format!("tests/scenarios/{shown}"), &text).unwrap_or_else(|findings| {
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        panic!("{shown} is no scenario:\n{}", findings.join("\n\n"))
    });
    let files = scenario.files().into_iter();
    let sources = files
        .map(|file| {
            let path = path.parent().expect("it lies in a directory").join(file);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (file.to_owned(), text)
        })
        .collect();
    Case { name: shown.trim_end_matches(".yaml").to_owned(), scenario, sources }
}
