//! Merging: what a contact held moves to the contact that goes on, and how each part of it is united.
//!
//! ```text
//!   lower cell ── export: all of it leaves, what was planned is cancelled ──▶ MergeIn ──▶ import at the root
//! ```
//! Both functions take a contact apart by naming every field: whoever adds one has to say here how it merges. Uniting
//! does not depend on the order of merges, but for journeys that can be entered again (see `journeys::merge`).

use crate::cell::{Contact, Promise};
use crate::keys;
use crate::overlay::ViewError;
use crate::rules::{self, Case};
use crate::work::{InForce, Work};
use crate::{activation, journeys, links, reaction, waits};
use std::collections::BTreeMap;
use std::sync::Arc;
use touchline_model::id::{CellKey, Position};
use touchline_model::output::{Cause, Identity, Joined, Relation, Tag};
use touchline_model::record::Evidence;
use touchline_model::snapshot::{Conclusion, Promised, Snapshot};
use touchline_playbook::compile::compile_shared;

/// Kind of a cause that is a merge.
const MERGED: &str = "contact.merged";

/// Everything the contact at `cell` holds; says that what it had planned will not go out from here.
pub(crate) fn export(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    mut contact: Box<Contact>,
    origin: Position,
) -> Result<Snapshot, ViewError> {
    let held = contact.clone();
    let waits = waits::pending(&contact);
    let in_force = in_force(work, cell);
    journeys::leave(work, &case(work, cell, &in_force, (MERGED, origin)), &mut contact);
    let Contact {
        seen,
        // Of this cell's log.
        version: _,
        identities,
        apart,
        reserved,
        tags,
        relations,
        past,
        assigned,
        concluded,
        settled,
        enrolments,
        touches,
        renamed,
        // Of enrolments and touches: they follow from those. Waits do not: `waits`.
        timers: _,
    } = *held;
    let mut carried = Vec::new();
    for (group, set) in tags {
        for (tag, set_at) in set {
            let key = keys::why(cell, &group, &tag);
            let why: Option<Cause> = work.get(&key)?;
            let mut cause = why.ok_or_else(|| ViewError(format!("tag {group}/{tag} has no cause")))?;
            // From here on the event lies under another identifier than the contact's.
            cause.native.get_or_insert_with(|| cell.id());
            work.delete(key);
            carried.push(Tag { group: group.clone(), tag, set_at, cause });
        }
    }
    Ok(Snapshot {
        seen,
        bundle: settled.0,
        identities,
        apart,
        reserved: reserved.into_iter().flat_map(per_grant).collect(),
        tags: carried,
        relations: relations.into_values().collect(),
        past,
        assigned,
        enrolments: enrolments.into_iter().map(|(name, enrolment)| (name, *enrolment)).collect(),
        touches: touches.into_values().map(|touch| *touch).collect(),
        renamed: renamed.into_iter().collect(),
        waits,
        concluded: concluded.into_iter().map(|conclusion| named_by(cell, conclusion)).collect(),
    })
}

/// From here on what led to the tags that gave way lies under another identifier than the contact's.
fn named_by(cell: &CellKey, mut conclusion: Conclusion) -> Conclusion {
    for (_, cause) in conclusion.changes.iter_mut().filter_map(|change| change.was.as_mut()) {
        cause.native.get_or_insert_with(|| cell.id());
    }
    conclusion
}

/// A promise as often as it waits for an answer.
fn per_grant((cell, promise): (CellKey, Promise)) -> impl Iterator<Item = Promised> {
    let Promise { exclusive, identities, unanswered } = promise;
    let count = usize::try_from(unanswered).unwrap_or(usize::MAX);
    std::iter::repeat_n(Promised { cell, exclusive, identities }, count)
}

