//! A TCP proxy before brokers that understands request frames, and does to chosen ones what networks do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Error, Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Brokers of tests take no larger request.
const MAX_FRAME_BYTES: usize = 128 << 20;
/// Key, version, correlation id: what every request begins with.
const HEADER_BYTES: usize = 8;

/// Numbers of requests, for [`Rule::api`].
pub mod api {
    /// Records are written.
    pub const PRODUCE: i16 = 0;
    /// Records are read.
    pub const FETCH: i16 = 1;
    /// First and last offsets.
    pub const LIST_OFFSETS: i16 = 2;
    /// Topics, leaders, brokers.
    pub const METADATA: i16 = 3;
    /// A group's positions are stored.
    pub const OFFSET_COMMIT: i16 = 8;
    /// A group's positions are read.
    pub const OFFSET_FETCH: i16 = 9;
    /// Who coordinates a group or a transaction.
    pub const FIND_COORDINATOR: i16 = 10;
    /// A member enters a group.
    pub const JOIN_GROUP: i16 = 11;
    /// A member is alive.
    pub const HEARTBEAT: i16 = 12;
    /// A member leaves a group.
    pub const LEAVE_GROUP: i16 = 13;
    /// Assignments are handed out.
    pub const SYNC_GROUP: i16 = 14;
    /// A client asks which versions a broker speaks.
    pub const API_VERSIONS: i16 = 18;
    /// A transactional producer takes over its id.
    pub const INIT_PRODUCER_ID: i16 = 22;
    /// Partitions enter a transaction.
    pub const ADD_PARTITIONS_TO_TXN: i16 = 24;
    /// A group's positions enter a transaction.
    pub const ADD_OFFSETS_TO_TXN: i16 = 25;
    /// A transaction is committed or aborted.
    pub const END_TXN: i16 = 26;
    /// A group's positions are stored within a transaction.
    pub const TXN_OFFSET_COMMIT: i16 = 28;
}

/// What is done to which requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Number of the request, see [`api`]; `None`: any.
    pub api: Option<i16>,
    /// Only connections whose `client.id` contains this; `None`: any. Tells one process from another.
    pub client: Option<String>,
    /// Which of the requests that match.
    pub which: Which,
    /// What is done.
    pub action: Action,
}

/// Which of the matching requests, counted over all connections since the rule was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one with this number, from 1.
    Nth(u64),
    /// Each.
    Every,
}

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is passed on so many milliseconds later; what follows on its connection waits behind it.
    Delay(u64),
    /// The client's connection is cut, and the request reaches the broker so many milliseconds later: it was in the
    /// network while the client gave up. The answer is dropped.
    LateDelivery {
        /// How much later, in milliseconds.
        after_ms: u64,
    },
    /// The same, but the request waits until [`Proxy::release`].
    HeldDelivery,
    /// The broker gets it and answers; the answer is dropped and the connection cut: a lost acknowledgement.
    LoseResponse,
    /// The connection is cut and the request dropped: the broker never sees it.
    Cut,
}

impl Rule {
    /// The `nth` request of this kind from any client, counted from 1 when the rule is added.
    pub fn nth(api: i16, nth: u64, action: Action) -> Self {
        Self { api: Some(api), client: None, which: Which::Nth(nth), action }
    }

    /// Every request of this kind from any client.
    pub fn every(api: i16, action: Action) -> Self {
        Self { api: Some(api), client: None, which: Which::Every, action }
    }

    /// Every request of clients whose `client.id` contains `client` is cut off: a partition around one process, until
    /// the rule is removed.
    pub fn isolate(client: &str) -> Self {
        Self { api: None, client: Some(client.to_owned()), which: Which::Every, action: Action::Cut }
    }

    /// The same rule for clients whose `client.id` contains `client` alone.
    #[must_use]
    pub fn from_client(self, client: &str) -> Self {
        Self { client: Some(client.to_owned()), ..self }
    }
}

/// Names a rule that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u64);

