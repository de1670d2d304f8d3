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
//! one tag of its identifier's group, and enters a journey once more (orders are identifiers that wait for their buyer):
//! so a lost event lacks its tag, one that was overtaken leaves an older tag in its identifier's group, and one that was
//! applied twice counts twice.
//!
//! Where somebody is parted who is being joined, who belongs to whom depends on which message came first. What must hold
//! all the same, whatever came first, is in `identity/judge.rs`; what groups must make of what they hear, in
//! `identity/judge/groups.rs`.

mod groups;
mod judge;
mod plan;
mod plant;

use crate::random::Random;
use crate::workload::{self, TENANT};
use groups::Groups;
use plan::{Action, keyword, one_of, playbook};
use std::collections::BTreeMap;
use touchline_engine::{Engine, Map, Overlay, public_contact};
use touchline_model::command::{CommandBody, PlaybookSource};
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::output::{Contact, Numbered};
use touchline_model::record::{Evidence, Input, Loop, LoopBody, Record};
use touchline_model::time::Time;
use touchline_model::token;
use touchline_model::value::{Fields, Value};

pub use plant::Plant;

const PARTITIONS: u32 = 4;
/// Identifiers of people, then orders, and events of each at most.
const IDS: usize = 8;
const ORDERS: usize = 2;
const ALL: usize = IDS + ORDERS;
const EVENTS_EACH: usize = 6;
/// Tokens, each for an identifier or an order.
const TOKENS: usize = 3;
const START: Time = Time(1_772_416_800_000);
/// How long a token that lapses during a run is good: a record takes a millisecond, a run some hundred of them.
const LAPSES_WITHIN_MS: u64 = 150;
/// Disturbances of a pause.
const PAUSE: usize = 60;
/// Steps after which a run that has not come to rest never will.
const STEPS_MAX: usize = 100_000;

/// What a schedule may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// Links within one person: it is known what must come out.
    Linked,
    /// Links that may join two people: they stay two, and nothing is lost.
    Conflicts,
    /// Identifiers are parted too, and joined by hand.
    Partings,
    /// As [`Schedule::Linked`], without orders; and people come into groups and leave them, while hours pass.
    Groups,
}

/// Which run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// What happens.
    pub schedule: Schedule,
    /// A defect to be found.
    pub plant: Option<Plant>,
}

/// What a run led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Events appended, each under its own id.
    pub events: usize,
    /// Contacts that became forwards.
    pub merges: usize,
    /// Messages between cells.
    pub messages: usize,
    /// Messages delivered again.
    pub repeats: usize,
    /// Partitions that lost what they had not saved.
    pub crashes: usize,
    /// Links that would have joined two people, or who was parted.
    pub refused: usize,
    /// Identifiers that became contacts of their own again.
    pub partings: usize,
    /// Of these, how many are known to have to stay apart.
    pub apart: usize,
    /// Tokens that proved something.
    pub tokens: usize,
    /// Tokens that proved nothing: brought by a second one, too late, or before they were made.
    pub tokens_refused: usize,
    /// Events that were on their way to a contact when their identifier was parted from it, and stayed there.
    pub stray: usize,
    /// How often groups asked for their members.
    pub questions: usize,
    /// Who was told by a group that they had come or gone.
    pub told: usize,
    /// What groups of another corp said, refused.
    pub strangers: usize,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, more: Self) {
        let Self { events, merges, messages, repeats, crashes, refused, .. } = more;
        self.events += events;
        self.merges += merges;
        self.messages += messages;
        self.repeats += repeats;
        self.crashes += crashes;
        self.refused += refused;
        let Self { partings, apart, tokens, tokens_refused, stray, questions, told, strangers, .. } = more;
        self.partings += partings;
        self.apart += apart;
        self.tokens += tokens;
        self.tokens_refused += tokens_refused;
        self.stray += stray;
        self.questions += questions;
        self.told += told;
        self.strangers += strangers;
    }
}

