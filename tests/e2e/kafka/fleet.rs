//! Processes of one deployment, some of them armed to end at a counted point; whoever ends is started again.

use crate::setting::{Member, PARTITIONS, Setting, activate, is_at_rest};
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use touchline_broker::{Cluster, Options};
use touchline_kafka::KafkaLog;
use touchline_log::{Log, SystemWall, Topic, Wall};
use touchline_model::time::Time;
use touchline_tests::load::Load;
use touchline_tests::{Seeded, Server};

/// Longest wait for anything: several sessions, a broker's restart, everything replayed.
const WAIT: Duration = Duration::from_secs(90);
/// A publication that has not come this long after a fault may never come.
const REPAIR_AFTER: Duration = Duration::from_secs(25);
/// No transaction lasts so long: brokers end those of a processor after 10 s.
const TRANSACTION_MS_MAX: i64 = 20_000;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Processors, and how many of them may be armed at a time: somebody has to get on with the work.
const PROCESSORS: [&str; 3] = ["a", "b", "c"];
const ARMED_MAX: usize = 2;
/// SIGABRT: how an armed process ends.
const ABORTED: i32 = 6;

/// A counted point and the passage to end at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) point: &'static str,
    pub(crate) passage: u64,
}

/// Three processors, one ingest, one query, a load, and somebody who looks on.
pub(crate) struct Fleet {
    pub(crate) cluster: Cluster,
    pub(crate) setting: Setting,
    pub(crate) log: KafkaLog,
    pub(crate) load: Load,
    pub(crate) seeded: Seeded,
    ingest: Server,
    pub(crate) query: Server,
    slots: Vec<Slot>,
    /// Not yet handed to a process.
    queue: VecDeque<Kill>,
    pub(crate) tally: Tally,
    started: Instant,
    /// Dropped last: the others write into it.
    directory: Kept,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Processes killed, by point; `random` for SIGKILL.
    pub(crate) kills: BTreeMap<&'static str, u64>,
    /// Other disturbances.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Processes that ended by themselves, and what they said.
    pub(crate) endings: Vec<String>,
}

impl Tally {
    pub(crate) fn kills(&self) -> u64 {
        self.kills.values().sum()
    }

    pub(crate) fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }
}

struct Slot {
    name: &'static str,
    server: Option<Server>,
    armed: Option<Kill>,
    /// Its stores are removed before it starts again.
    loses_store: bool,
}

impl Fleet {
    /// Starts everything; the playbook is in force and the load runs.
    pub(crate) fn start(publish: &'static str, brokers: u32, seeded: Seeded) -> Option<Self> {
        let directory = Kept::new();
        // With the rest: what a broker wrote says why a transaction hangs.
        let kept = Some(directory.path().join("brokers"));
        let cluster = touchline_broker::start_or_skip(&Options { brokers, directory: kept, ..Options::default() })?;
        let setting = Setting::new(&cluster.bootstrap(), publish, publish, brokers, directory.path());
        let query = setting.start(&Member::new("query", "query")).expect("query starts");
        let ingest = setting.start(&behind(&cluster, Member::new("ingest", "ingest"))).expect("ingest starts");
        let slot = |name| Slot { name, server: None, armed: None, loses_store: false };
        let load = Load::start(3, Duration::from_millis(40));
        let mut fleet = Self {
            log: setting.observe(),
            load,
            seeded,
            ingest,
            query,
            slots: PROCESSORS.map(slot).into(),
            queue: VecDeque::new(),
            tally: Tally::default(),
            started: Instant::now(),
            cluster,
            setting,
            directory,
        };
        fleet.supervise();
        activate(&fleet.query);
        fleet.load.point_at(Some(&fleet.ingest.http));
        Some(fleet)
    }

    /// Hands these to processes as they start, one after another.
    pub(crate) fn arm(&mut self, kills: impl IntoIterator<Item = Kill>) {
        self.queue.extend(kills);
    }

    /// Whether every point was reached.
    pub(crate) fn all_reached(&self) -> bool {
        self.queue.is_empty() && self.slots.iter().all(|slot| slot.armed.is_none())
    }

    /// Starts again whichever processor ended. Nobody ends the others: if one has, that is a finding.
    pub(crate) fn supervise(&mut self) {
        for (name, other) in [("ingest", &mut self.ingest), ("query", &mut self.query)] {
            let ended = other.ended();
            assert!(ended.is_none(), "{name} ended by itself: {ended:?}\nkept: {}", self.directory.path().display());
        }
        for index in 0..self.slots.len() {
            if let Some(status) = self.slots[index].server.as_mut().and_then(Server::ended) {
                self.slots[index].server = None;
                self.ended(index, status);
            }
            if self.slots[index].server.is_none() {
                self.start_slot(index);
            }
        }
    }

