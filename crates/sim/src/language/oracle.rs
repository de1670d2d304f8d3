//! The description of the language, read naively: every event of everybody is kept, and each question goes through all of
//! them again.

mod conditions;
mod patterns;
mod phones;
mod reading;
mod staff;

use super::Plant;
use super::book::{Action, Condition, DUE, Literal, Playbook, Rule, Trigger, Wait, Window};
use super::make::{Phone, START};
use patterns::fits;
pub(super) use reading::read;
pub(super) use staff::Touch;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use touchline_model::time::{Span, Time, Zone};

/// Rounds of one record.
const ROUNDS: usize = 8;
/// How long a conclusion can be disproved.
const GRACE: Span = Span::hours(6);

/// A change of tags that is said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    pub(super) person: usize,
    pub(super) group: &'static str,
    pub(super) set: Option<&'static str>,
    pub(super) unset: Option<&'static str>,
    pub(super) at: Time,
    pub(super) retracted: bool,
    /// How the tag was carried that is unset.
    was: Option<Carried>,
}

#[derive(Debug, Clone)]
struct Event {
    at: Time,
    name: &'static str,
    fields: Vec<(&'static str, Literal)>,
    phone: Option<Phone>,
}

/// A tag somebody carries: since when, and whether a person has set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Carried {
    pub(super) since: Time,
    by_hand: bool,
}

type Tags = BTreeMap<(usize, &'static str), Carried>;

/// What time has concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A wait is over.
    Wait(usize),
    /// Somebody is in a segment now, or no longer.
    Segment(usize, bool),
}

