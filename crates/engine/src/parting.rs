//! Parting: an identifier turns out to be somebody else. History stays as it is; from here on its events are its own.
//!
//! ```text
//!   root ── part: what goes is taken out, said, and remembered as apart ──▶ Part ──▶ receive at the forward, a contact again
//!    ▲                                                                                    │
//!    └──── Release, by way of the forwards, behind what they still had to pass on ◀───────┘
//! ```
//! Identifiers that became forwards to it go along. So do the tags that events of any of them set last. What cannot be
//! told apart stays: see [`split`]. Both sides keep an identifier of kind `apart`, of one scope and different values,
//! so that no event joins them again; a person may. But not before that Release is back: `Part` takes a shorter way
//! than what was said under the identifier before, and that would come behind what is said afterwards.

use crate::cell::{Cell, Contact, Promise};
use crate::commands::{Refusal, refusal};
use crate::keys;
use crate::links;
use crate::merging;
use crate::overlay::ViewError;
use crate::reaction;
use crate::rules::{self, Case};
use crate::segments;
use crate::work::Work;
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::command::TagRef;
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey, IdKind, Position};
use touchline_model::output::{Cause, DeadReason, Tag};
use touchline_model::past::Past;
use touchline_model::record::{Evidence, LoopBody};
use touchline_model::snapshot::Snapshot;

/// Kind of a cause that is a parting.
const CAUSE: &str = "contact.parted";

/// Values of identifiers of kind `apart`: who stayed, who went, and who stayed as long as something may still be on its
/// way there from who went.
const KEPT: &str = "kept";
const PARTED: &str = "parted";
const LEAVING: &str = "leaving";

/// Whether two identifiers of one parting keep apart who holds them: from everything but the word of a person, and from
/// that too until nothing of before is on its way.
pub(crate) fn keeps_apart(one: &IdKey, other: &IdKey, evidence: Evidence) -> bool {
    let are_sides = (one.value == PARTED) != (other.value == PARTED);
    are_sides && (evidence != Evidence::Manual || one.value == LEAVING || other.value == LEAVING)
}

/// Somebody says that `identifier` is not this contact.
pub(crate) fn by_hand(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    identifier: &IdKey,
    (actor, reason): (&str, &str),
) -> Result<Result<(), Refusal>, ViewError> {
    let mut contact = match work.cell(cell)? {
        Some(Cell::Contact(contact)) => contact,
        other => {
            work.keep(cell, other);
            return Ok(Err(refusal("no_contact", "nothing is known of this contact", "")));
        }
    };
    let refused = check(cell, &contact, identifier).err();
    if let Some(refused) = refused {
        work.keep(cell, Some(Cell::Contact(contact)));
        return Ok(Err(refused));
    }
    let origin = work.position;
    let said = |cause| Cause { actor: actor.to_owned(), reason: reason.to_owned(), ..cause };
    part(work, cell, &mut contact, identifier, (origin, said))?;
    work.put_contact(cell, contact);
    Ok(Ok(()))
}

fn check(cell: &CellKey, contact: &Contact, identifier: &IdKey) -> Result<(), Refusal> {
    if cell.id() == *identifier {
        let detail = "the contact lives under this identifier: part the others from it instead";
        return Err(refusal("own_identifier", detail, ""));
    }
    if !contact.identities.iter().any(|known| known.id == *identifier) {
        return Err(refusal("not_linked", "the contact does not have this identifier", ""));
    }
    if !contact.reserved.is_empty() {
        // What was promised could belong to either side, and what is on its way takes the way that it was sent.
        let detail = "another contact is on its way into this one or out of it: ask again in a moment";
        return Err(refusal("merging", detail, ""));
    }
    Ok(())
}

/// A channel says that the identifiers of its event are no longer one person: of those that are joined here, the one
/// goes that takes none of the others with it; the later named, if there are two.
pub(crate) fn on_event(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    contact: &mut Contact,
    event: &Event,
    origin: Position,
) -> Result<(), ViewError> {
    let is_joined = |id: &&IdKey| contact.identities.iter().any(|known| known.id == **id) && cell.id() != **id;
    let named: Vec<&IdKey> = event.subject.iter().filter(is_joined).collect();
    let takes_none = |id: &&&IdKey| {
        let gone = subtree(cell, contact, id);
        event.subject.iter().all(|other| other == **id || !gone.contains(other))
    };
    let Some(identifier) = named.iter().rev().find(takes_none).map(|id| (**id).clone()) else { return Ok(()) };
    if let Err(refusal) = check(cell, contact, &identifier) {
        let other = CellKey::of(&cell.tenant(), &identifier);
        work.dead_link(DeadReason::LinkRefused, format!("not parted: {}", refusal.detail), cell, &other);
        return Ok(());
    }
    part(work, cell, contact, &identifier, (origin, |cause| Cause { event_id: Some(event.id), ..cause }))
}

