//! Roles over Kafka: any number of processes, each with any of the roles.

use crate::clock::{Clock, ClockMode, LogClock, LogWall};
use crate::config::Config;
use crate::roles::{IngestPart, Parts, QueryPart, latest};
use crate::serve::Role;
use anyhow::{Context, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;
use touchline_kafka::{Assignment, Group, Hook, KafkaLog, Settings};
use touchline_log::{FollowingWall, Log, ManualWall, SystemWall, Wall};
use touchline_processor::runner::{Health, Role as PartitionRole};
use touchline_processor::{Faults, Handle, Options as ProcessorOptions, Pacing, Processor};
use touchline_query::admin::{ClockControl, WallClock};
use touchline_query::{Options as QueryOptions, Query};
use touchline_rocks::{Links, RocksStores, SharedCache};

/// How often the thread that follows the group looks whether it has to end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// After this much silence a rebalance has said everything.
const REBALANCE_ENDS_AFTER: Duration = Duration::from_millis(20);

/// What is started.
pub(crate) struct Plan<'a> {
    pub(crate) config: &'a Config,
    pub(crate) kafka: Settings,
    pub(crate) roles: BTreeSet<Role>,
    /// Where the processor keeps its stores.
    pub(crate) data_dir: &'a Path,
    pub(crate) clock: ClockMode,
    /// Where a virtual clock starts in an empty log.
    pub(crate) clock_start: touchline_model::time::Time,
}

/// Connects and starts the roles; nothing listens yet. Each role has a connection of its own: it reads the topics at
/// its own pace.
pub(crate) fn start(plan: &Plan<'_>) -> anyhow::Result<Parts> {
    let mut log = None;
    let mut parts = (None, None, None, None);
    if plan.roles.contains(&Role::Processor) {
        let (connected, processor, ownership) = processor(plan)?;
        (parts.0, parts.1) = (Some(processor), Some(ownership));
        log.get_or_insert(connected);
    }
    if plan.roles.contains(&Role::Query) {
        let (connected, query) = query(plan)?;
        parts.2 = Some(query);
        log.get_or_insert(connected);
    }
    if plan.roles.contains(&Role::Ingest) {
        let ingest = ingest(plan)?;
        log.get_or_insert(Arc::clone(&ingest.log));
        parts.3 = Some(ingest);
    }
    let Some(log) = log else { bail!("no role to run\nhint: --roles ingest,processor,query, or some of them") };
    let (processor, ownership, query, ingest) = parts;
    let watched = (processor.as_ref().map(Arc::downgrade), query.as_ref().map(|query| Arc::downgrade(&query.handle)));
    let failure = move || {
        let (processor, query) = &watched;
        let health = processor.as_ref().and_then(|processor| processor.upgrade()).map(|processor| processor.health());
        let alive = query.as_ref().and_then(|query| query.upgrade()).is_none_or(|query| query.is_alive());
        match (health, alive) {
            (Some(Health::Failed), _) => Some("the log failed under the processor".to_owned()),
            (_, false) => Some("the read model has stopped".to_owned()),
            _ => None,
        }
    };
    let ownership = ownership.map(|ownership| Box::new(ownership) as Box<dyn Send>);
    Ok(Parts { log, failure: Arc::new(failure), processor, ownership, query, ingest })
}

type Started = (Arc<dyn Log>, Arc<Handle>, Ownership);

fn processor(plan: &Plan<'_>) -> anyhow::Result<Started> {
    let config = &plan.config.processor;
    let (wall, pacing): (Arc<dyn Wall>, _) = match plan.clock {
        ClockMode::System => (Arc::new(SystemWall), Pacing::Real),
        // It stands where the records read so far say: whoever moves the clock appends them.
        ClockMode::Manual => (Arc::new(FollowingWall(ManualWall::new(plan.clock_start))), Pacing::Virtual),
    };
    let log = Arc::new(connect(plan, "processor", &wall)?);
    let stores = RocksStores::new(
        plan.data_dir.join("store"),
        config.checkpoint_dir.clone(),
        Links::WherePossible,
        SharedCache::new(config.cache_bytes()),
    );
    let options = ProcessorOptions {
        pacing,
        faults: Faults::from_env(),
        checkpoint_every: config.checkpoint_every(),
        ..ProcessorOptions::default()
    };
    let shared: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
    let processor = Arc::new(Processor::start(Arc::clone(&shared), Arc::new(stores), wall, options));
    let group = log.join().context("joining the consumer group")?;
    let ownership = Ownership::follow(group, &processor, log.partitions(), config.standby)?;
    Ok((shared, processor, ownership))
}

