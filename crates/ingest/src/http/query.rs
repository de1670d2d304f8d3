//! Query parameters by strict percent-decoding: a form decoder turns the `+` of base64 into a space.

use percent_encoding::percent_decode_str;

/// The parameter `name`, decoded; `None` when it is absent, there twice, wrongly escaped or no UTF-8.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let mut values = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    });
    let value = values.next()?;
    if values.next().is_some() || !escapes_are_whole(value) {
        return None;
    }
    percent_decode_str(value).decode_utf8().ok().map(Into::into)
}

fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes();
        [digits.next(), digits.next()].iter().all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plus_stays_plus_and_bad_escapes_are_absent() {
        for (query, value) in [
            ("echostr=a+b%2Bc%3D&x=1", Some("a+b+c=")),
            ("x=1&echostr=", Some("")),
            ("echostr", Some("")),
            ("echostr=a=b", Some("a=b")),
            ("echostr=%E4%B8%AD", Some("中")),
            ("echostr=%2", None),
            ("echostr=%zz", None),
            ("echostr=%+1", None),
            ("echostr=%FF", None),
            ("echostr=1&echostr=2", None),
            ("echo=1", None),
            ("", None),
        ] {
            assert_eq!(parameter(query, "echostr").as_deref(), value, "{query}");
        }
    }
}
