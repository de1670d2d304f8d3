//! The follower: one thread that reads every topic and applies it to the model.

use crate::metrics;
use crate::model::{Change, Location};
use crate::shared::{Answer, Shared};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use touchline_log::{Error, StoredRecord, Topic};
use touchline_model::event::Event;
use touchline_model::id::CellKey;
use touchline_model::output::{Output, Stream};
use touchline_model::record::{Input, Loop, LoopBody};
use touchline_model::time::Time;
use touchline_playbook::compile::compile;
use touchline_proto::{ContactRecord, decode_contact_record, decode_input, decode_output};

/// Records applied under one lock: readers wait for a batch, so it stays well below a millisecond.
const BATCH_RECORDS: usize = 512;
/// Looks again after this even when the signal was silent.
const IDLE: Duration = Duration::from_secs(1);

/// What `contacts` says last in a publication is Progress, so its topics are read before it.
const BEFORE_CONTACTS: [Topic; 5] =
    [Topic::Events, Topic::TagChanges, Topic::Touches, Topic::CommandResults, Topic::DeadLetters];

/// Where reading stands.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    /// Next offset by partition and topic.
    next: Vec<[u64; Topic::ALL.len()]>,
    /// Ends when it started; empty once they were reached.
    target: Vec<[u64; Topic::ALL.len()]>,
    bundles: BTreeSet<u64>,
}

