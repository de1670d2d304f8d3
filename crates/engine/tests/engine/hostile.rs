//! Identifiers that somebody gets wrong, in bulk or on purpose: bounded, refused with a reason, nothing lost.

use crate::support::*;
use touchline_engine::HOPS_ALARM;
use touchline_model::command::{CommandBody, TagRef};
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::{Input, Loop, LoopBody, Record};
use touchline_model::time::Time;

const PLAYBOOK: &str = r#"
playbook: price-consideration
tag_groups:
  - {id: 购买, tags: [已付款]}
rules:
  - {id: paid, trigger: order.paid, do: [{set_tag: 购买/已付款}]}
"#;

fn engines() -> Engines {
    let mut engines = Engines::new(PLAYBOOK, at("2026-03-02T08:00:00"));
    engines.outputs.clear();
    engines
}

fn links(one: &IdKey, other: &IdKey, basis: u32) -> Event {
    let ids = vec![one.clone(), other.clone()];
    event(Kind::IdentityLinked, &basis.to_string(), at("2026-03-02T09:00:00"), ids, &[("evidence", "strong")])
}

fn pays(who: &IdKey, order: u32) -> Event {
    let order = IdKey::new(IdKind::Order, "youzan:1", format!("E{order}"));
    event(Kind::OrderPaid, &format!("{order:?}"), at("2026-03-02T09:00:00"), vec![who.clone(), order], &[])
}

/// Bytes of the contact's own state.
fn state_bytes(engines: &Engines, id: &IdKey) -> usize {
    let key = CellKey::of(TENANT, id);
    let part = &engines.parts[key.partition(PARTITIONS) as usize];
    part.map.0[&touchline_engine::keys::cell(&key)].len()
}

#[test]
fn ten_thousand_orders_do_not_grow_the_contact() {
    let (mut engines, buyer) = (engines(), youzan("yzB"));
    engines.event(pays(&buyer, 0));
    let one = state_bytes(&engines, &buyer);
    for order in 1..10_000 {
        engines.event(pays(&buyer, order));
    }
    assert!(state_bytes(&engines, &buyer) <= one + 8, "{one} then {}", state_bytes(&engines, &buyer));
    assert_eq!(engines.contact(&buyer).identities.len(), 1);
    // Each of them finds the buyer.
    for order in [0, 5_000, 9_999] {
        let order = IdKey::new(IdKind::Order, "youzan:1", format!("E{order}"));
        engines.event(event(Kind::OrderShipped, &format!("{order:?}"), at("2026-03-03T09:00:00"), vec![order], &[]));
    }
    assert!(engines.contact(&buyer).past.happened.contains_key("order.shipped"));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
}

#[test]
fn a_phone_that_a_family_shares_is_one_of_them_and_never_makes_them_one() {
    let mut engines = engines();
    let phone = IdKey::new(IdKind::PhoneRef, "acme", "h1");
    let family: Vec<IdKey> = ["wmMother", "wmFather", "wmSon"].into_iter().map(wecom).collect();
    for (number, person) in (0..).zip(&family) {
        engines.event(pays(person, number));
        let subject = vec![person.clone(), phone.clone()];
        engines.event(event(Kind::MemberUpdated, &number.to_string(), at("2026-03-02T10:00:00"), subject, &[]));
    }
    for person in &family {
        assert_eq!((engines.contact(person).merged_into, engines.contact(person).tags.len()), (None, 1));
    }
    // The first to give it has it; the others are said, for people to look at.
    assert_eq!(engines.contact(&phone).merged_into, Some(CellKey::of(TENANT, &family[0])));
    assert_eq!(engines.dead_reasons(), ["link_refused", "link_refused"]);
}

#[test]
fn no_contact_collects_identifiers_without_bound() {
    let (mut engines, wang) = (engines(), wecom("wmWang"));
    for number in 0..300 {
        engines.event(links(&youzan(&format!("yz{number:03}")), &wang, number));
    }
    assert_eq!(engines.contact(&wang).identities.len(), 1 + 256);
    assert_eq!(engines.dead_reasons(), ["link_refused"; 300 - 256]);
    // Who was refused is a contact of their own, and counts.
    let (last, paid) = (youzan("yz299"), pays(&youzan("yz299"), 1));
    engines.event(paid);
    assert_eq!((engines.contact(&last).merged_into, engines.contact(&last).tags.len()), (None, 1));
}

