//! Waits: silences and dates that come, and what is taken back when a late event shows that one concluded wrongly.

use crate::cell::Contact;
use crate::overlay::ViewError;
use crate::rules::{self, Case, Changes, Judged, Said};
use crate::timers;
use crate::work::Work;
use crate::{activation, journeys, keys, reaction, segments, touches};
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::event::{Event, FieldRef};
use touchline_model::id::CellKey;
use touchline_model::kind::Kind;
use touchline_model::output::TagChange;
use touchline_model::past::{Past, Tally};
use touchline_model::snapshot::{Changed, Conclusion, Enrolment};
use touchline_model::time::{Span, Time};
use touchline_playbook::bundle::{Bundle, Wait};
use touchline_playbook::measure::Now;
use touchline_playbook::waits::Silence;

/// How long after a conclusion a late event may disprove it.
pub(crate) const GRACE: Span = Span::hours(6);
/// Conclusions kept of one contact: more than the rules of a few hours make.
const CONCLUSIONS_MAX: usize = 32;
/// Why a journey that a wrong conclusion entered ends.
const RETRACTED: &str = "retracted";

/// The timer of a wait.
fn timer(key: u64) -> String {
    format!("q|{key:016x}")
}

/// The wait that a timer is of.
pub(crate) fn key(timer: &str) -> Option<u64> {
    u64::from_str_radix(timer.strip_prefix("q|")?, 16).ok()
}

/// When each date that is waited for comes, to see what a record changes.
pub(crate) fn moments(case: &Case<'_>, contact: &Contact) -> BTreeMap<u64, Option<Time>> {
    let at = case.now(contact).at;
    let moment = |key: &u64| match case.bundle.waits.get(key)? {
        Wait::Reached(reached) => Some((*key, reached.moment(&contact.past, at))),
        Wait::Silence(_) | Wait::NotReplied { .. } => None,
    };
    case.bundle.dates.iter().filter_map(moment).collect()
}

/// Arms the dates that have changed since `before`, and what ends journeys by time.
pub(crate) fn arm(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    before: &BTreeMap<u64, Option<Time>>,
) {
    for (key, moment) in moments(case, contact) {
        if before.get(&key) != Some(&moment) {
            timers::set(work, case.cell, contact, moment, &timer(key));
        }
    }
    reaction::watch_exits(work, case, contact);
}

/// A date that had passed when it became known happens at once.
pub(crate) fn fire_past(work: &mut Work<'_, '_>, cell: &CellKey, contact: &mut Contact) -> Result<(), ViewError> {
    let is_past = |(due, name): &&(Time, String), clock: Time| *due <= clock && key(name).is_some();
    // Each fires once; what firing one arms lies in the past only if its own date does.
    for _ in 0..CONCLUSIONS_MAX {
        let clock = work.clock;
        let Some((due, name)) = contact.timers.iter().find(|timer| is_past(timer, clock)).cloned() else { break };
        contact.timers.retain(|timer| *timer != (due, name.clone()));
        work.delete(keys::timer(due, cell, &name));
        reaction::on_timer(work, cell, contact, (due, &name), clock)?;
    }
    Ok(())
}

/// Notices which touches an event answers: a message of the contact alone with staff, before the next touch was sent.
pub(crate) fn replies(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact, judged: &mut Judged<'_>) {
    if !is_answer(judged.event) {
        return;
    }
    let Some(sent) = contact.past.sent.iter().rfind(|sent| sent.at <= case.at).cloned() else { return };
    for (key, reply) in case.bundle.replies.iter().filter(|(_, reply)| reply.touch == sent.touch) {
        let in_time = reply.within.is_none_or(|within| case.at <= sent.at.plus(within));
        if in_time && reply.keywords.as_ref().is_none_or(|set| judged.scan.hit("text", set).is_some()) {
            judged.replied.push(*key);
            let tally = contact.past.tallies.entry(*key).or_insert(Tally::Ends { first: case.at, last: case.at });
            tally.merge(Tally::Ends { first: case.at, last: case.at }, 0);
        }
    }
    for (key, wait) in &case.bundle.waits {
        if matches!(wait, Wait::NotReplied { touch, .. } if *touch == sent.touch) {
            timers::set(work, case.cell, contact, None, &timer(*key));
        }
    }
}

