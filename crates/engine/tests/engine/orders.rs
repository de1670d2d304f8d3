//! Orders whose buyer is not known yet: what `design.md` says of order cells.

use crate::support::*;
use touchline_model::event::Event;
use touchline_model::id::{IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::time::Span;
use touchline_model::value::{Fields, Value};

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

/// Lines as the taxonomy has them: one record per line.
fn lines(skus: &[&str]) -> Value {
    Value::List(skus.iter().map(|sku| Value::Record(Fields::new().with("outer_sku", Value::text(*sku)))).collect())
}

fn with_lines(mut event: Event, skus: &[&str]) -> Event {
    event.fields.set("lines", lines(skus));
    event
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

/// Events forwarded to the buyer's cell, with the lines they have there.
fn forwarded(engines: &Engines) -> Vec<(&'static str, Option<Value>)> {
    use touchline_model::record::{Input, LoopBody};
    let records = engines.parts.iter().flat_map(|part| &part.log);
    let told = records.filter_map(|record| match &record.input {
        Ok(Input::Loop(told)) => match &told.body {
            LoopBody::Forward { event, .. } => Some((event.kind.name(), event.fields.get("lines").cloned())),
            _ => None,
        },
        _ => None,
    });
    told.collect()
}

#[test]
fn what_names_the_order_alone_is_passed_on_with_its_lines() {
    let (mut engines, buyer) = (engines(), youzan("yzB"));
    // Lines from an event of the buyer that names the order.
    let created =
        with_lines(says(Kind::OrderCreated, "2026-03-02T09:00:00", vec![buyer.clone(), order("E1")]), &["milk"]);
    engines.event(created);
    engines.event(says(Kind::OrderShipped, "2026-03-02T09:10:00", vec![order("E1")]));
    assert_eq!(forwarded(&engines), [("order.shipped", Some(lines(&["milk"])))]);
    // A later event knows better; an event with lines of its own keeps them; one that has nothing to do with lines gets none.
    let paid = with_lines(says(Kind::OrderPaid, "2026-03-02T09:20:00", vec![buyer, order("E1")]), &["milk", "soap"]);
    engines.event(paid);
    engines.event(says(Kind::OrderCompleted, "2026-03-02T09:30:00", vec![order("E1")]));
    let closed = with_lines(says(Kind::OrderClosed, "2026-03-02T09:40:00", vec![order("E1")]), &["soap"]);
    engines.event(closed);
    engines.event(says(Kind::RefundClosed, "2026-03-02T09:50:00", vec![order("E1")]));
    let expected = [
        ("order.completed", Some(lines(&["milk", "soap"]))),
        ("order.closed", Some(lines(&["soap"]))),
        ("refund.closed", None),
    ];
    assert_eq!(forwarded(&engines)[1..], expected);
    engines.event(says(Kind::OrderChanged, "2026-03-02T09:55:00", vec![order("E1")]));
    assert_eq!(forwarded(&engines)[4..], [("order.changed", Some(lines(&["soap"])))]);
}

#[test]
fn lines_are_learned_while_the_buyer_is_not_known_and_kept_within_bounds() {
    let (mut engines, buyer) = (engines(), youzan("yzB"));
    engines.event(says(Kind::OrderShipped, "2026-03-02T09:00:00", vec![order("E1")]));
    engines.event(with_lines(says(Kind::OrderCreated, "2026-03-02T09:10:00", vec![order("E1")]), &["milk"]));
    engines.event(says(Kind::OrderPaid, "2026-03-02T09:20:00", vec![buyer.clone(), order("E1")]));
    let milk = || Some(lines(&["milk"]));
    assert_eq!(forwarded(&engines), [("order.shipped", milk()), ("order.created", milk())]);
    let many: Vec<String> = (0..150).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    engines.event(with_lines(says(Kind::OrderCreated, "2026-03-02T10:00:00", vec![buyer, order("E2")]), &many));
    engines.event(says(Kind::OrderShipped, "2026-03-02T10:10:00", vec![order("E2")]));
    assert_eq!(forwarded(&engines)[2..], [("order.shipped", Some(lines(&many[..100])))]);
}

#[test]
fn an_order_is_told_its_buyer_once_and_lines_when_they_are_others() {
    use touchline_model::record::{Input, LoopBody};
    let (mut engines, buyer) = (engines(), youzan("yzB"));
    let ids = || vec![buyer.clone(), order("E1")];
    for (kind, when, skus) in [
        (Kind::OrderCreated, "2026-03-02T09:00:00", &["milk"][..]),
        (Kind::OrderPaid, "2026-03-02T09:10:00", &["milk"]),
        (Kind::OrderReadyToShip, "2026-03-02T09:15:00", &[]),
        (Kind::OrderChanged, "2026-03-02T09:20:00", &["soap"]),
    ] {
        engines.event(with_lines(says(kind, when, ids()), skus));
    }
    let is_bought = |input: &Input| matches!(input, Input::Loop(told) if matches!(told.body, LoopBody::Bought { .. }));
    let told =
        engines.parts.iter().flat_map(|part| &part.log).filter(|record| record.input.as_ref().is_ok_and(is_bought));
    assert_eq!(told.count(), 2);
}

#[test]
fn who_else_the_shop_names_as_the_buyer_gets_what_names_them_and_is_said_once() {
    let (mut engines, one, other) = (engines(), youzan("yzA"), youzan("yzB"));
    engines.event(says(Kind::OrderCreated, "2026-03-02T09:00:00", vec![order("E1"), one.clone()]));
    engines.event(says(Kind::OrderPaid, "2026-03-02T09:10:00", vec![order("E1"), other.clone()]));
    engines.event(says(Kind::OrderPaid, "2026-03-02T09:11:00", vec![order("E1"), other.clone()]));
    engines.event(says(Kind::OrderCreated, "2026-03-02T09:12:00", vec![other.clone(), order("E1")]));
    engines.event(says(Kind::OrderShipped, "2026-03-02T09:20:00", vec![order("E1")]));
    let stage = |who: &IdKey| engines.contact(who).tags[0].tag.clone();
    assert_eq!((stage(&one), stage(&other)), ("已发货".to_owned(), "已下单".to_owned()));
    assert_eq!(engines.contact(&one).merged_into, None);
    let letters: Vec<_> = (engines.outputs.iter())
        .filter_map(|said| match &said.output {
            touchline_model::output::Output::DeadLetter(letter) => Some((letter.reason.name(), letter.cells.clone())),
            _ => None,
        })
        .collect();
    let cells = [&other, &one].map(|id| touchline_model::id::CellKey::of(TENANT, id)).to_vec();
    assert_eq!(letters, [("link_weak", cells)]);
}

#[test]
fn two_identifiers_of_one_person_are_one_buyer() {
    let (mut engines, one, other) = (engines(), youzan("yzA"), wecom("wmB"));
    let both = || vec![one.clone(), other.clone()];
    engines.event(event(Kind::IdentityLinked, "l", at("2026-03-02T08:30:00"), both(), &[("evidence", "strong")]));
    for (number, (first, second)) in [(&one, &other), (&other, &one)].into_iter().enumerate() {
        let order = order(&format!("E{number}"));
        engines.event(says(
            Kind::OrderCreated,
            &format!("2026-03-02T09:0{number}:00"),
            vec![order.clone(), first.clone()],
        ));
        engines.event(says(Kind::OrderPaid, &format!("2026-03-02T09:1{number}:00"), vec![order, second.clone()]));
    }
    assert_eq!(engines.contact(&other).past.happened["order.paid"].count, 2);
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
}
