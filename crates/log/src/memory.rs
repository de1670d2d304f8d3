//! Memory implementation: everything is durable at once, and faults happen when the simulator says so.

use crate::{
    Ack, Appended, Error, Log, Marker, NewRecord, Publication, Published, Publisher, READ_BYTES_MAX, RECORD_BYTES_MAX,
    Signal, StoredRecord, TakenOver, Topic, Wall,
};
use futures::channel::oneshot;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use touchline_model::time::Time;

/// A log in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryLog {
    shared: Arc<Mutex<Shared>>,
    partitions: u32,
    wall: Arc<dyn Wall>,
    signal: Signal,
}

/// A call that may be given a fault.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// [`Log::append`].
    Append {
        /// Where to.
        topic: Topic,
        /// Where to.
        partition: u32,
        /// What.
        records: &'a [NewRecord],
    },
    /// [`Log::take_over`].
    TakeOver {
        /// What.
        partition: u32,
    },
    /// [`Publisher::publish`].
    Publish {
        /// Where to.
        partition: u32,
        /// What.
        publication: &'a Publication,
    },
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// It succeeds.
    #[default]
    None,
    /// It is carried out, and its caller is told that it failed.
    LostAck,
    /// It is not carried out, and its caller is told that it failed.
    Refused,
    /// It is not carried out, and its caller is told to come again.
    Busy,
}

