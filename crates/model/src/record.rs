//! What the engine reads: one record of the `events` topic, decoded.

use crate::command::{Command, Migration, PlaybookSource};
use crate::event::Event;
use crate::id::{CellKey, IdKey, Position};
use crate::snapshot::Snapshot;
use crate::time::Time;
use crate::value::Value;
use serde::{Deserialize, Serialize};

/// One record of `events` in the partition of the engine that applies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Offset in the partition.
    pub offset: u64,
    /// The broker's append time: the only clock the engine knows.
    pub append_time: Time,
    /// The record's key as it lies in the log; `None` for records that name their partition.
    pub key: Option<String>,
    /// What it says, or why it could not be decoded.
    pub input: Result<Input, Undecodable>,
}

/// Why a record could not be decoded. The text names fields, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Undecodable(pub String);

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Something happened.
    Event(Box<Event>),
    /// Carries time, nothing else.
    Tick {
        /// The owner's wall clock: the witness for a jump.
        wall: Time,
    },
    /// Somebody asks for something.
    Command(Box<Command>),
    /// One cell tells another.
    Loop(Box<Loop>),
}

/// A loopback record: numbered densely per (source, destination) partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loop {
    /// Partition it came from.
    pub source: u32,
    /// 1, 2, 3 … per (source, destination).
    pub sequence: u64,
    /// The record at the source that produced it.
    pub origin: Position,
    /// The clock of the source when it did: a witness for jumps.
    pub clock: Time,
    /// What is told.
    pub body: LoopBody,
}

/// What one cell tells another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoopBody {
    /// An event that belongs to the target.
    Forward {
        /// The cell that owns the event now.
        target: CellKey,
        /// The event, whole.
        event: Box<Event>,
        /// Where it lies in the log under its native key.
        origin: Position,
        /// How many forwards it passed.
        hops: u16,
    },
    /// A command whose contact lives at the target.
    ForwardCommand {
        /// The cell that owns the contact now.
        target: CellKey,
        /// The command, whole.
        command: Box<Command>,
        /// Where it lies in the log.
        origin: Position,
        /// How many forwards it passed.
        hops: u16,
    },
    /// `from` has learned that `target` names the same person.
    Link {
        /// The cell told.
        target: CellKey,
        /// The cell that tells.
        from: CellKey,
        /// Exclusive identifiers that `from` holds.
        exclusive: Vec<IdKey>,
        /// Why the two are one.
        evidence: Evidence,
        /// The event that said so.
        origin: Position,
    },
    /// The lower cell asks the root of the higher one to take it in.
    Ask {
        /// The cell asked.
        target: CellKey,
        /// The cell that asks.
        from: CellKey,
        /// Exclusive identifiers that `from` holds.
        exclusive: Vec<IdKey>,
        /// How many identifiers would come with it, itself and those on their way to it among them.
        identities: u32,
        /// Why the two are one.
        evidence: Evidence,
        /// The event that said so.
        origin: Position,
    },
    /// The root has reserved the asker's values.
    Grant {
        /// The cell that asked.
        target: CellKey,
        /// The root that grants.
        from: CellKey,
        /// The exclusive identifiers the root holds now, the asker's among them.
        exclusive: Vec<IdKey>,
        /// How many identifiers the root has room for.
        identities: u32,
        /// Why the two are one.
        evidence: Evidence,
        /// The event that said so.
        origin: Position,
    },
    /// The lower cell has become a forward; this is what it held.
    MergeIn {
        /// The root.
        target: CellKey,
        /// The cell that became a forward.
        from: CellKey,
        /// The cell that it is a forward to: the root may have merged further since.
        into: CellKey,
        /// What it held.
        snapshot: Box<Snapshot>,
        /// Why the two are one.
        evidence: Evidence,
        /// The event that said so.
        origin: Position,
    },
    /// An event of the buyer names an order.
    Bought {
        /// The order.
        target: CellKey,
        /// The buyer's own identifier in the event.
        buyer: CellKey,
        /// Lines, where the event has them: a list.
        lines: Option<Value>,
        /// The event.
        origin: Position,
    },
    /// Somebody says that they came into a group, or left it.
    Member {
        /// The group.
        target: CellKey,
        /// Who.
        member: IdKey,
        /// Whether they came; otherwise they left.
        inside: bool,
        /// Event time of either.
        at: Time,
    },
    /// Somebody brings a token back.
    Redeem {
        /// The token.
        target: CellKey,
        /// Who brings it.
        from: CellKey,
        /// Exclusive identifiers that `from` holds.
        exclusive: Vec<IdKey>,
        /// Event time.
        at: Time,
        /// The event that carried it.
        origin: Position,
    },
    /// `target` is somebody else after all: it becomes a contact again, with what is its own.
    Part {
        /// The forward.
        target: CellKey,
        /// The contact it was part of.
        from: CellKey,
        /// What goes with it: identifiers that are forwards to it, tags that its events set.
        snapshot: Box<Snapshot>,
        /// The event or command that said so.
        origin: Position,
    },
    /// `from` was granted a merge and has merged elsewhere: what was promised to it is free.
    Release {
        /// The root that promised.
        target: CellKey,
        /// The cell that went elsewhere.
        from: CellKey,
    },
    /// `from` has been parted: what the target said of it may be said again.
    Again {
        /// Who has named it; or `from` itself, where it was parted with the cell that it is a forward to.
        target: CellKey,
        /// Who was parted.
        from: CellKey,
    },
    /// Bundle `number` of `tenant` is in force from here on.
    Activation {
        /// Global and dense.
        number: u64,
        /// Whose playbooks.
        tenant: String,
        /// The whole bundle, in file order.
        sources: Vec<PlaybookSource>,
        /// What became of tags that have gone, of this bundle and of those before.
        migrations: Vec<Migration>,
    },
    /// Entries of the directory of `tenant`, in force from here on.
    Directory {
        /// Whose.
        tenant: String,
        /// A document of `kind: directory`.
        yaml: String,
    },
}

