//! Touches that wait: how many, under which names they are reported, and what becomes of them when contacts merge.

use crate::support::*;
use touchline_model::event::Event;
use touchline_model::id::IdKey;
use touchline_model::kind::Kind;
use touchline_model::output::TouchState;

const JOURNEY: &str = "
playbook: price-consideration
journeys:
  - id: welcome
    entry: {trigger: contact.added}
    steps:
      - {id: a, after: 1h, touchpoint: dm, content: c1}
      - {id: b, after: 3d, touchpoint: dm, content: c2}
";
const TASKS: &str = "
playbook: price-consideration
rules:
  - {id: call, trigger: chat.message, do: [{task: call back}]}
";

fn engines(playbook: &str) -> Engines {
    let mut engines = Engines::new(playbook, at("2026-03-02T08:00:00"));
    assert_eq!(engines.answers(), ["accepted"], "{:?}", engines.outputs);
    engines.outputs.clear();
    engines
}

fn happens(kind: Kind, who: &IdKey, basis: &str, when: &str, fields: &[(&str, &str)]) -> Event {
    event(kind, &format!("{who:?}{basis}{when}"), at(when), vec![who.clone()], fields)
}

fn added(who: &IdKey, when: &str) -> Event {
    happens(Kind::ContactAdded, who, "", when, &[("staff", "li")])
}

fn sent(who: &IdKey, touch_id: &str, when: &str) -> Event {
    happens(Kind::TouchSent, who, touch_id, when, &[("touch_id", touch_id), ("staff", "li")])
}

fn links(one: &IdKey, other: &IdKey, when: &str) -> Event {
    let ids = vec![one.clone(), other.clone()];
    event(Kind::IdentityLinked, &format!("{one:?}{other:?}"), at(when), ids, &[("evidence", "strong")])
}

fn said(engines: &Engines, state: TouchState) -> Vec<String> {
    engines.touches().into_iter().filter(|touch| touch.state == state).map(|touch| touch.id.clone()).collect()
}

/// How many messages `who` writes, each with a task for staff.
fn writes(engines: &mut Engines, who: &IdKey, messages: usize, when: &str) {
    for number in 0..messages {
        engines.event(happens(Kind::ChatMessage, who, &number.to_string(), when, &[("direction", "in")]));
    }
}

#[test]
fn only_so_many_touches_wait_at_once() {
    let (mut engines, wang) = (engines(TASKS), wecom("wmWang"));
    writes(&mut engines, &wang, 70, "2026-03-02T09:00:00");
    let (due, skipped) = (said(&engines, TouchState::Due), said(&engines, TouchState::Skipped));
    assert_eq!((due.len(), skipped.len()), (64, 6));
    assert!(
        engines
            .touches()
            .iter()
            .filter(|touch| touch.state == TouchState::Skipped)
            .all(|touch| touch.reason == "too_many")
    );
    // One is done: there is room for one.
    engines.event(sent(&wang, &due[0], "2026-03-02T09:30:00"));
    engines.outputs.clear();
    writes(&mut engines, &wang, 2, "2026-03-02T10:00:00");
    assert_eq!((said(&engines, TouchState::Due).len(), said(&engines, TouchState::Skipped).len()), (1, 1));
    // After a day nobody has done the others.
    engines.advance(at("2026-03-03T10:00:00"));
    assert_eq!(said(&engines, TouchState::Missed).len(), 64);
}

#[test]
fn a_merge_takes_over_as_many_touches_as_there_is_room_for() {
    let (mut engines, wang, buyer) = (engines(TASKS), wecom("wmWang"), youzan("yzB"));
    writes(&mut engines, &wang, 40, "2026-03-02T09:00:00");
    writes(&mut engines, &buyer, 40, "2026-03-02T09:00:00");
    engines.outputs.clear();
    engines.event(links(&wang, &buyer, "2026-03-02T10:00:00"));
    let counts = [TouchState::Cancelled, TouchState::Due, TouchState::Skipped].map(|state| said(&engines, state).len());
    assert_eq!(counts, [40, 24, 16]);
    engines.advance(at("2026-03-03T10:00:00"));
    assert_eq!(said(&engines, TouchState::Missed).len(), 64);
}

#[test]
fn a_report_settles_a_touch_by_any_name_it_had() {
    let (wang, buyer, card) = (wecom("wmWang"), youzan("yzB"), tb("tbC"));
    for nth in 0..3 {
        let mut engines = engines(JOURNEY);
        engines.event(added(&card, "2026-03-02T09:00:00"));
        engines.advance(at("2026-03-02T10:00:00"));
        engines.event(links(&buyer, &card, "2026-03-02T10:10:00"));
        engines.event(links(&wang, &buyer, "2026-03-02T10:20:00"));
        let names = said(&engines, TouchState::Due);
        assert_eq!(names.len(), 3, "one for each contact it was due at: {names:?}");
        engines.event(sent(&wang, &names[nth], "2026-03-02T10:30:00"));
        engines.outputs.clear();
        engines.advance(at("2026-03-04T00:00:00"));
        assert_eq!(engines.touch_lines(), [] as [&str; 0], "reported as {}", names[nth]);
        assert_eq!(engines.contact(&wang).past.sent.len(), 1);
    }
}

