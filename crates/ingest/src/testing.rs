//! A bench for tests: ingest over a memory log that fails on demand, with its metrics and its log lines.

use crate::http::{Ingest, Probes};
use crate::settings::{Archive, Limits, Relay, Settings};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use futures::channel::oneshot;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use touchline_channels::account::{Secret, Taobao, Wecom, Youzan};
use touchline_log::memory::{Fault, MemoryLog};
use touchline_log::{Ack, Appended, Error, Log, ManualWall, Marker, NewRecord, Signal, StoredRecord, TakenOver, Topic};
use touchline_model::event::Event;
use touchline_model::record::Input;
use touchline_model::time::Time;
use touchline_proto::decode_input;
use tower::ServiceExt;

/// 2026-03-02T10:00:01+08:00.
pub(crate) const NOW: Time = Time(1_772_416_801_000);
/// In every secret and every message text of these tests: must not come out anywhere.
pub(crate) const CANARY: &str = "CANARY";
pub(crate) const LINK_KEY: &str = "CANARY-link-key-0123";
const PARTITIONS: u32 = 4;

/// What the log does with appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Up,
    Refused,
    LostAck,
    Busy,
    /// Appends are never acknowledged.
    Stuck,
}

pub(crate) struct TestLog {
    inner: MemoryLog,
    fate: Arc<Mutex<Fate>>,
    held: Mutex<Vec<oneshot::Sender<Result<Appended, Error>>>>,
}

impl Log for TestLog {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }
    fn cluster_id(&self) -> String {
        self.inner.cluster_id()
    }
    fn append(&self, topic: Topic, partition: u32, records: Vec<NewRecord>) -> Ack<Appended> {
        let (sender, ack) = oneshot::channel();
        // Copied out: the memory log's fault hook asks for it, too.
        let fate = *self.fate.lock().unwrap();
        match fate {
            Fate::Busy => sender.send(Err(Error::Busy { waiting_bytes: 1 })).unwrap(),
            Fate::Stuck => self.held.lock().unwrap().push(sender),
            Fate::Up | Fate::Refused | Fate::LostAck => return self.inner.append(topic, partition, records),
        }
        ack
    }
    fn read(&self, topic: Topic, partition: u32, offset: u64, records_max: usize) -> Result<Vec<StoredRecord>, Error> {
        self.inner.read(topic, partition, offset, records_max)
    }
    fn end(&self, topic: Topic, partition: u32) -> Result<u64, Error> {
        self.inner.end(topic, partition)
    }
    fn take_over(&self, partition: u32) -> Ack<TakenOver> {
        self.inner.take_over(partition)
    }
    fn published(&self, partition: u32) -> Result<Marker, Error> {
        self.inner.published(partition)
    }
    fn signal(&self) -> &Signal {
        self.inner.signal()
    }
}

/// Metrics and log lines are those of this thread: use it from one single-threaded test.
pub(crate) struct Bench {
    pub(crate) ingest: Ingest,
    log: Arc<TestLog>,
    metrics: PrometheusHandle,
    lines: Arc<Mutex<Vec<u8>>>,
    _recorder: metrics::LocalRecorderGuard<'static>,
    _subscriber: tracing::subscriber::DefaultGuard,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(settings())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let fate = Arc::new(Mutex::new(Fate::Up));
        let wall = ManualWall::new(NOW);
        let asked = Arc::clone(&fate);
        let hook = Box::new(move |_: touchline_log::memory::Call<'_>| match *asked.lock().unwrap() {
            Fate::Refused => Fault::Refused,
            Fate::LostAck => Fault::LostAck,
            Fate::Up | Fate::Busy | Fate::Stuck => Fault::None,
        });
        let inner = MemoryLog::with_faults(PARTITIONS, Arc::new(wall.clone()), hook);
        let log = Arc::new(TestLog { inner, fate, held: Mutex::new(Vec::new()) });
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        let metrics = recorder.handle();
        let rendered = metrics.clone();
        let probes = Probes {
            ready: Arc::new(|| Err("replaying".to_owned())),
            metrics: Arc::new(move || rendered.render()),
            build: serde_json::json!({"version": "0"}),
        };
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Lines(Arc::clone(&lines));
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        Self {
            ingest: Ingest::new(settings, Arc::<TestLog>::clone(&log), Arc::new(wall), probes),
            log,
            metrics,
            lines,
            _recorder: metrics::set_default_local_recorder(recorder),
            _subscriber: tracing::subscriber::set_default(subscriber),
        }
    }

    pub(crate) fn fate(&self, fate: Fate) {
        *self.log.fate.lock().unwrap() = fate;
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.ingest.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.into()).unwrap() }
    }

    /// Everything in the log, partition by partition; checks that every record lies in the partition of its key.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for partition in 0..PARTITIONS {
            for record in self.log.read(Topic::Events, partition, 0, 10_000).unwrap() {
                let Input::Event(event) = decode_input(&record.value).unwrap() else { panic!("not an event") };
                assert_eq!(event.key().partition(PARTITIONS), partition);
                assert_eq!(record.key.as_deref(), Some(event.key().as_str().as_bytes()));
                assert_eq!(record.headers.get("ce_id"), Some(event.id.to_hex().as_bytes()));
                events.push(*event);
            }
        }
        events
    }

    /// The sample of a counter as the exposition shows it, e.g. `touchline_link_clicks_total{result="invalid"}`.
    pub(crate) fn counted(&self, sample: &str) -> u64 {
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// All that was logged and counted so far.
    pub(crate) fn said(&self) -> String {
        format!("{}\n{}", String::from_utf8_lossy(&self.lines.lock().unwrap()), self.metrics.render())
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Clone)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One account of each channel for tenant `acme`; a stuck log is given up after 20 ms.
pub(crate) fn settings() -> Settings {
    let archive = Archive { account: wecom(), token: Some(Secret::new("CANARY-archive")) };
    let relay = Relay { account: taobao(), token: Some(Secret::new("CANARY-relay")) };
    Settings {
        site: "site".into(),
        link_key: Some(Secret::new(LINK_KEY)),
        tenants: ["acme".to_owned()].into(),
        wecom: [("main".to_owned(), wecom())].into(),
        archive: [("main".to_owned(), archive), ("local".to_owned(), Archive { account: wecom(), token: None })].into(),
        youzan: [("shop".to_owned(), youzan())].into(),
        taobao: [("tmall".to_owned(), relay), ("local".to_owned(), Relay { account: taobao(), token: None })].into(),
        limits: Limits { append_timeout_ms: 20, click_timeout_ms: 20, ..Limits::default() },
        ..Settings::default()
    }
}

/// Token and key of the official vectors.
pub(crate) fn wecom() -> Wecom {
    Wecom {
        tenant: "acme".into(),
        corp_id: "wx5823bf96d3bd56c7".into(),
        receive_id: "wx5823bf96d3bd56c7".into(),
        token: Secret::new("QDG6eK"),
        aes_key: Secret::new("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"),
        staff: ["zhangsan".to_owned()].into(),
    }
}

pub(crate) fn youzan() -> Youzan {
    Youzan {
        tenant: "acme".into(),
        client_id: "client".into(),
        client_secret: Secret::new("CANARY-secret"),
        shops: [160].into(),
    }
}

pub(crate) fn taobao() -> Taobao {
    Taobao { tenant: "acme".into(), app_key: "12345678".into(), sellers: [174_265_168].into() }
}
