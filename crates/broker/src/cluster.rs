//! A cluster of one or three brokers, each controller too.

use crate::availability::EXTERNAL;
use crate::jars::{Jars, Unavailable};
use crate::node::{Node, Ports};
use crate::ports;
use crate::proxy::Proxy;
use crate::tls::Credentials;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard};

/// A broker whose ports somebody else took meanwhile gets others.
const ATTEMPTS: u32 = 3;
/// What the broker's log says then.
const PORT_TAKEN: &str = "Address already in use";
/// Ports of one broker, and one for its proxy.
const PORTS_EACH: usize = 5;
/// Enough for tests at full speed; the page cache holds the records.
const HEAP_MIB: u32 = 512;
/// Leaves the optimising compiler out.
const FAST_COMPILER: &str = "-XX:TieredStopAtLevel=1";
/// Length of a cluster id: 16 bytes in base64.
const CLUSTER_ID_CHARS: usize = 22;

/// How clients speak to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// Neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// SASL SCRAM-SHA-512 over TLS, with a certificate authority of its own. Brokers among themselves and the proxy
    /// stay plaintext.
    SaslScramTls,
}

/// What to start. The default is one plaintext broker in a temporary directory.
#[derive(Debug, Clone)]
pub struct Options {
    /// 1 or 3. Internal topics are replicated to all of them; with 3, topics get `min.insync.replicas=2`.
    pub brokers: u32,
    /// How clients speak to the brokers.
    pub security: Security,
    /// Largest heap of each broker, in MiB.
    pub heap_mib: u32,
    /// Options of the Java virtual machine. By default only its fast compiler is used, which makes a start half as
    /// expensive; benchmarks clear this, so that a broker becomes as fast as it can.
    pub java: Vec<String>,
    /// Further properties of every broker; they win over the harness's own, e.g.
    /// `("log.retention.check.interval.ms", "500")` with `("log.initial.task.delay.ms", "500")`.
    pub properties: Vec<(String, String)>,
    /// Directory that is kept and used again, with its data, instead of a temporary one.
    pub directory: Option<PathBuf>,
    /// Port of the first broker for clients; the others follow. `None`: free ones.
    pub port: Option<u16>,
}

impl Default for Options {
    fn default() -> Self {
        let (security, properties) = (Security::Plaintext, Vec::new());
        let java = vec![FAST_COMPILER.to_owned()];
        Self { brokers: 1, security, heap_mib: HEAP_MIB, java, properties, directory: None, port: None }
    }
}

