//! Playbooks: parse, validate, compile; and the one condition language.
//!
//! What it is: text in, located diagnostics or a [`bundle::Bundle`] out.
//! What it is not: it holds no state of contacts and knows no log, store or wire.

pub mod bundle;
pub mod keywords;
