//! A checkpoint as files: how it is written, told from a half one, verified, and placed where a store belongs.
//!
//! ```text
//! CHECKPOINTS/<partition>/<offset>/              whole: renamed last
//!     000012.sst MANIFEST-000005 CURRENT …       the files of RocksDB
//!     CHECKPOINT                                 what they must be, and the hash of saying so
//! CHECKPOINTS/<partition>/<offset>.….writing/    being written, or left by a process that died
//! CHECKPOINTS/<partition>/<offset>.….removing/   being removed, or left likewise
//! ```

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use touchline_model::time::Time;
use touchline_store::{CheckpointReport, Error as StoreError, KEPT};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Two lines of JSON: [`Manifest`], then [`Seal`].
const MANIFEST_NAME: &str = "CHECKPOINT";

/// Of the manifest. A version that changes it counts up.
const FORMAT: u32 = 1;

/// Large enough that reading is sequential, small enough for a processor's cache.
const READ_BYTES: usize = 256 << 10;

/// Endings of directories that are not checkpoints.
const UNFINISHED: [&str; 2] = [".writing", ".removing"];

/// Whether files of stores and checkpoints may be one and the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Tables are linked where both are on one file system: a checkpoint takes no space until the store compacts, and
    /// what damages a table damages both.
    WherePossible,
    /// Store and checkpoint have files of their own; checkpoints still share theirs with each other.
    Never,
}

/// What a checkpoint consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    partition: u32,
    offset: u64,
    files: Vec<Content>,
}

/// A file, as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    name: String,
    bytes: u64,
    /// In hexadecimal.
    xxh3_128: String,
    /// Which file of the store it was ([`identity`]): a table met again need not be read again.
    source: String,
}

/// The last line of the manifest file.
#[derive(Serialize, Deserialize)]
struct Seal {
    /// Of the line before.
    xxh3_128: String,
}

/// Why a checkpoint was not restored.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It is not what was written.
    Refused(String),
    /// It may well be good: the place it should go to is not.
    Failed(StoreError),
}

/// Where a checkpoint is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Of the partition.
    pub(crate) root: PathBuf,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
}

impl Place {
    pub(crate) fn dir(&self) -> PathBuf {
        self.root.join(self.offset.to_string())
    }

    /// A name beside it that nobody else uses, not even another process that thinks it owns the partition.
    fn unfinished(&self, ending: &str) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.root.join(format!("{}.{since:x}-{process}-{number}{ending}", self.offset))
    }
}

/// The offsets of the checkpoints below `root`, newest first, whole or not.
pub(crate) fn offsets(root: &Path) -> Result<Vec<u64>, StoreError> {
    let mut offsets: Vec<u64> = names(root)?
        .iter()
        .filter_map(|name| name.parse().ok().filter(|offset: &u64| offset.to_string() == *name))
        .collect();
    offsets.sort_unstable_by(|one, other| other.cmp(one));
    Ok(offsets)
}

/// When the checkpoint was made: its manifest is written last.
pub(crate) fn made_at(place: &Place) -> Option<Time> {
    let metadata = fs::metadata(place.dir().join(MANIFEST_NAME)).ok()?;
    Some(Time(metadata.mtime() * 1_000 + metadata.mtime_nsec() / 1_000_000))
}

/// Reads the manifest and compares the sizes of all files with it; how large they are together.
pub(crate) fn inspect(place: &Place) -> Result<(Manifest, u64), String> {
    let manifest = read_manifest(place)?;
    for file in &manifest.files {
        check_size(&place.dir(), file)?;
    }
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    Ok((manifest, bytes))
}

/// The files of a store as of one point.
#[derive(Debug)]
pub(crate) struct Files {
    /// The directory they are in.
    pub(crate) dir: PathBuf,
    names: Vec<String>,
}

impl Files {
    /// All files that are in a directory now. Whoever opens the partition may remove it at any time: what is missing
    /// later is an error, not a smaller checkpoint.
    pub(crate) fn all_in(dir: PathBuf) -> Result<Self, StoreError> {
        let mut names = names(&dir)?;
        names.sort_unstable();
        Ok(Self { dir, names })
    }
}

