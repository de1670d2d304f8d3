//! Records of the topic `events`.

use crate::bounds::check_command_texts;
use crate::event::{check_tenant, event_from, event_to};
use crate::snapshot::{snapshot_in, snapshot_to};
use crate::v1;
use crate::v1::command::Body as CommandWire;
use crate::v1::log_record::Record as Wire;
use crate::v1::r#loop::Body as LoopWire;
use crate::value::{
    clock_in, evidence_in, id_in, id_out, ids_in, ids_out, key_in, position_in, position_out, required, sources_in,
    sources_out, tag_refs_in, tag_refs_out, undecodable, value_in, value_out,
};
use prost::Message;
use touchline_model::command::{Command, CommandBody, Migration, TagRef};
use touchline_model::id::{CellKey, IdKey, IdKind, Position};
use touchline_model::output::Identity;
use touchline_model::record::{Evidence, Input, Loop, LoopBody, Undecodable};
use touchline_model::snapshot::Snapshot;
use touchline_model::time::Time;
use touchline_model::value::Value;

/// Longest request id, in characters.
pub const REQUEST_ID_CHARS_MAX: usize = 64;

/// The value of a record of `events`.
pub fn encode_input(input: &Input) -> Vec<u8> {
    let record = match input {
        Input::Event(event) => Wire::Event(event_to(event)),
        Input::Tick { wall } => Wire::Tick(v1::Tick { wall_ms: wall.0 }),
        Input::Command(command) => Wire::Command(command_to(command)),
        Input::Loop(told) => Wire::Loop(loop_to(told)),
    };
    v1::LogRecord { record: Some(record) }.encode_to_vec()
}

/// What a record of `events` says, checked; never panics.
pub fn decode_input(bytes: &[u8]) -> Result<Input, Undecodable> {
    let wire = v1::LogRecord::decode(bytes).map_err(|error| undecodable(format!("record: {error}")))?;
    match required("record", wire.record)? {
        Wire::Event(event) => Ok(Input::Event(Box::new(event_from(event)?))),
        Wire::Tick(tick) => Ok(Input::Tick { wall: clock_in("tick.wall_ms", tick.wall_ms)? }),
        Wire::Command(command) => Ok(Input::Command(Box::new(command_from(command)?))),
        Wire::Loop(told) => Ok(Input::Loop(Box::new(loop_from(told)?))),
        Wire::LogicVersion(_) => Err(undecodable("logic_version is not supported by this version")),
    }
}

/// What every command in the log satisfies; whoever appends one asks first.
///
/// A tenant as for events, a request id of 1 to [`REQUEST_ID_CHARS_MAX`] characters, names of at most
/// [`NAME_BYTES_MAX`](crate::NAME_BYTES_MAX), a reason of at most [`REASON_BYTES_MAX`](crate::REASON_BYTES_MAX),
/// at most [`EDIT_TAGS_MAX`](crate::EDIT_TAGS_MAX) tags.
pub fn check_command(command: &Command) -> Result<(), Undecodable> {
    check_tenant(&command.tenant)?;
    if command.request_id.is_empty() || command.request_id.chars().count() > REQUEST_ID_CHARS_MAX {
        return Err(undecodable(format!("request_id does not have 1 to {REQUEST_ID_CHARS_MAX} characters")));
    }
    check_command_texts(command)
}

/// The key a record of `events` is appended under; `None` for records that name their partition.
pub fn input_key(input: &Input) -> Option<CellKey> {
    match input {
        Input::Event(event) => Some(event.key()),
        Input::Tick { .. } => None,
        Input::Command(command) => command.body.contact().cloned(),
        Input::Loop(told) => told.body.target().cloned(),
    }
}

