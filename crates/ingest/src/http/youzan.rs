//! Youzan pushes. The channel reads the answer's body: `success` in it is success, anything else is sent again, and
//! too many failures delay every kind of push. So what is rightly signed never fails for what it says: it is parked.

use super::answer::{RETRY_AFTER_SECONDS, Refusal};
use super::{Ingest, body};
use crate::metrics;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sha2::{Digest, Sha256};
use touchline_channels::account::Youzan;
use touchline_channels::youzan::{self, BODY_BYTES_MAX, Headers};
use touchline_channels::{Decoded, Error, Purpose, Retry};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};

/// `{"code":0,"msg":"success"}` once durable, or for a health probe; `{"code":0,"msg":"failed"}` otherwise.
pub(super) async fn push(
    State(ingest): State<Ingest>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match take(&ingest, &account, &headers, body).await {
        Ok(()) => Json(json!({"code": 0, "msg": "success"})).into_response(),
        Err(refusal) => {
            rejected(refusal.reason);
            let failed = Json(json!({"code": 0, "msg": "failed"}));
            if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
                return (refusal.status, [(RETRY_AFTER, RETRY_AFTER_SECONDS)], failed).into_response();
            }
            (refusal.status, failed).into_response()
        }
    }
}

async fn take(ingest: &Ingest, account: &str, headers: &HeaderMap, body: Body) -> Result<(), Refusal> {
    let account = ingest.settings().youzan.get(account).ok_or_else(Refusal::no_account)?;
    let limits = &ingest.settings().limits;
    let body = body::read(body, BODY_BYTES_MAX, limits.read_timeout()).await?;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let sent =
        Headers { event_sign: header("event-sign"), event_type: header("event-type"), client_id: header("client-id") };
    // A header that is there but no text must not count as absent: the old signature would be taken instead.
    if sent.event_sign.is_none() && headers.contains_key("event-sign") {
        return Err(Refusal::from(&Error::BadSignature));
    }
    let received_at = ingest.publisher().now();
    let decoded = match youzan::decode(account, sent, &body, received_at) {
        Ok(decoded) => decoded,
        // With Event-Sign the signature was checked before anything else: what fails after it comes from the channel.
        Err(error) if error.retry() == Retry::Never && sent.event_sign.is_some() => {
            rejected(error.reason());
            Decoded { events: vec![parked(account, &error, &body, received_at)], purpose: Purpose::Report }
        }
        Err(error) => return Err(Refusal::from(&error)),
    };
    for result in ingest.publisher().publish(decoded.events, limits.append_timeout()).await {
        if let Err(error) = result {
            let content = error.is_content();
            let status = if content { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::SERVICE_UNAVAILABLE };
            return Err(Refusal::new(status, error.reason(), error.to_string()));
        }
    }
    Ok(())
}

/// A push that is rightly signed and cannot be told: kept raw under the app's own cell, for people to look at.
fn parked(account: &Youzan, error: &Error, body: &[u8], received_at: Time) -> Event {
    Event {
        id: EventId::derive(&account.tenant, Channel::Youzan.name(), &account.client_id, "parked", body),
        kind: Kind::ChannelNotice,
        custom_name: String::new(),
        tenant: account.tenant.clone(),
        channel: Channel::Youzan,
        account: account.client_id.clone(),
        occurred_at: None,
        precision: Precision::Second,
        received_at,
        subject: vec![IdKey::new(IdKind::Group, "youzan", &account.client_id)],
        actor: Actor::System,
        native: Native { kind: "parked".to_owned(), raw_sha256: Sha256::digest(body).to_vec(), ..Native::default() },
        cause: EventCause::default(),
        fields: Fields::new().with("notice", Value::text(format!("parked: {}", error.reason()))),
        private: Private::Plain { fields: Fields::new(), raw: body.to_vec() },
    }
}

fn rejected(reason: &'static str) {
    tracing::warn!(channel = "youzan", reason, "push refused or parked");
    metrics::rejected(Channel::Youzan, reason);
}
