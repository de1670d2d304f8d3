//! The follower: one thread that reads every topic and applies it to the model.
//!
//! A Progress is applied only when everything it speaks of was read: `events` up to its offset, each numbered stream up
//! to its sequence. What one publication says becomes readable topic by topic and, without transactions, record by
//! record; until all of it is there, `contacts` waits before that Progress.

use crate::metrics;
use crate::model::{Change, Location};
use crate::shared::{Answer, Shared};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use touchline_log::consumer::{Consumer, Position, Verdict};
use touchline_log::publish::stream_of;
use touchline_log::{Error, Log, StoredRecord, Topic};
use touchline_model::event::Event;
use touchline_model::id::CellKey;
use touchline_model::output::{Output, Progress, Stream};
use touchline_model::record::{Input, Loop, LoopBody};
use touchline_model::time::Time;
use touchline_playbook::compile::compile;
use touchline_playbook::directory;
use touchline_proto::{ContactRecord, decode_contact_record, decode_input, decode_output};

/// Looks again after this even when the signal was silent.
const IDLE: Duration = Duration::from_secs(1);

/// `contacts` comes last: its Progress speaks of the others.
const IN_ORDER: [Topic; 6] =
    [Topic::Events, Topic::TagChanges, Topic::Touches, Topic::CommandResults, Topic::DeadLetters, Topic::Contacts];

/// Where reading stands.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    partitions: Vec<Topics>,
    /// Ends when it started, by partition and topic; empty once they were reached.
    target: Vec<[u64; Topic::ALL.len()]>,
    bundles: BTreeSet<u64>,
}

/// The consumers of one partition.
struct Topics([Consumer; Topic::ALL.len()]);

impl Topics {
    fn of(&mut self, topic: Topic) -> &mut Consumer {
        &mut self.0[topic as usize]
    }
}

/// What becomes of a record of `contacts`.
enum Contacts {
    Apply(Change),
    /// A Progress that speaks of records which were not read yet.
    Wait,
}

/// What is applied under one lock: readers wait for it, so one read's records are enough.
#[derive(Default)]
struct Batch {
    records: usize,
    changes: Vec<Change>,
    answers: Vec<Answer>,
}

impl Follower {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let topics = |partition| Topics(Topic::ALL.map(|topic| Consumer::new(topic, Position::start(partition))));
        let partitions = (0..shared.log.partitions()).map(topics).collect();
        Self { shared, partitions, target: Vec::new(), bundles: BTreeSet::new() }
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

    /// Reads a batch of every topic of every partition; whether there was anything. One that cannot be read does not
    /// keep the others from being followed.
    fn round(&mut self) -> Result<bool, Error> {
        if self.target.is_empty() && !self.shared.model().caught_up() {
            self.target = self.ends()?;
        }
        let mut outcome = Ok(false);
        for partition in 0..self.shared.log.partitions() {
            match self.follow(partition) {
                Ok(some) => outcome = outcome.map(|moved| moved | some),
                Err(error) => outcome = Err(error),
            }
        }
        if !self.target.is_empty() && self.has_reached_target() {
            self.target.clear();
            self.shared.set_caught_up();
        }
        outcome
    }

    fn ends(&self) -> Result<Vec<[u64; Topic::ALL.len()]>, Error> {
        let mut ends = vec![[0; Topic::ALL.len()]; self.partitions.len()];
        for (partition, ends) in (0..).zip(&mut ends) {
            for topic in Topic::ALL {
                ends[topic as usize] = self.shared.log.end(topic, partition)?;
            }
        }
        Ok(ends)
    }

    fn has_reached_target(&self) -> bool {
        self.partitions
            .iter()
            .zip(&self.target)
            .all(|(topics, target)| topics.0.iter().zip(target).all(|(consumer, end)| consumer.next_offset() >= *end))
    }

    /// Follows one partition by a batch of each topic; whether there was anything.
    fn follow(&mut self, partition: u32) -> Result<bool, Error> {
        let mut moved = false;
        for topic in IN_ORDER {
            if self.shared.is_stopping() {
                break;
            }
            moved |= self.pump(topic, partition)?;
        }
        Ok(moved)
    }

