//! The open door: JSON of `POST /v1/events` → events, checked against the taxonomy.
//!
//! ```json
//! {"kind": "order.paid", "tenant": "acme", "source": "crm", "id": "o-1", "occurred_at": "2026-03-02T10:00:00+08:00",
//!  "subject": [{"kind": "yz_open_id", "scope": "youzan", "value": "abc"}], "fields": {"paid_fen": 9900}}
//! ```
//! One event, an array, or `{"events": […]}`. Also the line format of `touchline replay`, with `append_time`.

mod describe;
mod fields;

use crate::decoded::{check_subject, sha256};
use crate::{Error, json};
use serde_json::{Map, Value as Json};
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::taxonomy;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};

pub use describe::{example, json_schema};

/// Most events in one request: one broker batch, and one answer that a person can still read.
pub const BATCH_EVENTS_MAX: usize = 500;
/// Longest request.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest event as JSON: with its envelope it must fit a broker message of 1 MiB several times over.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;
/// Longest custom name, source and id.
const NAME_BYTES_MAX: usize = 256;

/// The members an event may have.
const MEMBERS: [&str; 13] = [
    "kind",
    "name",
    "tenant",
    "channel",
    "account",
    "source",
    "id",
    "occurred_at",
    "append_time",
    "subject",
    "actor",
    "touch_id",
    "fields",
];

/// An event that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The event.
    pub event: Event,
    /// The log time it is to be replayed at, if the line names one. Ingest ignores it.
    pub append_time: Option<Time>,
    /// What was accepted differently from how it came.
    pub warnings: Vec<Warning>,
}

/// What was accepted differently from how it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// `occurred_at` lies before 2000 or after 2200: it is dropped, the append time serves.
    ImplausibleTime,
}

impl Warning {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ImplausibleTime => "implausible_time",
        }
    }
}

/// Decodes a request. The outer error concerns the request as a whole; otherwise there is one result per event, in
/// order, and a bad event leaves the others alone.
pub fn decode(body: &[u8], received_at: Time) -> Result<Vec<Result<Accepted, Error>>, Error> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Error::Oversized { what: "request body", bytes_max: BODY_BYTES_MAX });
    }
    let request = json::parse(body).ok_or(Error::Malformed { what: "json" })?;
    let batch = match &request {
        Json::Array(events) => events.as_slice(),
        Json::Object(members) => match members.get("events") {
            Some(Json::Array(events)) if members.len() == 1 => events.as_slice(),
            Some(_) => return Err(Error::Malformed { what: "batch: `events` must be an array and the only member" }),
            None => std::slice::from_ref(&request),
        },
        _ => return Err(Error::Malformed { what: "request: an event, an array or {\"events\": […]}" }),
    };
    if batch.len() > BATCH_EVENTS_MAX {
        return Err(Error::TooMany { count: batch.len(), count_max: BATCH_EVENTS_MAX });
    }
    Ok(batch.iter().map(|event| decode_event(event, received_at)).collect())
}

/// Decodes one event.
///
/// Its id rests on (source, id) if it names an id, whatever else it says; else on its canonical JSON without
/// `append_time`: key order and spacing do not matter.
pub fn decode_event(event: &Json, received_at: Time) -> Result<Accepted, Error> {
    let members = event.as_object().ok_or(Error::Malformed { what: "event: it must be an object" })?;
    if let Some(unknown) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(Error::UnknownField { field: fields::shown(unknown) });
    }
    let canonical = canonical_bytes(members)?;
    let kind = kind(members)?;
    let custom_name = custom_name(members, kind)?;
    let tenant = required(members, "tenant")?;
    let source = required(members, "source")?;
    let channel = channel(members)?;
    let account = text(members, "account")?.unwrap_or_default();
    let id = text(members, "id")?;
    let subject = subject(members, tenant, kind)?;
    let (mut public, private) = fields::split(kind, members.get("fields"))?;
    let touch_id = touch_id(members, kind, &mut public)?;
    let occurred = time(members, "occurred_at")?;
    let plausible = occurred.filter(|time| time.is_plausible());
    let append_time = time(members, "append_time")?;
    if append_time.is_some_and(|time| !time.is_plausible()) {
        return Err(fields::wrong("append_time", "a time between the years 2000 and 2200"));
    }
    // One name for all kinds: (source, id) names the event, even if a second sending changes its mind about the kind.
    let event_id = match id {
        Some(id) => EventId::of_source(tenant, channel.name(), account, source, id),
        None => EventId::derive(tenant, channel.name(), account, "api", &sha256(canonical.as_bytes())),
    };
    let event = Event {
        id: event_id,
        kind,
        custom_name: custom_name.to_owned(),
        tenant: tenant.to_owned(),
        channel,
        account: account.to_owned(),
        occurred_at: plausible,
        precision: Precision::Millisecond,
        received_at,
        subject,
        actor: actor(members)?,
        native: Native {
            kind: if kind == Kind::Custom { custom_name.to_owned() } else { kind.name().to_owned() },
            id: id.unwrap_or_default().to_owned(),
            version: None,
            raw_sha256: Vec::new(),
        },
        cause: EventCause { touch_id, ..EventCause::default() },
        fields: public,
        private: Private::Plain { fields: private, raw: Vec::new() },
    };
    let warnings = if occurred == plausible { Vec::new() } else { vec![Warning::ImplausibleTime] };
    Ok(Accepted { event, append_time, warnings })
}

/// Why events of a kind do not come in here; `Ok` for those that do.
fn admit(kind: Kind) -> Result<(), Error> {
    match kind {
        Kind::CursorSaved | Kind::ImportBatch | Kind::ChannelNotice => Err(Error::ForbiddenKind { kind: kind.name() }),
        kind if kind.name().starts_with("directory.") => Err(Error::NotYet { kind: kind.name() }),
        _ => Ok(()),
    }
}

