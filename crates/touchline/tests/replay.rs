//! `touchline replay`: recorded events through a playbook with a virtual clock. The expected lines are worked
//! out by hand from the language page.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn touchline(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_touchline")).args(arguments).output().expect("the binary runs")
}

fn event(id: &str, at: &str, kind: &str, who: &str, fields: &Value) -> String {
    let subject = json!([{"kind": "wecom_external_userid", "scope": "wwcorp", "value": who}]);
    json!({
        "kind": kind, "tenant": "acme", "source": "test", "id": id, "occurred_at": at, "subject": subject, "fields": fields,
    })
    .to_string()
}

/// Two contacts: wmA asks and is left alone, wmB asks and pays two hours later.
fn recorded() -> String {
    let asks = json!({"direction": "in", "msg_type": "text", "text": "报价多少"});
    [
        event("1", "2026-03-02T09:00:00+08:00", "contact.added", "wmA", &json!({"staff": "zhangsan"})),
        event("2", "2026-03-02T09:00:30+08:00", "contact.added", "wmB", &json!({"staff": "lisi"})),
        event("3", "2026-03-02T09:30:00+08:00", "chat.message", "wmA", &asks),
        event("4", "2026-03-02T10:00:00+08:00", "chat.message", "wmB", &asks),
        // Sent twice: one event.
        event("4", "2026-03-02T10:00:00+08:00", "chat.message", "wmB", &asks),
        event("5", "2026-03-02T12:00:00+08:00", "order.paid", "wmB", &json!({"order_id": "E5"})),
    ]
    .join("\n")
}

fn replay(events: &str, until: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("events.ndjson");
    std::fs::write(&file, events).expect("writable");
    let playbook = repository("tests/playbooks/a.yaml");
    let (playbook, file) = (playbook.to_str().expect("text"), file.to_str().expect("text"));
    touchline(&["replay", "--playbook", playbook, "--events", file, "--until", until])
}

#[test]
fn every_output_is_one_line_in_order_and_the_same_each_time() {
    let first = replay(&recorded(), "2026-03-06T12:00:00+08:00");
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let lines: Vec<Value> = String::from_utf8(first.stdout.clone())
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let told: Vec<String> = lines
        .iter()
        .filter(|line| line["topic"] != "command-results")
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let who = if text("contact").ends_with("wmA") { "A" } else { "B" };
            match line["topic"].as_str() {
                Some("tag-changes") => format!("{who} {} +{}", text("at"), text("set")),
                _ => format!("{who} {} {}{} {}", text("due_at"), text("step"), text("reason"), text("state")),
            }
        })
        .collect();
    // By clock: A asks at 09:30, its p1 falls due at 09:35; B asks at 10:00, p1 at 10:05; B pays at 12:00, which
    // cancels p1 (nobody confirmed it), p2 and p3. A's p1 is missed after a day, p2 falls due on the 3rd at ten…
    let expected = [
        "A 2026-03-02T01:30:00.000Z +考虑价格",
        "A 2026-03-02T01:35:00.000Z p1 due",
        "B 2026-03-02T02:00:00.000Z +考虑价格",
        "B 2026-03-02T02:05:00.000Z p1 due",
        "B 2026-03-02T02:05:00.000Z p1goal cancelled",
        "B 2026-03-03T02:00:00.000Z p2goal cancelled",
        "B 2026-03-05T02:00:00.000Z p3goal cancelled",
        "A 2026-03-02T01:35:00.000Z p1expired missed",
        "A 2026-03-03T02:00:00.000Z p2 due",
        "A 2026-03-03T02:00:00.000Z p2expired missed",
        "A 2026-03-05T02:00:00.000Z p3 due",
        "A 2026-03-05T02:00:00.000Z p3expired missed",
    ];
    assert_eq!(told, expected);
    let clocks: Vec<&str> = lines.iter().filter_map(|line| line["clock"].as_str()).collect();
    assert!(clocks.is_sorted());
    let again = replay(&recorded(), "2026-03-06T12:00:00+08:00");
    assert_eq!(first.stdout, again.stdout);
}

#[test]
fn a_bad_line_says_which_and_why() {
    let bad =
        format!("{}\n{}", event("1", "2026-03-02T09:00:00+08:00", "contact.added", "wmA", &json!({"stuff": "x"})), "{");
    let output = replay(&bad, "2026-03-06T12:00:00+08:00");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("line 1") && error.contains("stuff"), "{error}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_touchline"))
        .args(["send", "--kinds"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn validate_points_at_what_is_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("broken.yaml");
    std::fs::write(&file, "playbook: broken\nrules:\n  - {id: r, triger: order.paid, do: []}\n").expect("writable");
    let output = touchline(&["playbook", "validate", file.to_str().expect("text")]);
    assert!(!output.status.success());
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("3:13") && shown.contains("trigger"), "{shown}");
}

#[test]
fn an_end_that_makes_no_sense_is_refused() {
    for (until, said) in [("9999-01-01T00:00:00Z", "2000 to 2200"), ("2026-03-01T00:00:00Z", "before the last event")] {
        let output = replay(&recorded(), until);
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(said), "{error}");
    }
}
