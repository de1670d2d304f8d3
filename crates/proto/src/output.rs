//! Outputs: tag changes, touches, command results, dead letters; contacts and Progress.

use crate::past::{past_in, past_to};
use crate::v1;
use crate::v1::command_result::Outcome as OutcomeWire;
use crate::v1::contact_record::Record as ContactWire;
use crate::value::{
    cause_in, cause_out, evidence_in, id_in, id_out, key_in, position_in, position_out, required, undecodable,
};
use prost::Message;
use touchline_model::counted::{Counted, Slot};
use touchline_model::headers::Headers;
use touchline_model::output::{
    CommandResult, Contact, DeadLetter, DeadReason, Enrolment, Identity, Joined, Numbered, Outcome, Output, Progress,
    Relation, Stage, StageMove, Stream, Tag, TagChange, Touch, TouchState,
};
use touchline_model::record::Undecodable;
use touchline_model::time::Time;

/// A record as it lay in the log: what a dead letter carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawRecord {
    /// Key; `None`: null.
    pub key: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Headers,
    /// Value.
    pub value: Vec<u8>,
}

/// A value of the topic `contacts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContactRecord {
    /// The public record of a contact.
    Contact(Box<Contact>),
    /// How far a partition has come.
    Progress(Progress),
    /// A number of a metric.
    Counted(Counted),
}

/// The value of a numbered output; `record` is what a dead letter carries and is ignored for others.
pub fn encode_output(numbered: &Numbered, record: Option<RawRecord>) -> Vec<u8> {
    match &numbered.output {
        Output::TagChange(change) => tag_change_to(numbered, change).encode_to_vec(),
        Output::Touch(touch) => touch_to(numbered, touch).encode_to_vec(),
        Output::CommandResult(result) => command_result_to(numbered, result).encode_to_vec(),
        Output::DeadLetter(letter) => dead_letter_to(numbered, letter, record).encode_to_vec(),
    }
}

/// A value of `stream`, and the record that a dead letter carries.
pub fn decode_output(stream: Stream, bytes: &[u8]) -> Result<(Numbered, Option<RawRecord>), Undecodable> {
    match stream {
        Stream::TagChanges => tag_change_from(decode(bytes)?).map(|numbered| (numbered, None)),
        Stream::Touches => touch_from(decode(bytes)?).map(|numbered| (numbered, None)),
        Stream::CommandResults => command_result_from(decode(bytes)?).map(|numbered| (numbered, None)),
        Stream::DeadLetters => dead_letter_from(decode(bytes)?),
    }
}

/// The value of a contact in `contacts`; its key is the contact id.
pub fn encode_contact(contact: &Contact) -> Vec<u8> {
    v1::ContactRecord { record: Some(ContactWire::Contact(contact_to(contact))) }.encode_to_vec()
}

/// The value of a Progress in `contacts`; its key is [`progress_key`].
pub fn encode_progress(progress: &Progress) -> Vec<u8> {
    v1::ContactRecord { record: Some(ContactWire::Progress(progress_to(progress))) }.encode_to_vec()
}

/// The value of a number in `contacts`; its key is [`counted_key`].
pub fn encode_counted(counted: &Counted) -> Vec<u8> {
    v1::ContactRecord { record: Some(ContactWire::Counted(counted_to(counted))) }.encode_to_vec()
}

/// `_metric/n`: no contact id looks like it. Partitions keep their numbers under keys of their own.
pub fn counted_key(counted: &Counted) -> String {
    let id = counted.key.id();
    format!("_metric/{}/{}", id.scope, id.value)
}

/// `_progress/p`: no contact id looks like it.
pub fn progress_key(partition: u32) -> String {
    format!("_progress/{partition}")
}

/// A value of `contacts`.
pub fn decode_contact_record(bytes: &[u8]) -> Result<ContactRecord, Undecodable> {
    let wire: v1::ContactRecord = decode(bytes)?;
    match required("record", wire.record)? {
        ContactWire::Contact(contact) => Ok(ContactRecord::Contact(Box::new(contact_from(contact)?))),
        ContactWire::Progress(progress) => Ok(ContactRecord::Progress(progress_from(progress)?)),
        ContactWire::Counted(counted) => Ok(ContactRecord::Counted(counted_from(counted)?)),
    }
}

