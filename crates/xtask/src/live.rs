//! A live `touchline dev` in a directory of its own, and the command line that speaks to it.

use crate::{cargo, http};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value as Json;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A start or an ending that takes longer than this is a fault. A debug build on a busy machine takes two seconds.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often something is looked at again while it is waited for.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A running server. It is killed when dropped, unless it was stopped or left running.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    directory: PathBuf,
    /// `127.0.0.1:N`.
    pub(crate) http: String,
    /// `127.0.0.1:N`.
    pub(crate) grpc: String,
    tenant: String,
}

impl Server {
    /// Starts `touchline dev` with its data in `directory/data` and its log in `directory/server.log`, and waits until
    /// it is ready. Errors: it ends or is not ready in time; the message shows the end of its log.
    pub(crate) fn start(directory: &Path, tenant: &str, arguments: &[&str]) -> Result<Self> {
        let data = directory.join("data");
        let log = File::create(directory.join("server.log")).context("cannot write the server's log")?;
        let child = Command::new(cargo::touchline_bin())
            .args(["dev", "--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .args(arguments)
            .current_dir(cargo::root())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", cargo::touchline_bin().display()))?;
        let (http, grpc) = (String::new(), String::new());
        let mut server = Self { child, directory: directory.to_path_buf(), http, grpc, tenant: tenant.to_owned() };
        let started = Instant::now();
        while !server.is_ready(&data)? {
            if let Some(status) = server.child.try_wait()? {
                bail!("touchline dev ended: {status}\n{}", server.log_end());
            }
            if started.elapsed() > DEADLINE {
                bail!("touchline dev is not ready after {} s\n{}", DEADLINE.as_secs(), server.log_end());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(server)
    }

    fn is_ready(&mut self, data: &Path) -> Result<bool> {
        let Ok(text) = std::fs::read_to_string(data.join("ports.json")) else { return Ok(false) };
        let ports: Json = serde_json::from_str(&text).context("ports.json is no JSON")?;
        let address =
            |name: &str| ports[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in ports.json"));
        (self.http, self.grpc) = (address("http")?, address("grpc")?);
        Ok(http::get(&self.http, "/readyz").is_ok_and(|answer| answer.status == 200))
    }

    /// The last lines of its log.
    pub(crate) fn log_end(&self) -> String {
        const LINES: usize = 15;
        let text = std::fs::read_to_string(self.directory.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Runs a client command and returns what it prints for people. Errors: it fails; the message is its own.
    pub(crate) fn text(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(cargo::touchline_bin())
            .args(arguments)
            .args(["--server", &self.grpc, "--http", &self.http, "--tenant", &self.tenant])
            .current_dir(cargo::root())
            .stdin(Stdio::null())
            .output()
            .context("cannot start touchline")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`touchline {}` failed: {}", arguments.join(" "), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a client command with `--json`: one value per line.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Vec<Json>> {
        let arguments = [arguments, &["--json"]].concat();
        let text = self.text(&arguments)?;
        text.lines().map(|line| serde_json::from_str(line).map_err(|_| anyhow!("no JSON: {line}"))).collect()
    }

    /// The sum of a metric's series that carry these labels; 0 when there is none. Errors: no answer.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
        let answer = http::get(&self.http, "/metrics")?;
        if answer.status != 200 {
            bail!("/metrics answers {}", answer.status);
        }
        Ok(sum_of(&answer.body, name, labels))
    }

    /// Stops it as an operator would, and waits. Errors: it does not end well in time.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        if !status.context("cannot run kill")?.success() {
            bail!("the server had ended before\n{}", self.log_end());
        }
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the server ended badly: {status}\n{}", self.log_end()),
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
        bail!("the server did not end within {} s\n{}", DEADLINE.as_secs(), self.log_end())
    }

    /// Waits until it ends: it shares the terminal, so Ctrl-C reaches it too.
    pub(crate) fn wait(mut self) -> Result<()> {
        self.child.wait().map(drop).context("cannot wait for the server")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Reads the text format: `name{a="x",b="y"} 3`.
fn sum_of(text: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    let mut sum = 0.0;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else { continue };
        let Some((series, value)) = rest.rsplit_once(' ') else { continue };
        let is_series = series.is_empty() || series.starts_with('{');
        let has = |(label, value): &(&str, &str)| series.contains(&format!("{label}=\"{value}\""));
        if is_series && labels.iter().all(has) {
            sum += value.parse::<f64>().unwrap_or_default();
        }
    }
    // Counters are whole; Prometheus writes them as floats.
    format!("{sum:.0}").parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_label() {
        let text = "# HELP a x\na{b=\"1\",c=\"2\"} 3\na{b=\"1\",c=\"4\"} 5\na_total{b=\"1\"} 7\nd 9\n";
        assert_eq!(sum_of(text, "a", &[("b", "1")]), 8);
        assert_eq!(sum_of(text, "a", &[("b", "1"), ("c", "2")]), 3);
        assert_eq!(sum_of(text, "a_total", &[]), 7);
        assert_eq!(sum_of(text, "d", &[]), 9);
        assert_eq!(sum_of(text, "gone", &[]), 0);
    }
}
