//! Eight engines, what lies in their logs, and what is on its way between them.

use super::people::{self, Action, Happened, Id, Link, What};
use super::watch::Watch;
use super::{Options, Report};
use crate::random::Random;
use crate::workload::{self, TENANT};
use std::collections::{BTreeMap, VecDeque};
use touchline_engine::{Effects, Engine, Map};
use touchline_model::command::{CommandBody, PlaybookSource};
use touchline_model::id::{CellKey, IdKey, Position};
use touchline_model::kind::Kind;
use touchline_model::output::{Contact, Output};
use touchline_model::record::{Input, Loop, LoopBody, Record};
use touchline_model::time::{Span, Time};
use touchline_model::value::{Fields, Value};

const PARTITIONS: u32 = 8;
const START: Time = Time(1_772_416_800_000);
/// How long everything happens at once: long enough that journeys are in the middle when their contacts merge.
const MIXING: Span = Span::hours(6);
/// Records on their way at most, while everything happens: so that nobody is hours behind.
const ON_THE_WAY_MAX: usize = 2_048;
/// Steps of the clock once nothing else happens.
const CLOCK_STEP: Span = Span::minutes(30);
/// Everything that is still planned lies within it; the journey that counts does not.
const REMAINING: Span = Span::hours(28);
/// One in so many does something once all is linked.
const GOES_ON_PERMILLE: u64 = 250;

struct Part {
    engine: Engine,
    map: Map,
    /// Appended and not applied, with the moment of appending.
    log: VecDeque<(Time, Input)>,
    /// Records ever appended.
    end: u64,
    timers_left: bool,
}

/// Everything of a run.
pub(super) struct World {
    random: Random,
    pub(super) people: u32,
    parts: Vec<Part>,
    /// From each partition to each: by source, then destination.
    lanes: Vec<VecDeque<Loop>>,
    now: Time,
    /// Records in logs and lanes: all, and of each family.
    on_the_way: usize,
    of_family: Vec<u32>,
    plan: Vec<Action>,
    pub(super) links: Vec<Link>,
    /// Which event said a link.
    said_at: BTreeMap<Position, u32>,
    /// In the order of the log, which is that of time.
    pub(super) happened: Vec<Happened>,
    pub(super) watch: Watch,
    count: u64,
    pub(super) report: Report,
}

