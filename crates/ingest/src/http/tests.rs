//! Every endpoint through the router: success, every bad input, a log that fails.

mod archive;
mod events;
mod link;
mod taobao;
mod wecom;
mod youzan;

use crate::settings::{Limits, Settings};
use crate::testing::{Bench, settings};
use axum::body::Body;
use axum::http::{Request, StatusCode};

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn probes_answer_beside_the_limit() {
    let limits = Limits { requests_max: 0, ..Limits::default() };
    let bench = Bench::with(Settings { limits, ..settings() });
    for (path, status, said) in [
        ("/livez", StatusCode::OK, "ok"),
        ("/readyz", StatusCode::SERVICE_UNAVAILABLE, "not ready: replaying"),
        ("/metrics", StatusCode::OK, ""),
        ("/buildz", StatusCode::OK, r#"{"version":"0"}"#),
        ("/v1/schema/events", StatusCode::SERVICE_UNAVAILABLE, "busy"),
        ("/nowhere", StatusCode::NOT_FOUND, ""),
    ] {
        let answer = bench.send(get(path)).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.body.contains(said), "{path}: {}", answer.body);
    }
    assert_eq!(bench.send(get("/l/x")).await.header("retry-after"), "1");
}
