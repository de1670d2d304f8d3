//! A new bundle in force: contacts come under it a few per record, once each, and tags that have gone give way.

use crate::support::*;
use touchline_engine::Engine;
use touchline_model::command::{CommandBody, MIGRATIONS_BYTES_MAX, Migration, PlaybookSource, TagRef};
use touchline_model::id::{CellKey, IdKey};
use touchline_model::kind::Kind;
use touchline_model::output::TouchState;
use touchline_model::record::{Input, LoopBody, Record};
use touchline_model::time::{Span, Time};

const BEFORE: &str = "playbook: price-consideration
tag_groups: [{id: g, exclusive: true, tags: [a, b]}, {id: h, tags: [x]}]
rules: [{id: r, trigger: order.paid, do: [{set_tag: g/a}]}]
boards: [{id: board, group: g}]
journeys:
  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, after: 1h, touchpoint: dm, content: n, when: tag(g/a)}]}
";
/// a is called c now; who is c for another reason is told apart by h/x.
const AFTER: &str = "playbook: price-consideration
tag_groups: [{id: g, exclusive: true, tags: [b, c]}, {id: h, tags: [x]}]
rules:
  - {id: r, trigger: order.paid, do: [{set_tag: g/b}]}
  - {id: s, trigger: tag_set(g/c), do: [{set_tag: h/x}]}
boards: [{id: board, group: g}]
journeys:
  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, after: 1h, touchpoint: dm, content: n, when: tag(g/c)}]}
";
/// So many cells per record.
const PER_RECORD: usize = 64;
const CUSTOMERS: usize = 150;
/// Who has no tag.
const STRANGERS: usize = 10;

fn start() -> Time {
    at("2026-03-02T09:00:00")
}

/// Customers of partition 1, in the order of their cells.
fn customers() -> Vec<IdKey> {
    let all = (0..10_000).map(|number| youzan(&format!("c{number:05}")));
    all.filter(|id| partition_of(id) == 1).take(CUSTOMERS).collect()
}

fn paid(engines: &mut Engines, id: &IdKey, basis: &str) {
    let now = engines.now;
    engines.event(event(Kind::OrderPaid, basis, now, vec![id.clone()], &[]));
}

/// Everybody has paid under the first bundle.
fn engines() -> Engines {
    let mut engines = Engines::new(BEFORE, start());
    for (number, id) in customers().iter().enumerate() {
        paid(&mut engines, id, &number.to_string());
    }
    let strangers = (0..10_000).map(|number| wecom(&format!("s{number:05}")));
    for (number, id) in strangers.filter(|id| partition_of(id) == 1).take(STRANGERS).enumerate() {
        engines.event(event(Kind::PageViewed, &format!("s{number}"), start(), vec![id], &[]));
    }
    engines
}

fn migrate(engines: &mut Engines) {
    let sources = vec![PlaybookSource { id: "price-consideration".to_owned(), yaml: AFTER.to_owned() }];
    let migrations = vec![Migration { from: TagRef::new("g", "a"), to: Some(TagRef::new("g", "c")) }];
    engines.command("migrate", CommandBody::Activate { sources, remove: Vec::new(), expected_active: 1, migrations });
    assert_eq!(engines.answers().last().map(String::as_str), Some("accepted"));
}

fn tags(engines: &Engines, id: &IdKey) -> Vec<String> {
    engines.contact(id).tags.iter().map(|tag| format!("{}/{}", tag.group, tag.tag)).collect()
}

/// Ticks partition 1: the cells whose public record has changed, and how many were looked at.
fn tick(engines: &mut Engines) -> (Vec<CellKey>, usize) {
    let now = engines.now;
    let part = &mut engines.parts[1];
    let (offset, input) = (part.log.len() as u64, Ok(Input::Tick { wall: now }));
    let effects = part.apply(&Record { offset, append_time: now, key: None, input });
    engines.outputs.extend(effects.outputs);
    (effects.dirty, effects.notes.contacts_settled as usize)
}