/// What time has concluded, and what that led to.
#[derive(Debug, Clone)]
struct Conclusion {
    what: What,
    at: Time,
    changes: Vec<Change>,
    /// Numbers of what staff were given.
    touches: Range<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Person {
    /// In the order of arrival.
    events: Vec<Event>,
    pub(super) tags: Tags,
    /// What people have taken off, and nobody has set since.
    taken_off: BTreeSet<(usize, &'static str)>,
    /// What rules have set.
    pub(super) attributes: BTreeMap<&'static str, Literal>,
    pub(super) segments: BTreeSet<usize>,
    /// Waits that have happened: which, and at which moment.
    over: BTreeSet<(usize, Time)>,
    concluded: Vec<Conclusion>,
    /// Every change, in the order in which they were said.
    said: Vec<Change>,
    /// What staff were given, and has not expired.
    open: Vec<Touch>,
    /// The last who was assigned, and when.
    assigned: Option<(&'static str, Time)>,
}

/// What a round has changed.
#[derive(Debug, Default)]
struct News {
    tags: Vec<Change>,
    /// Which, and whether entered.
    segments: Vec<(usize, bool)>,
    handoffs: Vec<Event>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.segments.is_empty() && self.handoffs.is_empty()
    }
}

/// What a record is, for the first round.
enum First<'a> {
    Event(&'a Event),
    Wait(usize),
    ByHand { group: usize, tag: Option<&'static str>, add: bool },
    Time,
}

/// When a record is judged.
#[derive(Debug, Clone, Copy)]
struct Moments {
    /// Event time.
    at: Time,
    /// What conditions are judged at.
    reference: Time,
    /// When it is, for who is in which segment.
    clock: Time,
}

pub(super) struct Oracle<'a> {
    book: &'a Playbook,
    /// Whose days the playbook counts by, and the other one.
    zones: [Zone; 2],
    plant: Option<Plant>,
    /// With the playbook that each stands in.
    waits: Vec<(&'static str, &'a Wait)>,
    pub(super) people: Vec<Person>,
    pub(super) now: Time,
    /// Said since the judge last looked.
    pub(super) said: Vec<Change>,
    /// Touches since then.
    pub(super) touches: Vec<Touch>,
    /// Moves on phones since then that no card makes.
    pub(super) refused: u32,
    /// Time goes on without stopping: what is due on the way is said at the end.
    in_leaps: bool,
    /// When what happens is said.
    wall: Time,
    /// Touches said so far.
    given: usize,
    /// From which pools, or stores, somebody was chosen, in order.
    turns: Vec<(Option<&'static str>, &'static str)>,
    /// Who was given to somebody in turn, at this moment.
    turned: BTreeSet<usize>,
    /// Hand-overs that nobody has heard of yet.
    handoffs: Vec<Event>,
    /// Things without an order have happened at one moment.
    pub(super) tied: bool,
}

impl<'a> Oracle<'a> {
    /// `book` as it is meant: see [`read`].
    pub(super) fn new(book: &'a Playbook, people: usize, in_leaps: bool, plant: Option<Plant>) -> Self {
        let of_rule = |rule: &'a Rule| rule.triggers.iter().map(|trigger| (rule.playbook, trigger));
        let waits = book.rules.iter().flat_map(of_rule).filter_map(|(playbook, trigger)| match trigger {
            Trigger::Wait(wait) => Some((playbook, wait)),
            _ => None,
        });
        let own = book.other.filter(|_| plant != Some(Plant::OneZone)).map(|other| other.zone);
        let zones = [book.zone, own.unwrap_or(book.zone)];
        Self {
            book,
            zones: zones.map(|zone| Zone::parse(zone).expect("a zone")),
            plant,
            waits: waits.collect(),
            people: (0..people).map(|_| Person::default()).collect(),
            now: START,
            said: Vec::new(),
            touches: Vec::new(),
            refused: 0,
            in_leaps,
            wall: START,
            given: 0,
            turns: Vec::new(),
            turned: BTreeSet::new(),
            handoffs: Vec::new(),
            tied: false,
        }
    }

    /// Time passes, from moment to moment at which it could change anything.
    pub(super) fn pass(&mut self, until: Time) {
        let mut before = self.now;
        self.turned.clear();
        while let Some(moment) = self.people_known().filter_map(|who| self.next_moment(who, before)).min()
            && moment <= until
        {
            if !self.in_leaps {
                self.turned.clear();
            }
            self.wall = if self.in_leaps { until } else { moment };
            let concerned = self.people_known().filter(|who| self.next_moment(*who, before) == Some(moment));
            for who in concerned.collect::<Vec<_>>() {
                self.expire(who, moment);
                self.at_moment(who, moment);
            }
            before = moment;
        }
        (self.now, self.wall) = (until, until);
        (0..self.people.len()).for_each(|who| self.expire(who, until));
        self.turned.clear();
    }

    /// Those who have done something.
    fn people_known(&self) -> impl Iterator<Item = usize> {
        (0..self.people.len()).filter(|who| !self.people[*who].events.is_empty())
    }

    pub(super) fn event(&mut self, who: usize, name: &'static str, fields: Vec<(&'static str, Literal)>, at: Time) {
        self.happens(who, Event { at, name, fields, phone: None });
    }

    /// Something is said of the tags on a phone.
    pub(super) fn phone(&mut self, who: usize, phone: Phone, at: Time) {
        self.happens(who, Event { at, name: "", fields: Vec::new(), phone: Some(phone) });
    }

    fn happens(&mut self, who: usize, event: Event) {
        // Who has done nothing yet is in no segment: the first event brings them into those that hold.
        let at = event.at;
        self.take_back(who, &event);
        self.people[who].events.push(event.clone());
        let reference = if self.plant == Some(Plant::LateAtOwnTime) { at } else { self.latest(who) };
        self.record(who, &First::Event(&event), Moments { at, reference, clock: self.now });
        // What had passed already when it became known happens at once.
        while let Some((at, wait)) = self.next_wait(who).filter(|(at, _)| *at <= self.now) {
            let known = self.latest(who);
            self.over(who, wait, Moments { at, reference: at.max(known), clock: self.now });
        }
    }

    /// A person sets a tag or takes it away, or moves a card; whether that is allowed.
    pub(super) fn by_hand(&mut self, who: usize, group: usize, tag: Option<&'static str>, add: bool) -> bool {
        let of = &self.book.groups[group];
        let current = self.current(who, group);
        let is_back = add && tag.is_some_and(|tag| self.is_backward(group, current, tag));
        if is_back && of.board.is_some_and(|(_, backward)| !backward) {
            return false;
        }
        let moments = Moments { at: self.now, reference: self.now, clock: self.now };
        self.record(who, &First::ByHand { group, tag, add }, moments);
        true
    }

    pub(super) const fn book(&self) -> &Playbook {
        self.book
    }

    /// The tag of an exclusive group.
    pub(super) fn current(&self, who: usize, group: usize) -> Option<&'static str> {
        let mut carried = self.people[who].tags.keys().filter(|(of, _)| *of == group);
        carried.next().map(|(_, tag)| *tag)
    }

