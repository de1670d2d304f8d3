//! Runs on a cluster like Kafka: several processes, each with its own stores, that crash, pause and come back as
//! zombies while partitions move between them and the network loses, repeats and delays what they send.
//!
//! Every process drives the real partitions and the real publisher lane (`touchline_log::lane`), step by step in an
//! order that the seed decides. After the faults everything comes to rest; then a plain `read_committed` consumer (in
//! sequenced mode one that keeps the sequence rule) reads the topics, and both judges look at what it read.

use crate::chaos::SkewedWall;
use crate::client::Setup;
use crate::clients::Clients;
use crate::crashes::Crashes;
use crate::handle::{Handle, Stepped};
use crate::judge::{self, Gaps, SharedStore, Wrong};
use crate::network::{Cluster, Shared, Switches, lock};
use crate::process::{Ended, Life, Process, Slot};
use crate::random::Random;
use crate::view::{Follower, View};
use crate::workload::Workload;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use touchline_log::lane::{Mode, Plant as LanePlant};
use touchline_log::{ManualWall, Wall};
use touchline_model::record::Input;
use touchline_model::time::{Span, Time};
use touchline_processor::Role;
use touchline_processor::faults::Verdict;
use touchline_processor::options::Plant as PartitionPlant;
use touchline_store::Stores;
use touchline_store::memory::MemoryStores;

/// Partitions: two tell each other everything that more of them would.
const PARTITIONS: u32 = 2;
/// Processes: an owner, a zombie and a third that takes over from both.
const PROCESSES: usize = 3;
/// Things that happen per run.
const ACTIONS: u64 = 700;
/// Steps of lanes in a row: enough for a whole transaction, so that many of them end well.
const LANE_STEPS_MAX: u64 = 24;
/// Turns of a process in which it hears of the group: mostly soon, not always before it publishes.
const POLL_PERMILLE: u64 = 200;
/// Deaths at fault points, per thousand passages.
const CRASH_PERMILLE: u64 = 5;
/// The same for lanes, which pass fewer.
const LANE_CRASH_PERMILLE: u64 = 20;
/// Rounds after which a run that does not come to rest is a failure.
const REST_ROUNDS_MAX: u32 = 4_000;
/// 2026-03-01T08:00:00+08:00.
const START: Time = Time(1_772_323_200_000);

/// What a run does beside its seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How publications are kept whole.
    pub mode: Mode,
    /// Whether a failure tells what happened, request by request.
    pub trace: Trace,
    /// A defect built in on purpose.
    #[doc(hidden)]
    pub plant: Plant,
}

/// Whether a run writes down what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trace {
    /// No: it takes time.
    #[default]
    Off,
    /// Every request that reaches the cluster, and what befalls processes.
    On,
}

/// Defects to prove that runs find them.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plant {
    #[default]
    None,
    /// In the lanes.
    Lane(LanePlant),
    /// In the partitions.
    Partition(PartitionPlant),
    /// Leaders do not ask whether a batch belongs to an ongoing transaction.
    NoVerification,
    /// The same, and a failed publication is aborted and sent again by its producer.
    AbortUnverified,
    /// A failed publication is aborted and sent again by its producer, which keeps its epoch.
    AbortSameEpoch,
    /// Producers have no transactional id in common: only the group's generation tells owner from zombie.
    NoFence,
    /// Committed offsets alone say what is published, and nobody waits for open transactions.
    UnstableMarker,
    /// Offsets are committed without the generation of the group. Known to be sound.
    NoGroupMetadata,
    /// A standby goes on as owner with what it knows, and fences nobody.
    StandbyTakesNothingOver,
    /// Who lost a partition goes on with it.
    NotOwnerIgnored,
    /// In sequenced mode, a consumer that takes everything.
    PlainConsumer,
    /// A client takes any answer for success.
    AcknowledgeRefused,
}

