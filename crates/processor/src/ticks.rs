//! When the owner of a partition appends a tick: a record that carries time and nothing else.
//!
//! A stale tick is harmless, so ticks need no epoch; a lost one must not block, so it counts as
//! outstanding for two seconds at most.

use crate::options::{Pacing, Plant};
use crate::pace::Backoff;
use touchline_log::{Ack, Appended, Log, NewRecord, Topic};
use touchline_model::time::{Span, Time};

/// A tick that is neither delivered nor failed after this is taken for lost.
const OUTSTANDING_MAX: Span = Span::seconds(2);
/// Ticks at once while more timers are due than one record fires.
const BURST_MAX: usize = 8;
/// A partition without records gets a tick after this, so that its clock (and its Progress) goes on.
const SILENCE_MAX: Span = Span::minutes(10);

/// After a refused jump a clock that is no further behind the wall needs no tick.
const BEHIND_MIN: Span = Span::seconds(1);

/// What the decision is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// The owner's wall.
    pub(crate) now: Time,
    /// Clock of the partition; `None` before its first record.
    pub(crate) clock: Option<Time>,
    /// Earliest pending timer.
    pub(crate) next_due: Option<Time>,
    /// The last record's append time was not believed, and it was no tick.
    pub(crate) clock_refused: bool,
    /// Timers fired since the partition was opened: whether a tick led to something.
    pub(crate) timers_fired: u64,
    /// Wall time of the last record seen.
    pub(crate) last_record: Time,
    /// How pauses are made.
    pub(crate) pacing: Pacing,
}

/// Ticks of one partition.
#[derive(Default)]
pub(crate) struct Ticks {
    outstanding: Vec<(Time, Ack<Appended>)>,
    backoff: Backoff,
    burst: usize,
    /// What the last tick was appended for: the same wish again means that it led to nothing.
    wished: Option<Wish>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    clock: Option<Time>,
    next_due: Option<Time>,
    timers_fired: u64,
    clock_refused: bool,
}

/// How many ticks to append, and how long to wait otherwise.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Append so many.
    Append(usize),
    /// Nothing to do before this moment, or at all.
    Wait(Option<Time>),
}

impl Ticks {
    /// Decides; call it only when every readable record is applied.
    pub(crate) fn decide(&mut self, facts: Facts, plant: Plant) -> Decision {
        if let Some(until) = self.settle(facts, plant) {
            return Decision::Wait(until);
        }
        let Facts { now, clock, next_due, .. } = facts;
        let left_over = next_due.is_some_and(|due| clock.is_some_and(|clock| due <= clock));
        let due = next_due.is_some_and(|due| due <= now);
        let refused = facts.clock_refused && clock.is_some_and(|clock| now.since(clock) > BEHIND_MIN);
        let silent_at = facts.last_record.plus(SILENCE_MAX);
        let silent = facts.pacing == Pacing::Real && clock.is_some() && silent_at <= now;
        if !left_over {
            self.burst = 0;
        }
        if !(left_over || due || silent || refused) {
            self.wished = None;
            self.backoff.succeeded();
            let silent_at = (facts.pacing == Pacing::Real && clock.is_some()).then_some(silent_at);
            return Decision::Wait(earliest(next_due, silent_at));
        }
        if self.wished.is_some_and(|wished| wished != facts.wish()) {
            self.wished = None;
            self.backoff.succeeded();
        }
        if let Some(until) = self.backoff.until(now) {
            return Decision::Wait(Some(until));
        }
        self.burst = if left_over { (self.burst * 2).clamp(1, BURST_MAX) } else { 0 };
        Decision::Append(self.burst.max(1))
    }

    /// Appends what was decided.
    pub(crate) fn append(&mut self, count: usize, tick: NewRecord, log: &dyn Log, partition: u32, facts: Facts) {
        self.wished = Some(facts.wish());
        self.backoff.failed(facts.now, facts.pacing);
        let ack = log.append_own(Topic::Events, partition, vec![tick; count]);
        self.outstanding.push((facts.now, ack));
    }

    /// Whether no tick is on its way.
    pub(crate) const fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Forgets ticks that are delivered, failed or too old; `Some`: still waiting, until then.
    fn settle(&mut self, facts: Facts, plant: Plant) -> Option<Option<Time>> {
        let now = facts.now;
        self.outstanding.retain_mut(|(sent, ack)| match ack.try_recv() {
            Ok(None) => {
                let expired = facts.pacing == Pacing::Real && !(*sent <= now && now < sent.plus(OUTSTANDING_MAX));
                !expired
            }
            // Delivered or failed: either way it is not outstanding any more.
            Ok(Some(result)) => plant == Plant::LostTickBlocks && result.is_err(),
            Err(_) => plant == Plant::LostTickBlocks,
        });
        let (sent, _) = self.outstanding.first()?;
        Some((facts.pacing == Pacing::Real).then(|| sent.plus(OUTSTANDING_MAX)))
    }
}

