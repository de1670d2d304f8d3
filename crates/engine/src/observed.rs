//! Tags on phones: what WeCom shows of a contact under each staff member, and which of it is news.
//!
//! ```text
//!   tag.observed, contact.snapshot ──▶ learn: per (staff, native id) the latest word ──▶ what differs from the word before
//!   tag.write.result ────────────────▶ the same, but nothing is news: we wrote it          │
//!                                                    apply: a change by that person ◀──────┘
//! ```
//! WeCom's tags belong to a staff member's relation with the contact. The contact's tag of an **exclusive** group is the
//! latest change of anybody, by event time; any **other** tag goes when the last relation that carried it loses it. What a
//! relation shows again is an acknowledgement, of us or of a person, and changes nothing.

use crate::cell::Contact;
use crate::commands;
use crate::rules::{Case, Draft};
use crate::work::Work;
use touchline_model::command::TagRef;
use touchline_model::directory::Directory;
use touchline_model::event::{Actor, Event};
use touchline_model::kind::Kind;
use touchline_model::output::{Cause, DeadReason};
use touchline_model::past::Observed;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};
use touchline_playbook::bundle::Bundle;

/// Longest id of staff and of tags that is kept, in bytes: WeCom's have 64 at most.
const ID_BYTES_MAX: usize = 128;

/// Stands among the native ids of a relation whose tags were all said once.
const KNOWN: &str = "";

/// A tag that somebody has set on the phone, or taken off.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Who.
    staff: String,
    tag: TagRef,
    set: bool,
    /// It was there before anything was known of the relation: older than whatever is known.
    is_old: bool,
}

/// A word on one tag of one relation.
struct Word {
    staff: String,
    native_id: String,
    carried: bool,
    ours: bool,
    is_old: bool,
}

/// Notes what the event says of tags on phones; what of it is news, and how many tags it shows that mean nothing here.
pub(crate) fn learn(
    contact: &mut Contact,
    (bundle, directory): (Option<&Bundle>, &Directory),
    event: &Event,
    at: Time,
) -> (Vec<Moved>, u32) {
    let (mut moved, mut unknown) = (Vec::new(), 0);
    for word in words(contact, event, at) {
        let known = contact.past.observed.get(&word.staff).and_then(|of| of.get(&word.native_id)).cloned();
        if known.as_ref().is_some_and(|known| known.at > at) {
            continue;
        }
        let is_in_force = |tag: &&TagRef| bundle.is_some_and(|bundle| bundle.has_tag(tag));
        let listed = directory.tags.get(&word.native_id);
        let before = known.as_ref().filter(|known| known.carried);
        let shown = listed.filter(is_in_force).or_else(|| before.and_then(|before| before.tag.as_ref()));
        // A tag that left the playbook can still be taken off whoever carries it.
        let meant = if word.carried { shown } else { before.and_then(|before| before.tag.as_ref()).or(listed) };
        unknown += u32::from(word.carried && shown.is_none() && before.is_none());
        let is_news = match &known {
            None => true,
            // What nobody had said the meaning of is news once somebody has.
            Some(known) => known.carried != word.carried || (word.carried && known.tag.as_ref() != shown),
        };
        let (tag, meant) = (shown.filter(|_| word.carried).cloned(), meant.cloned());
        // Who wrote it stays true as long as it stands.
        let ours = word.ours || (!is_news && known.as_ref().is_some_and(|known| known.ours));
        let observed = Observed { at, carried: word.carried, tag, ours };
        let has_room = contact.past.observe(&word.staff, &word.native_id, observed);
        if !has_room {
            unknown += u32::from(word.carried && shown.is_some());
        } else if is_news
            && !word.ours
            && let Some(tag) = meant
        {
            moved.push(Moved { staff: word.staff, tag, set: word.carried, is_old: word.is_old });
        }
    }
    (moved, unknown)
}

/// Tags by the hand of staff, on the phone. The phone has done it already: what a board does not allow is said, and the
/// contact keeps its own.
pub(crate) fn apply(
    work: &mut Work<'_, '_>,
    draft: &mut Draft,
    case: &Case<'_>,
    contact: &mut Contact,
    moved: &[Moved],
) {
    for one in moved {
        let cause = Cause { actor: one.staff.clone(), ..case.cause.clone() };
        if !is_latest(case, contact, one) {
            continue;
        }
        if case.is_exclusive(&one.tag.group) {
            let is_set_here =
                |other: &&Moved| other.set && other.staff == one.staff && other.tag.group == one.tag.group;
            match moved.iter().rfind(is_set_here) {
                // What one person sets in a group replaces what they took off, and the last of several stands.
                Some(last) if last != one => {}
                Some(_) => swap(work, draft, case, contact, (&one.tag, &cause)),
                None => draft.unset(contact, &one.tag, &cause),
            }
        } else if one.set {
            draft.set(case, contact, &one.tag, &cause);
        } else if !is_carried(contact, &one.tag) {
            draft.unset(contact, &one.tag, &cause);
        }
    }
}

