//! What a new bundle changes, in the words of playbooks: for whoever is about to put it in force.

use crate::bundle::{Bundle, Condition, FieldTest, Pattern, Rule, Trigger, Wait};
use crate::measure::{Counted, Measure, Reading, Window};
use std::collections::{BTreeMap, BTreeSet};
use touchline_model::command::TagRef;
use xxhash_rust::xxh3::xxh3_64;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// `playbook`, `group`, `tag`, `keywords`, `counter`, `content`, `board`, `segment`, `attribute`, `rule`, `journey`,
    /// `metric`.
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
/// order of rules and of playbooks does, as rules see what earlier ones write. What asks for a keyword set differs where the set does.
pub fn between(old: &Bundle, new: &Bundle) -> Vec<Difference> {
    let mut found = Vec::new();
    for ((what, old), (_, new)) in meanings(old).iter().zip(&meanings(new)) {
        compare(what, old, new, &mut found);
    }
    let moved = moved(old, new).into_iter();
    let moved = moved.map(|id| Difference { what: "playbook", id: id.to_owned(), change: Change::Changed });
    found.extend(moved.filter(|moved| !found.contains(moved)).collect::<Vec<_>>());
    found
}

/// Playbooks of both that come after another one than before.
fn moved<'b>(old: &'b Bundle, new: &'b Bundle) -> Vec<&'b str> {
    let ids = |of: &'b Bundle| of.playbooks.iter().map(|playbook| playbook.id.as_str()).collect::<Vec<_>>();
    let (old, new) = (ids(old), ids(new));
    let both = |these: &[&'b str], others: &[&str]| {
        these.iter().filter(|id| others.contains(id)).copied().collect::<Vec<&'b str>>()
    };
    let (old, new) = (both(&old, &new), both(&new, &old));
    let after = |these: &[&'b str], id: &str| {
        let place = these.iter().position(|known| *known == id);
        place.and_then(|place| place.checked_sub(1)).map(|before| these[before])
    };
    new.iter().filter(|id| after(&old, id) != after(&new, id)).copied().collect()
}

/// What each thing of a bundle means, by what and id.
fn meanings(bundle: &Bundle) -> [(&'static str, BTreeMap<String, String>); 12] {
    let sets = Sets { bundle, words: bundle.keywords.words() };
    let segments = bundle.segments.iter().map(|(id, of)| (id.clone(), of.write() + &sets.of(&[], [of])));
    let contents = bundle.contents.iter().map(|(id, of)| (id.clone(), format!("{of:?}") + &sets.of(&[], &of.eligible)));
    let counters = bundle.counters.iter().map(|(id, of)| {
        let mut asked = BTreeSet::new();
        sets.measure(&of.of, &mut asked);
        (id.clone(), of.written.clone() + &sets.written(&asked))
    });
    let attributes = bundle.attributes.iter().map(|(id, of)| {
        let mut asked = BTreeSet::new();
        sets.measure(&Measure::Attribute(of.reading.clone()), &mut asked);
        of.computed.iter().for_each(|computed| pattern(&computed.from, &mut asked));
        (id.clone(), format!("{of:?}") + &sets.written(&asked))
    });
    let journeys = bundle.journeys.iter().map(|of| {
        let goal = of.goal.iter().flat_map(|goal| &goal.triggers);
        let triggers: Vec<&Trigger> = of.entry.iter().chain(&of.exit).chain(goal).collect();
        let conditions =
            of.steps.iter().filter_map(|step| step.when.as_ref()).chain(&of.entry_when).chain(&of.exit_when);
        (format!("{}/{}", of.playbook, of.id), format!("{of:?}") + &sets.of(&triggers, conditions))
    });
    let metrics = bundle.metrics.iter().map(|of| {
        let mut asked = BTreeSet::new();
        pattern(&of.count, &mut asked);
        (of.id.clone(), format!("{of:?}") + &sets.written(&asked))
    });
    [
        ("playbook", playbooks(bundle)),
        ("group", groups(bundle)),
        ("tag", tags(bundle)),
        ("keywords", sets.words.iter().map(|(id, words)| ((*id).to_owned(), words.clone())).collect()),
        ("counter", counters.collect()),
        ("content", contents.collect()),
        ("board", bundle.boards.iter().map(|(id, of)| (id.clone(), format!("{of:?}"))).collect()),
        ("segment", segments.collect()),
        ("attribute", attributes.collect()),
        ("rule", rules(bundle, &sets)),
        ("journey", journeys.collect()),
        ("metric", metrics.collect()),
    ]
}

/// The keyword sets that things ask for, themselves or by what is counted and waited for.
struct Sets<'b> {
    bundle: &'b Bundle,
    /// `playbook/set` → what it means.
    words: BTreeMap<&'b str, String>,
}

