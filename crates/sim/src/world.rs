//! One run: partitions, clients, clocks and what befalls them; then rest and judgement.

use crate::chaos::{ChaosLog, SkewedWall};
use crate::oracle::{Expected, Line, Oracle};
use crate::random::Random;
use crate::workload::{Workload, joined_shops};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use touchline_log::{Ack, Appended, Log, ManualWall, NewRecord, StoredRecord, TakenOver, Topic};
use touchline_model::id::EventId;
use touchline_model::output::{Output, Stream};
use touchline_model::record::Input;
use touchline_model::time::{Span, Time};
use touchline_processor::error::Error;
use touchline_processor::faults::{Point, Verdict};
use touchline_processor::partition::{Partition, Rest};
use touchline_processor::{Faults, check};
use touchline_proto as proto;
use touchline_store::memory::{MemoryDisk, MemoryStore};
use touchline_store::{Change, Pair, Store};

use touchline_processor::options::Plant as PartitionPlant;

/// Partitions of a simulated cluster: more than two, so that third parties exist.
const PARTITIONS: u32 = 3;
/// Things that happen per run: a run takes milliseconds, many runs find more than long ones.
const ACTIONS: u64 = 260;
/// Rounds after which a run that does not come to rest is a failure.
const REST_ROUNDS_MAX: u32 = 20_000;
/// Crashes at fault points, per thousand passages.
const CRASH_PERMILLE: u64 = 8;
/// 2026-03-01T08:00:00+08:00.
const START: Time = Time(1_772_323_200_000);

/// What a run does beside its seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A defect built in on purpose.
    #[doc(hidden)]
    pub plant: Plant,
}

/// Defects to prove that runs find them.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plant {
    #[default]
    None,
    /// In the partitions.
    Partition(PartitionPlant),
    /// A client takes any answer for success.
    AcknowledgeRefused,
}

/// What a clean run saw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Crashes per fault point, by name; `anywhere` for those between steps.
    pub crashes: BTreeMap<&'static str, u64>,
    /// Records of `events`.
    pub records: u64,
    /// Events acknowledged to clients.
    pub acknowledged: u64,
    /// Outputs published.
    pub outputs: u64,
    /// Touches that fell due.
    pub due: u64,
    /// Events forwarded from one cell to another.
    pub forwarded: u64,
}

/// A run that went wrong, and how to repeat it.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}: {}\nhint: TOUCHLINE_SEED={seed} cargo test -p touchline-sim", .differences.join("\n  "))]
pub struct Failure {
    /// Of the run.
    pub seed: u64,
    /// What is wrong, one sentence each.
    pub differences: Vec<String>,
}

/// Runs one seed.
pub fn run(seed: u64) -> Result<Report, Failure> {
    run_with(seed, Options::default())
}

/// Runs one seed with options.
pub fn run_with(seed: u64, options: Options) -> Result<Report, Failure> {
    let outcome = World::new(seed, options).and_then(World::run);
    outcome.map_err(|differences| Failure { seed, differences })
}

/// Sentences.
type Wrong = Vec<String>;

struct World {
    random: Random,
    options: Options,
    truth: ManualWall,
    skew_ms: Arc<AtomicI64>,
    log: ChaosLog,
    crashes: Arc<Mutex<Crashes>>,
    slots: Vec<Slot>,
    workload: Workload,
    /// Appends without an answer yet.
    asked: Vec<(Input, Ack<Appended>)>,
    acknowledged: Vec<EventId>,
    report: Report,
}

struct Slot {
    disk: MemoryDisk,
    store: SharedStore,
    /// `None` while crashed.
    partition: Option<Partition>,
    /// The answer to the new owner.
    taking: Option<Ack<TakenOver>>,
}

struct Crashes {
    random: Random,
    on: bool,
}

