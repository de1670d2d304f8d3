//! Appends: one idempotent producer for all topics.
//!
//! What lies next to each other: a lock per partition is held while the records of a call are handed to librdkafka,
//! which keeps their order. What is bounded: bytes and records between `append` and the broker's answer.

use crate::config::{Clients, Names, QUEUED_MESSAGES_MAX};
use crate::context;
use crate::ends::{self, Ends};
use crate::error::Error;
use futures::channel::oneshot;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use touchline_log::{Ack, Appended, Error as LogError, Headers, NewRecord, RECORD_BYTES_MAX, Signal, Topic, Wall};
use touchline_model::time::Time;

/// Bytes of events from outside that may wait: what a broker takes in a second or so.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Added for the cluster's own records, so that a full queue of events cannot keep it from emptying it.
const OWN_BYTES: usize = 32 << 20;
/// Records that may wait; librdkafka's own bound leaves room for the cluster's records.
const WAITING_RECORDS_MAX: usize = QUEUED_MESSAGES_MAX / 2;
/// Serving delivery reports while some are expected: acknowledgements go out at once, the signal moves this often.
const BUSY_POLL: Duration = Duration::from_millis(1);
/// The same while none are.
const IDLE_POLL: Duration = Duration::from_millis(50);
/// How long a broker may take to describe a topic.
const LEARN_WAIT: Duration = Duration::from_secs(5);
/// Closing waits so long for what is queued.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// Whose records an append is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// From outside.
    Shared,
    /// The cluster's own.
    Reserved,
}

/// Appends records and answers when they are durable.
pub(crate) struct Appender {
    producer: Arc<BaseProducer<Deliveries>>,
    names: Names,
    ends: Arc<Ends>,
    waiting: Arc<Waiting>,
    /// Held while a call hands its records over; holds the last stamp of a manual clock.
    order: Vec<Mutex<i64>>,
    /// Stamps records instead of the broker.
    wall: Option<Arc<dyn Wall>>,
    poller: Option<JoinHandle<()>>,
}

impl Appender {
    pub(crate) fn new(
        clients: &Clients,
        names: Names,
        ends: Arc<Ends>,
        signal: Signal,
        wall: Option<Arc<dyn Wall>>,
    ) -> Result<Self, Error> {
        let waiting = Arc::new(Waiting::default());
        let deliveries = Deliveries { waiting: Arc::clone(&waiting), ends: Arc::clone(&ends), signal };
        let producer: BaseProducer<Deliveries> =
            clients.append().create_with_context(deliveries).map_err(Error::Client)?;
        learn_topics(&producer, &names, &Topic::ALL);
        let producer = Arc::new(producer);
        let poller = thread::Builder::new()
            .name("kafka-append".to_owned())
            .spawn({
                let producer = Arc::clone(&producer);
                move || serve(&producer)
            })
            .map_err(|error| Error::Admin { action: "starting a thread".to_owned(), reason: error.to_string() })?;
        let order = (0..Topic::ALL.len() * ends.partitions() as usize).map(|_| Mutex::new(0)).collect();
        Ok(Self { producer, names, ends, waiting, order, wall, poller: Some(poller) })
    }

