//! The protocol of a publisher lane on a log with Kafka's transactions, one phase at a time.
//!
//! ```text
//!   connect ─ init ─ watermarks ─ wait ─ marker ─ tail ×4 ─▶ ready ─ begin ─ send ─ drain ─ marker ─ offsets ─ commit
//!      ▲        (fences)            │ too long, or a failure     ▲          │ any failure: dead, no abort          │
//!      └────────────────────────────┘ that passes                │          ▼ whoever goes on takes over again     │
//!                                                                └──────────────────────────────────────────────────┘
//! ```
//! What it is: the order of calls and what each failure means, over two traits; `touchline-kafka` implements them on
//! librdkafka and the simulator on a broker that loses answers and delivers requests late. What it is not: it has no
//! clock, no thread and no retry of its own after something was sent.
//!
//! Invariants: init comes before anything is looked at; nothing that was sent is ever aborted by its sender; the
//! records decide what is published, not the committed offsets; the record with the marker is sent when everything
//! before it is delivered, also within a transaction: a late copy of an earlier commit (one epoch serves many
//! transactions) may commit this one halfway, and the marker must not be in that half without what it covers. The offsets
//! follow when the marker is delivered: with both on their way at once, a takeover waited for ever for a record that the
//! committed offset had announced (the simulator's seed 551).

use crate::publish::{Marker, Publication, Published};
use crate::{Error, NewRecord, Topic};
use touchline_model::output::Stream;

/// The topics a publication may touch, in the order of [`Ends`].
pub const OUTPUTS: [Topic; 5] =
    [Topic::TagChanges, Topic::Touches, Topic::CommandResults, Topic::DeadLetters, Topic::Contacts];

/// One offset for each of [`OUTPUTS`].
pub type Ends = [u64; OUTPUTS.len()];

/// How often a takeover starts again: with a second for each wait, longer than a transaction can stay open.
const ATTEMPTS_MAX: u32 = 30;
/// Offsets that the search for the end of what is published looks at first; then sixteen times as many, and so on.
const WINDOW_MIN: u64 = 256;
/// Offsets that it looks at at once, at most: what it holds in memory.
const WINDOW_MAX: u64 = 65_536;

/// How publications are kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// In transactions; a plain `read_committed` consumer sees each output once.
    #[default]
    Transactional,
    /// By sequence alone: first everything, then the marker. After a crash a plain consumer may see repeats.
    Sequenced,
}

/// What the protocol needs from the broker to take a partition over.
pub trait World {
    /// A producer of the partition.
    type Client: Client;

    /// A new producer that has sent nothing; with the partition's transactional id in [`Mode::Transactional`].
    fn connect(&mut self) -> Result<Self::Client, Failure>;

    /// High watermarks, records of open transactions included.
    fn high_watermarks(&mut self) -> Result<Ends, Failure>;

    /// Whether every transaction below `ends` has ended, so that `read_committed` sees what there is.
    fn reached(&mut self, ends: &Ends) -> Result<Reached, Failure>;

    /// The marker in the metadata of the committed offset of `events`, waiting for open transactions
    /// (`require_stable`).
    fn committed(&mut self) -> Result<Option<Marker>, Failure>;

    /// What a `read_committed` reader sees with `from <= offset < to`, in order. Less where the topic starts later.
    fn read(&mut self, topic: Topic, from: u64, to: u64) -> Result<Vec<Seen>, Failure>;
}

/// One producer; dropping it must not send anything any more, not even an abort.
pub trait Client {
    /// Fences every earlier producer of the partition and ends its transaction. Not called in [`Mode::Sequenced`].
    fn init(&mut self) -> Result<(), Failure>;

    /// Begins a transaction. Not called in [`Mode::Sequenced`].
    fn begin(&mut self) -> Result<(), Failure>;

    /// Hands records over, in order. They are delivered in the background.
    fn send(&mut self, records: &[(Topic, NewRecord)]) -> Result<(), Failure>;

    /// Serves delivery reports for about a millisecond; fails when one of them is a failure.
    fn drain(&mut self) -> Result<Drained, Failure>;

    /// Adds the offset of `events` to the transaction, the marker as its metadata.
    fn commit_offsets(&mut self, marker: &Marker) -> Result<(), Failure>;

    /// Commits the transaction.
    fn commit(&mut self) -> Result<(), Failure>;

    /// Aborts the transaction: only a planted defect does.
    fn abort(&mut self) -> Result<(), Failure> {
        Err(Failure::Broken(Error::Io("a producer that has sent is never aborted".to_owned())))
    }
}