#[test]
fn each_record_brings_some_contacts_under_the_bundle_and_each_once() {
    let mut engines = engines();
    migrate(&mut engines);
    let before = engines.tag_changes().len();
    let due = |engines: &Engines| {
        let due = engines.parts[1].engine.next_due(&engines.parts[1].map).expect("in memory");
        due.filter(|due| *due <= engines.now)
    };
    let (mut dirty, mut looked, mut ticks) = (Vec::new(), 0, 0);
    while due(&engines).is_some() {
        assert_eq!(due(&engines), Some(start()), "it wants a tick at once");
        let (changed, cells) = tick(&mut engines);
        assert!(cells <= PER_RECORD && changed.len() <= cells, "{cells} cells, {} changed", changed.len());
        dirty.extend(changed);
        looked += cells;
        ticks += 1;
        // Where it stands is part of the state.
        let part = &mut engines.parts[1];
        part.map.write(touchline_engine::keys::META.to_vec(), Some(part.engine.meta().encode()));
        part.engine = Engine::open(&part.map, 1, PARTITIONS).expect("opens");
    }
    assert_eq!((looked, ticks), (CUSTOMERS + STRANGERS, 1 + (CUSTOMERS + STRANGERS) / PER_RECORD));
    let changes: Vec<_> = engines.tag_changes().split_off(before);
    assert_eq!(changes.len(), CUSTOMERS, "one each");
    assert!(changes.iter().all(|change| change.cause.kind == "activation" && change.cause.rule.is_empty()));
    // Strangers have nothing that anybody could read anew.
    assert_eq!(dirty.len(), CUSTOMERS);
    for id in customers() {
        assert_eq!(tags(&engines, &id), ["g/c"], "no rule reacts");
        assert_eq!(engines.contact(&id).tags[0].set_at, start(), "since when it was a");
    }
}

#[test]
fn whoever_has_something_to_do_comes_under_it_first() {
    let mut engines = engines();
    migrate(&mut engines);
    let last = customers().pop().expect("some");
    assert_eq!(tags(&engines, &last), ["g/a"]);
    paid(&mut engines, &last, "again");
    // a became c without a word to the rules, then the order was judged.
    assert_eq!(tags(&engines, &last), ["g/b"]);
    let of_last = |engines: &Engines| {
        let cell = CellKey::of(TENANT, &last);
        let mine = engines.tag_changes().into_iter().filter(|change| change.contact == cell).cloned();
        mine.map(|change| (change.set, change.unset)).collect::<Vec<_>>()
    };
    let tag = |tag: &str| Some(tag.to_owned());
    let expected = [(tag("a"), None), (tag("c"), tag("a")), (tag("b"), tag("c"))];
    assert_eq!(of_last(&engines), expected);
    engines.advance(start());
    assert_eq!(of_last(&engines), expected, "and not again");
}

#[test]
fn a_refused_command_keeps_what_came_of_the_bundle() {
    let mut engines = engines();
    migrate(&mut engines);
    let last = customers().pop().expect("some");
    let cell = CellKey::of(TENANT, &last);
    let drag = |contact: CellKey| CommandBody::MoveCard {
        contact,
        board: "board".to_owned(),
        expected_stage: Some("a".to_owned()),
        to: Some("b".to_owned()),
        reason: String::new(),
    };
    for request in ["1", "2"] {
        engines.command(request, drag(cell.clone()));
        assert_eq!(engines.answers().last().map(String::as_str), Some("stale_stage:c"));
        assert_eq!(tags(&engines, &last), ["g/c"]);
    }
    let said = engines.tag_changes().into_iter().filter(|change| change.contact == cell).count();
    assert_eq!(said, 2, "set once and migrated once");
}

#[test]
fn what_falls_due_before_its_turn_is_judged_by_the_bundle_in_force() {
    let mut engines = engines();
    migrate(&mut engines);
    // The first record after the activation finds everybody's step due.
    engines.now = start().plus(touchline_model::time::Span::hours(1));
    tick(&mut engines);
    let due = engines.touches().iter().filter(|touch| touch.state == TouchState::Due).count();
    assert_eq!(due, CUSTOMERS, "{:?}", engines.touch_lines().first());
}

