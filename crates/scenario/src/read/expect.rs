//! Expectations.

use super::Reader;
use super::nodes::Entries;
use crate::format::{
    Check, MetricExpectation, PersonExpectation, Wanted, WantedChange, WantedNumber, WantedTouch, WantedWhy, What,
};
use touchline_playbook::yaml::{Node, NodeKind};

const KEYS: [&str; 9] = ["tags", "stages", "why", "segments", "attributes", "owner", "journeys", "touches", "changes"];
/// Among the people: what playbooks count.
const METRICS: &str = "metrics";
/// What of a touch can be compared, beside `at`.
const TOUCH_TEXTS: [&str; 7] = ["step", "journey", "state", "reason", "content", "touchpoint", "executor"];

impl Reader<'_> {
    /// `{小王: {tags: […], …}, metrics: {人均转销售: {li/2026-12: 2}}}`
    pub(super) fn expectations(&mut self, node: &Node) -> (Vec<PersonExpectation>, Vec<MetricExpectation>) {
        let (mut out, mut counts) = (Vec::new(), Vec::new());
        for (name, node) in self.entries(node) {
            if name.text == METRICS {
                counts = self.metrics(node);
                continue;
            }
            let map = match Entries::open(self, node) {
                Some(map) if !map.entries.is_empty() => map,
                Some(_) => {
                    self.wrong(name.place, format!("nothing is expected of `{}`", name.text), None);
                    continue;
                }
                None => continue,
            };
            let mut checks = Vec::new();
            for key in KEYS {
                let Some(node) = map.take(key) else { continue };
                let place =
                    map.entries.iter().find(|(have, _)| have.text == key).map_or(node.place, |(key, _)| key.place);
                checks.extend(self.what(key, node).map(|what| Check { place, what }));
            }
            map.done(self, &KEYS);
            out.push(PersonExpectation { person: name.text.clone(), checks });
        }
        (out, counts)
    }

    fn metrics(&mut self, node: &Node) -> Vec<MetricExpectation> {
        let mut out = Vec::new();
        for (metric, node) in self.entries(node) {
            let numbers = self.entries(node).iter();
            let numbers = numbers.filter_map(|(name, node)| Some((name.text.clone(), self.number(node)?))).collect();
            out.push(MetricExpectation { place: metric.place, metric: metric.text.clone(), numbers });
        }
        out
    }

    /// `2`, or `{count: 2, met: false}`
    fn number(&mut self, node: &Node) -> Option<WantedNumber> {
        let (count, met) = match &node.kind {
            NodeKind::Map(_) => {
                let map = Entries::open(self, node)?;
                let met = map.take("met").and_then(|node| self.text(node)).map(|flag| flag.text == "true");
                let count = map.take("count");
                map.done(self, &["count", "met"]);
                (count.unwrap_or(node), met)
            }
            _ => (node, None),
        };
        let text = self.text(count)?;
        let Ok(count) = text.text.parse() else {
            self.wrong(text.place, format!("`{}` is not a whole number", text.text), None);
            return None;
        };
        Some(WantedNumber { count, met })
    }

    fn what(&mut self, key: &str, node: &Node) -> Option<What> {
        Some(match key {
            "tags" => self.all_tags(node),
            "stages" => What::Stages(self.named(node)),
            "why" => {
                let entries = self.entries(node);
                What::Why(entries.iter().filter_map(|(tag, node)| Some((tag.text.clone(), self.why(node)?))).collect())
            }
            "segments" => What::Segments(self.sorted(node)),
            "attributes" => What::Attributes(self.named(node)),
            "owner" => What::Owner(self.text_or_nothing(node)?),
            "journeys" => What::Journeys(self.named(node)),
            "touches" => {
                let items = self.list(node);
                What::Touches(items.iter().filter_map(|node| self.touch(node)).collect())
            }
            _ => {
                let items = self.list(node);
                What::Changes(items.iter().filter_map(|node| self.change(node)).collect())
            }
        })
    }

    /// `[商机/考虑价格]`: all there are; `{商机: 考虑价格, 兴趣: [红, 绿], 复购: ~}`: all of these groups.
    fn all_tags(&mut self, node: &Node) -> What {
        if !matches!(node.kind, NodeKind::Map(_)) {
            let mut tags: Vec<String> = self.tags(node).iter().map(ToString::to_string).collect();
            tags.sort();
            return What::Tags(tags);
        }
        let mut groups = Vec::new();
        for (group, node) in self.entries(node) {
            let tags = if matches!(node.kind, NodeKind::Null) { Vec::new() } else { self.sorted(node) };
            groups.push((group.text.clone(), tags));
        }
        What::TagsOf(groups)
    }

    fn sorted(&mut self, node: &Node) -> Vec<String> {
        let mut texts: Vec<String> = self.texts(node).into_iter().map(|text| text.text.clone()).collect();
        texts.sort();
        texts
    }

    pub(super) fn named(&mut self, node: &Node) -> Vec<(String, Wanted)> {
        let entries = self.entries(node);
        entries.iter().filter_map(|(name, node)| Some((name.text.clone(), self.text_or_nothing(node)?))).collect()
    }

    /// `rules/asks-price`, or `{rule: …, on: …, keyword: …, by: …, reason: …}`
    fn why(&mut self, node: &Node) -> Option<WantedWhy> {
        if let NodeKind::Scalar(rule) = &node.kind {
            return Some(WantedWhy { rule: Some(rule.text.clone()), ..WantedWhy::default() });
        }
        let map = Entries::open(self, node)?;
        let mut text = |key: &str| map.take(key).and_then(|node| self.text(node)).map(|text| text.text.clone());
        let [rule, on, keyword] = ["rule", "on", "keyword"].map(&mut text);
        let [by, reason] = ["by", "reason"].map(&mut text);
        map.done(self, &["rule", "on", "keyword", "by", "reason"]);
        Some(WantedWhy { rule, on, keyword, by, reason })
    }

    fn touch(&mut self, node: &Node) -> Option<WantedTouch> {
        let map = Entries::open(self, node)?;
        let at = map.take("at").and_then(|node| self.moment(node));
        let mut texts = Vec::new();
        for key in TOUCH_TEXTS {
            let wanted = map.take(key).and_then(|node| self.text_or_nothing(node));
            texts.extend(wanted.map(|wanted| (key, wanted)));
        }
        let known: Vec<&str> = TOUCH_TEXTS.into_iter().chain(["at"]).collect();
        map.done(self, &known);
        Some(WantedTouch { place: node.place, at, texts })
    }

    fn change(&mut self, node: &Node) -> Option<WantedChange> {
        let map = Entries::open(self, node)?;
        let at = map.take("at").and_then(|node| self.moment(node));
        let set = map.take("set").and_then(|node| self.text_or_nothing(node));
        let unset = map.take("unset").and_then(|node| self.text_or_nothing(node));
        let why = map.take("why").and_then(|node| self.why(node));
        let retracted = map.take("retracted").and_then(|node| self.text(node)).map(|flag| flag.text == "true");
        map.done(self, &["set", "unset", "at", "why", "retracted"]);
        Some(WantedChange { place: node.place, set, unset, at, why, retracted })
    }
}
