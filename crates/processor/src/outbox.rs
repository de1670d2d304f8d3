//! The outbox: outputs in order, with marks between batches, until they are known to be published.

use crate::dirty::Dirty;
use crate::error::Error;
use crate::keys;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use touchline_log::{Headers, NewRecord, Published, Topic};
use touchline_model::id::CellKey;
use touchline_model::output::{Numbered, Output, Progress, Stream, TouchState};
use touchline_model::time::Time;
use touchline_store::{Change, Store};

/// Records of one publication: larger ones delay everything behind them, smaller ones cost commits.
pub(crate) const PUBLISH_RECORDS_MAX: usize = 5_000;
/// Bytes of one publication.
pub(crate) const PUBLISH_BYTES_MAX: usize = 4 << 20;
/// Applying pauses above this many entries: memory and the replay of what is unpublished stay bounded.
pub(crate) const ENTRIES_MAX: usize = 50_000;
/// Applying pauses above this many bytes.
pub(crate) const BYTES_MAX: usize = 64 << 20;
/// Entries read per scan.
const SCAN_PAIRS: usize = 1_024;

/// An entry as it lies in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// A numbered output, encoded.
    Output { stream: Stored, sequence: u64, key: Vec<u8>, headers: Headers, value: Vec<u8>, tally: Tally },
    /// End of a batch: up to here it can be published. `dirty` cells changed since the mark before.
    Mark { progress: Progress, dirty: BTreeSet<CellKey> },
}

/// A stream's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored(u8);

/// What is counted when an output is published for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Tally {
    /// What became of the tag, and how many cards moved.
    TagChange { operation: Operation, moves: usize },
    /// State by name, and how long after its due moment it was decided.
    Touch { state: String, lateness_ms: Option<i64> },
    /// Accepted or refused.
    CommandResult,
    /// Reason by name.
    DeadLetter { reason: String },
}

/// What became of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub(crate) enum Operation {
    Set,
    Unset,
    Swap,
}

impl Operation {
    /// The name in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Unset => "unset",
            Self::Swap => "swap",
        }
    }
}

/// What planning needs to know of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Summary {
    Output { bytes: usize },
    Mark { dirty: usize, since: Time },
}

/// The entries `o|n`, dense: `head` is the oldest.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    head: u64,
    entries: VecDeque<Summary>,
    outputs: usize,
    dirty: usize,
    bytes: usize,
}

/// The next publication: entries `first..=last`, of which the last is a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// What a publication says.
pub(crate) struct Content {
    pub(crate) records: Vec<(Topic, NewRecord)>,
    pub(crate) tallies: Vec<Tally>,
    pub(crate) progress: Progress,
}

impl Outbox {
    /// Reads the outbox of a store, and the cells its marks name; entries at its head that are published are dropped.
    pub(crate) fn load(
        store: &dyn Store,
        published: &Published,
        now: Time,
        changes: &mut Vec<Change>,
    ) -> Result<(Self, Dirty), Error> {
        let (mut outbox, mut dirty) = (Self::default(), Dirty::default());
        let (mut from, until) = (keys::OUTBOX.to_vec(), keys::end_of(keys::OUTBOX));
        loop {
            let pairs = store.scan(&from, &until, SCAN_PAIRS)?;
            let Some((last_key, _)) = pairs.last() else { break };
            from = [last_key.as_slice(), &[0]].concat();
            for (key, value) in pairs {
                let index = keys::number(&key).ok_or(Error::Residue("the outbox"))?;
                if outbox.entries.is_empty() {
                    outbox.head = index;
                }
                if index != outbox.next() {
                    return Err(Error::Residue("the outbox"));
                }
                let entry = Entry::decode(&value)?;
                outbox.count(&entry, value.len(), now);
                if let Entry::Mark { progress, dirty: cells } = entry {
                    dirty.note(cells, progress.offset);
                }
            }
        }
        outbox.drop_published(store, published, changes)?;
        dirty.drop_published(published.marker.offset);
        Ok((outbox, dirty))
    }

