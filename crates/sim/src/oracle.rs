//! What playbook example (a) should have led to, read from the log the slow and obvious way.
//!
//! No overlay, no timer index, no watermark, no compiled bundle: a sorted map of contacts, and at every
//! record a look through all of them for what is due. Written from the description of the language; it
//! shares the model's types (and the zone table) with the engine, nothing else.

use crate::workload::{BOARD, COLUMNS};
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::command::{Command, CommandBody};
use touchline_model::event::Event;
use touchline_model::id::{CellKey, EventId};
use touchline_model::kind::Kind;
use touchline_model::record::{Input, LoopBody};
use touchline_model::time::{ClockTime, Span, Time, Zone};

/// The journey under test.
const JOURNEY: &str = "sop-考虑价格";
/// The column that enters it.
const ENTERS: &str = "考虑价格";
/// Columns in which asking for the price changes nothing.
const NEVER_BACK_FROM: [&str; 2] = ["方案确认", "赢单"];
/// The keywords as written, simplified.
const WORDS: [&str; 5] = ["价格", "价钱", "多少钱", "报价", "怎么收费"];
const STEPS: [&str; 3] = ["p1", "p2", "p3"];
const LATE: Span = Span::hours(6);
const GOAL_WITHIN: Span = Span::days(30);
const RE_ENTRY: Span = Span::days(30);
const EXPIRES: Span = Span::hours(24);
const JUMP: Span = Span::hours(1);

/// A touch as a line: id, state, reason, due.
pub type TouchLine = (String, &'static str, String, Time);
/// A tag change as a line: contact, set, unset, at.
pub type TagLine = (CellKey, Option<String>, Option<String>, Time);

/// What should have been said. Lists are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Column of every contact that has one.
    pub stages: BTreeMap<CellKey, String>,
    /// Every touch record.
    pub touches: Vec<TouchLine>,
    /// Every tag change.
    pub tag_changes: Vec<TagLine>,
    /// Events that were forwarded and accepted, with how often.
    pub forwarded: BTreeMap<EventId, u64>,
    /// Paid orders by owner and day.
    pub counted: BTreeMap<(Option<String>, String), u64>,
}

/// One record of a partition of `events`.
pub struct Line {
    /// When it was appended.
    pub append_time: Time,
    /// What it says.
    pub input: Input,
}

#[derive(Default)]
struct Person {
    column: Option<String>,
    journey: Option<Enrolment>,
    number: u32,
    /// Unconfirmed touches: step → (expiry, id, due).
    open: BTreeMap<usize, (Time, String, Time)>,
    known: bool,
    /// Who added the contact: of these runs always the same.
    owner: Option<String>,
}

struct Enrolment {
    entered_at: Time,
    /// Next step and its planned moment.
    next: Option<(usize, Time)>,
    goal_until: Option<Time>,
    ended_at: Option<Time>,
}

/// Reads one partition.
#[derive(Default)]
pub struct Oracle {
    clock: Option<Time>,
    seen: BTreeSet<EventId>,
    answered: BTreeSet<String>,
    accepted: BTreeMap<u32, u64>,
    forwards: BTreeSet<CellKey>,
    active: bool,
    people: BTreeMap<CellKey, Person>,
    expected: Expected,
}

impl Oracle {
    /// Reads records in order and says what they should have led to, merged into `into`.
    pub fn read(lines: &[Line], into: &mut Expected) {
        let mut oracle = Self::default();
        for line in lines {
            oracle.record(line);
        }
        for (cell, person) in oracle.people {
            if let Some(column) = person.column {
                into.stages.insert(cell, column);
            }
        }
        into.touches.append(&mut oracle.expected.touches);
        into.tag_changes.append(&mut oracle.expected.tag_changes);
        into.touches.sort();
        into.tag_changes.sort();
        into.forwarded.append(&mut oracle.expected.forwarded);
        for (slot, count) in oracle.expected.counted {
            *into.counted.entry(slot).or_default() += count;
        }
    }

    fn record(&mut self, line: &Line) {
        let clock = self.tell_time(line);
        let addressed = match &line.input {
            Input::Tick { .. } => None,
            Input::Event(event) => Some(event.key()),
            Input::Command(command) => command.body.contact().cloned(),
            Input::Loop(told) => told.body.target().cloned(),
        };
        if let Some(cell) = &addressed {
            while self.fire_first(cell, clock) {}
        }
        self.fire_everybody(clock);
        match &line.input {
            Input::Tick { .. } => {}
            Input::Event(event) => {
                if self.seen.insert(event.id) && !self.forwards.contains(&event.key()) {
                    let at = event.occurred_at.map_or(line.append_time, |at| at.min(line.append_time));
                    self.event(&event.key(), event, at, clock);
                }
            }
            Input::Command(command) => {
                if self.answered.insert(command.request_id.clone()) {
                    self.command(command, line.append_time.min(clock), clock);
                }
            }
            Input::Loop(told) => {
                let last = self.accepted.entry(told.source).or_default();
                if told.sequence == *last + 1 {
                    *last += 1;
                    self.told(&told.body, clock);
                }
            }
        }
    }

