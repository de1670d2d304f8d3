use crate::testing::{Answer, Bench, CANARY, Fate, youzan};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;
use touchline_channels::account::Youzan;
use touchline_channels::youzan::{Push, Sent, event_sign_of};
use touchline_model::event::Private;
use touchline_model::kind::Kind;

const SUCCESS: &str = r#"{"code":0,"msg":"success"}"#;
const FAILED: &str = r#"{"code":0,"msg":"failed"}"#;

fn paid() -> Push {
    Push {
        event_type: "trade_TradePaid".into(),
        kdt_id: 160,
        id: "E20260302100000000000001".into(),
        msg_id: Some("m-1".into()),
        status: None,
        version: 1_772_416_800,
        msg: json!({"full_order_info": {
            "order_info": {"tid": "E20260302100000000000001", "pay_time": "2026-03-02 10:00:00"},
            "buyer_info": {"yz_open_id": "CANARY-buyer"},
            "pay_info": {"payment": "99.00"},
        }}),
        test: false,
    }
}

async fn send(bench: &Bench, account: &str, sent: &Sent) -> Answer {
    let request = Request::post(format!("/push/youzan/{account}"))
        .header("Event-Sign", &sent.event_sign)
        .header("Event-Type", &sent.event_type)
        .header("Client-Id", &sent.client_id);
    bench.send(request.body(Body::from(sent.body.clone())).unwrap()).await
}

#[tokio::test]
async fn success_means_durable() {
    let bench = Bench::new();
    for _ in 0..2 {
        let answer = send(&bench, "shop", &paid().send(&youzan())).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, SUCCESS));
    }
    let events = bench.events();
    assert_eq!(events.len(), 2);
    assert_eq!((events[0].kind, events[0].id), (Kind::OrderPaid, events[1].id));
    assert_eq!(bench.counted(r#"touchline_events_ingested_total{channel="youzan",result="accepted"}"#), 2);
}

#[tokio::test]
async fn a_health_probe_succeeds_and_leaves_nothing() {
    let bench = Bench::new();
    let answer = send(&bench, "shop", &Push { test: true, ..paid() }.send(&youzan())).await;
    assert_eq!(answer.body, SUCCESS);
    assert!(bench.events().is_empty());
}

#[tokio::test]
async fn what_is_not_rightly_signed_fails_and_stays_out() {
    let right = paid().send(&youzan());
    let stranger = Youzan { client_secret: touchline_channels::account::Secret::new("x"), ..youzan() };
    let mut tampered = right.clone();
    tampered.body.push(b' ');
    // The old signature inside the body is right: it must not save a wrong header.
    let downgraded = Sent { event_sign: "0".repeat(32), ..right.clone() };
    for (account, sent, status, reason) in [
        ("shop", paid().send(&stranger), StatusCode::UNAUTHORIZED, "bad_signature"),
        ("shop", tampered, StatusCode::UNAUTHORIZED, "bad_signature"),
        ("shop", downgraded.clone(), StatusCode::UNAUTHORIZED, "bad_signature"),
        ("shop", Sent { event_sign: "\u{e9}".into(), ..right.clone() }, StatusCode::UNAUTHORIZED, "bad_signature"),
        (
            "shop",
            Sent { body: vec![b'1'; 1024 * 1024 + 1], ..right.clone() },
            StatusCode::PAYLOAD_TOO_LARGE,
            "oversized",
        ),
        ("CANARY", right, StatusCode::NOT_FOUND, "unknown_account"),
    ] {
        let bench = Bench::new();
        let answer = send(&bench, account, &sent).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, FAILED), "{reason}");
        assert!(bench.events().is_empty());
        let sample = format!(r#"touchline_webhook_rejected_total{{channel="youzan",reason="{reason}"}}"#);
        assert_eq!(bench.counted(&sample), 1, "{reason}");
        assert!(!bench.said().contains(CANARY), "{}", bench.said());
    }
}

#[tokio::test]
async fn without_a_header_what_cannot_be_read_is_not_parked() {
    let bench = Bench::new();
    let request = Request::post("/push/youzan/shop").body(Body::from("CANARY")).unwrap();
    assert_eq!(bench.send(request).await.body, FAILED);
    assert!(bench.events().is_empty());
}

#[tokio::test]
async fn what_is_rightly_signed_and_cannot_be_told_is_parked() {
    let unreadable = b"CANARY".to_vec();
    let unreadable =
        Sent { event_sign: event_sign_of(&youzan(), &unreadable), body: unreadable, ..paid().send(&youzan()) };
    let other_shop = Push { kdt_id: 999, ..paid() }.send(&youzan());
    for (sent, reason) in [(unreadable, "malformed"), (other_shop, "unknown_account")] {
        let bench = Bench::new();
        assert_eq!(send(&bench, "shop", &sent).await.body, SUCCESS);
        let [event] = &bench.events()[..] else { panic!("one event") };
        assert_eq!(
            (event.kind, event.fields.text("notice")),
            (Kind::ChannelNotice, Some(&*format!("parked: {reason}")))
        );
        let Private::Plain { raw, .. } = &event.private else { panic!("plain") };
        assert_eq!(raw, &sent.body);
        let sample = format!(r#"touchline_webhook_rejected_total{{channel="youzan",reason="{reason}"}}"#);
        assert_eq!(bench.counted(&sample), 1);
        assert!(!bench.said().contains(CANARY));
    }
}

#[tokio::test]
async fn a_log_that_does_not_take_it_is_failure() {
    for fate in [Fate::Refused, Fate::LostAck, Fate::Busy, Fate::Stuck] {
        let bench = Bench::new();
        bench.fate(fate);
        let answer = send(&bench, "shop", &paid().send(&youzan())).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, FAILED), "{fate:?}");
    }
}
