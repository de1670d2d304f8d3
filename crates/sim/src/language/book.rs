//! A playbook as a small tree, and how it is written.

use std::fmt::{self, Display, Write};
use std::ops::Range;

/// A tag group: always these three, with other options each time.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) id: &'static str,
    pub(super) exclusive: bool,
    /// Tags are a ladder, `off` stand outside it.
    pub(super) ordered: bool,
    pub(super) tags: &'static [&'static str],
    pub(super) off: &'static [&'static str],
    pub(super) manual_wins: bool,
    /// The board of the group, and whether people may move its cards backward.
    pub(super) board: Option<(&'static str, bool)>,
}

/// A tag: its group's place in the playbook, and its id.
pub(super) type Tag = (usize, &'static str);

/// What stands on the right side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    Text(&'static str),
    Number(i64),
    /// `2026-03-01`, in conditions on moments.
    Date(&'static str),
    /// Of an order, in events.
    Lines(Vec<Line>),
}

/// A line of an order: its fields.
pub(super) type Line = Vec<(&'static str, Literal)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// What is asked of a value.
#[derive(Debug, Clone)]
pub(super) enum Test {
    Is(Compare, Literal),
    In(Vec<&'static str>),
    Range(i64, i64),
    Has,
    /// `text has` the keyword set: in a playbook.
    Keywords,
    /// The same, as it is meant: any of these words.
    Words(&'static [&'static str]),
}

#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub(super) event: &'static str,
    pub(super) tests: Vec<(&'static str, Test)>,
}

/// Which events of a pattern count.
#[derive(Debug, Clone)]
pub(super) enum Window {
    Ever,
    /// Hours.
    Within(i64),
    Since(&'static str),
}

#[derive(Debug, Clone)]
pub(super) enum Condition {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Tag(usize, Option<&'static str>),
    Stage(usize, Test),
    Segment(usize),
    Count {
        of: Pattern,
        window: Window,
        distinct: Option<&'static str>,
        test: Test,
    },
    /// `within` in days.
    Sum {
        field: &'static str,
        of: Pattern,
        within: Option<i64>,
        test: Test,
    },
    /// `within` in hours.
    None {
        of: Pattern,
        within: Option<i64>,
    },
    /// Hours.
    Age {
        first: bool,
        of: Pattern,
        compare: Compare,
        hours: i64,
    },
    Attribute(&'static str, Test),
    InGroup(&'static str),
    InKind(&'static str),
}

#[derive(Debug, Clone)]
pub(super) enum Wait {
    /// Hours.
    Silence { of: Vec<Pattern>, hours: i64, since: Pattern },
    /// Days.
    Reached { attribute: &'static str, shift: i64 },
}

#[derive(Debug, Clone)]
pub(super) enum Trigger {
    Event(Pattern),
    TagSet(usize, Option<&'static str>),
    TagUnset(usize, Option<&'static str>),
    StageEntered(usize, &'static str),
    StageLeft(usize, &'static str),
    SegmentEntered(usize),
    SegmentLeft(usize),
    Wait(Wait),
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Set { tag: Tag, backward: bool },
    Unset(Tag),
    SetAttribute(&'static str, Literal),
    Assign(Assignee),
    Handoff { pool: &'static str, hours: i64, reason: &'static str },
    Task(&'static str),
}

/// Who is chosen for somebody.
#[derive(Debug, Clone, Copy)]
pub(super) enum Assignee {
    Pool(&'static str),
    /// Of the store that the event names.
    Store,
}

/// The event that a hand-over is.
pub(super) const HANDOFF: &str = "handoff.created";

/// Somebody who looks after customers.
pub(super) struct Staff {
    pub(super) id: &'static str,
    pub(super) pools: &'static [&'static str],
    pub(super) store: &'static str,
    pub(super) active: bool,
}

/// By id. Nobody takes anything in the pool `idle`.
pub(super) const STAFF: [Staff; 4] = [
    Staff { id: "ann", pools: &["sales"], store: "s1", active: true },
    Staff { id: "bo", pools: &["idle", "sales"], store: "s2", active: false },
    Staff { id: "li", pools: &["care", "sales"], store: "s2", active: true },
    Staff { id: "wang", pools: &["care"], store: "s2", active: true },
];

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) playbook: &'static str,
    /// Its `for_each`: [`EACH`] stands for what is asked for, [`EACH_TAG`] for the tag.
    pub(super) rows: Vec<Row>,
    pub(super) triggers: Vec<Trigger>,
    pub(super) when: Option<Condition>,
    pub(super) actions: Vec<Action>,
}

/// A row of a rule's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) of: &'static str,
    pub(super) tag: &'static str,
}

pub(super) const EACH: &str = "${of}";
pub(super) const EACH_TAG: &str = "${tag}";

/// How many days a computed date adds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Days {
    Fixed(i64),
    /// For each line what a unit lasts, mostly by how many there are.
    Lines {
        by_quantity: bool,
    },
}

/// What the directory knows as a product.
pub(super) struct Product {
    pub(super) id: &'static str,
    pub(super) items: &'static [&'static str],
    pub(super) skus: &'static [&'static str],
    /// How long a unit lasts, in half days.
    pub(super) half_days: Option<i64>,
}

/// By id; a line may be several of them.
pub(super) const PRODUCTS: [Product; 3] = [
    Product { id: "P", items: &["i1", "A"], skus: &["k1", "k2"], half_days: Some(2) },
    Product { id: "Q", items: &["i2"], skus: &["k3"], half_days: Some(3) },
    Product { id: "R", items: &[], skus: &["k2", "k3", "B"], half_days: None },
];

/// The attributes of every playbook: two from the profile, two of its age, three moments, two that rules set.
pub(super) const LEVEL: &str = "level";
pub(super) const SCORE: &str = "score";
pub(super) const DUE: &str = "due";
/// Groups of customers: native id, name, kind.
pub(super) const CHATS: [(&str, &str, &str); 3] =
    [("wr1", "one", "moms"), ("wr2", "two", "flash"), ("wr3", "three", "moms")];
/// The name of the keyword set, and its words.
pub(super) const KEYWORDS: (&str, &[&str]) = ("asks", &["price", "cost"]);
/// What the other playbook means by it, where it has a set of its own.
pub(super) const OWN_KEYWORDS: &[&str] = &["hello", "cost"];

/// A second playbook, which uses what the first has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Other {
    /// From here on segments and rules are its own.
    pub(super) segments: usize,
    pub(super) rules: usize,
    pub(super) zone: &'static str,
    /// It has a keyword set of the same name.
    pub(super) has_keywords: bool,
    /// It stands before the first, and so do its rules.
    pub(super) is_first: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Playbook {
    pub(super) zone: &'static str,
    pub(super) other: Option<Other>,
    pub(super) groups: Vec<Group>,
    /// `due` is so many days after the last of these.
    pub(super) due: (Pattern, Days),
    pub(super) first: Pattern,
    pub(super) last: Pattern,
    pub(super) segments: Vec<Condition>,
    pub(super) rules: Vec<Rule>,
}

/// The tag that the directory does not have.
pub(super) const UNLISTED: &str = "f3";

/// What WeCom calls a tag.
pub(super) fn native_id(tag: &str) -> String {
    format!("et-{tag}")
}

/// The directory that every run loads.
pub(super) fn directory(groups: &[Group]) -> String {
    let chat = |(group, name, kind)| format!("  - {{group: {group}, name: {name}, kind: {kind}}}\n");
    let mut directory = format!("kind: directory\ngroups:\n{}wecom_tags:\n", CHATS.map(chat).concat());
    for group in groups {
        for tag in group.tags.iter().chain(group.off).filter(|tag| **tag != UNLISTED) {
            line(&mut directory, &format!("  - {{native_id: {}, tag: {}/{tag}}}", native_id(tag), group.id));
        }
    }
    line(&mut directory, "staff:");
    for Staff { id, pools, store, active } in &STAFF {
        let pools = pools.join(", ");
        line(&mut directory, &format!("  - {{staff: {id}, pools: [{pools}], store: {store}, active: {active}}}"));
    }
    line(&mut directory, "products:");
    for Product { id, items, skus, half_days } in &PRODUCTS {
        let (items, skus) = (items.join(", "), skus.join(", "));
        let lasts =
            half_days.map_or_else(String::new, |half| format!(", days_per_unit: {}.{}", half / 2, half % 2 * 5));
        line(&mut directory, &format!("  - {{product: {id}, item_ids: [{items}], skus: [{skus}]{lasts}}}"));
    }
    directory
}

impl Playbook {
    /// The playbooks as their authors would write them, by name, in order.
    pub(super) fn sources(&self) -> Vec<(&'static str, String)> {
        let (segments, rules) =
            self.other.map_or((self.segments.len(), self.rules.len()), |other| (other.segments, other.rules));
        let mut base = self.head();
        self.write_segments(0..segments, &mut base);
        self.write_rules(&self.rules[..rules], &mut base);
        let mut sources = vec![("p", base)];
        if let Some(other) = self.other {
            let mut own = format!("playbook: o\nuses: [p@1]\ntimezone: {}\n", other.zone);
            if other.has_keywords {
                line(&mut own, &format!("keywords: {{{}: {{any: [{}]}}}}", KEYWORDS.0, OWN_KEYWORDS.join(", ")));
            }
            self.write_segments(segments..self.segments.len(), &mut own);
            self.write_rules(&self.rules[rules..], &mut own);
            sources.insert(usize::from(!other.is_first), ("o", own));
        }
        sources
    }

    fn head(&self) -> String {
        let mut yaml = format!(
            "playbook: p\ntimezone: {}\nevents: {{lesson.finished: {{course: text, score: number, store: text}}}}\n\
             keywords: {{{}: {{any: [{}]}}}}\ntag_groups:\n",
            self.zone,
            KEYWORDS.0,
            KEYWORDS.1.join(", ")
        );
        let mut boards = String::new();
        for group in &self.groups {
            let option = |is: bool, text| if is { text } else { "" };
            let off =
                if group.off.is_empty() { String::new() } else { format!(", off_ladder: [{}]", group.off.join(", ")) };
            line(
                &mut yaml,
                &format!(
                    "  - {{id: {}{}{}{}, tags: [{}]{off}}}",
                    group.id,
                    option(group.exclusive, ", exclusive: true"),
                    option(group.ordered, ", ordered: true"),
                    option(group.manual_wins, ", manual: wins"),
                    group.tags.join(", "),
                ),
            );
            if let Some((board, backward)) = group.board {
                let backward = option(!backward, ", backward: never");
                line(&mut boards, &format!("  - {{id: {board}, group: {}{backward}}}", group.id));
            }
        }
        line(&mut yaml, &format!("boards:\n{boards}attributes:\n  city: profile.city\n  children: profile.children"));
        line(&mut yaml, "  months: {months_since: profile.baby_birthday}\n  days: {days_since: profile.baby_birthday}");
        line(&mut yaml, "  level: {type: text}\n  score: {type: number}");
        line(&mut yaml, &format!("  first: \"first({})\"\n  last: \"last({})\"", self.first, self.last));
        let metrics = [("days", &self.first, "calendar_day"), ("months", &self.last, "calendar_month")];
        let metrics = metrics.map(|(id, count, per)| format!("{{id: {id}, count: \"{count}\", per: {per}}}"));
        line(&mut yaml, &format!("  due: {{date_add: {{from: \"last({})\", days: {}}}}}", self.due.0, self.due.1));
        line(&mut yaml, &format!("metrics: [{}]", metrics.join(", ")));
        yaml
    }

    fn write_segments(&self, of: Range<usize>, yaml: &mut String) {
        if !of.is_empty() {
            line(yaml, "segments:");
        }
        of.for_each(|at| line(yaml, &format!("  s{at}: \"{}\"", self.condition(&self.segments[at]))));
    }

    fn write_rules(&self, rules: &[Rule], yaml: &mut String) {
        if !rules.is_empty() {
            line(yaml, "rules:");
        }
        rules.iter().for_each(|rule| self.write_rule(rule, yaml));
    }

    fn write_rule(&self, rule: &Rule, yaml: &mut String) {
        line(yaml, &format!("  - id: {}", rule.id));
        if !rule.rows.is_empty() {
            let rows = rule.rows.iter().map(|Row { of, tag }| format!("{{of: {of}, tag: {tag}}}"));
            line(yaml, &format!("    for_each: [{}]", rows.collect::<Vec<_>>().join(", ")));
        }
        let triggers: Vec<String> = rule.triggers.iter().map(|of| format!("\"{}\"", self.trigger(of))).collect();
        line(yaml, &format!("    trigger: [{}]", triggers.join(", ")));
        if let Some(when) = &rule.when {
            line(yaml, &format!("    when: \"{}\"", self.condition(when)));
        }
        let actions: Vec<String> = rule.actions.iter().map(|of| self.action(of)).collect();
        line(yaml, &format!("    do: [{}]", actions.join(", ")));
    }

    fn tag(&self, group: usize, tag: Option<&str>) -> String {
        format!("{}/{}", self.groups[group].id, tag.unwrap_or("*"))
    }

    fn board(&self, group: usize) -> &str {
        self.groups[group].board.map_or("", |(board, _)| board)
    }

    fn condition(&self, condition: &Condition) -> String {
        let all = |of: &[Condition], word| {
            of.iter().map(|of| format!("({})", self.condition(of))).collect::<Vec<_>>().join(word)
        };
        match condition {
            Condition::And(of) => all(of, " and "),
            Condition::Or(of) => all(of, " or "),
            Condition::Not(of) => format!("not ({})", self.condition(of)),
            Condition::Tag(group, tag) => format!("tag({})", self.tag(*group, *tag)),
            Condition::Stage(group, test) => test.write(&format!("stage({})", self.board(*group))),
            Condition::Segment(at) => format!("segment(s{at})"),
            Condition::Count { of, window, distinct, test } => {
                let window = match window {
                    Window::Ever => String::new(),
                    Window::Within(hours) => format!(", within={hours}h"),
                    Window::Since(event) => format!(", since={event}"),
                };
                let distinct = distinct.map_or_else(String::new, |field| format!(", distinct={field}"));
                test.write(&format!("count({of}{window}{distinct})"))
            }
            Condition::Sum { field, of, within, test } => {
                let within = within.map_or_else(String::new, |days| format!(", within={days}d"));
                test.write(&format!("sum({field}, {of}{within})"))
            }
            Condition::None { of, within } => {
                let within = within.map_or_else(String::new, |hours| format!(", within={hours}h"));
                format!("none({of}{within})")
            }
            Condition::Age { first, of, compare, hours } => {
                format!("age({}({of})) {compare} {hours}h", if *first { "first" } else { "last" })
            }
            Condition::Attribute(name, test) => test.write(&format!("attr({name})")),
            Condition::InGroup(group) => format!("in_group({group})"),
            Condition::InKind(kind) => format!("in_group(kind={kind})"),
        }
    }

    fn trigger(&self, trigger: &Trigger) -> String {
        match trigger {
            Trigger::Event(pattern) => pattern.to_string(),
            Trigger::TagSet(group, tag) => format!("tag_set({})", self.tag(*group, *tag)),
            Trigger::TagUnset(group, tag) => format!("tag_unset({})", self.tag(*group, *tag)),
            Trigger::StageEntered(group, column) => format!("stage_entered({}/{column})", self.board(*group)),
            Trigger::StageLeft(group, column) => format!("stage_left({}/{column})", self.board(*group)),
            Trigger::SegmentEntered(at) => format!("segment_entered(s{at})"),
            Trigger::SegmentLeft(at) => format!("segment_left(s{at})"),
            Trigger::Wait(Wait::Silence { of, hours, since }) => {
                let of: Vec<String> = of.iter().map(ToString::to_string).collect();
                format!("silence([{}], for={hours}h, since={since})", of.join(", "))
            }
            Trigger::Wait(Wait::Reached { attribute, shift }) => match shift {
                0 => format!("reached({attribute})"),
                1.. => format!("reached({attribute} + {shift}d)"),
                _ => format!("reached({attribute} - {}d)", -shift),
            },
        }
    }

    fn action(&self, action: &Action) -> String {
        match action {
            Action::Set { tag: (group, tag), backward: true } => {
                format!("{{set_tag: \"{}\", allow: backward}}", self.tag(*group, Some(tag)))
            }
            Action::Set { tag: (group, tag), backward: false } => {
                format!("{{set_tag: \"{}\"}}", self.tag(*group, Some(tag)))
            }
            Action::Unset((group, tag)) => format!("{{unset_tag: \"{}\"}}", self.tag(*group, Some(tag))),
            Action::SetAttribute(name, value) => format!("{{set_attr: {{{name}: {value}}}}}"),
            Action::Assign(Assignee::Pool(pool)) => format!("{{assign: {{by: round_robin, pool: {pool}}}}}"),
            Action::Assign(Assignee::Store) => "{assign: {by: store}}".to_owned(),
            Action::Handoff { pool, hours, reason } => {
                format!("{{handoff: {{to: {pool}, by: round_robin, sla: {hours}h, reason: {reason}}}}}")
            }
            Action::Task(text) => format!("{{task: {text}}}"),
        }
    }
}

fn line(yaml: &mut String, text: &str) {
    writeln!(yaml, "{text}").expect("a string takes everything");
}

impl Test {
    fn write(&self, left: &str) -> String {
        match self {
            Self::Is(compare, value) => format!("{left} {compare} {value}"),
            Self::In(values) => format!("{left} in [{}]", values.join(", ")),
            Self::Range(from, to) => format!("{left} in {from}..{to}"),
            Self::Has => format!("has {left}"),
            Self::Keywords => format!("{left} has {}", KEYWORDS.0),
            // Nobody writes them out.
            Self::Words(words) => format!("{left} has {}", words.join(" or ")),
        }
    }
}

impl Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tests: Vec<String> = self.tests.iter().map(|(field, test)| test.write(field)).collect();
        if tests.is_empty() { f.write_str(self.event) } else { write!(f, "{}({})", self.event, tests.join(", ")) }
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Date(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            // Nobody writes them in a playbook.
            Self::Lines(_) => f.write_str("lines"),
        }
    }
}

impl Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(days) => write!(f, "{days}"),
            Self::Lines { by_quantity: true } => f.write_str("sum_lines(qty * product.days_per_unit)"),
            Self::Lines { by_quantity: false } => f.write_str("sum_lines(product.days_per_unit)"),
        }
    }
}

impl Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        })
    }
}
