//! Two contacts turn out to be one person. Expected values follow from `design.md`, section 5: what an engine that had
//! known the link from the start would hold, and no touch twice.

use crate::support::*;
use touchline_model::command::{CommandBody, TagRef};
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey};
use touchline_model::kind::Kind;
use touchline_model::output::{Contact, Stage};

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
journeys:
  - id: welcome
    entry: {trigger: contact.added}
    exit: {trigger: order.closed}
    goal: {trigger: order.paid, within: 30d}
    steps:
      - {id: s1, after: 1h, touchpoint: dm, content: a}
      - {id: s2, after: 1h, touchpoint: dm, content: b}
      - {id: s3, after: 1d, touchpoint: dm, content: c}
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

fn added(who: &IdKey, staff: &str, when: &str) -> Event {
    event(Kind::ContactAdded, &format!("{who:?}{when}"), at(when), vec![who.clone()], &[("staff", staff)])
}

fn pays(who: &IdKey, when: &str) -> Event {
    event(Kind::OrderPaid, &format!("{who:?}{when}"), at(when), vec![who.clone()], &[("order_id", "E1")])
}

fn links(one: &IdKey, other: &IdKey, when: &str) -> Event {
    let ids = vec![one.clone(), other.clone()];
    event(Kind::IdentityLinked, &format!("{one:?}{other:?}"), at(when), ids, &[("evidence", "strong")])
}

fn tags(contact: &Contact) -> Vec<String> {
    let zone = touchline_model::time::Zone::SHANGHAI;
    let each = contact.tags.iter().map(|tag| format!("{}/{} {}", tag.group, tag.tag, zone.format(tag.set_at)));
    each.map(|line| line.trim_end_matches(":00+08:00").to_owned()).collect()
}

fn ids(contact: &Contact) -> Vec<&IdKey> {
    contact.identities.iter().map(|identity| &identity.id).collect()
}

#[test]
fn tags_are_united_and_the_latest_of_an_exclusive_group_stays() {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    engines.event(says(&buyer, "奶粉多少钱", "2026-03-02T09:00:00"));
    engines.event(pays(&wang, "2026-03-02T10:00:00"));
    engines.event(says(&wang, "纸尿裤和奶粉", "2026-03-02T11:00:00"));
    engines.outputs.clear();
    engines.event(links(&buyer, &wang, "2026-03-02T12:00:00"));
    let contact = engines.contact(&wang);
    // 成交 at 10:00 is later than 考虑 at 9:00; 奶粉 was set last at 11:00, by whom does not matter.
    assert_eq!(
        tags(&contact),
        ["兴趣/奶粉 2026-03-02T11:00", "兴趣/纸尿裤 2026-03-02T11:00", "阶段/成交 2026-03-02T10:00"]
    );
    assert_eq!(ids(&contact), [&wang, &buyer]);
    assert_eq!((contact.first_seen, contact.last_seen), (at("2026-03-02T09:00:00"), at("2026-03-02T11:00:00")));
    let last_paid = contact.past.happened.get("order.paid").map(|happened| happened.last);
    assert_eq!(last_paid, Some(at("2026-03-02T10:00:00")));
    assert_eq!(engines.contact(&buyer).merged_into, Some(CellKey::of(TENANT, &wang)));
    assert_eq!(engines.contact(&buyer).tags, []);
    // Nothing that was there has changed, so nothing is said.
    assert_eq!((engines.tag_changes().len(), engines.dead_reasons().len()), (0, 0));
}

