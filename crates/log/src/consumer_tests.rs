use super::*;
use crate::memory::MemoryLog;
use crate::publish::{SEQUENCE_HEADER, publish_once};
use crate::{Ack, Appended, Headers, ManualWall, Marker, NewRecord, Publication, Signal, TakenOver, wait};
use std::sync::Arc;
use touchline_model::time::Time;

/// A memory log whose offsets have gaps of two, and whose beginning retention took.
struct Sparse {
    inner: MemoryLog,
    start: u64,
}

const STRIDE: u64 = 3;

impl Log for Sparse {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn cluster_id(&self) -> String {
        self.inner.cluster_id()
    }

    fn append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        self.inner.append(topic, partition, records)
    }

    fn read(&self, topic: Topic, partition: u32, offset: u64, records_max: usize) -> Result<Vec<StoredRecord>, Error> {
        if offset < self.start {
            return Err(Error::Truncated { offset, start: self.start });
        }
        let mut records = self.inner.read(topic, partition, offset.div_ceil(STRIDE), records_max)?;
        records.iter_mut().for_each(|record| record.offset *= STRIDE);
        Ok(records)
    }

    fn end(&self, topic: Topic, partition: u32) -> Result<u64, Error> {
        let end = self.inner.end(topic, partition)?;
        Ok(end.checked_sub(1).map_or(0, |last| last * STRIDE + 1).max(self.start))
    }

    fn take_over(&self, partition: u32) -> Ack<TakenOver> {
        self.inner.take_over(partition)
    }

    fn published(&self, partition: u32) -> Result<Marker, Error> {
        self.inner.published(partition)
    }

    fn signal(&self) -> &Signal {
        self.inner.signal()
    }
}

fn record(sequence: u64) -> NewRecord {
    NewRecord { headers: Headers::from([(SEQUENCE_HEADER, sequence.to_string())]), ..NewRecord::default() }
}

fn log_of(sequences: &[u64]) -> Sparse {
    let inner = MemoryLog::new(1, Arc::new(ManualWall::new(Time(5))));
    append(&inner, sequences);
    Sparse { inner, start: 0 }
}

fn append(log: &MemoryLog, sequences: &[u64]) {
    if !sequences.is_empty() {
        wait(log.append(Topic::Touches, 0, sequences.iter().copied().map(record).collect())).unwrap();
    }
}

fn sequence(record: &StoredRecord) -> u64 {
    sequence_in(&record.headers).unwrap()
}

fn all(consumer: &mut Consumer, log: &dyn Log) -> Vec<u64> {
    std::iter::from_fn(|| consumer.next(log).unwrap()).map(|record| sequence(&record)).collect()
}

#[track_caller]
fn check(sequences: &[u64], taken: &[u64], repeats: u64, gaps: u64) {
    let log = log_of(sequences);
    let mut consumer = Consumer::new(Topic::Touches, Position::start(0));
    assert_eq!(all(&mut consumer, &log), taken);
    assert_eq!(consumer.alarms(), Alarms { repeats, gaps, ..Alarms::default() });
}

#[test]
fn exactly_the_next_is_taken_and_reading_goes_on() {
    check(&[], &[], 0, 0);
    check(&[1, 2, 3], &[1, 2, 3], 0, 0);
    check(&[1, 1, 2, 1, 3, 2], &[1, 2, 3], 3, 0);
    check(&[2], &[], 0, 1);
    check(&[1, 3, 4, 2, 3, 4], &[1, 2, 3, 4], 0, 2);
    check(&[0, 1, u64::MAX], &[1], 1, 1);
}

#[test]
fn a_torn_publication_is_sent_again_from_its_beginning_or_its_tail() {
    // Sequenced mode: 1 to 3 are whole; of 4 to 8 a prefix arrived before the crash.
    check(&[1, 2, 3, 4, 5, 4, 5, 6, 7, 8], &[1, 2, 3, 4, 5, 6, 7, 8], 2, 0);
    check(&[1, 2, 3, 4, 5, 6, 7, 8], &[1, 2, 3, 4, 5, 6, 7, 8], 0, 0);
}

#[test]
fn what_has_no_number_is_foreign_and_topics_without_numbers_have_no_rule() {
    let log = log_of(&[1]);
    let foreign = vec![NewRecord { value: vec![1], ..NewRecord::default() }];
    wait(log.append(Topic::Touches, 0, foreign.clone())).unwrap();
    append(&log.inner, &[2]);
    let mut consumer = Consumer::new(Topic::Touches, Position::start(0));
    assert_eq!(all(&mut consumer, &log), [1, 2]);
    assert_eq!(consumer.alarms(), Alarms { foreign: 1, ..Alarms::default() });
    wait(log.append(Topic::Contacts, 0, [foreign.clone(), foreign].concat())).unwrap();
    let mut contacts = Consumer::new(Topic::Contacts, Position::start(0));
    assert_eq!(std::iter::from_fn(|| contacts.next(&log).unwrap()).count(), 2);
    assert_eq!(contacts.position(), Position { partition: 0, offset: STRIDE + 1, sequence: 0 });
    assert!(contacts.next(&log).unwrap().is_none(), "the end");
}