    /// Removes entries from the head for as long as they are published.
    pub(crate) fn drop_published(
        &mut self,
        store: &dyn Store,
        published: &Published,
        changes: &mut Vec<Change>,
    ) -> Result<(), Error> {
        let mut last = None;
        let mut from = self.head;
        'entries: loop {
            let pairs = store.scan(&keys::outbox(from), &keys::outbox(self.next()), SCAN_PAIRS)?;
            if pairs.is_empty() {
                break;
            }
            for (_, value) in pairs {
                if !Entry::decode(&value)?.is_published(published) {
                    break 'entries;
                }
                last = Some(from);
                from += 1;
            }
        }
        if let Some(last) = last {
            self.trim(Plan { first: self.head, last }, changes);
        }
        Ok(())
    }

    /// The first stream of which the log lacks numbers that are not here any more; `assigned`: last numbers given.
    pub(crate) fn lacks(
        &self,
        store: &dyn Store,
        published: &Published,
        assigned: [u64; 4],
    ) -> Result<Option<Stream>, Error> {
        let mut missing: Vec<Stream> = Stream::ALL
            .into_iter()
            .filter(|stream| assigned[stream.index()] > published.tails[stream.index()])
            .collect();
        let mut from = self.head;
        while !missing.is_empty() && from < self.next() {
            for (_, value) in store.scan(&keys::outbox(from), &keys::outbox(self.next()), SCAN_PAIRS)? {
                from += 1;
                if let Entry::Output { stream, sequence, .. } = Entry::decode(&value)? {
                    let stream = stream.stream()?;
                    missing.retain(|lacking| *lacking != stream || sequence != published.tails[stream.index()] + 1);
                }
            }
        }
        Ok(missing.first().copied())
    }

    /// Adds an entry at the end.
    pub(crate) fn push(&mut self, entry: &Entry, now: Time, changes: &mut Vec<Change>) {
        let value = entry.encode();
        let bytes = value.len();
        changes.push(Change::Put(keys::outbox(self.next()), value));
        self.count(entry, bytes, now);
    }

    fn count(&mut self, entry: &Entry, bytes: usize, now: Time) {
        let summary = match entry {
            Entry::Output { .. } => {
                self.outputs += 1;
                self.bytes += bytes;
                Summary::Output { bytes }
            }
            Entry::Mark { dirty, .. } => {
                self.dirty += dirty.len();
                Summary::Mark { dirty: dirty.len(), since: now }
            }
        };
        self.entries.push_back(summary);
    }

    /// The longest run of entries within the limits that ends at a mark; a first batch above them goes whole.
    pub(crate) fn plan(&self) -> Option<Plan> {
        let (mut records, mut bytes, mut end) = (0, 0, None);
        for (at, summary) in self.entries.iter().enumerate() {
            match summary {
                Summary::Output { bytes: more } => {
                    records += 1;
                    bytes += more;
                }
                Summary::Mark { dirty, .. } => {
                    records += dirty;
                    if end.is_some() && (records > PUBLISH_RECORDS_MAX || bytes > PUBLISH_BYTES_MAX) {
                        break;
                    }
                    end = Some(at);
                }
            }
        }
        end.map(|at| Plan { first: self.head, last: self.head + at as u64 })
    }

    /// Whether anything but marks waits.
    pub(crate) const fn has_content(&self) -> bool {
        self.outputs + self.dirty > 0
    }

    /// Whether there is enough for a publication of full size.
    pub(crate) const fn fills_publication(&self) -> bool {
        self.outputs + self.dirty >= PUBLISH_RECORDS_MAX || self.bytes >= PUBLISH_BYTES_MAX
    }

    /// Since when the oldest mark waits.
    pub(crate) fn mark_since(&self) -> Option<Time> {
        self.entries.iter().find_map(|summary| match summary {
            Summary::Mark { since, .. } => Some(*since),
            Summary::Output { .. } => None,
        })
    }

    /// Reads what of a plan is not published, and checks that numbers go on without gaps.
    pub(crate) fn read(&self, store: &dyn Store, plan: Plan, published: &Published) -> Result<Content, Error> {
        let mut sequences = published.tails;
        let (mut records, mut tallies, mut end) = (Vec::new(), Vec::new(), None);
        let mut from = plan.first;
        while from <= plan.last {
            let pairs = store.scan(&keys::outbox(from), &keys::outbox(plan.last + 1), SCAN_PAIRS)?;
            if pairs.is_empty() {
                return Err(Error::Residue("the outbox"));
            }
            from += pairs.len() as u64;
            for (_, value) in pairs {
                match Entry::decode(&value)? {
                    Entry::Output { stream, sequence, key, headers, value, tally } => {
                        let stream = stream.stream()?;
                        let last = &mut sequences[stream.index()];
                        if sequence <= published.tails[stream.index()] {
                            // The part of a torn publication that lies in the log.
                            continue;
                        }
                        if sequence != *last + 1 {
                            return Err(Error::Residue("the order of the outbox"));
                        }
                        *last = sequence;
                        records.push((Topic::from(stream), NewRecord { key: Some(key), headers, value }));
                        tallies.push(tally);
                    }
                    Entry::Mark { progress, .. } => end = Some(progress),
                }
            }
        }
        let progress = end.ok_or(Error::Residue("the outbox"))?;
        let agrees = |(index, marked): (usize, &u64)| {
            let tail = published.tails[index];
            *marked == sequences[index] || (*marked < tail && sequences[index] == tail)
        };
        if !progress.sequences.iter().enumerate().all(agrees) {
            return Err(Error::Residue("a mark of the outbox"));
        }
        Ok(Content { records, tallies, progress })
    }

    /// Removes the entries of a plan.
    pub(crate) fn trim(&mut self, plan: Plan, changes: &mut Vec<Change>) {
        // One by one: a read of RocksDB has to look through deleted ranges until they are flushed.
        changes.extend((plan.first..=plan.last).map(|index| Change::Delete(keys::outbox(index))));
        while self.head <= plan.last {
            match self.entries.pop_front() {
                Some(Summary::Output { bytes }) => {
                    self.outputs -= 1;
                    self.bytes -= bytes;
                }
                Some(Summary::Mark { dirty, .. }) => self.dirty -= dirty,
                None => break,
            }
            self.head += 1;
        }
    }

    /// Whether applying has to pause.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= ENTRIES_MAX || self.bytes >= BYTES_MAX
    }

    /// How many entries wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn next(&self) -> u64 {
        self.head + self.entries.len() as u64
    }
}

