//! Tracked links: a stateless token that carries the destination, and the click event it leaves.
//!
//! Token = base64url without padding of `message ‖ HMAC-SHA256(key, message)[..16]`. The message is a version byte,
//! then each field as a u16 big-endian length and UTF-8 bytes, in the order of [`Link`]; an absent contact or touch
//! is empty. A link that carries a state has version 2 and the state as a ninth field. Nothing in it is encrypted: it must not hold what its reader may not see.

use crate::Error;
use crate::account::Secret;
use crate::decoded::{Fact, Origin, Provenance, check_subject, hex, put_text, sha256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use touchline_model::event::{Actor, Channel, Event, Precision};
use touchline_model::id::{IdKey, IdKind};
use touchline_model::kind::Kind;
use touchline_model::time::Time;
use touchline_model::value::{Fields, Value};

/// Longest token accepted: a link must survive chat clients and address bars.
pub const TOKEN_CHARS_MAX: usize = 2_048;
/// Shortest key accepted: as many bytes as the tag, so that the key is not the easier thing to guess.
pub const KEY_BYTES_MIN: usize = 16;

const VERSION: u8 = 1;
const VERSION_WITH_STATE: u8 = 2;
const TAG_BYTES: usize = 16;
/// Longest state: what channels with a `state` of their own take.
const STATE_BYTES_MAX: usize = 64;

/// Where a link is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Surface {
    Chat,
    Group,
    Moment,
    MiniProgram,
    Sms,
    Card,
    #[default]
    Unknown,
}

impl Surface {
    /// Every surface.
    pub const ALL: [Self; 7] =
        [Self::Chat, Self::Group, Self::Moment, Self::MiniProgram, Self::Sms, Self::Card, Self::Unknown];

    /// The word on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Group => "group",
            Self::Moment => "moment",
            Self::MiniProgram => "mp",
            Self::Sms => "sms",
            Self::Card => "card",
            Self::Unknown => "unknown",
        }
    }

    /// The surface with this word.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|surface| surface.name() == name)
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Whose data.
    pub tenant: String,
    /// The content behind the link.
    pub content_id: String,
    /// Who it was made for, if for one person.
    pub contact: Option<IdKey>,
    /// The touch it was sent with.
    pub touch_id: Option<String>,
    /// Repeated by every click: a token of [`touchline_model::token`] joins the first visitor to whom it was made for.
    pub state: Option<String>,
    /// Where it is shown.
    pub surface: Surface,
    /// Where it leads: `http` or `https`.
    pub url: String,
}

/// One click, as the redirect saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Click<'a> {
    /// Unique per click: two requests with one id are one click.
    pub click_id: &'a str,
    /// When.
    pub at: Time,
    /// The site that serves the redirect: account of the event and scope of the visitor.
    pub site: &'a str,
    /// The visitor (a cookie), for links that name nobody.
    pub visitor: &'a str,
    /// Ingest's clock.
    pub received_at: Time,
}

/// Makes a token. Errors: a key below [`KEY_BYTES_MIN`], a destination that is not http(s), an identifier that is no
/// cell key, a token above [`TOKEN_CHARS_MAX`].
pub fn mint(key: &Secret, link: &Link) -> Result<String, Error> {
    check(link)?;
    let mut message = vec![if link.state.is_some() { VERSION_WITH_STATE } else { VERSION }];
    let (kind, scope, value) = link
        .contact
        .as_ref()
        .map_or(("", "", ""), |contact| (contact.kind.name(), contact.scope.as_str(), contact.value.as_str()));
    let touch_id = link.touch_id.as_deref().unwrap_or_default();
    let fields = [&link.tenant, &link.content_id, kind, scope, value, touch_id, link.surface.name(), &link.url];
    for field in fields.into_iter().chain(link.state.as_deref()) {
        let length = u16::try_from(field.len()).map_err(|_| oversized())?;
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(field.as_bytes());
    }
    let tag = tag(key, &message)?;
    message.extend_from_slice(&tag);
    let token = URL_SAFE_NO_PAD.encode(message);
    if token.len() > TOKEN_CHARS_MAX { Err(oversized()) } else { Ok(token) }
}

