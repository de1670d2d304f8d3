//! Suite `metrics`: a real Prometheus scrapes a live run, then every dashboard and alert query is asked.

use crate::cargo::{root, touchline_bin};
use crate::demo::checks::Checks;
use crate::demo::payloads::{TENANT, post_event};
use crate::demo::{fresh_directory, story};
use crate::live::{LOOK_AGAIN, Server};
use crate::results::{Ran, Totals};
use crate::{http, setup};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value as Json, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Prometheus starts in a second, and scrapes every second here.
const DEADLINE: Duration = Duration::from_secs(60);
/// `rate()` needs two scrapes; the third makes sure that both lie in its window.
const SCRAPES: &str = "3";
/// More series than this are a label with an open set.
const SERIES_MAX: usize = 10_000;

/// Metrics that a healthy run has no series of, because each counts a fault. Queries for them must be accepted; they
/// may be empty.
const COUNT_FAULTS: [(&str, &str); 7] = [
    ("touchline_checkpoints_total", "no checkpoint failed"),
    ("touchline_publications_torn_total", "there is no Kafka in this run"),
    ("touchline_readmodel_gaps_total", "no sequence is ever missing in a healthy log"),
    ("touchline_readmodel_undecodable_total", "no record of ours fails to decode"),
    ("touchline_event_times_dropped_total", "the story's times are plausible"),
    ("touchline_deep_forwards_total", "nobody of the story is a chain of eight"),
    ("touchline_loop_ignored_total", "loopback repeats only after a failure"),
];

/// Runs the suite. Errors: the surroundings fail; queries that fail are counted instead.
pub(crate) fn run() -> Result<Ran> {
    let tools = Tools::find()?;
    check_files(&tools)?;
    let directory = fresh_directory("metrics")?;
    let story = story::Story::start(&directory)?;
    let prometheus = Prometheus::start(&tools, &directory, &story.server.http)?;
    let mut checks = Checks::new();
    story.tell(&mut checks)?;
    leave_a_dead_letter(&story.server)?;
    checks.conclude()?;
    prometheus.wait_for_scrapes()?;
    check_exposition(&tools, &story.server)?;
    check_documented_commands()?;
    let mut totals = Totals::default();
    for query in prometheus.queries()? {
        match prometheus.judge(&query) {
            Ok(said) => {
                println!("  ✔ {}: {said}", query.name);
                totals.passed += 1;
            }
            Err(error) => {
                println!("  ✘ {}: {error:#}\n      {}", query.name, query.expression);
                totals.failed += 1;
            }
        }
    }
    drop(prometheus);
    story.server.stop()?;
    std::fs::remove_dir_all(&directory).ok();
    Ok(Ran::of(totals.failed == 0, totals))
}

struct Tools {
    prometheus: PathBuf,
    promtool: PathBuf,
}

impl Tools {
    fn find() -> Result<Self> {
        let tool = |name| setup::tool(name).with_context(|| format!("no {name}\nhint: cargo xtask setup"));
        Ok(Self { prometheus: tool("prometheus")?, promtool: tool("promtool")? })
    }

    fn promtool(&self, arguments: &[&str], directory: &str) -> Result<()> {
        let directory = root().join(directory);
        let status = Command::new(&self.promtool).args(arguments).current_dir(directory).status();
        let status = status.context("cannot start promtool")?;
        if status.success() { Ok(()) } else { bail!("promtool {} failed", arguments.join(" ")) }
    }
}

fn check_files(tools: &Tools) -> Result<()> {
    tools.promtool(&["check", "config", "prometheus.yml"], "deploy/prometheus")?;
    tools.promtool(&["check", "rules", "touchline.yml"], "deploy/prometheus/rules")?;
    tools.promtool(&["test", "rules", "touchline_test.yml"], "deploy/prometheus/rules/tests")
}

/// A link that is too weak to merge: counted and kept apart. The story itself has no dead letter.
fn leave_a_dead_letter(server: &Server) -> Result<()> {
    let id = |value: &str| json!({"kind": "wx_openid", "scope": "wxdemo", "value": value});
    let event = json!({
        "kind": "identity.linked", "tenant": TENANT, "source": "demo", "id": "weak", "subject": [id("a"), id("b")],
        "fields": {"evidence": "weak"},
    });
    post_event(server, &event)?;
    let labels = [("reason", "link_weak")];
    wait("the dead letter is counted", || Ok(server.metric("touchline_dead_letters_total", &labels)? == 1))
}

