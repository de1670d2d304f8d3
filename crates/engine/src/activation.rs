//! Activation: partition 0 orders bundles, every partition puts them in force, and one contact after another comes under
//! them.
//!
//! ```text
//!   command ─▶ partition 0: compiles, refuses, numbers ─▶ loops the bundle to all ─▶ in force from that record on
//!                                   every record after it brings SETTLED_PER_RECORD more contacts under it
//! ```
//! A contact that has something to do before its turn comes under it by itself ([`settle_first`]). However late that is,
//! it is as if it had been at the moment of the activation: nothing is triggered by what already held then, and what time
//! alone has changed since happens in its turn.

use crate::cell::{Cell, Contact};
use crate::commands::{Refusal, refusal};
use crate::overlay::ViewError;
use crate::rules::{self, Case};
use crate::work::{InForce, Work};
use crate::{keys, reaction, timers};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use touchline_model::command::{MIGRATIONS_BYTES_MAX, Migration, PlaybookSource, TagRef, replaced};
use touchline_model::id::CellKey;
use touchline_model::output::{DeadReason, Tag};
use touchline_model::past::Past;
use touchline_model::record::LoopBody;
use touchline_model::time::Time;
use touchline_playbook::bundle::Bundle;
use touchline_playbook::compile::compile_shared;
use touchline_playbook::diff;

/// Cells looked at per record while contacts come under a new bundle: few, so that what else happens does not wait for a
/// million of them.
const SETTLED_PER_RECORD: usize = 64;
/// Migrations followed from one tag: a tag that was renamed is renamed again.
const RENAMED_MAX: usize = 64;

/// A bundle with what it was compiled from, as the store keeps it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) number: u64,
    pub(crate) sources: Vec<PlaybookSource>,
    pub(crate) migrations: Vec<Migration>,
}

/// A bundle in force in this partition, as the store keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Activated {
    pub(crate) stored: Stored,
    pub(crate) since: Since,
}

/// Since when a bundle is in force in this partition, by its clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Since {
    /// The bundle itself.
    pub(crate) at: Time,
    /// What is waited for, by the key of the wait: the first of the bundles that have had it without a gap, and since when.
    waits: BTreeMap<u64, (u64, Time)>,
}

impl Since {
    /// A bundle that comes into force at `at`, in the place of another.
    fn new(bundle: &Bundle, at: Time, before: &Self) -> Self {
        let since = |key: &u64| (*key, before.waits.get(key).copied().unwrap_or((bundle.number, at)));
        Self { at, waits: bundle.waits.keys().map(since).collect() }
    }

    /// What is over at this moment is no news to a contact that was last settled by the bundle `settled`.
    pub(crate) fn of_wait(&self, key: u64, settled: u64) -> Time {
        // Bundles may have come and gone between its own and the one that it comes under.
        let began = self.waits.get(&key).filter(|(number, _)| *number > settled);
        began.map_or(self.at, |(_, at)| *at)
    }
}

/// What partition 0 has assigned, ahead of what has come back through the loop.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Assigned {
    number: u64,
    by_tenant: BTreeMap<String, Stored>,
}

/// A tenant whose contacts are coming under its bundle, one after another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settling {
    /// Whose.
    pub tenant: String,
    /// Cells before this key are done (`c|…`).
    pub from: Vec<u8>,
}

/// What becomes of tags that have gone.
#[derive(Debug, Default)]
pub(crate) struct Migrations(BTreeMap<TagRef, Option<TagRef>>);

impl Migrations {
    pub(crate) fn new(migrations: &[Migration]) -> Self {
        Self(migrations.iter().map(|one| (one.from.clone(), one.to.clone())).collect())
    }

    /// What stands in the place of a tag that the bundle does not have: `None`, nothing is said of it.
    fn of(&self, tag: &TagRef, bundle: &Bundle) -> Option<Option<&TagRef>> {
        let mut found = self.0.get(tag)?.as_ref();
        for _ in 0..RENAMED_MAX {
            match found {
                Some(to) if !bundle.has_tag(to) => found = self.0.get(to)?.as_ref(),
                found => return Some(found),
            }
        }
        Some(None)
    }
}

