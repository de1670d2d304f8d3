//! Playbook example (a) and the people in it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use touchline_log::NewRecord;
use touchline_model::command::{Command, CommandBody, PlaybookSource};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::Input;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};

pub const PLAYBOOK: &str = r#"
playbook: price-consideration
timezone: Asia/Shanghai
tag_groups:
  - {id: 商机, exclusive: true, tags: [初步沟通, 考虑价格, 方案确认, 赢单, 输单]}
keywords:
  价格: {any: [价格, 价钱, 多少钱, 报价, 怎么收费], fold: [nfkc, t2s, lower]}
rules:
  - id: asks-price
    trigger: chat.message(direction=in, text has 价格)
    when: not (tag(商机/方案确认) or tag(商机/赢单))
    do: [{set_tag: 商机/考虑价格}]
boards:
  - {id: 商机看板, group: 商机, columns: [初步沟通, 考虑价格, 方案确认, 赢单, 输单]}
journeys:
  - id: sop-考虑价格
    entry: {trigger: stage_entered(商机看板/考虑价格)}
    re_entry: {after_exit: 30d}
    exit: {trigger: [stage_left(商机看板/考虑价格), order.paid]}
    goal: {trigger: order.paid, within: 30d}
    steps:
      - {id: p1, after: 5m, touchpoint: dm, content: 报价说明}
      - {id: p2, day: 1, at: "10:00", touchpoint: dm, content: 客户案例-ROI}
      - {id: p3, day: 3, at: "10:00", touchpoint: dm, content: 限时方案}
"#;

pub fn at(text: &str) -> Time {
    Time::parse_rfc3339(text).expect(text)
}

pub fn sources() -> Vec<PlaybookSource> {
    vec![PlaybookSource { id: "price-consideration".into(), yaml: PLAYBOOK.into() }]
}

pub fn event(kind: Kind, customer: &str, occurred_at: &str, text: &str) -> Event {
    let subject = vec![IdKey::new(IdKind::WecomExternalUserid, "ww1", customer)];
    let time = at(occurred_at);
    let basis = format!("{customer}{occurred_at}");
    let private = Fields::new().with("text", Value::text(text));
    Event {
        id: EventId::derive("acme", "api", "", kind.name(), basis.as_bytes()),
        kind,
        custom_name: String::new(),
        tenant: "acme".into(),
        channel: Channel::Api,
        account: String::new(),
        occurred_at: Some(time),
        precision: Precision::default(),
        received_at: time,
        subject,
        actor: Actor::Customer,
        native: Native::default(),
        cause: EventCause::default(),
        fields: Fields::new().with("direction", Value::text("in")),
        private: Private::Plain { fields: private, raw: Vec::new() },
    }
}

/// The activation of the playbook, at `now`.
pub fn activation(now: Time) -> Input {
    let body = CommandBody::Activate { sources: sources(), remove: vec![], expected_active: 0, migrations: Vec::new() };
    let (request_id, tenant, actor) = ("r1".into(), "acme".into(), "test".into());
    Input::Command(Box::new(Command { request_id, tenant, actor, received_at: now, body }))
}

/// A record of `events`.
pub fn record(input: &Input) -> NewRecord {
    NewRecord {
        key: touchline_proto::input_key(input).map(|key| key.as_str().as_bytes().to_vec()),
        headers: touchline_proto::input_headers(input),
        value: touchline_proto::encode_input(input),
    }
}
