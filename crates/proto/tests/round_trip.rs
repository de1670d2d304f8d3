//! Everything the model can say survives the wire; everything else is refused, never a panic.

use proptest::prelude::*;
use std::collections::BTreeMap;
use touchline_model::command::{Command, CommandBody, Migration, PlaybookSource, TagRef};
use touchline_model::counted::{Counted, Slot};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{CellKey, EventId, IdKey, IdKind, Position};
use touchline_model::kind::Kind;
use touchline_model::output::Cause;
use touchline_model::output::{
    CommandResult, Contact, DeadLetter, DeadReason, Enrolment, Hit, Identity, Joined, Numbered, Outcome, Output,
    Progress, Relation, Stage, StageMove, Stream, Tag, TagChange, Touch, TouchState,
};
use touchline_model::past::{Consent, Gone, Membership, Observed, Occurrence, Past, Sent, Tally};
use touchline_model::record::{Evidence, Input, Loop, LoopBody};
use touchline_model::snapshot::{self, GoalUntil, Next, Snapshot};
use touchline_model::taxonomy::{self, FieldType};
use touchline_model::time::{Span, Time};
use touchline_model::value::{Fields, Number, Value};
use touchline_proto::{
    ContactRecord, Headers, RawRecord, check_command, check_event, contact_headers, decode_contact_record,
    decode_event, decode_input, decode_output, encode_contact, encode_counted, encode_event, encode_input,
    encode_output, encode_progress, event_to, input_headers, output_headers, progress_headers,
};

const NOW: Time = Time(1_772_416_800_000);

#[test]
fn every_kind_survives_with_every_field() {
    for &kind in Kind::ALL {
        let event = example(kind);
        assert_eq!(decode_event(&encode_event(&event)).as_ref(), Ok(&event), "{kind}");
        if kind != Kind::Custom {
            assert_eq!(event_to(&event).extra, [], "{kind}: the taxonomy fits the body");
        }
    }
}

#[test]
fn what_a_body_has_no_place_for_is_kept() {
    let mut event = example(Kind::OrderPaid);
    event.fields.set("qty", Value::integer(1)); // no such field
    event.fields.set("paid_fen", Value::Number(Number(1))); // a millionth of a fen
    event.fields.set("paid_at", Value::text("yesterday")); // not a moment
    event.fields.set("lines", Value::List(Vec::new())); // the wire knows no empty list
    let extra: Vec<String> = event_to(&event).extra.into_iter().map(|field| field.name).collect();
    assert_eq!(extra, ["lines", "paid_at", "paid_fen", "qty"]);
    assert_eq!(decode_event(&encode_event(&event)), Ok(event));
}

#[test]
fn decimals_keep_their_fraction() {
    let line = Fields::new().with("qty", Value::Number(Number::parse("1.5").unwrap()));
    let fields = Fields::new().with("lines", Value::List(vec![Value::Record(line)]));
    let event = Event { fields, ..example(Kind::OrderPaid) };
    assert_eq!(event_to(&event).extra, []);
    assert_eq!(decode_event(&encode_event(&event)), Ok(event));
}

#[test]
fn every_private_state_survives() {
    for private in [
        Private::default(),
        Private::Plain { fields: Fields::new(), raw: vec![0, 255] },
        Private::Sealed { key_id: "k1".to_owned(), bytes: vec![1, 2] },
        Private::Withheld,
    ] {
        let event = Event { private, ..example(Kind::ChatMessage) };
        assert_eq!(decode_event(&encode_event(&event)), Ok(event));
    }
}

#[test]
fn every_record_survives() {
    let mut inputs = vec![Input::Event(Box::new(example(Kind::ChatMessage))), Input::Tick { wall: NOW }];
    inputs.extend(commands().into_iter().map(|command| Input::Command(Box::new(command))));
    inputs.extend(loops().into_iter().map(|told| Input::Loop(Box::new(told))));
    for input in inputs {
        assert_eq!(decode_input(&encode_input(&input)).as_ref(), Ok(&input));
        assert_eq!(encode_input(&input), encode_input(&input.clone()));
    }
}

