//! What groups must have made of what they were told, by a naive reading of their log: no store, no timers, no cells.

use super::Taken;
use crate::identity::groups::{Group, STRANGER, is_question_of};
use crate::identity::{PARTITIONS, TENANT, World};
use std::collections::{BTreeMap, BTreeSet};
use touchline_engine::keys;
use touchline_model::event::{Channel, Event};
use touchline_model::id::CellKey;
use touchline_model::kind::Kind;
use touchline_model::record::LoopBody;
use touchline_model::time::{Span, Time};
use touchline_model::value::Value;

/// A group asks so often: after one hour, two, four …
const ASKS_MAX: u32 = 7;

/// Who was told by a group, by what lies at this offset, that they came or went.
type Told = (u64, Kind, String);

/// What a group knows and has said, by its log.
#[derive(Default)]
struct Reading {
    /// Of each customer the latest word since the last snapshot: when, and whether they were in it.
    words: BTreeMap<String, (Time, bool)>,
    version: Option<String>,
    /// The moment of the last snapshot, and of the latest callback.
    as_of: Option<Time>,
    changed_at: Option<Time>,
    /// How often it has asked since it last knew its members, and when it asks again.
    asked: u32,
    asks_at: Option<Time>,
    /// Offsets of the records by which it asked.
    questions: Vec<u64>,
    told: BTreeSet<Told>,
    /// How much was refused.
    refused: usize,
}

impl World {
    /// Groups know who is in them, have told whom they had to tell, and asked when they had to ask; and every contact
    /// has heard all of that, once.
    pub(super) fn judge_groups(&mut self) -> Result<(), String> {
        let mut heard = self.groups.spoke.clone();
        let mut refused = 0;
        for group in &self.groups.all {
            let reading = self.reading(group);
            self.judge_group(group, &reading)?;
            self.report.questions += reading.questions.len();
            self.report.told += reading.told.len();
            refused += reading.refused;
            for (_, kind, member) in reading.told {
                *heard.entry((member, kind)).or_default() += 1;
            }
        }
        if refused != self.report.strangers {
            return Err(format!("of {refused} snapshots of another corp {} were refused", self.report.strangers));
        }
        self.judge_heard(&heard)
    }

    fn judge_group(&self, group: &Group, reading: &Reading) -> Result<(), String> {
        let cell = CellKey::of(TENANT, &group.id);
        let partition = cell.partition(PARTITIONS);
        let part = &self.parts[partition as usize];
        let told: Vec<Told> = (self.lanes.iter().filter(|((source, _), _)| *source == partition))
            .flat_map(|(_, lane)| &lane.sent)
            .filter_map(|told| match &told.body {
                LoopBody::Forward { event, origin, hops: 1, .. } if is_told_by(group, event) => {
                    Some((origin.offset, event.kind, event.subject[0].value.clone()))
                }
                _ => None,
            })
            .collect();
        if told.len() != reading.told.len() || told.iter().any(|told| !reading.told.contains(told)) {
            return Err(format!("{cell} told {told:?}, not {:?}", reading.told));
        }
        if told.iter().any(|(.., member)| member == STRANGER) {
            return Err(format!("{cell} believes another corp"));
        }
        let letters = part.said.values().filter(|said| is_question_of(&group.id, &said.output));
        let asked: Vec<u64> = letters.map(|said| said.source.offset).collect();
        if asked != reading.questions {
            return Err(format!("{cell} asked at {asked:?}, not {:?}", reading.questions));
        }
        let prefix = keys::member(&cell, "");
        let stored = part.map.0.keys().filter_map(|key| key.strip_prefix(prefix.as_slice()));
        let members: BTreeSet<String> = stored.map(|member| String::from_utf8_lossy(member).into_owned()).collect();
        // The last thing each group is told is a snapshot of the truth.
        if members != reading.members() || members != self.truth(group) {
            return Err(format!("in {cell} are {members:?}, not {:?}", self.truth(group)));
        }
        Ok(())
    }

    /// What a group makes of its log.
    fn reading(&self, group: &Group) -> Reading {
        let cell = CellKey::of(TENANT, &group.id);
        let mut reading = Reading::default();
        for (offset, now, taken) in self.taken(cell.partition(PARTITIONS)) {
            if reading.asks_at.is_some_and(|at| at <= now) {
                reading.ask(offset, now);
            }
            match taken {
                Taken::Event(event) if event.key() == cell => reading.hear(offset, now, event),
                Taken::Told(LoopBody::Member { target, member, inside, at }) if *target == cell => {
                    reading.put(&member.value, *at, *inside);
                }
                _ => {}
            }
        }
        reading
    }

