//! Opening a partition on its thread: take over, find a store that can be used, and keep checkpoints of it.

use crate::error::Error;
use crate::metrics;
use crate::partition::Partition;
use crate::runner::{Role, Shared, Wish};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use touchline_log::{Error as LogError, TakenOver};
use touchline_store::{Checkpointing, Origin, Store, Stores};

/// Pause before a log that is away is asked again.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// How often an answer is looked for when no signal moves.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A partition ready to be stepped.
pub(crate) struct Opened {
    pub(crate) partition: Partition,
    pub(crate) checkpoints: Checkpoints,
    /// What it was opened as.
    pub(crate) role: Role,
    /// Where its store came from.
    pub(crate) origin: Option<Origin>,
}

/// Opens a partition; `None` when it was told to stop meanwhile.
///
/// The order matters: first every earlier owner is fenced, then what is published is found, then the store is opened.
/// `held`: a store that is open already.
pub(crate) fn open(
    shared: &Shared,
    id: u32,
    wish: &Wish,
    mut held: Option<Box<dyn Store>>,
) -> Result<Option<Opened>, Error> {
    let started = Instant::now();
    let (mut discarded, mut origin) = (0, None);
    loop {
        let role = wish.get();
        let taken = match role {
            Role::Owner => match take_over(shared, id, wish)? {
                Some(taken) => Some(taken),
                None => return Ok(None),
            },
            Role::Standby => None,
            Role::Absent => return Ok(None),
        };
        let (opened, opened_from) = open_with(shared, id, taken, held.take());
        // Another try finds as its own what the first one restored.
        origin = origin.or(opened_from);
        let error = match opened {
            Ok(partition) => {
                let (took_ms, offset) = (started.elapsed().as_millis(), partition.meta().offset);
                tracing::info!(partition = id, ?role, ?origin, offset, took_ms, "partition opened");
                metrics::opened(origin);
                // One process writes the checkpoints of a partition: its owner.
                let every = shared.options.checkpoint_every.filter(|_| role == Role::Owner);
                let checkpoints = Checkpoints::new(id, every);
                return Ok(Some(Opened { partition, checkpoints, role, origin }));
            }
            Err(Error::Log(error @ LogError::Unavailable(_))) => {
                tracing::warn!(partition = id, %error, "partition cannot be opened; trying again");
                let seen = shared.log.signal().count();
                shared.log.signal().wait_past(seen, RETRY_EVERY);
                continue;
            }
            Err(error) => error,
        };
        // A store that cannot be used is rebuilt, from a checkpoint or from the log; what was empty cannot be better.
        let rebuild = error.is_of_store() && origin != Some(Origin::Empty) && discarded < 2;
        if !rebuild {
            return Err(error);
        }
        tracing::error!(partition = id, %error, "store removed; it is rebuilt from checkpoint and log");
        (discarded, origin) = (discarded + 1, None);
        shared.stores.discard(id)?;
    }
}

fn take_over(shared: &Shared, id: u32, wish: &Wish) -> Result<Option<TakenOver>, Error> {
    let log = &shared.log;
    loop {
        let mut ack = log.take_over(id);
        let answer = loop {
            let seen = log.signal().count();
            match ack.try_recv() {
                Ok(Some(answer)) => break answer,
                Err(_) => break Err(LogError::Closed),
                Ok(None) if wish.get() != Role::Owner => return Ok(None),
                Ok(None) => drop(log.signal().wait_past(seen, LOOK_EVERY)),
            }
        };
        match answer {
            Ok(taken) => return Ok(Some(taken)),
            Err(LogError::NotOwner { partition }) => return Err(Error::NotOwner { partition }),
            Err(error @ (LogError::Unavailable(_) | LogError::Fenced { .. })) => {
                tracing::warn!(partition = id, %error, "partition cannot be taken over; trying again");
                let seen = log.signal().count();
                log.signal().wait_past(seen, RETRY_EVERY);
            }
            Err(error) => return Err(Error::Log(error)),
        }
        if wish.get() != Role::Owner {
            return Ok(None);
        }
    }
}

fn open_with(
    shared: &Shared,
    id: u32,
    taken: Option<TakenOver>,
    held: Option<Box<dyn Store>>,
) -> (Result<Partition, Error>, Option<Origin>) {
    let opened = match held {
        Some(store) => touchline_store::Opened { store, origin: Origin::Local, skipped: Vec::new() },
        None => match shared.stores.open(id) {
            Ok(opened) => opened,
            Err(error) => return (Err(Error::Store(error)), None),
        },
    };
    for line in &opened.skipped {
        tracing::error!(partition = id, "checkpoint refused: {line}");
        metrics::checkpoint_refused();
    }
    let (log, wall, options) = (Arc::clone(&shared.log), Arc::clone(&shared.wall), shared.options.clone());
    let partition = match taken {
        Some(taken) => Partition::open(id, log, taken, opened.store, wall, options),
        None => Partition::follow(id, log, opened.store, wall, options),
    };
    (partition, Some(opened.origin))
}

/// Checkpoints of one partition: frozen on its thread, kept on another.
pub(crate) struct Checkpoints {
    id: u32,
    every: Option<Duration>,
    last_at: Instant,
    last_offset: u64,
    keeping: Option<JoinHandle<()>>,
}

impl Checkpoints {
    fn new(id: u32, every: Option<Duration>) -> Self {
        Self { id, every, last_at: Instant::now(), last_offset: 0, keeping: None }
    }

    /// Makes a checkpoint when one is due, there is something new, and none is being kept. A failure costs a longer
    /// replay one day, nothing else.
    pub(crate) fn look(&mut self, partition: &Partition, stores: &dyn Stores) {
        let Some(every) = self.every else { return };
        let offset = partition.meta().offset;
        let due = self.last_at.elapsed() >= every && offset > self.last_offset;
        if !due || stores.checkpointing() == Checkpointing::Off {
            return;
        }
        if self.keeping.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        self.last_at = Instant::now();
        let id = self.id;
        let kept = stores.freeze(id, partition.store(), offset).and_then(|frozen| {
            let thread = std::thread::Builder::new().name(format!("checkpoint-{id}"));
            let keep = move || match frozen.keep() {
                Ok(report) => {
                    metrics::checkpoint_kept(id, report.offset);
                    tracing::info!(
                        partition = id,
                        offset,
                        bytes = report.bytes,
                        copied = report.copied_bytes,
                        "checkpoint"
                    );
                }
                Err(error) => {
                    metrics::checkpoint_failed();
                    tracing::error!(partition = id, %error, "checkpoint failed; the next one is tried in time");
                }
            };
            thread.spawn(keep).map_err(|error| touchline_store::Error::Io(error.to_string()))
        });
        match kept {
            Ok(thread) => {
                self.keeping = Some(thread);
                self.last_offset = offset;
            }
            Err(error) => {
                metrics::checkpoint_failed();
                tracing::error!(partition = id, %error, "checkpoint failed; the next one is tried in time");
            }
        }
        metrics::checkpoint_stall(self.last_at.elapsed());
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        if let Some(thread) = self.keeping.take()
            && thread.join().is_err()
        {
            tracing::error!("thread of a checkpoint panicked");
        }
    }
}
