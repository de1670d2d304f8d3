//! Every scenario through the running server, in one process with its own log.

use std::collections::BTreeSet;
use std::process::Command;
use touchline_tests::scenarios::{PARTITIONS, compare, play};
use touchline_tests::{Server, Start, binary, repository};

/// Before the first of them begins.
const START: &str = "2020-01-01T00:00:00+08:00";

#[test]
fn every_scenario_passes_on_a_server_and_says_what_a_replay_of_it_says() {
    let mut seen = BTreeSet::new();
    for partitions in PARTITIONS {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let start =
            Start::with(&["--clock", "manual", "--clock-start", START, "--partitions", &partitions.to_string()]);
        let server = Server::start(&data, &start).expect("starts");
        let played = play(&server, None);
        assert!(server.stop().success());
        let outputs = directory.path().join("outputs.ndjson");
        let verified = Command::new(binary())
            .args(["verify", "--comparable", "--data-dir"])
            .arg(&data)
            .arg("--outputs")
            .arg(&outputs)
            .output()
            .expect("the binary runs");
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        compare(&played, &outputs);
        seen.extend(played.into_keys());
    }
    assert_eq!(seen, files(), "every scenario is played, by one number of partitions or the other");
}

fn files() -> BTreeSet<String> {
    let ran = Command::new(binary())
        .args(["--json", "playbook", "test", "tests/scenarios"])
        .current_dir(repository("."))
        .output()
        .expect("the binary runs");
    let answer: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("a report");
    let reports = answer["reports"].as_array().expect("reports");
    reports.iter().map(|report| report["file"].as_str().expect("a file").to_owned()).collect()
}
