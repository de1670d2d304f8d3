//! `cargo xtask bench language`: what rules, keywords, counts and timers cost the engine, each beside ten rules in the
//! same run.
//!
//! What it is: one engine over a map, so that only applying is measured. What it is not: the way of a record through a
//! log, its encoding and RocksDB (see `bench pipeline` and `bench replay`).

#![expect(clippy::print_stdout, reason = "a command-line tool")]

use std::collections::VecDeque;
use std::fmt::Write;
use touchline_engine::{Engine, Overlay};
use touchline_model::command::{Command, CommandBody, PlaybookSource};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::{Input, Record};
use touchline_model::time::{Span, Time};
use touchline_model::value::{Fields, Value};
use touchline_sim::map::Map;

const USAGE: &str = "usage: bench_language [--runs N] [--events N] [--json]";
const TENANT: &str = "demo";
/// Customers who write by turns.
const CONTACTS: u32 = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
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
    for _ in 0..runs {
        for (what, value) in measure(events) {
            match figures.iter_mut().find(|(known, _)| *known == what) {
                Some((_, values)) => values.push(value),
                None => figures.push((what, vec![value])),
            }
        }
    }
    let medians: Vec<(&str, f64)> = figures.iter_mut().map(|(what, values)| (*what, median(values))).collect();
    let ten = medians[0].1;
    if json {
        let each: Vec<String> = medians.iter().map(|(what, value)| format!("\"{what}\": {value:.1}")).collect();
        println!("{{{}}}", each.join(", "));
        return Ok(());
    }
    println!("language: one engine over a map, {events} messages, processor time, median of {runs} runs");
    for (what, value) in medians {
        let ratio = if what.ends_with("ns") {
            format!("{:>8.2} times ten rules {:>10.0} a second", value / ten, 1e9 / value)
        } else {
            String::new()
        };
        println!("  {what:<58} {value:>9.0} {ratio}");
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

/// One run; the first figure is that of ten rules.
fn measure(events: u32) -> Vec<(&'static str, f64)> {
    let (fired, fire_ns, armed_ns) = timers(events);
    vec![
        ("a message, 10 rules listen, ns", messages(&keyword_rules(10, 1), events)),
        ("a message, 100 rules listen, ns", messages(&keyword_rules(100, 1), events)),
        ("a message, 1000 rules listen, ns", messages(&keyword_rules(1_000, 1), events)),
        ("a message, 10 rules with 200 keywords, ns", messages(&keyword_rules(10, 20), events)),
        ("a message, 10 rules with 5000 keywords, ns", messages(&keyword_rules(10, 500), events)),
        ("a message, 10 segments by counts, ns", messages(&counting(10), events)),
        ("a silence armed by an event, ns", armed_ns),
        ("a silence fired, with its tag, ns", fire_ns),
        ("silences fired", fired),
        ("state of a contact: 20 tags, 2 boards, 10 counters, bytes", state_bytes()),
    ]
}

/// So many rules, each with a keyword set of so many keywords; what is written has one of the first.
fn keyword_rules(rules: usize, keywords: usize) -> String {
    let mut yaml = String::from("playbook: p\ntag_groups: [{id: g, exclusive: true, tags: [a, b]}]\nkeywords:\n");
    for rule in 0..rules {
        let words: Vec<String> = (0..keywords).map(|word| format!("词{rule}之{word}号")).collect();
        let _ = writeln!(yaml, "  k{rule}: {{any: [{}]}}", words.join(", "));
    }
    yaml += "rules:\n";
    for rule in 0..rules {
        let tag = if rule % 2 == 0 { "a" } else { "b" };
        let _ = writeln!(
            yaml,
            "  - {{id: r{rule}, trigger: \"chat.message(direction=in, text has k{rule})\", when: not tag(g/b), do: [{{set_tag: g/{tag}}}]}}"
        );
    }
    yaml
}

/// So many segments, each of a count in a window.
fn counting(segments: usize) -> String {
    let mut yaml = String::from("playbook: p\nsegments:\n");
    for segment in 0..segments {
        let _ = writeln!(
            yaml,
            "  s{segment}: \"count(chat.message(direction=in, staff != x{segment}), within={}d) >= 10\"",
            segment + 1
        );
    }
    yaml
}

fn messages(yaml: &str, events: u32) -> f64 {
    let mut bench = Bench::new(yaml);
    let texts =
        ["你们产品多少钱？我想问一下词0之0号的价格，谢谢", "在吗，今天下午方便聊一下吗", "好的，收到，明天再说"];
    let inputs: Vec<Input> = (0..events)
        .map(|number| bench.event(Kind::ChatMessage, number % CONTACTS, texts[number as usize % texts.len()]))
        .collect();
    let began = on_processor_ns();
    for input in inputs {
        bench.apply(input);
    }
    (on_processor_ns() - began) / f64::from(events)
}

/// Silences of as many contacts as events: how many fired, and what firing and arming one cost.
fn timers(contacts: u32) -> (f64, f64, f64) {
    let mut bench = Bench::new(
        "playbook: p
tag_groups: [{id: g, tags: [quiet]}]
rules: [{id: r, trigger: \"silence(chat.message, for=1d, since=chat.message)\", do: [{set_tag: g/quiet}]}]
",
    );
    let inputs: Vec<Input> = (0..contacts).map(|number| bench.event(Kind::ChatMessage, number, "在吗")).collect();
    let began = on_processor_ns();
    for input in inputs {
        bench.apply(input);
    }
    let armed = on_processor_ns() - began;
    bench.now = bench.now.plus(Span::days(2));
    let began = on_processor_ns();
    let (mut fired, mut before) = (0, 1);
    while before > 0 {
        let now = bench.now;
        before = bench.apply(Input::Tick { wall: now });
        fired += before;
    }
    let each = (on_processor_ns() - began) / f64::from(fired.max(1));
    (f64::from(fired), each, armed / f64::from(contacts))
}

/// Key and value of the hot cell and its reasons.
fn state_bytes() -> f64 {
    let mut yaml = String::from("playbook: p\ntag_groups:\n");
    for group in 0..2 {
        let _ = writeln!(yaml, "  - {{id: 看板组{group}, exclusive: true, tags: [初步沟通, 考虑价格]}}");
    }
    let tags: Vec<String> = (0..18).map(|tag| format!("标签{tag}")).collect();
    let _ = writeln!(yaml, "  - {{id: 兴趣, tags: [{}]}}", tags.join(", "));
    yaml += "boards: [{id: 看板0, group: 看板组0}, {id: 看板1, group: 看板组1}]\nsegments:\n";
    for counter in 0..10 {
        let _ = writeln!(yaml, "  s{counter}: \"count(chat.message(staff != x{counter}), within=30d) >= 4\"");
    }
    yaml += "rules:\n";
    let mut rule = |number: usize, tag: &str| {
        let _ = writeln!(yaml, "  - {{id: r{number}, trigger: chat.message, do: [{{set_tag: {tag}}}]}}");
    };
    rule(100, "看板组0/考虑价格");
    rule(101, "看板组1/考虑价格");
    for (number, tag) in tags.iter().enumerate() {
        rule(number, &format!("兴趣/{tag}"));
    }
    let mut bench = Bench::new(&yaml);
    for _ in 0..10 {
        let input = bench.event(Kind::ChatMessage, 1, "在吗");
        bench.apply(input);
    }
    let cells = bench.map.0.iter().filter(|(key, _)| key.starts_with(b"c|"));
    cells.map(|(key, value)| (key.len() + value.len()) as f64).sum()
}

/// One partition.
struct Bench {
    engine: Engine,
    map: Map,
    now: Time,
    count: u64,
}

impl Bench {
    fn new(yaml: &str) -> Self {
        let map = Map::default();
        let engine = Engine::open(&map, 0, 1).expect("an empty store opens");
        let mut bench = Self { engine, map, now: Time(1_772_416_800_000), count: 0 };
        let sources = vec![PlaybookSource { id: "p".to_owned(), yaml: yaml.to_owned() }];
        let body = CommandBody::Activate { sources, remove: Vec::new(), expected_active: 0 };
        let (tenant, actor, request_id) = (TENANT.to_owned(), "bench".to_owned(), "activate".to_owned());
        bench.apply(Input::Command(Box::new(Command { request_id, tenant, actor, received_at: bench.now, body })));
        assert!(bench.engine.bundle(TENANT).is_some(), "the playbook is refused");
        bench
    }

    fn event(&mut self, kind: Kind, contact: u32, text: &str) -> Input {
        self.count += 1;
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
            subject: vec![IdKey::new(IdKind::WecomExternalUserid, "ww1", format!("wm{contact:010}"))],
            actor: Actor::Customer,
            native: Native::default(),
            cause: EventCause::default(),
            fields: Fields::new().with("direction", Value::text("in")),
            private: Private::Plain { fields: Fields::new().with("text", Value::text(text)), raw: Vec::new() },
        }))
    }

    /// Applies a record and everything that follows from it; how many timers fired.
    fn apply(&mut self, input: Input) -> u32 {
        let mut waiting = VecDeque::from([input]);
        let mut fired = 0;
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
            fired += effects.notes.timers_fired;
            waiting.extend(effects.loops.into_iter().map(|(_, told)| Input::Loop(Box::new(told))));
        }
        fired
    }
}
