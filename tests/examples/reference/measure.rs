//! Measures any program that reads `events` in a consumer group and writes an output topic.

use crate::process::{Program, cpu_seconds, pause};
use crate::touchline::{Metrics, Touchline};
use crate::{Cluster, Outcome, load};
use clap::{Args, ValueEnum};
use prost::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use std::collections::HashMap;
use std::path::PathBuf;
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

/// Between the start of the program and the first event.
const FIRST_EVENT_AFTER: Duration = Duration::from_secs(1);

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct Subject {
    /// Processes that already run and count as the program.
    #[arg(long)]
    pub(crate) pid: Vec<u32>,
    /// The broker, whose CPU time is counted apart.
    #[arg(long)]
    broker_pid: Option<u32>,
    /// The program is a Touchline with this data directory; its own figures are printed too.
    #[arg(long)]
    touchline: Option<PathBuf>,
    /// Program to start; it is ended with SIGTERM.
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

impl Subject {
    /// What a Touchline says about itself now.
    pub(crate) fn metrics(&self) -> Option<Metrics> {
        Touchline::at(self.touchline.as_deref()?).metrics()
    }
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
    /// Go by the metrics of Touchline, not by what the group has committed: without transactions it commits nothing.
    #[arg(long, requires = "touchline")]
    by_metrics: bool,
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
    /// Of so many events one asks and is waited for; the others are the mix that `load` writes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    asking_every: u64,
    /// Contacts of the mix.
    #[arg(long, default_value_t = 100_000)]
    contacts: u64,
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
        pause(LOOK_EVERY);
        let events = if arguments.by_metrics {
            let left = arguments.subject.metrics().and_then(|metrics| metrics.left(ends.len()));
            left.map_or(0, |left| total.saturating_sub(left))
        } else {
            committed(&observer, &arguments.events, &ends)? - before
        };
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
    let (peak, threads) = (program.peak_rss_bytes(), program.threads());
    let touchline = arguments.subject.metrics().map(|metrics| metrics.report());
    let own: serde_json::Value = serde_json::from_str(&program.stop()?).unwrap_or_default();
    let report = json!({"partitions": ends.len(), "events": total, "whole": figures(first, last),
        "warm": warm.filter(|warm| warm.events < last.events).map(|warm| figures(warm, last)),
        "peak_rss_mib": peak >> 20, "threads": threads, "touchline": touchline, "program": own});
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
    let total = arguments.rate * (arguments.warm_seconds + arguments.seconds);
    // Encoding is done before, so that the cores belong to the program and the broker.
    let asks = |number: u64| number.is_multiple_of(arguments.asking_every);
    let event = |number| match asks(number) {
        true => load::asking(run, number, load::now()),
        false => load::mixed_event(run, number, load::Whose::Drawn(arguments.contacts), load::now()),
    };
    let records: Vec<_> = (0..total).map(|number| load::encoded(event(number), writer.partitions)).collect();
    let reader = reader(&arguments.cluster, &arguments.output)?;
    let mut program = Program::start(&arguments.subject.command, &arguments.subject.pid)?;
    let pace = Pace { start: Instant::now() + FIRST_EVENT_AFTER, rate: arguments.rate };
    let (sent, (delays, repeated)) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_paced(arguments, &writer, &records, pace, &program));
        let seen = collect(&reader, &records, asks, pace)?;
        let sent = sender.join().map_err(|_| "the load panicked")??;
        Outcome::Ok((sent, seen))
    })?;
    program.check()?;
    let (touchline, threads) = (arguments.subject.metrics().map(|metrics| metrics.report()), program.threads());
    program.stop()?;
    let warm = usize::try_from(arguments.rate * arguments.warm_seconds)?;
    let measured = delays.get(warm..).unwrap_or_default();
    let asked = (warm as u64..total).filter(|&number| asks(number)).count();
    let mut millis: Vec<f64> = measured.iter().flatten().map(|delay| delay.as_secs_f64() * 1e3).collect();
    millis.sort_by(f64::total_cmp);
    let part = |part: f64| {
        let index = (millis.len() as f64 * part) as usize;
        millis.get(index.min(millis.len().saturating_sub(1))).copied().map(rounded)
    };
    let million = measured.len() as f64 / 1e6;
    let report = json!({"rate": arguments.rate, "events": millis.len(), "missing": asked - millis.len(),
        "repeated": repeated, "p50_ms": part(0.5), "p90_ms": part(0.9), "p99_ms": part(0.99), "p999_ms": part(0.999),
        "max_ms": part(1.0), "load_behind_ms_max": rounded(sent.behind_max.as_secs_f64() * 1e3),
        "program_cpu_seconds_per_million": rounded(sent.program_cpu / million),
        "broker_cpu_seconds_per_million": rounded(sent.broker_cpu / million), "touchline": touchline,
        "threads": threads});
    println!("{report}");
    Ok(())
}

