//! Journeys: entry, steps relative to their anchor, goal, exit; and the touches they give.

mod merge;

use crate::cell::Contact;
use crate::rules::{
    Case, Changes, Judged, Said, change_fits, event_fits, heard_of_segment, heard_of_tags, segment_fits, wait_fits,
};
use crate::timers;
use crate::touches;
use crate::work::Work;
use std::collections::BTreeSet;
use touchline_model::id::{CellKey, IdKind, Position};
use touchline_model::output::{Cause, Output, Touch, TouchState};
use touchline_model::snapshot::{Enrolment, GoalUntil, Next};
use touchline_model::time::{Span, Time, Zone};
use touchline_playbook::bundle::{Journey, ReEntry, Step, Timing, Trigger};
use touchline_playbook::listening::Heard;
use touchline_playbook::measure::Now;

pub(crate) use merge::{leave, merge};

/// Why an enrolment ended whose next step has gone from the playbooks. What it has made due waits on.
const REMOVED: &str = "removed";

/// `playbook/journey`: how state and timers name a journey.
pub(crate) fn name(journey: &Journey) -> String {
    format!("{}/{}", journey.playbook, journey.id)
}

/// What journeys see besides changes.
pub(crate) enum Happening<'h, 'j> {
    /// An event.
    Event(&'h mut Judged<'j>),
    /// A wait is over.
    Wait(u64),
    /// Nothing but changes.
    Nothing,
}

/// Lets every journey see what happened, then each net change in order.
pub(crate) fn on_record(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    happening: Happening<'_, '_>,
    changes: &Changes,
) {
    match happening {
        Happening::Event(judged) => on_event(work, case, contact, judged),
        Happening::Wait(wait) => {
            let mut fits = |triggers: &[Trigger]| triggers.iter().any(|trigger| wait_fits(trigger, wait));
            on_heard(work, case, contact, &[Heard::Wait(wait)], &mut fits);
        }
        Happening::Nothing => {}
    }
    for Said { change, .. } in &changes.tags {
        let mut fits = |triggers: &[Trigger]| triggers.iter().any(|trigger| change_fits(trigger, change));
        on_heard(work, case, contact, &heard_of_tags(change), &mut fits);
    }
    for change in &changes.segments {
        let mut fits = |triggers: &[Trigger]| triggers.iter().any(|trigger| segment_fits(trigger, change));
        on_heard(work, case, contact, &[heard_of_segment(change)], &mut fits);
    }
    for event in &changes.handoffs {
        on_event(work, case, contact, &mut Judged::new(event, case.bundle, case.directory));
    }
    for journey in exits(case, contact) {
        if journey.exit_when.as_ref().is_some_and(|when| when.holds(contact, case.now(contact))) {
            end(work, case, contact, journey, "exit");
        }
    }
}

/// Journeys which the contact is or was in and that end when a condition holds, in file order.
pub(crate) fn exits<'b>(case: &Case<'b>, contact: &Contact) -> impl Iterator<Item = &'b Journey> + use<'b> {
    let bundle = case.bundle;
    let places: BTreeSet<usize> =
        contact.enrolments.keys().filter_map(|name| bundle.exits.get(name).copied()).collect();
    places.into_iter().map(|place| &bundle.journeys[place])
}

fn on_heard(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    heard: &[Heard],
    fits: &mut dyn FnMut(&[Trigger]) -> bool,
) {
    let journeys = &case.bundle.journeys_listening;
    let places: BTreeSet<usize> = heard.iter().flat_map(|heard| journeys.to(heard)).copied().collect();
    for place in places {
        happened(work, case, contact, &case.bundle.journeys[place], fits);
    }
}

fn on_event(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact, judged: &mut Judged<'_>) {
    for index in case.bundle.journeys_listening.to_event(&mut judged.scan) {
        let mut fits = |triggers: &[Trigger]| triggers.iter().any(|trigger| event_fits(trigger, judged).is_some());
        happened(work, case, contact, &case.bundle.journeys[index], &mut fits);
    }
}

/// Ends an enrolment that a wrong conclusion has begun.
pub(crate) fn retract(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    (journey_name, number): (&str, u32),
    reason: &str,
) {
    let journey = case.bundle.journeys.iter().find(|journey| name(journey) == journey_name);
    let is_it = contact.enrolments.get(journey_name).is_some_and(|enrolment| enrolment.number == number);
    if let (Some(journey), true) = (journey, is_it) {
        end(work, case, contact, journey, reason);
    }
}

