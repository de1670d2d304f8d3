//! All roles over the log of one directory, without a broker.

use crate::clock::{Clock, EmbeddedClock};
use crate::config::Config;
use crate::roles::{IngestPart, Parts, QueryPart, latest};
use anyhow::Context;
use std::path::Path;
use std::sync::Arc;
use touchline_log::Log;
use touchline_processor::runner::Health;
use touchline_processor::{Faults, Options as ProcessorOptions, Pacing, Processor};
use touchline_query::{Options as QueryOptions, Query};
use touchline_rocks::{EmbeddedLog, Links, NewLog, RocksStores, SharedCache};

/// Opens the directory and starts processor and query.
pub(crate) fn start(data_dir: &Path, partitions: u32, config: &Config, clock: &Clock) -> anyhow::Result<Parts> {
    let settings = config.ingest.load().context("in the configuration, section [ingest]")?;
    let new = NewLog { partitions, cluster_id: uuid::Uuid::new_v4().to_string() };
    let embedded = Arc::new(EmbeddedLog::open(&data_dir.join("log"), new, clock.wall()).context("opening the log")?);
    if let Clock::Manual(wall) = clock {
        // Virtual time goes on where the log stopped.
        wall.advance(latest(embedded.as_ref())?);
    }
    let log: Arc<dyn Log> = Arc::clone(&embedded) as Arc<dyn Log>;
    let cache = SharedCache::new(config.processor.cache_bytes());
    let checkpoints = config.processor.checkpoint_dir.clone();
    let stores = RocksStores::new(data_dir.join("store"), checkpoints, Links::WherePossible, cache);
    let options = ProcessorOptions {
        pacing: clock.pacing(),
        faults: Faults::from_env(),
        checkpoint_every: config.processor.checkpoint_every(),
        ..ProcessorOptions::default()
    };
    let processor = Arc::new(Processor::start_all(Arc::clone(&log), Arc::new(stores), clock.wall(), options)?);
    let options = QueryOptions { wall: clock.wall(), ..QueryOptions::default() };
    let query = Arc::new(Query::start(Arc::clone(&log), options));
    let control =
        Arc::new(EmbeddedClock { processor: Arc::downgrade(&processor), log: Arc::clone(&log), clock: clock.clone() });
    let watched = Arc::downgrade(&processor);
    let failure = move || match (embedded.failed(), watched.upgrade().map(|processor| processor.health())) {
        (Some(error), _) => Some(error.to_string()),
        (None, Some(Health::Failed)) => Some("the log failed under the processor".to_owned()),
        (None, _) => None,
    };
    Ok(Parts {
        log: Arc::clone(&log),
        failure: Arc::new(failure),
        processor: Some(processor),
        ownership: None,
        query: Some(QueryPart { handle: query, clock: control }),
        ingest: Some(IngestPart { settings, log, wall: clock.wall() }),
    })
}

impl Clock {
    /// Whether pauses take wall time.
    pub(crate) const fn pacing(&self) -> Pacing {
        match self {
            Self::System => Pacing::Real,
            Self::Manual(_) => Pacing::Virtual,
        }
    }
}
