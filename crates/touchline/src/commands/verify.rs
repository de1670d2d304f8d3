//! `touchline verify`: is what a server has published and keeps exactly what its log says?

use crate::client::{Server, print_json, print_line};
use crate::clock::ClockMode;
use crate::json;
use crate::serve::KafkaOptions;
use anyhow::{Context, bail};
use clap::Args;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use touchline_kafka::{KafkaLog, Settings};
use touchline_log::{Log, StoredRecord, SystemWall, Topic};
use touchline_model::output::Stream;
use touchline_processor::check::{Report, applied_offset, judge, state_hash};
use touchline_proto::{ContactRecord, contact_to, decode_contact_record};
use touchline_rocks::{EmbeddedLog, NewLog, RocksStore, SharedCache};

/// Block cache while verifying: the log is read once, from front to back.
const CACHE_BYTES: usize = 64 << 20;
/// Records read at once.
const READ_RECORDS: usize = 512;

const EXAMPLES: &str = "\
Every output has to be published exactly once, with dense sequences and as a replay says it; contacts
and stores have to hold what the log says. Nothing is changed.

  touchline verify                                  the stopped server of .touchline
  touchline verify --data-dir D                     another stopped server
  touchline verify --brokers B                      the topics on Kafka, while nothing happens
  touchline verify --brokers B --data-dir D1 --data-dir D2
                                                    and the stores of stopped processors

On Kafka it needs the topic events from its beginning: what retention dropped cannot be replayed.";

/// Replays a log into empty stores and compares record by record.
///
/// Checks that every output was published exactly once with dense sequences, that `contacts` holds what the log
/// says, that every event was applied once, and that the stores hold an equal state. Nothing is changed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    /// Data directory of a server that has been stopped, default .touchline; with --brokers any number of processors'
    #[arg(long)]
    data_dir: Vec<PathBuf>,
    #[command(flatten)]
    kafka: KafkaOptions,
    /// `manual`: the topics were made with --clock manual
    #[arg(long, value_enum, default_value_t = ClockMode::System)]
    clock: ClockMode,
    /// Also write every output and the last state of every contact into this file, one JSON a line. They name people
    #[arg(long, value_name = "FILE")]
    outputs: Option<PathBuf>,
    /// Leave out of that file where records lie, and sort it: logs of the same story give the same lines
    #[arg(long, requires = "outputs")]
    comparable: bool,
}

pub(crate) fn run(server: &Server, options: &Options) -> anyhow::Result<()> {
    let mut findings = if options.kafka.is_given() { on_kafka(options)? } else { embedded(options)? };
    if let Some(path) = &options.outputs {
        let outputs = findings.log.as_ref();
        write_outputs(outputs, path, options.comparable)
            .with_context(|| format!("writing the outputs into {}", path.display()))?;
    }
    print(server, &findings);
    if findings.report.is_clean() {
        return Ok(());
    }
    bail!("not what the log says:\n  {}", std::mem::take(&mut findings.report.differences).join("\n  "))
}

/// What there is to say.
struct Findings {
    log: Box<dyn Log>,
    report: Report,
    /// Stores compared.
    stores: usize,
    /// One sentence for each store that has to catch up first.
    behind: Vec<String>,
}

