//! Actions that concern staff: assign, hand over, give something to do. Each says one touch.

use crate::cell::Contact;
use crate::keys;
use crate::overlay::ViewError;
use crate::rules::Case;
use crate::timers;
use crate::waits::GRACE;
use crate::work::Work;
use touchline_model::event::{Event, FieldRef};
use touchline_model::id::IdKind;
use touchline_model::output::{Cause, Output, Touch, TouchState};
use touchline_model::time::Span;
use touchline_playbook::bundle::{Action, Assignee, Rule};

/// Unconfirmed after this, what is not a hand-over is missed.
const EXPIRES_AFTER: Span = Span::hours(24);
/// Why nobody was chosen.
const NO_STAFF: &str = "no_staff";
/// What led to it lies more than the grace in the past.
const HISTORIC: &str = "historic";

/// Does what the action says; other actions are not of staff.
pub(crate) fn act(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    (rule, index): (&Rule, usize),
    event: Option<&Event>,
    cause: &Cause,
) -> Result<(), ViewError> {
    let (touchpoint, content, expires_after) = match &rule.actions[index] {
        Action::Assign(_) => ("assign", String::new(), EXPIRES_AFTER),
        Action::Handoff { sla, reason, .. } => ("handoff", reason.clone(), *sla),
        Action::Task(text) => ("task", text.clone(), EXPIRES_AFTER),
        Action::SetTag { .. } | Action::UnsetTag(_) | Action::SetAttribute { .. } => return Ok(()),
    };
    // Decision 9: what is history calls nobody. Whose contact it is, is a fact.
    let is_history = case.at.plus(GRACE) < work.clock;
    let executor = match &rule.actions[index] {
        Action::Handoff { .. } if is_history => None,
        Action::Assign(assignee) | Action::Handoff { to: assignee, .. } => choose(work, case, assignee, event)?,
        _ => contact.owner().map(str::to_owned),
    };
    if let (Action::Assign(_), Some(staff)) = (&rule.actions[index], &executor) {
        contact.assigned = Some((staff.clone(), case.now(contact).at));
    }
    let needs_staff = touchpoint != "task";
    let (state, reason) = match &executor {
        _ if is_history => (TouchState::Skipped, HISTORIC.to_owned()),
        None if needs_staff => (TouchState::Skipped, NO_STAFF.to_owned()),
        _ => (TouchState::Due, String::new()),
    };
    let own = case.cell.id();
    let reachable = contact.identities.iter().map(|identity| &identity.id).chain([&own]);
    let recipient = reachable.min_by_key(|id| (id.kind != IdKind::WecomExternalUserid, id.kind)).cloned();
    let due = work.clock;
    let (tenant, id, position) = (case.cell.tenant(), case.cell.contact_id(), work.position);
    let touch = Touch {
        // What a record says is numbered: a rule may act more than once in it.
        id: format!("{tenant}/{id}/{}/{}/{position}#{}", rule.playbook, rule.id, work.effects.outputs.len() + 1),
        state,
        reason,
        contact: case.cell.clone(),
        recipient: recipient.unwrap_or(own),
        playbook: rule.playbook.clone(),
        journey: String::new(),
        enrolment: 0,
        step: rule.id.clone(),
        occurrence: 1,
        touchpoint: touchpoint.to_owned(),
        content,
        executor,
        planned_at: case.at,
        due_at: due,
        expires_at: due.plus(expires_after),
        replaces: None,
        cause: cause.clone(),
    };
    if state == TouchState::Due {
        timers::arm(work, case.cell, contact, touch.expires_at, &timers::expiry(&touch.id));
        contact.touches.insert(touch.id.clone(), Box::new(touch.clone()));
    }
    work.say(Output::Touch(touch));
    Ok(())
}

/// Who is next: each partition takes its turns by itself, which is fair, not exact.
fn choose(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    assignee: &Assignee,
    event: Option<&Event>,
) -> Result<Option<String>, ViewError> {
    let (kind, name) = match assignee {
        Assignee::Pool(pool) => ("pool", pool.as_str()),
        Assignee::Store => {
            let store = event.and_then(|event| event.field("store")).and_then(FieldRef::as_text);
            ("store", store.unwrap_or_default())
        }
    };
    let staff: Vec<&str> = match assignee {
        Assignee::Pool(pool) => case.directory.pool(pool).collect(),
        Assignee::Store => case.directory.store_staff(name).collect(),
    };
    if staff.is_empty() {
        return Ok(None);
    }
    let key = keys::turn(&case.cell.tenant(), kind, name);
    let turn: u64 = work.get(&key)?.unwrap_or(0);
    work.put(key, &turn.wrapping_add(1));
    let at = turn % staff.len() as u64;
    Ok(usize::try_from(at).ok().and_then(|at| staff.get(at)).map(|staff| (*staff).to_owned()))
}