/// Decides the fate of every call, in the order of the calls. It must not call the log.
pub type FaultHook = Box<dyn FnMut(Call<'_>) -> Fault + Send>;

struct Shared {
    /// By topic, then partition.
    records: [Vec<Vec<StoredRecord>>; Topic::ALL.len()],
    markers: Vec<Marker>,
    /// How often each partition was taken over: the last one may publish.
    epochs: Vec<u64>,
    faults: FaultHook,
}

impl MemoryLog {
    /// An empty log without faults; append time = max(last of the partition, `wall`).
    pub fn new(partitions: u32, wall: Arc<dyn Wall>) -> Self {
        Self::with_faults(partitions, wall, Box::new(|_| Fault::None))
    }

    /// An empty log that asks `faults` about every append and publication that is valid.
    pub fn with_faults(partitions: u32, wall: Arc<dyn Wall>, faults: FaultHook) -> Self {
        let shared = Shared {
            records: std::array::from_fn(|_| (0..partitions).map(|_| Vec::new()).collect()),
            markers: (0..partitions).map(|_| Marker::default()).collect(),
            epochs: vec![0; partitions as usize],
            faults,
        };
        Self { shared: Arc::new(Mutex::new(shared)), partitions, wall, signal: Signal::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_partition(&self, partition: u32) -> Result<(), Error> {
        if partition < self.partitions {
            return Ok(());
        }
        Err(Error::NoPartition { partition, partitions: self.partitions })
    }

    fn try_append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Result<Appended, Error> {
        self.check_partition(partition)?;
        check_sizes(records.iter())?;
        if records.is_empty() {
            return Err(Error::Empty);
        }
        let mut shared = self.lock();
        let fault = (shared.faults)(Call::Append { topic, partition, records: &records });
        not_carried_out(fault)?;
        let count = records.len() as u64;
        let (mut last_offset, mut append_time) = (0, Time::default());
        for record in records {
            (last_offset, append_time) = shared.push(topic, partition, record, self.wall.now());
        }
        if fault == Fault::LostAck {
            return Err(lost_ack());
        }
        Ok(Appended { first_offset: last_offset + 1 - count, last_offset, append_time })
    }

    fn try_take_over(&self, partition: u32) -> Result<TakenOver, Error> {
        self.check_partition(partition)?;
        let mut shared = self.lock();
        let fault = (shared.faults)(Call::TakeOver { partition });
        not_carried_out(fault)?;
        let epoch = &mut shared.epochs[partition as usize];
        *epoch += 1;
        let publisher = MemoryPublisher { log: self.clone(), partition, epoch: *epoch, failed: false };
        if fault == Fault::LostAck {
            return Err(lost_ack());
        }
        let published = Published::whole(shared.markers[partition as usize].clone());
        Ok(TakenOver { publisher: Box::new(publisher), published })
    }

    fn try_publish(&self, partition: u32, epoch: u64, publication: Publication) -> Result<(), Error> {
        check_sizes(publication.records.iter().map(|(_, record)| record))?;
        let mut shared = self.lock();
        if shared.epochs[partition as usize] != epoch {
            return Err(Error::Fenced { partition });
        }
        let fault = (shared.faults)(Call::Publish { partition, publication: &publication });
        not_carried_out(fault)?;
        for (topic, record) in publication.records {
            shared.push(topic, partition, record, self.wall.now());
        }
        shared.markers[partition as usize] = publication.marker;
        if fault == Fault::LostAck { Err(lost_ack()) } else { Ok(()) }
    }

    fn resolved<T>(&self, result: Result<T, Error>) -> Ack<T> {
        let (sender, receiver) = oneshot::channel();
        // The receiver is still in our hands, so this cannot fail.
        let _ = sender.send(result);
        self.signal.notify();
        receiver
    }
}

struct MemoryPublisher {
    log: MemoryLog,
    partition: u32,
    epoch: u64,
    failed: bool,
}

impl Publisher for MemoryPublisher {
    fn publish(&mut self, publication: Publication) -> Ack<()> {
        let outcome = match self.failed {
            true => Err(Error::Closed),
            false => self.log.try_publish(self.partition, self.epoch, publication),
        };
        self.failed |= outcome.is_err();
        self.log.resolved(outcome)
    }
}

impl Shared {
    fn push(&mut self, topic: Topic, partition: u32, record: NewRecord, now: Time) -> (u64, Time) {
        let records = &mut self.records[topic as usize][partition as usize];
        let append_time = records.last().map_or(now, |last| last.append_time.max(now));
        let offset = records.len() as u64;
        let NewRecord { key, headers, value } = record;
        records.push(StoredRecord { offset, append_time, key, headers, value });
        (offset, append_time)
    }
}

impl Log for MemoryLog {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn cluster_id(&self) -> String {
        "memory".to_owned()
    }

    fn append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        self.resolved(self.try_append(topic, partition, records))
    }

    fn read(&self, topic: Topic, partition: u32, offset: u64, records_max: usize) -> Result<Vec<StoredRecord>, Error> {
        self.check_partition(partition)?;
        let shared = self.lock();
        let records = &shared.records[topic as usize][partition as usize];
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(records.len());
        let mut bytes = 0;
        let mut found = Vec::new();
        for record in records[from..].iter().take(records_max) {
            if bytes >= READ_BYTES_MAX {
                break;
            }
            bytes += record.bytes();
            found.push(record.clone());
        }
        Ok(found)
    }

    fn end(&self, topic: Topic, partition: u32) -> Result<u64, Error> {
        self.check_partition(partition)?;
        Ok(self.lock().records[topic as usize][partition as usize].len() as u64)
    }

    fn take_over(&self, partition: u32) -> Ack<TakenOver> {
        self.resolved(self.try_take_over(partition))
    }

    fn published(&self, partition: u32) -> Result<Marker, Error> {
        self.check_partition(partition)?;
        Ok(self.lock().markers[partition as usize].clone())
    }

    fn signal(&self) -> &Signal {
        &self.signal
    }
}

fn check_sizes<'a>(records: impl Iterator<Item = &'a NewRecord>) -> Result<(), Error> {
    for record in records {
        let bytes = record.bytes();
        if bytes > RECORD_BYTES_MAX {
            return Err(Error::TooLarge { bytes });
        }
    }
    Ok(())
}

fn not_carried_out(fault: Fault) -> Result<(), Error> {
    match fault {
        Fault::None | Fault::LostAck => Ok(()),
        Fault::Refused => Err(Error::Io("refused by the fault hook".to_owned())),
        Fault::Busy => Err(Error::Busy { waiting_bytes: 1 }),
    }
}

fn lost_ack() -> Error {
    Error::Io("acknowledgement lost by the fault hook".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::publish_once;
    use crate::{ManualWall, contract, wait};

    fn record(value: &[u8]) -> NewRecord {
        NewRecord { value: value.to_vec(), ..NewRecord::default() }
    }

    #[test]
    fn it_keeps_the_contract() {
        contract::check(&contract::Subject {
            make: &|wall| MemoryLog::new(contract::PARTITIONS, Arc::new(wall)),
            // A restarted process reads another clock over the same records.
            crash: &|log, wall| MemoryLog { wall: Arc::new(wall), ..log },
            clock: contract::Clock::Ours,
        });
    }

    #[test]
    fn a_lost_ack_appends_and_a_refusal_does_not() {
        let mut faults = vec![Fault::Refused, Fault::LostAck, Fault::None].into_iter();
        let hook: FaultHook = Box::new(move |_| faults.next().unwrap_or_default());
        let log = MemoryLog::with_faults(1, Arc::new(ManualWall::new(Time(5))), hook);
        assert!(wait(log.append(Topic::Events, 0, vec![record(b"a")])).is_err());
        assert!(wait(log.append(Topic::Events, 0, vec![record(b"b")])).is_err());
        assert!(wait(log.append(Topic::Events, 0, vec![record(b"c")])).is_ok());
        let read = log.read(Topic::Events, 0, 0, 9).unwrap();
        let values: Vec<_> = read.into_iter().map(|record| record.value).collect();
        assert_eq!(values, [b"b", b"c"]);
    }

    #[test]
    fn a_faulty_publication_keeps_records_and_marker_together() {
        let mut faults = vec![Fault::None, Fault::Refused, Fault::None, Fault::LostAck].into_iter();
        let hook: FaultHook = Box::new(move |_| faults.next().unwrap_or_default());
        let log = MemoryLog::with_faults(1, Arc::new(ManualWall::new(Time(5))), hook);
        let marker = Marker { offset: 3, sequences: [1, 0, 0, 0] };
        let publication = Publication { records: vec![(Topic::TagChanges, record(b"t"))], marker: marker.clone() };
        assert!(publish_once(&log, 0, publication.clone()).is_err());
        assert_eq!((log.end(Topic::TagChanges, 0).unwrap(), log.published(0).unwrap()), (0, Marker::default()));
        assert!(publish_once(&log, 0, publication).is_err());
        assert_eq!((log.end(Topic::TagChanges, 0).unwrap(), log.published(0).unwrap()), (1, marker));
    }
}
