//! The kill suite: processors killed at counted points and at random, zombies, brokers, networks; under load all the
//! time; judged at the end by what an uninterrupted run would have said.

use crate::faults::{self, Fault};
use crate::fleet::{Finished, Fleet, Kill};
use crate::setting::PARTITIONS;
use std::collections::BTreeSet;
use touchline_log::{Log, NewRecord, Topic};
use touchline_processor::check::{Report, applied_offset, judge, state_hash};
use touchline_rocks::{RocksStore, SharedCache};
use touchline_tests::copied::{Change, Taking, copy};
use touchline_tests::load::CONTACTS;
use touchline_tests::{Seeded, plain_consumer};

/// Counted points, how many passages to let go by at most (rarer points get small counts), and whether there is such a
/// passage without transactions.
const POINTS: [(&str, u64, bool); 14] = [
    ("after_send", 40, true),
    ("before_write", 60, true),
    ("during_init_transactions", 2, false),
    ("during_loopback", 12, true),
    ("before_commit", 40, true),
    ("after_apply", 60, true),
    ("during_restore", 2, true),
    ("after_commit", 40, true),
    ("before_publish", 40, true),
    ("after_publish_before_trim", 40, true),
    ("after_drain", 40, true),
    ("after_loopback_before_trim", 12, true),
    ("during_publish", 40, true),
    ("after_tick", 3, true),
];
/// Kills of each mode without `TOUCHLINE_KILLS`: twenty together.
const KILLS: u64 = 10;
/// Of so many kills one is a SIGKILL at any moment.
const RANDOM_EACH: u64 = 5;

#[test]
fn transactional() {
    suite("transactional");
}

#[test]
fn sequenced() {
    suite("sequenced");
}

fn suite(publish: &'static str) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("TOUCHLINE_KILLS").unwrap_or(KILLS);
    let brokers = number("TOUCHLINE_BROKERS").map_or(1, |brokers| u32::try_from(brokers).expect("1 or 3"));
    let transactional = publish == "transactional";
    let mut seeded = Seeded::from_env(3);
    // The points go on from one mode to the other, and by the seed.
    let first = seeded.below(POINTS.len() as u64) + if transactional { 0 } else { KILLS - KILLS / RANDOM_EACH };
    let Some(mut fleet) = Fleet::start(publish, brokers, seeded) else { return };
    fleet.progress("the start");
    let at_points = kills - kills / RANDOM_EACH;
    let points = POINTS.into_iter().filter(|&(_, _, always)| transactional || always);
    let points: Vec<_> = points.cycle().skip(usize::try_from(first).expect("small")).take(count(at_points)).collect();
    for (point, passages_max, _) in points {
        let passage = 1 + fleet.seeded.below(passages_max);
        fleet.arm([Kill { point, passage }]);
    }
    let mut faults: Vec<Fault> = faults::COMMON.to_vec();
    faults.extend(if transactional { &faults::TRANSACTIONAL[..] } else { &[] });
    if let Ok(only) = std::env::var("TOUCHLINE_FAULT") {
        faults.retain(|fault| fault.name() == only);
        assert!(!faults.is_empty(), "no fault is called {only}");
    }
    // Random kills are spread among the other faults; all of them once for so many kills.
    let rounds = kills.div_ceil(KILLS);
    for _ in 0..rounds {
        let mut left: Vec<Fault> = faults.clone();
        let random = kills / RANDOM_EACH / rounds;
        left.extend((0..random).map(|_| Fault::Kill));
        // The first one sets the others free to be armed.
        Fault::Kill.happen(&mut fleet);
        while !left.is_empty() {
            let chosen = fleet.seeded.below(left.len() as u64);
            left.swap_remove(count(chosen)).happen(&mut fleet);
        }
    }
    fleet.wait_for("the counted points", |fleet| fleet.all_reached());
    fleet.progress("the last kill");
    conclude(fleet.finish(), kills);
}

fn count(number: u64) -> usize {
    usize::try_from(number).expect("small")
}

