//! What a contact held when it became a forward.

use crate::output::{identities_in, identity_to, relation_to, relations_in, tag_to, tags_in, touch_in, touch_to};
use crate::past::{past_in, past_to};
use crate::v1;
use crate::v1::held_enrolment::GoalUntil as GoalWire;
use crate::value::{cause_in, cause_out, ids_in, ids_out, key_in, position_in, position_out, required};
use touchline_model::id::Position;
use touchline_model::output::{Numbered, Output};
use touchline_model::record::Undecodable;
use touchline_model::snapshot::{Changed, Conclusion, Enrolment, GoalUntil, Next, Promised, Snapshot};
use touchline_model::time::Time;

pub(crate) fn snapshot_to(snapshot: &Snapshot) -> v1::Snapshot {
    let Snapshot {
        seen,
        bundle,
        identities,
        apart,
        reserved,
        tags,
        relations,
        past,
        assigned,
        enrolments,
        touches,
        renamed,
        waits,
        concluded,
    } = snapshot;
    let (last_times, past) = past_to(past);
    let touches = touches.iter().map(|touch| {
        // Its number belongs to another partition and says nothing here.
        let source = Position { partition: 0, offset: 0 };
        let output = Output::Touch(touch.clone());
        let numbered = Numbered { sequence: 0, clock: Time::default(), source, output };
        v1::Touch { source: None, ..touch_to(&numbered, touch) }
    });
    v1::Snapshot {
        first_seen_ms: seen.map(|(first, _)| first.0),
        last_seen_ms: seen.map(|(_, last)| last.0),
        bundle: *bundle,
        identities: identities.iter().map(identity_to).collect(),
        apart: ids_out(apart),
        reserved: reserved.iter().map(promise_to).collect(),
        tags: tags.iter().map(tag_to).collect(),
        relations: relations.iter().map(relation_to).collect(),
        last_times,
        past,
        assigned: assigned.as_ref().map(|(staff, _)| staff.clone()).unwrap_or_default(),
        assigned_at_ms: assigned.as_ref().map_or(0, |(_, at)| at.0),
        enrolments: enrolments.iter().map(enrolment_to).collect(),
        touches: touches.collect(),
        renamed: renamed.iter().map(renamed_to).collect(),
        waits: waits.iter().map(|(due, key)| v1::HeldWait { key: *key, due_ms: due.0 }).collect(),
        concluded: concluded.iter().map(conclusion_to).collect(),
    }
}

pub(crate) fn snapshot_in(wire: v1::Snapshot) -> Result<Snapshot, Undecodable> {
    let enrolments = wire.enrolments.into_iter().map(enrolment_in);
    let touches = wire.touches.into_iter().map(touch_in);
    Ok(Snapshot {
        seen: wire.first_seen_ms.zip(wire.last_seen_ms).map(|(first, last)| (Time(first), Time(last))),
        bundle: wire.bundle,
        identities: identities_in(wire.identities)?,
        apart: ids_in(wire.apart)?,
        reserved: wire.reserved.into_iter().map(promise_in).collect::<Result<_, _>>()?,
        tags: tags_in(wire.tags)?,
        relations: relations_in(wire.relations),
        past: past_in(wire.last_times, wire.past)?,
        assigned: (!wire.assigned.is_empty()).then_some((wire.assigned, Time(wire.assigned_at_ms))),
        enrolments: enrolments.collect::<Result<_, _>>()?,
        touches: touches.collect::<Result<_, _>>()?,
        renamed: wire.renamed.into_iter().map(|wire| (wire.former, wire.touch_id)).collect(),
        waits: wire.waits.into_iter().map(|wire| (Time(wire.due_ms), wire.key)).collect(),
        concluded: wire.concluded.into_iter().map(conclusion_in).collect::<Result<_, _>>()?,
    })
}

