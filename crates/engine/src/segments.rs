//! Segments: who is in one is a fact of the contact, kept as its past changes and as time goes by.

use crate::cell::Contact;
use crate::rules::Case;
use crate::timers;
use crate::work::Work;
use touchline_playbook::bundle::Bundle;
use touchline_playbook::listening::Heard;
use touchline_playbook::measure::Now;

/// A contact came into a segment, or left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentChange {
    pub(crate) segment: String,
    pub(crate) entered: bool,
}

/// Judges these segments anew; each that ages is judged again when time alone may change it.
pub(crate) fn judge<'s>(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    segments: impl IntoIterator<Item = &'s str>,
) -> Vec<SegmentChange> {
    let mut changes = Vec::new();
    // What comes late does not bring back what time has ended.
    let now = case.now(contact);
    let now = Now { at: now.at.max(case.known_until), ..now };
    for name in segments {
        let Some(condition) = case.bundle.segments.get(name) else { continue };
        let entered = condition.holds(contact, now);
        if entered != contact.past.segments.contains(name) {
            if entered {
                contact.past.segments.insert(name.to_owned());
            } else {
                contact.past.segments.remove(name);
            }
            changes.push(SegmentChange { segment: name.to_owned(), entered });
        }
        if condition.ages() {
            let next = condition.next_change(contact, now);
            timers::set(work, case.cell, contact, next, &format!("w|{name}"));
        }
    }
    changes
}

/// All segments, with no word about who came or left.
pub(crate) fn refresh(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact) {
    judge(work, case, contact, case.bundle.segments.keys().map(String::as_str));
}

/// Whether anything happens when somebody comes into the segment, or leaves it.
pub(crate) fn is_heard(bundle: &Bundle, segment: &str) -> bool {
    let heard = [Heard::SegmentEntered(segment.to_owned()), Heard::SegmentLeft(segment.to_owned())];
    let listens =
        |to: &Heard| !bundle.rules_listening.to(to).is_empty() || !bundle.journeys_listening.to(to).is_empty();
    heard.iter().any(listens)
}