/// WeCom deleted or renamed a tag; whoever keeps the directory should know.
pub(crate) fn on_catalog(work: &mut Work<'_, '_>, event: &Event) {
    let text = |field| event.fields.text(field).unwrap_or_default();
    let (id, op) = (text("id"), text("op"));
    let directory = work.directory(&event.tenant);
    let detail = match (text("type"), op, directory.tags.get(id)) {
        (_, "delete" | "update", Some(tag)) => {
            format!(
                "WeCom says {op} of its tag {id}, which the directory has as {tag}\nhint: look, and load wecom_tags"
            )
        }
        ("tag_group", "delete", None) if !directory.tags.is_empty() => {
            format!("WeCom says delete of its tag group {id}\nhint: look whether wecom_tags has tags of it")
        }
        _ => return,
    };
    work.dead(DeadReason::TagCatalog, detail);
}

/// Moves a card as a person does.
fn swap(
    work: &mut Work<'_, '_>,
    draft: &mut Draft,
    case: &Case<'_>,
    contact: &mut Contact,
    (tag, cause): (&TagRef, &Cause),
) {
    let current = contact.tag_of(&tag.group).filter(|current| *current != tag.tag);
    match current {
        Some(current) if commands::is_refused_backward(case.bundle, &tag.group, current, &tag.tag) => {
            let detail = format!("on the phone {tag} was set, which lies behind {current}: no card moves that way");
            work.dead_of(DeadReason::TagRefused, detail, vec![case.cell.clone()]);
        }
        _ => draft.set(case, contact, tag, cause),
    }
}

/// Whether nothing is known that happened to the tag later; to its group, where the group has one tag at a time.
fn is_latest(case: &Case<'_>, contact: &Contact, one: &Moved) -> bool {
    let (tags, gone) = (contact.tags.get(&one.tag.group), contact.past.gone.get(&one.tag.group));
    let set = tags.into_iter().flatten().map(|(tag, at)| (tag, *at));
    let lost = gone.into_iter().flatten().map(|(tag, lost)| (tag, lost.at));
    let is_exclusive = case.is_exclusive(&one.tag.group);
    let of_it = set.chain(lost).filter(|(tag, _)| is_exclusive || **tag == one.tag.tag);
    of_it.map(|(_, at)| at).max().is_none_or(|latest| !one.is_old && latest <= case.at)
}

/// Whether any relation still carries the tag.
fn is_carried(contact: &Contact, tag: &TagRef) -> bool {
    let mut all = contact.past.observed.values().flat_map(|of| of.values());
    all.any(|known| known.carried && known.tag.as_ref() == Some(tag))
}

/// What an event says of tags on phones, what was taken off first.
fn words(contact: &mut Contact, event: &Event, at: Time) -> Vec<Word> {
    let fields = &event.fields;
    let staff = match (fields.text("staff"), &event.actor) {
        (Some(staff), _) => staff,
        (None, Actor::Staff(staff)) => staff,
        (None, _) => "",
    };
    let said = |added, removed, ours| {
        let word = |native_id: &str, carried| {
            let (staff, native_id) = (staff.to_owned(), native_id.to_owned());
            Word { staff, native_id, carried, ours, is_old: false }
        };
        let removed = texts(fields, removed).into_iter().flatten().map(|id| word(id, false));
        removed.chain(texts(fields, added).into_iter().flatten().map(|id| word(id, true))).collect()
    };
    let words: Vec<Word> = match event.kind {
        Kind::TagObserved => said("added", "removed", false),
        Kind::TagWriteResult if is_done(fields) => said("add", "remove", true),
        Kind::ContactSnapshot => {
            let Some(Value::List(relations)) = fields.get("follow_users") else { return Vec::new() };
            relations.iter().flat_map(|relation| differences(contact, relation, at)).collect()
        }
        _ => return Vec::new(),
    };
    words.into_iter().filter(|word| is_id(&word.staff) && is_id(&word.native_id)).collect()
}

/// Whether a write was carried out.
fn is_done(fields: &Fields) -> bool {
    match fields.get("errcode") {
        Some(Value::Number(code)) => code.0 == 0,
        Some(_) => false,
        None => true,
    }
}

/// All tags of a relation, and those that were known and are not among them. A relation that does not say which it has
/// says nothing; one of which nothing was known, not even that it began, has had its tags since nobody knows when.
fn differences(contact: &mut Contact, relation: &Value, at: Time) -> Vec<Word> {
    let Value::Record(relation) = relation else { return Vec::new() };
    let (Some(staff), Some(tags)) = (relation.text("staff"), texts(relation, "tags")) else { return Vec::new() };
    let tags: Vec<&str> = tags.collect();
    let known = contact.past.observed.get(staff);
    let is_old = known.is_none() && !contact.relations.contains_key(staff);
    let word = |native_id: &str, carried, is_old| {
        let (staff, native_id) = (staff.to_owned(), native_id.to_owned());
        Word { staff, native_id, carried, ours: false, is_old }
    };
    let carried = known.into_iter().flatten().filter(|(_, known)| known.carried);
    let gone = carried.filter(|(id, _)| !tags.contains(&id.as_str())).map(|(id, _)| word(id, false, false));
    let words: Vec<Word> = gone.chain(tags.iter().map(|id| word(id, true, is_old))).collect();
    if is_old && is_id(staff) {
        // From here on the relation is known, whether or not it has any tag.
        contact.past.observe(staff, KNOWN, Observed { at, carried: false, tag: None, ours: false });
    }
    words
}

fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
}

/// The texts of a list; `None` where there is no list.
fn texts<'e>(fields: &'e Fields, name: &str) -> Option<impl Iterator<Item = &'e str>> {
    match fields.get(name) {
        Some(Value::List(values)) => Some(values.iter().filter_map(Value::as_text)),
        _ => None,
    }
}
