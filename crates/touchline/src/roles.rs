//! Wiring: which adapters, which roles, in which order they start and stop.

use crate::config::Config;
use crate::dev::Clock;
use anyhow::Context;
use metrics::gauge;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use touchline_ingest::{Ingest, Probes};
use touchline_log::{Log, Topic};
use touchline_model::time::Time;
use touchline_processor::runner::Health;
use touchline_processor::{Faults, Options as ProcessorOptions, Pacing, Processor, controller};
use touchline_query::admin::{AdvanceError, ClockControl};
use touchline_query::{Options as QueryOptions, Query};
use touchline_rocks::{EmbeddedLog, Links, NewLog, RocksStores, SharedCache};
use tracing_subscriber::EnvFilter;

/// Block cache and write buffers of all stores together.
const CACHE_BYTES: usize = 256 << 20;
/// How long answers on their way may take once intake is closed.
const CONNECTIONS_END_WITHIN: Duration = Duration::from_secs(2);
/// How often the log is looked at for a failure when nothing moves.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Buckets of every histogram, in seconds: from an append to a touch that a day of outage delayed.
const BUCKETS_SECONDS: [f64; 19] = [
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
    3_600.0, 21_600.0,
];

/// Logs to stderr; `RUST_LOG` chooses what, default: warnings and what the roles say.
pub(crate) fn init_tracing() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,touchline=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// Every role of one process.
pub(crate) struct Roles {
    log: Arc<EmbeddedLog>,
    processor: Arc<touchline_processor::Handle>,
    query: Arc<touchline_query::Handle>,
    ingest: Ingest,
    told: Arc<Told>,
    stopping: Arc<AtomicBool>,
    close: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
}

impl Roles {
    /// Opens the directory and starts processor and query; nothing listens yet.
    pub(crate) fn start(data_dir: &Path, partitions: u32, config: &Config, clock: Clock) -> anyhow::Result<Self> {
        let settings = config.ingest.load().context("in the configuration, section [ingest]")?;
        let rendered = install_metrics()?;
        let new = NewLog { partitions, cluster_id: uuid::Uuid::new_v4().to_string() };
        let log = Arc::new(EmbeddedLog::open(&data_dir.join("log"), new, clock.wall()).context("opening the log")?);
        if let Clock::Manual(wall) = &clock {
            // Virtual time goes on where the log stopped.
            wall.advance(latest(log.as_ref())?);
        }
        let cache = SharedCache::new(CACHE_BYTES);
        let stores = RocksStores::new(data_dir.join("store"), None, Links::WherePossible, cache);
        let pacing = if matches!(clock, Clock::Manual(_)) { Pacing::Virtual } else { Pacing::Real };
        let options = ProcessorOptions { pacing, faults: Faults::from_env(), ..ProcessorOptions::default() };
        let shared: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
        let processor = Arc::new(Processor::start_all(Arc::clone(&shared), Arc::new(stores), clock.wall(), options)?);
        let options = QueryOptions { wall: clock.wall(), ..QueryOptions::default() };
        let query = Arc::new(Query::start(Arc::clone(&shared), options));
        let stopping = Arc::new(AtomicBool::new(false));
        let told =
            Arc::new(Told { processor: Arc::downgrade(&processor), log: Arc::clone(&shared), clock: clock.clone() });
        let probes = Probes {
            ready: readiness(Arc::downgrade(&processor), Arc::downgrade(&query), Arc::clone(&stopping)),
            metrics: Arc::new(move || rendered.render()),
            build: serde_json::json!({"name": "touchline", "version": env!("CARGO_PKG_VERSION")}),
        };
        let ingest = Ingest::new(settings, shared, clock.wall(), probes);
        let (close, _) = watch::channel(false);
        Ok(Self { log, processor, query, ingest, told, stopping, close, servers: Vec::new() })
    }