/// The message of a tag change.
pub fn tag_change_to(numbered: &Numbered, change: &TagChange) -> v1::TagChange {
    let moves = change.moves.iter().map(|step| v1::StageMove {
        board: step.board.clone(),
        from: step.from.clone(),
        to: step.to.clone(),
    });
    v1::TagChange {
        sequence: numbered.sequence,
        clock_ms: numbered.clock.0,
        source: Some(position_out(numbered.source)),
        contact: change.contact.to_string(),
        contact_id: change.contact.contact_id().to_string(),
        group: change.group.clone(),
        set: change.set.clone(),
        unset: change.unset.clone(),
        moves: moves.collect(),
        retracted: change.retracted,
        at_ms: change.at.0,
        cause: Some(cause_out(&change.cause)),
    }
}

/// The message of a touch.
pub fn touch_to(numbered: &Numbered, touch: &Touch) -> v1::Touch {
    v1::Touch {
        sequence: numbered.sequence,
        clock_ms: numbered.clock.0,
        source: Some(position_out(numbered.source)),
        id: touch.id.clone(),
        state: touch.state.name().to_owned(),
        reason: touch.reason.clone(),
        contact: touch.contact.to_string(),
        contact_id: touch.contact.contact_id().to_string(),
        recipient: Some(id_out(&touch.recipient)),
        playbook: touch.playbook.clone(),
        journey: touch.journey.clone(),
        enrolment: touch.enrolment,
        step: touch.step.clone(),
        occurrence: touch.occurrence,
        touchpoint: touch.touchpoint.clone(),
        content: touch.content.clone(),
        executor: touch.executor.clone(),
        planned_at_ms: touch.planned_at.0,
        due_at_ms: touch.due_at.0,
        expires_at_ms: touch.expires_at.0,
        replaces: touch.replaces.clone(),
        cause: Some(cause_out(&touch.cause)),
    }
}

/// The message of a contact.
pub fn contact_to(contact: &Contact) -> v1::Contact {
    let stages = contact.stages.iter().map(|stage| v1::Stage {
        board: stage.board.clone(),
        column: stage.column.clone(),
        entered_at_ms: stage.entered_at.0,
    });
    let (last_times, past) = past_to(&contact.past);
    v1::Contact {
        key: contact.key.to_string(),
        contact_id: contact.id().to_string(),
        version: Some(position_out(contact.version)),
        merged_into: contact.merged_into.as_ref().map(ToString::to_string),
        first_seen_ms: contact.first_seen.0,
        last_seen_ms: contact.last_seen.0,
        identities: contact.identities.iter().map(identity_to).collect(),
        tags: contact.tags.iter().map(tag_to).collect(),
        stages: stages.collect(),
        owner: contact.owner.clone(),
        relations: contact.relations.iter().map(relation_to).collect(),
        last_times,
        past,
        enrolments: contact.enrolments.iter().map(enrolment_to).collect(),
    }
}

/// The message of a Progress.
pub fn progress_to(progress: &Progress) -> v1::Progress {
    v1::Progress {
        partition: progress.partition,
        offset: progress.offset,
        clock_ms: progress.clock.0,
        sequences: progress.sequences.to_vec(),
        loop_sent: progress.loop_sent.clone(),
        loop_received: progress.loop_received.clone(),
        bundle: progress.bundle,
        next_due_ms: progress.next_due.map(|due| due.0),
    }
}

fn counted_to(counted: &Counted) -> v1::Counted {
    let Counted { key, version, slot, count, at } = counted;
    let Slot { playbook, metric, meaning, executor, period } = slot.clone();
    let version = Some(position_out(*version));
    let (key, count, at_ms) = (key.to_string(), *count, at.0);
    v1::Counted { key, version, playbook, metric, meaning, executor, period, count, at_ms }
}