/// Listens on one port per broker and passes everything on, but for what rules say. Dropping it cuts everything.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    ports: Vec<u16>,
    listeners: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Listens before brokers: (port to listen on, port of the broker), all on 127.0.0.1; port 0 is a free one. Errors:
    /// a port is taken.
    pub fn start(brokers: &[(u16, u16)]) -> Result<Self> {
        let mut proxy = Self { shared: Arc::default(), ports: Vec::new(), listeners: Vec::new() };
        for (port, broker) in brokers {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port))?;
            proxy.ports.push(listener.local_addr()?.port());
            let (shared, broker) = (Arc::clone(&proxy.shared), SocketAddr::from((Ipv4Addr::LOCALHOST, *broker)));
            proxy.listeners.push(std::thread::spawn(move || accept(&shared, &listener, broker)));
        }
        Ok(proxy)
    }

    /// `host:port,…` of the brokers behind it.
    pub fn bootstrap(&self) -> String {
        let addresses = self.ports.iter().map(|port| format!("127.0.0.1:{port}"));
        addresses.collect::<Vec<_>>().join(",")
    }

    pub(crate) fn port(&self, index: usize) -> u16 {
        self.ports[index]
    }

    /// Adds a rule. Of several that match a request, the one added first is carried out; all of them count it.
    pub fn add(&self, rule: Rule) -> RuleId {
        let mut state = self.shared.lock();
        state.last_id += 1;
        let id = RuleId(state.last_id);
        state.rules.insert(id, Armed { rule, matched: 0 });
        id
    }

    /// Removes a rule; what it has begun goes on, and its counter stays.
    pub fn remove(&self, id: RuleId) {
        self.shared.lock().rules.remove(&id);
    }

    /// Delivers the requests that a rule with [`Action::HeldDelivery`] holds, and those it comes to hold at once.
    pub fn release(&self, id: RuleId) {
        self.shared.lock().released.insert(id);
        self.shared.changed.notify_all();
    }

    /// Removes every rule.
    pub fn clear(&self) {
        self.shared.lock().rules.clear();
    }

    /// How many requests a rule has dealt with to the end: passed on late, answered after a late delivery, answer
    /// dropped, cut.
    pub fn done(&self, id: RuleId) -> u64 {
        self.shared.lock().done.get(&id).copied().unwrap_or(0)
    }

    /// Waits until [`Proxy::done`] is at least `count`. False if it is not within `timeout`.
    pub fn wait(&self, id: RuleId, count: u64, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        while state.done.get(&id).copied().unwrap_or(0) < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.shared.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    /// How many requests of this kind came in since the start, whatever became of them.
    pub fn seen(&self, api: i16) -> u64 {
        self.shared.lock().seen.get(&api).copied().unwrap_or(0)
    }

    /// Cuts every connection and lets none in until [`Proxy::heal`]: the network between clients and brokers is gone.
    /// Late deliveries are under way already and arrive.
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.refusing = true;
        for (_, connection) in state.open.drain() {
            connection.cut();
        }
    }

    /// Ends [`Proxy::cut`].
    pub fn heal(&self) {
        self.shared.lock().refusing = false;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.cut();
        self.shared.changed.notify_all();
        for port in &self.ports {
            // Wakes the listener, which then sees that it is to end.
            TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).ok();
        }
        for listener in self.listeners.drain(..) {
            listener.join().ok();
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    rules: BTreeMap<RuleId, Armed>,
    done: HashMap<RuleId, u64>,
    released: HashSet<RuleId>,
    seen: HashMap<i16, u64>,
    open: HashMap<u64, Arc<Connection>>,
    last_id: u64,
    refusing: bool,
}

#[derive(Debug)]
struct Armed {
    rule: Rule,
    matched: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn note_done(&self, id: RuleId) {
        *self.lock().done.entry(id).or_default() += 1;
        self.changed.notify_all();
    }

    /// Waits until a rule is released. Errors: the proxy closes.
    fn wait_for_release(&self, id: RuleId) -> Result<()> {
        let mut state = self.lock();
        while !state.released.contains(&id) {
            if self.closing.load(Ordering::SeqCst) {
                return Err(Error::other("the proxy closes"));
            }
            state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        Ok(())
    }

    /// Counts a request and gives the rule for it, if there is one.
    fn judge(&self, header: &Header) -> Option<(RuleId, Action)> {
        let mut state = self.lock();
        *state.seen.entry(header.api).or_default() += 1;
        let mut chosen = None;
        for (id, armed) in &mut state.rules {
            let rule = &armed.rule;
            let from = rule.client.as_deref().is_none_or(|client| header.client.contains(client));
            if !from || rule.api.is_some_and(|api| api != header.api) {
                continue;
            }
            armed.matched += 1;
            let hit = match armed.rule.which {
                Which::Every => true,
                Which::Nth(nth) => nth == armed.matched,
            };
            if hit && chosen.is_none() {
                chosen = Some((*id, armed.rule.action));
            }
        }
        chosen
    }

    /// Registers a connection; `None` while the network is cut.
    fn open(&self, connection: &Arc<Connection>) -> Option<u64> {
        let mut state = self.lock();
        if state.refusing {
            return None;
        }
        state.last_id += 1;
        let key = state.last_id;
        state.open.insert(key, Arc::clone(connection));
        Some(key)
    }
}

/// One connection of a client and the one to the broker that belongs to it.
#[derive(Debug)]
struct Connection {
    client: TcpStream,
    broker: TcpStream,
    /// Requests whose answer is dropped, by correlation id.
    lost: Mutex<HashMap<i32, RuleId>>,
    /// The client is gone on purpose; the broker's side goes on.
    detached: AtomicBool,
}

impl Connection {
    fn cut(&self) {
        // Either side may be gone already.
        self.client.shutdown(Shutdown::Both).ok();
        self.broker.shutdown(Shutdown::Both).ok();
    }

    fn lose_answer(&self, correlation_id: i32, rule: RuleId) {
        let mut lost = self.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lost.insert(correlation_id, rule);
    }

