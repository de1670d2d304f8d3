//! Every key of every document: one table, which the compiler reads, and from which come the reference page and the
//! JSON schemas.
//!
//! The compiler asks for each key by the table's mapping it is in and refuses what it did not ask for; a test writes
//! each key's example into a document and has it compiled. So the table can neither leave out a key nor invent one.

mod directory;
mod journey;

pub use directory::DIRECTORY;
pub(crate) use directory::{BODY, GROUP, PRODUCT, STAFF, STORE, WECOM_TAG};
pub(crate) use journey::{CHOICE, ENTRY, EXIT, GOAL, JOURNEY, LATE, RE_ENTRY, STEP, WAIT_FOR};

use crate::codes::{self, Code};
use std::collections::BTreeSet;

/// A kind of document.
#[derive(Debug)]
pub struct Document {
    /// What its `kind` says.
    pub kind: &'static str,
    /// What it is, in one sentence.
    pub about: &'static str,
    /// Its top level.
    pub keys: &'static Keys,
}

/// Keys that stand in one mapping.
#[derive(Debug)]
pub struct Keys {
    /// What the mapping is: `rule`.
    pub name: &'static str,
    /// In one sentence.
    pub about: &'static str,
    /// How many of the keys a mapping has.
    pub count: Count,
    /// In the order of the page.
    pub keys: &'static [Key],
}

