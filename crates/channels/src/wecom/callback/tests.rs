use super::*;
use crate::account::Secret;
use crate::decoded::hex;
use crate::decoded::tests::check_taxonomy;
use crate::wecom::{Sealed, callback, seal};
use proptest::prelude::*;
use touchline_model::event::{Event, Private};

const CUSTOMER: &str = "wmTLcustomer1";
const NOW: Time = Time(1_772_416_801_000);

fn account() -> Wecom {
    Wecom {
        tenant: "acme".into(),
        corp_id: "wwcorp".into(),
        receive_id: "wwcorp".into(),
        token: Secret::new("token"),
        aes_key: Secret::new("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"),
        staff: ["zhangsan".to_owned(), "woPartnerStaff".to_owned()].into(),
    }
}

fn element(name: &str, text: &str) -> String {
    format!("<{name}><![CDATA[{text}]]></{name}>")
}

/// The self-built form around `rest`.
fn corp(event: &str, rest: &str) -> String {
    format!(
        "<xml>{}{}<CreateTime>1772416800</CreateTime>{}{}{rest}</xml>",
        element("ToUserName", "wwcorp"),
        element("FromUserName", "sys"),
        element("MsgType", "event"),
        element("Event", event),
    )
}

/// The third-party form around `rest`.
fn suite(event: &str, rest: &str) -> String {
    let head = [element("SuiteId", "wwsuite"), element("AuthCorpId", "wwcorp"), element("InfoType", event)].concat();
    format!("<xml>\n  {head}\n  <TimeStamp>1772416800</TimeStamp>{rest}</xml>")
}

fn events(inner: &str) -> Vec<Event> {
    let events = decode(&account(), inner.as_bytes(), NOW).unwrap().events;
    events.iter().for_each(check_taxonomy);
    events
}

fn raw(event: &Event) -> String {
    let Private::Plain { raw, .. } = &event.private else { panic!("plain") };
    String::from_utf8(raw.clone()).unwrap()
}

/// One line per event: kind, cell, fields, actor.
fn shown(inner: &str) -> Vec<String> {
    let line = |event: &Event| {
        let fields: Vec<String> = event.fields.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
        let actor = match &event.actor {
            Actor::Staff(user) => format!("staff {user}"),
            actor => format!("{actor:?}").to_lowercase(),
        };
        format!("{} {} [{}] by {actor}", event.kind, event.key(), fields.join(" "))
    };
    events(inner).iter().map(line).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::List(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => format!("{other:?}"),
    }
}

/// Both forms give the same line.
fn check_both(event: &str, rest: &str, expected: &[&str]) {
    assert_eq!(shown(&corp(event, rest)), expected);
    assert_eq!(shown(&suite(event, rest)), expected);
}

fn contact(change: &str, more: &str) -> String {
    let ids = [element("UserID", "zhangsan"), element("ExternalUserID", CUSTOMER)].concat();
    format!("{}{ids}{more}", element("ChangeType", change))
}

#[test]
fn customer_contact_changes() {
    let cell = "acme/wecom_external_userid/wwcorp/wmTLcustomer1";
    let check = |change: &str, more: &str, expected: &str| {
        check_both("change_external_contact", &contact(change, more), &[&expected.replace("CELL", cell)]);
    };
    let state = element("State", "qr-7") + &element("WelcomeCode", "CALLBACK_CODE");
    check(
        "add_external_contact",
        &state,
        "contact.added CELL [half=false staff=zhangsan state=qr-7] by staff zhangsan",
    );
    check("add_half_external_contact", "", "contact.added CELL [half=true staff=zhangsan] by customer");
    check("edit_external_contact", "", "contact.edited CELL [staff=zhangsan] by staff zhangsan");
    check("del_external_contact", "", "contact.removed CELL [by=staff staff=zhangsan] by staff zhangsan");
    let transfer = element("Source", "DELETE_BY_TRANSFER");
    check("del_external_contact", &transfer, "contact.removed CELL [by=transfer staff=zhangsan] by system");
    check("del_follow_user", "", "contact.removed CELL [by=customer staff=zhangsan] by customer");
    let refused = element("FailReason", "customer_refused");
    check("transfer_fail", &refused, "contact.transfer_failed CELL [reason=customer_refused staff=zhangsan] by system");
    check("msg_audit_approved", "", "chat.consent CELL [granted=true staff=zhangsan] by customer");
    check("brand_new", "", "channel.notice CELL [notice=change_external_contact.brand_new] by system");
    let start = contact("customer_start_chat", &element("LinkId", "cawc1"));
    check_both("customer_acquisition", &start, &[&format!("chat.started {cell} [link_id=cawc1] by customer")]);
}