/// Names, units and help as Prometheus wants them, and no label with an open set.
fn check_exposition(tools: &Tools, server: &Server) -> Result<()> {
    let exposition = http::get(&server.http, "/metrics")?.body;
    let series = exposition.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
    if series > SERIES_MAX {
        bail!("{series} series, more than {SERIES_MAX}: a label with an open set");
    }
    println!("  ✔ {series} series");
    let mut child = Command::new(&tools.promtool).args(["check", "metrics"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().expect("stdin is piped").write_all(exposition.as_bytes())?;
    if !child.wait()?.success() {
        bail!("promtool check metrics complains");
    }
    println!("  ✔ promtool check metrics");
    Ok(())
}

/// Every `touchline …` command that a document shows is one: `--help` knows it.
fn check_documented_commands() -> Result<()> {
    for page in ["README.md", "deploy/README.md", "tests/README.md"] {
        let text = std::fs::read_to_string(root().join(page)).with_context(|| format!("cannot read {page}"))?;
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("touchline ")) {
            // Subcommands are the words before the first value or option.
            let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            let words: Vec<&str> =
                line.split(' ').take_while(|word| is_word(word) && !word.starts_with('-')).take(2).collect();
            let knows = |words: &[&str]| {
                let mut command = Command::new(touchline_bin());
                command.args(words).arg("--help").stdout(Stdio::null()).stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            };
            if !knows(&words) && !knows(&words[..words.len().min(1)]) {
                bail!("{page}: no command `touchline {}`", words.join(" "));
            }
        }
    }
    println!("  ✔ the documents' commands exist");
    Ok(())
}

/// A query that must work.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Query {
    name: String,
    expression: String,
}

/// A running Prometheus; killed when dropped.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn start(tools: &Tools, directory: &Path, target: &str) -> Result<Self> {
        let rules = root().join("deploy/prometheus/rules/*.yml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs: [{{job_name: touchline, static_configs: [{{targets: ['{target}']}}]}}]\n",
            rules.display()
        );
        let (config_file, log_file) = (directory.join("prometheus.yml"), directory.join("prometheus.log"));
        std::fs::write(&config_file, config)?;
        let log = File::create(&log_file)?;
        let child = Command::new(&tools.prometheus)
            .arg(format!("--config.file={}", config_file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("tsdb").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start prometheus")?;
        let mut prometheus = Self { child, address: String::new() };
        wait("prometheus is ready", || {
            let log = std::fs::read_to_string(&log_file)?;
            let Some(address) = bound_address(&log) else { return Ok(false) };
            prometheus.address = address.to_owned();
            Ok(http::get(address, "/-/ready").is_ok_and(|answer| answer.status == 200))
        })?;
        Ok(prometheus)
    }

    fn wait_for_scrapes(&self) -> Result<()> {
        let scraped = format!("sum(count_over_time(touchline_dead_letters_total[1m])) >= {SCRAPES}");
        wait("prometheus has scraped", || Ok(!self.ask(&scraped)?.is_empty()))
    }

    /// Every query of the dashboards, and of the alerts as Prometheus has loaded them.
    fn queries(&self) -> Result<Vec<Query>> {
        let mut queries = Vec::new();
        for entry in std::fs::read_dir(root().join("deploy/grafana/dashboards"))? {
            let dashboard: Json = serde_json::from_str(&std::fs::read_to_string(entry?.path())?)?;
            queries.extend(dashboard_queries(&dashboard));
        }
        let rules: Json = serde_json::from_str(&http::get(&self.address, "/api/v1/rules")?.body)?;
        queries.extend(alert_queries(&rules)?);
        if queries.is_empty() {
            bail!("no queries found");
        }
        Ok(queries)
    }

    /// Says how many series a query gives. Errors: Prometheus refuses it, or it gives none and must.
    fn judge(&self, query: &Query) -> Result<String> {
        let series = self.ask(&query.expression)?;
        if !series.is_empty() {
            return Ok(format!("{} series", series.len()));
        }
        let reason = COUNT_FAULTS.iter().find(|(metric, _)| query.expression.contains(metric));
        reason.map(|(_, why)| format!("empty, as it should be: {why}")).context("no data")
    }

    fn ask(&self, expression: &str) -> Result<Vec<Json>> {
        let answer = http::get(&self.address, &format!("/api/v1/query?query={}", http::encode(expression)))?;
        let reply: Json = serde_json::from_str(&answer.body).context("prometheus answers no JSON")?;
        if reply["status"] != "success" {
            bail!("prometheus refuses it: {}", reply["error"]);
        }
        Ok(reply["data"]["result"].as_array().cloned().unwrap_or_default())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `… msg="Listening on" address=127.0.0.1:34621` → the address.
fn bound_address(log: &str) -> Option<&str> {
    let line = log.lines().find(|line| line.contains("msg=\"Listening on\""))?;
    line.split("address=").nth(1)?.split_whitespace().next()
}

/// Panels lie at the top or within rows. Grafana's interval becomes a minute.
fn dashboard_queries(dashboard: &Json) -> Vec<Query> {
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        let title = panel["title"].as_str().unwrap_or_default();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap_or_default().replace("$__rate_interval", "1m");
            queries.push(Query {
                name: format!("{} / {title}", dashboard["title"].as_str().unwrap_or_default()),
                expression,
            });
        }
        queries.extend(dashboard_queries(panel));
    }
    queries
}

