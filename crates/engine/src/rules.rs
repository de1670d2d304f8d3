//! Rules: what happened and what holds decide which tags change.
//!
//! One record goes through rounds. In the first, rules listening to the event run in file order and
//! see what earlier rules wrote. Per group only the net change is said; rules listening to tags and
//! stages then see the net changes of the round before.

use crate::activation::Migrations;
use crate::cell::Contact;
use crate::keys;
use crate::observed::{self, Moved};
use crate::overlay::ViewError;
use crate::segments::{self, SegmentChange};
use crate::staff;
use crate::work::{InForce, Work};
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::command::TagRef;
use touchline_model::directory::Directory;
use touchline_model::event::Event;
use touchline_model::id::CellKey;
use touchline_model::output::{Cause, Hit, Output, StageMove, Tag, TagChange};
use touchline_model::past::Gone;
use touchline_model::snapshot::Changed;
use touchline_model::time::Time;
use touchline_playbook::bundle::{Action, Bundle, Facts, Input, Pattern, ROUNDS_MAX, Rule, Trigger};
use touchline_playbook::keywords::Scan;
use touchline_playbook::listening::Heard;
use touchline_playbook::matching::Matched;
use touchline_playbook::measure::Now;

/// An event being judged: scanned once for all keywords of all rules.
pub(crate) struct Judged<'a> {
    pub(crate) event: &'a Event,
    pub(crate) scan: Scan<'a>,
    /// Answers to touches that it is.
    pub(crate) replied: Vec<u64>,
}

impl<'a> Judged<'a> {
    /// An event that answers nothing, so far.
    pub(crate) fn new(event: &'a Event, bundle: &'a Bundle, directory: &'a Directory) -> Self {
        Self { event, scan: Scan::new(&bundle.keywords, event, directory), replied: Vec::new() }
    }

    /// Whether the event fits.
    pub(crate) fn fits(&mut self, pattern: &Pattern) -> bool {
        pattern.matches(self.event, &mut self.scan).is_match()
    }
}

/// What a record has changed, net, in order.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) tags: Vec<Said>,
    pub(crate) segments: Vec<SegmentChange>,
    /// Hand-overs that came about, each as the event that it is.
    pub(crate) handoffs: Vec<Event>,
}

/// A change of tags as it is said, and since when and why the tag that gave way had been carried.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) change: TagChange,
    pub(crate) was: Option<(Time, Cause)>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.segments.is_empty() && self.handoffs.is_empty()
    }

    fn append(&mut self, mut other: Self) {
        self.tags.append(&mut other.tags);
        self.segments.append(&mut other.segments);
        self.handoffs.append(&mut other.handoffs);
    }
}

/// What every decision about one contact needs.
pub(crate) struct Case<'a> {
    pub(crate) cell: &'a CellKey,
    pub(crate) bundle: &'a Bundle,
    /// What became of tags that have gone.
    pub(crate) migrations: &'a Migrations,
    pub(crate) directory: &'a Directory,
    /// Event time.
    pub(crate) at: Time,
    /// Up to when everything is known that time alone has changed: who is in which segment is never judged before it.
    pub(crate) known_until: Time,
    /// The record, the event and the bundle; whoever decides adds its name.
    pub(crate) cause: Cause,
}

impl<'a> Case<'a> {
    pub(crate) fn new(cell: &'a CellKey, in_force: &'a InForce, at: Time, cause: Cause) -> Self {
        let InForce { bundle, migrations, directory, .. } = in_force;
        Self { cell, bundle, migrations, directory, at, known_until: at, cause }
    }

    /// A case that is judged when time has come as far as this.
    pub(crate) fn known_until(self, known_until: Time) -> Self {
        Self { known_until, ..self }
    }

    /// The moment that conditions are judged at. What comes late is judged by what is known when it comes.
    pub(crate) fn now(&self, contact: &Contact) -> Now<'a> {
        let latest = contact.seen.map_or(self.at, |(_, last)| last);
        Now { at: self.at.max(latest), directory: self.directory }
    }

    pub(crate) fn is_exclusive(&self, group: &str) -> bool {
        self.bundle.groups.get(group).is_some_and(|group| group.exclusive)
    }

    /// The cause of a decision of `rule` in `playbook`.
    pub(crate) fn decided_by(&self, playbook: &str, rule: String, hit: Option<Hit>) -> Cause {
        Cause { playbook: playbook.to_owned(), rule, hit, ..self.cause.clone() }
    }
}

