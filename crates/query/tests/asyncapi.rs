//! `proto/asyncapi.yaml` against the code, the schema and `deploy/kafka/topics.yaml`.

#![expect(clippy::unwrap_used, reason = "a test stops where something is not as expected")]

use prost::Message;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use touchline_log::publish::{MARKER_HEADER, SEQUENCE_HEADER};
use touchline_log::{Marker, Topic};
use touchline_model::counted::{Counted, Slot};
use touchline_model::id::{CellKey, IdKey, IdKind, Position};
use touchline_model::output::{
    CommandResult, Contact, DeadLetter, DeadReason, Numbered, Outcome, Output, Progress, Stream,
};
use touchline_model::past::Past;
use touchline_model::record::Input;
use touchline_model::time::Time;
use touchline_proto::{
    FILE_DESCRIPTOR_SET, contact_headers, counted_headers, counted_key, input_headers, output_headers,
    progress_headers, progress_key,
};

const DOCUMENT: &str = include_str!("../../../proto/asyncapi.yaml");
const TOPICS: &str = include_str!("../../../deploy/kafka/topics.yaml");

/// Each topic with its messages, and the key of each message.
const EXPECTED: [(Topic, &[(&str, &str)]); 6] = [
    (Topic::Events, &[("Event", "CellKey"), ("Command", "CellKey"), ("Loop", "CellKey"), ("Tick", "NoKey")]),
    (Topic::TagChanges, &[("TagChange", "ContactId")]),
    (Topic::Touches, &[("Touch", "ContactId")]),
    (Topic::CommandResults, &[("CommandResult", "RequestId")]),
    (Topic::Contacts, &[("Contact", "ContactId"), ("Progress", "ProgressKey"), ("Counted", "MetricKey")]),
    (Topic::DeadLetters, &[("DeadLetter", "SourcePosition")]),
];

fn document() -> Value {
    serde_saphyr::from_str(DOCUMENT).unwrap()
}