    /// Latest append time; a jump of more than an hour only as far as somebody else's clock confirms it.
    fn tell_time(&mut self, line: &Line) -> Time {
        let witness = match &line.input {
            Input::Tick { wall } => *wall,
            Input::Event(event) => event.received_at,
            Input::Command(command) => command.received_at,
            Input::Loop(told) => told.clock,
        };
        let clock = match self.clock {
            None => line.append_time,
            Some(clock) if line.append_time.since(clock) <= JUMP => clock.max(line.append_time),
            Some(clock) => clock.max(line.append_time.min(witness)),
        };
        self.clock = Some(clock);
        clock
    }

    fn told(&mut self, body: &LoopBody, clock: Time) {
        match body {
            LoopBody::Activation { .. } => self.active = true,
            LoopBody::Forward { target, event, .. } => {
                *self.expected.forwarded.entry(event.id).or_default() += 1;
                let at = event.occurred_at.expect("settled where it was forwarded");
                self.event(target, event, at, clock);
            }
            // In these runs a shop id is joined before it has state, so every grant makes a forward.
            LoopBody::Grant { target, .. } => {
                self.forwards.insert(target.clone());
            }
            LoopBody::Ask { target, .. } => self.people.entry(target.clone()).or_default().known = true,
            _ => {}
        }
    }

    fn event(&mut self, cell: &CellKey, event: &Event, at: Time, clock: Time) {
        let person = self.people.entry(cell.clone()).or_default();
        person.known = true;
        if event.kind == Kind::ContactAdded {
            person.owner = event.fields.text("staff").map(str::to_owned);
        }
        if !self.active {
            return;
        }
        if event.kind == Kind::OrderPaid {
            let (year, month, day, ..) = Zone::SHANGHAI.civil(at);
            let slot = (person.owner.clone(), format!("{year}-{month:02}-{day:02}"));
            *self.expected.counted.entry(slot).or_default() += 1;
        }
        let asks = event.kind == Kind::ChatMessage
            && event.fields.text("direction") == Some("in")
            && event.text().is_some_and(|text| WORDS.iter().any(|word| text.replace('錢', "钱").contains(word)));
        if event.kind == Kind::OrderPaid {
            self.end(
                cell,
                at,
                |enrolment| {
                    if enrolment.goal_until.is_some_and(|until| at <= until) { "goal" } else { "exit" }
                },
            );
        }
        let column = self.people[cell].column.as_deref();
        if asks && !column.is_some_and(|column| NEVER_BACK_FROM.contains(&column)) {
            self.put(cell, Some(ENTERS), at, clock);
        }
    }

    fn command(&mut self, command: &Command, at: Time, clock: Time) {
        let CommandBody::MoveCard { contact, board, expected_stage, to, .. } = &command.body else { return };
        let Some(person) = self.people.get(contact).filter(|person| person.known) else { return };
        let fits = person.column == *expected_stage && board == BOARD;
        let exists = to.as_deref().is_none_or(|to| COLUMNS.contains(&to));
        if self.active && fits && exists {
            self.put(contact, to.as_deref(), at, clock);
        }
    }

    /// The card is put into a column, or off the board.
    fn put(&mut self, cell: &CellKey, to: Option<&str>, at: Time, clock: Time) {
        let person = self.people.get_mut(cell).expect("known");
        let from = person.column.clone();
        if from.as_deref() == to {
            return;
        }
        person.column = to.map(str::to_owned);
        self.expected.tag_changes.push((cell.clone(), person.column.clone(), from.clone(), at));
        if from.as_deref() == Some(ENTERS) {
            self.end(cell, at, |_| "exit");
        }
        if to == Some(ENTERS) {
            self.enter(cell, at, clock);
        }
    }

    fn enter(&mut self, cell: &CellKey, at: Time, clock: Time) {
        let person = self.people.get_mut(cell).expect("known");
        match &person.journey {
            Some(Enrolment { ended_at: None, .. }) => return,
            // An entry refused as history has ended before it began and holds nobody back.
            Some(Enrolment { ended_at: Some(ended_at), .. }) if at < ended_at.plus(RE_ENTRY) => return,
            _ => {}
        }
        person.number += 1;
        let planned = plan(0, at, at);
        if clock.since(at) > LATE {
            let id = touch_id(cell, person.number, 0);
            self.expected.touches.push((id, "skipped", "not_entered_historic".to_owned(), planned));
            person.journey = None;
            return;
        }
        let (next, goal_until) = (Some((0, planned)), Some(at.plus(GOAL_WITHIN)));
        person.journey = Some(Enrolment { entered_at: at, next, goal_until, ended_at: None });
    }

