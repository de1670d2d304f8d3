//! Who is who, what happens to them, and the playbook.

use crate::random::Random;
use crate::workload::TENANT;
use std::fmt::Write as _;
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::record::Evidence;
use touchline_model::time::Time;

/// Identifiers of a person, in rank order: no two of a kind, so that nothing within one person is refused.
pub(super) const KINDS: [IdKind; 5] =
    [IdKind::WecomExternalUserid, IdKind::YzOpenId, IdKind::TbOpenUid, IdKind::WxUnionid, IdKind::PhoneRef];
const SLOTS: u32 = 5;
/// Position of the union id in [`KINDS`]; the other exclusive one is the first.
const UNIONID: u32 = 3;
/// Stands in the place of the group in a word that takes an interest back.
const UNSAID: &str = "nointerest";
/// Interests there are.
pub(super) const INTERESTS: u64 = 12;
/// Messages of one identifier while everything happens, at most.
pub(super) const MESSAGES_EACH: u64 = 3;
/// Stages: each message of two people has its own.
const STAGES: u32 = 2 * SLOTS * MESSAGES_EACH as u32;
/// Moods, said again and again once all is linked.
pub(super) const MOODS: u64 = 3;
/// Of so many people each pair at the start of a range has links that join them: see [`strangers`].
const STRANGERS_EVERY: u32 = 25;
/// Actions of a person in a hurry lie within so many of everybody's.
const HURRY: u64 = 40;

/// An identifier: five for each person, one after another.
pub(super) type Id = u32;

/// What happens; times are added when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A message: an interest, the number among those of its identifier, and a stage.
    Said { interest: u8, own: u8, stage: Option<u8> },
    /// A message that takes an interest back.
    Unsaid { interest: u8 },
    /// A message once all is linked: a mood, and whether it enters the journey of that time.
    Mood { mood: u8, enters: bool },
    /// A payment.
    Paid,
    /// The person is added by the staff member of this number, and enters the first journey.
    Added(u8),
    /// An order is closed: the journey of that time is left.
    Closed,
    /// A touch is reported.
    Sent,
}

impl What {
    /// Name of the event.
    pub(super) const fn kind(self) -> touchline_model::kind::Kind {
        use touchline_model::kind::Kind;
        match self {
            Self::Said { .. } | Self::Unsaid { .. } | Self::Mood { .. } => Kind::ChatMessage,
            Self::Paid => Kind::OrderPaid,
            Self::Added(_) => Kind::ContactAdded,
            Self::Closed => Kind::OrderClosed,
            Self::Sent => Kind::TouchSent,
        }
    }

    /// What a message says.
    pub(super) fn text(self, id: Id) -> String {
        match self {
            Self::Said { interest, own, stage } => {
                let stage = stage.map(|stage| word("stage", stage)).unwrap_or_default();
                format!("{} {} {stage}", word("interest", interest), word(&own_group(id), own))
            }
            Self::Unsaid { interest } => word(UNSAID, interest),
            Self::Mood { mood, enters } => format!("{} {}", word("mood", mood), if enters { "startafter" } else { "" }),
            _ => String::new(),
        }
    }
}

/// Something that has happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Happened {
    pub(super) at: Time,
    pub(super) id: Id,
    pub(super) what: What,
    /// Nothing of the person was on its way.
    pub(super) alone: bool,
}

/// What a link is in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Between identifiers of one person.
    Own,
    /// Between two people by identifiers that show it.
    Refused,
    /// Between two people by identifiers that do not show it: it or one of their own is refused.
    Either,
    /// On weak evidence.
    Weak,
}

/// A link that is said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) one: Id,
    pub(super) other: Id,
    pub(super) evidence: Evidence,
    pub(super) sort: Sort,
    /// There was a dead letter about it.
    pub(super) refused: bool,
}

/// One step of the plan.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Happens(Id, What),
    Links(u32),
}

/// What will be done.
pub(super) struct Plan {
    pub(super) links: Vec<Link>,
    /// In the order in which it happens.
    pub(super) actions: Vec<Action>,
}

/// Everything that happens in the first part, in random order: anywhere among everybody's, or close together.
pub(super) fn plan(random: &mut Random, people: u32) -> Plan {
    let mut links = Vec::new();
    let mut keyed: Vec<(u64, Action)> = Vec::new();
    // About what comes out per person, to know how long a hurry is.
    let hurry = (u64::MAX / (u64::from(people) * 14)).saturating_mul(HURRY).min(u64::MAX / 2);
    for person in 0..people {
        let own = of_person(random, person, &mut links);
        let base = random.chance(330).then(|| random.next().min(u64::MAX - hurry));
        let keys = own.into_iter().map(|action| match base {
            Some(base) => (base + random.below(hurry), action),
            None => (random.next(), action),
        });
        keyed.extend(keys.collect::<Vec<_>>());
    }
    keyed.sort_by_key(|(key, _)| *key);
    Plan { links, actions: keyed.into_iter().map(|(_, action)| action).collect() }
}

