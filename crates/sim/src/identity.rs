//! Identity alone: cells on four partitions, links between them, and everything a log may do to their messages.
//!
//! Engines over maps, without processor or store: so thousands of schedules take seconds. A schedule decides which
//! partition applies its next record, which lane delivers, repeats or skips a message, and who crashes and replays from
//! what it saved last.
//!
//! ```text
//!   event ─▶ log of its partition ─▶ engine ─▶ lanes, one per pair ─▶ log of the target ─▶ engine …
//! ```
//! What must come out follows from the events alone. Every event has a keyword of its own that sets a tag of its own, the
//! one tag of its identifier's group, and enters a journey once more (orders are identifiers that wait for their buyer): so a lost event lacks its tag, one that was
//! overtaken leaves an older tag in its identifier's group, and one that was applied twice counts twice.

use crate::random::Random;
use crate::workload::{self, TENANT};
use std::collections::{BTreeMap, BTreeSet};
use touchline_engine::{Engine, Overlay, View, ViewError, public_contact};
use touchline_model::command::{CommandBody, PlaybookSource};
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::output::{Contact, Numbered, Stream};
use touchline_model::record::{Input, Loop, LoopBody, Record};
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};

const PARTITIONS: u32 = 4;
/// Identifiers of people, then orders, and events of each at most.
const IDS: usize = 8;
const ORDERS: usize = 2;
const ALL: usize = IDS + ORDERS;
const EVENTS_EACH: usize = 6;
const START: Time = Time(1_772_416_800_000);
/// Steps after which a run that has not come to rest never will.
const STEPS_MAX: usize = 100_000;

/// What a run led to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Events appended, each under its own id.
    pub events: usize,
    /// Contacts that became forwards.
    pub merges: usize,
    /// Messages between cells, and how many were delivered more than once.
    pub messages: usize,
    /// Messages delivered again.
    pub repeats: usize,
    /// Partitions that lost what they had not saved.
    pub crashes: usize,
    /// Links that would have joined two people.
    pub refused: usize,
}

/// Runs one schedule. `conflicts`: links may join two people, of whom only safety is asked then.
///
/// # Errors
/// What is not as it must be, in words.
pub fn run(seed: u64, conflicts: bool) -> Result<Report, String> {
    let mut world = World::new(seed, conflicts);
    world.begin()?;
    while !world.plan.is_empty() {
        world.disturb()?;
        world.act()?;
    }
    for _ in 0..STEPS_MAX {
        if !world.settle()? {
            world.judge()?;
            return Ok(world.report);
        }
    }
    Err("messages go on for ever".to_owned())
}

#[derive(Default, Clone)]
struct Map(BTreeMap<Vec<u8>, Vec<u8>>);

impl View for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, ViewError> {
        let range = self.0.range(from.to_vec()..until.to_vec());
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

struct Part {
    engine: Engine,
    map: Map,
    /// What a crash goes back to.
    saved: Map,
    log: Vec<(Time, Option<String>, Input)>,
    /// What was said, by stream and number: a replay must say the same.
    said: BTreeMap<(usize, u64), Numbered>,
}

/// Messages from one partition to another; those below `delivered` lie in the target's log.
#[derive(Default)]
struct Lane {
    sent: Vec<Loop>,
    delivered: usize,
}

enum Action {
    Happens(usize),
    Links(usize, usize),
    /// Something is said of an order, with or without its buyer.
    Ordered(usize, bool),
    /// The buyer says something that names the order.
    Names(usize),
}

struct World {
    random: Random,
    parts: Vec<Part>,
    lanes: BTreeMap<(u32, u32), Lane>,
    ids: Vec<IdKey>,
    /// Who is who in truth.
    person: Vec<usize>,
    plan: Vec<Action>,
    /// Moments of the events of each identifier, in order.
    happened: Vec<Vec<Time>>,
    linked: Vec<(usize, usize)>,
    /// Who bought each order, and whether anything has said so.
    buyer: Vec<(usize, bool)>,
    conflicts: bool,
    now: Time,
    count: u64,
    report: Report,
}

impl World {
    fn new(seed: u64, conflicts: bool) -> Self {
        let mut random = Random::new(seed);
        let part = |partition| {
            let map = Map::default();
            let engine = Engine::open(&map, partition, PARTITIONS).expect("an empty store opens");
            Part { engine, saved: map.clone(), map, log: Vec::new(), said: BTreeMap::new() }
        };
        let parts = (0..PARTITIONS).map(part).collect();
        let (mut ids, mut person) = (Vec::new(), Vec::new());
        for number in 0..IDS {
            let whose = number % 2;
            // At most one of each exclusive kind for a person.
            let kind = match number / 2 {
                0 => IdKind::WecomExternalUserid,
                1 => IdKind::WxUnionid,
                _ => *random.pick(&[IdKind::YzOpenId, IdKind::TbOpenUid, IdKind::WxOpenid, IdKind::PhoneRef]),
            };
            ids.push(IdKey::new(kind, "scope", format!("{number}-{}", random.below(1_000))));
            person.push(whose);
        }
        for number in 0..ORDERS {
            ids.push(IdKey::new(IdKind::Order, "youzan:1", format!("E{number}-{}", random.below(1_000))));
        }
        let buyer = (0..ORDERS).map(|_| (usize::try_from(random.below(IDS as u64)).expect("small"), false)).collect();
        let plan = plan(&mut random, &person, conflicts);
        let lanes = BTreeMap::new();
        let (happened, linked) = (vec![Vec::new(); ALL], Vec::new());
        let (now, count, report) = (START, 0, Report::default());
        Self { random, parts, lanes, ids, person, plan, happened, linked, buyer, conflicts, now, count, report }
    }

