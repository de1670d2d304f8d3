//! Lenient reading of channels' JSON: numbers as text and text as numbers, money as exact fen, one canonical form.

use serde_json::Value as Json;

/// Parses one document; nesting is bounded by the parser (128 levels).
pub(crate) fn parse(bytes: &[u8]) -> Option<Json> {
    serde_json::from_slice(bytes).ok()
}

/// A member as text: strings as they are, numbers with the digits they came with. Empty is absent.
pub(crate) fn text(object: &Json, name: &str) -> Option<String> {
    as_text(object.get(name)?)
}

/// A string or number as text. Empty is absent.
pub(crate) fn as_text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A member as a whole number, from a number or a text of one.
pub(crate) fn integer(object: &Json, name: &str) -> Option<i64> {
    text(object, name)?.parse().ok()
}

/// A member as yes or no: `true`, `1`, and both as text.
pub(crate) fn flag(object: &Json, name: &str) -> Option<bool> {
    match object.get(name)? {
        Json::Bool(flag) => Some(*flag),
        other => match as_text(other)?.as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
    }
}

/// A member holding yuan (`"12.3"`, `12.30`) as fen, exactly; `None` when it does not come out even.
pub(crate) fn fen(object: &Json, name: &str) -> Option<i64> {
    yuan_to_fen(&text(object, name)?)
}

fn yuan_to_fen(yuan: &str) -> Option<i64> {
    let (negative, digits) = yuan.strip_prefix('-').map_or((false, yuan), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let cents = fraction.trim_end_matches('0');
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || cents.len() > 2 {
        return None;
    }
    let cents: i64 = format!("{cents:0<2}").parse().ok()?;
    let size = whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(cents)?;
    Some(if negative { -size } else { size })
}

/// The document with keys sorted and no spaces, whatever order and spacing it came in.
pub(crate) fn canonical(value: &Json) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Json, out: &mut String) {
    match value {
        Json::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (index, (name, member)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Json::String(name.clone()).to_string());
                out.push(':');
                write_canonical(member, out);
            }
            out.push('}');
        }
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yuan_become_fen_exactly() {
        for (yuan, fen) in [
            ("0.01", Some(1)),
            ("12.3", Some(1_230)),
            ("12", Some(1_200)),
            ("0.070", Some(7)),
            ("-5.50", Some(-550)),
            ("90071992547409.93", Some(9_007_199_254_740_993)),
            ("0.001", None),
            ("", None),
            (".5", None),
            ("1e3", None),
            ("一", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(yuan_to_fen(yuan), fen, "{yuan}");
        }
    }

    #[test]
    fn canonical_form_ignores_order_and_keeps_digits() {
        let one = parse(br#"{"b": [1, 2.50], "a": {"y":"\u4e2d", "x": 9007199254740993}}"#).unwrap();
        assert_eq!(canonical(&one), r#"{"a":{"x":9007199254740993,"y":"中"},"b":[1,2.50]}"#);
    }
}
