//! Groups: who is in one, from what members do and from what a fetch finds.
//!
//! A callback that names who came or went is an event of each of them, and tells the group from which version to which
//! its members changed. Versions chain: where one does not begin at the version known here, or names nobody, a change
//! was missed. The group then asks for its members to be fetched, again and again until a snapshot comes; from that it
//! tells each member who came or went meanwhile, as an event of their own.
//!
//! Fetches are retried and overtaken: of each member the latest word by its own time counts, whatever comes first. So a
//! snapshot moves nobody of whom something later is known, nor the version; and once a later snapshot is known, it is
//! nothing.

use crate::cell::Cell;
use crate::keys;
use crate::overlay::ViewError;
use crate::timers;
use crate::work::Work;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Private};
use touchline_model::id::{CellKey, EventId, IdKey, IdKind, Position};
use touchline_model::kind::Kind;
use touchline_model::output::DeadReason;
use touchline_model::record::LoopBody;
use touchline_model::time::{Span, Time};
use touchline_model::value::{Fields, Value};

/// Members kept of one group, and those who left since the last snapshot: WeCom allows 500.
const MEMBERS_MAX: usize = 2_000;
/// How long after it has asked a group asks again, the first time; twice as long each further time.
const ASK_AGAIN_AFTER: Span = Span::hours(1);
/// How often it asks: the last time some five days after the change.
const ASKS_MAX: u32 = 7;
/// The timer of a group that has asked.
const ASK_AGAIN: &str = "a";

/// What a group knows of itself; its members lie beside it (`g|`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    /// Member version of the last change that was understood; `None` before the first snapshot.
    pub(crate) version: Option<String>,
    /// How often it has asked for its members since it knew them; 0: it knows them.
    pub(crate) asked: u32,
    /// When it asks again: a timer of any other moment belongs to a question that was answered.
    pub(crate) asks_at: Option<Time>,
    /// How many members lie beside it.
    pub(crate) members: u32,
    /// How many of whom it is known when they left.
    pub(crate) left: u32,
    /// Event time of the last snapshot: a word from before is in it.
    pub(crate) as_of: Option<Time>,
    /// Event time of the latest callback: a snapshot from before does not know the version it led to.
    pub(crate) changed_at: Option<Time>,
}

/// An event under the group's own key.
pub(crate) fn on_event(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    found: Option<Cell>,
    event: &Event,
    (at, origin): (Time, Position),
) -> Result<(), ViewError> {
    let known = match &found {
        Some(Cell::Group(group)) => group.clone(),
        _ => Group::default(),
    };
    if !matches!(event.kind, Kind::GroupMembersChanged | Kind::GroupSnapshot | Kind::GroupDismissed) {
        work.keep(cell, found);
        return Ok(());
    }
    if event.account != cell.id().scope {
        work.keep(cell, found);
        work.dead(DeadReason::GroupRefused, "the group is of another corp than the account that speaks of it");
        return Ok(());
    }
    let mut group = known;
    match event.kind {
        Kind::GroupMembersChanged => members_changed(work, cell, &mut group, event, at)?,
        Kind::GroupSnapshot => snapshot(work, cell, &mut group, event, (at, origin))?,
        _ => {
            let nobody = Snapshot { version: String::new(), members: BTreeMap::new() };
            let at = group.as_of.map_or(at, |as_of| as_of.max(at));
            replace(work, cell, &mut group, event, &nobody, (at, origin))?;
            (group.version, group.asked, group.asks_at) = (None, 0, None);
        }
    }
    work.put_cell(cell, Cell::Group(group));
    Ok(())
}

/// A member says that they came or went.
pub(crate) fn member(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    member: &IdKey,
    (at, inside): (Time, bool),
) -> Result<(), ViewError> {
    let found = work.cell(cell)?;
    let mut group = match &found {
        Some(Cell::Group(group)) => group.clone(),
        _ => Group::default(),
    };
    let before = (group.members, group.left);
    hear(work, cell, &mut group, &member.value, (at, inside))?;
    if (group.members, group.left) == before {
        work.keep(cell, found);
    } else {
        work.put_cell(cell, Cell::Group(group));
    }
    Ok(())
}

/// What an event says of membership is told to the group it names.
pub(crate) fn tell(work: &mut Work<'_, '_>, event: &Event, at: Time) {
    let inside = match event.kind {
        Kind::GroupJoined => true,
        Kind::GroupLeft => false,
        _ => return,
    };
    // The group itself has told this one.
    if event.channel == Channel::Internal {
        return;
    }
    let group = event.subject.iter().find(|id| id.kind == IdKind::Group);
    let member = event.subject.iter().find(|id| id.kind == IdKind::WecomExternalUserid);
    if let (Some(group), Some(member)) = (group, member) {
        let target = CellKey::of(&event.tenant, group);
        work.tell(LoopBody::Member { target, member: member.clone(), inside, at });
    }
}