    /// Puts the playbook in force everywhere before anything happens.
    fn begin(&mut self) -> Result<(), String> {
        let sources = vec![PlaybookSource { id: "identity".to_owned(), yaml: playbook() }];
        let body = CommandBody::Activate { sources, remove: Vec::new(), expected_active: 0 };
        self.append(0, None, workload::command("activate".to_owned(), self.now, body));
        while self.settle()? {}
        let in_force = self.parts.iter().all(|part| part.engine.bundle(TENANT).is_some());
        if in_force { Ok(()) } else { Err("the playbook of the simulation is refused".to_owned()) }
    }

    fn append(&mut self, partition: u32, key: Option<String>, input: Input) {
        self.now = Time(self.now.0 + 1);
        self.parts[partition as usize].log.push((self.now, key, input));
    }

    /// The next thing of the plan.
    fn act(&mut self) -> Result<(), String> {
        if !self.random.chance(400) {
            return Ok(());
        }
        match self.plan.pop() {
            None => {}
            Some(Action::Happens(id)) => self.happens(id, vec![self.ids[id].clone()]),
            Some(Action::Ordered(order, named)) => {
                let mut subject = vec![self.ids[IDS + order].clone()];
                if named {
                    subject.push(self.ids[self.buyer[order].0].clone());
                    self.buyer[order].1 = true;
                }
                self.happens(IDS + order, subject);
            }
            Some(Action::Names(order)) => {
                self.buyer[order].1 = true;
                let subject = vec![self.ids[self.buyer[order].0].clone(), self.ids[IDS + order].clone()];
                let fields = Fields::new().with("direction", Value::text("out"));
                let event = self.event(Kind::ChatMessage, subject, fields, "");
                self.append_event(event);
            }
            Some(Action::Links(one, other)) => {
                let evidence = if self.random.chance(500) { "strong" } else { "medium" };
                let fields = Fields::new().with("evidence", Value::text(evidence));
                let subject = vec![self.ids[one].clone(), self.ids[other].clone()];
                let event = self.event(Kind::IdentityLinked, subject, fields, "");
                self.append_event(event);
                self.linked.push((one, other));
            }
        }
        Ok(())
    }

    /// The next event under an identifier, with its own keyword.
    fn happens(&mut self, id: usize, subject: Vec<IdKey>) {
        let number = self.happened[id].len();
        let fields = Fields::new().with("direction", Value::text("in"));
        let event = self.event(Kind::ChatMessage, subject, fields, &keyword(id, number));
        self.append_event(event);
        self.happened[id].push(self.now);
        self.report.events += 1;
    }

    fn append_event(&mut self, event: Input) {
        let key = touchline_proto::input_key(&event).expect("events have keys");
        let (partition, text) = (key.partition(PARTITIONS), Some(key.to_string()));
        if self.random.chance(100) {
            // A channel that is not sure sends it again.
            self.append(partition, text.clone(), event.clone());
            let first = self.now;
            self.append(partition, text, event);
            self.now = first;
            return;
        }
        self.append(partition, text, event);
    }

    fn event(&mut self, kind: Kind, subject: Vec<IdKey>, fields: Fields, text: &str) -> Input {
        self.count += 1;
        workload::event(kind, &self.count.to_string(), subject, self.now, None, fields, text)
    }