#[test]
fn every_output_survives() {
    let raw = RawRecord { key: Some(vec![1]), headers: Headers::from([("h", [2])]), value: vec![3] };
    for numbered in outputs() {
        let stream = numbered.output.stream();
        let record = (stream == Stream::DeadLetters).then(|| raw.clone());
        let bytes = encode_output(&numbered, record.clone());
        assert_eq!(decode_output(stream, &bytes), Ok((numbered, record)));
    }
    let contact = contact();
    assert_eq!(decode_contact_record(&encode_contact(&contact)), Ok(ContactRecord::Contact(Box::new(contact))));
    let progress = Progress {
        partition: 3,
        offset: 9,
        clock: NOW,
        sequences: [1, 2, 3, 4],
        loop_sent: vec![0, 5],
        loop_received: vec![6, 0],
        bundle: 2,
        next_due: Some(Time(7)),
    };
    assert_eq!(decode_contact_record(&encode_progress(&progress)), Ok(ContactRecord::Progress(progress)));
    for executor in [None, Some("李".to_owned())] {
        let (playbook, metric, period) = ("p".to_owned(), "人均".to_owned(), "2026-12".to_owned());
        let slot = Slot { playbook, metric, meaning: u64::MAX, executor, period };
        let (key, version) = (slot.cell("acme", 3), Position { partition: 3, offset: 9 });
        let counted = Counted { key, version, slot, count: 7, at: NOW };
        assert_eq!(decode_contact_record(&encode_counted(&counted)), Ok(ContactRecord::Counted(counted)));
    }
}

#[test]
fn nobody_sends_a_hand_over() {
    let event = |name: &str| Event { kind: Kind::Custom, custom_name: name.to_owned(), ..example(Kind::ChatMessage) };
    assert_eq!(check_event(&event("visit.done")), Ok(()));
    assert!(check_event(&event("handoff.created")).is_err());
}

#[test]
fn bytes_are_the_same_whatever_the_order_of_setting() {
    let forward = ["a", "b", "c"].into_iter().map(|name| (name.to_owned(), Value::text(name))).collect::<Fields>();
    let backward = ["c", "b", "a"].into_iter().map(|name| (name.to_owned(), Value::text(name))).collect::<Fields>();
    let custom = |fields| Event { fields, ..example(Kind::Custom) };
    assert_eq!(encode_event(&custom(forward)), encode_event(&custom(backward)));
}

#[test]
fn fields_of_a_newer_writer_are_skipped() {
    let event = example(Kind::OrderPaid);
    // Field 15000, varint 1: unknown inside the event and beside it.
    let unknown = [0xc0, 0xa9, 0x07, 0x01];
    let inner = [encode_event(&event), unknown.to_vec()].concat();
    assert_eq!(decode_event(&inner).as_ref(), Ok(&event));
    let mut record = vec![0x0a];
    prost::encode_length_delimiter(inner.len(), &mut record).unwrap();
    let record = [record, inner, unknown.to_vec()].concat();
    assert_eq!(decode_input(&record), Ok(Input::Event(Box::new(event))));
}

