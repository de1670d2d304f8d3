//! Defects on purpose: what an engine with an error would have sent. Whoever judges has to see each of them.

use touchline_engine::keys;
use touchline_model::event::Channel;
use touchline_model::id::{CellKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::{Loop, LoopBody};
use touchline_model::time::Time;

/// A planted defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// Some events are not passed on.
    EventLost,
    /// What a channel sends again has another id: it is applied twice.
    EventTwice,
    /// A contact forgets whom its forwards stood for when it merges.
    IdentitiesLost,
    /// Who was parted is not told.
    PartLost,
    /// Who was parted does not get the tags that their events had set.
    TagsLost,
    /// Who was parted does not know it, and may be joined again.
    ApartForgotten,
    /// Promises to whoever went elsewhere are kept for good.
    PromiseKept,
    /// A token is taken however late it is brought.
    LapsedTaken,
    /// A group is not told that members came or went.
    MemberLost,
    /// Who is found to have left a group is not told.
    LeavingLost,
    /// A group believes what another corp says of it.
    StrangerBelieved,
    /// A group asks once, and forgets to ask again.
    QuestionForgotten,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::EventLost,
        Self::EventTwice,
        Self::IdentitiesLost,
        Self::PartLost,
        Self::TagsLost,
        Self::ApartForgotten,
        Self::PromiseKept,
        Self::LapsedTaken,
        Self::MemberLost,
        Self::LeavingLost,
        Self::StrangerBelieved,
        Self::QuestionForgotten,
    ];

    /// What arrives of a message: the same each time it is delivered.
    pub(super) fn falsify(self, mut told: Loop) -> Loop {
        let nothing = told.body.target().map(nothing_for);
        match (self, &mut told.body) {
            (Self::EventLost, LoopBody::Forward { .. }) if told.sequence.is_multiple_of(5) => {
                told.body = nothing.expect("it has a target");
            }
            (Self::LeavingLost, LoopBody::Forward { event, .. })
                if event.kind == Kind::GroupLeft && event.channel == Channel::Internal =>
            {
                told.body = nothing.expect("it has a target");
            }
            (Self::PartLost, LoopBody::Part { .. })
            | (Self::PromiseKept, LoopBody::Release { .. })
            | (Self::MemberLost, LoopBody::Member { .. }) => {
                told.body = nothing.expect("it has a target");
            }
            (Self::LapsedTaken, LoopBody::Redeem { at, .. }) => *at = Time(0),
            (Self::IdentitiesLost, LoopBody::MergeIn { snapshot, .. }) => snapshot.identities.clear(),
            (Self::TagsLost, LoopBody::Part { snapshot, .. }) => snapshot.tags.clear(),
            (Self::ApartForgotten, LoopBody::Part { snapshot, .. }) => snapshot.apart.clear(),
            _ => {}
        }
        told
    }

    /// Whether what should be written at this key is not.
    pub(super) fn forgets(self, key: &[u8]) -> bool {
        let cell = keys::parse_timer(key).map(|(_, cell, _)| cell);
        self == Self::QuestionForgotten && cell.is_some_and(|cell| cell.kind() == IdKind::Group)
    }
}

/// A message in place of another one that changes nothing.
fn nothing_for(target: &CellKey) -> LoopBody {
    LoopBody::Release { target: target.clone(), from: target.clone() }
}
