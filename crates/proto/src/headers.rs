//! Record headers: CloudEvents 1.0, binary mode.

use crate::output::{counted_key, progress_key};
use crate::record::input_key;
use touchline_model::command::Command;
use touchline_model::counted::Counted;
use touchline_model::id::Position;
use touchline_model::output::{Contact, Numbered, Output, Progress};
use touchline_model::record::{Input, Loop};
use touchline_model::time::Time;

pub use touchline_model::headers::Headers;

/// Headers of a record of `events`.
pub fn input_headers(input: &Input) -> Headers {
    let subject = input_key(input).map(|key| key.to_string());
    let subject = subject.as_deref();
    match input {
        Input::Event(event) => {
            let source = format!("touchline/{}/{}", event.channel.name(), uri_part(&event.account));
            let time = event.occurred_at.unwrap_or(event.received_at);
            cloud_event(&event.id.to_hex(), &source, event.kind.name(), subject, time, "event.proto#Event")
        }
        Input::Tick { wall } => {
            cloud_event(&wall.0.to_string(), "touchline/clock", "tick", subject, *wall, "record.proto#Tick")
        }
        Input::Command(command) => command_headers(command, subject),
        Input::Loop(told) => loop_headers(told, subject),
    }
}

/// Headers of a numbered output: besides CloudEvents, partition, sequence and source offset in decimal.
pub fn output_headers(numbered: &Numbered) -> Headers {
    let Position { partition, offset } = numbered.source;
    let stream = numbered.output.stream().name();
    let (ty, subject) = match &numbered.output {
        Output::TagChange(change) => ("TagChange", Some(change.contact.as_str())),
        Output::Touch(touch) => ("Touch", Some(touch.contact.as_str())),
        Output::CommandResult(result) => ("CommandResult", result.contact.as_ref().map(|key| key.as_str())),
        Output::DeadLetter(_) => ("DeadLetter", None),
    };
    let (id, source) = (format!("{partition}/{}", numbered.sequence), format!("touchline/{stream}"));
    let mut headers = cloud_event(&id, &source, stream, subject, numbered.clock, &format!("output.proto#{ty}"));
    headers.push("touchline-partition", partition.to_string().as_bytes());
    headers.push("touchline-sequence", numbered.sequence.to_string().as_bytes());
    headers.push("touchline-offset", offset.to_string().as_bytes());
    headers
}

/// Headers of a contact in `contacts`.
pub fn contact_headers(contact: &Contact) -> Headers {
    let id = format!("{}/{}", contact.id(), contact.version);
    let subject = Some(contact.key.as_str());
    cloud_event(&id, "touchline/contacts", "contacts", subject, contact.last_seen, "output.proto#ContactRecord")
}

/// Headers of a Progress in `contacts`.
pub fn progress_headers(progress: &Progress) -> Headers {
    let id = format!("{}/{}", progress_key(progress.partition), progress.offset);
    cloud_event(&id, "touchline/contacts", "progress", None, progress.clock, "output.proto#ContactRecord")
}

/// Headers of a number in `contacts`.
pub fn counted_headers(counted: &Counted) -> Headers {
    let id = format!("{}/{}", counted_key(counted), counted.version.offset);
    let subject = Some(counted.key.as_str());
    cloud_event(&id, "touchline/contacts", "counted", subject, counted.at, "output.proto#ContactRecord")
}

fn command_headers(command: &Command, subject: Option<&str>) -> Headers {
    let source = format!("touchline/command/{}", uri_part(&command.tenant));
    let time = command.received_at;
    cloud_event(&command.request_id, &source, command.body.name(), subject, time, "record.proto#Command")
}

fn loop_headers(told: &Loop, subject: Option<&str>) -> Headers {
    let source = format!("touchline/loop/{}", told.source);
    let ty = format!("loop.{}", told.body.name());
    cloud_event(&told.sequence.to_string(), &source, &ty, subject, told.clock, "record.proto#Loop")
}

fn cloud_event(id: &str, source: &str, ty: &str, subject: Option<&str>, time: Time, schema: &str) -> Headers {
    // Names and what is the same in all of them take 250 bytes; numbers and a marker may follow.
    let mut headers = Headers::with_capacity(12, 480 + id.len() + source.len() + subject.map_or(0, str::len));
    headers.push("ce_specversion", b"1.0");
    headers.push("ce_id", id.as_bytes());
    headers.push("ce_source", source.as_bytes());
    headers.push("ce_type", format!("touchline.v1.{ty}").as_bytes());
    if let Some(subject) = subject {
        headers.push("ce_subject", subject.as_bytes());
    }
    headers.push("ce_time", time.to_string().as_bytes());
    headers.push("ce_dataschema", format!("touchline/v1/{schema}").as_bytes());
    headers.push("content-type", b"application/protobuf");
    headers
}

/// `ce_source` is a URI reference: what is not unreserved is percent-encoded.
fn uri_part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
