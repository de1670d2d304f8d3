use super::*;
use proptest::prelude::*;
use serde_json::json;
use touchline_model::event::Private;
use touchline_model::value::Number;

const NOW: Time = Time(1_800_000_000_000);

fn paid() -> Json {
    json!({
        "kind": "order.paid", "tenant": "acme", "source": "crm", "id": "o-1",
        "occurred_at": "2026-03-02T10:00:00+08:00",
        "subject": [{"kind": "yz_open_id", "scope": "youzan", "value": "abc"}],
        "fields": {"order_id": "E1", "paid_fen": 9900, "lines": [{"item_id": "i1", "qty": 2}], "address": "杭州"},
    })
}

fn with(name: &str, value: Json) -> Json {
    let mut event = paid();
    event[name] = value;
    event
}

fn without(name: &str) -> Json {
    let mut event = paid();
    event.as_object_mut().unwrap().remove(name);
    event
}

fn accept(event: &Json) -> Accepted {
    decode_event(event, NOW).unwrap()
}

fn refused(event: &Json) -> String {
    decode_event(event, NOW).unwrap_err().to_string()
}

#[test]
fn an_event_is_read_whole() {
    let Accepted { event, append_time, warnings } = accept(&paid());
    assert_eq!((event.kind, event.channel, append_time, warnings), (Kind::OrderPaid, Channel::Api, None, Vec::new()));
    assert_eq!(event.key().as_str(), "acme/yz_open_id/youzan/abc");
    assert_eq!(event.occurred_at, Time::parse_rfc3339("2026-03-02T02:00:00Z"));
    assert_eq!(event.received_at, NOW);
    assert_eq!(event.fields.path("paid_fen"), Some(&Value::integer(9_900)));
    assert_eq!(event.fields.get("address"), None);
    assert_eq!(event.field("address").and_then(|field| field.as_text()), Some("杭州"));
}

#[test]
fn every_example_is_accepted_and_every_kind_is_in_the_schema() {
    let schema = json_schema();
    let mut accepted = 0;
    for &kind in Kind::ALL {
        let name = kind.name();
        let outside =
            !name.starts_with("directory.") && !["cursor.saved", "import.batch", "channel.notice"].contains(&name);
        assert_eq!(example(kind).is_some(), outside, "{kind}");
        assert_eq!(schema["$defs"].get(name).is_some(), outside, "{kind}");
        let Some(example) = example(kind) else { continue };
        let event = decode_event(&example, NOW).unwrap_or_else(|error| panic!("{kind}: {error}")).event;
        assert_eq!(event.kind, kind);
        let Private::Plain { fields, .. } = &event.private else { panic!("plain") };
        let given = example["fields"].as_object().unwrap();
        assert_eq!(event.fields.len() + fields.len(), given.len(), "{kind}");
        for field in taxonomy::fields(kind) {
            assert!(given.contains_key(field.name), "{kind} {}", field.name);
            let property = &schema["$defs"][name]["properties"]["fields"]["properties"][field.name];
            assert!(property.is_object(), "{kind} {}", field.name);
        }
        accepted += 1;
    }
    assert_eq!(accepted, Kind::ALL.len() - 9);
    let members = schema["$defs"]["envelope"]["properties"].as_object().unwrap();
    assert!(MEMBERS.iter().all(|member| members.contains_key(*member)));
}

