//! Whether a process dies at a fault point, by seed.

use crate::network::lock;
use crate::random::Random;
use std::sync::{Arc, Mutex};
use touchline_processor::Faults;
use touchline_processor::faults::{Point, Verdict};

/// The decision, shared by everybody who passes fault points. Off at first.
#[derive(Clone)]
pub(crate) struct Crashes(Arc<Mutex<State>>);

struct State {
    random: Random,
    /// Crashes per thousand passages.
    permille: u64,
    on: bool,
}

impl Crashes {
    pub(crate) fn new(permille: u64, random: Random) -> Self {
        Self(Arc::new(Mutex::new(State { random, permille, on: false })))
    }

    pub(crate) fn set(&self, on: bool) {
        lock(&self.0).on = on;
    }

    fn decide(&self) -> Verdict {
        let permille = lock(&self.0).permille;
        self.decide_at(permille)
    }

    /// A decision with a rate of its own.
    pub(crate) fn decide_at(&self, permille: u64) -> Verdict {
        let mut state = lock(&self.0);
        if state.on && state.random.chance(permille) { Verdict::Crash } else { Verdict::GoOn }
    }

    /// As a partition takes them.
    pub(crate) fn faults(&self) -> Faults {
        let crashes = self.clone();
        Faults::hook(Arc::new(Mutex::new(move |_: Point| crashes.decide())))
    }
}
