//! Counts, sums, ages and attributes: what they are at a moment, and when time alone changes a condition.

use proptest::prelude::*;
use std::collections::BTreeMap;
use touchline_model::command::PlaybookSource;
use touchline_model::directory::Directory;
use touchline_model::event::{Actor, Channel, Event, EventCause, Native, Precision, Private};
use touchline_model::id::{EventId, IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::past::{Membership, Past};
use touchline_model::time::{Span, Time};
use touchline_model::value::{Fields, Value};
use touchline_playbook::bundle::{Bundle, Condition, Facts};
use touchline_playbook::compile::compile;
use touchline_playbook::condition;
use touchline_playbook::diagnostic::render;
use touchline_playbook::keywords::Scan;
use touchline_playbook::measure::Now;

static NOBODY: Directory = Directory::EMPTY;

struct Person(Past);

impl Facts for Person {
    fn has_tag(&self, _: &str, _: &str) -> bool {
        false
    }
    fn has_any_tag(&self, _: &str) -> bool {
        false
    }
    fn past(&self) -> &Past {
        &self.0
    }
}

fn at(text: &str) -> Time {
    Time::parse_rfc3339(&format!("{}:00+08:00", text.replace(' ', "T"))).expect(text)
}

fn compiled(yaml: &str) -> Bundle {
    let source = PlaybookSource { id: "p".into(), yaml: format!("playbook: p\n{yaml}") };
    compile(&[source], 1).unwrap_or_else(|found| panic!("{}", render(&found)))
}

fn event(kind: Kind, fields: Fields, private: Fields) -> Event {
    Event {
        id: EventId([0; 16]),
        kind,
        custom_name: String::new(),
        tenant: "t".into(),
        channel: Channel::Youzan,
        account: "a".into(),
        occurred_at: None,
        precision: Precision::default(),
        received_at: Time(0),
        subject: vec![IdKey::new(IdKind::YzOpenId, "youzan", "o")],
        actor: Actor::Customer,
        native: Native::default(),
        cause: EventCause::default(),
        fields,
        private: Private::Plain { fields: private, raw: Vec::new() },
    }
}

/// As the engine does it, without an engine.
fn happen(bundle: &Bundle, past: &mut Past, event: &Event, at: Time) {
    past.happen(event.name(), at);
    let mut scan = Scan::new(&bundle.keywords, event, &NOBODY);
    for key in bundle.tallies_by_event.get(event.name()).into_iter().flatten() {
        bundle.tallies[key].add(*key, past, event, &mut scan, at);
    }
}

fn paid(fen: i64, channel: &str) -> Event {
    let fields = Fields::new().with("paid_fen", Value::integer(fen)).with("shop", Value::text(channel));
    event(Kind::OrderPaid, fields, Fields::new())
}

fn viewed(session: &str) -> Event {
    let session = Value::text(session);
    event(
        Kind::ContentViewed,
        Fields::new().with("content_id", Value::text("A")).with("session", session),
        Fields::new(),
    )
}

fn holds(condition: &Condition, past: &Past, at: Time) -> bool {
    condition.holds(&Person(past.clone()), Now { at, directory: &Directory::default() })
}

/// Truth of a segment at moments written by hand.
fn check(bundle: &Bundle, past: &Past, segment: &str, expected: &[(&str, bool)]) {
    for (moment, expected) in expected {
        assert_eq!(holds(&bundle.segments[segment], past, at(moment)), *expected, "{segment} at {moment}");
    }
}

#[test]
fn windows_end_where_they_say() {
    let bundle = compiled(
        "segments:
  four: count(content.viewed(content=A), within=30d, distinct=session) >= 4
  two: count(content.viewed(content=A), within=30d) = 2
  quiet: none(order.paid(shop=s), within=30d)
  never: none(order.paid(shop=s))
  since: count(content.viewed, since=order.paid) in 1..2
  rich: sum(paid_fen, order.paid, within=2d) >= 300
  ever: sum(paid_fen, order.paid(shop=s)) > 300
  old: age(last(order.paid)) > 60d
  fresh: age(first(order.paid(shop=s))) <= 2h
",
    );
    let mut past = Past::default();
    check(&bundle, &past, "old", &[("2026-01-01 00:00", false)]);
    check(&bundle, &past, "quiet", &[("2026-01-01 00:00", true)]);
    for (moment, session) in [("2026-01-01 10:00", "a"), ("2026-01-02 10:00", "b"), ("2026-01-03 10:00", "b")] {
        happen(&bundle, &mut past, &viewed(session), at(moment));
    }
    // Two events without a session count each by itself.
    happen(&bundle, &mut past, &viewed(""), at("2026-01-04 10:00"));
    check(&bundle, &past, "four", &[("2026-01-04 10:00", false)]);
    happen(&bundle, &mut past, &viewed(""), at("2026-01-05 10:00"));
    // a, b (newest on the 3rd), and two more: four until a is 30 days old, on 01-31 10:00.
    check(
        &bundle,
        &past,
        "four",
        &[("2026-01-05 10:00", true), ("2026-01-31 09:59", true), ("2026-01-31 10:00", false)],
    );
    // Without distinct: five times; on 02-02 10:00 the third of them leaves, two stay until 02-03 10:00.
    check(
        &bundle,
        &past,
        "two",
        &[("2026-02-02 09:59", false), ("2026-02-02 10:00", true), ("2026-02-03 10:00", false)],
    );

    check(&bundle, &past, "since", &[("2026-01-05 10:00", false)]);
    happen(&bundle, &mut past, &paid(200, "s"), at("2026-01-04 10:00"));
    // Views at and after the order: of the 4th and the 5th.
    check(&bundle, &past, "since", &[("2026-01-05 10:00", true)]);
    check(
        &bundle,
        &past,
        "quiet",
        &[("2026-01-05 10:00", false), ("2026-02-03 09:59", false), ("2026-02-03 10:00", true)],
    );
    check(&bundle, &past, "never", &[("2026-06-01 00:00", false)]);
    happen(&bundle, &mut past, &paid(150, "x"), at("2026-01-05 23:59"));
    // 200 of the 4th and 150 of the 5th are 350 on the 5th; on the 6th only the 5th and the 6th count.
    check(&bundle, &past, "rich", &[("2026-01-05 23:59", true), ("2026-01-06 00:00", false)]);
    check(&bundle, &past, "ever", &[("2026-01-06 00:00", false)]);
    happen(&bundle, &mut past, &paid(101, "s"), at("2026-01-06 00:00"));
    check(&bundle, &past, "ever", &[("2026-01-06 00:00", true)]);
    check(&bundle, &past, "rich", &[("2026-01-06 00:00", false)]);
    // Older than 60 days: not at 60 days, but a moment after.
    check(&bundle, &past, "old", &[("2026-03-07 00:00", false), ("2026-03-07 00:01", true)]);
    check(&bundle, &past, "fresh", &[("2026-01-04 12:00", true), ("2026-01-04 12:01", false)]);
}

#[test]
fn attributes_age_with_the_calendar() {
    let bundle = compiled(
        "attributes:
  月龄: {months_since: profile.baby_birthday}
  天: {days_since: profile.baby_birthday}
  岁: {years_since: profile.baby_birthday}
  城市: profile.city
  首单: first(order.paid)
  等级: {type: number}
segments:
  one: attr(月龄) in 12..35
  not_one: attr(月龄) != 12
  days: attr(天) = 3
  years: attr(岁) >= 2
  hz: attr(城市) = 杭州
  elsewhere: attr(城市) != 杭州
  early: attr(首单) < 2026-06-01
  ranked: attr(等级) in [2, 3]
",
    );
    assert_eq!(bundle.profile_fields.iter().collect::<Vec<_>>(), ["baby_birthday", "city"]);
    let mut past = Past::default();
    // Missing: every comparison is false but the opposite of =.
    check(&bundle, &past, "hz", &[("2026-01-01 00:00", false)]);
    check(&bundle, &past, "elsewhere", &[("2026-01-01 00:00", true)]);
    past.learn("profile.baby_birthday", Value::text("2025-06-15"), Time(0));
    past.learn("profile.city", Value::text("杭州"), Time(0));
    past.learn("等级", Value::integer(3), Time(0));
    check(
        &bundle,
        &past,
        "one",
        &[("2026-06-14 23:59", false), ("2026-06-15 00:00", true), ("2028-06-14 23:59", true)],
    );
    check(&bundle, &past, "one", &[("2028-06-15 00:00", false), ("2025-06-14 12:00", false)]);
    check(&bundle, &past, "not_one", &[("2026-06-15 00:00", false), ("2026-07-15 00:00", true)]);
    check(
        &bundle,
        &past,
        "days",
        &[("2025-06-17 23:59", false), ("2025-06-18 00:00", true), ("2025-06-19 00:00", false)],
    );
    check(&bundle, &past, "years", &[("2027-06-14 23:59", false), ("2027-06-15 00:00", true)]);
    check(&bundle, &past, "hz", &[("2026-01-01 00:00", true)]);
    check(&bundle, &past, "ranked", &[("2026-01-01 00:00", true)]);
    check(&bundle, &past, "early", &[("2026-01-01 00:00", false)]);
    happen(&bundle, &mut past, &paid(1, "s"), at("2026-05-31 23:59"));
    check(&bundle, &past, "early", &[("2026-07-01 00:00", true)]);
    past.learn("profile.baby_birthday", Value::text("不知道"), Time(1));
    check(&bundle, &past, "one", &[("2026-06-15 00:00", false)]);
}

#[test]
fn groups_are_looked_up_in_the_directory() {
    let bundle =
        compiled("segments: {mine: in_group(复利闪购群), moms: in_group(kind=妈妈群), native: in_group(wr1)}\n");
    let mut directory = Directory::default();
    let group = touchline_model::directory::Group { name: "复利闪购群".into(), kind: "妈妈群".into() };
    directory.set(touchline_model::directory::Entry::Group("wr1".into(), group));
    let mut past = Past::default();
    let all = |past: &Past| {
        ["mine", "moms", "native"].map(|segment| {
            bundle.segments[segment].holds(&Person(past.clone()), Now { at: Time(100), directory: &directory })
        })
    };
    assert_eq!(all(&past), [false; 3]);
    past.member("wr1", Membership { at: Time(1), inside: true });
    assert_eq!(all(&past), [true; 3]);
    past.member("wr1", Membership { at: Time(2), inside: false });
    assert_eq!(all(&past), [false; 3]);
}

/// What is asked again shares what is counted, and what nobody counts is not guessed.
#[test]
fn only_what_is_counted_can_be_asked() {
    let bundle = compiled(
        "counters: {看: \"count(content.viewed(content=A), distinct=session, within=9d)\"}
segments: {s: \"count(order.paid(shop=s), within=30d) >= 3\", t: \"count(order.paid(shop=s), within=7d) >= 5\"}\n",
    );
    assert_eq!(bundle.tallies.len(), 2, "one pattern is counted once");
    for (text, expected) in [
        ("count(order.paid(shop=s), within=90d) >= 5", None),
        ("count(order.paid(shop=s), within=90d) >= 6", Some("PB047")),
        ("count(order.paid(shop=t), within=90d) >= 1", Some("PB047")),
        ("count(order.paid(shop=s)) >= 1", Some("PB047")),
        ("count(content.viewed(content=A), within=1d, distinct=session) > 63", None),
        ("count(content.viewed(content=A), within=1d, distinct=session) > 64", Some("PB046")),
        ("count(content.viewed) > 6000", None),
        ("age(last(order.paid)) > 3d", None),
        ("age(last(order.paid(shop=s))) > 3d", Some("PB047")),
        ("sum(paid_fen, order.paid) > 3", Some("PB047")),
    ] {
        let found = condition::parse(text, &bundle).err().map(|error| error.code);
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn what_is_written_out_parses_to_the_same() {
    let bundle = compiled(
        "attributes: {月龄: {months_since: profile.b}, 城市: profile.city}
segments:
  a: count(order.paid(shop=s), within=30d, distinct=source) >= 3
  b: not none(order.paid(shop in [s, \"t u\"], has source, any_line.sku=c9, paid_fen in 1..5), within=45d)
  c: sum(paid_fen, order.paid(shop != s), within=365d) <= 9.5
  d: age(first(order.paid(shop=s))) < 36h and age(last(chat.message)) >= 90s
  e: attr(月龄) in 0..11 or attr(城市) in [杭州, \"上 海\"]
  f: in_group(kind=\"妈妈 群\") and not in_group(wr1)
  g: count(chat.message, since=contact.added(state=x)) = 0
",
    );
    for (name, condition) in &bundle.segments {
        let written = condition.write();
        let parsed = condition::parse(&written, &bundle).unwrap_or_else(|error| panic!("{name}: {written}: {error}"));
        assert_eq!(parsed, *condition, "{written}");
    }
}

const AGING: &str =
    "attributes: {月: {months_since: profile.b}, 天: {days_since: profile.b}, 岁: {years_since: profile.b}}
segments:
  c1: count(order.paid(shop=s), within=3d) >= 2
  c2: count(order.paid(shop=s), within=40h) = 1
  c3: count(order.paid(shop=s), within=9d) in [0, 3]
  c4: count(order.paid(shop=s), within=9d, distinct=paid_fen) != 2
  s1: sum(paid_fen, order.paid(shop=s), within=3d) > 4
  s2: sum(paid_fen, order.paid(shop=s), within=2d) in 2..5
  a1: age(last(order.paid)) > 50h
  a2: age(first(order.paid)) <= 50h
  a3: age(last(order.paid)) < 2d or not age(last(order.paid)) >= 4d
  m1: attr(月) in 0..1
  m2: attr(月) = 2
  m3: attr(天) != 5
  m4: attr(天) >= 3.5
  m5: attr(岁) < 1
  n: none(order.paid, within=3d) and attr(月) >= 1
";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Between a moment and what `next_change` says nothing changes: looked at every hour and around every bound.
    #[test]
    fn nothing_changes_before_it_is_said(
        times in proptest::collection::vec((0_i64..14 * 24 * 60, 1_i64..4), 0..7),
        birthday in -70_i32..20,
        from in 0_i64..20 * 24 * 60,
    ) {
        let bundle = compiled(AGING);
        let start = at("2026-01-10 00:00");
        let mut past = Past::default();
        for (minutes, fen) in &times {
            happen(&bundle, &mut past, &paid(*fen, "s"), start.plus(Span::minutes(*minutes)));
        }
        let day = touchline_model::time::Zone::SHANGHAI.day_number(start) + birthday;
        past.learn("profile.b", Value::Time(touchline_model::time::Zone::SHANGHAI.day_start(day)), Time(0));
        let latest = times.iter().map(|(minutes, _)| *minutes).max().unwrap_or(0);
        // The moment of judging is never before what is known.
        let now = start.plus(Span::minutes(from.max(latest)));
        let person = Person(past.clone());
        let directory = Directory::default();
        for (name, condition) in &bundle.segments {
            let here = condition.holds(&person, Now { at: now, directory: &directory });
            let next = condition.next_change(&person, Now { at: now, directory: &directory });
            prop_assert!(next.is_none_or(|next| next > now), "{}", name);
            let end = next.unwrap_or(Time(i64::MAX));
            let hours = (0..3 * 366 * 24).step_by(5).map(|hour| now.plus(Span::hours(hour)));
            let days: BTreeMap<i64, Time> = (0..1100).map(|day| {
                let zone = touchline_model::time::Zone::SHANGHAI;
                (day, zone.day_start(zone.day_number(now) + 1 + i32::try_from(day).expect("small")))
            }).collect();
            let just_before = next.map(|next| Time(next.0 - 1));
            for moment in hours.chain(days.into_values()).chain(just_before).filter(|moment| *moment < end && *moment >= now) {
                prop_assert_eq!(condition.holds(&person, Now { at: moment, directory: &directory }), here, "{} at {} of {}", name, moment, end);
            }
        }
    }
}

/// What a bundle has counted is part of every contact, so there is a bound.
#[test]
fn a_bundle_counts_only_so_much() {
    let counters = |count: usize| {
        let lines = (0..count).map(|number| format!("  c{number}: count(order.paid(shop=s{number}))\n"));
        format!("playbook: p\ncounters:\n{}", lines.collect::<String>())
    };
    let compiled = |count| compile(&[PlaybookSource { id: "p".into(), yaml: counters(count) }], 1);
    assert_eq!(compiled(500).expect("within the bound").tallies.len(), 500);
    assert_eq!(compiled(501).expect_err("beyond it")[0].code, "PB002");
}
