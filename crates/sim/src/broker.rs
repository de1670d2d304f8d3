//! Leaders of partitions, as Kafka has them: producers with epochs and sequences, transactions, control markers that
//! take an offset, and a last stable offset.

use std::collections::BTreeMap;
use touchline_log::{Appended, NewRecord, StoredRecord};
use touchline_model::time::Time;

/// A producer's id, and which of its incarnations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: u64,
    pub(crate) epoch: u64,
}

/// Records that are appended together.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) producer: Producer,
    /// Number of its first record among those of this epoch and partition.
    pub(crate) base: u64,
    pub(crate) scope: Scope,
    pub(crate) records: Vec<NewRecord>,
}

/// Whether a batch is part of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Transaction,
    Plain,
}

/// Why a request was refused, or what its sender thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A newer incarnation is known.
    Fenced,
    /// The transaction before has not ended; ask again.
    Concurrent,
    /// There is no such transaction.
    NotInTransaction,
    /// Something before it is missing.
    OutOfOrder,
    /// Sent by a member of an older generation.
    Generation,
    /// No answer came: it may have been carried out, or be yet to come.
    TimedOut,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Commit,
    Abort,
}

/// The leader of one partition of one topic.
#[derive(Debug, Default)]
pub(crate) struct Leader {
    entries: Vec<Entry>,
    producers: BTreeMap<u64, Known>,
}

#[derive(Debug)]
struct Entry {
    record: StoredRecord,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Of this producer's transaction, which has not ended.
    Open(u64),
    Readable,
    Hidden,
}

/// What a leader knows of a producer.
#[derive(Debug, Clone, Copy)]
struct Known {
    epoch: u64,
    next: u64,
    /// First offset of its open transaction.
    open: Option<u64>,
}

