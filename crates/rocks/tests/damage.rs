//! What damaged files do: a torn end that nobody was told about is forgiven, anything else is refused.

#![expect(clippy::unwrap_used, reason = "a test stops where something is not as expected")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use touchline_log::{Log, ManualWall, NewRecord, Topic, wait};
use touchline_model::time::Time;
use touchline_rocks::{EmbeddedLog, Error, NewLog};

/// Acknowledged records of the log that is damaged.
const RECORDS: u64 = 50;

/// Bytes of each value: several records lie before and after any damage.
const VALUE_BYTES: usize = 300;

#[test]
fn a_torn_end_loses_only_what_was_not_acknowledged() {
    // The beginning of a further record, as a write leaves it that the power cut interrupted.
    let outcome = damaged(|bytes| {
        let start = bytes.len() - VALUE_BYTES;
        let torn = bytes[start - 100..start].to_vec();
        bytes.extend(torn_record(&torn));
    });
    let log = outcome.expect("opens").0;
    assert_eq!(log.end(Topic::Events, 0).unwrap(), RECORDS);
    assert_eq!(log.read(Topic::Events, 0, 0, usize::MAX).unwrap().len() as u64, RECORDS);
    let appended = wait(log.append(Topic::Events, 0, vec![record(9)])).unwrap();
    assert_eq!(appended.first_offset, RECORDS);
}

#[test]
fn a_record_cut_in_half_is_dropped_whole() {
    let log = damaged(|bytes| bytes.truncate(bytes.len() - VALUE_BYTES / 2)).expect("opens").0;
    assert_eq!(log.end(Topic::Events, 0).unwrap(), RECORDS - 1);
    assert_eq!(log.read(Topic::Events, 0, 0, usize::MAX).unwrap().len() as u64, RECORDS - 1);
}

#[test]
fn damage_before_acknowledged_records_is_refused_and_nothing_is_dropped() {
    for (name, at) in [("in the middle", 0.5), ("near the start", 0.1), ("near the end", 0.95)] {
        let refused = damaged(|bytes| {
            let at = (bytes.len() as f64 * at) as usize;
            bytes[at] ^= 0xFF;
        });
        let error = refused.err().unwrap_or_else(|| panic!("{name}: opened"));
        assert!(matches!(error, Error::Damaged { .. }), "{name}: {error}");
        assert!(error.to_string().contains("hint:"), "{name}: {error}");
    }
}

/// RocksDB notices missing files that were closed; the one being written when the process died leaves no trace
/// elsewhere. The log keeps its name then, so that stores of this cluster can see that they are ahead of it.
#[test]
fn a_log_whose_newest_write_ahead_file_was_removed_keeps_its_name() {
    let dir = TempDir::new().unwrap();
    let _open = fill(dir.path());
    let copy = copy_open(dir.path());
    fs::remove_file(wal(copy.path())).unwrap();
    let new = NewLog { partitions: 1, cluster_id: "another".to_owned() };
    let log = EmbeddedLog::open(copy.path(), new, Arc::new(ManualWall::new(Time(1)))).unwrap();
    assert_eq!((log.cluster_id().as_str(), log.end(Topic::Events, 0).unwrap()), ("test", 0));
}

/// A copy of an open log, damaged in its write-ahead log and opened.
fn damaged(damage: impl FnOnce(&mut Vec<u8>)) -> Result<(EmbeddedLog, TempDir), Error> {
    let dir = TempDir::new().unwrap();
    let log = fill(dir.path());
    let copy = copy_open(dir.path());
    drop(log);
    let path = wal(copy.path());
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    let log = open(copy.path())?;
    Ok((log, copy))
}

/// Header of a full record of RocksDB's log format that promises more bytes than there are: checksum, length, type.
fn torn_record(payload: &[u8]) -> Vec<u8> {
    let promised = u16::try_from(payload.len() + 200).unwrap().to_le_bytes();
    let mut bytes = vec![1, 2, 3, 4, promised[0], promised[1], 1];
    bytes.extend(payload);
    bytes
}

fn fill(dir: &Path) -> EmbeddedLog {
    let log = open(dir).unwrap();
    for number in 0..RECORDS {
        wait(log.append(Topic::Events, 0, vec![record(number as u8)])).unwrap();
    }
    log
}

fn record(number: u8) -> NewRecord {
    NewRecord { value: vec![number; VALUE_BYTES], ..NewRecord::default() }
}

fn open(dir: &Path) -> Result<EmbeddedLog, Error> {
    let new = NewLog { partitions: 1, cluster_id: "test".to_owned() };
    EmbeddedLog::open(dir, new, Arc::new(ManualWall::new(Time(1))))
}

fn copy_open(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

fn wal(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap()
}