/// Runs the rules for an event, the contact's first perhaps, after what it says staff have `moved` on the phone; returns
/// every net change, in order, already said.
pub(crate) fn on_event(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    judged: &mut Judged<'_>,
    (is_first, moved): (bool, &[Moved]),
) -> Result<Changes, ViewError> {
    let mut draft = Draft::default();
    observed::apply(work, &mut draft, case, contact, moved);
    let name = judged.event.name();
    for index in case.bundle.rules_listening.to_event(&mut judged.scan) {
        let rule = &case.bundle.rules[index];
        let hit = rule.triggers.iter().find_map(|trigger| event_fits(trigger, judged));
        if let Some(hit) = hit {
            act(work, &mut draft, case, contact, (rule, Some(judged.event)), hit)?;
        }
    }
    let all = is_first.then(|| case.bundle.segments.keys().cloned().collect::<BTreeSet<String>>());
    let concerned = case.bundle.segments_by_input.get(&Input::Event(name.to_owned()));
    let changes = draft.finish(work, case, contact, all.as_ref().or(concerned))?;
    cascade(work, case, contact, changes)
}

/// Runs the rules for a wait that is over.
pub(crate) fn on_wait(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    wait: u64,
) -> Result<Changes, ViewError> {
    let mut draft = Draft::default();
    for &index in case.bundle.rules_listening.to(&Heard::Wait(wait)) {
        act(work, &mut draft, case, contact, (&case.bundle.rules[index], None), None)?;
    }
    let changes = draft.finish(work, case, contact, None)?;
    cascade(work, case, contact, changes)
}

/// Sets and unsets tags by hand, then lets rules react; returns every net change, in order.
pub(crate) fn by_hand(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    set: &[TagRef],
    unset: &[TagRef],
) -> Result<Changes, ViewError> {
    let mut draft = Draft::default();
    for tag in unset {
        draft.unset(contact, tag, &case.cause);
    }
    for tag in set {
        draft.set(case, contact, tag, &case.cause);
    }
    let changes = draft.finish(work, case, contact, None)?;
    cascade(work, case, contact, changes)
}

/// Takes back what a wrong conclusion has changed, where it still stands: what gave way is carried again, since when it
/// was and for its own reason. Nothing reacts.
pub(crate) fn retract(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    changes: &[Changed],
) -> Result<(), ViewError> {
    let mut draft = Draft { is_retraction: true, ..Draft::default() };
    let mut restored: BTreeMap<TagRef, &Cause> = BTreeMap::new();
    for Changed { group, set, unset, was } in changes.iter().rev() {
        let stands = match set {
            Some(set) => contact.has_tag(group, set),
            None => !case.is_exclusive(group) || !contact.has_any_tag(group),
        };
        if !stands {
            continue;
        }
        // What a person has taken off since stays off.
        let is_off = |unset: &String| was_taken_off_by_hand(case, contact, &TagRef::new(group, unset));
        let unset = unset.as_ref().filter(|unset| !is_off(unset));
        if let Some(set) = set {
            draft.unset(contact, &TagRef::new(group, set), &case.cause);
        }
        let Some(unset) = unset else { continue };
        let tag = TagRef::new(group, unset);
        let is_back = !contact.has_tag(group, unset);
        draft.set(case, contact, &tag, &case.cause);
        if let (true, Some((set_at, cause))) = (is_back, was) {
            contact.tags.entry(tag.group.clone()).or_default().insert(tag.tag.clone(), *set_at);
            restored.insert(tag, cause);
        }
    }
    draft.finish(work, case, contact, None)?;
    for (tag, cause) in restored.into_iter().filter(|(tag, _)| contact.has_tag(&tag.group, &tag.tag)) {
        work.put(keys::why(case.cell, &tag.group, &tag.tag), cause);
    }
    Ok(())
}

