//! Journeys of two contacts that turn out to be one person.
//!
//! Had the link been known from the start, there would have been one enrolment: so the earlier entry counts, an exit or
//! goal of either ends it, and no step goes out twice: the further position stays. Where a journey can be entered again,
//! an entry after the other's end is a new round and the other one is history. That alone depends on what has merged
//! before: a round that an end of a third contact would have divided from the one before it is taken for the same.

use super::{REMOVED, cancel_between, complete, dropped, end, gone, name, touch};
use crate::cell::Contact;
use crate::rules::Case;
use crate::work::Work;
use crate::{timers, touches};
use touchline_model::id::CellKey;
use touchline_model::output::{Output, Touch};
use touchline_model::snapshot::{Enrolment, GoalUntil, Next};
use touchline_model::time::Time;
use touchline_playbook::bundle::{Journey, ReEntry, Step};

/// Why a touch of a merged contact does not go out: its journey goes on where the contact does.
const MERGED: &str = "merged";

/// The contact becomes a forward: whatever waits here is cancelled, and says so.
pub(crate) fn leave(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact) {
    let names: Vec<String> = contact.enrolments.keys().cloned().collect();
    for journey_name in names {
        end(work, case, contact, &of_bundle(case, &journey_name), MERGED);
    }
    contact.renamed.clear();
    for (_, touch) in std::mem::take(&mut contact.touches) {
        let cause = case.decided_by(&touch.playbook, format!("journeys/{}/{MERGED}", touch.journey), None);
        let state = touchline_model::output::TouchState::Cancelled;
        work.say(Output::Touch(Touch { state, reason: MERGED.to_owned(), cause, ..*touch }));
    }
}

/// Unites the journeys of a merged contact with those here. `touches`: what was due there and not confirmed, and names
/// it had before.
pub(crate) fn merge(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    theirs: Vec<(String, Enrolment)>,
    (touches, renamed): (Vec<Touch>, Vec<(String, String)>),
) {
    for theirs in touches.iter().filter(|touch| touch.journey.is_empty()) {
        // What a rule gave somebody to do is still to be done, under a name of the contact that goes on.
        let (tenant, contact_id) = (case.cell.tenant(), case.cell.contact_id());
        let name = theirs.id.splitn(3, '/').nth(2).unwrap_or_default();
        let cause = case.decided_by(&theirs.playbook, format!("rules/{}/{MERGED}", theirs.step), None);
        let own = Touch {
            id: format!("{tenant}/{contact_id}/{name}"),
            executor: contact
                .owner()
                .map(str::to_owned)
                .filter(|_| theirs.touchpoint == "task")
                .or_else(|| theirs.executor.clone()),
            cause,
            ..theirs.clone()
        };
        stand_for(work, case.cell, contact, theirs, own);
    }
    for (journey_name, theirs) in theirs {
        let journey = of_bundle(case, &journey_name);
        let mut merging = Merging { work, case, journey: &journey, journey_name: &journey_name, touches: &touches };
        let mine = contact.enrolments.get(&journey_name).map(|mine| (**mine).clone());
        match mine {
            None => merging.place(contact, theirs, 0),
            Some(mine) => merging.unite(contact, mine, theirs),
        }
    }
    for (former, theirs) in renamed {
        if let Some(own) = contact.renamed.get(&theirs).cloned() {
            touches::rename(contact, former, &own);
        }
    }
}

/// Gives `own`, which is to be done in the place of `theirs`: reports may name either.
fn stand_for(work: &mut Work<'_, '_>, cell: &CellKey, contact: &mut Contact, theirs: &Touch, own: Touch) {
    let id = own.id.clone();
    let (due_at, expires_at) = (theirs.due_at, theirs.expires_at);
    // Consumers know it by the first name of all.
    let replaces = Some(theirs.replaces.clone().unwrap_or_else(|| theirs.id.clone()));
    touches::give(work, cell, contact, Touch { contact: cell.clone(), due_at, expires_at, replaces, ..own });
    touches::rename(contact, theirs.id.clone(), &id);
}