/// Alerts are asked without their threshold: while nothing is wrong only the left side has data.
fn alert_queries(rules: &Json) -> Result<Vec<Query>> {
    let groups = rules["data"]["groups"].as_array().context("prometheus lists no rules")?;
    let mut queries = Vec::new();
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten()) {
        let (name, text) = (rule["name"].as_str().unwrap_or_default(), rule["query"].as_str().unwrap_or_default());
        if rule["health"] == "err" {
            bail!("alert {name} cannot be evaluated: {}", rule["lastError"]);
        }
        let expression = without_threshold(text)
            .with_context(|| format!("alert {name} is not of the form `query > number`: {text}"))?;
        queries.push(Query { name: format!("alert {name}"), expression: expression.to_owned() });
    }
    Ok(queries)
}

fn without_threshold(expression: &str) -> Option<&str> {
    let (query, number) = [" > ", " < ", " == "].iter().find_map(|sign| expression.rsplit_once(sign))?;
    number.trim().parse::<f64>().is_ok().then_some(query)
}

fn wait(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    loop {
        let outcome = holds();
        match outcome {
            Ok(true) => return Ok(()),
            _ if started.elapsed() < DEADLINE => std::thread::sleep(LOOK_AGAIN),
            Ok(false) => bail!("not within {} s: {what}", DEADLINE.as_secs()),
            Err(error) => return Err(anyhow!("not within {} s: {what}: {error:#}", DEADLINE.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_found_in_rows_too() {
        let panel = |title: &str, expression: &str| json!({"title": title, "targets": [{"expr": expression}]});
        let dashboard = json!({
            "title": "d",
            "panels": [panel("a", "x"), {"type": "row", "panels": [panel("b", "rate(y[$__rate_interval])")]}],
        });
        let found: Vec<String> = dashboard_queries(&dashboard).into_iter().map(|query| query.expression).collect();
        assert_eq!(found, ["x", "rate(y[1m])"]);
    }

    #[test]
    fn alerts_lose_their_threshold() {
        assert_eq!(without_threshold("sum by (a) (b{c=\"d > e\"}) > 0.1"), Some("sum by (a) (b{c=\"d > e\"})"));
        assert_eq!(without_threshold("up == 0"), Some("up"));
        assert_eq!(without_threshold("a > b"), None);
    }

    #[test]
    fn broken_alerts_are_refused() {
        let rules = |rule: Json| json!({"data": {"groups": [{"rules": [rule]}]}});
        let broken = rules(json!({"name": "A", "query": "x > 1", "health": "err", "lastError": "bad"}));
        assert!(alert_queries(&broken).unwrap_err().to_string().contains("A cannot be evaluated"));
        assert!(alert_queries(&rules(json!({"name": "A", "query": "x"}))).is_err());
        assert_eq!(alert_queries(&rules(json!({"name": "A", "query": "x > 1"}))).unwrap()[0].expression, "x");
    }

    #[test]
    fn the_bound_address_is_read() {
        let log = "level=info msg=\"Start listening for connections\" address=127.0.0.1:0\n\
                   level=info component=web msg=\"Listening on\" address=127.0.0.1:34621\n";
        assert_eq!(bound_address(log), Some("127.0.0.1:34621"));
        assert_eq!(bound_address("nothing"), None);
    }
}
