//! The bytes of the embedded log: disk format, version 1.
//!
//! ```text
//!   record    topic u8 | partition u16 | offset u64 → version u8 | append time i64 | key | headers | value
//!   identity  F0                                    → version u8 | partitions u32 | cluster id
//!   head      F1 | topic u8 | partition u16         → next offset u64 | append time i64
//!   marker    F2 | partition u16                    → offset u64 | sequence u64 × 4
//! ```
//! Integers are big-endian, so that keys sort by offset. Key: varint length + 1 (0 = none), bytes.
//! Headers: varint count, then per header name and value with varint lengths. The value is the rest.

use touchline_log::{Headers, Marker, NewRecord, StoredRecord, Topic};
use touchline_model::time::Time;

/// The format that this program writes and reads.
pub(crate) const VERSION: u8 = 1;

pub(crate) const IDENTITY_KEY: [u8; 1] = [0xF0];
const HEAD: u8 = 0xF1;
const MARKER: u8 = 0xF2;

/// Version and append time come first, so that the committer can set the time in bytes that callers encoded.
const APPEND_TIME_AT: std::ops::Range<usize> = 1..9;

/// Where a topic of a partition stands: stored, never derived from the last key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Head {
    /// Offset of the next record.
    pub(crate) next: u64,
    /// Append time of the last record.
    pub(crate) append_time: Time,
}

/// Who the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) version: u8,
    pub(crate) partitions: u32,
    pub(crate) cluster_id: String,
}

pub(crate) fn record_key(topic: Topic, partition: u16, offset: u64) -> [u8; 11] {
    let mut key = [0; 11];
    key[0] = topic as u8;
    key[1..3].copy_from_slice(&partition.to_be_bytes());
    key[3..].copy_from_slice(&offset.to_be_bytes());
    key
}

pub(crate) fn head_key(topic: Topic, partition: u16) -> [u8; 4] {
    let [high, low] = partition.to_be_bytes();
    [HEAD, topic as u8, high, low]
}

pub(crate) fn marker_key(partition: u16) -> [u8; 3] {
    let [high, low] = partition.to_be_bytes();
    [MARKER, high, low]
}

/// A record with its append time still to be set.
pub(crate) fn encode_record(record: &NewRecord) -> Vec<u8> {
    // Lengths below 128 take one byte; a few longer ones grow the vector at most once.
    let mut bytes = Vec::with_capacity(APPEND_TIME_AT.end + record.bytes() + 16 + 2 * record.headers.len());
    bytes.push(VERSION);
    bytes.extend([0; 8]);
    match &record.key {
        None => put_varint(&mut bytes, 0),
        Some(key) => {
            put_varint(&mut bytes, key.len() + 1);
            bytes.extend_from_slice(key);
        }
    }
    put_varint(&mut bytes, record.headers.len());
    for (name, value) in &record.headers {
        put_varint(&mut bytes, name.len());
        bytes.extend_from_slice(name.as_bytes());
        put_varint(&mut bytes, value.len());
        bytes.extend_from_slice(value);
    }
    bytes.extend_from_slice(&record.value);
    bytes
}

pub(crate) fn set_append_time(encoded: &mut [u8], time: Time) {
    encoded[APPEND_TIME_AT].copy_from_slice(&time.0.to_be_bytes());
}

/// `None` when the bytes are not what [`encode_record`] wrote.
pub(crate) fn decode_record(offset: u64, bytes: &[u8]) -> Option<StoredRecord> {
    let mut rest = Reader(bytes);
    if rest.array::<1>()? != [VERSION] {
        return None;
    }
    let append_time = Time(i64::from_be_bytes(rest.array()?));
    let key = match rest.varint()? {
        0 => None,
        length => Some(rest.take(length - 1)?.to_vec()),
    };
    let count = rest.varint()?;
    // Every header takes two bytes at least: a damaged count must not reserve memory.
    let mut headers = Headers::with_capacity(count.min(bytes.len() / 2), 0);
    for _ in 0..count {
        let length = rest.varint()?;
        let name = std::str::from_utf8(rest.take(length)?).ok()?;
        let length = rest.varint()?;
        headers.push(name, rest.take(length)?);
    }
    Some(StoredRecord { offset, append_time, key, headers, value: rest.0.to_vec() })
}

