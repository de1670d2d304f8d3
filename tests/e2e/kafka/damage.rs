//! Damage to what lies on disks and in the topics: a clear error or a correct recovery, never silent loss.

use crate::setting::{Member, PARTITIONS, Setting, activate, is_at_rest};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use touchline_broker::{Cluster, Options};
use touchline_kafka::KafkaLog;
use touchline_log::{Log, Topic};
use touchline_model::id::EventId;
use touchline_processor::check::{applied_offset, judge, state_hash};
use touchline_rocks::{RocksStore, SharedCache};
use touchline_tests::copied::{Taking, copy};
use touchline_tests::load::Load;
use touchline_tests::{Server, wait_for};

const ALL: &str = "ingest,processor,query";

/// One broker for all of these tests; it ends with the process.
fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    touchline_broker::available_or_skip()
        .then(|| CLUSTER.get_or_init(|| Cluster::start(&Options::default()).expect("a broker")))
}

/// A deployment of its own on it.
struct Ground {
    setting: Setting,
    log: KafkaLog,
    acknowledged: Vec<EventId>,
    /// Events that were sent.
    sent: u64,
    _directory: tempfile::TempDir,
}

impl Ground {
    fn new(prefix: &str, publish: &'static str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let setting = Setting::new(&cluster()?.bootstrap(), prefix, publish, 1, directory.path());
        Some(Self { log: setting.observe(), setting, acknowledged: Vec::new(), sent: 0, _directory: directory })
    }

    /// Sends so many new events through a server.
    fn send(&mut self, ingest: &Server, events: usize) {
        let load = Load::start_at(self.sent, 4, Duration::ZERO);
        load.point_at(Some(&ingest.http));
        wait_for("acknowledgements", || load.count() >= events);
        let (acknowledged, sent) = load.finish_at();
        self.acknowledged.extend(acknowledged);
        self.sent = sent;
    }

    fn rest(&self) {
        wait_for("rest", || is_at_rest(&self.log).unwrap_or(false));
    }

    /// As [`Self::rest`], for processors that were started just now. What others published says nothing about their
    /// stores, which may be behind it: only news in each partition that they publish proves that they applied the rest.
    fn rest_restarted(&mut self, ingest: &Server) {
        let ends = self.ends(Topic::Events);
        // Every partition is some of them.
        for _ in 0..100 {
            self.send(ingest, 50);
            if self.ends(Topic::Events).iter().zip(&ends).all(|(now, before)| now > before) {
                return self.rest();
            }
        }
        panic!("there is a partition that nothing reaches: {ends:?}");
    }

    fn ends(&self, topic: Topic) -> Vec<u64> {
        (0..PARTITIONS).map(|id| self.log.end_now(topic, id).expect("there")).collect()
    }

    /// The log is right, and the stores of the process hold what it says.
    fn judge(&self, name: &str) {
        let report = match self.setting.publish {
            "transactional" => judge(&self.log, &self.acknowledged),
            _ => judge(&copy(&self.log, Taking::Next, &|_, _, _| {}), &self.acknowledged),
        };
        let report = report.expect("readable");
        assert_eq!(report.differences, [] as [String; 0]);
        assert!(report.outputs > 20, "the load has to say something: {}", report.outputs);
        let cache = SharedCache::new(16 << 20);
        for (partition, replayed) in (0..).zip(report.state_hashes) {
            let store = RocksStore::open(&self.store(name, partition), &cache).expect("opens");
            let end = self.log.end(Topic::Events, partition).expect("readable");
            assert_eq!(applied_offset(&store, partition, PARTITIONS).expect("readable"), end, "{partition}");
            assert_eq!(state_hash(&store).expect("readable"), replayed, "{partition}");
        }
    }

    fn store(&self, name: &str, partition: u32) -> PathBuf {
        self.setting.data(name).join("store").join(partition.to_string())
    }

