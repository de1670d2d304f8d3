//! What a contact held when it became a forward, on its way to the contact that goes on.
//!
//! It lies in the log for good, so it has words of its own here and on the wire, apart from what a store keeps.

use crate::id::{CellKey, IdKey, Position};
use crate::output::{Cause, Identity, Relation, Tag, Touch};
use crate::past::Past;
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// What one grant promises to the cell that asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promised {
    /// Who asked.
    pub cell: CellKey,
    /// Exclusive identifiers that count as held already.
    pub exclusive: Vec<IdKey>,
    /// Room for so many identifiers.
    pub identities: u32,
}

/// Everything that has to live on. What can be derived (timers, stages, the owner) is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Event time of the first and latest event; `None` while only links have named the cell.
    pub seen: Option<(Time, Time)>,
    /// The bundle it was last brought under.
    pub bundle: u64,
    /// Further identifiers, in the order they were joined; the cell's own is not among them.
    pub identities: Vec<Identity>,
    /// What is promised to cells that have not come yet, once for each grant that is not answered.
    pub reserved: Vec<Promised>,
    /// Whom it was parted from by hand: identifiers of kind `apart`.
    pub apart: Vec<IdKey>,
    /// Tags by group then tag, each with why.
    pub tags: Vec<Tag>,
    /// Staff relations by staff id.
    pub relations: Vec<Relation>,
    /// What conditions ask about.
    pub past: Past,
    /// The staff member it was assigned to, and when.
    pub assigned: Option<(String, Time)>,
    /// Journeys, by `playbook/journey`.
    pub enrolments: Vec<(String, Enrolment)>,
    /// Touches that were due and not confirmed, by id.
    pub touches: Vec<Touch>,
    /// Names they had in contacts merged before, each with the name here.
    pub renamed: Vec<(String, String)>,
    /// Waits that were not over: when each would have been, and the key of what is waited for.
    pub waits: Vec<(Time, u64)>,
    /// What waits have concluded lately, and a late event may disprove.
    pub concluded: Vec<Conclusion>,
}

/// What a wait, or time alone, has led to, for as long as a late event may show that it was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conclusion {
    /// The key of what was waited for; 0 with a segment.
    pub wait: u64,
    /// The segment that time alone changed, and whether the contact came into it.
    pub segment: Option<(String, bool)>,
    /// When it concluded, as an event time.
    pub at: Time,
    /// The changes of tags, in order.
    pub changes: Vec<Changed>,
    /// Journeys entered: name and number.
    pub entered: Vec<(String, u32)>,
    /// What staff were given to do: ids of touches.
    pub touches: Vec<String>,
}

/// A net change of tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Group id.
    pub group: String,
    /// The tag that was set; `None`: one was taken away.
    pub set: Option<String>,
    /// The tag that gave way.
    pub unset: Option<String>,
    /// Since when it had been carried, and why; `None`: only since the conclusion itself.
    pub was: Option<(Time, Cause)>,
}

/// The latest enrolment of a contact in a journey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// From 1: how often the contact entered.
    pub number: u32,
    /// Event time of entering: the anchor.
    pub entered_at: Time,
    /// The record that entered it.
    pub entered_by: Position,
    /// What comes next.
    pub next: Option<Next>,
    /// Until when the goal counts; `None`: no goal, or no longer.
    pub goal_until: Option<GoalUntil>,
    /// Whether the goal was reached.
    pub goal_reached: bool,
    /// How and when it ended.
    pub ended: Option<(String, Time)>,
}

/// The next step of an enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// Step id: what is looked up when its moment comes.
    pub step: String,
    /// Where it stood in the journey: where to go on saying what is cancelled once a bundle has dropped it.
    pub index: u32,
    /// When.
    pub planned: Time,
}

/// How long a goal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GoalUntil {
    /// To this moment, whether or not steps remain.
    Moment(Time),
    /// As long as something else keeps the enrolment open.
    Enrolment,
}

impl Enrolment {
    /// Whether steps or the goal are still open.
    pub const fn is_active(&self) -> bool {
        self.ended.is_none()
    }
}
