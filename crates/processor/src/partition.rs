//! The owner of one partition: a state machine that is polled, never blocks on the log, and holds no thread.
//!
//! One [`Partition::step`] does a bounded amount of everything: look at what became of the publication,
//! the loopback and the ticks in flight; read, apply and write one batch; hand over the next publication;
//! decide whether time has to be told.

use crate::batch::{self, Applied};
use crate::dirty::Dirty;
use crate::error::Error;
use crate::faults::Point;
use crate::lane::{Lane, Polled, Sent};
use crate::options::{Options, Pacing, Plant};
use crate::outbox::{Entry, Outbox};
use crate::pace::{Backoff, give_up_on};
use crate::publishing::{InFlight, Publishing, Settled};
use crate::runner::Role;
use crate::ticks::{Decision, Facts, Ticks};
use crate::view::StoreView;
use crate::{keys, lane, metrics, outbox, wire};
use std::sync::Arc;
use std::time::Instant;
use touchline_engine::{Engine, Meta};
use touchline_log::{
    Error as LogError, Log, Marker, Publication, Published, StoredRecord, TakenOver, Topic, Wall, last_record,
};
use touchline_model::output::Progress;
use touchline_model::record::Input;
use touchline_model::time::{Span, Time};
use touchline_store::{Change, Store};

/// Records read at once: one store write and one mark for them.
const BATCH_RECORDS_MAX: usize = 512;
/// Wall time between flushes: what a crash has to replay stays short.
const FLUSH_EVERY: Span = Span::seconds(30);
/// Bytes written between flushes.
const FLUSH_BYTES: usize = 64 << 20;
/// A mark that nothing follows goes out alone after this: readers see progress, publications stay full.
const PROGRESS_DELAY: Span = Span(100);
/// While more records wait than one batch holds, a publication waits so long to be a full one: each costs a commit.
const FILL_DELAY: Span = Span(100);
/// Cells that may wait to be published before applying pauses.
const DIRTY_MAX: usize = 50_000;
/// How often a standby drops what the owner published.
const STANDBY_LOOK_EVERY: Span = Span::seconds(5);

/// The owner of one partition.
pub struct Partition {
    id: u32,
    log: Arc<dyn Log>,
    store: Box<dyn Store>,
    wall: Arc<dyn Wall>,
    options: Options,
    engine: Engine,
    /// Where the log said this partition was published when it was opened: below, records are replayed.
    live_from: u64,
    publishing: Publishing,
    /// When a standby last looked at what the owner published.
    looked_at: Time,
    outbox: Outbox,
    dirty: Dirty,
    read_backoff: Backoff,
    /// Whether the last read gave as many records as it may.
    behind: bool,
    lanes: Vec<Lane>,
    ticks: Ticks,
    next_due: Option<Time>,
    clock_refused: bool,
    timers_fired: u64,
    last_record: Time,
    flushed_at: Time,
    unflushed_bytes: usize,
    intake: Intake,
    work: u64,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something; step again.
    Worked,
    /// Nothing to do until the log's signal moves or the wall reaches `wake_at`.
    Idle {
        /// When something is due by the wall.
        wake_at: Option<Time>,
    },
}

/// How a partition stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// What this process does with it.
    pub role: Role,
    /// Next offset to apply.
    pub offset: u64,
    /// End of the partition's events.
    pub end: u64,
    /// Next offset of the last durable publication.
    pub published: u64,
    /// Clock; `None` before the first record.
    pub clock: Option<Time>,
    /// Bundle in force.
    pub bundle: u64,
    /// Earliest pending timer.
    pub next_due: Option<Time>,
    /// Last numbers given, per stream.
    pub sequences: [u64; 4],
    /// Entries in the outbox.
    pub outbox: usize,
    /// Loopback records on their way.
    pub loopback: u64,
    /// How far the clock is behind the wall while records wait; 0 when none do.
    pub lag: Span,
    /// Whether everything read is applied, published and delivered.
    pub rest: Rest,
    /// Why the partition stopped, if it did.
    pub error: Option<String>,
}

/// Whether a partition has anything left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rest {
    /// Something is in flight or waits.
    #[default]
    Busy,
    /// Everything readable is applied, published and delivered.
    Quiet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    Open,
    /// Finishing: what is applied is published, nothing more is applied.
    Closed,
}