fn conclude(finished: Finished, kills: u64) {
    let Finished { fleet, acknowledged, stores } = finished;
    eprintln!("{}: kills per point: {:?}", fleet.setting.publish, fleet.tally.kills);
    eprintln!("{}: other faults: {:?}", fleet.setting.publish, fleet.tally.faults);
    eprintln!("{}: ended by themselves: {:#?}", fleet.setting.publish, fleet.tally.endings);
    assert!(fleet.tally.kills() >= kills, "{:?}", fleet.tally.kills);

    let transactional = fleet.setting.publish == "transactional";
    let taking = if transactional { Taking::Every } else { Taking::Next };
    let copied = |change: &Change<'_>| judge(&copy(&fleet.log, taking, change), &acknowledged).expect("readable");
    // Transactions: the log itself is right. Without them it is for whoever follows the consumer rule.
    let report =
        if transactional { judge(&fleet.log, &acknowledged).expect("readable") } else { copied(&|_, _, _| {}) };
    let (records, outputs, merges) = (report.records, report.outputs, report.merges);
    eprintln!("acknowledged {}, records {records}, outputs {outputs}, merges {merges}", acknowledged.len());
    assert_eq!(report.differences, [] as [String; 0]);
    assert!(report.outputs > 100, "the load has to say something: {}", report.outputs);
    assert!(report.merges >= CONTACTS, "contacts have to merge: {}", report.merges);

    live_state_equals_the_replayed(&fleet, &stores, &report);
    query_shows_everybody(&fleet);
    if transactional {
        a_plain_consumer_sees_each_output_once_and_in_order(&fleet, report.outputs);
    }
    the_judge_sees_one_output_removed_or_doubled(&fleet.log, &copied);
}

/// Every partition's last owner was stopped gracefully: its store holds all of the log.
fn live_state_equals_the_replayed(fleet: &Fleet, stores: &[std::path::PathBuf], report: &Report) {
    let cache = SharedCache::new(16 << 20);
    let mut compared = BTreeSet::new();
    for store in stores {
        for (partition, replayed) in (0..).zip(&report.state_hashes) {
            let path = store.join(partition.to_string());
            if !path.exists() {
                continue;
            }
            let store = RocksStore::open(&path, &cache).expect("opens");
            let end = fleet.log.end(Topic::Events, partition).expect("readable");
            // An earlier owner's store ends where it lost the partition.
            if applied_offset(&store, partition, PARTITIONS).expect("readable") == end {
                assert_eq!(state_hash(&store).expect("readable"), *replayed, "{}", path.display());
                compared.insert(partition);
            }
        }
    }
    assert_eq!(compared, (0..PARTITIONS).collect(), "every partition has a store at its end");
}

/// Everybody was added, and the rule `came` says what that means.
fn query_shows_everybody(fleet: &Fleet) {
    let counted = fleet.query.json("demo", &["segment", "count", "tag(行为/来过)"]);
    assert_eq!(counted[0]["count"], CONTACTS, "{counted:?}");
}

/// What others see, who know nothing of our rules.
fn a_plain_consumer_sees_each_output_once_and_in_order(fleet: &Fleet, outputs: u64) {
    let jars = fleet.cluster.jars().expect("our own cluster");
    let seen = plain_consumer::check(jars, &fleet.setting.brokers, &fleet.setting.prefix);
    assert_eq!(seen.map(|records| records.len() as u64), Ok(outputs));
}

/// The checker itself: with one output taken out or said twice, it has to object.
fn the_judge_sees_one_output_removed_or_doubled(log: &dyn Log, copied: &dyn Fn(&Change<'_>) -> Report) {
    let end = |partition| log.end(Topic::TagChanges, partition).expect("readable");
    let mut busiest: Vec<u32> = (0..PARTITIONS).collect();
    busiest.sort_by_key(|&partition| std::cmp::Reverse(end(partition)));
    let (removed, doubled) = (busiest[0], busiest[1]);
    let damaged = copied(&|topic, partition, records: &mut Vec<NewRecord>| match (topic, partition) {
        (Topic::TagChanges, partition) if partition == removed => drop(records.remove(3)),
        (Topic::TagChanges, partition) if partition == doubled => records.insert(3, records[3].clone()),
        _ => {}
    });
    // The fifth is now the fourth; the fourth comes twice.
    for (partition, record) in [(removed, 4), (doubled, 5)] {
        let place = format!("{}/{partition}: record {record} is not what a replay says", Topic::TagChanges.name());
        assert!(damaged.differences.contains(&place), "{place}\n{:?}", damaged.differences);
    }
    // Two sentences for each: how many, and which is the first. The rest of the copy is right.
    assert_eq!(damaged.differences.len(), 4, "{:?}", damaged.differences);
}
