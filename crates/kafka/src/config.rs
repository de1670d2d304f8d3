//! Settings of the connection, and what librdkafka is told for each kind of client.

use crate::error::Error;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use touchline_log::lane::Mode;
use touchline_log::{RECORD_BYTES_MAX, Topic};

/// Largest message on the wire, in bytes: a record of [`RECORD_BYTES_MAX`] and what Kafka wraps around it.
pub(crate) const MESSAGE_BYTES_MAX: usize = RECORD_BYTES_MAX + 96 * 1024;
/// How long a transaction may stay open, in milliseconds: after that the broker aborts it, and readers go on.
pub(crate) const TRANSACTION_TIMEOUT_MS: u32 = 10_000;
/// How long a record of a transaction may wait for its delivery: less than the transaction itself.
const LANE_MESSAGE_TIMEOUT_MS: u32 = 8_000;
/// How long an event may wait for its delivery before whoever sent it is told that it failed.
const APPEND_MESSAGE_TIMEOUT_MS: u32 = 30_000;

/// How publications are kept whole: see [`Mode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// [`Mode::Transactional`].
    #[default]
    Transactional,
    /// [`Mode::Sequenced`].
    Sequenced,
}

/// Who stamps records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The brokers (LogAppendTime).
    #[default]
    System,
    /// This process, from the wall given to `connect`: demos and tests in virtual time. The topics have CreateTime.
    Manual,
}

/// Where Kafka is and how it is used: section `[kafka]` of the configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `host:port,host:port`: some of the brokers.
    pub brokers: String,
    /// Put before each topic name. Default `touchline.`.
    pub topic_prefix: String,
    /// Consumer group of processors; transactional ids are `{topic_prefix}{group}-{partition}`. Default `touchline`.
    pub group: String,
    /// Default `transactional`.
    pub publish: Publish,
    /// Default `system`.
    pub clock: Clock,
    /// `group.instance.id`: a processor that comes back within the session timeout keeps its partitions.
    pub instance: Option<String>,
    /// Properties of librdkafka, for instance `security.protocol`, `ssl.ca.location`, `sasl.mechanism`,
    /// `sasl.username`. Those the protocol depends on are refused, and so are secrets.
    pub properties: BTreeMap<String, String>,
    /// Secrets: property → file that holds it, without the line end. `"sasl.password" = "/run/secrets/kafka"`.
    pub property_files: BTreeMap<String, PathBuf>,
    /// Secrets: property → environment variable that holds it.
    pub property_env: BTreeMap<String, String>,
    /// A name that tells this process from others of its role, in `client.id` and so in the brokers' logs and quotas.
    pub name: Option<String>,
    /// What this process does, for instance `processor`: the beginning of every `client.id`. Set by the program.
    #[serde(skip)]
    pub role: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            topic_prefix: "touchline.".to_owned(),
            group: "touchline".to_owned(),
            publish: Publish::default(),
            clock: Clock::default(),
            instance: None,
            properties: BTreeMap::new(),
            property_files: BTreeMap::new(),
            property_env: BTreeMap::new(),
            name: None,
            role: "touchline".to_owned(),
        }
    }
}

impl Settings {
    /// The full name of a topic.
    pub fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.topic_prefix, topic.name())
    }

    /// The transactional id of a partition.
    pub fn transactional_id(&self, partition: u32) -> String {
        format!("{}{}-{partition}", self.topic_prefix, self.group)
    }

    pub(crate) const fn mode(&self) -> Mode {
        match self.publish {
            Publish::Transactional => Mode::Transactional,
            Publish::Sequenced => Mode::Sequenced,
        }
    }
}

impl From<Publish> for Mode {
    fn from(publish: Publish) -> Self {
        match publish {
            Publish::Transactional => Self::Transactional,
            Publish::Sequenced => Self::Sequenced,
        }
    }
}

/// Full topic names by [`Topic`].
#[derive(Debug, Clone)]
pub(crate) struct Names([String; Topic::ALL.len()]);

impl Names {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self(Topic::ALL.map(|topic| settings.topic(topic)))
    }

    pub(crate) fn of(&self, topic: Topic) -> &str {
        &self.0[topic as usize]
    }
}

/// Client configurations, with the secrets read.
#[derive(Clone)]
pub(crate) struct Clients {
    base: ClientConfig,
    role: String,
    group: String,
}

