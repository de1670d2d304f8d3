//! What consumers make of the output topics: the plain one, and the one that keeps the sequence rule.

use crate::network::{Cluster, lock};
use futures::channel::oneshot;
use std::collections::BTreeMap;
use std::sync::Mutex;
use touchline_log::consumer::{Consumer, Position};
use touchline_log::publish::{sequence_in, stream_of};
use touchline_log::{Ack, Appended, Error, Log, Marker, NewRecord, Signal, StoredRecord, TakenOver, Topic};
use touchline_model::output::Stream;
use touchline_proto::{ContactRecord, decode_contact_record};

/// A consumer of one partition of one numbered topic, with the effects it stored and the position beside them.
pub(crate) struct Follower {
    topic: Topic,
    partition: u32,
    consumer: Consumer,
    taken: Vec<StoredRecord>,
}

impl Follower {
    /// One for each numbered topic and partition.
    pub(crate) fn of_all(partitions: u32) -> Vec<Self> {
        let topics = Stream::ALL.into_iter().map(Topic::from);
        let all = topics.flat_map(|topic| (0..partitions).map(move |partition| (topic, partition)));
        let new = |(topic, partition)| {
            let consumer = Consumer::new(topic, Position::start(partition));
            Self { topic, partition, consumer, taken: Vec::new() }
        };
        all.map(new).collect()
    }

    /// Takes at most so many records.
    pub(crate) fn read(&mut self, log: &dyn Log, records_max: usize) -> Result<(), Error> {
        for _ in 0..records_max {
            let Some(record) = self.consumer.next(log)? else { break };
            self.taken.push(record);
        }
        Ok(())
    }

    /// Starts again from what it stored.
    pub(crate) fn restart(&mut self) {
        self.consumer = Consumer::new(self.topic, self.consumer.position());
    }
}

/// A log at rest, as a consumer has read it.
pub(crate) struct View {
    partitions: u32,
    records: BTreeMap<(Topic, u32), Vec<StoredRecord>>,
    signal: Signal,
}

impl View {
    /// What a plain `read_committed` consumer sees.
    pub(crate) fn plain(cluster: &Mutex<Cluster>, partitions: u32) -> Self {
        let cluster = lock(cluster);
        let mut records = BTreeMap::new();
        for topic in Topic::ALL {
            for partition in 0..partitions {
                records.insert((topic, partition), cluster.read(topic, partition, 0, usize::MAX));
            }
        }
        Self { partitions, records, signal: Signal::new() }
    }

    /// What consumers took that keep the sequence rule; of a contact, never an older version behind a newer.
    pub(crate) fn ruled(self, followers: Vec<Follower>) -> Self {
        let mut records = self.records;
        for Follower { topic, partition, taken, .. } in followers {
            records.insert((topic, partition), taken);
        }
        for ((topic, _), of) in &mut records {
            if *topic == Topic::Contacts {
                *of = without_older(std::mem::take(of));
            }
        }
        Self { records, ..self }
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

fn without_older(records: Vec<StoredRecord>) -> Vec<StoredRecord> {
    let mut versions = BTreeMap::new();
    let is_newest = |record: &StoredRecord| {
        let version = match decode_contact_record(&record.value) {
            Ok(ContactRecord::Contact(contact)) => contact.version.offset,
            Ok(ContactRecord::Progress(progress)) => progress.offset,
            Ok(ContactRecord::Counted(counted)) => counted.version.offset,
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
