//! Reading: one consumer tails many partitions, a few more serve what is read besides.
//!
//! ```text
//!   read(topic, partition, offset) ─┬─ goes on where the place stands ─▶ its queue in the tail consumer: no round trip
//!                                   └─ anywhere else ─▶ a cursor of its own, kept for whoever goes on from there
//! ```
//! librdkafka fetches in the background; a read only takes what has arrived, and waits where more is known to be
//! there ([`Ends`]).

use crate::config::{Clients, Names};
use crate::context::Quiet;
use crate::cursor::{Cursor, Source};
use crate::ends::{self, Ends};
use crate::error::{Error, io};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::topic_partition_list::Offset;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use touchline_log::{Error as LogError, Headers, Marker, Signal, StoredRecord, Topic};

/// How long a read waits for records that are known to be there.
pub(crate) const READ_WAIT: Duration = Duration::from_secs(10);
/// The broker is not asked again for the end of a partition for so long.
const ASK_EVERY_MS: u64 = 100;
/// The same where records arrive by themselves: all that is asked for is how many more there are.
const ASK_TAILED_EVERY_MS: u64 = 1_000;
/// A place nobody read from for so long may be taken by another reader of its partition.
const PLACE_IDLE: Duration = Duration::from_secs(10);
/// A cursor nobody read from for so long stops fetching.
const CURSOR_IDLE: Duration = Duration::from_secs(2);
/// Cursors kept for readers that come back; more exist only while more threads read at once.
const CURSORS_MAX: usize = 4;
/// How long the tail consumer's own queue is waited for: closing takes as long.
const POLL: Duration = Duration::from_millis(50);
/// Records looked at first when the last one below the end is wanted.
const LAST_MIN: u64 = 16;
/// Memory for what the tail consumer fetched ahead, in KiB: for each partition, as each has a queue of its own.
const TAIL_QUEUED_KBYTES: u32 = 4 << 10;
/// The same for a cursor.
const CURSOR_QUEUED_KBYTES: u32 = 8 << 10;

/// Reads every topic.
pub(crate) struct Reader {
    tail: Arc<BaseConsumer<Quiet>>,
    clients: Clients,
    names: Names,
    ends: Arc<Ends>,
    signal: Signal,
    tracks: Vec<Track>,
    cursors: Arc<Mutex<Vec<Cursor>>>,
    started: Instant,
    closing: Arc<AtomicBool>,
    poller: Option<JoinHandle<()>>,
}

/// What is remembered of a partition.
#[derive(Default)]
struct Track {
    place: Mutex<Option<Cursor>>,
    /// The last stable offset when the broker was asked last.
    stable: AtomicU64,
    /// The same where nobody looked what the last record below it is.
    hint: AtomicU64,
    /// When that was, in milliseconds since the start, plus one; 0 = never.
    asked_at_ms: AtomicU64,
}

impl Reader {
    pub(crate) fn new(clients: &Clients, names: Names, ends: Arc<Ends>, signal: Signal) -> Result<Self, Error> {
        let config = clients.reader("tail", 100, TAIL_QUEUED_KBYTES);
        let tail: BaseConsumer<Quiet> = config.create_with_context(Quiet("tail")).map_err(Error::Client)?;
        let (tail, closing) = (Arc::new(tail), Arc::new(AtomicBool::new(false)));
        let cursors = Arc::new(Mutex::new(Vec::new()));
        let poller = thread::Builder::new()
            .name("kafka-tail".to_owned())
            .spawn({
                let (tail, closing, cursors) = (Arc::clone(&tail), Arc::clone(&closing), Arc::clone(&cursors));
                move || serve(&tail, &closing, &cursors)
            })
            .map_err(|error| Error::Admin { action: "starting a thread".to_owned(), reason: error.to_string() })?;
        let tracks = (0..Topic::ALL.len() * ends.partitions() as usize).map(|_| Track::default()).collect();
        let (clients, started, poller) = (clients.clone(), Instant::now(), Some(poller));
        Ok(Self { tail, clients, names, ends, signal, tracks, cursors, started, closing, poller })
    }

