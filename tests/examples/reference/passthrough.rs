//! The practical limit on Kafka: consume, produce the same bytes, with the publication of a Touchline lane.
//!
//! One consumer, one thread and one producer per partition. It is a reference and no product: one process only (it
//! does not take over from another one), and any error ends it.

use crate::{Cluster, Outcome, process};
use clap::{Args, ValueEnum};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// Records of a transaction at most, as in a Touchline lane.
const TRANSACTION_RECORDS_MAX: u64 = 5_000;
/// Bytes of a transaction at most, as in a Touchline lane.
const TRANSACTION_BYTES_MAX: usize = 4 << 20;
/// Records of a lane on their way at most, without transactions: two transactions' worth. With 100 000, librdkafka's
/// default, it takes twice as long.
const IN_FLIGHT_MAX: i32 = 10_000;
/// Messages handed to a lane at once: one wake-up for many.
const HANDED_OVER_MAX: usize = 512;
/// Hand-overs that wait for a lane: a transaction's worth, then the consumer waits.
const WAITING_MAX: usize = 16;
/// No answer of the cluster takes longer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How often a lane looks whether its records have arrived.
const DRAIN_LOOK_EVERY: Duration = Duration::from_micros(250);
/// How often progress is printed.
const PRINT_EVERY: Duration = Duration::from_secs(1);

/// How it runs.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Topic read.
    #[arg(long, default_value = "events")]
    events: String,
    /// Topic written; as many partitions.
    #[arg(long, default_value = "touches")]
    output: String,
    /// Consumer group, and prefix of the transactional ids.
    #[arg(long, default_value = "reference-passthrough")]
    group: String,
    /// How records are published.
    #[arg(long, value_enum, default_value_t = Publish::Transactional)]
    publish: Publish,
    /// A transaction stays open for so long unless it is full; 0: it takes what is there. Sequenced: how often offsets
    /// are committed (at least every millisecond).
    #[arg(long, default_value_t = 0)]
    commit_interval_ms: u64,
    /// How long a batch waits for more.
    #[arg(long, default_value = "1")]
    linger_ms: String,
    /// Leave the headers out: what copying them costs.
    #[arg(long)]
    without_headers: bool,
    /// Stop after so many records; 0: on SIGTERM.
    #[arg(long, default_value_t = 0)]
    records: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Publish {
    /// One transaction for records and offsets.
    Transactional,
    /// Idempotent producer, offsets behind it.
    Sequenced,
}

/// Runs until the records are done or SIGTERM.
pub(crate) fn run(arguments: &Arguments) -> Outcome<()> {
    let (started, stop) = (Instant::now(), process::stop_signal()?);
    let consumer = consumer(arguments)?;
    consumer.subscribe(&[&arguments.events])?;
    let shared =
        Shared { arguments, consumer: &consumer, published: AtomicU64::new(0), failed: AtomicBool::new(false) };
    let outcome = std::thread::scope(|scope| dispatch(&shared, scope, &stop, started));
    print(&shared, started);
    outcome
}

struct Shared<'c> {
    arguments: &'c Arguments,
    consumer: &'c BaseConsumer,
    /// Records whose publication is done.
    published: AtomicU64,
    failed: AtomicBool,
}

type Handed<'c> = Vec<BorrowedMessage<'c>>;

/// A lane as the dispatcher sees it.
struct Lane<'s, 'c> {
    sender: SyncSender<Handed<'c>>,
    waiting: Handed<'c>,
    thread: ScopedJoinHandle<'s, Outcome<()>>,
}