#[test]
fn what_both_were_to_be_sent_is_settled_by_either_name() {
    let (wang, buyer) = (wecom("wmWang"), youzan("yzB"));
    for nth in 0..2 {
        let mut engines = engines(JOURNEY);
        engines.event(added(&wang, "2026-03-02T09:00:00"));
        engines.event(added(&buyer, "2026-03-02T09:00:00"));
        engines.advance(at("2026-03-02T10:00:00"));
        let names = said(&engines, TouchState::Due);
        engines.event(links(&wang, &buyer, "2026-03-02T10:10:00"));
        engines.event(sent(&wang, &names[nth], "2026-03-02T10:30:00"));
        engines.outputs.clear();
        engines.advance(at("2026-03-04T00:00:00"));
        assert_eq!(engines.touch_lines(), [] as [&str; 0], "reported as {}", names[nth]);
    }
}

#[test]
fn a_step_sent_before_the_bundle_moved_it_is_not_due_again_after_a_merge() {
    let (mut engines, wang, buyer) = (engines(JOURNEY), wecom("wmWang"), youzan("yzB"));
    engines.event(added(&wang, "2026-03-02T09:00:00"));
    engines.advance(at("2026-03-02T10:00:00"));
    let due = said(&engines, TouchState::Due);
    engines.event(sent(&wang, &due[0], "2026-03-02T11:00:00"));
    let first = "steps:\n      - {id: x, after: 5m, touchpoint: dm, content: c0}";
    engines.activate("second", &JOURNEY.replace("steps:", first), 1);
    engines.event(added(&buyer, "2026-03-02T13:00:00"));
    engines.outputs.clear();
    // The one has a behind him, the other x: together they wait for b.
    engines.event(links(&wang, &buyer, "2026-03-02T13:30:00"));
    let cancelled = ["x due 2026-03-02T13:05:00", "x cancelled(merged) 2026-03-02T13:05:00"];
    assert_eq!(engines.touch_lines()[..2], cancelled);
    assert!(!engines.touch_lines().iter().any(|line| line.contains(" due ") && !line.starts_with('x')));
    engines.outputs.clear();
    engines.advance(at("2026-03-05T10:00:00"));
    assert_eq!(engines.touch_lines(), ["b due 2026-03-05T10:00:00"]);
}

#[test]
fn what_is_due_of_a_journey_that_lost_its_next_step_waits_on_after_a_merge() {
    let soon = JOURNEY.replace("after: 3d", "after: 1h");
    let (mut engines, wang, buyer) = (engines(&soon), wecom("wmWang"), youzan("yzB"));
    engines.event(happens(Kind::ChatMessage, &wang, "", "2026-03-02T08:30:00", &[("direction", "in")]));
    engines.event(added(&buyer, "2026-03-02T09:00:00"));
    engines.advance(at("2026-03-02T10:30:00"));
    engines.activate("second", &soon.replace("id: b", "id: c"), 1);
    engines.advance(at("2026-03-02T12:00:00"));
    engines.outputs.clear();
    engines.event(links(&wang, &buyer, "2026-03-02T12:30:00"));
    assert_eq!(engines.touch_lines(), ["a cancelled(merged) 2026-03-02T10:00:00", "a due 2026-03-02T10:00:00"]);
    engines.outputs.clear();
    engines.advance(at("2026-03-10T10:00:00"));
    assert_eq!(engines.touch_lines(), ["a missed(expired) 2026-03-02T10:00:00"]);
}

#[test]
fn what_a_record_says_of_others_does_not_name_a_task() {
    const PLAYBOOK: &str = "
playbook: price-consideration
rules:
  - {id: ask, trigger: 'silence(chat.message, for=1h, since=chat.message)', do: [{task: first}, {task: second}]}
";
    let mut engines = engines(PLAYBOOK);
    let people = (0..).map(|number| wecom(&format!("wm{number}"))).filter(|id| partition_of(id) == 0);
    let people: Vec<IdKey> = people.take(2).collect();
    for who in &people {
        writes(&mut engines, who, 1, "2026-03-02T09:00:00");
    }
    engines.advance(at("2026-03-02T10:00:00"));
    let due = said(&engines, TouchState::Due);
    let numbers: Vec<&str> = due.iter().map(|id| id.rsplit('#').next().expect("numbered")).collect();
    let records: std::collections::BTreeSet<_> = engines.touches().iter().map(|touch| touch.cause.position).collect();
    assert_eq!((records.len(), numbers), (1, vec!["1", "2", "1", "2"]), "{due:?}");
}
