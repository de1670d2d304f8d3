use super::*;
use crate::account::Secret;
use proptest::prelude::*;
use std::collections::BTreeSet;
use touchline_model::time::Time;

/// The account of the published vectors.
fn official() -> Wecom {
    Wecom {
        tenant: "acme".into(),
        corp_id: "wx5823bf96d3bd56c7".into(),
        receive_id: "wx5823bf96d3bd56c7".into(),
        token: Secret::new("QDG6eK"),
        aes_key: Secret::new("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"),
        staff: BTreeSet::new(),
    }
}

fn signed(msg_signature: &str, timestamp: &str, nonce: &str) -> Signed {
    Signed { msg_signature: msg_signature.into(), timestamp: timestamp.into(), nonce: nonce.into() }
}

fn official_text() -> (Signed, &'static str) {
    (signed("477715d11cdb4164915debcba66cb864d751f3e6", "1409659813", "1372623149"), OFFICIAL_ENCRYPT)
}

const OFFICIAL_ENCRYPT: &str = "RypEvHKD8QQKFhvQ6QleEB4J58tiPdvo+rtK1I9qca6aM/wvqnLSV5zEPeusUiX5L5X/0lWfrf0QADHHhGd3QczcdCUpj911L3vg3W/sYYvuJTs3TUUkSUXxaccAS0qhxchrRYt66wiSpGLYL42aM6A8dTT+6k4aSknmPj48kzJs8qLjvd4Xgpue06DOdnLxAUHzM6+kDZ+HMZfJYuR+LtwGc2hgf5gsijff0ekUNXZiqATP7PF5mZxZ3Izoun1s4zG4LUMnvw2r+KqCKIw+3IQH03v+BCA9nMELNqbSf6tiWSrXJB3LAVGUcallcrw8V2t9EL4EhzJWrQUax5wLVMNS0+rUPA3k22Ncx4XXZS9o0MBH27Bo6BpNelZpS+/uh9KsNlY6bHCmJU9p8g7m3fVKn28H3KDYA5Pl/T8Z1ptDAVe0lXdQ2YoyyH2uyPIGHBZZIs2pDBS8R07+qN+E7Q==";

const OFFICIAL_PLAIN: &str = "<xml><ToUserName><![CDATA[wx5823bf96d3bd56c7]]></ToUserName>\n<FromUserName><![CDATA[mycreate]]></FromUserName>\n<CreateTime>1409659813</CreateTime>\n<MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[hello]]></Content>\n<MsgId>4561255354251345929</MsgId>\n<AgentID>218</AgentID>\n</xml>";

fn envelope(encrypt: &str) -> String {
    format!("<xml><ToUserName><![CDATA[x]]></ToUserName><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>")
}

/// An envelope around arbitrary ciphertext bytes, rightly signed.
fn resign(sealed: &[u8]) -> (Signed, String) {
    let encrypt = STANDARD.encode(sealed);
    let signature = signature(&official(), "1", "2", &encrypt);
    (signed(&signature, "1", "2"), envelope(&encrypt))
}

fn reason(sealed: &[u8]) -> &'static str {
    let (signed, body) = resign(sealed);
    open(&official(), &signed, body.as_bytes()).unwrap_err().reason()
}

fn seal_plain(plain: Vec<u8>) -> Vec<u8> {
    encrypt_padded(&aes_key(&official()).unwrap(), plain)
}

#[test]
fn the_published_text_opens_and_is_reproduced() {
    let (query, encrypt) = official_text();
    let inner = open(&official(), &query, envelope(encrypt).as_bytes()).unwrap();
    assert_eq!(std::str::from_utf8(&inner).unwrap(), OFFICIAL_PLAIN);
    let sealed = seal(&official(), OFFICIAL_PLAIN, "1409659813", "1372623149", *b"0960688932c47ef1").unwrap();
    assert_eq!((sealed.encrypt.as_str(), sealed.signed), (encrypt, query));
}

#[test]
fn the_published_echostr_opens_even_with_spaces_for_plus() {
    let echostr = "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==";
    let query = signed("5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3", "1409659589", "263014780");
    assert_eq!(verify_url(&official(), &query, echostr).as_deref(), Ok("1616140317555161061"));
    assert_eq!(verify_url(&official(), &query, &echostr.replace('+', " ")).as_deref(), Ok("1616140317555161061"));
    assert_eq!(verify_url(&official(), &signed("0", "1", "2"), echostr), Err(Error::BadSignature));
}

