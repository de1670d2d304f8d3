//! Runs cargo and test programs: where things lie, progress while they run, totals of what they passed.

use crate::results::{Ran, Reader};
use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A build that is silent for longer than this says that it is alive.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// What RocksDB costs once, measured on two cores; said before the first build.
const ROCKSDB_BUILD: &str = "about 11 minutes on two cores";

/// The directory of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).expect("xtask lies two levels below the root").to_path_buf()
}

/// Directory for what outlives a clone: compiled files under CI, tools that were unpacked.
pub(crate) fn cache_dir() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("touchline")
}

/// Where cargo puts what it compiles: `CARGO_TARGET_DIR`, else outside the clone under CI, else `target`.
pub(crate) fn target_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match (set("CARGO_TARGET_DIR"), set("CI")) {
        (Some(dir), _) => root().join(dir),
        (None, Some(ci)) if ci == "true" => cache_dir().join("target"),
        (None, _) => root().join("target"),
    }
}

/// Path of the built `touchline` program.
pub(crate) fn touchline_bin() -> PathBuf {
    target_dir().join("debug").join("touchline")
}

/// A cargo command in the root of the workspace, without stdin.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root()).env("CARGO_TARGET_DIR", target_dir()).stdin(Stdio::null());
    command
}

/// Runs a command to its end, passing its output on and counting test results. Says every half minute that it is
/// still running, and whether RocksDB is what takes so long. Errors: it cannot be started.
pub(crate) fn watch(command: &mut Command) -> Result<Ran> {
    let mut reader = Reader::default();
    let success = watch_lines(command, |line| {
        println!("{line}");
        reader.read(line);
    })?;
    Ok(reader.conclude(success))
}

/// Like [`watch`], but hands every line of stdout to `each` instead of printing it.
pub(crate) fn watch_lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    let name = command.get_program().to_string_lossy().into_owned();
    let started = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {name}"))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    loop {
        match lines.recv_timeout(PROGRESS_EVERY) {
            Ok(line) => each(&line),
            Err(RecvTimeoutError::Timeout) => eprintln!("   … {} {}", clock(started.elapsed()), doing()),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {name}"))?;
    reader.join().ok();
    Ok(status.success())
}

/// What a silent build is doing, as far as the target directory shows it.
fn doing() -> String {
    match rocksdb_state() {
        RocksDb::Compiling => format!("compiling RocksDB (once, {ROCKSDB_BUILD})"),
        RocksDb::Absent | RocksDb::Compiled => "still running".to_owned(),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum RocksDb {
    Absent,
    Compiling,
    Compiled,
}

/// Cargo writes `output` beside `out` when a build script has finished.
fn rocksdb_state() -> RocksDb {
    let Ok(entries) = std::fs::read_dir(target_dir().join("debug").join("build")) else { return RocksDb::Absent };
    let runs = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("librocksdb-sys-"));
    let mut state = RocksDb::Absent;
    for run in runs.map(|entry| entry.path()).filter(|path| path.join("out").is_dir()) {
        if run.join("output").is_file() {
            return RocksDb::Compiled;
        }
        state = RocksDb::Compiling;
    }
    state
}

/// Says how long the coming build takes, if it is the first one with RocksDB.
pub(crate) fn announce_first_build() {
    if rocksdb_state() != RocksDb::Compiled {
        println!("The first build compiles RocksDB: {ROCKSDB_BUILD}, once. Compiled files: {}", target_dir().display());
    }
}

/// `75 s` as `1m15s`.
pub(crate) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1}s", duration.as_secs_f64())
    } else {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    }
}

/// A compiled test program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestProgram {
    /// Package, e.g. `touchline-rocks`.
    pub(crate) package: String,
    /// Target, e.g. `contract`.
    pub(crate) target: String,
    pub(crate) path: PathBuf,
    /// Where the package lies; test programs run there.
    pub(crate) package_dir: PathBuf,
}

impl TestProgram {
    /// Whether `name` is its package, or its `package/target`.
    pub(crate) fn is(&self, name: &str) -> bool {
        let (package, target) = name.split_once('/').unwrap_or((name, &self.target));
        (package, target) == (self.package.as_str(), self.target.as_str())
    }

