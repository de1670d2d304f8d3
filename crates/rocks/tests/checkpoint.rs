//! Checkpoints in directories: what is damaged, half written or foreign is never used, and is named.

#![expect(clippy::unwrap_used, reason = "a test stops where something is not as expected")]

use std::any::Any;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use touchline_rocks::{Links, RocksStore, RocksStores, SharedCache};
use touchline_store::contract::stores as contract;
use touchline_store::{Change, Condition, Error, Opened, Origin, Stores};

/// Of the tests that need one partition.
const P: u32 = 3;

/// Kills of the random test.
const KILLS: u64 = 10;

/// Of what the child of the kill test writes between two checkpoints.
const STEP_BYTES: usize = 100_000;

/// Tells a process started by these tests where to work.
const CHILD_DIR: &str = "TOUCHLINE_TEST_CHILD_DIR";
/// And what to do there.
const CHILD_ROLE: &str = "TOUCHLINE_TEST_CHILD_ROLE";

/// Damages a directory.
type Damage = fn(&Path);

#[test]
fn they_keep_the_contract() {
    for links in [Links::WherePossible, Links::Never] {
        let place = Places::new(links);
        contract::check(&contract::Subject {
            stores: &place.stores(),
            damage_checkpoint: &|partition, offset| {
                let dir = place.dir.path().join(format!("checkpoints/{partition}/{offset}"));
                replace(&first_table(&dir), |bytes| flip_middle(bytes));
            },
            damage_store: &|partition| {
                fs::remove_file(first_table(&place.dir.path().join(format!("stores/{partition}")))).unwrap();
            },
        });
        contract::check_local_only(&RocksStores::new(place.dir.path().join("local"), None, links, cache()));
    }
}

/// Every kind of damage, and the words for it. The next older checkpoint is used each time.
#[test]
fn each_damage_is_named_and_the_next_older_checkpoint_is_used() {
    const TABLE: &str = "TABLE";
    let damages: [(&str, Damage); 12] = [
        ("TABLE is damaged: its hash is not what was written", |dir| {
            replace(&first_table(dir), |bytes| flip_middle(bytes))
        }),
        ("TABLE has 100 bytes, not TABLE_BYTES", |dir| replace(&first_table(dir), |bytes| bytes.truncate(100))),
        ("TABLE is missing", |dir| fs::remove_file(first_table(dir)).unwrap()),
        ("CURRENT is damaged: its hash is not what was written", |dir| {
            replace(&dir.join("CURRENT"), |bytes| flip_middle(bytes))
        }),
        ("CURRENT is missing", |dir| fs::remove_file(dir.join("CURRENT")).unwrap()),
        ("CHECKPOINT is missing", |dir| fs::remove_file(dir.join("CHECKPOINT")).unwrap()),
        ("CHECKPOINT is damaged", |dir| replace(&dir.join("CHECKPOINT"), |bytes| flip_middle(bytes))),
        ("CHECKPOINT is damaged", |dir| replace(&dir.join("CHECKPOINT"), |bytes| bytes.truncate(bytes.len() / 2))),
        ("CHECKPOINT is damaged", |dir| {
            let text = fs::read_to_string(dir.join("CHECKPOINT")).unwrap();
            fs::write(dir.join("CHECKPOINT"), text.replacen("\"source\":\"", "\"source\":\"1", 1)).unwrap();
        }),
        ("CHECKPOINT has format 9, this program knows 1", |dir| {
            reseal(dir, |body| body.replace("\"format\":1", "\"format\":9"));
        }),
        ("it is that of partition 4 at offset 20", |dir| {
            reseal(dir, |body| body.replace("\"partition\":3", "\"partition\":4"));
        }),
        // Names that lead out of the directory are nothing that was ever written.
        ("CHECKPOINT is damaged", |dir| reseal(dir, |body| body.replace("CURRENT", "../CURRENT"))),
    ];
    for links in [Links::WherePossible, Links::Never] {
        for (reason, damage) in damages {
            let place = Places::new(links);
            let stores = place.stores();
            let mut opened = stores.open(P).unwrap();
            for offset in [10, 20] {
                put(&mut opened, offset, 1_000);
                stores.checkpoint(P, opened.store.as_ref(), offset).unwrap();
            }
            drop(opened);
            stores.discard(P).unwrap();
            let dir = place.checkpoint(20);
            let table = first_table(&dir);
            let reason = reason
                .replace("TABLE_BYTES", &fs::metadata(&table).unwrap().len().to_string())
                .replace(TABLE, &table.file_name().unwrap().to_string_lossy());
            damage(&dir);
            let opened = stores.open(P).unwrap();
            assert_eq!(opened.skipped, [format!("checkpoint {} refused: {reason}", dir.display())]);
            assert_eq!((opened.origin, numbers(&opened)), (Origin::Checkpoint { offset: 10 }, vec![10]), "{reason}");
            // The list tells without reading what was changed and kept its size.
            if !reason.contains("its hash") {
                assert_eq!(stores.checkpoints(P).unwrap()[0].condition, Condition::Refused(reason));
            }
        }
    }
}

