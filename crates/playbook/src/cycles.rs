//! Rules that set each other off: in a circle, or in a chain that is longer than a record has rounds.

use crate::bundle::{
    Action, Board, Condition, FieldTest, Operator, Pattern, ROUNDS_MAX, Rule, TagGroup, TagMatch, Trigger,
};
use crate::measure::{Measure, Reading};
use crate::waits::Wait;
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::kind::HANDOFF_CREATED;

/// The rules of one circle, in the order they set each other off; `None` when there is none.
pub(crate) fn find(
    rules: &[Rule],
    groups: &BTreeMap<String, TagGroup>,
    boards: &BTreeMap<String, Board>,
    segments: &BTreeMap<String, Condition>,
    waits: &BTreeMap<u64, Wait>,
) -> Option<Vec<usize>> {
    let graph = Graph::new(rules, groups, boards, (segments, waits));
    let stays = graph.peel().stays;
    // Backwards from a rule that stays, every rule that sets it off and stays leads into a circle.
    let start = stays.iter().position(|stays| *stays)?;
    let (mut walk, mut seen, mut at) = (Vec::new(), BTreeMap::new(), start);
    while let std::collections::btree_map::Entry::Vacant(entry) = seen.entry(at) {
        entry.insert(walk.len());
        walk.push(at);
        at = graph.before(at, &stays).expect("a rule that stays is set off by one that stays");
    }
    let mut circle = walk.split_off(seen[&at]);
    circle.reverse();
    let first = circle.iter().enumerate().min_by_key(|(_, rule)| **rule).map_or(0, |(at, _)| at);
    circle.rotate_left(first);
    Some(circle)
}

/// Chains that may need more rounds than a record has, where no rules stand in a circle: the rules of each in the order
/// they set each other off, up to the first that may come too late.
pub(crate) fn too_long(
    rules: &[Rule],
    groups: &BTreeMap<String, TagGroup>,
    boards: &BTreeMap<String, Board>,
    segments: &BTreeMap<String, Condition>,
) -> Vec<Vec<usize>> {
    // A date that a rule has moved into the past has rounds of its own: no waits.
    let Peeled { round, set_off_by, .. } = Graph::new(rules, groups, boards, (segments, &BTreeMap::new())).peel();
    let chain = |last: usize| {
        let mut chain: Vec<usize> = std::iter::successors(Some(last), |rule| set_off_by[*rule]).collect();
        chain.reverse();
        chain
    };
    (0..rules.len()).filter(|rule| round[*rule] == ROUNDS_MAX + 1).map(chain).collect()
}

/// What rules wait for: (how, group, tag), any tag of the group as `None`.
type Change<'a> = (What, &'a str, Option<&'a str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Unset,
    Set,
    /// An attribute by its name, no tag.
    Attribute,
    /// A hand-over by its reason; empty: for any.
    Handoff,
}

/// Rules make changes, changes set rules off. Changes are nodes of their own, so that many rules waiting for what
/// many rules make stay few edges.
struct Graph {
    /// Per rule: indexes of the changes it makes, ascending.
    makes: Vec<Vec<usize>>,
    /// Per change: the rules it sets off.
    sets_off: Vec<BTreeSet<usize>>,
}

