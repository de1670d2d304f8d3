//! JSON Schemas of the documents, from the table of keys: editors complete and check by them.
//!
//! Draft 2020-12, in words that draft 7 has too, since some editors know no later one. A schema knows shapes, keys, words
//! and the form of ids, spans and clock times; what is inside conditions, and whether names are defined, only the
//! compiler knows. It is stricter in one thing: `exclusive: "true"` in quotes compiles, and is no boolean to it.

use crate::documents::{Count, Document, Holds, Key, Keys, RULE, mappings};
use crate::yaml::{self, Node, NodeKind, Scalar};
use serde_json::{Map, Value, json};
use touchline_model::time::Zone;

/// The schema of a kind of document.
///
/// ```
/// use touchline_playbook::{documents::DOCUMENTS, schema};
/// let schema = schema::of(&DOCUMENTS[0]);
/// assert_eq!(schema["properties"]["rules"]["items"]["$ref"], "#/$defs/rule");
/// ```
pub fn of(document: &Document) -> Value {
    let mut schema = mapping(document.keys, false);
    let inner = mappings(document.keys).into_iter().skip(1);
    let placed: Vec<&str> = mappings(&RULE).iter().map(|keys| keys.name).collect();
    let definitions: Map<String, Value> =
        inner.map(|keys| (slug(keys), mapping(keys, placed.contains(&keys.name)))).collect();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(format!("Touchline {}", document.kind));
    schema["description"] = json!(document.about);
    schema["$defs"] = Value::Object(definitions);
    schema
}

/// A node as JSON, as editors see it: plain `true` and numbers are no texts.
pub fn json(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Scalar(scalar) => scalar_json(scalar),
        NodeKind::List(items) => items.iter().map(json).collect(),
        NodeKind::Map(entries) => entries.iter().map(|(key, node)| (key.text.clone(), json(node))).collect(),
    }
}

fn scalar_json(scalar: &Scalar) -> Value {
    let text = scalar.text.as_str();
    let number = || {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let is_one = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
        let whole = || text.parse::<i64>().ok().map(Value::from);
        is_one.then(|| whole().or_else(|| text.parse::<f64>().ok().map(Value::from))).flatten()
    };
    match text {
        _ if scalar.quoted => Value::from(text),
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => number().unwrap_or_else(|| Value::from(text)),
    }
}

/// The name of a definition: part of an address.
fn slug(keys: &Keys) -> String {
    keys.name.replace(' ', "-")
}

/// `is_expanded`: texts may hold `${…}`, put in by the rule's `for_each`.
fn mapping(keys: &Keys, is_expanded: bool) -> Value {
    let properties: Map<String, Value> =
        keys.keys.iter().map(|key| (key.name.to_owned(), property(key, is_expanded))).collect();
    let required: Vec<&str> =
        keys.keys.iter().filter(|key| key.required && key.unless.is_empty()).map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": keys.about,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    match keys.count {
        Count::Any => {}
        Count::Some => schema["minProperties"] = json!(1),
        Count::One => {
            schema["minProperties"] = json!(1);
            schema["maxProperties"] = json!(1);
        }
    }
    let needs = |name: &str| json!({"required": [name]});
    let either = |key: &Key| {
        let any: Vec<Value> = std::iter::once(&key.name).chain(key.unless).map(|name| needs(name)).collect();
        json!({"anyOf": any})
    };
    let unless: Vec<Value> =
        keys.keys.iter().filter(|key| key.required && !key.unless.is_empty()).map(either).collect();
    if !unless.is_empty() {
        schema["allOf"] = Value::Array(unless);
    }
    schema
}

fn property(key: &Key, is_expanded: bool) -> Value {
    let mut schema = value(key.holds, is_expanded);
    let mut about = key.about.to_owned();
    if !key.default.is_empty() {
        about += &format!(" Default: {}.", key.default);
    }
    if let Some(code) = key.not_yet {
        about += &format!(" Not yet: refused with {}.", code.code);
    }
    schema["description"] = Value::from(about);
    if let Ok(example) = yaml::read("example", key.example) {
        schema["examples"] = json!([json(&example)]);
    }
    schema
}

/// What `for_each` puts in can be anything.
const PLACEHOLDER: &str = "\\$\\{";

fn value(holds: Holds, is_expanded: bool) -> Value {
    let text = |pattern: &str| {
        let pattern = if is_expanded { format!("{pattern}|{PLACEHOLDER}") } else { pattern.to_owned() };
        json!({"type": "string", "pattern": pattern})
    };
    let words = |words: &[&str]| match is_expanded {
        true => json!({"anyOf": [{"enum": words}, {"type": "string", "pattern": PLACEHOLDER}]}),
        false => json!({"enum": words}),
    };
    match holds {
        Holds::Text => json!({"type": ["string", "number", "boolean"]}),
        Holds::Id => id(is_expanded),
        Holds::Words(all) => words(all),
        Holds::Suggested(all) => json!({"anyOf": [{"enum": all}, id(is_expanded)]}),
        Holds::Flag => json!({"type": "boolean"}),
        Holds::Whole(least, most) => {
            json!({"type": ["integer", "string"], "pattern": "^-?[0-9]+$", "minimum": least, "maximum": most})
        }
        Holds::Number => {
            json!({"type": ["number", "string"], "pattern": "^[0-9]+(\\.[0-9]+)?$", "exclusiveMinimum": 0})
        }
        Holds::Span => text("^[0-9]+[smhd]$"),
        Holds::Clock => text("^([01][0-9]|2[0-3]):[0-5][0-9]$"),
        Holds::Zone => json!({"enum": Zone::names().collect::<Vec<_>>()}),
        Holds::Tag => text("^[^/]+/[^/]+$"),
        Holds::Condition | Holds::Trigger | Holds::Measure | Holds::Expression => json!({"type": "string"}),
        Holds::Anything => json!({}),
        Holds::List(inner, least) => {
            let mut schema = json!({"type": "array", "items": value(*inner, is_expanded)});
            if least > 0 {
                schema["minItems"] = json!(least);
            }
            schema
        }
        Holds::OneOrMany(inner) => {
            let inner = value(*inner, is_expanded);
            json!({"anyOf": [inner, {"type": "array", "items": inner, "minItems": 1}]})
        }
        Holds::Named(inner) => json!({"type": "object", "additionalProperties": value(*inner, is_expanded)}),
        Holds::Keys(keys) => json!({"$ref": format!("#/$defs/{}", slug(keys))}),
        Holds::Either(all) => {
            let any: Vec<Value> = all.iter().map(|one| value(*one, is_expanded)).collect();
            json!({"anyOf": any})
        }
    }
}

/// Numbers and `true` are names too.
fn id(is_expanded: bool) -> Value {
    let mut schema = json!({"type": ["string", "number", "boolean"]});
    let inner = "[^/\"\\u0000-\\u001f\\u007f-\\u009f]";
    let outer = "[^/\"\\s\\u0000-\\u001f\\u007f-\\u009f]";
    let not = if is_expanded { "(?!\\*$)" } else { "(?!\\*$|.*\\$\\{)" };
    schema["pattern"] = Value::from(format!("^{not}{outer}({inner}*{outer})?$"));
    if !is_expanded {
        schema["maxLength"] = json!(crate::reader::ID_CHARS_MAX);
    }
    schema
}
