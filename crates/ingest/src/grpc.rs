//! gRPC `IngestService`: the open door for programs that speak protobuf.

use crate::http::{Ingest, bears};
use crate::metrics::{self, EventResult};
use crate::publish::Unpublished;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use tonic::{Request, Response, Status};
use touchline_channels::api::{self, BATCH_EVENTS_MAX};
use touchline_log::Log;
use touchline_model::event::{Channel, Event, Private};
use touchline_model::id::{EventId, Position};
use touchline_model::kind::Kind;
use touchline_model::taxonomy::{self, OpenSet};
use touchline_model::time::Time;
use touchline_proto::v1::ingest_service_server::IngestService;
use touchline_proto::{encode_event, event_from, v1};

/// Kinds that may come from outside: those with an example.
static ADMITTED: LazyLock<BTreeSet<Kind>> =
    LazyLock::new(|| Kind::ALL.iter().copied().filter(|kind| api::example(*kind).is_some()).collect());

/// The service. Made by [`Ingest::grpc`].
pub struct Grpc(Ingest);

impl Grpc {
    pub(crate) const fn new(ingest: Ingest) -> Self {
        Self(ingest)
    }

    fn check(&self, wire: v1::Event) -> Result<Event, Rejected> {
        let event = read(wire, self.0.publisher().now())?;
        if !self.0.knows_tenant(&event.tenant) {
            return Err(Rejected::new("unknown_tenant", "no such tenant"));
        }
        Ok(event)
    }
}

#[tonic::async_trait]
impl IngestService for Grpc {
    /// Each event is accepted or rejected on its own. `UNAVAILABLE` when the log did not take at least one of them:
    /// sending the request again is safe.
    ///
    /// The server derives the id: from (`native.type`, `native.id`), which are the `source` and `id` of
    /// `POST /v1/events`, else from the event's bytes. An `event_id` that is there must be the derived one.
    async fn publish_events(
        &self,
        request: Request<v1::PublishEventsRequest>,
    ) -> Result<Response<v1::PublishEventsResponse>, Status> {
        let ingest = &self.0;
        let token = ingest.settings().events_token.as_ref();
        if token.is_some_and(|token| !bears(request.metadata().as_ref(), token)) {
            metrics::rejected(Channel::Api, "unauthorized");
            return Err(Status::unauthenticated("not authorised\nhint: send `authorization: Bearer …`"));
        }
        let events = request.into_inner().events;
        if events.is_empty() || events.len() > BATCH_EVENTS_MAX {
            metrics::rejected(Channel::Api, "too_many");
            let text = format!("{} events, 1 to {BATCH_EVENTS_MAX} allowed\nhint: split the batch", events.len());
            return Err(Status::invalid_argument(text));
        }
        let (mut checked, mut valid) = (Vec::with_capacity(events.len()), Vec::new());
        for wire in events {
            let event = self.check(wire);
            checked.push(event.as_ref().map(|event| event.id).map_err(Clone::clone));
            match event {
                Ok(event) => valid.push(event),
                Err(rejected) => {
                    metrics::event(Channel::Api, EventResult::Rejected);
                    metrics::rejected(Channel::Api, rejected.reason);
                }
            }
        }
        let published = ingest.publisher().publish(valid, ingest.settings().limits.append_timeout()).await;
        if let Some(Err(error)) = published.iter().find(|result| matches!(result, Err(error) if !error.is_content())) {
            return Err(Status::unavailable(error.to_string()));
        }
        let token = token_of(ingest, &published);
        let mut published = published.into_iter();
        let results = checked
            .into_iter()
            .map(|checked| match checked {
                Ok(id) => result(id, published.next().expect("one result per valid event")),
                Err(rejected) => rejected.into(),
            })
            .collect();
        Ok(Response::new(v1::PublishEventsResponse { results, token: Some(token) }))
    }
}

/// The token that waits for everything at `positions`.
pub(crate) fn token(log: &dyn Log, positions: impl Iterator<Item = Position>) -> v1::ConsistencyToken {
    let mut offsets = vec![0; log.partitions() as usize];
    for Position { partition, offset } in positions {
        let next = &mut offsets[partition as usize];
        *next = offset.saturating_add(1).max(*next);
    }
    v1::ConsistencyToken { epoch: log.cluster_id(), offsets, bundle: 0 }
}

