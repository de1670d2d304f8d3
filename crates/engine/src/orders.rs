//! Orders: who bought them, what is in them, and what is said before either is known.
//!
//! Many messages of a shop (shipped, closed, refunded) name the order alone, without its lines, and may come before the
//! one that names the buyer. The cell of the order learns buyer and lines from any event that has them, adds the lines
//! to what has none, and passes it on. Until the buyer is known it holds events, in order; for seven days, and
//! sixty-four at most, so that neither a shop's test traffic nor a lost message fills the store.

use crate::apply::pass_on;
use crate::cell::{self, Cell};
use crate::keys;
use crate::links::{self, Link};
use crate::overlay::ViewError;
use crate::timers;
use crate::work::Work;
use serde::{Deserialize, Serialize};
use touchline_model::event::Event;
use touchline_model::id::{CellKey, Position};
use touchline_model::kind::Kind;
use touchline_model::output::DeadReason;
use touchline_model::record::{Evidence, LoopBody};
use touchline_model::time::{Span, Time};
use touchline_model::value::Value;
use xxhash_rust::xxh3::xxh3_64;

/// Events that an order holds.
const HELD_MAX: u32 = 64;
/// How long it holds them, in log time from the first.
const HELD_FOR: Span = Span::days(7);
/// Lines that an order keeps: more than anybody buys at once, fewer than would crowd the store.
const LINES_MAX: usize = 100;
/// The timer of an order that waits.
const GIVE_UP: &str = "h";
/// The field of events that holds the lines.
const LINES: &str = "lines";

/// An event that waits.
#[derive(Serialize, Deserialize)]
struct Held {
    event: Event,
    at: Time,
    origin: Position,
    hops: u16,
}

/// Who is taken for the buyer, and how sure that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Buyer {
    /// The buyer's own identifier, not the contact it is part of: they may be parted.
    pub(crate) cell: CellKey,
    /// The shop said so; otherwise somebody brought a token of the order.
    pub(crate) by_shop: bool,
    /// The event that said so.
    pub(crate) origin: Position,
}

/// An event of the buyer names an order: its cell is told the buyer once, and lines whenever they are others.
pub(crate) fn tell(
    work: &mut Work<'_, '_>,
    cell: &CellKey,
    event: &Event,
    (order, origin): (CellKey, Position),
) -> Result<(), ViewError> {
    let Some(buyer) = event.subject.iter().find(|id| id.kind.is_contact()) else { return Ok(()) };
    let lines = lines_of(event);
    let hash = lines.as_ref().map_or(0, |lines| xxh3_64(&cell::encode(lines)));
    let key = keys::told(cell, &order);
    let told: Option<u64> = work.get(&key)?;
    if told.is_some_and(|told| hash == 0 || hash == told) {
        return Ok(());
    }
    work.put(key, &hash);
    work.tell(LoopBody::Bought { target: order, buyer: CellKey::of(&event.tenant, buyer), lines, origin });
    Ok(())
}

/// An event under the order's own key.
pub(crate) fn on_event(
    work: &mut Work<'_, '_>,
    order: &CellKey,
    found: Option<Cell>,
    event: &Event,
    (at, origin, hops): (Time, Position, u16),
) -> Result<(), ViewError> {
    keep_lines(work, order, lines_of(event))?;
    let named = event.subject.iter().find(|id| id.kind.is_contact());
    let found = match named {
        Some(buyer) => {
            let buyer = Buyer { cell: CellKey::of(&event.tenant, buyer), by_shop: true, origin };
            Some(learn(work, order, found, buyer)?)
        }
        None => found,
    };
    let held = match found {
        Some(Cell::Order { ref buyer }) => {
            // What names a buyer is that one's, as an event of theirs that names the order is; what names the order
            // alone is the first one's, so that it does not depend on who was named last.
            let buyer = named.map_or_else(|| buyer.cell.clone(), |named| CellKey::of(&event.tenant, named));
            forward(work, order, buyer, event.clone(), (at, origin, hops))?;
            work.keep(order, found);
            return Ok(());
        }
        Some(Cell::Waiting { held }) => held,
        _ => 0,
    };
    if held >= HELD_MAX {
        work.keep(order, Some(Cell::Waiting { held }));
        work.dead(DeadReason::OrderWithoutBuyer, format!("{HELD_MAX} events of this order wait for its buyer already"));
        return Ok(());
    }
    if held == 0 {
        timers::arm_cell(work, order, work.clock.plus(HELD_FOR), GIVE_UP);
    }
    work.put(keys::held(order, held), &Held { event: event.clone(), at, origin, hops });
    work.put_cell(order, Cell::Waiting { held: held + 1 });
    Ok(())
}

