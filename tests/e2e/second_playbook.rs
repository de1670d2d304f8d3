//! A second playbook with other names, keywords and times, and channel payloads with other ids in another
//! order, through the same commands. The expected values are worked out by hand from the language page.

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use touchline_channels::account::{Secret, Wecom, Youzan};
use touchline_channels::{wecom, youzan};
use touchline_tests::{Server, Start, binary, get, post, repository};

const TENANT: &str = "school";
const CORP: &str = "wwSchool01";
const STUDENT: &str = "wmSchoolStudent00000000000000001";
const BUYER: &str = "yzSchoolParent7";

fn wecom_account() -> Wecom {
    Wecom {
        tenant: TENANT.to_owned(),
        corp_id: CORP.to_owned(),
        receive_id: CORP.to_owned(),
        token: Secret::new("school-token"),
        aes_key: Secret::new("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"),
        staff: ["lisi".to_owned()].into(),
    }
}

fn youzan_account() -> Youzan {
    Youzan {
        tenant: TENANT.to_owned(),
        client_id: "school-client".to_owned(),
        client_secret: Secret::new("school-secret"),
        shops: [77_001].into(),
    }
}

/// Secrets lie in files; the configuration names them.
fn configuration(directory: &Path) -> String {
    let secret = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("writable");
        path.display().to_string()
    };
    let (wecom, youzan) = (wecom_account(), youzan_account());
    let (token, aes_key) = (secret("token", wecom.token.expose()), secret("aes", wecom.aes_key.expose()));
    let client_secret = secret("youzan", youzan.client_secret.expose());
    let link_key = secret("link", "a key of tracked links, long enough");
    let text = format!(
        "[ingest]\nsite = \"school.example\"\nlink_key_file = \"{link_key}\"\n\
         [[ingest.tenants]]\nname = \"{TENANT}\"\n\
         [[ingest.tenants.wecom]]\nname = \"app\"\ncorp_id = \"{CORP}\"\ntoken_file = \"{token}\"\naes_key_file = \"{aes_key}\"\nstaff = [\"lisi\"]\n\
         [[ingest.tenants.archive]]\nname = \"chats\"\ncorp_id = \"{CORP}\"\nstaff = [\"lisi\"]\n\
         [[ingest.tenants.youzan]]\nname = \"shop\"\nclient_id = \"school-client\"\nclient_secret_file = \"{client_secret}\"\nshops = [77001]\n"
    );
    secret("touchline.toml", &text)
}

#[test]
fn another_playbook_on_other_payloads_in_another_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configuration(directory.path());
    let start = ["--clock", "manual", "--clock-start", "2026-05-10T20:00:00+08:00", "--config", &config];
    let server = Server::start(&directory.path().join("data"), &Start::with(&start)).expect("starts");
    let playbook = repository("tests/playbooks/second.yaml");
    let activated = &server.json(TENANT, &["playbook", "activate", playbook.to_str().expect("text")])[0];
    // Nobody has loaded what is sent.
    let warned: Vec<&Value> =
        activated["diagnostics"].as_array().expect("a list").iter().map(|of| &of["code"]).collect();
    assert_eq!(warned, ["PW007"]);
    a_refused_activation_has_shown_what_it_would_change(&server, directory.path());

    // The question comes before the callback that adds the contact. 2026-05-10T20:00:00+08:00 in milliseconds.
    says(&server, "s-1", 1_778_414_400_000, "请问一节课多少？");
    advance(&server, "2026-05-10T20:05:00+08:00");
    added(&server, 1_778_414_700);
    let linked = json!({
        "kind": "identity.linked", "tenant": TENANT, "source": "crm", "id": "l1",
        "subject": [id("wecom_external_userid", CORP, STUDENT), id("yz_open_id", "youzan", BUYER)],
        "fields": {"evidence": "strong"},
    });
    let sent = post(
        &format!("http://{}/v1/events", server.http),
        &[("content-type", "application/json")],
        linked.to_string().as_bytes(),
    );
    assert_eq!(sent.expect("answered").0, 200);
    click(&server, &directory.path().join("link"));

    let who = format!("wecom_external_userid/{CORP}/{STUDENT}");
    let why = &server.json(TENANT, &["explain", &who, "报名意向/问过学费"])[0];
    assert_eq!(why["cause"]["rule"], "rules/asks-fee");
    // 请0 问1 一2 节3 课4 多5 少6 ？7
    let hit = json!({"keywords": "学费", "keyword": "一节课多少", "field": "text", "start": 2, "end": 7});
    assert_eq!(why["cause"]["hit"], hit);
    assert_eq!(columns(&server), [("问过学费".to_owned(), 1), ("约了试听".to_owned(), 0), ("已报名".to_owned(), 0)]);
    assert_eq!(server.json(TENANT, &["segment", "count", "--name", "扫码未报名"])[0]["count"], 1);

    // q1 ninety minutes after the question: due in the night, nobody confirms it before the order.
    advance(&server, "2026-05-11T09:00:00+08:00");
    pays(&server);
    advance(&server, "2026-05-20T00:00:00+08:00");
    let touches: Vec<String> = server
        .json(TENANT, &["touches"])
        .iter()
        .map(|touch| {
            let text = |name: &str| touch[name].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {}({}) {} {} {}",
                text("step"),
                text("state"),
                text("reason"),
                text("due_at"),
                text("content"),
                text("executor")
            )
        })
        .collect();
    // q2 on the second day after the question in Tokyo, 18:30 there: 09:30 UTC. lisi came with the callback.
    assert_eq!(
        touches,
        [
            "q1 due() 2026-05-10T13:30:00.000Z 学费表 lisi",
            "q1 cancelled(exit) 2026-05-10T13:30:00.000Z 学费表 lisi",
            "q2 cancelled(exit) 2026-05-12T09:30:00.000Z 电话回访 lisi",
        ]
    );
    assert_eq!(columns(&server), [("问过学费".to_owned(), 0), ("约了试听".to_owned(), 0), ("已报名".to_owned(), 1)]);
    assert_eq!(server.json(TENANT, &["segment", "count", "--name", "扫码未报名"])[0]["count"], 0);
    assert_eq!(server.json(TENANT, &["segment", "count", "tag(渠道/扫码来) and tag(报名意向/已报名)"])[0]["count"], 1);
    let contact = &server.json(TENANT, &["contact", &who])[0];
    assert_eq!(contact["identities"].as_array().expect("a list").len(), 2);
    assert_eq!(server.json(TENANT, &["dead-letters"]), [] as [Value; 0]);
    assert!(server.stop().success());
}

