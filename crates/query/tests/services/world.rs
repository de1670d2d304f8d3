//! A log written by hand, the query role over it, and a client.

#![allow(dead_code, reason = "each suite uses a part")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Channel;
use touchline_log::memory::MemoryLog;
use touchline_log::publish::publish_once;
use touchline_log::{Log, ManualWall, Marker, NewRecord, Publication, Topic, wait};
use touchline_model::command::{Command, PlaybookSource};
use touchline_model::event::{Actor, Channel as From, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{CellKey, EventId, IdKey, IdKind, Position};
use touchline_model::kind::Kind;
use touchline_model::output::{
    Cause, Contact, Identity, Numbered, Output, Progress, Tag, TagChange, Touch, TouchState,
};
use touchline_model::past::Past;
use touchline_model::record::{Input, Loop, LoopBody};
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};
use touchline_proto as proto;
use touchline_query::admin::{AdvanceError, ClockControl};
use touchline_query::{Handle, Options, Query, server};

pub const PARTITIONS: u32 = 2;
pub const NOON: Time = Time(1_772_424_000_000);

pub const PLAYBOOK: &str = "
playbook: price
tag_groups:
  - {id: 商机, exclusive: true, tags: [初步沟通, {id: 考虑价格, label: 在考虑价格}, 赢单]}
  - {id: 身份, tags: [vip, 员工]}
boards:
  - {id: 商机看板, group: 商机, columns: [初步沟通, 考虑价格, 赢单]}
segments:
  老板名单: tag(身份/vip) and not tag(商机/赢单)
metrics:
  - {id: 人均咨询, count: handoff.created(reason=咨询), per: [executor, calendar_month], target: \"> 20\"}
  - {id: 订单, count: order.paid, per: [calendar_day]}
";

/// What the processor would keep.
pub struct Lane {
    pub progress: Vec<Progress>,
}

impl Default for Lane {
    fn default() -> Self {
        let fresh = |partition| Progress {
            partition,
            loop_sent: vec![0; PARTITIONS as usize],
            loop_received: vec![0; PARTITIONS as usize],
            next_due: Some(Time(NOON.0 + 5)),
            ..Progress::default()
        };
        Self { progress: (0..PARTITIONS).map(fresh).collect() }
    }
}

/// An empty log.
pub fn memory_log() -> Arc<MemoryLog> {
    Arc::new(MemoryLog::new(PARTITIONS, Arc::new(ManualWall::new(NOON))))
}

pub struct World {
    pub log: Arc<MemoryLog>,
    pub lane: Arc<Mutex<Lane>>,
    pub handle: Option<Handle>,
    pub channel: Channel,
    processors: Vec<(Arc<AtomicBool>, std::thread::JoinHandle<()>)>,
}

struct Manual;

impl ClockControl for Manual {
    fn mode(&self) -> &'static str {
        "manual"
    }

    fn advance(&self, to: Time) -> Result<Time, AdvanceError> {
        if to.0 > NOON.0 { Ok(to) } else { Err(AdvanceError::NotManual) }
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with_deadline(Duration::from_secs(10)).await
    }

    pub async fn with_deadline(deadline: Duration) -> Self {
        let log = memory_log();
        Self::over(log.clone(), log, deadline).await
    }

    /// The role reads `read`; the test writes to `log`, which lies below it.
    pub async fn over(log: Arc<MemoryLog>, read: Arc<dyn Log>, deadline: Duration) -> Self {
        let options = Options { deadline, streams_max: 4, wall: Arc::new(ManualWall::new(NOON)) };
        let handle = Query::start(read, options);
        let routes = server::routes(&handle, Arc::new(Manual)).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tonic::transport::Server::builder().add_routes(routes);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let lane = Arc::new(Mutex::new(Lane::default()));
        Self { log, lane, handle: Some(handle), channel, processors: Vec::new() }
    }

    /// Appends to `events`.
    pub fn append(&self, partition: u32, input: &Input) -> Position {
        let record = NewRecord {
            key: proto::input_key(input).map(|key| key.as_str().as_bytes().to_vec()),
            headers: proto::input_headers(input),
            value: proto::encode_input(input),
        };
        let appended = wait(self.log.append(Topic::Events, partition, vec![record])).unwrap();
        Position { partition, offset: appended.last_offset }
    }

    /// What was appended to `events` besides ticks.
    pub fn inputs(&self, partition: u32) -> Vec<Input> {
        let records = self.log.read(Topic::Events, partition, 0, 1_000).unwrap();
        let inputs = records.iter().map(|record| proto::decode_input(&record.value).unwrap());
        inputs.filter(|input| !matches!(input, Input::Tick { .. })).collect()
    }

    pub fn event(&self, event: Event) -> Position {
        self.append(event.key().partition(PARTITIONS), &Input::Event(Box::new(event)))
    }

    /// Publishes what a tick led to: so Progress moves, as it does whenever something is said.
    pub fn publish(&self, partition: u32, outputs: Vec<Output>, contacts: Vec<Contact>) {
        self.append(partition, &Input::Tick { wall: NOON });
        publish(&self.log, &self.lane, partition, outputs, contacts);
    }

    /// Changes the Progress that the next publication of a partition carries.
    pub fn progress(&self, partition: u32, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lane.lock().unwrap().progress[partition as usize]);
    }

    /// Puts the playbook in force as bundle 1, as if asked for at `0@0`.
    pub fn activate(&self) {
        for partition in 0..PARTITIONS {
            activate(&self.log, partition, 1, Position { partition: 0, offset: 0 }, PLAYBOOK);
            self.progress(partition, |progress| progress.bundle = 1);
            self.publish(partition, Vec::new(), Vec::new());
        }
    }

    /// Answers commands as they come, on a thread, until the test ends.
    pub fn processor(&mut self, mut answer: impl FnMut(&Processor<'_>, Command) + Send + 'static) {
        let (log, lane, stop) = (self.log.clone(), self.lane.clone(), Arc::new(AtomicBool::new(false)));
        let stopping = stop.clone();
        let mut next: Vec<u64> = (0..PARTITIONS).map(|p| log.end(Topic::Events, p).unwrap()).collect();
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::SeqCst) {
                let seen = log.signal().count();
                for partition in 0..PARTITIONS {
                    let records = log.read(Topic::Events, partition, next[partition as usize], 100).unwrap();
                    for record in records {
                        next[partition as usize] = record.offset + 1;
                        if let Ok(Input::Command(command)) = proto::decode_input(&record.value) {
                            let position = Position { partition, offset: record.offset };
                            answer(&Processor { log: &log, lane: &lane, position }, *command);
                        }
                    }
                }
                log.signal().wait_past(seen, Duration::from_secs(1));
            }
        });
        self.processors.push((stop, thread));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (stop, thread) in self.processors.drain(..) {
            stop.store(true, Ordering::SeqCst);
            self.log.signal().notify();
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking(), "the processor of the test panicked");
        }
    }
}

