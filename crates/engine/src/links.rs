//! Links between cells: ask and grant (design, section 5).
//!
//! The order is each cell's own immutable (rank of its kind, key), so there is no cycle: the lower
//! cell asks, the root of the higher one reserves the asker's exclusive values and grants, and the
//! lower becomes a forward, once. Every grant is answered exactly once: by the merge, or by giving it back.

use crate::cell::{Cell, Contact};
use crate::commands::{Refusal, refusal};
use crate::keys;
use crate::merging;
use crate::orders;
use crate::overlay::ViewError;
use crate::parting;
use crate::work::Work;
use serde::{Deserialize, Serialize};
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey, IdKind, Position};
use touchline_model::kind::Kind;
use touchline_model::output::DeadReason;
use touchline_model::record::{Evidence, LoopBody};
use touchline_model::snapshot::{Promised, Snapshot};

/// A link on its way between two cells.
pub(crate) struct Link {
    pub(crate) target: CellKey,
    pub(crate) from: CellKey,
    /// Exclusive identifiers of `from`.
    pub(crate) exclusive: Vec<IdKey>,
    /// Identifiers that would come, or that there is room for.
    pub(crate) identities: u32,
    pub(crate) evidence: Evidence,
    pub(crate) origin: Position,
}

/// Identifiers joined to one contact beside its own: more than any person has, fewer than would crowd its record.
const IDENTITIES_MAX: u32 = 256;

/// Cells a forward remembers that have named it: more than share anything but a mistake.
const ASKERS_MAX: usize = 64;

/// What a cell has told another, and how often it was to tell it while the two were not one.
#[derive(Serialize, Deserialize)]
struct Told {
    evidence: Evidence,
    named: u32,
}

/// An event names a further identifier: its cell is told at first sight, on better evidence, and whenever that is all
/// the event says. What was refused may hold later: it is told again at once when the other was parted ([`again`]), and
/// otherwise, since nobody says when, less and less often.
pub(crate) fn on_event(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    contact: &Contact,
    event: &Event,
    origin: Position,
) -> Result<(), ViewError> {
    let said = (event.kind == Kind::IdentityLinked).then(|| {
        event.fields.text("evidence").and_then(Evidence::parse).unwrap_or(Evidence::Weak).min(Evidence::Strong)
    });
    for id in &event.subject {
        let target = CellKey::of(&event.tenant, id);
        if id.kind == IdKind::Order && target != event.key() {
            orders::tell(work, cell, event, (target, origin))?;
            continue;
        }
        if target == *cell || !id.kind.is_contact() || contact.identities.iter().any(|known| known.id == *id) {
            continue;
        }
        let evidence = said.unwrap_or_else(|| evidence_of(id.kind).min(evidence_of(cell.kind())));
        let key = keys::told(cell, &target);
        let told: Option<Told> = work.get(&key)?;
        let named = told.as_ref().map_or(0, |told| told.named).saturating_add(1);
        let is_new = told.as_ref().is_none_or(|told| told.evidence < evidence);
        // Weak evidence joins nobody, however often.
        if !is_new && evidence == Evidence::Weak {
            continue;
        }
        let best = told.map_or(evidence, |told| told.evidence.max(evidence));
        work.put(key, &Told { evidence: best, named });
        if !is_new && said.is_none() && !is_due(named) {
            continue;
        }
        if evidence == Evidence::Weak {
            work.dead_link(DeadReason::LinkWeak, format!("{} evidence does not merge", evidence.name()), cell, &target);
            continue;
        }
        let (from, exclusive) = (cell.clone(), contact.exclusive(cell));
        work.tell(LoopBody::Link { target, from, exclusive, evidence, origin });
    }
    Ok(())
}

/// Somebody says that `identifier` is this contact.
pub(crate) fn by_hand(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    identifier: &IdKey,
) -> Result<Result<(), Refusal>, ViewError> {
    let found = work.cell(cell)?;
    let refused = match &found {
        Some(Cell::Contact(contact)) => {
            let known = contact.identities.iter().any(|known| known.id == *identifier) || cell.id() == *identifier;
            known.then(|| refusal("already_linked", "the contact has this identifier", ""))
        }
        _ => Some(refusal("no_contact", "nothing is known of this contact", "")),
    };
    if let (None, Some(Cell::Contact(contact))) = (&refused, &found) {
        let (target, evidence) = (CellKey::of(&cell.tenant(), identifier), Evidence::Manual);
        remember_told(work, cell, &target, evidence);
        let (exclusive, origin) = (contact.exclusive(cell), work.position);
        work.tell(LoopBody::Link { target, from: cell.clone(), exclusive, evidence, origin });
    }
    work.keep(cell, found);
    Ok(refused.map_or(Ok(()), Err))
}