/// The group asks again.
pub(crate) fn ask_again(work: &mut Work<'_, '_>, cell: &CellKey, group: Group, due: Time) {
    if group.asks_at != Some(due) {
        work.keep(cell, Some(Cell::Group(group)));
        return;
    }
    let mut group = group;
    ask(work, cell, &mut group);
    work.put_cell(cell, Cell::Group(group));
}

fn members_changed(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    group: &mut Group,
    event: &Event,
    at: Time,
) -> Result<(), ViewError> {
    let (from, to) = (event.fields.text("from_ver"), event.fields.text("to_ver"));
    if to.is_some() && to == group.version.as_deref() {
        // A snapshot has it already, or it came twice.
        return Ok(());
    }
    // An empty list names staff alone: nothing was missed.
    let named: Option<Vec<&str>> = match event.fields.get("list") {
        Some(Value::List(list)) => Some(list.iter().filter_map(Value::as_text).collect()),
        _ => None,
    };
    let inside = match event.fields.text("detail") {
        Some("add_member") => Some(true),
        Some("del_member") => Some(false),
        _ => None,
    };
    if let Some(inside) = inside {
        for member in named.iter().flatten() {
            hear(work, cell, group, member, (at, inside))?;
        }
    }
    group.changed_at = group.changed_at.max(Some(at));
    let chains = from.is_some() && from == group.version.as_deref();
    if chains && inside.is_some() && named.is_some() {
        group.version = to.map(str::to_owned);
    } else if group.asked == 0 {
        ask(work, cell, group);
    }
    Ok(())
}

/// Says that the members have to be fetched, and will say so again.
fn ask(work: &mut Work<'_, '_>, cell: &CellKey, group: &mut Group) {
    let again = work.clock.plus(Span(ASK_AGAIN_AFTER.0 << group.asked));
    group.asked += 1;
    group.asks_at = (group.asked < ASKS_MAX).then_some(again);
    if group.asks_at.is_some() {
        timers::arm_cell(work, cell, again, ASK_AGAIN);
    }
    let detail = format!("asked {} times for the members of a group", group.asked);
    work.dead_of(DeadReason::GroupOutdated, detail, vec![cell.clone()]);
}

/// What a fetch found.
struct Snapshot {
    version: String,
    /// Member → what the fetch says of them.
    members: BTreeMap<String, Fields>,
}

fn snapshot(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    group: &mut Group,
    event: &Event,
    (at, origin): (Time, Position),
) -> Result<(), ViewError> {
    if group.as_of.is_some_and(|as_of| at < as_of) {
        return Ok(());
    }
    let mut members = BTreeMap::new();
    if let Some(Value::List(list)) = event.fields.get("members") {
        for value in list {
            let Value::Record(fields) = value else { continue };
            if let Some(member) = fields.text("member").filter(|member| !member.is_empty()) {
                members.insert(member.to_owned(), fields.clone());
            }
        }
    }
    if members.len() > MEMBERS_MAX {
        work.dead(DeadReason::GroupRefused, format!("more than {MEMBERS_MAX} members"));
        return Ok(());
    }
    let version = event.fields.text("member_version").unwrap_or_default().to_owned();
    let found = Snapshot { version, members };
    replace(work, cell, group, event, &found, (at, origin))?;
    // Of before the latest change, it does not answer what was asked because of that one.
    if group.changed_at.is_none_or(|changed_at| changed_at <= at) {
        group.version = Some(found.version).filter(|version| !version.is_empty());
        (group.asked, group.asks_at) = (0, None);
    }
    Ok(())
}