impl Partition {
    /// Owns the partition: compares store and log, drops what is published already.
    ///
    /// The store may be behind (it replays as it is stepped) or empty, but neither ahead of the log
    /// nor of another one.
    pub fn open(
        id: u32,
        log: Arc<dyn Log>,
        taken: TakenOver,
        store: Box<dyn Store>,
        wall: Arc<dyn Wall>,
        options: Options,
    ) -> Result<Self, Error> {
        Self::assemble(id, log, Publishing::owner(id, taken), store, wall, options)
    }

    /// Follows the partition silently: applies what its owner applies, and neither publishes nor appends anything.
    /// To take it over, drop this, and open the same store as the owner.
    pub fn follow(
        id: u32,
        log: Arc<dyn Log>,
        store: Box<dyn Store>,
        wall: Arc<dyn Wall>,
        options: Options,
    ) -> Result<Self, Error> {
        let published = log.published(id)?;
        Self::assemble(id, log, Publishing::standby(id, published), store, wall, options)
    }

    fn assemble(
        id: u32,
        log: Arc<dyn Log>,
        publishing: Publishing,
        mut store: Box<dyn Store>,
        wall: Arc<dyn Wall>,
        options: Options,
    ) -> Result<Self, Error> {
        let now = wall.now();
        let partitions = log.partitions();
        let published = publishing.published();
        let live_from = published.marker.offset;
        let mut changes = Vec::new();
        claim_store(&*store, &*log, id, &mut changes)?;
        let engine = Engine::open(&StoreView(&*store), id, partitions)?;
        check_against_log(engine.meta(), &published.marker, &*log, &*store, id)?;
        let (outbox, dirty) = match options.plant {
            Plant::PublishWithoutFilter => Outbox::load(&*store, &Published::default(), now, &mut changes)?,
            _ => Outbox::load(&*store, published, now, &mut changes)?,
        };
        if !publishing.is_standby()
            && let Some(stream) = outbox.lacks(&*store, published, engine.meta().sequences)?
        {
            let published = published.tails[stream.index()];
            return Err(Error::OutboxBehind { partition: id, stream: stream.name(), published });
        }
        let mut lanes = Vec::new();
        // A store that is not behind holds what it has to send: sending some of it again is harmless. One that has to
        // replay would send everything again.
        let replays = engine.meta().offset < live_from;
        for destination in 0..partitions {
            let received = if replays { received_by(destination, id, &*log)? } else { 0 };
            let sent = engine.meta().loop_sent[destination as usize];
            lanes.push(Lane::open(destination, received, sent, &*store, &mut changes)?);
        }
        store.write(changes)?;
        let next_due = engine.next_due(&StoreView(&*store))?;
        Ok(Self {
            id,
            log,
            store,
            wall,
            options,
            engine,
            live_from,
            publishing,
            looked_at: now,
            outbox,
            dirty,
            read_backoff: Backoff::default(),
            behind: false,
            lanes,
            ticks: Ticks::default(),
            next_due,
            clock_refused: false,
            timers_fired: 0,
            last_record: now,
            flushed_at: now,
            unflushed_bytes: 0,
            intake: Intake::Open,
            work: 0,
        })
    }

    /// Does a bounded amount of work. After an error the partition must not be stepped again.
    pub fn step(&mut self) -> Result<Step, Error> {
        let before = self.work;
        let now = self.wall.now();
        if self.publishing.is_standby() {
            return self.step_aside(now);
        }
        self.settle_publication(now)?;
        self.run_lanes(now)?;
        let mut wake_at = None;
        if self.intake == Intake::Open {
            let end = self.apply_batch(now)?;
            self.publish(now)?;
            if end == End::Reached {
                wake_at = self.tick(now)?;
            }
        } else {
            self.publish(now)?;
        }
        self.flush_when_due(now)?;
        if self.work != before {
            return Ok(Step::Worked);
        }
        Ok(Step::Idle { wake_at: self.earliest_wish(wake_at, now) })
    }

    /// A standby's step: applies, flushes, and forgets what the owner published.
    fn step_aside(&mut self, now: Time) -> Result<Step, Error> {
        let before = self.work;
        let since = now.since(self.looked_at);
        if self.is_full() || since >= STANDBY_LOOK_EVERY || since < Span(0) {
            self.follow_owner(now)?;
        }
        if self.intake == Intake::Open {
            self.apply_batch(now)?;
        }
        self.flush_when_due(now)?;
        if self.work != before {
            return Ok(Step::Worked);
        }
        Ok(Step::Idle { wake_at: Some(self.looked_at.plus(STANDBY_LOOK_EVERY)) })
    }

