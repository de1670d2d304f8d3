//! WeCom callbacks: `GET` checks the address, `POST` brings an event. The channel sends three times at most, and takes
//! 200 within five seconds for received; an empty body is a valid answer.

use super::answer::Refusal;
use super::query::parameter;
use super::{Ingest, body};
use crate::metrics;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use touchline_channels::Error;
use touchline_channels::account::Wecom;
use touchline_channels::wecom::{self, Signed};
use touchline_model::event::Channel;

/// The decrypted text, exactly: no quotes, no newline.
pub(super) async fn verify(
    State(ingest): State<Ingest>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let plain = account_of(&ingest, &account).and_then(|account| {
        let signed = signed(&query)?;
        let echostr = parameter(&query, "echostr").ok_or_else(malformed_query)?;
        wecom::verify_url(account, &signed, &echostr).map_err(|error| Refusal::from(&error))
    });
    match plain {
        Ok(plain) => {
            let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
            (headers, plain).into_response()
        }
        Err(refusal) => refused(refusal),
    }
}

/// 200 and nothing else once the events are durable; 500 makes the channel send again.
pub(super) async fn callback(
    State(ingest): State<Ingest>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    match take(&ingest, &account, &query.unwrap_or_default(), body).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => refused(refusal),
    }
}

async fn take(ingest: &Ingest, account: &str, query: &str, body: Body) -> Result<(), Refusal> {
    let account = account_of(ingest, account)?;
    let signed = signed(query)?;
    let limits = &ingest.settings().limits;
    let body = body::read(body, wecom::BODY_BYTES_MAX, limits.read_timeout()).await?;
    let received_at = ingest.publisher().now();
    let decoded = wecom::callback(account, &signed, &body, received_at).map_err(|error| Refusal::from(&error))?;
    for result in ingest.publisher().publish(decoded.events, limits.append_timeout()).await {
        if let Err(error) = result {
            let status = if error.is_content() { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
            return Err(Refusal::new(status, error.reason(), error.to_string()));
        }
    }
    Ok(())
}

fn account_of<'a>(ingest: &'a Ingest, name: &str) -> Result<&'a Wecom, Refusal> {
    ingest.settings().wecom.get(name).ok_or_else(Refusal::no_account)
}

fn signed(query: &str) -> Result<Signed, Refusal> {
    let value = |name| parameter(query, name).ok_or_else(malformed_query);
    Ok(Signed { msg_signature: value("msg_signature")?, timestamp: value("timestamp")?, nonce: value("nonce")? })
}

fn malformed_query() -> Refusal {
    Refusal::from(&Error::Malformed { what: "query: msg_signature, timestamp and nonce are required" })
}

fn refused(refusal: Refusal) -> Response {
    tracing::warn!(channel = "wecom", reason = refusal.reason, "callback refused");
    metrics::rejected(Channel::Wecom, refusal.reason);
    refusal.into_response()
}
