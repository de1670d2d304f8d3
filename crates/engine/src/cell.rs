//! What is kept of a cell. Encoded with postcard behind one schema byte.

use crate::STATE_SCHEMA;
use crate::groups::Group;
use crate::orders::Buyer;
use crate::overlay::ViewError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use touchline_model::command::TagRef;
use touchline_model::counted::Slot;
use touchline_model::id::{CellKey, IdKey};
use touchline_model::output::{Identity, Relation, Touch};
use touchline_model::past::Past;
use touchline_model::snapshot::{Conclusion, Enrolment, Promised};
use touchline_model::time::Time;
use touchline_playbook::bundle::Facts;

/// A cell that holds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cell {
    /// A contact lives here.
    Contact(Box<Contact>),
    /// The contact lives elsewhere; everything is passed on.
    Forward {
        /// Where.
        to: CellKey,
        /// Offset of the record that made it one.
        version: u64,
    },
    /// An order whose buyer is not known: so many of its events wait beside it (`h|`).
    Waiting {
        /// From 0, without gaps.
        held: u32,
    },
    /// An order whose buyer is known; everything is passed on. What is in it lies beside it (`i|`).
    Order {
        /// Who, and how that is known.
        buyer: Buyer,
    },
    /// A group of customers.
    Group(Group),
    /// A token that was made.
    Token {
        /// The cell of who it was made for: a person, or an order.
        bearer: CellKey,
        /// Brought back later than this it proves nothing.
        expires_at: Time,
        /// Who has brought it back.
        used_by: Option<CellKey>,
    },
    /// A number that a playbook counts.
    Metric {
        /// What it stands for.
        slot: Box<Slot>,
        /// How often.
        count: u64,
        /// Event time of what was counted last.
        at: Time,
        /// Offset of the record that was counted last.
        version: u64,
    },
}

/// A contact as the engine needs it. Why a tag is there lies beside it (`y|`), to keep this small. Boxed values: a map
/// allocates room for eleven, and most contacts have one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Contact {
    /// Event time of the first and latest event; `None` while only links have named the cell.
    pub(crate) seen: Option<(Time, Time)>,
    /// Offset of the last change.
    pub(crate) version: u64,
    /// Further identifiers, in the order they were joined.
    pub(crate) identities: Vec<Identity>,
    /// Whom somebody has parted it from: identifiers of kind `apart`.
    pub(crate) apart: Vec<IdKey>,
    /// What is promised, by the cell that is to come; who was parted and is still heard of is there too.
    pub(crate) reserved: BTreeMap<CellKey, Promise>,
    /// Group → tag → event time of setting.
    pub(crate) tags: BTreeMap<String, BTreeMap<String, Time>>,
    /// Staff relations by staff id.
    pub(crate) relations: BTreeMap<String, Relation>,
    /// The staff member it was assigned to, and when.
    pub(crate) assigned: Option<(String, Time)>,
    /// What conditions ask about.
    pub(crate) past: Past,
    /// What timers have concluded lately, and a late event may disprove.
    pub(crate) concluded: Vec<Conclusion>,
    /// The bundle whose segments and waits it was last settled by, and the offset of the directory's latest change.
    pub(crate) settled: (u64, u64),
    /// `playbook/journey` → the latest enrolment.
    pub(crate) enrolments: BTreeMap<String, Box<Enrolment>>,
    /// Touch id → due and not yet confirmed.
    pub(crate) touches: BTreeMap<String, Box<Touch>>,
    /// Name that one of those had in a merged contact → its name here.
    pub(crate) renamed: BTreeMap<String, String>,
    /// Armed timers in due order; what the index holds beyond these is stale.
    pub(crate) timers: Vec<(Time, String)>,
}

/// What was promised to one cell. Each grant is answered exactly once: the cell comes, or gives it back. Messages of
/// one cell may take ways of different length, so a promise stands whole until the last grant is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Promise {
    /// Exclusive identifiers that count as held already.
    pub(crate) exclusive: Vec<IdKey>,
    /// Identifiers that there is to be room for.
    pub(crate) identities: u32,
    /// Grants that are not answered yet.
    pub(crate) unanswered: u32,
}

impl Cell {
    /// Where everything is passed on to.
    pub(crate) const fn passes_to(&self) -> Option<&CellKey> {
        match self {
            Self::Forward { to, .. } => Some(to),
            Self::Order { buyer } => Some(&buyer.cell),
            Self::Contact(_) | Self::Waiting { .. } | Self::Group(_) | Self::Token { .. } | Self::Metric { .. } => None,
        }
    }
}

