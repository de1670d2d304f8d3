//! The topics as they must be: checked before every start, and set by `touchline topics apply`.

use crate::config::{Clients, Clock, Publish, Settings};
use crate::context::Quiet;
use crate::error::Error;
use futures::executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::RDKafkaErrorCode;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};
use touchline_log::Topic;

/// How long a request may take.
const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// How long topics that were created may take to be known everywhere.
const CREATED_WAIT: Duration = Duration::from_secs(15);

/// The topics as `deploy/kafka/topics.yaml` describes them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Partitions of every topic.
    pub partitions: u32,
    /// Copies of every partition.
    pub replication: u32,
    /// How many copies must have a record before it is acknowledged.
    pub min_insync_replicas: u32,
    /// Settings of every topic.
    pub settings: BTreeMap<String, String>,
    /// Settings of each topic, by its name without prefix.
    pub topics: BTreeMap<String, BTreeMap<String, String>>,
    /// Settings every broker must have.
    pub brokers: BTreeMap<String, String>,
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Full name of the topic, or `broker 1`.
    pub place: String,
    /// Which setting; `partitions` and `replication` count as settings, `topic` is the topic itself.
    pub setting: String,
    /// As it must be.
    pub expected: String,
    /// As it is.
    pub found: String,
}

/// Everything that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// One entry for each setting.
    pub differences: Vec<Difference>,
}

/// What [`apply`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Topics it created, with full names.
    pub created: Vec<String>,
    /// Settings it changed.
    pub altered: Vec<Difference>,
    /// What differs still: nobody can change it, or only whoever runs the brokers can.
    pub left: Report,
}

impl Spec {
    /// What `deploy/kafka/topics.yaml` said when this was built.
    pub fn built_in() -> Result<Self, Error> {
        Self::parse(include_str!("../../../deploy/kafka/topics.yaml"))
    }

    /// Reads a file of the same form.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let spec: Self = serde_saphyr::from_str(text).map_err(|error| Error::Spec(error.to_string()))?;
        let names: BTreeSet<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
        let given: BTreeSet<&str> = spec.topics.keys().map(String::as_str).collect();
        if names != given {
            return Err(Error::Spec(format!("topics are {given:?} and must be {names:?}")));
        }
        if spec.partitions == 0 || spec.replication == 0 || spec.min_insync_replicas > spec.replication {
            let why = "partitions and replication are at least 1, and min_insync_replicas at most replication";
            return Err(Error::Spec(why.to_owned()));
        }
        Ok(spec)
    }

    /// The same for a cluster of so few brokers: fewer copies, for trials and tests.
    #[must_use]
    pub fn with_replication(mut self, replication: u32) -> Self {
        self.replication = replication.max(1);
        self.min_insync_replicas = self.min_insync_replicas.min(self.replication);
        self
    }

    /// Every setting of a topic.
    fn expected(&self, settings: &Settings, topic: Topic) -> BTreeMap<String, String> {
        let mut expected = self.settings.clone();
        expected.extend(self.topics.get(topic.name()).cloned().unwrap_or_default());
        expected.insert("min.insync.replicas".to_owned(), self.min_insync_replicas.to_string());
        if settings.clock == Clock::Manual {
            for (name, value) in MANUAL_CLOCK {
                expected.insert(name.to_owned(), value.to_owned());
            }
        }
        expected
    }
}

