//! The judge sees every kind of damage to what was published.

mod common;

use common::{activation, at, event};
use touchline_log::memory::MemoryLog;
use touchline_log::{Ack, Appended, Error, Log, Marker, NewRecord, Publication, Signal, StoredRecord, Topic};
use touchline_model::id::EventId;
use touchline_model::kind::Kind;
use touchline_model::record::Input;
use touchline_processor::check;
use touchline_processor::cluster::Cluster;

/// What is done to the first record of a topic, or to all contacts, in every partition.
#[derive(Clone, Copy)]
enum Damage {
    None,
    Remove(Topic),
    Double(Topic),
    Change(Topic),
    Contacts(fn(&mut Vec<StoredRecord>)),
}

fn is_contact(record: &StoredRecord) -> bool {
    !record.key.as_deref().is_some_and(|key| key.starts_with(b"_progress"))
}

/// A log that somebody has edited.
struct Edited {
    log: MemoryLog,
    damage: Damage,
}

impl Log for Edited {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }
    fn cluster_id(&self) -> String {
        self.log.cluster_id()
    }
    fn append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        self.log.append(topic, partition, records)
    }
    fn read(&self, topic: Topic, partition: u32, offset: u64, max: usize) -> Result<Vec<StoredRecord>, Error> {
        let mut records = self.log.read(topic, partition, offset, max)?;
        if offset > 0 || records.is_empty() {
            return Ok(records);
        }
        match self.damage {
            Damage::Contacts(damage) if topic == Topic::Contacts => damage(&mut records),
            Damage::Remove(at) if at == topic => drop(records.remove(0)),
            Damage::Double(at) if at == topic => records.insert(0, records[0].clone()),
            Damage::Change(at) if at == topic => records[0].value.push(0x08),
            _ => {}
        }
        Ok(records)
    }
    fn end(&self, topic: Topic, partition: u32) -> Result<u64, Error> {
        self.log.end(topic, partition)
    }
    fn publish(&self, partition: u32, publication: Publication) -> Ack<()> {
        self.log.publish(partition, publication)
    }
    fn published(&self, partition: u32) -> Result<Marker, Error> {
        self.log.published(partition)
    }
    fn signal(&self) -> &Signal {
        self.log.signal()
    }
}

fn log() -> (MemoryLog, EventId) {
    let start = at("2026-03-01T08:00:00+08:00");
    let mut cluster = Cluster::new(4, start).expect("in memory");
    let Input::Command(activate) = activation(start) else { unreachable!() };
    cluster.append_command(*activate).expect("in memory");
    cluster.settle().expect("in memory");
    let asks = event(Kind::ChatMessage, "jia", "2026-03-01T08:00:00+08:00", "你们产品多少钱");
    let id = asks.id;
    cluster.append_event(asks).expect("in memory");
    cluster.advance(at("2026-03-01T09:00:00+08:00")).expect("in memory");
    (cluster.log().clone(), id)
}

#[test]
fn removing_doubling_or_changing_one_record_is_seen() {
    let (log, id) = log();
    let check = |damage| {
        let edited = Edited { log: log.clone(), damage };
        check::judge(&edited, &[id]).unwrap().differences.len()
    };
    assert_eq!(check(Damage::None), 0);
    for topic in [Topic::TagChanges, Topic::Touches, Topic::CommandResults] {
        for damage in [Damage::Remove(topic), Damage::Double(topic), Damage::Change(topic)] {
            assert!(check(damage) > 0, "{}", topic.name());
        }
    }
    assert!(check(Damage::Contacts(|records| records.retain(|record| !is_contact(record)))) > 0);
    assert!(check(Damage::Contacts(|records| records.iter_mut().for_each(|record| record.value.push(8)))) > 0);
    // Compaction keeps the last record of a key: an earlier one more changes nothing.
    assert_eq!(check(Damage::Double(Topic::Contacts)), 0);
}

#[test]
fn an_acknowledged_event_that_is_not_there_is_seen() {
    let (log, id) = log();
    assert!(check::judge(&log, &[id]).unwrap().is_clean());
    assert_eq!(check::judge(&log, &[EventId([7; 16])]).unwrap().differences.len(), 1);
}