    /// See [`touchline_log::Log::read`].
    pub(crate) fn read(
        &self,
        topic: Topic,
        partition: u32,
        offset: u64,
        records_max: usize,
    ) -> Result<Vec<StoredRecord>, LogError> {
        let at = self.at(topic, partition)?;
        if records_max == 0 {
            return Ok(Vec::new());
        }
        let mut end = self.ends.get(at.index);
        if self.tracks[at.index].asked_at_ms.load(Ordering::Relaxed) == 0 || offset > end {
            end = self.end_of(at)?;
        }
        if offset > end {
            return Ok(Vec::new());
        }
        let found = self.with_cursor(at, offset, &mut |cursor| cursor.read(end, records_max, READ_WAIT))?;
        if let Some(last) = found.last() {
            self.ends.raise(at.index, last.offset + 1);
        }
        Ok(found)
    }

    /// See [`touchline_log::Log::end`].
    pub(crate) fn end(&self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        self.end_of(self.at(topic, partition)?)
    }

    /// See [`touchline_log::Log::known_end`]. Asking for the last record takes a cursor of its own and tenths of a
    /// second: whoever tails a partition with traffic would do little else.
    pub(crate) fn known_end(&self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        let at = self.at(topic, partition)?;
        match self.look_ahead(at) {
            Ahead::AtEnd => Ok(self.ends.get(at.index)),
            Ahead::Unknown => self.asked_end(at),
            Ahead::Tailed => {
                let track = &self.tracks[at.index];
                if let Some(now_ms) = self.time_to_ask(at, ASK_TAILED_EVERY_MS) {
                    let (_, stable) = self.watermarks(at)?;
                    track.hint.fetch_max(stable, Ordering::Relaxed);
                    track.asked_at_ms.fetch_max(now_ms, Ordering::Relaxed);
                }
                Ok(self.ends.get(at.index).max(track.hint.load(Ordering::Relaxed)))
            }
        }
    }

    /// Asks the broker for the end, however recently that was done.
    pub(crate) fn ask_now(&self, topic: Topic, partition: u32) -> Result<(), LogError> {
        self.ask_for_end(self.at(topic, partition)?)
    }

    /// Shows `visit` every record with `from <= offset < to` that is readable; for offsets below the last stable one.
    pub(crate) fn scan(
        &self,
        topic: Topic,
        partition: u32,
        (from, to): (u64, u64),
        visit: &mut dyn FnMut(StoredRecord),
    ) -> Result<(), LogError> {
        let at = self.at(topic, partition)?;
        let mut from = from;
        let mut cursor = self.take_cursor(at, from, Standing::New)?;
        let scanned = loop {
            match cursor.scan(to, READ_WAIT, visit) {
                Err(error) => match self.explain(at, from, error) {
                    LogError::Truncated { start, .. } if start > from => {
                        if start >= to {
                            break Ok(());
                        }
                        from = start;
                        self.stand(&mut cursor, at, from)?;
                    }
                    error => break Err(error),
                },
                done => break done.map_err(|error| self.explain(at, from, error)),
            }
        };
        self.put_back(cursor, scanned.is_ok());
        scanned
    }

    /// One past the last offset that `read_committed` may see, transaction markers included.
    pub(crate) fn stable(&self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        Ok(self.watermarks(self.at(topic, partition)?)?.1)
    }

    /// The marker in the metadata of the group's committed offset of `events`; waits for open transactions.
    pub(crate) fn committed(&self, partition: u32, wait: Duration) -> Result<Option<Marker>, LogError> {
        let at = self.at(Topic::Events, partition)?;
        let mut asked = TopicPartitionList::new();
        asked.add_partition(self.names.of(at.topic), at.partition);
        let committed = self.tail.committed_offsets(asked, wait).map_err(|error| io(&error))?;
        let Some(element) = committed.find_partition(self.names.of(at.topic), at.partition) else { return Ok(None) };
        element.error().map_err(|error| io(&error))?;
        Ok(Marker::in_headers(&Headers::from([(touchline_log::publish::MARKER_HEADER, element.metadata())])))
    }