fn command_to(command: &Command) -> v1::Command {
    let body = match &command.body {
        CommandBody::MoveCard { contact, board, expected_stage, to, reason } => CommandWire::MoveCard(v1::MoveCard {
            contact: contact.to_string(),
            board: board.clone(),
            expected_stage: expected_stage.clone(),
            to: to.clone(),
            reason: reason.clone(),
        }),
        CommandBody::EditTags { contact, add, remove, reason } => CommandWire::EditTags(v1::EditTags {
            contact: contact.to_string(),
            add: tag_refs_out(add),
            remove: tag_refs_out(remove),
            reason: reason.clone(),
        }),
        CommandBody::Link { contact, identifier, reason } => CommandWire::Link(v1::LinkIdentifier {
            contact: contact.to_string(),
            identifier: Some(id_out(identifier)),
            reason: reason.clone(),
        }),
        CommandBody::Unlink { contact, identifier, reason } => CommandWire::Unlink(v1::UnlinkIdentifier {
            contact: contact.to_string(),
            identifier: Some(id_out(identifier)),
            reason: reason.clone(),
        }),
        CommandBody::MintToken { token, bearer, expires_at } => CommandWire::MintToken(v1::MintToken {
            token: token.to_string(),
            bearer: Some(id_out(bearer)),
            expires_at_ms: expires_at.0,
        }),
        CommandBody::SetDirectory { yaml } => CommandWire::SetDirectory(v1::SetDirectory { yaml: yaml.clone() }),
        CommandBody::Activate { sources, remove, expected_active, migrations } => CommandWire::Activate(v1::Activate {
            sources: sources_out(sources),
            remove: remove.clone(),
            expected_active: *expected_active,
            migrations: migrations_to(migrations),
        }),
    };
    v1::Command {
        request_id: command.request_id.clone(),
        tenant: command.tenant.clone(),
        actor: command.actor.clone(),
        received_at_ms: command.received_at.0,
        body: Some(body),
    }
}

fn command_from(wire: v1::Command) -> Result<Command, Undecodable> {
    let body = match required("command.body", wire.body)? {
        CommandWire::MoveCard(body) => CommandBody::MoveCard {
            contact: own_contact(&wire.tenant, &body.contact)?,
            board: body.board,
            expected_stage: body.expected_stage,
            to: body.to,
            reason: body.reason,
        },
        CommandWire::EditTags(body) => CommandBody::EditTags {
            contact: own_contact(&wire.tenant, &body.contact)?,
            add: tag_refs_in(body.add),
            remove: tag_refs_in(body.remove),
            reason: body.reason,
        },
        CommandWire::Link(body) => CommandBody::Link {
            contact: own_contact(&wire.tenant, &body.contact)?,
            identifier: person_in(&wire.tenant, body.identifier)?,
            reason: body.reason,
        },
        CommandWire::Unlink(body) => CommandBody::Unlink {
            contact: own_contact(&wire.tenant, &body.contact)?,
            identifier: person_in(&wire.tenant, body.identifier)?,
            reason: body.reason,
        },
        CommandWire::MintToken(body) => CommandBody::MintToken {
            token: token_in(&wire.tenant, &body.token)?,
            bearer: bearer_in(&wire.tenant, body.bearer)?,
            expires_at: clock_in("expires_at_ms", body.expires_at_ms)?,
        },
        CommandWire::SetDirectory(body) => CommandBody::SetDirectory { yaml: body.yaml },
        CommandWire::Activate(body) => CommandBody::Activate {
            sources: sources_in(body.sources),
            remove: body.remove,
            expected_active: body.expected_active,
            migrations: migrations_from(body.migrations)?,
        },
    };
    let command = Command {
        request_id: wire.request_id,
        tenant: wire.tenant,
        actor: wire.actor,
        received_at: clock_in("received_at_ms", wire.received_at_ms)?,
        body,
    };
    check_command(&command)?;
    Ok(command)
}

/// The messages of what becomes of tags.
pub fn migrations_to(migrations: &[Migration]) -> Vec<v1::TagMigration> {
    let tag = |TagRef { group, tag }: &TagRef| v1::TagRef { group: group.clone(), tag: tag.clone() };
    let message = |one: &Migration| v1::TagMigration { from: Some(tag(&one.from)), to: one.to.as_ref().map(tag) };
    migrations.iter().map(message).collect()
}

