//! Tmall/Taobao messages (TMC, 消息服务): trades and refunds of the shops that granted an app access.
//!
//! The queue is delivered at least once and in no order. It keeps a message for a day at most, and gives it again until
//! it is confirmed: confirm what is durable, and nothing else. Contents are thin; what an order holds beyond them comes
//! from elsewhere.
//!
//! Messages carry no signature. Whoever calls this vouches for where they come from.

mod facts;

use crate::account::Taobao;
use crate::decoded::{Origin, Provenance, basis, check_subject, sha256};
use crate::{Error, json};
use facts::Told;
use serde_json::Value as Json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use touchline_model::event::{Channel, Event, Precision};
use touchline_model::time::{Time, Zone};

/// Longest page accepted: 200 messages of a KiB make a fifth of it.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most messages in one page: `quantity` of `taobao.tmc.messages.consume` goes no higher.
pub const MESSAGES_MAX: usize = 200;

/// What became of one message of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id to confirm it by, with the digits it came with; `None` when it names none that can be read.
    pub id: Option<String>,
    /// What it tells, or why it tells nothing.
    pub event: Result<Event, Error>,
}

/// One answer of `taobao.tmc.messages.consume` as it came, or one message object → one result per message, in order.
/// The outer error concerns the body as a whole; a bad message leaves the others alone.
///
/// Give the bytes as the channel sent them: a program that reads JSON numbers as floats rounds ids beyond 2^53.
pub fn decode(account: &Taobao, body: &[u8], received_at: Time) -> Result<Vec<Message>, Error> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Error::Oversized { what: "page of messages", bytes_max: BODY_BYTES_MAX });
    }
    let raws = messages(body).ok_or(Error::Malformed { what: "page: neither a consume answer nor a message" })?;
    if raws.len() > MESSAGES_MAX {
        return Err(Error::TooMany { count: raws.len(), count_max: MESSAGES_MAX });
    }
    Ok(raws.into_iter().map(|raw| message(account, raw.get().as_bytes(), received_at)).collect())
}

/// The messages of a body, each as its own bytes. An empty queue answers without `messages`.
fn messages(body: &[u8]) -> Option<Vec<&RawValue>> {
    let whole: &RawValue = serde_json::from_slice(body).ok()?;
    let top = members(whole)?;
    if top.contains_key("topic") {
        return Some(vec![whole]);
    }
    let answer = members(top.get("tmc_messages_consume_response")?)?;
    let Some(list) = answer.get("messages") else { return Some(Vec::new()) };
    match members(list)?.get("tmc_message") {
        Some(messages) => serde_json::from_str(messages.get()).ok(),
        None => Some(Vec::new()),
    }
}

fn members(object: &RawValue) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(object.get()).ok()
}

fn message(account: &Taobao, raw: &[u8], received_at: Time) -> Message {
    let Some(message) = json::parse(raw).filter(Json::is_object) else {
        return Message { id: None, event: Err(Error::Malformed { what: "message" }) };
    };
    match required_id(&message, "id") {
        Ok(id) => Message { event: event(account, &id, &message, raw, received_at), id: Some(id) },
        Err(error) => Message { id: None, event: Err(error) },
    }
}

fn event(account: &Taobao, id: &str, message: &Json, raw: &[u8], received_at: Time) -> Result<Event, Error> {
    let topic = json::text(message, "topic").ok_or(Error::Malformed { what: "topic" })?;
    let seller = required_id(message, "user_id")?;
    let ours = account.sellers.is_empty() || account.sellers.iter().any(|ours| ours.to_string() == seller);
    if !ours {
        return Err(Error::UnknownAccount);
    }
    let content = message.get("content").and_then(Json::as_str).and_then(|text| json::parse(text.as_bytes()));
    let content = content.filter(Json::is_object).ok_or(Error::Malformed { what: "content" })?;
    let Told { fact, basis } = facts::tell(account, &seller, &topic, &content)?;
    check_subject(&account.tenant, &fact.subject)?;
    let sha = sha256(raw);
    let provenance = Provenance {
        native_type: &topic,
        native_id: id,
        version: local_time(&content, "modified").map(|modified| modified.0),
        occurred_at: local_time(message, "pub_time"),
        precision: Precision::Second,
        raw,
        raw_sha256: &sha,
    };
    let origin = Origin { tenant: &account.tenant, channel: Channel::Taobao, account: &seller, received_at };
    Ok(origin.event(fact, &provenance, &basis))
}

/// An id as whole digits, from a number or a text. Anything else in its place was rounded on the way, and
/// would name somebody else's trade.
fn id(object: &Json, name: &'static str) -> Result<Option<String>, Error> {
    let Some(text) = json::text(object, name) else { return Ok(None) };
    let id = text.parse::<u64>().map_err(|_| Error::Malformed { what: name })?;
    Ok(Some(id.to_string()))
}

fn required_id(object: &Json, name: &'static str) -> Result<String, Error> {
    id(object, name)?.ok_or(Error::Malformed { what: name })
}

fn local_time(object: &Json, name: &str) -> Option<Time> {
    Zone::SHANGHAI.parse_local(&json::text(object, name)?)
}

#[cfg(test)]
mod tests;
