//! All keywords of a bundle in one automaton over folded text.

use crate::fold::{Fold, Folded};
use aho_corasick::{AhoCorasick, MatchKind};
use std::collections::BTreeMap;
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
    /// Per pattern: index into `sets` and the keyword as written.
    patterns: Vec<(usize, String)>,
}

/// A keyword set as the compiler hands it over.
pub(crate) struct KeywordSet {
    pub(crate) fold: Fold,
    pub(crate) keywords: Vec<String>,
}

impl Automaton {
    /// Builds it; `Err` when the keywords are more than one automaton takes.
    pub(crate) fn build(sets: &BTreeMap<String, KeywordSet>) -> Result<Self, String> {
        let mut by_fold: BTreeMap<Fold, Vec<(usize, String)>> = BTreeMap::new();
        for (index, set) in sets.values().enumerate() {
            let patterns = by_fold.entry(set.fold).or_default();
            patterns.extend(set.keywords.iter().map(|keyword| (index, keyword.clone())));
        }
        let mut passes = Vec::new();
        for (fold, patterns) in by_fold {
            let folded = patterns.iter().map(|(_, keyword)| fold.text(keyword));
            let searcher = AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
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

    /// The first hit per set: the earliest, at one place the longest.
    fn scan(&self, text: &str) -> Vec<Option<Found>> {
        let mut found: Vec<Option<Found>> = vec![None; self.inner.sets.len()];
        for (at, pass) in self.inner.passes.iter().enumerate() {
            let folded: Folded = pass.fold.map(text);
            // Overlapping, so that no keyword hides one of another set.
            for hit in pass.searcher.find_overlapping_iter(&folded.text) {
                let pattern = hit.pattern().as_usize();
                let best = &mut found[pass.patterns[pattern].0];
                let earlier = best.as_ref().is_none_or(|best| {
                    (hit.start(), std::cmp::Reverse(hit.end())) < (best.bytes.0, std::cmp::Reverse(best.bytes.1))
                });
                if earlier {
                    let bytes = (hit.start(), hit.end());
                    *best = Some(Found { pass: at, pattern, bytes, chars: folded.origin(bytes.0, bytes.1) });
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
    bytes: (usize, usize),
    chars: (u32, u32),
}

/// One event's texts, each folded and searched at most once for all rules, and only when a rule asks.
#[derive(Debug)]
pub struct Scan<'a> {
    automaton: &'a Automaton,
    event: &'a Event,
    directory: &'a Directory,
    fields: Vec<(String, Vec<Option<Found>>)>,
}

impl<'a> Scan<'a> {
    /// A scan of this event; nothing is searched yet.
    pub fn new(automaton: &'a Automaton, event: &'a Event, directory: &'a Directory) -> Self {
        Self { automaton, event, directory, fields: Vec::new() }
    }

    /// What products and groups are looked up in.
    pub const fn directory(&self) -> &'a Directory {
        self.directory
    }

    /// The sets (`playbook/set`) of which the text of this field has a keyword, sorted.
    pub fn sets(&mut self, field: &str) -> impl Iterator<Item = &'a str> {
        let at = self.scanned(field);
        let sets = &self.automaton.inner.sets;
        self.fields[at].1.iter().zip(sets).filter(|(found, _)| found.is_some()).map(|(_, set)| set.as_str())
    }

    /// Where the field's findings are; the text is searched now if it has not been.
    fn scanned(&mut self, field: &str) -> usize {
        match self.fields.iter().position(|(scanned, _)| scanned == field) {
            Some(at) => at,
            None => {
                let text = self.event.field(field).and_then(FieldRef::as_text);
                let found = text.map_or_else(Vec::new, |text| self.automaton.scan(text));
                self.fields.push((field.to_owned(), found));
                self.fields.len() - 1
            }
        }
    }

    /// The first keyword of the set (`playbook/set`) in the text of this field.
    pub fn hit(&mut self, field: &str, set: &str) -> Option<Hit> {
        let index = self.automaton.inner.sets.binary_search_by(|have| have.as_str().cmp(set)).ok()?;
        let at = self.scanned(field);
        let found = self.fields[at].1.get(index).copied().flatten()?;
        let (_, keyword) = &self.automaton.inner.passes[found.pass].patterns[found.pattern];
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
