//! Steps: when, who, and what they do.

use super::Reader;
use super::nodes::Entries;
use crate::format::{ByHand, Doing, Edit, EventSpec, Given, Step, When};
use crate::values;
use touchline_model::command::{Migration, TagRef};
use touchline_model::id::IdKey;
use touchline_model::kind::Kind;
use touchline_model::taxonomy::{self, FieldType};
use touchline_model::time::Time;
use touchline_playbook::bundle::Operator;
use touchline_playbook::diagnostic::{Place, did_you_mean};
use touchline_playbook::syntax::{self, Happening, Test, Word};
use touchline_playbook::yaml::{Node, NodeKind, Scalar};

/// Keys of a step that are not people.
const STEP_KEYS: [&str; 10] =
    ["at", "after", "occurred", "link", "playbook", "playbooks", "directory", "migrate", "refused", "expect"];
/// Steps of one scenario: nobody reads more.
const STEPS_MAX: usize = 1_000;
/// Who moves cards and edits tags where the file does not say.
const BY: &str = "li";

impl Reader<'_> {
    pub(super) fn steps(&mut self, node: &Node) -> Vec<Step> {
        let mut steps = Vec::new();
        let nodes = self.list(node);
        for node in nodes {
            self.step(node, &mut steps);
        }
        if steps.len() > STEPS_MAX {
            self.wrong(node.place, format!("a scenario has at most {STEPS_MAX} steps"), None);
        }
        // What it says may be no moment: that has been reported.
        let says_when = |node: &Node| match &node.kind {
            NodeKind::Map(entries) => entries.iter().any(|(key, _)| key.text == "at"),
            _ => false,
        };
        if !steps.is_empty() && !nodes.first().is_some_and(says_when) {
            self.wrong(steps[0].place, "the first step says when: `at: 2026-12-01 09:00`".to_owned(), None);
        }
        self.people_exist(&steps);
        steps
    }

    fn step(&mut self, node: &Node, steps: &mut Vec<Step>) {
        let Some(map) = Entries::open(self, node) else { return };
        let at = map.take("at").map(|node| self.moment(node).map(When::At));
        let after = map.take("after").map(|node| self.span(node).map(When::After));
        if at.is_some() && after.is_some() {
            self.wrong(node.place, "a step has either `at` or `after`".to_owned(), None);
        }
        let occurred = map.take("occurred").and_then(|node| self.moment(node));
        let refused = map.take("refused").and_then(|node| self.text(node)).map(|code| code.text.clone());
        let migrations = map.take("migrate").map(|node| self.migrations(node)).unwrap_or_default();
        let mut doings: Vec<(Place, Doing)> = Vec::new();
        for (key, node) in map.entries {
            match key.text.as_str() {
                "link" => {
                    let people: Vec<String> = self.texts(node).into_iter().map(|name| self.person(name)).collect();
                    if people.len() != 2 {
                        self.wrong(node.place, "`link` names two: [小王, 小王有赞]".to_owned(), None);
                    }
                    doings.push((key.place, Doing::Link(people)));
                }
                "playbook" | "playbooks" | "directory" => {
                    let documents = self.documents(node);
                    let (migrations, refused) = (migrations.clone(), refused.clone());
                    doings.push((key.place, Doing::Load { documents, migrations, refused }));
                }
                "expect" => {
                    let (expectations, counts) = self.expectations(node);
                    if !expectations.is_empty() || counts.is_empty() {
                        doings.push((key.place, Doing::Expect(expectations)));
                    }
                    doings.extend((!counts.is_empty()).then_some((key.place, Doing::Count(counts))));
                }
                known if STEP_KEYS.contains(&known) => {}
                _ => {
                    for doing in self.happenings(key, node, (occurred, refused.as_deref())) {
                        doings.push((key.place, doing));
                    }
                }
            }
        }
        if doings.is_empty() {
            doings.push((node.place, Doing::Nothing));
        }
        let mut when = at.or(after).flatten();
        for (place, doing) in doings {
            steps.push(Step { place, when: when.take(), doing });
        }
    }

    /// `{商机/旧: 商机/新, 商机/废: ~}`
    fn migrations(&mut self, node: &Node) -> Vec<Migration> {
        let named = self.named(node).into_iter();
        let pairs = named.map(|(from, to)| (TagRef::parse(&from), to.map(|to| TagRef::parse(&to))));
        let migrations = pairs.map(|(from, to)| match (from, to) {
            (Some(from), None) => Some(Migration { from, to: None }),
            (Some(from), Some(Some(to))) => Some(Migration { from, to: Some(to) }),
            _ => None,
        });
        let migrations: Option<Vec<Migration>> = migrations.collect();
        if migrations.is_none() {
            let hint = Some("write {group/tag: group/tag}, or {group/tag: ~} where it is taken off".to_owned());
            self.wrong(node.place, "`migrate` names tags".to_owned(), hint);
        }
        migrations.unwrap_or_default()
    }

    /// Whoever is looked at is somebody to whom something happens.
    fn people_exist(&mut self, steps: &[Step]) {
        let known: Vec<String> = self.people.iter().map(|(name, _)| name.clone()).collect();
        for step in steps {
            let Doing::Expect(expectations) = &step.doing else { continue };
            for expectation in expectations.iter().filter(|wanted| !known.contains(&wanted.person)) {
                let hint = did_you_mean(&expectation.person, known.iter().map(String::as_str));
                self.wrong(step.place, format!("nothing happens to `{}`", expectation.person), hint);
            }
        }
    }

    /// What happens to one person, or several things in turn.
    fn happenings(&mut self, name: &Scalar, node: &Node, about: (Option<Time>, Option<&str>)) -> Vec<Doing> {
        match &node.kind {
            NodeKind::List(items) => items.iter().filter_map(|node| self.happening(name, node, about)).collect(),
            _ => self.happening(name, node, about).into_iter().collect(),
        }
    }

    fn happening(
        &mut self,
        name: &Scalar,
        node: &Node,
        (occurred, refused): (Option<Time>, Option<&str>),
    ) -> Option<Doing> {
        let has = |key: &str| match &node.kind {
            NodeKind::Map(entries) => entries.iter().any(|(have, _)| have.text == key),
            _ => false,
        };
        match &node.kind {
            NodeKind::Scalar(scalar) if scalar.text.contains('.') || scalar.text.contains('(') => {
                let person = self.person(name);
                self.short_event(person, scalar, occurred).map(Doing::Event)
            }
            NodeKind::Map(_) if has("event") => {
                let person = self.person(name);
                self.long_event(person, node, occurred).map(Doing::Event)
            }
            NodeKind::Map(_) if has("move_card") || has("edit_tags") => {
                let person = self.person(name);
                self.by_hand(person, node, refused).map(Doing::ByHand)
            }
            _ => {
                let hint = did_you_mean(&name.text, STEP_KEYS).unwrap_or_else(|| {
                    "write `name: chat.message(text=…)`, quoted inside {…}, or `name: {event: …}`, `{move_card: …}`, \
                     `{edit_tags: …}`"
                        .to_owned()
                });
                self.wrong(name.place, format!("`{}` does nothing that is known here", name.text), Some(hint));
                None
            }
        }
    }

    /// `chat.message(direction=in, text="多少钱")`
    fn short_event(&mut self, person: String, scalar: &Scalar, occurred: Option<Time>) -> Option<EventSpec> {
        let pattern = match syntax::trigger(&scalar.text) {
            Ok(Happening::Event(pattern)) => pattern,
            Ok(Happening::Call(call)) => {
                let message = format!("{}() follows from what people do: nobody does it", call.signature.name);
                self.wrong(scalar.place_of(call.at), message, None);
                return None;
            }
            Err(error) => {
                self.syntax(scalar, error);
                return None;
            }
        };
        let mut event = self.event(person, &pattern.event.text, scalar.place_of(pattern.event.at), occurred)?;
        for test in pattern.tests {
            let (name, place) = (test.field.text, scalar.place_of(test.field.at));
            let Test::Compare(Operator::Equal, Word { text, at }) = test.test else {
                let hint = Some("lists and records need the long form: {event: …, lines: […]}".to_owned());
                self.wrong(place, format!("`{name}` is given a value by `=`"), hint);
                continue;
            };
            self.field(&mut event, &name, place, Given::Word { text, place: scalar.place_of(at) });
        }
        Some(event)
    }

    /// `{event: order.paid, lines: [{outer_sku: c9, qty: 1}], paid_fen: 990}`
    fn long_event(&mut self, person: String, node: &Node, occurred: Option<Time>) -> Option<EventSpec> {
        let map = Entries::open(self, node)?;
        let name = map.take("event").and_then(|node| self.text(node))?;
        let mut event = self.event(person, &name.text, name.place, occurred)?;
        for (key, node) in map.entries {
            match key.text.as_str() {
                "event" => {}
                "as" => event.under = self.under(&event.person, node),
                "event_id" => event.id = self.text(node).map(|id| id.text.clone()),
                "touch" => event.touch = self.text(node).map(|step| step.text.clone()),
                _ => self.field(&mut event, &key.text, key.place, Given::Value(node.clone())),
            }
        }
        Some(event)
    }

    fn event(&mut self, person: String, name: &str, place: Place, occurred: Option<Time>) -> Option<EventSpec> {
        let kind = Kind::parse(name).filter(|kind| *kind != Kind::Custom);
        if kind.is_none() && !name.contains('.') {
            let hint = did_you_mean(name, Kind::ALL.iter().map(|kind| kind.name()));
            self.wrong(place, format!("`{name}` is not an event"), hint);
            return None;
        }
        Some(EventSpec {
            person,
            kind: kind.unwrap_or(Kind::Custom),
            custom_name: if kind.is_none() { name.to_owned() } else { String::new() },
            occurred,
            under: Vec::new(),
            id: None,
            touch: None,
            fields: Vec::new(),
        })
    }

    fn field(&mut self, event: &mut EventSpec, name: &str, place: Place, given: Given) {
        let is_time = event.kind == Kind::Custom || taxonomy::field(event.kind, name) == Some(FieldType::Time);
        let text = match &given {
            Given::Word { text, place } => Some((text, *place)),
            Given::Value(Node { kind: NodeKind::Scalar(scalar), .. }) => Some((&scalar.text, scalar.place)),
            Given::Value(_) => None,
        };
        if is_time && text.is_some_and(|(text, place)| self.unclear(text, place)) {
            return;
        }
        if event.kind != Kind::Custom && !matches!(name, "channel" | "account") {
            let checked = match values::type_of(event.kind, name) {
                Ok(ty) => values::built_in(ty, &given, self.zone).map(|_| ()),
                Err(known) => {
                    let hint = did_you_mean(name, known.iter().map(String::as_str))
                        .or_else(|| Some(format!("its fields are {}", known.join(", "))));
                    self.wrong(place, format!("`{}` has no field `{name}`", event.kind), hint);
                    return;
                }
            };
            if let Err((place, message)) = checked {
                self.wrong(place, message, None);
            }
        }
        event.fields.push((name.to_owned(), given));
    }

    /// The identifiers of the person that an event names.
    fn under(&mut self, person: &str, node: &Node) -> Vec<IdKey> {
        let known = self.people.iter().find(|(name, _)| name == person).map(|(_, ids)| ids.clone()).unwrap_or_default();
        let mut under = Vec::new();
        for word in self.texts(node) {
            match known.iter().find(|id| id.kind.name() == word.text) {
                Some(id) => under.push(id.clone()),
                None => self.wrong(word.place, format!("`{person}` has no `{}`", word.text), None),
            }
        }
        under
    }

    /// `{move_card: 商机看板, to: 赢单}` or `{edit_tags: {add: […], remove: […]}}`, `by`, `reason`.
    fn by_hand(&mut self, person: String, node: &Node, refused: Option<&str>) -> Option<ByHand> {
        let map = Entries::open(self, node)?;
        let by = map.take("by").and_then(|node| self.text(node)).map_or_else(|| BY.to_owned(), |by| by.text.clone());
        let reason = map.take("reason").and_then(|node| self.text(node)).map(|text| text.text.clone());
        let board = map.take("move_card").and_then(|node| self.text(node));
        let seen = map.take("seen").and_then(|node| self.text_or_nothing(node));
        let to = map.take("to").and_then(|node| self.text_or_nothing(node));
        let tags = map.take("edit_tags");
        let edit = match (board, to, tags) {
            (Some(board), Some(to), None) => Edit::Card { board: board.text.clone(), to, seen },
            (None, None, Some(node)) => self.edit_tags(node)?,
            _ => {
                let hint =
                    "write {move_card: board, to: column} or {edit_tags: {add: [group/tag], remove: [group/tag]}}";
                self.wrong(node.place, "expected one thing done by hand".to_owned(), Some(hint.to_owned()));
                return None;
            }
        };
        map.done(self, &["move_card", "to", "seen", "edit_tags", "by", "reason"]);
        let refused = refused.map(str::to_owned);
        Some(ByHand { person, by, reason: reason.unwrap_or_default(), edit, refused })
    }

    fn edit_tags(&mut self, node: &Node) -> Option<Edit> {
        let map = Entries::open(self, node)?;
        let add = map.take("add").map(|node| self.tags(node)).unwrap_or_default();
        let remove = map.take("remove").map(|node| self.tags(node)).unwrap_or_default();
        map.done(self, &["add", "remove"]);
        Some(Edit::Tags { add, remove })
    }

    pub(super) fn tags(&mut self, node: &Node) -> Vec<TagRef> {
        let mut tags = Vec::new();
        for scalar in self.texts(node) {
            match TagRef::parse(&scalar.text) {
                Some(tag) => tags.push(tag),
                None => {
                    let message = format!("`{}` is not a tag: write group/tag", scalar.text);
                    self.wrong(scalar.place, message, None);
                }
            }
        }
        tags
    }
}
