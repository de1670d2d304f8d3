//! Records of the log from and to the words of the model.

use crate::metrics;
use touchline_engine::Public;
use touchline_log::{Marker, NewRecord, RECORD_BYTES_MAX, StoredRecord, Topic};
use touchline_model::event::Private;
use touchline_model::output::{Cause, Contact, DeadReason, Numbered, Outcome, Output, Progress};
use touchline_model::past::Past;
use touchline_model::record::{Input, Loop, LoopBody, Record, Undecodable};
use touchline_model::snapshot::Snapshot;
use touchline_model::value::Fields;
use touchline_proto as proto;

/// Identities, relations and others that a contact keeps when it is cut: who it is stays readable.
const KEPT_MAX: usize = 64;
/// Identifiers that a link or merge keeps when it is cut: at 512 bytes each they fill half a record.
const LINKED_MAX: usize = 1_024;
/// Bytes that a text keeps when it is cut: what people write in a reason or read in a detail at a glance.
const TEXT_BYTES_KEPT: usize = 1_024;

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

/// A loopback record that fits the log. What was cut of a forwarded event stays readable where it lies.
pub(crate) fn loop_record(told: Loop) -> NewRecord {
    let encode = |input: &Input| input_record(input);
    let cuts: [fn(&mut Input); 4] = [cut_raw, cut_private, cut_rest, cut_to_identity];
    fitting(Topic::Events, Input::Loop(Box::new(told)), encode, &cuts)
}

/// An output. A dead letter carries the record when it fits; its position says where it lies anyway.
pub(crate) fn output_record(numbered: &Numbered, source: &StoredRecord) -> NewRecord {
    let raw = carries_record(&numbered.output).then(|| proto::RawRecord {
        key: source.key.clone(),
        headers: source.headers.clone(),
        value: source.value.clone(),
    });
    let encode = |(numbered, raw): &Said| NewRecord {
        key: Some(numbered.output.key(numbered.source).into_bytes()),
        headers: proto::output_headers(numbered),
        value: proto::encode_output(numbered, raw.clone()),
    };
    let cuts: [fn(&mut Said); 2] = [|(_, raw)| *raw = None, |(numbered, _)| cut_words(&mut numbered.output)];
    fitting(Topic::from(numbered.output.stream()), (numbered.clone(), raw), encode, &cuts)
}

/// A record of `contacts`.
pub(crate) fn public_record(public: &Public) -> NewRecord {
    match public {
        Public::Contact(contact) => contact_record(contact),
        Public::Counted(counted) => NewRecord {
            key: Some(proto::counted_key(counted).into_bytes()),
            headers: proto::counted_headers(counted),
            value: proto::encode_counted(counted),
        },
    }
}

/// The public record of a contact.
pub(crate) fn contact_record(contact: &Contact) -> NewRecord {
    let encode = |contact: &Contact| NewRecord {
        key: Some(contact.id().as_str().as_bytes().to_vec()),
        headers: proto::contact_headers(contact),
        value: proto::encode_contact(contact),
    };
    let cuts: [fn(&mut Contact); 7] = [
        |contact| contact.past.happened.clear(),
        |contact| contact.past = Past { segments: std::mem::take(&mut contact.past.segments), ..Past::default() },
        |contact| contact.relations.iter_mut().for_each(|relation| relation.state.clear()),
        |contact| contact.identities.truncate(KEPT_MAX),
        |contact| contact.tags.iter_mut().for_each(|tag| cut_cause(&mut tag.cause)),
        |contact| contact.relations.truncate(KEPT_MAX),
        |contact| {
            contact.enrolments.clear();
            contact.tags.clear();
            contact.stages.clear();
        },
    ];
    fitting(Topic::Contacts, contact.clone(), encode, &cuts)
}