/// Partition 0 orders activations: a number is assigned and the whole bundle looped to everybody.
pub(crate) fn order(
    work: &mut Work<'_, '_>,
    tenant: &str,
    (sources, remove, migrations): (&[PlaybookSource], &[String], &[Migration]),
    expected_active: u64,
) -> Result<Result<(), Refusal>, ViewError> {
    let mut assigned: Assigned = work.get(keys::ASSIGNED)?.unwrap_or_default();
    let now = assigned.by_tenant.get(tenant).cloned().unwrap_or_default();
    if now.number != expected_active {
        let detail = format!("bundle {} is active, not {expected_active}", now.number);
        return Ok(Err(refusal("stale_bundle", detail, now.number.to_string())));
    }
    let after = replaced(&now.sources, sources, remove);
    let number = assigned.number + 1;
    let bundle = match compile_shared(&after, number) {
        Ok(bundle) => bundle,
        Err(diagnostics) => {
            let detail = diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            return Ok(Err(refusal("invalid_playbook", detail, now.number.to_string())));
        }
    };
    let migrations = match migrated(&now, &bundle, migrations) {
        Ok(migrations) => migrations,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let stored = Stored { number, sources: after, migrations };
    assigned.number = number;
    assigned.by_tenant.insert(tenant.to_owned(), stored.clone());
    work.put(keys::ASSIGNED.to_vec(), &assigned);
    let Stored { sources, migrations, .. } = stored;
    work.tell_all(&LoopBody::Activation { number, tenant: tenant.to_owned(), sources, migrations });
    Ok(Ok(()))
}

/// All migrations of the tenant with these new ones, where they say what becomes of every tag that goes.
fn migrated(now: &Stored, after: &Bundle, new: &[Migration]) -> Result<Vec<Migration>, Refusal> {
    let current = now.number.to_string();
    if let Some(one) = new.iter().find(|one| after.has_tag(&one.from)) {
        let detail = format!("{} is to be migrated, but the playbooks still have it", one.from);
        return Err(refusal("invalid_migration", detail, current));
    }
    if let Some(to) = new.iter().filter_map(|one| one.to.as_ref()).find(|to| !after.has_tag(to)) {
        let detail = format!("{to} is to take the place of another tag, but no playbook has it");
        return Err(refusal("invalid_migration", detail, current));
    }
    // What does not compile in this version any more cannot say which tags it had.
    let before = compile_shared(&now.sources, now.number).ok();
    let gone = before.map(|before| diff::orphans(&before, after)).unwrap_or_default();
    let named: BTreeSet<&TagRef> = new.iter().map(|one| &one.from).collect();
    let orphans: Vec<String> = gone.iter().filter(|tag| !named.contains(tag)).map(ToString::to_string).collect();
    if !orphans.is_empty() {
        let detail = format!(
            "these tags go, and whoever carries one would keep it for good: {}\nhint: say what takes the place of each, or \
             that it is taken off",
            orphans.join(", ")
        );
        return Err(refusal("orphaned_tag", detail, current));
    }
    let is_needed = |one: &&Migration| !named.contains(&one.from) && !after.has_tag(&one.from);
    let mut all: Vec<Migration> = now.migrations.iter().filter(is_needed).chain(new).cloned().collect();
    // The oldest go: what they were about has long been migrated, but for whoever is merged in from elsewhere.
    let mut bytes = 0;
    let newest = all.iter().rev().take_while(|one| {
        bytes += one.bytes();
        bytes <= MIGRATIONS_BYTES_MAX
    });
    let kept = newest.count();
    all.drain(..all.len() - kept);
    Ok(all)
}

/// A bundle comes into force in this partition.
pub(crate) fn put_in_force(
    work: &mut Work<'_, '_>,
    number: u64,
    tenant: &str,
    sources: &[PlaybookSource],
    migrations: &[Migration],
) {
    match compile_shared(sources, number) {
        Ok(bundle) => {
            let stored = Stored { number, sources: sources.to_vec(), migrations: migrations.to_vec() };
            let before = work.in_force(tenant).map(|in_force| in_force.since).unwrap_or_default();
            let since = Since::new(&bundle, work.clock, &before);
            let activated = Activated { stored, since };
            work.put(keys::bundle(tenant), &activated);
            work.meta.bundle = number;
            begin_settling(work, tenant);
            work.activated = Some((bundle, Arc::new(Migrations::new(migrations)), Arc::new(activated.since)));
        }
        // Partition 0 compiled it before it was numbered; a binary that cannot is too old for this log.
        Err(_) => work.dead(DeadReason::NotYet, format!("bundle {number} does not compile in this version")),
    }
}

/// From the next record on contacts are settled anew: what they are judged by has changed.
fn begin_settling(work: &mut Work<'_, '_>, tenant: &str) {
    work.meta.settling.retain(|settling| settling.tenant != tenant);
    work.meta.settling.push(Settling { tenant: tenant.to_owned(), from: keys::cells(tenant) });
}

/// Brings some more contacts under the bundle in force. Call it when nothing is due: what time has changed under the
/// bundle before has then happened under it.
pub(crate) fn settle_some(work: &mut Work<'_, '_>) -> Result<(), ViewError> {
    let Some(Settling { tenant, from }) = work.meta.settling.first().cloned() else { return Ok(()) };
    let found = work.scan_keys(&from, &keys::cells_end(&tenant), SETTLED_PER_RECORD)?;
    match found.last().filter(|_| found.len() == SETTLED_PER_RECORD) {
        Some(last) => work.meta.settling[0].from = [last.as_slice(), &[0]].concat(),
        None => drop(work.meta.settling.remove(0)),
    }
    work.effects.notes.contacts_settled += u32::try_from(found.len()).unwrap_or(u32::MAX);
    let Some(in_force) = work.in_force(&tenant) else { return Ok(()) };
    for key in found.iter().filter_map(|key| keys::parse_cell(key)).filter(|key| key.kind().is_contact()) {
        settle_one(work, &key, &in_force)?;
    }
    Ok(())
}

/// The cell that a record or a timer is about, as [`Work::cell`]; a contact comes under the bundle in force first, so that
/// what time has changed since the activation comes before the record.
pub(crate) fn settle_first(work: &mut Work<'_, '_>, key: &CellKey) -> Result<Option<Cell>, ViewError> {
    let found = work.cell(key)?;
    match (&found, work.in_force(&key.tenant())) {
        (Some(Cell::Contact(contact)), Some(in_force)) if contact.settled != in_force.number() => {
            work.keep(key, found);
            settle_one(work, key, &in_force)?;
            work.cell(key)
        }
        _ => Ok(found),
    }
}

/// In the place of the directory's offset: the contact was last settled in another partition.
pub(crate) const FROM_ELSEWHERE: u64 = u64::MAX;

/// Whether the contact has come, with a merge, from where a bundle is in force that has not come here yet. It keeps to the
/// bundle here, but nothing it waits for happens: its journeys would end as those of a playbook that has gone.
pub(crate) fn is_ahead(contact: &Contact, in_force: &InForce) -> bool {
    contact.settled.1 == FROM_ELSEWHERE && contact.settled.0 > in_force.bundle.number
}

/// What came due while the contact was ahead falls due.
pub(crate) fn release(work: &mut Work<'_, '_>, cell: &CellKey, contact: &Contact, (_, listed): (u64, u64)) {
    if listed == FROM_ELSEWHERE {
        let clock = work.clock;
        for (due, name) in contact.timers.iter().take_while(|(due, _)| *due <= clock) {
            timers::arm_cell(work, cell, *due, name);
        }
    }
}

fn settle_one(work: &mut Work<'_, '_>, key: &CellKey, in_force: &InForce) -> Result<(), ViewError> {
    let before = match work.cell(key)? {
        Some(Cell::Contact(contact)) if contact.settled != in_force.number() => contact,
        other => {
            work.keep(key, other);
            return Ok(());
        }
    };
    let mut after = before.clone();
    reaction::settle(work, key, &mut after, in_force)?;
    let is_same = *before == Contact { settled: before.settled, ..(*after).clone() };
    // Whoever reads contacts need not hear that nothing about this one has changed.
    if is_same {
        work.put_quietly(key, Cell::Contact(after))
    } else {
        work.put_contact(key, after)
    }
    Ok(())
}

/// A tag that a contact brings along, as the bundle in force has it; `None` where nothing takes its place. One of which
/// nothing is said is kept: its bundle may be on its way.
pub(crate) fn migrated_tag(case: &Case<'_>, tag: Tag) -> Option<Tag> {
    let known = TagRef::new(&tag.group, &tag.tag);
    match case.migrations.of(&known, case.bundle) {
        _ if case.bundle.has_tag(&known) => Some(tag),
        None => Some(tag),
        Some(to) => to.cloned().map(|to| Tag { group: to.group, tag: to.tag, ..tag }),
    }
}

/// The same of tags that were taken off: what takes their place is off too, where it is not among the `carried`.
pub(crate) fn migrate_lost(case: &Case<'_>, past: &mut Past, carried: &BTreeMap<String, BTreeMap<String, Time>>) {
    let all =
        past.gone.iter().flat_map(|(group, of)| of.iter().map(move |(tag, lost)| (TagRef::new(group, tag), *lost)));
    let moved: Vec<_> = all
        .filter(|(tag, _)| !case.bundle.has_tag(tag))
        .filter_map(|(tag, lost)| Some((case.migrations.of(&tag, case.bundle)?.cloned(), tag, lost)))
        .collect();
    for (to, from, lost) in moved {
        past.regain(&from.group, |tag| *tag != from.tag);
        let is_carried = |to: &TagRef| {
            let of = carried.get(&to.group);
            of.is_some_and(|of| case.is_exclusive(&to.group) || of.contains_key(&to.tag))
        };
        if let Some(to) = to.filter(|to| !is_carried(to)) {
            past.lose(&to.group, &to.tag, lost);
        }
    }
}

/// Tags that have gone give way to what takes their place.
pub(crate) fn migrate(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact) -> Result<(), ViewError> {
    let carried = contact.tags.iter().flat_map(|(group, tags)| tags.keys().map(move |tag| TagRef::new(group, tag)));
    let gone: Vec<TagRef> = carried.filter(|tag| !case.bundle.has_tag(tag)).collect();
    let moves: Vec<(TagRef, Option<TagRef>)> = gone
        .into_iter()
        .filter_map(|tag| case.migrations.of(&tag, case.bundle).map(|to| (tag.clone(), to.cloned())))
        .collect();
    rules::migrate(work, case, contact, moves)?;
    migrate_lost(case, &mut contact.past, &contact.tags);
    Ok(())
}
