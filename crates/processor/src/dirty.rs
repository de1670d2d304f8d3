//! Which cells' public records have to be published, and since when.

use crate::error::Error;
use crate::keys;
use std::collections::BTreeMap;
use touchline_model::id::CellKey;
use touchline_store::{Change, Store};

/// Marks read per scan when a store is opened.
const SCAN_PAIRS: usize = 1_024;

/// Offsets of the first and the last change that no publication holds yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: u64,
    last: u64,
}

/// The marks `k|cell → first, last`, in memory and in the store. Bounded by the outbox: applying
/// pauses when too much is unpublished.
///
/// A publication that ends at offset o holds every contact with `first < o`, as stored then; its mark
/// goes when nothing changed since. (By the last change alone, a contact that changes all the time
/// would never be published.)
#[derive(Debug, Default)]
pub(crate) struct Dirty(BTreeMap<CellKey, Span>);

impl Dirty {
    /// Reads the marks of a store; those published by `published` (next offset) are dropped.
    pub(crate) fn load(store: &dyn Store, published: u64, changes: &mut Vec<Change>) -> Result<Self, Error> {
        let mut marks = BTreeMap::new();
        let (mut from, until) = (keys::DIRTY.to_vec(), keys::end_of(keys::DIRTY));
        loop {
            let pairs = store.scan(&from, &until, SCAN_PAIRS)?;
            let Some((last_key, _)) = pairs.last() else { break };
            from = [last_key.as_slice(), &[0]].concat();
            for (key, value) in pairs {
                let (cell, span) = decode(&key, &value).ok_or(Error::Residue("a dirty mark"))?;
                if span.last < published {
                    changes.push(Change::Delete(key));
                } else {
                    marks.insert(cell, span);
                }
            }
        }
        Ok(Self(marks))
    }

    /// Notes changes of a batch; those below `published` are published already.
    pub(crate) fn note(&mut self, batch: &BTreeMap<CellKey, (u64, u64)>, published: u64, changes: &mut Vec<Change>) {
        for (cell, &(first, last)) in batch {
            if last < published {
                continue;
            }
            let span = self.0.entry(cell.clone()).or_insert(Span { first, last });
            span.last = last;
            changes.push(put(cell, *span));
        }
    }

    /// Cells that a publication ending at `offset` has to hold, in key order.
    pub(crate) fn before(&self, offset: u64) -> Vec<CellKey> {
        self.0.iter().filter(|(_, span)| span.first < offset).map(|(cell, _)| cell.clone()).collect()
    }

    /// `cells` are published as they were at `encoded_at` (next offset): marks without a later change go.
    pub(crate) fn published(&mut self, cells: &[CellKey], encoded_at: u64, changes: &mut Vec<Change>) {
        for cell in cells {
            let Some(span) = self.0.get_mut(cell) else { continue };
            if span.last < encoded_at {
                self.0.remove(cell);
                changes.push(Change::Delete(keys::dirty(cell.as_str())));
            } else {
                span.first = encoded_at.max(span.first);
                changes.push(put(cell, *span));
            }
        }
    }

    /// Removes marks of cells that do not change from `published` (next offset) on.
    pub(crate) fn drop_published(&mut self, published: u64, changes: &mut Vec<Change>) {
        self.0.retain(|cell, span| {
            let keep = span.last >= published;
            if !keep {
                changes.push(Change::Delete(keys::dirty(cell.as_str())));
            }
            keep
        });
    }

    /// A planted defect: forgets the cells whatever happened since.
    pub(crate) fn forget(&mut self, cells: &[CellKey], changes: &mut Vec<Change>) {
        for cell in cells {
            self.0.remove(cell);
            changes.push(Change::Delete(keys::dirty(cell.as_str())));
        }
    }

    /// How many cells wait.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

fn put(cell: &CellKey, span: Span) -> Change {
    let value = [span.first.to_be_bytes(), span.last.to_be_bytes()].concat();
    Change::Put(keys::dirty(cell.as_str()), value)
}

fn decode(key: &[u8], value: &[u8]) -> Option<(CellKey, Span)> {
    let cell = std::str::from_utf8(key.strip_prefix(keys::DIRTY)?).ok()?;
    let (first, last) = value.split_first_chunk::<8>()?;
    let span = Span { first: u64::from_be_bytes(*first), last: u64::from_be_bytes(last.try_into().ok()?) };
    Some((CellKey::parse(cell).ok()?, span))
}

#[cfg(test)]
mod tests {
    use super::*;
    use touchline_store::memory::MemoryStore;

    fn cell(value: &str) -> CellKey {
        CellKey::parse(&format!("t/phone_ref/t/{value}")).unwrap()
    }

    #[test]
    fn a_contact_that_changes_all_the_time_is_published_and_stays_marked() {
        let (mut dirty, mut changes) = (Dirty::default(), Vec::new());
        dirty.note(&BTreeMap::from([(cell("a"), (3, 4)), (cell("b"), (4, 4))]), 0, &mut changes);
        dirty.note(&BTreeMap::from([(cell("a"), (9, 9))]), 0, &mut changes);
        assert_eq!(dirty.before(3), []);
        assert_eq!(dirty.before(5), [cell("a"), cell("b")]);
        // Encoded when 9 was not applied yet: `a` has to go out again, with what ends beyond 9.
        dirty.published(&[cell("a"), cell("b")], 5, &mut changes);
        assert_eq!((dirty.before(5), dirty.before(10)), (vec![], vec![cell("a")]));

        let mut store = MemoryStore::new();
        store.write(changes).unwrap();
        let mut dropped = Vec::new();
        assert_eq!(Dirty::load(&store, 9, &mut dropped).unwrap().before(10), [cell("a")]);
        assert_eq!((Dirty::load(&store, 10, &mut dropped).unwrap().len(), dropped.len()), (0, 1));
    }
}