#[test]
fn who_is_merged_in_late_brings_no_tag_that_has_gone() {
    let (lower, higher) = (on(1, youzan), on(2, wecom));
    let mut engines = Engines::new(BEFORE, start());
    paid(&mut engines, &lower, "1");
    engines.event(event(Kind::PageViewed, "2", start(), vec![higher.clone()], &[]));
    // What the lower one brings is on its way while the bundle comes into force.
    engines.slow(&lower, &higher);
    let ids = vec![lower.clone(), higher.clone()];
    engines.event(event(Kind::IdentityLinked, "link", start(), ids, &[("evidence", "strong")]));
    migrate(&mut engines);
    engines.advance(start());
    engines.all_arrive();
    engines.advance(start());
    assert_eq!(tags(&engines, &higher), ["g/c"]);
}

#[test]
fn who_is_merged_in_from_where_the_bundle_has_come_already_waits_for_it() {
    let with_journey = "
playbook: price-consideration
tag_groups: [{id: g, exclusive: true, tags: [a, b, c]}]
rules:
  - {id: viewed, trigger: page.viewed, do: [{set_tag: g/b}]}
journeys:
  - id: welcome
    entry: {trigger: contact.added}
    steps:
      - {id: s1, after: 1h, touchpoint: dm, content: c1}
      - {id: s2, after: 1h, touchpoint: dm, content: c2}
";
    let (lower, higher) = (on(1, youzan), on(2, wecom));
    let mut engines = Engines::new(&with_journey.replace("exclusive: true, ", "").replace("welcome", "other"), start());
    let after = |minutes: i64| start().plus(Span::minutes(minutes));
    engines.event(event(Kind::PageViewed, "2", start(), vec![higher.clone()], &[]));
    engines.slow(&on(0, youzan), &higher);
    engines.activate("second", &with_journey.replace("g/b", "g/a"), 1);
    engines.event(event(Kind::PageViewed, "3", after(1), vec![lower.clone()], &[]));
    engines.event(event(Kind::ContactAdded, "4", after(1), vec![lower.clone()], &[("staff", "li")]));
    engines.advance(after(61));
    let ids = vec![lower.clone(), higher.clone()];
    engines.event(event(Kind::IdentityLinked, "link", after(70), ids, &[("evidence", "strong")]));
    assert_eq!(tags(&engines, &higher), ["g/a", "g/b"], "where it has not come the group is not exclusive");
    engines.outputs.clear();
    // The second step's moment passes, and an event comes.
    engines.advance(after(150));
    engines.event(event(Kind::ProfileUpdated, "5", after(151), vec![lower], &[]));
    assert_eq!(engines.touch_lines(), [] as [&str; 0]);
    engines.all_arrive();
    engines.advance(after(152));
    assert_eq!(engines.touch_lines(), ["s2 due 2026-03-02T11:01:00"]);
    assert_eq!(tags(&engines, &higher), ["g/a"], "the later one");
    let left = engines.tag_changes().into_iter().filter_map(|change| change.unset.clone()).collect::<Vec<_>>();
    assert_eq!(left, ["b"]);
}

#[test]
fn who_is_parted_late_takes_no_tag_along_that_has_gone() {
    let (lower, higher) = (on(1, youzan), on(2, wecom));
    let mut engines = Engines::new(BEFORE, start());
    engines.event(event(Kind::PageViewed, "2", start(), vec![higher.clone()], &[]));
    let ids = vec![lower.clone(), higher.clone()];
    engines.event(event(Kind::IdentityLinked, "link", start(), ids, &[("evidence", "strong")]));
    paid(&mut engines, &lower, "1");
    assert_eq!(tags(&engines, &higher), ["g/a"]);
    engines.slow(&higher, &lower);
    let contact = CellKey::of(TENANT, &higher);
    engines.command("part", CommandBody::Unlink { contact, identifier: lower.clone(), reason: String::new() });
    // While it is on its way, the cells of its partition are passed: it is a forward there.
    migrate(&mut engines);
    engines.advance(start());
    engines.all_arrive();
    assert_eq!(tags(&engines, &lower), ["g/c"]);
}

