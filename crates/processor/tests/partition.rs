//! One partition against stores and logs that are not what they should be.

mod common;

use common::{activation, at, event, record};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use touchline_log::memory::{Call, Fault, MemoryLog};
use touchline_log::publish::publish_once;
use touchline_log::{Log, ManualWall, NewRecord, Topic, wait};
use touchline_model::kind::Kind;
use touchline_model::record::Input;
use touchline_processor::partition::{Partition, Rest, Step};
use touchline_processor::runner::Health;
use touchline_processor::{Error, Options, Pacing, Processor, check};
use touchline_store::memory::{MemoryDisk, MemoryStore, MemoryStores};
use touchline_store::{Change, CheckpointInfo, Checkpointing, Frozen, Opened, Origin, Pair, Store, Stores};

const START: &str = "2026-03-01T08:00:00+08:00";

fn options() -> Options {
    Options { pacing: Pacing::Virtual, ..Options::default() }
}

fn open(log: &MemoryLog, store: MemoryStore) -> Result<Partition, Error> {
    let wall = Arc::new(ManualWall::new(at(START)));
    Partition::open(0, Arc::new(log.clone()), wait(log.take_over(0))?, Box::new(store), wall, options())
}

fn chat(number: usize) -> Input {
    let mut event = event(Kind::ChatMessage, &format!("c{number}"), START, "多少钱");
    event.native.id = number.to_string();
    Input::Event(Box::new(event))
}

fn log_with(events: usize) -> MemoryLog {
    let log = MemoryLog::new(1, Arc::new(ManualWall::new(at(START))));
    drop(log.append(Topic::Events, 0, vec![record(&activation(at(START)))]));
    for number in 0..events {
        drop(log.append(Topic::Events, 0, vec![record(&chat(number))]));
    }
    log
}

fn settle(partition: &mut Partition) -> Result<(), Error> {
    while partition.step()? == Step::Worked {}
    Ok(())
}

#[test]
fn a_lost_store_is_rebuilt_and_nothing_is_said_twice() {
    let log = log_with(40);
    let mut partition = open(&log, MemoryStore::new()).unwrap();
    settle(&mut partition).unwrap();
    let hash = check::state_hash(partition.store()).unwrap();
    let ends = || Topic::ALL.map(|topic| log.end(topic, 0).unwrap());
    let before = ends();
    drop(partition);
    let mut partition = open(&log, MemoryStore::new()).unwrap();
    settle(&mut partition).unwrap();
    assert_eq!(partition.rest().unwrap(), Rest::Quiet);
    assert_eq!(check::state_hash(partition.store()).unwrap(), hash);
    assert_eq!(ends(), before, "neither outputs nor loopback are repeated");
    assert_eq!(check::judge(&log, &[]).unwrap().differences, Vec::<String>::new());
}

#[test]
fn a_store_of_another_partition_or_ahead_of_the_log_is_refused() {
    let log = log_with(3);
    let disk = MemoryDisk::new();
    let mut partition = open(&log, disk.open()).unwrap();
    settle(&mut partition).unwrap();
    partition.flush().unwrap();
    drop(partition);

    let wall = Arc::new(ManualWall::new(at(START)));
    let two = MemoryLog::new(2, wall);
    assert!(matches!(open(&two, disk.open()), Err(Error::ForeignStore { .. })));
    assert!(matches!(open(&log_with(0), disk.open()), Err(Error::LogLostData { .. })));

    // As long, but other records.
    let other = MemoryLog::new(1, Arc::new(ManualWall::new(at(START))));
    for number in 0..log.end(Topic::Events, 0).unwrap() {
        drop(other.append(Topic::Events, 0, vec![NewRecord { value: vec![1], ..record(&chat(number as usize)) }]));
    }
    assert!(matches!(open(&other, disk.open()), Err(Error::OtherRecord { .. })));
    assert!(open(&log, disk.open()).is_ok());
}

