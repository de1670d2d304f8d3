//! What a publication says becomes readable topic by topic, offsets have gaps, and retention takes beginnings.

use crate::reading::full;
use crate::sparse::Sparse;
use crate::streams::{from, next, until_caught_up};
use crate::world::{
    Lane, NOON, World, cause, change, contact, memory_log, name, output_record, partition, publish, said, touch,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt;
use touchline_log::memory::MemoryLog;
use touchline_log::{Log, Topic, wait};
use touchline_model::id::{ContactId, Position};
use touchline_model::output::{CommandResult, DeadLetter, DeadReason, Numbered, Outcome, Output, Stream, TouchState};
use touchline_model::record::Input;
use touchline_proto::v1;
use v1::contact_service_client::ContactServiceClient;
use v1::touch_service_client::TouchServiceClient;

const LONG: Duration = Duration::from_secs(10);

async fn world() -> (World, Arc<Sparse>) {
    let log = memory_log();
    over(log, |_| ()).await
}

/// The role starts over a log that `prepare` has changed.
async fn over(log: Arc<MemoryLog>, prepare: impl FnOnce(&Sparse)) -> (World, Arc<Sparse>) {
    let sparse = Arc::new(Sparse::new(MemoryLog::clone(&log)));
    prepare(&sparse);
    let world = World::over(log, sparse.clone(), LONG).await;
    // Any answer says that it has read what was there.
    let mut client = ContactServiceClient::new(world.channel.clone());
    let by = Some(v1::get_contact_request::By::Name(name("nobody")));
    let nobody = client.get_contact(v1::GetContactRequest { by, read: None }).await.unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound);
    (world, sparse)
}

fn output(stream: Stream) -> Output {
    let position = Position { partition: partition("a"), offset: 0 };
    match stream {
        Stream::TagChanges => change("a", "身份", Some("vip"), None, cause(position)),
        Stream::Touches => touch("a", "s", TouchState::Due),
        Stream::CommandResults => Output::CommandResult(CommandResult {
            request_id: "r".into(),
            tenant: "acme".into(),
            outcome: Outcome::Accepted,
            contact: None,
            position,
            bundle: 0,
        }),
        Stream::DeadLetters => {
            Output::DeadLetter(DeadLetter { reason: DeadReason::Undecodable, detail: String::new(), cells: Vec::new() })
        }
    }
}

fn offset(world: &World) -> u64 {
    world.handle.as_ref().unwrap().progress()[partition("a") as usize].offset
}

/// Waits until the model shows everything, then how many things happened to the contact.
async fn timeline(world: &World) -> usize {
    let mut client = ContactServiceClient::new(world.channel.clone());
    let request = v1::ListTimelineRequest { name: name("a"), read: full(), ..Default::default() };
    client.list_timeline(request).await.unwrap().into_inner().entries.len()
}

#[tokio::test]
async fn a_progress_waits_for_every_topic_that_it_speaks_of() {
    for topic in [Topic::Events, Topic::TagChanges, Topic::Touches, Topic::CommandResults, Topic::DeadLetters] {
        let (world, sparse) = world().await;
        let p = partition("a");
        sparse.show(topic, 0);
        world.event(said("a", "x"));
        world.publish(p, Stream::ALL.map(output).to_vec(), vec![contact("a", 1, &[])]);
        // The contact lies before Progress, so it can be seen; Progress cannot.
        until_caught_up(&world, "a").await;
        assert_eq!(offset(&world), 0, "{topic:?} cannot be read yet");
        sparse.show_all();
        assert_eq!(timeline(&world).await, 3, "{topic:?}");
        assert_eq!(offset(&world), 2, "{topic:?}");
        assert_eq!(world.handle.as_ref().unwrap().alarms().gaps, 0);
    }
}

#[tokio::test]
async fn records_that_come_one_by_one_are_waited_for() {
    let (world, sparse) = world().await;
    let p = partition("a");
    sparse.show(Topic::Touches, 0);
    let touches = ["s1", "s2", "s3"].map(|step| touch("a", step, TouchState::Due));
    world.publish(p, touches.to_vec(), vec![contact("a", 1, &[])]);
    world.publish(p, vec![], vec![contact("a", 2, &[("身份/vip", 0)])]);
    let mut client = TouchServiceClient::new(world.channel.clone());
    let mut stream = client.subscribe(from(&[], "")).await.unwrap().into_inner();
    until_caught_up(&world, "a").await;
    for shown in 1..=2 {
        sparse.show(Topic::Touches, shown);
        assert_eq!(next(&mut stream).await.sequence, shown);
        assert_eq!(offset(&world), 0, "{shown} of 3");
    }
    sparse.show(Topic::Touches, 3);
    assert_eq!(timeline(&world).await, 3);
    assert_eq!(offset(&world), 2, "what came after it is applied, too");
    sparse.show_all();
}

