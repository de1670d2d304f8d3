//! Playbooks and histories by seed.
//!
//! Few names and few spans, all of whole hours: so that conditions meet what happens, and windows end exactly on it.

use super::book::{
    Action, Assignee, CHATS, Compare, Condition, Days, EACH, EACH_TAG, Group, HANDOFF, LEVEL, Line, Literal, Other,
    Pattern, Playbook, Row, Rule, SCORE, Tag, Test, Trigger, Wait, Window,
};
use crate::random::Random;
use touchline_model::time::{Span, Time};

/// 2026-02-24T04:00:00Z: noon in Shanghai, shortly before the end of a short month, and before clocks change.
pub(super) const START: Time = Time(1_771_905_600_000);
const ZONES: [&str; 4] = ["Asia/Shanghai", "Asia/Shanghai", "America/New_York", "Europe/Berlin"];
/// Spans of windows and ages.
const HOURS: [i64; 5] = [6, 24, 48, 72, 168];
/// Months that some birthday completes on the first days.
const MONTHS: [i64; 3] = [1, 2, 6];
/// Spans of silences, which seldom end when a window does.
const SILENCES: [i64; 3] = [31, 53, 79];
const DAYS: [i64; 3] = [1, 2, 5];
const CITIES: [&str; 3] = ["Hangzhou", "Shanghai", "Suzhou"];
const BIRTHDAYS: [&str; 7] =
    ["2025-12-31", "2025-08-30", "2026-01-29", "2025-01-31", "2026-03-02", "2024-02-29", "unknown"];
const DATES: [&str; 3] = ["2026-02-26", "2026-03-01", "2026-03-14"];
const TEXTS: [&str; 4] = ["what is the price", "hello", "the cost please", "thanks"];
const STAFF: [&str; 2] = ["li", "wang"];
const COURSES: [&str; 2] = ["c1", "c2"];
const POOLS: [&str; 4] = ["sales", "sales", "care", "idle"];
const REASONS: [&str; 2] = ["asks", "complains"];
const SKUS: [&str; 4] = ["k1", "k2", "k3", "k9"];
const ITEMS: [&str; 3] = ["i1", "i2", "i9"];
const EVENTS: [&str; 9] = [
    "order.paid",
    "content.viewed",
    "chat.message",
    "contact.added",
    "lesson.finished",
    "group.joined",
    "group.left",
    "profile.updated",
    "page.viewed",
];
/// Rules, segments and records of a run at most.
const RULES: u64 = 7;
const SEGMENTS: u64 = 4;
const RECORDS: u64 = 40;
/// Kinds of events of which a run mostly consists, some of them twice.
const KINDS: usize = 4;
/// People of a run at most.
pub(super) const PEOPLE: u64 = 2;

/// A run to be made.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) book: Playbook,
    pub(super) history: Vec<Step>,
    /// Time goes on without stopping at what is due on the way.
    pub(super) in_leaps: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Pass(Span),
    Event {
        person: usize,
        event: &'static str,
        fields: Vec<(&'static str, Literal)>,
        late: Span,
    },
    Edit {
        person: usize,
        tag: Tag,
        add: bool,
    },
    Move {
        person: usize,
        group: usize,
        to: Option<&'static str>,
    },
    /// What is known of the tags on somebody's phone.
    Phone {
        person: usize,
        phone: Phone,
        late: Span,
    },
}

/// What is said of a contact's tags under one staff member.
#[derive(Debug, Clone)]
pub(super) struct Phone {
    pub(super) staff: &'static str,
    pub(super) says: Says,
    pub(super) on: Vec<Tag>,
    /// Not of snapshots: there everything else is off.
    pub(super) off: Vec<Tag>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// Staff have changed it.
    Observed,
    /// We have, or have tried to.
    Written { done: bool },
    /// This is all there is.
    Snapshot,
}

/// The run of a seed.
pub(super) fn plan(seed: u64) -> Plan {
    let mut random = Random::new(seed);
    let mut events: Vec<&'static str> = (0..KINDS).map(|_| *random.pick::<&'static str>(&EVENTS)).collect();
    if random.chance(300) {
        events[0] = "order.paid";
    }
    let mut make = Make { random, events, groups: Vec::new(), segments: 0 };
    let book = make.playbook();
    let history = make.history();
    Plan { book, history, in_leaps: make.random.chance(300) }
}