fn of_person(random: &mut Random, person: u32, links: &mut Vec<Link>) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut ids: Vec<Id> = (0..SLOTS).map(|slot| person * SLOTS + slot).collect();
    shuffle(random, &mut ids);
    let mut say = |random: &mut Random, one: Id, other: Id, sort: Sort| {
        let evidence = match sort {
            Sort::Weak => Evidence::Weak,
            _ if random.chance(500) => Evidence::Medium,
            _ => Evidence::Strong,
        };
        let (one, other) = if random.chance(500) { (one, other) } else { (other, one) };
        links.push(Link { one, other, evidence, sort, refused: false });
        Action::Links(u32::try_from(links.len() - 1).expect("fewer links than that"))
    };
    // A random tree: chains, stars, and what is between.
    for at in 1..ids.len() {
        let earlier = *random.pick(ids.get(..at).expect("within"));
        actions.push(say(random, ids[at], earlier, Sort::Own));
    }
    if let Some((one, other, sort)) = strangers(random, person) {
        actions.push(say(random, one, other, sort));
    }
    let mut stage = if family(person) == person { 0 } else { STAGES / 2 };
    for id in &ids {
        for own in 0..random.below(MESSAGES_EACH + 1) {
            let number = random.chance(500).then(|| small(u64::from(stage)));
            stage += u32::from(number.is_some());
            let what = What::Said { interest: small(random.below(INTERESTS)), own: small(own), stage: number };
            actions.push(Action::Happens(*id, what));
        }
    }
    // At most one of two who may be linked takes back an interest: one that this identifier says itself, before or after.
    if family(person) == person && random.chance(500) {
        let said: Vec<(Id, u8)> = actions.iter().filter_map(interest).collect();
        if !said.is_empty() {
            let (id, interest) = *random.pick(&said);
            actions.push(Action::Happens(id, What::Unsaid { interest }));
        }
    }
    for _ in 0..random.below(3) {
        actions.push(Action::Happens(*random.pick(&ids), What::Paid));
    }
    // Half of them once, a quarter twice.
    for number in 0..[0, 1, 1, 2][usize::from(small(random.below(4)))] {
        actions.push(Action::Happens(*random.pick(&ids), What::Added(number)));
    }
    actions
}

/// Who says which interest.
const fn interest(action: &Action) -> Option<(Id, u8)> {
    match action {
        Action::Happens(id, What::Said { interest, .. }) => Some((*id, *interest)),
        _ => None,
    }
}

/// A link of this person to the next one, if there is one.
fn strangers(random: &mut Random, person: u32) -> Option<(Id, Id, Sort)> {
    let (one, other) = (person * SLOTS, (person + 1) * SLOTS);
    // Neither exclusive: an open id or a phone.
    let mut harmless = || *random.pick(&[1, 2, 4]);
    match person % STRANGERS_EVERY {
        0 => Some((one, other, Sort::Refused)),
        5 => Some((one + UNIONID, other + UNIONID, Sort::Refused)),
        10 => Some((one + harmless(), other + harmless(), Sort::Either)),
        15 => Some((one + harmless(), other + harmless(), Sort::Weak)),
        _ => None,
    }
}

/// People who are linked by [`strangers`], by the first of them.
pub(super) const fn family(person: u32) -> u32 {
    let place = person % STRANGERS_EVERY;
    if place % 5 == 1 && place < 20 { person - 1 } else { person }
}

/// The person behind an identifier.
pub(super) const fn person(id: Id) -> u32 {
    id / SLOTS
}

/// The identifiers of a person, in rank order.
pub(super) const fn ids(person: u32) -> std::ops::Range<Id> {
    person * SLOTS..(person + 1) * SLOTS
}

/// The identifier itself.
pub(super) fn id_key(id: Id) -> IdKey {
    let kind = KINDS[slot(id)];
    let scope = match kind {
        IdKind::WecomExternalUserid => "ww1",
        IdKind::YzOpenId => "youzan",
        IdKind::PhoneRef => TENANT,
        _ => "app1",
    };
    IdKey::new(kind, scope, format!("n{:08}", person(id)))
}

