//! Groups in a run: who is in them in truth, and what is said of it. Members say that they came or went, callbacks name
//! them from one version to the next, fetches find everybody; any of it may be lost, late or said twice. What a group
//! must make of it is in `identity/judge/groups.rs`.

use super::plan::one_of;
use super::{PARTITIONS, Plant, TENANT, World};
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::output::{DeadReason, Output};
use touchline_model::record::Input;
use touchline_model::time::{Span, Time};
use touchline_model::value::{Fields, Value};

/// Whom the snapshots of another corp name: nobody may ever be told of them.
pub(super) const STRANGER: &str = "stranger";
const GROUPS: usize = 2;
/// Customers who come and go; the first [`PEOPLE`] are those whose identifiers are linked.
const MEMBERS: usize = 5;
const PEOPLE: usize = 2;
/// What is planned for each group at most.
const CHANGES: u64 = 16;
const CORP: &str = "scope";
const OTHER_CORP: &str = "elsewhere";
/// Time that passes in a run five times at most: under way no event gets so old that journeys take it for history (6 h).
const PASSES: u64 = 5;
const PASS_MINUTES: u64 = 70;
/// Doublings of an hour after which a group that asks in vain must have given up.
const DOUBLINGS: u32 = 8;

/// Something that happens to a group.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// A customer comes, or goes.
    Moves(usize, usize),
    /// One of the staff does: nobody we know is named.
    Staff(usize),
    /// Whoever fetches members looks whether the group asks.
    Fetches(usize),
    /// A snapshot of somebody else's group.
    Stranger(usize),
    /// The group is dissolved.
    Dismissed(usize),
    /// Something of before arrives at last.
    Arrives,
    /// Time passes.
    Passes,
}

/// All groups of a run; none where the schedule has none.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) all: Vec<Group>,
    /// How often each customer has said that they came, or that they went.
    pub(super) spoke: BTreeMap<(String, Kind), u32>,
    late: Vec<Said>,
}

/// A group in truth.
pub(super) struct Group {
    pub(super) id: IdKey,
    members: BTreeSet<usize>,
    version: u64,
    /// How many of its questions have been answered.
    answered: usize,
}

/// An event that may be under way for long.
#[derive(Clone)]
struct Said {
    /// When it was true.
    at: Time,
    account: &'static str,
    kind: Kind,
    subject: Vec<IdKey>,
    fields: Fields,
}

impl Groups {
    pub(super) fn new(random: &mut Random) -> Self {
        let group = |number| {
            let id = IdKey::new(IdKind::Group, CORP, format!("wr{number}-{}", random.below(1_000)));
            Group { id, members: BTreeSet::new(), version: 0, answered: 0 }
        };
        Self { all: (0..GROUPS).map(group).collect(), ..Self::default() }
    }
}

/// What happens to groups, in no order.
pub(super) fn plan(random: &mut Random) -> Vec<Change> {
    let mut changes = Vec::new();
    for group in 0..GROUPS {
        for _ in 0..4 + random.below(CHANGES) {
            changes.push(match random.below(20) {
                0..12 => Change::Moves(group, one_of(random, MEMBERS)),
                12 => Change::Staff(group),
                13 => Change::Stranger(group),
                14 if random.chance(300) => Change::Dismissed(group),
                _ => Change::Fetches(group),
            });
        }
    }
    changes.extend((0..random.below(GROUPS as u64 * CHANGES / 4)).map(|_| Change::Arrives));
    changes.extend((0..random.below(PASSES + 1)).map(|_| Change::Passes));
    changes
}

impl World {
    /// The next thing that happens to groups.
    pub(super) fn change(&mut self, change: Change) {
        self.now = Time(self.now.0 + 1);
        match change {
            Change::Moves(group, member) => self.moves(group, member),
            Change::Staff(group) => {
                let callback = self.callback(group, "add_member", Some(&[]));
                self.perhaps(callback);
            }
            Change::Fetches(group) => {
                let asked = self.asked(&self.groups.all[group].id);
                if asked > self.groups.all[group].answered || self.random.chance(200) {
                    self.groups.all[group].answered = asked;
                    let snapshot = self.snapshot(group);
                    self.perhaps(snapshot);
                }
            }
            Change::Stranger(group) => {
                let account = if self.options.plant == Some(Plant::StrangerBelieved) { CORP } else { OTHER_CORP };
                let members = Value::List(vec![member_record(STRANGER)]);
                let fields = Fields::new().with("member_version", Value::text("v1")).with("members", members);
                let subject = vec![self.groups.all[group].id.clone()];
                self.say(Said { at: self.now, account, kind: Kind::GroupSnapshot, subject, fields });
            }
            Change::Dismissed(group) => {
                self.groups.all[group].members.clear();
                let subject = vec![self.groups.all[group].id.clone()];
                self.perhaps(Said {
                    at: self.now,
                    account: CORP,
                    kind: Kind::GroupDismissed,
                    subject,
                    fields: Fields::new(),
                });
            }
            Change::Arrives if self.groups.late.is_empty() => {}
            Change::Arrives => {
                let at = one_of(&mut self.random, self.groups.late.len());
                let said = self.groups.late.swap_remove(at);
                self.say(said);
            }
            Change::Passes => {
                let minutes = i64::try_from(self.random.below(PASS_MINUTES)).expect("small");
                self.pass(Span::minutes(minutes));
            }
        }
    }

