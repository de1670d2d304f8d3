//! The processor's own keys in a partition's store. The engine's are in `touchline_engine::keys`.

/// Prefix of the outbox.
pub(crate) const OUTBOX: &[u8] = b"o|";
/// Prefix of the loopback lanes.
pub(crate) const LANES: &[u8] = b"l|";
/// Prefix of what only concerns this store.
pub(crate) const LOCAL: &[u8] = b"p|";
/// Which log and partition the store belongs to.
pub(crate) const OWNER: &[u8] = b"p|owner";
/// Offset and hash of the last applied record.
pub(crate) const LAST_RECORD: &[u8] = b"p|last";

/// `o|n`: entry n of the outbox.
pub(crate) fn outbox(index: u64) -> Vec<u8> {
    [OUTBOX, &index.to_be_bytes()].concat()
}

/// `l|destination|sequence`: a loopback record on its way.
pub(crate) fn lane(destination: u32, sequence: u64) -> Vec<u8> {
    [LANES, &destination.to_be_bytes(), &sequence.to_be_bytes()].concat()
}

/// The number at the end of an outbox or lane key.
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The first key after all keys that start with `prefix`.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    let last = end.last_mut().expect("prefixes are not empty");
    *last += 1;
    end
}