#[test]
fn migrations_are_remembered_as_far_as_they_fit_a_record() {
    let playbook = |tags: &str| {
        let yaml = format!("playbook: price-consideration\ntag_groups: [{{id: g, tags: [{tags}]}}]\n");
        vec![PlaybookSource { id: "price-consideration".to_owned(), yaml }]
    };
    // Each activation takes four hundred long names away; of six the oldest no longer fit.
    let names = |round: usize| (0..400).map(|n| format!("{round}x{n:03}{}", "y".repeat(90))).collect::<Vec<_>>();
    let mut engines = Engines::new(BEFORE, start());
    let mut gone = vec![Migration { from: TagRef::new("g", "b"), to: None }];
    gone.push(Migration { from: TagRef::new("h", "x"), to: None });
    let mut before: Vec<String> = vec!["a".to_owned()];
    for round in 0..7 {
        let mut migrations: Vec<Migration> = std::mem::take(&mut gone);
        migrations.extend(before.iter().map(|tag| Migration { from: TagRef::new("g", tag), to: None }));
        before = names(round);
        let (sources, expected_active) = (playbook(&before.join(", ")), round as u64 + 1);
        let body = CommandBody::Activate { sources, remove: Vec::new(), expected_active, migrations };
        engines.command(&format!("round-{round}"), body);
        assert_eq!(engines.answers().last().map(String::as_str), Some("accepted"), "round {round}");
    }
    let last = engines.parts[1].log.iter().rev().find_map(|record| match &record.input {
        Ok(Input::Loop(told)) => match &told.body {
            LoopBody::Activation { migrations, .. } => Some(migrations.clone()),
            _ => None,
        },
        _ => None,
    });
    let kept = last.expect("an activation");
    let bytes: usize = kept.iter().map(Migration::bytes).sum();
    assert!(bytes <= MIGRATIONS_BYTES_MAX && bytes > MIGRATIONS_BYTES_MAX - 200, "{bytes}");
    assert_eq!(kept.last().map(|one| one.from.clone()), Some(TagRef::new("g", names(5).pop().expect("some"))));
}

#[test]
fn a_tag_goes_only_when_it_is_said_what_becomes_of_it() {
    let mut engines = Engines::new(BEFORE, start());
    let migration = |from: &str, to: Option<&str>| Migration {
        from: TagRef::parse(from).expect("a tag"),
        to: to.map(|to| TagRef::parse(to).expect("a tag")),
    };
    for (request, migrations, answer) in [
        ("1", vec![], "orphaned_tag:1"),
        ("2", vec![migration("g/a", Some("g/a"))], "invalid_migration:1"),
        ("3", vec![migration("g/a", None), migration("g/b", None)], "invalid_migration:1"),
        ("4", vec![migration("g/a", None), migration("z/z", None)], "accepted"),
        // Gone already: nothing more is asked.
        ("5", vec![], "accepted"),
    ] {
        let sources = vec![PlaybookSource { id: "price-consideration".to_owned(), yaml: AFTER.to_owned() }];
        let expected_active = if request == "5" { 2 } else { 1 };
        engines.command(request, CommandBody::Activate { sources, remove: Vec::new(), expected_active, migrations });
        assert_eq!(engines.answers().last().map(String::as_str), Some(answer), "request {request}");
    }
}

