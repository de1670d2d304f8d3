//! Events for all programs, as ingest appends them, and the topics they lie in.

use crate::{Cluster, Outcome, process};
use clap::Args;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use serde_json::json;
use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use touchline_channels::api;
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::Input;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};
use touchline_proto as proto;

/// Whose events they are.
const TENANT: &str = "demo";
/// What customers write that no keyword fits.
const SMALL_TALK: [&str; 4] =
    ["你好，在吗", "今天下单什么时候发货呀？", "谢谢，我再看看", "这个颜色还有吗？想给妈妈买一件"];
/// What customers write that asks for the price.
const ASKING: [&str; 3] = ["你们产品多少钱", "麻烦发一下报价单", "请问怎么收费？"];
/// No answer of the cluster takes longer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How often a full queue is looked at. (`poll(1 ms)` would be a busy loop.)
const FULL_LOOK_EVERY: Duration = Duration::from_micros(250);

/// Which topics.
#[derive(Debug, Args)]
pub(crate) struct TopicsArguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Partitions of each.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Copies of each.
    #[arg(long, default_value_t = 1)]
    replicas: i32,
    /// LogAppendTime is what Touchline asks for; CreateTime lets `feed` choose the times.
    #[arg(long, default_value = "LogAppendTime")]
    events_time: String,
    /// Topic that is read.
    #[arg(long, default_value = "events")]
    events: String,
    /// Topics that are written.
    #[arg(long, value_delimiter = ',', default_value = "tag-changes,touches")]
    outputs: Vec<String>,
}

/// What is written.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Topic.
    #[arg(long, default_value = "events")]
    events: String,
    /// Events.
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Contacts they are spread over; by default an eighth of the events.
    #[arg(long)]
    contacts: Option<u64>,
    /// Contacts take turns instead of being drawn: so many events have as many contacts as they can.
    #[arg(long)]
    in_turn: bool,
    /// Events per second; 0: as fast as it goes.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Another seed gives other events.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Where events given as JSON go.
#[derive(Debug, Args)]
pub(crate) struct FeedArguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Topic.
    #[arg(long, default_value = "events")]
    events: String,
}

/// A record of `events`.
pub(crate) struct Encoded {
    /// Cell key of the contact.
    pub(crate) key: Vec<u8>,
    /// Public id of the contact: the key of what Touchline publishes.
    pub(crate) contact_id: String,
    headers: proto::Headers,
    value: Vec<u8>,
    /// Where it belongs.
    pub(crate) partition: u32,
}

/// Makes topics; one that exists is an error.
pub(crate) fn topics(arguments: &TopicsArguments) -> Outcome<()> {
    let admin: AdminClient<DefaultClientContext> = arguments.cluster.config().create()?;
    let topic = |name| {
        NewTopic::new(name, arguments.partitions, TopicReplication::Fixed(arguments.replicas)).set("retention.ms", "-1")
    };
    let mut wanted = vec![topic(&arguments.events).set("message.timestamp.type", &arguments.events_time)];
    wanted.extend(arguments.outputs.iter().map(|name| topic(name)));
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_MAX));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for result in runtime.block_on(admin.create_topics(&wanted, &options))? {
        result.map_err(|(topic, code)| format!("topic {topic}: {code}"))?;
    }
    Ok(())
}

/// Writes the events of a seed.
pub(crate) fn load(arguments: &Arguments) -> Outcome<()> {
    let started = Instant::now();
    let writer = Writer::open(&arguments.cluster, &arguments.events, "5")?;
    let contacts = arguments.contacts.unwrap_or(arguments.count / 8).max(1);
    let now = now();
    let mut bytes = 0;
    for number in 0..arguments.count {
        if let Some(passed) = (number * 1_000_000_000).checked_div(arguments.rate) {
            process::pause(Duration::from_nanos(passed).saturating_sub(started.elapsed()));
        }
        let whose = if arguments.in_turn { Whose::InTurn(contacts) } else { Whose::Drawn(contacts) };
        let record = encoded(mixed_event(arguments.seed, number, whose, now), writer.partitions);
        bytes += record.value.len() + record.key.len();
        writer.send(&record, None)?;
    }
    writer.finish()?;
    let report = json!({"events": arguments.count, "contacts": contacts, "partitions": writer.partitions,
        "bytes_per_event": bytes as f64 / arguments.count.max(1) as f64, "elapsed_ms": started.elapsed().as_millis()});
    println!("{report}");
    Ok(())
}

