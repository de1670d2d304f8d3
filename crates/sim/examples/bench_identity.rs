//! `cargo xtask bench identity`: what links cost the engine, each figure beside that of a plain event in the same run.
//!
//! What it is: one engine over a map, so that only applying is measured. What it is not: the way of a record through a
//! log, its encoding and RocksDB, and the delay of a hop (see `bench pipeline` and `bench replay`).

#![expect(clippy::print_stdout, reason = "a command-line tool")]

use std::collections::VecDeque;
use touchline_engine::{Engine, Overlay};
use touchline_model::command::{Command, CommandBody, PlaybookSource};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::{Input, Record};
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};
use touchline_sim::map::Map;

const USAGE: &str = "usage: bench_identity [--runs N] [--events N] [--json]";
const TENANT: &str = "demo";
/// A contact as in example (a): an exclusive stage, and a journey with three steps that is entered by it.
const PLAYBOOK: &str = r#"
playbook: identity
tag_groups:
  - {id: 商机, exclusive: true, tags: [初步沟通, 考虑价格]}
keywords: {价格: {any: [价格, 多少钱, 报价]}}
rules:
  - {id: asks, trigger: "chat.message(direction=in, text has 价格)", do: [{set_tag: 商机/考虑价格}]}
boards: [{id: 看板, group: 商机, columns: [初步沟通, 考虑价格]}]
journeys:
  - id: sop
    entry: {trigger: stage_entered(看板/考虑价格)}
    steps:
      - {id: p1, after: 1d, touchpoint: dm, content: a}
      - {id: p2, after: 1d, touchpoint: dm, content: b}
      - {id: p3, after: 1d, touchpoint: dm, content: c}
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut runs, mut contacts, mut json) = (5, 20_000, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => runs = arguments.next().ok_or(USAGE)?.parse::<usize>()?.max(1),
            "--events" => contacts = arguments.next().ok_or(USAGE)?.parse::<u32>()?.max(1),
            "--json" => json = true,
            _ => return Err(USAGE.into()),
        }
    }
    let mut figures: Vec<(&str, Vec<f64>)> = Vec::new();
    for _ in 0..runs {
        for (what, value) in measure(contacts) {
            match figures.iter_mut().find(|(known, _)| *known == what) {
                Some((_, values)) => values.push(value),
                None => figures.push((what, vec![value])),
            }
        }
    }
    let medians: Vec<(&str, f64)> = figures.iter_mut().map(|(what, values)| (*what, median(values))).collect();
    let direct = medians[0].1;
    if json {
        let each: Vec<String> = medians.iter().map(|(what, value)| format!("\"{what}\": {value:.1}")).collect();
        println!("{{{}}}", each.join(", "));
        return Ok(());
    }
    println!("identity: one engine over a map, {contacts} contacts, processor time, median of {runs} runs");
    for (what, value) in medians {
        let ratio =
            if what.ends_with("ns") { format!("{:>8.2} times a direct event", value / direct) } else { String::new() };
        println!("  {what:<56} {value:>10.0} {ratio}");
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Time this thread has had the processor: a busy machine does not count.
fn on_processor_ns() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    stat.split_whitespace().next().and_then(|text| text.parse().ok()).expect("the first number")
}