/// Takes `identifier` and what goes with it out of the contact, and tells its cell. `said` adds who said so.
fn part(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    contact: &mut Contact,
    identifier: &IdKey,
    (origin, said): (Position, impl FnOnce(Cause) -> Cause),
) -> Result<(), ViewError> {
    let in_force = merging::in_force(work, cell);
    let gone = subtree(cell, contact, identifier);
    let snapshot = Box::new(split(work, cell, contact, identifier, &gone)?);
    let lost: Vec<TagRef> = snapshot.tags.iter().map(|tag| TagRef::new(&tag.group, &tag.tag)).collect();
    let case = merging::case(work, cell, &in_force, (CAUSE, origin));
    let case = Case { cause: said(case.cause.clone()), ..case };
    // Rules do not react: nothing has happened to the contact.
    rules::take_away(work, &case, contact, &lost)?;
    segments::refresh(work, &case, contact);
    let target = CellKey::of(&cell.tenant(), identifier);
    work.tell(LoopBody::Part { target, from: cell.clone(), snapshot, origin });
    Ok(())
}

/// What goes with `gone`. Names every field of a contact: whoever adds one says here which side it is on.
fn split(
    work: &Work<'_, '_>,
    cell: &CellKey,
    contact: &mut Contact,
    identifier: &IdKey,
    gone: &BTreeSet<IdKey>,
) -> Result<Snapshot, ViewError> {
    let Contact {
        // Whose events they were cannot be told any more: both have it.
        seen,
        // Of this cell's log.
        version: _,
        identities,
        apart,
        // Nothing is promised now: see `check`.
        reserved,
        tags,
        relations,
        // See `split_past`.
        past,
        // Somebody chose who keeps the contact that is kept.
        assigned: _,
        // Stays with the tags that stay.
        concluded: _,
        settled: _,
        // Nobody gets a touch twice, and what is planned stays with the contact that somebody chose to keep.
        enrolments: _,
        touches: _,
        renamed: _,
        timers: _,
    } = contact;
    let mut moved = Vec::new();
    for (group, set) in &*tags {
        for (tag, set_at) in set {
            let why: Option<Cause> = work.get(&keys::why(cell, group, tag))?;
            let cause = why.ok_or_else(|| ViewError(format!("tag {group}/{tag} has no cause")))?;
            if cause.native.as_ref().is_some_and(|native| gone.contains(native)) {
                moved.push(Tag { group: group.clone(), tag: tag.clone(), set_at: *set_at, cause });
            }
        }
    }
    let (going, staying): (Vec<_>, Vec<_>) =
        std::mem::take(identities).into_iter().partition(|known| gone.contains(&known.id));
    *identities = staying;
    // Staff added somebody in WeCom: with the identifier of WeCom goes who did, unless another one stays.
    let is_wecom = |id: &IdKey| id.kind == IdKind::WecomExternalUserid;
    let others = identities.iter().map(|known| &known.id).any(is_wecom) || is_wecom(&cell.id());
    let is_of_wecom = !others && gone.iter().any(is_wecom);
    let relations = if is_of_wecom { std::mem::take(relations) } else { Default::default() };
    let past = split_past(past, is_of_wecom);
    let scope = work.position.to_string();
    let side = |value| IdKey::new(IdKind::Apart, scope.clone(), value);
    let mut theirs = apart.clone();
    apart.push(side(KEPT));
    theirs.push(side(PARTED));
    let leaving = Promise { exclusive: vec![side(LEAVING)], identities: 0, unanswered: 1 };
    reserved.insert(CellKey::of(&cell.tenant(), identifier), leaving);
    Ok(Snapshot {
        seen: *seen,
        bundle: 0,
        identities: going.into_iter().filter(|known| known.id != *identifier).collect(),
        apart: theirs,
        tags: moved,
        relations: relations.into_values().collect(),
        past,
        // They stay.
        assigned: None,
        enrolments: Vec::new(),
        touches: Vec::new(),
        renamed: Vec::new(),
        waits: Vec::new(),
        concluded: Vec::new(),
        // Nothing is promised.
        reserved: Vec::new(),
    })
}

