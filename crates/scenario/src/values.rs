//! From what is written to the value an event carries.

use crate::format::Given;
use touchline_model::kind::Kind;
use touchline_model::taxonomy::{self, Field, FieldType};
use touchline_model::time::{ClockTime, Span, Time, Zone};
use touchline_model::value::{Fields, Number, Value};
use touchline_playbook::bundle::CustomType;
use touchline_playbook::diagnostic::Place;
use touchline_playbook::yaml::{Node, NodeKind, Scalar};

/// Why a field cannot have this value, and where it stands.
pub(crate) type Wrong = (Place, String);

/// A moment as people write it: `2026-12-01`, `2026-12-01 09:00`, `2026-12-01 09:00:30`, or RFC 3339.
pub(crate) fn moment(text: &str, zone: Zone) -> Option<Time> {
    [String::new(), ":00".to_owned(), " 00:00:00".to_owned()]
        .iter()
        .find_map(|rest| zone.parse_local(&format!("{text}{rest}")))
        .or_else(|| Time::parse_rfc3339(text))
}

/// What is wrong with a local time that a change of the clocks skips or doubles, and what to write instead; `None` where
/// it is one moment, or no local time at all.
pub(crate) fn unclear(text: &str, zone: Zone) -> Option<(String, String)> {
    let (date, clock) = text.split_once(' ').unwrap_or((text, "00:00"));
    let (day, clock) = (Zone::parse_date(date)?, ClockTime::parse(clock.get(..5)?)?);
    let first = zone.at(day, clock);
    match zone.passes(day, clock) {
        0 => {
            let (_, _, _, hour, minute) = zone.civil(first);
            let hint = format!("write {date} {hour:02}:{minute:02}, which is when it would have been");
            Some((format!("on {date} the clocks of {} skip {clock}", zone.name()), hint))
        }
        2 => {
            let is_again = |later: &Time| zone.civil(*later) == zone.civil(first);
            let second = (1..=12).map(|quarters| first.plus(Span::minutes(15 * quarters))).find(is_again);
            let both: Vec<String> = [Some(first), second].into_iter().flatten().map(|time| zone.format(time)).collect();
            let hint = format!("write which: {}", both.join(" or "));
            Some((format!("on {date} {clock} comes twice in {}", zone.name()), hint))
        }
        _ => None,
    }
}

/// The type that a field of a built-in event has; `None` for fields of open sets.
///
/// # Errors
/// The event has no such field; the names it has.
pub(crate) fn type_of(kind: Kind, path: &str) -> Result<Option<FieldType>, Vec<String>> {
    if let Some(ty) = taxonomy::field(kind, path) {
        return Ok(Some(ty));
    }
    if taxonomy::open(kind) != taxonomy::OpenSet::Closed {
        return Ok(None);
    }
    Err(taxonomy::fields(kind).iter().map(|field| field.name.to_owned()).collect())
}

/// The value of a field of a built-in event.
pub(crate) fn built_in(ty: Option<FieldType>, given: &Given, zone: Zone) -> Result<Value, Wrong> {
    match (ty, given) {
        (Some(ty), Given::Word { text, place }) => word(ty, text, *place, zone),
        (Some(ty), Given::Value(node)) => typed(ty, node, zone),
        (None, Given::Word { text, .. }) => Ok(bare(text)),
        (None, Given::Value(node)) => open(node),
    }
}

/// The value of a field of a custom event: of its declared type where it can be read so, else as it is written. The
/// channels do not know what playbooks declare, so other types do come in.
pub(crate) fn custom(ty: Option<CustomType>, given: &Given, zone: Zone) -> Result<Value, Wrong> {
    let (text, quoted) = match given {
        Given::Word { text, .. } => (text, false),
        Given::Value(Node { kind: NodeKind::Scalar(scalar), .. }) => (&scalar.text, scalar.quoted),
        Given::Value(node) => return open(node),
    };
    let read = match ty {
        Some(CustomType::Time) => moment(text, zone).map(Value::Time),
        _ if quoted => None,
        Some(CustomType::Number) => Number::parse(text).map(Value::Number),
        Some(CustomType::Bool) => flag(text),
        Some(CustomType::Text) => Some(Value::text(text)),
        None => Some(bare(text)),
    };
    Ok(read.unwrap_or_else(|| Value::text(text)))
}

