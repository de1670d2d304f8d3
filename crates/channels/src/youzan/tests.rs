use super::*;
use crate::account::Secret;
use crate::decoded::tests::check_taxonomy;
use proptest::prelude::*;
use serde_json::json;
use touchline_model::event::{Actor, Event, Private};
use touchline_model::kind::Kind;
use touchline_model::value::Value;

const FIXTURE: &str = include_str!("../../tests/fixtures/youzan_pushes.json");
const NOW: Time = Time(1_772_416_801_000);
const ORDER_CELL: &str = "acme/order/youzan:111301484/E20220901150511072000049";
const BUYER_CELL: &str = "acme/yz_open_id/youzan/TESTyzopenid0000000000001";

fn account() -> Youzan {
    Youzan {
        tenant: "acme".into(),
        client_id: "test_client_0001".into(),
        client_secret: Secret::new("test_secret_do_not_use"),
        shops: [111_301_484].into(),
    }
}

struct Vector {
    name: String,
    event_type: String,
    event_sign: String,
    legacy_sign: String,
    body: String,
}

impl Vector {
    fn headers(&self) -> Headers<'_> {
        Headers {
            event_sign: Some(&self.event_sign),
            event_type: Some(&self.event_type),
            client_id: Some("test_client_0001"),
        }
    }

    fn event(&self) -> Event {
        single(decode(&account(), self.headers(), self.body.as_bytes(), NOW).unwrap())
    }
}

fn single(decoded: Decoded) -> Event {
    let [event] = <[Event; 1]>::try_from(decoded.events).unwrap();
    check_taxonomy(&event);
    event
}

fn vectors() -> Vec<Vector> {
    let all = json::parse(FIXTURE.as_bytes()).unwrap();
    let read = |vector: &Json| {
        let text = |name| json::text(vector, name).unwrap();
        Vector {
            name: text("name"),
            event_type: text("event_type"),
            event_sign: text("event_sign"),
            legacy_sign: text("legacy_sign"),
            body: text("body"),
        }
    };
    all.as_array().unwrap().iter().map(read).collect()
}

fn vector(name: &str) -> Vector {
    vectors().into_iter().find(|vector| vector.name == name).unwrap()
}

fn push(event_type: &str, msg: Json) -> Push {
    Push {
        event_type: event_type.into(),
        kdt_id: 111_301_484,
        id: "E1".into(),
        msg_id: Some("m-1".into()),
        status: None,
        version: 1_662_015_990,
        msg,
        test: false,
    }
}

fn receive(push: &Push) -> Decoded {
    accept(&push.send(&account())).unwrap()
}

fn accept(sent: &Sent) -> Result<Decoded, Error> {
    let headers = Headers {
        event_sign: Some(&sent.event_sign),
        event_type: Some(&sent.event_type),
        client_id: Some(&sent.client_id),
    };
    decode(&account(), headers, &sent.body, NOW)
}

/// Body with another member, signed anew.
fn resigned(sent: &Sent, name: &str, value: Json) -> Sent {
    let mut body = json::parse(&sent.body).unwrap();
    body[name] = value;
    let body = body.to_string().into_bytes();
    Sent { event_sign: event_sign_of(&account(), &body), body, ..sent.clone() }
}

fn integer(event: &Event, path: &str) -> Option<i64> {
    match event.fields.path(path)? {
        Value::Number(number) => number.as_integer(),
        _ => None,
    }
}

