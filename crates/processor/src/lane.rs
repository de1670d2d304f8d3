//! A loopback lane: records from this partition to one other, in order, until they are known to lie there.
//!
//! ```text
//!   l|destination|7  8  9  10  11            first = 7: the first unacknowledged
//!                 └ in flight ┘              one append at a time; all of it is in the log or none
//! ```
//! One append in flight is go-back-N with the simplest window: when it fails, the same records and
//! whatever came since are sent again from `first`; only an acknowledged prefix is ever trimmed. The
//! receiver takes exactly last + 1, so a repeat is harmless.

use crate::error::Error;
use crate::keys;
use crate::options::Pacing;
use crate::pace::Backoff;
use touchline_log::{Ack, Appended, Log, NewRecord, Topic};
use touchline_model::time::Time;
use touchline_store::{Change, Store};

/// Records of one append: enough that a lane is never slower than its source.
const APPEND_RECORDS_MAX: usize = 512;
/// Bytes of one append: what a lane holds in memory at most, one record more.
const APPEND_BYTES_MAX: usize = 1 << 20;
/// Applying pauses when a lane holds this many records.
pub(crate) const RECORDS_MAX: u64 = 50_000;

/// A lane of one partition.
pub(crate) struct Lane {
    destination: u32,
    /// First record not known to be in the log.
    first: u64,
    /// Last record assigned.
    last: u64,
    in_flight: Option<(u64, Ack<Appended>)>,
    backoff: Backoff,
}

/// What polling a lane found.
#[derive(Debug)]
pub(crate) enum Polled {
    /// Nothing in flight, or not known yet.
    Nothing,
    /// Records up to `last` are in the log.
    Delivered {
        /// Last of them.
        last: u64,
    },
    /// Not known whether they are: they are sent again.
    Failed {
        /// Last record of the append.
        last: u64,
        /// Why.
        error: touchline_log::Error,
    },
}

impl Lane {
    /// A lane whose destination has accepted everything up to `received`; `sent` is the last number assigned.
    pub(crate) fn open(
        destination: u32,
        received: u64,
        sent: u64,
        store: &dyn Store,
        changes: &mut Vec<Change>,
    ) -> Result<Self, Error> {
        changes.push(Change::DeleteRange(keys::lane(destination, 0), keys::lane(destination, received + 1)));
        let held = store.scan(&keys::lane(destination, received + 1), &keys::lane(destination, u64::MAX), 1)?;
        let first = match held.first() {
            Some((key, _)) => keys::number(key).ok_or(Error::Residue("a lane"))?,
            None => received.max(sent) + 1,
        };
        // What was trimmed was in the log; what was neither trimmed nor accepted has to be here.
        Ok(Self { destination, first, last: sent.max(received), in_flight: None, backoff: Backoff::default() })
    }

    /// Keeps a record to send. Numbers at or below the first are replayed ones that the destination has.
    pub(crate) fn push(&mut self, sequence: u64, record: NewRecord, changes: &mut Vec<Change>) {
        if sequence <= self.last {
            return;
        }
        self.last = sequence;
        let NewRecord { key, headers, value } = record;
        let bytes = postcard::to_stdvec(&(key, headers, value)).expect("plain values always encode");
        changes.push(Change::Put(keys::lane(self.destination, sequence), bytes));
    }

    /// Looks at the append in flight.
    pub(crate) fn poll(&mut self, now: Time, pacing: Pacing) -> Polled {
        let Some((last, ack)) = &mut self.in_flight else { return Polled::Nothing };
        let last = *last;
        let error = match ack.try_recv() {
            Ok(None) => return Polled::Nothing,
            Ok(Some(Ok(_))) => {
                self.in_flight = None;
                self.backoff.succeeded();
                return Polled::Delivered { last };
            }
            Ok(Some(Err(error))) => error,
            Err(_) => touchline_log::Error::Closed,
        };
        self.in_flight = None;
        self.backoff.refused(&error, now, pacing);
        Polled::Failed { last, error }
    }

    /// Where its records go.
    pub(crate) const fn destination(&self) -> u32 {
        self.destination
    }

    /// Removes what is delivered.
    pub(crate) fn trim(&mut self, last: u64, changes: &mut Vec<Change>) {
        if last < self.first {
            return;
        }
        // One by one: a read of RocksDB has to look through deleted ranges until they are flushed.
        changes.extend((self.first..=last).map(|sequence| Change::Delete(keys::lane(self.destination, sequence))));
        self.first = last + 1;
        self.last = self.last.max(last);
    }

    /// Hands over what waits, if nothing is in flight. Whether it did.
    pub(crate) fn send(&mut self, log: &dyn Log, store: &dyn Store, now: Time) -> Result<Sent, Error> {
        if self.in_flight.is_some() || self.is_empty() || self.backoff.until(now).is_some() {
            return Ok(Sent::Nothing);
        }
        let from = keys::lane(self.destination, self.first);
        let until = keys::lane(self.destination, self.last + 1);
        let (mut records, mut bytes) = (Vec::new(), 0);
        for (key, value) in store.scan(&from, &until, APPEND_RECORDS_MAX)? {
            let expected = self.first + records.len() as u64;
            if keys::number(&key) != Some(expected) {
                return Err(Error::Residue("a lane"));
            }
            let (key, headers, value) = postcard::from_bytes(&value).map_err(|_| Error::Residue("a lane"))?;
            let record = NewRecord { key, headers, value };
            bytes += record.bytes();
            records.push(record);
            if bytes >= APPEND_BYTES_MAX {
                break;
            }
        }
        if records.is_empty() {
            return Err(Error::Residue("a lane"));
        }
        let last = self.first + records.len() as u64 - 1;
        self.in_flight = Some((last, log.append_own(Topic::Events, self.destination, records)));
        Ok(Sent::HandedOver)
    }

    /// Whether everything is delivered.
    pub(crate) const fn is_empty(&self) -> bool {
        self.first > self.last
    }

    /// How many records wait.
    pub(crate) const fn len(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }

    /// Failures in a row.
    pub(crate) const fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// When the lane may try again, if it pauses.
    pub(crate) fn paused_until(&self, now: Time) -> Option<Time> {
        self.backoff.until(now)
    }
}

/// Whether a lane handed records over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Nothing to send, or not now.
    Nothing,
    /// An append is in flight.
    HandedOver,
}
