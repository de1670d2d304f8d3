//! Partitions on threads: one thread owns, or follows, one partition and its store.

use crate::error::Error;
use crate::metrics;
use crate::opening::{self, Opened};
use crate::options::Options;
use crate::partition::{Partition, Rest, Status, Step};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use touchline_log::{Error as LogError, Log, Topic, Wall};
use touchline_model::time::Time;
use touchline_store::{Origin, Stores};

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
    Absent,
    /// Applies what the owner applies, so that it could take over at once.
    Standby,
    /// Applies, publishes and tells the time.
    Owner,
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
    role: Role,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
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
            let unchanged = |running: &Running| running.role == role && !running.thread.is_finished();
            if threads.get(&partition).is_some_and(unchanged) {
                continue;
            }
            let running = threads.remove(&partition);
            if let Some(running) = &running {
                running.stop.store(true, Ordering::SeqCst);
            }
            changes.push((partition, role, running));
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
            let (shared, stop) = (Arc::clone(&self.shared), Arc::new(AtomicBool::new(false)));
            let stopped = Arc::clone(&stop);
            let thread = std::thread::Builder::new().name(format!("partition-{partition}"));
            let thread = thread.spawn(move || shared.run(partition, role, &stopped));
            let thread = thread.map_err(|error| Error::Thread(error.to_string()))?;
            threads.insert(partition, Running { role, stop, thread });
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
            running.stop.store(true, Ordering::SeqCst);
        }
        self.shared.log.signal().notify();
        for running in threads.into_values() {
            join(running.thread);
        }
    }
}

impl Shared {
    fn run(&self, id: u32, role: Role, stop: &AtomicBool) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.keep_going(id, role, stop)));
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

    fn keep_going(&self, id: u32, role: Role, stop: &AtomicBool) -> Result<(), Error> {
        while let Some(opened) = opening::open(self, id, role, stop)? {
            let origin = opened.origin;
            match self.work(id, role, opened, stop) {
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
                outcome => return outcome,
            }
        }
        Ok(())
    }

    fn work(&self, id: u32, role: Role, opened: Opened, stop: &AtomicBool) -> Result<(), Error> {
        let Opened { mut partition, mut checkpoints, .. } = opened;
        let mut steps = 0_u32;
        while !stop.load(Ordering::SeqCst) {
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
        self.finish(id, role, &mut partition)
    }

    fn finish(&self, id: u32, role: Role, partition: &mut Partition) -> Result<(), Error> {
        let deadline = Instant::now() + STOP_MAX;
        partition.close_intake();
        while partition.rest()? == Rest::Busy && Instant::now() < deadline {
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
