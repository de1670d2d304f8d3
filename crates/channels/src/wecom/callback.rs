//! Inner XML of a callback → events, in the self-built and in the third-party (suite) form.

use super::xml::{self, Node};
use super::{Party, actor, customer, group, party};
use crate::account::Wecom;
use crate::decoded::{Fact, Origin, Provenance, account_cell, put_text, sha256};
use crate::{Decoded, Error, Purpose};
use touchline_model::event::{Actor, Channel, Precision};
use touchline_model::id::IdKey;
use touchline_model::kind::Kind;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};

/// Decodes the decrypted inner XML. The event id rests on the SHA-256 of these bytes: a retry under a new nonce is
/// the same event, two changes in one second are two (the documented key, sender and second, confuses them).
pub fn decode(account: &Wecom, inner: &[u8], received_at: Time) -> Result<Decoded, Error> {
    let text = std::str::from_utf8(inner).map_err(|_| Error::Malformed { what: "callback" })?;
    let root = xml::parse(text)?;
    // One suite serves many corps: what concerns another one must not enter this tenant.
    if root.text("AuthCorpId").is_some_and(|corp| corp != account.corp_id) {
        return Err(Error::UnknownAccount);
    }
    let call = Call { account, root: &root };
    let sha = sha256(inner);
    let native_type = call.native_type();
    let provenance = Provenance {
        native_type: &native_type,
        native_id: root.text("MsgId").unwrap_or_default(),
        version: None,
        occurred_at: call.occurred_at(),
        precision: Precision::Second,
        raw: &without_welcome_code(inner),
        raw_sha256: &sha,
    };
    let origin = Origin { tenant: &account.tenant, channel: Channel::Wecom, account: &account.corp_id, received_at };
    let facts = call.facts();
    let several = facts.len() > 1;
    let mut events = Vec::with_capacity(facts.len());
    for (index, fact) in facts.into_iter().enumerate() {
        let mut basis = sha.to_vec();
        if several {
            basis.extend_from_slice(&u32::try_from(index).expect("bounded by the parser").to_le_bytes());
        }
        events.push(origin.event(fact, &provenance, &basis));
    }
    Decoded::new(events, call.purpose())
}

/// The welcome code lets anyone greet the customer for 20 seconds: it is a secret and is not kept.
fn without_welcome_code(inner: &[u8]) -> Vec<u8> {
    const OPEN: &[u8] = b"<WelcomeCode";
    const CLOSE: &[u8] = b"</WelcomeCode>";
    let find = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).position(|window| window == needle);
    let mut rest = inner;
    let mut out = Vec::with_capacity(inner.len());
    while let Some(at) = find(rest, OPEN) {
        let Some(tag_end) = find(&rest[at..], b">") else { break };
        let content = at + tag_end + 1;
        out.extend_from_slice(&rest[..content]);
        let Some(close) = find(&rest[content..], CLOSE) else {
            rest = &rest[content..];
            continue;
        };
        rest = &rest[content + close..];
    }
    out.extend_from_slice(rest);
    out
}

struct Call<'a> {
    account: &'a Wecom,
    root: &'a Node,
}

