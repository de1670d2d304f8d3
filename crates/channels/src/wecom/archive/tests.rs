use super::*;
use crate::account::Secret;
use crate::decoded::tests::check_taxonomy;
use proptest::prelude::*;
use touchline_model::event::{Event, Private};

const FIXTURE: &str = include_str!("../../../tests/fixtures/wecom_archive.ndjson");
const CUSTOMER_CELL: &str = "acme/wecom_external_userid/wwcorp/wmTLcustomer00000000000000000001";
const GROUP_CELL: &str = "acme/group/wwcorp/wrTLgroup000000000000000001";
const CORP_CELL: &str = "acme/group/wwcorp/wwcorp";

fn account() -> Wecom {
    Wecom {
        tenant: "acme".into(),
        corp_id: "wwcorp".into(),
        receive_id: "wwcorp".into(),
        token: Secret::new("token"),
        aes_key: Secret::new("key"),
        staff: ["zhangsan".to_owned(), "lisi".to_owned(), "woOurStaff".to_owned()].into(),
    }
}

fn one(line: &str) -> Event {
    let decoded = decode(&account(), line.as_bytes(), Time(1)).unwrap();
    let [event] = <[Event; 1]>::try_from(decoded.events).unwrap();
    check_taxonomy(&event);
    event
}

fn of_type(native_type: &str) -> Event {
    FIXTURE.lines().map(one).find(|event| event.native.kind == native_type).unwrap()
}

fn integer(event: &Event, path: &str) -> Option<i64> {
    match event.fields.path(path)? {
        Value::Number(number) => number.as_integer(),
        _ => None,
    }
}

/// Type, kind, cell, direction and what it says, for each of the 27 documented types.
#[test]
fn every_documented_type_decodes() {
    let expected = [
        ("text", "chat.message", CUSTOMER_CELL, "in"),
        ("image", "chat.message", CUSTOMER_CELL, "out"),
        ("revoke", "chat.recalled", CUSTOMER_CELL, ""),
        ("agree", "chat.consent", CUSTOMER_CELL, ""),
        ("disagree", "chat.consent", CUSTOMER_CELL, ""),
        ("voice", "chat.message", CUSTOMER_CELL, "in"),
        ("video", "chat.message", CUSTOMER_CELL, "out"),
        ("card", "chat.message", CUSTOMER_CELL, "out"),
        ("location", "chat.message", CUSTOMER_CELL, "out"),
        ("emotion", "chat.message", CUSTOMER_CELL, "out"),
        ("file", "chat.message", CUSTOMER_CELL, "out"),
        ("link", "chat.message", CUSTOMER_CELL, "out"),
        ("weapp", "chat.message", CUSTOMER_CELL, "out"),
        ("chatrecord", "chat.message", CUSTOMER_CELL, "in"),
        ("collect", "chat.message", GROUP_CELL, "out"),
        ("redpacket", "chat.message", CUSTOMER_CELL, "out"),
        ("external_redpacket", "chat.message", CUSTOMER_CELL, "in"),
        ("meeting", "chat.message", GROUP_CELL, "out"),
        ("switch", "channel.notice", CORP_CELL, ""),
        ("docmsg", "chat.message", GROUP_CELL, "out"),
        ("markdown", "chat.message", GROUP_CELL, "out"),
        ("news", "chat.message", GROUP_CELL, "out"),
        ("calendar", "chat.message", GROUP_CELL, "out"),
        ("mixed", "chat.message", CUSTOMER_CELL, "in"),
        ("meeting_voice_call", "chat.message", CUSTOMER_CELL, "out"),
        ("voip_doc_share", "chat.message", CUSTOMER_CELL, "out"),
        ("sphfeed", "chat.message", CUSTOMER_CELL, "in"),
    ];
    let events: Vec<Event> = FIXTURE.lines().map(one).collect();
    assert_eq!(events.len(), expected.len());
    for (event, (native_type, kind, cell, direction)) in events.iter().zip(expected) {
        let got = (event.native.kind.as_str(), event.kind.name(), event.key().as_str().to_owned());
        assert_eq!(got, (native_type, kind, cell.to_owned()));
        assert_eq!(event.fields.text("direction").unwrap_or_default(), direction, "{native_type}");
    }
    let mut ids: Vec<_> = events.iter().map(|event| event.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), expected.len());
}

#[test]
fn what_is_said_is_private_and_whole() {
    let text = of_type("text");
    assert_eq!(text.text(), Some("你们产品多少钱"));
    assert_eq!(text.fields.get("text"), None, "message text is private");
    assert_eq!(text.fields.text("conversation.type"), Some("single"));
    assert_eq!(text.fields.text("conversation.id"), Some("zhangsan:wmTLcustomer00000000000000000001"));
    assert_eq!(of_type("image").fields.text("conversation.id"), text.fields.text("conversation.id"));
    assert_eq!(text.fields.text("staff"), Some("zhangsan"));
    assert_eq!((text.actor.clone(), of_type("image").actor), (Actor::Customer, Actor::Staff("zhangsan".into())));
    assert_eq!(text.fields.text("msg_id"), Some("9007199254740901001_1772416800_external"));
    assert_eq!(text.occurred_at, Some(Time(1_772_416_800_001)));
    assert_eq!(of_type("image").occurred_at, None, "msgtime 0 is no time");
    assert_eq!(of_type("mixed").text(), Some("看看这款"));
    assert_eq!(of_type("markdown").text(), Some("## 今日活动"));
    let Private::Plain { raw, .. } = &text.private else { panic!("plain") };
    assert_eq!(raw.as_slice(), FIXTURE.lines().next().unwrap().as_bytes());
}