/// Polls, and hands messages to the lane of their partition; a lane begins with its first message.
fn dispatch<'s, 'c: 's>(
    shared: &'s Shared<'c>,
    scope: &'s Scope<'s, '_>,
    stop: &AtomicBool,
    started: Instant,
) -> Outcome<()> {
    let mut lanes = BTreeMap::<i32, Lane<'s, 'c>>::new();
    let mut printed = Instant::now();
    let enough = |published: u64| shared.arguments.records > 0 && published >= shared.arguments.records;
    while !stop.load(Ordering::Relaxed)
        && !shared.failed.load(Ordering::Relaxed)
        && !enough(shared.published.load(Ordering::Relaxed))
    {
        let mut next = shared.consumer.poll(Duration::from_millis(20));
        let mut taken = 0;
        while let Some(message) = next {
            let message = message?;
            let lane = lanes.entry(message.partition()).or_insert_with(|| Lane::start(shared, scope, &message));
            lane.waiting.push(message);
            if lane.waiting.len() >= HANDED_OVER_MAX {
                lane.hand_over();
            }
            taken += 1;
            next = if taken < TRANSACTION_RECORDS_MAX { shared.consumer.poll(Duration::ZERO) } else { None };
        }
        lanes.values_mut().for_each(Lane::hand_over);
        if printed.elapsed() >= PRINT_EVERY {
            print(shared, started);
            printed = Instant::now();
        }
    }
    let threads: Vec<_> = lanes.into_values().map(|lane| lane.thread).collect();
    threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a lane panicked")?)
}

impl<'s, 'c: 's> Lane<'s, 'c> {
    fn start(shared: &'s Shared<'c>, scope: &'s Scope<'s, '_>, first: &BorrowedMessage<'c>) -> Self {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let (partition, offset) = (first.partition(), first.offset());
        let thread = scope.spawn(move || {
            let outcome = match shared.arguments.publish {
                Publish::Transactional => transactional(shared, partition, &receiver),
                Publish::Sequenced => sequenced(shared, partition, offset, &receiver),
            };
            if outcome.is_err() {
                shared.failed.store(true, Ordering::Relaxed);
            }
            outcome
        });
        Self { sender, waiting: Vec::new(), thread }
    }

    fn hand_over(&mut self) {
        if !self.waiting.is_empty() {
            // A lane that has failed says so itself.
            drop(self.sender.send(std::mem::take(&mut self.waiting)));
        }
    }
}

/// begin → send → drain → offsets → commit, with whatever came meanwhile.
fn transactional(shared: &Shared<'_>, partition: i32, receiver: &Receiver<Handed<'_>>) -> Outcome<()> {
    let producer = producer(shared.arguments, Some(partition))?;
    producer.init_transactions(ANSWER_MAX)?;
    let interval = Duration::from_millis(shared.arguments.commit_interval_ms);
    while let Ok(mut handed) = receiver.recv() {
        producer.begin_transaction()?;
        let begun = Instant::now();
        let (mut records, mut bytes, mut offset) = (0, 0, 0);
        loop {
            for message in &handed {
                send(&producer, shared.arguments, message)?;
                bytes += message.payload_len() + message.key_len();
                offset = message.offset() + 1;
            }
            records += handed.len() as u64;
            if records >= TRANSACTION_RECORDS_MAX || bytes >= TRANSACTION_BYTES_MAX {
                break;
            }
            match receiver.recv_timeout(interval.saturating_sub(begun.elapsed())) {
                Ok(more) => handed = more,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        // Without this the commit's own flush waits for 100 ms. Not `poll(1 ms)`: below a whole millisecond rdkafka asks
        // librdkafka for 0 ms until the time is up, a busy loop that costs more CPU time than everything else here.
        producer.poll(Duration::ZERO);
        while producer.in_flight_count() > 0 {
            process::pause(DRAIN_LOOK_EVERY);
            producer.poll(Duration::ZERO);
        }
        let group = shared.consumer.group_metadata().ok_or("not in a consumer group")?;
        producer.send_offsets_to_transaction(&offsets(shared, partition, offset)?, &group, ANSWER_MAX)?;
        producer.commit_transaction(ANSWER_MAX)?;
        shared.published.fetch_add(records, Ordering::Relaxed);
    }
    Ok(())
}

/// Sends without waiting; commits the offset up to which everything is acknowledged.
fn sequenced(shared: &Shared<'_>, partition: i32, first: i64, receiver: &Receiver<Handed<'_>>) -> Outcome<()> {
    let producer = producer(shared.arguments, None)?;
    producer.context().delivered.store(first, Ordering::Relaxed);
    let interval = Duration::from_millis(shared.arguments.commit_interval_ms.max(1));
    let (mut committed, mut looked, mut open) = (first, Instant::now(), true);
    while open || producer.in_flight_count() > 0 {
        match receiver.recv_timeout(interval.saturating_sub(looked.elapsed()).max(DRAIN_LOOK_EVERY)) {
            Ok(handed) => handed.iter().try_for_each(|message| send(&producer, shared.arguments, message))?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                open = false;
                process::pause(DRAIN_LOOK_EVERY);
            }
        }
        producer.poll(Duration::ZERO);
        while producer.in_flight_count() > IN_FLIGHT_MAX {
            process::pause(DRAIN_LOOK_EVERY);
            producer.poll(Duration::ZERO);
        }
        if producer.context().failed.load(Ordering::Relaxed) {
            return Err("a record was not written".into());
        }
        if open && looked.elapsed() < interval {
            continue;
        }
        looked = Instant::now();
        let delivered = producer.context().delivered.load(Ordering::Relaxed);
        if delivered > committed {
            shared.consumer.commit(&offsets(shared, partition, delivered)?, CommitMode::Async)?;
            shared.published.fetch_add(u64::try_from(delivered - committed)?, Ordering::Relaxed);
            committed = delivered;
        }
    }
    let delivered = producer.context().delivered.load(Ordering::Relaxed);
    shared.published.fetch_add(u64::try_from(delivered - committed)?, Ordering::Relaxed);
    Ok(shared.consumer.commit(&offsets(shared, partition, delivered)?, CommitMode::Sync)?)
}

fn send(producer: &BaseProducer<Deliveries>, arguments: &Arguments, message: &BorrowedMessage<'_>) -> Outcome<()> {
    let mut record = BaseRecord::with_opaque_to(&arguments.output, usize::try_from(message.offset())?)
        .partition(message.partition())
        .payload(message.payload().unwrap_or_default());
    record.key = message.key();
    if !arguments.without_headers {
        record.headers = message.headers().map(BorrowedHeaders::detach);
    }
    loop {
        record = match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
            Err((error, _)) => return Err(error.into()),
        };
        process::pause(DRAIN_LOOK_EVERY);
        producer.poll(Duration::ZERO);
    }
}

