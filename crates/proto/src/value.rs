//! Values of open sets, and the small conversions that all records share.

use crate::v1;
use crate::v1::value::Value as Wire;
use touchline_model::command::{PlaybookSource, TagRef};
use touchline_model::id::{CellKey, EventId, IdKey, IdKind, Position};
use touchline_model::output::{Cause, Hit};
use touchline_model::record::{Evidence, Undecodable};
use touchline_model::time::Time;
use touchline_model::value::{Fields, Number, Value};

/// A record that could not be decoded; `what` names a field, never a value.
pub(crate) fn undecodable(what: impl Into<String>) -> Undecodable {
    Undecodable(what.into())
}

/// A message field that has to be there.
pub(crate) fn required<T>(name: &str, value: Option<T>) -> Result<T, Undecodable> {
    value.ok_or_else(|| undecodable(format!("{name} is missing")))
}

/// A whole number as a [`Value`].
pub(crate) fn whole_in(name: &str, whole: i64) -> Result<Value, Undecodable> {
    Number::from_integer(whole).map(Value::Number).ok_or_else(|| undecodable(format!("{name} is out of range")))
}

/// A clock of ours: from 1970 to [`Time::LATEST`].
pub(crate) fn clock_in(name: &str, ms: i64) -> Result<Time, Undecodable> {
    let time = Time(ms);
    if (Time(0)..Time::LATEST).contains(&time) { Ok(time) } else { Err(undecodable(format!("{name} is out of range"))) }
}

pub(crate) fn fields_in(wire: Vec<v1::Field>, into: &mut Fields) -> Result<(), Undecodable> {
    for field in wire {
        let value = field.value.and_then(|value| value.value);
        into.set(field.name, value_in(required("a field's value", value)?)?);
    }
    Ok(())
}

pub(crate) fn value_in(wire: Wire) -> Result<Value, Undecodable> {
    Ok(match wire {
        Wire::Text(text) => Value::Text(text),
        Wire::NumberMillionths(millionths) => Value::Number(Number(millionths)),
        Wire::Flag(flag) => Value::Bool(flag),
        Wire::TimeMs(ms) => Value::Time(Time(ms)),
        Wire::List(list) => {
            let mut values = Vec::with_capacity(list.values.len());
            for value in list.values {
                values.push(value_in(required("a list's value", value.value)?)?);
            }
            Value::List(values)
        }
        Wire::Record(record) => {
            let mut fields = Fields::new();
            fields_in(record.fields, &mut fields)?;
            Value::Record(fields)
        }
    })
}

pub(crate) fn fields_out(fields: &Fields) -> Vec<v1::Field> {
    fields.iter().map(field_out).collect()
}

pub(crate) fn field_out((name, value): (&str, &Value)) -> v1::Field {
    v1::Field { name: name.to_owned(), value: Some(value_out(value)) }
}

pub(crate) fn value_out(value: &Value) -> v1::Value {
    let wire = match value {
        Value::Text(text) => Wire::Text(text.clone()),
        Value::Number(number) => Wire::NumberMillionths(number.0),
        Value::Bool(flag) => Wire::Flag(*flag),
        Value::Time(time) => Wire::TimeMs(time.0),
        Value::List(values) => Wire::List(v1::ValueList { values: values.iter().map(value_out).collect() }),
        Value::Record(fields) => Wire::Record(v1::ValueRecord { fields: fields_out(fields) }),
    };
    v1::Value { value: Some(wire) }
}

pub(crate) fn id_in(wire: v1::IdKey) -> Result<IdKey, Undecodable> {
    let kind = IdKind::parse(&wire.kind).ok_or_else(|| undecodable("unknown identifier kind"))?;
    Ok(IdKey { kind, scope: wire.scope, value: wire.value })
}

pub(crate) fn ids_in(wire: Vec<v1::IdKey>) -> Result<Vec<IdKey>, Undecodable> {
    wire.into_iter().map(id_in).collect()
}