/// How far a partition has come.
pub(crate) fn progress_record(progress: &Progress) -> NewRecord {
    let mut headers = proto::progress_headers(progress);
    let (name, marker) = Marker { offset: progress.offset, sequences: progress.sequences }.to_header();
    headers.push(name, &marker);
    NewRecord {
        key: Some(proto::progress_key(progress.partition).into_bytes()),
        headers,
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

/// An event whose link is not made is applied all the same, and one that has waited lies elsewhere: only the position is
/// told, not once more what it says about a person.
const fn carries_record(output: &Output) -> bool {
    match output {
        Output::DeadLetter(letter) => {
            !matches!(letter.reason, DeadReason::LinkRefused | DeadReason::LinkWeak | DeadReason::OrderTimedOut)
        }
        Output::TagChange(_) | Output::Touch(_) | Output::CommandResult(_) => false,
    }
}

/// An output, and the record that a dead letter carries.
type Said = (Numbered, Option<proto::RawRecord>);

/// Encodes, and cuts in order until it fits the log: a record that does not fit would stop its
/// partition for good. Bounds at the door make this rare; it depends on the value alone, so that a
/// replay cuts the same.
fn fitting<T>(topic: Topic, mut value: T, encode: impl Fn(&T) -> NewRecord, cuts: &[fn(&mut T)]) -> NewRecord {
    let mut record = encode(&value);
    if record.bytes() <= RECORD_BYTES_MAX {
        return record;
    }
    metrics::record_cut(topic);
    for cut in cuts {
        cut(&mut value);
        record = encode(&value);
        if record.bytes() <= RECORD_BYTES_MAX {
            break;
        }
    }
    record
}

fn cut_raw(input: &mut Input) {
    if let Some(Private::Plain { raw, .. }) = forwarded(input).map(|event| &mut event.private) {
        raw.clear();
    }
}

fn cut_private(input: &mut Input) {
    if let Some(event) = forwarded(input) {
        event.private = Private::default();
    }
}

/// What is left can only be as large when a writer other than ours put it into the log, or after
/// more merges than a person has accounts.
fn cut_rest(input: &mut Input) {
    let Input::Loop(told) = input else { return };
    match &mut told.body {
        LoopBody::Forward { event, .. } => event.fields = Fields::new(),
        LoopBody::Link { exclusive: ids, .. }
        | LoopBody::Ask { exclusive: ids, .. }
        | LoopBody::Grant { exclusive: ids, .. }
        | LoopBody::Redeem { exclusive: ids, .. } => ids.truncate(LINKED_MAX),
        LoopBody::MergeIn { snapshot, .. } | LoopBody::Part { snapshot, .. } => cut_snapshot(snapshot),
        // Their parts are bounded: commands on decoding, bundles by the compiler, migrations by `MIGRATIONS_BYTES_MAX`.
        LoopBody::ForwardCommand { .. }
        | LoopBody::Activation { .. }
        | LoopBody::Directory { .. }
        | LoopBody::Release { .. }
        | LoopBody::Again { .. } => {}
        // Lines are those of an event that fits a record.
        LoopBody::Bought { .. } | LoopBody::Member { .. } => {}
    }
}

/// A contact whose record was cut is one that merges cut: what it has to do and who it is stay. Names every field:
/// whoever adds one says here what bounds it.
fn cut_snapshot(snapshot: &mut Snapshot) {
    let Snapshot {
        seen: _,
        bundle: _,
        identities,
        // Links and partings bound them, as identities.
        reserved: _,
        apart: _,
        tags,
        relations,
        past,
        assigned: _,
        // The playbooks bound them: journeys, and waits.
        enrolments: _,
        waits: _,
        // The engine does.
        touches,
        renamed: _,
        concluded,
    } = snapshot;
    let Past {
        happened,
        received,
        sent,
        observed,
        gone,
        // What playbooks count and know.
        tallies: _,
        attributes: _,
        groups: _,
        silences: _,
        segments: _,
        consents: _,
    } = past;
    happened.clear();
    received.clear();
    sent.clear();
    observed.clear();
    gone.clear();
    concluded.clear();
    identities.truncate(LINKED_MAX);
    relations.iter_mut().for_each(|relation| relation.state.clear());
    relations.truncate(LINKED_MAX);
    tags.iter_mut().for_each(|tag| cut_cause(&mut tag.cause));
    touches.iter_mut().for_each(|touch| cut_cause(&mut touch.cause));
}

/// Playbooks of half a megabyte can have a contact remember more than a record holds. Who it is stays, so that its
/// events reach the contact it has become.
fn cut_to_identity(input: &mut Input) {
    let Input::Loop(told) = input else { return };
    if let LoopBody::MergeIn { snapshot, .. } | LoopBody::Part { snapshot, .. } = &mut told.body {
        let Snapshot { seen, bundle, identities, mut reserved, mut apart, assigned, .. } =
            std::mem::take(&mut **snapshot);
        reserved.truncate(KEPT_MAX);
        reserved.iter_mut().for_each(|promised| promised.exclusive.truncate(KEPT_MAX));
        apart.truncate(LINKED_MAX);
        **snapshot = Snapshot { seen, bundle, identities, reserved, apart, assigned, ..Snapshot::default() };
    }
}

fn forwarded(input: &mut Input) -> Option<&mut touchline_model::event::Event> {
    match input {
        Input::Loop(told) => match &mut told.body {
            LoopBody::Forward { event, .. } => Some(event),
            _ => None,
        },
        _ => None,
    }
}

/// Shortens what is written for people. What is left are ids and one content of the playbook, which its
/// compiler bounds.
fn cut_words(output: &mut Output) {
    match output {
        Output::TagChange(change) => cut_cause(&mut change.cause),
        Output::Touch(touch) => cut_cause(&mut touch.cause),
        Output::CommandResult(result) => {
            if let Outcome::Refused { detail, current, .. } = &mut result.outcome {
                shorten(detail);
                shorten(current);
            }
        }
        Output::DeadLetter(letter) => shorten(&mut letter.detail),
    }
}

fn cut_cause(cause: &mut Cause) {
    shorten(&mut cause.reason);
    cause.hit = None;
}

/// Keeps the beginning, in whole characters.
fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_KEPT));
}