#[test]
fn what_the_log_must_not_hold_is_refused() {
    let id = || IdKey::new(IdKind::WxUnionid, "s", "v");
    let deep = (0..8).fold(Value::Bool(true), |value, _| Value::List(vec![value]));
    let with = |name: &str, bytes: usize| {
        let fields = Fields::new().with(name, Value::text("x".repeat(bytes)));
        Event { fields, ..example(Kind::Custom) }
    };
    let change = |f: fn(&mut Event)| {
        let mut event = example(Kind::ChatMessage);
        f(&mut event);
        event
    };
    for (event, why) in [
        (change(|event| event.subject.clear()), "subject does not have 1 to 16 identifiers"),
        (Event { subject: vec![id(); 17], ..example(Kind::ChatMessage) }, "subject does not have 1 to 16 identifiers"),
        (change(|event| event.subject[0].value.clear()), "a subject is empty or its key longer than 512 bytes"),
        (
            change(|event| event.subject[0].value = "中".repeat(60)),
            "a subject is empty or its key longer than 512 bytes",
        ),
        (change(|event| event.tenant.clear()), "tenant does not have 1 to 64 characters"),
        (change(|event| event.tenant = "租".repeat(65)), "tenant does not have 1 to 64 characters"),
        (change(|event| event.custom_name.push('x')), "only custom events have a name of their own"),
        (Event { custom_name: String::new(), ..example(Kind::Custom) }, "custom.name is empty"),
        (change(|event| event.received_at = Time(-1)), "received_at_ms is out of range"),
        (change(|event| event.received_at = Time::LATEST), "received_at_ms is out of range"),
        (Event { fields: Fields::new().with("x", deep), ..example(Kind::Custom) }, "a field is nested deeper than 8"),
        (Event { custom_name: "n".repeat(401), ..example(Kind::Custom) }, "custom.name is longer than 400 bytes"),
        (change(|event| event.account = "a".repeat(513)), "account is longer than 512 bytes"),
        (change(|event| event.actor = Actor::Staff("s".repeat(401))), "actor.staff is longer than 400 bytes"),
        (change(|event| event.native.kind = "n".repeat(513)), "native.type is longer than 512 bytes"),
        (change(|event| event.native.id = "n".repeat(513)), "native.id is longer than 512 bytes"),
        (change(|event| event.native.raw_sha256 = vec![1; 513]), "native.raw_sha256 is longer than 512 bytes"),
        (change(|event| event.cause.touch_id = Some("t".repeat(1_201))), "cause.touch_id is longer than 1200 bytes"),
        (change(|event| event.cause.command_id = Some("c".repeat(513))), "cause.command_id is longer than 512 bytes"),
        (with("staff", 401), "staff is longer than 400 bytes"),
        (with("state", 401), "state is longer than 400 bytes"),
        (with("url", 16_385), "a public text field is longer than 16384 bytes"),
        (with(&"n".repeat(401), 1), "the name of a field is longer than 400 bytes"),
    ] {
        assert_eq!(check_event(&event).map_err(|error| error.0), Err(why.to_owned()));
        if why != "only custom events have a name of their own" {
            assert_eq!(decode_event(&encode_event(&event)).map_err(|error| error.0), Err(why.to_owned()));
        }
    }
    for longest in [with("staff", 400), with("state", 400), with("url", 16_384)] {
        assert_eq!(decode_event(&encode_event(&longest)), Ok(longest));
    }
    // Personal text is bounded by the record.
    let long = Private::Plain { fields: Fields::new().with("text", Value::text("x".repeat(90_000))), raw: vec![] };
    assert_eq!(check_event(&Event { private: long, ..example(Kind::ChatMessage) }), Ok(()));
    // The longest tenant and key pass.
    assert_eq!(check_event(&change(|event| event.tenant = "t".repeat(64))), Ok(()));
    assert_eq!(check_event(&change(|event| event.occurred_at = Some(Time(i64::MIN)))), Ok(()));
}

#[test]
fn commands_that_the_log_must_not_hold_are_refused() {
    let contact = CellKey::of("acme", &IdKey::new(IdKind::WxUnionid, "s", "v"));
    let command = |actor: &str, body| Command {
        request_id: "r".into(),
        tenant: "acme".into(),
        actor: actor.into(),
        received_at: Time(1),
        body,
    };
    let text = |bytes: usize| "x".repeat(bytes);
    let moves = |board, stage, to, reason| CommandBody::MoveCard {
        contact: contact.clone(),
        board: text(board),
        expected_stage: Some(text(stage)),
        to: Some(text(to)),
        reason: text(reason),
    };
    let edits = |tag: usize, tags: usize, reason| CommandBody::EditTags {
        contact: contact.clone(),
        add: vec![TagRef::new("g", text(tag)); tags],
        remove: vec![TagRef::new(text(tag), "t")],
        reason: text(reason),
    };
    let remove = |bytes| CommandBody::Activate {
        sources: vec![],
        remove: vec![text(bytes)],
        expected_active: 0,
        migrations: Vec::new(),
    };
    let migrates = |tag: usize, count| CommandBody::Activate {
        sources: vec![],
        remove: vec![],
        expected_active: 0,
        migrations: vec![Migration { from: TagRef::new("g", text(tag)), to: None }; count],
    };
    // Each takes its texts and 32 bytes: 606 of them are more than 256 KiB.
    assert_eq!(check_command(&command("a", migrates(400, 605))), Ok(()));
    for (command, why) in [
        (command("a", migrates(400, 606)), "migrations take more than 262144 bytes"),
        (command("a", migrates(401, 1)), "tag is longer than 400 bytes"),
        (command("a", moves(401, 1, 1, 1)), "board is longer than 400 bytes"),
        (command("a", moves(1, 401, 1, 1)), "expected_stage is longer than 400 bytes"),
        (command("a", moves(1, 1, 401, 1)), "to is longer than 400 bytes"),
        (command("a", moves(1, 1, 1, 2_049)), "reason is longer than 2048 bytes"),
        (command(&text(401), moves(1, 1, 1, 1)), "actor is longer than 400 bytes"),
        (command("a", edits(401, 1, 1)), "tag is longer than 400 bytes"),
        (command("a", edits(401, 0, 1)), "group is longer than 400 bytes"),
        (command("a", edits(1, 100, 1)), "add and remove have more than 100 tags"),
        (command("a", edits(1, 1, 2_049)), "reason is longer than 2048 bytes"),
        (command("a", remove(401)), "playbook id is longer than 400 bytes"),
    ] {
        assert_eq!(check_command(&command).map_err(|error| error.0), Err(why.to_owned()));
        let bytes = encode_input(&Input::Command(Box::new(command)));
        assert_eq!(decode_input(&bytes).map_err(|error| error.0), Err(why.to_owned()));
    }
    for body in [moves(400, 400, 400, 2_048), edits(400, 99, 2_048), remove(400)] {
        let input = Input::Command(Box::new(command(&text(400), body)));
        assert_eq!(decode_input(&encode_input(&input)), Ok(input));
    }
}

