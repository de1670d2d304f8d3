//! For operators: how the partitions stand, the virtual clock, records put aside.

use super::timeline::record;
use crate::admin::AdvanceError;
use crate::error;
use crate::model::Location;
use crate::page::{self, Question};
use crate::server::{Server, answer};
use crate::shared::Shared;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};
use touchline_log::Topic;
use touchline_model::output::{DeadReason, Progress};
use touchline_model::time::Time;
use touchline_proto::{progress_to, v1};
use v1::admin_service_server::AdminService;

/// How long what fell due on a clock's way may take to become readable.
const READABLE_WITHIN: Duration = Duration::from_secs(60);

#[tonic::async_trait]
impl AdminService for Server {
    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::GetStatusResponse>, Status> {
        answer("GetStatus", async {
            let mode = self.clock.mode();
            self.read(move |shared| {
                // The model is not held while a broker is asked.
                let have: Vec<Progress> = shared.model().progress().cloned().collect();
                let mut partitions = Vec::new();
                for progress in &have {
                    let end = shared.log.end(Topic::Events, progress.partition).map_err(|error| error::log(&error))?;
                    partitions.push(v1::PartitionStatus {
                        partition: progress.partition,
                        progress: Some(progress_to(progress)),
                        end_offset: end,
                        lag_records: end.saturating_sub(progress.offset),
                        next_due_ms: progress.next_due.map(|due| due.0),
                    });
                }
                Ok(v1::GetStatusResponse {
                    epoch: shared.log.cluster_id(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    clock_mode: mode.to_owned(),
                    partitions,
                })
            })
            .await
        })
        .await
    }

    async fn advance_clock(
        &self,
        request: Request<v1::AdvanceClockRequest>,
    ) -> Result<Response<v1::AdvanceClockResponse>, Status> {
        answer("AdvanceClock", async {
            let to = Time(request.get_ref().to_ms);
            if !to.is_plausible() {
                return Err(error::invalid("to_ms", "lies between the years 2000 and 2200"));
            }
            let clock = Arc::clone(&self.clock);
            let advanced = self.read(move |_| Ok(clock.advance(to))).await?;
            match advanced {
                Ok(now) if now > to => {
                    let message = "the clock is past that moment already; it never goes back";
                    let facts = [("current_clock", now.to_string())];
                    Err(error::with_metadata(Code::FailedPrecondition, "CLOCK_IS_PAST", message, facts))
                }
                Ok(now) => {
                    // What fell due on the way is to be readable by whoever moved the clock.
                    self.shared.fresh_to_the_end(Instant::now() + READABLE_WITHIN).await?;
                    Ok(v1::AdvanceClockResponse { clock_ms: now.0 })
                }
                Err(AdvanceError::NotManual) => {
                    let message = "the clock is the wall clock\nhint: start with --clock manual on a new directory";
                    Err(error::status(Code::FailedPrecondition, "CLOCK_NOT_MANUAL", message))
                }
                Err(AdvanceError::Failed(why)) => Err(error::unavailable("CLOCK_STUCK", why)),
            }
        })
        .await
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        answer("ListDeadLetters", async {
            let request = request.into_inner();
            self.read(move |shared| dead_letters(shared, &request)).await
        })
        .await
    }
}

fn dead_letters(shared: &Shared, request: &v1::ListDeadLettersRequest) -> Result<v1::ListDeadLettersResponse, Status> {
    let reason = match request.reason.as_str() {
        "" => None,
        name => Some(DeadReason::parse(name).ok_or_else(|| {
            let names: Vec<&str> = DeadReason::ALL.iter().map(|reason| reason.name()).collect();
            error::invalid("reason", format!("is one of {}", names.join(", ")))
        })?),
    };
    let question = Question::new(&["dead-letters", &request.reason]);
    let after = question.last_numbers::<2>(&request.page_token)?.unwrap_or_default();
    let after = (u32::try_from(after[0]).unwrap_or(u32::MAX), after[1].cast_unsigned());
    let size = page::size(request.page_size);
    let wanted: Vec<_> = {
        let model = shared.model();
        let letters =
            model.dead_letters(after).filter(|(_, letter)| reason.is_none_or(|reason| letter.reason == reason));
        letters.take(size + 1).collect()
    };
    let (mut dead_letters, mut bytes, mut last) = (Vec::new(), 0, None);
    for (partition, letter) in wanted.iter().take(size) {
        if bytes > page::BYTES_MAX {
            break;
        }
        last = Some((partition, letter.sequence));
        let location = Location { partition: *partition, offset: letter.offset };
        let Some(record) = record(shared, Topic::DeadLetters, location)? else { continue };
        bytes += record.value.len();
        dead_letters.extend(v1::DeadLetter::decode(record.value.as_slice()).ok());
    }
    let reached_end = wanted.last().map(|(partition, letter)| (partition, letter.sequence)) == last;
    let next_page_token = match last {
        Some((partition, sequence)) if !reached_end => question.token(&format!("{partition},{sequence}")),
        _ => String::new(),
    };
    Ok(v1::ListDeadLettersResponse { dead_letters, next_page_token })
}
