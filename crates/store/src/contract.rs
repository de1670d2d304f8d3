//! The contract suite: every implementation of [`Store`] passes [`check`].
//!
//! Each property is a function that panics where the store breaks its promise, so that a failing test names it.

pub mod stores;

use crate::{Change, Pair, Store};

/// How stores under test come to be.
pub struct Subject<'a, S> {
    /// A new, empty store.
    pub make: &'a dyn Fn() -> S,
    /// The same store after its process died without warning and was started again.
    pub crash: &'a dyn Fn(S) -> S,
}

/// Checks every property.
pub fn check<S: Store>(subject: &Subject<'_, S>) {
    any_bytes_come_back(subject);
    later_changes_win(subject);
    scans_are_half_open_ordered_and_limited(subject);
    delete_ranges_are_half_open(subject);
    flushed_batches_survive_a_crash(subject);
    a_crash_keeps_whole_batches_from_the_first_on(subject);
}

/// Keys and values may hold any bytes; a value may be empty, which is not the same as absent.
pub fn any_bytes_come_back<S: Store>(subject: &Subject<'_, S>) {
    let mut store = (subject.make)();
    let every_byte: Vec<u8> = (0..=255).collect();
    write(
        &mut store,
        vec![put(&every_byte, &every_byte), put(&[0], b""), put(&[0, 0], &[0]), put(b"big", &[7; 1 << 20])],
    );
    assert_eq!(get(&store, &every_byte), Some(every_byte.clone()));
    assert_eq!(get(&store, &[0]), Some(Vec::new()));
    assert_eq!(get(&store, &[0, 0]), Some(vec![0]));
    assert_eq!(get(&store, b"big").map(|value| value.len()), Some(1 << 20));
    assert_eq!(get(&store, &[0, 0, 0]), None);
}

/// Changes of a batch apply in order, batches after each other; deleting what is not there is no error.
pub fn later_changes_win<S: Store>(subject: &Subject<'_, S>) {
    let mut store = (subject.make)();
    write(&mut store, vec![put(b"a", b"1"), put(b"a", b"2"), put(b"b", b"1"), delete(b"b"), delete(b"never")]);
    assert_eq!(all(&store), [pair(b"a", b"2")]);
    write(&mut store, vec![delete(b"a"), put(b"a", b"3")]);
    assert_eq!(all(&store), [pair(b"a", b"3")]);
    write(&mut store, Vec::new());
    assert_eq!(all(&store), [pair(b"a", b"3")]);
}

/// A scan gives `[from, until)` in byte order, at most `limit` pairs; an empty or inverted range gives none.
pub fn scans_are_half_open_ordered_and_limited<S: Store>(subject: &Subject<'_, S>) {
    let mut store = (subject.make)();
    let keys: [&[u8]; 6] = [b"a", b"a\x00", b"a\xff", b"b", b"\x80", b"\xff"];
    write(&mut store, keys.iter().rev().map(|key| put(key, b"v")).collect());
    let scan = |from: &[u8], until: &[u8], limit| keys_of(store.scan(from, until, limit).expect("scan"));
    assert_eq!(scan(b"", b"\xff\xff", 99), keys);
    assert_eq!(scan(b"a", b"b", 99), keys[..3]);
    assert_eq!(scan(b"a\x00", b"b\x00", 99), keys[1..4]);
    assert_eq!(scan(b"b", b"\xff", 99), keys[3..5]);
    assert_eq!(scan(b"", b"\xff\xff", 2), keys[..2]);
    assert_eq!(scan(b"a", b"b", 0), Vec::<Vec<u8>>::new());
    assert_eq!(scan(b"a", b"a", 99), Vec::<Vec<u8>>::new());
    assert_eq!(scan(b"b", b"a", 99), Vec::<Vec<u8>>::new());
    assert_eq!(scan(b"c", b"d", 99), Vec::<Vec<u8>>::new());
}