impl Entry {
    /// An output, encoded.
    pub(crate) fn output(numbered: &Numbered, record: NewRecord) -> Self {
        let stream = numbered.output.stream();
        Self::Output {
            stream: Stored(u8::try_from(stream.index()).expect("there are four")),
            sequence: numbered.sequence,
            key: record.key.unwrap_or_default(),
            headers: record.headers,
            value: record.value,
            tally: Tally::of(numbered),
        }
    }

    fn is_published(&self, published: &Published) -> bool {
        match self {
            Self::Output { stream, sequence, .. } => {
                published.tails.get(usize::from(stream.0)).is_some_and(|last| sequence <= last)
            }
            Self::Mark { progress, .. } => progress.offset <= published.marker.offset,
        }
    }

    fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain values always encode")
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        postcard::from_bytes(bytes).map_err(|_| Error::Residue("an entry of the outbox"))
    }
}

impl Stored {
    fn stream(self) -> Result<Stream, Error> {
        Stream::ALL.get(usize::from(self.0)).copied().ok_or(Error::Residue("an entry of the outbox"))
    }
}

impl Tally {
    fn of(numbered: &Numbered) -> Self {
        match &numbered.output {
            Output::TagChange(change) => {
                let operation = match (&change.set, &change.unset) {
                    (Some(_), Some(_)) => Operation::Swap,
                    (Some(_), None) => Operation::Set,
                    (None, _) => Operation::Unset,
                };
                Self::TagChange { operation, moves: change.moves.len() }
            }
            Output::Touch(touch) => {
                let late = numbered.clock.since(touch.due_at).0.max(0);
                let lateness_ms = (touch.state == TouchState::Due).then_some(late);
                Self::Touch { state: touch.state.name().to_owned(), lateness_ms }
            }
            Output::CommandResult(_) => Self::CommandResult,
            Output::DeadLetter(letter) => Self::DeadLetter { reason: letter.reason.name().to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use touchline_log::Marker;
    use touchline_store::memory::MemoryStore;

    fn output(sequence: u64) -> Entry {
        let (key, headers, value) = (vec![1], Headers::new(), vec![2]);
        Entry::Output { stream: Stored(1), sequence, key, headers, value, tally: Tally::CommandResult }
    }

    fn cell(number: usize) -> CellKey {
        CellKey::parse(&format!("t/phone_ref/t/{number}")).unwrap()
    }

    fn mark(offset: u64, touches: u64, dirty: usize) -> Entry {
        let progress = Progress { offset, sequences: [0, touches, 0, 0], ..Progress::default() };
        Entry::Mark { progress, dirty: (0..dirty).map(cell).collect() }
    }

    fn filled(entries: &[Entry]) -> (Outbox, MemoryStore) {
        let (mut outbox, mut store, mut changes) = (Outbox::default(), MemoryStore::new(), Vec::new());
        for entry in entries {
            outbox.push(entry, Time(5), &mut changes);
        }
        store.write(changes).unwrap();
        (outbox, store)
    }

    #[test]
    fn a_publication_ends_at_a_mark_within_the_limits() {
        let (outbox, _) = filled(&[output(1), mark(1, 1, 0), output(2)]);
        assert_eq!(outbox.plan(), Some(Plan { first: 0, last: 1 }));
        let (outbox, _) = filled(&[mark(1, 0, PUBLISH_RECORDS_MAX), mark(2, 0, 1)]);
        assert_eq!(outbox.plan(), Some(Plan { first: 0, last: 0 }));
        let (outbox, _) = filled(&[mark(1, 0, PUBLISH_RECORDS_MAX + 1), mark(2, 0, 0)]);
        assert_eq!(outbox.plan(), Some(Plan { first: 0, last: 0 }), "one batch above the limit goes whole");
        assert_eq!(filled(&[output(1)]).0.plan(), None);
    }

    #[test]
    fn gaps_repeats_and_wrong_marks_are_refused() {
        let published = |touches| Published::whole(Marker { offset: 0, sequences: [0, touches, 0, 0] });
        let check = |entries: &[Entry], touches| {
            let (outbox, store) = filled(entries);
            outbox.read(&store, outbox.plan().unwrap(), &published(touches)).is_ok()
        };
        assert!(check(&[output(4), output(5), mark(9, 5, 0)], 3));
        assert!(!check(&[output(4), output(5), mark(9, 5, 0)], 2));
        assert!(check(&[output(4), output(5), mark(9, 5, 0)], 4), "4 lies in the log: a torn publication");
        assert!(check(&[output(4), mark(9, 4, 0)], 6), "more lies in the log than this mark covers");
        assert!(!check(&[output(4), output(6), mark(9, 6, 0)], 3));
        assert!(!check(&[output(4), mark(9, 5, 0)], 3));
    }

    #[test]
    fn what_is_published_is_dropped_on_opening() {
        let (_, store) = filled(&[output(1), mark(1, 1, 2), output(2), mark(2, 2, 1)]);
        let mut changes = Vec::new();
        let published = Published::whole(Marker { offset: 1, sequences: [0, 1, 0, 0] });
        let (mut outbox, dirty) = Outbox::load(&store, &published, Time(5), &mut changes).unwrap();
        assert_eq!((changes.len(), outbox.plan()), (2, Some(Plan { first: 2, last: 3 })));
        assert_eq!(dirty.before(2), [cell(0)], "the other one is published as it is");
        outbox.trim(Plan { first: 2, last: 3 }, &mut changes);
        assert_eq!((outbox.len(), outbox.has_content(), outbox.next()), (0, false, 4));
    }

    #[test]
    fn what_neither_log_nor_outbox_holds_is_seen() {
        let (outbox, store) = filled(&[output(4), mark(4, 4, 0), output(5), mark(5, 5, 0)]);
        let lacks = |tail| {
            let published = Published { marker: Marker::default(), tails: [0, tail, 0, 0] };
            outbox.lacks(&store, &published, [0, 5, 0, 0]).unwrap()
        };
        assert_eq!((lacks(5), lacks(4), lacks(3)), (None, None, None));
        assert_eq!(lacks(2), Some(Stream::Touches), "3 is nowhere");
    }
}
