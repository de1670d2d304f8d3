//! Sections of a playbook that are read by themselves: each takes its node and says what is in it.

use crate::bundle::{Content, CustomType, Labelled, TagGroup};
use crate::codes;
use crate::compile::{KEYWORD_CHARS_MAX, KEYWORD_CHARS_MIN, Scope};
use crate::diagnostic::{Sink, did_you_mean};
use crate::documents;
use crate::fold::Fold;
use crate::measure::Quantity;
use crate::reader::{self, Mapping};
use crate::resolve::Resolver;
use crate::syntax;
use crate::yaml::{Node, NodeKind, Scalar};
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::kind::{HANDOFF_CREATED, Kind};

/// `broadcasts` is refused; the expressions in it are checked all the same.
pub(crate) fn not_yet_sections(map: &mut Mapping<'_>, sink: &mut Sink) {
    let Some(node) = map.not_yet("broadcasts", sink) else { return };
    for item in reader::one_or_many(node) {
        let NodeKind::Map(entries) = &item.kind else { continue };
        for (name, node) in entries.iter().filter(|(name, _)| name.text == "audience") {
            let path = reader::join("broadcasts", &name.text);
            reader::expression(node, &path, true, sink, syntax::condition);
        }
    }
}

/// Ids of steps, those within steps too.
pub(crate) fn step_ids(node: &Node, (playbook, journey): (&str, &str), out: &mut BTreeMap<String, String>) {
    match &node.kind {
        NodeKind::List(items) => items.iter().for_each(|item| step_ids(item, (playbook, journey), out)),
        NodeKind::Map(entries) => {
            for (name, node) in entries {
                match &node.kind {
                    NodeKind::Scalar(id) if name.text == "id" => {
                        out.insert(format!("{journey}/{}", id.text), playbook.to_owned());
                    }
                    _ => step_ids(node, (playbook, journey), out),
                }
            }
        }
        NodeKind::Scalar(_) | NodeKind::Null => {}
    }
}

/// What contents say beyond their id.
pub(crate) fn contents(node: &Node, scope: &Scope<'_>, sink: &mut Sink, contents: &mut BTreeMap<String, Content>) {
    for node in reader::list(node, "contents", sink) {
        let Some(mut map) = Mapping::open(node, &documents::CONTENT, "contents", sink) else { continue };
        let Some(id) = map.id("id", sink) else { continue };
        let path = reader::join("contents", &id.text);
        let product = map.take("match").and_then(|node| {
            let mut map = Mapping::open(node, &documents::MATCH, &path, sink)?;
            let product = map.require("product", sink).and_then(|node| reader::text(node, &path, sink));
            map.done(sink);
            let product = product?;
            sink.report(codes::NO_PRODUCT, product.place, &path, product.text.clone(), None);
            Some(product.text.clone())
        });
        if let Some(links) = map.text("links", sink).filter(|links| links.text != "any_touchpoint") {
            let hint = Some("it is `any_touchpoint`: one content wherever it is clicked".to_owned());
            sink.report(codes::VALUE, links.place, &path, format!("`{}` says nothing about links", links.text), hint);
        }
        let eligible = map.take("eligible").and_then(|node| scope.condition(node, &path, sink));
        map.done(sink);
        if contents.insert(id.text.clone(), Content { product, eligible }).is_some() {
            let message = format!("the bundle has another content `{}`", id.text);
            sink.report(codes::DUPLICATE_ID, id.place, &path, message, None);
        }
    }
}

/// `name: count(…)`: kept though no rule compares it, so that people can ask.
pub(crate) fn counters(node: &Node, scope: &Scope<'_>, sink: &mut Sink, counters: &mut BTreeMap<String, Quantity>) {
    for (name, node) in reader::named(node, "counters", sink) {
        let path = reader::join("counters", &name.text);
        if !reader::check_id(name, &path, sink) {
            continue;
        }
        let Some((call, scalar)) = reader::expression(node, &path, false, sink, syntax::measure) else { continue };
        let mut resolver = Resolver::new(scope.names);
        let counted = resolver.declared(&call);
        counters.extend(counted.map(|quantity| (format!("{}/{}", scope.document.id, name.text), quantity)));
        resolver.problems.into_iter().for_each(|problem| reader::syntax_error(scalar, &path, problem, sink));
    }
}

pub(crate) fn events(node: &Node, sink: &mut Sink) -> BTreeMap<String, BTreeMap<String, CustomType>> {
    let mut events = BTreeMap::new();
    for (name, node) in reader::named(node, "events", sink) {
        let path = reader::join("events", &name.text);
        if !reader::check_id(name, &path, sink) {
            continue;
        }
        if !name.text.contains('.') || Kind::parse(&name.text).is_some() || name.text == HANDOFF_CREATED {
            let message = format!("`{}` cannot be the name of a custom event", name.text);
            let hint = Some("the name has a dot and is not a built-in one: lesson.finished".to_owned());
            sink.report(codes::EVENT_NAME, name.place, &path, message, hint);
        }
        let mut fields = BTreeMap::new();
        for (field, node) in reader::named(node, &path, sink) {
            let Some(ty) = reader::text(node, &path, sink) else { continue };
            let parsed = match ty.text.as_str() {
                "text" => CustomType::Text,
                "number" => CustomType::Number,
                "bool" => CustomType::Bool,
                "time" => CustomType::Time,
                other => {
                    let hint = did_you_mean(other, documents::TYPES)
                        .or_else(|| Some("types are text, number, bool and time".to_owned()));
                    sink.report(codes::VALUE, ty.place, &path, format!("there is no type `{other}`"), hint);
                    continue;
                }
            };
            fields.insert(field.text.clone(), parsed);
        }
        events.insert(name.text.clone(), fields);
    }
    events
}

