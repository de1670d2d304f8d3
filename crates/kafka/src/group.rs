//! Membership in the consumer group that hands out partitions. It never fetches: events are read by the tail consumer.

use crate::context;
use crate::error::Error;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use touchline_log::Signal;

/// How often the group is asked at least: whoever takes a partition over waits for up to two of these.
const POLL: Duration = Duration::from_millis(20);
/// How long a poll that was waited for may take before whoever waits looks at what is known.
const POLL_WAIT: Duration = Duration::from_secs(2);
/// How long leaving may take.
const LEAVE_WAIT: Duration = Duration::from_secs(3);

/// What the group decided about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignment {
    /// It is this process's: it can be taken over.
    Assigned(u32),
    /// It will go to another process, or the group is left.
    Revoked(u32),
    /// It may long be somebody else's: this process was not heard of for a session.
    Lost(u32),
}

/// A membership. It is left when [`Group::leave`] is called or it is dropped.
pub struct Group {
    consumer: Arc<BaseConsumer<Member>>,
    polls: Signal,
    leaving: Arc<AtomicBool>,
    poller: Mutex<Option<JoinHandle<()>>>,
}

impl Group {
    pub(crate) fn join(config: &ClientConfig, topic: &str, signal: Signal) -> Result<Self, Error> {
        let member = Member { state: Mutex::default(), signal };
        let consumer: BaseConsumer<Member> = config.create_with_context(member).map_err(Error::Client)?;
        consumer.subscribe(&[topic]).map_err(Error::Client)?;
        let (consumer, polls) = (Arc::new(consumer), Signal::new());
        let leaving = Arc::new(AtomicBool::new(false));
        let poller = thread::Builder::new()
            .name("kafka-group".to_owned())
            .spawn({
                let (consumer, polls, leaving) = (Arc::clone(&consumer), polls.clone(), Arc::clone(&leaving));
                move || serve(&consumer, &polls, &leaving)
            })
            .map_err(|error| Error::Admin { action: "starting a thread".to_owned(), reason: error.to_string() })?;
        Ok(Self { consumer, polls, leaving, poller: Mutex::new(Some(poller)) })
    }

    /// What the group decides from now on, in order, beginning with what is assigned now.
    pub fn events(&self) -> Receiver<Assignment> {
        let (sender, receiver) = mpsc::channel();
        let mut state = self.consumer.context().lock();
        for partition in &state.assigned {
            // The receiver is still in our hands.
            let _ = sender.send(Assignment::Assigned(*partition));
        }
        state.listeners.push(sender);
        receiver
    }

    /// Whether the partition was this process's at the last poll.
    pub fn is_assigned(&self, partition: u32) -> bool {
        self.consumer.context().lock().assigned.contains(&partition)
    }

    /// What was this process's at the last poll.
    pub fn assigned(&self) -> BTreeSet<u32> {
        self.consumer.context().lock().assigned.clone()
    }

    /// Leaves the group: other members get the partitions at once (with `group.instance.id`: after the session).
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        let poller = self.poller.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(poller) = poller {
            // It cannot panic; if it did, there is nothing left to leave.
            let _ = poller.join();
        }
    }

    /// For the offsets of a transaction; read it for each.
    pub(crate) fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    /// Waits for the end of a poll that begins after this call.
    pub(crate) fn wait_for_poll(&self) {
        let deadline = Instant::now() + POLL_WAIT;
        let under_way = self.polls.count();
        while self.polls.count() < under_way + 2 && Instant::now() < deadline {
            self.polls.wait_past(under_way + 1, deadline.saturating_duration_since(Instant::now()));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.leave();
    }
}

fn serve(consumer: &BaseConsumer<Member>, polls: &Signal, leaving: &AtomicBool) {
    while !leaving.load(Ordering::SeqCst) {
        poll(consumer);
        polls.notify();
    }
    consumer.unsubscribe();
    let deadline = Instant::now() + LEAVE_WAIT;
    while !consumer.context().lock().assigned.is_empty() && Instant::now() < deadline {
        poll(consumer);
    }
    consumer.context().gone();
    polls.notify();
}

fn poll(consumer: &BaseConsumer<Member>) {
    // Other errors are reported by the context; a record was under way when its partition was paused.
    if let Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) = consumer.poll(POLL) {
        tracing::error!(%error, "the membership is lost for good");
        consumer.context().gone();
        thread::sleep(POLL);
    }
}

/// What librdkafka tells a member. It runs inside of polls, and only notes.
struct Member {
    state: Mutex<State>,
    signal: Signal,
}

#[derive(Default)]
struct State {
    assigned: BTreeSet<u32>,
    listeners: Vec<Sender<Assignment>>,
}

impl Member {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, partitions: &TopicPartitionList, what: fn(u32) -> Assignment) {
        let mut state = self.lock();
        for partition in partitions.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()) {
            let assignment = what(partition);
            let changed = match assignment {
                Assignment::Assigned(_) => state.assigned.insert(partition),
                Assignment::Revoked(_) | Assignment::Lost(_) => state.assigned.remove(&partition),
            };
            if changed {
                tracing::info!(?assignment, "consumer group");
                state.listeners.retain(|listener| listener.send(assignment).is_ok());
            }
        }
        drop(state);
        self.signal.notify();
    }

    /// Nothing is this process's any more.
    fn gone(&self) {
        let mut state = self.lock();
        for partition in std::mem::take(&mut state.assigned) {
            state.listeners.retain(|listener| listener.send(Assignment::Lost(partition)).is_ok());
        }
        drop(state);
        self.signal.notify();
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        context::log("group", level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::report("group", &error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            assign(consumer, partitions).inspect(|()| self.note(partitions, Assignment::Assigned))
        } else {
            let lost = consumer.assignment_lost();
            self.note(partitions, if lost { Assignment::Lost } else { Assignment::Revoked });
            consumer.incremental_unassign(partitions)
        };
        if let Err(error) = done {
            context::report("group", &error, "while partitions were given out");
        }
    }
}

/// Takes partitions without ever fetching from them: paused, and from the end, so that no offset is needed.
fn assign(consumer: &BaseConsumer<Member>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    let mut from_end = partitions.clone();
    from_end.set_all_offsets(Offset::End)?;
    consumer.incremental_assign(&from_end)?;
    consumer.pause(&from_end)
}