impl World {
    fn new(seed: u64, options: Options) -> Result<Self, Wrong> {
        let mut random = Random::new(seed);
        let (truth, skew_ms) = (ManualWall::new(START), Arc::new(AtomicI64::new(0)));
        let wall = SkewedWall { truth: truth.clone(), skew_ms: Arc::clone(&skew_ms) };
        let log = ChaosLog::new(PARTITIONS, wall, Random::new(random.next()));
        let crashes = Arc::new(Mutex::new(Crashes { random: Random::new(random.next()), on: true }));
        let slots = (0..PARTITIONS).map(|_| Slot::new(MemoryDisk::new())).collect();
        let workload = Workload::new(Random::new(random.next()));
        let (asked, acknowledged, report) = (Vec::new(), Vec::new(), Report::default());
        Ok(Self { random, options, truth, skew_ms, log, crashes, slots, workload, asked, acknowledged, report })
    }

    fn run(mut self) -> Result<Report, Wrong> {
        self.ask(Workload::activation(self.now()));
        self.rest()?;
        for link in Workload::links(self.now()) {
            self.ask(link);
        }
        self.rest()?;
        for _ in 0..ACTIONS {
            self.act()?;
        }
        self.skew_ms.store(0, Ordering::SeqCst);
        lock(&self.crashes).on = false;
        self.log.calm();
        self.rest()?;
        // What is still planned falls due, in a few jumps of different lengths.
        for hours in [20, 50, 31 * 24] {
            self.truth.advance(self.now().plus(Span::hours(hours)));
            self.rest()?;
        }
        self.judge()
    }

    /// One thing happens.
    fn act(&mut self) -> Result<(), Wrong> {
        match self.random.below(100) {
            0..=34 => {
                let input = self.workload.next(self.now());
                self.ask(input);
            }
            35..=69 => {
                let id = self.random.below(u64::from(PARTITIONS));
                for _ in 0..=self.random.below(4) {
                    self.step(id)?;
                }
            }
            70..=79 => {
                let count = self.random.below(8);
                self.log.release(usize::try_from(count).expect("small"));
            }
            80..=90 => {
                let by = *self.random.pick(&[3, 60, 400, 2_500, 60_000, 900_000, 5_400_000, 30_000_000]);
                self.truth.advance(self.now().plus(Span(by)));
            }
            91..=92 => {
                let skew = *self.random.pick(&[0, 0, -5_000, -700, 2_000, 7_500_000]);
                self.skew_ms.store(skew, Ordering::SeqCst);
            }
            93..=96 => {
                let (slot, batches) = (self.random.below(u64::from(PARTITIONS)), self.random.below(6));
                self.slots[index(slot)].store.persist(index(batches));
            }
            _ => {
                let id = self.random.below(u64::from(PARTITIONS));
                self.crash(id, "anywhere");
            }
        }
        self.hear_answers();
        Ok(())
    }

    /// Steps a partition, opening it first when it lies crashed.
    fn step(&mut self, id: u64) -> Result<(), Wrong> {
        if self.slots[index(id)].partition.is_none() {
            self.open(id)?;
        }
        let Some(partition) = self.slots[index(id)].partition.as_mut() else { return Ok(()) };
        match partition.step() {
            Ok(_) => Ok(()),
            Err(Error::Crashed(point)) => {
                self.crash(id, point.name());
                Ok(())
            }
            Err(error) => Err(vec![format!("partition {id} stopped: {error}")]),
        }
    }

    fn open(&mut self, id: u64) -> Result<(), Wrong> {
        let number = u32::try_from(id).expect("small");
        let mut taking = self.slots[index(id)].taking.take().unwrap_or_else(|| self.log.take_over(number));
        let taken = match taking.try_recv() {
            Ok(Some(Ok(taken))) => taken,
            Ok(None) => {
                self.slots[index(id)].taking = Some(taking);
                return Ok(());
            }
            // Asked again with the next step.
            Ok(Some(Err(_))) | Err(_) => return Ok(()),
        };
        let crashes = Arc::clone(&self.crashes);
        let hook = move |_: Point| {
            let mut crashes = lock(&crashes);
            if crashes.on && crashes.random.chance(CRASH_PERMILLE) { Verdict::Crash } else { Verdict::GoOn }
        };
        let options = touchline_processor::Options {
            faults: Faults::hook(Arc::new(Mutex::new(hook))),
            plant: match self.options.plant {
                Plant::Partition(plant) => plant,
                Plant::None | Plant::AcknowledgeRefused => PartitionPlant::None,
            },
            ..touchline_processor::Options::default()
        };
        let slot = &mut self.slots[index(id)];
        let partition = Partition::open(
            number,
            Arc::new(self.log.clone()),
            taken,
            Box::new(slot.store.clone()),
            Arc::new(self.truth.clone()),
            options,
        );
        slot.partition = Some(partition.map_err(|error| vec![format!("partition {id} does not open: {error}")])?);
        Ok(())
    }