/// In virtual time records carry any stamp, and nothing is ever old.
const MANUAL_CLOCK: [(&str, &str); 4] = [
    ("message.timestamp.type", "CreateTime"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("retention.ms", "-1"),
];

/// Compares the cluster with a specification.
pub fn check(settings: &Settings, spec: &Spec) -> Result<Report, Error> {
    let admin = Admin::connect(settings, &Clients::new(settings)?)?;
    let mut report = Report::default();
    for topic in Topic::ALL {
        report.differences.extend(admin.compare_topic(topic, spec)?);
    }
    report.differences.extend(admin.compare_brokers(&spec.brokers)?);
    Ok(report)
}

/// Creates missing topics and changes settings that differ. Never changes the number of partitions or copies, nor
/// settings of brokers. A second call finds nothing to do.
pub fn apply(settings: &Settings, spec: &Spec) -> Result<Applied, Error> {
    let admin = Admin::connect(settings, &Clients::new(settings)?)?;
    let mut applied = Applied::default();
    for topic in Topic::ALL {
        if admin.shape(topic)?.is_none() {
            admin.create(topic, spec)?;
            applied.created.push(settings.topic(topic));
            continue;
        }
        let differences = admin.compare_topic(topic, spec)?;
        let alterable = |difference: &Difference| !["partitions", "replication"].contains(&&*difference.setting);
        let alterable: Vec<Difference> = differences.into_iter().filter(alterable).collect();
        if !alterable.is_empty() {
            admin.alter(topic, &spec.expected(settings, topic))?;
            applied.altered.extend(alterable);
        }
    }
    admin.wait_for_topics(spec)?;
    applied.left = check(settings, spec)?;
    Ok(applied)
}

/// What every start needs to know.
pub(crate) struct Essential {
    pub(crate) partitions: u32,
}

/// Checks what the protocol cannot do without, whatever the operator decided about the rest.
pub(crate) fn check_essential(settings: &Settings, clients: &Clients) -> Result<Essential, Error> {
    let admin = Admin::connect(settings, clients)?;
    let spec = Spec::built_in()?;
    let mut report = Report::default();
    let partitions = admin.shape(Topic::Events)?.map_or(0, |shape| shape.partitions);
    for topic in Topic::ALL {
        let Some(shape) = admin.shape(topic)? else {
            report.differences.push(missing(settings, topic));
            continue;
        };
        if shape.partitions != partitions && partitions > 0 {
            let (expected, found) = (partitions.to_string(), shape.partitions.to_string());
            report.differences.push(difference(settings.topic(topic), "partitions", &expected, &found));
        }
        let mut expected = spec.expected(settings, topic);
        expected.retain(|name, _| ESSENTIAL.contains(&name.as_str()));
        report.differences.extend(admin.compare_settings(topic, &expected)?);
    }
    if settings.publish == Publish::Transactional {
        report.differences.extend(admin.compare_brokers(&spec.brokers)?);
    }
    if report.is_empty() { Ok(Essential { partitions }) } else { Err(Error::Topics(report)) }
}

/// Settings of topics without which outputs or time are wrong.
const ESSENTIAL: [&str; 4] =
    ["cleanup.policy", "message.timestamp.type", "message.timestamp.after.max.ms", "unclean.leader.election.enable"];

/// A topic as the brokers know it.
struct Shape {
    partitions: u32,
    replication: u32,
}

struct Admin<'a> {
    client: AdminClient<Quiet>,
    settings: &'a Settings,
}

impl<'a> Admin<'a> {
    fn connect(settings: &'a Settings, clients: &Clients) -> Result<Self, Error> {
        let client: AdminClient<Quiet> = clients.admin().create_with_context(Quiet("admin")).map_err(Error::Client)?;
        Ok(Self { client, settings })
    }