/// Opens a token: the tag in constant time first, then the fields. Errors: oversized, malformed, bad signature.
pub fn open(key: &Secret, token: &str) -> Result<Link, Error> {
    if token.len() > TOKEN_CHARS_MAX {
        return Err(oversized());
    }
    let malformed = Error::Malformed { what: "link token" };
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| malformed.clone())?;
    let at = bytes.len().checked_sub(TAG_BYTES).ok_or(malformed.clone())?;
    let (message, given) = bytes.split_at(at);
    mac(key, message)?.verify_truncated_left(given).map_err(|_| Error::BadSignature)?;
    let link = read(message).ok_or(malformed)?;
    check(&link)?;
    Ok(link)
}

/// The event a click leaves: under the cell of the contact the token names, else under the visitor's.
/// `link_id` in its fields is a digest of the token, so that clicks of one link can be counted together.
pub fn click_event(token: &str, link: &Link, click: Click<'_>) -> Result<Event, Error> {
    let visitor = || IdKey::new(IdKind::ClickVisitor, click.site, click.visitor);
    let subject = vec![link.contact.clone().unwrap_or_else(visitor)];
    check_subject(&link.tenant, &subject)?;
    let digest = sha256(token.as_bytes());
    let link_id = hex(digest.first_chunk::<8>().expect("a digest has 32 bytes"));
    let mut body = Fields::new();
    put_text(&mut body, "content_id", Some(&link.content_id));
    put_text(&mut body, "link_id", Some(&link_id));
    put_text(&mut body, "url", Some(&link.url));
    put_text(&mut body, "touch_id", link.touch_id.as_deref());
    put_text(&mut body, "state", link.state.as_deref());
    body.set("surface", Value::text(link.surface.name()));
    let fact = Fact { kind: Kind::ContentClicked, subject, actor: Actor::Customer, body };
    let provenance = Provenance {
        native_type: "click",
        native_id: click.click_id,
        occurred_at: Some(click.at),
        precision: Precision::Millisecond,
        ..Provenance::default()
    };
    let origin =
        Origin { tenant: &link.tenant, channel: Channel::Click, account: click.site, received_at: click.received_at };
    let mut event = origin.event(fact, &provenance, click.click_id.as_bytes());
    event.cause.touch_id.clone_from(&link.touch_id);
    Ok(event)
}

fn check(link: &Link) -> Result<(), Error> {
    if !is_web_address(&link.url) {
        return Err(Error::Malformed { what: "link destination: it must be http or https" });
    }
    if link.state.as_ref().is_some_and(|state| state.is_empty() || state.len() > STATE_BYTES_MAX) {
        return Err(Error::Malformed { what: "link state: it must have 1 to 64 bytes" });
    }
    if link.tenant.is_empty() || link.content_id.is_empty() {
        return Err(Error::Malformed { what: "link: tenant and content are required" });
    }
    link.contact.as_ref().map_or(Ok(()), |contact| check_subject(&link.tenant, std::slice::from_ref(contact)))
}

