//! All keywords of a bundle in one automaton over folded text.

use crate::fold::{Fold, Folded};
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use touchline_model::directory::Directory;
use touchline_model::event::{Event, FieldRef};
use touchline_model::output::Hit;

/// The automaton: built once per bundle, shared by clones.
#[derive(Clone, Default)]
pub struct Automaton {
    inner: Arc<Inner>,
}

impl fmt::Debug for Automaton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Automaton").field("sets", &self.inner.sets).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Inner {
    /// `playbook/set`, sorted.
    sets: Vec<String>,
    /// One pass per folding in use, which is one where no set names its own.
    passes: Vec<Pass>,
}

struct Pass {
    fold: Fold,
    searcher: AhoCorasick,
    /// Per pattern: who has it, as index into `sets`, and the keyword as the set writes it first.
    patterns: Vec<Vec<(usize, String)>>,
}

/// A keyword set as the compiler hands it over.
pub(crate) struct KeywordSet {
    pub(crate) fold: Fold,
    pub(crate) keywords: Vec<String>,
}

impl Automaton {
    /// Builds it; `Err` when the keywords are more than one automaton takes.
    ///
    /// What playbooks can ask for stays linear in their length: keywords are short, those that are alike are one pattern
    /// (each is a match of every state that ends in it), and the automaton is of the kind whose states are made one by
    /// one. That for few patterns, a DFA, follows the failures of every state for every byte.
    pub(crate) fn build(sets: &BTreeMap<String, KeywordSet>) -> Result<Self, String> {
        let mut by_fold: BTreeMap<Fold, BTreeMap<String, Vec<(usize, String)>>> = BTreeMap::new();
        for (index, set) in sets.values().enumerate() {
            let patterns = by_fold.entry(set.fold).or_default();
            for keyword in &set.keywords {
                let having = patterns.entry(set.fold.text(keyword)).or_default();
                if having.last().is_none_or(|(last, _)| *last != index) {
                    having.push((index, keyword.clone()));
                }
            }
        }
        let mut passes = Vec::new();
        for (fold, patterns) in by_fold {
            let (folded, patterns): (Vec<String>, Vec<_>) = patterns.into_iter().unzip();
            let searcher = AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(folded)
                .map_err(|error| format!("the keywords do not fit into one automaton: {error}"))?;
            passes.push(Pass { fold, searcher, patterns });
        }
        Ok(Self { inner: Arc::new(Inner { sets: sets.keys().cloned().collect(), passes }) })
    }

    /// Ids of all keyword sets, `playbook/set`, sorted.
    pub fn sets(&self) -> &[String] {
        &self.inner.sets
    }

    /// What each set (`playbook/set`) means: its folding and keywords, however they are ordered.
    pub(crate) fn words(&self) -> BTreeMap<&str, String> {
        let mut words: BTreeMap<&str, (Fold, BTreeSet<&str>)> = BTreeMap::new();
        for pass in &self.inner.passes {
            for (set, keyword) in pass.patterns.iter().flatten() {
                let (_, all) = words.entry(&self.inner.sets[*set]).or_insert((pass.fold, BTreeSet::new()));
                all.insert(keyword);
            }
        }
        words.into_iter().map(|(set, meaning)| (set, format!("{meaning:?}"))).collect()
    }

    /// The first hit per set that has one: the earliest, at one place the longest.
    fn scan(&self, text: &str) -> BTreeMap<usize, Found> {
        let mut found: BTreeMap<usize, Found> = BTreeMap::new();
        for (at, pass) in self.inner.passes.iter().enumerate() {
            let folded: Folded = pass.fold.map(text);
            let mut seen = BTreeSet::new();
            // Overlapping, so that no keyword hides one of another set.
            for hit in pass.searcher.find_overlapping_iter(&folded.text) {
                let pattern = hit.pattern().as_usize();
                // The first of a pattern is its earliest, however often it follows.
                if !seen.insert(pattern) {
                    continue;
                }
                let bytes = (hit.start(), hit.end());
                for (having, (set, _)) in pass.patterns[pattern].iter().enumerate() {
                    let is_earlier = found.get(set).is_none_or(|best| {
                        (bytes.0, std::cmp::Reverse(bytes.1)) < (best.bytes.0, std::cmp::Reverse(best.bytes.1))
                    });
                    if is_earlier {
                        let chars = folded.origin(bytes.0, bytes.1);
                        found.insert(*set, Found { pass: at, pattern, having, bytes, chars });
                    }
                }
            }
        }
        found
    }
}

#[derive(Debug, Clone, Copy)]
struct Found {
    pass: usize,
    pattern: usize,
    having: usize,
    bytes: (usize, usize),
    chars: (u32, u32),
}

/// One event's texts, each folded and searched at most once for all rules, and only when a rule asks.
#[derive(Debug)]
pub struct Scan<'a> {
    automaton: &'a Automaton,
    event: &'a Event,
    directory: &'a Directory,
    fields: Vec<(String, BTreeMap<usize, Found>)>,
}

impl<'a> Scan<'a> {
    /// A scan of this event; nothing is searched yet.
    pub fn new(automaton: &'a Automaton, event: &'a Event, directory: &'a Directory) -> Self {
        Self { automaton, event, directory, fields: Vec::new() }
    }

