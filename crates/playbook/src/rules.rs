//! The `rules` section.

use crate::bundle::{Action, Rule};
use crate::codes;
use crate::compile::Scope;
use crate::diagnostic::{Place, Sink, did_you_mean};
use crate::reader::{self, Mapping};
use crate::syntax::{self, Word};
use crate::yaml::{Node, Scalar};
use touchline_model::command::TagRef;

/// Reads all rules of one playbook. `places` says where each rule is written.
pub(crate) fn read(
    node: &Node,
    scope: &Scope<'_>,
    sink: &mut Sink,
    rules: &mut Vec<Rule>,
    places: &mut Vec<(String, Place)>,
) {
    let mut seen = std::collections::BTreeSet::new();
    for node in reader::list(node, "rules", sink) {
        let Some(mut map) = Mapping::open(node, "rules", sink) else { continue };
        if map.not_yet("for_each", codes::NY_FOR_EACH, sink).is_some() {
            syntax_only(map, sink);
            continue;
        }
        let Some(id) = map.id("id", sink) else { continue };
        let path = reader::join("rules", &id.text);
        if !seen.insert(id.text.as_str()) {
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
        if let (Some(triggers), Some(when), Some(actions)) = (triggers, when, actions) {
            let (id, playbook) = (id.text.clone(), scope.document.id.clone());
            rules.push(Rule { id, playbook, triggers, when, actions });
            places.push((path, place));
        }
    }
}

/// A rule that `for_each` expands: its names are known only afterwards.
fn syntax_only(mut map: Mapping<'_>, sink: &mut Sink) {
    map.require("id", sink);
    if let Some(node) = map.require("trigger", sink) {
        for node in reader::one_or_many(node) {
            reader::expression(node, "rules/trigger", true, sink, syntax::trigger);
        }
    }
    if let Some(node) = map.take("when") {
        reader::expression(node, "rules/when", true, sink, syntax::condition);
    }
    map.require("do", sink);
    map.done(sink);
}

fn actions(node: &Node, path: &str, scope: &Scope<'_>, sink: &mut Sink) -> Vec<Action> {
    let mut actions = Vec::new();
    let nodes = reader::list(node, path, sink);
    for node in nodes {
        let Some(mut map) = Mapping::open(node, path, sink) else { continue };
        let set = map.text("set_tag", sink);
        let unset = map.text("unset_tag", sink);
        map.not_yet("allow", codes::NY_ORDERED, sink);
        let mut refused = false;
        for (key, code) in [
            ("set_attr", codes::NY_SET_ATTR),
            ("assign", codes::NY_ASSIGN),
            ("handoff", codes::NY_HANDOFF),
            ("task", codes::NY_TASK),
        ] {
            refused |= map.not_yet(key, code, sink).is_some();
        }
        match (set, unset) {
            (Some(tag), None) => actions.extend(tag_ref(tag, path, scope, sink).map(Action::SetTag)),
            (None, Some(tag)) => actions.extend(tag_ref(tag, path, scope, sink).map(Action::UnsetTag)),
            (Some(_), Some(_)) => {
                let message = "one action per entry: write set_tag and unset_tag as two".to_owned();
                sink.report(codes::SHAPE, node.place, path, message, None);
            }
            (None, None) if refused => {}
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