fn word(ty: FieldType, text: &str, place: Place, zone: Zone) -> Result<Value, Wrong> {
    let wrong = |expected: &str| Err((place, format!("`{text}` is not {expected}")));
    match ty {
        FieldType::Text => Ok(Value::text(text)),
        FieldType::Word(words) if words.contains(&text) => Ok(Value::text(text)),
        FieldType::Word(words) => wrong(&format!("one of {}", words.join(", "))),
        FieldType::Number => Number::parse(text).map(Value::Number).map_or_else(|| wrong("a number"), Ok),
        FieldType::Bool => flag(text).map_or_else(|| wrong("true or false"), Ok),
        FieldType::Time => moment(text, zone).map(Value::Time).map_or_else(|| wrong("a time"), Ok),
        FieldType::List(inner) => Ok(Value::List(vec![word(*inner, text, place, zone)?])),
        FieldType::Record(_) | FieldType::Open => wrong("a mapping"),
    }
}

fn typed(ty: FieldType, node: &Node, zone: Zone) -> Result<Value, Wrong> {
    match (ty, &node.kind) {
        (ty, NodeKind::Scalar(scalar)) => word(ty, &scalar.text, scalar.place, zone),
        (FieldType::List(inner), NodeKind::List(items)) => {
            items.iter().map(|item| typed(*inner, item, zone)).collect::<Result<_, _>>().map(Value::List)
        }
        (FieldType::Record(fields), NodeKind::Map(entries)) => record(fields, entries, zone).map(Value::Record),
        (FieldType::Open, NodeKind::Map(_)) => open(node),
        _ => Err((node.place, format!("{} does not fit here", node.describe()))),
    }
}

fn record(fields: &[Field], entries: &[(Scalar, Node)], zone: Zone) -> Result<Fields, Wrong> {
    let mut out = Fields::new();
    for (name, node) in entries {
        let Some(field) = fields.iter().find(|field| field.name == name.text) else {
            let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
            return Err((name.place, format!("there is no field `{}` here: {}", name.text, known.join(", "))));
        };
        out.set(name.text.as_str(), typed(field.ty, node, zone)?);
    }
    Ok(out)
}

/// A value of a name nobody declared: as JSON would have it.
fn open(node: &Node) -> Result<Value, Wrong> {
    match &node.kind {
        NodeKind::Null => Err((node.place, "nothing is not a value: leave the field out".to_owned())),
        NodeKind::Scalar(scalar) if scalar.quoted => Ok(Value::text(scalar.text.as_str())),
        NodeKind::Scalar(scalar) => Ok(bare(&scalar.text)),
        NodeKind::List(items) => items.iter().map(open).collect::<Result<_, _>>().map(Value::List),
        NodeKind::Map(entries) => {
            let mut out = Fields::new();
            for (name, node) in entries {
                out.set(name.text.as_str(), open(node)?);
            }
            Ok(Value::Record(out))
        }
    }
}

/// A number only where it is written as numbers print: `007` is a text.
fn bare(text: &str) -> Value {
    let number = Number::parse(text).filter(|number| number.to_string() == text).map(Value::Number);
    number.or_else(|| flag(text)).unwrap_or_else(|| Value::text(text))
}

fn flag(text: &str) -> Option<Value> {
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => None,
    }
}

/// Sets the value at a dotted path.
pub(crate) fn set(fields: &mut Fields, path: &str, value: Value) {
    let Some((head, rest)) = path.split_once('.') else {
        fields.set(path, value);
        return;
    };
    let mut inner = match fields.get(head) {
        Some(Value::Record(inner)) => inner.clone(),
        _ => Fields::new(),
    };
    set(&mut inner, rest, value);
    fields.set(head, Value::Record(inner));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_people_do() {
        let nine = Time::parse_rfc3339("2026-12-01T09:00:00+08:00");
        for text in ["2026-12-01 09:00", "2026-12-01 09:00:00", "2026-12-01T01:00:00Z"] {
            assert_eq!(moment(text, Zone::SHANGHAI), nine, "{text}");
        }
        assert_eq!(moment("2026-12-01", Zone::SHANGHAI), Time::parse_rfc3339("2026-12-01T00:00:00+08:00"));
        assert_eq!(moment("9:00", Zone::SHANGHAI), None);
    }

    #[test]
    fn what_looks_like_a_number_is_one_unless_it_prints_otherwise() {
        assert_eq!(bare("42"), Value::integer(42));
        for text in ["007", "1.50", "13 800", "一"] {
            assert_eq!(bare(text), Value::text(text));
        }
    }

    #[test]
    fn dotted_paths_become_records() {
        let mut fields = Fields::new();
        set(&mut fields, "conversation.type", Value::text("single"));
        set(&mut fields, "conversation.id", Value::text("c1"));
        assert_eq!(fields.text("conversation.type"), Some("single"));
        assert_eq!(fields.text("conversation.id"), Some("c1"));
    }
}
