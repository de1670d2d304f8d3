//! Identifiers and keys. Wire and disk format: changing anything here breaks every log.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Kinds of identifiers, **in rank order for linking**: of two linked cells the one with the
/// smaller kind becomes the contact. Order, group and cells without a contact come after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IdKind {
    /// WeCom external user id; scope = corp id.
    WecomExternalUserid,
    /// WeCom pending id; scope = corp id.
    WecomPendingId,
    /// Youzan open id; scope = `youzan`.
    YzOpenId,
    /// Taobao open uid; scope = app key.
    TbOpenUid,
    /// WeChat union id; scope = open-platform account.
    WxUnionid,
    /// WeChat open id; scope = app id.
    WxOpenid,
    /// Membership card number; scope = shop.
    MemberCard,
    /// Keyed hash of a phone number; scope = tenant.
    PhoneRef,
    /// A visitor of tracked links who is not known yet; scope = site.
    ClickVisitor,
    /// An order; scope = `channel:shop`.
    Order,
    /// A WeCom group; scope = corp id.
    Group,
    /// A token made for one order or one person, used once; scope = what carries it. Nobody names it but who made it.
    Token,
    /// No identifier: two contacts that a person has parted each hold one, of one scope (where that was said) and
    /// different values, so that nothing but a person joins them again.
    Apart,
    /// No identifier: a number that a playbook counts; scope = the partition that counts.
    Metric,
}

impl IdKind {
    /// Every kind that events and people name, in rank order.
    pub const ALL: [Self; 11] = [
        Self::WecomExternalUserid,
        Self::WecomPendingId,
        Self::YzOpenId,
        Self::TbOpenUid,
        Self::WxUnionid,
        Self::WxOpenid,
        Self::MemberCard,
        Self::PhoneRef,
        Self::ClickVisitor,
        Self::Order,
        Self::Group,
    ];

    /// The name on the wire and in cell keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WecomExternalUserid => "wecom_external_userid",
            Self::WecomPendingId => "wecom_pending_id",
            Self::YzOpenId => "yz_open_id",
            Self::TbOpenUid => "tb_open_uid",
            Self::WxUnionid => "wx_unionid",
            Self::WxOpenid => "wx_openid",
            Self::MemberCard => "member_card",
            Self::PhoneRef => "phone_ref",
            Self::ClickVisitor => "click_visitor",
            Self::Order => "order",
            Self::Group => "group",
            Self::Token => "token",
            Self::Apart => "apart",
            Self::Metric => "metric",
        }
    }

    /// The kind with this wire name; also those that only commands and loopback records may hold.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::Token, Self::Apart, Self::Metric]).find(|kind| kind.name() == name)
    }

    /// Whether a cell of this kind stands for a person (or may come to).
    pub const fn is_contact(self) -> bool {
        !matches!(self, Self::Order | Self::Group | Self::Token | Self::Apart | Self::Metric)
    }

    /// Two different values of an exclusive kind in one scope are two people: such contacts never merge.
    pub const fn is_exclusive(self) -> bool {
        matches!(self, Self::WxUnionid | Self::WecomExternalUserid | Self::Apart)
    }

    /// Whether events and people may name identifiers of this kind; the others are the engine's own.
    pub const fn is_public(self) -> bool {
        !matches!(self, Self::Token | Self::Apart | Self::Metric)
    }
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One identifier: kind, scope (who issued it) and value, unescaped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IdKey {
    /// What sort of identifier.
    pub kind: IdKind,
    /// Who issued it: corp id, shop, app key…
    pub scope: String,
    /// The identifier itself.
    pub value: String,
}

impl IdKey {
    /// An identifier from its parts.
    pub fn new(kind: IdKind, scope: impl Into<String>, value: impl Into<String>) -> Self {
        Self { kind, scope: scope.into(), value: value.into() }
    }
}

/// `tenant/kind/scope/value`, percent-encoded: the key of a cell, of its records and of its partition.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CellKey(String);

