//! Compiles `proto/touchline/v1` without protoc, and writes the conversions of event bodies.
//!
//! The conversions come from the descriptor, so a new field needs a line in `body.proto` and one in
//! the taxonomy, nothing else: a test holds the two equal.

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const ROOT: &str = "../../proto";
const FILES: [&str; 13] = [
    "admin", "board", "body", "common", "contact", "event", "ingest", "metric", "output", "playbook", "record",
    "segment", "touch",
];

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo:rerun-if-changed={ROOT}/touchline/v1");
    let files = FILES.map(|name| format!("touchline/v1/{name}.proto"));
    let mut set = protox::compile(files, [Path::new(ROOT)]).unwrap_or_else(|error| panic!("{error:?}"));
    tonic_prost_build::configure().compile_fds(set.clone()).expect("the descriptor is valid and OUT_DIR is writable");
    write(&out.join("bodies.rs"), bodies(&set).as_bytes());
    for file in &mut set.file {
        file.source_code_info = None;
    }
    write(&out.join("descriptor.bin"), &set.encode_to_vec());
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("OUT_DIR is writable");
}

/// Rust for `read_body`, `write_body` and the pair of functions of every message they need.
fn bodies(set: &FileDescriptorSet) -> String {
    let messages: BTreeMap<&str, &DescriptorProto> =
        set.file.iter().flat_map(|file| &file.message_type).map(|message| (message.name(), message)).collect();
    let kinds: Vec<&FieldDescriptorProto> = messages["Event"]
        .field
        .iter()
        .filter(|field| field.oneof_index.is_some() && !field.proto3_optional() && field.name() != "custom")
        .collect();
    let mut needed = BTreeMap::new();
    for kind in &kinds {
        collect(message_name(kind), &messages, &mut needed);
    }

    let mut out = String::new();
    out.push_str("fn read_body(body: Body) -> Result<(Kind, Fields), Undecodable> {\nOk(match body {\n");
    for kind in &kinds {
        let (variant, message) = (camel(kind.name()), message_name(kind));
        writeln!(out, "Body::{variant}(body) => (Kind::{variant}, read_{}(body)?),", snake(message)).expect("a string");
    }
    out.push_str("Body::Custom(_) => (Kind::Custom, Fields::new()),\n})\n}\n");
    out.push_str("fn write_body(kind: Kind, fields: &Fields, rest: &mut Vec<v1::Field>) -> Body {\nmatch kind {\n");
    for kind in &kinds {
        let (variant, message) = (camel(kind.name()), message_name(kind));
        writeln!(out, "Kind::{variant} => Body::{variant}(write_{}(fields, rest)),", snake(message)).expect("a string");
    }
    out.push_str("Kind::Custom => {\nrest.extend(fields.iter().map(field_out));\n");
    out.push_str("Body::Custom(v1::Custom::default())\n}\n}\n}\n");
    for message in needed.values() {
        read_message(message, &mut out);
        write_message(message, &mut out);
    }
    out
}

fn collect<'a>(
    name: &str,
    messages: &BTreeMap<&'a str, &'a DescriptorProto>,
    needed: &mut BTreeMap<&'a str, &'a DescriptorProto>,
) {
    let (&name, &message) = messages.get_key_value(name).expect("protox has resolved it");
    if needed.insert(name, message).is_some() {
        return;
    }
    for field in message.field.iter().filter(|field| field.r#type() == Type::Message && !is_decimal(field)) {
        collect(message_name(field), messages, needed);
    }
}

