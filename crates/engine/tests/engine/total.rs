//! Apply is total and a function of the records: whatever they hold, in any order, twice the same.

use crate::support::*;
use proptest::prelude::*;
use touchline_engine::{Engine, Map};
use touchline_model::command::{Command, CommandBody, PlaybookSource, TagRef};
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey, IdKind, Position};
use touchline_model::kind::Kind;
use touchline_model::output::{Cause, Identity, Joined, Output, Tag};
use touchline_model::record::{Evidence, Input, Loop, LoopBody, Record, Undecodable};
use touchline_model::snapshot::{Enrolment, GoalUntil, Next, Promised, Snapshot};
use touchline_model::time::Time;

const PLAYBOOK: &str = include_str!("../../../../tests/playbooks/kills.yaml");

fn identifier() -> impl Strategy<Value = IdKey> {
    prop_oneof![
        (0..4u32).prop_map(|n| wecom(&format!("wm{n}"))),
        (0..4u32).prop_map(|n| youzan(&format!("yz{n}"))),
        (0..2u32).prop_map(|n| IdKey::new(IdKind::WxUnionid, "open", format!("u{n}"))),
        (0..2u32).prop_map(|n| IdKey::new(IdKind::Order, "youzan:1", format!("E{n}"))),
        Just(IdKey::new(IdKind::Group, "wwcorp", "wr1")),
    ]
}

/// Moments near each other, and such as only a broken clock gives.
fn moment() -> impl Strategy<Value = Time> {
    prop_oneof![
        8 => (0..400_000i64).prop_map(|seconds| Time(at("2026-03-02T09:00:00").0 + seconds * 1_000)),
        1 => prop_oneof![Just(Time(i64::MIN)), Just(Time(i64::MAX)), Just(Time(-1)), Just(Time(0))],
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let kind = prop::sample::select(Kind::ALL);
    let text = prop::sample::select(vec!["多少钱", "再想想", "", "wm1", "strong", "weak"]);
    (kind, 0..40u32, prop::option::of(moment()), prop::collection::vec(identifier(), 1..4), text).prop_map(
        |(kind, basis, when, subject, text)| {
            let fields = [("direction", "in"), ("text", text), ("staff", text), ("evidence", text), ("touch_id", text)];
            let mut event = event(kind, &basis.to_string(), Time(0), subject, &fields);
            event.occurred_at = when;
            event
        },
    )
}

fn any_command() -> impl Strategy<Value = Command> {
    let column = || prop::option::of(prop::sample::select(vec!["考虑价格", "再想想", "已购", "没有"]));
    let contact = || identifier().prop_map(|id| CellKey::of(TENANT, &id));
    let body = prop_oneof![
        (contact(), column(), column()).prop_map(|(contact, from, to)| CommandBody::MoveCard {
            contact,
            board: "看板".to_owned(),
            expected_stage: from.map(str::to_owned),
            to: to.map(str::to_owned),
            reason: String::new(),
        }),
        (contact(), column()).prop_map(|(contact, tag)| {
            let add = tag.map(|tag| TagRef::new("商机", tag)).into_iter().collect();
            CommandBody::EditTags { contact, add, remove: vec![TagRef::new("行为", "来过")], reason: String::new() }
        }),
        (0..3u32, identifier(), moment()).prop_map(|(n, bearer, expires_at)| {
            let token = touchline_model::token::cell_of(TENANT, &format!("t.{n}")).expect("a token");
            CommandBody::MintToken { token, bearer, expires_at }
        }),
        (contact(), identifier()).prop_map(|(contact, identifier)| CommandBody::Link {
            contact,
            identifier,
            reason: String::new()
        }),
        (contact(), identifier()).prop_map(|(contact, identifier)| CommandBody::Unlink {
            contact,
            identifier,
            reason: String::new()
        }),
        (0..3u64).prop_map(|expected_active| CommandBody::Activate {
            sources: vec![PlaybookSource { id: "kills".to_owned(), yaml: PLAYBOOK.to_owned() }],
            remove: Vec::new(),
            expected_active,
            migrations: Vec::new(),
        }),
    ];
    (0..20u32, moment(), body).prop_map(|(request, received_at, body)| Command {
        request_id: request.to_string(),
        tenant: TENANT.to_owned(),
        actor: "li".to_owned(),
        received_at,
        body,
    })
}

/// What another version, or a forger, may say that a contact held.
fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let tag = (prop_oneof!["行为", "gone"], prop_oneof!["来过", "x"], moment());
    let enrolment = (prop_oneof!["kills/j", "kills/gone", "no slash"], moment(), moment(), 0..5u32, 0..4u8);
    let identities = prop::collection::vec(identifier(), 0..4);
    (identities, prop::collection::vec(tag, 0..3), prop::collection::vec(enrolment, 0..3), moment()).prop_map(
        |(ids, tags, enrolments, seen)| {
            let enrolments = enrolments.into_iter().map(|(name, entered_at, planned, index, end)| {
                let next = (end < 2).then(|| Next { step: format!("s{index}"), index, planned });
                let ended = (end % 2 == 0).then(|| ("exit".to_owned(), planned));
                let entered_by = Position { partition: 1, offset: 7 };
                let goal_until = (end == 3).then_some(GoalUntil::Moment(planned));
                (
                    name,
                    Enrolment { number: index, entered_at, entered_by, next, goal_until, goal_reached: false, ended },
                )
            });
            let tags = tags.into_iter().map(|(group, tag, set_at)| Tag { group, tag, set_at, cause: some_cause() });
            Snapshot {
                seen: Some((seen, seen)),
                identities: ids.iter().cloned().map(joined).collect(),
                apart: ids.iter().map(|id| IdKey::new(IdKind::Apart, "1@7", id.value.clone())).collect(),
                reserved: ids
                    .into_iter()
                    .map(|id| Promised { cell: CellKey::of(TENANT, &id), exclusive: vec![id], identities: 2 })
                    .collect(),
                tags: tags.collect(),
                enrolments: enrolments.collect(),
                ..Snapshot::default()
            }
        },
    )
}

