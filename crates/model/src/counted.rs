//! What playbooks have counted: how often something happened, per person and period.

use crate::id::{CellKey, EventId, IdKey, IdKind, Position};
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// What one number of a metric stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// Playbook id.
    pub playbook: String,
    /// Metric id.
    pub metric: String,
    /// What is counted and how it is divided: numbers of different meanings do not add up.
    pub meaning: u64,
    /// Whose it is; `None` where nobody is known, or the metric does not ask.
    pub executor: Option<String>,
    /// `2026-12`, `2026-W49`, `2026-12-01`; empty where the metric does not ask.
    pub period: String,
}

impl Slot {
    /// The cell in which one partition keeps the number. It lies where it is counted, whatever its key hashes to.
    pub fn cell(&self, tenant: &str, partition: u32) -> CellKey {
        let Self { playbook, metric, meaning, executor, period } = self;
        let executor = executor.iter().flat_map(|staff| std::iter::once(b'/').chain(staff.bytes()));
        let rest: Vec<u8> = meaning.to_be_bytes().into_iter().chain(executor).collect();
        let value = EventId::derive(tenant, playbook, metric, period, &rest).to_hex();
        CellKey::of(tenant, &IdKey::new(IdKind::Metric, partition.to_string(), value))
    }
}

/// A number, as one partition has counted it so far: a record of `contacts`, where the last version wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The cell that keeps it.
    pub key: CellKey,
    /// Position of what was counted last: the version.
    pub version: Position,
    /// What it stands for.
    pub slot: Slot,
    /// How often.
    pub count: u64,
    /// Event time of what was counted last.
    pub at: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_of_every_partition_has_a_cell_of_its_own() {
        let slot = |executor: Option<&str>, period: &str, meaning| Slot {
            playbook: "p".into(),
            metric: "人均".into(),
            meaning,
            executor: executor.map(str::to_owned),
            period: period.into(),
        };
        let slots = [
            slot(None, "2026-12", 1),
            slot(Some(""), "2026-12", 1),
            slot(Some("li"), "2026-12", 1),
            slot(Some("li"), "2026-11", 1),
            slot(Some("li"), "2026-12", 2),
        ];
        let mut cells: Vec<CellKey> =
            slots.iter().flat_map(|slot| [slot.cell("acme", 0), slot.cell("acme", 1), slot.cell("b", 0)]).collect();
        cells.sort();
        cells.dedup();
        assert_eq!(cells.len(), 15);
        assert!(cells.iter().all(|cell| CellKey::parse(cell.as_str()).as_ref() == Ok(cell)));
        assert!(cells.iter().all(|cell| !cell.kind().is_contact() && !cell.kind().is_public()));
    }
}
