//! The contract suite, in both modes and with both clocks.

use crate::support::{apply, cluster, connect_at, settings};
use touchline_broker::Cluster;
use touchline_kafka::{Clock, KafkaLog, Publish, Settings};
use touchline_log::contract::{self, Subject};
use touchline_log::{Log, ManualWall, NewRecord, Topic, wait};
use touchline_model::time::Time;

fn check(cluster: &Cluster, publish: Publish) {
    let make = |wall| {
        let settings = settings(cluster.bootstrap(), publish);
        apply(&settings);
        connect_at(&settings, wall)
    };
    // The broker outlives the process; what the process had not heard of when it died is unknown to the next one.
    let crash = |log: KafkaLog, wall| connect_at(&log.settings().clone(), wall);
    contract::check(&Subject { make: &make, crash: &crash, clock: contract::Clock::Broker });
}

#[test]
fn it_keeps_the_contract_with_transactions() {
    let Some(cluster) = cluster() else { return };
    check(cluster, Publish::Transactional);
}

#[test]
fn it_keeps_the_contract_without_transactions() {
    let Some(cluster) = cluster() else { return };
    check(cluster, Publish::Sequenced);
}

#[test]
fn with_a_manual_clock_records_carry_its_time_however_far_from_the_brokers() {
    let Some(cluster) = cluster() else { return };
    let settings = Settings { clock: Clock::Manual, ..settings(cluster.bootstrap(), Publish::Transactional) };
    apply(&settings);
    let wall = ManualWall::new(Time(1_700_000_000_000));
    let log = connect_at(&settings, wall.clone());
    let append = || wait(log.append(Topic::Events, 0, vec![NewRecord::default()])).unwrap().append_time;
    assert_eq!(append(), Time(1_700_000_000_000));
    let far = Time(4_000_000_000_000);
    wall.advance(far);
    assert_eq!(append(), far);
    let times: Vec<Time> = log.read(Topic::Events, 0, 0, 9).unwrap().iter().map(|record| record.append_time).collect();
    assert_eq!(times, [Time(1_700_000_000_000), far]);
    // Topics of one clock are refused by processes of the other.
    let other = Settings { clock: Clock::System, ..settings };
    let refused = KafkaLog::connect(other, std::sync::Arc::new(wall)).err().unwrap().to_string();
    assert!(refused.contains("message.timestamp.type is CreateTime and must be LogAppendTime"), "{refused}");
}
