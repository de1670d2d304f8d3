//! The open door: `POST /v1/events`, its schema and its examples.

use super::answer::{RETRY_AFTER_SECONDS, Refusal};
use super::{Ingest, bears, body};
use crate::metrics::{self, EventResult};
use crate::publish::Unpublished;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use touchline_channels::api::{self, Warning};
use touchline_model::event::Channel;
use touchline_model::id::{EventId, Position};
use touchline_model::kind::Kind;

/// What became of one event of a request.
enum Item {
    /// Rejected before it got to the log.
    Rejected { reason: &'static str, detail: String },
    /// Handed to the log.
    Sent { id: EventId, warnings: Vec<Warning>, result: Result<Position, Unpublished> },
}

/// 200: all accepted. 207: some accepted, the others rejected for what they say. 422: none accepted. 503: the log did
/// not take at least one of them (the items say which); sending the request again is safe, since ids stay the same.
pub(super) async fn publish(State(ingest): State<Ingest>, headers: HeaderMap, body: Body) -> Response {
    match take(&ingest, &headers, body).await {
        Ok(items) => answer(&ingest, &items),
        Err(refusal) => {
            metrics::rejected(Channel::Api, refusal.reason);
            refusal.into_response()
        }
    }
}

pub(super) async fn schema() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/schema+json")], api::json_schema().to_string())
}

pub(super) async fn example(Path(kind): Path<String>) -> Response {
    match Kind::parse(&kind).and_then(api::example) {
        Some(example) => Json(example).into_response(),
        None => {
            let detail = "no event of this kind comes from outside; hint: GET /v1/schema/events lists the kinds";
            Refusal::new(StatusCode::NOT_FOUND, "unknown_kind", detail).into_response()
        }
    }
}

async fn take(ingest: &Ingest, headers: &HeaderMap, body: Body) -> Result<Vec<Item>, Refusal> {
    if ingest.settings().events_token.as_ref().is_some_and(|token| !bears(headers, token)) {
        return Err(Refusal::unauthorized("send `authorization: Bearer …` with the events token"));
    }
    if !is_json(headers) {
        let detail = "the body must be JSON; hint: set the header `content-type: application/json`";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    }
    let limits = &ingest.settings().limits;
    let body = body::read(body, limits.body_bytes_max, limits.read_timeout()).await?;
    let decoded = api::decode(&body, ingest.publisher().now()).map_err(|error| Refusal::from(&error))?;
    let (mut items, mut events) = (Vec::with_capacity(decoded.len()), Vec::new());
    for result in decoded {
        match result {
            Ok(accepted) if ingest.knows_tenant(&accepted.event.tenant) => {
                let (id, warnings) = (accepted.event.id, accepted.warnings);
                if warnings.contains(&Warning::ImplausibleTime) {
                    metrics::time_dropped(accepted.event.channel);
                }
                events.push(accepted.event);
                // Replaced below: the publisher answers for every event it is given.
                items.push(Item::Sent { id, warnings, result: Err(Unpublished::Failed) });
            }
            Ok(accepted) => items.push(rejected(accepted.event.channel, "unknown_tenant", "no such tenant".to_owned())),
            Err(error) => items.push(rejected(Channel::Api, error.reason(), error.to_string())),
        }
    }
    let mut results = ingest.publisher().publish(events, limits.append_timeout()).await.into_iter();
    for item in &mut items {
        if let Item::Sent { result, .. } = item {
            *result = results.next().expect("one result per event");
        }
    }
    Ok(items)
}

/// Counted both as an event and, with its reason, as a rejection.
fn rejected(channel: Channel, reason: &'static str, detail: String) -> Item {
    metrics::event(channel, EventResult::Rejected);
    metrics::rejected(channel, reason);
    Item::Rejected { reason, detail }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn answer(ingest: &Ingest, items: &[Item]) -> Response {
    let positions = items.iter().filter_map(|item| match item {
        Item::Sent { result: Ok(position), .. } => Some(*position),
        _ => None,
    });
    let token = crate::grpc::token(ingest.publisher().log(), positions.clone());
    let accepted = positions.count();
    let log_failed = |item: &Item| matches!(item, Item::Sent { result: Err(error), .. } if !error.is_content());
    let status = match (accepted, items.len()) {
        _ if items.iter().any(log_failed) => StatusCode::SERVICE_UNAVAILABLE,
        (accepted, all) if accepted == all => StatusCode::OK,
        (0, _) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::MULTI_STATUS,
    };
    let body = Json(json!({
        "results": items.iter().map(item_json).collect::<Vec<_>>(),
        "accepted": accepted,
        "rejected": items.len() - accepted,
        "token": {"epoch": token.epoch, "offsets": token.offsets, "bundle": token.bundle},
    }));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return (status, [(RETRY_AFTER, RETRY_AFTER_SECONDS)], body).into_response();
    }
    (status, body).into_response()
}

fn item_json(item: &Item) -> Value {
    match item {
        Item::Rejected { reason, detail } => json!({"status": "rejected", "reason": reason, "detail": detail}),
        Item::Sent { id, result: Err(error), .. } => json!({
            "status": "rejected", "reason": error.reason(), "detail": error.to_string(), "event_id": id.to_hex(),
        }),
        Item::Sent { id, warnings, result: Ok(position) } => {
            let mut accepted = json!({
                "status": "accepted", "event_id": id.to_hex(),
                "position": {"partition": position.partition, "offset": position.offset},
            });
            if !warnings.is_empty() {
                accepted["warnings"] = warnings.iter().map(|warning| warning.name()).collect();
            }
            accepted
        }
    }
}
