//! `cargo xtask bench identity`: what links cost the engine, each figure beside that of a plain event in the same run.
//!
//! What it is: one engine over a map, so that only applying is measured. What it is not: the way of a record through a
//! log, its encoding and RocksDB, and the delay of a hop (see `bench pipeline` and `bench replay`).

use touchline_model::id::{IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::Input;
use touchline_sim::bench::{self, Partition, on_processor_ns};

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
    bench::run("identity", "a direct event", measure)
}

/// One run; the first figure is that of a direct event.
fn measure(contacts: u32) -> Vec<(&'static str, f64)> {
    let mut bench = Partition::new("identity", PLAYBOOK);
    let wecom = |number: u32| IdKey::new(IdKind::WecomExternalUserid, "ww1", format!("wm{number:010}"));
    let shop = |number: u32| IdKey::new(IdKind::YzOpenId, "youzan", format!("yz{number:010}"));
    let card = |number: u32| IdKey::new(IdKind::TbOpenUid, "app1", format!("tb{number:010}"));
    let order = |number: u32| IdKey::new(IdKind::Order, "youzan:1", format!("E{number:024}"));
    let mut each = |of: &dyn Fn(u32) -> (Kind, Vec<IdKey>, &'static str)| {
        let mut event = |number| {
            let (kind, subject, text) = of(number);
            bench.event(kind, subject, text)
        };
        let inputs: Vec<Input> = (0..contacts).map(&mut event).collect();
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
    let (cells, cell_bytes) = bench.bytes(&format!("c|demo/{}/", IdKind::TbOpenUid.name()));
    let (_, marks_bytes) = bench.bytes("n|");
    vec![
        ("direct event, ns", direct),
        ("event through one forward, ns", forwarded),
        ("event that names an order for the first time, ns", order_seen),
        ("the same again, ns", order_again),
        ("link and merge of a contact that has only spoken, ns", small),
        ("link and merge with a tag and a journey in both, ns", large),
        ("forwarding cell, bytes of key and value", cell_bytes as f64 / cells.max(1) as f64),
        ("marks of whom cells have told, bytes per contact", marks_bytes as f64 / f64::from(contacts)),
    ]
}
