//! Partitions on threads: one thread owns, or follows, one partition and its store.

use crate::error::Error;
use crate::metrics;
use crate::opening::{self, Opened};
use crate::options::Options;
use crate::partition::{Partition, Rest, Status, Step};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use touchline_log::{Error as LogError, Log, Topic, Wall};
use touchline_model::time::Time;
use touchline_store::{Origin, Store, Stores};

/// Longest sleep: whatever is missed (a wall that was set, a lost notification) is seen after it.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Shortest sleep: a moment that is reached within it is not worth another look.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// How long a stop may take: publications in flight end, stores flush.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Steps between two looks at gauges and status while busy.
const STATUS_STEPS: u32 = 16;

/// Starts processors.
pub struct Processor;

/// Running partitions. Dropping it stops them.
pub struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<BTreeMap<u32, Running>>,
}

/// What this process does with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Nothing.
    #[default]
    Absent = 0,
    /// Applies what the owner applies, so that it could take over at once.
    Standby = 1,
    /// Applies, publishes and tells the time.
    Owner = 2,
}

/// Whether the process can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Every partition runs.
    Running,
    /// Some partition has stopped; see its status.
    Degraded,
    /// The log failed: the process has to end.
    Failed,
}

struct Running {
    wish: Arc<Wish>,
    thread: JoinHandle<()>,
}

/// What a thread shall do with its partition; it looks between steps.
pub(crate) struct Wish(AtomicU8);

impl Wish {
    fn new(role: Role) -> Self {
        Self(AtomicU8::new(role as u8))
    }

    pub(crate) fn get(&self) -> Role {
        match self.0.load(Ordering::SeqCst) {
            1 => Role::Standby,
            2 => Role::Owner,
            _ => Role::Absent,
        }
    }

    fn set(&self, role: Role) {
        self.0.store(role as u8, Ordering::SeqCst);
    }
}

pub(crate) struct Shared {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) stores: Arc<dyn Stores>,
    pub(crate) wall: Arc<dyn Wall>,
    pub(crate) options: Options,
    status: Vec<Mutex<Status>>,
    log_failed: AtomicBool,
}

impl Processor {
    /// Starts without a partition: [`Handle::assign`] gives it some.
    pub fn start(log: Arc<dyn Log>, stores: Arc<dyn Stores>, wall: Arc<dyn Wall>, options: Options) -> Handle {
        let status = (0..log.partitions()).map(|_| Mutex::default()).collect();
        let log_failed = AtomicBool::new(false);
        let shared = Arc::new(Shared { log, stores, wall, options, status, log_failed });
        Handle { shared, threads: Mutex::default() }
    }

    /// Starts as the owner of every partition.
    pub fn start_all(
        log: Arc<dyn Log>,
        stores: Arc<dyn Stores>,
        wall: Arc<dyn Wall>,
        options: Options,
    ) -> Result<Handle, Error> {
        let handle = Self::start(log, stores, wall, options);
        handle.assign((0..handle.shared.log.partitions()).map(|partition| (partition, Role::Owner)))?;
        Ok(handle)
    }
}

impl Handle {
    /// Changes what this process does with partitions; waits until what it did with them before has ended (ten seconds
    /// or so), all of them at once. A partition that cannot be opened does not stop the others: its status says why.
    pub fn assign(&self, roles: impl IntoIterator<Item = (u32, Role)>) -> Result<(), Error> {
        let mut threads = lock(&self.threads);
        let mut changes = Vec::new();
        for (partition, role) in roles {
            if let Some(running) = threads.get(&partition).filter(|running| !running.thread.is_finished()) {
                match (running.wish.get(), role) {
                    (before, after) if before == after => continue,
                    // It keeps its store open and takes over.
                    (Role::Standby, Role::Owner) => {
                        running.wish.set(role);
                        continue;
                    }
                    _ => running.wish.set(Role::Absent),
                }
            }
            changes.push((partition, role, threads.remove(&partition)));
        }
        self.shared.log.signal().notify();
        for (partition, role, running) in changes {
            if let Some(running) = running {
                join(running.thread);
            }
            *lock(&self.shared.status[partition as usize]) = Status { role, ..Status::default() };
            if role == Role::Absent {
                continue;
            }
            let (shared, wish) = (Arc::clone(&self.shared), Arc::new(Wish::new(role)));
            let wished = Arc::clone(&wish);
            let thread = std::thread::Builder::new().name(format!("partition-{partition}"));
            let thread = thread.spawn(move || shared.run(partition, &wished));
            let thread = thread.map_err(|error| Error::Thread(error.to_string()))?;
            threads.insert(partition, Running { wish, thread });
        }
        Ok(())
    }

    /// How every partition stands, in order.
    pub fn status(&self) -> Vec<Status> {
        self.shared.status.iter().map(|status| lock(status).clone()).collect()
    }

    /// Whether the process can go on.
    pub fn health(&self) -> Health {
        if self.shared.log_failed.load(Ordering::SeqCst) {
            return Health::Failed;
        }
        let stopped = self.shared.status.iter().any(|status| lock(status).error.is_some());
        if stopped { Health::Degraded } else { Health::Running }
    }

    /// Whether everything in the log is applied, published and delivered, and nothing is due at `now`.
    ///
    /// What one partition tells another between two looks moves the ends of the log, so equal ends
    /// before and after mean that all of it was true at one moment. A stopped partition is an error.
    pub fn is_at_rest(&self, now: Time) -> Result<bool, Error> {
        let ends = self.ends()?;
        for (partition, (status, end)) in (0..).zip(self.status().into_iter().zip(&ends)) {
            if let Some(reason) = status.error {
                return Err(Error::Stopped { partition, reason });
            }
            let due = status.next_due.is_some_and(|due| due <= now);
            if status.rest != Rest::Quiet || status.offset < *end || due {
                return Ok(false);
            }
        }
        Ok(self.ends()? == ends)
    }