    /// Metadata of nobody in the group, for offsets that no member commits.
    pub(crate) fn group_metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.tail.group_metadata()
    }

    fn at(&self, topic: Topic, partition: u32) -> Result<At, LogError> {
        let raw = self.ends.check(partition)?;
        Ok(At { topic, partition: raw, index: self.ends.index(topic, partition) })
    }

    fn end_of(&self, at: At) -> Result<u64, LogError> {
        match self.look_ahead(at) {
            Ahead::AtEnd => Ok(self.ends.get(at.index)),
            Ahead::Tailed | Ahead::Unknown => self.asked_end(at),
        }
    }

    fn asked_end(&self, at: At) -> Result<u64, LogError> {
        if let Some(now_ms) = self.time_to_ask(at, ASK_EVERY_MS) {
            self.ask_for_end(at)?;
            self.tracks[at.index].asked_at_ms.fetch_max(now_ms, Ordering::Relaxed);
        }
        Ok(self.ends.get(at.index))
    }

    /// What the place of the partition shows, if it has one and nobody is reading there.
    fn look_ahead(&self, at: At) -> Ahead {
        let track = &self.tracks[at.index];
        if track.asked_at_ms.load(Ordering::Relaxed) == 0 {
            return Ahead::Unknown;
        }
        let Ok(mut place) = track.place.try_lock() else { return Ahead::Tailed };
        let Some(cursor) = place.as_mut() else { return Ahead::Unknown };
        let Ok(looked) = cursor.look() else { return Ahead::Unknown };
        self.ends.raise(at.index, looked.next);
        match (looked.at_end, cursor.is_lost()) {
            (true, _) => Ahead::AtEnd,
            (false, false) => Ahead::Tailed,
            (false, true) => Ahead::Unknown,
        }
    }

    /// The time, in milliseconds since the start plus one, if the broker was not asked for so long.
    fn time_to_ask(&self, at: At, every_ms: u64) -> Option<u64> {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX) + 1;
        let asked_at_ms = self.tracks[at.index].asked_at_ms.load(Ordering::Relaxed);
        (asked_at_ms == 0 || now_ms - asked_at_ms.min(now_ms) >= every_ms).then_some(now_ms)
    }

    /// Asks the broker, and looks for the last record below what it says: behind it lie markers of transactions.
    fn ask_for_end(&self, at: At) -> Result<(), LogError> {
        let track = &self.tracks[at.index];
        let (start, stable) = self.watermarks(at)?;
        let known = self.ends.get(at.index).max(start);
        if stable > known && stable > track.stable.load(Ordering::Relaxed) {
            let (mut back, mut to) = (LAST_MIN, stable);
            while to > known {
                let from = stable.saturating_sub(back).max(known);
                let mut last = None;
                let partition = u32::try_from(at.partition).unwrap_or_default();
                self.scan(at.topic, partition, (from, to), &mut |record| last = Some(record.offset))?;
                if let Some(last) = last {
                    self.ends.raise(at.index, last + 1);
                    break;
                }
                (to, back) = (from, back.saturating_mul(16));
            }
        }
        self.ends.raise(at.index, start);
        track.stable.fetch_max(stable, Ordering::Relaxed);
        Ok(())
    }

    fn watermarks(&self, at: At) -> Result<(u64, u64), LogError> {
        let topic = self.names.of(at.topic);
        ends::watermarks(&self.tail, topic, at.partition).map_err(|error| io(&error))
    }

    /// Reads from the place of the partition where it stands at `offset`, or may be moved there; else from a cursor.
    fn with_cursor<T>(
        &self,
        at: At,
        offset: u64,
        read: &mut dyn FnMut(&mut Cursor) -> Result<T, crate::cursor::Error>,
    ) -> Result<T, LogError> {
        let mut place = lock(&self.tracks[at.index].place);
        let standing = match place.as_mut() {
            None => {
                *place = Some(self.new_place(at)?);
                Standing::New
            }
            Some(cursor) if cursor.stands_at(at.index, offset) => Standing::There,
            Some(cursor) if cursor.is_lost() || cursor.idle() >= PLACE_IDLE => Standing::New,
            Some(_) => Standing::Elsewhere,
        };
        if let (Some(cursor), Standing::There | Standing::New) = (place.as_mut(), standing) {
            if standing == Standing::New {
                self.stand(cursor, at, offset)?;
            }
            let done = read(cursor);
            if done.is_err() {
                cursor.lose_place();
            }
            drop(place);
            return done.map_err(|error| self.explain(at, offset, error));
        }
        drop(place);
        let mut cursor = self.take_cursor(at, offset, Standing::There)?;
        let done = read(&mut cursor);
        self.put_back(cursor, done.is_ok());
        done.map_err(|error| self.explain(at, offset, error))
    }

    /// A queue of the tail consumer. It is split off before the partition is assigned, so that nothing lands in the
    /// common queue (librdkafka: `RD_KAFKA_Q_F_FWD_APP` survives the assignment).
    fn new_place(&self, at: At) -> Result<Cursor, LogError> {
        let topic = self.names.of(at.topic);
        let mut queue = self
            .tail
            .split_partition_queue(topic, at.partition)
            .ok_or_else(|| LogError::Io(format!("no queue for {topic}/{}", at.partition)))?;
        let signal = self.signal.clone();
        queue.set_nonempty_callback(move || signal.notify());
        Ok(Cursor::new(Source::Place(queue)))
    }

    fn take_cursor(&self, at: At, offset: u64, wanted: Standing) -> Result<Cursor, LogError> {
        let mut cursors = lock(&self.cursors);
        if let Some(found) = cursors.iter().position(|cursor| cursor.stands_at(at.index, offset))
            && wanted == Standing::There
        {
            return Ok(cursors.remove(found));
        }
        let mut cursor = if cursors.len() < CURSORS_MAX {
            drop(cursors);
            let config = self.clients.reader("cursor", 10, CURSOR_QUEUED_KBYTES);
            let consumer = config.create_with_context(Quiet("cursor")).map_err(|error| io(&error))?;
            Cursor::new(Source::Own(consumer))
        } else {
            // The one that was used longest ago is the first: they are put back at the end.
            cursors.remove(0)
        };
        self.stand(&mut cursor, at, offset)?;
        Ok(cursor)
    }

    fn put_back(&self, mut cursor: Cursor, usable: bool) {
        if !usable {
            cursor.lose_place();
        }
        let mut cursors = lock(&self.cursors);
        if cursors.len() < CURSORS_MAX {
            cursors.push(cursor);
        }
    }

    /// Lets a cursor fetch from `offset` on.
    fn stand(&self, cursor: &mut Cursor, at: At, offset: u64) -> Result<(), LogError> {
        let topic = self.names.of(at.topic);
        let mut list = TopicPartitionList::new();
        let from = Offset::Offset(ends::raw(offset));
        list.add_partition_offset(topic, at.partition, from).map_err(|error| io(&error))?;
        let assigned = match cursor.source() {
            Source::Own(consumer) => consumer.assign(&list),
            Source::Place(_) => {
                if cursor.is_assigned() {
                    self.tail.incremental_unassign(&list).map_err(|error| io(&error))?;
                }
                self.tail.incremental_assign(&list)
            }
        };
        cursor.moved(at.index, offset);
        assigned.map_err(|error| io(&error))
    }

    /// What an error of a cursor means for whoever reads from `offset`.
    fn explain(&self, at: At, offset: u64, error: crate::cursor::Error) -> LogError {
        match error {
            crate::cursor::Error::OutOfRange => match self.watermarks(at) {
                Ok((start, _)) if offset < start => LogError::Truncated { offset, start },
                Ok((_, end)) => {
                    LogError::Damaged(format!("offset {offset} is past the end {end} of {}", self.names.of(at.topic)))
                }
                Err(error) => error,
            },
            crate::cursor::Error::TooLate => LogError::Unavailable(format!(
                "{}/{} gives no record from {offset} on, but there must be one",
                self.names.of(at.topic),
                at.partition
            )),
            crate::cursor::Error::Client(error) => io(&error),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        if let Some(poller) = self.poller.take() {
            // It cannot panic; if it did, there is nothing left to close.
            let _ = poller.join();
        }
    }
}

/// What the place of a partition shows.
enum Ahead {
    /// Nothing more is known to be there.
    AtEnd,
    /// Somebody reads there, and it goes on.
    Tailed,
    Unknown,
}

/// A topic's partition.
#[derive(Clone, Copy)]
struct At {
    topic: Topic,
    partition: i32,
    index: usize,
}

/// Where a cursor stands that is to read from an offset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    There,
    New,
    Elsewhere,
}

/// Serves the tail consumer's own queue, where only errors arrive, and lets idle cursors rest.
fn serve(tail: &BaseConsumer<Quiet>, closing: &AtomicBool, cursors: &Mutex<Vec<Cursor>>) {
    while !closing.load(Ordering::SeqCst) {
        // Errors are reported by the client's context; records arrive elsewhere.
        drop(tail.poll(POLL));
        for cursor in lock(cursors).iter_mut().filter(|cursor| cursor.is_assigned() && cursor.idle() > CURSOR_IDLE) {
            cursor.rest();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
