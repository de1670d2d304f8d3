//! Seeds on a cluster like Kafka that have to pass in both modes, and planted defects that have to be found.

#![expect(clippy::print_stdout, reason = "what runs saw is for whoever asks with --nocapture")]

use std::collections::BTreeMap;
use std::time::Instant;
use touchline_log::lane::{LanePoint, Mode, Plant as Lane};
use touchline_processor::options::Plant as Partition;
use touchline_sim::kafka::{Options, Plant, Trace, run};

/// Seeds of a normal run, in each mode; `TOUCHLINE_SEEDS` asks for more.
const SEEDS: u64 = 200;
/// A planted defect is found within so many seeds.
const SEEDS_TO_FIND: u64 = 10_000;

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Runs seeds that have to pass.
fn survives(mode: Mode, plant: Plant) {
    let (seeds, trace) = match number_of("TOUCHLINE_SEED") {
        Some(seed) => (seed..seed + 1, Trace::On),
        None => (0..number_of("TOUCHLINE_SEEDS").unwrap_or(SEEDS), Trace::Off),
    };
    let mut seen = BTreeMap::new();
    for seed in seeds.clone() {
        let report = run(seed, Options { mode, trace, plant });
        let report = report.unwrap_or_else(|failure| panic!("{}\n{failure}", failure.trace.join("\n")));
        let counts = [("due", report.due), ("forwarded", report.forwarded)];
        for (name, count) in report.crashes.into_iter().chain(report.faults).chain(counts) {
            *seen.entry(name).or_default() += count;
        }
    }
    println!("{mode:?} {plant:?}, seeds {seeds:?}: {seen:?}");
    if seeds.end - seeds.start >= SEEDS {
        // Otherwise the runs prove nothing.
        let lanes = LanePoint::ALL.iter().filter(|point| passes(mode, **point)).map(|point| point.name());
        let others =
            ["anywhere", "pause", "rebalance", "checkpoint", "publication", "torn publication", "due", "forwarded"];
        for name in lanes.chain(others) {
            assert!(seen.get(name).is_some_and(|count: &u64| *count > 0), "{name} never happened");
        }
    }
}

/// Whether lanes of this mode come by a point.
fn passes(mode: Mode, point: LanePoint) -> bool {
    mode == Mode::Transactional || point != LanePoint::DuringInitTransactions
}

#[test]
fn transactional_seeds_are_exactly_once_for_a_plain_consumer() {
    survives(Mode::Transactional, Plant::None);
}

#[test]
fn sequenced_seeds_are_exactly_once_for_a_consumer_that_keeps_the_sequence_rule() {
    survives(Mode::Sequenced, Plant::None);
}

/// Known to be sound: owner and zombie may fence each other, and that passes.
#[test]
fn offsets_without_the_generation_of_the_group_are_sound() {
    survives(Mode::Transactional, Plant::NoGroupMetadata);
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for mode in [Mode::Transactional, Mode::Sequenced] {
        let options = Options { mode, ..Options::default() };
        assert_eq!(run(7, options).unwrap(), run(7, options).unwrap());
    }
}

/// Runs seeds until a planted defect shows.
fn finds(mode: Mode, plant: Plant) {
    let began = Instant::now();
    let options = Options { mode, plant, ..Options::default() };
    let found = (0..SEEDS_TO_FIND).find_map(|seed| run(seed, options).err());
    let Some(failure) = found else { panic!("{mode:?} {plant:?} is not found within {SEEDS_TO_FIND} seeds") };
    let (seed, took_ms) = (failure.seed, began.elapsed().as_millis());
    let first = failure.differences.first().map_or("", String::as_str);
    println!("{mode:?} {plant:?}: seed {seed}, after {} seeds, {took_ms} ms: {first}", seed + 1);
}

#[test]
fn unsound_rows_of_the_model_check_are_found() {
    for plant in [
        Plant::AbortUnverified,
        Plant::AbortSameEpoch,
        Plant::NoVerification,
        Plant::Lane(Lane::TailsBeforeInit),
        Plant::NoFence,
        Plant::Lane(Lane::MarkerOnly),
        Plant::Lane(Lane::SmallerOfBoth),
        Plant::Lane(Lane::MarkerWithOutputs),
        Plant::UnstableMarker,
        Plant::Partition(Partition::TrimBeforePublished),
    ] {
        finds(Mode::Transactional, plant);
    }
}

#[test]
fn defects_of_takeovers_consumers_and_partitions_are_found() {
    for (mode, plant) in [
        (Mode::Transactional, Plant::StandbyTakesNothingOver),
        (Mode::Transactional, Plant::NotOwnerIgnored),
        (Mode::Sequenced, Plant::NotOwnerIgnored),
        (Mode::Sequenced, Plant::PlainConsumer),
        (Mode::Sequenced, Plant::Lane(Lane::MarkerOnly)),
        (Mode::Sequenced, Plant::Partition(Partition::TrimBeforePublished)),
        (Mode::Transactional, Plant::Partition(Partition::OffsetInAnotherBatch)),
        (Mode::Transactional, Plant::Partition(Partition::FailedPublicationIsDone)),
        (Mode::Transactional, Plant::Partition(Partition::FailedLoopbackIsDone)),
        (Mode::Transactional, Plant::Partition(Partition::LostTickBlocks)),
        (Mode::Transactional, Plant::Partition(Partition::DirtyClearedBlindly)),
        (Mode::Transactional, Plant::AcknowledgeRefused),
    ] {
        finds(mode, plant);
    }
}
