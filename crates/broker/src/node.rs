//! One broker: its files, its process, and the guard that ends it when its owner is gone.

use crate::cluster::Error;
use crate::jars::Jars;
use crate::wire;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A broker that is not ready by then has a fault; alone it takes two seconds.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// A clean stop that takes longer is cut short.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// How often a starting or stopping broker is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// One request to a broker that is ready takes a millisecond; a starting one is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How much of a log an error shows.
const LOG_END_LINES: usize = 15;

/// What a broker logs when it has loaded a coordinator that it had loaded already.
const IGNORED_LOAD: &str = "Ignored load completion from";
/// What it logs when it is told to load again what it is loading.
const CANCELLED_LOAD: &str = "Cancelling load of currently loading partition";
/// What it logs before and after loading the coordinator of groups of one partition at one epoch.
const LOADING: &str = "Scheduling loading of metadata from ";
const LOADED: &str = "Finished loading of metadata from ";

/// The shell becomes the broker (`exec`), so the broker's pid is the child's. Beside it stays a guard that reads from
/// the owner's pipe: a line means that the owner ends the broker itself; the end of the pipe, that the owner is gone,
/// however it ended. Then the guard kills the broker and removes the directory, if there is one to remove. The guard
/// belongs to the broker's process group, so nobody else can get the broker's pid while the guard may still use it.
const GUARDED: &str = r#"
directory=$1; shift
exec 3<&0
(
    if read -r _ <&3; then exit 0; fi
    kill -KILL $$
    if [ -n "$directory" ]; then rm -rf "$directory" || { sleep 1; rm -rf "$directory"; }; fi
) >/dev/null 2>&1 &
exec "$@" </dev/null 3<&-
"#;

/// The ports of one broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// Plaintext, between brokers and for clients of a cluster without security.
    pub(crate) broker: u16,
    /// SASL over TLS, where asked for.
    pub(crate) secure: u16,
    /// Plaintext, advertised at the port of the proxy.
    pub(crate) proxied: u16,
    pub(crate) controller: u16,
}

/// One broker of a cluster, running or not.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: u32,
    pub(crate) ports: Ports,
    directory: PathBuf,
    remove_when_orphaned: Option<PathBuf>,
    java: Vec<String>,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    guard: ChildStdin,
}

impl Node {
    /// Writes the configuration. `java` are options of the virtual machine. `remove_when_orphaned` is the cluster's directory, if it is temporary. Errors: the
    /// directory cannot be written.
    pub(crate) fn create(
        id: u32,
        ports: Ports,
        root: &Path,
        remove_when_orphaned: Option<PathBuf>,
        java: Vec<String>,
        properties: &[(String, String)],
    ) -> Result<Self, Error> {
        let directory = root.join(format!("broker-{id}"));
        std::fs::create_dir_all(&directory).map_err(|error| Error::io("create a broker's directory", error))?;
        let node = Self { id, ports, directory, remove_when_orphaned, java, process: None };
        let data = [("log.dirs".to_owned(), node.data().display().to_string())];
        let lines = properties.iter().chain(&data).map(|(name, value)| format!("{name}={value}\n"));
        let written = std::fs::write(node.configuration(), lines.collect::<String>());
        written.map_err(|error| Error::io("write a broker's configuration", error))?;
        Ok(node)
    }

