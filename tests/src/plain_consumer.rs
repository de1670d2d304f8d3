//! A consumer in another language: Java's own client with `read_committed`, which knows two headers and nothing else.
//! What it sees is what every downstream system sees.

use crate::repository;
use serde_json::Value;
use std::collections::BTreeMap;
use touchline_broker::Jars;
use touchline_log::Topic;
use touchline_model::output::Stream;

/// One file, compiled by `java` when it starts.
const SOURCE: &str = "tests/consumers/PlainConsumer.java";
/// A short program: little memory, and no time for the second compiler.
const VM_OPTIONS: [&str; 2] = ["-Xmx256m", "-XX:TieredStopAtLevel=1"];

/// A record as the consumer printed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Full name of its topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
    /// Key, if it has one.
    pub key: Option<String>,
    /// Header `touchline-sequence`, if it has one.
    pub sequence: Option<u64>,
    /// Header `touchline-offset`: the offset of the event that led to it.
    pub source: Option<u64>,
    /// SHA-256 of the value, in hex.
    pub sha256: String,
}

impl Record {
    fn parse(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(Self {
            topic: text("topic")?,
            partition: u32::try_from(value["partition"].as_u64()?).ok()?,
            offset: value["offset"].as_u64()?,
            key: text("key"),
            sequence: value["sequence"].as_u64(),
            source: value["source"].as_u64(),
            sha256: text("sha256")?,
        })
    }
}

/// Reads topics (full names) from the beginning to the end they have now, in partition and offset order of each topic.
/// `settings` are further properties of the Java client. Errors: what went wrong, with what Java said.
pub fn read(
    jars: &Jars,
    bootstrap: &str,
    topics: &[&str],
    settings: &[(String, String)],
) -> Result<Vec<Record>, String> {
    let source = repository(SOURCE);
    let mut command = jars.java_with(&VM_OPTIONS, &source.to_string_lossy());
    command.arg(bootstrap).arg(topics.join(","));
    command.args(settings.iter().map(|(name, value)| format!("{name}={value}")));
    let output = command.output().map_err(|error| format!("java does not start: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("the plain consumer failed ({}): {said}", output.status));
    }
    let text = String::from_utf8(output.stdout).map_err(|error| format!("it printed no text: {error}"))?;
    let mut records = Vec::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
        records.push(Record::parse(&value).ok_or_else(|| format!("it printed no record: {line}"))?);
    }
    records.sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
    Ok(records)
}

/// What is wrong with records of numbered topics, in the order of [`read`]: sequences that are not 1, 2, 3 … in a
/// partition, and records of a key that do not come in the order of what led to them. Empty: nothing.
pub fn violations(records: &[Record]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut last: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    let mut sources: BTreeMap<(&str, u32, &str), u64> = BTreeMap::new();
    for record in records {
        let Record { topic, partition, offset, .. } = record;
        let place = format!("{topic}/{partition}@{offset}");
        let (Some(sequence), Some(source), Some(key)) = (record.sequence, record.source, &record.key) else {
            wrong.push(format!("{place} has no key, sequence or source offset"));
            continue;
        };
        let last = last.entry((topic, *partition)).or_default();
        if sequence != *last + 1 {
            wrong.push(format!("{place} has sequence {sequence} after {last}"));
        }
        *last = sequence;
        let before = sources.entry((topic, *partition, key)).or_default();
        if source < *before {
            wrong.push(format!("{place} of source offset {source} comes after one of {before} of the same key"));
        }
        *before = source;
    }
    wrong
}

/// Reads the four numbered topics below `prefix`. Errors: what is wrong, one line each.
pub fn check(jars: &Jars, bootstrap: &str, prefix: &str) -> Result<Vec<Record>, String> {
    let topics = Stream::ALL.map(|stream| format!("{prefix}{}", Topic::from(stream).name()));
    let records = read(jars, bootstrap, &topics.each_ref().map(String::as_str), &[])?;
    let wrong = violations(&records);
    if wrong.is_empty() { Ok(records) } else { Err(wrong.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, sequence: u64, source: u64) -> Record {
        Record {
            topic: "touches".into(),
            partition: 1,
            offset: sequence * 2,
            key: Some(key.into()),
            sequence: Some(sequence),
            source: Some(source),
            sha256: String::new(),
        }
    }

    #[test]
    fn a_repeat_a_gap_and_a_wrong_order_are_seen() {
        let good = vec![record("a", 1, 5), record("b", 2, 4), record("a", 3, 5), record("a", 4, 9)];
        assert!(violations(&good).is_empty());
        let mut without = good.clone();
        without.remove(1);
        assert_eq!(violations(&without), ["touches/1@6 has sequence 3 after 1"]);
        let mut doubled = good.clone();
        doubled.insert(1, doubled[0].clone());
        assert_eq!(violations(&doubled), ["touches/1@2 has sequence 1 after 1"]);
        assert_eq!(violations(&good[1..2]), ["touches/1@4 has sequence 2 after 0"], "the first is 1");
        let mut turned = good;
        (turned[2].source, turned[3].source) = (Some(9), Some(5));
        let wrong = violations(&turned);
        assert_eq!(wrong, ["touches/1@8 of source offset 5 comes after one of 9 of the same key"]);
        let foreign = Record { sequence: None, ..record("a", 1, 1) };
        assert_eq!(violations(&[foreign]), ["touches/1@2 has no key, sequence or source offset"]);
    }
}
