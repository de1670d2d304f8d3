//! The `rules` section.

use crate::bundle::{Action, Assignee, Rule, Trigger};
use crate::codes;
use crate::compile::Scope;
use crate::diagnostic::{Place, Sink, did_you_mean};
use crate::documents;
use crate::reader::{self, Mapping};
use crate::syntax::Word;
use crate::yaml::{Node, NodeKind, Scalar};
use std::collections::BTreeSet;
use touchline_model::command::TagRef;
use touchline_model::kind::Kind;
use touchline_model::taxonomy;
use touchline_model::time::Span;

/// Reads all rules of one playbook. `places` says where each rule is written.
pub(crate) fn read(
    node: &Node,
    scope: &Scope<'_>,
    sink: &mut Sink,
    rules: &mut Vec<Rule>,
    places: &mut Vec<(String, Place)>,
) {
    let mut seen = BTreeSet::new();
    for node in reader::list(node, "rules", sink) {
        let expanded = for_each(node, sink);
        for node in expanded.as_deref().unwrap_or(std::slice::from_ref(node)) {
            if sink.is_full() {
                return;
            }
            if let Some((rule, place)) = rule(node, scope, &mut seen, sink) {
                places.push((reader::join("rules", &rule.id), place));
                rules.push(rule);
            }
        }
    }
}

fn rule(node: &Node, scope: &Scope<'_>, seen: &mut BTreeSet<String>, sink: &mut Sink) -> Option<(Rule, Place)> {
    let mut map = Mapping::open(node, &documents::RULE, "rules", sink)?;
    map.take("for_each");
    let id = map.id("id", sink)?;
    let path = reader::join("rules", &id.text);
    if !seen.insert(id.text.clone()) {
        let message = format!("the playbook has another rule `{}`", id.text);
        sink.report(codes::DUPLICATE_ID, id.place, &path, message, None);
    }
    let trigger = map.require("trigger", sink);
    let triggers = trigger.and_then(|node| scope.triggers(node, &reader::join(&path, "trigger"), sink));
    let when = match map.take("when") {
        None => Some(None),
        Some(node) => scope.condition(node, &reader::join(&path, "when"), sink).map(Some),
    };
    let actions = map.require("do", sink).map(|node| actions(node, &reader::join(&path, "do"), scope, sink));
    let place = map.place();
    map.done(sink);
    let by_store = actions.iter().flatten().any(|action| matches!(action, Action::Assign(Assignee::Store)));
    if by_store && triggers.iter().flatten().any(|trigger| !names_a_store(trigger, scope)) {
        let message = "assign by store: a trigger of the rule is no event that names a store".to_owned();
        let hint = Some("name a pool: {assign: {by: round_robin, pool: sales}}, or make a rule of its own".to_owned());
        sink.report(codes::STORE, place, &reader::join(&path, "do"), message, hint);
    }
    let (id, playbook) = (id.text.clone(), scope.document.id.clone());
    Some((Rule { id, playbook, triggers: triggers?, when: when?, actions: actions? }, place))
}

/// Whether what sets a rule off can say in which store.
fn names_a_store(trigger: &Trigger, scope: &Scope<'_>) -> bool {
    let Trigger::Event(pattern) = trigger else { return false };
    match Kind::parse(&pattern.event) {
        Some(kind) => taxonomy::field(kind, "store").is_some(),
        None => scope.names.events.get(&pattern.event).is_some_and(|fields| fields.contains_key("store")),
    }
}

/// Most rules that one `for_each` gives.
pub(crate) const EXPANDED_MAX: usize = 10_000;
/// Most bytes of texts that one `for_each` gives, values apart.
const EXPANDED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest value that is put in.
const VALUE_BYTES_MAX: usize = 400;
/// Characters of a task, or of the reason of a hand-over.
pub(crate) const FOR_STAFF_CHARS_MAX: usize = 1_000;

