//! Somebody is not who was thought. Expected values: `design.md`, section 5 (unmerge is a compensating event), and what
//! `engine/src/parting.rs` says of each field.

use crate::support::*;
use touchline_model::command::CommandBody;
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::output::Contact;
use touchline_model::record::Evidence;
use touchline_model::value::Value;

const PLAYBOOK: &str = r#"
playbook: price-consideration
tag_groups:
  - {id: 阶段, exclusive: true, tags: [新客, 考虑, 成交]}
  - {id: 兴趣, tags: [奶粉, 纸尿裤]}
boards: [{id: 看板, group: 阶段, columns: [新客, 考虑, 成交]}]
keywords:
  价格: {any: [多少钱]}
  奶粉: {any: [奶粉]}
  纸尿裤: {any: [纸尿裤]}
rules:
  - {id: price, trigger: chat.message(text has 价格), do: [{set_tag: 阶段/考虑}]}
  - {id: milk, trigger: chat.message(text has 奶粉), do: [{set_tag: 兴趣/奶粉}]}
  - {id: diapers, trigger: chat.message(text has 纸尿裤), do: [{set_tag: 兴趣/纸尿裤}]}
  - {id: paid, trigger: order.paid, do: [{set_tag: 阶段/成交}]}
  # Nothing may react to a tag that leaves with somebody else.
  - {id: lost, trigger: tag_unset(阶段/成交), do: [{set_tag: 阶段/新客}]}
journeys:
  - id: welcome
    entry: {trigger: contact.added}
    steps: [{id: s1, after: 1d, touchpoint: dm, content: a}]
"#;

fn engines() -> Engines {
    let mut engines = Engines::new(PLAYBOOK, at("2026-03-02T08:00:00"));
    assert_eq!(engines.answers(), ["accepted"], "{:?}", engines.outputs);
    engines.outputs.clear();
    engines
}

fn says(who: &IdKey, text: &str, when: &str) -> Event {
    let fields = [("direction", "in"), ("text", text)];
    event(Kind::ChatMessage, &format!("{who:?}{when}"), at(when), vec![who.clone()], &fields)
}

fn pays(who: &IdKey, order: &IdKey, when: &str) -> Event {
    let subject = vec![who.clone(), order.clone()];
    event(Kind::OrderPaid, &format!("{who:?}{when}"), at(when), subject, &[("order_id", "E1")])
}

fn links(one: &IdKey, other: &IdKey, when: &str) -> Event {
    let ids = vec![one.clone(), other.clone()];
    event(Kind::IdentityLinked, &format!("{one:?}{other:?}{when}"), at(when), ids, &[("evidence", "strong")])
}

fn cell(id: &IdKey) -> CellKey {
    CellKey::of(TENANT, id)
}

fn tags(contact: &Contact) -> Vec<String> {
    contact.tags.iter().map(|tag| format!("{}/{}", tag.group, tag.tag)).collect()
}

fn ids(contact: &Contact) -> Vec<&IdKey> {
    contact.identities.iter().map(|identity| &identity.id).collect()
}

fn unlink(engines: &mut Engines, request: &str, contact: &IdKey, identifier: &IdKey) {
    let (contact, identifier) = (cell(contact), identifier.clone());
    engines.command(request, CommandBody::Unlink { contact, identifier, reason: "两个人".to_owned() });
}

fn link(engines: &mut Engines, request: &str, contact: &IdKey, identifier: &IdKey) {
    let (contact, identifier) = (cell(contact), identifier.clone());
    engines.command(request, CommandBody::Link { contact, identifier, reason: "同一个人".to_owned() });
}

/// Wang of WeCom and a buyer of Youzan who were linked at 10:00, each with a tag of their own.
fn linked() -> (Engines, IdKey, IdKey) {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    engines.event(says(&wang, "奶粉多少钱", "2026-03-02T09:00:00"));
    engines.event(says(&buyer, "纸尿裤", "2026-03-02T09:30:00"));
    engines.event(links(&buyer, &wang, "2026-03-02T10:00:00"));
    (engines, wang, buyer)
}

