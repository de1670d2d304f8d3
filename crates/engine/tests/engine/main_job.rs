//! The main job: example (a) of the language page. Every expected value is worked out by hand from it.

use crate::support::*;
use touchline_model::command::CommandBody;
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey};
use touchline_model::kind::Kind;
use touchline_model::output::StageMove;
use touchline_model::record::{Input, Loop, LoopBody, Undecodable};
use touchline_model::time::Time;

const PLAYBOOK: &str = include_str!("../../../../tests/playbooks/a.yaml");
const START: &str = "2026-03-02T09:00:00";

fn engines() -> Engines {
    Engines::new(PLAYBOOK, at("2026-03-02T08:59:00"))
}

fn added(who: &IdKey, staff: &str, when: Time) -> Event {
    event(
        Kind::ContactAdded,
        &format!("added-{}-{staff}-{}", who.value, when.0),
        when,
        vec![who.clone()],
        &[("staff", staff)],
    )
}

fn says(who: &IdKey, text: &str, when: Time) -> Event {
    let fields = [("direction", "in"), ("text", text)];
    event(Kind::ChatMessage, &format!("says-{}-{}", who.value, when.0), when, vec![who.clone()], &fields)
}

fn pays(who: &IdKey, when: Time) -> Event {
    event(Kind::OrderPaid, &format!("pays-{}-{}", who.value, when.0), when, vec![who.clone()], &[("order_id", "E1")])
}

#[test]
fn asking_the_price_sets_the_tag_moves_the_card_and_three_touches_fall_due() {
    let (mut engines, wang) = (engines(), wecom("wmWang"));
    engines.event(added(&wang, "zhangsan", at(START)));
    engines.event(says(&wang, "你们产品多少钱", at("2026-03-02T09:30:00")));
    engines.advance(at("2026-03-08T00:00:00"));

    let [change] = engines.tag_changes()[..] else { panic!("one change: {:?}", engines.tag_changes()) };
    assert_eq!((change.set.as_deref(), change.unset.as_deref()), (Some("考虑价格"), None));
    let moved = StageMove { board: "商机看板".to_owned(), from: None, to: Some("考虑价格".to_owned()) };
    assert_eq!(change.moves, [moved]);
    assert_eq!(change.at, at("2026-03-02T09:30:00"));
    assert_eq!((change.cause.rule.as_str(), change.cause.bundle), ("rules/asks-price", 1));
    let hit = change.cause.hit.as_ref().expect("a keyword decided");
    // 你0 们1 产2 品3 多4 少5 钱6
    assert_eq!((hit.keyword.as_str(), hit.keywords.as_str(), hit.start, hit.end), ("多少钱", "价格", 4, 7));

    // p1 five minutes after entry; p2 and p3 at ten on the first and third calendar day after it;
    // nobody confirms, so each is missed a day after it was due.
    assert_eq!(
        engines.touch_lines(),
        [
            "p1 due 2026-03-02T09:35:00",
            "p1 missed(expired) 2026-03-02T09:35:00",
            "p2 due 2026-03-03T10:00:00",
            "p2 missed(expired) 2026-03-03T10:00:00",
            "p3 due 2026-03-05T10:00:00",
            "p3 missed(expired) 2026-03-05T10:00:00",
        ]
    );
    let first = engines.touches()[0];
    assert_eq!((first.touchpoint.as_str(), first.content.as_str()), ("dm", "报价说明"));
    assert_eq!((first.executor.as_deref(), &first.recipient), (Some("zhangsan"), &wang));
    let contact = engines.contact(&wang);
    assert_eq!(first.id, format!("acme/{}/sop-考虑价格/1/p1#1", contact.id()));
    assert_eq!(contact.stages[0].column, "考虑价格");
    assert_eq!(contact.owner.as_deref(), Some("zhangsan"));
    // The goal stays open for thirty days from entry, then the journey is complete.
    assert_eq!(contact.enrolments[0].ended, None);
    engines.advance(at("2026-04-02T00:00:00"));
    let ended = engines.contact(&wang).enrolments[0].ended.clone();
    assert_eq!(ended, Some(("completed".to_owned(), at("2026-04-01T09:30:00"))));
}

