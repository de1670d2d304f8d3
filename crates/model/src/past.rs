//! What a contact's past leaves behind for conditions: kept as it happens, so that nothing has to be read again.
//!
//! One set of words for the engine's state, for what a merge carries and for the public record.

use crate::command::TagRef;
use crate::time::Time;
use crate::value::{Number, Value};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The past of one contact.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Past {
    /// Event name → when it happened and how often.
    pub happened: BTreeMap<String, Happened>,
    /// What playbooks count, by the key of what is counted.
    pub tallies: BTreeMap<u64, Tally>,
    /// Attributes and profile fields (`profile.city`) by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// Groups of customers by native id.
    pub groups: BTreeMap<String, Membership>,
    /// Segments the contact is in.
    pub segments: BTreeSet<String>,
    /// Since when nothing has broken a silence, by the key of the silence.
    pub silences: BTreeMap<u64, Time>,
    /// Touches that were sent, the newest, by event time: what replies answer, and what caps count.
    pub sent: Vec<Sent>,
    /// Contents the contact has received, with the event time of the latest.
    pub received: BTreeMap<String, Time>,
    /// Consents by scope (`marketing`, `chat`).
    pub consents: BTreeMap<String, Consent>,
    /// Tags on phones: staff → native tag id → the latest that is known of it.
    pub observed: BTreeMap<String, BTreeMap<String, Observed>>,
    /// Tags that were taken off with nothing in their place, by group then tag: what another contact that this one is
    /// merged with, or a phone, shows later was perhaps set earlier.
    pub gone: BTreeMap<String, BTreeMap<String, Gone>>,
}

/// A tag that was taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gone {
    /// Event time; not before it was set.
    pub at: Time,
    /// A person did it, and no rule.
    pub by_hand: bool,
}

/// What is known of one tag in one relation of a contact with a staff member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Observed {
    /// Event time of the latest word on it.
    pub at: Time,
    /// The contact carries it there, or not any more.
    pub carried: bool,
    /// The tag that it is here; `None` where nobody has said so, and of what is not carried.
    pub tag: Option<TagRef>,
    /// We wrote it; otherwise a person did.
    pub ours: bool,
}

/// A touch that was sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sent {
    /// Event time of sending.
    pub at: Time,
    /// `journey/step`.
    pub touch: String,
    /// `dm`, `moments`…; empty where it is not known any more.
    pub touchpoint: String,
}

/// Whether the contact agrees to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// It does.
    pub granted: bool,
    /// Event time of saying so.
    pub at: Time,
}

/// How often events of one name happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// Earliest event time.
    pub first: Time,
    /// Latest event time.
    pub last: Time,
    /// How many.
    pub count: u64,
}

/// The state of something that is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tally {
    /// How many, ever.
    Count(u64),
    /// The earliest and the latest.
    Ends {
        /// Earliest event time.
        first: Time,
        /// Latest event time.
        last: Time,
    },
    /// The newest of them, ascending: as many as the conditions that ask need.
    Newest(Vec<Occurrence>),
    /// The sum of a field, ever.
    Sum(Number),
    /// The sum of a field by calendar day, days since 1970-01-01 in the zone of who asks.
    Days(BTreeMap<i32, Number>),
}

/// One time that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Occurrence {
    /// Event time.
    pub at: Time,
    /// Hash of the value that is counted once; `None` counts by itself.
    pub by: Option<u64>,
}

/// A value with the event time that gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// The value.
    pub value: Value,
    /// Since when.
    pub at: Time,
}

/// The latest that is known of being in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Membership {
    /// Event time of coming or leaving.
    pub at: Time,
    /// Inside since then, or gone.
    pub inside: bool,
}

/// Most times that a tally keeps.
pub const KEEP_MAX: usize = 64;