#[test]
fn two_who_have_many_identifiers_do_not_become_one_who_has_too_many() {
    let (mut engines, one, other) =
        (engines(), wecom("wmA"), IdKey::new(IdKind::WecomExternalUserid, "wwother", "wmB"));
    for number in 0..200 {
        engines.event(links(&youzan(&format!("a{number}")), &one, number));
        engines.event(links(&youzan(&format!("b{number}")), &other, 1_000 + number));
    }
    engines.event(links(&one, &other, 2_000));
    assert_eq!(engines.dead_reasons(), ["link_refused"]);
    assert_eq!((engines.contact(&one).identities.len(), engines.contact(&other).identities.len()), (201, 201));
    // As many as there is room for.
    let third = wecom("wmC");
    let third = IdKey::new(IdKind::WecomExternalUserid, "wwthird", &third.value);
    for number in 0..56 {
        engines.event(links(&youzan(&format!("c{number}")), &third, 3_000 + number));
    }
    engines.event(links(&one, &third, 4_000));
    assert_eq!(engines.dead_reasons().len(), 2);
    engines.event(links(&youzan("d"), &IdKey::new(IdKind::PhoneRef, "acme", "h1"), 5_000));
    engines.event(links(&IdKey::new(IdKind::PhoneRef, "acme", "h1"), &one, 5_001));
    let root = engines.contact(&one).merged_into.map_or(one.clone(), |to| to.id());
    assert_eq!((engines.contact(&root).identities.len(), engines.dead_reasons().len()), (203, 2));
}

#[test]
fn who_asks_before_the_first_has_come_is_counted_too() {
    let (mut engines, wang) = (engines(), wecom("wmWang"));
    let there = (partition_of(&wang) + 1) % PARTITIONS;
    let ids = (0..).map(|number| youzan(&format!("yz{number}"))).filter(|id| partition_of(id) == there);
    let ids: Vec<IdKey> = ids.take(300).collect();
    engines.slow(&wang, &ids[0]);
    for (number, id) in (0..).zip(&ids) {
        engines.event(links(&wang, id, number));
    }
    // All of them ask, and none is answered yet.
    for id in &ids {
        engines.arrives(&wang, id);
    }
    assert_eq!(engines.dead_reasons(), ["link_refused"; 300 - 256]);
    engines.all_arrive();
    assert_eq!(engines.contact(&wang).identities.len(), 1 + 256);
    // What was promised has come: nothing is left of it.
    engines.event(links(&youzan("more"), &wang, 900));
    assert_eq!((engines.contact(&wang).identities.len(), engines.dead_reasons().len()), (257, 45));
}

#[test]
fn nothing_is_lost_behind_the_longest_chain_that_links_can_make() {
    let mut engines = engines();
    let ids: Vec<IdKey> = (0..=256).map(|number| youzan(&format!("yz{number:03}"))).collect();
    // The lowest first: each becomes a forward to the next, and no chain gets shorter.
    for (number, pair) in (0..).zip(ids.windows(2).rev()) {
        engines.event(links(&pair[1], &pair[0], number));
    }
    assert_eq!(engines.contact(&ids[0]).identities.len(), 257);
    assert_eq!(engines.contact(&ids[256]).merged_into, Some(CellKey::of(TENANT, &ids[255])));
    let order = IdKey::new(IdKind::Order, "youzan:1", "E1");
    let paid = event(Kind::OrderPaid, "paid", at("2026-03-02T10:00:00"), vec![order, ids[256].clone()], &[]);
    engines.event(paid);
    assert_eq!((engines.contact(&ids[0]).tags.len(), engines.dead_reasons()), (1, vec![]));
    let (contact, remove) = (CellKey::of(TENANT, &ids[256]), vec![TagRef::new("购买", "已付款")]);
    engines.command("off", CommandBody::EditTags { contact, add: vec![], remove, reason: String::new() });
    assert_eq!((engines.contact(&ids[0]).tags.len(), engines.answers()), (0, vec!["accepted".to_owned()]));
}

