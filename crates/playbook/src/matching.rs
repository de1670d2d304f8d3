//! Whether an event fits a pattern.

use crate::bundle::{CustomType, FieldTest, Operator, Pattern};
use crate::keywords::Scan;
use crate::listening::Asked;
use std::borrow::Cow;
use std::cmp::Ordering;
use touchline_model::directory::Directory;
use touchline_model::event::{Event, FieldRef};
use touchline_model::id::IdKind;
use touchline_model::kind::Kind;
use touchline_model::output::Hit;
use touchline_model::value::{Fields, Number, Value};

/// Whether an event fits a pattern, and where its text has the keyword.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matched {
    /// It does not.
    No,
    /// It does.
    Yes {
        /// The keyword hit of the first keyword test, if there is one.
        hit: Option<Hit>,
    },
}

impl Matched {
    /// Whether it does.
    pub const fn is_match(&self) -> bool {
        matches!(self, Self::Yes { .. })
    }
}

impl Pattern {
    /// Whether `event` fits. `scan` is of the same event and shared by all patterns.
    ///
    /// A comparison with a missing value is false, `!=` is the opposite of `=`. A list fits when one of its values
    /// does. `any_line.sku` is a line's `outer_sku`, else its `sku_id`.
    pub fn matches(&self, event: &Event, scan: &mut Scan<'_>) -> Matched {
        // A custom event cannot pass for a built-in one by its name.
        let foreign = event.kind == Kind::Custom && Kind::parse(&self.event).is_some();
        if event.name() != self.event || foreign {
            return Matched::No;
        }
        let mut hit = None;
        for test in &self.tests {
            let fits = match test {
                FieldTest::Keyword { field, keywords } => {
                    let found = scan.hit(field, keywords);
                    let fits = found.is_some();
                    hit = hit.or(found);
                    fits
                }
                FieldTest::AnyLine(inner) => any_line(inner, event),
                FieldTest::Product { of_lines, test } => {
                    let products = if *of_lines {
                        products_of_lines(event, scan.directory())
                    } else {
                        products_of(event, scan.directory())
                    };
                    any_fits(test, &products)
                }
                FieldTest::GroupKind(test) => {
                    let kind = group_of(event).and_then(|group| scan.directory().group_kind(group));
                    value_fits(test, kind.map(Value::text).as_ref())
                }
                FieldTest::Content { contents, is } => {
                    let named = content_of(event);
                    let products = products_of(event, scan.directory());
                    let is_one = |(content, product): &(String, Option<String>)| {
                        named == Some(content.as_str()) || product.as_deref().is_some_and(|id| products.contains(&id))
                    };
                    contents.iter().any(is_one) == *is
                }
                test if event.kind == Kind::Custom => {
                    // Declared with types: a value of another one fits nothing.
                    typed(test, &|path| event.field(path))
                }
                test => plain(test, &|path| event.field(path)),
            };
            if !fits {
                return Matched::No;
            }
        }
        Matched::Yes { hit }
    }
}

/// What an event has where it is asked, as it is written. A text or truth that a test compares with equals only what is
/// written like it.
pub(crate) fn values<'a>(asked: &Asked, scan: &mut Scan<'a>) -> Vec<Cow<'a, str>> {
    let event = scan.event();
    let mut written = Vec::new();
    match asked {
        Asked::Field(path) => event.field(path).into_iter().for_each(|field| write(field, &mut written)),
        Asked::Line(path) => {
            let lines = match event.field("lines") {
                Some(FieldRef::Value(Value::List(lines))) => lines.as_slice(),
                _ => &[],
            };
            for line in lines {
                let Value::Record(line) = line else { continue };
                line_field(line, path).into_iter().for_each(|value| write(FieldRef::Value(value), &mut written));
            }
        }
        Asked::Product { of_lines: true } => {
            written.extend(products_of_lines(event, scan.directory()).into_iter().map(Cow::Borrowed));
        }
        Asked::Product { of_lines: false } => {
            written.extend(products_of(event, scan.directory()).into_iter().map(Cow::Borrowed));
        }
        Asked::GroupKind => {
            let kind = group_of(event).and_then(|group| scan.directory().group_kind(group));
            written.extend(kind.map(Cow::Borrowed));
        }
        Asked::Content => written.extend(content_of(event).map(Cow::Borrowed)),
        Asked::Text(field) => written.extend(scan.sets(field).map(Cow::Borrowed)),
    }
    written
}

