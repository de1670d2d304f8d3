//! One run: partitions, clients, clocks and what befalls them; then rest and judgement.

use crate::chaos::{ChaosLog, SkewedWall};
use crate::clients::Clients;
use crate::crashes::Crashes;
use crate::judge::{self, Gaps, SharedStore, Wrong};
use crate::random::Random;
use crate::workload::Workload;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use touchline_log::{Ack, Log, ManualWall, TakenOver};
use touchline_model::record::Input;
use touchline_model::time::{Span, Time};
use touchline_processor::error::Error;
use touchline_processor::partition::{Partition, Rest};
use touchline_store::memory::MemoryDisk;

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

struct World {
    random: Random,
    options: Options,
    truth: ManualWall,
    skew_ms: Arc<AtomicI64>,
    log: ChaosLog,
    crashes: Crashes,
    slots: Vec<Slot>,
    workload: Workload,
    clients: Clients,
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

impl World {
    fn new(seed: u64, options: Options) -> Result<Self, Wrong> {
        let mut random = Random::new(seed);
        let (truth, skew_ms) = (ManualWall::new(START), Arc::new(AtomicI64::new(0)));
        let wall = SkewedWall { truth: truth.clone(), skew_ms: Arc::clone(&skew_ms) };
        let log = ChaosLog::new(PARTITIONS, wall, Random::new(random.next()));
        let crashes = Crashes::new(CRASH_PERMILLE, Random::new(random.next()));
        crashes.set(true);
        let slots = (0..PARTITIONS).map(|_| Slot::new(MemoryDisk::new())).collect();
        let workload = Workload::new(Random::new(random.next()));
        let clients = Clients::new(options.plant == Plant::AcknowledgeRefused);
        let report = Report::default();
        Ok(Self { random, options, truth, skew_ms, log, crashes, slots, workload, clients, report })
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
        self.crashes.set(false);
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
        let options = touchline_processor::Options {
            faults: self.crashes.faults(),
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

    fn ask(&mut self, input: Input) {
        self.clients.ask(&self.log, input);
    }

    fn hear_answers(&mut self) {
        self.clients.hear(&self.log);
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
            if self.clients.are_served() && self.is_quiet()? {
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
        let stores: Vec<_> = (0..).zip(self.slots.iter().map(|slot| slot.store.clone())).collect();
        let verdict = judge::judge(&self.log, Gaps::Never, self.clients.acknowledged(), &stores)?;
        self.report.records = verdict.records;
        self.report.outputs = verdict.outputs;
        self.report.acknowledged = self.clients.acknowledged().len() as u64;
        self.report.due = verdict.due;
        self.report.forwarded = verdict.forwarded;
        Ok(self.report)
    }
}

impl Slot {
    fn new(disk: MemoryDisk) -> Self {
        let store = SharedStore::new(disk.open());
        Self { disk, store, partition: None, taking: None }
    }
}

fn index(small: u64) -> usize {
    usize::try_from(small).expect("small")
}
