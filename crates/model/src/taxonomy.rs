//! The fields of every event kind: one table for validation, playbook checks, JSON schema and examples.

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number.
    Number,
    /// Yes or no.
    Bool,
    /// A moment.
    Time,
    /// Several values.
    List(&'static FieldType),
    /// Named values.
    Record(&'static [Field]),
    /// Named values of any name: form answers, profile fields, custom fields.
    Open,
}

/// One field of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name on the wire, in playbooks and in JSON.
    pub name: &'static str,
    /// What it holds.
    pub ty: FieldType,
    /// Personal: kept in the event's private part.
    pub private: bool,
}