/// `fn read_x(message) -> Result<Fields, Undecodable>`, fields in name order so that each is appended.
fn read_message(message: &DescriptorProto, out: &mut String) {
    let name = message.name();
    let unused = if message.field.is_empty() { "_" } else { "" };
    let mutable = if message.field.is_empty() { "" } else { "mut " };
    writeln!(out, "fn read_{}({unused}message: v1::{name}) -> Result<Fields, Undecodable> {{", snake(name))
        .expect("a string");
    writeln!(out, "let {mutable}fields = Fields::new();").expect("a string");
    let mut sorted: Vec<&FieldDescriptorProto> = message.field.iter().collect();
    sorted.sort_by_key(|field| field.name().to_owned());
    for field in sorted {
        let (name, ident, convert) = (field.name(), ident(field.name()), read_value(field));
        if field.label() == Label::Repeated {
            writeln!(
                out,
                "if !message.{ident}.is_empty() {{\nlet mut list = Vec::with_capacity(message.{ident}.len());\n\
                 for value in message.{ident} {{\nlist.push({convert});\n}}\n\
                 fields.set({name:?}, Value::List(list));\n}}"
            )
        } else {
            writeln!(out, "if let Some(value) = message.{ident} {{\nfields.set({name:?}, {convert});\n}}")
        }
        .expect("a string");
    }
    out.push_str("Ok(fields)\n}\n");
}

/// `fn write_x(fields, rest) -> message`: what does not fit goes to `rest`.
fn write_message(message: &DescriptorProto, out: &mut String) {
    let name = message.name();
    writeln!(out, "fn write_{}(fields: &Fields, rest: &mut Vec<v1::Field>) -> v1::{name} {{", snake(name))
        .expect("a string");
    let mutable = if message.field.is_empty() { "" } else { "mut " };
    writeln!(out, "let {mutable}message = v1::{name}::default();").expect("a string");
    out.push_str("for (name, value) in fields.iter() {\n");
    if message.field.is_empty() {
        out.push_str("rest.push(field_out((name, value)));\n}\nmessage\n}\n");
        return;
    }
    out.push_str("let fits = match name {\n");
    for field in &message.field {
        let (name, ident, convert) = (field.name(), ident(field.name()), write_value(field));
        if field.label() == Label::Repeated {
            writeln!(out, "{name:?} => list_out(value, {convert}).map(|value| message.{ident} = value),")
        } else {
            writeln!(out, "{name:?} => Some(value).and_then({convert}).map(|value| message.{ident} = Some(value)),")
        }
        .expect("a string");
    }
    out.push_str("_ => None,\n};\nif fits.is_none() {\nrest.push(field_out((name, value)));\n}\n}\nmessage\n}\n");
}

/// An expression that turns the wire's `value` into a [`Value`].
fn read_value(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::String => "Value::Text(value)".to_owned(),
        Type::Bool => "Value::Bool(value)".to_owned(),
        Type::Int64 if is_time(field.name()) => "Value::Time(Time(value))".to_owned(),
        Type::Int64 => format!("whole_in({:?}, value)?", field.name()),
        Type::Message if is_decimal(field) => "Value::Number(Number(value.millionths))".to_owned(),
        Type::Message => format!("Value::Record(read_{}(value)?)", snake(message_name(field))),
        other => panic!("body field {} has type {other:?}: teach build.rs", field.name()),
    }
}

/// A function from `&Value` to an option of the wire's value.
fn write_value(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::String => "text_out".to_owned(),
        Type::Bool => "bool_out".to_owned(),
        Type::Int64 if is_time(field.name()) => "time_out".to_owned(),
        Type::Int64 => "whole_out".to_owned(),
        Type::Message if is_decimal(field) => "decimal_out".to_owned(),
        Type::Message => format!("|value| record_out(value, write_{})", snake(message_name(field))),
        other => panic!("body field {} has type {other:?}: teach build.rs", field.name()),
    }
}

/// The rule that `body.proto` states at its head.
fn is_time(name: &str) -> bool {
    matches!(name, "at" | "first" | "latest") || name.ends_with("_at")
}

fn is_decimal(field: &FieldDescriptorProto) -> bool {
    field.type_name() == ".touchline.v1.Decimal"
}

fn message_name(field: &FieldDescriptorProto) -> &str {
    field.type_name().rsplit('.').next().expect("never empty")
}

fn ident(name: &str) -> String {
    if matches!(name, "type" | "ref") { format!("r#{name}") } else { name.to_owned() }
}

fn camel(snake: &str) -> String {
    let mut out = String::new();
    let mut upper = true;
    for letter in snake.chars() {
        match letter {
            '_' => upper = true,
            letter if std::mem::take(&mut upper) => out.extend(letter.to_uppercase()),
            letter => out.push(letter),
        }
    }
    out
}

fn snake(camel: &str) -> String {
    let mut out = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
