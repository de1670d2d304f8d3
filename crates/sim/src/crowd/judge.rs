//! What must have come out: plain code over what happened and which links were accepted.

use super::people::{self, Happened, Id, Sort, What};
use super::watch::{Due, Sets};
use super::world::World;
use super::{Plant, Report};
use crate::workload::TENANT;
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::id::CellKey;
use touchline_model::output::Contact;
use touchline_model::time::{Span, Time};

/// Steps of the first journey, by the time from entering.
const WELCOME: [(&str, Span); 3] = [("s1", Span::hours(1)), ("s2", Span::hours(2)), ("s3", Span::hours(26))];
/// And of the one for the time when all is linked.
const AFTER: [(&str, Span); 2] = [("a1", Span::minutes(10)), ("a2", Span::minutes(190))];

/// Compares what the engines hold and said with the oracle.
pub(super) fn judge(world: &World, plant: Option<Plant>) -> Result<Report, String> {
    judge_links(world)?;
    let mut sets = Sets::new(world.people);
    let mut accepted: Vec<_> = world.links.iter().filter(|link| !link.refused).collect();
    if plant == Some(Plant::LinkForgotten) {
        accepted.pop();
    }
    for link in accepted {
        sets.unite(link.one, link.other);
    }
    let all = people::ids(world.people).start;
    let mut components: Vec<(Vec<Id>, Vec<Happened>)> = vec![Default::default(); all as usize];
    (0..all).for_each(|id| components[sets.find(id) as usize].0.push(id));
    for happened in &world.happened {
        components[sets.find(happened.id) as usize].1.push(*happened);
    }
    let forwards = (0..all).map(|id| forward(world, id)).collect::<Result<Vec<_>, _>>()?;
    let mut judge = Judge { world, plant, forwards, report: world.report, cancelled: Vec::new() };
    judge.report.reports_lost = world.watch.reports_lost;
    for (members, happened) in components.iter().filter(|(members, _)| !members.is_empty()) {
        judge.component(members, happened)?;
    }
    if judge.plant.is_some_and(|plant| plant != Plant::LinkForgotten) {
        return Err("nothing was there to falsify".to_owned());
    }
    judge.cancelled.sort();
    let mut cancelled = world.watch.cancelled_after.clone();
    cancelled.sort();
    if cancelled != judge.cancelled {
        return Err(format!("{} touches were cancelled, expected {}", cancelled.len(), judge.cancelled.len()));
    }
    Ok(judge.report)
}

/// Links within one person are refused only where a link to another one may have come first.
fn judge_links(world: &World) -> Result<(), String> {
    let family = |id| people::family(people::person(id));
    let either = world.links.iter().filter(|link| link.sort == Sort::Either);
    let doubtful: BTreeSet<u32> = either.map(|link| family(link.one)).collect();
    let refused: BTreeSet<u32> = world.links.iter().filter(|link| link.refused).map(|link| family(link.one)).collect();
    for link in &world.links {
        let expected = match link.sort {
            Sort::Refused | Sort::Weak => true,
            Sort::Own if !doubtful.contains(&family(link.one)) => false,
            Sort::Own | Sort::Either => continue,
        };
        if link.refused != expected {
            let (one, other) = (people::cell(link.one), people::cell(link.other));
            return Err(format!("{:?} link of {one} and {other}: refused is {}", link.sort, link.refused));
        }
    }
    // Beyond the last person there is one without links of their own.
    let complete = doubtful.iter().filter(|family| **family + 2 < world.people);
    match complete.into_iter().find(|family| !refused.contains(family)) {
        Some(family) => Err(format!("people {family} and {} are linked, and no link was refused", family + 1)),
        None => Ok(()),
    }
}

fn forward(world: &World, id: Id) -> Result<Option<Id>, String> {
    let Some(to) = world.contact(id)?.and_then(|contact| contact.merged_into) else { return Ok(None) };
    people::id_of(&to).map(Some).ok_or_else(|| format!("a forward to {to}, who is nobody"))
}

struct Judge<'w> {
    world: &'w World,
    /// What is still to be falsified.
    plant: Option<Plant>,
    forwards: Vec<Option<Id>>,
    report: Report,
    /// Touches the oracle cancels.
    cancelled: Vec<String>,
}