#[test]
fn messages_that_are_no_record_of_ours_are_refused() {
    use touchline_proto::v1;
    type Break = fn(&mut v1::Event);
    let cases: [(Break, &str); 8] = [
        (|wire| wire.event_id = vec![1], "event_id is not 16 bytes"),
        (|wire| wire.body = None, "body is missing, or of a kind unknown to this version"),
        (|wire| wire.channel = "fax".to_owned(), "unknown channel"),
        (|wire| wire.occurred_precision = "day".to_owned(), "unknown occurred_precision"),
        (|wire| wire.subject[0].kind = "passport".to_owned(), "unknown identifier kind"),
        (|wire| wire.actor = Some(v1::Actor { kind: "ghost".to_owned(), ..Default::default() }), "unknown actor"),
        (|wire| wire.private = Some(v1::Private { state: None }), "private.state is missing"),
        (
            |wire| {
                let order = v1::Order { paid_fen: Some(i64::MAX), ..Default::default() };
                wire.body = Some(v1::event::Body::OrderPaid(order));
            },
            "paid_fen is out of range",
        ),
    ];
    for (break_it, why) in cases {
        let mut wire = event_to(&example(Kind::ChatMessage));
        break_it(&mut wire);
        assert_eq!(touchline_proto::event_from(wire).map_err(|error| error.0), Err(why.to_owned()));
    }
    assert_eq!(decode_input(&[]).map_err(|error| error.0), Err("record is missing".to_owned()));
    let mut foreign = commands().swap_remove(0);
    foreign.tenant = "other".to_owned();
    let refused = decode_input(&encode_input(&Input::Command(Box::new(foreign))));
    assert_eq!(refused.map_err(|error| error.0), Err("the contact belongs to another tenant".to_owned()));
    let mut nameless = commands().swap_remove(0);
    nameless.request_id.clear();
    assert!(decode_input(&encode_input(&Input::Command(Box::new(nameless)))).is_err());
}

