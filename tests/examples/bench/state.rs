//! Bytes of state per contact, by kind of key, and on disk once RocksDB has put it in order.

use crate::embedded::{self, PARTITIONS, Pipeline, Stores};
use crate::report::Report;
use crate::{Options, Outcome, workload};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use touchline_log::{SystemWall, Wall};
use touchline_store::Store;

/// Contacts of a run.
const CONTACTS: u64 = 10_000;
/// Pairs read at once.
const CHUNK: usize = 4_096;
/// What the first bytes of a key stand for, see `touchline_engine::keys`.
const KINDS: [(&[u8], &str); 6] = [
    (b"c|", "cells"),
    (b"y|", "causes of tags"),
    (touchline_engine::keys::TIMERS, "timers"),
    (touchline_engine::keys::DEDUPE, "dedupe"),
    (b"m|", "of the partition"),
    (b"p|", "of the partition"),
];

/// Measures; the state is the same in every run, so there is one.
pub(crate) fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let contacts = options.events.unwrap_or(CONTACTS);
    report.fact("data", format!("{contacts} contacts; an added contact and two messages each, one with the keyword"));
    let example = workload::playbook()?;
    let many = many_tags();
    report.fact("many", "20 tags, 2 boards, 3 journeys with 5 timers between them");
    for (name, yaml) in [("example (a)", example), ("20 tags", many)] {
        measure(options, contacts, name, &yaml, report)?;
    }
    Ok(())
}

fn measure(options: &Options, contacts: u64, name: &str, yaml: &str, report: &mut Report) -> Outcome<()> {
    let dir = embedded::fresh(&options.dir)?;
    let pipeline = Pipeline::start(dir.path(), Stores::Rocks, yaml)?;
    let now = SystemWall.now();
    let events = (0..contacts).flat_map(|contact| (0..3).map(move |step| event(contact, step)));
    pipeline.fill(events.map(|event| workload::record(&event, PARTITIONS, now)))?;
    drop(pipeline.stop());
    let (cache, mut kinds) = (embedded::cache(), BTreeMap::<String, (u64, u64)>::new());
    for partition in 0..PARTITIONS {
        let store = embedded::open_store(dir.path(), partition, &cache)?;
        tally(&store, &mut kinds)?;
        store.compact()?;
    }
    let per_contact = |bytes: u64| bytes as f64 / contacts as f64;
    let lasting = kinds.iter().filter(|(kind, _)| kind.as_str() != "dedupe");
    report.add(&format!("{name}, state"), "bytes per contact", per_contact(lasting.map(|(_, (_, bytes))| bytes).sum()));
    let disk = disk_bytes(&dir.path().join("store"))?;
    report.add(&format!("{name}, on disk with dedupe marks"), "bytes per contact", per_contact(disk));
    for (kind, (count, bytes)) in kinds {
        report.add(&format!("{name}, {kind}"), "bytes per contact", per_contact(bytes));
        report.add(&format!("{name}, {kind}: keys"), "per contact", per_contact(count));
    }
    Ok(())
}

fn event(contact: u64, step: u64) -> Value {
    let subject = json!([{"kind": "wecom_external_userid", "scope": "wwcorp", "value": format!("wm{contact:010}")}]);
    let chat = |text: &str| json!({"direction": "in", "msg_type": "text", "staff": "zhangsan", "text": text});
    let (kind, fields) = match step {
        0 => ("contact.added", json!({"staff": "zhangsan", "state": "store-7-qr"})),
        1 => ("chat.message", chat("你好，在吗")),
        _ => ("chat.message", chat("你们产品多少钱")),
    };
    json!({"kind": kind, "tenant": workload::TENANT, "source": "bench", "id": format!("{contact}-{step}"),
        "subject": subject, "fields": fields})
}

/// Sums count and bytes of keys and values by what the first letter of the key stands for.
fn tally(store: &dyn Store, kinds: &mut BTreeMap<String, (u64, u64)>) -> Outcome<()> {
    let mut from = Vec::new();
    loop {
        let pairs = store.scan(&from, &[0xff], CHUNK)?;
        let Some((last, _)) = pairs.last() else { return Ok(()) };
        from = [last.as_slice(), &[0]].concat();
        for (key, value) in &pairs {
            let (count, bytes) = kinds.entry(kind_of(key)).or_default();
            *count += 1;
            *bytes += (key.len() + value.len()) as u64;
        }
    }
}

fn kind_of(key: &[u8]) -> String {
    KINDS.iter().find(|(prefix, _)| key.starts_with(prefix)).map_or_else(
        || format!("other ({})", key.first().map(|&letter| char::from(letter)).unwrap_or_default()),
        |(_, kind)| (*kind).to_owned(),
    )
}

fn disk_bytes(dir: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for partition in std::fs::read_dir(dir)? {
        for file in std::fs::read_dir(partition?.path())? {
            let file = file?;
            if file.path().extension().is_some_and(|extension| extension == "sst") {
                bytes += file.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}

/// A playbook that leaves a contact with many tags, two boards and three journeys.
fn many_tags() -> String {
    let labels: Vec<String> = (0..18).map(|number| format!("标签{number}")).collect();
    let actions: Vec<String> = labels.iter().map(|label| format!("{{set_tag: 画像/{label}}}")).collect();
    let mut yaml = String::new();
    write!(
        yaml,
        "playbook: many\ntimezone: Asia/Shanghai\ntag_groups:\n\
         \x20 - {{id: 商机, exclusive: true, tags: [初步沟通, 考虑价格]}}\n\
         \x20 - {{id: 会员, exclusive: true, tags: [普通, 银卡]}}\n\
         \x20 - {{id: 画像, tags: [{}]}}\n\
         rules:\n\
         \x20 - {{id: all, trigger: chat.message(direction=in), do: [{{set_tag: 商机/初步沟通}}, {{set_tag: 会员/普通}}, {}]}}\n\
         boards:\n\
         \x20 - {{id: 商机看板, group: 商机, columns: [初步沟通, 考虑价格]}}\n\
         \x20 - {{id: 会员看板, group: 会员, columns: [普通, 银卡]}}\n\
         journeys:\n",
        labels.join(", "),
        actions.join(", ")
    )
    .expect("writing to a string");
    for (number, goal) in [(1, true), (2, true), (3, false)] {
        let goal = if goal { "    goal: {trigger: order.paid, within: 30d}\n" } else { "" };
        write!(
            yaml,
            "  - id: sop-{number}\n    entry: {{trigger: stage_entered(商机看板/初步沟通)}}\n{goal}    steps:\n\
             \x20     - {{id: s1, after: 1d, touchpoint: dm, content: 内容{number}}}\n\
             \x20     - {{id: s2, after: 3d, touchpoint: dm, content: 后续{number}}}\n"
        )
        .expect("writing to a string");
    }
    yaml
}
