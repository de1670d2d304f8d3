//! Every rpc over a loopback port, against a log written by hand and a processor that is a few lines.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "tests")]

mod commands;
mod freshness;
mod metrics;
mod reading;
mod sparse;
mod streams;
mod visibility;
mod world;
