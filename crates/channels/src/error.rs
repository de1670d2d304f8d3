//! The one error of this crate: what a caller counts, answers and, where it helps, asks to be resent.

/// Why a payload did not become events. Texts never contain payload content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The signature over the raw bytes does not match.
    #[error("the signature does not match; hint: compare token or secret with the channel's console")]
    BadSignature,
    /// The bytes are not what the channel documents.
    #[error("malformed {what}")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// Longer than the bound of its kind.
    #[error("{what} is longer than {bytes_max} bytes")]
    Oversized {
        /// Which part.
        what: &'static str,
        /// The bound.
        bytes_max: usize,
    },
    /// Sealed for another corp or suite than the configured one.
    #[error("sealed for another receiver; hint: compare receive_id with the corp id or suite id")]
    WrongReceiver,
    /// Rightly signed, but about a corp, app or shop that is not configured.
    #[error("unknown account; hint: add the corp, app or shop to the configuration")]
    UnknownAccount,
    /// A configured key is unusable.
    #[error("unusable key: {what}; hint: copy it again from the channel's console")]
    BadKey {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A field holds another type than the taxonomy says.
    #[error("field `{field}` must be {expected}")]
    WrongField {
        /// Dotted name.
        field: String,
        /// What is expected there.
        expected: String,
    },
    /// A field the kind does not have.
    #[error("unknown field `{field}`; hint: the schema lists the fields of every kind")]
    UnknownField {
        /// Dotted name.
        field: String,
    },
    /// A required field is absent.
    #[error("field `{field}` is missing")]
    MissingField {
        /// Its name.
        field: &'static str,
    },
    /// The kind is not in the taxonomy.
    #[error("unknown kind; hint: the schema lists the kinds; a behaviour of your own is kind `custom` with a `name`")]
    UnknownKind,
    /// The kind may not come from outside: ticks, loopback, our own notices.
    #[error("kind `{kind}` does not come from outside")]
    ForbiddenKind {
        /// The kind's name.
        kind: &'static str,
    },
    /// The kind is known but not accepted yet.
    #[error("kind `{kind}` is not accepted yet")]
    NotYet {
        /// The kind's name.
        kind: &'static str,
    },
    /// More events in one request than [`crate::api::BATCH_EVENTS_MAX`].
    #[error("{count} events in one request, at most {count_max}; hint: split the batch")]
    TooMany {
        /// How many came.
        count: usize,
        /// The bound.
        count_max: usize,
    },
}

/// Whether the sender should send the same bytes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The fault may lie in our configuration: answer failure, so that the channel tries again.
    Again,
    /// The same bytes will fail again: count and park them. With Youzan answer success, since failures of
    /// one type trip a breaker that delays all types.
    Never,
}

impl Error {
    /// A word from a closed set: the `reason` label of the rejection counter and of API answers.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::BadSignature => "bad_signature",
            Self::Malformed { .. } => "malformed",
            Self::Oversized { .. } => "oversized",
            Self::WrongReceiver => "wrong_receiver",
            Self::UnknownAccount => "unknown_account",
            Self::BadKey { .. } => "bad_key",
            Self::WrongField { .. } => "wrong_field",
            Self::UnknownField { .. } => "unknown_field",
            Self::MissingField { .. } => "missing_field",
            Self::UnknownKind => "unknown_kind",
            Self::ForbiddenKind { .. } => "forbidden_kind",
            Self::NotYet { .. } => "not_yet",
            Self::TooMany { .. } => "too_many",
        }
    }

    /// Whether sending the same bytes again can help.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::BadSignature | Self::WrongReceiver | Self::BadKey { .. } => Retry::Again,
            _ => Retry::Never,
        }
    }
}
