//! Who listens to what: what happens asks only those that it may concern.
//!
//! An event pattern is found by one of its tests: a test for a keyword, or that a field is, or is one of, some values.
//! Of several it is the one that the fewest share, so that `direction=in` beside a keyword does not count. Whoever is
//! found may listen; whether the whole pattern fits is asked of it.

use crate::bundle::{FieldTest, Operator, Pattern, Trigger};
use crate::keywords::Scan;
use crate::matching;
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::kind::Kind;
use touchline_model::value::Value;

/// What triggers of rules or of journeys listen to; each is known by its place in the bundle.
#[derive(Debug, Clone, Default)]
pub struct Listeners {
    /// Event name → those with such a trigger.
    events: BTreeMap<String, OfEvent>,
    /// What else can happen → those with such a trigger, ascending.
    heard: BTreeMap<Heard, Vec<usize>>,
}

#[derive(Debug, Clone, Default)]
struct OfEvent {
    /// Those that any such event may concern, ascending.
    any: Vec<usize>,
    /// What is asked of the event → value → those that listen to it.
    asked: BTreeMap<Asked, BTreeMap<String, Vec<usize>>>,
}

/// What happens besides events, as triggers name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heard {
    /// A tag of the group is set; without a tag: any.
    TagSet(String, Option<String>),
    /// A tag of the group is unset; without a tag: any.
    TagUnset(String, Option<String>),
    /// A card enters the board's column.
    StageEntered(String, String),
    /// A card leaves the board's column.
    StageLeft(String, String),
    /// Into a segment.
    SegmentEntered(String),
    /// Out of it.
    SegmentLeft(String),
    /// A wait is over.
    Wait(u64),
}

/// Of what an event is asked whether it has a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    /// A field, by its dotted path.
    Field(String),
    /// A field of any order line.
    Line(String),
    /// A product: of any order line, or of what the event is about.
    Product { of_lines: bool },
    /// The kind of its group.
    GroupKind,
    /// The content that it names.
    Content,
    /// A text: keyword sets of which it has one.
    Text(String),
}

impl Listeners {
    /// Of each listener, in order, all its triggers.
    pub(crate) fn new<'t, T: IntoIterator<Item = &'t Trigger>>(all: impl Iterator<Item = T> + Clone) -> Self {
        let mut shared: BTreeMap<(&str, Asked, String), usize> = BTreeMap::new();
        for trigger in all.clone().flatten() {
            let Trigger::Event(pattern) = trigger else { continue };
            for (asked, value) in pattern.tests.iter().filter_map(asks).flatten() {
                *shared.entry((&pattern.event, asked, value)).or_default() += 1;
            }
        }
        let mut listeners = Self::default();
        for (at, triggers) in all.enumerate() {
            for trigger in triggers {
                match trigger {
                    Trigger::Event(pattern) => listeners.listen(at, pattern, &shared),
                    Trigger::Replied(_) => {
                        let of_event = listeners.events.entry(Kind::ChatMessage.name().to_owned()).or_default();
                        add(&mut of_event.any, at);
                    }
                    trigger => {
                        if let Some(heard) = Heard::of(trigger) {
                            add(listeners.heard.entry(heard).or_default(), at);
                        }
                    }
                }
            }
        }
        listeners
    }

    fn listen<'t>(&mut self, at: usize, pattern: &'t Pattern, shared: &BTreeMap<(&'t str, Asked, String), usize>) {
        let of_event = self.events.entry(pattern.event.clone()).or_default();
        let share = |asks: &Vec<(Asked, String)>| {
            let of = |(asked, value): &(Asked, String)| {
                shared.get(&(pattern.event.as_str(), asked.clone(), value.clone())).copied()
            };
            asks.iter().filter_map(of).max()
        };
        match pattern.tests.iter().filter_map(asks).min_by_key(share) {
            None => add(&mut of_event.any, at),
            Some(asks) => {
                for (asked, value) in asks {
                    add(of_event.asked.entry(asked).or_default().entry(value).or_default(), at);
                }
            }
        }
    }

