//! What a running Touchline says about itself: where it listens (`ports.json`) and its metrics.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// From handing a publication over until it is durable.
const COMMIT: &str = "touchline_publish_commit_duration_seconds";
/// Reading, applying and writing one batch.
const BATCH: &str = "touchline_processor_batch_duration_seconds";

/// A Touchline by its data directory, running or not.
pub(crate) struct Touchline {
    ports: PathBuf,
}

/// Its metrics at one moment: samples by name with labels.
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Touchline {
    pub(crate) fn at(data_dir: &Path) -> Self {
        Self { ports: data_dir.join("ports.json") }
    }

    /// `None` while it does not listen.
    pub(crate) fn metrics(&self) -> Option<Metrics> {
        let ports: Value = serde_json::from_slice(&std::fs::read(&self.ports).ok()?).ok()?;
        let url = format!("http://{}/metrics", ports["http"].as_str()?);
        let text = ureq::get(&url).call().ok()?.body_mut().read_to_string().ok()?;
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Some(Metrics(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()))
    }
}

impl Metrics {
    /// Records not applied yet; `None` before all of so many partitions are open. 0 when nothing waits to be published
    /// either.
    pub(crate) fn left(&self, partitions: usize) -> Option<u64> {
        let lags = self.family("touchline_consumer_lag_records");
        if lags.len() < partitions {
            return None;
        }
        let lag = lags.iter().map(|(_, lag)| lag).sum::<f64>() as u64;
        let unpublished = self.family("touchline_outbox_records").iter().any(|&(_, records)| records > 0.0);
        Some(if lag == 0 && unpublished { 1 } else { lag })
    }

    /// What it says about its own work.
    pub(crate) fn report(&self) -> Value {
        let opened = self.family("touchline_partitions_opened_total");
        let opened: serde_json::Map<String, Value> = opened
            .into_iter()
            .map(|(name, count)| (name.split('"').nth(1).unwrap_or_default().to_owned(), json!(count)))
            .collect();
        let milliseconds = |name, part| self.quantile(name, part).map(|seconds| (seconds * 1e5).round() / 1e2);
        json!({
            "commits": self.0.get(&format!("{COMMIT}_count")),
            "commit_p50_ms": milliseconds(COMMIT, 0.5),
            "commit_p99_ms": milliseconds(COMMIT, 0.99),
            "batches": self.0.get(&format!("{BATCH}_count")),
            "batch_seconds": self.0.get(&format!("{BATCH}_sum")),
            "opened": opened,
        })
    }

    /// Samples of a metric that has labels.
    fn family(&self, name: &str) -> Vec<(&str, f64)> {
        let labelled = |sample: &&String| sample.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        self.0.keys().filter(labelled).map(|sample| (sample.as_str(), self.0[sample])).collect()
    }

    /// Seconds below which this part of a histogram lies, taken as evenly spread within its bucket.
    fn quantile(&self, name: &str, part: f64) -> Option<f64> {
        let bound = |sample: &str| sample.split('"').nth(1)?.parse::<f64>().ok();
        let buckets = self.family(&format!("{name}_bucket"));
        let mut buckets: Vec<_> = buckets.into_iter().filter_map(|(name, count)| Some((bound(name)?, count))).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted = self.0.get(&format!("{name}_count")).filter(|&&count| count > 0.0)? * part;
        let (mut below, mut counted) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= wanted {
                return Some(below + (bound.min(1e9) - below) * (wanted - counted) / (count - counted));
            }
            (below, counted) = (bound, count);
        }
        None
    }
}
