//! The fields of an event, checked against the taxonomy.

use crate::Error;
use serde_json::{Map, Value as Json};
use touchline_model::kind::Kind;
use touchline_model::taxonomy::{self, Field, FieldType, OpenSet};
use touchline_model::time::Time;
use touchline_model::value::{Fields, Number, Value};

/// Most entries of one list: order lines and group members stay below it.
const LIST_ITEMS_MAX: usize = 1_000;
/// Deepest nesting inside open fields.
const DEPTH_MAX: usize = 8;
/// Longest name of an open field.
const OPEN_NAME_BYTES_MAX: usize = 128;
/// Errors repeat at most so many characters of a sender's field name.
const SHOWN_CHARS_MAX: usize = 40;

/// Checks all fields of `kind` and sorts them into public and private ones.
pub(super) fn split(kind: Kind, given: Option<&Json>) -> Result<(Fields, Fields), Error> {
    let (mut public, mut private) = (Fields::new(), Fields::new());
    let Some(given) = given else { return Ok((public, private)) };
    let given = given.as_object().ok_or_else(|| wrong("fields", "an object"))?;
    for (name, value) in given {
        let path = format!("fields.{}", shown(name));
        let known = taxonomy::fields(kind).iter().find(|field| field.name == name);
        let value = match known {
            Some(field) => read(field.ty, value, &path, 0)?,
            None if taxonomy::open(kind) == OpenSet::Closed => return Err(Error::UnknownField { field: path }),
            None if name.is_empty() || name.len() > OPEN_NAME_BYTES_MAX => {
                return Err(wrong(path, format!("named with 1 to {OPEN_NAME_BYTES_MAX} bytes")));
            }
            None => open(value, &path, 0)?,
        };
        let part = if taxonomy::is_private(kind, name) { &mut private } else { &mut public };
        part.set(name.as_str(), value);
    }
    Ok((public, private))
}

/// A field that holds another type than expected.
pub(super) fn wrong(field: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::WrongField { field: field.into(), expected: expected.into() }
}

/// A sender's name, short enough for an error text.
pub(super) fn shown(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(SHOWN_CHARS_MAX).collect()
}

/// RFC 3339, or whole milliseconds since the epoch. Numbers beyond 64 bits saturate: they are implausible either way.
pub(super) fn time(value: &Json, path: &str) -> Result<Time, Error> {
    let expected = || wrong(path, "a time: RFC 3339 or integer milliseconds");
    match value {
        Json::String(text) => Time::parse_rfc3339(text).ok_or_else(expected),
        Json::Number(number) => {
            let digits = number.to_string();
            let size = digits.strip_prefix('-').unwrap_or(&digits);
            if !size.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(expected());
            }
            let saturated = if digits.starts_with('-') { i64::MIN } else { i64::MAX };
            Ok(Time(digits.parse().unwrap_or(saturated)))
        }
        _ => Err(expected()),
    }
}

fn read(ty: FieldType, value: &Json, path: &str, depth: usize) -> Result<Value, Error> {
    match (ty, value) {
        (FieldType::Text, Json::String(text)) => Ok(Value::text(text.as_str())),
        (FieldType::Text, _) => Err(wrong(path, "a text")),
        (FieldType::Word(words), value) => {
            let word = value.as_str().filter(|word| words.contains(word));
            word.map(Value::text).ok_or_else(|| wrong(path, format!("one of: {}", words.join(", "))))
        }
        (FieldType::Number, value) => number(value, path),
        (FieldType::Bool, Json::Bool(flag)) => Ok(Value::Bool(*flag)),
        (FieldType::Bool, _) => Err(wrong(path, "true or false")),
        (FieldType::Time, value) => {
            let time = time(value, path)?;
            let plausible = time.is_plausible();
            plausible.then_some(Value::Time(time)).ok_or_else(|| wrong(path, "a time between the years 2000 and 2200"))
        }
        (FieldType::List(inner), Json::Array(items)) if items.len() <= LIST_ITEMS_MAX => {
            let items = items.iter().enumerate();
            let read_item = |(index, item)| read(*inner, item, &format!("{path}[{index}]"), depth + 1);
            Ok(Value::List(items.map(read_item).collect::<Result<_, _>>()?))
        }
        (FieldType::List(_), _) => Err(wrong(path, format!("a list of at most {LIST_ITEMS_MAX}"))),
        (FieldType::Record(fields), Json::Object(members)) => Ok(Value::Record(record(fields, members, path, depth)?)),
        (FieldType::Open, Json::Object(_)) => open(value, path, depth),
        (FieldType::Record(_) | FieldType::Open, _) => Err(wrong(path, "an object")),
    }
}

fn record(fields: &[Field], members: &Map<String, Json>, path: &str, depth: usize) -> Result<Fields, Error> {
    let mut out = Fields::new();
    for (name, value) in members {
        let path = format!("{path}.{}", shown(name));
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            return Err(Error::UnknownField { field: path });
        };
        out.set(name.as_str(), read(field.ty, value, &path, depth + 1)?);
    }
    Ok(out)
}

/// A value of a name the taxonomy does not know: its type is the JSON's own.
fn open(value: &Json, path: &str, depth: usize) -> Result<Value, Error> {
    if depth > DEPTH_MAX {
        return Err(wrong(path, format!("nested at most {DEPTH_MAX} deep")));
    }
    match value {
        Json::Null => Err(wrong(path, "a value, or absent")),
        Json::Bool(flag) => Ok(Value::Bool(*flag)),
        Json::Number(_) => number(value, path),
        Json::String(text) => Ok(Value::text(text.as_str())),
        Json::Array(items) if items.len() > LIST_ITEMS_MAX => {
            Err(wrong(path, format!("a list of at most {LIST_ITEMS_MAX}")))
        }
        Json::Array(items) => {
            let items = items.iter().enumerate();
            let read_item = |(index, item)| open(item, &format!("{path}[{index}]"), depth + 1);
            Ok(Value::List(items.map(read_item).collect::<Result<_, _>>()?))
        }
        Json::Object(members) => {
            let mut out = Fields::new();
            for (name, value) in members {
                out.set(name.as_str(), open(value, &format!("{path}.{}", shown(name)), depth + 1)?);
            }
            Ok(Value::Record(out))
        }
    }
}

/// The digits as they came, never through a float.
fn number(value: &Json, path: &str) -> Result<Value, Error> {
    let expected = || wrong(path, "a number with at most six decimals, within 9.2e12, without exponent");
    let Json::Number(number) = value else { return Err(expected()) };
    Number::parse(&number.to_string()).map(Value::Number).ok_or_else(expected)
}