impl Graph {
    fn new(
        rules: &[Rule],
        groups: &BTreeMap<String, TagGroup>,
        boards: &BTreeMap<String, Board>,
        (segments, waits): (&BTreeMap<String, Condition>, &BTreeMap<u64, Wait>),
    ) -> Self {
        let mut waiting_for: BTreeMap<Change<'_>, BTreeSet<usize>> = BTreeMap::new();
        for (at, rule) in rules.iter().enumerate() {
            for change in rule.triggers.iter().flat_map(|trigger| waits_for(trigger, boards, (segments, waits))) {
                waiting_for.entry(change).or_default().insert(at);
            }
        }
        let (changes, sets_off): (Vec<Change<'_>>, Vec<BTreeSet<usize>>) = waiting_for.into_iter().unzip();
        let made_by = |(at, rule): (usize, &Rule)| {
            let made: BTreeSet<usize> =
                rule.actions.iter().flat_map(|action| made(at, action, groups, &changes, &sets_off)).collect();
            made.into_iter().collect()
        };
        Self { makes: rules.iter().enumerate().map(made_by).collect(), sets_off }
    }

    /// Takes away what nothing sets off, again and again.
    fn peel(&self) -> Peeled {
        let mut makers = vec![0_usize; self.sets_off.len()];
        self.makes.iter().flatten().for_each(|change| makers[*change] += 1);
        let mut waiting = vec![0_usize; self.makes.len()];
        for (_, rules) in self.sets_off.iter().enumerate().filter(|(change, _)| makers[*change] > 0) {
            rules.iter().for_each(|rule| waiting[*rule] += 1);
        }
        let mut stays = vec![true; self.makes.len()];
        // What people do by hand, or time does, is a round before the rules that wait for it.
        let mut round = vec![1_usize; self.makes.len()];
        self.sets_off.iter().flatten().for_each(|rule| round[*rule] = 2);
        let mut set_off_by: Vec<Option<usize>> = vec![None; self.makes.len()];
        let mut latest: Vec<Option<usize>> = vec![None; self.sets_off.len()];
        let mut free: Vec<usize> = (0..self.makes.len()).filter(|rule| waiting[*rule] == 0).collect();
        while let Some(rule) = free.pop() {
            stays[rule] = false;
            for &change in &self.makes[rule] {
                makers[change] -= 1;
                if latest[change].is_none_or(|maker| round[maker] < round[rule]) {
                    latest[change] = Some(rule);
                }
                let maker = latest[change].unwrap_or(rule);
                for &next in self.sets_off[change].iter().filter(|_| makers[change] == 0) {
                    if round[maker] >= round[next] {
                        round[next] = round[maker] + 1;
                        set_off_by[next] = Some(maker);
                    } else if round[maker] + 1 == round[next] {
                        set_off_by[next].get_or_insert(maker);
                    }
                    waiting[next] -= 1;
                    if waiting[next] == 0 {
                        free.push(next);
                    }
                }
            }
        }
        Peeled { stays, round, set_off_by }
    }

    /// The first rule that stays and sets this one off.
    fn before(&self, rule: usize, stays: &[bool]) -> Option<usize> {
        let waited = (0..self.sets_off.len()).filter(|change| self.sets_off[*change].contains(&rule));
        let waited: Vec<usize> = waited.collect();
        let makes = |maker: &usize| waited.iter().any(|change| self.makes[*maker].binary_search(change).is_ok());
        (0..self.makes.len()).filter(|maker| stays[*maker]).find(makes)
    }
}

/// What is known of each rule once those that nothing sets off have been taken away, again and again.
struct Peeled {
    /// Whether it is left, on a circle or behind one.
    stays: Vec<bool>,
    /// The latest round of a record in which it may come; of those that stay nothing is known.
    round: Vec<usize>,
    /// The rule that sets it off then; `None`: something else.
    set_off_by: Vec<Option<usize>>,
}

/// Indexes of the changes that an action makes.
fn made(
    rule: usize,
    action: &Action,
    groups: &BTreeMap<String, TagGroup>,
    changes: &[Change<'_>],
    sets_off: &[BTreeSet<usize>],
) -> Vec<usize> {
    let (set, tag) = match action {
        Action::SetTag { tag, .. } => (What::Set, tag),
        Action::UnsetTag(tag) => (What::Unset, tag),
        Action::SetAttribute { attribute, .. } => {
            return changes.binary_search(&(What::Attribute, attribute.as_str(), None)).into_iter().collect();
        }
        Action::Handoff { reason, .. } => {
            let reasons = BTreeSet::from([reason.as_str(), ""]);
            let found = |reason: &str| changes.binary_search(&(What::Handoff, reason, None)).ok();
            return reasons.into_iter().filter_map(found).collect();
        }
        // Nothing waits for these.
        Action::Assign(_) | Action::Task(_) => return Vec::new(),
    };
    let group = tag.group.as_str();
    let own = [(set, group, None), (set, group, Some(tag.tag.as_str()))];
    let mut made: Vec<usize> = own.iter().filter_map(|change| changes.binary_search(change).ok()).collect();
    if set == What::Set && groups.get(group).is_some_and(|group| group.exclusive) {
        // Setting it takes the others of the group away. A rule that acts because a tag is gone does not take that
        // tag away again.
        let first = changes.partition_point(|change| *change < (What::Unset, group, None));
        let others = (first..changes.len()).take_while(|at| changes[*at].0 == What::Unset && changes[*at].1 == group);
        made.extend(others.filter(|at| changes[*at].2 != Some(tag.tag.as_str()) && !sets_off[*at].contains(&rule)));
    }
    made
}

fn waits_for<'a>(
    trigger: &'a Trigger,
    boards: &'a BTreeMap<String, Board>,
    (segments, waits): (&'a BTreeMap<String, Condition>, &'a BTreeMap<u64, Wait>),
) -> Vec<Change<'a>> {
    let group = |board| boards.get(board).map(|board: &Board| board.group.as_str());
    match trigger {
        Trigger::Event(Pattern { event, tests }) if event == HANDOFF_CREATED => {
            let reason = tests.iter().find_map(|test| match test {
                FieldTest::Compare { field, operator: Operator::Equal, value } if field == "reason" => value.as_text(),
                _ => None,
            });
            vec![(What::Handoff, reason.unwrap_or_default(), None)]
        }
        // What people do is set off by no rule.
        Trigger::Event(_) | Trigger::Replied(_) => Vec::new(),
        Trigger::Wait(key) => match waits.get(key) {
            Some(Wait::Reached(reached)) => vec![(What::Attribute, reached.attribute.as_str(), None)],
            _ => Vec::new(),
        },
        Trigger::TagSet(TagMatch { group, tag }) => vec![(What::Set, group, tag.as_deref())],
        Trigger::TagUnset(TagMatch { group, tag }) => vec![(What::Unset, group, tag.as_deref())],
        Trigger::StageEntered { board, column } => {
            group(board).map(|group| (What::Set, group, Some(&**column))).into_iter().collect()
        }
        Trigger::StageLeft { board, column } => {
            group(board).map(|group| (What::Unset, group, Some(&**column))).into_iter().collect()
        }
        Trigger::SegmentEntered(segment) | Trigger::SegmentLeft(segment) => {
            let mut tags: Vec<Change<'a>> = Vec::new();
            segments.get(segment).into_iter().for_each(|condition| tags_of(condition, &mut tags));
            tags
        }
    }
}

/// Tags and attributes that a condition asks for.
fn tags_of<'a>(condition: &'a Condition, tags: &mut Vec<Change<'a>>) {
    let mut tag = |group: &'a str, tag: Option<&'a str>| {
        tags.extend([(What::Set, group, tag), (What::Unset, group, tag)]);
    };
    match condition {
        Condition::And(terms) | Condition::Or(terms) => terms.iter().for_each(|term| tags_of(term, tags)),
        Condition::Not(term) => tags_of(term, tags),
        Condition::Tag(TagMatch { group, tag: named }) => tag(group, named.as_deref()),
        Condition::Stage { group, columns, .. } => {
            columns.iter().for_each(|column| tag(group, Some(column)));
        }
        Condition::Compare(quantity, _) => {
            if let Measure::Attribute(Reading::Kept(name) | Reading::Elapsed { from: name, .. }) = &quantity.of {
                tags.push((What::Attribute, name, None));
            }
        }
        Condition::InGroup(_) | Condition::Replied(..) => {}
    }
}
