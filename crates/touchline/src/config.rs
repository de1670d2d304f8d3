//! The configuration file of a server: TOML, unknown keys refused, secrets only by file or variable.

use anyhow::Context;
use serde::Deserialize;
use std::path::Path;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Channel accounts, tracked links and bounds.
    pub(crate) ingest: touchline_ingest::Options,
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