    fn follow_owner(&mut self, now: Time) -> Result<(), Error> {
        self.looked_at = now;
        self.publishing.follow(self.log.published(self.id)?);
        let published = self.publishing.published();
        let mut changes = Vec::new();
        self.outbox.drop_published(&*self.store, published, &mut changes)?;
        self.dirty.drop_published(published.marker.offset);
        for lane in self.lanes.iter_mut().filter(|lane| !lane.is_empty()) {
            lane.trim(received_by(lane.destination(), self.id, &*self.log)?, &mut changes);
        }
        if changes.is_empty() { Ok(()) } else { self.write(changes) }
    }

    /// Stops applying; further steps only finish what is in flight.
    pub fn close_intake(&mut self) {
        self.intake = Intake::Closed;
    }

    /// Makes the state survive a crash.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.store.flush()?;
        self.flushed_at = self.wall.now();
        self.unflushed_bytes = 0;
        self.options.faults.reached(Point::AfterFlush)
    }

    /// Whether everything readable is applied, published and delivered, and no timer is due by the wall.
    pub fn rest(&self) -> Result<Rest, Error> {
        let caught_up = self.intake == Intake::Closed || self.end()?.is_some_and(|end| end <= self.meta().offset);
        if self.publishing.is_standby() {
            return Ok(if caught_up { Rest::Quiet } else { Rest::Busy });
        }
        let delivered = self.lanes.iter().all(Lane::is_empty);
        let published = !self.publishing.is_busy() && self.outbox.len() == 0;
        let due = self.next_due.is_some_and(|due| due <= self.wall.now());
        let timely = self.intake == Intake::Closed || (!due && self.ticks.is_idle());
        Ok(if caught_up && delivered && published && timely { Rest::Quiet } else { Rest::Busy })
    }

    /// How the partition stands.
    pub fn status(&self) -> Result<Status, Error> {
        let meta = self.meta();
        let end = self.end()?.unwrap_or(meta.offset);
        let behind = if end > meta.offset { meta.clock.map(|clock| self.wall.now().since(clock)) } else { None };
        Ok(Status {
            role: if self.publishing.is_standby() { Role::Standby } else { Role::Owner },
            offset: meta.offset,
            end,
            published: self.publishing.published().marker.offset,
            clock: meta.clock,
            bundle: meta.bundle,
            next_due: self.next_due,
            sequences: meta.sequences,
            outbox: self.outbox.len(),
            loopback: self.lanes.iter().map(Lane::len).sum(),
            lag: behind.unwrap_or_default(),
            rest: self.rest()?,
            error: None,
        })
    }

    /// Counters and clock of the engine.
    pub fn meta(&self) -> &Meta {
        self.engine.meta()
    }

    /// Earliest pending timer; it may turn out to be stale.
    pub fn next_due(&self) -> Option<Time> {
        self.next_due
    }

    /// Its store, as it is, for whoever opens the partition again.
    pub fn into_store(self) -> Box<dyn Store> {
        self.store
    }

    /// The partition's store, for the judge.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// End of the partition's events, as far as it is known; `None` while the log is away.
    fn end(&self) -> Result<Option<u64>, Error> {
        match self.log.known_end(Topic::Events, self.id) {
            Err(LogError::Unavailable(_)) => Ok(None),
            end => Ok(Some(end?)),
        }
    }

    fn settle_publication(&mut self, now: Time) -> Result<(), Error> {
        let trust = self.options.plant == Plant::FailedPublicationIsDone;
        match self.publishing.poll(&*self.log, now, self.options.pacing, trust)? {
            Settled::Nothing => Ok(()),
            Settled::Moved => {
                self.work += 1;
                Ok(())
            }
            Settled::Published(in_flight) => {
                self.work += 1;
                self.trim_published(in_flight)
            }
        }
    }

    fn trim_published(&mut self, in_flight: InFlight) -> Result<(), Error> {
        self.options.faults.reached(Point::AfterPublishBeforeTrim)?;
        let InFlight { plan, contacts, encoded_at, tallies, .. } = in_flight;
        let mut changes = Vec::new();
        self.outbox.trim(plan, &mut changes);
        if self.options.plant == Plant::DirtyClearedBlindly {
            self.dirty.forget(&contacts);
        } else {
            self.dirty.published(&contacts, encoded_at);
        }
        self.write(changes)?;
        metrics::published(tallies);
        Ok(())
    }

    fn run_lanes(&mut self, now: Time) -> Result<(), Error> {
        let mut changes = Vec::new();
        for lane in &mut self.lanes {
            match lane.poll(now, self.options.pacing) {
                Polled::Nothing => {}
                Polled::Delivered { last } => {
                    self.options.faults.reached(Point::AfterLoopbackBeforeTrim)?;
                    lane.trim(last, &mut changes);
                    self.work += 1;
                }
                Polled::Failed { error, last } => {
                    if self.options.plant == Plant::FailedLoopbackIsDone {
                        lane.trim(last, &mut changes);
                    }
                    self.work += 1;
                    give_up_on(error, lane.failures())?;
                }
            }
            if lane.send(&*self.log, &*self.store, now)? == Sent::HandedOver {
                self.work += 1;
                self.options.faults.reached(Point::DuringLoopback)?;
            }
        }
        if changes.is_empty() { Ok(()) } else { self.write(changes) }
    }

    fn apply_batch(&mut self, now: Time) -> Result<End, Error> {
        self.behind = false;
        if self.is_full() || self.read_backoff.until(now).is_some() {
            return Ok(End::NotReached);
        }
        let offset = self.meta().offset;
        // A batch ends where the log says that a publication ended, so that the sequences can be compared there.
        let until_marker = self.publishing.published().marker.offset.saturating_sub(offset);
        let records_max = match usize::try_from(until_marker) {
            Ok(0) | Err(_) => BATCH_RECORDS_MAX,
            Ok(until) => until.min(BATCH_RECORDS_MAX),
        };
        let records = match self.log.read(Topic::Events, self.id, offset, records_max) {
            Err(error @ LogError::Unavailable(_)) => {
                tracing::warn!(partition = self.id, %error, "events cannot be read; trying again");
                self.read_backoff.refused(&error, now, self.options.pacing);
                return Ok(End::NotReached);
            }
            Err(LogError::Truncated { offset, start }) => return Err(Error::RetentionOutran { offset, start }),
            records => records?,
        };
        self.read_backoff.succeeded();
        if records.is_empty() {
            return Ok(End::Reached);
        }
        self.behind = records.len() == BATCH_RECORDS_MAX;
        let started = Instant::now();
        let was_settling = !self.engine.meta().settling.is_empty();
        let applied = batch::apply(&mut self.engine, &*self.store, &records)?;
        let last = &records[applied.records - 1];
        self.wall.observed(last.append_time);
        self.options.faults.reached(Point::BeforeWrite)?;
        metrics::applied(&applied, self.live_from, started.elapsed());
        let timers = applied.timers;
        self.keep(applied, last, now)?;
        if timers || was_settling || !self.engine.meta().settling.is_empty() {
            self.next_due = self.engine.next_due(&StoreView(&*self.store))?;
        }
        self.last_record = now;
        self.work += 1;
        self.compare_with_published()?;
        self.options.faults.reached(Point::AfterApply)?;
        Ok(End::NotReached)
    }

    /// Writes a batch: everything it led to, in one store write.
    fn keep(&mut self, applied: Applied, last: &StoredRecord, now: Time) -> Result<(), Error> {
        for noted in &applied.notes {
            self.clock_refused = noted.wants_tick;
            // Either says that the last tick led to something.
            self.timers_fired += u64::from(noted.notes.timers_fired) + u64::from(noted.notes.contacts_settled);
        }
        let mut changes = applied.writes;
        let published = self.publishing.published();
        let published_offset = published.marker.offset;
        for (numbered, record) in applied.outputs {
            let published = published.tails[numbered.output.stream().index()];
            if numbered.sequence > published || self.options.plant == Plant::PublishWithoutFilter {
                self.outbox.push(&Entry::output(&numbered, record), now, &mut changes);
            }
        }
        for (destination, sequence, record) in applied.loops {
            self.lanes[destination as usize].push(sequence, record, &mut changes);
        }
        let meta = self.engine.meta();
        if meta.offset > published_offset {
            self.dirty.note(applied.dirty.clone(), meta.offset);
            let mark = Entry::Mark { progress: meta.progress(), dirty: applied.dirty };
            self.outbox.push(&mark, now, &mut changes);
        }
        changes.push(Change::Put(keys::LAST_RECORD.to_vec(), identity_of(last)));
        let meta = Change::Put(touchline_engine::keys::META.to_vec(), meta.encode());
        if self.options.plant == Plant::OffsetInAnotherBatch {
            self.write(changes)?;
            self.options.faults.reached(Point::AfterApply)?;
            return self.write(vec![meta]);
        }
        changes.push(meta);
        self.write(changes)
    }

    /// Where a publication ended, replaying must have given the published sequences.
    fn compare_with_published(&self) -> Result<(), Error> {
        let (meta, marker) = (self.engine.meta(), &self.publishing.published().marker);
        if meta.offset != marker.offset || meta.sequences == marker.sequences {
            return Ok(());
        }
        let (have, published) = (meta.sequences, marker.sequences);
        Err(Error::Diverged { offset: meta.offset, have, published })
    }

    fn publish(&mut self, now: Time) -> Result<(), Error> {
        if !self.publishing.is_ready() || self.progress_may_wait(now)? || self.is_filling(now) {
            return Ok(());
        }
        let Some(plan) = self.outbox.plan() else { return Ok(()) };
        let content = self.outbox.read(&*self.store, plan, self.publishing.published())?;
        let mut records = content.records;
        let contacts = self.dirty.before(content.progress.offset);
        for cell in &contacts {
            if let Some(public) = self.engine.public_record(&StoreView(&*self.store), cell)? {
                records.push((Topic::Contacts, wire::public_record(&public)));
            }
        }
        let progress = Progress { next_due: self.next_due, ..content.progress };
        records.push((Topic::Contacts, wire::progress_record(&progress)));
        self.options.faults.reached(Point::BeforePublish)?;
        let marker = Marker { offset: progress.offset, sequences: progress.sequences };
        let publication = Publication { records, marker: marker.clone() };
        let encoded_at = self.meta().offset;
        if self.options.plant == Plant::TrimBeforePublished {
            let mut changes = Vec::new();
            self.outbox.trim(plan, &mut changes);
            self.write(changes)?;
        }
        let in_flight = InFlight { plan, marker, contacts, encoded_at, tallies: content.tallies };
        self.publishing.publish(publication, in_flight);
        self.work += 1;
        self.options.faults.reached(Point::DuringPublish)
    }

    /// A mark alone waits a little for something to travel with.
    fn progress_may_wait(&self, now: Time) -> Result<bool, Error> {
        if self.outbox.has_content() || self.intake == Intake::Closed {
            return Ok(false);
        }
        match (self.options.pacing, self.outbox.mark_since()) {
            (_, None) => Ok(true),
            (Pacing::Virtual, Some(_)) => Ok(self.end()?.is_none_or(|end| end > self.meta().offset)),
            (Pacing::Real, Some(since)) => Ok(since <= now && now < since.plus(PROGRESS_DELAY)),
        }
    }

    /// A publication that is not full yet waits a little for more, while there is more.
    fn is_filling(&self, now: Time) -> bool {
        let waits = self.behind && self.options.pacing == Pacing::Real && !self.outbox.fills_publication();
        waits && self.outbox.mark_since().is_some_and(|since| since <= now && now < since.plus(FILL_DELAY))
    }

    fn tick(&mut self, now: Time) -> Result<Option<Time>, Error> {
        let facts = Facts {
            now,
            clock: self.meta().clock,
            next_due: self.next_due,
            clock_refused: self.clock_refused,
            timers_fired: self.timers_fired,
            last_record: self.last_record,
            pacing: self.options.pacing,
        };
        match self.ticks.decide(facts, self.options.plant) {
            Decision::Wait(until) => Ok(until),
            Decision::Append(count) => {
                let tick = wire::input_record(&Input::Tick { wall: now });
                self.ticks.append(count, tick, &*self.log, self.id, facts);
                self.work += 1;
                self.options.faults.reached(Point::AfterTick)?;
                Ok(None)
            }
        }
    }

    fn flush_when_due(&mut self, now: Time) -> Result<(), Error> {
        // A virtual wall jumps by days: there only bytes count.
        let since = now.since(self.flushed_at);
        let by_time = self.options.pacing == Pacing::Real && (since >= FLUSH_EVERY || since < Span(0));
        if self.unflushed_bytes >= FLUSH_BYTES || (by_time && self.unflushed_bytes > 0) {
            self.flush()?;
        }
        Ok(())
    }

    fn write(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        self.unflushed_bytes += changes.iter().map(bytes_of).sum::<usize>();
        Ok(self.store.write(changes)?)
    }

    fn is_full(&self) -> bool {
        self.outbox.is_full()
            || self.dirty.len() >= DIRTY_MAX
            || self.lanes.iter().any(|lane| lane.len() >= lane::RECORDS_MAX)
    }

    fn earliest_wish(&self, tick: Option<Time>, now: Time) -> Option<Time> {
        let progress = match self.publishing.is_ready() {
            false => None,
            true => self.outbox.mark_since().map(|since| since.plus(PROGRESS_DELAY)),
        };
        let publish = self.publishing.paused_until(now);
        let read = self.read_backoff.until(now);
        let lanes = self.lanes.iter().filter_map(|lane| lane.paused_until(now));
        [tick, progress, publish, read].into_iter().flatten().chain(lanes).min()
    }
}

