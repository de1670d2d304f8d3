use crate::testing::{Answer, Bench, CANARY, Fate};
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use touchline_channels::taobao::BODY_BYTES_MAX;
use touchline_model::kind::Kind;

/// Beyond 2^53: as floats the first hundred would be one number.
const FIRST_ID: u64 = 6_142_200_092_063_758_446;

/// A message about the trade `trade`, so that messages of different trades lie in different cells.
fn message(id: u64, topic: &str, trade: u64) -> Value {
    let content = json!({"tid": trade, "oid": trade, "payment": "120.00", "buyer_nick": CANARY,
        "buyer_open_uid": format!("{CANARY}-{trade}"), "status": "WAIT_BUYER_PAY"});
    json!({
        "id": id, "topic": topic, "user_id": 174_265_168, "user_nick": CANARY, "pub_app_key": "12497914",
        "pub_time": "2026-11-21 12:00:00", "content": content.to_string(),
    })
}

fn created(id: u64) -> Value {
    message(id, "taobao_trade_TradeCreate", id)
}

fn page(messages: &[Value]) -> Value {
    json!({"tmc_messages_consume_response": {"messages": {"tmc_message": messages}, "request_id": "r"}})
}

async fn send(bench: &Bench, body: &Value) -> Answer {
    post(bench, "Bearer CANARY-relay", body.to_string()).await
}

async fn post(bench: &Bench, authorization: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post("/taobao/tmall").header("authorization", authorization);
    bench.send(request.body(body.into()).unwrap()).await
}

/// (id, status, reason) of every message of an answer.
fn fates(answer: &Answer) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = answer.json()["messages"].as_array().unwrap().clone();
    list.iter().map(|item| (text(&item["id"]), text(&item["status"]), text(&item["reason"]))).collect()
}