#[test]
fn every_rule_of_the_seal_is_enforced() {
    // Sound but for its pad: 16 random bytes, an empty message, the receiver, then the given pad.
    let padded = |message: &str, pad: &[u8]| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        seal_plain([&[7; 16][..], &length, message.as_bytes(), b"wx5823bf96d3bd56c7", pad].concat())
    };
    let mut length_beyond = vec![0; 16];
    length_beyond.extend_from_slice(&1_000_u32.to_be_bytes());
    length_beyond.extend_from_slice(&[12; 12]);
    assert_eq!(reason(&seal_plain(length_beyond)), "malformed", "msg_len beyond the buffer");
    assert_eq!(reason(&[0; 31]), "malformed", "not whole blocks");
    assert_eq!(reason(&[]), "malformed", "nothing at all");
    assert_eq!(reason(&padded("", &[0; 10])), "malformed", "pad 0");
    assert_eq!(reason(&padded("123456789", &[33; 33])), "malformed", "pad above 32");
    assert_eq!(reason(&padded("", &[10, 10, 10, 10, 11, 10, 10, 10, 10, 10])), "malformed", "uneven pad");
    let (query, body) = resign(&padded("", &[10; 10]));
    assert_eq!(open(&official(), &query, body.as_bytes()), Ok(Vec::new()), "the construction itself is sound");
    assert_eq!(reason(&seal_plain([17; 16].to_vec())), "malformed", "pad longer than the text");
    assert_eq!(reason(&seal_plain([16; 16].to_vec())), "malformed", "no head");

    let other = Wecom { receive_id: "wx0000000000000000".into(), ..official() };
    let sealed = seal(&other, "<xml/>", "1", "2", [1; 16]).unwrap();
    assert_eq!(open(&official(), &sealed.signed, sealed.body.as_bytes()), Err(Error::WrongReceiver));

    let short = Wecom { aes_key: Secret::new("short"), ..official() };
    let (query, encrypt) = official_text();
    assert_eq!(open(&short, &query, envelope(encrypt).as_bytes()).unwrap_err().reason(), "bad_key");
}

#[test]
fn pads_of_every_length_open() {
    for length in 0..70 {
        let inner = "x".repeat(length);
        let sealed = seal(&official(), &inner, "1", "2", [9; 16]).unwrap();
        assert_eq!(open(&official(), &sealed.signed, sealed.body.as_bytes()).as_deref(), Ok(inner.as_bytes()));
    }
}

#[test]
fn what_is_no_envelope_is_refused_before_any_key_is_used() {
    let (query, encrypt) = official_text();
    let check = |body: &str, expected: &str| {
        assert_eq!(open(&official(), &query, body.as_bytes()).unwrap_err().reason(), expected, "{body:.60}");
    };
    check("", "malformed");
    check("{}", "malformed");
    check("<xml></xml>", "malformed");
    check(&format!("<!DOCTYPE xml [<!ENTITY e \"x\">]>{}", envelope(encrypt)), "malformed");
    check(&" ".repeat(BODY_BYTES_MAX + 1), "oversized");
    check(&envelope("AAAA"), "bad_signature");
}

/// A few thousand single-byte changes of signature, timestamp, nonce and ciphertext: none passes.
#[test]
fn no_mutation_of_a_signed_callback_passes() {
    let (query, encrypt) = official_text();
    let mut state = 42_u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for round in 0..3_000 {
        let mut parts = [query.msg_signature.clone(), query.timestamp.clone(), query.nonce.clone(), encrypt.to_owned()];
        let part = &mut parts[draw(4)];
        let at = draw(part.len());
        let mut bytes = part.clone().into_bytes();
        bytes[at] = match char::from(bytes[at]) {
            'A' => b'B',
            _ => b'A',
        };
        *part = String::from_utf8(bytes).unwrap();
        let [signature, timestamp, nonce, encrypt] = parts;
        let result = open(&official(), &signed(&signature, &timestamp, &nonce), envelope(&encrypt).as_bytes());
        assert_eq!(result, Err(Error::BadSignature), "round {round}");
    }
}

proptest! {
    #[test]
    fn sealing_and_opening_are_inverse(inner in "\\PC{0,200}", random in any::<[u8; 16]>(), nonce in "[0-9]{1,10}") {
        let sealed = seal(&official(), &inner, "1700000000", &nonce, random).unwrap();
        prop_assert_eq!(open(&official(), &sealed.signed, sealed.body.as_bytes()), Ok(inner.into_bytes()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300), query in "\\PC{0,20}") {
        let signed = signed(&query, &query, &query);
        prop_assert!(crate::wecom::callback(&official(), &signed, &body, Time(0)).is_err());
        let (signed, envelope) = resign(&body);
        let _ = crate::wecom::callback(&official(), &signed, envelope.as_bytes(), Time(0));
        let _ = verify_url(&official(), &signed, &String::from_utf8_lossy(&body));
    }
}
