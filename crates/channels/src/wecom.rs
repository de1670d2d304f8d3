//! WeCom: callbacks (this module) and the chat archive ([`archive`]).
//!
//! A callback is an XML envelope around AES-sealed inner XML. [`verify_url`] answers the address check,
//! [`callback`] turns one POST into events. [`seal`] is the channel's side, for the demo and for tests.

pub mod archive;
mod callback;
mod seal;
mod xml;

use crate::account::Wecom;
use crate::{Decoded, Error};
use touchline_model::event::Actor;
use touchline_model::id::{IdKey, IdKind};
use touchline_model::time::Time;

pub use callback::decode;
pub use seal::{Sealed, seal, verify_url};

/// Longest callback body accepted: the largest real ones (member lists) are some tens of KiB.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// The signed query parameters of a callback, percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// `msg_signature`: lower-case hex SHA-1.
    pub msg_signature: String,
    /// `timestamp`, seconds, as text.
    pub timestamp: String,
    /// `nonce`.
    pub nonce: String,
}

/// One callback POST: envelope, signature, decryption, receiver, events.
pub fn callback(account: &Wecom, signed: &Signed, body: &[u8], received_at: Time) -> Result<Decoded, Error> {
    let inner = seal::open(account, signed, body)?;
    decode(account, &inner, received_at)
}

/// Who stands behind a native user id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Party {
    Customer,
    Staff,
}

/// The staff set decides first, then the prefix: `wm` is a WeChat user, `wo` a user of another corp.
fn party(account: &Wecom, user: &str) -> Party {
    let external = user.starts_with("wm") || user.starts_with("wo");
    if external && !account.staff.contains(user) { Party::Customer } else { Party::Staff }
}

fn actor(account: &Wecom, user: &str) -> Actor {
    match party(account, user) {
        Party::Customer => Actor::Customer,
        Party::Staff => Actor::Staff(user.to_owned()),
    }
}

fn customer(account: &Wecom, external_userid: &str) -> IdKey {
    IdKey::new(IdKind::WecomExternalUserid, &account.corp_id, external_userid)
}

fn group(account: &Wecom, chat_id: &str) -> IdKey {
    IdKey::new(IdKind::Group, &account.corp_id, chat_id)
}
