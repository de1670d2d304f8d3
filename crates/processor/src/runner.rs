//! Partitions on threads: one thread owns one partition and its store.

use crate::error::Error;
use crate::metrics;
use crate::options::Options;
use crate::partition::{Partition, Rest, Status, Step};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use touchline_log::{Log, Topic, Wall};
use touchline_model::time::Time;
use touchline_store::Store;

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
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    log: Arc<dyn Log>,
    wall: Arc<dyn Wall>,
    status: Vec<Mutex<Status>>,
    stop: AtomicBool,
    log_failed: AtomicBool,
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

impl Processor {
    /// Opens every partition (store n is partition n's) and starts its thread.
    ///
    /// A partition that cannot be opened does not stop the others: its status says why. A log that
    /// fails while opening is an error.
    pub fn start(
        log: Arc<dyn Log>,
        stores: Vec<Box<dyn Store>>,
        wall: Arc<dyn Wall>,
        options: Options,
    ) -> Result<Handle, Error> {
        let status = stores.iter().map(|_| Mutex::default()).collect();
        let (stop, log_failed) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Arc::new(Shared { log: Arc::clone(&log), wall: Arc::clone(&wall), status, stop, log_failed });
        let mut handle = Handle { shared: Arc::clone(&shared), threads: Vec::new() };
        for (id, store) in (0..).zip(stores) {
            match Partition::open(id, Arc::clone(&log), store, Arc::clone(&wall), options.clone()) {
                Ok(partition) => {
                    let shared = Arc::clone(&shared);
                    let thread = std::thread::Builder::new().name(format!("partition-{id}"));
                    let thread = thread.spawn(move || shared.run(id, partition));
                    handle.threads.push(thread.map_err(|error| Error::Thread(error.to_string()))?);
                }
                Err(error) if error.is_of_log() => return Err(error),
                Err(error) => shared.failed(id, &error),
            }
        }
        Ok(handle)
    }
}

impl Handle {
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
    pub fn stop(mut self) {
        self.stop_threads();
    }

    fn ends(&self) -> Result<Vec<u64>, Error> {
        let log = &self.shared.log;
        (0..log.partitions()).map(|partition| Ok(log.end(Topic::Events, partition)?)).collect()
    }

    fn stop_threads(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.log.signal().notify();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("thread of a partition panicked");
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop_threads();
    }
}

impl Shared {
    fn run(&self, id: u32, mut partition: Partition) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.work(id, &mut partition)));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.failed(id, &error),
            // The message went to stderr with the panic; state in memory is not to be trusted any more.
            Err(_) => self.failed_with(id, "panicked: this is a defect".to_owned()),
        }
    }

    fn work(&self, id: u32, partition: &mut Partition) -> Result<(), Error> {
        let mut steps = 0_u32;
        while !self.stop.load(Ordering::SeqCst) {
            let seen = self.log.signal().count();
            let step = partition.step()?;
            steps = steps.wrapping_add(1);
            let Step::Idle { wake_at } = step else {
                if steps.is_multiple_of(STATUS_STEPS) {
                    self.report(id, partition)?;
                }
                continue;
            };
            if self.report(id, partition)? == Changed::ToRest {
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
        self.finish(id, partition)
    }

    fn finish(&self, id: u32, partition: &mut Partition) -> Result<(), Error> {
        let deadline = Instant::now() + STOP_MAX;
        partition.close_intake();
        while partition.rest()? == Rest::Busy && Instant::now() < deadline {
            let seen = self.log.signal().count();
            if let Step::Idle { .. } = partition.step()? {
                self.log.signal().wait_past(seen, Duration::from_millis(50));
            }
        }
        partition.flush()?;
        self.report(id, partition).map(drop)
    }

    fn report(&self, id: u32, partition: &Partition) -> Result<Changed, Error> {
        let status = partition.status()?;
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

fn lock(status: &Mutex<Status>) -> MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}