#[test]
fn the_vectors_verify_and_decode() {
    let expected = [
        ("TradeCreate", "order.created", BUYER_CELL, "2022-09-01T07:05:11.000Z"),
        ("TradePaid", "order.paid", BUYER_CELL, "2022-09-01T07:06:30.000Z"),
        ("TradeBuyerPay", "order.ready_to_ship", BUYER_CELL, "2022-09-01T07:06:31.000Z"),
        ("TradeSuccess", "order.completed", ORDER_CELL, "2022-09-08T06:53:20.000Z"),
        ("TradeClose", "order.closed", ORDER_CELL, "2022-09-01T08:06:40.000Z"),
        (
            "RefundBuyerCreated",
            "refund.requested",
            "acme/order/youzan:111301484/E20220901102943072006201",
            "2022-09-01T07:52:36.000Z",
        ),
        ("CustomerEvent", "member.registered", BUYER_CELL, "2022-09-01T07:05:00.000Z"),
        (
            "CustomerCardTaken",
            "card.taken",
            "acme/member_card/youzan:111301484/230597762425525741",
            "2018-01-27T07:56:20.000Z",
        ),
        ("Points", "points.changed", BUYER_CELL, "2025-10-05T03:56:08.000Z"),
    ];
    let vectors = vectors();
    assert_eq!(vectors.len(), expected.len());
    for (vector, (name, kind, cell, at)) in vectors.iter().zip(expected) {
        let event = vector.event();
        let got = (vector.name.as_str(), event.kind.name(), event.key().as_str().to_owned());
        assert_eq!(got, (name, kind, cell.to_owned()));
        assert_eq!(event.occurred_at.unwrap().to_string(), at, "{name}");
        assert_eq!(event.account, "111301484");
        let msg = json::text(&json::parse(vector.body.as_bytes()).unwrap(), "msg").unwrap();
        assert_eq!(legacy_sign_of(&account(), &msg), vector.legacy_sign, "{name}");
    }
}

#[test]
fn a_paid_order_has_its_lines_money_and_identities() {
    let event = vector("TradePaid").event();
    assert_eq!(event.fields.text("order_id"), Some("E20220901150511072000049"));
    assert_eq!(
        (integer(&event, "paid_fen"), integer(&event, "total_fen"), integer(&event, "post_fen")),
        (Some(1), Some(1), Some(0))
    );
    let Some(Value::List(lines)) = event.fields.get("lines") else { panic!("lines") };
    let Value::Record(line) = &lines[0] else { panic!("a record") };
    assert_eq!(line.text("line_id"), Some("2893201869893533901"));
    assert_eq!(
        (line.text("item_id"), line.get("sku_id"), line.text("title")),
        (Some("2019949394"), None, Some("实物商品-01"))
    );
    assert_eq!(
        (line.get("qty"), line.get("unit_price_fen"), line.get("paid_fen")),
        (Some(&Value::integer(1)), Some(&Value::integer(1)), Some(&Value::integer(1)))
    );
    assert_eq!(event.fields.get("paid_at"), Some(&Value::Time(Time(1_662_015_990_000))));
    let names: Vec<&str> = event.subject.iter().map(|id| id.kind.name()).collect();
    assert_eq!(names, ["yz_open_id", "order", "wx_openid"]);
    let Private::Plain { fields, raw } = &event.private else { panic!("plain") };
    assert_eq!(fields.text("receiver"), Some("$nGMqIF1XBijI7B+m9ImE7Q==$1$"), "ciphertext, its plus signs intact");
    assert_eq!(raw.as_slice(), vector("TradePaid").body.as_bytes());
    assert_eq!(event.actor, Actor::Customer);
    let unpaid = vector("TradeCreate").event();
    assert_eq!((integer(&unpaid, "paid_fen"), integer(&unpaid, "total_fen")), (None, Some(1)));
}

#[test]
fn the_other_families_have_their_fields() {
    let refund = vector("RefundBuyerCreated").event();
    assert_eq!(integer(&refund, "amount_fen"), Some(1));
    assert_eq!(
        (refund.fields.text("refund_id"), refund.fields.text("type"), refund.fields.text("phase")),
        (Some("202209011552353952310720"), Some("REFUND_ONLY"), Some("requested"))
    );
    assert_eq!(refund.fields.get("line_ids"), Some(&Value::List(vec![Value::text("2893166363399291031")])));
    assert_eq!(refund.native.version, Some(1_662_018_756_482));
    let closed = vector("TradeClose").event();
    assert_eq!(
        (closed.fields.text("reason"), closed.fields.get("before_pay")),
        (Some("过期关闭"), Some(&Value::Bool(true)))
    );
    let points = vector("Points").event();
    assert_eq!(
        (integer(&points, "delta"), integer(&points, "total"), points.fields.get("by_us")),
        (Some(5), Some(10), Some(&Value::Bool(true)))
    );
    let card = vector("CustomerCardTaken").event();
    assert_eq!(
        (card.fields.text("card_no"), card.fields.text("alias")),
        (Some("230597762425525741"), Some("2flg1h77ias9yA"))
    );
    let member = vector("CustomerEvent").event();
    assert_eq!(member.fields.get("name"), None, "names are private");
    assert_eq!(member.field("name").and_then(|name| name.as_text()), Some("测试客户"));
    let mut coupon = push("COUPON_CUSTOMER_PROMOTION", json!({"id": 900719925474099312_u64, "yz_open_id": "y1"}));
    for (status, kind) in
        [("CARD_TAKE", Kind::CouponTaken), ("card_consume", Kind::CouponUsed), ("CARD_BACK", Kind::CouponReturned)]
    {
        coupon.status = Some(status.into());
        let event = single(receive(&coupon));
        assert_eq!((event.kind, event.fields.text("coupon_id")), (kind, Some("900719925474099312")));
    }
    let shipped =
        single(receive(&push("trade_TradePartlySellerShip", json!({"tid": "E1", "oids": "1", "express_id": 4}))));
    assert_eq!((shipped.kind, shipped.fields.get("partial")), (Kind::OrderShipped, Some(&Value::Bool(true))));
    let moved = single(receive(&push("trade_TradeMemoModified", json!({"tid": "E1"}))));
    assert_eq!(moved.kind, Kind::OrderChanged);
}

