//! The words of Touchline as types: identifiers, log time, events, tags, touches, commands.
//!
//! What it is: plain values with checked constructors, shared by every other crate.
//! What it is not: it knows no wire format, no store, no clock and no channel.
//!
//! **Invariant**: nothing here reads a clock, randomness, files, sockets or the environment, and
//! no value contains a float. `number` is an `i64` of millionths ([`value::Number`]).
//!
//! ```
//! use touchline_model::id::{CellKey, IdKey, IdKind};
//! let key = CellKey::of("acme", &IdKey::new(IdKind::WecomExternalUserid, "wwcorp", "wmXYZ"));
//! assert_eq!(key.as_str(), "acme/wecom_external_userid/wwcorp/wmXYZ");
//! assert_eq!(key.partition(4), 0);
//! ```

pub mod command;
pub mod counted;
pub mod directory;
pub mod event;
pub mod headers;
pub mod id;
pub mod kind;
pub mod output;
pub mod past;
pub mod record;
pub mod snapshot;
pub mod taxonomy;
pub mod time;
pub mod token;
pub mod value;
