//! What has to hold of any text.

use crate::corpus::Corpus;
use std::sync::atomic::{AtomicU64, Ordering};
use touchline_model::command::PlaybookSource;
use touchline_model::time::Zone;
use touchline_playbook::bundle::{Bundle, Condition};
use touchline_playbook::compile::{compile_with_warnings, playbook_id};
use touchline_playbook::diagnostic::{Diagnostic, render};
use touchline_playbook::{condition, diff, directory, syntax, yaml};
use touchline_scenario::{Outcome, Scenario, Sources, run};

/// How many documents compiled, scenarios were played and expressions parsed: damage that gets nowhere finds nothing.
pub(crate) static REACHED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// A playbook, a directory or a scenario, or what was one.
pub(crate) fn document(text: &str, corpus: &Corpus, history: u64) {
    let found = yaml::read("fuzz", text).err().unwrap_or_default();
    inside(text, &found);
    inside(text, &directory::parse(text).err().unwrap_or_default());
    match Scenario::read("fuzz.yaml", text) {
        Ok(scenario) => {
            REACHED[1].fetch_add(1, Ordering::Relaxed);
            drop(run(&scenario, &corpus.sources).to_string());
        }
        Err(found) => {
            let text = &text.replace("\r\n", "\n").replace('\r', "\n");
            found.iter().for_each(|found| place(text, found.line, found.column, &found.message));
        }
    }
    let id = playbook_id(text).unwrap_or_else(|_| "fuzz".to_owned());
    let source = PlaybookSource { id, yaml: text.to_owned() };
    let (other, known) = corpus.bundle(history);
    if let Err(found) = compile_with_warnings(&[other.clone(), source.clone()], 1) {
        let mine = |found: &&Diagnostic| found.source_id == source.id && other.id != source.id;
        inside(text, &found.iter().filter(mine).cloned().collect::<Vec<_>>());
    }
    match compile_with_warnings(&[source], 1) {
        Err(found) => {
            assert!(!found.is_empty(), "refused without a reason");
            inside(text, &found);
            drop(render(&found));
        }
        Ok((bundle, warnings)) => {
            inside(text, &warnings);
            assert!(diff::between(&bundle, &bundle).is_empty(), "a bundle differs from itself");
            REACHED[0].fetch_add(1, Ordering::Relaxed);
            assert!(diff::orphans(&bundle, &bundle).is_empty(), "a bundle loses tags to itself");
            let (there, back) = (diff::between(known, &bundle).len(), diff::between(&bundle, known).len());
            assert_eq!(there, back, "as much differs one way as the other");
            diff::orphans(&bundle, known);
            conditions(&bundle);
            lives(text, history);
        }
    }
}

/// A condition or a trigger, or what was one.
pub(crate) fn expression(text: &str) {
    let length = u32::try_from(text.chars().count()).expect("a short text");
    let condition = syntax::condition(text).map(drop);
    REACHED[2].fetch_add(u64::from(condition.is_ok()), Ordering::Relaxed);
    let others = [
        syntax::trigger(text).map(drop),
        syntax::attribute(text).map(drop),
        syntax::measure(text).map(drop),
        syntax::bound(text).map(drop),
    ];
    for error in others.into_iter().chain([condition]).filter_map(Result::err) {
        assert!(error.at <= length, "{error:?} is outside {text:?}");
    }
    let empty = compile_with_warnings(&[], 0).expect("nothing is a bundle").0;
    if let Err(found) = condition::parse(text, &empty) {
        place(text, found.line, found.column, &found.message);
    }
}

/// Written out and read again, every condition is the same.
fn conditions(bundle: &Bundle) {
    // A condition by itself knows no playbook, so days are those of the default zone.
    if bundle.playbooks.iter().any(|playbook| playbook.zone != Zone::SHANGHAI) {
        return;
    }
    let of_journeys = bundle.journeys.iter().flat_map(|journey| {
        let steps = journey.steps.iter().filter_map(|step| step.when.as_ref());
        journey.entry_when.iter().chain(&journey.exit_when).chain(steps)
    });
    let of_rules = bundle.rules.iter().filter_map(|rule| rule.when.as_ref());
    let all = bundle.segments.values().chain(of_rules).chain(of_journeys);
    all.for_each(|condition| {
        let written = Condition::write(condition);
        match condition::parse(&written, bundle) {
            Ok(again) => assert_eq!(again, *condition, "{written}"),
            // With its segments put in it may be longer than what anybody may write.
            Err(found) if found.code == "PB002" => {}
            Err(found) => panic!("{written}\n{found}"),
        }
    });
}