/// Why a text is not a cell key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CellKeyError {
    /// Not exactly four parts.
    #[error("a cell key has the form tenant/kind/scope/value")]
    Parts,
    /// The kind is not in [`IdKind::ALL`].
    #[error("unknown identifier kind")]
    Kind,
    /// Not in the one canonical percent-encoding, empty, or too long.
    #[error("not in canonical percent-encoding, or empty, or longer than {} bytes", CellKey::BYTES_MAX)]
    Encoding,
}

impl CellKey {
    /// Longest key accepted, in bytes: a key is stored several times per event.
    pub const BYTES_MAX: usize = 512;

    /// The key of the cell of `id` for `tenant`.
    pub fn of(tenant: &str, id: &IdKey) -> Self {
        let mut out = Self::tenant_prefix(tenant);
        out.push_str(id.kind.name());
        out.push('/');
        percent_encode(&id.scope, &mut out);
        out.push('/');
        percent_encode(&id.value, &mut out);
        Self(out)
    }

    /// What the keys of a tenant's cells begin with, and of nobody else's.
    pub fn tenant_prefix(tenant: &str) -> String {
        let mut out = String::with_capacity(64);
        percent_encode(tenant, &mut out);
        out.push('/');
        out
    }

    /// Checks a key that came from outside: four parts, known kind, canonical encoding.
    pub fn parse(text: &str) -> Result<Self, CellKeyError> {
        let (tenant, id) = Self::split(text)?;
        let canonical = Self::of(&tenant, &id);
        if canonical.0 != text || text.len() > Self::BYTES_MAX || tenant.is_empty() || id.value.is_empty() {
            return Err(CellKeyError::Encoding);
        }
        Ok(canonical)
    }

    fn split(text: &str) -> Result<(String, IdKey), CellKeyError> {
        let mut parts = text.split('/');
        let (Some(tenant), Some(kind), Some(scope), Some(value), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(CellKeyError::Parts);
        };
        let kind = IdKind::parse(kind).ok_or(CellKeyError::Kind)?;
        let decode = |part: &str| percent_decode(part).ok_or(CellKeyError::Encoding);
        Ok((decode(tenant)?, IdKey { kind, scope: decode(scope)?, value: decode(value)? }))
    }

    /// The key as text, e.g. `acme/order/youzan:kdt123/E2026`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identifier inside.
    pub fn id(&self) -> IdKey {
        Self::split(&self.0).expect("checked when constructed").1
    }

    /// The tenant inside.
    pub fn tenant(&self) -> String {
        Self::split(&self.0).expect("checked when constructed").0
    }

    /// The kind inside.
    pub fn kind(&self) -> IdKind {
        let kind = self.0.split('/').nth(1).expect("checked when constructed");
        IdKind::parse(kind).expect("checked when constructed")
    }

    /// The partition of `partitions` that owns this cell.
    pub fn partition(&self, partitions: u32) -> u32 {
        partition_of(self.0.as_bytes(), partitions)
    }

    /// The public id of the contact held by this cell.
    pub fn contact_id(&self) -> ContactId {
        let hash = blake3::hash(self.0.as_bytes());
        let text = data_encoding::BASE32_NOPAD.encode(&hash.as_bytes()[..16]).to_lowercase();
        ContactId(text)
    }
}

impl fmt::Debug for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const UPPER_HEX: &[u8; 16] = b"0123456789ABCDEF";

fn percent_encode(part: &str, out: &mut String) {
    for byte in part.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push(char::from(UPPER_HEX[usize::from(byte >> 4)]));
                out.push(char::from(UPPER_HEX[usize::from(byte & 15)]));
            }
        }
    }
}