impl Judge<'_> {
    fn component(&mut self, members: &[Id], happened: &[Happened]) -> Result<(), String> {
        let rank = |id: &Id| (*id - people::ids(people::person(*id)).start, people::person(*id));
        let highest = *members.iter().min_by_key(|id| rank(id)).expect("nobody is no component");
        for id in members {
            let (root, hops) = self.root(*id)?;
            if root != highest {
                let [id, root, highest] = [*id, root, highest].map(people::cell);
                return Err(format!("{id} leads to {root}, the accepted links to {highest}"));
            }
            self.report.chain_max = self.report.chain_max.max(hops);
        }
        let cell = people::cell(highest);
        let Some(mut contact) = self.world.contact(highest)? else {
            // Named by nothing but links that were refused.
            return if happened.is_empty() && members.len() == 1 {
                Ok(())
            } else {
                Err(format!("{cell} is not there"))
            };
        };
        self.falsify(&mut contact);
        self.report.contacts += 1;
        facts(&contact, members, happened).map_err(|text| format!("{cell} {text}"))?;
        self.tags(&contact, happened).map_err(|text| format!("{cell} {text}"))?;
        let family = people::family(people::person(highest));
        let mut dues: Vec<Due> = self.world.watch.dues(family).to_vec();
        dues.retain(|due| members.contains(&due.cell));
        self.falsify_touches(&mut dues);
        self.welcome(&dues, (family, members), happened).map_err(|text| format!("{cell} {text}"))?;
        self.after(&dues, highest, happened).map_err(|text| format!("{cell} {text}"))
    }

    /// Where forwards lead, and over how many.
    fn root(&mut self, id: Id) -> Result<(Id, u32), String> {
        if self.forwards[id as usize].is_some() && self.planted(Plant::ForwardLost) {
            self.forwards[id as usize] = None;
        }
        let (mut at, mut hops) = (id, 0);
        while let Some(to) = self.forwards[at as usize] {
            (at, hops) = (to, hops + 1);
            if hops as usize > self.forwards.len() {
                return Err("forwards go round in a circle".to_owned());
            }
        }
        Ok((at, hops))
    }

    fn planted(&mut self, plant: Plant) -> bool {
        let is_it = self.plant == Some(plant);
        if is_it {
            self.plant = None;
        }
        is_it
    }

    fn falsify(&mut self, contact: &mut Contact) {
        if contact.tags.is_empty() {
            return;
        }
        if self.planted(Plant::TagLost) {
            contact.tags.remove(0);
        } else if self.planted(Plant::TagMoved) {
            contact.tags[0].set_at.0 += 1;
        }
        if let Some(count) = contact.enrolments.iter_mut().find(|enrolment| enrolment.journey == "count")
            && self.planted(Plant::AppliedTwice)
        {
            count.number += 1;
        }
    }

    fn falsify_touches(&mut self, dues: &mut Vec<Due>) {
        if dues.is_empty() {
            return;
        }
        if self.planted(Plant::TouchLost) {
            dues.remove(0);
        } else if self.planted(Plant::TouchMoved) {
            dues[0].planned_at.0 += 1;
        }
    }

    /// Every tag that any of the events sets; of an exclusive group one, see [`super`].
    fn tags(&mut self, contact: &Contact, happened: &[Happened]) -> Result<(), String> {
        let mut expected: BTreeMap<(String, String), Vec<Time>> = BTreeMap::new();
        let mut exclusive: BTreeMap<String, (u8, Time)> = BTreeMap::new();
        for Happened { at, id, what, .. } in happened {
            let plain = match what {
                What::Said { interest, own, .. } => {
                    exclusive.insert(people::own_group(*id), (*own, *at));
                    ("interest".to_owned(), people::tag(*interest))
                }
                What::Paid => ("bought".to_owned(), "paid".to_owned()),
                What::Mood { mood, .. } => {
                    let known = exclusive.entry("mood".to_owned()).or_insert((*mood, *at));
                    if known.0 != *mood {
                        *known = (*mood, *at);
                    }
                    continue;
                }
                What::Unsaid { .. } | What::Added(_) | What::Closed | What::Sent => continue,
            };
            expected.entry(plain).or_default().push(*at);
        }
        // Two people may be one contact: then what identifiers of one kind say meets in one group.
        let own = |group: &str| group.strip_prefix("own").and_then(|slot| slot.parse::<u32>().ok());
        for (group, (number, at)) in exclusive {
            let slot = own(&group);
            let of_slot = |happened: &&Happened| slot.is_some_and(|slot| happened.id % 5 == slot);
            let speakers: BTreeSet<Id> = happened.iter().filter(of_slot).map(|happened| happened.id).collect();
            if speakers.len() <= 1 {
                expected.insert((group, people::tag(number)), vec![at]);
            }
        }
        let mut carried: BTreeMap<(String, String), Time> =
            contact.tags.iter().map(|tag| ((tag.group.clone(), tag.tag.clone()), tag.set_at)).collect();
        let stage: Vec<_> = carried.extract_if(.., |(group, _), _| group == "stage").collect();
        self.stage(stage.into_iter().map(|((_, tag), at)| (tag, at)).collect(), happened)?;
        self.unsaid(&carried, happened, &mut expected);
        carried.retain(|tag, _| expected.contains_key(tag) || own(&tag.0).is_none());
        let lost = expected.keys().find(|tag| !carried.contains_key(tag));
        let foreign = carried.iter().find(|(tag, at)| !expected.get(tag).is_some_and(|times| times.contains(at)));
        match (lost, foreign) {
            (None, None) => Ok(()),
            (Some(lost), _) => Err(format!("lacks {lost:?}")),
            (_, Some(foreign)) => Err(format!("has {foreign:?}, which no event of then sets")),
        }
    }

    /// An interest that was taken back: see [`super`] for where it has to be off.
    fn unsaid(
        &mut self,
        carried: &BTreeMap<(String, String), Time>,
        happened: &[Happened],
        expected: &mut BTreeMap<(String, String), Vec<Time>>,
    ) {
        for Happened { at, id, what, alone } in happened {
            let What::Unsaid { interest } = what else { continue };
            let says = |of: &&Happened| matches!(of.what, What::Said { interest: said, .. } if said == *interest);
            let said = || happened.iter().filter(says);
            let is_last = said().all(|said| said.at < *at);
            let tag = ("interest".to_owned(), people::tag(*interest));
            if *alone && is_last && said().any(|said| said.id == *id) {
                self.report.unsaid[0] += 1;
                expected.remove(&tag);
            } else {
                self.report.unsaid[1] += 1;
                if !carried.contains_key(&tag) {
                    expected.remove(&tag);
                }
            }
        }
    }

    fn stage(&mut self, carried: Vec<(String, Time)>, happened: &[Happened]) -> Result<(), String> {
        let mut last_of_each: BTreeMap<Id, (String, Time)> = BTreeMap::new();
        let mut last = None;
        for Happened { at, id, what, alone } in happened {
            if let What::Said { stage: Some(stage), .. } = what {
                last_of_each.insert(*id, (people::tag(*stage), *at));
                last = Some(((people::tag(*stage), *at), *alone));
            }
        }
        let Some((last, alone)) = last else {
            return if carried.is_empty() { Ok(()) } else { Err("has a stage that nobody set".to_owned()) };
        };
        let as_the_oracle = carried == [last.clone()];
        let is_allowed = carried.len() == 1 && last_of_each.values().any(|allowed| *allowed == carried[0]);
        match (alone, as_the_oracle, is_allowed) {
            (true, true, _) => self.report.stage[0] += 1,
            (false, true, _) => self.report.stage[1] += 1,
            (false, false, true) => self.report.stage[2] += 1,
            _ => return Err(format!("has the stages {carried:?}, the last was {last:?}")),
        }
        Ok(())
    }

    /// The first journey: once for each person that entered once, or entered again when that was known.
    fn welcome(&mut self, dues: &[Due], (family, members): (u32, &[Id]), happened: &[Happened]) -> Result<(), String> {
        let entries: Vec<Time> =
            happened.iter().filter(|at| matches!(at.what, What::Added(_))).map(|happened| happened.at).collect();
        let of_entry = |at: &Time| WELCOME.map(|(step, after)| (step.to_owned(), at.plus(after)));
        let of_journey = || dues.iter().filter(|due| due.journey == "welcome");
        let seen = |due: &Due| (due.step.clone(), due.planned_at);
        let mut first: Vec<(String, Time)> = of_journey().filter(|due| due.replaces.is_none()).map(seen).collect();
        first.sort();
        if let Some(renamed) = of_journey().find(|due| !first.contains(&seen(due))) {
            return Err(format!("said {} under a new name for another moment", renamed.id));
        }
        let expected: Vec<_> = entries.first().map(of_entry).into_iter().flatten().collect();
        let is_equal = first == expected;
        let as_one = self.world.watch.entered_as_one(family, |cell| members.contains(&cell));
        if entries.len() <= 1 || as_one {
            self.report.journey[0] += u64::from(!entries.is_empty());
            return if is_equal { Ok(()) } else { Err(format!("was sent {first:?}, expected {expected:?}")) };
        }
        let kind = match (is_equal, first.len() == expected.len()) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        self.report.journey[kind] += 1;
        let possible: Vec<_> = entries.iter().flat_map(of_entry).collect();
        let each = |step: &str| first.iter().filter(|(name, _)| name == step).count();
        let is_complete = WELCOME.iter().all(|(step, _)| (1..=entries.len()).contains(&each(step)));
        if is_complete && first.iter().all(|due| possible.contains(due)) {
            Ok(())
        } else {
            Err(format!("was sent {first:?} after the entries {entries:?}"))
        }
    }

    /// The journey for the time when all is linked: name, moment and recipient of each touch.
    fn after(&mut self, dues: &[Due], highest: Id, happened: &[Happened]) -> Result<(), String> {
        let entered = happened.iter().find(|happened| matches!(happened.what, What::Mood { enters: true, .. }));
        let mut expected = Vec::new();
        if let Some(entered) = entered {
            let closed = happened.iter().find(|happened| happened.what == What::Closed && happened.at > entered.at);
            for (step, after) in AFTER {
                let contact = CellKey::of(TENANT, &people::id_key(highest)).contact_id();
                let (id, planned_at) = (format!("{TENANT}/{contact}/after/1/{step}#1"), entered.at.plus(after));
                // What is due is not reported, so leaving the journey takes it back.
                if closed.is_some() {
                    self.cancelled.push(id.clone());
                }
                if closed.is_none_or(|closed| closed.at >= planned_at) {
                    expected.push((id, planned_at, people::id_key(highest), None));
                }
            }
        }
        let of_journey = dues.iter().filter(|due| due.journey == "after");
        let seen = |due: &Due| (due.id.clone(), due.planned_at, due.recipient.clone(), due.replaces.clone());
        let seen: Vec<_> = of_journey.map(seen).collect();
        if seen == expected { Ok(()) } else { Err(format!("was sent {seen:?}, expected {expected:?}")) }
    }
}

