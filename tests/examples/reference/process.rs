//! Processes: start, stop, and what they have used, from /proc.

use crate::Outcome;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// The processes under test: those named, and the one started here.
pub(crate) struct Program {
    pids: Vec<u32>,
    started: Option<Started>,
}

/// Killed when dropped: a measurement that fails leaves nothing behind.
struct Started {
    child: Child,
    /// The last line it printed: its own figures.
    last_line: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// Starts `command` unless it is empty, and watches it and `pids`.
    pub(crate) fn start(command: &[String], pids: &[u32]) -> Outcome<Self> {
        let mut pids = pids.to_vec();
        let Some((program, arguments)) = command.split_first() else { return Ok(Self { pids, started: None }) };
        let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let last_line = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&last_line);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *kept.lock().expect("nobody panics while holding it") = line;
            }
        });
        pids.push(child.id());
        Ok(Self { pids, started: Some(Started { child, last_line, reader: Some(reader) }) })
    }

    /// CPU seconds used so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.pids.iter().map(|&pid| cpu_seconds(pid)).sum()
    }

    /// CPU seconds by the kind of thread, those that still run.
    pub(crate) fn threads(&self) -> BTreeMap<String, f64> {
        let mut kinds = BTreeMap::<String, f64>::new();
        for thread in self.pids.iter().flat_map(|&pid| threads(pid)) {
            let kind = thread.name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == ':');
            *kinds.entry(kind.to_owned()).or_default() += thread.cpu_seconds;
        }
        kinds.values_mut().for_each(|seconds| *seconds = (*seconds * 100.0).round() / 100.0);
        kinds
    }

    /// Most memory they had resident at once, each by itself.
    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        self.pids.iter().map(|pid| status_bytes(&format!("/proc/{pid}/status"), "VmHWM:")).sum()
    }

    /// An error once the started process has ended.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        match self.started.as_mut().map(|started| started.child.try_wait()).transpose()?.flatten() {
            Some(status) if !status.success() => Err(format!("the program under test ended: {status}").into()),
            _ => Ok(()),
        }
    }

    /// Ends what was started, with SIGTERM, and gives the last line it printed.
    pub(crate) fn stop(self) -> Outcome<String> {
        let Some(mut started) = self.started else { return Ok(String::new()) };
        if started.child.try_wait()?.is_none() {
            // The standard library can only send SIGKILL.
            Command::new("kill").args(["-TERM", &started.child.id().to_string()]).status()?;
        }
        started.child.wait()?;
        if let Some(reader) = started.reader.take() {
            reader.join().expect("it does not panic");
        }
        let line = started.last_line.lock().expect("nobody panics while holding it").clone();
        Ok(line)
    }
}

/// A thread.
pub(crate) struct Thread {
    pub(crate) name: String,
    cpu_seconds: f64,
}

/// The threads of a process.
pub(crate) fn threads(pid: u32) -> Vec<Thread> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let thread = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned();
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        Some(Thread { name, cpu_seconds: cpu_seconds_in(&stat) })
    };
    tasks.filter_map(thread).collect()
}

/// CPU seconds a process has used so far; 0 when there is none.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    cpu_seconds_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default())
}

fn cpu_seconds_in(stat: &str) -> f64 {
    /// The kernel counts in hundredths whatever its own tick is.
    const TICKS_PER_SECOND: f64 = 100.0;
    // The name in parentheses may hold spaces; behind it come state (3rd field), …, utime (14th), stime (15th).
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// A `name: N kB` line of a status file, in bytes.
pub(crate) fn status_bytes(path: &str, name: &str) -> u64 {
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
}

/// Lets time pass: for the pace of a load, and where rdkafka has nothing to wait on. Tests wait for conditions.
pub(crate) fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

/// True once SIGTERM or SIGINT came.
pub(crate) fn stop_signal() -> Outcome<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut term, mut interrupt) = {
        let _guard = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
        });
        asked.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}
