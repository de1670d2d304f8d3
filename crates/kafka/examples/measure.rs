//! Measures the log against a broker: `cargo run -p touchline-kafka --example measure -- [host:port]`.
//! Without an address it starts a broker of its own.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement prints, and stops where it cannot go on")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use touchline_broker::{Cluster, Options};
use touchline_kafka::{KafkaLog, Publish, Settings, topics};
use touchline_log::publish::{MARKER_HEADER, SEQUENCE_HEADER};
use touchline_log::{Headers, Log, Marker, NewRecord, Publication, SystemWall, Topic, wait};

const PARTITIONS: u32 = 8;
/// About what an event of a shop weighs.
const VALUE_BYTES: usize = 400;

fn main() {
    let address = std::env::args().nth(1);
    let cluster = address.is_none().then(|| Cluster::start(&Options::default()).unwrap());
    let brokers = address.unwrap_or_else(|| cluster.as_ref().map(Cluster::bootstrap).unwrap_or_default());
    for publish in [Publish::Transactional, Publish::Sequenced] {
        let topic_prefix = format!("measure-{}-{publish:?}.", std::process::id()).to_lowercase();
        let group = topic_prefix.clone();
        let settings = Settings { brokers: brokers.clone(), topic_prefix, group, publish, ..Settings::default() };
        let spec = topics::Spec { partitions: PARTITIONS, ..topics::Spec::built_in().unwrap().with_replication(1) };
        let began = Instant::now();
        topics::apply(&settings, &spec).unwrap();
        println!("topics applied in {:?}", began.elapsed());
        let began = Instant::now();
        let log = KafkaLog::connect(settings.clone(), Arc::new(SystemWall)).unwrap();
        println!("connected in {:?}", began.elapsed());
        if publish == Publish::Transactional {
            appends(&log);
            reads(&log);
            again(&settings);
        }
        publications(&log, publish);
    }
}

fn event(bytes: usize) -> NewRecord {
    let headers = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time"];
    let headers = Headers::from(headers.map(|name| (name, b"0123456789abcdef0123456789abcdef")));
    NewRecord { key: Some(b"acme/wecom_external_userid/wwcorp/wm12345".to_vec()), headers, value: vec![7; bytes] }
}

