//! Consuming: how whoever follows a topic sees each record once, whatever was repeated or crashed on the way.
//!
//! ```text
//!   log      1  2  2  3  5  6  4  5  6  7         sequences; a publisher went back twice
//!   verdict  N  N  R  N  G  G  N  N  N  N         Next: take it · Repeat: ignore · Gap: ignore, alarm, read on
//! ```
//! * Of a numbered topic exactly `last + 1` is taken. Whoever stopped at a gap would never see its repair: in an
//!   append-only log it can only lie behind.
//! * [`Position`] is stored **with the effect, in one step** (one transaction, one file, one batch). Whoever restarts
//!   from it has lost nothing and sees nothing twice.
//! * Offsets may have gaps, and retention may take the beginning: reading goes on at what is left and says so
//!   ([`Alarms`]).
//! * `events` and `contacts` have no numbers: every record is next. Of a contact the higher version wins, whichever
//!   comes last; the version is in the value. A record with a [`crate::Marker`] in its headers is a Progress.

use crate::publish::{sequence_in, stream_of};
use crate::{Error, Log, StoredRecord, Topic};
use std::collections::VecDeque;

/// Records read at once.
const READ_RECORDS: usize = 512;

/// How far a consumer has come in one partition of a topic: what it stores with the effect of what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Partition.
    pub partition: u32,
    /// Where reading goes on.
    pub offset: u64,
    /// Last sequence taken; 0 = none, and always in topics without numbers.
    pub sequence: u64,
}

impl Position {
    /// Before the first record.
    pub const fn start(partition: u32) -> Self {
        Self { partition, offset: 0, sequence: 0 }
    }

    /// For whoever knows the last sequence only. The record after it cannot lie below this offset: there are at least
    /// as many records before it. It may lie far behind it, so knowing the offset is better.
    pub const fn after(partition: u32, sequence: u64) -> Self {
        Self { partition, offset: sequence, sequence }
    }
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Take it: `last + 1`, or the first that retention has left, or a record of a topic without numbers.
    Next,
    /// Ignore it: it was taken before.
    Repeat,
    /// Ignore it and read on: one before it is missing, and both come again.
    Gap,
    /// Ignore it: it has no number, so no publisher of ours wrote it.
    Foreign,
}

/// What a consumer ignored or missed since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Alarms {
    /// [`Verdict::Repeat`]: harmless.
    pub repeats: u64,
    /// [`Verdict::Gap`]: somebody has to look where no repair follows.
    pub gaps: u64,
    /// [`Verdict::Foreign`]: somebody else writes to the topic.
    pub foreign: u64,
    /// How often retention had taken records that were not read yet.
    pub truncations: u64,
    /// Sequences that are gone by that, once the first one that is left was seen.
    pub lost: u64,
}

/// Follows one partition of one topic.
///
/// ```
/// use std::sync::Arc;
/// use touchline_log::consumer::{Consumer, Position};
/// use touchline_log::memory::MemoryLog;
/// use touchline_log::publish::SEQUENCE_HEADER;
/// use touchline_log::{Headers, ManualWall, Log, NewRecord, Topic, wait};
/// # use touchline_model::time::Time;
/// # let log = MemoryLog::new(1, Arc::new(ManualWall::new(Time(0))));
/// # let touch = |sequence: u64| {
/// #     let headers = Headers::from([(SEQUENCE_HEADER, sequence.to_string())]);
/// #     NewRecord { headers, value: vec![sequence as u8], ..NewRecord::default() }
/// # };
/// /// A row of a database: the effect, and the position it belongs to.
/// #[derive(Clone, Default)]
/// struct Stored { sent: Vec<u8>, position: Position }
///
/// # wait(log.append(Topic::Touches, 0, [1, 2, 2, 4, 3, 4].map(touch).to_vec())).unwrap();
/// let mut database = Stored::default();
/// for _restart in 0..3 {
///     let mut consumer = Consumer::new(Topic::Touches, database.position);
///     if let Some(record) = consumer.next(&log)? {
///         let mut row = database.clone();
///         row.sent.push(record.value[0]);
///         row.position = consumer.position();
///         database = row; // One write: a crash leaves the old row or the new one.
///     }
/// }
/// assert_eq!(database.sent, [1, 2, 3]);
/// # Ok::<(), touchline_log::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Consumer {
    topic: Topic,
    position: Position,
    alarms: Alarms,
    /// Retention took what comes after `position`: the first later sequence is taken, whichever it is. Until then
    /// `position` stays, so that a restart finds this out again.
    is_cut: bool,
    /// Where the next read begins.
    read_from: u64,
    /// Read and not taken.
    held: VecDeque<StoredRecord>,
}

