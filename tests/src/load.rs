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
        let shared = Arc::new(Shared {
            address: RwLock::new(None),
            acknowledged: Mutex::default(),
            sent: AtomicU64::new(0),
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
    pub fn finish(mut self) -> Vec<EventId> {
        self.shared.stop.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().expect("a client");
        }
        self.shared.acknowledged.lock().expect("clients are done").iter().copied().collect()
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

/// Event `number`: contacts added, asking prices, linked, buying under their own Youzan id.
/// Nobody buys in the first round: a cell that holds state before it is linked stays on its own, and then
/// nothing would pass through the loopback.
fn event(number: u64) -> Value {
    let (round, who) = (number / 5 / CONTACTS, number / 5 % CONTACTS);
    let wecom = json!({"kind": "wecom_external_userid", "scope": "wwcorp", "value": format!("wm{who}")});
    let youzan = json!({"kind": "yz_open_id", "scope": "youzan", "value": format!("yz{who}")});
    let (kind, subject, fields) = match number % 5 {
        0 => ("contact.added", vec![wecom], json!({"staff": format!("staff{}", who % 3), "state": "t"})),
        1 => ("chat.message", vec![wecom], json!({"direction": "in", "msg_type": "text", "text": "多少钱一份？"})),
        2 => ("identity.linked", vec![wecom, youzan], json!({"evidence": "strong"})),
        3 if round > 0 => ("order.paid", vec![youzan], json!({"order_id": format!("E{number}")})),
        _ => ("chat.message", vec![wecom], json!({"direction": "in", "msg_type": "text", "text": "再想想"})),
    };
    json!({
        "kind": kind, "tenant": "demo", "source": "kills", "id": number.to_string(), "subject": subject, "fields": fields,
    })
}
