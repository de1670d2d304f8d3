//! What can only be seen while it happens: who is one contact at a moment, and which touches are due then.

use super::Report;
use super::people::{self, Id};
use crate::random::Random;
use touchline_engine::Effects;
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey};
use touchline_model::kind::Kind;
use touchline_model::output::{Touch, TouchState};
use touchline_model::record::{Input, LoopBody};
use touchline_model::time::Time;

/// Sets of identifiers.
#[derive(Debug, Clone)]
pub(super) struct Sets(Vec<Id>);

impl Sets {
    pub(super) fn new(people: u32) -> Self {
        Self((0..people::ids(people).start).collect())
    }

    /// The set of `id`, by its least member: in rank order within a person.
    pub(super) fn find(&self, mut id: Id) -> Id {
        while self.0[id as usize] != id {
            id = self.0[id as usize];
        }
        id
    }

    pub(super) fn unite(&mut self, one: Id, other: Id) {
        let (one, other) = (self.find(one), self.find(other));
        self.0[one.max(other) as usize] = one.min(other);
    }

    pub(super) fn are_one(&self, one: Id, other: Id) -> bool {
        self.find(one) == self.find(other)
    }
}

/// A touch that fell due.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) id: String,
    pub(super) journey: String,
    pub(super) step: String,
    pub(super) planned_at: Time,
    pub(super) recipient: IdKey,
    /// The cell that said so.
    pub(super) cell: Id,
    /// Name of the touch it stands for.
    pub(super) replaces: Option<String>,
    /// Neither cancelled nor missed nor reported.
    waits: bool,
    /// Reported.
    sent: bool,
}

/// An entry into the first journey as it was applied.
#[derive(Debug, Clone, Copy)]
struct Entry {
    cell: Id,
    at: Time,
    /// After and in the same contact as all that were applied before it there.
    known: bool,
}

/// What is seen of all.
pub(super) struct Watch {
    /// Contacts whose states have been united.
    merged: Sets,
    /// Two that the last record has united. Its timers fired before.
    merging: Option<(Id, Id)>,
    dues: Vec<Vec<Due>>,
    entries: Vec<Vec<Entry>>,
    to_report: Vec<(Id, String)>,
    /// Names of what was cancelled in the journey for the time when all is linked.
    pub(super) cancelled_after: Vec<String>,
    /// Reports that named a touch which waits under yet another name, and were not taken for it.
    pub(super) reports_lost: u64,
}

impl Watch {
    pub(super) fn new(people: u32) -> Self {
        Self {
            merged: Sets::new(people),
            merging: None,
            dues: (0..people).map(|_| Vec::new()).collect(),
            entries: (0..people).map(|_| Vec::new()).collect(),
            to_report: Vec::new(),
            cancelled_after: Vec::new(),
            reports_lost: 0,
        }
    }

    /// What fell due to a family, in order.
    pub(super) fn dues(&self, family: u32) -> &[Due] {
        &self.dues[family as usize]
    }

    /// Whether the entries of these identifiers met in order, each in the contact that knew of those before.
    pub(super) fn entered_as_one(&self, family: u32, is_member: impl Fn(Id) -> bool) -> bool {
        self.entries[family as usize].iter().filter(|entry| is_member(entry.cell)).all(|entry| entry.known)
    }

    /// A touch that somebody reports now.
    pub(super) fn report_one(&mut self, random: &mut Random) -> Option<(Id, String)> {
        if self.to_report.is_empty() {
            return None;
        }
        let at = usize::try_from(random.below(self.to_report.len() as u64)).expect("small");
        Some(self.to_report.swap_remove(at))
    }

