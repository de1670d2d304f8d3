//! Actions of staff: what is said of them, who is next, and what becomes of it.

use super::{Event, GRACE, Moments, Oracle};
use crate::language::Plant;
use crate::language::book::{Action, Assignee, HANDOFF, Literal, Rule, STAFF};
use std::collections::BTreeMap;
use touchline_model::output::TouchState;
use touchline_model::time::{Span, Time};

/// Unconfirmed after so many hours, what is no hand-over is missed.
const HOURS: i64 = 24;
/// Touches of one person that wait at most.
const TOUCHES_MAX: usize = 64;

/// A touch, as it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::language) struct Touch {
    pub(in crate::language) person: usize,
    pub(in crate::language) playbook: &'static str,
    pub(in crate::language) rule: String,
    pub(in crate::language) touchpoint: &'static str,
    pub(in crate::language) content: &'static str,
    pub(in crate::language) executor: Option<&'static str>,
    pub(in crate::language) state: TouchState,
    pub(in crate::language) reason: &'static str,
    pub(in crate::language) planned: Time,
    pub(in crate::language) due: Time,
    pub(in crate::language) expires: Time,
    /// Which it is of all.
    pub(super) number: usize,
}

impl Oracle<'_> {
    /// Does what the rule says, where it is for staff. A hand-over to somebody happens, too.
    pub(super) fn give(
        &mut self,
        (who, rule): (usize, &Rule),
        action: &Action,
        event: Option<&Event>,
        moments: Moments,
    ) {
        let (touchpoint, content, hours) = match action {
            Action::Assign(_) => ("assign", "", HOURS),
            Action::Handoff { hours, reason, .. } => ("handoff", *reason, *hours),
            Action::Task(text) => ("task", *text, HOURS),
            Action::Set { .. } | Action::Unset(_) | Action::SetAttribute(..) => return,
        };
        let is_historic = moments.at.plus(GRACE) < self.wall && self.plant != Some(Plant::HistoryGiven);
        let mut reason = match () {
            () if is_historic => "historic",
            () if self.people[who].open.len() >= TOUCHES_MAX => "too_many",
            () => "",
        };
        let executor = match action {
            Action::Handoff { .. } if !reason.is_empty() => None,
            Action::Handoff { pool, .. } => self.choose(who, &Assignee::Pool(pool), event),
            Action::Assign(assignee) => self.choose(who, assignee, event),
            _ => self.owner(who),
        };
        if let (Action::Assign(_), Some(staff)) = (action, executor) {
            // Whose somebody is, is a fact, also where nobody is called for it.
            self.people[who].assigned = Some((staff, moments.reference));
        }
        if reason.is_empty() && touchpoint != "task" && executor.is_none() {
            reason = "no_staff";
        }
        let state = if reason.is_empty() { TouchState::Due } else { TouchState::Skipped };
        let (planned, due) = (moments.at, self.wall);
        let (playbook, rule) = (rule.playbook, rule.id.clone());
        let (expires, number) = (due.plus(Span::hours(hours)), self.given);
        self.given += 1;
        let touch = Touch {
            person: who,
            playbook,
            rule,
            touchpoint,
            content,
            executor,
            state,
            reason,
            planned,
            due,
            expires,
            number,
        };
        if state == TouchState::Due {
            self.people[who].open.push(touch.clone());
        }
        self.touches.push(touch);
        if let (Action::Handoff { pool, .. }, Some(executor)) = (action, executor)
            && self.plant != Some(Plant::HandoffUnheard)
        {
            let fields = [("reason", content), ("to", *pool), ("executor", executor)];
            let fields = fields.map(|(name, text)| (name, Literal::Text(text))).to_vec();
            self.handoffs.push(Event { at: moments.at, name: HANDOFF, fields, phone: None });
        }
    }

    /// Whoever is next in a pool, or in the store that the event names: those who take new contacts, by id, in turn.
    fn choose(&mut self, who: usize, assignee: &Assignee, event: Option<&Event>) -> Option<&'static str> {
        let store = event.and_then(|event| event.field("store")).and_then(Literal::text).unwrap_or("");
        let staff = STAFF.iter().filter(|staff| match assignee {
            Assignee::Pool(pool) => staff.pools.contains(pool),
            Assignee::Store => !store.is_empty() && staff.store == store,
        });
        let staff: Vec<_> = staff.filter(|of| of.active || self.plant == Some(Plant::AwayChosen)).collect();
        let pool = if let Assignee::Pool(pool) = assignee { Some(*pool) } else { None };
        let key = (pool, if pool.is_none() { store } else { "" });
        let turn = self.turns.iter().filter(|taken| **taken == key).count();
        let chosen = staff.get(turn % staff.len().max(1))?.id;
        if self.plant != Some(Plant::NoTurns) {
            self.turns.push(key);
        }
        // Of several people at one moment nobody is first.
        self.turned.insert(who);
        self.tied |= self.turned.len() > 1;
        Some(chosen)
    }

    /// Whose somebody is: the staff of the latest relation that is still there, or to whom they were assigned since.
    pub(in crate::language) fn owner(&self, who: usize) -> Option<&'static str> {
        // When added, and when removed.
        let mut relations: BTreeMap<&'static str, (Time, Option<Time>)> = BTreeMap::new();
        for event in &self.people[who].events {
            let Some(staff) = event.field("staff").and_then(Literal::text) else { continue };
            let known = relations.get(staff).copied();
            match event.name {
                "contact.added" if known.is_none_or(|(added, _)| added <= event.at) => {
                    let removed = known.and_then(|(_, removed)| removed).filter(|removed| *removed > event.at);
                    relations.insert(staff, (event.at, removed));
                }
                "contact.removed" => {
                    if let Some((added, removed)) = relations.get_mut(staff).filter(|(added, _)| *added <= event.at) {
                        *removed = (*removed).max(Some(event.at));
                        debug_assert!(*added <= event.at, "only what was there goes");
                    }
                }
                _ => {}
            }
        }
        let present = relations.into_iter().filter(|(_, (_, removed))| removed.is_none());
        let related = present.map(|(staff, (added, _))| (added, staff)).max();
        match (related, self.people[who].assigned) {
            (Some((added, staff)), Some((_, at))) if added > at => Some(staff),
            (_, Some((staff, _))) => Some(staff),
            (related, None) => related.map(|(_, staff)| staff),
        }
    }

    /// What nobody has done in time is missed.
    pub(super) fn expire(&mut self, who: usize, now: Time) {
        let (missed, open) = std::mem::take(&mut self.people[who].open).into_iter().partition(|of| of.expires <= now);
        self.people[who].open = open;
        let missed: Vec<Touch> = missed;
        let said = missed.into_iter().map(|of| Touch { state: TouchState::Missed, reason: "expired", ..of });
        self.touches.extend(said);
    }

    /// What a wrong conclusion has given and still waits is cancelled.
    pub(super) fn cancel(&mut self, who: usize, numbers: &std::ops::Range<usize>) {
        if self.plant == Some(Plant::TasksStand) {
            return;
        }
        let all = std::mem::take(&mut self.people[who].open);
        let (wrong, open): (Vec<Touch>, _) = all.into_iter().partition(|of| numbers.contains(&of.number));
        self.people[who].open = open;
        let said = wrong.into_iter().map(|of| Touch { state: TouchState::Cancelled, reason: "retracted", ..of });
        self.touches.extend(said);
    }
}