/// Who pays and then lets time pass: a silence, a date and a segment say so under [`LATE`].
const EARLY: &str = "playbook: price-consideration
attributes: {due: \"last(order.paid)\"}
tag_groups: [{id: h, tags: [quiet, reached, cold]}]
";
const LATE: &str = "playbook: price-consideration
attributes: {due: \"last(order.paid)\"}
segments: {cold: \"none(order.paid, within=1m) and count(order.paid) >= 1\"}
tag_groups: [{id: h, tags: [quiet, reached, cold]}]
rules:
  - {id: q, trigger: \"silence(order.paid, for=1m, since=order.paid)\", do: [{set_tag: h/quiet}]}
  - {id: r, trigger: reached(due + 1m), do: [{set_tag: h/reached}]}
  - {id: s, trigger: segment_entered(cold), do: [{set_tag: h/cold}]}
";

/// All of partition 1 have paid, half of them more than a minute before `LATE` comes into force, half less.
fn payers() -> (Engines, Vec<IdKey>, Vec<IdKey>) {
    let mut engines = Engines::new(EARLY, start());
    let (old, new): (Vec<_>, Vec<_>) = customers().into_iter().enumerate().partition(|(number, _)| number % 2 == 0);
    let ids = |of: Vec<(usize, IdKey)>| of.into_iter().map(|(_, id)| id).collect::<Vec<_>>();
    let (old, new) = (ids(old), ids(new));
    for (later, ids) in [(0, &old), (60, &new)] {
        engines.advance(start().plus(Span::seconds(later)));
        ids.iter().for_each(|id| paid(&mut engines, id, &id.value));
    }
    // Of the first the minute is over at this very moment.
    engines.activate("late", LATE, 1);
    assert_eq!(engines.answers().last().map(String::as_str), Some("accepted"));
    (engines, old, new)
}

/// What was said of the tags of a contact: the tag, and when.
fn said(engines: &Engines, id: &IdKey) -> Vec<(String, Time)> {
    let cell = CellKey::of(TENANT, id);
    let mine = engines.tag_changes().into_iter().filter(|change| change.contact == cell);
    let mut said: Vec<_> = mine.map(|change| (change.set.clone().unwrap_or_default(), change.at)).collect();
    said.sort();
    said
}

fn all_at(moment: Time) -> Vec<(String, Time)> {
    ["cold", "quiet", "reached"].map(|tag| (tag.to_owned(), moment)).to_vec()
}

/// As after a restart: what is known is what was stored.
fn reopen(engines: &mut Engines, partition: u32) {
    let part = &mut engines.parts[partition as usize];
    part.map.write(touchline_engine::keys::META.to_vec(), Some(part.engine.meta().encode()));
    part.engine = Engine::open(&part.map, partition, PARTITIONS).expect("opens");
}

#[test]
fn what_time_changes_between_an_activation_and_a_contacts_turn_happens_in_its_turn() {
    let (mut engines, old, new) = payers();
    // For an hour the partition stands still; then it is begun anew.
    reopen(&mut engines, 1);
    engines.now = start().plus(Span::hours(1));
    let end = engines.now;
    engines.advance(end);
    for id in &new {
        assert_eq!(said(&engines, id), all_at(start().plus(Span::seconds(120))), "{id:?}");
    }
    for id in &old {
        assert_eq!(said(&engines, id), [], "over when the bundle came into force: {id:?}");
    }
}

#[test]
fn what_time_has_changed_comes_before_the_contacts_own_next_record() {
    let (mut engines, old, new) = payers();
    engines.now = start().plus(Span::hours(1));
    let (last_old, last_new) = (old.last().expect("some"), new.last().expect("some"));
    for id in [last_old, last_new] {
        paid(&mut engines, id, &format!("again {}", id.value));
    }
    assert_eq!(said(&engines, last_old), []);
    assert_eq!(said(&engines, last_new), all_at(start().plus(Span::seconds(120))));
    // The order has begun everything anew: `cold` is left, and said again when it is entered again. Tags stay.
    engines.advance(start().plus(Span::hours(2)));
    let again = start().plus(Span::hours(1)).plus(Span::seconds(60));
    assert_eq!(said(&engines, last_old), all_at(again));
    assert_eq!(said(&engines, last_new), all_at(start().plus(Span::seconds(120))));
}

#[test]
fn what_is_waited_for_is_not_forgotten_by_the_next_activation() {
    let (mut engines, old, new) = payers();
    // Nobody's turn has come yet when the next bundle comes into force: one rule more, the waits are the same.
    engines.now = start().plus(Span::seconds(300));
    let more = LATE.replace("rules:\n", "rules:\n  - {id: n, trigger: tag_set(h/quiet), do: [{set_tag: h/reached}]}\n");
    engines.activate("more", &more, 2);
    reopen(&mut engines, 1);
    let moment = start().plus(Span::seconds(120));
    let end = engines.now.plus(Span::hours(1));
    engines.advance(end);
    for id in &new {
        let tags: Vec<_> = said(&engines, id).into_iter().filter(|(tag, _)| tag != "cold").collect();
        assert_eq!(tags, [("quiet".to_owned(), moment), ("reached".to_owned(), moment)], "{id:?}");
    }
    assert!(old.iter().all(|id| said(&engines, id).is_empty()));
    // What has happened does not happen again.
    let before = engines.tag_changes().len();
    let unset = |id: &IdKey| CommandBody::EditTags {
        contact: CellKey::of(TENANT, id),
        add: Vec::new(),
        remove: vec![TagRef::new("h", "quiet")],
        reason: String::new(),
    };
    engines.command("unset", unset(&new[0]));
    engines.activate("again", LATE, 3);
    let end = engines.now.plus(Span::hours(1));
    engines.advance(end);
    assert_eq!(engines.tag_changes().len(), before + 1);
}
