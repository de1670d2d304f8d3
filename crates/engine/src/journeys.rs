//! Journeys: entry, steps relative to their anchor, goal, exit; and the touches they give.

use crate::cell::{Contact, Enrolment};
use crate::rules::{Case, Judged, change_fits, event_fits};
use crate::timers;
use crate::work::Work;
use touchline_model::id::{CellKey, IdKind, Position};
use touchline_model::output::{Cause, Output, TagChange, Touch, TouchState};
use touchline_model::time::{Span, Time};
use touchline_playbook::bundle::{Journey, ReEntry, Step, Timing, Trigger};

/// An anchor older than this before the clock is history: it enters nobody (decision 9).
const HISTORIC_AFTER: Span = Span::hours(6);

/// `playbook/journey`: how state and timers name a journey.
pub(crate) fn name(journey: &Journey) -> String {
    format!("{}/{}", journey.playbook, journey.id)
}

/// Lets every journey see the event, then each net tag change in order.
pub(crate) fn on_record(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    judged: Option<&mut Judged<'_>>,
    changes: &[TagChange],
) {
    if let Some(judged) = judged {
        let listening = case.bundle.journeys_by_event.get(judged.event.name());
        for &index in listening.into_iter().flatten() {
            let mut fits = |triggers: &[Trigger]| triggers.iter().any(|trigger| event_fits(trigger, judged).is_some());
            happened(work, case, contact, &case.bundle.journeys[index], &mut fits);
        }
    }
    for change in changes {
        for journey in &case.bundle.journeys {
            let mut fits = |triggers: &[Trigger]| triggers.iter().any(|trigger| change_fits(trigger, change));
            happened(work, case, contact, journey, &mut fits);
        }
    }
    for journey in &case.bundle.journeys {
        if journey.exit_when.as_ref().is_some_and(|when| when.holds(contact)) {
            end(work, case, contact, journey, "exit");
        }
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
        let in_time = enrolment.goal_until.is_some_and(|until| case.at <= until);
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
    if !journey.entry_when.as_ref().is_none_or(|when| when.holds(contact)) {
        return;
    }
    let journey_name = name(journey);
    let before = contact.enrolments.get(&journey_name);
    let number = before.map_or(0, |enrolment| enrolment.number);
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
    let refused = if case.at.plus(HISTORIC_AFTER) < work.clock {
        Some("not_entered_historic")
    } else if journey.exit_when.as_ref().is_some_and(|when| when.holds(contact)) {
        Some("not_entered_exit_holds")
    } else {
        None
    };
    if let Some(reason) = refused {
        enrolment.ended = Some((reason.to_owned(), case.at));
        if let Some(step) = journey.steps.first() {
            let planned = plan(journey, step, case.at, case.at);
            let touch = touch(case.cell, contact, journey, &enrolment, step, planned, case_cause(case, journey, step));
            work.say(Output::Touch(Touch { state: TouchState::Skipped, reason: reason.to_owned(), ..touch }));
        }
        contact.enrolments.insert(journey_name, enrolment);
        return;
    }
    if let Some(goal) = &journey.goal {
        let until = goal.within.map_or(Time(i64::MAX), |within| case.at.plus(within));
        enrolment.goal_until = Some(until);
        if goal.within.is_some() {
            timers::arm(work, case.cell, contact, until, &timers::goal(&journey_name));
        }
    }
    if let Some(step) = journey.steps.first() {
        let planned = plan(journey, step, case.at, case.at);
        enrolment.next = Some((step.id.clone(), planned));
        timers::arm(work, case.cell, contact, planned, &timers::step(&journey_name));
    }
    contact.enrolments.insert(journey_name, enrolment);
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
    let unconfirmed: Vec<Touch> = contact
        .touches
        .values()
        .filter(|touch| touch.playbook == journey.playbook && touch.journey == journey.id)
        .cloned()
        .collect();
    for touch in unconfirmed {
        contact.touches.remove(&touch.id);
        timers::disarm(contact, &timers::expiry(&touch.id));
        let (state, reason, cause) = (TouchState::Cancelled, reason.to_owned(), cause.clone());
        work.say(Output::Touch(Touch { state, reason, cause, ..touch }));
    }
    let Some((next, mut planned)) = next else { return };
    let remaining = journey.steps.iter().skip_while(|step| step.id != next);
    for (index, step) in remaining.enumerate() {
        if index > 0 {
            planned = plan(journey, step, enrolment.entered_at, planned);
        }
        let touch = touch(case.cell, contact, journey, &enrolment, step, planned, cause.clone());
        work.say(Output::Touch(Touch { state: TouchState::Cancelled, reason: reason.to_owned(), ..touch }));
    }
}

/// A step's moment has come: the touch is due, or says why not; the next step is armed.
pub(crate) fn step_due(work: &mut Work<'_, '_>, cell: &CellKey, contact: &mut Contact, journey_name: &str, due: Time) {
    let Some(mut enrolment) = contact.enrolments.get(journey_name).filter(|known| known.is_active()).cloned() else {
        return;
    };
    let Some((step_id, planned)) = enrolment.next.take() else { return };
    let bundle = work.bundle(&cell.tenant());
    let journey = bundle.as_ref().and_then(|bundle| bundle.journeys.iter().find(|known| name(known) == journey_name));
    let found = journey.and_then(|journey| {
        let at = journey.steps.iter().position(|step| step.id == step_id)?;
        Some((journey, at))
    });
    let Some((journey, at)) = found else {
        // The playbook in force no longer has the step: the enrolment cannot go on.
        enrolment.ended = Some(("removed".to_owned(), due));
        contact.enrolments.insert(journey_name.to_owned(), enrolment);
        return;
    };
    let step = &journey.steps[at];
    let number = bundle.as_ref().map_or(0, |bundle| bundle.number);
    let cause = timer_cause(work.position, enrolment.entered_by, journey, step, number);
    let touch = touch(cell, contact, journey, &enrolment, step, planned, cause);
    let skipped = if work.clock.since(planned) > journey.late_grace {
        Some("late")
    } else if !step.when.as_ref().is_none_or(|when| when.holds(contact)) {
        Some("condition")
    } else {
        None
    };
    match skipped {
        Some(reason) => {
            work.say(Output::Touch(Touch { state: TouchState::Skipped, reason: reason.to_owned(), ..touch }));
        }
        None => {
            timers::arm(work, cell, contact, touch.expires_at, &timers::expiry(&touch.id));
            contact.touches.insert(touch.id.clone(), touch.clone());
            work.say(Output::Touch(touch));
        }
    }
    match journey.steps.get(at + 1) {
        Some(next) => {
            let planned = plan(journey, next, enrolment.entered_at, planned);
            enrolment.next = Some((next.id.clone(), planned));
            timers::arm(work, cell, contact, planned, &timers::step(journey_name));
        }
        None if enrolment.goal_until.is_none() => enrolment.ended = Some(("completed".to_owned(), planned)),
        None => {}
    }
    contact.enrolments.insert(journey_name.to_owned(), enrolment);
}

/// The goal's window has closed: without steps left the enrolment is complete.
pub(crate) fn goal_lapsed(contact: &mut Contact, journey_name: &str, due: Time) {
    let Some(enrolment) = contact.enrolments.get_mut(journey_name).filter(|enrolment| enrolment.is_active()) else {
        return;
    };
    enrolment.goal_until = None;
    if enrolment.next.is_none() {
        enrolment.ended = Some(("completed".to_owned(), due));
    }
}

/// Nobody confirmed the touch in time.
pub(crate) fn touch_expired(work: &mut Work<'_, '_>, contact: &mut Contact, touch_id: &str) {
    let Some(touch) = contact.touches.remove(touch_id) else { return };
    let origin = Some(touch.cause.position);
    let cause = Cause { position: work.position, origin, ..touch.cause.clone() };
    work.say(Output::Touch(Touch { state: TouchState::Missed, reason: "expired".to_owned(), cause, ..touch }));
}

/// A channel or a person reported on a touch: it is no longer waiting.
pub(crate) fn touch_reported(contact: &mut Contact, touch_id: &str) {
    if contact.touches.remove(touch_id).is_some() {
        timers::disarm(contact, &timers::expiry(touch_id));
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

fn timer_cause(position: Position, entered_by: Position, journey: &Journey, step: &Step, bundle: u64) -> Cause {
    Cause {
        position,
        origin: Some(entered_by),
        event_id: None,
        kind: "timer".to_owned(),
        playbook: journey.playbook.clone(),
        rule: format!("journeys/{}/steps/{}", journey.id, step.id),
        bundle,
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
        cause,
    }
}