struct Merging<'m, 'w, 'v> {
    work: &'m mut Work<'w, 'v>,
    case: &'m Case<'m>,
    journey: &'m Journey,
    journey_name: &'m str,
    touches: &'m [Touch],
}

impl Merging<'_, '_, '_> {
    fn unite(&mut self, contact: &mut Contact, mine: Enrolment, theirs: Enrolment) {
        let number = mine.number.saturating_add(theirs.number);
        match rounds(self.journey.re_entry, &mine, &theirs) {
            Rounds::MineIsLater => {
                let kept = contact.enrolments.get_mut(self.journey_name).expect("it was there");
                kept.number = number;
            }
            Rounds::TheirsIsLater => {
                end(self.work, self.case, contact, self.journey, "re_entered");
                self.place(contact, Enrolment { number, ..theirs }, 0);
            }
            Rounds::Same => self.unite_round(contact, &mine, theirs, number),
        }
    }

    fn unite_round(&mut self, contact: &mut Contact, mine: &Enrolment, theirs: Enrolment, number: u32) {
        let over = [mine, &theirs].into_iter().filter_map(left).min();
        // Of one position the earlier moment: that of the earlier entry.
        let planned = |enrolment: &Enrolment| enrolment.next.as_ref().map(|next| std::cmp::Reverse(next.planned));
        let (behind, ahead) = (self.position(mine), self.position(&theirs));
        let further = (ahead, planned(&theirs)) > (behind, planned(mine));
        let first = if entry(&theirs) < entry(mine) { &theirs } else { mine };
        let goal_reached = mine.goal_reached || theirs.goal_reached;
        let (entered_at, entered_by, goal_until) = (first.entered_at, first.entered_by, first.goal_until);
        if let Some((at, reason)) = over {
            end(self.work, self.case, contact, self.journey, &reason);
            let ended = Some((reason, at));
            let united =
                Enrolment { number, entered_at, entered_by, next: None, goal_until: None, goal_reached, ended };
            contact.enrolments.insert(self.journey_name.to_owned(), Box::new(united));
            return;
        }
        if let Some(next) = mine.next.as_ref().filter(|_| further) {
            // What they have behind them is not done again.
            let rule = format!("journeys/{}/{MERGED}", self.journey.id);
            let cause = self.case.decided_by(&self.journey.playbook, rule, None);
            let (cell, why) = (self.case.cell, (MERGED, &cause));
            cancel_between(self.work, cell, contact, self.journey, mine, (next, ahead), why);
        }
        let next = if further { theirs.next.clone() } else { mine.next.clone() };
        // Both complete: the later end. One of them: it goes on, as nothing is complete while the other is not.
        let completed = mine.ended.iter().chain(&theirs.ended).max_by_key(|(reason, at)| (*at, reason)).cloned();
        let ended = completed.filter(|_| next.is_none() && !mine.is_active() && !theirs.is_active());
        let united = Enrolment { number, entered_at, entered_by, next, goal_until, goal_reached, ended };
        timers::disarm(contact, &timers::step(self.journey_name));
        timers::disarm(contact, &timers::goal(self.journey_name));
        self.place(contact, united, behind);
    }

    /// How far it is in the journey as it is now: the index of the next step, beyond all where none is left, and nowhere
    /// where the journey lost the step.
    fn position(&self, enrolment: &Enrolment) -> usize {
        match &enrolment.next {
            // Where it stood when the step was planned says nothing of a journey that has changed since.
            Some(next) => {
                let known = self.journey.steps.iter().position(|step| step.id == next.step);
                known.unwrap_or(next.index as usize)
            }
            None if is_removed(enrolment) => 0,
            None => usize::MAX,
        }
    }

    /// Puts an enrolment in, arms what it waits for, and says its unconfirmed touches under their new names.
    fn place(&mut self, contact: &mut Contact, enrolment: Enrolment, behind: usize) {
        let is_active = enrolment.is_active();
        if is_active {
            if let Some(next) = &enrolment.next {
                timers::arm(self.work, self.case.cell, contact, next.planned, &timers::step(self.journey_name));
            }
            if let Some(GoalUntil::Moment(until)) = enrolment.goal_until {
                timers::arm(self.work, self.case.cell, contact, until, &timers::goal(self.journey_name));
            }
        }
        if is_active || is_removed(&enrolment) {
            self.stand_for_all(contact, &enrolment, behind);
        }
        contact.enrolments.insert(self.journey_name.to_owned(), Box::new(enrolment));
        if is_active {
            complete(contact, self.journey_name, self.case.at);
        }
    }

    fn stand_for_all(&mut self, contact: &mut Contact, enrolment: &Enrolment, behind: usize) {
        let journey = self.journey;
        let of_journey = |touch: &&Touch| touch.playbook == journey.playbook && touch.journey == journey.id;
        for theirs in self.touches.iter().filter(of_journey) {
            let here = contact.touches.values().find(|mine| of_journey(&&***mine) && mine.step == theirs.step);
            if let Some(id) = here.map(|mine| mine.id.clone()) {
                // It waits here already: whoever does the other one has done it.
                touches::rename(contact, theirs.id.clone(), &id);
                continue;
            }
            // Of a step that the journey does not have any more nobody knows where it stood: it is still to be done.
            let at = journey.steps.iter().position(|step| step.id == theirs.step);
            if at.is_some_and(|at| at < behind) {
                continue;
            }
            let gone = Step {
                touchpoint: theirs.touchpoint.clone(),
                content: theirs.content.clone(),
                ..dropped(&Next { step: theirs.step.clone(), index: 0, planned: theirs.planned_at })
            };
            let step = at.map_or(&gone, |at| &journey.steps[at]);
            let rule = format!("journeys/{}/{MERGED}", journey.id);
            let cause = self.case.decided_by(&journey.playbook, rule, None);
            let own = touch(self.case.cell, contact, journey, enrolment, step, theirs.planned_at, cause);
            stand_for(self.work, self.case.cell, contact, theirs, own);
        }
    }
}

