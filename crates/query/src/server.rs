//! The gRPC services as routes of one server.

use crate::Handle;
use crate::admin::ClockControl;
use crate::error;
use crate::metrics;
use crate::model::{Entry, ReadModel, Tenant};
use crate::sets;
use crate::shared::Shared;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tonic_health::ServingStatus;
use touchline_model::id::ContactId;
use touchline_model::time::Time;
use touchline_playbook::bundle::{Bundle, Condition};
use touchline_playbook::{compile::compile, condition};
use touchline_proto::v1;
use v1::admin_service_server::AdminServiceServer;
use v1::board_service_server::BoardServiceServer;
use v1::contact_service_server::ContactServiceServer;
use v1::metric_service_server::MetricServiceServer;
use v1::playbook_service_server::PlaybookServiceServer;
use v1::segment_service_server::SegmentServiceServer;
use v1::touch_service_server::TouchServiceServer;

/// Names under which health is reported besides the empty one.
const SERVICES: [&str; 7] = [
    "touchline.v1.ContactService",
    "touchline.v1.SegmentService",
    "touchline.v1.BoardService",
    "touchline.v1.PlaybookService",
    "touchline.v1.TouchService",
    "touchline.v1.MetricService",
    "touchline.v1.AdminService",
];

/// A client's deadline is believed up to this: longer waits hold resources for nobody.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// All services, health and reflection. Must be called inside a tokio runtime: health turns to `SERVING` once the
/// model has caught up, and back when the role stops.
pub async fn routes(handle: &Handle, clock: Arc<dyn ClockControl>) -> Routes {
    let server = Server { shared: Arc::clone(&handle.shared), clock };
    let (reporter, health) = tonic_health::server::health_reporter();
    for name in std::iter::once("").chain(SERVICES) {
        reporter.set_service_status(name, ServingStatus::NotServing).await;
    }
    tokio::spawn(report_health(Arc::clone(&handle.shared), reporter));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(touchline_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptor was written by our own build");
    Routes::new(health)
        .add_service(reflection)
        .add_service(ContactServiceServer::new(server.clone()))
        .add_service(SegmentServiceServer::new(server.clone()))
        .add_service(BoardServiceServer::new(server.clone()))
        .add_service(PlaybookServiceServer::new(server.clone()))
        .add_service(TouchServiceServer::new(server.clone()))
        .add_service(MetricServiceServer::new(server.clone()))
        .add_service(AdminServiceServer::new(server))
}

async fn report_health(shared: Arc<Shared>, reporter: tonic_health::server::HealthReporter) {
    // A log that takes days to read is not caught up before it is: there is no deadline to this.
    let never = Instant::now() + Duration::from_secs(365 * 86_400);
    let caught_up = shared.wait_for(never, |model| model.caught_up().then_some(())).await;
    if caught_up.is_ok() {
        for name in std::iter::once("").chain(SERVICES) {
            reporter.set_service_status(name, ServingStatus::Serving).await;
        }
        Arc::clone(&shared).stopped().await;
    }
    for name in std::iter::once("").chain(SERVICES) {
        reporter.set_service_status(name, ServingStatus::NotServing).await;
    }
}

/// What every service answers from.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Arc<dyn ClockControl>,
}

impl Server {
    /// When a request has to be answered: a little before the client gives up, so that it learns why.
    pub(crate) fn deadline<T>(&self, request: &Request<T>) -> Instant {
        let asked = request.metadata().get("grpc-timeout").and_then(|value| timeout(value.to_str().ok()?));
        let allowed = asked.map(|asked| asked.min(DEADLINE_MAX) * 9 / 10).unwrap_or(self.shared.options.deadline);
        Instant::now() + allowed
    }

    /// Answers a question about the model on a thread that may block: it may read the log.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Shared) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let shared = Arc::clone(&self.shared);
        let answer = tokio::task::spawn_blocking(move || question(&shared)).await;
        answer.unwrap_or_else(|_| Err(error::status(Code::Internal, "INTERNAL", "the question could not be answered")))
    }
}

/// Counts an answer.
pub(crate) async fn answer<T>(
    method: &'static str,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<Response<T>, Status> {
    let result = work.await;
    metrics::answered(method, result.as_ref().map_or_else(Status::code, |_| Code::Ok));
    result.map(Response::new)
}

/// The tenant, or one of whom nothing is known.
pub(crate) fn with_tenant<T>(model: &ReadModel, tenant: &str, ask: impl FnOnce(&Tenant) -> T) -> T {
    match model.tenant(tenant) {
        Some(tenant) => ask(tenant),
        None => ask(&Tenant::default()),
    }
}

/// The condition of a filter under the tenant's bundle; an empty filter holds for everybody.
pub(crate) fn filter_condition(tenant: &Tenant, field: &str, filter: &str) -> Result<Condition, Status> {
    if filter.trim().is_empty() {
        return Ok(Condition::And(Vec::new()));
    }
    let parsed = match tenant.bundle() {
        Some(bundle) => condition::parse(filter, bundle),
        None => condition::parse(filter, &no_bundle()),
    };
    parsed.map_err(|diagnostic| error::filter(field, &diagnostic))
}

/// What is in force before the first activation.
pub(crate) fn no_bundle() -> Bundle {
    compile(&[], 0).expect("no sources have no errors")
}

/// Contacts for which a condition holds at a moment, timed under `kind`.
pub(crate) fn evaluate(
    kind: &'static str,
    condition: &Condition,
    tenant: &Tenant,
    at: Time,
) -> (roaring::RoaringBitmap, Duration) {
    let start = std::time::Instant::now();
    let members = sets::evaluate(condition, tenant, at);
    let took = start.elapsed();
    metrics::evaluated(kind, took);
    (members, took)
}

/// The contact of a public id, or `NOT_FOUND`.
pub(crate) fn contact<'a>(model: &'a ReadModel, tenant: &str, id: &ContactId) -> Result<&'a Entry, Status> {
    let entry = model.tenant(tenant).and_then(|tenant| tenant.by_id(id));
    entry.ok_or_else(|| {
        let message = "no such contact\nhint: a contact that was just written is there after its token";
        error::status(Code::NotFound, "NO_CONTACT", message)
    })
}

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let number: u64 = text.strip_suffix(unit).filter(|digits| digits.len() <= 8)?.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(number * 3_600)),
        'M' => Some(Duration::from_secs(number * 60)),
        'S' => Some(Duration::from_secs(number)),
        'm' => Some(Duration::from_millis(number)),
        'u' => Some(Duration::from_micros(number)),
        'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_of_clients_are_read() {
        for (text, expected) in [
            ("50m", Some(Duration::from_millis(50))),
            ("2S", Some(Duration::from_secs(2))),
            ("1H", Some(Duration::from_secs(3_600))),
            ("123456789S", None),
            ("5", None),
            ("", None),
            ("5x", None),
        ] {
            assert_eq!(timeout(text), expected, "{text}");
        }
    }
}
