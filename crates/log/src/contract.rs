//! The contract suite: every implementation of [`Log`] passes [`check`].
//!
//! Each property is a function that panics where the log breaks its promise, so that a failing test names it.

use crate::publish::{SEQUENCE_HEADER, publish_once, sequence_in};
use crate::{
    Appended, Error, Headers, Log, ManualWall, Marker, NewRecord, Publication, Published, Publisher, READ_BYTES_MAX,
    RECORD_BYTES_MAX, StoredRecord, Topic, last_record, wait,
};
use std::thread;
use std::time::Duration;
use touchline_model::time::Time;

/// Partitions of the logs under test.
pub const PARTITIONS: u32 = 3;

/// How logs under test come to be.
pub struct Subject<'a, L> {
    /// A new, empty log of [`PARTITIONS`] partitions that reads this clock.
    pub make: &'a dyn Fn(ManualWall) -> L,
    /// The same log after its process died without warning and was started again.
    pub crash: &'a dyn Fn(L, ManualWall) -> L,
    /// Who says when a record was appended.
    pub clock: Clock,
}

/// Who stamps records of a log under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The log, from the wall it was made with.
    Ours,
    /// A broker, from its own clock.
    Broker,
}

/// Checks every property.
pub fn check<L: Log>(subject: &Subject<'_, L>) {
    offsets_are_dense(subject);
    any_bytes_come_back(subject);
    an_append_stays_together(subject);
    what_cannot_be_appended_leaves_nothing(subject);
    reads_are_bounded(subject);
    append_times_never_decrease(subject);
    what_is_acknowledged_survives(subject);
    a_publication_is_all_or_nothing(subject);
    what_is_published_survives(subject);
    who_takes_over_fences_whoever_was_before(subject);
    a_publisher_that_failed_is_of_no_use(subject);
    the_last_record_is_found(subject);
    concurrent_appenders_keep_their_order(subject);
    readers_never_see_a_hole(subject);
    the_signal_moves(subject);
}

/// Offsets count 0, 1, 2 … in each partition of each topic on its own, and go on after a restart.
pub fn offsets_are_dense<L: Log>(subject: &Subject<'_, L>) {
    let (mut log, wall) = start(subject);
    for round in 0..2 {
        for topic in Topic::ALL {
            for partition in 0..PARTITIONS {
                assert_eq!(log.end(topic, partition).expect("end"), round, "{topic:?} {partition}");
                assert_eq!(append(&log, topic, partition, &[b"x"]).first_offset, round, "{topic:?} {partition}");
            }
        }
        log = (subject.crash)(log, wall.clone());
    }
    assert_eq!(offsets(&read_all(&log, Topic::Touches, 2)), [0, 1]);
}

/// Keys, headers and values may hold any bytes or none; no key is not an empty key; headers keep order and repeats.
pub fn any_bytes_come_back<L: Log>(subject: &Subject<'_, L>) {
    let (log, wall) = start(subject);
    let every_byte: Vec<u8> = (0..=255).collect();
    let records = vec![
        NewRecord::default(),
        NewRecord { key: Some(Vec::new()), headers: Headers::from([("", [])]), value: Vec::new() },
        NewRecord {
            key: Some(every_byte.clone()),
            headers: Headers::from([("标签", every_byte.as_slice()), ("a", &[0]), ("标签", b"2")]),
            value: every_byte,
        },
        NewRecord { value: vec![7; RECORD_BYTES_MAX], ..NewRecord::default() },
    ];
    wait(log.append(Topic::Events, 1, records.clone())).expect("append");
    let log = (subject.crash)(log, wall);
    let found: Vec<NewRecord> = read_all(&log, Topic::Events, 1)
        .into_iter()
        .map(|StoredRecord { key, headers, value, .. }| NewRecord { key, headers, value })
        .collect();
    assert!(found == records, "what was read is not what was written");
}

