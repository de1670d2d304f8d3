//! The log on Apache Kafka: `touchline_log::Log` on librdkafka.
//!
//! What it is: idempotent appends, tailing readers, publisher lanes with transactions (`touchline_log::lane`), the
//! membership that hands partitions out, and the topics as they must be. What it is not: it knows nothing of events.
//!
//! Invariants: foreign calls that block run on threads of this crate, never on those of callers of `append`,
//! `take_over` and `publish`; what was acknowledged through a [`KafkaLog`] is readable through it at once; secrets are
//! never shown.
//!
//! ```no_run
//! use std::sync::Arc;
//! use touchline_kafka::{KafkaLog, Settings, topics};
//! use touchline_log::{Log, NewRecord, SystemWall, Topic, wait};
//!
//! let settings = Settings { brokers: "127.0.0.1:9092".to_owned(), ..Settings::default() };
//! topics::apply(&settings, &topics::Spec::built_in()?.with_replication(1))?;
//! let log = KafkaLog::connect(settings, Arc::new(SystemWall))?;
//! let record = NewRecord { value: b"x".to_vec(), ..NewRecord::default() };
//! let appended = wait(log.append(Topic::Events, 0, vec![record]))?;
//! assert_eq!(log.read(Topic::Events, 0, appended.first_offset, 1)?.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod context;
mod cursor;
mod ends;
mod error;
mod group;
mod lane;
mod log;
pub mod metrics;
mod producer;
mod reader;
pub mod topics;

pub use config::{Clock, Publish, Settings};
pub use error::Error;
pub use group::{Assignment, Group};
pub use lane::Hook;
pub use log::KafkaLog;