/// Identifiers, times and relations; and that each message was applied once.
fn facts(contact: &Contact, members: &[Id], happened: &[Happened]) -> Result<(), String> {
    let known: Vec<Id> = contact.identities.iter().filter_map(|known| people::id_of(&key_of(&known.id))).collect();
    let known_set: BTreeSet<Id> = known.iter().copied().collect();
    if known.len() != members.len() || known_set != members.iter().copied().collect() {
        return Err(format!("says that it is {known:?}, and is {members:?}"));
    }
    let moments = || happened.iter().map(|happened| happened.at);
    let seen = (moments().min().unwrap_or_default(), moments().max().unwrap_or_default());
    if (contact.first_seen, contact.last_seen) != seen {
        return Err(format!("was seen {:?}, expected {seen:?}", (contact.first_seen, contact.last_seen)));
    }
    let mut last_times: BTreeMap<String, Time> = BTreeMap::new();
    let mut staff: BTreeMap<String, Time> = BTreeMap::new();
    let mut messages = 0;
    for Happened { at, id, what, .. } in happened {
        last_times.insert(what.kind().name().to_owned(), *at);
        messages += u32::from(matches!(what, What::Said { .. } | What::Unsaid { .. } | What::Mood { .. }));
        if let What::Added(number) = what {
            staff.insert(people::staff(people::person(*id), *number), *at);
        }
    }
    let known: Vec<(String, Time)> =
        contact.past.happened.iter().map(|(name, happened)| (name.clone(), happened.last)).collect();
    if known != last_times.into_iter().collect::<Vec<_>>() {
        return Err(format!("remembers {:?} last", known));
    }
    let relations: BTreeMap<String, Time> =
        contact.relations.iter().map(|relation| (relation.staff.clone(), relation.added_at)).collect();
    if relations != staff {
        return Err(format!("has the staff {relations:?}, expected {staff:?}"));
    }
    let count = contact.enrolments.iter().find(|enrolment| enrolment.journey == "count");
    let counted = count.map_or(0, |count| count.number);
    if counted == messages { Ok(()) } else { Err(format!("saw {counted} messages of {messages}")) }
}

fn key_of(id: &touchline_model::id::IdKey) -> CellKey {
    CellKey::of(TENANT, id)
}
