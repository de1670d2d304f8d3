//! Messages as JSON, for `--json` and `replay`: names of the wire, times as RFC 3339 in UTC.

use prost::Message;
use serde_json::{Map, Value, json};
use touchline_log::Topic;
use touchline_model::id::{CellKey, IdKind};
use touchline_model::output::Stream;
use touchline_model::time::Time;
use touchline_model::token;
use touchline_proto::v1;

/// A moment as RFC 3339 in UTC with milliseconds.
pub(crate) fn time(ms: i64) -> Value {
    Value::String(Time(ms).to_string())
}

fn position(position: Option<&v1::Position>) -> Value {
    position.map_or(Value::Null, |at| json!({"partition": at.partition, "offset": at.offset}))
}

fn id_key(id: Option<&v1::IdKey>) -> Value {
    id.map_or(Value::Null, |id| json!({"kind": id.kind, "scope": id.scope, "value": id.value}))
}

/// Why something was decided; absent parts are left out.
pub(crate) fn cause(cause: Option<&v1::Cause>) -> Value {
    let Some(cause) = cause else { return Value::Null };
    let mut map = Map::new();
    map.insert("kind".to_owned(), json!(cause.kind));
    map.insert("position".to_owned(), position(cause.position.as_ref()));
    if cause.origin.is_some() {
        map.insert("origin".to_owned(), position(cause.origin.as_ref()));
    }
    if cause.native.is_some() {
        map.insert("native".to_owned(), id_key(cause.native.as_ref()));
    }
    for (name, text) in
        [("playbook", &cause.playbook), ("rule", &cause.rule), ("actor", &cause.actor), ("reason", &cause.reason)]
    {
        if !text.is_empty() {
            map.insert(name.to_owned(), json!(text));
        }
    }
    map.insert("bundle".to_owned(), json!(cause.bundle));
    if let Some(id) = &cause.event_id {
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        map.insert("event_id".to_owned(), json!(hex));
    }
    if let Some(hit) = &cause.hit {
        let hit = json!({
            "keywords": hit.keywords, "keyword": hit.keyword, "field": hit.field, "start": hit.start, "end": hit.end,
        });
        map.insert("hit".to_owned(), hit);
    }
    Value::Object(map)
}

/// An output, from its bytes.
pub(crate) fn output(stream: Stream, bytes: &[u8]) -> Result<Value, prost::DecodeError> {
    Ok(match stream {
        Stream::TagChanges => tag_change(&v1::TagChange::decode(bytes)?),
        Stream::Touches => touch(&v1::Touch::decode(bytes)?),
        Stream::CommandResults => command_result(&v1::CommandResult::decode(bytes)?),
        Stream::DeadLetters => dead_letter(&v1::DeadLetter::decode(bytes)?),
    })
}

/// The public record of a contact, as a line beside outputs.
pub(crate) fn contact_record(record: &v1::Contact) -> Value {
    let mut line = contact(record);
    line["topic"] = Topic::Contacts.name().into();
    line
}

/// Where a record lies and which number it has there: another run, other places.
const PLACES: [&str; 6] = ["sequence", "source", "position", "origin", "version", "by"];
/// What stands for every token: each is drawn.
const A_TOKEN: &str = "a token";

/// Lines without what differs from run to run, sorted: whose, what, when and why.
pub(crate) fn comparable(mut lines: Vec<Value>) -> Vec<Value> {
    lines.iter_mut().for_each(forget_places);
    lines.sort_by_cached_key(Value::to_string);
    lines
}

fn forget_places(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !PLACES.contains(&name.as_str()));
            fields.values_mut().for_each(forget_places);
        }
        Value::Array(values) => values.iter_mut().for_each(forget_places),
        // As a `state`, and as the key of its cell.
        Value::String(text) if text.starts_with(token::PREFIX) || is_token_cell(text) => *value = A_TOKEN.into(),
        // Ids of what a rule hands over name the event's place.
        Value::String(text) if text.contains('@') => {
            let parts: Vec<&str> = text.split('/').map(|part| without_place(part).unwrap_or(part)).collect();
            *value = parts.join("/").into();
        }
        _ => {}
    }
}

