//! Measures any program that reads `events` in a consumer group and writes an output topic.

use crate::process::{Program, cpu_seconds};
use crate::{Cluster, Outcome, load};
use clap::{Args, ValueEnum};
use prost::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use touchline_model::time::{Time, Zone};
use touchline_proto::v1;

/// No answer of the cluster takes longer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How often the group's offsets are asked: fine against runs of seconds, nothing for the broker.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// From this part of the events on a run counts as warm (a JVM has compiled what is hot).
const WARM_FROM_PERCENT: u64 = 30;
/// A program that does not move for so long has failed.
const STALLED_MAX: Duration = Duration::from_secs(60);
/// Outputs that do not come within this after the last event are missing.
const LAST_OUTPUT_MAX: Duration = Duration::from_secs(15);

/// What is measured.
#[derive(Debug, Args)]
struct Subject {
    /// Processes that already run and count as the program.
    #[arg(long)]
    pid: Vec<u32>,
    /// The broker, whose CPU time is counted apart.
    #[arg(long)]
    broker_pid: Option<u32>,
    /// Program to start; it is ended with SIGTERM.
    #[arg(last = true)]
    command: Vec<String>,
}

/// How throughput is measured.
#[derive(Debug, Args)]
pub(crate) struct ThroughputArguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Topic read, filled before.
    #[arg(long, default_value = "events")]
    events: String,
    /// The consumer group of the program.
    #[arg(long)]
    group: String,
    #[command(flatten)]
    subject: Subject,
}

/// How latency is measured.
#[derive(Debug, Args)]
pub(crate) struct LatencyArguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Topic written; at its end nothing should wait for the program.
    #[arg(long, default_value = "events")]
    events: String,
    /// Topic where each event leads to one record, under its cell key or the contact's public id.
    #[arg(long, default_value = "tag-changes")]
    output: String,
    /// Events per second.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// Seconds that count.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds before that do not.
    #[arg(long, default_value_t = 10)]
    warm_seconds: u64,
    /// How long the load's own batches wait for more.
    #[arg(long, default_value = "0")]
    linger_ms: String,
    #[command(flatten)]
    subject: Subject,
}

/// What is printed.
#[derive(Debug, Args)]
pub(crate) struct DumpArguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Topic.
    topic: String,
    /// What lies in it.
    #[arg(long, value_enum)]
    kind: Output,
}

/// A topic of outputs.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// `TagChange`.
    TagChanges,
    /// `Touch`.
    Touches,
}

/// A moment of a run.
#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    events: u64,
    program_cpu: f64,
    broker_cpu: f64,
}

/// Waits until the group has committed everything that lay in the topic at the start.
pub(crate) fn throughput(arguments: &ThroughputArguments) -> Outcome<()> {
    let mut config = arguments.cluster.config();
    let observer: BaseConsumer = config.set("group.id", &arguments.group).create()?;
    let ends = ends(&arguments.cluster, &observer, &arguments.events)?;
    let before = committed(&observer, &arguments.events, &ends)?;
    let total = ends.iter().sum::<u64>() - before;
    let broker = arguments.subject.broker_pid.unwrap_or_default();
    let broker_before = cpu_seconds(broker);
    let at = Instant::now();
    let mut program = Program::start(&arguments.subject.command, &arguments.subject.pid)?;
    let sample = |program: &Program, events| Sample {
        at: Instant::now(),
        events,
        program_cpu: program.cpu_seconds(),
        broker_cpu: cpu_seconds(broker),
    };
    let attached_cpu = if arguments.subject.command.is_empty() { program.cpu_seconds() } else { 0.0 };
    let first = Sample { at, events: 0, program_cpu: attached_cpu, broker_cpu: broker_before };
    let (mut warm, mut last) = (None, first);
    while last.events < total {
        std::thread::sleep(LOOK_EVERY);
        let events = committed(&observer, &arguments.events, &ends)? - before;
        if events > last.events {
            last = sample(&program, events);
            if warm.is_none() && events * 100 >= total * WARM_FROM_PERCENT {
                warm = Some(last);
            }
        } else if last.at.elapsed() > STALLED_MAX {
            return Err(format!("stands at {events} of {total} events; hint: see what the program printed").into());
        }
        if last.events < total {
            program.check()?;
        }
    }
    let peak = program.peak_rss_bytes();
    let own: serde_json::Value = serde_json::from_str(&program.stop()?).unwrap_or_default();
    let report = json!({"partitions": ends.len(), "events": total, "whole": figures(first, last),
        "warm": warm.filter(|warm| warm.events < last.events).map(|warm| figures(warm, last)),
        "peak_rss_mib": peak >> 20, "program": own});
    println!("{report}");
    Ok(())
}

