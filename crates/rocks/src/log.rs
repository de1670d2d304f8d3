//! The embedded log.

use crate::Error;
use crate::codec::{self, Head, Identity, VERSION};
use crate::committer::{Answer, Heads, Request, Shared};
use futures::channel::oneshot;
use rocksdb::{BlockBasedOptions, DB, DBCompressionType, DBRecoveryMode, Options, ReadOptions, WriteOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use touchline_log::{
    Ack, Appended, Error as LogError, Log, Marker, NewRecord, Publication, Published, Publisher, READ_BYTES_MAX,
    RECORD_BYTES_MAX, Signal, StoredRecord, TakenOver, Topic, Wall,
};

/// Memory that takes records before they go to a table file, and so about the length of the write-ahead log.
const WRITE_BUFFER_BYTES: usize = 64 << 20;
/// Reads that go far back ask the disk for this much at once.
const READAHEAD_BYTES: usize = 1 << 20;
/// From this many records on a read counts as going far back.
const READAHEAD_RECORDS_MIN: u64 = 512;
/// Partition numbers take two bytes in keys.
const PARTITIONS_MAX: u32 = 1 << 16;

/// A durable log in one directory, open in one process at a time. Share it in an [`Arc`].
///
/// * Append time = max(last of the topic and partition, wall).
/// * After a failed write every call fails and [`EmbeddedLog::failed`] says why: the process has to
///   end, and the next start reads what really became durable.
/// * Dropping it writes what is queued and closes the directory.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    identity: Identity,
    dir: PathBuf,
    wall: Arc<dyn Wall>,
    committer: Option<JoinHandle<()>>,
}

/// What a directory becomes when it is new. An existing one must have the same partitions and keeps its cluster id.
#[derive(Debug, Clone)]
pub struct NewLog {
    /// Partitions of every topic, 1 to 65 536; fixed for the directory's life.
    pub partitions: u32,
    /// Any text that no other log has, for instance a random UUID.
    pub cluster_id: String,
}

impl EmbeddedLog {
    /// Opens `dir`, or makes it. All records found are durable and readable afterwards.
    pub fn open(dir: &Path, new: NewLog, wall: Arc<dyn Wall>) -> Result<Self, Error> {
        if !(1..=PARTITIONS_MAX).contains(&new.partitions) {
            return Err(Error::PartitionCount { asked: new.partitions, max: PARTITIONS_MAX });
        }
        let db = DB::open(&options(), dir).map_err(|error| Error::opening(dir, &error))?;
        let identity = load_identity(&db, dir, new)?;
        let (heads, markers) = load_positions(&db, identity.partitions)
            .map_err(|error| Error::Damaged { dir: dir.to_owned(), reason: error.to_string() })?;
        let shared = Arc::new(Shared::new(db, &heads, markers));
        let committer = thread::Builder::new()
            .name("log-committer".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run(heads)
            })
            .map_err(|error| Error::Io { dir: dir.to_owned(), reason: error.to_string() })?;
        Ok(Self { shared, identity, dir: dir.to_owned(), wall, committer: Some(committer) })
    }

    /// Why nothing can be written any more; the signal moves when that happens. The process has to end then.
    pub fn failed(&self) -> Option<LogError> {
        self.shared.failure().cloned()
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Batches that became durable since opening, one fsync each.
    pub fn commits(&self) -> u64 {
        self.shared.commits()
    }

    /// The partition as in keys, when the log has it and did not fail.
    fn check(&self, partition: u32) -> Result<u16, LogError> {
        if let Some(error) = self.shared.failure() {
            return Err(error.clone());
        }
        let partitions = self.identity.partitions;
        match u16::try_from(partition) {
            Ok(checked) if partition < partitions => Ok(checked),
            _ => Err(LogError::NoPartition { partition, partitions }),
        }
    }

    fn append_as(
        &self,
        topic: Topic,
        partition: u32,
        records: Vec<NewRecord>,
        answer: fn(oneshot::Sender<Result<Appended, LogError>>) -> Answer,
    ) -> Ack<Appended> {
        let (sender, ack) = oneshot::channel();
        let records: Vec<_> = records.into_iter().map(|record| (topic, record)).collect();
        let not_empty = if records.is_empty() { Err(LogError::Empty) } else { Ok(()) };
        match self.check(partition).and_then(|partition| not_empty.and(check_sizes(&records)).map(|()| partition)) {
            Ok(partition) => self.shared.submit(request(partition, &records, answer(sender)), || self.wall.now()),
            Err(error) => drop(sender.send(Err(error))),
        }
        ack
    }
}

/// Publishes until somebody else takes the partition over.
struct EmbeddedPublisher {
    shared: Arc<Shared>,
    wall: Arc<dyn Wall>,
    partition: u16,
    epoch: u64,
    refused: bool,
}

