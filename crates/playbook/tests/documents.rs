//! The table of keys tells what the compiler does, and so do the schemas made from it: each key's example is written into
//! a document, which both have to take; what is wrong with it then, both have to refuse.

mod common;

use common::{accepts, codes, found_of, with_key};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use touchline_playbook::documents::{DOCUMENTS, Document, Holds, Key, Keys, mappings};
use touchline_playbook::syntax::{FUNCTIONS, Stands, Takes};
use touchline_playbook::{reference, schema, yaml};

/// Every key with the mapping it stands in.
fn keys() -> impl Iterator<Item = (&'static Document, &'static Keys, &'static Key)> {
    let all =
        DOCUMENTS.iter().flat_map(|document| mappings(document.keys).into_iter().map(move |keys| (document, keys)));
    all.flat_map(|(document, keys)| keys.keys.iter().map(move |key| (document, keys, key)))
}

fn example(key: &Key) -> Value {
    schema::json(&yaml::read("example", key.example).expect(key.example))
}

fn validator(document: &Document) -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema::of(document)).expect("a schema")
}

/// The mapping that [`with_key`] has built, by what tells it from the others.
fn plant(value: &mut Value, keys: &Keys, key: &Key, change: &dyn Fn(&mut Value)) -> bool {
    let is_it = |value: &Value| {
        value.as_object().is_some_and(|map| {
            map.get(key.name) == Some(&example(key)) && map.keys().all(|name| keys.key(name).is_some())
        })
    };
    // The innermost comes first: `id` and `when` are keys of several mappings.
    let inner = match value {
        Value::Array(items) => items.iter_mut().any(|item| plant(item, keys, key, change)),
        Value::Object(map) => map.values_mut().any(|item| plant(item, keys, key, change)),
        _ => false,
    };
    let here = !inner && is_it(value);
    if here {
        change(value);
    }
    inner || here
}