    fn end(&mut self, cell: &CellKey, at: Time, reason: impl Fn(&Enrolment) -> &'static str) {
        let Some(person) = self.people.get_mut(cell) else { return };
        let Some(enrolment) = person.journey.as_mut().filter(|enrolment| enrolment.ended_at.is_none()) else { return };
        let reason = reason(enrolment).to_owned();
        enrolment.ended_at = Some(at);
        for (_, id, due) in std::mem::take(&mut person.open).into_values() {
            self.expected.touches.push((id, "cancelled", reason.clone(), due));
        }
        let Some((first, mut planned)) = enrolment.next.take() else { return };
        for step in first..STEPS.len() {
            if step > first {
                planned = plan(step, enrolment.entered_at, planned);
            }
            let id = touch_id(cell, person.number, step);
            self.expected.touches.push((id, "cancelled", reason.clone(), planned));
        }
    }

    /// Fires the earliest due timer of one person; whether there was one.
    fn fire_first(&mut self, cell: &CellKey, clock: Time) -> bool {
        let Some(person) = self.people.get(cell) else { return false };
        let first = timers(person).into_iter().find(|(due, _)| *due <= clock);
        let Some((due, timer)) = first else { return false };
        self.fire(cell, due, timer, clock);
        true
    }

    /// Fires what is due now for everybody; what that arms waits for the next record.
    fn fire_everybody(&mut self, clock: Time) {
        let mut due = Vec::new();
        for (cell, person) in &self.people {
            let of_person = timers(person).into_iter().filter(|(due, _)| *due <= clock);
            due.extend(of_person.map(|(at, timer)| (at, cell.clone(), timer)));
        }
        due.sort();
        for (at, cell, timer) in due {
            // An earlier one may have ended what this one was for.
            if timers(&self.people[&cell]).contains(&(at, timer)) {
                self.fire(&cell, at, timer, clock);
            }
        }
    }

    fn fire(&mut self, cell: &CellKey, due: Time, timer: Timer, clock: Time) {
        let person = self.people.get_mut(cell).expect("has a timer");
        match timer {
            Timer::Expiry(step) => {
                let (_, id, due) = person.open.remove(&step).expect("has a timer");
                self.expected.touches.push((id, "missed", "expired".to_owned(), due));
            }
            Timer::Goal => {
                let enrolment = person.journey.as_mut().expect("has a timer");
                enrolment.goal_until = None;
                if enrolment.next.is_none() {
                    enrolment.ended_at = Some(due);
                }
            }
            Timer::Step => {
                let enrolment = person.journey.as_mut().expect("has a timer");
                let (step, planned) = enrolment.next.take().expect("has a timer");
                let id = touch_id(cell, person.number, step);
                if clock.since(planned) > LATE {
                    self.expected.touches.push((id, "skipped", "late".to_owned(), planned));
                } else {
                    self.expected.touches.push((id.clone(), "due", String::new(), planned));
                    person.open.insert(step, (planned.plus(EXPIRES), id, planned));
                }
                if step + 1 < STEPS.len() {
                    enrolment.next = Some((step + 1, plan(step + 1, enrolment.entered_at, planned)));
                } else if enrolment.goal_until.is_none() {
                    enrolment.ended_at = Some(planned);
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Expiry(usize),
    Goal,
    Step,
}

/// Everything a person waits for, earliest first.
fn timers(person: &Person) -> Vec<(Time, Timer)> {
    let mut timers: Vec<_> = person.open.iter().map(|(step, open)| (open.0, Timer::Expiry(*step))).collect();
    if let Some(enrolment) = person.journey.as_ref().filter(|enrolment| enrolment.ended_at.is_none()) {
        timers.extend(enrolment.goal_until.map(|until| (until, Timer::Goal)));
        timers.extend(enrolment.next.map(|(_, planned)| (planned, Timer::Step)));
    }
    timers.sort();
    timers
}

/// `p1: after 5m`, `p2: day 1 at 10:00`, `p3: day 3 at 10:00`.
fn plan(step: usize, entered_at: Time, previous: Time) -> Time {
    let ten = ClockTime::parse("10:00").expect("a clock time");
    match step {
        0 => previous.plus(Span::minutes(5)),
        1 => Zone::SHANGHAI.day_at(entered_at, 1, ten),
        _ => Zone::SHANGHAI.day_at(entered_at, 3, ten),
    }
}

fn touch_id(cell: &CellKey, enrolment: u32, step: usize) -> String {
    format!("{}/{}/{JOURNEY}/{enrolment}/{}#1", cell.tenant(), cell.contact_id(), STEPS[step])
}
