//! What `touchline_log::lane` runs on: a producer, a reader and a member of the group, on the simulated cluster.

use crate::broker::{Batch, Outcome, Producer, Refusal, Scope};
use crate::coordinator::Target;
use crate::network::{Answer, Connection, Placed, Request, Shared, lock};
use std::collections::BTreeMap;
use touchline_log::lane::{Client, Drained, Ends, Failure, Mode, OUTPUTS, Reached, Seen, World};
use touchline_log::publish::sequence_in;
use touchline_log::{Error, Marker, NewRecord, Topic};

/// Connections to a coordinator; those to leaders are named by their topic.
const COORDINATOR: u32 = 100;
/// Times that a call waits for a transaction that is ending, as librdkafka does within its time.
const WAITS_MAX: u32 = 3;
/// Looks at the cluster that fail, per thousand.
const LOOK_FAILED_PERMILLE: u64 = 3;
/// Waits for a watermark that last too long, per thousand.
const TOO_LONG_PERMILLE: u64 = 150;

/// How a lane's producers are set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) mode: Mode,
    /// Offsets are committed with the generation of the group.
    pub(crate) group_metadata: bool,
    /// Every producer of a partition has the same transactional id.
    pub(crate) shared_id: bool,
    /// After an abort the producer gets a new epoch.
    pub(crate) bump_after_abort: bool,
}

/// The cluster as one lane sees it.
pub(crate) struct LaneWorld {
    pub(crate) cluster: Shared,
    pub(crate) process: usize,
    pub(crate) partition: u32,
    pub(crate) setup: Setup,
}

/// A producer.
pub(crate) struct LaneClient {
    cluster: Shared,
    process: usize,
    partition: u32,
    setup: Setup,
    client: u64,
    id: Option<String>,
    producer: Option<Producer>,
    queued: Vec<(Topic, NewRecord)>,
    /// Next sequence, and how much of that is acknowledged.
    sequences: BTreeMap<Topic, (u64, u64)>,
    waiting: Vec<Sent>,
}

/// A request that is on its way.
struct Sent {
    topic: Topic,
    /// Next sequence once it is acknowledged.
    next: u64,
    placed: Placed,
}

impl World for LaneWorld {
    type Client = LaneClient;

    fn connect(&mut self) -> Result<LaneClient, Failure> {
        let mut cluster = lock(&self.cluster);
        let client = cluster.new_client();
        let (id, producer) = match (self.setup.mode, self.setup.shared_id) {
            (Mode::Sequenced, _) => (None, Some(cluster.coordinator.new_producer())),
            (Mode::Transactional, true) => (Some(format!("lane-{}", self.partition)), None),
            (Mode::Transactional, false) => (Some(format!("lane-{}-{client}", self.partition)), None),
        };
        Ok(LaneClient {
            cluster: Shared::clone(&self.cluster),
            process: self.process,
            partition: self.partition,
            setup: self.setup,
            client,
            id,
            producer,
            queued: Vec::new(),
            sequences: BTreeMap::new(),
            waiting: Vec::new(),
        })
    }

    fn high_watermarks(&mut self) -> Result<Ends, Failure> {
        self.look()?;
        let cluster = lock(&self.cluster);
        Ok(OUTPUTS.map(|topic| cluster.leader(topic, self.partition).high_watermark()))
    }

    fn reached(&mut self, ends: &Ends) -> Result<Reached, Failure> {
        let mut cluster = lock(&self.cluster);
        let stable = |(topic, end): (Topic, &u64)| cluster.leader(topic, self.partition).last_stable() >= *end;
        if OUTPUTS.into_iter().zip(ends).all(stable) {
            return Ok(Reached::Yes);
        }
        Ok(if cluster.random.chance(TOO_LONG_PERMILLE) { Reached::TooLong } else { Reached::NotYet })
    }

    fn committed(&mut self) -> Result<Option<Marker>, Failure> {
        self.look()?;
        let cluster = lock(&self.cluster);
        if cluster.switches.require_stable && !cluster.group.is_stable(self.partition) {
            return Err(Failure::Again("offsets are not stable".to_owned()));
        }
        Ok(cluster.group.committed(self.partition).cloned())
    }

    fn read(&mut self, topic: Topic, from: u64, to: u64) -> Result<Vec<Seen>, Failure> {
        self.look()?;
        let cluster = lock(&self.cluster);
        let below = cluster.leader(topic, self.partition).readable(from).take_while(|record| record.offset < to);
        let seen = below.map(|record| {
            let (sequence, marker) = (sequence_in(&record.headers), Marker::in_headers(&record.headers));
            Seen { offset: record.offset, sequence, marker }
        });
        Ok(seen.collect())
    }
}

impl LaneWorld {
    fn look(&self) -> Result<(), Failure> {
        let mut cluster = lock(&self.cluster);
        if cluster.is_faulty() && cluster.random.chance(LOOK_FAILED_PERMILLE) {
            return Err(Failure::Again("the broker did not answer".to_owned()));
        }
        Ok(())
    }
}