fn counted_from(wire: v1::Counted) -> Result<Counted, Undecodable> {
    let v1::Counted { key, version, playbook, metric, meaning, executor, period, count, at_ms } = wire;
    let key = key_in("counted.key", &key)?;
    let version = position_in(required("counted.version", version)?);
    let slot = Slot { playbook, metric, meaning, executor, period };
    Ok(Counted { key, version, slot, count, at: Time(at_ms) })
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Undecodable> {
    M::decode(bytes).map_err(|error| undecodable(format!("output: {error}")))
}

fn numbered(
    sequence: u64,
    clock_ms: i64,
    source: Option<v1::Position>,
    output: Output,
) -> Result<Numbered, Undecodable> {
    let source = position_in(required("source", source)?);
    Ok(Numbered { sequence, clock: Time(clock_ms), source, output })
}

fn tag_change_from(wire: v1::TagChange) -> Result<Numbered, Undecodable> {
    let moves = wire.moves.into_iter().map(|step| StageMove { board: step.board, from: step.from, to: step.to });
    let change = TagChange {
        contact: key_in("contact", &wire.contact)?,
        group: wire.group,
        set: wire.set,
        unset: wire.unset,
        moves: moves.collect(),
        retracted: wire.retracted,
        at: Time(wire.at_ms),
        cause: cause_in(wire.cause)?,
    };
    numbered(wire.sequence, wire.clock_ms, wire.source, Output::TagChange(change))
}

fn touch_from(mut wire: v1::Touch) -> Result<Numbered, Undecodable> {
    let (sequence, clock_ms, source) = (wire.sequence, wire.clock_ms, wire.source.take());
    numbered(sequence, clock_ms, source, Output::Touch(touch_in(wire)?))
}

/// A touch without its number.
pub(crate) fn touch_in(wire: v1::Touch) -> Result<Touch, Undecodable> {
    Ok(Touch {
        id: wire.id,
        state: TouchState::parse(&wire.state).ok_or_else(|| undecodable("unknown touch state"))?,
        reason: wire.reason,
        contact: key_in("contact", &wire.contact)?,
        recipient: id_in(required("recipient", wire.recipient)?)?,
        playbook: wire.playbook,
        journey: wire.journey,
        enrolment: wire.enrolment,
        step: wire.step,
        occurrence: wire.occurrence,
        touchpoint: wire.touchpoint,
        content: wire.content,
        executor: wire.executor,
        planned_at: Time(wire.planned_at_ms),
        due_at: Time(wire.due_at_ms),
        expires_at: Time(wire.expires_at_ms),
        replaces: wire.replaces,
        cause: cause_in(wire.cause)?,
    })
}

fn command_result_to(numbered: &Numbered, result: &CommandResult) -> v1::CommandResult {
    let outcome = match &result.outcome {
        Outcome::Accepted => OutcomeWire::Accepted(v1::Accepted {}),
        Outcome::Refused { code, detail, current } => {
            OutcomeWire::Refused(v1::Refused { code: code.clone(), detail: detail.clone(), current: current.clone() })
        }
    };
    v1::CommandResult {
        sequence: numbered.sequence,
        clock_ms: numbered.clock.0,
        source: Some(position_out(numbered.source)),
        request_id: result.request_id.clone(),
        tenant: result.tenant.clone(),
        outcome: Some(outcome),
        contact: result.contact.as_ref().map(ToString::to_string),
        position: Some(position_out(result.position)),
        bundle: result.bundle,
    }
}

fn command_result_from(wire: v1::CommandResult) -> Result<Numbered, Undecodable> {
    let outcome = match required("outcome", wire.outcome)? {
        OutcomeWire::Accepted(_) => Outcome::Accepted,
        OutcomeWire::Refused(refused) => {
            Outcome::Refused { code: refused.code, detail: refused.detail, current: refused.current }
        }
    };
    let result = CommandResult {
        request_id: wire.request_id,
        tenant: wire.tenant,
        outcome,
        contact: wire.contact.map(|key| key_in("contact", &key)).transpose()?,
        position: position_in(required("position", wire.position)?),
        bundle: wire.bundle,
    };
    numbered(wire.sequence, wire.clock_ms, wire.source, Output::CommandResult(result))
}

fn dead_letter_to(numbered: &Numbered, letter: &DeadLetter, record: Option<RawRecord>) -> v1::DeadLetter {
    let record = record.map(|record| v1::RawRecord {
        key: record.key,
        headers: record.headers.iter().map(header_out).collect(),
        value: record.value,
    });
    v1::DeadLetter {
        sequence: numbered.sequence,
        clock_ms: numbered.clock.0,
        source: Some(position_out(numbered.source)),
        reason: letter.reason.name().to_owned(),
        detail: letter.detail.clone(),
        record,
        cells: letter.cells.iter().map(ToString::to_string).collect(),
    }
}

fn header_out((name, value): (&str, &[u8])) -> v1::Header {
    v1::Header { name: name.to_owned(), value: value.to_vec() }
}

fn dead_letter_from(wire: v1::DeadLetter) -> Result<(Numbered, Option<RawRecord>), Undecodable> {
    let reason = DeadReason::parse(&wire.reason).ok_or_else(|| undecodable("unknown dead letter reason"))?;
    let cells = wire.cells.iter().map(|cell| key_in("cells", cell)).collect::<Result<_, _>>()?;
    let letter = Output::DeadLetter(DeadLetter { reason, detail: wire.detail, cells });
    let record = wire.record.map(|record| RawRecord {
        key: record.key,
        headers: record.headers.into_iter().map(|header| (header.name, header.value)).collect(),
        value: record.value,
    });
    Ok((numbered(wire.sequence, wire.clock_ms, wire.source, letter)?, record))
}

pub(crate) fn tag_to(tag: &Tag) -> v1::Tag {
    v1::Tag {
        group: tag.group.clone(),
        tag: tag.tag.clone(),
        set_at_ms: tag.set_at.0,
        cause: Some(cause_out(&tag.cause)),
        label: String::new(),
    }
}

fn enrolment_to(enrolment: &Enrolment) -> v1::Enrolment {
    let step_at =
        |step: &Option<(String, Time)>| step.as_ref().map(|(name, at)| v1::StepAt { name: name.clone(), at_ms: at.0 });
    v1::Enrolment {
        playbook: enrolment.playbook.clone(),
        journey: enrolment.journey.clone(),
        number: enrolment.number,
        entered_at_ms: enrolment.entered_at.0,
        next: step_at(&enrolment.next),
        ended: step_at(&enrolment.ended),
        goal_reached: enrolment.goal_reached,
    }
}

fn contact_from(wire: v1::Contact) -> Result<Contact, Undecodable> {
    let stages = wire.stages.into_iter().map(|stage| Stage {
        board: stage.board,
        column: stage.column,
        entered_at: Time(stage.entered_at_ms),
    });
    Ok(Contact {
        key: key_in("key", &wire.key)?,
        version: position_in(required("version", wire.version)?),
        merged_into: wire.merged_into.map(|key| key_in("merged_into", &key)).transpose()?,
        first_seen: Time(wire.first_seen_ms),
        last_seen: Time(wire.last_seen_ms),
        identities: identities_in(wire.identities)?,
        tags: tags_in(wire.tags)?,
        stages: stages.collect(),
        owner: wire.owner,
        relations: relations_in(wire.relations),
        past: past_in(wire.last_times, wire.past)?,
        enrolments: wire.enrolments.into_iter().map(enrolment_from).collect(),
    })
}

pub(crate) fn identities_in(wire: Vec<v1::Identity>) -> Result<Vec<Identity>, Undecodable> {
    let each = wire.into_iter().map(|identity| {
        let id = id_in(required("identity.id", identity.id)?)?;
        let joined = identity.joined.map(|joined| {
            let (by, into) = (required("joined.by", joined.by)?, key_in("joined.into", &joined.into)?);
            Ok(Joined { by: position_in(by), into, at: Time(joined.at_ms) })
        });
        Ok(Identity { id, evidence: evidence_in(&identity.evidence)?, joined: joined.transpose()? })
    });
    each.collect()
}

pub(crate) fn tags_in(wire: Vec<v1::Tag>) -> Result<Vec<Tag>, Undecodable> {
    let each = wire.into_iter().map(|tag| {
        let cause = cause_in(tag.cause)?;
        Ok(Tag { group: tag.group, tag: tag.tag, set_at: Time(tag.set_at_ms), cause })
    });
    each.collect()
}

pub(crate) fn relations_in(wire: Vec<v1::Relation>) -> Vec<Relation> {
    let each = wire.into_iter().map(|relation| Relation {
        staff: relation.staff,
        added_at: Time(relation.added_at_ms),
        state: relation.state,
        removed_at: relation.removed_at_ms.map(Time),
    });
    each.collect()
}

pub(crate) fn identity_to(identity: &Identity) -> v1::Identity {
    let joined = identity.joined.as_ref().map(|joined| v1::Joined {
        by: Some(position_out(joined.by)),
        into: joined.into.to_string(),
        at_ms: joined.at.0,
    });
    v1::Identity { id: Some(id_out(&identity.id)), evidence: identity.evidence.name().to_owned(), joined }
}

pub(crate) fn relation_to(relation: &Relation) -> v1::Relation {
    v1::Relation {
        staff: relation.staff.clone(),
        added_at_ms: relation.added_at.0,
        state: relation.state.clone(),
        removed_at_ms: relation.removed_at.map(|time| time.0),
    }
}

fn enrolment_from(wire: v1::Enrolment) -> Enrolment {
    let step_at = |step: Option<v1::StepAt>| step.map(|step| (step.name, Time(step.at_ms)));
    Enrolment {
        playbook: wire.playbook,
        journey: wire.journey,
        number: wire.number,
        entered_at: Time(wire.entered_at_ms),
        next: step_at(wire.next),
        ended: step_at(wire.ended),
        goal_reached: wire.goal_reached,
    }
}

fn progress_from(wire: v1::Progress) -> Result<Progress, Undecodable> {
    let sequences =
        wire.sequences.try_into().map_err(|_| undecodable("progress.sequences does not have four numbers"))?;
    Ok(Progress {
        partition: wire.partition,
        offset: wire.offset,
        clock: Time(wire.clock_ms),
        sequences,
        loop_sent: wire.loop_sent,
        loop_received: wire.loop_received,
        bundle: wire.bundle,
        next_due: wire.next_due_ms.map(Time),
    })
}
