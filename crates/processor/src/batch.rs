//! Applying records: the same code live, replaying and judging.

use crate::error::Error;
use crate::view::StoreView;
use crate::wire;
use std::collections::BTreeSet;
use touchline_engine::{Engine, Notes, Overlay};
use touchline_log::{NewRecord, StoredRecord};
use touchline_model::event::Channel;
use touchline_model::id::{CellKey, EventId};
use touchline_model::output::{DeadReason, Numbered, Output};
use touchline_model::record::Input;
use touchline_store::{Change, Store};

/// Outputs, loopback records and dirty cells after which a batch ends early, so that one publication
/// and one store write stay small whatever the records lead to.
const EFFECTS_PER_BATCH_MAX: usize = 2_000;

/// What a batch led to. Nothing of it is written yet.
#[derive(Default)]
pub(crate) struct Applied {
    /// How many of the records were applied: all, or fewer when they led to much.
    pub(crate) records: usize,
    /// The engine's writes, net, in key order. Meta is not among them.
    pub(crate) writes: Vec<Change>,
    /// Whether a timer is among them.
    pub(crate) timers: bool,
    /// Outputs, encoded once.
    pub(crate) outputs: Vec<(Numbered, NewRecord)>,
    /// Loopback records: destination, number, encoded once.
    pub(crate) loops: Vec<(u32, u64, NewRecord)>,
    /// Cells whose public record changed.
    pub(crate) dirty: BTreeSet<CellKey>,
    /// What happened, per record.
    pub(crate) notes: Vec<Noted>,
}

/// What happened with one record.
pub(crate) struct Noted {
    pub(crate) offset: u64,
    /// Id, channel and behaviour, when the record is an event under its own key.
    pub(crate) event: Option<(EventId, Channel, &'static str)>,
    /// Its append time was not believed, and it is no tick: a tick may tell the partition what time it is.
    pub(crate) wants_tick: bool,
    /// Bundle in force after it.
    pub(crate) bundle: u64,
    /// The partition it came from, when it is a loopback record that was the next one.
    pub(crate) accepted_from: Option<u32>,
    /// Whether it is a loopback record behind a gap, or one that no partition of ours sent.
    pub(crate) loop_alarm: Option<DeadReason>,
    pub(crate) notes: Notes,
}

/// Applies `records` in order over `store`. After an error the engine must not be used any more.
pub(crate) fn apply(engine: &mut Engine, store: &dyn Store, records: &[StoredRecord]) -> Result<Applied, Error> {
    let view = StoreView(store);
    let mut overlay = Overlay::new(&view);
    let mut applied = Applied::default();
    for stored in records {
        let expected = engine.meta().offset;
        // Embedded offsets have no gaps; other logs may skip some, but never go back.
        if stored.offset < expected {
            return Err(Error::Discontinuous { expected, found: stored.offset });
        }
        let record = wire::record(stored);
        let event = match &record.input {
            Ok(Input::Event(event)) => Some((event.id, event.channel, event.kind.behaviour())),
            _ => None,
        };
        let received = engine.meta().loop_received.clone();
        let effects = engine.apply(&mut overlay, &record)?;
        let accepted_from = received
            .iter()
            .zip(&engine.meta().loop_received)
            .position(|(before, after)| before != after)
            .map(|source| u32::try_from(source).expect("partitions are counted in u32"));
        let loop_alarm = effects.outputs.iter().find_map(|numbered| match &numbered.output {
            Output::DeadLetter(letter) => {
                matches!(letter.reason, DeadReason::LoopbackGap | DeadReason::LoopbackForged).then_some(letter.reason)
            }
            _ => None,
        });
        for numbered in effects.outputs {
            let encoded = wire::output_record(&numbered, stored);
            applied.outputs.push((numbered, encoded));
        }
        for (destination, told) in effects.loops {
            applied.loops.push((destination, told.sequence, wire::loop_record(told)));
        }
        applied.dirty.extend(effects.dirty);
        // A refused tick cannot be helped by another: it already carried our own wall.
        let wants_tick = effects.notes.clock_refused && !matches!(record.input, Ok(Input::Tick { .. }));
        let (offset, bundle, notes) = (stored.offset, engine.meta().bundle, effects.notes);
        applied.notes.push(Noted { offset, event, wants_tick, bundle, accepted_from, loop_alarm, notes });
        applied.records += 1;
        if applied.outputs.len() + applied.loops.len() + applied.dirty.len() >= EFFECTS_PER_BATCH_MAX {
            break;
        }
    }
    applied.writes = overlay
        .into_writes()
        .inspect(|(key, _)| applied.timers |= key.starts_with(touchline_engine::keys::TIMERS))
        .map(|(key, value)| match value {
            Some(value) => Change::Put(key, value),
            None => Change::Delete(key),
        })
        .collect();
    Ok(applied)
}