#[test]
fn the_checkpoint_of_another_partition_or_offset_is_refused() {
    let place = Places::new(Links::WherePossible);
    let stores = place.stores();
    let opened = stores.open(1).unwrap();
    stores.checkpoint(1, opened.store.as_ref(), 5).unwrap();
    let from = place.dir.path().join("checkpoints/1/5");
    fs::create_dir_all(place.checkpoint(5)).unwrap();
    fs::create_dir_all(place.checkpoint(6)).unwrap();
    for name in names(&from) {
        fs::copy(from.join(&name), place.checkpoint(5).join(&name)).unwrap();
        fs::copy(from.join(&name), place.checkpoint(6).join(&name)).unwrap();
    }
    let opened = stores.open(P).unwrap();
    let line = |offset| {
        let dir = place.checkpoint(offset);
        format!("checkpoint {} refused: it is that of partition 1 at offset 5", dir.display())
    };
    assert_eq!((opened.origin, opened.skipped), (Origin::Empty, vec![line(6), line(5)]));
}

#[test]
fn a_store_handed_over_for_another_partition_is_refused() {
    let place = Places::new(Links::WherePossible);
    let stores = place.stores();
    let opened = stores.open(1).unwrap();
    let refused = stores.freeze(2, opened.store.as_ref(), 5).err().unwrap();
    assert!(matches!(refused, Error::Foreign { partition: 2 }), "{refused}");
}

