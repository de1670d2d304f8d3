//! A compiled bundle: what the engine, the read model and the tools evaluate.
//!
//! State refers to ids (`group/tag`, `playbook/journey/step`), never to positions in here.

use crate::attributes::Attribute;
use crate::keywords::Automaton;
use crate::listening::Listeners;
use crate::matching;
use crate::measure::{Now, Quantity};
pub use crate::metrics::Metric;
use crate::tally::Tallied;
pub use crate::waits::{Reply, Wait};
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::command::{PlaybookSource, TagRef};
use touchline_model::past::Past;
use touchline_model::time::{ClockTime, Span, Time, Zone};
use touchline_model::value::{Number, Value};

/// The active playbooks of one tenant under one number, in file order.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Number given by partition 0; 0 while not activated (validation, replay before activation).
    pub number: u64,
    /// The sources it was compiled from, in file order: the bundle lies whole in the log.
    pub sources: Vec<PlaybookSource>,
    /// Compiled, in file order.
    pub playbooks: Vec<Playbook>,
    /// Tag groups by id: each has exactly one owner.
    pub groups: BTreeMap<String, TagGroup>,
    /// Boards by id.
    pub boards: BTreeMap<String, Board>,
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// What is counted, by key.
    pub tallies: BTreeMap<u64, Tallied>,
    /// What is counted for people only, by `playbook/counter`.
    pub counters: BTreeMap<String, Quantity>,
    /// Contents that say more than their id.
    pub contents: BTreeMap<String, Content>,
    /// Answers that are asked about, by key.
    pub replies: BTreeMap<u64, Reply>,
    /// What is waited for, by key.
    pub waits: BTreeMap<u64, Wait>,
    /// Named segments by id, references already resolved.
    pub segments: BTreeMap<String, Condition>,
    /// Rules of all playbooks in file order.
    pub rules: Vec<Rule>,
    /// Journeys of all playbooks in file order.
    pub journeys: Vec<Journey>,
    /// Metrics of all playbooks in file order.
    pub metrics: Vec<Metric>,
    /// Event name → indexes into `metrics` that count such events, ascending.
    pub metrics_by_event: BTreeMap<String, Vec<usize>>,
    /// What `rules` listen to.
    pub rules_listening: Listeners,
    /// What changes → segments that it may concern.
    pub segments_by_input: BTreeMap<Input, BTreeSet<String>>,
    /// Keys of the dates in `waits`, ascending.
    pub dates: Vec<u64>,
    /// Event name → keys of the silences in `waits` that such an event may start or break.
    pub waits_by_event: BTreeMap<String, Vec<u64>>,
    /// Event name → keys of `tallies` that count such events, ascending.
    pub tallies_by_event: BTreeMap<String, Vec<u64>>,
    /// Event name → names of `attributes` that such an event computes.
    pub computed_by_event: BTreeMap<String, Vec<String>>,
    /// Names of profile fields that are kept (`city` of `profile.city`).
    pub profile_fields: BTreeSet<String>,
    /// What `journeys` listen to: entries, exits and goals.
    pub journeys_listening: Listeners,
    /// `playbook/journey` → index into `journeys`, of those that end when a condition holds.
    pub exits: BTreeMap<String, usize>,
    /// All keywords of all sets in one automaton.
    pub keywords: Automaton,
}

impl Bundle {
    /// Whether a group of the playbooks has this tag.
    pub fn has_tag(&self, tag: &TagRef) -> bool {
        self.groups.get(&tag.group).is_some_and(|group| group.tags.iter().any(|known| known.id == tag.tag))
    }

    /// The boards that show a tag group: one at most, as the compiler refuses two.
    pub fn boards_of_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Board> {
        self.boards.values().filter(move |board| board.group == group)
    }

    /// A journey by its playbook and id.
    pub fn journey(&self, playbook: &str, id: &str) -> Option<&Journey> {
        self.journeys.iter().find(|journey| journey.playbook == playbook && journey.id == id)
    }

    /// How many times a tally keeps.
    pub fn keeps(&self, tally: u64) -> usize {
        self.tallies.get(&tally).map_or(touchline_model::past::KEEP_MAX, Tallied::keep)
    }