/// An event starts a silence, or breaks it and starts it anew.
pub(crate) fn begin(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact, judged: &mut Judged<'_>) {
    if judged.event.kind == Kind::TouchSent {
        sent(work, case, contact, judged);
    }
    for (key, silence) in broken(case.bundle, contact, judged) {
        let known = contact.past.silences.get(&key).copied();
        // What starts it may come late, after what has broken it since.
        let broken = if known.is_none() { silence.known_since(&contact.past, true) } else { None };
        let since = broken.unwrap_or(case.at).max(case.at);
        // What came before the latest is no news: its silence has run, or runs.
        if known.is_none_or(|known| known < since) {
            contact.past.silences.insert(key, since);
            timers::set(work, case.cell, contact, Some(since.plus(silence.span)), &timer(key));
        }
    }
}

/// Whether the contact says something, and not in a group.
fn is_answer(event: &Event) -> bool {
    let text = |path| event.field(path).and_then(FieldRef::as_text);
    event.kind == Kind::ChatMessage && text("direction") == Some("in") && text("conversation.type") != Some("group")
}

/// A touch was sent that somebody may answer.
fn sent(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact, judged: &Judged<'_>) {
    for key in case.bundle.waits_by_event.get(judged.event.name()).into_iter().flatten() {
        let Some(Wait::NotReplied { touch, after }) = case.bundle.waits.get(key) else { continue };
        if contact.past.sent.iter().any(|sent| sent.at == case.at && sent.touch == *touch) {
            timers::set(work, case.cell, contact, Some(case.at.plus(*after)), &timer(*key));
        }
    }
}

/// Silences that the event starts or breaks.
fn broken<'b>(bundle: &'b Bundle, contact: &Contact, judged: &mut Judged<'_>) -> Vec<(u64, &'b Silence)> {
    let mut broken = Vec::new();
    for key in bundle.waits_by_event.get(judged.event.name()).into_iter().flatten() {
        let Some(Wait::Silence(silence)) = bundle.waits.get(key) else { continue };
        let mut fits = |pattern: &touchline_playbook::bundle::Pattern| judged.fits(pattern);
        let runs = contact.past.silences.contains_key(key);
        if fits(&silence.since) || (runs && silence.patterns.iter().any(fits)) {
            broken.push((*key, silence));
        }
    }
    broken
}

/// Under a new bundle silences go on from what is known, and dates are waited for. What had passed when the bundle came
/// into force is no news; what has passed since, by `since` of each wait, is overdue.
pub(crate) fn settle(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact, since: impl Fn(u64) -> Time) {
    await_all(work, case, contact, |(moment, key)| moment > since(key));
}

/// Arms every wait whose moment, not armed yet, is still news.
fn await_all(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact, is_news: impl Fn(Due) -> bool) {
    contact.past.silences.retain(|key, _| matches!(case.bundle.waits.get(key), Some(Wait::Silence(_))));
    for (key, wait) in &case.bundle.waits {
        let moment = match wait {
            Wait::Silence(silence) => {
                let known = contact.past.silences.get(key).copied();
                let since = known.or_else(|| silence.known_since(&contact.past, false));
                if let Some(since) = since {
                    contact.past.silences.insert(*key, since);
                }
                since.map(|since| since.plus(silence.span))
            }
            Wait::Reached(reached) => reached.moment(&contact.past, case.now(contact).at),
            // Runs from when a touch is sent: what was sent before has its timer, or its answer.
            Wait::NotReplied { .. } => continue,
        };
        let is_armed = |(due, name): &(Time, String)| Some(*due) == moment && *name == timer(*key);
        if contact.timers.iter().any(is_armed) {
            // It may be overdue: it fires in its turn.
            continue;
        }
        let moment = moment.filter(|moment| is_news((*moment, *key)));
        timers::set(work, case.cell, contact, moment, &timer(*key));
    }
    reaction::watch_exits(work, case, contact);
}

/// How a contact stands before something is concluded: to see what the conclusion has led to.
pub(crate) struct Before {
    /// Journeys, each with the number of the latest entry.
    entered: BTreeMap<String, u32>,
    /// Touches that wait.
    touches: BTreeSet<String>,
}

impl Before {
    pub(crate) fn of(contact: &Contact) -> Self {
        Self { entered: entered(contact), touches: contact.touches.keys().cloned().collect() }
    }
}

fn entered(contact: &Contact) -> BTreeMap<String, u32> {
    contact.enrolments.iter().map(|(name, enrolment)| (name.clone(), enrolment.number)).collect()
}

/// What has been concluded.
pub(crate) enum What {
    /// A wait is over: its key.
    Wait(u64),
    /// Time alone has brought the contact into a segment, or out of it.
    Segment(String, bool),
}