#[test]
fn errors_name_the_field_and_what_is_expected() {
    let check = |event: Json, reason: &str, text: &str| {
        let error = decode_event(&event, NOW).unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    };
    let fields = |fields: Json| with("fields", fields);
    check(json!(5), "malformed", "object");
    check(without("kind"), "missing_field", "`kind`");
    check(without("tenant"), "missing_field", "`tenant`");
    check(without("source"), "missing_field", "`source`");
    check(without("subject"), "missing_field", "`subject`");
    check(with("kind", json!("order.payed")), "unknown_kind", "custom");
    check(with("kind", json!("tick")), "unknown_kind", "unknown kind");
    check(with("kind", json!("directory.staff")), "not_yet", "directory.staff");
    check(with("kind", json!("channel.notice")), "forbidden_kind", "channel.notice");
    check(with("colour", json!(1)), "unknown_field", "`colour`");
    check(with("name", json!("x")), "wrong_field", "absent unless");
    check(with("kind", json!("custom")), "missing_field", "`name`");
    check(with("channel", json!("internal")), "wrong_field", "channel");
    check(with("occurred_at", json!("yesterday")), "wrong_field", "RFC 3339");
    check(with("occurred_at", json!(1.5)), "wrong_field", "RFC 3339");
    check(with("append_time", json!(5)), "wrong_field", "between the years");
    check(with("actor", json!({"type": "staff"})), "wrong_field", "staff (with id)");
    check(with("subject", json!([])), "wrong_field", "1 to 16");
    check(with("subject", json!([{"kind": "nick", "scope": "", "value": "x"}])), "wrong_field", "subject[0].kind");
    check(with("subject", json!([{"kind": "order", "scope": "", "value": ""}])), "wrong_field", "subject[0]");
    check(with("subject", json!([{"kind": "order", "scope": "", "value": "x".repeat(600)}])), "wrong_field", "512");
    check(with("kind", json!("identity.linked")), "wrong_field", "2 to 16");
    check(fields(json!({"paid_yuan": 1})), "unknown_field", "`fields.paid_yuan`");
    check(fields(json!({"paid_fen": "9900"})), "wrong_field", "`fields.paid_fen` must be a number");
    check(fields(json!({"paid_fen": null})), "wrong_field", "`fields.paid_fen`");
    check(fields(json!({"paid_at": "soon"})), "wrong_field", "`fields.paid_at` must be a time");
    check(fields(json!({"lines": {}})), "wrong_field", "`fields.lines` must be a list");
    check(fields(json!({"lines": [{"qty": 1}, {"qty": true}]})), "wrong_field", "`fields.lines[1].qty`");
    check(fields(json!({"lines": [{"colour": 1}]})), "unknown_field", "`fields.lines[0].colour`");
    check(fields(json!([])), "wrong_field", "`fields` must be an object");
    check(fields(json!({"remark": "x".repeat(EVENT_BYTES_MAX)})), "oversized", "event");
    let word = json!({
        "kind": "contact.removed", "tenant": "acme", "source": "crm", "fields": {"by": "cat"},
        "subject": [{"kind": "order", "scope": "s", "value": "v"}],
    });
    check(word, "wrong_field", "one of: staff, customer, transfer");
    let secret = refused(&with("fields", json!({"remark": ["13800000000"]})));
    assert!(!secret.contains("138"), "errors repeat no values: {secret}");
}

#[test]
fn numbers_keep_every_digit() {
    let score = |digits: &str| {
        let text = format!(
            r#"{{"kind":"custom","name":"lesson.finished","tenant":"acme","source":"s","fields":{{"score":{digits}}},"subject":[{{"kind":"phone_ref","scope":"acme","value":"p"}}]}}"#
        );
        let results = decode(text.as_bytes(), NOW).unwrap();
        results[0].as_ref().map(|accepted| accepted.event.fields.get("score").cloned()).map_err(Error::reason)
    };
    for digits in ["9007199254741.993001", "0.1", "-12.000001", "0", "4503599627.370497"] {
        assert_eq!(score(digits), Ok(Some(Value::Number(Number::parse(digits).unwrap()))), "{digits}");
    }
    for digits in ["1e3", "0.0000001", "99999999999999999999"] {
        assert_eq!(score(digits), Err("wrong_field"), "{digits}");
    }
}

#[test]
fn implausible_times_are_dropped_with_a_warning() {
    for time in [json!("1999-12-31T23:59:59Z"), json!("2200-01-01T00:00:00Z"), json!(0), json!(-5), json!(u64::MAX)] {
        let accepted = accept(&with("occurred_at", time.clone()));
        assert_eq!((accepted.event.occurred_at, accepted.warnings), (None, vec![Warning::ImplausibleTime]), "{time}");
    }
    let accepted = accept(&with("occurred_at", json!(1_772_416_800_000_i64)));
    assert_eq!((accepted.event.occurred_at, accepted.warnings), (Some(Time(1_772_416_800_000)), Vec::new()));
    assert_eq!(accept(&without("occurred_at")).warnings, Vec::new());
}

