//! How long texts may be. State keeps many of them, for years, and repeats them in records that have to
//! fit the log: what is unbounded at the door would stop a partition later.

use crate::value::undecodable;
use touchline_model::command::{Command, CommandBody, MIGRATIONS_BYTES_MAX, Migration, TagRef};
use touchline_model::event::{Actor, Event};
use touchline_model::record::Undecodable;
use touchline_model::value::{Fields, Value};

/// Longest name, in bytes: staff, `state`, custom events, boards, stages, groups, tags, playbooks, actors. A contact
/// keeps one of each per relation, event name and tag. As long as an id of a playbook: 100 characters of 4 bytes.
pub const NAME_BYTES_MAX: usize = 400;
/// Longest account, native type or id, or command id, in bytes: as long as a cell key.
pub const NATIVE_BYTES_MAX: usize = 512;
/// Longest touch id, in bytes: tenant, contact, journey and step, each as long as it may be.
pub const TOUCH_ID_BYTES_MAX: usize = 1_200;
/// Longest public text, in bytes: a long URL or product title. Longer ones belong into the raw payload.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Longest reason of a command, in bytes: it is repeated in every tag change and every tag it leads to.
pub const REASON_BYTES_MAX: usize = 2 * 1024;
/// Most tags of one edit, set and unset together: each of them may be a record of its own.
pub const EDIT_TAGS_MAX: usize = 100;

/// Public fields that a contact keeps.
const KEPT_FIELDS: [&str; 2] = ["staff", "state"];

pub(crate) fn check_event_texts(event: &Event) -> Result<(), Undecodable> {
    fits("custom.name", &event.custom_name, NAME_BYTES_MAX)?;
    fits("account", &event.account, NATIVE_BYTES_MAX)?;
    if let Actor::Staff(staff) = &event.actor {
        fits("actor.staff", staff, NAME_BYTES_MAX)?;
    }
    fits("native.type", &event.native.kind, NATIVE_BYTES_MAX)?;
    fits("native.id", &event.native.id, NATIVE_BYTES_MAX)?;
    bytes_fit("native.raw_sha256", event.native.raw_sha256.len(), NATIVE_BYTES_MAX)?;
    fits("cause.touch_id", event.cause.touch_id.as_deref().unwrap_or_default(), TOUCH_ID_BYTES_MAX)?;
    fits("cause.command_id", event.cause.command_id.as_deref().unwrap_or_default(), NATIVE_BYTES_MAX)?;
    for name in KEPT_FIELDS {
        if let Some(Value::Text(text)) = event.fields.path(name) {
            fits(name, text, NAME_BYTES_MAX)?;
        }
    }
    check_fields(&event.fields)
}

pub(crate) fn check_command_texts(command: &Command) -> Result<(), Undecodable> {
    fits("actor", &command.actor, NAME_BYTES_MAX)?;
    match &command.body {
        CommandBody::MoveCard { contact: _, board, expected_stage, to, reason } => {
            fits("board", board, NAME_BYTES_MAX)?;
            fits("expected_stage", expected_stage.as_deref().unwrap_or_default(), NAME_BYTES_MAX)?;
            fits("to", to.as_deref().unwrap_or_default(), NAME_BYTES_MAX)?;
            fits("reason", reason, REASON_BYTES_MAX)
        }
        CommandBody::EditTags { contact: _, add, remove, reason } => {
            if add.len() + remove.len() > EDIT_TAGS_MAX {
                return Err(undecodable(format!("add and remove have more than {EDIT_TAGS_MAX} tags")));
            }
            for TagRef { group, tag } in add.iter().chain(remove) {
                fits("group", group, NAME_BYTES_MAX)?;
                fits("tag", tag, NAME_BYTES_MAX)?;
            }
            fits("reason", reason, REASON_BYTES_MAX)
        }
        CommandBody::Link { contact: _, identifier: _, reason }
        | CommandBody::Unlink { contact: _, identifier: _, reason } => fits("reason", reason, REASON_BYTES_MAX),
        CommandBody::MintToken { token: _, bearer: _, expires_at: _ } => Ok(()),
        // Bounded when it is read.
        CommandBody::SetDirectory { yaml: _ } => Ok(()),
        // The sources themselves are bounded as a bundle when they are compiled.
        CommandBody::Activate { sources, remove, expected_active: _, migrations } => {
            let mut ids = sources.iter().map(|source| &source.id).chain(remove);
            ids.try_for_each(|id| fits("playbook id", id, NAME_BYTES_MAX))?;
            let bytes: usize = migrations.iter().map(Migration::bytes).sum();
            if bytes > MIGRATIONS_BYTES_MAX {
                return Err(undecodable(format!("migrations take more than {MIGRATIONS_BYTES_MAX} bytes")));
            }
            let mut tags = migrations.iter().flat_map(|one| std::iter::once(&one.from).chain(&one.to));
            tags.try_for_each(|TagRef { group, tag }| {
                fits("group", group, NAME_BYTES_MAX)?;
                fits("tag", tag, NAME_BYTES_MAX)
            })
        }
    }
}

fn check_fields(fields: &Fields) -> Result<(), Undecodable> {
    fields.iter().try_for_each(|(name, value)| {
        // Names of open fields are the sender's: they are not repeated in errors.
        bytes_fit("the name of a field", name.len(), NAME_BYTES_MAX)?;
        check_value(value)
    })
}

fn check_value(value: &Value) -> Result<(), Undecodable> {
    match value {
        Value::Text(text) => fits("a public text field", text, TEXT_BYTES_MAX),
        Value::List(values) => values.iter().try_for_each(check_value),
        Value::Record(fields) => check_fields(fields),
        Value::Number(_) | Value::Bool(_) | Value::Time(_) => Ok(()),
    }
}

fn fits(field: &str, text: &str, bytes_max: usize) -> Result<(), Undecodable> {
    bytes_fit(field, text.len(), bytes_max)
}

fn bytes_fit(field: &str, bytes: usize, bytes_max: usize) -> Result<(), Undecodable> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(undecodable(format!("{field} is longer than {bytes_max} bytes")))
}
