//! The judge sees every kind of damage to what was published.

mod common;

use common::{activation, at, event, record};
use std::sync::Arc;
use touchline_log::memory::{Call, Fault, MemoryLog};
use touchline_log::{
    Ack, Appended, Error, Log, ManualWall, Marker, NewRecord, Signal, StoredRecord, TakenOver, Topic, wait,
};
use touchline_model::id::EventId;
use touchline_model::kind::Kind;
use touchline_model::record::Input;
use touchline_processor::cluster::Cluster;
use touchline_processor::options::Plant;
use touchline_processor::partition::{Partition, Step};
use touchline_processor::{Options, Pacing, check};
use touchline_store::memory::MemoryStore;

/// What is done to the first record of a topic, or to all contacts, in every partition.
#[derive(Clone, Copy)]
enum Damage {
    None,
    Remove(Topic),
    Double(Topic),
    Change(Topic),
    Contacts(fn(&mut Vec<StoredRecord>)),
    /// The first loopback record of every partition.
    RemoveLoop,
    ChangeLoop,
}

fn is_loop(record: &StoredRecord) -> bool {
    matches!(touchline_proto::decode_input(&record.value), Ok(Input::Loop(_)))
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
            Damage::RemoveLoop if topic == Topic::Events => {
                if let Some(first) = records.iter().position(is_loop) {
                    records.remove(first);
                }
            }
            Damage::ChangeLoop if topic == Topic::Events => {
                if let Some(record) = records.iter_mut().find(|record| is_loop(record)) {
                    // A field of a newer writer: it decodes to the same.
                    record.value.extend([0xf8, 0x07, 1]);
                }
            }
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
    fn take_over(&self, partition: u32) -> Ack<TakenOver> {
        self.log.take_over(partition)
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

#[test]
fn loopback_that_was_removed_or_changed_is_seen() {
    let (log, id) = log();
    for (damage, word) in [(Damage::RemoveLoop, "0 accepted, 1 sent"), (Damage::ChangeLoop, "is not what was sent")] {
        let edited = Edited { log: log.clone(), damage };
        let differences = check::judge(&edited, &[id]).unwrap().differences;
        let told = differences.iter().filter(|line| line.starts_with("loopback 0 to ") && line.ends_with(word)).count();
        assert_eq!(told, 4, "one for each partition: {differences:?}");
    }
}

/// The judge alone, without an oracle, sees that a partition took a failed loopback append for done.
#[test]
fn loopback_that_never_arrived_is_seen() {
    let check = |plant: Plant, later: bool| {
        let wall = Arc::new(ManualWall::new(at("2026-03-01T08:00:00+08:00")));
        let mut refused = false;
        let hook = move |call: Call<'_>| match call {
            Call::Append { topic: Topic::Events, partition: 1, .. } if !refused => {
                refused = true;
                Fault::Refused
            }
            _ => Fault::None,
        };
        let log = MemoryLog::with_faults(2, wall.clone(), Box::new(hook));
        let mut partitions: Vec<_> = (0..2)
            .map(|id| {
                let options = Options { pacing: Pacing::Virtual, plant, ..Options::default() };
                let store = Box::new(MemoryStore::volatile());
                let taken = wait(log.take_over(id)).unwrap();
                Partition::open(id, Arc::new(log.clone()), taken, store, wall.clone(), options).unwrap()
            })
            .collect();
        let mut settle = || {
            while partitions.iter_mut().any(|partition| partition.step().unwrap() == Step::Worked) {}
        };
        drop(log.append(Topic::Events, 0, vec![record(&activation(at("2026-03-01T08:00:00+08:00")))]));
        settle();
        if later {
            let Input::Command(mut command) = activation(at("2026-03-01T08:00:00+08:00")) else { unreachable!() };
            command.request_id = "r2".into();
            command.tenant = "other".into();
            drop(log.append(Topic::Events, 0, vec![record(&Input::Command(command))]));
            settle();
        }
        check::judge(&log, &[]).unwrap().differences
    };
    assert_eq!(check(Plant::None, true), Vec::<String>::new());
    assert_eq!(check(Plant::FailedLoopbackIsDone, false), ["loopback 0 to 1: 0 accepted, 1 sent"]);
    let gap = check(Plant::FailedLoopbackIsDone, true);
    assert_eq!(gap, ["events/1: loopback_gap at 0", "loopback 0 to 1: 0 accepted, 2 sent"]);
}