    /// Starts the listeners.
    pub(crate) async fn listen(&mut self, http: TcpListener, grpc: TcpListener) {
        let router = self.ingest.router().into_make_service_with_connect_info::<SocketAddr>();
        let closed = wait_closed(self.close.subscribe());
        self.servers.push(tokio::spawn(async move {
            if let Err(error) = axum::serve(http, router).with_graceful_shutdown(closed).await {
                tracing::error!(%error, "the http listener ended");
            }
        }));
        let clock = Arc::clone(&self.told) as Arc<dyn ClockControl>;
        let routes = touchline_query::server::routes(&self.query, clock).await.add_service(self.ingest.grpc());
        let closed = wait_closed(self.close.subscribe());
        self.servers.push(tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_routes(routes);
            if let Err(error) = server.serve_with_incoming_shutdown(TcpListenerStream::new(grpc), closed).await {
                tracing::error!(%error, "the grpc listener ended");
            }
        }));
    }

    /// Resolves when the process cannot go on, with the reason.
    pub(crate) async fn failed(&self) -> String {
        let (log, processor) = (Arc::clone(&self.log), Arc::downgrade(&self.processor));
        let watched = tokio::task::spawn_blocking(move || watch(&log, &processor));
        watched.await.unwrap_or_else(|error| format!("the watcher of the log died: {error}"))
    }

    /// Intake first, then what is applied is published and flushed.
    pub(crate) async fn stop(self) {
        self.stopping.store(true, Ordering::SeqCst);
        let Self { log, processor, query, servers, close, told, ingest, .. } = self;
        // Streams end first, or the listeners would wait for them.
        let ended = tokio::task::spawn_blocking(move || drop(query)).await;
        let _ = close.send(true);
        // Whoever is still connected and says nothing must not hold up the end.
        for server in servers {
            let abort = server.abort_handle();
            if tokio::time::timeout(CONNECTIONS_END_WITHIN, server).await.is_err() {
                abort.abort();
            }
        }
        drop((told, ingest));
        let stopped = tokio::task::spawn_blocking(move || {
            // The last handle: dropping it publishes what is applied, flushes and joins the threads.
            drop(processor);
            drop(log);
        });
        if ended.is_err() || stopped.await.is_err() {
            tracing::error!("a role panicked while stopping");
        }
    }
}

/// Blocks until the log has failed or the processor is gone.
fn watch(log: &EmbeddedLog, processor: &Weak<touchline_processor::Handle>) -> String {
    loop {
        let seen = log.signal().count();
        if let Some(error) = log.failed() {
            return error.to_string();
        }
        match processor.upgrade().map(|processor| processor.health()) {
            Some(Health::Failed) => return "the log failed under the processor".to_owned(),
            Some(Health::Running | Health::Degraded) => {}
            // Stopping: whoever waits for this is gone as well.
            None => return "stopped".to_owned(),
        }
        log.signal().wait_past(seen, WATCH_INTERVAL);
    }
}

fn readiness(
    processor: Weak<touchline_processor::Handle>,
    query: Weak<touchline_query::Handle>,
    stopping: Arc<AtomicBool>,
) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
    Arc::new(move || {
        if stopping.load(Ordering::SeqCst) {
            return Err("stopping".to_owned());
        }
        let (Some(processor), Some(query)) = (processor.upgrade(), query.upgrade()) else {
            return Err("stopping".to_owned());
        };
        if !query.is_alive() {
            return Err("the read model has stopped".to_owned());
        }
        if !query.caught_up() {
            return Err("the read model is catching up".to_owned());
        }
        match processor.health() {
            Health::Running => Ok(()),
            Health::Failed => Err("the log failed".to_owned()),
            Health::Degraded => {
                let stopped = processor.status().into_iter().enumerate();
                let reasons = stopped.filter_map(|(partition, status)| Some(format!("{partition}: {}", status.error?)));
                Err(format!("stopped partitions: {}", reasons.collect::<Vec<_>>().join("; ")))
            }
        }
    })
}

async fn wait_closed(mut close: watch::Receiver<bool>) {
    // A dropped sender closes as well.
    let _ = close.wait_for(|closed| *closed).await;
}

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new().set_buckets(&BUCKETS_SECONDS)?.install_recorder()?;
    touchline_ingest::describe();
    touchline_processor::metrics::describe();
    metrics::describe_gauge!("touchline_build_info", "1, with the version as a label");
    gauge!("touchline_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Append time of the last event in the log.
fn latest(log: &dyn Log) -> anyhow::Result<Time> {
    let mut latest = Time(i64::MIN);
    for partition in 0..log.partitions() {
        let end = log.end(Topic::Events, partition)?;
        let last = log.read(Topic::Events, partition, end.saturating_sub(1), 1)?;
        latest = last.last().map_or(latest, |record| latest.max(record.append_time));
    }
    Ok(latest)
}

/// What query may ask of the processor in the same process.
struct Told {
    processor: Weak<touchline_processor::Handle>,
    log: Arc<dyn Log>,
    clock: Clock,
}

impl ClockControl for Told {
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