/// How many of its keys a mapping has, beyond those that are required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Any number.
    Any,
    /// At least one.
    Some,
    /// Exactly one.
    One,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What its value is.
    pub holds: Holds,
    /// Whether it must be given, unless one of `unless` is.
    pub required: bool,
    /// Keys of the same mapping with which it need not be given.
    pub unless: &'static [&'static str],
    /// The language has it, this version refuses it with this code.
    pub not_yet: Option<Code>,
    /// What is meant where it is absent; empty: nothing.
    pub default: &'static str,
    /// What it says, in one sentence.
    pub about: &'static str,
    /// A value.
    pub example: &'static str,
    /// Keys of the same mapping that the example needs beside it.
    pub with: &'static [&'static str],
}

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub enum Holds {
    /// A text; numbers and `true` are texts too.
    Text,
    /// The name of something, with the bounds of ids.
    Id,
    /// One of these words.
    Words(&'static [&'static str]),
    /// One of these words; another name is only warned of.
    Suggested(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number, both ends included.
    Whole(i64, i64),
    /// A number above 0.
    Number,
    /// A duration: `30s 5m 2h 3d`.
    Span,
    /// A clock time: `"09:30"`.
    Clock,
    /// The IANA name of a time zone.
    Zone,
    /// `group/tag`.
    Tag,
    /// A condition.
    Condition,
    /// A trigger.
    Trigger,
    /// `count(…)` or `sum(…)`.
    Measure,
    /// A field, a function or a number, as its key says.
    Expression,
    /// Whatever the language says of it: it is refused, so nothing looks into it.
    Anything,
    /// A list of at least so many.
    List(&'static Holds, usize),
    /// One, or a list of at least one.
    OneOrMany(&'static Holds),
    /// A mapping from names.
    Named(&'static Holds),
    /// A mapping with known keys.
    Keys(&'static Keys),
    /// Any of these.
    Either(&'static [Holds]),
}

/// Types of the fields of custom events, and of attributes that actions set.
pub(crate) const TYPES: [&str; 4] = ["text", "number", "bool", "time"];
/// Touchpoints that channels and notifiers know.
pub(crate) const TOUCHPOINTS: [&str; 5] = ["dm", "moments", "group", "call_task", "sms"];
/// What a touch belongs to, for when several are due at one moment.
pub(crate) const PRIORITIES: [&str; 4] = ["board", "reply", "nurture", "broadcast"];
/// What becomes of steps whose moment had passed at the entry.
pub(crate) const BACKFILLS: [&str; 4] = ["none", "from_now", "by_elapsed", "report_only"];
/// How staff are chosen.
pub(crate) const CHOICES: [&str; 2] = ["round_robin", "store"];
/// Parts of a step that are refused as not yet; with them it may do without the others.
pub(crate) const STEP_PARTS_NOT_YET: [&str; 11] =
    ["every", "count", "content_series", "split", "wait_for", "choose", "from", "window", "min_gap", "late", "mode"];
/// Latest day of a step: ten years.
pub(crate) const DAY_MAX: u32 = 3_650;

/// All kinds that this version reads. `kind: policy` is refused as not yet.
pub static DOCUMENTS: [Document; 2] = [
    Document {
        kind: "playbook",
        about: "Which behaviour sets which tag, what a board shows, and what falls due when. At most 512 KiB in a bundle.",
        keys: &PLAYBOOK,
    },
    Document {
        kind: "directory",
        about: "What rules look up, loaded without a new version of any playbook; the latest entry with an id wins.",
        keys: &DIRECTORY,
    },
];

impl Keys {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// Every mapping of a document, each once, the outer before the inner.
pub fn mappings(root: &'static Keys) -> Vec<&'static Keys> {
    let (mut found, mut seen) = (vec![root], BTreeSet::from([root.name]));
    let mut at = 0;
    while let Some(keys) = found.get(at) {
        let inner = keys.keys.iter().flat_map(|key| key.holds.mappings());
        let new: Vec<_> = inner.filter(|inner| seen.insert(inner.name)).collect();
        found.extend(new);
        at += 1;
    }
    found
}

impl Holds {
    /// The mappings with known keys that such a value holds, those within them left out.
    pub fn mappings(self) -> Vec<&'static Keys> {
        match self {
            Self::Keys(keys) => vec![keys],
            Self::List(inner, _) | Self::OneOrMany(inner) | Self::Named(inner) => inner.mappings(),
            Self::Either(all) => all.iter().flat_map(|one| one.mappings()).collect(),
            _ => Vec::new(),
        }
    }
}

const fn key(name: &'static str, holds: Holds, about: &'static str, example: &'static str) -> Key {
    Key { name, holds, required: false, unless: &[], not_yet: None, default: "", about, example, with: &[] }
}

impl Key {
    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn unless(mut self, unless: &'static [&'static str]) -> Self {
        self.unless = unless;
        self
    }

    const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn with(mut self, with: &'static [&'static str]) -> Self {
        self.with = with;
        self
    }

    const fn not_yet(mut self, code: Code) -> Self {
        self.not_yet = Some(code);
        self
    }
}

const TYPE: Holds = Holds::Words(&TYPES);
const TEXTS: Holds = Holds::List(&Holds::Text, 0);
const TRIGGERS: Holds = Holds::OneOrMany(&Holds::Trigger);
const TAGS: Holds = Holds::List(&Holds::Either(&[Holds::Id, Holds::Keys(&TAG)]), 0);
const STEPS: Holds = Holds::List(&Holds::Keys(&STEP), 1);
const ID: &str = "Its id. Labels can change, ids stay.";

/// The top level of a playbook.
pub static PLAYBOOK: Keys = Keys {
    name: "playbook",
    about: "The top level of a playbook.",
    count: Count::Any,
    keys: &[
        key("kind", Holds::Words(&["playbook"]), "What the document is.", "playbook").default("playbook"),
        key("playbook", Holds::Id, "The playbook's id.", "price-consideration").required(),
        key("version", Holds::Whole(0, 4_294_967_295), "What `uses` of other playbooks can pin.", "3").default("1"),
        key("timezone", Holds::Zone, "Whose calendar days and clock times are meant.", "Europe/Berlin")
            .default("Asia/Shanghai"),
        key("uses", TEXTS, "Playbooks of which names are used; `@3` pins a version.", "[names, names@1]"),
        key(
            "events",
            Holds::Named(&Holds::Named(&TYPE)),
            "Custom events, whose names have a dot, with the types of their fields.",
            "{lesson.finished: {course: text, score: number}, consult.done: {}}",
        ),
        key(
            "tag_groups",
            Holds::List(&Holds::Keys(&TAG_GROUP), 0),
            "Tags, by groups. A group has exactly one owner in the bundle.",
            "[{id: 课程阶段, exclusive: true, ordered: true, tags: [引流课, 正价课]}]",
        ),
        key(
            "keywords",
            Holds::Named(&Holds::Keys(&KEYWORDS)),
            "Keyword sets, for `text has NAME`.",
            "{询课: {any: [课程, 怎么报名]}}",
        ),
        key(
            "attributes",
            Holds::Named(&Holds::Either(&[Holds::Expression, Holds::Keys(&ATTRIBUTE)])),
            "What is known of a contact beyond tags: a profile field, `last(…)` or `first(…)` of an event, or one of the \
             forms below.",
            "{性别: profile.gender, 首单时间: first(order.paid), 会员等级: {type: text}}",
        ),
        key(
            "counters",
            Holds::Named(&Holds::Measure),
            "Counts and sums that are kept though no rule asks, so that people can.",
            "{近一月浏览: \"count(content.viewed, within=30d)\"}",
        ),
        key(
            "contents",
            Holds::List(&Holds::Keys(&CONTENT), 0),
            "What contents say beyond their id; a content that is only used needs no entry.",
            "[{id: 商品B, match: {product: B}}]",
        ),
        key(
            "segments",
            Holds::Named(&Holds::Condition),
            "Named conditions. Who is in is kept up to date, by time alone too.",
            "{杭州老板: tag(身份/老板) and attr(城市) = 杭州}",
        ),
        key(
            "boards",
            Holds::List(&Holds::Keys(&BOARD), 0),
            "Boards, each of one exclusive tag group of this playbook.",
            "[{id: 课程看板, group: 课程阶段}]",
        )
        .with(&["tag_groups"]),
        key(
            "rules",
            Holds::List(&Holds::Keys(&RULE), 0),
            "What happens when: in file order, each rule seeing what earlier ones wrote.",
            "[{id: pays, trigger: order.paid, do: [{set_tag: 商机/赢单}]}]",
        ),
        key(
            "journeys",
            Holds::List(&Holds::Keys(&JOURNEY), 0),
            "What falls due for whoever enters.",
            "[{id: 新客, entry: {trigger: order.paid}, steps: [{id: t1, after: 2h, touchpoint: dm, content: 感谢}]}]",
        ),
        key(
            "broadcasts",
            Holds::Anything,
            "Messages to a segment at one moment.",
            "[{id: bc1, audience: segment(老板名单)}]",
        )
        .not_yet(codes::NY_BROADCASTS),
        key(
            "metrics",
            Holds::List(&Holds::Keys(&METRIC), 0),
            "What is counted, per person and calendar period.",
            "[{id: 人均咨询, count: chat.message, per: [executor, calendar_month], target: \"> 20\"}]",
        ),
    ],
};

pub(crate) static METRIC: Keys = Keys {
    name: "metric",
    about: "A number per person and period.",
    count: Count::Any,
    keys: &[
        key("id", Holds::Id, ID, "人均咨询").required(),
        key("count", Holds::Trigger, "The events that count, each once.", "handoff.created(reason=主动咨询)")
            .required(),
        key("per", Holds::OneOrMany(&PER), "What it is divided by: the person, and one period at most.", "executor")
            .required(),
        key("target", Holds::Text, "What each number is to be: a comparison.", "\"> 20\""),
    ],
};

/// What a metric is divided by.
const PER: Holds = Holds::Words(&["executor", "calendar_day", "calendar_week", "calendar_month"]);

pub(crate) static TAG_GROUP: Keys = Keys {
    name: "tag group",
    about: "Tags that belong together.",
    count: Count::Any,
    keys: &[
        key("id", Holds::Id, ID, "课程阶段").required(),
        key("exclusive", Holds::Flag, "A contact has at most one of the tags.", "true").default("false"),
        key("ordered", Holds::Flag, "The tags are a ladder: rules move forward only.", "true")
            .default("false")
            .with(&["exclusive"]),
        key(
            "manual",
            Holds::Words(&["wins", "equal"]),
            "Whether rules leave alone what a person set or took off last.",
            "wins",
        )
        .default("equal"),
        key("tags", TAGS, "The tags, in the order of the ladder.", "[引流课, {id: 正价课, label: 199 正价课}]")
            .required(),
        key("off_ladder", TAGS, "Tags outside the order: any rule enters and leaves them.", "[流失]")
            .with(&["exclusive", "ordered"]),
    ],
};

pub(crate) static TAG: Keys = Keys {
    name: "tag",
    about: "A tag with a label; `考虑价格` alone is short for an id that is its own label.",
    count: Count::Any,
    keys: &[
        key("id", Holds::Id, ID, "Lead").required(),
        key("label", Holds::Text, "What people read.", "02-潜客").default("the id"),
    ],
};

pub(crate) static KEYWORDS: Keys = Keys {
    name: "keyword set",
    about: "Words that are looked for in texts. Text and keywords are folded alike; what is invisible (spaces without width, \
            joiners) is always left out of both.",
    count: Count::Any,
    keys: &[
        key("any", Holds::List(&Holds::Text, 1), "The keywords, of 2 to 100 characters each, not all of them blank: one is enough.", "[多少钱, 报价]")
            .required(),
        key(
            "fold",
            Holds::List(&Holds::Words(&["nfkc", "t2s", "lower"]), 0),
            "`nfkc`: full-width and composed signs; `t2s`: traditional characters as simplified; `lower`: small letters.",
            "[nfkc, lower]",
        )
        .default("[nfkc, t2s, lower]"),
    ],
};

pub(crate) static ATTRIBUTE: Keys = Keys {
    name: "attribute",
    about: "How an attribute comes about: one of these.",
    count: Count::One,
    keys: &[
        key(
            "months_since",
            Holds::Expression,
            "Calendar months completed since a date of the profile.",
            "profile.baby_birthday",
        ),
        key("days_since", Holds::Expression, "Calendar days since a date of the profile.", "profile.birthday"),
        key(
            "years_since",
            Holds::Expression,
            "Calendar years completed since a date of the profile.",
            "profile.birthday",
        ),
        key(
            "date_add",
            Holds::Keys(&DATE_ADD),
            "A date, so many days after an event.",
            "{from: last(order.paid), days: 30}",
        ),
        key("type", TYPE, "What it holds, when only the action `set_attr` sets it.", "text"),
    ],
};

pub(crate) static DATE_ADD: Keys = Keys {
    name: "date_add",
    about: "The calendar day of an event and so many days more, at the same clock time.",
    count: Count::Any,
    keys: &[
        key("from", Holds::Expression, "`last(…)` or `first(…)` of an event.", "last(order.paid)").required(),
        key(
            "days",
            Holds::Either(&[Holds::Whole(-36_500, 36_500), Holds::Expression]),
            "A whole number, at most 36 500 either way, or `sum_lines(…)` over the lines of the order.",
            "sum_lines(qty * product.days_per_unit)",
        )
        .required(),
    ],
};

pub(crate) static CONTENT: Keys = Keys {
    name: "content",
    about: "What a content says beyond its id.",
    count: Count::Any,
    keys: &[
        key("id", Holds::Id, ID, "商品B").required(),
        key("match", Holds::Keys(&MATCH), "What else stands for it: `content=` is true of it too.", "{product: B}"),
        key("links", Holds::Words(&["any_touchpoint"]), "It is one content wherever it is clicked.", "any_touchpoint")
            .default("any_touchpoint"),
        key(
            "eligible",
            Holds::Condition,
            "Looked at when a step of a journey is due: where it is false, the touch is skipped (`not_eligible`).",
            "not tag(身份/老板)",
        ),
    ],
};

pub(crate) static MATCH: Keys = Keys {
    name: "match",
    about: "What stands for a content.",
    count: Count::Any,
    keys: &[key("product", Holds::Text, "A product of the directory, by its items and skus.", "B").required()],
};

pub(crate) static BOARD: Keys = Keys {
    name: "board",
    about: "A tag group as columns.",
    count: Count::Any,
    keys: &[
        key("id", Holds::Id, ID, "课程看板").required(),
        key("label", Holds::Text, "What people read.", "课程进度").default("the id"),
        key("group", Holds::Id, "An exclusive tag group of this playbook, shown by no other board.", "课程阶段")
            .required(),
        key("columns", TEXTS, "Tags of the group that are columns.", "[正价课, 引流课]").default("all, in order"),
        key(
            "backward",
            Holds::Words(&["manual_only", "never"]),
            "Whether people may move a card backward, in an ordered group.",
            "never",
        )
        .default("manual_only"),
    ],
};

pub(crate) static RULE: Keys = Keys {
    name: "rule",
    about: "When something happens and a condition holds, something is done.",
    count: Count::Any,
    keys: &[
        key("id", Holds::Id, ID, "pays").required(),
        key(
            "for_each",
            Holds::List(&Holds::Named(&Holds::Text), 1),
            "The rule once for each entry, with `${key}` replaced in every text; at most 10 000.",
            "[{stage: 考虑价格}]",
        ),
        key(
            "trigger",
            TRIGGERS,
            "What it starts with; of a list, any.",
            "\"chat.message(direction=in, text has 价格)\"",
        )
        .required(),
        key("when", Holds::Condition, "What must hold, else nothing is done.", "not tag(商机/赢单)"),
        key(
            "do",
            Holds::List(&Holds::Keys(&ACTION), 1),
            "What is done, in order.",
            "[{set_tag: 商机/考虑价格}, {task: 回访}]",
        )
        .required(),
    ],
};

pub(crate) static ACTION: Keys = Keys {
    name: "action",
    about: "What a rule does: one per entry. `assign`, `handoff` and `task` each say one touch, due now.",
    count: Count::Some,
    keys: &[
        key("set_tag", Holds::Tag, "Sets a tag; in an ordered group only forward.", "商机/考虑价格"),
        key("allow", Holds::Words(&["backward"]), "Lets this `set_tag` of an ordered group move backward.", "backward")
            .with(&["set_tag"]),
        key("unset_tag", Holds::Tag, "Takes a tag away.", "身份/老板"),
        key(
            "set_attr",
            Holds::Named(&Holds::Text),
            "Sets an attribute that is declared with `type`.",
            "{备注等级: 高}",
        ),
        key(
            "assign",
            Holds::Keys(&ASSIGN),
            "Makes a member of staff the contact's owner.",
            "{by: round_robin, pool: dcc}",
        ),
        key(
            "handoff",
            Holds::Keys(&HANDOFF),
            "Hands the contact to a pool, to be taken up within a time.",
            "{to: sales, by: round_robin, sla: 1h, reason: 主动咨询}",
        ),
        key("task", Holds::Text, "Gives the owner something to do, within 24 h.", "拉入服务群"),
    ],
};

pub(crate) static ASSIGN: Keys = Keys {
    name: "assign",
    about: "Who becomes the owner. Nobody there: the touch is skipped (`no_staff`).",
    count: Count::Any,
    keys: &[
        key(
            "by",
            Holds::Words(&CHOICES),
            "Of a pool by turns, or whoever works in the store that the event names.",
            "round_robin",
        )
        .required()
        .with(&["pool"]),
        key("pool", Holds::Text, "The pool of the directory, for `round_robin`.", "dcc"),
    ],
};

pub(crate) static HANDOFF: Keys = Keys {
    name: "handoff",
    about: "Whom a contact is handed to.",
    count: Count::Any,
    keys: &[
        key("to", Holds::Text, "The pool of the directory.", "sales").required(),
        key("by", Holds::Words(&["round_robin"]), "By turns.", "round_robin").default("round_robin"),
        key("sla", Holds::Span, "Within which it is to be taken up.", "1h").default("24h"),
        key("reason", Holds::Text, "What the staff reads.", "主动咨询"),
    ],
};