fn a_refused_activation_has_shown_what_it_would_change(server: &Server, directory: &Path) {
    let file = directory.join("more.yaml");
    let yaml = "playbook: more\ntag_groups: [{id: 回访, tags: [已约]}]\nrules:\n  - {id: night, trigger: chat.message, do: [{task: 回访}]}\n";
    std::fs::write(&file, yaml).expect("writable");
    let ran = Command::new(binary())
        .args(["--server", &server.grpc, "--tenant", TENANT, "playbook", "activate", "--expect", "7"])
        .arg(&file)
        .output()
        .expect("the binary runs");
    assert!(!ran.status.success(), "bundle 7 is not in force");
    let shown = String::from_utf8(ran.stdout).expect("text");
    for line in ["added    group 回访", "added    rule more/night"] {
        assert!(shown.lines().any(|shown| shown.starts_with(line)), "{line}\n{shown}");
    }
    assert!(!shown.contains("is in force"), "{shown}");
    let (status, _, said) = server.run(TENANT, &["playbook", "activate", "--remove", "more"]);
    assert!(!status.success());
    assert!(said.contains("no playbook `more` to take out\nhint: there are: "), "{said}");
}

#[test]
fn what_is_not_signed_does_not_enter_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configuration(directory.path());
    let start = ["--clock", "manual", "--config", &config];
    let server = Server::start(&directory.path().join("data"), &Start::with(&start)).expect("starts");
    let sealed = wecom::seal(&wecom_account(), "<xml></xml>", "1778414700", "n", [7; 16]).expect("seals");
    let mut signature = sealed.signed.msg_signature.clone();
    signature.replace_range(0..1, if signature.starts_with('0') { "1" } else { "0" });
    let url =
        format!("http://{}/callback/wecom/app?msg_signature={signature}&timestamp=1778414700&nonce=n", server.http);
    assert_eq!(post(&url, &[], sealed.body.as_bytes()).expect("answered").0, 401);
    let url = format!("http://{}/push/youzan/shop", server.http);
    let headers = [
        ("event-sign", "00000000000000000000000000000000"),
        ("event-type", "trade_TradePaid"),
        ("client-id", "school-client"),
    ];
    let (_, answer) = post(&url, &headers, b"{}").expect("answered");
    assert!(answer.contains("failed"), "{answer}");
    assert_eq!(get(&format!("http://{}/l/AAAA", server.http)).expect("answered").0, 404);
    let (status, _, metrics) = get(&format!("http://{}/metrics", server.http)).expect("answered");
    assert_eq!(status, 200);
    assert!(metrics.contains("touchline_webhook_rejected_total{channel=\"wecom\",reason=\"bad_signature\"} 1"));
    assert!(metrics.contains("touchline_webhook_rejected_total{channel=\"youzan\",reason=\"bad_signature\"} 1"));
    let status = &server.json(TENANT, &["status"])[0];
    let ends =
        status["partitions"].as_array().expect("partitions").iter().map(|partition| partition["end_offset"].clone());
    assert_eq!(ends.collect::<Vec<_>>(), [0, 0, 0, 0]);
}

