//! The publication in flight, and what follows when its outcome is not known.
//!
//! ```text
//!   idle ──publish──▶ waiting ──ok──▶ idle
//!                        │ any error: the publisher is of no use
//!                        ▼
//!                     doubtful ──pause──▶ taking over ──▶ idle; what is found says whether it lies in the log
//! ```
//! There is no rollback: state does not depend on what is published.

use crate::error::Error;
use crate::metrics;
use crate::options::Pacing;
use crate::outbox::{Plan, Tally};
use crate::pace::{Backoff, give_up_on};
use touchline_log::{Ack, Error as LogError, Log, Marker, Publication, Published, Publisher, TakenOver};
use touchline_model::id::CellKey;
use touchline_model::time::Time;

/// A publication that was handed over.
pub(crate) struct InFlight {
    pub(crate) plan: Plan,
    pub(crate) marker: Marker,
    pub(crate) contacts: Vec<CellKey>,
    /// Next offset when the contacts were encoded.
    pub(crate) encoded_at: u64,
    pub(crate) tallies: Vec<Tally>,
}

/// How a partition publishes.
pub(crate) struct Publishing {
    partition: u32,
    state: State,
    published: Published,
    backoff: Backoff,
}

enum State {
    /// Somebody else publishes.
    Standby,
    Idle(Box<dyn Publisher>),
    Waiting(Box<dyn Publisher>, Ack<()>, InFlight),
    Doubtful(InFlight),
    TakingOver(Ack<TakenOver>, InFlight),
}

/// What became of the publication in flight.
pub(crate) enum Settled {
    /// Nothing is in flight, or nothing is known yet.
    Nothing,
    /// It lies in the log.
    Published(InFlight),
    /// It does not, or that is being found out.
    Moved,
}

impl Publishing {
    pub(crate) fn owner(partition: u32, taken: TakenOver) -> Self {
        let TakenOver { publisher, published } = taken;
        Self { partition, state: State::Idle(publisher), published, backoff: Backoff::default() }
    }

    pub(crate) fn standby(partition: u32, published: Marker) -> Self {
        let published = Published::whole(published);
        Self { partition, state: State::Standby, published, backoff: Backoff::default() }
    }

    /// What is known to be published.
    pub(crate) const fn published(&self) -> &Published {
        &self.published
    }

    /// What the owner published meanwhile.
    pub(crate) fn follow(&mut self, marker: Marker) {
        self.published = Published::whole(marker);
    }

    pub(crate) const fn is_standby(&self) -> bool {
        matches!(self.state, State::Standby)
    }

    /// Whether something is in flight, known or not.
    pub(crate) const fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle(_) | State::Standby)
    }

    /// Whether a publication can be handed over.
    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self.state, State::Idle(_))
    }

    /// When the pause after a failure ends.
    pub(crate) fn paused_until(&self, now: Time) -> Option<Time> {
        self.backoff.until(now)
    }

    /// Hands a publication over; only when ready.
    pub(crate) fn publish(&mut self, publication: Publication, in_flight: InFlight) {
        self.state = match std::mem::replace(&mut self.state, State::Standby) {
            State::Idle(mut publisher) => {
                let ack = publisher.publish(publication);
                State::Waiting(publisher, ack, in_flight)
            }
            other => other,
        };
    }

    /// Looks at what is in flight. `trust`: a planted defect takes any answer for success.
    pub(crate) fn poll(&mut self, log: &dyn Log, now: Time, pacing: Pacing, trust: bool) -> Result<Settled, Error> {
        let (state, settled) = match std::mem::replace(&mut self.state, State::Standby) {
            State::Waiting(publisher, mut ack, in_flight) => match answer(&mut ack) {
                None => (State::Waiting(publisher, ack, in_flight), Settled::Nothing),
                Some(Ok(())) => (State::Idle(publisher), self.succeeded(in_flight)),
                Some(Err(_)) if trust => (State::Idle(publisher), self.succeeded(in_flight)),
                Some(Err(error)) => {
                    metrics::publication_failed();
                    // The publisher goes first: nothing of it may be under way when the partition is taken over.
                    drop(publisher);
                    self.failed(error, now, pacing)?;
                    (State::Doubtful(in_flight), Settled::Moved)
                }
            },
            State::Doubtful(in_flight) if self.backoff.until(now).is_none() => {
                (State::TakingOver(log.take_over(self.partition), in_flight), Settled::Moved)
            }
            State::TakingOver(mut ack, in_flight) => match answer(&mut ack) {
                None => (State::TakingOver(ack, in_flight), Settled::Nothing),
                Some(Ok(taken)) => self.taken_over(taken, in_flight)?,
                Some(Err(error)) => {
                    self.failed(error, now, pacing)?;
                    (State::Doubtful(in_flight), Settled::Moved)
                }
            },
            other => (other, Settled::Nothing),
        };
        self.state = state;
        Ok(settled)
    }

    fn succeeded(&mut self, in_flight: InFlight) -> Settled {
        self.backoff.succeeded();
        let marker = in_flight.marker.clone();
        for (tail, sequence) in self.published.tails.iter_mut().zip(marker.sequences) {
            *tail = sequence.max(*tail);
        }
        self.published.marker = marker;
        Settled::Published(in_flight)
    }

    /// What lies in the log is the truth, whatever the answer said.
    fn taken_over(&mut self, taken: TakenOver, in_flight: InFlight) -> Result<(State, Settled), Error> {
        let TakenOver { publisher, published } = taken;
        let settled = if published.marker == in_flight.marker {
            self.succeeded(in_flight)
        } else if published.marker == self.published.marker {
            // The pause goes on growing until a publication succeeds.
            Settled::Moved
        } else {
            return Err(Error::Overtaken { partition: self.partition });
        };
        self.published = published;
        Ok((State::Idle(publisher), settled))
    }

    fn failed(&mut self, error: LogError, now: Time, pacing: Pacing) -> Result<(), Error> {
        match error {
            LogError::NotOwner { partition } => return Err(Error::NotOwner { partition }),
            // Whether the partition is still ours is found out by taking it over.
            LogError::Fenced { .. } => {
                self.backoff.failed(now, pacing);
                return Ok(());
            }
            _ => {}
        }
        self.backoff.refused(&error, now, pacing);
        give_up_on(error, self.backoff.failures())
    }
}

/// An answer that will not come is one, too.
fn answer<T>(ack: &mut Ack<T>) -> Option<Result<T, LogError>> {
    ack.try_recv().unwrap_or(Some(Err(LogError::Closed)))
}
