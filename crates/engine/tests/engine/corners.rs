//! Corners of journeys, tags and links, each with what the language page and the design say must come out.

use crate::support::*;
use touchline_model::command::{CommandBody, TagRef};
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::record::Input;
use touchline_model::time::Span;

fn playbook(journey: &str) -> String {
    format!(
        "playbook: price-consideration\ntag_groups: [{{id: g, tags: [a, b]}}]\n\
         rules: [{{id: b, trigger: form.submitted, do: [{{set_tag: g/b}}]}}]\njourneys:\n  - {journey}\n"
    )
}

fn happens(kind: Kind, basis: &str, when: &str) -> Event {
    event(kind, basis, at(when), vec![wecom("wm1")], &[("staff", "zhangsan"), ("order_id", "E1")])
}

/// The journey, then what happens, then time passing; what is said of touches.
fn told(journey: &str, events: &[Event], until: &str) -> (Vec<String>, Engines) {
    let mut engines = Engines::new(&playbook(journey), at("2026-03-02T08:00:00"));
    for event in events {
        engines.event(event.clone());
    }
    engines.advance(at(until));
    (engines.touch_lines(), engines)
}

#[test]
fn an_exit_cancels_an_unconfirmed_touch_after_the_last_step() {
    let journey = "{id: w, entry: {trigger: contact.added}, exit: {trigger: order.paid}, \
                   steps: [{id: s1, after: 5m, touchpoint: dm, content: c}]}";
    let added = happens(Kind::ContactAdded, "1", "2026-03-02T09:00:00");
    let paid = happens(Kind::OrderPaid, "2", "2026-03-02T09:15:00");
    let (lines, engines) = told(journey, &[added.clone(), paid], "2026-03-05T00:00:00");
    assert_eq!(lines, ["s1 due 2026-03-02T09:05:00", "s1 cancelled(exit) 2026-03-02T09:05:00"]);
    assert_eq!(engines.contact(&wecom("wm1")).enrolments[0].ended.as_ref().expect("ended").0, "exit");
    // Nobody pays: missed a day later, and only then complete.
    let (_, engines) = told(journey, &[added], "2026-03-05T00:00:00");
    let ended = engines.contact(&wecom("wm1")).enrolments[0].ended.clone();
    assert_eq!(ended, Some(("completed".to_owned(), at("2026-03-03T09:05:00"))));
}

#[test]
fn a_goal_without_a_window_does_not_keep_a_journey_open() {
    let journey = "{id: w, entry: {trigger: contact.added}, exit: {trigger: contact.removed}, goal: {trigger: order.paid}, \
                   re_entry: {after_exit: 1d}, steps: [{id: s1, after: 5m, touchpoint: dm, content: c}]}";
    let added = happens(Kind::ContactAdded, "1", "2026-03-02T09:00:00");
    let again = happens(Kind::ContactAdded, "2", "2026-03-05T09:00:00");
    let (lines, engines) = told(journey, &[added, again], "2026-03-05T12:00:00");
    assert_eq!(lines[2], "s1 due 2026-03-05T09:05:00");
    assert_eq!(engines.contact(&wecom("wm1")).enrolments[0].number, 2);
}

#[test]
fn a_tag_that_a_retraction_restores_is_carried_since_it_was_set() {
    let playbook = "playbook: price-consideration\ntag_groups: [{id: g, exclusive: true, tags: [vip, lost]}]\nrules:\n\
                    \x20 - {id: a, trigger: form.submitted, do: [{set_tag: g/vip}]}\n\
                    \x20 - {id: b, trigger: \"silence(order.paid, for=1d, since=order.paid)\", do: [{set_tag: g/lost}]}\n";
    let mut engines = Engines::new(playbook, at("2026-03-02T08:00:00"));
    engines.event(happens(Kind::FormSubmitted, "1", "2026-03-02T09:00:00"));
    let vip = engines.contact(&wecom("wm1")).tags;
    engines.event(happens(Kind::OrderPaid, "2", "2026-03-02T10:00:00"));
    engines.advance(at("2026-03-03T11:00:00"));
    assert_eq!(engines.contact(&wecom("wm1")).tags[0].tag, "lost");
    engines.event(happens(Kind::OrderPaid, "3", "2026-03-03T09:00:00"));
    assert_eq!(engines.contact(&wecom("wm1")).tags, vip);
    let last = engines.tag_changes().last().expect("a change").to_owned();
    assert!(last.retracted && last.at == at("2026-03-03T09:00:00"), "{last:?}");
}

