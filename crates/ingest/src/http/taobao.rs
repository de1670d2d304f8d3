//! Tmall/Taobao messages. A relay holds the connection to the queue and posts what it consumes, as it came; what the
//! answer calls accepted it confirms to the queue, the rest it leaves there.

use super::answer::{RETRY_AFTER_SECONDS, Refusal};
use super::{Ingest, admit, body};
use crate::metrics;
use crate::publish::Unpublished;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use touchline_channels::Error;
use touchline_channels::taobao::{BODY_BYTES_MAX, decode};
use touchline_model::event::Channel;
use touchline_model::id::EventId;

/// One message of the page.
struct Item {
    /// To confirm it by; none where it names none that can be read.
    message_id: Option<String>,
    fate: Fate,
}

/// What became of a message.
enum Fate {
    /// Durable, now or before: confirm it.
    Accepted(EventId),
    /// It says nothing that can be taken. Unconfirmed, it comes again until the queue drops it.
    Rejected { reason: &'static str, detail: String },
    /// The log did not take it: leave it unconfirmed, it comes again.
    Failed { reason: &'static str, detail: String },
}

/// 200: every message is durable or rejected for what it says. 503: the log did not take at least one of them; those
/// called accepted are durable all the same. Posting the page again is safe, since event ids stay the same.
pub(super) async fn messages(State(ingest): State<Ingest>, Path(account): Path<String>, request: Request) -> Response {
    match take(&ingest, &account, request).await {
        Ok(items) => answer(&items),
        Err(refusal) => {
            metrics::rejected(Channel::Taobao, refusal.reason);
            refusal.into_response()
        }
    }
}

async fn take(ingest: &Ingest, account: &str, request: Request) -> Result<Vec<Item>, Refusal> {
    let relay = ingest.settings().taobao.get(account).ok_or_else(Refusal::no_account)?;
    admit(&request, relay.token.as_ref())?;
    let limits = &ingest.settings().limits;
    let body = body::read(request.into_body(), BODY_BYTES_MAX, limits.read_timeout()).await?;
    let decoded = decode(&relay.account, &body, ingest.publisher().now()).map_err(|error| Refusal::from(&error))?;
    let (mut items, mut events) = (Vec::with_capacity(decoded.len()), Vec::new());
    for message in decoded {
        let fate = match message.event {
            Ok(event) => {
                let id = event.id;
                events.push(event);
                Fate::Accepted(id)
            }
            Err(error) => unreadable(&error),
        };
        items.push(Item { message_id: message.id, fate });
    }
    let mut results = ingest.publisher().publish(events, limits.append_timeout()).await.into_iter();
    for item in &mut items {
        if matches!(item.fate, Fate::Accepted(_))
            && let Err(error) = results.next().expect("one result per event")
        {
            item.fate = unpublished(&error);
        }
    }
    Ok(items)
}

fn unreadable(error: &Error) -> Fate {
    metrics::rejected(Channel::Taobao, error.reason());
    Fate::Rejected { reason: error.reason(), detail: error.to_string() }
}

fn unpublished(error: &Unpublished) -> Fate {
    let (reason, detail) = (error.reason(), error.to_string());
    if error.is_content() {
        metrics::rejected(Channel::Taobao, reason);
        return Fate::Rejected { reason, detail };
    }
    Fate::Failed { reason, detail }
}

fn answer(items: &[Item]) -> Response {
    let count = |is: fn(&Fate) -> bool| items.iter().filter(|item| is(&item.fate)).count();
    let failed = count(|fate| matches!(fate, Fate::Failed { .. }));
    let body = Json(json!({
        "messages": items.iter().map(item_json).collect::<Vec<_>>(),
        "accepted": count(|fate| matches!(fate, Fate::Accepted(_))),
        "rejected": count(|fate| matches!(fate, Fate::Rejected { .. })),
        "failed": failed,
    }));
    if failed > 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, RETRY_AFTER_SECONDS)], body).into_response();
    }
    body.into_response()
}

fn item_json(item: &Item) -> Value {
    let id = &item.message_id;
    match &item.fate {
        Fate::Accepted(event_id) => json!({"id": id, "status": "accepted", "event_id": event_id.to_hex()}),
        Fate::Rejected { reason, detail } => {
            json!({"id": id, "status": "rejected", "reason": reason, "detail": detail})
        }
        Fate::Failed { reason, detail } => json!({"id": id, "status": "failed", "reason": reason, "detail": detail}),
    }
}