impl Leader {
    /// Appends a batch. `verified` asks the coordinator; it is asked only where the leader has no transaction of the
    /// producer open.
    pub(crate) fn append(
        &mut self,
        batch: &Batch,
        now: Time,
        verified: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<Appended, Refusal> {
        let Producer { id, epoch } = batch.producer;
        let known = self.producers.get(&id).copied();
        let (next, open) = match known {
            Some(known) if epoch < known.epoch => return Err(Refusal::Fenced),
            Some(known) if epoch == known.epoch => (known.next, known.open),
            Some(known) => (0, known.open),
            // Of a producer that it never met, a leader takes any sequence.
            None => (batch.base, None),
        };
        if batch.base < next {
            let last_offset = (self.entries.len() as u64).saturating_sub(1);
            return Ok(Appended { first_offset: last_offset, last_offset, append_time: now });
        }
        if batch.base > next {
            return Err(Refusal::OutOfOrder);
        }
        if batch.scope == Scope::Transaction && open.is_none() {
            verified()?;
        }
        let first_offset = self.entries.len() as u64;
        let state = if batch.scope == Scope::Transaction { State::Open(id) } else { State::Readable };
        for record in &batch.records {
            self.push(record.clone(), state, now);
        }
        let open = (batch.scope == Scope::Transaction).then(|| open.unwrap_or(first_offset));
        self.producers.insert(id, Known { epoch, next: next + batch.records.len() as u64, open });
        Ok(Appended { first_offset, last_offset: self.entries.len() as u64 - 1, append_time: now })
    }

    /// Ends the producer's transaction here; the marker takes an offset, and tells the leader of the epoch.
    pub(crate) fn mark(&mut self, producer: Producer, outcome: Outcome, now: Time) {
        let known = self.producers.entry(producer.id).or_insert(Known { epoch: producer.epoch, next: 0, open: None });
        if producer.epoch > known.epoch {
            (known.epoch, known.next) = (producer.epoch, 0);
        }
        known.open = None;
        let ended = if outcome == Outcome::Commit { State::Readable } else { State::Hidden };
        for entry in self.entries.iter_mut().filter(|entry| entry.state == State::Open(producer.id)) {
            entry.state = ended;
        }
        self.push(NewRecord::default(), State::Hidden, now);
    }

    fn push(&mut self, record: NewRecord, state: State, now: Time) {
        let NewRecord { key, headers, value } = record;
        let offset = self.entries.len() as u64;
        self.entries.push(Entry { record: StoredRecord { offset, append_time: now, key, headers, value }, state });
    }

    /// One past the last offset there is.
    pub(crate) const fn high_watermark(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The first offset of a transaction that has not ended.
    pub(crate) fn last_stable(&self) -> u64 {
        let open = self.producers.values().filter_map(|known| known.open);
        open.min().unwrap_or(self.high_watermark())
    }

    /// What a `read_committed` reader sees from an offset on.
    pub(crate) fn readable(&self, from: u64) -> impl DoubleEndedIterator<Item = &StoredRecord> {
        let until = usize::try_from(self.last_stable()).expect("an index");
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(until);
        let entries = self.entries[from..until].iter();
        entries.filter(|entry| entry.state == State::Readable).map(|entry| &entry.record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(7);

    fn batch(epoch: u64, base: u64, count: usize, scope: Scope) -> Batch {
        let producer = Producer { id: 1, epoch };
        Batch { producer, base, scope, records: vec![NewRecord::default(); count] }
    }

    fn append(leader: &mut Leader, batch: &Batch) -> Result<(u64, u64), Refusal> {
        leader.append(batch, NOW, || Ok(())).map(|appended| (appended.first_offset, appended.last_offset))
    }

    #[test]
    fn sequences_keep_order_and_drop_repeats() {
        let mut leader = Leader::default();
        assert_eq!(append(&mut leader, &batch(0, 0, 2, Scope::Plain)), Ok((0, 1)));
        assert_eq!(append(&mut leader, &batch(0, 3, 1, Scope::Plain)), Err(Refusal::OutOfOrder));
        assert_eq!(append(&mut leader, &batch(0, 2, 1, Scope::Plain)), Ok((2, 2)));
        assert!(append(&mut leader, &batch(0, 0, 2, Scope::Plain)).is_ok());
        assert_eq!(leader.high_watermark(), 3, "the repeat is acknowledged and not appended");
        assert_eq!(append(&mut leader, &batch(1, 1, 1, Scope::Plain)), Err(Refusal::OutOfOrder));
        assert_eq!(append(&mut leader, &batch(1, 0, 1, Scope::Plain)), Ok((3, 3)));
        assert_eq!(append(&mut leader, &batch(0, 3, 1, Scope::Plain)), Err(Refusal::Fenced));
    }

    #[test]
    fn readers_stop_at_the_first_open_transaction_and_skip_what_was_aborted() {
        let mut leader = Leader::default();
        append(&mut leader, &batch(0, 0, 2, Scope::Transaction)).unwrap();
        let other = Batch { producer: Producer { id: 2, epoch: 0 }, ..batch(0, 0, 1, Scope::Plain) };
        append(&mut leader, &other).unwrap();
        assert_eq!((leader.last_stable(), leader.high_watermark(), leader.readable(0).count()), (0, 3, 0));
        leader.mark(Producer { id: 1, epoch: 1 }, Outcome::Abort, NOW);
        let offsets: Vec<_> = leader.readable(0).map(|record| record.offset).collect();
        assert_eq!((leader.last_stable(), offsets), (4, vec![2]));
        assert_eq!(
            append(&mut leader, &batch(0, 2, 1, Scope::Transaction)),
            Err(Refusal::Fenced),
            "the marker's epoch"
        );
        append(&mut leader, &batch(1, 0, 1, Scope::Transaction)).unwrap();
        leader.mark(Producer { id: 1, epoch: 1 }, Outcome::Commit, NOW);
        assert_eq!(leader.readable(3).map(|record| record.offset).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn a_batch_without_its_transaction_is_refused_unless_the_leader_has_it_open() {
        let mut leader = Leader::default();
        let refuse = || Err(Refusal::NotInTransaction);
        let first = batch(0, 0, 1, Scope::Transaction);
        assert_eq!(leader.append(&first, NOW, refuse).unwrap_err(), Refusal::NotInTransaction);
        leader.append(&first, NOW, || Ok(())).unwrap();
        leader.append(&batch(0, 1, 1, Scope::Transaction), NOW, refuse).unwrap();
    }
}
