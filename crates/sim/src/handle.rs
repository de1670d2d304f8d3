//! The log as one process has it: appends, reads, and its publisher lanes, which the world steps.

use crate::broker::{Batch, Scope};
use crate::client::{LaneWorld, Setup};
use crate::network::{Placed, Request, Shared, lock};
use futures::channel::oneshot;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use touchline_log::lane::{Lane, LanePoint, Mode, OUTPUTS, Plant, Step};
use touchline_log::{
    Ack, Appended, Error, Log, Marker, NewRecord, Publication, Published, Publisher, Signal, StoredRecord, TakenOver,
    Topic,
};

/// Reads of events that fail for a while, per thousand.
const READ_FAILED_PERMILLE: u64 = 3;

/// A process's connection to the cluster. Clones share it.
#[derive(Clone)]
pub(crate) struct Handle {
    cluster: Shared,
    partitions: u32,
    process: usize,
    client: u64,
    setup: Setup,
    plant: Plant,
    /// Takes over what belongs to somebody else: a defect.
    ignores_owner: bool,
    lanes: Arc<Mutex<Lanes>>,
    /// What is known to be published, per partition.
    published: Arc<Mutex<Vec<Marker>>>,
    appends: Arc<Mutex<Vec<Append>>>,
    signal: Signal,
}

/// A request, and who waits for it.
type Append = (Placed, oneshot::Sender<Result<Appended, Error>>);

#[derive(Default)]
struct Lanes {
    tasks: Vec<Task>,
    /// Of publishers that are gone.
    closed: BTreeSet<u64>,
    count: u64,
}

struct Task {
    number: u64,
    partition: u32,
    lane: Lane<LaneWorld>,
    taking: Option<oneshot::Sender<Result<TakenOver, Error>>>,
    publishing: Option<oneshot::Sender<Result<(), Error>>>,
}

/// What stepping a lane came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// There was nothing to do.
    Idle,
    Worked,
    /// A place where a crash must not hurt.
    At(LanePoint),
}

impl Handle {
    pub(crate) fn new(
        cluster: &Shared,
        partitions: u32,
        process: usize,
        setup: Setup,
        plant: Plant,
        ignores_owner: bool,
    ) -> Self {
        let client = lock(cluster).new_client();
        Self {
            cluster: Shared::clone(cluster),
            partitions,
            process,
            client,
            setup,
            plant,
            ignores_owner,
            lanes: Arc::default(),
            published: Arc::new(Mutex::new(vec![Marker::default(); partitions as usize])),
            appends: Arc::default(),
            signal: Signal::new(),
        }
    }

    /// How many lanes there are.
    pub(crate) fn lanes(&self) -> usize {
        lock(&self.lanes).tasks.len()
    }

    /// Steps one lane.
    pub(crate) fn step_lane(&self, at: usize) -> Stepped {
        let mut task = {
            let mut lanes = lock(&self.lanes);
            if lanes.tasks.is_empty() {
                return Stepped::Idle;
            }
            let at = at % lanes.tasks.len();
            lanes.tasks.remove(at)
        };
        let (goes_on, stepped) = self.carry_on(&mut task);
        let mut lanes = lock(&self.lanes);
        let closed = lanes.closed.contains(&task.number) && task.publishing.is_none() && task.taking.is_none();
        if goes_on && !closed {
            lanes.tasks.push(task);
        } else {
            lanes.closed.remove(&task.number);
        }
        stepped
    }

    /// Whether the lane lives, and what it did. Answers are given while no lock is held: who gets them may drop them.
    fn carry_on(&self, task: &mut Task) -> (bool, Stepped) {
        match task.lane.step() {
            Step::Did(point) => (true, Stepped::At(point)),
            Step::Polled => (true, Stepped::Worked),
            Step::Idle => (true, Stepped::Idle),
            Step::Waiting if !self.is_assigned(task.partition) => {
                answer(task.taking.take(), Err(Error::NotOwner { partition: task.partition }));
                (false, Stepped::Worked)
            }
            Step::Waiting => (true, Stepped::Worked),
            Step::TakenOver(published) => {
                let mut cluster = lock(&self.cluster);
                cluster.torn += u64::from(published.tails != published.marker.sequences);
                cluster.note(|| {
                    let (process, partition) = (self.process, task.partition);
                    format!("process {process} took partition {partition} over: {published:?}")
                });
                drop(cluster);
                let publisher = Box::new(LanePublisher { lanes: Arc::clone(&self.lanes), number: task.number });
                answer(task.taking.take(), Ok(TakenOver { publisher, published }));
                (true, Stepped::Worked)
            }
            Step::Published => {
                let mut cluster = lock(&self.cluster);
                cluster.publications += u64::from(cluster.is_faulty());
                drop(cluster);
                answer(task.publishing.take(), Ok(()));
                (true, Stepped::Worked)
            }
            Step::Failed(error) => {
                answer(task.taking.take(), Err(error.clone()));
                answer(task.publishing.take(), Err(error));
                (false, Stepped::Worked)
            }
        }
    }

