//! Reading besides the contract: what others append, what retention removed, what came before.

use crate::support::{
    PARTITIONS, PATIENCE, cluster, connect, eventually, fresh, marker, publication, record, settings, touches,
};
use rdkafka::producer::Producer as _;
use std::time::{Duration, Instant};
use touchline_broker::Options;
use touchline_kafka::{Publish, topics};
use touchline_log::{Error, Error as LogError, Log, Topic, last_record, wait};

#[test]
fn what_another_process_appends_is_seen_and_signalled() {
    let Some(cluster) = cluster() else { return };
    let settings = fresh(cluster, Publish::Transactional);
    let (reader, writer) = (connect(&settings), connect(&settings));
    assert_eq!(reader.end(Topic::Events, 1).unwrap(), 0);
    assert!(reader.read(Topic::Events, 1, 0, 9).unwrap().is_empty());
    for number in 0..20_u8 {
        let before = reader.signal().count();
        wait(writer.append(Topic::Events, 1, vec![record(&[number])])).unwrap();
        let began = Instant::now();
        let mut seen = before;
        let found = loop {
            let found = reader.read(Topic::Events, 1, u64::from(number), 9).unwrap();
            if !found.is_empty() {
                break found;
            }
            assert!(began.elapsed() < PATIENCE, "record {number} did not come");
            seen = reader.signal().wait_past(seen, PATIENCE);
        };
        assert_eq!(found[0].value, [number]);
        assert_eq!(reader.end(Topic::Events, 1).unwrap(), u64::from(number) + 1);
    }
    // Nobody tails this one: the end is asked for, and follows by itself.
    assert_eq!(reader.end(Topic::Events, 2).unwrap(), 0);
    wait(writer.append(Topic::Events, 2, vec![record(b"x")])).unwrap();
    eventually("the end", || reader.end(Topic::Events, 2).unwrap() == 1);
}

#[test]
fn the_end_is_that_of_the_last_record_not_of_the_transaction() {
    let Some(cluster) = cluster() else { return };
    let settings = fresh(cluster, Publish::Transactional);
    let log = connect(&settings);
    let mut taken = wait(log.take_over(0)).unwrap();
    wait(taken.publisher.publish(publication(1, 1..=2))).unwrap();
    wait(taken.publisher.publish(publication(2, 3..=3))).unwrap();
    // 0 1 commit 3 commit
    let other = connect(&settings);
    // A commit is answered before the markers lie in the topics.
    eventually("the end", || other.end(Topic::Touches, 0).unwrap() == 4);
    let offsets = |from| -> Vec<u64> {
        other.read(Topic::Touches, 0, from, 9).unwrap().iter().map(|record| record.offset).collect()
    };
    assert_eq!((offsets(0), offsets(2), offsets(4), offsets(5)), (vec![0, 1, 3], vec![3], vec![], vec![]));
    let last = last_record(&other, Topic::Touches, 0, &|_| true).unwrap().unwrap();
    assert_eq!(last.offset, 3);
}

#[test]
fn the_marker_of_a_publication_that_was_acknowledged_is_found_however_late_it_becomes_readable() {
    let Some(cluster) = cluster() else { return };
    let settings = fresh(cluster, Publish::Transactional);
    let log = connect(&settings);
    let mut taken = wait(log.take_over(0)).unwrap();
    // Somebody else's open transaction: nothing behind it can be read, as while the markers of a commit are on their way.
    let other: rdkafka::producer::BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .set("transactional.id", format!("{}-other", settings.role))
        .create()
        .unwrap();
    other.init_transactions(PATIENCE).unwrap();
    other.begin_transaction().unwrap();
    let contacts = settings.topic(Topic::Contacts);
    other.send(rdkafka::producer::BaseRecord::to(&contacts).partition(0).key("k").payload("x")).unwrap();
    other.flush(PATIENCE).unwrap();
    wait(taken.publisher.publish(publication(7, 1..=2))).unwrap();
    std::thread::scope(|scope| {
        let published = scope.spawn(|| log.published(0));
        std::thread::park_timeout(Duration::from_millis(300));
        if published.is_finished() {
            panic!("it did not wait: {:?}", published.join());
        }
        other.commit_transaction(PATIENCE).unwrap();
        assert_eq!(published.join().unwrap().unwrap(), marker(7, 2));
    });
}

#[test]
fn several_readers_of_one_partition_do_not_disturb_each_other() {
    let Some(cluster) = cluster() else { return };
    let settings = fresh(cluster, Publish::Transactional);
    let log = connect(&settings);
    let values = (0..500_u32).map(|number| record(&number.to_be_bytes())).collect();
    wait(log.append(Topic::Events, 0, values)).unwrap();
    std::thread::scope(|scope| {
        for reader in 0..6_u64 {
            let log = &log;
            scope.spawn(move || {
                let mut offset = reader * 10;
                while offset < 500 {
                    let found = log.read(Topic::Events, 0, offset, 7).unwrap();
                    for record in found {
                        assert_eq!(
                            (record.offset, record.value),
                            (offset, u32::try_from(offset).unwrap().to_be_bytes().to_vec())
                        );
                        offset += 1;
                    }
                }
            });
        }
    });
}

