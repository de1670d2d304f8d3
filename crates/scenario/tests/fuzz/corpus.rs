//! Texts of the repository, and ways to damage them.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::path::{Path, PathBuf};
use touchline_model::command::PlaybookSource;
use touchline_playbook::bundle::Bundle;
use touchline_playbook::compile::{compile, playbook_id};
use touchline_playbook::yaml::{self, Node, NodeKind};
use touchline_scenario::Sources;

/// Where the repository's playbooks and scenarios lie.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests");

/// What is damaged.
pub(crate) struct Corpus {
    /// Playbooks, directories and scenarios.
    pub(crate) documents: Vec<String>,
    /// Those that compile by themselves.
    playbooks: Vec<String>,
    /// Conditions and triggers, each once.
    pub(crate) expressions: Vec<String>,
    /// The playbooks that scenarios name.
    pub(crate) sources: Sources,
    /// The same, compiled.
    bundles: Vec<(PlaybookSource, Bundle)>,
}

impl Corpus {
    pub(crate) fn read() -> Self {
        let mut paths = Vec::new();
        ["playbooks", "scenarios"].iter().for_each(|directory| files(&Path::new(ROOT).join(directory), &mut paths));
        paths.sort();
        let mut corpus = Self {
            documents: Vec::new(),
            playbooks: Vec::new(),
            expressions: Vec::new(),
            sources: Sources::new(),
            bundles: Vec::new(),
        };
        for path in paths {
            let text = std::fs::read_to_string(&path).expect("a file");
            corpus.take(&yaml::read("corpus", &text).expect("YAML"));
            if path.parent().is_some_and(|parent| parent.ends_with("playbooks")) {
                let name = path.file_name().expect("a name").to_string_lossy();
                corpus.sources.insert(format!("../../playbooks/{name}"), text.clone());
            }
            corpus.documents.push(text);
        }
        corpus.expressions.sort();
        corpus.expressions.dedup();
        let compiled = corpus.documents.iter().filter_map(|text| {
            let source = PlaybookSource { id: playbook_id(text).ok()?, yaml: text.clone() };
            let bundle = compile(std::slice::from_ref(&source), 1).ok()?;
            Some((source, bundle))
        });
        corpus.bundles = compiled.collect();
        corpus.playbooks = corpus.bundles.iter().map(|(source, _)| source.yaml.clone()).collect();
        corpus
    }

    /// One of those that compile.
    pub(crate) fn bundle(&self, which: u64) -> &(PlaybookSource, Bundle) {
        &self.bundles[usize::try_from(which % self.bundles.len() as u64).expect("an index")]
    }

    /// Playbooks that a scenario writes out, and everything that looks like an expression.
    fn take(&mut self, node: &Node) {
        match &node.kind {
            NodeKind::Map(entries) => entries.iter().for_each(|(_, node)| self.take(node)),
            NodeKind::List(items) => items.iter().for_each(|item| self.take(item)),
            NodeKind::Scalar(scalar) if scalar.text.contains('\n') => {
                if let Ok(inner) = yaml::read("corpus", &scalar.text) {
                    self.take(&inner);
                    self.documents.push(scalar.text.clone());
                }
            }
            NodeKind::Scalar(scalar) if scalar.text.contains('(') || scalar.text.contains('.') => {
                self.expressions.push(scalar.text.clone());
            }
            NodeKind::Scalar(_) | NodeKind::Null => {}
        }
    }
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

/// A text of the corpus with changes.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) of: Of,
    base: Index,
    changes: Vec<Change>,
    /// Which events happen to whatever compiles.
    pub(crate) history: u64,
}

/// Which texts a case is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Document,
    /// A document that compiles by itself.
    Playbook,
    Expression,
}

impl Case {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let of = select(&[Of::Document, Of::Playbook, Of::Expression][..]);
        let parts = (of, any::<Index>().no_shrink(), changes(), any::<u64>());
        parts.prop_map(|(of, base, changes, history)| Self { of, base, changes, history })
    }

    pub(crate) fn text(&self, corpus: &Corpus) -> String {
        let texts = match self.of {
            Of::Document => &corpus.documents,
            Of::Playbook => &corpus.playbooks,
            Of::Expression => &corpus.expressions,
        };
        let base = self.base.get(texts);
        self.changes.iter().fold(base.clone(), |text, change| change.apply(&text, texts))
    }
}

