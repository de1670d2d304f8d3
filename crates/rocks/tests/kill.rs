//! kill -9 and full disks: the log is a child process of this test, which plays both roles.

#![expect(clippy::unwrap_used, reason = "a test stops where something is not as expected")]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use tempfile::TempDir;
use touchline_log::{Log, Marker, NewRecord, Publication, SystemWall, Topic, wait};
use touchline_rocks::{EmbeddedLog, NewLog};

const PARTITIONS: u32 = 2;

/// Kills of the random test.
const KILLS: u64 = 12;

/// Appends of one thread that wait for their acknowledgement at a time.
const IN_FLIGHT: usize = 16;

/// Tells a process started by these tests which directory to fill.
const CHILD_DIR: &str = "TOUCHLINE_TEST_CHILD_DIR";

/// What the child said it had acknowledged: one past the last offset of events, and the last marker, by partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Acknowledged {
    events: [u64; PARTITIONS as usize],
    markers: [u64; PARTITIONS as usize],
}

/// Not a test of its own: the role of the child.
#[test]
fn child() {
    let Ok(dir) = env::var(CHILD_DIR) else { return };
    let log = open(Path::new(&dir));
    thread::scope(|scope| {
        for partition in 0..PARTITIONS {
            let log = &log;
            scope.spawn(move || append_until_it_fails(log, partition));
            scope.spawn(move || publish_until_it_fails(log, partition));
        }
    });
    assert!(log.failed().is_some() && log.end(Topic::Events, 0).is_err(), "a failed log must refuse everything");
}

#[test]
fn kill_9_loses_nothing_acknowledged_and_tears_no_publication() {
    let dir = TempDir::new().unwrap();
    // Seeded, so that a failure can be told: xorshift.
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut report = Vec::new();
    for kill in 0..KILLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let lines = 1 + random % 1500;
        let mut child = spawn(dir.path(), Command::new(env::current_exe().unwrap()));
        let acknowledged = listen(&mut child, lines, |child| child.kill().unwrap());
        check(dir.path(), &acknowledged, &format!("kill {kill} after {lines} acknowledgements"));
        report.push(lines);
    }
    let _ = writeln!(std::io::stderr(), "{KILLS} kills, after {report:?} acknowledgements");
}

#[test]
fn a_full_disk_fails_clearly_and_keeps_what_was_acknowledged() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    let mut bash = Command::new("bash");
    // Files end at 1 MiB; ignoring the signal turns the limit into a failed write, as a full disk is.
    bash.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
    let mut child = spawn(dir.path(), bash);
    let mut failures = Vec::new();
    let acknowledged = listen_with(&mut child, u64::MAX, |_| {}, |line| failures.push(line.to_owned()));
    assert!(child.wait().unwrap().success(), "the child must end by itself, without panicking");
    assert!(!failures.is_empty() && failures.iter().all(|line| line.contains("log failed: ")), "{failures:?}");
    assert!(acknowledged.events.iter().sum::<u64>() > 100, "{acknowledged:?}");
    check(dir.path(), &acknowledged, "full disk");
    let log = open(dir.path());
    let end = log.end(Topic::Events, 0).unwrap();
    let appended = wait(log.append(Topic::Events, 0, vec![numbered(end)])).unwrap();
    assert_eq!(appended.first_offset, end);
}

/// Appends records that name their own offset and says what was acknowledged.
fn append_until_it_fails(log: &EmbeddedLog, partition: u32) {
    let mut next = log.end(Topic::Events, partition).unwrap();
    loop {
        let acks: Vec<_> = (0..IN_FLIGHT as u64)
            .map(|ahead| log.append(Topic::Events, partition, vec![numbered(next + ahead)]))
            .collect();
        for ack in acks {
            match wait(ack) {
                Ok(appended) => {
                    assert_eq!(appended.first_offset, next);
                    next += 1;
                    say(&format!("acked event {partition} {next}"));
                }
                Err(error) => return say(&format!("failed {error}")),
            }
        }
    }
}

