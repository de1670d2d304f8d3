use super::*;
use crate::decoded::tests::check_taxonomy;
use proptest::prelude::*;
use serde_json::json;
use touchline_model::event::{Actor, Private};
use touchline_model::id::{IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::value::{Fields, Value};

const PAGE: &str = include_str!("../../tests/fixtures/taobao_messages.json");
const NOW: Time = Time(1_795_233_601_000);
const SELLER: u64 = 174_265_168;
/// Beyond 2^53, as are all ids of the fixture: a float would make it 612055618715866240.
const TRADE: &str = "612055618715866263";
const BUYER_CELL: &str = "acme/tb_open_uid/12345678/AAHTESTOPENUID0001";
const ORDER_CELL: &str = "acme/order/taobao:174265168/612055618715866263";
const SHOP_CELL: &str = "acme/group/taobao/174265168";

fn account() -> Taobao {
    Taobao { tenant: "acme".into(), app_key: "12345678".into(), sellers: [SELLER].into() }
}

fn page(body: &str) -> Result<Vec<Message>, Error> {
    decode(&account(), body.as_bytes(), NOW)
}

/// The fixture's events; every one of them is told.
fn events() -> Vec<Event> {
    page(PAGE).unwrap().into_iter().map(|message| checked(message.event)).collect()
}

fn checked(event: Result<Event, Error>) -> Event {
    let event = event.unwrap();
    check_taxonomy(&event);
    event
}

/// A message of the queue; its content is JSON text, as it comes.
fn message(topic: &str, content: &Json) -> Json {
    json!({
        "id": 6_142_200_092_063_758_453_u64, "topic": topic, "user_id": SELLER, "user_nick": "CANARY",
        "pub_app_key": "12497914", "pub_time": "2026-11-21 12:07:00", "content": content.to_string(),
    })
}

fn with(mut object: Json, name: &str, value: Json) -> Json {
    object[name] = value;
    object
}

fn result(message: &Json) -> Result<Event, Error> {
    let [message] = <[Message; 1]>::try_from(page(&message.to_string()).unwrap()).unwrap();
    message.event
}

fn told(topic: &str, content: Json) -> Event {
    checked(result(&message(topic, &content)))
}

fn integer(fields: &Fields, name: &str) -> Option<i64> {
    match fields.get(name)? {
        Value::Number(number) => number.as_integer(),
        _ => None,
    }
}

/// The line of an order event.
fn line(event: &Event) -> &Fields {
    let Some(Value::List(lines)) = event.fields.get("lines") else { panic!("lines") };
    let [Value::Record(line)] = &lines[..] else { panic!("one line") };
    line
}

#[test]
fn a_page_of_seven_messages_is_seven_events_under_the_buyer() {
    let expected = [
        ("6142200092063758446", "order.created", Actor::Customer, "2026-11-21T04:00:00.000Z"),
        ("6142200092063758447", "order.paid", Actor::Customer, "2026-11-21T04:01:00.000Z"),
        ("6142200092063758448", "order.completed", Actor::Unknown, "2026-11-21T04:02:00.000Z"),
        ("6142200092063758449", "order.closed", Actor::Unknown, "2026-11-21T04:03:00.000Z"),
        ("6142200092063758450", "review.posted", Actor::Customer, "2026-11-21T04:04:00.000Z"),
        ("6142200092063758451", "refund.requested", Actor::Customer, "2026-11-21T04:05:00.000Z"),
        ("6142200092063758452", "refund.succeeded", Actor::Unknown, "2026-11-21T04:06:00.000Z"),
    ];
    let messages = page(PAGE).unwrap();
    assert_eq!(messages.len(), expected.len());
    for (message, (id, kind, actor, at)) in messages.into_iter().zip(expected) {
        assert_eq!(message.id.as_deref(), Some(id));
        let event = checked(message.event);
        assert_eq!((event.kind.name(), &event.actor, event.native.id.as_str()), (kind, &actor, id));
        assert_eq!(event.occurred_at.unwrap().to_string(), at, "{kind}");
        assert_eq!((event.precision, event.received_at), (Precision::Second, NOW));
        assert_eq!((event.channel, event.account.as_str()), (Channel::Taobao, "174265168"));
        assert_eq!(event.key().as_str(), BUYER_CELL, "{kind}");
        let order = IdKey::new(IdKind::Order, "taobao:174265168", TRADE);
        assert_eq!(event.subject[1..], [order], "{kind}");
    }
}

#[test]
fn orders_have_their_money_and_their_line() {
    let [created, paid, completed, closed, ..] = &events()[..] else { panic!("events") };
    for event in [created, paid, completed, closed] {
        assert_eq!((event.fields.text("order_id"), event.fields.text("shop")), (Some(TRADE), Some("174265168")));
        assert_eq!(integer(&event.fields, "total_fen"), Some(12_000));
        assert_eq!(line(event).text("line_id"), Some(TRADE));
    }
    let paid_fen = |event: &Event| integer(&event.fields, "paid_fen");
    assert_eq!([created, paid, completed, closed].map(paid_fen), [None, Some(12_000), Some(12_000), None]);
    assert_eq!((integer(&paid.fields, "post_fen"), integer(&created.fields, "post_fen")), (Some(0), None));
    assert_eq!(created.fields.text("status_native"), Some("WAIT_BUYER_PAY"));
    assert_eq!(closed.fields.get("before_pay"), Some(&Value::Bool(true)));
    assert_eq!(line(closed).text("item_id"), Some("601994032577"));

    let content = json!({"tid": TRADE, "oid": TRADE, "payment": "99.90", "status": "TRADE_CLOSED",
        "num_iid": 601_994_032_577_u64, "sku_id": 5_012_345_678_901_u64, "num": 3, "price": "33.3"});
    let refunded = told("taobao_trade_TradeClose", content.clone());
    assert_eq!(refunded.fields.get("before_pay"), Some(&Value::Bool(false)));
    assert_eq!((paid_fen(&refunded), integer(&refunded.fields, "total_fen")), (Some(9_990), Some(9_990)));
    let expected = Fields::new()
        .with("line_id", Value::text(TRADE))
        .with("item_id", Value::text("601994032577"))
        .with("sku_id", Value::text("5012345678901"))
        .with("qty", Value::integer(3))
        .with("unit_price_fen", Value::integer(3_330));
    assert_eq!(line(&refunded), &expected);
    let without_variant = told("taobao_trade_TradeClose", with(content, "sku_id", json!(0)));
    assert_eq!(line(&without_variant).get("sku_id"), None);
}

#[test]
fn refunds_and_reviews_have_their_fields() {
    let [.., review, requested, succeeded] = &events()[..] else { panic!("events") };
    assert_eq!((review.fields.text("order"), review.fields.text("rater")), (Some(TRADE), Some("buyer")));
    for event in [requested, succeeded] {
        let text = |name| event.fields.text(name);
        assert_eq!((text("refund_id"), text("order_id")), (Some("112233445566"), Some(TRADE)));
        assert_eq!((text("type"), text("phase")), (Some("refund_bill"), Some("onsale")));
        assert_eq!(event.fields.get("line_ids"), Some(&Value::List(vec![Value::text(TRADE)])));
        assert_eq!(integer(&event.fields, "amount_fen"), Some(12_000));
    }
    // 2026-11-21 12:30:00 at UTC+8.
    assert_eq!(succeeded.native.version, Some(1_795_235_400_000));
    let by_seller = told("taobao_trade_TradeRated", json!({"tid": TRADE, "rater": "seller"}));
    assert_eq!(by_seller.actor, Actor::Unknown);
}

#[test]
fn every_topic_has_its_kind() {
    let content = json!({"tid": TRADE, "oid": TRADE, "refund_id": 9, "buyer_open_uid": "u1"});
    for (topic, kind) in [
        ("taobao_trade_TradeSellerShip", "order.shipped"),
        ("taobao_trade_TradePartlySellerShip", "order.shipped"),
        ("taobao_trade_TradePartlyConfirmPay", "order.changed"),
        ("taobao_trade_TradeBuyerStepPay", "order.changed"),
        ("taobao_trade_TradeChanged", "order.changed"),
        ("taobao_trade_TradeModifyFee", "order.changed"),
        ("taobao_trade_TradeMemoModified", "order.changed"),
        ("taobao_trade_TradeLogisticsAddressChanged", "order.changed"),
        ("taobao_trade_TradeTimeoutRemind", "order.changed"),
        ("taobao_trade_TradeDelayConfirmPay", "order.changed"),
        ("taobao_trade_TradeCloseAndModifyDetailOrder", "order.changed"),
        ("taobao_trade_TradeAlipayCreate", "order.changed"),
        ("taobao_refund_RefundSellerAgreeAgreement", "refund.agreed"),
        ("taobao_refund_RefundSellerRefuseAgreement", "refund.refused"),
        ("taobao_refund_RefundBuyerReturnGoods", "refund.returned"),
        ("taobao_refund_RefundClosed", "refund.closed"),
        ("taobao_refund_RefundBrandNew", "channel.notice"),
        ("taobao_opencrm_AuthTouchMessage", "channel.notice"),
        ("taobao_item_ItemUpdate", "channel.notice"),
    ] {
        assert_eq!(told(topic, content.clone()).kind.name(), kind, "{topic}");
    }
    let partial = |topic| told(topic, content.clone()).fields.get("partial").cloned();
    assert_eq!(partial("taobao_trade_TradePartlySellerShip"), Some(Value::Bool(true)));
    assert_eq!(partial("taobao_trade_TradeSellerShip"), Some(Value::Bool(false)));
    let deposit = told("taobao_trade_TradeBuyerStepPay", with(content, "payment", json!("10.00")));
    assert_eq!(deposit.fields.get("total_fen"), None, "a deposit is not the price");
}

#[test]
fn one_business_event_under_two_message_ids_is_one_event() {
    let content = json!({"tid": TRADE, "oid": TRADE, "payment": "120.00", "buyer_open_uid": "u1"});
    let first = message("taobao_trade_TradeBuyerPay", &content);
    let again = with(first.clone(), "id", json!(6_142_200_092_063_759_999_u64));
    let again = with(again, "pub_time", json!("2026-11-21 12:17:00"));
    // The other order of members and other spaces.
    let content =
        r#"{ "payment": "120.00", "oid": "612055618715866263", "buyer_open_uid": "u1", "tid": "612055618715866263" }"#;
    let again = with(again, "content", json!(content));
    let ids = [&first, &again].map(|message| result(message).unwrap().id);
    assert_eq!(ids[0], ids[1]);
    assert_ne!(result(&first).unwrap().native.id, result(&again).unwrap().native.id);
}

#[test]
fn a_payment_by_line_and_by_trade_are_two_events_and_the_money_counts_once() {
    let by = |oid: &str, payment: &str| {
        let content = json!({"tid": TRADE, "oid": oid, "payment": payment, "post_fee": "5.00", "buyer_open_uid": "u1"});
        told("taobao_trade_TradeBuyerPay", content)
    };
    let (trade, one, two) = (by(TRADE, "120.00"), by("612055618715866264", "70.00"), by("612055618715866265", "45.00"));
    assert!(trade.id != one.id && one.id != two.id);
    assert_eq!([&trade, &one, &two].map(|event| event.kind), [Kind::OrderPaid; 3]);
    let of_order = |event: &Event| ["total_fen", "paid_fen", "post_fen"].map(|name| integer(&event.fields, name));
    assert_eq!(of_order(&trade), [Some(12_000), Some(12_000), Some(500)]);
    assert_eq!([of_order(&one), of_order(&two)], [[None; 3]; 2]);
    assert_eq!([&trade, &one, &two].map(|event| integer(line(event), "paid_fen")), [None, Some(7_000), Some(4_500)]);
    let whole = told("taobao_trade_TradeBuyerPay", json!({"tid": TRADE, "payment": "120.00"}));
    assert_eq!((integer(&whole.fields, "paid_fen"), whole.fields.get("lines")), (Some(12_000), None));
}

#[test]
fn identity_rests_on_what_the_message_says() {
    let content = json!({"tid": "1", "oid": "2", "refund_id": "3", "status": "A", "modified": "2026-11-21 12:00:00"});
    let id = |topic: &str, content: &Json| told(topic, content.clone()).id;
    let topic = "taobao_refund_RefundCreated";
    let one = id(topic, &content);
    for (name, value) in [
        ("tid", "9"),
        ("oid", "9"),
        ("refund_id", "9"),
        ("status", "B"),
        ("modified", "2026-11-21 12:00:01"),
        ("refund_fee", "1.00"),
    ] {
        assert_ne!(id(topic, &with(content.clone(), name, json!(value))), one, "{name}");
    }
    assert_ne!(id("taobao_refund_RefundClosed", &content), one);
    let elsewhere = with(message(topic, &content), "user_id", json!(5));
    let everyone = Taobao { sellers: [].into(), ..account() };
    let elsewhere = decode(&everyone, elsewhere.to_string().as_bytes(), NOW).unwrap().remove(0);
    assert_ne!(elsewhere.event.unwrap().id, one);
}

#[test]
fn a_message_without_buyer_lies_in_the_closest_cell() {
    let cell = |topic: &str, content: Json| told(topic, content).key().as_str().to_owned();
    // The vendor's sandbox names nobody but the masked nick.
    let sandbox = json!({"buyer_nick": "sandbox_cilai_c", "payment": "120.00", "oid": 192_364_827_791_084_u64,
        "tid": 192_364_827_791_084_u64, "type": "guarantee_trade", "seller_nick": "sandbox_c_20"});
    let event = told("taobao_trade_TradeCreate", sandbox);
    assert_eq!(event.subject, [IdKey::new(IdKind::Order, "taobao:174265168", "192364827791084")]);
    assert_eq!(event.key().as_str(), "acme/order/taobao:174265168/192364827791084");
    assert_eq!(cell("taobao_trade_TradeCreate", json!({"tid": TRADE, "buyer_open_uid": ""})), ORDER_CELL);
    assert_eq!(cell("taobao_trade_TradeCreate", json!({})), SHOP_CELL);
    assert_eq!(cell("taobao_refund_RefundCreated", json!({"refund_id": 1})), SHOP_CELL);
    assert_eq!(cell("brand_new", json!({"tid": TRADE})), ORDER_CELL);
    assert_eq!(cell("brand_new", json!({"buyer_open_uid": "AAHTESTOPENUID0001"})), BUYER_CELL);
    assert_eq!(told("brand_new", json!({})).fields.text("notice"), Some("brand_new"));
    assert_eq!(told("taobao_trade_TradePaid", json!({})).kind, Kind::ChannelNotice, "a trade without its number");
}

#[test]
fn names_and_the_message_itself_stay_private() {
    let message =
        message("taobao_trade_TradeRated", &json!({"tid": TRADE, "buyer_nick": "CANARY", "content": "CANARY"}));
    let event = checked(result(&message));
    assert!(!format!("{:?}{:?}{:?}", event.fields, event.subject, event.native).contains("CANARY"));
    let Private::Plain { fields, raw } = &event.private else { panic!("plain") };
    assert_eq!(fields, &Fields::new());
    assert_eq!(raw, message.to_string().as_bytes());
    assert_eq!(event.native.raw_sha256, sha256(raw));
    // Of a page, each message keeps its own bytes, spaces and all.
    for event in events() {
        let Private::Plain { raw, .. } = event.private else { panic!("plain") };
        assert!(PAGE.contains(std::str::from_utf8(&raw).unwrap()) && raw.starts_with(b"{\n") && raw.ends_with(b"}"));
    }
}

#[test]
fn a_bad_message_leaves_the_others_alone() {
    let good = |id: u64| with(message("taobao_trade_TradeCreate", &json!({"tid": TRADE})), "id", json!(id));
    let content = |text: &str| with(good(2), "content", json!(text));
    let without = |name: &str| with(good(2), name, Json::Null);
    for (bad, id, reason) in [
        (json!("CANARY"), None, "malformed"),
        (without("id"), None, "malformed"),
        (with(good(2), "id", json!("6.1422e18")), None, "malformed"),
        (without("topic"), Some("2"), "malformed"),
        (without("user_id"), Some("2"), "malformed"),
        (with(good(2), "user_id", json!(5)), Some("2"), "unknown_account"),
        (without("content"), Some("2"), "malformed"),
        // Parsed on the way: its ids may be rounded.
        (with(good(2), "content", json!({"tid": TRADE})), Some("2"), "malformed"),
        (content("CANARY"), Some("2"), "malformed"),
        (content("[]"), Some("2"), "malformed"),
        (content(r#"{"tid": 6.1205561871586624e17}"#), Some("2"), "malformed"),
        (content(r#"{"tid": 1, "oid": "x"}"#), Some("2"), "malformed"),
        (content(r#"{"tid": 1, "refund_id": -1}"#), Some("2"), "malformed"),
        (content(&json!({"tid": 1, "buyer_open_uid": "u".repeat(512)}).to_string()), Some("2"), "malformed"),
    ] {
        let list = json!([good(1), bad, good(3)]);
        let body = json!({"tmc_messages_consume_response": {"messages": {"tmc_message": list}, "request_id": "r"}});
        let messages = page(&body.to_string()).unwrap();
        let ids: Vec<_> = messages.iter().map(|message| message.id.as_deref()).collect();
        assert_eq!(ids, [Some("1"), id, Some("3")], "{bad}");
        assert!(messages[0].event.is_ok() && messages[2].event.is_ok(), "{bad}");
        let error = messages[1].event.clone().unwrap_err();
        assert_eq!(error.reason(), reason, "{bad}");
        assert!(!error.to_string().contains("CANARY"));
    }
}

#[test]
fn bodies_that_are_no_page_are_refused_whole() {
    let list = |count: usize| {
        let messages = vec![json!({}); count];
        json!({"tmc_messages_consume_response": {"messages": {"tmc_message": messages}}}).to_string()
    };
    let reason = |body: &str| page(body).map(|messages| messages.len()).map_err(|error| error.reason());
    assert_eq!(reason(r#"{"tmc_messages_consume_response":{"request_id":"r"}}"#), Ok(0), "an empty queue");
    assert_eq!(reason(r#"{"tmc_messages_consume_response":{"messages":{}}}"#), Ok(0));
    assert_eq!((reason(&list(200)), reason(&list(201))), (Ok(200), Err("too_many")));
    for bad in [
        "",
        "[]",
        "{}",
        "null",
        "{\"topic\"",
        r#"{"error_response":{"code":7}}"#,
        r#"{"tmc_messages_consume_response":{"messages":[]}}"#,
        r#"{"tmc_messages_consume_response":{"messages":{"tmc_message":{}}}}"#,
    ] {
        assert_eq!(reason(bad), Err("malformed"), "{bad}");
    }
    assert_eq!(reason(&" ".repeat(BODY_BYTES_MAX + 1)), Err("oversized"));
    assert_eq!(reason(&"[".repeat(100_000)), Err("malformed"));
}

#[test]
fn a_time_that_cannot_be_read_is_no_time() {
    for time in [json!(null), json!("2026-11-21T12:00:00Z"), json!("0000-00-00 00:00:00"), json!(1)] {
        let message = with(message("taobao_trade_TradeCreate", &json!({"tid": TRADE})), "pub_time", time);
        assert_eq!(checked(result(&message)).occurred_at, None);
    }
}

proptest! {
    #[test]
    fn nonsense_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&account(), &body, NOW).is_err());
    }

    #[test]
    fn any_content_of_any_topic_gives_one_event(
        topic in "(taobao_trade_Trade(BuyerPay|Close|Rated|Changed)|taobao_refund_RefundSuccess|\\PC{1,9})",
        name in "(buyer_open_uid|payment|status|rater|price|num|sku_id|modified|refund_fee)",
        value in "\\PC{1,40}",
    ) {
        told(&topic, json!({"tid": TRADE, "refund_id": 1, name: value}));
    }
}