    /// Those that the event of a scan may concern, ascending.
    pub fn to_event(&self, scan: &mut Scan<'_>) -> Vec<usize> {
        let Some(of_event) = self.events.get(scan.event().name()) else { return Vec::new() };
        let mut listening = of_event.any.clone();
        for (asked, by_value) in &of_event.asked {
            for value in matching::values(asked, scan) {
                listening.extend(by_value.get(&*value).into_iter().flatten());
            }
        }
        listening.sort_unstable();
        listening.dedup();
        listening
    }

    /// Those that something else concerns, ascending.
    pub fn to(&self, heard: &Heard) -> &[usize] {
        self.heard.get(heard).map_or(&[], Vec::as_slice)
    }
}

impl Heard {
    /// What a trigger listens to that is not an event's.
    fn of(trigger: &Trigger) -> Option<Self> {
        Some(match trigger {
            Trigger::Event(_) | Trigger::Replied(_) => return None,
            Trigger::TagSet(tags) => Self::TagSet(tags.group.clone(), tags.tag.clone()),
            Trigger::TagUnset(tags) => Self::TagUnset(tags.group.clone(), tags.tag.clone()),
            Trigger::StageEntered { board, column } => Self::StageEntered(board.clone(), column.clone()),
            Trigger::StageLeft { board, column } => Self::StageLeft(board.clone(), column.clone()),
            Trigger::SegmentEntered(segment) => Self::SegmentEntered(segment.clone()),
            Trigger::SegmentLeft(segment) => Self::SegmentLeft(segment.clone()),
            Trigger::Wait(key) => Self::Wait(*key),
        })
    }
}

/// In ascending order, each once.
fn add(listening: &mut Vec<usize>, at: usize) {
    if listening.last() != Some(&at) {
        listening.push(at);
    }
}

/// Values of which an event that fits the test has at least one; `None` when that is not how it tests.
fn asks(test: &FieldTest) -> Option<Vec<(Asked, String)>> {
    let equal = |asked: Asked, test: &FieldTest| {
        let values = match test {
            FieldTest::Compare { operator: Operator::Equal, value, .. } => std::slice::from_ref(value),
            FieldTest::In { values, .. } => values,
            _ => return None,
        };
        // Numbers are equal however they are written.
        let written = |value: &Value| match value {
            Value::Text(text) => Some((asked.clone(), text.clone())),
            Value::Bool(yes) => Some((asked.clone(), yes.to_string())),
            _ => None,
        };
        values.iter().map(written).collect::<Option<BTreeSet<_>>>().map(|values| values.into_iter().collect())
    };
    match test {
        FieldTest::Compare { field, .. } | FieldTest::In { field, .. } => equal(Asked::Field(field.clone()), test),
        FieldTest::AnyLine(inner) => match &**inner {
            FieldTest::Compare { field, .. } | FieldTest::In { field, .. } => equal(Asked::Line(field.clone()), inner),
            _ => None,
        },
        FieldTest::Product { of_lines, test } => equal(Asked::Product { of_lines: *of_lines }, test),
        FieldTest::GroupKind(test) => equal(Asked::GroupKind, test),
        FieldTest::Keyword { field, keywords } => Some(vec![(Asked::Text(field.clone()), keywords.clone())]),
        FieldTest::Content { contents, is: true } => {
            let one = |(content, product): &(String, Option<String>)| {
                let product = product.clone().map(|product| (Asked::Product { of_lines: false }, product));
                [(Asked::Content, content.clone())].into_iter().chain(product)
            };
            Some(contents.iter().flat_map(one).collect())
        }
        FieldTest::Content { is: false, .. } | FieldTest::Range { .. } | FieldTest::Has { .. } => None,
    }
}