#[test]
fn sequences_that_differ_from_the_published_ones_stop_the_partition() {
    let log = log_with(3);
    let mut partition = open(&log, MemoryStore::new()).unwrap();
    settle(&mut partition).unwrap();
    let mut marker = log.published(0).unwrap();
    marker.sequences[0] += 1;
    publish_once(&log, 0, touchline_log::Publication { records: vec![], marker }).unwrap();
    let mut again = open(&log, MemoryStore::new()).unwrap();
    assert!(matches!(settle(&mut again), Err(Error::Diverged { .. })));
}

/// Publications fail while `down`; the partition goes on applying until its outbox is full, and then waits.
#[test]
fn applying_pauses_when_nothing_can_be_published() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let hook = move |call: Call<'_>| match call {
        Call::Publish { .. } if is_down.load(Ordering::SeqCst) => Fault::Refused,
        _ => Fault::None,
    };
    let wall = ManualWall::new(at(START));
    let log = MemoryLog::with_faults(1, Arc::new(wall.clone()), Box::new(hook));
    drop(log.append(Topic::Events, 0, vec![NewRecord { value: vec![1; 3], ..NewRecord::default() }; 60_000]));
    let real = Options::default();
    let wall_of = Arc::new(wall.clone());
    let taken = wait(log.take_over(0)).unwrap();
    let store = Box::new(MemoryStore::volatile());
    let mut partition = Partition::open(0, Arc::new(log), taken, store, wall_of, real).unwrap();
    while partition.step().unwrap() == Step::Worked {}
    let status = partition.status().unwrap();
    assert!((50_000..51_000).contains(&status.outbox) && status.offset < 60_000, "{status:?}");
    down.store(false, Ordering::SeqCst);
    while partition.rest().unwrap() == Rest::Busy {
        while partition.step().unwrap() == Step::Worked {}
        wall.advance(touchline_log::Wall::now(&wall).plus(touchline_model::time::Span(100)));
    }
    let status = partition.status().unwrap();
    assert_eq!((status.outbox, status.offset, status.published), (0, 60_000, 60_000));
}

/// Whoever is told of without end must not stop the partition: not the contact, not what follows it. (Cut is what is
/// larger than a record all the same: see the tests of `wire`.)
#[test]
fn a_contact_of_thousands_of_identifiers_stays_bounded_and_the_partition_goes_on() {
    let log = log_with(0);
    for number in 0..160 {
        let Input::Event(mut event) = chat(0) else { unreachable!() };
        event.id.0[..8].copy_from_slice(&u64::to_be_bytes(number));
        event.subject.extend((0..15).map(|nth| {
            let value = format!("{number}-{nth}-{}", "x".repeat(460));
            touchline_model::id::IdKey::new(touchline_model::id::IdKind::ClickVisitor, "", value)
        }));
        drop(log.append(Topic::Events, 0, vec![record(&Input::Event(event))]));
    }
    let mut partition = open(&log, MemoryStore::volatile()).unwrap();
    settle(&mut partition).unwrap();
    drop(log.append(Topic::Events, 0, vec![record(&chat(1))]));
    settle(&mut partition).unwrap();
    assert_eq!(partition.rest().unwrap(), Rest::Quiet);
    assert_eq!(check::judge(&log, &[]).unwrap().differences, Vec::<String>::new());
    let contacts = || (0..).map_while(|at| log.read(Topic::Contacts, 0, at, 1).unwrap().pop());
    let contacts = contacts().filter_map(|record| match touchline_proto::decode_contact_record(&record.value) {
        Ok(touchline_proto::ContactRecord::Contact(contact)) => Some(contact),
        Ok(_) | Err(_) => None,
    });
    let known: BTreeMap<_, _> = contacts.map(|contact| (contact.key.clone(), contact.identities.len())).collect();
    let keys = [chat(0), chat(1)].map(|input| touchline_proto::input_key(&input).unwrap());
    assert_eq!(keys.map(|key| known[&key]), [257, 1], "the large one is bounded, the later one is there");
}