/// Writes files as a checkpoint and removes those that are too many.
pub(crate) fn write(place: &Place, frozen: &Files, links: Links) -> Result<CheckpointReport, StoreError> {
    fs::create_dir_all(&place.root).map_err(at(&place.root))?;
    if let Some(above) = place.root.parent() {
        sync(above)?;
    }
    remove_unfinished(place)?;
    let writing = place.unfinished(UNFINISHED[0]);
    let filled = fill(place, frozen, &writing, links).and_then(|sizes| {
        // The one it replaces, if any, must be out of the way: a directory with files is not renamed onto.
        remove(place)?;
        fs::rename(&writing, place.dir()).map_err(at(&place.root))?;
        Ok(sizes)
    });
    let (bytes, copied_bytes) = match filled {
        Ok(sizes) => sizes,
        Err(error) => {
            // Best effort on a disk that may be full; the next one written removes what stays.
            let _ = fs::remove_dir_all(&writing);
            return Err(error);
        }
    };
    sync(&place.root)?;
    let removed = prune(place)?;
    Ok(CheckpointReport { offset: place.offset, bytes, copied_bytes, removed })
}

/// Places the files of a checkpoint, all of them verified, in the new directory `into`.
pub(crate) fn restore(place: &Place, into: &Path, links: Links) -> Result<(), Unusable> {
    let dir = place.dir();
    let (manifest, _) = inspect(place).map_err(Unusable::Refused)?;
    for file in &manifest.files {
        let hash = hash(&dir.join(&file.name))
            .map_err(|error| Unusable::Refused(format!("{} cannot be read: {error}", file.name)))?;
        if hash != file.xxh3_128 {
            return Err(Unusable::Refused(format!("{} is damaged: its hash is not what was written", file.name)));
        }
    }
    fs::create_dir_all(into).map_err(|error| Unusable::Failed(at(into)(error)))?;
    for file in &manifest.files {
        let (from, to) = (dir.join(&file.name), into.join(&file.name));
        // Tables never change. RocksDB writes to the others, and the checkpoint must not.
        let links = if is_table(&file.name) { links } else { Links::Never };
        if let Err(error) = put(&from, &to, links) {
            // The owner of the partition may have removed it meanwhile.
            let gone = error.kind() == ErrorKind::NotFound && !from.exists();
            return Err(match gone {
                true => Unusable::Refused(format!("{} is missing", file.name)),
                false => Unusable::Failed(at(into)(error)),
            });
        }
    }
    sync(into).map_err(Unusable::Failed)
}

/// Makes the names in a directory durable.
pub(crate) fn sync(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

/// Removes a directory and what is in it; none is no error.
pub(crate) fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(dir)(error)),
        _ => Ok(()),
    }
}

/// Names in a directory; none where it does not exist.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // A name that is no text is not ours.
        names.extend(entry.map_err(at(dir))?.file_name().into_string().ok());
    }
    Ok(names)
}

/// What failed, and where.
pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |error| {
        StoreError::Io(format!(
            "{}: {error}\nhint: check the directory, its permissions and free space",
            path.display()
        ))
    }
}

/// Fills `writing`: how large the checkpoint is and how much of that was copied.
fn fill(place: &Place, frozen: &Files, writing: &Path, links: Links) -> Result<(u64, u64), StoreError> {
    let earlier = Earlier::read(place)?;
    fs::create_dir(writing).map_err(at(&place.root))?;
    let (mut files, mut bytes, mut copied_bytes) = (Vec::new(), 0, 0);
    for name in &frozen.names {
        let from = frozen.dir.join(name);
        let metadata = fs::metadata(&from).map_err(at(&frozen.dir))?;
        let source = identity(&metadata);
        let xxh3_128 = match earlier.hash_of(name, &source) {
            Some(known) => known,
            None => hash(&from).map_err(at(&frozen.dir))?,
        };
        let file = Content { name: name.clone(), bytes: metadata.len(), xxh3_128, source };
        let to = writing.join(&file.name);
        if let Placed::Copied = put_again(&earlier, &file, &from, &to, links).map_err(at(writing))? {
            copied_bytes += file.bytes;
        }
        bytes += file.bytes;
        files.push(file);
    }
    let manifest = Manifest { format: FORMAT, partition: place.partition, offset: place.offset, files };
    write_manifest(&writing.join(MANIFEST_NAME), &manifest).map_err(at(writing))?;
    sync(writing)?;
    Ok((bytes, copied_bytes))
}

