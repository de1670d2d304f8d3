//! Orders whose buyer is not known yet: what `design.md` says of order cells.

use crate::support::*;
use touchline_model::event::Event;
use touchline_model::id::{IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::time::Span;

const PLAYBOOK: &str = r#"
playbook: price-consideration
tag_groups:
  - {id: 物流, exclusive: true, tags: [已下单, 已发货, 已付款]}
rules:
  - {id: created, trigger: order.created, do: [{set_tag: 物流/已下单}]}
  - {id: paid, trigger: order.paid, do: [{set_tag: 物流/已付款}]}
  - {id: shipped, trigger: order.shipped, do: [{set_tag: 物流/已发货}]}
"#;

fn order(number: &str) -> IdKey {
    IdKey::new(IdKind::Order, "youzan:1", number)
}

fn says(kind: Kind, when: &str, ids: Vec<IdKey>) -> Event {
    event(kind, when, at(when), ids, &[])
}

fn engines() -> Engines {
    Engines::new(PLAYBOOK, at("2026-03-02T08:00:00"))
}

/// What the buyer's tags went through.
fn told(engines: &Engines) -> Vec<String> {
    engines.tag_changes().iter().filter_map(|change| change.set.clone()).collect()
}

#[test]
fn what_came_before_the_buyer_is_known_is_told_in_order_with_its_own_time() {
    let (mut engines, buyer) = (engines(), youzan("yzB"));
    engines.event(says(Kind::OrderCreated, "2026-03-02T09:00:00", vec![order("E1")]));
    engines.event(says(Kind::OrderShipped, "2026-03-02T09:10:00", vec![order("E1")]));
    assert_eq!((told(&engines).len(), engines.dead_reasons().len()), (0, 0));
    engines.event(says(Kind::OrderPaid, "2026-03-02T09:20:00", vec![order("E1"), buyer.clone()]));
    assert_eq!(told(&engines), ["已下单", "已发货", "已付款"]);
    let moments: Vec<_> = engines.tag_changes().iter().map(|change| change.at).collect();
    assert_eq!(moments, [at("2026-03-02T09:00:00"), at("2026-03-02T09:10:00"), at("2026-03-02T09:20:00")]);
    // From now on it goes there at once.
    engines.event(says(Kind::OrderShipped, "2026-03-02T09:30:00", vec![order("E1")]));
    assert_eq!(told(&engines)[3..], ["已发货"]);
    engines.advance(at("2026-03-20T00:00:00"));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
    assert_eq!(engines.contact(&buyer).first_seen, at("2026-03-02T09:00:00"));
}

#[test]
fn an_event_of_the_buyer_that_names_the_order_frees_it_too() {
    let (mut engines, buyer) = (engines(), youzan("yzB"));
    engines.event(says(Kind::OrderShipped, "2026-03-02T09:10:00", vec![order("E1")]));
    engines.event(says(Kind::OrderPaid, "2026-03-02T09:20:00", vec![buyer, order("E1")]));
    assert_eq!(told(&engines), ["已付款", "已发货"], "arrival decides");
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
}

#[test]
fn after_seven_days_each_is_put_aside_and_the_order_can_still_learn() {
    let (mut engines, buyer) = (engines(), youzan("yzB"));
    engines.event(says(Kind::OrderCreated, "2026-03-02T09:00:00", vec![order("E1")]));
    engines.event(says(Kind::OrderShipped, "2026-03-05T09:00:00", vec![order("E1")]));
    engines.advance(at("2026-03-09T08:59:59"));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
    engines.advance(at("2026-03-09T09:00:00"));
    assert_eq!(engines.dead_reasons(), ["order_timed_out", "order_timed_out"]);
    engines.event(says(Kind::OrderShipped, "2026-03-10T09:00:00", vec![order("E1")]));
    engines.event(says(Kind::OrderPaid, "2026-03-10T10:00:00", vec![order("E1"), buyer]));
    assert_eq!(told(&engines), ["已发货", "已付款"]);
    engines.advance(at("2026-03-30T00:00:00"));
    assert_eq!(engines.dead_reasons().len(), 2);
}

#[test]
fn sixty_four_wait_and_one_more_is_put_aside_with_its_record() {
    let (mut engines, buyer) = (engines(), youzan("yzB"));
    let start = at("2026-03-02T09:00:00");
    for number in 0..66 {
        let kind = if number % 2 == 0 { Kind::OrderCreated } else { Kind::OrderShipped };
        engines.event(event(kind, &number.to_string(), start.plus(Span::seconds(number)), vec![order("E1")], &[]));
    }
    assert_eq!(engines.dead_reasons(), ["order_without_buyer", "order_without_buyer"]);
    engines.event(says(Kind::OrderPaid, "2026-03-02T10:00:00", vec![order("E1"), buyer]));
    assert_eq!(told(&engines).len(), 65);
    assert!(engines.parts.iter().all(|part| part.map.0.keys().all(|key| !key.starts_with(b"h|"))), "nothing is left");
}