    /// Passes answers on to whoever appended; at most so many.
    pub(crate) fn hear(&self, count: usize) {
        let mut appends = lock(&self.appends);
        let mut left = count;
        for (mut answer, caller) in std::mem::take(&mut *appends) {
            if left == 0 {
                appends.push((answer, caller));
                continue;
            }
            let heard = match answer.try_recv() {
                Ok(None) => {
                    appends.push((answer, caller));
                    continue;
                }
                Ok(Some(Ok(appended))) => Ok(appended),
                Ok(Some(Err(refusal))) => Err(Error::Io(format!("{refusal:?}"))),
                Err(_) => Err(Error::Closed),
            };
            left -= 1;
            // Whoever asked may have dropped it.
            let _ = caller.send(heard);
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        let lanes = lock(&self.lanes);
        let idle = lanes.tasks.iter().all(|task| task.taking.is_none() && task.publishing.is_none());
        idle && lock(&self.appends).is_empty()
    }

    /// The process dies: its lanes stop where they are, and what it sent may arrive.
    pub(crate) fn crash(&self) {
        let tasks = std::mem::take(&mut lock(&self.lanes).tasks);
        drop(tasks);
        lock(&self.appends).clear();
        lock(&self.cluster).orphan(self.client);
    }

    fn is_assigned(&self, partition: u32) -> bool {
        self.ignores_owner || lock(&self.cluster).group.is_assigned(self.process, partition)
    }

    /// A lane like that of [`Log::take_over`], whose producers fence nobody: a defect.
    pub(crate) fn take_over_unfenced(&self, partition: u32) -> Ack<TakenOver> {
        self.begin(partition, Setup { shared_id: false, ..self.setup })
    }

    fn begin(&self, partition: u32, setup: Setup) -> Ack<TakenOver> {
        let (sender, ack) = oneshot::channel();
        let world = LaneWorld { cluster: Shared::clone(&self.cluster), process: self.process, partition, setup };
        let lane = Lane::planted(world, partition, setup.mode, self.plant);
        let mut lanes = lock(&self.lanes);
        lanes.count += 1;
        let number = lanes.count;
        lanes.tasks.push(Task { number, partition, lane, taking: Some(sender), publishing: None });
        ack
    }
}

/// The partition's end of a lane.
struct LanePublisher {
    lanes: Arc<Mutex<Lanes>>,
    number: u64,
}

impl Publisher for LanePublisher {
    fn publish(&mut self, publication: Publication) -> Ack<()> {
        let (sender, ack) = oneshot::channel();
        let mut lanes = lock(&self.lanes);
        let task = lanes.tasks.iter_mut().find(|task| task.number == self.number);
        // Without its lane the sender goes here, and the ack says that nothing became of it.
        if let Some(task) = task
            && task.lane.publish(publication)
        {
            task.publishing = Some(sender);
        }
        ack
    }
}

impl Drop for LanePublisher {
    fn drop(&mut self) {
        let mut lanes = lock(&self.lanes);
        let idle = |task: &mut Task| task.number == self.number && task.publishing.is_none();
        let ended: Vec<_> = lanes.tasks.extract_if(.., idle).collect();
        if ended.is_empty() {
            // A publication under way is finished first.
            lanes.closed.insert(self.number);
        }
        drop(lanes);
        drop(ended);
    }
}

impl Log for Handle {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn cluster_id(&self) -> String {
        "simulated".to_owned()
    }

    fn append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        let (sender, ack) = oneshot::channel();
        let mut cluster = lock(&self.cluster);
        // Every call is a session of its own: repeats of it are dropped, those of another are not.
        let producer = cluster.coordinator.new_producer();
        let batch = Batch { producer, base: 0, scope: Scope::Plain, records };
        let request = Request::Produce { topic, partition, batch, id: None };
        let answer = cluster.send((self.client, partition), request);
        lock(&self.appends).push((answer, sender));
        ack
    }

    fn read(&self, topic: Topic, partition: u32, offset: u64, records_max: usize) -> Result<Vec<StoredRecord>, Error> {
        let mut cluster = lock(&self.cluster);
        if topic == Topic::Events && cluster.is_faulty() && cluster.random.chance(READ_FAILED_PERMILLE) {
            return Err(Error::Unavailable("the broker did not answer".to_owned()));
        }
        Ok(cluster.read(topic, partition, offset, records_max))
    }

    fn end(&self, topic: Topic, partition: u32) -> Result<u64, Error> {
        Ok(lock(&self.cluster).leader(topic, partition).last_stable())
    }

    fn take_over(&self, partition: u32) -> Ack<TakenOver> {
        if !self.is_assigned(partition) {
            let (sender, ack) = oneshot::channel();
            answer(Some(sender), Err(Error::NotOwner { partition }));
            return ack;
        }
        self.begin(partition, self.setup)
    }

    fn published(&self, partition: u32) -> Result<Marker, Error> {
        let cluster = lock(&self.cluster);
        let mut published = lock(&self.published);
        let known = &mut published[partition as usize];
        // Markers reach the topics one after another; who sees Progress has to see what it covers.
        let open = |topic| {
            let leader = cluster.leader(topic, partition);
            leader.last_stable() < leader.high_watermark()
        };
        if !OUTPUTS.into_iter().any(open) {
            let markers = cluster.leader(Topic::Contacts, partition).readable(0).rev();
            let mut markers = markers.filter_map(|record| Marker::in_headers(&record.headers));
            let found = match self.setup.mode {
                Mode::Transactional => markers.next(),
                // A zombie may have written an older one behind.
                Mode::Sequenced => markers.max_by_key(|marker| marker.offset),
            };
            *known = found.unwrap_or_default();
        }
        Ok(known.clone())
    }

    fn signal(&self) -> &Signal {
        &self.signal
    }
}

/// A takeover that finds what it is told instead of what there is: a defect.
pub(crate) fn believing(taken: TakenOver, marker: Marker) -> TakenOver {
    TakenOver { published: Published::whole(marker), ..taken }
}

fn answer<T>(sender: Option<oneshot::Sender<Result<T, Error>>>, result: Result<T, Error>) {
    if let Some(sender) = sender {
        // Whoever asked may have dropped it.
        let _ = sender.send(result);
    }
}
