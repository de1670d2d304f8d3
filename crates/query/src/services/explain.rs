//! Why a contact carries a tag: from `tag-changes` alone, with the event it points to.

use super::timeline::{event, event_name, record};
use crate::error;
use crate::follower::event_time;
use crate::model::Location;
use crate::names;
use crate::server::contact;
use crate::shared::Shared;
use prost::Message;
use tonic::Status;
use touchline_log::Topic;
use touchline_model::command::TagRef;
use touchline_model::time::Time;
use touchline_proto::{contact_to, v1};

/// The tag as carried now, its latest changes, and the event that decided the latest.
pub(crate) fn tag(shared: &Shared, request: &v1::ExplainTagRequest) -> Result<v1::ExplainTagResponse, Status> {
    let (tenant, id) = names::contact("name", &request.name)?;
    let tag = request.tag.as_ref().filter(|tag| !tag.group.is_empty() && !tag.tag.is_empty());
    let tag = tag.ok_or_else(|| error::invalid("tag", "a tag has a group and a tag"))?;
    let tag = TagRef::new(&tag.group, &tag.tag);
    let (locations, carried, token) = {
        let model = shared.model();
        let entry = contact(&model, &tenant, &id)?;
        let history = model.tenant(&tenant).map(|tenant| tenant.tag_history(&entry.contact, &tag)).unwrap_or_default();
        let carried = contact_to(&entry.contact).tags;
        let carried = carried.into_iter().find(|have| have.group == tag.group && have.tag == tag.tag);
        (history, carried, shared.token(&model))
    };
    let mut history = Vec::with_capacity(locations.len());
    for location in locations {
        let Some(record) = record(shared, Topic::TagChanges, location)? else { continue };
        history.extend(v1::TagChange::decode(record.value.as_slice()).ok());
    }
    history.sort_by_key(|change| {
        let Position { partition, offset } = Position::of(change.source);
        std::cmp::Reverse((change.clock_ms, change.at_ms, partition, offset, change.sequence))
    });
    let event = match history.first() {
        Some(latest) => decided_by(shared, latest)?,
        None => None,
    };
    let text = match history.first() {
        Some(latest) => explained(&tag, latest, event.as_ref()),
        None => format!("{tag} was never set or unset for this contact."),
    };
    let event = event.map(|decided| decided.event);
    Ok(v1::ExplainTagResponse { tag: carried, history, event, text, token: Some(token) })
}

/// The event that decided, and when it happened.
struct Decided {
    event: v1::Event,
    at: Time,
}

struct Position {
    partition: u32,
    offset: u64,
}

impl Position {
    fn of(wire: Option<v1::Position>) -> Self {
        let v1::Position { partition, offset } = wire.unwrap_or_default();
        Self { partition, offset }
    }
}

/// The event a change names, read from where it lies under its native key.
fn decided_by(shared: &Shared, change: &v1::TagChange) -> Result<Option<Decided>, Status> {
    let Some(cause) = &change.cause else { return Ok(None) };
    let Some(event_id) = &cause.event_id else { return Ok(None) };
    let Position { partition, offset } = Position::of(cause.origin.or(cause.position));
    let location = Location { partition, offset };
    let Some(record) = record(shared, Topic::Events, location)? else { return Ok(None) };
    let found = event(&record, location).map(|(_, event)| event).filter(|event| event.event_id == *event_id);
    Ok(found.map(|event| Decided { at: event_time(event.occurred_at_ms.map(Time), record.append_time), event }))
}

/// One paragraph: what, when, by whom or which rule, on which record, which words.
fn explained(tag: &TagRef, change: &v1::TagChange, event: Option<&Decided>) -> String {
    let is_set = change.set.as_deref() == Some(tag.tag.as_str());
    let mut text = format!("{tag} was {} at {}", if is_set { "set" } else { "unset" }, Time(change.at_ms));
    match (&change.set, &change.unset) {
        (Some(_), Some(unset)) if is_set => text.push_str(&format!(" in place of {unset}")),
        (Some(set), Some(_)) => text.push_str(&format!(" by {set} in its place")),
        _ => {}
    }
    let Some(cause) = &change.cause else { return text + "." };
    if !cause.rule.is_empty() {
        text.push_str(&format!(", by {} of playbook {} in bundle {}", cause.rule, cause.playbook, cause.bundle));
    }
    if !cause.actor.is_empty() {
        text.push_str(&format!(", by {}", cause.actor));
        if !cause.reason.is_empty() {
            text.push_str(&format!(" ({})", cause.reason));
        }
    }
    let kind = event.map_or_else(|| cause.kind.clone(), |decided| event_name(&decided.event));
    let Position { partition, offset } = Position::of(cause.position);
    text.push_str(&format!(", on {kind} applied at {partition}@{offset}"));
    if let Some(v1::Position { partition, offset }) = cause.origin {
        text.push_str(&format!(", which lies at {partition}@{offset}"));
    }
    if let Some(v1::IdKey { kind, scope, value }) = &cause.native {
        text.push_str(&format!(" under {kind}/{scope}/{value}"));
    }
    if let Some(decided) = event {
        text.push_str(&format!(", of {}", decided.at));
    }
    if let Some(hit) = &cause.hit {
        let v1::Hit { keyword, keywords, field, start, end } = hit;
        text.push_str(&format!(": keyword {keyword} of {keywords} in {field}, characters {start} to {end}"));
    }
    text + "."
}