    fn start_slot(&mut self, index: usize) {
        let armed = self.slots.iter().filter(|slot| slot.armed.is_some()).count();
        if self.slots[index].armed.is_none() && armed < ARMED_MAX {
            self.slots[index].armed = self.queue.pop_front();
        }
        let slot = &mut self.slots[index];
        if std::mem::take(&mut slot.loses_store) {
            let removed = std::fs::remove_dir_all(self.setting.data(slot.name).join("store"));
            assert!(removed.is_ok(), "{removed:?}");
        }
        let kill_at = slot.armed.as_ref().map(|kill| format!("{}:{}", kill.point, kill.passage));
        let standby = if index == 2 { "standby = true\n" } else { "" };
        let processor = format!("{}{standby}", self.setting.with_checkpoints());
        let member = Member { kill_at, processor, ..Member::new(slot.name, "processor") };
        match self.setting.start(&behind(&self.cluster, member)) {
            Ok(server) => self.slots[index].server = Some(server),
            Err(status) => self.ended(index, status),
        }
    }

    fn ended(&mut self, index: usize, status: ExitStatus) {
        let slot = &mut self.slots[index];
        match (&slot.armed, status.signal()) {
            (Some(kill), Some(ABORTED)) => {
                *self.tally.kills.entry(kill.point).or_default() += 1;
                slot.armed = None;
                self.lose_a_store(index);
            }
            _ => {
                let said = self.setting.said(slot.name);
                let lines: Vec<&str> = said.lines().rev().take(3).collect();
                let lines = lines.into_iter().rev().collect::<Vec<_>>().join(" | ");
                self.tally.endings.push(format!("{}: {status}: {lines}", slot.name));
            }
        }
    }

    /// Every third process that is killed comes back without its stores.
    fn lose_a_store(&mut self, index: usize) {
        if self.seeded.below(3) == 0 && self.setting.data(self.slots[index].name).join("store").exists() {
            self.slots[index].loses_store = true;
            self.tally.fault("stores removed");
        }
    }

