//! The log on a real broker. One binary: one broker for all tests that do not hurt it.

#![expect(clippy::unwrap_used, reason = "a test stops where something is not as expected")]

mod appending;
mod contract;
mod group;
mod partitions;
mod reading;
mod security;
mod support;
mod topics;
mod zombies;
