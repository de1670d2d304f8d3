//! Reading YAML nodes: mappings with known keys, lists, texts, moments.

use super::Reader;
use crate::report::Finding;
use crate::values;
use touchline_model::time::{Span, Time};
use touchline_playbook::diagnostic::{Place, did_you_mean};
use touchline_playbook::syntax::SyntaxError;
use touchline_playbook::yaml::{Node, NodeKind, Scalar};

/// A mapping of which every key must be taken.
pub(super) struct Entries<'n> {
    pub(super) entries: &'n [(Scalar, Node)],
}

impl<'n> Entries<'n> {
    pub(super) fn open(reader: &mut Reader<'_>, node: &'n Node) -> Option<Self> {
        matches!(node.kind, NodeKind::Map(_)).then(|| Self { entries: reader.entries(node) }).or_else(|| {
            reader.shape(node, "a mapping");
            None
        })
    }

    pub(super) fn take(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(have, _)| have.text == key).map(|(_, node)| node)
    }

    /// Reports every key that is not among the known ones.
    pub(super) fn done(self, reader: &mut Reader<'_>, known: &[&str]) {
        for (key, _) in self.entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let hint = did_you_mean(&key.text, known.iter().copied())
                .or_else(|| Some(format!("keys here are {}", known.join(", "))));
            reader.wrong(key.place, format!("unknown key `{}`", key.text), hint);
        }
    }
}

impl Reader<'_> {
    pub(super) fn wrong(&mut self, at: Place, message: String, hint: Option<String>) {
        let file = self.file.to_owned();
        self.findings.push(Finding { file, line: at.line, column: at.column, code: None, message, hint });
    }

    pub(super) fn shape(&mut self, node: &Node, expected: &str) {
        self.wrong(node.place, format!("expected {expected}, found {}", node.describe()), None);
    }

    pub(super) fn syntax(&mut self, scalar: &Scalar, error: SyntaxError) {
        self.wrong(scalar.place_of(error.at), error.message, error.hint);
    }

    /// The entries of a mapping; a key that is there twice is reported.
    pub(super) fn entries<'n>(&mut self, node: &'n Node) -> &'n [(Scalar, Node)] {
        let NodeKind::Map(entries) = &node.kind else {
            self.shape(node, "a mapping");
            return &[];
        };
        for (at, (key, _)) in entries.iter().enumerate() {
            if entries[..at].iter().any(|(before, _)| before.text == key.text) {
                self.wrong(key.place, format!("the key `{}` is given twice", key.text), None);
            }
        }
        entries
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node) -> &'n [Node] {
        match &node.kind {
            NodeKind::List(items) => items,
            _ => {
                self.shape(node, "a list");
                &[]
            }
        }
    }

    pub(super) fn text<'n>(&mut self, node: &'n Node) -> Option<&'n Scalar> {
        match &node.kind {
            NodeKind::Scalar(scalar) => Some(scalar),
            _ => {
                self.shape(node, "a text");
                None
            }
        }
    }

    /// A text, or nothing: `~`.
    pub(super) fn text_or_nothing(&mut self, node: &Node) -> Option<Option<String>> {
        match &node.kind {
            NodeKind::Null => Some(None),
            _ => self.text(node).map(|scalar| Some(scalar.text.clone())),
        }
    }

    /// A list of texts, or one text standing for a list of itself.
    pub(super) fn texts<'n>(&mut self, node: &'n Node) -> Vec<&'n Scalar> {
        match &node.kind {
            NodeKind::Scalar(scalar) => vec![scalar],
            _ => self.list(node).iter().filter_map(|node| self.text(node)).collect(),
        }
    }

    pub(super) fn moment(&mut self, node: &Node) -> Option<Time> {
        let scalar = self.text(node)?;
        if self.unclear(&scalar.text, scalar.place) {
            return None;
        }
        let moment = values::moment(&scalar.text, self.zone);
        if moment.is_none() {
            let hint = Some("write 2026-12-01 09:00".to_owned());
            self.wrong(scalar.place, format!("`{}` is not a moment", scalar.text), hint);
        }
        moment
    }

    /// Reports a local time that a change of the clocks skips or doubles.
    pub(super) fn unclear(&mut self, text: &str, at: Place) -> bool {
        let Some((message, hint)) = values::unclear(text, self.zone) else { return false };
        self.wrong(at, message, Some(hint));
        true
    }

    pub(super) fn span(&mut self, node: &Node) -> Option<Span> {
        let scalar = self.text(node)?;
        let parts: Option<Vec<Span>> = scalar.text.split(' ').map(Span::parse).collect();
        let Some(parts) = parts else {
            let hint = Some("durations are 30s, 5m, 2h, 3d, or several: 1d 2h".to_owned());
            self.wrong(scalar.place, format!("`{}` is not a duration", scalar.text), hint);
            return None;
        };
        Some(Span(parts.iter().map(|part| part.0).sum()))
    }
}