/// The records of one append lie next to each other, in order, and the acknowledgement says where.
pub fn an_append_stays_together<L: Log>(subject: &Subject<'_, L>) {
    let (log, _) = start(subject);
    append(&log, Topic::Events, 0, &[b"first"]);
    let appended = append(&log, Topic::Events, 0, &[b"a", b"b", b"c"]);
    assert_eq!((appended.first_offset, appended.last_offset), (1, 3));
    assert_eq!(values(&read_all(&log, Topic::Events, 0)), [&b"first"[..], b"a", b"b", b"c"]);
}

/// A record that is too large refuses its whole call; no records and no such partition are refused, too.
pub fn what_cannot_be_appended_leaves_nothing<L: Log>(subject: &Subject<'_, L>) {
    let (log, _) = start(subject);
    let too_large = || NewRecord { key: Some(vec![1]), value: vec![0; RECORD_BYTES_MAX], ..NewRecord::default() };
    let refused = wait(log.append(Topic::Events, 0, vec![record(b"small"), too_large()]));
    assert!(matches!(refused, Err(Error::TooLarge { bytes }) if bytes == RECORD_BYTES_MAX + 1), "{refused:?}");
    let mut publication = publication(1, 0);
    publication.records.insert(0, (Topic::Touches, too_large()));
    let refused = publish_once(&log, 0, publication);
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    assert!(matches!(wait(log.append(Topic::Events, 0, Vec::new())), Err(Error::Empty)));
    for result in [
        wait(log.append(Topic::Events, PARTITIONS, vec![record(b"lost")])).map(|_| ()),
        wait(log.take_over(PARTITIONS)).map(|_| ()),
        log.read(Topic::Events, PARTITIONS, 0, 1).map(|_| ()),
        log.end(Topic::Events, PARTITIONS).map(|_| ()),
        log.published(PARTITIONS).map(|_| ()),
    ] {
        assert!(matches!(result, Err(Error::NoPartition { partition: PARTITIONS, .. })), "{result:?}");
    }
    assert_eq!(append(&log, Topic::Events, 0, &[b"next"]).first_offset, 0);
    assert_eq!(log.end(Topic::Touches, 0).expect("end"), 0);
    assert_eq!(log.published(0).expect("published"), Marker::default());
}

/// A read gives at most what was asked for, stops near the byte bound, always gets on, and is empty at the end.
pub fn reads_are_bounded<L: Log>(subject: &Subject<'_, L>) {
    let (log, _) = start(subject);
    append(&log, Topic::Events, 0, &[b"a", b"b", b"c"]);
    let read = |offset, records_max| values(&log.read(Topic::Events, 0, offset, records_max).expect("read"));
    assert_eq!(read(1, 1), [b"b"]);
    assert_eq!(read(1, 9), [b"b", b"c"]);
    assert!(read(0, 0).is_empty() && read(3, 9).is_empty() && read(u64::MAX, 9).is_empty());
    let large = vec![0; RECORD_BYTES_MAX];
    for _ in 0..6 {
        append(&log, Topic::Events, 1, &[&large]);
    }
    let first = log.read(Topic::Events, 1, 0, 9).expect("read");
    let bytes: usize = first.iter().map(StoredRecord::bytes).sum();
    assert!((READ_BYTES_MAX..READ_BYTES_MAX + RECORD_BYTES_MAX).contains(&bytes), "{bytes}");
    assert_eq!(offsets(&read_all(&log, Topic::Events, 1)), [0, 1, 2, 3, 4, 5]);
}

/// Append time is the clock's, but never below the record before it, not even after a restart with a clock put back.
pub fn append_times_never_decrease<L: Log>(subject: &Subject<'_, L>) {
    let (log, wall) = start(subject);
    let first = append(&log, Topic::Events, 0, &[b"a"]).append_time;
    wall.advance(Time(START_MS + 5));
    let second = append(&log, Topic::Events, 0, &[b"b"]).append_time;
    match subject.clock {
        Clock::Ours => assert_eq!((first, second), (Time(START_MS), Time(START_MS + 5))),
        Clock::Broker => assert!(first > Time(START_MS + 5) && second >= first, "{first:?} {second:?}"),
    }
    let log = (subject.crash)(log, ManualWall::new(Time(0)));
    let third = append(&log, Topic::Events, 0, &[b"c"]).append_time;
    assert!(third >= second, "{third:?}");
    let times: Vec<Time> = read_all(&log, Topic::Events, 0).iter().map(|record| record.append_time).collect();
    assert_eq!(times, [first, second, third]);
}

