//! One record in, effects out: clock, ownership, dedupe, timers, then the cell it addresses.

use crate::activation::{self, Activated, Migrations, Stored};
use crate::cell::{self, Cell, Contact};
use crate::commands;
use crate::links::{self, Link};
use crate::overlay::{Overlay, View, ViewError};
use crate::public::{self, Public};
use crate::rules::{Case, Judged};
use crate::work::{Finished, Memory, Tenants, Work};
use crate::{
    DEDUPE_HORIZON, HOPS_MAX, Meta, clock, groups, keys, observed, orders, parting, reaction, timers, tokens, touches,
};
use std::sync::Arc;
use touchline_model::command::Command;
use touchline_model::directory::Entry;
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKind, Position};
use touchline_model::kind::Kind;
use touchline_model::output::{self, Cause, DeadReason, Numbered, Relation};
use touchline_model::past::{Consent, Membership};
use touchline_model::record::{Input, Loop, LoopBody, Record};
use touchline_model::time::Time;
use touchline_model::value::Value;
use touchline_playbook::bundle::Bundle;
use touchline_playbook::compile::compile_shared;

/// Staff relations kept per contact: more staff than any customer deals with, fewer than would crowd the hot value.
const RELATIONS_MAX: usize = 256;

/// Longest name of a group, content or scope that is kept, in bytes.
const NAME_BYTES_MAX: usize = 400;

/// What one record led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Outputs in order, numbered.
    pub outputs: Vec<Numbered>,
    /// Loopback records in order, numbered per destination: (destination partition, record).
    pub loops: Vec<(u32, Loop)>,
    /// Cells whose public record changed, in key order.
    pub dirty: Vec<CellKey>,
    /// What happened, for metrics; no part of the state.
    pub notes: Notes,
}

/// What happened while applying one record, for metrics.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Notes {
    /// The event's id (or the command's request id) had been applied within the horizon.
    pub duplicate: bool,
    /// A loopback record that was not last + 1.
    pub loop_ignored: bool,
    /// Forwards the event has passed so far.
    pub hops: u16,
    /// Rules that were not run, because what sets them off came in the last round of a record.
    pub rounds_cut: u32,
    /// Timers fired.
    pub timers_fired: u32,
    /// More timers are due than one record fires.
    pub timers_left: bool,
    /// Tags on phones that the event shows and nobody has said the meaning of.
    pub tags_unknown: u32,
    /// Cells looked at because a new bundle is in force.
    pub contacts_settled: u32,
    /// The append time jumped and no witness confirmed it: the owner should append a tick.
    pub clock_refused: bool,
}

/// The engine of one partition: counters in memory, cells in the store.
#[derive(Debug)]
pub struct Engine {
    meta: Meta,
    tenants: Tenants,
    memory: Memory,
}

impl Engine {
    /// The engine over what a store holds; an empty store gives an engine that has seen nothing.
    ///
    /// # Errors
    /// When the store cannot be read, is of another partition or of another schema.
    pub fn open(view: &dyn View, partition: u32, partitions: u32) -> Result<Self, ViewError> {
        let meta = Meta::load(view, partition, partitions)?.unwrap_or_else(|| Meta::new(partition, partitions));
        let mut tenants = Tenants::default();
        for (key, bytes) in view.scan(keys::BUNDLES, keys::BUNDLES_END, usize::MAX)? {
            let tenant = String::from_utf8_lossy(&key[keys::BUNDLES.len()..]).into_owned();
            let Activated { stored: Stored { number, sources, migrations }, since } = cell::decode(&bytes)?;
            let bundle = compile_shared(&sources, number)
                .map_err(|_| ViewError(format!("bundle {number} in force does not compile in this version")))?;
            tenants.bundles.insert(tenant, (bundle, Arc::new(Migrations::new(&migrations)), Arc::new(since)));
        }
        for (_, bytes) in view.scan(keys::ENTRIES, keys::ENTRIES_END, usize::MAX)? {
            let (tenant, entry): (String, Entry) = cell::decode(&bytes)?;
            tenants.list(&tenant, vec![entry]);
        }
        for (key, bytes) in view.scan(keys::LISTED, keys::LISTED_END, usize::MAX)? {
            let tenant = String::from_utf8_lossy(&key[keys::LISTED.len()..]).into_owned();
            tenants.listed.insert(tenant, cell::decode(&bytes)?);
        }
        Ok(Self { meta, tenants, memory: Memory::default() })
    }