/// Takes over the tags of a merged contact, each with the moment it was set and why, and decides by the latest change
/// between those and what either has lost ([`Past::gone`](touchline_model::past::Past::gone), united already). Rules do
/// not react: they did where it happened.
pub(crate) fn merge(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    tags: Vec<Tag>,
) -> Result<(), ViewError> {
    let mut draft = Draft::default();
    for Tag { group, tag, set_at, cause } in tags {
        draft.remember(contact, &group);
        let theirs = weight(case, &group, (set_at, is_by_hand(&cause)));
        let of = TagRef::new(&group, &tag);
        if contact.has_tag(&group, &tag) {
            if draft.weight_of(work, case, contact, &of)? < theirs {
                contact.tags.entry(group.clone()).or_default().insert(tag.clone(), set_at);
                draft.moved(&group, &tag, set_at);
                work.put(keys::why(case.cell, &group, &tag), &cause);
            }
            continue;
        }
        if case.is_exclusive(&group) {
            // The latest stays; of one moment the greater, so that the order of merges does not matter.
            let carried: Vec<TagRef> = contact.carried(&group).collect();
            let mut is_lighter = true;
            for other in &carried {
                is_lighter &= (draft.weight_of(work, case, contact, other)?, &other.tag) < (theirs, &tag);
            }
            if !is_lighter {
                continue;
            }
            carried.iter().for_each(|other| draft.unset(contact, other, &cause));
        }
        contact.tags.entry(group).or_default().insert(tag, set_at);
        draft.causes.insert(of, cause);
    }
    draft.drop_lost(work, case, contact)?;
    draft.settle(work, case, contact, false)?;
    Ok(())
}

/// Takes tags away that go to another contact. Rules do not react.
pub(crate) fn take_away(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    tags: &[TagRef],
) -> Result<(), ViewError> {
    let mut draft = Draft::default();
    for tag in tags {
        draft.unset(contact, tag, &case.cause);
    }
    draft.settle(work, case, contact, false)?;
    Ok(())
}

/// Tags that have gone give way to what takes their place, since when they were set. Rules do not react.
pub(crate) fn migrate(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    moves: Vec<(TagRef, Option<TagRef>)>,
) -> Result<(), ViewError> {
    let mut draft = Draft::default();
    let mut arriving = Vec::new();
    for (from, to) in moves {
        let set_at = contact.tags.get(&from.group).and_then(|tags| tags.get(&from.tag)).copied().unwrap_or(case.at);
        draft.unset(contact, &from, &case.cause);
        arriving.extend(to.map(|to| (to, set_at)));
    }
    for (to, set_at) in arriving {
        draft.remember(contact, &to.group);
        let carried = contact.tags.entry(to.group.clone()).or_default();
        // Of an exclusive group the tag that is still there stays.
        let is_taken = carried.contains_key(&to.tag) || (case.is_exclusive(&to.group) && !carried.is_empty());
        if !is_taken {
            carried.insert(to.tag.clone(), set_at);
            draft.causes.insert(to, case.cause.clone());
        }
    }
    draft.settle(work, case, contact, false)?;
    Ok(())
}

/// Of a group that is exclusive now the tag that was set last stays, as in [`merge`]. Rules do not react.
pub(crate) fn keep_latest(work: &mut Work<'_, '_>, case: &Case<'_>, contact: &mut Contact) -> Result<(), ViewError> {
    let several = contact.tags.iter().filter(|(group, tags)| tags.len() > 1 && case.is_exclusive(group));
    let others = several.flat_map(|(group, tags)| {
        let latest = tags.iter().max_by_key(|(tag, at)| (**at, *tag)).map(|(tag, _)| tag);
        tags.keys().filter(move |tag| Some(*tag) != latest).map(move |tag| TagRef::new(group, tag))
    });
    let others: Vec<TagRef> = others.collect();
    take_away(work, case, contact, &others)
}

/// Lets rules react to changes, round after round; returns every net change, in order.
pub(crate) fn cascade(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &mut Contact,
    mut changes: Changes,
) -> Result<Changes, ViewError> {
    let mut all = Changes::default();
    for _ in 1..ROUNDS_MAX {
        if changes.is_empty() {
            break;
        }
        let mut draft = Draft::default();
        for index in reacting(case, &changes) {
            act(work, &mut draft, case, contact, (&case.bundle.rules[index], None), None)?;
        }
        all.append(changes);
        changes = draft.finish(work, case, contact, None)?;
    }
    let rules = &case.bundle.rules;
    let missed = reacting(case, &changes).into_iter().filter(|index| holds(&rules[*index], case, contact)).count();
    work.effects.notes.rounds_cut += u32::try_from(missed).unwrap_or(u32::MAX);
    all.append(changes);
    Ok(all)
}

