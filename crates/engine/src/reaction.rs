//! What a contact does with something that happened: remember it, run the rules, move its journeys.
//!
//! ```text
//!   event ──▶ remember (counts, attributes, groups) ──▶ correct what timers concluded wrongly ──▶ metrics
//!         ──▶ rules, in rounds ──▶ journeys ──▶ arm what waits from here on
//!   timer ──▶ rules, in rounds ──▶ journeys ──▶ arm what waits from here on
//! ```

use crate::activation;
use crate::apply;
use crate::cell::Contact;
use crate::journeys::{self, Happening};
use crate::metrics;
use crate::observed;
use crate::overlay::ViewError;
use crate::rules::{self, Case, Changes, Judged};
use crate::segments;
use crate::timers;
use crate::waits;
use crate::work::{InForce, Work};
use std::collections::BTreeSet;
use touchline_model::command::TagRef;
use touchline_model::event::FieldRef;
use touchline_model::id::CellKey;
use touchline_model::kind::Kind;
use touchline_model::time::Time;
use touchline_model::value::Value;

/// Longest text of a profile that is kept, in bytes: it is part of the hot value, and nothing compares with more.
const PROFILE_BYTES_MAX: usize = 1_024;

/// Brings a contact under the bundle in force, before its first record under it: segments it is in, silences that run.
/// So does a change of the directory, for segments by kinds of groups and products.
/// Nothing is triggered by what already held when the bundle came into force (for a change of the directory: by what holds
/// now), nor before what time has changed and is still to be said. What time has changed since is left to timers.
pub(crate) fn settle(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    contact: &mut Contact,
    in_force: &InForce,
) -> Result<(), ViewError> {
    if contact.settled == in_force.number() || activation::is_ahead(contact, in_force) {
        return Ok(());
    }
    let known = std::mem::replace(&mut contact.settled, in_force.number());
    activation::release(work, cell, contact, known);
    let is_new = known.0 != contact.settled.0 || known.1 == activation::FROM_ELSEWHERE;
    let as_of = if is_new { work.clock.min(in_force.since.at) } else { work.clock };
    let as_of = contact.timers.first().map_or(as_of, |(due, _)| as_of.min(Time(due.0.saturating_sub(1))));
    let cause = work.cause("activation", work.position, in_force.bundle.number);
    let case = Case::new(cell, in_force, as_of, cause);
    activation::migrate(work, &case, contact)?;
    rules::keep_latest(work, &case, contact)?;
    let is_known = |segment: &String| in_force.bundle.segments.contains_key(segment);
    contact.past.segments.retain(is_known);
    // Of somebody who has done nothing yet nothing holds yet: the first event judges all segments.
    if contact.seen.is_some() {
        segments::refresh(work, &case, contact);
    }
    if is_new {
        waits::settle(work, &case, contact, |key| in_force.since.of_wait(key, known.0));
    }
    Ok(())
}

/// An event of the contact.
pub(crate) fn on_event(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    judged: &mut Judged<'_>,
) -> Result<(), ViewError> {
    let known = waits::Known::of(case, contact);
    let is_first = contact.seen.is_none();
    apply::remember(contact, Some(case.bundle), judged.event, case.at);
    learn(case, contact, judged);
    let (moved, unknown) = observed::learn(contact, (Some(case.bundle), case.directory), judged.event, case.at);
    work.effects.notes.tags_unknown += unknown;
    waits::replies(work, case, contact, judged);
    waits::correct(work, case, contact, judged, &known)?;
    waits::begin(work, case, contact, judged);
    metrics::on_event(work, case, contact, judged)?;
    let changes = rules::on_event(work, case, contact, judged, (is_first, &moved))?;
    journeys::on_record(work, case, contact, Happening::Event(judged), &changes);
    waits::arm(work, case, contact, &known.moments);
    waits::fire_past(work, case.cell, contact)
}

