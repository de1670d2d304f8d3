//! Judgement of a log at rest, the same for every world: the processor's own judge, and the oracle.

use crate::oracle::{Expected, Line, Oracle};
use crate::workload::joined_shops;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use touchline_log::{Log, StoredRecord, Topic};
use touchline_model::id::EventId;
use touchline_model::output::{Output, Stream};
use touchline_model::record::Input;
use touchline_processor::check;
use touchline_proto as proto;
use touchline_store::memory::MemoryStore;
use touchline_store::{Change, Pair, Store};

/// Sentences that say what is wrong.
pub(crate) type Wrong = Vec<String>;

/// What a log at rest holds that is right.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) records: u64,
    pub(crate) outputs: u64,
    /// Touches that fell due.
    pub(crate) due: u64,
    /// Events forwarded from one cell to another.
    pub(crate) forwarded: u64,
}

/// Whether loopback may arrive with gaps that are repaired by sending again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gaps {
    Never,
    /// Where a log may lose the beginning of an append. That all of it arrived in the end is compared.
    Repaired,
}

/// Compares log and stores, by partition, with a replay and with the oracle.
pub(crate) fn judge(
    log: &dyn Log,
    gaps: Gaps,
    acknowledged: &[EventId],
    stores: &[(u32, SharedStore)],
) -> Result<Verdict, Wrong> {
    let partitions = log.partitions();
    let judged = check::judge(log, acknowledged).map_err(|error| vec![error.to_string()])?;
    let mut wrong = judged.differences;
    if gaps == Gaps::Never && judged.gaps_repaired > 0 {
        wrong.push(format!("{} loopback records arrived behind a gap", judged.gaps_repaired));
    }
    for (partition, store) in stores {
        let live = check::state_hash(store).map_err(|error| vec![error.to_string()])?;
        if live != judged.state_hashes[*partition as usize] {
            wrong.push(format!("partition {partition}: the state is not that of a replay"));
        }
    }
    let mut expected = Expected::default();
    for partition in 0..partitions {
        Oracle::read(&lines(log, partition), &mut expected);
    }
    compare_with(log, partitions, &expected, &mut wrong);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(Verdict {
        records: judged.records,
        outputs: judged.outputs,
        due: expected.touches.iter().filter(|touch| touch.1 == "due").count() as u64,
        forwarded: expected.forwarded.len() as u64,
    })
}

/// The published topics against what the oracle says.
fn compare_with(log: &dyn Log, partitions: u32, expected: &Expected, wrong: &mut Wrong) {
    let (mut touches, mut tag_changes) = (Vec::new(), Vec::new());
    for stream in [Stream::TagChanges, Stream::Touches] {
        for record in everything(log, partitions, Topic::from(stream)) {
            match proto::decode_output(stream, &record.value).map(|(numbered, _)| numbered.output) {
                Ok(Output::Touch(touch)) => {
                    touches.push((touch.id, touch.state.name(), touch.reason, touch.due_at));
                }
                Ok(Output::TagChange(change)) => {
                    tag_changes.push((change.contact, change.set, change.unset, change.at));
                }
                Ok(_) | Err(_) => wrong.push(format!("{} holds something else", stream.name())),
            }
        }
    }
    touches.sort();
    tag_changes.sort();
    differ("touch", &touches, &expected.touches, wrong);
    differ("tag change", &tag_changes, &expected.tag_changes, wrong);
    let (mut stages, mut numbers) = (BTreeMap::new(), BTreeMap::new());
    for record in everything(log, partitions, Topic::Contacts) {
        match proto::decode_contact_record(&record.value) {
            Ok(proto::ContactRecord::Contact(contact)) => {
                let column = contact.stages.first().map(|stage| stage.column.clone());
                stages.insert(contact.key.clone(), column);
            }
            Ok(proto::ContactRecord::Counted(counted)) => {
                numbers.insert(counted.key.clone(), counted);
            }
            _ => {}
        }
    }
    let mut counted = BTreeMap::new();
    for number in numbers.into_values() {
        *counted.entry((number.slot.executor, number.slot.period)).or_default() += number.count;
    }
    if counted != expected.counted {
        wrong.push(format!("counted {counted:?}, expected {:?}", expected.counted));
    }
    let stages: BTreeMap<_, _> = stages.into_iter().filter_map(|(key, column)| Some((key, column?))).collect();
    if stages != expected.stages {
        wrong.push(format!("stages are {stages:?}, expected {:?}", expected.stages));
    }
    compare_forwards(log, partitions, expected, wrong);
}

/// Every order under a joined shop id came to its customer, once; no other did.
fn compare_forwards(log: &dyn Log, partitions: u32, expected: &Expected, wrong: &mut Wrong) {
    let joined = joined_shops();
    let mut ids: BTreeMap<EventId, u64> = BTreeMap::new();
    for partition in 0..partitions {
        for line in lines(log, partition) {
            if let Input::Event(event) = line.input
                && joined.contains(&event.key())
            {
                ids.insert(event.id, 1);
            }
        }
    }
    if ids != expected.forwarded {
        wrong.push(format!("forwarded {:?}, expected {ids:?}", expected.forwarded));
    }
}

fn lines(log: &dyn Log, partition: u32) -> Vec<Line> {
    let records = log.read(Topic::Events, partition, 0, usize::MAX).unwrap_or_default();
    let line = |record: StoredRecord| {
        let input = proto::decode_input(&record.value).ok()?;
        Some(Line { append_time: record.append_time, input })
    };
    records.into_iter().filter_map(line).collect()
}

fn everything(log: &dyn Log, partitions: u32, topic: Topic) -> Vec<StoredRecord> {
    let of = |partition| log.read(topic, partition, 0, usize::MAX).unwrap_or_default();
    (0..partitions).flat_map(of).collect()
}

/// A store that the world can look into and crash while a partition owns it.
#[derive(Clone)]
pub(crate) struct SharedStore(Arc<Mutex<MemoryStore>>);

impl SharedStore {
    pub(crate) fn new(store: MemoryStore) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    pub(crate) fn persist(&self, batches: usize) {
        lock(&self.0).persist(batches);
    }
}

impl Store for SharedStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, touchline_store::Error> {
        lock(&self.0).get(key)
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Pair>, touchline_store::Error> {
        lock(&self.0).scan(from, until, limit)
    }

    fn write(&mut self, batch: Vec<Change>) -> Result<(), touchline_store::Error> {
        lock(&self.0).write(batch)
    }

    fn flush(&mut self) -> Result<(), touchline_store::Error> {
        lock(&self.0).flush()
    }
}

/// The first thing that is in one sorted list and not in the other.
fn differ<T: PartialEq + Ord + fmt::Debug>(what: &str, found: &[T], expected: &[T], wrong: &mut Wrong) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).take_while(|(one, other)| one == other).count();
    let (found, expected) = (found.get(at), expected.get(at));
    wrong.push(format!("{what} {at} is {found:?}, expected {expected:?}"));
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
