//! Touches and tag changes as streams.

use crate::world::{World, cause, change, contact, id, name, partition, touch};
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Streaming};
use touchline_log::{Log, NewRecord, Topic, wait};
use touchline_model::id::{CellKey, Position};
use touchline_model::output::{Output, TouchState};
use touchline_proto::v1;
use v1::touch_service_client::TouchServiceClient;

/// Reads until a contact that was published is there.
pub async fn until_caught_up(world: &World, contact: &str) {
    let mut client = v1::contact_service_client::ContactServiceClient::new(world.channel.clone());
    loop {
        let by = Some(v1::get_contact_request::By::Name(name(contact)));
        if client.get_contact(v1::GetContactRequest { by, read: None }).await.is_ok() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

pub async fn next<M>(stream: &mut Streaming<M>) -> M {
    let message = tokio::time::timeout(Duration::from_secs(10), stream.message());
    message.await.expect("in time").expect("no error").expect("not the end")
}

pub fn from(positions: &[(u32, u64)], tenant: &str) -> v1::SubscribeRequest {
    v1::SubscribeRequest { positions: HashMap::from_iter(positions.iter().copied()), tenant: tenant.into() }
}

#[tokio::test]
async fn touches_come_from_a_sequence_on_then_live() {
    let world = World::new().await;
    let p = partition("a");
    let touches = ["s1", "s2", "s3"].map(|step| touch("a", step, TouchState::Due));
    world.publish(p, touches.to_vec(), vec![contact("a", 1, &[])]);
    let mut client = TouchServiceClient::new(world.channel.clone());
    let mut all = client.subscribe(from(&[], "")).await.unwrap().into_inner();
    for expected in 1..=3 {
        assert_eq!(next(&mut all).await.sequence, expected);
    }
    let mut rest = client.subscribe(from(&[(p, 2)], "acme")).await.unwrap().into_inner();
    assert_eq!(next(&mut rest).await.step, "s3");
    world.publish(p, vec![touch("a", "s4", TouchState::Due)], vec![]);
    for stream in [&mut all, &mut rest] {
        let live = next(stream).await;
        assert_eq!((live.sequence, live.step.as_str()), (4, "s4"));
    }
    // Another tenant's receiver sees none of them, only its own.
    let mut other = client.subscribe(from(&[], "other")).await.unwrap().into_inner();
    let Output::Touch(mut theirs) = touch("a", "s5", TouchState::Due) else { panic!("a touch") };
    theirs.contact = CellKey::of("other", &id("a"));
    world.publish(p, vec![Output::Touch(theirs)], vec![]);
    assert_eq!(next(&mut other).await.step, "s5");
    let ahead = client.subscribe(from(&[(p, 6)], "")).await.unwrap_err();
    assert_eq!(ahead.code(), Code::OutOfRange);
    let nowhere = client.subscribe(from(&[(9, 0)], "")).await.unwrap_err();
    assert_eq!(nowhere.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn repeated_records_are_delivered_once() {
    let world = World::new().await;
    let p = partition("a");
    world.publish(p, vec![touch("a", "s1", TouchState::Due), touch("a", "s2", TouchState::Due)], vec![]);
    // A publisher that took over appends again what was there.
    let again = world.log.read(Topic::Touches, p, 0, 9).unwrap();
    let again = again.into_iter().map(|record| NewRecord { key: None, headers: record.headers, value: record.value });
    let again: Vec<NewRecord> = again.collect();
    wait(world.log.append(Topic::Touches, p, again)).unwrap();
    world.publish(p, vec![touch("a", "s3", TouchState::Due)], vec![]);
    let mut client = TouchServiceClient::new(world.channel.clone());
    for last in 0..3 {
        let mut stream = client.subscribe(from(&[(p, last)], "")).await.unwrap().into_inner();
        for expected in last + 1..=3 {
            assert_eq!(next(&mut stream).await.sequence, expected);
        }
    }
}

#[tokio::test]
async fn tag_changes_stream_and_streams_are_bounded_and_end_with_the_role() {
    let mut world = World::new().await;
    let p = partition("a");
    let at = Position { partition: p, offset: 0 };
    world.publish(p, vec![change("a", "身份", Some("vip"), None, cause(at))], vec![]);
    let mut client = TouchServiceClient::new(world.channel.clone());
    let mut streams = Vec::new();
    for _ in 0..4 {
        let request = v1::SubscribeTagChangesRequest::default();
        let mut stream = client.subscribe_tag_changes(request).await.unwrap().into_inner();
        assert_eq!(next(&mut stream).await.set.as_deref(), Some("vip"));
        streams.push(stream);
    }
    let refused = client.subscribe(from(&[], "")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let handle = world.handle.take().unwrap();
    tokio::task::spawn_blocking(move || handle.stop()).await.unwrap();
    for mut stream in streams {
        let end = tokio::time::timeout(Duration::from_secs(10), stream.message()).await.unwrap();
        assert!(matches!(end, Ok(None)), "{end:?}");
    }
}