    /// The partition is gone; its store keeps what was flushed, or a little more, or nothing at all.
    fn crash(&mut self, id: u64, at: &'static str) {
        *self.report.crashes.entry(at).or_default() += 1;
        let batches = index(self.random.below(4));
        let disk_lost = self.random.chance(80);
        let slot = &mut self.slots[index(id)];
        slot.partition = None;
        slot.taking = None;
        slot.store.persist(batches);
        *slot = Slot::new(if disk_lost { MemoryDisk::new() } else { slot.disk.clone() });
    }

    /// A client appends, and asks again until it is told that it succeeded.
    fn ask(&mut self, input: Input) {
        let key = proto::input_key(&input);
        let partition = key.as_ref().map_or(0, |key| key.partition(PARTITIONS));
        let record = NewRecord {
            key: key.map(|key| key.as_str().as_bytes().to_vec()),
            headers: proto::input_headers(&input),
            value: proto::encode_input(&input),
        };
        let ack = self.log.append(Topic::Events, partition, vec![record]);
        self.asked.push((input, ack));
    }

    fn hear_answers(&mut self) {
        for (input, mut ack) in std::mem::take(&mut self.asked) {
            match ack.try_recv() {
                Ok(None) => self.asked.push((input, ack)),
                Ok(Some(outcome)) if outcome.is_ok() || self.options.plant == Plant::AcknowledgeRefused => {
                    if let Input::Event(event) = input {
                        self.acknowledged.push(event.id);
                    }
                }
                Ok(Some(_)) | Err(_) => self.ask(input),
            }
        }
    }

    /// Steps everything, in turn, until nothing is left to do; time passes as it has to.
    fn rest(&mut self) -> Result<(), Wrong> {
        for round in 0..REST_ROUNDS_MAX {
            self.log.release(usize::MAX);
            self.hear_answers();
            for id in 0..u64::from(PARTITIONS) {
                self.step(id)?;
            }
            // Pauses and delays are over sooner or later.
            let by = if round % 8 == 7 { 130 } else { 0 };
            self.truth.advance(self.now().plus(Span(by)));
            if self.asked.is_empty() && self.is_quiet()? {
                return Ok(());
            }
        }
        let mut wrong = vec![format!("does not come to rest within {REST_ROUNDS_MAX} rounds at {}", self.now())];
        let running = self.slots.iter().filter_map(|slot| slot.partition.as_ref()?.status().ok());
        wrong.extend(running.map(|status| format!("{status:?}")));
        Err(wrong)
    }