struct Make {
    random: Random,
    /// What mostly happens in this run.
    events: Vec<&'static str>,
    groups: Vec<Group>,
    /// Segments that may be asked for: those above the one being made.
    segments: usize,
}

impl Make {
    fn playbook(&mut self) -> Playbook {
        let manual = |random: &mut Random| random.chance(250);
        self.groups = vec![
            Group {
                id: "L",
                exclusive: true,
                ordered: true,
                tags: &["l1", "l2", "l3", "l4"],
                off: &["lx"],
                manual_wins: manual(&mut self.random),
                board: Some(("LB", self.random.chance(700))),
            },
            Group {
                id: "E",
                exclusive: true,
                ordered: false,
                tags: &["e1", "e2", "e3"],
                off: &[],
                manual_wins: manual(&mut self.random),
                board: Some(("EB", true)),
            },
            Group {
                id: "F",
                exclusive: false,
                ordered: false,
                tags: &["f1", "f2", "f3"],
                off: &[],
                manual_wins: manual(&mut self.random),
                board: None,
            },
        ];
        let days = match self.random.below(4) {
            0 | 1 => Days::Fixed(*self.random.pick(&DAYS)),
            _ => Days::Lines { by_quantity: self.random.chance(800) },
        };
        let due = (self.pattern_of("order.paid"), days);
        let (first, last) = (self.pattern(), self.pattern());
        let mut segments = Vec::new();
        for at in 0..self.random.below(SEGMENTS + 1) {
            segments.push(self.condition(2));
            self.segments = usize::try_from(at + 1).expect("few");
        }
        let mut silences = SILENCES.to_vec();
        let mut rules: Vec<Rule> = Vec::new();
        let other = self.random.chance(400).then(|| Other {
            segments: usize::try_from(self.random.below(segments.len() as u64 + 1)).expect("few"),
            rules: usize::try_from(self.random.below(3)).expect("few"),
            zone: self.word(&ZONES),
            has_keywords: self.random.chance(600),
            is_first: self.random.chance(300),
        });
        for at in 0..2 + self.random.below(RULES - 1) {
            // The first playbook does not use the other one.
            let is_own = other.is_none_or(|other| rules.len() >= other.rules);
            self.segments = if is_own { segments.len() } else { other.map_or(0, |other| other.segments) };
            rules.push(self.rule(at, &mut silences));
        }
        Playbook { zone: self.word(&ZONES), other, groups: self.groups.clone(), due, first, last, segments, rules }
    }

    fn rule(&mut self, at: u64, silences: &mut Vec<i64>) -> Rule {
        let mut triggers: Vec<Trigger> = (0..1 + self.random.below(2)).map(|_| self.trigger(silences)).collect();
        let when = self.random.chance(650).then(|| self.condition(2));
        let mut actions: Vec<Action> = (0..1 + self.random.below(3)).map(|_| self.action()).collect();
        if self.random.chance(60) {
            triggers = vec![Trigger::Event(self.pattern_of("lesson.finished"))];
            actions.push(Action::Assign(Assignee::Store));
        }
        let (mut id, mut rows) = (format!("r{at}"), Vec::new());
        let by_store = matches!(actions.last(), Some(Action::Assign(Assignee::Store)));
        if !by_store && self.random.chance(150) {
            let (field, group);
            (field, group, rows) = self.rows();
            let compare = if self.random.chance(800) { Compare::Eq } else { Compare::Ne };
            let tests = vec![(field, Test::Is(compare, Literal::Text(EACH)))];
            triggers[0] = Trigger::Event(Pattern { event: "order.paid", tests });
            actions[0] = if self.random.chance(750) {
                Action::Set { tag: (group, EACH_TAG), backward: false }
            } else {
                Action::Unset((group, EACH_TAG))
            };
            id += &format!("-{EACH}-{EACH_TAG}");
        }
        Rule { id, playbook: "", rows, triggers, when, actions }
    }