#[test]
fn each_body_has_its_own_fields() {
    assert_eq!(of_type("link").fields.text("link.url"), Some("https://go.acme.example/l/abc"));
    assert_eq!(of_type("docmsg").fields.text("link.title"), Some("报价单"));
    assert_eq!(of_type("news").fields.text("link.url"), Some("https://go.acme.example/l/def"));
    assert_eq!(of_type("weapp").fields.text("mini_program.app"), Some("gh_abc@app"));
    assert_eq!(integer(&of_type("redpacket"), "amount_fen"), Some(3_000));
    assert_eq!(integer(&of_type("external_redpacket"), "amount_fen"), Some(88));
    assert_eq!(integer(&of_type("voice"), "media.size"), Some(6_810));
    assert_eq!(integer(&of_type("emotion"), "media.size"), Some(962_604));
    assert_eq!(of_type("file").fields.text("media.ref"), Some("file-5"));
    assert_eq!(of_type("revoke").fields.text("target_msg_id"), Some("14822339130656386894_1603875600"));
    let (agree, disagree) = (of_type("agree"), of_type("disagree"));
    assert_eq!(
        (agree.fields.get("granted"), disagree.fields.get("granted")),
        (Some(&Value::Bool(true)), Some(&Value::Bool(false)))
    );
    assert_eq!(
        (agree.occurred_at, disagree.occurred_at),
        (Some(Time(1_772_416_800_500)), Some(Time(1_772_416_800_600)))
    );
    assert_eq!(agree.fields.text("staff"), Some("zhangsan"));
    let record = of_type("chatrecord");
    let Private::Plain { fields, .. } = &record.private else { panic!("plain") };
    let quote = Fields::new()
        .with("type", Value::text("ChatRecordText"))
        .with("text", Value::text("转发的一句"))
        .with("at", Value::Time(Time(1_603_875_610_000)));
    assert_eq!(fields.get("items"), Some(&Value::List(vec![Value::Record(quote)])));
}

#[test]
fn numbers_beyond_2_to_the_53_are_not_bent() {
    let share = of_type("voip_doc_share");
    assert_eq!(share.fields.path("media.size"), None, "a size beyond the range of numbers is left out");
    let Private::Plain { raw, .. } = &of_type("meeting").private else { panic!("plain") };
    assert!(String::from_utf8_lossy(raw).contains("11101571002822706744"));
    let line = r#"{"msgid":11101571002822706745,"action":"send","from":"wmA","tolist":["zhangsan"],"roomid":"","msgtime":1772416800000,"msgtype":"file","file":{"filesize":9007199254741}}"#;
    assert_eq!(one(line).native.id, "11101571002822706745");
    assert_eq!(integer(&one(line), "media.size"), Some(9_007_199_254_741));
}

#[test]
fn the_staff_set_decides_before_the_prefix() {
    let line = |from: &str, to: &str, room: &str| {
        format!(
            r#"{{"msgid":"1","action":"send","from":"{from}","tolist":["{to}"],"roomid":"{room}","msgtype":"text","text":{{"content":"x"}}}}"#
        )
    };
    let check = |from: &str, to: &str, room: &str, direction: &str, subject: &[&str]| {
        let event = one(&line(from, to, room));
        let values: Vec<&str> = event.subject.iter().map(|id| id.value.as_str()).collect();
        assert_eq!(
            (event.fields.text("direction"), values.as_slice()),
            (Some(direction), subject),
            "{from} {to} {room}"
        );
    };
    check("woOurStaff", "wmA", "", "out", &["wmA"]);
    check("woOther", "zhangsan", "", "in", &["woOther"]);
    check("newcomer", "wmA", "", "out", &["wmA"]);
    check("wmA", "zhangsan", "wrR", "in", &["wmA", "wrR"]);
    check("zhangsan", "wmA", "wrR", "out", &["wrR"]);
    check("zhangsan", "lisi", "", "out", &["wwcorp"]);
}

#[test]
fn the_unknown_is_kept_and_the_unreadable_refused() {
    let event = one(
        r#"{"msgid":"1","action":"send","from":"wmA","tolist":["zhangsan"],"roomid":"","msgtime":1,"msgtype":"hologram","hologram":{}}"#,
    );
    assert_eq!((event.kind, event.fields.text("msg_type")), (Kind::ChatMessage, Some("hologram")));
    assert_eq!(event.occurred_at, None, "1970 is no time");
    assert_eq!(one("{}").kind, Kind::ChannelNotice);
    for bad in ["", "[]", "{", "null", "\u{0}"] {
        assert_eq!(decode(&account(), bad.as_bytes(), Time(1)).unwrap_err().reason(), "malformed", "{bad}");
    }
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
    assert_eq!(decode(&account(), long.as_bytes(), Time(1)).unwrap_err().reason(), "oversized");
}

#[test]
fn the_message_id_decides_identity() {
    let line = FIXTURE.lines().next().unwrap();
    assert_eq!(one(line).id, one(&format!(" {line}\r\n")).id);
    assert_eq!(one(line).id, one(&line.replace("多少钱", "怎么卖")).id);
    assert_ne!(one(line).id, one(&line.replace("9007199254740901001", "9007199254740901003")).id);
}

proptest! {
    #[test]
    fn mangled_messages_never_panic(row in 0..27_usize, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut line = FIXTURE.lines().nth(row).unwrap().as_bytes().to_vec();
        let at = at.index(line.len());
        line[at] = byte;
        if cut {
            line.truncate(at);
        }
        let _ = decode(&account(), &line, Time(1));
    }
}
