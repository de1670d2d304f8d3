//! Conditions and patterns written out in one way: parsing them again gives the same.

use crate::bundle::{Condition, FieldTest, GroupMatch, Operator, Pattern, TagMatch};
use touchline_model::value::Value;

impl Condition {
    /// The condition as text.
    pub fn write(&self) -> String {
        match self {
            Self::And(terms) => write_terms(terms, " and "),
            Self::Or(terms) => write_terms(terms, " or "),
            Self::Not(term) => format!("not {}", write_inner(term)),
            Self::Tag(TagMatch { group, tag: Some(tag) }) => format!("tag(\"{group}/{tag}\")"),
            Self::Tag(TagMatch { group, tag: None }) => format!("tag(\"{group}\"/*)"),
            Self::Stage { board, columns, .. } => match columns.as_slice() {
                [column] => format!("stage(\"{board}\") = \"{column}\""),
                columns => {
                    let columns: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
                    format!("stage(\"{board}\") in [{}]", columns.join(", "))
                }
            },
            Self::InGroup(GroupMatch::Named(name)) => format!("in_group(\"{name}\")"),
            Self::InGroup(GroupMatch::Kind(kind)) => format!("in_group(kind=\"{kind}\")"),
            Self::Replied(written, _) => written.clone(),
            Self::Compare(quantity, test) => format!("{} {}", quantity.written, test.write_bound(quantity.is_age())),
        }
    }
}

fn write_terms(terms: &[Condition], between: &str) -> String {
    let terms: Vec<String> = terms.iter().map(write_inner).collect();
    terms.join(between)
}

fn write_inner(condition: &Condition) -> String {
    match condition {
        Condition::And(_) | Condition::Or(_) => format!("({})", condition.write()),
        _ => condition.write(),
    }
}

impl Pattern {
    /// The pattern as text.
    pub fn write(&self) -> String {
        if self.tests.is_empty() {
            return self.event.clone();
        }
        let tests: Vec<String> = self.tests.iter().map(FieldTest::write).collect();
        format!("{}({})", self.event, tests.join(", "))
    }
}

impl FieldTest {
    fn write(&self) -> String {
        match self {
            Self::Has { field, .. } => format!("has {field}"),
            Self::Keyword { field, keywords } => format!("{field} has \"{keywords}\""),
            Self::AnyLine(inner) => match &**inner {
                Self::Has { field, .. } => format!("has any_line.{field}"),
                inner => format!("any_line.{}", inner.write()),
            },
            Self::Product { of_lines: true, test } => format!("any_line.product {}", test.write_bound(false)),
            Self::Product { of_lines: false, test } => format!("product {}", test.write_bound(false)),
            Self::GroupKind(test) => format!("group_kind {}", test.write_bound(false)),
            Self::Content { contents, is } => match (&contents[..], is) {
                ([(content, _)], true) => format!("content = \"{content}\""),
                ([(content, _)], false) => format!("content != \"{content}\""),
                (contents, _) => {
                    let contents: Vec<String> = contents.iter().map(|(id, _)| format!("\"{id}\"")).collect();
                    format!("content in [{}]", contents.join(", "))
                }
            },
            Self::Compare { field, .. } | Self::In { field, .. } | Self::Range { field, .. } => {
                format!("{field} {}", self.write_bound(false))
            }
        }
    }

    /// The comparison without its left side.
    pub(crate) fn write_bound(&self, is_span: bool) -> String {
        let value = |value: &Value| if is_span { write_span(value) } else { write_value(value) };
        match self {
            Self::Compare { operator, value: bound, .. } => format!("{} {}", sign(*operator), value(bound)),
            Self::In { values, .. } => {
                let values: Vec<String> = values.iter().map(value).collect();
                format!("in [{}]", values.join(", "))
            }
            Self::Range { low, high, .. } => format!("in {low}..{high}"),
            Self::Has { .. }
            | Self::Keyword { .. }
            | Self::AnyLine(_)
            | Self::Product { .. }
            | Self::GroupKind(_)
            | Self::Content { .. } => String::new(),
        }
    }
}

fn write_value(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("\"{text}\""),
        Value::Number(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::Time(time) => format!("\"{time}\""),
        // The compiler compares with none of these.
        Value::List(_) | Value::Record(_) => String::new(),
    }
}

/// Milliseconds as a duration: those of the language are whole seconds.
fn write_span(value: &Value) -> String {
    let Value::Number(number) = value else { return String::new() };
    let seconds = number.as_integer().unwrap_or(0) / 1_000;
    match seconds {
        seconds if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

const fn sign(operator: Operator) -> &'static str {
    match operator {
        Operator::Equal => "=",
        Operator::NotEqual => "!=",
        Operator::Less => "<",
        Operator::LessOrEqual => "<=",
        Operator::Greater => ">",
        Operator::GreaterOrEqual => ">=",
    }
}
