//! From the syntax tree to what is evaluated: names, types, and what is not evaluated yet.

use crate::attributes::Attribute;
use crate::bundle::{Board, Condition, CustomType, FieldTest, Operator, Pattern, TagGroup, TagMatch, Trigger};
use crate::clocks::Clocks;
use crate::codes::{self, Code};
use crate::diagnostic::did_you_mean;
use crate::syntax::{self, Argument, Call, EventPattern, Expression, Happening, SyntaxError, TERMS_MAX, Test, Word};
use crate::tally::Tallied;
use crate::waits::{Reply, Wait};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::event::Channel;
use touchline_model::kind::{HANDOFF_CREATED, HANDOFF_FIELDS, Kind};
use touchline_model::taxonomy::{self, FieldType, OpenSet};
use touchline_model::time::{Time, Zone};
use touchline_model::value::{Number, Value};

/// What names mean where an expression stands.
pub(crate) struct Names<'a> {
    /// The playbook the expression stands in; `None`: the whole bundle may be named.
    pub(crate) playbook: Option<&'a str>,
    /// The playbooks whose names it takes over.
    pub(crate) uses: &'a [String],
    pub(crate) zone: Zone,
    pub(crate) clocks: &'a Clocks,
    pub(crate) groups: &'a BTreeMap<String, TagGroup>,
    pub(crate) boards: &'a BTreeMap<String, Board>,
    /// Segments whose meaning is known.
    pub(crate) segments: &'a BTreeMap<String, Condition>,
    /// Every declared segment with its playbook, known or refused; `None`: only the known ones.
    pub(crate) segment_owners: Option<&'a BTreeMap<String, String>>,
    /// `playbook/set`.
    pub(crate) keyword_sets: &'a BTreeSet<String>,
    pub(crate) events: &'a BTreeMap<String, BTreeMap<String, CustomType>>,
    pub(crate) attributes: &'a BTreeMap<String, Attribute>,
    /// Contents that stand for a product.
    pub(crate) contents: &'a BTreeMap<String, String>,
    pub(crate) tallies: Tallies<'a>,
    /// What is waited for; triggers stand only in playbooks.
    pub(crate) waits: Option<&'a RefCell<BTreeMap<u64, Wait>>>,
    /// Answers that are asked about.
    pub(crate) replies: Replies<'a>,
    /// Terms of segments that were put into conditions so far.
    pub(crate) put_in: &'a Cell<usize>,
    /// `journey/step` of every step, with the playbook of its journey.
    pub(crate) touches: &'a BTreeMap<String, String>,
    /// Custom events and contents, with the playbooks that declare them.
    pub(crate) owners: &'a Owners,
}

/// Which playbooks declare what has no other place for it.
#[derive(Default)]
pub(crate) struct Owners {
    /// Custom events: several playbooks may declare the same.
    pub(crate) events: BTreeMap<String, BTreeSet<String>>,
    /// Contents that say more than their id.
    pub(crate) contents: BTreeMap<String, String>,
}

impl Owners {
    /// The playbook that declares a content, where that is neither this one nor one that it uses.
    pub(crate) fn foreign_content(&self, content: &str, playbook: &str, uses: &[String]) -> Option<&str> {
        let owner = self.contents.get(content)?;
        (owner != playbook && !uses.contains(owner)).then_some(owner)
    }
}

