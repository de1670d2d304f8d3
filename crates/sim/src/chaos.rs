//! A log that misbehaves within its contract: lost answers, refusals, late answers, a clock that steps.

use crate::random::Random;
use futures::channel::oneshot;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use touchline_log::memory::{Call, Fault, MemoryLog};
use touchline_log::{
    Ack, Appended, Error, Log, ManualWall, Marker, NewRecord, Publication, Publisher, Signal, StoredRecord, TakenOver,
    Topic, Wall,
};
use touchline_model::time::Time;

/// Calls that fail while chaos reigns, per thousand: often enough that every seed sees all kinds.
const FAULTS_PERMILLE: u64 = 60;

/// The broker's wall: the true one, skewed.
#[derive(Debug, Clone)]
pub(crate) struct SkewedWall {
    pub(crate) truth: ManualWall,
    pub(crate) skew_ms: Arc<AtomicI64>,
}

impl Wall for SkewedWall {
    fn now(&self) -> Time {
        Time(self.truth.now().0 + self.skew_ms.load(Ordering::SeqCst))
    }
}

/// The memory log with faults, whose answers wait until they are released.
#[derive(Clone)]
pub(crate) struct ChaosLog {
    inner: MemoryLog,
    held: Arc<Mutex<Vec<Answer>>>,
    reign: Arc<Mutex<Reign>>,
}

/// Tells a caller what became of its call.
type Answer = Box<dyn FnOnce() + Send>;

struct Reign {
    random: Random,
    on: bool,
}

impl ChaosLog {
    pub(crate) fn new(partitions: u32, wall: SkewedWall, random: Random) -> Self {
        let reign = Arc::new(Mutex::new(Reign { random, on: true }));
        let decides = Arc::clone(&reign);
        let hook = move |_: Call<'_>| {
            let mut reign = lock(&decides);
            match (reign.on, reign.random.chance(FAULTS_PERMILLE)) {
                (true, true) => *reign.random.pick(&[Fault::LostAck, Fault::Refused]),
                _ => Fault::None,
            }
        };
        let inner = MemoryLog::with_faults(partitions, Arc::new(wall), Box::new(hook));
        Self { inner, held: Arc::default(), reign }
    }

    /// Answers the oldest `count` calls.
    pub(crate) fn release(&self, count: usize) {
        let released: Vec<_> = {
            let mut held = lock(&self.held);
            let count = count.min(held.len());
            held.drain(..count).collect()
        };
        for answer in released {
            answer();
        }
    }

    /// No more faults, and nothing is answered late.
    pub(crate) fn calm(&self) {
        lock(&self.reign).on = false;
        self.release(usize::MAX);
    }

    fn hold<T: Send + 'static>(&self, known: Ack<T>) -> Ack<T> {
        self.hold_and(known, |outcome| outcome)
    }

    /// Answers later, with what `finish` makes of the outcome.
    fn hold_and<T: Send + 'static>(&self, mut known: Ack<T>, finish: impl FnOnce(T) -> T + Send + 'static) -> Ack<T> {
        let (sender, receiver) = oneshot::channel();
        let answer: Answer = Box::new(move || {
            if let Ok(Some(outcome)) = known.try_recv() {
                // Whoever asked may have crashed meanwhile.
                let _ = sender.send(outcome.map(finish));
            }
        });
        if lock(&self.reign).on {
            lock(&self.held).push(answer);
        } else {
            answer();
        }
        receiver
    }
}

/// Publishes at once and answers late.
struct LatePublisher {
    inner: Box<dyn Publisher>,
    log: ChaosLog,
}

impl Publisher for LatePublisher {
    fn publish(&mut self, publication: Publication) -> Ack<()> {
        self.log.hold(self.inner.publish(publication))
    }
}

impl Log for ChaosLog {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn cluster_id(&self) -> String {
        self.inner.cluster_id()
    }

    fn append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        self.hold(self.inner.append(topic, partition, records))
    }

    fn read(&self, topic: Topic, partition: u32, offset: u64, records_max: usize) -> Result<Vec<StoredRecord>, Error> {
        self.inner.read(topic, partition, offset, records_max)
    }

    fn end(&self, topic: Topic, partition: u32) -> Result<u64, Error> {
        self.inner.end(topic, partition)
    }

    fn take_over(&self, partition: u32) -> Ack<TakenOver> {
        let log = self.clone();
        let late = move |taken: TakenOver| TakenOver {
            publisher: Box::new(LatePublisher { inner: taken.publisher, log }),
            ..taken
        };
        self.hold_and(self.inner.take_over(partition), late)
    }

    fn published(&self, partition: u32) -> Result<Marker, Error> {
        self.inner.published(partition)
    }

    fn signal(&self) -> &Signal {
        self.inner.signal()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
