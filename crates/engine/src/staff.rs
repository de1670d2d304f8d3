//! Actions that concern staff: assign, hand over, give something to do. Each says one touch; a hand-over to somebody is an
//! event, too.

use crate::cell::Contact;
use crate::keys;
use crate::metrics;
use crate::overlay::ViewError;
use crate::rules::{Case, Judged};
use crate::touches;
use crate::waits::GRACE;
use crate::work::Work;
use touchline_model::event::{Actor, Channel, Event, EventCause, FieldRef, Native, Precision, Private};
use touchline_model::id::{EventId, IdKind};
use touchline_model::kind::{HANDOFF_CREATED, HANDOFF_FIELDS, Kind};
use touchline_model::output::{Cause, Touch, TouchState};
use touchline_model::time::Span;
use touchline_model::value::{Fields, Value};
use touchline_playbook::bundle::{Action, Assignee, Rule};

/// Unconfirmed after this, what is not a hand-over is missed.
const EXPIRES_AFTER: Span = Span::hours(24);
/// Why nobody was chosen.
const NO_STAFF: &str = "no_staff";
/// What led to it lies more than the grace in the past.
const HISTORIC: &str = "historic";

/// Does what the action says; other actions are not of staff. Gives the event that a hand-over is.
pub(crate) fn act(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    (rule, index): (&Rule, usize),
    event: Option<&Event>,
    cause: &Cause,
) -> Result<Option<Event>, ViewError> {
    let (touchpoint, content, expires_after) = match &rule.actions[index] {
        Action::Assign(_) => ("assign", String::new(), EXPIRES_AFTER),
        Action::Handoff { sla, reason, .. } => ("handoff", reason.clone(), *sla),
        Action::Task(text) => ("task", text.clone(), EXPIRES_AFTER),
        Action::SetTag { .. } | Action::UnsetTag(_) | Action::SetAttribute { .. } => return Ok(None),
    };
    // Decision 9: what is history calls nobody. Whose contact it is, is a fact.
    let refused = match () {
        () if case.at.plus(GRACE) < work.clock => Some(HISTORIC),
        () if touches::is_full(contact) => Some(touches::TOO_MANY),
        () => None,
    };
    let executor = match &rule.actions[index] {
        Action::Handoff { .. } if refused.is_some() => None,
        Action::Assign(assignee) | Action::Handoff { to: assignee, .. } => choose(work, case, assignee, event)?,
        _ => contact.owner().map(str::to_owned),
    };
    if let (Action::Assign(_), Some(staff)) = (&rule.actions[index], &executor) {
        contact.assigned = Some((staff.clone(), case.now(contact).at));
    }
    let needs_staff = touchpoint != "task";
    let refused = refused.or((needs_staff && executor.is_none()).then_some(NO_STAFF));
    let own = case.cell.id();
    let reachable = contact.identities.iter().map(|identity| &identity.id).chain([&own]);
    let recipient = reachable.min_by_key(|id| (id.kind != IdKind::WecomExternalUserid, id.kind)).cloned();
    let due = work.clock;
    let (tenant, id, position) = (case.cell.tenant(), case.cell.contact_id(), work.position);
    // A rule may act more than once in a record.
    let name = format!("{tenant}/{id}/{}/{}/{position}", rule.playbook, rule.id);
    let touch = Touch {
        id: format!("{name}#{}", work.number(&name)),
        state: TouchState::Due,
        reason: String::new(),
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
    let handoff = handoff(case, &rule.actions[index], &touch);
    if let Some(event) = &handoff {
        metrics::on_event(work, case, contact, &mut Judged::new(event, case.bundle, case.directory))?;
    }
    match refused {
        Some(reason) => touches::skip(work, touch, reason),
        None => touches::give(work, case.cell, contact, touch),
    }
    Ok(handoff)
}

/// The event that a hand-over is; `None` where nobody was there to take it.
fn handoff(case: &Case<'_>, action: &Action, touch: &Touch) -> Option<Event> {
    let (Action::Handoff { to, reason, .. }, Some(executor)) = (action, &touch.executor) else { return None };
    let to = match to {
        Assignee::Pool(pool) => pool.as_str(),
        Assignee::Store => "",
    };
    let texts = HANDOFF_FIELDS.into_iter().zip([reason, to, executor]).filter(|(_, text)| !text.is_empty());
    let tenant = case.cell.tenant();
    let channel = Channel::Internal;
    Some(Event {
        id: EventId::derive(&tenant, channel.name(), "", HANDOFF_CREATED, touch.id.as_bytes()),
        kind: Kind::Custom,
        custom_name: HANDOFF_CREATED.to_owned(),
        tenant,
        channel,
        account: String::new(),
        occurred_at: Some(case.at),
        precision: Precision::Millisecond,
        received_at: case.at,
        subject: vec![case.cell.id()],
        actor: Actor::System,
        native: Native::default(),
        cause: EventCause { touch_id: Some(touch.id.clone()), ..EventCause::default() },
        fields: texts.fold(Fields::new(), |fields, (name, text)| fields.with(name, Value::text(text))),
        private: Private::default(),
    })
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