#[test]
fn rules_that_a_ninth_round_would_run_are_counted() {
    let rule = |number: u32, when: &str| {
        format!("  - {{id: r{number}, trigger: tag_set(g/t{}){when}, do: [{{set_tag: g/t{number}}}]}}\n", number - 1)
    };
    let cut = |chain: u32, when: &str| {
        let tags: Vec<String> = (1..=10).map(|tag| format!("t{tag}")).collect();
        let first = "  - {id: r1, trigger: order.paid, do: [{set_tag: g/t1}]}\n".to_owned();
        let rules: String = std::iter::once(first).chain((2..chain).map(|number| rule(number, ""))).collect();
        let last = rule(chain, when);
        let playbook = format!(
            "playbook: price-consideration\ntag_groups: [{{id: g, tags: [{}]}}]\nrules:\n{rules}{last}",
            tags.join(", ")
        );
        let mut engines = Engines::new(&playbook, at("2026-03-02T08:00:00"));
        engines.notes_of(happens(Kind::OrderPaid, "1", "2026-03-02T09:00:00")).rounds_cut
    };
    assert_eq!(cut(8, ""), 0);
    assert_eq!(cut(9, ""), 1);
    // What would do nothing is not missed.
    assert_eq!(cut(9, ", when: tag(g/t10)"), 0);
}

#[test]
fn history_leaves_a_running_enrolment_alone() {
    let journey = "{id: w, entry: {trigger: contact.added}, exit: {trigger: order.paid}, re_entry: {each: entry}, \
                   steps: [{id: s1, after: 5m, touchpoint: dm, content: c}, {id: s2, after: 1h, touchpoint: dm, content: c}]}";
    let added = happens(Kind::ContactAdded, "1", "2026-03-02T09:00:00");
    let mut engines = Engines::new(&playbook(journey), at("2026-03-02T08:00:00"));
    engines.event(added);
    engines.event(happens(Kind::ContactAdded, "old", "2026-03-01T02:00:00"));
    engines.advance(at("2026-03-02T12:00:00"));
    assert_eq!(engines.touch_lines(), ["s1 due 2026-03-02T09:05:00", "s2 due 2026-03-02T10:05:00"]);
    // A recent one enters again: what was running is cancelled first.
    engines.event(happens(Kind::ContactAdded, "new", "2026-03-02T12:30:00"));
    assert_eq!(engines.touch_lines()[2], "s1 cancelled(re_entered) 2026-03-02T09:05:00");
}

#[test]
fn a_step_that_a_new_bundle_drops_is_cancelled_with_what_followed_it() {
    let step = |id: &str, after: &str| format!("{{id: {id}, after: {after}, touchpoint: dm, content: c}}");
    let journey = |steps: &[String]| {
        format!(
            "{{id: w, entry: {{trigger: contact.added}}, exit: {{trigger: order.paid}}, steps: [{}]}}",
            steps.join(", ")
        )
    };
    let all = [step("p1", "5m"), step("p2", "1h"), step("p3", "1h")];
    let mut engines = Engines::new(&playbook(&journey(&all)), at("2026-03-02T08:00:00"));
    engines.event(happens(Kind::ContactAdded, "1", "2026-03-02T09:00:00"));
    engines.advance(at("2026-03-02T09:10:00"));
    engines.activate("drop", &playbook(&journey(&[step("p1", "5m"), step("p3", "1h")])), 1);
    engines.advance(at("2026-03-02T12:00:00"));
    assert_eq!(
        engines.touch_lines(),
        [
            "p1 due 2026-03-02T09:05:00",
            "p2 cancelled(removed) 2026-03-02T10:05:00",
            "p3 cancelled(removed) 2026-03-02T11:05:00",
        ]
    );
}

