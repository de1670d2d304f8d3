//! A broker for everybody, and logs with topics of their own on it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use touchline_broker::{Cluster, Options};
use touchline_kafka::{KafkaLog, Publish, Settings, topics};
use touchline_log::{ManualWall, SystemWall};
use touchline_model::time::Time;

/// Partitions of every log under test.
pub(crate) const PARTITIONS: u32 = touchline_log::contract::PARTITIONS;

/// The broker that tests share; `None` where there is none, which is said.
pub(crate) fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(|| touchline_broker::start_or_skip(&Options::default())).as_ref()
}

/// Settings with a prefix nobody else has.
pub(crate) fn settings(cluster: &Cluster, publish: Publish) -> Settings {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("test-{}-{number}", std::process::id());
    Settings {
        brokers: cluster.bootstrap(),
        topic_prefix: format!("{name}."),
        group: name.clone(),
        publish,
        role: name,
        ..Settings::default()
    }
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

/// Another process on the same topics.
pub(crate) fn connect(settings: &Settings) -> KafkaLog {
    KafkaLog::connect(settings.clone(), Arc::new(SystemWall)).unwrap()
}

/// The same with a clock of its own.
pub(crate) fn connect_at(settings: &Settings, wall: ManualWall) -> KafkaLog {
    KafkaLog::connect(settings.clone(), Arc::new(wall)).unwrap()
}

/// A log of its own.
pub(crate) fn fresh(cluster: &Cluster, publish: Publish) -> KafkaLog {
    let settings = settings(cluster, publish);
    apply(&settings);
    connect(&settings)
}

/// Some time.
pub(crate) const START: Time = Time(1_700_000_000_000);