/// The cell need not tell `target` any more what it is told of it by others.
pub(crate) fn remember_told(work: &mut Work<'_, '_>, cell: &CellKey, target: &CellKey, evidence: Evidence) {
    work.put(keys::told(cell, target), &Told { evidence, named: 1 });
}

/// Whether the cell has told `target` of itself, or what it is told of it by others.
pub(crate) fn is_told(work: &Work<'_, '_>, cell: &CellKey, target: &CellKey) -> Result<bool, ViewError> {
    let told: Option<Told> = work.get(&keys::told(cell, target))?;
    Ok(told.is_some())
}

/// Whether what was told in vain is told again when it comes up for the `named`-th time: the first, second, fourth,
/// eighth time, so that a family's shared phone in every event is a handful of refusals and not one for each.
pub(crate) const fn is_due(named: u32) -> bool {
    named.is_power_of_two()
}

/// How well two identifiers in one payload of a channel are known to be one person.
fn evidence_of(kind: IdKind) -> Evidence {
    match kind {
        IdKind::PhoneRef | IdKind::MemberCard | IdKind::ClickVisitor => Evidence::Medium,
        _ => Evidence::Strong,
    }
}

/// `from` says that `target` is the same person; of an order, that its buyer is.
pub(crate) fn link(work: &mut Work<'_, '_>, link: Link) -> Result<(), ViewError> {
    if link.target.kind() == IdKind::Order {
        return orders::claimed(work, link);
    }
    let Some(contact) = resident(work, &link, pass_link)? else {
        return remember_asker(work, &link.target, &link.from);
    };
    let is_one = is_one(&contact, &link);
    if link.evidence == Evidence::Weak && !is_one {
        // Of an order: what an event says of its own identifiers was weighed where it happened.
        let detail = "one order names both as its buyer, which does not merge".to_owned();
        work.dead_link(DeadReason::LinkWeak, detail, &link.target, &link.from);
        return Ok(());
    }
    if is_one || refused(work, &contact, &link) {
        return Ok(());
    }
    let Link { target, from, evidence, origin, .. } = link;
    let exclusive = contact.exclusive(&target);
    if !is_lower(&target, &from) {
        work.tell(LoopBody::Link { target: from, from: target, exclusive, evidence, origin });
    } else {
        let identities = contact.size(None);
        work.tell(LoopBody::Ask { target: from, from: target, exclusive, identities, evidence, origin });
    }
    Ok(())
}

/// A forward that becomes a contact again tells who named it.
fn remember_asker(work: &mut Work<'_, '_>, cell: &CellKey, from: &CellKey) -> Result<(), ViewError> {
    let (first, end) = keys::askers(cell);
    if work.scan_keys(&first, &end, ASKERS_MAX)?.len() < ASKERS_MAX {
        work.put(keys::asker(cell, from), from);
    }
    Ok(())
}

/// The cell is no forward any more, or one to a cell that is none: who named it may ask again.
pub(crate) fn parted(work: &mut Work<'_, '_>, cell: &CellKey) -> Result<(), ViewError> {
    let (first, end) = keys::askers(cell);
    for key in work.scan_keys(&first, &end, ASKERS_MAX)? {
        let asker: Option<CellKey> = work.get(&key)?;
        work.delete(key);
        if let Some(target) = asker {
            work.tell(LoopBody::Again { target, from: cell.clone() });
        }
    }
    Ok(())
}

/// `from` has been parted from whom it was part of; so has a cell that hears it of itself.
pub(crate) fn again(work: &mut Work<'_, '_>, cell: &CellKey, from: &CellKey) -> Result<(), ViewError> {
    if cell == from {
        return parted(work, cell);
    }
    let key = keys::told(cell, from);
    let told: Option<Told> = if from.kind().is_contact() { work.get(&key)? } else { None };
    if told.is_some() {
        work.delete(key);
    }
    Ok(())
}

