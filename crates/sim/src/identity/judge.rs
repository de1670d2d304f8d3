//! What must hold once everything has arrived, whatever came first.

mod groups;

use super::plan::parse_tag;
use super::{ALL, IDS, ORDERS, PARTITIONS, Schedule, TENANT, TOKENS, World, token_cell};
use crate::workload;
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::command::{Command, CommandBody};
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::output::{Contact, DeadReason, Outcome, Output, TagChange};
use touchline_model::record::{Input, LoopBody};
use touchline_model::time::Time;

/// Tag group with a tag for every event.
const EVENTS: &str = "all";
/// What every event of the plan is called.
const EVENT: &str = "chat.message";

/// Journey that every event enters.
const COUNT: &str = "count";

/// A contact at rest, and the identifiers whose forwards end there.
struct Known {
    contact: Contact,
    members: Vec<usize>,
}

/// What the receiver makes of a record.
enum Taken<'w> {
    Event(&'w Event),
    Command(&'w Command),
    /// As it was sent, whatever has arrived.
    Told(&'w LoopBody),
    /// A tick, or what it has had.
    Nothing,
}

impl World {
    /// Judges a run at rest.
    pub(super) fn judge(&mut self) -> Result<(), String> {
        self.judge_letters()?;
        let claims = self.judge_tokens()?;
        self.judge_order_of_events(&claims)?;
        let contacts = self.contacts()?;
        for (root, known) in &contacts {
            self.judge_identifiers(*root, known)?;
        }
        self.judge_events(&contacts, &claims)?;
        match self.options.schedule {
            Schedule::Linked | Schedule::Groups => self.judge_links(&contacts, &claims)?,
            Schedule::Conflicts => {}
            Schedule::Partings => self.judge_partings()?,
        }
        self.judge_groups()?;
        self.probe(&contacts)
    }

    /// Nothing is put aside but what has to be refused.
    fn judge_letters(&mut self) -> Result<(), String> {
        let outputs = self.parts.iter().flat_map(|part| part.said.values());
        for numbered in outputs {
            let Output::DeadLetter(letter) = &numbered.output else { continue };
            match letter.reason {
                DeadReason::LinkRefused => self.report.refused += 1,
                DeadReason::TokenRefused => self.report.tokens_refused += 1,
                DeadReason::GroupRefused => self.report.strangers += 1,
                // When it may be said is judged with the groups.
                DeadReason::GroupOutdated => {}
                // Lanes deliver some messages too early.
                DeadReason::LoopbackGap => {}
                reason => return Err(format!("put aside: {}, {}", reason.name(), letter.detail)),
            }
        }
        if matches!(self.options.schedule, Schedule::Linked | Schedule::Groups) && self.report.refused > 0 {
            return Err("a link within one person was refused".to_owned());
        }
        Ok(())
    }

    /// Each event is applied once, and at each contact the events of an identifier come in their order.
    fn judge_order_of_events(&self, claims: &[Vec<usize>]) -> Result<(), String> {
        let mut once = BTreeSet::new();
        let mut last: BTreeMap<(&CellKey, usize), usize> = BTreeMap::new();
        for numbered in self.parts.iter().flat_map(|part| part.said.values()) {
            let Output::TagChange(TagChange { contact, group, set: Some(tag), cause, .. }) = &numbered.output else {
                continue;
            };
            // A tag that moves keeps its cause; where the event is applied is its position.
            if group != EVENTS || cause.kind != EVENT || cause.position != numbered.source {
                continue;
            }
            let (id, number) = parse_tag(tag).ok_or("a tag of no event")?;
            if !once.insert((id, number)) {
                return Err(format!("event {number} of {id} was applied twice"));
            }
            let before = last.insert((contact, id), number);
            if before.is_some_and(|before| before > number) && !self.changes_buyer(id, claims) {
                return Err(format!("event {number} of {id} was overtaken at {contact} by {before:?}"));
            }
        }
        Ok(())
    }

    /// Whether events of an order first went to somebody who brought a token, then to whom the shop names: these two
    /// ways are of different length, and a later event may come first.
    fn changes_buyer(&self, id: usize, claims: &[Vec<usize>]) -> bool {
        id.checked_sub(IDS).is_some_and(|order| self.buyer[order].1 && !claims[order].is_empty())
    }

    /// A token links its bearer and the first who brings it in time, once; everybody else is refused. Of each order:
    /// who became its buyer by a token.
    fn judge_tokens(&mut self) -> Result<Vec<Vec<usize>>, String> {
        let mut claims = vec![Vec::new(); ORDERS];
        for token in 0..TOKENS {
            let Some((offset, by)) = self.first_bringer(token)? else { continue };
            self.report.tokens += 1;
            let partition = token_cell(token).partition(PARTITIONS);
            let told = self.lanes.iter().filter(|((source, _), _)| *source == partition);
            let told = told.flat_map(|(_, lane)| &lane.sent).filter(|told| told.origin.offset == offset);
            let bodies: Vec<&LoopBody> = told.map(|told| &told.body).collect();
            let bearer = CellKey::of(TENANT, &self.ids[self.bearer[token]]);
            let right = |body: &LoopBody| matches!(body, LoopBody::Link { target, from, .. } if *target == bearer && *from == by);
            if bodies.len() != 1 || !right(bodies[0]) {
                return Err(format!(
                    "token {token} was brought by {by} for {bearer} and led to {} links",
                    bodies.len()
                ));
            }
            let by = (0..IDS).find(|id| CellKey::of(TENANT, &self.ids[*id]) == by).ok_or("brought by nobody")?;
            match self.bearer[token] {
                order if order >= IDS => claims[order - IDS].push(by),
                person => self.linked.push((by, person)),
            }
        }
        for (by, (buyer, said)) in claims.iter().zip(&self.buyer) {
            let Some(first) = by.first() else { continue };
            self.linked.extend(by.iter().map(|by| (*by, if *said { *buyer } else { *first })));
        }
        Ok(claims)
    }

    /// Who used a token by what lies in its log, and at which offset; an error if somebody else was linked by it.
    fn first_bringer(&self, token: usize) -> Result<Option<(u64, CellKey)>, String> {
        let cell = token_cell(token);
        let partition = cell.partition(PARTITIONS);
        let (mut lapses, mut used): (Option<Time>, Option<(u64, CellKey)>) = (None, None);
        for (offset, _, taken) in self.taken(partition) {
            let told = match taken {
                Taken::Command(command) => {
                    if let CommandBody::MintToken { token, expires_at, .. } = &command.body
                        && *token == cell
                    {
                        lapses = lapses.or(Some(*expires_at));
                    }
                    continue;
                }
                Taken::Told(told) => told,
                Taken::Event(_) | Taken::Nothing => continue,
            };
            let LoopBody::Redeem { target, from, at, .. } = told else { continue };
            if *target != cell {
                continue;
            }
            if used.is_none() && lapses.is_some_and(|lapses| *at <= lapses) {
                used = Some((offset, from.clone()));
                continue;
            }
            // Whoever used it may say so again.
            if used.as_ref().is_some_and(|(_, by)| by == from) {
                continue;
            }
            let mut told = self.lanes.iter().filter(|((source, _), _)| *source == partition);
            if told.any(|(_, lane)| lane.sent.iter().any(|told| told.origin.offset == offset)) {
                return Err(format!("token {token} was brought by {from} in vain and led to a link"));
            }
        }
        Ok(used)
    }

    /// The log of a partition as its receiver takes it: events once, messages in their order.
    fn taken<'w>(&'w self, partition: u32) -> Vec<(u64, Time, Taken<'w>)> {
        let mut events = BTreeSet::new();
        let mut last = [0; PARTITIONS as usize];
        let mut take = |input: &'w Input| match input {
            Input::Event(event) if events.insert(event.id) => Taken::Event(event),
            Input::Command(command) => Taken::Command(command),
            Input::Loop(told) if told.sequence == last[told.source as usize] + 1 => {
                let index = usize::try_from(last[told.source as usize]).expect("small");
                last[told.source as usize] += 1;
                Taken::Told(&self.lanes[&(told.source, partition)].sent[index].body)
            }
            _ => Taken::Nothing,
        };
        let log = &self.parts[partition as usize].log;
        (0..).zip(log).map(|(offset, (at, _, input))| (offset, *at, take(input))).collect()
    }

    /// Every contact, by the number of the identifier that it lives under.
    fn contacts(&self) -> Result<BTreeMap<usize, Known>, String> {
        let mut contacts: BTreeMap<usize, Known> = BTreeMap::new();
        for id in 0..IDS {
            let Some(root) = self.root(id)? else {
                if self.happened[id].is_empty() {
                    continue;
                }
                return Err(format!("identifier {id} is forgotten"));
            };
            match contacts.get_mut(&root) {
                Some(known) => known.members.push(id),
                None => {
                    let contact = self.contact(root)?.ok_or("a root that is not there")?;
                    contacts.insert(root, Known { contact, members: vec![id] });
                }
            }
        }
        Ok(contacts)
    }

    /// Where the contact of an identifier lives.
    fn root(&self, id: usize) -> Result<Option<usize>, String> {
        let (mut at, mut hops) = (id, 0);
        loop {
            let Some(contact) = self.contact(at)? else { return Ok(None) };
            let Some(to) = contact.merged_into else { return Ok(Some(at)) };
            at = self.ids.iter().position(|id| CellKey::of(TENANT, id) == to).ok_or("a forward to nobody")?;
            hops += 1;
            if hops > IDS {
                return Err("forwards go round in a circle".to_owned());
            }
        }
    }

    /// A contact names exactly those whose forwards end there, and they are one person.
    fn judge_identifiers(&self, root: usize, known: &Known) -> Result<(), String> {
        let Known { contact, members } = known;
        let named: Vec<&IdKey> = contact.identities.iter().map(|identity| &identity.id).collect();
        let once: BTreeSet<&IdKey> = named.iter().copied().collect();
        let stands_for: BTreeSet<&IdKey> = members.iter().map(|id| &self.ids[*id]).collect();
        if once != stands_for || once.len() != named.len() {
            return Err(format!("{root} says that it is {named:?}, and is {stands_for:?}"));
        }
        let of_kind = |kind: IdKind| members.iter().filter(|id| self.ids[**id].kind == kind).count();
        if of_kind(IdKind::WxUnionid) > 1 || of_kind(IdKind::WecomExternalUserid) > 1 {
            return Err(format!("{root} is two people"));
        }
        if !self.mixes && members.iter().any(|id| self.person[*id] != self.person[root]) {
            return Err(format!("{root} has identifiers of two people, whom nothing has joined"));
        }
        Ok(())
    }

    /// Every event is in one contact, at its moment, and the last of each identifier there is the last.
    fn judge_events(&mut self, contacts: &BTreeMap<usize, Known>, claims: &[Vec<usize>]) -> Result<(), String> {
        let mut seen = BTreeMap::new();
        let mut entered = 0;
        for (root, Known { contact, members }) in contacts {
            let mut highest: BTreeMap<usize, usize> = BTreeMap::new();
            let mut here = 0;
            for tag in contact.tags.iter().filter(|tag| tag.group == EVENTS) {
                let (id, number) = parse_tag(&tag.tag).ok_or("a tag of no event")?;
                if self.happened[id].get(number) != Some(&tag.set_at) {
                    return Err(format!("event {number} of {id} was at another moment than {}", tag.set_at.0));
                }
                if let Some(other) = seen.insert((id, number), *root) {
                    return Err(format!("event {number} of {id} is at {root} and at {other}"));
                }
                here += 1;
                let last = highest.entry(id).or_insert(number);
                *last = number.max(*last);
                self.report.stray += usize::from(id < IDS && !members.contains(&id));
            }
            highest.retain(|id, _| !self.changes_buyer(*id, claims));
            let expected: BTreeSet<_> =
                highest.iter().map(|(id, last)| (format!("g{id}"), format!("n{last}"))).collect();
            let others = contact.tags.iter().filter(|tag| tag.group != EVENTS);
            let mut found: BTreeSet<_> = others.map(|tag| (tag.group.clone(), tag.tag.clone())).collect();
            found.retain(|(group, _)| {
                let id = group.strip_prefix('g').and_then(|id| id.parse().ok());
                id.is_some_and(|id| !self.changes_buyer(id, claims))
            });
            if found != expected {
                return Err(format!("{root} has as the last of each {found:?}, not {expected:?}"));
            }
            let entries = contact.enrolments.iter().find(|enrolment| enrolment.journey == COUNT);
            let number = entries.map_or(0, |enrolment| enrolment.number as usize);
            if self.options.schedule != Schedule::Partings && number != here {
                return Err(format!("{root} saw {number} events of {here}"));
            }
            entered += number;
        }
        for id in 0..ALL {
            let is_known = id < IDS || self.buyer[id - IDS].1 || !claims[id - IDS].is_empty();
            let expected = if is_known { self.happened[id].len() } else { 0 };
            let found: Vec<usize> = seen.keys().filter(|(of, _)| *of == id).map(|(_, number)| *number).collect();
            if found.len() != expected {
                return Err(format!("of the {expected} events of {id} there are {found:?}"));
            }
        }
        // Who is parted leaves the journeys behind: only all together count what happened.
        if entered != seen.len() {
            return Err(format!("{entered} entries of {} events", seen.len()));
        }
        if self.options.schedule != Schedule::Partings && self.report.stray > 0 {
            return Err("a contact has events of somebody else".to_owned());
        }
        Ok(())
    }

    /// Who was linked is one contact, nobody else is, and it lives under the highest of them.
    fn judge_links(&self, contacts: &BTreeMap<usize, Known>, claims: &[Vec<usize>]) -> Result<(), String> {
        for (root, Known { contact, members }) in contacts {
            let highest = members.iter().min_by_key(|id| (self.ids[**id].kind, CellKey::of(TENANT, &self.ids[**id])));
            if highest != Some(root) {
                return Err(format!("{root} is not the highest of {members:?}"));
            }
            let linked = self.component(*root);
            if linked != members.iter().copied().collect() {
                return Err(format!("{root} holds {members:?}, linked were {linked:?}"));
            }
            let tags = contact.tags.iter().filter(|tag| tag.group == EVENTS);
            for (id, _) in tags.filter_map(|tag| parse_tag(&tag.tag)) {
                let owner = match id.checked_sub(IDS) {
                    None => id,
                    Some(order) if self.buyer[order].1 => self.buyer[order].0,
                    Some(order) => claims[order][0],
                };
                if !members.contains(&owner) {
                    return Err(format!("{root} has events of {id}"));
                }
            }
        }
        Ok(())
    }

    /// Everybody reached by links from here.
    fn component(&self, from: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from([from]);
        loop {
            let more =
                self.linked.iter().filter_map(|(one, other)| match (reached.contains(one), reached.contains(other)) {
                    (true, false) => Some(*other),
                    (false, true) => Some(*one),
                    _ => None,
                });
            let Some(next) = more.min() else { return reached };
            reached.insert(next);
        }
    }

    /// Who was parted is apart, unless somebody has joined anybody by hand since, or was about to.
    fn judge_partings(&mut self) -> Result<(), String> {
        let number = |cell: &CellKey| self.ids.iter().position(|id| CellKey::of(TENANT, id) == *cell);
        let mut apart = 0;
        for parted in self.parted.iter().filter(|parted| parted.step > self.by_hand_until) {
            apart += 1;
            let (from, who) = (number(&parted.from).ok_or("nobody")?, number(&parted.who).ok_or("nobody")?);
            if self.root(from)? == self.root(who)? {
                return Err(format!("{who} was parted from {from} and is one with it again"));
            }
        }
        self.report.apart = apart;
        Ok(())
    }

    /// Somebody new joins every contact by hand and is parted again: that leaves everything as it was, and is refused
    /// where a promise has been left over.
    fn probe(&mut self, contacts: &BTreeMap<usize, Known>) -> Result<(), String> {
        for (root, Known { contact, .. }) in contacts {
            let identifier = IdKey::new(IdKind::ClickVisitor, "probe", root.to_string());
            let (cell, probe) = (contact.key.clone(), CellKey::of(TENANT, &identifier));
            let (identifier, reason) = (identifier.clone(), String::new());
            let join =
                CommandBody::Link { contact: cell.clone(), identifier: identifier.clone(), reason: reason.clone() };
            self.ask(format!("join{root}"), join)?;
            if self.contact_at(&probe)?.and_then(|probe| probe.merged_into) != Some(cell.clone()) {
                return Err(format!("{root} takes nobody in"));
            }
            self.ask(format!("part{root}"), CommandBody::Unlink { contact: cell.clone(), identifier, reason })?;
            let after = self.contact_at(&cell)?.ok_or("a contact is gone")?;
            if after.identities != contact.identities || after.tags != contact.tags {
                return Err(format!("{root} is not what it was before somebody came and went"));
            }
            if self.contact_at(&probe)?.is_none_or(|probe| probe.merged_into.is_some()) {
                return Err(format!("who was parted from {root} is not there"));
            }
        }
        Ok(())
    }

    /// Appends a command and waits; an error if it is refused.
    fn ask(&mut self, request: String, body: CommandBody) -> Result<(), String> {
        self.append_command(workload::command(request.clone(), self.now, body));
        self.rest()?;
        let mut answers = self.parts.iter().flat_map(|part| part.said.values()).filter_map(|said| match &said.output {
            Output::CommandResult(result) if result.request_id == request => Some(&result.outcome),
            _ => None,
        });
        match answers.next_back() {
            Some(Outcome::Accepted) => Ok(()),
            Some(Outcome::Refused { code, .. }) => Err(format!("{request} is refused: {code}")),
            None => Err(format!("{request} is not answered")),
        }
    }
}