    /// Whatever may happen at any time.
    fn disturb(&mut self) -> Result<(), String> {
        let partition = u32::try_from(self.random.below(u64::from(PARTITIONS))).expect("small");
        match self.random.below(100) {
            0..60 => self.apply(partition).map(drop),
            60..90 => {
                self.deliver_some();
                Ok(())
            }
            90..95 => {
                let part = &mut self.parts[partition as usize];
                part.saved = part.map.clone();
                Ok(())
            }
            _ => self.crash(partition),
        }
    }

    fn crash(&mut self, partition: u32) -> Result<(), String> {
        self.report.crashes += 1;
        let part = &mut self.parts[partition as usize];
        part.map = part.saved.clone();
        part.engine = Engine::open(&part.map, partition, PARTITIONS).map_err(|error| error.to_string())?;
        // Its lanes do not know what had arrived: they go back.
        for ((source, _), lane) in &mut self.lanes {
            if *source == partition {
                let back = self.random.below(4).min(lane.delivered as u64);
                lane.delivered -= usize::try_from(back).expect("small");
            }
        }
        Ok(())
    }

    /// Delivers the next message of some lane, or an older one again, or one too early.
    fn deliver_some(&mut self) {
        let lanes: Vec<(u32, u32)> = self.lanes.keys().copied().collect();
        if lanes.is_empty() {
            return;
        }
        let at = *self.random.pick(&lanes);
        let lane = &self.lanes[&at];
        let (sent, delivered) = (lane.sent.len(), lane.delivered);
        match self.random.below(20) {
            0 if delivered > 0 => {
                let again = usize::try_from(self.random.below(delivered as u64)).expect("small");
                self.deliver(at, again);
            }
            1 if delivered + 1 < sent => self.deliver(at, delivered + 1),
            _ if delivered < sent => {
                self.deliver(at, delivered);
                self.lanes.get_mut(&at).expect("known").delivered += 1;
            }
            _ => {}
        }
    }

    fn deliver(&mut self, at: (u32, u32), index: usize) {
        let told = self.lanes[&at].sent[index].clone();
        if index != self.lanes[&at].delivered {
            self.report.repeats += 1;
        }
        let key = told.body.target().map(ToString::to_string);
        self.append(at.1, key, Input::Loop(Box::new(told)));
    }

    /// Applies the next record of a partition; whether there was one.
    fn apply(&mut self, partition: u32) -> Result<bool, String> {
        let part = &mut self.parts[partition as usize];
        let offset = part.engine.meta().offset;
        let Some((append_time, key, input)) = part.log.get(usize::try_from(offset).expect("small")).cloned() else {
            return Ok(false);
        };
        let mut overlay = Overlay::new(&part.map);
        let record = Record { offset, append_time, key, input: Ok(input) };
        let effects = part.engine.apply(&mut overlay, &record).map_err(|error| error.to_string())?;
        for (key, value) in overlay.into_writes().collect::<Vec<_>>() {
            match value {
                Some(value) => part.map.0.insert(key, value),
                None => part.map.0.remove(&key),
            };
        }
        part.map.0.insert(touchline_engine::keys::META.to_vec(), part.engine.meta().encode());
        for numbered in effects.outputs {
            let at = (numbered.output.stream().index(), numbered.sequence);
            let before = part.said.insert(at, numbered.clone());
            if before.is_some_and(|before| before != numbered) {
                return Err(format!("partition {partition} says something else when it replays {offset}"));
            }
        }
        for (destination, told) in effects.loops {
            let lane = self.lanes.entry((partition, destination)).or_default();
            let index = usize::try_from(told.sequence - 1).expect("small");
            match lane.sent.get(index) {
                Some(before) if *before == told => {}
                Some(_) => return Err(format!("partition {partition} tells something else when it replays {offset}")),
                None => {
                    self.report.messages += 1;
                    self.report.merges += usize::from(matches!(told.body, LoopBody::MergeIn { .. }));
                    lane.sent.push(told);
                }
            }
        }
        Ok(true)
    }

    /// Applies and delivers without faults; false when nothing is left.
    fn settle(&mut self) -> Result<bool, String> {
        for partition in 0..PARTITIONS {
            if self.apply(partition)? {
                return Ok(true);
            }
        }
        let next = self.lanes.iter().find_map(|(at, lane)| {
            // Everything is applied, so the receiver says where it is.
            let received = self.parts[at.1 as usize].engine.meta().loop_received[at.0 as usize];
            (received < lane.sent.len() as u64).then_some((*at, usize::try_from(received).expect("small")))
        });
        let Some((at, index)) = next else { return Ok(false) };
        self.lanes.get_mut(&at).expect("known").delivered = index;
        self.deliver(at, index);
        self.lanes.get_mut(&at).expect("known").delivered += 1;
        Ok(true)
    }