fn conclusion_to(conclusion: &Conclusion) -> v1::HeldConclusion {
    let Conclusion { wait, segment, at, changes, entered, touches } = conclusion;
    let change = |Changed { group, set, unset, was }: &Changed| v1::HeldChange {
        group: group.clone(),
        set: set.clone(),
        unset: unset.clone(),
        was_cause: was.as_ref().map(|(_, cause)| cause_out(cause)),
        was_set_at_ms: was.as_ref().map_or(0, |(set_at, _)| set_at.0),
    };
    let entry = |(journey, number): &(String, u32)| v1::HeldEntry { journey: journey.clone(), number: *number };
    v1::HeldConclusion {
        key: *wait,
        at_ms: at.0,
        changes: changes.iter().map(change).collect(),
        entered: entered.iter().map(entry).collect(),
        segment: segment.as_ref().map(|(segment, _)| segment.clone()),
        is_in_segment: segment.as_ref().is_some_and(|(_, entered)| *entered),
        touches: touches.clone(),
    }
}

fn conclusion_in(wire: v1::HeldConclusion) -> Result<Conclusion, Undecodable> {
    Ok(Conclusion {
        wait: wire.key,
        at: Time(wire.at_ms),
        changes: wire.changes.into_iter().map(change_in).collect::<Result<_, _>>()?,
        entered: wire.entered.into_iter().map(|wire| (wire.journey, wire.number)).collect(),
        segment: wire.segment.map(|segment| (segment, wire.is_in_segment)),
        touches: wire.touches,
    })
}

fn change_in(wire: v1::HeldChange) -> Result<Changed, Undecodable> {
    let cause = wire.was_cause.map(|cause| cause_in(Some(cause))).transpose()?;
    let was = cause.map(|cause| (Time(wire.was_set_at_ms), cause));
    Ok(Changed { group: wire.group, set: wire.set, unset: wire.unset, was })
}

fn renamed_to((former, id): &(String, String)) -> v1::RenamedTouch {
    v1::RenamedTouch { former: former.clone(), touch_id: id.clone() }
}

fn promise_to(Promised { cell, exclusive, identities }: &Promised) -> v1::Promise {
    v1::Promise { cell: cell.to_string(), exclusive: ids_out(exclusive), identities: *identities }
}

fn promise_in(wire: v1::Promise) -> Result<Promised, Undecodable> {
    let (cell, exclusive) = (key_in("reserved.cell", &wire.cell)?, ids_in(wire.exclusive)?);
    Ok(Promised { cell, exclusive, identities: wire.identities })
}

fn enrolment_to((journey, enrolment): &(String, Enrolment)) -> v1::HeldEnrolment {
    let Enrolment { number, entered_at, entered_by, next, goal_until, goal_reached, ended } = enrolment;
    v1::HeldEnrolment {
        journey: journey.clone(),
        number: *number,
        entered_at_ms: entered_at.0,
        entered_by: Some(position_out(*entered_by)),
        next_step: next.as_ref().map(|next| next.step.clone()),
        next_index: next.as_ref().map_or(0, |next| next.index),
        next_planned_ms: next.as_ref().map_or(0, |next| next.planned.0),
        goal_until: goal_until.map(|until| match until {
            GoalUntil::Moment(until) => GoalWire::GoalUntilMs(until.0),
            GoalUntil::Enrolment => GoalWire::GoalUntilEnd(true),
        }),
        goal_reached: *goal_reached,
        ended: ended.as_ref().map(|(reason, _)| reason.clone()),
        ended_at_ms: ended.as_ref().map_or(0, |(_, at)| at.0),
    }
}

fn enrolment_in(wire: v1::HeldEnrolment) -> Result<(String, Enrolment), Undecodable> {
    let (index, planned) = (wire.next_index, Time(wire.next_planned_ms));
    let ended_at = Time(wire.ended_at_ms);
    let enrolment = Enrolment {
        number: wire.number,
        entered_at: Time(wire.entered_at_ms),
        entered_by: position_in(required("enrolment.entered_by", wire.entered_by)?),
        next: wire.next_step.map(|step| Next { step, index, planned }),
        goal_until: wire.goal_until.map(|until| match until {
            GoalWire::GoalUntilMs(until) => GoalUntil::Moment(Time(until)),
            GoalWire::GoalUntilEnd(_) => GoalUntil::Enrolment,
        }),
        goal_reached: wire.goal_reached,
        ended: wire.ended.map(|reason| (reason, ended_at)),
    };
    Ok((wire.journey, enrolment))
}