/// One happening for one journey: goal before exit (success is recorded as such), exit before entry.
fn happened(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    journey: &Journey,
    fits: &mut dyn FnMut(&[Trigger]) -> bool,
) {
    if let Some(enrolment) = contact.enrolments.get_mut(&name(journey)).filter(|enrolment| enrolment.is_active()) {
        let in_time = enrolment.goal_until.is_some_and(|until| match until {
            GoalUntil::Moment(until) => case.at <= until,
            GoalUntil::Enrolment => true,
        });
        if in_time && journey.goal.as_ref().is_some_and(|goal| fits(&goal.triggers)) {
            enrolment.goal_reached = true;
            end(work, case, contact, journey, "goal");
        } else if fits(&journey.exit) {
            end(work, case, contact, journey, "exit");
        }
    }
    if fits(&journey.entry) {
        enter(work, case, contact, journey);
    }
}

fn enter(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact, journey: &Journey) {
    if !journey.entry_when.as_ref().is_none_or(|when| when.holds(contact, case.now(contact))) {
        return;
    }
    let journey_name = name(journey);
    let before = contact.enrolments.get(&journey_name);
    let number = before.map_or(0, |enrolment| enrolment.number);
    let is_running = before.is_some_and(|before| before.is_active());
    // Decision 9: an anchor older than the grace is history and enters nobody.
    let refused = if case.at.plus(journey.late_grace) < work.clock {
        Some("not_entered_historic")
    } else if journey.exit_when.as_ref().is_some_and(|when| when.holds(contact, case.now(contact))) {
        Some("not_entered_exit_holds")
    } else {
        None
    };
    if is_running && refused.is_some() {
        // Whoever is inside stays inside.
        return;
    }
    match before.map(|enrolment| (&enrolment.ended, journey.re_entry)) {
        None => {}
        Some((None, ReEntry::Each)) => end(work, case, contact, journey, "re_entered"),
        Some((None, ReEntry::Never | ReEntry::AfterExit(_))) => return,
        // A refused entry was none.
        Some((Some((reason, _)), _)) if reason.starts_with("not_entered") => {}
        Some((Some(_), ReEntry::Never)) => return,
        Some((Some((_, at)), ReEntry::AfterExit(span))) if case.at < at.plus(span) => return,
        Some((Some(_), ReEntry::AfterExit(_) | ReEntry::Each)) => {}
    }
    let mut enrolment = Enrolment {
        number: number + 1,
        entered_at: case.at,
        entered_by: case.cause.position,
        next: None,
        goal_until: None,
        goal_reached: false,
        ended: None,
    };
    if let Some(reason) = refused {
        enrolment.ended = Some((reason.to_owned(), case.at));
        if let Some(step) = journey.steps.first() {
            let planned = plan(journey, step, case.at, case.at);
            let touch = touch(case.cell, contact, journey, &enrolment, step, planned, case_cause(case, journey, step));
            touches::skip(work, touch, reason);
        }
        contact.enrolments.insert(journey_name, Box::new(enrolment));
        return;
    }
    if let Some(goal) = &journey.goal {
        enrolment.goal_until = Some(match goal.within {
            None => GoalUntil::Enrolment,
            Some(within) => {
                let until = case.at.plus(within);
                timers::arm(work, case.cell, contact, until, &timers::goal(&journey_name));
                GoalUntil::Moment(until)
            }
        });
    }
    if let Some(step) = journey.steps.first() {
        let planned = plan(journey, step, case.at, case.at);
        enrolment.next = Some(Next { step: step.id.clone(), index: 0, planned });
        timers::arm(work, case.cell, contact, planned, &timers::step(&journey_name));
    }
    contact.enrolments.insert(journey_name, Box::new(enrolment));
}

/// Ends a running enrolment: what was planned or is unconfirmed is cancelled, and says so.
fn end(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact, journey: &Journey, reason: &str) {
    let journey_name = name(journey);
    let Some(enrolment) = contact.enrolments.get_mut(&journey_name).filter(|enrolment| enrolment.is_active()) else {
        return;
    };
    enrolment.ended = Some((reason.to_owned(), case.at));
    let next = enrolment.next.take();
    let enrolment = enrolment.clone();
    timers::disarm(contact, &timers::step(&journey_name));
    timers::disarm(contact, &timers::goal(&journey_name));
    let cause = case.decided_by(&journey.playbook, format!("journeys/{}/{reason}", journey.id), None);
    let unconfirmed: Vec<Box<Touch>> = contact
        .touches
        .values()
        .filter(|touch| touch.playbook == journey.playbook && touch.journey == journey.id)
        .cloned()
        .collect();
    for touch in unconfirmed {
        touches::take(contact, &touch.id);
        let (state, reason, cause) = (TouchState::Cancelled, reason.to_owned(), cause.clone());
        work.say(Output::Touch(Touch { state, reason, cause, ..*touch }));
    }
    let Some(next) = next else { return };
    cancel_from(work, case.cell, contact, journey, &enrolment, &next, (reason, &cause));
}