/// Answers that are asked about.
#[derive(Clone, Copy)]
pub(crate) enum Replies<'a> {
    /// Whatever an expression asks about is noticed from now on.
    Collected(&'a RefCell<BTreeMap<u64, Reply>>),
    /// Only what is noticed already.
    Known(&'a BTreeMap<u64, Reply>),
}

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Tallies<'a> {
    /// Whatever an expression asks for is counted from now on.
    Collected(&'a RefCell<BTreeMap<u64, Tallied>>),
    /// Only what is counted already can be asked for.
    Known(&'a BTreeMap<u64, Tallied>),
}

/// Terms of segments that conditions of one bundle repeat: each is a copy.
const PUT_IN_MAX: usize = 200_000;
/// Suggestions per expression.
const SUGGESTIONS_MAX: usize = 20;
/// What to write where somebody asks for the value of an order's lines.
const OF_LINES: &str = "name a field of the event, as in sum(paid_fen, order.paid(any_line.sku = a1), within=30d); lines are \
                        summed up only for a date: `date_add: {from: last(order.paid), days: sum_lines(qty)}`";
/// Deepest condition after segments are put in.
const DEPTH_MAX: usize = 64;

/// Resolves one expression; `None` results have their reason in `problems`, or were refused elsewhere.
pub(crate) struct Resolver<'a> {
    pub(crate) names: &'a Names<'a>,
    pub(crate) problems: Vec<SyntaxError>,
    terms: usize,
    /// Hand-overs may be named.
    handoffs: bool,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(names: &'a Names<'a>) -> Self {
        Self { names, problems: Vec::new(), terms: 0, handoffs: false }
    }

    /// One for which `handoff.created` is an event like others.
    pub(crate) fn with_handoffs(self) -> Self {
        Self { handoffs: true, ..self }
    }

    pub(crate) fn condition(&mut self, expression: &Expression) -> Option<Condition> {
        let out = self.part(expression)?;
        if depth(&out) > DEPTH_MAX {
            let message = format!("with its segments put in, the condition is nested deeper than {DEPTH_MAX}");
            return self.wrong(codes::TOO_DEEP, 0, message, None);
        }
        Some(out)
    }

    fn part(&mut self, expression: &Expression) -> Option<Condition> {
        match expression {
            Expression::And(parts) => self.parts(parts).map(Condition::And),
            Expression::Or(parts) => self.parts(parts).map(Condition::Or),
            Expression::Not(part) => Some(Condition::Not(Box::new(self.part(part)?))),
            Expression::Term(call, test) => self.term(call, test.as_ref()),
        }
    }

    /// All of them, so that every problem is found.
    fn parts(&mut self, parts: &[Expression]) -> Option<Vec<Condition>> {
        let resolved: Vec<Option<Condition>> = parts.iter().map(|part| self.part(part)).collect();
        resolved.into_iter().collect()
    }

    fn term(&mut self, call: &Call, test: Option<&Test>) -> Option<Condition> {
        self.terms += 1;
        match (call.signature.name, call.arguments.first(), test) {
            ("tag", Some(Argument::Path(group, tag)), _) => self.tag(group, tag.as_ref()).map(Condition::Tag),
            ("stage", Some(Argument::Name(board)), Some(test)) => self.stage(board, test),
            ("segment", Some(Argument::Name(name)), _) => self.segment(name),
            ("count" | "sum" | "age" | "attr", _, Some(test)) => self.quantity(call, test),
            ("none", ..) => self.none_of(call),
            ("replied", Some(Argument::Path(journey, Some(step))), _) => {
                let (reply, key) = self.replied(call, journey, step)?;
                Some(Condition::Replied(reply.write(), key))
            }
            ("in_group", ..) => self.in_group(call),
            (name, ..) => self.not_yet(not_yet(name), call.at),
        }
    }

    pub(crate) fn trigger(&mut self, happening: &Happening) -> Option<Trigger> {
        let call = match happening {
            Happening::Event(pattern) => {
                self.handoffs = true;
                return self.pattern(pattern).map(Trigger::Event);
            }
            Happening::Call(call) => call,
        };
        match (call.signature.name, call.arguments.first()) {
            ("tag_set", Some(Argument::Path(group, tag))) => self.tag(group, tag.as_ref()).map(Trigger::TagSet),
            ("tag_unset", Some(Argument::Path(group, tag))) => self.tag(group, tag.as_ref()).map(Trigger::TagUnset),
            ("stage_entered", Some(Argument::Path(board, Some(column)))) => {
                let (board, column) = self.card(board, column)?;
                Some(Trigger::StageEntered { board, column })
            }
            ("stage_left", Some(Argument::Path(board, Some(column)))) => {
                let (board, column) = self.card(board, column)?;
                Some(Trigger::StageLeft { board, column })
            }
            ("segment_entered", Some(Argument::Name(name))) => {
                self.segment(name).map(|_| Trigger::SegmentEntered(name.text.clone()))
            }
            ("segment_left", Some(Argument::Name(name))) => {
                self.segment(name).map(|_| Trigger::SegmentLeft(name.text.clone()))
            }
            ("silence", Some(Argument::Patterns(patterns))) => self.silence(call, patterns),
            ("replied", Some(Argument::Path(journey, Some(step)))) => {
                self.replied(call, journey, step).map(|(_, key)| Trigger::Replied(key))
            }
            ("not_replied", Some(Argument::Path(journey, Some(step)))) => self.not_replied(call, journey, step),
            ("reached", Some(Argument::Shifted(attribute, shift))) => self.reached(attribute, shift.as_ref()),
            (name, _) => self.not_yet(not_yet(name), call.at),
        }
    }

    pub(crate) fn tag(&mut self, group: &Word, tag: Option<&Word>) -> Option<TagMatch> {
        let groups = self.names.groups;
        let Some(found) = groups.get(&group.text) else {
            return self.undefined(codes::UNDEFINED_TAG, "tag group", group, groups.keys().map(String::as_str));
        };
        self.owned("tag group", group, &found.playbook)?;
        if let Some(tag) = tag
            && !found.tags.iter().any(|have| have.id == tag.text)
        {
            let hint = self.suggest(&tag.text, found.tags.iter().map(|have| have.id.as_str()));
            let message = format!("group `{}` has no tag `{}`", group.text, tag.text);
            return self.wrong(codes::UNDEFINED_TAG, tag.at, message, hint);
        }
        Some(TagMatch { group: group.text.clone(), tag: tag.map(|tag| tag.text.clone()) })
    }

    fn card(&mut self, board: &Word, column: &Word) -> Option<(String, String)> {
        let found = self.board(board)?;
        self.column(found, column)?;
        Some((board.text.clone(), column.text.clone()))
    }

    fn board(&mut self, board: &Word) -> Option<&'a Board> {
        let boards = self.names.boards;
        let Some(found) = boards.get(&board.text) else {
            return self.undefined(codes::UNDEFINED_BOARD, "board", board, boards.keys().map(String::as_str));
        };
        self.owned("board", board, &found.playbook)?;
        Some(found)
    }

    fn column(&mut self, board: &Board, column: &Word) -> Option<()> {
        if board.columns.contains(&column.text) {
            return Some(());
        }
        let hint = self.suggest(&column.text, board.columns.iter().map(String::as_str));
        let message = format!("board `{}` has no column `{}`", board.id, column.text);
        self.wrong(codes::UNDEFINED_COLUMN, column.at, message, hint)
    }

    fn stage(&mut self, name: &Word, test: &Test) -> Option<Condition> {
        let board = self.board(name)?;
        let (words, negated): (&[Word], bool) = match test {
            Test::Compare(Operator::Equal, column) => (std::slice::from_ref(column), false),
            Test::Compare(Operator::NotEqual, column) => (std::slice::from_ref(column), true),
            Test::In(columns) => (columns, false),
            Test::Compare(operator, column) => return self.ladder(board, name, *operator, column),
            Test::Range(..) => {
                let hint = Some("write stage(…) >= a and stage(…) <= b".to_owned());
                return self.wrong(codes::TYPE, name.at, "stages have no ranges".into(), hint);
            }
            Test::Present | Test::Keywords(_) => {
                return self.wrong(codes::TYPE, name.at, "a stage is compared with columns".into(), None);
            }
        };
        let known: Vec<Option<()>> = words.iter().map(|column| self.column(board, column)).collect();
        known.into_iter().collect::<Option<Vec<()>>>()?;
        let columns = words.iter().map(|column| column.text.clone()).collect();
        let stage = Condition::Stage { board: board.id.clone(), group: board.group.clone(), columns };
        Some(if negated { Condition::Not(Box::new(stage)) } else { stage })
    }

    /// An order comparison: the columns of which it is true. Those off the ladder are of none.
    fn ladder(&mut self, board: &Board, name: &Word, operator: Operator, column: &Word) -> Option<Condition> {
        let group = self.names.groups.get(&board.group)?;
        if !group.ordered {
            let message = format!("the tag group `{}` of board `{}` is not ordered", group.id, board.id);
            return self.wrong(codes::NOT_ORDERED, name.at, message, Some("say `ordered: true`".to_owned()));
        }
        self.column(board, column)?;
        let Some(bound) = group.rank(&column.text) else {
            let message = format!("`{}` is off the ladder: nothing is before or behind it", column.text);
            return self.wrong(codes::NOT_ORDERED, column.at, message, None);
        };
        let fits = |column: &&String| group.rank(column).is_some_and(|rank| operator.holds(rank.cmp(&bound)));
        let columns: Vec<String> = board.columns.iter().filter(fits).cloned().collect();
        if columns.is_empty() {
            let side = if operator == Operator::Less { "before" } else { "behind" };
            let message = format!("no column of board `{}` is {side} `{}`: this is never true", board.id, column.text);
            return self.wrong(codes::NOT_ORDERED, column.at, message, None);
        }
        Some(Condition::Stage { board: board.id.clone(), group: board.group.clone(), columns })
    }

    fn segment(&mut self, name: &Word) -> Option<Condition> {
        let segments = self.names.segments;
        match self.names.segment_owners {
            Some(owners) => match owners.get(&name.text) {
                Some(owner) => self.owned("segment", name, owner)?,
                None => {
                    let known = owners.keys().map(String::as_str);
                    return self.undefined(codes::UNDEFINED_SEGMENT, "segment", name, known);
                }
            },
            None if !segments.contains_key(&name.text) => {
                let known = segments.keys().map(String::as_str);
                return self.undefined(codes::UNDEFINED_SEGMENT, "segment", name, known);
            }
            None => {}
        }
        // Declared, but refused where it is declared.
        let condition = segments.get(&name.text)?;
        let size = size(condition);
        self.terms += size;
        let used = self.names.put_in.get().saturating_add(size);
        self.names.put_in.set(used);
        if used > PUT_IN_MAX {
            let message = format!("segments put into conditions come to more than {PUT_IN_MAX} terms in all");
            return self.wrong(codes::TOO_DEEP, name.at, message, None);
        }
        if self.terms > TERMS_MAX {
            let message = format!("with its segments put in, the condition has more than {TERMS_MAX} terms");
            return self.wrong(codes::TOO_DEEP, name.at, message, None);
        }
        Some(condition.clone())
    }

    pub(crate) fn pattern(&mut self, pattern: &EventPattern) -> Option<Pattern> {
        let event = &pattern.event;
        let Some(fields) = self.fields(&event.text) else {
            let declared = self.names.events.keys().map(String::as_str);
            let known = Kind::ALL.iter().map(|kind| kind.name()).chain(declared).chain([HANDOFF_CREATED]);
            return self.undefined(codes::UNDEFINED_EVENT, "event", event, known);
        };
        if let Some(owners) = self.names.owners.events.get(&event.text) {
            let is_ours =
                |owner: &&String| self.names.playbook == Some(owner.as_str()) || self.names.uses.contains(*owner);
            if let (false, Some(owner)) = (owners.iter().any(|owner| is_ours(&owner)), owners.first()) {
                self.owned("event", event, owner)?;
            }
        }
        if event.text == HANDOFF_CREATED && !self.handoffs {
            return self.not_yet(codes::NY_HANDOFFS, event.at);
        }
        let tests: Vec<Option<FieldTest>> =
            pattern.tests.iter().map(|test| self.field_test(&event.text, &fields, test)).collect();
        let mut tests = tests.into_iter().collect::<Option<Vec<FieldTest>>>()?;
        // Searching the text costs most: only when everything else fits.
        tests.sort_by_key(|test| matches!(test, FieldTest::Keyword { .. }));
        Some(Pattern { event: event.text.clone(), tests })
    }

    fn fields(&self, event: &str) -> Option<EventFields<'a>> {
        if event == HANDOFF_CREATED {
            return Some(EventFields::Handoff);
        }
        match Kind::parse(event).filter(|kind| *kind != Kind::Custom) {
            Some(kind) => Some(EventFields::Built(kind)),
            None => self.names.events.get(event).map(EventFields::Declared),
        }
    }

    /// The path and type of an event's field.
    pub(crate) fn field_of(&mut self, event: &str, field: &Word) -> Option<(String, Type)> {
        let fields = self.fields(event)?;
        let found = fields.field(&field.text);
        if found.is_none() {
            // Lines are only tested: a value has the event itself.
            if field.text.starts_with("any_line.") && fields.has_lines() {
                let message = format!("`{}` tests the order's lines: it has no value of its own", field.text);
                return self.wrong(codes::UNDEFINED_FIELD, field.at, message, Some(OF_LINES.to_owned()));
            }
            let known = fields.names();
            let known = known.iter().map(String::as_str).filter(|name| !name.starts_with("any_line."));
            let hint = did_you_mean(&field.text, known);
            let message = format!("event `{event}` has no field `{}`", field.text);
            return self.wrong(codes::UNDEFINED_FIELD, field.at, message, hint);
        }
        found
    }

    fn field_test(&mut self, event: &str, fields: &EventFields<'_>, test: &syntax::FieldTest) -> Option<FieldTest> {
        let word = &test.field;
        if let (Some(line), true) = (word.text.strip_prefix("any_line."), fields.has_lines()) {
            if line == "product" {
                let test = self.looked_up(codes::NO_PRODUCT, word, &test.test)?;
                return Some(FieldTest::Product { of_lines: true, test: Box::new(test) });
            }
            let Some(ty) = line_field(line) else {
                let known = line_names().collect::<Vec<_>>();
                let hint = did_you_mean(line, known.iter().copied());
                let message = format!("an order line has no field `{line}`");
                return self.wrong(codes::UNDEFINED_FIELD, word.at, message, hint);
            };
            if let Test::Keywords(set) = &test.test {
                let message = "keywords are looked for in the event's own texts, not in order lines".into();
                return self.wrong(codes::TYPE, set.at, message, None);
            }
            return self.typed(line.to_owned(), &ty, word, &test.test).map(|test| FieldTest::AnyLine(Box::new(test)));
        }
        match (word.text.as_str(), fields) {
            ("product", EventFields::Built(_)) => {
                let test = self.looked_up(codes::NO_PRODUCT, word, &test.test)?;
                return Some(FieldTest::Product { of_lines: false, test: Box::new(test) });
            }
            ("group_kind", EventFields::Built(_)) => {
                let test = self.looked_up(codes::NO_GROUP, word, &test.test)?;
                return Some(FieldTest::GroupKind(Box::new(test)));
            }
            _ => {}
        }
        let Some((path, ty)) = fields.field(&word.text) else {
            let known = fields.names();
            let hint = did_you_mean(&word.text, known.iter().map(String::as_str));
            let message = format!("event `{event}` has no field `{}`", word.text);
            return self.wrong(codes::UNDEFINED_FIELD, word.at, message, hint);
        };
        if let "content_id" | "content" = path.as_str() {
            let (contents, is) = match &test.test {
                Test::Compare(Operator::Equal, content) => (std::slice::from_ref(content), true),
                Test::Compare(Operator::NotEqual, content) => (std::slice::from_ref(content), false),
                Test::In(contents) => (&contents[..], true),
                _ => (&[][..], true),
            };
            for content in contents {
                if let Some(owner) = self.names.owners.contents.get(&content.text) {
                    self.owned("content", content, owner)?;
                }
            }
            let product = |word: &Word| (word.text.clone(), self.names.contents.get(&word.text).cloned());
            let contents: Vec<_> = contents.iter().map(product).collect();
            if contents.iter().any(|(_, product)| product.is_some()) {
                return Some(FieldTest::Content { contents, is });
            }
        }
        let typed = self.typed(path, &ty, word, &test.test)?;
        Some(match (typed, fields) {
            (FieldTest::Has { field, .. }, EventFields::Declared(declared)) => {
                let of = declared.get(&field).copied();
                FieldTest::Has { field, of }
            }
            (typed, _) => typed,
        })
    }

    /// A test of what the directory says: equality with names.
    fn looked_up(&mut self, code: Code, word: &Word, test: &Test) -> Option<FieldTest> {
        let names = match test {
            Test::Compare(Operator::Equal | Operator::NotEqual, name) => std::slice::from_ref(name),
            Test::In(names) => names,
            _ => {
                let message = format!("`{}` is looked up in the directory: it is compared with names", word.text);
                return self.wrong(codes::TYPE, word.at, message, Some("use =, != or in".to_owned()));
            }
        };
        names.iter().for_each(|name| self.mention(code, name));
        self.typed(String::new(), &Type::Text, word, test)
    }

    /// A name that the directory should have.
    pub(crate) fn mention(&mut self, code: Code, name: &Word) {
        self.problems.push(SyntaxError { code, at: name.at, message: name.text.clone(), hint: None });
    }

    pub(crate) fn typed(&mut self, field: String, ty: &Type, word: &Word, test: &Test) -> Option<FieldTest> {
        match test {
            Test::Present => Some(FieldTest::Has { field, of: None }),
            Test::Keywords(set) => {
                if !matches!(ty, Type::Text | Type::Untyped) {
                    let message = format!("`{}` is {}: keywords are looked for in texts", word.text, ty.describe());
                    return self.wrong(codes::TYPE, word.at, message, None);
                }
                self.keywords(set).map(|keywords| FieldTest::Keyword { field, keywords })
            }
            Test::Range(low, high) => {
                if !matches!(ty, Type::Number | Type::Untyped) {
                    let message = format!("`{}` is {}: a range needs a number", word.text, ty.describe());
                    let hint = matches!(ty, Type::Time).then(|| "use >= and <".to_owned());
                    return self.wrong(codes::TYPE, word.at, message, hint);
                }
                let (from, to) = (low, high);
                let (low, high) = (self.number(low)?, self.number(high)?);
                if low > high {
                    let message = format!("nothing is in {}..{}: this never holds", from.text, to.text);
                    self.decided(from.at, message, format!("write {}..{}", to.text, from.text));
                }
                Some(FieldTest::Range { field, low, high })
            }
            Test::In(words) => {
                let values: Vec<Option<Value>> =
                    words.iter().map(|value| self.value(ty, word, Operator::Equal, value)).collect();
                values.into_iter().collect::<Option<Vec<Value>>>().map(|values| FieldTest::In { field, values })
            }
            Test::Compare(operator, value) => {
                let value = self.value(ty, word, *operator, value)?;
                Some(FieldTest::Compare { field, operator: *operator, value })
            }
        }
    }

    pub(crate) fn value(&mut self, ty: &Type, field: &Word, operator: Operator, value: &Word) -> Option<Value> {
        let equality = matches!(operator, Operator::Equal | Operator::NotEqual);
        let allowed = match ty {
            Type::Number | Type::Untyped => true,
            Type::Time => !equality,
            Type::Text | Type::Word(_) | Type::Bool | Type::Texts => equality,
            Type::Other => false,
        };
        if !allowed {
            let message = format!("`{}` is {}, which this comparison does not fit", field.text, ty.describe());
            let hint = match ty {
                Type::Time => "use >= and <",
                Type::Other => "ask whether it is there: `has …`",
                _ => "use =, != or in",
            };
            return self.wrong(codes::TYPE, field.at, message, Some(hint.to_owned()));
        }
        match ty {
            Type::Text | Type::Texts | Type::Other => Some(Value::text(value.text.as_str())),
            Type::Untyped if equality => Some(Value::text(value.text.as_str())),
            Type::Untyped | Type::Number => self.number(value).map(Value::Number),
            Type::Word(words) if words.contains(&value.text.as_str()) => Some(Value::text(value.text.as_str())),
            Type::Word(words) => {
                let hint = did_you_mean(&value.text, words.iter().copied())
                    .unwrap_or_else(|| format!("it is one of {}", words.join(", ")));
                let message = format!("`{}` is never `{}`", field.text, value.text);
                self.wrong(codes::TYPE, value.at, message, Some(hint))
            }
            Type::Bool => match value.text.as_str() {
                "true" => Some(Value::Bool(true)),
                "false" => Some(Value::Bool(false)),
                other => self.wrong(codes::TYPE, value.at, format!("`{other}` is neither true nor false"), None),
            },
            Type::Time => {
                let day = Zone::parse_date(&value.text);
                self.problems.extend(day.and_then(|day| self.names.clocks.midnight_of(day, value.at)));
                let day = || day.map(|day| self.names.zone.day_start(day));
                let Some(time) = Time::parse_rfc3339(&value.text).or_else(day) else {
                    let hint = Some("write 2026-12-01, or a quoted \"2026-12-01T10:00:00+08:00\"".to_owned());
                    return self.wrong(codes::TYPE, value.at, format!("`{}` is not a time", value.text), hint);
                };
                Some(Value::Time(time))
            }
        }
    }

    fn number(&mut self, word: &Word) -> Option<Number> {
        if let Some(number) = Number::parse(&word.text) {
            return Some(number);
        }
        self.wrong(codes::TYPE, word.at, format!("`{}` is not a number", word.text), None)
    }

    pub(crate) fn keywords(&mut self, set: &Word) -> Option<String> {
        if self.names.playbook.is_none() && self.names.keyword_sets.contains(&set.text) {
            return Some(set.text.clone());
        }
        let playbook = self.names.playbook.unwrap_or_default();
        let mine = std::iter::once(playbook).chain(self.names.uses.iter().map(String::as_str));
        let mut ids = mine.map(|playbook| format!("{playbook}/{}", set.text));
        if let Some(id) = ids.find(|id| self.names.keyword_sets.contains(id)) {
            return Some(id);
        }
        let all = self.names.keyword_sets.iter().filter_map(|id| id.split_once('/'));
        if let Some((owner, _)) = all.clone().find(|(_, name)| self.names.playbook.is_some() && *name == set.text) {
            self.owned("keyword set", set, owner)?;
        }
        let known = all.filter(|(owner, _)| *owner == playbook).map(|(_, set)| set);
        self.undefined(codes::UNDEFINED_KEYWORDS, "keyword set", set, known)
    }

    /// A name of another playbook needs `uses`.
    pub(crate) fn owned(&mut self, what: &str, name: &Word, owner: &str) -> Option<()> {
        if self.names.playbook.is_none_or(|playbook| playbook == owner) {
            return Some(());
        }
        if self.names.uses.iter().any(|used| used == owner) {
            return Some(());
        }
        let message = format!("{what} `{}` belongs to playbook `{owner}`", name.text);
        self.wrong(codes::FOREIGN, name.at, message, Some(format!("say `uses: [{owner}]`")))
    }

    pub(crate) fn undefined<'k, T>(
        &mut self,
        code: Code,
        what: &str,
        name: &Word,
        known: impl Iterator<Item = &'k str>,
    ) -> Option<T> {
        let hint = self.suggest(&name.text, known);
        self.wrong(code, name.at, format!("there is no {what} `{}`", name.text), hint)
    }

    /// The first few problems of an expression get one: looking for it costs more than the rest.
    fn suggest<'k>(&self, wrong: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
        if self.problems.len() < SUGGESTIONS_MAX { did_you_mean(wrong, known) } else { None }
    }

    fn not_yet<T>(&mut self, code: Code, at: u32) -> Option<T> {
        self.wrong(code, at, lower_first(code.explanation), None)
    }

    /// Warns of a comparison that does not depend on what is compared.
    pub(crate) fn decided(&mut self, at: u32, message: String, hint: String) {
        self.problems.push(SyntaxError { code: codes::DECIDED, at, message, hint: Some(hint) });
    }

    pub(crate) fn wrong<T>(&mut self, code: Code, at: u32, message: String, hint: Option<String>) -> Option<T> {
        self.problems.push(SyntaxError { code, at, message, hint });
        None
    }
}