#[test]
fn a_link_says_who_joined_when_and_by_what() {
    let (engines, wang, buyer) = linked();
    let contact = engines.contact(&wang);
    assert_eq!(ids(&contact), [&wang, &buyer]);
    assert_eq!(contact.identities[0].joined, None);
    let joined = contact.identities[1].joined.as_ref().expect("joined");
    assert_eq!((&joined.into, joined.at), (&cell(&wang), at("2026-03-02T10:00:00")));
    // The event lies under the buyer's key.
    assert_eq!(joined.by.partition, cell(&buyer).partition(PARTITIONS));
    assert_eq!(contact.identities[1].evidence, Evidence::Strong);
}

#[test]
fn who_is_parted_takes_along_what_its_own_events_set() {
    let (mut engines, wang, buyer) = linked();
    let order = IdKey::new(touchline_model::id::IdKind::Order, "youzan:1", "E1");
    engines.event(pays(&buyer, &order, "2026-03-02T11:00:00"));
    engines.event(says(&wang, "纸尿裤", "2026-03-02T11:30:00"));
    assert_eq!(tags(&engines.contact(&wang)), ["兴趣/奶粉", "兴趣/纸尿裤", "阶段/成交"]);
    engines.outputs.clear();
    unlink(&mut engines, "u1", &wang, &buyer);
    assert_eq!(engines.answers(), ["accepted"]);
    // The payment was the buyer's. 纸尿裤 was the buyer's first: a tag that is there already keeps its cause.
    let (kept, parted) = (engines.contact(&wang), engines.contact(&buyer));
    assert_eq!(
        (tags(&kept), tags(&parted)),
        (vec!["兴趣/奶粉".to_owned()], vec!["兴趣/纸尿裤".to_owned(), "阶段/成交".to_owned()])
    );
    assert_eq!((ids(&kept), ids(&parted)), (vec![&wang], vec![&buyer]));
    assert_eq!((kept.merged_into, parted.merged_into), (None, None));
    assert_eq!(parted.tags[1].cause.rule, "rules/paid");
    assert_eq!(parted.tags[1].set_at, at("2026-03-02T11:00:00"));
    // Each change is said, once, with who said so; no rule reacts to it.
    let mut said: Vec<_> = engines
        .tag_changes()
        .iter()
        .map(|change| (change.contact.clone(), change.set.clone(), change.unset.clone()))
        .collect();
    said.sort();
    let mut expected = vec![
        (cell(&wang), None, Some("纸尿裤".to_owned())),
        (cell(&wang), None, Some("成交".to_owned())),
        (cell(&buyer), Some("纸尿裤".to_owned()), None),
        (cell(&buyer), Some("成交".to_owned()), None),
    ];
    expected.sort();
    assert_eq!(said, expected);
    let unset = engines.tag_changes().into_iter().find(|change| change.unset.is_some()).expect("said");
    assert_eq!(
        (unset.cause.kind.as_str(), unset.cause.actor.as_str(), unset.cause.reason.as_str()),
        ("contact.parted", "li", "两个人")
    );

    // From here on events are their own, also what the order passes on.
    engines.event(says(&buyer, "奶粉", "2026-03-02T12:00:00"));
    let shipped = event(Kind::OrderClosed, "closed", at("2026-03-02T12:10:00"), vec![order], &[("order_id", "E1")]);
    engines.event(shipped);
    let last = |contact: &Contact, name: &str| contact.past.happened.get(name).map(|happened| happened.last);
    assert_eq!(tags(&engines.contact(&buyer)), ["兴趣/奶粉", "兴趣/纸尿裤", "阶段/成交"]);
    assert_eq!(last(&engines.contact(&buyer), "order.closed"), Some(at("2026-03-02T12:10:00")));
    assert_eq!(last(&engines.contact(&wang), "order.closed"), None);
    assert_eq!(engines.contact(&wang).tags[0].set_at, at("2026-03-02T09:00:00"));
}