/// Why a call of [`World`] or [`Client`] came to nothing, as far as it knows.
#[derive(Debug, Clone)]
pub enum Failure {
    /// Somebody else took the partition over.
    Fenced,
    /// It may pass: the takeover starts again, a publication is lost.
    Again(String),
    /// It will not pass by itself.
    Broken(Error),
}

/// Whether a watermark is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Everything below is stable.
    Yes,
    /// Ask again a little later.
    NotYet,
    /// It takes longer than markers take to be written; a late init of a zombie may be in the way.
    TooLong,
}

/// What is still in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Nothing: everything is delivered.
    All,
    /// Something.
    InFlight,
}

/// What a record says about publications.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Where it lies.
    pub offset: u64,
    /// Its sequence, for outputs.
    pub sequence: Option<u64>,
    /// Its marker, for Progress.
    pub marker: Option<Marker>,
}

/// What a step did, or what is to be done before the next.
#[derive(Debug)]
pub enum Step {
    /// A phase ended here; go on.
    Did(LanePoint),
    /// Go on at once.
    Polled,
    /// Go on in a few milliseconds.
    Waiting,
    /// The partition is taken over: [`Lane::publish`] may be called.
    TakenOver(Published),
    /// Nothing to do until [`Lane::publish`].
    Idle,
    /// The publication is durable.
    Published,
    /// The lane is dead, its producer gone. What became of a publication that was under way is unknown.
    Failed(Error),
}

/// A place where a crash must not hurt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LanePoint {
    /// The producer is made; the next call is `init_transactions`.
    DuringInitTransactions,
    /// Earlier publishers are fenced and the watermarks known; nothing was read.
    DuringRestore,
    /// A publication is handed to the producer.
    AfterSend,
    /// All its records but the one with the marker are delivered.
    AfterDrain,
    /// Its offsets are added; the next call commits (in sequenced mode: the marker is sent, not delivered).
    BeforeCommit,
    /// It is durable, and nobody was told.
    AfterCommit,
}

impl LanePoint {
    /// Every point, in order.
    pub const ALL: [Self; 6] = [
        Self::DuringInitTransactions,
        Self::DuringRestore,
        Self::AfterSend,
        Self::AfterDrain,
        Self::BeforeCommit,
        Self::AfterCommit,
    ];

    /// The name in `TOUCHLINE_KILL_AT`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DuringInitTransactions => "during_init_transactions",
            Self::DuringRestore => "during_restore",
            Self::AfterSend => "after_send",
            Self::AfterDrain => "after_drain",
            Self::BeforeCommit => "before_commit",
            Self::AfterCommit => "after_commit",
        }
    }

    /// The point with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }
}

/// Defects for tests of the simulator: each is known to publish twice or to leave gaps.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plant {
    /// None.
    #[default]
    None,
    /// A publication that failed is aborted and sent again by the same producer.
    AbortAndRetry,
    /// What is published is looked up before earlier publishers are fenced.
    TailsBeforeInit,
    /// The committed offset's metadata alone say what is published.
    MarkerOnly,
    /// The smaller of the committed metadata and the last records.
    SmallerOfBoth,
    /// Nobody waits for the high watermark.
    NoWait,
    /// The marker is sent together with what it covers.
    MarkerWithOutputs,
}

/// A publisher lane.
pub struct Lane<W: World> {
    world: W,
    partition: u32,
    mode: Mode,
    plant: Plant,
    phase: Phase,
    client: Option<W::Client>,
    attempts: u32,
    ends: Ends,
    committed: Option<Marker>,
    found: Published,
    publication: Publication,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connect,
    Init,
    Watermarks,
    Wait,
    FindMarker,
    FindTail(Stream),
    Found,
    Ready,
    Begin,
    Send,
    Drain,
    SendMarker,
    DrainMarker,
    Offsets,
    Commit,
    Committed,
    Dead,
}

impl<W: World> Lane<W> {
    /// A lane that is about to take `partition` over.
    pub fn new(world: W, partition: u32, mode: Mode) -> Self {
        Self::planted(world, partition, mode, Plant::None)
    }

    /// A lane with a defect.
    #[doc(hidden)]
    pub fn planted(world: W, partition: u32, mode: Mode, plant: Plant) -> Self {
        Self {
            world,
            partition,
            mode,
            plant,
            phase: Phase::Connect,
            client: None,
            attempts: 0,
            ends: Ends::default(),
            committed: None,
            found: Published::default(),
            publication: Publication::default(),
        }
    }

    /// The world it was made with.
    pub fn world(&mut self) -> &mut W {
        &mut self.world
    }

    /// How often the takeover had to start again.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Takes the next publication. False (and nothing happens) unless the last step said [`Step::TakenOver`],
    /// [`Step::Idle`] or [`Step::Published`].
    #[must_use]
    pub fn publish(&mut self, publication: Publication) -> bool {
        if self.phase != Phase::Ready {
            return false;
        }
        self.publication = publication;
        self.phase = match self.mode {
            Mode::Transactional => Phase::Begin,
            Mode::Sequenced => Phase::Send,
        };
        true
    }