/// The lower cell `from` asks `target` to take it in.
pub(crate) fn ask(work: &mut Work<'_, '_>, ask: Link) -> Result<(), ViewError> {
    let pass = |to, ask: &Link| LoopBody::Ask {
        target: to,
        from: ask.from.clone(),
        exclusive: ask.exclusive.clone(),
        identities: ask.identities,
        evidence: ask.evidence,
        origin: ask.origin,
    };
    let Some(mut contact) = resident(work, &ask, pass)? else { return Ok(()) };
    if is_one(&contact, &ask) {
        return Ok(());
    }
    // What was granted to it before stands until it answers: it may shrink again to what that was.
    if refused(work, &contact, &ask) {
        return Ok(());
    }
    let Link { target, from, exclusive: asked, identities, evidence, origin } = ask;
    if !is_lower(&from, &target) {
        let exclusive = contact.exclusive(&target);
        work.tell(LoopBody::Link { target: from, from: target, exclusive, evidence, origin });
        return Ok(());
    }
    // Together with what is on its way here already: they may all come before the first of them is here.
    let identities = identities.max(contact.reserved.get(&from).map_or(1, |promise| promise.identities));
    if contact.size(Some(&from)).saturating_add(identities) > IDENTITIES_MAX + 1 {
        work.dead_link(DeadReason::LinkRefused, format!("more than {IDENTITIES_MAX} identifiers"), &target, &from);
        return Ok(());
    }
    // What is promised to another one counts for that one alone: it is free again when that one goes elsewhere.
    let held = contact.granted(&target, &from);
    let exclusive = asked.into_iter().filter(|id| !held.contains(id)).collect();
    contact.promise(Promised { cell: from.clone(), exclusive, identities });
    let exclusive = contact.granted(&target, &from);
    work.put_contact(&target, contact);
    work.tell(LoopBody::Grant { target: from, from: target, exclusive, identities, evidence, origin });
    Ok(())
}

/// The root `from` has reserved what `target` asked for.
pub(crate) fn grant(work: &mut Work<'_, '_>, grant: Link) -> Result<(), ViewError> {
    // A forward answers a grant by a link to its own target, where the root is looked for again, and gives back what
    // was promised to it.
    let pass = |to, grant: &Link| LoopBody::Link {
        target: to,
        from: grant.from.clone(),
        exclusive: grant.exclusive.clone(),
        evidence: grant.evidence,
        origin: grant.origin,
    };
    let Some(contact) = resident(work, &grant, pass)? else {
        work.tell(LoopBody::Release { target: grant.from, from: grant.target });
        return Ok(());
    };
    let Link { target, from, exclusive: granted, identities: room, evidence, origin } = grant;
    if from == target {
        return Ok(());
    }
    let (exclusive, identities) = (contact.exclusive(&target), contact.size(None));
    let has_grown = identities > room || exclusive.iter().any(|id| !granted.contains(id));
    if has_grown || !is_lower(&target, &from) {
        // It asks again, and only then gives back what this one promised.
        let (asked, asker) = (from.clone(), target.clone());
        work.tell(LoopBody::Ask { target: asked, from: asker, exclusive, identities, evidence, origin });
        work.tell(LoopBody::Release { target: from, from: target });
    } else {
        let snapshot = Box::new(merging::export(work, &target, contact, origin)?);
        let version = work.position.offset;
        work.put_cell(&target, Cell::Forward { to: from.clone(), version });
        work.tell(LoopBody::MergeIn { target: from.clone(), from: target, into: from, snapshot, evidence, origin });
    }
    Ok(())
}

/// `from` has become a forward to here; never refused.
pub(crate) fn merge_in(
    work: &mut Work<'_, '_>,
    target: CellKey,
    (from, into): (CellKey, CellKey),
    snapshot: Box<Snapshot>,
    evidence: Evidence,
    origin: Position,
) -> Result<(), ViewError> {
    let found = work.cell(&target)?;
    let mut contact = match found {
        Some(Cell::Forward { ref to, .. }) => {
            work.tell(LoopBody::MergeIn { target: to.clone(), from, into, snapshot, evidence, origin });
            work.keep(&target, found);
            return Ok(());
        }
        Some(Cell::Contact(contact)) => contact,
        // Nobody merges into these: forged.
        Some(Cell::Waiting { .. } | Cell::Order { .. } | Cell::Group(_) | Cell::Token { .. } | Cell::Metric { .. }) => {
            work.keep(&target, found);
            work.dead(DeadReason::LoopbackForged, "a merge into no contact");
            return Ok(());
        }
        None => Box::default(),
    };
    // Whom it merged into is here still: nobody was parted while the grant was not answered (`parting::check`).
    merging::import(work, &target, &mut contact, (&from, &into), *snapshot, evidence, origin)?;
    work.put_contact(&target, contact);
    Ok(())
}