fn appends(log: &KafkaLog) {
    let first: Vec<f64> = (0..PARTITIONS)
        .map(|partition| {
            timed(|| {
                wait(log.append(Topic::Events, partition, vec![event(VALUE_BYTES)])).unwrap();
            })
        })
        .collect();
    println!("first append of a partition: {}", percentiles(first));
    let alone: Vec<f64> = (0..500)
        .map(|_| {
            timed(|| {
                wait(log.append(Topic::Events, 0, vec![event(VALUE_BYTES)])).unwrap();
            })
        })
        .collect();
    println!("one append at a time: {}", percentiles(alone));
    for callers in [64_u32, 512] {
        let began = Instant::now();
        let each = 60_000 / callers;
        let all: Vec<f64> = thread::scope(|scope| {
            let threads: Vec<_> = (0..callers)
                .map(|caller| {
                    scope.spawn(move || {
                        (0..each)
                            .map(|_| {
                                timed(|| {
                                    wait(log.append(Topic::Events, caller % PARTITIONS, vec![event(VALUE_BYTES)]))
                                        .unwrap();
                                })
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let per_second = f64::from(callers * each) / began.elapsed().as_secs_f64();
        println!("{callers} callers that wait: {per_second:.0} appends/s, {}", percentiles(all));
    }
    let began = Instant::now();
    let mut acks = Vec::new();
    for number in 0..100_000_u32 {
        loop {
            let mut ack = log.append(Topic::Events, number % PARTITIONS, vec![event(VALUE_BYTES)]);
            match ack.try_recv() {
                Ok(Some(Err(_))) => thread::sleep(Duration::from_millis(1)),
                Ok(Some(Ok(_))) => break,
                _ => {
                    acks.push(ack);
                    break;
                }
            }
        }
    }
    for ack in acks {
        wait(ack).unwrap();
    }
    println!("one caller that does not wait: {:.0} appends/s", 100_000.0 / began.elapsed().as_secs_f64());
}

fn reads(log: &KafkaLog) {
    let began = Instant::now();
    let mut records = 0;
    for partition in 0..PARTITIONS {
        let (mut offset, end) = (0, log.end(Topic::Events, partition).unwrap());
        while offset < end {
            let found = log.read(Topic::Events, partition, offset, 512).unwrap();
            offset = found.last().unwrap().offset + 1;
            records += found.len();
        }
    }
    println!("read {records} records: {:.0}/s", records as f64 / began.elapsed().as_secs_f64());
    let mut offset = log.end(Topic::Events, 1).unwrap();
    log.read(Topic::Events, 1, offset, 1).unwrap();
    let tail: Vec<f64> = (0..500)
        .map(|_| {
            wait(log.append(Topic::Events, 1, vec![event(VALUE_BYTES)])).unwrap();
            timed(|| {
                offset = log.read(Topic::Events, 1, offset, 1).unwrap()[0].offset + 1;
            })
        })
        .collect();
    println!("from an acknowledgement to its record: {}", percentiles(tail));
    let ends: Vec<f64> = (0..10_000)
        .map(|_| {
            timed(|| {
                log.end(Topic::Events, 1).unwrap();
            })
        })
        .collect();
    println!("end of a tailed partition: {}", percentiles(ends));
    let empty: Vec<f64> = (0..10_000)
        .map(|_| {
            timed(|| {
                assert!(log.read(Topic::Events, 1, offset, 512).unwrap().is_empty());
            })
        })
        .collect();
    println!("read at the end: {}", percentiles(empty));
    let elsewhere: Vec<f64> = (0..50)
        .map(|number| {
            timed(|| {
                log.read(Topic::Events, 1, number * 100, 10).unwrap();
            })
        })
        .collect();
    println!("read anywhere else: {}", percentiles(elsewhere));
}

fn again(settings: &Settings) {
    let log = KafkaLog::connect(settings.clone(), Arc::new(SystemWall)).unwrap();
    let ends: Vec<f64> = (0..PARTITIONS)
        .map(|partition| {
            timed(|| {
                log.end(Topic::Events, partition).unwrap();
            })
        })
        .collect();
    println!("end of a partition for the first time: {}", percentiles(ends));
    let first: Vec<f64> = (0..PARTITIONS)
        .map(|partition| {
            timed(|| {
                log.read(Topic::Events, partition, 100, 1).unwrap();
            })
        })
        .collect();
    println!("first read of a partition: {}", percentiles(first));
}

fn publications(log: &KafkaLog, publish: Publish) {
    let began = Instant::now();
    let mut taken = wait(log.take_over(0)).unwrap();
    println!("{publish:?}: taken over in {:?}", began.elapsed());
    let mut sequence = 0;
    for (outputs, pause_ms) in [(1_u64, 0), (1, 10), (100, 0), (100, 10), (2_000, 0)] {
        let times: Vec<f64> = (0..200)
            .map(|_| {
                thread::sleep(Duration::from_millis(pause_ms));
                let publication = publication(&mut sequence, outputs);
                timed(|| wait(taken.publisher.publish(publication)).unwrap())
            })
            .collect();
        println!("{publish:?}: publications of {outputs}, one every {pause_ms} ms: {}", percentiles(times));
    }
    drop(taken);
    let began = Instant::now();
    let taken = wait(log.take_over(0)).unwrap();
    assert_eq!(taken.published.tails[1], sequence);
    println!("{publish:?}: taken over again in {:?}", began.elapsed());
}

fn publication(sequence: &mut u64, outputs: u64) -> Publication {
    let mut records: Vec<_> = (0..outputs)
        .map(|_| {
            *sequence += 1;
            let mut record = event(VALUE_BYTES);
            record.headers.push(SEQUENCE_HEADER, sequence.to_string().as_bytes());
            (Topic::Touches, record)
        })
        .collect();
    let marker = Marker { offset: *sequence, sequences: [0, *sequence, 0, 0] };
    let mut progress = event(50);
    progress.headers.push(MARKER_HEADER, &marker.to_header().1);
    records.push((Topic::Contacts, progress));
    Publication { records, marker }
}

fn timed(run: impl FnOnce()) -> f64 {
    let began = Instant::now();
    run();
    began.elapsed().as_secs_f64() * 1_000.0
}

fn percentiles(mut times_ms: Vec<f64>) -> String {
    times_ms.sort_by(f64::total_cmp);
    let at = |share: usize| times_ms[(times_ms.len() * share / 100).min(times_ms.len() - 1)];
    format!("p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms", at(50), at(99), at(100))
}