#[test]
fn a_number_of_forwards_that_was_forged_ends_somewhere() {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    engines.event(links(&buyer, &wang, 1));
    let target = CellKey::of(TENANT, &buyer);
    let here = target.partition(PARTITIONS);
    let sequence = engines.parts[here as usize].engine.meta().loop_received[2] + 1;
    let origin = touchline_model::id::Position { partition: 2, offset: sequence };
    let body = LoopBody::Forward { target: target.clone(), event: Box::new(pays(&buyer, 1)), origin, hops: u16::MAX };
    let forged = Input::Loop(Box::new(Loop { source: 2, sequence, origin, clock: Time(0), body }));
    engines.append(here, Some(target.to_string()), Ok(forged));
    assert_eq!(engines.dead_reasons(), ["too_many_hops"]);
}

/// A loopback record as partition `source` would send it next, and with another number or to another partition.
#[test]
fn loopback_that_was_forged_or_numbered_wrongly_changes_nothing() {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    engines.event(pays(&wang, 1));
    let (target, from) = (CellKey::of(TENANT, &wang), CellKey::of(TENANT, &buyer));
    let here = target.partition(PARTITIONS);
    let before = engines.contact(&wang);
    let forged = |source: u32, sequence: u64| {
        let (into, snapshot, origin) = (target.clone(), Box::default(), engines.parts[0].log[0].offset);
        let origin = touchline_model::id::Position { partition: 0, offset: origin };
        let evidence = touchline_model::record::Evidence::Strong;
        let body = LoopBody::MergeIn { target: target.clone(), from: from.clone(), into, snapshot, evidence, origin };
        Input::Loop(Box::new(Loop { source, sequence, origin, clock: at("2026-03-02T09:00:00"), body }))
    };
    let next = engines.parts[here as usize].engine.meta().loop_received[1] + 1;
    let (ahead, unknown, repeated) = (forged(1, next + 1), forged(99, 1), forged(1, 0));
    let elsewhere = forged(1, next);
    engines.append(here, Some(target.to_string()), Ok(ahead));
    engines.append(here, Some(target.to_string()), Ok(unknown));
    engines.append(here, Some(target.to_string()), Ok(repeated));
    engines.append((here + 1) % PARTITIONS, Some(target.to_string()), Ok(elsewhere));
    assert_eq!(engines.dead_reasons(), ["loopback_gap", "loopback_forged", "misrouted"]);
    assert_eq!(engines.contact(&wang), before);
    // The lane goes on where it was.
    engines.event(links(&buyer, &wang, 1));
    assert_eq!(engines.contact(&buyer).merged_into, Some(target));
}

#[test]
fn an_event_that_passes_many_forwards_is_noted() {
    let mut engines = engines();
    let wang = wecom("wmWang");
    engines.event(pays(&wang, 1));
    let target = CellKey::of(TENANT, &wang);
    let here = target.partition(PARTITIONS) as usize;
    let mut noted = Vec::new();
    for hops in [1, HOPS_ALARM - 1, HOPS_ALARM, 200] {
        let part = &mut engines.parts[here];
        let sequence = part.engine.meta().loop_received[2] + 1;
        let origin = touchline_model::id::Position { partition: 2, offset: sequence };
        let event = Box::new(pays(&wang, u32::from(hops) + 10));
        let body = LoopBody::Forward { target: target.clone(), event, origin, hops };
        let input = Input::Loop(Box::new(Loop { source: 2, sequence, origin, clock: Time(0), body }));
        let (offset, append_time) = (part.log.len() as u64, engines.now);
        let record = Record { offset, append_time, key: Some(target.to_string()), input: Ok(input) };
        noted.push(part.apply(&record).notes.hops);
    }
    assert_eq!(noted, [1, HOPS_ALARM - 1, HOPS_ALARM, 200]);
}
