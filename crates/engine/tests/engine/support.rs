//! Four engines over maps: no log, no store, no processor. Loopback arrives at once, unless a test makes its way slow.

use std::collections::{BTreeMap, VecDeque};
use touchline_engine::{Effects, Engine, Map, Notes};
use touchline_model::command::{Command, CommandBody, PlaybookSource};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{CellKey, EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::output::{Numbered, Output, TagChange, Touch};
use touchline_model::record::{Input, Loop, Record, Undecodable};
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};

pub(crate) const PARTITIONS: u32 = 4;
pub(crate) const TENANT: &str = "acme";

/// One partition: an engine, its state and the records it has applied.
pub(crate) struct Part {
    pub(crate) engine: Engine,
    pub(crate) map: Map,
    pub(crate) log: Vec<Record>,
}

pub(crate) struct Engines {
    pub(crate) parts: Vec<Part>,
    pub(crate) outputs: Vec<Numbered>,
    pub(crate) now: Time,
    /// What is on its way, from partition to partition, where it does not arrive by itself.
    pub(crate) slow: BTreeMap<(u32, u32), VecDeque<Loop>>,
}

pub(crate) fn at(text: &str) -> Time {
    Time::parse_rfc3339(&format!("{text}+08:00")).expect(text)
}

pub(crate) fn wecom(value: &str) -> IdKey {
    IdKey::new(IdKind::WecomExternalUserid, "wwcorp", value)
}

pub(crate) fn youzan(value: &str) -> IdKey {
    IdKey::new(IdKind::YzOpenId, "youzan", value)
}

pub(crate) fn tb(value: &str) -> IdKey {
    IdKey::new(IdKind::TbOpenUid, "app", value)
}

pub(crate) fn unionid(value: &str) -> IdKey {
    IdKey::new(IdKind::WxUnionid, "open", value)
}

/// An identifier whose cell lives in that partition.
pub(crate) fn on(partition: u32, kind: fn(&str) -> IdKey) -> IdKey {
    let mut all = (0..1_000).map(|number| kind(&format!("p{partition}n{number}")));
    all.find(|id| partition_of(id) == partition).expect("one of a thousand")
}

pub(crate) fn partition_of(id: &IdKey) -> u32 {
    CellKey::of(TENANT, id).partition(PARTITIONS)
}

/// An event as a channel would give it; `basis` makes its id.
pub(crate) fn event(kind: Kind, basis: &str, when: Time, subject: Vec<IdKey>, fields: &[(&str, &str)]) -> Event {
    let mut private = Fields::new();
    let mut public = Fields::new();
    for (name, text) in fields {
        if *name == "text" { private.set(*name, Value::text(*text)) } else { public.set(*name, Value::text(*text)) }
    }
    Event {
        id: EventId::derive(TENANT, "api", "test", kind.name(), basis.as_bytes()),
        kind,
        custom_name: String::new(),
        tenant: TENANT.to_owned(),
        channel: Channel::Api,
        account: "test".to_owned(),
        occurred_at: Some(when),
        precision: Precision::Millisecond,
        received_at: when,
        subject,
        actor: Actor::Customer,
        native: Native::default(),
        cause: EventCause::default(),
        fields: public,
        private: Private::Plain { fields: private, raw: Vec::new() },
    }
}

impl Engines {
    pub(crate) fn new(playbook: &str, start: Time) -> Self {
        let parts = (0..PARTITIONS)
            .map(|partition| {
                let map = Map::default();
                let engine = Engine::open(&map, partition, PARTITIONS).expect("empty");
                Part { engine, map, log: Vec::new() }
            })
            .collect();
        let mut engines = Self { parts, outputs: Vec::new(), now: start, slow: BTreeMap::new() };
        engines.activate("activate-1", playbook, 0);
        engines
    }

    pub(crate) fn activate(&mut self, request: &str, playbook: &str, expected_active: u64) {
        let sources = vec![PlaybookSource { id: "price-consideration".to_owned(), yaml: playbook.to_owned() }];
        self.command(
            request,
            CommandBody::Activate { sources, remove: Vec::new(), expected_active, migrations: Vec::new() },
        );
    }

    pub(crate) fn command(&mut self, request: &str, body: CommandBody) {
        let key = body.contact().cloned();
        let command = Command {
            request_id: request.to_owned(),
            tenant: TENANT.to_owned(),
            actor: "li".to_owned(),
            received_at: self.now,
            body,
        };
        let partition = key.as_ref().map_or(0, |key| key.partition(PARTITIONS));
        self.append(partition, key.map(|key| key.to_string()), Ok(Input::Command(Box::new(command))));
    }

    /// Appends an event under its native key, at its own time, after time has passed up to it.
    pub(crate) fn event(&mut self, event: Event) {
        if let Some(when) = event.occurred_at.filter(|when| *when > self.now) {
            self.advance(when);
        }
        let key = event.key();
        self.append(key.partition(PARTITIONS), Some(key.to_string()), Ok(Input::Event(Box::new(event))));
    }

