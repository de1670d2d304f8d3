//! What people and programs ask for. Commands are records, answered in `command-results`.

use crate::id::{CellKey, IdKey};
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// One command. A repeated `request_id` is answered from the first result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Chosen by the client, unique per tenant within the dedupe horizon; 1 to 64 characters.
    pub request_id: String,
    /// Whose data.
    pub tenant: String,
    /// Who asks, for causes and audit.
    pub actor: String,
    /// The server's clock, as a witness for jumps.
    pub received_at: Time,
    /// What is asked.
    pub body: CommandBody,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandBody {
    /// Moves a card. Refused when the card is not where the asker saw it.
    MoveCard {
        /// The contact's cell.
        contact: CellKey,
        /// Board id.
        board: String,
        /// Column the asker saw; `None`: the card was not on the board.
        expected_stage: Option<String>,
        /// Column to move to; `None` takes the card off the board.
        to: Option<String>,
        /// Why, in the asker's words.
        reason: String,
    },
    /// Sets and unsets tags by hand.
    EditTags {
        /// The contact's cell.
        contact: CellKey,
        /// Tags to set.
        add: Vec<TagRef>,
        /// Tags to unset.
        remove: Vec<TagRef>,
        /// Why, in the asker's words.
        reason: String,
    },
    /// Says that an identifier is the same person: joined as by an event with the best of evidence.
    Link {
        /// The contact's cell.
        contact: CellKey,
        /// The other identifier.
        identifier: IdKey,
        /// Why, in the asker's words.
        reason: String,
    },
    /// Says that an identifier of the contact is somebody else: it becomes a contact of its own again.
    Unlink {
        /// The contact's cell.
        contact: CellKey,
        /// The identifier that goes.
        identifier: IdKey,
        /// Why, in the asker's words.
        reason: String,
    },
    /// Makes a token: who brings it back is the person, or the buyer of the order.
    MintToken {
        /// The token's cell.
        token: CellKey,
        /// Who it is for: an identifier of a person, or an order.
        bearer: IdKey,
        /// Brought back later than this it proves nothing.
        expires_at: Time,
    },
    /// Loads entries of the directory. Ordered by partition 0, null key.
    SetDirectory {
        /// A document of `kind: directory`.
        yaml: String,
    },
    /// Puts playbooks in force. Ordered by partition 0, null key.
    Activate {
        /// Playbooks to add or replace, by their id, in order.
        sources: Vec<PlaybookSource>,
        /// Ids of playbooks to take out.
        remove: Vec<String>,
        /// The bundle number the asker saw for this tenant (0: none active).
        expected_active: u64,
        /// What becomes of tags that go: whoever carries one must not keep it for good.
        migrations: Vec<Migration>,
    },
}

impl CommandBody {
    /// Why, in the asker's words; empty for what needs none.
    pub fn reason(&self) -> &str {
        match self {
            Self::MoveCard { reason, .. }
            | Self::EditTags { reason, .. }
            | Self::Link { reason, .. }
            | Self::Unlink { reason, .. } => reason,
            Self::MintToken { .. } | Self::SetDirectory { .. } | Self::Activate { .. } => "",
        }
    }

    /// A name for metrics and causes.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MoveCard { .. } => "command.move_card",
            Self::EditTags { .. } => "command.edit_tags",
            Self::Link { .. } => "command.link",
            Self::Unlink { .. } => "command.unlink",
            Self::MintToken { .. } => "command.mint_token",
            Self::SetDirectory { .. } => "command.set_directory",
            Self::Activate { .. } => "command.activate",
        }
    }

    /// The cell the command is addressed to; `None` for partition 0.
    pub const fn contact(&self) -> Option<&CellKey> {
        match self {
            Self::MoveCard { contact, .. }
            | Self::EditTags { contact, .. }
            | Self::Link { contact, .. }
            | Self::Unlink { contact, .. } => Some(contact),
            Self::MintToken { token, .. } => Some(token),
            Self::SetDirectory { .. } | Self::Activate { .. } => None,
        }
    }
}

/// What is in force after a change: sources of a known id take its place, others come last.
pub fn replaced(now: &[PlaybookSource], sources: &[PlaybookSource], remove: &[String]) -> Vec<PlaybookSource> {
    let mut after: Vec<PlaybookSource> = now.iter().filter(|known| !remove.contains(&known.id)).cloned().collect();
    for source in sources {
        match after.iter_mut().find(|known| known.id == source.id) {
            Some(known) => known.clone_from(source),
            None => after.push(source.clone()),
        }
    }
    after
}

/// What becomes of a tag that no playbook has any more, at whoever carries it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Migration {
    /// The tag that goes.
    pub from: TagRef,
    /// The tag that takes its place; `None`: it is taken off.
    pub to: Option<TagRef>,
}

/// Longest list of migrations, in bytes: with the largest bundle it still fits a record of the log.
pub const MIGRATIONS_BYTES_MAX: usize = 256 * 1024;

impl Migration {
    /// About what it takes in a record.
    pub fn bytes(&self) -> usize {
        const ENVELOPE: usize = 32;
        let tag = |tag: &TagRef| tag.group.len() + tag.tag.len();
        ENVELOPE + tag(&self.from) + self.to.as_ref().map_or(0, tag)
    }
}

/// A tag inside its group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TagRef {
    /// Group id.
    pub group: String,
    /// Tag id.
    pub tag: String,
}

impl TagRef {
    /// A tag from its parts.
    pub fn new(group: impl Into<String>, tag: impl Into<String>) -> Self {
        Self { group: group.into(), tag: tag.into() }
    }

    /// Parses `group/tag`.
    pub fn parse(text: &str) -> Option<Self> {
        let (group, tag) = text.split_once('/')?;
        let valid = !group.is_empty() && !tag.is_empty() && !tag.contains('/');
        valid.then(|| Self::new(group, tag))
    }
}

impl std::fmt::Display for TagRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.group, self.tag)
    }
}

/// The source of one playbook document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaybookSource {
    /// The playbook's id.
    pub id: String,
    /// YAML.
    pub yaml: String,
}