#[test]
fn what_was_joined_to_it_goes_along_and_what_is_planned_stays() {
    let (mut engines, wang, buyer) = linked();
    let (card, phone) = (tb("tbC"), unionid("ox1"));
    // The card's cell is a forward to the buyer's only by way of the contact: joined before, it goes along.
    let (mut before, _, _) = (self::engines(), (), ());
    before.event(says(&card, "奶粉", "2026-03-02T08:30:00"));
    before.event(links(&card, &buyer, "2026-03-02T08:40:00"));
    before.event(links(&buyer, &wang, "2026-03-02T10:00:00"));
    let chained = before.contact(&wang);
    assert_eq!(ids(&chained), [&wang, &buyer, &card]);
    unlink(&mut before, "u1", &wang, &buyer);
    assert_eq!(ids(&before.contact(&wang)), [&wang]);
    assert_eq!(ids(&before.contact(&buyer)), [&buyer, &card]);
    assert_eq!(tags(&before.contact(&buyer)), ["兴趣/奶粉"]);
    assert_eq!(before.contact(&card).merged_into, Some(cell(&buyer)));

    // Joined afterwards, through the contact: it stays.
    engines.event(links(&phone, &wang, "2026-03-02T10:30:00"));
    let added = [("staff", "zhang")];
    engines.event(event(Kind::ContactAdded, "added", at("2026-03-02T10:40:00"), vec![wang.clone()], &added));
    engines.outputs.clear();
    unlink(&mut engines, "u1", &wang, &buyer);
    let contact = engines.contact(&wang);
    assert_eq!(ids(&contact), [&wang, &phone]);
    assert_eq!(contact.owner.as_deref(), Some("zhang"));
    assert_eq!((engines.contact(&buyer).owner, engines.contact(&buyer).enrolments), (None, Vec::new()));
    engines.advance(at("2026-03-03T12:00:00"));
    assert_eq!(engines.touch_lines(), ["s1 due 2026-03-03T10:40:00"]);
}

#[test]
fn no_event_joins_again_what_somebody_parted_but_somebody_may() {
    let (mut engines, wang, buyer) = linked();
    unlink(&mut engines, "u1", &wang, &buyer);
    engines.outputs.clear();
    // By the same two, and by way of identifiers that joined either of them since.
    let third = unionid("ox1");
    engines.event(links(&wang, &buyer, "2026-03-02T11:00:00"));
    engines.event(links(&third, &wang, "2026-03-02T11:10:00"));
    engines.event(links(&third, &buyer, "2026-03-02T11:20:00"));
    let card = tb("tbC");
    engines.event(links(&card, &buyer, "2026-03-02T11:30:00"));
    engines.event(links(&wang, &card, "2026-03-02T11:40:00"));
    assert_eq!(engines.contact(&buyer).merged_into, None);
    assert_eq!(ids(&engines.contact(&wang)), [&wang, &third]);
    // Each of them is for people to look at.
    assert_eq!(engines.dead_reasons(), ["link_refused"; 3]);

    link(&mut engines, "l1", &wang, &buyer);
    let contact = engines.contact(&wang);
    assert_eq!(ids(&contact), [&wang, &third, &buyer, &card]);
    assert_eq!((contact.identities[2].evidence, contact.identities[3].evidence), (Evidence::Manual, Evidence::Strong));
    // Parted and joined again is as never parted: an event joins further identifiers as before.
    let further = tb("tbD");
    engines.event(links(&further, &buyer, "2026-03-02T12:00:00"));
    assert_eq!(ids(&engines.contact(&wang)), [&wang, &third, &buyer, &card, &further]);
}

#[test]
fn nobody_joins_two_unionids_by_hand() {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    engines.event(links(&unionid("ox1"), &wang, "2026-03-02T09:00:00"));
    engines.event(links(&unionid("ox2"), &buyer, "2026-03-02T09:00:01"));
    engines.outputs.clear();
    link(&mut engines, "l1", &wang, &buyer);
    assert_eq!((engines.answers(), engines.dead_reasons()), (vec!["accepted".to_owned()], vec!["link_refused"]));
    assert_eq!(engines.contact(&buyer).merged_into, None);
}