    fn lost_answer(&self, correlation_id: i32) -> Option<RuleId> {
        let mut lost = self.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lost.remove(&correlation_id)
    }

    fn lost_answers(&self) -> impl Iterator<Item = RuleId> {
        let mut lost = self.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::take(&mut *lost).into_values()
    }

    /// Passes a request on whose answer is to be lost.
    fn pass_unanswered(&self, header: &Header, frame: &[u8], rule: RuleId) -> Result<()> {
        self.lose_answer(header.correlation_id, rule);
        let passed = (&self.broker).write_all(frame);
        if passed.is_err() {
            self.lost_answer(header.correlation_id);
        }
        passed
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener, broker: SocketAddr) {
    for client in listener.incoming() {
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        // A client that is gone already, or a broker that is down: the client sees its connection close.
        let Ok(client) = client else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || serve(&shared, client, broker));
    }
}

fn serve(shared: &Arc<Shared>, client: TcpStream, broker: SocketAddr) {
    let Ok(broker) = TcpStream::connect(broker) else { return };
    // Both pass on whole frames: waiting for more would only add latency.
    client.set_nodelay(true).ok();
    broker.set_nodelay(true).ok();
    let connection = Connection { client, broker, lost: Mutex::default(), detached: AtomicBool::new(false) };
    let connection = Arc::new(connection);
    let Some(key) = shared.open(&connection) else { return };
    let (answers, answers_shared) = (Arc::clone(&connection), Arc::clone(shared));
    let answering = std::thread::spawn(move || {
        // Whatever ends it ends the connection.
        pass_answers(&answers_shared, &answers).ok();
        answers.cut();
    });
    if pass_requests(shared, &connection, key).is_err() {
        connection.cut();
    }
    answering.join().ok();
    // Its client went before the answer came, which nobody heard either way.
    for rule in connection.lost_answers() {
        shared.note_done(rule);
    }
    shared.lock().open.remove(&key);
}

/// Passes requests on until the client or the broker closes. `Ok`: a late delivery is made, and the broker's answer is
/// still to come.
fn pass_requests(shared: &Shared, connection: &Connection, key: u64) -> Result<()> {
    loop {
        let frame = read_frame(&connection.client)?;
        let header = Header::read(&frame)?;
        let verdict = shared.judge(&header);
        match verdict {
            None => (&connection.broker).write_all(&frame)?,
            Some((rule, Action::Delay(delay_ms))) => {
                std::thread::sleep(Duration::from_millis(delay_ms));
                (&connection.broker).write_all(&frame)?;
                shared.note_done(rule);
            }
            Some((rule, Action::LoseResponse)) => connection.pass_unanswered(&header, &frame, rule)?,
            Some((rule, Action::Cut)) => {
                connection.cut();
                shared.note_done(rule);
                return Err(Error::other("cut"));
            }
            Some((rule, action @ (Action::LateDelivery { .. } | Action::HeldDelivery))) => {
                connection.detached.store(true, Ordering::SeqCst);
                shared.lock().open.remove(&key);
                connection.client.shutdown(Shutdown::Both).ok();
                match action {
                    Action::LateDelivery { after_ms } => std::thread::sleep(Duration::from_millis(after_ms)),
                    _ => shared.wait_for_release(rule)?,
                }
                return connection.pass_unanswered(&header, &frame, rule);
            }
        }
    }
}

/// Passes answers on until one side closes or an answer is to be lost.
fn pass_answers(shared: &Shared, connection: &Connection) -> Result<()> {
    loop {
        let frame = read_frame(&connection.broker)?;
        let correlation_id = frame.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
        if let Some(rule) = correlation_id.and_then(|id| connection.lost_answer(id)) {
            connection.cut();
            shared.note_done(rule);
            return Ok(());
        }
        let written = (&connection.client).write_all(&frame);
        if !connection.detached.load(Ordering::SeqCst) {
            written?;
        }
    }
}

/// A frame with its length in front.
fn read_frame(mut stream: &TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let payload = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if payload > MAX_FRAME_BYTES {
        return Err(Error::other("no Kafka frame"));
    }
    let mut frame = vec![0; 4 + payload];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}

/// What the proxy knows of a request.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    api: i16,
    correlation_id: i32,
    /// Empty if the client does not say.
    client: String,
}

impl Header {
    fn read(frame: &[u8]) -> Result<Self> {
        let payload = frame.get(4..).unwrap_or_default();
        let Some((fixed, rest)) = payload.split_at_checked(HEADER_BYTES) else {
            return Err(Error::other("a request that is cut short"));
        };
        let api = i16::from_be_bytes([fixed[0], fixed[1]]);
        let correlation_id = i32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let length = rest.get(..2).map_or(-1, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
        let client = usize::try_from(length).ok().and_then(|length| rest.get(2..2 + length)).unwrap_or_default();
        Ok(Self { api, correlation_id, client: String::from_utf8_lossy(client).into_owned() })
    }
}

#[cfg(test)]
#[path = "proxy/tests.rs"]
mod tests;
