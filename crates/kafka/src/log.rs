//! The log.

use crate::config::{Clients, Clock, Names, Settings};
use crate::context::Quiet;
use crate::ends::Ends;
use crate::error::Error;
use crate::group::Group;
use crate::lane::{self, Hook, Owners};
use crate::producer::{Appender, Room};
use crate::reader::Reader;
use crate::topics;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use touchline_log::lane::{LanePoint, Mode};
use touchline_log::{
    Ack, Appended, Error as LogError, Log, Marker, NewRecord, Signal, StoredRecord, TakenOver, Topic, Wall,
};

/// The log on Kafka. Share it in an [`Arc`]. Dropping it waits a few seconds for appends that are under way.
pub struct KafkaLog {
    shared: Arc<Shared>,
}

/// What a log and its publisher lanes have in common.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) mode: Mode,
    pub(crate) names: Names,
    pub(crate) clients: Clients,
    pub(crate) ends: Arc<Ends>,
    pub(crate) signal: Signal,
    pub(crate) owners: Owners,
    pub(crate) reader: Reader,
    pub(crate) appender: Appender,
    /// Sees everything, open transactions included.
    pub(crate) admin: BaseConsumer<Quiet>,
    /// Stamps records, with a manual clock.
    pub(crate) wall: Option<Arc<dyn Wall>>,
    group: OnceLock<Arc<Group>>,
    cluster_id: String,
    /// The last markers found in `contacts`, by partition.
    markers: Vec<Mutex<LastMarker>>,
    hook: Option<Hook>,
}

#[derive(Default)]
struct LastMarker {
    marker: Marker,
    /// Everything below was looked at.
    looked_to: u64,
}

impl KafkaLog {
    /// Connects, and refuses to go on where topics or brokers are not set up as the protocol needs them. `wall` stamps
    /// records when the clock is [`Clock::Manual`]. Blocks for up to some seconds.
    pub fn connect(settings: Settings, wall: Arc<dyn Wall>) -> Result<Self, Error> {
        Self::connect_with_hook(settings, wall, None)
    }

    /// As [`KafkaLog::connect`]; `hook` is called at every point of every publisher lane, for crash tests.
    pub fn connect_with_hook(settings: Settings, wall: Arc<dyn Wall>, hook: Option<Hook>) -> Result<Self, Error> {
        let clients = Clients::new(&settings)?;
        let essential = topics::check_essential(&settings, &clients)?;
        let names = Names::new(&settings);
        let admin: BaseConsumer<Quiet> = clients.admin().create_with_context(Quiet("admin")).map_err(Error::Client)?;
        // Without it a store of another cluster would be taken for one of this.
        let cluster = admin.client().fetch_cluster_id(crate::ends::ASK_WAIT).ok_or_else(|| Error::Unreachable {
            brokers: settings.brokers.clone(),
            reason: "the cluster does not tell its id".to_owned(),
        })?;
        let (ends, signal) = (Arc::new(Ends::new(essential.partitions)), Signal::new());
        let wall = (settings.clock == Clock::Manual).then_some(wall);
        let reader = Reader::new(&clients, names.clone(), Arc::clone(&ends), signal.clone())?;
        let appender = Appender::new(&clients, names.clone(), Arc::clone(&ends), signal.clone(), wall.clone())?;
        let shared = Shared {
            mode: settings.mode(),
            cluster_id: format!("{cluster}/{}", settings.topic_prefix),
            owners: Owners::new(essential.partitions),
            markers: (0..essential.partitions).map(|_| Mutex::default()).collect(),
            group: OnceLock::new(),
            settings,
            names,
            clients,
            ends,
            signal,
            reader,
            appender,
            admin,
            wall,
            hook,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Joins the consumer group: from now on only partitions the group gave to this process can be taken over. A
    /// second call returns the same membership.
    pub fn join(&self) -> Result<Arc<Group>, Error> {
        if let Some(group) = self.shared.group.get() {
            return Ok(Arc::clone(group));
        }
        let config = self.shared.clients.member(self.shared.settings.instance.as_deref());
        let events = self.shared.names.of(Topic::Events);
        let joined = Arc::new(Group::join(&config, events, self.shared.signal.clone())?);
        Ok(Arc::clone(self.shared.group.get_or_init(|| joined)))
    }

    /// As [`Log::end`], asking the broker whatever is known: whatever anybody appended before the call lies below it.
    pub fn end_now(&self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        self.shared.reader.ask_now(topic, partition)?;
        self.shared.reader.end(topic, partition)
    }

    /// What it was connected with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }
}

impl Log for KafkaLog {
    fn partitions(&self) -> u32 {
        self.shared.ends.partitions()
    }

    fn cluster_id(&self) -> String {
        self.shared.cluster_id.clone()
    }

    fn append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        self.shared.appender.append(topic, partition, records, Room::Shared)
    }

    fn append_own(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        self.shared.appender.append(topic, partition, records, Room::Reserved)
    }

    fn read(
        &self,
        topic: Topic,
        partition: u32,
        offset: u64,
        records_max: usize,
    ) -> Result<Vec<StoredRecord>, LogError> {
        self.shared.reader.read(topic, partition, offset, records_max)
    }

    fn end(&self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        self.shared.reader.end(topic, partition)
    }

    fn known_end(&self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        self.shared.reader.known_end(topic, partition)
    }

    fn take_over(&self, partition: u32) -> Ack<TakenOver> {
        lane::take_over(&self.shared, partition)
    }

    fn published(&self, partition: u32) -> Result<Marker, LogError> {
        self.shared.published(partition)
    }

    fn signal(&self) -> &Signal {
        &self.shared.signal
    }
}

impl Shared {
    /// Calls the hook.
    pub(crate) fn reached(&self, point: LanePoint) {
        if let Some(hook) = &self.hook {
            hook(point);
        }
    }

