//! The contract suite of [`Stores`]: every implementation passes [`check`].

use crate::{Change, Checkpointing, Condition, Error, KEPT, Opened, Origin, Pair, Store, Stores};

/// Stores under test, without any store or checkpoint yet, and how they are damaged.
pub struct Subject<'a> {
    /// The stores.
    pub stores: &'a dyn Stores,
    /// Damages what a checkpoint (partition, offset) holds, in a way that only reading it can tell or that anybody
    /// can see.
    pub damage_checkpoint: &'a dyn Fn(u32, u64),
    /// Damages the local store of a partition, which is not open, so that it cannot be opened.
    pub damage_store: &'a dyn Fn(u32),
}

/// Checks every property, each in a partition of its own.
pub fn check(subject: &Subject<'_>) {
    assert_eq!(subject.stores.checkpointing(), Checkpointing::On);
    a_store_begins_empty_and_stays(subject.stores, 0);
    a_discarded_store_starts_from_its_newest_checkpoint(subject.stores, 1);
    a_checkpoint_holds_what_was_written_before_it(subject.stores, 2);
    the_newest_are_kept(subject.stores, 3);
    what_is_damaged_is_passed_over(subject, 4);
    a_damaged_store_says_so_until_it_is_discarded(subject, 5);
    partitions_are_apart(subject.stores, 6);
}

/// Without a place for checkpoints there are only local stores.
pub fn check_local_only(stores: &dyn Stores) {
    assert_eq!(stores.checkpointing(), Checkpointing::Off);
    let mut opened = open(stores, 0, Origin::Empty);
    put(&mut opened, "a", 1);
    assert!(matches!(stores.freeze(0, opened.store.as_ref(), 1).err(), Some(Error::NoCheckpoints)));
    assert!(matches!(stores.checkpoint(0, opened.store.as_ref(), 1), Err(Error::NoCheckpoints)));
    assert_eq!(stores.checkpoints(0).expect("checkpoints"), []);
    opened.store.flush().expect("flush");
    drop(opened);
    assert_eq!(all(&open(stores, 0, Origin::Local)), [pair("a", 1)]);
    stores.discard(0).expect("discard");
    assert_eq!(all(&open(stores, 0, Origin::Empty)), []);
}

/// The first store is empty; after that it is local, with what was flushed.
pub fn a_store_begins_empty_and_stays(stores: &dyn Stores, partition: u32) {
    stores.discard(partition).expect("discarding nothing is no error");
    assert_eq!(stores.checkpoints(partition).expect("checkpoints"), []);
    let mut opened = open(stores, partition, Origin::Empty);
    assert_eq!(all(&opened), []);
    put(&mut opened, "a", 1);
    opened.store.flush().expect("flush");
    drop(opened);
    assert_eq!(all(&open(stores, partition, Origin::Local)), [pair("a", 1)]);
}

/// A store that is lost comes back as of its newest checkpoint, may be written to, and the checkpoint stays as it is.
pub fn a_discarded_store_starts_from_its_newest_checkpoint(stores: &dyn Stores, partition: u32) {
    let mut opened = open(stores, partition, Origin::Empty);
    put(&mut opened, "a", 1);
    checkpoint(stores, partition, &opened, 10);
    put(&mut opened, "a", 2);
    put(&mut opened, "b", 2);
    checkpoint(stores, partition, &opened, 20);
    put(&mut opened, "c", 3);
    opened.store.flush().expect("flush");
    for round in 4..6 {
        drop(opened);
        stores.discard(partition).expect("discard");
        opened = open(stores, partition, Origin::Checkpoint { offset: 20 });
        assert_eq!(all(&opened), [pair("a", 2), pair("b", 2)]);
        put(&mut opened, "b", round);
        opened.store.flush().expect("flush");
    }
    drop(opened);
    assert_eq!(all(&open(stores, partition, Origin::Local)), [pair("a", 2), pair("b", 5)]);
}

/// Everything written before freezing is in it, unflushed too; nothing after it. What is dropped leaves nothing,
/// and a second checkpoint at one offset takes the place of the first.
pub fn a_checkpoint_holds_what_was_written_before_it(stores: &dyn Stores, partition: u32) {
    let mut opened = open(stores, partition, Origin::Empty);
    put(&mut opened, "a", 1);
    drop(stores.freeze(partition, opened.store.as_ref(), 1).expect("freeze"));
    assert_eq!(stores.checkpoints(partition).expect("checkpoints"), []);
    let first = stores.freeze(partition, opened.store.as_ref(), 2).expect("freeze");
    put(&mut opened, "a", 2);
    let second = stores.freeze(partition, opened.store.as_ref(), 2).expect("freeze");
    put(&mut opened, "b", 3);
    opened.store.flush().expect("flush");
    first.keep().expect("keep");
    let report = std::thread::scope(|scope| scope.spawn(|| second.keep()).join()).expect("no panic").expect("keep");
    assert_eq!((report.offset, report.removed), (2, 0));
    assert_eq!(offsets(stores, partition), [2]);
    drop(opened);
    stores.discard(partition).expect("discard");
    assert_eq!(all(&open(stores, partition, Origin::Checkpoint { offset: 2 })), [pair("a", 2)]);
}

