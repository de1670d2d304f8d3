//! The fields of every event kind: one table for validation, playbook checks, JSON schema and examples.
//!
//! Names are those of the wire (`proto/touchline/v1/event.proto`), of playbooks and of JSON. Every
//! field may be absent. Names that playbooks derive (`sku`, `product`, `group_kind`, `any_line`)
//! are not here: they are the compiler's.

use crate::kind::Kind;

/// The fields of `kind`, in the order of the taxonomy. Those of an open set ([`open`]) come on top.
pub const fn fields(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::ChatMessage => CHAT_MESSAGE,
        Kind::ChatRecalled => const { &[text("msg_id"), text("target_msg_id")] },
        Kind::ChatStarted => const { &[text("link_id"), text("state")] },
        Kind::ChatConsent => const { &[bool("granted"), text("staff")] },
        Kind::ReviewPosted => const { &[text("order"), text("rater"), private("text")] },
        Kind::MomentCommented => const { &[text("moment_id"), private("text")] },
        Kind::ContentClicked => CONTENT_CLICKED,
        Kind::ContentViewed => const { &[text("content_id"), number("dwell_ms"), number("progress"), text("session")] },
        Kind::PageViewed => const { &[text("page"), text("item_id"), text("session")] },
        Kind::MomentLiked => const { &[text("moment_id")] },
        Kind::CardAction => const { &[text("task_id"), text("event_key"), texts("options")] },
        Kind::MenuClicked => const { &[text("key"), text("url")] },
        Kind::OrderCreated
        | Kind::OrderPaid
        | Kind::OrderReadyToShip
        | Kind::OrderCompleted
        | Kind::OrderChanged
        | Kind::OrderSnapshot => &ORDER,
        Kind::OrderShipped => &ORDER_SHIPPED,
        Kind::OrderClosed => &ORDER_CLOSED,
        Kind::RefundRequested
        | Kind::RefundAgreed
        | Kind::RefundRefused
        | Kind::RefundReturned
        | Kind::RefundSucceeded
        | Kind::RefundClosed => REFUND,
        Kind::PointsChanged => const { &[number("delta"), number("total"), bool("by_us")] },
        Kind::CouponTaken | Kind::CouponUsed | Kind::CouponReturned => const { &[text("coupon_id"), text("group")] },
        Kind::CardTaken | Kind::CardGiven | Kind::CardDeleted => const { &[text("card_no"), text("alias")] },
        Kind::ContactAdded => const { &[text("staff"), text("state"), text("add_way"), bool("half")] },
        Kind::ContactRemoved => const { &[word("by", &["staff", "customer", "transfer"]), text("staff")] },
        Kind::ContactEdited => const { &[text("staff")] },
        Kind::ContactTransferFailed => const { &[text("reason"), text("staff")] },
        Kind::ContactSnapshot => CONTACT_SNAPSHOT,
        Kind::GroupCreated
        | Kind::GroupDismissed
        | Kind::GroupRenamed
        | Kind::GroupOwnerChanged
        | Kind::GroupNoticeChanged => &[],
        Kind::GroupJoined => {
            const { &[text("member"), word("how", JOIN_HOW), text("inviter"), text("state"), text("group")] }
        }
        Kind::GroupLeft => const { &[text("member"), word("how", &["self", "kicked"]), text("group")] },
        Kind::GroupMembersChanged => GROUP_MEMBERS_CHANGED,
        Kind::GroupSnapshot => GROUP_SNAPSHOT,
        Kind::TagObserved => const { &[text("staff"), texts("added"), texts("removed")] },
        Kind::TagCatalogChanged => {
            const {
                &[
                    text("id"),
                    word("type", &["tag", "tag_group"]),
                    word("op", &["create", "update", "delete", "shuffle"]),
                ]
            }
        }
        Kind::MemberRegistered | Kind::MemberUpdated | Kind::MemberLoggedOff => {
            const { &[text("level"), bool("by_us"), private("name")] }
        }
        Kind::FormSubmitted => const { &[text("form_id")] },
        Kind::ConsentMarketing => const { &[bool("granted"), text("scope"), time("first"), time("latest")] },
        Kind::ProfileUpdated | Kind::Custom => &[],
        Kind::ContentReceived => const { &[text("content")] },
        Kind::TouchAccepted => const { &[text("touch_id"), text("native_task_id"), texts("fail_list")] },
        Kind::TouchPendingConfirm => const { &[text("touch_id"), text("staff")] },
        Kind::TouchSent => const { &[text("touch_id"), time("at"), text("staff")] },
        Kind::TouchFailed => TOUCH_FAILED,
        Kind::TouchViewed => const { &[text("touch_id")] },
        Kind::TouchEngaged => {
            const { &[text("touch_id"), word("how", &["click", "like", "comment", "reply", "order"])] }
        }
        // The identifiers that are (or no longer are) one person are the event's subject, native first.
        Kind::IdentityLinked => const { &[word("evidence", EVIDENCE), private("note")] },
        Kind::IdentityUnlinked => const { &[private("note")] },
        Kind::TagWriteResult => const { &[text("staff"), texts("add"), texts("remove"), number("errcode")] },
        Kind::ImportBatch => const { &[text("id")] },
        Kind::CursorSaved => const { &[text("source"), text("pos")] },
        Kind::DirectoryStaff => const { &[text("staff"), text("name"), texts("pools"), text("store"), bool("active")] },
        Kind::DirectoryStore => const { &[text("store"), text("name")] },
        Kind::DirectoryGroup => const { &[text("group"), text("name"), text("kind")] },
        Kind::DirectoryProduct => {
            const { &[text("product"), text("name"), texts("item_ids"), texts("skus"), number("days_per_unit")] }
        }
        Kind::DirectoryTag => const { &[text("native_id"), text("group"), text("tag")] },
        Kind::DirectoryContent => const { &[text("content"), text("body"), texts("media")] },
        // A wake-up of a channel that carries no data; the payload is kept raw.
        Kind::ChannelNotice => const { &[text("notice")] },
    }
}