/// Links the file of the store; where that cannot be, the equal one of an earlier checkpoint; else copies it.
fn put_again(earlier: &Earlier, file: &Content, from: &Path, to: &Path, links: Links) -> io::Result<Placed> {
    if links == Links::WherePossible && link(from, to)? == Linked::Yes {
        // RocksDB has synced its tables, not what it wrote for us just now.
        if !is_table(&file.name) {
            File::open(to)?.sync_all()?;
        }
        return Ok(Placed::Linked);
    }
    if let Some(equal) = earlier.equal(file)
        && matches!(link(&equal, to), Ok(Linked::Yes))
    {
        return Ok(Placed::Linked);
    }
    copy(from, to)?;
    Ok(Placed::Copied)
}

/// Removes the checkpoints below the [`KEPT`] newest whole ones, counted from this one down. Those above stay: they
/// are of an owner that is further on, or of a log this one does not know.
fn prune(place: &Place) -> Result<usize, StoreError> {
    let (mut whole, mut removed) = (0, 0);
    for offset in offsets(&place.root)?.into_iter().filter(|offset| *offset <= place.offset) {
        let older = Place { offset, ..place.clone() };
        if whole == KEPT {
            remove(&older)?;
            removed += 1;
        } else if inspect(&older).is_ok() {
            whole += 1;
        }
    }
    Ok(removed)
}

/// Removes a checkpoint; none is no error.
fn remove(place: &Place) -> Result<(), StoreError> {
    remove_at_once(place, &place.dir())
}

/// Removes what processes left that died while they wrote or removed.
fn remove_unfinished(place: &Place) -> Result<(), StoreError> {
    for name in names(&place.root)? {
        if UNFINISHED.iter().any(|ending| name.ends_with(ending)) {
            remove_at_once(place, &place.root.join(name))?;
        }
    }
    Ok(())
}

/// Takes a directory its name before its first file: half of it is never a checkpoint, not even where another process
/// that thinks it owns the partition is about to make one of it.
fn remove_at_once(place: &Place, dir: &Path) -> Result<(), StoreError> {
    let removing = place.unfinished(UNFINISHED[1]);
    match fs::rename(dir, &removing) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at(&place.root)(error)),
        Ok(()) => remove_dir(&removing),
    }
}

/// What the whole checkpoints of a partition hold.
struct Earlier(BTreeMap<String, Vec<(PathBuf, Content)>>);

impl Earlier {
    fn read(place: &Place) -> Result<Self, StoreError> {
        let mut files: BTreeMap<String, Vec<(PathBuf, Content)>> = BTreeMap::new();
        for offset in offsets(&place.root)? {
            let place = Place { offset, ..place.clone() };
            let Ok((manifest, _)) = inspect(&place) else { continue };
            for file in manifest.files {
                files.entry(file.name.clone()).or_default().push((place.dir().join(&file.name), file));
            }
        }
        Ok(Self(files))
    }

    /// The hash of a file that was hashed before: the very same one, not one that looks alike.
    fn hash_of(&self, name: &str, source: &str) -> Option<String> {
        let known = self.0.get(name)?.iter().find(|(_, file)| file.source == source)?;
        Some(known.1.xxh3_128.clone())
    }

    /// A file with this name, size and hash.
    fn equal(&self, wanted: &Content) -> Option<PathBuf> {
        let is_equal = |file: &Content| (file.bytes, &file.xxh3_128) == (wanted.bytes, &wanted.xxh3_128);
        let equal = self.0.get(&wanted.name)?.iter().find(|(_, file)| is_equal(file))?;
        Some(equal.0.clone())
    }
}

/// What tells a file from every other one that had its name: device, inode, time of writing, size.
fn identity(metadata: &fs::Metadata) -> String {
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    format!("{}:{}:{seconds}.{nanoseconds:09}:{}", metadata.dev(), metadata.ino(), metadata.len())
}

fn write_manifest(path: &Path, manifest: &Manifest) -> io::Result<()> {
    let body = serde_json::to_string(manifest)?;
    let seal = serde_json::to_string(&Seal { xxh3_128: hex(xxh3_128(body.as_bytes())) })?;
    fs::write(path, format!("{body}\n{seal}\n"))?;
    File::open(path)?.sync_all()
}

