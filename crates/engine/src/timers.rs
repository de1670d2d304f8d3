//! Timers: armed in the contact and in an index in due order; cancelled lazily.
//!
//! A timer is valid when the contact's own list holds exactly its moment and name; everything else
//! in the index is stale. Every seek starts at `Meta::timers_from`, and arming below it moves it
//! back in the same batch: without that, timers are lost.

use crate::cell::{Cell, Contact};
use crate::overlay::ViewError;
use crate::work::Work;
use crate::{TIMERS_PER_RECORD_MAX, activation, groups, journeys, keys, orders, reaction, touches};
use touchline_model::id::CellKey;
use touchline_model::time::{Span, Time};

/// Arms a timer; one of the same name is replaced.
pub(crate) fn arm(work: &mut Work<'_, '_>, cell: &CellKey, contact: &mut Contact, due: Time, name: &str) {
    if let Some((replaced, _)) = contact.timers.iter().find(|(_, armed)| armed == name) {
        // What is armed anew with each event would fill the index with what is stale.
        work.delete(keys::timer(*replaced, cell, name));
    }
    disarm(contact, name);
    let entry = (due, name.to_owned());
    let at = contact.timers.partition_point(|armed| *armed < entry);
    contact.timers.insert(at, entry);
    arm_cell(work, cell, due, name);
}

/// Arms a timer, or forgets it; one that is armed for this moment stays.
pub(crate) fn set(work: &mut Work<'_, '_>, cell: &CellKey, contact: &mut Contact, due: Option<Time>, name: &str) {
    let armed = contact.timers.iter().find(|(_, armed)| armed == name).map(|(due, _)| *due);
    match due {
        Some(due) if armed != Some(due) => arm(work, cell, contact, due, name),
        None if armed.is_some() => disarm(contact, name),
        Some(_) | None => {}
    }
}

/// Arms a timer of a cell that keeps no list: what it means is asked when it fires.
pub(crate) fn arm_cell(work: &mut Work<'_, '_>, cell: &CellKey, due: Time, name: &str) {
    let key = keys::timer(due, cell, name);
    if key < work.meta.timers_from {
        work.meta.timers_from.clone_from(&key);
    }
    if key < work.memory.no_timer_before {
        work.memory.no_timer_before.clone_from(&key);
    }
    work.put(key, &());
}

/// Forgets a timer; its index entry turns stale.
pub(crate) fn disarm(contact: &mut Contact, name: &str) {
    contact.timers.retain(|(_, armed)| armed != name);
}

/// Timers of one contact that one record fires: more than anybody has, fewer than would hold up a partition.
const OWN_TIMERS_MAX: usize = 10_000;

/// Fires what is due of one contact, until nothing is: nobody's event overtakes their own timer.
pub(crate) fn fire_own(work: &mut Work<'_, '_>, cell: &CellKey) -> Result<(), ViewError> {
    let mut contact = match activation::settle_first(work, cell)? {
        Some(Cell::Contact(contact)) if !is_held(work, cell, &contact) => contact,
        other => {
            work.keep(cell, other);
            return Ok(());
        }
    };
    let clock = work.clock;
    if fire_while(work, cell, &mut contact, |(due, _)| *due <= clock)? {
        work.put_contact(cell, contact);
    } else {
        work.keep(cell, Some(Cell::Contact(contact)));
    }
    Ok(())
}

/// Whether the contact's timers wait for a bundle: see [`activation::is_ahead`].
fn is_held(work: &Work<'_, '_>, cell: &CellKey, contact: &Contact) -> bool {
    work.in_force(&cell.tenant())
        .map_or(contact.settled.1 == activation::FROM_ELSEWHERE, |in_force| activation::is_ahead(contact, &in_force))
}