    fn is_quiet(&self) -> Result<bool, Wrong> {
        for slot in &self.slots {
            let Some(partition) = &slot.partition else { return Ok(false) };
            if partition.rest().map_err(|error| vec![error.to_string()])? == Rest::Busy {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn now(&self) -> Time {
        touchline_log::Wall::now(&self.truth)
    }

    fn judge(mut self) -> Result<Report, Wrong> {
        let judged = check::judge(&self.log, &self.acknowledged).map_err(|error| vec![error.to_string()])?;
        let mut wrong = judged.differences;
        for (id, slot) in self.slots.iter().enumerate() {
            let live = check::state_hash(&slot.store).map_err(|error| vec![error.to_string()])?;
            if live != judged.state_hashes[id] {
                wrong.push(format!("partition {id}: the state is not that of a replay"));
            }
        }
        let mut expected = Expected::default();
        for partition in 0..PARTITIONS {
            Oracle::read(&self.lines(partition), &mut expected);
        }
        self.compare_with(&expected, &mut wrong);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        self.report.records = judged.records;
        self.report.outputs = judged.outputs;
        self.report.acknowledged = self.acknowledged.len() as u64;
        self.report.due = expected.touches.iter().filter(|touch| touch.1 == "due").count() as u64;
        self.report.forwarded = expected.forwarded.len() as u64;
        Ok(self.report)
    }

    /// The published topics against what the oracle says.
    fn compare_with(&self, expected: &Expected, wrong: &mut Wrong) {
        let (mut touches, mut tag_changes) = (Vec::new(), Vec::new());
        for stream in [Stream::TagChanges, Stream::Touches] {
            for record in self.everything(Topic::from(stream)) {
                match proto::decode_output(stream, &record.value).map(|(numbered, _)| numbered.output) {
                    Ok(Output::Touch(touch)) => {
                        touches.push((touch.id, touch.state.name(), touch.reason, touch.due_at));
                    }
                    Ok(Output::TagChange(change)) => {
                        tag_changes.push((change.contact, change.set, change.unset, change.at));
                    }
                    Ok(_) | Err(_) => wrong.push(format!("{} holds something else", stream.name())),
                }
            }
        }
        touches.sort();
        tag_changes.sort();
        differ("touch", &touches, &expected.touches, wrong);
        differ("tag change", &tag_changes, &expected.tag_changes, wrong);
        let mut stages = BTreeMap::new();
        for record in self.everything(Topic::Contacts) {
            if let Ok(proto::ContactRecord::Contact(contact)) = proto::decode_contact_record(&record.value) {
                let column = contact.stages.first().map(|stage| stage.column.clone());
                stages.insert(contact.key.clone(), column);
            }
        }
        let stages: BTreeMap<_, _> = stages.into_iter().filter_map(|(key, column)| Some((key, column?))).collect();
        if stages != expected.stages {
            wrong.push(format!("stages are {stages:?}, expected {:?}", expected.stages));
        }
        self.compare_forwards(expected, wrong);
    }

    /// Every order under a joined shop id came to its customer, once; no other did.
    fn compare_forwards(&self, expected: &Expected, wrong: &mut Wrong) {
        let joined = joined_shops();
        let mut ids: BTreeMap<EventId, u64> = BTreeMap::new();
        for partition in 0..PARTITIONS {
            for line in self.lines(partition) {
                if let Input::Event(event) = line.input
                    && joined.contains(&event.key())
                {
                    ids.insert(event.id, 1);
                }
            }
        }
        if ids != expected.forwarded {
            wrong.push(format!("forwarded {:?}, expected {ids:?}", expected.forwarded));
        }
    }

    fn lines(&self, partition: u32) -> Vec<Line> {
        let records = self.log.read(Topic::Events, partition, 0, usize::MAX).unwrap_or_default();
        let line = |record: StoredRecord| {
            let input = proto::decode_input(&record.value).ok()?;
            Some(Line { append_time: record.append_time, input })
        };
        records.into_iter().filter_map(line).collect()
    }

    fn everything(&self, topic: Topic) -> Vec<StoredRecord> {
        let of = |partition| self.log.read(topic, partition, 0, usize::MAX).unwrap_or_default();
        (0..PARTITIONS).flat_map(of).collect()
    }
}

impl Slot {
    fn new(disk: MemoryDisk) -> Self {
        let store = SharedStore(Arc::new(Mutex::new(disk.open())));
        Self { disk, store, partition: None, taking: None }
    }
}

/// A store that the world can look into and crash while a partition owns it.
#[derive(Clone)]
struct SharedStore(Arc<Mutex<MemoryStore>>);

impl SharedStore {
    fn persist(&self, batches: usize) {
        lock(&self.0).persist(batches);
    }
}

impl Store for SharedStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, touchline_store::Error> {
        lock(&self.0).get(key)
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Pair>, touchline_store::Error> {
        lock(&self.0).scan(from, until, limit)
    }

    fn write(&mut self, batch: Vec<Change>) -> Result<(), touchline_store::Error> {
        lock(&self.0).write(batch)
    }

    fn flush(&mut self) -> Result<(), touchline_store::Error> {
        lock(&self.0).flush()
    }
}

/// The first thing that is in one sorted list and not in the other.
fn differ<T: PartialEq + Ord + fmt::Debug>(what: &str, found: &[T], expected: &[T], wrong: &mut Wrong) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).take_while(|(one, other)| one == other).count();
    let (found, expected) = (found.get(at), expected.get(at));
    wrong.push(format!("{what} {at} is {found:?}, expected {expected:?}"));
}

fn index(small: u64) -> usize {
    usize::try_from(small).expect("small")
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