fn canonical_bytes(members: &Map<String, Json>) -> Result<String, Error> {
    let mut event = members.clone();
    event.remove("append_time");
    let canonical = json::canonical(&Json::Object(event));
    if canonical.len() > EVENT_BYTES_MAX {
        return Err(Error::Oversized { what: "event", bytes_max: EVENT_BYTES_MAX });
    }
    Ok(canonical)
}

fn kind(members: &Map<String, Json>) -> Result<Kind, Error> {
    let kind = Kind::parse(required(members, "kind")?).ok_or(Error::UnknownKind)?;
    admit(kind)?;
    Ok(kind)
}

fn custom_name(members: &Map<String, Json>, kind: Kind) -> Result<&str, Error> {
    match (kind, text(members, "name")?) {
        (Kind::Custom, None) => Err(Error::MissingField { field: "name" }),
        (Kind::Custom, Some(name)) if Kind::parse(name).is_some() => {
            Err(fields::wrong("name", "a name of your own, not that of a kind"))
        }
        (Kind::Custom, Some(name)) => Ok(name),
        (_, None) => Ok(""),
        (_, Some(_)) => Err(fields::wrong("name", "absent unless the kind is `custom`")),
    }
}

fn channel(members: &Map<String, Json>) -> Result<Channel, Error> {
    let Some(name) = text(members, "channel")? else { return Ok(Channel::Api) };
    Channel::parse(name)
        .filter(|channel| *channel != Channel::Internal)
        .ok_or_else(|| fields::wrong("channel", "the name of a channel (not `internal`)"))
}

fn subject(members: &Map<String, Json>, tenant: &str, kind: Kind) -> Result<Vec<IdKey>, Error> {
    /// More identifiers of one person than any channel has.
    const SUBJECT_IDS_MAX: usize = 16;
    let ids = members.get("subject").ok_or(Error::MissingField { field: "subject" })?;
    let ids = ids.as_array().ok_or_else(|| fields::wrong("subject", "an array of {kind, scope, value}"))?;
    let linking = matches!(kind, Kind::IdentityLinked | Kind::IdentityUnlinked);
    let ids_min = if linking { 2 } else { 1 };
    if !(ids_min..=SUBJECT_IDS_MAX).contains(&ids.len()) {
        return Err(fields::wrong("subject", format!("{ids_min} to {SUBJECT_IDS_MAX} identifiers")));
    }
    let mut subject = Vec::with_capacity(ids.len());
    for (index, id) in ids.iter().enumerate() {
        let at = format!("subject[{index}]");
        let part = |name| id.get(name).and_then(Json::as_str);
        let whole = id.as_object().is_some_and(|members| members.len() == 3);
        let (true, Some(kind), Some(scope), Some(value)) = (whole, part("kind"), part("scope"), part("value")) else {
            return Err(fields::wrong(at, "{kind, scope, value}, all texts"));
        };
        let kind = IdKind::parse(kind).ok_or_else(|| fields::wrong(format!("{at}.kind"), "a kind of identifier"))?;
        let id = IdKey::new(kind, scope, value);
        check_subject(tenant, std::slice::from_ref(&id))
            .map_err(|_| fields::wrong(&*at, "a non-empty identifier whose cell key has at most 512 bytes"))?;
        subject.push(id);
    }
    Ok(subject)
}

fn actor(members: &Map<String, Json>) -> Result<Actor, Error> {
    let Some(actor) = members.get("actor") else { return Ok(Actor::Unknown) };
    let part = |name| actor.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
    match (part("type"), part("id")) {
        (Some("customer"), _) => Ok(Actor::Customer),
        (Some("staff"), Some(id)) => Ok(Actor::Staff(id.to_owned())),
        (Some("system"), _) => Ok(Actor::System),
        (Some("api"), _) => Ok(Actor::Api),
        (Some("unknown"), _) => Ok(Actor::Unknown),
        _ => Err(fields::wrong("actor", "{type: customer, staff (with id), system, api or unknown}")),
    }
}

/// The touch an event answers, named beside the fields or, where the kind has it, among them.
fn touch_id(members: &Map<String, Json>, kind: Kind, public: &mut Fields) -> Result<Option<String>, Error> {
    let beside = text(members, "touch_id")?;
    if let Some(inside) = public.text("touch_id") {
        return match beside {
            Some(beside) if beside != inside => Err(fields::wrong("touch_id", "the same as fields.touch_id")),
            _ => Ok(Some(inside.to_owned())),
        };
    }
    let has_field = taxonomy::fields(kind).iter().any(|field| field.name == "touch_id");
    if let Some(touch_id) = beside.filter(|_| has_field) {
        public.set("touch_id", Value::text(touch_id));
    }
    Ok(beside.map(str::to_owned))
}

fn required<'a>(members: &'a Map<String, Json>, name: &'static str) -> Result<&'a str, Error> {
    text(members, name)?.ok_or(Error::MissingField { field: name })
}

/// A short non-empty text of the envelope.
fn text<'a>(members: &'a Map<String, Json>, name: &str) -> Result<Option<&'a str>, Error> {
    match members.get(name) {
        None => Ok(None),
        Some(Json::String(text)) if !text.is_empty() && text.len() <= NAME_BYTES_MAX => Ok(Some(text)),
        Some(_) => Err(fields::wrong(name, format!("a text of 1 to {NAME_BYTES_MAX} bytes"))),
    }
}

fn time(members: &Map<String, Json>, name: &str) -> Result<Option<Time>, Error> {
    members.get(name).map(|value| fields::time(value, name)).transpose()
}

#[cfg(test)]
mod tests;