/// What goes of a past; `is_of_wecom`: the identifier of WeCom goes. Names every field: whoever adds one says here which
/// side it is on.
fn split_past(past: &mut Past, is_of_wecom: bool) -> Past {
    let Past {
        // As what was seen, but rules would take it for events of both: it stays.
        happened: _,
        tallies: _,
        attributes: _,
        groups: _,
        // Judged anew on both sides.
        segments: _,
        silences: _,
        // Nobody gets a touch or a content twice: whoever goes begins with nothing, and nothing is planned for them.
        sent: _,
        received: _,
        // A no stays a no, whoever of the two it was.
        consents,
        // What staff see on their phones goes with them.
        observed,
        // Of whose tags they were nothing is known: they stay with the tags that stay.
        gone: _,
    } = past;
    Past {
        happened: BTreeMap::new(),
        tallies: BTreeMap::new(),
        attributes: BTreeMap::new(),
        groups: BTreeMap::new(),
        segments: BTreeSet::new(),
        silences: BTreeMap::new(),
        sent: Vec::new(),
        received: BTreeMap::new(),
        consents: consents
            .iter()
            .filter(|(_, said)| !said.granted)
            .map(|(scope, said)| (scope.clone(), *said))
            .collect(),
        observed: if is_of_wecom { std::mem::take(observed) } else { BTreeMap::new() },
        gone: BTreeMap::new(),
    }
}

/// The forward at `target` is a contact again.
pub(crate) fn receive(
    work: &mut Work<'_, '_>,
    target: &CellKey,
    snapshot: Snapshot,
    origin: Position,
) -> Result<(), ViewError> {
    let to = match work.cell(target)? {
        Some(Cell::Forward { to, .. }) => to,
        other => {
            work.keep(target, other);
            work.dead(DeadReason::LoopbackForged, "a cell that is no forward was parted");
            return Ok(());
        }
    };
    work.tell(LoopBody::Release { target: to, from: target.clone() });
    let mut contact = Box::new(Contact::default());
    let Snapshot {
        seen,
        identities,
        apart,
        // The others are empty: see `split`.
        bundle: _,
        reserved: _,
        tags,
        relations,
        past,
        assigned: _,
        enrolments: _,
        touches: _,
        renamed: _,
        waits: _,
        concluded: _,
    } = snapshot;
    contact.seen = seen;
    let going: Vec<CellKey> = identities.iter().map(|known| CellKey::of(&target.tenant(), &known.id)).collect();
    contact.identities = identities;
    contact.apart = apart;
    let Past {
        consents,
        observed,
        // The others are empty: see `split_past`.
        happened: _,
        tallies: _,
        attributes: _,
        groups: _,
        segments: _,
        silences: _,
        sent: _,
        received: _,
        gone: _,
    } = past;
    contact.past.consents = consents;
    contact.past.observed = observed;
    contact.relations = relations.into_iter().map(|relation| (relation.staff.clone(), relation)).collect();
    let in_force = merging::in_force(work, target);
    let case = merging::case(work, target, &in_force, (CAUSE, origin));
    rules::merge(work, &case, &mut contact, tags)?;
    // It may come from where the bundle was not in force yet, or have been passed by as a forward.
    reaction::settle(work, target, &mut contact, &in_force)?;
    work.put_contact(target, contact);
    // Of whom it was part stood in the way of others, perhaps.
    links::parted(work, target)?;
    for cell in going {
        work.tell(LoopBody::Again { from: cell.clone(), target: cell });
    }
    Ok(())
}

/// `identifier` and all that are forwards to it, near or far.
fn subtree(cell: &CellKey, contact: &Contact, identifier: &IdKey) -> BTreeSet<IdKey> {
    let tenant = cell.tenant();
    let mut gone = BTreeSet::from([identifier.clone()]);
    let mut cells = BTreeSet::from([CellKey::of(&tenant, identifier)]);
    loop {
        let joined = |known: &&touchline_model::output::Identity| {
            !gone.contains(&known.id) && known.joined.as_ref().is_some_and(|joined| cells.contains(&joined.into))
        };
        let Some(next) = contact.identities.iter().find(joined).map(|known| known.id.clone()) else { return gone };
        cells.insert(CellKey::of(&tenant, &next));
        gone.insert(next);
    }
}
