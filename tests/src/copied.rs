//! A copy of a log in memory: to look at it as a consumer does, or to damage it and see whether the judge objects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use touchline_log::consumer::{Consumer, Position, Verdict};
use touchline_log::memory::MemoryLog;
use touchline_log::publish::publish_once;
use touchline_log::{Log, NewRecord, Publication, StoredRecord, Topic, Wall};
use touchline_model::time::Time;
use touchline_proto::{ContactRecord, decode_contact_record};

/// Which records are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// All of them.
    Every,
    /// What a consumer takes that follows the rule (`touchline_log::consumer`): the next sequence of numbered topics,
    /// the highest version of contacts.
    Next,
}

/// Damages what is copied of a topic's partition.
pub type Change<'a> = dyn Fn(Topic, u32, &mut Vec<NewRecord>) + 'a;

/// Reads a partition of a topic to its end.
///
/// # Panics
/// When it cannot be read.
pub fn read_all(log: &dyn Log, topic: Topic, partition: u32) -> Vec<StoredRecord> {
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let records = log.read(topic, partition, offset, 1_000).expect("readable");
        let Some(last) = records.last() else { return all };
        offset = last.offset + 1;
        all.extend(records);
    }
}

/// Copies a log at rest, changed.
///
/// # Panics
/// When it cannot be read.
pub fn copy(log: &dyn Log, taking: Taking, change: &Change<'_>) -> MemoryLog {
    let wall = Arc::new(Recorded(AtomicI64::new(0)));
    let copy = MemoryLog::new(log.partitions(), wall.clone());
    for partition in 0..log.partitions() {
        for record in read_all(log, Topic::Events, partition) {
            // Append times decide what the engine does: they are copied through the wall.
            wall.0.store(record.append_time.0, Ordering::SeqCst);
            let appended = copy.append(Topic::Events, partition, vec![new(record)]);
            drop(appended);
        }
        let mut records = Vec::new();
        for topic in Topic::ALL.into_iter().filter(|&topic| topic != Topic::Events) {
            let found = match taking {
                Taking::Every => read_all(log, topic, partition),
                Taking::Next => taken(log, topic, partition),
            };
            let mut of_topic: Vec<NewRecord> = found.into_iter().map(new).collect();
            change(topic, partition, &mut of_topic);
            records.extend(of_topic.into_iter().map(|record| (topic, record)));
        }
        let marker = log.published(partition).expect("readable");
        publish_once(&copy, partition, Publication { records, marker }).expect("in memory");
    }
    copy
}

fn taken(log: &dyn Log, topic: Topic, partition: u32) -> Vec<StoredRecord> {
    let mut consumer = Consumer::new(topic, Position::start(partition));
    let mut taken = Vec::new();
    while consumer.peek(log).expect("readable").is_some() {
        if let Some((record, Verdict::Next)) = consumer.take() {
            taken.push(record);
        }
    }
    if topic == Topic::Contacts { highest_versions(taken) } else { taken }
}

fn highest_versions(records: Vec<StoredRecord>) -> Vec<StoredRecord> {
    let mut versions = BTreeMap::new();
    let mut is_highest = |record: &StoredRecord| match decode_contact_record(&record.value) {
        Ok(ContactRecord::Contact(contact)) => {
            let version = contact.version.offset;
            let highest = versions.entry(record.key.clone()).or_insert(version);
            *highest = version.max(*highest);
            version == *highest
        }
        _ => true,
    };
    records.into_iter().filter(|record| is_highest(record)).collect()
}

/// A wall that says what the record being copied had said.
struct Recorded(AtomicI64);

impl Wall for Recorded {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}

fn new(record: StoredRecord) -> NewRecord {
    NewRecord { key: record.key, headers: record.headers, value: record.value }
}