/// Remembers what a wait, or time alone, has led to.
pub(crate) fn conclude(
    work: &Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    what: What,
    changes: Changes,
    before: &Before,
) {
    let changed = |Said { change, was }| {
        let TagChange { group, set, unset, .. } = change;
        Changed { group, set, unset, was }
    };
    let changes: Vec<Changed> = changes.tags.into_iter().map(changed).collect();
    let numbers = entered(contact).into_iter();
    let entered: Vec<(String, u32)> =
        numbers.filter(|(name, number)| before.entered.get(name) != Some(number)).collect();
    // Those of journeys end with their journeys.
    let tasks = contact.touches.values().filter(|touch| touch.journey.is_empty());
    let touches: Vec<String> = tasks.map(|touch| touch.id.clone()).filter(|id| !before.touches.contains(id)).collect();
    let (wait, segment) = match what {
        What::Wait(wait) => (wait, None),
        What::Segment(segment, entered) => (0, Some((segment, entered))),
    };
    forget(work, contact);
    let is_heard = segment.as_ref().is_some_and(|(segment, _)| segments::is_heard(case.bundle, segment));
    let at = case.at;
    let is_nothing = changes.is_empty() && entered.is_empty() && touches.is_empty() && !is_heard;
    if is_nothing || at.plus(GRACE) < work.clock {
        return;
    }
    keep(contact, Conclusion { wait, segment, at, changes, entered, touches });
}

/// Remembers a conclusion, in the place of the oldest where there are too many.
fn keep(contact: &mut Contact, conclusion: Conclusion) {
    if contact.concluded.len() >= CONCLUSIONS_MAX {
        contact.concluded.remove(0);
    }
    contact.concluded.push(conclusion);
}

/// When a wait is over, or was, and its key.
pub(crate) type Due = (Time, u64);

/// Waits that are not over, for whoever goes on.
pub(crate) fn pending(contact: &Contact) -> Vec<Due> {
    contact.timers.iter().filter_map(|(due, name)| Some((*due, key(name)?))).collect()
}

/// Waits of a past that are over, each with its moment: those that are not pending.
pub(crate) fn over(case: &Case<'_>, past: &Past, pending: &[Due]) -> BTreeSet<Due> {
    let moment = |(key, wait): (&u64, &Wait)| {
        let moment = match wait {
            Wait::Silence(silence) => past.silences.get(key)?.plus(silence.span),
            Wait::Reached(reached) => reached.moment(past, case.at)?,
            Wait::NotReplied { .. } => return None,
        };
        Some((moment, *key)).filter(|wait| !pending.contains(wait))
    };
    case.bundle.waits.iter().filter_map(moment).collect()
}

/// Takes over the waits of a merged contact: each goes on from the later moment. One that is over there is over here,
/// and one that is not, though it would be by the clock here, is still to come.
pub(crate) fn merge(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    pending: &[Due],
    over: &BTreeSet<Due>,
) {
    // Also those that the bundle here does not have yet: of one that stays unknown nothing comes when it is over.
    for (due, key) in pending {
        let name = timer(*key);
        let is_later = contact.timers.iter().all(|(armed, other)| *other != name || armed < due);
        if is_later {
            timers::arm(work, case.cell, contact, *due, &name);
        }
    }
    // What has passed by the clock here has happened here, or is no news.
    let clock = work.clock;
    await_all(work, case, contact, |due| due.0 > clock && !over.contains(&due));
}

/// Takes over what waits of a merged contact have concluded, where it is not what this contact had by itself. `had`: the
/// tags it had; `theirs`: the journeys of the other one.
pub(crate) fn merge_concluded(
    contact: &mut Contact,
    concluded: Vec<Conclusion>,
    had: &BTreeMap<String, BTreeMap<String, Time>>,
    theirs: &[(String, Enrolment)],
) {
    for mut conclusion in concluded {
        conclusion.changes.retain(|change| {
            let is_mine = |set: &String| had.get(&change.group).is_some_and(|tags| tags.contains_key(set));
            !change.set.as_ref().is_some_and(is_mine)
        });
        let entered = |(name, number): (String, u32)| {
            let entered = theirs.iter().find(|(other, of)| *other == name && of.number == number)?.1.entered_at;
            let here = contact.enrolments.get(&name).filter(|here| here.entered_at == entered)?;
            Some((name, here.number))
        };
        conclusion.entered = std::mem::take(&mut conclusion.entered).into_iter().filter_map(entered).collect();
        let renamed = |id: String| contact.renamed.get(&id).cloned();
        conclusion.touches = std::mem::take(&mut conclusion.touches).into_iter().filter_map(renamed).collect();
        if !conclusion.changes.is_empty() || !conclusion.entered.is_empty() || !conclusion.touches.is_empty() {
            keep(contact, conclusion);
        }
    }
    // In the order in which they came to be, as far as that can be told.
    contact.concluded.sort_by_key(|conclusion| conclusion.at);
}

