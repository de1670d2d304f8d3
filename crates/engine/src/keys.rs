//! Keys of the store. One prefix byte pair per kind; the processor adds its own (`o|`, `l|`, `k|`).

use touchline_model::directory::Entry;
use touchline_model::id::{CellKey, EventId};
use touchline_model::time::Time;

/// The partition's [`crate::Meta`].
pub const META: &[u8] = b"m|meta";
/// What partition 0 has assigned: bundles by tenant, before they come back through the loop.
pub const ASSIGNED: &[u8] = b"m|assigned";
/// Prefix of the bundles in force, by tenant.
pub const BUNDLES: &[u8] = b"m|bundle|";
/// End of the bundles.
pub const BUNDLES_END: &[u8] = b"m|bundle}";
/// Prefix of the directories' entries.
pub const ENTRIES: &[u8] = b"m|entry|";
/// End of the directories' entries.
pub const ENTRIES_END: &[u8] = b"m|entry}";
/// Prefix of the latest changes of the directories, by tenant.
pub const LISTED: &[u8] = b"m|listed|";
/// End of these.
pub const LISTED_END: &[u8] = b"m|listed}";
/// Prefix of timers.
pub const TIMERS: &[u8] = b"t|";
/// End of the timers.
pub const TIMERS_END: &[u8] = b"t}";
/// Prefix of dedupe marks: they stay out of the state hash.
pub const DEDUPE: &[u8] = b"d|";

/// `c|key`: the hot value of a cell.
pub fn cell(key: &CellKey) -> Vec<u8> {
    [b"c|", key.as_str().as_bytes()].concat()
}

/// The first key of a tenant's cells.
pub fn cells(tenant: &str) -> Vec<u8> {
    [b"c|", CellKey::tenant_prefix(tenant).as_bytes()].concat()
}

/// The first key behind a tenant's cells.
pub fn cells_end(tenant: &str) -> Vec<u8> {
    let mut end = cells(tenant);
    // The prefix ends in `/`, and no byte of it is the last one.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// The cell of a key of [`cell`].
pub fn parse_cell(key: &[u8]) -> Option<CellKey> {
    CellKey::parse(std::str::from_utf8(key.strip_prefix(b"c|")?).ok()?).ok()
}

/// `y|key|group/tag`: why the contact carries the tag. Written when a tag changes.
pub fn why(key: &CellKey, group: &str, tag: &str) -> Vec<u8> {
    format!("y|{key}|{group}/{tag}").into_bytes()
}

/// `d|id`: the event was applied, at this log time.
pub fn dedupe(id: EventId) -> Vec<u8> {
    [DEDUPE, &id.0].concat()
}

/// `r|length of tenant|tenant|request`: the answer to a command. The length keeps tenants apart whatever they hold.
pub fn result(tenant: &str, request_id: &str) -> Vec<u8> {
    format!("r|{}|{tenant}|{request_id}", tenant.len()).into_bytes()
}

/// `n|key|other`: the cell has told `other` that they may be the same person: on which evidence, and how often.
/// Beside the hot value, because a good customer names thousands of orders.
pub fn told(key: &CellKey, other: &CellKey) -> Vec<u8> {
    format!("n|{key}|{other}").into_bytes()
}

/// `a|key|other`: `other` has named the cell, which was a forward.
pub fn asker(key: &CellKey, other: &CellKey) -> Vec<u8> {
    format!("a|{key}|{other}").into_bytes()
}

/// The first of these keys of a cell, and the first key behind them.
pub fn askers(key: &CellKey) -> (Vec<u8>, Vec<u8>) {
    (format!("a|{key}|").into_bytes(), format!("a|{key}}}").into_bytes())
}

/// `h|key|n`: the n-th event that waits for the buyer of the order.
pub fn held(key: &CellKey, number: u32) -> Vec<u8> {
    [b"h|", key.as_str().as_bytes(), b"|", &number.to_be_bytes()].concat()
}

/// `i|key`: the lines of an order, as the last event that had any.
pub fn lines(key: &CellKey) -> Vec<u8> {
    [b"i|", key.as_str().as_bytes()].concat()
}

/// `g|key|member`: somebody is in the group, since when.
pub fn member(key: &CellKey, member: &str) -> Vec<u8> {
    format!("g|{key}|{member}").into_bytes()
}

/// `e|key|member`: somebody has left the group, when.
pub fn left(key: &CellKey, member: &str) -> Vec<u8> {
    format!("e|{key}|{member}").into_bytes()
}

/// `u|length of tenant|tenant|kind|name`: whose turn it is in a pool or a store.
pub fn turn(tenant: &str, kind: &str, name: &str) -> Vec<u8> {
    format!("u|{}|{tenant}|{kind}|{name}", tenant.len()).into_bytes()
}

/// `m|entry|length of tenant|tenant|entry`: an entry of the directory, under its kind and id.
pub fn entry(tenant: &str, entry: &Entry) -> Vec<u8> {
    let (kind, id) = match entry {
        Entry::Staff(id, _) => ("staff", id),
        Entry::Group(id, _) => ("group", id),
        Entry::Product(id, _) => ("product", id),
        Entry::Store(id, _) => ("store", id),
        Entry::Tag(id, _) => ("tag", id),
        Entry::Content(id, _) => ("content", id),
    };
    format!("m|entry|{}|{tenant}|{kind}|{id}", tenant.len()).into_bytes()
}

/// `m|listed|tenant`: the offset of the latest change of the directory.
pub fn listed(tenant: &str) -> Vec<u8> {
    [LISTED, tenant.as_bytes()].concat()
}

/// `m|bundle|tenant`: the bundle in force for a tenant.
pub fn bundle(tenant: &str) -> Vec<u8> {
    [BUNDLES, tenant.as_bytes()].concat()
}

/// `t|due|cell|timer`: `due` as 8 bytes, big-endian, so that keys are in due order.
pub fn timer(due: Time, cell: &CellKey, timer: &str) -> Vec<u8> {
    let mut key = timers_until(due);
    key.extend_from_slice(cell.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(timer.as_bytes());
    key
}

/// The first timer key at or after `due`.
pub fn timers_until(due: Time) -> Vec<u8> {
    // Times before 1970 are refused at the door; they would sort as 1970.
    let due_ms = u64::try_from(due.0).unwrap_or(0);
    [TIMERS, &due_ms.to_be_bytes()].concat()
}

/// Takes a timer key apart: due, cell, timer.
pub fn parse_timer(key: &[u8]) -> Option<(Time, CellKey, String)> {
    let rest = key.strip_prefix(TIMERS)?;
    let (due, rest) = rest.split_first_chunk::<8>()?;
    let at = rest.iter().position(|byte| *byte == 0)?;
    let cell = CellKey::parse(std::str::from_utf8(&rest[..at]).ok()?).ok()?;
    let timer = String::from_utf8(rest[at + 1..].to_vec()).ok()?;
    Some((Time(i64::try_from(u64::from_be_bytes(*due)).ok()?), cell, timer))
}
