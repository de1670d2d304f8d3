//! One engine over a map, the oracle beside it, and what they must agree on after each record.

use super::book::{DUE, Group, LEVEL, Line, Literal, SCORE, Tag, directory, native_id};
use super::make::{Phone, Plan, START, Says, Step};
use super::oracle::{self, Change, Oracle};
use super::{Plant, Report};
use crate::workload::{self, TENANT};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use touchline_engine::{Engine, Map, Public};
use touchline_model::command::{CommandBody, PlaybookSource, TagRef};
use touchline_model::counted::Counted;
use touchline_model::event::{Event, Private};
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::output::{Contact, DeadReason, Outcome, Output, TagChange, Touch};
use touchline_model::record::{Input, Record};
use touchline_model::taxonomy;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};

/// Ticks until all that is due has happened: what never comes to an end must not hang the run.
const TICKS_MAX: u32 = 100_000;

/// Plays the history to both and compares.
pub(super) fn judge(plan: &Plan, plant: Option<Plant>) -> Result<Report, String> {
    let people = 1 + plan.history.iter().map(Step::person).max().unwrap_or(0);
    let mut world = World::new(plan.in_leaps)?;
    let mut report = Report::default();
    let sources = plan.book.sources();
    if !world.activate(&sources, &plan.book.groups)? {
        return Ok(report);
    }
    report.compiled = true;
    let book = oracle::read(&plan.book, plant);
    let mut oracle = Oracle::new(&book, people, plan.in_leaps, plant);
    for (number, step) in plan.history.iter().enumerate() {
        let told = |error: String| {
            let history: String = plan.history[..=number].iter().map(|step| format!("  {step:?}\n")).collect();
            format!(
                "after step {number} at {}: {error}\n{}\n{history}",
                world_time(&plan.history[..=number]),
                written(&sources)
            )
        };
        let mut agrees = || -> Result<bool, String> {
            let allowed = play(&mut oracle, step, &plan.book.groups);
            let accepted = world.play(step, &plan.book.groups, allowed.1.as_deref())?;
            if oracle.tied {
                return Ok(false);
            }
            if allowed.0 != accepted {
                return Err(format!("accepted: {accepted}, by the description: {}", allowed.0));
            }
            compare(&mut world, &mut oracle, &mut report, matches!(step, Step::Pass(_)))?;
            Ok(true)
        };
        if !agrees().map_err(told)? {
            report.tied = true;
            break;
        }
    }
    Ok(report)
}

fn written(sources: &[(&str, String)]) -> String {
    sources.iter().map(|(_, yaml)| yaml.as_str()).collect::<Vec<_>>().join("---\n")
}

impl Step {
    const fn person(&self) -> usize {
        match self {
            Self::Pass(_) => 0,
            Self::Event { person, .. }
            | Self::Edit { person, .. }
            | Self::Move { person, .. }
            | Self::Phone { person, .. } => *person,
        }
    }
}

fn world_time(history: &[Step]) -> Time {
    history.iter().fold(START, |now, step| if let Step::Pass(span) = step { now.plus(*span) } else { now })
}

/// Whether the oracle allows it, and where the card was.
fn play(oracle: &mut Oracle<'_>, step: &Step, groups: &[Group]) -> (bool, Option<String>) {
    match step {
        Step::Pass(span) => oracle.pass(oracle.now.plus(*span)),
        Step::Event { person, event, fields, late } => {
            let at = Time(oracle.now.0 - late.0);
            oracle.event(*person, event, fields.clone(), at);
        }
        Step::Phone { person, phone, late } => {
            oracle.phone(*person, phone.clone(), Time(oracle.now.0 - late.0));
        }
        Step::Edit { person, tag: (group, tag), add } => {
            return (oracle.by_hand(*person, *group, Some(*tag), *add), None);
        }
        Step::Move { person, group, to } => {
            let seen = oracle.current(*person, *group).map(str::to_owned);
            debug_assert!(groups[*group].board.is_some(), "only cards of boards are moved");
            return (oracle.by_hand(*person, *group, *to, to.is_some()), seen);
        }
    }
    (true, None)
}