/// The explanation of a "not yet" as a message.
pub(crate) fn lower_first(explanation: &str) -> String {
    let mut chars = explanation.trim_end_matches('.').chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// The fields of an event.
enum EventFields<'a> {
    Built(Kind),
    Declared(&'a BTreeMap<String, CustomType>),
    /// Of what a hand-over leaves behind.
    Handoff,
}

pub(crate) enum Type {
    Text,
    Word(Vec<&'static str>),
    Number,
    Bool,
    Time,
    Texts,
    /// Of an open set: text for equality, number for order.
    Untyped,
    /// Lists and records: only whether they are there.
    Other,
}

impl Type {
    fn of(ty: FieldType) -> Self {
        match ty {
            FieldType::Text => Self::Text,
            FieldType::Word(words) => Self::Word(words.to_vec()),
            FieldType::Number => Self::Number,
            FieldType::Bool => Self::Bool,
            FieldType::Time => Self::Time,
            FieldType::List(FieldType::Text) => Self::Texts,
            FieldType::List(_) | FieldType::Record(_) | FieldType::Open => Self::Other,
        }
    }

    pub(crate) const fn describe(&self) -> &'static str {
        match self {
            Self::Text | Self::Word(_) => "a text",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Time => "a time",
            Self::Texts => "a list of texts",
            Self::Untyped => "of no declared type",
            Self::Other => "a list or record",
        }
    }
}

impl EventFields<'_> {
    /// The path in the event and its type. `content` stands for `content_id` where the event has no other.
    fn field(&self, name: &str) -> Option<(String, Type)> {
        match (self, name) {
            // It comes in on no channel.
            (Self::Handoff, _) => HANDOFF_FIELDS.contains(&name).then(|| (name.to_owned(), Type::Text)),
            (_, "channel") => {
                let channels = Channel::ALL.iter().map(|channel| channel.name()).collect();
                Some((name.to_owned(), Type::Word(channels)))
            }
            (_, "account") => Some((name.to_owned(), Type::Text)),
            (Self::Declared(fields), _) => {
                let ty = match fields.get(name)? {
                    CustomType::Text => Type::Text,
                    CustomType::Number => Type::Number,
                    CustomType::Bool => Type::Bool,
                    CustomType::Time => Type::Time,
                };
                Some((name.to_owned(), ty))
            }
            (Self::Built(kind), _) => {
                if let Some(ty) = taxonomy::field(*kind, name) {
                    return Some((name.to_owned(), Type::of(ty)));
                }
                if name == "content" {
                    let ty = taxonomy::field(*kind, "content_id")?;
                    return Some(("content_id".to_owned(), Type::of(ty)));
                }
                (taxonomy::open(*kind) != OpenSet::Closed).then(|| (name.to_owned(), Type::Untyped))
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names = vec!["channel".to_owned(), "account".to_owned()];
        match self {
            Self::Handoff => names = HANDOFF_FIELDS.map(str::to_owned).to_vec(),
            Self::Declared(fields) => names.extend(fields.keys().cloned()),
            Self::Built(kind) => {
                for field in taxonomy::fields(*kind) {
                    names.push(field.name.to_owned());
                    if let FieldType::Record(inner) = field.ty {
                        names.extend(inner.iter().map(|inner| format!("{}.{}", field.name, inner.name)));
                    }
                }
                if self.has_lines() {
                    names.extend(line_names().map(|name| format!("any_line.{name}")));
                }
            }
        }
        names
    }

    fn has_lines(&self) -> bool {
        matches!(self, Self::Built(kind) if taxonomy::field(*kind, "lines").is_some())
    }
}

fn line_field(name: &str) -> Option<Type> {
    if name == "sku" {
        return Some(Type::Text);
    }
    line_fields().iter().find(|field| field.name == name).map(|field| Type::of(field.ty))
}

/// Whether an order line has a number of this name.
pub(crate) fn line_number_field(name: &str) -> bool {
    line_fields().iter().any(|field| field.name == name && field.ty == FieldType::Number)
}

fn line_names() -> impl Iterator<Item = &'static str> {
    line_fields().iter().map(|field| field.name).chain(["sku"])
}

fn line_fields() -> &'static [taxonomy::Field] {
    match taxonomy::field(Kind::OrderPaid, "lines") {
        Some(FieldType::List(FieldType::Record(fields))) => fields,
        _ => &[],
    }
}

/// The "not yet" of a function; total, so that a new function cannot be forgotten silently.
fn not_yet(function: &str) -> Code {
    match function {
        "replied" | "not_replied" => codes::NY_REPLIED,
        _ => codes::FUNCTION,
    }
}

/// Terms of a condition.
fn size(condition: &Condition) -> usize {
    match condition {
        Condition::And(parts) | Condition::Or(parts) => parts.iter().map(size).sum(),
        Condition::Not(part) => size(part),
        Condition::Compare(_, FieldTest::In { values, .. }) => values.len().max(1),
        Condition::Tag(_)
        | Condition::Stage { .. }
        | Condition::InGroup(_)
        | Condition::Replied(..)
        | Condition::Compare(..) => 1,
    }
}

fn depth(condition: &Condition) -> usize {
    1 + match condition {
        Condition::And(parts) | Condition::Or(parts) => parts.iter().map(depth).max().unwrap_or(0),
        Condition::Not(part) => depth(part),
        Condition::Tag(_)
        | Condition::Stage { .. }
        | Condition::InGroup(_)
        | Condition::Replied(..)
        | Condition::Compare(..) => 0,
    }
}