/// What becomes of tags, from its messages.
pub fn migrations_from(wire: Vec<v1::TagMigration>) -> Result<Vec<Migration>, Undecodable> {
    let tag = |v1::TagRef { group, tag }: v1::TagRef| TagRef { group, tag };
    let each = wire.into_iter().map(|one| {
        let from = required("migration.from", one.from)?;
        Ok(Migration { from: tag(from), to: one.to.map(tag) })
    });
    each.collect()
}

/// A command may only name contacts of its own tenant.
fn own_contact(tenant: &str, key: &str) -> Result<CellKey, Undecodable> {
    let key = key_in("contact", key)?;
    if key.tenant() == tenant { Ok(key) } else { Err(undecodable("the contact belongs to another tenant")) }
}

/// An identifier of a person, whose cell has a key.
fn person_in(tenant: &str, id: Option<v1::IdKey>) -> Result<IdKey, Undecodable> {
    let id = bearer_in(tenant, id)?;
    if id.kind.is_contact() { Ok(id) } else { Err(undecodable("the identifier is not one of a person")) }
}

/// The same, or an order.
fn bearer_in(tenant: &str, id: Option<v1::IdKey>) -> Result<IdKey, Undecodable> {
    let id = id_in(required("identifier", id)?)?;
    if !id.kind.is_contact() && id.kind != IdKind::Order {
        return Err(undecodable("the identifier is neither one of a person nor an order"));
    }
    key_in("identifier", CellKey::of(tenant, &id).as_str())?;
    Ok(id)
}

fn token_in(tenant: &str, key: &str) -> Result<CellKey, Undecodable> {
    let token = own_contact(tenant, key)?;
    if token.kind() == IdKind::Token { Ok(token) } else { Err(undecodable("the key is not one of a token")) }
}

fn loop_to(told: &Loop) -> v1::Loop {
    let body = match &told.body {
        LoopBody::Forward { target, event, origin, hops } => LoopWire::Forward(v1::Forward {
            target: target.to_string(),
            event: Some(event_to(event)),
            origin: Some(position_out(*origin)),
            hops: u32::from(*hops),
        }),
        LoopBody::ForwardCommand { target, command, origin, hops } => LoopWire::ForwardCommand(v1::ForwardCommand {
            target: target.to_string(),
            command: Some(command_to(command)),
            origin: Some(position_out(*origin)),
            hops: u32::from(*hops),
        }),
        LoopBody::Link { target, from, exclusive, evidence, origin } => {
            LoopWire::Link(step_to(target, from, (exclusive, 0), *evidence, *origin))
        }
        LoopBody::Ask { target, from, exclusive, identities, evidence, origin } => {
            LoopWire::Ask(step_to(target, from, (exclusive, *identities), *evidence, *origin))
        }
        LoopBody::Grant { target, from, exclusive, identities, evidence, origin } => {
            LoopWire::Grant(step_to(target, from, (exclusive, *identities), *evidence, *origin))
        }
        LoopBody::MergeIn { target, from, into, snapshot, evidence, origin } => LoopWire::MergeIn(v1::MergeIn {
            target: target.to_string(),
            from: from.to_string(),
            into: into.to_string(),
            identities: Vec::new(),
            snapshot: Some(snapshot_to(snapshot)),
            evidence: evidence.name().to_owned(),
            origin: Some(position_out(*origin)),
        }),
        LoopBody::Bought { target, buyer, lines, origin } => LoopWire::Bought(v1::Bought {
            target: target.to_string(),
            buyer: buyer.to_string(),
            lines: lines.as_ref().map(|lines| match lines {
                Value::List(lines) => v1::ValueList { values: lines.iter().map(value_out).collect() },
                other => v1::ValueList { values: vec![value_out(other)] },
            }),
            origin: Some(position_out(*origin)),
        }),
        LoopBody::Member { target, member, inside, at } => LoopWire::Member(v1::MemberChange {
            target: target.to_string(),
            member: Some(id_out(member)),
            joined_at_ms: inside.then_some(at.0),
            left_at_ms: (!inside).then_some(at.0),
        }),
        LoopBody::Redeem { target, from, exclusive, at, origin } => LoopWire::Redeem(v1::Redeem {
            target: target.to_string(),
            from: from.to_string(),
            exclusive: ids_out(exclusive),
            at_ms: at.0,
            origin: Some(position_out(*origin)),
        }),
        LoopBody::Part { target, from, snapshot, origin } => LoopWire::Part(v1::Part {
            target: target.to_string(),
            from: from.to_string(),
            snapshot: Some(snapshot_to(snapshot)),
            origin: Some(position_out(*origin)),
        }),
        LoopBody::Release { target, from } => {
            LoopWire::Release(v1::Release { target: target.to_string(), from: from.to_string() })
        }
        LoopBody::Again { target, from } => {
            LoopWire::Again(v1::Again { target: target.to_string(), from: from.to_string() })
        }
        LoopBody::Directory { tenant, yaml } => {
            LoopWire::Directory(v1::Directory { tenant: tenant.clone(), yaml: yaml.clone() })
        }
        LoopBody::Activation { number, tenant, sources, migrations } => LoopWire::Activation(v1::Activation {
            number: *number,
            tenant: tenant.clone(),
            sources: sources_out(sources),
            migrations: migrations_to(migrations),
        }),
    };
    v1::Loop {
        source: told.source,
        sequence: told.sequence,
        origin: Some(position_out(told.origin)),
        clock_ms: told.clock.0,
        body: Some(body),
    }
}

