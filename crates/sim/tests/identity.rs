//! Links, merges and forwarded events under any schedule: see `touchline_sim::identity`.

use touchline_sim::identity::{Report, run};

/// Schedules of a run in CI, of each sort. `TOUCHLINE_SEEDS=n` for more, `TOUCHLINE_SEED=n` for one again.
const SEEDS: u64 = 1_000;

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("TOUCHLINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TOUCHLINE_SEEDS").unwrap_or(SEEDS),
    }
}

fn all(conflicts: bool) -> Report {
    let mut total = Report::default();
    for seed in seeds() {
        let report = run(seed, conflicts).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        total.events += report.events;
        total.merges += report.merges;
        total.messages += report.messages;
        total.repeats += report.repeats;
        total.crashes += report.crashes;
        total.refused += report.refused;
    }
    total
}

#[test]
fn linked_identifiers_become_one_contact_with_everything_that_happened_once_and_in_order() {
    let total = all(false);
    if seeds().count() > 1 {
        assert!(total.merges > 0 && total.repeats > 0 && total.crashes > 0, "{total:?}");
    }
}

#[test]
fn two_people_stay_two_whatever_is_said_and_nothing_is_lost() {
    let total = all(true);
    if seeds().count() > 1 {
        assert!(total.merges > 0 && total.refused > 0, "{total:?}");
    }
}