#[test]
fn the_example_of_every_key_compiles_and_fits_the_schema() {
    let mut wrong = Vec::new();
    for (document, keys, key) in keys() {
        let value = with_key(document, keys, key, &example(key));
        let found = found_of(document, &value);
        let refused: BTreeSet<&str> = found.iter().map(|found| found.code).collect();
        let as_the_table_says = match common::not_yet(document, keys, key) {
            false => refused.is_empty(),
            true => !refused.is_empty() && refused.iter().all(|code| code.starts_with("NY")),
        };
        if !as_the_table_says {
            wrong.push(format!("{}.{}: {found:?}\n{value}", keys.name, key.name));
        }
        if let Some(error) = validator(document).iter_errors(&value).next() {
            wrong.push(format!("{}.{}: the schema says {error}\n{value}", keys.name, key.name));
        }
        // The code of the table is the one that is said.
        if let Some(code) = key.not_yet.filter(|code| !refused.contains(code.code)) {
            wrong.push(format!("{}.{}: {refused:?}, not {}", keys.name, key.name, code.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn an_unknown_key_beside_any_key_is_refused_by_both() {
    for (document, keys, key) in keys() {
        let mut value = with_key(document, keys, key, &example(key));
        let planted = plant(&mut value, keys, key, &|map| map["zzz"] = json!("x"));
        assert!(planted, "{}.{}\n{value}", keys.name, key.name);
        let found = found_of(document, &value);
        let said = found.iter().any(|found| found.code == "PB005" && found.message.contains("zzz"));
        assert!(said, "{}.{}: {found:?}\n{value}", keys.name, key.name);
        assert!(!validator(document).is_valid(&value), "{}.{}: the schema takes {value}", keys.name, key.name);
    }
}

#[test]
fn a_key_that_must_be_there_is_missed_by_both() {
    for (document, keys, key) in keys().filter(|(.., key)| key.required) {
        let mut value = with_key(document, keys, key, &example(key));
        plant(&mut value, keys, key, &|map| drop(map.as_object_mut().expect("a mapping").remove(key.name)));
        let found = codes(document, &value);
        // PB027 is of steps; a directory of another kind is none.
        assert!(found.contains("PB007") || found.contains("PB027"), "{}.{}: {found:?}\n{value}", keys.name, key.name);
        assert!(!validator(document).is_valid(&value), "{}.{}: the schema takes {value}", keys.name, key.name);
    }
}

/// Whatever stands where something else is expected: refused by both or taken by both.
#[test]
fn wrong_shapes_and_words_are_refused_by_both() {
    let shapes = [
        json!(null),
        json!([]),
        json!({}),
        json!([[]]),
        json!([{}]),
        json!({"zzz": {"zzz": []}}),
        json!([null]),
        json!("zzz zzz"),
        json!(["zzz zzz"]),
        json!(-1),
        json!(99_999_999_999_u64),
    ];
    let mut wrong = Vec::new();
    // What `else` is depends on what stands beside it, which the schema does not look at.
    let looked_at = |key: &Key| !matches!(key.holds, Holds::Anything) && key.name != "else";
    for (document, keys, key) in keys().filter(|(.., key)| looked_at(key)) {
        let validator = validator(document);
        for shape in &shapes {
            let value = with_key(document, keys, key, shape);
            let found = codes(document, &value);
            let by_schema = !validator.is_valid(&value);
            // What the compiler takes, the schema takes; a wrong shape, key or word both refuse.
            let structural = ["PB005", "PB007", "PB008"].iter().any(|code| found.contains(code))
                || (matches!(key.holds, Holds::Words(_) | Holds::Span | Holds::Clock | Holds::Zone)
                    && !found.is_empty());
            if accepts(&found) == by_schema && (by_schema || structural) {
                let (compiler, schema) =
                    (if accepts(&found) { "takes" } else { "refuses" }, if by_schema { "refuses" } else { "takes" });
                wrong.push(format!(
                    "{}.{}: the compiler {compiler} ({found:?}), the schema {schema}: {value}",
                    keys.name, key.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Words of the table are words of the compiler, and there are no others.
#[test]
fn every_word_is_taken_and_another_is_not() {
    fn words(holds: Holds) -> &'static [&'static str] {
        match holds {
            Holds::Words(words) => words,
            Holds::List(inner, _) | Holds::OneOrMany(inner) | Holds::Named(inner) => words(*inner),
            Holds::Either(all) => all.iter().map(|one| words(*one)).find(|words| !words.is_empty()).unwrap_or(&[]),
            _ => &[],
        }
    }
    /// The first text of the example that is such a word, replaced.
    fn replace(value: &mut Value, words: &[&str], word: &str) -> bool {
        match value {
            Value::String(text) if words.contains(&text.as_str()) => {
                *text = word.to_owned();
                true
            }
            Value::Array(items) => items.iter_mut().any(|item| replace(item, words, word)),
            Value::Object(map) => map.values_mut().any(|item| replace(item, words, word)),
            _ => false,
        }
    }
    for (document, keys, key) in keys() {
        let all = words(key.holds);
        let validator = validator(document);
        for word in all {
            let mut value = example(key);
            if !replace(&mut value, all, word) {
                value = json!(word);
            }
            let mut value = with_key(document, keys, key, &value);
            if *word == "store" {
                // By turns needs a pool, a store has none.
                common::at_key(&mut value, "pool", &json!("dcc"), &|map| {
                    drop(map.as_object_mut().expect("a mapping").remove("pool"))
                });
                // Whose store it is, the event says.
                let asks = json!("chat.message(direction=in, text has 价格)");
                common::at_key(&mut value, "trigger", &asks, &|map| map["trigger"] = json!("store.checked_in"));
            }
            let found = codes(document, &value);
            assert!(accepts(&found), "{}.{} = {word}: {found:?}\n{value}", keys.name, key.name);
            assert!(validator.is_valid(&value), "{}.{} = {word}\n{value}", keys.name, key.name);
        }
        if !all.is_empty() && common::not_yet(document, keys, key).eq(&false) {
            let mut value = example(key);
            if !replace(&mut value, all, "zzz") {
                value = json!("zzz");
            }
            let value = with_key(document, keys, key, &value);
            assert!(!accepts(&codes(document, &value)), "{}.{}: {value}", keys.name, key.name);
            assert!(!validator.is_valid(&value), "{}.{}: {value}", keys.name, key.name);
        }
    }
}

#[test]
fn the_names_of_the_examples_and_the_example_of_every_function_compile() {
    for signature in FUNCTIONS {
        let text = reference::example(signature.name);
        let (rule, attribute) = match signature.stands {
            Stands::Condition => (Some(json!({"trigger": "order.paid", "when": text})), None),
            Stands::Trigger => (Some(json!({"trigger": text})), None),
            Stands::Both => (Some(json!({"trigger": text, "when": text})), None),
            Stands::Inside if signature.takes == Takes::Product => {
                (None, Some(json!({"date_add": {"from": "last(order.paid)", "days": text}})))
            }
            Stands::Inside => (None, Some(json!(text))),
        };
        let mut document = json!({"playbook": "p", "uses": ["names"]});
        if let Some(mut rule) = rule {
            rule["id"] = json!("r");
            rule["do"] = json!([{"task": "x"}]);
            document["rules"] = json!([rule]);
        }
        if let Some(attribute) = attribute {
            document["attributes"] = json!({"x": attribute});
        }
        let found = found_of(&DOCUMENTS[0], &document);
        assert!(found.is_empty(), "{text}: {found:?}");
    }
}

#[test]
fn what_a_default_says_is_a_value() {
    for (document, keys, key) in keys().filter(|(.., key)| !key.default.is_empty()) {
        if matches!(key.default, "the id" | "all, in order") {
            continue;
        }
        let default = schema::json(&yaml::read("default", key.default).expect(key.default));
        let value = with_key(document, keys, key, &default);
        assert!(accepts(&codes(document, &value)), "{}.{}: {:?}", keys.name, key.name, codes(document, &value));
    }
}