    /// Stops applying, finishes publications, flushes, and waits for the threads: at most ten seconds or so.
    pub fn stop(self) {
        drop(self);
    }

    fn ends(&self) -> Result<Vec<u64>, Error> {
        let log = &self.shared.log;
        (0..log.partitions()).map(|partition| Ok(log.end(Topic::Events, partition)?)).collect()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        for running in threads.values() {
            running.wish.set(Role::Absent);
        }
        self.shared.log.signal().notify();
        for running in threads.into_values() {
            join(running.thread);
        }
    }
}

impl Shared {
    fn run(&self, id: u32, wish: &Wish) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.keep_going(id, wish)));
        match outcome {
            Ok(Ok(())) => {}
            // Whoever gives partitions out knows: it takes this one back, or gives it again.
            Ok(Err(error @ Error::NotOwner { .. })) => {
                tracing::info!(partition = id, %error, "partition dropped");
                *lock(&self.status[id as usize]) = Status::default();
            }
            Ok(Err(error)) => self.failed(id, &error),
            // The message went to stderr with the panic; state in memory is not to be trusted any more.
            Err(_) => self.failed_with(id, "panicked: this is a defect".to_owned()),
        }
    }

    fn keep_going(&self, id: u32, wish: &Wish) -> Result<(), Error> {
        let mut held = None;
        while let Some(opened) = opening::open(self, id, wish, held.take())? {
            let origin = opened.origin;
            match self.work(id, opened, wish) {
                Ok(Some(store)) => held = Some(store),
                Ok(None) => return Ok(()),
                // Neither the newest checkpoint nor an empty store: there is nothing better, and trying again for ever
                // would look like health.
                Err(error @ Error::RetentionOutran { .. }) if origin != Some(Origin::Local) => return Err(error),
                Err(error @ (Error::Overtaken { .. } | Error::Log(LogError::Unavailable(_)))) => {
                    tracing::warn!(partition = id, %error, "opening it again");
                }
                Err(error) if error.is_of_store() => {
                    tracing::error!(partition = id, %error, "store removed; it is rebuilt from checkpoint and log");
                    self.stores.discard(id)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Steps until something else is wished. A standby that is to be the owner gives its store back, as it is.
    fn work(&self, id: u32, opened: Opened, wish: &Wish) -> Result<Option<Box<dyn Store>>, Error> {
        let Opened { mut partition, mut checkpoints, role, .. } = opened;
        let mut steps = 0_u32;
        while wish.get() == role {
            let seen = self.log.signal().count();
            let step = partition.step()?;
            checkpoints.look(&partition, &*self.stores);
            steps = steps.wrapping_add(1);
            let Step::Idle { wake_at } = step else {
                if steps.is_multiple_of(STATUS_STEPS) {
                    self.report(id, role, &partition)?;
                }
                continue;
            };
            if self.report(id, role, &partition)? == Changed::ToRest {
                // Somebody may wait for everything to be at rest; our own count moves on with it.
                self.log.signal().notify();
                continue;
            }
            let sleep = wake_at.map_or(SLEEP_MAX, |at| {
                let ms = at.since(self.wall.now()).0.max(0).unsigned_abs();
                Duration::from_millis(ms).clamp(SLEEP_MIN, SLEEP_MAX)
            });
            self.log.signal().wait_past(seen, sleep);
        }
        if (role, wish.get()) == (Role::Standby, Role::Owner) {
            return Ok(Some(partition.into_store()));
        }
        self.finish(id, role, &mut partition)?;
        Ok(None)
    }

    fn finish(&self, id: u32, role: Role, partition: &mut Partition) -> Result<(), Error> {
        let deadline = Instant::now() + STOP_MAX;
        partition.close_intake();
        // A standby has nothing to finish: what waits in it is its owner's to publish.
        while role == Role::Owner && partition.rest()? == Rest::Busy && Instant::now() < deadline {
            let seen = self.log.signal().count();
            if let Step::Idle { .. } = partition.step()? {
                self.log.signal().wait_past(seen, Duration::from_millis(50));
            }
        }
        partition.flush()?;
        self.report(id, role, partition).map(drop)
    }

    fn report(&self, id: u32, role: Role, partition: &Partition) -> Result<Changed, Error> {
        let status = Status { role, ..partition.status()? };
        let lag_records = status.end.saturating_sub(status.offset);
        metrics::standing(id, lag_records, status.lag, status.outbox, status.clock);
        let mut shown = lock(&self.status[id as usize]);
        let changed = shown.rest != status.rest || shown.offset != status.offset;
        let to_rest = changed && status.rest == Rest::Quiet;
        *shown = status;
        Ok(if to_rest { Changed::ToRest } else { Changed::Other })
    }

    fn failed(&self, id: u32, error: &Error) {
        if error.is_of_log() {
            self.log_failed.store(true, Ordering::SeqCst);
        }
        self.failed_with(id, error.to_string());
    }

    fn failed_with(&self, id: u32, reason: String) {
        tracing::error!(partition = id, %reason, "partition stopped");
        let mut status = lock(&self.status[id as usize]);
        status.error = Some(reason);
        status.rest = Rest::Busy;
        drop(status);
        self.log.signal().notify();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changed {
    ToRest,
    Other,
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("thread of a partition panicked");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
