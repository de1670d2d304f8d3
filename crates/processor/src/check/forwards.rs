//! What the judge knows of events and contacts that moved from cell to cell.

use crate::wire;
use std::collections::BTreeMap;
use touchline_log::StoredRecord;
use touchline_model::id::CellKey;
use touchline_model::record::{Input, LoopBody};

/// Forwarded events and merges that were accepted.
#[derive(Default)]
pub(super) struct Forwards {
    /// Contacts that became part of another.
    pub(super) merges: u64,
    /// By target and native identifier: where the event that arrived last lies under the latter.
    last: BTreeMap<(CellKey, CellKey), u64>,
}

impl Forwards {
    /// Notes a loopback record that was accepted. An error: it brings an event of an identifier behind a newer one.
    pub(super) fn accept(&mut self, stored: &StoredRecord) -> Result<(), String> {
        let Ok(Input::Loop(told)) = wire::record(stored).input else { return Ok(()) };
        match told.body {
            LoopBody::MergeIn { .. } => self.merges += 1,
            // What waits in an order comes when its buyer is known, also through whoever was taken for the buyer.
            LoopBody::Forward { target, event, origin, .. } if event.key().kind().is_contact() => {
                let last = self.last.entry((target, event.key())).or_default();
                if *last > origin.offset {
                    let (late, early) = (origin, *last);
                    return Err(format!("the event at {late} arrives behind the newer one at offset {early}"));
                }
                *last = origin.offset;
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use touchline_model::id::{EventId, IdKey, IdKind, Position};
    use touchline_model::record::Loop;
    use touchline_model::time::Time;

    #[test]
    fn an_older_event_behind_a_newer_one_of_its_identifier_is_told() {
        let id = |value: &str| IdKey::new(IdKind::YzOpenId, "youzan", value);
        let key = |value: &str| CellKey::of("acme", &id(value));
        let arrives = |forwards: &mut Forwards, value: &str, target: &str, offset: u64| {
            let event = touchline_model::event::Event {
                id: EventId([1; 16]),
                kind: touchline_model::kind::Kind::ChatMessage,
                custom_name: String::new(),
                tenant: "acme".into(),
                channel: touchline_model::event::Channel::Api,
                account: String::new(),
                occurred_at: None,
                precision: touchline_model::event::Precision::default(),
                received_at: Time(1),
                subject: vec![id(value)],
                actor: touchline_model::event::Actor::Customer,
                native: touchline_model::event::Native::default(),
                cause: touchline_model::event::EventCause::default(),
                fields: touchline_model::value::Fields::new(),
                private: touchline_model::event::Private::default(),
            };
            let origin = Position { partition: 1, offset };
            let body = LoopBody::Forward { target: key(target), event: Box::new(event), origin, hops: 1 };
            let told = Loop { source: 1, sequence: 1, origin, clock: Time(1), body };
            let record = wire::loop_record(told);
            let stored = StoredRecord {
                offset: 0,
                append_time: Time(1),
                key: record.key,
                headers: record.headers,
                value: record.value,
            };
            forwards.accept(&stored).is_ok()
        };
        let mut forwards = Forwards::default();
        let said = [("a", "x", 5), ("b", "x", 3), ("a", "y", 4), ("a", "x", 6), ("a", "x", 5)]
            .map(|(value, target, offset)| arrives(&mut forwards, value, target, offset));
        assert_eq!(said, [true, true, true, true, false]);
    }
}