    /// `None` when there is no such topic.
    fn shape(&self, topic: Topic) -> Result<Option<Shape>, Error> {
        let name = self.settings.topic(topic);
        let metadata = self.client.inner().fetch_metadata(Some(&name), REQUEST_WAIT).map_err(|error| {
            Error::Unreachable { brokers: self.settings.brokers.clone(), reason: error.to_string() }
        })?;
        let Some(found) = metadata.topics().first() else { return Ok(None) };
        match found.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return Ok(None),
            Some(code) => return Err(failed(format!("describing topic {name}"), &code)),
        }
        let partitions = u32::try_from(found.partitions().len()).unwrap_or(u32::MAX);
        let copies = found.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or_default();
        Ok(Some(Shape { partitions, replication: u32::try_from(copies).unwrap_or(u32::MAX) }))
    }

    fn compare_topic(&self, topic: Topic, spec: &Spec) -> Result<Vec<Difference>, Error> {
        let Some(shape) = self.shape(topic)? else { return Ok(vec![missing(self.settings, topic)]) };
        let name = self.settings.topic(topic);
        let mut differences = Vec::new();
        for (setting, expected, found) in
            [("partitions", spec.partitions, shape.partitions), ("replication", spec.replication, shape.replication)]
        {
            if expected != found {
                differences.push(difference(name.clone(), setting, &expected.to_string(), &found.to_string()));
            }
        }
        differences.extend(self.compare_settings(topic, &spec.expected(self.settings, topic))?);
        Ok(differences)
    }

    fn compare_settings(&self, topic: Topic, expected: &BTreeMap<String, String>) -> Result<Vec<Difference>, Error> {
        let name = self.settings.topic(topic);
        let found = self.describe(&ResourceSpecifier::Topic(&name))?;
        Ok(compare(&name, expected, &found))
    }

    fn compare_brokers(&self, expected: &BTreeMap<String, String>) -> Result<Vec<Difference>, Error> {
        let metadata = self.client.inner().fetch_metadata(Some(&self.settings.topic(Topic::Events)), REQUEST_WAIT);
        let metadata = metadata.map_err(|error| failed("listing brokers".to_owned(), &error))?;
        let mut differences = Vec::new();
        for broker in metadata.brokers() {
            let found = self.describe(&ResourceSpecifier::Broker(broker.id()))?;
            differences.extend(compare(&format!("broker {}", broker.id()), expected, &found));
        }
        Ok(differences)
    }

    fn describe(&self, place: &ResourceSpecifier<'_>) -> Result<ConfigResource, Error> {
        let action = || format!("describing {place:?}");
        let described = block_on(self.client.describe_configs([place], &options()));
        let described = described.map_err(|error| failed(action(), &error))?;
        let one = described.into_iter().next().ok_or_else(|| failed(action(), &"no answer"))?;
        one.map_err(|error| failed(action(), &error))
    }

    fn create(&self, topic: Topic, spec: &Spec) -> Result<(), Error> {
        let (name, settings) = (self.settings.topic(topic), spec.expected(self.settings, topic));
        let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let mut new = NewTopic::new(&name, count(spec.partitions), TopicReplication::Fixed(count(spec.replication)));
        for (setting, value) in &settings {
            new = new.set(setting, value);
        }
        let created = block_on(self.client.create_topics([&new], &options()));
        let created = created.map_err(|error| failed(format!("creating topic {name}"), &error))?;
        match created.into_iter().next() {
            // Another process applies the same.
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(failed(format!("creating topic {name}"), &code)),
        }
    }

    /// Sets what differs. The request replaces every setting of the topic, so those set before go along.
    fn alter(&self, topic: Topic, expected: &BTreeMap<String, String>) -> Result<(), Error> {
        let name = self.settings.topic(topic);
        let found = self.describe(&ResourceSpecifier::Topic(&name))?;
        let own = found.entries.iter().filter(|entry| matches!(entry.source, ConfigSource::DynamicTopic));
        let mut values: BTreeMap<&str, &str> =
            own.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?))).collect();
        values.extend(expected.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut alter = AlterConfig::new(ResourceSpecifier::Topic(&name));
        for (setting, value) in values {
            alter = alter.set(setting, value);
        }
        let altered = block_on(self.client.alter_configs([&alter], &options()));
        let altered = altered.map_err(|error| failed(format!("changing topic {name}"), &error))?;
        match altered.into_iter().next() {
            Some(Err((_, code))) => Err(failed(format!("changing topic {name}"), &code)),
            _ => Ok(()),
        }
    }

    /// Waits until every topic is known with all its partitions, and its settings can be read.
    fn wait_for_topics(&self, spec: &Spec) -> Result<(), Error> {
        let deadline = Instant::now() + CREATED_WAIT;
        for topic in Topic::ALL {
            while self.shape(topic)?.is_none_or(|shape| shape.partitions == 0)
                || self.compare_settings(topic, &spec.expected(self.settings, topic)).is_err()
            {
                if Instant::now() > deadline {
                    return Err(failed(
                        format!("waiting for topic {}", self.settings.topic(topic)),
                        &"it is not known",
                    ));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

impl Report {
    /// Whether everything is as it must be.
    pub const fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, setting, expected, found } = self;
        write!(f, "{place}: {setting} is {found} and must be {expected}")
    }
}

fn compare(place: &str, expected: &BTreeMap<String, String>, found: &ConfigResource) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (setting, expected) in expected {
        let value = found.get(setting).and_then(|entry| entry.value.as_deref()).unwrap_or("unknown");
        if value != expected {
            differences.push(difference(place.to_owned(), setting, expected, value));
        }
    }
    differences
}

fn missing(settings: &Settings, topic: Topic) -> Difference {
    difference(settings.topic(topic), "topic", "there", "missing")
}

fn difference(place: String, setting: &str, expected: &str, found: &str) -> Difference {
    Difference { place, setting: setting.to_owned(), expected: expected.to_owned(), found: found.to_owned() }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_WAIT)).operation_timeout(Some(REQUEST_WAIT))
}

fn failed(action: String, reason: &dyn fmt::Display) -> Error {
    Error::Admin { action, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_is_built_in_can_be_read() {
        let spec = Spec::built_in().expect("readable");
        assert_eq!((spec.partitions, spec.replication, spec.min_insync_replicas), (24, 3, 2));
        let settings = Settings::default();
        let events = spec.expected(&settings, Topic::Events);
        assert_eq!(events["message.timestamp.type"], "LogAppendTime");
        assert_eq!((&*events["cleanup.policy"], &*events["retention.ms"]), ("delete", "-1"));
        assert_eq!(spec.expected(&settings, Topic::Contacts)["cleanup.policy"], "compact");
        let largest = events["max.message.bytes"].parse::<usize>().expect("a number");
        assert_eq!(largest, crate::config::MESSAGE_BYTES_MAX);
        let one = spec.with_replication(1);
        assert_eq!((one.replication, one.min_insync_replicas), (1, 1));
    }

    #[test]
    fn a_file_must_name_every_topic_and_nothing_else() {
        let text = include_str!("../../../deploy/kafka/topics.yaml");
        for (from, to) in [("  touches:", "  touched:"), ("replication: 3", "replication: 1"), ("brokers:", "broker:")]
        {
            assert!(matches!(Spec::parse(&text.replacen(from, to, 1)), Err(Error::Spec(_))), "{to}");
        }
    }
}
