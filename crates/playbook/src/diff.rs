//! What a new bundle changes, in the words of playbooks: for whoever is about to put it in force.

use crate::bundle::{Bundle, Rule};
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::command::TagRef;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// `tag`, `board`, `segment`, `rule`, `attribute`, `journey`, `metric`, `playbook`.
    pub what: &'static str,
    /// Which: `商机/赢单`, `price/asks-price`…
    pub id: String,
    /// How.
    pub change: Change,
}

/// How something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Change {
    Added,
    Removed,
    Changed,
}

impl Change {
    /// For people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// Everything that differs in meaning, by what and id. Order of keys, comments and spelling make no difference; the
/// order of rules does, as they see what earlier ones write.
pub fn between(old: &Bundle, new: &Bundle) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("playbook", &playbooks(old), &playbooks(new), &mut found);
    compare("group", &groups(old), &groups(new), &mut found);
    compare("tag", &tags(old), &tags(new), &mut found);
    compare("board", &debug(&old.boards), &debug(&new.boards), &mut found);
    let written =
        |bundle: &Bundle| bundle.segments.iter().map(|(id, condition)| (id.clone(), condition.write())).collect();
    compare("segment", &written(old), &written(new), &mut found);
    compare("attribute", &debug(&old.attributes), &debug(&new.attributes), &mut found);
    compare("rule", &rules(old), &rules(new), &mut found);
    let journeys = |bundle: &Bundle| {
        let named = bundle.journeys.iter().map(|of| (format!("{}/{}", of.playbook, of.id), format!("{of:?}")));
        named.collect::<BTreeMap<_, _>>()
    };
    compare("journey", &journeys(old), &journeys(new), &mut found);
    let metrics = |bundle: &Bundle| {
        bundle.metrics.iter().map(|of| (of.id.clone(), format!("{of:?}"))).collect::<BTreeMap<_, _>>()
    };
    compare("metric", &metrics(old), &metrics(new), &mut found);
    found
}

/// Tags that the new bundle no longer has: whoever carries one would keep it for good.
pub fn orphans(old: &Bundle, new: &Bundle) -> Vec<TagRef> {
    let (old, new) = (tags(old), tags(new));
    old.keys().filter(|tag| !new.contains_key(*tag)).filter_map(|tag| TagRef::parse(tag)).collect()
}

fn compare(
    what: &'static str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    found: &mut Vec<Difference>,
) {
    let ids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for id in ids {
        let change = match (old.get(id), new.get(id)) {
            (None, Some(_)) => Change::Added,
            (Some(_), None) => Change::Removed,
            (Some(old), Some(new)) if old != new => Change::Changed,
            _ => continue,
        };
        found.push(Difference { what, id: id.clone(), change });
    }
}

fn playbooks(bundle: &Bundle) -> BTreeMap<String, String> {
    let meaning =
        |of: &crate::bundle::Playbook| format!("{} {} {:?} {:?}", of.version, of.zone.name(), of.uses, of.events);
    bundle.playbooks.iter().map(|of| (of.id.clone(), meaning(of))).collect()
}

fn groups(bundle: &Bundle) -> BTreeMap<String, String> {
    let meaning = |of: &crate::bundle::TagGroup| {
        let order: Vec<&str> =
            of.tags[..of.ladder_len].iter().map(|tag| tag.id.as_str()).filter(|_| of.ordered).collect();
        format!("{} {} {} {order:?}", of.exclusive, of.ordered, of.manual_wins)
    };
    bundle.groups.iter().map(|(id, of)| (id.clone(), meaning(of))).collect()
}

/// `group/tag` → label.
fn tags(bundle: &Bundle) -> BTreeMap<String, String> {
    let of_group = |(group, of): (&String, &crate::bundle::TagGroup)| {
        of.tags.iter().map(|tag| (format!("{group}/{}", tag.id), tag.label.clone())).collect::<Vec<_>>()
    };
    bundle.groups.iter().flat_map(of_group).collect()
}

fn rules(bundle: &Bundle) -> BTreeMap<String, String> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for rule in &bundle.rules {
        // Its place among the rules of its playbook.
        let after = before.insert(&rule.playbook, &rule.id).unwrap_or_default();
        let Rule { id, playbook, triggers, when, actions } = rule;
        let when = when.as_ref().map(crate::bundle::Condition::write);
        all.insert(format!("{playbook}/{id}"), format!("{after:?} {triggers:?} {when:?} {actions:?}"));
    }
    all
}

fn debug<T: std::fmt::Debug>(all: &BTreeMap<String, T>) -> BTreeMap<String, String> {
    all.iter().map(|(id, one)| (id.clone(), format!("{one:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::compile;
    use touchline_model::command::PlaybookSource;

    fn bundle(yaml: &str) -> Bundle {
        compile(&[PlaybookSource { id: "p".into(), yaml: format!("playbook: p\n{yaml}") }], 1).expect("valid")
    }

    #[test]
    fn what_means_the_same_is_no_difference() {
        let old = bundle(
            "tag_groups: [{id: g, exclusive: true, tags: [a, b]}]\nsegments: {s: tag(g/a) and tag(g/b)}\n\
             rules: [{id: r, trigger: order.paid, do: [{set_tag: g/a}]}]\n",
        );
        let spelled = bundle(
            "# a comment\nrules: [{trigger: order.paid, id: r, do: [{set_tag: \"g/a\"}]}]\n\
             tag_groups: [{tags: [a, b], id: g, exclusive: true}]\nsegments: {s: \"tag(g/a)  AND tag(\\\"g/b\\\")\"}\n",
        );
        assert_eq!(between(&old, &spelled), []);
        let changed = bundle(
            "tag_groups: [{id: g, exclusive: true, tags: [{id: a, label: 甲}, c]}]\nsegments: {s: tag(g/a)}\n\
             rules: [{id: q, trigger: order.paid, do: [{set_tag: g/c}]}, {id: r, trigger: order.paid, do: [{set_tag: g/a}]}]\n\
             attributes: {x: profile.x}\nboards: [{id: b, group: g}]\n\
             metrics: [{id: m, count: order.paid, per: executor}]\n",
        );
        let found: Vec<(&str, String, &str)> =
            between(&old, &changed).into_iter().map(|one| (one.what, one.id, one.change.name())).collect();
        let expected = [
            ("tag", "g/a", "changed"),
            ("tag", "g/b", "removed"),
            ("tag", "g/c", "added"),
            ("board", "b", "added"),
            ("segment", "s", "changed"),
            ("attribute", "x", "added"),
            ("rule", "p/q", "added"),
            // It now comes after another one.
            ("rule", "p/r", "changed"),
            ("metric", "m", "added"),
        ];
        assert_eq!(found, expected.map(|(what, id, change)| (what, id.to_owned(), change)));
        assert_eq!(orphans(&old, &changed), [TagRef::new("g", "b")]);
    }
}