#[test]
fn headers_are_cloud_events() {
    let text = |headers: Headers| -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{name}: {}", str::from_utf8(value).unwrap())).collect()
    };
    let event = Event { account: "corp/一".to_owned(), ..example(Kind::ChatMessage) };
    assert_eq!(
        text(input_headers(&Input::Event(Box::new(event)))),
        [
            "ce_specversion: 1.0",
            "ce_id: 07070707070707070707070707070707",
            "ce_source: touchline/wecom_archive/corp%2F%E4%B8%80",
            "ce_type: touchline.v1.chat.message",
            "ce_subject: acme/wecom_external_userid/wwcorp/wmXYZ",
            "ce_time: 2026-03-02T02:00:00.000Z",
            "ce_dataschema: touchline/v1/event.proto#Event",
            "content-type: application/protobuf",
        ]
    );
    let headers = text(output_headers(&outputs()[0]));
    assert_eq!(headers[1], "ce_id: 2/41");
    assert_eq!(headers[2], "ce_source: touchline/tag-changes");
    assert_eq!(headers[8..], ["touchline-partition: 2", "touchline-sequence: 41", "touchline-offset: 77"]);
    assert!(text(contact_headers(&contact()))[1].ends_with("/2@77"));
    assert_eq!(text(progress_headers(&Progress::default()))[1], "ce_id: _progress/0/0");
    assert!(text(input_headers(&Input::Tick { wall: NOW })).contains(&"ce_type: touchline.v1.tick".to_owned()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any subset of a kind's fields, with values of any type, under known and unknown names.
    #[test]
    fn any_fields_survive(at in 0..Kind::ALL.len(), keep in any::<u32>(), others in prop::collection::vec(field(), 0..6)) {
        let kind = Kind::ALL[at];
        let mut event = example(kind);
        let kept = event.fields.iter().enumerate().filter(|(at, _)| keep & (1 << (at % 32)) != 0);
        event.fields = kept.map(|(_, (name, value))| (name.to_owned(), value.clone())).collect();
        let known: Vec<&str> = taxonomy::fields(kind).iter().map(|field| field.name).collect();
        for (at, (name, value)) in others.into_iter().enumerate() {
            let name = known.get(at).map_or(name, |known| (*known).to_owned());
            event.fields.set(name, value);
        }
        prop_assert_eq!(decode_event(&encode_event(&event)), Ok(event));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_all(&bytes);
    }

    /// Damage to real records reaches deeper than noise.
    #[test]
    fn damaged_records_never_panic(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut records: Vec<Vec<u8>> = outputs().iter().map(|output| encode_output(output, None)).collect();
        records.extend(loops().into_iter().map(|told| encode_input(&Input::Loop(Box::new(told)))));
        records.push(encode_event(&example(Kind::OrderClosed)));
        records.push(encode_contact(&contact()));
        let mut bytes = which.get(&records).clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        decode_all(&bytes);
    }
}

fn decode_all(bytes: &[u8]) {
    let _ = decode_input(bytes);
    let _ = decode_event(bytes);
    let _ = decode_contact_record(bytes);
    for stream in Stream::ALL {
        let _ = decode_output(stream, bytes);
    }
}

fn field() -> impl Strategy<Value = (String, Value)> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Value::Text),
        any::<i64>().prop_map(|millionths| Value::Number(Number(millionths))),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|ms| Value::Time(Time(ms))),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        let named = ("[a-z_]{1,8}", inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::List),
            prop::collection::vec(named, 0..4).prop_map(|fields| Value::Record(fields.into_iter().collect())),
        ]
    });
    ("[a-z_]{1,8}", value)
}

/// An event with every field of its kind's taxonomy.
fn example(kind: Kind) -> Event {
    let (mut fields, mut private) = (Fields::new(), Fields::new());
    for field in taxonomy::fields(kind) {
        let place = if field.private { &mut private } else { &mut fields };
        place.set(field.name, example_value(field.ty));
    }
    match taxonomy::open(kind) {
        taxonomy::OpenSet::Public => fields.set("score", Value::Number(Number(1))),
        taxonomy::OpenSet::Private => private.set("baby_birthday", Value::Time(NOW)),
        taxonomy::OpenSet::Closed => {}
    }
    Event {
        id: EventId([7; 16]),
        kind,
        custom_name: if kind == Kind::Custom { "lesson.finished".to_owned() } else { String::new() },
        tenant: "acme".to_owned(),
        channel: Channel::WecomArchive,
        account: "wwcorp".to_owned(),
        occurred_at: Some(NOW),
        precision: Precision::Second,
        received_at: NOW.plus(Span::seconds(1)),
        subject: vec![
            IdKey::new(IdKind::WecomExternalUserid, "wwcorp", "wmXYZ"),
            IdKey::new(IdKind::WxUnionid, "open", "u1"),
        ],
        actor: Actor::Staff("zhang".to_owned()),
        native: Native { kind: "text".to_owned(), id: "m1".to_owned(), version: Some(-3), raw_sha256: vec![9; 32] },
        cause: EventCause {
            touch_id: Some("t".to_owned()),
            command_id: Some(String::new()),
            parent_event_id: Some(EventId([8; 16])),
        },
        fields,
        private: Private::Plain { fields: private, raw: b"{}".to_vec() },
    }
}

fn example_value(ty: FieldType) -> Value {
    match ty {
        FieldType::Text => Value::text("多少钱"),
        FieldType::Word(words) => Value::text(words[0]),
        FieldType::Number => Value::integer(7),
        FieldType::Bool => Value::Bool(true),
        FieldType::Time => Value::Time(NOW),
        FieldType::List(inner) => Value::List(vec![example_value(*inner), example_value(*inner)]),
        FieldType::Record(fields) => {
            Value::Record(fields.iter().map(|field| (field.name.to_owned(), example_value(field.ty))).collect())
        }
        FieldType::Open => Value::Record(Fields::new().with("any", Value::text("name"))),
    }
}

