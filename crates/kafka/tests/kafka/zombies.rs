//! Owners that died, hang, or do not know yet that they are no longer owners. Each log is a process of its own.

use crate::support::{PATIENCE, cluster, connect, fresh, marker, publication, read_published, touches};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use touchline_broker::{Action, Rule, api};
use touchline_kafka::{Hook, KafkaLog, Publish, Settings};
use touchline_log::lane::LanePoint;
use touchline_log::{Error, Log, Published, SystemWall, Topic, wait};

#[test]
fn an_older_owner_in_another_process_is_fenced() {
    let Some(cluster) = cluster() else { return };
    let settings = fresh(cluster, Publish::Transactional);
    let (old, new) = (connect(&settings), connect(&settings));
    let mut first = wait(old.take_over(0)).unwrap();
    wait(first.publisher.publish(publication(1, 1..=3))).unwrap();
    let mut second = wait(new.take_over(0)).unwrap();
    assert_eq!(second.published, Published::whole(marker(1, 3)));
    let fenced = wait(first.publisher.publish(publication(2, 4..=4)));
    assert!(matches!(fenced, Err(Error::Fenced { partition: 0 })), "{fenced:?}");
    wait(second.publisher.publish(publication(2, 4..=5))).unwrap();
    assert_eq!(touches(&settings, 0, 5), [1, 2, 3, 4, 5]);
}

/// A log whose lane stops at a point, once, until it is told to go on.
fn stopping_at(settings: &Settings, at: LanePoint) -> (KafkaLog, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (there, arrived) = mpsc::channel();
    let (go_on, told) = mpsc::channel();
    let (told, stopped) = (Mutex::new(told), AtomicBool::new(false));
    let hook: Hook = Arc::new(move |point| {
        if point == at && !stopped.swap(true, Ordering::SeqCst) {
            there.send(()).unwrap();
            // A test that ended needs nobody to go on.
            let _ = told.lock().unwrap().recv();
        }
    });
    (KafkaLog::connect_with_hook(settings.clone(), Arc::new(SystemWall), Some(hook)).unwrap(), arrived, go_on)
}

#[test]
fn an_owner_that_hangs_within_a_transaction_holds_nobody_up_and_adds_nothing() {
    let Some(cluster) = cluster() else { return };
    for point in [LanePoint::AfterSend, LanePoint::AfterDrain, LanePoint::BeforeCommit] {
        let settings = fresh(cluster, Publish::Transactional);
        let next = connect(&settings);
        let (zombie, arrived, go_on) = stopping_at(&settings, point);
        let mut first = wait(zombie.take_over(0)).unwrap();
        let never = first.publisher.publish(publication(1, 1..=2));
        arrived.recv().unwrap();
        let began = Instant::now();
        let mut second = wait(next.take_over(0)).unwrap();
        // Well before the broker would have ended the transaction by itself.
        assert!(began.elapsed() < Duration::from_secs(8), "{point:?}: {:?}", began.elapsed());
        assert_eq!(second.published, Published::default());
        wait(second.publisher.publish(publication(1, 1..=2))).unwrap();
        go_on.send(()).unwrap();
        let fenced = wait(never);
        assert!(matches!(fenced, Err(Error::Fenced { partition: 0 })), "{point:?}: {fenced:?}");
        wait(second.publisher.publish(publication(2, 3..=3))).unwrap();
        assert_eq!(touches(&settings, 0, 3), [1, 2, 3], "{point:?}");
    }
}

#[test]
fn a_publication_that_was_committed_and_not_heard_of_is_found() {
    let Some(cluster) = cluster() else { return };
    let settings = fresh(cluster, Publish::Transactional);
    let (zombie, arrived, _go_on) = stopping_at(&settings, LanePoint::AfterCommit);
    let mut first = wait(zombie.take_over(1)).unwrap();
    let _never = first.publisher.publish(publication(7, 1..=2));
    arrived.recv().unwrap();
    let second = wait(connect(&settings).take_over(1)).unwrap();
    assert_eq!(second.published, Published::whole(marker(7, 2)));
}

