//! The cluster behind its network: requests are carried out, lost, answered to nobody, or arrive when nobody waits any
//! more, each by seed.

use crate::broker::{Batch, Leader, Outcome, Producer, Refusal};
use crate::chaos::SkewedWall;
use crate::coordinator::{Coordinator, Group, Pending, Target};
use crate::kafka::Trace;
use crate::random::Random;
use futures::channel::oneshot;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use touchline_log::publish::sequence_in;
use touchline_log::{Appended, Marker, NewRecord, StoredRecord, Topic, Wall};

/// Requests per thousand that never arrive.
const LOST_PERMILLE: u64 = 6;
/// Requests that are carried out and whose answer is lost.
const ANSWER_LOST_PERMILLE: u64 = 10;
/// Requests that are given up by their sender and arrive later.
const LATE_PERMILLE: u64 = 16;
/// Requests that are sent twice by the client's library; the copy stays in the network.
const COPIED_PERMILLE: u64 = 30;
/// The same for the end of a transaction: a copy that waits for the next one is the worst there is.
const END_COPIED_PERMILLE: u64 = 120;
/// Each run has weather of its own: every kind of fault is so many times as likely.
const WEATHER: [u64; 4] = [0, 1, 1, 4];
/// Records of one request, at most, by run: small ones tear publications in the middle, large ones end well more often.
const BATCH_RECORDS_MAX: [u64; 3] = [3, 12, 64];
/// Appends of several records of which only the end lands.
const PARTIAL_PERMILLE: u64 = 10;
/// Late requests whose connection closes before they arrive.
const VANISH_PERMILLE: u64 = 250;

/// What of the cluster is as it should be. Off: a defect of the brokers' settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Switches {
    /// Leaders ask the coordinator about a batch that begins a transaction.
    pub(crate) verification: bool,
    /// Committed offsets are read when no transaction holds newer ones.
    pub(crate) require_stable: bool,
}

/// What is asked of the cluster.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Produce { topic: Topic, partition: u32, batch: Batch, id: Option<String> },
    Init { id: String, partition: u32 },
    Add { id: String, by: Producer, targets: Vec<Target> },
    Hold { id: String, by: Producer, generation: Option<u64>, partition: u32, marker: Marker },
    End { id: String, by: Producer, outcome: Outcome },
}

impl Request {
    /// In words, without payloads.
    fn told(&self) -> String {
        let Self::Produce { topic, partition, batch, .. } = self else { return format!("{self:?}") };
        let sequences: Vec<_> = batch.records.iter().filter_map(|record| sequence_in(&record.headers)).collect();
        let markers: Vec<_> = batch.records.iter().filter_map(|record| Marker::in_headers(&record.headers)).collect();
        let (count, producer, base) = (batch.records.len(), batch.producer, batch.base);
        let name = topic.name();
        format!("{producer:?} produces {count} to {name}/{partition} at {base}: outputs {sequences:?}, {markers:?}")
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Done,
    Producer(Producer),
    Appended(Appended),
}

/// A client's connection: its requests keep their order.
pub(crate) type Connection = (u64, u32);

/// Where records lie, once the answer comes.
pub(crate) type Placed = oneshot::Receiver<Result<Appended, Refusal>>;

struct Envelope {
    connection: Connection,
    request: Request,
    reply: Option<oneshot::Sender<Result<Appended, Refusal>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    CarriedOut,
    Lost,
    AnswerLost,
    Late,
    Copied,
    Partial,
}

/// How many times as likely as usual each kind of fault is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    lost: u64,
    answer_lost: u64,
    late: u64,
    copied: u64,
    /// Records of one request, at most.
    pub(crate) batch_records_max: u64,
}

impl Weather {
    fn new(random: &mut Random) -> Self {
        let batch_records_max = *random.pick(&BATCH_RECORDS_MAX);
        let mut pick = || *random.pick(&WEATHER);
        Self { lost: pick(), answer_lost: pick(), late: pick(), copied: pick(), batch_records_max }
    }
}

