//! The judge: whether a log holds exactly what an uninterrupted run would have said.
//!
//! The events of every partition are replayed into an empty store (recorded loopback is read like any
//! other record, nothing is appended). Then the published topics are compared record by record,
//! `contacts` by its compacted view, and every acknowledged event id is looked for. What each partition
//! tells another in its replay has to be what the other accepted, in the same order. Of one identifier no event may
//! arrive at a cell behind a newer one.

mod forwards;

use self::forwards::Forwards;
use crate::batch;
use crate::cluster::read_all;
use crate::error::Error;
use crate::keys;
use crate::view::StoreView;
use crate::wire;
use std::collections::{BTreeMap, BTreeSet};
use touchline_engine::{Engine, Meta, Public, public_record};
use touchline_log::{Headers, Log, NewRecord, StoredRecord, Topic};
use touchline_model::id::{CellKey, EventId};
use touchline_model::output::{DeadReason, Stream};
use touchline_proto::{ContactRecord, decode_contact_record};
use touchline_store::memory::MemoryStore;
use touchline_store::{Change, Store};
use xxhash_rust::xxh3::Xxh3;

/// Differences told per report: the first ones are what one looks at.
const DIFFERENCES_MAX: usize = 20;
/// Records replayed at once, and pairs hashed at once.
const CHUNK: usize = 512;

/// What the judge found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Logical state hash of every partition, replayed into an empty store.
    pub state_hashes: Vec<u128>,
    /// Records of `events` replayed.
    pub records: u64,
    /// Events applied for the first time.
    pub events: u64,
    /// Outputs compared.
    pub outputs: u64,
    /// Contacts compared.
    pub contacts: u64,
    /// Merges carried out: contacts that became part of another.
    pub merges: u64,
    /// Loopback records that arrived behind a gap which was repaired by sending again. Embedded there are none; on Kafka
    /// a lane may lose an append.
    pub gaps_repaired: u64,
    /// The first differences, one sentence each; empty when the log is right.
    pub differences: Vec<String>,
}

impl Report {
    /// Whether the log is right.
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty()
    }

    fn differs(&mut self, sentence: String) {
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(sentence);
        }
    }
}

/// How often each event was applied in the partition of its native key: ids are deduped there, and a sender who uses
/// one id for two people has sent two events.
type Applied = BTreeMap<(EventId, u32), u64>;

/// Next offset that a store has to apply: below it everything is in its state. 0 for an empty store.
pub fn applied_offset(store: &dyn Store, partition: u32, partitions: u32) -> Result<u64, Error> {
    let meta = Meta::load(&StoreView(store), partition, partitions)?;
    Ok(meta.map_or(0, |meta| meta.offset))
}

/// Judges a log at rest: everything applied and published. `acknowledged` are ids whose append was confirmed.
pub fn judge(log: &dyn Log, acknowledged: &[EventId]) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut applied: Applied = BTreeMap::new();
    let mut loops = Loops::default();
    for partition in 0..log.partitions() {
        let replayed = replay(log, partition, &mut applied, &mut loops)?;
        report.records += replayed.engine.meta().offset;
        report.state_hashes.push(state_hash(&replayed.store)?);
        let published = log.published(partition)?;
        if published.offset != replayed.engine.meta().offset {
            let records = replayed.engine.meta().offset;
            report.differs(format!(
                "partition {partition}: published up to {}, events end at {records}",
                published.offset
            ));
        }
        for stream in Stream::ALL {
            compare_stream(log, partition, stream, &replayed.outputs[stream.index()], &mut report)?;
        }
        compare_contacts(log, partition, &replayed, &mut report)?;
    }
    loops.compare(&mut report);
    report.events = applied.len() as u64;
    for ((id, partition), count) in &applied {
        if *count != 1 {
            report.differs(format!("event {id} was applied {count} times in partition {partition}"));
        }
    }
    for id in acknowledged {
        if applied.range((*id, 0)..=(*id, u32::MAX)).next().is_none() {
            report.differs(format!("event {id} was acknowledged and is not applied"));
        }
    }
    Ok(report)
}

