//! Topics made by hand, wrong in every way: said clearly, repaired where that is possible, never started on.

use crate::support::{PARTITIONS, cluster, settings, spec};
use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::sync::Arc;
use touchline_broker::Options;
use touchline_kafka::{Error, KafkaLog, Publish, Settings, topics};
use touchline_log::{Log, SystemWall, Topic};

fn create(settings: &Settings, topic: Topic, partitions: i32, with: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &settings.brokers).create().unwrap();
    let name = settings.topic(topic);
    let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    let new = with.iter().fold(new, |new, (setting, value)| new.set(setting, value));
    for created in block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap() {
        created.unwrap();
    }
}

fn refused(settings: &Settings) -> String {
    match KafkaLog::connect(settings.clone(), Arc::new(SystemWall)) {
        Err(error @ Error::Topics(_)) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn missing_topics_are_said_and_made_once() {
    let Some(cluster) = cluster() else { return };
    let settings = settings(cluster.bootstrap(), Publish::Transactional);
    let text = refused(&settings);
    assert!(text.contains(&format!("{}touches: topic is missing", settings.topic_prefix)), "{text}");
    assert!(text.contains("hint: `touchline topics apply`"), "{text}");
    assert_eq!(topics::check(&settings, &spec()).unwrap().differences.len(), Topic::ALL.len());
    let applied = topics::apply(&settings, &spec()).unwrap();
    assert_eq!(applied.created.len(), Topic::ALL.len());
    assert!(applied.altered.is_empty() && applied.left.is_empty(), "{}", applied.left);
    assert_eq!(topics::apply(&settings, &spec()).unwrap(), topics::Applied::default());
    let log = KafkaLog::connect(settings, Arc::new(SystemWall)).unwrap();
    assert_eq!(log.partitions(), PARTITIONS);
}

#[test]
fn settings_made_by_hand_are_refused_and_repaired() {
    let Some(cluster) = cluster() else { return };
    let settings = settings(cluster.bootstrap(), Publish::Transactional);
    topics::apply(&settings, &spec()).unwrap();
    let other = Settings { topic_prefix: format!("{}hand.", settings.topic_prefix), ..settings };
    let partitions = i32::try_from(PARTITIONS).unwrap();
    let wrong = [("cleanup.policy", "compact"), ("message.timestamp.type", "CreateTime"), ("segment.ms", "86400000")];
    create(&other, Topic::Events, partitions, &wrong);
    create(&other, Topic::Contacts, partitions, &[("cleanup.policy", "delete")]);
    create(&other, Topic::Touches, partitions, &[("retention.ms", "1000")]);
    let text = refused(&other);
    for expected in [
        "events: cleanup.policy is compact and must be delete",
        "events: message.timestamp.type is CreateTime and must be LogAppendTime",
        "contacts: cleanup.policy is delete and must be compact",
        "tag-changes: topic is missing",
    ] {
        assert!(text.contains(expected), "{expected}\nin\n{text}");
    }
    let report = topics::check(&other, &spec()).unwrap().to_string();
    assert!(report.contains("touches: retention.ms is 1000 and must be 7776000000"), "{report}");
    let applied = topics::apply(&other, &spec()).unwrap();
    assert_eq!((applied.created.len(), applied.left.is_empty()), (3, true), "{}", applied.left);
    assert!(applied.altered.iter().any(|altered| altered.setting == "cleanup.policy" && altered.found == "compact"));
    assert_eq!(topics::apply(&other, &spec()).unwrap(), topics::Applied::default());
    // What the operator had set besides stays.
    assert_eq!(setting(&other, Topic::Events, "segment.ms"), "86400000");
    KafkaLog::connect(other, Arc::new(SystemWall)).unwrap();
}

fn setting(settings: &Settings, topic: Topic, name: &str) -> String {
    use rdkafka::admin::ResourceSpecifier;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &settings.brokers).create().unwrap();
    let topic = settings.topic(topic);
    let described = block_on(admin.describe_configs([&ResourceSpecifier::Topic(&topic)], &AdminOptions::new()));
    let resource = described.unwrap().remove(0).unwrap();
    resource.get(name).unwrap().value.clone().unwrap()
}

#[test]
fn the_number_of_partitions_is_never_changed() {
    let Some(cluster) = cluster() else { return };
    let settings = settings(cluster.bootstrap(), Publish::Transactional);
    create(&settings, Topic::Touches, 5, &[]);
    let applied = topics::apply(&settings, &spec()).unwrap();
    let left = applied.left.to_string();
    assert_eq!(left, format!("{}: partitions is 5 and must be 3\n", settings.topic(Topic::Touches)));
    let text = refused(&settings);
    assert!(text.contains("touches: partitions is 5 and must be 3"), "{text}");
}

#[test]
fn a_broker_that_does_not_verify_transactions_is_refused_where_they_are_used() {
    if cluster().is_none_or(touchline_broker::Cluster::is_external) {
        return;
    }
    let property = ("transaction.partition.verification.enable".to_owned(), "false".to_owned());
    let options = Options { properties: vec![property], ..Options::default() };
    let Some(cluster) = touchline_broker::start_or_skip(&options) else { return };
    let settings = settings(cluster.bootstrap(), Publish::Transactional);
    let applied = topics::apply(&settings, &spec()).unwrap();
    let expected = "broker 1: transaction.partition.verification.enable is false and must be true";
    assert_eq!(applied.left.to_string(), format!("{expected}\n"));
    assert!(refused(&settings).contains(expected));
    let sequenced = Settings { publish: Publish::Sequenced, ..settings };
    KafkaLog::connect(sequenced, Arc::new(SystemWall)).unwrap();
}