fn figures(from: Sample, to: Sample) -> serde_json::Value {
    let events = (to.events - from.events) as f64;
    let seconds = to.at.duration_since(from.at).as_secs_f64();
    let per_million = |cpu: f64| rounded(cpu / events * 1e6);
    json!({"events": to.events - from.events, "seconds": rounded(seconds), "events_per_second": (events / seconds).round(),
        "program_cpu_seconds_per_million": per_million(to.program_cpu - from.program_cpu),
        "broker_cpu_seconds_per_million": per_million(to.broker_cpu - from.broker_cpu)})
}

/// Sends at a steady rate and looks for each event's output.
///
/// The delay counts from the moment the event was *due* to be sent, so a load generator that falls behind shows.
pub(crate) fn latency(arguments: &LatencyArguments) -> Outcome<()> {
    let writer = load::Writer::open(&arguments.cluster, &arguments.events, &arguments.linger_ms)?;
    let run = u64::try_from(load::now().0)?;
    let warm = arguments.rate * arguments.warm_seconds;
    let total = warm + arguments.rate * arguments.seconds;
    // Encoding is done before, so that the two cores belong to the program and the broker.
    let records: Vec<_> =
        (0..total).map(|number| load::encoded(load::asking(run, number, load::now()), writer.partitions)).collect();
    let mut numbers = HashMap::with_capacity(records.len() * 2);
    for (number, record) in records.iter().enumerate() {
        numbers.insert(record.key.clone(), number);
        numbers.insert(record.contact_id.clone().into_bytes(), number);
    }
    let reader = reader(&arguments.cluster, &arguments.output, Offset::End)?;
    let mut program = Program::start(&arguments.subject.command, &arguments.subject.pid)?;
    let broker = arguments.subject.broker_pid.unwrap_or_default();
    let start = Instant::now() + Duration::from_millis(500);
    let due = |number: u64| start + Duration::from_nanos(number * 1_000_000_000 / arguments.rate);
    let mut delays: Vec<Option<Duration>> = vec![None; records.len()];
    let mut repeated = 0_u64;
    let (worst_lag, cpu) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| -> Outcome<_> {
            let (mut worst, mut cpu) = (Duration::ZERO, None);
            for (number, record) in (0_u64..).zip(&records) {
                std::thread::sleep(due(number).saturating_duration_since(Instant::now()));
                if number == warm {
                    cpu = Some((program.cpu_seconds(), cpu_seconds(broker)));
                }
                if number >= warm {
                    worst = worst.max(due(number).elapsed());
                }
                writer.send(record, None)?;
            }
            writer.finish()?;
            let (program_before, broker_before) = cpu.unwrap_or_default();
            Ok((worst, (program.cpu_seconds() - program_before, cpu_seconds(broker) - broker_before)))
        });
        let (mut found, give_up) = (0, due(total) + LAST_OUTPUT_MAX);
        while found < records.len() && Instant::now() < give_up {
            let Some(message) = reader.poll(Duration::from_millis(100)) else { continue };
            let seen = Instant::now();
            let message = message?;
            let Some(&number) = message.key().and_then(|key| numbers.get(key)) else { continue };
            match &mut delays[number] {
                Some(_) => repeated += 1,
                delay => {
                    *delay = Some(seen.saturating_duration_since(due(number as u64)));
                    found += 1;
                }
            }
        }
        sender.join().map_err(|_| "the load panicked")?
    })?;
    program.check()?;
    program.stop()?;
    let measured = delays.get(usize::try_from(warm)?..).unwrap_or_default();
    let mut millis: Vec<f64> = measured.iter().flatten().map(|delay| delay.as_secs_f64() * 1e3).collect();
    millis.sort_by(f64::total_cmp);
    let at =
        |part: f64| millis.get(((millis.len() as f64 * part) as usize).min(millis.len().saturating_sub(1))).copied();
    let part = |part: f64| at(part).map(rounded);
    let million = (total - warm) as f64 / 1e6;
    let report = json!({"rate": arguments.rate, "events": millis.len(), "missing": measured.len() - millis.len(),
        "repeated": repeated, "p50_ms": part(0.5), "p90_ms": part(0.9), "p99_ms": part(0.99), "p999_ms": part(0.999),
        "max_ms": part(1.0), "load_behind_ms_max": rounded(worst_lag.as_secs_f64() * 1e3),
        "program_cpu_seconds_per_million": rounded(cpu.0 / million),
        "broker_cpu_seconds_per_million": rounded(cpu.1 / million)});
    println!("{report}");
    Ok(())
}