/// Hash of a store's logical state: everything but outbox, lanes, dirty and dedupe marks, and what
/// concerns only this store. Equal for a live store and for a replay up to the same offset.
pub fn state_hash(store: &dyn Store) -> Result<u128, Error> {
    let mut hasher = Xxh3::new();
    let mut from = Vec::new();
    loop {
        // No key begins with 0xff: all of them begin with a letter.
        let pairs = store.scan(&from, &[0xff], CHUNK)?;
        let Some((last, _)) = pairs.last() else { return Ok(hasher.digest128()) };
        from = [last.as_slice(), &[0]].concat();
        for (key, value) in &pairs {
            let residue = [keys::OUTBOX, keys::LANES, keys::LOCAL, touchline_engine::keys::DEDUPE];
            if residue.iter().any(|prefix| key.starts_with(prefix)) {
                continue;
            }
            for part in [key, value] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
    }
}

/// A partition replayed into an empty store.
struct Replayed {
    store: MemoryStore,
    engine: Engine,
    /// Offset after which the bundle in force did not change.
    bundle_since: u64,
    /// By stream index.
    outputs: [Vec<NewRecord>; 4],
    /// Cells whose public record ever changed.
    cells: BTreeSet<CellKey>,
}

/// Loopback of the whole log, as hashes, by source and destination.
#[derive(Default)]
struct Loops {
    sent: BTreeMap<(u32, u32), Vec<u128>>,
    accepted: BTreeMap<(u32, u32), Vec<u128>>,
    /// Loopback records behind a gap. On Kafka a lane may lose an append and repair it by sending again, so that a gap
    /// is only worth telling where what was accepted is not what was sent.
    gaps: Vec<String>,
    forwards: Forwards,
    /// Events that overtook others.
    overtaken: Vec<String>,
    /// Loopback records that no partition of ours sent.
    forgeries: Vec<String>,
}

impl Loops {
    fn compare(mut self, report: &mut Report) {
        report.merges = self.forwards.merges;
        let mut differences = std::mem::take(&mut self.forgeries);
        differences.append(&mut self.overtaken);
        let pairs: BTreeSet<_> = self.sent.keys().chain(self.accepted.keys()).copied().collect();
        for pair in pairs {
            let (sent, accepted) = (self.sent.remove(&pair), self.accepted.remove(&pair));
            let (sent, accepted) = (sent.unwrap_or_default(), accepted.unwrap_or_default());
            let (source, destination) = pair;
            if sent.len() != accepted.len() {
                let (sent, accepted) = (sent.len(), accepted.len());
                differences.push(format!("loopback {source} to {destination}: {accepted} accepted, {sent} sent"));
            }
            if let Some(at) = sent.iter().zip(&accepted).position(|(sent, accepted)| sent != accepted) {
                let number = at + 1;
                differences.push(format!("loopback {source} to {destination}: record {number} is not what was sent"));
            }
        }
        if differences.is_empty() {
            report.gaps_repaired = self.gaps.len() as u64;
            return;
        }
        self.gaps.into_iter().chain(differences).for_each(|difference| report.differs(difference));
    }
}

fn hash_of(key: Option<&[u8]>, headers: &Headers, value: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    let headers = headers.iter().flat_map(|(name, value)| [name.as_bytes(), value]);
    for part in [key.unwrap_or_default(), value].into_iter().chain(headers) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.digest128()
}

fn replay(log: &dyn Log, partition: u32, applied: &mut Applied, loops: &mut Loops) -> Result<Replayed, Error> {
    let mut store = MemoryStore::volatile();
    let mut engine = Engine::open(&StoreView(&store), partition, log.partitions())?;
    let (mut outputs, mut cells): ([Vec<_>; 4], _) = (Default::default(), BTreeSet::new());
    let (mut bundle, mut bundle_since) = (0, 0);
    loop {
        let records = log.read(Topic::Events, partition, engine.meta().offset, CHUNK)?;
        if records.is_empty() {
            break;
        }
        let batch = batch::apply(&mut engine, &store, &records)?;
        for (numbered, record) in batch.outputs {
            outputs[numbered.output.stream().index()].push(record);
        }
        cells.extend(batch.dirty);
        for (destination, _, record) in &batch.loops {
            let hash = hash_of(record.key.as_deref(), &record.headers, &record.value);
            loops.sent.entry((partition, *destination)).or_default().push(hash);
        }
        for (noted, stored) in batch.notes.iter().zip(&records) {
            if let Some(source) = noted.accepted_from {
                let hash = hash_of(stored.key.as_deref(), &stored.headers, &stored.value);
                loops.accepted.entry((source, partition)).or_default().push(hash);
                if let Err(overtaken) = loops.forwards.accept(stored) {
                    loops.overtaken.push(format!("events/{partition}: {overtaken}"));
                }
            }
            if let Some(reason) = noted.loop_alarm {
                let alarm = format!("events/{partition}: {} at {}", reason.name(), noted.offset);
                let kind = if reason == DeadReason::LoopbackGap { &mut loops.gaps } else { &mut loops.forgeries };
                kind.push(alarm);
            }
            if noted.bundle != bundle {
                (bundle, bundle_since) = (noted.bundle, noted.offset);
            }
            if let (Some((id, _, _)), false) = (noted.event, noted.notes.duplicate) {
                *applied.entry((id, partition)).or_default() += 1;
            }
        }
        let mut changes = batch.writes;
        changes.push(Change::Put(touchline_engine::keys::META.to_vec(), engine.meta().encode()));
        store.write(changes)?;
    }
    Ok(Replayed { store, engine, bundle_since, outputs, cells })
}

fn compare_stream(
    log: &dyn Log,
    partition: u32,
    stream: Stream,
    expected: &[NewRecord],
    report: &mut Report,
) -> Result<(), Error> {
    let name = stream.name();
    let found = read_all(log, Topic::from(stream), partition)?;
    report.outputs += found.len() as u64;
    if found.len() != expected.len() {
        let (found, expected) = (found.len(), expected.len());
        report.differs(format!("{name}/{partition}: {found} records, {expected} expected"));
    }
    for (sequence, (found, expected)) in (1_u64..).zip(found.iter().zip(expected)) {
        if !same(found, expected) {
            report.differs(format!("{name}/{partition}: record {sequence} is not what a replay says"));
            // A gap or a repeat shifts everything behind it.
            break;
        }
    }
    Ok(())
}

fn compare_contacts(log: &dyn Log, partition: u32, replayed: &Replayed, report: &mut Report) -> Result<(), Error> {
    let mut found = BTreeMap::new();
    for record in read_all(log, Topic::Contacts, partition)? {
        if wire::progress_in(&record).is_none() {
            found.insert(record.key.clone(), record);
        }
    }
    let mut expected = BTreeMap::new();
    for cell in &replayed.cells {
        let bundle = replayed.engine.bundle(&cell.tenant());
        if let Some(public) = public_record(&StoreView(&replayed.store), cell, partition, bundle)? {
            let record = wire::public_record(&public);
            expected.insert(record.key.clone(), (record, public));
        }
    }
    let is_contact = |public: &Public| matches!(public, Public::Contact(_));
    report.contacts += expected.values().filter(|(_, public)| is_contact(public)).count() as u64;
    for (key, (record, public)) in &expected {
        match found.get(key) {
            None => report.differs(format!("contacts/{partition}: {} is missing", shown(key.as_deref()))),
            Some(found) if same(found, record) => {}
            // Columns come from the bundle in force when the record was published, not from the contact.
            Some(found) if is_but_older(found, public, replayed.bundle_since) => {}
            Some(_) => report.differs(format!("contacts/{partition}: {} is not its last state", shown(key.as_deref()))),
        }
    }
    for key in found.keys().filter(|key| !expected.contains_key(*key)) {
        report.differs(format!("contacts/{partition}: {} is not known to a replay", shown(key.as_deref())));
    }
    Ok(())
}

fn same(found: &StoredRecord, expected: &NewRecord) -> bool {
    found.key == expected.key && found.headers == expected.headers && found.value == expected.value
}

/// Whether it is the contact as it was published before the bundle in force.
fn is_but_older(found: &StoredRecord, expected: &Public, bundle_since: u64) -> bool {
    let Public::Contact(expected) = expected else { return false };
    if expected.version.offset >= bundle_since {
        return false;
    }
    let Ok(ContactRecord::Contact(mut found)) = decode_contact_record(&found.value) else { return false };
    found.stages.clone_from(&expected.stages);
    found == *expected
}

/// Contact ids are hashes: nothing personal.
fn shown(key: Option<&[u8]>) -> String {
    String::from_utf8_lossy(key.unwrap_or_default()).into_owned()
}
