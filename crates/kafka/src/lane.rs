//! Publisher lanes: one thread per owned partition carries out `touchline_log::lane` on librdkafka.
//!
//! Every call of a transaction blocks in foreign code, so none of it happens on a thread of the caller.

use crate::config::MESSAGE_BYTES_MAX;
use crate::context;
use crate::ends;
use crate::error::io;
use crate::log::Shared;
use crate::metrics;
use crate::producer::{check_sizes, headers, learn_topics};
use futures::channel::oneshot;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientContext, TopicPartitionList};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use touchline_log::lane::{
    Client, Drained, Ends as Watermarks, Failure, Lane, LanePoint, Mode, OUTPUTS, Reached, Seen, Step, World,
};
use touchline_log::publish::sequence_in;
use touchline_log::{Ack, Error as LogError, Marker, NewRecord, Publication, Published, Publisher, TakenOver, Topic};

/// How long `init_transactions` may take: the coordinator first ends what a predecessor left open.
const INIT_WAIT: Duration = Duration::from_secs(5);
/// How long offsets and commit may take; the broker ends the transaction by itself at about the same time.
const COMMIT_WAIT: Duration = Duration::from_secs(10);
/// How long markers of ended transactions take to be written at most, before init is tried again.
const REACH_WAIT: Duration = Duration::from_secs(1);
/// Between two looks at what passes by itself.
const PAUSE: Duration = Duration::from_millis(5);
/// Serving delivery reports once.
const DRAIN_POLL: Duration = Duration::from_millis(1);
/// Between two looks for delivery reports.
const DRAIN_NAP: Duration = Duration::from_micros(100);
/// Between a commit and the next transaction. While markers of the last one are being written the broker refuses the
/// next, and librdkafka then waits for 20 ms: publications of one record took 30 ms at the median without the gap, 9
/// with it.
const COMMIT_GAP: Duration = Duration::from_millis(2);
/// How long a full queue of librdkafka is waited for.
const QUEUE_WAIT: Duration = Duration::from_secs(10);

/// Called at every [`LanePoint`] of every lane, on its thread: tests end the process there.
pub type Hook = Arc<dyn Fn(LanePoint) + Send + Sync>;

/// Takes a partition over on a thread of its own.
pub(crate) fn take_over(shared: &Arc<Shared>, partition: u32) -> Ack<TakenOver> {
    let (sender, ack) = oneshot::channel();
    if let Err(error) = shared.ends.check(partition) {
        answer(shared, sender, Err(error));
        return ack;
    }
    let moved = Arc::clone(shared);
    let thread = thread::Builder::new().name(format!("kafka-lane-{partition}"));
    if let Err(error) = thread.spawn(move || run(&moved, partition, sender)) {
        // The sender went with the closure: the ack says that nothing became of it.
        tracing::error!(partition, %error, "no thread for a publisher lane");
    }
    ack
}

type Request = (Publication, oneshot::Sender<Result<(), LogError>>);

/// The caller's end of a lane. The thread ends when it is dropped.
struct KafkaPublisher {
    requests: Option<Sender<Request>>,
    shared: Arc<Shared>,
}

impl Publisher for KafkaPublisher {
    fn publish(&mut self, publication: Publication) -> Ack<()> {
        let (sender, ack) = oneshot::channel();
        let refused = match (&self.requests, check_sizes(publication.records.iter().map(|(_, record)| record))) {
            (_, Err(error)) => Some((sender, error)),
            (None, _) => Some((sender, LogError::Closed)),
            (Some(requests), Ok(_)) => {
                requests.send((publication, sender)).err().map(|unsent| (unsent.0.1, LogError::Closed))
            }
        };
        if let Some((sender, error)) = refused {
            self.requests = None;
            answer(&self.shared, sender, Err(error));
        }
        ack
    }
}