/// Often one, seldom more: each makes it less likely that the rest is still looked at.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop_oneof![
        3 => prop::collection::vec(Change::any(), 1..2),
        1 => prop::collection::vec(Change::any(), 2..6),
    ]
}

#[derive(Debug, Clone)]
enum Change {
    Delete(Index, usize),
    /// Some tokens so many times more, at their place.
    Repeat(Index, usize, usize),
    Swap(Index, Index),
    /// A piece of another text of the corpus.
    Splice {
        at: Index,
        other: Index,
        from: Index,
        tokens: usize,
    },
    Insert(Index, &'static str),
    Replace(Index, &'static str),
    /// A sign so many times: nesting, length.
    Heap(Index, &'static str, usize),
    /// One character instead of another, wherever in a token.
    Character(Index, char),
    /// A word where another of the same text stood: most likely to compile.
    Word(Index, Index),
    /// Whole lines moved.
    Lines(Index, Index),
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let at = any::<Index>;
        prop_oneof![
            3 => (at(), 1_usize..6).prop_map(|(at, tokens)| Self::Delete(at, tokens)),
            2 => (at(), 1_usize..8, 1_usize..4).prop_map(|(at, tokens, times)| Self::Repeat(at, tokens, times)),
            3 => (at(), at()).prop_map(|(one, other)| Self::Swap(one, other)),
            3 => (at(), at(), at(), 1_usize..30)
                .prop_map(|(at, other, from, tokens)| Self::Splice { at, other, from, tokens }),
            2 => (at(), select(ODD)).prop_map(|(at, text)| Self::Insert(at, text)),
            4 => (at(), select(ODD)).prop_map(|(at, text)| Self::Replace(at, text)),
            1 => (at(), select(HEAPED), prop_oneof![1_usize..70, 500_usize..3_000])
                .prop_map(|(at, text, times)| Self::Heap(at, text, times)),
            1 => (at(), any::<char>()).prop_map(|(at, c)| Self::Character(at, c)),
            1 => (at(), at()).prop_map(|(from, to)| Self::Lines(from, to)),
            20 => (at(), at()).prop_map(|(at, from)| Self::Word(at, from)),
        ]
    }

    fn apply(&self, text: &str, texts: &[String]) -> String {
        let mut tokens = tokens(text);
        if tokens.is_empty() {
            return text.to_owned();
        }
        let many = tokens.len();
        match self {
            Self::Delete(at, length) => {
                let at = at.index(many);
                tokens.drain(at..(at + length).min(many));
            }
            Self::Repeat(at, length, times) => {
                let at = at.index(many);
                let end = (at + length).min(many);
                let piece: Vec<&str> = tokens[at..end].repeat(*times);
                tokens.splice(end..end, piece);
            }
            Self::Swap(one, other) => tokens.swap(one.index(many), other.index(many)),
            Self::Splice { at, other, from, tokens: length } => {
                let piece = self::tokens(&texts[other.index(texts.len())]);
                let from = from.index(piece.len().max(1));
                let piece = piece.into_iter().skip(from).take(*length);
                let at = at.index(many);
                tokens.splice(at..at, piece.collect::<Vec<_>>());
            }
            Self::Insert(at, odd) => tokens.insert(at.index(many), odd),
            Self::Replace(at, odd) => tokens[at.index(many)] = odd,
            Self::Heap(at, sign, times) => {
                let heap = sign.repeat(*times);
                tokens.insert(at.index(many), &heap);
                return tokens.concat();
            }
            Self::Word(at, from) => {
                let is_word = |token: &&str| token.starts_with(char::is_alphanumeric);
                let words: Vec<usize> = (0..many).filter(|at| is_word(&tokens[*at])).collect();
                if !words.is_empty() {
                    tokens[words[at.index(words.len())]] = tokens[words[from.index(words.len())]];
                }
            }
            Self::Character(at, c) => {
                let mut chars: Vec<char> = text.chars().collect();
                let at = at.index(chars.len());
                chars[at] = *c;
                return chars.into_iter().collect();
            }
            Self::Lines(from, to) => {
                let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
                let line = lines.remove(from.index(lines.len()));
                let to = to.index(lines.len() + 1);
                lines.insert(to, line);
                return lines.concat();
            }
        }
        tokens.concat()
    }
}

/// Words, spaces, and signs one by one.
fn tokens(text: &str) -> Vec<&str> {
    let class = |c: char| match c {
        ' ' => 1,
        _ if c.is_alphanumeric() || "_-.".contains(c) => 2,
        _ => 0,
    };
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let of = class(first);
        let end = match of {
            0 => first.len_utf8(),
            _ => rest.find(|c| class(c) != of).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after;
    }
    tokens
}

/// What documents and conditions are not made of, or are, elsewhere.
const ODD: &[&str] = &[
    "\u{feff}",
    "\0",
    "\u{202e}",
    "\u{2028}",
    "\u{85}",
    "\r",
    "\r\n",
    "\t",
    "\u{3000}",
    "\u{10ffff}",
    "e\u{301}",
    "Ａ",
    "価格",
    "\"\\ud800\"",
    "\"\\U0001F600\"",
    "\"\\x00\"",
    "\"",
    "'",
    "&a ",
    "*a",
    "&a [*a, *a]",
    "<<: ",
    "!!str ",
    "!x ",
    "%YAML 1.2\n",
    "---\n",
    "\n---\n",
    "...\n",
    "? ",
    "|\n",
    ">-\n",
    "|9\n",
    "# ",
    ": ",
    "- ",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "{}",
    "[]",
    "null",
    "~",
    "true",
    "yes",
    "0",
    "-1",
    "1.5",
    "1e999",
    "NaN",
    ".inf",
    "9223372036854775807",
    "18446744073709551616",
    "99999999999999999999999999",
    "0.0000001",
    "9007199254740993.9999999",
    "0s",
    "36500d",
    "36501d",
    "99999999999999999999d",
    "1d",
    "64",
    "65",
    "730d",
    "731d",
    "3650",
    "3651",
    "-36500",
    "24:00",
    "00:00",
    "02:30",
    "23:59",
    "2026-02-30",
    "2026-12-01",
    "9999-12-31",
    "0000-01-01",
    "-2026-01-01",
    "2026-12-01T00:00:00+14:00",
    "Mars/Base",
    "Europe/Berlin",
    "Africa/Cairo",
    "America/Havana",
    "Pacific/Apia",
    "${x}",
    "${",
    "$",
    "not ",
    " and ",
    " or ",
    " in ",
    " has ",
    "..",
    "(",
    ")",
    "=",
    "!=",
    "<",
    ">=",
    "/",
    "/*",
    "*",
    "，",
    "（",
    "）",
    "“",
    "tag",
    "stage",
    "segment",
    "attr",
    "count",
    "sum",
    "none",
    "age",
    "last",
    "first",
    "in_group",
    "replied",
    "not_replied",
    "silence",
    "reached",
    "tag_set",
    "segment_left",
    "sum_lines",
    "within=",
    "since=",
    "distinct=",
    "for=",
    "after=",
    "order.paid",
    "chat.message",
    "contact.added",
    "profile.updated",
    "profile.city",
    "any_line.product",
    "any_line.sku",
    "text has ",
    "channel",
    "playbook",
    "kind: directory\n",
    "kind: policy\n",
    "uses",
    "id",
    "label",
    "exclusive: true",
    "ordered: true",
    "off_ladder",
    "for_each",
    "trigger",
    "when",
    "do",
    "set_tag",
    "unset_tag",
    "set_attr",
    "assign",
    "handoff",
    "task",
    "allow: backward",
    "fold: []",
    "columns",
    "backward: never",
    "manual: wins",
    "months_since",
    "date_add",
    "type: time",
    "type: bool",
    "expect",
    "proves",
    "at",
    "occurred",
    "partitions: 7",
];

/// What nests, or only grows.
const HEAPED: &[&str] = &[
    "(",
    "[",
    "{",
    "{a: ",
    "- ",
    "[[]], ",
    "not ",
    "a: ",
    "\"",
    "x",
    "中",
    "((",
    "tag(身份/老板) or ",
    "${x}",
    "\n",
    " ",
    "\t",
    "&a ",
    "? ",
    "..",
    "*",
    "/",
    "!",
    "|\n",
    "# ",
    "9",
    "\u{301}",
    "\\",
];