/// Whether an event fits an event trigger; the keyword found, where one decided.
pub(crate) fn event_fits(trigger: &Trigger, judged: &mut Judged<'_>) -> Option<Option<Hit>> {
    let pattern = match trigger {
        Trigger::Event(pattern) => pattern,
        Trigger::Replied(key) => return judged.replied.contains(key).then_some(None),
        _ => return None,
    };
    match pattern.matches(judged.event, &mut judged.scan) {
        Matched::Yes { hit } => Some(hit),
        Matched::No => None,
    }
}

/// Whether a wait that is over fits its trigger.
pub(crate) fn wait_fits(trigger: &Trigger, wait: u64) -> bool {
    matches!(trigger, Trigger::Wait(key) if *key == wait)
}

/// Rules that react to any of the changes, in file order.
fn reacting(case: &Case<'_>, changes: &Changes) -> BTreeSet<usize> {
    let rules = &case.bundle.rules_listening;
    let heard = changes
        .tags
        .iter()
        .flat_map(|said| heard_of_tags(&said.change))
        .chain(changes.segments.iter().map(heard_of_segment));
    let mut reacting: BTreeSet<usize> = heard.flat_map(|heard| rules.to(&heard).to_vec()).collect();
    for event in &changes.handoffs {
        let mut judged = Judged::new(event, case.bundle, case.directory);
        for index in rules.to_event(&mut judged.scan) {
            if case.bundle.rules[index].triggers.iter().any(|trigger| event_fits(trigger, &mut judged).is_some()) {
                reacting.insert(index);
            }
        }
    }
    reacting
}

/// What triggers hear of a net change.
pub(crate) fn heard_of_tags(change: &TagChange) -> Vec<Heard> {
    let mut heard = Vec::new();
    let group = &change.group;
    if let Some(tag) = &change.set {
        heard.extend([Some(tag.clone()), None].map(|tag| Heard::TagSet(group.clone(), tag)));
    }
    if let Some(tag) = &change.unset {
        heard.extend([Some(tag.clone()), None].map(|tag| Heard::TagUnset(group.clone(), tag)));
    }
    for StageMove { board, from, to } in &change.moves {
        heard.extend(to.iter().map(|column| Heard::StageEntered(board.clone(), column.clone())));
        heard.extend(from.iter().map(|column| Heard::StageLeft(board.clone(), column.clone())));
    }
    heard
}

/// What triggers hear of a segment.
pub(crate) fn heard_of_segment(change: &SegmentChange) -> Heard {
    let segment = change.segment.clone();
    if change.entered { Heard::SegmentEntered(segment) } else { Heard::SegmentLeft(segment) }
}

/// Whether a contact that came into a segment, or left it, fits a trigger.
pub(crate) fn segment_fits(trigger: &Trigger, change: &SegmentChange) -> bool {
    match trigger {
        Trigger::SegmentEntered(segment) => change.entered && change.segment == *segment,
        Trigger::SegmentLeft(segment) => !change.entered && change.segment == *segment,
        _ => false,
    }
}

/// Whether a net change fits a tag or stage trigger.
pub(crate) fn change_fits(trigger: &Trigger, change: &TagChange) -> bool {
    let moved = |wanted: &dyn Fn(&StageMove) -> bool| change.moves.iter().any(wanted);
    match trigger {
        Trigger::Event(_)
        | Trigger::Replied(_)
        | Trigger::Wait(_)
        | Trigger::SegmentEntered(_)
        | Trigger::SegmentLeft(_) => false,
        Trigger::TagSet(tags) => change.set.as_deref().is_some_and(|tag| tags.fits(&change.group, tag)),
        Trigger::TagUnset(tags) => change.unset.as_deref().is_some_and(|tag| tags.fits(&change.group, tag)),
        Trigger::StageEntered { board, column } => {
            moved(&|step| step.board == *board && step.to.as_ref() == Some(column))
        }
        Trigger::StageLeft { board, column } => {
            moved(&|step| step.board == *board && step.from.as_ref() == Some(column))
        }
    }
}