    /// The columns of a board, in order; empty when there is no such board.
    pub fn stage_columns(&self, board: &str) -> &[String] {
        self.boards.get(board).map_or(&[], |board| &board.columns)
    }
}

/// One playbook's own declarations.
#[derive(Debug, Clone)]
pub struct Playbook {
    /// Its id.
    pub id: String,
    /// Zone of its calendar days.
    pub zone: Zone,
    /// Its version, as it says itself: what `uses` of others pins.
    pub version: u32,
    /// Playbooks whose names it takes over.
    pub uses: Vec<String>,
    /// Custom events it declares, with their fields' types.
    pub events: BTreeMap<String, BTreeMap<String, CustomType>>,
}

/// Type of a custom event's field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CustomType {
    Text,
    Number,
    Bool,
    Time,
}

/// A group of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagGroup {
    /// Its id.
    pub id: String,
    /// The playbook that owns it.
    pub playbook: String,
    /// At most one tag at a time, swapped in one step.
    pub exclusive: bool,
    /// Rules move forward only, along the ladder.
    pub ordered: bool,
    /// What a person has set no rule changes.
    pub manual_wins: bool,
    /// Tags in order, with their labels; those off the ladder last.
    pub tags: Vec<Labelled>,
    /// How many of them are on the ladder.
    pub ladder_len: usize,
}

impl TagGroup {
    /// The tag's place on the ladder, from 0; `None` off the ladder.
    pub fn rank(&self, tag: &str) -> Option<usize> {
        self.tags[..self.ladder_len].iter().position(|known| known.id == tag)
    }

    /// Whether going from one tag to another is a step back on the ladder.
    pub fn is_backward(&self, from: &str, to: &str) -> bool {
        self.ordered && matches!((self.rank(from), self.rank(to)), (Some(from), Some(to)) if to < from)
    }
}

/// An id that stays and a label that may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// What state refers to.
    pub id: String,
    /// What people read.
    pub label: String,
}

/// A view of one exclusive tag group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// Its id.
    pub id: String,
    /// What people read.
    pub label: String,
    /// The playbook that owns it.
    pub playbook: String,
    /// The exclusive group it shows.
    pub group: String,
    /// Tag ids shown as columns, in order.
    pub columns: Vec<String>,
    /// Whether people may move a card backward, where the group is ordered.
    pub backward: bool,
}

/// Rounds of rules per record. Circles are refused, of longer chains the compiler warns; what this cuts off is counted.
pub const ROUNDS_MAX: usize = 8;

/// A rule: when one of the triggers happens and the condition holds, act.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its id inside the playbook.
    pub id: String,
    /// The playbook.
    pub playbook: String,
    /// Any of these.
    pub triggers: Vec<Trigger>,
    /// Must hold as well.
    pub when: Option<Condition>,
    /// In order.
    pub actions: Vec<Action>,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sets a tag; in an exclusive group it takes the place of the others, in an ordered one only forward.
    SetTag {
        /// Which.
        tag: TagRef,
        /// Backward as well.
        backward: bool,
    },
    /// Unsets a tag.
    UnsetTag(TagRef),
    /// Makes a staff member the contact's owner.
    Assign(Assignee),
    /// Hands the contact over to a staff member, who has to take it up in time.
    Handoff {
        /// Who.
        to: Assignee,
        /// How soon.
        sla: Span,
        /// Why.
        reason: String,
    },
    /// Something for the owner to do.
    Task(String),
    /// Sets an attribute.
    SetAttribute {
        /// Its name.
        attribute: String,
        /// To what.
        value: Value,
    },
}

/// Who is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignee {
    /// Active staff of this pool, in turn.
    Pool(String),
    /// Active staff of the store that the event names, in turn.
    Store,
}

/// What content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// It stands for this product, wherever that is seen.
    pub product: Option<String>,
    /// Goes out only to whom this holds for.
    pub eligible: Option<Condition>,
}

