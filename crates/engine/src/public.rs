//! Public records, as the topic `contacts` keeps them: of contacts, and of what is counted.

use crate::cell::{self, Cell, Contact};
use crate::keys;
use crate::overlay::{View, ViewError};
use touchline_model::counted::{Counted, Slot};
use touchline_model::id::{CellKey, Position};
use touchline_model::output::{self, Cause, Identity, Stage, Tag};
use touchline_model::snapshot::Enrolment;
use touchline_playbook::bundle::Bundle;

/// What a cell has to say to everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Public {
    /// A contact lives there, or did.
    Contact(Box<output::Contact>),
    /// A number is kept there.
    Counted(Counted),
}

/// The public record of the cell at `key`, at partition `partition`; `None` where nothing of it is public.
/// Boards come from `bundle`, the one in force.
pub fn public_record(
    view: &dyn View,
    key: &CellKey,
    partition: u32,
    bundle: Option<&Bundle>,
) -> Result<Option<Public>, ViewError> {
    let Some(bytes) = view.get(&keys::cell(key))? else { return Ok(None) };
    public_of(view, key, partition, &cell::decode(&bytes)?, bundle)
}

/// The same of a cell that is known already.
pub(crate) fn public_of(
    view: &dyn View,
    key: &CellKey,
    partition: u32,
    cell: &Cell,
    bundle: Option<&Bundle>,
) -> Result<Option<Public>, ViewError> {
    if let Cell::Metric { slot, count, at, version } = cell {
        let version = Position { partition, offset: *version };
        let (key, slot, count, at) = (key.clone(), Slot::clone(slot), *count, *at);
        return Ok(Some(Public::Counted(Counted { key, version, slot, count, at })));
    }
    let contact = public_cell(view, key, partition, cell, bundle)?;
    Ok(contact.map(|contact| Public::Contact(Box::new(contact))))
}

/// The public record of the contact at `key`, at partition `partition`; `None` where no contact lives.
/// A forward gives a record with only `merged_into`. Boards come from `bundle`, the one in force.
pub fn public_contact(
    view: &dyn View,
    key: &CellKey,
    partition: u32,
    bundle: Option<&Bundle>,
) -> Result<Option<output::Contact>, ViewError> {
    let Some(bytes) = view.get(&keys::cell(key))? else { return Ok(None) };
    public_cell(view, key, partition, &cell::decode(&bytes)?, bundle)
}

/// The same of a cell that is known already.
pub(crate) fn public_cell(
    view: &dyn View,
    key: &CellKey,
    partition: u32,
    cell: &Cell,
    bundle: Option<&Bundle>,
) -> Result<Option<output::Contact>, ViewError> {
    match cell {
        Cell::Contact(contact) => known(view, key, partition, contact, bundle).map(Some),
        Cell::Forward { to, version } => {
            let contact = Contact { version: *version, ..Contact::default() };
            let mut record = known(view, key, partition, &contact, None)?;
            record.merged_into = Some(to.clone());
            Ok(Some(record))
        }
        Cell::Order { .. } | Cell::Waiting { .. } | Cell::Group(_) | Cell::Token { .. } | Cell::Metric { .. } => {
            Ok(None)
        }
    }
}

fn known(
    view: &dyn View,
    key: &CellKey,
    partition: u32,
    contact: &Contact,
    bundle: Option<&Bundle>,
) -> Result<output::Contact, ViewError> {
    let mut tags = Vec::new();
    for (group, set) in &contact.tags {
        for (tag, set_at) in set {
            let why = view.get(&keys::why(key, group, tag))?;
            let cause: Cause = match why {
                Some(bytes) => cell::decode(&bytes)?,
                None => return Err(ViewError(format!("tag {group}/{tag} has no cause"))),
            };
            tags.push(Tag { group: group.clone(), tag: tag.clone(), set_at: *set_at, cause });
        }
    }
    let boards = bundle.into_iter().flat_map(|bundle| bundle.boards.values());
    let stages = boards.filter_map(|board| {
        let (column, entered_at) =
            contact.tags.get(&board.group)?.iter().find(|(tag, _)| board.columns.contains(tag))?;
        Some(Stage { board: board.id.clone(), column: column.clone(), entered_at: *entered_at })
    });
    let own = Identity::own(key.id());
    let (first_seen, last_seen) = contact.seen.unwrap_or_default();
    Ok(output::Contact {
        key: key.clone(),
        version: Position { partition, offset: contact.version },
        merged_into: None,
        first_seen,
        last_seen,
        identities: std::iter::once(own).chain(contact.identities.iter().cloned()).collect(),
        stages: stages.collect(),
        tags,
        owner: contact.owner().map(str::to_owned),
        relations: contact.relations.values().cloned().collect(),
        past: contact.past.clone(),
        enrolments: contact.enrolments.iter().map(|(name, enrolment)| public_enrolment(name, enrolment)).collect(),
    })
}

fn public_enrolment(name: &str, enrolment: &Enrolment) -> output::Enrolment {
    let (playbook, journey) = name.split_once('/').unwrap_or((name, ""));
    output::Enrolment {
        playbook: playbook.to_owned(),
        journey: journey.to_owned(),
        number: enrolment.number,
        entered_at: enrolment.entered_at,
        next: enrolment.next.as_ref().map(|next| (next.step.clone(), next.planned)),
        ended: enrolment.ended.clone(),
        goal_reached: enrolment.goal_reached,
    }
}