/// The rule once for each entry of its `for_each`, with `${key}` replaced; `None` when it has none.
fn for_each(node: &Node, sink: &mut Sink) -> Option<Vec<Node>> {
    let NodeKind::Map(entries) = &node.kind else { return None };
    let (key, list) = entries.iter().find(|(key, _)| key.text == "for_each")?;
    let path = "rules/for_each";
    let rows = reader::list(list, path, sink);
    if rows.is_empty() || rows.len() > EXPANDED_MAX {
        let message = format!("{} entries: from 1 to {EXPANDED_MAX} are expanded", rows.len());
        sink.report(codes::FOR_EACH, key.place, path, message, None);
        return Some(Vec::new());
    }
    let template: Vec<(Scalar, Node)> = entries.iter().filter(|(key, _)| key.text != "for_each").cloned().collect();
    let template = Node { place: node.place, kind: NodeKind::Map(template) };
    let bytes = texts_bytes(&template).saturating_mul(rows.len());
    if bytes > EXPANDED_BYTES_MAX {
        let message = format!("the rules would have {bytes} bytes, at most {EXPANDED_BYTES_MAX} are expanded");
        sink.report(codes::FOR_EACH, key.place, path, message, None);
        return Some(Vec::new());
    }
    let mut names: Option<Vec<&str>> = None;
    let mut expanded = Vec::new();
    for row in rows {
        let mut values: Vec<(&str, &str)> = Vec::new();
        for (name, value) in reader::named(row, path, sink) {
            let value = reader::text(value, path, sink)?;
            if value.text.contains("${") || value.text.len() > VALUE_BYTES_MAX {
                let message = format!("a value has no placeholder, and at most {VALUE_BYTES_MAX} bytes");
                sink.report(codes::FOR_EACH, value.place, path, message, None);
                return Some(Vec::new());
            }
            values.push((&name.text, &value.text));
        }
        values.sort_unstable();
        let mine: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
        let unlike = names.as_ref().is_some_and(|names| *names != mine);
        // Every row has the same names: asked of the first.
        let is_first = names.is_none();
        let unused = mine.iter().find(|name| is_first && !mentions(&template, &format!("${{{name}}}")));
        if let Some(name) = unused {
            let message = format!("the rule does not use `${{{name}}}`");
            sink.report(codes::FOR_EACH, row.place, path, message, None);
            return Some(Vec::new());
        }
        if unlike {
            let message = "every entry of for_each has the same keys".to_owned();
            sink.report(codes::FOR_EACH, row.place, path, message, None);
            return Some(Vec::new());
        }
        names.get_or_insert(mine);
        let replace = |text: &str| {
            let put_in = |text: String, (name, value): &(&str, &str)| text.replace(&format!("${{{name}}}"), value);
            if text.contains("${") { values.iter().fold(text.to_owned(), put_in) } else { text.to_owned() }
        };
        expanded.push(template.map_texts(&replace));
    }
    Some(expanded)
}

fn texts_bytes(node: &Node) -> usize {
    match &node.kind {
        NodeKind::Null => 1,
        NodeKind::Scalar(scalar) => scalar.text.len() + 1,
        NodeKind::List(items) => items.iter().map(texts_bytes).sum(),
        NodeKind::Map(entries) => entries.iter().map(|(key, node)| key.text.len() + texts_bytes(node)).sum(),
    }
}

fn mentions(node: &Node, placeholder: &str) -> bool {
    match &node.kind {
        NodeKind::Null => false,
        NodeKind::Scalar(scalar) => scalar.text.contains(placeholder),
        NodeKind::List(items) => items.iter().any(|item| mentions(item, placeholder)),
        NodeKind::Map(entries) => entries.iter().any(|(_, node)| mentions(node, placeholder)),
    }
}