impl Clients {
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        let mut base = ClientConfig::new();
        base.set_log_level(RDKafkaLogLevel::Warning);
        base.set("bootstrap.servers", &settings.brokers);
        for (name, value) in &settings.properties {
            allow(name)?;
            if SECRETS.contains(&name.as_str()) {
                let reason = "secrets do not belong into a settings file";
                let hint = "name a file in `property_files` or a variable in `property_env`";
                return Err(Error::Property { name: name.clone(), reason, hint });
            }
            base.set(name, value);
        }
        for (name, file) in &settings.property_files {
            allow(name)?;
            let unreadable = |error: std::io::Error| Error::Secret {
                name: name.clone(),
                place: file.display().to_string(),
                reason: error.to_string(),
            };
            let text = std::fs::read_to_string(file).map_err(unreadable)?;
            base.set(name, text.trim_end_matches(['\r', '\n']));
        }
        for (name, variable) in &settings.property_env {
            allow(name)?;
            // Its text may be the secret itself: only why it cannot be read is said.
            let reason = match std::env::var(variable) {
                Ok(text) => {
                    base.set(name, text);
                    continue;
                }
                Err(std::env::VarError::NotPresent) => "it is not set",
                Err(std::env::VarError::NotUnicode(_)) => "it is not text",
            };
            return Err(Error::Secret { name: name.clone(), place: variable.clone(), reason: reason.to_owned() });
        }
        let role = match &settings.name {
            None => settings.role.clone(),
            Some(name) => format!("{}-{name}", settings.role),
        };
        Ok(Self { base, role, group: settings.group.clone() })
    }

    /// For administration and watermarks of everything, open transactions included.
    pub(crate) fn admin(&self) -> ClientConfig {
        let mut config = self.named("admin");
        config.set("isolation.level", "read_uncommitted");
        config
    }

    /// For appends: idempotent, without transactions.
    pub(crate) fn append(&self) -> ClientConfig {
        let mut config = self.producer("append");
        config.set("message.timeout.ms", APPEND_MESSAGE_TIMEOUT_MS.to_string());
        config
    }

    /// For the publications of one partition; without an id there are no transactions.
    pub(crate) fn lane(&self, partition: u32, transactional_id: Option<&str>) -> ClientConfig {
        let mut config = self.producer(&format!("lane-{partition}"));
        config.set("message.timeout.ms", LANE_MESSAGE_TIMEOUT_MS.to_string());
        // A publication is handed over at once: there is nothing to wait for.
        unless_given(&mut config, "linger.ms", "0.1");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
            config.set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string());
        }
        config
    }

    /// For reading: manual assignment, `read_committed`. A short wait at the broker, because a partition that is added
    /// is first asked for when the request under way is answered.
    pub(crate) fn reader(&self, kind: &str, fetch_wait_ms: u32, queued_kbytes: u32) -> ClientConfig {
        let mut config = self.consumer(kind);
        unless_given(&mut config, "fetch.wait.max.ms", &fetch_wait_ms.to_string());
        unless_given(&mut config, "queued.min.messages", "20000");
        unless_given(&mut config, "queued.max.messages.kbytes", &queued_kbytes.to_string());
        config.set("enable.partition.eof", "true");
        config
    }

    /// For membership in the group.
    pub(crate) fn member(&self, instance: Option<&str>) -> ClientConfig {
        let mut config = self.consumer("group");
        config.set("partition.assignment.strategy", "cooperative-sticky");
        unless_given(&mut config, "session.timeout.ms", "6000");
        unless_given(&mut config, "heartbeat.interval.ms", "1500");
        // Also how long a rebalance waits for members that no longer exist: a broker that was killed and came back was
        // seen to take the old ones for alive (Kafka 4.3, when it loads a coordinator twice), and with the default all
        // partitions stand still for five minutes. A thread of its own polls all the time.
        unless_given(&mut config, "max.poll.interval.ms", "30000");
        if let Some(instance) = instance {
            config.set("group.instance.id", instance);
        }
        config
    }

    fn producer(&self, kind: &str) -> ClientConfig {
        let mut config = self.named(kind);
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        // Short: with many callers batches fill while the last one is under way.
        unless_given(&mut config, "linger.ms", "1");
        config.set("batch.size", "1000000");
        unless_given(&mut config, "compression.codec", "lz4");
        unless_given(&mut config, "queue.buffering.max.messages", &QUEUED_MESSAGES_MAX.to_string());
        unless_given(&mut config, "queue.buffering.max.kbytes", "262144");
        config.set("message.max.bytes", MESSAGE_BYTES_MAX.to_string());
        config
    }

    fn consumer(&self, kind: &str) -> ClientConfig {
        let mut config = self.named(kind);
        config.set("group.id", &self.group);
        config.set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        config.set("check.crcs", "true");
        // The default of a second stalls a reader whose queue was full.
        unless_given(&mut config, "fetch.queue.backoff.ms", "10");
        config
    }

    fn named(&self, kind: &str) -> ClientConfig {
        let mut config = self.base.clone();
        config.set("client.id", format!("{}-{kind}", self.role));
        // A broker that restarts is back within seconds.
        unless_given(&mut config, "reconnect.backoff.max.ms", "1000");
        config
    }
}