    /// The moment that `due` holds.
    pub(super) fn due(&self, who: usize) -> Option<Time> {
        self.moment(who, DUE)
    }

    /// The latest value of a profile field.
    pub(super) fn profile(&self, who: usize, field: &str) -> Option<&Literal> {
        let given = self.people[who].events.iter().filter(|event| event.name == "profile.updated");
        // Of equal times the last stays.
        let given = given.filter_map(|event| Some((event.at, event.field(field)?)));
        given.max_by_key(|(at, _)| *at).map(|(_, value)| value)
    }
}

/// What happens.
impl Oracle<'_> {
    fn latest(&self, who: usize) -> Time {
        self.people[who].events.iter().map(|event| event.at).max().unwrap_or(self.now)
    }

    /// The first moment after this one at which time could change anything.
    fn next_moment(&self, who: usize, after: Time) -> Option<Time> {
        let midnights = self.zones.map(|zone| zone.day_start(zone.day_number(after) + 1));
        let spans = self.spans();
        let shifted = self.people[who].events.iter().flat_map(|event| {
            let ends = spans.iter().map(|span| event.at.plus(*span));
            ends.flat_map(|end| [end, end.plus(Span(1))]).collect::<Vec<_>>()
        });
        let waits = self.next_wait(who).map(|(at, _)| at);
        shifted.chain(midnights).chain(waits).filter(|moment| *moment > after).min()
    }

    /// Every span that a segment asks about.
    fn spans(&self) -> BTreeSet<Span> {
        fn collect(of: &Condition, spans: &mut BTreeSet<Span>) {
            match of {
                Condition::And(of) | Condition::Or(of) => of.iter().for_each(|of| collect(of, spans)),
                Condition::Not(of) => collect(of, spans),
                Condition::Count { window: Window::Within(hours), .. }
                | Condition::None { within: Some(hours), .. }
                | Condition::Age { hours, .. } => {
                    spans.insert(Span::hours(*hours));
                }
                _ => {}
            }
        }
        let mut spans = BTreeSet::new();
        self.book.segments.iter().for_each(|of| collect(of, &mut spans));
        spans
    }

    fn at_moment(&mut self, who: usize, moment: Time) {
        let moments = Moments { at: moment, reference: moment, clock: moment };
        let before = self.people[who].segments.clone();
        let moved = self.members(who, moment);
        let heard = before.symmetric_difference(&moved).filter(|segment| self.is_heard(**segment)).count();
        let waits = (0..self.waits.len()).filter(|wait| self.wait_moment(who, *wait) == Some(moment)).count();
        self.tied |= heard + waits > 1;
        while let Some((at, wait)) = self.next_wait(who).filter(|(at, _)| *at == moment) {
            self.over(who, wait, Moments { at, ..moments });
        }
        if self.plant == Some(Plant::SegmentLeftLate) && moved.is_subset(&before) {
            return;
        }
        let changed = before.symmetric_difference(&moved).copied().find(|segment| self.is_heard(*segment));
        let given = self.given;
        let changes = self.record(who, &First::Time, moments);
        if let Some(segment) = changed {
            let (what, touches) = (What::Segment(segment, moved.contains(&segment)), given..self.given);
            self.people[who].concluded.push(Conclusion { what, at: moment, changes, touches });
        }
    }

    fn is_heard(&self, segment: usize) -> bool {
        let mut triggers = self.book.rules.iter().flat_map(|rule| &rule.triggers);
        triggers.any(|of| matches!(of, Trigger::SegmentEntered(of) | Trigger::SegmentLeft(of) if *of == segment))
    }

    /// The next wait that has not happened yet.
    fn next_wait(&self, who: usize) -> Option<(Time, usize)> {
        (0..self.waits.len()).filter_map(|wait| Some((self.wait_moment(who, wait)?, wait))).min()
    }

    /// When a wait happens that has not happened for this moment.
    fn wait_moment(&self, who: usize, wait: usize) -> Option<Time> {
        let person = &self.people[who];
        let (playbook, wait_of) = self.waits[wait];
        let moment = match wait_of {
            Wait::Silence { of, hours, since } => {
                let begins = |event: &&Event| fits(since, event, self.plant);
                let breaks = |event: &&Event| begins(event) || of.iter().any(|of| fits(of, event, self.plant));
                let begun = person.events.iter().any(|event| begins(&event));
                let is_broken = self.plant != Some(Plant::SilenceUnbroken);
                let all = person.events.iter().filter(|event| if is_broken { breaks(event) } else { begins(event) });
                all.map(|event| event.at).max().filter(|_| begun)?.plus(Span::hours(*hours))
            }
            Wait::Reached { attribute, shift } => {
                self.zone_of(playbook).plus_days(self.moment(who, attribute)?, *shift)
            }
        };
        (!person.over.contains(&(wait, moment))).then_some(moment)
    }

    /// A wait is over.
    fn over(&mut self, who: usize, wait: usize, moments: Moments) {
        let others = (0..self.waits.len()).filter(|other| *other != wait);
        self.tied |= others.into_iter().any(|other| self.wait_moment(who, other) == Some(moments.at));
        self.people[who].over.insert((wait, moments.at));
        let given = self.given;
        let changes = self.record(who, &First::Wait(wait), moments);
        let (what, touches) = (What::Wait(wait), given..self.given);
        self.people[who].concluded.push(Conclusion { what, at: moments.at, changes, touches });
    }

    /// Takes back what this event, which is not yet among the others, shows to be wrong.
    fn take_back(&mut self, who: usize, event: &Event) {
        if self.plant == Some(Plant::NothingTakenBack) {
            return;
        }
        let at = event.at;
        let concluded = std::mem::take(&mut self.people[who].concluded);
        let (mut wrong, mut right) = (Vec::new(), Vec::new());
        for conclusion in concluded {
            let is_open = at <= conclusion.at && self.now <= conclusion.at.plus(GRACE);
            let is_wrong = is_open && self.disproves(who, event, &conclusion);
            if is_wrong { &mut wrong } else { &mut right }.push(conclusion);
        }
        self.people[who].concluded = right;
        for conclusion in wrong.iter().rev() {
            let before = self.people[who].tags.clone();
            for change in conclusion.changes.iter().rev() {
                self.undo(who, change, at);
            }
            let changes = self.changes(who, &before, at, true);
            self.said.extend(changes);
            self.cancel(who, &conclusion.touches);
        }
        if !wrong.is_empty() {
            // Nobody hears of it.
            self.judge_segments(who, self.now);
        }
        // Whoever has not left is still there, until this event is judged.
        for conclusion in wrong.iter().rev() {
            let What::Segment(segment, entered) = conclusion.what else { continue };
            let is_about = |other: &Conclusion| matches!(other.what, What::Segment(of, _) if of == segment);
            if self.people[who].concluded.iter().any(|other| other.at > conclusion.at && is_about(other)) {
                continue;
            }
            let segments = &mut self.people[who].segments;
            if entered {
                segments.remove(&segment)
            } else {
                segments.insert(segment)
            };
        }
    }

    fn disproves(&mut self, who: usize, event: &Event, conclusion: &Conclusion) -> bool {
        let wait = match conclusion.what {
            What::Wait(wait) => wait,
            What::Segment(..) if self.plant == Some(Plant::SegmentStands) => return false,
            What::Segment(segment, entered) => {
                let held = |of: &Self| of.is_in_segment(who, segment, conclusion.at);
                let before = held(self);
                self.people[who].events.push(event.clone());
                let after = held(self);
                self.people[who].events.pop();
                return before == entered && after != entered;
            }
        };
        let (playbook, wait) = self.waits[wait];
        match wait {
            Wait::Silence { of, hours, since } => {
                let breaks = [since].into_iter().chain(of).any(|of| fits(of, event, self.plant));
                breaks && event.at.plus(Span::hours(*hours)) > conclusion.at
            }
            Wait::Reached { attribute, shift } => {
                let zone = self.zone_of(playbook);
                let held = |of: &Self| of.moment(who, attribute).map(|at| zone.plus_days(at, *shift));
                let before = held(self);
                self.people[who].events.push(event.clone());
                let after = held(self);
                self.people[who].events.pop();
                before == Some(conclusion.at) && after != before
            }
        }
    }

    /// Puts back what a change has replaced, as it was, where the change still stands.
    fn undo(&mut self, who: usize, change: &Change, at: Time) {
        let group = self.book.groups.iter().position(|group| group.id == change.group).expect("a group");
        let tags = &mut self.people[who].tags;
        let stands = match change.set {
            Some(set) => tags.contains_key(&(group, set)),
            None if self.book.groups[group].exclusive => !tags.keys().any(|(of, _)| *of == group),
            None => true,
        };
        if !stands || change.unset.is_some_and(|unset| self.is_taken_off(who, group, unset)) {
            return;
        }
        // It is as if it had never been.
        self.people[who].said.retain(|said| said != change);
        let tags = &mut self.people[who].tags;
        change.set.map(|set| tags.remove(&(group, set)));
        if let (Some(unset), Some(was)) = (change.unset, change.was) {
            let since = if self.plant == Some(Plant::GivenBackAsNew) { at } else { was.since };
            self.set(who, group, unset, Carried { since, ..was });
        }
    }

    /// The rounds of one record; every change of tags.
    fn record(&mut self, who: usize, first: &First<'_>, moments: Moments) -> Vec<Change> {
        let before = self.people[who].tags.clone();
        match first {
            First::ByHand { group, tag, add } => self.edit(who, *group, *tag, *add, moments.at),
            First::Time => {}
            First::Event(event) => {
                self.on_phone(who, event);
                let plant = self.plant;
                let fits = |trigger: &Trigger| matches!(trigger, Trigger::Event(of) if fits(of, event, plant));
                self.act((who, Some(event)), moments, fits);
            }
            First::Wait(wait) => {
                let (_, wait) = self.waits[*wait];
                let is_it = |trigger: &Trigger| matches!(trigger, Trigger::Wait(of) if std::ptr::eq(of, wait));
                self.act((who, None), moments, is_it);
            }
        }
        let mut all = Vec::new();
        let mut news = self.news(who, &before, moments);
        for _ in 1..ROUNDS {
            if news.is_empty() {
                break;
            }
            let before = self.people[who].tags.clone();
            let (book, plant) = (self.book, self.plant);
            self.act((who, None), moments, |trigger| reacts(book, trigger, &news, plant));
            all.append(&mut news.tags);
            news = self.news(who, &before, moments);
        }
        all.append(&mut news.tags);
        self.say(who, &all);
        all
    }

    fn say(&mut self, who: usize, changes: &[Change]) {
        self.said.extend_from_slice(changes);
        self.people[who].said.extend_from_slice(changes);
    }

    /// The rules that are set off, in the order of the playbook, each seeing what those before it wrote.
    fn act(&mut self, (who, event): (usize, Option<&Event>), moments: Moments, is_set_off: impl Fn(&Trigger) -> bool) {
        let book = self.book;
        let rules: &[Rule] = &book.rules;
        for rule in rules.iter().filter(|rule| rule.triggers.iter().any(&is_set_off)) {
            if rule
                .when
                .as_ref()
                .is_none_or(|when| self.holds(who, when, self.zone_of(rule.playbook), moments.reference))
            {
                for action in &rule.actions {
                    self.write(who, action, moments.at);
                    self.give((who, rule), action, event, moments);
                }
            }
        }
    }

    fn write(&mut self, who: usize, action: &Action, at: Time) {
        let protects = |group: usize| self.book.groups[group].manual_wins && self.plant != Some(Plant::ManualIgnored);
        match action {
            Action::Set { tag: (group, tag), backward } => {
                let exclusive = self.book.groups[*group].exclusive;
                let current = self.current(who, *group).filter(|_| exclusive);
                let is_held = current.is_some_and(|current| self.people[who].tags[&(*group, current)].by_hand);
                let may_go_back = *backward || self.plant == Some(Plant::BackwardAllowed);
                let is_back = !may_go_back && self.is_backward(*group, current, tag);
                let is_kept = (is_held || self.is_taken_off(who, *group, tag)) && protects(*group);
                if !is_back && !is_kept {
                    self.set(who, *group, tag, Carried { since: at, by_hand: false });
                }
            }
            Action::Unset((group, tag)) => {
                let carried = self.people[who].tags.get(&(*group, *tag));
                if !(protects(*group) && carried.is_some_and(|carried| carried.by_hand)) {
                    self.people[who].tags.remove(&(*group, *tag));
                }
            }
            Action::SetAttribute(name, value) => {
                self.people[who].attributes.insert(name, value.clone());
            }
            Action::Assign(_) | Action::Handoff { .. } | Action::Task(_) => {}
        }
    }

    fn edit(&mut self, who: usize, group: usize, tag: Option<&'static str>, add: bool, at: Time) {
        match (tag, add) {
            (Some(tag), true) => self.set(who, group, tag, Carried { since: at, by_hand: true }),
            (tag, _) => self.take_off(who, group, |carried| tag.is_none_or(|tag| tag == carried)),
        }
    }

    /// A person takes off what there is of these.
    fn take_off(&mut self, who: usize, group: usize, is_it: impl Fn(&str) -> bool) {
        let Person { tags, taken_off, .. } = &mut self.people[who];
        let these: Vec<(usize, &'static str)> =
            tags.keys().filter(|(of, tag)| *of == group && is_it(tag)).copied().collect();
        tags.retain(|tag, _| !these.contains(tag));
        taken_off.extend(these);
    }

    /// Whether a person wanted the tag, or any of an exclusive group, to be off.
    fn is_taken_off(&self, who: usize, group: usize, tag: &'static str) -> bool {
        let of = &self.people[who].taken_off;
        if self.plant == Some(Plant::TakenOffIgnored) {
            return false;
        }
        if self.book.groups[group].exclusive {
            of.iter().any(|(of, _)| *of == group)
        } else {
            of.contains(&(group, tag))
        }
    }

    fn set(&mut self, who: usize, group: usize, tag: &'static str, carried: Carried) {
        let exclusive = self.book.groups[group].exclusive;
        let Person { tags, taken_off, .. } = &mut self.people[who];
        if exclusive {
            tags.retain(|(of, other), _| *of != group || *other == tag);
        }
        taken_off.retain(|(of, other)| *of != group || !(exclusive || *other == tag));
        tags.entry((group, tag)).or_insert(carried);
    }

    fn is_backward(&self, group: usize, current: Option<&str>, tag: &str) -> bool {
        let of = &self.book.groups[group];
        let place = |tag: &str| of.tags.iter().position(|known| *known == tag).filter(|_| of.ordered);
        matches!((current.and_then(place), place(tag)), (Some(current), Some(tag)) if tag < current)
    }

    /// The net changes since `before`, and who is in which segment now.
    fn news(&mut self, who: usize, before: &Tags, moments: Moments) -> News {
        let tags = self.changes(who, before, moments.at, false);
        let handoffs = std::mem::take(&mut self.handoffs);
        News { tags, segments: self.judge_segments(who, moments.clock), handoffs }
    }

    fn changes(&mut self, who: usize, before: &Tags, at: Time, retracted: bool) -> Vec<Change> {
        let tags = &mut self.people[who].tags;
        // What has come back was never away.
        tags.iter_mut().for_each(|(tag, carried)| *carried = before.get(tag).copied().unwrap_or(*carried));
        let mut changes = Vec::new();
        for (index, group) in self.book.groups.iter().enumerate() {
            let news = |of: &Tags, other: &Tags| -> Vec<Option<&'static str>> {
                let gone = of.keys().filter(|tag| tag.0 == index && !other.contains_key(*tag));
                gone.map(|(_, tag)| Some(*tag)).collect()
            };
            let change = |set, unset: Option<&'static str>| {
                let was = unset.and_then(|unset| before.get(&(index, unset)).copied());
                Change { person: who, group: group.id, set, unset, at, retracted, was }
            };
            let (set, unset) = (news(tags, before), news(before, tags));
            if group.exclusive && !(set.is_empty() && unset.is_empty()) {
                changes.push(change(set.first().copied().flatten(), unset.first().copied().flatten()));
            } else {
                changes.extend(unset.into_iter().map(|unset| change(None, unset)));
                changes.extend(set.into_iter().map(|set| change(set, None)));
            }
        }
        changes
    }

    fn members(&self, who: usize, at: Time) -> BTreeSet<usize> {
        (0..self.book.segments.len()).filter(|segment| self.is_in_segment(who, *segment, at)).collect()
    }

    fn judge_segments(&mut self, who: usize, at: Time) -> Vec<(usize, bool)> {
        let members = self.members(who, at);
        let before = std::mem::replace(&mut self.people[who].segments, members.clone());
        before.symmetric_difference(&members).map(|segment| (*segment, members.contains(segment))).collect()
    }
}

/// Whether a rule listens to what has changed.
fn reacts(book: &Playbook, trigger: &Trigger, news: &News, plant: Option<Plant>) -> bool {
    let is = |wanted: usize, tag: Option<&str>, change: &Change, found: Option<&str>| {
        book.groups[wanted].id == change.group && found.is_some() && (tag.is_none() || tag == found)
    };
    match trigger {
        Trigger::TagSet(group, tag) => news.tags.iter().any(|change| is(*group, *tag, change, change.set)),
        Trigger::TagUnset(group, tag) => news.tags.iter().any(|change| is(*group, *tag, change, change.unset)),
        Trigger::StageEntered(group, tag) => news.tags.iter().any(|change| is(*group, Some(tag), change, change.set)),
        Trigger::StageLeft(group, tag) => news.tags.iter().any(|change| is(*group, Some(tag), change, change.unset)),
        Trigger::SegmentEntered(segment) => news.segments.contains(&(*segment, true)),
        Trigger::SegmentLeft(segment) => news.segments.contains(&(*segment, false)),
        Trigger::Event(of) => news.handoffs.iter().any(|event| fits(of, event, plant)),
        Trigger::Wait(_) => false,
    }
}
