//! What is wrong with a scenario file is said with its place, and failures say what was expected, found, and why.

use touchline_scenario::{Outcome, Scenario, Sources, run};

const PLAYBOOK: &str = "\
scenario: 试
playbook: |
  playbook: p
  tag_groups: [{id: 商机, exclusive: true, tags: [沟通, 价格, 赢单]}]
  boards: [{id: 看板, group: 商机}]
  rules:
    - {id: a, trigger: contact.added, do: [{set_tag: 商机/沟通}]}
    - {id: b, trigger: order.paid, do: [{set_tag: 商机/赢单}]}
steps:
";

#[track_caller]
fn wrong(steps: &str, expected: &str) {
    let found = Scenario::read("s.yaml", &format!("{PLAYBOOK}{steps}")).expect_err("it is wrong");
    let found: Vec<String> =
        found.iter().map(|finding| format!("{}:{} {}", finding.line, finding.column, finding.message)).collect();
    assert_eq!(found, [expected]);
}

#[track_caller]
fn outcome(steps: &str) -> Outcome {
    let scenario = Scenario::read("s.yaml", &format!("{PLAYBOOK}{steps}")).expect("a scenario");
    run(&scenario, &Sources::new()).outcome
}

const SEE: &str = "  - expect: {小王: {tags: []}}\n";

#[test]
fn mistakes_are_located() {
    let begin = "  - {at: 2026-12-01 09:00, 小王: contact.added}\n";
    // The first step is line 10 of the file.
    wrong(&format!("{begin}  - {{at: 9:00, 小王: contact.added}}\n{SEE}"), "11:10 `9:00` is not a moment");
    wrong(&format!("  - {{小王: contact.added}}\n{SEE}"), "10:6 the first step says when: `at: 2026-12-01 09:00`");
    wrong(&format!("{begin}  - {{aftr: 2h}}\n{SEE}"), "11:6 `aftr` does nothing that is known here");
    wrong(&format!("{begin}  - {{after: 2w, 小王: contact.added}}\n{SEE}"), "11:13 `2w` is not a duration");
    wrong(&format!("{begin}  - 小王: chat.message(txt=x)\n{SEE}"), "11:22 `chat.message` has no field `txt`");
    wrong(&format!("{begin}  - 小王: order.paid(paid_fen=x)\n{SEE}"), "11:29 `x` is not a number");
    wrong(
        &format!("{begin}  - 小王: tag_set(商机/价格)\n{SEE}"),
        "11:9 tag_set() follows from what people do: nobody does it",
    );
    wrong(&format!("{begin}  - expect: {{小玉: {{tags: []}}}}\n"), "11:5 nothing happens to `小玉`");
    wrong(&format!("{begin}  - expect: {{小王: {{tag: []}}}}\n"), "11:19 unknown key `tag`");
    wrong(&format!("{begin}  - expect: {{小王: {{tags: [商机]}}}}\n"), "11:26 `商机` is not a tag: write group/tag");
    wrong(begin, "1:1 a scenario expects something: `- expect: {…}`");
}

#[test]
fn a_time_zone_is_suggested() {
    let said = |zone: &str| {
        let file = format!("timezone: {zone}\n{PLAYBOOK}  - {{at: 2026-12-01 09:00, 小王: contact.added}}\n{SEE}");
        let found = Scenario::read("s.yaml", &file).expect_err("it is wrong");
        found.into_iter().map(|one| (one.line, one.column, one.message, one.hint)).collect::<Vec<_>>()
    };
    for (zone, hint) in [("shanghai", "did you mean `Asia/Shanghai`?"), ("CST", "use a name such as Asia/Shanghai")] {
        let message = format!("there is no time zone `{zone}`");
        assert_eq!(said(zone), [(1, 11, message, Some(hint.to_owned()))]);
    }
}