fn key() -> CellKey {
    CellKey::parse("acme/wecom_external_userid/wwcorp/wmXYZ").expect("canonical")
}

fn commands() -> Vec<Command> {
    let bodies = [
        CommandBody::MoveCard {
            contact: key(),
            board: "商机看板".to_owned(),
            expected_stage: Some("初步沟通".to_owned()),
            to: None,
            reason: "r".to_owned(),
        },
        CommandBody::EditTags {
            contact: key(),
            add: vec![TagRef::new("身份", "老板")],
            remove: vec![TagRef::new("a", "b")],
            reason: String::new(),
        },
        CommandBody::Link {
            contact: key(),
            identifier: IdKey::new(IdKind::YzOpenId, "youzan", "o1"),
            reason: "同".to_owned(),
        },
        CommandBody::MintToken {
            token: touchline_model::token::cell_of("acme", "t.a1").expect("a token"),
            bearer: IdKey::new(IdKind::Order, "youzan:1", "E1"),
            expires_at: NOW,
        },
        CommandBody::Unlink {
            contact: key(),
            identifier: IdKey::new(IdKind::YzOpenId, "youzan", "o1"),
            reason: "异".to_owned(),
        },
        CommandBody::SetDirectory { yaml: "kind: directory\n".to_owned() },
        CommandBody::Activate {
            sources: vec![PlaybookSource { id: "p".to_owned(), yaml: "playbook: p".to_owned() }],
            remove: vec!["q".to_owned()],
            expected_active: 4,
            migrations: migrations(),
        },
    ];
    let command = |body| Command {
        request_id: "r1".to_owned(),
        tenant: "acme".to_owned(),
        actor: "wang".to_owned(),
        received_at: NOW,
        body,
    };
    bodies.into_iter().map(command).collect()
}

fn loops() -> Vec<Loop> {
    let (target, from) = (key(), CellKey::parse("acme/yz_open_id/youzan/o1").expect("canonical"));
    let origin = Position { partition: 1, offset: u64::MAX };
    let exclusive = vec![IdKey::new(IdKind::WxUnionid, "open", "u1")];
    let evidence = Evidence::Medium;
    let step = || (target.clone(), from.clone(), exclusive.clone());
    let ((t1, f1, e1), (t2, f2, e2), (t3, f3, e3), (t4, f4, e4)) = (step(), step(), step(), step());
    let ((t5, f5, _), (t6, f6, _), (t7, f7, e7)) = (step(), step(), step());
    let into = key();
    let event = Box::new(example(Kind::OrderPaid));
    let command = Box::new(commands().swap_remove(0));
    let sources = vec![PlaybookSource { id: "p".to_owned(), yaml: "y".to_owned() }];
    let bodies = [
        LoopBody::Forward { target: target.clone(), event, origin, hops: u16::MAX },
        LoopBody::ForwardCommand { target: target.clone(), command, origin, hops: 1 },
        LoopBody::Link { target: t1, from: f1, exclusive: e1, evidence, origin },
        LoopBody::Ask { target: t2, from: f2, exclusive: e2, identities: 7, evidence, origin },
        LoopBody::Grant { target: t3, from: f3, exclusive: e3, identities: 256, evidence, origin },
        LoopBody::MergeIn {
            target: t4,
            into: f4.clone(),
            from: f4,
            snapshot: Box::new(snapshot(e4)),
            evidence,
            origin,
        },
        LoopBody::MergeIn { target: t5, from: f5, into, snapshot: Box::default(), evidence, origin },
        LoopBody::Bought { target: key(), buyer: key(), lines: Some(Value::List(vec![Value::text("a")])), origin },
        LoopBody::Bought { target: key(), buyer: key(), lines: None, origin },
        LoopBody::Member { target: key(), member: key().id(), inside: true, at: NOW },
        LoopBody::Member { target: key(), member: key().id(), inside: false, at: NOW },
        LoopBody::Redeem { target: key(), from: key(), exclusive: exclusive.clone(), at: NOW, origin },
        LoopBody::Part { target: t7, from: f7, snapshot: Box::new(snapshot(e7)), origin },
        LoopBody::Release { target: t6, from: f6 },
        LoopBody::Again { target: key(), from: key() },
        LoopBody::Directory { tenant: "acme".to_owned(), yaml: "kind: directory\n".to_owned() },
        LoopBody::Activation { number: 2, tenant: "acme".to_owned(), sources, migrations: migrations() },
    ];
    bodies.into_iter().map(|body| Loop { source: 3, sequence: 12, origin, clock: NOW, body }).collect()
}