fn joined(id: IdKey) -> Identity {
    let by = Position { partition: 1, offset: 7 };
    let into = CellKey::of(TENANT, &id);
    Identity { id, evidence: Evidence::Strong, joined: Some(Joined { by, into, at: Time(7) }) }
}

fn some_cause() -> Cause {
    Cause {
        position: Position { partition: 1, offset: 7 },
        origin: None,
        native: None,
        event_id: None,
        kind: "chat.message".to_owned(),
        playbook: "kills".to_owned(),
        rule: "rules/r".to_owned(),
        bundle: 1,
        hit: None,
        actor: String::new(),
        reason: String::new(),
    }
}

fn any_loop() -> impl Strategy<Value = Loop> {
    let contact = || identifier().prop_map(|id| CellKey::of(TENANT, &id));
    let origin = Position { partition: 1, offset: 7 };
    let pair = || (contact(), contact(), prop::collection::vec(identifier(), 0..3));
    let body = prop_oneof![
        (contact(), any_event()).prop_map(move |(target, event)| LoopBody::Forward {
            target,
            event: Box::new(event),
            origin,
            hops: 1
        }),
        pair().prop_map(move |(target, from, exclusive)| LoopBody::Link {
            target,
            from,
            exclusive,
            evidence: Evidence::Strong,
            origin
        }),
        pair().prop_map(move |(target, from, exclusive)| LoopBody::Ask {
            target,
            from,
            exclusive,
            identities: 2,
            evidence: Evidence::Strong,
            origin
        }),
        pair().prop_map(move |(target, from, exclusive)| LoopBody::Grant {
            target,
            from,
            exclusive,
            identities: 2,
            evidence: Evidence::Strong,
            origin
        }),
        (contact(), contact(), any_snapshot()).prop_map(move |(target, from, snapshot)| LoopBody::Part {
            target,
            from,
            snapshot: Box::new(snapshot),
            origin
        }),
        (contact(), contact(), contact(), any_snapshot()).prop_map(move |(target, from, into, snapshot)| {
            LoopBody::MergeIn { target, from, into, snapshot: Box::new(snapshot), evidence: Evidence::Medium, origin }
        }),
        (contact(), contact(), any::<bool>()).prop_map(move |(target, buyer, has)| LoopBody::Bought {
            target,
            buyer,
            origin,
            lines: has.then(|| touchline_model::value::Value::List(Vec::new())),
        }),
        (0..3u32, contact(), moment()).prop_map(move |(n, from, at)| LoopBody::Redeem {
            target: touchline_model::token::cell_of(TENANT, &format!("t.{n}")).expect("a token"),
            from,
            exclusive: Vec::new(),
            at,
            origin
        }),
        (contact(), identifier(), moment(), any::<bool>()).prop_map(|(target, member, at, came)| LoopBody::Member {
            target,
            member,
            inside: came,
            at
        }),
        (contact(), contact()).prop_map(|(target, from)| LoopBody::Release { target, from }),
        (contact(), contact()).prop_map(|(target, from)| LoopBody::Again { target, from }),
    ];
    (0..5u32, 1..4u64, moment(), body).prop_map(move |(source, sequence, clock, body)| Loop {
        source,
        sequence,
        origin,
        clock,
        body,
    })
}

