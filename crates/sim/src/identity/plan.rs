//! What is going to happen in a run, and the playbook that makes it visible.

use super::groups::{self, Change};
use super::{ALL, EVENTS_EACH, IDS, ORDERS, Schedule, TOKENS};
use crate::random::Random;

/// Pauses of a run with partings: without them everything is parted before it has been joined.
const PAUSES: usize = 3;

/// The next thing that happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    /// An event under an identifier.
    Happens(usize),
    /// An event says that two identifiers are one person.
    Links(usize, usize),
    /// Something is said of an order, with or without its buyer.
    Ordered(usize, bool),
    /// The buyer says something that names the order.
    Names(usize),
    /// A token is made.
    Mints(usize),
    /// Somebody brings a token.
    Brings(usize, usize),
    /// Somebody who is joined by then is said to be somebody else, by hand or by an event.
    Parts,
    /// Two identifiers are joined by hand.
    Joins(usize, usize),
    /// A command of before comes again.
    Repeats,
    /// Something happens to groups.
    Group(Change),
    /// Nothing, for long enough that messages arrive.
    Pause,
}

/// What happens, the last first, and what is true of it.
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// Whether anything of it may join two people.
    pub(super) mixes: bool,
    /// Who bought each order.
    pub(super) buyer: Vec<usize>,
    /// Identifier or order (after [`IDS`]) that each token is made for.
    pub(super) bearer: Vec<usize>,
}

/// Events, links and tokens in random order. Each person's identifiers are linked as a chain, a star, a ring, or only
/// in part.
pub(super) fn plan(random: &mut Random, person: &[usize], schedule: Schedule) -> Plan {
    let mut actions = Vec::new();
    for id in 0..IDS {
        let count = random.below(EVENTS_EACH as u64 + 1);
        actions.extend((0..count).map(|_| Action::Happens(id)));
    }
    // While hours pass an order would give up its buyer.
    for order in (0..ORDERS).filter(|_| schedule != Schedule::Groups) {
        let count = random.below(EVENTS_EACH as u64);
        actions.extend((0..count).map(|_| Action::Ordered(order, random.chance(200))));
        if random.chance(500) {
            actions.push(Action::Names(order));
        }
    }
    // A third of the runs with partings has conflicts too.
    let mixes = schedule == Schedule::Conflicts || (schedule == Schedule::Partings && random.chance(333));
    links(random, person, mixes, &mut actions);
    let buyer: Vec<usize> = (0..ORDERS).map(|_| one_of(random, IDS)).collect();
    let bearer: Vec<usize> = (0..TOKENS).map(|_| one_of(random, ALL)).collect();
    for (token, bearer) in bearer.iter().enumerate() {
        let whose = person[if *bearer < IDS { *bearer } else { buyer[*bearer - IDS] }];
        let fit: Vec<usize> = (0..IDS).filter(|id| mixes || person[*id] == whose).collect();
        for _ in 0..random.below(4) {
            actions.push(Action::Brings(token, *random.pick(&fit)));
        }
    }
    if schedule == Schedule::Partings {
        partings(random, person, mixes, &mut actions);
    }
    if schedule == Schedule::Groups {
        actions.extend(groups::plan(random).into_iter().map(Action::Group));
    }
    // Most are made before anybody brings them.
    let early: Vec<bool> = (0..TOKENS).map(|_| random.chance(700)).collect();
    actions.extend((0..TOKENS).filter(|token| !early[*token]).map(Action::Mints));
    for at in (1..actions.len()).rev() {
        let with = one_of(random, at + 1);
        actions.swap(at, with);
    }
    actions.extend((0..TOKENS).filter(|token| early[*token]).map(Action::Mints));
    Plan { actions, mixes, buyer, bearer }
}

