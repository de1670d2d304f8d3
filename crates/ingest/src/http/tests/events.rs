use super::get;
use crate::settings::Settings;
use crate::testing::{Answer, Bench, CANARY, Fate, NOW, settings};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use touchline_channels::account::Secret;
use touchline_model::event::Channel;
use touchline_model::kind::Kind;

fn order(id: &str) -> Value {
    json!({
        "kind": "order.paid", "tenant": "acme", "source": "crm", "id": id, "occurred_at": "2026-03-02T10:00:00+08:00",
        "subject": [{"kind": "yz_open_id", "scope": "youzan", "value": format!("buyer-{id}")}],
        "fields": {"paid_fen": 9900},
    })
}

fn with(mut event: Value, name: &str, value: Value) -> Value {
    event[name] = value;
    event
}

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/v1/events").header("content-type", "application/json; charset=utf-8").body(body.into()).unwrap()
}

async fn send(bench: &Bench, body: &Value) -> Answer {
    bench.send(post(body.to_string())).await
}

#[tokio::test]
async fn an_accepted_event_lies_where_the_answer_says() {
    let bench = Bench::new();
    let answer = send(&bench, &order("1")).await;
    assert_eq!(answer.status, StatusCode::OK);
    let [event] = &bench.events()[..] else { panic!("one event") };
    let partition = event.key().partition(4);
    let mut offsets = [0; 4];
    offsets[partition as usize] = 1;
    let expected = json!({
        "results": [{"status": "accepted", "event_id": event.id.to_hex(),
            "position": {"partition": partition, "offset": 0}}],
        "accepted": 1, "rejected": 0, "token": {"epoch": "memory", "offsets": offsets, "bundle": 0},
    });
    assert_eq!(answer.json(), expected);
    assert_eq!((event.kind, event.channel, event.received_at), (Kind::OrderPaid, Channel::Api, NOW));
    assert_eq!(bench.counted(r#"touchline_events_ingested_total{channel="api",result="accepted"}"#), 1);
    assert!(bench.said().contains("touchline_ingest_append_duration_seconds"));
}

#[tokio::test]
async fn a_batch_is_answered_event_by_event() {
    let bench = Bench::new();
    let bad = with(order("2"), "kind", json!("order.payed"));
    let answer = send(&bench, &json!({"events": [order("1"), bad, order("3")]})).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS);
    let results = answer.json()["results"].clone();
    assert_eq!(results[1]["reason"], "unknown_kind");
    assert_eq!((&results[0]["status"], &results[2]["status"]), (&json!("accepted"), &json!("accepted")));
    let mut ids: Vec<_> = bench.events().into_iter().map(|event| event.native.id).collect();
    ids.sort();
    assert_eq!(ids, ["1", "3"]);
}

#[tokio::test]
async fn a_duplicate_is_accepted_under_the_same_id() {
    let bench = Bench::new();
    for _ in 0..2 {
        assert_eq!(send(&bench, &order("1")).await.status, StatusCode::OK);
    }
    let events = bench.events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].id, events[1].id);
}

