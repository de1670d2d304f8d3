//! How fast a lost state comes back: a partition over its log and an empty store, nothing published again.

use crate::embedded::{self, PARTITIONS, Pipeline, StoreView, Stores};
use crate::report::Report;
use crate::{Options, Outcome, workload};
use std::sync::Arc;
use std::time::{Duration, Instant};
use touchline_engine::{Engine, Overlay};
use touchline_log::{Log, StoredRecord, SystemWall, Topic, wait};
use touchline_model::record::Record;
use touchline_processor::{Options as ProcessorOptions, Partition};
use touchline_rocks::EmbeddedLog;
use touchline_store::memory::MemoryStore;
use touchline_store::{Change, Store};

/// Events in the log.
const EVENTS: u64 = 100_000;
/// Records applied per store write, as the processor does.
const BATCH: usize = 512;

/// Measures on one thread, one partition after the other: the figures are per core.
pub(crate) fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let events = options.events.unwrap_or(EVENTS);
    let dir = embedded::fresh(&options.dir)?;
    let pipeline = Pipeline::start(dir.path(), Stores::Memory, &workload::playbook()?)?;
    pipeline.fill(embedded::records(events))?;
    let log = pipeline.stop();
    let ends = (0..PARTITIONS).map(|partition| log.end(Topic::Events, partition)).collect::<Result<Vec<_>, _>>()?;
    let records = ends.iter().sum::<u64>() as f64;
    let outputs = outputs(&log)? as f64;
    report.fact("data", format!("{events} events, {records} records with what partitions tell each other"));
    report.fact("outputs", format!("{outputs} records that were published"));
    for _ in 0..options.runs {
        for stores in [Stores::Rocks, Stores::Memory] {
            let took = partitions(options, &log, &ends, stores)?;
            let name = format!("partition over {stores:?}Store").to_lowercase();
            report.add(&name, "records/s per core", records / took.as_secs_f64());
        }
        let (read, decoded, applied) = engine_alone(&log)?;
        report.add("reading the log alone", "records/s per core", records / read.as_secs_f64());
        report.add("decoding alone", "records/s per core", records / decoded.as_secs_f64());
        report.add("engine alone over a map", "records/s per core", records / applied.as_secs_f64());
    }
    Ok(())
}

/// What the processor does after its store was lost, up to the end of the log.
fn partitions(options: &Options, log: &Arc<EmbeddedLog>, ends: &[u64], stores: Stores) -> Outcome<Duration> {
    let dir = embedded::fresh(&options.dir)?;
    let (cache, mut took) = (embedded::cache(), Duration::ZERO);
    for (id, &end) in (0..).zip(ends) {
        let store: Box<dyn Store> = match stores {
            Stores::Rocks => Box::new(embedded::open_store(dir.path(), id, &cache)?),
            Stores::Memory => Box::new(MemoryStore::volatile()),
        };
        let shared: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
        let started = Instant::now();
        let taken = wait(shared.take_over(id))?;
        let options = ProcessorOptions::default();
        let mut partition = Partition::open(id, shared, taken, store, Arc::new(SystemWall), options)?;
        while partition.meta().offset < end {
            partition.step()?;
        }
        took += started.elapsed();
    }
    Ok(took)
}

/// The steps one by one: reading, decoding, and the engine over a map in memory with its writes.
fn engine_alone(log: &EmbeddedLog) -> Outcome<(Duration, Duration, Duration)> {
    let (mut read, mut decoded, mut applied) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for partition in 0..PARTITIONS {
        let started = Instant::now();
        let stored = read_all(log, Topic::Events, partition)?;
        read += started.elapsed();
        let started = Instant::now();
        let records: Vec<Record> = stored.iter().map(decode).collect();
        decoded += started.elapsed();
        let mut store = MemoryStore::volatile();
        let started = Instant::now();
        let mut engine = Engine::open(&StoreView(&store), partition, PARTITIONS)?;
        for batch in records.chunks(BATCH) {
            let view = StoreView(&store);
            let mut overlay = Overlay::new(&view);
            for record in batch {
                std::hint::black_box(engine.apply(&mut overlay, record)?);
            }
            let change = |(key, value): (Vec<u8>, Option<Vec<u8>>)| match value {
                Some(value) => Change::Put(key, value),
                None => Change::Delete(key),
            };
            let changes = overlay.into_writes().map(change).collect();
            store.write(changes)?;
        }
        applied += started.elapsed();
    }
    Ok((read, decoded, applied))
}

fn decode(stored: &StoredRecord) -> Record {
    let key = stored.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned());
    let input = touchline_proto::decode_input(&stored.value);
    Record { offset: stored.offset, append_time: stored.append_time, key, input }
}

fn read_all(log: &dyn Log, topic: Topic, partition: u32) -> Outcome<Vec<StoredRecord>> {
    let mut all: Vec<StoredRecord> = Vec::new();
    loop {
        let next = all.last().map_or(0, |record| record.offset + 1);
        let more = log.read(topic, partition, next, BATCH)?;
        if more.is_empty() {
            return Ok(all);
        }
        all.extend(more);
    }
}

fn outputs(log: &EmbeddedLog) -> Outcome<u64> {
    let mut outputs = 0;
    for partition in 0..PARTITIONS {
        outputs += log.published(partition)?.sequences.iter().sum::<u64>();
    }
    Ok(outputs)
}
