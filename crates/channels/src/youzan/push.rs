//! The channel's side: builds and signs a push as Youzan does, for the demo and for tests.

use super::{event_sign_of, legacy_sign_of};
use crate::account::Youzan;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value as Json, json};

/// What Java's form encoder leaves alone, and the space, which becomes `+`.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b' ');

/// What a push says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// `type`, e.g. `trade_TradePaid`.
    pub event_type: String,
    /// Shop.
    pub kdt_id: u64,
    /// Business id: order number, card number…
    pub id: String,
    /// Unique per message; absent on some types.
    pub msg_id: Option<String>,
    /// `status`, where the type has one.
    pub status: Option<String>,
    /// Higher versions win; seconds or milliseconds.
    pub version: i64,
    /// The decoded message; it is sent form-encoded.
    pub msg: Json,
    /// A health probe.
    pub test: bool,
}

/// A push as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// `Event-Sign` header.
    pub event_sign: String,
    /// `Event-Type` header.
    pub event_type: String,
    /// `Client-Id` header.
    pub client_id: String,
    /// Body.
    pub body: Vec<u8>,
}

impl Push {
    /// Encodes and signs, with both the header and the old signature.
    pub fn send(&self, account: &Youzan) -> Sent {
        let msg = utf8_percent_encode(&self.msg.to_string(), FORM).to_string().replace(' ', "+");
        let mut body = json!({
            "client_id": account.client_id, "id": self.id, "kdt_id": self.kdt_id, "root_kdt_id": self.kdt_id,
            "mode": 1, "msg": msg, "sendCount": 0, "sign": legacy_sign_of(account, &msg), "test": self.test,
            "type": self.event_type, "version": self.version,
        });
        for (name, value) in [("msg_id", &self.msg_id), ("status", &self.status)] {
            if let Some(value) = value {
                body[name] = Json::String(value.clone());
            }
        }
        let body = body.to_string().into_bytes();
        Sent {
            event_sign: event_sign_of(account, &body),
            event_type: self.event_type.clone(),
            client_id: account.client_id.clone(),
            body,
        }
    }
}
