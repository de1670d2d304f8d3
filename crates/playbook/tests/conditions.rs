//! The condition language: what parses, what it means, and that nothing makes it panic.

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use touchline_model::command::PlaybookSource;
use touchline_model::directory::Directory;
use touchline_model::past::Past;
use touchline_model::time::Time;
use touchline_playbook::bundle::{Bundle, Facts};
use touchline_playbook::compile::compile;
use touchline_playbook::diagnostic::render;
use touchline_playbook::measure::Now;
use touchline_playbook::{condition, syntax};

/// Every condition of the language page: examples, atoms and prose.
const CONDITIONS: &[&str] = &[
    "tag(商机/考虑价格)",
    "tag(商机/*)",
    "tag(\"商机/考虑 价格\")",
    "tag(身份/老板)",
    "tag(bc1回复/有帮助)",
    "not (tag(商机/方案确认) or tag(商机/赢单))",
    "stage(商机看板) = 考虑价格",
    "stage(商机看板) in [初步沟通, 考虑价格]",
    "stage(商机看板) >= 试驾",
    "stage(教育看板) >= 199爆款课",
    "stage(汽车看板) = 客户线索",
    "not stage(汽车看板) = 下定",
    "stage(生命周期) = MQL",
    "stage(生命周期) = SQL",
    "stage(生命周期) >= SQL",
    "stage(生命周期) in [SQL, Opportunity]",
    "not stage(生命周期) in [Subscriber, Lead]",
    "segment(老板名单)",
    "segment(0-12月)",
    "segment(1-3岁)",
    "segment(在闪购群)",
    "attr(宝宝月龄) in 0..11",
    "attr(宝宝月龄) in 12..35",
    "attr(城市) = 杭州",
    "count(chat.message, within=30d, distinct=session) >= 4",
    "count(order.paid, since=contact.added) >= 1",
    "count(class.attended) >= 1",
    "count(content.viewed(content=商品A), within=30d, distinct=session) >= 4 and none(order.paid(any_line.product = A), within=30d)",
    "sum(paid_fen, order.paid(channel=youzan), within=365d) > 100",
    "none(order.paid, within=30d)",
    "age(last(order.paid)) > 60d",
    "age(first(order.paid)) <= 3d",
    "in_group(复利闪购群)",
    "in_group(kind=妈妈群)",
    "replied(bc1, within=7d, text has 有帮助)",
    "replied(sop/p1, within=7d)",
    "tag(身份/vip) and not tag(状态/流失) and age(last(order.paid)) <= 60d and count(content.viewed(product=X), within=90d) >= 4",
    "NOT tag(a/b) AND NOT tag(a/c)",
    "tag(a/b) Or (tag(a/c) and not not tag(a/d))",
    "tag(not/in)",
    "segment(and)",
];

/// Every trigger of the language page.
const TRIGGERS: &[&str] = &[
    "chat.message(direction=in, text has 价格)",
    "chat.message(direction=in, text has 询课)",
    "chat.message(direction=in, text has 将付款)",
    "chat.message(direction=in)",
    "order.paid",
    "order.paid(any_line.sku = ${sku})",
    "order.paid(any_line.sku = c9)",
    "order.paid(any_line.product = A)",
    "lesson.finished",
    "contact.added",
    "contact.added(state=传单)",
    "contact.added(state in [投放, 官网])",
    "profile.updated(has baby_birthday)",
    "group.joined(group_kind=妈妈群)",
    "consult.done",
    "gift.received",
    "lead.created",
    "store.checked_in",
    "testdrive.done",
    "deposit.paid",
    "call.inbound",
    "referral.joined",
    "form.submitted(has mobile, has email, has name)",
    "content.received(content in [价格表, 服务方案])",
    "content.viewed(content=商品A)",
    "handoff.created(reason=主动咨询)",
    "class.attended(class != x, class < 3, class <= 3, class > 1, class in 1..3)",
    "tag_set(复购/该补货)",
    "tag_set(复购/正常)",
    "tag_set(兴趣/商品A-高)",
    "tag_set(bc1回复/未回复)",
    "tag_set(bc1回复/已回复)",
    "tag_set(bc1回复/有帮助)",
    "tag_set(商机/*)",
    "tag_unset(商机/赢单)",
    "stage_entered(商机看板/考虑价格)",
    "stage_entered(教育看板/9.9元培育课)",
    "stage_entered(母婴看板/引导首次购买)",
    "stage_entered(汽车看板/在线初步沟通)",
    "stage_entered(汽车看板/战败)",
    "stage_left(商机看板/考虑价格)",
    "stage_left(教育看板/9.9元培育课)",
    "stage_left(母婴看板/引导首次购买)",
    "stage_left(汽车看板/在线初步沟通)",
    "stage_left(汽车看板/战败)",
    "segment_entered(老板名单)",
    "segment_left(老板名单)",
    "silence([chat.message(direction=in), store.checked_in], for=45d, since=contact.added)",
    "silence(order.paid, for=60d, since=order.paid)",
    "silence(chat.message(direction=in), for=60d, since=order.paid(any_line.sku = c9))",
    "reached(预计用完日 - 3d)",
    "reached(attr + 3d)",
    "replied(bc1, within=7d)",
    "replied(bc1, within=7d, text has 有帮助)",
    "replied(\"sop 一/p 1\", within=7d)",
    "not_replied(bc1, after=48h)",
];

