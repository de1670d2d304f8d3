//! A real Apache Kafka for tests, benchmarks, the demo and developers: started on free ports in a temporary directory,
//! killed, paused and restarted on demand, cut off by a proxy, and gone when its owner is gone.
//!
//! What it is: the one place that knows how a broker is fetched, configured, started and ended without containers.
//! What it is not: a Kafka client (the few requests it sends ask whether a broker is ready), or part of the product.
//!
//! ```no_run
//! use touchline_broker::{Options, start_or_skip};
//!
//! let Some(cluster) = start_or_skip(&Options { brokers: 3, ..Options::default() }) else { return };
//! println!("bootstrap.servers={}", cluster.bootstrap());
//! cluster.kill(2).unwrap();
//! cluster.restart(2).unwrap();
//! ```

mod availability;
mod cluster;
mod jars;
mod node;
mod ports;
mod proxy;
mod tls;
mod wire;

pub use availability::{Availability, EXTERNAL, available, available_or_skip, required, skip, start_or_skip};
pub use cluster::{Cluster, Error, Options, Security, speed_up};
pub use jars::{Jars, Unavailable, check_java, copy_dependencies};
pub use proxy::{Action, Proxy, Rule, RuleId, Which, api};