/// A tag that is renamed, and one that is taken off.
fn migrations() -> Vec<Migration> {
    let renamed = Migration { from: TagRef::new("商机", "考虑价格"), to: Some(TagRef::new("商机", "询价")) };
    vec![renamed, Migration { from: TagRef::new("商机", "旧"), to: None }]
}

fn snapshot(promised: Vec<IdKey>) -> Snapshot {
    let Contact { identities, tags, relations, past, .. } = contact();
    let touch = outputs().into_iter().find_map(|numbered| match numbered.output {
        Output::Touch(touch) => Some(touch),
        _ => None,
    });
    let enrolment = |next: Option<Next>, goal_until, ended| {
        let entered_by = Position { partition: 2, offset: 77 };
        snapshot::Enrolment { number: 2, entered_at: NOW, entered_by, next, goal_until, goal_reached: true, ended }
    };
    let next = Next { step: "p2".to_owned(), index: 1, planned: NOW };
    Snapshot {
        seen: Some((NOW, NOW)),
        bundle: 3,
        identities,
        apart: vec![IdKey::new(IdKind::Apart, "2@77", "kept")],
        reserved: vec![snapshot::Promised { cell: key(), exclusive: promised, identities: 3 }],
        tags,
        relations,
        past,
        assigned: Some(("li".to_owned(), NOW)),
        enrolments: vec![
            ("p/a".to_owned(), enrolment(Some(next), Some(GoalUntil::Moment(NOW)), None)),
            ("p/b".to_owned(), enrolment(None, Some(GoalUntil::Enrolment), None)),
            ("p/c".to_owned(), enrolment(None, None, Some(("exit".to_owned(), NOW)))),
        ],
        touches: touch.into_iter().collect(),
        renamed: vec![("acme/a/w/1/p1#1".to_owned(), "acme/b/w/1/p1#1".to_owned())],
        waits: vec![(NOW, 7), (NOW.plus(Span::days(1)), u64::MAX)],
        concluded: vec![snapshot::Conclusion {
            wait: 9,
            at: NOW,
            changes: vec![
                snapshot::Changed { group: "g".to_owned(), set: Some("t".to_owned()), unset: None, was: None },
                snapshot::Changed {
                    group: "g".to_owned(),
                    set: None,
                    unset: Some("t".to_owned()),
                    was: Some((NOW, cause())),
                },
            ],
            entered: vec![("p/a".to_owned(), 2)],
            segment: Some(("s".to_owned(), true)),
            touches: vec!["acme/a/p/r/2@77#1".to_owned()],
        }],
    }
}

fn cause() -> Cause {
    Cause {
        position: Position { partition: 2, offset: 77 },
        origin: Some(Position { partition: 0, offset: 0 }),
        native: Some(IdKey::new(IdKind::YzOpenId, "youzan", "o1")),
        event_id: Some(EventId([1; 16])),
        kind: "chat.message".to_owned(),
        playbook: "price".to_owned(),
        rule: "rules/asks-price".to_owned(),
        bundle: 1,
        hit: Some(Hit {
            keywords: "价格".to_owned(),
            keyword: "多少钱".to_owned(),
            field: "text".to_owned(),
            start: 4,
            end: 7,
        }),
        actor: "a".to_owned(),
        reason: "b".to_owned(),
    }
}

fn outputs() -> Vec<Numbered> {
    let refused =
        Outcome::Refused { code: "stale_stage".to_owned(), detail: "d".to_owned(), current: "赢单".to_owned() };
    let result = |outcome, contact| CommandResult {
        request_id: "r1".to_owned(),
        tenant: "acme".to_owned(),
        outcome,
        contact,
        position: Position { partition: 2, offset: 77 },
        bundle: 1,
    };
    let mut outputs = vec![
        Output::TagChange(TagChange {
            contact: key(),
            group: "商机".to_owned(),
            set: Some("考虑价格".to_owned()),
            unset: None,
            moves: vec![StageMove {
                board: "商机看板".to_owned(), from: None, to: Some("考虑价格".to_owned())
            }],
            at: NOW,
            retracted: true,
            cause: cause(),
        }),
        Output::CommandResult(result(Outcome::Accepted, Some(key()))),
        Output::CommandResult(result(refused, None)),
    ];
    outputs.extend(
        [TouchState::Due, TouchState::Skipped, TouchState::Cancelled, TouchState::Missed]
            .map(|state| Output::Touch(touch(state))),
    );
    outputs.extend(
        DeadReason::ALL.map(|reason| {
            Output::DeadLetter(DeadLetter { reason, detail: reason.name().to_owned(), cells: vec![key()] })
        }),
    );
    let number = |output| Numbered { sequence: 41, clock: NOW, source: Position { partition: 2, offset: 77 }, output };
    outputs.into_iter().map(number).collect()
}

