//! The two Kafka requests that tell whether a broker is ready, written by hand.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;
/// Longer answers than this come from no broker.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Asks a broker for its API versions, which it answers as soon as it takes requests, then for the brokers it knows.
/// Gives their ids in order. Errors: it does not answer within `timeout`, or with an error.
pub(crate) fn known_brokers(address: SocketAddr, timeout: Duration) -> Result<Vec<u32>> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let versions = ask(&mut stream, API_VERSIONS, 0, 1, &[])?;
    match versions.get(..2) {
        Some([0, 0]) => {}
        _ => return Err(Error::other("the broker refuses ApiVersions")),
    }
    // An empty list of topics: only the brokers.
    let metadata = ask(&mut stream, METADATA, 1, 2, &0_i32.to_be_bytes())?;
    broker_ids(&metadata).ok_or_else(|| Error::other("the broker's metadata is cut short"))
}

fn ask(stream: &mut TcpStream, api_key: i16, api_version: i16, correlation_id: i32, body: &[u8]) -> Result<Vec<u8>> {
    stream.write_all(&request(api_key, api_version, correlation_id, body))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(4..=MAX_ANSWER_BYTES).contains(&length) {
        return Err(Error::other("no answer of a Kafka broker"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    if answer[..4] != correlation_id.to_be_bytes() {
        return Err(Error::other("an answer to another request"));
    }
    Ok(answer.split_off(4))
}

/// A request frame with header version 1 and no client id.
pub(crate) fn request(api_key: i16, api_version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend(api_key.to_be_bytes());
    payload.extend(api_version.to_be_bytes());
    payload.extend(correlation_id.to_be_bytes());
    payload.extend((-1_i16).to_be_bytes());
    payload.extend(body);
    let length = i32::try_from(payload.len()).expect("requests of tests are small");
    [&length.to_be_bytes(), payload.as_slice()].concat()
}

/// Ids in a Metadata answer of version 1: an array of (id, host, port, rack or null) comes first.
fn broker_ids(metadata: &[u8]) -> Option<Vec<u32>> {
    let mut rest = metadata;
    let mut take = |length: usize| {
        let (taken, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(taken)
    };
    let count = i32::from_be_bytes(take(4)?.try_into().ok()?);
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(u32::try_from(i32::from_be_bytes(take(4)?.try_into().ok()?)).ok()?);
        let host_length = i16::from_be_bytes(take(2)?.try_into().ok()?);
        take(usize::try_from(host_length).ok()?)?;
        take(4)?;
        let rack_length = i16::from_be_bytes(take(2)?.try_into().ok()?);
        take(usize::try_from(rack_length).unwrap_or(0))?;
    }
    ids.sort_unstable();
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The format is that of the protocol guide; one broker 1 at 127.0.0.1:19092 without a rack.
    #[test]
    fn brokers_are_read_from_metadata() {
        let one = b"\0\0\0\x01\0\0\0\x01\0\x09127.0.0.1\0\0\x4a\x94\xff\xff\0\0\0\x01\0\0\0\0";
        assert_eq!(broker_ids(one), Some(vec![1]));
        let two = b"\0\0\0\x02\0\0\0\x03\0\x01h\0\0\0\x01\0\x02rr\0\0\0\x02\0\x01h\0\0\0\x01\xff\xff";
        assert_eq!(broker_ids(two), Some(vec![2, 3]));
        assert_eq!(broker_ids(&one[..20]), None);
        assert_eq!(broker_ids(&[]), None);
    }

    #[test]
    fn a_request_has_length_key_version_and_correlation() {
        assert_eq!(request(18, 0, 7, &[]), b"\0\0\0\x0a\0\x12\0\0\0\0\0\x07\xff\xff");
    }
}