/// Unites what `from` held with the contact at `cell`.
pub(crate) fn import(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    contact: &mut Contact,
    (from, into): (&CellKey, &CellKey),
    snapshot: Snapshot,
    evidence: Evidence,
    origin: Position,
) -> Result<(), ViewError> {
    let in_force = in_force(work, cell);
    reaction::settle(work, cell, contact, &in_force)?;
    let Snapshot {
        seen,
        bundle,
        identities,
        apart,
        reserved,
        tags,
        relations,
        mut past,
        assigned,
        enrolments,
        touches,
        renamed,
        waits,
        concluded,
    } = snapshot;
    // The first and the last of both.
    contact.seen = match (contact.seen, seen) {
        (Some((first, last)), Some((other_first, other_last))) => Some((first.min(other_first), last.max(other_last))),
        (one, other) => one.or(other),
    };
    // What was promised to it has come; what it promised to others is promised from here, beside what already was.
    contact.answered(from);
    reserved.into_iter().for_each(|promised| contact.promise(promised));
    // All of them; no better known than the link that brought them.
    let joined = Joined { by: origin, into: into.clone(), at: work.clock };
    let own = Identity { id: from.id(), evidence, joined: Some(joined) };
    for mut identity in std::iter::once(own).chain(identities) {
        identity.evidence = identity.evidence.min(evidence);
        links::remember_told(work, cell, &CellKey::of(&cell.tenant(), &identity.id), identity.evidence);
        contact.add_identity(identity);
    }
    // Whom either is apart from; but what was parted and is joined again is not.
    contact.apart.extend(apart);
    let all = contact.apart.clone();
    contact.apart.retain(|one| all.iter().all(|other| one.scope != other.scope || one.value == other.value));
    // The latest add of each, and of the removals on either side one that came no earlier.
    for theirs in relations {
        let known = contact.relations.remove(&theirs.staff);
        let removed = known.as_ref().and_then(|known| known.removed_at).max(theirs.removed_at);
        let latest = match known {
            Some(known) if known.added_at >= theirs.added_at => known,
            _ => theirs,
        };
        let removed_at = removed.filter(|removed| *removed >= latest.added_at);
        contact.relations.insert(latest.staff.clone(), Relation { removed_at, ..latest });
    }
    // The later word.
    contact.assigned =
        contact.assigned.take().into_iter().chain(assigned).max_by_key(|(staff, at)| (*at, staff.clone()));
    // How each part of it is united stands with `Past`.
    let case = case(work, cell, &in_force, (MERGED, origin));
    let over = waits::over(&case, &past, &waits);
    // It may come from where the bundle was not in force yet.
    activation::migrate_lost(&case, &mut past, &BTreeMap::new());
    let tags = tags.into_iter().filter_map(|tag| activation::migrated_tag(&case, tag)).collect();
    contact.past.merge(past, &|tally| in_force.bundle.keeps(tally));
    let had = contact.tags.clone();
    // Every tag that was not taken off later; of an exclusive group the latest change. Rules do not see them again: they
    // did where they were set.
    rules::merge(work, &case, contact, tags)?;
    // One enrolment of each journey, and each unconfirmed touch once.
    journeys::merge(work, &case, contact, enrolments.clone(), (touches, renamed));
    // Both may still be disproved.
    waits::merge_concluded(contact, concluded, &had, &enrolments);
    // What it waits for may be of a bundle that has not come here yet.
    if bundle > in_force.bundle.number {
        contact.settled = (bundle.max(contact.settled.0), activation::FROM_ELSEWHERE);
    }
    // A condition may hold for both together that held for neither, and waits begin with the later of both.
    reaction::after_merge(work, &case, contact, (&waits, &over))
}

/// What is in force, or a bundle without playbooks: tags of one that has not come here yet are kept as they are.
pub(crate) fn in_force(work: &Work<'_, '_>, cell: &CellKey) -> InForce {
    work.in_force(&cell.tenant()).unwrap_or_else(|| InForce {
        bundle: compile_shared(&[], 0).expect("a bundle without playbooks compiles"),
        migrations: Arc::default(),
        since: Arc::default(),
        directory: work.directory(&cell.tenant()),
        listed: work.listed_at(&cell.tenant()),
    })
}

/// A decision about a contact that no event of its own led to: `kind` names it, `origin` is the record that said so.
pub(crate) fn case<'a>(
    work: &Work<'_, '_>,
    cell: &'a CellKey,
    in_force: &'a InForce,
    (kind, origin): (&str, Position),
) -> Case<'a> {
    let cause = work.cause(kind, origin, in_force.bundle.number);
    Case::new(cell, in_force, work.append_time.min(work.clock), cause)
}
