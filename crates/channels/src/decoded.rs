//! What every adapter returns, and how its events are put together.

use crate::Error;
use sha2::{Digest, Sha256};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{CellKey, EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::taxonomy;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};

pub(crate) use touchline_model::id::basis;

/// What one payload of a channel became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The events, in the order of the payload. Empty only for a health probe.
    pub events: Vec<Event>,
    /// What the payload was for.
    pub purpose: Purpose,
}

/// What a payload was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It says what happened.
    Report,
    /// It only wakes up a poller; the event beside it keeps the raw bytes.
    PollTrigger,
    /// The channel tries the address: answer success, append nothing.
    HealthProbe,
}

impl Decoded {
    /// Checks what must hold of every event: a subject, and a cell key within its bound.
    pub(crate) fn new(events: Vec<Event>, purpose: Purpose) -> Result<Self, Error> {
        for event in &events {
            check_subject(&event.tenant, &event.subject)?;
        }
        Ok(Self { events, purpose })
    }
}

/// Every identifier named must be usable as a cell key.
pub(crate) fn check_subject(tenant: &str, subject: &[IdKey]) -> Result<(), Error> {
    let usable = |id: &IdKey| id.kind.is_public() && CellKey::parse(CellKey::of(tenant, id).as_str()).is_ok();
    let sound = !subject.is_empty() && subject.iter().all(usable);
    sound.then_some(()).ok_or(Error::Malformed { what: "identifier" })
}

/// Where events come from: the part of the envelope they share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) channel: Channel,
    pub(crate) account: &'a str,
    pub(crate) received_at: Time,
}

/// The part of the envelope that tells one event from another.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) kind: Kind,
    pub(crate) subject: Vec<IdKey>,
    pub(crate) actor: Actor,
    /// All fields; those the taxonomy calls personal go to the private part.
    pub(crate) body: Fields,
}

/// The channel's own naming and clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Provenance<'a> {
    pub(crate) native_type: &'a str,
    pub(crate) native_id: &'a str,
    pub(crate) version: Option<i64>,
    pub(crate) occurred_at: Option<Time>,
    pub(crate) precision: Precision,
    /// The payload as it may be kept.
    pub(crate) raw: &'a [u8],
    /// SHA-256 of the payload as it came.
    pub(crate) raw_sha256: &'a [u8],
}

impl Origin<'_> {
    /// An event whose id rests on `basis` within `native_type`.
    pub(crate) fn event(&self, fact: Fact, provenance: &Provenance<'_>, basis: &[u8]) -> Event {
        self.event_as(provenance.native_type, fact, provenance, basis)
    }

    /// As [`Origin::event`], but deduplicated under another type name: one change told by two native types.
    pub(crate) fn event_as(&self, dedupe: &str, fact: Fact, provenance: &Provenance<'_>, basis: &[u8]) -> Event {
        let mut fields = Fields::new();
        let mut private = Fields::new();
        for (name, value) in fact.body.iter() {
            let part = if taxonomy::is_private(fact.kind, name) { &mut private } else { &mut fields };
            part.set(name, value.clone());
        }
        Event {
            id: EventId::derive(self.tenant, self.channel.name(), self.account, dedupe, basis),
            kind: fact.kind,
            custom_name: String::new(),
            tenant: self.tenant.to_owned(),
            channel: self.channel,
            account: self.account.to_owned(),
            occurred_at: provenance.occurred_at.filter(|time| time.is_plausible()),
            precision: provenance.precision,
            received_at: self.received_at,
            subject: fact.subject,
            actor: fact.actor,
            native: Native {
                kind: provenance.native_type.to_owned(),
                id: provenance.native_id.to_owned(),
                version: provenance.version,
                raw_sha256: provenance.raw_sha256.to_vec(),
            },
            cause: EventCause::default(),
            fields,
            private: Private::Plain { fields: private, raw: provenance.raw.to_vec() },
        }
    }
}

/// The cell for what concerns a corp or shop as a whole and names neither customer, order nor group: it is
/// the group whose id is the account's own.
pub(crate) fn account_cell(scope: &str, account: &str) -> IdKey {
    IdKey::new(IdKind::Group, scope, account)
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).expect("below 16");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Sets a text field unless it is absent or empty.
pub(crate) fn put_text(fields: &mut Fields, name: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        fields.set(name, Value::text(text));
    }
}

/// Sets a field unless it is absent.
pub(crate) fn put(fields: &mut Fields, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        fields.set(name, value);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use touchline_model::taxonomy::FieldType;

    /// Every field must be in the taxonomy, of its type, and in the part it belongs to. Two fields go beyond it: the
    /// group a member joined or left, and the staff side of a 1:1 message.
    pub(crate) fn check_taxonomy(event: &Event) {
        let Private::Plain { fields: private, .. } = &event.private else { panic!("adapters leave events readable") };
        for (part, is_private) in [(&event.fields, false), (private, true)] {
            for (name, value) in part.iter() {
                let kind = event.kind;
                let beyond = matches!(
                    (kind, name),
                    (Kind::GroupJoined | Kind::GroupLeft, "group") | (Kind::ChatMessage, "staff")
                );
                let known = taxonomy::fields(kind).iter().find(|field| field.name == name);
                assert!(known.is_some() || beyond, "{kind}: {name} is not in the taxonomy");
                assert_eq!(taxonomy::is_private(kind, name), is_private, "{kind}: {name}");
                if let Some(field) = known {
                    check_type(field.ty, value, &format!("{kind}: {name}"));
                }
            }
        }
    }

    fn check_type(ty: FieldType, value: &Value, at: &str) {
        match (ty, value) {
            (FieldType::Text, Value::Text(_))
            | (FieldType::Number, Value::Number(_))
            | (FieldType::Bool, Value::Bool(_))
            | (FieldType::Time, Value::Time(_))
            | (FieldType::Open, Value::Record(_)) => {}
            (FieldType::Word(words), Value::Text(word)) => assert!(words.contains(&word.as_str()), "{at}: {word}"),
            (FieldType::List(inner), Value::List(items)) => items.iter().for_each(|item| check_type(*inner, item, at)),
            (FieldType::Record(fields), Value::Record(inner)) => {
                for (name, value) in inner.iter() {
                    let field = fields.iter().find(|field| field.name == name);
                    check_type(field.unwrap_or_else(|| panic!("{at}.{name}")).ty, value, &format!("{at}.{name}"));
                }
            }
            _ => panic!("{at}: {value:?} is not {ty:?}"),
        }
    }

    #[test]
    fn parts_of_a_basis_cannot_be_shifted() {
        assert_ne!(basis(&[b"ab", b"c"]), basis(&[b"a", b"bc"]));
        assert_eq!(hex(&[0x00, 0xff, 0x1a]), "00ff1a");
    }
}