fn compare(world: &mut World, oracle: &mut Oracle<'_>, report: &mut Report, by_time: bool) -> Result<(), String> {
    let mut expected: Vec<Said> = std::mem::take(&mut oracle.said).iter().map(Said::expected).collect();
    let mut found: Vec<Said> = std::mem::take(&mut world.said).iter().map(Said::found).collect();
    expected.sort();
    found.sort();
    if expected != found {
        return Err(format!("said {found:?}\nby the description {expected:?}"));
    }
    let (refused, expected) = (std::mem::take(&mut world.refused), std::mem::take(&mut oracle.refused));
    if refused != expected {
        return Err(format!("refused on phones {refused}\nby the description {expected}"));
    }
    compare_given(world, oracle, report)?;
    report.records += 1;
    report.refused += u64::from(refused);
    report.on_phones += std::mem::take(&mut world.on_phones);
    report.changes += found.len() as u64;
    report.by_time += if by_time { found.len() as u64 } else { 0 };
    report.retracted += found.iter().filter(|said| said.retracted).count() as u64;
    let counted: BTreeMap<(String, String), u64> = world.counted.values().cloned().collect();
    if counted != oracle.counted() {
        return Err(format!("counted {counted:?}\nby the description {:?}", oracle.counted()));
    }
    for who in 0..oracle.people.len() {
        let Some(contact) = world.contact(who)? else { continue };
        let (found, expected) = (Shown::found(&contact), Shown::expected(oracle, who));
        if found != expected {
            return Err(format!("person {who} is {found:?}\nby the description {expected:?}"));
        }
    }
    Ok(())
}

fn compare_given(world: &mut World, oracle: &mut Oracle<'_>, report: &mut Report) -> Result<(), String> {
    let mut expected: Vec<Given> = std::mem::take(&mut oracle.touches).iter().map(Given::expected).collect();
    let mut found: Vec<Given> = std::mem::take(&mut world.touches).iter().map(Given::found).collect();
    expected.sort();
    found.sort();
    if expected != found {
        return Err(format!("given {found:?}\nby the description {expected:?}"));
    }
    for Given { state, reason, .. } in &found {
        report.given += u64::from(*state == "due");
        report.skipped += u64::from(*state == "skipped");
        debug_assert!(reason.is_empty() == (*state == "due"), "what is not to be done says why");
    }
    Ok(())
}

/// A change of tags, in words that both sides have.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    person: String,
    at: Time,
    group: String,
    set: Option<String>,
    unset: Option<String>,
    retracted: bool,
}

impl Said {
    fn expected(change: &Change) -> Self {
        Self {
            person: cell(change.person).to_string(),
            at: change.at,
            group: change.group.to_owned(),
            set: change.set.map(str::to_owned),
            unset: change.unset.map(str::to_owned),
            retracted: change.retracted,
        }
    }

    fn found(change: &TagChange) -> Self {
        let TagChange { contact, group, set, unset, at, retracted, .. } = change.clone();
        Self { person: contact.to_string(), at, group, set, unset, retracted }
    }
}

/// What is said of a touch, in words that both sides have.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Given {
    person: String,
    rule: String,
    touchpoint: String,
    content: String,
    executor: Option<String>,
    state: &'static str,
    reason: String,
    /// Planned, due, missed after.
    moments: [Time; 3],
}

impl Given {
    fn expected(touch: &oracle::Touch) -> Self {
        Self {
            person: cell(touch.person).to_string(),
            rule: format!("{}/{}", touch.playbook, touch.rule),
            touchpoint: touch.touchpoint.to_owned(),
            content: touch.content.to_owned(),
            executor: touch.executor.map(str::to_owned),
            state: touch.state.name(),
            reason: touch.reason.to_owned(),
            moments: [touch.planned, touch.due, touch.expires],
        }
    }