/// A log as publishers leave it: each sends runs of numbers and may go back to any that it sent; now and then one is
/// lost on the way and sent again later.
fn random_log(random: &mut impl FnMut(u64) -> u64) -> (Vec<u64>, u64) {
    let (mut sequences, mut last) = (Vec::new(), 0);
    for _ in 0..random(6) {
        let back = random(4).min(last);
        let run: Vec<u64> = (last - back + 1..=last - back + 1 + random(6)).collect();
        last = last.max(*run.last().unwrap());
        let lost = random(12);
        sequences.extend(run.iter().filter(|sequence| lost != **sequence % 12));
        sequences.extend(run);
    }
    (sequences, last)
}

#[test]
fn each_output_has_one_effect_whatever_the_crash_point() {
    for seed in 0..2_000_u64 {
        let mut state = seed;
        let mut random = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let (sequences, last) = random_log(&mut random);
        let log = log_of(&sequences);
        let mut database = (Vec::new(), Position::start(0));
        let mut crashes = 10;
        loop {
            let mut consumer = Consumer::new(Topic::Touches, database.1);
            let batch = 1 + random(4) as usize;
            let mut effects = database.0.clone();
            let taken = std::iter::from_fn(|| consumer.next(&log).unwrap()).take(batch);
            effects.extend(taken.map(|record| sequence(&record)));
            // Before the write everything of the batch is gone, after it nothing is.
            if crashes > 0 && random(3) == 0 {
                crashes -= 1;
                continue;
            }
            if effects.len() == database.0.len() {
                break;
            }
            database = (effects, consumer.position());
        }
        assert_eq!(database.0, (1..=last).collect::<Vec<_>>(), "seed {seed}: {sequences:?}");
    }
}

#[test]
fn retention_is_said_and_does_not_block() {
    let mut log = log_of(&[1, 2, 3, 4, 4, 5]);
    // 1 and 2 are gone; the partition starts behind a hole.
    log.start = STRIDE + 1;
    let mut consumer = Consumer::new(Topic::Touches, Position::start(0));
    assert_eq!(all(&mut consumer, &log), [3, 4, 5]);
    assert_eq!(consumer.alarms(), Alarms { repeats: 1, truncations: 1, lost: 2, ..Alarms::default() });
    // Whoever had taken them has lost nothing, and repeats are still repeats.
    for (sequence, rest) in [(2, &[3, 4, 5][..]), (4, &[5])] {
        let mut consumer = Consumer::new(Topic::Touches, Position::after(0, sequence));
        assert_eq!(all(&mut consumer, &log), rest, "after {sequence}");
        assert_eq!(consumer.alarms().lost, 0, "after {sequence}");
    }
}

#[test]
fn a_position_stored_while_nothing_is_left_finds_retention_again() {
    let mut log = log_of(&[1, 2, 3]);
    log.start = 3 * STRIDE;
    let mut consumer = Consumer::new(Topic::Touches, Position::after(0, 1));
    assert_eq!(all(&mut consumer, &log), [0_u64; 0]);
    assert_eq!(consumer.position(), Position::after(0, 1), "nothing is known yet");
    append(&log.inner, &[4, 5]);
    for mut consumer in [Consumer::new(Topic::Touches, consumer.position()), consumer] {
        assert_eq!(all(&mut consumer, &log), [4, 5]);
        assert_eq!(consumer.alarms().lost, 2);
    }
}

#[test]
fn an_error_that_does_not_get_on_is_passed_on() {
    let log = log_of(&[]);
    let mut consumer = Consumer::new(Topic::Touches, Position::start(7));
    assert!(matches!(consumer.next(&log), Err(Error::NoPartition { partition: 7, .. })));
}

#[test]
fn it_covers_what_it_took_and_what_is_gone() {
    let mut log = log_of(&[]);
    let publish = |log: &Sparse, sequences: &[u64]| {
        let marker = Marker { offset: 1, sequences: [0, *sequences.last().unwrap(), 0, 0] };
        let mut records: Vec<_> = sequences.iter().map(|&sequence| (Topic::Touches, record(sequence))).collect();
        let progress = NewRecord { headers: Headers::from([marker.to_header()]), ..NewRecord::default() };
        records.push((Topic::Contacts, progress));
        publish_once(&log.inner, 0, Publication { records, marker }).unwrap();
    };
    publish(&log, &[1, 2]);
    let mut consumer = Consumer::new(Topic::Touches, Position::start(0));
    assert!(consumer.covers(&log, 0).unwrap());
    assert!(!consumer.covers(&log, 1).unwrap(), "nothing was taken");
    all(&mut consumer, &log);
    assert!(consumer.covers(&log, 2).unwrap());
    assert!(!consumer.covers(&log, 3).unwrap(), "not published");

    // Everything that was published is gone: that must not be waited for, and 3 is the next.
    log.start = 2 * STRIDE;
    let mut consumer = Consumer::new(Topic::Touches, Position::start(0));
    assert_eq!(all(&mut consumer, &log), [0_u64; 0]);
    assert!(!consumer.covers(&log, 3).unwrap(), "not published");
    assert!(consumer.covers(&log, 1).unwrap());
    assert_eq!((consumer.position(), consumer.alarms().lost), (Position { partition: 0, offset: 6, sequence: 2 }, 2));
    publish(&log, &[4]);
    assert_eq!(all(&mut consumer, &log), [0_u64; 0], "3 is missing, and was not taken by retention");
    publish(&log, &[3, 4]);
    assert_eq!(all(&mut consumer, &log), [3, 4]);

    // Something is left: it is taken before anything is concluded.
    let mut consumer = Consumer::new(Topic::Touches, Position::start(0));
    consumer.peek(&log).unwrap();
    assert!(!consumer.covers(&log, 4).unwrap());
}