    pub(crate) fn append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>, room: Room) -> Ack<Appended> {
        let (sender, ack) = oneshot::channel();
        match self.admit(partition, &records, room) {
            Ok((raw_partition, bytes)) => {
                let index = self.ends.index(topic, partition);
                let call = Arc::new(Call::new(records.len(), bytes, index, sender));
                self.hand_over(self.names.of(topic), raw_partition, &records, &call);
            }
            Err(error) => {
                // Whoever dropped the receiver does not want to know.
                let _ = sender.send(Err(error));
                self.producer.context().signal.notify();
            }
        }
        ack
    }

    /// The partition for librdkafka and the bytes, which count as waiting from here on.
    fn admit(&self, partition: u32, records: &[NewRecord], room: Room) -> Result<(i32, usize), LogError> {
        let raw_partition = self.ends.check(partition)?;
        let bytes = check_sizes(records.iter())?;
        if records.is_empty() {
            return Err(LogError::Empty);
        }
        self.waiting.enter(records.len(), bytes, room)?;
        Ok((raw_partition, bytes))
    }

    fn hand_over(&self, topic: &str, partition: i32, records: &[NewRecord], call: &Arc<Call>) {
        let mut stamp = self.order[call.index].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wall) = &self.wall {
            *stamp = (*stamp).max(wall.now().0);
        }
        for (sent, record) in records.iter().enumerate() {
            let mut message = BaseRecord::with_opaque_to(topic, Arc::clone(call))
                .partition(partition)
                .payload(record.value.as_slice());
            message.key = record.key.as_deref();
            message.headers = headers(&record.headers);
            message.timestamp = self.wall.is_some().then_some(*stamp);
            if let Err((error, message)) = self.producer.send(message) {
                drop(message);
                // The rest of the call is not sent: what follows an error must not lie in the log.
                let failure = match error {
                    KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) if sent == 0 => self.waiting.busy(),
                    error => LogError::Unavailable(error.to_string()),
                };
                self.producer.context().done(call, records.len() - sent, Some(failure));
                return;
            }
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.waiting.closing.store(true, Ordering::SeqCst);
        if let Some(poller) = self.poller.take() {
            // It cannot panic; if it did, there is nothing left to close.
            let _ = poller.join();
        }
    }
}

/// The bytes of all records, unless one is too large.
pub(crate) fn check_sizes<'a>(records: impl Iterator<Item = &'a NewRecord>) -> Result<usize, LogError> {
    let mut sum = 0;
    for record in records {
        let bytes = record.bytes();
        if bytes > RECORD_BYTES_MAX {
            return Err(LogError::TooLarge { bytes });
        }
        sum += bytes;
    }
    Ok(sum)
}

/// Connects a producer and lets it know its topics now: otherwise it notices half a second later that there is a broker.
/// Where no broker answers, it goes on trying by itself.
pub(crate) fn learn_topics<C: ProducerContext>(producer: &BaseProducer<C>, names: &Names, topics: &[Topic]) {
    for topic in topics {
        if let Err(error) = producer.client().fetch_metadata(Some(names.of(*topic)), LEARN_WAIT) {
            context::report("producer", &error, "while learning about topics");
            return;
        }
    }
}

/// Headers for librdkafka; none where there are none.
pub(crate) fn headers(headers: &Headers) -> Option<OwnedHeaders> {
    if headers.is_empty() {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    Some(headers.iter().fold(empty, |all, (key, value)| all.insert(Header { key, value: Some(value) })))
}

/// What was accepted and not answered.
#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    records: AtomicUsize,
    /// Calls ended since the signal moved, while it is the poller that moves it.
    ended: AtomicBool,
    /// Whether the poller moves the signal.
    polled: AtomicBool,
    closing: AtomicBool,
}

impl Waiting {
    fn enter(&self, records: usize, bytes: usize, room: Room) -> Result<(), LogError> {
        let (bytes_max, records_max) = match room {
            Room::Shared => (WAITING_BYTES_MAX, WAITING_RECORDS_MAX),
            Room::Reserved => (WAITING_BYTES_MAX + OWN_BYTES, QUEUED_MESSAGES_MAX),
        };
        let waiting_bytes = self.bytes.fetch_add(bytes, Ordering::SeqCst);
        let waiting_records = self.records.fetch_add(records, Ordering::SeqCst);
        // A call that is larger than everything is let in alone.
        let fits = waiting_bytes + bytes <= bytes_max && waiting_records + records <= records_max;
        if fits || (waiting_records == 0 && records <= QUEUED_MESSAGES_MAX) {
            return Ok(());
        }
        self.leave(records, bytes);
        Err(LogError::Busy { waiting_bytes })
    }