/// Whatever was acknowledged is readable then, and after a crash.
pub fn what_is_acknowledged_survives<L: Log>(subject: &Subject<'_, L>) {
    let (log, wall) = start(subject);
    for number in 0..100_u64 {
        let appended = append(&log, Topic::Events, 0, &[&number.to_be_bytes()]);
        assert_eq!(log.end(Topic::Events, 0).expect("end"), appended.last_offset + 1);
    }
    let log = (subject.crash)(log, wall);
    let expected: Vec<Vec<u8>> = (0..100_u64).map(|number| number.to_be_bytes().to_vec()).collect();
    assert_eq!(values(&read_all(&log, Topic::Events, 0)), expected);
}

/// Whoever sees a marker can read every record published with it.
pub fn a_publication_is_all_or_nothing<L: Log>(subject: &Subject<'_, L>) {
    const PUBLICATIONS: u64 = 50;
    let (log, _) = start(subject);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = 0;
            while seen < PUBLICATIONS {
                let before = log.signal().count();
                seen = log.published(0).expect("published").offset;
                assert!(read_all(&log, Topic::TagChanges, 0).len() as u64 >= seen);
                assert!(read_all(&log, Topic::Touches, 0).len() as u64 >= 2 * seen);
                if seen < PUBLICATIONS {
                    log.signal().wait_past(before, PATIENCE);
                }
            }
        });
        let mut publisher = take_over(&log, 0, &Published::default());
        let acks: Vec<_> = (1..=PUBLICATIONS).map(|number| publisher.publish(publication(number, 0))).collect();
        for ack in acks {
            wait(ack).expect("publish");
        }
        watcher.join().expect("the watcher saw no torn publication");
    });
    assert_eq!(log.published(0).expect("published"), marker(PUBLICATIONS));
    assert_eq!(log.published(1).expect("published"), Marker::default());
    let expected: Vec<u64> = (1..=2 * PUBLICATIONS).collect();
    assert_eq!(sequences(&read_all(&log, Topic::Touches, 0)), expected);
}

/// Marker and records of a publication are there after a crash, and so the next owner finds them.
pub fn what_is_published_survives<L: Log>(subject: &Subject<'_, L>) {
    let (log, wall) = start(subject);
    let mut publisher = take_over(&log, 2, &Published::default());
    for number in 1..=3 {
        wait(publisher.publish(publication(number, 2))).expect("publish");
    }
    drop(publisher);
    let log = (subject.crash)(log, wall);
    // First: it waits until what was acknowledged can be read, which on Kafka it need not be at once.
    let mut publisher = take_over(&log, 2, &Published::whole(marker(3)));
    assert_eq!(log.published(2).expect("published"), marker(3));
    assert_eq!(sequences(&read_all(&log, Topic::TagChanges, 2)), [1, 2, 3]);
    assert_eq!(log.published(0).expect("published"), Marker::default());
    wait(publisher.publish(publication(4, 2))).expect("publish");
    assert_eq!(sequences(&read_all(&log, Topic::Touches, 2)), [1, 2, 3, 4, 5, 6, 7, 8]);
}

/// From the moment a partition is taken over nothing of earlier publishers is added; other partitions go on.
pub fn who_takes_over_fences_whoever_was_before<L: Log>(subject: &Subject<'_, L>) {
    let (log, _) = start(subject);
    let (mut first, mut elsewhere) =
        (take_over(&log, 0, &Published::default()), take_over(&log, 1, &Published::default()));
    wait(first.publish(publication(1, 0))).expect("publish");
    let mut second = take_over(&log, 0, &Published::whole(marker(1)));
    let fenced = wait(first.publish(publication(2, 0)));
    assert!(matches!(fenced, Err(Error::Fenced { partition: 0 })), "{fenced:?}");
    wait(second.publish(publication(2, 0))).expect("publish");
    assert!(wait(first.publish(publication(3, 0))).is_err());
    assert_eq!(sequences(&read_all(&log, Topic::TagChanges, 0)), [1, 2]);
    wait(elsewhere.publish(publication(1, 1))).expect("publish");
    take_over(&log, 0, &Published::whole(marker(2)));
}

