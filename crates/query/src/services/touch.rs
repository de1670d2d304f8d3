//! The numbered streams for those who act on them, and the way back for what became of a touch.

use super::contact::identifier;
use super::timeline::record;
use crate::commands;
use crate::error;
use crate::model::{Location, ReadModel};
use crate::server::{Server, answer};
use crate::stream::{self, Records};
use prost::Message;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};
use touchline_log::{Marker, Topic};
use touchline_model::id::{CellKey, EventId};
use touchline_model::output::Progress;
use touchline_model::record::Input;
use touchline_proto::{check_event, v1};
use v1::event::Body;
use v1::report_result_request::Result as Reported;
use v1::touch_service_server::TouchService;

/// How much earlier than its publication's marker a touch may have been seen, with room to spare.
const SEEN_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

#[tonic::async_trait]
impl TouchService for Server {
    type SubscribeStream = Records<v1::Touch>;
    type SubscribeTagChangesStream = Records<v1::TagChange>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        answer("Subscribe", async {
            let request = request.into_inner();
            stream::open(self.shared.clone(), request.positions, request.tenant).await
        })
        .await
    }

    async fn subscribe_tag_changes(
        &self,
        request: Request<v1::SubscribeTagChangesRequest>,
    ) -> Result<Response<Self::SubscribeTagChangesStream>, Status> {
        answer("SubscribeTagChanges", async {
            let request = request.into_inner();
            stream::open(self.shared.clone(), request.positions, request.tenant).await
        })
        .await
    }

    async fn report_result(
        &self,
        request: Request<v1::ReportResultRequest>,
    ) -> Result<Response<v1::ReportResultResponse>, Status> {
        answer("ReportResult", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let reported = request.result.clone().ok_or_else(|| error::invalid("result", "is missing"))?;
            let (body, touch_id) = body(reported);
            let touch_id = touch_id.filter(|id| !id.is_empty());
            let touch_id = touch_id.ok_or_else(|| error::invalid("result", "names no touch"))?;
            let touch = self.touch(touch_id, deadline).await?;
            let event = self.event(request, &touch, body)?;
            check_event(&event).map_err(|refused| error::too_long(&refused))?;
            let key = event.key();
            let partition = key.partition(self.shared.log.partitions());
            let input = Input::Event(Box::new(event));
            let appended = commands::append(&self.shared, partition, &input, deadline).await?;
            let token = self.shared.token_past(partition, appended.last_offset);
            Ok(v1::ReportResultResponse { token: Some(token) })
        })
        .await
    }
}

impl Server {
    /// A touch by its id. Whoever reports may have seen it before the model, and before the marker of its publication.
    async fn touch(&self, id: String, deadline: Instant) -> Result<v1::Touch, Status> {
        let soon = deadline.min(Instant::now() + SEEN_WITHIN);
        let found = self.shared.wait_for(soon, |model| model.touch(&id)).await;
        let location = match found {
            Ok(location) => location,
            Err(_) => self.touch_published(&id, deadline).await?.ok_or_else(no_touch)?,
        };
        let record = self.read(move |shared| record(shared, Topic::Touches, location)).await?.ok_or_else(no_touch)?;
        v1::Touch::decode(record.value.as_slice()).map_err(|_| no_touch())
    }

    /// Where a touch lies once everything that is published now is in the model; `None`: there is none.
    async fn touch_published(&self, id: &str, deadline: Instant) -> Result<Option<Location>, Status> {
        let published = self.shared.ask_log(|log| {
            let markers = (0..log.partitions()).map(|partition| log.published(partition));
            markers.collect::<Result<Vec<_>, _>>().map_err(|error| error::log(&error))
        });
        let published = published.await?;
        let look = |model: &ReadModel| {
            let is_past = |(have, marker): (&Progress, &Marker)| have.offset >= marker.offset;
            let found = model.touch(id);
            (found.is_some() || model.progress().zip(&published).all(is_past)).then_some(found)
        };
        self.shared.wait_for(deadline, look).await
    }

    /// The event that says what became of a touch: under the contact's cell, with an id of its own making.
    fn event(
        &self,
        request: v1::ReportResultRequest,
        touch: &v1::Touch,
        body: Body,
    ) -> Result<touchline_model::event::Event, Status> {
        let contact = CellKey::parse(&touch.contact).map_err(|_| no_touch())?;
        let tenant = contact.tenant();
        if request.tenant != tenant {
            return Err(no_touch());
        }
        if let Some(recipient) = request.recipient {
            let recipient = identifier("recipient", recipient)?;
            let meant = touch.recipient.clone().map(|id| identifier("recipient", id)).transpose()?;
            if Some(&recipient) != meant.as_ref() && recipient != contact.id() {
                return Err(error::invalid("recipient", "is not the recipient of this touch"));
            }
        }
        let now = self.shared.options.wall.now();
        let id = contact.id();
        let mut wire = v1::Event {
            event_id: Vec::new(),
            tenant: tenant.clone(),
            channel: "api".to_owned(),
            account: String::new(),
            occurred_at_ms: Some(request.occurred_at_ms.unwrap_or(now.0)),
            occurred_precision: String::new(),
            received_at_ms: now.0,
            subject: vec![v1::IdKey { kind: id.kind.name().to_owned(), scope: id.scope, value: id.value }],
            cause: Some(v1::EventCause { touch_id: Some(touch.id.clone()), ..v1::EventCause::default() }),
            body: Some(body.clone()),
            ..v1::Event::default()
        };
        // The same result of the same touch is one event however often it is reported.
        let basis = if request.request_id.is_empty() {
            v1::Event { body: Some(body), ..v1::Event::default() }.encode_to_vec()
        } else {
            request.request_id.into_bytes()
        };
        wire.event_id = EventId::derive(&tenant, "api", &touch.id, "touch.result", &basis).0.to_vec();
        touchline_proto::event_from(wire).map_err(|error| error::invalid("result", error.to_string()))
    }
}

fn body(reported: Reported) -> (Body, Option<String>) {
    match reported {
        Reported::Accepted(result) => (Body::TouchAccepted(result.clone()), result.touch_id),
        Reported::PendingConfirm(result) => (Body::TouchPendingConfirm(result.clone()), result.touch_id),
        Reported::Sent(result) => (Body::TouchSent(result.clone()), result.touch_id),
        Reported::Failed(result) => (Body::TouchFailed(result.clone()), result.touch_id),
        Reported::Viewed(result) => (Body::TouchViewed(result.clone()), result.touch_id),
        Reported::Engaged(result) => (Body::TouchEngaged(result.clone()), result.touch_id),
    }
}

fn no_touch() -> Status {
    error::status(Code::NotFound, "NO_TOUCH", "no such touch of this tenant\nhint: use the id that Subscribe gave")
}
