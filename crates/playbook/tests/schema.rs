//! Every playbook and directory that the repository holds fits its schema, those with parts that are not yet too.
#![expect(clippy::disallowed_methods, reason = "the playbooks are files; the crate itself reads none")]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use touchline_playbook::documents::{DOCUMENTS, Document};
use touchline_playbook::yaml::{Node, NodeKind};
use touchline_playbook::{schema, yaml};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests");

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

/// The document itself, or those that a scenario writes out.
fn documents(node: &Node, found: &mut Vec<(&'static Document, Value)>) {
    match &node.kind {
        NodeKind::Map(entries) => {
            let text = |name: &str| entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| &node.kind);
            // A scenario and its steps hold whole playbooks under that key.
            let has_id = matches!(text("playbook"), Some(NodeKind::Scalar(id)) if !id.text.contains('\n'));
            match text("kind") {
                Some(NodeKind::Scalar(kind)) if kind.text == "directory" => {
                    found.push((&DOCUMENTS[1], schema::json(node)))
                }
                _ if has_id && text("scenario").is_none() => found.push((&DOCUMENTS[0], schema::json(node))),
                _ => entries.iter().for_each(|(_, node)| documents(node, found)),
            }
        }
        NodeKind::List(items) => items.iter().for_each(|item| documents(item, found)),
        NodeKind::Scalar(scalar) if scalar.text.contains('\n') => {
            yaml::read("inner", &scalar.text).iter().for_each(|node| documents(node, found));
        }
        NodeKind::Scalar(_) | NodeKind::Null => {}
    }
}

#[test]
fn every_document_of_the_repository_fits_its_schema() {
    let validators = DOCUMENTS.each_ref().map(|document| {
        let schema = schema::of(document);
        assert!(jsonschema::meta::is_valid(&schema));
        jsonschema::draft202012::new(&schema).expect("a schema")
    });
    let mut paths = Vec::new();
    files(&Path::new(ROOT).join("playbooks"), &mut paths);
    files(&Path::new(ROOT).join("scenarios"), &mut paths);
    let (mut playbooks, mut directories, mut wrong) = (0, 0, Vec::new());
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a file");
        let mut found = Vec::new();
        documents(&yaml::read("file", &text).expect("YAML"), &mut found);
        for (document, value) in found {
            let is_directory = document.kind == "directory";
            *(if is_directory { &mut directories } else { &mut playbooks }) += 1;
            let errors = validators[usize::from(is_directory)].iter_errors(&value);
            wrong.extend(errors.map(|error| format!("{}: {} {error}", path.display(), error.instance_path())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(playbooks > 100 && directories > 10, "{playbooks} playbooks, {directories} directories");
}

#[test]
fn a_schema_says_what_each_key_is() {
    let schema = schema::of(&DOCUMENTS[0]);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!((&schema["required"], &schema["additionalProperties"]), (&json!(["playbook"]), &json!(false)));
    assert_eq!(schema["properties"]["rules"]["items"]["$ref"], "#/$defs/rule");
    assert_eq!(schema["$defs"]["rule"]["required"], json!(["id", "trigger", "do"]));
    assert_eq!(schema["$defs"]["attribute"]["maxProperties"], 1);
    assert_eq!(schema["$defs"]["board"]["properties"]["backward"]["enum"], json!(["manual_only", "never"]));
    let about = schema["properties"]["broadcasts"]["description"].as_str().expect("a text");
    assert!(about.ends_with("Not yet: refused with NY032."), "{about}");
    let zones = schema["properties"]["timezone"]["enum"].as_array().expect("names");
    assert!(zones.contains(&json!("Asia/Shanghai")) && zones.contains(&json!("Europe/Berlin")));
}

/// In a rule with `for_each` any text can be put in, elsewhere none.
#[test]
fn placeholders_fit_in_rules() {
    let validator = jsonschema::draft202012::new(&schema::of(&DOCUMENTS[0])).expect("a schema");
    let playbook = |id: &str, tag: &str, by: &str, group: &str| {
        json!({
            "playbook": "p",
            "tag_groups": [{"id": group, "tags": ["甲"]}],
            "rules": [{
                "id": id,
                "for_each": [{"a": "x"}],
                "trigger": "order.paid",
                "do": [{"set_tag": tag}, {"assign": {"by": by, "pool": "x"}}],
            }],
        })
    };
    assert!(validator.is_valid(&playbook("r-${a}", "${a}", "${a}", "身份")));
    assert!(!validator.is_valid(&playbook("r-${a}", "甲", "${a}", "身份")));
    assert!(!validator.is_valid(&playbook("r-${a}", "${a}", "turns", "身份")));
    assert!(!validator.is_valid(&playbook("r-${a}", "${a}", "store", "身${a}")));
    assert!(!validator.is_valid(&playbook("a/b", "${a}", "store", "身份")));
}