    /// Runs it in its package, as `cargo test` would.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Ran> {
        self.run_with(arguments, &[])
    }

    /// As [`TestProgram::run`], with environment variables.
    pub(crate) fn run_with(&self, arguments: &[&str], environment: &[(&str, String)]) -> Result<Ran> {
        println!("     Running {} {}", self.package, self.target);
        let mut command = Command::new(&self.path);
        command.args(arguments).current_dir(&self.package_dir).stdin(Stdio::null());
        command.env("CARGO_MANIFEST_DIR", &self.package_dir).env("CARGO_TARGET_DIR", target_dir());
        command.env("TOUCHLINE_BIN", touchline_bin());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        watch(&mut command)
    }
}

/// Compiles every program and test of the workspace at once and lists the tests.
///
/// At once, because cargo unites features over what is selected: a part of the workspace would give RocksDB's build
/// dependencies other features, and RocksDB would be compiled a second time.
pub(crate) fn build_tests() -> Result<Vec<TestProgram>> {
    build_programs()?;
    let mut tests = Vec::new();
    let arguments = ["test", "--workspace", "--no-run", "--locked", "--message-format", "json-render-diagnostics"];
    let built = watch_lines(&mut cargo(&arguments), |line| tests.extend(test_program(line)))?;
    if !built {
        bail!("the workspace does not compile");
    }
    tests.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(tests)
}

/// Compiles the `touchline` program with the features of the whole workspace (see [`build_tests`]).
pub(crate) fn build_programs() -> Result<()> {
    let ran = watch(&mut cargo(&["build", "--workspace", "--bin", "touchline", "--locked"]))?;
    if ran.success { Ok(()) } else { bail!("touchline does not compile") }
}

/// A test program named by one line of cargo's messages.
fn test_program(line: &str) -> Option<TestProgram> {
    let message: Json = serde_json::from_str(line).ok()?;
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let path = message["executable"].as_str().filter(|_| is_test)?;
    let manifest = Path::new(message["manifest_path"].as_str()?);
    Some(TestProgram {
        package: package_name(message["package_id"].as_str()?).to_owned(),
        target: message["target"]["name"].as_str()?.to_owned(),
        path: path.into(),
        package_dir: manifest.parent()?.to_path_buf(),
    })
}

/// `path+file:///x/crates/rocks#touchline-rocks@0.1.0` → `touchline-rocks`; `…/xtask#0.1.0` → `xtask`.
fn package_name(package_id: &str) -> &str {
    let (location, fragment) = package_id.rsplit_once('#').unwrap_or(("", package_id));
    match fragment.split_once('@') {
        Some((name, _)) => name,
        None => location.rsplit('/').next().unwrap_or(fragment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Totals;

    #[test]
    fn test_programs_are_read_from_cargos_messages() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/crates/rocks#touchline-rocks@0.1.0",
            "manifest_path":"/w/crates/rocks/Cargo.toml","target":{"name":"contract"},"profile":{"test":true},
            "executable":"/t/debug/deps/contract-1"}"#;
        let program = test_program(line).unwrap();
        assert_eq!((program.package.as_str(), program.target.as_str()), ("touchline-rocks", "contract"));
        assert_eq!(program.package_dir, Path::new("/w/crates/rocks"));
        let names = ["touchline-rocks", "touchline-rocks/contract", "touchline-rocks/kill", "touchline"];
        assert_eq!(names.map(|name| program.is(name)), [true, true, false, false]);
        assert_eq!(test_program(&line.replace("\"test\":true", "\"test\":false")), None);
        assert_eq!(test_program(r#"{"reason":"build-finished"}"#), None);
        assert_eq!(package_name("path+file:///w/crates/xtask#0.1.0"), "xtask");
    }

    #[test]
    fn a_command_that_fails_is_no_success() {
        let ran = watch(Command::new("sh").args(["-c", "echo 'test result: FAILED. 1 passed; 2 failed; x'; exit 3"]));
        let ran = ran.unwrap();
        assert_eq!((ran.success, ran.totals), (false, Totals { passed: 1, failed: 2, skipped: 0 }));
        assert!(watch(&mut Command::new("/no/such/program")).is_err());
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(clock(Duration::from_millis(1_240)), "1.2s");
        assert_eq!(clock(Duration::from_secs(630)), "10m30s");
    }
}