impl Follower {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let next = vec![[0; Topic::ALL.len()]; shared.log.partitions() as usize];
        Self { shared, next, target: Vec::new(), bundles: BTreeSet::new() }
    }

    /// Reads and applies until the role stops.
    pub(crate) fn run(mut self) {
        while !self.shared.is_stopping() {
            let seen = self.shared.log.signal().count();
            match self.round() {
                Ok(true) => continue,
                Ok(false) => self.shared.set_log_alarm(None),
                Err(error) => {
                    tracing::warn!(%error, "the read model cannot read the log; it tries again");
                    self.shared.set_log_alarm(Some(error.to_string()));
                }
            }
            self.shared.log.signal().wait_past(seen, IDLE);
        }
    }

    /// Reads what is there; whether there was anything.
    fn round(&mut self) -> Result<bool, Error> {
        if self.target.is_empty() && !self.shared.model().caught_up() {
            self.target = self.ends()?;
        }
        let mut moved = false;
        for partition in 0..self.shared.log.partitions() {
            // Taken first: everything that this Progress covers is below the ends of the others by now.
            let contacts_end = self.shared.log.end(Topic::Contacts, partition)?;
            for topic in BEFORE_CONTACTS {
                let end = self.shared.log.end(topic, partition)?;
                moved |= self.pump(topic, partition, end)?;
            }
            moved |= self.pump(Topic::Contacts, partition, contacts_end)?;
        }
        let reached = |(next, target): (&[u64; 6], &[u64; 6])| next.iter().zip(target).all(|(next, end)| next >= end);
        if !self.target.is_empty() && self.next.iter().zip(&self.target).all(reached) {
            self.target.clear();
            self.shared.set_caught_up();
        }
        Ok(moved)
    }

    fn ends(&self) -> Result<Vec<[u64; Topic::ALL.len()]>, Error> {
        let mut ends = self.next.clone();
        for (partition, ends) in (0..).zip(&mut ends) {
            for topic in Topic::ALL {
                ends[topic as usize] = self.shared.log.end(topic, partition)?;
            }
        }
        Ok(ends)
    }

    /// Applies one topic of one partition up to `end`.
    fn pump(&mut self, topic: Topic, partition: u32, end: u64) -> Result<bool, Error> {
        let mut moved = false;
        while self.next[partition as usize][topic as usize] < end && !self.shared.is_stopping() {
            let offset = self.next[partition as usize][topic as usize];
            let records = match self.shared.log.read(topic, partition, offset, BATCH_RECORDS) {
                Err(Error::Truncated { start, .. }) if start > offset => {
                    self.next[partition as usize][topic as usize] = start;
                    if let Some(stream) = stream_of(topic) {
                        self.shared.apply(vec![Change::Truncated { stream, partition }], Vec::new());
                    }
                    continue;
                }
                records => records?,
            };
            let Some(last) = records.last() else { break };
            self.next[partition as usize][topic as usize] = last.offset + 1;
            let (mut changes, mut answers) = (Vec::with_capacity(records.len()), Vec::new());
            for record in &records {
                self.decode(topic, partition, record, &mut changes, &mut answers);
            }
            self.shared.apply(changes, answers);
            moved = true;
        }
        if moved && topic == Topic::Contacts {
            metrics::contacts(self.shared.model().contacts_total());
        }
        Ok(moved)
    }

    fn decode(
        &mut self,
        topic: Topic,
        partition: u32,
        record: &StoredRecord,
        changes: &mut Vec<Change>,
        answers: &mut Vec<Answer>,
    ) {
        let location = Location { partition, offset: record.offset };
        let Some(stream) = stream_of(topic) else {
            match topic {
                Topic::Contacts => changes.push(match decode_contact_record(&record.value) {
                    Ok(ContactRecord::Contact(contact)) => Change::Contact(contact),
                    Ok(ContactRecord::Progress(progress)) if progress.partition == partition => {
                        Change::Progress(progress)
                    }
                    Ok(ContactRecord::Progress(_)) | Err(_) => Change::Undecodable(topic),
                }),
                // What is no record of ours in `events` becomes a dead letter of the engine, so it is counted there.
                _ => changes
                    .extend(decode_input(&record.value).ok().and_then(|input| self.input(input, location, record))),
            }
            return;
        };
        let Ok((numbered, _)) = decode_output(stream, &record.value) else {
            changes.push(Change::Undecodable(topic));
            return;
        };
        if let Output::CommandResult(result) = &numbered.output {
            answers.push(Answer { result: result.clone(), partition, sequence: numbered.sequence });
        }
        changes.push(Change::Output { numbered: Box::new(numbered), location });
    }

    fn input(&mut self, input: Input, location: Location, record: &StoredRecord) -> Option<Change> {
        match input {
            Input::Event(event) => {
                let key = event.key();
                let lies_right = record.key.as_deref() == Some(key.as_str().as_bytes());
                lies_right.then(|| self.event(key, &event, location, record))?
            }
            Input::Loop(told) => self.told(*told, location, record),
            Input::Tick { .. } | Input::Command(_) => None,
        }
    }

    fn told(&mut self, told: Loop, location: Location, record: &StoredRecord) -> Option<Change> {
        match told.body {
            LoopBody::Forward { target, event, .. } => self.event(target, &event, location, record),
            LoopBody::Activation { number, tenant, sources } => {
                // Every partition gets the same; compiling it once is enough.
                let compiled = self.bundles.insert(number).then(|| compile(&sources, number));
                if let Some(Err(_)) = compiled {
                    tracing::warn!(
                        number,
                        "a bundle does not compile in this version: its boards and segments are missing"
                    );
                }
                let bundle = compiled.and_then(Result::ok).map(Arc::new);
                Some(Change::Bundle { position: told.origin, number, tenant, bundle })
            }
            _ => None,
        }
    }

    fn event(&self, key: CellKey, event: &Event, location: Location, record: &StoredRecord) -> Option<Change> {
        let mine = key.partition(self.shared.log.partitions()) == location.partition;
        let at = event_time(event.occurred_at, record.append_time);
        mine.then_some(Change::Event { key, id: event.id, at, location })
    }
}

/// When an event happened: `occurred_at`, but never after it was appended; append time where that is absent or absurd.
pub(crate) fn event_time(occurred_at: Option<Time>, append_time: Time) -> Time {
    occurred_at.filter(|time| time.is_plausible()).map_or(append_time, |time| time.min(append_time))
}

fn stream_of(topic: Topic) -> Option<Stream> {
    Stream::ALL.into_iter().find(|stream| Topic::from(*stream) == topic)
}