/// Everything else: attributes and bounds.
const ATTRIBUTES: &[&str] = &[
    "profile.baby_birthday",
    "last(order.paid)",
    "first(order.paid(channel=youzan))",
    "sum_lines(qty * product.days_per_unit)",
];
const BOUNDS: &[&str] = &["> 20", "in 0..11", "in [a, b]"];

#[test]
fn every_expression_of_the_language_page_parses() {
    let all = CONDITIONS.len() + TRIGGERS.len() + ATTRIBUTES.len() + BOUNDS.len();
    assert!(all >= 100, "{all}");
    for text in CONDITIONS {
        assert!(syntax::condition(text).is_ok(), "{text}: {:?}", syntax::condition(text));
    }
    for text in TRIGGERS {
        assert!(syntax::trigger(text).is_ok(), "{text}: {:?}", syntax::trigger(text));
    }
    for text in ATTRIBUTES {
        assert!(syntax::attribute(text).is_ok(), "{text}: {:?}", syntax::attribute(text));
    }
    for text in BOUNDS {
        assert!(syntax::bound(text).is_ok(), "{text}: {:?}", syntax::bound(text));
    }
}

fn bundle() -> Bundle {
    let yaml = "
playbook: p
tag_groups:
  - {id: g, exclusive: true, tags: [a, b, c]}
  - {id: free, tags: [x, y]}
boards: [{id: board, group: g}]
segments: {s: tag(free/x) or stage(board) = a, t: not segment(s)}
";
    compile(&[PlaybookSource { id: "p".into(), yaml: yaml.into() }], 1)
        .unwrap_or_else(|found| panic!("{}", render(&found)))
}