impl LoopBody {
    /// The cell told; `None` for activations and directories, which go to every partition.
    pub const fn target(&self) -> Option<&CellKey> {
        match self {
            Self::Forward { target, .. }
            | Self::ForwardCommand { target, .. }
            | Self::Link { target, .. }
            | Self::Ask { target, .. }
            | Self::Grant { target, .. }
            | Self::MergeIn { target, .. }
            | Self::Part { target, .. }
            | Self::Bought { target, .. }
            | Self::Member { target, .. }
            | Self::Redeem { target, .. }
            | Self::Again { target, .. }
            | Self::Release { target, .. } => Some(target),
            Self::Activation { .. } | Self::Directory { .. } => None,
        }
    }

    /// A name for metrics and dead letters.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Forward { .. } => "forward",
            Self::ForwardCommand { .. } => "forward_command",
            Self::Link { .. } => "link",
            Self::Ask { .. } => "ask",
            Self::Grant { .. } => "grant",
            Self::MergeIn { .. } => "merge_in",
            Self::Part { .. } => "part",
            Self::Bought { .. } => "bought",
            Self::Member { .. } => "member",
            Self::Redeem { .. } => "redeem",
            Self::Release { .. } => "release",
            Self::Again { .. } => "again",
            Self::Activation { .. } => "activation",
            Self::Directory { .. } => "directory",
        }
    }
}

/// How well it is known that two identifiers are one person. Only strong and medium merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Evidence {
    /// Reusable state, typed phone.
    Weak,
    /// Verified phone, a token minted for one person and used once.
    Medium,
    /// Union id, vendor bridge.
    Strong,
    /// Somebody said so by hand: joins again what was parted by hand.
    Manual,
}

impl Evidence {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weak => "weak",
            Self::Medium => "medium",
            Self::Strong => "strong",
            Self::Manual => "manual",
        }
    }

    /// The evidence with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Weak, Self::Medium, Self::Strong, Self::Manual].into_iter().find(|evidence| evidence.name() == name)
    }
}
