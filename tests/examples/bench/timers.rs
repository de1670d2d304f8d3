//! Timers by the million: put in by events, pending beside other work, and due all at once; on RocksDB, without a log.

use crate::embedded::{self, StoreView};
use crate::report::Report;
use crate::{Options, Outcome};
use std::path::Path;
use std::time::{Duration, Instant};
use touchline_engine::{Engine, Overlay};
use touchline_model::command::{Command, CommandBody, PlaybookSource};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::{Input, Record};
use touchline_model::time::{Span, Time};
use touchline_model::value::Fields;
use touchline_rocks::RocksStore;
use touchline_store::{Change, Store};

/// Timers of a run that fits its two minutes.
const TIMERS: u64 = 200_000;
/// Events with which the cost beside pending timers is measured.
const PROBES: u64 = 20_000;
/// Records per store write, as the processor does; ticks fire hundreds of timers each.
const BATCH: usize = 512;
const BATCH_TICKS: usize = 4;
const TENANT: &str = "acme";
const START: Time = Time(1_772_416_800_000);

/// What every order puts in.
const SILENT: &str = "
  - {id: silent, trigger: 'silence(order.paid, for=60d, since=order.paid)', do: [{set_tag: 复购/流失预警}]}";
const PLAYBOOK: &str = "playbook: timers
tag_groups: [{id: 复购, exclusive: true, tags: [正常, 流失预警]}]
rules:
  - {id: paid, trigger: order.paid, do: [{set_tag: 复购/正常}]}";

/// Measures on one thread.
pub(crate) fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let timers = options.events.unwrap_or(TIMERS);
    report.fact("data", format!("{timers} contacts that have ordered once, one partition on RocksDB"));
    for _ in 0..options.runs {
        let without = fill(&options.dir, PLAYBOOK, timers)?.1;
        let dir = embedded::fresh(&options.dir)?;
        let mut owner = Owner::open(dir.path(), &format!("{PLAYBOOK}{SILENT}"))?;
        let alone = owner.events(Kind::PageViewed, "v", PROBES)?;
        let inserting = owner.events(Kind::OrderPaid, "b", timers)?;
        let beside = owner.events(Kind::PageViewed, "w", PROBES)?;
        let (fired, firing) = owner.fire_all()?;
        if fired != timers {
            return Err(format!("{fired} timers fired, not {timers}").into());
        }
        let per_s = |count: u64, took: Duration| count as f64 / took.as_secs_f64();
        report.add("orders that put a timer in", "events/s", per_s(timers, inserting));
        report.add("to orders of a playbook that waits for nothing", "times the time", ratio(inserting, without));
        report.add("a page view while all are pending, to one while none is", "times the time", ratio(beside, alone));
        report.add("due all at once, each sets a tag", "timers/s", per_s(timers, firing));
        report.add("lag of the last of them", "s", firing.as_secs_f64());
        report.add("a timer fired, to an order that put it in", "times the time", ratio(firing, inserting));
    }
    Ok(())
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// The same orders under another playbook.
fn fill(parent: &Path, yaml: &str, orders: u64) -> Outcome<(tempfile::TempDir, Duration)> {
    let dir = embedded::fresh(parent)?;
    let took = Owner::open(dir.path(), yaml)?.events(Kind::OrderPaid, "b", orders)?;
    Ok((dir, took))
}

/// One partition's engine over its store.
struct Owner {
    engine: Engine,
    store: RocksStore,
    now: Time,
}

impl Owner {
    fn open(dir: &Path, yaml: &str) -> Outcome<Self> {
        let store = embedded::open_store(dir, 0, &embedded::cache())?;
        let engine = Engine::open(&StoreView(&store), 0, 1)?;
        let mut owner = Self { engine, store, now: START };
        let sources = vec![PlaybookSource { id: "timers".to_owned(), yaml: yaml.to_owned() }];
        let body = CommandBody::Activate { sources, remove: Vec::new(), expected_active: 0, migrations: Vec::new() };
        let (request_id, tenant, actor) = ("activate".to_owned(), TENANT.to_owned(), "bench".to_owned());
        let command = Command { request_id, tenant, actor, received_at: START, body };
        let told = owner.apply(vec![Input::Command(Box::new(command))])?.1;
        owner.apply(told)?;
        if owner.engine.bundle(TENANT).is_none() {
            return Err("the playbook is refused".into());
        }
        Ok(owner)
    }

    /// One event for each of so many contacts, a millisecond apart.
    fn events(&mut self, kind: Kind, contacts: &str, count: u64) -> Outcome<Duration> {
        let started = Instant::now();
        let mut batch = Vec::with_capacity(BATCH);
        for number in 0..count {
            batch.push(Input::Event(Box::new(event(kind, contacts, number))));
            if batch.len() == BATCH || number + 1 == count {
                self.apply(std::mem::take(&mut batch))?;
            }
        }
        Ok(started.elapsed())
    }

    /// Ticks at a moment at which all are due until none is left.
    fn fire_all(&mut self) -> Outcome<(u64, Duration)> {
        self.now = self.now.plus(Span::days(61));
        let (started, mut fired) = (Instant::now(), 0);
        while self.engine.next_due(&StoreView(&self.store))?.is_some_and(|due| due <= self.now) {
            let wall = self.now;
            fired += self.apply(vec![Input::Tick { wall }; BATCH_TICKS])?.0;
        }
        Ok((fired, started.elapsed()))
    }

    /// Applies a batch in one store write: timers fired, and what the partition tells itself.
    fn apply(&mut self, inputs: Vec<Input>) -> Outcome<(u64, Vec<Input>)> {
        let (mut fired, mut told) = (0, Vec::new());
        let view = StoreView(&self.store);
        let mut overlay = Overlay::new(&view);
        for input in inputs {
            self.now.0 += 1;
            let key = touchline_proto::input_key(&input).map(|key| key.to_string());
            let record = Record { offset: self.engine.meta().offset, append_time: self.now, key, input: Ok(input) };
            let effects = self.engine.apply(&mut overlay, &record)?;
            fired += u64::from(effects.notes.timers_fired);
            told.extend(effects.loops.into_iter().map(|(_, told)| Input::Loop(Box::new(told))));
        }
        let change = |(key, value): (Vec<u8>, Option<Vec<u8>>)| match value {
            Some(value) => Change::Put(key, value),
            None => Change::Delete(key),
        };
        let changes = overlay.into_writes().map(change).collect();
        self.store.write(changes)?;
        Ok((fired, told))
    }
}

fn event(kind: Kind, contacts: &str, number: u64) -> Event {
    let id = IdKey::new(IdKind::YzOpenId, "youzan", format!("{contacts}{number:010}"));
    Event {
        id: EventId::of_source(TENANT, Channel::Api.name(), "", contacts, &number.to_string()),
        kind,
        custom_name: String::new(),
        tenant: TENANT.to_owned(),
        channel: Channel::Api,
        account: String::new(),
        occurred_at: None,
        precision: Precision::default(),
        received_at: START,
        subject: vec![id],
        actor: Actor::Customer,
        native: Native::default(),
        cause: EventCause::default(),
        fields: Fields::new(),
        private: Private::Plain { fields: Fields::new(), raw: Vec::new() },
    }
}