    /// Whole checkpoints of a partition, oldest first.
    fn checkpoints(&self, partition: u32) -> Vec<(u64, PathBuf)> {
        let directory = self.setting.checkpoints().join(partition.to_string());
        let entries = std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.expect("readable").path());
        let offset = |path: &Path| path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let mut found: Vec<(u64, PathBuf)> = entries.filter_map(|path| Some((offset(&path)?, path))).collect();
        found.sort_unstable();
        found
    }
}

/// Everything in one process, with checkpoints.
fn node(ground: &Ground, name: &str) -> Server {
    let member = Member { processor: ground.setting.with_checkpoints(), ..Member::new(name, ALL) };
    ground.setting.start(&member).expect("starts")
}

#[test]
fn stores_deleted_under_a_running_processor_are_an_error_and_come_back() {
    let Some(mut ground) = Ground::new("deleted", "sequenced") else { return };
    let server = node(&ground, "all");
    activate(&server);
    ground.send(&server, 200);
    let stores = ground.setting.data("all").join("store");
    // A store may make a file while its directory goes.
    wait_for("the stores to be removed", || std::fs::remove_dir_all(&stores).is_ok() || !stores.exists());
    ground.send(&server, 200);
    // What RocksDB cannot flush it says at the next checkpoint; nobody goes on as if it were durable.
    let mut reason = String::new();
    wait_for("the error", || {
        reason = server.ready().err().unwrap_or_default();
        reason.contains("stopped partitions: ")
    });
    assert!(reason.contains("No such file or directory"), "{reason}");
    server.stop();

    let server = node(&ground, "all");
    ground.rest_restarted(&server);
    assert!(server.stop().success());
    ground.judge("all");
}

#[test]
fn damaged_checkpoints_are_refused_and_older_ones_used() {
    let Some(mut ground) = Ground::new("checkpoints", "transactional") else { return };
    let server = node(&ground, "all");
    activate(&server);
    // Until every partition has two.
    let two = |ground: &Ground| (0..PARTITIONS).all(|partition| ground.checkpoints(partition).len() >= 2);
    while !two(&ground) {
        ground.send(&server, 50);
    }
    ground.rest();
    assert!(server.stop().success());
    std::fs::remove_dir_all(ground.setting.data("all").join("store")).expect("removed");
    for partition in 0..PARTITIONS {
        let (_, newest) = ground.checkpoints(partition).pop().expect("two");
        damage(&newest, partition.is_multiple_of(2));
    }

    let server = node(&ground, "all");
    ground.rest_restarted(&server);
    assert!(server.stop().success());
    let said = ground.setting.said("all");
    assert!(said.contains("is damaged: its hash is not what was written"), "{said}");
    assert!(said.contains(" bytes, not "), "{said}");
    let restored = said.matches("origin=Some(Checkpoint {").count();
    assert_eq!(restored, PARTITIONS as usize, "restored from the one before\n{said}");
    ground.judge("all");
}

/// Flips a bit in the largest file of a checkpoint, or cuts its end off. The file is replaced, because others are linked
/// to it.
fn damage(checkpoint: &Path, flip: bool) {
    let files = std::fs::read_dir(checkpoint).expect("a checkpoint").map(|entry| entry.expect("readable").path());
    let tables = files.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    let bytes = |path: &PathBuf| path.metadata().expect("readable").len();
    let largest = tables.max_by_key(bytes).expect("a table");
    let mut content = std::fs::read(&largest).expect("readable");
    let middle = content.len() / 2;
    if flip {
        content[middle] ^= 1;
    } else {
        content.truncate(middle);
    }
    std::fs::remove_file(&largest).expect("removed");
    std::fs::write(&largest, content).expect("written");
}