/// Its cell.
pub(super) fn cell(id: Id) -> CellKey {
    CellKey::of(TENANT, &id_key(id))
}

/// The identifier of a cell.
pub(super) fn id_of(cell: &CellKey) -> Option<Id> {
    let slot = KINDS.iter().position(|kind| *kind == cell.kind())?;
    let (_, value) = cell.as_str().rsplit_once('/')?;
    let person: u32 = value.strip_prefix('n')?.parse().ok()?;
    Some(person * SLOTS + u32::try_from(slot).ok()?)
}

/// The exclusive group of an identifier's own messages.
pub(super) fn own_group(id: Id) -> String {
    format!("own{}", slot(id))
}

/// Whose contact it is by staff: different for different people and entries.
pub(super) fn staff(person: u32, number: u8) -> String {
    format!("staff{}n{number}", person % 1_000)
}

pub(super) fn tag(number: u8) -> String {
    format!("t{number}")
}

pub(super) fn shuffle<T>(random: &mut Random, list: &mut [T]) {
    for at in (1..list.len()).rev() {
        let with = usize::try_from(random.below(at as u64 + 1)).expect("small");
        list.swap(at, with);
    }
}

/// Non-exclusive interests and payments; exclusive groups for each identifier, for the stage and for the mood. A journey
/// that is entered once, one that counts, and one for the time when all is linked.
pub(super) fn playbook() -> String {
    let groups = groups();
    let mut yaml = "playbook: crowd\ntag_groups:\n  - {id: bought, tags: [paid]}\n".to_owned();
    for (group, count) in &groups {
        let tags: Vec<String> = (0..*count).map(tag).collect();
        let exclusive = group != "interest";
        writeln!(yaml, "  - {{id: {group}, exclusive: {exclusive}, tags: [{}]}}", tags.join(", ")).expect("a string");
    }
    yaml += "keywords:\n  after: {any: [startafter]}\n";
    let mut rules = "rules:\n  - {id: paid, trigger: order.paid, do: [{set_tag: bought/paid}]}\n".to_owned();
    for (group, count) in &groups {
        for number in 0..*count {
            let (name, word, tag) = (format!("{group}-{number}"), word(group, number), tag(number));
            writeln!(yaml, "  {name}: {{any: [{word}]}}").expect("a string");
            let trigger = format!("\"chat.message(direction=in, text has {name})\"");
            writeln!(rules, "  - {{id: {name}, trigger: {trigger}, do: [{{set_tag: {group}/{tag}}}]}}")
                .expect("a string");
        }
    }
    for number in 0..small(INTERESTS) {
        let (name, word, tag) = (format!("{UNSAID}-{number}"), word(UNSAID, number), tag(number));
        writeln!(yaml, "  {name}: {{any: [{word}]}}").expect("a string");
        let trigger = format!("\"chat.message(direction=in, text has {name})\"");
        writeln!(rules, "  - {{id: {name}, trigger: {trigger}, do: [{{unset_tag: interest/{tag}}}]}}")
            .expect("a string");
    }
    yaml + &rules + JOURNEYS
}

const JOURNEYS: &str = r#"journeys:
  - id: welcome
    entry: {trigger: contact.added}
    steps:
      - {id: s1, after: 1h, touchpoint: dm, content: a}
      - {id: s2, after: 1h, touchpoint: dm, content: b}
      - {id: s3, after: 1d, touchpoint: dm, content: c}
  - id: count
    entry: {trigger: "chat.message(direction=in)"}
    re_entry: {each: entry}
    steps: [{id: never, after: 300d, touchpoint: dm, content: d}]
  - id: after
    entry: {trigger: "chat.message(direction=in, text has after)"}
    exit: {trigger: order.closed}
    steps:
      - {id: a1, after: 10m, touchpoint: dm, content: e}
      - {id: a2, after: 3h, touchpoint: dm, content: f}
"#;

/// Groups whose tags are set by keywords, and how many tags they have.
fn groups() -> Vec<(String, u8)> {
    let named = [("interest", small(INTERESTS)), ("stage", small(u64::from(STAGES))), ("mood", small(MOODS))];
    let own = (0..SLOTS).map(|slot| (own_group(slot), small(MESSAGES_EACH)));
    named.into_iter().map(|(group, count)| (group.to_owned(), count)).chain(own).collect()
}

/// The word that sets a tag.
fn word(group: &str, number: u8) -> String {
    format!("word{group}{number}end")
}

fn slot(id: Id) -> usize {
    usize::try_from(id % SLOTS).expect("small")
}

pub(super) fn small(number: u64) -> u8 {
    u8::try_from(number).expect("all of these numbers are small")
}