/// Whether two enrolments are the same round of a journey.
enum Rounds {
    Same,
    MineIsLater,
    TheirsIsLater,
}

fn rounds(re_entry: ReEntry, mine: &Enrolment, theirs: &Enrolment) -> Rounds {
    let later = || if entry(mine) > entry(theirs) { Rounds::MineIsLater } else { Rounds::TheirsIsLater };
    match (is_refused(mine), is_refused(theirs)) {
        (true, true) => return later(),
        (true, false) => return Rounds::TheirsIsLater,
        (false, true) => return Rounds::MineIsLater,
        (false, false) => {}
    }
    let (first, second) = if entry(mine) < entry(theirs) { (mine, theirs) } else { (theirs, mine) };
    let ended_at = |enrolment: &Enrolment| enrolment.ended.as_ref().map(|(_, at)| *at);
    match re_entry {
        ReEntry::Never => Rounds::Same,
        ReEntry::Each => later(),
        ReEntry::AfterExit(span) => match ended_at(first) {
            Some(at) if second.entered_at >= at.plus(span) => later(),
            _ => Rounds::Same,
        },
    }
}

fn entry(enrolment: &Enrolment) -> (Time, touchline_model::id::Position) {
    (enrolment.entered_at, enrolment.entered_by)
}

/// An entry that was refused was none.
fn is_refused(enrolment: &Enrolment) -> bool {
    enrolment.ended.as_ref().is_some_and(|(reason, _)| reason.starts_with("not_entered"))
}

/// The journey lost its next step: it is neither left nor complete.
fn is_removed(enrolment: &Enrolment) -> bool {
    enrolment.ended.as_ref().is_some_and(|(reason, _)| reason == REMOVED)
}

/// When and how the person left; having every step behind them is not leaving.
fn left(enrolment: &Enrolment) -> Option<(Time, String)> {
    let (reason, at) = enrolment.ended.as_ref()?;
    matches!(reason.as_str(), "exit" | "goal").then(|| (*at, reason.clone()))
}

fn of_bundle(case: &Case<'_>, journey_name: &str) -> Journey {
    let known = case.bundle.journeys.iter().find(|journey| name(journey) == journey_name);
    known.cloned().unwrap_or_else(|| gone(journey_name))
}