fn id(kind: &str, scope: &str, value: &str) -> Value {
    json!({"kind": kind, "scope": scope, "value": value})
}

fn advance(server: &Server, to: &str) {
    server.json(TENANT, &["clock", "advance", "--to", to]);
}

fn columns(server: &Server) -> Vec<(String, u64)> {
    let view = &server.json(TENANT, &["board", "show", "报名看板"])[0];
    let columns = view["columns"].as_array().expect("columns");
    columns
        .iter()
        .map(|column| (column["id"].as_str().expect("an id").to_owned(), column["count"].as_u64().expect("a count")))
        .collect()
}

fn says(server: &Server, msgid: &str, msgtime_ms: i64, text: &str) {
    let line = json!({
        "msgid": msgid, "action": "send", "from": STUDENT, "tolist": ["lisi"], "roomid": "", "msgtime": msgtime_ms,
        "msgtype": "text", "text": {"content": text},
    });
    let url = format!("http://{}/archive/wecom/chats", server.http);
    let (status, answer) = post(&url, &[], line.to_string().as_bytes()).expect("answered");
    assert_eq!(status, 200, "{answer}");
}

fn added(server: &Server, create_time: i64) {
    let inner = format!(
        "<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>\
         <CreateTime>{create_time}</CreateTime><MsgType><![CDATA[event]]></MsgType>\
         <Event><![CDATA[change_external_contact]]></Event><ChangeType><![CDATA[add_external_contact]]></ChangeType>\
         <UserID><![CDATA[lisi]]></UserID><ExternalUserID><![CDATA[{STUDENT}]]></ExternalUserID>\
         <State><![CDATA[传单A]]></State></xml>"
    );
    let sealed = wecom::seal(&wecom_account(), &inner, "1778414700", "nonce9", [9; 16]).expect("seals");
    let signature = &sealed.signed.msg_signature;
    let url = format!(
        "http://{}/callback/wecom/app?msg_signature={signature}&timestamp=1778414700&nonce=nonce9",
        server.http
    );
    // The channel sends it three times when it hears nothing: one event.
    for _ in 0..3 {
        assert_eq!(post(&url, &[], sealed.body.as_bytes()).expect("answered"), (200, String::new()));
    }
}

fn click(server: &Server, key_file: &Path) {
    let key_file = key_file.to_str().expect("text");
    let contact = format!("wecom_external_userid/{CORP}/{STUDENT}");
    let arguments = [
        "link",
        "create",
        "--key-file",
        key_file,
        "--to",
        "https://school.example/fees",
        "--content",
        "学费页",
        "--contact",
        &contact,
        "--surface",
        "group",
    ];
    let minted = &server.json(TENANT, &arguments)[0];
    let (status, location, _) = get(minted["url"].as_str().expect("a url")).expect("answered");
    assert_eq!((status, location.as_str()), (302, "https://school.example/fees"));
}

fn pays(server: &Server) {
    let order = json!({"full_order_info": {
        "order_info": {"tid": "E20260511090000000000077", "status": "WAIT_SELLER_SEND_GOODS", "pay_time": "2026-05-11 09:00:00",
            "created": "2026-05-11 08:59:00", "update_time": "2026-05-11 09:00:00", "type": 0},
        "buyer_info": {"yz_open_id": BUYER},
        "orders": [{"oid": "77", "item_id": 1, "sku_id": 2, "title": "春季班", "num": 1, "price": "1999.00", "total_fee": "1999.00", "payment": "1999.00"}],
        "pay_info": {"total_fee": "1999.00", "post_fee": "0.00", "payment": "1999.00"},
    }});
    let push = youzan::Push {
        event_type: "trade_TradePaid".to_owned(),
        kdt_id: 77_001,
        id: "E20260511090000000000077".to_owned(),
        msg_id: Some("m-77".to_owned()),
        status: Some("TRADE_PAID".to_owned()),
        version: 1_778_461_200,
        msg: order,
        test: false,
    };
    let sent = push.send(&youzan_account());
    let url = format!("http://{}/push/youzan/shop", server.http);
    let headers =
        [("event-sign", sent.event_sign.as_str()), ("event-type", &sent.event_type), ("client-id", &sent.client_id)];
    let (status, answer) = post(&url, &headers, &sent.body).expect("answered");
    assert_eq!(status, 200);
    assert!(answer.contains("success"), "{answer}");
}
