//! One broker, and the programs that are measured on it: started, fed and ended.

use crate::bench::{build, example_path};
use crate::cargo;
use crate::http;
use crate::setup::{self, Need};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use touchline_broker::{Cluster, Options};

/// A measurement that takes longer hangs.
const MEASURED_WITHIN: Duration = Duration::from_secs(600);
/// A server that is not there by then does not start.
const STARTED_WITHIN: Duration = Duration::from_secs(120);
/// A server that still runs so long after SIGTERM hangs.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// How often something awaited is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How much of a log an error shows.
const LOG_END_LINES: usize = 20;

/// What is compiled.
pub(crate) struct Programs {
    touchline: PathBuf,
    reference: PathBuf,
    /// Directory with the jars of the Kafka Streams reference.
    streams: PathBuf,
}

/// A broker and a directory.
pub(crate) struct Rig {
    programs: Programs,
    cluster: Cluster,
    broker_pid: u32,
    work: Work,
    numbered: Cell<u32>,
}

/// Topics of one subject: never used twice where that could matter.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    prefix: String,
    pub(crate) partitions: u32,
}

/// How publications are kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publish {
    Transactional,
    Sequenced,
}

/// How a Touchline runs.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) publish: Publish,
    /// `group.instance.id`.
    pub(crate) instance: Option<String>,
    pub(crate) standby: bool,
    /// Directory for checkpoints, and seconds between them.
    pub(crate) checkpoints: Option<(PathBuf, u64)>,
}

/// A Touchline that can be started: data directory and configuration.
pub(crate) struct Server {
    pub(crate) data_dir: PathBuf,
    command: Vec<String>,
}

/// A started Touchline; killed when dropped.
pub(crate) struct Running {
    child: Child,
    data_dir: PathBuf,
    log: PathBuf,
}

impl Programs {
    /// Compiles them, or takes `touchline` and `reference` from a directory.
    pub(crate) fn provide(compiled: Option<&Path>) -> Result<Self> {
        setup::run(Need::Kafka)?;
        let streams = provide_streams()?;
        if let Some(directory) = compiled {
            let [touchline, reference] = ["touchline", "reference"].map(|name| directory.join(name));
            return Ok(Self { touchline, reference, streams });
        }
        setup::run(Need::Build)?;
        build("reference")?;
        Ok(Self { touchline: cargo::touchline_bin(), reference: example_path("reference"), streams })
    }
}

/// Builds the Kafka Streams reference unless it is newer than its sources. Errors: Maven fails; it needs a JDK.
fn provide_streams() -> Result<PathBuf> {
    let directory = cargo::cache_dir().join("reference-streams");
    let sources = cargo::root().join("tests/reference/streams");
    let built = modified(&directory.join("reference-streams.jar"));
    if built.is_some() && built > newest(&sources)? {
        return Ok(directory);
    }
    println!("building the Kafka Streams reference …");
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "package", "--file"]).arg(sources.join("pom.xml"));
    let status = maven.arg(format!("-Dbuild.dir={}", directory.display())).stdin(Stdio::null()).status();
    let status = status.context("mvn does not start")?;
    if !status.success() {
        bail!(
            "Maven cannot build tests/reference/streams\nhint: it needs a JDK 17: apt-get install default-jdk-headless"
        );
    }
    Ok(directory)
}

fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().ok()?.modified().ok()
}

fn newest(directory: &Path) -> Result<Option<SystemTime>> {
    let mut newest = None;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let changed = if path.is_dir() { self::newest(&path)? } else { modified(&path) };
        newest = newest.max(changed);
    }
    Ok(newest)
}

impl Rig {
    /// Starts a broker with Java's full compiler. Data and logs lie in a directory of their own below `dir`.
    pub(crate) fn start(programs: Programs, dir: &Path, keep: bool) -> Result<Self> {
        let work = Work::create(dir, keep)?;
        let directory = Some(work.path.join("broker"));
        let cluster = Cluster::start(&Options { java: Vec::new(), directory, ..Options::default() })?;
        let broker_pid = cluster.pid(1)?;
        Ok(Self { programs, cluster, broker_pid, work, numbered: Cell::new(0) })
    }

    /// Makes the topics of `deploy/kafka/topics.yaml` under a new prefix.
    pub(crate) fn topics(&self, partitions: u32) -> Result<Topics> {
        let topics = Topics { prefix: format!("{}.", self.name()), partitions };
        let mut apply = Command::new(&self.programs.touchline);
        apply.args(["topics", "apply", "--replication", "1", "--brokers", &self.cluster.bootstrap()]);
        apply.args(["--topic-prefix", &topics.prefix, "--partitions", &partitions.to_string()]);
        self.run(apply)?;
        Ok(topics)
    }