/// What is known before an event, to see what the event changes.
pub(crate) struct Known {
    /// When each date comes: see [`moments`].
    pub(crate) moments: BTreeMap<u64, Option<Time>>,
    /// Which conclusions about segments the event may disprove, and hold: their moments and names. What else has changed
    /// since they were drawn disproves nothing.
    standing: BTreeSet<(Time, String)>,
}

impl Known {
    pub(crate) fn of(case: &Case<'_>, contact: &Contact) -> Self {
        let about = contact.concluded.iter().filter(|conclusion| case.at <= conclusion.at);
        let stands = about.filter_map(|conclusion| {
            let (segment, _) = conclusion.segment.as_ref().filter(|_| holds(case, contact, conclusion))?;
            Some((conclusion.at, segment.clone()))
        });
        Self { moments: moments(case, contact), standing: stands.collect() }
    }
}

/// Whether a conclusion about a segment is right by what is known.
fn holds(case: &Case<'_>, contact: &Contact, conclusion: &Conclusion) -> bool {
    let Some((segment, entered)) = &conclusion.segment else { return false };
    let now = Now { at: conclusion.at, directory: case.directory };
    case.bundle.segments.get(segment).is_some_and(|condition| condition.holds(contact, now) == *entered)
}

/// Takes back what a silence, a date or time alone concluded, where this event shows that it was wrong.
pub(crate) fn correct(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    judged: &mut Judged<'_>,
    known: &Known,
) -> Result<(), ViewError> {
    if contact.concluded.is_empty() {
        return Ok(());
    }
    forget(work, contact);
    let broken = broken(case.bundle, contact, judged);
    let now = case.now(contact).at;
    let is_answer = is_answer(judged.event);
    let is_wrong = |conclusion: &Conclusion, contact: &Contact| {
        // What came after it says nothing about it.
        if case.at > conclusion.at {
            return false;
        }
        let key = conclusion.wait;
        if let Some((segment, _)) = &conclusion.segment {
            return known.standing.contains(&(conclusion.at, segment.clone())) && !holds(case, contact, conclusion);
        }
        match case.bundle.waits.get(&key) {
            Some(Wait::Silence(silence)) => {
                broken.iter().any(|(broken, _)| *broken == key) && case.at.plus(silence.span) > conclusion.at
            }
            Some(Wait::NotReplied { touch, after }) => {
                let answered = contact.past.sent.iter().rfind(|sent| sent.at <= case.at);
                is_answer && answered.is_some_and(|sent| sent.touch == *touch && sent.at.plus(*after) == conclusion.at)
            }
            // This event has moved the date, and no other one before it.
            Some(Wait::Reached(reached)) => {
                known.moments.get(&key) == Some(&Some(conclusion.at))
                    && reached.moment(&contact.past, now) != Some(conclusion.at)
            }
            None => false,
        }
    };
    let (wrong, right): (Vec<_>, Vec<_>) =
        std::mem::take(&mut contact.concluded).into_iter().partition(|conclusion| is_wrong(conclusion, contact));
    contact.concluded = right;
    let is_retracted = !wrong.is_empty();
    for conclusion in wrong.iter().rev() {
        rules::retract(work, case, contact, &conclusion.changes)?;
        for (name, number) in &conclusion.entered {
            journeys::retract(work, case, contact, (name, *number), RETRACTED);
        }
        for id in &conclusion.touches {
            touches::cancel(work, case, contact, id, RETRACTED);
        }
    }
    // It never left, or came: whether it does now is judged as usual.
    for conclusion in wrong.iter().rev() {
        let Some((segment, entered)) = &conclusion.segment else { continue };
        let is_last = |other: &Conclusion| {
            other.at > conclusion.at && other.segment.as_ref().is_some_and(|(other, _)| other == segment)
        };
        if contact.concluded.iter().any(is_last) {
            continue;
        }
        if *entered {
            contact.past.segments.remove(segment);
        } else {
            contact.past.segments.insert(segment.clone());
        }
    }
    if is_retracted {
        // What is given back may have gone from the playbooks since.
        activation::migrate(work, case, contact)?;
    }
    Ok(())
}

/// What no late event can disprove any more.
fn forget(work: &Work<'_, '_>, contact: &mut Contact) {
    contact.concluded.retain(|conclusion| conclusion.at.plus(GRACE) >= work.clock);
}
