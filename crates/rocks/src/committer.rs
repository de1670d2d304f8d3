//! Group commit: many callers queue, one thread writes and fsyncs for all of them.
//!
//! ```text
//!   callers ─▶ queue ─▶ one batch, offsets assigned ─▶ fsync ─▶ readable ─▶ acks ─▶ signal
//! ```
//! After the first failed write nothing is written any more: what an fsync that failed left behind
//! is unknown, and only a restart reads it afresh.

use crate::codec::{self, Head};
use futures::channel::oneshot;
use rocksdb::{DB, WriteBatch, WriteOptions};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use touchline_log::{Appended, Error, Marker, Signal, Topic};
use touchline_model::time::Time;

/// A batch is closed at this size, so that a long queue does not make those in front wait.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// A batch is closed at this many records, for the same reason.
const BATCH_RECORDS_MAX: usize = 8192;
/// What may wait in memory to become durable. Beyond it callers are told to come again.
pub(crate) const QUEUE_BYTES_MAX: usize = 64 << 20;

/// One call that waits.
pub(crate) struct Request {
    pub(crate) partition: u16,
    /// Encoded, in order.
    pub(crate) records: Vec<(Topic, Vec<u8>)>,
    pub(crate) answer: Answer,
}

/// Who waits.
pub(crate) enum Answer {
    /// The only one that a full queue turns away.
    Append(oneshot::Sender<Result<Appended, Error>>),
    /// Of the cluster itself: outboxes and lanes bound it, and the queue empties no faster without it.
    Own(oneshot::Sender<Result<Appended, Error>>),
    Publish(Marker, oneshot::Sender<Result<(), Error>>),
    /// Holds no records: waits until what earlier publishers queued is durable, and hears the marker.
    TakeOver(Box<dyn FnOnce(Result<Marker, Error>) + Send>),
}

impl Request {
    fn bytes(&self) -> usize {
        self.records.iter().map(|(_, record)| record.len()).sum()
    }
}

impl Answer {
    fn fail(self, error: Error) {
        // Nobody has to wait for an answer.
        match self {
            Self::Append(sender) | Self::Own(sender) => drop(sender.send(Err(error))),
            Self::Publish(_, sender) => drop(sender.send(Err(error))),
            Self::TakeOver(hear) => hear(Err(error)),
        }
    }
}

/// What callers, readers and the committer share.
pub(crate) struct Shared {
    pub(crate) db: DB,
    pub(crate) signal: Signal,
    queue: Mutex<Queue>,
    arrived: Condvar,
    failure: OnceLock<Error>,
    /// One past the last durable offset, by partition and topic.
    ends: Vec<[AtomicU64; Topic::ALL.len()]>,
    /// By partition.
    markers: Mutex<Vec<Marker>>,
    commits: AtomicU64,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<(Time, Request)>,
    /// Of the requests here and of those being written.
    waiting_bytes: usize,
    /// How often each partition was taken over: only the last one to do so may publish.
    epochs: BTreeMap<u16, u64>,
    closing: bool,
}

/// Heads by partition and topic, as the next batch will find them.
pub(crate) type Heads = Vec<[Head; Topic::ALL.len()]>;

impl Shared {
    pub(crate) fn new(db: DB, heads: &Heads, markers: Vec<Marker>) -> Self {
        Self {
            db,
            signal: Signal::new(),
            queue: Mutex::default(),
            arrived: Condvar::new(),
            failure: OnceLock::new(),
            ends: heads.iter().map(|heads| heads.map(|head| AtomicU64::new(head.next))).collect(),
            markers: Mutex::new(markers),
            commits: AtomicU64::new(0),
        }
    }

    /// Queues a request or answers it with why not. `now` is read in queue order.
    pub(crate) fn submit(&self, request: Request, now: impl FnOnce() -> Time) {
        self.submit_to(self.lock_queue(), request, now);
    }

    /// Makes the caller the partition's publisher; `hear` gets its epoch and the marker once every publication that
    /// was queued before is durable.
    pub(crate) fn take_over(&self, partition: u16, hear: impl FnOnce(u64, Result<Marker, Error>) + Send + 'static) {
        let mut queue = self.lock_queue();
        let epoch = queue.epochs.entry(partition).or_default();
        *epoch += 1;
        let epoch = *epoch;
        let answer = Answer::TakeOver(Box::new(move |marker| hear(epoch, marker)));
        self.submit_to(queue, Request { partition, records: Vec::new(), answer }, Time::default);
    }