/// Sets what the settings file does not say.
fn unless_given(config: &mut ClientConfig, name: &str, value: &str) {
    if config.get(name).is_none() {
        config.set(name, value);
    }
}

/// Messages that librdkafka queues in one producer.
pub(crate) const QUEUED_MESSAGES_MAX: usize = 200_000;

/// Properties the protocol depends on, or that are settings of their own.
const FIXED: [&str; 29] = [
    "acks",
    "auto.offset.reset",
    "batch.size",
    "bootstrap.servers",
    "check.crcs",
    "client.id",
    "delivery.report.only.error",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "retries",
    "test.mock.num.brokers",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Properties whose values are secrets.
const SECRETS: [&str; 6] = [
    "sasl.oauthbearer.client.secret",
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "sasl.oauthbearer.assertion.private.key.passphrase",
];

fn allow(name: &str) -> Result<(), Error> {
    if !FIXED.contains(&name) {
        return Ok(());
    }
    let reason = "exactly-once depends on it, or another setting says it";
    Err(Error::Property { name: name.to_owned(), reason, hint: "leave it out" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str) -> Settings {
        let properties = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
        Settings { properties, ..Settings::default() }
    }

    #[test]
    fn what_is_given_wins_over_our_defaults_and_a_name_is_in_the_client_id() {
        let properties = BTreeMap::from([("session.timeout.ms".to_owned(), "2000".to_owned())]);
        let name = Some("a".to_owned());
        let settings = Settings { properties, name, role: "processor".to_owned(), ..Settings::default() };
        let member = Clients::new(&settings).expect("allowed").member(None);
        let get = |name| member.get(name);
        assert_eq!((get("session.timeout.ms"), get("heartbeat.interval.ms")), (Some("2000"), Some("1500")));
        assert_eq!(get("max.poll.interval.ms"), Some("30000"));
        assert_eq!(get("client.id"), Some("processor-a-group"));
    }

    #[test]
    fn what_the_protocol_depends_on_is_refused() {
        for name in ["enable.idempotence", "acks", "isolation.level", "transactional.id", "enable.auto.commit"] {
            let refused = Clients::new(&with(name)).err().expect("refused");
            assert!(matches!(&refused, Error::Property { name: found, .. } if found == name), "{refused}");
        }
        assert!(Clients::new(&with("ssl.ca.location")).is_ok());
    }

    #[test]
    fn secrets_come_from_files_and_are_never_shown() {
        assert!(matches!(Clients::new(&with("sasl.password")), Err(Error::Property { .. })));
        let file = std::env::temp_dir().join(format!("touchline-kafka-secret-{}", std::process::id()));
        std::fs::write(&file, "hunter2\n").expect("written");
        let property_files = BTreeMap::from([("sasl.password".to_owned(), file.clone())]);
        let settings = Settings { property_files, ..Settings::default() };
        let clients = Clients::new(&settings).expect("allowed");
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(clients.admin().get("sasl.password"), Some("hunter2"));
        assert!(!format!("{settings:?}").contains("hunter2"));
        let gone = Clients::new(&settings).err().expect("gone").to_string();
        assert!(gone.contains("sasl.password") && !gone.contains("hunter2"), "{gone}");
        let property_env = BTreeMap::from([("sasl.password".to_owned(), "TOUCHLINE_NO_SUCH_SECRET".to_owned())]);
        let unset = Clients::new(&Settings { property_env, ..Settings::default() }).err().expect("unset");
        assert!(unset.to_string().contains("it is not set"), "{unset}");
    }
}