/// A range delete removes `[from, until)`, also what the batch itself put before it; what is put after it stays.
pub fn delete_ranges_are_half_open<S: Store>(subject: &Subject<'_, S>) {
    let mut store = (subject.make)();
    write(&mut store, vec![put(b"a", b"1"), put(b"b", b"1"), put(b"c", b"1"), put(b"d", b"1")]);
    write(&mut store, vec![put(b"bb", b"1"), delete_range(b"b", b"d"), put(b"c", b"2")]);
    assert_eq!(all(&store), [pair(b"a", b"1"), pair(b"c", b"2"), pair(b"d", b"1")]);
    assert_eq!(get(&store, b"b"), None);
    write(&mut store, vec![delete_range(b"d", b"a"), delete_range(b"a", b"a")]);
    assert_eq!(all(&store).len(), 3);
    store.flush().expect("flush");
    let store = (subject.crash)(store);
    assert_eq!(all(&store), [pair(b"a", b"1"), pair(b"c", b"2"), pair(b"d", b"1")]);
}

/// What was written before a flush is there after a crash, and the store goes on from it.
pub fn flushed_batches_survive_a_crash<S: Store>(subject: &Subject<'_, S>) {
    let mut store = (subject.make)();
    store.flush().expect("flushing nothing is no error");
    write(&mut store, vec![put(b"a", b"1"), put(b"b", b"1")]);
    write(&mut store, vec![put(b"a", b"2"), delete(b"b")]);
    store.flush().expect("flush");
    let mut store = (subject.crash)(store);
    assert_eq!(all(&store), [pair(b"a", b"2")]);
    write(&mut store, vec![put(b"c", b"3")]);
    store.flush().expect("flush");
    let store = (subject.crash)(store);
    assert_eq!(all(&store), [pair(b"a", b"2"), pair(b"c", b"3")]);
}

/// A crash may lose batches since the last flush, but only whole ones and only from the end.
pub fn a_crash_keeps_whole_batches_from_the_first_on<S: Store>(subject: &Subject<'_, S>) {
    const FLUSHED: u8 = 20;
    const WRITTEN: u8 = 60;
    let mut store = (subject.make)();
    for number in 0..WRITTEN {
        if number == FLUSHED {
            store.flush().expect("flush");
        }
        write(&mut store, vec![put(b"last", &[number]), put(&[0, number], b""), put(&[1, number], b"")]);
    }
    let store = (subject.crash)(store);
    let last = get(&store, b"last").expect("flushed batches are there")[0];
    assert!((FLUSHED - 1..WRITTEN).contains(&last), "{last}");
    for number in 0..WRITTEN {
        let expected = (number <= last).then(Vec::new);
        assert_eq!(get(&store, &[0, number]), expected, "batch {number} of {last}");
        assert_eq!(get(&store, &[1, number]), expected, "batch {number} of {last}");
    }
}

fn put(key: &[u8], value: &[u8]) -> Change {
    Change::Put(key.to_vec(), value.to_vec())
}

fn delete(key: &[u8]) -> Change {
    Change::Delete(key.to_vec())
}

fn delete_range(from: &[u8], until: &[u8]) -> Change {
    Change::DeleteRange(from.to_vec(), until.to_vec())
}

fn pair(key: &[u8], value: &[u8]) -> Pair {
    (key.to_vec(), value.to_vec())
}

fn write<S: Store>(store: &mut S, batch: Vec<Change>) {
    store.write(batch).expect("write");
}

fn get<S: Store>(store: &S, key: &[u8]) -> Option<Vec<u8>> {
    store.get(key).expect("get")
}

fn all<S: Store>(store: &S) -> Vec<Pair> {
    store.scan(b"", b"\xff\xff", usize::MAX).expect("scan")
}

fn keys_of(pairs: Vec<Pair>) -> Vec<Vec<u8>> {
    pairs.into_iter().map(|(key, _)| key).collect()
}
