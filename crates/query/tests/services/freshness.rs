//! Reading what was written: tokens, Progress, and what partitions tell each other.

use crate::reading::full;
use crate::world::{World, contact, name, partition, said};
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt;
use touchline_log::Log;
use touchline_proto::v1;
use v1::contact_service_client::ContactServiceClient;

/// For what must not come: short enough to wait for in a test.
const SHORT: Duration = Duration::from_millis(300);
/// For what has to come.
const LONG: Duration = Duration::from_secs(30);

fn get(contact: &str, consistency: v1::read_options::Consistency) -> v1::GetContactRequest {
    let by = Some(v1::get_contact_request::By::Name(name(contact)));
    v1::GetContactRequest { by, read: Some(v1::ReadOptions { consistency: Some(consistency) }) }
}

fn token(world: &World, offsets: [u64; 2], bundle: u64) -> v1::read_options::Consistency {
    let epoch = world.log.cluster_id();
    v1::read_options::Consistency::AtLeastAsFresh(v1::ConsistencyToken { epoch, offsets: offsets.to_vec(), bundle })
}

async fn check(world: &World, consistency: v1::read_options::Consistency, expected: Code, why: &str) {
    let mut client = ContactServiceClient::new(world.channel.clone());
    let mut request = tonic::Request::new(get("a", consistency));
    if expected == Code::Ok {
        request.set_timeout(LONG);
    }
    let code = client.get_contact(request).await.map_or_else(|status| status.code(), |_| Code::Ok);
    assert_eq!(code, expected, "{why}");
}

#[tokio::test]
async fn a_read_waits_until_progress_has_passed_the_token() {
    let world = World::with_deadline(SHORT).await;
    world.publish(partition("a"), vec![], vec![contact("a", 1, &[])]);
    crate::streams::until_caught_up(&world, "a").await;
    let at = world.event(said("a", "x"));
    let mut offsets = [0, 0];
    offsets[at.partition as usize] = at.offset + 1;
    check(&world, token(&world, [0, 0], 0), Code::Ok, "nothing to wait for").await;
    check(&world, token(&world, offsets, 0), Code::Unavailable, "appended, not applied").await;
    check(&world, full().unwrap().consistency.unwrap(), Code::Unavailable, "full means the end of the log").await;
    let status = {
        let mut client = ContactServiceClient::new(world.channel.clone());
        client.get_contact(get("a", token(&world, offsets, 0))).await.unwrap_err()
    };
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "NOT_YET_APPLIED");
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    world.publish(at.partition, vec![], vec![contact("a", at.offset, &[("身份/vip", 0)])]);
    let mut client = ContactServiceClient::new(world.channel.clone());
    let mut request = tonic::Request::new(get("a", token(&world, offsets, 0)));
    request.set_timeout(LONG);
    let answer = client.get_contact(request).await.unwrap().into_inner();
    assert_eq!(answer.contact.unwrap().tags.len(), 1, "what the publication said is there with its Progress");
    assert!(answer.token.unwrap().offsets[at.partition as usize] > at.offset);
    check(&world, token(&world, offsets, 1), Code::Unavailable, "no bundle yet").await;
}

#[tokio::test]
async fn a_read_that_waits_is_woken_by_the_publication() {
    let world = World::new().await;
    let at = world.event(said("a", "x"));
    let mut client = ContactServiceClient::new(world.channel.clone());
    let waiting = tokio::spawn(async move { client.get_contact(get("a", full().unwrap().consistency.unwrap())).await });
    world.publish(at.partition, vec![], vec![contact("a", at.offset, &[])]);
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test]
async fn forwarded_events_are_waited_for_hop_by_hop() {
    let world = World::with_deadline(SHORT).await;
    let at = world.event(said("a", "x"));
    let (here, there) = (at.partition, 1 - at.partition);
    let mut offsets = [0, 0];
    offsets[here as usize] = at.offset + 1;
    world.publish(there, vec![], vec![]);
    // The event was forwarded to the other partition, which has not received it.
    world.progress(here, |progress| progress.loop_sent[there as usize] = 1);
    world.publish(here, vec![], vec![contact("a", at.offset, &[])]);
    check(&world, token(&world, offsets, 0), Code::Unavailable, "on its way").await;
    // Received there, and from there sent back.
    world.progress(there, |progress| {
        progress.loop_received[here as usize] = 1;
        progress.loop_sent[here as usize] = 1;
    });
    world.publish(there, vec![], vec![]);
    check(&world, token(&world, offsets, 0), Code::Unavailable, "the second hop").await;
    world.progress(here, |progress| progress.loop_received[there as usize] = 1);
    world.publish(here, vec![], vec![]);
    check(&world, token(&world, offsets, 0), Code::Ok, "everything has landed").await;
}

#[tokio::test]
async fn a_token_of_another_log_is_refused() {
    let world = World::new().await;
    let token = v1::ConsistencyToken { epoch: "other".into(), offsets: vec![0, 0], bundle: 0 };
    let mut client = ContactServiceClient::new(world.channel.clone());
    let other = v1::read_options::Consistency::AtLeastAsFresh(token.clone());
    let status = client.get_contact(get("a", other)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "OTHER_EPOCH");
    let epoch = world.log.cluster_id();
    let wide = v1::ConsistencyToken { epoch, offsets: vec![0; 3], bundle: 0 };
    check(&world, v1::read_options::Consistency::AtLeastAsFresh(wide), Code::InvalidArgument, "three of two").await;
}
