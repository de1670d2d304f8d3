//! Documents made from the table of keys, as JSON, which is YAML too.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use touchline_model::command::PlaybookSource;
use touchline_playbook::compile::compile;
use touchline_playbook::diagnostic::Diagnostic;
use touchline_playbook::documents::{Document, Holds, Key, Keys};
use touchline_playbook::{directory, reference, schema, yaml};

fn example(key: &Key) -> Value {
    schema::json(&yaml::read("example", key.example).expect(key.example))
}

/// A document in which `key` of the mapping `keys` holds `value`, with as little else as may be.
pub(crate) fn with_key(document: &Document, keys: &'static Keys, key: &Key, value: &Value) -> Value {
    let inner = filled(keys, key, value);
    let way = way(document.keys, keys, &mut Vec::new()).expect("reached from the top");
    let mut whole =
        way.into_iter().rev().fold(inner, |inner, (outer, at)| filled(outer, at, &wrapped(at.holds, keys, inner)));
    if document.kind == "playbook" && key.name != "uses" {
        whole["uses"] = json!(["names"]);
    }
    whole
}

/// Whether the key, or one on the way to it, is refused as not yet.
pub(crate) fn not_yet(document: &Document, keys: &'static Keys, key: &Key) -> bool {
    let way = way(document.keys, keys, &mut Vec::new()).expect("reached from the top");
    let with = key.with.iter().filter_map(|name| keys.key(name));
    let mut all = way.into_iter().map(|(_, key)| key).chain([key]).chain(with);
    all.any(|key| key.not_yet.is_some())
}

/// The mappings and keys from the top to a mapping.
fn way(from: &'static Keys, to: &Keys, seen: &mut Vec<&'static str>) -> Option<Vec<(&'static Keys, &'static Key)>> {
    if from.name == to.name {
        return Some(Vec::new());
    }
    seen.push(from.name);
    from.keys.iter().find_map(|key| {
        let inner = key.holds.mappings().into_iter().filter(|inner| !seen.contains(&inner.name)).collect::<Vec<_>>();
        let mut rest = inner.into_iter().find_map(|inner| way(inner, to, seen))?;
        rest.insert(0, (from, key));
        Some(rest)
    })
}

/// A mapping with this key, those it needs and those that must be there.
fn filled(keys: &Keys, key: &Key, value: &Value) -> Value {
    let others = keys.keys.iter().filter(|other| other.name != key.name);
    let needed = others.filter(|other| other.required || key.with.contains(&other.name));
    let mut map: Map<String, Value> = needed.map(|other| (other.name.to_owned(), example(other))).collect();
    map.insert(key.name.to_owned(), value.clone());
    if key.name == "for_each" {
        // What is put in has to be used.
        map.insert("id".to_owned(), json!("pays-${stage}"));
    }
    // What is needed may need something itself.
    for other in keys.keys.iter().filter(|other| map.contains_key(other.name)).collect::<Vec<_>>() {
        for name in other.with {
            let needed = keys.key(name).expect("a key of the same mapping");
            map.entry(*name).or_insert_with(|| example(needed));
        }
    }
    Value::Object(map)
}

/// `inner` as a value of this kind.
fn wrapped(holds: Holds, keys: &Keys, inner: Value) -> Value {
    let _ = keys;
    match holds {
        Holds::List(item, _) => json!([wrapped(*item, keys, inner)]),
        Holds::Named(item) => json!({"甲": wrapped(*item, keys, inner)}),
        Holds::OneOrMany(item) => wrapped(*item, keys, inner),
        Holds::Either(all) => {
            let holding = all.iter().find(|one| one.mappings().iter().any(|one| one.name == keys.name));
            holding.map_or_else(|| inner.clone(), |one| wrapped(*one, keys, inner.clone()))
        }
        _ => inner,
    }
}

/// Changes the innermost mapping in which `key` holds `value`.
pub(crate) fn at_key(whole: &mut Value, key: &str, value: &Value, change: &dyn Fn(&mut Value)) -> bool {
    let inner = match whole {
        Value::Array(items) => items.iter_mut().any(|item| at_key(item, key, value, change)),
        Value::Object(map) => map.values_mut().any(|item| at_key(item, key, value, change)),
        _ => false,
    };
    let here = !inner && whole.get(key) == Some(value);
    if here {
        change(whole);
    }
    inner || here
}

/// What the compiler says of a document; a playbook is compiled beside [`reference::NAMES`].
pub(crate) fn found_of(document: &Document, value: &Value) -> Vec<Diagnostic> {
    let text = value.to_string();
    if document.kind == "directory" {
        return directory::parse(&text).err().unwrap_or_default();
    }
    let id = value["playbook"].as_str().unwrap_or("example").to_owned();
    let names = PlaybookSource { id: "names".to_owned(), yaml: reference::NAMES.to_owned() };
    compile(&[names, PlaybookSource { id, yaml: text }], 0).err().unwrap_or_default()
}

pub(crate) fn codes(document: &Document, value: &Value) -> BTreeSet<&'static str> {
    found_of(document, value).into_iter().map(|found| found.code).collect()
}

/// Nothing is wrong but that it is not yet.
pub(crate) fn accepts(codes: &BTreeSet<&str>) -> bool {
    codes.iter().all(|code| code.starts_with("NY") || code.starts_with("PW"))
}