fn token_of(ingest: &Ingest, published: &[Result<Position, Unpublished>]) -> v1::ConsistencyToken {
    token(ingest.publisher().log(), published.iter().filter_map(|result| result.as_ref().ok().copied()))
}

/// Why an event is rejected for what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rejected {
    reason: &'static str,
    detail: String,
}

impl Rejected {
    fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl From<Rejected> for v1::PublishResult {
    fn from(Rejected { reason, detail }: Rejected) -> Self {
        Self { status: "rejected".to_owned(), reason: reason.to_owned(), detail, ..Self::default() }
    }
}

fn result(id: EventId, published: Result<Position, Unpublished>) -> v1::PublishResult {
    let event_id = id.0.to_vec();
    match published {
        Ok(Position { partition, offset }) => v1::PublishResult {
            status: "accepted".to_owned(),
            position: Some(v1::Position { partition, offset }),
            event_id,
            ..v1::PublishResult::default()
        },
        Err(error) => v1::PublishResult { event_id, ..Rejected::new(error.reason(), error.to_string()).into() },
    }
}

/// An event from outside, with its id derived and our clock in it.
fn read(mut wire: v1::Event, received_at: Time) -> Result<Event, Rejected> {
    let given = std::mem::replace(&mut wire.event_id, vec![0; 16]);
    wire.received_at_ms = 0;
    if wire.channel.is_empty() {
        wire.channel = Channel::Api.name().to_owned();
    }
    let mut event = event_from(wire).map_err(|error| Rejected::new("malformed", error.to_string()))?;
    check_outside(&event)?;
    event.id = derive_id(&event);
    if !given.is_empty() && given != event.id.0 {
        return Err(Rejected::new("wrong_id", "event_id is not the derived one; hint: leave it empty"));
    }
    event.received_at = received_at;
    if event.occurred_at.is_some_and(|time| !time.is_plausible()) {
        metrics::time_dropped(event.channel);
        event.occurred_at = None;
    }
    Ok(event)
}

/// What outside callers may not send. Errors name fields of the taxonomy, never the sender's.
fn check_outside(event: &Event) -> Result<(), Rejected> {
    if !ADMITTED.contains(&event.kind) {
        return Err(Rejected::new("forbidden_kind", format!("kind `{}` does not come from outside", event.kind)));
    }
    if event.kind == Kind::Custom && Kind::parse(&event.custom_name).is_some() {
        return Err(Rejected::new("wrong_field", "custom.name must not be the name of a kind"));
    }
    if event.channel == Channel::Internal {
        return Err(Rejected::new("wrong_field", "channel `internal` does not come from outside"));
    }
    let Private::Plain { fields: private, .. } = &event.private else {
        return Err(Rejected::new("wrong_field", "private must be plain: sealing and erasing happen inside"));
    };
    let known = |name: &str| taxonomy::fields(event.kind).iter().any(|field| field.name == name);
    let open = taxonomy::open(event.kind) != OpenSet::Closed;
    if !event.fields.iter().chain(private.iter()).all(|(name, _)| open || known(name)) {
        return Err(Rejected::new("unknown_field", "a field that the kind does not have; hint: see the schema"));
    }
    let misplaced = event.fields.iter().any(|(name, _)| taxonomy::is_private(event.kind, name))
        || private.iter().any(|(name, _)| !taxonomy::is_private(event.kind, name));
    if misplaced {
        return Err(Rejected::new("wrong_field", "personal fields belong into `private`, all others into the body"));
    }
    Ok(())
}

/// As for `POST /v1/events`: by source and id where there is one, else by everything it says.
fn derive_id(event: &Event) -> EventId {
    let (tenant, channel, account) = (&event.tenant, event.channel.name(), &event.account);
    if event.native.id.is_empty() {
        return EventId::derive(tenant, channel, account, "api", &encode_event(event));
    }
    EventId::of_source(tenant, channel, account, &event.native.kind, &event.native.id)
}

#[cfg(test)]
mod tests;