/// Something that happens.
#[derive(Debug, Clone)]
pub enum Trigger {
    /// An event that fits a pattern.
    Event(Pattern),
    /// A tag is set (net, after all rules of the round).
    TagSet(TagMatch),
    /// A tag is unset.
    TagUnset(TagMatch),
    /// A card enters a column.
    StageEntered {
        /// Board id.
        board: String,
        /// Column.
        column: String,
    },
    /// A card leaves a column.
    StageLeft {
        /// Board id.
        board: String,
        /// Column.
        column: String,
    },
    /// The contact comes into a segment.
    SegmentEntered(String),
    /// The contact leaves a segment.
    SegmentLeft(String),
    /// What is waited for has come: its key.
    Wait(u64),
    /// A touch is answered: the key of the answer.
    Replied(u64),
}

/// What a segment's membership depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// Events of this name.
    Event(String),
    /// Tags of this group.
    Group(String),
    /// An attribute that actions set.
    Attribute(String),
}

/// One tag, or any of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagMatch {
    /// Group id.
    pub group: String,
    /// Tag id; `None` for `group/*`.
    pub tag: Option<String>,
}

impl TagMatch {
    /// Whether this tag is meant.
    pub fn fits(&self, group: &str, tag: &str) -> bool {
        self.group == group && self.tag.as_deref().is_none_or(|mine| mine == tag)
    }
}

/// An event kind with tests that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Event name, built in or declared.
    pub event: String,
    /// All must hold.
    pub tests: Vec<FieldTest>,
}

/// A test of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldTest {
    /// A comparison; false when the field is missing, except `!=`, which is `not =`.
    Compare {
        /// Dotted path.
        field: String,
        /// How.
        operator: Operator,
        /// With what.
        value: Value,
    },
    /// Any of these values.
    In {
        /// Dotted path.
        field: String,
        /// The values.
        values: Vec<Value>,
    },
    /// Within, both ends included.
    Range {
        /// Dotted path.
        field: String,
        /// Lowest.
        low: Number,
        /// Highest.
        high: Number,
    },
    /// The field is there and not empty.
    Has {
        /// Dotted path.
        field: String,
        /// Of this type, where a playbook declares one.
        of: Option<CustomType>,
    },
    /// The text contains a keyword of this set.
    Keyword {
        /// Dotted path of the text.
        field: String,
        /// Keyword set id, unique in the bundle as `playbook/set`.
        keywords: String,
    },
    /// Some order line fits: the inner test is on the line's fields.
    AnyLine(Box<FieldTest>),
    /// A product fits that some order line, or the item or content of the event, belongs to.
    Product {
        /// Of the order's lines.
        of_lines: bool,
        /// On the product's id.
        test: Box<FieldTest>,
    },
    /// The kind of the event's group fits.
    GroupKind(Box<FieldTest>),
    /// The event is about one of these contents, or about the product that one of them stands for.
    Content {
        /// Ids, with products.
        contents: Vec<(String, Option<String>)>,
        /// Whether it is to be; otherwise it is to be about none of them.
        is: bool,
    },
}

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Something that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// All hold (empty: true).
    And(Vec<Condition>),
    /// Any holds (empty: false).
    Or(Vec<Condition>),
    /// Does not hold.
    Not(Box<Condition>),
    /// The contact carries the tag, or any of the group.
    Tag(TagMatch),
    /// The contact's card is in one of these columns of the board.
    Stage {
        /// Board id.
        board: String,
        /// Its group.
        group: String,
        /// Columns.
        columns: Vec<String>,
    },
    /// The contact is in such a group.
    InGroup(GroupMatch),
    /// The contact has answered a touch like this: written out, and its key.
    Replied(String, u64),
    /// A quantity of its past compares like this; the test's field says nothing.
    Compare(Quantity, FieldTest),
}

/// Groups that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupMatch {
    /// The one with this native id, or of this name in the directory.
    Named(String),
    /// Any of this kind in the directory.
    Kind(String),
}

/// What a condition may ask of a contact.
pub trait Facts {
    /// Whether the contact carries this tag.
    fn has_tag(&self, group: &str, tag: &str) -> bool;
    /// Whether the contact carries any tag of the group.
    fn has_any_tag(&self, group: &str) -> bool;
    /// What its past has left behind.
    fn past(&self) -> &Past;
}

