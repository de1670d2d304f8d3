//! Answers that say no.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use touchline_channels::Error;

/// Seconds after which a refused sender may try again: the log's group commits take milliseconds.
pub(crate) const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request is refused as a whole. Nothing of it entered the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// A word of a closed set: the label of the counter, too.
    pub(crate) reason: &'static str,
    /// For people; carries no payload.
    pub(crate) detail: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Self {
        Self { status, reason, detail: detail.into() }
    }

    pub(crate) fn unavailable(reason: &'static str, detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, format!("{detail}; hint: try again"))
    }

    pub(crate) fn unauthorized(hint: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", format!("not authorised; hint: {hint}"))
    }

    pub(crate) fn no_account() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_account", "no account of this name; hint: it is in [ingest.tenants]")
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let status = match error {
            Error::BadSignature => StatusCode::UNAUTHORIZED,
            Error::WrongReceiver | Error::UnknownAccount => StatusCode::FORBIDDEN,
            Error::Oversized { .. } | Error::TooMany { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Error::BadKey { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.reason(), error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": {"reason": self.reason, "detail": self.detail}}));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            return (self.status, [(RETRY_AFTER, RETRY_AFTER_SECONDS)], body).into_response();
        }
        (self.status, body).into_response()
    }
}
