//! How the query role runs.

use std::sync::Arc;
use std::time::Duration;
use touchline_log::{SystemWall, Wall};

/// How the query role runs.
#[derive(Clone)]
pub struct Options {
    /// How long a request may take when the client sets no deadline. Default: 5 s.
    pub deadline: Duration,
    /// Streams served at once; each has a thread of its own. Default: 64.
    pub streams_max: usize,
    /// Stamps commands and results. Default: the machine's clock.
    pub wall: Arc<dyn Wall>,
}

impl Default for Options {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(5), streams_max: 64, wall: Arc::new(SystemWall) }
    }
}