/// What a hand-made processor can do.
pub struct Processor<'a> {
    pub log: &'a MemoryLog,
    pub lane: &'a Mutex<Lane>,
    pub position: Position,
}

impl Processor<'_> {
    pub fn publish(&self, outputs: Vec<Output>, contacts: Vec<Contact>) {
        publish(self.log, self.lane, self.position.partition, outputs, contacts);
    }
}

pub fn activate(log: &MemoryLog, partition: u32, number: u64, origin: Position, yaml: &str) {
    let sources = vec![PlaybookSource { id: "price".into(), yaml: yaml.into() }];
    let body = LoopBody::Activation { number, tenant: "acme".into(), sources, migrations: Vec::new() };
    let input = Input::Loop(Box::new(Loop { source: 0, sequence: number, origin, clock: NOON, body }));
    let record = NewRecord { key: None, headers: touchline_log::Headers::new(), value: proto::encode_input(&input) };
    wait(log.append(Topic::Events, partition, vec![record])).unwrap();
}

pub fn publish(log: &MemoryLog, lane: &Mutex<Lane>, partition: u32, outputs: Vec<Output>, contacts: Vec<Contact>) {
    let mut lane = lane.lock().unwrap();
    let progress = &mut lane.progress[partition as usize];
    let end = log.end(Topic::Events, partition).unwrap();
    let source = Position { partition, offset: end.saturating_sub(1) };
    let mut records = Vec::new();
    for output in outputs {
        let stream = output.stream();
        progress.sequences[stream.index()] += 1;
        let numbered = Numbered { sequence: progress.sequences[stream.index()], clock: NOON, source, output };
        records.push((Topic::from(stream), output_record(&numbered)));
    }
    for contact in contacts {
        let value = proto::encode_contact(&contact);
        records.push((Topic::Contacts, NewRecord { value, ..NewRecord::default() }));
    }
    progress.offset = end;
    progress.clock = NOON;
    let marker = Marker { offset: progress.offset, sequences: progress.sequences };
    let headers = touchline_log::Headers::from([marker.to_header()]);
    records.push((Topic::Contacts, NewRecord { headers, value: proto::encode_progress(progress), key: None }));
    publish_once(log, partition, Publication { records, marker }).unwrap();
}

