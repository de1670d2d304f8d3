//! What consumers make of the output topics: the plain one, and the one that keeps the sequence rule.

use crate::network::{Cluster, lock};
use futures::channel::oneshot;
use std::collections::BTreeMap;
use std::sync::Mutex;
use touchline_log::publish::{sequence_in, stream_of};
use touchline_log::{
    Ack, Appended, Error, Log, Marker, NewRecord, Signal, StoredRecord, TakenOver, Topic,
};
use touchline_proto::{ContactRecord, decode_contact_record};

/// Which of the records a consumer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// All that are committed.
    Plain,
    /// Exactly last + 1, whatever else comes; of a contact, never an older version.
    Sequence,
}

/// A log at rest, as a consumer has read it.
pub(crate) struct View {
    partitions: u32,
    records: BTreeMap<(Topic, u32), Vec<StoredRecord>>,
    signal: Signal,
}

impl View {
    pub(crate) fn of(cluster: &Mutex<Cluster>, partitions: u32, rule: Rule) -> Self {
        let cluster = lock(cluster);
        let mut records = BTreeMap::new();
        for topic in Topic::ALL {
            for partition in 0..partitions {
                let mut read = cluster.read(topic, partition, 0, usize::MAX);
                if rule == Rule::Sequence {
                    read = take(topic, read);
                }
                records.insert((topic, partition), read);
            }
        }
        Self { partitions, records, signal: Signal::new() }
    }

    /// Numbered outputs that are not the next ones, in words.
    pub(crate) fn gaps_and_repeats(&self) -> Vec<String> {
        let mut found = Vec::new();
        for ((topic, partition), records) in &self.records {
            if stream_of(*topic).is_none() {
                continue;
            }
            for (expected, record) in (1_u64..).zip(records) {
                let sequence = sequence_in(&record.headers).unwrap_or_default();
                if sequence != expected {
                    found.push(format!("{}/{partition}: {sequence} after {}", topic.name(), expected - 1));
                    break;
                }
            }
        }
        found
    }
}

fn take(topic: Topic, records: Vec<StoredRecord>) -> Vec<StoredRecord> {
    if topic == Topic::Contacts {
        return without_older(records);
    }
    if stream_of(topic).is_none() {
        return records;
    }
    let mut last = 0;
    let is_next = |record: &StoredRecord| {
        let next = sequence_in(&record.headers) == Some(last + 1);
        last += u64::from(next);
        next
    };
    records.into_iter().filter(is_next).collect()
}

fn without_older(records: Vec<StoredRecord>) -> Vec<StoredRecord> {
    let mut versions = BTreeMap::new();
    let is_newest = |record: &StoredRecord| {
        let version = match decode_contact_record(&record.value) {
            Ok(ContactRecord::Contact(contact)) => contact.version.offset,
            Ok(ContactRecord::Progress(progress)) => progress.offset,
            Err(_) => return true,
        };
        let newest = versions.entry(record.key.clone()).or_insert(version);
        let taken = version >= *newest;
        *newest = version.max(*newest);
        taken
    };
    records.into_iter().filter(is_newest).collect()
}

impl Log for View {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn cluster_id(&self) -> String {
        "view".to_owned()
    }

    /// Nothing is written to a view: the ack is closed.
    fn append(&self, _: Topic, _: u32, _: Vec<NewRecord>) -> Ack<Appended> {
        oneshot::channel().1
    }

    fn read(&self, topic: Topic, partition: u32, offset: u64, records_max: usize) -> Result<Vec<StoredRecord>, Error> {
        let records = &self.records[&(topic, partition)];
        let from = records.partition_point(|record| record.offset < offset);
        Ok(records[from..].iter().take(records_max).cloned().collect())
    }

    fn end(&self, topic: Topic, partition: u32) -> Result<u64, Error> {
        Ok(self.records[&(topic, partition)].last().map_or(0, |record| record.offset + 1))
    }

    /// Nobody takes a view over: the ack is closed.
    fn take_over(&self, _: u32) -> Ack<TakenOver> {
        oneshot::channel().1
    }

    fn published(&self, partition: u32) -> Result<Marker, Error> {
        let markers = self.records[&(Topic::Contacts, partition)].iter();
        let markers = markers.filter_map(|record| Marker::in_headers(&record.headers));
        Ok(markers.max_by_key(|marker| marker.offset).unwrap_or_default())
    }

    fn signal(&self) -> &Signal {
        &self.signal
    }
}
