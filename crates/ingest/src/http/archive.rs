//! Chat archive: a sidecar on this machine decrypts with the vendor's library and posts NDJSON, one message a line.
//! One bad line never stops the others; the answer says up to where the sidecar may move its cursor.

use super::answer::Refusal;
use super::body::{Line, Lines};
use super::{Ingest, admit};
use crate::metrics;
use crate::settings::Archive;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use touchline_channels::wecom::archive::{LINE_BYTES_MAX, decode};
use touchline_model::event::{Channel, Event};

/// Lines appended at once: enough to share an fsync.
const CHUNK_LINES_MAX: usize = 200;
/// Bytes appended at once, so that a chunk of long lines stays bounded in memory.
const CHUNK_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bad lines named in the answer; all are counted.
const REJECTIONS_MAX: usize = 100;

/// What became of the lines. Everything up to `durable_line` is durable or rejected for good.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Lines durable.
    accepted: u64,
    /// Lines rejected for what they say.
    rejected: u64,
    /// Last line (from 1) of the unbroken part that needs no sending again.
    durable_line: u64,
    /// Highest `seq` among those lines, where lines have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    durable_seq: Option<u64>,
    /// The first bad lines.
    rejections: Vec<Rejection>,
    /// Why the rest was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Stopped>,
}

#[derive(Debug, Serialize)]
struct Rejection {
    line: u64,
    reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Stopped {
    reason: &'static str,
    detail: String,
}

/// 200: every line is durable or rejected. Otherwise the status says why reading stopped (503: the log), and
/// `durable_line` and `durable_seq` say where to go on.
pub(super) async fn lines(State(ingest): State<Ingest>, Path(account): Path<String>, request: Request) -> Response {
    match authorised(&ingest, &account, &request) {
        Ok(archive) => take(&ingest, archive, request.into_body()).await,
        Err(refusal) => {
            metrics::rejected(Channel::WecomArchive, refusal.reason);
            refusal.into_response()
        }
    }
}

fn authorised<'a>(ingest: &'a Ingest, account: &str, request: &Request) -> Result<&'a Archive, Refusal> {
    let archive = ingest.settings().archive.get(account).ok_or_else(Refusal::no_account)?;
    admit(request, archive.token.as_ref())?;
    Ok(archive)
}

async fn take(ingest: &Ingest, archive: &Archive, body: Body) -> Response {
    let mut summary = Summary::default();
    let status = match read(ingest, archive, body, &mut summary).await {
        Ok(()) => StatusCode::OK,
        Err(Refusal { status, reason, detail }) => {
            metrics::rejected(Channel::WecomArchive, reason);
            summary.error = Some(Stopped { reason, detail });
            status
        }
    };
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return (status, [(RETRY_AFTER, super::answer::RETRY_AFTER_SECONDS)], Json(summary)).into_response();
    }
    (status, Json(summary)).into_response()
}

/// Lines read and not yet appended.
#[derive(Default)]
struct Chunk {
    events: Vec<Event>,
    /// Line of each event.
    lines: Vec<u64>,
    bytes: usize,
    /// Highest `seq` among all lines read, good or bad.
    seq: Option<u64>,
}

async fn read(ingest: &Ingest, archive: &Archive, body: Body, summary: &mut Summary) -> Result<(), Refusal> {
    let limits = &ingest.settings().limits;
    let mut lines = Lines::new(body, LINE_BYTES_MAX, limits.archive_bytes_max, limits.read_timeout());
    let mut chunk = Chunk::default();
    let mut line_number = 0;
    loop {
        // What was read before the body broke is complete: it is appended all the same.
        let next = lines.next().await;
        let Ok(Some(line)) = next else {
            append(ingest, chunk, line_number, summary).await?;
            return next.map(|_| ());
        };
        line_number += 1;
        match line {
            Line::TooLong => reject(summary, line_number, "oversized"),
            Line::Whole(line) if line.trim_ascii().is_empty() => {}
            Line::Whole(line) => {
                chunk.bytes += line.len();
                chunk.seq = chunk.seq.max(seq(&line));
                match decode(&archive.account, &line, ingest.publisher().now()) {
                    Ok(decoded) => {
                        chunk.lines.extend(decoded.events.iter().map(|_| line_number));
                        chunk.events.extend(decoded.events);
                    }
                    Err(error) => reject(summary, line_number, error.reason()),
                }
            }
        }
        if chunk.events.len() >= CHUNK_LINES_MAX || chunk.bytes >= CHUNK_BYTES_MAX {
            append(ingest, std::mem::take(&mut chunk), line_number, summary).await?;
        }
    }
}

/// Appends a chunk and moves the cursor of the answer behind `line_number`, unless the log failed.
async fn append(ingest: &Ingest, chunk: Chunk, line_number: u64, summary: &mut Summary) -> Result<(), Refusal> {
    let wait = ingest.settings().limits.append_timeout();
    let results = ingest.publisher().publish(chunk.events, wait).await;
    for (result, line) in results.into_iter().zip(chunk.lines) {
        match result {
            Ok(_) => summary.accepted += 1,
            Err(error) if error.is_content() => reject(summary, line, error.reason()),
            Err(error) => {
                let detail = error.to_string();
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.reason(), detail));
            }
        }
    }
    summary.durable_line = line_number;
    summary.durable_seq = summary.durable_seq.max(chunk.seq);
    Ok(())
}

fn reject(summary: &mut Summary, line: u64, reason: &'static str) {
    metrics::rejected(Channel::WecomArchive, reason);
    summary.rejected += 1;
    if summary.rejections.len() < REJECTIONS_MAX {
        summary.rejections.push(Rejection { line, reason });
    }
}

/// The `seq` that the sidecar may add to a message.
fn seq(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        seq: Option<u64>,
    }
    serde_json::from_slice::<Numbered>(line).ok()?.seq
}