#[cfg(test)]
mod tests {
    use super::*;
    use touchline_model::event::Event;
    use touchline_model::id::{CellKey, EventId, IdKey, IdKind, Position};
    use touchline_model::output::{CommandResult, DeadLetter, Enrolment, Hit, Identity, Relation, Tag, TagChange};
    use touchline_model::past::{Attribute, Past};
    use touchline_model::record::Evidence;
    use touchline_model::snapshot::Promised;
    use touchline_model::time::Time;
    use touchline_proto::{ContactRecord, decode_contact_record, decode_input, decode_output};

    const HERE: Position = Position { partition: 0, offset: 7 };

    fn id(number: usize) -> IdKey {
        IdKey::new(IdKind::WecomExternalUserid, "ww1", format!("{number:0>120}"))
    }

    fn key() -> CellKey {
        CellKey::of("acme", &id(0))
    }

    fn cause(reason_bytes: usize, keyword_bytes: usize) -> Cause {
        let (keyword, field) = ("钱".repeat(keyword_bytes / 3), "text".to_owned());
        Cause {
            position: HERE,
            origin: None,
            native: None,
            event_id: None,
            kind: "chat.message".into(),
            playbook: "p".into(),
            rule: "rules/r".into(),
            bundle: 1,
            hit: Some(Hit { keywords: "k".into(), keyword, field, start: 0, end: 1 }),
            actor: "a".into(),
            reason: "长".repeat(reason_bytes / 3),
        }
    }

    fn contact() -> Contact {
        Contact {
            key: key(),
            version: HERE,
            merged_into: None,
            first_seen: Time(1),
            last_seen: Time(2),
            identities: vec![Identity::own(id(0))],
            tags: Vec::new(),
            stages: Vec::new(),
            owner: None,
            relations: Vec::new(),
            past: times(1),
            enrolments: Vec::new(),
        }
    }

    fn times(count: usize) -> Past {
        let mut past = Past::default();
        (0..count).for_each(|number| past.happen(&format!("{number:0>250}"), Time(1)));
        past
    }

    /// The contact that lies in the log for one that is too large.
    fn kept(contact: &Contact) -> Contact {
        let record = contact_record(contact);
        assert!(record.bytes() <= RECORD_BYTES_MAX);
        assert_eq!(record, contact_record(contact), "the same bytes each time");
        match decode_contact_record(&record.value).unwrap() {
            ContactRecord::Contact(contact) => *contact,
            ContactRecord::Progress(_) | ContactRecord::Counted(_) => panic!("a contact was put in"),
        }
    }

