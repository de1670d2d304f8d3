//! The HTTP side: one router for all endpoints.

mod answer;
mod archive;
mod body;
mod events;
mod link;
mod query;
mod taobao;
#[cfg(test)]
mod tests;
mod wecom;
mod youzan;

use crate::grpc::Grpc;
use crate::publish::Publisher;
use crate::settings::Settings;
use answer::Refusal;
use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::net::SocketAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use touchline_channels::account::Secret;
use touchline_log::{Log, Wall};
use touchline_proto::v1::ingest_service_server::IngestServiceServer;
use tower_http::trace::TraceLayer;

/// What the binary knows and ingest does not.
#[derive(Clone)]
pub struct Probes {
    /// `/readyz`: ready, or why not (shown to whoever asks).
    pub ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// `/metrics`: the exposition text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// `/buildz`: version and such, as JSON.
    pub build: serde_json::Value,
}

/// Ingest: settings, log and probes behind one router and one gRPC service. Cheap to clone.
#[derive(Clone)]
pub struct Ingest(Arc<Inner>);

struct Inner {
    settings: Settings,
    publisher: Publisher,
    probes: Probes,
    slots: Semaphore,
}

impl Probes {
    /// `GET /livez`, `/readyz`, `/metrics`, `/buildz`: what every process answers, with or without intake.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/buildz", get(async |State(probes): State<Self>| axum::Json(probes.build)))
            .with_state(self.clone())
    }
}

impl Ingest {
    /// Ingest into `log`; `wall` stamps `received_at` and clicks.
    pub fn new(settings: Settings, log: Arc<dyn Log>, wall: Arc<dyn Wall>, probes: Probes) -> Self {
        let slots = Semaphore::new(settings.limits.requests_max);
        Self(Arc::new(Inner { settings, publisher: Publisher::new(log, wall), probes, slots }))
    }

    /// All HTTP endpoints:
    /// * `POST /v1/events`, `GET /v1/schema/events`, `GET /v1/examples/{kind}`
    /// * `GET` and `POST /callback/wecom/{account}`, `POST /archive/wecom/{account}`, `POST /push/youzan/{account}`
    /// * `POST /taobao/{account}`: a page of messages from a relay; the answer says which ones to confirm.
    /// * `GET /l/{token}`: redirects to the destination. The click is awaited for `click_timeout_ms`; a customer is
    ///   redirected even when the log is slow or down, and the click is then counted as `not_durable`.
    /// * `GET /livez`, `/readyz`, `/metrics`, `/buildz`: outside the limit of requests handled at once.
    ///
    /// Serve it with connect info (`into_make_service_with_connect_info::<SocketAddr>()`): without, archive and
    /// relay take no caller for loopback.
    pub fn router(&self) -> Router {
        let intake = Router::new()
            .route("/v1/events", post(events::publish))
            .route("/v1/schema/events", get(events::schema))
            .route("/v1/examples/{kind}", get(events::example))
            .route("/callback/wecom/{account}", get(wecom::verify).post(wecom::callback))
            .route("/archive/wecom/{account}", post(archive::lines))
            .route("/push/youzan/{account}", post(youzan::push))
            .route("/taobao/{account}", post(taobao::messages))
            .route("/l/{token}", get(link::redirect))
            .layer(middleware::from_fn_with_state(self.clone(), limit))
            .layer(TraceLayer::new_for_http().make_span_with(span));
        intake.with_state(self.clone()).merge(self.0.probes.router())
    }

    /// The gRPC service `touchline.v1.IngestService`.
    pub fn grpc(&self) -> IngestServiceServer<Grpc> {
        IngestServiceServer::new(Grpc::new(self.clone()))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.0.publisher
    }

    /// Whether events of this tenant are taken.
    pub(crate) fn knows_tenant(&self, tenant: &str) -> bool {
        let tenants = &self.0.settings.tenants;
        tenants.is_empty() || tenants.contains(tenant)
    }
}

/// Whether `headers` (or gRPC metadata) carry the bearer token. Compared in constant time.
pub(crate) fn bears(headers: &HeaderMap, token: &Secret) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    given.is_some_and(|given| given.ct_eq(token.expose().as_bytes()).into())
}

/// Lets a program of ours in, such as a sidecar or a relay: with the token; where there is none, from this machine.
pub(crate) fn admit(request: &Request, token: Option<&Secret>) -> Result<(), Refusal> {
    let headers = request.headers();
    let is_ours = match token {
        Some(token) => bears(headers, token),
        None => {
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
            peer.is_some_and(|ConnectInfo(peer)| peer.ip().is_loopback()) && !is_forwarded(headers)
        }
    };
    let hint = "send `authorization: Bearer …` with the account's token, or, where it has none, call from this machine";
    is_ours.then_some(()).ok_or_else(|| Refusal::unauthorized(hint))
}

/// A proxy on this machine makes the whole world look like loopback.
fn is_forwarded(headers: &HeaderMap) -> bool {
    ["forwarded", "x-forwarded-for", "x-real-ip"].iter().any(|name| headers.contains_key(*name))
}

/// No path and no query: tokens, accounts and signatures are in them.
fn span(request: &Request) -> tracing::Span {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
    tracing::info_span!("http", method = %request.method(), route)
}

/// Answers 503 at once when too many requests are in hand: a queue would only make all of them late.
async fn limit(State(ingest): State<Ingest>, request: Request, next: Next) -> Response {
    match ingest.0.slots.try_acquire() {
        Ok(_slot) => next.run(request).await,
        Err(_) => Refusal::unavailable("busy", "too many requests at once").into_response(),
    }
}

async fn readyz(State(probes): State<Probes>) -> (StatusCode, String) {
    match (probes.ready)() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

async fn metrics(State(probes): State<Probes>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (probes.metrics)())
}