    /// Journeys count what contacts hear; a contact hears what any of its identifiers says or is told.
    fn judge_heard(&self, heard: &BTreeMap<(String, Kind), u32>) -> Result<(), String> {
        if self.groups.all.is_empty() {
            return Ok(());
        }
        for customer in self.customers() {
            let mut contact = self.contact_at(&CellKey::of(TENANT, &customer))?;
            while let Some(to) = contact.as_ref().and_then(|contact| contact.merged_into.clone()) {
                contact = self.contact_at(&to)?;
            }
            for (kind, journey) in [(Kind::GroupJoined, "came"), (Kind::GroupLeft, "went")] {
                let expected = heard.get(&(customer.value.clone(), kind)).copied().unwrap_or_default();
                let entered = contact.iter().flat_map(|contact| &contact.enrolments);
                let entered = entered.filter(|enrolment| enrolment.journey == journey);
                let found: u32 = entered.map(|enrolment| enrolment.number).sum();
                if found != expected {
                    return Err(format!("{} has heard {found} of {expected} {}", customer.value, kind.name()));
                }
            }
        }
        Ok(())
    }
}

impl Reading {
    fn members(&self) -> BTreeSet<String> {
        self.words.iter().filter(|(_, (_, inside))| *inside).map(|(member, _)| member.clone()).collect()
    }

    fn hear(&mut self, offset: u64, now: Time, event: &Event) {
        let is_ours = event.account == event.subject[0].scope;
        let at = event.occurred_at.map_or(now, |at| at.min(now));
        match event.kind {
            _ if !is_ours => self.refused += 1,
            Kind::GroupMembersChanged => self.change(offset, now, event, at),
            // A later one is known.
            Kind::GroupSnapshot if self.as_of.is_some_and(|as_of| at < as_of) => {}
            Kind::GroupSnapshot => {
                let Some(Value::List(list)) = event.fields.get("members") else { return };
                let names = list.iter().filter_map(|value| match value {
                    Value::Record(fields) => fields.text("member").map(str::to_owned),
                    _ => None,
                });
                self.replace(offset, &names.collect(), at);
                if self.changed_at.is_none_or(|changed_at| changed_at <= at) {
                    self.version = event.fields.text("member_version").map(str::to_owned);
                    (self.asked, self.asks_at) = (0, None);
                }
            }
            Kind::GroupDismissed => {
                self.replace(offset, &BTreeSet::new(), self.as_of.map_or(at, |as_of| as_of.max(at)));
                (self.version, self.asked, self.asks_at) = (None, 0, None);
            }
            _ => {}
        }
    }

    /// A callback: what it names is true; where it does not follow on what is known, or names nobody, it asks.
    fn change(&mut self, offset: u64, now: Time, event: &Event, at: Time) {
        let (from, to) = (event.fields.text("from_ver"), event.fields.text("to_ver"));
        if to == self.version.as_deref() {
            return;
        }
        self.changed_at = self.changed_at.max(Some(at));
        let Some(Value::List(names)) = event.fields.get("list") else {
            return self.ask_once(offset, now);
        };
        for name in names.iter().filter_map(Value::as_text) {
            self.put(name, at, event.fields.text("detail") == Some("add_member"));
        }
        if from == self.version.as_deref() {
            self.version = to.map(str::to_owned);
        } else {
            self.ask_once(offset, now);
        }
    }

    /// The latest word counts; one of before the second of the last snapshot is in that.
    fn put(&mut self, member: &str, at: Time, is_in: bool) {
        let is_in_snapshot = self.as_of.is_some_and(|as_of| at.0.div_euclid(1_000) < as_of.0.div_euclid(1_000));
        if !is_in_snapshot && self.words.get(member).is_none_or(|(known, _)| *known <= at) {
            self.words.insert(member.to_owned(), (at, is_in));
        }
    }

    /// Everybody who came or went since is told, but for whom a later word is known.
    fn replace(&mut self, offset: u64, found: &BTreeSet<String>, at: Time) {
        let before = self.members();
        let is_later = |words: &BTreeMap<String, (Time, bool)>, member: &str| {
            words.get(member).is_some_and(|(known, _)| *known > at)
        };
        for member in before.difference(found) {
            if !is_later(&self.words, member) {
                self.told.insert((offset, Kind::GroupLeft, member.clone()));
                self.words.insert(member.clone(), (at, false));
            }
        }
        for member in found.difference(&before) {
            if !is_later(&self.words, member) {
                self.told.insert((offset, Kind::GroupJoined, member.clone()));
                self.words.insert(member.clone(), (at, true));
            }
        }
        self.words.retain(|_, (known, inside)| *inside || *known > at);
        self.as_of = Some(at);
    }

    fn ask_once(&mut self, offset: u64, now: Time) {
        if self.asked == 0 {
            self.ask(offset, now);
        }
    }

    fn ask(&mut self, offset: u64, now: Time) {
        self.questions.push(offset);
        let again = now.plus(Span::hours(1 << self.asked));
        self.asked += 1;
        self.asks_at = (self.asked < ASKS_MAX).then_some(again);
    }
}

fn is_told_by(group: &Group, event: &Event) -> bool {
    event.channel == Channel::Internal && event.subject.get(1) == Some(&group.id)
}