/// Why a cluster does not start or do what it is told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Java or the jars are missing.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A cluster of this size has no majority or no use.
    #[error("{0} brokers: 1 or 3 can be started")]
    Size(u32),
    /// There is no such broker.
    #[error("no broker {id}: they are numbered from 1 to {brokers}")]
    NoSuchBroker {
        /// What was asked for.
        id: u32,
        /// How many there are.
        brokers: usize,
    },
    /// The broker does not run.
    #[error("broker {0} does not run")]
    NotRunning(u32),
    /// The brokers of `TOUCHLINE_TEST_KAFKA` are not ours.
    #[error("{0} is not possible with the broker of TOUCHLINE_TEST_KAFKA\nhint: unset it to start one")]
    External(&'static str),
    /// A file or a process.
    #[error("cannot {doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A helping program failed.
    #[error("{tool} failed: {said}")]
    Tool {
        /// Its name.
        tool: &'static str,
        /// What it said.
        said: String,
    },
    /// The broker ended by itself.
    #[error("broker {id} ended: {status}\n{log}")]
    Ended {
        /// Which.
        id: u32,
        /// How.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// The broker takes no requests.
    #[error("broker {id} is not ready after {after_s} s\n{log}")]
    NotReady {
        /// Which.
        id: u32,
        /// How long it was waited for, in seconds.
        after_s: u64,
        /// The end of its log.
        log: String,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, source: std::io::Error) -> Self {
        Self::Io { doing, source }
    }
}

/// Running brokers, numbered from 1. Dropping it ends them and removes their directory; so does the end of this
/// process, whatever ends it.
#[derive(Debug)]
pub struct Cluster {
    whose: Whose,
}

#[derive(Debug)]
enum Whose {
    /// `host:port` of an existing one.
    External(String),
    Ours(Ours),
}

#[derive(Debug)]
struct Ours {
    // In this order: the brokers end before their directory goes.
    nodes: Vec<Mutex<Node>>,
    proxy: Proxy,
    credentials: Option<Credentials>,
    jars: Jars,
    directory: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Cluster {
    /// Starts the brokers and waits until every one takes requests and knows the others; or, with
    /// `TOUCHLINE_TEST_KAFKA=host:port`, uses that one. Errors: Java or jars are missing, or a broker does not come up.
    pub fn start(options: &Options) -> Result<Self, Error> {
        match std::env::var(EXTERNAL).ok().filter(|address| !address.is_empty()) {
            Some(address) => Self::existing(address, options.security),
            None => Self::start_own(options, &Jars::locate()?),
        }
    }

    fn existing(address: String, security: Security) -> Result<Self, Error> {
        match security {
            Security::Plaintext => Ok(Self { whose: Whose::External(address) }),
            Security::SaslScramTls => Err(Error::External("a secured listener")),
        }
    }

    fn start_own(options: &Options, jars: &Jars) -> Result<Self, Error> {
        if !matches!(options.brokers, 1 | 3) {
            return Err(Error::Size(options.brokers));
        }
        let mut attempt = 1;
        loop {
            match Ours::start(options, jars.clone()) {
                Err(Error::Ended { log, .. }) if log.contains(PORT_TAKEN) && attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome.map(|ours| Self { whose: Whose::Ours(ours) }),
            }
        }
    }

    /// `host:port,…` for clients.
    pub fn bootstrap(&self) -> String {
        match &self.whose {
            Whose::External(address) => address.clone(),
            Whose::Ours(ours) => ours.addresses(|ports| match ours.credentials {
                Some(_) => ports.secure,
                None => ports.broker,
            }),
        }
    }

    /// Settings for librdkafka: `bootstrap.servers`, and for a secured cluster protocol, user, password and the file
    /// with the certificate authority.
    pub fn client_settings(&self) -> Vec<(String, String)> {
        let mut settings = vec![("bootstrap.servers".to_owned(), self.bootstrap())];
        if let Whose::Ours(Ours { credentials: Some(credentials), .. }) = &self.whose {
            settings.extend(credentials.client_settings());
        }
        settings
    }

    /// The proxy before the brokers; clients that bootstrap at [`Proxy::bootstrap`] stay behind it. Plaintext also in a
    /// secured cluster. Errors: the brokers are not ours.
    pub fn proxy(&self) -> Result<&Proxy, Error> {
        Ok(&self.ours("the proxy")?.proxy)
    }

    /// Java and the jars, for the command-line tools. Errors: the brokers are not ours.
    pub fn jars(&self) -> Result<&Jars, Error> {
        Ok(&self.ours("running tools of its jars")?.jars)
    }

    /// Whether the brokers were there before: then they cannot be ended, and hold what others left.
    pub fn is_external(&self) -> bool {
        matches!(self.whose, Whose::External(_))
    }

    /// kill -9 of a broker, and waits until it is gone; nothing if it does not run. Errors: no such broker, not ours.
    pub fn kill(&self, id: u32) -> Result<(), Error> {
        self.node(id, "killing a broker")?.kill();
        Ok(())
    }

    /// Stops a broker cleanly (SIGTERM) and waits until it is gone. Errors: no such broker, not ours.
    pub fn stop(&self, id: u32) -> Result<(), Error> {
        self.node(id, "stopping a broker")?.stop()
    }

    /// Starts a broker again on the same ports and data, after kill -9 if it still runs, and waits until it takes
    /// requests. A broker that loaded its coordinators twice at once (`node.rs` says why) is stopped cleanly
    /// and started once more. Errors: no such broker, not ours, or it does not come up.
    pub fn restart(&self, id: u32) -> Result<(), Error> {
        let jars = &self.ours("restarting a broker")?.jars;
        let mut node = self.node(id, "restarting a broker")?;
        node.kill();
        let mut said = node.log_bytes();
        node.spawn(jars)?;
        node.wait_until_ready(1)?;
        for _ in 1..ATTEMPTS {
            if !node.loaded_twice(said) {
                break;
            }
            node.stop()?;
            said = node.log_bytes();
            node.spawn(jars)?;
            node.wait_until_ready(1)?;
        }
        Ok(())
    }

    /// SIGSTOP: the broker keeps its connections and does nothing. Errors: no such broker, not ours, not running.
    pub fn pause(&self, id: u32) -> Result<(), Error> {
        self.node(id, "pausing a broker")?.signal("STOP")
    }

    /// SIGCONT after [`Cluster::pause`]. Errors: no such broker, not ours, not running.
    pub fn resume(&self, id: u32) -> Result<(), Error> {
        self.node(id, "resuming a broker")?.signal("CONT")
    }

    /// How a broker ended by itself; `None` while it runs and after it was ended. Errors: no such broker, not ours.
    pub fn ended(&self, id: u32) -> Result<Option<ExitStatus>, Error> {
        Ok(self.node(id, "watching a broker")?.ended())
    }

    /// Process id of a broker, for measurements. Errors: no such broker, not ours, not running.
    pub fn pid(&self, id: u32) -> Result<u32, Error> {
        self.node(id, "measuring a broker")?.pid().ok_or(Error::NotRunning(id))
    }

    /// File with what a broker logged since the first start. Errors: no such broker, not ours.
    pub fn log(&self, id: u32) -> Result<PathBuf, Error> {
        Ok(self.node(id, "reading a broker's log")?.log())
    }

    /// The last lines of that file. Errors: no such broker, not ours.
    pub fn log_end(&self, id: u32) -> Result<String, Error> {
        Ok(self.node(id, "reading a broker's log")?.log_end())
    }

    /// Directory with a broker's partitions. Errors: no such broker, not ours.
    pub fn data(&self, id: u32) -> Result<PathBuf, Error> {
        Ok(self.node(id, "reading a broker's data")?.data())
    }

    /// Directory of the cluster. Errors: the brokers are not ours.
    pub fn directory(&self) -> Result<&Path, Error> {
        Ok(&self.ours("reading the cluster's files")?.directory)
    }

    fn ours(&self, doing: &'static str) -> Result<&Ours, Error> {
        match &self.whose {
            Whose::External(_) => Err(Error::External(doing)),
            Whose::Ours(ours) => Ok(ours),
        }
    }

    fn node(&self, id: u32, doing: &'static str) -> Result<MutexGuard<'_, Node>, Error> {
        let nodes = &self.ours(doing)?.nodes;
        let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        let node = index.and_then(|index| nodes.get(index));
        let node = node.ok_or(Error::NoSuchBroker { id, brokers: nodes.len() })?;
        Ok(lock(node))
    }
}

/// Makes every later start and tool cheaper (four CPU seconds become one): keeps the classes that a broker loads in the
/// form in which Java maps them, beside the jars. Does nothing if that was done for this Java. Without it everything
/// works. Errors: a broker cannot be started or keeps nothing.
pub fn speed_up(jars: &Jars) -> Result<(), Error> {
    let archive = jars.archive();
    if archive.is_file() {
        return Ok(());
    }
    let made = archive.with_extension(format!("{}.unfinished", std::process::id()));
    let keep = format!("-XX:ArchiveClassesAtExit={}", made.display());
    let options = Options { java: vec![FAST_COMPILER.to_owned(), keep], ..Options::default() };
    // Java writes it when it ends cleanly.
    Cluster::start_own(&options, jars)?.stop(1)?;
    std::fs::rename(&made, &archive).map_err(|error| Error::io("keep the broker's classes", error))
}

/// A test that panicked in another thread must not keep brokers alive.
fn lock(node: &Mutex<Node>) -> MutexGuard<'_, Node> {
    node.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Ours {
    fn start(options: &Options, jars: Jars) -> Result<Self, Error> {
        let (temporary, directory) = match &options.directory {
            Some(kept) => {
                std::fs::create_dir_all(kept).map_err(|error| Error::io("create the directory", error))?;
                (None, std::path::absolute(kept).map_err(|error| Error::io("find the directory", error))?)
            }
            None => {
                let made = tempfile::Builder::new().prefix("touchline-kafka-").tempdir();
                let made = made.map_err(|error| Error::io("create a temporary directory", error))?;
                let path = made.path().to_path_buf();
                (Some(made), path)
            }
        };
        let credentials = match options.security {
            Security::Plaintext => None,
            Security::SaslScramTls => Some(Credentials::generate(&directory)?),
        };
        let (ports, proxy_ports) = choose_ports(options)?;
        let behind = ports.iter().zip(proxy_ports).map(|(ports, proxy)| (proxy, ports.proxied));
        let proxy = Proxy::start(&behind.collect::<Vec<_>>()).map_err(|error| Error::io("start the proxy", error))?;
        let orphaned = temporary.as_ref().map(|_| directory.clone());
        let mut nodes = Vec::new();
        for (index, ports_here) in ports.iter().enumerate() {
            let id = index as u32 + 1;
            let properties = properties(id, &ports, proxy.port(index), credentials.as_ref(), options);
            let mut java = vec![format!("-Xmx{}m", options.heap_mib)];
            java.extend(options.java.iter().cloned());
            nodes.push(Node::create(id, *ports_here, &directory, orphaned.clone(), java, &properties)?);
        }
        format_all(&nodes, &jars, &directory, credentials.is_some())?;
        for node in &mut nodes {
            node.spawn(&jars)?;
        }
        for node in &mut nodes {
            node.wait_until_ready(ports.len())?;
        }
        let nodes = nodes.into_iter().map(Mutex::new).collect();
        Ok(Self { nodes, proxy, credentials, jars, directory, _temporary: temporary })
    }

    fn addresses(&self, port: impl Fn(&Ports) -> u16) -> String {
        let addresses = self.nodes.iter().map(|node| format!("127.0.0.1:{}", port(&lock(node).ports)));
        addresses.collect::<Vec<_>>().join(",")
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // All at once: one after another each would first notice that the others are gone.
        for node in &self.nodes {
            lock(node).signal_kill();
        }
        for node in &self.nodes {
            lock(node).reap();
        }
    }
}

fn choose_ports(options: &Options) -> Result<(Vec<Ports>, Vec<u16>), Error> {
    let count = options.brokers as usize;
    let mut free = ports::free(count * PORTS_EACH).map_err(|error| Error::io("find free ports", error))?.into_iter();
    let mut next = || free.next().expect("as many as asked for");
    let mut chosen = Vec::new();
    for index in 0..count {
        let mut ports = Ports { broker: next(), secure: next(), proxied: next(), controller: next() };
        if let Some(first) = options.port {
            let fixed = first.saturating_add(index as u16);
            match options.security {
                Security::Plaintext => ports.broker = fixed,
                Security::SaslScramTls => ports.secure = fixed,
            }
        }
        chosen.push(ports);
    }
    Ok((chosen, free.collect()))
}

/// Formats what has not been, in parallel. Errors: a tool cannot be started or fails.
fn format_all(nodes: &[Node], jars: &Jars, directory: &Path, secured: bool) -> Result<(), Error> {
    let cluster_id = cluster_id(directory)?;
    let mut tools = Vec::new();
    for node in nodes {
        let scram = secured.then(Credentials::scram);
        tools.extend(node.format(jars, &cluster_id, scram)?.map(|tool| (node, tool)));
    }
    for (node, mut tool) in tools {
        let status = tool.wait().map_err(|error| Error::io("wait for java", error))?;
        if !status.success() {
            return Err(Error::Tool { tool: "formatting a broker's directory", said: node.log_end() });
        }
    }
    Ok(())
}

/// The id that keeps brokers of different clusters apart; one that is kept with its data stays.
fn cluster_id(directory: &Path) -> Result<String, Error> {
    let file = directory.join("cluster.id");
    if let Ok(id) = std::fs::read_to_string(&file) {
        return Ok(id);
    }
    let digits = format!("{:016x}{:016x}", ports::random(), ports::random());
    let id: String = digits.chars().take(CLUSTER_ID_CHARS - 1).chain(['A']).collect();
    std::fs::write(&file, &id).map_err(|error| Error::io("write the cluster's id", error))?;
    Ok(id)
}

fn properties(
    id: u32,
    all: &[Ports],
    proxy_port: u16,
    credentials: Option<&Credentials>,
    options: &Options,
) -> Vec<(String, String)> {
    let ports = all[id as usize - 1];
    let voters = all.iter().enumerate().map(|(index, ports)| format!("{}@127.0.0.1:{}", index + 1, ports.controller));
    let mut listeners = vec![("BROKER", ports.broker, ports.broker), ("PROXIED", ports.proxied, proxy_port)];
    listeners.extend(credentials.map(|_| ("SECURE", ports.secure, ports.secure)));
    let join = |port: fn(&(&str, u16, u16)) -> u16| {
        let each = listeners.iter().map(|listener| format!("{}://127.0.0.1:{}", listener.0, port(listener)));
        each.collect::<Vec<_>>().join(",")
    };
    let (brokers, in_sync) = (all.len().to_string(), if all.len() == 1 { "1" } else { "2" });
    let own = [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", id.to_string()),
        // Static voters: what is formatted does not name ports, so a kept directory can be used with others.
        ("controller.quorum.voters", voters.collect::<Vec<_>>().join(",")),
        ("controller.listener.names", "CONTROLLER".into()),
        ("listeners", format!("{},CONTROLLER://127.0.0.1:{}", join(|listener| listener.1), ports.controller)),
        ("advertised.listeners", join(|listener| listener.2)),
        (
            "listener.security.protocol.map",
            "BROKER:PLAINTEXT,PROXIED:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT".into(),
        ),
        ("inter.broker.listener.name", "BROKER".into()),
        ("auto.create.topics.enable", "false".into()),
        ("default.replication.factor", brokers.clone()),
        ("min.insync.replicas", in_sync.into()),
        ("offsets.topic.replication.factor", brokers.clone()),
        ("offsets.topic.num.partitions", "4".into()),
        ("transaction.state.log.replication.factor", brokers),
        ("transaction.state.log.min.isr", in_sync.into()),
        ("transaction.state.log.num.partitions", "4".into()),
        // Found out sooner than by default: a transaction that timed out, a broker that was killed.
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "1000".into()),
        ("broker.session.timeout.ms", "4000".into()),
        ("broker.heartbeat.interval.ms", "1000".into()),
        ("group.initial.rebalance.delay.ms", "0".into()),
        ("group.min.session.timeout.ms", "1000".into()),
        // A small machine, and a heap of half a gigabyte.
        ("num.network.threads", "2".into()),
        ("num.io.threads", "4".into()),
        ("log.cleaner.dedupe.buffer.size", "16777216".into()),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    // Of a property that is there twice the last one counts.
    let secured = credentials.map(|credentials| credentials.broker_properties("SECURE")).unwrap_or_default();
    own.chain(secured).chain(options.properties.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_is_one_that_kafka_takes_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let id = cluster_id(directory.path()).unwrap();
        assert_eq!(id.len(), CLUSTER_ID_CHARS);
        assert_eq!(cluster_id(directory.path()).unwrap(), id);
        assert_ne!(cluster_id(tempfile::tempdir().unwrap().path()).unwrap(), id);
    }

    #[test]
    fn brokers_of_others_are_used_and_left_alone() {
        let cluster = Cluster::existing("kafka.test:9092".into(), Security::Plaintext).unwrap();
        assert_eq!((cluster.bootstrap().as_str(), cluster.is_external()), ("kafka.test:9092", true));
        let said = cluster.kill(1).unwrap_err().to_string();
        assert!(said.starts_with("killing a broker is not possible with the broker of TOUCHLINE_TEST_KAFKA"), "{said}");
        assert!(cluster.restart(1).is_err() && cluster.pause(1).is_err() && cluster.proxy().is_err());
        assert!(Cluster::existing("kafka.test:9092".into(), Security::SaslScramTls).is_err());
    }

    #[test]
    fn properties_of_the_caller_win() {
        let ports = Ports { broker: 1, secure: 2, proxied: 3, controller: 4 };
        let wish = ("num.io.threads".to_owned(), "9".to_owned());
        let options = Options { properties: vec![wish.clone()], ..Options::default() };
        let made = properties(1, &[ports], 5, None, &options);
        assert_eq!(made.last(), Some(&wish));
        let value = |name: &str| made.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        assert_eq!(value("listeners"), Some("BROKER://127.0.0.1:1,PROXIED://127.0.0.1:3,CONTROLLER://127.0.0.1:4"));
        assert_eq!(value("advertised.listeners"), Some("BROKER://127.0.0.1:1,PROXIED://127.0.0.1:5"));
    }
}