fn group_update(detail: &str, more: &str) -> String {
    [element("ChatId", "wrABC"), element("ChangeType", "update"), element("UpdateDetail", detail), more.into()].concat()
}

#[test]
fn group_changes() {
    let group = "acme/group/wwcorp/wrABC";
    let check = |rest: &str, expected: &[&str]| check_both("change_external_chat", rest, expected);
    for (change, kind) in [("create", "group.created"), ("dismiss", "group.dismissed")] {
        let rest = element("ChatId", "wrABC") + &element("ChangeType", change);
        check(&rest, &[&format!("{kind} {group} [] by unknown")]);
    }
    for (detail, kind) in
        [("change_owner", "owner_changed"), ("change_name", "renamed"), ("change_notice", "notice_changed")]
    {
        check(&group_update(detail, ""), &[&format!("group.{kind} {group} [] by unknown")]);
    }
    let list = "<JoinScene>3</JoinScene><MemChangeCnt>3</MemChangeCnt><MemChangeList><Item>wmA</Item><Item>zhangsan</Item><Item>woB</Item></MemChangeList>";
    check(
        &group_update("add_member", list),
        &[
            "group.joined acme/wecom_external_userid/wwcorp/wmA [group=wrABC how=qr member=wmA] by customer",
            "group.joined acme/wecom_external_userid/wwcorp/woB [group=wrABC how=qr member=woB] by customer",
            &format!("group.members_changed {group} [count=3 detail=add_member list=wmA,woB] by unknown"),
        ],
    );
    let left = "<QuitScene>1</QuitScene><MemChangeList><Item>wmA</Item></MemChangeList>";
    check(
        &group_update("del_member", left),
        &[
            "group.left acme/wecom_external_userid/wwcorp/wmA [group=wrABC how=kicked member=wmA] by customer",
            &format!("group.members_changed {group} [detail=del_member list=wmA] by unknown"),
        ],
    );
    // An older app lists nobody: a hint for the snapshot. Staff alone are no customer's behaviour.
    let hint = "<MemChangeCnt>2</MemChangeCnt><LastMemVer>v1</LastMemVer><CurMemVer>v2</CurMemVer>";
    check(
        &group_update("add_member", hint),
        &[&format!("group.members_changed {group} [count=2 detail=add_member from_ver=v1 to_ver=v2] by unknown")],
    );
    let staff = "<MemChangeList><Item>zhangsan</Item><Item>woPartnerStaff</Item></MemChangeList>";
    check(
        &group_update("del_member", staff),
        &[&format!("group.members_changed {group} [detail=del_member list=] by unknown")],
    );
    let joined = &events(&corp("change_external_chat", &group_update("add_member", list)))[0];
    assert_eq!(joined.subject[1].value, "wrABC", "the group is the second subject");
}

#[test]
fn corp_wide_events_have_a_cell_too() {
    let corp_cell = "acme/group/wwcorp/wwcorp";
    let tag = [element("Id", "etTAG"), element("TagType", "tag"), element("ChangeType", "create")].concat();
    check_both(
        "change_external_tag",
        &tag,
        &[&format!("tag_catalog.changed {corp_cell} [id=etTAG op=create type=tag] by unknown")],
    );
    check_both(
        "change_external_tag",
        &tag.replace("create", "freeze"),
        &[&format!("channel.notice {corp_cell} [notice=change_external_tag.freeze] by system")],
    );
    let items = "<SelectedItems><SelectedItem><QuestionKey>q</QuestionKey><OpitonIds><OpitonId>a</OpitonId><OpitonId>b</OpitonId></OpitonIds></SelectedItem></SelectedItems>";
    let card = [element("EventKey", "sent"), element("TaskId", "t-1"), items.to_owned()].concat();
    let inner = corp("template_card_event", &card).replace("[sys]", "[zhangsan]");
    assert_eq!(
        shown(&inner),
        [format!("card.action {corp_cell} [event_key=sent options=a,b task_id=t-1] by staff zhangsan")]
    );
    let click = corp("click", &element("EventKey", "help")).replace("[sys]", "[zhangsan]");
    assert_eq!(shown(&click), [format!("menu.clicked {corp_cell} [key=help] by staff zhangsan")]);
    let view = corp("view", &element("EventKey", "https://x.example")).replace("[sys]", "[wmA]");
    assert_eq!(
        shown(&view),
        ["menu.clicked acme/wecom_external_userid/wwcorp/wmA [url=https://x.example] by customer"]
    );
}

