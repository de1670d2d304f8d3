//! Signature and encryption of callbacks, both directions.
//!
//! Plaintext = 16 random bytes, message length (u32 big-endian), message, receive id; padded to 32 bytes;
//! AES-256-CBC with the first half of the key as IV (official documents 90968, 91144).

use super::{BODY_BYTES_MAX, Signed, xml};
use crate::Error;
use crate::account::Wecom;
use crate::decoded::hex;
use aes::Aes256;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit, block_padding::NoPadding};
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

/// Messages are padded to a multiple of this, unlike AES's own 16: a pad byte is 1..=32.
const PAD_BYTES: usize = 32;
const RANDOM_BYTES: usize = 16;
/// Random bytes and message length.
const HEAD_BYTES: usize = RANDOM_BYTES + 4;

/// The last of the 43 characters carries two spare bits that need not be zero (they are not in the official vector).
const KEY_BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// A callback as the channel sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The query parameters.
    pub signed: Signed,
    /// The POST body.
    pub body: String,
    /// The ciphertext alone: `echostr` of an address check.
    pub encrypt: String,
}

/// Answers an address check: the plain text to send back exactly as it is, within one second.
/// `echostr` may have lost its `+` to a form decoder; base64 holds no spaces, so they are put back.
pub fn verify_url(account: &Wecom, signed: &Signed, echostr: &str) -> Result<String, Error> {
    let echostr = echostr.replace(' ', "+");
    let plain = open_encrypted(account, signed, &echostr)?;
    String::from_utf8(plain).map_err(|_| Error::Malformed { what: "echostr" })
}

/// Seals `inner` as the channel does. `random` fills the 16 bytes in front; take them from a random source.
pub fn seal(account: &Wecom, inner: &str, timestamp: &str, nonce: &str, random: [u8; 16]) -> Result<Sealed, Error> {
    let key = aes_key(account)?;
    let length = u32::try_from(inner.len()).map_err(|_| oversized())?;
    let mut plain = random.to_vec();
    plain.extend_from_slice(&length.to_be_bytes());
    plain.extend_from_slice(inner.as_bytes());
    plain.extend_from_slice(account.receive_id.as_bytes());
    let pad = PAD_BYTES - plain.len() % PAD_BYTES;
    plain.resize(plain.len() + pad, u8::try_from(pad).expect("at most 32"));
    let encrypt = STANDARD.encode(encrypt_padded(&key, plain));
    let msg_signature = signature(account, timestamp, nonce, &encrypt);
    let body = format!(
        "<xml><ToUserName><![CDATA[{}]]></ToUserName><Encrypt><![CDATA[{encrypt}]]></Encrypt><AgentID><![CDATA[]]></AgentID></xml>",
        account.corp_id
    );
    Ok(Sealed { signed: Signed { msg_signature, timestamp: timestamp.into(), nonce: nonce.into() }, body, encrypt })
}

/// Envelope → inner XML bytes, with signature and receiver checked.
pub(super) fn open(account: &Wecom, signed: &Signed, body: &[u8]) -> Result<Vec<u8>, Error> {
    if body.len() > BODY_BYTES_MAX {
        return Err(oversized());
    }
    let body = std::str::from_utf8(body).map_err(|_| Error::Malformed { what: "callback envelope" })?;
    let envelope = xml::parse(body)?;
    let encrypt = envelope.text("Encrypt").ok_or(Error::Malformed { what: "callback envelope" })?;
    open_encrypted(account, signed, encrypt)
}

fn open_encrypted(account: &Wecom, signed: &Signed, encrypt: &str) -> Result<Vec<u8>, Error> {
    if encrypt.len() > BODY_BYTES_MAX {
        return Err(oversized());
    }
    let expected = signature(account, &signed.timestamp, &signed.nonce, encrypt);
    if !bool::from(expected.as_bytes().ct_eq(signed.msg_signature.as_bytes())) {
        return Err(Error::BadSignature);
    }
    let malformed = Error::Malformed { what: "ciphertext" };
    let sealed = STANDARD.decode(encrypt).map_err(|_| malformed.clone())?;
    let plain = decrypt_padded(&aes_key(account)?, sealed).ok_or(malformed.clone())?;
    let (message, receive_id) = split(&plain).ok_or(malformed)?;
    if !bool::from(receive_id.ct_eq(account.receive_id.as_bytes())) {
        return Err(Error::WrongReceiver);
    }
    Ok(message.to_vec())
}

/// SHA-1 over the four texts, sorted by bytes, without separators.
fn signature(account: &Wecom, timestamp: &str, nonce: &str, encrypt: &str) -> String {
    let mut parts = [account.token.expose(), timestamp, nonce, encrypt];
    parts.sort_unstable();
    hex(&Sha1::digest(parts.concat()))
}

fn aes_key(account: &Wecom) -> Result<[u8; 32], Error> {
    let bad = Error::BadKey { what: "the EncodingAESKey is not 43 characters of base64" };
    let bytes = KEY_BASE64.decode(format!("{}=", account.aes_key.expose())).map_err(|_| bad.clone())?;
    bytes.try_into().map_err(|_| bad)
}

fn encrypt_padded(key: &[u8; 32], mut plain: Vec<u8>) -> Vec<u8> {
    let length = plain.len();
    let cipher = cbc::Encryptor::<Aes256>::new_from_slices(key, &key[..16]).expect("32-byte key, 16-byte iv");
    cipher.encrypt_padded_mut::<NoPadding>(&mut plain, length).expect("padded to a multiple of 32");
    plain
}

/// `None` unless whole blocks with a pad of 1..=32 equal bytes.
fn decrypt_padded(key: &[u8; 32], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
    let cipher = cbc::Decryptor::<Aes256>::new_from_slices(key, &key[..16]).expect("32-byte key, 16-byte iv");
    cipher.decrypt_padded_mut::<NoPadding>(&mut sealed).ok()?;
    let last = *sealed.last()?;
    let pad = usize::from(last);
    if pad == 0 || pad > PAD_BYTES || pad > sealed.len() {
        return None;
    }
    let length = sealed.len() - pad;
    sealed[length..].iter().all(|byte| *byte == last).then_some(())?;
    sealed.truncate(length);
    Some(sealed)
}

fn split(plain: &[u8]) -> Option<(&[u8], &[u8])> {
    let length: [u8; 4] = plain.get(RANDOM_BYTES..HEAD_BYTES)?.try_into().ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    plain.get(HEAD_BYTES..)?.split_at_checked(length)
}

const fn oversized() -> Error {
    Error::Oversized { what: "callback body", bytes_max: BODY_BYTES_MAX }
}

#[cfg(test)]
mod tests;
