//! Who may take a partition over: the members of the group, each its own partitions.

use crate::support::{PARTITIONS, cluster, connect, eventually, fresh, publication, touches};
use std::collections::BTreeSet;
use std::time::Duration;
use touchline_broker::Rule;
use touchline_kafka::{Assignment, Group, Publish, Settings};
use touchline_log::{Error, Log, wait};

fn everything() -> BTreeSet<u32> {
    (0..PARTITIONS).collect()
}

/// Waits until the members share all partitions, each at least one.
fn settle(members: &[&Group]) {
    eventually("a fair share for everybody", || {
        let shares: Vec<BTreeSet<u32>> = members.iter().map(|member| member.assigned()).collect();
        let all: BTreeSet<u32> = shares.iter().flatten().copied().collect();
        let sum: usize = shares.iter().map(BTreeSet::len).sum();
        all == everything() && sum == all.len() && shares.iter().all(|share| !share.is_empty())
    });
}

#[test]
fn partitions_move_when_members_come_and_go() {
    let Some(cluster) = cluster() else { return };
    let settings = fresh(cluster, Publish::Transactional);
    let (first_log, second_log) = (connect(&settings), connect(&settings));
    let first = first_log.join().unwrap();
    let events = first.events();
    settle(&[&first]);
    for partition in 0..PARTITIONS {
        wait(first_log.take_over(partition)).unwrap();
    }
    let second = second_log.join().unwrap();
    settle(&[&first, &second]);
    let moved = *second.assigned().first().unwrap();
    let refused = wait(first_log.take_over(moved)).err();
    assert!(matches!(refused, Some(Error::NotOwner { partition }) if partition == moved), "{refused:?}");
    let mut taken = wait(second_log.take_over(moved)).unwrap();
    wait(taken.publisher.publish(publication(1, 1..=1))).unwrap();
    second.leave();
    assert!(second.assigned().is_empty());
    settle(&[&first]);
    let mut taken = wait(first_log.take_over(moved)).unwrap();
    assert_eq!(taken.published.tails[1], 1);
    wait(taken.publisher.publish(publication(2, 2..=2))).unwrap();
    assert_eq!(touches(&settings, moved, 2), [1, 2]);
    // Told in order: everything, something taken away, the same given back.
    let told: Vec<Assignment> = events.try_iter().collect();
    let given = told.iter().filter(|event| matches!(event, Assignment::Assigned(_))).count();
    let taken_away = told.iter().filter(|event| matches!(event, Assignment::Revoked(_))).count();
    assert_eq!(given, PARTITIONS as usize + taken_away, "{told:?}");
    assert!(taken_away > 0, "{told:?}");
}

#[test]
fn a_member_that_is_not_heard_of_loses_its_partitions_and_finds_out() {
    let Some(cluster) = cluster() else { return };
    let Ok(proxy) = cluster.proxy() else { return };
    let settings = fresh(cluster, Publish::Transactional);
    let lost = Settings { brokers: proxy.bootstrap(), role: format!("{}-lost", settings.role), ..settings.clone() };
    let (lost_log, log) = (connect(&lost), connect(&settings));
    let lost_group = lost_log.join().unwrap();
    let events = lost_group.events();
    settle(&[&lost_group]);
    let mut old = wait(lost_log.take_over(0)).unwrap();
    wait(old.publisher.publish(publication(1, 1..=1))).unwrap();
    let isolated = proxy.add(Rule::isolate(&lost.role));
    let group = log.join().unwrap();
    // After the session of the lost one.
    settle(&[&group]);
    let mut new = wait(log.take_over(0)).unwrap();
    assert_eq!(new.published.tails[1], 1);
    wait(new.publisher.publish(publication(2, 2..=2))).unwrap();
    proxy.remove(isolated);
    let fenced = wait(old.publisher.publish(publication(2, 2..=2)));
    assert!(fenced.is_err(), "{fenced:?}");
    let lost_one = || events.recv_timeout(Duration::from_secs(30)).unwrap();
    eventually("the loss", || matches!(lost_one(), Assignment::Lost(_)));
    settle(&[&group, &lost_group]);
    assert_eq!(touches(&settings, 0, 2), [1, 2]);
}
