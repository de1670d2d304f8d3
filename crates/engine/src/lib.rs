//! The engine of one partition: a deterministic state machine `(state, record) → (state', outputs)`.
//!
//! What it is: [`Engine::apply`] takes one record of the log, changes cells through an
//! [`Overlay`] and returns what is to be said ([`Effects`]). The path of an event:
//! [`apply`] (dispatch, clock, dedupe) → [`reaction`] (what is remembered, then [`rules`] in rounds with [`segments`])
//! → [`journeys`] → [`touches`] → outputs.
//! What it is not: it knows no clock but the log's, no disk, no wire format, no threads. It never
//! appends, never waits, and it is total: whatever a record holds, the answer is a new state.
//!
//! **Invariants**
//! * State at offset `o` is a pure function of the records below `o`; so is every output with its number.
//! * Nothing iterates a hash map, reads a clock, or uses floats.
//! * A replay of the same records gives the same [`Meta::chain`].

pub mod activation;
mod apply;
mod cache;
mod cell;
mod clock;
mod commands;
mod groups;
mod journeys;
pub mod keys;
mod links;
mod map;
mod merging;
mod meta;
mod metrics;
mod observed;
mod orders;
mod overlay;
mod parting;
mod public;
mod reaction;
mod rules;
mod segments;
mod staff;
mod timers;
mod tokens;
mod touches;
mod waits;
mod work;

pub use activation::Settling;
pub use apply::{Effects, Engine, Notes};
pub use map::Map;
pub use meta::Meta;
pub use overlay::{Overlay, Pair, View, ViewError};
pub use public::{Public, public_contact, public_record};

/// How long an event id, a command's answer and a dedupe mark are remembered, in log time.
pub const DEDUPE_HORIZON: touchline_model::time::Span = touchline_model::time::Span::days(7);

/// Timers of other contacts fired per record: a morning with a million due touches is not one batch.
pub const TIMERS_PER_RECORD_MAX: usize = 256;

/// A jump of the broker's clock beyond this is believed only as far as a witness confirms it.
pub const CLOCK_JUMP_MAX: touchline_model::time::Span = touchline_model::time::Span::hours(1);

/// Forwards an event may pass. Each leads to a higher cell, so no chain is a ring, and one contact's identifiers make
/// one of 256 at most, behind an order or a group; an event may go from one contact to the next while they are parted
/// and joined. Only a number that was forged comes further, and ends here.
pub const HOPS_MAX: u16 = 1_024;

/// Chains of merged contacts do not grow this long by themselves: what passes so many forwards is an alarm.
pub const HOPS_ALARM: u16 = 8;

/// Version of the encoding of state values: the first byte of each. A store with another one is rebuilt from the log.
pub const STATE_SCHEMA: u8 = 7;
