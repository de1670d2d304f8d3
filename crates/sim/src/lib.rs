//! The simulator: whole clusters on one thread, one seed per run, everything that can go wrong.
//!
//! What it is: two worlds with one workload and one judgement.
//! * [`run`]: one process on the embedded log. It drives the real partitions over the memory log and memory stores while
//!   partitions crash at any fault point, appends fail or lose their answer, answers come late and clocks step.
//! * [`kafka::run`]: several processes on a cluster like Kafka, in both modes of publishing. Besides the partitions it
//!   drives the real publisher lanes, one call at a time, while processes pause and come back as zombies, partitions move,
//!   standbys are promoted, stores are lost and restored from checkpoints, and requests are lost, doubled or late.
//!
//! Then everything comes to rest and is judged twice: by `touchline_processor::check` (the log against a replay of itself)
//! and by an [`oracle`] that reads the log naively (sorted maps, no timer index) and knows the playbook language only from
//! its description.
//!
//! ```text
//!   kafka    the world: who does what next, by seed; rest; judgement
//!   process  stores and partitions of one process  ─▶ handle   its log: appends, reads, lanes ─▶ client  a lane's producer
//!   network  requests and what becomes of them     ─▶ broker   leaders: epochs, sequences, transactions, markers
//!   view     what consumers see                    ─▶ coordinator   transactions by id, the group and its offsets
//! ```
//! What of Kafka is modelled: producer epochs and fencing by init, sequences and their repeats, transactions with control
//! markers that reach topics one after another, the last stable offset, verification of partitions, time-outs, offsets
//! with generations that come into force late, requests that are lost, unanswered, doubled or late and reordered across
//! connections. What is not: replication and loss of brokers, retention, compaction, more than one batch in a request.
//! What it is not: it sleeps never and reads no clock; a seed gives the same run each time.
//!
//! A failing seed is repeated with `TOUCHLINE_SEED=n cargo test -p touchline-sim`.

pub mod bench;
mod broker;
mod chaos;
mod client;
mod clients;
mod coordinator;
mod crashes;
pub mod crowd;
mod handle;
pub mod identity;
mod judge;
pub mod kafka;
pub mod language;
mod network;
pub mod oracle;
mod process;
mod random;
mod view;
mod workload;
mod world;

pub use world::{Failure, Options, Plant, Report, run, run_with};
