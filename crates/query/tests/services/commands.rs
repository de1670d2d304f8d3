//! Commands and results: appended to the log, answered from it.

use crate::world::{
    NOON, PARTITIONS, PLAYBOOK, Processor, World, activate, cause, change, contact, key, name, partition, touch,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt;
use touchline_log::{Log, NewRecord, Topic, wait};
use touchline_model::command::{Command, CommandBody};
use touchline_model::output::{CommandResult, Numbered, Outcome, Output, TouchState};
use touchline_model::record::Input;
use touchline_proto::{encode_output, v1};
use v1::board_service_client::BoardServiceClient;
use v1::contact_service_client::ContactServiceClient;
use v1::playbook_service_client::PlaybookServiceClient;
use v1::touch_service_client::TouchServiceClient;

fn result(processor: &Processor<'_>, command: &Command, outcome: Outcome) -> Output {
    Output::CommandResult(CommandResult {
        request_id: command.request_id.clone(),
        tenant: command.tenant.clone(),
        outcome,
        contact: command.body.contact().cloned(),
        position: processor.position,
        bundle: 1,
    })
}

/// Contact `a` stands at 考虑价格; moves from elsewhere are stale.
async fn board_world() -> (World, Arc<Mutex<Vec<Command>>>) {
    let mut world = World::new().await;
    world.activate();
    world.publish(partition("a"), vec![], vec![contact("a", 1, &[("商机/考虑价格", 0)])]);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let mut current = "考虑价格".to_owned();
    world.processor(move |processor, command| {
        seen.lock().unwrap().push(command.clone());
        let CommandBody::MoveCard { expected_stage, to, .. } = &command.body else { return };
        if expected_stage.as_deref() != Some(&current) {
            let (code, detail) = ("stale_stage".into(), "the card is not where it was seen".into());
            let refused = Outcome::Refused { code, detail, current: current.clone() };
            return processor.publish(vec![result(processor, &command, refused)], vec![]);
        }
        let to = to.clone().unwrap();
        let tag = format!("商机/{to}");
        let moved = change("a", "商机", Some(&to), Some(&current), cause(processor.position));
        current = to;
        let contact = contact("a", processor.position.offset, &[(&tag, 1)]);
        processor.publish(vec![moved, result(processor, &command, Outcome::Accepted)], vec![contact]);
    });
    (world, asked)
}

fn move_card(from: &str, to: &str, request_id: &str) -> v1::MoveCardRequest {
    v1::MoveCardRequest {
        contact: name("a"),
        board: "商机看板".into(),
        expected_stage: Some(from.into()),
        to_stage: Some(to.into()),
        reason: "called".into(),
        request_id: request_id.into(),
        actor: "zhangsan".into(),
    }
}

#[tokio::test]
async fn a_card_moves_once_and_a_stale_move_says_where_it_is() {
    let (world, asked) = board_world().await;
    let mut client = BoardServiceClient::new(world.channel.clone());
    // The contact must be known before it is named.
    crate::streams::until_caught_up(&world, "a").await;
    let moved = client.move_card(move_card("考虑价格", "赢单", "r1")).await.unwrap().into_inner();
    assert_eq!(moved.card.unwrap().stage.as_deref(), Some("赢单"), "the answer shows what was written");
    let stale = client.move_card(move_card("考虑价格", "初步沟通", "")).await.unwrap_err();
    assert_eq!(stale.code(), Code::Aborted);
    let details = stale.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["current_stage"].as_str()), ("STALE_STAGE", "赢单"));
    let asked = asked.lock().unwrap().clone();
    assert_eq!((asked[0].request_id.as_str(), asked[0].actor.as_str()), ("r1", "zhangsan"));
    assert_eq!(asked[0].body.contact(), Some(&key("a")));
    assert_eq!(asked[1].request_id.len(), 36, "the server chose one");
    let long = client.move_card(move_card("赢单", "考虑价格", &"x".repeat(65))).await.unwrap_err();
    assert_eq!(long.code(), Code::InvalidArgument);
    let huge = v1::MoveCardRequest { board: "b".repeat(900_000), ..move_card("赢单", "考虑价格", "") };
    let refused = client.move_card(huge).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "board is longer than 400 bytes\nhint: shorten it; nothing was done")
    );
    let nobody = v1::MoveCardRequest { contact: name("nobody"), ..move_card("赢单", "考虑价格", "") };
    assert_eq!(client.move_card(nobody).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_command_without_an_answer_is_unavailable_and_safe_to_repeat() {
    let world = World::with_deadline(Duration::from_millis(300)).await;
    world.publish(partition("a"), vec![], vec![contact("a", 1, &[])]);
    crate::streams::until_caught_up(&world, "a").await;
    let mut client = ContactServiceClient::new(world.channel.clone());
    let add = vec![v1::TagRef { group: "身份".into(), tag: "vip".into() }];
    let request = v1::EditTagsRequest { name: name("a"), add, request_id: "e1".into(), ..Default::default() };
    let status = client.edit_tags(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_error_details().retry_info().is_some());
    let inputs = world.inputs(partition("a"));
    let [Input::Command(command)] = inputs.as_slice() else { panic!("{inputs:?}") };
    assert_eq!(command.body.contact(), Some(&key("a")));
    assert_eq!(command.request_id, "e1");
    let empty = v1::EditTagsRequest { add: vec![], ..request };
    assert_eq!(client.edit_tags(empty).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn tags_are_edited_by_hand() {
    let mut world = World::new().await;
    world.publish(partition("a"), vec![], vec![contact("a", 1, &[])]);
    crate::streams::until_caught_up(&world, "a").await;
    world.processor(|processor, command| {
        let CommandBody::EditTags { add, .. } = &command.body else { return };
        if add[0].tag != "vip" {
            let refused = Outcome::Refused { code: "unknown_tag".into(), detail: "no tag".into(), current: "".into() };
            return processor.publish(vec![result(processor, &command, refused)], vec![]);
        }
        let contact = contact("a", processor.position.offset, &[("身份/vip", 0)]);
        processor.publish(vec![result(processor, &command, Outcome::Accepted)], vec![contact]);
    });
    let mut client = ContactServiceClient::new(world.channel.clone());
    let tag = |tag: &str| vec![v1::TagRef { group: "身份".into(), tag: tag.into() }];
    let request = v1::EditTagsRequest { name: name("a"), add: tag("vip"), ..Default::default() };
    let edited = client.edit_tags(request.clone()).await.unwrap().into_inner();
    assert_eq!(edited.contact.unwrap().tags[0].tag, "vip");
    let refused = client.edit_tags(v1::EditTagsRequest { add: tag("没有"), ..request }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "UNKNOWN_TAG");
}

#[tokio::test]
async fn a_playbook_is_active_once_every_partition_has_it() {
    let mut world = World::new().await;
    world.processor(|processor, command| {
        let CommandBody::Activate { sources, expected_active, .. } = &command.body else { return };
        assert_eq!((processor.position.partition, sources[0].id.as_str()), (0, "price"));
        if *expected_active != 0 {
            let (code, detail) = ("stale_bundle".into(), "bundle 0 is active".into());
            let refused = Outcome::Refused { code, detail, current: "0".into() };
            return processor.publish(vec![result(processor, &command, refused)], vec![]);
        }
        // Accepted under the old bundle, then looped to everybody.
        processor.publish(vec![result(processor, &command, Outcome::Accepted)], vec![]);
        for partition in 0..PARTITIONS {
            activate(processor.log, partition, 1, processor.position, &sources[0].yaml);
            processor.lane.lock().unwrap().progress[partition as usize].bundle = 1;
            crate::world::publish(processor.log, processor.lane, partition, vec![], vec![]);
        }
    });
    let mut client = PlaybookServiceClient::new(world.channel.clone());
    let parent = "tenants/acme".to_owned();
    let request = |yaml: &str, expected_active| v1::ActivatePlaybookRequest {
        parent: parent.clone(),
        sources: vec![yaml.to_owned()],
        expected_active,
        ..Default::default()
    };
    let stale = client.activate_playbook(request(PLAYBOOK, 7)).await.unwrap_err();
    let details = stale.get_error_details();
    assert_eq!((stale.code(), details.error_info().unwrap().metadata["active_bundle"].as_str()), (Code::Aborted, "0"));
    let active = client.activate_playbook(request(PLAYBOOK, 0)).await.unwrap().into_inner();
    assert_eq!((active.bundle, active.token.unwrap().bundle), (1, 1));
    let list = v1::ListPlaybooksRequest { parent: parent.clone(), read: None };
    let list = client.list_playbooks(list).await.unwrap().into_inner();
    assert_eq!((list.bundle, list.playbooks.len(), list.playbooks[0].yaml.as_str()), (1, 1, PLAYBOOK));

    let wrong = "playbook: p\nboards: [{id: b, group: 没有}]\n";
    let end = world.log.end(Topic::Events, 0).unwrap();
    let refused = client.activate_playbook(request(wrong, 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "INVALID_PLAYBOOK");
    assert_eq!(world.log.end(Topic::Events, 0).unwrap(), end, "nothing is written");
    let validate = v1::ValidatePlaybookRequest { sources: vec![wrong.to_owned()] };
    let found = client.validate_playbook(validate).await.unwrap().into_inner().diagnostics;
    assert_eq!((found[0].severity.as_str(), found[0].line, found[0].playbook.as_str()), ("error", 2, "p"));
    let valid = v1::ValidatePlaybookRequest { sources: vec![PLAYBOOK.to_owned()] };
    assert_eq!(client.validate_playbook(valid).await.unwrap().into_inner().diagnostics, []);
    let nothing = v1::ActivatePlaybookRequest { parent, ..Default::default() };
    assert_eq!(client.activate_playbook(nothing).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn what_became_of_a_touch_is_an_event_with_one_id() {
    let world = World::new().await;
    let Output::Touch(due) = touch("a", "p1", TouchState::Due) else { panic!("a touch") };
    world.publish(partition("a"), vec![Output::Touch(due.clone())], vec![contact("a", 1, &[])]);
    let mut client = TouchServiceClient::new(world.channel.clone());
    let sent = v1::TouchSent { touch_id: Some(due.id.clone()), staff: Some("zhangsan".into()), at: None };
    let request = v1::ReportResultRequest {
        tenant: "acme".into(),
        result: Some(v1::report_result_request::Result::Sent(sent)),
        ..Default::default()
    };
    for _ in 0..2 {
        let token = client.report_result(request.clone()).await.unwrap().into_inner().token.unwrap();
        assert_eq!(token.offsets[partition("a") as usize], world.log.end(Topic::Events, partition("a")).unwrap());
    }
    let events = |world: &World| -> Vec<_> {
        let inputs = world.inputs(partition("a")).into_iter();
        inputs.filter_map(|input| if let Input::Event(event) = input { Some(event) } else { None }).collect()
    };
    let reported = events(&world);
    assert_eq!((reported[0].name(), reported[0].key()), ("touch.sent", key("a")));
    assert_eq!(reported[0].cause.touch_id.as_deref(), Some(due.id.as_str()));
    assert_eq!(reported[0].fields.text("staff"), Some("zhangsan"));
    assert_eq!(reported[0].id, reported[1].id, "reported twice, one event");
    let viewed = v1::TouchViewed { touch_id: Some(due.id.clone()) };
    let viewed =
        v1::ReportResultRequest { result: Some(v1::report_result_request::Result::Viewed(viewed)), ..request.clone() };
    client.report_result(viewed).await.unwrap();
    assert_ne!(events(&world)[2].id, reported[0].id);

    for (request, code) in [
        (v1::ReportResultRequest { tenant: "other".into(), ..request.clone() }, Code::NotFound),
        (v1::ReportResultRequest { result: None, ..request.clone() }, Code::InvalidArgument),
        (
            v1::ReportResultRequest {
                result: Some(v1::report_result_request::Result::Viewed(v1::TouchViewed {
                    touch_id: Some("acme/x/sop/1/p9#1".into()),
                })),
                ..request.clone()
            },
            Code::NotFound,
        ),
        (
            v1::ReportResultRequest {
                recipient: Some(v1::IdKey { kind: "order".into(), scope: "s".into(), value: "1".into() }),
                ..request.clone()
            },
            Code::InvalidArgument,
        ),
    ] {
        assert_eq!(client.report_result(request).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn an_answer_is_given_only_once_its_publication_is_applied_whole() {
    let mut world = World::with_deadline(Duration::from_millis(300)).await;
    world.publish(partition("a"), vec![], vec![contact("a", 1, &[])]);
    crate::streams::until_caught_up(&world, "a").await;
    // The result lies in its topic, but no Progress says that the contact is there as well.
    world.processor(|processor, command| {
        let output = result(processor, &command, Outcome::Accepted);
        let numbered = Numbered { sequence: 1, clock: NOON, source: processor.position, output };
        let record = NewRecord { value: encode_output(&numbered, None), ..NewRecord::default() };
        let partition = processor.position.partition;
        wait(processor.log.append(Topic::CommandResults, partition, vec![record])).unwrap();
    });
    let mut client = ContactServiceClient::new(world.channel.clone());
    let add = vec![v1::TagRef { group: "身份".into(), tag: "vip".into() }];
    let request = v1::EditTagsRequest { name: name("a"), add, ..Default::default() };
    assert_eq!(client.edit_tags(request).await.unwrap_err().code(), Code::Unavailable);
}