    fn found(touch: &Touch) -> Self {
        let Touch { contact, playbook, step, touchpoint, content, executor, state, reason, .. } = touch.clone();
        let moments = [touch.planned_at, touch.due_at, touch.expires_at];
        let (person, state) = (contact.to_string(), state.name());
        Self { person, rule: format!("{playbook}/{step}"), touchpoint, content, executor, state, reason, moments }
    }
}

/// What is shown of a contact, in words that both sides have.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    /// `group/tag` and since when.
    tags: BTreeSet<(String, Time)>,
    /// `board/column`.
    stages: BTreeSet<String>,
    segments: BTreeSet<String>,
    /// city, level, score, due.
    attributes: [Option<Value>; 4],
    owner: Option<String>,
}

impl Shown {
    fn expected(oracle: &Oracle<'_>, who: usize) -> Self {
        let person = &oracle.people[who];
        let group = |index: usize| &oracle.book().groups[index];
        let stage = |index: usize, tag| group(index).board.map(|(board, _)| format!("{board}/{tag}"));
        let tags =
            person.tags.iter().map(|((index, tag), carried)| (format!("{}/{tag}", group(*index).id), carried.since));
        Self {
            tags: tags.collect(),
            stages: person.tags.keys().filter_map(|(index, tag)| stage(*index, *tag)).collect(),
            segments: person.segments.iter().map(|segment| format!("s{segment}")).collect(),
            attributes: [
                oracle.profile(who, "city").map(value),
                person.attributes.get(LEVEL).map(value),
                person.attributes.get(SCORE).map(value),
                oracle.due(who).map(Value::Time),
            ],
            owner: oracle.owner(who).map(str::to_owned),
        }
    }

    fn found(contact: &Contact) -> Self {
        let attribute = |name: &str| contact.past.attributes.get(name).map(|attribute| attribute.value.clone());
        Self {
            tags: contact.tags.iter().map(|tag| (format!("{}/{}", tag.group, tag.tag), tag.set_at)).collect(),
            stages: contact.stages.iter().map(|stage| format!("{}/{}", stage.board, stage.column)).collect(),
            segments: contact.past.segments.clone(),
            attributes: ["profile.city", LEVEL, SCORE, DUE].map(attribute),
            owner: contact.owner.clone(),
        }
    }
}

fn value(literal: &Literal) -> Value {
    match literal {
        Literal::Text(text) | Literal::Date(text) => Value::text(*text),
        Literal::Number(number) => Value::integer(*number),
        Literal::Lines(lines) => {
            let record = |line: &Line| line.iter().fold(Fields::new(), |all, (name, of)| all.with(*name, value(of)));
            Value::List(lines.iter().map(|line| Value::Record(record(line))).collect())
        }
    }
}

fn id(person: usize) -> IdKey {
    IdKey::new(IdKind::WecomExternalUserid, "ww1", format!("wm{person}"))
}

fn cell(person: usize) -> CellKey {
    CellKey::of(TENANT, &id(person))
}

/// One engine, its state and its clock.
struct World {
    engine: Engine,
    map: Map,
    offset: u64,
    now: Time,
    in_leaps: bool,
    said: Vec<TagChange>,
    touches: Vec<Touch>,
    /// Changes by staff on their phones: those that no card makes, and those that were made.
    refused: u32,
    on_phones: u64,
    /// What is counted, by cell: metric and period, and how often.
    counted: BTreeMap<CellKey, ((String, String), u64)>,
    /// Whether the last command was accepted, and of a refusal why.
    answer: Result<(), String>,
}

impl World {
    fn new(in_leaps: bool) -> Result<Self, String> {
        let map = Map::default();
        let engine = Engine::open(&map, 0, 1).map_err(|error| error.to_string())?;
        Ok(Self {
            engine,
            map,
            offset: 0,
            now: START,
            in_leaps,
            said: Vec::new(),
            touches: Vec::new(),
            refused: 0,
            on_phones: 0,
            counted: BTreeMap::new(),
            answer: Ok(()),
        })
    }