    /// Queues a publication, unless somebody else has taken the partition over since `epoch`.
    pub(crate) fn publish(&self, epoch: u64, request: Request, now: impl FnOnce() -> Time) {
        let queue = self.lock_queue();
        if queue.epochs.get(&request.partition) != Some(&epoch) {
            return request.answer.fail(Error::Fenced { partition: request.partition.into() });
        }
        self.submit_to(queue, request, now);
    }

    fn submit_to(&self, mut queue: MutexGuard<'_, Queue>, request: Request, now: impl FnOnce() -> Time) {
        let bytes = request.bytes();
        if let Some(error) = self.failure.get() {
            return request.answer.fail(error.clone());
        }
        // An empty queue takes anything: a single call above the bound must not be busy for ever.
        let refusable = matches!(request.answer, Answer::Append(_));
        if refusable && queue.waiting_bytes > 0 && queue.waiting_bytes + bytes > QUEUE_BYTES_MAX {
            return request.answer.fail(Error::Busy { waiting_bytes: queue.waiting_bytes });
        }
        queue.waiting_bytes += bytes;
        queue.requests.push_back((now(), request));
        drop(queue);
        self.arrived.notify_one();
    }

    pub(crate) fn end(&self, topic: Topic, partition: u16) -> u64 {
        self.ends[usize::from(partition)][topic as usize].load(Ordering::Acquire)
    }

    pub(crate) fn marker(&self, partition: u16) -> Marker {
        self.lock_markers()[usize::from(partition)].clone()
    }

    /// Why the log stopped, if it did.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }

    /// How many batches became durable.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Lets the committer finish what is queued and end.
    pub(crate) fn close(&self) {
        self.lock_queue().closing = true;
        self.arrived.notify_one();
    }

    /// The committer: runs until closed or failed.
    pub(crate) fn run(&self, mut heads: Heads) {
        let _guard = FailWhenPanicking(self);
        while let Some(group) = self.next_group() {
            let bytes = group.iter().map(|(_, request)| request.bytes()).sum::<usize>();
            if let Err((error, group)) = self.commit(group, &mut heads) {
                self.fail(error, group);
                return;
            }
            self.lock_queue().waiting_bytes -= bytes;
            self.commits.fetch_add(1, Ordering::Relaxed);
            self.signal.notify();
        }
    }

    /// Waits for requests and takes as many as one batch may hold; `None` when closed and done.
    fn next_group(&self) -> Option<Vec<(Time, Request)>> {
        let queue = self.lock_queue();
        let mut queue = self
            .arrived
            .wait_while(queue, |queue| queue.requests.is_empty() && !queue.closing)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut count, mut bytes, mut records) = (0, 0, 0);
        for (_, request) in &queue.requests {
            bytes += request.bytes();
            records += request.records.len();
            if count > 0 && (bytes > BATCH_BYTES_MAX || records > BATCH_RECORDS_MAX) {
                break;
            }
            count += 1;
        }
        (count > 0).then(|| queue.requests.drain(..count).collect())
    }

    fn commit(&self, mut group: Vec<(Time, Request)>, heads: &mut Heads) -> Result<(), (Error, Vec<(Time, Request)>)> {
        let mut batch = WriteBatch::default();
        let mut touched = BTreeSet::new();
        let mut appended = Vec::with_capacity(group.len());
        for (time, request) in &mut group {
            appended.push(put_request(&mut batch, *time, request, heads, &mut touched));
        }
        for &(partition, topic) in &touched {
            let head = heads[usize::from(partition)][topic as usize];
            batch.put(codec::head_key(topic, partition), codec::encode_head(head));
        }
        let mut durable = WriteOptions::new();
        durable.set_sync(true);
        if let Err(error) = self.db.write_opt(batch, &durable) {
            return Err((Error::Io(error.to_string()), group));
        }
        // Records first: whoever sees a marker must find what was published with it.
        for (partition, topic) in touched {
            let next = heads[usize::from(partition)][topic as usize].next;
            self.ends[usize::from(partition)][topic as usize].store(next, Ordering::Release);
        }
        for ((_, request), appended) in group.into_iter().zip(appended) {
            match request.answer {
                Answer::Append(sender) | Answer::Own(sender) => drop(sender.send(Ok(appended))),
                Answer::Publish(marker, sender) => {
                    self.lock_markers()[usize::from(request.partition)] = marker;
                    drop(sender.send(Ok(())));
                }
                Answer::TakeOver(hear) => hear(Ok(self.marker(request.partition))),
            }
        }
        Ok(())
    }

    fn fail(&self, error: Error, group: Vec<(Time, Request)>) {
        let mut queue = self.lock_queue();
        // Set under the queue's lock: whoever submits later sees it.
        let _ = self.failure.set(error.clone());
        let waiting = std::mem::take(&mut queue.requests);
        drop(queue);
        for (_, request) in group.into_iter().chain(waiting) {
            request.answer.fail(error.clone());
        }
        self.signal.notify();
    }

    fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_markers(&self) -> MutexGuard<'_, Vec<Marker>> {
        self.markers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Assigns offsets and times and adds the records, and the marker, to the batch.