    fn contact(&self, id: usize) -> Result<Option<Contact>, String> {
        let key = CellKey::of(TENANT, &self.ids[id]);
        let partition = key.partition(PARTITIONS);
        let part = &self.parts[partition as usize];
        let known = public_contact(&part.map, &key, partition, part.engine.bundle(TENANT));
        let cached = part.engine.public_contact(&part.map, &key);
        let (known, cached) = (known.map_err(|error| error.to_string())?, cached.map_err(|error| error.to_string())?);
        if known == cached { Ok(known) } else { Err("memory and store hold different contacts".to_owned()) }
    }

    /// Where the contact of an identifier lives.
    fn root(&self, id: usize) -> Result<Option<usize>, String> {
        let (mut at, mut hops) = (id, 0);
        loop {
            let Some(contact) = self.contact(at)? else { return Ok(None) };
            let Some(to) = contact.merged_into else { return Ok(Some(at)) };
            at = self.ids.iter().position(|id| CellKey::of(TENANT, id) == to).ok_or("a forward to nobody")?;
            hops += 1;
            if hops > IDS {
                return Err("forwards go round in a circle".to_owned());
            }
        }
    }

    fn judge(&mut self) -> Result<(), String> {
        let letters = Stream::DeadLetters.index();
        let refused = self.parts.iter().flat_map(|part| &part.said).filter(|((stream, _), numbered)| {
            *stream == letters && format!("{:?}", numbered.output).contains("LinkRefused")
        });
        self.report.refused = refused.count();
        let mut roots: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for id in 0..IDS {
            match self.root(id)? {
                Some(root) => roots.entry(root).or_default().push(id),
                None if self.happened[id].is_empty() => {}
                None => return Err(format!("identifier {id} is forgotten")),
            }
        }
        for (root, members) in &roots {
            self.judge_contact(*root, members)?;
        }
        if self.conflicts {
            return Ok(());
        }
        if self.report.refused > 0 {
            return Err("a link within one person was refused".to_owned());
        }
        for (one, other) in &self.linked {
            if self.root(*one)? != self.root(*other)? {
                return Err(format!("{one} and {other} were linked and are two contacts"));
            }
        }
        for (root, members) in &roots {
            let highest = members.iter().min_by_key(|id| (self.ids[**id].kind, CellKey::of(TENANT, &self.ids[**id])));
            if highest != Some(root) {
                return Err(format!("{root} is not the highest of {members:?}"));
            }
            let linked = self.component(*root);
            if linked != members.iter().copied().collect() {
                return Err(format!("{root} holds {members:?}, linked were {linked:?}"));
            }
        }
        Ok(())
    }

    /// Everybody reached by links from here.
    fn component(&self, from: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from([from]);
        loop {
            let more =
                self.linked.iter().filter_map(|(one, other)| match (reached.contains(one), reached.contains(other)) {
                    (true, false) => Some(*other),
                    (false, true) => Some(*one),
                    _ => None,
                });
            let Some(next) = more.min() else { return reached };
            reached.insert(next);
        }
    }