/// Groups remembered of one contact: nobody is in more, and who has left is forgotten first.
const GROUPS_MAX: usize = 256;
/// Sent touches kept: more than anybody is sent in the longest window that a cap counts by the day.
const SENT_MAX: usize = 32;
/// Received contents remembered: the oldest is forgotten first.
const RECEIVED_MAX: usize = 512;
/// Tags on phones remembered of one contact: more than all its staff use, fewer than would crowd the hot value. What is
/// not carried any more is forgotten first.
const OBSERVED_MAX: usize = 512;
/// Tags that were taken off, remembered of one contact: the one that went first is forgotten first.
const GONE_MAX: usize = 64;
/// Scopes of consent kept of one contact: they come from outside. What somebody agrees to is forgotten first, the oldest
/// first, then the oldest no; never [`CONSENTS_OWN`].
const CONSENTS_MAX: usize = 16;
/// Scopes that events stand for by their kind.
const CONSENTS_OWN: [&str; 2] = ["chat", "marketing"];

impl Past {
    /// An event of this name happened.
    pub fn happen(&mut self, name: &str, at: Time) {
        match self.happened.get_mut(name) {
            Some(known) => known.add(Happened { first: at, last: at, count: 1 }),
            None => {
                self.happened.insert(name.to_owned(), Happened { first: at, last: at, count: 1 });
            }
        }
    }

    /// A value becomes known; a later one stays. Whether it changed.
    pub fn learn(&mut self, name: &str, value: Value, at: Time) -> bool {
        let known = self.attributes.get(name);
        if known.is_some_and(|known| known.at > at) {
            return false;
        }
        let is_new = known.is_none_or(|known| known.value != value);
        self.attributes.insert(name.to_owned(), Attribute { value, at });
        is_new
    }

    /// Sets a date that was computed from an event at `at`.
    pub fn set(&mut self, name: &str, date: Time, at: Time) {
        self.attributes.insert(name.to_owned(), Attribute { value: Value::Time(date), at });
    }

    /// A touch was sent.
    pub fn send(&mut self, sent: Sent) {
        if let Err(at) = self.sent.binary_search(&sent) {
            self.sent.insert(at, sent);
        }
        if self.sent.len() > SENT_MAX {
            self.sent.remove(0);
        }
    }

    /// The contact received content.
    pub fn receive(&mut self, content: &str, at: Time) {
        let latest = self.received.entry(content.to_owned()).or_insert(at);
        *latest = at.max(*latest);
        if self.received.len() > RECEIVED_MAX {
            let oldest = self.received.iter().min_by_key(|(content, at)| (**at, *content));
            if let Some(oldest) = oldest.map(|(content, _)| content.clone()) {
                self.received.remove(&oldest);
            }
        }
    }

    /// The contact agrees to something, or does not any more; the later word counts, of one moment the no.
    pub fn consent(&mut self, scope: &str, consent: Consent) {
        let rank = |consent: &Consent| (consent.at, !consent.granted);
        if self.consents.get(scope).is_none_or(|known| rank(known) <= rank(&consent)) {
            self.keep_consent(scope, consent);
        }
    }

    fn keep_consent(&mut self, scope: &str, consent: Consent) {
        self.consents.insert(scope.to_owned(), consent);
        if self.consents.len() > CONSENTS_MAX {
            let rank = |(scope, consent): &(&String, &Consent)| {
                (CONSENTS_OWN.contains(&scope.as_str()), !consent.granted, consent.at, (*scope).clone())
            };
            if let Some(least) = self.consents.iter().min_by_key(rank).map(|(scope, _)| scope.clone()) {
                self.consents.remove(&least);
            }
        }
    }

    /// A word on a tag in one relation; whether there is room for it. An older word than the one known changes nothing.
    pub fn observe(&mut self, staff: &str, native_id: &str, observed: Observed) -> bool {
        if let Some(known) = self.observed.get_mut(staff).and_then(|of| of.get_mut(native_id)) {
            if known.at <= observed.at {
                *known = observed;
            }
            return true;
        }
        if self.observed.values().map(BTreeMap::len).sum::<usize>() >= OBSERVED_MAX && !self.forget_observed() {
            return false;
        }
        self.observed.entry(staff.to_owned()).or_default().insert(native_id.to_owned(), observed);
        true
    }