fn touch(state: TouchState) -> Touch {
    Touch {
        id: "acme/c/j/1/p1#1".to_owned(),
        state,
        reason: "late".to_owned(),
        contact: key(),
        recipient: key().id(),
        playbook: "price".to_owned(),
        journey: "sop-考虑价格".to_owned(),
        enrolment: 1,
        step: "p1".to_owned(),
        occurrence: 1,
        touchpoint: "dm".to_owned(),
        content: "报价说明".to_owned(),
        executor: Some("zhang".to_owned()),
        planned_at: NOW,
        due_at: NOW.plus(Span::hours(1)),
        expires_at: NOW.plus(Span::days(1)),
        replaces: Some("acme/x/sop/1/p1#1".to_owned()),
        cause: cause(),
    }
}

fn past() -> Past {
    let mut past = Past::default();
    past.happen("chat.message", NOW);
    past.happen("chat.message", NOW.plus(Span::days(1)));
    past.learn("城市", Value::text("杭州"), NOW);
    past.member("wr1", Membership { at: NOW, inside: true });
    past.segments.insert("老板名单".to_owned());
    past.silences.insert(u64::MAX, NOW);
    past.send(Sent { at: NOW, touch: "sop/p1".to_owned(), touchpoint: "dm".to_owned() });
    past.receive("报价说明", NOW);
    past.consent("marketing", Consent { granted: false, at: NOW });
    let word = |carried, tag: Option<TagRef>, ours| Observed { at: NOW, carried, tag, ours };
    past.observe("li", "et1", word(true, Some(TagRef::new("商机", "考虑价格")), true));
    past.observe("li", "et2", word(false, None, false));
    past.gone.insert("商机".to_owned(), BTreeMap::from([("赢单".to_owned(), Gone { at: NOW, by_hand: true })]));
    let occurrence = |by| Occurrence { at: NOW, by };
    past.tallies = BTreeMap::from([
        (1, Tally::Count(7)),
        (2, Tally::Ends { first: NOW, last: NOW.plus(Span::days(2)) }),
        (3, Tally::Newest(vec![occurrence(None), occurrence(Some(9))])),
        (4, Tally::Sum(Number(-1))),
        (5, Tally::Days(BTreeMap::from([(-3, Number(5)), (20_000, Number(-6))]))),
        (u64::MAX, Tally::Count(0)),
    ]);
    past
}

fn contact() -> Contact {
    Contact {
        key: key(),
        version: Position { partition: 2, offset: 77 },
        merged_into: Some(key()),
        first_seen: NOW,
        last_seen: NOW,
        identities: vec![
            Identity::own(key().id()),
            Identity {
                id: IdKey::new(IdKind::YzOpenId, "youzan", "o1"),
                evidence: Evidence::Manual,
                joined: Some(Joined { by: Position { partition: 1, offset: 2 }, into: key(), at: NOW }),
            },
        ],
        tags: vec![Tag { group: "商机".to_owned(), tag: "考虑价格".to_owned(), set_at: NOW, cause: cause() }],
        stages: vec![Stage { board: "商机看板".to_owned(), column: "考虑价格".to_owned(), entered_at: NOW }],
        owner: Some("zhang".to_owned()),
        relations: vec![Relation {
            staff: "zhang".to_owned(),
            added_at: NOW,
            state: "s".to_owned(),
            removed_at: Some(NOW),
        }],
        past: past(),
        enrolments: vec![Enrolment {
            playbook: "price".to_owned(),
            journey: "sop".to_owned(),
            number: 1,
            entered_at: NOW,
            next: Some(("p2".to_owned(), NOW)),
            ended: Some(("goal".to_owned(), NOW)),
            goal_reached: true,
        }],
    }
}