/// Where fields of any other name belong; they appear at top level (`has baby_birthday`).
pub const fn open(kind: Kind) -> OpenSet {
    match kind {
        Kind::Custom => OpenSet::Public,
        Kind::ProfileUpdated | Kind::FormSubmitted => OpenSet::Private,
        _ => OpenSet::Closed,
    }
}

/// What the dotted `path` holds in events of `kind`: `conversation.type`. Lists are not looked into;
/// `None` when the taxonomy does not know it (it may still be in an open set).
pub fn field(kind: Kind, path: &str) -> Option<FieldType> {
    let mut at = fields(kind);
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let ty = at.iter().find(|field| field.name == part)?.ty;
        if parts.peek().is_none() {
            return Some(ty);
        }
        let FieldType::Record(inner) = ty else { return None };
        at = inner;
    }
    None
}

/// Whether a top-level field of `kind` is personal and belongs into the event's private part.
pub fn is_private(kind: Kind, name: &str) -> bool {
    match fields(kind).iter().find(|field| field.name == name) {
        Some(field) => field.private,
        None => open(kind) == OpenSet::Private,
    }
}

/// Whether a kind takes fields of any name, and where they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenSet {
    /// Only the fields of the taxonomy are meant; others are kept, but nothing knows them.
    Closed,
    /// Any name, among the public fields.
    Public,
    /// Any name, in the private part.
    Private,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number.
    Number,
    /// Yes or no.
    Bool,
    /// A moment.
    Time,
    /// Several values.
    List(&'static FieldType),
    /// Named values.
    Record(&'static [Field]),
    /// Named values of any name: form answers, profile fields, custom fields.
    Open,
}

/// One field of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name on the wire, in playbooks and in JSON.
    pub name: &'static str,
    /// What it holds.
    pub ty: FieldType,
    /// Personal: kept in the event's private part. Only top-level fields are.
    pub private: bool,
}

const CHAT_MESSAGE: &[Field] = &[
    record("conversation", &[word("type", &["single", "group"]), text("id")]),
    word("direction", &["in", "out"]),
    text("msg_id"),
    text("msg_type"),
    private("text"),
    record("link", &[text("url"), text("title")]),
    record("media", &[text("kind"), text("ref"), number("size"), text("md5")]),
    record("mini_program", &[text("app"), text("title"), text("path")]),
    // Parts of a forwarded chat record: they quote people.
    Field { name: "items", ty: FieldType::List(&FieldType::Open), private: true },
    number("amount_fen"),
    text("staff"),
];

const CONTENT_CLICKED: &[Field] = &[
    text("content_id"),
    text("link_id"),
    text("url"),
    word("surface", &["chat", "group", "moment", "mp", "sms", "card", "unknown"]),
    text("touch_id"),
    text("session"),
    text("state"),
];

const ORDER_LINE: &[Field] = &[
    text("line_id"),
    text("item_id"),
    text("sku_id"),
    text("outer_sku"),
    text("title"),
    number("qty"),
    number("unit_price_fen"),
    number("paid_fen"),
];

const ORDER: [Field; 15] = [
    text("order_id"),
    text("shop"),
    Field { name: "lines", ty: FieldType::List(&FieldType::Record(ORDER_LINE)), private: false },
    number("total_fen"),
    number("paid_fen"),
    number("post_fen"),
    number("discount_fen"),
    time("created_at"),
    time("paid_at"),
    time("completed_at"),
    text("status_native"),
    text("source"),
    private("receiver"),
    private("address"),
    private("remark"),
];
const ORDER_SHIPPED: [Field; 16] = join(ORDER, [bool("partial")]);
const ORDER_CLOSED: [Field; 17] = join(ORDER, [text("reason"), bool("before_pay")]);