impl<'b> Sets<'b> {
    fn of<'t>(&self, triggers: &[&Trigger], conditions: impl IntoIterator<Item = &'t Condition>) -> String {
        let mut asked = BTreeSet::new();
        triggers.iter().for_each(|trigger| self.trigger(trigger, &mut asked));
        conditions.into_iter().for_each(|condition| self.condition(condition, &mut asked));
        self.written(&asked)
    }

    /// In short: many things ask for one large set.
    fn written(&self, asked: &BTreeSet<String>) -> String {
        let words = asked.iter().filter_map(|set| self.words.get(set.as_str()));
        words.map(|words| format!(" {:x}", xxh3_64(words.as_bytes()))).collect()
    }

    fn trigger(&self, trigger: &Trigger, asked: &mut BTreeSet<String>) {
        match trigger {
            Trigger::Event(of) => pattern(of, asked),
            Trigger::Replied(key) => self.reply(*key, asked),
            Trigger::Wait(key) => match self.bundle.waits.get(key) {
                Some(Wait::Silence(silence)) => {
                    silence.patterns.iter().chain([&silence.since]).for_each(|of| pattern(of, asked));
                }
                Some(Wait::Reached(reached)) => self.measure(&Measure::Attribute(reached.reading.clone()), asked),
                Some(Wait::NotReplied { .. }) | None => {}
            },
            Trigger::TagSet(_)
            | Trigger::TagUnset(_)
            | Trigger::StageEntered { .. }
            | Trigger::StageLeft { .. }
            | Trigger::SegmentEntered(_)
            | Trigger::SegmentLeft(_) => {}
        }
    }

    fn condition(&self, condition: &Condition, asked: &mut BTreeSet<String>) {
        match condition {
            Condition::And(terms) | Condition::Or(terms) => terms.iter().for_each(|term| self.condition(term, asked)),
            Condition::Not(term) => self.condition(term, asked),
            Condition::Tag(_) | Condition::Stage { .. } | Condition::InGroup(_) => {}
            Condition::Replied(_, key) => self.reply(*key, asked),
            Condition::Compare(quantity, _) => self.measure(&quantity.of, asked),
        }
    }

    fn reply(&self, key: u64, asked: &mut BTreeSet<String>) {
        asked.extend(self.bundle.replies.get(&key).and_then(|reply| reply.keywords.clone()));
    }

    fn measure(&self, measure: &Measure, asked: &mut BTreeSet<String>) {
        match measure {
            Measure::Count { of, window, .. } => {
                self.counted(of, asked);
                if let Window::Since(since) = window {
                    self.counted(since, asked);
                }
            }
            Measure::Sum { tally, .. } => self.counted(&Counted::Tally(*tally), asked),
            Measure::Age { of, .. } | Measure::Attribute(Reading::Moment { of, .. }) => self.counted(of, asked),
            Measure::Attribute(Reading::Kept(_) | Reading::Elapsed { .. }) => {}
        }
    }

    fn counted(&self, of: &Counted, asked: &mut BTreeSet<String>) {
        if let Counted::Tally(key) = of {
            self.bundle.tallies.get(key).iter().for_each(|tallied| pattern(&tallied.pattern, asked));
        }
    }
}

