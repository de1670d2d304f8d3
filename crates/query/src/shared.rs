//! What the follower and the services share: the model, who waits for which answer, and freshness.

use crate::error;
use crate::model::{Change, ReadModel};
use crate::options::Options;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};
use touchline_log::{Log, Topic};
use touchline_model::output::{CommandResult, Progress};
use touchline_proto::v1;

/// Hops followed from one partition to the next: what is forwarded further is alarmed, not waited for.
const HOPS_MAX: usize = 8;

/// The answer to a command, and where it was published.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) result: CommandResult,
    pub(crate) partition: u32,
    pub(crate) sequence: u64,
}

/// Who waits for an answer; several when a request is repeated while the first still runs.
#[derive(Default)]
struct Pending {
    waiters: usize,
    answer: Option<Answer>,
}

/// Tenant and request id.
type RequestKey = (String, String);

pub(crate) struct Shared {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) options: Options,
    pub(crate) streams: Arc<Semaphore>,
    model: RwLock<ReadModel>,
    pending: Mutex<HashMap<RequestKey, Pending>>,
    /// Moves after every batch.
    applied: watch::Sender<u64>,
    stopping: AtomicBool,
    stopped: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(log: Arc<dyn Log>, options: Options) -> Self {
        Self {
            model: RwLock::new(ReadModel::new(log.partitions())),
            streams: Arc::new(Semaphore::new(options.streams_max)),
            log,
            options,
            pending: Mutex::default(),
            applied: watch::Sender::new(0),
            stopping: AtomicBool::new(false),
            stopped: watch::Sender::new(false),
        }
    }

    /// The model as it is now. Held for one question, never across a wait.
    pub(crate) fn model(&self) -> RwLockReadGuard<'_, ReadModel> {
        self.model.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn model_mut(&self) -> RwLockWriteGuard<'_, ReadModel> {
        self.model.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<RequestKey, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a batch under one lock, then wakes who waits.
    pub(crate) fn apply(&self, changes: Vec<Change>, answers: Vec<Answer>) {
        {
            let mut model = self.model_mut();
            for change in changes {
                model.apply(change);
            }
        }
        if !answers.is_empty() {
            let mut pending = self.pending();
            for answer in answers {
                let key = (answer.result.tenant.clone(), answer.result.request_id.clone());
                if let Some(pending) = pending.get_mut(&key) {
                    pending.answer = Some(answer);
                }
            }
        }
        self.wake();
    }

    pub(crate) fn set_caught_up(&self) {
        self.model_mut().set_caught_up();
        self.wake();
    }

    pub(crate) fn set_log_alarm(&self, alarm: Option<String>) {
        if self.model().alarms().log != alarm {
            self.model_mut().set_log_alarm(alarm);
        }
    }

    fn wake(&self) {
        self.applied.send_modify(|count| *count += 1);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Ends the follower, streams and waits.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stopped.send_replace(true);
        self.wake();
        self.log.signal().notify();
    }

    /// Resolves when the role stops.
    pub(crate) async fn stopped(self: Arc<Self>) {
        let mut stopped = self.stopped.subscribe();
        // The sender lives as long as `self`, so this ends with `true`.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    /// Waits until `look` finds something in the model.
    pub(crate) async fn wait_for<T>(
        &self,
        deadline: Instant,
        mut look: impl FnMut(&ReadModel) -> Option<T>,
    ) -> Result<T, Status> {
        let mut applied = self.applied.subscribe();
        loop {
            applied.borrow_and_update();
            if let Some(found) = look(&self.model()) {
                return Ok(found);
            }
            if self.is_stopping() {
                return Err(error::unavailable("STOPPING", "the server is stopping"));
            }
            if timeout_at(deadline, applied.changed()).await.is_err() {
                let message = "the deadline passed before the answer was there\nhint: repeat the request as it is";
                return Err(error::unavailable("NOT_YET_APPLIED", message));
            }
        }
    }

    /// What an answer given now reflects.
    pub(crate) fn token(&self, model: &ReadModel) -> v1::ConsistencyToken {
        v1::ConsistencyToken {
            epoch: self.log.cluster_id(),
            offsets: model.progress().map(|progress| progress.offset).collect(),
            bundle: model.bundle(),
        }
    }

    /// What a reader has to wait for to see what a record led to.
    pub(crate) fn token_past(&self, partition: u32, offset: u64) -> v1::ConsistencyToken {
        let mut offsets = vec![0; self.log.partitions() as usize];
        if let Some(next) = offsets.get_mut(partition as usize) {
            *next = offset + 1;
        }
        v1::ConsistencyToken { epoch: self.log.cluster_id(), offsets, bundle: 0 }
    }

    /// Waits until the model is as fresh as asked, and in any case until it has read what the log held at start:
    /// a part of the contacts is no answer.
    pub(crate) async fn fresh(&self, read: Option<v1::ReadOptions>, deadline: Instant) -> Result<(), Status> {
        use v1::read_options::Consistency;
        self.wait_for(deadline, |model| model.caught_up().then_some(())).await?;
        match read.and_then(|read| read.consistency) {
            None | Some(Consistency::MinimizeLatency(_)) => Ok(()),
            Some(Consistency::AtLeastAsFresh(token)) => self.reached(token, deadline).await,
            Some(Consistency::Full(_)) => self.reached(self.end_token().await?, deadline).await,
        }
    }

    /// Waits until everything in the log is readable.
    pub(crate) async fn fresh_to_the_end(&self, deadline: Instant) -> Result<(), Status> {
        let full = v1::read_options::Consistency::Full(true);
        self.fresh(Some(v1::ReadOptions { consistency: Some(full) }), deadline).await
    }

    async fn end_token(&self) -> Result<v1::ConsistencyToken, Status> {
        let offsets = self.ask_log(|log| {
            let ends = (0..log.partitions()).map(|partition| log.end(Topic::Events, partition));
            ends.collect::<Result<Vec<u64>, _>>().map_err(|error| error::log(&error))
        });
        Ok(v1::ConsistencyToken { epoch: self.log.cluster_id(), offsets: offsets.await?, bundle: 0 })
    }

    /// Asks the log on a thread that may block: a broker may take its time to answer.
    pub(crate) async fn ask_log<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Log) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let log = Arc::clone(&self.log);
        let answer = tokio::task::spawn_blocking(move || question(&*log)).await;
        answer.unwrap_or_else(|_| Err(error::status(Code::Internal, "INTERNAL", "the log could not be asked")))
    }

    /// Waits for the offsets, then along the loopback from partition to partition until nothing is on its way.
    async fn reached(&self, token: v1::ConsistencyToken, deadline: Instant) -> Result<(), Status> {
        let epoch = self.log.cluster_id();
        if token.epoch != epoch {
            let message = "the token belongs to another log\nhint: read once without a token";
            let facts = [("epoch", epoch)];
            return Err(error::with_metadata(Code::FailedPrecondition, "OTHER_EPOCH", message, facts));
        }
        if token.offsets.len() > self.log.partitions() as usize {
            return Err(error::invalid("read.at_least_as_fresh", "names more partitions than there are"));
        }
        let mut sent = self
            .wait_for(deadline, |model| {
                let there = model.progress().zip(&token.offsets).all(|(have, offset)| have.offset >= *offset);
                (there && model.bundle() >= token.bundle).then(|| Flight::take(model))
            })
            .await?;
        let mut sources: Vec<bool> = (0..self.log.partitions() as usize)
            .map(|partition| token.offsets.get(partition).is_some_and(|offset| *offset > 0))
            .collect();
        for _ in 0..HOPS_MAX {
            if sent.is_empty {
                return Ok(());
            }
            let next =
                self.wait_for(deadline, |model| sent.has_landed(model, &sources).then(|| Flight::take(model))).await?;
            sources = sent.destinations(&sources);
            sent = next;
        }
        Ok(())
    }

    /// Waits for the answer to a command that is being appended.
    pub(crate) fn await_answer(self: &Arc<Self>, tenant: &str, request_id: &str) -> Waiter {
        let key = (tenant.to_owned(), request_id.to_owned());
        self.pending().entry(key.clone()).or_default().waiters += 1;
        Waiter { shared: Arc::clone(self), key }
    }
}

