//! Counts, lists, boards, timelines, explanations, dead letters: from the topics alone.

use crate::world::{
    NOON, PARTITIONS, World, cause, change, contact, id, key, name, output_record, partition, said, touch,
};
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt;
use touchline_log::{Log, NewRecord, Topic, wait};
use touchline_model::command::{Command, CommandBody};
use touchline_model::event::Event;
use touchline_model::id::{IdKey, IdKind, Position};
use touchline_model::kind::Kind;
use touchline_model::output::{
    Cause, Contact, DeadLetter, DeadReason, Hit, Identity, Joined, Numbered, Output, TagChange, TouchState,
};
use touchline_model::record::{Evidence, Input, Loop, LoopBody};
use touchline_model::time::Time;
use touchline_proto::v1;
use v1::admin_service_client::AdminServiceClient;
use v1::board_service_client::BoardServiceClient;
use v1::contact_service_client::ContactServiceClient;
use v1::segment_service_client::SegmentServiceClient;

const ACME: &str = "tenants/acme";

pub fn full() -> Option<v1::ReadOptions> {
    Some(v1::ReadOptions { consistency: Some(v1::read_options::Consistency::Full(true)) })
}

fn count(filter: &str) -> v1::CountSegmentRequest {
    let of = Some(v1::count_segment_request::Of::Filter(filter.to_owned()));
    v1::CountSegmentRequest { parent: ACME.into(), of, read: full() }
}

/// Four contacts: two vip, three on the board, one without tags.
async fn small_world() -> World {
    let world = World::new().await;
    world.activate();
    for (name, tags) in [
        ("a", &[("身份/vip", 0), ("商机/考虑价格", 1)][..]),
        ("b", &[("商机/考虑价格", 2)]),
        ("c", &[("身份/vip", 0), ("商机/赢单", 3)]),
        ("d", &[]),
    ] {
        world.publish(partition(name), vec![], vec![contact(name, 5, tags)]);
    }
    until_applied(&world).await;
    world
}

#[tokio::test]
async fn segments_count_and_list() {
    let world = small_world().await;
    let mut client = SegmentServiceClient::new(world.channel.clone());
    for (filter, expected) in [
        ("", 4),
        ("tag(身份/vip)", 2),
        ("not tag(身份/vip)", 2),
        ("tag(商机/*)", 3),
        ("stage(商机看板) in [考虑价格, 赢单] and not tag(身份/vip)", 1),
        ("segment(老板名单)", 1),
        ("tag(身份/员工)", 0),
    ] {
        let counted = client.count_segment(count(filter)).await.unwrap().into_inner();
        assert_eq!(counted.count, expected, "{filter}");
        assert_eq!(counted.as_of_ms, NOON.0);
        assert_eq!(counted.token.unwrap().bundle, 1);
    }
    let of = Some(v1::list_members_request::Of::Segment("老板名单".into()));
    let list = v1::ListMembersRequest { parent: ACME.into(), of, ..Default::default() };
    let members = client.list_members(list).await.unwrap().into_inner();
    assert_eq!(members.contacts.iter().map(|c| c.key.as_str()).collect::<Vec<_>>(), [key("a").as_str()]);
    let segments = client.list_segments(v1::ListSegmentsRequest { parent: ACME.into() }).await.unwrap().into_inner();
    let found: Vec<_> = segments.segments.iter().map(|s| (s.name.as_str(), s.filter.as_str(), s.count)).collect();
    assert_eq!(found, [("tenants/acme/segments/老板名单", "tag(\"身份/vip\") and not tag(\"商机/赢单\")", 1)]);
}

