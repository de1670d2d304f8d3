//! Two contacts become one while the clocks of their partitions differ: what was due in between happens once.

use crate::support::*;
use touchline_model::event::Event;
use touchline_model::id::IdKey;
use touchline_model::kind::Kind;
use touchline_model::record::Input;
use touchline_model::time::{Span, Time};

const PLAYBOOK: &str = "playbook: price-consideration
attributes: {到期日: {date_add: {from: last(order.paid), days: 10}}}
tag_groups: [{id: g, tags: [流失, 到期]}]
rules:
  - {id: silent, trigger: \"silence(order.paid, for=10d, since=order.paid)\", do: [{set_tag: g/流失}, {task: a}]}
  - {id: due, trigger: reached(到期日), do: [{set_tag: g/到期}, {task: b}]}
";
const MINUTE: Span = Span(60_000);

/// Lower and higher, in different partitions; the lower one has paid, and both waits are over ten days later.
fn engines() -> (Engines, IdKey, IdKey, Time) {
    let (lower, higher) = (on(1, youzan), on(2, wecom));
    let mut engines = Engines::new(PLAYBOOK, at("2026-03-02T08:00:00"));
    let paid = at("2026-03-02T09:00:00");
    engines.event(event(Kind::OrderPaid, "1", paid, vec![lower.clone()], &[]));
    engines.event(event(Kind::PageViewed, "2", paid, vec![higher.clone()], &[]));
    (engines, lower, higher, paid.plus(Span::days(10)))
}

fn link(lower: &IdKey, higher: &IdKey, when: Time) -> Event {
    let ids = vec![lower.clone(), higher.clone()];
    event(Kind::IdentityLinked, "link", when, ids, &[("evidence", "strong")])
}

/// The clock of one partition alone.
fn tick(engines: &mut Engines, id: &IdKey, now: Time) {
    engines.now = now;
    engines.append(partition_of(id), None, Ok(Input::Tick { wall: now }));
}

fn tasks(engines: &Engines) -> Vec<(String, Time)> {
    let mut tasks: Vec<_> = engines
        .touches()
        .iter()
        .filter(|touch| touch.state == touchline_model::output::TouchState::Due && touch.replaces.is_none())
        .map(|touch| (touch.step.clone(), touch.planned_at))
        .collect();
    tasks.sort();
    tasks
}

fn once(due: Time) -> Vec<(String, Time)> {
    vec![("due".to_owned(), due), ("silent".to_owned(), due)]
}

#[test]
fn what_is_not_over_at_a_clock_behind_happens_at_the_one_ahead() {
    let (mut engines, lower, higher, due) = engines();
    tick(&mut engines, &lower, Time(due.0 - MINUTE.0));
    tick(&mut engines, &higher, due.plus(MINUTE));
    engines.now = Time(due.0 - MINUTE.0);
    let now = engines.now;
    engines.event(link(&lower, &higher, now));
    assert_eq!(tasks(&engines), []);
    engines.advance(due.plus(Span::hours(1)));
    assert_eq!(tasks(&engines), once(due));
    let contact = engines.contact(&higher);
    assert_eq!(contact.tags.len(), 2, "{:?}", contact.tags);
}

#[test]
fn what_is_over_at_a_clock_ahead_does_not_happen_again() {
    let (mut engines, lower, higher, due) = engines();
    tick(&mut engines, &higher, Time(due.0 - MINUTE.0));
    tick(&mut engines, &lower, due.plus(MINUTE));
    assert_eq!(tasks(&engines), once(due));
    engines.slow(&lower, &higher);
    let now = engines.now;
    engines.event(link(&lower, &higher, now));
    engines.now = Time(due.0 - MINUTE.0);
    engines.all_arrive();
    assert_eq!(engines.contact(&higher).tags.len(), 2);
    engines.advance(due.plus(Span::hours(1)));
    assert_eq!(tasks(&engines), once(due));
}