#[test]
fn a_journey_that_a_new_bundle_drops_says_what_is_known_of_it() {
    let journey = "{id: w, entry: {trigger: contact.added}, exit: {trigger: order.paid}, goal: {trigger: order.paid, within: 30d}, \
                   steps: [{id: p1, after: 5m, touchpoint: dm, content: c}, {id: p2, after: 1h, touchpoint: dm, content: c}]}";
    let mut engines = Engines::new(&playbook(journey), at("2026-03-02T08:00:00"));
    engines.event(happens(Kind::ContactAdded, "1", "2026-03-02T09:00:00"));
    engines.advance(at("2026-03-02T09:10:00"));
    engines.activate("drop", &playbook(&journey.replace("id: w", "id: other")), 1);
    engines.advance(at("2026-04-10T00:00:00"));
    // p1 went out and waits for its confirmation; p2 has no playbook any more that says what it would have sent.
    assert_eq!(
        engines.touch_lines(),
        [
            "p1 due 2026-03-02T09:05:00",
            "p2 cancelled(removed) 2026-03-02T10:05:00",
            "p1 missed(expired) 2026-03-02T09:05:00",
        ]
    );
    let enrolment = &engines.contact(&wecom("wm1")).enrolments[0];
    assert_eq!(enrolment.ended, Some(("removed".to_owned(), at("2026-03-02T10:05:00"))));
}

#[test]
fn steps_without_delay_follow_each_other_and_end() {
    let journey = "{id: w, entry: {trigger: contact.added}, exit: {trigger: order.paid}, \
                   steps: [{id: s1, after: 0s, touchpoint: dm, content: c}, {id: s2, after: 0s, touchpoint: dm, content: c}]}";
    let (lines, _) = told(journey, &[happens(Kind::ContactAdded, "1", "2026-03-02T09:00:00")], "2026-03-02T09:00:01");
    assert_eq!(lines, ["s1 due 2026-03-02T09:00:00", "s2 due 2026-03-02T09:00:00"]);
}

#[test]
fn what_a_late_tick_finds_due_happens_in_its_order() {
    let playbook = "playbook: price-consideration\n\
        tag_groups: [{id: g, exclusive: true, tags: [left, silent]}]\n\
        segments: {second-day: age(last(order.paid)) > 1d and age(last(order.paid)) <= 2d}\n\
        rules:\n  \
        - {id: a, trigger: segment_left(second-day), do: [{set_tag: g/left}]}\n  \
        - {id: b, trigger: \"silence(order.paid, for=60h, since=order.paid)\", do: [{set_tag: g/silent}]}\n";
    let mut engines = Engines::new(playbook, at("2026-03-02T00:00:00"));
    engines.event(happens(Kind::OrderPaid, "1", "2026-03-02T00:00:00"));
    // Nobody was there for days. That the segment ends is only waited for once it has begun, the silence from the start.
    engines.now = at("2026-03-12T00:00:00");
    for _ in 0..3 {
        for partition in 0..PARTITIONS {
            engines.append(partition, None, Ok(Input::Tick { wall: engines.now }));
        }
    }
    let seen: Vec<_> = engines.tag_changes().iter().map(|change| (change.set.clone(), change.at)).collect();
    let expected = [("left", "2026-03-04T00:00:00.001"), ("silent", "2026-03-04T12:00:00")];
    assert_eq!(seen, expected.map(|(tag, when)| (Some(tag.to_owned()), at(when))));
}