    fn leave(&self, records: usize, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        self.records.fetch_sub(records, Ordering::SeqCst);
    }

    fn busy(&self) -> LogError {
        LogError::Busy { waiting_bytes: self.bytes.load(Ordering::SeqCst) }
    }
}

/// One append: answered when its last record is.
pub(crate) struct Call {
    records: usize,
    bytes: usize,
    /// Of its topic and partition.
    index: usize,
    state: Mutex<CallState>,
}

struct CallState {
    left: usize,
    first_offset: u64,
    last_offset: u64,
    append_time: i64,
    failure: Option<LogError>,
    sender: Option<oneshot::Sender<Result<Appended, LogError>>>,
}

impl Call {
    fn new(records: usize, bytes: usize, index: usize, sender: oneshot::Sender<Result<Appended, LogError>>) -> Self {
        let (first_offset, last_offset, append_time) = (u64::MAX, 0, 0);
        let sender = Some(sender);
        let state = CallState { left: records, first_offset, last_offset, append_time, failure: None, sender };
        Self { records, bytes, index, state: Mutex::new(state) }
    }
}

/// Takes delivery reports.
struct Deliveries {
    waiting: Arc<Waiting>,
    ends: Arc<Ends>,
    signal: Signal,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        context::log("append", level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::report("append", &error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Call>;

    fn delivery(&self, result: &DeliveryResult<'_>, call: Arc<Call>) {
        let failure = match result {
            Ok(message) => {
                let offset = ends::offset(message.offset());
                let mut state = call.state.lock().unwrap_or_else(PoisonError::into_inner);
                if offset >= state.last_offset {
                    state.append_time = message.timestamp().to_millis().unwrap_or_default();
                }
                state.first_offset = state.first_offset.min(offset);
                state.last_offset = state.last_offset.max(offset);
                None
            }
            Err((error, _)) => Some(LogError::Unavailable(error.to_string())),
        };
        self.done(&call, 1, failure);
    }
}

impl Deliveries {
    /// Counts records of a call as answered, and answers the call when all are.
    fn done(&self, call: &Call, records: usize, failure: Option<LogError>) {
        let mut state = call.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.left -= records;
        state.failure = state.failure.take().or(failure);
        if state.left > 0 {
            return;
        }
        let appended = Appended {
            first_offset: state.first_offset,
            last_offset: state.last_offset,
            append_time: Time(state.append_time),
        };
        let answer = state.failure.take().map_or(Ok(appended), Err);
        if answer.is_ok() {
            self.ends.raise(call.index, appended.last_offset + 1);
        }
        self.waiting.leave(call.records, call.bytes);
        if let Some(sender) = state.sender.take() {
            // Whoever dropped the receiver does not want to know.
            let _ = sender.send(answer);
        }
        drop(state);
        if self.waiting.polled.load(Ordering::SeqCst) {
            self.waiting.ended.store(true, Ordering::SeqCst);
        } else {
            self.signal.notify();
        }
    }
}

/// Serves delivery reports until the appender closes and nothing is in flight.
fn serve(producer: &BaseProducer<Deliveries>) {
    let Deliveries { waiting, signal, .. } = producer.context().as_ref();
    let mut closing_since: Option<Instant> = None;
    loop {
        let busy = waiting.records.load(Ordering::SeqCst) > 0;
        // A signal for every call would wake every waiter a hundred thousand times a second.
        waiting.polled.store(busy, Ordering::SeqCst);
        producer.poll(if busy { BUSY_POLL } else { IDLE_POLL });
        if waiting.ended.swap(false, Ordering::SeqCst) {
            signal.notify();
        }
        if waiting.closing.load(Ordering::SeqCst) {
            let since = *closing_since.get_or_insert_with(Instant::now);
            if producer.in_flight_count() == 0 || since.elapsed() > CLOSE_WAIT {
                return;
            }
        }
    }
}