/// The newest stay, in the order of offsets, and are listed newest first.
pub fn the_newest_are_kept(stores: &dyn Stores, partition: u32) {
    let mut opened = open(stores, partition, Origin::Empty);
    for offset in [9, 10, 100, 1_000] {
        put(&mut opened, "offset", offset);
        let report = stores.checkpoint(partition, opened.store.as_ref(), u64::from(offset)).expect("checkpoint");
        assert_eq!((report.offset, report.removed), (u64::from(offset), usize::from(offset == 1_000)));
    }
    assert_eq!(KEPT, 3);
    assert_eq!(offsets(stores, partition), [1_000, 100, 10]);
    // An owner that is behind removes nothing of one that is ahead, and neither does it lose its own.
    checkpoint(stores, partition, &opened, 5);
    assert_eq!(offsets(stores, partition), [1_000, 100, 10, 5]);
    checkpoint(stores, partition, &opened, 2_000);
    assert_eq!(offsets(stores, partition), [2_000, 1_000, 100]);
    let listed = stores.checkpoints(partition).expect("checkpoints");
    assert!(listed.iter().all(|info| info.condition == Condition::Whole && info.bytes > 0), "{listed:?}");
}

/// The next older one is taken, each refused one is named; without any the store is empty, and its checkpoints are good.
pub fn what_is_damaged_is_passed_over(subject: &Subject<'_>, partition: u32) {
    let stores = subject.stores;
    let mut opened = open(stores, partition, Origin::Empty);
    for offset in [1, 2, 3] {
        put(&mut opened, "offset", offset);
        checkpoint(stores, partition, &opened, u64::from(offset));
    }
    (subject.damage_checkpoint)(partition, 3);
    let opened = reopen(stores, partition, opened);
    assert_eq!((opened.origin, all(&opened)), (Origin::Checkpoint { offset: 2 }, vec![pair("offset", 2)]));
    assert_eq!(opened.skipped.len(), 1, "{:?}", opened.skipped);
    assert!(opened.skipped[0].contains('3') && !opened.skipped[0].contains('\n'), "{:?}", opened.skipped);
    (subject.damage_checkpoint)(partition, 1);
    (subject.damage_checkpoint)(partition, 2);
    let mut opened = reopen(stores, partition, opened);
    assert_eq!((opened.origin, all(&opened), opened.skipped.len()), (Origin::Empty, Vec::new(), 3));
    put(&mut opened, "offset", 4);
    checkpoint(stores, partition, &opened, 4);
    let opened = reopen(stores, partition, opened);
    assert_eq!((opened.origin, all(&opened)), (Origin::Checkpoint { offset: 4 }, vec![pair("offset", 4)]));
    assert_eq!(opened.skipped, [] as [String; 0]);
}

/// Opening a damaged store is an error however often it is tried, and changes nothing; discarding it helps.
pub fn a_damaged_store_says_so_until_it_is_discarded(subject: &Subject<'_>, partition: u32) {
    let stores = subject.stores;
    let mut opened = open(stores, partition, Origin::Empty);
    put(&mut opened, "a", 1);
    checkpoint(stores, partition, &opened, 1);
    drop(opened);
    (subject.damage_store)(partition);
    for _ in 0..2 {
        let error = stores.open(partition).err().expect("a damaged store does not open");
        assert!(matches!(error, Error::Damaged(_)), "{error}");
    }
    stores.discard(partition).expect("discard");
    assert_eq!(all(&open(stores, partition, Origin::Checkpoint { offset: 1 })), [pair("a", 1)]);
}

/// What is done to a partition does nothing to another.
pub fn partitions_are_apart(stores: &dyn Stores, partition: u32) {
    let other = partition + 1;
    let mut first = open(stores, partition, Origin::Empty);
    let mut second = open(stores, other, Origin::Empty);
    put(&mut first, "a", 1);
    put(&mut second, "a", 2);
    checkpoint(stores, partition, &first, 7);
    assert_eq!(stores.checkpoints(other).expect("checkpoints"), []);
    drop(first);
    stores.discard(partition).expect("discard");
    assert_eq!(all(&second), [pair("a", 2)]);
    assert_eq!(all(&open(stores, partition, Origin::Checkpoint { offset: 7 })), [pair("a", 1)]);
    second.store.flush().expect("flush");
    drop(second);
    stores.discard(other).expect("discard");
    open(stores, other, Origin::Empty);
}

/// Opens a store that must come from `origin`, with nothing refused.
fn open(stores: &dyn Stores, partition: u32, origin: Origin) -> Opened {
    let opened = stores.open(partition).expect("open");
    assert_eq!((opened.origin, &opened.skipped), (origin, &Vec::new()));
    opened
}

fn reopen(stores: &dyn Stores, partition: u32, opened: Opened) -> Opened {
    drop(opened);
    stores.discard(partition).expect("discard");
    stores.open(partition).expect("open")
}

fn checkpoint(stores: &dyn Stores, partition: u32, opened: &Opened, offset: u64) {
    let report = stores.checkpoint(partition, opened.store.as_ref(), offset).expect("checkpoint");
    assert_eq!(report.offset, offset);
}

fn put(opened: &mut Opened, key: &str, value: u16) {
    let (key, value) = pair(key, value);
    opened.store.write(vec![Change::Put(key, value)]).expect("write");
}

fn pair(key: &str, value: u16) -> Pair {
    (key.as_bytes().to_vec(), value.to_be_bytes().to_vec())
}

fn all(opened: &Opened) -> Vec<Pair> {
    let store: &dyn Store = opened.store.as_ref();
    store.scan(b"", b"\xff", usize::MAX).expect("scan")
}

fn offsets(stores: &dyn Stores, partition: u32) -> Vec<u64> {
    stores.checkpoints(partition).expect("checkpoints").iter().map(|info| info.offset).collect()
}