/// Says of every step from `next` on that it will not go out.
fn cancel_from(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    contact: &Contact,
    journey: &Journey,
    enrolment: &Enrolment,
    next: &Next,
    why: (&str, &Cause),
) {
    cancel_between(work, cell, contact, journey, enrolment, (next, usize::MAX), why);
}

/// Says of every step from `next` up to the one with index `until` that it will not go out.
fn cancel_between(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    contact: &Contact,
    journey: &Journey,
    enrolment: &Enrolment,
    (next, until): (&Next, usize),
    (reason, cause): (&str, &Cause),
) {
    let mut say = |step: &Step, planned: Time| {
        let touch = touch(cell, contact, journey, enrolment, step, planned, cause.clone());
        work.say(Output::Touch(Touch { state: TouchState::Cancelled, reason: reason.to_owned(), ..touch }));
    };
    let known = journey.steps.iter().position(|step| step.id == next.step);
    if known.is_none() {
        // The bundle in force has dropped it: what it would have sent is not known any more.
        say(&dropped(next), next.planned);
    }
    let mut planned = next.planned;
    let from = known.unwrap_or(next.index as usize);
    for (index, step) in journey.steps.iter().enumerate().take(until).skip(from) {
        if known != Some(index) {
            planned = plan(journey, step, enrolment.entered_at, planned);
        }
        say(step, planned);
    }
}

/// A step that the playbook no longer has, by what the enrolment remembers of it.
fn dropped(next: &Next) -> Step {
    Step {
        id: next.step.clone(),
        timing: Timing::After(Span(0)),
        when: None,
        touchpoint: String::new(),
        content: String::new(),
        expires_after: Span(0),
    }
}

/// A step's moment has come: the touch is due, or says why not; the next step is armed.
pub(crate) fn step_due(work: &mut Work<'_, '_>, cell: &CellKey, contact: &mut Contact, journey_name: &str, due: Time) {
    let Some(mut enrolment) = contact.enrolments.get(journey_name).filter(|known| known.is_active()).cloned() else {
        return;
    };
    let Some(next) = enrolment.next.take() else { return };
    let in_force = work.in_force(&cell.tenant());
    let number = in_force.as_ref().map_or(0, |in_force| in_force.bundle.number);
    let journey = in_force
        .as_ref()
        .and_then(|in_force| in_force.bundle.journeys.iter().find(|known| name(known) == journey_name));
    let at = journey.and_then(|journey| journey.steps.iter().position(|step| step.id == next.step));
    let (Some(journey), Some(at)) = (journey, at) else {
        remove(work, cell, contact, journey_name, journey, (*enrolment, next), number);
        return;
    };
    let step = &journey.steps[at];
    let cause = timer_cause(work.position, enrolment.entered_by, (&journey.playbook, &journey.id, &step.id), number);
    let touch = touch(cell, contact, journey, &enrolment, step, next.planned, cause);
    let directory = work.directory(&cell.tenant());
    let now = Now { at: contact.seen.map_or(due, |(_, last)| due.max(last)), directory: &directory };
    let contents = in_force.as_ref().map(|in_force| &in_force.bundle.contents);
    let eligible = contents.and_then(|contents| contents.get(&step.content)?.eligible.as_ref());
    let skipped = if work.clock.since(next.planned) > journey.late_grace {
        Some("late")
    } else if !step.when.as_ref().is_none_or(|when| when.holds(contact, now)) {
        Some("condition")
    } else if !eligible.is_none_or(|eligible| eligible.holds(contact, now)) {
        Some("not_eligible")
    } else {
        None
    };
    match skipped {
        Some(reason) => touches::skip(work, touch, reason),
        None => touches::give(work, cell, contact, touch),
    }
    if let Some(following) = journey.steps.get(at + 1) {
        let planned = plan(journey, following, enrolment.entered_at, next.planned);
        let index = u32::try_from(at + 1).expect("a bundle is smaller than 4 GiB");
        enrolment.next = Some(Next { step: following.id.clone(), index, planned });
        timers::arm(work, cell, contact, planned, &timers::step(journey_name));
    }
    contact.enrolments.insert(journey_name.to_owned(), enrolment);
    complete(contact, journey_name, due);
}