    /// A record was applied.
    pub(super) fn applied(&mut self, input: &Input, effects: &Effects) -> Result<(), String> {
        self.unite_merging();
        match input {
            Input::Event(event) if !effects.notes.duplicate => self.event(event, &event.key(), None, effects),
            Input::Loop(told) => match &told.body {
                LoopBody::Forward { target, event, .. } => self.event(event, target, event.occurred_at, effects),
                LoopBody::MergeIn { target, from, .. } => {
                    let passed_on = |body: &LoopBody| matches!(body, LoopBody::MergeIn { .. });
                    if !effects.loops.iter().any(|(_, told)| passed_on(&told.body)) {
                        self.merging = Some((known(target)?, known(from)?));
                    }
                    Ok(())
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn unite_merging(&mut self) {
        if let Some((one, other)) = self.merging.take() {
            self.merged.unite(one, other);
        }
    }

    /// An event came to a cell; `at`: when it happened, unless that is when it was received.
    fn event(&mut self, event: &Event, cell: &CellKey, at: Option<Time>, effects: &Effects) -> Result<(), String> {
        if effects.loops.iter().any(|(_, told)| matches!(told.body, LoopBody::Forward { .. })) {
            return Ok(());
        }
        let cell = known(cell)?;
        let family = people::family(people::person(cell)) as usize;
        match event.kind {
            Kind::ContactAdded => {
                let at = at.unwrap_or(event.received_at);
                let after = |entry: &Entry| entry.at < at && self.merged.are_one(entry.cell, cell);
                let known = self.entries[family].iter().all(after);
                self.entries[family].push(Entry { cell, at, known });
            }
            Kind::TouchSent => {
                let named = event.fields.text("touch_id").unwrap_or_default();
                let is_it = |due: &&mut Due| due.waits && (due.id == named || due.replaces.as_deref() == Some(named));
                if let Some(due) = self.dues[family].iter_mut().find(is_it) {
                    (due.waits, due.sent) = (false, true);
                } else {
                    let dues = &self.dues[family];
                    let first = dues.iter().find(|due| due.id == named).and_then(|due| due.replaces.as_ref());
                    let waits = |due: &Due| due.waits && due.replaces.as_ref() == first;
                    self.reports_lost += u64::from(first.is_some() && dues.iter().any(waits));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A touch was said: no step goes out twice to what is one contact already.
    pub(super) fn touch(&mut self, touch: &Touch, report: &mut Report) -> Result<(), String> {
        let cell = known(&touch.contact)?;
        let family = people::family(people::person(cell)) as usize;
        if touch.journey == "count" {
            return match touch.state {
                TouchState::Cancelled => Ok(()),
                _ => Err(format!("{} is {} before its time", touch.id, touch.state.name())),
            };
        }
        if touch.state != TouchState::Due {
            if touch.state == TouchState::Skipped {
                return Err(format!("{} is skipped: {}", touch.id, touch.reason));
            }
            if touch.state == TouchState::Cancelled && touch.journey == "after" {
                self.cancelled_after.push(touch.id.clone());
            }
            if let Some(due) = self.dues[family].iter_mut().find(|due| due.id == touch.id) {
                due.waits = false;
            }
            return Ok(());
        }
        if touch.replaces.is_some() {
            self.unite_merging();
        }
        let dues = &self.dues[family];
        if dues.iter().any(|due| due.id == touch.id) {
            return Err(format!("{} is due twice", touch.id));
        }
        let same_step = |due: &&Due| due.step == touch.step && self.merged.are_one(due.cell, cell);
        match &touch.replaces {
            None => {
                if let Some(before) = dues.iter().find(same_step) {
                    return Err(format!("{} is due, and {} was for the same contact", touch.id, before.id));
                }
                report.touches += 1;
            }
            Some(replaced) => {
                let is_it = |due: &&Due| due.id == *replaced || due.replaces.as_ref() == Some(replaced);
                if !dues.iter().any(|due| is_it(&due) && !due.sent) {
                    return Err(format!("{} stands for {replaced}, which was never due or is sent", touch.id));
                }
                if let Some(other) = dues.iter().filter(|due| due.waits).find(same_step) {
                    return Err(format!("{} is due, and {} still waits", touch.id, other.id));
                }
                report.renamed += 1;
                report.said_again += u64::from(dues.iter().filter(same_step).any(|due| due.sent));
            }
        }
        // Every second one is reported.
        if touch.journey == "welcome" && (report.touches + report.renamed).is_multiple_of(2) {
            let recipient = CellKey::of(&touch.contact.tenant(), &touch.recipient);
            self.to_report.push((known(&recipient)?, touch.id.clone()));
        }
        self.dues[family].push(Due {
            id: touch.id.clone(),
            journey: touch.journey.clone(),
            step: touch.step.clone(),
            planned_at: touch.planned_at,
            recipient: touch.recipient.clone(),
            cell,
            replaces: touch.replaces.clone(),
            waits: true,
            sent: false,
        });
        Ok(())
    }
}

fn known(cell: &CellKey) -> Result<Id, String> {
    people::id_of(cell).ok_or_else(|| format!("{cell} is nobody of the crowd"))
}
