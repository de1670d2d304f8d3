//! kill -9 at any moment loses nothing acknowledged and repeats nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use touchline_log::{Log, NewRecord, SystemWall, Topic, Wall};
use touchline_model::id::EventId;
use touchline_model::time::{Span, Time};
use touchline_processor::check::{self, judge};
use touchline_rocks::{EmbeddedLog, NewLog, RocksStore, SharedCache};
use touchline_tests::copied::{Taking, copy};
use touchline_tests::load::{CONTACTS, Load};
use touchline_tests::{Seeded, Server, Start, binary, repository, wait_for};

/// Counted points and how many passages to let go by at most: rarer points get small counts.
const POINTS: &[(&str, u64)] = &[
    ("after_append_before_ack", 60),
    ("before_write", 60),
    ("after_apply", 60),
    ("before_publish", 40),
    ("during_publish", 40),
    ("after_publish_before_trim", 40),
    ("during_loopback", 12),
    ("after_loopback_before_trim", 12),
    ("after_tick", 3),
];
/// Kills at random moments, by number of acknowledgements.
const RANDOM_KILLS: u64 = 4;
const CLIENTS: u64 = 4;
/// Longer than a graceful end takes.
const SOON: Span = Span::seconds(20);

#[test]
fn kills_lose_nothing_and_repeat_nothing() {
    let mut seeded = Seeded::from_env(3);
    let directory = tempfile::tempdir().expect("a directory");
    let load = Load::start(CLIENTS, Duration::ZERO);
    activate(directory.path());
    let mut kills: BTreeMap<&str, u64> = BTreeMap::new();
    for &(point, passages_max) in POINTS {
        for _ in 0..2 {
            let passage = 1 + seeded.below(passages_max);
            let environment = vec![("TOUCHLINE_KILL_AT".to_owned(), format!("{point}:{passage}"))];
            let start = Start { environment, ..Start::default() };
            // Ended while starting: killed during recovery, which counts as well.
            if let Some(mut server) = Server::start(directory.path(), &start) {
                load.point_at(Some(&server.http));
                wait_for(&format!("{point}:{passage} to be reached"), || server.has_ended());
                load.point_at(None);
            }
            *kills.entry(point).or_default() += 1;
        }
    }
    for _ in 0..RANDOM_KILLS {
        let mut server = Server::start(directory.path(), &Start::default()).expect("starts again");
        load.point_at(Some(&server.http));
        let enough = load.count() + 1 + usize::try_from(seeded.below(300)).expect("small");
        wait_for("acknowledgements", || load.count() >= enough);
        server.kill();
        load.point_at(None);
        *kills.entry("random").or_default() += 1;
    }
    let server = Server::start(directory.path(), &Start::default()).expect("starts again");
    load.point_at(Some(&server.http));
    let enough = load.count() + 50;
    wait_for("acknowledgements", || load.count() >= enough);
    let acknowledged = load.finish();
    // A tick for what falls due while it stops would lie behind all that is published, and that is no fault.
    wait_for("the last timers", || !is_due_soon(&server));
    server.settle();
    assert!(server.stop().success(), "a graceful end");

    verify_agrees(directory.path());

    let log = open(directory.path());
    let report = judge(&log, &acknowledged).expect("readable");
    eprintln!("kills per point: {kills:?}");
    let (records, outputs, merges) = (report.records, report.outputs, report.merges);
    eprintln!("acknowledged {}, records {records}, outputs {outputs}, merges {merges}", acknowledged.len());
    assert_eq!(report.differences, [] as [String; 0]);
    assert_eq!(report.gaps_repaired, 0, "an append is there whole or not at all");
    assert!(report.outputs > 100, "the load has to say something: {}", report.outputs);
    // Everybody's first identifier of the shop was linked long before the end.
    assert!(report.merges >= CONTACTS, "contacts have to merge: {}", report.merges);
    live_state_equals_the_replayed(directory.path(), &report.state_hashes);
    the_judge_sees_one_output_removed_or_doubled(&log, &acknowledged);
}

fn activate(directory: &Path) {
    let server = Server::start(directory, &Start::default()).expect("starts");
    let playbook = repository("tests/playbooks/kills.yaml");
    server.json("demo", &["playbook", "activate", playbook.to_str().expect("text")]);
    assert!(server.stop().success());
}

/// Whether a partition will append a tick within the next seconds.
fn is_due_soon(server: &Server) -> bool {
    let soon = SystemWall.now().plus(SOON);
    let status = &server.json("demo", &["status"])[0];
    let dues = status["partitions"].as_array().expect("partitions").iter().filter_map(|of| of["next_due"].as_str());
    dues.into_iter().any(|due| Time::parse_rfc3339(due).expect("a time") < soon)
}

/// The command operators have for the same question.
fn verify_agrees(directory: &Path) {
    let verified = Command::new(binary()).args(["verify", "--data-dir"]).arg(directory).output().expect("runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

fn open(directory: &Path) -> EmbeddedLog {
    let new = NewLog { partitions: 4, cluster_id: "not new".to_owned() };
    EmbeddedLog::open(&directory.join("log"), new, Arc::new(SystemWall)).expect("the server is gone")
}

fn live_state_equals_the_replayed(directory: &Path, replayed: &[u128]) {
    let cache = SharedCache::new(16 << 20);
    for (partition, replayed) in replayed.iter().enumerate() {
        let store = RocksStore::open(&directory.join("store").join(partition.to_string()), &cache).expect("opens");
        assert_eq!(check::state_hash(&store).expect("readable"), *replayed, "partition {partition}");
    }
}

/// The checker itself: with one output taken out or said twice, it has to object.
fn the_judge_sees_one_output_removed_or_doubled(log: &EmbeddedLog, acknowledged: &[EventId]) {
    let busiest =
        (0..4).max_by_key(|&partition| log.end(Topic::TagChanges, partition).expect("readable")).expect("four");
    let copied = |change: &dyn Fn(&mut Vec<NewRecord>)| {
        let change = |topic: Topic, partition: u32, records: &mut Vec<NewRecord>| {
            if topic == Topic::TagChanges && partition == busiest {
                change(records);
            }
        };
        judge(&copy(log, Taking::Every, &change), acknowledged).expect("readable")
    };
    assert!(copied(&|_| {}).is_clean(), "the copy itself is right");
    assert!(!copied(&|records| drop(records.remove(3))).is_clean(), "one output removed");
    assert!(!copied(&|records| records.insert(3, records[3].clone())).is_clean(), "one output doubled");
}