impl Contact {
    /// The staff member who takes the touches: of the latest relation still there, or assigned since.
    pub(crate) fn owner(&self) -> Option<&str> {
        let present = self.relations.values().filter(|relation| relation.removed_at.is_none());
        let relation = present.max_by_key(|relation| (relation.added_at, &relation.staff));
        match (relation, &self.assigned) {
            (Some(relation), Some((_, at))) if relation.added_at > *at => Some(&relation.staff),
            (_, Some((staff, _))) => Some(staff),
            (relation, None) => relation.map(|relation| relation.staff.as_str()),
        }
    }

    /// Exclusive identifiers of this contact, its own among them, reserved ones too, and whom it is apart from.
    pub(crate) fn exclusive(&self, own: &CellKey) -> Vec<IdKey> {
        self.with_promised(own, self.reserved.values().flat_map(|promise| &promise.exclusive))
    }

    /// The same without what is promised to others than `asker`: they may go elsewhere.
    pub(crate) fn granted(&self, own: &CellKey, asker: &CellKey) -> Vec<IdKey> {
        self.with_promised(own, self.reserved.get(asker).into_iter().flat_map(|promise| &promise.exclusive))
    }

    fn with_promised<'a>(&'a self, own: &CellKey, promised: impl Iterator<Item = &'a IdKey>) -> Vec<IdKey> {
        let all = std::iter::once(own.id()).chain(self.identities.iter().map(|identity| identity.id.clone()));
        let mut exclusive: Vec<IdKey> =
            all.chain(promised.chain(&self.apart).cloned()).filter(|id| id.kind.is_exclusive()).collect();
        exclusive.sort();
        exclusive.dedup();
        exclusive
    }

    /// How many identifiers come with it, itself and what is promised to others than `asker` included.
    pub(crate) fn size(&self, asker: Option<&CellKey>) -> u32 {
        let promised = self.reserved.iter().filter(|(cell, _)| Some(*cell) != asker);
        let joined = u32::try_from(self.identities.len()).unwrap_or(u32::MAX);
        promised.fold(joined.saturating_add(1), |sum, (_, promise)| sum.saturating_add(promise.identities))
    }

    /// One more answer of `cell` is waited for, and these are promised to it until then.
    pub(crate) fn promise(&mut self, Promised { cell, exclusive, identities }: Promised) {
        let promise = self.reserved.entry(cell).or_default();
        promise.unanswered = promise.unanswered.saturating_add(1);
        promise.identities = promise.identities.max(identities);
        for id in exclusive {
            if !promise.exclusive.contains(&id) {
                promise.exclusive.push(id);
            }
        }
    }

    /// `cell` has answered; whether that was waited for.
    pub(crate) fn answered(&mut self, cell: &CellKey) -> bool {
        let Some(promise) = self.reserved.get_mut(cell) else { return false };
        promise.unanswered = promise.unanswered.saturating_sub(1);
        if promise.unanswered == 0 {
            self.reserved.remove(cell);
        }
        true
    }

    /// Adds an identifier; stronger evidence replaces weaker.
    pub(crate) fn add_identity(&mut self, identity: Identity) {
        match self.identities.iter_mut().find(|known| known.id == identity.id) {
            Some(known) => known.evidence = known.evidence.max(identity.evidence),
            None => self.identities.push(identity),
        }
    }

    /// The tags of a group.
    pub(crate) fn carried(&self, group: &str) -> impl Iterator<Item = TagRef> {
        self.tags.get(group).into_iter().flat_map(|tags| tags.keys()).map(move |tag| TagRef::new(group, tag))
    }

    /// The tag of an exclusive group.
    pub(crate) fn tag_of(&self, group: &str) -> Option<&str> {
        self.tags.get(group)?.keys().next().map(String::as_str)
    }
}

impl Facts for Contact {
    fn has_tag(&self, group: &str, tag: &str) -> bool {
        self.tags.get(group).is_some_and(|tags| tags.contains_key(tag))
    }

    fn has_any_tag(&self, group: &str) -> bool {
        self.tags.get(group).is_some_and(|tags| !tags.is_empty())
    }

    fn past(&self) -> &Past {
        &self.past
    }
}

/// Schema byte, then postcard.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![STATE_SCHEMA]).expect("state types always encode")
}

/// Refuses another schema: the store has to be rebuilt from the log.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ViewError> {
    match bytes.split_first() {
        Some((&STATE_SCHEMA, rest)) => {
            postcard::from_bytes(rest).map_err(|error| ViewError(format!("damaged state value: {error}")))
        }
        Some((schema, _)) => Err(ViewError(format!(
            "state has schema {schema}, this version reads {STATE_SCHEMA}\nhint: remove the store; it is rebuilt from the log"
        ))),
        None => Err(ViewError("empty state value".to_owned())),
    }
}