impl Client for LaneClient {
    fn init(&mut self) -> Result<(), Failure> {
        let request = Request::Init { id: self.id()?, partition: self.partition };
        match self.call_patiently(request)? {
            Answer::Producer(producer) => {
                self.producer = Some(producer);
                Ok(())
            }
            Answer::Done | Answer::Appended(_) => Err(Failure::Broken(Error::Closed)),
        }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn send(&mut self, records: &[(Topic, NewRecord)]) -> Result<(), Failure> {
        self.queued.extend_from_slice(records);
        Ok(())
    }

    fn drain(&mut self) -> Result<Drained, Failure> {
        if !self.queued.is_empty() && self.hand_over()? == Drained::InFlight {
            return Ok(Drained::InFlight);
        }
        for mut sent in std::mem::take(&mut self.waiting) {
            match sent.placed.try_recv() {
                Ok(None) => self.waiting.push(sent),
                Ok(Some(Ok(_))) => self.sequences.entry(sent.topic).or_default().1 = sent.next,
                Ok(Some(Err(refusal))) => return Err(failure(refusal)),
                Err(_) => return Err(failure(Refusal::TimedOut)),
            }
        }
        Ok(if self.waiting.is_empty() { Drained::All } else { Drained::InFlight })
    }

    fn commit_offsets(&mut self, marker: &Marker) -> Result<(), Failure> {
        let (id, by) = (self.id()?, self.producer()?);
        let generation = lock(&self.cluster).group.generation_of(self.process);
        let generation = self.setup.group_metadata.then_some(generation);
        self.call_patiently(Request::Add { id: id.clone(), by, targets: vec![Target::Offsets] })?;
        let (partition, marker) = (self.partition, marker.clone());
        self.call_patiently(Request::Hold { id, by, generation, partition, marker }).map(drop)
    }

    fn commit(&mut self) -> Result<(), Failure> {
        let (id, by) = (self.id()?, self.producer()?);
        self.call_patiently(Request::End { id, by, outcome: Outcome::Commit }).map(drop)
    }

    fn abort(&mut self) -> Result<(), Failure> {
        let (id, by) = (self.id()?, self.producer()?);
        self.queued.clear();
        self.waiting.clear();
        // What is on its way stays there.
        lock(&self.cluster).orphan(self.client);
        self.call_patiently(Request::End { id: id.clone(), by, outcome: Outcome::Abort })?;
        let mut cluster = lock(&self.cluster);
        cluster.write_markers_of(&id);
        if self.setup.bump_after_abort {
            self.producer = Some(cluster.coordinator.bump(&id, by).map_err(failure)?);
            self.sequences.clear();
        }
        for (next, acknowledged) in self.sequences.values_mut() {
            *next = *acknowledged;
        }
        Ok(())
    }
}

impl LaneClient {
    /// Adds the topics to the transaction, and puts the records on their connections.
    fn hand_over(&mut self) -> Result<Drained, Failure> {
        let by = self.producer()?;
        if let Some(id) = self.id.clone() {
            let mut targets: Vec<_> = self.queued.iter().map(|(topic, _)| Target::Records(*topic)).collect();
            targets.sort();
            targets.dedup();
            match lock(&self.cluster).call(self.to_coordinator(), Request::Add { id, by, targets }) {
                Ok(_) => {}
                Err(Refusal::Concurrent) => return Ok(Drained::InFlight),
                Err(refusal) => return Err(failure(refusal)),
            }
        }
        let scope = if self.id.is_some() { Scope::Transaction } else { Scope::Plain };
        let mut by_topic: BTreeMap<Topic, Vec<NewRecord>> = BTreeMap::new();
        for (topic, record) in self.queued.drain(..) {
            by_topic.entry(topic).or_default().push(record);
        }
        let mut cluster = lock(&self.cluster);
        let records_max = cluster.weather.batch_records_max;
        for (topic, records) in by_topic {
            let mut records = records.into_iter().peekable();
            while records.peek().is_some() {
                let count = usize::try_from(1 + cluster.random.below(records_max)).expect("small");
                let records: Vec<_> = records.by_ref().take(count).collect();
                let next = &mut self.sequences.entry(topic).or_default().0;
                let batch = Batch { producer: by, base: *next, scope, records };
                *next += batch.records.len() as u64;
                let request = Request::Produce { topic, partition: self.partition, batch, id: self.id.clone() };
                let placed = cluster.send((self.client, topic as u32), request);
                self.waiting.push(Sent { topic, next: *next, placed });
            }
        }
        Ok(Drained::All)
    }

    /// A call that waits for a transaction that is ending, not for ever.
    fn call_patiently(&self, request: Request) -> Result<Answer, Failure> {
        let mut cluster = lock(&self.cluster);
        for _ in 0..WAITS_MAX {
            match cluster.call(self.to_coordinator(), request.clone()) {
                Err(Refusal::Concurrent) if cluster.random.chance(500) => {
                    if let Some(id) = &self.id {
                        cluster.write_markers_of(id);
                    }
                }
                outcome => return outcome.map_err(failure),
            }
        }
        Err(failure(Refusal::Concurrent))
    }

    const fn to_coordinator(&self) -> Connection {
        (self.client, COORDINATOR)
    }

    fn id(&self) -> Result<String, Failure> {
        self.id.clone().ok_or(Failure::Broken(Error::Closed))
    }

    fn producer(&self) -> Result<Producer, Failure> {
        self.producer.ok_or(Failure::Broken(Error::Closed))
    }
}

impl Drop for LaneClient {
    fn drop(&mut self) {
        lock(&self.cluster).orphan(self.client);
    }
}

fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Fenced => Failure::Fenced,
        refusal => Failure::Again(format!("{refusal:?}")),
    }
}
