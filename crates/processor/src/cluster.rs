//! A whole cluster on one thread: memory log, memory stores, virtual wall. The same bytes each time.

use crate::controller::{self, Driver};
use crate::error::Error;
use crate::options::{Options, Pacing};
use crate::partition::{Partition, Step};
use crate::wire;
use std::collections::BTreeMap;
use std::sync::Arc;
use touchline_log::memory::MemoryLog;
use touchline_log::{Ack, Appended, Log, ManualWall, Topic, Wall};
use touchline_model::command::Command;
use touchline_model::counted::Counted;
use touchline_model::event::Event;
use touchline_model::id::CellKey;
use touchline_model::output::{Contact, Numbered, Stream};
use touchline_model::record::Input;
use touchline_model::time::Time;
use touchline_proto as proto;
use touchline_store::memory::MemoryStore;

/// Steps of one settling that no healthy run reaches: a record costs a handful.
const STEPS_MAX: u64 = 10_000_000;
/// Records read at once when outputs are collected.
const READ_RECORDS: usize = 4_096;

/// The topic `contacts`, compacted.
#[derive(Default)]
struct Public {
    contacts: BTreeMap<CellKey, Contact>,
    counted: BTreeMap<CellKey, Counted>,
}

/// Partitions in memory, stepped in turn.
pub struct Cluster {
    log: MemoryLog,
    wall: ManualWall,
    partitions: Vec<Partition>,
}

impl Cluster {
    /// An empty cluster whose wall stands at `start`.
    pub fn new(partitions: u32, start: Time) -> Result<Self, Error> {
        let wall = ManualWall::new(start);
        let log = MemoryLog::new(partitions, Arc::new(wall.clone()));
        let options = Options { pacing: Pacing::Virtual, ..Options::default() };
        let open = |id| {
            let store = Box::new(MemoryStore::volatile());
            let taken = touchline_log::wait(log.take_over(id))?;
            Partition::open(id, Arc::new(log.clone()), taken, store, Arc::new(wall.clone()), options.clone())
        };
        let partitions = (0..partitions).map(open).collect::<Result<_, _>>()?;
        Ok(Self { log, wall, partitions })
    }

    /// Appends an event under its native key; nothing is applied yet.
    pub fn append_event(&mut self, event: Event) -> Result<Appended, Error> {
        let partition = event.key().partition(self.log.partitions());
        self.append(partition, &Input::Event(Box::new(event)))
    }

    /// Appends a command where it belongs: to the contact's partition, or to partition 0.
    pub fn append_command(&mut self, command: Command) -> Result<Appended, Error> {
        let partition = command.body.contact().map_or(0, |cell| cell.partition(self.log.partitions()));
        self.append(partition, &Input::Command(Box::new(command)))
    }

    fn append(&mut self, partition: u32, input: &Input) -> Result<Appended, Error> {
        resolved(self.log.append(Topic::Events, partition, vec![wire::input_record(input)]))
    }

    /// Steps all partitions in turn until none has anything left to do at this moment.
    pub fn settle(&mut self) -> Result<(), Error> {
        let mut steps = 0;
        loop {
            let mut worked = false;
            for partition in &mut self.partitions {
                worked |= partition.step()? == Step::Worked;
                steps += 1;
            }
            if !worked {
                return Ok(());
            }
            if steps > STEPS_MAX {
                return Err(Error::Restless(STEPS_MAX));
            }
        }
    }

    /// Moves the wall through every due moment to `to`; then every clock stands there.
    pub fn advance(&mut self, to: Time) -> Result<(), Error> {
        controller::advance(self, to)
    }

    /// Moves the wall through every due moment to `to`; clocks of idle partitions stay behind.
    pub fn pass_due(&mut self, to: Time) -> Result<(), Error> {
        controller::pass_due(self, to)
    }

    /// Every output published so far, by clock, partition, source offset, topic, sequence.
    pub fn outputs(&self) -> Result<Vec<Numbered>, Error> {
        let mut outputs = Vec::new();
        for partition in 0..self.log.partitions() {
            for stream in Stream::ALL {
                for record in read_all(&self.log, Topic::from(stream), partition)? {
                    let decoded = proto::decode_output(stream, &record.value);
                    outputs.push(decoded.map_err(|_| Error::Residue("an output topic"))?.0);
                }
            }
        }
        outputs.sort_by_key(|numbered| {
            let topic = Topic::from(numbered.output.stream());
            (numbered.clock, numbered.source.partition, numbered.source.offset, topic, numbered.sequence)
        });
        Ok(outputs)
    }

    /// The public records as `contacts` holds them now, compacted, in key order.
    pub fn contacts(&self) -> Result<Vec<Contact>, Error> {
        Ok(self.public()?.contacts.into_values().collect())
    }

    /// What partitions have counted, as `contacts` holds it now, in key order.
    pub fn counted(&self) -> Result<Vec<Counted>, Error> {
        Ok(self.public()?.counted.into_values().collect())
    }

    fn public(&self) -> Result<Public, Error> {
        let mut public = Public::default();
        for partition in 0..self.log.partitions() {
            for record in read_all(&self.log, Topic::Contacts, partition)? {
                match proto::decode_contact_record(&record.value) {
                    Ok(proto::ContactRecord::Contact(contact)) => {
                        public.contacts.insert(contact.key.clone(), *contact);
                    }
                    Ok(proto::ContactRecord::Counted(number)) => {
                        public.counted.insert(number.key.clone(), number);
                    }
                    Ok(proto::ContactRecord::Progress(_)) => {}
                    Err(_) => return Err(Error::Residue("the topic contacts")),
                }
            }
        }
        Ok(public)
    }

    /// The log, for the judge and for reading topics.
    pub fn log(&self) -> &MemoryLog {
        &self.log
    }

    /// The partitions, for the judge.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// Where the wall stands.
    pub fn now(&self) -> Time {
        self.wall.now()
    }
}

impl Driver for Cluster {
    fn settle(&mut self) -> Result<(), Error> {
        Self::settle(self)
    }

    fn next_due(&self) -> Result<Option<Time>, Error> {
        Ok(self.partitions.iter().filter_map(Partition::next_due).min())
    }

    fn wall(&self) -> &ManualWall {
        &self.wall
    }

    fn log(&self) -> &dyn Log {
        &self.log
    }
}

/// Every record of a topic's partition.
pub(crate) fn read_all(log: &dyn Log, topic: Topic, partition: u32) -> Result<Vec<touchline_log::StoredRecord>, Error> {
    let (mut records, mut offset) = (Vec::new(), 0);
    loop {
        let more = log.read(topic, partition, offset, READ_RECORDS)?;
        let Some(last) = more.last() else { return Ok(records) };
        offset = last.offset + 1;
        records.extend(more);
    }
}

/// The memory log answers at once.
fn resolved(mut ack: Ack<Appended>) -> Result<Appended, Error> {
    match ack.try_recv() {
        Ok(Some(outcome)) => Ok(outcome?),
        Ok(None) | Err(_) => Err(Error::Log(touchline_log::Error::Closed)),
    }
}