/// `http://` or `https://` with a host, printable ASCII only: it goes into a header as it is.
fn is_web_address(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    web && !host.is_empty() && url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

fn mac(key: &Secret, message: &[u8]) -> Result<Hmac<Sha256>, Error> {
    let key = key.expose().as_bytes();
    if key.len() < KEY_BYTES_MIN {
        return Err(Error::BadKey { what: "the link key is shorter than 16 bytes" });
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    Ok(mac)
}

fn tag(key: &Secret, message: &[u8]) -> Result<[u8; TAG_BYTES], Error> {
    let full = mac(key, message)?.finalize().into_bytes();
    Ok(*full.first_chunk().expect("SHA-256 gives 32 bytes"))
}

fn read(message: &[u8]) -> Option<Link> {
    let (version, mut rest) = message.split_first()?;
    let count = match *version {
        VERSION => 8,
        VERSION_WITH_STATE => 9,
        _ => return None,
    };
    let mut fields = [""; 9];
    for field in &mut fields[..count] {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let (bytes, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        *field = std::str::from_utf8(bytes).ok()?;
        rest = tail;
    }
    let [tenant, content_id, kind, scope, value, touch_id, surface, url, state] = fields;
    let contact = if kind.is_empty() { None } else { Some(IdKey::new(IdKind::parse(kind)?, scope, value)) };
    rest.is_empty().then_some(())?;
    Some(Link {
        tenant: tenant.to_owned(),
        content_id: content_id.to_owned(),
        contact,
        touch_id: Some(touch_id.to_owned()).filter(|id| !id.is_empty()),
        state: Some(state.to_owned()).filter(|state| !state.is_empty()),
        surface: Surface::parse(surface)?,
        url: url.to_owned(),
    })
}

const fn oversized() -> Error {
    Error::Oversized { what: "link token", bytes_max: TOKEN_CHARS_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Secret {
        Secret::new("0123456789abcdef")
    }

    fn link() -> Link {
        Link {
            tenant: "acme".into(),
            content_id: "price-list".into(),
            contact: Some(IdKey::new(IdKind::WecomExternalUserid, "wwcorp", "wmXYZ")),
            touch_id: Some("t-1".into()),
            state: None,
            surface: Surface::Moment,
            url: "https://shop.example/p?id=1#top".into(),
        }
    }

    fn click(click_id: &str) -> Click<'_> {
        let at = Time(1_772_416_800_123);
        Click { click_id, at, site: "go.acme.example", visitor: "v-1", received_at: Time(1_772_416_800_200) }
    }

    #[test]
    fn tokens_open_to_what_was_minted() {
        let with_state = Link { contact: None, state: Some("t.k3Jq9".into()), ..link() };
        for link in [link(), with_state, Link { contact: None, touch_id: None, surface: Surface::Sms, ..link() }] {
            let token = mint(&key(), &link).unwrap();
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
            assert_eq!(open(&key(), &token), Ok(link));
        }
    }

    #[test]
    fn any_changed_bit_is_refused() {
        let token = mint(&key(), &link()).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert_eq!(open(&key(), &URL_SAFE_NO_PAD.encode(changed)), Err(Error::BadSignature), "bit {at}");
        }
        assert_eq!(open(&Secret::new("another key, long"), &token), Err(Error::BadSignature));
    }

    #[test]
    fn bad_tokens_and_links_are_refused() {
        let reason = |token: &str| open(&key(), token).unwrap_err().reason();
        assert_eq!(reason(""), "malformed");
        assert_eq!(reason("????"), "malformed");
        assert_eq!(reason("AAAA"), "malformed");
        assert_eq!(reason(&"A".repeat(TOKEN_CHARS_MAX + 1)), "oversized");
        assert_eq!(reason(&"A".repeat(TOKEN_CHARS_MAX)), "bad_signature");
        for url in [
            "javascript:alert(1)",
            "ftp://x/",
            "https://",
            "https:///p",
            "//x",
            "https://x/\r\nSet-Cookie: a",
            "https://x/ y",
        ] {
            let refused = mint(&key(), &Link { url: url.into(), ..link() });
            assert_eq!(refused.unwrap_err().reason(), "malformed", "{url}");
        }
        let long = Link { url: format!("https://x/{}", "a".repeat(2_000)), ..link() };
        assert_eq!(mint(&key(), &long).unwrap_err().reason(), "oversized");
        assert_eq!(mint(&Secret::new("short"), &link()).unwrap_err().reason(), "bad_key");
    }

    #[test]
    fn a_click_lands_under_the_contact_or_the_visitor() {
        let token = mint(&key(), &link()).unwrap();
        let event = click_event(&token, &link(), click("c-1")).unwrap();
        crate::decoded::tests::check_taxonomy(&event);
        assert_eq!(event.kind, Kind::ContentClicked);
        assert_eq!(event.key().as_str(), "acme/wecom_external_userid/wwcorp/wmXYZ");
        assert_eq!(event.occurred_at, Some(Time(1_772_416_800_123)));
        assert_eq!(event.fields.text("content_id"), Some("price-list"));
        assert_eq!(event.fields.text("surface"), Some("moment"));
        assert_eq!(event.fields.text("touch_id"), Some("t-1"));
        assert_eq!(event.cause.touch_id.as_deref(), Some("t-1"));
        assert_eq!(event.id, click_event(&token, &link(), click("c-1")).unwrap().id);
        assert_ne!(event.id, click_event(&token, &link(), click("c-2")).unwrap().id);

        let open_link = Link { contact: None, state: Some("t.k3Jq9".into()), ..link() };
        let event = click_event("token", &open_link, click("c-1")).unwrap();
        crate::decoded::tests::check_taxonomy(&event);
        assert_eq!(event.fields.text("state"), Some("t.k3Jq9"));
        assert_eq!(event.key().as_str(), "acme/click_visitor/go.acme.example/v-1");
    }
}
