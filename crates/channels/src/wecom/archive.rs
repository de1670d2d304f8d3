//! One decrypted chat-archive message (a line of NDJSON) → events.
//!
//! The vendor's library decrypts; what arrives here is its JSON. Unknown message types are kept: as `chat.message`
//! with their type when they are sent to somebody, as `channel.notice` otherwise.

use super::{Party, actor, customer, group, party};
use crate::account::Wecom;
use crate::decoded::{Fact, Origin, Provenance, account_cell, put, put_text, sha256};
use crate::{Decoded, Error, Purpose, json};
use serde_json::Value as Json;
use touchline_model::event::{Actor, Channel, Precision};
use touchline_model::kind::Kind;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Number, Value};

/// Longest line accepted: forwarded chat records run to some hundred KiB.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Decodes one message. Dedupe rests on `msgid`, which the channel never gives twice.
pub fn decode(account: &Wecom, line: &[u8], received_at: Time) -> Result<Decoded, Error> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Error::Oversized { what: "archive message", bytes_max: LINE_BYTES_MAX });
    }
    let line = line.trim_ascii();
    let body = json::parse(line).filter(Json::is_object).ok_or(Error::Malformed { what: "archive message" })?;
    let message = Message::read(account, &body);
    let sha = sha256(line);
    let fact = message.fact();
    let provenance = Provenance {
        native_type: &message.native_type,
        native_id: &message.id,
        version: None,
        occurred_at: message.occurred_at(),
        precision: Precision::Millisecond,
        raw: line,
        raw_sha256: &sha,
    };
    let origin =
        Origin { tenant: &account.tenant, channel: Channel::WecomArchive, account: &account.corp_id, received_at };
    let basis = if message.id.is_empty() { sha.as_slice() } else { message.id.as_bytes() };
    Decoded::new(vec![origin.event(fact, &provenance, basis)], Purpose::Report)
}

struct Message<'a> {
    account: &'a Wecom,
    json: &'a Json,
    id: String,
    /// `msgtype`, or the action where there is none.
    native_type: String,
    from: String,
    to: Vec<String>,
    room: Option<String>,
}

impl<'a> Message<'a> {
    fn read(account: &'a Wecom, json: &'a Json) -> Self {
        let text = |name| json::text(json, name);
        let to = json.get("tolist").and_then(Json::as_array).into_iter().flatten().filter_map(json::as_text).collect();
        Self {
            account,
            json,
            id: text("msgid").unwrap_or_default(),
            native_type: text("msgtype").or(text("action")).unwrap_or_else(|| "unknown".to_owned()),
            from: text("from").or(text("user")).unwrap_or_default(),
            to,
            room: text("roomid"),
        }
    }

    /// The object of the type; three types call it otherwise.
    fn body(&self) -> &Json {
        let name = match self.native_type.as_str() {
            "docmsg" => "doc",
            "markdown" | "news" => "info",
            "external_redpacket" => "redpacket",
            name => name,
        };
        self.json.get(name).unwrap_or(&Json::Null)
    }

    /// Top-level times are milliseconds; 0 means the channel does not know.
    fn occurred_at(&self) -> Option<Time> {
        let own = match self.native_type.as_str() {
            "agree" => json::integer(self.body(), "agree_time"),
            "disagree" => json::integer(self.body(), "disagree_time"),
            _ => None,
        };
        let sent = || json::integer(self.json, "msgtime").or_else(|| json::integer(self.json, "time"));
        own.or_else(sent).map(Time)
    }

    fn fact(&self) -> Fact {
        if self.from.is_empty() || self.to.is_empty() && self.room.is_none() {
            return self.notice();
        }
        match self.native_type.as_str() {
            "revoke" => self.recalled(),
            "agree" => self.consent(true),
            "disagree" => self.consent(false),
            _ => self.message(),
        }
    }

    fn by_customer(&self) -> bool {
        party(self.account, &self.from) == Party::Customer
    }

    /// The other side of a 1:1 conversation that is of this party.
    fn receiver(&self, wanted: Party) -> Option<&str> {
        self.to.iter().find(|user| party(self.account, user) == wanted).map(String::as_str)
    }

    /// Native cell first: the customer who speaks, the group spoken in, the customer spoken to. Staff among
    /// themselves have no cell of their own: the corp's serves.
    fn fact_about(&self, kind: Kind, body: Fields) -> Fact {
        let account = self.account;
        let mut subject = Vec::new();
        if self.by_customer() {
            subject.push(customer(account, &self.from));
        } else if self.room.is_none() {
            subject.extend(self.receiver(Party::Customer).map(|id| customer(account, id)));
        }
        subject.extend(self.room.as_deref().map(|room| group(account, room)));
        if subject.is_empty() {
            subject.push(account_cell(&account.corp_id, &account.corp_id));
        }
        Fact { kind, subject, actor: actor(account, &self.from), body }
    }

    fn notice(&self) -> Fact {
        let corp = &self.account.corp_id;
        let actor = if self.from.is_empty() { Actor::System } else { actor(self.account, &self.from) };
        let body = Fields::new().with("notice", Value::text(self.native_type.as_str()));
        Fact { kind: Kind::ChannelNotice, subject: vec![account_cell(corp, corp)], actor, body }
    }

