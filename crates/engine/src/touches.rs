//! Touches that are due and not confirmed: given, reported, expired.
//!
//! A contact's touches are part of its hot value, and move with it at a merge: so they are bounded, and what is due
//! beyond that is said as skipped.

use crate::cell::Contact;
use crate::rules::Case;
use crate::work::Work;
use crate::{journeys, timers};
use touchline_model::id::CellKey;
use touchline_model::output::{Cause, Output, Touch, TouchState};
use touchline_model::past::Sent;
use touchline_model::time::Time;

/// Touches of one contact that wait at once: more than staff can mean to do with one person.
const TOUCHES_MAX: usize = 64;
/// Former names of touches kept of one contact.
const RENAMED_MAX: usize = 2 * TOUCHES_MAX;
/// So many touches wait already.
pub(crate) const TOO_MANY: &str = "too_many";
/// Longest name of a touch that is kept, in bytes: tenant, journey and step have bounds of their own.
const ID_BYTES_MAX: usize = 1_200;

/// Whether nothing more can be given to the contact's staff until something is reported or expires.
pub(crate) fn is_full(contact: &Contact) -> bool {
    contact.touches.len() >= TOUCHES_MAX
}

/// Says a touch that is due; it waits until somebody reports on it, or nobody does in time.
pub(crate) fn give(work: &mut Work<'_, '_>, cell: &CellKey, contact: &mut Contact, touch: Touch) {
    if is_full(contact) {
        return skip(work, touch, TOO_MANY);
    }
    timers::arm(work, cell, contact, touch.expires_at, &timers::expiry(&touch.id));
    contact.touches.insert(touch.id.clone(), Box::new(touch.clone()));
    work.say(Output::Touch(touch));
}

/// Says that a touch will not be given, and why.
pub(crate) fn skip(work: &mut Work<'_, '_>, touch: Touch, reason: &str) {
    work.say(Output::Touch(Touch { state: TouchState::Skipped, reason: reason.to_owned(), ..touch }));
}

/// Says that a touch which waits, given by a rule, is not to be done after all.
pub(crate) fn cancel(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact, id: &str, reason: &str) {
    let Some(touch) = take(contact, id) else { return };
    let cause = case.decided_by(&touch.playbook, format!("rules/{}/{reason}", touch.step), None);
    work.say(Output::Touch(Touch { state: TouchState::Cancelled, reason: reason.to_owned(), cause, ..*touch }));
}

/// Forgets a touch that waits, by its present name.
pub(crate) fn take(contact: &mut Contact, id: &str) -> Option<Box<Touch>> {
    let touch = contact.touches.remove(id)?;
    timers::disarm(contact, &timers::expiry(id));
    contact.renamed.retain(|_, name| name != id);
    Some(touch)
}

/// From now on a report on `former` is one on the touch `id`, which waits here: somebody was told of it by that name.
pub(crate) fn rename(contact: &mut Contact, former: String, id: &str) {
    if contact.touches.contains_key(id) && contact.renamed.len() < RENAMED_MAX {
        contact.renamed.insert(former, id.to_owned());
    }
}

/// The touch that waits under this name or had it in a contact that has been merged into this one.
fn waiting<'c>(contact: &'c Contact, id: &str) -> Option<&'c Touch> {
    let id = contact.renamed.get(id).map_or(id, String::as_str);
    contact.touches.get(id).map(|touch| &**touch)
}

/// Nobody confirmed the touch in time.
pub(crate) fn expired(work: &mut Work<'_, '_>, contact: &mut Contact, id: &str, due: Time) {
    let Some(touch) = take(contact, id) else { return };
    let journey_name = format!("{}/{}", touch.playbook, touch.journey);
    let origin = Some(touch.cause.position);
    let cause = Cause { position: work.position, origin, ..touch.cause.clone() };
    work.say(Output::Touch(Touch { state: TouchState::Missed, reason: "expired".to_owned(), cause, ..*touch }));
    journeys::complete(contact, &journey_name, due);
}

/// A touch was sent: it is what a reply answers, and its content was received.
pub(crate) fn sent(contact: &mut Contact, id: &str, at: Time) {
    let (touch, touchpoint) = match waiting(contact, id) {
        // What staff were given to do is nothing that the contact was sent.
        Some(touch) if touch.journey.is_empty() => return,
        Some(touch) => {
            let (name, touchpoint) = (format!("{}/{}", touch.journey, touch.step), touch.touchpoint.clone());
            let content = touch.content.clone();
            contact.past.receive(&content, at);
            (name, touchpoint)
        }
        // Reported late: its name still says which step it was.
        None => {
            let parts: Vec<&str> = id.split('/').collect();
            let [_, _, journey, number, step] = parts[..] else { return };
            if number.parse::<u32>().is_err() || id.len() > ID_BYTES_MAX {
                return;
            }
            let step = step.split_once('#').map_or(step, |(step, _)| step);
            (format!("{journey}/{step}"), String::new())
        }
    };
    contact.past.send(Sent { at, touch, touchpoint });
}

/// A channel or a person reported on a touch: it is no longer waiting.
pub(crate) fn reported(contact: &mut Contact, id: &str, at: Time) {
    let Some(id) = waiting(contact, id).map(|touch| touch.id.clone()) else { return };
    let Some(touch) = take(contact, &id) else { return };
    journeys::complete(contact, &format!("{}/{}", touch.playbook, touch.journey), at);
}