#[test]
fn commands_that_make_no_sense_are_refused() {
    let (mut engines, wang, buyer) = linked();
    engines.outputs.clear();
    unlink(&mut engines, "1", &wang, &wang);
    unlink(&mut engines, "2", &wang, &tb("nobody"));
    unlink(&mut engines, "3", &wecom("nobody"), &buyer);
    link(&mut engines, "4", &wang, &buyer);
    link(&mut engines, "5", &wang, &wang);
    link(&mut engines, "6", &wecom("nobody"), &buyer);
    let expected =
        ["own_identifier:", "not_linked:", "no_contact:", "already_linked:", "already_linked:", "no_contact:"];
    assert_eq!(engines.answers(), expected);
    // Named by the identifier that is a forward, a command finds the contact.
    unlink(&mut engines, "7", &buyer, &buyer);
    assert_eq!(engines.answers().last().map(String::as_str), Some("accepted"));
    assert_eq!(engines.contact(&buyer).merged_into, None);
}

#[test]
fn a_channel_can_say_that_two_are_no_longer_one() {
    let (mut engines, wang, buyer) = linked();
    engines.outputs.clear();
    let ids = vec![buyer.clone(), wang.clone()];
    engines.event(event(Kind::IdentityUnlinked, "u", at("2026-03-02T11:00:00"), ids, &[]));
    assert_eq!(engines.contact(&buyer).merged_into, None);
    assert_eq!(tags(&engines.contact(&buyer)), ["兴趣/纸尿裤"]);
    assert_eq!(tags(&engines.contact(&wang)), ["兴趣/奶粉", "阶段/考虑"]);
    // Of what was never joined nothing changes.
    let strangers = vec![tb("a"), tb("b")];
    engines.event(event(Kind::IdentityUnlinked, "u2", at("2026-03-02T11:00:01"), strangers, &[]));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
}

#[test]
fn a_question_that_is_refused_takes_back_no_promise_of_an_earlier_one() {
    // Y, who is U, was granted by W. While that grant is on its way, D is about to become Y, and K, from whom somebody
    // has parted D, becomes W: Y's next question is refused. But D goes elsewhere: Y is again whom W has granted.
    let (w, y, d) = (on(0, wecom), on(1, tb), on(2, |value| IdKey::new(IdKind::MemberCard, "shop", value)));
    let (k, z, u, v) = (on(3, youzan), youzan("z"), on(3, unionid), unionid("v"));
    let mut engines = engines();
    engines.event(links(&d, &k, "2026-03-02T09:00:00"));
    unlink(&mut engines, "u1", &k, &d);
    engines.event(links(&u, &y, "2026-03-02T09:10:00"));
    engines.event(links(&unionid("of z"), &z, "2026-03-02T09:10:00"));
    for (from, to) in [(&w, &y), (&y, &w), (&y, &d)] {
        engines.slow(from, to);
    }
    // Y asks W as U alone, and is granted.
    engines.event(links(&w, &y, "2026-03-02T09:20:00"));
    engines.arrives(&w, &y);
    engines.arrives(&y, &w);
    // D asks Y and is granted; then Y asks W again, because W has heard of U.
    engines.event(links(&y, &d, "2026-03-02T09:30:00"));
    engines.arrives(&y, &d);
    engines.event(links(&w, &u, "2026-03-02T09:40:00"));
    // K becomes W before that arrives.
    engines.event(links(&k, &w, "2026-03-02T09:50:00"));
    engines.outputs.clear();
    engines.arrives(&y, &w);
    assert_eq!(engines.dead_reasons(), ["link_refused"], "D and K were parted");
    // D goes to Z, who is nobody that Y could be.
    engines.event(links(&z, &d, "2026-03-02T10:00:00"));
    engines.arrives(&y, &d);
    assert_eq!(engines.contact(&d).merged_into, Some(cell(&z)));
    engines.event(links(&v, &w, "2026-03-02T10:10:00"));
    engines.all_arrive();
    assert_eq!(ids(&engines.contact(&w)), [&w, &k, &y, &u]);
    assert_eq!(ids(&engines.contact(&v)), [&v]);
    assert_eq!(engines.dead_reasons(), ["link_refused"; 3]);
}