    /// Metadata of this member, as of now; of nobody without a membership.
    pub(crate) fn group_metadata(&self) -> Option<ConsumerGroupMetadata> {
        match self.group.get() {
            Some(group) => group.metadata(),
            None => self.reader.group_metadata(),
        }
    }

    /// With a membership: waits until the group was asked after this call, and checks.
    pub(crate) fn wait_for_ownership(&self, partition: u32) -> Result<(), LogError> {
        if let Some(group) = self.group.get() {
            group.wait_for_poll();
        }
        self.check_assigned(partition)
    }

    pub(crate) fn check_assigned(&self, partition: u32) -> Result<(), LogError> {
        match self.group.get() {
            Some(group) if !group.is_assigned(partition) => Err(LogError::NotOwner { partition }),
            _ => Ok(()),
        }
    }

    /// The last marker that can be read. Whoever sees it can read every record that was published with it: markers of
    /// transactions reach the topics one after another, so the others are waited for.
    fn published(&self, partition: u32) -> Result<Marker, LogError> {
        self.ends.check(partition)?;
        let end = self.reader.end(Topic::Contacts, partition)?;
        let mut last = self.markers[partition as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if end <= last.looked_to {
            return Ok(last.marker.clone());
        }
        // A commit is answered before the markers that end its transaction lie in the topics: a scan would stop short
        // of its records, and they would count as looked at.
        self.wait_for_stable(Topic::Contacts, partition, end)?;
        let found = self.last_marker(partition, last.looked_to, end)?;
        if let Some(marker) = found.filter(|marker| marker.offset >= last.marker.offset) {
            if marker.sequences != last.marker.sequences {
                self.wait_for_outputs(partition)?;
            }
            self.learn_end(partition, &marker)?;
            last.marker = marker;
        }
        last.looked_to = end;
        Ok(last.marker.clone())
    }

    /// Asks for the end of `events` where what is known of it lies below what was published: who tails the partition may
    /// lag behind what others have read, and would take the log for one that lost data.
    pub(crate) fn learn_end(&self, partition: u32, published: &Marker) -> Result<(), LogError> {
        if self.ends.get(self.ends.index(Topic::Events, partition)) < published.offset {
            self.reader.ask_now(Topic::Events, partition)?;
        }
        Ok(())
    }

    /// The last marker in `from..end` of `contacts`, looked for from the back.
    fn last_marker(&self, partition: u32, from: u64, end: u64) -> Result<Option<Marker>, LogError> {
        let (mut to, mut records) = (end, LAST_MARKER_MIN);
        while to > from {
            let window_from = to.saturating_sub(records).max(from);
            let mut found = None;
            self.reader.scan(Topic::Contacts, partition, (window_from, to), &mut |record| {
                found = Marker::in_headers(&record.headers).or_else(|| found.take());
            })?;
            if found.is_some() {
                return Ok(found);
            }
            (to, records) = (window_from, records.saturating_mul(16));
        }
        Ok(None)
    }

    /// Waits until everything that lies in the output topics now can be read.
    fn wait_for_outputs(&self, partition: u32) -> Result<(), LogError> {
        let raw_partition = self.ends.check(partition)?;
        for topic in touchline_log::lane::OUTPUTS {
            let high = crate::ends::watermarks(&self.admin, self.names.of(topic), raw_partition);
            let high = high.map_err(|error| crate::error::io(&error))?.1;
            self.wait_for_stable(topic, partition, high)?;
            self.reader.ask_now(topic, partition)?;
        }
        Ok(())
    }

    /// Waits until everything below `end` can be read.
    fn wait_for_stable(&self, topic: Topic, partition: u32, end: u64) -> Result<(), LogError> {
        let deadline = Instant::now() + crate::reader::READ_WAIT;
        while self.reader.stable(topic, partition)? < end {
            if Instant::now() > deadline {
                return Err(LogError::Unavailable("a transaction stays open".to_owned()));
            }
            thread::sleep(STABLE_PAUSE);
        }
        Ok(())
    }
}

/// Records of `contacts` looked at first when its last marker is wanted.
const LAST_MARKER_MIN: u64 = 16;
/// Between two looks at a transaction that is being ended.
const STABLE_PAUSE: Duration = Duration::from_millis(1);