    #[test]
    fn a_contact_that_is_too_large_loses_first_what_matters_least() {
        let relation = |number: usize, bytes: usize| Relation {
            staff: format!("staff{number}"),
            added_at: Time(1),
            state: "s".repeat(bytes),
            removed_at: None,
        };
        let ids = |count: usize| (0..count).map(|number| Identity::own(id(number))).collect::<Vec<_>>();
        let tag = || Tag { group: "g".into(), tag: "t".into(), set_at: Time(1), cause: cause(1_900, 3) };

        let fits = contact();
        assert_eq!(kept(&fits), fits);
        let before = Contact { relations: vec![relation(1, 250)], identities: ids(70), ..contact() };
        assert_eq!(
            kept(&Contact { past: times(4_000), ..before.clone() }),
            Contact { past: Past::default(), ..before.clone() }
        );

        let states = Contact { relations: (0..5_000).map(|at| relation(at, 250)).collect(), ..before };
        let without = kept(&states);
        assert!(without.relations.len() == 5_000 && without.relations.iter().all(|relation| relation.state.is_empty()));
        assert_eq!(without.identities.len(), 70);

        let known = kept(&Contact { identities: ids(6_500), tags: vec![tag()], ..states.clone() });
        assert_eq!((known.identities, known.relations.len(), known.tags), (ids(64), 5_000, vec![tag()]));

        let reasons = kept(&Contact { tags: vec![tag(); 600], ..states });
        assert!(reasons.tags.len() == 600 && reasons.tags[0].cause.reason.len() == 1_023, "whole characters");

        let many = kept(&Contact { relations: (0..90_000).map(|at| relation(at, 0)).collect(), ..contact() });
        assert_eq!(many.relations.len(), 64);
        let enrolment = Enrolment {
            playbook: "p".repeat(200),
            journey: "j".into(),
            number: 1,
            entered_at: Time(1),
            next: None,
            ended: None,
            goal_reached: false,
        };
        let journeys = kept(&Contact { enrolments: vec![enrolment; 6_000], ..contact() });
        assert_eq!((journeys.enrolments.len(), journeys.key), (0, key()));
    }

    /// The output that lies in the log for one whose record was `record_bytes` long.
    fn said(output: Output, record_bytes: usize) -> (Output, Option<proto::RawRecord>) {
        let stored = StoredRecord {
            offset: 7,
            append_time: Time(1),
            key: Some(key().as_str().as_bytes().to_vec()),
            headers: touchline_log::Headers::new(),
            value: vec![9; record_bytes],
        };
        let numbered = Numbered { sequence: 1, clock: Time(1), source: HERE, output };
        let record = output_record(&numbered, &stored);
        assert!(record.bytes() <= RECORD_BYTES_MAX);
        let (decoded, raw) = decode_output(numbered.output.stream(), &record.value).unwrap();
        (decoded.output, raw)
    }

    #[test]
    fn an_output_that_is_too_large_loses_words_and_no_facts() {
        let (detail, short) = ("x".repeat(RECORD_BYTES_MAX), "x".repeat(TEXT_BYTES_KEPT));
        let refused = |detail: &str| {
            let (code, detail) = ("invalid_playbook".to_owned(), detail.to_owned());
            Output::CommandResult(CommandResult {
                request_id: "r".into(),
                tenant: "acme".into(),
                outcome: Outcome::Refused { code, detail, current: String::new() },
                contact: None,
                position: HERE,
                bundle: 1,
            })
        };
        assert_eq!(said(refused(&detail), 0).0, refused(&short));

        let dead = |detail: &str| {
            Output::DeadLetter(DeadLetter {
                reason: DeadReason::Undecodable,
                detail: detail.to_owned(),
                cells: Vec::new(),
            })
        };
        let (letter, raw) = said(dead("short"), RECORD_BYTES_MAX);
        assert_eq!((letter, raw), (dead("short"), None));
        assert!(said(dead("short"), RECORD_BYTES_MAX - 16_384).1.is_some(), "what is admitted travels whole");
        assert_eq!(said(dead(&detail), 5), (dead(&short), None));

        for reason in DeadReason::ALL {
            let letter = Output::DeadLetter(DeadLetter { reason, detail: String::new(), cells: Vec::new() });
            let elsewhere = reason.name().starts_with("link_") || reason.name() == "order_timed_out";
            assert_eq!(said(letter, 5).1.is_none(), elsewhere, "{}", reason.name());
        }

        let change = |cause: Cause| TagChange {
            contact: key(),
            group: "g".into(),
            set: Some("t".into()),
            unset: None,
            moves: Vec::new(),
            retracted: false,
            at: Time(1),
            cause,
        };
        let Output::TagChange(short) = said(Output::TagChange(change(cause(600_000, 500_000))), 0).0 else { panic!() };
        assert_eq!(short, change(Cause { hit: None, ..cause(TEXT_BYTES_KEPT, 0) }));
    }

