//! Log and store keep their contracts. A crash is a copy of the directory while it is open: what a process
//! leaves behind that is killed at that moment.

#![expect(clippy::unwrap_used, reason = "a test stops where something is not as expected")]

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use touchline_log::{Log, ManualWall, NewRecord, Topic, contract as log_contract, wait};
use touchline_model::time::Time;
use touchline_rocks::{EmbeddedLog, Error, NewLog, RocksStore, SharedCache};
use touchline_store::{Change, Store, contract as store_contract};

#[test]
fn the_log_keeps_the_contract() {
    let dirs = Dirs::default();
    log_contract::check(&log_contract::Subject {
        make: &|wall| open(&dirs.new_dir(), wall),
        crash: &|log, wall| {
            let copy = dirs.copy(log.dir());
            drop(log);
            open(&copy, wall)
        },
        clock: log_contract::Clock::Ours,
    });
}

#[test]
fn the_store_keeps_the_contract() {
    let dirs = Dirs::default();
    let cache = SharedCache::new(32 << 20);
    // The store does not tell its directory: the newest is the open one, for the suite has one store at a time.
    store_contract::check(&store_contract::Subject {
        make: &|| RocksStore::open(&dirs.new_dir(), &cache).unwrap(),
        crash: &|store| {
            let copy = dirs.copy(&dirs.newest());
            drop(store);
            RocksStore::open(&copy, &cache).unwrap()
        },
    });
}

#[test]
fn closing_a_log_keeps_everything_that_was_queued() {
    let dirs = Dirs::default();
    let dir = dirs.new_dir();
    let log = open(&dir, ManualWall::new(Time(1)));
    let acks: Vec<_> = (0..100).map(|_| log.append(Topic::Events, 0, one())).collect();
    drop(log);
    for ack in acks {
        wait(ack).unwrap();
    }
    let log = open(&dir, ManualWall::new(Time(1)));
    assert_eq!(log.end(Topic::Events, 0).unwrap(), 100);
}

#[test]
fn a_directory_keeps_its_partitions_and_its_name() {
    let dirs = Dirs::default();
    let dir = dirs.new_dir();
    let wall = || Arc::new(ManualWall::new(Time(1)));
    let new = |partitions, name: &str| NewLog { partitions, cluster_id: name.to_owned() };
    let log = EmbeddedLog::open(&dir, new(4, "first"), wall()).unwrap();
    let locked = EmbeddedLog::open(&dir, new(4, "first"), wall()).err();
    assert!(matches!(locked, Some(Error::Locked { .. })), "{locked:?}");
    drop(log);
    let other = EmbeddedLog::open(&dir, new(5, "first"), wall()).err();
    assert!(matches!(other, Some(Error::Partitions { stored: 4, asked: 5, .. })), "{other:?}");
    let log = EmbeddedLog::open(&dir, new(4, "second"), wall()).unwrap();
    assert_eq!(log.cluster_id(), "first");
    for asked in [0, 65_537] {
        let refused = EmbeddedLog::open(&dirs.new_dir(), new(asked, "x"), wall()).err();
        assert!(matches!(refused, Some(Error::PartitionCount { .. })), "{refused:?}");
    }
}

#[test]
fn stores_say_about_how_much_they_hold() {
    let dirs = Dirs::default();
    let mut store = RocksStore::open(&dirs.new_dir(), &SharedCache::new(32 << 20)).unwrap();
    let before = store.approximate_bytes();
    let value: Vec<u8> = noise().take(1_000_000).collect();
    store.write(vec![Change::Put(b"k".to_vec(), value)]).unwrap();
    assert!(store.approximate_bytes() > before + 900_000);
    store.flush().unwrap();
    assert!(store.approximate_bytes() > 500_000);
}

/// Bytes that do not compress: xorshift.
fn noise() -> impl Iterator<Item = u8> {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_be_bytes()[0]
    })
}

fn one() -> Vec<NewRecord> {
    vec![NewRecord { value: b"x".to_vec(), ..NewRecord::default() }]
}

fn open(dir: &Path, wall: ManualWall) -> EmbeddedLog {
    let new = NewLog { partitions: log_contract::PARTITIONS, cluster_id: "test".to_owned() };
    EmbeddedLog::open(dir, new, Arc::new(wall)).unwrap()
}

/// Directories that live as long as the test.
#[derive(Default)]
struct Dirs(RefCell<Vec<TempDir>>);

impl Dirs {
    fn new_dir(&self) -> PathBuf {
        self.0.borrow_mut().push(TempDir::new().unwrap());
        self.newest()
    }

    fn newest(&self) -> PathBuf {
        self.0.borrow().last().unwrap().path().to_owned()
    }

    fn copy(&self, from: &Path) -> PathBuf {
        let to = self.new_dir();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        to
    }
}
