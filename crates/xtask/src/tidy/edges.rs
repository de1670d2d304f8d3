//! Who may know what: the crates' allowed edges, as `crates/README.md` explains them.

use crate::cargo::cargo;
use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// The layers, from the inside out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// Functions of their arguments: no clock, randomness, files, sockets.
    Pure,
    /// Traits, wire and memory implementations: no native library.
    Contract,
    /// A trait on a native library.
    Adapter,
    /// Meets other services in topics or over gRPC, never in code.
    Service,
    /// Wires everything.
    Binary,
    /// Not shipped.
    Development,
}

struct Rule {
    name: &'static str,
    layer: Layer,
    may_use: &'static [&'static str],
}

const fn rule(name: &'static str, layer: Layer, may_use: &'static [&'static str]) -> Rule {
    Rule { name, layer, may_use }
}

/// Names without `touchline-`. An edge that is not here is a decision to take, not a line to add.
const RULES: [Rule; 18] = [
    rule("model", Layer::Pure, &[]),
    rule("playbook", Layer::Pure, &["model"]),
    rule("engine", Layer::Pure, &["model", "playbook"]),
    // Playbooks tried out in memory: whatever it shows, the engine decided.
    rule("scenario", Layer::Pure, &["model", "playbook", "engine"]),
    // Payloads become events; what becomes of the events is not its business.
    rule("channels", Layer::Pure, &["model"]),
    // The only place that knows the wire.
    rule("proto", Layer::Contract, &["model", "playbook"]),
    // Records are bytes here, so neither needs the wire today.
    rule("log", Layer::Contract, &["model", "proto"]),
    rule("store", Layer::Contract, &["model", "proto"]),
    rule("rocks", Layer::Adapter, &["model", "log", "store"]),
    rule("kafka", Layer::Adapter, &["model", "log"]),
    // It drives the engine, decodes what it reads and compiles what is activated; the medium is a trait.
    rule("processor", Layer::Service, &["model", "playbook", "engine", "proto", "log", "store"]),
    // It appends events and never sees what they cause.
    rule("ingest", Layer::Service, &["model", "channels", "proto", "log"]),
    // Built from the topics alone: it must not ask the engine.
    rule("query", Layer::Service, &["model", "playbook", "proto", "log", "store"]),
    rule(
        "touchline",
        Layer::Binary,
        &[
            "model",
            "playbook",
            "engine",
            "scenario",
            "channels",
            "proto",
            "log",
            "store",
            "rocks",
            "kafka",
            "processor",
            "ingest",
            "query",
        ],
    ),
    rule("sim", Layer::Development, &["model", "playbook", "engine", "proto", "log", "store", "processor"]),
    // Starts brokers and knows nothing of ours; xtask needs it before any native library is there.
    rule("broker", Layer::Development, &[]),
    // The demo plays the channels' side; it compiles before any native library is there.
    rule("xtask", Layer::Development, &["model", "channels", "broker"]),
    rule(
        "tests",
        Layer::Development,
        &[
            "model",
            "playbook",
            "engine",
            "scenario",
            "channels",
            "proto",
            "log",
            "store",
            "rocks",
            "kafka",
            "processor",
            "ingest",
            "query",
            "sim",
            "broker",
        ],
    ),
];

/// Libraries that take minutes to compile or a system package: pure and contract crates build in seconds without.
const NATIVE: [&str; 5] = ["librocksdb-sys", "rocksdb", "rdkafka-sys", "rdkafka", "openssl-sys"];

/// What gives a program time, chance or the outside world.
const IMPURE: [&str; 5] = ["tokio", "mio", "socket2", "getrandom", "rand"];

/// What a dependency is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    Normal,
    Build,
    Development,
}

/// The dependencies of one package: (name, what for).
type Uses = BTreeSet<(String, Use)>;

/// Every package with its dependencies, and which ones are ours.
#[derive(Debug, Default)]
pub(super) struct Graph {
    uses: BTreeMap<String, Uses>,
    ours: BTreeSet<String>,
}

/// Asks cargo. Errors: cargo cannot answer.
pub(super) fn load() -> Result<Graph> {
    let output = cargo(&["metadata", "--format-version", "1", "--locked"]).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Json = serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
    Ok(read(&metadata))
}

/// Versions are dropped: of a package that is there twice, the uses are united, which errs on the strict side.
fn read(metadata: &Json) -> Graph {
    let list = |value: &Json| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let names: BTreeMap<String, String> =
        list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
    let name_of = |id: &Json| names.get(&text(id)).cloned().unwrap_or_default();
    let ours = list(&metadata["workspace_members"]).iter().map(name_of).collect();
    let mut graph = Graph { uses: BTreeMap::new(), ours };
    for node in list(&metadata["resolve"]["nodes"]) {
        let uses = graph.uses.entry(name_of(&node["id"])).or_default();
        for dependency in list(&node["deps"]) {
            for kind in list(&dependency["dep_kinds"]) {
                let used_for = match kind["kind"].as_str() {
                    Some("dev") => Use::Development,
                    Some("build") => Use::Build,
                    _ => Use::Normal,
                };
                uses.insert((name_of(&dependency["pkg"]), used_for));
            }
        }
    }
    graph
}

/// Violations of the rules above.
pub(super) fn check(graph: &Graph) -> Vec<String> {
    let mut violations = Vec::new();
    for package in &graph.ours {
        let Some(rule) = rule_of(package) else {
            violations.push(format!("crate {package} has no rule\nhint: decide its layer in xtask's tidy/edges.rs"));
            continue;
        };
        violations.extend(direct(graph, package, rule));
        violations.extend(transitive(graph, package, rule));
    }
    violations
}