pub(crate) fn id_out(id: &IdKey) -> v1::IdKey {
    v1::IdKey { kind: id.kind.name().to_owned(), scope: id.scope.clone(), value: id.value.clone() }
}

pub(crate) fn ids_out(ids: &[IdKey]) -> Vec<v1::IdKey> {
    ids.iter().map(id_out).collect()
}

pub(crate) fn key_in(name: &str, text: &str) -> Result<CellKey, Undecodable> {
    CellKey::parse(text).map_err(|error| undecodable(format!("{name}: {error}")))
}

pub(crate) fn event_id_in(name: &str, bytes: &[u8]) -> Result<EventId, Undecodable> {
    bytes.try_into().map(EventId).map_err(|_| undecodable(format!("{name} is not 16 bytes")))
}

pub(crate) const fn position_in(wire: v1::Position) -> Position {
    Position { partition: wire.partition, offset: wire.offset }
}

pub(crate) const fn position_out(position: Position) -> v1::Position {
    v1::Position { partition: position.partition, offset: position.offset }
}

pub(crate) fn evidence_in(name: &str) -> Result<Evidence, Undecodable> {
    Evidence::parse(name).ok_or_else(|| undecodable("unknown evidence"))
}

pub(crate) fn tag_refs_in(wire: Vec<v1::TagRef>) -> Vec<TagRef> {
    wire.into_iter().map(|tag| TagRef { group: tag.group, tag: tag.tag }).collect()
}

pub(crate) fn tag_refs_out(tags: &[TagRef]) -> Vec<v1::TagRef> {
    tags.iter().map(|tag| v1::TagRef { group: tag.group.clone(), tag: tag.tag.clone() }).collect()
}

pub(crate) fn sources_in(wire: Vec<v1::PlaybookSource>) -> Vec<PlaybookSource> {
    wire.into_iter().map(|source| PlaybookSource { id: source.id, yaml: source.yaml }).collect()
}

pub(crate) fn sources_out(sources: &[PlaybookSource]) -> Vec<v1::PlaybookSource> {
    sources.iter().map(|source| v1::PlaybookSource { id: source.id.clone(), yaml: source.yaml.clone() }).collect()
}

pub(crate) fn cause_in(wire: Option<v1::Cause>) -> Result<Cause, Undecodable> {
    let wire = required("cause", wire)?;
    let event_id = wire.event_id.map(|bytes| event_id_in("cause.event_id", &bytes)).transpose()?;
    Ok(Cause {
        position: position_in(required("cause.position", wire.position)?),
        origin: wire.origin.map(position_in),
        event_id,
        kind: wire.kind,
        playbook: wire.playbook,
        rule: wire.rule,
        bundle: wire.bundle,
        hit: wire.hit.map(|hit| Hit {
            keywords: hit.keywords,
            keyword: hit.keyword,
            field: hit.field,
            start: hit.start,
            end: hit.end,
        }),
        actor: wire.actor,
        reason: wire.reason,
        native: wire.native.map(id_in).transpose()?,
    })
}

pub(crate) fn cause_out(cause: &Cause) -> v1::Cause {
    v1::Cause {
        position: Some(position_out(cause.position)),
        origin: cause.origin.map(position_out),
        event_id: cause.event_id.map(|id| id.0.to_vec()),
        kind: cause.kind.clone(),
        playbook: cause.playbook.clone(),
        rule: cause.rule.clone(),
        bundle: cause.bundle,
        hit: cause.hit.as_ref().map(|hit| v1::Hit {
            keywords: hit.keywords.clone(),
            keyword: hit.keyword.clone(),
            field: hit.field.clone(),
            start: hit.start,
            end: hit.end,
        }),
        actor: cause.actor.clone(),
        reason: cause.reason.clone(),
        native: cause.native.as_ref().map(id_out),
    }
}