impl Condition {
    /// Whether it holds for a contact now.
    pub fn holds(&self, facts: &dyn Facts, now: Now<'_>) -> bool {
        match self {
            Self::And(terms) => terms.iter().all(|term| term.holds(facts, now)),
            Self::Or(terms) => terms.iter().any(|term| term.holds(facts, now)),
            Self::Not(term) => !term.holds(facts, now),
            Self::Tag(TagMatch { group, tag: Some(tag) }) => facts.has_tag(group, tag),
            Self::Tag(TagMatch { group, tag: None }) => facts.has_any_tag(group),
            Self::Stage { group, columns, .. } => columns.iter().any(|column| facts.has_tag(group, column)),
            Self::InGroup(wanted) => facts.past().groups.iter().any(|(id, known)| {
                known.inside
                    && match wanted {
                        GroupMatch::Named(name) => now.directory.is_group(id, name),
                        GroupMatch::Kind(kind) => now.directory.group_kind(id) == Some(kind),
                    }
            }),
            Self::Replied(_, key) => facts.past().tallies.contains_key(key),
            Self::Compare(quantity, test) => matching::value_fits(test, quantity.value(facts.past(), now.at).as_ref()),
        }
    }

    /// A moment after `now` before which time alone does not change whether it holds; `None`: time never does.
    pub fn next_change(&self, facts: &dyn Facts, now: Now<'_>) -> Option<Time> {
        match self {
            Self::And(terms) | Self::Or(terms) => terms.iter().filter_map(|term| term.next_change(facts, now)).min(),
            Self::Not(term) => term.next_change(facts, now),
            Self::Tag(_) | Self::Stage { .. } | Self::InGroup(_) | Self::Replied(..) => None,
            Self::Compare(quantity, test) => quantity.next_change(test, facts.past(), now.at),
        }
    }

    /// Whether time alone can change it.
    pub fn ages(&self) -> bool {
        match self {
            Self::And(terms) | Self::Or(terms) => terms.iter().any(Self::ages),
            Self::Not(term) => term.ages(),
            Self::Tag(_) | Self::Stage { .. } | Self::InGroup(_) | Self::Replied(..) => false,
            Self::Compare(quantity, _) => quantity.ages(),
        }
    }
}

/// A journey (SOP).
#[derive(Debug, Clone)]
pub struct Journey {
    /// Its id inside the playbook.
    pub id: String,
    /// The playbook.
    pub playbook: String,
    /// Zone of its calendar days.
    pub zone: Zone,
    /// Any of these enters.
    pub entry: Vec<Trigger>,
    /// Must hold at entry as well.
    pub entry_when: Option<Condition>,
    /// Any of these ends it at once, also while waiting.
    pub exit: Vec<Trigger>,
    /// When it holds after a record, it ends; at entry it refuses the entry.
    pub exit_when: Option<Condition>,
    /// What it is for.
    pub goal: Option<Goal>,
    /// Whether one may enter again.
    pub re_entry: ReEntry,
    /// A step later than this when its turn comes is skipped.
    pub late_grace: Span,
    /// In order.
    pub steps: Vec<Step>,
}

/// What a journey is for: reaching it ends the journey with `goal`.
#[derive(Debug, Clone)]
pub struct Goal {
    /// Any of these reaches it.
    pub triggers: Vec<Trigger>,
    /// Counted from entry; `None`: as long as the enrolment lasts.
    pub within: Option<Span>,
}

/// Whether a contact may enter a journey again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReEntry {
    /// Once in a lifetime.
    Never,
    /// So long after the last enrolment ended.
    AfterExit(Span),
    /// On each entry trigger; a running enrolment ends with `re_entered` first.
    Each,
}

/// A step: one touch.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its id inside the journey.
    pub id: String,
    /// When.
    pub timing: Timing,
    /// Only if it holds when due; otherwise `skipped{condition}`.
    pub when: Option<Condition>,
    /// `dm`, `moments`, `group`, `call_task`…
    pub touchpoint: String,
    /// Content id.
    pub content: String,
    /// An unconfirmed touch is missed so long after due.
    pub expires_after: Span,
}

/// When a step is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// So long after the previous step's due, or after entry for the first.
    After(Span),
    /// On the calendar day `day` days after the day of entry, at this clock time.
    Day {
        /// 0 is the day of entry.
        day: u32,
        /// In the journey's zone.
        at: ClockTime,
    },
}