    /// Whether the compiler takes the playbook.
    fn activate(&mut self, sources: &[(&'static str, String)], groups: &[Group]) -> Result<bool, String> {
        self.command(CommandBody::SetDirectory { yaml: directory(groups) })?;
        self.answer.clone()?;
        let source = |(id, yaml): &(&str, String)| PlaybookSource { id: (*id).to_owned(), yaml: yaml.clone() };
        self.command(CommandBody::Activate {
            sources: sources.iter().map(source).collect(),
            remove: Vec::new(),
            expected_active: 0,
            migrations: Vec::new(),
        })?;
        match &self.answer {
            Ok(()) => Ok(true),
            // What rules of chance may make; anything else is a mistake of the writer.
            Err(refusal) if refusal.contains("PB025") || refusal.contains("PB026") => Ok(false),
            Err(refusal) => Err(format!("{refusal}\n{}", written(sources))),
        }
    }

    /// Whether it was accepted.
    fn play(&mut self, step: &Step, groups: &[Group], seen: Option<&str>) -> Result<bool, String> {
        self.answer = Ok(());
        match step {
            Step::Pass(span) => self.pass(self.now.plus(*span))?,
            Step::Event { person, event, fields, late } => {
                let event = self.event(*person, event, fields, Time(self.now.0 - late.0));
                self.append(cell(*person), event)?;
                // As the owner of a partition does without being asked.
                self.pass(self.now)?;
                return Ok(true);
            }
            Step::Phone { person, phone, late } => {
                let event = self.phone(*person, phone, Time(self.now.0 - late.0));
                self.append(cell(*person), event)?;
                self.pass(self.now)?;
                return Ok(true);
            }
            Step::Edit { person, tag: (group, tag), add } => {
                let tags = vec![TagRef::new(groups[*group].id, *tag)];
                let (add, remove) = if *add { (tags, Vec::new()) } else { (Vec::new(), tags) };
                self.command(CommandBody::EditTags { contact: cell(*person), add, remove, reason: String::new() })?;
            }
            Step::Move { person, group, to } => {
                self.command(CommandBody::MoveCard {
                    contact: cell(*person),
                    board: groups[*group].board.map_or("", |(board, _)| board).to_owned(),
                    expected_stage: seen.map(str::to_owned),
                    to: to.map(str::to_owned),
                    reason: String::new(),
                })?;
            }
        }
        match &self.answer {
            Err(refusal) if !refusal.starts_with("backward_move") => Err(refusal.clone()),
            answer => Ok(answer.is_ok()),
        }
    }

    fn contact(&self, person: usize) -> Result<Option<Contact>, String> {
        self.engine.public_contact(&self.map, &cell(person)).map_err(|error| error.to_string())
    }

    fn event(&self, person: usize, name: &str, given: &[(&'static str, Literal)], at: Time) -> Input {
        let kind = Kind::parse(name).unwrap_or(Kind::Custom);
        let (mut fields, mut private) = (Fields::new(), Fields::new());
        for (field, literal) in given {
            let part = if taxonomy::is_private(kind, field) { &mut private } else { &mut fields };
            part.set(*field, value(literal));
        }
        let basis = self.offset.to_string();
        let input = workload::event(kind, &basis, vec![id(person)], self.now, Some(at), fields, "");
        let Input::Event(event) = input else { return input };
        let custom_name = if kind == Kind::Custom { name.to_owned() } else { String::new() };
        let private = Private::Plain { fields: private, raw: Vec::new() };
        Input::Event(Box::new(Event { custom_name, private, ..*event }))
    }

    fn phone(&self, person: usize, phone: &Phone, at: Time) -> Input {
        let Phone { staff, says, on, off } = phone;
        let ids = |tags: &[Tag]| Value::List(tags.iter().map(|(_, tag)| Value::text(native_id(tag))).collect());
        let said = |added, removed| {
            let staff = Fields::new().with("staff", Value::text(*staff));
            staff.with(added, ids(on)).with(removed, ids(off))
        };
        let (kind, fields) = match says {
            Says::Observed => (Kind::TagObserved, said("added", "removed")),
            Says::Written { done } => {
                let code = Value::integer(if *done { 0 } else { 40_068 });
                (Kind::TagWriteResult, said("add", "remove").with("errcode", code))
            }
            Says::Snapshot => {
                let relation = Fields::new().with("staff", Value::text(*staff)).with("tags", ids(on));
                let relations = Value::List(vec![Value::Record(relation)]);
                (Kind::ContactSnapshot, Fields::new().with("follow_users", relations))
            }
        };
        workload::event(kind, &self.offset.to_string(), vec![id(person)], self.now, Some(at), fields, "")
    }

    fn command(&mut self, body: CommandBody) -> Result<(), String> {
        let key = body.contact().cloned();
        let command = workload::command(format!("command{}", self.offset), self.now, body);
        match key {
            Some(key) => self.append(key, command),
            None => self.append_all(None, command),
        }
    }

    /// Time passes: at each moment that is due on the way a tick, or one tick at the end.
    fn pass(&mut self, until: Time) -> Result<(), String> {
        for _ in 0..TICKS_MAX {
            let due = self.engine.next_due(&self.map).map_err(|error| error.to_string())?;
            let Some(due) = due.filter(|due| *due <= until) else {
                self.now = until;
                return self.append_all(None, Input::Tick { wall: until });
            };
            self.now = if self.in_leaps { until } else { due.max(self.now) };
            self.append_all(None, Input::Tick { wall: self.now })?;
        }
        Err(format!("time does not get past {}", self.now))
    }

    fn append(&mut self, key: CellKey, input: Input) -> Result<(), String> {
        self.append_all(Some(key.to_string()), input)
    }

    /// Appends, and what follows from it.
    fn append_all(&mut self, key: Option<String>, input: Input) -> Result<(), String> {
        let mut queue = VecDeque::from([(key, input)]);
        while let Some((key, input)) = queue.pop_front() {
            let record = Record { offset: self.offset, append_time: self.now, key, input: Ok(input) };
            let effects = self.map.apply(&mut self.engine, &record).map_err(|error| error.to_string())?;
            self.offset += 1;
            for cell in effects.dirty.iter().filter(|cell| cell.kind() == IdKind::Metric) {
                let public = self.engine.public_record(&self.map, cell).map_err(|error| error.to_string())?;
                if let Some(Public::Counted(Counted { slot, count, .. })) = public {
                    self.counted.insert(cell.clone(), ((slot.metric, slot.period), count));
                }
            }
            for numbered in effects.outputs {
                match numbered.output {
                    Output::TagChange(change) => {
                        let is_on_phone = !change.cause.actor.is_empty() && change.cause.event_id.is_some();
                        self.on_phones += u64::from(is_on_phone);
                        self.said.push(change);
                    }
                    Output::DeadLetter(letter) if letter.reason == DeadReason::TagRefused => self.refused += 1,
                    Output::CommandResult(result) => {
                        self.answer = match result.outcome {
                            Outcome::Accepted => Ok(()),
                            Outcome::Refused { code, detail, .. } => Err(format!("{code}: {detail}")),
                        };
                    }
                    Output::DeadLetter(letter) => return Err(format!("a dead letter: {letter:?}")),
                    Output::Touch(touch) => self.touches.push(touch),
                }
            }
            for (_, looped) in effects.loops {
                let key = looped.body.target().map(ToString::to_string);
                queue.push_back((key, Input::Loop(Box::new(looped))));
            }
        }
        Ok(())
    }
}