fn actions(node: &Node, path: &str, scope: &Scope<'_>, sink: &mut Sink) -> Vec<Action> {
    let mut actions = Vec::new();
    let nodes = reader::list(node, path, sink);
    for node in nodes {
        let Some(mut map) = Mapping::open(node, &documents::ACTION, path, sink) else { continue };
        let set = map.text("set_tag", sink);
        let unset = map.text("unset_tag", sink);
        let allow = map.text("allow", sink);
        let before = actions.len();
        let mut is_other = false;
        if let Some(node) = map.take("set_attr") {
            is_other = true;
            actions.extend(set_attributes(node, &reader::join(path, "set_attr"), scope, sink));
        }
        for (key, read) in OTHERS {
            if let Some(node) = map.take(key) {
                is_other = true;
                actions.extend(read(node, &reader::join(path, key), sink));
            }
        }
        if let (true, Some(allow)) = (is_other, allow) {
            sink.report(codes::UNKNOWN_KEY, allow.place, path, "`allow` belongs to set_tag".into(), None);
        }
        if actions.len() > before + 1 || (is_other && (set.is_some() || unset.is_some())) {
            let message = "one action per entry: write them as several".to_owned();
            sink.report(codes::SHAPE, node.place, path, message, None);
        }
        match (set, unset) {
            (Some(tag), None) => actions.extend(set_tag(tag, allow, path, scope, sink)),
            (None, Some(tag)) => {
                if let Some(allow) = allow {
                    let message = "`allow` belongs to set_tag: taking a tag away is no move".to_owned();
                    sink.report(codes::UNKNOWN_KEY, allow.place, path, message, None);
                }
                actions.extend(tag_ref(tag, path, scope, sink).map(Action::UnsetTag));
            }
            (Some(_), Some(_)) => {
                let message = "one action per entry: write set_tag and unset_tag as two".to_owned();
                sink.report(codes::SHAPE, node.place, path, message, None);
            }
            (None, None) if is_other => {}
            (None, None) => {
                let message = "an action is missing".to_owned();
                let hint = Some("write {set_tag: group/tag} or {unset_tag: group/tag}".to_owned());
                sink.report(codes::MISSING_KEY, node.place, path, message, hint);
            }
        }
        map.done(sink);
    }
    if nodes.is_empty() {
        sink.report(codes::MISSING_KEY, node.place, path, "a rule does at least one thing".into(), None);
    }
    actions
}

type Read = fn(&Node, &str, &mut Sink) -> Option<Action>;

/// Actions that concern staff.
const OTHERS: [(&str, Read); 3] = [("assign", assign), ("handoff", handoff), ("task", task)];
/// A hand-over that names no time has to be taken up within this.
const SLA: Span = Span::hours(24);

/// `{by: round_robin, pool: dcc}`, `{by: store}`.
fn assign(node: &Node, path: &str, sink: &mut Sink) -> Option<Action> {
    let mut map = Mapping::open(node, &documents::ASSIGN, path, sink)?;
    let by = map.require("by", sink).and_then(|node| reader::text(node, path, sink));
    let pool = map.text("pool", sink);
    let place = map.place();
    map.done(sink);
    match (by?.text.as_str(), pool) {
        ("round_robin", Some(pool)) => {
            sink.report(codes::NO_POOL, pool.place, path, pool.text.clone(), None);
            Some(Action::Assign(Assignee::Pool(pool.text.clone())))
        }
        ("store", None) => Some(Action::Assign(Assignee::Store)),
        ("round_robin", None) => {
            sink.report(codes::MISSING_KEY, place, path, "the key `pool` is missing".into(), None);
            None
        }
        ("store", Some(pool)) => {
            sink.report(codes::UNKNOWN_KEY, pool.place, path, "a store has no pool".into(), None);
            None
        }
        (other, _) => by_what(other, by?, path, sink),
    }
}

/// `{to: sales, by: round_robin, sla: 1h, reason: 主动咨询}`.
fn handoff(node: &Node, path: &str, sink: &mut Sink) -> Option<Action> {
    let mut map = Mapping::open(node, &documents::HANDOFF, path, sink)?;
    let to = map.require("to", sink).and_then(|node| reader::text(node, path, sink));
    let (by, sla, reason) = (map.text("by", sink), map.text("sla", sink), map.text("reason", sink));
    map.done(sink);
    if let Some(by) = by.filter(|by| by.text != "round_robin") {
        return by_what(&by.text, by, path, sink);
    }
    let span = match sla {
        None => SLA,
        Some(sla) => Span::parse(&sla.text).or_else(|| {
            let hint = Some("durations are 30s, 5m, 2h, 3d".to_owned());
            sink.report(codes::VALUE, sla.place, path, format!("`{}` is not a duration", sla.text), hint);
            None
        })?,
    };
    let reason = match reason {
        Some(reason) => for_staff(reason, path, sink)?,
        None => String::new(),
    };
    let to = to?;
    sink.report(codes::NO_POOL, to.place, path, to.text.clone(), None);
    Some(Action::Handoff { to: Assignee::Pool(to.text.clone()), sla: span, reason })
}

