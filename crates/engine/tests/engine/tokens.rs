//! Tokens: `channels.md`, section 6 (a token made for one order or person, used once, is medium evidence).

use crate::support::*;
use touchline_model::command::CommandBody;
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::Evidence;
use touchline_model::token;

const PLAYBOOK: &str = r#"
playbook: price-consideration
tag_groups:
  - {id: 购买, tags: [已付款]}
rules:
  - {id: paid, trigger: order.paid, do: [{set_tag: 购买/已付款}]}
"#;

const STATE: &str = "t.k3Jq9";

fn order() -> IdKey {
    IdKey::new(IdKind::Order, "taobao:shop1", "612055618715866263")
}

fn engines() -> Engines {
    Engines::new(PLAYBOOK, at("2026-03-02T08:00:00"))
}

/// Makes the token, good until the end of the tenth.
fn mint(engines: &mut Engines, bearer: &IdKey) {
    let token = token::cell_of(TENANT, STATE).expect("a token");
    let expires_at = at("2026-03-10T23:59:59");
    engines.outputs.clear();
    engines.command(&format!("mint{bearer:?}"), CommandBody::MintToken { token, bearer: bearer.clone(), expires_at });
}

fn adds(who: &IdKey, state: &str, when: &str) -> Event {
    let fields = [("staff", "zhang"), ("state", state)];
    event(Kind::ContactAdded, &format!("{who:?}{when}"), at(when), vec![who.clone()], &fields)
}

fn pays(buyer: &IdKey, when: &str) -> Event {
    event(Kind::OrderPaid, &format!("{buyer:?}{when}"), at(when), vec![buyer.clone(), order()], &[])
}

/// The event at a position of the log.
fn said_at(engines: &Engines, by: touchline_model::id::Position) -> Option<Kind> {
    let record = engines.parts[by.partition as usize].log.get(usize::try_from(by.offset).expect("small"))?;
    match &record.input {
        Ok(touchline_model::record::Input::Event(event)) => Some(event.kind),
        _ => None,
    }
}

fn ids(engines: &Engines, of: &IdKey) -> Vec<(IdKey, Evidence)> {
    engines.contact(of).identities.into_iter().map(|known| (known.id, known.evidence)).collect()
}

fn tags(engines: &Engines, of: &IdKey) -> usize {
    engines.contact(of).tags.len()
}

#[test]
fn who_adds_staff_by_the_card_in_the_parcel_is_the_buyer_whatever_comes_first() {
    let (wang, buyer) = (wecom("wmWang"), tb("tbB"));
    let expected = [(wang.clone(), Evidence::Strong), (buyer.clone(), Evidence::Medium)];
    for order_of in [[0, 1], [1, 0]] {
        let mut engines = engines();
        mint(&mut engines, &order());
        assert_eq!(engines.answers(), ["accepted"]);
        for step in order_of {
            match step {
                0 => engines.event(pays(&buyer, "2026-03-02T09:00:00")),
                _ => engines.event(adds(&wang, STATE, "2026-03-02T09:00:00")),
            }
        }
        assert_eq!(ids(&engines, &wang), expected, "{order_of:?}");
        assert_eq!((tags(&engines, &wang), engines.dead_reasons().len()), (1, 0), "{order_of:?}");
        // What joined them is the add that brought the token, in either order.
        let joined = engines.contact(&wang).identities[1].joined.clone().expect("joined");
        assert_eq!(said_at(&engines, joined.by), Some(Kind::ContactAdded), "{order_of:?}");
        // What names the order alone finds the person too.
        engines.event(event(Kind::OrderShipped, "s", at("2026-03-03T09:00:00"), vec![order()], &[]));
        assert!(engines.contact(&wang).past.happened.contains_key("order.shipped"));
    }
}