    /// Carries out the next phase.
    pub fn step(&mut self) -> Step {
        let taking_over = self.phase.is_taking_over();
        match self.carry_out() {
            Ok((phase, step)) => {
                self.phase = phase;
                step
            }
            Err(failure) if taking_over => self.start_again(failure),
            Err(failure) => self.fail(failure),
        }
    }

    fn carry_out(&mut self) -> Result<(Phase, Step), Failure> {
        match self.phase {
            Phase::Connect => self.connect(),
            Phase::Init => self.init(),
            Phase::Watermarks => {
                self.ends = self.world.high_watermarks()?;
                Ok((Phase::Wait, Step::Did(LanePoint::DuringRestore)))
            }
            Phase::Wait => self.wait(),
            Phase::FindMarker => self.find_marker(),
            Phase::FindTail(stream) => self.find_tail(stream),
            Phase::Found => Ok((Phase::Ready, Step::TakenOver(self.found.clone()))),
            Phase::Ready => Ok((Phase::Ready, Step::Idle)),
            Phase::Begin => {
                client(&mut self.client)?.begin()?;
                Ok((Phase::Send, Step::Polled))
            }
            Phase::Send => {
                let first = self.before_marker();
                client(&mut self.client)?.send(&self.publication.records[..first])?;
                Ok((Phase::Drain, Step::Did(LanePoint::AfterSend)))
            }
            Phase::Drain => match client(&mut self.client)?.drain()? {
                Drained::InFlight => Ok((Phase::Drain, Step::Polled)),
                Drained::All => Ok((Phase::SendMarker, Step::Did(LanePoint::AfterDrain))),
            },
            Phase::SendMarker => {
                let first = self.before_marker();
                client(&mut self.client)?.send(&self.publication.records[first..])?;
                let step = match self.mode {
                    Mode::Transactional => Step::Polled,
                    Mode::Sequenced => Step::Did(LanePoint::BeforeCommit),
                };
                Ok((Phase::DrainMarker, step))
            }
            Phase::DrainMarker => match (client(&mut self.client)?.drain()?, self.mode) {
                (Drained::InFlight, _) => Ok((Phase::DrainMarker, Step::Polled)),
                (Drained::All, Mode::Transactional) => Ok((Phase::Offsets, Step::Polled)),
                (Drained::All, Mode::Sequenced) => Ok((Phase::Committed, Step::Did(LanePoint::AfterCommit))),
            },
            Phase::Offsets => {
                client(&mut self.client)?.commit_offsets(&self.publication.marker)?;
                Ok((Phase::Commit, Step::Did(LanePoint::BeforeCommit)))
            }
            Phase::Commit => {
                client(&mut self.client)?.commit()?;
                Ok((Phase::Committed, Step::Did(LanePoint::AfterCommit)))
            }
            Phase::Committed => Ok((Phase::Ready, Step::Published)),
            Phase::Dead => Ok((Phase::Dead, Step::Failed(Error::Closed))),
        }
    }

    fn connect(&mut self) -> Result<(Phase, Step), Failure> {
        // The old one must be gone before the new one is made: it must not send after that.
        self.client = None;
        self.client = Some(self.world.connect()?);
        let (next, step) = match (self.mode, self.plant) {
            (Mode::Sequenced, _) => (Phase::Watermarks, Step::Polled),
            (Mode::Transactional, Plant::TailsBeforeInit) => (Phase::Watermarks, Step::Polled),
            (Mode::Transactional, _) => (Phase::Init, Step::Did(LanePoint::DuringInitTransactions)),
        };
        Ok((next, step))
    }

    fn init(&mut self) -> Result<(Phase, Step), Failure> {
        client(&mut self.client)?.init()?;
        let next = if self.plant == Plant::TailsBeforeInit { Phase::Found } else { Phase::Watermarks };
        Ok((next, Step::Polled))
    }

    fn wait(&mut self) -> Result<(Phase, Step), Failure> {
        let reached = if self.plant == Plant::NoWait { Reached::Yes } else { self.world.reached(&self.ends)? };
        match reached {
            Reached::Yes => Ok((Phase::FindMarker, Step::Polled)),
            Reached::NotYet => Ok((Phase::Wait, Step::Waiting)),
            Reached::TooLong => Err(Failure::Again("a transaction below the high watermark stays open".to_owned())),
        }
    }