#[test]
fn an_early_order_ends_the_journey_and_says_what_will_not_go_out() {
    let (mut engines, li) = (engines(), wecom("wmLi"));
    engines.event(added(&li, "zhangsan", at(START)));
    engines.event(says(&li, "怎么收费", at("2026-03-02T09:30:00")));
    engines.event(pays(&li, at("2026-03-02T12:00:00")));
    engines.advance(at("2026-03-08T00:00:00"));
    assert_eq!(
        engines.touch_lines(),
        [
            "p1 due 2026-03-02T09:35:00",
            "p1 cancelled(goal) 2026-03-02T09:35:00",
            "p2 cancelled(goal) 2026-03-03T10:00:00",
            "p3 cancelled(goal) 2026-03-05T10:00:00",
        ]
    );
    let enrolment = &engines.contact(&li).enrolments[0];
    assert!(enrolment.goal_reached);
    assert_eq!(enrolment.ended, Some(("goal".to_owned(), at("2026-03-02T12:00:00"))));
}

#[test]
fn a_sent_touch_is_neither_missed_nor_cancelled() {
    let (mut engines, li) = (engines(), wecom("wmLi"));
    engines.event(added(&li, "zhangsan", at(START)));
    engines.event(says(&li, "报价", at("2026-03-02T09:30:00")));
    engines.advance(at("2026-03-02T09:40:00"));
    let touch = engines.touches()[0].id.clone();
    let sent = [("touch_id", touch.as_str()), ("staff", "zhangsan")];
    engines.event(event(Kind::TouchSent, "sent", at("2026-03-02T09:41:00"), vec![li.clone()], &sent));
    engines.event(pays(&li, at("2026-03-03T08:00:00")));
    assert_eq!(
        engines.touch_lines()[1..],
        ["p2 cancelled(goal) 2026-03-03T10:00:00", "p3 cancelled(goal) 2026-03-05T10:00:00"]
    );
}

#[test]
fn the_rule_never_moves_a_card_back_and_only_customers_count() {
    let (mut engines, chen) = (engines(), wecom("wmChen"));
    let board = |from: Option<&str>, to: &str| CommandBody::MoveCard {
        contact: CellKey::of(TENANT, &chen),
        board: "商机看板".to_owned(),
        expected_stage: from.map(str::to_owned),
        to: Some(to.to_owned()),
        reason: "谈过了".to_owned(),
    };
    engines.event(added(&chen, "zhangsan", at(START)));
    let out = [("direction", "out"), ("text", "我们的价格很好")];
    engines.event(event(Kind::ChatMessage, "out", at("2026-03-02T09:05:00"), vec![chen.clone()], &out));
    assert!(engines.tag_changes().is_empty(), "staff said it");
    engines.command("m1", board(None, "方案确认"));
    engines.event(says(&chen, "价格", at("2026-03-02T09:30:00")));
    assert_eq!(engines.contact(&chen).stages[0].column, "方案确认");
    // Stale: seen in 考虑价格, stands in 方案确认.
    engines.command("m2", board(Some("考虑价格"), "赢单"));
    engines.command("m3", board(Some("方案确认"), "考虑价格"));
    engines.command("m4", board(Some("考虑价格"), "没有这列"));
    // The first answer again, though the card has moved on.
    engines.command("m1", board(None, "方案确认"));
    assert_eq!(
        engines.answers()[1..],
        ["accepted", "stale_stage:方案确认", "accepted", "unknown_stage:考虑价格", "accepted"]
    );
    let dragged = engines.tag_changes()[1];
    assert_eq!((dragged.unset.as_deref(), dragged.set.as_deref()), (Some("方案确认"), Some("考虑价格")));
    assert_eq!((dragged.cause.actor.as_str(), dragged.cause.reason.as_str()), ("li", "谈过了"));
    // Dragging the card in enters the journey as saying it does.
    engines.advance(at("2026-03-02T09:36:00"));
    assert_eq!(engines.touch_lines(), ["p1 due 2026-03-02T09:35:00"]);
    engines.command("m5", board(Some("考虑价格"), "赢单"));
    assert_eq!(engines.touch_lines()[1..].len(), 3);
    assert!(engines.touch_lines()[1].starts_with("p1 cancelled(exit)"));
}

