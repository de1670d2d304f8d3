//! Links that were refused and are said again: what stood in the way may be gone, and nobody tells who was refused.

use crate::support::*;
use touchline_model::command::CommandBody;
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::{Input, LoopBody};
use touchline_model::time::Span;
use touchline_model::token;

const PLAYBOOK: &str = r#"
playbook: price-consideration
tag_groups:
  - {id: 购买, tags: [已付款]}
rules:
  - {id: paid, trigger: order.paid, do: [{set_tag: 购买/已付款}]}
"#;

const START: &str = "2026-03-02T08:00:00";

fn phone() -> IdKey {
    IdKey::new(IdKind::PhoneRef, "acme", "h1")
}

/// An event of that kind that names both; `minute` makes its moment and its id.
fn names(kind: Kind, one: &IdKey, other: &IdKey, minute: u32) -> Event {
    let when = at(START).plus(Span::minutes(i64::from(minute)));
    event(kind, &minute.to_string(), when, vec![one.clone(), other.clone()], &[("evidence", "medium")])
}

/// A has the phone that B names, too: refused once.
fn refused() -> (Engines, IdKey, IdKey) {
    let (mut engines, a, b) = (Engines::new(PLAYBOOK, at(START)), wecom("wmA"), wecom("wmB"));
    engines.event(names(Kind::MemberUpdated, &a, &phone(), 1));
    engines.event(names(Kind::MemberUpdated, &b, &phone(), 2));
    assert_eq!(root(&engines, &phone()), Some(CellKey::of(TENANT, &a)));
    assert_eq!(engines.dead_reasons(), ["link_refused"]);
    (engines, a, b)
}

fn root(engines: &Engines, id: &IdKey) -> Option<CellKey> {
    engines.contact(id).merged_into
}

#[test]
fn what_says_nothing_but_a_link_is_heard_each_time_and_refused_each_time() {
    let (mut engines, a, b) = refused();
    engines.event(names(Kind::IdentityLinked, &b, &phone(), 3));
    engines.event(names(Kind::IdentityLinked, &b, &phone(), 4));
    assert_eq!(engines.dead_reasons(), ["link_refused"; 3]);
    engines.event(names(Kind::IdentityUnlinked, &a, &phone(), 5));
    assert_eq!(root(&engines, &phone()), None);
    engines.event(names(Kind::IdentityLinked, &b, &phone(), 6));
    assert_eq!(root(&engines, &phone()), Some(CellKey::of(TENANT, &b)));
    engines.event(event(Kind::OrderPaid, "o", at("2026-03-02T09:00:00"), vec![phone()], &[]));
    assert_eq!(engines.contact(&b).tags.len(), 1);
    assert_eq!(engines.dead_reasons().len(), 3);
}

#[test]
fn what_is_named_in_passing_is_asked_for_again_after_a_parting_and_seldom_otherwise() {
    let (mut engines, a, b) = refused();
    // A thousand events of a family are ten refusals.
    for minute in 3..=1_001 {
        engines.event(names(Kind::MemberUpdated, &b, &phone(), minute));
    }
    assert_eq!(engines.dead_reasons(), ["link_refused"; 10]);
    engines.event(names(Kind::IdentityUnlinked, &a, &phone(), 1_002));
    assert_eq!(root(&engines, &phone()), None);
    engines.event(names(Kind::MemberUpdated, &b, &phone(), 1_003));
    assert_eq!(root(&engines, &phone()), Some(CellKey::of(TENANT, &b)));
    assert_eq!(engines.dead_reasons().len(), 10);
}

#[test]
fn so_is_what_was_parted_along_with_another_one() {
    let (mut engines, a, b) = (Engines::new(PLAYBOOK, at(START)), wecom("wmA"), wecom("wmB"));
    engines.event(names(Kind::MemberUpdated, &youzan("yz"), &phone(), 1));
    engines.event(names(Kind::MemberUpdated, &a, &youzan("yz"), 2));
    for minute in 3..6 {
        engines.event(names(Kind::MemberUpdated, &b, &phone(), minute));
    }
    engines.event(names(Kind::IdentityUnlinked, &a, &youzan("yz"), 6));
    engines.event(names(Kind::MemberUpdated, &b, &phone(), 7));
    assert_eq!(root(&engines, &youzan("yz")), Some(CellKey::of(TENANT, &b)));
    assert_eq!(engines.contact(&b).identities.len(), 3);
    assert_eq!(engines.contact(&a).identities.len(), 1);
}

#[test]
fn who_is_joined_tells_it_once() {
    let mut engines = Engines::new(PLAYBOOK, at(START));
    let a = wecom("wmA");
    for minute in 1..10 {
        engines.event(names(Kind::IdentityLinked, &a, &phone(), minute));
        engines.event(names(Kind::MemberUpdated, &a, &phone(), minute + 10));
    }
    let is_link = |input: &Input| matches!(input, Input::Loop(told) if matches!(told.body, LoopBody::Link { .. }));
    let records = engines.parts.iter().flat_map(|part| &part.log);
    assert_eq!(records.filter(|record| record.input.as_ref().is_ok_and(is_link)).count(), 1);
}

#[test]
fn a_token_brought_again_counts_when_it_was_made_only_then_or_what_it_proves_was_refused() {
    let (mut engines, a, b) = (Engines::new(PLAYBOOK, at(START)), wecom("wmA"), wecom("wmB"));
    let adds = |who: &IdKey, minute: i64| {
        let when = at(START).plus(Span::minutes(minute));
        let fields = [("staff", "zhang"), ("state", "t.k3Jq9")];
        event(Kind::ContactAdded, &minute.to_string(), when, vec![who.clone()], &fields)
    };
    engines.event(names(Kind::IdentityLinked, &a, &phone(), 1));
    for minute in [2, 3, 4] {
        engines.event(adds(&b, minute));
    }
    assert_eq!(engines.dead_reasons(), ["token_refused"; 3], "never made");
    let expires_at = at("2026-03-10T00:00:00");
    let token = token::cell_of(TENANT, "t.k3Jq9").expect("a token");
    engines.command("mint", CommandBody::MintToken { token, bearer: phone(), expires_at });
    engines.event(adds(&b, 5));
    // It was B who used it; but the phone is A's.
    assert_eq!(engines.dead_reasons()[3..], ["link_refused"]);
    engines.event(names(Kind::IdentityUnlinked, &a, &phone(), 6));
    engines.event(adds(&b, 7));
    assert_eq!(root(&engines, &phone()), Some(CellKey::of(TENANT, &b)));
    assert_eq!(engines.dead_reasons().len(), 4);
}