/// What a clean run saw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Deaths of processes by fault point; `anywhere` for those between steps, `log` for those that gave up.
    pub crashes: BTreeMap<&'static str, u64>,
    /// What befell the cluster, by name.
    pub faults: BTreeMap<&'static str, u64>,
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
#[error("seed {seed}, {mode:?}: {}\nhint: TOUCHLINE_SEED={seed} cargo test -p touchline-sim --test kafka", .differences.join("\n  "))]
pub struct Failure {
    /// Of the run.
    pub seed: u64,
    /// Of the run.
    pub mode: Mode,
    /// What is wrong, one sentence each.
    pub differences: Vec<String>,
    /// What happened, one line each; empty without [`Trace::On`].
    pub trace: Vec<String>,
}

/// Runs one seed.
pub fn run(seed: u64, options: Options) -> Result<Report, Failure> {
    let world = World::new(seed, options);
    let cluster = Shared::clone(&world.cluster);
    let outcome = world.run();
    outcome.map_err(|differences| {
        let trace = lock(&cluster).take_trace();
        Failure { seed, mode: options.mode, differences, trace }
    })
}

struct World {
    random: Random,
    options: Options,
    truth: ManualWall,
    skew_ms: Arc<AtomicI64>,
    cluster: Shared,
    processes: Vec<Process>,
    /// Where the workload comes in.
    ingest: Handle,
    crashes: Crashes,
    partition_options: touchline_processor::Options,
    /// Which processes keep standbys.
    standbys: u64,
    workload: Workload,
    /// Consumers that read while everything goes wrong, and start again now and then.
    followers: Vec<Follower>,
    clients: Clients,
    report: Report,
}

impl Plant {
    const fn lane(self) -> LanePlant {
        match self {
            Self::Lane(plant) => plant,
            Self::AbortUnverified | Self::AbortSameEpoch => LanePlant::AbortAndRetry,
            Self::UnstableMarker => LanePlant::MarkerOnly,
            _ => LanePlant::None,
        }
    }

    const fn partition(self) -> PartitionPlant {
        match self {
            Self::Partition(plant) => plant,
            _ => PartitionPlant::None,
        }
    }

    fn switches(self) -> Switches {
        Switches {
            verification: !matches!(self, Self::NoVerification | Self::AbortUnverified),
            require_stable: self != Self::UnstableMarker,
        }
    }
}

impl Options {
    fn setup(self) -> Setup {
        Setup {
            mode: self.mode,
            group_metadata: self.plant != Plant::NoGroupMetadata,
            shared_id: self.plant != Plant::NoFence,
            bump_after_abort: self.plant != Plant::AbortSameEpoch,
        }
    }

