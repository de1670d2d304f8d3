//! Youzan pushes: signature on the raw body, then orders, refunds, members, cards, points and coupons.
//!
//! Answer a success with a body containing `success` within five seconds; see [`crate::Error::retry`] for failures.

mod facts;
mod push;

use crate::account::Youzan;
use crate::decoded::{Origin, Provenance, basis, hex, sha256};
use crate::{Decoded, Error, Purpose, json};
use facts::Dedupe;
use md5::{Digest, Md5};
use serde_json::Value as Json;
use subtle::ConstantTimeEq;
use touchline_model::event::{Channel, Precision};
use touchline_model::time::Time;

pub use push::{Push, Sent};

/// Longest push accepted: a full order with hundreds of lines stays below a quarter of this.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The headers a push carries, as far as they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    /// `Event-Sign`.
    pub event_sign: Option<&'a str>,
    /// `Event-Type`.
    pub event_type: Option<&'a str>,
    /// `Client-Id`.
    pub client_id: Option<&'a str>,
}

/// One push → events, or a health probe.
///
/// With an `Event-Sign` header only that counts; without one the old `sign` inside the body does. A wrong header is
/// never saved by a right old signature: that would be a downgrade.
pub fn decode(account: &Youzan, headers: Headers<'_>, body: &[u8], received_at: Time) -> Result<Decoded, Error> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Error::Oversized { what: "push body", bytes_max: BODY_BYTES_MAX });
    }
    if let Some(event_sign) = headers.event_sign {
        check(&event_sign_of(account, body), event_sign)?;
    }
    let push = json::parse(body).filter(Json::is_object).ok_or(Error::Malformed { what: "push body" })?;
    if headers.event_sign.is_none() {
        let (Some(msg), Some(sign)) = (push.get("msg").and_then(Json::as_str), json::text(&push, "sign")) else {
            return Err(Error::BadSignature);
        };
        check(&legacy_sign_of(account, msg), &sign)?;
    }
    check_envelope(account, headers, &push)?;
    if json::flag(&push, "test") == Some(true) {
        return Decoded::new(Vec::new(), Purpose::HealthProbe);
    }
    events(account, &push, body, received_at)
}

/// `lower_hex(md5(client_id ‖ raw body ‖ client_secret))`.
pub fn event_sign_of(account: &Youzan, body: &[u8]) -> String {
    let mut md5 = Md5::new();
    md5.update(&account.client_id);
    md5.update(body);
    md5.update(account.client_secret.expose());
    hex(&md5.finalize())
}

/// The old signature, over `msg` still url-encoded.
pub fn legacy_sign_of(account: &Youzan, encoded_msg: &str) -> String {
    event_sign_of(account, encoded_msg.as_bytes())
}

fn check(expected: &str, given: &str) -> Result<(), Error> {
    let same = bool::from(expected.as_bytes().ct_eq(given.as_bytes()));
    same.then_some(()).ok_or(Error::BadSignature)
}

/// Headers, body and configuration must speak of one app, one type and a shop of ours.
fn check_envelope(account: &Youzan, headers: Headers<'_>, push: &Json) -> Result<(), Error> {
    let client_id = json::text(push, "client_id");
    let signed_by_header = headers.event_sign.is_some();
    let header_agrees = |header: Option<&str>, body: Option<&str>| match header {
        Some(header) => body == Some(header),
        None => !signed_by_header,
    };
    if client_id.as_deref() != Some(&account.client_id) || !header_agrees(headers.client_id, client_id.as_deref()) {
        return Err(Error::UnknownAccount);
    }
    if !header_agrees(headers.event_type, json::text(push, "type").as_deref()) {
        return Err(Error::Malformed { what: "Event-Type header: it differs from the body" });
    }
    let shop = json::text(push, "kdt_id").and_then(|id| id.parse::<u64>().ok());
    let shop = shop.ok_or(Error::Malformed { what: "kdt_id" })?;
    let ours = account.shops.is_empty() || account.shops.contains(&shop);
    ours.then_some(()).ok_or(Error::UnknownAccount)
}

fn events(account: &Youzan, push: &Json, body: &[u8], received_at: Time) -> Result<Decoded, Error> {
    let msg = decode_msg(push.get("msg").unwrap_or(&Json::Null));
    let shop = json::text(push, "kdt_id").unwrap_or_default();
    let told = facts::tell(account, &shop, push, &msg);
    let native_type = json::text(push, "type").unwrap_or_else(|| "unknown".to_owned());
    let native_id = json::text(push, "id").unwrap_or_default();
    let msg_id = json::text(push, "msg_id");
    let version = json::integer(&msg, "version").or_else(|| json::integer(push, "version"));
    let sha = sha256(body);
    let provenance = Provenance {
        native_type: &native_type,
        native_id: msg_id.as_deref().unwrap_or(&native_id),
        version,
        occurred_at: told.occurred_at.or_else(|| version.map(version_time)),
        precision: Precision::Second,
        raw: body,
        raw_sha256: &sha,
    };
    let origin = Origin { tenant: &account.tenant, channel: Channel::Youzan, account: &shop, received_at };
    let kind = told.fact.kind.name();
    let event = match (told.dedupe, &msg_id) {
        // A shop may get both refund families, and each of them again: one change per refund and phase.
        (Dedupe::Refund { refund_id }, _) => {
            origin.event_as(kind, told.fact, &provenance, &basis(&[refund_id.as_bytes(), kind.as_bytes()]))
        }
        (Dedupe::Push, Some(msg_id)) => origin.event(told.fact, &provenance, msg_id.as_bytes()),
        (Dedupe::Push, None) => {
            let version = json::text(push, "version").unwrap_or_default();
            let parts = [native_type.as_bytes(), shop.as_bytes(), native_id.as_bytes(), version.as_bytes()];
            origin.event(told.fact, &provenance, &basis(&parts))
        }
    };
    Decoded::new(vec![event], Purpose::Report)
}

/// Versions count seconds (trades) or milliseconds (customers, refunds).
fn version_time(version: i64) -> Time {
    const FIRST_MILLISECONDS: i64 = 100_000_000_000;
    Time(if version < FIRST_MILLISECONDS { version.saturating_mul(1_000) } else { version })
}

/// `msg` is an object, JSON text, or (mostly) form-encoded JSON text: `+` is a space, a real plus comes as `%2B`.
/// What cannot be read is [`Json::Null`]: the push is signed and is kept raw as a notice.
fn decode_msg(msg: &Json) -> Json {
    let Json::String(text) = msg else { return msg.clone() };
    if text.trim_start().starts_with('{') {
        return json::parse(text.as_bytes()).unwrap_or(Json::Null);
    }
    let spaced = text.replace('+', " ");
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(&spaced).collect();
    json::parse(&decoded).unwrap_or(Json::Null)
}

#[cfg(test)]
mod tests;
