//! Events: the envelope, its checks, and the private part.

use crate::bodies::{from_body, to_body};
use crate::bounds::check_event_texts;
use crate::v1;
use crate::value::{clock_in, event_id_in, fields_in, fields_out, id_out, ids_in, required, undecodable};
use prost::Message;
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{CellKey, IdKey};
use touchline_model::kind::{HANDOFF_CREATED, Kind};
use touchline_model::record::Undecodable;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};

/// Most identifiers of one event: each further one may send a link.
pub const SUBJECTS_MAX: usize = 16;
/// Longest tenant, in characters.
pub const TENANT_CHARS_MAX: usize = 64;
/// Deepest nesting of lists and records: three more than any channel sends, far below protobuf's limit.
pub const VALUE_DEPTH_MAX: usize = 8;

/// An event as protobuf. Total; what [`check_event`] refuses may not decode again.
pub fn encode_event(event: &Event) -> Vec<u8> {
    event_to(event).encode_to_vec()
}

/// An event from protobuf, checked by [`check_event`].
pub fn decode_event(bytes: &[u8]) -> Result<Event, Undecodable> {
    event_from(v1::Event::decode(bytes).map_err(|error| undecodable(format!("event: {error}")))?)
}

/// What every event in the log satisfies; ingest asks before it appends.
///
/// One to [`SUBJECTS_MAX`] identifiers with non-empty values whose keys fit [`CellKey::BYTES_MAX`],
/// a tenant of 1 to [`TENANT_CHARS_MAX`] characters, a name exactly when the kind is custom, our own
/// clock between 1970 and [`Time::LATEST`], values nested at most [`VALUE_DEPTH_MAX`] deep, texts
/// within [`NAME_BYTES_MAX`](crate::NAME_BYTES_MAX) (custom name, staff, `state`),
/// [`NATIVE_BYTES_MAX`](crate::NATIVE_BYTES_MAX) (account, native type and id, causes) and
/// [`TEXT_BYTES_MAX`](crate::TEXT_BYTES_MAX) (other public fields); private ones are bounded by the record. A
/// `occurred_at` out of range is allowed: the append time counts instead.
pub fn check_event(event: &Event) -> Result<(), Undecodable> {
    check_tenant(&event.tenant)?;
    if event.subject.is_empty() || event.subject.len() > SUBJECTS_MAX {
        return Err(undecodable(format!("subject does not have 1 to {SUBJECTS_MAX} identifiers")));
    }
    for id in &event.subject {
        check_id(&event.tenant, id)?;
    }
    match (event.kind == Kind::Custom, event.custom_name.is_empty()) {
        (true, true) => return Err(undecodable("custom.name is empty")),
        (true, false) if event.custom_name == HANDOFF_CREATED => {
            return Err(undecodable("handoff.created happens inside the engine only"));
        }
        (false, false) => return Err(undecodable("only custom events have a name of their own")),
        (true, false) | (false, true) => {}
    }
    clock_in("received_at_ms", event.received_at.0)?;
    check_depth(&event.fields, VALUE_DEPTH_MAX)?;
    check_event_texts(event)?;
    match &event.private {
        Private::Plain { fields, .. } => check_depth(fields, VALUE_DEPTH_MAX),
        Private::Sealed { .. } | Private::Withheld => Ok(()),
    }
}

/// The message of an event.
pub fn event_to(event: &Event) -> v1::Event {
    let (body, extra) = to_body(event);
    v1::Event {
        event_id: event.id.0.to_vec(),
        tenant: event.tenant.clone(),
        channel: event.channel.name().to_owned(),
        account: event.account.clone(),
        occurred_at_ms: event.occurred_at.map(|time| time.0),
        occurred_precision: precision_name(event.precision).to_owned(),
        received_at_ms: event.received_at.0,
        subject: event.subject.iter().map(id_out).collect(),
        actor: actor_to(&event.actor),
        native: native_to(&event.native),
        cause: cause_to(&event.cause),
        private: private_to(&event.private),
        extra,
        body: Some(body),
    }
}

/// The event of a message, checked by [`check_event`].
pub fn event_from(wire: v1::Event) -> Result<Event, Undecodable> {
    let body = wire.body.ok_or_else(|| undecodable("body is missing, or of a kind unknown to this version"))?;
    let (kind, custom_name, mut fields) = from_body(body)?;
    fields_in(wire.extra, &mut fields)?;
    let event = Event {
        id: event_id_in("event_id", &wire.event_id)?,
        kind,
        custom_name,
        tenant: wire.tenant,
        channel: Channel::parse(&wire.channel).ok_or_else(|| undecodable("unknown channel"))?,
        account: wire.account,
        occurred_at: wire.occurred_at_ms.map(Time),
        precision: precision_from(&wire.occurred_precision)?,
        received_at: Time(wire.received_at_ms),
        subject: ids_in(wire.subject)?,
        actor: actor_from(wire.actor)?,
        native: wire.native.map(native_from).unwrap_or_default(),
        cause: wire.cause.map(cause_from).transpose()?.unwrap_or_default(),
        fields,
        private: private_from(wire.private)?,
    };
    check_event(&event)?;
    Ok(event)
}

pub(crate) fn check_tenant(tenant: &str) -> Result<(), Undecodable> {
    // Bytes first: counting characters of a long text is the slow case.
    let fits = tenant.len() <= TENANT_CHARS_MAX || tenant.chars().count() <= TENANT_CHARS_MAX;
    if tenant.is_empty() || !fits {
        return Err(undecodable(format!("tenant does not have 1 to {TENANT_CHARS_MAX} characters")));
    }
    Ok(())
}