fn links(random: &mut Random, person: &[usize], mixes: bool, actions: &mut Vec<Action>) {
    for whose in 0..2 {
        let own: Vec<usize> = (0..IDS).filter(|id| person[*id] == whose).collect();
        let shape = random.below(4);
        for (at, id) in own.iter().enumerate() {
            let other = match shape {
                0 => own[(at + 1) % own.len()],
                1 => own[0],
                2 => *random.pick(&own),
                _ if random.chance(500) => *random.pick(&own),
                _ => *id,
            };
            if other != *id {
                // Both ways at once, now and then.
                actions.push(if random.chance(500) { Action::Links(*id, other) } else { Action::Links(other, *id) });
                if random.chance(200) {
                    actions.push(Action::Links(other, *id));
                    actions.push(Action::Links(*id, other));
                }
            }
        }
    }
    for _ in 0..if mixes { 1 + random.below(3) } else { 0 } {
        let (one, other) = (one_of(random, IDS), one_of(random, IDS));
        if one != other {
            actions.push(Action::Links(one, other));
        }
    }
}

fn partings(random: &mut Random, person: &[usize], mixes: bool, actions: &mut Vec<Action>) {
    actions.extend((0..1 + random.below(6)).map(|_| Action::Parts));
    actions.extend((0..PAUSES).map(|_| Action::Pause));
    actions.extend((0..random.below(3)).map(|_| Action::Repeats));
    // Where nobody joins by hand, who was parted stays apart: half of the runs are judged by that.
    if random.chance(500) {
        for _ in 0..1 + random.below(4) {
            let (one, other) = (one_of(random, IDS), one_of(random, IDS));
            if one != other && (mixes || person[one] == person[other]) {
                actions.push(Action::Joins(one, other));
            }
        }
    }
}

pub(super) fn one_of(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.below(count as u64)).expect("small")
}

/// The tag that event `number` of an identifier sets, and nothing else does.
pub(super) fn tag(id: usize, number: usize) -> String {
    format!("i{id}n{number}")
}

/// Identifier and number of such a tag.
pub(super) fn parse_tag(tag: &str) -> Option<(usize, usize)> {
    let (id, number) = tag.strip_prefix('i')?.split_once('n')?;
    Some((id.parse().ok()?, number.parse().ok()?))
}

/// The word that sets it.
pub(super) fn keyword(id: usize, number: usize) -> String {
    format!("word{id}and{number}end")
}

/// Every event sets its own tag, the one tag of its identifier's group, and enters a journey; so does who comes or goes.
pub(super) fn playbook() -> String {
    let pairs = || (0..ALL).flat_map(|id| (0..EVENTS_EACH).map(move |number| (id, number)));
    let all: Vec<String> = pairs().map(|(id, number)| tag(id, number)).collect();
    let own: Vec<String> = (0..EVENTS_EACH).map(|number| format!("n{number}")).collect();
    let mut yaml = format!("playbook: identity\ntag_groups:\n  - {{id: all, tags: [{}]}}\n", all.join(", "));
    for id in 0..ALL {
        yaml += &format!("  - {{id: g{id}, exclusive: true, tags: [{}]}}\n", own.join(", "));
    }
    yaml += "keywords:\n";
    for (id, number) in pairs() {
        yaml += &format!("  {}: {{any: [{}]}}\n", tag(id, number), keyword(id, number));
    }
    yaml += "rules:\n";
    for (id, number) in pairs() {
        let tag = tag(id, number);
        let trigger = format!("\"chat.message(direction=in, text has {tag})\"");
        yaml += &format!(
            "  - {{id: {tag}, trigger: {trigger}, do: [{{set_tag: all/{tag}}}, {{set_tag: g{id}/n{number}}}]}}\n"
        );
    }
    yaml += "journeys:\n";
    for (id, trigger) in [("count", "\"chat.message(direction=in)\""), ("came", "group.joined"), ("went", "group.left")]
    {
        yaml += &format!("  - id: {id}\n    entry: {{trigger: {trigger}}}\n");
        yaml += "    exit: {trigger: order.closed}\n    re_entry: {each: entry}\n";
        yaml += "    steps: [{id: s, after: 1d, touchpoint: dm, content: c}]\n";
    }
    yaml
}