    /// Counters, clock and chain after the last record.
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The bundle in force for a tenant.
    pub fn bundle(&self, tenant: &str) -> Option<&Bundle> {
        self.tenants.bundles.get(tenant).map(|(bundle, ..)| bundle.as_ref())
    }

    /// The public record of the contact at `key`: see [`crate::public_contact`]. `view` must hold everything applied.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn public_contact(&self, view: &dyn View, key: &CellKey) -> Result<Option<output::Contact>, ViewError> {
        let bundle = self.bundle(&key.tenant());
        match self.memory.cells.get(key) {
            Some(Some(cell)) => public::public_cell(view, key, self.meta.partition, cell, bundle),
            Some(None) | None => public::public_contact(view, key, self.meta.partition, bundle),
        }
    }

    /// The public record of the cell at `key`: see [`crate::public_record`]. `view` must hold everything applied.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version cannot.
    pub fn public_record(&self, view: &dyn View, key: &CellKey) -> Result<Option<Public>, ViewError> {
        let bundle = self.bundle(&key.tenant());
        match self.memory.cells.get(key) {
            Some(Some(cell)) => public::public_of(view, key, self.meta.partition, cell, bundle),
            Some(None) | None => public::public_record(view, key, self.meta.partition, bundle),
        }
    }

    /// The earliest moment in the timer index; it may be stale, then a tick clears it. While contacts are coming under a
    /// new bundle, this very moment: each record brings some more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn next_due(&self, view: &dyn View) -> Result<Option<Time>, ViewError> {
        if !self.meta.settling.is_empty() {
            return Ok(self.meta.clock);
        }
        let first = view.scan(&self.meta.timers_from, keys::TIMERS_END, 1)?;
        Ok(first.first().and_then(|(key, _)| keys::parse_timer(key)).map(|(due, _, _)| due))
    }

    /// Applies one record. Total: every record gives a new state; what cannot be applied becomes a
    /// dead letter and the offset advances.
    ///
    /// # Errors
    /// Only when state cannot be read; the overlay must then be thrown away.
    pub fn apply(&mut self, overlay: &mut Overlay<'_>, record: &Record) -> Result<Effects, ViewError> {
        let witness = record.input.as_ref().ok().map(clock::witness);
        let advance = clock::advance(self.meta.clock, record.append_time, witness);
        self.meta.clock = Some(advance.clock);
        let (meta, memory, tenants) = (&mut self.meta, &mut self.memory, &self.tenants);
        let (clock, append_time) = (advance.clock, record.append_time);
        let mut work = Work::new(meta, memory, overlay, tenants, record.offset, clock, append_time);
        work.effects.notes.clock_refused = advance.refused;
        dispatch(&mut work, record)?;
        let Finished { effects, activated, listed } = work.finish();
        if let Ok(Input::Loop(looped)) = &record.input {
            match (&looped.body, activated) {
                (LoopBody::Activation { tenant, .. }, Some(bundle)) => {
                    self.tenants.bundles.insert(tenant.clone(), bundle);
                }
                (LoopBody::Directory { tenant, .. }, _) if !listed.is_empty() => {
                    self.tenants.list(tenant, listed);
                    self.tenants.listed.insert(tenant.clone(), record.offset);
                }
                _ => {}
            }
        }
        Ok(effects)
    }
}

/// What a record addresses, once it is known to belong here.
enum Address<'r> {
    Nobody,
    Cell(CellKey, &'r Input),
    Dead(DeadReason, String),
}

fn dispatch(work: &mut Work<'_, '_>, record: &Record) -> Result<(), ViewError> {
    let address = address(work, record);
    if let Address::Cell(cell, _) = &address {
        timers::fire_own(work, cell)?;
    }
    timers::fire_due(work)?;
    if !work.effects.notes.timers_left {
        activation::settle_some(work)?;
    }
    match (address, &record.input) {
        (Address::Dead(reason, detail), _) => {
            work.dead(reason, detail);
            Ok(())
        }
        (Address::Cell(cell, Input::Event(event)), _) => native_event(work, &cell, event),
        (Address::Cell(cell, Input::Command(command)), _) => {
            let origin = work.position;
            on_command(work, cell, command, origin, 0)
        }
        (Address::Nobody, Ok(Input::Command(command))) => commands::apply(work, None, command),
        (Address::Cell(_, Input::Loop(looped)), _) | (Address::Nobody, Ok(Input::Loop(looped))) => accept(work, looped),
        (Address::Cell(_, Input::Tick { .. }) | Address::Nobody, _) => Ok(()),
    }
}

