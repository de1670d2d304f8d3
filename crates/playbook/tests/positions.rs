//! Mistakes are located where they stand, however the text they stand in is written.

use proptest::prelude::*;
use touchline_model::command::PlaybookSource;
use touchline_playbook::compile::compile;
use touchline_playbook::yaml::{self, Node, NodeKind};

const BASE: &str = "playbook: p\ntag_groups: [{id: 商机, tags: [价格, 赢单]}]  # 一个组\n";

/// Segments with one mistake each; `▸` marks where it must be located and is taken out first.
const TABLE: &[&str] = &[
    // Folded.
    "segments:\n  s: >-\n    tag(商机/价格)\n    and ▸tagx(商机/赢单)\n",
    "segments:\n  s: >\n    tag(商机/价格) and\n    tag(商机/▸价钱)\n",
    "segments:\n  s: >-  # 注释\n\n    tag(商机/价格)\n\n      and tag(商机/▸价钱)\n    and tag(商机/赢单)\n",
    "segments:\n  s: >2-\n      tag(商机/价格)\n    and ▸tagx(商机/赢单)\n",
    "segments:\n  s: >-\n    tag(商机/赢单) and\n    tag(商机/价格▸\n",
    "segments:\n  s: >+\n    tag(商机/赢单) and\n    tag(商机/价格▸\n\n  t: tag(商机/价格)\n",
    // Literal.
    "segments:\n  s: |\n    tag(商机/价格)\n      and ▸tagx(商机/赢单)\n",
    "segments:\n  s: |-\n    ▸tagx(商机/价格)\n",
    "segments:\n  s: |-\n    (tag(商机/价格)\n     or tag(\"商机/▸价 钱\"))\n",
    "segments:\n  s: |\n    tag(商机/赢单) and▸\n  t: tag(商机/价格)\n",
    // Plain.
    "segments:\n  s: tag(商机/价格)\n    and tag(商机/赢单)\n\n    and ▸tagx(商机/赢单)\n",
    "segments: {s: tag(商机/价格)\n  and tag(商机/▸价钱)}\n",
    "segments:\n  s: tag(商机/价格)   \n    and▸\n",
    // Double quotes.
    "segments:\n  s: \"tag(商机/价格) \\\n      and ▸tagx(商机/赢单)\"\n",
    "segments:\n  s: \"tag(商机/价格)\n\n      and ▸tagx(商机/赢单)\"\n",
    "segments: {s: \"tag(\\u5546机/▸价钱)\"}\n",
    "segments: {s: \"tag(\\u5546\\x20▸\\U0000673a/价格)\"}\n",
    "segments: {s: \"tag(\\\"商机/价格\\\") and tag(\\\"商机/▸价\\t钱\\\")\"}\n",
    "segments: {s: \"tag(商机/▸\\u4ef7钱)\"}\n",
    "segments: {s: \"tag(商机\\/▸价钱)\"}\n",
    "segments: {s: \"tag(商机/\\\n  ▸价钱)\"}\n",
    "segments: {s: \"tag(商机/价格▸\"}\n",
    // Single quotes.
    "segments: {s: 'tag(商机/价格) or tag(\"商机/▸''价\")'}\n",
    "segments: {s: 'tag(''商机/价格) or ▸tagx(商机/价格)'}\n",
    "segments:\n  s: 'tag(商机/价格)\n\n     and ▸tagx(商机/赢单)'\n",
    // Other expressions, and texts that are none.
    "rules:\n  - id: r\n    trigger: >-\n      chat.message(direction=in,\n      text has ▸价钱)\n    do: [{task: 回访}]\n",
    "rules:\n  - id: r\n    trigger:\n      - order.paid\n      - |\n        chat.message(\n          ▸directon=in)\n    do: [{task: 回访}]\n",
];

#[test]
fn mistakes_are_located_in_scalars_of_every_style() {
    let mut wrong = Vec::new();
    for (snippet, ends) in TABLE.iter().flat_map(|snippet| ["\n", "\r\n", "\r"].map(|ends| (snippet, ends))) {
        for start in ["", "\u{feff}"] {
            let marked = format!("{BASE}{snippet}");
            let before = marked.split('▸').next().expect("a first part");
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            let yaml = start.to_owned() + &marked.replace('▸', "").replace('\n', ends);
            let found = compile(&[PlaybookSource { id: "p".into(), yaml }], 1).expect_err(snippet);
            let places: Vec<(usize, usize)> = found.iter().map(|d| (d.line as usize, d.column as usize)).collect();
            if places != [(line, column)] {
                wrong.push(format!("{line}:{column} expected for {snippet:?} with {ends:?}, found {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is written and read again.
fn scalars(node: &Node, out: &mut Vec<yaml::Scalar>) {
    match &node.kind {
        NodeKind::Null => {}
        NodeKind::Scalar(scalar) => out.push(scalar.clone()),
        NodeKind::List(items) => items.iter().for_each(|item| scalars(item, out)),
        NodeKind::Map(entries) => entries.iter().for_each(|(key, node)| {
            out.push(key.clone());
            scalars(node, out);
        }),
    }
}

proptest! {
    #[test]
    fn every_character_is_found_where_it_stands(
        style in prop::sample::select(vec!["", "\"", "'", ">-\n   ", "|+\n   ", ">\n\n    ", "|2-\n     "]),
        pieces in prop::collection::vec(
            prop::sample::select(vec!["a", "价", " ", "  ", "\n   ", "\n\n    ", "\r\n   ", "''", "\\\n  ", "\\u4ef7", "\\x61",
                "\\\"", "\\ ", "\\\\", "/", "\t", "\u{200b}", "b,", "#", " # 注", ": ", "'", "\""]), 0..12),
    ) {
        let close = if style.len() == 1 { style } else { "" };
        let source = format!("# 注释\n键: {style}{}{close}\nz: 1\n", pieces.concat());
        let Ok(root) = yaml::read("p", &source) else { return Ok(()) };
        let unified = source.replace("\r\n", "\n");
        let lines: Vec<Vec<char>> = unified.split(['\n', '\r']).map(|line| line.chars().collect()).collect();
        let mut all = Vec::new();
        scalars(&root, &mut all);
        for scalar in all {
            for (offset, c) in (0..).zip(scalar.text.chars()).filter(|(_, c)| !c.is_whitespace()) {
                let place = scalar.place_of(offset);
                let there = lines[place.line as usize - 1].get(place.column as usize - 1);
                prop_assert!(there == Some(&c) || there == Some(&'\\'), "{source:?} {:?} {offset} {place:?}", scalar.text);
            }
        }
    }
}
