//! Clients that append, and ask again until they are told that it succeeded.

use touchline_log::{Ack, Appended, Log, NewRecord, Topic};
use touchline_model::id::EventId;
use touchline_model::record::Input;
use touchline_proto as proto;

/// Appends without an answer yet, and the events that got one.
#[derive(Default)]
pub(crate) struct Clients {
    asked: Vec<(Input, Ack<Appended>)>,
    acknowledged: Vec<EventId>,
    gullible: bool,
}

impl Clients {
    /// Nothing asked yet. `gullible`: a planted defect takes any answer for success.
    pub(crate) fn new(gullible: bool) -> Self {
        Self { gullible, ..Self::default() }
    }

    /// Appends where the native key belongs; what has none, to partition 0.
    pub(crate) fn ask(&mut self, log: &dyn Log, input: Input) {
        let key = proto::input_key(&input);
        let partition = key.as_ref().map_or(0, |key| key.partition(log.partitions()));
        let record = NewRecord {
            key: key.map(|key| key.as_str().as_bytes().to_vec()),
            headers: proto::input_headers(&input),
            value: proto::encode_input(&input),
        };
        let ack = log.append(Topic::Events, partition, vec![record]);
        self.asked.push((input, ack));
    }

    /// Takes the answers that are there; what failed is asked again.
    pub(crate) fn hear(&mut self, log: &dyn Log) {
        for (input, mut ack) in std::mem::take(&mut self.asked) {
            match ack.try_recv() {
                Ok(None) => self.asked.push((input, ack)),
                Ok(Some(outcome)) if outcome.is_ok() || self.gullible => {
                    if let Input::Event(event) = input {
                        self.acknowledged.push(event.id);
                    }
                }
                Ok(Some(_)) | Err(_) => self.ask(log, input),
            }
        }
    }

    /// Whether every append is answered.
    pub(crate) fn are_served(&self) -> bool {
        self.asked.is_empty()
    }

    /// Ids of events whose append was confirmed.
    pub(crate) fn acknowledged(&self) -> &[EventId] {
        &self.acknowledged
    }
}
