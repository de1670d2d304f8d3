//! A new bundle in force: contacts come under it a few per record, once each, and tags that have gone give way.

use crate::support::*;
use touchline_engine::Engine;
use touchline_model::command::{CommandBody, MIGRATIONS_BYTES_MAX, Migration, PlaybookSource, TagRef};
use touchline_model::id::{CellKey, IdKey};
use touchline_model::kind::Kind;
use touchline_model::output::TouchState;
use touchline_model::record::{Input, LoopBody, Record};
use touchline_model::time::Time;

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
