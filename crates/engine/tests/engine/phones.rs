//! Tags on phones: what cannot be shown in the operators' words, because it changes no tag.

use crate::support::*;
use touchline_model::command::CommandBody;
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::output::Output;
use touchline_model::value::Value;

const PLAYBOOK: &str = "playbook: price-consideration
tag_groups: [{id: 阶段, exclusive: true, ordered: true, tags: [一, 二]}, {id: 兴趣, tags: [面霜]}]
boards: [{id: 看板, group: 阶段, backward: never}]
rules: [{id: a, trigger: order.paid, do: [{set_tag: 阶段/二}]}]
";
const DIRECTORY: &str = "kind: directory
wecom_tags: [{native_id: et1, tag: 阶段/一}, {native_id: et2, tag: 阶段/二}, {native_id: et3, tag: 兴趣/面霜}]
";

fn engines() -> Engines {
    let mut engines = Engines::new(PLAYBOOK, at("2026-03-02T08:00:00"));
    engines.command("directory", CommandBody::SetDirectory { yaml: DIRECTORY.to_owned() });
    engines
}

fn observed(basis: &str, when: &str, added: &[&str], removed: &[&str]) -> Event {
    let mut event = event(Kind::TagObserved, basis, at(when), vec![wecom("wm1")], &[("staff", "zhang")]);
    for (field, ids) in [("added", added), ("removed", removed)] {
        event.fields.set(field, Value::List(ids.iter().map(|id| Value::text(*id)).collect()));
    }
    event
}

fn letters(engines: &Engines) -> Vec<(&'static str, String)> {
    let letters = engines.outputs.iter().filter_map(|output| match &output.output {
        Output::DeadLetter(letter) => Some((letter.reason.name(), letter.detail.clone())),
        _ => None,
    });
    letters.collect()
}

#[test]
fn what_a_board_does_not_allow_on_the_phone_is_said_once() {
    let mut engines = engines();
    engines.event(event(Kind::OrderPaid, "1", at("2026-03-02T09:00:00"), vec![wecom("wm1")], &[]));
    engines.event(observed("2", "2026-03-02T10:00:00", &["et1"], &["et2"]));
    assert_eq!(
        letters(&engines),
        [("tag_refused", "on the phone 阶段/一 was set, which lies behind 二: no card moves that way".to_owned())]
    );
    // The phone goes on showing it: that is known already.
    engines.event(observed("3", "2026-03-02T11:00:00", &["et1"], &[]));
    assert_eq!(letters(&engines).len(), 1);
    let contact = engines.contact(&wecom("wm1"));
    assert_eq!(contact.tags.iter().map(|tag| tag.tag.as_str()).collect::<Vec<_>>(), ["二"]);
    let shown = &contact.past.observed["zhang"];
    assert!(shown["et1"].carried && !shown["et2"].carried);
    assert!(contact.past.gone.is_empty(), "nothing is gone without a place");
}

#[test]
fn unknown_ids_are_counted_when_first_seen_and_stay_visible() {
    let mut engines = engines();
    for (number, (when, expected)) in [("2026-03-02T10:00:00", 1), ("2026-03-02T11:00:00", 0)].into_iter().enumerate() {
        let event = observed(&number.to_string(), when, &["et3", "et9"], &[]);
        assert_eq!(engines.notes_of(event).tags_unknown, expected, "{when}");
    }
    let contact = engines.contact(&wecom("wm1"));
    let shown = &contact.past.observed["zhang"];
    assert_eq!(shown["et3"].tag.as_ref().map(ToString::to_string).as_deref(), Some("兴趣/面霜"));
    assert!(shown["et9"].carried && shown["et9"].tag.is_none());
}

#[test]
fn ids_that_are_none_and_too_many_of_them_are_not_kept() {
    let mut engines = engines();
    let many: Vec<String> = (0..600).map(|number| format!("ex{number}")).collect();
    let mut ids: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = "e".repeat(129);
    ids.extend(["", long.as_str()]);
    let notes = engines.notes_of(observed("1", "2026-03-02T10:00:00", &ids, &[]));
    assert_eq!(notes.tags_unknown, 600);
    // What is kept no more still does nothing, and what is known goes on working.
    engines.notes_of(observed("2", "2026-03-02T11:00:00", &["et3"], &[]));
    let contact = engines.contact(&wecom("wm1"));
    assert_eq!(contact.past.observed["zhang"].len(), 512);
    assert!(contact.tags.is_empty());
    engines.notes_of(observed("3", "2026-03-02T12:00:00", &["et3"], &["ex0"]));
    engines.notes_of(observed("4", "2026-03-02T13:00:00", &["et3"], &[]));
    assert_eq!(engines.contact(&wecom("wm1")).tags.len(), 1);
}

#[test]
fn a_mapped_tag_that_wecom_deletes_or_renames_is_said() {
    let mut engines = engines();
    let corp = IdKey::new(IdKind::Group, "wwcorp", "wwcorp");
    let mut number = 0;
    let mut changed = |engines: &mut Engines, id: &str, ty: &str, op: &str| {
        number += 1;
        let fields = [("id", id), ("type", ty), ("op", op)];
        let basis = number.to_string();
        engines.event(event(Kind::TagCatalogChanged, &basis, at("2026-03-02T10:00:00"), vec![corp.clone()], &fields));
        letters(engines).len()
    };
    for (id, ty, op, said) in [
        ("et9", "tag", "delete", 0),
        ("et1", "tag", "create", 0),
        ("et1", "tag", "update", 1),
        ("et1", "tag", "delete", 2),
        ("grp", "tag_group", "shuffle", 2),
        ("grp", "tag_group", "delete", 3),
    ] {
        assert_eq!(changed(&mut engines, id, ty, op), said, "{id} {ty} {op}");
    }
    assert_eq!(letters(&engines)[1].0, "tag_catalog");
    assert!(letters(&engines)[1].1.contains("阶段/一"));
}

#[test]
fn what_phones_show_stays_with_the_identifier_of_wecom() {
    let mut engines = engines();
    let (wecom, leaves) = (wecom("wm1"), unionid("u1"));
    engines.event(event(Kind::OrderPaid, "1", at("2026-03-02T09:00:00"), vec![leaves.clone()], &[]));
    engines.event(observed("2", "2026-03-02T09:30:00", &["et3"], &[]));
    let ids = vec![wecom.clone(), leaves.clone()];
    engines.event(event(Kind::IdentityLinked, "3", at("2026-03-02T10:00:00"), ids, &[("evidence", "strong")]));
    let contact = CellKey::of(TENANT, &wecom);
    engines.command("part", CommandBody::Unlink { contact, identifier: leaves.clone(), reason: String::new() });
    let shown = |id: &IdKey| engines.contact(id).past.observed.contains_key("zhang");
    assert!(shown(&wecom) && !shown(&leaves));
}