fn offsets(shared: &Shared<'_>, partition: i32, offset: i64) -> Outcome<TopicPartitionList> {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&shared.arguments.events, partition, Offset::Offset(offset))?;
    Ok(offsets)
}

fn consumer(arguments: &Arguments) -> Outcome<BaseConsumer> {
    let mut config = arguments.cluster.config();
    config
        .set("group.id", &arguments.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "1500")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.min.messages", "20000")
        .set("queued.max.messages.kbytes", "8192");
    Ok(config.create()?)
}

fn producer(arguments: &Arguments, partition: Option<i32>) -> Outcome<BaseProducer<Deliveries>> {
    let mut config = arguments.cluster.config();
    config
        .set("enable.idempotence", "true")
        .set("transaction.timeout.ms", "10000")
        .set("message.timeout.ms", "8000")
        .set("linger.ms", &arguments.linger_ms)
        .set("batch.size", "1000000")
        .set("compression.codec", "lz4")
        .set("queue.buffering.max.messages", "100000");
    if let Some(partition) = partition {
        config.set("transactional.id", format!("{}-{partition}", arguments.group));
    }
    Ok(config.create_with_context(Deliveries::default())?)
}

/// What is acknowledged. An idempotent producer acknowledges in order.
#[derive(Default)]
struct Deliveries {
    /// The next offset: everything below is acknowledged.
    delivered: AtomicI64,
    failed: AtomicBool,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    /// The offset the record came from.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, offset: usize) {
        match i64::try_from(offset) {
            Ok(offset) if result.is_ok() => self.delivered.store(offset + 1, Ordering::Relaxed),
            _ => self.failed.store(true, Ordering::Relaxed),
        }
    }
}

fn print(shared: &Shared<'_>, started: Instant) {
    let published = shared.published.load(Ordering::Relaxed);
    let line = json!({"records": published, "outputs": published,
        "cpu_seconds": process::cpu_seconds(std::process::id()),
        "rss_bytes": process::status_bytes("/proc/self/status", "VmRSS:"),
        "elapsed_ms": started.elapsed().as_millis()});
    println!("{line}");
}
