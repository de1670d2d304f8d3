//! The store of one partition: a cache of the log, so there is no write-ahead log.

use crate::Error;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, CompactOptions, DB, DBCompressionType, DataBlockIndexType,
    FlushOptions, Options, ReadOptions, WriteBatch, WriteBufferManager, WriteOptions,
};
use std::path::Path;
use touchline_store::{Change, Error as StoreError, Pair, Store};

/// Write buffer of one store; the shared bound usually comes first.
const WRITE_BUFFER_BYTES: usize = 32 << 20;
/// Small values of one kind look alike: a dictionary compresses them 2 to 4 times better.
const DICTIONARY_BYTES: i32 = 16 << 10;
/// zstd's own default level, RocksDB's name for which is this number.
const DEFAULT_COMPRESSION_LEVEL: i32 = 32_767;

/// Block cache and write buffers of all stores of a process, under one bound. Cheap to clone.
#[derive(Clone)]
pub struct SharedCache {
    blocks: Cache,
    write_buffers: WriteBufferManager,
}

impl SharedCache {
    /// At most `bytes` for blocks and write buffers together, of which at most half for write buffers.
    pub fn new(bytes: usize) -> Self {
        let blocks = Cache::new_hyper_clock_cache(bytes, 0);
        // No stall: flushing early is enough, and a stalled partition would hold up the others.
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(bytes / 2, false, blocks.clone());
        Self { blocks, write_buffers }
    }
}

/// An ordered map in one directory. What was not flushed is lost with the process, whole batches from the end.
pub struct RocksStore {
    db: DB,
}

impl RocksStore {
    /// Opens `dir`, or makes it.
    pub fn open(dir: &Path, shared: &SharedCache) -> Result<Self, Error> {
        Self::open_as_is(dir, shared).map_err(|error| match Error::opening(dir, &error) {
            Error::Damaged { dir, reason } | Error::Io { dir, reason } => Error::Store { dir, reason },
            other => other,
        })
    }

    /// As [`RocksStore::open`], with what RocksDB says.
    pub(crate) fn open_as_is(dir: &Path, shared: &SharedCache) -> Result<Self, rocksdb::Error> {
        Ok(Self { db: DB::open(&options(shared), dir)? })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        self.db.path()
    }

    /// Flushes, and links the files of the store as of now in the new directory `into` on its file system.
    pub(crate) fn freeze(&self, into: &Path) -> Result<(), StoreError> {
        // Flushing is the default, and needed: there is no write-ahead log to copy.
        Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(into)).map_err(failed)
    }

    /// About how much it holds, on disk and in memory, in bytes.
    pub fn approximate_bytes(&self) -> u64 {
        let property = |name: &str| self.db.property_int_value(name).ok().flatten().unwrap_or(0);
        property("rocksdb.total-sst-files-size") + property("rocksdb.cur-size-all-mem-tables")
    }

    /// Flushes and rewrites everything in its final form, as time alone would do: for measuring.
    pub fn compact(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(failed)?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        Ok(())
    }
}

impl Store for RocksStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get(key).map_err(failed)
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        if from >= until || limit == 0 {
            return Ok(Vec::new());
        }
        let mut bounds = ReadOptions::default();
        bounds.set_iterate_upper_bound(until);
        let mut iterator = self.db.raw_iterator_opt(bounds);
        iterator.seek(from);
        let mut found = Vec::new();
        while let Some((key, value)) = iterator.item() {
            found.push((key.to_vec(), value.to_vec()));
            if found.len() == limit {
                return Ok(found);
            }
            iterator.next();
        }
        iterator.status().map_err(failed)?;
        Ok(found)
    }

    fn write(&mut self, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for change in changes {
            match change {
                Change::Put(key, value) => batch.put(key, value),
                Change::Delete(key) => batch.delete(key),
                Change::DeleteRange(from, until) if from < until => batch.delete_range(from, until),
                // RocksDB calls an inverted range an error, the contract calls it empty.
                Change::DeleteRange(..) => {}
            }
        }
        let mut cached = WriteOptions::new();
        cached.disable_wal(true);
        self.db.write_opt(batch, &cached).map_err(failed)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let mut options = FlushOptions::new();
        options.set_wait(true);
        self.db.flush_opt(&options).map_err(failed)
    }
}

fn options(shared: &SharedCache) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    // One column family: without a write-ahead log several would not flush as one.
    options.set_write_buffer_manager(&shared.write_buffers);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(4);
    options.set_max_background_jobs(2);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options.set_bottommost_compression_options(-14, DEFAULT_COMPRESSION_LEVEL, 0, DICTIONARY_BYTES, true);
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(0.1);
    // Timers and outbox entries are deleted soon after they are written: do not let their tombstones pile up.
    options.add_compact_on_deletion_collector_factory(1000, 100, 0.25);
    options.set_paranoid_checks(true);
    options.set_avoid_unnecessary_blocking_io(true);
    options.set_skip_stats_update_on_db_open(true);
    options.set_max_open_files(-1);
    options.set_keep_log_file_num(4);
    let mut table = BlockBasedOptions::default();
    table.set_format_version(6);
    table.set_block_size(16 << 10);
    table.set_block_cache(&shared.blocks);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(10.0, false);
    table.set_optimize_filters_for_memory(true);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    options.set_block_based_table_factory(&table);
    options
}

fn failed(error: rocksdb::Error) -> StoreError {
    match error.kind() {
        rocksdb::ErrorKind::Corruption => StoreError::Damaged(error.to_string()),
        _ => StoreError::Io(error.to_string()),
    }
}
