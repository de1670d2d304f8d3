//! Groups: `design.md`, section 1.2, and `channels.md` (versions chain; a list is told at once, otherwise a fetch is).

use crate::support::*;
use touchline_model::event::{Channel, Event};
use touchline_model::id::{IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::output::Output;
use touchline_model::time::{Span, Time};
use touchline_model::value::{Fields, Value};

const PLAYBOOK: &str = r#"
playbook: price-consideration
tag_groups:
  - {id: 社群, exclusive: true, tags: [在群, 退群]}
rules:
  - {id: joined, trigger: group.joined, do: [{set_tag: 社群/在群}]}
  - {id: left, trigger: group.left, do: [{set_tag: 社群/退群}]}
"#;

fn engines() -> Engines {
    Engines::new(PLAYBOOK, at("2026-03-02T08:00:00"))
}

fn group() -> IdKey {
    IdKey::new(IdKind::Group, "wwcorp", "wrABC")
}

fn of_corp(event: Event) -> Event {
    Event { account: "wwcorp".to_owned(), channel: Channel::Wecom, ..event }
}

/// A callback: from one version to the next, with a list or without.
fn changed(when: &str, detail: &str, (from, to): (&str, &str), list: Option<&[&str]>) -> Event {
    let fields = [("detail", detail), ("from_ver", from), ("to_ver", to)];
    let mut event = event(Kind::GroupMembersChanged, when, at(when), vec![group()], &fields);
    if let Some(list) = list {
        event.fields.set("list", Value::List(list.iter().copied().map(Value::text).collect()));
    }
    of_corp(event)
}

fn snapshot(when: &str, version: &str, members: &[(&str, Option<Time>)]) -> Event {
    let mut event = event(Kind::GroupSnapshot, when, at(when), vec![group()], &[("member_version", version)]);
    let each = members.iter().map(|(member, joined_at)| {
        let fields = Fields::new().with("member", Value::text(*member)).with("how", Value::text("qr"));
        Value::Record(match joined_at {
            Some(joined_at) => fields.with("joined_at", Value::Time(*joined_at)),
            None => fields,
        })
    });
    event.fields.set("members", Value::List(each.collect()));
    of_corp(event)
}

/// An event of a customer, as the callback with a list gives it.
fn joins(who: &str, when: &str) -> Event {
    let subject = vec![wecom(who), group()];
    of_corp(event(Kind::GroupJoined, when, at(when), subject, &[("member", who), ("group", "wrABC")]))
}

fn stage(engines: &Engines, who: &str) -> Option<(String, Time)> {
    engines.contact(&wecom(who)).tags.first().map(|tag| (tag.tag.clone(), tag.set_at))
}

fn joined(when: &str) -> Option<(String, Time)> {
    Some(("在群".to_owned(), at(when)))
}

fn left(when: &str) -> Option<(String, Time)> {
    Some(("退群".to_owned(), at(when)))
}

#[test]
fn a_snapshot_tells_who_came_and_who_went_since() {
    let mut engines = engines();
    let since = at("2026-02-01T10:00:00");
    engines.event(snapshot("2026-03-02T09:00:00", "v1", &[("wmA", Some(since)), ("wmB", None)]));
    // Where the fetch says since when, that is the moment.
    assert_eq!(stage(&engines, "wmA"), joined("2026-02-01T10:00:00"));
    assert_eq!(stage(&engines, "wmB"), joined("2026-03-02T09:00:00"));
    let changes = engines.tag_changes().len();
    engines.event(snapshot("2026-03-02T10:00:00", "v2", &[("wmB", None), ("wmC", None)]));
    assert_eq!(stage(&engines, "wmA"), left("2026-03-02T10:00:00"));
    assert_eq!(stage(&engines, "wmC"), joined("2026-03-02T10:00:00"));
    // Who stayed is told nothing.
    assert_eq!(engines.tag_changes().len(), changes + 2);
    // The event is one of the member and says what led to it.
    let cause = &engines.contact(&wecom("wmC")).tags[0].cause;
    assert_eq!((cause.kind.as_str(), cause.rule.as_str()), ("group.joined", "rules/joined"));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
}

#[test]
fn versions_chain_and_a_missed_change_is_asked_for_again_until_a_snapshot_comes() {
    let mut engines = engines();
    engines.event(snapshot("2026-03-02T09:00:00", "v1", &[("wmA", None)]));
    // The next version, with a list: the member has said so already, the group follows.
    engines.event(joins("wmB", "2026-03-02T09:10:00"));
    engines.event(changed("2026-03-02T09:10:01", "add_member", ("v1", "v2"), Some(&["wmB"])));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
    // Staff alone came: nobody to tell, nothing missed. The same twice: known.
    engines.event(changed("2026-03-02T09:20:00", "add_member", ("v2", "v3"), Some(&[])));
    engines.event(changed("2026-03-02T09:21:00", "add_member", ("v2", "v3"), Some(&[])));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
    // v4 never came.
    engines.event(changed("2026-03-02T09:30:00", "del_member", ("v4", "v5"), Some(&["wmA"])));
    assert_eq!(engines.dead_reasons(), ["group_outdated"]);
    // Further changes do not ask again; time does: after one hour, two, four …, seven times in all.
    engines.event(changed("2026-03-02T09:40:00", "add_member", ("v5", "v6"), Some(&["wmC"])));
    assert_eq!(engines.dead_reasons().len(), 1);
    engines.advance(at("2026-03-02T10:29:59"));
    assert_eq!(engines.dead_reasons().len(), 1);
    engines.advance(at("2026-03-02T10:30:00"));
    assert_eq!(engines.dead_reasons().len(), 2);
    engines.advance(at("2026-03-02T12:29:59"));
    assert_eq!(engines.dead_reasons().len(), 2);
    engines.advance(at("2026-03-02T12:30:00"));
    assert_eq!(engines.dead_reasons().len(), 3);
    let letter = engines.outputs.iter().rev().find_map(|output| match &output.output {
        Output::DeadLetter(letter) => Some(letter),
        _ => None,
    });
    let cell = touchline_model::id::CellKey::of(TENANT, &group());
    assert_eq!(letter.map(|letter| letter.cells.clone()), Some(vec![cell]));
    // The fetch: wmB was told already, wmD is the one that was missed.
    engines.outputs.clear();
    engines.event(snapshot("2026-03-02T13:00:00", "v6", &[("wmB", None), ("wmC", None), ("wmD", None)]));
    assert_eq!(stage(&engines, "wmD"), joined("2026-03-02T13:00:00"));
    assert_eq!(stage(&engines, "wmB"), joined("2026-03-02T09:10:00"));
    assert_eq!(engines.tag_changes().len(), 1);
    engines.advance(Time(at("2026-03-02T13:00:00").0 + Span::days(30).0));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
    // What the snapshot has is not missed when its callback comes late; and the chain goes on.
    engines.event(changed("2026-04-05T09:00:00", "add_member", ("v5", "v6"), None));
    engines.event(changed("2026-04-05T09:01:00", "add_member", ("v6", "v7"), Some(&["wmE"])));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
}

#[test]
fn a_new_question_has_its_own_time_whatever_was_still_armed_for_an_answered_one() {
    let mut engines = engines();
    engines.event(changed("2026-03-02T09:00:00", "add_member", ("v1", "v2"), None));
    engines.event(snapshot("2026-03-02T09:10:00", "v2", &[("wmA", None)]));
    engines.event(changed("2026-03-02T09:20:00", "add_member", ("v3", "v4"), None));
    assert_eq!(engines.dead_reasons().len(), 2);
    engines.advance(at("2026-03-02T10:19:59"));
    assert_eq!(engines.dead_reasons().len(), 2);
    engines.advance(at("2026-03-02T10:20:00"));
    assert_eq!(engines.dead_reasons().len(), 3);
    engines.advance(at("2026-03-02T12:19:59"));
    assert_eq!(engines.dead_reasons().len(), 3);
}

#[test]
fn a_change_without_names_or_before_any_snapshot_is_asked_for_a_bounded_number_of_times() {
    let mut engines = engines();
    engines.event(changed("2026-03-02T09:00:00", "add_member", ("v1", "v2"), None));
    assert_eq!(engines.dead_reasons(), ["group_outdated"]);
    engines.advance(at("2026-04-30T00:00:00"));
    assert_eq!(engines.dead_reasons().len(), 7);
}

#[test]
fn what_members_do_is_known_to_the_group_without_a_snapshot() {
    let mut engines = engines();
    engines.event(joins("wmA", "2026-03-02T09:00:00"));
    engines.event(joins("wmB", "2026-03-02T09:01:00"));
    let leaves = event(Kind::GroupLeft, "l", at("2026-03-02T09:05:00"), vec![wecom("wmB"), group()], &[]);
    engines.event(of_corp(leaves));
    engines.outputs.clear();
    engines.event(snapshot("2026-03-02T10:00:00", "v9", &[("wmA", None)]));
    assert_eq!((engines.tag_changes().len(), engines.dead_reasons().len()), (0, 0));
    // The group is gone: so is who was in it.
    let dismissed = event(Kind::GroupDismissed, "d", at("2026-03-02T11:00:00"), vec![group()], &[]);
    engines.event(of_corp(dismissed));
    assert_eq!(stage(&engines, "wmA"), left("2026-03-02T11:00:00"));
    assert_eq!(stage(&engines, "wmB"), left("2026-03-02T09:05:00"));
}

#[test]
fn members_of_another_corp_and_too_many_are_refused() {
    let mut engines = engines();
    let stranger = snapshot("2026-03-02T09:00:00", "v1", &[("wmA", None)]);
    engines.event(Event { account: "wwother".to_owned(), ..stranger });
    let names: Vec<String> = (0..2_001).map(|number| format!("wm{number}")).collect();
    let members: Vec<(&str, Option<Time>)> = names.iter().map(|name| (name.as_str(), None)).collect();
    engines.event(snapshot("2026-03-02T09:01:00", "v1", &members));
    assert_eq!(engines.dead_reasons(), ["group_refused", "group_refused"]);
    assert_eq!(engines.tag_changes().len(), 0);
    engines.event(snapshot("2026-03-02T09:02:00", "v2", &members[..2_000]));
    assert_eq!((engines.tag_changes().len(), engines.dead_reasons().len()), (2_000, 2));
    // A name that is no key is nobody; the others are told.
    let long = "w".repeat(600);
    engines.event(snapshot("2026-03-02T09:03:00", "v3", &[("wm0", None), (&long, None)]));
    assert_eq!(engines.dead_reasons()[2..], ["group_refused"]);
}

#[test]
fn a_member_who_is_another_contact_by_now_is_told_there() {
    let mut engines = engines();
    let (member, person) = (wecom("wmA"), IdKey::new(IdKind::WecomExternalUserid, "wwother", "wmA2"));
    let both = vec![member.clone(), person.clone()];
    engines.event(event(Kind::IdentityLinked, "l", at("2026-03-02T08:30:00"), both, &[("evidence", "strong")]));
    engines.event(snapshot("2026-03-02T09:00:00", "v1", &[("wmA", None)]));
    let root = if engines.contact(&member).merged_into.is_some() { &person } else { &member };
    assert_eq!(engines.contact(root).tags.len(), 1);
}

/// The same, and its event comes later than it was true.
fn late(event: Event, true_at: &str) -> Event {
    Event { occurred_at: Some(at(true_at)), ..event }
}

#[test]
fn a_snapshot_of_before_moves_nobody_of_whom_something_later_is_known() {
    let mut engines = engines();
    engines.event(snapshot("2026-03-02T09:00:00", "v1", &[("wmA", None), ("wmC", None), ("wmD", None)]));
    engines.event(joins("wmB", "2026-03-02T10:00:00"));
    engines.event(changed("2026-03-02T10:00:01", "add_member", ("v1", "v2"), Some(&["wmB"])));
    let leaves = event(Kind::GroupLeft, "l", at("2026-03-02T10:01:00"), vec![wecom("wmC"), group()], &[]);
    engines.event(of_corp(leaves));
    engines.event(changed("2026-03-02T10:01:00", "del_member", ("v2", "v3"), Some(&["wmC"])));
    engines.advance(at("2026-03-02T10:05:00"));
    engines.outputs.clear();
    // Fetched at 09:59, arrived at 10:05: it knows better only of wmD and wmE.
    let members = [("wmA", None), ("wmC", None), ("wmE", None)];
    engines.event(late(snapshot("2026-03-02T10:05:00", "v1", &members), "2026-03-02T09:59:00"));
    assert_eq!(stage(&engines, "wmB"), joined("2026-03-02T10:00:00"));
    assert_eq!(stage(&engines, "wmC"), left("2026-03-02T10:01:00"));
    assert_eq!(stage(&engines, "wmD"), left("2026-03-02T09:59:00"));
    assert_eq!(stage(&engines, "wmE"), joined("2026-03-02T09:59:00"));
    assert_eq!(engines.tag_changes().len(), 2);
    // The version stays, so that the next change follows on it.
    engines.event(changed("2026-03-02T10:10:00", "add_member", ("v3", "v4"), Some(&["wmF"])));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
    // One of before that one is nothing at all; nor is a word of before it.
    engines.event(late(snapshot("2026-03-02T10:11:00", "v0", &[("wmD", None)]), "2026-03-02T09:30:00"));
    engines.event(late(joins("wmD", "2026-03-02T10:12:00"), "2026-03-02T09:31:00"));
    engines.outputs.clear();
    let all = [("wmA", None), ("wmB", None), ("wmE", None), ("wmF", None)];
    engines.event(snapshot("2026-03-02T11:00:00", "v4", &all));
    assert_eq!((engines.tag_changes().len(), engines.dead_reasons().len()), (0, 0));
}

#[test]
fn a_snapshot_of_before_the_change_that_was_missed_does_not_answer() {
    let mut engines = engines();
    engines.event(snapshot("2026-03-02T09:00:00", "v1", &[("wmA", None)]));
    engines.event(changed("2026-03-02T10:00:00", "add_member", ("v2", "v3"), Some(&["wmB"])));
    engines.event(late(snapshot("2026-03-02T10:05:00", "v1", &[("wmA", None)]), "2026-03-02T09:59:00"));
    assert_eq!(engines.dead_reasons(), ["group_outdated"]);
    engines.advance(at("2026-03-02T11:00:00"));
    assert_eq!(engines.dead_reasons(), ["group_outdated"; 2]);
    engines.event(snapshot("2026-03-02T11:01:00", "v3", &[("wmA", None), ("wmB", None)]));
    engines.advance(at("2026-03-12T11:00:00"));
    assert_eq!(engines.dead_reasons().len(), 2);
}