#[test]
fn hours_that_are_skipped_or_come_twice_are_named_once() {
    let file = |steps: &str| format!("timezone: America/New_York\n{PLAYBOOK}{steps}{SEE}");
    let said = |steps: &str| {
        let found = Scenario::read("s.yaml", &file(steps)).expect_err("it is wrong");
        let found = found.into_iter();
        found.map(|one| (one.line, one.column, one.message, one.hint.unwrap_or_default())).collect::<Vec<_>>()
    };
    let skipped = "on 2026-03-08 the clocks of America/New_York skip 02:30".to_owned();
    let later = "write 2026-03-08 03:30, which is when it would have been".to_owned();
    let twice = "on 2026-11-01 01:30 comes twice in America/New_York".to_owned();
    let which = "write which: 2026-11-01T01:30:00-04:00 or 2026-11-01T01:30:00-05:00".to_owned();
    let found = said("  - {at: 2026-03-08 02:30, 小王: contact.added}\n");
    assert_eq!(found, [(11, 10, skipped.clone(), later.clone())]);
    let found = said("  - {at: 2026-11-01 01:30:10, 小王: contact.added}\n");
    assert_eq!(found, [(11, 10, twice, which)]);
    let event = "{event: order.paid, created_at: 2026-03-08 02:30}";
    let found = said(&format!("  - {{at: 2026-12-01 09:00, 小王: {event}}}\n"));
    assert_eq!(found, [(11, 64, skipped, later)]);
    // With its offset it is one moment; 02:30 of any other day is, too.
    for moment in ["2026-11-01T01:30:00-05:00", "2026-03-09 02:30", "2026-11-02 01:30"] {
        let steps = format!("  - {{at: \"{moment}\", 小王: contact.added}}\n");
        assert!(Scenario::read("s.yaml", &file(&steps)).is_ok(), "{moment}");
    }
}

#[test]
fn a_failure_says_what_was_found_and_why() {
    let steps = "  - {at: 2026-12-01 09:00, 小王: contact.added}
  - {after: 1h, 小王: order.paid}
  - expect:
      小王:
        tags: [商机/沟通]
        stages: {看板: 赢单}
";
    let Outcome::Failed { failures } = outcome(steps) else { panic!("it fails") };
    let shown: Vec<String> = failures.iter().map(ToString::to_string).collect();
    let expected = "s.yaml:14:9: 小王 tags
  expected: 商机/沟通
  found:    商机/赢单
  because:  商机/赢单 since 2026-12-01 10:00: p/rules/b on order.paid
  because:  商机/沟通 unset 2026-12-01 10:00: p/rules/b on order.paid";
    assert_eq!(shown, [expected]);
}

#[test]
fn a_playbook_that_does_not_compile_is_located_in_the_scenario() {
    let text = format!(
        "{}  - {{at: 2026-12-01 09:00, 小王: contact.added}}\n{SEE}",
        PLAYBOOK.replace("order.paid", "order.payed")
    );
    let scenario = Scenario::read("s.yaml", &text).expect("a scenario");
    let Outcome::Refused { findings } = run(&scenario, &Sources::new()).outcome else { panic!("it is refused") };
    let shown: Vec<String> =
        findings.iter().map(|found| format!("{}:{} {}", found.line, found.column, found.code.unwrap_or("-"))).collect();
    assert_eq!(shown, ["8:24 PB022"]);
}

#[test]
fn by_hand_is_refused_only_where_it_is_expected() {
    let begin = "  - {at: 2026-12-01 09:00, 小王: contact.added}\n";
    let stale = "小王: {move_card: 看板, seen: 价格, to: 赢单}";
    let see = "  - expect: {小王: {stages: {看板: 沟通}}}\n";
    assert_eq!(outcome(&format!("{begin}  - {{{stale}, refused: stale_stage}}\n{see}")), Outcome::Passed);
    assert_eq!(outcome(&format!("{begin}  - {{{stale}, refused: any}}\n{see}")), Outcome::Passed);
    assert!(matches!(outcome(&format!("{begin}  - {{{stale}}}\n{see}")), Outcome::Failed { .. }));
    let fresh = "小王: {move_card: 看板, to: 赢单}";
    let won = "  - expect: {小王: {stages: {看板: 赢单}}}\n";
    assert_eq!(outcome(&format!("{begin}  - {fresh}\n{won}")), Outcome::Passed);
    assert!(matches!(outcome(&format!("{begin}  - {{{fresh}, refused: any}}\n{won}")), Outcome::Failed { .. }));
}