    fn recalled(&self) -> Fact {
        let mut body = Fields::new();
        put_text(&mut body, "msg_id", Some(&self.id));
        put_text(&mut body, "target_msg_id", json::text(self.body(), "pre_msgid").as_deref());
        self.fact_about(Kind::ChatRecalled, body)
    }

    fn consent(&self, granted: bool) -> Fact {
        let mut body = Fields::new().with("granted", Value::Bool(granted));
        // In a group consent is given to all of its staff.
        put_text(&mut body, "staff", self.receiver(Party::Staff).filter(|_| self.room.is_none()));
        self.fact_about(Kind::ChatConsent, body)
    }

    fn message(&self) -> Fact {
        let mut body = Fields::new();
        put_text(&mut body, "msg_id", Some(&self.id));
        put_text(&mut body, "msg_type", Some(&self.native_type));
        body.set("direction", Value::text(if self.by_customer() { "in" } else { "out" }));
        body.set("conversation", Value::Record(self.conversation()));
        if self.room.is_none() {
            let staff = if self.by_customer() { self.receiver(Party::Staff) } else { Some(self.from.as_str()) };
            put_text(&mut body, "staff", staff);
        }
        self.content(&mut body);
        self.fact_about(Kind::ChatMessage, body)
    }

    /// A 1:1 conversation has no native id: it is named by its two sides, staff first, the same in both directions.
    fn conversation(&self) -> Fields {
        let (kind, id) = if let Some(room) = &self.room {
            ("group", room.clone())
        } else {
            let other = self.to.first().map_or("", String::as_str);
            let mut sides = [self.from.as_str(), other];
            sides.sort_unstable_by_key(|user| (party(self.account, user) == Party::Customer, *user));
            ("single", sides.join(":"))
        };
        Fields::new().with("type", Value::text(kind)).with("id", Value::text(id))
    }

    fn content(&self, out: &mut Fields) {
        let body = self.body();
        let text = |name| json::text(body, name);
        match self.native_type.as_str() {
            "text" | "markdown" => put_text(out, "text", text("content").as_deref()),
            "image" | "voice" | "video" | "emotion" | "file" | "voip_doc_share" | "meeting_voice_call" => {
                out.set("media", Value::Record(self.media()));
            }
            "link" | "docmsg" => {
                put(out, "link", link(text("link_url"), text("title")));
            }
            "weapp" => {
                let mut program = Fields::new();
                put_text(&mut program, "app", text("username").as_deref());
                put_text(&mut program, "title", text("title").as_deref());
                put_text(&mut program, "path", text("pagepath").as_deref());
                out.set("mini_program", Value::Record(program));
            }
            "redpacket" | "external_redpacket" => {
                put_text(out, "text", text("wish").as_deref());
                put(out, "amount_fen", whole(body, "totalamount"));
            }
            "news" => {
                let first = items(body).next().unwrap_or(&Json::Null);
                put(out, "link", link(json::text(first, "url"), json::text(first, "title")));
                put(out, "items", quoted(body));
            }
            "mixed" => {
                let parts: Vec<String> = items(body).filter_map(quoted_text).collect();
                put_text(out, "text", Some(&parts.join("\n")));
                put(out, "items", quoted(body));
            }
            "chatrecord" => put(out, "items", quoted(body)),
            _ => {}
        }
    }

    fn media(&self) -> Fields {
        let body = self.body();
        let mut media = Fields::new().with("kind", Value::text(self.native_type.as_str()));
        put_text(&mut media, "ref", json::text(body, "sdkfileid").as_deref());
        put_text(&mut media, "md5", json::text(body, "md5sum").as_deref());
        let size = ["filesize", "voice_size", "imagesize"].into_iter().find_map(|name| whole(body, name));
        put(&mut media, "size", size);
        media
    }
}

fn link(url: Option<String>, title: Option<String>) -> Option<Value> {
    let mut link = Fields::new().with("url", Value::text(url?));
    put_text(&mut link, "title", title.as_deref());
    Some(Value::Record(link))
}

/// A whole number if it fits; one beyond the range is left to the raw payload rather than bent.
fn whole(body: &Json, name: &str) -> Option<Value> {
    json::integer(body, name).and_then(Number::from_integer).map(Value::Number)
}

fn items(body: &Json) -> impl Iterator<Item = &Json> {
    body.get("item").and_then(Json::as_array).into_iter().flatten()
}

/// The items of a forwarded record, of mixed content or of a news card: what they are and what they say.
fn quoted(body: &Json) -> Option<Value> {
    let mut out = Vec::new();
    for item in items(body) {
        let mut quote = Fields::new();
        put_text(&mut quote, "type", json::text(item, "type").as_deref());
        put_text(&mut quote, "text", quoted_text(item).as_deref());
        put_text(&mut quote, "url", json::text(item, "url").as_deref());
        put_text(&mut quote, "title", json::text(item, "title").as_deref());
        // Inside an item the channel counts seconds, unlike everywhere else.
        let at = json::integer(item, "msgtime").and_then(|seconds| seconds.checked_mul(1_000)).map(Time);
        put(&mut quote, "at", at.filter(|at| at.is_plausible()).map(Value::Time));
        out.push(Value::Record(quote));
    }
    (!out.is_empty()).then_some(Value::List(out))
}

/// An item's `content` is a JSON document inside a string.
fn quoted_text(item: &Json) -> Option<String> {
    let content = json::parse(json::text(item, "content")?.as_bytes())?;
    json::text(&content, "content")
}

#[cfg(test)]
mod tests;