    /// A contact holds what happened under its identifiers: all of it, once, the last of each last.
    fn judge_contact(&self, root: usize, members: &[usize]) -> Result<(), String> {
        let contact = self.contact(root)?.ok_or("a root that is not there")?;
        let people: BTreeSet<usize> = members.iter().map(|id| self.person[*id]).collect();
        if people.len() > 1 {
            let exclusive = |kind: IdKind| members.iter().filter(|id| self.ids[**id].kind == kind).count();
            if exclusive(IdKind::WxUnionid) > 1 || exclusive(IdKind::WecomExternalUserid) > 1 {
                return Err(format!("{root} is two people"));
            }
            if !self.conflicts {
                return Err(format!("{root} has identifiers of two people: {members:?}"));
            }
        }
        let known: BTreeSet<&IdKey> = contact.identities.iter().map(|identity| &identity.id).collect();
        let stands_for: BTreeSet<&IdKey> = members.iter().map(|id| &self.ids[*id]).collect();
        if known != stands_for {
            return Err(format!("{root} says that it is {known:?}, and is {stands_for:?}"));
        }
        let bought = (0..ORDERS).filter(|order| self.buyer[*order].1 && members.contains(&self.buyer[*order].0));
        let members: Vec<usize> = members.iter().copied().chain(bought.map(|order| IDS + order)).collect();
        let mut expected = BTreeSet::new();
        for id in &members {
            let each = self.happened[*id].iter().enumerate();
            expected.extend(each.map(|(number, at)| ("all".to_owned(), tag(*id, number), *at)));
            if let Some(last) = self.happened[*id].last() {
                expected.insert((format!("g{id}"), format!("n{}", self.happened[*id].len() - 1), *last));
            }
        }
        let carried = contact.tags.iter().map(|tag| (tag.group.clone(), tag.tag.clone(), tag.set_at));
        let carried: BTreeSet<_> = carried.collect();
        if carried != expected {
            let lost: Vec<_> = expected.difference(&carried).collect();
            let foreign: Vec<_> = carried.difference(&expected).collect();
            return Err(format!("{root} lacks {lost:?} and has {foreign:?}"));
        }
        let count: usize = members.iter().map(|id| self.happened[*id].len()).sum();
        let entered = contact.enrolments.first().map_or(0, |enrolment| enrolment.number as usize);
        if entered != count {
            return Err(format!("{root} saw {entered} events of {count}"));
        }
        Ok(())
    }
}

/// Events and links in random order. Each person's identifiers are linked as a chain, a star, a ring, or only in part.
fn plan(random: &mut Random, person: &[usize], conflicts: bool) -> Vec<Action> {
    let mut plan = Vec::new();
    for id in 0..IDS {
        let count = random.below(EVENTS_EACH as u64 + 1);
        plan.extend((0..count).map(|_| Action::Happens(id)));
    }
    for order in 0..ORDERS {
        let count = random.below(EVENTS_EACH as u64);
        plan.extend((0..count).map(|_| Action::Ordered(order, random.chance(200))));
        if random.chance(500) {
            plan.push(Action::Names(order));
        }
    }
    for whose in 0..2 {
        let own: Vec<usize> = (0..IDS).filter(|id| person[*id] == whose).collect();
        let shape = random.below(4);
        for (at, id) in own.iter().enumerate() {
            let other = match shape {
                0 => own[(at + 1) % own.len()],
                1 => own[0],
                2 => *random.pick(&own),
                _ if random.chance(500) => *random.pick(&own),
                _ => *id,
            };
            if other != *id {
                // Both ways at once, now and then.
                plan.push(if random.chance(500) { Action::Links(*id, other) } else { Action::Links(other, *id) });
                if random.chance(200) {
                    plan.push(Action::Links(other, *id));
                    plan.push(Action::Links(*id, other));
                }
            }
        }
    }
    if conflicts {
        for _ in 0..1 + random.below(3) {
            let one = usize::try_from(random.below(IDS as u64)).expect("small");
            let other = usize::try_from(random.below(IDS as u64)).expect("small");
            if one != other {
                plan.push(Action::Links(one, other));
            }
        }
    }
    for at in (1..plan.len()).rev() {
        let with = usize::try_from(random.below(at as u64 + 1)).expect("small");
        plan.swap(at, with);
    }
    plan
}

fn tag(id: usize, number: usize) -> String {
    format!("i{id}n{number}")
}

fn keyword(id: usize, number: usize) -> String {
    format!("word{id}and{number}end")
}

fn playbook() -> String {
    let pairs = || (0..ALL).flat_map(|id| (0..EVENTS_EACH).map(move |number| (id, number)));
    let all: Vec<String> = pairs().map(|(id, number)| tag(id, number)).collect();
    let own: Vec<String> = (0..EVENTS_EACH).map(|number| format!("n{number}")).collect();
    let mut yaml = format!("playbook: identity\ntag_groups:\n  - {{id: all, tags: [{}]}}\n", all.join(", "));
    for id in 0..ALL {
        yaml += &format!("  - {{id: g{id}, exclusive: true, tags: [{}]}}\n", own.join(", "));
    }
    yaml += "keywords:\n";
    for (id, number) in pairs() {
        yaml += &format!("  {}: {{any: [{}]}}\n", tag(id, number), keyword(id, number));
    }
    yaml += "rules:\n";
    for (id, number) in pairs() {
        let tag = tag(id, number);
        let trigger = format!("\"chat.message(direction=in, text has {tag})\"");
        yaml += &format!(
            "  - {{id: {tag}, trigger: {trigger}, do: [{{set_tag: all/{tag}}}, {{set_tag: g{id}/n{number}}}]}}\n"
        );
    }
    yaml += "journeys:\n  - id: count\n    entry: {trigger: \"chat.message(direction=in)\"}\n";
    yaml += "    exit: {trigger: order.closed}\n    re_entry: {each: entry}\n";
    yaml + "    steps: [{id: s, after: 1d, touchpoint: dm, content: c}]\n"
}
