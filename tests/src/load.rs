//! A load that never gives up: clients send events until they are acknowledged, the same ones again and again.

use crate::post;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use touchline_model::id::EventId;

/// How many people write and buy.
pub const CONTACTS: u64 = 60;
/// Pause before an event is sent again.
const AGAIN: Duration = Duration::from_millis(5);

/// Clients on threads. Fit for `tests/playbooks/kills.yaml`.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

/// What the clients share: where the server is now, what was acknowledged.
struct Shared {
    address: RwLock<Option<String>>,
    acknowledged: Mutex<BTreeSet<EventId>>,
    sent: AtomicU64,
    pause: Duration,
    stop: AtomicBool,
}

impl Load {
    /// Starts clients that pause after each acknowledgement; they wait until they are told where to send.
    pub fn start(clients: u64, pause: Duration) -> Self {
        Self::start_at(0, clients, pause)
    }

    /// The same from event `first` on: those before it, sent once more, would be dropped as what was there already.
    pub fn start_at(first: u64, clients: u64, pause: Duration) -> Self {
        let shared = Arc::new(Shared {
            address: RwLock::new(None),
            acknowledged: Mutex::default(),
            sent: AtomicU64::new(first),
            pause,
            stop: AtomicBool::new(false),
        });
        let client = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.run())
        };
        let clients = (0..clients).map(client).collect();
        Self { shared, clients }
    }

    /// Where the server is now, if there is one.
    pub fn point_at(&self, address: Option<&str>) {
        *self.shared.address.write().expect("not poisoned") = address.map(str::to_owned);
    }

    /// How many events were acknowledged.
    pub fn count(&self) -> usize {
        self.shared.acknowledged.lock().expect("not poisoned").len()
    }

    /// Stops sending; the ids of the acknowledged events.
    pub fn finish(self) -> Vec<EventId> {
        self.finish_at().0
    }

    /// The same, and the first event that has not been sent.
    pub fn finish_at(mut self) -> (Vec<EventId>, u64) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().expect("a client");
        }
        let acknowledged = self.shared.acknowledged.lock().expect("clients are done").iter().copied().collect();
        (acknowledged, self.shared.sent.load(Ordering::SeqCst))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A test that failed must not leave clients that send for ever.
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    /// Sends events until told to stop; one that was not acknowledged is sent again, the same.
    fn run(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            let body = event(number).to_string();
            while !self.stop.load(Ordering::SeqCst) {
                let address = self.address.read().expect("not poisoned").clone();
                let answer = address.and_then(|address| {
                    let url = format!("http://{address}/v1/events");
                    post(&url, &[("content-type", "application/json")], body.as_bytes())
                });
                let Some((200, answer)) = answer else {
                    std::thread::park_timeout(AGAIN);
                    continue;
                };
                let answer: Value = serde_json::from_str(&answer).expect("JSON");
                let id = answer["results"][0]["event_id"].as_str().and_then(EventId::parse).expect("an id");
                self.acknowledged.lock().expect("not poisoned").insert(id);
                if !self.pause.is_zero() {
                    std::thread::park_timeout(self.pause);
                }
                break;
            }
        }
    }
}

/// Identifiers of a shop per person: each is a contact of its own first, and merges.
const ROUNDS_OF_IDS: u64 = 40;

/// Event `number`: contacts added; identifiers of a shop that ask, are joined to them, and buy; some are parted again. So
/// at any moment contacts that hold tags and journeys merge, and events pass through forwards.
fn event(number: u64) -> Value {
    let (round, who) = (number / 5 / CONTACTS, number / 5 % CONTACTS);
    let wecom = json!({"kind": "wecom_external_userid", "scope": "wwcorp", "value": format!("wm{who}")});
    let buyer = |round: u64| {
        let value = format!("yz{who}-{}", round % ROUNDS_OF_IDS);
        json!({"kind": "yz_open_id", "scope": "youzan", "value": value})
    };
    let order = json!({"kind": "order", "scope": "youzan:1", "value": format!("E{number}")});
    let says = |text: &str| json!({"direction": "in", "msg_type": "text", "text": text});
    let (kind, subject, fields) = match number % 5 {
        0 => ("contact.added", vec![wecom], json!({"staff": format!("staff{}", who % 3), "state": "t"})),
        1 => ("chat.message", vec![buyer(round)], says("多少钱一份？")),
        2 => ("identity.linked", vec![buyer(round), wecom], json!({"evidence": "strong"})),
        3 => ("order.paid", vec![buyer(round), order], json!({"order_id": format!("E{number}")})),
        _ if round % 4 == 3 => ("identity.unlinked", vec![wecom, buyer(round - 1)], json!({})),
        _ => ("chat.message", vec![wecom], says("再想想")),
    };
    json!({
        "kind": kind, "tenant": "demo", "source": "kills", "id": number.to_string(), "subject": subject, "fields": fields,
    })
}