impl World {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let mut random = Random::new(options.seed);
        let people = options.contacts.max(2);
        let mut parts = Vec::new();
        for partition in 0..PARTITIONS {
            let map = Map::default();
            let engine = Engine::open(&map, partition, PARTITIONS).map_err(|error| error.to_string())?;
            parts.push(Part { engine, map, log: VecDeque::new(), end: 0, timers_left: false });
        }
        let people::Plan { links, actions: plan } = people::plan(&mut random, people);
        // Links reach one person beyond the last.
        let people = people + 1;
        let report = Report { links: links.len() as u64, ..Report::default() };
        let mut world = Self {
            random,
            people,
            parts,
            lanes: (0..PARTITIONS * PARTITIONS).map(|_| VecDeque::new()).collect(),
            now: START,
            on_the_way: 0,
            of_family: vec![0; people as usize],
            plan,
            links,
            said_at: BTreeMap::new(),
            happened: Vec::new(),
            watch: Watch::new(people),
            count: 0,
            report,
        };
        let sources = vec![PlaybookSource { id: "crowd".to_owned(), yaml: people::playbook() }];
        let body = CommandBody::Activate { sources, remove: Vec::new(), expected_active: 0, migrations: Vec::new() };
        world.append(0, workload::command("activate".to_owned(), START, body));
        world.rest()?;
        let in_force = world.parts.iter().all(|part| part.engine.bundle(TENANT).is_some());
        if in_force { Ok(world) } else { Err("the playbook of the crowd is refused".to_owned()) }
    }

    /// Everything of the plan happens, while records are applied and delivered; then all comes to rest.
    pub(super) fn mix(&mut self) -> Result<(), String> {
        let plan = std::mem::take(&mut self.plan);
        let step_ms = (MIXING.0 / i64::try_from(plan.len()).expect("small")).max(1);
        for action in plan {
            self.disturb()?;
            self.now = self.now.plus(Span(step_ms));
            match action {
                Action::Happens(id, what) => self.happens(id, what, Fields::new()),
                Action::Links(link) => self.links(link),
            }
            // Half of what is due is reported, some time later.
            if self.random.chance(100)
                && let Some((id, touch)) = self.watch.report_one(&mut self.random)
            {
                self.now = self.now.plus(Span(1));
                self.happens(id, What::Sent, Fields::new().with("touch_id", Value::text(touch)));
            }
        }
        self.rest()
    }

    /// All is linked. Some go on, one thing at a time: a journey, moods, for half of them an order closed.
    pub(super) fn go_on(&mut self) -> Result<(), String> {
        let mut some: Vec<u32> = (0..self.people - 1).filter(|person| people::family(*person) == *person).collect();
        some.retain(|_| self.random.chance(GOES_ON_PERMILLE));
        for round in 0..3 {
            people::shuffle(&mut self.random, &mut some);
            for person in some.clone() {
                let ids: Vec<Id> = people::ids(person).collect();
                let id = *self.random.pick(&ids);
                let mood = people::small(self.random.below(people::MOODS));
                let what = match round {
                    1 if person.is_multiple_of(2) => What::Closed,
                    _ => What::Mood { mood, enters: round == 0 },
                };
                self.disturb()?;
                self.now = self.now.plus(Span(1));
                self.happens(id, what, Fields::new());
            }
            self.rest()?;
            self.pass(Span::hours(1))?;
        }
        Ok(())
    }

    /// What is planned falls due.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.pass(REMAINING)
    }

    /// The contact that an identifier's cell shows, as the store and as the engine know it.
    pub(super) fn contact(&self, id: Id) -> Result<Option<Contact>, String> {
        let key = people::cell(id);
        let partition = key.partition(PARTITIONS);
        let part = &self.parts[partition as usize];
        let stored = touchline_engine::public_contact(&part.map, &key, partition, part.engine.bundle(TENANT));
        let known = part.engine.public_contact(&part.map, &key).map_err(|error| error.to_string())?;
        if stored.map_err(|error| error.to_string())? == known {
            Ok(known)
        } else {
            Err(format!("memory and store hold different contacts at {key}"))
        }
    }

    fn happens(&mut self, id: Id, what: What, fields: Fields) {
        let person = people::person(id);
        let fields = match what {
            What::Said { .. } | What::Unsaid { .. } | What::Mood { .. } => fields.with("direction", Value::text("in")),
            What::Added(number) => fields.with("staff", Value::text(people::staff(person, number))),
            What::Paid | What::Closed | What::Sent => fields,
        };
        let alone = self.of_family[people::family(person) as usize] == 0;
        self.happened.push(Happened { at: self.now, id, what, alone });
        self.event(what.kind(), vec![people::id_key(id)], fields, &what.text(id));
    }

    fn links(&mut self, index: u32) {
        let link = self.links[index as usize];
        let partition = people::cell(link.one).partition(PARTITIONS);
        let offset = self.parts[partition as usize].end;
        self.said_at.insert(Position { partition, offset }, index);
        let fields = Fields::new().with("evidence", Value::text(link.evidence.name()));
        let subject = vec![people::id_key(link.one), people::id_key(link.other)];
        self.event(Kind::IdentityLinked, subject, fields, "");
    }

    fn event(&mut self, kind: Kind, subject: Vec<IdKey>, fields: Fields, text: &str) {
        self.count += 1;
        self.report.events += 1;
        let event = workload::event(kind, &self.count.to_string(), subject, self.now, None, fields, text);
        let partition = key_of(&event).expect("events have keys").partition(PARTITIONS);
        if self.random.chance(30) {
            // A channel that is not sure sends it again.
            self.append(partition, event.clone());
        }
        self.append(partition, event);
    }

    fn append(&mut self, partition: u32, input: Input) {
        self.enters(key_of(&input).as_ref());
        self.put(partition, input);
    }

    fn put(&mut self, partition: u32, input: Input) {
        let part = &mut self.parts[partition as usize];
        part.log.push_back((self.now, input));
        part.end += 1;
    }

    fn enters(&mut self, cell: Option<&CellKey>) {
        self.on_the_way += 1;
        if let Some(family) = cell.and_then(family_of) {
            self.of_family[family] += 1;
        }
    }

    /// Applies and delivers at random until the next thing happens.
    fn disturb(&mut self) -> Result<(), String> {
        loop {
            match self.random.below(10) {
                0 if self.on_the_way < ON_THE_WAY_MAX => return Ok(()),
                0..6 => self.apply_some()?,
                _ => self.deliver_some(),
            }
        }
    }

    /// Until nothing is on its way.
    fn rest(&mut self) -> Result<(), String> {
        while self.on_the_way > 0 {
            self.apply_some()?;
            self.deliver_some();
        }
        Ok(())
    }

    /// Time passes and nothing else happens.
    fn pass(&mut self, span: Span) -> Result<(), String> {
        let until = self.now.plus(span);
        while self.now < until {
            self.now = self.now.plus(CLOCK_STEP).min(until);
            (0..PARTITIONS).for_each(|partition| self.append(partition, Input::Tick { wall: self.now }));
            self.rest()?;
            while let Some(left) = (0..PARTITIONS).find(|partition| self.parts[*partition as usize].timers_left) {
                self.append(left, Input::Tick { wall: self.now });
                self.rest()?;
            }
        }
        Ok(())
    }

    fn deliver_some(&mut self) {
        let lane = self.random.below(self.lanes.len() as u64);
        let Some(told) = self.lanes[usize::try_from(lane).expect("small")].pop_front() else { return };
        let destination = u32::try_from(lane).expect("small") % PARTITIONS;
        self.put(destination, Input::Loop(Box::new(told)));
    }

    /// Applies the next record of some partition, if it has one.
    fn apply_some(&mut self) -> Result<(), String> {
        let partition = u32::try_from(self.random.below(u64::from(PARTITIONS))).expect("small");
        let part = &mut self.parts[partition as usize];
        let Some((append_time, input)) = part.log.pop_front() else { return Ok(()) };
        let cell = key_of(&input);
        let offset = part.engine.meta().offset;
        let record = Record { offset, append_time, key: cell.as_ref().map(ToString::to_string), input: Ok(input) };
        let effects = part.map.apply(&mut part.engine, &record).map_err(|error| error.to_string())?;
        part.timers_left = effects.notes.timers_left;
        if effects.notes.clock_refused || effects.notes.loop_ignored {
            return Err(format!("{partition}@{offset}: a clock or a number was refused"));
        }
        self.report.records += 1;
        let Ok(input) = &record.input else { return Ok(()) };
        self.notice(Position { partition, offset }, input, effects)?;
        self.on_the_way -= 1;
        if let Some(family) = cell.as_ref().and_then(family_of) {
            self.of_family[family] -= 1;
        }
        Ok(())
    }

    /// What a record led to.
    fn notice(&mut self, at: Position, input: &Input, effects: Effects) -> Result<(), String> {
        self.watch.applied(input, &effects)?;
        for (destination, told) in effects.loops {
            let merges = !matches!(input, Input::Loop(by) if matches!(by.body, LoopBody::MergeIn { .. }));
            match &told.body {
                LoopBody::Forward { .. } => self.report.forwarded += 1,
                LoopBody::MergeIn { .. } if merges => self.report.merges += 1,
                _ => {}
            }
            self.enters(told.body.target());
            self.lanes[(at.partition * PARTITIONS + destination) as usize].push_back(told);
        }
        for numbered in effects.outputs {
            match numbered.output {
                Output::Touch(touch) => self.watch.touch(&touch, &mut self.report)?,
                Output::DeadLetter(letter) => {
                    let origin = origin_of(input).unwrap_or(at);
                    let link = self.said_at.get(&origin).map(|link| &mut self.links[*link as usize]);
                    match (letter.reason.name(), link) {
                        ("link_refused", Some(link)) => {
                            self.report.refused += u64::from(!link.refused);
                            link.refused = true;
                        }
                        ("link_weak", Some(link)) => {
                            self.report.weak += u64::from(!link.refused);
                            link.refused = true;
                        }
                        (reason, _) => return Err(format!("{at}: a dead letter {reason} about no link")),
                    }
                }
                Output::TagChange(_) | Output::CommandResult(_) => {}
            }
        }
        Ok(())
    }
}

/// The event that a record goes back to, if it is not the record itself.
fn origin_of(input: &Input) -> Option<Position> {
    let Input::Loop(told) = input else { return None };
    match &told.body {
        LoopBody::Forward { origin, .. }
        | LoopBody::Link { origin, .. }
        | LoopBody::Ask { origin, .. }
        | LoopBody::Grant { origin, .. } => Some(*origin),
        _ => None,
    }
}

fn key_of(input: &Input) -> Option<CellKey> {
    match input {
        Input::Event(event) => Some(event.key()),
        Input::Loop(told) => told.body.target().cloned(),
        Input::Command(_) | Input::Tick { .. } => None,
    }
}

fn family_of(cell: &CellKey) -> Option<usize> {
    people::id_of(cell).map(|id| people::family(people::person(id)) as usize)
}