#[test]
fn re_entry_waits_thirty_days_after_the_end() {
    let (mut engines, zhao) = (engines(), wecom("wmZhao"));
    engines.event(added(&zhao, "zhangsan", at(START)));
    engines.event(says(&zhao, "价钱", at("2026-03-02T10:00:00")));
    engines.event(pays(&zhao, at("2026-03-02T11:00:00")));
    let move_to = |from: &str, to: &str| CommandBody::MoveCard {
        contact: CellKey::of(TENANT, &zhao),
        board: "商机看板".to_owned(),
        expected_stage: Some(from.to_owned()),
        to: Some(to.to_owned()),
        reason: String::new(),
    };
    engines.command("out", move_to("考虑价格", "初步沟通"));
    // 29 days after the end: the tag is set, the journey is not entered.
    engines.event(says(&zhao, "价格", at("2026-03-31T10:59:59")));
    assert_eq!(engines.contact(&zhao).enrolments[0].number, 1);
    engines.command("out2", move_to("考虑价格", "初步沟通"));
    engines.event(says(&zhao, "价格", at("2026-04-01T11:00:00")));
    assert_eq!(engines.contact(&zhao).enrolments[0].number, 2);
}

#[test]
fn history_enters_nobody_and_says_so_once() {
    let (mut engines, old) = (engines(), wecom("wmOld"));
    engines.event(added(&old, "zhangsan", at(START)));
    engines.advance(at("2026-03-09T09:00:00"));
    // Seven days late: beyond the grace of six hours.
    engines.event(says(&old, "价格", at("2026-03-02T09:30:00")));
    engines.advance(at("2026-03-12T09:00:00"));
    assert_eq!(engines.touch_lines(), ["p1 skipped(not_entered_historic) 2026-03-02T09:35:00"]);
    assert_eq!(engines.contact(&old).stages[0].column, "考虑价格", "the tag is set all the same");
    // A real question later enters as if nothing had been refused.
    engines.event(says(&old, "没有", at("2026-03-12T09:01:00")));
    assert_eq!(engines.contact(&old).enrolments[0].number, 1);
}

#[test]
fn an_order_under_its_own_id_reaches_the_linked_contact_in_another_partition() {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    let (home, away) = (CellKey::of(TENANT, &wang), CellKey::of(TENANT, &buyer));
    assert_ne!(home.partition(PARTITIONS), away.partition(PARTITIONS), "choose ids in different partitions");
    engines.event(added(&wang, "zhangsan", at(START)));
    engines.event(says(&wang, "多少錢", at("2026-03-02T09:30:00")));
    let link = event(
        Kind::IdentityLinked,
        "link",
        at("2026-03-02T09:31:00"),
        vec![wang.clone(), buyer.clone()],
        &[("evidence", "strong")],
    );
    engines.event(link);
    engines.event(pays(&buyer, at("2026-03-02T12:00:00")));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
    let contact = engines.contact(&wang);
    assert_eq!(contact.identities.iter().map(|known| &known.id).collect::<Vec<_>>(), [&wang, &buyer]);
    assert_eq!(contact.enrolments[0].ended, Some(("goal".to_owned(), at("2026-03-02T12:00:00"))));
    assert_eq!(engines.contact(&buyer).merged_into, Some(home));
    let cancelled = engines.touches().into_iter().find(|touch| touch.step == "p2").expect("cancelled");
    let origin = cancelled.cause.origin.expect("forwarded");
    assert_eq!(origin.partition, away.partition(PARTITIONS), "the cause names where the order lies");
}

#[test]
fn weak_evidence_merges_nobody_and_two_people_are_refused() {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    engines.event(added(&wang, "zhangsan", at(START)));
    engines.event(pays(&buyer, at("2026-03-02T09:10:00")));
    let link = |basis: &str, ids: Vec<IdKey>, evidence: &str| {
        event(Kind::IdentityLinked, basis, at("2026-03-02T09:31:00"), ids, &[("evidence", evidence)])
    };
    engines.event(link("l1", vec![wang.clone(), buyer], "weak"));
    engines.event(link("l2", vec![wang.clone(), wecom("wmOther")], "strong"));
    assert_eq!(engines.dead_reasons(), ["link_weak", "link_refused"]);
    assert_eq!(engines.contact(&wang).identities.len(), 1);
}