/// Whether there was anything to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Reached,
    NotReached,
}

/// Checks that the store is ours, or makes an empty one ours.
fn claim_store(store: &dyn Store, log: &dyn Log, id: u32, changes: &mut Vec<Change>) -> Result<(), Error> {
    let expected = format!("{} partition {id} of {}", log.cluster_id(), log.partitions());
    match store.get(keys::OWNER)? {
        Some(found) if found == expected.as_bytes() => {}
        Some(found) => {
            return Err(Error::ForeignStore { found: String::from_utf8_lossy(&found).into_owned(), expected });
        }
        None => changes.push(Change::Put(keys::OWNER.to_vec(), expected.into_bytes())),
    }
    Ok(())
}

/// The store must not be ahead of the log, and its last record must be the log's.
fn check_against_log(meta: &Meta, published: &Marker, log: &dyn Log, store: &dyn Store, id: u32) -> Result<(), Error> {
    let end = log.end(Topic::Events, id)?;
    for (what, offset) in [("the store", meta.offset), ("the published marker", published.offset)] {
        if offset > end {
            return Err(Error::LogLostData { what, offset, end });
        }
    }
    let behind = meta.sequences.iter().zip(published.sequences).any(|(have, published)| *have < published);
    if meta.offset >= published.offset && behind {
        let have = meta.sequences;
        return Err(Error::Diverged { offset: meta.offset, have, published: published.sequences });
    }
    let Some(last) = store.get(keys::LAST_RECORD)? else { return Ok(()) };
    let offset = last.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)).ok_or(Error::Residue("the store"))?;
    match log.read(Topic::Events, id, offset, 1) {
        // Retention took it; what follows it is all there.
        Err(LogError::Truncated { start, .. }) if start <= meta.offset => Ok(()),
        Err(LogError::Truncated { start, .. }) => Err(Error::RetentionOutran { offset: meta.offset, start }),
        records => match records?.first() {
            Some(record) if identity_of(record) == last => Ok(()),
            _ => Err(Error::OtherRecord { offset }),
        },
    }
}