/// When which event is due.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// The first one.
    pub(crate) start: Instant,
    /// Events per second.
    pub(crate) rate: u64,
}

impl Pace {
    pub(crate) fn due(self, number: u64) -> Instant {
        self.start + Duration::from_nanos(number * 1_000_000_000 / self.rate)
    }
}

/// What sending cost, without the warm-up.
struct Sent {
    behind_max: Duration,
    program_cpu: f64,
    broker_cpu: f64,
}

fn send_paced(
    arguments: &LatencyArguments,
    writer: &load::Writer,
    records: &[load::Encoded],
    pace: Pace,
    program: &Program,
) -> Outcome<Sent> {
    let warm = arguments.rate * arguments.warm_seconds;
    let broker = arguments.subject.broker_pid.unwrap_or_default();
    let mut sent = Sent { behind_max: Duration::ZERO, program_cpu: 0.0, broker_cpu: 0.0 };
    for (number, record) in (0_u64..).zip(records) {
        pause(pace.due(number).saturating_duration_since(Instant::now()));
        if number == warm {
            (sent.program_cpu, sent.broker_cpu) = (program.cpu_seconds(), cpu_seconds(broker));
        }
        if number >= warm {
            sent.behind_max = sent.behind_max.max(pace.due(number).elapsed());
        }
        writer.send(record, None)?;
    }
    writer.finish()?;
    sent.program_cpu = program.cpu_seconds() - sent.program_cpu;
    sent.broker_cpu = cpu_seconds(broker) - sent.broker_cpu;
    Ok(sent)
}

/// The delay of each event that asks and whose output came, and how many outputs came again.
pub(crate) fn collect(
    reader: &BaseConsumer,
    records: &[load::Encoded],
    asks: impl Fn(u64) -> bool,
    pace: Pace,
) -> Outcome<(Vec<Option<Duration>>, u64)> {
    let mut numbers = HashMap::with_capacity(records.len() * 2);
    for (number, record) in records.iter().enumerate().filter(|&(number, _)| asks(number as u64)) {
        numbers.insert(record.key.as_slice(), number);
        numbers.insert(record.contact_id.as_bytes(), number);
    }
    let (mut delays, mut found, mut repeated) = (vec![None; records.len()], 0, 0);
    let wanted = (0..records.len() as u64).filter(|&number| asks(number)).count();
    let give_up = pace.due(records.len() as u64) + LAST_OUTPUT_MAX;
    while found < wanted && Instant::now() < give_up {
        let Some(message) = reader.poll(Duration::from_millis(100)) else { continue };
        let seen = Instant::now();
        let Some(message) = healing(message)? else { continue };
        let Some(&number) = message.key().and_then(|key| numbers.get(key)) else { continue };
        match &mut delays[number] {
            Some(_) => repeated += 1,
            delay => {
                *delay = Some(seen.saturating_duration_since(pace.due(number as u64)));
                found += 1;
            }
        }
    }
    Ok((delays, repeated))
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

/// Reads what comes from now on.
pub(crate) fn reader(cluster: &Cluster, topic: &str) -> Outcome<BaseConsumer> {
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
        let (_, end) = reader.fetch_watermarks(topic, partition, ANSWER_MAX)?;
        assigned.add_partition_offset(topic, partition, Offset::Offset(end))?;
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
            )) => pause(LOOK_EVERY),
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

/// A message; `None` for an error that the client heals from by itself.
pub(crate) fn healing(message: KafkaResult<BorrowedMessage<'_>>) -> Outcome<Option<BorrowedMessage<'_>>> {
    match message {
        Ok(message) => Ok(Some(message)),
        Err(KafkaError::MessageConsumption(
            RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure,
        )) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Two digits behind the point.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