#[test]
fn what_was_deleted_is_said_to_be_gone() {
    let Some(cluster) = cluster() else { return };
    let settings = fresh(cluster, Publish::Transactional);
    let log = connect(&settings);
    wait(log.append(Topic::Events, 0, (0..10).map(|_| record(b"x")).collect())).unwrap();
    assert_eq!(log.read(Topic::Events, 0, 0, 3).unwrap().len(), 3);
    delete_before(&settings.brokers, &settings.topic(Topic::Events), 6);
    let other = connect(&settings);
    let gone = other.read(Topic::Events, 0, 2, 9);
    assert!(matches!(gone, Err(Error::Truncated { offset: 2, start: 6 })), "{gone:?}");
    assert_eq!(other.read(Topic::Events, 0, 6, 9).unwrap().len(), 4);
    delete_before(&settings.brokers, &settings.topic(Topic::Events), 10);
    let other = connect(&settings);
    assert_eq!(other.end(Topic::Events, 0).unwrap(), 10);
    assert!(other.read(Topic::Events, 0, 10, 9).unwrap().is_empty());
    assert!(last_record(&other, Topic::Events, 0, &|_| true).unwrap().is_none());
}

#[test]
fn a_broker_that_was_killed_and_came_back_is_used_again() {
    let Some(cluster) = touchline_broker::start_or_skip(&Options::default()) else { return };
    if cluster.is_external() {
        return;
    }
    let settings = fresh(&cluster, Publish::Transactional);
    let log = connect(&settings);
    let mut taken = wait(log.take_over(0)).unwrap();
    wait(taken.publisher.publish(publication(1, 1..=2))).unwrap();
    wait(log.append(Topic::Events, 0, vec![record(b"before")])).unwrap();
    assert_eq!(log.read(Topic::Events, 0, 0, 9).unwrap().len(), 1);
    cluster.kill(1).unwrap();
    let meanwhile = log.append(Topic::Events, 0, vec![record(b"meanwhile")]);
    cluster.restart(1).unwrap();
    wait(meanwhile).unwrap();
    let found: Vec<Vec<u8>> =
        log.read(Topic::Events, 0, 0, 9).unwrap().into_iter().map(|record| record.value).collect();
    assert_eq!(found, [b"before".to_vec(), b"meanwhile".to_vec()]);
    // Whether this one is heard of or not: the next owner knows.
    let _ = wait(taken.publisher.publish(publication(2, 3..=3)));
    let mut taken = wait(log.take_over(0)).unwrap();
    let next = taken.published.tails[1] + 1;
    wait(taken.publisher.publish(publication(9, next..=5))).unwrap();
    assert_eq!(touches(&settings, 0, 5), [1, 2, 3, 4, 5]);
}

fn delete_before(brokers: &str, topic: &str, offset: i64) {
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::client::DefaultClientContext;
    let admin: AdminClient<DefaultClientContext> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let mut before = rdkafka::TopicPartitionList::new();
    before.add_partition_offset(topic, 0, rdkafka::Offset::Offset(offset)).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    futures::executor::block_on(admin.delete_records(&before, &options)).unwrap();
}

#[test]
fn partitions_of_a_broker_that_stays_away_go_on_elsewhere() {
    let Some(cluster) = touchline_broker::start_or_skip(&Options { brokers: 3, ..Options::default() }) else { return };
    if cluster.is_external() {
        return;
    }
    let settings = settings(cluster.bootstrap(), Publish::Transactional);
    let spec = topics::Spec { partitions: PARTITIONS, ..topics::Spec::built_in().unwrap().with_replication(3) };
    assert!(topics::apply(&settings, &spec).unwrap().left.is_empty());
    let log = connect(&settings);
    // Who leads is remembered now by every client.
    let publish = |partition: u32, offset: u64| -> Result<(), LogError> {
        let mut taken = wait(log.take_over(partition))?;
        let next = taken.published.tails[1] + 1;
        wait(log.append(Topic::Events, partition, vec![record(b"event")]))?;
        wait(taken.publisher.publish(publication(offset, next..=next)))?;
        let end = log.end_now(Topic::Events, partition)?;
        log.read(Topic::Events, partition, end - 1, 1)?;
        assert_eq!(log.published(partition)?.offset, offset);
        Ok(())
    };
    let patiently = |partition, offset| {
        let give_up_at = Instant::now() + 2 * PATIENCE;
        while let Err(error) = publish(partition, offset) {
            assert!(Instant::now() < give_up_at, "partition {partition}: {error}");
        }
    };
    (0..PARTITIONS).for_each(|partition| patiently(partition, 1));
    cluster.kill(1).unwrap();
    (0..PARTITIONS).for_each(|partition| patiently(partition, 2));
}
