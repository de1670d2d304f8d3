//! The playbook language against a naive reading of its description: see `touchline_sim::language`.

use touchline_sim::language::{Options, Plant, Report, run};

/// Seeds of a normal run; `TOUCHLINE_SEEDS` asks for more, `TOUCHLINE_SEED` for one.
const SEEDS: u64 = 1_500;
/// A misreading is seen within so many seeds: of most it takes some three hundred, of the rarest six thousand.
const SEEDS_TO_SEE: u64 = 10_000;

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

fn of(seed: u64) -> Result<Report, String> {
    run(&Options { seed, plant: None })
}

#[test]
fn random_playbooks_do_what_the_description_says() {
    let seeds = match number_of("TOUCHLINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_of("TOUCHLINE_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let (mut compiled, mut tied, mut changes, mut by_time, mut retracted, mut wrong) = (0, 0, 0, 0, 0, Vec::new());
    let (mut on_phones, mut refused, mut given, mut skipped) = (0, 0, 0, 0);
    for seed in seeds {
        match of(seed) {
            Ok(report) => {
                compiled += u64::from(report.compiled);
                tied += u64::from(report.tied);
                changes += report.changes;
                by_time += report.by_time;
                retracted += report.retracted;
                on_phones += report.on_phones;
                refused += report.refused;
                given += report.given;
                skipped += report.skipped;
            }
            Err(error) => wrong.push(error),
        }
    }
    wrong.sort_by_key(String::len);
    assert!(wrong.is_empty(), "{} seeds of {count} differ, the shortest:\n{}", wrong.len(), wrong[0]);
    if count >= SEEDS {
        // Otherwise the runs prove little.
        assert!(compiled * 2 > count && tied * 5 < compiled, "{compiled} compiled, {tied} tied");
        assert!(on_phones > count && refused * 40 > count, "{on_phones} on phones, {refused} refused");
        assert!(given > count && skipped * 5 > count, "{given} given, {skipped} skipped");
        assert!(changes > count && by_time * 20 > count && retracted > 0, "{changes}, {by_time}, {retracted}");
    }
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    assert_eq!(of(7), of(7));
}

#[test]
fn every_misreading_is_seen() {
    for plant in Plant::ALL {
        let is_seen = |seed| run(&Options { seed, plant: Some(plant) }).is_err();
        assert!((0..SEEDS_TO_SEE).any(is_seen), "{plant:?} is not seen");
    }
}