fn act(
    work: &mut Work<'_, '_>,
    draft: &mut Draft,
    case: &Case<'_>,
    contact: &mut Contact,
    (rule, event): (&Rule, Option<&Event>),
    hit: Option<Hit>,
) -> Result<(), ViewError> {
    if !holds(rule, case, contact) {
        return Ok(());
    }
    let cause = case.decided_by(&rule.playbook, format!("rules/{}", rule.id), hit);
    for (index, action) in rule.actions.iter().enumerate() {
        match action {
            Action::Assign(_) | Action::Handoff { .. } | Action::Task(_) => {
                draft.handoffs.extend(staff::act(work, case, contact, (rule, index), event, &cause)?);
            }
            Action::SetTag { tag, backward } => {
                if may_set(work, draft, case, contact, tag, *backward)? {
                    draft.set(case, contact, tag, &cause);
                }
            }
            Action::UnsetTag(tag) => {
                if !was_set_by_hand(work, case, contact, tag)? {
                    draft.unset(contact, tag, &cause);
                }
            }
            Action::SetAttribute { attribute, value } => {
                // As with tags the last word stays, though what led to it may have come late.
                let known = contact.past.attributes.get(attribute).map(|known| known.at);
                contact.past.learn(attribute, value.clone(), known.max(Some(case.now(contact).at)).unwrap_or(case.at));
                draft.attributes.insert(attribute.clone());
            }
        }
    }
    Ok(())
}

/// Whether what the rule asks for holds.
fn holds(rule: &Rule, case: &Case<'_>, contact: &Contact) -> bool {
    rule.when.as_ref().is_none_or(|when| when.holds(contact, case.now(contact)))
}

/// Whether a rule may set the tag: forward on a ladder, and not over what a person has set or taken off where that wins.
fn may_set(
    work: &Work<'_, '_>,
    draft: &Draft,
    case: &Case<'_>,
    contact: &Contact,
    tag: &TagRef,
    backward: bool,
) -> Result<bool, ViewError> {
    let Some(group) = case.bundle.groups.get(&tag.group) else { return Ok(true) };
    let is_off = || was_taken_off_by_hand(case, contact, tag) || draft.takes_off_by_hand(case, contact, tag);
    if group.manual_wins && is_off() {
        return Ok(false);
    }
    let Some(current) = contact.tag_of(&tag.group).filter(|_| group.exclusive) else { return Ok(true) };
    if !backward && group.is_backward(current, &tag.tag) {
        return Ok(false);
    }
    Ok(!was_set_by_hand(work, case, contact, &TagRef::new(&tag.group, current))?)
}

/// Whether a person has set this tag, in a group where that wins over rules.
fn was_set_by_hand(work: &Work<'_, '_>, case: &Case<'_>, contact: &Contact, tag: &TagRef) -> Result<bool, ViewError> {
    let wins = case.bundle.groups.get(&tag.group).is_some_and(|group| group.manual_wins);
    if !wins || !contact.has_tag(&tag.group, &tag.tag) {
        return Ok(false);
    }
    let why: Option<Cause> = work.get(&keys::why(case.cell, &tag.group, &tag.tag))?;
    Ok(why.is_some_and(|why| is_by_hand(&why)))
}

/// Whether a person has taken off the tag, or whatever an exclusive group had, and nobody has set anything since.
fn was_taken_off_by_hand(case: &Case<'_>, contact: &Contact, tag: &TagRef) -> bool {
    let Some(lost) = contact.past.gone.get(&tag.group) else { return false };
    // Where the group became exclusive later, something may have stayed.
    let is_empty = case.is_exclusive(&tag.group) && !contact.has_any_tag(&tag.group);
    lost.iter().any(|(name, lost)| lost.by_hand && (is_empty || *name == tag.tag))
}

/// Whether a person did it. A rule that reacts to what a person did names that person too.
fn is_by_hand(cause: &Cause) -> bool {
    !cause.actor.is_empty() && cause.rule.is_empty()
}

/// How much a change weighs where two contacts become one: the later one more, but what a person did most where that wins.
fn weight(case: &Case<'_>, group: &str, (at, by_hand): (Time, bool)) -> (bool, Time) {
    let wins = case.bundle.groups.get(group).is_some_and(|group| group.manual_wins);
    (wins && by_hand, at)
}

/// Tag changes of one round before they are netted: the groups as they were, and who wrote last.
#[derive(Default)]
pub(crate) struct Draft {
    before: Vec<(String, BTreeMap<String, Time>)>,
    causes: BTreeMap<TagRef, Cause>,
    /// Attributes that were set.
    attributes: BTreeSet<String>,
    /// Hand-overs that came about.
    handoffs: Vec<Event>,
    /// What is taken back.
    is_retraction: bool,
}