#[tokio::test]
async fn wrong_filters_say_where() {
    let world = small_world().await;
    let mut client = SegmentServiceClient::new(world.channel.clone());
    for (filter, code, reason, column, diagnostic) in [
        ("tag(商机/没有)", Code::InvalidArgument, "INVALID_FILTER", "8", "PB017"),
        ("tag(身份/vip) and", Code::InvalidArgument, "INVALID_FILTER", "16", "PB031"),
        ("replied(bc1)", Code::Unimplemented, "NOT_YET", "1", "NY013"),
        ("count(order.paid(shop=s)) >= 2", Code::InvalidArgument, "INVALID_FILTER", "1", "PB047"),
    ] {
        let status = client.count_segment(count(filter)).await.unwrap_err();
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        let facts = (info.metadata["column"].as_str(), info.metadata["code"].as_str());
        assert_eq!((status.code(), info.reason.as_str(), facts), (code, reason, (column, diagnostic)), "{filter}");
        assert_eq!(info.domain, "touchline");
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].field, "filter");
        assert!(violations[0].description.contains(&format!("column {column}:")), "{}", violations[0].description);

        let analyzed = v1::AnalyzeFilterRequest { parent: ACME.into(), filter: filter.into() };
        let analyzed = client.analyze_filter(analyzed).await.unwrap().into_inner();
        assert_eq!((analyzed.normalized.as_str(), analyzed.diagnostics.len()), ("", 1));
        assert_eq!(analyzed.diagnostics[0].column.to_string(), column);
    }
    let unknown = Some(v1::count_segment_request::Of::Segment("没有".into()));
    let request = v1::CountSegmentRequest { parent: ACME.into(), of: unknown, read: None };
    assert_eq!(client.count_segment(request).await.unwrap_err().code(), Code::NotFound);
    let nothing = v1::CountSegmentRequest { parent: ACME.into(), of: None, read: None };
    assert_eq!(client.count_segment(nothing).await.unwrap_err().code(), Code::InvalidArgument);
    let nowhere = v1::CountSegmentRequest { parent: "acme".into(), ..count("") };
    assert_eq!(client.count_segment(nowhere).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn pages_list_everybody_once_while_contacts_come() {
    let world = World::new().await;
    let names: Vec<String> = (0..23).map(|number| format!("p{number}")).collect();
    for name in &names {
        world.publish(partition(name), vec![], vec![contact(name, 1, &[])]);
    }
    let mut client = ContactServiceClient::new(world.channel.clone());
    let (mut seen, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = v1::ListContactsRequest {
            parent: ACME.into(),
            page_size: 5,
            page_token,
            read: full(),
            ..Default::default()
        };
        let page = client.list_contacts(request).await.unwrap().into_inner();
        seen.extend(page.contacts.into_iter().map(|contact| contact.contact_id));
        page_token = page.next_page_token;
        pages += 1;
        // Whoever comes between two pages moves nobody from one to the other.
        let late = format!("late{pages}");
        world.publish(partition(&late), vec![], vec![contact(&late, 1, &[])]);
        if page_token.is_empty() {
            break;
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "in order, nobody twice");
    let seen: BTreeSet<String> = seen.into_iter().collect();
    assert!(names.iter().all(|name| seen.contains(key(name).contact_id().as_str())));
    assert!(pages >= 5);

    let first = v1::ListContactsRequest { parent: ACME.into(), page_size: 5, ..Default::default() };
    let token = client.list_contacts(first.clone()).await.unwrap().into_inner().next_page_token;
    let other = v1::ListContactsRequest { filter: " ".into(), page_token: token, ..first };
    let status = client.list_contacts(other).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "a token goes with its filter");
}

#[tokio::test]
async fn contacts_answer_by_any_name_and_merged_ones_by_their_root() {
    let world = World::new().await;
    let unionid = IdKey::new(IdKind::WxUnionid, "open", "u1");
    let phone = IdKey::new(IdKind::PhoneRef, "acme", "weak");
    let mut root = contact("root", 9, &[("身份/vip", 0)]);
    root.identities.push(Identity::own(unionid.clone()));
    root.identities.push(Identity { id: phone.clone(), evidence: Evidence::Weak, joined: None });
    let mut merged = contact("merged", 8, &[]);
    merged.merged_into = Some(key("root"));
    // The one that becomes a forward carries tags until then.
    world.publish(partition("merged"), vec![], vec![contact("merged", 7, &[("身份/vip", 0)]), merged]);
    // An older version that comes later changes nothing.
    world.publish(partition("root"), vec![], vec![root, contact("root", 8, &[])]);
    let mut client = ContactServiceClient::new(world.channel.clone());
    let identifier = |id: &IdKey| {
        let id = v1::IdKey { kind: id.kind.name().into(), scope: id.scope.clone(), value: id.value.clone() };
        v1::get_contact_request::By::Identifier(v1::TenantIdentifier { tenant: "acme".into(), id: Some(id) })
    };
    for by in [
        v1::get_contact_request::By::Name(name("root")),
        v1::get_contact_request::By::Name(name("merged")),
        identifier(&id("root")),
        identifier(&id("merged")),
        identifier(&unionid),
    ] {
        let request = v1::GetContactRequest { by: Some(by), read: full() };
        let found = client.get_contact(request).await.unwrap().into_inner().contact.unwrap();
        assert_eq!((found.key.as_str(), found.tags.len()), (key("root").as_str(), 1));
    }
    for by in [identifier(&phone), identifier(&id("nobody")), v1::get_contact_request::By::Name(name("nobody"))] {
        let request = v1::GetContactRequest { by: Some(by), read: full() };
        assert_eq!(client.get_contact(request).await.unwrap_err().code(), Code::NotFound);
    }
    let list = v1::ListContactsRequest { parent: ACME.into(), ..Default::default() };
    let members = client.list_contacts(list.clone()).await.unwrap().into_inner().contacts;
    assert_eq!(members.len(), 1, "a merged one is no member");

    // Parted again.
    world.publish(partition("merged"), vec![], vec![contact("merged", 9, &[("身份/vip", 0)])]);
    let request = v1::GetContactRequest { by: Some(identifier(&id("merged"))), read: full() };
    let found = client.get_contact(request).await.unwrap().into_inner().contact.unwrap();
    assert_eq!((found.key.as_str(), found.merged_into), (key("merged").as_str(), None));
    assert_eq!(client.list_contacts(list).await.unwrap().into_inner().contacts.len(), 2);
}

#[tokio::test]
async fn links_say_what_joined_them_and_which_were_refused() {
    let world = World::new().await;
    let heard = world.event(Event { kind: Kind::IdentityLinked, ..said("b", "linked") });
    let by_hand = Command {
        request_id: "r1".into(),
        tenant: "acme".into(),
        actor: "wang".into(),
        received_at: NOON,
        body: CommandBody::Link { contact: key("a"), identifier: id("c"), reason: "同一个人".into() },
    };
    let by_hand = world.append(partition("a"), &Input::Command(Box::new(by_hand)));
    let mut a = contact("a", 20, &[]);
    let joined = |by| Some(Joined { by, into: key("a"), at: NOON });
    a.identities.push(Identity { id: id("b"), evidence: Evidence::Strong, joined: joined(heard) });
    a.identities.push(Identity { id: id("c"), evidence: Evidence::Manual, joined: joined(by_hand) });
    let letter = |detail: &str, cells: Vec<_>| {
        let (reason, detail) = (DeadReason::LinkRefused, detail.to_owned());
        Output::DeadLetter(DeadLetter { reason, detail, cells })
    };
    let outputs = vec![letter("ours", vec![key("x"), key("b")]), letter("others", vec![key("x"), key("y")])];
    world.publish(partition("a"), outputs, vec![a]);
    world.publish(partition("b"), vec![], vec![]);
    let mut client = ContactServiceClient::new(world.channel.clone());
    let request = v1::ListLinksRequest { name: name("a"), read: full() };
    let reply = client.list_links(request).await.unwrap().into_inner();
    let said: Vec<_> =
        reply.links.iter().map(|link| (link.said_by.as_str(), link.actor.as_str(), link.reason.as_str())).collect();
    assert_eq!(said, [("", "", ""), ("identity.linked", "", ""), ("command.link", "wang", "同一个人")]);
    let evidence: Vec<_> = reply.links.iter().map(|link| link.identity.as_ref().unwrap().evidence.as_str()).collect();
    assert_eq!(evidence, ["strong", "strong", "manual"]);
    let refused: Vec<_> = reply.refused.iter().map(|letter| letter.detail.as_str()).collect();
    assert_eq!(refused, ["ours"]);
}

#[tokio::test]
async fn stages_are_those_of_the_boards_in_force() {
    // The record was published before any playbook was active: it names no stage.
    let world = World::new().await;
    let asking = contact("asking", 1, &[("商机/考虑价格", 7)]);
    assert_eq!(asking.stages, []);
    world.publish(partition("asking"), vec![], vec![asking]);
    world.activate();
    let request = v1::GetContactRequest { by: Some(v1::get_contact_request::By::Name(name("asking"))), read: full() };
    let mut client = ContactServiceClient::new(world.channel.clone());
    let found = client.get_contact(request).await.unwrap().into_inner().contact.unwrap();
    let stage =
        v1::Stage {
            board: "商机看板".into(), column: "考虑价格".into(), entered_at_ms: found.tags[0].set_at_ms
        };
    assert_eq!(found.stages, [stage]);
    // The label is the playbook's, the tag's id stays.
    assert_eq!((found.tags[0].tag.as_str(), found.tags[0].label.as_str()), ("考虑价格", "在考虑价格"));
}

#[tokio::test]
async fn a_board_shows_counts_labels_and_the_latest_first() {
    let world = small_world().await;
    let mut client = BoardServiceClient::new(world.channel.clone());
    let boards = client.list_boards(v1::ListBoardsRequest { parent: ACME.into() }).await.unwrap().into_inner().boards;
    assert_eq!(boards[0].name, "tenants/acme/boards/商机看板");
    assert_eq!((boards[0].playbook.as_str(), boards[0].group.as_str()), ("price", "商机"));
    let request = v1::GetBoardViewRequest { name: boards[0].name.clone(), read: full(), ..Default::default() };
    let view = client.get_board_view(request.clone()).await.unwrap().into_inner();
    let columns: Vec<_> = view.columns.iter().map(|c| (c.id.as_str(), c.label.as_str(), c.count)).collect();
    assert_eq!(columns, [("初步沟通", "初步沟通", 0), ("考虑价格", "在考虑价格", 2), ("赢单", "赢单", 1)]);
    let cards: Vec<_> = view.columns[1].cards.iter().map(|c| (c.contact.as_str(), c.entered_at_ms)).collect();
    let minute = 60_000;
    assert_eq!(cards, [(name("b").as_str(), NOON.0 + 2 * minute), (name("a").as_str(), NOON.0 + minute)]);
    assert_eq!(view.columns[1].cards[0].stage.as_deref(), Some("考虑价格"));

    let vip = v1::GetBoardViewRequest { filter: "tag(身份/vip)".into(), cards_per_column: 1, ..request.clone() };
    let vip = client.get_board_view(vip).await.unwrap().into_inner();
    assert_eq!(vip.columns.iter().map(|c| (c.count, c.cards.len())).collect::<Vec<_>>(), [(0, 0), (1, 1), (1, 1)]);
    let one = v1::GetBoardViewRequest { columns: vec!["赢单".into()], counts_only: true, ..request.clone() };
    let one = client.get_board_view(one).await.unwrap().into_inner();
    assert_eq!(one.columns.iter().map(|c| (c.count, c.cards.len())).collect::<Vec<_>>(), [(1, 0)]);
    let unknown = v1::GetBoardViewRequest { columns: vec!["没有".into()], ..request };
    assert_eq!(client.get_board_view(unknown).await.unwrap_err().code(), Code::InvalidArgument);
    let nowhere = v1::GetBoardViewRequest { name: "tenants/acme/boards/没有".into(), ..Default::default() };
    assert_eq!(client.get_board_view(nowhere).await.unwrap_err().code(), Code::NotFound);
}

/// 「你们产品多少钱」 set the tag; the event was forwarded from the cell of `native` to that of `a`.
async fn explained_world() -> (World, Position, Position) {
    let world = World::new().await;
    let event = said("native", "你们产品多少钱");
    let origin = world.event(event.clone());
    let forward = LoopBody::Forward { target: key("a"), event: Box::new(event.clone()), origin, hops: 1 };
    let told = Loop { source: origin.partition, sequence: 1, origin, clock: NOON, body: forward };
    let position = world.append(partition("a"), &Input::Loop(Box::new(told)));
    let hit = Hit { keywords: "价格".into(), keyword: "多少钱".into(), field: "text".into(), start: 4, end: 7 };
    let why = Cause {
        origin: Some(origin),
        event_id: Some(event.id),
        kind: "chat.message".into(),
        hit: Some(hit),
        ..cause(position)
    };
    let mut a = contact("a", position.offset, &[("商机/考虑价格", 0)]);
    a.identities.push(Identity::own(id("native")));
    let outputs = vec![
        change("a", "商机", Some("初步沟通"), None, cause(position)),
        change("a", "商机", Some("考虑价格"), Some("初步沟通"), why),
        touch("a", "p1", TouchState::Due),
    ];
    world.publish(partition("a"), outputs, vec![a]);
    world.publish(1 - partition("a"), vec![], vec![]);
    (world, origin, position)
}

#[tokio::test]
async fn a_tag_is_explained_down_to_the_characters() {
    let (world, origin, position) = explained_world().await;
    let mut client = ContactServiceClient::new(world.channel.clone());
    let tag = |tag: &str| v1::ExplainTagRequest {
        name: name("a"),
        tag: Some(v1::TagRef { group: "商机".into(), tag: tag.into() }),
        read: full(),
    };
    let why = client.explain_tag(tag("考虑价格")).await.unwrap().into_inner();
    assert_eq!(why.tag.unwrap().tag, "考虑价格");
    assert_eq!(why.history.len(), 1);
    let cause = why.history[0].cause.as_ref().unwrap();
    assert_eq!((cause.rule.as_str(), cause.playbook.as_str(), cause.bundle), ("rules/asks-price", "price", 1));
    let hit = cause.hit.as_ref().unwrap();
    assert_eq!((hit.keyword.as_str(), hit.start, hit.end), ("多少钱", 4, 7));
    let event = why.event.unwrap();
    assert_eq!(event.event_id, said("native", "你们产品多少钱").id.0);
    assert_eq!(raw(&event), b"", "the raw payload stays in the log");
    assert_eq!(
        why.text,
        format!(
            "商机/考虑价格 was set at 2026-03-02T04:00:00.000Z in place of 初步沟通, by rules/asks-price of playbook price \
             in bundle 1, on chat.message applied at {position}, which lies at {origin}, of 2026-03-02T03:59:00.000Z: \
             keyword 多少钱 of 价格 in text, characters 4 to 7."
        )
    );

    let gone = client.explain_tag(tag("初步沟通")).await.unwrap().into_inner();
    assert_eq!((gone.tag, gone.history.len()), (None, 2), "its setting and its swap");
    assert_eq!(gone.history[0].set.as_deref(), Some("考虑价格"), "newest first");
    assert!(gone.text.contains("was unset") && gone.text.contains("by 考虑价格 in its place"), "{}", gone.text);
    let never = client.explain_tag(tag("赢单")).await.unwrap().into_inner();
    assert_eq!((never.tag, never.history.len(), never.event), (None, 0, None));
}

fn raw(event: &v1::Event) -> &[u8] {
    match event.private.as_ref().and_then(|private| private.state.as_ref()) {
        Some(v1::private::State::Plain(plain)) => &plain.raw,
        _ => b"not there",
    }
}

#[tokio::test]
async fn a_timeline_lists_events_once_with_what_followed() {
    let (world, origin, _) = explained_world().await;
    let mut client = ContactServiceClient::new(world.channel.clone());
    let (mut kinds, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListTimelineRequest { name: name("a"), page_size: 1, page_token, read: full() };
        let page = client.list_timeline(request).await.unwrap().into_inner();
        assert!(page.entries.len() <= 1);
        for entry in page.entries {
            if let Some(v1::timeline_entry::Entry::Event(event)) = &entry.entry {
                assert_eq!(raw(event), b"");
                let at = entry.position.unwrap();
                assert_eq!((at.partition, at.offset), (origin.partition, origin.offset), "where it lies natively");
                assert_eq!(entry.at_ms, NOON.0 - 60_000);
            }
            kinds.push((entry.kind, entry.summary));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let kinds: Vec<_> = kinds.iter().map(|(kind, summary)| (kind.as_str(), summary.as_str())).collect();
    assert_eq!(
        kinds,
        [
            ("touch.due", "sop/p1: dm 报价说明 due"),
            ("tag.changed", "商机: 初步沟通 → 考虑价格"),
            ("tag.changed", "商机: + 初步沟通"),
            ("chat.message", "chat.message over wecom_archive"),
        ]
    );
}

#[tokio::test]
async fn after_a_merge_one_timeline_has_both_histories_under_either_name() {
    let world = World::new().await;
    let at = |name: &str| Position { partition: partition(name), offset: 0 };
    let mine = vec![change("a", "商机", Some("初步沟通"), None, cause(at("a")))];
    let theirs = vec![
        change("native", "兴趣", Some("奶粉"), None, cause(at("native"))),
        touch("native", "p1", TouchState::Cancelled),
    ];
    let mut a = contact("a", 1, &[("商机/初步沟通", 0), ("兴趣/奶粉", 0)]);
    a.identities.push(Identity::own(id("native")));
    let merged = Contact { merged_into: Some(key("a")), ..contact("native", 1, &[]) };
    // Both partitions publish once, whether or not they are the same.
    let of = |number: u32| {
        let both = [("a", mine.clone(), a.clone()), ("native", theirs.clone(), merged.clone())];
        both.into_iter().filter(move |(name, ..)| partition(name) == number)
    };
    for number in 0..PARTITIONS {
        let outputs = of(number).flat_map(|(_, outputs, _)| outputs).collect();
        world.publish(number, outputs, of(number).map(|(.., contact)| contact).collect());
    }
    let mut client = ContactServiceClient::new(world.channel.clone());
    for asked in ["a", "native"] {
        let request = v1::ListTimelineRequest { name: name(asked), read: full(), ..Default::default() };
        let entries = client.list_timeline(request).await.unwrap().into_inner().entries;
        let mut said: Vec<_> = entries.iter().map(|entry| entry.summary.as_str()).collect();
        said.sort_unstable();
        assert_eq!(said, ["sop/p1: dm 报价说明 cancelled", "兴趣: + 奶粉", "商机: + 初步沟通"], "asked for {asked}");
    }
}

#[tokio::test]
async fn dead_letters_are_listed_by_reason_and_page() {
    let world = World::new().await;
    let letter =
        |reason, detail: &str| Output::DeadLetter(DeadLetter { reason, detail: detail.into(), cells: Vec::new() });
    world.publish(0, vec![letter(DeadReason::Undecodable, "1"), letter(DeadReason::Misrouted, "2")], vec![]);
    world.publish(1, vec![letter(DeadReason::Misrouted, "3")], vec![]);
    let mut client = AdminServiceClient::new(world.channel.clone());
    until_applied(&world).await;
    for (reason, expected) in [("", vec!["1", "2", "3"]), ("misrouted", vec!["2", "3"]), ("link_weak", vec![])] {
        let (mut details, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListDeadLettersRequest { reason: reason.into(), page_size: 1, page_token };
            let page = client.list_dead_letters(request).await.unwrap().into_inner();
            details.extend(page.dead_letters.into_iter().map(|letter| letter.detail));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(details, expected, "{reason}");
    }
    let wrong = v1::ListDeadLettersRequest { reason: "bad".into(), ..Default::default() };
    assert_eq!(client.list_dead_letters(wrong).await.unwrap_err().code(), Code::InvalidArgument);
}

/// Reads until everything that was published is applied.
async fn until_applied(world: &World) {
    SegmentServiceClient::new(world.channel.clone()).count_segment(count("")).await.unwrap();
}

#[tokio::test]
async fn a_gap_raises_an_alarm_and_only_the_missing_record_goes_on() {
    let world = World::new().await;
    let (partition, at) = (partition("a"), Position { partition: partition("a"), offset: 0 });
    let change = |sequence: u64, tag: &str| {
        let set = Some(tag.to_owned());
        let change = TagChange {
            contact: key("a"),
            group: "身份".into(),
            set,
            unset: None,
            moves: vec![],
            retracted: false,
            at: NOON,
            cause: cause(at),
        };
        let numbered = Numbered { sequence, clock: NOON, source: at, output: Output::TagChange(change) };
        output_record(&numbered)
    };
    let damaged = NewRecord { value: vec![0xff], ..NewRecord::default() };
    // 2 is missing: 3 is ignored; 2 comes; 3 comes again; 1 is a repeat.
    let records = vec![change(1, "一"), change(3, "三"), change(2, "二"), change(3, "三"), change(1, "一"), damaged];
    wait(world.log.append(Topic::TagChanges, partition, records)).unwrap();
    world.publish(partition, vec![], vec![contact("a", 1, &[])]);
    until_applied(&world).await;
    let alarms = world.handle.as_ref().unwrap().alarms();
    assert_eq!((alarms.gaps, alarms.undecodable, alarms.log), (1, 1, None));
    let mut client = ContactServiceClient::new(world.channel.clone());
    let request = v1::ListTimelineRequest { name: name("a"), ..Default::default() };
    let entries = client.list_timeline(request).await.unwrap().into_inner().entries;
    let said: Vec<_> = entries.iter().map(|entry| entry.summary.as_str()).collect();
    assert_eq!(said, ["身份: + 三", "身份: + 二", "身份: + 一"]);
}

#[tokio::test]
async fn operators_see_partitions_and_move_a_manual_clock_only() {
    let world = World::new().await;
    world.event(said("a", "x"));
    world.event(said("a", "y"));
    let mut client = AdminServiceClient::new(world.channel.clone());
    let status = client.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.epoch.as_str(), status.clock_mode.as_str()), (world.log.cluster_id().as_str(), "manual"));
    assert_eq!(status.partitions.len(), PARTITIONS as usize);
    let mine = &status.partitions[partition("a") as usize];
    assert_eq!((mine.end_offset, mine.lag_records), (2, 2));
    assert_eq!(mine.next_due_ms, None, "nothing is published yet");

    let advance = |to: Time| v1::AdvanceClockRequest { to_ms: to.0 };
    // What the move led to has to be readable before it is answered.
    world.publish(partition("a"), vec![], vec![]);
    let moved = client.advance_clock(advance(Time(NOON.0 + 9))).await.unwrap().into_inner();
    assert_eq!(moved.clock_ms, NOON.0 + 9);
    let status = client.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.partitions[partition("a") as usize].next_due_ms, Some(NOON.0 + 5), "as Progress says");
    let refused = client.advance_clock(advance(NOON)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "CLOCK_NOT_MANUAL");
    assert_eq!(client.advance_clock(advance(Time(5))).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn health_turns_to_serving_once_caught_up() {
    let world = World::new().await;
    let mut client = tonic_health::pb::health_client::HealthClient::new(world.channel.clone());
    let request = tonic_health::pb::HealthCheckRequest { service: "touchline.v1.BoardService".into() };
    let mut stream = client.watch(request).await.unwrap().into_inner();
    let serving = tonic_health::pb::health_check_response::ServingStatus::Serving as i32;
    let reached = async {
        while let Some(status) = stream.message().await.unwrap() {
            if status.status == serving {
                return;
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(Duration::from_secs(10), reached).await.unwrap();
    let reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(world.channel.clone());
    let list = tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let ask = tonic_reflection::pb::v1::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut answers = { reflection }.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap());
    assert!(answer.contains("touchline.v1.BoardService") && answer.contains("grpc.health.v1.Health"), "{answer}");
    assert!(world.handle.as_ref().unwrap().caught_up() && world.handle.as_ref().unwrap().is_alive());
}