/// Publishes one to four touches and one tag change with each marker.
fn publish_until_it_fails(log: &EmbeddedLog, partition: u32) {
    let mut taken = wait(log.take_over(partition)).unwrap();
    let mut marker = taken.published.marker;
    loop {
        let mut records = Vec::new();
        for _ in 0..=marker.offset % 4 {
            records.push((Topic::Touches, numbered(marker.sequences[1])));
            marker.sequences[1] += 1;
        }
        records.push((Topic::TagChanges, numbered(marker.sequences[0])));
        marker.sequences[0] += 1;
        marker.offset += 1;
        match wait(taken.publisher.publish(Publication { records, marker: marker.clone() })) {
            Ok(()) => say(&format!("acked marker {partition} {}", marker.offset)),
            Err(error) => return say(&format!("failed {error}")),
        }
    }
}

/// Everything acknowledged is there, in its place; outputs and marker agree.
fn check(dir: &Path, acknowledged: &Acknowledged, when: &str) {
    let log = open(dir);
    for partition in 0..PARTITIONS {
        let Marker { offset, sequences } = log.published(partition).unwrap();
        assert!(offset >= acknowledged.markers[partition as usize], "{when}: marker {offset}, {acknowledged:?}");
        // Per round of four publications 1 + 2 + 3 + 4 touches.
        let touches = offset / 4 * 10 + [0, 1, 3, 6][(offset % 4) as usize];
        assert_eq!(sequences, [offset, touches, 0, 0], "{when}");
        assert_eq!(count(&log, Topic::TagChanges, partition, when), offset, "{when}: torn publication");
        assert_eq!(count(&log, Topic::Touches, partition, when), touches, "{when}: torn publication");
        let events = count(&log, Topic::Events, partition, when);
        assert!(events >= acknowledged.events[partition as usize], "{when}: {events} events, {acknowledged:?}");
    }
}

/// Records of a partition, each of which must name its own offset.
fn count(log: &EmbeddedLog, topic: Topic, partition: u32, when: &str) -> u64 {
    let mut next = 0;
    loop {
        let found = log.read(topic, partition, next, usize::MAX).unwrap();
        if found.is_empty() {
            assert_eq!(log.end(topic, partition).unwrap(), next, "{when}");
            return next;
        }
        for record in found {
            assert_eq!((record.offset, &record.value[..8]), (next, &next.to_be_bytes()[..]), "{when}: {topic:?}");
            next += 1;
        }
    }
}

fn spawn(dir: &Path, mut command: Command) -> Child {
    command.args(["child", "--exact", "--nocapture"]).env(CHILD_DIR, dir).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn listen(child: &mut Child, lines: u64, at_line: impl FnMut(&mut Child)) -> Acknowledged {
    listen_with(child, lines, at_line, |line| panic!("{line}"))
}

/// Reads to the end what the child acknowledges; acts on the child when it has said so many lines.
fn listen_with(
    child: &mut Child,
    lines: u64,
    mut at_line: impl FnMut(&mut Child),
    mut on_failure: impl FnMut(&str),
) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let mut heard = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            // A line that the kill cut short has no end mark.
            ["acked", what, partition, number, "."] => {
                let partition: usize = partition.parse().unwrap();
                let known = if what == "event" { &mut acknowledged.events } else { &mut acknowledged.markers };
                known[partition] = number.parse().unwrap();
                heard += 1;
                if heard == lines {
                    at_line(child);
                }
            }
            ["failed", ..] => on_failure(&line),
            _ => {}
        }
    }
    child.wait().unwrap();
    acknowledged
}

/// One line per call, written at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line} .\n").as_bytes()).and_then(|()| out.flush()).unwrap();
}

fn numbered(number: u64) -> NewRecord {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(600, 7);
    NewRecord { key: Some(b"acme/click_visitor/site/v1".to_vec()), value, ..NewRecord::default() }
}

fn open(dir: &Path) -> EmbeddedLog {
    let new = NewLog { partitions: PARTITIONS, cluster_id: "test".to_owned() };
    EmbeddedLog::open(dir, new, Arc::new(SystemWall)).unwrap()
}