/// Offset and hash of a record: what a store remembers of the last one it applied.
fn identity_of(record: &StoredRecord) -> Vec<u8> {
    let mut bytes = record.append_time.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(record.key.as_deref().unwrap_or_default());
    bytes.push(0);
    bytes.extend_from_slice(&record.value);
    let hash = xxhash_rust::xxh3::xxh3_128(&bytes);
    [&record.offset.to_be_bytes()[..], &hash.to_be_bytes()[..]].concat()
}

/// Last loopback number from `source` that `destination` is known to have accepted: its last Progress says so.
fn received_by(destination: u32, source: u32, log: &dyn Log) -> Result<u64, Error> {
    let is_progress = |record: &StoredRecord| wire::progress_in(record).is_some();
    let progress = last_record(log, Topic::Contacts, destination, &is_progress)?;
    let progress = progress.as_ref().and_then(wire::progress_in);
    Ok(progress.and_then(|progress| progress.loop_received.get(source as usize).copied()).unwrap_or_default())
}

const fn bytes_of(change: &Change) -> usize {
    match change {
        Change::Put(key, value) => key.len() + value.len(),
        Change::Delete(key) => key.len(),
        Change::DeleteRange(from, until) => from.len() + until.len(),
    }
}

const _: () = assert!(outbox::ENTRIES_MAX > outbox::PUBLISH_RECORDS_MAX, "a full outbox must fit a publication");
