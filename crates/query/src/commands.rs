//! Commands: appended to `events`, answered from `command-results`, readable once the answer is given.

use crate::error;
use crate::shared::{Answer, Shared};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};
use touchline_log::{ADMITTED_BYTES_MAX, Ack, Appended, NewRecord, Topic};
use touchline_model::command::{Command, CommandBody};
use touchline_model::output::{Outcome, Stream};
use touchline_model::record::Input;
use touchline_proto::{REQUEST_ID_CHARS_MAX, check_command, encode_input, input_headers, input_key};

/// Who asks when nobody says.
const ACTOR_UNKNOWN: &str = "unknown";

/// Who asks for what, as every mutation names it.
pub(crate) struct Asked {
    pub(crate) tenant: String,
    pub(crate) request_id: String,
    pub(crate) actor: String,
    pub(crate) body: CommandBody,
}

/// Carries a command out and returns its answer once the model reflects it. A refusal is an error.
pub(crate) async fn carry_out(shared: &Arc<Shared>, asked: Asked, deadline: Instant) -> Result<Answer, Status> {
    let request_id = request_id(asked.request_id)?;
    let actor = if asked.actor.is_empty() { ACTOR_UNKNOWN.to_owned() } else { asked.actor };
    let (tenant, received_at) = (asked.tenant, shared.options.wall.now());
    let command = Command { request_id, tenant, actor, received_at, body: asked.body };
    check_command(&command).map_err(|refused| error::too_long(&refused))?;
    let waiter = shared.await_answer(&command.tenant, &command.request_id);
    let partition = command.body.contact().map_or(0, |key| key.partition(shared.log.partitions()));
    append(shared, partition, &Input::Command(Box::new(command)), deadline).await?;
    let answer = shared
        .wait_for(deadline, |model| {
            let answer = waiter.answer()?;
            model.has_published(answer.partition, Stream::CommandResults, answer.sequence).then_some(answer)
        })
        .await?;
    match &answer.result.outcome {
        Outcome::Accepted => Ok(answer),
        Outcome::Refused { code, detail, current } => Err(refused(code, detail, current)),
    }
}

/// Appends one record to `events` and waits until it is durable.
pub(crate) async fn append(
    shared: &Shared,
    partition: u32,
    input: &Input,
    deadline: Instant,
) -> Result<Appended, Status> {
    let record = NewRecord {
        key: input_key(input).map(|key| key.as_str().as_bytes().to_vec()),
        headers: input_headers(input),
        value: encode_input(input),
    };
    let bytes = record.bytes();
    if bytes > ADMITTED_BYTES_MAX {
        let message = format!("the request takes {bytes} bytes as a record, at most {ADMITTED_BYTES_MAX}");
        return Err(error::status(Code::InvalidArgument, "TOO_LARGE", message));
    }
    let ack: Ack<Appended> = shared.log.append(Topic::Events, partition, vec![record]);
    match timeout_at(deadline, ack).await {
        Ok(Ok(appended)) => appended.map_err(|error| error::log(&error)),
        Ok(Err(_)) => Err(error::log(&touchline_log::Error::Closed)),
        Err(_) => {
            let message = "the deadline passed before the record was durable\nhint: repeat with the same request_id";
            Err(error::unavailable("NOT_YET_DURABLE", message))
        }
    }
}

/// The client's id, or a new one.
fn request_id(asked: String) -> Result<String, Status> {
    if asked.is_empty() {
        return Ok(uuid::Uuid::new_v4().to_string());
    }
    if asked.chars().count() > REQUEST_ID_CHARS_MAX {
        return Err(error::invalid("request_id", format!("has more than {REQUEST_ID_CHARS_MAX} characters")));
    }
    Ok(asked)
}

fn refused(code: &str, detail: &str, current: &str) -> Status {
    let status = match code {
        "stale_stage" | "stale_bundle" => Code::Aborted,
        "no_contact" | "unknown_board" | "not_linked" => Code::NotFound,
        "already_linked" => Code::AlreadyExists,
        "merging" => Code::Aborted,
        "unknown_stage" | "unknown_tag" | "invalid_playbook" | "invalid_directory" | "invalid_migration"
        | "own_identifier" => Code::InvalidArgument,
        _ => Code::FailedPrecondition,
    };
    let fact = match code {
        "stale_stage" | "unknown_stage" | "backward_move" => "current_stage",
        "stale_bundle" | "invalid_playbook" | "invalid_migration" | "orphaned_tag" => "active_bundle",
        _ => "current",
    };
    let hint = if status == Code::Aborted { "\nhint: read again and decide on what stands there now" } else { "" };
    let reason = code.to_ascii_uppercase();
    error::with_metadata(status, &reason, format!("{detail}{hint}"), [(fact, current.to_owned())])
}