/// Tells everybody who came or went between what is known and what was found; but nobody of whom something later is.
fn replace(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    group: &mut Group,
    event: &Event,
    found: &Snapshot,
    (at, origin): (Time, Position),
) -> Result<(), ViewError> {
    let known = all(work, &keys::member(cell, ""))?;
    let left = all(work, &keys::left(cell, ""))?;
    for (member, since) in known.iter().filter(|(member, _)| !found.members.contains_key(*member)) {
        if *since <= at {
            group.members = group.members.saturating_sub(1);
            work.delete(keys::member(cell, member));
            tell_member(work, cell, event, Kind::GroupLeft, member, &found.version, Fields::new(), (at, origin));
        }
    }
    for (member, fields) in found.members.iter().filter(|(member, _)| !known.contains_key(*member)) {
        if left.get(member).is_some_and(|left| *left > at) {
            continue;
        }
        let joined_at = match fields.get("joined_at") {
            Some(Value::Time(joined_at)) if joined_at.is_plausible() => (*joined_at).min(at),
            _ => at,
        };
        put_member(work, cell, group, member, joined_at);
        let body = ["how", "inviter", "state"].into_iter().fold(Fields::new(), |body, name| match fields.get(name) {
            Some(value) => body.with(name, value.clone()),
            None => body,
        });
        tell_member(work, cell, event, Kind::GroupJoined, member, &found.version, body, (joined_at, origin));
    }
    for (member, _) in left.iter().filter(|(_, left)| **left <= at) {
        group.left = group.left.saturating_sub(1);
        work.delete(keys::left(cell, member));
    }
    group.as_of = Some(at);
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "the parts of one event")]
fn tell_member(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    event: &Event,
    kind: Kind,
    member: &str,
    version: &str,
    body: Fields,
    (at, origin): (Time, Position),
) {
    let group = cell.id();
    let id = IdKey::new(IdKind::WecomExternalUserid, &group.scope, member);
    let target = CellKey::of(&event.tenant, &id);
    // What came from outside may be longer than a key can be.
    if CellKey::parse(target.as_str()).is_err() {
        work.dead(DeadReason::GroupRefused, "a member whose identifier is no key");
        return;
    }
    let basis = format!("{} {version} {member} {origin}", group.value);
    let told = Event {
        id: EventId::derive(&event.tenant, Channel::Internal.name(), &event.account, kind.name(), basis.as_bytes()),
        kind,
        custom_name: String::new(),
        tenant: event.tenant.clone(),
        channel: Channel::Internal,
        account: event.account.clone(),
        occurred_at: Some(at),
        precision: event.precision,
        received_at: event.received_at,
        fields: body.with("member", Value::text(member)).with("group", Value::text(&group.value)),
        subject: vec![id, group],
        actor: Actor::Unknown,
        native: Native::default(),
        cause: EventCause { parent_event_id: Some(event.id), ..EventCause::default() },
        private: Private::default(),
    };
    work.tell(LoopBody::Forward { target, event: Box::new(told), origin, hops: 1 });
}

/// Who was not in the group is.
fn put_member(work: &mut Work<'_, '_>, cell: &CellKey, group: &mut Group, member: &str, at: Time) {
    if group.members as usize >= MEMBERS_MAX {
        work.dead(DeadReason::GroupRefused, format!("more than {MEMBERS_MAX} members"));
        return;
    }
    group.members += 1;
    work.put(keys::member(cell, member), &at);
}

/// A word on one member: the latest by its own time counts, and a snapshot is a word on everybody.
fn hear(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    group: &mut Group,
    member: &str,
    (at, inside): (Time, bool),
) -> Result<(), ViewError> {
    let since: Option<Time> = work.get(&keys::member(cell, member))?;
    let left: Option<Time> = work.get(&keys::left(cell, member))?;
    // Channels say seconds: of the second of the snapshot it is not known which came first, and arrival decides.
    let as_of = group.as_of.map(|as_of| Time(as_of.0 - as_of.0.rem_euclid(1_000)));
    if since.or(left).max(as_of).is_some_and(|known| at < known) {
        return Ok(());
    }
    if inside {
        if left.is_some() {
            group.left = group.left.saturating_sub(1);
            work.delete(keys::left(cell, member));
        }
        if since.is_none() {
            put_member(work, cell, group, member, at);
        } else if since != Some(at) {
            work.put(keys::member(cell, member), &at);
        }
        return Ok(());
    }
    if since.is_some() {
        group.members = group.members.saturating_sub(1);
        work.delete(keys::member(cell, member));
    }
    if left.is_some() || (group.left as usize) < MEMBERS_MAX {
        group.left += u32::from(left.is_none());
        work.put(keys::left(cell, member), &at);
    }
    Ok(())
}

/// Each member with the moment stored under these keys.
fn all(work: &Work<'_, '_>, prefix: &[u8]) -> Result<BTreeMap<String, Time>, ViewError> {
    let mut until = prefix.to_vec();
    *until.last_mut().expect("it ends with a bar") += 1;
    let mut found = BTreeMap::new();
    for key in work.scan_keys(prefix, &until, usize::MAX)? {
        let member = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
        found.insert(member, work.get(&key)?.unwrap_or_default());
    }
    Ok(found)
}
