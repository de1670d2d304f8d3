//! What the engine says: tag changes, touches, command results, dead letters, contacts.

use crate::id::{CellKey, ContactId, EventId, IdKey, Position};
use crate::past::Past;
use crate::record::Evidence;
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// The numbered output topics. `contacts` carries versions instead and is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Stream {
    TagChanges,
    Touches,
    CommandResults,
    DeadLetters,
}

impl Stream {
    /// Every numbered stream, in index order.
    pub const ALL: [Self; 4] = [Self::TagChanges, Self::Touches, Self::CommandResults, Self::DeadLetters];

    /// Index into arrays of sequences.
    pub const fn index(self) -> usize {
        match self {
            Self::TagChanges => 0,
            Self::Touches => 1,
            Self::CommandResults => 2,
            Self::DeadLetters => 3,
        }
    }

    /// The topic's name without prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TagChanges => "tag-changes",
            Self::Touches => "touches",
            Self::CommandResults => "command-results",
            Self::DeadLetters => "dead-letters",
        }
    }
}

/// One output with its dense number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// 1, 2, 3 … per stream and partition.
    pub sequence: u64,
    /// The clock of the partition when it was decided.
    pub clock: Time,
    /// The record that decided it.
    pub source: Position,
    /// What is said.
    pub output: Output,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "lists of outputs are short; a box would be an allocation each")]
pub enum Output {
    /// A tag was set, unset or swapped.
    TagChange(TagChange),
    /// A touch fell due, or will not go out.
    Touch(Touch),
    /// A command was accepted or refused.
    CommandResult(CommandResult),
    /// A record that could not be applied.
    DeadLetter(DeadLetter),
}

impl Output {
    /// The stream it belongs to.
    pub const fn stream(&self) -> Stream {
        match self {
            Self::TagChange(_) => Stream::TagChanges,
            Self::Touch(_) => Stream::Touches,
            Self::CommandResult(_) => Stream::CommandResults,
            Self::DeadLetter(_) => Stream::DeadLetters,
        }
    }

    /// The record key: contact id, request id or source position.
    pub fn key(&self, source: Position) -> String {
        match self {
            Self::TagChange(change) => change.contact.contact_id().to_string(),
            Self::Touch(touch) => touch.contact.contact_id().to_string(),
            Self::CommandResult(result) => result.request_id.clone(),
            Self::DeadLetter(_) => source.to_string(),
        }
    }
}

/// Why something was decided. Positions and ranges, never message text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The record that was applied when it was decided.
    pub position: Position,
    /// Where the event lies under its native key, when it was forwarded.
    pub origin: Option<Position>,
    /// The identifier under which the event lies, where that is not the contact's own.
    pub native: Option<IdKey>,
    /// The event, unless a timer or a command decided.
    pub event_id: Option<EventId>,
    /// Event name, `timer`, or the command's name.
    pub kind: String,
    /// Playbook id, when one decided.
    pub playbook: String,
    /// Rule id (`rules/asks-price`) or journey part (`journeys/sop/exit`), when one decided.
    pub rule: String,
    /// Number of the bundle in force; 0 when none.
    pub bundle: u64,
    /// The keyword that matched.
    pub hit: Option<Hit>,
    /// Who, when a person decided.
    pub actor: String,
    /// The person's words.
    pub reason: String,
}

/// A keyword found in a text field: where, not what was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Keyword set id.
    pub keywords: String,
    /// The keyword as the playbook writes it.
    pub keyword: String,
    /// Field searched.
    pub field: String,
    /// First character of the match in the original text, 0-based, in Unicode scalar values.
    pub start: u32,
    /// One past the last.
    pub end: u32,
}

/// A change of one tag group of one contact: one record, even for a swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagChange {
    /// The contact's cell.
    pub contact: CellKey,
    /// Group id.
    pub group: String,
    /// Tag set now.
    pub set: Option<String>,
    /// Tag unset now.
    pub unset: Option<String>,
    /// Cards moved by it.
    pub moves: Vec<StageMove>,
    /// Event time.
    pub at: Time,
    /// A late event has shown that what led to it before was wrong: it is as it was again.
    pub retracted: bool,
    /// Why.
    pub cause: Cause,
}

/// A card moved: the board's view of a tag change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageMove {
    /// Board id.
    pub board: String,
    /// Column left; `None`: the card was not on the board.
    pub from: Option<String>,
    /// Column entered; `None`: the card left the board.
    pub to: Option<String>,
}

/// State of a touch as the engine decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TouchState {
    /// To be sent now.
    Due,
    /// Will not go out; its moment had passed or a rule forbade it.
    Skipped,
    /// Will not go out; its journey ended.
    Cancelled,
    /// Nobody confirmed it in time.
    Missed,
}