    /// Runs a command of the reference program on these topics: `name`, `options`, then the program to start, if any.
    pub(crate) fn reference(&self, name: &str, options: &[String], program: &[String]) -> Result<Value> {
        let mut command = Command::new(&self.programs.reference);
        command.args([name, "--brokers", &self.cluster.bootstrap()]).args(options);
        if !program.is_empty() {
            command.arg("--").args(program);
        }
        let said = self.run(command)?;
        let line = said.lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| format!("{name} prints no figures but {line:?}"))
    }

    /// Options that count the broker's CPU time apart.
    pub(crate) fn broker(&self) -> Vec<String> {
        words(&["--broker-pid", &self.broker_pid.to_string()])
    }

    /// The pass-through on these topics.
    pub(crate) fn pass_through(&self, topics: &Topics, group: &str, publish: Publish, interval_ms: u32) -> Vec<String> {
        let program = self.programs.reference.display().to_string();
        let mut command = words(&[&program, "passthrough", "--brokers", &self.cluster.bootstrap(), "--group", group]);
        command.extend(words(&["--events", &topics.name("events"), "--output", &topics.name("touches")]));
        command.extend(words(&["--publish", publish.name(), "--commit-interval-ms", &interval_ms.to_string()]));
        command
    }

    /// Kafka Streams on these topics, with a state directory of its own.
    pub(crate) fn streams(&self, topics: &Topics, application: &str, commit_ms: u32, threads: u32) -> Vec<String> {
        let build = self.programs.streams.display();
        let jars = format!("{build}/reference-streams.jar:{build}/lib/*");
        let mut command = words(&["java", "-Xms512m", "-Xmx512m", "-XX:+UseSerialGC"]);
        command.extend(words(&["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", &jars]));
        command.extend(words(&["touchline.reference.Main", "--brokers", &self.cluster.bootstrap()]));
        let state = self.work.path.join(format!("{application}-state")).display().to_string();
        command.extend(words(&["--application-id", application, "--state-dir", &state, "--count-views", "false"]));
        for topic in ["events", "tag-changes", "touches"] {
            command.extend(words(&[&format!("--{topic}"), &topics.name(topic)]));
        }
        command.extend(words(&["--commit-interval-ms", &commit_ms.to_string(), "--threads", &threads.to_string()]));
        command
    }

    /// A processor on these topics, with a new data directory.
    pub(crate) fn server(&self, topics: &Topics, settings: &Settings) -> Result<Server> {
        let data_dir = self.directory();
        std::fs::create_dir_all(&data_dir)?;
        let config = data_dir.join("touchline.toml");
        std::fs::write(&config, settings.toml(&self.cluster.bootstrap(), topics))?;
        let touchline = self.programs.touchline.display().to_string();
        let (config, data) = (config.display().to_string(), data_dir.display().to_string());
        let mut command = words(&[&touchline, "serve", "--config", &config, "--data-dir", &data]);
        command.extend(words(&[
            "--http-listen",
            "127.0.0.1:0",
            "--grpc-listen",
            "127.0.0.1:0",
            "--roles",
            "processor",
        ]));
        Ok(Server { data_dir, command })
    }

    /// Puts the playbook of the references in force in every partition, and waits until it is.
    pub(crate) fn activate(&self, topics: &Topics, server: &Server) -> Result<()> {
        let mut all_roles = server.command.clone();
        if let Some(roles) = all_roles.last_mut() {
            *roles = "processor,query".to_owned();
        }
        let running = self.spawn(&all_roles, &server.data_dir)?;
        let grpc = running.address("grpc")?;
        let touchline = |arguments: &[&str]| {
            let mut command = Command::new(&self.programs.touchline);
            command.args(["--server", &grpc, "--json"]).args(arguments);
            self.run(command)
        };
        running.await_owned(topics.partitions)?;
        let playbook = cargo::root().join("tests/reference/playbook.yaml").display().to_string();
        // On a busy machine the answer may come too late; the error asks to repeat it.
        let activate = || touchline(&["playbook", "activate", &playbook]);
        activate().or_else(|_| activate())?;
        await_that("the playbook is in force everywhere", || {
            let status: Value = serde_json::from_str(&touchline(&["status"])?)?;
            let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
            // A number, or a number as text; repeated, it may be the second one.
            let bundle =
                |partition: &Value| partition["progress"]["bundle"].to_string().trim_matches('"').parse::<u64>();
            let in_force = |partition: &&Value| bundle(partition).is_ok_and(|bundle| bundle > 0);
            Ok(partitions.iter().filter(in_force).count() == topics.partitions as usize)
        })?;
        running.stop()
    }

    /// Starts a processor and waits until it listens.
    pub(crate) fn serve(&self, server: &Server) -> Result<Running> {
        self.spawn(&server.command, &server.data_dir)
    }

    /// A new name: of a group, an application.
    pub(crate) fn name(&self) -> String {
        self.numbered.set(self.numbered.get() + 1);
        format!("b{}", self.numbered.get())
    }

    /// A new directory, not made yet.
    pub(crate) fn directory(&self) -> PathBuf {
        self.work.path.join(self.name())
    }

    fn spawn(&self, command: &[String], data_dir: &Path) -> Result<Running> {
        let log = self.work.path.join(format!("{}.log", self.name()));
        let ports = data_dir.join("ports.json");
        // After a kill the old one still lies there.
        let _ = std::fs::remove_file(&ports);
        let (program, arguments) = command.split_first().context("an empty command")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let mut running = Running { child, data_dir: data_dir.to_path_buf(), log };
        await_that("Touchline listens", || {
            if let Some(status) = running.child.try_wait()? {
                bail!("Touchline ended: {status}\n{}", end_of(&running.log));
            }
            Ok(ports.is_file())
        })?;
        Ok(running)
    }

    /// Runs a command to its end and returns what it prints.
    fn run(&self, mut command: Command) -> Result<String> {
        let log = self.work.path.join(format!("{}.log", self.name()));
        let output = log.with_extension("out");
        command.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(File::create(&log)?);
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let status = wait_within(&mut child, MEASURED_WITHIN)?;
        if !status.is_some_and(|status| status.success()) {
            let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
            let how = status.map_or_else(|| "takes too long".to_owned(), |status| format!("failed: {status}"));
            bail!("{name} {} {how}\n{}", arguments.join(" "), end_of(&log));
        }
        Ok(std::fs::read_to_string(output)?)
    }
}

