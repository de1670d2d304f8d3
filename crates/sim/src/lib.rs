//! The simulator: whole clusters on one thread, one seed per run, everything that can go wrong.
//!
//! What it is: [`run`] drives the real partitions over the memory log and memory stores with a seeded
//! workload while partitions crash at any fault point, appends fail or lose their answer, answers come
//! late, clocks step and partitions stall. Then everything comes to rest and is judged twice: by
//! `touchline_processor::check` (the log against a replay of itself) and by an [`oracle`] that reads the
//! log naively (sorted maps, no timer index) and knows the playbook language only from its description.
//! What it is not: it sleeps never and reads no clock; a seed gives the same run each time.
//!
//! A failing seed is repeated with `TOUCHLINE_SEED=n cargo test -p touchline-sim`.

mod broker;
mod chaos;
mod client;
mod coordinator;
mod crashes;
mod handle;
mod judge;
pub mod kafka;
mod network;
pub mod oracle;
mod process;
mod random;
mod view;
mod workload;
mod world;

pub use world::{Failure, Options, Plant, Report, run, run_with};