/// `from` answers a grant, and has merged elsewhere or asks again; or `from` was parted, and nothing of what it passed
/// on before is on its way any more.
pub(crate) fn release(work: &mut Work<'_, '_>, target: &CellKey, from: &CellKey) -> Result<(), ViewError> {
    let found = work.cell(target)?;
    match found {
        Some(Cell::Forward { ref to, .. }) => {
            work.tell(LoopBody::Release { target: to.clone(), from: from.clone() });
            work.keep(target, found);
        }
        Some(Cell::Contact(mut contact)) => {
            if contact.answered(from) {
                work.put_contact(target, contact);
            } else {
                work.keep(target, Some(Cell::Contact(contact)));
            }
        }
        other => work.keep(target, other),
    }
    Ok(())
}

/// The contact at the target, or `None` when the target is a forward and the message went on.
fn resident(
    work: &mut Work<'_, '_>,
    link: &Link,
    pass: impl Fn(CellKey, &Link) -> LoopBody,
) -> Result<Option<Box<Contact>>, ViewError> {
    let found = work.cell(&link.target)?;
    match found {
        Some(Cell::Contact(contact)) => Ok(Some(contact)),
        // Orders, groups, tokens and numbers neither ask nor grant.
        Some(Cell::Waiting { .. } | Cell::Order { .. } | Cell::Group(_) | Cell::Token { .. } | Cell::Metric { .. }) => {
            work.keep(&link.target, found);
            Ok(None)
        }
        None => Ok(Some(Box::default())),
        Some(Cell::Forward { ref to, .. }) => {
            // Already joined to the sender: nothing to do.
            if *to != link.from {
                work.tell(pass(to.clone(), link));
            }
            work.keep(&link.target, found);
            Ok(None)
        }
    }
}

/// Tells `to` what was said of a cell that stands for it.
pub(crate) fn pass_link_on(work: &mut Work<'_, '_>, to: CellKey, link: &Link) {
    if to != link.from {
        work.tell(pass_link(to, link));
    }
}

fn pass_link(to: CellKey, link: &Link) -> LoopBody {
    LoopBody::Link {
        target: to,
        from: link.from.clone(),
        exclusive: link.exclusive.clone(),
        evidence: link.evidence,
        origin: link.origin,
    }
}

/// Whether the two are one contact already, here.
fn is_one(contact: &Contact, link: &Link) -> bool {
    link.from == link.target || contact.identities.iter().any(|known| known.id == link.from.id())
}

/// Two values of an exclusive kind in one scope are two people.
fn refused(work: &mut Work<'_, '_>, contact: &Contact, link: &Link) -> bool {
    let held = contact.exclusive(&link.target);
    let clash = held.iter().find(|id| link.exclusive.iter().any(|other| are_two(id, other, link.evidence)));
    let Some(clash) = clash else { return false };
    let detail = match clash.kind {
        IdKind::Apart if link.evidence == Evidence::Manual => {
            format!("parted at {}, and what was said before is still arriving: link again in a moment", clash.scope)
        }
        IdKind::Apart => format!("parted at {}", clash.scope),
        kind => format!("two values of {kind} are two people"),
    };
    work.dead_link(DeadReason::LinkRefused, detail, &link.target, &link.from);
    true
}

fn are_two(one: &IdKey, other: &IdKey, evidence: Evidence) -> bool {
    let of_one_kind = one.kind == other.kind && one.scope == other.scope;
    of_one_kind
        && match one.kind {
            IdKind::Apart => parting::keeps_apart(one, other, evidence),
            _ => one.value != other.value,
        }
}

/// Whether `cell` gives way to `other`. Rank, then key: both are the cells' own and never change.
fn is_lower(cell: &CellKey, other: &CellKey) -> bool {
    (cell.kind(), cell) > (other.kind(), other)
}