/// Writes events given on stdin, at the times they name.
pub(crate) fn feed(arguments: &FeedArguments) -> Outcome<()> {
    let writer = Writer::open(&arguments.cluster, &arguments.events, "0")?;
    for line in std::io::stdin().lock().lines() {
        let mut accepted = api::decode(line?.as_bytes(), now())?;
        let accepted = accepted.pop().ok_or("no event in the line")??;
        let time = accepted.append_time.ok_or("an event without append_time")?;
        // Its own witness of the time, so that Touchline believes it too.
        let event = Event { received_at: time, ..accepted.event };
        writer.send(&encoded(event, writer.partitions), Some(time))?;
    }
    writer.finish()
}

/// The present, in milliseconds.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Writes records idempotently, each into the partition its key names.
pub(crate) struct Writer {
    producer: BaseProducer<Deliveries>,
    topic: String,
    /// Partitions of the topic.
    pub(crate) partitions: u32,
}

#[derive(Default)]
struct Deliveries {
    failed: AtomicU64,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Writer {
    /// A writer of `topic`, which must exist.
    pub(crate) fn open(cluster: &Cluster, topic: &str, linger_ms: &str) -> Outcome<Self> {
        let mut config: ClientConfig = cluster.config();
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", linger_ms)
            .set("batch.size", "1000000")
            .set("compression.codec", "lz4")
            .set("queue.buffering.max.messages", "200000");
        let partitions = partitions(cluster, topic)?;
        let producer = config.create_with_context(Deliveries::default())?;
        Ok(Self { producer, topic: topic.to_owned(), partitions })
    }

    /// Hands a record over; waits where too many are on their way.
    pub(crate) fn send(&self, encoded: &Encoded, time: Option<Time>) -> Outcome<()> {
        let headers = OwnedHeaders::new_with_capacity(encoded.headers.len());
        let headers = encoded
            .headers
            .iter()
            .fold(headers, |headers, (name, value)| headers.insert(Header { key: name, value: Some(value) }));
        let mut record = BaseRecord::to(&self.topic)
            .partition(i32::try_from(encoded.partition)?)
            .key(encoded.key.as_slice())
            .payload(encoded.value.as_slice())
            .headers(headers);
        record.timestamp = time.map(|time| time.0);
        loop {
            record = match self.producer.send(record) {
                Ok(()) => {
                    self.producer.poll(Duration::ZERO);
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
                Err((error, _)) => return Err(error.into()),
            };
            process::pause(FULL_LOOK_EVERY);
            self.producer.poll(Duration::ZERO);
        }
    }

    /// Waits until everything is acknowledged.
    pub(crate) fn finish(&self) -> Outcome<()> {
        self.producer.flush(ANSWER_MAX)?;
        match self.producer.context().failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => Err(format!("{failed} events were not written").into()),
        }
    }
}

/// How many partitions a topic has.
pub(crate) fn partitions(cluster: &Cluster, topic: &str) -> Outcome<u32> {
    let consumer: BaseConsumer = cluster.config().create()?;
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_MAX)?;
    let found = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    if found == 0 {
        return Err(format!("there is no topic {topic}; hint: create it first").into());
    }
    Ok(u32::try_from(found)?)
}

/// The record ingest appends for an event.
pub(crate) fn encoded(event: Event, partitions: u32) -> Encoded {
    let cell = event.key();
    let input = Input::Event(Box::new(event));
    Encoded {
        key: cell.as_str().as_bytes().to_vec(),
        contact_id: cell.contact_id().as_str().to_owned(),
        headers: proto::input_headers(&input),
        value: proto::encode_input(&input),
        partition: cell.partition(partitions),
    }
}