#[test]
fn poll_triggers_and_the_unknown_are_kept() {
    for event in ["msgaudit_notify", "kf_msg_or_event", "conversation_new_message"] {
        let decoded = decode(&account(), suite(event, "").as_bytes(), NOW).unwrap();
        assert_eq!((decoded.purpose, decoded.events[0].kind), (Purpose::PollTrigger, Kind::ChannelNotice));
    }
    let inner = corp("never_seen_before", "<X>1</X>");
    let event = &events(&inner)[0];
    assert_eq!((event.kind, event.native.kind.as_str()), (Kind::ChannelNotice, "never_seen_before"));
    assert_eq!(raw(event), inner);
    let text = "<xml><MsgType>text</MsgType><Content>hi</Content><MsgId>4561255354251345929</MsgId></xml>";
    let event = &events(text)[0];
    assert_eq!((event.native.kind.as_str(), event.native.id.as_str()), ("message.text", "4561255354251345929"));
}

#[test]
fn times_are_seconds_of_the_channel_or_nothing() {
    let inner = corp("change_external_contact", &contact("edit_external_contact", ""));
    let event = &events(&inner)[0];
    assert_eq!((event.occurred_at, event.precision), (Some(Time(1_772_416_800_000)), Precision::Second));
    assert_eq!(event.received_at, NOW);
    for time in ["0", "-1", "99999999999999999999", "9223372036854775807", "x", ""] {
        let inner = inner.replace("1772416800", time);
        assert_eq!(events(&inner)[0].occurred_at, None, "{time}");
    }
}

#[test]
fn the_welcome_code_is_not_kept() {
    let inner = corp(
        "change_external_contact",
        &contact("add_external_contact", &(element("WelcomeCode", "SECRET1") + "<WelcomeCode >SECRET2</WelcomeCode>")),
    );
    let event = &events(&inner)[0];
    assert_eq!(raw(event), inner.replace("<![CDATA[SECRET1]]>", "").replace("SECRET2", ""));
    assert!(!format!("{event:?}").contains("SECRET"));
    assert_eq!(hex(&event.native.raw_sha256), hex(&sha256(inner.as_bytes())));
}

#[test]
fn another_corp_of_the_suite_is_refused() {
    let inner = suite("change_external_contact", &contact("edit_external_contact", "")).replace("wwcorp", "wwother");
    assert_eq!(decode(&account(), inner.as_bytes(), NOW), Err(Error::UnknownAccount));
}

#[test]
fn a_retry_is_one_event_and_two_changes_in_a_second_are_two() {
    let added = |customer: &str| {
        corp("change_external_contact", &contact("add_external_contact", "").replace(CUSTOMER, customer))
    };
    let ids = |sealed: &Sealed| -> Vec<_> {
        let decoded = callback(&account(), &sealed.signed, sealed.body.as_bytes(), NOW).unwrap();
        decoded.events.iter().map(|event| event.id).collect()
    };
    let first = seal(&account(), &added("wmA"), "1", "n1", [1; 16]).unwrap();
    let retry = seal(&account(), &added("wmA"), "6", "n2", [2; 16]).unwrap();
    let other = seal(&account(), &added("wmB"), "1", "n1", [1; 16]).unwrap();
    assert_ne!(first.body, retry.body);
    assert_eq!(ids(&first), ids(&retry));
    assert_ne!(ids(&first), ids(&other));
    let joined = corp(
        "change_external_chat",
        &group_update("add_member", "<MemChangeList><Item>wmA</Item><Item>wmB</Item></MemChangeList>"),
    );
    let joined = ids(&seal(&account(), &joined, "1", "n", [0; 16]).unwrap());
    assert_ne!(joined[0], joined[1]);
}

#[test]
fn identifiers_too_long_for_a_key_are_refused() {
    let inner =
        corp("change_external_contact", &contact("edit_external_contact", "").replace(CUSTOMER, &"w".repeat(600)));
    assert_eq!(decode(&account(), inner.as_bytes(), NOW), Err(Error::Malformed { what: "identifier" }));
}

proptest! {
    #[test]
    fn arbitrary_inner_xml_never_panics(
        event in "(change_external_(contact|chat|tag)|template_card_event|\\PC{0,8})",
        rest in "(<[A-Z][A-Za-z]{0,9}>|</[A-Z][A-Za-z]{0,9}>|<ChatId>x</ChatId>|&#?[a-z0-9]{0,4};|<!\\[CDATA\\[|\\]\\]>|\\PC){0,20}",
    ) {
        let _ = decode(&account(), corp(&event, &rest).as_bytes(), NOW);
    }

    #[test]
    fn every_callback_with_a_known_element_gives_an_event(change in "[a-z_]{1,20}", detail in "[a-z_]{1,20}") {
        let rest = group_update(&detail, "") + &element("ChangeType", &change);
        prop_assert_eq!(events(&corp("change_external_chat", &rest)).len(), 1);
    }
}