#[test]
fn a_plus_is_a_space_and_msg_may_be_text_or_object() {
    assert_eq!(
        decode_msg(&json!("%7B%22t%22%3A%222022-09-01+15%3A52%3A36+%2B8%22%7D")),
        json!({"t": "2022-09-01 15:52:36 +8"})
    );
    assert_eq!(decode_msg(&json!("{\"t\":\"a+b\"}")), json!({"t": "a+b"}));
    assert_eq!(decode_msg(&json!({"t": 1})), json!({"t": 1}));
    assert_eq!(decode_msg(&json!("%7B%FF")), Json::Null);
    let new = push("youzan_trade_RefundSuccess", json!({}));
    let msg = json!({"tid": "E1", "refund_id": "R1", "refunded_fee": "12.3", "oids": [11101571002822706744_u64], "version": 1_662_018_756_482_i64});
    let event = single(accept(&resigned(&new.send(&account()), "msg", msg)).unwrap());
    assert_eq!((event.kind, integer(&event, "amount_fen")), (Kind::RefundSucceeded, Some(1_230)));
    assert_eq!(event.fields.get("line_ids"), Some(&Value::List(vec![Value::text("11101571002822706744")])));
    assert_eq!(event.occurred_at, Some(Time(1_662_018_756_482)), "the version is the time when nothing else is");
}

#[test]
fn signatures_are_checked_without_downgrade() {
    let vector = vector("TradePaid");
    let body = vector.body.as_bytes();
    let check = |headers: Headers<'_>, expected: Result<(), &'static str>| {
        let result = decode(&account(), headers, body, NOW);
        assert_eq!(result.map(|_| ()).map_err(|error| error.reason()), expected, "{headers:?}");
    };
    let right = vector.headers();
    check(right, Ok(()));
    check(Headers::default(), Ok(()));
    check(Headers { event_sign: Some("0"), ..right }, Err("bad_signature"));
    check(Headers { event_sign: Some(""), ..right }, Err("bad_signature"));
    check(Headers { event_sign: Some(&vector.legacy_sign), ..right }, Err("bad_signature"));
    check(Headers { client_id: Some("other"), ..right }, Err("unknown_account"));
    check(Headers { client_id: None, ..right }, Err("unknown_account"));
    check(Headers { event_type: Some("trade_TradeClose"), ..right }, Err("malformed"));
    check(Headers { event_type: None, ..right }, Err("malformed"));
    let tampered = vector.body.replace("\"sendCount\":0", "\"sendCount\":1");
    assert_eq!(decode(&account(), right, tampered.as_bytes(), NOW), Err(Error::BadSignature));
    let legacy = vector.body.replace("%220.01%22", "%220.02%22");
    assert_eq!(decode(&account(), Headers::default(), legacy.as_bytes(), NOW), Err(Error::BadSignature));
    let object_without_header = br#"{"client_id":"test_client_0001","msg":{},"sign":"x","kdt_id":111301484}"#;
    assert_eq!(decode(&account(), Headers::default(), object_without_header, NOW), Err(Error::BadSignature));
}