impl Facts {
    const fn wish(&self) -> Wish {
        let Self { clock, next_due, timers_fired, clock_refused, .. } = *self;
        Wish { clock, next_due, timers_fired, clock_refused }
    }
}

fn earliest(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use touchline_log::ManualWall;
    use touchline_log::memory::{Fault, MemoryLog};

    fn facts(now: i64, clock: i64, next_due: Option<i64>) -> Facts {
        Facts {
            now: Time(now),
            clock: Some(Time(clock)),
            next_due: next_due.map(Time),
            clock_refused: false,
            timers_fired: 0,
            last_record: Time(clock),
            pacing: Pacing::Real,
        }
    }

    /// Decides, and appends what was decided to a log that treats appends as `fault` says.
    fn turn(ticks: &mut Ticks, facts: Facts, fault: Fault) -> Decision {
        let log = MemoryLog::with_faults(1, Arc::new(ManualWall::new(facts.now)), Box::new(move |_| fault));
        let decision = ticks.decide(facts, Plant::None);
        if let Decision::Append(count) = decision {
            ticks.append(count, NewRecord { value: vec![1], ..NewRecord::default() }, &log, 0, facts);
        }
        decision
    }

    #[test]
    fn a_due_timer_gets_one_tick_and_the_next_moment_is_known() {
        let mut ticks = Ticks::default();
        assert_eq!(turn(&mut ticks, facts(1_000, 900, Some(1_500)), Fault::None), Decision::Wait(Some(Time(1_500))));
        assert_eq!(turn(&mut ticks, facts(1_500, 900, Some(1_500)), Fault::None), Decision::Append(1));
        assert_eq!(turn(&mut ticks, facts(1_500, 1_500, None), Fault::None), Decision::Wait(Some(Time(601_500))));
    }

    #[test]
    fn a_clock_that_stays_behind_is_asked_less_and_less_often() {
        let mut ticks = Ticks::default();
        let (mut now, mut pauses) = (10_000, Vec::new());
        for _ in 0..8 {
            assert_eq!(turn(&mut ticks, facts(now, 900, Some(1_500)), Fault::None), Decision::Append(1));
            let Decision::Wait(Some(until)) = turn(&mut ticks, facts(now, 900, Some(1_500)), Fault::None) else {
                panic!("it waits");
            };
            pauses.push(until.0 - now);
            now = until.0;
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
    }

    #[test]
    fn what_is_left_over_is_drained_in_growing_bursts() {
        let mut ticks = Ticks::default();
        let left_over = facts(9_000, 8_000, Some(7_000));
        let burst = |ticks: &mut Ticks, fired| turn(ticks, Facts { timers_fired: fired, ..left_over }, Fault::None);
        let bursts: Vec<_> = (1..=5).map(|due| burst(&mut ticks, due)).collect();
        assert_eq!(bursts, [1, 2, 4, 8, 8].map(Decision::Append));
    }

    #[test]
    fn a_lost_tick_blocks_for_two_seconds_only() {
        let mut ticks = Ticks::default();
        let (_sender, ack) = futures_pending();
        ticks.outstanding.push((Time(1_000), ack));
        let due = |now| facts(now, 900, Some(950));
        assert_eq!(ticks.decide(due(2_999), Plant::None), Decision::Wait(Some(Time(3_000))));
        assert_eq!(ticks.decide(due(3_000), Plant::None), Decision::Append(1));
    }

    #[test]
    fn silence_and_a_refused_jump_call_for_a_tick() {
        let mut ticks = Ticks::default();
        assert_eq!(turn(&mut ticks, facts(600_899, 900, None), Fault::None), Decision::Wait(Some(Time(600_900))));
        assert_eq!(turn(&mut ticks, facts(600_900, 900, None), Fault::None), Decision::Append(1));
        let near = Facts { clock_refused: true, ..facts(1_900, 900, None) };
        assert_eq!(turn(&mut Ticks::default(), near, Fault::None), Decision::Wait(Some(Time(600_900))));
        let refused = Facts { clock_refused: true, ..facts(1_901, 900, None) };
        assert_eq!(turn(&mut Ticks::default(), refused, Fault::Refused), Decision::Append(1));
        let never = Facts { clock: None, ..facts(900_000, 0, None) };
        assert_eq!(turn(&mut Ticks::default(), never, Fault::None), Decision::Wait(None));
    }

    fn futures_pending() -> (futures::channel::oneshot::Sender<Result<Appended, touchline_log::Error>>, Ack<Appended>) {
        futures::channel::oneshot::channel()
    }
}
