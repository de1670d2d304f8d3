//! Partitions that are taken over, followed, given up, and whose stores are lost.

mod common;

use common::{activation, at, event, record};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use touchline_log::memory::MemoryLog;
use touchline_log::{
    Ack, Appended, Error as LogError, Log, ManualWall, Marker, NewRecord, Published, Signal, StoredRecord, TakenOver,
    Topic, wait,
};
use touchline_model::kind::Kind;
use touchline_model::record::Input;
use touchline_processor::partition::{Partition, Status, Step};
use touchline_processor::{Error, Handle, Options, Pacing, Processor, Role, check};
use touchline_store::memory::{MemoryStore, MemoryStores};
use touchline_store::{Checkpointing, Stores};

const START: &str = "2026-03-01T08:00:00+08:00";

fn options() -> Options {
    Options { pacing: Pacing::Virtual, ..Options::default() }
}

fn wall() -> Arc<ManualWall> {
    Arc::new(ManualWall::new(at(START)))
}

fn asks(number: u64) -> NewRecord {
    let mut event = event(Kind::ChatMessage, &format!("c{number}"), START, "多少钱");
    event.native.id = number.to_string();
    record(&Input::Event(Box::new(event)))
}

/// One partition, an activation and customers who ask.
fn log_with(customers: u64) -> MemoryLog {
    let log = MemoryLog::new(1, wall());
    append(&log, record(&activation(at(START))));
    (0..customers).for_each(|number| append(&log, asks(number)));
    log
}

fn append(log: &MemoryLog, record: NewRecord) {
    wait(log.append(Topic::Events, 0, vec![record])).expect("in memory");
}

fn processor(log: &dyn Fn() -> Arc<dyn Log>, stores: &MemoryStores, options: Options) -> Handle {
    Processor::start(log(), Arc::new(stores.clone()), wall(), options)
}

