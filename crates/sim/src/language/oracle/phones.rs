//! Tags on phones: what each staff member's shows follows anew from every event, each time it is asked.

use super::{Carried, Change, Event, Oracle};
use crate::language::Plant;
use crate::language::book::{Literal, Tag, UNLISTED};
use crate::language::make::{Phone, Says};
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::time::Time;

/// What a staff member's phone shows of a tag, and since when.
type Shown = BTreeMap<Tag, (Time, bool)>;

impl Oracle<'_> {
    /// What a staff member's phone shows, and whether anything was known of it, after some of the contact's events.
    fn shown(&self, events: &[Event], staff: &str) -> (Shown, bool) {
        let (mut shown, mut added, mut is_known) = (Shown::new(), None, false);
        for event in events {
            let is_theirs = matches!(event.field("staff"), Some(Literal::Text(of)) if *of == staff);
            match (event.name, &event.phone) {
                ("contact.added", _) if is_theirs => added = added.max(Some(event.at)),
                ("contact.removed", _) if is_theirs && added.is_some_and(|added| added <= event.at) => {
                    shown.retain(|_, (since, _)| *since > event.at);
                }
                (_, Some(phone)) if phone.staff == staff => {
                    is_known |= phone.says == Says::Snapshot;
                    for (tag, on) in said(phone, &shown) {
                        if self.plant == Some(Plant::EchoIsNews) && matches!(phone.says, Says::Written { .. }) {
                            continue;
                        }
                        let known = shown.entry(tag).or_insert((event.at, on));
                        if known.0 <= event.at {
                            *known = (event.at, on);
                        }
                    }
                }
                _ => {}
            }
        }
        let is_known = is_known || added.is_some() || !shown.is_empty();
        (shown, is_known)
    }

    /// What of an event, already among the others, staff have changed, becomes so for the contact.
    pub(super) fn on_phone(&mut self, who: usize, event: &Event) {
        let Some(phone) = event.phone.as_ref().filter(|phone| !matches!(phone.says, Says::Written { .. })) else {
            return;
        };
        let (earlier, at) = (&self.people[who].events[..self.people[who].events.len() - 1], event.at);
        let (before, is_known) = self.shown(earlier, phone.staff);
        let mut news: Vec<(Tag, bool)> = Vec::new();
        let mut now = before.clone();
        for (tag, on) in said(phone, &before) {
            let known = now.get(&tag).copied();
            if known.is_none_or(|(since, _)| since <= at) {
                now.insert(tag, (at, on));
                if tag.1 != UNLISTED && known.is_none_or(|(_, was)| was != on) {
                    news.push((tag, on));
                }
            }
        }
        let is_old = phone.says == Says::Snapshot && !is_known;
        for group in 0..self.book.groups.len() {
            let of_group = |wanted: bool| {
                let of = news.iter().filter(move |((of, _), on)| *of == group && *on == wanted);
                of.map(|((_, tag), _)| *tag).collect::<Vec<&'static str>>()
            };
            let carried = Carried { since: at, by_hand: true };
            let (on, off) = (of_group(true), of_group(false));
            if !self.book.groups[group].exclusive {
                for tag in off {
                    let is_kept = self.plant != Some(Plant::OneForAll) && self.is_shown(who, (group, tag));
                    if self.is_latest(who, (group, Some(tag)), at) && !is_kept {
                        self.take_off(who, group, |carried| carried == tag);
                    }
                }
                for tag in on {
                    if self.is_latest(who, (group, Some(tag)), if is_old { Time(0) } else { at }) {
                        self.set(who, group, tag, carried);
                    }
                }
            } else if let Some(tag) = on.last() {
                let current = self.current(who, group);
                let is_refused = self.book.groups[group].board.is_some_and(|(_, backward)| !backward)
                    && self.is_backward(group, current, tag);
                if !self.is_latest(who, (group, None), if is_old { Time(0) } else { at }) {
                } else if is_refused {
                    self.refused += 1;
                } else {
                    self.set(who, group, tag, carried);
                }
            } else if self.is_latest(who, (group, None), at) {
                self.take_off(who, group, |carried| off.contains(&carried));
            }
        }
    }

    /// Whether nothing has been said of the group, or of one tag of it, that happened later.
    fn is_latest(&self, who: usize, (group, tag): (usize, Option<&str>), at: Time) -> bool {
        let is_it = |change: &&Change| {
            let is_tag = tag.is_none() || change.set == tag || change.unset == tag;
            change.group == self.book.groups[group].id && is_tag
        };
        // Nothing is taken off before it was set, though what led to that may have come late.
        let since = |change: &Change| change.was.filter(|_| change.set.is_none()).map_or(Time(0), |was| was.since);
        self.people[who].said.iter().rfind(is_it).is_none_or(|change| change.at.max(since(change)) <= at)
    }

    /// Whether any phone shows the tag.
    fn is_shown(&self, who: usize, tag: Tag) -> bool {
        let events = &self.people[who].events;
        let staff: BTreeSet<&str> = events.iter().filter_map(|event| event.phone.as_ref()).map(|of| of.staff).collect();
        staff.into_iter().any(|staff| self.shown(events, staff).0.get(&tag).is_some_and(|(_, on)| *on))
    }
}

/// What is said of each tag, what is off first. A snapshot says of all that are not in it that they are off.
fn said(phone: &Phone, shown: &Shown) -> Vec<(Tag, bool)> {
    let gone = shown.iter().filter(|(tag, (_, on))| *on && !phone.on.contains(tag)).map(|(tag, _)| *tag);
    let off: Vec<Tag> = match phone.says {
        Says::Observed | Says::Written { done: true } => phone.off.clone(),
        Says::Written { done: false } => return Vec::new(),
        Says::Snapshot => gone.collect(),
    };
    let on = phone.on.iter().map(|tag| (*tag, true));
    off.into_iter().map(|tag| (tag, false)).chain(on).collect()
}
