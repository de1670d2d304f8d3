//! Log, stores and processor in this process, laid out as `touchline dev` lays them out.

use crate::{Outcome, workload};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use touchline_engine::{Pair, View, ViewError};
use touchline_log::{Log, NewRecord, SystemWall, Topic, Wall, wait};
use touchline_processor::{Handle, Options, Processor};
use touchline_rocks::{EmbeddedLog, Links, NewLog, RocksStore, RocksStores, SharedCache};
use touchline_store::Store;
use touchline_store::memory::MemoryStores;
use touchline_tests::Start;

/// Partitions of an embedded directory.
pub(crate) const PARTITIONS: u32 = 4;
/// As in `touchline dev`.
const CACHE_BYTES: usize = 256 << 20;
/// Records per append while a directory is only prepared.
const PREPARE_RECORDS: usize = 500;
/// No benchmark waits longer for the pipeline.
const REST_MAX: Duration = Duration::from_secs(120);

/// Which stores a pipeline has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stores {
    Rocks,
    Memory,
}

/// A running pipeline without listeners.
pub(crate) struct Pipeline {
    pub(crate) log: Arc<EmbeddedLog>,
    processor: Handle,
}

impl Pipeline {
    /// Opens `dir` and starts the processor; a playbook is put in force when the log is new.
    pub(crate) fn start(dir: &Path, stores: Stores, yaml: &str) -> Outcome<Self> {
        let log = Arc::new(open_log(dir)?);
        let stores: Arc<dyn touchline_store::Stores> = match stores {
            Stores::Rocks => Arc::new(RocksStores::new(dir.join("store"), None, Links::WherePossible, cache())),
            Stores::Memory => Arc::new(MemoryStores::new()),
        };
        let shared: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
        let processor = Processor::start_all(shared, stores, Arc::new(SystemWall), Options::default())?;
        let pipeline = Self { log, processor };
        if pipeline.log.end(Topic::Events, 0)? == 0 {
            let activation = workload::activation(yaml, SystemWall.now());
            wait(pipeline.log.append(Topic::Events, 0, vec![activation]))?;
        }
        pipeline.settle()?;
        Ok(pipeline)
    }

    /// Returns when everything is applied and published.
    pub(crate) fn settle(&self) -> Outcome<()> {
        let give_up_at = Instant::now() + REST_MAX;
        while !self.processor.is_at_rest(SystemWall.now())? {
            if Instant::now() > give_up_at {
                return Err("the pipeline did not come to rest".into());
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Appends in large batches, for what is prepared and not measured, and waits until it is applied.
    pub(crate) fn fill(&self, records: impl IntoIterator<Item = Outcome<(u32, NewRecord)>>) -> Outcome<()> {
        let mut waiting: Vec<Vec<NewRecord>> = vec![Vec::new(); PARTITIONS as usize];
        for record in records {
            let (partition, record) = record?;
            let batch = &mut waiting[partition as usize];
            batch.push(record);
            if batch.len() == PREPARE_RECORDS {
                wait(self.log.append(Topic::Events, partition, std::mem::take(batch)))?;
            }
        }
        for (partition, batch) in (0..).zip(waiting).filter(|(_, batch)| !batch.is_empty()) {
            wait(self.log.append(Topic::Events, partition, batch))?;
        }
        self.settle()
    }

    /// Flushes and ends; the log stays open for who holds it.
    pub(crate) fn stop(self) -> Arc<EmbeddedLog> {
        self.processor.stop();
        self.log
    }
}

/// Opens the log of a directory, or makes it.
pub(crate) fn open_log(dir: &Path) -> Outcome<EmbeddedLog> {
    let new = NewLog { partitions: PARTITIONS, cluster_id: "bench".to_owned() };
    Ok(EmbeddedLog::open(&dir.join("log"), new, Arc::new(SystemWall))?)
}

/// Opens the store of a partition, or makes it.
pub(crate) fn open_store(dir: &Path, partition: u32, cache: &SharedCache) -> Outcome<RocksStore> {
    let dir = dir.join("store").join(partition.to_string());
    std::fs::create_dir_all(&dir)?;
    Ok(RocksStore::open(&dir, cache)?)
}

/// The cache all stores of a process share.
pub(crate) fn cache() -> SharedCache {
    SharedCache::new(CACHE_BYTES)
}

/// A server that does not write between the figures.
pub(crate) fn quiet() -> Start {
    Start { environment: vec![("RUST_LOG".to_owned(), "off".to_owned())], ..Start::default() }
}

/// A fresh directory on the disk that is measured.
pub(crate) fn fresh(parent: &Path) -> Outcome<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("touchline-bench").tempdir_in(parent)?)
}

/// `count` records over `count / 8` contacts, with their partitions.
pub(crate) fn records(count: u64) -> impl Iterator<Item = Outcome<(u32, NewRecord)>> {
    let now = SystemWall.now();
    (0..count).map(move |number| workload::record(&workload::event(number, count / 8), PARTITIONS, now))
}

/// A store as the engine sees it.
pub(crate) struct StoreView<'a>(pub(crate) &'a dyn Store);

impl View for StoreView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        self.0.get(key).map_err(|error| ViewError(error.to_string()))
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Pair>, ViewError> {
        self.0.scan(from, until, limit).map_err(|error| ViewError(error.to_string()))
    }
}
