//! Appending while the brokers do not answer.

use crate::support::{cluster, connect, fresh, read_all};
use touchline_broker::Rule;
use touchline_kafka::{Publish, Settings};
use touchline_log::{Error, Log, NewRecord, RECORD_BYTES_MAX, Topic, wait};

#[test]
fn a_full_queue_says_so_and_leaves_room_for_the_clusters_own_records() {
    const CALLS_MAX: usize = 1_000;
    let Some(cluster) = cluster() else { return };
    let Ok(proxy) = cluster.proxy() else { return };
    let settings = fresh(cluster, Publish::Sequenced);
    let behind = Settings { brokers: proxy.bootstrap(), ..settings.clone() };
    let log = connect(&behind);
    let large = || vec![NewRecord { value: vec![7; RECORD_BYTES_MAX], ..NewRecord::default() }];
    wait(log.append(Topic::Events, 0, large())).unwrap();
    let isolated = proxy.add(Rule::isolate(&settings.role));
    let mut acks = Vec::new();
    let busy = loop {
        assert!(acks.len() < CALLS_MAX, "everything was taken");
        let mut ack = log.append(Topic::Events, 0, large());
        match ack.try_recv().unwrap() {
            Some(Err(error)) => break error,
            _ => acks.push(ack),
        }
    };
    let bytes = acks.len() * RECORD_BYTES_MAX;
    assert!(matches!(busy, Error::Busy { waiting_bytes } if waiting_bytes == bytes), "{busy} after {bytes} bytes");
    let own = log.append_own(Topic::Events, 1, large());
    proxy.remove(isolated);
    let appended = acks.len();
    for ack in acks {
        wait(ack).unwrap();
    }
    wait(own).unwrap();
    wait(log.append(Topic::Events, 0, large())).unwrap();
    assert_eq!(read_all(&connect(&settings), Topic::Events, 0).len(), appended + 2);
}