struct Carried(BTreeSet<&'static str>, Past);

impl Facts for Carried {
    fn has_tag(&self, group: &str, tag: &str) -> bool {
        self.0.contains(format!("{group}/{tag}").as_str())
    }
    fn has_any_tag(&self, group: &str) -> bool {
        self.0.iter().any(|tag| tag.starts_with(&format!("{group}/")))
    }
    fn past(&self) -> &Past {
        &self.1
    }
}

#[test]
fn conditions_hold_by_the_truth_table() {
    let bundle = bundle();
    let states: [&[&str]; 4] = [&[], &["g/a"], &["g/b", "free/x"], &["free/y"]];
    for (text, expected) in [
        ("tag(g/a)", [false, true, false, false]),
        ("tag(g/*)", [false, true, true, false]),
        ("not tag(g/*)", [true, false, false, true]),
        ("stage(board) = b", [false, false, true, false]),
        ("stage(board) != b", [true, true, false, true]),
        ("not stage(board) = b", [true, true, false, true]),
        ("stage(board) in [a, b]", [false, true, true, false]),
        ("tag(g/a) or tag(free/y)", [false, true, false, true]),
        ("tag(g/b) and tag(free/x)", [false, false, true, false]),
        ("not tag(g/a) and not tag(free/y)", [true, false, true, false]),
        ("not (tag(g/a) or tag(free/y))", [true, false, true, false]),
        ("tag(free/y) or (tag(g/*) and not tag(free/x))", [false, true, false, true]),
        ("segment(s)", [false, true, true, false]),
        ("segment(t)", [true, false, false, true]),
        ("segment(t) and segment(s)", [false, false, false, false]),
    ] {
        let condition = condition::parse(text, &bundle).unwrap_or_else(|error| panic!("{text}: {error}"));
        let now = Now { at: Time(0), directory: &Directory::default() };
        let carried = |tags: &[&'static str]| Carried(tags.iter().copied().collect(), Past::default());
        let holds = states.map(|tags| condition.holds(&carried(tags), now));
        assert_eq!(holds, expected, "{text}");
    }
}

#[test]
fn errors_say_where() {
    let bundle = bundle();
    for (text, code, line, column) in [
        ("", "PB031", 1, 1),
        ("tag(g/a) and", "PB031", 1, 13),
        ("tag(g/a) and\n  tag(g/d)", "PB017", 2, 9),
        ("tag(g/a) and tag(g/b) or tag(g/c)", "PB032", 1, 23),
        ("segment(u)", "PB020", 1, 9),
        ("stage(board) = d", "PB019", 1, 16),
        ("stage(board) >= b", "PB043", 1, 7),
        ("replied(bc1)", "NY013", 1, 1),
        ("count(order.paid, within=${x}) >= 1", "PB036", 1, 26),
        ("count(order.paid(shop=s)) >= 1", "PB047", 1, 1),
        ("tag（g/a）", "PB029", 1, 4),
        ("order.paid", "PB034", 1, 1),
        ("tag(g/a) tag(g/b)", "PB031", 1, 10),
        ("not", "PB031", 1, 4),
        ("()", "PB031", 1, 2),
    ] {
        let error = condition::parse(text, &bundle).expect_err(text);
        assert_eq!((error.code, error.line, error.column), (code, line, column), "{text}: {error}");
    }
}

#[test]
fn long_and_deep_conditions_are_bounded() {
    let bundle = bundle();
    let many = |n: usize| vec!["tag(g/a)"; n].join(" or ");
    assert!(condition::parse(&many(1_000), &bundle).is_ok());
    assert_eq!(condition::parse(&many(1_001), &bundle).expect_err("too many").code, "PB003");
    let deep = |n: usize| format!("{}tag(g/a){}", "(".repeat(n), ")".repeat(n));
    assert!(condition::parse(&deep(60), &bundle).is_ok());
    assert_eq!(condition::parse(&deep(5_000), &bundle).expect_err("too deep").code, "PB003");
    assert_eq!(condition::parse(&"not ".repeat(4_000), &bundle).expect_err("too deep").code, "PB003");
    assert_eq!(condition::parse(&"x".repeat(1 << 20), &bundle).expect_err("too long").code, "PB002");
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,60}") {
        let _ = condition::parse(&text, &bundle());
        let _ = (syntax::trigger(&text), syntax::attribute(&text), syntax::bound(&text));
    }

    #[test]
    fn any_order_of_tokens_is_parsed_or_refused(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "tag", "stage", "count", "silence", "age", "last", "replied", "not", "and", "or", "in", "has", "(", ")", "[", "]", ",", "=",
                "!=", "<", ">=", "/", "*", "..", "\"", "\"a/b\"", "order.paid", "within", "30d", "${x}", "-", "a-3d", "，", "g", "a",
            ]),
            0..24,
        ),
        space in prop::sample::select(vec!["", " "]),
    ) {
        let text = tokens.join(space);
        let _ = condition::parse(&text, &bundle());
        let _ = (syntax::trigger(&text), syntax::attribute(&text), syntax::bound(&text));
    }

    #[test]
    fn any_bytes_are_a_playbook_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let yaml = String::from_utf8_lossy(&bytes).into_owned();
        let _ = compile(&[PlaybookSource { id: "p".into(), yaml }], 1);
    }

    #[test]
    fn a_damaged_example_is_refused_without_a_panic(
        which in 0_usize..9,
        cut in 0_usize..2_000,
        length in 0_usize..12,
        put in "[\\[\\]{}:,\"'#&*!|> \\n\\t\\-a中]{0,4}",
    ) {
        let text = EXAMPLES[which];
        let mut chars: Vec<char> = text.chars().collect();
        let start = cut.min(chars.len());
        let end = (start + length).min(chars.len());
        chars.splice(start..end, put.chars());
        let _ = compile(&[PlaybookSource { id: "p".into(), yaml: chars.into_iter().collect() }], 1);
    }
}

macro_rules! examples {
    ($($letter:literal)*) => { [$(include_str!(concat!("../../../tests/playbooks/", $letter, ".yaml"))),*] };
}
const EXAMPLES: [&str; 9] = examples!("a" "b" "c" "d" "e" "f" "g" "h" "i");

/// Reading is linear: the largest bundle accepted compiles in a moment, whatever it is made of.
#[test]
fn the_largest_bundle_compiles() {
    let mut yaml = "playbook: p\ntag_groups: [{id: g, tags: [a]}]\nrules:\n".to_owned();
    for n in 0.. {
        let before = yaml.len();
        writeln!(
            yaml,
            "  - {{id: r{n}, trigger: chat.message(direction=in), when: not tag(g/a), do: [{{set_tag: g/a}}]}}"
        )
        .unwrap();
        if yaml.len() > 512 * 1024 {
            yaml.truncate(before);
            break;
        }
    }
    let bundle =
        compile(&[PlaybookSource { id: "p".into(), yaml }], 1).unwrap_or_else(|found| panic!("{}", render(&found)));
    assert!(bundle.rules.len() > 4_000);
}
