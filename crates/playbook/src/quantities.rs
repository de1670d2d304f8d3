//! From the syntax tree to quantities: counts, sums, ages, attributes; and what has to be counted for them.

use crate::attributes::AttributeType;
use crate::bundle::{Condition, FieldTest, GroupMatch, Operator, Pattern, Trigger};
use crate::codes;
use crate::diagnostic::did_you_mean;
use crate::matching;
use crate::measure::{Counted, End, Measure, Quantity, Reading, Window};
use crate::resolve::{Replies, Resolver, Tallies, Type};
use crate::syntax::{Argument, Call, EventPattern, OptionValue, Test, Word};
use crate::tally::{Kept, Tallied};
use crate::waits::{Reached, Reply, Silence, Wait};
use touchline_model::past::KEEP_MAX;
use touchline_model::time::Span;
use touchline_model::value::{Number, Value};

/// Longest window of a sum, in days: each is a bucket of every contact that has one.
pub(crate) const SUM_DAYS_MAX: i64 = 730;

impl Resolver<'_> {
    /// A comparison of a quantity; `None` has left its reason.
    pub(crate) fn quantity(&mut self, call: &Call, test: &Test) -> Option<Condition> {
        match call.signature.name {
            "count" => {
                let words = test;
                let test = self.number_test(call, test)?;
                self.check_count(words, &test);
                let keep = self.keep(call, &test)?;
                Some(Condition::Compare(self.count(call, keep)?, test))
            }
            "sum" => {
                let quantity = self.sum(call)?;
                let test = self.number_test(call, test)?;
                Some(Condition::Compare(quantity, test))
            }
            "age" => self.age(call, test),
            _ => self.attribute(call, test),
        }
    }

    /// `none(pattern, within=30d)`: a count that is not at least one.
    pub(crate) fn none_of(&mut self, call: &Call) -> Option<Condition> {
        let value = Value::Number(Number(Number::ONE));
        let test = FieldTest::Compare { field: String::new(), operator: Operator::GreaterOrEqual, value };
        let quantity = self.count(call, 1)?;
        Some(Condition::Not(Box::new(Condition::Compare(quantity, test))))
    }

    /// `in_group(name)`, `in_group(kind=…)`.
    pub(crate) fn in_group(&mut self, call: &Call) -> Option<Condition> {
        if let Some(Argument::Name(name)) = call.arguments.first() {
            self.mention(codes::NO_GROUP, name);
            return Some(Condition::InGroup(GroupMatch::Named(name.text.clone())));
        }
        match option(call, "kind") {
            Some(OptionValue::Word(kind)) => {
                self.mention(codes::NO_GROUP, kind);
                Some(Condition::InGroup(GroupMatch::Kind(kind.text.clone())))
            }
            _ => self.wrong(codes::OPTION, call.at, "in_group() names a group or a kind".into(), None),
        }
    }

    /// A count or a sum that nobody compares, declared so that it is kept.
    pub(crate) fn declared(&mut self, call: &Call) -> Option<Quantity> {
        match call.signature.name {
            "count" => self.count(call, KEEP_MAX),
            "sum" => self.sum(call),
            _ => self.wrong(codes::PLACE, call.at, "a counter is a count(…) or a sum(…)".into(), None),
        }
    }

    /// Warns where a count, being one of 0, 1, 2, …, has no say in the comparison.
    fn check_count(&mut self, words: &Test, test: &FieldTest) {
        let is_count = |number: &Number| number.0 >= 0 && number.as_integer().is_some();
        let never = "no count is that: this never holds";
        let always = "every count is that: this always holds";
        let between = "a count is a whole number, and this is none";
        let said = match (words, test) {
            (Test::Compare(_, word), FieldTest::Compare { operator, value: Value::Number(number), .. }) => {
                let (is_least, is_below) = (number.0 <= 0, number.0 < 0);
                let said = match operator {
                    Operator::Equal if !is_count(number) => never,
                    Operator::NotEqual if !is_count(number) => always,
                    Operator::Less if is_least => never,
                    Operator::LessOrEqual if is_below => never,
                    Operator::GreaterOrEqual if is_least => always,
                    Operator::Greater if is_below => always,
                    _ if number.as_integer().is_none() => between,
                    _ => return,
                };
                Some((word.at, said))
            }
            (Test::In(words), FieldTest::In { values, .. }) => {
                let mut all = words.iter().zip(values);
                let strange = all.find(|(_, value)| !matches!(value, Value::Number(number) if is_count(number)));
                strange.map(|(word, _)| (word.at, "no count is that"))
            }
            (Test::Range(word, _), FieldTest::Range { low, high, .. }) if low <= high => {
                let least = low.0.max(0);
                let has_none = high.0 < 0 || high.0.div_euclid(Number::ONE) * Number::ONE < least;
                let is_between = low.as_integer().is_none() || high.as_integer().is_none();
                if has_none { Some((word.at, never)) } else { is_between.then_some((word.at, between)) }
            }
            _ => None,
        };
        if let Some((at, said)) = said {
            self.decided(at, said.to_owned(), "a count is one of 0, 1, 2, …".to_owned());
        }
    }

    /// The span of an option, longer than nothing.
    fn lasting(&mut self, what: &str, word: &Word) -> Option<Span> {
        let span = Span::parse(&word.text)?;
        if span.0 == 0 {
            return self.wrong(codes::VALUE, word.at, format!("{what} lasts longer than nothing"), None);
        }
        Some(span)
    }

    /// How many times have to be kept for this comparison.
    fn keep(&mut self, call: &Call, test: &FieldTest) -> Option<usize> {
        let keep = needed(test);
        let is_window = !call.options.is_empty();
        if is_window && keep > KEEP_MAX as i64 {
            let message = format!("a count in a window is compared with at most {KEEP_MAX}");
            let hint = Some("leave within, since and distinct out to count without bound".to_owned());
            return self.wrong(codes::COUNT_BOUND, call.at, message, hint);
        }
        usize::try_from(keep.clamp(1, KEEP_MAX as i64)).ok()
    }

    fn count(&mut self, call: &Call, keep: usize) -> Option<Quantity> {
        let Some(Argument::Patterns(patterns)) = call.arguments.first() else {
            return self.wrong(codes::UNEXPECTED, call.at, "a count is of an event".into(), None);
        };
        let pattern = self.pattern(patterns.first()?)?;
        let distinct = match option(call, "distinct") {
            Some(OptionValue::Word(field)) => Some((field, self.distinct(&pattern, field)?)),
            _ => None,
        };
        let window = match (option(call, "within"), option(call, "since")) {
            (Some(_), Some(_)) => {
                return self.wrong(codes::OPTION, call.at, "`within` and `since` exclude each other".into(), None);
            }
            (Some(OptionValue::Word(span)), _) => Window::Within(self.lasting("a window", span)?),
            (_, Some(OptionValue::Event(since))) => {
                let since = self.pattern(since)?;
                Window::Since(self.end_of(since)?)
            }
            _ => Window::Ever,
        };
        let mut written = format!("count({}", pattern.write());
        match &window {
            Window::Ever => {}
            Window::Within(_) => written += &format!(", within={}", word_of(call, "within")),
            Window::Since(_) => written += &format!(", since={}", self.event_of(call, "since")?),
        }
        if let Some((field, _)) = &distinct {
            written += &format!(", distinct={}", field.text);
        }
        written.push(')');
        let kept = match (&window, distinct) {
            (Window::Ever, None) if pattern.tests.is_empty() => {
                let of = Counted::Happened(pattern.event);
                return Some(Quantity { written, of: Measure::Count { of, window, at_least: None } });
            }
            (Window::Ever, None) => Kept::Count,
            (_, distinct) => Kept::Newest { keep, distinct: distinct.map(|(_, path)| path) },
        };
        // Known before anybody counted: that there was one, and when the last one was.
        let at_least = pattern.tests.is_empty().then(|| pattern.event.clone());
        let of = Counted::Tally(self.tallied(Tallied { pattern, kept }, call.at)?);
        Some(Quantity { written, of: Measure::Count { of, window, at_least } })
    }

    /// The path of a field of which each value counts once.
    fn distinct(&mut self, pattern: &Pattern, field: &Word) -> Option<String> {
        let (path, ty) = self.field_of(&pattern.event, field)?;
        if matches!(ty, Type::Other | Type::Texts | Type::Bool) {
            let message = format!("`{}` is {}: its values cannot be told apart", field.text, ty.describe());
            return self.wrong(codes::TYPE, field.at, message, None);
        }
        Some(path)
    }

    fn sum(&mut self, call: &Call) -> Option<Quantity> {
        let (Some(Argument::Name(field)), Some(Argument::Patterns(patterns))) =
            (call.arguments.first(), call.arguments.get(1))
        else {
            return self.wrong(codes::UNEXPECTED, call.at, "a sum is of a field and an event".into(), None);
        };
        let pattern = self.pattern(patterns.first()?)?;
        let (path, ty) = self.field_of(&pattern.event, field)?;
        if !matches!(ty, Type::Number | Type::Untyped) {
            let message = format!("`{}` is {}: a sum needs a number", field.text, ty.describe());
            return self.wrong(codes::TYPE, field.at, message, None);
        }
        let days = match option(call, "within") {
            Some(OptionValue::Word(span)) => {
                let span_ms = Span::parse(&span.text)?.0;
                let day_ms = Span::days(1).0;
                if span_ms % day_ms != 0 || !(1..=SUM_DAYS_MAX).contains(&(span_ms / day_ms)) {
                    let message = format!("a sum is kept by the day: from 1d to {SUM_DAYS_MAX}d");
                    return self.wrong(codes::COUNT_BOUND, span.at, message, None);
                }
                u32::try_from(span_ms / day_ms).ok()
            }
            _ => None,
        };
        let within = days.map_or_else(String::new, |days| format!(", within={days}d"));
        let written = format!("sum({}, {}{within})", field.text, pattern.write());
        let zone = self.names.zone;
        let kept = Kept::Sum { field: path, days, zone };
        let tally = self.tallied(Tallied { pattern, kept }, call.at)?;
        Some(Quantity { written, of: Measure::Sum { tally, days, zone } })
    }

    fn age(&mut self, call: &Call, test: &Test) -> Option<Condition> {
        let Some(Argument::Inner(inner)) = call.arguments.first() else {
            return self.wrong(codes::UNEXPECTED, call.at, "age() is of last(…) or first(…)".into(), None);
        };
        let (pattern, end) = self.moment_pattern(inner)?;
        let written = format!("age({}({}))", inner.signature.name, pattern.write());
        let of = self.end_of(pattern)?;
        let Test::Compare(operator, bound) = test else {
            let hint = Some("write age(…) > 60d".to_owned());
            return self.wrong(codes::TYPE, call.at, "an age is compared by order".into(), hint);
        };
        let Some(span) = Span::parse(&bound.text) else {
            let hint = Some("durations are 30s, 5m, 2h, 3d".to_owned());
            return self.wrong(codes::VALUE, bound.at, format!("`{}` is not a duration", bound.text), hint);
        };
        if matches!(operator, Operator::Equal | Operator::NotEqual) {
            let hint = Some("use <, <=, > or >=".to_owned());
            return self.wrong(codes::TYPE, call.at, "an age is never exactly something".into(), hint);
        }
        if *operator == Operator::Less && span.0 == 0 {
            self.decided(bound.at, "no age is that: this never holds".to_owned(), "write age(…) < 1d".to_owned());
        }
        let test = FieldTest::Compare { field: String::new(), operator: *operator, value: Value::integer(span.0) };
        Some(Condition::Compare(Quantity { written, of: Measure::Age { of, end } }, test))
    }

    fn attribute(&mut self, call: &Call, test: &Test) -> Option<Condition> {
        let Some(Argument::Name(name)) = call.arguments.first() else {
            return self.wrong(codes::UNEXPECTED, call.at, "attr() names an attribute".into(), None);
        };
        let attributes = self.names.attributes;
        let Some(found) = attributes.get(&name.text) else {
            let known = attributes.keys().map(String::as_str);
            return self.undefined(codes::UNDEFINED_ATTRIBUTE, "attribute", name, known);
        };
        self.owned("attribute", name, &found.playbook)?;
        if matches!(test, Test::Present | Test::Keywords(_)) {
            return self.wrong(codes::TYPE, name.at, "an attribute is compared with values".into(), None);
        }
        let test = self.typed(String::new(), &type_of(found.ty), name, test)?;
        let quantity =
            Quantity { written: format!("attr(\"{}\")", name.text), of: Measure::Attribute(found.reading.clone()) };
        Some(Condition::Compare(quantity, test))
    }

    /// What an action sets an attribute to.
    pub(crate) fn set_attribute(&mut self, name: &Word, value: &Word) -> Option<Value> {
        let attributes = self.names.attributes;
        let Some(found) = attributes.get(&name.text) else {
            let known = attributes.keys().map(String::as_str);
            return self.undefined(codes::UNDEFINED_ATTRIBUTE, "attribute", name, known);
        };
        self.owned("attribute", name, &found.playbook)?;
        if !found.is_set {
            let hint = Some("declare it as {type: text} (or number, bool, time)".to_owned());
            let message = format!("the attribute `{}` comes about by itself", name.text);
            return self.wrong(codes::TYPE, name.at, message, hint);
        }
        let operator = if found.ty == AttributeType::Time { Operator::Less } else { Operator::Equal };
        self.value(&type_of(found.ty), name, operator, value)
    }

    /// Whether an action may set this attribute.
    pub(crate) fn is_settable(&self, name: &Word) -> bool {
        self.names.attributes.get(&name.text).is_some_and(|known| known.is_set)
    }

    /// `last(pattern)`, `first(pattern)`: where that is kept, and which of them.
    pub(crate) fn moment(&mut self, call: &Call) -> Option<(Counted, End)> {
        let (pattern, end) = self.moment_pattern(call)?;
        Some((self.end_of(pattern)?, end))
    }

    pub(crate) fn moment_pattern(&mut self, call: &Call) -> Option<(Pattern, End)> {
        let end = match call.signature.name {
            "last" => End::Last,
            "first" => End::First,
            _ => return self.wrong(codes::PLACE, call.at, "a moment is last(…) or first(…)".into(), None),
        };
        let Some(Argument::Patterns(patterns)) = call.arguments.first() else {
            return self.wrong(codes::UNEXPECTED, call.at, "a moment is that of an event".into(), None);
        };
        Some((self.pattern(patterns.first()?)?, end))
    }

    /// `silence([patterns], for=60d, since=event)`.
    pub(crate) fn silence(&mut self, call: &Call, patterns: &[EventPattern]) -> Option<Trigger> {
        let resolved: Vec<Option<Pattern>> = patterns.iter().map(|pattern| self.pattern(pattern)).collect();
        let patterns = resolved.into_iter().collect::<Option<Vec<Pattern>>>()?;
        let (Some(OptionValue::Word(span)), Some(OptionValue::Event(since))) =
            (option(call, "for"), option(call, "since"))
        else {
            return self.wrong(codes::OPTION, call.at, "a silence has `for` and `since`".into(), None);
        };
        let since = self.pattern(since)?;
        let span = self.lasting("a silence", span)?;
        let kept: Option<Vec<Counted>> = patterns.iter().map(|pattern| self.end_of(pattern.clone())).collect();
        let latest = (self.end_of(since.clone())?, kept?);
        self.waited(Wait::Silence(Silence { patterns, since, span, latest }), call.at)
    }

    /// `reached(attribute - 3d)`.
    pub(crate) fn reached(&mut self, name: &Word, shift: Option<&(char, Word)>) -> Option<Trigger> {
        let attributes = self.names.attributes;
        let Some(found) = attributes.get(&name.text) else {
            let known = attributes.keys().map(String::as_str);
            return self.undefined(codes::UNDEFINED_ATTRIBUTE, "attribute", name, known);
        };
        self.owned("attribute", name, &found.playbook)?;
        if !matches!(found.ty, AttributeType::Time | AttributeType::Untyped) {
            let message = format!("the attribute `{}` is no date", name.text);
            return self.wrong(codes::TYPE, name.at, message, None);
        }
        let shift = match shift {
            None => Span(0),
            Some((sign, span)) => {
                let span_ms = Span::parse(&span.text)?.0;
                Span(if *sign == '-' { -span_ms } else { span_ms })
            }
        };
        let (attribute, reading) = (name.text.clone(), found.reading.clone());
        if let Reading::Kept(kept) = &reading
            && kept.starts_with("profile.")
        {
            // A date of a profile begins with its day.
            self.problems.extend(self.names.clocks.midnight(name.at));
        }
        let reached = Reached { attribute, reading, shift, zone: self.names.zone };
        self.waited(Wait::Reached(reached), name.at)
    }

    /// `replied(journey/step, within=7d, text has 有帮助)`, and its key.
    pub(crate) fn replied(&mut self, call: &Call, journey: &Word, step: &Word) -> Option<(Reply, u64)> {
        let touch = self.touch(journey, step)?;
        let within = match option(call, "within") {
            Some(OptionValue::Word(span)) => Some(self.lasting("a window", span)?),
            _ => None,
        };
        let keywords = match call.text.as_ref().map(|text| &text.test) {
            Some(Test::Keywords(set)) => Some(self.keywords(set)?),
            _ => None,
        };
        let reply = Reply { touch, within, keywords };
        let key = reply.key();
        match self.names.replies {
            Replies::Collected(collected) => drop(collected.borrow_mut().insert(key, reply.clone())),
            Replies::Known(known) if known.contains_key(&key) => {}
            Replies::Known(_) => {
                let message = "no playbook asks about this answer".to_owned();
                let hint = Some("answers are noticed from when a playbook asks about them".to_owned());
                return self.wrong(codes::NOT_TRACKED, call.at, message, hint);
            }
        }
        Some((reply, key))
    }

    /// `not_replied(journey/step, after=48h)`.
    pub(crate) fn not_replied(&mut self, call: &Call, journey: &Word, step: &Word) -> Option<Trigger> {
        let touch = self.touch(journey, step)?;
        let Some(OptionValue::Word(after)) = option(call, "after") else {
            return self.wrong(codes::OPTION, call.at, "not_replied() has `after`".into(), None);
        };
        let after = Span::parse(&after.text)?;
        self.waited(Wait::NotReplied { touch, after }, call.at)
    }

    fn touch(&mut self, journey: &Word, step: &Word) -> Option<String> {
        let touch = format!("{}/{}", journey.text, step.text);
        if let Some(owner) = self.names.touches.get(&touch) {
            self.owned("step", &Word { text: touch.clone(), at: journey.at }, owner)?;
            return Some(touch);
        }
        let steps = self.names.touches.keys().map(String::as_str);
        let hint = did_you_mean(&touch, steps);
        self.wrong(codes::UNDEFINED_STEP, journey.at, format!("there is no step `{touch}`"), hint)
    }

    fn waited(&mut self, wait: Wait, at: u32) -> Option<Trigger> {
        let Some(waits) = self.names.waits else {
            return self.wrong(codes::PLACE, at, "a trigger stands only in a playbook".into(), None);
        };
        let key = wait.key();
        waits.borrow_mut().insert(key, wait);
        Some(Trigger::Wait(key))
    }

    fn end_of(&mut self, pattern: Pattern) -> Option<Counted> {
        if pattern.tests.is_empty() {
            return Some(Counted::Happened(pattern.event));
        }
        self.tallied(Tallied { pattern, kept: Kept::Ends }, 0).map(Counted::Tally)
    }

    /// Has it counted from now on; where nothing can be added, it has to be counted already.
    fn tallied(&mut self, tallied: Tallied, at: u32) -> Option<u64> {
        let key = tallied.key();
        let is_wide = |known: &Tallied| {
            let mut widened = known.clone();
            widened.widen(&tallied);
            widened == *known
        };
        match self.names.tallies {
            Tallies::Collected(collected) => {
                let mut collected = collected.borrow_mut();
                collected.entry(key).and_modify(|known| known.widen(&tallied)).or_insert(tallied);
                Some(key)
            }
            Tallies::Known(known) if known.get(&key).is_some_and(is_wide) => Some(key),
            Tallies::Known(_) => {
                let message = format!("`{}` is not tracked this way", tallied.pattern.write());
                let hint = Some("declare it under `counters` in a playbook: it is counted from then on".to_owned());
                self.wrong(codes::NOT_TRACKED, at, message, hint)
            }
        }
    }

    fn number_test(&mut self, call: &Call, test: &Test) -> Option<FieldTest> {
        if matches!(test, Test::Present | Test::Keywords(_)) {
            let message = format!("{}() gives a number", call.signature.name);
            return self.wrong(codes::TYPE, call.at, message, None);
        }
        let name = Word { text: format!("{}()", call.signature.name), at: call.at };
        self.typed(String::new(), &Type::Number, &name, test)
    }

    /// An option's event, written out.
    fn event_of(&mut self, call: &Call, name: &str) -> Option<String> {
        match option(call, name) {
            Some(OptionValue::Event(event)) => self.pattern(event).map(|pattern| pattern.write()),
            _ => None,
        }
    }
}

/// How many times have to be kept to tell whether the test holds.
fn needed(test: &FieldTest) -> i64 {
    // One more than the greatest bound tells that it is passed.
    let up = |number: Number| number.0.div_euclid(Number::ONE) + i64::from(number.0.rem_euclid(Number::ONE) != 0);
    let most = matching::bounds(test).into_iter().map(up).max().unwrap_or(0);
    match test {
        FieldTest::Compare { operator: Operator::GreaterOrEqual | Operator::Less, .. } => most,
        _ => most.saturating_add(1),
    }
}

const fn type_of(ty: AttributeType) -> Type {
    match ty {
        AttributeType::Text => Type::Text,
        AttributeType::Number => Type::Number,
        AttributeType::Bool => Type::Bool,
        AttributeType::Time => Type::Time,
        AttributeType::Untyped => Type::Untyped,
    }
}

fn option<'c>(call: &'c Call, name: &str) -> Option<&'c OptionValue> {
    call.options.iter().find(|(option, _)| option.text == name).map(|(_, value)| value)
}

fn word_of<'c>(call: &'c Call, name: &str) -> &'c str {
    match option(call, name) {
        Some(OptionValue::Word(word)) => &word.text,
        _ => "",
    }
}
