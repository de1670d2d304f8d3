//! What the embedded log can do against what the disk can do, in one run on one disk.

use crate::{EmbeddedLog, NewLog};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use touchline_log::{Log, NewRecord, SystemWall, Topic, wait};

/// Partitions of the log that is measured: the embedded default.
const PARTITIONS: u32 = 4;
/// About an event: a cell key, CloudEvents headers and a protobuf value.
const VALUE_BYTES: usize = 400;

/// Figures of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Threads that append one record at a time and wait until it is durable.
    pub clients: usize,
    /// Key, headers and value of a record, in bytes.
    pub record_bytes: usize,
    /// Durable appends per second through the log.
    pub events_per_second: f64,
    /// Records per fsync on average.
    pub records_per_commit: f64,
    /// The same bytes, one write and one fdatasync per record, one after the other.
    pub plain_per_second: f64,
    /// The same bytes, one write and one fdatasync per as many records as the log had per fsync.
    pub plain_grouped_per_second: f64,
    /// Records read back per second by one reader.
    pub read_per_second: f64,
}

/// Measures in new directories below `dir`, about `seconds` for each of three parts.
///
/// # Errors
/// Whatever the log or the file system says.
pub fn append_vs_fsync(dir: &Path, clients: usize, seconds: u64) -> io::Result<Report> {
    let limit = Duration::from_secs(seconds);
    let new = NewLog { partitions: PARTITIONS, cluster_id: "bench".to_owned() };
    let log = EmbeddedLog::open(&dir.join("log"), new, Arc::new(SystemWall)).map_err(io::Error::other)?;
    let started = Instant::now();
    let events = append_from_many(&log, clients, limit)?;
    let events_per_second = events as f64 / started.elapsed().as_secs_f64();
    let records_per_commit = events as f64 / log.commits() as f64;
    let read_per_second = read_back(&log, events)?;
    let record_bytes = record(0).bytes();
    let plain_per_second = write_and_sync(&dir.join("plain"), record_bytes, limit)?;
    let group = records_per_commit.round().max(1.0) as usize;
    let groups_per_second = write_and_sync(&dir.join("grouped"), record_bytes * group, limit)?;
    Ok(Report {
        clients,
        record_bytes,
        events_per_second,
        records_per_commit,
        plain_per_second,
        plain_grouped_per_second: groups_per_second * group as f64,
        read_per_second,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clients, record_bytes, events_per_second, records_per_commit, .. } = self;
        writeln!(f, "{clients} clients, {record_bytes} bytes per record, durable acknowledgements")?;
        writeln!(f, "log              {events_per_second:>9.0} events/s  {records_per_commit:.1} per fsync")?;
        let (plain, grouped) = (self.plain_per_second, self.plain_grouped_per_second);
        writeln!(
            f,
            "write+fdatasync  {plain:>9.0} events/s  the log does {:.2} times that",
            events_per_second / plain
        )?;
        writeln!(f, "  same groups    {grouped:>9.0} events/s  {:.2} times", events_per_second / grouped)?;
        write!(f, "read back        {:>9.0} events/s", self.read_per_second)
    }
}

fn append_from_many(log: &EmbeddedLog, clients: usize, limit: Duration) -> io::Result<u64> {
    let events = AtomicU64::new(0);
    let started = Instant::now();
    let work = |client: usize| {
        while started.elapsed() < limit {
            let number = events.fetch_add(1, Ordering::Relaxed);
            let partition = client as u32 % PARTITIONS;
            wait(log.append(Topic::Events, partition, vec![record(number)])).map_err(io::Error::other)?;
        }
        Ok::<(), io::Error>(())
    };
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..clients).map(|client| scope.spawn(move || work(client))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("clients return their errors"))
    })?;
    Ok(events.into_inner())
}

fn read_back(log: &EmbeddedLog, events: u64) -> io::Result<f64> {
    let started = Instant::now();
    for partition in 0..PARTITIONS {
        let mut next = 0;
        loop {
            let found = log.read(Topic::Events, partition, next, usize::MAX).map_err(io::Error::other)?;
            let Some(last) = found.last() else { break };
            next = last.offset + 1;
        }
    }
    Ok(events as f64 / started.elapsed().as_secs_f64())
}

/// Writes and syncs so many bytes again and again; how often per second.
fn write_and_sync(path: &Path, bytes: usize, limit: Duration) -> io::Result<f64> {
    let bytes = vec![7; bytes];
    let mut file = File::create(path)?;
    let started = Instant::now();
    let mut count = 0_u64;
    while started.elapsed() < limit {
        file.write_all(&bytes)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

fn record(number: u64) -> NewRecord {
    let mut value: Vec<u8> = number.to_be_bytes().to_vec();
    value.resize(VALUE_BYTES, b'v');
    NewRecord {
        key: Some(format!("acme/wecom_external_userid/wwcorp/wm{:08}", number % 100_000).into_bytes()),
        headers: touchline_log::Headers::from([
            ("ce_specversion", "1.0"),
            ("ce_id", "0123456789abcdef0123456789abcdef"),
            ("ce_source", "/wecom/wwcorp"),
            ("ce_type", "touchline.v1.message.received"),
            ("ce_time", "2026-03-02T10:00:00.250+08:00"),
        ]),
        value,
    }
}