/// Runs one schedule to its rest and judges it.
///
/// # Errors
/// What is not as it must be, in words.
pub fn run(options: Options) -> Result<Report, String> {
    let mut world = World::new(options);
    world.begin()?;
    while !world.plan.is_empty() {
        world.disturb()?;
        world.act()?;
    }
    world.rest()?;
    world.settle_groups()?;
    world.judge()?;
    Ok(world.report)
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

/// Somebody was parted.
struct Parted {
    from: CellKey,
    who: CellKey,
    /// After which records of the run.
    step: u64,
}

struct World {
    options: Options,
    random: Random,
    parts: Vec<Part>,
    lanes: BTreeMap<(u32, u32), Lane>,
    ids: Vec<IdKey>,
    /// Who is who in truth.
    person: Vec<usize>,
    /// Whether anything may be said to join two people.
    mixes: bool,
    plan: Vec<Action>,
    /// Moments of the events of each identifier, in order.
    happened: Vec<Vec<Time>>,
    linked: Vec<(usize, usize)>,
    /// Who bought each order, and whether a shop's event has said so.
    buyer: Vec<(usize, bool)>,
    /// What each token is made for.
    bearer: Vec<usize>,
    groups: Groups,
    /// Commands that may come again.
    commands: Vec<Input>,
    parted: Vec<Parted>,
    /// The last record that led to a message on behalf of somebody who joins by hand.
    by_hand_until: u64,
    /// Records applied, replays too.
    step: u64,
    now: Time,
    count: u64,
    report: Report,
}

impl World {
    fn new(options: Options) -> Self {
        let mut random = Random::new(options.seed);
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
        let groups = match options.schedule {
            Schedule::Groups => Groups::new(&mut random),
            _ => Groups::default(),
        };
        let plan = plan::plan(&mut random, &person, options.schedule);
        Self {
            options,
            random,
            parts,
            lanes: BTreeMap::new(),
            ids,
            person,
            mixes: plan.mixes,
            plan: plan.actions,
            happened: vec![Vec::new(); ALL],
            linked: Vec::new(),
            buyer: plan.buyer.into_iter().map(|buyer| (buyer, false)).collect(),
            bearer: plan.bearer,
            groups,
            commands: Vec::new(),
            parted: Vec::new(),
            by_hand_until: 0,
            step: 0,
            now: START,
            count: 0,
            report: Report::default(),
        }
    }

    /// Puts the playbook in force everywhere before anything happens.
    fn begin(&mut self) -> Result<(), String> {
        let sources = vec![PlaybookSource { id: "identity".to_owned(), yaml: playbook() }];
        let body = CommandBody::Activate { sources, remove: Vec::new(), expected_active: 0, migrations: Vec::new() };
        self.append(0, None, workload::command("activate".to_owned(), self.now, body));
        self.rest()?;
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
                self.tell(Kind::ChatMessage, subject, fields);
            }
            Some(Action::Links(one, other)) => {
                let evidence = if self.random.chance(500) { "strong" } else { "medium" };
                let fields = Fields::new().with("evidence", Value::text(evidence));
                self.tell(Kind::IdentityLinked, vec![self.ids[one].clone(), self.ids[other].clone()], fields);
                self.linked.push((one, other));
            }
            Some(Action::Mints(token)) => self.mint(token),
            Some(Action::Brings(token, id)) => {
                let kind = *self.random.pick(&[Kind::ContactAdded, Kind::ChatStarted, Kind::ContentClicked]);
                let state = token::state_of(&token_cell(token));
                let fields = Fields::new().with("staff", Value::text("zhang")).with("state", Value::text(&state));
                self.tell(kind, vec![self.ids[id].clone()], fields);
            }
            Some(Action::Parts) => self.part()?,
            Some(Action::Joins(one, other)) => {
                let (contact, identifier) = (CellKey::of(TENANT, &self.ids[one]), self.ids[other].clone());
                self.command(CommandBody::Link { contact, identifier, reason: String::new() });
            }
            Some(Action::Repeats) if !self.commands.is_empty() => {
                let again = self.random.pick(&self.commands).clone();
                self.append_command(again);
            }
            Some(Action::Repeats) => {}
            Some(Action::Group(change)) => self.change(change),
            Some(Action::Pause) => {
                for _ in 0..PAUSE {
                    self.disturb()?;
                }
            }
        }
        Ok(())
    }

    /// The next event under an identifier, with its own keyword.
    fn happens(&mut self, id: usize, subject: Vec<IdKey>) {
        let number = self.happened[id].len();
        let fields = Fields::new().with("direction", Value::text("in"));
        let at = self.append_event(Kind::ChatMessage, subject, fields, &keyword(id, number));
        self.happened[id].push(at);
        self.report.events += 1;
    }

    /// Any other event.
    fn tell(&mut self, kind: Kind, subject: Vec<IdKey>, fields: Fields) {
        self.append_event(kind, subject, fields, "");
    }

    fn append_event(&mut self, kind: Kind, subject: Vec<IdKey>, fields: Fields, text: &str) -> Time {
        self.append_of(("", None), kind, subject, fields, text)
    }

    /// Appends what an account says of a moment (or of now), perhaps twice; when it came first.
    fn append_of(
        &mut self,
        (account, at): (&str, Option<Time>),
        kind: Kind,
        subject: Vec<IdKey>,
        fields: Fields,
        text: &str,
    ) -> Time {
        self.count += 1;
        let received_at = self.now;
        let event = |count: u64| {
            let (subject, fields) = (subject.clone(), fields.clone());
            let mut input = workload::event(kind, &count.to_string(), subject, received_at, at, fields, text);
            if let Input::Event(event) = &mut input {
                event.account = account.to_owned();
            }
            input
        };
        let once = event(self.count);
        let key = touchline_proto::input_key(&once).expect("events have keys");
        let (partition, text) = (key.partition(PARTITIONS), Some(key.to_string()));
        self.append(partition, text.clone(), once);
        let first = self.now;
        if self.random.chance(100) {
            // A channel that is not sure sends it again.
            self.count += u64::from(self.options.plant == Some(Plant::EventTwice));
            self.append(partition, text, event(self.count));
        }
        first
    }

    /// Most tokens are good for long; some are made for somebody else once more, which is refused.
    fn mint(&mut self, token: usize) {
        let lapses = Time(self.now.0 + i64::try_from(self.random.below(LAPSES_WITHIN_MS)).expect("small"));
        let long = Time(self.now.0 + 1_000_000);
        let expires_at = if self.random.chance(300) { lapses } else { long };
        let bearer = self.ids[self.bearer[token]].clone();
        self.command(CommandBody::MintToken { token: token_cell(token), bearer, expires_at });
        if self.random.chance(200) {
            let bearer = self.ids[one_of(&mut self.random, ALL)].clone();
            self.command(CommandBody::MintToken { token: token_cell(token), bearer, expires_at: long });
        }
    }

    /// Somebody who is joined now is somebody else; now and then anybody is.
    fn part(&mut self) -> Result<(), String> {
        let mut joined = Vec::new();
        for id in 0..IDS {
            let known = self.contact(id)?.into_iter().flat_map(|contact| contact.identities).skip(1);
            joined.extend(known.map(|identity| (id, identity.id)));
        }
        let (mut contact, identifier) = match joined.is_empty() || self.random.chance(100) {
            true => (one_of(&mut self.random, IDS), self.ids[one_of(&mut self.random, IDS)].clone()),
            false => self.random.pick(&joined).clone(),
        };
        if self.random.chance(200) {
            // Named by another identifier, which may be a forward to it.
            contact = one_of(&mut self.random, IDS);
        }
        if self.random.chance(200) {
            let subject = vec![self.ids[contact].clone(), identifier];
            self.tell(Kind::IdentityUnlinked, subject, Fields::new());
        } else {
            let contact = CellKey::of(TENANT, &self.ids[contact]);
            self.command(CommandBody::Unlink { contact, identifier, reason: String::new() });
        }
        Ok(())
    }

    fn command(&mut self, body: CommandBody) {
        self.count += 1;
        let command = workload::command(format!("request{}", self.count), self.now, body);
        self.commands.push(command.clone());
        if self.random.chance(200) {
            self.append_command(command.clone());
        }
        self.append_command(command);
    }

    fn append_command(&mut self, command: Input) {
        let key = touchline_proto::input_key(&command).expect("these commands have keys");
        self.append(key.partition(PARTITIONS), Some(key.to_string()), command);
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
        let mut told = self.lanes[&at].sent[index].clone();
        if index != self.lanes[&at].delivered {
            self.report.repeats += 1;
        }
        if let Some(plant) = self.options.plant {
            told = plant.falsify(told);
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
        self.step += 1;
        let mut overlay = Overlay::new(&part.map);
        let record = Record { offset, append_time, key, input: Ok(input) };
        let effects = part.engine.apply(&mut overlay, &record).map_err(|error| error.to_string())?;
        for (key, value) in overlay.into_writes().collect::<Vec<_>>() {
            if self.options.plant.is_some_and(|plant| plant.forgets(&key)) {
                continue;
            }
            part.map.write(key, value);
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
                    lane.sent.push(told.clone());
                    self.told(&told.body);
                }
            }
        }
        Ok(true)
    }

    /// A message that is sent for the first time.
    fn told(&mut self, body: &LoopBody) {
        self.report.messages += 1;
        let manual = match body {
            LoopBody::Link { evidence, .. } | LoopBody::Ask { evidence, .. } | LoopBody::Grant { evidence, .. } => {
                *evidence == Evidence::Manual
            }
            LoopBody::MergeIn { evidence, into, target, .. } => {
                self.report.merges += usize::from(into == target);
                *evidence == Evidence::Manual
            }
            LoopBody::Part { target, from, .. } => {
                self.report.partings += 1;
                self.parted.push(Parted { from: from.clone(), who: target.clone(), step: self.step });
                false
            }
            _ => false,
        };
        if manual {
            self.by_hand_until = self.step;
        }
    }

    /// Everything arrives.
    fn rest(&mut self) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            if !self.settle()? {
                return Ok(());
            }
        }
        Err("messages go on for ever".to_owned())
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
        self.contact_at(&CellKey::of(TENANT, &self.ids[id]))
    }

    fn contact_at(&self, key: &CellKey) -> Result<Option<Contact>, String> {
        let partition = key.partition(PARTITIONS);
        let part = &self.parts[partition as usize];
        let known = public_contact(&part.map, key, partition, part.engine.bundle(TENANT));
        let cached = part.engine.public_contact(&part.map, key);
        let (known, cached) = (known.map_err(|error| error.to_string())?, cached.map_err(|error| error.to_string())?);
        if known == cached { Ok(known) } else { Err("memory and store hold different contacts".to_owned()) }
    }
}

fn token_cell(token: usize) -> CellKey {
    token::cell_of(TENANT, &format!("{}{token}", token::PREFIX)).expect("a token")
}
