//! A log as Kafka shows it: gaps between offsets, topics that become readable one by one, retention.

use crate::world::PARTITIONS;
use std::sync::{Mutex, MutexGuard};
use touchline_log::memory::MemoryLog;
use touchline_log::{Ack, Appended, Error, Log, Marker, NewRecord, Signal, StoredRecord, TakenOver, Topic};

/// Over a memory log. `events` is as it lies there; in the others every second offset is a transaction's marker.
pub struct Sparse {
    inner: MemoryLog,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Records of a topic that can be read, of each partition; `None`: all.
    shown: [Option<u64>; Topic::ALL.len()],
    /// Records of a topic that retention took, of each partition.
    gone: [u64; Topic::ALL.len()],
    /// What was published when something was hidden.
    published: Vec<Marker>,
}

/// Kafka's offset of the record at `place`, and back: of the first record at or behind an offset.
const fn offset(topic: Topic, place: u64) -> u64 {
    if matches!(topic, Topic::Events) { place } else { place * 2 }
}

const fn place(topic: Topic, offset: u64) -> u64 {
    if matches!(topic, Topic::Events) { offset } else { offset.div_ceil(2) }
}

impl Sparse {
    pub fn new(inner: MemoryLog) -> Self {
        Self { inner, state: Mutex::default() }
    }

    /// Shows no more than `records` of a topic from now on.
    pub fn show(&self, topic: Topic, records: u64) {
        let mut state = self.state();
        if state.published.is_empty() {
            state.published = (0..PARTITIONS).map(|partition| self.inner.published(partition).unwrap()).collect();
        }
        state.shown[topic as usize] = Some(records);
        drop(state);
        self.inner.signal().notify();
    }

    /// Shows everything.
    pub fn show_all(&self) {
        let mut state = self.state();
        state.shown = Default::default();
        state.published.clear();
        drop(state);
        self.inner.signal().notify();
    }

    /// Takes the first `records` of a topic away.
    pub fn expire(&self, topic: Topic, records: u64) {
        self.state().gone[topic as usize] = records;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The first and one past the last place that can be read.
    fn readable(&self, topic: Topic, partition: u32) -> (u64, u64) {
        let written = self.inner.end(topic, partition).unwrap();
        let state = self.state();
        let gone = state.gone[topic as usize].min(written);
        (gone, state.shown[topic as usize].map_or(written, |shown| shown.min(written)).max(gone))
    }
}

impl Log for Sparse {
    fn partitions(&self) -> u32 {
        PARTITIONS
    }

    fn cluster_id(&self) -> String {
        self.inner.cluster_id()
    }

    fn append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        assert_eq!(topic, Topic::Events, "the role appends commands and results");
        self.inner.append(topic, partition, records)
    }

    fn read(&self, topic: Topic, partition: u32, from: u64, records_max: usize) -> Result<Vec<StoredRecord>, Error> {
        let (first, end) = self.readable(topic, partition);
        if place(topic, from) < first {
            return Err(Error::Truncated { offset: from, start: offset(topic, first) });
        }
        let mut records = self.inner.read(topic, partition, place(topic, from), records_max)?;
        records.retain(|record| record.offset < end);
        records.iter_mut().for_each(|record| record.offset = offset(topic, record.offset));
        Ok(records)
    }

    fn end(&self, topic: Topic, partition: u32) -> Result<u64, Error> {
        let (first, end) = self.readable(topic, partition);
        let last = end.checked_sub(1).filter(|last| *last >= first);
        Ok(last.map_or(offset(topic, first), |last| offset(topic, last) + 1))
    }

    fn take_over(&self, _: u32) -> Ack<TakenOver> {
        panic!("the role never publishes")
    }

    fn published(&self, partition: u32) -> Result<Marker, Error> {
        let hidden = self.state().published.get(partition as usize).cloned();
        hidden.map_or_else(|| self.inner.published(partition), Ok)
    }

    fn signal(&self) -> &Signal {
        self.inner.signal()
    }
}