fn percent_decode(part: &str) -> Option<String> {
    let mut out = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).expect("two hex digits"));
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// `toPositive(murmur2(key)) mod partitions`: exactly what the Java client's default partitioner does.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// Kafka's murmur2 (seed `0x9747b28c`), 32 bit.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).expect("keys are short");
    let mut hash: u32 = 0x9747_b28c ^ length;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if rest.len() >= 3 {
        hash ^= u32::from(rest[2]) << 16;
    }
    if rest.len() >= 2 {
        hash ^= u32::from(rest[1]) << 8;
    }
    if !rest.is_empty() {
        hash ^= u32::from(rest[0]);
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// Public id of a contact: base32, lower case, no padding, 26 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContactId(String);

impl ContactId {
    /// Checks an id that came from outside.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 26 && text.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b));
        valid.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Deterministic id of an event: any number of retries through any number of replicas is one event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId(pub [u8; 16]);

impl EventId {
    /// First 16 bytes of BLAKE3 over the length-prefixed (u32 little-endian) fields.
    pub fn derive(tenant: &str, channel: &str, account: &str, native_type: &str, dedupe_basis: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for field in [tenant.as_bytes(), channel.as_bytes(), account.as_bytes(), native_type.as_bytes(), dedupe_basis] {
            let length = u32::try_from(field.len()).expect("an event is far smaller than 4 GiB");
            hasher.update(&length.to_le_bytes());
            hasher.update(field);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(id)
    }

    /// The id of what came in by the open door: its source's own id makes it, whatever else it says.
    pub fn of_source(tenant: &str, channel: &str, account: &str, source: &str, id: &str) -> Self {
        Self::derive(tenant, channel, account, "api", &basis(&[source.as_bytes(), id.as_bytes()]))
    }

    /// Lower-case hex, 32 characters.
    pub fn to_hex(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// Parses [`EventId::to_hex`].
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// Parts one after the other, each behind its length (u32 little-endian), so that no two lists of parts give the same
/// bytes.
pub fn basis(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        let length = u32::try_from(part.len()).expect("payloads are bounded far below 4 GiB");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// Position of a record in the `events` topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Partition, 0-based.
    pub partition: u32,
    /// Offset, 0-based.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the Java client: `org.apache.kafka.common.utils.UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_equals_the_java_client() {
        for (text, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
        }
    }

    #[test]
    fn keys_are_canonical() {
        let id = IdKey::new(IdKind::Order, "youzan:kdt123", "E2026/中 文%");
        let key = CellKey::of("acme", &id);
        assert_eq!(key.as_str(), "acme/order/youzan:kdt123/E2026%2F%E4%B8%AD%20%E6%96%87%25");
        assert_eq!(CellKey::parse(key.as_str()), Ok(key.clone()));
        assert_eq!(key.id(), id);
        for (bad, why) in [
            ("acme/order/x", CellKeyError::Parts),
            ("acme/oder/x/y", CellKeyError::Kind),
            ("acme/order/x/%e4", CellKeyError::Encoding),
            ("acme/order/x/%41", CellKeyError::Encoding),
            ("acme/order/x/", CellKeyError::Encoding),
            ("acme/order/x/%4", CellKeyError::Encoding),
        ] {
            assert_eq!(CellKey::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn ids_are_frozen() {
        // Computed by an independent BLAKE3 (the Python package `blake3`); worked out in proto/README.md, "Ids".
        let key = CellKey::parse("acme/wecom_external_userid/wwcorp/wmXYZ").expect("canonical");
        assert_eq!(key.contact_id().as_str(), "si7gg5yxlnk7o5wgcsole6qz7a");
        assert_eq!(ContactId::parse("si7gg5yxlnk7o5wgcsole6qz7a"), Some(key.contact_id()));
        let id = EventId::derive("acme", "wecom", "wwcorp", "t", b"basis");
        assert_eq!(id.to_hex(), "c1a103191102e9d128d9382552bd5bb6");
        assert_eq!(EventId::parse(&id.to_hex()), Some(id));
        assert_ne!(id, EventId::derive("acme", "wecom", "wwcor", "pt", b"basis"));
    }
}