    #[test]
    fn a_forward_that_is_too_large_leaves_the_payload_where_it_lies() {
        let subject = vec![id(0)];
        let forward = |private: Private, fields: Fields| {
            let event = Event {
                id: EventId([1; 16]),
                kind: touchline_model::kind::Kind::ChatMessage,
                custom_name: String::new(),
                tenant: "acme".into(),
                channel: touchline_model::event::Channel::Api,
                account: String::new(),
                occurred_at: None,
                precision: touchline_model::event::Precision::default(),
                received_at: Time(1),
                subject: subject.clone(),
                actor: touchline_model::event::Actor::Customer,
                native: touchline_model::event::Native::default(),
                cause: touchline_model::event::EventCause::default(),
                fields,
                private,
            };
            let body = LoopBody::Forward { target: key(), event: Box::new(event), origin: HERE, hops: 1 };
            Loop { source: 1, sequence: 1, origin: HERE, clock: Time(1), body }
        };
        let text = |bytes: usize| Fields::new().with("text", touchline_model::value::Value::text("x".repeat(bytes)));
        let plain = |bytes: usize, raw: usize| Private::Plain { fields: text(bytes), raw: vec![1; raw] };
        let check = |told: &Loop, expected: &Loop| {
            let record = loop_record(told.clone());
            assert!(record.bytes() <= RECORD_BYTES_MAX);
            assert_eq!(decode_input(&record.value).unwrap(), Input::Loop(Box::new(expected.clone())));
        };
        let large = RECORD_BYTES_MAX;
        check(&forward(plain(5, 5), Fields::new()), &forward(plain(5, 5), Fields::new()));
        check(&forward(plain(5, large), Fields::new()), &forward(plain(5, 0), Fields::new()));
        check(&forward(plain(large, large), Fields::new()), &forward(Private::default(), Fields::new()));
        let fields = (0..100).fold(Fields::new(), |fields, nth| {
            fields.with(format!("f{nth}"), touchline_model::value::Value::text("x".repeat(16_000)))
        });
        check(&forward(plain(5, 5), fields), &forward(Private::default(), Fields::new()));
        let (evidence, origin) = (Evidence::Strong, HERE);
        let text = "x".repeat(RECORD_BYTES_MAX);
        let identities: Vec<Identity> =
            (0..8_000).map(|number| Identity { id: id(number), evidence, joined: None }).collect();
        let of = |past: Past| Snapshot { identities: identities[..3].to_vec(), past, ..Snapshot::default() };
        let attribute = Attribute { value: touchline_model::value::Value::text(&*text), at: Time(1) };
        // Each of what a contact remembers, larger than a record by itself.
        let snapshots = [
            Snapshot { identities: identities.clone(), ..Snapshot::default() },
            Snapshot {
                reserved: vec![Promised {
                    cell: key(),
                    exclusive: identities.iter().map(|one| one.id.clone()).collect(),
                    identities: 8_000,
                }],
                ..of(Past::default())
            },
            Snapshot { apart: identities.iter().map(|one| one.id.clone()).collect(), ..of(Past::default()) },
            Snapshot { renamed: vec![(text.clone(), "a".into())], ..of(Past::default()) },
            Snapshot { waits: (0..200_000).map(|key| (Time(1), key)).collect(), ..of(Past::default()) },
            of(Past { attributes: [("a".to_owned(), attribute)].into(), ..Past::default() }),
            of(Past { segments: [text].into(), ..Past::default() }),
            of(Past { silences: (0..200_000).map(|key| (key, Time(1))).collect(), ..Past::default() }),
        ];
        for (nth, snapshot) in snapshots.into_iter().enumerate() {
            let kept = snapshot.identities.len().min(LINKED_MAX);
            let (target, from, into) = (key(), key(), key());
            let body = LoopBody::MergeIn { target, from, into, snapshot: Box::new(snapshot), evidence, origin };
            let record = loop_record(Loop { body, ..forward(plain(1, 1), Fields::new()) });
            assert!(record.bytes() <= RECORD_BYTES_MAX, "snapshot {nth}: {}", record.bytes());
            let Ok(Input::Loop(told)) = decode_input(&record.value) else { panic!("snapshot {nth}") };
            let LoopBody::MergeIn { snapshot, .. } = told.body else { panic!("snapshot {nth}") };
            assert_eq!(snapshot.identities.len(), kept, "snapshot {nth}: who it is stays");
        }
    }
}
