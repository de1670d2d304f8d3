//! Playbooks as they are meant: rules with a list, one after another over all playbooks, each with its own keywords.

use crate::language::Plant;
use crate::language::book::{
    Action, Condition, EACH, EACH_TAG, KEYWORDS, Literal, OWN_KEYWORDS, Pattern, Playbook, Row, Rule, Test, Trigger,
    Wait,
};

/// A playbook as it is meant.
pub(in crate::language) fn read(book: &Playbook, plant: Option<Plant>) -> Playbook {
    let mut book = book.clone();
    let own = match book.other {
        Some(other) if other.has_keywords && plant != Some(Plant::UsedKeywords) => OWN_KEYWORDS,
        _ => KEYWORDS.1,
    };
    let (segments, rules) = book.other.map_or((usize::MAX, usize::MAX), |other| (other.segments, other.rules));
    let words = |at: usize, own_from: usize| if at < own_from { KEYWORDS.1 } else { own };
    for of in [&mut book.first, &mut book.last, &mut book.due.0] {
        mean(of, KEYWORDS.1);
    }
    for (at, segment) in book.segments.iter_mut().enumerate() {
        mean_in(segment, words(at, segments));
    }
    for (at, rule) in book.rules.iter_mut().enumerate() {
        let words = words(at, rules);
        rule.playbook = if at < rules { "p" } else { "o" };
        rule.triggers.iter_mut().for_each(|trigger| match trigger {
            Trigger::Event(of) => mean(of, words),
            Trigger::Wait(Wait::Silence { of, since, .. }) => {
                of.iter_mut().chain([since]).for_each(|of| mean(of, words));
            }
            _ => {}
        });
        rule.when.iter_mut().for_each(|when| mean_in(when, words));
    }
    if book.other.is_some_and(|other| other.is_first) && plant != Some(Plant::UsedFirst) {
        book.rules.rotate_left(rules);
    }
    book.rules = book.rules.iter().flat_map(|rule| read_rows(rule, plant)).collect();
    book
}

/// A rule with a list is as many rules as the list has rows.
fn read_rows(rule: &Rule, plant: Option<Plant>) -> Vec<Rule> {
    if rule.rows.is_empty() {
        return vec![rule.clone()];
    }
    let rows = rule.rows.iter().take(if plant == Some(Plant::FirstRowOnly) { 1 } else { usize::MAX });
    let filled = rows.map(|row| {
        let id = rule.id.replace(EACH, row.of).replace(EACH_TAG, row.tag);
        let mut rule = Rule { id, rows: Vec::new(), ..rule.clone() };
        for trigger in &mut rule.triggers {
            let Trigger::Event(pattern) = trigger else { continue };
            pattern.tests.iter_mut().for_each(|(_, test)| fill(test, row));
        }
        for action in &mut rule.actions {
            match action {
                Action::Set { tag: (_, tag), .. } | Action::Unset((_, tag)) if *tag == EACH_TAG => *tag = row.tag,
                _ => {}
            }
        }
        rule
    });
    filled.collect()
}

fn fill(test: &mut Test, row: &Row) {
    if let Test::Is(_, Literal::Text(text)) = test
        && *text == EACH
    {
        *text = row.of;
    }
}

/// Which words a playbook means.
fn mean(pattern: &mut Pattern, words: &'static [&'static str]) {
    for (_, test) in &mut pattern.tests {
        if matches!(test, Test::Keywords) {
            *test = Test::Words(words);
        }
    }
}

fn mean_in(condition: &mut Condition, words: &'static [&'static str]) {
    match condition {
        Condition::And(of) | Condition::Or(of) => of.iter_mut().for_each(|of| mean_in(of, words)),
        Condition::Not(of) => mean_in(of, words),
        Condition::Count { of, .. }
        | Condition::Sum { of, .. }
        | Condition::None { of, .. }
        | Condition::Age { of, .. } => {
            mean(of, words);
        }
        Condition::Tag(..)
        | Condition::Stage(..)
        | Condition::Segment(_)
        | Condition::Attribute(..)
        | Condition::InGroup(_)
        | Condition::InKind(_) => {}
    }
}
