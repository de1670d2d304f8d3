//! `cargo xtask bench language`: what rules, keywords, counts and timers cost the engine, each beside ten rules in the
//! same run.
//!
//! What it is: one engine over a map, so that only applying is measured. What it is not: the way of a record through a
//! log, its encoding and RocksDB (see `bench pipeline` and `bench replay`).

use std::fmt::Write;
use touchline_model::id::{IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::Input;
use touchline_model::time::Span;
use touchline_model::value::{Fields, Value};
use touchline_sim::bench::{self, Partition, on_processor_ns};

/// Customers who write by turns.
const CONTACTS: u32 = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    bench::run("language", "ten rules", measure)
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
        ("an order, 10 rules each on an article, ns", orders(&article_rules(10), events)),
        ("an order, 100 rules each on an article, ns", orders(&article_rules(100), events)),
        ("an order, 1000 rules each on an article, ns", orders(&article_rules(1_000), events)),
        ("a message, 10 rules on any, none holds, ns", messages(&plain_rules(10), events)),
        ("a message, 100 rules on any, none holds, ns", messages(&plain_rules(100), events)),
        ("a message, 1000 rules on any, none holds, ns", messages(&plain_rules(1_000), events)),
        ("a message sets a tag, 10 rules each on a tag, ns", messages(&reacting_rules(10), events)),
        ("a message sets a tag, 1000 rules each on a tag, ns", messages(&reacting_rules(1_000), events)),
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

/// So many rules, each on orders with an article of its own.
fn article_rules(rules: usize) -> String {
    let mut yaml = String::from("playbook: p\ntag_groups: [{id: g, exclusive: true, tags: [a, b]}]\nrules:\n");
    for rule in 0..rules {
        let _ = writeln!(
            yaml,
            "  - {{id: r{rule}, trigger: \"order.paid(any_line.sku = c{rule})\", do: [{{set_tag: g/a}}]}}"
        );
    }
    yaml
}

/// So many rules on every message, whose conditions have to be asked and do not hold.
fn plain_rules(rules: usize) -> String {
    let mut yaml = String::from("playbook: p\ntag_groups: [{id: g, exclusive: true, tags: [a, b]}]\nrules:\n");
    for rule in 0..rules {
        let _ = writeln!(
            yaml,
            "  - {{id: r{rule}, trigger: \"chat.message(direction=in)\", when: tag(g/b), do: [{{set_tag: g/a}}]}}"
        );
    }
    yaml
}

/// Two rules that swap a tag with every message, and so many that listen to a tag of their own.
fn reacting_rules(rules: usize) -> String {
    let tags: Vec<String> = (0..rules).map(|rule| format!("t{rule}")).collect();
    let mut yaml = format!(
        "playbook: p\ntag_groups: [{{id: g, exclusive: true, tags: [a, b]}}, {{id: h, tags: [{}]}}, {{id: i, tags: [x]}}]\nrules:\n",
        tags.join(", ")
    );
    yaml += "  - {id: to-a, trigger: \"chat.message(text has 在吗)\", do: [{set_tag: g/a}]}\n";
    yaml += "  - {id: to-b, trigger: \"chat.message(text has 好的)\", do: [{set_tag: g/b}]}\n";
    yaml = yaml.replace("\nrules:", "\nkeywords: {在吗: {any: [在吗]}, 好的: {any: [好的]}}\nrules:");
    for tag in tags {
        let _ = writeln!(yaml, "  - {{id: on-{tag}, trigger: tag_set(h/{tag}), do: [{{set_tag: i/x}}]}}");
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
    let mut bench = Partition::new("p", yaml);
    let texts =
        ["你们产品多少钱？我想问一下词0之0号的价格，谢谢", "在吗，今天下午方便聊一下吗", "好的，收到，明天再说"];
    let inputs: Vec<Input> =
        (0..events).map(|number| says(&mut bench, number % CONTACTS, texts[number as usize % texts.len()])).collect();
    timed(&mut bench, inputs)
}

/// Orders of two lines each, with articles that no more than one rule asks for.
fn orders(yaml: &str, events: u32) -> f64 {
    let mut bench = Partition::new("p", yaml);
    let line = |sku: String| Value::Record(Fields::new().with("outer_sku", Value::text(sku)));
    let mut inputs = Vec::new();
    for number in 0..events {
        let mut input = of_customer(&mut bench, Kind::OrderPaid, number % CONTACTS, "");
        if let Input::Event(event) = &mut input {
            let lines = vec![line("other".to_owned()), line(format!("c{}", number % 20))];
            event.fields = Fields::new().with("lines", Value::List(lines));
        }
        inputs.push(input);
    }
    timed(&mut bench, inputs)
}

/// Processor time of one of them, in nanoseconds.
fn timed(bench: &mut Partition, inputs: Vec<Input>) -> f64 {
    let count = inputs.len() as f64;
    let began = on_processor_ns();
    for input in inputs {
        bench.apply(input);
    }
    (on_processor_ns() - began) / count
}

/// Silences of as many contacts as events: how many fired, and what firing and arming one cost.
fn timers(contacts: u32) -> (f64, f64, f64) {
    let mut bench = Partition::new(
        "p",
        "playbook: p
tag_groups: [{id: g, tags: [quiet]}]
rules: [{id: r, trigger: \"silence(chat.message, for=1d, since=chat.message)\", do: [{set_tag: g/quiet}]}]
",
    );
    let inputs: Vec<Input> = (0..contacts).map(|number| says(&mut bench, number, "在吗")).collect();
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
    let mut bench = Partition::new("p", &yaml);
    for _ in 0..10 {
        let input = says(&mut bench, 1, "在吗");
        bench.apply(input);
    }
    bench.bytes("c|").1 as f64
}

fn says(bench: &mut Partition, contact: u32, text: &str) -> Input {
    of_customer(bench, Kind::ChatMessage, contact, text)
}

fn of_customer(bench: &mut Partition, kind: Kind, contact: u32, text: &str) -> Input {
    let id = IdKey::new(IdKind::WecomExternalUserid, "ww1", format!("wm{contact:010}"));
    bench.event(kind, vec![id], text)
}
