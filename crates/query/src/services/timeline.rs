//! What happened to a contact: references of the model, read back from the log a page at a time.

use crate::error;
use crate::model::{Location, TimelineRef};
use crate::names;
use crate::page::{self, Question};
use crate::server::contact;
use crate::shared::Shared;
use prost::Message;
use tonic::{Code, Status};
use touchline_log::{StoredRecord, Topic};
use touchline_proto::v1;
use v1::log_record::Record;
use v1::timeline_entry::Entry;

/// One page, newest first.
pub(crate) fn page(shared: &Shared, request: &v1::ListTimelineRequest) -> Result<v1::ListTimelineResponse, Status> {
    let (tenant, id) = names::contact("name", &request.name)?;
    let question = Question::new(&["timeline", &request.name]);
    let after = question.last_numbers::<4>(&request.page_token)?;
    let size = page::size(request.page_size);
    let (references, token) = {
        let model = shared.model();
        let entry = contact(&model, &tenant, &id)?;
        let references = model.tenant(&tenant).map(|tenant| tenant.timeline(&entry.contact)).unwrap_or_default();
        (references, shared.token(&model))
    };
    // Newest first: what comes after the last entry ranks below it.
    let mut rest = references.iter().filter(|entry| after.is_none_or(|after| numbers(entry) < after)).peekable();
    let (mut entries, mut bytes, mut last) = (Vec::new(), 0, None);
    while let Some(reference) = rest.next_if(|_| entries.len() < size && bytes < page::BYTES_MAX) {
        last = Some(reference);
        if let Some(entry) = entry(shared, reference)? {
            bytes += entry.encoded_len();
            entries.push(entry);
        }
    }
    let next_page_token = match (last, rest.peek()) {
        (Some(last), Some(_)) => question.token(&numbers(last).map(|number| number.to_string()).join(",")),
        _ => String::new(),
    };
    Ok(v1::ListTimelineResponse { entries, next_page_token, token: Some(token) })
}

/// A rank as numbers; offsets stay far below 2^63.
fn numbers(reference: &TimelineRef) -> [i64; 4] {
    let (at, topic, partition, offset) = reference.rank();
    [at.0, topic as i64, i64::from(partition), offset.cast_signed()]
}

fn entry(shared: &Shared, reference: &TimelineRef) -> Result<Option<v1::TimelineEntry>, Status> {
    let Some(record) = record(shared, reference.topic, reference.location)? else { return Ok(None) };
    let at_ms = reference.at.0;
    Ok(match reference.topic {
        Topic::Events => event(&record, reference.location).map(|(position, event)| v1::TimelineEntry {
            position: Some(position),
            at_ms,
            kind: event_name(&event),
            summary: event_summary(&event),
            entry: Some(Entry::Event(event)),
        }),
        Topic::TagChanges => {
            let change = v1::TagChange::decode(record.value.as_slice()).map_err(|_| damaged(reference.topic))?;
            Some(v1::TimelineEntry {
                position: change.source,
                at_ms,
                kind: "tag.changed".to_owned(),
                summary: change_summary(&change),
                entry: Some(Entry::TagChange(change)),
            })
        }
        _ => {
            let touch = v1::Touch::decode(record.value.as_slice()).map_err(|_| damaged(reference.topic))?;
            Some(v1::TimelineEntry {
                position: touch.source,
                at_ms,
                kind: format!("touch.{}", touch.state),
                summary: touch_summary(&touch),
                entry: Some(Entry::Touch(touch)),
            })
        }
    })
}

/// The record at exactly this place; `None` when retention took it away.
pub(crate) fn record(shared: &Shared, topic: Topic, location: Location) -> Result<Option<StoredRecord>, Status> {
    match shared.log.read(topic, location.partition, location.offset, 1) {
        Ok(records) => Ok(records.into_iter().find(|record| record.offset == location.offset)),
        Err(touchline_log::Error::Truncated { .. }) => Ok(None),
        Err(error) => Err(error::log(&error)),
    }
}

/// The event in a record of `events`, without its raw payload, and where it lies under its native key.
pub(crate) fn event(record: &StoredRecord, location: Location) -> Option<(v1::Position, v1::Event)> {
    let here = v1::Position { partition: location.partition, offset: location.offset };
    let decoded = v1::LogRecord::decode(record.value.as_slice()).ok()?;
    let (position, mut event) = match decoded.record? {
        Record::Event(event) => (here, event),
        Record::Loop(told) => match told.body? {
            v1::r#loop::Body::Forward(forward) => (forward.origin.unwrap_or(here), forward.event?),
            _ => return None,
        },
        _ => return None,
    };
    if let Some(v1::private::State::Plain(plain)) = event.private.as_mut().and_then(|private| private.state.as_mut()) {
        plain.raw.clear();
    }
    Some((position, event))
}

/// The name rules know an event by.
pub(crate) fn event_name(event: &v1::Event) -> String {
    touchline_proto::event_from(event.clone()).map_or_else(|_| "event".to_owned(), |event| event.name().to_owned())
}

fn event_summary(event: &v1::Event) -> String {
    format!("{} over {}", event_name(event), event.channel)
}

pub(crate) fn change_summary(change: &v1::TagChange) -> String {
    let group = &change.group;
    match (&change.set, &change.unset) {
        (Some(set), Some(unset)) => format!("{group}: {unset} → {set}"),
        (Some(set), None) => format!("{group}: + {set}"),
        (None, Some(unset)) => format!("{group}: - {unset}"),
        (None, None) => format!("{group}: unchanged"),
    }
}

fn touch_summary(touch: &v1::Touch) -> String {
    let v1::Touch { journey, step, touchpoint, content, reason, state, .. } = touch;
    let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    format!("{journey}/{step}: {touchpoint} {content} {state}{why}")
}

fn damaged(topic: Topic) -> Status {
    error::status(Code::DataLoss, "LOG_DAMAGED", format!("a record of {} no longer decodes", topic.name()))
}