    fn find_marker(&mut self) -> Result<(Phase, Step), Failure> {
        let mut in_records: Option<Marker> = None;
        for (from, to) in Windows::back_from(self.ends[OUTPUTS.len() - 1]) {
            let seen = self.world.read(Topic::Contacts, from, to)?;
            // In sequenced mode a zombie may have written an older one behind a newer.
            in_records = seen.into_iter().filter_map(|seen| seen.marker).max_by_key(|marker| marker.offset);
            if in_records.is_some() {
                break;
            }
        }
        self.committed = self.world.committed()?;
        let behind = |marker: &Marker| self.committed.as_ref().is_some_and(|own| own.offset > marker.offset);
        if self.mode == Mode::Transactional && self.plant == Plant::None && in_records.as_ref().is_some_and(behind) {
            // Both were committed together, so the reader has not seen the end yet.
            return Err(Failure::Again("contacts are behind the committed offset".to_owned()));
        }
        let marker = in_records.or_else(|| self.committed.clone()).unwrap_or_default();
        self.found = Published::whole(marker);
        Ok((Phase::FindTail(Stream::ALL[0]), Step::Polled))
    }

    fn find_tail(&mut self, stream: Stream) -> Result<(Phase, Step), Failure> {
        let index = stream.index();
        let anchor = self.found.marker.sequences[index];
        let mut newest_first: Vec<u64> = Vec::new();
        'back: for (from, to) in Windows::back_from(self.ends[index]) {
            let seen = self.world.read(stream.into(), from, to)?;
            for sequence in seen.iter().rev().filter_map(|seen| seen.sequence) {
                if sequence <= anchor {
                    break 'back;
                }
                newest_first.push(sequence);
            }
        }
        let step_up = |last, sequence| if sequence == last + 1 { sequence } else { last };
        self.found.tails[index] = newest_first.into_iter().rev().fold(anchor, step_up);
        let Some(next) = Stream::ALL.get(index + 1) else {
            self.plant_in_found();
            let after = if self.plant == Plant::TailsBeforeInit { Phase::Init } else { Phase::Found };
            return Ok((after, Step::Polled));
        };
        Ok((Phase::FindTail(*next), Step::Polled))
    }

    fn plant_in_found(&mut self) {
        let committed = self.committed.clone().unwrap_or_default();
        match self.plant {
            Plant::MarkerOnly => self.found = Published::whole(committed),
            Plant::SmallerOfBoth => {
                for (tail, committed) in self.found.tails.iter_mut().zip(committed.sequences) {
                    *tail = committed.min(*tail);
                }
                if committed.offset < self.found.marker.offset {
                    self.found.marker = committed;
                }
            }
            _ => {}
        }
    }

    /// How many records go first: all but the last one, which carries the marker.
    fn before_marker(&self) -> usize {
        match self.plant {
            Plant::MarkerWithOutputs => self.publication.records.len(),
            _ => self.publication.records.len().saturating_sub(1),
        }
    }

    fn start_again(&mut self, failure: Failure) -> Step {
        self.attempts += 1;
        match failure {
            Failure::Again(_) if self.attempts < ATTEMPTS_MAX => {
                self.client = None;
                self.phase = Phase::Connect;
                Step::Waiting
            }
            failure => self.fail(failure),
        }
    }

    fn fail(&mut self, failure: Failure) -> Step {
        if self.plant == Plant::AbortAndRetry
            && !self.phase.is_taking_over()
            && matches!(failure, Failure::Again(_))
            && self.client.as_mut().is_some_and(|client| client.abort().is_ok())
        {
            self.phase = Phase::Begin;
            return Step::Polled;
        }
        self.client = None;
        self.phase = Phase::Dead;
        Step::Failed(match failure {
            Failure::Fenced => Error::Fenced { partition: self.partition },
            Failure::Again(reason) => Error::Unavailable(reason),
            Failure::Broken(error) => error,
        })
    }
}

fn client<C>(client: &mut Option<C>) -> Result<&mut C, Failure> {
    client.as_mut().ok_or(Failure::Broken(Error::Closed))
}

impl Phase {
    /// Whether nothing was sent yet, so that the takeover may start again.
    const fn is_taking_over(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::Init
                | Self::Watermarks
                | Self::Wait
                | Self::FindMarker
                | Self::FindTail(_)
                | Self::Found
        )
    }
}

/// Ranges of offsets that cover everything below an end, from the back, growing.
struct Windows {
    to: u64,
    size: u64,
}

impl Windows {
    const fn back_from(end: u64) -> Self {
        Self { to: end, size: WINDOW_MIN }
    }
}

impl Iterator for Windows {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        if self.to == 0 {
            return None;
        }
        let (from, to) = (self.to.saturating_sub(self.size), self.to);
        (self.to, self.size) = (from, (self.size * 16).min(WINDOW_MAX));
        Some((from, to))
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
