//! The contract suite, in both modes and with both clocks.

use crate::support::{apply, cluster, connect_at, settings};
use touchline_broker::Cluster;
use touchline_kafka::{Clock, KafkaLog, Publish, Settings};
use touchline_log::contract::{self, Subject};

fn check(cluster: &Cluster, publish: Publish, clock: Clock) {
    let make = |wall| {
        let settings = Settings { clock, ..settings(cluster, publish) };
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
    check(cluster, Publish::Transactional, Clock::System);
}

#[test]
fn it_keeps_the_contract_without_transactions() {
    let Some(cluster) = cluster() else { return };
    check(cluster, Publish::Sequenced, Clock::System);
}
