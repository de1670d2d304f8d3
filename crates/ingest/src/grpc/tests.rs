use super::*;
use crate::settings::Settings;
use crate::testing::{Bench, Fate, NOW, settings};
use tonic::Code;
use touchline_channels::account::Secret;
use v1::event::Body;

const JSON: &str = r#"{"kind": "order.paid", "tenant": "acme", "source": "crm", "id": "o-1",
    "subject": [{"kind": "yz_open_id", "scope": "youzan", "value": "buyer"}], "fields": {"paid_fen": 9900}}"#;

fn order() -> v1::Event {
    v1::Event {
        tenant: "acme".into(),
        subject: vec![v1::IdKey { kind: "yz_open_id".into(), scope: "youzan".into(), value: "buyer".into() }],
        native: Some(v1::Native { r#type: "crm".into(), id: "o-1".into(), ..v1::Native::default() }),
        body: Some(Body::OrderPaid(v1::Order { paid_fen: Some(9900), ..v1::Order::default() })),
        ..v1::Event::default()
    }
}

async fn publish(bench: &Bench, events: Vec<v1::Event>) -> Result<v1::PublishEventsResponse, Status> {
    let request = Request::new(v1::PublishEventsRequest { events });
    Grpc::new(bench.ingest.clone()).publish_events(request).await.map(Response::into_inner)
}

#[tokio::test]
async fn an_event_has_the_id_it_has_as_json() {
    let bench = Bench::new();
    let answer = publish(&bench, vec![order()]).await.unwrap();
    let [event] = &bench.events()[..] else { panic!("one event") };
    let json = api::decode(JSON.as_bytes(), NOW).unwrap().remove(0).unwrap().event;
    assert_eq!((event.id, event.received_at, event.channel), (json.id, NOW, Channel::Api));
    assert_eq!(event.fields, json.fields);
    let partition = event.key().partition(4);
    let [result] = &answer.results[..] else { panic!("one result") };
    assert_eq!((result.status.as_str(), &result.event_id), ("accepted", &json.id.0.to_vec()));
    assert_eq!(result.position, Some(v1::Position { partition, offset: 0 }));
    let mut offsets = vec![0; 4];
    offsets[partition as usize] = 1;
    assert_eq!(answer.token, Some(v1::ConsistencyToken { epoch: "memory".into(), offsets, bundle: 0 }));
}

#[tokio::test]
async fn without_an_id_the_content_is_the_id() {
    let bench = Bench::new();
    let anonymous = |fen| v1::Event {
        native: None,
        received_at_ms: fen,
        body: Some(Body::OrderPaid(v1::Order { paid_fen: Some(fen), ..v1::Order::default() })),
        ..order()
    };
    let again = v1::Event { received_at_ms: 7, ..anonymous(1) };
    publish(&bench, vec![anonymous(1), again, anonymous(2)]).await.unwrap();
    let ids: Vec<_> = bench.events().into_iter().map(|event| event.id).collect();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}

#[tokio::test]
async fn what_comes_from_inside_only_is_rejected_on_its_own() {
    let private = |field: &str| {
        let value = v1::Value { value: Some(v1::value::Value::Text("CANARY".into())) };
        vec![v1::Field { name: field.into(), value: Some(value) }]
    };
    let notice = Body::ChannelNotice(v1::ChannelNotice::default());
    let custom = Body::Custom(v1::Custom { name: "order.paid".into() });
    let message = Body::ChatMessage(v1::ChatMessage::default());
    let staff = v1::Actor { kind: "staff".into(), staff: "CANARY".repeat(100) };
    for (event, reason) in [
        (v1::Event { actor: Some(staff), ..order() }, "malformed"),
        (v1::Event { channel: "internal".into(), ..order() }, "wrong_field"),
        (v1::Event { channel: "CANARY".into(), ..order() }, "malformed"),
        (v1::Event { body: Some(notice), ..order() }, "forbidden_kind"),
        (v1::Event { body: Some(custom), ..order() }, "wrong_field"),
        (v1::Event { body: None, ..order() }, "malformed"),
        (v1::Event { subject: Vec::new(), ..order() }, "malformed"),
        (v1::Event { tenant: "other".into(), ..order() }, "unknown_tenant"),
        (v1::Event { event_id: vec![7; 16], ..order() }, "wrong_id"),
        (v1::Event { extra: private("CANARY"), ..order() }, "unknown_field"),
        (v1::Event { body: Some(message), extra: private("text"), ..order() }, "wrong_field"),
    ] {
        let bench = Bench::new();
        let answer = publish(&bench, vec![event, order()]).await.unwrap();
        let statuses: Vec<_> = answer.results.iter().map(|result| result.status.as_str()).collect();
        assert_eq!((statuses, answer.results[0].reason.as_str()), (vec!["rejected", "accepted"], reason));
        assert!(!answer.results[0].detail.contains("CANARY"), "{}", answer.results[0].detail);
        assert_eq!(bench.events().len(), 1);
        let sample = format!(r#"touchline_webhook_rejected_total{{channel="api",reason="{reason}"}}"#);
        assert_eq!(bench.counted(&sample), 1);
    }
}

#[tokio::test]
async fn a_time_far_off_is_dropped() {
    let bench = Bench::new();
    publish(&bench, vec![v1::Event { occurred_at_ms: Some(i64::MAX), ..order() }]).await.unwrap();
    assert_eq!(bench.events()[0].occurred_at, None);
    assert_eq!(bench.counted(r#"touchline_event_times_dropped_total{channel="api"}"#), 1);
}

#[tokio::test]
async fn requests_out_of_bounds_without_token_or_log_are_refused_whole() {
    let bench = Bench::new();
    for count in [0, 501] {
        assert_eq!(publish(&bench, vec![order(); count]).await.unwrap_err().code(), Code::InvalidArgument);
    }
    for fate in [Fate::Refused, Fate::Busy, Fate::Stuck] {
        bench.fate(fate);
        assert_eq!(publish(&bench, vec![order()]).await.unwrap_err().code(), Code::Unavailable, "{fate:?}");
    }
    assert!(bench.events().is_empty());
    let guarded = Bench::with(Settings { events_token: Some(Secret::new("s3cret")), ..settings() });
    assert_eq!(publish(&guarded, vec![order()]).await.unwrap_err().code(), Code::Unauthenticated);
    let mut request = Request::new(v1::PublishEventsRequest { events: vec![order()] });
    request.metadata_mut().insert("authorization", "Bearer s3cret".parse().unwrap());
    assert!(Grpc::new(guarded.ingest.clone()).publish_events(request).await.is_ok());
    assert_eq!(guarded.events().len(), 1);
}