/// Things happen to people under the playbook, and time passes.
fn lives(text: &str, history: u64) {
    let mut random = history;
    let mut pick = |most: usize| {
        // xorshift64*, which is enough to choose by.
        random = random.max(1);
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        usize::try_from(random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).expect("31 bits") % most
    };
    let mut scenario = "scenario: fuzz\nplaybooks: [fuzz.yaml]\nsteps:\n  - {at: 2026-12-01 09:00}\n".to_owned();
    for _ in 0..12 {
        let (who, event, after) = (PEOPLE[pick(2)], EVENTS[pick(EVENTS.len())], AFTER[pick(AFTER.len())]);
        scenario += &format!("  - {{after: {after}, {who}: {event}}}\n");
    }
    scenario += "  - after: 90d\n  - expect: {甲: {tags: []}}\n";
    // So that whoever is looked at is there.
    let scenario = scenario.replacen("09:00}", "09:00, 甲: contact.added, 乙: contact.added}", 1);
    let sources = Sources::from([("fuzz.yaml".to_owned(), text.to_owned())]);
    let scenario = Scenario::read("lives.yaml", &scenario).unwrap_or_else(|found| panic!("{found:?}\n{scenario}"));
    let report = run(&scenario, &sources);
    if let Outcome::Failed { failures } = &report.outcome {
        let broken = failures.iter().find(|failure| failure.what == "the run");
        assert!(broken.is_none(), "{report}");
    }
}

const PEOPLE: [&str; 2] = ["甲", "乙"];
const AFTER: [&str; 7] = ["0s", "1s", "5m", "3h", "1d", "8d", "45d"];
const EVENTS: [&str; 24] = [
    "chat.message",
    "\"chat.message(direction=in, text=\\\"多少钱 价格 课程 报名 有帮助 马上付\\\")\"",
    "\"chat.message(direction=out, text=好的)\"",
    "\"contact.added(state=传单)\"",
    "\"contact.added(staff=li, state=投放)\"",
    "\"contact.removed(by=customer)\"",
    "\"content.viewed(content_id=商品A, session=s1)\"",
    "\"content.viewed(content_id=商品A, session=s2, dwell_ms=900)\"",
    "\"content.clicked(content_id=商品A)\"",
    "\"page.viewed(item_id=i1)\"",
    "order.paid",
    "{event: order.paid, lines: [{outer_sku: a1, qty: 2}, {item_id: i1, qty: 0.5}], paid_fen: 990, channel: youzan}",
    "{event: order.paid, lines: [{sku_id: c9, qty: 99999999999}], paid_fen: 9000000000000}",
    "{event: order.paid, paid_fen: -1}",
    "\"order.created(order_id=o1)\"",
    "\"refund.succeeded(order_id=o1)\"",
    "\"profile.updated(city=杭州, baby_birthday=2026-01-31)\"",
    "\"profile.updated(baby_birthday=\\\"9999-12-31\\\", birthday=x)\"",
    "\"profile.updated(baby_birthday=\\\"0001-01-01\\\")\"",
    "\"group.joined(group=wr1)\"",
    "\"group.left(group=wr1)\"",
    "\"form.submitted(mobile=x, email=y, name=z)\"",
    "\"lesson.finished(course=数学, score=60)\"",
    "\"store.checked_in(store=s1)\"",
];

/// YAML ends lines in three ways, a condition in one.
fn inside(text: &str, found: &[Diagnostic]) {
    let text = &text.replace("\r\n", "\n").replace('\r', "\n");
    found.iter().for_each(|found| place(text, found.line, found.column, &found.message));
}

/// Whether line and column are of the text; one past the end of a line is where something is missing.
fn place(text: &str, line: u32, column: u32, message: &str) {
    let lines: Vec<usize> = text.split('\n').map(|line| line.chars().count()).collect();
    let (at, column) = (line as usize, column as usize);
    assert!(at >= 1 && at <= lines.len(), "line {line} of {}: {message}", lines.len());
    assert!(column >= 1 && column <= lines[at - 1] + 1, "{line}:{column}, a line of {}: {message}", lines[at - 1]);
}