#[test]
fn a_later_stage_moves_the_card_and_says_why_it_was_set() {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    engines.event(says(&wang, "多少钱", "2026-03-02T09:00:00"));
    engines.event(pays(&buyer, "2026-03-02T10:00:00"));
    engines.outputs.clear();
    engines.event(links(&wang, &buyer, "2026-03-02T12:00:00"));
    let contact = engines.contact(&wang);
    let column = |column: &str, when| Stage { board: "看板".into(), column: column.into(), entered_at: at(when) };
    assert_eq!(contact.stages, [column("成交", "2026-03-02T10:00:00")]);
    let changes = engines.tag_changes();
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(change.contact, CellKey::of(TENANT, &wang));
    assert_eq!((change.set.as_deref(), change.unset.as_deref()), (Some("成交"), Some("考虑")));
    assert_eq!((change.moves[0].from.as_deref(), change.moves[0].to.as_deref()), (Some("考虑"), Some("成交")));
    // Why: the rule that saw the payment, where it lies in the log.
    assert_eq!(change.cause.rule, "rules/paid");
    assert_eq!(change.cause.position.partition, CellKey::of(TENANT, &buyer).partition(PARTITIONS));
    assert_eq!(contact.tags[0].cause, change.cause);
}

#[test]
fn an_end_is_the_same_in_any_order_of_links_and_events() {
    let (wang, buyer, card) = (wecom("wmWang"), youzan("yzB"), tb("tbC"));
    let happened = [
        says(&wang, "奶粉", "2026-03-02T09:00:00"),
        pays(&buyer, "2026-03-02T09:10:00"),
        says(&card, "纸尿裤多少钱", "2026-03-02T09:20:00"),
    ];
    let linked = [
        links(&wang, &buyer, "2026-03-02T10:00:00"),
        links(&buyer, &card, "2026-03-02T10:00:00"),
        links(&card, &wang, "2026-03-02T10:00:00"),
    ];
    let mut ends = Vec::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut engines = engines();
        happened.iter().for_each(|event| engines.event(event.clone()));
        // The last link says what the others have said: nothing changes any more.
        order.iter().for_each(|link| engines.event(linked[*link].clone()));
        assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
        let contact = engines.contact(&wang);
        assert_eq!(ids(&contact).len(), 3);
        ends.push((tags(&contact), contact.first_seen, contact.last_seen, contact.past));
    }
    let expected = ["兴趣/奶粉 2026-03-02T09:00", "兴趣/纸尿裤 2026-03-02T09:20", "阶段/考虑 2026-03-02T09:20"];
    assert_eq!(ends[0].0, expected);
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}

#[test]
fn the_journey_of_one_goes_on_for_both_and_what_waited_there_has_a_new_name() {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    engines.event(added(&buyer, "zhang", "2026-03-02T09:00:00"));
    engines.advance(at("2026-03-02T10:30:00"));
    assert_eq!(engines.touch_lines(), ["s1 due 2026-03-02T10:00:00"]);
    let first = engines.touches()[0].id.clone();
    engines.event(links(&wang, &buyer, "2026-03-02T10:40:00"));
    assert_eq!(
        engines.touch_lines()[1..],
        [
            // Where it was: nothing goes out any more.
            "s1 cancelled(merged) 2026-03-02T10:00:00",
            "s2 cancelled(merged) 2026-03-02T11:00:00",
            "s3 cancelled(merged) 2026-03-03T11:00:00",
            // Where it goes on: what was due still is.
            "s1 due 2026-03-02T10:00:00",
        ]
    );
    let stands = engines.touches().into_iter().last().expect("said").clone();
    assert_eq!((stands.replaces, stands.contact), (Some(first.clone()), CellKey::of(TENANT, &wang)));
    assert_eq!(stands.executor.as_deref(), Some("zhang"));
    engines.outputs.clear();
    // Staff had sent it under its old name: the report comes to the old cell and counts.
    let report = event(
        Kind::TouchSent,
        "sent",
        at("2026-03-02T10:50:00"),
        vec![buyer],
        &[("touch_id", first.as_str()), ("staff", "zhang")],
    );
    engines.event(report);
    engines.advance(at("2026-03-05T00:00:00"));
    assert_eq!(
        engines.touch_lines(),
        [
            "s2 due 2026-03-02T11:00:00",
            // A day later s2 expires at the moment at which s3 is due.
            "s2 missed(expired) 2026-03-02T11:00:00",
            "s3 due 2026-03-03T11:00:00",
            "s3 missed(expired) 2026-03-03T11:00:00",
        ]
    );
}