/// The bundle in force no longer has the step (or the journey): the enrolment cannot go on, and says so.
fn remove(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    contact: &mut Contact,
    journey_name: &str,
    journey: Option<&Journey>,
    (mut enrolment, next): (Enrolment, Next),
    bundle: u64,
) {
    enrolment.ended = Some((REMOVED.to_owned(), next.planned));
    timers::disarm(contact, &timers::goal(journey_name));
    let (playbook, id) = journey_name.split_once('/').unwrap_or((journey_name, ""));
    let cause = timer_cause(work.position, enrolment.entered_by, (playbook, id, &next.step), bundle);
    let journey = journey.cloned().unwrap_or_else(|| gone(journey_name));
    cancel_from(work, cell, contact, &journey, &enrolment, &next, (REMOVED, &cause));
    contact.enrolments.insert(journey_name.to_owned(), Box::new(enrolment));
}

/// A journey that the bundle in force does not have, by its name.
fn gone(journey_name: &str) -> Journey {
    let (playbook, id) = journey_name.split_once('/').unwrap_or((journey_name, ""));
    Journey {
        id: id.to_owned(),
        playbook: playbook.to_owned(),
        zone: Zone::SHANGHAI,
        entry: Vec::new(),
        entry_when: None,
        exit: Vec::new(),
        exit_when: None,
        goal: None,
        re_entry: ReEntry::Never,
        late_grace: Span(0),
        steps: Vec::new(),
    }
}

/// The goal's window has closed.
pub(crate) fn goal_lapsed(contact: &mut Contact, journey_name: &str, due: Time) {
    if let Some(enrolment) = contact.enrolments.get_mut(journey_name) {
        enrolment.goal_until = None;
    }
    complete(contact, journey_name, due);
}

/// An enrolment is complete when no step is left, no touch waits for its confirmation (an exit would still cancel
/// it), and no window of a goal is open.
pub(crate) fn complete(contact: &mut Contact, journey_name: &str, at: Time) {
    let of_journey =
        |touch: &Touch| journey_name.split_once('/') == Some((touch.playbook.as_str(), touch.journey.as_str()));
    let Some(enrolment) = contact.enrolments.get(journey_name) else { return };
    let has_window = matches!(enrolment.goal_until, Some(GoalUntil::Moment(_)));
    if !enrolment.is_active()
        || enrolment.next.is_some()
        || has_window
        || contact.touches.values().any(|touch| of_journey(touch))
    {
        return;
    }
    if let Some(enrolment) = contact.enrolments.get_mut(journey_name) {
        enrolment.ended = Some(("completed".to_owned(), at));
    }
}

fn plan(journey: &Journey, step: &Step, anchor: Time, previous: Time) -> Time {
    match step.timing {
        Timing::After(span) => previous.plus(span),
        Timing::Day { day, at } => journey.zone.day_at(anchor, i64::from(day), at),
    }
}

fn case_cause(case: &Case<'_>, journey: &Journey, step: &Step) -> Cause {
    case.decided_by(&journey.playbook, format!("journeys/{}/steps/{}", journey.id, step.id), None)
}

fn timer_cause(
    position: Position,
    entered_by: Position,
    (playbook, journey, step): (&str, &str, &str),
    bundle: u64,
) -> Cause {
    Cause {
        position,
        origin: Some(entered_by),
        event_id: None,
        kind: "timer".to_owned(),
        playbook: playbook.to_owned(),
        rule: format!("journeys/{journey}/steps/{step}"),
        bundle,
        native: None,
        hit: None,
        actor: String::new(),
        reason: String::new(),
    }
}

fn touch(
    cell: &CellKey,
    contact: &Contact,
    journey: &Journey,
    enrolment: &Enrolment,
    step: &Step,
    planned: Time,
    cause: Cause,
) -> Touch {
    let own = cell.id();
    let reachable = contact.identities.iter().map(|identity| &identity.id).chain([&own]);
    let recipient = reachable.min_by_key(|id| (id.kind != IdKind::WecomExternalUserid, id.kind)).cloned();
    Touch {
        id: format!("{}/{}/{}/{}/{}#1", cell.tenant(), cell.contact_id(), journey.id, enrolment.number, step.id),
        state: TouchState::Due,
        reason: String::new(),
        contact: cell.clone(),
        recipient: recipient.unwrap_or(own),
        playbook: journey.playbook.clone(),
        journey: journey.id.clone(),
        enrolment: enrolment.number,
        step: step.id.clone(),
        occurrence: 1,
        touchpoint: step.touchpoint.clone(),
        content: step.content.clone(),
        executor: contact.owner().map(str::to_owned),
        planned_at: planned,
        due_at: planned,
        expires_at: planned.plus(step.expires_after),
        replaces: None,
        cause,
    }
}
