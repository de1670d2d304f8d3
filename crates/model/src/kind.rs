//! The closed list of event kinds (channel facts, section 7). Their fields are in [`crate::taxonomy`].

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! kinds {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// What happened. `Custom` stands for every behaviour a playbook declares under `events`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $(#[doc = $name] $variant,)*
        }
        impl Kind {
            /// Every kind, in the order of the taxonomy.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The dotted name, e.g. `chat.message`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
            /// The kind with this dotted name.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

kinds! {
    ChatMessage = "chat.message",
    ChatRecalled = "chat.recalled",
    ChatStarted = "chat.started",
    ChatConsent = "chat.consent",
    ReviewPosted = "review.posted",
    MomentCommented = "moment.commented",
    ContentClicked = "content.clicked",
    ContentViewed = "content.viewed",
    PageViewed = "page.viewed",
    MomentLiked = "moment.liked",
    CardAction = "card.action",
    MenuClicked = "menu.clicked",
    OrderCreated = "order.created",
    OrderPaid = "order.paid",
    OrderReadyToShip = "order.ready_to_ship",
    OrderShipped = "order.shipped",
    OrderCompleted = "order.completed",
    OrderClosed = "order.closed",
    OrderChanged = "order.changed",
    OrderSnapshot = "order.snapshot",
    RefundRequested = "refund.requested",
    RefundAgreed = "refund.agreed",
    RefundRefused = "refund.refused",
    RefundReturned = "refund.returned",
    RefundSucceeded = "refund.succeeded",
    RefundClosed = "refund.closed",
    PointsChanged = "points.changed",
    CouponTaken = "coupon.taken",
    CouponUsed = "coupon.used",
    CouponReturned = "coupon.returned",
    CardTaken = "card.taken",
    CardGiven = "card.given",
    CardDeleted = "card.deleted",
    ContactAdded = "contact.added",
    ContactRemoved = "contact.removed",
    ContactEdited = "contact.edited",
    ContactTransferFailed = "contact.transfer_failed",
    ContactSnapshot = "contact.snapshot",
    GroupCreated = "group.created",
    GroupDismissed = "group.dismissed",
    GroupJoined = "group.joined",
    GroupLeft = "group.left",
    GroupMembersChanged = "group.members_changed",
    GroupRenamed = "group.renamed",
    GroupOwnerChanged = "group.owner_changed",
    GroupNoticeChanged = "group.notice_changed",
    GroupSnapshot = "group.snapshot",
    TagObserved = "tag.observed",
    TagCatalogChanged = "tag_catalog.changed",
    MemberRegistered = "member.registered",
    MemberUpdated = "member.updated",
    MemberLoggedOff = "member.logged_off",
    FormSubmitted = "form.submitted",
    ConsentMarketing = "consent.marketing",
    ProfileUpdated = "profile.updated",
    ContentReceived = "content.received",
    TouchAccepted = "touch.accepted",
    TouchPendingConfirm = "touch.pending_confirm",
    TouchSent = "touch.sent",
    TouchFailed = "touch.failed",
    TouchViewed = "touch.viewed",
    TouchEngaged = "touch.engaged",
    IdentityLinked = "identity.linked",
    IdentityUnlinked = "identity.unlinked",
    TagWriteResult = "tag.write.result",
    ImportBatch = "import.batch",
    CursorSaved = "cursor.saved",
    DirectoryStaff = "directory.staff",
    DirectoryStore = "directory.store",
    DirectoryGroup = "directory.group",
    DirectoryProduct = "directory.product",
    DirectoryTag = "directory.tag",
    DirectoryContent = "directory.content",
    ChannelNotice = "channel.notice",
    Custom = "custom",
}

impl Kind {
    /// The behaviour family shown to operators: said, viewed, bought, did, touch, control.
    pub fn behaviour(self) -> &'static str {
        match self.name().split('.').next().unwrap_or_default() {
            "chat" | "review" => "said",
            "moment" if self == Self::MomentCommented => "said",
            "content" if self == Self::ContentReceived => "touch",
            "content" | "page" | "moment" | "menu" => "viewed",
            "card" if self == Self::CardAction => "viewed",
            "order" | "refund" | "points" | "coupon" | "card" => "bought",
            "touch" => "touch",
            "identity" | "import" | "cursor" | "directory" | "channel" => "control",
            _ if self == Self::TagWriteResult => "control",
            _ => "did",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The event that a hand-over leaves behind. It happens inside the engine and lies in no log: nobody may send one.
pub const HANDOFF_CREATED: &str = "handoff.created";

/// Its fields, all texts: why, the pool, the staff member.
pub const HANDOFF_FIELDS: [&str; 3] = ["reason", "to", "executor"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_have_a_dot() {
        for &kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
            assert!(kind == Kind::Custom || kind.name().contains('.'));
        }
        assert_eq!(Kind::ChatMessage.behaviour(), "said");
        assert_eq!(Kind::ContentClicked.behaviour(), "viewed");
        assert_eq!(Kind::OrderPaid.behaviour(), "bought");
        assert_eq!(Kind::ContactAdded.behaviour(), "did");
    }
}