/// After an error a publisher takes nothing more, and the next one finds what is there.
pub fn a_publisher_that_failed_is_of_no_use<L: Log>(subject: &Subject<'_, L>) {
    let (log, _) = start(subject);
    let mut publisher = take_over(&log, 0, &Published::default());
    let mut large = publication(1, 0);
    large.records[0].1.value = vec![0; RECORD_BYTES_MAX + 1];
    assert!(matches!(wait(publisher.publish(large)), Err(Error::TooLarge { .. })));
    assert!(wait(publisher.publish(publication(1, 0))).is_err());
    let mut publisher = take_over(&log, 0, &Published::default());
    wait(publisher.publish(publication(1, 0))).expect("publish");
}

/// The last record of a kind, however far from the end.
pub fn the_last_record_is_found<L: Log>(subject: &Subject<'_, L>) {
    let (log, _) = start(subject);
    let last = |wanted: &[u8]| {
        let found = last_record(&log, Topic::Contacts, 0, &|record| record.value == wanted).expect("readable");
        found.map(|record| record.offset)
    };
    assert_eq!(last(b"a"), None);
    append(&log, Topic::Contacts, 0, &[b"x", b"a", b"a"]);
    append(&log, Topic::Contacts, 0, &[&b"b"[..]; 300]);
    append(&log, Topic::Contacts, 0, &[b"c"]);
    assert_eq!((last(b"a"), last(b"b"), last(b"c"), last(b"d")), (Some(2), Some(302), Some(303), None));
}

/// Calls of one thread to one partition keep their order whatever other threads do; none is lost or doubled.
pub fn concurrent_appenders_keep_their_order<L: Log>(subject: &Subject<'_, L>) {
    const THREADS: u8 = 8;
    const APPENDS: u8 = 100;
    let (log, _) = start(subject);
    thread::scope(|scope| {
        for name in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                let calls = (0..APPENDS).map(|number| {
                    log.append(Topic::Events, 0, vec![record(&[name, number, 0]), record(&[name, number, 1])])
                });
                for ack in calls.collect::<Vec<_>>() {
                    wait(ack).expect("append");
                }
            });
        }
    });
    let found = values(&read_all(&log, Topic::Events, 0));
    assert_eq!(found.len(), 2 * usize::from(THREADS) * usize::from(APPENDS));
    assert!(found.chunks(2).all(|pair| pair[0][..2] == pair[1][..2]), "an append was torn apart");
    for name in 0..THREADS {
        let own: Vec<&[u8]> = found.iter().filter(|value| value[0] == name).map(|value| &value[1..]).collect();
        let expected: Vec<[u8; 2]> = (0..APPENDS).flat_map(|number| [[number, 0], [number, 1]]).collect();
        assert!(own == expected.iter().map(|value| &value[..]).collect::<Vec<_>>(), "order of thread {name}");
    }
}

/// Everything below `end` can be read, without holes, while others append.
pub fn readers_never_see_a_hole<L: Log>(subject: &Subject<'_, L>) {
    const APPENDS: u64 = 300;
    let (log, _) = start(subject);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut next = 0;
            while next < APPENDS {
                let before = log.signal().count();
                let end = log.end(Topic::Events, 0).expect("end");
                let found = log.read(Topic::Events, 0, next, usize::MAX).expect("read");
                assert!(next + found.len() as u64 >= end, "end said {end}");
                for record in &found {
                    assert_eq!((record.offset, record.value.as_slice()), (next, &next.to_be_bytes()[..]));
                    next += 1;
                }
                if found.is_empty() {
                    log.signal().wait_past(before, PATIENCE);
                }
            }
        });
        let calls = (0..APPENDS).map(|number| log.append(Topic::Events, 0, vec![record(&number.to_be_bytes())]));
        for ack in calls.collect::<Vec<_>>() {
            wait(ack).expect("append");
        }
        reader.join().expect("the reader saw every record in order");
    });
}

