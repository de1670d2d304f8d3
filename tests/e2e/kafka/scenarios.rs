//! Every scenario through processes on Kafka: one for ingest, one for query, two processors.

use std::path::Path;
use std::process::Command;
use touchline_broker::Options;
use touchline_tests::scenarios::{PARTITIONS, compare, play};
use touchline_tests::{Kind, Server, Start, binary, wait_for};

/// Before the first of them begins.
const START: &str = "2020-01-01T00:00:00+08:00";
/// Of `verify`, as of every process here.
const VIRTUAL: [&str; 2] = ["--clock", "manual"];

#[test]
fn every_scenario_says_on_kafka_what_a_replay_of_it_says() {
    let Some(cluster) = touchline_broker::start_or_skip(&Options::default()) else { return };
    for partitions in PARTITIONS {
        let directory = tempfile::tempdir().expect("a directory");
        let (brokers, prefix) = (cluster.bootstrap(), format!("scenarios{partitions}."));
        let kafka = ["--brokers", &brokers, "--topic-prefix", &prefix];
        let touchline = |arguments: &[&str]| {
            let ran =
                Command::new(binary()).args(arguments).args(kafka).args(VIRTUAL).output().expect("the binary runs");
            (ran.status.success(), String::from_utf8_lossy(&ran.stderr).into_owned())
        };
        let count = partitions.to_string();
        // Safe to repeat: a broker that has just started may take long for the first topics.
        wait_for("the topics", || touchline(&["topics", "apply", "--replication", "1", "--partitions", &count]).0);
        let start = |name: &str, role: &str| serve(directory.path(), name, role, &kafka);
        let (query, ingest) = (start("query", "query"), start("ingest", "ingest"));
        let processors = [start("processor-1", "processor"), start("processor-2", "processor")];
        let played = play(&query, Some(&ingest));
        for server in processors.into_iter().chain([ingest, query]) {
            assert!(server.stop().success());
        }
        let outputs = directory.path().join("outputs.ndjson");
        let (success, said) = touchline(&["verify", "--comparable", "--outputs", outputs.to_str().expect("text")]);
        assert!(success, "{said}");
        compare(&played, &outputs);
    }
}

fn serve(directory: &Path, name: &str, role: &str, kafka: &[&str]) -> Server {
    let arguments = [&["--roles", role, "--clock-start", START], &VIRTUAL[..], kafka].concat();
    let start =
        Start { kind: Kind::Serve, stderr: Some(directory.join(format!("{name}.log"))), ..Start::with(&arguments) };
    Server::start(&directory.join(name), &start).expect("starts")
}