fn any_input() -> impl Strategy<Value = Result<Input, Undecodable>> {
    prop_oneof![
        12 => any_event().prop_map(|event| Ok(Input::Event(Box::new(event)))),
        3 => any_command().prop_map(|command| Ok(Input::Command(Box::new(command)))),
        4 => any_loop().prop_map(|looped| Ok(Input::Loop(Box::new(looped)))),
        3 => moment().prop_map(|wall| Ok(Input::Tick { wall })),
        1 => Just(Err(Undecodable("value: truncated".to_owned()))),
    ]
}

fn key_of(input: &Result<Input, Undecodable>) -> Option<String> {
    match input {
        Ok(Input::Event(event)) => Some(event.key().to_string()),
        Ok(Input::Command(command)) => command.body.contact().map(ToString::to_string),
        Ok(Input::Loop(looped)) => looped.body.target().map(ToString::to_string),
        Ok(Input::Tick { .. }) | Err(_) => None,
    }
}

/// One partition of one: nothing is misrouted, so everything reaches the state.
fn run(records: &[Record]) -> (Map, Vec<Output>, u128) {
    let mut map = Map::default();
    let mut engine = Engine::open(&map, 0, 1).expect("empty");
    let (mut outputs, mut numbers) = (Vec::new(), [0u64; 4]);
    for record in records {
        let effects = map.apply(&mut engine, record).expect("in memory");
        for numbered in effects.outputs {
            let number = &mut numbers[numbered.output.stream().index()];
            *number += 1;
            assert_eq!(numbered.sequence, *number, "sequences are dense");
            outputs.push(numbered.output);
        }
        assert_eq!(engine.meta().offset, record.offset + 1);
        assert_eq!(engine.meta().sequences, numbers);
    }
    (map, outputs, engine.meta().chain)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn apply_is_total_and_repeatable(inputs in prop::collection::vec((moment(), any_input()), 1..40)) {
        let activate = Command {
            request_id: "first".to_owned(),
            tenant: TENANT.to_owned(),
            actor: String::new(),
            received_at: at("2026-03-02T08:00:00"),
            body: CommandBody::Activate {
                sources: vec![PlaybookSource { id: "kills".to_owned(), yaml: PLAYBOOK.to_owned() }],
                remove: Vec::new(),
                expected_active: 0,
                migrations: Vec::new(),
            },
        };
        let bundle = Loop {
            source: 0,
            sequence: 1,
            origin: Position { partition: 0, offset: 0 },
            clock: at("2026-03-02T08:00:00"),
            body: LoopBody::Activation {
                number: 1,
                tenant: TENANT.to_owned(),
                sources: vec![PlaybookSource { id: "kills".to_owned(), yaml: PLAYBOOK.to_owned() }],
                migrations: Vec::new(),
            },
        };
        let first = [Ok(Input::Command(Box::new(activate))), Ok(Input::Loop(Box::new(bundle)))];
        let start = at("2026-03-02T08:00:00");
        let all = first.into_iter().map(|input| (start, input)).chain(inputs);
        let records: Vec<Record> = (0..)
            .zip(all)
            .map(|(offset, (append_time, input))| Record { offset, append_time, key: key_of(&input), input })
            .collect();
        let once = run(&records);
        let twice = run(&records);
        prop_assert_eq!(&once.0.0, &twice.0.0);
        prop_assert_eq!(once.1, twice.1);
        prop_assert_eq!(once.2, twice.2);
    }
}
