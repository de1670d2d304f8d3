//! What listens to what: made once per bundle, so that what cannot happen costs nothing.

use crate::bundle::{Bundle, Condition, FieldTest, Input, Trigger, Wait};
use crate::measure::{Counted, Measure, Reading, Window};
use std::collections::BTreeSet;
use touchline_model::kind::{HANDOFF_CREATED, Kind};

pub(crate) fn index(bundle: &mut Bundle) {
    let event = |trigger: &Trigger| match trigger {
        Trigger::Event(pattern) => Some(pattern.event.clone()),
        Trigger::Replied(_) => Some(Kind::ChatMessage.name().to_owned()),
        _ => None,
    };
    for (at, rule) in bundle.rules.iter().enumerate() {
        for trigger in &rule.triggers {
            let Some(name) = event(trigger) else { continue };
            let listening = match keyword(trigger) {
                None => bundle.rules_by_event.entry(name).or_default(),
                Some((field, set)) => {
                    let by_field = bundle.rules_by_keyword.entry(name).or_default();
                    by_field.entry(field.clone()).or_default().entry(set.clone()).or_default()
                }
            };
            if listening.last() != Some(&at) {
                listening.push(at);
            }
        }
        let reacts = |trigger: &Trigger| match trigger {
            Trigger::Event(pattern) => pattern.event == HANDOFF_CREATED,
            Trigger::Replied(_) | Trigger::Wait(_) => false,
            _ => true,
        };
        if rule.triggers.iter().any(reacts) {
            bundle.rules_that_react.push(at);
        }
    }
    for (at, metric) in bundle.metrics.iter().enumerate() {
        bundle.metrics_by_event.entry(metric.count.event.clone()).or_default().push(at);
    }
    for (key, tallied) in &bundle.tallies {
        bundle.tallies_by_event.entry(tallied.pattern.event.clone()).or_default().push(*key);
    }
    for (key, wait) in &bundle.waits {
        let silence = match wait {
            Wait::Silence(silence) => silence,
            Wait::NotReplied { .. } => {
                bundle.waits_by_event.entry(Kind::TouchSent.name().to_owned()).or_default().push(*key);
                continue;
            }
            Wait::Reached(_) => {
                bundle.dates.push(*key);
                continue;
            }
        };
        let names: BTreeSet<&String> =
            silence.patterns.iter().chain([&silence.since]).map(|pattern| &pattern.event).collect();
        names.into_iter().for_each(|name| bundle.waits_by_event.entry(name.clone()).or_default().push(*key));
    }
    for (name, attribute) in &bundle.attributes {
        if let Some(computed) = &attribute.computed {
            bundle.computed_by_event.entry(computed.from.event.clone()).or_default().push(name.clone());
        }
        let from = match &attribute.reading {
            Reading::Kept(name) | Reading::Elapsed { from: name, .. } => name.strip_prefix("profile."),
            Reading::Moment { .. } => None,
        };
        bundle.profile_fields.extend(from.map(str::to_owned));
    }
    for (at, journey) in bundle.journeys.iter().enumerate() {
        let goal = journey.goal.iter().flat_map(|goal| &goal.triggers);
        let names: BTreeSet<String> = journey.entry.iter().chain(&journey.exit).chain(goal).filter_map(event).collect();
        names.into_iter().for_each(|name| bundle.journeys_by_event.entry(name).or_default().push(at));
    }
    for (name, condition) in &bundle.segments {
        let mut inputs = BTreeSet::new();
        inputs_of(condition, bundle, &mut inputs);
        for input in inputs {
            bundle.segments_by_input.entry(input).or_default().insert(name.clone());
        }
    }
}

/// A keyword that an event has to have for this trigger: its field and set.
fn keyword(trigger: &Trigger) -> Option<(&String, &String)> {
    let Trigger::Event(pattern) = trigger else { return None };
    pattern.tests.iter().find_map(|test| match test {
        FieldTest::Keyword { field, keywords } => Some((field, keywords)),
        _ => None,
    })
}

/// What a condition depends on, time aside.
fn inputs_of(condition: &Condition, bundle: &Bundle, inputs: &mut BTreeSet<Input>) {
    match condition {
        Condition::And(terms) | Condition::Or(terms) => {
            terms.iter().for_each(|term| inputs_of(term, bundle, inputs));
        }
        Condition::Not(term) => inputs_of(term, bundle, inputs),
        Condition::Tag(tag) => drop(inputs.insert(Input::Group(tag.group.clone()))),
        Condition::Stage { group, .. } => drop(inputs.insert(Input::Group(group.clone()))),
        Condition::InGroup(_) => {
            inputs.extend([Kind::GroupJoined, Kind::GroupLeft].map(|kind| Input::Event(kind.name().to_owned())));
        }
        Condition::Replied(..) => drop(inputs.insert(Input::Event(Kind::ChatMessage.name().to_owned()))),
        Condition::Compare(quantity, _) => match &quantity.of {
            Measure::Count { of, window, .. } => {
                inputs.extend(counted(of, bundle));
                if let Window::Since(since) = window {
                    inputs.extend(counted(since, bundle));
                }
            }
            Measure::Sum { tally, .. } => inputs.extend(counted(&Counted::Tally(*tally), bundle)),
            Measure::Age { of, .. } => inputs.extend(counted(of, bundle)),
            Measure::Attribute(Reading::Moment { of, .. }) => inputs.extend(counted(of, bundle)),
            Measure::Attribute(Reading::Kept(name) | Reading::Elapsed { from: name, .. }) => {
                if name.starts_with("profile.") {
                    inputs.insert(Input::Event(Kind::ProfileUpdated.name().to_owned()));
                }
                let computed = bundle.attributes.get(name).and_then(|attribute| attribute.computed.as_ref());
                inputs.extend(computed.map(|computed| Input::Event(computed.from.event.clone())));
                inputs.insert(Input::Attribute(name.clone()));
            }
        },
    }
}

fn counted(of: &Counted, bundle: &Bundle) -> Option<Input> {
    let event = match of {
        Counted::Happened(name) => name.clone(),
        Counted::Tally(key) => bundle.tallies.get(key)?.pattern.event.clone(),
    };
    Some(Input::Event(event))
}