    /// Applies what one read of a topic gives; whether it gave anything to apply.
    fn pump(&mut self, topic: Topic, partition: u32) -> Result<bool, Error> {
        let log = Arc::clone(&self.shared.log);
        if self.partitions[partition as usize].of(topic).peek(&*log)?.is_none() {
            return Ok(false);
        }
        let mut batch = Batch::default();
        let outcome = match topic {
            Topic::Contacts => self.take_contacts(partition, &mut batch),
            _ => {
                self.take_all(topic, partition, &mut batch);
                Ok(())
            }
        };
        // What was taken before an error does not come again.
        let moved = batch.records > 0;
        if !batch.changes.is_empty() || !batch.answers.is_empty() {
            self.shared.apply(batch.changes, batch.answers);
            if topic == Topic::Contacts {
                metrics::contacts(self.shared.model().contacts_total());
            }
        }
        outcome.map(|()| moved)
    }

    fn take_all(&mut self, topic: Topic, partition: u32, batch: &mut Batch) {
        while let Some((record, verdict)) = self.partitions[partition as usize].of(topic).take() {
            batch.records += 1;
            let location = Location { partition, offset: record.offset };
            match (verdict, stream_of(topic)) {
                (Verdict::Next, Some(stream)) => output(stream, &record, location, batch),
                // What is no record of ours in `events` becomes a dead letter of the engine, so it is counted there.
                (Verdict::Next, None) => {
                    let input = decode_input(&record.value).ok();
                    batch.changes.extend(input.and_then(|input| self.input(input, location, &record)));
                }
                (Verdict::Gap, _) => batch.changes.push(Change::Gap(topic)),
                (Verdict::Foreign, _) => batch.changes.push(Change::Undecodable(topic)),
                (Verdict::Repeat, _) => {}
            }
        }
    }

    /// Takes records of `contacts` up to a Progress that has to wait.
    fn take_contacts(&mut self, partition: u32, batch: &mut Batch) -> Result<(), Error> {
        let log = Arc::clone(&self.shared.log);
        let topics = &mut self.partitions[partition as usize];
        while let Some(record) = topics.of(Topic::Contacts).held() {
            let change = match decode_contact_record(&record.value) {
                Ok(ContactRecord::Contact(contact)) => Contacts::Apply(Change::Contact(contact)),
                Ok(ContactRecord::Progress(progress)) if progress.partition == partition => {
                    match covers(topics, &*log, &progress)? {
                        true => Contacts::Apply(Change::Progress(progress)),
                        false => Contacts::Wait,
                    }
                }
                Ok(ContactRecord::Counted(counted)) => Contacts::Apply(Change::Counted(counted)),
                Ok(ContactRecord::Progress(_)) | Err(_) => Contacts::Apply(Change::Undecodable(Topic::Contacts)),
            };
            let Contacts::Apply(change) = change else { break };
            topics.of(Topic::Contacts).take();
            batch.records += 1;
            batch.changes.push(change);
        }
        Ok(())
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
            LoopBody::Activation { number, tenant, sources, .. } => {
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
            LoopBody::Directory { tenant, yaml } => {
                // Every partition gets the same; those of the first are in order.
                let is_first = location.partition == 0;
                let entries = if is_first { directory::parse(&yaml).unwrap_or_default() } else { Vec::new() };
                Some(Change::Directory { position: told.origin, location, tenant, entries })
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

/// Whether everything that `progress` speaks of was read.
fn covers(topics: &mut Topics, log: &dyn Log, progress: &Progress) -> Result<bool, Error> {
    if topics.of(Topic::Events).next_offset() < progress.offset {
        return Ok(false);
    }
    for stream in Stream::ALL {
        if !topics.of(stream.into()).covers(log, progress.sequences[stream.index()])? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn output(stream: Stream, record: &StoredRecord, location: Location, batch: &mut Batch) {
    let Ok((numbered, _)) = decode_output(stream, &record.value) else {
        batch.changes.push(Change::Undecodable(stream.into()));
        return;
    };
    if let Output::CommandResult(result) = &numbered.output {
        let (partition, sequence) = (location.partition, numbered.sequence);
        batch.answers.push(Answer { result: result.clone(), partition, sequence });
    }
    batch.changes.push(Change::Output { numbered: Box::new(numbered), location });
}
