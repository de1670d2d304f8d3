use super::get;
use crate::testing::{Bench, CANARY, Fate, wecom};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use touchline_channels::account::{Secret, Wecom};
use touchline_channels::wecom::{Sealed, seal};
use touchline_model::kind::Kind;

const ADDED: &str = "<xml><ToUserName><![CDATA[wx5823bf96d3bd56c7]]></ToUserName><FromUserName><![CDATA[sys]]>\
    </FromUserName><CreateTime>1772416800</CreateTime><MsgType><![CDATA[event]]></MsgType>\
    <Event><![CDATA[change_external_contact]]></Event><ChangeType><![CDATA[add_external_contact]]></ChangeType>\
    <UserID><![CDATA[zhangsan]]></UserID><ExternalUserID><![CDATA[wmCANARY1]]></ExternalUserID></xml>";

fn sealed(account: &Wecom, inner: &str, nonce: &str) -> Sealed {
    seal(account, inner, "1772416800", nonce, *b"0123456789abcdef").unwrap()
}

fn uri(account: &str, sealed: &Sealed) -> String {
    let signed = &sealed.signed;
    let (signature, timestamp, nonce) = (&signed.msg_signature, &signed.timestamp, &signed.nonce);
    format!("/callback/wecom/{account}?msg_signature={signature}&timestamp={timestamp}&nonce={nonce}")
}

fn post(uri: &str, body: &str) -> Request<Body> {
    Request::post(uri).body(Body::from(body.to_owned())).unwrap()
}

/// The official vector; its echostr holds a `+`, escaped or not.
#[tokio::test]
async fn the_address_check_is_answered_exactly() {
    let bench = Bench::new();
    let raw = "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==";
    let escaped = raw.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let head = "/callback/wecom/main?msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3\
        &timestamp=1409659589&nonce=263014780&echostr=";
    for echostr in [raw, &escaped] {
        let answer = bench.send(get(&format!("{head}{echostr}"))).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "1616140317555161061"));
    }
    for (uri, status) in [
        (format!("{head}{}", raw.replacen("P9", "P8", 1)), StatusCode::UNAUTHORIZED),
        (format!("{head}%zz"), StatusCode::BAD_REQUEST),
        ("/callback/wecom/main".to_owned(), StatusCode::BAD_REQUEST),
        (format!("{}{raw}", head.replace("/main", "/other")), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(bench.send(get(&uri)).await.status, status, "{uri}");
    }
    assert_eq!(bench.counted(r#"touchline_webhook_rejected_total{channel="wecom",reason="malformed"}"#), 2);
    assert!(bench.events().is_empty());
}

#[tokio::test]
async fn a_callback_is_durable_before_its_empty_200() {
    let bench = Bench::new();
    // The channel's retry: the same inner XML under another nonce.
    for nonce in ["n1", "n2"] {
        let sealed = sealed(&wecom(), ADDED, nonce);
        let answer = bench.send(post(&uri("main", &sealed), &sealed.body)).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
    }
    let events = bench.events();
    assert_eq!(events.len(), 2);
    assert_eq!((events[0].kind, events[0].id), (Kind::ContactAdded, events[1].id));
    assert_eq!(events[0].subject[0].value, "wmCANARY1");
    assert_eq!(bench.counted(r#"touchline_events_ingested_total{channel="wecom",result="accepted"}"#), 2);
}

#[tokio::test]
async fn what_is_not_rightly_sealed_stays_out() {
    let right = sealed(&wecom(), ADDED, "n");
    let other_corp = sealed(&Wecom { receive_id: "wwother".into(), ..wecom() }, ADDED, "n");
    let other_token = sealed(&Wecom { token: Secret::new("CANARY-token"), ..wecom() }, ADDED, "n");
    let not_xml = sealed(&wecom(), "CANARY", "n");
    let tampered =
        Sealed { body: right.body.replacen(&right.encrypt, &right.encrypt.to_lowercase(), 1), ..right.clone() };
    let account = uri("main", &right);
    for (uri, body, status, reason) in [
        (uri("main", &other_token), other_token.body.clone(), StatusCode::UNAUTHORIZED, "bad_signature"),
        (account.clone(), tampered.body, StatusCode::UNAUTHORIZED, "bad_signature"),
        (account.replace("nonce=n", "nonce=m"), right.body.clone(), StatusCode::UNAUTHORIZED, "bad_signature"),
        (uri("main", &other_corp), other_corp.body.clone(), StatusCode::FORBIDDEN, "wrong_receiver"),
        (uri("main", &not_xml), not_xml.body.clone(), StatusCode::BAD_REQUEST, "malformed"),
        (account.clone(), "CANARY".to_owned(), StatusCode::BAD_REQUEST, "malformed"),
        (account.clone(), "<".repeat(256 * 1024 + 1), StatusCode::PAYLOAD_TOO_LARGE, "oversized"),
        (account.replace("&nonce=n", ""), right.body.clone(), StatusCode::BAD_REQUEST, "malformed"),
        (account.replace("/main", "/CANARY"), right.body.clone(), StatusCode::NOT_FOUND, "unknown_account"),
    ] {
        let bench = Bench::new();
        let answer = bench.send(post(&uri, &body)).await;
        assert_eq!(answer.status, status, "{reason}: {}", answer.body);
        assert_eq!(answer.json()["error"]["reason"], reason);
        assert!(bench.events().is_empty());
        let sample = format!(r#"touchline_webhook_rejected_total{{channel="wecom",reason="{reason}"}}"#);
        assert_eq!(bench.counted(&sample), 1);
        let said = format!("{}{}", answer.body, bench.said());
        assert!(!said.contains(CANARY) && !said.contains("QDG6eK"), "{said}");
    }
}

#[tokio::test]
async fn a_log_that_does_not_take_it_is_500_so_that_the_channel_sends_again() {
    let right = sealed(&wecom(), ADDED, "n");
    for fate in [Fate::Refused, Fate::LostAck, Fate::Busy, Fate::Stuck] {
        let bench = Bench::new();
        bench.fate(fate);
        let answer = bench.send(post(&uri("main", &right), &right.body)).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{fate:?}");
        assert_eq!(bench.counted(r#"touchline_events_ingested_total{channel="wecom",result="failed"}"#), 1);
        assert!(!bench.said().contains(CANARY));
    }
}
