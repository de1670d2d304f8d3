//! `touchline replay`: the engine over recorded events with a virtual clock, without a server.

use crate::cluster::Cluster;
use crate::error::Error;
use touchline_model::command::{Command, CommandBody, PlaybookSource};
use touchline_model::event::Event;
use touchline_model::output::{Numbered, Outcome, Output};
use touchline_model::time::Time;

/// Partitions of a replay: those of an embedded cluster.
pub const PARTITIONS: u32 = 4;
/// Request id of the activation a replay begins with.
const ACTIVATION: &str = "replay-activation";
/// Beginning of the request ids of directories.
const DIRECTORY: &str = "replay-directory-";

/// Why a replay gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No event to begin with.
    #[error("no events to replay\nhint: one event per line, as in POST /v1/events")]
    Empty,
    /// The playbooks were refused.
    #[error("playbooks refused ({code}): {detail}")]
    Refused {
        /// A word of a closed set.
        code: String,
        /// For people.
        detail: String,
    },
    /// A partition stopped.
    #[error("{0}")]
    Processor(#[from] Error),
}

/// Replays `events` under the playbooks and directories of `tenant` and returns every output in order of
/// clock, partition, source offset, topic and sequence: the same ones each time.
///
/// The playbooks are activated at the time of the first event. Before each event the clock passes
/// every due moment up to the event's append time (absent: its `occurred_at`, never going back), and
/// after the last one up to `until`.
pub fn run(
    events: impl IntoIterator<Item = (Option<Time>, Event)>,
    (sources, directories): (Vec<PlaybookSource>, Vec<String>),
    tenant: &str,
    until: Time,
) -> Result<Vec<Numbered>, ReplayError> {
    let mut events = events.into_iter().peekable();
    let (append_time, first) = events.peek().ok_or(ReplayError::Empty)?;
    let mut now = moment(*append_time, first, Time::EARLIEST);
    let mut cluster = Cluster::new(PARTITIONS, now)?;
    for (number, yaml) in directories.into_iter().enumerate() {
        command(&mut cluster, &format!("{DIRECTORY}{number}"), CommandBody::SetDirectory { yaml }, tenant, now)?;
    }
    let body = CommandBody::Activate { sources, remove: Vec::new(), expected_active: 0, migrations: Vec::new() };
    command(&mut cluster, ACTIVATION, body, tenant, now)?;
    for (append_time, mut event) in events {
        now = moment(append_time, &event, now);
        cluster.pass_due(now)?;
        // The replay is the witness of its own clock.
        event.received_at = now;
        cluster.append_event(event)?;
        cluster.settle()?;
    }
    cluster.advance(until.max(now))?;
    Ok(cluster.outputs()?)
}

/// When an event is appended: as recorded, else when it happened, never before the one before.
fn moment(append_time: Option<Time>, event: &Event, last: Time) -> Time {
    append_time.or(event.occurred_at).filter(|time| time.is_plausible()).map_or(last, |time| time.max(last))
}

fn command(
    cluster: &mut Cluster,
    request_id: &str,
    body: CommandBody,
    tenant: &str,
    now: Time,
) -> Result<(), ReplayError> {
    let command = Command {
        request_id: request_id.to_owned(),
        tenant: tenant.to_owned(),
        actor: "replay".to_owned(),
        received_at: now,
        body,
    };
    cluster.append_command(command)?;
    cluster.settle()?;
    for numbered in cluster.outputs()? {
        match numbered.output {
            Output::CommandResult(result) if result.request_id == request_id => match result.outcome {
                Outcome::Accepted => return Ok(()),
                Outcome::Refused { code, detail, .. } => return Err(ReplayError::Refused { code, detail }),
            },
            _ => {}
        }
    }
    let (code, detail) = ("unanswered".to_owned(), "the command was not answered".to_owned());
    Err(ReplayError::Refused { code, detail })
}
