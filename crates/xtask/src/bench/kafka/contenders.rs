//! Who is measured: made ready, and measured.

use super::Bench;
use crate::bench::rig::{Publish, Settings, Topics, words};
use anyhow::Result;
use serde_json::Value;

/// A program that does the job, tuned for what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contender {
    PassThrough,
    PassThroughSequenced,
    Streams,
    Touchline,
    TouchlineSequenced,
}

/// The pass-through's transactions when delays count: shorter ones meet librdkafka's back-off of 20 ms.
const PASS_THROUGH_COMMIT_MS: u32 = 5;
/// How often the pass-through commits offsets without transactions.
const PASS_THROUGH_OFFSETS_MS: u32 = 100;
/// Kafka Streams' commits when throughput counts: its default with exactly_once_v2.
const STREAMS_COMMIT_MS: u32 = 100;
/// The same when delays count.
const STREAMS_FAST_COMMIT_MS: u32 = 10;

impl Contender {
    pub(super) const ALL: [Self; 5] =
        [Self::PassThrough, Self::Streams, Self::Touchline, Self::PassThroughSequenced, Self::TouchlineSequenced];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PassThrough => "pass-through",
            Self::PassThroughSequenced => "pass-through, sequenced",
            Self::Streams => "Kafka Streams",
            Self::Touchline => "Touchline",
            Self::TouchlineSequenced => "Touchline, sequenced",
        }
    }

    pub(super) const fn publish(self) -> Publish {
        match self {
            Self::PassThrough | Self::Streams | Self::Touchline => Publish::Transactional,
            Self::PassThroughSequenced | Self::TouchlineSequenced => Publish::Sequenced,
        }
    }

    const fn is_touchline(self) -> bool {
        matches!(self, Self::Touchline | Self::TouchlineSequenced)
    }

    /// Where it answers each event that asks.
    const fn output(self) -> &'static str {
        match self {
            Self::PassThrough | Self::PassThroughSequenced => "touches",
            Self::Streams | Self::Touchline | Self::TouchlineSequenced => "tag-changes",
        }
    }
}

impl Bench {
    /// Lets a contender work off a full topic.
    pub(super) fn work_off(&mut self, contender: Contender, partitions: u32) -> Result<Value> {
        let mut options = self.rig.broker();
        if contender.is_touchline() {
            let topics = self.rig.topics(partitions)?;
            let server = self.rig.server(&topics, &Settings::new(contender.publish()))?;
            self.rig.activate(&topics, &server)?;
            self.load(&topics, &[])?;
            options.extend(words(&["--events", &topics.name("events"), "--group", &topics.group()]));
            options.extend(server.options());
            if contender.publish() == Publish::Sequenced {
                options.push("--by-metrics".to_owned());
            }
            return self.rig.reference("throughput", &options, server.command());
        }
        let topics = self.loaded(partitions)?;
        let group = self.rig.name();
        let command = match contender {
            Contender::Streams => self.rig.streams(&topics, &group, STREAMS_COMMIT_MS, 2),
            Contender::PassThroughSequenced => {
                self.rig.pass_through(&topics, &group, Publish::Sequenced, PASS_THROUGH_OFFSETS_MS)
            }
            _ => self.rig.pass_through(&topics, &group, Publish::Transactional, 0),
        };
        options.extend(words(&["--events", &topics.name("events"), "--group", &group]));
        self.rig.reference("throughput", &options, &command)
    }

    /// Lets a contender follow a load, and says how long events take.
    pub(super) fn follow(&mut self, contender: Contender, busy: bool, mut options: Vec<String>) -> Result<Value> {
        let topics = self.rig.topics(4)?;
        options.extend(self.rig.broker());
        options.extend(words(&["--events", &topics.name("events"), "--output", &topics.name(contender.output())]));
        let group = self.rig.name();
        let command = match contender {
            Contender::PassThrough => {
                self.rig.pass_through(&topics, &group, contender.publish(), PASS_THROUGH_COMMIT_MS)
            }
            Contender::PassThroughSequenced => {
                self.rig.pass_through(&topics, &group, contender.publish(), PASS_THROUGH_OFFSETS_MS)
            }
            // One thread answers faster while it has little to do.
            Contender::Streams => self.rig.streams(&topics, &group, STREAMS_FAST_COMMIT_MS, if busy { 2 } else { 1 }),
            Contender::Touchline | Contender::TouchlineSequenced => {
                let server = self.rig.server(&topics, &Settings::new(contender.publish()))?;
                self.rig.activate(&topics, &server)?;
                options.extend(server.options());
                server.command().to_vec()
            }
        };
        self.rig.reference("latency", &options, &command)
    }

    /// Writes the events into topics.
    pub(super) fn load(&self, topics: &Topics, more: &[&str]) -> Result<Value> {
        let mut options = words(&["--events", &topics.name("events"), "--count", &self.counts.events.to_string()]);
        options.extend(words(more));
        self.rig.reference("load", &options, &[])
    }

    /// Topics that pass-through and Kafka Streams read from the start under ever new groups.
    fn loaded(&mut self, partitions: u32) -> Result<Topics> {
        if let Some(topics) = self.loaded.get(&partitions) {
            return Ok(topics.clone());
        }
        let topics = self.rig.topics(partitions)?;
        self.load(&topics, &[])?;
        self.loaded.insert(partitions, topics.clone());
        Ok(topics)
    }
}
