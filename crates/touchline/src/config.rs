//! The configuration file of a server: TOML, unknown keys refused, secrets only by file or variable.

use anyhow::Context;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Channel accounts, tracked links and bounds.
    pub(crate) ingest: touchline_ingest::Options,
    /// How partitions are kept.
    pub(crate) processor: Processor,
    /// Where Kafka is; only `touchline serve` and `touchline topics` read it.
    pub(crate) kafka: Option<touchline_kafka::Settings>,
}

/// The section `[processor]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Processor {
    /// Directory for checkpoints, which several processes may share; without one there are none.
    pub(crate) checkpoint_dir: Option<PathBuf>,
    /// Seconds between checkpoints of a partition. Default 300.
    checkpoint_every_s: u64,
    /// Whether this process follows the partitions it does not own, so that it can take them over at once. Costs the
    /// CPU and the disk of applying everything. Default false.
    pub(crate) standby: bool,
    /// Block cache and write buffers of all stores together, in MiB. Default 256.
    cache_mib: usize,
}

impl Default for Processor {
    fn default() -> Self {
        Self { checkpoint_dir: None, checkpoint_every_s: 300, standby: false, cache_mib: 256 }
    }
}

impl Processor {
    pub(crate) const fn cache_bytes(&self) -> usize {
        self.cache_mib << 20
    }

    pub(crate) fn checkpoint_every(&self) -> Option<Duration> {
        self.checkpoint_dir.as_ref().map(|_| Duration::from_secs(self.checkpoint_every_s))
    }
}

impl Config {
    /// Reads a file; without one, the defaults.
    pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        // The message of the parser shows line, column and the keys it knows.
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }
}