/// What a `$ref` of the document points to; anything else is itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else { return value };
    let pointer = reference.strip_prefix('#').unwrap();
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} points nowhere"))
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn every_topic_is_there_with_its_messages_and_keys() {
    let document = document();
    let messages = message_names();
    assert_eq!(keys(&document["channels"]), Topic::ALL.iter().map(|topic| topic.name()).collect());
    let mut used = BTreeSet::new();
    for (topic, expected) in EXPECTED {
        let channel = &document["channels"][topic.name()];
        assert_eq!(channel["address"], json!(format!("touchline.{}", topic.name())));
        assert_eq!(keys(&channel["messages"]), expected.iter().map(|(name, _)| *name).collect(), "{topic:?}");
        for (name, key) in expected {
            used.insert(*name);
            let message = resolved(&document, &channel["messages"][name]);
            assert_eq!(message["name"], json!(format!("touchline.v1.{name}")));
            assert!(messages.contains(*name), "{name} is no message of the schema");
            let reference = json!(format!("#/components/schemas/{key}"));
            assert_eq!(message["bindings"]["kafka"]["key"]["$ref"], reference, "{name}");
            let payload = &resolved(&document, &message["payload"])["x-protobuf"]["message"];
            let payload = payload.as_str().unwrap().strip_prefix("touchline.v1.").unwrap();
            let wrapped = match topic {
                Topic::Events => "LogRecord",
                Topic::Contacts => "ContactRecord",
                _ => name,
            };
            assert_eq!(payload, wrapped);
            assert!(messages.contains(payload), "{payload} is no message of the schema");
        }
    }
    assert_eq!(keys(&document["components"]["messages"]), used);
    let sent = document["operations"].as_object().unwrap().values().map(|operation| {
        let channel = operation["channel"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        (channel, operation["action"].as_str().unwrap().to_owned())
    });
    let action = |topic: &Topic| if *topic == Topic::Events { "receive" } else { "send" };
    let expected = Topic::ALL.iter().map(|topic| (topic.name().to_owned(), action(topic).to_owned()));
    assert_eq!(sent.collect::<BTreeMap<_, _>>(), expected.collect());
}

#[test]
fn settings_of_topics_are_those_that_are_applied() {
    let (document, topics): (Value, Value) = (document(), serde_saphyr::from_str(TOPICS).unwrap());
    for topic in Topic::ALL {
        let kafka = &document["channels"][topic.name()]["bindings"]["kafka"];
        assert_eq!(kafka["partitions"], topics["partitions"], "{topic:?}");
        assert_eq!(kafka["replicas"], topics["replication"], "{topic:?}");
        // AsyncAPI has names for these; whatever of them is applied is described, and nothing else.
        for name in ["cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes"] {
            let own = &topics["topics"][topic.name()][name];
            let applied = if own.is_null() { &topics["settings"][name] } else { own };
            let described = match &kafka["topicConfiguration"][name] {
                Value::Null => Value::Null,
                Value::Array(words) => words[0].clone(),
                number => json!(number.to_string()),
            };
            assert_eq!(&described, applied, "{topic:?} {name}");
        }
    }
}

#[test]
fn headers_are_those_that_are_written() {
    let document = document();
    let position = Position { partition: 1, offset: 7 };
    let key = CellKey::of("acme", &IdKey::new(IdKind::WecomExternalUserid, "wwcorp", "wm"));
    let progress = Progress { partition: 1, ..Progress::default() };
    let marker = Marker::default().to_header();
    assert_eq!(marker.0, MARKER_HEADER);
    let mut of_progress = progress_headers(&progress);
    of_progress.push(marker.0, &marker.1);
    let numbered = |output| output_headers(&Numbered { sequence: 3, clock: Time(5), source: position, output });
    let letter = DeadLetter { reason: DeadReason::Undecodable, detail: String::new(), cells: Vec::new() };
    let result = CommandResult {
        request_id: "r".into(),
        tenant: "acme".into(),
        outcome: Outcome::Accepted,
        contact: Some(key.clone()),
        position,
        bundle: 0,
    };
    let written = [
        ("Tick", input_headers(&Input::Tick { wall: Time(5) })),
        ("CommandResult", numbered(Output::CommandResult(result))),
        ("DeadLetter", numbered(Output::DeadLetter(letter))),
        ("Contact", contact_headers(&contact(key, position))),
        ("Progress", of_progress),
        ("Counted", counted_headers(&counted("c1a103191102e9d128d9382552bd5bb6"))),
    ];
    for (name, headers) in written {
        let (required, known) = described_headers(&document, name);
        let written: BTreeSet<String> = headers.iter().map(|(name, _)| name.to_owned()).collect();
        assert!(required.is_subset(&written), "{name}: {required:?} are required, {written:?} are written");
        assert!(written.is_subset(&known), "{name}: {written:?} are written, {known:?} are described");
    }
    for name in Stream::ALL.map(|stream| EXPECTED.iter().find(|(topic, _)| *topic == stream.into()).unwrap().1[0].0) {
        assert!(described_headers(&document, name).0.contains(SEQUENCE_HEADER), "{name} is numbered");
    }
}

#[test]
fn examples_of_keys_are_keys() {
    let document = document();
    let example = |name: &str| document["components"]["schemas"][name]["examples"][0].as_str().unwrap().to_owned();
    let key = CellKey::parse(&example("CellKey")).unwrap();
    assert_eq!(example("ContactId"), key.contact_id().to_string());
    assert_eq!(example("SourcePosition"), Position { partition: 3, offset: 1207 }.to_string());
    assert_eq!(example("ProgressKey"), progress_key(3));
    assert_eq!(example("MetricKey"), counted_key(&counted("c1a103191102e9d128d9382552bd5bb6")));
}

fn counted(value: &str) -> Counted {
    let key = CellKey::of("acme", &IdKey::new(IdKind::Metric, "3", value));
    let (playbook, metric, period) = ("p".to_owned(), "m".to_owned(), "2026-12".to_owned());
    let slot = Slot { playbook, metric, meaning: 1, executor: None, period };
    Counted { key, version: Position { partition: 3, offset: 7 }, slot, count: 1, at: Time(5) }
}

fn contact(key: CellKey, version: Position) -> Contact {
    Contact {
        key,
        version,
        merged_into: None,
        first_seen: Time(5),
        last_seen: Time(5),
        identities: vec![],
        tags: vec![],
        stages: vec![],
        owner: None,
        relations: vec![],
        past: Past::default(),
        enrolments: vec![],
    }
}

/// Names that a message's headers must have, and those they may have.
fn described_headers(document: &Value, message: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let schema = resolved(document, &document["components"]["messages"][message]["headers"]);
    let (mut required, mut known) = (BTreeSet::new(), BTreeSet::new());
    for part in schema["allOf"].as_array().unwrap() {
        let part = resolved(document, part);
        let names = part["required"].as_array().into_iter().flatten();
        required.extend(names.map(|name| name.as_str().unwrap().to_owned()));
        known.extend(keys(&part["properties"]).into_iter().map(str::to_owned));
    }
    (required, known)
}

fn message_names() -> BTreeSet<String> {
    let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    set.file.iter().flat_map(|file| &file.message_type).map(|message| message.name().to_owned()).collect()
}