/// Everything that is shared by all processes.
pub(crate) struct Cluster {
    leaders: BTreeMap<(Topic, u32), Leader>,
    pub(crate) coordinator: Coordinator,
    pub(crate) group: Group,
    pub(crate) switches: Switches,
    pub(crate) random: Random,
    wall: SkewedWall,
    faults: bool,
    pub(crate) weather: Weather,
    pending: Vec<Envelope>,
    late: Vec<Envelope>,
    clients: u64,
    /// What happened, for whoever looks for a cause.
    trace: Option<Vec<String>>,
    /// Publications that ended well while requests went wrong.
    pub(crate) publications: u64,
    /// Takeovers that found the beginning of a publication without its end.
    pub(crate) torn: u64,
}

/// The cluster, as its clients hold it.
pub(crate) type Shared = Arc<Mutex<Cluster>>;

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    pub(crate) fn new(
        partitions: u32,
        processes: usize,
        wall: SkewedWall,
        switches: Switches,
        mut random: Random,
    ) -> Shared {
        let topics = Topic::ALL.into_iter().flat_map(|topic| (0..partitions).map(move |of| (topic, of)));
        Arc::new(Mutex::new(Self {
            leaders: topics.map(|at| (at, Leader::default())).collect(),
            coordinator: Coordinator::default(),
            group: Group::new(partitions, processes),
            switches,
            wall,
            faults: false,
            weather: Weather::new(&mut random),
            random,
            pending: Vec::new(),
            late: Vec::new(),
            clients: 0,
            trace: None,
            publications: 0,
            torn: 0,
        }))
    }

    /// Whether what happens is written down.
    pub(crate) fn set_trace(&mut self, trace: Trace) {
        self.trace = (trace == Trace::On).then(Vec::new);
    }

    /// What was written down.
    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    /// Writes a line down.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    /// Whether requests may go wrong from here on.
    pub(crate) const fn set_faults(&mut self, on: bool) {
        self.faults = on;
    }

    pub(crate) const fn new_client(&mut self) -> u64 {
        self.clients += 1;
        self.clients
    }

    pub(crate) fn leader(&self, topic: Topic, partition: u32) -> &Leader {
        &self.leaders[&(topic, partition)]
    }

    pub(crate) fn read(&self, topic: Topic, partition: u32, from: u64, records_max: usize) -> Vec<StoredRecord> {
        self.leader(topic, partition).readable(from).take(records_max).cloned().collect()
    }

    /// Sends a request whose sender waits on its thread.
    pub(crate) fn call(&mut self, connection: Connection, request: Request) -> Result<Answer, Refusal> {
        match self.fate(&request) {
            Fate::Lost | Fate::Partial => Err(Refusal::TimedOut),
            Fate::CarriedOut => self.carry_out(&request),
            Fate::AnswerLost => {
                // Nobody hears what came of it.
                let _ = self.carry_out(&request);
                Err(Refusal::TimedOut)
            }
            Fate::Late => {
                self.late.push(Envelope { connection, request, reply: None });
                Err(Refusal::TimedOut)
            }
            Fate::Copied => {
                let answer = self.carry_out(&request);
                self.late.push(Envelope { connection, request, reply: None });
                answer
            }
        }
    }

    /// Sends a request whose answer comes some time.
    pub(crate) fn send(&mut self, connection: Connection, request: Request) -> Placed {
        let (sender, receiver) = oneshot::channel();
        self.pending.push(Envelope { connection, request, reply: Some(sender) });
        receiver
    }

    /// The next request of some connection arrives, or does not.
    pub(crate) fn deliver(&mut self) {
        let Some(Envelope { connection, request, reply }) = take_first(&mut self.pending, &mut self.random) else {
            return;
        };
        match self.fate(&request) {
            Fate::CarriedOut => {
                let answer = self.carry_out(&request);
                tell(reply, answer);
            }
            Fate::Copied => {
                let answer = self.carry_out(&request);
                self.late.push(Envelope { connection, request, reply: None });
                tell(reply, answer);
            }
            Fate::AnswerLost => {
                let _ = self.carry_out(&request);
                tell(reply, Err(Refusal::TimedOut));
            }
            Fate::Partial => {
                let _ = self.carry_out(&without_beginning(request));
                tell(reply, Err(Refusal::TimedOut));
            }
            Fate::Lost => {
                tell(reply, Err(Refusal::TimedOut));
                self.cut(connection, Fate::Lost);
            }
            Fate::Late => {
                self.late.push(Envelope { connection, request, reply: None });
                tell(reply, Err(Refusal::TimedOut));
                self.cut(connection, Fate::Late);
            }
        }
    }

    /// What is behind a request on its connection shares its fate, and its sender knows.
    fn cut(&mut self, connection: Connection, fate: Fate) {
        for mut envelope in self.pending.extract_if(.., |envelope| envelope.connection == connection) {
            tell(envelope.reply.take(), Err(Refusal::TimedOut));
            if fate == Fate::Late {
                self.late.push(envelope);
            }
        }
    }

    /// A client is gone; what it sent may arrive nevertheless.
    pub(crate) fn orphan(&mut self, client: u64) {
        let of_client = |envelope: &mut Envelope| envelope.connection.0 == client;
        let mut sent: Vec<_> = self.pending.extract_if(.., of_client).collect();
        for envelope in &mut sent {
            tell(envelope.reply.take(), Err(Refusal::TimedOut));
        }
        let closed = self.random.below(3);
        sent.retain(|envelope| u64::from(envelope.connection.1) % 3 != closed);
        self.late.extend(sent);
    }

    /// A late request arrives; sometimes its connection closes first.
    pub(crate) fn late_arrives(&mut self) {
        let Some(envelope) = take_first(&mut self.late, &mut self.random) else { return };
        if self.random.chance(VANISH_PERMILLE) {
            self.late.retain(|other| other.connection != envelope.connection);
            return;
        }
        self.note(|| "late:".to_owned());
        // Nobody waits for what comes of it.
        let _ = self.carry_out(&envelope.request);
    }

    /// One marker is written.
    pub(crate) fn write_some_marker(&mut self) {
        let pending = self.coordinator.pending();
        if !pending.is_empty() {
            let pending = self.random.pick(&pending).clone();
            self.write_marker(&pending);
        }
    }

    /// The markers of one transaction are written while somebody waits.
    pub(crate) fn write_markers_of(&mut self, id: &str) {
        for pending in self.coordinator.pending().iter().filter(|pending| pending.id == id) {
            self.write_marker(pending);
        }
    }

    fn write_marker(&mut self, pending: &Pending) {
        let now = self.wall.now();
        self.note(|| format!("marker {pending:?}"));
        match pending.target {
            Target::Records(topic) => {
                let leader = self.leaders.get_mut(&(topic, pending.partition)).expect("every topic is there");
                leader.mark(pending.producer, pending.outcome, now);
            }
            Target::Offsets => self.group.mark(pending.producer, pending.outcome),
        }
        self.coordinator.marked(pending);
    }

    /// Committed offsets come into force, a little after their marker.
    pub(crate) fn materialise(&mut self) {
        self.group.materialise();
    }

    /// The coordinator looks for what is open for too long.
    pub(crate) fn time_out(&mut self) {
        self.coordinator.time_out(self.wall.truth.now());
    }

    /// Whether nothing is in the network and no transaction is open.
    pub(crate) fn is_quiet(&self) -> bool {
        self.pending.is_empty() && self.late.is_empty() && self.coordinator.is_quiet()
    }

    /// A line for whoever looks for what is stuck.
    pub(crate) fn standing(&self) -> String {
        let stuck = self.leaders.iter().filter(|(_, leader)| leader.last_stable() < leader.high_watermark());
        let stuck: Vec<_> = stuck.map(|((topic, partition), _)| format!("{}/{partition}", topic.name())).collect();
        let (pending, late) = (self.pending.len(), self.late.len());
        format!("open transactions in {stuck:?}, {pending} requests pending, {late} late, {:?}", self.coordinator)
    }

    fn fate(&mut self, request: &Request) -> Fate {
        if !self.faults {
            return Fate::CarriedOut;
        }
        let partial = match request {
            Request::Produce { topic: Topic::Events, batch, .. } if batch.records.len() > 1 => PARTIAL_PERMILLE,
            _ => 0,
        };
        let copied = match request {
            Request::End { .. } => END_COPIED_PERMILLE,
            _ => COPIED_PERMILLE,
        };
        let Weather { lost, answer_lost, late, copied: copies, .. } = self.weather;
        let mut roll = self.random.below(1_000);
        for (fate, permille) in [
            (Fate::Lost, LOST_PERMILLE * lost),
            (Fate::AnswerLost, ANSWER_LOST_PERMILLE * answer_lost),
            (Fate::Late, LATE_PERMILLE * late),
            (Fate::Copied, copied * copies),
            (Fate::Partial, partial),
        ] {
            if roll < permille {
                return fate;
            }
            roll -= permille;
        }
        Fate::CarriedOut
    }

    fn carry_out(&mut self, request: &Request) -> Result<Answer, Refusal> {
        let answer = self.decide(request);
        self.note(|| format!("{} => {answer:?}", request.told()));
        answer
    }

    fn decide(&mut self, request: &Request) -> Result<Answer, Refusal> {
        let Self { coordinator, group, leaders, switches, .. } = self;
        // The coordinator's clock is not the one that stamps records.
        let (now, stamp) = (self.wall.truth.now(), self.wall.now());
        match request {
            Request::Produce { topic, partition, batch, id } => {
                let leader = leaders.get_mut(&(*topic, *partition)).expect("every topic is there");
                let verified = || match id {
                    Some(id) if switches.verification => {
                        coordinator.verify(id, batch.producer, Target::Records(*topic))
                    }
                    _ => Ok(()),
                };
                leader.append(batch, stamp, verified).map(Answer::Appended)
            }
            Request::Init { id, partition } => coordinator.init(id, *partition).map(Answer::Producer),
            Request::Add { id, by, targets } => coordinator.add(id, *by, targets, now).map(|()| Answer::Done),
            Request::Hold { id, by, generation, partition, marker } => {
                if switches.verification {
                    coordinator.verify(id, *by, Target::Offsets)?;
                }
                group.hold(*generation, *by, *partition, marker.clone()).map(|()| Answer::Done)
            }
            Request::End { id, by, outcome } => coordinator.end(id, *by, *outcome).map(|()| Answer::Done),
        }
    }

    /// Whether requests may go wrong.
    pub(crate) const fn is_faulty(&self) -> bool {
        self.faults
    }
}

/// The first request of some connection.
fn take_first(of: &mut Vec<Envelope>, random: &mut Random) -> Option<Envelope> {
    if of.is_empty() {
        return None;
    }
    let some = usize::try_from(random.below(of.len() as u64)).expect("an index");
    let connection = of[some].connection;
    let first = of.iter().position(|envelope| envelope.connection == connection)?;
    Some(of.remove(first))
}

fn tell(reply: Option<oneshot::Sender<Result<Appended, Refusal>>>, answer: Result<Answer, Refusal>) {
    let Some(reply) = reply else { return };
    let answer = answer.and_then(|answer| match answer {
        Answer::Appended(appended) => Ok(appended),
        Answer::Done | Answer::Producer(_) => Err(Refusal::TimedOut),
    });
    // Whoever asked may be gone.
    let _ = reply.send(answer);
}

/// The producer gave the first records up and went on with the others.
fn without_beginning(mut request: Request) -> Request {
    if let Request::Produce { batch, .. } = &mut request {
        let lost = batch.records.len().div_ceil(2);
        let kept: Vec<NewRecord> = batch.records.drain(..).skip(lost).collect();
        batch.records = kept;
    }
    request
}
