//! The proxy before a fake broker that answers every request with its correlation id and remembers what it got.

use super::*;
use crate::wire::request;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Fake {
    port: u16,
    got: Receiver<i32>,
}

fn fake_broker() -> Fake {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, got) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender: Sender<i32> = sender.clone();
            std::thread::spawn(move || {
                while let Ok(frame) = read_frame(&stream) {
                    let correlation_id = Header::read(&frame).unwrap().correlation_id;
                    sender.send(correlation_id).ok();
                    let answer = [4_i32.to_be_bytes(), correlation_id.to_be_bytes()].concat();
                    if (&stream).write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Fake { port, got }
}

impl Fake {
    fn next(&self) -> i32 {
        self.got.recv_timeout(PATIENCE).unwrap()
    }
}

fn before(broker: &Fake) -> Proxy {
    Proxy::start(&[(0, broker.port)]).unwrap()
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.bootstrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn send(mut stream: &TcpStream, api: i16, correlation_id: i32) {
    stream.write_all(&request(api, 0, correlation_id, &[])).unwrap();
}

/// The correlation id of the next answer; `None`: the connection was cut.
fn answer(stream: &TcpStream) -> Option<i32> {
    let frame = match read_frame(stream) {
        Ok(frame) => frame,
        Err(error) => {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "neither answer nor end");
            return None;
        }
    };
    Some(i32::from_be_bytes(frame[4..8].try_into().unwrap()))
}

#[test]
fn without_rules_everything_passes_in_order() {
    let broker = fake_broker();
    let proxy = before(&broker);
    let client = connect(&proxy);
    for id in 1..=3 {
        send(&client, api::PRODUCE, id);
    }
    assert_eq!([answer(&client), answer(&client), answer(&client)], [Some(1), Some(2), Some(3)]);
    assert_eq!((proxy.seen(api::PRODUCE), proxy.seen(api::FETCH)), (3, 0));
}

#[test]
fn a_delayed_request_arrives_and_what_follows_waits_behind_it() {
    let broker = fake_broker();
    let proxy = before(&broker);
    let client = connect(&proxy);
    let rule = proxy.add(Rule::nth(api::END_TXN, 2, Action::Delay(200)));
    send(&client, api::END_TXN, 1);
    assert_eq!((answer(&client), proxy.done(rule)), (Some(1), 0));
    let started = Instant::now();
    send(&client, api::END_TXN, 2);
    send(&client, api::PRODUCE, 3);
    assert_eq!([answer(&client), answer(&client)], [Some(2), Some(3)]);
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert!(proxy.wait(rule, 1, PATIENCE));
    assert_eq!([broker.next(), broker.next(), broker.next()], [1, 2, 3]);
}

#[test]
fn a_late_request_reaches_the_broker_after_its_client_gave_up() {
    let broker = fake_broker();
    let proxy = before(&broker);
    let client = connect(&proxy);
    let rule = proxy.add(Rule::nth(api::PRODUCE, 1, Action::LateDelivery { after_ms: 1_000 }));
    send(&client, api::PRODUCE, 1);
    assert_eq!(answer(&client), None);
    // The client comes again while the first request is still on its way.
    let again = connect(&proxy);
    send(&again, api::PRODUCE, 2);
    assert_eq!(answer(&again), Some(2));
    assert_eq!(proxy.done(rule), 0, "not delivered yet");
    assert!(proxy.wait(rule, 1, PATIENCE));
    assert_eq!([broker.next(), broker.next()], [2, 1]);
    // Its answer went nowhere, and the second connection lives.
    send(&again, api::PRODUCE, 3);
    assert_eq!(answer(&again), Some(3));
}

#[test]
fn a_held_request_reaches_the_broker_when_it_is_released() {
    let broker = fake_broker();
    let proxy = before(&broker);
    let client = connect(&proxy);
    let rule = proxy.add(Rule::nth(api::PRODUCE, 1, Action::HeldDelivery));
    send(&client, api::PRODUCE, 1);
    assert_eq!(answer(&client), None);
    let again = connect(&proxy);
    send(&again, api::PRODUCE, 2);
    assert_eq!((answer(&again), proxy.done(rule)), (Some(2), 0));
    proxy.release(rule);
    assert!(proxy.wait(rule, 1, PATIENCE));
    assert_eq!([broker.next(), broker.next()], [2, 1]);
}

#[test]
fn a_late_request_survives_a_partition() {
    let broker = fake_broker();
    let proxy = before(&broker);
    let client = connect(&proxy);
    let rule = proxy.add(Rule::nth(api::END_TXN, 1, Action::LateDelivery { after_ms: 100 }));
    send(&client, api::END_TXN, 1);
    assert_eq!(answer(&client), None);
    proxy.cut();
    assert!(proxy.wait(rule, 1, PATIENCE));
    assert_eq!(broker.next(), 1);
}

#[test]
fn a_lost_answer_ends_the_connection_after_the_broker_acted() {
    let broker = fake_broker();
    let proxy = before(&broker);
    let client = connect(&proxy);
    let rule = proxy.add(Rule::nth(api::END_TXN, 1, Action::LoseResponse));
    send(&client, api::PRODUCE, 1);
    send(&client, api::END_TXN, 2);
    assert_eq!([answer(&client), answer(&client)], [Some(1), None]);
    assert!(proxy.wait(rule, 1, PATIENCE));
    assert_eq!([broker.next(), broker.next()], [1, 2]);
}

#[test]
fn an_answer_is_lost_too_when_its_client_goes_before_it_comes() {
    let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Proxy::start(&[(0, broker.local_addr().unwrap().port())]).unwrap();
    let rule = proxy.add(Rule::nth(api::END_TXN, 1, Action::LoseResponse));
    let client = connect(&proxy);
    send(&client, api::END_TXN, 1);
    let (slow, _) = broker.accept().unwrap();
    assert_eq!(Header::read(&read_frame(&slow).unwrap()).unwrap().correlation_id, 1);
    assert_eq!(proxy.done(rule), 0, "it may still answer");
    drop(client);
    assert!(proxy.wait(rule, 1, PATIENCE));
}

#[test]
fn a_cut_request_never_arrives() {
    let broker = fake_broker();
    let proxy = before(&broker);
    let client = connect(&proxy);
    let rule = proxy.add(Rule::nth(api::PRODUCE, 1, Action::Cut));
    send(&client, api::PRODUCE, 1);
    assert_eq!(answer(&client), None);
    assert!(proxy.wait(rule, 1, PATIENCE));
    let again = connect(&proxy);
    send(&again, api::PRODUCE, 2);
    assert_eq!((answer(&again), broker.next()), (Some(2), 2));
}

#[test]
fn a_partition_cuts_and_refuses_until_healed() {
    let broker = fake_broker();
    let proxy = before(&broker);
    let client = connect(&proxy);
    send(&client, api::FETCH, 1);
    assert_eq!(answer(&client), Some(1));
    proxy.cut();
    assert_eq!(answer(&client), None);
    let refused = connect(&proxy);
    // It may be closed before the request is written.
    (&refused).write_all(&request(api::FETCH, 0, 2, &[])).ok();
    assert_eq!(answer(&refused), None);
    proxy.heal();
    let healed = connect(&proxy);
    send(&healed, api::FETCH, 3);
    assert_eq!(answer(&healed), Some(3));
    assert_eq!([broker.next(), broker.next()], [1, 3]);
}

/// A request with a client id: header version 1 with a string.
fn send_as(mut stream: &TcpStream, client: &str, correlation_id: i32) {
    let length = i16::try_from(client.len()).unwrap();
    let mut payload = [0, 0, 0, 0].to_vec();
    payload.extend(correlation_id.to_be_bytes());
    payload.extend(length.to_be_bytes());
    payload.extend(client.as_bytes());
    let frame = [i32::try_from(payload.len()).unwrap().to_be_bytes().as_slice(), &payload].concat();
    stream.write_all(&frame).unwrap();
}

#[test]
fn one_client_is_told_from_another() {
    let broker = fake_broker();
    let proxy = before(&broker);
    let (one, two) = (connect(&proxy), connect(&proxy));
    let rule = proxy.add(Rule::isolate("processor-1"));
    send_as(&one, "touchline-processor-1-lane-0", 1);
    send_as(&two, "touchline-processor-2-lane-0", 2);
    assert_eq!((answer(&one), answer(&two)), (None, Some(2)));
    assert!(proxy.wait(rule, 1, PATIENCE));
    proxy.remove(rule);
    let again = connect(&proxy);
    send_as(&again, "touchline-processor-1-lane-0", 3);
    assert_eq!(answer(&again), Some(3));
}

#[test]
fn the_first_rule_wins_and_all_count() {
    let broker = fake_broker();
    let proxy = before(&broker);
    let client = connect(&proxy);
    let slow = proxy.add(Rule::every(api::PRODUCE, Action::Delay(1)));
    let cut = proxy.add(Rule::nth(api::PRODUCE, 2, Action::Cut));
    send(&client, api::PRODUCE, 1);
    send(&client, api::PRODUCE, 2);
    assert_eq!([answer(&client), answer(&client)], [Some(1), Some(2)]);
    assert!(proxy.wait(slow, 2, PATIENCE));
    assert_eq!(proxy.done(cut), 0);
    proxy.clear();
    send(&client, api::PRODUCE, 3);
    assert_eq!((answer(&client), proxy.done(slow)), (Some(3), 2));
}

#[test]
fn a_broker_that_is_down_closes_the_client() {
    let broker = fake_broker();
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let proxy = Proxy::start(&[(0, broker.port), (0, gone)]).unwrap();
    let (_, second) = proxy.bootstrap().split_once(',').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let client = TcpStream::connect(second).unwrap();
    assert_eq!(answer(&client), None);
}
