//! Cells as they were last read or written, decoded: most records ask for one that was asked for a moment ago.
//!
//! ```text
//!   keep ─▶ young ──full: becomes──▶ old ──next time: dropped──▶      take: from either, and it is out
//! ```
//! Two generations are a least-recently-used cache without its bookkeeping. What is here equals what the store and the
//! overlay hold, so it is no part of the state: a cell that is missing is read, and nothing else differs.

use crate::cell::{Cell, Contact};
use std::collections::BTreeMap;
use touchline_model::id::CellKey;
use touchline_model::output::Touch;
use touchline_model::snapshot::Enrolment;
use xxhash_rust::xxh3::xxh3_64;

/// Memory for decoded cells of one partition, in bytes, roughly: both generations together.
const CACHE_BYTES: usize = 16 << 20;

/// The cache of one engine.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    /// By hash of the key: integers compare faster. Of two keys with one hash the later one stays.
    cells: BTreeMap<u64, (CellKey, Option<Cell>)>,
    bytes: usize,
}

impl Cells {
    /// The cell (`Some(None)`: there is none), which is not here any more: whoever changes it keeps it again.
    pub(crate) fn take(&mut self, key: &CellKey) -> Option<Option<Cell>> {
        let hash = hash_of(key);
        let found = self.young.remove(hash).or_else(|| self.old.remove(hash));
        found.filter(|(kept, _)| kept == key).map(|(_, cell)| cell)
    }

    /// The cell as it is, which stays.
    pub(crate) fn get(&self, key: &CellKey) -> Option<&Option<Cell>> {
        let hash = hash_of(key);
        let found = [&self.young, &self.old].into_iter().find_map(|generation| generation.cells.get(&hash));
        found.filter(|(kept, _)| kept == key).map(|(_, cell)| cell)
    }

    /// Keeps a cell as it is in the store from now on.
    pub(crate) fn keep(&mut self, key: &CellKey, cell: Option<Cell>) {
        let hash = hash_of(key);
        self.old.remove(hash);
        self.young.remove(hash);
        self.young.bytes += bytes_of(cell.as_ref());
        self.young.cells.insert(hash, (key.clone(), cell));
        if self.young.bytes > CACHE_BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

impl Generation {
    fn remove(&mut self, hash: u64) -> Option<(CellKey, Option<Cell>)> {
        let removed = self.cells.remove(&hash)?;
        self.bytes = self.bytes.saturating_sub(bytes_of(removed.1.as_ref()));
        Some(removed)
    }
}

fn hash_of(key: &CellKey) -> u64 {
    xxh3_64(key.as_str().as_bytes())
}

/// About what a cell takes, the entry here included. A map allocates nodes for eleven entries.
fn bytes_of(cell: Option<&Cell>) -> usize {
    const ENTRY: usize = 256;
    const ALLOCATED: usize = 48;
    let Some(Cell::Contact(contact)) = cell else { return ENTRY };
    let Contact { identities, apart, reserved, tags, relations, past, enrolments, touches, renamed, timers, .. } =
        &**contact;
    let flat = (2 * identities.len() + apart.len() + timers.len()) * 4 * ALLOCATED + reserved.len() * ENTRY;
    let tagged = tags.values().map(|set| map_bytes(set) + ALLOCATED).sum::<usize>();
    let maps = map_bytes(tags)
        + map_bytes(relations)
        + map_bytes(&past.happened)
        + map_bytes(&past.attributes)
        + map_bytes(&past.groups);
    let maps = maps + map_bytes(renamed) + renamed.len() * 2 * ALLOCATED;
    let tallied = (past.tallies.len() + past.segments.len() + past.silences.len()) * 2 * ENTRY;
    let journeys = map_bytes(enrolments) + enrolments.len() * (size_of::<Enrolment>() + 2 * ALLOCATED);
    let touches = map_bytes(touches) + touches.len() * (size_of::<Touch>() + 16 * ALLOCATED);
    ENTRY + size_of::<Contact>() + flat + tagged + tallied + maps + journeys + touches
}

fn map_bytes<V>(map: &BTreeMap<String, V>) -> usize {
    map.len().div_ceil(8) * 11 * size_of::<(String, V)>() + map.len() * 48
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> CellKey {
        CellKey::parse(&format!("t/phone_ref/t/{number}")).unwrap()
    }

    fn contact(version: u64) -> Option<Cell> {
        Some(Cell::Contact(Box::new(Contact { version, ..Contact::default() })))
    }

    #[test]
    fn what_is_kept_is_found_once_and_the_latest_counts() {
        let mut cells = Cells::default();
        cells.keep(&key(1), contact(1));
        cells.keep(&key(1), contact(2));
        cells.keep(&key(2), None);
        assert_eq!(cells.get(&key(1)), Some(&contact(2)));
        assert_eq!((cells.take(&key(1)), cells.take(&key(2))), (Some(contact(2)), Some(None)));
        assert_eq!((cells.take(&key(1)), cells.get(&key(2))), (None, None));
        assert_eq!((cells.young.bytes, cells.old.bytes), (0, 0));
    }

    #[test]
    fn it_stays_within_its_memory_and_what_is_asked_for_stays() {
        let mut cells = Cells::default();
        let each = bytes_of(contact(0).as_ref());
        let count = 3 * CACHE_BYTES / each;
        for number in 1..=count {
            cells.keep(&key(number), contact(1));
            let wanted = cells.take(&key(1)).expect("asked for all the time");
            cells.keep(&key(1), wanted);
            assert!(cells.young.bytes + cells.old.bytes <= CACHE_BYTES + 2 * each);
        }
        assert!(cells.get(&key(2)).is_none() && cells.get(&key(count)).is_some());
        let held = cells.young.cells.len() + cells.old.cells.len();
        assert!(held > count / 10, "{held} of {count}");
    }
}