#[test]
fn without_transactions_the_beginning_of_a_publication_is_found() {
    let Some(cluster) = cluster() else { return };
    let settings = fresh(cluster, Publish::Sequenced);
    let (zombie, arrived, _go_on) = stopping_at(&settings, LanePoint::AfterDrain);
    let mut first = wait(zombie.take_over(0)).unwrap();
    let _never = first.publisher.publish(publication(7, 1..=400));
    arrived.recv().unwrap();
    let mut second = wait(connect(&settings).take_over(0)).unwrap();
    assert_eq!(second.published, Published { tails: [0, 400, 0, 0], ..Published::default() });
    wait(second.publisher.publish(publication(9, 401..=401))).unwrap();
    assert_eq!(touches(&settings, 0, 401), (1..=401).collect::<Vec<_>>());
}

#[test]
fn a_commit_that_arrives_late_changes_nothing_for_the_next_owner() {
    let Some(cluster) = cluster() else { return };
    let Ok(proxy) = cluster.proxy() else { return };
    let settings = fresh(cluster, Publish::Transactional);
    let behind = Settings { brokers: proxy.bootstrap(), role: format!("{}-behind", settings.role), ..settings.clone() };
    let mut first = wait(connect(&behind).take_over(0)).unwrap();
    wait(first.publisher.publish(publication(1, 1..=1))).unwrap();
    drop(first);
    let (log, arrived, go_on) = stopping_at(&behind, LanePoint::BeforeCommit);
    let mut first = wait(log.take_over(0)).unwrap();
    // The first request reaches the broker when the next owner has begun; repeats of it never do.
    let late = proxy.add(Rule::nth(api::END_TXN, 1, Action::HeldDelivery).from_client(&behind.role));
    let repeats = proxy.add(Rule::every(api::END_TXN, Action::Cut).from_client(&behind.role));
    let unheard = first.publisher.publish(publication(2, 2..=3));
    arrived.recv().unwrap();
    go_on.send(()).unwrap();
    let mut second = wait(connect(&settings).take_over(0)).unwrap();
    assert_eq!(second.published, Published::whole(marker(1, 1)));
    wait(second.publisher.publish(publication(2, 2..=3))).unwrap();
    // Transactions of the new owner while the late request comes: it must not end them.
    proxy.release(late);
    for sequence in 4..=5 {
        wait(second.publisher.publish(publication(sequence, sequence..=sequence))).unwrap();
    }
    assert!(proxy.wait(late, 1, PATIENCE));
    wait(second.publisher.publish(publication(6, 6..=6))).unwrap();
    proxy.remove(late);
    proxy.remove(repeats);
    assert!(wait(unheard).is_err());
    assert_eq!(touches(&settings, 0, 6), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn records_that_arrive_late_are_in_nobodys_transaction() {
    let Some(cluster) = cluster() else { return };
    let Ok(proxy) = cluster.proxy() else { return };
    let settings = fresh(cluster, Publish::Transactional);
    let behind = Settings { brokers: proxy.bootstrap(), role: format!("{}-behind", settings.role), ..settings.clone() };
    let log = connect(&behind);
    let mut first = wait(log.take_over(0)).unwrap();
    wait(first.publisher.publish(publication(1, 1..=1))).unwrap();
    let lane = format!("{}-lane", behind.role);
    let late = proxy.add(Rule::nth(api::PRODUCE, 1, Action::HeldDelivery).from_client(&lane));
    let repeats = proxy.add(Rule::every(api::PRODUCE, Action::Cut).from_client(&lane));
    let unheard = first.publisher.publish(publication(2, 2..=3));
    let mut second = wait(connect(&settings).take_over(0)).unwrap();
    assert_eq!(second.published, Published::whole(marker(1, 1)));
    wait(second.publisher.publish(publication(2, 2..=3))).unwrap();
    proxy.release(late);
    assert!(proxy.wait(late, 1, PATIENCE));
    wait(second.publisher.publish(publication(4, 4..=4))).unwrap();
    proxy.remove(late);
    proxy.remove(repeats);
    assert!(wait(unheard).is_err());
    assert_eq!(touches(&settings, 0, 4), [1, 2, 3, 4]);
    assert_eq!(read_published(&settings, Topic::Contacts, 0, 3).len(), 3);
}