/// The ids of `uses: [lifecycle-7, policy@3]`; whether they are there is asked when all playbooks are known.
pub(crate) fn uses(node: &Node, sink: &mut Sink) -> Vec<String> {
    let texts = reader::list(node, "uses", sink).iter().filter_map(|node| reader::text(node, "uses", sink));
    texts.map(|used| used.text.split_once('@').map_or(used.text.as_str(), |(id, _)| id).to_owned()).collect()
}

/// Whether people may move a card of this board backward.
pub(crate) fn backward_of(backward: &Scalar, group: &TagGroup, path: &str, sink: &mut Sink) -> bool {
    if !group.ordered {
        let message = format!("the tag group `{}` is not ordered: nothing is backward in it", group.id);
        sink.report(codes::NOT_ORDERED, backward.place, path, message, None);
    }
    match backward.text.as_str() {
        "manual_only" => true,
        "never" => false,
        other => {
            let hint = did_you_mean(other, ["manual_only", "never"])
                .or_else(|| Some("it is `manual_only` (people may) or `never`".to_owned()));
            sink.report(codes::VALUE, backward.place, path, format!("`{other}` says nothing about moves"), hint);
            true
        }
    }
}

/// `考虑价格`, or `{id: 考虑价格, label: …}`.
pub(crate) fn labelled(node: &Node, path: &str, out: &mut Vec<Labelled>, sink: &mut Sink) {
    let mut seen: BTreeSet<String> = out.iter().map(|tag| tag.id.clone()).collect();
    for node in reader::list(node, path, sink) {
        let (id, label) = if let NodeKind::Map(_) = node.kind {
            let Some(mut map) = Mapping::open(node, &documents::TAG, path, sink) else { continue };
            let id = map.id("id", sink);
            let label = map.text("label", sink);
            map.done(sink);
            let Some(id) = id else { continue };
            (id, label.unwrap_or(id))
        } else {
            let Some(id) = reader::text(node, path, sink) else { continue };
            if !reader::check_id(id, path, sink) {
                continue;
            }
            (id, id)
        };
        if !seen.insert(id.text.clone()) {
            sink.report(codes::DUPLICATE_ID, id.place, path, format!("the tag `{}` is there twice", id.text), None);
            continue;
        }
        out.push(Labelled { id: id.text.clone(), label: label.text.clone() });
    }
}

pub(crate) fn columns_of(node: &Node, group: &TagGroup, path: &str, sink: &mut Sink) -> Vec<String> {
    let tags: BTreeSet<&str> = group.tags.iter().map(|tag| tag.id.as_str()).collect();
    let mut seen = BTreeSet::new();
    let mut columns: Vec<String> = Vec::new();
    for node in reader::list(node, path, sink) {
        let Some(column) = reader::text(node, path, sink) else { continue };
        if sink.is_full() {
            break;
        }
        if !tags.contains(column.text.as_str()) {
            let hint = did_you_mean(&column.text, tags.iter().copied());
            let message = format!("group `{}` has no tag `{}`", group.id, column.text);
            sink.report(codes::UNDEFINED_TAG, column.place, path, message, hint);
        } else if !seen.insert(column.text.as_str()) {
            let message = format!("the column `{}` is there twice", column.text);
            sink.report(codes::DUPLICATE_ID, column.place, path, message, None);
        }
        columns.push(column.text.clone());
    }
    columns
}

/// Refuses a keyword that is found everywhere, or nowhere, or is no word.
pub(crate) fn check_keyword(keyword: &Scalar, fold: Fold, path: &str, sink: &mut Sink) {
    let folded = fold.text(&keyword.text);
    let chars = folded.chars().count();
    let shown = keyword.text.escape_debug();
    let (message, hint) = if chars > KEYWORD_CHARS_MAX {
        (format!("a keyword of {chars} characters: at most {KEYWORD_CHARS_MAX}"), None)
    } else if folded.trim().is_empty() {
        (format!("the keyword `{shown}` has nothing but what is blank or invisible"), Some("it would be no word"))
    } else if chars < KEYWORD_CHARS_MIN {
        let hint = "a single character is found in words that mean something else";
        (format!("the keyword `{shown}` has fewer than {KEYWORD_CHARS_MIN} characters"), Some(hint))
    } else {
        return;
    };
    sink.report(codes::KEYWORD, keyword.place, path, message, hint.map(str::to_owned));
}

pub(crate) fn fold(node: &Node, path: &str, sink: &mut Sink) -> Fold {
    let mut fold = Fold::NONE;
    for node in reader::list(node, path, sink) {
        let Some(name) = reader::text(node, path, sink) else { continue };
        match name.text.as_str() {
            "nfkc" => fold.nfkc = true,
            "t2s" => fold.t2s = true,
            "lower" => fold.lower = true,
            other => {
                let hint = Some("foldings are nfkc, t2s and lower".to_owned());
                sink.report(codes::VALUE, name.place, path, format!("there is no folding `{other}`"), hint);
            }
        }
    }
    fold
}