impl Consumer {
    /// Goes on behind `position`.
    pub fn new(topic: Topic, position: Position) -> Self {
        let read_from = position.offset;
        Self { topic, position, alarms: Alarms::default(), is_cut: false, read_from, held: VecDeque::new() }
    }

    /// The next record to be taken; `None` when there is none now.
    pub fn next(&mut self, log: &dyn Log) -> Result<Option<StoredRecord>, Error> {
        while self.peek(log)?.is_some() {
            if let Some((record, Verdict::Next)) = self.take() {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The next record, whatever its verdict, without taking it; reads the log where nothing is held.
    pub fn peek(&mut self, log: &dyn Log) -> Result<Option<&StoredRecord>, Error> {
        if self.held.is_empty() {
            self.held = loop {
                match log.read(self.topic, self.position.partition, self.read_from, READ_RECORDS) {
                    Err(Error::Truncated { start, .. }) if start > self.read_from => {
                        self.read_from = start;
                        self.is_cut = true;
                        self.alarms.truncations += 1;
                    }
                    records => break VecDeque::from(records?),
                }
            };
            self.read_from = self.held.back().map_or(self.read_from, |last| last.offset + 1);
        }
        Ok(self.held.front())
    }

    /// The next record where one is held already: reads nothing.
    pub fn held(&self) -> Option<&StoredRecord> {
        self.held.front()
    }

    /// Takes what [`Consumer::peek`] showed, and says what becomes of it. `None` when nothing is held.
    pub fn take(&mut self) -> Option<(StoredRecord, Verdict)> {
        let record = self.held.pop_front()?;
        let verdict = self.judge(&record);
        match verdict {
            Verdict::Next => self.is_cut = false,
            Verdict::Repeat => self.alarms.repeats += 1,
            Verdict::Gap => self.alarms.gaps += 1,
            Verdict::Foreign => self.alarms.foreign += 1,
        }
        if !self.is_cut {
            self.position.offset = record.offset + 1;
        }
        Some((record, verdict))
    }

    /// What to store with the effect of everything taken so far.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The offset of the next record, or one at most that: everything below is taken.
    pub fn next_offset(&self) -> u64 {
        self.held.front().map_or(self.read_from, |record| record.offset)
    }

    /// What it ignored or missed.
    pub const fn alarms(&self) -> Alarms {
        self.alarms
    }

    /// Whether everything up to `sequence` was taken or is gone. Where retention left nothing that would tell, the
    /// log's marker does: whoever sees it can read all that was published with it.
    pub fn covers(&mut self, log: &dyn Log, sequence: u64) -> Result<bool, Error> {
        let Some(stream) = stream_of(self.topic).filter(|_| self.position.sequence < sequence && self.is_cut) else {
            return Ok(self.position.sequence >= sequence);
        };
        let published = log.published(self.position.partition)?.sequences[stream.index()];
        if published < sequence || self.peek(log)?.is_some() {
            return Ok(false);
        }
        self.alarms.lost += published - self.position.sequence;
        self.position = Position { offset: self.read_from, sequence: published, ..self.position };
        self.is_cut = false;
        Ok(true)
    }

    fn judge(&mut self, record: &StoredRecord) -> Verdict {
        if stream_of(self.topic).is_none() {
            return Verdict::Next;
        }
        let Some(found) = sequence_in(&record.headers) else { return Verdict::Foreign };
        let Some(ahead) = found.checked_sub(self.position.sequence).filter(|ahead| *ahead > 0) else {
            return Verdict::Repeat;
        };
        if ahead > 1 && !self.is_cut {
            return Verdict::Gap;
        }
        self.alarms.lost += ahead - 1;
        self.position.sequence = found;
        Verdict::Next
    }
}

#[cfg(test)]
#[path = "consumer_tests.rs"]
mod tests;