fn step_to(
    target: &CellKey,
    from: &CellKey,
    (exclusive, identities): (&[IdKey], u32),
    evidence: Evidence,
    origin: Position,
) -> v1::LinkStep {
    v1::LinkStep {
        target: target.to_string(),
        from: from.to_string(),
        exclusive: ids_out(exclusive),
        evidence: evidence.name().to_owned(),
        origin: Some(position_out(origin)),
        identities,
    }
}

fn loop_from(wire: v1::Loop) -> Result<Loop, Undecodable> {
    let clock = clock_in("loop.clock_ms", wire.clock_ms)?;
    Ok(Loop {
        source: wire.source,
        sequence: wire.sequence,
        origin: origin_in(wire.origin)?,
        clock,
        body: loop_body_from(required("loop.body", wire.body)?, clock)?,
    })
}

fn loop_body_from(wire: LoopWire, clock: Time) -> Result<LoopBody, Undecodable> {
    Ok(match wire {
        LoopWire::Forward(body) => LoopBody::Forward {
            target: key_in("target", &body.target)?,
            event: Box::new(event_from(required("forward.event", body.event)?)?),
            origin: origin_in(body.origin)?,
            hops: hops_in(body.hops)?,
        },
        LoopWire::ForwardCommand(body) => LoopBody::ForwardCommand {
            target: key_in("target", &body.target)?,
            command: Box::new(command_from(required("forward_command.command", body.command)?)?),
            origin: origin_in(body.origin)?,
            hops: hops_in(body.hops)?,
        },
        LoopWire::Link(step) => {
            let (target, from, (exclusive, _), evidence, origin) = step_in(step)?;
            LoopBody::Link { target, from, exclusive, evidence, origin }
        }
        LoopWire::Ask(step) => {
            let (target, from, (exclusive, identities), evidence, origin) = step_in(step)?;
            LoopBody::Ask { target, from, exclusive, identities, evidence, origin }
        }
        LoopWire::Grant(step) => {
            let (target, from, (exclusive, identities), evidence, origin) = step_in(step)?;
            LoopBody::Grant { target, from, exclusive, identities, evidence, origin }
        }
        LoopWire::MergeIn(body) => merge_in(body)?,
        LoopWire::Bought(body) => LoopBody::Bought {
            target: key_in("target", &body.target)?,
            buyer: key_in("buyer", &body.buyer)?,
            lines: body.lines.map(lines_in).transpose()?,
            origin: origin_in(body.origin)?,
        },
        LoopWire::Member(body) => LoopBody::Member {
            target: key_in("target", &body.target)?,
            member: id_in(required("member", body.member)?)?,
            inside: body.joined_at_ms.is_some(),
            at: match (body.joined_at_ms, body.left_at_ms) {
                (Some(at), _) => clock_in("joined_at_ms", at)?,
                (None, Some(at)) => clock_in("left_at_ms", at)?,
                (None, None) => clock,
            },
        },
        LoopWire::Redeem(body) => LoopBody::Redeem {
            target: key_in("target", &body.target)?,
            from: key_in("from", &body.from)?,
            exclusive: ids_in(body.exclusive)?,
            at: clock_in("at_ms", body.at_ms)?,
            origin: origin_in(body.origin)?,
        },
        LoopWire::Part(body) => LoopBody::Part {
            target: key_in("target", &body.target)?,
            from: key_in("from", &body.from)?,
            snapshot: Box::new(snapshot_in(required("part.snapshot", body.snapshot)?)?),
            origin: origin_in(body.origin)?,
        },
        LoopWire::Release(body) => {
            LoopBody::Release { target: key_in("target", &body.target)?, from: key_in("from", &body.from)? }
        }
        LoopWire::Again(body) => {
            LoopBody::Again { target: key_in("target", &body.target)?, from: key_in("from", &body.from)? }
        }
        LoopWire::Directory(body) => {
            check_tenant(&body.tenant)?;
            LoopBody::Directory { tenant: body.tenant, yaml: body.yaml }
        }
        LoopWire::Activation(body) => {
            check_tenant(&body.tenant)?;
            LoopBody::Activation {
                number: body.number,
                tenant: body.tenant,
                sources: sources_in(body.sources),
                migrations: migrations_from(body.migrations)?,
            }
        }
    })
}

