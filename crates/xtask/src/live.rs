//! Live processes of Touchline in directories of their own, and the command line that speaks to them.

use crate::{cargo, http};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value as Json;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// A start or an ending that takes longer than this is a fault. A debug build on a busy machine takes two seconds.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often something is looked at again while it is waited for.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Where topics are.
#[derive(Debug, Clone)]
pub(crate) struct Kafka {
    /// `host:port,host:port`.
    pub(crate) brokers: String,
    /// Put before each topic's name.
    pub(crate) topic_prefix: String,
}

impl Kafka {
    /// As the command line takes it.
    pub(crate) fn arguments(&self) -> [&str; 4] {
        ["--brokers", &self.brokers, "--topic-prefix", &self.topic_prefix]
    }
}

/// Processes on Kafka, by what they do. Two processors share the partitions.
const CLUSTER: [(&str, &str); 4] =
    [("ingest", "ingest"), ("query", "query"), ("processor-1", "processor"), ("processor-2", "processor")];

/// A running Touchline: one process, or several on Kafka. They are killed when this is dropped, unless they were stopped.
#[derive(Debug)]
pub(crate) struct Server {
    processes: Vec<Process>,
    /// Who takes events: `127.0.0.1:N`.
    pub(crate) http: String,
    /// Who answers questions: `127.0.0.1:N`.
    pub(crate) grpc: String,
    tenant: String,
}

impl Server {
    /// Starts `touchline dev` with its data in `directory/data` and its log in `directory/server.log`, and waits until
    /// it is ready. Errors: it ends or is not ready in time; the message shows the end of its log.
    pub(crate) fn start(directory: &Path, tenant: &str, arguments: &[&str]) -> Result<Self> {
        let process = Process::start("dev", directory.join("data"), directory.join("server.log"), &["dev"], arguments)?;
        let mut processes = vec![process];
        wait_until_ready(&mut processes)?;
        let (http, grpc) = (processes[0].http.clone(), processes[0].grpc.clone());
        Ok(Self { processes, http, grpc, tenant: tenant.to_owned() })
    }

    /// Starts a process for ingest, one for query and two processors over topics that exist, each with its data in
    /// `directory/NAME` and its log in `directory/NAME.log`, and waits until all are ready and both processors have
    /// partitions. Errors: as for [`Self::start`].
    pub(crate) fn start_cluster(directory: &Path, tenant: &str, kafka: &Kafka, arguments: &[&str]) -> Result<Self> {
        let arguments = [arguments, &kafka.arguments()].concat();
        let mut processes = Vec::new();
        for (name, role) in CLUSTER {
            let log = directory.join(format!("{name}.log"));
            processes.push(Process::start(name, directory.join(name), log, &["serve", "--roles", role], &arguments)?);
        }
        wait_until_ready(&mut processes)?;
        let (http, grpc) = (processes[0].http.clone(), processes[1].grpc.clone());
        let server = Self { processes, http, grpc, tenant: tenant.to_owned() };
        server.wait_until_shared()?;
        Ok(server)
    }

    /// The second processor joins while the first already has everything; only then half of it moves.
    fn wait_until_shared(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let owned = self.processors().map(|processor| processor.metric(TAKEOVERS, &[("outcome", "ok")]));
            if owned.collect::<Result<Vec<_>>>()?.iter().all(|count| *count > 0) {
                return Ok(());
            }
            check_interrupted()?;
            if started.elapsed() > DEADLINE {
                bail!("the partitions are not shared after {} s\n{}", DEADLINE.as_secs(), self.log_end());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn processors(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.name.starts_with("processor"))
    }

    /// How often each processor has published.
    pub(crate) fn publications(&self) -> Result<Vec<u64>> {
        self.processors()
            .map(|processor| processor.metric("touchline_publications_total", &[("outcome", "ok")]))
            .collect()
    }

    /// Names and process ids.
    pub(crate) fn names(&self) -> Vec<String> {
        self.processes.iter().map(|process| format!("{} ({})", process.name, process.child.id())).collect()
    }

    /// Directories that hold state which the log can give again.
    pub(crate) fn data_dirs(&self) -> Vec<PathBuf> {
        let with_state = |process: &&Process| process.name == "dev" || process.name.starts_with("processor");
        self.processes.iter().filter(with_state).map(|process| process.data.clone()).collect()
    }

    /// The last lines of every process's log.
    pub(crate) fn log_end(&self) -> String {
        let ends = self.processes.iter().map(|process| format!("{}:\n{}", process.log.display(), process.log_end()));
        ends.collect::<Vec<_>>().join("\n")
    }

    /// Runs a client command and returns what it prints for people. Errors: it fails; the message is its own.
    pub(crate) fn text(&self, arguments: &[&str]) -> Result<String> {
        let server = ["--server", &self.grpc, "--http", &self.http, "--tenant", &self.tenant];
        touchline(&[arguments, &server].concat())
    }

    /// Runs a client command with `--json`: one value per line.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Vec<Json>> {
        let arguments = [arguments, &["--json"]].concat();
        let text = self.text(&arguments)?;
        text.lines().map(|line| serde_json::from_str(line).map_err(|_| anyhow!("no JSON: {line}"))).collect()
    }