impl Output {
    /// What matters of a record, as one line.
    fn shown(self, value: &[u8]) -> Outcome<String> {
        let name = |contact: &str| contact.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(match self {
            Self::TagChanges => {
                let change = v1::TagChange::decode(value)?;
                let tag = change.set.unwrap_or_default();
                format!("{} {}/{tag} at {}", name(&change.contact), change.group, shown_time(change.at_ms))
            }
            Self::Touches => {
                let touch = v1::Touch::decode(value)?;
                format!("{} {} {} at {}", name(&touch.contact), touch.step, touch.state, shown_time(touch.due_at_ms))
            }
        })
    }
}

fn shown_time(at_ms: i64) -> String {
    Zone::SHANGHAI.format(Time(at_ms))
}

/// Prints what a read_committed consumer sees, partition by partition.
pub(crate) fn dump(arguments: &DumpArguments) -> Outcome<()> {
    let mut config = arguments.cluster.config();
    config.set("enable.partition.eof", "true").set("group.id", "reference-dump").set("enable.auto.commit", "false");
    let reader: BaseConsumer = config.set("isolation.level", "read_committed").create()?;
    for partition in 0..load::partitions(&arguments.cluster, &arguments.topic)? {
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&arguments.topic, i32::try_from(partition)?, Offset::Beginning)?;
        reader.assign(&from)?;
        loop {
            match reader.poll(ANSWER_MAX).ok_or("the broker does not answer")? {
                Err(KafkaError::PartitionEOF(_)) => break,
                message => {
                    let message = message?;
                    let line = arguments.kind.shown(message.payload().unwrap_or_default())?;
                    println!("{line}");
                }
            }
        }
    }
    Ok(())
}

fn reader(cluster: &Cluster, topic: &str, from: Offset) -> Outcome<BaseConsumer> {
    let mut config = cluster.config();
    config
        .set("group.id", "reference-measure")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.queue.backoff.ms", "10");
    let reader: BaseConsumer = config.create()?;
    let mut assigned = TopicPartitionList::new();
    for partition in 0..i32::try_from(load::partitions(cluster, topic)?)? {
        // Where it ends now, not where it ends once the reader has come round to ask.
        let offset = match from {
            Offset::End => Offset::Offset(reader.fetch_watermarks(topic, partition, ANSWER_MAX)?.1),
            other => other,
        };
        assigned.add_partition_offset(topic, partition, offset)?;
    }
    reader.assign(&assigned)?;
    Ok(reader)
}

/// Where each partition ends.
fn ends(cluster: &Cluster, observer: &BaseConsumer, topic: &str) -> Outcome<Vec<u64>> {
    let partitions = i32::try_from(load::partitions(cluster, topic)?)?;
    (0..partitions)
        .map(|partition| Ok(u64::try_from(observer.fetch_watermarks(topic, partition, ANSWER_MAX)?.1)?))
        .collect()
}

/// Events the group has committed, of those below `ends`.
fn committed(observer: &BaseConsumer, topic: &str, ends: &[u64]) -> Outcome<u64> {
    let mut asked = TopicPartitionList::new();
    for partition in 0..ends.len() {
        asked.add_partition(topic, i32::try_from(partition)?);
    }
    let answer = loop {
        match observer.committed_offsets(asked.clone(), ANSWER_MAX) {
            // A cluster that has just come up, or a coordinator that moves.
            Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress,
            )) => std::thread::sleep(LOOK_EVERY),
            answer => break answer?,
        }
    };
    let offset = |(partition, &end): (usize, &u64)| {
        let found = answer.find_partition(topic, i32::try_from(partition).unwrap_or(i32::MAX));
        match found.map(|found| found.offset()) {
            Some(Offset::Offset(offset)) => u64::try_from(offset).unwrap_or_default().min(end),
            _ => 0,
        }
    };
    Ok(ends.iter().enumerate().map(offset).sum())
}

/// Two digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
