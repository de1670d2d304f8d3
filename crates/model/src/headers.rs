//! Headers of a record: names and values in order, in one piece of memory.

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Headers in order; names may repeat, values may hold any bytes.
///
/// ```text
///   length of name u32 │ length of value u32 │ name │ value ║ …        little-endian
/// ```
/// Each record carries about nine: as texts of their own they are eighteen allocations.
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct Headers(Vec<u8>);

/// Two lengths.
const PREFIX: usize = 8;

impl Headers {
    /// None yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// None yet, with room for names and values of so many bytes.
    pub fn with_capacity(headers: usize, bytes: usize) -> Self {
        Self(Vec::with_capacity(headers * PREFIX + bytes))
    }

    /// Adds one at the end.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("records are far below 4 GiB").to_le_bytes();
        self.0.extend_from_slice(&length(name.as_bytes()));
        self.0.extend_from_slice(&length(value));
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(value);
    }

    /// Names and values, in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter(&self.0)
    }

    /// The first value under a name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values together, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.len() - self.len() * PREFIX
    }
}

/// Names and values of [`Headers`], in order.
#[derive(Debug, Clone)]
pub struct Iter<'a>(&'a [u8]);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let length = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).ok();
        let (name, rest) = rest.split_at_checked(length(name)?)?;
        let (value, rest) = rest.split_at_checked(length(value)?)?;
        let name = std::str::from_utf8(name).ok()?;
        self.0 = rest;
        Some((name, value))
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = (&'a str, &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut all = Self::new();
        for (name, value) in headers {
            all.push(name.as_ref(), value.as_ref());
        }
        all
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>, const COUNT: usize> From<[(N, V); COUNT]> for Headers {
    fn from(headers: [(N, V); COUNT]) -> Self {
        headers.into_iter().collect()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value): (&str, &[u8])| (name.to_owned(), String::from_utf8_lossy(value).into_owned());
        f.debug_list().entries(self.iter().map(shown)).finish()
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("headers")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Headers, E> {
                let mut rest = Iter(bytes);
                rest.by_ref().for_each(drop);
                if rest.0.is_empty() { Ok(Headers(bytes.to_vec())) } else { Err(E::custom("damaged headers")) }
            }
        }
        deserializer.deserialize_bytes(Bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_repeats_and_any_bytes_are_kept() {
        let headers = Headers::from([("a", &b"1"[..]), ("", b""), ("钱", &[0, 255]), ("a", b"2")]);
        let listed: Vec<_> = headers.iter().collect();
        assert_eq!(listed, [("a", &b"1"[..]), ("", b""), ("钱", &[0, 255]), ("a", b"2")]);
        assert_eq!((headers.len(), headers.bytes(), headers.is_empty()), (4, 9, false));
        assert_eq!((headers.get("a"), headers.get("b")), (Some(&b"1"[..]), None));
        assert_eq!(headers.iter().collect::<Headers>(), headers);
        assert!(Headers::new().is_empty() && Headers::new().iter().next().is_none());
    }

    #[test]
    fn what_is_stored_comes_back_and_damage_is_refused() {
        let headers = Headers::from([("ce_id", b"7"), ("x", b"y")]);
        let stored = postcard::to_allocvec(&headers).unwrap();
        assert_eq!(postcard::from_bytes::<Headers>(&stored).unwrap(), headers);
        for cut in 1..stored.len() {
            let mut damaged = stored.clone();
            damaged.truncate(cut);
            damaged[0] = u8::try_from(cut - 1).unwrap();
            let whole = postcard::from_bytes::<Headers>(&damaged);
            assert_eq!(whole.is_ok(), cut == 1 || cut == 15, "{cut}");
        }
        let mut no_text = stored;
        no_text[9] = 0xff;
        assert!(postcard::from_bytes::<Headers>(&no_text).is_err());
    }
}
