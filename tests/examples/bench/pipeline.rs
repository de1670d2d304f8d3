//! Events per second, durable, applied and published: in this process, through HTTP, and what the bare disk does; and how
//! long one event takes, direct and over a forward.

use crate::embedded::{self, PARTITIONS, Pipeline, Stores, quiet};
use crate::report::{Report, cpu_seconds, line_after};
use crate::{Options, Outcome, hop, workload};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use touchline_log::{Log, NewRecord, Topic, wait};
use touchline_tests::{Server, repository};

/// Clients at once, each waiting for its own acknowledgement.
const CLIENTS: usize = 64;
/// Events per run in this process: seconds, not minutes.
const EVENTS: u64 = 60_000;
/// Events per run through HTTP one by one.
const SINGLES: u64 = 12_000;
/// Events per request when they come in batches.
const BATCH: usize = 100;
/// How long the bare disk is measured, per way of writing.
const DISK_MAX: Duration = Duration::from_millis(1_500);

/// Measures, one run after the other.
pub(crate) fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let events = options.events.unwrap_or(EVENTS);
    let records: Vec<(u32, NewRecord)> = embedded::records(events).collect::<Outcome<_>>()?;
    let bytes: usize = records.iter().map(|(_, record)| record.bytes()).sum();
    report.fact("data", format!("{events} events, {} bytes each: {}", bytes / records.len(), workload::MIX));
    report.fact("clients", format!("{CLIENTS}; through HTTP they run on the same cores as the server"));
    for _ in 0..options.runs {
        in_process(options, &records, report)?;
        through_http(options, report)?;
        hop::run(options, report)?;
    }
    Ok(())
}

fn in_process(options: &Options, records: &[(u32, NewRecord)], report: &mut Report) -> Outcome<()> {
    let dir = embedded::fresh(&options.dir)?;
    let pipeline = Pipeline::start(dir.path(), Stores::Rocks, &workload::playbook()?)?;
    let (commits, cpu) = (pipeline.log.commits(), cpu_seconds(std::process::id()));
    let started = Instant::now();
    from_clients(records.len(), |index| {
        let (partition, record) = &records[index];
        wait(pipeline.log.append(Topic::Events, *partition, vec![record.clone()]))?;
        Ok(())
    })?;
    let acknowledged = started.elapsed();
    pipeline.settle()?;
    let done = started.elapsed();
    let count = records.len() as f64;
    let per_second = count / done.as_secs_f64();
    let group = count / (pipeline.log.commits() - commits) as f64;
    let cpu = cpu_seconds(std::process::id()) - cpu;
    pipeline.stop();
    report.add("embedded, until applied and published", "events/s", per_second);
    report.add("embedded, until acknowledged", "events/s", count / acknowledged.as_secs_f64());
    report.add("embedded, CPU", "s per million events", cpu / count * 1e6);
    report.add("embedded, records per fsync", "records", group);
    let plain = write_and_sync(dir.path(), records, 1)?;
    let grouped = write_and_sync(dir.path(), records, group.round().max(1.0) as usize)?;
    report.add("write+fdatasync of each event", "events/s", plain);
    report.add("write+fdatasync of groups of that size", "events/s", grouped);
    report.add("embedded to write+fdatasync of each", "times", per_second / plain);
    report.add("embedded to write+fdatasync of groups", "times", per_second / grouped);
    Ok(())
}

/// Events per second of a plain file that gets the same bytes, so many events per write and fdatasync.
fn write_and_sync(dir: &Path, records: &[(u32, NewRecord)], group: usize) -> Outcome<f64> {
    let mut file = File::create(dir.join(format!("plain-{group}")))?;
    let (started, mut written) = (Instant::now(), 0_usize);
    for records in records.chunks(group) {
        let mut bytes = Vec::new();
        for (_, record) in records {
            bytes.extend_from_slice(record.key.as_deref().unwrap_or_default());
            for (name, value) in &record.headers {
                bytes.extend_from_slice(name.as_bytes());
                bytes.extend_from_slice(value);
            }
            bytes.extend_from_slice(&record.value);
        }
        file.write_all(&bytes)?;
        file.sync_data()?;
        written += records.len();
        if started.elapsed() > DISK_MAX {
            break;
        }
    }
    Ok(written as f64 / started.elapsed().as_secs_f64())
}

fn through_http(options: &Options, report: &mut Report) -> Outcome<()> {
    let dir = embedded::fresh(&options.dir)?;
    let server = Server::start(dir.path(), &quiet()).ok_or("the server did not start")?;
    let playbook = repository("tests/playbooks/a.yaml");
    server.json(workload::TENANT, &["playbook", "activate", &playbook.to_string_lossy()]);
    let ports: Value = serde_json::from_slice(&std::fs::read(dir.path().join("ports.json"))?)?;
    let pid = u32::try_from(ports["pid"].as_u64().ok_or("no pid")?)?;
    let singles: Vec<Value> = (0..SINGLES).map(|number| workload::event(number, SINGLES / 8)).collect();
    let events = options.events.unwrap_or(EVENTS);
    let batched: Vec<Value> = (SINGLES..SINGLES + events).map(|number| workload::event(number, events / 8)).collect();
    let singles: Vec<String> = singles.iter().map(Value::to_string).collect();
    let batches: Vec<String> = batched.chunks(BATCH).map(|events| Value::from(events.to_vec()).to_string()).collect();
    for (name, bodies, count) in
        [("HTTP, one event a request", singles, SINGLES), ("HTTP, 100 a request", batches, events)]
    {
        let (cpu, started) = (cpu_seconds(pid), Instant::now());
        post_all(&server, &bodies)?;
        server.settle();
        let per_second = count as f64 / started.elapsed().as_secs_f64();
        report.add(&format!("{name}, until published"), "events/s", per_second);
        let cpu = cpu_seconds(pid) - cpu;
        report.add(&format!("{name}, CPU of the server"), "s per million", cpu / count as f64 * 1e6);
    }
    let peak = line_after(&format!("/proc/{pid}/status"), "VmHWM").unwrap_or_default();
    let kib: f64 = peak.split_whitespace().next().unwrap_or_default().parse()?;
    report.add("HTTP, memory of the server at its peak", "MiB", kib / 1024.0);
    server.stop();
    Ok(())
}

fn post_all(server: &Server, bodies: &[String]) -> Outcome<()> {
    let url = format!("http://{}/v1/events", server.http);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .max_idle_connections(CLIENTS)
        .max_idle_connections_per_host(CLIENTS)
        .build()
        .into();
    from_clients(bodies.len(), |index| {
        let request = agent.post(&url).header("content-type", "application/json");
        // Read to its end, or the connection is not used again.
        request.send(bodies[index].as_bytes())?.body_mut().read_to_vec()?;
        Ok(())
    })
}

/// Does `count` pieces of work from as many threads as there are clients; the first error ends it.
fn from_clients(count: usize, work: impl Fn(usize) -> Outcome<()> + Sync) -> Outcome<()> {
    let next = AtomicUsize::new(0);
    let client = || -> Outcome<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(());
            }
            work(index)?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a client panicked".into())))
    })
}

const _: () = assert!(PARTITIONS as usize <= CLIENTS, "every partition gets events at once");
