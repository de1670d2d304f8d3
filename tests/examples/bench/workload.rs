//! The events of all benchmarks: a mix like a shop's day, the same for the same number.

use crate::Outcome;
use serde_json::{Value, json};
use touchline_channels::api;
use touchline_log::NewRecord;
use touchline_model::command::{Command, CommandBody, PlaybookSource};
use touchline_model::record::Input;
use touchline_model::time::Time;
use touchline_proto as proto;
use touchline_tests::repository;

/// Whose events they are.
pub(crate) const TENANT: &str = "demo";
/// What customers write that no keyword fits.
const SMALL_TALK: [&str; 4] =
    ["你好，在吗", "今天下单什么时候发货呀？", "谢谢，我再看看", "这个颜色还有吗？想给妈妈买一件"];
/// What customers write that asks for the price by the words of the playbook.
const ASKING: [&str; 3] = ["你们产品多少钱", "麻烦发一下报价单", "请问怎么收费？"];

/// The mix in words, for the report.
pub(crate) const MIX: &str = "of 20 events 9 messages without and 2 with a keyword, 2 replies of staff, 2 contacts added, 4 clicks, 1 order; \
                              8 events per contact; playbook tests/playbooks/a.yaml";

/// Event `number` of a run over `contacts` contacts, as `POST /v1/events` takes it.
pub(crate) fn event(number: u64, contacts: u64) -> Value {
    let drawn = mixed(number);
    let contact = (drawn >> 16) % contacts.max(1);
    let customer = json!({"kind": "wecom_external_userid", "scope": "wwcorp", "value": format!("wm{contact:010}")});
    let mut subject = vec![customer];
    let text = |texts: &[&str]| texts[(drawn >> 8) as usize % texts.len()].to_owned();
    let chat = |direction: &str, text: String| {
        json!({"direction": direction, "msg_type": "text", "staff": "zhangsan", "text": text,
            "conversation": {"type": "single"}})
    };
    let (kind, fields) = match drawn % 20 {
        0..9 => ("chat.message", chat("in", text(&SMALL_TALK))),
        9 | 10 => ("chat.message", chat("in", text(&ASKING))),
        11 | 12 => ("chat.message", chat("out", "您好，这是我们的介绍".to_owned())),
        13 | 14 => ("contact.added", json!({"staff": "zhangsan", "state": "store-7-qr"})),
        15..19 => {
            let content = format!("price-list-{}", (drawn >> 8) % 20);
            let url = format!("https://shop.example/{content}");
            ("content.clicked", json!({"content_id": content, "surface": "chat", "url": url}))
        }
        _ => {
            let order = format!("E{number:024}");
            subject.push(json!({"kind": "order", "scope": "youzan:111301484", "value": order}));
            let line = json!({"item_id": "2019949394", "line_id": "2893201869893533901", "paid_fen": 9900, "qty": 1,
                "title": "保湿面霜 50g", "unit_price_fen": 9900});
            (
                "order.paid",
                json!({"order_id": order, "paid_fen": 9900, "total_fen": 9900, "shop": "111301484",
                "lines": [line]}),
            )
        }
    };
    json!({"kind": kind, "tenant": TENANT, "source": "bench", "id": number.to_string(), "subject": subject,
        "fields": fields})
}

/// The record ingest appends for an event, with its partition.
pub(crate) fn record(event: &Value, partitions: u32, now: Time) -> Outcome<(u32, NewRecord)> {
    let accepted = api::decode(event.to_string().as_bytes(), now)?.remove(0)?;
    let partition = accepted.event.key().partition(partitions);
    Ok((partition, encoded(&Input::Event(Box::new(accepted.event)))))
}

/// The record that puts a playbook in force; it belongs to partition 0.
pub(crate) fn activation(yaml: &str, now: Time) -> NewRecord {
    let id = yaml.lines().find_map(|line| line.strip_prefix("playbook: ")).unwrap_or_default().to_owned();
    let sources = vec![PlaybookSource { id, yaml: yaml.to_owned() }];
    encoded(&Input::Command(Box::new(Command {
        request_id: "bench-activation".to_owned(),
        tenant: TENANT.to_owned(),
        actor: "bench".to_owned(),
        received_at: now,
        body: CommandBody::Activate { sources, remove: Vec::new(), expected_active: 0, migrations: Vec::new() },
    })))
}

/// Playbook example (a).
pub(crate) fn playbook() -> Outcome<String> {
    Ok(std::fs::read_to_string(repository("tests/playbooks/a.yaml"))?)
}

fn encoded(input: &Input) -> NewRecord {
    NewRecord {
        key: proto::input_key(input).map(|key| key.as_str().as_bytes().to_vec()),
        headers: proto::input_headers(input),
        value: proto::encode_input(input),
    }
}

/// splitmix64: the same event for the same number, evenly spread.
const fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
