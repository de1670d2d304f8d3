//! The schema against the taxonomy, and against what was promised before.

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::kind::Kind;
use touchline_model::taxonomy::{self, Field, FieldType};

/// Relative to this crate: the file belongs to the contract.
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/descriptor.snapshot.txt");
const ADD: &str = "TOUCHLINE_ADD_TO_SNAPSHOT";

/// Every public field of the taxonomy is in the body of its kind with the same type, and the other way round.
/// Kinds may share a message; it then holds the union of their fields.
#[test]
fn bodies_are_the_taxonomy() {
    let set = descriptor();
    let messages = messages(&set);
    let mut by_message: BTreeMap<&str, BTreeMap<&str, FieldType>> = BTreeMap::new();
    let bodies = &messages["Event"].field;
    for &kind in Kind::ALL {
        let name = kind.name().replace('.', "_");
        let body = bodies.iter().find(|field| field.name() == name).unwrap_or_else(|| panic!("no body for {kind}"));
        let public = taxonomy::fields(kind).iter().filter(|field| !field.private);
        by_message.entry(message_name(body)).or_default().extend(public.map(|field| (field.name, field.ty)));
    }
    let in_body = bodies.iter().filter(|field| field.oneof_index.is_some() && !field.proto3_optional());
    assert_eq!(in_body.count(), Kind::ALL.len(), "a body without a kind");
    for (message, fields) in by_message {
        if message != "Custom" {
            check(&messages, message, &fields);
        }
    }
}

fn check(messages: &BTreeMap<&str, &DescriptorProto>, message: &str, expected: &BTreeMap<&str, FieldType>) {
    let have: BTreeSet<&str> = messages[message].field.iter().map(FieldDescriptorProto::name).collect();
    assert_eq!(have, expected.keys().copied().collect(), "fields of {message}");
    for field in &messages[message].field {
        let (repeated, ty) = match expected[field.name()] {
            FieldType::List(inner) => (true, *inner),
            ty => (false, ty),
        };
        let place = format!("{message}.{}", field.name());
        assert_eq!(field.label() == Label::Repeated, repeated, "{place}: repeated");
        assert!(repeated || field.proto3_optional(), "{place}: absent and empty must differ");
        match ty {
            FieldType::Text | FieldType::Word(_) => assert_eq!(field.r#type(), Type::String, "{place}"),
            FieldType::Bool => assert_eq!(field.r#type(), Type::Bool, "{place}"),
            FieldType::Time => assert_eq!(field.r#type(), Type::Int64, "{place}"),
            FieldType::Number => {
                assert!(field.r#type() == Type::Int64 || message_name(field) == "Decimal", "{place}");
            }
            FieldType::Record(inner) => {
                let inner = inner.iter().map(|&Field { name, ty, .. }| (name, ty)).collect();
                check(messages, message_name(field), &inner);
            }
            FieldType::List(_) | FieldType::Open => panic!("{place}: not on the wire as a typed field"),
        }
    }
}

/// What was promised once stays: a line of the snapshot never changes or goes.
#[test]
fn the_schema_only_grows() {
    let mut current = BTreeSet::new();
    for file in descriptor().file {
        for message in &file.message_type {
            render_message("", message, &mut current);
        }
        for service in &file.service {
            for rpc in &service.method {
                let stream = |on: bool| if on { "stream " } else { "" };
                let (input, output) = (short(rpc.input_type()), short(rpc.output_type()));
                let (input_stream, output_stream) = (stream(rpc.client_streaming()), stream(rpc.server_streaming()));
                let name = format!("{}.{}", service.name(), rpc.name());
                current.insert(format!("rpc {name}({input_stream}{input}) returns ({output_stream}{output})"));
            }
        }
        assert!(file.enum_type.is_empty(), "closed sets are documented strings, not enums");
    }
    let recorded = std::fs::read_to_string(SNAPSHOT).unwrap_or_default();
    let (gone, new) = compare(&recorded, &current);
    assert!(gone.is_empty(), "changed or removed, which breaks every reader and log:\n{}", gone.join("\n"));
    if std::env::var_os(ADD).is_some() {
        let lines: Vec<&str> = current.iter().map(String::as_str).collect();
        std::fs::write(SNAPSHOT, lines.join("\n") + "\n").expect("the snapshot is writable");
    } else {
        assert!(new.is_empty(), "new; add it with {ADD}=1 cargo test -p touchline-proto:\n{}", new.join("\n"));
    }
}

#[test]
fn a_change_is_a_line_gone_and_a_line_new() {
    let current = ["message A.x = 2 string".to_owned(), "message A.y = 3 int64".to_owned()].into();
    let (gone, new) = compare("message A.x = 1 string\nmessage A.y = 3 int64\n", &current);
    assert_eq!((gone, new), (vec!["message A.x = 1 string"], vec!["message A.x = 2 string"]));
    assert_eq!(compare("message A.x = 2 string", &current), (vec![], vec!["message A.y = 3 int64"]));
}

/// Lines recorded that are gone, and lines that are not recorded.
fn compare<'a>(recorded: &'a str, current: &'a BTreeSet<String>) -> (Vec<&'a str>, Vec<&'a str>) {
    let recorded: BTreeSet<&str> = recorded.lines().collect();
    let gone = recorded.iter().filter(|line| !current.contains(**line)).copied().collect();
    let new = current.iter().map(String::as_str).filter(|line| !recorded.contains(line)).collect();
    (gone, new)
}

fn render_message(outer: &str, message: &DescriptorProto, out: &mut BTreeSet<String>) {
    let name = format!("{outer}{}", message.name());
    out.insert(format!("message {name}"));
    for field in &message.field {
        let label = match (field.label(), field.proto3_optional(), field.oneof_index) {
            (Label::Repeated, ..) => "repeated ".to_owned(),
            (_, true, _) => "optional ".to_owned(),
            (_, false, Some(at)) => {
                format!("oneof {} ", message.oneof_decl[usize::try_from(at).expect("an index")].name())
            }
            (_, false, None) => String::new(),
        };
        let ty = match field.r#type() {
            Type::Message => short(field.type_name()).to_owned(),
            scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
        };
        out.insert(format!("message {name}.{} = {} {label}{ty}", field.name(), field.number()));
    }
    for nested in &message.nested_type {
        render_message(&format!("{name}."), nested, out);
    }
}

fn short(name: &str) -> &str {
    name.trim_start_matches(".touchline.v1.")
}

fn descriptor() -> FileDescriptorSet {
    FileDescriptorSet::decode(touchline_proto::FILE_DESCRIPTOR_SET).expect("written by build.rs")
}

fn messages(set: &FileDescriptorSet) -> BTreeMap<&str, &DescriptorProto> {
    set.file.iter().flat_map(|file| &file.message_type).map(|message| (message.name(), message)).collect()
}

fn message_name(field: &FieldDescriptorProto) -> &str {
    short(field.type_name())
}