fn fate(id: u64, status: &str, reason: &str) -> (String, String, String) {
    let id = if id == 0 { String::new() } else { id.to_string() };
    (id, status.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn a_page_is_durable_when_it_is_answered() {
    let bench = Bench::new();
    let topics = ["TradeCreate", "TradeBuyerPay", "TradeSuccess", "TradeClose", "TradeRated"];
    let messages: Vec<Value> = (FIRST_ID..)
        .zip(topics)
        .map(|(id, topic)| message(id, &format!("taobao_trade_{topic}"), 612_055_618_715_866_263))
        .collect();
    let answer = send(&bench, &page(&messages)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    // One trade and one buyer: one cell, in the order of the page.
    let events = bench.events();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.name()).collect();
    assert_eq!(kinds, ["order.created", "order.paid", "order.completed", "order.closed", "review.posted"]);
    let items: Vec<Value> = (FIRST_ID..)
        .zip(&events)
        .map(|(id, event)| json!({"id": id.to_string(), "status": "accepted", "event_id": event.id.to_hex()}))
        .collect();
    assert_eq!(answer.json(), json!({"messages": items, "accepted": 5, "rejected": 0, "failed": 0}));
    assert_eq!(bench.counted(r#"touchline_events_ingested_total{channel="taobao",result="accepted"}"#), 5);
    assert!(!bench.said().contains(CANARY) && !answer.body.contains(CANARY));
}

#[tokio::test]
async fn one_message_object_is_a_page_of_one() {
    let bench = Bench::new();
    let answer = send(&bench, &created(FIRST_ID)).await;
    assert_eq!((answer.status, fates(&answer)), (StatusCode::OK, vec![fate(FIRST_ID, "accepted", "")]));
    assert_eq!(bench.events()[0].kind, Kind::OrderCreated);
    let empty = send(&bench, &json!({"tmc_messages_consume_response": {"request_id": "r"}})).await;
    assert_eq!(empty.json(), json!({"messages": [], "accepted": 0, "rejected": 0, "failed": 0}));
}

#[tokio::test]
async fn one_business_event_under_two_ids_is_accepted_twice_as_one() {
    let bench = Bench::new();
    let paid = |id| message(id, "taobao_trade_TradeBuyerPay", 612_055_618_715_866_263);
    let answer = send(&bench, &page(&[paid(FIRST_ID), paid(FIRST_ID + 1)])).await;
    assert_eq!(fates(&answer), [fate(FIRST_ID, "accepted", ""), fate(FIRST_ID + 1, "accepted", "")]);
    let answer = answer.json();
    assert_eq!(answer["messages"][0]["event_id"], answer["messages"][1]["event_id"]);
    assert_eq!(bench.events()[0].id, bench.events()[1].id);
}

#[tokio::test]
async fn bad_messages_do_not_stop_the_others() {
    let bench = Bench::new();
    let with = |mut message: Value, name: &str, value: Value| {
        message[name] = value;
        message
    };
    // Too large for a record, though the page is within its bound.
    let large = with(created(3), "content", json!(json!({"tid": 3, "note": "x".repeat(990_000)}).to_string()));
    let messages = [
        created(1),
        with(created(2), "content", json!(CANARY)),
        large,
        with(created(4), "user_id", json!(5)),
        json!(CANARY),
        created(6),
    ];
    let answer = send(&bench, &page(&messages)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let expected = [
        fate(1, "accepted", ""),
        fate(2, "rejected", "malformed"),
        fate(3, "rejected", "oversized"),
        fate(4, "rejected", "unknown_account"),
        fate(0, "rejected", "malformed"),
        fate(6, "accepted", ""),
    ];
    assert_eq!(fates(&answer), expected);
    assert_eq!(answer.json()["messages"][4]["id"], Value::Null);
    assert_eq!((&answer.json()["accepted"], &answer.json()["rejected"]), (&json!(2), &json!(4)));
    let mut ids: Vec<_> = bench.events().into_iter().map(|event| event.native.id).collect();
    ids.sort();
    assert_eq!(ids, ["1", "6"]);
    for (reason, count) in [("malformed", 2), ("oversized", 1), ("unknown_account", 1)] {
        let sample = format!(r#"touchline_webhook_rejected_total{{channel="taobao",reason="{reason}"}}"#);
        assert_eq!(bench.counted(&sample), count, "{reason}");
    }
    assert!(!bench.said().contains(CANARY) && !answer.body.contains(CANARY));
}

#[tokio::test]
async fn bodies_that_are_no_page_are_refused_whole() {
    let many = page(&vec![json!({}); 201]).to_string();
    for (body, status, reason) in [
        (format!("{{\"{CANARY}\""), StatusCode::BAD_REQUEST, "malformed"),
        ("[]".to_owned(), StatusCode::BAD_REQUEST, "malformed"),
        (many, StatusCode::PAYLOAD_TOO_LARGE, "too_many"),
        (" ".repeat(BODY_BYTES_MAX + 1), StatusCode::PAYLOAD_TOO_LARGE, "oversized"),
    ] {
        let bench = Bench::new();
        let answer = post(&bench, "Bearer CANARY-relay", body).await;
        assert_eq!((answer.status, &answer.json()["error"]["reason"]), (status, &json!(reason)));
        assert!(bench.events().is_empty() && !answer.body.contains(CANARY));
        let sample = format!(r#"touchline_webhook_rejected_total{{channel="taobao",reason="{reason}"}}"#);
        assert_eq!(bench.counted(&sample), 1);
    }
}

#[tokio::test]
async fn a_log_that_does_not_take_it_leaves_the_page_unconfirmed() {
    for (log, reason) in [
        (Fate::Refused, "log_failed"),
        (Fate::LostAck, "log_failed"),
        (Fate::Busy, "log_busy"),
        (Fate::Stuck, "log_slow"),
    ] {
        let bench = Bench::new();
        bench.fate(log);
        let body = page(&[created(1), json!({}), created(2)]);
        let answer = send(&bench, &body).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{log:?}");
        assert_eq!(answer.header("retry-after"), "1");
        let expected = [fate(1, "failed", reason), fate(0, "rejected", "malformed"), fate(2, "failed", reason)];
        assert_eq!(fates(&answer), expected, "{log:?}");
        // Consumed and posted again: durable, under the ids of the first time.
        bench.fate(Fate::Up);
        assert_eq!(send(&bench, &body).await.status, StatusCode::OK);
        let mut ids: Vec<_> = bench.events().into_iter().map(|event| event.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 2, "{log:?}");
    }
}

#[tokio::test]
async fn only_the_relay_may_post() {
    let local: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let remote: SocketAddr = "192.0.2.1:9".parse().unwrap();
    for (account, peer, header, status) in [
        ("tmall", local, None, StatusCode::UNAUTHORIZED),
        ("tmall", local, Some(("authorization", "Bearer nope")), StatusCode::UNAUTHORIZED),
        ("tmall", local, Some(("authorization", "Bearer CANARY-archive")), StatusCode::UNAUTHORIZED),
        ("tmall", remote, Some(("authorization", "Bearer CANARY-relay")), StatusCode::OK),
        ("local", local, None, StatusCode::OK),
        ("local", local, Some(("x-forwarded-for", "192.0.2.1")), StatusCode::UNAUTHORIZED),
        ("local", remote, None, StatusCode::UNAUTHORIZED),
        ("other", local, None, StatusCode::NOT_FOUND),
    ] {
        let bench = Bench::new();
        let mut request = Request::post(format!("/taobao/{account}"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let mut request = request.body(Body::from(created(1).to_string())).unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = bench.send(request).await;
        assert_eq!(answer.status, status, "{account} {peer:?} {header:?}");
        assert_eq!(bench.events().len(), usize::from(status == StatusCode::OK));
    }
}
