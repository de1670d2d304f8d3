//! What a process runs, and in which order it starts, listens and stops.

use crate::schemas;
use anyhow::Context;
use metrics::gauge;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use touchline_ingest::{Ingest, Probes};
use touchline_log::{Log, Topic, Wall};
use touchline_model::time::Time;
use touchline_processor::runner::Health;
use touchline_query::admin::ClockControl;
use tracing_subscriber::EnvFilter;

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
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}

/// What a process runs. A role that is not there is another process's.
pub(crate) struct Parts {
    /// The log that is watched for a failure.
    pub(crate) log: Arc<dyn Log>,
    /// Why the process cannot go on, if it cannot.
    pub(crate) failure: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    pub(crate) processor: Option<Arc<touchline_processor::Handle>>,
    /// What gives partitions to the processor; dropped before it.
    pub(crate) ownership: Option<Box<dyn Send>>,
    pub(crate) query: Option<QueryPart>,
    pub(crate) ingest: Option<IngestPart>,
}

/// The query role, and how the clock is moved through it.
pub(crate) struct QueryPart {
    pub(crate) handle: Arc<touchline_query::Handle>,
    pub(crate) clock: Arc<dyn ClockControl>,
}

/// Where events are appended, and what stamps `received_at`.
pub(crate) struct IngestPart {
    pub(crate) settings: touchline_ingest::Settings,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) wall: Arc<dyn Wall>,
}

/// The roles of one process, running.
pub(crate) struct Roles {
    parts: Parts,
    probes: Probes,
    intake: Option<Ingest>,
    stopping: Arc<AtomicBool>,
    close: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
}

impl Roles {
    /// Takes what runs already; nothing listens yet.
    pub(crate) fn new(mut parts: Parts, rendered: PrometheusHandle) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let probes = Probes {
            ready: readiness(&parts, Arc::clone(&stopping)),
            metrics: Arc::new(move || rendered.render()),
            build: serde_json::json!({"name": "touchline", "version": env!("CARGO_PKG_VERSION")}),
        };
        let ingest = parts.ingest.take();
        let intake = ingest.map(|part| Ingest::new(part.settings, part.log, part.wall, probes.clone()));
        let (close, _) = watch::channel(false);
        Self { parts, probes, intake, stopping, close, servers: Vec::new() }
    }

    /// Starts the listeners. A process without ingest answers probes and metrics on `http`; one without ingest and
    /// query answers only health on `grpc`.
    pub(crate) async fn listen(&mut self, http: TcpListener, grpc: TcpListener) {
        let router = self
            .intake
            .as_ref()
            .map_or_else(|| self.probes.router(), |intake| intake.router().merge(schemas::router()));
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        let closed = wait_closed(self.close.subscribe());
        self.servers.push(tokio::spawn(async move {
            if let Err(error) = axum::serve(http, router).with_graceful_shutdown(closed).await {
                tracing::error!(%error, "the http listener ended");
            }
        }));
        let mut routes = match &self.parts.query {
            Some(query) => touchline_query::server::routes(&query.handle, Arc::clone(&query.clock)).await,
            None => tonic::service::Routes::default(),
        };
        if let Some(intake) = &self.intake {
            routes = routes.add_service(intake.grpc());
        }
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
        let (log, failure) = (Arc::clone(&self.parts.log), Arc::clone(&self.parts.failure));
        let stopping = Arc::clone(&self.stopping);
        let watched = tokio::task::spawn_blocking(move || {
            loop {
                let seen = log.signal().count();
                if let Some(reason) = failure() {
                    return reason;
                }
                if stopping.load(Ordering::SeqCst) {
                    return "stopped".to_owned();
                }
                log.signal().wait_past(seen, WATCH_INTERVAL);
            }
        });
        watched.await.unwrap_or_else(|error| format!("the watcher of the log died: {error}"))
    }

    /// Intake first, then what is applied is published and flushed.
    pub(crate) async fn stop(self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.parts.log.signal().notify();
        let Self { parts, servers, close, intake, probes, .. } = self;
        let Parts { log, failure, processor, ownership, query, .. } = parts;
        drop(failure);
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
        drop((intake, probes));
        let stopped = tokio::task::spawn_blocking(move || {
            // The last handle: dropping it publishes what is applied, flushes and joins the threads. Only then others
            // are given the partitions.
            drop(processor);
            drop(ownership);
            drop(log);
        });
        if ended.is_err() || stopped.await.is_err() {
            tracing::error!("a role panicked while stopping");
        }
    }
}

fn readiness(parts: &Parts, stopping: Arc<AtomicBool>) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
    let processor = parts.processor.as_ref().map(Arc::downgrade);
    let query = parts.query.as_ref().map(|query| Arc::downgrade(&query.handle));
    Arc::new(move || {
        if stopping.load(Ordering::SeqCst) {
            return Err("stopping".to_owned());
        }
        query.as_ref().map_or(Ok(()), query_ready)?;
        processor.as_ref().map_or(Ok(()), processor_ready)
    })
}

fn query_ready(query: &Weak<touchline_query::Handle>) -> Result<(), String> {
    let Some(query) = query.upgrade() else { return Err("stopping".to_owned()) };
    if !query.is_alive() {
        return Err("the read model has stopped".to_owned());
    }
    if query.caught_up() { Ok(()) } else { Err("the read model is catching up".to_owned()) }
}

fn processor_ready(processor: &Weak<touchline_processor::Handle>) -> Result<(), String> {
    let Some(processor) = processor.upgrade() else { return Err("stopping".to_owned()) };
    match processor.health() {
        Health::Running => Ok(()),
        Health::Failed => Err("the log failed".to_owned()),
        Health::Degraded => {
            let stopped = processor.status().into_iter().enumerate();
            let reasons = stopped.filter_map(|(partition, status)| Some(format!("{partition}: {}", status.error?)));
            Err(format!("stopped partitions: {}", reasons.collect::<Vec<_>>().join("; ")))
        }
    }
}

async fn wait_closed(mut close: watch::Receiver<bool>) {
    // A dropped sender closes as well.
    let _ = close.wait_for(|closed| *closed).await;
}

/// Installs the recorder; once per process.
pub(crate) fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new().set_buckets(&BUCKETS_SECONDS)?.install_recorder()?;
    touchline_ingest::describe();
    touchline_processor::metrics::describe();
    touchline_kafka::metrics::describe();
    metrics::describe_gauge!("touchline_build_info", "1, with the version as a label");
    gauge!("touchline_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Append time of the last event in the log.
pub(crate) fn latest(log: &dyn Log) -> anyhow::Result<Time> {
    let mut latest = Time(i64::MIN);
    for partition in 0..log.partitions() {
        let end = log.end(Topic::Events, partition)?;
        let last = log.read(Topic::Events, partition, end.saturating_sub(1), 1);
        let last = last.with_context(|| format!("reading the end of events, partition {partition}"))?;
        latest = last.last().map_or(latest, |record| latest.max(record.append_time));
    }
    Ok(latest)
}