impl Topics {
    /// Full name of a topic.
    pub(crate) fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// The group of the Touchlines on these topics.
    pub(crate) fn group(&self) -> String {
        format!("{}touchline", self.prefix)
    }
}

impl Publish {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::Sequenced => "sequenced",
        }
    }
}

impl Settings {
    pub(crate) const fn new(publish: Publish) -> Self {
        Self { publish, instance: None, standby: false, checkpoints: None }
    }

    fn toml(&self, brokers: &str, topics: &Topics) -> String {
        let (prefix, group, publish) = (&topics.prefix, topics.group(), self.publish.name());
        let mut toml = format!("[kafka]\nbrokers = {brokers:?}\ntopic_prefix = {prefix:?}\ngroup = {group:?}\n");
        toml += &format!("publish = {publish:?}\n");
        if let Some(instance) = &self.instance {
            toml += &format!("instance = {instance:?}\n");
        }
        toml += &format!("[processor]\nstandby = {}\n", self.standby);
        if let Some((directory, every_s)) = &self.checkpoints {
            toml += &format!("checkpoint_dir = {directory:?}\ncheckpoint_every_s = {every_s}\n");
        }
        toml
    }
}

impl Server {
    /// The command that runs it, for a program that starts it itself.
    pub(crate) fn command(&self) -> &[String] {
        // What a killed one left must not be taken for the next one's.
        let _ = std::fs::remove_file(self.data_dir.join("ports.json"));
        &self.command
    }

    /// Options that name it.
    pub(crate) fn options(&self) -> Vec<String> {
        words(&["--touchline", &self.data_dir.display().to_string()])
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has read everything in so many partitions, as owner or standby.
    pub(crate) fn await_caught_up(&self, partitions: u32) -> Result<()> {
        let http = self.address("http")?;
        await_that("Touchline has read everything", || {
            let metrics = http::get(&http, "/metrics")?.body;
            let lags: Vec<&str> =
                metrics.lines().filter(|line| line.starts_with("touchline_consumer_lag_records{")).collect();
            Ok(lags.len() == partitions as usize && lags.iter().all(|line| line.ends_with(" 0")))
        })
    }

    /// Waits until it publishes so many partitions.
    pub(crate) fn await_owned(&self, partitions: u32) -> Result<()> {
        await_that("the partitions are shared out", || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid()))?.flatten();
            let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
            Ok(names.filter(|name| name.starts_with("kafka-lane-")).count() == partitions as usize)
        })
    }

    /// SIGTERM; an error if it does not end well.
    pub(crate) fn stop(mut self) -> Result<()> {
        // The standard library can only send SIGKILL.
        Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        match wait_within(&mut self.child, STOPPED_WITHIN)? {
            Some(status) if status.success() => Ok(()),
            status => bail!("Touchline did not end well: {status:?}\n{}", end_of(&self.log)),
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn address(&self, which: &str) -> Result<String> {
        let ports: Value = serde_json::from_slice(&std::fs::read(self.data_dir.join("ports.json"))?)?;
        Ok(ports[which].as_str().context("no address")?.to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that goes with its owner, unless it is to be kept.
struct Work {
    path: PathBuf,
    keep: bool,
}

impl Work {
    fn create(parent: &Path, keep: bool) -> Result<Self> {
        let path = parent.join(format!("touchline-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path, keep })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept: {}", self.path.display());
            return;
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Options of a command line.
pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn await_that(what: &str, mut happened: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !happened()? {
        if started.elapsed() > STARTED_WITHIN {
            bail!("waited {} s in vain until {what}", STARTED_WITHIN.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn wait_within(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            kill_children(child.id());
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What a program that is measured by another one leaves behind when that one is killed.
fn kill_children(pid: u32) {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace() {
        // It may have ended meanwhile.
        let _ = Command::new("kill").args(["-KILL", child]).status();
    }
}

fn end_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_END_LINES)..].join("\n")
}
