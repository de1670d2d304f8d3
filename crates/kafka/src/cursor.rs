//! One reader of one partition: where it stands, and what has arrived.

use crate::context::Quiet;
use crate::ends;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use std::time::{Duration, Instant};
use touchline_log::{Headers, READ_BYTES_MAX, StoredRecord};
use touchline_model::time::Time;

/// How long librdkafka is waited for at once.
const POLL: Duration = Duration::from_millis(100);

/// Where records come from.
pub(crate) enum Source {
    /// A queue of the tail consumer.
    Place(PartitionQueue<Quiet>),
    /// A consumer of its own.
    Own(BaseConsumer<Quiet>),
}

/// Reads on from where it stands.
pub(crate) struct Cursor {
    source: Source,
    /// The partition it was last assigned to, if it still stands there.
    index: Option<usize>,
    assigned: bool,
    /// The next offset.
    next: u64,
    /// Arrived and not read.
    pending: Option<StoredRecord>,
    /// The end was reached, and nothing has come since.
    at_end: bool,
    used: Instant,
}

/// What a look ahead shows.
pub(crate) struct Looked {
    /// One past the last record that has arrived.
    pub(crate) next: u64,
    /// Nothing more is known to be there.
    pub(crate) at_end: bool,
}

/// Why a cursor cannot read on.
pub(crate) enum Error {
    /// The partition has no such offset.
    OutOfRange,
    /// What must be there did not come.
    TooLate,
    /// librdkafka says it will not.
    Client(KafkaError),
}

enum Polled {
    Record(StoredRecord),
    End,
    Nothing,
}

impl Cursor {
    pub(crate) fn new(source: Source) -> Self {
        let used = Instant::now();
        Self { source, index: None, assigned: false, next: 0, pending: None, at_end: false, used }
    }

    pub(crate) const fn source(&self) -> &Source {
        &self.source
    }

    /// Whether a read of this partition from `offset` on can go on here.
    pub(crate) fn stands_at(&self, index: usize, offset: u64) -> bool {
        self.assigned && self.index == Some(index) && self.next == offset
    }

    pub(crate) const fn is_assigned(&self) -> bool {
        self.assigned
    }

    pub(crate) fn idle(&self) -> Duration {
        self.used.elapsed()
    }

    /// It was assigned anew.
    pub(crate) fn moved(&mut self, index: usize, offset: u64) {
        self.index = Some(index);
        self.assigned = true;
        self.next = offset;
        self.pending = None;
        self.at_end = false;
        self.used = Instant::now();
    }

    /// What it says next is not to be trusted: the next read assigns it anew.
    pub(crate) fn lose_place(&mut self) {
        self.index = None;
        self.pending = None;
        self.at_end = false;
    }

    /// Whether it stands nowhere.
    pub(crate) const fn is_lost(&self) -> bool {
        self.index.is_none()
    }

    /// Stops fetching.
    pub(crate) fn rest(&mut self) {
        if let Source::Own(consumer) = &self.source
            && consumer.unassign().is_ok()
        {
            self.assigned = false;
            self.lose_place();
        }
    }

    /// Records from where it stands: waits for those below `end`, takes along what else has arrived.
    pub(crate) fn read(&mut self, end: u64, records_max: usize, wait: Duration) -> Result<Vec<StoredRecord>, Error> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        self.used = Instant::now();
        while found.len() < records_max && bytes < READ_BYTES_MAX {
            let missing = self.next < end;
            match self.take(if missing { POLL } else { Duration::ZERO })? {
                Polled::Record(record) => {
                    self.used = Instant::now();
                    self.next = record.offset + 1;
                    bytes += record.bytes();
                    found.push(record);
                }
                Polled::End => {}
                Polled::Nothing if !missing => break,
                Polled::Nothing if self.used.elapsed() > wait => return Err(Error::TooLate),
                Polled::Nothing => {}
            }
        }
        self.used = Instant::now();
        Ok(found)
    }

    /// Shows every record below `to`, until one lies at or past it or the partition ends.
    pub(crate) fn scan(&mut self, to: u64, wait: Duration, visit: &mut dyn FnMut(StoredRecord)) -> Result<(), Error> {
        self.used = Instant::now();
        while self.next < to {
            match self.take(POLL)? {
                Polled::Record(record) => {
                    self.used = Instant::now();
                    self.next = record.offset + 1;
                    if record.offset < to {
                        visit(record);
                    }
                }
                Polled::End => break,
                Polled::Nothing if self.used.elapsed() > wait => return Err(Error::TooLate),
                Polled::Nothing => {}
            }
        }
        Ok(())
    }

    /// Looks whether something has arrived, without reading it.
    pub(crate) fn look(&mut self) -> Result<Looked, Error> {
        while self.assigned && self.index.is_some() && self.pending.is_none() {
            match self.poll(Duration::ZERO)? {
                Polled::Record(record) => self.pending = Some(record),
                Polled::End => {}
                Polled::Nothing => break,
            }
        }
        let next = self.pending.as_ref().map_or(self.next, |record| record.offset + 1);
        Ok(Looked { next, at_end: self.at_end && self.pending.is_none() })
    }

    fn take(&mut self, wait: Duration) -> Result<Polled, Error> {
        match self.pending.take() {
            Some(record) => Ok(Polled::Record(record)),
            None => self.poll(wait),
        }
    }

    fn poll(&mut self, wait: Duration) -> Result<Polled, Error> {
        let polled = match &self.source {
            Source::Place(queue) => understand(queue.poll(wait), self.next),
            Source::Own(consumer) => understand(consumer.poll(wait), self.next),
        }?;
        match polled {
            Polled::Record(_) => self.at_end = false,
            Polled::End => self.at_end = true,
            Polled::Nothing => {}
        }
        Ok(polled)
    }
}

fn understand(polled: Option<KafkaResult<BorrowedMessage<'_>>>, next: u64) -> Result<Polled, Error> {
    match polled {
        None => Ok(Polled::Nothing),
        Some(Ok(message)) => {
            let record = stored(&message);
            // Fetched before the cursor was moved.
            Ok(if record.offset < next { Polled::Nothing } else { Polled::Record(record) })
        }
        Some(Err(KafkaError::PartitionEOF(_))) => Ok(Polled::End),
        Some(Err(KafkaError::MessageConsumption(code))) => match code {
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => Err(Error::OutOfRange),
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::BadCompression => Err(Error::Client(KafkaError::MessageConsumption(code))),
            // A broker that went away: reported by the client, which connects again.
            _ => Ok(Polled::Nothing),
        },
        Some(Err(error)) => Err(Error::Client(error)),
    }
}

fn stored(message: &BorrowedMessage<'_>) -> StoredRecord {
    let mut headers = Headers::new();
    if let Some(carried) = message.headers() {
        let bytes = carried.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
        headers = Headers::with_capacity(carried.count(), bytes);
        carried.iter().for_each(|header| headers.push(header.key, header.value.unwrap_or_default()));
    }
    StoredRecord {
        offset: ends::offset(message.offset()),
        append_time: Time(message.timestamp().to_millis().unwrap_or_default()),
        key: message.key().map(<[u8]>::to_vec),
        headers,
        value: message.payload().unwrap_or_default().to_vec(),
    }
}