impl Draft {
    /// As [`was_taken_off_by_hand`], in this very round: by the event on which rules act now.
    fn takes_off_by_hand(&self, case: &Case<'_>, contact: &Contact, tag: &TagRef) -> bool {
        let Some((group, before)) = self.before.iter().find(|(group, _)| *group == tag.group) else { return false };
        let is_empty = case.is_exclusive(group) && !contact.has_any_tag(group);
        let off = before.keys().filter(|name| !contact.has_tag(group, name) && (is_empty || **name == tag.tag));
        off.map(|name| TagRef::new(group, name)).any(|off| self.causes.get(&off).is_some_and(is_by_hand))
    }

    fn remember(&mut self, contact: &Contact, group: &str) {
        if !self.before.iter().any(|(known, _)| known == group) {
            let tags = contact.tags.get(group).cloned().unwrap_or_default();
            self.before.push((group.to_owned(), tags));
        }
    }

    /// The tag was there before, but since another moment.
    fn moved(&mut self, group: &str, tag: &str, set_at: Time) {
        let before = self.before.iter_mut().find(|(known, _)| known == group);
        if let Some(before) = before.and_then(|(_, tags)| tags.get_mut(tag)) {
            *before = set_at;
        }
    }

    pub(crate) fn set(&mut self, case: &Case<'_>, contact: &mut Contact, tag: &TagRef, cause: &Cause) {
        self.remember(contact, &tag.group);
        let tags = contact.tags.entry(tag.group.clone()).or_default();
        let exclusive = case.is_exclusive(&tag.group);
        // A group that has become exclusive may still hold several: setting one makes it the only one.
        if tags.contains_key(&tag.tag) && (!exclusive || tags.len() == 1) {
            return;
        }
        if exclusive {
            for (replaced, _) in std::mem::take(tags) {
                self.causes.insert(TagRef::new(&tag.group, replaced), cause.clone());
            }
        }
        tags.insert(tag.tag.clone(), case.at);
        self.causes.insert(tag.clone(), cause.clone());
    }

    pub(crate) fn unset(&mut self, contact: &mut Contact, tag: &TagRef, cause: &Cause) {
        self.remember(contact, &tag.group);
        let Some(tags) = contact.tags.get_mut(&tag.group) else { return };
        if tags.remove(&tag.tag).is_some() {
            self.causes.insert(tag.clone(), cause.clone());
        }
    }

    /// What setting this tag, which the contact carries, weighs.
    fn weight_of(
        &self,
        work: &Work<'_, '_>,
        case: &Case<'_>,
        contact: &Contact,
        tag: &TagRef,
    ) -> Result<(bool, Time), ViewError> {
        let at = contact.tags.get(&tag.group).and_then(|tags| tags.get(&tag.tag)).copied().unwrap_or_default();
        let by_hand = match self.causes.get(tag) {
            Some(cause) => is_by_hand(cause),
            None => was_set_by_hand(work, case, contact, tag)?,
        };
        Ok(weight(case, &tag.group, (at, by_hand)))
    }

    /// Takes off what was taken off later than it was set, and forgets the other losses.
    fn drop_lost(&mut self, work: &Work<'_, '_>, case: &Case<'_>, contact: &mut Contact) -> Result<(), ViewError> {
        for (group, lost) in contact.past.gone.clone() {
            let weigh = |lost: &Gone| weight(case, &group, (lost.at, lost.by_hand));
            let of_group = lost.values().map(weigh).max();
            let is_exclusive = case.is_exclusive(&group);
            for tag in contact.carried(&group).collect::<Vec<_>>() {
                let lost = if is_exclusive { of_group } else { lost.get(&tag.tag).map(weigh) };
                if lost > Some(self.weight_of(work, case, contact, &tag)?) {
                    self.unset(contact, &tag, &case.cause);
                }
            }
            let carried: Vec<String> = contact.carried(&group).map(|tag| tag.tag).collect();
            contact.past.regain(&group, |tag| if is_exclusive { carried.is_empty() } else { !carried.contains(tag) });
        }
        Ok(())
    }