fn run(shared: &Arc<Shared>, partition: u32, sender: oneshot::Sender<Result<TakenOver, LogError>>) {
    let owner = shared.owners.begin(partition);
    let (requests, received) = mpsc::channel();
    let taken = shared.wait_for_ownership(partition).and_then(|()| restore(shared, partition));
    metrics::taken_over(if taken.is_ok() { "ok" } else { "failed" });
    match taken {
        Err(error) => {
            tracing::warn!(partition, %error, "partition not taken over");
            answer(shared, sender, Err(error));
        }
        Ok((mut lane, published)) => {
            let publisher = KafkaPublisher { requests: Some(requests), shared: Arc::clone(shared) };
            answer(shared, sender, Ok(TakenOver { publisher: Box::new(publisher), published }));
            serve(shared, partition, owner, &mut lane, &received);
        }
    }
}

fn restore(shared: &Arc<Shared>, partition: u32) -> Result<(Lane<Kafka>, Published), LogError> {
    let world = Kafka { shared: Arc::clone(shared), partition, looked_at: Instant::now() };
    let mut lane = Lane::new(world, partition, shared.mode);
    loop {
        match lane.step() {
            Step::Did(point) => shared.reached(point),
            Step::Waiting => {
                thread::sleep(PAUSE);
                shared.check_assigned(partition)?;
            }
            Step::Polled | Step::Idle | Step::Published => {}
            Step::TakenOver(published) => {
                if published.tails != published.marker.sequences {
                    metrics::torn();
                    let (marker, tails) = (&published.marker, &published.tails);
                    match shared.mode {
                        Mode::Transactional => tracing::error!(partition, ?marker, ?tails, "a publication is torn"),
                        Mode::Sequenced => tracing::info!(partition, ?marker, ?tails, "a publication is torn"),
                    }
                }
                shared.learn_end(partition, &published.marker)?;
                return Ok((lane, published));
            }
            Step::Failed(error) => return Err(error),
        }
    }
}

/// Publishes until the publisher is dropped or something fails. What is queued then is answered with `Closed`.
fn serve(shared: &Shared, partition: u32, owner: u64, lane: &mut Lane<Kafka>, received: &Receiver<Request>) {
    let mut committed_at: Option<Instant> = None;
    while let Ok((publication, sender)) = received.recv() {
        let began = Instant::now();
        if let (Mode::Transactional, Some(at)) = (shared.mode, committed_at) {
            thread::sleep(COMMIT_GAP.saturating_sub(at.elapsed()));
        }
        let published = shared.owners.publish(partition, owner, shared.mode, || publish(shared, lane, publication));
        let failed = published.is_err();
        if let Err(error) = &published {
            tracing::warn!(partition, %error, "publication failed: the partition has to be taken over again");
        } else {
            metrics::committed(began.elapsed());
        }
        committed_at = Some(Instant::now());
        answer(shared, sender, published);
        if failed {
            return;
        }
    }
}

fn publish(shared: &Shared, lane: &mut Lane<Kafka>, publication: Publication) -> Result<(), LogError> {
    if !lane.publish(publication) {
        return Err(LogError::Closed);
    }
    loop {
        match lane.step() {
            Step::Did(point) => shared.reached(point),
            Step::Waiting => thread::sleep(PAUSE),
            Step::Polled | Step::TakenOver(_) => {}
            Step::Published | Step::Idle => return Ok(()),
            Step::Failed(error) => return Err(error),
        }
    }
}

fn answer<T>(shared: &Shared, sender: oneshot::Sender<Result<T, LogError>>, result: Result<T, LogError>) {
    // Whoever dropped the receiver does not want to know.
    let _ = sender.send(result);
    shared.signal.notify();
}

/// Who publishes within this process, for the mode in which no broker fences.
pub(crate) struct Owners(Vec<Mutex<u64>>);

impl Owners {
    pub(crate) fn new(partitions: u32) -> Self {
        Self((0..partitions).map(|_| Mutex::new(0)).collect())
    }

    /// Fences earlier lanes of this process, after what they are publishing now.
    fn begin(&self, partition: u32) -> u64 {
        let mut owner = self.0[partition as usize].lock().unwrap_or_else(PoisonError::into_inner);
        *owner += 1;
        *owner
    }