fn read_manifest(place: &Place) -> Result<Manifest, String> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let damaged = || format!("{MANIFEST_NAME} is damaged");
    let bytes = fs::read(place.dir().join(MANIFEST_NAME)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{MANIFEST_NAME} is missing"),
        _ => format!("{MANIFEST_NAME} cannot be read: {error}"),
    })?;
    let text = String::from_utf8(bytes).map_err(|_| damaged())?;
    let (body, seal) = text.split_once('\n').ok_or_else(damaged)?;
    let seal: Seal = serde_json::from_str(seal).map_err(|_| damaged())?;
    if seal.xxh3_128 != hex(xxh3_128(body.as_bytes())) {
        return Err(damaged());
    }
    let Version { format } = serde_json::from_str(body).map_err(|_| damaged())?;
    if format != FORMAT {
        return Err(format!("{MANIFEST_NAME} has format {format}, this program knows {FORMAT}"));
    }
    let manifest: Manifest = serde_json::from_str(body).map_err(|_| damaged())?;
    if (manifest.partition, manifest.offset) != (place.partition, place.offset) {
        return Err(format!("it is that of partition {} at offset {}", manifest.partition, manifest.offset));
    }
    // Names are joined to directories: none may lead out of them.
    if manifest.files.iter().any(|file| file.name.contains('/') || file.name.starts_with('.')) {
        return Err(damaged());
    }
    Ok(manifest)
}

fn check_size(dir: &Path, file: &Content) -> Result<(), String> {
    let name = &file.name;
    let bytes = match fs::metadata(dir.join(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(format!("{name} is missing")),
        Err(error) => return Err(format!("{name} cannot be read: {error}")),
        Ok(metadata) => metadata.len(),
    };
    if bytes != file.bytes {
        return Err(format!("{name} has {bytes} bytes, not {}", file.bytes));
    }
    Ok(())
}

fn is_table(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "sst")
}

/// How a file came to its place.
#[derive(Debug, PartialEq, Eq)]
enum Placed {
    Linked,
    Copied,
}

/// Whether two places can share a file.
#[derive(Debug, PartialEq, Eq)]
enum Linked {
    Yes,
    /// They are on different file systems, or theirs has no links.
    Impossible,
}

fn put(from: &Path, to: &Path, links: Links) -> io::Result<Placed> {
    if links == Links::WherePossible && link(from, to)? == Linked::Yes {
        return Ok(Placed::Linked);
    }
    copy(from, to)?;
    Ok(Placed::Copied)
}

fn link(from: &Path, to: &Path) -> io::Result<Linked> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(Linked::Yes),
        Err(error) => match error.kind() {
            // The last is what file systems without links say.
            ErrorKind::CrossesDevices
            | ErrorKind::TooManyLinks
            | ErrorKind::Unsupported
            | ErrorKind::PermissionDenied => Ok(Linked::Impossible),
            _ => Err(error),
        },
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Xxh3::new(), vec![0; READ_BYTES]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(hasher.digest128())),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn hex(hash: u128) -> String {
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RocksDB happens to replace the files it changes; the checkpoint must not depend on it.
    #[test]
    fn only_tables_are_shared_with_a_restored_store() {
        let dir = tempfile::tempdir().unwrap();
        let frozen = dir.path().join("frozen");
        fs::create_dir(&frozen).unwrap();
        fs::write(frozen.join("000009.sst"), "table").unwrap();
        fs::write(frozen.join("CURRENT"), "current").unwrap();
        let frozen = Files::all_in(frozen).unwrap();
        let place = Place { root: dir.path().join("checkpoints/0"), partition: 0, offset: 7 };
        let report = write(&place, &frozen, Links::WherePossible).unwrap();
        assert_eq!(report, CheckpointReport { offset: 7, bytes: 12, copied_bytes: 0, removed: 0 });
        let into = dir.path().join("store");
        restore(&place, &into, Links::WherePossible).unwrap();
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(into.join("000009.sst")), inode(place.dir().join("000009.sst")));
        assert_ne!(inode(into.join("CURRENT")), inode(place.dir().join("CURRENT")));
        assert!(!into.join(MANIFEST_NAME).exists());
    }

    #[test]
    fn a_restore_that_cannot_write_does_not_blame_the_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let frozen = dir.path().join("frozen");
        fs::create_dir(&frozen).unwrap();
        fs::write(frozen.join("CURRENT"), "current").unwrap();
        let frozen = Files::all_in(frozen).unwrap();
        let place = Place { root: dir.path().join("checkpoints/0"), partition: 0, offset: 7 };
        write(&place, &frozen, Links::Never).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let into = dir.path().join("file/store");
        let failed = restore(&place, &into, Links::Never).unwrap_err();
        assert!(matches!(&failed, Unusable::Failed(StoreError::Io(text)) if text.contains("file/store")), "{failed:?}");
    }
}
