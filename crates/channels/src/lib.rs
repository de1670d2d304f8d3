//! Channel adapters: payloads of WeCom, Youzan, Tmall/Taobao, tracked links and the open API become events of the one
//! taxonomy.
//!
//! What it is: pure functions from (account, raw bytes, times given by the caller) to
//! [`Decoded`] or [`Error`]: signatures in constant time on the raw bytes first, then bounded parsing, then
//! [`touchline_model::event::Event`]s with deterministic ids, so that a retry is the same event.
//! What it is not: it opens no socket, reads no clock, draws no random number and keeps no state.
//!
//! **Invariant**: no input panics; where the channel signs, nothing becomes an event before its signature holds; a
//! native event of an unknown type becomes `channel.notice` with its raw bytes, never nothing.
//!
//! ```
//! use touchline_channels::api;
//! use touchline_model::{kind::Kind, time::Time};
//! let body = api::example(Kind::OrderPaid).expect("comes from outside").to_string();
//! let batch = api::decode(body.as_bytes(), Time(1_800_000_000_000)).expect("a request");
//! assert_eq!(batch[0].as_ref().expect("valid").event.kind, Kind::OrderPaid);
//! ```

pub mod account;
pub mod api;
mod decoded;
mod error;
mod json;
pub mod link;
pub mod taobao;
pub mod wecom;
pub mod youzan;

pub use decoded::{Decoded, Purpose};
pub use error::{Error, Retry};
