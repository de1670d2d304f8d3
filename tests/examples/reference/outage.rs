//! How long a partition is not served: after a start, a kill, a graceful end.

use crate::measure::{Pace, Subject, collect, healing, reader, rounded};
use crate::process::{Program, pause, threads};
use crate::{Cluster, Outcome, load};
use clap::Args;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

/// A partition that is not served within this is lost.
const SERVED_WITHIN: Duration = Duration::from_secs(180);
/// Events due so shortly before somebody goes are on their way when he goes.
const ON_THEIR_WAY: Duration = Duration::from_millis(200);
/// How Touchline names the thread that publishes a partition it owns.
const LANE_THREAD: &str = "kafka-lane-";

/// How a start is measured.
#[derive(Debug, Args)]
pub(crate) struct ProbeArguments {
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    subject: Subject,
}

/// How an end is measured.
#[derive(Debug, Args)]
pub(crate) struct OutageArguments {
    #[command(flatten)]
    topics: Topics,
    /// Events per second, spread over the partitions.
    #[arg(long, default_value_t = 400)]
    rate: u64,
    /// Seconds of events before somebody goes.
    #[arg(long, default_value_t = 5)]
    before_seconds: u64,
    /// Seconds of events from then on.
    #[arg(long, default_value_t = 15)]
    after_seconds: u64,
    /// Who goes.
    #[arg(long)]
    pid: u32,
    /// How: KILL, TERM.
    #[arg(long, default_value = "KILL")]
    signal: String,
}

#[derive(Debug, Args)]
struct Topics {
    #[command(flatten)]
    cluster: Cluster,
    /// Topic written.
    #[arg(long, default_value = "events")]
    events: String,
    /// Topic where each event leads to one record.
    #[arg(long, default_value = "tag-changes")]
    output: String,
}

/// Puts one event into each partition, starts a program, and waits until each has its output: the program has then
/// read everything before, and publishes.
pub(crate) fn probe(arguments: &ProbeArguments) -> Outcome<()> {
    let topics = &arguments.topics;
    let writer = load::Writer::open(&topics.cluster, &topics.events, "0")?;
    let probes = one_a_partition(writer.partitions)?;
    let reader = reader(&topics.cluster, &topics.output)?;
    for probe in &probes {
        writer.send(probe, None)?;
    }
    writer.finish()?;
    let started = Instant::now();
    let mut program = Program::start(&arguments.subject.command, &arguments.subject.pid)?;
    let mut served = wait_for(&reader, &probes, started, &mut program)?;
    served.sort_by(f64::total_cmp);
    let own = arguments.subject.metrics().map(|metrics| metrics.report());
    let (cpu, threads) = (program.cpu_seconds(), program.threads());
    program.stop()?;
    let report = json!({"partitions": probes.len(), "first_ms": served.first(), "all_ms": served.last(),
        "program_cpu_seconds": rounded(cpu), "touchline": own, "threads": threads});
    println!("{report}");
    Ok(())
}

/// An event for each partition, by contacts that nobody has seen.
fn one_a_partition(partitions: u32) -> Outcome<Vec<load::Encoded>> {
    let run = u64::try_from(load::now().0)?;
    let mut found = BTreeMap::new();
    let mut number = 0;
    while found.len() < partitions as usize {
        let event = load::encoded(load::asking(run, number, load::now()), partitions);
        found.entry(event.partition).or_insert(event);
        number += 1;
    }
    Ok(found.into_values().collect())
}

fn wait_for(
    reader: &BaseConsumer,
    probes: &[load::Encoded],
    started: Instant,
    program: &mut Program,
) -> Outcome<Vec<f64>> {
    let mut waiting: BTreeSet<&[u8]> = probes.iter().map(|probe| probe.contact_id.as_bytes()).collect();
    let mut cells: BTreeMap<&[u8], &[u8]> =
        probes.iter().map(|probe| (probe.key.as_slice(), probe.contact_id.as_bytes())).collect();
    cells.extend(probes.iter().map(|probe| (probe.contact_id.as_bytes(), probe.contact_id.as_bytes())));
    let mut served = Vec::new();
    while !waiting.is_empty() {
        if started.elapsed() > SERVED_WITHIN {
            return Err(
                format!("{} partitions are not served; hint: see what the program printed", waiting.len()).into()
            );
        }
        program.check()?;
        let Some(message) = reader.poll(Duration::from_millis(20)) else { continue };
        let after = started.elapsed();
        let Some(message) = healing(message)? else { continue };
        if let Some(contact) = message.key().and_then(|key| cells.get(key))
            && waiting.remove(contact)
        {
            served.push(rounded(after.as_secs_f64() * 1e3));
        }
    }
    Ok(served)
}

/// Sends at a steady rate, ends a process, and says how long outputs took at most, in the partitions it owned and in
/// the others. Touchline only: who owns what is seen by its threads.
pub(crate) fn outage(arguments: &OutageArguments) -> Outcome<()> {
    let topics = &arguments.topics;
    let writer = load::Writer::open(&topics.cluster, &topics.events, "0")?;
    let run = u64::try_from(load::now().0)?;
    let total = arguments.rate * (arguments.before_seconds + arguments.after_seconds);
    let records: Vec<_> =
        (0..total).map(|number| load::encoded(load::asking(run, number, load::now()), writer.partitions)).collect();
    let reader = reader(&topics.cluster, &topics.output)?;
    let pace = Pace { start: Instant::now(), rate: arguments.rate };
    let gone_at = arguments.rate * arguments.before_seconds;
    let (moved, (delays, repeated)) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut moved = BTreeSet::new();
            for (number, record) in (0_u64..).zip(&records) {
                pause(pace.due(number).saturating_duration_since(Instant::now()));
                if number == gone_at {
                    moved = owned(arguments.pid);
                    Command::new("kill")
                        .arg(format!("-{}", arguments.signal))
                        .arg(arguments.pid.to_string())
                        .status()?;
                }
                writer.send(record, None)?;
            }
            writer.finish()?;
            Outcome::Ok(moved)
        });
        let seen = collect(&reader, &records, |_| true, pace)?;
        let moved = sender.join().map_err(|_| "the load panicked")??;
        Outcome::Ok((moved, seen))
    })?;
    let from = pace.due(gone_at) - ON_THEIR_WAY;
    let (mut worst, mut missing) = (BTreeMap::<u32, Duration>::new(), 0);
    for (number, (record, delay)) in (0_u64..).zip(records.iter().zip(&delays)) {
        match delay {
            None => missing += 1,
            Some(delay) if pace.due(number) >= from => {
                let worst = worst.entry(record.partition).or_default();
                *worst = (*worst).max(*delay);
            }
            Some(_) => {}
        }
    }
    let worst_of = |whose: bool| {
        let those = worst.iter().filter(|(partition, _)| moved.contains(*partition) == whose);
        those.map(|(_, worst)| worst).max().map(|worst| rounded(worst.as_secs_f64() * 1e3))
    };
    let report = json!({"moved": moved, "moved_ms_max": worst_of(true), "others_ms_max": worst_of(false),
        "missing": missing, "repeated": repeated});
    println!("{report}");
    Ok(())
}

/// The partitions that this Touchline publishes.
fn owned(pid: u32) -> BTreeSet<u32> {
    threads(pid).iter().filter_map(|thread| thread.name.strip_prefix(LANE_THREAD)?.parse().ok()).collect()
}