/// Which of so many contacts an event belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose {
    /// By chance.
    Drawn(u64),
    /// One after the other.
    InTurn(u64),
}

/// Event `number` of a seed. Of 20: 8 messages without and 2 with a keyword, 2 replies of staff, 4 product views,
/// 3 clicks, 1 paid order.
pub(crate) fn mixed_event(seed: u64, number: u64, whose: Whose, now: Time) -> Event {
    let drawn = mixed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number));
    let contact = match whose {
        Whose::Drawn(contacts) => (drawn >> 16) % contacts,
        Whose::InTurn(contacts) => number % contacts,
    };
    let contact = format!("wm{contact:010}");
    let pick = |texts: &[&str]| texts[(drawn >> 8) as usize % texts.len()].to_owned();
    let id = format!("{seed}-{number}");
    let item = (drawn >> 8) % 200;
    match drawn % 20 {
        0..8 => message(&contact, &id, "in", pick(&SMALL_TALK), now),
        8 | 9 => message(&contact, &id, "in", pick(&ASKING), now),
        10 | 11 => message(&contact, &id, "out", "您好，这是我们的介绍".to_owned(), now),
        12..16 => {
            let fields = texts(&[("page", "/item"), ("item_id", &item.to_string()), ("session", &id)]);
            event(Kind::PageViewed, &contact, &id, Actor::Customer, fields, Fields::new(), now)
        }
        16..19 => {
            let content = format!("price-list-{}", item % 20);
            let url = format!("https://shop.example/{content}");
            let fields = texts(&[("content_id", &content), ("surface", "chat"), ("url", &url)]);
            event(Kind::ContentClicked, &contact, &id, Actor::Customer, fields, Fields::new(), now)
        }
        _ => {
            let fields = texts(&[("order_id", &format!("E{number:024}")), ("shop", "111301484")])
                .with("paid_fen", Value::integer(9_900))
                .with("total_fen", Value::integer(9_900));
            event(Kind::OrderPaid, &contact, &id, Actor::Customer, fields, Fields::new(), now)
        }
    }
}

/// A message with a keyword by a contact that nobody has seen: it always leads to one tag change.
pub(crate) fn asking(run: u64, number: u64, now: Time) -> Event {
    message(&format!("wq{run}-{number}"), &format!("{run}-{number}"), "in", ASKING[0].to_owned(), now)
}

fn message(contact: &str, id: &str, direction: &str, text: String, now: Time) -> Event {
    let fields = texts(&[("direction", direction), ("msg_id", id), ("msg_type", "text"), ("staff", "zhangsan")]);
    let actor = if direction == "in" { Actor::Customer } else { Actor::Staff("zhangsan".to_owned()) };
    event(Kind::ChatMessage, contact, id, actor, fields, texts(&[("text", &text)]), now)
}

fn event(kind: Kind, contact: &str, id: &str, actor: Actor, fields: Fields, private: Fields, now: Time) -> Event {
    Event {
        id: EventId::derive(TENANT, Channel::Api.name(), "", kind.name(), id.as_bytes()),
        kind,
        custom_name: String::new(),
        tenant: TENANT.to_owned(),
        channel: Channel::Api,
        account: String::new(),
        occurred_at: Some(now),
        precision: Precision::Millisecond,
        received_at: now,
        subject: vec![IdKey::new(IdKind::WecomExternalUserid, "wwcorp", contact)],
        actor,
        native: Native { kind: kind.name().to_owned(), id: id.to_owned(), version: None, raw_sha256: Vec::new() },
        cause: EventCause::default(),
        fields,
        private: Private::Plain { fields: private, raw: Vec::new() },
    }
}

fn texts(fields: &[(&str, &str)]) -> Fields {
    fields.iter().fold(Fields::new(), |fields, &(name, value)| fields.with(name, Value::text(value)))
}

/// splitmix64: the same event for the same number, evenly spread.
const fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
