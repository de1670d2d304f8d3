//! Records of the log from and to the words of the model.

use touchline_log::{NewRecord, RECORD_BYTES_MAX, StoredRecord};
use touchline_model::event::Private;
use touchline_model::output::{Contact, Numbered, Output, Progress};
use touchline_model::record::{Input, Loop, LoopBody, Record, Undecodable};
use touchline_proto as proto;

/// A record as the engine reads it. Total: what cannot be decoded says so.
pub(crate) fn record(stored: &StoredRecord) -> Record {
    let key = stored.key.as_deref().map(std::str::from_utf8).transpose();
    let (key, input) = match key {
        Ok(key) => (key.map(str::to_owned), proto::decode_input(&stored.value)),
        Err(_) => (None, Err(Undecodable("key is not UTF-8".to_owned()))),
    };
    Record { offset: stored.offset, append_time: stored.append_time, key, input }
}

/// A record of `events`.
pub(crate) fn input_record(input: &Input) -> NewRecord {
    NewRecord {
        key: proto::input_key(input).map(|key| key.as_str().as_bytes().to_vec()),
        headers: proto::input_headers(input),
        value: proto::encode_input(input),
    }
}

/// A loopback record that fits the log: a forwarded event is a little larger than the event was, so
/// the largest ones travel without their raw payload, which stays where the event lies.
pub(crate) fn loop_record(mut told: Loop) -> NewRecord {
    let record = input_record(&Input::Loop(Box::new(told.clone())));
    if record.bytes() <= RECORD_BYTES_MAX {
        return record;
    }
    if let LoopBody::Forward { event, .. } = &mut told.body
        && let Private::Plain { raw, .. } = &mut event.private
    {
        raw.clear();
    }
    input_record(&Input::Loop(Box::new(told)))
}

/// An output. A dead letter carries the record when it fits; its position says where it lies anyway.
pub(crate) fn output_record(numbered: &Numbered, source: &StoredRecord) -> NewRecord {
    let key = Some(numbered.output.key(numbered.source).into_bytes());
    let headers = proto::output_headers(numbered);
    let raw = matches!(numbered.output, Output::DeadLetter(_)).then(|| proto::RawRecord {
        key: source.key.clone(),
        headers: source.headers.clone(),
        value: source.value.clone(),
    });
    let value = proto::encode_output(numbered, raw);
    let record = NewRecord { key, headers, value };
    if record.bytes() <= RECORD_BYTES_MAX {
        return record;
    }
    NewRecord { value: proto::encode_output(numbered, None), ..record }
}

/// The public record of a contact.
pub(crate) fn contact_record(contact: &Contact) -> NewRecord {
    NewRecord {
        key: Some(contact.id().as_str().as_bytes().to_vec()),
        headers: proto::contact_headers(contact),
        value: proto::encode_contact(contact),
    }
}

/// How far a partition has come.
pub(crate) fn progress_record(progress: &Progress) -> NewRecord {
    NewRecord {
        key: Some(proto::progress_key(progress.partition).into_bytes()),
        headers: proto::progress_headers(progress),
        value: proto::encode_progress(progress),
    }
}

/// The Progress in a record of `contacts`, if it is one.
pub(crate) fn progress_in(stored: &StoredRecord) -> Option<Progress> {
    match proto::decode_contact_record(&stored.value) {
        Ok(proto::ContactRecord::Progress(progress)) => Some(progress),
        Ok(_) | Err(_) => None,
    }
}
