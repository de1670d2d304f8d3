//! Field values: what an event carries and what conditions compare.

use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A decimal number in millionths: no floats in state. Range ±9.2 × 10¹².
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Number(pub i64);

impl Number {
    /// One, in millionths.
    pub const ONE: i64 = 1_000_000;

    /// A whole number; `None` beyond the range.
    pub fn from_integer(whole: i64) -> Option<Self> {
        whole.checked_mul(Self::ONE).map(Self)
    }

    /// The whole number, if it is one.
    pub fn as_integer(self) -> Option<i64> {
        (self.0 % Self::ONE == 0).then_some(self.0 / Self::ONE)
    }

    /// Parses `-12`, `9.9`, `0.000001`; more than six decimals, exponents or other signs are refused.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) || fraction.len() > 6 {
            return None;
        }
        let whole: i64 = whole.parse().ok()?;
        let scale = 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?);
        let fraction = fraction.parse::<i64>().ok()? * scale;
        let size = whole.checked_mul(Self::ONE)?.checked_add(fraction)?;
        Some(Self(if negative { -size } else { size }))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        let one = Self::ONE.unsigned_abs();
        let fraction = format!("{:06}", size % one);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{sign}{}", size / one),
            fraction => write!(f, "{sign}{}.{fraction}", size / one),
        }
    }
}

/// A field's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// Text; enumerated values too (`in`, `self`).
    Text(String),
    /// A decimal number.
    Number(Number),
    /// Yes or no.
    Bool(bool),
    /// A moment.
    Time(Time),
    /// Several values; order lines are a list of records.
    List(Vec<Value>),
    /// Named values.
    Record(Fields),
}

impl Value {
    /// A text value.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A whole number; saturates at the range of [`Number`].
    pub fn integer(whole: i64) -> Self {
        let saturated = if whole < 0 { i64::MIN } else { i64::MAX };
        Self::Number(Number::from_integer(whole).unwrap_or(Number(saturated)))
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Named values in name order, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields(Vec<(String, Value)>);

impl Fields {
    /// No fields.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets a field, replacing an earlier value.
    pub fn set(&mut self, name: impl Into<String>, value: Value) {
        let name = name.into();
        match self.0.binary_search_by(|(have, _)| have.as_str().cmp(&name)) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    /// Builder form of [`Fields::set`].
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: Value) -> Self {
        self.set(name, value);
        self
    }

    /// The value under exactly this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.0.binary_search_by(|(have, _)| have.as_str().cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// The value at a dotted path: `conversation.type` looks into the record `conversation`.
    pub fn path(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.get(path) {
            return Some(value);
        }
        let (head, rest) = path.split_once('.')?;
        match self.get(head)? {
            Value::Record(inner) => inner.path(rest),
            _ => None,
        }
    }

    /// The text at a dotted path.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.path(path).and_then(Value::as_text)
    }

    /// All fields in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<(String, Value)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(iter: I) -> Self {
        let mut fields = Self::new();
        for (name, value) in iter {
            fields.set(name, value);
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact() {
        for (text, expected) in
            [("0", Some(0)), ("9.9", Some(9_900_000)), ("-12", Some(-12_000_000)), ("0.000001", Some(1))]
        {
            assert_eq!(Number::parse(text).map(|n| n.0), expected, "{text}");
            assert_eq!(Number::parse(text).map(|n| n.to_string()).as_deref(), Some(text));
        }
        for bad in ["", ".", "1.", ".5", "1e3", "+1", "0.0000001", "99999999999999", "一"] {
            assert_eq!(Number::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_look_into_records() {
        let inner = Fields::new().with("type", Value::text("single"));
        let fields = Fields::new().with("conversation", Value::Record(inner)).with("b", Value::Bool(true));
        assert_eq!(fields.text("conversation.type"), Some("single"));
        assert_eq!(fields.text("conversation.id"), None);
        assert_eq!(fields.text("b"), None);
    }
}