fn check_id(tenant: &str, id: &IdKey) -> Result<(), Undecodable> {
    // An encoded byte takes at most three; the kind and slashes at most 32.
    let longest = (tenant.len() + id.scope.len() + id.value.len()) * 3 + 32;
    let fits = longest <= CellKey::BYTES_MAX || CellKey::of(tenant, id).as_str().len() <= CellKey::BYTES_MAX;
    if !id.kind.is_public() {
        return Err(undecodable("a subject is of a kind that only loopback records hold"));
    }
    if id.value.is_empty() || !fits {
        return Err(undecodable(format!("a subject is empty or its key longer than {} bytes", CellKey::BYTES_MAX)));
    }
    Ok(())
}

fn check_depth(fields: &Fields, left: usize) -> Result<(), Undecodable> {
    fields.iter().try_for_each(|(_, value)| check_value_depth(value, left))
}

fn check_value_depth(value: &Value, left: usize) -> Result<(), Undecodable> {
    if left == 0 {
        return Err(undecodable(format!("a field is nested deeper than {VALUE_DEPTH_MAX}")));
    }
    match value {
        Value::List(values) => values.iter().try_for_each(|value| check_value_depth(value, left - 1)),
        Value::Record(fields) => check_depth(fields, left - 1),
        Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::Time(_) => Ok(()),
    }
}

const fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Millisecond => "ms",
        Precision::Second => "s",
        Precision::Poll => "poll",
    }
}

fn precision_from(name: &str) -> Result<Precision, Undecodable> {
    match name {
        "" | "ms" => Ok(Precision::Millisecond),
        "s" => Ok(Precision::Second),
        "poll" => Ok(Precision::Poll),
        _ => Err(undecodable("unknown occurred_precision")),
    }
}

fn actor_to(actor: &Actor) -> Option<v1::Actor> {
    let (kind, staff) = match actor {
        Actor::Unknown => return None,
        Actor::Customer => ("customer", ""),
        Actor::Staff(staff) => ("staff", staff.as_str()),
        Actor::System => ("system", ""),
        Actor::Api => ("api", ""),
    };
    Some(v1::Actor { kind: kind.to_owned(), staff: staff.to_owned() })
}

fn actor_from(wire: Option<v1::Actor>) -> Result<Actor, Undecodable> {
    let Some(wire) = wire else { return Ok(Actor::Unknown) };
    match wire.kind.as_str() {
        "" | "unknown" => Ok(Actor::Unknown),
        "customer" => Ok(Actor::Customer),
        "staff" => Ok(Actor::Staff(wire.staff)),
        "system" => Ok(Actor::System),
        "api" => Ok(Actor::Api),
        _ => Err(undecodable("unknown actor")),
    }
}

fn native_to(native: &Native) -> Option<v1::Native> {
    let wire = v1::Native {
        r#type: native.kind.clone(),
        id: native.id.clone(),
        version: native.version,
        raw_sha256: native.raw_sha256.clone(),
    };
    (*native != Native::default()).then_some(wire)
}

fn native_from(wire: v1::Native) -> Native {
    Native { kind: wire.r#type, id: wire.id, version: wire.version, raw_sha256: wire.raw_sha256 }
}

fn cause_to(cause: &EventCause) -> Option<v1::EventCause> {
    let wire = v1::EventCause {
        touch_id: cause.touch_id.clone(),
        command_id: cause.command_id.clone(),
        parent_event_id: cause.parent_event_id.map(|id| id.0.to_vec()),
    };
    (*cause != EventCause::default()).then_some(wire)
}

fn cause_from(wire: v1::EventCause) -> Result<EventCause, Undecodable> {
    let parent = wire.parent_event_id.map(|bytes| event_id_in("cause.parent_event_id", &bytes)).transpose()?;
    Ok(EventCause { touch_id: wire.touch_id, command_id: wire.command_id, parent_event_id: parent })
}

fn private_to(private: &Private) -> Option<v1::Private> {
    let state = match private {
        Private::Plain { fields, raw } if fields.is_empty() && raw.is_empty() => return None,
        Private::Plain { fields, raw } => {
            v1::private::State::Plain(v1::PrivateFields { fields: fields_out(fields), raw: raw.clone() })
        }
        Private::Sealed { key_id, bytes } => {
            v1::private::State::Sealed(v1::Sealed { key_id: key_id.clone(), bytes: bytes.clone() })
        }
        Private::Withheld => v1::private::State::Withheld(v1::Withheld {}),
    };
    Some(v1::Private { state: Some(state) })
}

fn private_from(wire: Option<v1::Private>) -> Result<Private, Undecodable> {
    let Some(wire) = wire else { return Ok(Private::default()) };
    // A state of a newer writer must not read as "nothing personal".
    match required("private.state", wire.state)? {
        v1::private::State::Plain(plain) => {
            let mut fields = Fields::new();
            fields_in(plain.fields, &mut fields)?;
            Ok(Private::Plain { fields, raw: plain.raw })
        }
        v1::private::State::Sealed(sealed) => Ok(Private::Sealed { key_id: sealed.key_id, bytes: sealed.bytes }),
        v1::private::State::Withheld(_) => Ok(Private::Withheld),
    }
}