/// An event of `buyer` names the order.
pub(crate) fn bought(
    work: &mut Work<'_, '_>,
    order: &CellKey,
    buyer: &CellKey,
    lines: Option<&Value>,
    origin: Position,
) -> Result<(), ViewError> {
    keep_lines(work, order, lines.cloned())?;
    let found = work.cell(order)?;
    let known = learn(work, order, found, Buyer { cell: buyer.clone(), by_shop: true, origin })?;
    work.keep(order, Some(known));
    Ok(())
}

/// Somebody brought a token of the order: the buyer, unless another one is known; then the two are one person.
pub(crate) fn claimed(work: &mut Work<'_, '_>, link: Link) -> Result<(), ViewError> {
    let found = work.cell(&link.target)?;
    if let Some(Cell::Order { buyer }) = &found {
        let buyer = buyer.cell.clone();
        work.keep(&link.target, found);
        links::pass_link_on(work, buyer, &link);
        return Ok(());
    }
    let buyer = Buyer { cell: link.from, by_shop: false, origin: link.origin };
    let known = learn(work, &link.target, found, buyer)?;
    work.keep(&link.target, Some(known));
    Ok(())
}

/// The order learns its buyer: what waited goes there, in order. The shop's word replaces a token's, and the two are one
/// person; of two whom the shop names the first stays, and the other is said.
fn learn(work: &mut Work<'_, '_>, order: &CellKey, found: Option<Cell>, buyer: Buyer) -> Result<Cell, ViewError> {
    let held = match found {
        Some(Cell::Order { buyer: known }) if known.by_shop || !buyer.by_shop => {
            if known.cell != buyer.cell && !links::is_told(work, order, &buyer.cell)? {
                // Whether they are one person already is known where the other one lives. It joins nobody: a friend may
                // have paid, or the shop has mixed up two orders.
                let (target, from, origin) = (buyer.cell, known.cell.clone(), buyer.origin);
                links::remember_told(work, order, &target, Evidence::Weak);
                work.tell(LoopBody::Link { target, from, exclusive: Vec::new(), evidence: Evidence::Weak, origin });
            }
            return Ok(Cell::Order { buyer: known });
        }
        Some(Cell::Order { buyer: known }) => {
            if known.cell != buyer.cell {
                // The token said so; the shop only said who.
                let (target, from, origin) = (buyer.cell.clone(), known.cell, known.origin);
                let evidence = Evidence::Medium;
                // What either holds is compared where one asks the other.
                work.tell(LoopBody::Link { target, from, exclusive: Vec::new(), evidence, origin });
            }
            0
        }
        Some(Cell::Waiting { held }) => held,
        _ => 0,
    };
    for Held { event, at, origin, hops } in take(work, order, held)? {
        forward(work, order, buyer.cell.clone(), event, (at, origin, hops))?;
    }
    let known = Cell::Order { buyer };
    work.put_cell(order, known.clone());
    Ok(known)
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

/// Passes an event on, with the order's lines where it has none of its own.
fn forward(
    work: &mut Work<'_, '_>,
    order: &CellKey,
    buyer: CellKey,
    mut event: Event,
    (at, origin, hops): (Time, Position, u16),
) -> Result<(), ViewError> {
    if has_lines(event.kind) && lines_of(&event).is_none() {
        let lines: Option<Value> = work.get(&keys::lines(order))?;
        if let Some(lines) = lines {
            event.fields.set(LINES, lines);
        }
    }
    pass_on(work, buyer, &event, at, origin, hops);
    Ok(())
}

fn keep_lines(work: &mut Work<'_, '_>, order: &CellKey, lines: Option<Value>) -> Result<(), ViewError> {
    let Some(Value::List(mut lines)) = lines else { return Ok(()) };
    lines.truncate(LINES_MAX);
    let (key, lines) = (keys::lines(order), Value::List(lines));
    let known: Option<Value> = work.get(&key)?;
    if known.as_ref() != Some(&lines) {
        work.put(key, &lines);
    }
    Ok(())
}

fn lines_of(event: &Event) -> Option<Value> {
    let lines = event.fields.get(LINES).filter(|_| has_lines(event.kind))?;
    matches!(lines, Value::List(lines) if !lines.is_empty()).then(|| lines.clone())
}

/// Kinds of events that say what is in an order.
const fn has_lines(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::OrderCreated
            | Kind::OrderPaid
            | Kind::OrderReadyToShip
            | Kind::OrderShipped
            | Kind::OrderCompleted
            | Kind::OrderClosed
            | Kind::OrderChanged
            | Kind::OrderSnapshot
    )
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
