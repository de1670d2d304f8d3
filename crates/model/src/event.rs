//! What happened, once it is decoded: the input of every rule.

use crate::id::{CellKey, EventId, IdKey};
use crate::kind::Kind;
use crate::time::Time;
use crate::value::{Fields, Value};
use serde::{Deserialize, Serialize};

/// Where an event came in. A closed set: it is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Channel {
    Wecom,
    WecomArchive,
    WecomKf,
    Youzan,
    Taobao,
    Click,
    Form,
    Api,
    Internal,
    Import,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 10] = [
        Self::Wecom,
        Self::WecomArchive,
        Self::WecomKf,
        Self::Youzan,
        Self::Taobao,
        Self::Click,
        Self::Form,
        Self::Api,
        Self::Internal,
        Self::Import,
    ];

    /// The name on the wire and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wecom => "wecom",
            Self::WecomArchive => "wecom_archive",
            Self::WecomKf => "wecom_kf",
            Self::Youzan => "youzan",
            Self::Taobao => "taobao",
            Self::Click => "click",
            Self::Form => "form",
            Self::Api => "api",
            Self::Internal => "internal",
            Self::Import => "import",
        }
    }

    /// The channel with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.name() == name)
    }
}

/// How exact `occurred_at` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Precision {
    /// Milliseconds.
    #[default]
    Millisecond,
    /// Whole seconds.
    Second,
    /// The moment a poll noticed it.
    Poll,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Actor {
    /// Not known.
    #[default]
    Unknown,
    /// The customer.
    Customer,
    /// A staff member, by user id.
    Staff(String),
    /// The channel itself.
    System,
    /// A program through an API.
    Api,
}

/// The channel's own naming of the event, kept whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Native {
    /// Native type, e.g. `change_external_contact.add_external_contact`, `trade_TradePaid`.
    pub kind: String,
    /// Native id, if it has one.
    pub id: String,
    /// Native version or sequence for version-wins merges, if it has one.
    pub version: Option<i64>,
    /// SHA-256 of the raw payload; empty when there was none.
    pub raw_sha256: Vec<u8>,
}

/// Personal fields and the raw payload. One place, so that it can be sealed and erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Private {
    /// Readable.
    Plain {
        /// Message text, names, remarks, addresses…
        fields: Fields,
        /// The payload as it came, loss-free.
        raw: Vec<u8>,
    },
    /// Sealed with the contact's data key; opened by the decode stage before `apply`.
    Sealed {
        /// Which data key.
        key_id: String,
        /// Nonce, ciphertext and tag.
        bytes: Vec<u8>,
    },
    /// Erased: the position of an erase record decides this, never the absence of a key.
    Withheld,
}

impl Default for Private {
    fn default() -> Self {
        Self::Plain { fields: Fields::new(), raw: Vec::new() }
    }
}

/// What led to the event, where the channel can tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventCause {
    /// The touch it answers.
    pub touch_id: Option<String>,
    /// The command it carries out.
    pub command_id: Option<String>,
    /// The event it was derived from.
    pub parent_event_id: Option<EventId>,
}

/// One event, as it lies in the log under the key of its native identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Deterministic id; the engine dedupes by it.
    pub id: EventId,
    /// What happened.
    pub kind: Kind,
    /// The declared name when `kind` is [`Kind::Custom`]; empty otherwise.
    pub custom_name: String,
    /// Whose data.
    pub tenant: String,
    /// Where it came in.
    pub channel: Channel,
    /// Corp id, shop, seller or site.
    pub account: String,
    /// The source's clock: event time for rules, windows and anchors. Absent or implausible: append time.
    pub occurred_at: Option<Time>,
    /// How exact that is.
    pub precision: Precision,
    /// Ingest's clock; never used in rules, only as a witness for jumps of the broker's clock.
    pub received_at: Time,
    /// Every identifier the event names, native first, never empty.
    pub subject: Vec<IdKey>,
    /// Who did it.
    pub actor: Actor,
    /// The channel's own naming.
    pub native: Native,
    /// What led to it.
    pub cause: EventCause,
    /// Fields of the kind's body, by the names of the taxonomy.
    pub fields: Fields,
    /// Personal fields and the raw payload.
    pub private: Private,
}

impl Event {
    /// The cell the event is addressed to: that of its native identifier.
    pub fn key(&self) -> CellKey {
        CellKey::of(&self.tenant, &self.subject[0])
    }

    /// The name rules know it by: the kind's, or the declared custom name.
    pub fn name(&self) -> &str {
        if self.kind == Kind::Custom { &self.custom_name } else { self.kind.name() }
    }

    /// A field at a dotted path, public or private; `None` when absent, sealed or withheld.
    /// `channel` and `account` answer from the envelope.
    pub fn field(&self, path: &str) -> Option<FieldRef<'_>> {
        match path {
            "channel" => return Some(FieldRef::Text(self.channel.name())),
            "account" => return Some(FieldRef::Text(&self.account)),
            _ => {}
        }
        let private = match &self.private {
            Private::Plain { fields, .. } => fields.path(path),
            Private::Sealed { .. } | Private::Withheld => None,
        };
        self.fields.path(path).or(private).map(FieldRef::Value)
    }

    /// The message text, if it is there and readable.
    pub fn text(&self) -> Option<&str> {
        self.field("text").and_then(FieldRef::as_text)
    }
}

/// A borrowed field value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldRef<'a> {
    /// A text of the envelope.
    Text(&'a str),
    /// A value of the body.
    Value(&'a Value),
}

impl<'a> FieldRef<'a> {
    /// The text, if it is one.
    pub fn as_text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Value(value) => value.as_text(),
        }
    }
}