/// Checks key, partition and shape: whoever appends wrongly must not change state.
fn address<'r>(work: &Work<'_, '_>, record: &'r Record) -> Address<'r> {
    let input = match &record.input {
        Ok(input) => input,
        Err(undecodable) => return Address::Dead(DeadReason::Undecodable, undecodable.to_string()),
    };
    let cell = match input {
        Input::Tick { .. } => return Address::Nobody,
        Input::Event(event) => event.key(),
        Input::Command(command) => match command.body.contact() {
            Some(contact) if contact.tenant() != command.tenant => {
                return Address::Dead(DeadReason::KeyMismatch, "the contact is of another tenant".to_owned());
            }
            Some(contact) => contact.clone(),
            None if work.meta.partition == 0 => return Address::Nobody,
            None => return Address::Dead(DeadReason::Misrouted, "activations go to partition 0".to_owned()),
        },
        Input::Loop(looped) if looped.source as usize >= work.meta.loop_received.len() => {
            return Address::Dead(DeadReason::LoopbackForged, format!("no partition {}", looped.source));
        }
        Input::Loop(looped) => match looped.body.target() {
            Some(target) => target.clone(),
            None => return Address::Nobody,
        },
    };
    if !work.is_mine(&cell) {
        let belongs = cell.partition(work.partitions());
        return Address::Dead(DeadReason::Misrouted, format!("the key belongs to partition {belongs}"));
    }
    if record.key.as_deref() != Some(cell.as_str()) {
        return Address::Dead(DeadReason::KeyMismatch, "the record's key is not the key of its cell".to_owned());
    }
    Address::Cell(cell, input)
}

/// An event under its native key: deduped here, once.
fn native_event(work: &mut Work<'_, '_>, cell: &CellKey, event: &Event) -> Result<(), ViewError> {
    let mark = keys::dedupe(event.id);
    let applied: Option<Time> = work.get(&mark)?;
    if applied.is_some_and(|at| work.clock <= at.plus(DEDUPE_HORIZON)) {
        work.effects.notes.duplicate = true;
        return Ok(());
    }
    work.mark(mark);
    if event.kind == Kind::TagCatalogChanged {
        observed::on_catalog(work, event);
    }
    let at = event.occurred_at.filter(|at| at.is_plausible()).map_or(work.append_time, |at| at.min(work.append_time));
    let origin = work.position;
    on_event(work, cell, event, at, origin, 0)
}

/// An event at a cell: applied where the contact lives, passed on otherwise.
fn on_event(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    event: &Event,
    at: Time,
    origin: Position,
    hops: u16,
) -> Result<(), ViewError> {
    work.effects.notes.hops = hops;
    let found = work.cell(cell)?;
    let contact = match found {
        found if cell.kind() == IdKind::Order => {
            return orders::on_event(work, cell, found, event, (at, origin, hops));
        }
        found if cell.kind() == IdKind::Group => return groups::on_event(work, cell, found, event, (at, origin)),
        Some(Cell::Contact(contact)) => contact,
        Some(Cell::Forward { ref to, .. }) => {
            pass_on(work, to.clone(), event, at, origin, hops);
            work.keep(cell, found);
            return Ok(());
        }
        None if cell.kind().is_contact() => Box::default(),
        other => {
            work.keep(cell, other);
            return Ok(());
        }
    };
    apply_event(work, cell, contact, event, at, origin)
}

/// Tells the cell that owns the event now.
pub(crate) fn pass_on(work: &mut Work<'_, '_>, target: CellKey, event: &Event, at: Time, origin: Position, hops: u16) {
    if hops >= HOPS_MAX {
        work.dead(DeadReason::TooManyHops, format!("passed on {hops} times"));
        return;
    }
    // The event time is settled here: the target sees another append time.
    let event = Box::new(Event { occurred_at: Some(at), ..event.clone() });
    work.tell(LoopBody::Forward { target, event, origin, hops: hops + 1 });
}

