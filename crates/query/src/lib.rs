//! The query role: a read model built from the topics alone, and the gRPC services over it.
//!
//! What it is: a follower that tails every topic into a [`model::ReadModel`] (contacts, bitmaps by tag, timelines,
//! bundles in force, Progress), conditions as set operations, consistency tokens, and the services of
//! `proto/touchline/v1`. Commands are appended to `events` and answered from `command-results`.
//! What it is not: it never sees the engine's state and never calls the processor; how a virtual clock is moved comes
//! through [`admin::ClockControl`], implemented by the binary.
//!
//! **Invariants**: one writer; readers hold a read lock for one question, so they never see half a batch, and
//! once a Progress is visible everything its publication said is. Of a numbered topic exactly the next record is
//! taken (I4); others are ignored, and a gap raises an alarm. Every answer carries a consistency token. Errors
//! carry exactly one `ErrorInfo` and never message text, phones or open ids.

pub mod admin;
mod commands;
pub mod error;
mod follower;
pub mod metrics;
pub mod model;
mod names;
mod options;
mod page;
pub mod server;
mod services;
pub mod sets;
mod shared;
mod stream;

pub use options::Options;

use std::sync::Arc;
use std::thread::JoinHandle;
use touchline_log::Log;
use touchline_model::output::Progress;

/// The query role.
#[derive(Debug)]
pub struct Query;

/// A running query role; dropping it stops it.
pub struct Handle {
    shared: Arc<shared::Shared>,
    follower: Option<JoinHandle<()>>,
}

impl Query {
    /// Starts following the log on a thread of its own.
    pub fn start(log: Arc<dyn Log>, options: Options) -> Handle {
        metrics::describe();
        let shared = Arc::new(shared::Shared::new(log, options));
        let follower = follower::Follower::new(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("query-follower".to_owned());
        let follower = thread.spawn(move || follower.run()).expect("the system has a thread left at start");
        Handle { shared, follower: Some(follower) }
    }
}

impl Handle {
    /// Whether the model has read every topic to the end it had at start: what readiness asks.
    pub fn caught_up(&self) -> bool {
        self.shared.model().caught_up()
    }

    /// What is wrong with the topics as they were read.
    pub fn alarms(&self) -> model::Alarms {
        self.shared.model().alarms().clone()
    }

    /// How far every partition has come, as far as the model knows, in order.
    pub fn progress(&self) -> Vec<Progress> {
        self.shared.model().progress().cloned().collect()
    }

    /// Whether the follower still runs: `false` before [`Handle::stop`] means it died and the process should end.
    pub fn is_alive(&self) -> bool {
        self.follower.as_ref().is_some_and(|follower| !follower.is_finished())
    }

    /// Ends streams and waits with `UNAVAILABLE`, then the follower. Call it before the gRPC server's own shutdown.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop();
        if let Some(follower) = self.follower.take()
            && follower.join().is_err()
        {
            tracing::error!("the follower of the read model had panicked");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}
