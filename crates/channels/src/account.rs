//! What an adapter must know about an account. Plain values; where they come from is the service's affair.

use std::collections::BTreeSet;
use std::fmt;

/// A text that must not be printed: tokens, keys, client secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself; keep it out of logs and errors.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A WeCom callback and chat-archive account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wecom {
    /// Whose data.
    pub tenant: String,
    /// Corp id: scope of customer and group ids, and `account` of every event.
    pub corp_id: String,
    /// What callbacks are sealed for: the corp id (self-built app) or the suite id (third-party app).
    pub receive_id: String,
    /// Callback token.
    pub token: Secret,
    /// EncodingAESKey, 43 characters.
    pub aes_key: Secret,
    /// User ids known to be staff. They decide direction before any prefix does.
    pub staff: BTreeSet<String>,
}

/// A Youzan app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Youzan {
    /// Whose data.
    pub tenant: String,
    /// Client id of the app.
    pub client_id: String,
    /// Client secret of the app: the signing key.
    pub client_secret: Secret,
    /// Shops (`kdt_id`) whose pushes are accepted; empty accepts every shop of the app.
    pub shops: BTreeSet<u64>,
}

/// A Tmall/Taobao app: a queue of messages about the shops that granted it access. Touchline checks no signature of
/// it; who may post its messages is the service's affair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taobao {
    /// Whose data.
    pub tenant: String,
    /// App key of the app that consumes the queue: scope of buyers' open uids. Messages do not name it; their
    /// `pub_app_key` is the sender's.
    pub app_key: String,
    /// Sellers (`user_id`) whose messages are accepted; empty accepts every seller of the app.
    pub sellers: BTreeSet<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let account = Youzan {
            tenant: "acme".into(),
            client_id: "c".into(),
            client_secret: Secret::new("hush"),
            shops: BTreeSet::new(),
        };
        assert!(!format!("{account:?}").contains("hush"));
        assert!(format!("{account:?}").contains("[secret]"));
    }
}