/// A restored store is written to, compacted and closed: not a byte of the checkpoint changes.
#[test]
fn a_restored_store_never_changes_its_checkpoint() {
    for links in [Links::WherePossible, Links::Never] {
        let place = Places::new(links);
        let stores = place.stores();
        let mut opened = stores.open(P).unwrap();
        for number in 1..=5 {
            put(&mut opened, number, 10_000);
            opened.store.flush().unwrap();
        }
        stores.checkpoint(P, opened.store.as_ref(), 5).unwrap();
        let before = contents(&place.checkpoint(5));
        for _ in 0..2 {
            drop(opened);
            stores.discard(P).unwrap();
            opened = stores.open(P).unwrap();
            assert_eq!((opened.origin, numbers(&opened)), (Origin::Checkpoint { offset: 5 }, vec![1, 2, 3, 4, 5]));
            let shared = inode(&first_table(&place.store())) == inode(&first_table(&place.checkpoint(5)));
            assert_eq!(shared, links == Links::WherePossible);
            for number in 3..=8 {
                put(&mut opened, number, 10_001);
                opened.store.flush().unwrap();
            }
            let any: Box<dyn Any> = opened.store;
            let store = any.downcast::<RocksStore>().unwrap();
            store.compact().unwrap();
            opened = Opened { store, origin: Origin::Local, skipped: Vec::new() };
        }
        drop(opened);
        assert_eq!(contents(&place.checkpoint(5)), before);
        assert_eq!(numbers(&stores.open(P).unwrap()), [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}

/// On one file system nothing is copied; elsewhere only what no earlier checkpoint holds.
#[test]
fn a_checkpoint_copies_only_what_is_new() {
    for links in [Links::WherePossible, Links::Never] {
        let place = Places::new(links);
        let stores = place.stores();
        let mut opened = stores.open(P).unwrap();
        put(&mut opened, 1, 500_000);
        let first = stores.checkpoint(P, opened.store.as_ref(), 1).unwrap();
        assert!(first.bytes > 500_000);
        let expected = if links == Links::Never { first.bytes } else { 0 };
        assert_eq!(first.copied_bytes, expected, "{links:?}");
        assert_eq!(stores.checkpoints(P).unwrap()[0].bytes, first.bytes);
        let unchanged = stores.checkpoint(P, opened.store.as_ref(), 2).unwrap();
        assert_eq!((unchanged.bytes, unchanged.copied_bytes), (first.bytes, 0), "{links:?}");
        put(&mut opened, 2, 200_000);
        let grown = stores.checkpoint(P, opened.store.as_ref(), 3).unwrap();
        assert!(grown.bytes > 700_000);
        let expected = if links == Links::Never { 200_000..300_000 } else { 0..1 };
        assert!(expected.contains(&grown.copied_bytes), "{links:?}: {grown:?}");
        assert_eq!(inode(&first_table(&place.checkpoint(1))), inode(&first_table(&place.checkpoint(3))));
    }
}

/// A table keeps the hash it got first. So what changes on the disk behind RocksDB's back does not become right by
/// being in a newer checkpoint.
#[test]
fn a_table_is_hashed_once() {
    let place = Places::new(Links::WherePossible);
    let stores = place.stores();
    let mut opened = stores.open(P).unwrap();
    put(&mut opened, 1, 50_000);
    stores.checkpoint(P, opened.store.as_ref(), 1).unwrap();
    let table = first_table(&place.store());
    rot(&table);
    // A new process does not forget it either.
    let stores = place.stores();
    stores.checkpoint(P, opened.store.as_ref(), 2).unwrap();
    drop(opened);
    stores.discard(P).unwrap();
    let opened = stores.open(P).unwrap();
    assert_eq!(opened.origin, Origin::Empty);
    let reason = format!("{} is damaged: its hash is not what was written", table.file_name().unwrap().display());
    assert_eq!(opened.skipped.len(), 2);
    assert!(opened.skipped.iter().all(|line| line.ends_with(&reason)), "{:?}", opened.skipped);
}

/// Checkpoints on another file system are copies, whatever was asked for.
#[test]
fn a_checkpoint_on_another_file_system_is_a_copy() {
    let place = Places::new(Links::WherePossible);
    let elsewhere = TempDir::new_in("/dev/shm")
        .ok()
        .filter(|other| fs::metadata(other.path()).unwrap().dev() != fs::metadata(place.dir.path()).unwrap().dev());
    let Some(elsewhere) = elsewhere else {
        let _ = writeln!(std::io::stderr(), "there is no second file system here: only Links::Never was tested");
        return;
    };
    let checkpoints = elsewhere.path().join("checkpoints");
    let stores = RocksStores::new(place.dir.path().join("stores"), Some(checkpoints), Links::WherePossible, cache());
    let mut opened = stores.open(P).unwrap();
    put(&mut opened, 1, 50_000);
    let report = stores.checkpoint(P, opened.store.as_ref(), 1).unwrap();
    assert_eq!(report.copied_bytes, report.bytes);
    put(&mut opened, 2, 10_000);
    let report = stores.checkpoint(P, opened.store.as_ref(), 2).unwrap();
    assert!(report.copied_bytes < 30_000, "{report:?}");
    drop(opened);
    stores.discard(P).unwrap();
    let opened = stores.open(P).unwrap();
    assert_eq!((opened.origin, numbers(&opened)), (Origin::Checkpoint { offset: 2 }, vec![1, 2]));
}

/// What a process leaves that dies while it writes a checkpoint, or removes one, does not count and goes with the next.
#[test]
fn half_a_checkpoint_is_not_counted() {
    let place = Places::new(Links::WherePossible);
    let stores = place.stores();
    let mut opened = stores.open(P).unwrap();
    put(&mut opened, 1, 1_000);
    stores.checkpoint(P, opened.store.as_ref(), 1).unwrap();
    put(&mut opened, 2, 1_000);
    stores.checkpoint(P, opened.store.as_ref(), 2).unwrap();
    for name in ["2.17f-1-0.writing", "2.17f-1-1.removing"] {
        let left = place.checkpoint(2).with_file_name(name);
        fs::create_dir(&left).unwrap();
        fs::copy(first_table(&place.checkpoint(2)), left.join("000009.sst")).unwrap();
    }
    fs::rename(place.checkpoint(2), place.checkpoint(2).with_file_name("2.17f-1-2.writing")).unwrap();
    assert_eq!(stores.checkpoints(P).unwrap().len(), 1);
    drop(opened);
    stores.discard(P).unwrap();
    let opened = stores.open(P).unwrap();
    assert_eq!((opened.origin, opened.skipped.as_slice()), (Origin::Checkpoint { offset: 1 }, [].as_slice()));
    stores.checkpoint(P, opened.store.as_ref(), 3).unwrap();
    assert_eq!(names(place.checkpoint(3).parent().unwrap()), ["1", "3"]);
}

/// A process may die at any point of restoring, freezing or discarding: the next one sees no half store.
#[test]
fn half_a_store_is_not_opened() {
    let place = Places::new(Links::WherePossible);
    let stores = place.stores();
    let mut opened = stores.open(P).unwrap();
    put(&mut opened, 1, 1_000);
    stores.checkpoint(P, opened.store.as_ref(), 1).unwrap();
    drop(opened);
    for name in ["restoring", "frozen-0", "frozen-0.tmp", "discarded"] {
        let left = place.store().with_file_name(format!("{P}.{name}"));
        fs::create_dir(&left).unwrap();
        fs::copy(first_table(&place.checkpoint(1)), left.join("000009.sst")).unwrap();
    }
    // The store of another partition whose number begins alike.
    drop(stores.open(P * 10).unwrap());
    stores.discard(P).unwrap();
    let opened = stores.open(P).unwrap();
    assert_eq!((opened.origin, numbers(&opened)), (Origin::Checkpoint { offset: 1 }, vec![1]));
    assert_eq!(names(place.store().parent().unwrap()), ["3", "30"]);
    drop(opened);
    // A process that died before RocksDB had made its first store.
    stores.discard(P).unwrap();
    fs::create_dir(place.store()).unwrap();
    fs::write(place.store().join("LOCK"), "").unwrap();
    assert_eq!(stores.open(P).unwrap().origin, Origin::Checkpoint { offset: 1 });
}

/// Opening a partition clears its place. A checkpoint that was being written then is none, rather than half a one.
#[test]
fn a_checkpoint_whose_files_are_taken_away_is_an_error() {
    let place = Places::new(Links::WherePossible);
    let stores = place.stores();
    let mut opened = stores.open(P).unwrap();
    put(&mut opened, 1, 1_000);
    let frozen = stores.freeze(P, opened.store.as_ref(), 1).unwrap();
    drop(opened);
    let opened = place.stores().open(P).unwrap();
    let error = frozen.keep().unwrap_err();
    assert!(matches!(&error, Error::Io(text) if text.contains("frozen")), "{error}");
    assert_eq!(stores.checkpoints(P).unwrap(), []);
    assert_eq!(numbers(&opened), [1]);
    stores.checkpoint(P, opened.store.as_ref(), 2).unwrap();
}

#[test]
fn a_local_store_that_does_not_open_is_damaged_and_one_in_use_is_not() {
    let damages: [(&str, Damage); 5] = [
        ("CURRENT is missing", |dir| fs::remove_file(dir.join("CURRENT")).unwrap()),
        ("CURRENT", |dir| fs::write(dir.join("CURRENT"), "").unwrap()),
        ("MANIFEST", |dir| fs::remove_file(manifest(dir)).unwrap()),
        ("MANIFEST", |dir| replace(&manifest(dir), |bytes| flip_middle(bytes))),
        ("sst", |dir| replace(&first_table(dir), |bytes| bytes.truncate(100))),
    ];
    for (hint, damage) in damages {
        let place = Places::new(Links::WherePossible);
        let stores = place.stores();
        let mut opened = stores.open(P).unwrap();
        put(&mut opened, 1, 1_000);
        opened.store.flush().unwrap();
        let in_use = stores.open(P).err().unwrap();
        assert!(matches!(&in_use, Error::Io(text) if text.contains("in use")), "{in_use}");
        drop(opened);
        damage(&place.store());
        let error = stores.open(P).err().unwrap_or_else(|| panic!("{hint}: opened"));
        let dir = place.store().display().to_string();
        assert!(
            matches!(&error, Error::Damaged(text) if text.contains(hint) && text.contains(&dir)),
            "{hint}: {error}"
        );
    }
}

/// What becomes unreadable under a running store is an error, not an absent key.
#[test]
fn damage_under_a_running_store_is_an_error() {
    let place = Places::new(Links::WherePossible);
    let stores = place.stores();
    let mut opened = stores.open(P).unwrap();
    put(&mut opened, 1, 100_000);
    opened.store.flush().unwrap();
    rot(&first_table(&place.store()));
    let error = opened.store.get(&1_u64.to_be_bytes()).unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error}");
    let error = opened.store.scan(b"", b"\xff", 10).unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error}");
}

#[test]
fn a_checkpoint_directory_that_cannot_be_read_is_an_error_and_not_an_empty_store() {
    let place = Places::new(Links::WherePossible);
    let stores = place.stores();
    fs::write(place.dir.path().join("checkpoints"), "a file").unwrap();
    let error = stores.open(P).err().unwrap();
    assert!(matches!(&error, Error::Io(text) if text.contains("checkpoints/3") && text.contains("hint:")), "{error}");
}

/// Not a test of its own: the role of a child.
#[test]
fn child() {
    let Ok(dir) = env::var(CHILD_DIR) else { return };
    let place = stores(Path::new(&dir), Links::Never);
    match env::var(CHILD_ROLE).unwrap().as_str() {
        "keep" => checkpoint_for_ever(&place),
        "restore" => say(place.open(P).err().unwrap().to_string().lines().next().unwrap()),
        _ => checkpoint_on_a_full_disk(&place),
    }
}

/// Whenever it dies, what counts as a checkpoint is whole and holds exactly what its name says.
#[test]
fn kill_9_leaves_no_half_checkpoint() {
    let place = Places::new(Links::Never);
    // Seeded, so that a failure can be told: xorshift.
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let (mut kept, mut interrupted) = (0, 0);
    for kill in 0..KILLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = spawn(place.dir.path(), "keep", Command::new(env::current_exe().unwrap()));
        let mut lines = said(&mut child);
        kept = lines.by_ref().nth((random % 4) as usize).unwrap().parse().unwrap();
        // Into the next step, which takes some milliseconds.
        std::thread::park_timeout(Duration::from_micros(random >> 32 & 0x3FFF));
        child.kill().unwrap();
        child.wait().unwrap();
        kept = lines.last().map_or(kept, |line| line.parse().unwrap());
        let half = |path: PathBuf| names(&path).iter().any(|name| name.contains('.'));
        interrupted += u32::from(half(place.dir.path().join("checkpoints/3")) || half(place.dir.path().join("stores")));
        let stores = place.stores();
        let listed = stores.checkpoints(P).unwrap();
        assert!(listed.iter().all(|info| info.condition == Condition::Whole), "kill {kill}: {listed:?}");
        stores.discard(P).unwrap();
        let opened = stores.open(P).unwrap();
        let Origin::Checkpoint { offset } = opened.origin else { panic!("kill {kill}: {:?}", opened.origin) };
        assert_eq!(opened.skipped, [] as [String; 0]);
        assert!((kept..=kept + 1).contains(&offset), "kill {kill}: {offset} after {kept}");
        assert_eq!(numbers(&opened), (1..=offset).collect::<Vec<_>>(), "kill {kill}");
        assert_eq!(names(place.store().parent().unwrap()), ["3"], "kill {kill}");
    }
    let _ = writeln!(std::io::stderr(), "{KILLS} kills, {interrupted} while writing, {kept} checkpoints");
}

