//! Reading YAML nodes: mappings with known keys, texts, ids, expressions.

use crate::codes::{self, Code};
use crate::diagnostic::{Place, Sink, did_you_mean};
use crate::documents::Keys;
use crate::resolve::lower_first;
use crate::syntax::SyntaxError;
use crate::yaml::{Node, NodeKind, Scalar};

/// A mapping of which every key must be taken, by the table of keys.
pub(crate) struct Mapping<'n> {
    keys: &'static Keys,
    place: Place,
    path: String,
    entries: &'n [(Scalar, Node)],
    known: Vec<&'static str>,
}

impl<'n> Mapping<'n> {
    pub(crate) fn open(node: &'n Node, keys: &'static Keys, path: &str, sink: &mut Sink) -> Option<Self> {
        let NodeKind::Map(entries) = &node.kind else {
            shape(node, "a mapping", path, sink);
            return None;
        };
        unique_keys(entries, path, sink);
        Some(Self { keys, place: node.place, path: path.to_owned(), entries, known: Vec::new() })
    }

    pub(crate) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Where the mapping begins.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The value of a key, which is known from now on.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.entry(key).map(|(_, node)| node)
    }

    pub(crate) fn entry(&mut self, key: &'static str) -> Option<&'n (Scalar, Node)> {
        debug_assert!(self.keys.key(key).is_some(), "`{key}` is missing in the table of `{}`", self.keys.name);
        self.known.push(key);
        self.entries.iter().find(|(have, _)| have.text == key)
    }

    pub(crate) fn require(&mut self, key: &'static str, sink: &mut Sink) -> Option<&'n Node> {
        let node = self.take(key);
        if node.is_none() {
            sink.report(codes::MISSING_KEY, self.place, &self.path, format!("the key `{key}` is missing"), None);
        }
        node
    }

    /// The text of a key that may be absent.
    pub(crate) fn text(&mut self, key: &'static str, sink: &mut Sink) -> Option<&'n Scalar> {
        let path = self.path(key);
        self.take(key).and_then(|node| text(node, &path, sink))
    }

    /// A checked id, which must be there.
    pub(crate) fn id(&mut self, key: &'static str, sink: &mut Sink) -> Option<&'n Scalar> {
        let path = self.path(key);
        let scalar = self.require(key, sink).and_then(|node| text(node, &path, sink))?;
        check_id(scalar, &path, sink).then_some(scalar)
    }

    /// `true` or `false`; `false` when absent.
    pub(crate) fn flag(&mut self, key: &'static str, sink: &mut Sink) -> bool {
        let path = self.path(key);
        let Some(scalar) = self.text(key, sink) else { return false };
        match scalar.text.as_str() {
            "true" => true,
            "false" => false,
            other => {
                sink.report(codes::VALUE, scalar.place, &path, format!("`{other}` is neither true nor false"), None);
                false
            }
        }
    }

    /// Whether the key is there; then it is refused as not evaluated yet, with the code of the table.
    pub(crate) fn not_yet(&mut self, key: &'static str, sink: &mut Sink) -> Option<&'n Node> {
        let path = self.path(key);
        let code = self.keys.key(key).and_then(|key| key.not_yet);
        let (key, node) = self.entry(key)?;
        if let Some(code) = code {
            not_yet(code, key.place, &path, sink);
        }
        Some(node)
    }

    /// Reports every key that was not asked for.
    pub(crate) fn done(self, sink: &mut Sink) {
        for (key, _) in self.entries {
            if sink.is_full() {
                return;
            }
            if !self.known.contains(&key.text.as_str()) {
                let hint = did_you_mean(&key.text, self.known.iter().copied())
                    .or_else(|| Some(format!("keys here are {}", self.known.join(", "))));
                sink.report(codes::UNKNOWN_KEY, key.place, &self.path, format!("unknown key `{}`", key.text), hint);
            }
        }
    }
}

/// The entries of a mapping whose keys are names.
pub(crate) fn named<'n>(node: &'n Node, path: &str, sink: &mut Sink) -> &'n [(Scalar, Node)] {
    match &node.kind {
        NodeKind::Map(entries) => {
            unique_keys(entries, path, sink);
            entries
        }
        _ => {
            shape(node, "a mapping", path, sink);
            &[]
        }
    }
}

/// The items of a list.
pub(crate) fn list<'n>(node: &'n Node, path: &str, sink: &mut Sink) -> &'n [Node] {
    match &node.kind {
        NodeKind::List(items) => items,
        _ => {
            shape(node, "a list", path, sink);
            &[]
        }
    }
}