    fn handle(self, cluster: &Shared, process: usize) -> Handle {
        let ignores_owner = self.plant == Plant::NotOwnerIgnored;
        Handle::new(cluster, PARTITIONS, process, self.setup(), self.plant.lane(), ignores_owner)
    }
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let mut random = Random::new(seed);
        let (truth, skew_ms) = (ManualWall::new(START), Arc::new(AtomicI64::new(0)));
        let wall = SkewedWall { truth: truth.clone(), skew_ms: Arc::clone(&skew_ms) };
        let switches = options.plant.switches();
        let cluster = Cluster::new(PARTITIONS, PROCESSES, wall, switches, Random::new(random.next()));
        lock(&cluster).set_trace(options.trace);
        let crashes = Crashes::new(CRASH_PERMILLE, Random::new(random.next()));
        let processes = (0..PROCESSES).map(|number| {
            let blindly = options.plant == Plant::StandbyTakesNothingOver;
            Process::new(number, options.handle(&cluster, number), MemoryStores::new(), blindly)
        });
        let partition_options = touchline_processor::Options {
            faults: crashes.faults(),
            plant: options.plant.partition(),
            ..touchline_processor::Options::default()
        };
        Self {
            options,
            truth,
            skew_ms,
            processes: processes.collect(),
            ingest: options.handle(&cluster, PROCESSES),
            cluster,
            crashes,
            partition_options,
            standbys: random.next(),
            workload: Workload::new(Random::new(random.next())),
            followers: Follower::of_all(PARTITIONS),
            random,
            clients: Clients::new(options.plant == Plant::AcknowledgeRefused),
            report: Report::default(),
        }
    }

    fn run(mut self) -> Result<Report, Wrong> {
        self.ask(Workload::activation(self.truth.now()));
        self.rest()?;
        for link in Workload::links(self.truth.now()) {
            self.ask(link);
        }
        self.rest()?;
        self.set_faults(true);
        for _ in 0..ACTIONS {
            self.act()?;
        }
        self.set_faults(false);
        self.skew_ms.store(0, Ordering::SeqCst);
        self.rest()?;
        // What is still planned falls due, in a few jumps of different lengths.
        for hours in [20, 50, 31 * 24] {
            self.truth.advance(self.truth.now().plus(Span::hours(hours)));
            self.rest()?;
        }
        self.judge()
    }

    fn set_faults(&mut self, on: bool) {
        self.crashes.set(on);
        lock(&self.cluster).set_faults(on);
    }

    /// One thing happens.
    fn act(&mut self) -> Result<(), Wrong> {
        let process = self.some(PROCESSES);
        match self.random.below(1_000) {
            0..=139 => {
                let input = self.workload.next(self.truth.now());
                self.ask(input);
            }
            140..=419 => {
                let partition = u32::try_from(self.some(PARTITIONS as usize)).expect("small");
                if self.random.chance(POLL_PERMILLE) {
                    self.poll(process);
                }
                for _ in 0..=self.random.below(4) {
                    self.step(process, partition)?;
                }
            }
            420..=649 => {
                for _ in 0..=self.random.below(LANE_STEPS_MAX) {
                    self.step_lane(process);
                }
            }
            650..=789 => {
                let count = self.random.below(8);
                let mut cluster = lock(&self.cluster);
                (0..=count).for_each(|_| cluster.deliver());
            }
            790..=829 => lock(&self.cluster).late_arrives(),
            830..=879 => {
                let count = self.random.below(4);
                let mut cluster = lock(&self.cluster);
                (0..=count).for_each(|_| cluster.write_some_marker());
            }
            880..=884 => lock(&self.cluster).time_out(),
            885..=889 => lock(&self.cluster).materialise(),
            890..=919 => {
                let by = *self.random.pick(&[3, 60, 60, 400, 400, 2_500, 2_500, 12_000, 60_000, 5_400_000, 30_000_000]);
                self.truth.advance(self.truth.now().plus(Span(by)));
            }
            920..=923 => {
                let skew = *self.random.pick(&[0, 0, -5_000, -700, 2_000, 7_500_000]);
                self.skew_ms.store(skew, Ordering::SeqCst);
            }
            924..=931 => self.persist(process),
            932..=935 => self.checkpoint(process),
            936..=949 => self.poll(process),
            950..=955 => self.pause(process),
            956..=980 => self.resume(process),
            981..=986 => self.rebalance(),
            987..=988 => self.kill(process, "anywhere"),
            989..=992 => self.follow(5).map_err(|error| vec![error.to_string()])?,
            _ => self.hear_everybody(),
        }
        self.hear_answers();
        Ok(())
    }

    fn some(&mut self, of: usize) -> usize {
        usize::try_from(self.random.below(of as u64)).expect("small")
    }

    /// What a process does with a partition, as far as it knows.
    fn role(&self, process: usize, partition: u32) -> Role {
        let slot = &self.processes[process].slots[partition as usize];
        let holds_on = match slot {
            Slot::TakingOver { .. } => true,
            Slot::Open(open) => open.role == Role::Owner,
            Slot::Absent => false,
        };
        let ignores = self.options.plant == Plant::NotOwnerIgnored && holds_on;
        if ignores || lock(&self.cluster).group.is_assigned(process, partition) {
            return Role::Owner;
        }
        let bit = process * PARTITIONS as usize + partition as usize;
        if self.standbys >> bit & 1 == 1 { Role::Standby } else { Role::Absent }
    }

    fn step(&mut self, number: usize, partition: u32) -> Result<(), Wrong> {
        let role = self.role(number, partition);
        let process = &mut self.processes[number];
        if process.life != Life::Running {
            return Ok(());
        }
        let ended = process.step(partition, role, &self.truth, &self.partition_options);
        if let Ended::Dead(point) = ended.map_err(|broken| vec![broken])? {
            self.kill(number, point);
        }
        Ok(())
    }

    fn step_lane(&mut self, number: usize) {
        let process = &self.processes[number];
        if process.life != Life::Running || process.handle.lanes() == 0 {
            return;
        }
        let at = usize::try_from(self.random.below(process.handle.lanes() as u64)).expect("small");
        if let Stepped::At(point) = process.handle.step_lane(at)
            && self.crashes.decide_at(LANE_CRASH_PERMILLE) == Verdict::Crash
        {
            self.kill(number, point.name());
        }
    }

    fn persist(&mut self, number: usize) {
        let batches = self.some(6);
        for slot in &self.processes[number].slots {
            if let Slot::Open(open) = slot {
                open.store.persist(batches);
            }
        }
    }

    fn checkpoint(&mut self, number: usize) {
        let partition = u32::try_from(self.some(PARTITIONS as usize)).expect("small");
        let of_all: Vec<_> = self.processes.iter().map(|process| process.stores.clone()).collect();
        self.processes[number].checkpoint(partition, &of_all);
        self.count("checkpoint");
    }

    fn poll(&self, number: usize) {
        if self.processes[number].life == Life::Running {
            lock(&self.cluster).group.poll(number);
        }
    }

    /// It stands still; the group gives its partitions away, now or when it likes.
    fn pause(&mut self, number: usize) {
        if self.processes[number].life != Life::Running {
            return;
        }
        self.processes[number].life = Life::Paused;
        lock(&self.cluster).note(|| format!("process {number} stands still"));
        self.count("pause");
        if self.random.chance(700) {
            self.rebalance();
        }
    }

    /// A paused process goes on where it stood; a dead one starts.
    fn resume(&mut self, number: usize) {
        match self.processes[number].life {
            Life::Running => {}
            Life::Paused => {
                self.processes[number].life = Life::Running;
                lock(&self.cluster).note(|| format!("process {number} goes on"));
            }
            Life::Dead => {
                let handle = self.options.handle(&self.cluster, number);
                let process = &self.processes[number];
                let (stores, blindly) = (process.stores.clone(), process.promotes_blindly);
                self.processes[number] = Process::new(number, handle, stores, blindly);
                self.count("restart");
            }
        }
    }

    /// Partitions are given to those that run.
    fn rebalance(&mut self) {
        let running = |process: &&Process| process.life == Life::Running;
        let running: Vec<_> = self.processes.iter().filter(running).map(|process| process.number).collect();
        if running.is_empty() {
            return;
        }
        let mut owners = lock(&self.cluster).group.owners().to_vec();
        for owner in &mut owners {
            if !running.contains(owner) || self.random.chance(500) {
                *owner = *self.random.pick(&running);
            }
        }
        let mut cluster = lock(&self.cluster);
        cluster.note(|| format!("owners are {owners:?}"));
        cluster.group.rebalance(owners);
        drop(cluster);
        self.count("rebalance");
    }

    /// A process dies; its stores keep what was flushed, or a little more, or are lost or damaged.
    fn kill(&mut self, number: usize, at: &'static str) {
        if self.processes[number].life == Life::Dead {
            return;
        }
        *self.report.crashes.entry(at).or_default() += 1;
        lock(&self.cluster).note(|| format!("process {number} dies: {at}"));
        let batches = self.some(4);
        self.processes[number].die(batches);
        for partition in 0..PARTITIONS {
            let stores = &self.processes[number].stores;
            match self.random.below(100) {
                0..=9 => stores.discard(partition).expect("memory discards"),
                10..=11 => stores.damage_store(partition, "a block does not match its checksum"),
                _ => {}
            }
        }
        lock(&self.cluster).group.forget(number);
    }

    fn count(&mut self, fault: &'static str) {
        *self.report.faults.entry(fault).or_default() += 1;
    }

    fn ask(&mut self, input: Input) {
        self.clients.ask(&self.ingest, input);
    }

    /// Consumers read on, each of them sometimes after a restart.
    fn follow(&mut self, records_max: usize) -> Result<(), touchline_log::Error> {
        for follower in &mut self.followers {
            if self.random.chance(300) {
                follower.restart();
            }
            follower.read(&self.ingest, records_max)?;
        }
        Ok(())
    }

    fn hear_everybody(&self) {
        for process in self.processes.iter().filter(|process| process.life == Life::Running) {
            process.handle.hear(usize::MAX);
        }
    }

    fn hear_answers(&mut self) {
        self.ingest.hear(usize::MAX);
        self.clients.hear(&self.ingest);
    }

    /// Lets everybody work until nothing is left to do; time passes as it has to.
    fn rest(&mut self) -> Result<(), Wrong> {
        for round in 0..REST_ROUNDS_MAX {
            for number in 0..PROCESSES {
                self.resume(number);
                self.poll(number);
            }
            self.settle_cluster(round);
            for number in 0..PROCESSES {
                for _ in 0..4 * self.processes[number].handle.lanes() {
                    self.step_lane(number);
                }
                for partition in 0..PARTITIONS {
                    self.step(number, partition)?;
                }
            }
            self.hear_everybody();
            self.hear_answers();
            // Pauses and delays are over sooner or later.
            let by = if round % 8 == 7 { 130 } else { 0 };
            self.truth.advance(self.truth.now().plus(Span(by)));
            if self.is_quiet() {
                return Ok(());
            }
        }
        let mut wrong = vec![format!("does not come to rest within {REST_ROUNDS_MAX} rounds at {}", self.truth.now())];
        wrong.push(lock(&self.cluster).standing());
        for process in &self.processes {
            for slot in &process.slots {
                if let Slot::Open(open) = slot {
                    wrong.push(format!("process {}: {:?}", process.number, open.partition.status()));
                }
            }
        }
        Err(wrong)
    }

    fn settle_cluster(&self, round: u32) {
        let mut cluster = lock(&self.cluster);
        for _ in 0..8 {
            cluster.deliver();
            cluster.late_arrives();
            cluster.write_some_marker();
        }
        cluster.materialise();
        if round % 16 == 15 {
            cluster.time_out();
        }
    }

    /// Nothing is under way, and every partition has one owner: the one that the group says.
    fn is_quiet(&self) -> bool {
        let cluster = lock(&self.cluster);
        if !self.clients.are_served() || !cluster.is_quiet() {
            return false;
        }
        let owners: Vec<_> = cluster.group.owners().to_vec();
        drop(cluster);
        let owned_right = |process: &Process| {
            (0..PARTITIONS).zip(&owners).all(|(id, owner)| process.owns(id) == (*owner == process.number))
        };
        self.processes.iter().all(|process| owned_right(process) && process.is_quiet())
    }

    fn judge(mut self) -> Result<Report, Wrong> {
        let plain = View::plain(&self.cluster, PARTITIONS);
        let view = match (self.options.mode, self.options.plant) {
            (Mode::Transactional, _) | (_, Plant::PlainConsumer) => plain,
            (Mode::Sequenced, _) => {
                self.follow(usize::MAX).map_err(|error| vec![error.to_string()])?;
                plain.ruled(std::mem::take(&mut self.followers))
            }
        };
        let gaps = view.gaps_and_repeats();
        if !gaps.is_empty() {
            return Err(gaps);
        }
        let stores = self.stores();
        let verdict = judge::judge(&view, Gaps::Repaired, self.clients.acknowledged(), &stores)?;
        self.report.records = verdict.records;
        self.report.outputs = verdict.outputs;
        self.report.acknowledged = self.clients.acknowledged().len() as u64;
        self.report.due = verdict.due;
        self.report.forwarded = verdict.forwarded;
        let cluster = lock(&self.cluster);
        self.report.faults.insert("torn publication", cluster.torn);
        self.report.faults.insert("publication", cluster.publications);
        drop(cluster);
        Ok(self.report)
    }

    /// Stores of owners and standbys: at rest both have applied everything.
    fn stores(&self) -> Vec<(u32, SharedStore)> {
        let mut stores = Vec::new();
        for process in &self.processes {
            for (id, slot) in (0..).zip(&process.slots) {
                if let Slot::Open(open) = slot {
                    stores.push((id, open.store.clone()));
                }
            }
        }
        stores
    }
}