/// `#1` of `3@17#1`.
fn without_place(part: &str) -> Option<&str> {
    let at = part.find('#')?;
    let (place, number) = part.split_at(at);
    let (partition, offset) = place.split_once('@')?;
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    (is_number(partition) && is_number(offset)).then_some(number)
}

fn is_token_cell(text: &str) -> bool {
    CellKey::parse(text).is_ok_and(|key| key.kind() == IdKind::Token)
}

/// A tag change.
pub(crate) fn tag_change(change: &v1::TagChange) -> Value {
    let moves: Vec<Value> =
        change.moves.iter().map(|step| json!({"board": step.board, "from": step.from, "to": step.to})).collect();
    json!({
        "topic": "tag-changes",
        "sequence": change.sequence,
        "clock": time(change.clock_ms),
        "source": position(change.source.as_ref()),
        "contact": change.contact,
        "contact_id": change.contact_id,
        "retracted": change.retracted,
        "group": change.group,
        "set": change.set,
        "unset": change.unset,
        "moves": moves,
        "at": time(change.at_ms),
        "cause": cause(change.cause.as_ref()),
    })
}

/// A touch.
pub(crate) fn touch(touch: &v1::Touch) -> Value {
    json!({
        "topic": "touches",
        "sequence": touch.sequence,
        "clock": time(touch.clock_ms),
        "source": position(touch.source.as_ref()),
        "id": touch.id,
        "state": touch.state,
        "reason": touch.reason,
        "contact": touch.contact,
        "contact_id": touch.contact_id,
        "recipient": id_key(touch.recipient.as_ref()),
        "playbook": touch.playbook,
        "journey": touch.journey,
        "enrolment": touch.enrolment,
        "step": touch.step,
        "occurrence": touch.occurrence,
        "touchpoint": touch.touchpoint,
        "content": touch.content,
        "executor": touch.executor,
        "planned_at": time(touch.planned_at_ms),
        "due_at": time(touch.due_at_ms),
        "expires_at": time(touch.expires_at_ms),
        "replaces": touch.replaces,
        "cause": cause(touch.cause.as_ref()),
    })
}

/// An answer to a command.
pub(crate) fn command_result(result: &v1::CommandResult) -> Value {
    let outcome = match &result.outcome {
        Some(v1::command_result::Outcome::Refused(refused)) => {
            json!({"refused": {"code": refused.code, "detail": refused.detail, "current": refused.current}})
        }
        _ => json!("accepted"),
    };
    json!({
        "topic": "command-results",
        "sequence": result.sequence,
        "clock": time(result.clock_ms),
        "source": position(result.source.as_ref()),
        "request_id": result.request_id,
        "tenant": result.tenant,
        "outcome": outcome,
        "contact": result.contact,
        "position": position(result.position.as_ref()),
        "bundle": result.bundle,
    })
}

/// A dead letter, without the record's bytes: they may hold personal data.
pub(crate) fn dead_letter(letter: &v1::DeadLetter) -> Value {
    let bytes = letter.record.as_ref().map_or(0, |record| record.value.len());
    json!({
        "topic": "dead-letters",
        "sequence": letter.sequence,
        "clock": time(letter.clock_ms),
        "source": position(letter.source.as_ref()),
        "reason": letter.reason,
        "detail": letter.detail,
        "record_bytes": bytes,
        "cells": letter.cells,
    })
}

fn identity(identity: &v1::Identity) -> Value {
    let joined = identity.joined.as_ref();
    json!({
        "id": id_key(identity.id.as_ref()),
        "evidence": identity.evidence,
        "joined": joined.map(|joined| {
            json!({"by": position(joined.by.as_ref()), "into": joined.into, "at": time(joined.at_ms)})
        }),
    })
}

/// An identifier of a contact, and why it is one.
pub(crate) fn link(link: &v1::ContactLink) -> Value {
    let mut value = link.identity.as_ref().map_or_else(|| json!({}), identity);
    value["said_by"] = json!(link.said_by);
    value["channel"] = json!(link.channel);
    value["actor"] = json!(link.actor);
    value["reason"] = json!(link.reason);
    value
}

