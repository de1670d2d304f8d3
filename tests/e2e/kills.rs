//! kill -9 at any moment loses nothing acknowledged and repeats nothing.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use touchline_log::memory::MemoryLog;
use touchline_log::publish::publish_once;
use touchline_log::{Log, NewRecord, Publication, StoredRecord, SystemWall, Topic, Wall};
use touchline_model::id::EventId;
use touchline_model::time::Time;
use touchline_processor::check::{self, judge};
use touchline_rocks::{EmbeddedLog, NewLog, RocksStore, SharedCache};
use touchline_tests::{Seeded, Server, Start, binary, post, repository, wait_for};

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
const CONTACTS: u64 = 60;

/// What the clients share: where the server is now, what was acknowledged.
struct Load {
    address: RwLock<Option<String>>,
    acknowledged: Mutex<BTreeSet<EventId>>,
    sent: AtomicU64,
    stop: AtomicBool,
}

#[test]
fn kills_lose_nothing_and_repeat_nothing() {
    let mut seeded = Seeded::from_env(3);
    let directory = tempfile::tempdir().expect("a directory");
    let load = Arc::new(Load {
        address: RwLock::new(None),
        acknowledged: Mutex::default(),
        sent: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let load = Arc::clone(&load);
            std::thread::spawn(move || load.run())
        })
        .collect();
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
    load.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().expect("a client");
    }
    server.settle();
    assert!(server.stop().success(), "a graceful end");

    verify_agrees(directory.path());

    let acknowledged: Vec<EventId> = load.acknowledged.lock().expect("clients are done").iter().copied().collect();
    let log = open(directory.path());
    let report = judge(&log, &acknowledged).expect("readable");
    eprintln!("kills per point: {kills:?}");
    eprintln!("acknowledged {}, records {}, outputs {}", acknowledged.len(), report.records, report.outputs);
    assert_eq!(report.differences, [] as [String; 0]);
    assert!(report.outputs > 100, "the load has to say something: {}", report.outputs);
    live_state_equals_the_replayed(directory.path(), &report.state_hashes);
    the_judge_sees_one_output_removed_or_doubled(&log, &acknowledged);
}

fn activate(directory: &Path) {
    let server = Server::start(directory, &Start::default()).expect("starts");
    let playbook = repository("tests/playbooks/kills.yaml");
    server.json("demo", &["playbook", "activate", playbook.to_str().expect("text")]);
    assert!(server.stop().success());
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
        let copy = copy(log, busiest, change);
        judge(&copy, acknowledged).expect("readable")
    };
    assert!(copied(&|_| {}).is_clean(), "the copy itself is right");
    assert!(!copied(&|records| drop(records.remove(3))).is_clean(), "one output removed");
    assert!(!copied(&|records| records.insert(3, records[3].clone())).is_clean(), "one output doubled");
}

fn copy(log: &EmbeddedLog, changed: u32, change: &dyn Fn(&mut Vec<NewRecord>)) -> MemoryLog {
    let wall = Arc::new(Recorded(AtomicI64::new(0)));
    let copy = MemoryLog::new(4, wall.clone());
    for partition in 0..4 {
        for record in read_all(log, Topic::Events, partition) {
            // Append times decide what the engine does: they are copied through the wall.
            wall.0.store(record.append_time.0, Ordering::SeqCst);
            let appended = copy.append(Topic::Events, partition, vec![new(record)]);
            drop(appended);
        }
        let mut records = Vec::new();
        for topic in Topic::ALL.into_iter().filter(|&topic| topic != Topic::Events) {
            let mut of_topic: Vec<NewRecord> = read_all(log, topic, partition).into_iter().map(new).collect();
            if topic == Topic::TagChanges && partition == changed {
                change(&mut of_topic);
            }
            records.extend(of_topic.into_iter().map(|record| (topic, record)));
        }
        let marker = log.published(partition).expect("readable");
        publish_once(&copy, partition, Publication { records, marker }).expect("in memory");
    }
    copy
}

/// A wall that says what the record being copied had said.
struct Recorded(AtomicI64);

impl Wall for Recorded {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}

fn read_all(log: &EmbeddedLog, topic: Topic, partition: u32) -> Vec<StoredRecord> {
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let records = log.read(topic, partition, offset, 1_000).expect("readable");
        let Some(last) = records.last() else { return all };
        offset = last.offset + 1;
        all.extend(records);
    }
}

fn new(record: StoredRecord) -> NewRecord {
    NewRecord { key: record.key, headers: record.headers, value: record.value }
}

impl Load {
    fn point_at(&self, address: Option<&str>) {
        *self.address.write().expect("not poisoned") = address.map(str::to_owned);
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().expect("not poisoned").len()
    }

    /// Sends events until told to stop; one that was not acknowledged is sent again, the same.
    fn run(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            let body = event(number).to_string();
            while !self.stop.load(Ordering::SeqCst) {
                let address = self.address.read().expect("not poisoned").clone();
                let answer = address.and_then(|address| {
                    let url = format!("http://{address}/v1/events");
                    post(&url, &[("content-type", "application/json")], body.as_bytes())
                });
                let Some((200, answer)) = answer else {
                    std::thread::park_timeout(std::time::Duration::from_millis(5));
                    continue;
                };
                let answer: Value = serde_json::from_str(&answer).expect("JSON");
                let id = answer["results"][0]["event_id"].as_str().and_then(EventId::parse).expect("an id");
                self.acknowledged.lock().expect("not poisoned").insert(id);
                break;
            }
        }
    }
}

/// Event `number`: contacts added, asking prices, linked, buying under their own Youzan id.
/// Nobody buys in the first round: a cell that holds state before it is linked stays on its own, and then
/// nothing would pass through the loopback.
fn event(number: u64) -> Value {
    let (round, who) = (number / 5 / CONTACTS, number / 5 % CONTACTS);
    let wecom = json!({"kind": "wecom_external_userid", "scope": "wwcorp", "value": format!("wm{who}")});
    let youzan = json!({"kind": "yz_open_id", "scope": "youzan", "value": format!("yz{who}")});
    let (kind, subject, fields) = match number % 5 {
        0 => ("contact.added", vec![wecom], json!({"staff": format!("staff{}", who % 3), "state": "t"})),
        1 => ("chat.message", vec![wecom], json!({"direction": "in", "msg_type": "text", "text": "多少钱一份？"})),
        2 => ("identity.linked", vec![wecom, youzan], json!({"evidence": "strong"})),
        3 if round > 0 => ("order.paid", vec![youzan], json!({"order_id": format!("E{number}")})),
        _ => ("chat.message", vec![wecom], json!({"direction": "in", "msg_type": "text", "text": "再想想"})),
    };
    json!({
        "kind": kind, "tenant": "demo", "source": "kills", "id": number.to_string(), "subject": subject, "fields": fields,
    })
}