    /// Forgets the oldest word on a tag that is not carried; whether there was one.
    fn forget_observed(&mut self) -> bool {
        let all = self.observed.iter().flat_map(|(staff, of)| of.iter().map(move |(id, known)| (known, staff, id)));
        let oldest = all.filter(|(known, ..)| !known.carried).min_by_key(|(known, ..)| known.at);
        let Some((staff, id)) = oldest.map(|(_, staff, id)| (staff.clone(), id.clone())) else { return false };
        let Some(of) = self.observed.get_mut(&staff) else { return false };
        let is_forgotten = of.remove(&id).is_some();
        if of.is_empty() {
            self.observed.remove(&staff);
        }
        is_forgotten
    }

    /// What staff had of the contact up to `at` went with them.
    pub fn forget_staff(&mut self, staff: &str, at: Time) {
        let Some(of) = self.observed.get_mut(staff) else { return };
        of.retain(|_, known| known.at > at);
        if of.is_empty() {
            self.observed.remove(staff);
        }
    }

    /// A tag was taken off. Of several losses the latest counts, by hand if one was.
    pub fn lose(&mut self, group: &str, tag: &str, gone: Gone) {
        let of = self.gone.entry(group.to_owned()).or_default();
        let known = of.entry(tag.to_owned()).or_insert(gone);
        *known = Gone { at: gone.at.max(known.at), by_hand: gone.by_hand || known.by_hand };
        if self.gone.values().map(BTreeMap::len).sum::<usize>() > GONE_MAX {
            let all = self.gone.iter().flat_map(|(group, of)| of.iter().map(move |(tag, gone)| (gone.at, group, tag)));
            if let Some((group, tag)) = all.min().map(|(_, group, tag)| (group.clone(), tag.clone())) {
                self.regain(&group, |lost| *lost != tag);
            }
        }
    }

    /// Forgets losses in a group, but for those of tags that are `still` gone.
    pub fn regain(&mut self, group: &str, still: impl Fn(&String) -> bool) {
        let Some(of) = self.gone.get_mut(group) else { return };
        of.retain(|tag, _| still(tag));
        if of.is_empty() {
            self.gone.remove(group);
        }
    }

    /// The contact came into a group or left it; what is known of later stays.
    pub fn member(&mut self, group: &str, membership: Membership) {
        if self.groups.get(group).is_some_and(|known| known.at > membership.at) {
            return;
        }
        if !self.groups.contains_key(group) && self.groups.len() >= GROUPS_MAX {
            let oldest = self.groups.iter().filter(|(_, known)| !known.inside).min_by_key(|(_, known)| known.at);
            match oldest.map(|(group, _)| group.clone()) {
                Some(gone) => self.groups.remove(&gone),
                None => return,
            };
        }
        self.groups.insert(group.to_owned(), membership);
    }

    /// Takes over what another contact's past holds; `keep` says how many times of a tally are kept. Segments are left
    /// as they are: whoever merges judges them anew. Does not depend on the order of merges.
    pub fn merge(&mut self, other: Self, keep: &dyn Fn(u64) -> usize) {
        let Self {
            happened,
            tallies,
            attributes,
            groups,
            segments: _,
            silences,
            sent,
            received,
            consents,
            observed,
            gone,
        } = other;
        // Both happened.
        for (name, theirs) in happened {
            self.happened.entry(name).and_modify(|mine| mine.add(theirs)).or_insert(theirs);
        }
        for (key, theirs) in tallies {
            match self.tallies.get_mut(&key) {
                Some(mine) => mine.merge(theirs, keep(key)),
                None => {
                    self.tallies.insert(key, theirs);
                }
            }
        }
        // The later of each; of the same moment the greater writing, so that the order of merges does not matter.
        for (name, theirs) in attributes {
            let rank = |attribute: &Attribute| (attribute.at, format!("{:?}", attribute.value));
            if self.attributes.get(&name).is_none_or(|mine| rank(mine) < rank(&theirs)) {
                self.attributes.insert(name, theirs);
            }
        }
        // The later word on each; of the same moment that they are inside.
        for (group, theirs) in groups {
            if self.groups.get(&group).is_none_or(|mine| *mine < theirs) {
                self.member(&group, theirs);
            }
        }
        // All of them, the newest of both.
        sent.into_iter().for_each(|sent| self.send(sent));
        received.iter().for_each(|(content, at)| self.receive(content, *at));
        // Whoever has said no has said no, whoever of the two it was; between two of a kind the later one.
        for (scope, theirs) in consents {
            let rank = |consent: &Consent| (!consent.granted, consent.at);
            if self.consents.get(&scope).is_none_or(|mine| rank(mine) < rank(&theirs)) {
                self.keep_consent(&scope, theirs);
            }
        }
        // The later word on each tag of each relation; of the same moment that it is carried.
        for (staff, of) in observed {
            for (native_id, theirs) in of {
                let known = self.observed.get(&staff).and_then(|of| of.get(&native_id));
                if known.is_none_or(|known| *known < theirs) {
                    self.observe(&staff, &native_id, theirs);
                }
            }
        }
        // The latest loss of each; whoever unites the tags decides between what was set and what was taken off.
        for (group, tags) in gone {
            tags.into_iter().for_each(|(tag, lost)| self.lose(&group, &tag, lost));
        }
        // What broke either broke both.
        for (key, theirs) in silences {
            let mine = self.silences.entry(key).or_insert(theirs);
            *mine = theirs.max(*mine);
        }
    }
}

