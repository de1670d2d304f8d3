//! Playbooks: parse, validate, compile; and the one condition language.
//!
//! What it is: text in, located diagnostics or a [`bundle::Bundle`] out, and the matching of events against patterns.
//! What it is not: it holds no state of contacts and knows no log, store or wire.
//!
//! The way through it: [`compile`] reads YAML with positions, [`syntax`] makes trees of every expression of the
//! language, names and types are resolved against the bundle, and what the language has but this version does not
//! evaluate is refused with a code of its own ([`codes`], `NY…`).
//!
//! Not checked yet, though the language asks for it: `expect`, caps and vendor ceilings, changed step ids.

pub mod attributes;
pub mod bundle;
mod clocks;
pub mod codes;
pub mod compile;
pub mod condition;
mod cycles;
pub mod diagnostic;
pub mod diff;
pub mod directory;
pub mod documents;
mod fold;
mod index;
mod journeys;
pub mod keywords;
mod lexer;
pub mod listening;
mod lookup;
pub mod matching;
pub mod measure;
pub mod metrics;
mod quantities;
mod reader;
pub mod reference;
mod resolve;
mod rules;
pub mod schema;
mod sections;
pub mod syntax;
pub mod tally;
pub mod waits;
mod write;
pub mod yaml;
