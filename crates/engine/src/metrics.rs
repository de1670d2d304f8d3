//! What playbooks count per person and period. Each number is a cell of the partition that counts: what was counted
//! stays counted, whatever becomes of the contact.

use crate::cell::{Cell, Contact};
use crate::overlay::ViewError;
use crate::rules::{Case, Judged};
use crate::work::Work;

/// Counts an event that is being judged, before any rule has acted on it.
pub(crate) fn on_event(
    work: &mut Work<'_, '_>,
    case: &Case<'_>,
    contact: &Contact,
    judged: &mut Judged<'_>,
) -> Result<(), ViewError> {
    for &index in case.bundle.metrics_by_event.get(judged.event.name()).into_iter().flatten() {
        let metric = &case.bundle.metrics[index];
        if !judged.fits(&metric.count) {
            continue;
        }
        let slot = metric.slot(judged.event, case.at, contact.owner());
        let cell = slot.cell(&case.cell.tenant(), work.position.partition);
        let before = match work.cell(&cell)? {
            Some(Cell::Metric { count, .. }) => count,
            _ => 0,
        };
        let (count, at, version) = (before.saturating_add(1), case.at, work.position.offset);
        work.put_cell(&cell, Cell::Metric { slot: Box::new(slot), count, at, version });
    }
    Ok(())
}
