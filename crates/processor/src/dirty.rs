//! Which cells' public records have to be published, and since when.

use std::collections::{BTreeMap, BTreeSet};
use touchline_model::id::CellKey;

/// Ends (next offsets) of the first and the last batch with a change that no publication holds yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: u64,
    last: u64,
}

/// The cells to publish, in memory: the marks of the outbox name them for whoever opens the store. Bounded by the
/// outbox: applying pauses when too much is unpublished.
///
/// A publication that ends at offset o holds every contact with `first <= o`, as stored then; it is forgotten when
/// nothing changed since. (By the last change alone, a contact that changes all the time would never be published.)
#[derive(Debug, Default)]
pub(crate) struct Dirty(BTreeMap<CellKey, Span>);

impl Dirty {
    /// Notes the cells changed by a batch that ends at `end` (next offset).
    pub(crate) fn note(&mut self, cells: BTreeSet<CellKey>, end: u64) {
        for cell in cells {
            self.0.entry(cell).or_insert(Span { first: end, last: end }).last = end;
        }
    }

    /// Cells that a publication ending at `offset` has to hold, in key order.
    pub(crate) fn before(&self, offset: u64) -> Vec<CellKey> {
        self.0.iter().filter(|(_, span)| span.first <= offset).map(|(cell, _)| cell.clone()).collect()
    }

    /// `cells` are published as they were at `encoded_at` (next offset): those without a later change go.
    pub(crate) fn published(&mut self, cells: &[CellKey], encoded_at: u64) {
        for cell in cells {
            let Some(span) = self.0.get_mut(cell) else { continue };
            if span.last <= encoded_at {
                self.0.remove(cell);
            } else {
                // The batch that ended at `encoded_at` is published, so the first change left is of a later one.
                span.first = span.first.max(encoded_at + 1);
            }
        }
    }

    /// Removes cells that do not change from `published` (next offset) on.
    pub(crate) fn drop_published(&mut self, published: u64) {
        self.0.retain(|_, span| span.last > published);
    }

    /// A planted defect: forgets the cells whatever happened since.
    pub(crate) fn forget(&mut self, cells: &[CellKey]) {
        for cell in cells {
            self.0.remove(cell);
        }
    }

    /// How many cells wait.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(value: &str) -> CellKey {
        CellKey::parse(&format!("t/phone_ref/t/{value}")).unwrap()
    }

    #[test]
    fn a_contact_that_changes_all_the_time_is_published_and_stays_marked() {
        let mut dirty = Dirty::default();
        dirty.note(BTreeSet::from([cell("a"), cell("b")]), 5);
        dirty.note(BTreeSet::from([cell("a")]), 10);
        assert_eq!(dirty.before(4), []);
        assert_eq!(dirty.before(5), [cell("a"), cell("b")]);
        // Encoded when the second batch was not applied yet: `a` has to go out again, with what ends beyond it.
        dirty.published(&[cell("a"), cell("b")], 5);
        assert_eq!((dirty.before(5), dirty.before(10)), (vec![], vec![cell("a")]));
        dirty.drop_published(9);
        assert_eq!(dirty.len(), 1);
        dirty.drop_published(10);
        assert_eq!(dirty.len(), 0);
    }
}
