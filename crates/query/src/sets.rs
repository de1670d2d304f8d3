//! The condition language as set operations. A property test holds it equal to `Condition::holds`.

use crate::model::{Entry, Tenant};
use roaring::RoaringBitmap;
use std::collections::BinaryHeap;
use touchline_model::id::ContactId;
use touchline_model::past::Past;
use touchline_model::time::Time;
use touchline_playbook::bundle::{Condition, Facts, TagMatch};
use touchline_playbook::measure::Now;

/// Contacts of the tenant for which the condition holds at a moment: of each contact not before it was last seen.
pub fn evaluate(condition: &Condition, tenant: &Tenant, at: Time) -> RoaringBitmap {
    match condition {
        Condition::And(terms) => {
            let mut all = tenant.all().clone();
            for term in terms {
                all &= evaluate(term, tenant, at);
                if all.is_empty() {
                    break;
                }
            }
            all
        }
        Condition::Or(terms) => {
            let mut any = RoaringBitmap::new();
            for term in terms {
                any |= evaluate(term, tenant, at);
            }
            any
        }
        Condition::Not(term) => tenant.all() - evaluate(term, tenant, at),
        Condition::Tag(TagMatch { group, tag: Some(tag) }) => tenant.with_tag(group, tag).cloned().unwrap_or_default(),
        Condition::Tag(TagMatch { group, tag: None }) => tenant.with_any_tag(group),
        Condition::Stage { group, columns, .. } => {
            let mut any = RoaringBitmap::new();
            for bitmap in columns.iter().filter_map(|column| tenant.with_tag(group, column)) {
                any |= bitmap;
            }
            any
        }
        // Each contact's past is asked: no set is kept of every number that could be compared.
        Condition::InGroup(_) | Condition::Replied(..) | Condition::Compare(..) => {
            let holds = |entry: &&Entry| {
                let at = at.max(entry.contact.last_seen);
                condition.holds(*entry, Now { at, directory: tenant.directory() })
            };
            let present = tenant.all().iter().filter_map(|ordinal| tenant.by_ordinal(ordinal));
            present.filter(holds).map(|entry| entry.ordinal).collect()
        }
    }
}

impl Facts for Entry {
    fn has_tag(&self, group: &str, tag: &str) -> bool {
        self.contact.tags.iter().any(|have| have.group == group && have.tag == tag)
    }

    fn has_any_tag(&self, group: &str) -> bool {
        self.contact.tags.iter().any(|have| have.group == group)
    }

    fn past(&self) -> &Past {
        &self.contact.past
    }
}

/// The first `limit` contacts of `members` after `after`, by contact id.
pub fn page(tenant: &Tenant, members: &RoaringBitmap, after: Option<&ContactId>, limit: usize) -> Vec<Entry> {
    let (members_len, all) = (members.len(), tenant.all().len());
    if members_len == 0 || limit == 0 {
        return Vec::new();
    }
    // Walking all contacts in order passes about `all / members` of them per hit; else look at each member once.
    let walk = (limit as u64).saturating_mul(all / members_len);
    if walk <= members_len {
        let ordered = tenant.after(after).map(|(_, entry)| entry);
        return ordered.filter(|entry| members.contains(entry.ordinal)).take(limit).cloned().collect();
    }
    let later = members
        .iter()
        .filter_map(|ordinal| tenant.by_ordinal(ordinal))
        .filter(|entry| after.is_none_or(|after| entry.contact.id() > *after))
        .map(|entry| (entry.contact.id(), entry.ordinal));
    let ordinals = smallest(later, limit).into_iter().map(|(_, ordinal)| ordinal);
    ordinals.filter_map(|ordinal| tenant.by_ordinal(ordinal).cloned()).collect()
}

