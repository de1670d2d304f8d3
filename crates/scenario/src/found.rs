//! How a contact stands and what was said of it, in the words of scenarios.

use crate::format::WantedWhy;
use touchline_model::id::CellKey;
use touchline_model::output::{Cause, Contact, DeadLetter, Enrolment, Numbered, Output, TagChange, Touch};
use touchline_model::time::{Time, Zone};
use touchline_model::value::Value;
use touchline_playbook::bundle::Bundle;

/// All tags, as `group/tag`, in order.
pub(crate) fn tags(contact: Option<&Contact>) -> Vec<String> {
    let mut tags: Vec<String> =
        contact.into_iter().flat_map(|contact| &contact.tags).map(|tag| format!("{}/{}", tag.group, tag.tag)).collect();
    tags.sort();
    tags
}

/// The tags of one group.
pub(crate) fn tags_of(contact: Option<&Contact>, group: &str) -> Vec<String> {
    let tags = contact.into_iter().flat_map(|contact| &contact.tags);
    let mut tags: Vec<String> = tags.filter(|tag| tag.group == group).map(|tag| tag.tag.clone()).collect();
    tags.sort();
    tags
}

/// The column of a board.
pub(crate) fn stage(contact: Option<&Contact>, board: &str) -> Option<String> {
    contact?.stages.iter().find(|stage| stage.board == board).map(|stage| stage.column.clone())
}

/// Why the contact carries a tag.
pub(crate) fn why<'c>(contact: Option<&'c Contact>, tag: &str) -> Option<&'c Cause> {
    let (group, tag) = tag.split_once('/')?;
    contact?.tags.iter().find(|have| have.group == group && have.tag == tag).map(|tag| &tag.cause)
}

/// The segments that the contact is in, in order.
pub(crate) fn segments(contact: Option<&Contact>) -> Vec<String> {
    contact.into_iter().flat_map(|contact| &contact.past.segments).cloned().collect()
}

/// The value of an attribute at this moment, as it is written.
pub(crate) fn attribute(
    contact: Option<&Contact>,
    bundle: Option<&Bundle>,
    name: &str,
    (now, zone): (Time, Zone),
) -> Option<String> {
    let contact = contact?;
    let value = bundle?.attributes.get(name)?.reading.value(&contact.past, now.max(contact.last_seen))?;
    Some(match value {
        Value::Text(text) => text,
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Time(time) => moment(time, zone),
        Value::List(_) | Value::Record(_) => "several values".to_owned(),
    })
}

/// How the latest enrolment in a journey stands: `running`, or how it ended.
pub(crate) fn journey(contact: Option<&Contact>, journey: &str) -> Option<String> {
    let enrolment: &Enrolment = contact?.enrolments.iter().find(|enrolment| enrolment.journey == journey)?;
    Some(enrolment.ended.as_ref().map_or_else(|| "running".to_owned(), |(how, _)| how.clone()))
}

/// What was said of these cells, in order.
pub(crate) fn touches<'o>(said: &'o [Numbered], cells: &'o [CellKey]) -> impl DoubleEndedIterator<Item = &'o Touch> {
    said.iter().filter_map(|said| match &said.output {
        Output::Touch(touch) if cells.contains(&touch.contact) => Some(touch),
        _ => None,
    })
}

/// Net changes of tags of these cells, in order.
pub(crate) fn changes<'o>(
    said: &'o [Numbered],
    cells: &'o [CellKey],
) -> impl DoubleEndedIterator<Item = &'o TagChange> {
    said.iter().filter_map(|said| match &said.output {
        Output::TagChange(change) if cells.contains(&change.contact) => Some(change),
        _ => None,
    })
}

/// What could not be applied.
pub(crate) fn dead_letters(said: &[Numbered]) -> impl Iterator<Item = &DeadLetter> {
    said.iter().filter_map(|said| if let Output::DeadLetter(letter) = &said.output { Some(letter) } else { None })
}

/// One property of a touch, by its key in the file.
pub(crate) fn touch_text(touch: &Touch, key: &str) -> Option<String> {
    let text = match key {
        "step" => &touch.step,
        "journey" => &touch.journey,
        "state" => return Some(touch.state.name().to_owned()),
        "reason" => &touch.reason,
        "content" => &touch.content,
        "touchpoint" => &touch.touchpoint,
        _ => return touch.executor.clone(),
    };
    (!text.is_empty()).then(|| text.clone())
}

/// `2026-12-01 09:00`, with seconds where there are some.
pub(crate) fn moment(time: Time, zone: Zone) -> String {
    let text = zone.format(time).replace('T', " ");
    let clock: String = text.chars().take("2026-12-01 09:00:00".len()).collect();
    clock.strip_suffix(":00").map(str::to_owned).unwrap_or(clock)
}

/// Whether a cause is the one wanted.
pub(crate) fn is_because(cause: &Cause, wanted: &WantedWhy) -> bool {
    let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    let keyword = cause.hit.as_ref().map_or("", |hit| &hit.keyword);
    let rule = wanted.rule.as_deref().is_none_or(|rule| {
        let decided = if cause.rule.is_empty() { &cause.kind } else { &cause.rule };
        rule == decided || rule == format!("{}/{decided}", cause.playbook)
    });
    rule && is(&wanted.on, &cause.kind)
        && is(&wanted.keyword, keyword)
        && is(&wanted.by, &cause.actor)
        && is(&wanted.reason, &cause.reason)
}

/// Who or what decided, in one line.
pub(crate) fn cause_line(cause: &Cause) -> String {
    let mut line = match (cause.rule.as_str(), cause.actor.as_str()) {
        ("", "") => cause.kind.clone(),
        ("", actor) => format!("{} by {actor}", cause.kind),
        (rule, _) => format!("{}/{rule} on {}", cause.playbook, cause.kind),
    };
    if let Some(hit) = &cause.hit {
        line.push_str(&format!(" with `{}` in {}", hit.keyword, hit.field));
    }
    if !cause.reason.is_empty() {
        line.push_str(&format!(": {}", cause.reason));
    }
    line
}