impl TouchState {
    /// The name on the wire and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Missed => "missed",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Due, Self::Skipped, Self::Cancelled, Self::Missed].into_iter().find(|state| state.name() == name)
    }
}

/// One touch of one step for one contact: when, who, what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// `tenant/contact/journey/enrolment/step#occurrence`; the notifier's idempotency key.
    pub id: String,
    /// Due, or why not.
    pub state: TouchState,
    /// For skipped, cancelled, missed: a word of a closed set (`late`, `exit`, `goal`, `expired`).
    pub reason: String,
    /// The contact's cell.
    pub contact: CellKey,
    /// The identifier to send to.
    pub recipient: IdKey,
    /// Playbook id.
    pub playbook: String,
    /// Journey id.
    pub journey: String,
    /// Number of the enrolment of this contact in this journey, from 1.
    pub enrolment: u32,
    /// Step id.
    pub step: String,
    /// Occurrence of a repeated step, from 1.
    pub occurrence: u32,
    /// `dm`, `moments`, `group`, `call_task`…
    pub touchpoint: String,
    /// Content id.
    pub content: String,
    /// Staff user id; `None` when the contact has no staff.
    pub executor: Option<String>,
    /// Nominal moment.
    pub planned_at: Time,
    /// After quiet hours and caps. Nothing is sent before it on the notifier's own clock.
    pub due_at: Time,
    /// Unconfirmed after this, it is missed.
    pub expires_at: Time,
    /// Id of the touch of a merged contact that this one stands for; a report about that one is one about this.
    pub replaces: Option<String>,
    /// Why.
    pub cause: Cause,
}

/// Answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandResult {
    /// The command's request id.
    pub request_id: String,
    /// Whose data.
    pub tenant: String,
    /// Accepted or refused.
    pub outcome: Outcome,
    /// The contact concerned, at the cell that holds it now.
    pub contact: Option<CellKey>,
    /// Where the deciding record lies: the contact's version, or the activation's position.
    pub position: Position,
    /// Bundle in force after the command.
    pub bundle: u64,
}

/// Accepted or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done.
    Accepted,
    /// Not done; the state is as it was.
    Refused {
        /// A word of a closed set: `stale_stage`, `stale_bundle`, `unknown_board`, `unknown_tag`, `no_contact`, `invalid_playbook`, `token_taken`…
        code: String,
        /// For people.
        detail: String,
        /// How it stands now: the stage, or the active bundle number.
        current: String,
    },
}

/// Why a record was put aside. A closed set: it is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "explained in name()")]
pub enum DeadReason {
    Undecodable,
    Misrouted,
    KeyMismatch,
    LoopbackForged,
    LoopbackGap,
    LinkRefused,
    LinkWeak,
    OrderWithoutBuyer,
    OrderTimedOut,
    TokenRefused,
    GroupOutdated,
    GroupRefused,
    TagRefused,
    TagCatalog,
    TooManyHops,
    NotYet,
}

impl DeadReason {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::Undecodable,
        Self::Misrouted,
        Self::KeyMismatch,
        Self::LoopbackForged,
        Self::LoopbackGap,
        Self::LinkRefused,
        Self::LinkWeak,
        Self::OrderWithoutBuyer,
        Self::OrderTimedOut,
        Self::TokenRefused,
        Self::GroupOutdated,
        Self::GroupRefused,
        Self::TagRefused,
        Self::TagCatalog,
        Self::TooManyHops,
        Self::NotYet,
    ];

    /// The reason with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The name on the wire and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            // The bytes are no record of ours.
            Self::Undecodable => "undecodable",
            // The key belongs to another partition.
            Self::Misrouted => "misrouted",
            // The record's key is not the key of the cell it addresses.
            Self::KeyMismatch => "key_mismatch",
            // A loopback record from a partition that does not exist or to a cell of another partition.
            Self::LoopbackForged => "loopback_forged",
            // A loopback number above last + 1: an alarm; the repair can only come after it.
            Self::LoopbackGap => "loopback_gap",
            // The link would join two values of an exclusive kind.
            Self::LinkRefused => "link_refused",
            // The evidence is too weak to merge on.
            Self::LinkWeak => "link_weak",
            // An order event that names no buyer, for an order that holds all the events it may hold.
            Self::OrderWithoutBuyer => "order_without_buyer",
            // An event that waited in vain for the buyer of its order.
            Self::OrderTimedOut => "order_timed_out",
            // A token that was never made, is too old, or was used by somebody else.
            Self::TokenRefused => "token_refused",
            // A change of a group's members was missed, or named nobody: they have to be fetched. Said again until they are.
            Self::GroupOutdated => "group_outdated",
            // Members of a group from another corp, or more than a group can have.
            Self::GroupRefused => "group_refused",
            // Staff moved a card backward on the phone, where its board says that nobody does: it stays where it is here.
            Self::TagRefused => "tag_refused",
            // WeCom deleted or renamed a tag that the directory has: somebody should look.
            Self::TagCatalog => "tag_catalog",
            // Forwarded more often than any real chain is long.
            Self::TooManyHops => "too_many_hops",
            // Understood, but not supported by this version.
            Self::NotYet => "not_yet",
        }
    }
}