#[test]
fn other_apps_and_shops_are_refused_and_probes_leave_nothing() {
    let sent = push("trade_TradeSuccess", json!({"tid": "E1"})).send(&account());
    assert_eq!(accept(&resigned(&sent, "kdt_id", json!(5))), Err(Error::UnknownAccount));
    assert_eq!(accept(&resigned(&sent, "client_id", json!("other"))), Err(Error::UnknownAccount));
    assert_eq!(accept(&resigned(&sent, "kdt_id", json!("x"))).unwrap_err().reason(), "malformed");
    let probe = Push { test: true, ..push("trade_TradePaid", json!({"test": 1})) };
    assert_eq!(receive(&probe), Decoded { events: Vec::new(), purpose: Purpose::HealthProbe });
    let huge = vec![b' '; BODY_BYTES_MAX + 1];
    assert_eq!(decode(&account(), Headers::default(), &huge, NOW).unwrap_err().reason(), "oversized");
}

#[test]
fn the_unknown_is_a_notice_in_the_closest_cell() {
    let cell = |push: &Push| {
        let event = single(receive(push));
        assert_eq!(event.kind, Kind::ChannelNotice);
        event.key().as_str().to_owned()
    };
    assert_eq!(cell(&push("ITEM_STATE", json!({"item_id": 5}))), "acme/group/youzan/111301484");
    assert_eq!(cell(&push("BRAND_NEW", json!({"yz_open_id": "y1"}))), "acme/yz_open_id/youzan/y1");
    assert_eq!(cell(&push("BRAND_NEW", json!({"tid": "E9"}))), "acme/order/youzan:111301484/E9");
    assert_eq!(cell(&push("POINTS", json!("not an object"))), "acme/group/youzan/111301484");
}

#[test]
fn identity_rests_on_message_id_version_or_refund_phase() {
    let id = |push: &Push| single(receive(push)).id;
    let one = push("trade_TradePaid", json!({"tid": "E1"}));
    let retry = resigned(&one.send(&account()), "sendCount", json!(3));
    assert_eq!(single(accept(&retry).unwrap()).id, id(&one));
    assert_ne!(id(&Push { msg_id: Some("m-2".into()), ..one.clone() }), id(&one));
    let bare = Push { msg_id: None, ..one };
    assert_eq!(id(&bare), id(&bare));
    assert_ne!(id(&Push { version: bare.version + 1, ..bare.clone() }), id(&bare));
    assert_ne!(id(&Push { id: "E2".into(), ..bare.clone() }), id(&bare));
    let refund = |event_type: &str, msg_id: &str, refund_id: &str| {
        id(&Push { msg_id: Some(msg_id.into()), ..push(event_type, json!({"tid": "E1", "refund_id": refund_id})) })
    };
    let old = refund("trade_refund_RefundSuccess", "a", "R1");
    assert_eq!(refund("youzan_trade_RefundSuccess", "b", "R1"), old, "both families tell one change");
    assert_ne!(refund("youzan_trade_RefundSuccess", "b", "R2"), old);
    assert_ne!(refund("youzan_trade_RefundClosed", "c", "R1"), old);
}

/// Every vector with a few hundred seeded single-byte changes in body or signature: none passes.
#[test]
fn no_mutation_of_a_signed_push_passes() {
    let mut state = 7_u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for vector in vectors() {
        for round in 0..300 {
            let (mut sign, mut body) = (vector.event_sign.clone().into_bytes(), vector.body.clone().into_bytes());
            let part = if draw(4) == 0 { &mut sign } else { &mut body };
            let at = draw(part.len());
            part[at] ^= 1 << draw(7);
            let sign = String::from_utf8(sign).unwrap();
            let headers = Headers { event_sign: Some(&sign), ..vector.headers() };
            let result = decode(&account(), headers, &body, NOW);
            assert_eq!(result, Err(Error::BadSignature), "{} round {round}", vector.name);
        }
    }
}

proptest! {
    #[test]
    fn signed_nonsense_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let sign = event_sign_of(&account(), &body);
        let headers = Headers { event_sign: Some(&sign), ..Headers::default() };
        prop_assert!(decode(&account(), headers, &body, NOW).is_err());
        prop_assert!(decode(&account(), Headers::default(), &body, NOW).is_err());
    }

    #[test]
    fn any_message_of_any_type_gives_one_event(
        event_type in "(trade_TradePaid|trade_TradeClose|trade_refund_RefundSuccess|POINTS|SCRM_CUSTOMER_CARD|\\PC{1,9})",
        name in "(tid|yz_open_id|full_order_info|refund_id|card_no|oids|update_time)",
        value in "\\PC{1,40}",
    ) {
        single(receive(&push(&event_type, json!({name: value}))));
    }
}
