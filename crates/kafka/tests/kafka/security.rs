//! SASL/SCRAM over TLS, with the password in a file.

use crate::support::{apply, connect, publication, record, settings, touches};
use std::collections::BTreeMap;
use std::sync::Arc;
use touchline_broker::{Options, Security};
use touchline_kafka::{KafkaLog, Publish, Settings};
use touchline_log::{Log, SystemWall, Topic, wait};

#[test]
fn it_works_with_scram_over_tls_and_not_with_a_wrong_password() {
    let options = Options { security: Security::SaslScramTls, ..Options::default() };
    let Some(cluster) = touchline_broker::start_or_skip(&options) else { return };
    if cluster.is_external() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut properties: BTreeMap<String, String> = cluster.client_settings().into_iter().collect();
    let brokers = properties.remove("bootstrap.servers").unwrap();
    let secret = directory.path().join("password");
    std::fs::write(&secret, format!("{}\n", properties.remove("sasl.password").unwrap())).unwrap();
    let property_files = BTreeMap::from([("sasl.password".to_owned(), secret)]);
    let settings = Settings { properties, property_files, ..settings(brokers, Publish::Transactional) };
    apply(&settings);
    let log = connect(&settings);
    wait(log.append(Topic::Events, 0, vec![record(b"sealed")])).unwrap();
    assert_eq!(log.read(Topic::Events, 0, 0, 1).unwrap()[0].value, b"sealed");
    let mut taken = wait(log.take_over(0)).unwrap();
    wait(taken.publisher.publish(publication(1, 1..=2))).unwrap();
    assert_eq!(touches(&settings, 0, 2), [1, 2]);

    let wrong = directory.path().join("wrong");
    std::fs::write(&wrong, "not-the-password").unwrap();
    let property_files = BTreeMap::from([("sasl.password".to_owned(), wrong)]);
    let refused = KafkaLog::connect(Settings { property_files, ..settings }, Arc::new(SystemWall)).err().unwrap();
    assert!(!refused.to_string().contains("not-the-password"), "{refused}");
}