/// A record put aside, with its reason. The processor adds the record's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Why.
    pub reason: DeadReason,
    /// More, without personal data.
    pub detail: String,
    /// Of a link that was refused: the two cells. Of a group whose members have to be fetched: its own. Of a tag that was
    /// refused: the contact.
    pub cells: Vec<CellKey>,
}

/// The public record of a contact, as `contacts` keeps it: the last version wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The cell that holds the contact.
    pub key: CellKey,
    /// Position of its last change: the version.
    pub version: Position,
    /// Set when this cell became a forward.
    pub merged_into: Option<CellKey>,
    /// Event time of the first record.
    pub first_seen: Time,
    /// Event time of the latest event.
    pub last_seen: Time,
    /// Every identifier known, its own first.
    pub identities: Vec<Identity>,
    /// Tags, by group then tag.
    pub tags: Vec<Tag>,
    /// Columns of boards, derived from the tags.
    pub stages: Vec<Stage>,
    /// Staff user id of the latest relation.
    pub owner: Option<String>,
    /// Staff relations, by staff id.
    pub relations: Vec<Relation>,
    /// What conditions ask about: when events happened, what is counted, attributes, groups, segments.
    pub past: Past,
    /// Journeys entered, by playbook then journey.
    pub enrolments: Vec<Enrolment>,
}

impl Contact {
    /// The public id.
    pub fn id(&self) -> ContactId {
        self.key.contact_id()
    }
}

/// An identifier of a contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The identifier.
    pub id: IdKey,
    /// How well it is known; its own is strong.
    pub evidence: Evidence,
    /// How it came to the contact; `None` for its own.
    pub joined: Option<Joined>,
}

impl Identity {
    /// The identifier a contact lives under.
    pub const fn own(id: IdKey) -> Self {
        Self { id, evidence: Evidence::Strong, joined: None }
    }
}

/// How an identifier came to a contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The event or command that said so.
    pub by: Position,
    /// The cell that the identifier's cell is a forward to.
    pub into: CellKey,
    /// The clock of the contact's partition when it came.
    pub at: Time,
}

/// A tag a contact carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Group id.
    pub group: String,
    /// Tag id.
    pub tag: String,
    /// Event time of the change.
    pub set_at: Time,
    /// Why.
    pub cause: Cause,
}

/// Where a contact's card is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Board id.
    pub board: String,
    /// Column (tag id).
    pub column: String,
    /// Event time of entering it.
    pub entered_at: Time,
}

/// A staff member who has the contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// Staff user id.
    pub staff: String,
    /// Event time of the latest add.
    pub added_at: Time,
    /// The add's `state` parameter.
    pub state: String,
    /// Event time of the removal, if removed since.
    pub removed_at: Option<Time>,
}

/// A journey of a contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Playbook id.
    pub playbook: String,
    /// Journey id.
    pub journey: String,
    /// From 1; counts entries of this contact.
    pub number: u32,
    /// Event time of entering.
    pub entered_at: Time,
    /// The next step and when it is due.
    pub next: Option<(String, Time)>,
    /// How and when it ended: `completed`, `exit`, `goal`.
    pub ended: Option<(String, Time)>,
    /// Whether the goal was reached.
    pub goal_reached: bool,
}

/// How far a partition has come: written by the publisher with every publication.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Partition.
    pub partition: u32,
    /// Next offset of `events` to apply: everything below is applied and published.
    pub offset: u64,
    /// Clock of the partition.
    pub clock: Time,
    /// Last sequence of each numbered stream, by [`Stream::index`].
    pub sequences: [u64; 4],
    /// Last loopback number sent, per destination partition.
    pub loop_sent: Vec<u64>,
    /// Last loopback number received, per source partition.
    pub loop_received: Vec<u64>,
    /// Number of the last bundle applied.
    pub bundle: u64,
    /// Earliest pending timer when the publication was put together; it may turn out to be stale. Not in what a store
    /// holds: it is asked for when Progress goes out.
    #[serde(skip)]
    pub next_due: Option<Time>,
}