/// A list, or one value standing for a list of itself.
pub(crate) fn one_or_many(node: &Node) -> &[Node] {
    match &node.kind {
        NodeKind::List(items) => items,
        _ => std::slice::from_ref(node),
    }
}

pub(crate) fn text<'n>(node: &'n Node, path: &str, sink: &mut Sink) -> Option<&'n Scalar> {
    match &node.kind {
        NodeKind::Scalar(scalar) => Some(scalar),
        _ => {
            shape(node, "a text", path, sink);
            None
        }
    }
}

/// Longest id, in characters: ids are part of keys and outputs.
pub(crate) const ID_CHARS_MAX: usize = 100;

pub(crate) fn check_id(scalar: &Scalar, path: &str, sink: &mut Sink) -> bool {
    let id = &scalar.text;
    let wrong = if id.is_empty() {
        "an id is not empty".to_owned()
    } else if id.contains("${") {
        sink.report(codes::PLACEHOLDER, scalar.place, path, format!("placeholder in `{id}` without for_each"), None);
        return false;
    } else if id.contains(['/', '"']) || id.chars().any(char::is_control) {
        format!("the id `{}` contains `/`, a quote or a control character", id.escape_debug())
    } else if id.trim() != id || id == "*" {
        format!("`{id}` is not an id")
    } else if id.chars().count() > ID_CHARS_MAX {
        format!("an id of more than {ID_CHARS_MAX} characters")
    } else {
        return true;
    };
    sink.report(codes::ID, scalar.place, path, wrong, None);
    false
}

/// Parses a text as an expression; a `${…}` is refused unless `for_each` expands it.
pub(crate) fn expression<'n, T>(
    node: &'n Node,
    path: &str,
    expanded: bool,
    sink: &mut Sink,
    parse: impl Fn(&str) -> Result<T, SyntaxError>,
) -> Option<(T, &'n Scalar)> {
    let scalar = text(node, path, sink)?;
    match parse(&scalar.text) {
        Err(error) => {
            syntax_error(scalar, path, error, sink);
            None
        }
        Ok(_) if !expanded && scalar.text.contains("${") => {
            let before = scalar.text.split("${").next().unwrap_or_default();
            let at = u32::try_from(before.chars().count()).unwrap_or(u32::MAX);
            let message = "a placeholder `${…}` needs for_each".to_owned();
            sink.report(codes::PLACEHOLDER, scalar.place_of(at), path, message, None);
            None
        }
        Ok(parsed) => Some((parsed, scalar)),
    }
}

pub(crate) fn syntax_error(scalar: &Scalar, path: &str, error: SyntaxError, sink: &mut Sink) {
    sink.report(error.code, scalar.place_of(error.at), path, error.message, error.hint);
}

pub(crate) fn not_yet(code: Code, at: Place, path: &str, sink: &mut Sink) {
    sink.report(code, at, path, lower_first(code.explanation), None);
}

pub(crate) fn shape(node: &Node, expected: &str, path: &str, sink: &mut Sink) {
    let message = format!("expected {expected}, found {}", node.describe());
    sink.report(codes::SHAPE, node.place, path, message, None);
}

pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}/{key}") }
}

fn unique_keys(entries: &[(Scalar, Node)], path: &str, sink: &mut Sink) {
    let mut seen = std::collections::BTreeSet::new();
    for (key, _) in entries {
        if !seen.insert(key.text.as_str()) {
            let message = format!("the key `{}` is given twice", key.text);
            sink.report(codes::DUPLICATE_KEY, key.place, path, message, None);
        }
    }
}