#[test]
fn both_inside_is_one_enrolment_from_the_first_entry_and_no_step_goes_out_twice() {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    engines.event(added(&buyer, "zhang", "2026-03-02T09:00:00"));
    engines.event(added(&wang, "li", "2026-03-02T10:30:00"));
    engines.advance(at("2026-03-02T11:10:00"));
    assert_eq!(engines.touch_lines(), ["s1 due 2026-03-02T10:00:00", "s2 due 2026-03-02T11:00:00"]);
    engines.outputs.clear();
    engines.event(links(&wang, &buyer, "2026-03-02T11:20:00"));
    assert_eq!(
        engines.touch_lines(),
        [
            "s1 cancelled(merged) 2026-03-02T10:00:00",
            "s2 cancelled(merged) 2026-03-02T11:00:00",
            "s3 cancelled(merged) 2026-03-03T11:00:00",
            // Wang was planned to get s1 at 11:30 and s2 at 12:30: the person has had both.
            "s1 cancelled(merged) 2026-03-02T11:30:00",
            "s2 cancelled(merged) 2026-03-02T12:30:00",
            // They are due still, for one who has not confirmed them.
            "s1 due 2026-03-02T10:00:00",
            "s2 due 2026-03-02T11:00:00",
        ]
    );
    engines.outputs.clear();
    engines.advance(at("2026-03-03T12:00:00"));
    let due: Vec<String> = engines.touch_lines().into_iter().filter(|line| line.contains(" due ")).collect();
    assert_eq!(due, ["s3 due 2026-03-03T11:00:00"]);
    let enrolment = &engines.contact(&wang).enrolments[0];
    assert_eq!((enrolment.number, enrolment.entered_at), (2, at("2026-03-02T09:00:00")));
}

#[test]
fn a_goal_of_one_ends_the_journey_of_the_other() {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    engines.event(added(&wang, "li", "2026-03-02T09:00:00"));
    engines.event(added(&buyer, "zhang", "2026-03-02T09:10:00"));
    engines.event(pays(&buyer, "2026-03-02T09:20:00"));
    engines.outputs.clear();
    engines.event(links(&wang, &buyer, "2026-03-02T09:30:00"));
    assert_eq!(
        engines.touch_lines(),
        [
            "s1 cancelled(goal) 2026-03-02T10:00:00",
            "s2 cancelled(goal) 2026-03-02T11:00:00",
            "s3 cancelled(goal) 2026-03-03T11:00:00",
        ]
    );
    let enrolment = &engines.contact(&wang).enrolments[0];
    assert_eq!(enrolment.ended, Some(("goal".to_owned(), at("2026-03-02T09:20:00"))));
    assert!(enrolment.goal_reached);
}

#[test]
fn what_comes_under_the_old_name_is_for_the_contact_that_goes_on() {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    engines.event(says(&buyer, "奶粉", "2026-03-02T09:00:00"));
    engines.event(says(&wang, "纸尿裤", "2026-03-02T09:00:00"));
    engines.event(links(&buyer, &wang, "2026-03-02T09:30:00"));
    engines.event(pays(&buyer, "2026-03-02T10:00:00"));
    assert_eq!(engines.contact(&wang).stages[0].column, "成交");
    // A chain: a third one joins the one that is a forward now.
    engines.event(pays(&tb("tbC"), "2026-03-02T10:10:00"));
    engines.event(links(&tb("tbC"), &buyer, "2026-03-02T10:20:00"));
    engines.event(says(&tb("tbC"), "多少钱", "2026-03-02T10:30:00"));
    let contact = engines.contact(&wang);
    assert_eq!((contact.stages[0].column.as_str(), contact.identities.len()), ("考虑", 3));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
}