fn put_request(
    batch: &mut WriteBatch,
    time: Time,
    request: &mut Request,
    heads: &mut Heads,
    touched: &mut BTreeSet<(u16, Topic)>,
) -> Appended {
    let partition = request.partition;
    let (mut last_offset, mut append_time) = (0, time);
    let count = request.records.len() as u64;
    for (topic, record) in &mut request.records {
        let head = &mut heads[usize::from(partition)][*topic as usize];
        append_time = head.append_time.max(time);
        last_offset = head.next;
        codec::set_append_time(record, append_time);
        batch.put(codec::record_key(*topic, partition, last_offset), &*record);
        *head = Head { next: last_offset + 1, append_time };
        touched.insert((partition, *topic));
    }
    if let Answer::Publish(marker, _) = &request.answer {
        batch.put(codec::marker_key(partition), codec::encode_marker(marker));
    }
    // Only the answer to an append is used; it has one topic and at least one record.
    Appended { first_offset: (last_offset + 1).saturating_sub(count), last_offset, append_time }
}

/// Nobody may wait for a committer that is gone.
struct FailWhenPanicking<'a>(&'a Shared);

impl Drop for FailWhenPanicking<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(Error::Io("the committer panicked".to_owned()), Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use touchline_log::wait;

    #[test]
    fn a_full_queue_is_busy_until_what_waits_is_durable() {
        let dir = tempfile::TempDir::new().unwrap();
        let db = DB::open_default(dir.path()).unwrap();
        let heads: Heads = vec![[Head::default(); Topic::ALL.len()]];
        let shared = Shared::new(db, &heads, vec![Marker::default()]);
        let submit = |bytes: usize| {
            let (sender, ack) = oneshot::channel();
            let records = vec![(Topic::Events, vec![0; bytes])];
            shared.submit(Request { partition: 0, records, answer: Answer::Append(sender) }, || Time(1));
            ack
        };
        // Nobody commits yet. The first may be larger than the bound, or it could never be appended.
        let first = submit(QUEUE_BYTES_MAX + 1);
        let refused = wait(submit(100));
        assert!(matches!(refused, Err(Error::Busy { waiting_bytes }) if waiting_bytes == QUEUE_BYTES_MAX + 1));
        // What empties the queue in the end is taken however full it is.
        let request = |answer| Request { partition: 0, records: vec![(Topic::Touches, vec![0; 100])], answer };
        let (sender, own) = oneshot::channel();
        shared.submit(request(Answer::Own(sender)), || Time(1));
        let (sender, published) = oneshot::channel();
        shared.submit(request(Answer::Publish(Marker::default(), sender)), || Time(1));
        thread::scope(|scope| {
            scope.spawn(|| shared.run(heads.clone()));
            let before = shared.signal.count();
            assert_eq!(wait(first).unwrap().first_offset, 0);
            assert_eq!(wait(own).unwrap().first_offset, 0);
            assert!(wait(published).is_ok());
            // The room is given back before the signal moves.
            shared.signal.wait_past(before, std::time::Duration::from_secs(10));
            assert_eq!(wait(submit(100)).unwrap().first_offset, 1);
            shared.close();
        });
        assert_eq!((shared.end(Topic::Events, 0), shared.commits()), (2, 3));
    }
}