fn pattern(of: &Pattern, asked: &mut BTreeSet<String>) {
    asked.extend(of.tests.iter().filter_map(|test| match test {
        FieldTest::Keyword { keywords, .. } => Some(keywords.clone()),
        _ => None,
    }));
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

fn rules(bundle: &Bundle, sets: &Sets<'_>) -> BTreeMap<String, String> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for rule in &bundle.rules {
        // Its place among the rules of its playbook.
        let after = before.insert(&rule.playbook, &rule.id).unwrap_or_default();
        let Rule { id, playbook, triggers, when, actions } = rule;
        let asked = sets.of(&triggers.iter().collect::<Vec<_>>(), when);
        let when = when.as_ref().map(Condition::write);
        all.insert(format!("{playbook}/{id}"), format!("{after:?} {triggers:?} {when:?} {actions:?}{asked}"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::compile;
    use touchline_model::command::PlaybookSource;

    fn bundle(yaml: &str) -> Bundle {
        let source = |id: &str, yaml: &str| PlaybookSource { id: id.into(), yaml: format!("playbook: {id}\n{yaml}") };
        compile(&[source("p", yaml), source("q", "")], 1).expect("valid")
    }

    #[test]
    fn playbooks_in_another_order_differ() {
        let source = |id: &str| PlaybookSource { id: id.into(), yaml: format!("playbook: {id}\n") };
        let of = |ids: &[&str]| compile(&ids.iter().map(|id| source(id)).collect::<Vec<_>>(), 1).expect("valid");
        let ids = |old: &[&str], new: &[&str]| -> Vec<String> {
            between(&of(old), &of(new))
                .into_iter()
                .map(|found| format!("{} {}", found.change.name(), found.id))
                .collect()
        };
        assert_eq!(ids(&["p", "q", "r"], &["q", "r", "p"]), ["changed q", "changed p"]);
        // Who comes first and goes moves nobody.
        assert_eq!(ids(&["p", "q", "r"], &["q", "r", "s"]), ["removed p", "added s"]);
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

    /// Per section what it says, what it says instead, and what then differs, as `what id`.
    const SECTIONS: &[(&str, &str, &str, &[&str])] = &[
        ("playbook", "", "", &[]),
        ("kind", "", "kind: playbook", &[]),
        ("version", "", "version: 2", &["playbook p"]),
        ("timezone", "timezone: Europe/Berlin", "", &["playbook p"]),
        ("uses", "", "uses: [q]", &["playbook p"]),
        ("events", "events: {a.b: {}}", "events: {a.b: {x: text}}", &["playbook p"]),
        (
            "tag_groups",
            "tag_groups: [{id: g, tags: [a]}]",
            "tag_groups: [{id: g, exclusive: true, tags: [{id: a, label: 甲}]}]",
            &["group g", "tag g/a"],
        ),
        (
            "tag_groups",
            "tag_groups: [{id: g, exclusive: true, ordered: true, tags: [a, b]}]",
            "tag_groups: [{id: g, exclusive: true, ordered: true, manual: wins, tags: [a], off_ladder: [b]}]",
            &["group g"],
        ),
        ("keywords", "keywords: {k: {any: [aa, bb]}}", "keywords: {k: {any: [bb, aa, bb]}}", &[]),
        ("keywords", "keywords: {k: {any: [aa]}}", "keywords: {k: {any: [aa, bb]}}", &["keywords p/k"]),
        ("keywords", "keywords: {k: {any: [aa]}}", "keywords: {k: {any: [aa], fold: []}}", &["keywords p/k"]),
        ("keywords", "keywords: {k: {any: [aa]}}", "keywords: {j: {any: [aa]}}", &["keywords p/j", "keywords p/k"]),
        ("attributes", "attributes: {a: profile.a}", "attributes: {a: profile.b}", &["attribute a"]),
        ("attributes", "attributes: {a: {type: text}}", "attributes: {a: {type: number}}", &["attribute a"]),
        ("counters", "counters: {c: count(order.paid)}", "counters: {c: count(chat.message)}", &["counter p/c"]),
        (
            "counters",
            "counters: {c: \"count(order.paid, within=3d)\"}",
            "counters: {c: \"count(order.paid, within=30d)\"}",
            &["counter p/c"],
        ),
        ("counters", "counters: {c: count(order.paid)}", "", &["counter p/c"]),
        ("contents", "contents: [{id: c}]", "contents: [{id: c, eligible: \"count(order.paid) > 1\"}]", &["content c"]),
        (
            "contents",
            "contents: [{id: c, match: {product: A}}]",
            "contents: [{id: c, match: {product: B}}]",
            &["content c"],
        ),
        ("segments", "segments: {s: count(order.paid) > 1}", "segments: {s: count(order.paid) > 2}", &["segment s"]),
        (
            "boards",
            "tag_groups: [{id: g, exclusive: true, tags: [a, b]}]\nboards: [{id: b, group: g}]",
            "tag_groups: [{id: g, exclusive: true, tags: [a, b]}]\nboards: [{id: b, group: g, columns: [b]}]",
            &["board b"],
        ),
        (
            "rules",
            "rules: [{id: r, trigger: order.paid, do: [{task: x}]}]",
            "rules: [{id: r, trigger: order.paid, do: [{task: y}]}]",
            &["rule p/r"],
        ),
        (
            "journeys",
            "journeys: [{id: j, entry: {trigger: order.paid}, steps: [{id: s, after: 2h, touchpoint: dm, content: c}]}]",
            "journeys: [{id: j, entry: {trigger: order.paid}, steps: [{id: s, after: 3h, touchpoint: dm, content: c}]}]",
            &["journey p/j"],
        ),
        (
            "metrics",
            "metrics: [{id: m, count: order.paid, per: executor}]",
            "metrics: [{id: m, count: order.paid, per: calendar_day}]",
            &["metric m"],
        ),
    ];

    fn named(old: &Bundle, new: &Bundle) -> Vec<String> {
        between(old, new).into_iter().map(|one| format!("{} {}", one.what, one.id)).collect()
    }

    #[test]
    fn no_section_changes_unseen() {
        for key in crate::documents::PLAYBOOK.keys.iter().filter(|key| key.not_yet.is_none()) {
            let has_row = SECTIONS.iter().any(|(section, ..)| *section == key.name);
            assert!(has_row, "what differs when `{}` does?", key.name);
        }
        for (section, old, new, expected) in SECTIONS {
            assert_eq!(named(&bundle(old), &bundle(new)), *expected, "{section}: {old} → {new}");
            assert_eq!(named(&bundle(new), &bundle(old)), *expected, "{section}: {new} → {old}");
            assert_eq!(named(&bundle(new), &bundle(new)), [""; 0], "{section}: {new}");
        }
    }

    #[test]
    fn what_asks_for_other_keywords_is_another() {
        let yaml = |words: &str| {
            bundle(&format!(
                "keywords: {{k: {{any: [{words}]}}, other: {{any: [zz]}}}}
tag_groups: [{{id: g, tags: [a]}}]
attributes: {{first: first(chat.message(text has k)), plain: first(chat.message)}}
counters: {{c: count(chat.message(text has k))}}
segments: {{s: count(chat.message(text has k)) > 1, plain: count(chat.message(text has other)) > 1}}
contents: [{{id: x, eligible: segment(s)}}]
rules:
  - {{id: message, trigger: chat.message(text has k), do: [{{set_tag: g/a}}]}}
  - {{id: plain, trigger: chat.message(text has other), do: [{{set_tag: g/a}}]}}
  - {{id: when, trigger: order.paid, when: segment(s), do: [{{set_tag: g/a}}]}}
  - {{id: silence, trigger: \"silence(chat.message(text has k), for=1d, since=order.paid)\", do: [{{set_tag: g/a}}]}}
  - {{id: reply, trigger: \"replied(j/t, text has k)\", do: [{{set_tag: g/a}}]}}
journeys:
  - {{id: j, entry: {{trigger: order.paid}}, steps: [{{id: t, when: segment(s), touchpoint: dm, content: x}}]}}
metrics: [{{id: m, count: chat.message(text has k), per: executor}}]
"
            ))
        };
        let expected = [
            "keywords p/k",
            "counter p/c",
            "content x",
            "segment s",
            "attribute first",
            "rule p/message",
            "rule p/reply",
            "rule p/silence",
            "rule p/when",
            "journey p/j",
            "metric m",
        ];
        assert_eq!(named(&yaml("aa"), &yaml("aa, bb")), expected);
        assert_eq!(named(&yaml("aa, bb"), &yaml("bb, aa")), [""; 0]);
    }
}