fn rule_of(package: &str) -> Option<&'static Rule> {
    let name = package.strip_prefix("touchline-").unwrap_or(package);
    RULES.iter().find(|rule| rule.name == name)
}

fn direct(graph: &Graph, package: &str, rule: &Rule) -> Vec<String> {
    let uses = graph.uses.get(package).into_iter().flatten();
    let forbidden = uses.filter(|(used, used_for)| {
        let Some(other) = rule_of(used).filter(|_| graph.ours.contains(used)) else { return false };
        let listed = rule.may_use.contains(&other.name);
        // Tests may use whatever is no service; two services in one test would hide that they meet in topics.
        let test_only = *used_for == Use::Development && other.layer != Layer::Service;
        !listed && !test_only
    });
    forbidden.map(|(used, used_for)| format!("{package} may not use {used} ({used_for:?})")).collect()
}

fn transitive(graph: &Graph, package: &str, rule: &Rule) -> Vec<String> {
    let mut violations = Vec::new();
    if matches!(rule.layer, Layer::Pure | Layer::Contract) || ["xtask", "touchline-broker"].contains(&package) {
        let reached = reach(graph, package, &[Use::Normal, Use::Build, Use::Development]);
        violations.extend(NATIVE.iter().filter(|name| reached.contains(**name)).map(|name| {
            format!("{package} reaches the native library {name}\nhint: `cargo tree -p {package} -i {name}`")
        }));
    }
    if rule.layer == Layer::Pure {
        let reached = reach(graph, package, &[Use::Normal]);
        violations.extend(IMPURE.iter().filter(|name| reached.contains(**name)).map(|name| {
            format!("{package} is pure and reaches {name}\nhint: `cargo tree -p {package} -e normal -i {name}`")
        }));
    }
    violations
}

/// Everything that is compiled for `package`: its own uses of these kinds, and what those need to run or to build.
fn reach<'g>(graph: &'g Graph, package: &'g str, own: &[Use]) -> BTreeSet<&'g str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![package];
    while let Some(name) = open.pop() {
        for (used, used_for) in graph.uses.get(name).into_iter().flatten() {
            let counts = if name == package { own.contains(used_for) } else { *used_for != Use::Development };
            let counts = counts && (*used_for != Use::Build || own.contains(&Use::Build));
            if counts && reached.insert(used.as_str()) {
                open.push(used);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a > b` uses it, `a ~ b` in tests, `a + b` to build.
    fn graph(lines: &[&str]) -> Graph {
        let mut graph = Graph::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let used_for = match words[1] {
                ">" => Use::Normal,
                "~" => Use::Development,
                _ => Use::Build,
            };
            graph.uses.entry(words[0].into()).or_default().insert((words[2].into(), used_for));
            for name in [words[0], words[2]] {
                if name.starts_with("touchline") || name == "xtask" {
                    graph.ours.insert(name.into());
                }
            }
        }
        graph
    }

    #[track_caller]
    fn check_graph(lines: &[&str], expected: &[&str]) {
        let violations = super::check(&graph(lines));
        let first_lines: Vec<&str> = violations.iter().filter_map(|text| text.lines().next()).collect();
        assert_eq!(first_lines, expected);
    }

    #[test]
    fn allowed_edges_pass() {
        check_graph(
            &["touchline-engine > touchline-model", "touchline-rocks > rocksdb", "touchline-query ~ touchline-rocks"],
            &[],
        );
        check_graph(&["touchline-model ~ proptest", "proptest > rand", "proptest ~ librocksdb-sys"], &[]);
    }

    #[test]
    fn other_edges_are_named() {
        check_graph(&["touchline-engine > touchline-log"], &["touchline-engine may not use touchline-log (Normal)"]);
        check_graph(
            &["touchline-ingest > touchline-query"],
            &["touchline-ingest may not use touchline-query (Normal)"],
        );
        check_graph(
            &["touchline-query ~ touchline-processor"],
            &["touchline-query may not use touchline-processor (Development)"],
        );
        check_graph(&["touchline-new > x"], &["crate touchline-new has no rule"]);
    }

    #[test]
    fn native_libraries_and_the_outside_world_stay_out() {
        let native = "touchline-log reaches the native library librocksdb-sys";
        check_graph(&["touchline-log > x", "x + y", "y > librocksdb-sys"], &[native]);
        check_graph(&["touchline-log ~ librocksdb-sys"], &[native]);
        check_graph(&["touchline-model > x", "x > getrandom"], &["touchline-model is pure and reaches getrandom"]);
        check_graph(&["touchline-model + x", "x > getrandom"], &[]);
    }

    #[test]
    fn cargos_answer_is_read() {
        let metadata = serde_json::json!({
            "packages": [{"id": "1", "name": "touchline-log"}, {"id": "2", "name": "touchline-model"}],
            "workspace_members": ["1", "2"],
            "resolve": {"nodes": [{"id": "1", "deps": [{"pkg": "2", "dep_kinds": [{"kind": null}, {"kind": "dev"}]}]}]},
        });
        let graph = read(&metadata);
        assert_eq!(graph.ours.len(), 2);
        assert!(graph.uses["touchline-log"].contains(&("touchline-model".into(), Use::Normal)));
        assert!(graph.uses["touchline-log"].contains(&("touchline-model".into(), Use::Development)));
    }
}
