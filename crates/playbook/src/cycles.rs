//! Rules that set each other off in a circle.

use crate::bundle::{Action, Board, Rule, TagGroup, TagMatch, Trigger};
use std::collections::{BTreeMap, BTreeSet};

/// A change of one tag: (set, group, tag).
type Change<'a> = (bool, &'a str, &'a str);

/// The rules of one circle, in the order they set each other off; `None` when there is none.
pub(crate) fn find(
    rules: &[Rule],
    groups: &BTreeMap<String, TagGroup>,
    boards: &BTreeMap<String, Board>,
) -> Option<Vec<usize>> {
    let graph = Graph::new(rules, groups, boards);
    let mut remaining = graph.incoming();
    // Takes away what nothing sets off, again and again; what stays lies on a circle or behind one.
    let mut free: Vec<usize> = (0..rules.len()).filter(|rule| remaining[*rule] == 0).collect();
    let mut gone = BTreeSet::new();
    while let Some(rule) = free.pop() {
        gone.insert(rule);
        for next in graph.next(rule) {
            remaining[next] -= 1;
            if remaining[next] == 0 {
                free.push(next);
            }
        }
    }
    // Backwards from a rule that stays, every predecessor that stays leads into a circle.
    let start = (0..rules.len()).find(|rule| !gone.contains(rule))?;
    let mut before = vec![None; rules.len()];
    for rule in (0..rules.len()).filter(|rule| !gone.contains(rule)) {
        for next in graph.next(rule) {
            before[next].get_or_insert(rule);
        }
    }
    let (mut walk, mut seen, mut at) = (Vec::new(), BTreeMap::new(), start);
    while let std::collections::btree_map::Entry::Vacant(entry) = seen.entry(at) {
        entry.insert(walk.len());
        walk.push(at);
        at = before[at].expect("a rule that stays is set off by one that stays");
    }
    let mut circle = walk.split_off(seen[&at]);
    circle.reverse();
    let first = circle.iter().enumerate().min_by_key(|(_, rule)| **rule).map_or(0, |(at, _)| at);
    circle.rotate_left(first);
    Some(circle)
}

struct Graph<'a> {
    /// Per rule: the changes it makes, of those that set a rule off.
    makes: Vec<BTreeSet<Change<'a>>>,
    /// Per rule: the same as (set, group), for rules that wait for any tag of a group.
    makes_any: Vec<BTreeSet<(bool, &'a str)>>,
    /// Per change of one tag: the rules it sets off.
    sets_off: BTreeMap<Change<'a>, BTreeSet<usize>>,
    /// Per (set, group): the rules that any change of the group sets off.
    sets_off_any: BTreeMap<(bool, &'a str), BTreeSet<usize>>,
}

impl<'a> Graph<'a> {
    fn new(rules: &'a [Rule], groups: &'a BTreeMap<String, TagGroup>, boards: &'a BTreeMap<String, Board>) -> Self {
        let mut graph = Self {
            makes: vec![BTreeSet::new(); rules.len()],
            makes_any: vec![BTreeSet::new(); rules.len()],
            sets_off: BTreeMap::new(),
            sets_off_any: BTreeMap::new(),
        };
        for (at, rule) in rules.iter().enumerate() {
            for (set, group, tag) in rule.triggers.iter().filter_map(|trigger| waits_for(trigger, boards)) {
                match tag {
                    Some(tag) => graph.sets_off.entry((set, group, tag)).or_default().insert(at),
                    None => graph.sets_off_any.entry((set, group)).or_default().insert(at),
                };
            }
        }
        for (at, rule) in rules.iter().enumerate() {
            for action in &rule.actions {
                graph.add(at, action, groups);
            }
        }
        graph
    }

    fn add(&mut self, rule: usize, action: &'a Action, groups: &BTreeMap<String, TagGroup>) {
        let (set, tag) = match action {
            Action::SetTag(tag) => (true, tag),
            Action::UnsetTag(tag) => (false, tag),
        };
        self.makes[rule].insert((set, &tag.group, &tag.tag));
        self.makes_any[rule].insert((set, &tag.group));
        if !set || !groups.get(&tag.group).is_some_and(|group| group.exclusive) {
            return;
        }
        // Setting it takes the others of the group away. A rule that acts because a tag is gone does not take that
        // tag away again.
        let others = self.sets_off.range((false, tag.group.as_str(), "")..);
        let others = others.take_while(|((set, group, _), _)| !set && *group == tag.group);
        for (change, rules) in others.filter(|(change, _)| change.2 != tag.tag) {
            if !rules.contains(&rule) {
                self.makes[rule].insert(*change);
            }
        }
        let any = (false, tag.group.as_str());
        if self.sets_off_any.get(&any).is_some_and(|rules| !rules.contains(&rule)) {
            self.makes_any[rule].insert(any);
        }
    }

    /// Every rule that this one may set off, once per change.
    fn next(&self, rule: usize) -> impl Iterator<Item = usize> {
        let exact = self.makes[rule].iter().filter_map(|change| self.sets_off.get(change));
        let any = self.makes_any[rule].iter().filter_map(|change| self.sets_off_any.get(change));
        exact.chain(any).flatten().copied()
    }

    fn incoming(&self) -> Vec<usize> {
        let mut incoming = vec![0; self.makes.len()];
        for rule in 0..self.makes.len() {
            self.next(rule).for_each(|next| incoming[next] += 1);
        }
        incoming
    }
}

fn waits_for<'a>(
    trigger: &'a Trigger,
    boards: &'a BTreeMap<String, Board>,
) -> Option<(bool, &'a str, Option<&'a str>)> {
    match trigger {
        Trigger::Event(_) => None,
        Trigger::TagSet(TagMatch { group, tag }) => Some((true, group, tag.as_deref())),
        Trigger::TagUnset(TagMatch { group, tag }) => Some((false, group, tag.as_deref())),
        Trigger::StageEntered { board, column } => Some((true, &boards.get(board)?.group, Some(column))),
        Trigger::StageLeft { board, column } => Some((false, &boards.get(board)?.group, Some(column))),
    }
}