/// What partitions had told each other at one moment.
struct Flight {
    sent: Vec<Vec<u64>>,
    is_empty: bool,
}

impl Flight {
    fn take(model: &ReadModel) -> Self {
        let sent: Vec<Vec<u64>> = model.progress().map(|progress| progress.loop_sent.clone()).collect();
        let flight = Self { is_empty: false, sent };
        let is_empty = flight.has_landed(model, &vec![true; flight.sent.len()]);
        Self { is_empty, ..flight }
    }

    /// Whether what `sources` had sent has been received, applied and published.
    fn has_landed(&self, model: &ReadModel, sources: &[bool]) -> bool {
        let received = |progress: &Progress, source: usize| progress.loop_received.get(source).copied().unwrap_or(0);
        self.sent.iter().enumerate().filter(|(source, _)| sources[*source]).all(|(source, sent)| {
            sent.iter().zip(model.progress()).all(|(sent, progress)| received(progress, source) >= *sent)
        })
    }

    fn destinations(&self, sources: &[bool]) -> Vec<bool> {
        let reached = |destination: usize| {
            let from = self.sent.iter().zip(sources).filter(|(_, source)| **source);
            from.map(|(sent, _)| sent.get(destination).copied().unwrap_or(0)).any(|sent| sent > 0)
        };
        (0..sources.len()).map(reached).collect()
    }
}

/// A place in the queue for an answer; dropping it gives the place up.
pub(crate) struct Waiter {
    shared: Arc<Shared>,
    key: RequestKey,
}

impl Waiter {
    /// The answer, if it has come.
    pub(crate) fn answer(&self) -> Option<Answer> {
        self.shared.pending().get(&self.key)?.answer.clone()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut pending = self.shared.pending();
        if let Some(mine) = pending.get_mut(&self.key) {
            mine.waiters -= 1;
            if mine.waiters == 0 {
                pending.remove(&self.key);
            }
        }
    }
}