impl Publisher for EmbeddedPublisher {
    fn publish(&mut self, publication: Publication) -> Ack<()> {
        let (sender, ack) = oneshot::channel();
        let Publication { records, marker } = publication;
        let fit = if self.refused { Err(LogError::Closed) } else { check_sizes(&records) };
        match fit {
            Ok(()) => {
                let request = request(self.partition, &records, Answer::Publish(marker, sender));
                self.shared.publish(self.epoch, request, || self.wall.now());
            }
            Err(error) => {
                self.refused = true;
                // Nobody has to wait for an answer.
                let _ = sender.send(Err(error));
            }
        }
        ack
    }
}

fn request(partition: u16, records: &[(Topic, NewRecord)], answer: Answer) -> Request {
    let records = records.iter().map(|(topic, record)| (*topic, codec::encode_record(record))).collect();
    Request { partition, records, answer }
}

impl Log for EmbeddedLog {
    fn partitions(&self) -> u32 {
        self.identity.partitions
    }

    fn cluster_id(&self) -> String {
        self.identity.cluster_id.clone()
    }

    fn append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        self.append_as(topic, partition, records, Answer::Append)
    }

    fn append_own(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        self.append_as(topic, partition, records, Answer::Own)
    }

    fn read(
        &self,
        topic: Topic,
        partition: u32,
        offset: u64,
        records_max: usize,
    ) -> Result<Vec<StoredRecord>, LogError> {
        let partition = self.check(partition)?;
        let end = self.shared.end(topic, partition).min(offset.saturating_add(records_max as u64));
        if offset >= end {
            return Ok(Vec::new());
        }
        read_range(&self.shared.db, topic, partition, offset..end)
    }

    fn end(&self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        Ok(self.shared.end(topic, self.check(partition)?))
    }

    fn take_over(&self, partition: u32) -> Ack<TakenOver> {
        let (sender, ack) = oneshot::channel();
        let partition = match self.check(partition) {
            Ok(partition) => partition,
            Err(error) => {
                drop(sender.send(Err(error)));
                return ack;
            }
        };
        let (shared, wall) = (Arc::clone(&self.shared), Arc::clone(&self.wall));
        self.shared.take_over(partition, move |epoch, marker| {
            let taken = marker.map(|marker| {
                let publisher = EmbeddedPublisher { shared, wall, partition, epoch, refused: false };
                TakenOver { publisher: Box::new(publisher), published: Published::whole(marker) }
            });
            // Whoever asked may be gone.
            let _ = sender.send(taken);
        });
        ack
    }

    fn published(&self, partition: u32) -> Result<Marker, LogError> {
        Ok(self.shared.marker(self.check(partition)?))
    }

    fn signal(&self) -> &Signal {
        &self.shared.signal
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(committer) = self.committer.take() {
            // A panic of the committer has failed the log already; dropping has nobody to tell.
            let _ = committer.join();
        }
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    // The default, point in time, silently drops acknowledged records behind a damaged one. This mode forgives
    // only a torn record at the very end, which nobody was told about.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // A write-ahead log file that is missing or too short is an error instead of fewer records.
    options.set_track_and_verify_wals_in_manifest(true);
    // Recovery must go on writing what it found to table files and fsync them (the default,
    // avoid_flush_during_recovery = false): only so everything readable after opening is durable.
    options.set_paranoid_checks(true);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(4);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options.set_level_compaction_dynamic_level_bytes(true);
    let mut table = BlockBasedOptions::default();
    table.set_format_version(6);
    // Records are read in sequence: large blocks compress better and cost nothing.
    table.set_block_size(32 << 10);
    options.set_block_based_table_factory(&table);
    options
}

/// Checks who the directory is, or says it when it is new.
fn load_identity(db: &DB, dir: &Path, new: NewLog) -> Result<Identity, Error> {
    let damaged = |reason: &str| Error::Damaged { dir: dir.to_owned(), reason: reason.to_owned() };
    let stored = db.get(codec::IDENTITY_KEY).map_err(|error| Error::opening(dir, &error))?;
    let Some(stored) = stored else {
        if db.iterator(rocksdb::IteratorMode::Start).next().is_some() {
            return Err(damaged("it holds records and no identity"));
        }
        let identity = Identity { version: VERSION, partitions: new.partitions, cluster_id: new.cluster_id };
        let mut durable = WriteOptions::new();
        durable.set_sync(true);
        // Into a table file at once: the identity must outlive the first write-ahead log file.
        db.put_opt(codec::IDENTITY_KEY, codec::encode_identity(&identity), &durable)
            .and_then(|()| db.flush())
            .map_err(|error| Error::opening(dir, &error))?;
        return Ok(identity);
    };
    let identity = codec::decode_identity(&stored).ok_or_else(|| damaged("its identity cannot be read"))?;
    if identity.version != VERSION {
        return Err(Error::Version { dir: dir.to_owned(), stored: identity.version, known: VERSION });
    }
    if identity.partitions != new.partitions {
        let (stored, asked) = (identity.partitions, new.partitions);
        return Err(Error::Partitions { dir: dir.to_owned(), stored, asked });
    }
    Ok(identity)
}