pub(crate) fn encode_head(head: Head) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&head.next.to_be_bytes());
    bytes[8..].copy_from_slice(&head.append_time.0.to_be_bytes());
    bytes
}

pub(crate) fn decode_head(bytes: &[u8]) -> Option<Head> {
    let mut rest = Reader(bytes);
    let next = u64::from_be_bytes(rest.array()?);
    let append_time = Time(i64::from_be_bytes(rest.array()?));
    rest.0.is_empty().then_some(Head { next, append_time })
}

pub(crate) fn encode_marker(marker: &Marker) -> Vec<u8> {
    let numbers = std::iter::once(marker.offset).chain(marker.sequences);
    numbers.flat_map(u64::to_be_bytes).collect()
}

pub(crate) fn decode_marker(bytes: &[u8]) -> Option<Marker> {
    let mut rest = Reader(bytes);
    let mut marker = Marker { offset: u64::from_be_bytes(rest.array()?), ..Marker::default() };
    for sequence in &mut marker.sequences {
        *sequence = u64::from_be_bytes(rest.array()?);
    }
    rest.0.is_empty().then_some(marker)
}

pub(crate) fn encode_identity(identity: &Identity) -> Vec<u8> {
    let mut bytes = vec![identity.version];
    bytes.extend(identity.partitions.to_be_bytes());
    bytes.extend(identity.cluster_id.as_bytes());
    bytes
}

pub(crate) fn decode_identity(bytes: &[u8]) -> Option<Identity> {
    let mut rest = Reader(bytes);
    let [version] = rest.array()?;
    let partitions = u32::from_be_bytes(rest.array()?);
    let cluster_id = String::from_utf8(rest.0.to_vec()).ok()?;
    Some(Identity { version, partitions, cluster_id })
}

fn put_varint(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn varint(&mut self) -> Option<usize> {
        let mut number = 0;
        // Nothing in a record is longer than 2^28.
        for shift in [0, 7, 14, 21] {
            let [byte] = self.array()?;
            number |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes on disk, written out by hand: a change here is a change of the disk format.
    #[test]
    fn the_disk_format_is_frozen() {
        let record =
            NewRecord { key: Some(b"k".to_vec()), headers: Headers::from([("id", [9; 130])]), value: b"v".to_vec() };
        let mut bytes = encode_record(&record);
        set_append_time(&mut bytes, Time(0x0102));
        let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 1, 2, 2, b'k', 1, 2, b'i', b'd', 0x82, 0x01];
        expected.extend([9; 130]);
        expected.push(b'v');
        assert_eq!(bytes, expected);
        assert_eq!(encode_record(&NewRecord::default()), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(record_key(Topic::Touches, 0x0102, 3), [2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(head_key(Topic::DeadLetters, 258), [0xF1, 5, 1, 2]);
        assert_eq!(marker_key(258), [0xF2, 1, 2]);
        let head = Head { next: 5, append_time: Time(-1) };
        assert_eq!(encode_head(head), [0, 0, 0, 0, 0, 0, 0, 5, 255, 255, 255, 255, 255, 255, 255, 255]);
        let identity = Identity { version: 1, partitions: 4, cluster_id: "c".to_owned() };
        assert_eq!(encode_identity(&identity), [1, 0, 0, 0, 4, b'c']);
    }

    #[test]
    fn damaged_bytes_are_refused_and_never_panic() {
        let record = NewRecord { key: None, headers: Headers::from([("a", [1])]), value: Vec::new() };
        let bytes = encode_record(&record);
        for length in 0..bytes.len() {
            assert_eq!(decode_record(0, &bytes[..length]), None, "cut to {length}");
        }
        for (at, byte) in [(0, 2), (9, 0xFF), (10, 0x7F), (11, 0x70), (12, 0xFF)] {
            let mut damaged = bytes.clone();
            damaged[at] = byte;
            assert_eq!(decode_record(0, &damaged), None, "byte {at}");
        }
        assert_eq!((decode_head(&[0; 15]), decode_head(&[0; 17])), (None, None));
        assert_eq!((decode_marker(&[0; 39]), decode_marker(&[0; 41])), (None, None));
        assert_eq!(decode_identity(&[1, 0, 0, 0]), None);
    }
}
