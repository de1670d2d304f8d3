//! `touchline verify`: is what a server has published and keeps exactly what its log says?

use crate::client::{Server, print_json, print_line};
use anyhow::{Context, bail};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use touchline_log::{Log, SystemWall, Topic};
use touchline_processor::check::{applied_offset, judge, state_hash};
use touchline_rocks::{EmbeddedLog, NewLog, RocksStore, SharedCache};

/// Block cache while verifying: the log is read once, from front to back.
const CACHE_BYTES: usize = 64 << 20;

/// Replays a stopped server's log into empty stores and compares record by record.
///
/// Checks that every output was published exactly once with dense sequences, that `contacts` holds what the log
/// says, that every event was applied once, and that the stores hold an equal state. Nothing is changed.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Data directory of a server that has been stopped
    #[arg(long, default_value = crate::dev::DATA_DIR)]
    data_dir: PathBuf,
}

pub(crate) fn run(server: &Server, options: &Options) -> anyhow::Result<()> {
    let dir = options.data_dir.join("log");
    if !dir.join("CURRENT").exists() {
        bail!("{} holds no log\nhint: name a server's data directory with --data-dir", options.data_dir.display());
    }
    let new = NewLog { partitions: 1, cluster_id: String::new() };
    let log = match EmbeddedLog::open(&dir, new.clone(), Arc::new(SystemWall)) {
        // How many partitions an existing log has, only the log knows.
        Err(touchline_rocks::Error::Partitions { stored, .. }) => {
            EmbeddedLog::open(&dir, NewLog { partitions: stored, ..new }, Arc::new(SystemWall))
        }
        opened => opened,
    };
    let log = log.context("opening the log (is the server stopped?)")?;
    for partition in 0..log.partitions() {
        let (published, end) = (log.published(partition)?.offset, log.end(Topic::Events, partition)?);
        if published < end {
            bail!(
                "partition {partition} has {} records that are not published yet\n\
                 hint: that is how a killed server leaves its directory; start it, stop it, then verify",
                end - published
            );
        }
    }
    let mut report = judge(&log, &[])?;
    let cache = SharedCache::new(CACHE_BYTES);
    let (mut hashes, mut behind) = (Vec::new(), Vec::new());
    for (partition, replayed) in (0..log.partitions()).zip(report.state_hashes.clone()) {
        let store = RocksStore::open(&options.data_dir.join("store").join(partition.to_string()), &cache)?;
        let (applied, end) = (applied_offset(&store, partition, log.partitions())?, log.end(Topic::Events, partition)?);
        let kept = state_hash(&store)?;
        if applied < end {
            // What a killed server had not flushed yet: it is applied again at the next start.
            behind.push(format!("partition {partition}: the store is {} records behind its log", end - applied));
        } else if kept != replayed {
            let sentence =
                format!("partition {partition}: the store's state {kept:032x} is not the log's {replayed:032x}");
            report.differences.push(sentence);
        }
        hashes.push(format!("{replayed:032x}"));
    }
    if server.json {
        print_json(&serde_json::json!({
            "records": report.records, "events": report.events, "outputs": report.outputs, "contacts": report.contacts,
            "state_hashes": hashes, "behind": behind, "differences": report.differences,
        }));
    } else {
        print_line(format!(
            "replayed {} records, {} events: {} outputs, {} contacts and {} states compared",
            report.records,
            report.events,
            report.outputs,
            report.contacts,
            hashes.len()
        ));
        for (partition, hash) in hashes.iter().enumerate() {
            print_line(format!("  partition {partition}: state {hash}"));
        }
        for sentence in &behind {
            print_line(format!("  {sentence}; the next start catches up"));
        }
    }
    if report.is_clean() {
        return Ok(());
    }
    bail!("not what the log says:\n  {}", report.differences.join("\n  "))
}