#[tokio::test]
async fn what_an_event_says_wrongly_keeps_it_out() {
    for (event, reason) in [
        (with(order("1"), "kind", json!("tick")), "unknown_kind"),
        (with(order("1"), "kind", json!("loop.forward")), "unknown_kind"),
        (with(order("1"), "kind", json!("command.move_card")), "unknown_kind"),
        (with(order("1"), "kind", json!("channel.notice")), "forbidden_kind"),
        (with(order("1"), "channel", json!("internal")), "wrong_field"),
        (with(order("1"), "tenant", json!("other")), "unknown_tenant"),
        // Encoded, its cell key has more than 512 bytes.
        (with(order("1"), "tenant", json!("甲".repeat(70))), "wrong_field"),
        (with(order("1"), "CANARY", json!(1)), "unknown_field"),
        (with(order("1"), "fields", json!({"paid_fen": "CANARY"})), "wrong_field"),
        (with(order("1"), "subject", json!([])), "wrong_field"),
        (json!(1), "malformed"),
    ] {
        let bench = Bench::new();
        let answer = send(&bench, &json!([event])).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{event}");
        assert_eq!(answer.json()["results"][0]["reason"], reason, "{event}");
        assert!(bench.events().is_empty(), "{event}");
        let sample = format!(r#"touchline_webhook_rejected_total{{channel="api",reason="{reason}"}}"#);
        assert_eq!(bench.counted(&sample), 1, "{}", bench.said());
        assert_eq!(bench.counted(r#"touchline_events_ingested_total{channel="api",result="rejected"}"#), 1);
    }
}

#[tokio::test]
async fn an_event_that_every_record_rule_forbids_is_rejected_by_the_publisher() {
    // No list of tenants: the decoder lets a long tenant through, records do not hold it.
    let bench = Bench::with(Settings { tenants: [].into(), ..settings() });
    let answer = send(&bench, &with(order("1"), "tenant", json!("a".repeat(65)))).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
    assert_eq!(answer.json()["results"][0]["reason"], "malformed");
    assert!(bench.events().is_empty());
}

#[tokio::test]
async fn requests_that_cannot_be_read_are_refused_whole() {
    let plain = |content_type: &str| {
        Request::post("/v1/events").header("content-type", content_type).body(Body::from("{}")).unwrap()
    };
    let many = json!(vec![json!({}); 501]).to_string();
    for (request, status, reason) in [
        (plain("text/plain"), StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
        (plain("application/jsonx"), StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
        (
            Request::post("/v1/events").body(Body::empty()).unwrap(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
        ),
        (post("{\"CANARY\""), StatusCode::BAD_REQUEST, "malformed"),
        (post(vec![0xff, 0xfe]), StatusCode::BAD_REQUEST, "malformed"),
        (post("[".repeat(100_000)), StatusCode::BAD_REQUEST, "malformed"),
        (post(""), StatusCode::BAD_REQUEST, "malformed"),
        (post(" ".repeat(1024 * 1024 + 1)), StatusCode::PAYLOAD_TOO_LARGE, "oversized"),
        (post(many), StatusCode::PAYLOAD_TOO_LARGE, "too_many"),
    ] {
        let bench = Bench::new();
        let answer = bench.send(request).await;
        assert_eq!(answer.status, status, "{reason}: {}", answer.body);
        assert_eq!(answer.json()["error"]["reason"], reason);
        assert!(!answer.body.contains(CANARY));
        assert!(bench.events().is_empty());
        let sample = format!(r#"touchline_webhook_rejected_total{{channel="api",reason="{reason}"}}"#);
        assert_eq!(bench.counted(&sample), 1);
    }
    assert_eq!(Bench::new().send(get("/v1/events")).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_token_is_asked_for_when_there_is_one() {
    let bench = Bench::with(Settings { events_token: Some(Secret::new("CANARY-events")), ..settings() });
    for (given, status) in [
        (None, StatusCode::UNAUTHORIZED),
        (Some("Bearer wrong"), StatusCode::UNAUTHORIZED),
        (Some("CANARY-events"), StatusCode::UNAUTHORIZED),
        (Some("Bearer CANARY-events"), StatusCode::OK),
    ] {
        let mut request = post(order("1").to_string());
        if let Some(given) = given {
            request.headers_mut().insert("authorization", given.parse().unwrap());
        }
        assert_eq!(bench.send(request).await.status, status, "{given:?}");
    }
    assert_eq!(bench.events().len(), 1);
}

#[tokio::test]
async fn a_log_that_does_not_take_it_is_503_and_nothing_is_acknowledged() {
    for (fate, reason, in_log) in [
        (Fate::Refused, "log_failed", 0),
        (Fate::LostAck, "log_failed", 2),
        (Fate::Busy, "log_busy", 0),
        (Fate::Stuck, "log_slow", 0),
    ] {
        let bench = Bench::new();
        bench.fate(fate);
        let batch = json!([order("1"), order("2"), {"kind": "no"}]);
        let answer = send(&bench, &batch).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{fate:?}");
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!((&answer.json()["accepted"], &answer.json()["results"][0]["reason"]), (&json!(0), &json!(reason)));
        assert_eq!(bench.events().len(), in_log, "{fate:?}");
        assert_eq!(bench.counted(r#"touchline_events_ingested_total{channel="api",result="failed"}"#), 2);
        // Sent again: durable, under the id of the first time.
        bench.fate(Fate::Up);
        assert_eq!(send(&bench, &batch).await.status, StatusCode::MULTI_STATUS);
        let mut ids: Vec<_> = bench.events().into_iter().map(|event| event.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 2, "{fate:?}");
    }
}

#[tokio::test]
async fn times_far_off_are_dropped_with_a_warning() {
    for far in ["0001-01-01T00:00:00Z", "9999-12-31T00:00:00Z"] {
        let bench = Bench::new();
        let answer = send(&bench, &with(order("1"), "occurred_at", json!(far))).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json()["results"][0]["warnings"], json!(["implausible_time"]));
        assert_eq!(bench.events()[0].occurred_at, None);
        assert_eq!(bench.counted(r#"touchline_event_times_dropped_total{channel="api"}"#), 1);
    }
}

#[tokio::test]
async fn every_example_is_accepted_as_it_stands() {
    let bench = Bench::new();
    let mut accepted = 0;
    for kind in Kind::ALL {
        let answer = bench.send(get(&format!("/v1/examples/{kind}"))).await;
        if answer.status == StatusCode::OK {
            let taken = bench.send(post(answer.body)).await;
            assert_eq!(taken.status, StatusCode::OK, "{kind}: {}", taken.body);
            accepted += 1;
        } else {
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{kind}");
            let outside = ["channel.notice", "cursor.saved", "import.batch"].contains(&kind.name());
            assert!(outside || kind.name().starts_with("directory."), "{kind} comes from outside");
        }
    }
    assert_eq!(bench.events().len(), accepted);
    assert_eq!(bench.send(get("/v1/examples/CANARY")).await.status, StatusCode::NOT_FOUND);
    let schema = bench.send(get("/v1/schema/events")).await;
    assert_eq!(schema.header("content-type"), "application/schema+json");
    assert!(schema.json()["$defs"]["order.paid"].is_object());
}