#[test]
fn duplicates_are_applied_once_within_the_horizon() {
    let (mut engines, wang) = (engines(), wecom("wmWang"));
    let asks = says(&wang, "价格", at("2026-03-02T09:30:00"));
    engines.event(asks.clone());
    engines.event(asks.clone());
    assert_eq!(engines.tag_changes().len(), 1);
    let outputs = engines.outputs.len();
    engines.advance(at("2026-03-09T09:30:00"));
    let after = engines.outputs.len();
    engines.event(asks);
    assert_eq!(engines.outputs.len(), after, "still within seven days");
    assert!(after > outputs);
}

#[test]
fn what_cannot_be_applied_is_put_aside_and_later_events_go_on() {
    let (mut engines, wang) = (engines(), wecom("wmWang"));
    let home = CellKey::of(TENANT, &wang).partition(PARTITIONS);
    let wrong = (home + 1) % PARTITIONS;
    let asks = says(&wang, "价格", at("2026-03-02T09:30:00"));
    let key = Some(asks.key().to_string());
    engines.now = at("2026-03-02T09:30:00");
    engines.append(home, key.clone(), Err(Undecodable("value: truncated".to_owned())));
    engines.append(wrong, key.clone(), Ok(Input::Event(Box::new(asks.clone()))));
    engines.append(home, Some("acme/order/x/y".to_owned()), Ok(Input::Event(Box::new(asks.clone()))));
    let body = LoopBody::Forward {
        target: asks.key(),
        event: Box::new(asks.clone()),
        origin: touchline_model::id::Position { partition: wrong, offset: 0 },
        hops: 1,
    };
    let looped = |source, sequence| Loop {
        source,
        sequence,
        origin: touchline_model::id::Position { partition: source, offset: 0 },
        clock: engines_now(),
        body: body.clone(),
    };
    engines.append(home, key.clone(), Ok(Input::Loop(Box::new(looped(99, 1)))));
    engines.append(home, key.clone(), Ok(Input::Loop(Box::new(looped(wrong, 7)))));
    assert_eq!(engines.dead_reasons(), ["undecodable", "misrouted", "key_mismatch", "loopback_forged", "loopback_gap"]);
    assert!(engines.tag_changes().is_empty());
    engines.append(home, key, Ok(Input::Event(Box::new(asks))));
    assert_eq!(engines.tag_changes().len(), 1);
}

fn engines_now() -> Time {
    at("2026-03-02T09:30:00")
}

#[test]
fn activation_is_ordered_by_what_was_seen_active() {
    let mut engines = engines();
    engines.activate("again", PLAYBOOK, 0);
    engines.activate("next", PLAYBOOK, 1);
    engines.activate("broken", "playbook: [", 2);
    assert_eq!(engines.answers(), ["accepted", "stale_bundle:1", "accepted", "invalid_playbook:2"]);
    assert!(engines.parts.iter().all(|part| part.engine.meta().bundle == 2));
}

#[test]
fn replaying_the_records_gives_the_same_chain_state_and_outputs() {
    let (mut engines, wang, buyer) = (engines(), wecom("wmWang"), youzan("yzB"));
    engines.event(added(&wang, "zhangsan", at(START)));
    engines.event(says(&wang, "价格", at("2026-03-02T09:30:00")));
    engines.event(event(
        Kind::IdentityLinked,
        "link",
        at("2026-03-02T09:31:00"),
        vec![wang, buyer.clone()],
        &[("evidence", "strong")],
    ));
    engines.advance(at("2026-03-03T12:00:00"));
    engines.event(pays(&buyer, at("2026-03-03T13:00:00")));
    for part in &engines.parts {
        let map = touchline_engine::Map::default();
        let partition = part.engine.meta().partition;
        let engine = touchline_engine::Engine::open(&map, partition, PARTITIONS).expect("empty");
        let mut again = Part { engine, map, log: Vec::new() };
        let mut outputs = Vec::new();
        for record in &part.log {
            outputs.extend(again.apply(record).outputs);
        }
        assert_eq!(again.engine.meta(), part.engine.meta());
        assert_eq!(again.map.0, part.map.0);
        let live: Vec<_> =
            engines.outputs.iter().filter(|output| output.source.partition == partition).cloned().collect();
        assert_eq!(outputs, live);
    }
}