    /// SIGKILL of one processor; it is started again at the next look.
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(mut server) = self.slots[index].server.take() {
            server.kill();
            *self.tally.kills.entry("random").or_default() += 1;
            self.lose_a_store(index);
        }
    }

    /// A processor that runs, by preference one that is not armed.
    pub(crate) fn pick(&mut self) -> usize {
        self.supervise();
        let free: Vec<usize> = (0..self.slots.len()).filter(|&index| self.slots[index].armed.is_none()).collect();
        let count = if free.is_empty() { self.slots.len() } else { free.len() };
        let chosen = usize::try_from(self.seeded.below(count as u64)).expect("small");
        free.get(chosen).copied().unwrap_or(chosen)
    }

    pub(crate) fn name(&self, index: usize) -> &'static str {
        self.slots[index].name
    }

    /// SIGSTOP or SIGCONT. Nothing where the process has ended meanwhile.
    pub(crate) fn signal(&mut self, index: usize, signal: &str) {
        if let Some(server) = &mut self.slots[index].server
            && !server.has_ended()
        {
            server.signal(signal);
        }
    }

    /// A graceful end; it is started again at the next look.
    pub(crate) fn leave(&mut self, index: usize) {
        let Some(server) = self.slots[index].server.take() else { return };
        let status = server.stop();
        if !status.success() {
            self.ended(index, status);
        }
    }

    /// Looks at a condition until it holds, and starts again whoever ended meanwhile.
    pub(crate) fn wait_for(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let give_up_at = Instant::now() + WAIT;
        while !holds(self) {
            assert!(Instant::now() < give_up_at, "waited {} s for {what}\n{}", WAIT.as_secs(), self.report());
            self.supervise();
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Waits until everything that lies in `events` now is published, and more is acknowledged.
    pub(crate) fn progress(&mut self, after: &str) {
        let (at_s, kills) = (self.started.elapsed().as_secs_f32(), self.tally.kills());
        eprintln!("{at_s:6.1} s, {kills} kills: {after}");
        let enough = self.load.count() + 20;
        self.wait_for(&format!("acknowledgements after {after}"), |fleet| fleet.load.count() >= enough);
        let mut ends = None;
        self.wait_for(&format!("the end of events after {after}"), |fleet| {
            let log = &fleet.log;
            let found: Result<Vec<u64>, _> = (0..PARTITIONS).map(|id| log.end_now(Topic::Events, id)).collect();
            ends = found.ok();
            ends.is_some()
        });
        let ends = ends.expect("waited for");
        let (began, mut is_repaired) = (Instant::now(), false);
        self.wait_for(&format!("publications after {after}"), |fleet| {
            if !is_repaired && began.elapsed() > REPAIR_AFTER && fleet.has_skipped_markers() {
                is_repaired = true;
                fleet.abort_hanging();
            }
            // A broker that is away answers nothing; it comes back.
            let behind = |(id, end): (u32, &u64)| {
                let _ = fleet.log.end_now(Topic::Contacts, id);
                fleet.log.published(id).map_or(true, |marker| marker.offset < *end)
            };
            !(0..).zip(&ends).any(behind)
        });
    }

    /// Ends the load, waits until everything is at rest, and stops the processors gracefully.
    pub(crate) fn finish(mut self) -> Finished {
        let load = std::mem::replace(&mut self.load, Load::start(0, Duration::ZERO));
        let acknowledged = load.finish();
        self.wait_for("rest", |fleet| is_at_rest(&fleet.log).unwrap_or(false));
        self.supervise();
        self.query.settle();
        let servers: Vec<Server> = self.slots.iter_mut().filter_map(|slot| slot.server.take()).collect();
        servers.iter().for_each(|server| server.signal("TERM"));
        for mut server in servers {
            assert!(server.wait().success(), "a graceful end\n{}", self.report());
        }
        assert!(is_at_rest(&self.log).expect("readable"), "stopping left work behind");
        let stores = self.slots.iter().map(|slot| self.setting.data(slot.name).join("store")).collect();
        Finished { fleet: self, acknowledged, stores }
    }

    /// Whether a broker has called a transaction complete without its markers. One that is its own controller loads
    /// transactions before it knows any leader, takes partitions without one for deleted, and skips them (Kafka 4.3.0):
    /// they stay open for ever, whatever a producer does.
    fn has_skipped_markers(&self) -> bool {
        let text = self.cluster.log(1).ok().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
        String::from_utf8_lossy(&text).contains("these partitions are likely deleted already and hence can be skipped")
    }

    /// What an operator does about it: `kafka-transactions abort` for each transaction that is open longer than any may be.
    fn abort_hanging(&self) {
        let outputs = touchline_log::lane::OUTPUTS.map(|topic| self.setting.topic(topic));
        let topics = outputs.iter().map(String::as_str).chain(["__consumer_offsets"]);
        for (topic, partition) in topics.flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition))) {
            let place = ["--topic", topic, "--partition", &partition.to_string()];
            let described = self.transactions(&[&["describe-producers"], &place[..]].concat());
            for start in described.lines().filter_map(hanging_since) {
                eprintln!("a transaction without its markers is aborted by hand: {topic}/{partition} from {start}");
                self.transactions(&[&["abort"], &place[..], &["--start-offset", start]].concat());
            }
        }
    }

    /// What the brokers know of transactions, where a publication does not come to its end.
    fn hanging(&self) -> String {
        let mut text = self.transactions(&["list"]);
        let open = |id: &u32| self.log.published(*id).is_err();
        for partition in (0..PARTITIONS).filter(open) {
            for topic in touchline_log::lane::OUTPUTS {
                let (name, id) = (self.setting.topic(topic), partition.to_string());
                let described = self.transactions(&["describe-producers", "--topic", &name, "--partition", &id]);
                text += &format!("{name}/{id}\n{described}");
            }
        }
        text
    }

    /// Kafka's own tool for transactions.
    fn transactions(&self, arguments: &[&str]) -> String {
        let Ok(jars) = self.cluster.jars() else { return String::new() };
        let brokers = ["--bootstrap-server", &self.setting.brokers];
        let ran = jars.java("org.apache.kafka.tools.TransactionsCommand").args(brokers).args(arguments).output();
        ran.map_or_else(|error| error.to_string(), |ran| String::from_utf8_lossy(&ran.stdout).into_owned())
    }

    fn report(&self) -> String {
        let rest: Vec<String> = (0..PARTITIONS)
            .map(|id| {
                let end = self.log.end_now(Topic::Events, id);
                let published = self.log.published(id).map(|marker| marker.offset);
                format!("{id}: {published:?} of {end:?}")
            })
            .collect();
        let hanging = self.hanging();
        let armed: Vec<_> = self.slots.iter().map(|slot| (slot.name, slot.armed.as_ref())).collect();
        format!(
            "published {rest:?}\n{hanging}\narmed {armed:?}, left {}\n{:?}\nkept: {}",
            self.queue.len(),
            self.tally,
            self.directory.path().display()
        )
    }
}

/// A fleet that has ended, for the judge.
pub(crate) struct Finished {
    pub(crate) fleet: Fleet,
    pub(crate) acknowledged: Vec<touchline_model::id::EventId>,
    /// Directories of all processors' stores.
    pub(crate) stores: Vec<std::path::PathBuf>,
}

fn behind(cluster: &Cluster, member: Member) -> Member {
    Member { brokers: Some(cluster.proxy().expect("our own cluster").bootstrap()), ..member }
}

/// A temporary directory that stays when the test fails.
struct Kept(Option<tempfile::TempDir>);

impl Kept {
    fn new() -> Self {
        Self(Some(tempfile::tempdir().expect("a directory")))
    }

    fn path(&self) -> &std::path::Path {
        self.0.as_ref().expect("until it is dropped").path()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(directory) = self.0.take()
            && std::thread::panicking()
        {
            eprintln!("what the processes said is kept in {}", directory.keep().display());
        }
    }
}

/// Where the open transaction of a producer begins, in a line of `describe-producers` (producer, epoch, coordinator's
/// epoch, sequence, time of the last record, start), if nothing was added to it for longer than any may last.
fn hanging_since(line: &str) -> Option<&str> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [_, _, _, _, last_ms, start] = columns[..] else { return None };
    let (last_ms, _): (i64, u64) = (last_ms.parse().ok()?, start.parse().ok()?);
    let idle = SystemWall.now().since(Time(last_ms));
    (idle.0 > TRANSACTION_MS_MAX).then_some(start)
}
