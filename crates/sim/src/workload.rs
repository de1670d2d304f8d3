//! What customers and staff do in a run, by seed.

use crate::random::Random;
use touchline_model::command::{Command, CommandBody, PlaybookSource};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{CellKey, EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::Input;
use touchline_model::time::{Span, Time};
use touchline_model::value::{Fields, Value};

pub(crate) const TENANT: &str = "acme";
pub(crate) const BOARD: &str = "商机看板";
pub(crate) const COLUMNS: [&str; 5] = ["初步沟通", "考虑价格", "方案确认", "赢单", "输单"];
/// Few enough that everybody meets every kind of event, more than there are partitions.
const CUSTOMERS: u64 = 10;
/// Texts, and whether they ask for the price by the playbook's words (folded).
const TEXTS: [&str; 7] =
    ["你们产品多少钱", "多少錢呀", "怎么收费？", "报价单发我", "你好", "今天天气不错", "什么时候发货"];

/// Playbook example (a).
const PLAYBOOK: &str = r#"
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
metrics:
  - {id: 付款, count: order.paid, per: [executor, calendar_day]}
"#;

/// Makes records; counts them so that every one has its own id.
pub(crate) struct Workload {
    random: Random,
    count: u64,
}

impl Workload {
    pub(crate) const fn new(random: Random) -> Self {
        Self { random, count: 0 }
    }

    /// The activation of the playbook.
    pub(crate) fn activation(now: Time) -> Input {
        let sources = vec![PlaybookSource { id: "price-consideration".into(), yaml: PLAYBOOK.into() }];
        command(
            "activate".to_owned(),
            now,
            CommandBody::Activate { sources, remove: Vec::new(), expected_active: 0, migrations: Vec::new() },
        )
    }

    /// Joins every second customer's shop id to the customer, before the shop id has any state.
    pub(crate) fn links(now: Time) -> Vec<Input> {
        let joined = (0..CUSTOMERS).filter(|customer| is_joined(*customer));
        joined
            .map(|customer| {
                let fields = Fields::new().with("evidence", Value::text("strong"));
                let subject = vec![wecom(customer), shop(customer)];
                event(Kind::IdentityLinked, &format!("link{customer}"), subject, now, Some(now), fields, "")
            })
            .collect()
    }

    /// Something happens.
    pub(crate) fn next(&mut self, now: Time) -> Input {
        self.count += 1;
        let basis = self.count.to_string();
        let customer = self.random.below(CUSTOMERS);
        let subject = vec![wecom(customer)];
        // Mostly at once; sometimes told late, sometimes by a clock ahead, sometimes without a time.
        let occurred_at = match self.random.below(10) {
            0 => None,
            1 => Some(now.plus(Span::minutes(3))),
            2 => Some(Time(now.0 - Span::hours(2).0)),
            3 => Some(Time(now.0 - Span::hours(9).0)),
            _ => Some(now),
        };
        match self.random.below(12) {
            0 => event(
                Kind::ContactAdded,
                &basis,
                subject,
                now,
                occurred_at,
                Fields::new().with("staff", Value::text("zhang")),
                "",
            ),
            1 | 2 => event(Kind::OrderPaid, &basis, vec![shop(customer)], now, occurred_at, Fields::new(), ""),
            3 => event(Kind::OrderPaid, &basis, subject, now, occurred_at, Fields::new(), ""),
            4 | 5 => self.move_card(customer, now),
            _ => {
                let text = *self.random.pick(&TEXTS);
                let direction = if self.random.chance(850) { "in" } else { "out" };
                let fields = Fields::new().with("direction", Value::text(direction));
                event(Kind::ChatMessage, &basis, subject, now, occurred_at, fields, text)
            }
        }
    }

    fn move_card(&mut self, customer: u64, now: Time) -> Input {
        let column = |random: &mut Random| random.chance(750).then(|| (*random.pick(&COLUMNS)).to_owned());
        let body = CommandBody::MoveCard {
            contact: CellKey::of(TENANT, &wecom(customer)),
            board: BOARD.to_owned(),
            expected_stage: column(&mut self.random),
            to: column(&mut self.random),
            reason: String::new(),
        };
        command(format!("move{}", self.count), now, body)
    }
}

/// Whether a shop id was joined to its customer.
pub(crate) const fn is_joined(customer: u64) -> bool {
    customer.is_multiple_of(2)
}

/// The shop identifiers that were joined.
pub(crate) fn joined_shops() -> Vec<CellKey> {
    (0..CUSTOMERS)
        .filter(|customer| is_joined(*customer))
        .map(|customer| CellKey::of(TENANT, &shop(customer)))
        .collect()
}

fn wecom(customer: u64) -> IdKey {
    IdKey::new(IdKind::WecomExternalUserid, "ww1", format!("wm{customer}"))
}

fn shop(customer: u64) -> IdKey {
    IdKey::new(IdKind::YzOpenId, "youzan", format!("yz{customer}"))
}

pub(crate) fn command(request_id: String, now: Time, body: CommandBody) -> Input {
    let (tenant, actor) = (TENANT.to_owned(), "staff".to_owned());
    Input::Command(Box::new(Command { request_id, tenant, actor, received_at: now, body }))
}

pub(crate) fn event(
    kind: Kind,
    basis: &str,
    subject: Vec<IdKey>,
    received_at: Time,
    occurred_at: Option<Time>,
    fields: Fields,
    text: &str,
) -> Input {
    let private = Fields::new().with("text", Value::text(text));
    Input::Event(Box::new(Event {
        id: EventId::derive(TENANT, "api", "", kind.name(), basis.as_bytes()),
        kind,
        custom_name: String::new(),
        tenant: TENANT.to_owned(),
        channel: Channel::Api,
        account: String::new(),
        occurred_at,
        precision: Precision::default(),
        received_at,
        subject,
        actor: Actor::Customer,
        native: Native::default(),
        cause: EventCause::default(),
        fields,
        private: Private::Plain { fields: private, raw: Vec::new() },
    }))
}