/// Three touches, and what goes with them, in a log that no role reads yet.
fn published() -> Arc<MemoryLog> {
    let log = memory_log();
    let p = partition("a");
    let lane = Mutex::new(Lane::default());
    let wait_for = |records| wait(log.append(Topic::Events, p, vec![records])).unwrap();
    for step in ["s1", "s2", "s3"] {
        let tick = Input::Tick { wall: NOON };
        wait_for(touchline_log::NewRecord { value: touchline_proto::encode_input(&tick), ..Default::default() });
        publish(&log, &lane, p, vec![touch("a", step, TouchState::Due)], vec![contact("a", 1, &[])]);
    }
    log
}

#[tokio::test]
async fn retention_keeps_nothing_from_being_read() {
    for (gone, left) in [(0, 3), (1, 2), (2, 1), (3, 0)] {
        let (world, _sparse) = over(published(), |sparse| {
            sparse.expire(Topic::Touches, gone);
            sparse.expire(Topic::Events, gone);
        })
        .await;
        assert_eq!((timeline(&world).await, offset(&world)), (left, 3), "{gone} are gone");
    }
}

#[tokio::test]
async fn a_stream_of_which_nothing_was_left_is_waited_for_again() {
    let (world, sparse) = over(published(), |sparse| sparse.expire(Topic::Touches, 3)).await;
    let p = partition("a");
    assert_eq!((timeline(&world).await, offset(&world)), (0, 3));
    world.progress(p, |progress| progress.sequences[Stream::Touches.index()] = 3);
    sparse.show(Topic::Touches, 3);
    world.publish(p, vec![touch("a", "s4", TouchState::Due)], vec![contact("b", 9, &[])]);
    let mut client = ContactServiceClient::new(world.channel.clone());
    let by = |id: &ContactId| v1::get_contact_request::By::Name(format!("tenants/acme/contacts/{id}"));
    let request = v1::GetContactRequest { by: Some(by(&crate::world::key("b").contact_id())), read: None };
    while client.get_contact(request.clone()).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(offset(&world), 3, "the fourth touch cannot be read yet");
    sparse.show_all();
    assert_eq!((timeline(&world).await, offset(&world)), (1, 4));
}

#[tokio::test]
async fn streams_go_on_behind_a_sequence_wherever_it_lies() {
    let (world, sparse) = over(published(), |_| ()).await;
    let p = partition("a");
    let mut client = TouchServiceClient::new(world.channel.clone());
    for last in 0..2 {
        let mut stream = client.subscribe(from(&[(p, last)], "")).await.unwrap().into_inner();
        for expected in last + 1..=3 {
            assert_eq!(next(&mut stream).await.sequence, expected, "after {last}");
        }
    }
    // Retention took 1 and 2: whoever has 2 misses nothing, though its offset is below the start.
    sparse.expire(Topic::Touches, 2);
    let mut stream = client.subscribe(from(&[(p, 2)], "")).await.unwrap().into_inner();
    assert_eq!(next(&mut stream).await.sequence, 3);
    let mut stream = client.subscribe(from(&[(p, 1)], "")).await.unwrap().into_inner();
    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "TRUNCATED");
    assert!(status.message().contains("sequences 2 to 2"), "{}", status.message());
}

#[tokio::test]
async fn a_receiver_may_be_ahead_of_the_marker() {
    let (world, _sparse) = world().await;
    let p = partition("a");
    world.publish(p, vec![touch("a", "s1", TouchState::Due)], vec![contact("a", 1, &[])]);
    assert_eq!(timeline(&world).await, 1);
    // Without transactions records are readable, and delivered, before the marker that goes with them.
    let source = Position { partition: p, offset: 0 };
    let numbered =
        |sequence, step| Numbered { sequence, clock: NOON, source, output: touch("a", step, TouchState::Due) };
    let records = vec![output_record(&numbered(2, "s2")), output_record(&numbered(3, "s3"))];
    wait(world.log.append(Topic::Touches, p, records)).unwrap();
    let mut client = TouchServiceClient::new(world.channel.clone());
    let mut stream = client.subscribe(from(&[(p, 2)], "")).await.unwrap().into_inner();
    assert_eq!(next(&mut stream).await.sequence, 3);
    let ahead = client.subscribe(from(&[(p, 4)], "")).await.unwrap_err();
    assert_eq!(ahead.get_error_details().error_info().unwrap().reason, "POSITION_AHEAD");
}