/// An output as it lies in its topic.
pub fn output_record(numbered: &Numbered) -> NewRecord {
    let headers = proto::output_headers(numbered);
    NewRecord { headers, value: proto::encode_output(numbered, None), ..NewRecord::default() }
}

/// A contact `n` of tenant acme: its identifier, a fixed kind.
pub fn id(name: &str) -> IdKey {
    IdKey::new(IdKind::WecomExternalUserid, "wwcorp", name)
}

pub fn key(name: &str) -> CellKey {
    CellKey::of("acme", &id(name))
}

pub fn partition(name: &str) -> u32 {
    key(name).partition(PARTITIONS)
}

pub fn name(contact: &str) -> String {
    format!("tenants/acme/contacts/{}", key(contact).contact_id())
}

pub fn cause(position: Position) -> Cause {
    Cause {
        position,
        origin: None,
        native: None,
        event_id: None,
        kind: "timer".into(),
        playbook: "price".into(),
        rule: "rules/asks-price".into(),
        bundle: 1,
        hit: None,
        actor: String::new(),
        reason: String::new(),
    }
}

/// A contact with tags (`group/tag`, minutes after noon), as of `version`.
pub fn contact(name: &str, version: u64, tags: &[(&str, i64)]) -> Contact {
    let position = Position { partition: partition(name), offset: version };
    let tag = |(text, minutes): &(&str, i64)| {
        let (group, tag) = text.split_once('/').unwrap();
        let set_at = Time(NOON.0 + minutes * 60_000);
        Tag { group: group.into(), tag: tag.into(), set_at, cause: cause(position) }
    };
    Contact {
        key: key(name),
        version: position,
        merged_into: None,
        first_seen: NOON,
        last_seen: NOON,
        identities: vec![Identity::own(id(name))],
        tags: tags.iter().map(tag).collect(),
        stages: Vec::new(),
        owner: None,
        relations: Vec::new(),
        past: Past::default(),
        enrolments: Vec::new(),
    }
}

pub fn said(name: &str, text: &str) -> Event {
    let private = Fields::new().with("text", Value::text(text));
    Event {
        id: EventId::derive("acme", "wecom", "wwcorp", name, text.as_bytes()),
        kind: Kind::ChatMessage,
        custom_name: String::new(),
        tenant: "acme".into(),
        channel: From::WecomArchive,
        account: "wwcorp".into(),
        occurred_at: Some(Time(NOON.0 - 60_000)),
        precision: Precision::Millisecond,
        received_at: NOON,
        subject: vec![id(name)],
        actor: Actor::Customer,
        native: Native::default(),
        cause: EventCause::default(),
        fields: Fields::new().with("direction", Value::text("in")),
        private: Private::Plain { fields: private, raw: b"secret".to_vec() },
    }
}

pub fn change(name: &str, group: &str, set: Option<&str>, unset: Option<&str>, cause: Cause) -> Output {
    let (set, unset) = (set.map(Into::into), unset.map(Into::into));
    Output::TagChange(TagChange {
        contact: key(name),
        group: group.into(),
        set,
        unset,
        moves: vec![],
        at: NOON,
        retracted: false,
        cause,
    })
}

pub fn touch(name: &str, step: &str, state: TouchState) -> Output {
    let position = Position { partition: partition(name), offset: 0 };
    Output::Touch(Touch {
        id: format!("acme/{}/sop/1/{step}#1", key(name).contact_id()),
        state,
        reason: String::new(),
        contact: key(name),
        recipient: id(name),
        playbook: "price".into(),
        journey: "sop".into(),
        enrolment: 1,
        step: step.into(),
        occurrence: 1,
        touchpoint: "dm".into(),
        content: "报价说明".into(),
        executor: Some("zhangsan".into()),
        planned_at: NOON,
        due_at: NOON,
        expires_at: Time(NOON.0 + 86_400_000),
        replaces: None,
        cause: cause(position),
    })
}