impl Call<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.root.text(name)
    }

    fn event(&self) -> &str {
        self.text("Event").or(self.text("InfoType")).unwrap_or_default()
    }

    /// `change_external_chat.update.add_member`; a plain message is `message.text`.
    fn native_type(&self) -> String {
        let parts = match self.event() {
            "" => ["message", self.text("MsgType").unwrap_or("unknown"), ""],
            event => {
                [event, self.text("ChangeType").unwrap_or_default(), self.text("UpdateDetail").unwrap_or_default()]
            }
        };
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    }

    fn occurred_at(&self) -> Option<Time> {
        let seconds: i64 = self.text("CreateTime").or(self.text("TimeStamp"))?.parse().ok()?;
        seconds.checked_mul(1_000).map(Time)
    }

    fn purpose(&self) -> Purpose {
        match self.event() {
            "msgaudit_notify" | "kf_msg_or_event" | "conversation_new_message" => Purpose::PollTrigger,
            _ => Purpose::Report,
        }
    }

    fn facts(&self) -> Vec<Fact> {
        let known = match self.event() {
            "change_external_contact" | "customer_acquisition" | "chat_archive_audit_approved_single" => {
                self.contact_fact().map(|fact| vec![fact])
            }
            "change_external_chat" => self.text("ChatId").and_then(|chat_id| self.group_facts(chat_id)),
            "change_external_tag" => self.tag_fact().map(|fact| vec![fact]),
            "template_card_event" | "taskcard_click" => Some(vec![self.card_fact()]),
            "click" => Some(vec![self.menu_fact("key")]),
            "view" => Some(vec![self.menu_fact("url")]),
            _ => None,
        };
        known.unwrap_or_else(|| vec![self.notice()])
    }

    /// Everything about one customer; `None` for change types not known here.
    fn contact_fact(&self) -> Option<Fact> {
        let customer_id = self.text("ExternalUserID")?;
        let staff = self.text("UserID").or(self.text("OpenUserID"));
        let by_staff = || staff.map_or(Actor::Unknown, |staff| Actor::Staff(staff.to_owned()));
        let mut body = Fields::new();
        put_text(&mut body, "staff", staff);
        let (kind, actor) = match self.text("ChangeType").unwrap_or(self.event()) {
            "add_external_contact" => (Kind::ContactAdded, by_staff()),
            "add_half_external_contact" => (Kind::ContactAdded, Actor::Customer),
            "edit_external_contact" => (Kind::ContactEdited, by_staff()),
            "del_external_contact" if self.text("Source") == Some("DELETE_BY_TRANSFER") => {
                body.set("by", Value::text("transfer"));
                (Kind::ContactRemoved, Actor::System)
            }
            "del_external_contact" => {
                body.set("by", Value::text("staff"));
                (Kind::ContactRemoved, by_staff())
            }
            "del_follow_user" => {
                body.set("by", Value::text("customer"));
                (Kind::ContactRemoved, Actor::Customer)
            }
            "transfer_fail" => {
                put_text(&mut body, "reason", self.text("FailReason"));
                (Kind::ContactTransferFailed, Actor::System)
            }
            "msg_audit_approved" | "chat_archive_audit_approved_single" => {
                body.set("granted", Value::Bool(true));
                (Kind::ChatConsent, Actor::Customer)
            }
            "customer_start_chat" => {
                body = Fields::new();
                put_text(&mut body, "link_id", self.text("LinkId"));
                put_text(&mut body, "state", self.text("State"));
                (Kind::ChatStarted, Actor::Customer)
            }
            _ => return None,
        };
        if kind == Kind::ContactAdded {
            put_text(&mut body, "state", self.text("State"));
            let half = self.text("ChangeType") == Some("add_half_external_contact");
            body.set("half", Value::Bool(half));
        }
        Some(Fact { kind, subject: vec![customer(self.account, customer_id)], actor, body })
    }

    fn group_facts(&self, chat_id: &str) -> Option<Vec<Fact>> {
        let under_group = |kind, body| {
            let subject = vec![group(self.account, chat_id)];
            Some(vec![Fact { kind, subject, actor: Actor::Unknown, body }])
        };
        let kind = match (self.text("ChangeType")?, self.text("UpdateDetail")) {
            ("create", _) => Kind::GroupCreated,
            ("dismiss", _) => Kind::GroupDismissed,
            ("update", Some("change_owner")) => Kind::GroupOwnerChanged,
            ("update", Some("change_name")) => Kind::GroupRenamed,
            ("update", Some("change_notice")) => Kind::GroupNoticeChanged,
            ("update", detail) => {
                // Each customer who came or went has an event of their own; the group learns from which version to which.
                let mut facts = self.customer_facts(chat_id, detail);
                facts.extend(under_group(Kind::GroupMembersChanged, self.members_changed())?);
                return Some(facts);
            }
            _ => return None,
        };
        under_group(kind, Fields::new())
    }

    /// One event per customer who joined or left. Staff coming and going is not behaviour of a customer.
    fn customer_facts(&self, chat_id: &str, detail: Option<&str>) -> Vec<Fact> {
        let (kind, how) = match detail {
            Some("add_member") => (Kind::GroupJoined, self.text("JoinScene").and_then(join_how)),
            Some("del_member") => (Kind::GroupLeft, self.text("QuitScene").and_then(leave_how)),
            _ => return Vec::new(),
        };
        let mut facts = Vec::new();
        for member in self.members() {
            if party(self.account, member) == Party::Staff {
                continue;
            }
            let mut body = Fields::new();
            body.set("member", Value::text(member));
            body.set("group", Value::text(chat_id));
            put_text(&mut body, "how", how);
            let subject: Vec<IdKey> = vec![customer(self.account, member), group(self.account, chat_id)];
            facts.push(Fact { kind, subject, actor: Actor::Customer, body });
        }
        facts
    }

    fn members(&self) -> Vec<&str> {
        let mut members = Vec::new();
        if let Some(list) = self.root.child("MemChangeList") {
            list.texts_below(&["Item"], &mut members);
        }
        members
    }

    fn members_changed(&self) -> Fields {
        let mut body = Fields::new();
        put_text(&mut body, "detail", self.text("UpdateDetail"));
        if let Some(count) = self.text("MemChangeCnt").and_then(|count| count.parse().ok()) {
            body.set("count", Value::integer(count));
        }
        let members = self.members();
        if !members.is_empty() {
            // Staff come and go too; an empty list says that nobody else did.
            let customers = members.into_iter().filter(|member| party(self.account, member) != Party::Staff);
            body.set("list", Value::List(customers.map(Value::text).collect()));
        }
        put_text(&mut body, "from_ver", self.text("LastMemVer"));
        put_text(&mut body, "to_ver", self.text("CurMemVer"));
        body
    }

    /// `None` for operations not known here. No names come with it: the catalog must be fetched.
    fn tag_fact(&self) -> Option<Fact> {
        let op = self.text("ChangeType").filter(|op| ["create", "update", "delete", "shuffle"].contains(op))?;
        let mut body = Fields::new().with("op", Value::text(op));
        put_text(&mut body, "id", self.text("Id"));
        put_text(&mut body, "type", self.text("TagType").filter(|ty| ["tag", "tag_group"].contains(ty)));
        Some(self.corp_fact(Kind::TagCatalogChanged, Actor::Unknown, body))
    }

    fn card_fact(&self) -> Fact {
        let mut body = Fields::new();
        put_text(&mut body, "task_id", self.text("TaskId"));
        put_text(&mut body, "event_key", self.text("EventKey"));
        let mut options = Vec::new();
        // `Opiton` is the channel's own spelling.
        self.root.texts_below(&["OpitonId", "OptionId"], &mut options);
        if !options.is_empty() {
            body.set("options", Value::List(options.into_iter().map(Value::text).collect()));
        }
        self.by_sender(Kind::CardAction, body)
    }

    fn menu_fact(&self, field: &str) -> Fact {
        let mut body = Fields::new();
        put_text(&mut body, field, self.text("EventKey"));
        self.by_sender(Kind::MenuClicked, body)
    }

    /// Under the sender's own cell if it is a customer; staff have no cell, the corp's serves.
    fn by_sender(&self, kind: Kind, body: Fields) -> Fact {
        let sender = self.text("FromUserName").unwrap_or_default();
        if sender.is_empty() {
            return self.corp_fact(kind, Actor::Unknown, body);
        }
        match party(self.account, sender) {
            Party::Customer => {
                Fact { kind, subject: vec![customer(self.account, sender)], actor: Actor::Customer, body }
            }
            Party::Staff => self.corp_fact(kind, actor(self.account, sender), body),
        }
    }

    fn corp_fact(&self, kind: Kind, actor: Actor, body: Fields) -> Fact {
        let corp = &self.account.corp_id;
        Fact { kind, subject: vec![account_cell(corp, corp)], actor, body }
    }

    /// What is not behaviour, or not known here: kept raw under the closest cell.
    fn notice(&self) -> Fact {
        let body = Fields::new().with("notice", Value::text(self.native_type()));
        let subject = match (self.text("ExternalUserID"), self.text("ChatId")) {
            (Some(id), _) => customer(self.account, id),
            (None, Some(chat_id)) => group(self.account, chat_id),
            (None, None) => return self.corp_fact(Kind::ChannelNotice, Actor::System, body),
        };
        Fact { kind: Kind::ChannelNotice, subject: vec![subject], actor: Actor::System, body }
    }
}

/// Callbacks send 0 and 3; 1 and 2 are the words of the group-detail API, which some apps pass on. They do not overlap.
fn join_how(scene: &str) -> Option<&'static str> {
    match scene {
        "0" => Some("invite"),
        "1" => Some("invite_direct"),
        "2" => Some("invite_link"),
        "3" => Some("qr"),
        _ => None,
    }
}

fn leave_how(scene: &str) -> Option<&'static str> {
    match scene {
        "0" => Some("self"),
        "1" => Some("kicked"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