#[test]
fn a_token_for_a_visitor_joins_what_they_clicked() {
    let (mut engines, wang) = (engines(), wecom("wmWang"));
    let visitor = IdKey::new(IdKind::ClickVisitor, "go.acme.example", "v-1");
    engines.event(event(
        Kind::ContentClicked,
        "c",
        at("2026-03-02T09:00:00"),
        vec![visitor.clone()],
        &[("content_id", "price")],
    ));
    mint(&mut engines, &visitor);
    engines.event(adds(&wang, STATE, "2026-03-02T09:10:00"));
    assert_eq!(engines.contact(&visitor).merged_into, Some(CellKey::of(TENANT, &wang)));
    assert!(engines.contact(&wang).past.happened.contains_key("content.clicked"));
}

#[test]
fn a_link_that_carries_a_token_joins_the_first_who_opens_it() {
    let (mut engines, wang) = (engines(), wecom("wmWang"));
    engines.event(adds(&wang, "双十一", "2026-03-02T08:30:00"));
    mint(&mut engines, &wang);
    let visitor = |name: &str| IdKey::new(IdKind::ClickVisitor, "go.acme.example", name);
    let clicks = |who: &IdKey, when: &str| {
        event(Kind::ContentClicked, when, at(when), vec![who.clone()], &[("content_id", "price"), ("state", STATE)])
    };
    engines.event(clicks(&visitor("first"), "2026-03-02T09:00:00"));
    engines.event(clicks(&visitor("first"), "2026-03-02T09:01:00"));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
    // Passed on to a friend: anonymous, and said.
    engines.event(clicks(&visitor("friend"), "2026-03-02T09:02:00"));
    assert_eq!(engines.contact(&visitor("first")).merged_into, Some(CellKey::of(TENANT, &wang)));
    assert_eq!(engines.contact(&visitor("friend")).merged_into, None);
    assert_eq!(engines.dead_reasons(), ["token_refused"]);
}

#[test]
fn tokens_that_are_used_expired_or_nobodys_join_nobody() {
    let (wang, li, buyer) = (wecom("wmWang"), wecom("wmLi"), tb("tbB"));
    let mut engines = engines();
    engines.event(pays(&buyer, "2026-03-02T08:10:00"));
    engines.event(adds(&li, STATE, "2026-03-02T08:20:00"));
    assert_eq!(engines.dead_reasons(), ["token_refused"], "never made");
    mint(&mut engines, &order());
    // Event time counts: this one came late, but was in time.
    engines.advance(at("2026-03-20T00:00:00"));
    engines.event(adds(&wang, STATE, "2026-03-10T12:00:00"));
    assert_eq!(engines.contact(&buyer).merged_into, Some(CellKey::of(TENANT, &wang)));
    let other = wecom("wmOther");
    engines.event(adds(&other, STATE, "2026-03-10T12:30:00"));
    assert_eq!((ids(&engines, &other).len(), engines.dead_reasons()), (1, vec!["token_refused"]));

    let mut engines = self::engines();
    mint(&mut engines, &order());
    engines.event(pays(&buyer, "2026-03-02T08:10:00"));
    engines.event(adds(&wang, STATE, "2026-03-11T00:00:00"));
    assert_eq!((ids(&engines, &wang).len(), engines.dead_reasons()), (1, vec!["token_refused"]), "expired");
    // Made once.
    mint(&mut engines, &buyer);
    assert_eq!(engines.answers(), ["token_taken:"]);
}

#[test]
fn a_token_does_not_join_two_people_of_one_corp() {
    let (mut engines, wang, li, buyer) = (engines(), wecom("wmWang"), wecom("wmLi"), tb("tbB"));
    engines.event(pays(&buyer, "2026-03-02T08:10:00"));
    let both = vec![buyer, li.clone()];
    engines.event(event(Kind::IdentityLinked, "l", at("2026-03-02T08:20:00"), both, &[("evidence", "strong")]));
    mint(&mut engines, &order());
    engines.event(adds(&wang, STATE, "2026-03-02T09:00:00"));
    assert_eq!((ids(&engines, &wang).len(), ids(&engines, &li).len()), (1, 2));
    assert_eq!(engines.dead_reasons(), ["link_refused"]);
}