/// Waits until partition 0 stands as it should.
fn until(log: &MemoryLog, handle: &Handle, what: &str, holds: &dyn Fn(&Status) -> bool) -> Status {
    let started = Instant::now();
    loop {
        let seen = log.signal().count();
        let status = handle.status().remove(0);
        if holds(&status) {
            return status;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: {status:?}");
        log.signal().wait_past(seen, Duration::from_millis(20));
    }
}

fn settled(log: &MemoryLog, handle: &Handle) -> Status {
    let end = log.end(Topic::Events, 0).expect("in memory");
    until(log, handle, "published", &|status| status.published >= end && status.outbox == 0 && status.loopback == 0)
}

fn is_right(log: &dyn Log) {
    assert_eq!(check::judge(log, &[]).expect("in memory").differences, Vec::<String>::new());
}

#[test]
fn a_standby_applies_and_says_nothing_until_it_is_the_owner() {
    let log = log_with(5);
    let shared = || Arc::new(log.clone()) as Arc<dyn Log>;
    let (ours, theirs) = (MemoryStores::new(), MemoryStores::new());
    let (first, second) = (processor(&shared, &ours, options()), processor(&shared, &theirs, options()));
    second.assign([(0, Role::Standby)]).expect("threads");
    let applied = until(&log, &second, "applied", &|status| status.offset == status.end && status.end > 0);
    assert_eq!((applied.role, applied.published), (Role::Standby, 0));
    assert_eq!(log.end(Topic::Touches, 0).expect("in memory"), 0);
    assert_eq!(log.end(Topic::Events, 0).expect("in memory"), 6, "it sends no loopback and no ticks");

    first.assign([(0, Role::Owner)]).expect("threads");
    settled(&log, &first);
    is_right(&log);
    let outputs = log.end(Topic::TagChanges, 0).expect("in memory");
    let end = log.end(Topic::Events, 0).expect("in memory");
    until(&log, &second, "follows", &|status| status.offset >= end);

    first.assign([(0, Role::Absent)]).expect("threads");
    second.assign([(0, Role::Owner)]).expect("threads");
    append(&log, asks(100));
    let status = settled(&log, &second);
    assert_eq!((status.role, first.status()[0].role), (Role::Owner, Role::Absent));
    is_right(&log);
    assert_eq!(log.end(Topic::TagChanges, 0).expect("in memory"), outputs + 1, "nothing was said twice");
}

#[test]
fn whoever_was_overtaken_stops_and_its_store_goes_on_later() {
    let log = log_with(3);
    let open = |store| {
        let taken = wait(log.take_over(0))?;
        Partition::open(0, Arc::new(log.clone()), taken, store, wall(), options())
    };
    let work = |partition: &mut Partition| -> Result<(), Error> {
        while partition.step()? == Step::Worked {}
        Ok(())
    };
    let disk = touchline_store::memory::MemoryDisk::new();
    let mut zombie = open(Box::new(disk.open())).expect("opens");
    work(&mut zombie).expect("works");
    let mut owner = open(Box::new(MemoryStore::new())).expect("opens");
    append(&log, asks(50));
    // The zombie hands a publication over before it learns anything; the owner says the same and more.
    zombie.step().expect("works");
    append(&log, asks(52));
    work(&mut owner).expect("works");
    let outcome = work(&mut zombie);
    assert!(matches!(outcome, Err(Error::Overtaken { partition: 0 })), "{outcome:?}");
    zombie.flush().expect("in memory");
    drop((zombie, owner));
    is_right(&log);
    let mut again = open(Box::new(disk.open())).expect("opens");
    append(&log, asks(51));
    work(&mut again).expect("works");
    is_right(&log);
}

#[test]
fn a_damaged_store_is_rebuilt_from_a_checkpoint_and_the_log() {
    let log = log_with(5);
    let shared = || Arc::new(log.clone()) as Arc<dyn Log>;
    let stores = MemoryStores::new();
    let every = Options { checkpoint_every: Some(Duration::ZERO), ..options() };
    let run = |options: &Options| {
        let handle = processor(&shared, &stores, options.clone());
        handle.assign([(0, Role::Owner)]).expect("threads");
        settled(&log, &handle);
        handle.stop();
    };
    run(&every);
    let checkpoints = stores.checkpoints(0).expect("in memory");
    assert!(!checkpoints.is_empty() && checkpoints.len() <= touchline_store::KEPT, "{checkpoints:?}");
    append(&log, asks(60));
    stores.damage_store(0, "a flipped bit");
    run(&options());
    is_right(&log);
    // Without any checkpoint that can be used: from the start.
    for checkpoint in checkpoints {
        stores.damage_checkpoint(0, checkpoint.offset, "cut short");
    }
    stores.damage_store(0, "a flipped bit");
    append(&log, asks(61));
    run(&options());
    is_right(&log);
}

#[test]
fn only_owners_make_checkpoints() {
    let log = log_with(2);
    let shared = || Arc::new(log.clone()) as Arc<dyn Log>;
    let stores = MemoryStores::new();
    assert_eq!(stores.checkpointing(), Checkpointing::On);
    let every = Options { checkpoint_every: Some(Duration::ZERO), ..options() };
    let handle = processor(&shared, &stores, every);
    handle.assign([(0, Role::Standby)]).expect("threads");
    until(&log, &handle, "applied", &|status| status.offset == status.end && status.end > 0);
    handle.stop();
    assert_eq!(stores.checkpoints(0).expect("in memory"), []);
}

#[test]
fn what_a_torn_publication_lacks_is_said_again_or_the_store_is_rebuilt() {
    let log = log_with(3);
    let mut partition = open_as(&log, None, Box::new(MemoryStore::new())).expect("opens");
    while partition.step().expect("works") == Step::Worked {}
    // The playbook is in force now.
    append(&log, asks(69));
    while partition.step().expect("works") == Step::Worked {}
    let whole = log.published(0).expect("in memory");
    // The topics end earlier than the marker says, and the outbox was trimmed: only a replay brings them back.
    let mut tails = whole.sequences;
    tails[0] -= 1;
    let torn = Published { marker: whole.clone(), tails };
    let disk = touchline_store::memory::MemoryDisk::new();
    let mut caught_up = open_as(&log, None, Box::new(disk.open())).expect("opens");
    while caught_up.step().expect("works") == Step::Worked {}
    caught_up.flush().expect("in memory");
    let refused = open_as(&log, Some(torn.clone()), Box::new(disk.open())).err();
    assert!(matches!(&refused, Some(error @ Error::OutboxBehind { .. }) if error.is_of_store()), "{refused:?}");
    let before = log.end(Topic::TagChanges, 0).expect("in memory");
    let mut rebuilt = open_as(&log, Some(torn), Box::new(MemoryStore::new())).expect("opens");
    append(&log, asks(70));
    while rebuilt.step().expect("works") == Step::Worked {}
    let said = log.read(Topic::TagChanges, 0, before, 10).expect("in memory");
    let sequences: Vec<_> =
        said.iter().filter_map(|record| touchline_log::publish::sequence_in(&record.headers)).collect();
    assert_eq!(sequences, [whole.sequences[0], whole.sequences[0] + 1]);
}

/// Opens with what is published, or with what somebody else would have found.
fn open_as(
    log: &MemoryLog,
    published: Option<Published>,
    store: Box<dyn touchline_store::Store>,
) -> Result<Partition, Error> {
    let taken = wait(log.take_over(0))?;
    let taken = TakenOver { published: published.unwrap_or(taken.published), ..taken };
    Partition::open(0, Arc::new(log.clone()), taken, store, wall(), options())
}

/// A log whose `events` start later, or that is away for some calls.
struct Trimmed {
    log: MemoryLog,
    start: u64,
    away_for: AtomicU64,
}

impl Log for Trimmed {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }
    fn cluster_id(&self) -> String {
        self.log.cluster_id()
    }
    fn append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        self.log.append(topic, partition, records)
    }
    fn read(&self, topic: Topic, partition: u32, offset: u64, max: usize) -> Result<Vec<StoredRecord>, LogError> {
        let left = self.away_for.load(Ordering::SeqCst);
        if left > 0 {
            self.away_for.store(left - 1, Ordering::SeqCst);
            return Err(LogError::Unavailable("no broker".to_owned()));
        }
        if topic == Topic::Events && offset < self.start {
            return Err(LogError::Truncated { offset, start: self.start });
        }
        self.log.read(topic, partition, offset, max)
    }
    fn end(&self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        self.log.end(topic, partition)
    }
    fn take_over(&self, partition: u32) -> Ack<TakenOver> {
        self.log.take_over(partition)
    }
    fn published(&self, partition: u32) -> Result<Marker, LogError> {
        self.log.published(partition)
    }
    fn signal(&self) -> &Signal {
        self.log.signal()
    }
}

#[test]
fn retention_that_outran_the_state_stops_the_partition_with_the_offsets() {
    let log = log_with(3);
    let trimmed = Arc::new(Trimmed { log: log.clone(), start: 2, away_for: AtomicU64::new(0) });
    let handle = Processor::start(trimmed, Arc::new(MemoryStores::new()), wall(), options());
    handle.assign([(0, Role::Owner)]).expect("threads");
    let status = until(&log, &handle, "stopped", &|status| status.error.is_some());
    let reason = status.error.expect("stopped");
    assert!(reason.starts_with("state is at 0, and retention took everything below 2"), "{reason}");
}

#[test]
fn a_log_that_is_away_is_waited_for() {
    let log = log_with(3);
    let away = Arc::new(Trimmed { log: log.clone(), start: 0, away_for: AtomicU64::new(3) });
    let handle = Processor::start(away, Arc::new(MemoryStores::new()), wall(), options());
    handle.assign([(0, Role::Owner)]).expect("threads");
    settled(&log, &handle);
    is_right(&log);
}