const REFUND: &[Field] = &[
    text("refund_id"),
    text("order_id"),
    texts("line_ids"),
    number("amount_fen"),
    text("type"),
    text("phase"),
    private("remark"),
];

const FOLLOW_USER: &[Field] = &[text("staff"), time("added_at"), text("state"), text("add_way"), texts("tags")];
const REMARK: &[Field] = &[text("staff"), text("remark")];
const CONTACT_SNAPSHOT: &[Field] = &[
    Field { name: "follow_users", ty: FieldType::List(&FieldType::Record(FOLLOW_USER)), private: false },
    text("gender"),
    private("name"),
    Field { name: "remarks", ty: FieldType::List(&FieldType::Record(REMARK)), private: true },
];

const JOIN_HOW: &[&str] = &["invite", "invite_direct", "invite_link", "qr"];
const GROUP_MEMBERS_CHANGED: &[Field] =
    &[text("detail"), number("count"), texts("list"), text("from_ver"), text("to_ver")];
const GROUP_MEMBER: &[Field] =
    &[text("member"), time("joined_at"), word("how", JOIN_HOW), text("inviter"), text("state")];
const GROUP_SNAPSHOT: &[Field] = &[
    text("member_version"),
    Field { name: "members", ty: FieldType::List(&FieldType::Record(GROUP_MEMBER)), private: false },
    text("name"),
    text("owner"),
];

const EVIDENCE: &[&str] = &["weak", "medium", "strong"];
const TOUCH_FAILED: &[Field] = &[
    text("touch_id"),
    word("code", &["not_friend", "cap_reached", "invalid_id", "expired", "api_error"]),
    bool("retryable"),
    text("native_code"),
    text("staff"),
];

const fn text(name: &'static str) -> Field {
    Field { name, ty: FieldType::Text, private: false }
}

const fn private(name: &'static str) -> Field {
    Field { name, ty: FieldType::Text, private: true }
}

const fn word(name: &'static str, words: &'static [&'static str]) -> Field {
    Field { name, ty: FieldType::Word(words), private: false }
}

const fn number(name: &'static str) -> Field {
    Field { name, ty: FieldType::Number, private: false }
}

const fn bool(name: &'static str) -> Field {
    Field { name, ty: FieldType::Bool, private: false }
}

const fn time(name: &'static str) -> Field {
    Field { name, ty: FieldType::Time, private: false }
}

const fn texts(name: &'static str) -> Field {
    Field { name, ty: FieldType::List(&FieldType::Text), private: false }
}

const fn record(name: &'static str, inner: &'static [Field]) -> Field {
    Field { name, ty: FieldType::Record(inner), private: false }
}

const fn join<const A: usize, const B: usize, const N: usize>(head: [Field; A], tail: [Field; B]) -> [Field; N] {
    assert!(A + B == N, "the joined length is wrong");
    let mut out = [head[0]; N];
    let mut at = 0;
    while at < N {
        out[at] = if at < A { head[at] } else { tail[at - A] };
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as a list of paths, for comparisons.
    fn names(kind: Kind) -> Vec<&'static str> {
        fields(kind).iter().map(|field| field.name).collect()
    }

    #[test]
    fn fields_follow_the_taxonomy() {
        assert_eq!(names(Kind::ContactAdded), ["staff", "state", "add_way", "half"]);
        assert_eq!(&names(Kind::OrderClosed)[12..], ["receiver", "address", "remark", "reason", "before_pay"]);
        assert_eq!(field(Kind::ChatMessage, "conversation.type"), Some(FieldType::Word(&["single", "group"])));
        assert_eq!(field(Kind::OrderPaid, "paid_at"), Some(FieldType::Time));
        assert_eq!(field(Kind::ChatMessage, "conversation.size"), None);
        assert_eq!(field(Kind::ChatMessage, "text.size"), None);
    }

    #[test]
    fn personal_fields_are_private() {
        for (kind, name) in [
            (Kind::ChatMessage, "text"),
            (Kind::OrderPaid, "address"),
            (Kind::ProfileUpdated, "baby_birthday"),
            (Kind::FormSubmitted, "mobile"),
        ] {
            assert!(is_private(kind, name), "{kind} {name}");
        }
        for (kind, name) in [(Kind::FormSubmitted, "form_id"), (Kind::Custom, "score"), (Kind::OrderPaid, "paid_fen")] {
            assert!(!is_private(kind, name), "{kind} {name}");
        }
    }

    #[test]
    fn names_are_unique_and_only_top_level_fields_are_private() {
        for &kind in Kind::ALL {
            let mut sorted = names(kind);
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), fields(kind).len(), "{kind}");
            for field in fields(kind) {
                let inner = match field.ty {
                    FieldType::Record(inner) => inner,
                    FieldType::List(FieldType::Record(inner)) => *inner,
                    _ => &[],
                };
                assert!(inner.iter().all(|field| !field.private), "{kind}.{}", field.name);
            }
        }
    }
}