    fn publish(
        &self,
        partition: u32,
        own: u64,
        mode: Mode,
        publish: impl FnOnce() -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        if mode == Mode::Transactional {
            // The broker fences, across processes.
            return publish();
        }
        let owner = self.0[partition as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if *owner != own {
            return Err(LogError::Fenced { partition });
        }
        publish()
    }
}

/// A partition on Kafka.
struct Kafka {
    shared: Arc<Shared>,
    partition: u32,
    /// When the watermarks were taken.
    looked_at: Instant,
}

impl World for Kafka {
    type Client = LaneProducer;

    fn connect(&mut self) -> Result<LaneProducer, Failure> {
        let shared = Arc::clone(&self.shared);
        let id = self.shared.settings.transactional_id(self.partition);
        let id = (shared.mode == Mode::Transactional).then_some(id.as_str());
        let config = shared.clients.lane(self.partition, id);
        let producer = config.create_with_context(Deliveries::default());
        let producer: BaseProducer<Deliveries> = producer.map_err(|error| Failure::Broken(io(&error)))?;
        learn_topics(&producer, &shared.names, &OUTPUTS);
        let raw_partition = self.shared.ends.check(self.partition).map_err(Failure::Broken)?;
        Ok(LaneProducer { shared, producer, partition: self.partition, raw_partition })
    }

    fn high_watermarks(&mut self) -> Result<Watermarks, Failure> {
        self.looked_at = Instant::now();
        let mut ends = Watermarks::default();
        let raw_partition = self.shared.ends.check(self.partition).map_err(Failure::Broken)?;
        for (end, topic) in ends.iter_mut().zip(OUTPUTS) {
            let name = self.shared.names.of(topic);
            let found = ends::watermarks(&self.shared.admin, name, raw_partition);
            (_, *end) = found.map_err(|error| Failure::Again(error.to_string()))?;
        }
        Ok(ends)
    }

    fn reached(&mut self, ends: &Watermarks) -> Result<Reached, Failure> {
        for (end, topic) in ends.iter().zip(OUTPUTS) {
            let stable = self.shared.reader.stable(topic, self.partition).map_err(passing)?;
            if stable < *end {
                let too_long = self.looked_at.elapsed() > REACH_WAIT;
                return Ok(if too_long { Reached::TooLong } else { Reached::NotYet });
            }
        }
        Ok(Reached::Yes)
    }

    fn committed(&mut self) -> Result<Option<Marker>, Failure> {
        self.shared.reader.committed(self.partition, ends::ASK_WAIT).map_err(passing)
    }

    fn read(&mut self, topic: Topic, from: u64, to: u64) -> Result<Vec<Seen>, Failure> {
        let mut seen = Vec::new();
        let mut look = |record: touchline_log::StoredRecord| {
            let (sequence, marker) = (sequence_in(&record.headers), Marker::in_headers(&record.headers));
            seen.push(Seen { offset: record.offset, sequence, marker });
        };
        self.shared.reader.scan(topic, self.partition, (from, to), &mut look).map_err(passing)?;
        Ok(seen)
    }
}

/// One producer of one partition.
struct LaneProducer {
    shared: Arc<Shared>,
    producer: BaseProducer<Deliveries>,
    partition: u32,
    raw_partition: i32,
}

impl Client for LaneProducer {
    fn init(&mut self) -> Result<(), Failure> {
        self.producer.init_transactions(INIT_WAIT).map_err(|error| self.classify(&error))
    }

    fn begin(&mut self) -> Result<(), Failure> {
        self.producer.begin_transaction().map_err(|error| self.classify(&error))
    }