/// The signal moves when something became readable or published.
pub fn the_signal_moves<L: Log>(subject: &Subject<'_, L>) {
    let (log, _) = start(subject);
    let before = log.signal().count();
    append(&log, Topic::Events, 0, &[b"x"]);
    let after = log.signal().wait_past(before, PATIENCE);
    assert!(after > before);
    let mut publisher = take_over(&log, 0, &Published::default());
    let after = log.signal().wait_past(after, PATIENCE);
    wait(publisher.publish(publication(1, 0))).expect("publish");
    assert!(log.signal().wait_past(after, PATIENCE) > after);
}

/// Where the clock of a log under test stands at first.
const START_MS: i64 = 1_700_000_000_000;

/// How long to wait for what has to come; reached only when the log is broken.
const PATIENCE: Duration = Duration::from_secs(10);

fn start<L: Log>(subject: &Subject<'_, L>) -> (L, ManualWall) {
    let wall = ManualWall::new(Time(START_MS));
    let log = (subject.make)(wall.clone());
    assert_eq!(log.partitions(), PARTITIONS);
    (log, wall)
}

fn record(value: &[u8]) -> NewRecord {
    NewRecord { value: value.to_vec(), ..NewRecord::default() }
}

/// With a key in `contacts`, which may be compacted.
fn append<L: Log>(log: &L, topic: Topic, partition: u32, values: &[&[u8]]) -> Appended {
    let key = (topic == Topic::Contacts).then(|| b"key".to_vec());
    let keyed = |value: &&[u8]| NewRecord { key: key.clone(), ..record(value) };
    wait(log.append(topic, partition, values.iter().map(keyed).collect())).expect("append")
}

/// Takes over and checks what is found.
fn take_over<L: Log>(log: &L, partition: u32, expected: &Published) -> Box<dyn Publisher> {
    let taken = wait(log.take_over(partition)).expect("take over");
    assert_eq!(taken.published, *expected, "partition {partition}");
    taken.publisher
}

/// Publication `number` of a partition: one tag change, two touches, and the record that carries the marker.
fn publication(number: u64, partition: u32) -> Publication {
    let numbered = |topic, sequence: u64| {
        let headers = Headers::from([(SEQUENCE_HEADER, sequence.to_string())]);
        (topic, NewRecord { headers, ..record(&[u8::try_from(number).expect("small")]) })
    };
    let marker = marker(number);
    let key = Some(format!("_progress/{partition}").into_bytes());
    let progress = NewRecord { key, headers: Headers::from([marker.to_header()]), value: vec![1] };
    let records = vec![
        numbered(Topic::Touches, 2 * number - 1),
        numbered(Topic::TagChanges, number),
        numbered(Topic::Touches, 2 * number),
        (Topic::Contacts, progress),
    ];
    Publication { records, marker }
}

fn marker(number: u64) -> Marker {
    Marker { offset: number, sequences: [number, 2 * number, 0, 0] }
}

fn sequences(records: &[StoredRecord]) -> Vec<u64> {
    records.iter().map(|record| sequence_in(&record.headers).expect("numbered")).collect()
}

fn read_all<L: Log>(log: &L, topic: Topic, partition: u32) -> Vec<StoredRecord> {
    let mut all: Vec<StoredRecord> = Vec::new();
    loop {
        let offset = all.last().map_or(0, |last| last.offset + 1);
        let found = log.read(topic, partition, offset, usize::MAX).expect("read");
        if found.is_empty() {
            return all;
        }
        all.extend(found);
    }
}

fn values(records: &[StoredRecord]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.value.clone()).collect()
}

fn offsets(records: &[StoredRecord]) -> Vec<u64> {
    records.iter().map(|record| record.offset).collect()
}