/// One run; the first figure is that of a direct event.
fn measure(contacts: u32) -> Vec<(&'static str, f64)> {
    let mut bench = Bench::new();
    let wecom = |number: u32| IdKey::new(IdKind::WecomExternalUserid, "ww1", format!("wm{number:010}"));
    let shop = |number: u32| IdKey::new(IdKind::YzOpenId, "youzan", format!("yz{number:010}"));
    let card = |number: u32| IdKey::new(IdKind::TbOpenUid, "app1", format!("tb{number:010}"));
    let order = |number: u32| IdKey::new(IdKind::Order, "youzan:1", format!("E{number:024}"));
    let mut each = |of: &dyn Fn(u32) -> (Kind, Vec<IdKey>, &'static str)| {
        let inputs: Vec<Input> = (0..contacts).map(|number| bench.event(of(number))).collect();
        let began = on_processor_ns();
        for input in inputs {
            bench.apply(input);
        }
        (on_processor_ns() - began) / f64::from(contacts)
    };
    let says = |id: IdKey, text| (Kind::ChatMessage, vec![id], text);
    each(&|number| says(wecom(number), "多少钱"));
    each(&|number| says(shop(number), "你好"));
    each(&|number| says(card(number), "多少钱"));
    let direct = each(&|number| says(wecom(number), "你好"));
    let order_seen = each(&|number| (Kind::ChatMessage, vec![wecom(number), order(number)], "你好"));
    let order_again = each(&|number| (Kind::ChatMessage, vec![wecom(number), order(number)], "你好"));
    let small = each(&|number| (Kind::IdentityLinked, vec![wecom(number), shop(number)], ""));
    let large = each(&|number| (Kind::IdentityLinked, vec![wecom(number), card(number)], ""));
    let forwarded = each(&|number| says(card(number), "你好"));
    let (cell, marks) = bench.forward_bytes();
    vec![
        ("direct event, ns", direct),
        ("event through one forward, ns", forwarded),
        ("event that names an order for the first time, ns", order_seen),
        ("the same again, ns", order_again),
        ("link and merge of a contact that has only spoken, ns", small),
        ("link and merge with a tag and a journey in both, ns", large),
        ("forwarding cell, bytes of key and value", cell),
        ("marks of whom cells have told, bytes per contact", marks / f64::from(contacts)),
    ]
}

/// One partition whose messages to itself are applied at once.
struct Bench {
    engine: Engine,
    map: Map,
    now: Time,
    count: u64,
}

impl Bench {
    fn new() -> Self {
        let map = Map::default();
        let engine = Engine::open(&map, 0, 1).expect("an empty store opens");
        let mut bench = Self { engine, map, now: Time(1_772_416_800_000), count: 0 };
        let sources = vec![PlaybookSource { id: "identity".to_owned(), yaml: PLAYBOOK.to_owned() }];
        let body = CommandBody::Activate { sources, remove: Vec::new(), expected_active: 0 };
        let (tenant, actor, request_id) = (TENANT.to_owned(), "bench".to_owned(), "activate".to_owned());
        bench.apply(Input::Command(Box::new(Command { request_id, tenant, actor, received_at: bench.now, body })));
        assert!(bench.engine.bundle(TENANT).is_some(), "the playbook is refused");
        bench
    }

    fn event(&mut self, (kind, subject, text): (Kind, Vec<IdKey>, &str)) -> Input {
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

    /// Applies a record and everything that follows from it.
    fn apply(&mut self, input: Input) {
        let mut waiting = VecDeque::from([input]);
        while let Some(input) = waiting.pop_front() {
            self.now.0 += 1;
            let key = touchline_proto::input_key(&input).map(|key| key.to_string());
            let offset = self.engine.meta().offset;
            let record = Record { offset, append_time: self.now, key, input: Ok(input) };
            let mut overlay = Overlay::new(&self.map);
            let effects = self.engine.apply(&mut overlay, &record).expect("a map can be read");
            for (key, value) in overlay.into_writes().collect::<Vec<_>>() {
                match value {
                    Some(value) => self.map.0.insert(key, value),
                    None => self.map.0.remove(&key),
                };
            }
            waiting.extend(effects.loops.into_iter().map(|(_, told)| Input::Loop(Box::new(told))));
        }
    }

    /// Bytes of one forwarding cell, and of all marks.
    fn forward_bytes(&self) -> (f64, f64) {
        let with = |prefix: String| {
            let pairs = self.map.0.iter().filter(move |(key, _)| key.starts_with(prefix.as_bytes()));
            let bytes: Vec<usize> = pairs.map(|(key, value)| key.len() + value.len()).collect();
            (bytes.len().max(1) as f64, bytes.iter().sum::<usize>() as f64)
        };
        let (cells, bytes) = with(format!("c|{TENANT}/{}/", IdKind::TbOpenUid.name()));
        (bytes / cells, with("n|".to_owned()).1)
    }
}