/// A contact's public record.
pub(crate) fn contact(contact: &v1::Contact) -> Value {
    let identities: Vec<Value> = contact.identities.iter().map(self::identity).collect();
    let tags: Vec<Value> = contact
        .tags
        .iter()
        .map(|tag| {
            json!({
                "group": tag.group, "tag": tag.tag, "label": tag.label, "set_at": time(tag.set_at_ms), "cause": cause(tag.cause.as_ref()),
            })
        })
        .collect();
    let stages: Vec<Value> = contact
        .stages
        .iter()
        .map(|stage| json!({"board": stage.board, "column": stage.column, "entered_at": time(stage.entered_at_ms)}))
        .collect();
    let relations: Vec<Value> = contact
        .relations
        .iter()
        .map(|relation| {
            json!({
                "staff": relation.staff, "added_at": time(relation.added_at_ms), "state": relation.state,
                "removed_at": relation.removed_at_ms.map(time),
            })
        })
        .collect();
    let last_times: Map<String, Value> =
        contact.last_times.iter().map(|last| (last.name.clone(), time(last.at_ms))).collect();
    json!({
        "contact_id": contact.contact_id,
        "key": contact.key,
        "version": position(contact.version.as_ref()),
        "merged_into": contact.merged_into,
        "first_seen": time(contact.first_seen_ms),
        "last_seen": time(contact.last_seen_ms),
        "owner": contact.owner,
        "identities": identities,
        "tags": tags,
        "stages": stages,
        "relations": relations,
        "last_times": last_times,
        "segments": contact.past.as_ref().map_or(&[][..], |past| &past.segments),
        "attributes": attributes(contact),
        "groups": groups(contact),
        "consents": consents(contact),
        "on_phones": on_phones(contact),
        "enrolments": contact.enrolments.iter().map(enrolment).collect::<Vec<_>>(),
    })
}

/// Name → value of what is kept; what ages by the calendar is computed where it is asked.
fn attributes(contact: &v1::Contact) -> Map<String, Value> {
    let attributes = contact.past.iter().flat_map(|past| &past.attributes);
    let value = |attribute: &v1::Attribute| attribute.value.as_ref().map_or(Value::Null, value_json);
    attributes.map(|attribute| (attribute.name.clone(), value(attribute))).collect()
}

fn value_json(value: &v1::Value) -> Value {
    use v1::value::Value as Wire;
    match &value.value {
        Some(Wire::Text(text)) => json!(text),
        Some(Wire::Flag(yes)) => json!(yes),
        Some(Wire::NumberMillionths(number)) => json!(touchline_model::value::Number(*number).to_string()),
        Some(Wire::TimeMs(at)) => time(*at),
        Some(Wire::List(_) | Wire::Record(_)) | None => Value::Null,
    }
}

/// Groups the contact is in.
fn groups(contact: &v1::Contact) -> Vec<Value> {
    let groups = contact.past.iter().flat_map(|past| &past.groups).filter(|known| known.inside);
    groups.map(|known| json!({"group": known.group, "since": time(known.at_ms)})).collect()
}

/// Tags that staff's phones show, each under whose; `tag` is null where the directory does not know it.
fn on_phones(contact: &v1::Contact) -> Vec<Value> {
    let shown = contact.past.iter().flat_map(|past| &past.observed).filter(|known| known.carried);
    let each = shown.map(|known| {
        let tag = (!known.group.is_empty()).then(|| format!("{}/{}", known.group, known.tag));
        let by = if known.ours { "us" } else { "staff" };
        json!({
            "staff": known.staff, "native_id": known.native_id, "tag": tag, "set_by": by, "seen_at": time(known.at_ms),
        })
    });
    each.collect()
}

fn consents(contact: &v1::Contact) -> Map<String, Value> {
    let consents = contact.past.iter().flat_map(|past| &past.consents);
    let each = |consent: &v1::Consent| json!({"granted": consent.granted, "at": time(consent.at_ms)});
    consents.map(|consent| (consent.scope.clone(), each(consent))).collect()
}

fn enrolment(enrolment: &v1::Enrolment) -> Value {
    let step = |step: &Option<v1::StepAt>, name: &str| {
        step.as_ref().map(|step| json!({name: step.name, "at": time(step.at_ms)}))
    };
    json!({
        "playbook": enrolment.playbook,
        "journey": enrolment.journey,
        "number": enrolment.number,
        "entered_at": time(enrolment.entered_at_ms),
        "next": step(&enrolment.next, "step"),
        "ended": step(&enrolment.ended, "reason"),
        "goal_reached": enrolment.goal_reached,
    })
}