    fn send(&mut self, records: &[(Topic, NewRecord)]) -> Result<(), Failure> {
        self.producer.context().begin();
        let timestamp = self.shared.wall.as_ref().map(|wall| wall.now().0);
        for (topic, record) in records {
            let at = OUTPUTS.iter().position(|output| output == topic).unwrap_or_default();
            let mut message = BaseRecord::with_opaque_to(self.shared.names.of(*topic), at)
                .partition(self.raw_partition)
                .payload(record.value.as_slice());
            message.key = record.key.as_deref();
            message.headers = headers(&record.headers);
            message.timestamp = timestamp;
            self.send_one(message)?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<Drained, Failure> {
        let began = Instant::now();
        while self.producer.in_flight_count() > 0 && began.elapsed() < DRAIN_POLL {
            // A poll with a timeout sits it out even when reports have come.
            thread::sleep(DRAIN_NAP);
            self.producer.poll(Duration::ZERO);
        }
        if let Some(error) = self.producer.context().failure() {
            return Err(self.classify(&error));
        }
        if self.producer.in_flight_count() > 0 {
            return Ok(Drained::InFlight);
        }
        if self.shared.mode == Mode::Sequenced {
            self.raise_ends();
        }
        Ok(Drained::All)
    }

    fn commit_offsets(&mut self, marker: &Marker) -> Result<(), Failure> {
        let Some(group) = self.shared.group_metadata() else {
            return Err(Failure::Again("no metadata of the consumer group".to_owned()));
        };
        let name = self.shared.names.of(Topic::Events);
        let mut offsets = TopicPartitionList::new();
        {
            let mut element = offsets.add_partition(name, self.raw_partition);
            let offset = Offset::Offset(ends::raw(marker.offset));
            element.set_offset(offset).map_err(|error| self.classify(&error))?;
            let (_, metadata) = marker.to_header();
            element.set_metadata(String::from_utf8_lossy(&metadata));
        }
        let sent = self.producer.send_offsets_to_transaction(&offsets, &group, COMMIT_WAIT);
        sent.map_err(|error| self.classify(&error))
    }

    fn commit(&mut self) -> Result<(), Failure> {
        self.producer.commit_transaction(COMMIT_WAIT).map_err(|error| self.classify(&error))?;
        self.raise_ends();
        Ok(())
    }
}

impl LaneProducer {
    fn send_one(&self, mut message: BaseRecord<'_, [u8], [u8], usize>) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent))
                    if began.elapsed() < QUEUE_WAIT =>
                {
                    message = unsent;
                    self.producer.poll(DRAIN_POLL);
                }
                Err((error, _)) => return Err(self.classify(&error)),
            }
        }
    }

    /// What was delivered is there for everybody now.
    fn raise_ends(&self) {
        for (end, topic) in self.producer.context().ends.iter().zip(OUTPUTS) {
            self.shared.ends.raise(self.shared.ends.index(topic, self.partition), end.load(Ordering::SeqCst));
        }
    }

    fn classify(&self, error: &KafkaError) -> Failure {
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        let code = match error {
            KafkaError::Transaction(error) => Some(error.code()),
            error => error.rdkafka_error_code(),
        };
        if [fatal, code].into_iter().flatten().any(is_fenced) {
            return Failure::Fenced;
        }
        match code {
            Some(
                RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed,
            ) => Failure::Broken(LogError::Misconfigured(error.to_string())),
            _ => Failure::Again(error.to_string()),
        }
    }
}

const fn is_fenced(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch)
}

/// A failure to read: what is known to be there will come, so it may pass.
fn passing(error: LogError) -> Failure {
    match error {
        LogError::Io(reason) | LogError::Unavailable(reason) => Failure::Again(reason),
        error => Failure::Broken(error),
    }
}

/// Takes delivery reports of one producer.
#[derive(Default)]
struct Deliveries {
    /// One past the last delivered record, by [`OUTPUTS`].
    ends: [AtomicU64; OUTPUTS.len()],
    failure: Mutex<Option<KafkaError>>,
}

impl Deliveries {
    fn begin(&self) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn failure(&self) -> Option<KafkaError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        context::log("lane", level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::report("lane", &error, reason);
    }
}

impl ProducerContext for Deliveries {
    /// Index into [`OUTPUTS`].
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, output: usize) {
        match result {
            Ok(message) => {
                self.ends[output].fetch_max(ends::offset(message.offset()) + 1, Ordering::SeqCst);
            }
            Err((error, _)) => {
                self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
            }
        }
    }
}

const _: () = assert!(MESSAGE_BYTES_MAX > touchline_log::RECORD_BYTES_MAX);