/// Fires a contact's timers in their order, each after what firing the ones before it has armed, as long as the first is
/// due; whether one was.
fn fire_while(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    contact: &mut Contact,
    is_due: impl Fn(&(Time, String)) -> bool,
) -> Result<bool, ViewError> {
    let mut fired = false;
    for _ in 0..OWN_TIMERS_MAX {
        let Some((due, name)) = contact.timers.first().filter(|first| is_due(first)).cloned() else { break };
        contact.timers.remove(0);
        work.delete(keys::timer(due, cell, &name));
        fire(work, cell, contact, due, &name)?;
        fired = true;
    }
    Ok(fired)
}

/// Fires up to [`TIMERS_PER_RECORD_MAX`] due timers of any contact, in (due, cell, name) order.
pub(crate) fn fire_due(work: &mut Work<'_, '_>) -> Result<(), ViewError> {
    let until = keys::timers_until(work.clock.plus(Span(1)));
    let nothing_due = until <= work.memory.no_timer_before;
    let from = work.meta.timers_from.clone();
    let due = if nothing_due { Vec::new() } else { work.scan_keys(&from, &until, TIMERS_PER_RECORD_MAX)? };
    // Move past all of them first: firing one may arm another, which moves it back. When nothing due is left,
    // past everything due: what contacts fired of their own lies there as tombstones.
    match due.last() {
        Some(last) if due.len() == TIMERS_PER_RECORD_MAX => work.meta.timers_from = [last.as_slice(), &[0]].concat(),
        _ if from < until => work.meta.timers_from.clone_from(&until),
        _ => {}
    }
    if due.is_empty() {
        if !nothing_due {
            // Until the clock reaches the first entry there is nothing to look for.
            let first = work.scan_keys(&until.max(from), keys::TIMERS_END, 1)?.pop();
            work.memory.no_timer_before = first.unwrap_or_else(|| keys::TIMERS_END.to_vec());
        }
        return Ok(());
    }
    for key in due {
        work.delete(key.clone());
        let Some((due, cell, name)) = keys::parse_timer(&key) else { continue };
        // What falls due is judged by the bundle in force, whether or not the contact's turn has come.
        let mut contact = match activation::settle_first(work, &cell)? {
            Some(Cell::Contact(contact)) if !is_held(work, &cell, &contact) => contact,
            Some(Cell::Waiting { held }) => {
                orders::give_up(work, &cell, held)?;
                continue;
            }
            Some(Cell::Group(group)) => {
                groups::ask_again(work, &cell, group, due);
                continue;
            }
            other => {
                work.keep(&cell, other);
                continue;
            }
        };
        let entry = (due, name);
        if contact.timers.binary_search(&entry).is_err() {
            work.keep(&cell, Some(Cell::Contact(contact)));
            continue;
        }
        // What was armed meanwhile may be due before this one: of one contact everything happens in its order.
        fire_while(work, &cell, &mut contact, |first| *first <= entry)?;
        work.put_contact(&cell, contact);
    }
    let from = work.meta.timers_from.clone();
    work.effects.notes.timers_left = !work.scan_keys(&from, &until, 1)?.is_empty();
    Ok(())
}

fn fire(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    contact: &mut Contact,
    due: Time,
    name: &str,
) -> Result<(), ViewError> {
    work.effects.notes.timers_fired += 1;
    match name.split_once('|') {
        Some(("s", journey)) => journeys::step_due(work, cell, contact, journey, due),
        Some(("g", journey)) => journeys::goal_lapsed(contact, journey, due),
        Some(("e", touch)) => touches::expired(work, contact, touch, due),
        _ => return reaction::on_timer(work, cell, contact, (due, name), due),
    }
    Ok(())
}

/// Name of the one step timer of a journey.
pub(crate) fn step(journey: &str) -> String {
    format!("s|{journey}")
}

/// Name of the goal timer of a journey.
pub(crate) fn goal(journey: &str) -> String {
    format!("g|{journey}")
}

/// Name of the expiry timer of an unconfirmed touch.
pub(crate) fn expiry(touch: &str) -> String {
    format!("e|{touch}")
}