fn task(node: &Node, path: &str, sink: &mut Sink) -> Option<Action> {
    let text = reader::text(node, path, sink)?;
    for_staff(text, path, sink).map(Action::Task)
}

/// What staff read of a touch: it lies in the state of every contact that has one.
fn for_staff(text: &Scalar, path: &str, sink: &mut Sink) -> Option<String> {
    if text.text.chars().nth(FOR_STAFF_CHARS_MAX).is_none() {
        return Some(text.text.clone());
    }
    let message = format!("a text for staff of more than {FOR_STAFF_CHARS_MAX} characters");
    sink.report(codes::VALUE, text.place, path, message, Some("name the content that says it all".to_owned()));
    None
}

fn by_what(word: &str, by: &Scalar, path: &str, sink: &mut Sink) -> Option<Action> {
    let hint = did_you_mean(word, documents::CHOICES)
        .or_else(|| Some("staff are chosen by round_robin (of a pool) or store".to_owned()));
    sink.report(codes::VALUE, by.place, path, format!("nobody is chosen by `{word}`"), hint);
    None
}

/// `{attribute: value, …}`.
fn set_attributes(node: &Node, path: &str, scope: &Scope<'_>, sink: &mut Sink) -> Vec<Action> {
    let mut actions = Vec::new();
    for (name, node) in reader::named(node, path, sink) {
        let Some(value) = reader::text(node, path, sink) else { continue };
        let mut resolver = crate::resolve::Resolver::new(scope.names);
        let (name, word) = (Word { text: name.text.clone(), at: 0 }, (name, Word { text: value.text.clone(), at: 0 }));
        let parsed = resolver.set_attribute(&name, &word.1);
        // Either the name is wrong, or what it is set to.
        let at = if resolver.is_settable(&name) { value } else { word.0 };
        resolver.problems.into_iter().for_each(|problem| reader::syntax_error(at, path, problem, sink));
        actions.extend(parsed.map(|value| Action::SetAttribute { attribute: name.text.clone(), value }));
    }
    actions
}

fn set_tag(tag: &Scalar, allow: Option<&Scalar>, path: &str, scope: &Scope<'_>, sink: &mut Sink) -> Option<Action> {
    let tag_ref = tag_ref(tag, path, scope, sink)?;
    if let Some(allow) = allow {
        if allow.text != "backward" {
            let hint = did_you_mean(&allow.text, ["backward"]);
            sink.report(codes::VALUE, allow.place, path, format!("`{}` cannot be allowed", allow.text), hint);
        } else if scope.names.groups.get(&tag_ref.group).is_some_and(|group| !group.ordered) {
            let message = format!("the tag group `{}` is not ordered: nothing is backward in it", tag_ref.group);
            sink.report(codes::NOT_ORDERED, allow.place, path, message, None);
        }
    }
    Some(Action::SetTag { tag: tag_ref, backward: allow.is_some() })
}

fn tag_ref(scalar: &Scalar, path: &str, scope: &Scope<'_>, sink: &mut Sink) -> Option<TagRef> {
    if scalar.text.contains("${") {
        let message = "a placeholder `${…}` needs for_each".to_owned();
        sink.report(codes::PLACEHOLDER, scalar.place, path, message, None);
        return None;
    }
    let Some(tag) = TagRef::parse(&scalar.text) else {
        let message = format!("`{}` is not a tag", scalar.text);
        let groups = scope.names.groups.keys().map(String::as_str);
        let hint = did_you_mean(&scalar.text, groups).or_else(|| Some("tags are written group/tag".to_owned()));
        sink.report(codes::VALUE, scalar.place, path, message, hint);
        return None;
    };
    let offset = u32::try_from(tag.group.chars().count()).unwrap_or(u32::MAX).saturating_add(1);
    let (group, name) = (Word { text: tag.group.clone(), at: 0 }, Word { text: tag.tag.clone(), at: offset });
    let mut resolver = crate::resolve::Resolver::new(scope.names);
    let found = resolver.tag(&group, Some(&name)).is_some();
    resolver.problems.into_iter().for_each(|problem| reader::syntax_error(scalar, path, problem, sink));
    found.then_some(tag)
}
