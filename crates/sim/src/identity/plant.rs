//! Defects on purpose: what an engine with an error would have sent. Whoever judges has to see each of them.

use touchline_model::id::CellKey;
use touchline_model::record::{Loop, LoopBody};

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
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::EventLost,
        Self::EventTwice,
        Self::IdentitiesLost,
        Self::PartLost,
        Self::TagsLost,
        Self::ApartForgotten,
        Self::PromiseKept,
    ];

    /// What arrives of a message: the same each time it is delivered.
    pub(super) fn falsify(self, mut told: Loop) -> Loop {
        let nothing = told.body.target().map(nothing_for);
        match (self, &mut told.body) {
            (Self::EventLost, LoopBody::Forward { .. }) if told.sequence.is_multiple_of(5) => {
                told.body = nothing.expect("it has a target");
            }
            (Self::PartLost, LoopBody::Part { .. }) | (Self::PromiseKept, LoopBody::Release { .. }) => {
                told.body = nothing.expect("it has a target");
            }
            (Self::IdentitiesLost, LoopBody::MergeIn { snapshot, .. }) => snapshot.identities.clear(),
            (Self::TagsLost, LoopBody::Part { snapshot, .. }) => snapshot.tags.clear(),
            (Self::ApartForgotten, LoopBody::Part { snapshot, .. }) => snapshot.apart.clear(),
            _ => {}
        }
        told
    }
}

/// A message in place of another one that changes nothing.
fn nothing_for(target: &CellKey) -> LoopBody {
    LoopBody::Release { target: target.clone(), from: target.clone() }
}
