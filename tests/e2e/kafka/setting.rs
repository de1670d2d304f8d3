//! A deployment of its own on a broker: topics, configuration, an observer.

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use touchline_kafka::{KafkaLog, Settings};
use touchline_log::{Log, SystemWall, Topic, last_record};
use touchline_model::output::Progress;
use touchline_model::time::Span;
use touchline_proto::{ContactRecord, decode_contact_record};
use touchline_tests::{Kind, Server, Start, binary, repository, wait_for};

/// Partitions of every topic.
pub(crate) const PARTITIONS: u32 = 8;
/// A dead or silent processor is noticed after this, in milliseconds: the suite waits for it a dozen times.
pub(crate) const SESSION_MS: u32 = 2_000;
/// A timer that is due later than this is none of the load's.
const SOON: Span = Span::seconds(60);

/// What processes say goes to files.
const PLAIN_LOG: [(&str, &str); 2] = [("RUST_LOG", "info"), ("NO_COLOR", "1")];

/// Where a deployment is and how it publishes.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Brokers for whoever is not to be disturbed.
    pub(crate) brokers: String,
    /// Prefix of topics, and the name of the group: several deployments share a broker.
    pub(crate) prefix: String,
    /// `transactional` or `sequenced`.
    pub(crate) publish: &'static str,
    pub(crate) directory: PathBuf,
}

/// What a process is, beside the deployment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    /// Name of its directory, its configuration, its stderr; part of its `client.id`.
    pub(crate) name: String,
    pub(crate) roles: &'static str,
    /// Other brokers than the deployment's: the proxy.
    pub(crate) brokers: Option<String>,
    /// Further lines of the section `[processor]`.
    pub(crate) processor: String,
    pub(crate) kill_at: Option<String>,
    pub(crate) file_kib_max: Option<u64>,
}

impl Member {
    pub(crate) fn new(name: &str, roles: &'static str) -> Self {
        Self { name: name.to_owned(), roles, ..Self::default() }
    }
}

impl Setting {
    /// Makes the topics by `touchline topics apply`.
    pub(crate) fn new(brokers: &str, prefix: &str, publish: &'static str, replication: u32, directory: &Path) -> Self {
        let directory = directory.to_owned();
        let setting = Self { brokers: brokers.to_owned(), prefix: format!("{prefix}."), publish, directory };
        let (partitions, replication) = (PARTITIONS.to_string(), replication.to_string());
        let arguments = ["apply", "--partitions", &partitions, "--replication", &replication];
        // Safe to repeat: a broker that has just started may take long for the first topics.
        wait_for("the topics", || setting.topics(&arguments).status.success());
        setting
    }

    /// Runs `touchline topics …`.
    pub(crate) fn topics(&self, arguments: &[&str]) -> Output {
        let (command, rest) = arguments.split_first().expect("a command");
        let where_it_is = ["--brokers", &self.brokers, "--topic-prefix", &self.prefix];
        Command::new(binary()).args(["topics", command]).args(where_it_is).args(rest).output().expect("runs")
    }

    /// Starts a process, and says how it ended where it did not become ready.
    pub(crate) fn start(&self, member: &Member) -> Result<Server, std::process::ExitStatus> {
        let config = self.directory.join(format!("{}.toml", member.name));
        std::fs::write(&config, self.config(member)).expect("written");
        let brokers = member.brokers.as_ref().unwrap_or(&self.brokers);
        let arguments = ["--brokers", brokers, "--topic-prefix", &self.prefix, "--roles", member.roles, "--config"];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        arguments.push(config.display().to_string());
        let kill_at = member.kill_at.iter().map(|at| ("TOUCHLINE_KILL_AT".to_owned(), at.clone()));
        let start = Start {
            kind: Kind::Serve,
            arguments,
            environment: kill_at.chain(PLAIN_LOG.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect(),
            file_kib_max: member.file_kib_max,
            stderr: Some(self.stderr(&member.name)),
        };
        Server::try_start(&self.data(&member.name), &start)
    }

    /// Data directory of a process.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where checkpoints are kept, when [`Member::processor`] says so.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.directory.join("checkpoints")
    }

    /// Lines of `[processor]`: a checkpoint every second.
    pub(crate) fn with_checkpoints(&self) -> String {
        format!("checkpoint_dir = {:?}\ncheckpoint_every_s = 1\n", self.checkpoints().display().to_string())
    }

    /// File with what a process says to stderr.
    pub(crate) fn stderr(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }

