//! Orders: what is said of one before anything names its buyer waits until something does.
//!
//! Many messages of a shop (shipped, closed, refunded) name the order alone, and may come before the one that names the
//! buyer. The cell of the order holds them, in order, and passes them on the moment it learns who it is; for seven days,
//! and sixty-four at most, so that neither a shop's test traffic nor a lost message fills the store.

use crate::apply::pass_on;
use crate::cell::Cell;
use crate::keys;
use crate::overlay::ViewError;
use crate::timers;
use crate::work::Work;
use serde::{Deserialize, Serialize};
use touchline_model::event::Event;
use touchline_model::id::{CellKey, Position};
use touchline_model::output::DeadReason;
use touchline_model::time::{Span, Time};

/// Events that an order holds.
const HELD_MAX: u32 = 64;
/// How long it holds them, in log time from the first.
const HELD_FOR: Span = Span::days(7);
/// The timer of an order that waits.
const GIVE_UP: &str = "h";

/// An event that waits.
#[derive(Serialize, Deserialize)]
struct Held {
    event: Event,
    at: Time,
    origin: Position,
    hops: u8,
}

/// An event of an order whose buyer is not known; `held`: how many wait already.
pub(crate) fn on_event(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    held: u32,
    event: &Event,
    (at, origin, hops): (Time, Position, u8),
) -> Result<(), ViewError> {
    if let Some(buyer) = event.subject.iter().find(|id| id.kind.is_contact()) {
        let buyer = CellKey::of(&event.tenant, buyer);
        learn(work, cell, held, buyer.clone())?;
        pass_on(work, buyer, event, at, origin, hops);
        return Ok(());
    }
    if held >= HELD_MAX {
        work.keep(cell, Some(Cell::Waiting { held }));
        work.dead(DeadReason::OrderWithoutBuyer, format!("{HELD_MAX} events of this order wait for its buyer already"));
        return Ok(());
    }
    if held == 0 {
        timers::arm_cell(work, cell, work.clock.plus(HELD_FOR), GIVE_UP);
    }
    work.put(keys::held(cell, held), &Held { event: event.clone(), at, origin, hops });
    work.put_cell(cell, Cell::Waiting { held: held + 1 });
    Ok(())
}

/// The order learns its buyer: the `held` events that waited go there, in order.
pub(crate) fn learn(work: &mut Work<'_, '_>, cell: &CellKey, held: u32, buyer: CellKey) -> Result<(), ViewError> {
    for Held { event, at, origin, hops } in take(work, cell, held)? {
        pass_on(work, buyer.clone(), &event, at, origin, hops);
    }
    work.put_cell(cell, Cell::Order { buyer });
    Ok(())
}

/// The time is up.
pub(crate) fn give_up(work: &mut Work<'_, '_>, cell: &CellKey, held: u32) -> Result<(), ViewError> {
    for Held { event, origin, .. } in take(work, cell, held)? {
        let detail = format!("{} at {origin} waited seven days for the buyer of its order", event.name());
        work.dead(DeadReason::OrderTimedOut, detail);
    }
    work.put_cell(cell, Cell::Waiting { held: 0 });
    Ok(())
}

fn take(work: &mut Work<'_, '_>, cell: &CellKey, held: u32) -> Result<Vec<Held>, ViewError> {
    let mut all = Vec::new();
    for number in 0..held {
        let key = keys::held(cell, number);
        all.push(work.get(&key)?.ok_or_else(|| ViewError(format!("event {number} of an order that waits is gone")))?);
        work.delete(key);
    }
    Ok(all)
}