    /// Nets the round, and judges the segments that its changes and `concerned` may have changed.
    fn finish(
        mut self,
        work: &mut Work<'_, '_>,
        case: &Case<'_>,
        contact: &mut Contact,
        concerned: Option<&BTreeSet<String>>,
    ) -> Result<Changes, ViewError> {
        let attributes = std::mem::take(&mut self.attributes);
        let handoffs = std::mem::take(&mut self.handoffs);
        // What is taken back is as if it had never been set.
        let is_loss = !self.is_retraction;
        let tags = self.settle(work, case, contact, is_loss)?;
        let inputs = attributes.into_iter().map(Input::Attribute);
        let inputs = inputs.chain(tags.iter().map(|said| Input::Group(said.change.group.clone())));
        let mut names: BTreeSet<&str> = concerned.into_iter().flatten().map(String::as_str).collect();
        for input in inputs {
            names.extend(case.bundle.segments_by_input.get(&input).into_iter().flatten().map(String::as_str));
        }
        let segments = segments::judge(work, case, contact, names);
        Ok(Changes { tags, segments, handoffs })
    }

    /// Nets the round: keeps set times of tags that came back, says what changed, stores why. `is_loss`: what goes was
    /// taken off by somebody, and stays off where another contact or a phone shows it from before.
    fn settle(
        mut self,
        work: &mut Work<'_, '_>,
        case: &Case<'_>,
        contact: &mut Contact,
        is_loss: bool,
    ) -> Result<Vec<Said>, ViewError> {
        let mut changes = Vec::new();
        for (group, before) in std::mem::take(&mut self.before) {
            let now = contact.tags.entry(group.clone()).or_default();
            for (tag, set_at) in now.iter_mut() {
                if let Some(earlier) = before.get(tag) {
                    *set_at = *earlier;
                }
            }
            let set: Vec<String> = now.keys().filter(|tag| !before.contains_key(*tag)).cloned().collect();
            let unset: Vec<String> = before.keys().filter(|tag| !now.contains_key(*tag)).cloned().collect();
            if now.is_empty() {
                contact.tags.remove(&group);
            }
            let exclusive = case.is_exclusive(&group);
            if !set.is_empty() {
                contact.past.regain(&group, |tag| !exclusive && !set.contains(tag));
            }
            if is_loss && !(exclusive && contact.has_any_tag(&group)) {
                for tag in &unset {
                    let by_hand = self.causes.get(&TagRef::new(&group, tag)).is_some_and(is_by_hand);
                    // What led to it may have come late.
                    let at = case.at.max(before[tag]);
                    contact.past.lose(&group, tag, Gone { at, by_hand });
                }
            }
            let was = |tag: String| (before[&tag], tag);
            if exclusive && set.len() == 1 && unset.len() == 1 {
                changes.push(self.say(
                    work,
                    case,
                    &group,
                    set.into_iter().next(),
                    unset.into_iter().next().map(was),
                )?);
            } else {
                for tag in unset {
                    changes.push(self.say(work, case, &group, None, Some(was(tag)))?);
                }
                for tag in set {
                    changes.push(self.say(work, case, &group, Some(tag), None)?);
                }
            }
        }
        Ok(changes)
    }

    fn say(
        &self,
        work: &mut Work<'_, '_>,
        case: &Case<'_>,
        group: &str,
        set: Option<String>,
        unset: Option<(Time, String)>,
    ) -> Result<Said, ViewError> {
        let (since, unset) = unset.unzip();
        let decisive = set.as_ref().or(unset.as_ref()).expect("a change sets or unsets");
        let cause = self.causes.get(&TagRef::new(group, decisive)).unwrap_or(&case.cause).clone();
        let mut was = None;
        if let (Some(tag), Some(since)) = (&unset, since) {
            let key = keys::why(case.cell, group, tag);
            was = work.get(&key)?.map(|why: Cause| (since, why));
            work.delete(key);
        }
        if let Some(tag) = &set {
            work.put(keys::why(case.cell, group, tag), &cause);
        }
        let column = |tag: &Option<String>, columns: &[String]| tag.clone().filter(|tag| columns.contains(tag));
        let boards = case.bundle.boards.values().filter(|board| board.group == group);
        let moves = boards
            .map(|board| StageMove {
                board: board.id.clone(),
                from: column(&unset, &board.columns),
                to: column(&set, &board.columns),
            })
            .filter(|step| step.from.is_some() || step.to.is_some())
            .collect();
        let (contact, group) = (case.cell.clone(), group.to_owned());
        let retracted = self.is_retraction;
        let change = TagChange { contact, group, set, unset, moves, at: case.at, retracted, cause };
        work.say(Output::TagChange(change.clone()));
        Ok(Said { change, was })
    }
}