#[test]
fn a_group_that_becomes_exclusive_keeps_one_tag() {
    let loose = "playbook: price-consideration\ntag_groups: [{id: g, tags: [a, b]}]\n\
                 rules: [{id: b, trigger: form.submitted, do: [{set_tag: g/b}]}]\n";
    let mut engines = Engines::new(loose, at("2026-03-02T08:00:00"));
    engines.event(happens(Kind::ContactAdded, "1", "2026-03-02T09:00:00"));
    let add = vec![TagRef::new("g", "a"), TagRef::new("g", "b")];
    let contact = CellKey::of(TENANT, &wecom("wm1"));
    engines.command("both", CommandBody::EditTags { contact, add, remove: vec![], reason: String::new() });
    engines.activate("strict", &loose.replace("{id: g, tags", "{id: g, exclusive: true, tags"), 1);
    engines.event(happens(Kind::FormSubmitted, "2", "2026-03-02T10:00:00"));
    let tags: Vec<String> = engines.contact(&wecom("wm1")).tags.iter().map(|tag| tag.tag.clone()).collect();
    assert_eq!(tags, ["b"]);
}

#[test]
fn what_was_taken_off_before_a_group_became_exclusive_does_not_lock_what_it_carries() {
    let loose = "playbook: price-consideration\ntag_groups: [{id: g, manual: wins, tags: [a, b, c]}]\n\
                 rules:\n  - {id: b, trigger: form.submitted, do: [{set_tag: g/b}]}\n  \
                 - {id: a, trigger: order.shipped, do: [{set_tag: g/a}]}\n  \
                 - {id: c, trigger: order.paid, do: [{set_tag: g/c}]}\n";
    let mut engines = Engines::new(loose, at("2026-03-02T08:00:00"));
    engines.event(happens(Kind::FormSubmitted, "1", "2026-03-02T09:00:00"));
    let edit = |add: Vec<TagRef>, remove: Vec<TagRef>| {
        let contact = CellKey::of(TENANT, &wecom("wm1"));
        CommandBody::EditTags { contact, add, remove, reason: String::new() }
    };
    let a = || vec![TagRef::new("g", "a")];
    engines.command("on", edit(a(), vec![]));
    engines.command("off", edit(vec![], a()));
    engines.activate("strict", &loose.replace("{id: g, manual", "{id: g, exclusive: true, manual"), 1);
    let tags =
        |engines: &Engines| engines.contact(&wecom("wm1")).tags.into_iter().map(|tag| tag.tag).collect::<Vec<_>>();
    // That one stays off; the others are nobody's wish.
    engines.event(happens(Kind::OrderShipped, "2", "2026-03-02T10:00:00"));
    assert_eq!(tags(&engines), ["b"]);
    engines.event(happens(Kind::OrderPaid, "3", "2026-03-02T11:00:00"));
    assert_eq!(tags(&engines), ["c"]);
}

#[test]
fn an_order_learns_its_buyer_from_an_event_that_names_one() {
    let mut engines = Engines::new(
        &playbook("{id: w, entry: {trigger: order.paid}, steps: [{id: s1, after: 5m, touchpoint: dm, content: c}]}"),
        at("2026-03-02T08:00:00"),
    );
    let order = IdKey::new(IdKind::Order, "youzan:1", "E9");
    let when = at("2026-03-02T09:00:00");
    engines.event(event(Kind::OrderPaid, "p", when, vec![order.clone(), youzan("yzB")], &[("order_id", "E9")]));
    // From now on events that name no buyer find the way too.
    engines.event(event(Kind::OrderShipped, "s", when, vec![order], &[("order_id", "E9")]));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
    let happened = engines.contact(&youzan("yzB")).past.happened;
    assert_eq!(happened.keys().collect::<Vec<_>>(), ["order.paid", "order.shipped"]);
}