/// How far a partition has come.
pub(crate) fn progress(progress: &v1::Progress) -> Value {
    let sequence = |index: usize| progress.sequences.get(index).copied().unwrap_or_default();
    json!({
        "partition": progress.partition,
        "offset": progress.offset,
        "clock": time(progress.clock_ms),
        "sequences": {
            "tag-changes": sequence(0), "touches": sequence(1), "command-results": sequence(2), "dead-letters": sequence(3),
        },
        "loop_sent": progress.loop_sent,
        "loop_received": progress.loop_received,
        "bundle": progress.bundle,
    })
}

/// A card on a board.
pub(crate) fn card(card: &v1::Card) -> Value {
    json!({
        "contact": card.contact, "board": card.board, "stage": card.stage, "owner": card.owner,
        "entered_at": time(card.entered_at_ms), "id": id_key(card.id.as_ref()),
    })
}

/// A compiler diagnostic.
pub(crate) fn diagnostic(diagnostic: &v1::Diagnostic) -> Value {
    json!({
        "severity": diagnostic.severity, "code": diagnostic.code, "message": diagnostic.message,
        "hint": diagnostic.hint, "line": diagnostic.line, "column": diagnostic.column, "playbook": diagnostic.playbook,
    })
}

/// An entry of a contact's timeline. Event fields stay out: the summary names them.
pub(crate) fn timeline_entry(entry: &v1::TimelineEntry) -> Value {
    let body = match &entry.entry {
        Some(v1::timeline_entry::Entry::TagChange(change)) => json!({"tag_change": tag_change(change)}),
        Some(v1::timeline_entry::Entry::Touch(message)) => json!({"touch": touch(message)}),
        Some(v1::timeline_entry::Entry::Event(_)) | None => json!({}),
    };
    json!({
        "position": position(entry.position.as_ref()),
        "at": time(entry.at_ms),
        "kind": entry.kind,
        "summary": entry.summary,
        "entry": body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: Value) -> Value {
        comparable(vec![line]).remove(0)
    }

    #[test]
    fn where_a_record_lies_does_not_count_and_all_else_does() {
        let line = |sequence: u64, partition: u32, clock: &str, kind: &str| {
            json!({
                "topic": "touches", "sequence": sequence, "source": {"partition": partition, "offset": 7}, "clock": clock,
                "cause": {"kind": kind, "position": {"partition": partition, "offset": 9}},
                "steps": [{"version": sequence, "id": "a"}],
            })
        };
        assert_eq!(one(line(1, 0, "t", "timer")), one(line(2, 3, "t", "timer")));
        assert_ne!(one(line(1, 0, "t", "timer")), one(line(1, 0, "u", "timer")));
        assert_ne!(one(line(1, 0, "t", "timer")), one(line(1, 0, "t", "goal")));
    }

    #[test]
    fn tokens_are_drawn_and_other_states_are_not() {
        let of = |name: &str, text: &str| one(json!({"topic": "contacts", name: text}));
        assert_eq!(of("state", "t.k3Jq9"), of("state", "t.m4Kr0"));
        assert_eq!(of("contact", "demo/token/state/k3Jq9"), of("contact", "demo/token/state/m4Kr0"));
        assert_ne!(of("state", "官网"), of("state", "门店"));
        assert_ne!(of("contact", "demo/yz_open_id/youzan/a"), of("contact", "demo/yz_open_id/youzan/b"));
    }

    #[test]
    fn ids_that_name_a_place_are_those_of_any_place_and_a_part_that_looks_like_one_is_kept() {
        let of = |id: &str| one(json!({"topic": "touches", "id": id}));
        assert_eq!(of("s/c/p/r/3@4#1"), of("s/c/p/r/0@88#1"));
        assert_ne!(of("s/c/p/r/3@4#1"), of("s/c/p/r/3@4#2"));
        assert_ne!(of("s/c/p/r@x/1#1"), of("s/c/p/r@y/1#1"));
    }

    #[test]
    fn lines_are_sorted() {
        let lines = ["b", "a"].map(|text| json!({"topic": text}));
        assert_eq!(comparable(lines.to_vec()), [json!({"topic": "a"}), json!({"topic": "b"})]);
    }
}
