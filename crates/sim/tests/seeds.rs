//! Seeds that have to pass, and planted defects that have to be found.

use std::collections::BTreeSet;
use touchline_processor::faults::Point;
use touchline_sim::{Options, Plant, run, run_with};

/// Seeds of a normal run; `TOUCHLINE_SEEDS` asks for more.
const SEEDS: u64 = 200;
/// A planted defect is found within so many seeds.
const SEEDS_TO_FIND: u64 = 100;

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[test]
fn seeds_come_to_rest_and_are_judged_right() {
    let seeds = match number_of("TOUCHLINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_of("TOUCHLINE_SEEDS").unwrap_or(SEEDS),
    };
    let many = seeds.end - seeds.start >= SEEDS;
    let (mut crashed_at, mut due, mut forwarded) = (BTreeSet::new(), 0, 0);
    for seed in seeds {
        let report = run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        crashed_at.extend(report.crashes.into_keys());
        due += report.due;
        forwarded += report.forwarded;
    }
    if many {
        // Otherwise the runs prove nothing.
        let points: BTreeSet<_> = Point::ALL.iter().map(|point| point.name()).chain(["anywhere"]).collect();
        assert_eq!(crashed_at, points);
        assert!(due > SEEDS && forwarded > SEEDS, "{due} due, {forwarded} forwarded");
    }
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    assert_eq!(run(7).unwrap(), run(7).unwrap());
}

#[test]
fn planted_defects_are_found() {
    use touchline_processor::options::Plant as Partition;
    for plant in [
        Plant::AcknowledgeRefused,
        Plant::Partition(Partition::TrimBeforePublished),
        Plant::Partition(Partition::OffsetInAnotherBatch),
        Plant::Partition(Partition::PublishWithoutFilter),
        Plant::Partition(Partition::FailedPublicationIsDone),
        Plant::Partition(Partition::FailedLoopbackIsDone),
        Plant::Partition(Partition::LostTickBlocks),
        Plant::Partition(Partition::DirtyClearedBlindly),
    ] {
        let found = (0..SEEDS_TO_FIND).find_map(|seed| run_with(seed, Options { plant }).err());
        assert!(found.is_some(), "{plant:?} is not found within {SEEDS_TO_FIND} seeds");
    }
}