#[test]
fn a_link_may_be_logged_under_either_identifier() {
    let mut engines = Engines::new(
        &playbook("{id: w, entry: {trigger: order.paid}, steps: [{id: s1, after: 5m, touchpoint: dm, content: c}]}"),
        at("2026-03-02T08:00:00"),
    );
    let when = at("2026-03-02T09:00:00");
    engines.event(event(Kind::ContactAdded, "a", when, vec![wecom("wm1")], &[("staff", "zhangsan")]));
    // The native identifier is the lower one: the link itself must not make it a contact of its own.
    let ids = vec![youzan("yzB"), wecom("wm1")];
    engines.event(event(Kind::IdentityLinked, "l", when, ids, &[("evidence", "strong")]));
    assert_eq!(engines.dead_reasons(), [] as [&str; 0]);
    let forward = engines.contact(&youzan("yzB"));
    assert_eq!(forward.merged_into, Some(CellKey::of(TENANT, &wecom("wm1"))));
    assert!(forward.version.offset > 0, "the higher version wins for every reader");
}

#[test]
fn weak_evidence_is_said_once_and_stronger_evidence_still_counts() {
    let mut engines = Engines::new(
        &playbook("{id: w, entry: {trigger: order.paid}, steps: [{id: s1, after: 5m, touchpoint: dm, content: c}]}"),
        at("2026-03-02T08:00:00"),
    );
    let link = |basis: &str, evidence: &str| {
        let ids = vec![wecom("wm1"), youzan("yzB")];
        event(Kind::IdentityLinked, basis, at("2026-03-02T09:00:00"), ids, &[("evidence", evidence)])
    };
    engines.event(link("1", "weak"));
    engines.event(link("2", "weak"));
    assert_eq!(engines.dead_reasons(), ["link_weak"]);
    engines.event(link("3", "medium"));
    assert_eq!(engines.contact(&wecom("wm1")).identities.len(), 2);
}

#[test]
fn names_that_nobody_declared_do_not_grow_a_contact() {
    let mut engines = Engines::new(
        &playbook("{id: w, entry: {trigger: order.paid}, steps: [{id: s1, after: 5m, touchpoint: dm, content: c}]}"),
        at("2026-03-02T08:00:00"),
    );
    for number in 0..50 {
        let mut custom = happens(Kind::Custom, &number.to_string(), "2026-03-02T09:00:00");
        custom.custom_name = format!("made.up{number}");
        engines.event(custom);
    }
    assert!(engines.contact(&wecom("wm1")).past.happened.is_empty());
    for number in 0..400 {
        let staff = format!("staff{number}");
        let when = at("2026-03-02T09:00:00").plus(Span(number));
        engines.event(event(Kind::ContactAdded, &staff, when, vec![wecom("wm1")], &[("staff", &staff)]));
    }
    assert_eq!(engines.contact(&wecom("wm1")).relations.len(), 256);
}

#[test]
fn thousands_of_orders_do_not_grow_the_hot_value() {
    let mut engines = Engines::new(
        &playbook(
            "{id: w, entry: {trigger: form.submitted}, steps: [{id: s1, after: 5m, touchpoint: dm, content: c}]}",
        ),
        at("2026-03-02T08:00:00"),
    );
    let hot = |engines: &Engines| {
        let key = CellKey::of(TENANT, &youzan("yzB"));
        engines.parts[key.partition(PARTITIONS) as usize].map.0[&touchline_engine::keys::cell(&key)].len()
    };
    let order = |number: i64| {
        let id = IdKey::new(IdKind::Order, "youzan:1", format!("E{number}"));
        let when = at("2026-03-02T09:00:00").plus(Span(number));
        event(Kind::OrderPaid, &number.to_string(), when, vec![youzan("yzB"), id], &[])
    };
    engines.event(order(0));
    let before = hot(&engines);
    (1..2_000).for_each(|number| engines.event(order(number)));
    assert!(hot(&engines) <= before + 4, "{} bytes, {before} before", hot(&engines));
}

#[test]
fn requests_of_two_tenants_never_meet() {
    use touchline_engine::keys::result;
    assert_ne!(result("a", "b/c"), result("a/b", "c"));
    assert_ne!(result("a", "1|b"), result("a|1", "b"));
}
