use super::get;
use crate::settings::Settings;
use crate::testing::{Bench, CANARY, Fate, LINK_KEY, settings};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use touchline_channels::account::Secret;
use touchline_channels::link::{Link, Surface, mint};
use touchline_model::id::{IdKey, IdKind};
use touchline_model::kind::Kind;

fn token(contact: Option<&str>) -> String {
    let link = Link {
        tenant: "acme".into(),
        content_id: "price-list".into(),
        contact: contact.map(|id| IdKey::new(IdKind::WecomExternalUserid, "ww1", id)),
        touch_id: Some("t-1".into()),
        state: None,
        surface: Surface::Chat,
        url: "https://example.com/p?a=1".into(),
    };
    mint(&Secret::new(LINK_KEY), &link).unwrap()
}

#[tokio::test]
async fn a_click_redirects_and_is_durable() {
    let bench = Bench::new();
    let token = token(Some("wmCANARY"));
    for uri in [format!("/l/{token}"), format!("/l/{token}?s=moment"), format!("/l/{token}?s=CANARY")] {
        let answer = bench.send(get(&uri)).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::FOUND, "https://example.com/p?a=1"));
        assert_eq!((answer.header("cache-control"), answer.header("set-cookie")), ("no-store", ""));
    }
    let events = bench.events();
    let surfaces: Vec<_> = events.iter().map(|event| event.fields.text("surface").unwrap()).collect();
    assert_eq!(surfaces, ["chat", "moment", "chat"]);
    assert_eq!((events[0].kind, events[0].subject[0].value.as_str()), (Kind::ContentClicked, "wmCANARY"));
    assert_ne!(events[0].id, events[2].id, "two clicks are two events");
    assert_eq!(bench.counted(r#"touchline_link_clicks_total{result="recorded"}"#), 3);
    assert!(!bench.said().contains(CANARY) && !bench.said().contains(&token), "{}", bench.said());
}

#[tokio::test]
async fn an_anonymous_visitor_is_known_again_by_a_cookie_of_ours() {
    let bench = Bench::new();
    let uri = format!("/l/{}", token(None));
    let first = bench.send(get(&uri)).await;
    let cookie = first.header("set-cookie");
    assert!(cookie.starts_with("tl_v=") && cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let value = cookie.split(';').next().unwrap();
    let again = Request::get(&uri).header("cookie", format!("x=1; {value}")).body(Body::empty()).unwrap();
    assert_eq!(bench.send(again).await.header("set-cookie"), "");
    let forged = Request::get(&uri).header("cookie", "tl_v=CANARY").body(Body::empty()).unwrap();
    assert!(bench.send(forged).await.header("set-cookie").starts_with("tl_v="));
    let events = bench.events();
    let seen = |visitor: &str| events.iter().filter(|event| event.subject[0].value == visitor).count();
    assert_eq!((events.len(), seen(value.strip_prefix("tl_v=").unwrap()), seen(CANARY)), (3, 2, 0));
    assert!(events.iter().all(|event| event.subject[0].kind == IdKind::ClickVisitor));
}

#[tokio::test]
async fn nobody_clicked_when_a_machine_looked() {
    let bench = Bench::new();
    let uri = format!("/l/{}", token(None));
    let agent = |name: &str| Request::get(&uri).header("user-agent", name).body(Body::empty()).unwrap();
    for request in [
        Request::head(&uri).body(Body::empty()).unwrap(),
        Request::get(&uri).header("purpose", "prefetch").body(Body::empty()).unwrap(),
        agent("Mozilla/5.0 (compatible; Baiduspider/2.0)"),
        agent("Sogou web spider/4.0"),
    ] {
        let answer = bench.send(request).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (StatusCode::FOUND, ""));
    }
    assert!(bench.events().is_empty());
    assert_eq!(bench.counted(r#"touchline_link_clicks_total{result="preview"}"#), 4);
    for person in ["Mozilla/5.0 (Linux; Android 13; CUBOT X70) MicroMessenger/8.0", "SogouMobileBrowser/5.9"] {
        bench.send(agent(person)).await;
    }
    assert_eq!(bench.events().len(), 2);
}

#[tokio::test]
async fn a_customer_is_redirected_even_when_the_log_is_not_there() {
    for fate in [Fate::Refused, Fate::Busy, Fate::Stuck] {
        let bench = Bench::new();
        bench.fate(fate);
        let answer = bench.send(get(&format!("/l/{}", token(None)))).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::FOUND, "https://example.com/p?a=1"));
        assert_eq!(bench.counted(r#"touchline_link_clicks_total{result="not_durable"}"#), 1, "{fate:?}");
        assert!(bench.events().is_empty());
    }
}

#[tokio::test]
async fn a_token_that_is_none_of_ours_leads_nowhere() {
    let right = token(Some("wmX"));
    let middle = right.len() / 2;
    let (head, tail) = right.split_at(middle);
    let swapped = if tail.starts_with('A') { 'B' } else { 'A' };
    let tampered = format!("{head}{swapped}{}", tail.get(1..).unwrap());
    let foreign = mint(
        &Secret::new("another key of 16+"),
        &Link {
            tenant: "acme".into(),
            content_id: "c".into(),
            contact: None,
            touch_id: None,
            state: None,
            surface: Surface::Chat,
            url: "https://evil.example/".into(),
        },
    );
    for token in [tampered, foreign.unwrap(), head.to_owned(), "x".into(), "x".repeat(5_000), "%FF".into(), "中".into()]
    {
        let bench = Bench::new();
        let answer = bench.send(Request::get(format!("/l/{}", percent(&token))).body(Body::empty()).unwrap()).await;
        assert!(answer.status == StatusCode::NOT_FOUND || token == "%FF" && answer.status == StatusCode::BAD_REQUEST);
        assert_eq!(answer.header("location"), "");
        assert!(bench.events().is_empty());
        if answer.status == StatusCode::NOT_FOUND {
            assert!(answer.body.contains("这个链接无效"), "{}", answer.body);
            assert_eq!(bench.counted(r#"touchline_link_clicks_total{result="invalid"}"#), 1);
        }
    }
    let bench = Bench::with(Settings { link_key: None, ..settings() });
    assert_eq!(bench.send(get(&format!("/l/{right}"))).await.status, StatusCode::NOT_FOUND);
}

fn percent(token: &str) -> String {
    token.replace('中', "%E4%B8%AD")
}
