//! Playbook example (a) through cluster, replay and running threads; expected values from `playbook.md`.

mod common;

use common::{activation, at, event, record, sources};
use std::sync::Arc;
use std::time::{Duration, Instant};
use touchline_log::memory::MemoryLog;
use touchline_log::{Log, ManualWall, SystemWall, Topic, Wall};
use touchline_model::event::Event;
use touchline_model::kind::Kind;
use touchline_model::output::{Numbered, Output, Stream, TouchState};
use touchline_model::record::Input;
use touchline_model::time::Time;
use touchline_processor::cluster::Cluster;
use touchline_processor::controller::advance_clock;
use touchline_processor::runner::Health;
use touchline_processor::{Options, Pacing, Processor, check, replay};
use touchline_store::memory::MemoryStores;

/// Two customers ask for the price; 甲 pays on the second day, so only p1 and p2 fall due for 甲.
fn story() -> Vec<(Option<Time>, Event)> {
    vec![
        (None, event(Kind::ChatMessage, "jia", "2026-03-01T09:00:00+08:00", "你们产品多少钱")),
        (None, event(Kind::ChatMessage, "yi", "2026-03-01T09:30:00+08:00", "怎么收費")),
        (None, event(Kind::ChatMessage, "bing", "2026-03-01T09:40:00+08:00", "你好")),
        (None, event(Kind::OrderPaid, "jia", "2026-03-03T12:00:00+08:00", "")),
    ]
}

fn due(outputs: &[Numbered]) -> Vec<(String, String)> {
    let touches = outputs.iter().filter_map(|numbered| match &numbered.output {
        Output::Touch(touch) if touch.state == TouchState::Due => Some((numbered.clock, touch)),
        _ => None,
    });
    touches
        .map(|(clock, touch)| {
            assert_eq!(touch.due_at, clock, "decided at its due moment");
            (format!("{} {}", touch.recipient.value, touch.step), clock.to_string())
        })
        .collect()
}

fn expected() -> Vec<(String, String)> {
    [
        ("jia p1", "2026-03-01T01:05:00.000Z"),
        ("yi p1", "2026-03-01T01:35:00.000Z"),
        ("jia p2", "2026-03-02T02:00:00.000Z"),
        ("yi p2", "2026-03-02T02:00:00.000Z"),
        ("yi p3", "2026-03-04T02:00:00.000Z"),
    ]
    .map(|(who, when)| (who.to_owned(), when.to_owned()))
    .to_vec()
}

#[test]
fn a_replay_says_who_when_and_the_same_each_time() {
    let run = || replay::run(story(), (sources(), Vec::new()), "acme", at("2026-03-10T00:00:00+08:00")).unwrap();
    let outputs = run();
    let mut due = due(&outputs);
    due.sort_by(|one, other| (&one.1, &one.0).cmp(&(&other.1, &other.0)));
    assert_eq!(due, expected());
    assert_eq!(run(), outputs);
}

#[test]
fn a_cluster_at_rest_is_judged_right_and_its_state_is_that_of_a_replay() {
    let mut cluster = Cluster::new(4, at("2026-03-01T08:00:00+08:00")).unwrap();
    let mut ids = Vec::new();
    for (_, event) in story() {
        cluster.pass_due(event.received_at).unwrap();
        ids.push(event.id);
        cluster.append_event(event).unwrap();
    }
    cluster.advance(at("2026-03-05T00:00:00+08:00")).unwrap();
    let report = check::judge(cluster.log(), &ids).unwrap();
    assert_eq!(report.differences, Vec::<String>::new());
    assert_eq!((report.events, report.contacts), (4, 3));
    let live: Vec<_> = cluster.partitions().iter().map(|p| check::state_hash(p.store()).unwrap()).collect();
    assert_eq!(report.state_hashes, live);
}

#[test]
fn running_threads_fire_what_a_moved_clock_makes_due_and_stop_clean() {
    let start = at("2026-03-01T08:00:00+08:00");
    let wall = ManualWall::new(start);
    let log = MemoryLog::new(4, Arc::new(wall.clone()));
    let stores = Arc::new(MemoryStores::new());
    let options = Options { pacing: Pacing::Virtual, ..Options::default() };
    let shared: Arc<dyn Log> = Arc::new(log.clone());
    let handle = Processor::start_all(Arc::clone(&shared), stores, Arc::new(wall.clone()), options).unwrap();
    let append = |partition, input: &Input| drop(log.append(Topic::Events, partition, vec![record(input)]));
    append(0, &activation(start));
    for (_, event) in story() {
        advance_clock(&handle, &*shared, &wall, event.received_at).unwrap();
        append(event.key().partition(4), &Input::Event(Box::new(event)));
    }
    advance_clock(&handle, &*shared, &wall, at("2026-03-10T00:00:00+08:00")).unwrap();
    assert_eq!(handle.health(), Health::Running);
    for status in handle.status() {
        assert_eq!((status.bundle, status.clock), (1, Some(at("2026-03-10T00:00:00+08:00"))));
    }
    handle.stop();
    let report = check::judge(&log, &[]).unwrap();
    assert_eq!(report.differences, Vec::<String>::new());
    let mut touches = Vec::new();
    for partition in 0..4 {
        for record in log.read(Topic::Touches, partition, 0, 1_000).unwrap() {
            let (numbered, _) = touchline_proto::decode_output(Stream::Touches, &record.value).unwrap();
            touches.push(numbered);
        }
    }
    let mut due = due(&touches);
    due.sort_by(|one, other| (&one.1, &one.0).cmp(&(&other.1, &other.0)));
    assert_eq!(due, expected());
}

#[test]
fn on_a_real_clock_progress_goes_out_alone_and_a_stop_leaves_nothing_behind() {
    let wall: Arc<dyn Wall> = Arc::new(SystemWall);
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(2, Arc::clone(&wall)));
    let stores = Arc::new(MemoryStores::new());
    let handle = Processor::start_all(Arc::clone(&log), stores, Arc::clone(&wall), Options::default()).unwrap();
    // A tick leads to nothing but progress.
    drop(log.append(Topic::Events, 1, vec![record(&Input::Tick { wall: wall.now() })]));
    let started = Instant::now();
    while log.published(1).unwrap().offset < 1 {
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", handle.status());
        log.signal().wait_past(log.signal().count(), Duration::from_millis(10));
    }
    // Appended and stopped at once: what was applied by then is published.
    drop(log.append(Topic::Events, 0, vec![record(&activation(wall.now()))]));
    handle.stop();
    let published = log.published(0).unwrap();
    assert_eq!(log.end(Topic::CommandResults, 0).unwrap(), published.sequences[Stream::CommandResults.index()]);
}