/// The path of an event: facts, links, rules, journeys, the contact back into the store.
fn apply_event(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    mut contact: Box<Contact>,
    event: &Event,
    at: Time,
    origin: Position,
) -> Result<(), ViewError> {
    let in_force = work.in_force(&event.tenant);
    if let Some(in_force) = &in_force {
        reaction::settle(work, cell, &mut contact, in_force)?;
    }
    learn(&mut contact, event, at);
    match event.kind {
        Kind::IdentityUnlinked => parting::on_event(work, cell, &mut contact, event, origin)?,
        _ => links::on_event(work, cell, &contact, event, origin)?,
    }
    tokens::on_event(work, cell, &contact, event, (at, origin))?;
    groups::tell(work, event, at);
    match in_force {
        None => {
            remember(&mut contact, None, event, at);
            let directory = work.directory(&event.tenant);
            // What is shown now counts with the first playbook that knows the tag, when it is shown again.
            let (_, unknown) = observed::learn(&mut contact, (None, &directory), event, at);
            work.effects.notes.tags_unknown += unknown;
        }
        Some(in_force) => {
            // Only what was passed on lies under another identifier.
            let native =
                event.subject.first().filter(|native| origin != work.position && **native != cell.id()).cloned();
            let number = in_force.bundle.number;
            let cause = Cause { event_id: Some(event.id), native, ..work.cause(event.name(), origin, number) };
            let case = Case::new(cell, &in_force, at, cause).known_until(work.clock);
            let mut judged = Judged::new(event, &in_force.bundle, &in_force.directory);
            reaction::on_event(work, &case, &mut contact, &mut judged)?;
        }
    }
    work.put_contact(cell, contact);
    Ok(())
}

/// When the contact was seen, and how often each kind of event came.
pub(crate) fn remember(contact: &mut Contact, bundle: Option<&Bundle>, event: &Event, at: Time) {
    // A link is a fact about identifiers and no sight of the person.
    if matches!(event.kind, Kind::IdentityLinked | Kind::IdentityUnlinked) {
        return;
    }
    let (first, last) = contact.seen.unwrap_or((at, at));
    contact.seen = Some((first.min(at), last.max(at)));
    // Names that nobody declared come from outside without bound.
    let declared =
        || bundle.is_some_and(|bundle| bundle.playbooks.iter().any(|of| of.events.contains_key(&event.custom_name)));
    if event.kind != Kind::Custom || declared() {
        contact.past.happen(event.name(), at);
    }
}

/// What an event says about the contact itself, without any playbook.
fn learn(contact: &mut Contact, event: &Event, at: Time) {
    match event.kind {
        Kind::ContactAdded => {
            let Some(staff) = event.fields.text("staff") else { return };
            let state = event.fields.text("state").unwrap_or_default().to_owned();
            let known = contact.relations.get(staff);
            let has_room = known.is_some() || contact.relations.len() < RELATIONS_MAX;
            if has_room && known.is_none_or(|known| known.added_at <= at) {
                // What is learnt late does not bring back who has been removed since.
                let removed_at = known.and_then(|known| known.removed_at).filter(|removed| *removed > at);
                let relation = Relation { staff: staff.to_owned(), added_at: at, state, removed_at };
                contact.relations.insert(staff.to_owned(), relation);
            }
        }
        Kind::ContactRemoved => {
            let staff = event.fields.text("staff").unwrap_or_default();
            if let Some(relation) = contact.relations.get_mut(staff).filter(|relation| relation.added_at <= at) {
                relation.removed_at = Some(at);
                contact.past.forget_staff(staff, at);
            }
        }
        Kind::GroupJoined | Kind::GroupLeft => {
            let group = event.subject.iter().find(|id| id.kind == IdKind::Group).map(|id| id.value.as_str());
            if let Some(group) = event.fields.text("group").or(group).filter(|group| is_name(group)) {
                contact.past.member(group, Membership { at, inside: event.kind == Kind::GroupJoined });
            }
        }
        Kind::ContentReceived => {
            if let Some(content) = event.fields.text("content").filter(|content| is_name(content)) {
                contact.past.receive(content, at);
            }
        }
        Kind::ConsentMarketing | Kind::ChatConsent => {
            let scope = event.fields.text("scope").filter(|scope| is_name(scope));
            let kind = if event.kind == Kind::ChatConsent { "chat" } else { "marketing" };
            if let Some(Value::Bool(granted)) = event.fields.get("granted") {
                contact.past.consent(scope.unwrap_or(kind), Consent { granted: *granted, at });
            }
        }
        Kind::TouchSent | Kind::TouchFailed => {
            let named = event.fields.text("touch_id").or(event.cause.touch_id.as_deref());
            if let Some(touch_id) = named {
                if event.kind == Kind::TouchSent {
                    touches::sent(contact, touch_id, at);
                }
                touches::reported(contact, touch_id, at);
            }
        }
        _ => {}
    }
}