impl Happened {
    fn add(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.count = self.count.saturating_add(other.count);
    }
}

impl Tally {
    /// Unites two; sums and counts add, the newest `keep` times stay. A tally of another sort is the older meaning of
    /// its key and gives way.
    pub fn merge(&mut self, other: Self, keep: usize) {
        match (self, other) {
            (Self::Count(mine), Self::Count(theirs)) => *mine = mine.saturating_add(theirs),
            (Self::Ends { first, last }, Self::Ends { first: theirs_first, last: theirs_last }) => {
                *first = theirs_first.min(*first);
                *last = theirs_last.max(*last);
            }
            (Self::Newest(mine), Self::Newest(theirs)) => {
                theirs.into_iter().for_each(|occurrence| add_newest(mine, occurrence, keep));
            }
            (Self::Sum(mine), Self::Sum(theirs)) => mine.0 = mine.0.saturating_add(theirs.0),
            (Self::Days(mine), Self::Days(theirs)) => {
                for (day, sum) in theirs {
                    let mine = mine.entry(day).or_insert(Number(0));
                    mine.0 = mine.0.saturating_add(sum.0);
                }
            }
            (mine, theirs) => *mine = theirs,
        }
    }
}

/// Adds a time to the newest `keep`, ascending. Of one value the newest time counts.
pub fn add_newest(newest: &mut Vec<Occurrence>, occurrence: Occurrence, keep: usize) {
    if occurrence.by.is_some()
        && let Some(at) = newest.iter().position(|known| known.by == occurrence.by)
    {
        if newest[at].at >= occurrence.at {
            return;
        }
        newest.remove(at);
    }
    let at = newest.partition_point(|known| *known <= occurrence);
    newest.insert(at, occurrence);
    if newest.len() > keep {
        newest.drain(..newest.len() - keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: i64, by: Option<u64>) -> Occurrence {
        Occurrence { at: Time(at), by }
    }

    #[test]
    fn of_tags_on_phones_the_later_word_stays_and_what_is_gone_is_forgotten_first() {
        let word = |at, carried| Observed { at: Time(at), carried, tag: None, ours: false };
        let mut past = Past::default();
        assert!(past.observe("li", "et1", word(5, true)));
        past.observe("li", "et1", word(4, false));
        assert_eq!(past.observed["li"]["et1"], word(5, true));
        past.observe("li", "et0", word(1, false));
        for number in 2..OBSERVED_MAX {
            assert!(past.observe("li", &format!("ex{number}"), word(9, true)), "{number}");
        }
        // Full: what is carried no longer makes room, once.
        assert!(past.observe("wang", "et1", word(9, true)));
        assert!(!past.observed["li"].contains_key("et0"));
        assert!(!past.observe("wang", "et2", word(9, true)));
        past.forget_staff("li", Time(9));
        assert_eq!(past.observed.keys().collect::<Vec<_>>(), ["wang"]);
        // Either order of a merge.
        let one = |at, carried, lost| Past {
            observed: BTreeMap::from([("li".to_owned(), BTreeMap::from([("et1".to_owned(), word(at, carried))]))]),
            gone: BTreeMap::from([(
                "g".to_owned(),
                BTreeMap::from([("t".to_owned(), Gone { at: Time(lost), by_hand: true })]),
            )]),
            ..Past::default()
        };
        for (first, second) in [(one(5, true, 3), one(5, false, 4)), (one(5, false, 4), one(5, true, 3))] {
            let mut first = first;
            first.merge(second, &|_| 0);
            assert_eq!(first, one(5, true, 4));
        }
    }

    #[test]
    fn the_tag_that_went_first_is_forgotten_first() {
        let lost = |at, by_hand| Gone { at: Time(at), by_hand };
        let mut past = Past::default();
        for number in 0..GONE_MAX as i64 {
            past.lose(&format!("g{}", number % 3), &format!("t{number}"), lost(100 - number, false));
        }
        past.lose("h", "t", lost(50, true));
        past.lose("h", "t", lost(60, false));
        assert_eq!(past.gone["h"]["t"], lost(60, true));
        assert_eq!(past.gone.values().map(BTreeMap::len).sum::<usize>(), GONE_MAX);
        assert!(!past.gone["g0"].contains_key("t63"), "went at 37");
        past.regain("h", |_| false);
        assert!(!past.gone.contains_key("h"));
    }

    #[test]
    fn a_no_always_has_room() {
        let word = |granted, at| Consent { granted, at: Time(at) };
        let full = || {
            let mut past = Past::default();
            past.consent("marketing", word(true, 1));
            (2..CONSENTS_MAX as i64 + 1).for_each(|at| past.consent(&format!("s{at:02}"), word(true, at)));
            assert_eq!(past.consents.len(), CONSENTS_MAX);
            past
        };
        let mut past = full();
        past.consent("chat", word(false, 1));
        past.consent("sms", word(false, 1));
        assert_eq!(past.consents.len(), CONSENTS_MAX);
        assert_eq!((past.consents["chat"], past.consents["sms"]), (word(false, 1), word(false, 1)));
        assert!(!past.consents.contains_key("s02") && !past.consents.contains_key("s03"), "agreed to first");
        // Agreeing to more takes nobody's no away, nor what the contact says of messages as such.
        (0..99).for_each(|at| past.consent(&format!("t{at:02}"), word(true, 100 + at)));
        assert!(["chat", "sms", "marketing"].iter().all(|scope| past.consents.contains_key(*scope)));
        // Both orders of a merge.
        let no = || Past { consents: BTreeMap::from([("sms".to_owned(), word(false, 1))]), ..Past::default() };
        for (mut one, other) in [(full(), no()), (no(), full())] {
            one.merge(other, &|_| 0);
            assert_eq!((one.consents.len(), one.consents["sms"]), (CONSENTS_MAX, word(false, 1)));
            assert!(one.consents.contains_key("marketing") && !one.consents.contains_key("s02"));
        }
        // The later word; of one moment the no, whichever comes first.
        past.consent("chat", word(true, 1));
        assert!(!past.consents["chat"].granted);
        past.consent("chat", word(true, 2));
        past.consent("chat", word(false, 2));
        assert!(!past.consents["chat"].granted);
    }

    #[test]
    fn staff_of_whom_nothing_is_kept_take_no_room() {
        let mut past = Past::default();
        for number in 0..2 * OBSERVED_MAX {
            let at = Time(i64::try_from(number).unwrap());
            past.observe(&format!("s{number}"), "et1", Observed { at, carried: false, tag: None, ours: false });
        }
        assert_eq!(past.observed.len(), OBSERVED_MAX);
    }

    #[test]
    fn the_newest_are_kept_and_one_value_counts_once() {
        let mut newest = Vec::new();
        for occurrence in [at(5, Some(1)), at(3, None), at(9, Some(1)), at(7, Some(2)), at(1, None), at(8, Some(1))] {
            add_newest(&mut newest, occurrence, 3);
        }
        // 3 and 1 count by themselves, 9 is the newest of value 1: of {1, 3, 7, 9} three stay.
        assert_eq!(newest, [at(3, None), at(7, Some(2)), at(9, Some(1))]);
    }

    #[test]
    fn merging_does_not_depend_on_the_order() {
        let past = |seed: i64| {
            let mut past = Past::default();
            past.happen("order.paid", Time(seed));
            past.happen("order.paid", Time(seed * 3));
            past.learn("a", Value::integer(seed % 2), Time(7));
            past.member("wr1", Membership { at: Time(7), inside: seed % 2 == 0 });
            past.tallies.insert(1, Tally::Count(2));
            past.tallies.insert(2, Tally::Newest(vec![at(seed, None), at(seed + 5, Some(3))]));
            past.tallies.insert(3, Tally::Days([(1, Number(seed)), (seed as i32, Number(1))].into()));
            past.silences.insert(9, Time(seed));
            past.send(Sent { at: Time(seed), touch: "j/s".into(), touchpoint: "dm".into() });
            past.receive("报价", Time(seed));
            past.consent("marketing", Consent { granted: seed != 5, at: Time(seed) });
            past
        };
        let merged = |order: [i64; 3]| {
            let mut all = past(order[0]);
            all.merge(past(order[1]), &|_| 4);
            all.merge(past(order[2]), &|_| 4);
            all
        };
        let one = merged([2, 5, 11]);
        for order in [[2, 11, 5], [5, 2, 11], [5, 11, 2], [11, 2, 5], [11, 5, 2]] {
            assert_eq!(merged(order), one);
        }
        assert_eq!(one.happened["order.paid"], Happened { first: Time(2), last: Time(33), count: 6 });
        assert_eq!(one.tallies[&1], Tally::Count(6));
        // Of 2, 5, 11 by themselves and 16 for value 3: four stay, all of them.
        assert_eq!(one.tallies[&2], Tally::Newest(vec![at(2, None), at(5, None), at(11, None), at(16, Some(3))]));
        assert!(one.groups["wr1"].inside);
        assert_eq!(one.silences[&9], Time(11));
        assert_eq!(one.sent.iter().map(|sent| sent.at.0).collect::<Vec<_>>(), [2, 5, 11]);
        assert_eq!(one.received["报价"], Time(11));
        // One of them has said no, though another said yes later.
        assert_eq!(one.consents["marketing"], Consent { granted: false, at: Time(5) });
    }

    #[test]
    fn what_is_known_of_later_stays() {
        let mut past = Past::default();
        assert!(past.learn("城市", Value::text("杭州"), Time(10)));
        assert!(!past.learn("城市", Value::text("上海"), Time(9)), "older");
        assert!(past.learn("城市", Value::text("北京"), Time(10)), "the later arrival of one moment");
        past.member("wr1", Membership { at: Time(10), inside: false });
        past.member("wr1", Membership { at: Time(9), inside: true });
        assert!(!past.groups["wr1"].inside);
        for group in 0..GROUPS_MAX {
            past.member(&format!("g{group}"), Membership { at: Time(20), inside: true });
        }
        assert!(!past.groups.contains_key("wr1") && past.groups.len() == GROUPS_MAX, "who left is forgotten first");
        for at in 0..RECEIVED_MAX as i64 + 1 {
            past.receive(&format!("c{at}"), Time(at));
        }
        assert!(!past.received.contains_key("c0") && past.received.len() == RECEIVED_MAX, "the oldest is forgotten");
        for at in 0..SENT_MAX as i64 + 1 {
            past.send(Sent { at: Time(at), touch: "j/s".into(), touchpoint: "dm".into() });
            past.send(Sent { at: Time(at), touch: "j/s".into(), touchpoint: "dm".into() });
        }
        assert_eq!((past.sent.len(), past.sent[0].at), (SENT_MAX, Time(1)), "each once, the newest");
        past.consent("marketing", Consent { granted: false, at: Time(9) });
        past.consent("marketing", Consent { granted: true, at: Time(8) });
        assert!(!past.consents["marketing"].granted, "the later word");
        past.member("one more", Membership { at: Time(30), inside: true });
        assert_eq!(past.groups.len(), GROUPS_MAX);
    }
}