#[test]
fn who_was_parted_comes_back_only_behind_what_they_said_before() {
    // The buyer asks for the price and is parted while that is on its way. Then the buyer pays, and Wang turns out to
    // be the card, and somebody says that the card is the buyer after all: the price comes last, by way of Wang.
    let (card, wang, buyer) = (on(0, wecom), on(1, youzan), on(2, tb));
    let order = IdKey::new(IdKind::Order, "youzan:1", "E1");
    let mut engines = engines();
    engines.event(links(&buyer, &wang, "2026-03-02T09:00:00"));
    engines.slow(&buyer, &wang);
    engines.event(says(&buyer, "多少钱", "2026-03-02T10:00:00"));
    unlink(&mut engines, "u1", &wang, &buyer);
    engines.event(pays(&buyer, &order, "2026-03-02T10:10:00"));
    engines.event(links(&card, &wang, "2026-03-02T10:20:00"));
    assert_eq!(ids(&engines.contact(&card)), [&card, &wang]);
    engines.outputs.clear();
    link(&mut engines, "l1", &card, &buyer);
    // Not yet: the price would overtake the payment. Nor can anybody else be parted before it is known whose it is.
    assert_eq!((engines.answers(), engines.dead_reasons()), (vec!["accepted".to_owned()], vec!["link_refused"]));
    unlink(&mut engines, "u2", &card, &wang);
    assert_eq!(engines.answers().last().map(String::as_str), Some("merging:"));
    engines.all_arrive();
    // What was said before stays where it was on its way to.
    assert_eq!(tags(&engines.contact(&card)), ["阶段/考虑"]);
    assert_eq!(tags(&engines.contact(&buyer)), ["阶段/成交"]);
    link(&mut engines, "l2", &card, &buyer);
    let contact = engines.contact(&card);
    assert_eq!((ids(&contact), tags(&contact)), (vec![&card, &wang, &buyer], vec!["阶段/成交".to_owned()]));
    unlink(&mut engines, "u3", &card, &buyer);
    assert_eq!(engines.answers().last().map(String::as_str), Some("accepted"));
}

#[test]
fn tags_that_left_with_somebody_come_back_with_them() {
    let (mut engines, wang, buyer) = linked();
    unlink(&mut engines, "u1", &wang, &buyer);
    assert_eq!(tags(&engines.contact(&wang)), ["兴趣/奶粉", "阶段/考虑"]);
    assert!(engines.contact(&wang).past.gone.is_empty(), "nobody took it off");
    link(&mut engines, "l1", &wang, &buyer);
    assert_eq!(tags(&engines.contact(&wang)), ["兴趣/奶粉", "兴趣/纸尿裤", "阶段/考虑"]);
}

#[test]
fn whoever_of_two_has_said_no_a_parting_takes_it_from_neither() {
    let (mut engines, wang, buyer) = linked();
    for (scope, granted) in [("sms", false), ("call", true)] {
        let mut said =
            event(Kind::ConsentMarketing, scope, at("2026-03-02T11:00:00"), vec![buyer.clone()], &[("scope", scope)]);
        said.fields.set("granted", Value::Bool(granted));
        engines.event(said);
    }
    unlink(&mut engines, "u1", &wang, &buyer);
    let consents = |id| engines.contact(id).past.consents.into_iter().map(|(scope, said)| (scope, said.granted));
    let said = |scope: &str, granted| (scope.to_owned(), granted);
    assert_eq!(consents(&wang).collect::<Vec<_>>(), [said("call", true), said("sms", false)]);
    assert_eq!(consents(&buyer).collect::<Vec<_>>(), [said("sms", false)]);
}