/// Heads and markers as stored; that the records end where the heads say is checked.
fn load_positions(db: &DB, partitions: u32) -> Result<(Heads, Vec<Marker>), LogError> {
    let mut heads = Heads::new();
    let mut markers = Vec::new();
    for partition in 0..partitions {
        let partition = u16::try_from(partition).expect("at most PARTITIONS_MAX partitions");
        let mut row = [Head::default(); Topic::ALL.len()];
        for topic in Topic::ALL {
            if let Some(bytes) = get(db, &codec::head_key(topic, partition))? {
                let head = codec::decode_head(&bytes).ok_or_else(|| damaged(topic, partition, "its head"))?;
                row[topic as usize] = head;
            }
            check_head(db, topic, partition, row[topic as usize].next)?;
        }
        heads.push(row);
        let marker = match get(db, &codec::marker_key(partition))? {
            Some(bytes) => {
                codec::decode_marker(&bytes).ok_or_else(|| LogError::Damaged(format!("marker of {partition}")))?
            }
            None => Marker::default(),
        };
        markers.push(marker);
    }
    Ok((heads, markers))
}

/// The last record is there and none follows it.
fn check_head(db: &DB, topic: Topic, partition: u16, next: u64) -> Result<(), LogError> {
    if next > 0 && get(db, &codec::record_key(topic, partition, next - 1))?.is_none() {
        return Err(damaged(topic, partition, &format!("record {} is missing", next - 1)));
    }
    let mut bounds = ReadOptions::default();
    bounds.set_iterate_upper_bound(codec::record_key(topic, partition, u64::MAX));
    let mut iterator = db.raw_iterator_opt(bounds);
    iterator.seek(codec::record_key(topic, partition, next));
    iterator.status().map_err(failed_read)?;
    if iterator.valid() {
        return Err(damaged(topic, partition, &format!("a record lies at or past its end {next}")));
    }
    Ok(())
}

/// The records of a range that is durable; fewer when [`READ_BYTES_MAX`] is reached.
fn read_range(
    db: &DB,
    topic: Topic,
    partition: u16,
    range: std::ops::Range<u64>,
) -> Result<Vec<StoredRecord>, LogError> {
    let mut bounds = ReadOptions::default();
    bounds.set_iterate_upper_bound(codec::record_key(topic, partition, range.end));
    if range.end - range.start >= READAHEAD_RECORDS_MIN {
        bounds.set_readahead_size(READAHEAD_BYTES);
        bounds.fill_cache(false);
    }
    let mut iterator = db.raw_iterator_opt(bounds);
    iterator.seek(codec::record_key(topic, partition, range.start));
    let mut found = Vec::new();
    let mut bytes = 0;
    for offset in range {
        if bytes >= READ_BYTES_MAX {
            break;
        }
        let Some((key, value)) = iterator.item() else {
            iterator.status().map_err(failed_read)?;
            return Err(damaged(topic, partition, &format!("record {offset} is missing")));
        };
        if key != codec::record_key(topic, partition, offset) {
            return Err(damaged(topic, partition, &format!("record {offset} is missing")));
        }
        let record = codec::decode_record(offset, value)
            .ok_or_else(|| damaged(topic, partition, &format!("record {offset} cannot be read")))?;
        bytes += record.bytes();
        found.push(record);
        iterator.next();
    }
    Ok(found)
}

fn get(db: &DB, key: &[u8]) -> Result<Option<Vec<u8>>, LogError> {
    db.get(key).map_err(failed_read)
}

fn failed_read(error: rocksdb::Error) -> LogError {
    match error.kind() {
        rocksdb::ErrorKind::Corruption => LogError::Damaged(error.to_string()),
        _ => LogError::Io(error.to_string()),
    }
}

fn damaged(topic: Topic, partition: u16, what: &str) -> LogError {
    LogError::Damaged(format!("{} partition {partition}: {what}", topic.name()))
}

fn check_sizes(records: &[(Topic, NewRecord)]) -> Result<(), LogError> {
    match records.iter().map(|(_, record)| record.bytes()).find(|&bytes| bytes > RECORD_BYTES_MAX) {
        Some(bytes) => Err(LogError::TooLarge { bytes }),
        None => Ok(()),
    }
}
