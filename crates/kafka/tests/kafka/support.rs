//! A broker for everybody, and logs with topics of their own on it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use touchline_broker::{Cluster, Options};
use touchline_kafka::{KafkaLog, Publish, Settings, topics};
use touchline_log::publish::SEQUENCE_HEADER;
use touchline_log::{Headers, Log, ManualWall, Marker, NewRecord, Publication, StoredRecord, SystemWall, Topic};

/// Partitions of every log under test.
pub(crate) const PARTITIONS: u32 = touchline_log::contract::PARTITIONS;
/// How long to wait for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The broker that tests share; `None` where there is none, which is said.
pub(crate) fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(|| touchline_broker::start_or_skip(&Options::default())).as_ref()
}

/// Settings with a prefix and a group nobody else has.
pub(crate) fn settings(brokers: String, publish: Publish) -> Settings {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("test-{}-{number}", std::process::id());
    let topic_prefix = format!("{name}.");
    Settings { brokers, topic_prefix, group: name.clone(), publish, role: name, ..Settings::default() }
}

/// The topics as they are in production, smaller.
pub(crate) fn spec() -> topics::Spec {
    topics::Spec { partitions: PARTITIONS, ..topics::Spec::built_in().unwrap().with_replication(1) }
}

/// Makes the topics.
pub(crate) fn apply(settings: &Settings) {
    let applied = topics::apply(settings, &spec()).unwrap();
    assert!(applied.left.is_empty(), "{}", applied.left);
}

/// A process on these topics.
pub(crate) fn connect(settings: &Settings) -> KafkaLog {
    KafkaLog::connect(settings.clone(), Arc::new(SystemWall)).unwrap()
}

/// The same with a clock of its own.
pub(crate) fn connect_at(settings: &Settings, wall: ManualWall) -> KafkaLog {
    KafkaLog::connect(settings.clone(), Arc::new(wall)).unwrap()
}

/// Settings whose topics exist.
pub(crate) fn fresh(cluster: &Cluster, publish: Publish) -> Settings {
    let settings = settings(cluster.bootstrap(), publish);
    apply(&settings);
    settings
}

pub(crate) fn record(value: &[u8]) -> NewRecord {
    NewRecord { key: Some(b"key".to_vec()), value: value.to_vec(), ..NewRecord::default() }
}

/// A publication of touches `sequences`, up to `offset`.
pub(crate) fn publication(offset: u64, sequences: std::ops::RangeInclusive<u64>) -> Publication {
    let marker = marker(offset, *sequences.end());
    let touch = |sequence: u64| {
        let headers = Headers::from([(SEQUENCE_HEADER, sequence.to_string())]);
        (Topic::Touches, NewRecord { headers, ..record(b"touch") })
    };
    let progress = NewRecord { headers: Headers::from([marker.to_header()]), ..record(b"progress") };
    let records = sequences.map(touch).chain([(Topic::Contacts, progress)]).collect();
    Publication { records, marker }
}

pub(crate) fn marker(offset: u64, touches: u64) -> Marker {
    Marker { offset, sequences: [0, touches, 0, 0] }
}

/// Everything that can be read.
pub(crate) fn read_all(log: &KafkaLog, topic: Topic, partition: u32) -> Vec<StoredRecord> {
    let mut all: Vec<StoredRecord> = Vec::new();
    let end = log.end(topic, partition).unwrap();
    while all.last().map_or(0, |last| last.offset + 1) < end {
        let offset = all.last().map_or(0, |last| last.offset + 1);
        all.extend(log.read(topic, partition, offset, usize::MAX).unwrap());
    }
    all
}

/// The same by a process that just came, once it sees as many as `count`: a commit is answered before the markers that
/// end its transaction lie in the topics, and only whoever published knows what to wait for.
pub(crate) fn read_published(settings: &Settings, topic: Topic, partition: u32, count: usize) -> Vec<StoredRecord> {
    let (log, mut found) = (connect(settings), Vec::new());
    eventually("what was published", || {
        found = read_all(&log, topic, partition);
        found.len() >= count
    });
    found
}

/// The sequences of all touches of a partition, `count` at least, as a plain `read_committed` consumer sees them.
pub(crate) fn touches(settings: &Settings, partition: u32, count: usize) -> Vec<u64> {
    let records = read_published(settings, Topic::Touches, partition, count);
    records.iter().map(|record| touchline_log::publish::sequence_in(&record.headers).unwrap()).collect()
}

/// Waits for a condition, looking often.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come to be");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
