//! `touchline metric`: what playbooks count per person and period.

use crate::client::{Server, full, patiently, print_json, print_line, refusal};
use crate::json;
use clap::Subcommand;
use serde_json::json;
use touchline_proto::v1::metric_service_client::MetricServiceClient;
use touchline_proto::v1::{GetMetricRequest, ListMetricsRequest, Metric, MetricRow};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what the active playbooks count
    List,
    /// Show the numbers of one, by period and staff member
    Show {
        /// Its id, e.g. 人均转销售
        metric: String,
        /// Only this month, e.g. 2026-12
        #[arg(long, conflicts_with = "period")]
        month: Option<String>,
        /// Only this period, as the metric writes it: 2026-12, 2026-W49, 2026-12-01
        #[arg(long)]
        period: Option<String>,
        /// Only this staff member
        #[arg(long)]
        executor: Option<String>,
    },
}

pub(crate) async fn run(server: &Server, command: Command) -> anyhow::Result<()> {
    let mut client = MetricServiceClient::new(server.connect().await?);
    match command {
        Command::List => {
            let request = ListMetricsRequest { parent: server.parent() };
            let metrics = client.list_metrics(request).await.map_err(refusal)?.into_inner().metrics;
            for metric in metrics {
                if server.json {
                    print_json(&described(&metric));
                } else {
                    let Metric { id, count, per, target, playbook, .. } = metric;
                    print_line(format!("{id}\t{count}\tper {}\t{target}\t{playbook}", per.join(", ")));
                }
            }
        }
        Command::Show { metric, month, period, executor } => {
            let name = format!("{}/metrics/{}", server.parent(), metric.replace('%', "%25").replace('/', "%2F"));
            let (period, executor) = (month.or(period).unwrap_or_default(), executor.unwrap_or_default());
            let request = GetMetricRequest { name, period, executor, read: full() };
            let reply = client.get_metric(patiently(request)).await.map_err(refusal)?.into_inner();
            let metric = reply.metric.unwrap_or_default();
            if server.json {
                let rows: Vec<_> = reply.rows.iter().map(number).collect();
                let as_of = json::time(reply.as_of_ms);
                print_json(&json!({"metric": described(&metric), "as_of": as_of, "rows": rows}));
                return Ok(());
            }
            if reply.rows.is_empty() {
                print_line("nothing is counted yet");
            }
            for row in &reply.rows {
                print_line(line(&metric, row));
            }
        }
    }
    Ok(())
}

/// Period, person, number and what is to be said about the target, as far as the metric has them.
fn line(metric: &Metric, row: &MetricRow) -> String {
    let mut cells = Vec::new();
    cells.extend((!row.period.is_empty()).then(|| row.period.clone()));
    let by_person = metric.per.iter().any(|per| per == "executor");
    cells.extend(by_person.then(|| row.executor.clone().unwrap_or_else(|| "-".to_owned())));
    cells.push(row.count.to_string());
    cells.extend(row.met.map(|met| format!("{} {}", metric.target, if met { "met" } else { "not met" })));
    cells.join("\t")
}

fn described(metric: &Metric) -> serde_json::Value {
    let Metric { name: _, id, playbook, count, per, target } = metric;
    let target = (!target.is_empty()).then_some(target);
    json!({"id": id, "playbook": playbook, "count": count, "per": per, "target": target})
}

fn number(row: &MetricRow) -> serde_json::Value {
    let period = (!row.period.is_empty()).then_some(&row.period);
    json!({"period": period, "executor": row.executor, "count": row.count, "met": row.met})
}
