use crate::testing::{Answer, Bench, CANARY, Fate};
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use serde_json::json;
use std::net::SocketAddr;
use touchline_model::kind::Kind;

fn message(seq: u64, text: &str) -> String {
    let message = json!({
        "seq": seq, "msgid": format!("m{seq}"), "action": "send", "from": "wmCustomer", "tolist": ["zhangsan"],
        "roomid": "", "msgtime": 1_772_416_800_001_i64, "msgtype": "text", "text": {"content": text},
    });
    format!("{message}\n")
}

async fn send(bench: &Bench, body: impl Into<Body>) -> Answer {
    let request = Request::post("/archive/wecom/main").header("authorization", "Bearer CANARY-archive");
    bench.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn one_bad_line_does_not_stop_the_others() {
    let bench = Bench::new();
    let long = "x".repeat(1024 * 1024 + 1);
    let body = [
        &message(5, "你们产品多少钱"),
        "CANARY\n",
        "\n",
        &long,
        "\n",
        &message(9, "CANARY"),
        "[]\n",
        &message(7, "三"),
    ];
    let answer = send(&bench, body.map(str::to_owned).concat()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let expected = json!({
        "accepted": 3, "rejected": 3, "durable_line": 7, "durable_seq": 9,
        "rejections": [{"line": 2, "reason": "malformed"}, {"line": 4, "reason": "oversized"},
            {"line": 6, "reason": "malformed"}],
    });
    assert_eq!(answer.json(), expected);
    let events = bench.events();
    assert!(events.iter().all(|event| event.kind == Kind::ChatMessage));
    assert_eq!(events.len(), 3);
    assert_eq!(events[0].text(), Some("你们产品多少钱"));
    assert_eq!(bench.counted(r#"touchline_webhook_rejected_total{channel="wecom_archive",reason="malformed"}"#), 2);
    assert!(!bench.said().contains(CANARY) && !bench.said().contains("多少钱"));
}

#[tokio::test]
async fn chunks_before_a_failure_count_as_durable() {
    let bench = Bench::new();
    let body: String = (1..=450).map(|seq| message(seq, "x")).collect();
    let answer = send(&bench, body.clone()).await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (StatusCode::OK, &json!(450)));
    // The body breaks in the middle of line 2: line 1 is durable.
    let pieces = [Ok(message(500, "x") + "{\"msgid"), Err("gone")];
    let answer = send(&bench, Body::from_stream(futures::stream::iter(pieces))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let answer = answer.json();
    assert_eq!((&answer["durable_seq"], &answer["error"]["reason"]), (&json!(500), &json!("broken_body")));
    assert_eq!(bench.events().len(), 451);
}

#[tokio::test]
async fn a_log_that_does_not_take_it_keeps_the_cursor_back() {
    for fate in [Fate::Refused, Fate::LostAck, Fate::Busy, Fate::Stuck] {
        let bench = Bench::new();
        bench.fate(fate);
        let answer = send(&bench, message(5, "x")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{fate:?}");
        assert_eq!(answer.header("retry-after"), "1");
        let answer = answer.json();
        assert_eq!((&answer["accepted"], &answer["durable_line"]), (&json!(0), &json!(0)));
        assert!(answer.get("durable_seq").is_none());
    }
}

#[tokio::test]
async fn only_the_sidecar_may_post() {
    let local: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let remote: SocketAddr = "192.0.2.1:9".parse().unwrap();
    for (account, peer, header, status) in [
        ("main", Some(local), None, StatusCode::UNAUTHORIZED),
        ("main", Some(local), Some(("authorization", "Bearer nope")), StatusCode::UNAUTHORIZED),
        ("main", Some(remote), Some(("authorization", "Bearer CANARY-archive")), StatusCode::OK),
        ("local", Some(local), None, StatusCode::OK),
        ("local", Some(local), Some(("x-forwarded-for", "192.0.2.1")), StatusCode::UNAUTHORIZED),
        ("local", Some(remote), None, StatusCode::UNAUTHORIZED),
        ("local", None, None, StatusCode::UNAUTHORIZED),
        ("other", Some(local), None, StatusCode::NOT_FOUND),
    ] {
        let bench = Bench::new();
        let mut request = Request::post(format!("/archive/wecom/{account}"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let mut request = request.body(Body::from(message(1, "x"))).unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let answer = bench.send(request).await;
        assert_eq!(answer.status, status, "{account} {peer:?} {header:?}");
        assert_eq!(bench.events().len(), usize::from(status == StatusCode::OK));
    }
}