#[test]
fn a_full_disk_fails_the_checkpoint_and_not_the_store() {
    let place = Places::new(Links::Never);
    let mut opened = place.stores().open(P).unwrap();
    put(&mut opened, 1, 3 << 20);
    opened.store.flush().unwrap();
    drop(opened);
    let mut child = spawn(place.dir.path(), "full", on_a_full_disk());
    let lines: Vec<String> = said(&mut child).collect();
    assert!(child.wait().unwrap().success(), "{lines:?}");
    let directory = place.dir.path().join("checkpoints/3").display().to_string();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("store failed: ") && lines[0].contains(&directory), "{lines:?}");
    assert_eq!(lines[1], "goes on");
    let stores = place.stores();
    assert_eq!(stores.checkpoints(P).unwrap(), []);
    assert_eq!(names(Path::new(&directory)), [] as [String; 0]);
    let opened = stores.open(P).unwrap();
    assert_eq!((opened.origin, numbers(&opened)), (Origin::Local, vec![1, 2, 3]));
    stores.checkpoint(P, opened.store.as_ref(), 3).unwrap();
}

/// Restoring ends in the middle: the checkpoint is not blamed, and what is there is not taken for a store.
#[test]
fn a_full_disk_fails_the_restore_and_leaves_no_half_store() {
    let place = Places::new(Links::Never);
    let mut opened = place.stores().open(P).unwrap();
    put(&mut opened, 1, 3 << 20);
    place.stores().checkpoint(P, opened.store.as_ref(), 1).unwrap();
    drop(opened);
    place.stores().discard(P).unwrap();
    let mut child = spawn(place.dir.path(), "restore", on_a_full_disk());
    let lines: Vec<String> = said(&mut child).collect();
    assert!(child.wait().unwrap().success(), "{lines:?}");
    let directory = place.store().display().to_string();
    assert!(lines.len() == 1 && lines[0].starts_with(&format!("store failed: {directory}")), "{lines:?}");
    assert!(!place.store().exists());
    let opened = place.stores().open(P).unwrap();
    assert_eq!((opened.origin, numbers(&opened)), (Origin::Checkpoint { offset: 1 }, vec![1]));
}

