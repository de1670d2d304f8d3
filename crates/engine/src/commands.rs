//! Commands: card moves, tags by hand, activation. Each is answered once and repeats its answer.

use crate::cell::{Cell, Contact};
use crate::overlay::ViewError;
use crate::rules::Case;
use crate::work::Work;
use crate::{DEDUPE_HORIZON, activation, keys, links, parting, reaction, tokens};
use touchline_model::command::{Command, CommandBody, TagRef};
use touchline_model::id::CellKey;
use touchline_model::output::{Cause, CommandResult, DeadReason, Outcome, Output};
use touchline_model::record::LoopBody;
use touchline_model::time::Time;
use touchline_playbook::bundle::{Bundle, Facts};
use touchline_playbook::directory;

/// A refusal: the state stays as it was.
pub(crate) struct Refusal {
    code: &'static str,
    pub(crate) detail: String,
    current: String,
}

/// Applies a command at the cell that holds its contact (or at partition 0).
pub(crate) fn apply(work: &mut Work<'_, '_>, cell: Option<&CellKey>, command: &Command) -> Result<(), ViewError> {
    let key = keys::result(&command.tenant, &command.request_id);
    let earlier: Option<(Time, CommandResult)> = work.get(&key)?;
    if let Some((_, result)) = earlier.filter(|(at, _)| work.clock <= at.plus(DEDUPE_HORIZON)) {
        work.effects.notes.duplicate = true;
        work.say(Output::CommandResult(result));
        return Ok(());
    }
    let done = match (&command.body, cell) {
        (CommandBody::Activate { sources, remove, expected_active, migrations }, None) => {
            activation::order(work, &command.tenant, (sources, remove, migrations), *expected_active)?
        }
        (CommandBody::SetDirectory { yaml }, None) => set_directory(work, command, yaml),
        (CommandBody::Link { identifier, .. }, Some(cell)) => links::by_hand(work, cell, identifier)?,
        (CommandBody::Unlink { identifier, reason, .. }, Some(cell)) => {
            parting::by_hand(work, cell, identifier, (&command.actor, reason))?
        }
        (CommandBody::MintToken { bearer, expires_at, .. }, Some(cell)) => {
            tokens::mint(work, cell, bearer, *expires_at)?
        }
        (_, Some(cell)) => on_contact(work, cell, command)?,
        (_, None) => Err(refusal("no_contact", "the command names no contact", "")),
    };
    let outcome = match done {
        Ok(()) => Outcome::Accepted,
        Err(Refusal { code, detail, current }) => Outcome::Refused { code: code.to_owned(), detail, current },
    };
    let result = CommandResult {
        request_id: command.request_id.clone(),
        tenant: command.tenant.clone(),
        outcome,
        contact: cell.cloned(),
        position: work.position,
        bundle: work.meta.bundle,
    };
    work.put(key, &(work.clock, &result));
    work.say(Output::CommandResult(result));
    Ok(())
}

fn on_contact(work: &mut Work<'_, '_>, cell: &CellKey, command: &Command) -> Result<Result<(), Refusal>, ViewError> {
    let Some(Cell::Contact(mut contact)) = work.cell(cell)? else {
        return Ok(Err(refusal("no_contact", "nothing is known of this contact", "")));
    };
    let Some(in_force) = work.in_force(&command.tenant) else {
        return Ok(Err(refusal("no_bundle", "no playbook is active for this tenant", "")));
    };
    let bundle = &in_force.bundle;
    let changes = match tag_changes(bundle, &contact, &command.body) {
        Ok(changes) => changes,
        Err(refusal) => {
            work.keep(cell, Some(Cell::Contact(contact)));
            return Ok(Err(refusal));
        }
    };
    let (actor, reason) = (command.actor.clone(), command.body.reason().to_owned());
    let cause = Cause { actor, reason, ..work.cause(command.body.name(), work.position, bundle.number) };
    let case = Case::new(cell, &in_force, work.append_time.min(work.clock), cause);
    let (set, unset) = changes;
    reaction::by_hand(work, &case, &mut contact, &set, &unset)?;
    work.put_contact(cell, contact);
    Ok(Ok(()))
}