/// However long a log is busy, it is asked again: neither publications nor loopback end the partition.
#[test]
fn a_busy_log_is_asked_again_for_as_long_as_it_takes() {
    let busy_times = |times: u32| {
        let (mut publishes, mut appends) = (times, times);
        let hook = move |call: Call<'_>| {
            let left = match call {
                Call::Publish { .. } => &mut publishes,
                Call::Append { records, .. }
                    if records[0].headers.iter().any(|(_, value)| value.starts_with(b"touchline/loop")) =>
                {
                    &mut appends
                }
                Call::Append { .. } | Call::TakeOver { .. } => return Fault::None,
            };
            *left = left.saturating_sub(1);
            if *left > 0 { Fault::Busy } else { Fault::None }
        };
        let log = MemoryLog::with_faults(1, Arc::new(ManualWall::new(at(START))), Box::new(hook));
        drop(log.append(Topic::Events, 0, vec![record(&activation(at(START)))]));
        drop(log.append(Topic::Events, 0, vec![record(&chat(0))]));
        let mut partition = open(&log, MemoryStore::new()).unwrap();
        settle(&mut partition).unwrap();
        assert_eq!(partition.rest().unwrap(), Rest::Quiet);
        assert!(check::judge(&log, &[]).unwrap().is_clean());
    };
    busy_times(0);
    busy_times(500);
}

struct BrokenStore;

impl Store for BrokenStore {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, touchline_store::Error> {
        Ok(None)
    }
    fn scan(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<Pair>, touchline_store::Error> {
        Ok(Vec::new())
    }
    fn write(&mut self, _: Vec<Change>) -> Result<(), touchline_store::Error> {
        Err(touchline_store::Error::Io("no space left".to_owned()))
    }
    fn flush(&mut self) -> Result<(), touchline_store::Error> {
        Ok(())
    }
}

/// The first partition's is sound, the second's is not.
struct SecondBroken(MemoryStores);

impl Stores for SecondBroken {
    fn open(&self, partition: u32) -> Result<Opened, touchline_store::Error> {
        if partition == 0 {
            return self.0.open(0);
        }
        Ok(Opened { store: Box::new(BrokenStore), origin: Origin::Empty, skipped: Vec::new() })
    }
    fn discard(&self, partition: u32) -> Result<(), touchline_store::Error> {
        self.0.discard(partition)
    }
    fn checkpointing(&self) -> Checkpointing {
        Checkpointing::Off
    }
    fn freeze(&self, _: u32, _: &dyn Store, _: u64) -> Result<Box<dyn Frozen>, touchline_store::Error> {
        Err(touchline_store::Error::NoCheckpoints)
    }
    fn checkpoints(&self, _: u32) -> Result<Vec<CheckpointInfo>, touchline_store::Error> {
        Ok(Vec::new())
    }
}

#[test]
fn a_bad_store_stops_its_partition_only() {
    let wall = Arc::new(ManualWall::new(at(START)));
    let log = MemoryLog::new(2, wall.clone());
    let stores = Arc::new(SecondBroken(MemoryStores::new()));
    let handle = Processor::start_all(Arc::new(log.clone()), stores, wall, options()).unwrap();
    drop(log.append(Topic::Events, 0, vec![record(&chat(1))]));
    while handle.status()[0].published < 1 || handle.health() == Health::Running {
        let seen = log.signal().count();
        log.signal().wait_past(seen, std::time::Duration::from_millis(20));
    }
    assert_eq!(handle.health(), Health::Degraded);
    let errors: Vec<_> = handle.status().into_iter().map(|status| status.error).collect();
    assert_eq!(errors, [None, Some("store failed: no space left".to_owned())]);
    handle.stop();
}

#[test]
fn a_log_that_fails_for_good_fails_the_process() {
    let wall = Arc::new(ManualWall::new(at(START)));
    let hook = |call: Call<'_>| match call {
        Call::Publish { .. } => Fault::Refused,
        Call::Append { .. } | Call::TakeOver { .. } => Fault::None,
    };
    let log = MemoryLog::with_faults(1, wall.clone(), Box::new(hook));
    drop(log.append(Topic::Events, 0, vec![record(&chat(1))]));
    let stores = Arc::new(MemoryStores::new());
    let handle = Processor::start_all(Arc::new(log.clone()), stores, wall, options()).unwrap();
    while handle.health() == Health::Running {
        let seen = log.signal().count();
        log.signal().wait_past(seen, std::time::Duration::from_millis(20));
    }
    assert_eq!(handle.health(), Health::Failed);
}