#[test]
fn identity_rests_on_source_and_id_or_on_content() {
    let id = |event: &Json| accept(event).event.id;
    assert_eq!(id(&paid()), id(&with("fields", json!({}))), "(source, id) names the event");
    assert_ne!(id(&paid()), id(&with("source", json!("shop"))));
    assert_ne!(id(&paid()), id(&with("tenant", json!("other"))));
    let bare = without("id");
    let reordered = json::parse(bare.to_string().replace(',', " , ").as_bytes()).unwrap();
    assert_eq!(id(&bare), id(&reordered));
    let mut other = bare.clone();
    other["fields"]["paid_fen"] = json!(9_901);
    assert_ne!(id(&bare), id(&other));
    let mut replayed = bare.clone();
    replayed["append_time"] = json!("2026-03-02T10:00:01+08:00");
    assert_eq!(id(&bare), id(&replayed));
    assert_eq!(accept(&replayed).append_time, Time::parse_rfc3339("2026-03-02T02:00:01Z"));
}

#[test]
fn touch_results_name_their_touch_either_way() {
    let touch = |beside: Json, inside: Json| {
        json!({
            "kind": "touch.sent", "tenant": "acme", "source": "executor", "touch_id": beside, "fields": inside,
            "subject": [{"kind": "yz_open_id", "scope": "youzan", "value": "abc"}],
        })
    };
    for event in [touch(json!("t1"), json!({})), touch(json!("t1"), json!({"touch_id": "t1"}))] {
        let event = accept(&event).event;
        assert_eq!((event.cause.touch_id.as_deref(), event.fields.text("touch_id")), (Some("t1"), Some("t1")));
    }
    assert!(refused(&touch(json!("t1"), json!({"touch_id": "t2"}))).contains("touch_id"));
}

#[test]
fn open_kinds_keep_any_field_where_it_belongs() {
    let mut form = paid();
    form["kind"] = json!("form.submitted");
    form["fields"] = json!({"form_id": "f1", "mobile": "13800000000", "deep": {"list": [1, true, "x"]}});
    let event = accept(&form).event;
    assert_eq!(event.fields.len(), 1);
    let Private::Plain { fields, .. } = &event.private else { panic!("plain") };
    assert_eq!(fields.text("mobile"), Some("13800000000"));
    assert_eq!(fields.len(), 2);
    let deep = (0..10).fold(json!(1), |inner, _| json!([inner]));
    form["fields"] = json!({"deep": deep});
    assert!(refused(&form).contains("nested at most"));
}

#[test]
fn a_bad_event_leaves_the_others_alone() {
    let outcomes = |body: Json| -> Vec<bool> {
        decode(body.to_string().as_bytes(), NOW).unwrap().iter().map(Result::is_ok).collect()
    };
    assert_eq!(outcomes(paid()), [true]);
    assert_eq!(outcomes(json!([paid(), {"kind": "nope"}, paid()])), [true, false, true]);
    assert_eq!(outcomes(json!({"events": [5, paid()]})), [false, true]);
    assert_eq!(outcomes(json!([])), [false; 0]);
    let reason = |body: &[u8]| decode(body, NOW).unwrap_err().reason();
    assert_eq!(reason(b"{"), "malformed");
    assert_eq!(reason(b"5"), "malformed");
    assert_eq!(reason(br#"{"events": 5}"#), "malformed");
    assert_eq!(reason(br#"{"events": [], "tenant": "acme"}"#), "malformed");
    assert_eq!(reason(&vec![b' '; BODY_BYTES_MAX + 1]), "oversized");
    assert_eq!(reason(json!(vec![0; BATCH_EVENTS_MAX + 1]).to_string().as_bytes()), "too_many");
    assert_eq!(outcomes(json!(vec![0; BATCH_EVENTS_MAX])).len(), BATCH_EVENTS_MAX);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&body, NOW);
    }

    #[test]
    fn mangled_examples_never_panic(kind in 0..Kind::ALL.len(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let Some(example) = example(Kind::ALL[kind]) else { return Ok(()) };
        let mut body = example.to_string().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let _ = decode(&body, NOW);
    }
}
