//! What listens to what: made once per bundle, so that what cannot happen costs nothing.

use crate::bundle::{Bundle, Condition, Input, Wait};
use crate::listening::Listeners;
use crate::measure::{Counted, Measure, Reading, Window};
use std::collections::BTreeSet;
use touchline_model::kind::Kind;

pub(crate) fn index(bundle: &mut Bundle) {
    bundle.rules_listening = Listeners::new(bundle.rules.iter().map(|rule| &rule.triggers));
    bundle.journeys_listening = Listeners::new(bundle.journeys.iter().map(|journey| {
        let goal = journey.goal.iter().flat_map(|goal| &goal.triggers);
        journey.entry.iter().chain(&journey.exit).chain(goal)
    }));
    let exits = bundle.journeys.iter().enumerate().filter(|(_, journey)| journey.exit_when.is_some());
    bundle.exits = exits.map(|(at, journey)| (format!("{}/{}", journey.playbook, journey.id), at)).collect();
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
    for (name, condition) in &bundle.segments {
        let mut inputs = BTreeSet::new();
        inputs_of(condition, bundle, &mut inputs);
        for input in inputs {
            bundle.segments_by_input.entry(input).or_default().insert(name.clone());
        }
    }
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