#[test]
fn a_promise_to_a_cell_that_went_elsewhere_is_given_back() {
    // The shop id is asked for by two people at once, neither of whom is the other. It merges into one of them; the
    // other must not go on holding the union id that came with it.
    let (mut engines, wang, li, buyer) = (engines(), wecom("wmWang"), wecom("wmLi"), youzan("yzB"));
    engines.event(links(&wang, &buyer, "2026-03-02T09:00:00"));
    engines.event(links(&li, &buyer, "2026-03-02T09:10:00"));
    assert_eq!(engines.dead_reasons(), ["link_refused"], "two customers of one corp are two people");
    engines.event(links(&buyer, &unionid("u1"), "2026-03-02T09:20:00"));
    engines.event(links(&li, &unionid("u2"), "2026-03-02T09:30:00"));
    assert_eq!(ids(&engines.contact(&wang)), [&wang, &buyer, &unionid("u1")]);
    assert_eq!(ids(&engines.contact(&li)), [&li, &unionid("u2")]);
    assert_eq!(engines.dead_reasons(), ["link_refused"]);
}

#[test]
fn a_promise_stands_while_who_was_promised_is_still_on_the_way() {
    // U was granted by Y and comes by way of Y, which has merged into W with the promise to U. A second grant, by W for
    // a second question of U, finds U gone to Y: giving back that one must not take the first one back, for U itself is
    // still on its way when V asks.
    let (w, y, u, v) = (on(0, wecom), on(1, youzan), on(2, unionid), on(3, unionid));
    let mut engines = engines();
    for (from, to) in [(&y, &u), (&u, &y), (&y, &w)] {
        engines.slow(from, to);
    }
    engines.event(links(&y, &u, "2026-03-02T09:00:00"));
    engines.event(links(&u, &y, "2026-03-02T09:00:00"));
    engines.arrives(&u, &y);
    // U hears of Y from both events, and asks twice; the first question is granted.
    engines.arrives(&y, &u);
    engines.arrives(&y, &u);
    engines.arrives(&u, &y);
    // Y asks W, is granted and merges.
    engines.event(links(&w, &y, "2026-03-02T09:10:00"));
    engines.arrives(&y, &w);
    engines.arrives(&y, &w);
    assert_eq!(ids(&engines.contact(&w)), [&w, &y]);
    // The first grant: U becomes a forward to Y. The second question overtakes it between Y and W.
    engines.arrives(&y, &u);
    assert_eq!(engines.contact(&u).merged_into, Some(CellKey::of(TENANT, &y)));
    engines.arrives(&u, &y);
    engines.arrives(&y, &w);
    engines.event(links(&v, &w, "2026-03-02T09:20:00"));
    engines.all_arrive();
    assert_eq!(ids(&engines.contact(&w)), [&w, &y, &u]);
    assert_eq!(ids(&engines.contact(&v)), [&v]);
    assert_eq!(engines.dead_reasons(), ["link_refused"]);
}

#[test]
fn promises_of_two_that_become_one_are_both_kept() {
    // Y was granted by H while it was nobody in particular, and by W when it was U too. H merges into W: its promise,
    // of nothing, must not replace the one of U.
    let (w, y, h, u, v) = (on(0, wecom), on(1, tb), on(2, youzan), on(3, unionid), unionid("v"));
    let mut engines = engines();
    engines.slow(&h, &y);
    engines.slow(&w, &y);
    engines.event(links(&h, &y, "2026-03-02T09:00:00"));
    engines.arrives(&h, &y);
    engines.event(links(&y, &u, "2026-03-02T09:10:00"));
    assert_eq!(ids(&engines.contact(&y)), [&y, &u]);
    engines.event(links(&y, &w, "2026-03-02T09:20:00"));
    engines.arrives(&w, &y);
    // Both have granted, and neither grant has arrived.
    engines.event(links(&h, &w, "2026-03-02T09:30:00"));
    assert_eq!(ids(&engines.contact(&w)), [&w, &h]);
    engines.event(links(&v, &w, "2026-03-02T09:40:00"));
    engines.all_arrive();
    let contact = engines.contact(&w);
    assert_eq!(ids(&contact), [&w, &h, &y, &u]);
    assert_eq!(ids(&engines.contact(&v)), [&v]);
    assert_eq!(engines.dead_reasons(), ["link_refused"]);
}