    /// What a process has said so far.
    pub(crate) fn said(&self, name: &str) -> String {
        std::fs::read(self.stderr(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn config(&self, member: &Member) -> String {
        let mut text = String::new();
        write!(
            text,
            "[kafka]\npublish = {:?}\ngroup = {:?}\nname = {:?}\n\n[kafka.properties]\n\"session.timeout.ms\" = \
             \"{SESSION_MS}\"\n\"heartbeat.interval.ms\" = \"500\"\n\n[processor]\ncache_mib = 64\n{}",
            self.publish, self.prefix, member.name, member.processor
        )
        .expect("text");
        text
    }

    fn settings(&self) -> Settings {
        Settings {
            brokers: self.brokers.clone(),
            topic_prefix: self.prefix.clone(),
            group: format!("{}observer", self.prefix),
            role: "observer".to_owned(),
            ..Settings::default()
        }
    }

    /// A connection that only looks.
    pub(crate) fn observe(&self) -> KafkaLog {
        KafkaLog::connect(self.settings(), Arc::new(SystemWall)).expect("connects")
    }

    /// The full name of a topic.
    pub(crate) fn topic(&self, topic: Topic) -> String {
        self.settings().topic(topic)
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).create().expect("an admin client")
    }

    /// Makes topics by hand.
    pub(crate) fn create(&self, topics: &[(Topic, &[(&str, &str)])]) {
        let names: Vec<String> = topics.iter().map(|(topic, _)| self.topic(*topic)).collect();
        let new = names.iter().zip(topics).map(|(name, (_, settings))| {
            let new = NewTopic::new(name, 4, TopicReplication::Fixed(1));
            settings.iter().fold(new, |new, (name, value)| new.set(name, value))
        });
        let new: Vec<NewTopic<'_>> = new.collect();
        for created in block_on(self.admin().create_topics(&new, &AdminOptions::new())).expect("created") {
            created.expect("created");
        }
    }

    /// What retention does: everything below is gone.
    pub(crate) fn delete_events(&self, partition: u32, below: u64) {
        let mut offsets = TopicPartitionList::new();
        let (partition, below) = (i32::try_from(partition).expect("small"), i64::try_from(below).expect("small"));
        let offset = Offset::Offset(below);
        offsets.add_partition_offset(&self.topic(Topic::Events), partition, offset).expect("an offset");
        let deleted = block_on(self.admin().delete_records(&offsets, &AdminOptions::new())).expect("deleted");
        assert!(deleted.elements().iter().all(|element| element.error().is_ok()), "{deleted:?}");
    }
}

/// Puts the playbook of the load in force; repeated as its error says while partitions are still being taken up.
pub(crate) fn activate(server: &Server) {
    let playbook = repository("tests/playbooks/kills.yaml");
    let arguments = ["playbook", "activate", playbook.to_str().expect("text")];
    wait_for("the playbook to be in force", || {
        let (status, _, said) = server.run("demo", &arguments);
        // Whatever is not there yet: partitions, the log, room to write.
        let is_soon = said.contains("hint: repeat") || said.contains("repeating is safe");
        assert!(status.success() || is_soon, "{said}");
        status.success()
    });
}

/// Whether everything readable is applied, published and delivered, and nothing is due soon. Errors are those of a
/// broker that is away.
pub(crate) fn is_at_rest(log: &KafkaLog) -> Result<bool, touchline_log::Error> {
    let now = touchline_log::Wall::now(&SystemWall);
    let mut progress = Vec::new();
    for partition in 0..log.partitions() {
        let end = log.end_now(Topic::Events, partition)?;
        // Where nothing was ever said there is nothing to say.
        let found = progress_of(log, partition)?.unwrap_or_default();
        if found.offset != end || found.next_due.is_some_and(|due| due < now.plus(SOON)) {
            return Ok(false);
        }
        progress.push(found);
    }
    let sent = |from: usize, to: usize| progress[from].loop_sent.get(to).copied().unwrap_or(0);
    let received = |by: usize, from: usize| progress[by].loop_received.get(from).copied().unwrap_or(0);
    let all = 0..progress.len();
    Ok(all.clone().all(|from| all.clone().all(|to| sent(from, to) == received(to, from))))
}

fn progress_of(log: &KafkaLog, partition: u32) -> Result<Option<Progress>, touchline_log::Error> {
    log.end_now(Topic::Contacts, partition)?;
    let is_progress = |value: &[u8]| match decode_contact_record(value) {
        Ok(ContactRecord::Progress(progress)) => Some(progress),
        _ => None,
    };
    let last = last_record(log, Topic::Contacts, partition, &|record| is_progress(&record.value).is_some())?;
    Ok(last.and_then(|record| is_progress(&record.value)))
}
