//! The server's time: the machine's, or a virtual one that only `touchline clock advance` moves.

use clap::ValueEnum;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use touchline_kafka::KafkaLog;
use touchline_log::{Log, ManualWall, SystemWall, Topic, Wall, wait};
use touchline_model::time::Time;
use touchline_processor::controller::{self, Driver};
use touchline_query::admin::{AdvanceError, ClockControl};

/// How long partitions may take to come to rest at one moment.
const REST_TIMEOUT: Duration = Duration::from_secs(60);

/// What the server's time follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClockMode {
    /// The machine's clock
    System,
    /// Only `touchline clock advance`
    Manual,
}

/// The server's time.
#[derive(Clone)]
pub(crate) enum Clock {
    System,
    Manual(ManualWall),
}

impl Clock {
    pub(crate) fn wall(&self) -> Arc<dyn Wall> {
        match self {
            Self::System => Arc::new(SystemWall),
            Self::Manual(wall) => Arc::new(wall.clone()),
        }
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Manual(_) => "manual",
        }
    }
}

/// The clock of a process that runs everything.
pub(crate) struct EmbeddedClock {
    pub(crate) processor: Weak<touchline_processor::Handle>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) clock: Clock,
}

impl ClockControl for EmbeddedClock {
    fn mode(&self) -> &'static str {
        self.clock.name()
    }

    fn advance(&self, to: Time) -> Result<Time, AdvanceError> {
        let Clock::Manual(wall) = &self.clock else { return Err(AdvanceError::NotManual) };
        let Some(processor) = self.processor.upgrade() else {
            return Err(AdvanceError::Failed("the server is stopping".to_owned()));
        };
        controller::advance_clock(&processor, self.log.as_ref(), wall, to)
            .map_err(|error| AdvanceError::Failed(error.to_string()))
    }
}

/// The clock of a cluster, moved through the log alone: ticks carry the virtual time to whoever owns a partition, and
/// Progress says when all of them have come to rest and what is due next.
pub(crate) struct LogClock {
    pub(crate) query: Weak<touchline_query::Handle>,
    pub(crate) log: Arc<dyn Log>,
    /// Stamps what this process appends.
    pub(crate) wall: ManualWall,
}

impl ClockControl for LogClock {
    fn mode(&self) -> &'static str {
        "manual"
    }

    fn advance(&self, to: Time) -> Result<Time, AdvanceError> {
        let failed = |error: String| AdvanceError::Failed(error);
        let Some(query) = self.query.upgrade() else { return Err(failed("the server is stopping".to_owned())) };
        // Whoever else appends may have come further since.
        self.wall.advance(crate::roles::latest(self.log.as_ref()).map_err(|error| failed(error.to_string()))?);
        let mut cluster = Cluster { query: &query, log: self.log.as_ref(), wall: &self.wall };
        controller::advance(&mut cluster, to).map_err(|error| failed(error.to_string()))?;
        Ok(self.wall.now())
    }
}

struct Cluster<'a> {
    query: &'a touchline_query::Handle,
    log: &'a dyn Log,
    wall: &'a ManualWall,
}

impl Driver for Cluster<'_> {
    fn settle(&mut self) -> Result<(), touchline_processor::Error> {
        // What was appended before by anybody lies before these, so the ends are not below it.
        let mut ends = Vec::new();
        for ack in controller::tick_all(self.log, self.wall.now()) {
            ends.push(wait(ack)?.last_offset + 1);
        }
        let deadline = Instant::now() + REST_TIMEOUT;
        loop {
            let seen = self.log.signal().count();
            if self.is_at_rest(&mut ends)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(touchline_processor::Error::Timeout(REST_TIMEOUT.as_secs()));
            }
            self.log.signal().wait_past(seen, Duration::from_millis(10));
        }
    }

    fn next_due(&self) -> Result<Option<Time>, touchline_processor::Error> {
        Ok(self.query.progress().iter().filter_map(|progress| progress.next_due).min())
    }

    fn wall(&self) -> &ManualWall {
        self.wall
    }

    fn log(&self) -> &dyn Log {
        self.log
    }
}

impl Cluster<'_> {
    /// Everything appended so far is applied, published and delivered, and nothing is due.
    fn is_at_rest(&self, ends: &mut [u64]) -> Result<bool, touchline_processor::Error> {
        let progress = self.query.progress();
        for (partition, end) in (0..).zip(ends.iter_mut()) {
            *end = (*end).max(self.log.end(Topic::Events, partition)?);
        }
        let applied = progress.iter().zip(ends.iter()).all(|(progress, end)| progress.offset >= *end);
        let received = |source: usize, destination: usize| {
            progress[destination].loop_received.get(source).copied().unwrap_or_default()
        };
        let delivered = progress.iter().enumerate().all(|(source, progress)| {
            let mut sent = progress.loop_sent.iter().enumerate();
            sent.all(|(destination, sent)| received(source, destination) >= *sent)
        });
        let due = progress.iter().any(|progress| progress.next_due.is_some_and(|due| due <= self.wall.now()));
        Ok(applied && delivered && !due)
    }
}

/// The clock of a process that takes events of a cluster with virtual time: where the log stands, asked each time.
pub(crate) struct LogWall {
    log: KafkaLog,
    latest: ManualWall,
}

impl LogWall {
    pub(crate) fn new(log: KafkaLog, start: Time) -> Self {
        Self { log, latest: ManualWall::new(start) }
    }

    /// Whoever moves the clock ends by telling every partition, the first one, too.
    fn look(&self) -> Result<(), touchline_log::Error> {
        let end = self.log.end_now(Topic::Events, 0)?;
        let last = self.log.read(Topic::Events, 0, end.saturating_sub(1), 1)?;
        if let Some(last) = last.last() {
            self.latest.advance(last.append_time);
        }
        Ok(())
    }
}

impl Wall for LogWall {
    fn now(&self) -> Time {
        if let Err(error) = self.look() {
            tracing::warn!(%error, "the virtual clock cannot be read; it stands where it stood");
        }
        self.latest.now()
    }
}