/// Puts a tag on or takes it off, by the hand of staff.
fn edits(engines: &mut Engines, who: &IdKey, tag: &str, is_set: bool, when: &str) {
    engines.advance(at(when));
    let tag = TagRef::parse(tag).expect("a tag");
    let (add, remove) = if is_set { (vec![tag], Vec::new()) } else { (Vec::new(), vec![tag]) };
    let contact = CellKey::of(TENANT, who);
    let request = format!("{who:?}{add:?}{remove:?}{when}");
    engines.command(&request, CommandBody::EditTags { contact, add, remove, reason: String::new() });
    assert_eq!(engines.answers().last().map(String::as_str), Some("accepted"));
}

#[test]
fn what_was_taken_off_last_stays_off_in_any_order_of_links() {
    let (wang, buyer, card) = (wecom("wmWang"), youzan("yzB"), tb("tbC"));
    let run = |links_of: &[(&IdKey, &IdKey)]| {
        let mut engines = engines();
        engines.event(says(&wang, "奶粉多少钱", "2026-03-02T09:00:00"));
        engines.event(says(&buyer, "奶粉纸尿裤多少钱", "2026-03-02T09:10:00"));
        engines.event(says(&card, "纸尿裤", "2026-03-02T09:20:00"));
        edits(&mut engines, &card, "兴趣/纸尿裤", false, "2026-03-02T09:30:00");
        edits(&mut engines, &wang, "兴趣/奶粉", false, "2026-03-02T09:40:00");
        edits(&mut engines, &buyer, "兴趣/奶粉", false, "2026-03-02T09:50:00");
        edits(&mut engines, &buyer, "兴趣/奶粉", true, "2026-03-02T10:00:00");
        edits(&mut engines, &wang, "阶段/考虑", false, "2026-03-02T10:10:00");
        engines.outputs.clear();
        for (one, other) in links_of {
            engines.event(links(one, other, "2026-03-02T12:00:00"));
        }
        engines.contact(&wang)
    };
    for all in [
        [(&wang, &buyer), (&wang, &card)],
        [(&wang, &card), (&wang, &buyer)],
        [(&buyer, &card), (&wang, &buyer)],
        [(&buyer, &card), (&card, &wang)],
    ] {
        let contact = run(&all);
        // 奶粉 was set again after both had lost it; 纸尿裤 and the stage were taken off after everybody had set them.
        assert_eq!(tags(&contact), ["兴趣/奶粉 2026-03-02T10:00"], "{all:?}");
        let lost: Vec<_> = contact.past.gone.values().flatten().map(|(tag, lost)| (tag.as_str(), lost.at)).collect();
        assert_eq!(lost, [("纸尿裤", at("2026-03-02T09:30:00")), ("考虑", at("2026-03-02T10:10:00"))], "{all:?}");
    }
}

#[test]
fn a_tag_that_the_other_one_lost_is_taken_off_and_said() {
    let (wang, buyer) = (wecom("wmWang"), youzan("yzB"));
    let mut engines = engines();
    engines.event(says(&wang, "奶粉", "2026-03-02T09:00:00"));
    engines.event(says(&buyer, "奶粉", "2026-03-02T09:10:00"));
    edits(&mut engines, &buyer, "兴趣/奶粉", false, "2026-03-02T09:40:00");
    engines.outputs.clear();
    engines.event(links(&wang, &buyer, "2026-03-02T12:00:00"));
    assert_eq!(tags(&engines.contact(&wang)), [""; 0]);
    let changes = engines.tag_changes();
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((change.unset.as_deref(), change.cause.kind.as_str()), (Some("奶粉"), "contact.merged"));
}

#[test]
fn who_never_lost_a_tag_remembers_none() {
    let (mut engines, wang) = (engines(), wecom("wmWang"));
    engines.event(says(&wang, "奶粉多少钱", "2026-03-02T09:00:00"));
    engines.event(pays(&wang, "2026-03-02T10:00:00"));
    // 考虑 gave way to 成交: what is there says so.
    assert!(engines.contact(&wang).past.gone.is_empty());
}