/// Tags to set and to unset for a card move or an edit, checked against the bundle.
fn tag_changes(bundle: &Bundle, contact: &Contact, body: &CommandBody) -> Result<(Vec<TagRef>, Vec<TagRef>), Refusal> {
    match body {
        CommandBody::MoveCard { board, expected_stage, to, .. } => {
            let Some(board) = bundle.boards.get(board) else {
                return Err(refusal("unknown_board", format!("no board {board} in the active playbooks"), ""));
            };
            let current = contact.tag_of(&board.group).filter(|tag| board.columns.iter().any(|column| column == tag));
            if current != expected_stage.as_deref() {
                let detail = "the card is not where it was seen";
                return Err(refusal("stale_stage", detail, current.unwrap_or_default()));
            }
            if let Some(to) = to.as_ref().filter(|to| !board.columns.contains(to)) {
                let detail = format!("board {} has no column {to}", board.id);
                return Err(refusal("unknown_stage", detail, current.unwrap_or_default()));
            }
            if let (Some(from), Some(to)) = (current, to)
                && is_refused_backward(bundle, &board.group, from, to)
            {
                let detail = format!("cards of board {} do not move backward", board.id);
                return Err(refusal("backward_move", detail, from));
            }
            let tag = |column: &str| TagRef::new(&board.group, column);
            match (to, current) {
                (Some(to), _) => Ok((vec![tag(to)], Vec::new())),
                (None, Some(current)) => Ok((Vec::new(), vec![tag(current)])),
                (None, None) => Ok((Vec::new(), Vec::new())),
            }
        }
        CommandBody::EditTags { add, remove, .. } => {
            let known = |tag: &TagRef| bundle.has_tag(tag);
            if let Some(tag) = add.iter().find(|tag| !known(tag)) {
                return Err(refusal("unknown_tag", format!("no tag {tag} in the active playbooks"), ""));
            }
            let back = add.iter().find(|tag| {
                let current = contact.tag_of(&tag.group);
                current.is_some_and(|current| is_refused_backward(bundle, &tag.group, current, &tag.tag))
            });
            if let Some(tag) = back {
                let current = contact.tag_of(&tag.group).unwrap_or_default();
                return Err(refusal("backward_move", format!("{tag} lies behind {current} on its ladder"), current));
            }
            // A tag that left the playbook can still be taken off whoever carries it.
            let carried = |tag: &&TagRef| known(tag) || contact.has_tag(&tag.group, &tag.tag);
            if let Some(tag) = remove.iter().find(|tag| !carried(tag)) {
                return Err(refusal("unknown_tag", format!("no tag {tag} in the active playbooks"), ""));
            }
            Ok((add.clone(), remove.clone()))
        }
        CommandBody::Activate { .. }
        | CommandBody::Link { .. }
        | CommandBody::Unlink { .. }
        | CommandBody::SetDirectory { .. }
        | CommandBody::MintToken { .. } => Err(refusal("misplaced", "this command changes no tags", "")),
    }
}

/// Whether a board says that nobody moves its cards this way.
pub(crate) fn is_refused_backward(bundle: &Bundle, group: &str, from: &str, to: &str) -> bool {
    let moves_back = bundle.groups.get(group).is_some_and(|group| group.is_backward(from, to));
    moves_back && bundle.boards_of_group(group).any(|board| !board.backward)
}

/// Partition 0 orders changes of the directory, and tells everybody.
fn set_directory(work: &mut Work<'_, '_>, command: &Command, yaml: &str) -> Result<(), Refusal> {
    if let Err(diagnostics) = directory::parse(yaml) {
        let detail = diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        return Err(refusal("invalid_directory", detail, ""));
    }
    work.tell_all(&LoopBody::Directory { tenant: command.tenant.clone(), yaml: yaml.to_owned() });
    Ok(())
}

/// Entries of the directory come into force in this partition.
pub(crate) fn directory_set(work: &mut Work<'_, '_>, tenant: &str, yaml: &str) {
    let Ok(entries) = directory::parse(yaml) else {
        // Partition 0 read it before it was told; a binary that cannot is too old for this log.
        work.dead(DeadReason::NotYet, "a directory cannot be read in this version");
        return;
    };
    for entry in &entries {
        work.put(keys::entry(tenant, entry), &(tenant, entry));
    }
    if !entries.is_empty() {
        let offset = work.position.offset;
        work.put(keys::listed(tenant), &offset);
    }
    work.listed = entries;
}

pub(crate) fn refusal(code: &'static str, detail: impl Into<String>, current: impl Into<String>) -> Refusal {
    Refusal { code, detail: detail.into(), current: current.into() }
}