fn embedded(options: &Options) -> anyhow::Result<Findings> {
    let data_dir = match options.data_dir.as_slice() {
        [] => Path::new(crate::dev::DATA_DIR),
        [data_dir] => data_dir.as_path(),
        _ => {
            bail!("a server without brokers has one data directory\nhint: for processors on Kafka name --brokers, too")
        }
    };
    let dir = data_dir.join("log");
    if !dir.join("CURRENT").exists() {
        bail!(
            "{} holds no log\nhint: name a server's data directory with --data-dir, or --brokers where the log is on \
             Kafka",
            data_dir.display()
        );
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
    check_published(&log, "that is how a killed server leaves its directory; start it, stop it, then verify")?;
    compare(Box::new(log), &[data_dir.join("store")])
}

fn on_kafka(options: &Options) -> anyhow::Result<Findings> {
    let (_, settings) = options.kafka.load(options.clock)?;
    let brokers = settings.brokers.clone();
    let settings = Settings { role: "verify".to_owned(), ..settings };
    // It appends nothing, so no clock ever stamps anything.
    let log = KafkaLog::connect(settings, Arc::new(SystemWall));
    let log = log.with_context(|| format!("connecting to Kafka at {brokers}"))?;
    check_published(&log, "a processor has to run, or to finish; wait until nothing happens, then verify")?;
    let stores: Vec<PathBuf> = options.data_dir.iter().map(|dir| dir.join("store")).collect();
    if let Some(absent) = stores.iter().find(|dir| !dir.is_dir()) {
        bail!("there are no stores in {}\nhint: name data directories of stopped processors", absent.display());
    }
    compare(Box::new(log), &stores)
}

fn check_published(log: &dyn Log, hint: &str) -> anyhow::Result<()> {
    for partition in 0..log.partitions() {
        let (published, end) = (log.published(partition)?.offset, log.end(Topic::Events, partition)?);
        if published < end {
            let waiting = end - published;
            bail!("partition {partition} has {waiting} records that are not published yet\nhint: {hint}");
        }
    }
    Ok(())
}

/// Replays the log, and compares the stores of every partition in these directories with what came of it.
fn compare(log: Box<dyn Log>, directories: &[PathBuf]) -> anyhow::Result<Findings> {
    let mut report = judge(log.as_ref(), &[]).context("replaying the log from its beginning")?;
    let cache = SharedCache::new(CACHE_BYTES);
    let (mut stores, mut behind) = (0, Vec::new());
    for (partition, replayed) in (0..log.partitions()).zip(report.state_hashes.clone()) {
        let end = log.end(Topic::Events, partition)?;
        let present = directories.iter().map(|directory| directory.join(partition.to_string()));
        for directory in present.filter(|directory| directory.is_dir()) {
            let store = RocksStore::open(&directory, &cache)
                .with_context(|| format!("opening the store in {} (is its process stopped?)", directory.display()))?;
            let (applied, kept) = (applied_offset(&store, partition, log.partitions())?, state_hash(&store)?);
            stores += 1;
            if applied < end {
                // What a killed server had not flushed yet, or what another processor has applied since.
                let missing = end - applied;
                behind.push(format!("partition {partition}: the store is {missing} records behind its log"));
            } else if kept != replayed {
                let sentence =
                    format!("partition {partition}: the store's state {kept:032x} is not the log's {replayed:032x}");
                report.differences.push(sentence);
            }
        }
    }
    Ok(Findings { log, report, stores, behind })
}

fn print(server: &Server, findings: &Findings) {
    let Findings { report, stores, behind, .. } = findings;
    let hashes: Vec<String> = report.state_hashes.iter().map(|hash| format!("{hash:032x}")).collect();
    if server.json {
        print_json(&serde_json::json!({
            "records": report.records, "events": report.events, "outputs": report.outputs, "contacts": report.contacts,
            "state_hashes": hashes, "stores": stores, "behind": behind, "differences": report.differences,
        }));
        return;
    }
    print_line(format!(
        "replayed {} records, {} events: {} outputs, {} contacts and {stores} stores compared",
        report.records, report.events, report.outputs, report.contacts,
    ));
    for (partition, hash) in hashes.iter().enumerate() {
        print_line(format!("  partition {partition}: state {hash}"));
    }
    for sentence in behind {
        print_line(format!("  {sentence}; the next start catches up"));
    }
}

/// Writes outputs in the order of their topics, then the contacts as they are now.
fn write_outputs(log: &dyn Log, path: &Path, comparable: bool) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for partition in 0..log.partitions() {
        for stream in Stream::ALL {
            for record in read_all(log, Topic::from(stream), partition)? {
                lines.push(json::output(stream, &record.value)?);
            }
        }
        let mut contacts = BTreeMap::new();
        for record in read_all(log, Topic::Contacts, partition)? {
            if let ContactRecord::Contact(contact) = decode_contact_record(&record.value)? {
                contacts.insert(record.key, json::contact_record(&contact_to(&contact)));
            }
        }
        lines.extend(contacts.into_values());
    }
    let lines = if comparable { json::comparable(lines) } else { lines };
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    lines.iter().try_for_each(|line| writeln!(file, "{line}"))?;
    Ok(file.flush()?)
}

fn read_all(log: &dyn Log, topic: Topic, partition: u32) -> anyhow::Result<Vec<StoredRecord>> {
    let (mut records, mut offset) = (Vec::new(), 0);
    loop {
        let more = log.read(topic, partition, offset, READ_RECORDS)?;
        let Some(last) = more.last() else { return Ok(records) };
        offset = last.offset + 1;
        records.extend(more);
    }
}