/// A timer of the contact that is no journey's: a segment may have changed by time alone, or a wait is over. Everything
/// is known that time alone has changed until `known_until`: that is when it was due, unless that had passed before it
/// became known. The contact has come under the bundle in force.
pub(crate) fn on_timer(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    contact: &mut Contact,
    (due, name): (Time, &str),
    known_until: Time,
) -> Result<(), ViewError> {
    let Some(in_force) = work.in_force(&cell.tenant()) else { return Ok(()) };
    let cause = work.cause("timer", work.position, in_force.bundle.number);
    let case = Case::new(cell, &in_force, due, cause).known_until(known_until);
    let reached = waits::moments(&case, contact);
    match name.split_once('|') {
        Some(("w", segment)) => {
            let before = waits::Before::of(contact);
            let changes = segments::judge(work, &case, contact, [segment]);
            let concluded = changes.first().map(|change| waits::What::Segment(change.segment.clone(), change.entered));
            let changes = rules::cascade(work, &case, contact, Changes { segments: changes, ..Changes::default() })?;
            journeys::on_record(work, &case, contact, Happening::Nothing, &changes);
            if let Some(concluded) = concluded {
                waits::conclude(work, &case, contact, concluded, changes, &before);
            }
        }
        Some(("x", _)) => journeys::on_record(work, &case, contact, Happening::Nothing, &Changes::default()),
        _ => {
            let Some(wait) = waits::key(name) else { return Ok(()) };
            let before = waits::Before::of(contact);
            let changes = rules::on_wait(work, &case, contact, wait)?;
            journeys::on_record(work, &case, contact, Happening::Wait(wait), &changes);
            waits::conclude(work, &case, contact, waits::What::Wait(wait), changes, &before);
        }
    }
    waits::arm(work, &case, contact, &reached);
    Ok(())
}

/// Somebody sets and unsets tags.
pub(crate) fn by_hand(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    set: &[TagRef],
    unset: &[TagRef],
) -> Result<(), ViewError> {
    let reached = waits::moments(case, contact);
    let changes = rules::by_hand(work, case, contact, set, unset)?;
    journeys::on_record(work, case, contact, Happening::Nothing, &changes);
    waits::arm(work, case, contact, &reached);
    Ok(())
}

/// Another contact has been merged into this one.
/// Its waits that were `pending` go on, those that are `over` do not begin again.
pub(crate) fn after_merge(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    (pending, over): (&[waits::Due], &BTreeSet<waits::Due>),
) -> Result<(), ViewError> {
    let reached = waits::moments(case, contact);
    let all = case.bundle.segments.keys().map(String::as_str);
    let segments = segments::judge(work, case, contact, all);
    waits::merge(work, case, contact, pending, over);
    let changes = rules::cascade(work, case, contact, Changes { segments, ..Changes::default() })?;
    journeys::on_record(work, case, contact, Happening::Nothing, &changes);
    waits::arm(work, case, contact, &reached);
    Ok(())
}

/// What the playbooks want remembered of an event: counts, profile fields, computed dates.
fn learn(case: &Case<'_>, contact: &mut Contact, judged: &mut Judged<'_>) {
    let (bundle, event, at) = (case.bundle, judged.event, case.at);
    for key in bundle.tallies_by_event.get(event.name()).into_iter().flatten() {
        if let Some(tallied) = bundle.tallies.get(key) {
            tallied.add(*key, &mut contact.past, event, &mut judged.scan, at);
        }
    }
    if event.kind == Kind::ProfileUpdated {
        for field in &bundle.profile_fields {
            let Some(FieldRef::Value(value)) = event.field(field) else { continue };
            let fits = match value {
                Value::Text(text) => text.len() <= PROFILE_BYTES_MAX,
                Value::Number(_) | Value::Bool(_) | Value::Time(_) => true,
                Value::List(_) | Value::Record(_) => false,
            };
            if !fits {
                continue;
            }
            let value = value.clone();
            contact.past.learn(&format!("profile.{field}"), value, at);
        }
    }
    for name in bundle.computed_by_event.get(event.name()).into_iter().flatten() {
        let Some(computed) = bundle.attributes.get(name).and_then(|attribute| attribute.computed.as_ref()) else {
            continue;
        };
        if computed.takes(contact.past.attributes.get(name).map(|known| known.at), at)
            && computed.from.matches(event, &mut judged.scan).is_match()
            && let Some(date) = computed.date(event, at, case.directory)
        {
            contact.past.set(name, date, at);
        }
    }
}

/// A journey that ends when a condition holds is looked at again when time alone may have made it hold.
pub(crate) fn watch_exits(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact) {
    for journey in journeys::exits(case, contact) {
        let Some(when) = journey.exit_when.as_ref().filter(|when| when.ages()) else { continue };
        let name = journeys::name(journey);
        let is_running = contact.enrolments.get(&name).is_some_and(|enrolment| enrolment.is_active());
        let next = if is_running { when.next_change(contact, case.now(contact)) } else { None };
        timers::set(work, case.cell, contact, next, &format!("x|{name}"));
    }
}