    /// Everything that is late arrives; some groups ask in vain for weeks; then everybody is fetched, and time goes on.
    pub(super) fn settle_groups(&mut self) -> Result<(), String> {
        if self.groups.all.is_empty() {
            return Ok(());
        }
        for said in std::mem::take(&mut self.groups.late) {
            self.say(said);
        }
        self.rest()?;
        if self.random.chance(500) {
            self.pass_weeks()?;
        }
        for group in 0..GROUPS {
            let snapshot = self.snapshot(group);
            self.say(snapshot);
        }
        self.rest()?;
        self.pass_weeks()
    }

    /// Who is in the group in truth.
    pub(super) fn truth(&self, group: &Group) -> BTreeSet<String> {
        group.members.iter().map(|member| self.member(*member).value).collect()
    }

    /// Every customer who may be in a group.
    pub(super) fn customers(&self) -> Vec<IdKey> {
        (0..MEMBERS).map(|member| self.member(member)).collect()
    }

    fn member(&self, number: usize) -> IdKey {
        if number < PEOPLE {
            return self.ids[number].clone();
        }
        IdKey::new(IdKind::WecomExternalUserid, CORP, format!("m{number}"))
    }

    fn moves(&mut self, group: usize, number: usize) {
        let member = self.member(number);
        let members = &mut self.groups.all[group].members;
        let comes = members.insert(number);
        if !comes {
            members.remove(&number);
        }
        let (kind, detail) = if comes { (Kind::GroupJoined, "add_member") } else { (Kind::GroupLeft, "del_member") };
        let named = [member.value.as_str()];
        let is_named = self.random.chance(850);
        let callback = self.callback(group, detail, is_named.then_some(&named[..]));
        let subject = vec![member.clone(), self.groups.all[group].id.clone()];
        self.perhaps(Said { at: self.now, account: CORP, kind, subject, fields: Fields::new() });
        self.perhaps(callback);
    }

    /// From the version that was to the next one.
    fn callback(&mut self, group: usize, detail: &str, list: Option<&[&str]>) -> Said {
        let group = &mut self.groups.all[group];
        let from = version(group.version);
        group.version += 1;
        let to = Value::text(version(group.version));
        let fields = Fields::new().with("from_ver", Value::text(from)).with("to_ver", to);
        let mut fields = fields.with("detail", Value::text(detail));
        if let Some(list) = list {
            fields.set("list", Value::List(list.iter().copied().map(Value::text).collect()));
        }
        Said { at: self.now, account: CORP, kind: Kind::GroupMembersChanged, subject: vec![group.id.clone()], fields }
    }

    /// What a fetch finds now.
    fn snapshot(&self, group: usize) -> Said {
        let group = &self.groups.all[group];
        let members = self.truth(group).iter().map(|member| member_record(member)).collect();
        let fields = Fields::new().with("member_version", Value::text(version(group.version)));
        let fields = fields.with("members", Value::List(members));
        Said { at: self.now, account: CORP, kind: Kind::GroupSnapshot, subject: vec![group.id.clone()], fields }
    }

    /// Says it now, later, or never.
    fn perhaps(&mut self, said: Said) {
        match self.random.below(20) {
            0..3 => {}
            3..6 => self.groups.late.push(said),
            _ => self.say(said),
        }
    }

    fn say(&mut self, said: Said) {
        if matches!(said.kind, Kind::GroupJoined | Kind::GroupLeft) {
            *self.groups.spoke.entry((said.subject[0].value.clone(), said.kind)).or_default() += 1;
        }
        self.append_of((said.account, Some(said.at)), said.kind, said.subject, said.fields, "");
    }

    /// How often the group has asked for its members.
    fn asked(&self, group: &IdKey) -> usize {
        let part = &self.parts[CellKey::of(TENANT, group).partition(PARTITIONS) as usize];
        let letters = part.said.values().filter(|said| is_question_of(group, &said.output));
        letters.count()
    }

    /// Time passes, and every partition is told.
    fn pass(&mut self, span: Span) {
        self.now = self.now.plus(span);
        for partition in 0..PARTITIONS {
            let wall = Time(self.now.0 + 1);
            self.append(partition, None, Input::Tick { wall });
        }
    }

    fn pass_weeks(&mut self) -> Result<(), String> {
        for doubling in 0..DOUBLINGS {
            self.pass(Span::hours(1 << doubling));
            self.rest()?;
        }
        Ok(())
    }
}

/// Whether a group asks for its members by this.
pub(super) fn is_question_of(group: &IdKey, output: &Output) -> bool {
    let cell = CellKey::of(TENANT, group);
    matches!(output, Output::DeadLetter(letter) if letter.reason == DeadReason::GroupOutdated && letter.cells == [cell])
}

fn version(number: u64) -> String {
    format!("v{number}")
}

fn member_record(member: &str) -> Value {
    Value::Record(Fields::new().with("member", Value::text(member)))
}