fn write<'a>(field: FieldRef<'a>, written: &mut Vec<Cow<'a, str>>) {
    match field {
        FieldRef::Text(text) => written.push(Cow::Borrowed(text)),
        FieldRef::Value(Value::Text(text)) => written.push(Cow::Borrowed(text)),
        FieldRef::Value(Value::List(items)) => {
            items.iter().for_each(|item| write(FieldRef::Value(item), written));
        }
        FieldRef::Value(Value::Number(number)) => written.push(Cow::Owned(number.to_string())),
        FieldRef::Value(Value::Bool(yes)) => written.push(Cow::Borrowed(if *yes { "true" } else { "false" })),
        FieldRef::Value(Value::Time(time)) => written.push(Cow::Owned(time.to_string())),
        FieldRef::Value(Value::Record(_)) => {}
    }
}

/// Whether a value that is there or not fits a test, whatever field the test names.
pub(crate) fn value_fits(test: &FieldTest, value: Option<&Value>) -> bool {
    plain(test, &|_| value.map(FieldRef::Value))
}

/// The numbers that a test compares with.
pub(crate) fn bounds(test: &FieldTest) -> Vec<Number> {
    let number = |value: &Value| match value {
        Value::Number(number) => Some(*number),
        _ => None,
    };
    match test {
        FieldTest::Compare { value, .. } => number(value).into_iter().collect(),
        FieldTest::In { values, .. } => values.iter().filter_map(number).collect(),
        FieldTest::Range { low, high, .. } => vec![*low, *high],
        FieldTest::Has { .. }
        | FieldTest::Keyword { .. }
        | FieldTest::AnyLine(_)
        | FieldTest::Product { .. }
        | FieldTest::GroupKind(_)
        | FieldTest::Content { .. } => Vec::new(),
    }
}

/// Products of an order's lines, by the directory.
fn products_of_lines<'a>(event: &'a Event, directory: &'a Directory) -> Vec<&'a str> {
    let Some(FieldRef::Value(Value::List(lines))) = event.field("lines") else { return Vec::new() };
    let of_line = |line: &'a Value| {
        let Value::Record(line) = line else { return Vec::new() };
        let sku = line_field(line, "sku").and_then(Value::as_text).unwrap_or_default();
        let item = line.text("item_id").unwrap_or_default();
        directory.products_of(item, sku).map(|(id, _)| id).collect()
    };
    lines.iter().flat_map(of_line).collect()
}

/// Products of the item or content that an event is about.
fn products_of<'a>(event: &'a Event, directory: &'a Directory) -> Vec<&'a str> {
    let items = ["item_id", "content_id", "content"].into_iter().filter_map(|name| event.field(name)?.as_text());
    let mut products: Vec<&str> = items.flat_map(|item| directory.products_of(item, item).map(|(id, _)| id)).collect();
    if products.is_empty() {
        products = products_of_lines(event, directory);
    }
    products
}

fn content_of(event: &Event) -> Option<&str> {
    event.field("content_id").or_else(|| event.field("content")).and_then(FieldRef::as_text)
}

/// `!=` asks that none is equal.
fn any_fits(test: &FieldTest, values: &[&str]) -> bool {
    match test {
        FieldTest::Compare { field, operator: Operator::NotEqual, value } => {
            let equal = FieldTest::Compare { field: field.clone(), operator: Operator::Equal, value: value.clone() };
            !any_fits(&equal, values)
        }
        test => values.iter().any(|value| value_fits(test, Some(&Value::text(*value)))),
    }
}

fn group_of(event: &Event) -> Option<&str> {
    let subject = event.subject.iter().find(|id| id.kind == IdKind::Group).map(|id| id.value.as_str());
    event.fields.text("group").or(subject)
}

type Lookup<'a> = dyn Fn(&str) -> Option<FieldRef<'a>> + 'a;

/// As [`plain`]; a value that is not of the type that the test compares with fits nothing.
fn typed<'a>(test: &FieldTest, lookup: &Lookup<'a>) -> bool {
    let of_type = |field: FieldRef<'a>, value: &Value| match field {
        FieldRef::Text(_) => matches!(value, Value::Text(_)),
        FieldRef::Value(have) => std::mem::discriminant(have) == std::mem::discriminant(value),
    };
    let has_type = match test {
        FieldTest::Compare { field, value, .. } => lookup(field).is_none_or(|have| of_type(have, value)),
        FieldTest::In { field, values } => {
            lookup(field).is_none_or(|have| values.iter().all(|value| of_type(have, value)))
        }
        FieldTest::Range { field, .. } => {
            lookup(field).is_none_or(|have| matches!(have, FieldRef::Value(Value::Number(_))))
        }
        _ => true,
    };
    has_type && plain(test, lookup)
}

