//! What benchmarks of the engine alone share: arguments, medians, and one partition in memory.

#![expect(clippy::print_stdout, reason = "what a command-line tool says")]

use std::collections::VecDeque;
use touchline_engine::{Engine, Map};
use touchline_model::command::{Command, CommandBody, PlaybookSource};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{EventId, IdKey};
use touchline_model::kind::Kind;
use touchline_model::record::{Input, Record};
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};

const USAGE: &str = "arguments: [--runs N] [--events N] [--json]";
const TENANT: &str = "demo";

/// Runs `measure` as often as asked, and says the medians: those in ns also as multiples of the first, which is `unit`.
///
/// # Errors
/// When an argument is wrong.
pub fn run(
    title: &str,
    unit: &str,
    measure: fn(u32) -> Vec<(&'static str, f64)>,
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut runs, mut events, mut json) = (5, 20_000, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => runs = arguments.next().ok_or(USAGE)?.parse::<usize>()?.max(1),
            "--events" => events = arguments.next().ok_or(USAGE)?.parse::<u32>()?.max(1),
            "--json" => json = true,
            _ => return Err(USAGE.into()),
        }
    }
    let mut figures: Vec<(&str, Vec<f64>)> = Vec::new();
    for (what, value) in (0..runs).flat_map(|_| measure(events)) {
        match figures.iter_mut().find(|(known, _)| *known == what) {
            Some((_, values)) => values.push(value),
            None => figures.push((what, vec![value])),
        }
    }
    let medians: Vec<(&str, f64)> = figures.iter_mut().map(|(what, values)| (*what, median(values))).collect();
    if json {
        let each: Vec<String> = medians.iter().map(|(what, value)| format!("\"{what}\": {value:.1}")).collect();
        println!("{{{}}}", each.join(", "));
        return Ok(());
    }
    println!("{title}: one engine over a map, {events} events, processor time, median of {runs} runs");
    for (what, value) in &medians {
        let ratio = format!("{:>8.2} times {unit} {:>10.0} a second", value / medians[0].1, 1e9 / value);
        println!("  {what:<58} {value:>9.0} {}", if what.ends_with("ns") { &ratio } else { "" });
    }
    Ok(())
}

/// One partition whose messages to itself are applied at once.
#[derive(Debug)]
pub struct Partition {
    engine: Engine,
    /// Its state.
    pub state: Map,
    /// The only clock.
    pub now: Time,
    count: u64,
}

impl Partition {
    /// A partition with this playbook in force. Panics when it is refused.
    pub fn new(id: &str, yaml: &str) -> Self {
        let state = Map::default();
        let engine = Engine::open(&state, 0, 1).expect("an empty store opens");
        let mut partition = Self { engine, state, now: Time(1_772_416_800_000), count: 0 };
        let sources = vec![PlaybookSource { id: id.to_owned(), yaml: yaml.to_owned() }];
        let body = CommandBody::Activate { sources, remove: Vec::new(), expected_active: 0, migrations: Vec::new() };
        let (tenant, actor, request_id) = (TENANT.to_owned(), "bench".to_owned(), "activate".to_owned());
        let received_at = partition.now;
        partition.apply(Input::Command(Box::new(Command { request_id, tenant, actor, received_at, body })));
        assert!(partition.engine.bundle(TENANT).is_some(), "the playbook is refused");
        partition
    }

    /// An event that nobody has seen before.
    pub fn event(&mut self, kind: Kind, subject: Vec<IdKey>, text: &str) -> Input {
        self.count += 1;
        let fields = match kind {
            Kind::IdentityLinked => Fields::new().with("evidence", Value::text("strong")),
            _ => Fields::new().with("direction", Value::text("in")),
        };
        Input::Event(Box::new(Event {
            id: EventId::derive(TENANT, "api", "", kind.name(), &self.count.to_le_bytes()),
            kind,
            custom_name: String::new(),
            tenant: TENANT.to_owned(),
            channel: Channel::Api,
            account: String::new(),
            occurred_at: None,
            precision: Precision::default(),
            received_at: self.now,
            subject,
            actor: Actor::Customer,
            native: Native::default(),
            cause: EventCause::default(),
            fields,
            private: Private::Plain { fields: Fields::new().with("text", Value::text(text)), raw: Vec::new() },
        }))
    }

    /// Applies a record and everything that follows from it; how many timers fired.
    pub fn apply(&mut self, input: Input) -> u32 {
        let (mut waiting, mut fired) = (VecDeque::from([input]), 0);
        while let Some(input) = waiting.pop_front() {
            self.now.0 += 1;
            let key = touchline_proto::input_key(&input).map(|key| key.to_string());
            let offset = self.engine.meta().offset;
            let record = Record { offset, append_time: self.now, key, input: Ok(input) };
            let effects = self.state.apply(&mut self.engine, &record).expect("a map can be read");
            fired += effects.notes.timers_fired;
            waiting.extend(effects.loops.into_iter().map(|(_, told)| Input::Loop(Box::new(told))));
        }
        fired
    }

    /// How many values lie under keys with this prefix, and their bytes, keys among them.
    pub fn bytes(&self, prefix: &str) -> (usize, usize) {
        let pairs = self.state.0.iter().filter(|(key, _)| key.starts_with(prefix.as_bytes()));
        pairs.fold((0, 0), |(count, bytes), (key, value)| (count + 1, bytes + key.len() + value.len()))
    }
}

/// Time this thread has had the processor: a busy machine does not count.
pub fn on_processor_ns() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    stat.split_whitespace().next().and_then(|text| text.parse().ok()).expect("the first number")
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