    /// What is scanned.
    pub const fn event(&self) -> &'a Event {
        self.event
    }

    /// What products and groups are looked up in.
    pub const fn directory(&self) -> &'a Directory {
        self.directory
    }

    /// The sets (`playbook/set`) of which the text of this field has a keyword, sorted.
    pub fn sets(&mut self, field: &str) -> impl Iterator<Item = &'a str> {
        let at = self.scanned(field);
        let sets = &self.automaton.inner.sets;
        self.fields[at].1.keys().map(|set| sets[*set].as_str())
    }

    /// Where the field's findings are; the text is searched now if it has not been.
    fn scanned(&mut self, field: &str) -> usize {
        match self.fields.iter().position(|(scanned, _)| scanned == field) {
            Some(at) => at,
            None => {
                let text = self.event.field(field).and_then(FieldRef::as_text);
                let found = text.map_or_else(BTreeMap::new, |text| self.automaton.scan(text));
                self.fields.push((field.to_owned(), found));
                self.fields.len() - 1
            }
        }
    }

    /// The first keyword of the set (`playbook/set`) in the text of this field.
    pub fn hit(&mut self, field: &str, set: &str) -> Option<Hit> {
        let index = self.automaton.inner.sets.binary_search_by(|have| have.as_str().cmp(set)).ok()?;
        let at = self.scanned(field);
        let found = *self.fields[at].1.get(&index)?;
        let (_, keyword) = &self.automaton.inner.passes[found.pass].patterns[found.pattern][found.having];
        let name = set.split_once('/').map_or(set, |(_, name)| name);
        Some(Hit {
            keywords: name.to_owned(),
            keyword: keyword.clone(),
            field: field.to_owned(),
            start: found.chars.0,
            end: found.chars.1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{BUNDLE_BYTES_MAX, KEYWORD_CHARS_MAX};

    /// As many keywords as a bundle has room for.
    fn fill(mut keyword: impl FnMut(usize) -> String) -> Vec<String> {
        let mut left = BUNDLE_BYTES_MAX;
        let mut keywords = Vec::new();
        loop {
            let next = keyword(keywords.len());
            let Some(rest) = left.checked_sub(next.len() + ", ".len()) else { return keywords };
            left = rest;
            keywords.push(next);
        }
    }

    #[test]
    fn the_automaton_is_in_proportion_to_what_a_bundle_can_ask_for() {
        let periodic = |tail: usize| "字".repeat(KEYWORD_CHARS_MAX - tail);
        let various = |at: usize| {
            (0..KEYWORD_CHARS_MAX).filter_map(|to| char::from_u32(0x4e00 + (at * 100 + to) as u32)).collect()
        };
        let shapes: [(&str, Vec<String>); 5] = [
            ("few, of many characters", (0..90).map(various).collect()),
            ("few and periodic", (0..KEYWORD_CHARS_MAX - 2).map(periodic).collect()),
            ("periodic to the end", fill(|at| format!("{}{at:04}", periodic(4)))),
            ("the same, over and over", fill(|at| if at % 2 == 0 { "aa".to_owned() } else { format!("{at}aa") })),
            ("all different", fill(|at| format!("词{at}"))),
        ];
        for (shape, keywords) in shapes {
            let bytes: usize = keywords.iter().map(String::len).sum();
            let set = |keywords| KeywordSet { fold: Fold::ALL, keywords };
            let sets = BTreeMap::from([("p/a".to_owned(), set(keywords.clone())), ("p/b".to_owned(), set(keywords))]);
            let automaton = Automaton::build(&sets).expect("it fits");
            let used: usize = automaton.inner.passes.iter().map(|pass| pass.searcher.memory_usage()).sum();
            let most = 64 * bytes.max(4_096);
            assert!(used <= most, "{shape}: {used} bytes for {bytes} of keywords");
            // What is written asks no more of it than each pattern once.
            let found = automaton.scan(&"字a".repeat(4_000));
            assert!(found.len() <= sets.len(), "{shape}");
        }
    }

    #[test]
    fn keywords_that_are_alike_are_found_as_each_set_writes_them() {
        let set = |keywords: &[&str]| KeywordSet {
            fold: Fold::ALL,
            keywords: keywords.iter().map(|&keyword| keyword.to_owned()).collect(),
        };
        let sets = BTreeMap::from([
            ("p/a".to_owned(), set(&["ＡＢＣ", "abc", "bc"])),
            ("p/b".to_owned(), set(&["bc", "abc", "ABC"])),
        ]);
        let automaton = Automaton::build(&sets).expect("it fits");
        let found = automaton.scan("bcx abc");
        let keyword = |set: usize| {
            let found = found[&set];
            (automaton.inner.passes[found.pass].patterns[found.pattern][found.having].1.as_str(), found.chars)
        };
        assert_eq!((keyword(0), keyword(1)), (("bc", (0, 2)), ("bc", (0, 2))));
        let found = automaton.scan("x abc");
        let keyword = |set: usize| {
            let found = found[&set];
            automaton.inner.passes[found.pass].patterns[found.pattern][found.having].1.as_str()
        };
        assert_eq!((keyword(0), keyword(1)), ("ＡＢＣ", "abc"));
    }
}