/// What is kept of a name from outside: longer ones are none of ours, and would be part of the hot value.
fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
}

fn on_command(
    work: &mut Work<'_, '_>,
    cell: CellKey,
    command: &Command,
    origin: Position,
    hops: u16,
) -> Result<(), ViewError> {
    let found = work.cell(&cell)?;
    let to = found.as_ref().and_then(Cell::passes_to).filter(|_| hops < HOPS_MAX).cloned();
    work.keep(&cell, found);
    match to {
        Some(target) => {
            let command = Box::new(command.clone());
            work.tell(LoopBody::ForwardCommand { target, command, origin, hops: hops + 1 });
            Ok(())
        }
        None => commands::apply(work, Some(&cell), command),
    }
}

/// A loopback record: exactly last + 1 is accepted; everything else is ignored, and a gap is an alarm.
fn accept(work: &mut Work<'_, '_>, looped: &Loop) -> Result<(), ViewError> {
    let last = work.meta.loop_received[looped.source as usize];
    if looped.sequence != last + 1 {
        work.effects.notes.loop_ignored = true;
        if looped.sequence > last + 1 {
            let detail = format!("number {} from partition {} after {last}", looped.sequence, looped.source);
            work.dead(DeadReason::LoopbackGap, detail);
        }
        return Ok(());
    }
    work.meta.loop_received[looped.source as usize] = looped.sequence;
    let link =
        |target: &CellKey, from: &CellKey, (exclusive, identities): (&Vec<_>, u32), evidence: &_, origin: &_| Link {
            target: target.clone(),
            from: from.clone(),
            exclusive: exclusive.clone(),
            identities,
            evidence: *evidence,
            origin: *origin,
        };
    match &looped.body {
        LoopBody::Forward { target, event, origin, hops } => {
            let at = event.occurred_at.unwrap_or(work.append_time);
            on_event(work, target, event, at, *origin, *hops)
        }
        LoopBody::ForwardCommand { target, command, origin, hops } => {
            on_command(work, target.clone(), command, *origin, *hops)
        }
        LoopBody::Link { target, from, exclusive, evidence, origin } => {
            links::link(work, link(target, from, (exclusive, 0), evidence, origin))
        }
        LoopBody::Ask { target, from, exclusive, identities, evidence, origin } => {
            links::ask(work, link(target, from, (exclusive, *identities), evidence, origin))
        }
        LoopBody::Grant { target, from, exclusive, identities, evidence, origin } => {
            links::grant(work, link(target, from, (exclusive, *identities), evidence, origin))
        }
        LoopBody::MergeIn { target, from, into, snapshot, evidence, origin } => {
            links::merge_in(work, target.clone(), (from.clone(), into.clone()), snapshot.clone(), *evidence, *origin)
        }
        LoopBody::Bought { target, buyer, lines, origin } => {
            orders::bought(work, target, buyer, lines.as_ref(), *origin)
        }
        LoopBody::Member { target, member, inside, at } => groups::member(work, target, member, (*at, *inside)),
        LoopBody::Redeem { target, from, exclusive, at, origin } => {
            tokens::redeem(work, target, (from, exclusive), *at, *origin)
        }
        LoopBody::Part { target, snapshot, origin, .. } => {
            parting::receive(work, target, (**snapshot).clone(), *origin)
        }
        LoopBody::Release { target, from } => links::release(work, target, from),
        LoopBody::Again { target, from } => links::again(work, target, from),
        LoopBody::Activation { number, tenant, sources, migrations } => {
            activation::put_in_force(work, *number, tenant, sources, migrations);
            Ok(())
        }
        LoopBody::Directory { tenant, yaml } => {
            commands::directory_set(work, tenant, yaml);
            Ok(())
        }
    }
}