    /// What a rule is written once for: a field of a line, and of a group a tag for each value.
    fn rows(&mut self) -> (&'static str, usize, Vec<Row>) {
        let (field, values): (_, &[&'static str]) =
            if self.random.chance(600) { ("any_line.sku", &SKUS) } else { ("any_line.product", &["P", "Q", "R"]) };
        let group = self.tag().0;
        let mut rows: Vec<Row> = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let row = Row { of: self.word(values), tag: self.word(self.groups[group].tags) };
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        (field, group, rows)
    }

    fn trigger(&mut self, silences: &mut Vec<i64>) -> Trigger {
        match self.random.below(15) {
            0 => {
                let (group, tag) = self.tag();
                Trigger::TagSet(group, self.random.chance(700).then_some(tag))
            }
            1 => {
                let (group, tag) = self.tag();
                Trigger::TagUnset(group, self.random.chance(700).then_some(tag))
            }
            2 => {
                let (group, column) = self.column();
                Trigger::StageEntered(group, column)
            }
            3 => {
                let (group, column) = self.column();
                Trigger::StageLeft(group, column)
            }
            4 | 5 if self.segments > 0 => Trigger::SegmentEntered(self.segment()),
            6 if self.segments > 0 => Trigger::SegmentLeft(self.segment()),
            7 | 8 if !silences.is_empty() => {
                let hours = silences.pop().expect("checked");
                let of = (0..1 + self.random.below(2)).map(|_| self.pattern()).collect();
                Trigger::Wait(Wait::Silence { of, hours, since: self.pattern() })
            }
            9 => {
                let attribute = self.word(&["due", "due", "first", "last"]);
                let shift = *self.random.pick(&[-1, 0, 1, 3]);
                Trigger::Wait(Wait::Reached { attribute, shift })
            }
            10 => Trigger::Event(self.pattern_of(HANDOFF)),
            _ => Trigger::Event(self.pattern()),
        }
    }

    fn action(&mut self) -> Action {
        match self.random.below(13) {
            10 => Action::Assign(Assignee::Pool(self.word(&POOLS))),
            11 => {
                let hours = *self.random.pick(&[1, 5, 48]);
                Action::Handoff { pool: self.word(&POOLS), hours, reason: self.word(&REASONS) }
            }
            12 => Action::Task(self.word(&["call", "invite"])),
            0 => Action::SetAttribute(LEVEL, Literal::Text(self.word(&["gold", "silver"]))),
            1 => Action::SetAttribute(SCORE, Literal::Number(self.number(5))),
            2 | 3 => Action::Unset(self.tag()),
            _ => {
                let tag = self.tag();
                let backward = self.groups[tag.0].ordered && self.random.chance(250);
                Action::Set { tag, backward }
            }
        }
    }

    fn condition(&mut self, depth: u32) -> Condition {
        if depth > 0 && self.random.chance(400) {
            let two = |make: &mut Self| vec![make.condition(depth - 1), make.condition(depth - 1)];
            return match self.random.below(3) {
                0 => Condition::And(two(self)),
                1 => Condition::Or(two(self)),
                _ => Condition::Not(Box::new(self.condition(depth - 1))),
            };
        }
        match self.random.below(17) {
            0 => {
                let (group, tag) = self.tag();
                Condition::Tag(group, self.random.chance(700).then_some(tag))
            }
            1 | 2 => {
                let (group, column) = self.column();
                let compare = if self.groups[group].ordered { self.compare() } else { Compare::Eq };
                // What is never true is refused.
                let compare = match (compare, self.groups[group].tags) {
                    (Compare::Lt, [first, ..]) if *first == column => Compare::Le,
                    (Compare::Gt, [.., last]) if *last == column => Compare::Ge,
                    (compare, _) => compare,
                };
                let is_off = self.groups[group].off.contains(&column);
                let test = match self.random.below(3) {
                    0 => Test::In(vec![column, self.groups[group].tags[0]]),
                    _ if is_off => Test::Is(Compare::Ne, Literal::Text(column)),
                    _ => Test::Is(compare, Literal::Text(column)),
                };
                Condition::Stage(group, test)
            }
            3 if self.segments > 0 => Condition::Segment(self.segment()),
            3..=6 => self.count(),
            7 | 8 => {
                let (field, of) = match self.random.below(2) {
                    0 => ("paid_fen", self.pattern_of("order.paid")),
                    _ => ("score", self.pattern_of("lesson.finished")),
                };
                let most = if field == "score" { 5 } else { 600 };
                let within = self.random.chance(700).then(|| *self.random.pick(&DAYS));
                let value = Literal::Number(self.number(most));
                Condition::Sum { field, of, within, test: Test::Is(self.compare(), value) }
            }
            9 => {
                let within = self.random.chance(800).then(|| *self.random.pick(&HOURS));
                Condition::None { of: self.pattern(), within }
            }
            10 | 11 => Condition::Age {
                first: self.random.chance(400),
                of: self.pattern(),
                compare: *self.random.pick(&[Compare::Lt, Compare::Le, Compare::Gt, Compare::Ge]),
                hours: *self.random.pick(&HOURS),
            },
            12 => match self.random.below(2) {
                0 => {
                    let (id, name, _) = self.chat();
                    Condition::InGroup(if self.random.chance(500) { id } else { name })
                }
                _ => Condition::InKind(self.chat().2),
            },
            _ => self.attribute(),
        }
    }

    fn count(&mut self) -> Condition {
        let of = if self.random.chance(400) { self.pattern_of("content.viewed") } else { self.pattern() };
        let window = match self.random.below(5) {
            0 => Window::Ever,
            1 => Window::Since(self.word(&["contact.added", "page.viewed"])),
            _ => Window::Within(*self.random.pick(&HOURS)),
        };
        let distinct = match of.event {
            "content.viewed" => self.random.chance(600).then_some("session"),
            "lesson.finished" => self.random.chance(400).then_some("course"),
            _ => None,
        };
        let number = self.number(4);
        let test = if self.random.chance(150) {
            Test::Range(number, number + 1)
        } else {
            Test::Is(self.compare(), Literal::Number(number))
        };
        Condition::Count { of, window, distinct, test }
    }

    fn attribute(&mut self) -> Condition {
        let equal = *self.random.pick(&[Compare::Eq, Compare::Ne]);
        let (name, test) = match self.random.below(10) {
            0 => ("city", Test::Is(equal, Literal::Text(self.word(&CITIES)))),
            1 => ("city", Test::In(CITIES[1..].to_vec())),
            2 | 3 => {
                let months = *self.random.pick(&MONTHS);
                let value = Literal::Number(months);
                ("months", if equal == Compare::Eq { Test::Range(0, months) } else { Test::Is(self.compare(), value) })
            }
            8 => ("days", self.is_number(40)),
            4 => ("children", self.is_number(3)),
            5 => (LEVEL, Test::Is(equal, Literal::Text("gold"))),
            6 => (SCORE, self.is_number(5)),
            _ => {
                let date = Literal::Date(self.word(&DATES));
                let compare = *self.random.pick(&[Compare::Ge, Compare::Lt]);
                (self.word(&["due", "first", "last"]), Test::Is(compare, date))
            }
        };
        Condition::Attribute(name, test)
    }

    fn is_number(&mut self, most: u64) -> Test {
        let number = self.number(most);
        Test::Is(self.compare(), Literal::Number(number))
    }

    fn pattern(&mut self) -> Pattern {
        let event = self.kind();
        self.pattern_of(event)
    }

    fn kind(&mut self) -> &'static str {
        if self.random.chance(150) {
            return self.word(&EVENTS);
        }
        let at = usize::try_from(self.random.below(KINDS as u64)).expect("few");
        self.events[at]
    }

    fn pattern_of(&mut self, event: &'static str) -> Pattern {
        let tests = (0..self.random.below(3).min(1)).map(|_| self.test(event)).collect();
        Pattern { event, tests }
    }

    fn test(&mut self, event: &str) -> (&'static str, Test) {
        let is = |value| Test::Is(Compare::Eq, Literal::Text(value));
        let is_not = |value| Test::Is(Compare::Ne, Literal::Text(value));
        let second = self.random.chance(500);
        match event {
            "order.paid" if second => self.line_test(),
            "order.paid" if self.random.chance(500) => ("paid_fen", Test::Has),
            "order.paid" => ("paid_fen", self.is_number(500)),
            "content.viewed" if self.random.chance(250) => ("product", is(self.word(&["P", "R"]))),
            "content.viewed" if second => ("session", if self.random.chance(500) { Test::Has } else { is_not("v1") }),
            "content.viewed" => ("content_id", is(self.word(&["A", "B"]))),
            "chat.message" if second => ("text", Test::Keywords),
            "chat.message" => ("direction", is(self.word(&["in", "out"]))),
            "contact.added" => ("state", if second { is("s1") } else { is_not("s1") }),
            "lesson.finished" if second => ("course", is(self.word(&COURSES))),
            "lesson.finished" => {
                let number = self.number(5);
                let compare = *self.random.pick(&[Compare::Lt, Compare::Ge, Compare::Eq, Compare::Ne]);
                ("score", Test::Is(compare, Literal::Number(number)))
            }
            "group.joined" | "group.left" if second => ("group_kind", is(self.chat().2)),
            "group.joined" | "group.left" => ("group", is(self.chat().0)),
            HANDOFF => match self.random.below(3) {
                0 => ("reason", is(self.word(&REASONS))),
                1 => ("to", Test::In(vec!["sales", "idle"])),
                _ => ("executor", is_not("li")),
            },
            "profile.updated" if second => ("baby_birthday", Test::Has),
            "profile.updated" => ("city", Test::In(CITIES[..2].to_vec())),
            _ => ("page", Test::In(vec!["p1", "p2"])),
        }
    }

    fn line_test(&mut self) -> (&'static str, Test) {
        let is = *self.random.pick(&[Compare::Eq, Compare::Eq, Compare::Ne]);
        match self.random.below(6) {
            0 | 1 => ("any_line.sku", Test::Is(is, Literal::Text(self.word(&SKUS)))),
            2 | 3 => ("any_line.product", Test::Is(is, Literal::Text(self.word(&["P", "Q", "R"])))),
            4 => ("any_line.item_id", Test::In(vec!["i1", "i9"])),
            _ => ("any_line.qty", self.is_number(3)),
        }
    }

    fn line(&mut self) -> Line {
        let mut line = Line::new();
        let texts: [(_, &[&'static str]); 3] =
            [("outer_sku", &["k1", "k2", "k3", ""]), ("sku_id", &SKUS), ("item_id", &ITEMS)];
        for (name, values) in texts {
            if self.random.chance(600) {
                line.push((name, Literal::Text(self.word(values))));
            }
        }
        if self.random.chance(850) {
            line.push(("qty", Literal::Number(1 + self.number(2))));
        }
        line
    }

    fn history(&mut self) -> Vec<Step> {
        let people = 1 + self.random.below(PEOPLE);
        let mut history = Vec::new();
        // Everybody is known before anybody edits.
        for person in 0..people {
            let event = if self.random.chance(500) { "profile.updated" } else { self.kind() };
            history.push(self.event(usize::try_from(person).expect("few"), event));
        }
        for _ in 0..8 + self.random.below(RECORDS - 8) {
            history.push(Step::Pass(self.pause()));
            let person = usize::try_from(self.random.below(people)).expect("few");
            history.push(match self.random.below(15) {
                0 | 1 => Step::Edit { person, tag: self.tag(), add: self.random.chance(700) },
                2 => {
                    let (group, column) = self.column();
                    Step::Move { person, group, to: self.random.chance(850).then_some(column) }
                }
                3..=5 => self.phone(person),
                6 if self.random.chance(300) => self.event(person, "contact.removed"),
                _ => {
                    let event = self.kind();
                    self.event(person, event)
                }
            });
        }
        history.push(Step::Pass(Span::days(9)));
        history
    }

    fn phone(&mut self, person: usize) -> Step {
        let says = match self.random.below(5) {
            0 => Says::Snapshot,
            1 => Says::Written { done: self.random.chance(800) },
            _ => Says::Observed,
        };
        let mut tags = |most| -> Vec<Tag> { (0..self.random.below(most)).map(|_| self.tag()).collect() };
        let (on, off) = (tags(4), if says == Says::Snapshot { Vec::new() } else { tags(3) });
        Step::Phone { person, phone: Phone { staff: self.word(&STAFF), says, on, off }, late: self.late() }
    }

    fn event(&mut self, person: usize, event: &'static str) -> Step {
        let mut fields = Vec::new();
        let texts: &[(&'static str, &[&'static str])] = match event {
            "content.viewed" => &[("content_id", &["A", "B"]), ("session", &["v1", "v2", "v3"])],
            "chat.message" => &[("direction", &["in", "out"]), ("text", &TEXTS)],
            "contact.added" => &[("state", &["s1", "s2"]), ("staff", &STAFF)],
            "contact.removed" => &[("staff", &STAFF)],
            "lesson.finished" => &[("course", &COURSES), ("store", &["s1", "s2", "s9"])],
            "group.joined" | "group.left" => &[("group", &["wr1", "wr2", "wr3"])],
            "profile.updated" => &[("city", &CITIES), ("baby_birthday", &BIRTHDAYS)],
            "page.viewed" => &[("page", &["p1", "p2", "p3"])],
            _ => &[],
        };
        for (name, values) in texts {
            if *name == "group" || self.random.chance(800) {
                fields.push((*name, Literal::Text(self.word(values))));
            }
        }
        if event == "order.paid" && self.random.chance(750) {
            let lines = (0..1 + self.random.below(3)).map(|_| self.line()).collect();
            fields.push(("lines", Literal::Lines(lines)));
        }
        let numbers: &[(&'static str, u64)] = match event {
            "order.paid" => &[("paid_fen", 500)],
            "lesson.finished" => &[("score", 5)],
            "profile.updated" => &[("children", 3)],
            _ => &[],
        };
        for (name, most) in numbers {
            if self.random.chance(800) {
                fields.push((*name, Literal::Number(self.number(*most))));
            } else if *name == "score" && self.random.chance(500) {
                // Of another type than declared.
                fields.push((*name, Literal::Text("many")));
            }
        }
        Step::Event { person, event, fields, late: self.late() }
    }

    /// How long ago it happened.
    fn late(&mut self) -> Span {
        match self.random.below(8) {
            0 => self.pause(),
            // So little that what time has just concluded may be taken back.
            1 | 2 => Span::hours(1 + i64::try_from(self.random.below(6)).expect("small")),
            _ => Span(0),
        }
    }

    /// Mostly so that something ends exactly then.
    fn pause(&mut self) -> Span {
        match self.random.below(12) {
            0..=2 => Span(0),
            3 => Span(1),
            4 => Span(i64::try_from(self.random.below(200_000_000)).expect("small")),
            5 => Span::hours(1),
            6 => Span::hours(5),
            7 => Span::hours(18),
            8 => Span::hours(*self.random.pick(&SILENCES) + i64::from(self.random.chance(500))),
            _ => Span::hours(*self.random.pick(&HOURS)),
        }
    }

    /// Up to `most`; of hundreds, whole hundreds.
    fn number(&mut self, most: u64) -> i64 {
        let unit = if most >= 100 { 100 } else { 1 };
        i64::try_from(self.random.below(most / unit + 1) * unit).expect("small")
    }

    fn compare(&mut self) -> Compare {
        *self.random.pick(&[Compare::Eq, Compare::Ne, Compare::Lt, Compare::Le, Compare::Gt, Compare::Ge])
    }

    fn tag(&mut self) -> Tag {
        let group = usize::try_from(self.random.below(self.groups.len() as u64)).expect("few");
        let Group { tags, off, .. } = self.groups[group];
        let all: Vec<&'static str> = tags.iter().chain(off).copied().collect();
        (group, self.word(&all))
    }

    /// A column of a board.
    fn column(&mut self) -> Tag {
        loop {
            let tag = self.tag();
            if self.groups[tag.0].board.is_some() {
                return tag;
            }
        }
    }

    fn word(&mut self, of: &[&'static str]) -> &'static str {
        self.random.pick::<&'static str>(of)
    }

    fn chat(&mut self) -> (&'static str, &'static str, &'static str) {
        *self.random.pick(&CHATS)
    }

    fn segment(&mut self) -> usize {
        usize::try_from(self.random.below(self.segments as u64)).expect("few")
    }
}
