//! `touchline playbook test`: what it finds, what it says, and how it exits.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const PLAYBOOK: &str = "\
playbook: p
tag_groups: [{id: 标记, tags: [有]}]
rules: [{id: r, trigger: order.paid, do: [{set_tag: 标记/有}]}]
";
const PASSES: &str = "\
scenario: 下单就打标签
playbooks: [../p.yaml]
steps:
  - {at: 2026-12-01 09:00, 小王: order.paid}
  - expect: {小王: {tags: [标记/有]}}
";

/// A directory with a playbook and, below it, two scenarios: one passes, one does not.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("writable");
    std::fs::create_dir(directory.path().join("scenarios")).expect("writable");
    write("p.yaml", PLAYBOOK);
    write("scenarios/a.yaml", PASSES);
    write("scenarios/b.yaml", &PASSES.replace("order.paid", "order.created"));
    directory
}

fn test(path: &Path, arguments: &[&str]) -> Output {
    let path = path.to_str().expect("text");
    let arguments: Vec<&str> = ["playbook", "test", path].into_iter().chain(arguments.iter().copied()).collect();
    Command::new(env!("CARGO_BIN_EXE_touchline")).args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn a_scenario_that_passes_exits_with_0() {
    let directory = directory();
    let output = test(&directory.path().join("scenarios/a.yaml"), &[]);
    assert_eq!(text(&output.stdout), "[1/1] passed: 下单就打标签 (1 checks)\n1 passed\n");
    assert!(output.status.success());
}

#[test]
fn of_a_directory_every_scenario_is_played_and_one_failure_exits_with_1() {
    let directory = directory();
    let output = test(directory.path(), &[]);
    let said = text(&output.stdout);
    assert!(said.contains("[1/2] passed"), "{said}");
    assert!(said.contains("b.yaml:5:19: 小王 tags\n  expected: 标记/有\n  found:    nothing"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("1 passed, 1 failed, 0 refused"), "{}", text(&output.stderr));
}

#[test]
fn json_holds_every_report() {
    let directory = directory();
    let output = test(directory.path(), &["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&report["passed"], &report["failed"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(report["reports"][0]["outcome"], "passed");
    assert_eq!(report["reports"][1]["failures"][0]["expected"], "标记/有");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_is_no_scenario_is_said_with_its_place() {
    let directory = directory();
    let output = test(&directory.path().join("p.yaml"), &[]);
    let said = text(&output.stdout);
    assert!(said.contains("unknown key `rules`") && said.contains("p.yaml:3:1"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}
