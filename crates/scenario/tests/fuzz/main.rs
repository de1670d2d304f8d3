//! Damaged playbooks, directories, scenarios and conditions: nothing panics, hangs, points outside its text, or compiles
//! into something that the engine cannot run.
//!
//! A case is a text of the repository and a list of changes ([`corpus`]), so a failure shrinks to the changes that matter.
//! `cargo test -p touchline-scenario --test fuzz` runs a fixed number of cases, the same each time;
//! `TOUCHLINE_FUZZ_SECONDS=600` asks for as many as fit into that time, each bounded in time, from another seed each
//! time it is started with another `TOUCHLINE_SEED`.
//!
//! proptest, because it is there, shrinks, and needs no nightly compiler; what guides by coverage (cargo-fuzz, bolero with
//! libfuzzer) does. The changes by tokens over real texts get past the readers without it.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "reads the corpus, the environment and, in long runs, the clock"
)]

mod checks;
mod corpus;

use corpus::{Case, Corpus, Of};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Cases of one seed; in a long run the clock is looked at after so many.
const CASES: u32 = 4_000;
/// Of each kind, in each round, at least so many get through undamaged enough.
const REACHED_MIN: u64 = 50;
/// Far above what the slowest text takes: the largest bundle compiles in a second.
const CASE_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn damaged_texts_are_refused_or_run() {
    let corpus = Corpus::read();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("TOUCHLINE_FUZZ_SECONDS");
    let first = number("TOUCHLINE_SEED").unwrap_or(1);
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or_default());
    let mut seed = first;
    loop {
        round(&corpus, seed, seconds.is_some());
        seed += 1;
        if Instant::now() >= until {
            break;
        }
    }
    let rounds = seed - first;
    for (reached, what) in checks::REACHED.iter().zip(["documents compiled", "scenarios played", "conditions parsed"]) {
        let reached = reached.load(Ordering::Relaxed);
        assert!(reached >= rounds * REACHED_MIN, "{reached} {what} in {rounds} rounds");
    }
    // The corpus itself is what is damaged: it has to get through whole.
    for text in &corpus.documents {
        checks::document(text, &corpus, 0);
    }
    corpus.expressions.iter().for_each(|text| checks::expression(text));
}

fn round(corpus: &Corpus, seed: u64, is_timed: bool) {
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let found = runner.run(&Case::any(), |case| {
        let text = case.text(corpus);
        let checked = || {
            let begun = Instant::now();
            match case.of {
                Of::Document | Of::Playbook => checks::document(&text, corpus, case.history),
                Of::Expression => checks::expression(&text),
            }
            begun.elapsed()
        };
        // A machine that does other things stands still at times: what is slow is slow again.
        let is_slow = || checked() > CASE_WITHIN;
        if is_slow() && is_timed && is_slow() && is_slow() {
            return Err(TestCaseError::fail(format!("takes more than {CASE_WITHIN:?}")));
        }
        Ok(())
    });
    if let Err(TestError::Fail(reason, case)) = found {
        panic!("seed {seed}: {reason}\n{case:?}\n--- the text ---\n{:?}", case.text(corpus));
    }
}