    /// The sum of a metric's series that carry these labels, over all processes; 0 when there is none. Errors: no
    /// answer.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
        self.processes.iter().map(|process| process.metric(name, labels)).sum()
    }

    /// Stops every process as an operator would, and waits. Errors: one does not end well in time.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.processes.iter().try_for_each(Process::terminate)?;
        self.processes.iter_mut().try_for_each(Process::wait)
    }

    /// Waits until the user wants it to end, or every process has ended; then ends all of them at once: those that share
    /// the terminal got Ctrl-C as well, and would take a second signal for impatience. One that is killed meanwhile is
    /// not missed: others go on with its work.
    pub(crate) fn wait_for_the_end(mut self) {
        let mut is_running = |process: &mut Process| matches!(process.child.try_wait(), Ok(None));
        while !interrupted() && self.processes.iter_mut().any(&mut is_running) {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Counts partitions that a process took over.
const TAKEOVERS: &str = "touchline_takeovers_total";

/// Runs the program in the root of the workspace and returns what it prints. Errors: it fails; the message is its own.
pub(crate) fn touchline(arguments: &[&str]) -> Result<String> {
    check_interrupted()?;
    let output = Command::new(cargo::touchline_bin())
        .args(arguments)
        .current_dir(cargo::root())
        .stdin(Stdio::null())
        .output()
        .context("cannot start touchline")?;
    if !output.status.success() {
        check_interrupted()?;
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`touchline {}` failed: {}", arguments.join(" "), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One process. It is killed when this is dropped.
#[derive(Debug)]
struct Process {
    name: &'static str,
    child: Child,
    data: PathBuf,
    log: PathBuf,
    http: String,
    grpc: String,
}

impl Process {
    fn start(name: &'static str, data: PathBuf, log: PathBuf, command: &[&str], arguments: &[&str]) -> Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(cargo::touchline_bin())
            .args(command)
            .args(["--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .args(arguments)
            .current_dir(cargo::root())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", cargo::touchline_bin().display()))?;
        Ok(Self { name, child, data, log, http: String::new(), grpc: String::new() })
    }

    fn is_ready(&mut self) -> Result<bool> {
        let Ok(text) = std::fs::read_to_string(self.data.join("ports.json")) else { return Ok(false) };
        let ports: Json = serde_json::from_str(&text).context("ports.json is no JSON")?;
        if ports["pid"] != self.child.id() {
            // What a process that was killed left behind.
            return Ok(false);
        }
        let address =
            |name: &str| ports[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in ports.json"));
        (self.http, self.grpc) = (address("http")?, address("grpc")?);
        Ok(http::get(&self.http, "/readyz").is_ok_and(|answer| answer.status == 200))
    }

    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
        let answer = http::get(&self.http, "/metrics")?;
        if answer.status != 200 {
            bail!("/metrics answers {}", answer.status);
        }
        Ok(sum_of(&answer.body, name, labels))
    }

    fn log_end(&self) -> String {
        const LINES: usize = 15;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn terminate(&self) -> Result<()> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).stderr(Stdio::null()).status();
        if !status.context("cannot run kill")?.success() {
            bail!("{} had ended before\n{}", self.name, self.log_end());
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let (name, started) = (self.name, Instant::now());
        while started.elapsed() < DEADLINE {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{name} ended badly: {status}\n{}", self.log_end()),
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
        bail!("{name} did not end within {} s\n{}", DEADLINE.as_secs(), self.log_end())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

fn wait_until_ready(processes: &mut [Process]) -> Result<()> {
    let started = Instant::now();
    for process in processes {
        while !process.is_ready()? {
            let name = process.name;
            check_interrupted()?;
            if let Some(status) = process.child.try_wait()? {
                bail!("{name} ended: {status}\n{}", process.log_end());
            }
            if started.elapsed() > DEADLINE {
                bail!("{name} is not ready after {} s\n{}", DEADLINE.as_secs(), process.log_end());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    Ok(())
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C, SIGTERM and a closed terminal end this program by way of errors, so that whoever holds processes and directories
/// cleans them up. A second call changes nothing.
pub(crate) fn end_gracefully() -> Result<()> {
    static ONCE: OnceLock<()> = OnceLock::new();
    if ONCE.set(()).is_err() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot wait for signals")?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    let waiter = std::thread::Builder::new().name("signals".to_owned());
    waiter.spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::SeqCst);
    })?;
    Ok(())
}

/// Whether the user wants this program to end.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Errors: the user wants this program to end.
pub(crate) fn check_interrupted() -> Result<()> {
    if interrupted() { bail!("interrupted") } else { Ok(()) }
}

/// Reads the text format: `name{a="x",b="y"} 3`.
fn sum_of(text: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    let mut sum = 0.0;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else { continue };
        let Some((series, value)) = rest.rsplit_once(' ') else { continue };
        let is_series = series.is_empty() || series.starts_with('{');
        let has = |(label, value): &(&str, &str)| series.contains(&format!("{label}=\"{value}\""));
        if is_series && labels.iter().all(has) {
            sum += value.parse::<f64>().unwrap_or_default();
        }
    }
    // Counters are whole; Prometheus writes them as floats.
    format!("{sum:.0}").parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_label() {
        let text = "# HELP a x\na{b=\"1\",c=\"2\"} 3\na{b=\"1\",c=\"4\"} 5\na_total{b=\"1\"} 7\nd 9\n";
        assert_eq!(sum_of(text, "a", &[("b", "1")]), 8);
        assert_eq!(sum_of(text, "a", &[("b", "1"), ("c", "2")]), 3);
        assert_eq!(sum_of(text, "a_total", &[]), 7);
        assert_eq!(sum_of(text, "d", &[]), 9);
        assert_eq!(sum_of(text, "gone", &[]), 0);
    }
}