/// The `limit` smallest of `items`, in order, without sorting the rest.
pub fn smallest<T: Ord>(items: impl Iterator<Item = T>, limit: usize) -> Vec<T> {
    let mut heap = BinaryHeap::new();
    for item in items {
        if heap.len() < limit {
            heap.push(item);
        } else if let Some(mut largest) = heap.peek_mut()
            && item < *largest
        {
            *largest = item;
        }
    }
    heap.into_sorted_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Change, ReadModel};
    use proptest::prelude::*;
    use touchline_model::id::{CellKey, IdKey, IdKind, Position};
    use touchline_model::output::{Cause, Contact, Tag};
    use touchline_playbook::compile::compile;
    use touchline_playbook::condition;

    const GROUPS: [&str; 3] = ["商机", "身份", "c"];
    const TAGS: [&str; 3] = ["a", "b", "考虑 价格"];

    fn key(number: u8) -> CellKey {
        CellKey::of("acme", &IdKey::new(IdKind::YzOpenId, "youzan", number.to_string()))
    }

    fn contact(number: u8, offset: u64, tags: &[(usize, usize)], is_merged: bool) -> Contact {
        let position = Position { partition: 0, offset };
        let cause = Cause {
            position,
            origin: None,
            native: None,
            event_id: None,
            kind: "timer".into(),
            playbook: String::new(),
            rule: String::new(),
            bundle: 0,
            hit: None,
            actor: String::new(),
            reason: String::new(),
        };
        let mut tags = tags.to_vec();
        tags.sort_unstable();
        tags.dedup();
        let tag = |&(group, tag): &(usize, usize)| {
            let (group, tag) = (GROUPS[group].to_owned(), TAGS[tag].to_owned());
            Tag { group, tag, set_at: Time(0), cause: cause.clone() }
        };
        Contact {
            key: key(number),
            version: position,
            merged_into: is_merged.then(|| key(0)),
            first_seen: Time(0),
            last_seen: Time(0),
            identities: Vec::new(),
            tags: tags.iter().map(tag).collect(),
            stages: Vec::new(),
            owner: None,
            relations: Vec::new(),
            past: Past::default(),
            enrolments: Vec::new(),
        }
    }

    fn conditions() -> impl Strategy<Value = Condition> {
        let group = 0..GROUPS.len();
        let leaf = prop_oneof![
            (group.clone(), proptest::option::of(0..TAGS.len())).prop_map(|(group, tag)| {
                Condition::Tag(TagMatch { group: GROUPS[group].into(), tag: tag.map(|tag| TAGS[tag].into()) })
            }),
            (group, proptest::collection::vec(0..TAGS.len(), 1..3)).prop_map(|(group, columns)| Condition::Stage {
                board: GROUPS[group].into(),
                group: GROUPS[group].into(),
                columns: columns.into_iter().map(|column| TAGS[column].into()).collect(),
            }),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Condition::And),
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Condition::Or),
                inner.prop_map(|inner| Condition::Not(Box::new(inner))),
            ]
        })
    }

    type Record = (u8, Vec<(usize, usize)>, bool);

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let tags = proptest::collection::vec((0..GROUPS.len(), 0..TAGS.len()), 0..4);
        proptest::collection::vec((0..12_u8, tags, proptest::bool::weighted(0.1)), 0..24)
    }

    fn model(records: &[Record]) -> ReadModel {
        let mut model = ReadModel::new(1);
        for (offset, (number, tags, is_merged)) in (0..).zip(records) {
            model.apply(Change::Contact(Box::new(contact(*number, offset, tags, *is_merged))));
        }
        model
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// One condition, two evaluations, on any history: sets here, contact by contact in the engine.
        #[test]
        fn sets_equal_holds(records in records(), condition in conditions()) {
            let model = model(&records);
            let Some(tenant) = model.tenant("acme") else { return Ok(()) };
            let by_sets = evaluate(&condition, tenant, Time(0));
            let mut expected = Vec::new();
            for (id, entry) in tenant.after(None) {
                if entry.contact.merged_into.is_none() && condition.holds(entry, Now { at: Time(0), directory: tenant.directory() }) {
                    expected.push(id.clone());
                }
            }
            let all = page(tenant, &by_sets, None, 1_000);
            prop_assert_eq!(all.iter().map(|entry| entry.contact.id()).collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(by_sets.len(), expected.len() as u64);
            // Pages of two list the same, each once.
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let next = page(tenant, &by_sets, after.as_ref(), 2);
                let Some(last) = next.last() else { break };
                after = Some(last.contact.id());
                paged.extend(next.iter().map(|entry| entry.contact.id()));
            }
            prop_assert_eq!(paged, expected);
        }
    }

    #[test]
    fn the_smallest_are_found_in_order() {
        assert_eq!(smallest([5, 1, 4, 2, 3].into_iter(), 3), [1, 2, 3]);
        assert_eq!(smallest([2, 1].into_iter(), 5), [1, 2]);
        assert!(smallest([1].into_iter(), 0).is_empty());
    }

    #[test]
    fn what_is_written_out_parses_to_the_same() {
        let yaml = "playbook: p\ntag_groups:\n  - {id: 商机, exclusive: true, tags: [a, 考虑 价格]}\n\
                    \x20 - {id: 身份, tags: [vip]}\nboards:\n  - {id: 看板, group: 商机, columns: [a, 考虑 价格]}\n";
        let source = touchline_model::command::PlaybookSource { id: "p".into(), yaml: yaml.into() };
        let bundle = compile(&[source], 1).unwrap();
        for (text, expected) in [
            ("tag(身份/vip)", "tag(\"身份/vip\")"),
            ("tag(身份/*) AND not tag(商机/a)", "tag(\"身份\"/*) and not tag(\"商机/a\")"),
            (
                "not (tag(身份/vip) or (tag(商机/a) and tag(\"商机/考虑 价格\")))",
                "not (tag(\"身份/vip\") or (tag(\"商机/a\") and tag(\"商机/考虑 价格\")))",
            ),
            ("stage(看板) = a", "stage(\"看板\") = \"a\""),
            ("stage(看板) in [a, \"考虑 价格\"]", "stage(\"看板\") in [\"a\", \"考虑 价格\"]"),
        ] {
            let condition = condition::parse(text, &bundle).unwrap();
            assert_eq!(condition.write(), expected);
            assert_eq!(condition::parse(&condition.write(), &bundle).unwrap(), condition, "{text}");
        }
    }
}