fn plain<'a>(test: &FieldTest, lookup: &Lookup<'a>) -> bool {
    match test {
        FieldTest::Compare { field, operator, value } => match operator {
            Operator::NotEqual => !compare(lookup(field), Operator::Equal, value),
            operator => compare(lookup(field), *operator, value),
        },
        FieldTest::In { field, values } => values.iter().any(|value| compare(lookup(field), Operator::Equal, value)),
        FieldTest::Range { field, low, high } => {
            compare(lookup(field), Operator::GreaterOrEqual, &Value::Number(*low))
                && compare(lookup(field), Operator::LessOrEqual, &Value::Number(*high))
        }
        FieldTest::Has { field, of } => {
            lookup(field).is_some_and(|have| is_filled(have) && of.is_none_or(|of| is_of(have, of)))
        }
        // The compiler puts these only at the top of a pattern.
        FieldTest::Keyword { .. }
        | FieldTest::AnyLine(_)
        | FieldTest::Product { .. }
        | FieldTest::GroupKind(_)
        | FieldTest::Content { .. } => false,
    }
}

/// `!=` asks that no line is equal, as `not any_line.x = v` does.
fn any_line(test: &FieldTest, event: &Event) -> bool {
    if let FieldTest::Compare { field, operator: Operator::NotEqual, value } = test {
        let equal = FieldTest::Compare { field: field.clone(), operator: Operator::Equal, value: value.clone() };
        return !any_line(&equal, event);
    }
    let Some(FieldRef::Value(Value::List(lines))) = event.field("lines") else { return false };
    lines.iter().any(|line| match line {
        Value::Record(line) => plain(test, &|path| line_field(line, path).map(FieldRef::Value)),
        _ => false,
    })
}

fn line_field<'a>(line: &'a Fields, path: &str) -> Option<&'a Value> {
    let filled = |name: &str| line.path(name).filter(|value| is_filled(FieldRef::Value(value)));
    match path {
        "sku" => filled("outer_sku").or_else(|| filled("sku_id")),
        path => line.path(path),
    }
}

fn is_of(field: FieldRef<'_>, ty: CustomType) -> bool {
    match field {
        FieldRef::Text(_) | FieldRef::Value(Value::Text(_)) => ty == CustomType::Text,
        FieldRef::Value(Value::Number(_)) => ty == CustomType::Number,
        FieldRef::Value(Value::Bool(_)) => ty == CustomType::Bool,
        FieldRef::Value(Value::Time(_)) => ty == CustomType::Time,
        FieldRef::Value(Value::List(_) | Value::Record(_)) => false,
    }
}

fn is_filled(field: FieldRef<'_>) -> bool {
    match field {
        FieldRef::Text(text) => !text.is_empty(),
        FieldRef::Value(Value::Text(text)) => !text.is_empty(),
        FieldRef::Value(Value::List(items)) => !items.is_empty(),
        FieldRef::Value(Value::Record(fields)) => !fields.is_empty(),
        FieldRef::Value(Value::Number(_) | Value::Bool(_) | Value::Time(_)) => true,
    }
}

fn compare(field: Option<FieldRef<'_>>, operator: Operator, value: &Value) -> bool {
    match field {
        None => false,
        Some(FieldRef::Text(text)) => fits(order_text(text, value), operator),
        Some(FieldRef::Value(Value::List(items))) => {
            items.iter().any(|item| compare(Some(FieldRef::Value(item)), operator, value))
        }
        Some(FieldRef::Value(have)) => fits(order(have, value), operator),
    }
}

/// The declared type decides the value's type; fields of open sets have none and compare by their writing.
fn order(have: &Value, value: &Value) -> Option<Ordering> {
    match (have, value) {
        (Value::Text(text), value) => order_text(text, value),
        (Value::Number(a), Value::Number(b)) => Some(a.cmp(b)),
        (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Text(b)) => Some(a.to_string().as_str().cmp(b)),
        (Value::Bool(a), Value::Text(b)) => Some(if *a { "true" } else { "false" }.cmp(b)),
        (Value::Time(a), Value::Text(b)) => Some(a.to_string().as_str().cmp(b)),
        _ => None,
    }
}

fn order_text(text: &str, value: &Value) -> Option<Ordering> {
    match value {
        Value::Text(value) => Some(text.cmp(value)),
        Value::Number(value) => Number::parse(text).map(|number| number.cmp(value)),
        _ => None,
    }
}

fn fits(order: Option<Ordering>, operator: Operator) -> bool {
    order.is_some_and(|order| operator.holds(order))
}

impl Operator {
    /// Whether it holds for two values that compare like this.
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}