/// Starts a program whose files end at 1 MiB. Ignoring the signal turns the limit into a failed write, as a full disk
/// is.
fn on_a_full_disk() -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
    bash
}

fn checkpoint_for_ever(stores: &RocksStores) {
    let mut opened = stores.open(P).unwrap();
    let mut next = numbers(&opened).last().copied().unwrap_or(0) + 1;
    loop {
        put(&mut opened, next, STEP_BYTES);
        stores.checkpoint(P, opened.store.as_ref(), next).unwrap();
        say(&next.to_string());
        next += 1;
    }
}

fn checkpoint_on_a_full_disk(stores: &RocksStores) {
    let mut opened = stores.open(P).unwrap();
    put(&mut opened, 2, 1_000);
    let error = stores.checkpoint(P, opened.store.as_ref(), 2).unwrap_err();
    say(error.to_string().lines().next().unwrap());
    put(&mut opened, 3, 1_000);
    opened.store.flush().unwrap();
    say("goes on");
}

/// Directories of a test.
struct Places {
    dir: TempDir,
    links: Links,
}

impl Places {
    fn new(links: Links) -> Self {
        Self { dir: TempDir::new().unwrap(), links }
    }

    /// As a process that has just started has them.
    fn stores(&self) -> RocksStores {
        stores(self.dir.path(), self.links)
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join(format!("stores/{P}"))
    }