    /// Starts the tool that formats the data directory; `None` if it has been formatted before.
    pub(crate) fn format(&self, jars: &Jars, cluster_id: &str, scram: Option<String>) -> Result<Option<Child>, Error> {
        if self.data().join("meta.properties").is_file() {
            return Ok(None);
        }
        let options = ["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
        let mut command = jars.java_with(&options, "kafka.tools.StorageTool");
        command.args(["format", "--cluster-id", cluster_id, "--config"]).arg(self.configuration());
        command.args(scram.iter().flat_map(|user| ["--add-scram", user]));
        command.stdout(Stdio::null()).stderr(self.log_file()?);
        command.spawn().map(Some).map_err(|error| Error::io("start java", error))
    }

    /// Starts the process; does nothing if it runs. Errors: it cannot be started.
    pub(crate) fn spawn(&mut self, jars: &Jars) -> Result<(), Error> {
        if self.process.is_some() {
            return Ok(());
        }
        let logging = [
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
            // Three hundred lines of settings each time.
            "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
        ];
        let options: Vec<&str> = self.java.iter().map(String::as_str).chain(logging).collect();
        let broker = jars.java_with(&options, "kafka.Kafka");
        let mut command = Command::new("sh");
        command.args(["-c", GUARDED, "guard"]);
        command.arg(self.remove_when_orphaned.as_deref().unwrap_or(Path::new("")));
        command.arg(broker.get_program()).args(broker.get_args()).arg(self.configuration());
        command.process_group(0).stdin(Stdio::piped()).stdout(self.log_file()?).stderr(self.log_file()?);
        let mut child = command.spawn().map_err(|error| Error::io("start sh", error))?;
        let guard = child.stdin.take().expect("standard input is piped");
        self.process = Some(Process { child, guard });
        Ok(())
    }

    /// Waits until the broker answers requests and knows `brokers` brokers, itself among them. Errors: it ends, or is
    /// not ready in time; the error shows the end of its log.
    pub(crate) fn wait_until_ready(&mut self, brokers: usize) -> Result<(), Error> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.broker));
        let started = Instant::now();
        loop {
            let known = wire::known_brokers(address, ANSWER_WITHIN).unwrap_or_default();
            if known.contains(&self.id) && known.len() >= brokers {
                return Ok(());
            }
            if let Some(status) = self.ended() {
                return Err(Error::Ended { id: self.id, status, log: self.log_end() });
            }
            if started.elapsed() > READY_WITHIN {
                return Err(Error::NotReady { id: self.id, after_s: READY_WITHIN.as_secs(), log: self.log_end() });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// How the process ended, if it did so by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let process = self.process.as_mut()?;
        process.child.try_wait().ok().flatten()
    }

    /// Process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    /// kill -9, and waits until it is gone. Also ends one that is stopped. Nothing if it does not run.
    pub(crate) fn kill(&mut self) {
        self.signal_kill();
        self.reap();
    }

    /// kill -9 without waiting, so that several end at once.
    pub(crate) fn signal_kill(&mut self) {
        if let Some(process) = &mut self.process {
            // It fails for a process that has ended: as wanted.
            process.child.kill().ok();
        }
    }

    /// Waits for a process that ends or has ended, and sends its guard away.
    pub(crate) fn reap(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.child.wait().ok();
            process.guard.write_all(b"\n").ok();
        }
    }

    /// SIGTERM, and waits until it is gone; kill -9 after half a minute. Errors: no signal can be sent.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        if self.process.is_none() || self.ended().is_some() {
            self.reap();
            return Ok(());
        }
        self.signal("TERM")?;
        let started = Instant::now();
        while self.ended().is_none() && started.elapsed() < STOP_WITHIN {
            std::thread::sleep(LOOK_AGAIN);
        }
        self.kill();
        Ok(())
    }

    /// Sends a signal by name. Errors: the broker does not run.
    pub(crate) fn signal(&mut self, name: &str) -> Result<(), Error> {
        let pid = self.pid().filter(|_| self.ended().is_none()).ok_or(Error::NotRunning(self.id))?;
        // The standard library sends no signal but KILL; the shell's own `kill` needs no further package.
        let status = Command::new("sh").args(["-c", r#"kill -"$0" "$1""#, name, &pid.to_string()]).status();
        match status.map_err(|error| Error::io("start sh", error))? {
            status if status.success() => Ok(()),
            status => Err(Error::Tool { tool: "kill", said: status.to_string() }),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("broker.log")
    }

    pub(crate) fn log_end(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_END_LINES)..].join("\n")
    }

    /// How long its log is.
    pub(crate) fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.log()).map_or(0, |metadata| metadata.len())
    }

    /// Whether the coordinators were being loaded a second time before they were loaded the first time, going by what
    /// the log says from `from` on. Waits until those of groups are loaded.
    ///
    /// A broker that is its own controller and was killed takes itself for the leader of everything, until it has
    /// registered again, and then for the leader once more, two epochs later (Kafka 4.3.0). Where loading takes longer
    /// than that, what it has loaded at first is kept as if it were loaded at last: members of a group that are gone
    /// count as alive, and rebalances wait for them.
    pub(crate) fn loaded_twice(&self, from: u64) -> bool {
        let started = Instant::now();
        loop {
            let text = std::fs::read(self.log()).unwrap_or_default();
            let since = text.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
            let log = String::from_utf8_lossy(since);
            if [IGNORED_LOAD, CANCELLED_LOAD].iter().any(|words| log.contains(words)) {
                return true;
            }
            if all_loaded(&log) || started.elapsed() > READY_WITHIN {
                return false;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn configuration(&self) -> PathBuf {
        self.directory.join("server.properties")
    }

    fn log_file(&self) -> Result<File, Error> {
        let opened = File::options().create(true).append(true).open(self.log());
        opened.map_err(|error| Error::io("write a broker's log", error))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether every coordinator of groups that was begun to be loaded last is loaded: `topic-partition with epoch n`.
fn all_loaded(log: &str) -> bool {
    let mut last = BTreeMap::new();
    let mut loaded = BTreeSet::new();
    for line in log.lines() {
        if let Some((partition, epoch)) = line.split_once(LOADING).and_then(|(_, rest)| loading(rest)) {
            last.insert(partition, epoch);
        } else if let Some((partition, epoch)) = line.split_once(LOADED).and_then(|(_, rest)| loading(rest)) {
            loaded.insert((partition, epoch));
        }
    }
    last.into_iter().all(|entry| loaded.contains(&entry))
}

fn loading(text: &str) -> Option<(&str, &str)> {
    let (partition, rest) = text.split_once(" with epoch ")?;
    Some((partition, rest.split(' ').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinators_are_loaded_when_each_is_at_its_last_epoch() {
        let begun = "I Scheduling loading of metadata from __consumer_offsets-1 with epoch 4\n";
        let done = "I Finished loading of metadata from __consumer_offsets-1 with epoch 4 in 12ms where\n";
        let again = "I Scheduling loading of metadata from __consumer_offsets-1 with epoch 6\n";
        let other = "I Scheduling loading of metadata from __consumer_offsets-0 with epoch 4\n";
        assert!(all_loaded(""));
        assert!(!all_loaded(begun));
        assert!(all_loaded(&[begun, done].concat()));
        assert!(!all_loaded(&[begun, done, again].concat()));
        assert!(!all_loaded(&[begun, done, other].concat()));
    }
}
