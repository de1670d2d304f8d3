//! Many people at once, compared with an oracle: see `touchline_sim::crowd`.

use touchline_sim::crowd::{Options, Plant, run};

/// People of a run in CI; `cargo run -p touchline-sim --example identity` takes a hundred thousand.
const CONTACTS: u32 = 2_000;

fn options(contacts: u32, seed: u64, plant: Option<Plant>) -> Options {
    Options { contacts, seed, plant }
}

#[test]
fn a_crowd_linked_in_random_order_is_what_an_oracle_says_that_knew_who_is_who() {
    for seed in 1..=2 {
        let report = run(&options(CONTACTS, seed, None)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        // Four links each, and of twenty-five people four to somebody else: three that join two people, one weak.
        assert_eq!(report.links, u64::from(CONTACTS) * 4 + u64::from(CONTACTS) * 4 / 25);
        assert_eq!(report.weak, u64::from(CONTACTS) / 25);
        // Two of them are always refused, of the third and the people's own at least one.
        assert!(report.refused >= u64::from(CONTACTS) * 3 / 25, "{report:?}");
        // Every accepted link joins two contacts: together they are a forest.
        assert_eq!(report.merges, report.links - report.refused - report.weak, "{report:?}");
        // Otherwise the run proves little.
        assert!(report.chain_max > 1 && report.renamed > 0 && report.forwarded > 0, "{report:?}");
        // Whoever entered first times the journey, whichever merged into which; but for a few where every step was due by the
        // later entry when the two became one.
        assert!(report.journey[2] <= 5, "{report:?}");
        assert!(report.unsaid[0] > 100 && report.stage[0] > 100 && report.journey[0] > 100, "{report:?}");
    }
}

#[test]
fn small_crowds_meet_every_race() {
    for seed in 0..100 {
        run(&options(40, seed, None)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    assert_eq!(run(&options(100, 7, None)), run(&options(100, 7, None)));
}

#[test]
fn whatever_is_falsified_is_seen() {
    for plant in Plant::ALL {
        let error = run(&options(100, 1, Some(plant))).expect_err("seen");
        let expected: &[&str] = match plant {
            Plant::TagLost => &[" lacks (\""],
            Plant::TagMoved => &["which no event of then sets"],
            Plant::ForwardLost => &["the accepted links to"],
            Plant::LinkForgotten => &["the accepted links to", "says that it is ["],
            Plant::AppliedTwice => &[" messages of "],
            Plant::TouchLost | Plant::TouchMoved => &["was sent [", "under a new name for another moment"],
        };
        assert!(expected.iter().any(|words| error.contains(words)), "{plant:?}: {error}");
    }
}