    /// Appends an event now, and what the engine notes of it; nothing may follow elsewhere.
    pub(crate) fn notes_of(&mut self, event: Event) -> Notes {
        self.advance(event.occurred_at.expect("a time"));
        let key = event.key();
        let part = &mut self.parts[key.partition(PARTITIONS) as usize];
        let (offset, key) = (part.log.len() as u64, Some(key.to_string()));
        let effects =
            part.apply(&Record { offset, append_time: self.now, key, input: Ok(Input::Event(Box::new(event))) });
        assert!(effects.loops.is_empty(), "{:?}", effects.loops);
        self.outputs.extend(effects.outputs);
        effects.notes
    }

    /// Appends and delivers what follows from it, everywhere.
    pub(crate) fn append(&mut self, partition: u32, key: Option<String>, input: Result<Input, Undecodable>) {
        let mut queue = VecDeque::from([(partition, key, input)]);
        while let Some((partition, key, input)) = queue.pop_front() {
            let offset = self.parts[partition as usize].log.len() as u64;
            let record = Record { offset, append_time: self.now, key, input };
            let effects = self.parts[partition as usize].apply(&record);
            self.outputs.extend(effects.outputs);
            for (destination, looped) in effects.loops {
                match self.slow.get_mut(&(partition, destination)) {
                    Some(waiting) => waiting.push_back(looped),
                    None => queue.push_back(arrival(destination, looped)),
                }
            }
        }
    }

    /// From here on what `from` tells `to` waits until it is said to arrive.
    pub(crate) fn slow(&mut self, from: &IdKey, to: &IdKey) {
        self.slow.insert((partition_of(from), partition_of(to)), VecDeque::new());
    }

    /// The next message on that way arrives.
    pub(crate) fn arrives(&mut self, from: &IdKey, to: &IdKey) {
        let way = (partition_of(from), partition_of(to));
        let next = self.slow.get_mut(&way).and_then(VecDeque::pop_front).expect("something is on its way");
        let (partition, key, input) = arrival(way.1, next);
        self.append(partition, key, input);
    }

    /// Everything arrives.
    pub(crate) fn all_arrive(&mut self) {
        while let Some((way, waiting)) = self.slow.pop_first() {
            // The way is slow until it is empty: nothing overtakes.
            self.slow.insert(way, waiting);
            while let Some(next) = self.slow.get_mut(&way).and_then(VecDeque::pop_front) {
                let (partition, key, input) = arrival(way.1, next);
                self.append(partition, key, input);
            }
            self.slow.remove(&way);
        }
    }

    /// Moves the clock to `to`, ticking every partition at each due moment on the way.
    pub(crate) fn advance(&mut self, to: Time) {
        loop {
            let dues = self.parts.iter().filter_map(|part| part.engine.next_due(&part.map).expect("in memory"));
            let next = dues.min().filter(|due| *due <= to);
            self.now = next.unwrap_or(to).max(self.now);
            for partition in 0..PARTITIONS {
                self.append(partition, None, Ok(Input::Tick { wall: self.now }));
            }
            if next.is_none() {
                break;
            }
        }
    }

    pub(crate) fn tag_changes(&self) -> Vec<&TagChange> {
        self.outputs
            .iter()
            .filter_map(|output| if let Output::TagChange(change) = &output.output { Some(change) } else { None })
            .collect()
    }

    pub(crate) fn touches(&self) -> Vec<&Touch> {
        self.outputs
            .iter()
            .filter_map(|output| if let Output::Touch(touch) = &output.output { Some(touch) } else { None })
            .collect()
    }

    /// `step state(reason) due-time` of every touch, in order.
    pub(crate) fn touch_lines(&self) -> Vec<String> {
        self.touches()
            .iter()
            .map(|touch| {
                let reason = if touch.reason.is_empty() { String::new() } else { format!("({})", touch.reason) };
                let due = touchline_model::time::Zone::SHANGHAI.format(touch.due_at);
                format!("{} {}{reason} {}", touch.step, touch.state.name(), due.trim_end_matches("+08:00"))
            })
            .collect()
    }

    pub(crate) fn dead_reasons(&self) -> Vec<&'static str> {
        self.outputs
            .iter()
            .filter_map(
                |output| {
                    if let Output::DeadLetter(letter) = &output.output { Some(letter.reason.name()) } else { None }
                },
            )
            .collect()
    }

    /// `accepted`, or `code:current`, of every command result in order.
    pub(crate) fn answers(&self) -> Vec<String> {
        use touchline_model::output::Outcome;
        self.outputs
            .iter()
            .filter_map(|output| match &output.output {
                Output::CommandResult(result) => Some(match &result.outcome {
                    Outcome::Accepted => "accepted".to_owned(),
                    Outcome::Refused { code, current, .. } => format!("{code}:{current}"),
                }),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn contact(&self, id: &IdKey) -> touchline_model::output::Contact {
        let key = CellKey::of(TENANT, id);
        let part = &self.parts[key.partition(PARTITIONS) as usize];
        let partition = part.engine.meta().partition;
        touchline_engine::public_contact(&part.map, &key, partition, part.engine.bundle(TENANT))
            .expect("in memory")
            .expect("known")
    }
}

fn arrival(partition: u32, looped: Loop) -> (u32, Option<String>, Result<Input, Undecodable>) {
    (partition, looped.body.target().map(ToString::to_string), Ok(Input::Loop(Box::new(looped))))
}

impl Part {
    pub(crate) fn apply(&mut self, record: &Record) -> Effects {
        let effects = self.map.apply(&mut self.engine, record).expect("in memory");
        self.log.push(record.clone());
        effects
    }
}