#[test]
fn retention_that_outran_the_state_is_an_error_unless_a_checkpoint_is_younger() {
    let Some(mut ground) = Ground::new("retention", "transactional") else { return };
    let server = node(&ground, "all");
    activate(&server);
    while (0..PARTITIONS).any(|partition| ground.checkpoints(partition).is_empty()) {
        ground.send(&server, 100);
    }
    ground.rest();
    assert!(server.stop().success());
    let ends = |ground: &Ground| Topic::ALL.map(|topic| ground.ends(topic));
    let before = ends(&ground);
    for partition in 0..PARTITIONS {
        let (offset, _) = ground.checkpoints(partition).pop().expect("one");
        ground.setting.delete_events(partition, offset);
    }

    let empty = ground.setting.start(&Member::new("empty", "processor")).expect("starts");
    let mut reason = String::new();
    wait_for("the error of every partition", || {
        reason = empty.ready().err().unwrap_or_default();
        reason.matches("state is at 0, and retention took everything below").count() == PARTITIONS as usize
    });
    let (offset, _) = ground.checkpoints(0).pop().expect("one");
    let hint =
        format!("below {offset}\nhint: restore a checkpoint at or after {offset}; raise the retention of events");
    assert!(reason.contains(&hint), "{reason}");
    assert!(ground.setting.said("empty").contains("retention took everything below"));
    empty.stop();
    assert_eq!(ends(&ground), before, "nothing was said on the strength of half a log");

    // With the checkpoints it is an owner like any other.
    let member = Member { processor: ground.setting.with_checkpoints(), ..Member::new("restored", "ingest,processor") };
    let restored = ground.setting.start(&member).expect("starts");
    ground.rest_restarted(&restored);
    assert_eq!(restored.ready(), Ok(()));
    assert!(restored.stop().success());
}

#[test]
fn a_full_disk_stops_partitions_and_loses_nothing() {
    let Some(mut ground) = Ground::new("full", "sequenced") else { return };
    let ingest = ground.setting.start(&Member::new("ingest", "ingest,query")).expect("starts");
    let checkpoints = ground.setting.with_checkpoints();
    // So much in one file, and not more.
    let member =
        Member { processor: checkpoints, file_kib_max: Some(FULL_KIB), ..Member::new("processor", "processor") };
    let mut full = ground.setting.start(&member).expect("starts");
    activate(&ingest);
    let mut reason = String::new();
    let mut rounds = 0;
    while !reason.contains("stopped partitions: ") && !full.has_ended() {
        rounds += 1;
        assert!(rounds < 100, "the disk is full before that: {reason}");
        ground.send(&ingest, 200);
        reason = full.ready().err().unwrap_or_default();
    }
    wait_for("the reason in the log", || ground.setting.said("processor").contains("File too large"));
    full.kill();

    let room = ground.setting.start(&Member { file_kib_max: None, ..member }).expect("starts");
    ground.rest_restarted(&ingest);
    assert_eq!(room.ready(), Ok(()));
    assert!(room.stop().success());
    ground.judge("processor");
}

/// Above what an empty store writes, below a table of the load.
const FULL_KIB: u64 = 32;

#[test]
fn topics_made_by_hand_are_refused_with_what_is_wrong_and_the_line_that_repairs_it() {
    let Some(ground) = Ground::new("other", "transactional") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let prefix = "byhand.".to_owned();
    let setting = Setting { prefix, directory: directory.path().to_owned(), ..ground.setting };
    let compacted: &[(&str, &str)] = &[("cleanup.policy", "compact"), ("message.timestamp.type", "CreateTime")];
    setting.create(&[(Topic::Events, compacted), (Topic::Contacts, &[("cleanup.policy", "delete")])]);
    let member = Member::new("all", ALL);
    assert!(!setting.start(&member).map(|_| ()).expect_err("refused").success());
    let said = setting.said("all");
    for line in [
        "byhand.events: cleanup.policy is compact and must be delete",
        "byhand.events: message.timestamp.type is CreateTime and must be LogAppendTime",
        "byhand.contacts: cleanup.policy is delete and must be compact",
        "byhand.touches: topic is missing and must be there",
        "touchline topics apply",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }

    let applied = setting.topics(&["apply", "--partitions", "4", "--replication", "1"]);
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let server = setting.start(&member).expect("starts");
    activate(&server);
    assert!(server.stop().success());
}
