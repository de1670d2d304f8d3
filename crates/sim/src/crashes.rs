//! Whether a process dies at a fault point, by seed.

use crate::network::lock;
use crate::random::Random;
use std::sync::{Arc, Mutex};
use touchline_processor::Faults;
use touchline_processor::faults::{Point, Verdict};

/// Crashes at fault points, per thousand passages.
const CRASH_PERMILLE: u64 = 8;

/// The decision, shared by everybody who passes fault points. Off at first.
#[derive(Clone)]
pub(crate) struct Crashes(Arc<Mutex<State>>);

struct State {
    random: Random,
    on: bool,
}

impl Crashes {
    pub(crate) fn new(random: Random) -> Self {
        Self(Arc::new(Mutex::new(State { random, on: false })))
    }

    pub(crate) fn set(&self, on: bool) {
        lock(&self.0).on = on;
    }

    pub(crate) fn decide(&self) -> Verdict {
        let mut state = lock(&self.0);
        if state.on && state.random.chance(CRASH_PERMILLE) { Verdict::Crash } else { Verdict::GoOn }
    }

    /// As a partition takes them.
    pub(crate) fn faults(&self) -> Faults {
        let crashes = self.clone();
        Faults::hook(Arc::new(Mutex::new(move |_: Point| crashes.decide())))
    }
}
