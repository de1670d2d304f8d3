//! Links, merges, partings, tokens, groups and forwarded events under any schedule: see `touchline_sim::identity`.

use touchline_sim::identity::{Options, Plant, Report, Schedule, run};

/// Schedules of a run in CI, of each sort. `TOUCHLINE_SEEDS=n` for more, `TOUCHLINE_SEED=n` for one again.
const SEEDS: u64 = 500;
/// A planted defect is found within so many schedules.
const SEEDS_TO_FIND: u64 = 200;

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("TOUCHLINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TOUCHLINE_SEEDS").unwrap_or(SEEDS),
    }
}

fn all(schedule: Schedule) -> Report {
    let mut total = Report::default();
    for seed in seeds() {
        let report = run(Options { seed, schedule, plant: None });
        total += report.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    total
}

#[test]
fn linked_identifiers_become_one_contact_with_everything_that_happened_once_and_in_order() {
    let total = all(Schedule::Linked);
    if seeds().count() > 1 {
        assert!(total.merges > 0 && total.repeats > 0 && total.crashes > 0, "{total:?}");
        assert!(total.tokens > 0 && total.tokens_refused > 0, "{total:?}");
    }
}

#[test]
fn two_people_stay_two_whatever_is_said_and_nothing_is_lost() {
    let total = all(Schedule::Conflicts);
    if seeds().count() > 1 {
        assert!(total.merges > 0 && total.refused > 0, "{total:?}");
    }
}

#[test]
fn who_is_parted_stays_apart_and_everybody_knows_whom_they_stand_for() {
    let total = all(Schedule::Partings);
    if seeds().count() > 1 {
        assert!(total.apart > 0 && total.partings > total.apart && total.refused > 0, "{total:?}");
    }
}

#[test]
fn groups_know_their_members_tell_who_came_and_went_and_ask_until_they_know() {
    let total = all(Schedule::Groups);
    if seeds().count() > 1 {
        assert!(total.told > 0 && total.questions > 0 && total.strangers > 0 && total.merges > 0, "{total:?}");
    }
}

#[test]
fn whatever_is_falsified_is_seen() {
    for plant in Plant::ALL {
        let error = (0..SEEDS_TO_FIND).find_map(|seed| {
            let schedule = [Schedule::Partings, Schedule::Linked, Schedule::Groups][seed as usize % 3];
            run(Options { seed, schedule, plant: Some(plant) }).err()
        });
        let error = error.unwrap_or_else(|| panic!("{plant:?} is not seen within {SEEDS_TO_FIND} schedules"));
        let expected: &[&str] = match plant {
            Plant::EventLost | Plant::TagsLost => &["of the "],
            Plant::EventTwice => &[" saw ", " entries of "],
            Plant::IdentitiesLost | Plant::PartLost => &[" says that it is ", "is not there"],
            Plant::ApartForgotten => &["is one with it again"],
            Plant::PromiseKept => &["is refused: merging"],
            Plant::LapsedTaken => &["in vain and led to a link"],
            Plant::MemberLost | Plant::StrangerBelieved => {
                &[" told ", "believes another corp", "snapshots of another corp"]
            }
            Plant::LeavingLost => &[" has heard "],
            Plant::QuestionForgotten => &[" asked at "],
        };
        assert!(expected.iter().any(|words| error.contains(words)), "{plant:?}: {error}");
    }
}