    fn checkpoint(&self, offset: u64) -> PathBuf {
        self.dir.path().join(format!("checkpoints/{P}/{offset}"))
    }
}

fn stores(dir: &Path, links: Links) -> RocksStores {
    RocksStores::new(dir.join("stores"), Some(dir.join("checkpoints")), links, cache())
}

fn cache() -> SharedCache {
    SharedCache::new(32 << 20)
}

/// Puts noise, which does not compress, under a number.
fn put(opened: &mut Opened, number: u64, bytes: usize) {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64 ^ number;
    let noise = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_be_bytes()[0]
    });
    let value = noise.take(bytes).collect();
    opened.store.write(vec![Change::Put(number.to_be_bytes().to_vec(), value)]).unwrap();
}

fn numbers(opened: &Opened) -> Vec<u64> {
    let pairs = opened.store.scan(b"", b"\xff", usize::MAX).unwrap();
    pairs.into_iter().map(|(key, _)| u64::from_be_bytes(key.try_into().unwrap())).collect()
}

fn first_table(dir: &Path) -> PathBuf {
    let tables = names(dir).into_iter().filter(|name| name.ends_with(".sst"));
    dir.join(tables.min().unwrap_or_else(|| panic!("no table in {}", dir.display())))
}

fn manifest(dir: &Path) -> PathBuf {
    dir.join(names(dir).into_iter().find(|name| name.starts_with("MANIFEST")).unwrap())
}

/// Sorted.
fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    names(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// Damages this file only: what was linked with it stays as it is.
fn replace(path: &Path, damage: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    damage(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Damages the file itself, as a failing disk does: without leaving a time.
fn rot(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    flip_middle(&mut bytes);
    fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

fn flip_middle(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

/// Changes what the manifest says and seals it as the program would.
fn reseal(dir: &Path, change: impl FnOnce(&str) -> String) {
    let text = fs::read_to_string(dir.join("CHECKPOINT")).unwrap();
    let body = change(text.lines().next().unwrap());
    let hash = xxhash_rust::xxh3::xxh3_128(body.as_bytes());
    fs::write(dir.join("CHECKPOINT"), format!("{body}\n{{\"xxh3_128\":\"{hash:032x}\"}}\n")).unwrap();
}

fn spawn(dir: &Path, role: &str, mut command: Command) -> Child {
    command.args(["--exact", "child", "--nocapture"]).env(CHILD_DIR, dir).env(CHILD_ROLE, role);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// One line for the parent, apart from what the test harness prints.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nsaid {line}").unwrap();
    out.flush().unwrap();
}

fn said(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.strip_prefix("said ").map(str::to_owned))
}