fn lines_in(wire: v1::ValueList) -> Result<Value, Undecodable> {
    let each = wire.values.into_iter().map(|value| value_in(required("lines", value.value)?));
    each.collect::<Result<_, _>>().map(Value::List)
}

fn merge_in(body: v1::MergeIn) -> Result<LoopBody, Undecodable> {
    let evidence = evidence_in(&body.evidence)?;
    let snapshot = match body.snapshot {
        Some(snapshot) => snapshot_in(snapshot)?,
        // Cells that held nothing but identifiers were the only ones to merge once.
        None => {
            let further = ids_in(body.identities)?.into_iter().skip(1);
            let identities = further.map(|id| Identity { id, evidence, joined: None });
            Snapshot { identities: identities.collect(), ..Snapshot::default() }
        }
    };
    let target = key_in("target", &body.target)?;
    let into = if body.into.is_empty() { target.clone() } else { key_in("into", &body.into)? };
    Ok(LoopBody::MergeIn {
        target,
        from: key_in("from", &body.from)?,
        into,
        snapshot: Box::new(snapshot),
        evidence,
        origin: origin_in(body.origin)?,
    })
}

type Step = (CellKey, CellKey, (Vec<IdKey>, u32), Evidence, Position);

fn step_in(step: v1::LinkStep) -> Result<Step, Undecodable> {
    let (target, from) = (key_in("target", &step.target)?, key_in("from", &step.from)?);
    Ok((
        target,
        from,
        (ids_in(step.exclusive)?, step.identities),
        evidence_in(&step.evidence)?,
        origin_in(step.origin)?,
    ))
}

fn origin_in(wire: Option<v1::Position>) -> Result<Position, Undecodable> {
    required("origin", wire).map(position_in)
}

fn hops_in(hops: u32) -> Result<u16, Undecodable> {
    u16::try_from(hops).map_err(|_| undecodable("hops is out of range"))
}
