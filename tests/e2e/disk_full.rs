//! A full disk: a clear end, nothing acknowledged is lost, and it goes on once there is room.

use serde_json::{Value, json};
use touchline_model::id::EventId;
use touchline_processor::check::judge;
use touchline_rocks::{EmbeddedLog, NewLog};
use touchline_tests::{Server, Start, post};

#[test]
fn a_full_disk_ends_the_process_and_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    // One MiB per file: the log's first write-ahead file runs into it.
    let start = Start { file_kib_max: Some(1_024), ..Start::default() };
    let mut server = Server::start(directory.path(), &start).expect("starts");
    let url = format!("http://{}/v1/events", server.http);
    let mut acknowledged = Vec::new();
    let mut send = |number: u64, url: &str| {
        let body = json!({
            "kind": "chat.message", "tenant": "demo", "source": "full", "id": number.to_string(),
            "subject": [{"kind": "wecom_external_userid", "scope": "wwcorp", "value": format!("wm{number}")}],
            "fields": {"direction": "in", "msg_type": "text", "text": "水".repeat(1_000)},
        });
        match post(url, &[("content-type", "application/json")], body.to_string().as_bytes()) {
            Some((200, answer)) => {
                let answer: Value = serde_json::from_str(&answer).expect("JSON");
                acknowledged
                    .push(EventId::parse(answer["results"][0]["event_id"].as_str().expect("an id")).expect("hex"));
                Ok(())
            }
            other => Err(other.map(|(status, _)| status)),
        }
    };
    let refused = (0..2_000).find_map(|number| send(number, &url).err()).expect("the disk is full before the end");
    assert!(matches!(refused, None | Some(503)), "refused with {refused:?}");
    assert!(!server.wait().success(), "the process ends");

    let server = Server::start(directory.path(), &Start::default()).expect("starts again with room");
    send(5_000, &format!("http://{}/v1/events", server.http)).expect("goes on");
    server.settle();
    assert!(server.stop().success());
    let new = NewLog { partitions: 4, cluster_id: "not new".to_owned() };
    let wall = std::sync::Arc::new(touchline_log::SystemWall);
    let log = EmbeddedLog::open(&directory.path().join("log"), new, wall).expect("the server is gone");
    assert_eq!(judge(&log, &acknowledged).expect("readable").differences, [] as [String; 0]);
    assert!(acknowledged.len() > 10);
}