fn query(plan: &Plan<'_>) -> anyhow::Result<(Arc<dyn Log>, QueryPart)> {
    let clock = match plan.clock {
        ClockMode::System => Clock::System,
        ClockMode::Manual => Clock::Manual(ManualWall::new(plan.clock_start)),
    };
    let log: Arc<dyn Log> = Arc::new(connect(plan, "query", &clock.wall())?);
    let handle =
        Arc::new(Query::start(Arc::clone(&log), QueryOptions { wall: clock.wall(), ..QueryOptions::default() }));
    let control: Arc<dyn ClockControl> = match clock {
        Clock::System => Arc::new(WallClock),
        Clock::Manual(wall) => {
            wall.advance(latest(log.as_ref())?);
            Arc::new(LogClock { query: Arc::downgrade(&handle), log: Arc::clone(&log), wall })
        }
    };
    Ok((log, QueryPart { handle, clock: control }))
}

fn ingest(plan: &Plan<'_>) -> anyhow::Result<IngestPart> {
    let settings = plan.config.ingest.load().context("in the configuration, section [ingest]")?;
    let wall: Arc<dyn Wall> = match plan.clock {
        ClockMode::System => Arc::new(SystemWall),
        ClockMode::Manual => {
            let unused: Arc<dyn Wall> = Arc::new(ManualWall::new(plan.clock_start));
            Arc::new(LogWall::new(connect(plan, "ingest-clock", &unused)?, plan.clock_start))
        }
    };
    let log: Arc<dyn Log> = Arc::new(connect(plan, "ingest", &wall)?);
    Ok(IngestPart { settings, log, wall })
}

fn connect(plan: &Plan<'_>, role: &str, wall: &Arc<dyn Wall>) -> anyhow::Result<KafkaLog> {
    let settings = Settings { role: role.to_owned(), ..plan.kafka.clone() };
    let brokers = settings.brokers.clone();
    let connected = KafkaLog::connect_with_hook(settings, Arc::clone(wall), kill_hook());
    connected.with_context(|| format!("connecting to Kafka at {brokers}"))
}

/// Crash tests end the process at points of the publisher lane, too.
fn kill_hook() -> Option<Hook> {
    let kill = touchline_processor::faults::Countdown::from_env()?;
    Some(Arc::new(move |point: touchline_log::lane::LanePoint| kill.passed(point.name())))
}

/// Gives the processor the partitions that the group gives to this process. Dropping it leaves the group.
struct Ownership {
    group: Arc<Group>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ownership {
    fn follow(group: Arc<Group>, processor: &Arc<Handle>, partitions: u32, standby: bool) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let not_ours = if standby { PartitionRole::Standby } else { PartitionRole::Absent };
        let thread = std::thread::Builder::new().name("ownership".to_owned()).spawn({
            let (events, stop, processor) = (group.events(), Arc::clone(&stop), Arc::downgrade(processor));
            move || {
                let mut wanted: BTreeMap<u32, PartitionRole> = (0..partitions).map(|id| (id, not_ours)).collect();
                let mut changed: BTreeSet<u32> =
                    if standby { wanted.keys().copied().collect() } else { BTreeSet::new() };
                while !stop.load(Ordering::SeqCst) {
                    if !changed.is_empty() {
                        let Some(processor) = processor.upgrade() else { return };
                        let roles = std::mem::take(&mut changed).into_iter().map(|id| (id, wanted[&id]));
                        if let Err(error) = processor.assign(roles) {
                            tracing::error!(%error, "partitions could not be taken up");
                        }
                    }
                    if !hear(&events, not_ours, &mut wanted, &mut changed) {
                        return;
                    }
                }
            }
        })?;
        Ok(Self { group, stop, thread: Some(thread) })
    }
}

/// Waits for what the group decides, and takes all of it that is there. Whether it goes on.
fn hear(
    events: &Receiver<Assignment>,
    not_ours: PartitionRole,
    wanted: &mut BTreeMap<u32, PartitionRole>,
    changed: &mut BTreeSet<u32>,
) -> bool {
    let first = match events.recv_timeout(LOOK_EVERY) {
        Ok(first) => first,
        Err(RecvTimeoutError::Timeout) => return true,
        Err(RecvTimeoutError::Disconnected) => return false,
    };
    // A rebalance says what it has to say one by one: what belongs together is taken up together.
    let mut heard = vec![first];
    while let Ok(next) = events.recv_timeout(REBALANCE_ENDS_AFTER) {
        heard.push(next);
    }
    for event in heard {
        let (partition, role) = match event {
            Assignment::Assigned(partition) => (partition, PartitionRole::Owner),
            Assignment::Revoked(partition) | Assignment::Lost(partition) => (partition, not_ours),
        };
        tracing::info!(partition, ?event, "the group decided");
        wanted.insert(partition, role);
        changed.insert(partition);
    }
    true
}

impl Drop for Ownership {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of ownership panicked");
        }
        self.group.leave();
    }
}
