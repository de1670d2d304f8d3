//! What playbooks count per person and period.

use crate::error;
use crate::model::ReadModel;
use crate::names;
use crate::server::{Server, answer};
use tonic::{Code, Request, Response, Status};
use touchline_playbook::metrics::{Metric, Row, table};
use touchline_proto::v1;
use v1::metric_service_server::MetricService;

/// Rows of one answer, the newest: whoever wants older ones asks for their period.
const ROWS_MAX: usize = 10_000;

#[tonic::async_trait]
impl MetricService for Server {
    async fn list_metrics(
        &self,
        request: Request<v1::ListMetricsRequest>,
    ) -> Result<Response<v1::ListMetricsResponse>, Status> {
        answer("ListMetrics", async {
            let tenant = names::tenant("parent", &request.get_ref().parent)?;
            self.read(move |shared| Ok(v1::ListMetricsResponse { metrics: metrics(&shared.model(), &tenant) })).await
        })
        .await
    }

    async fn get_metric(
        &self,
        request: Request<v1::GetMetricRequest>,
    ) -> Result<Response<v1::GetMetricResponse>, Status> {
        answer("GetMetric", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let (tenant, id) = names::parse("name", "metrics", &request.name)?;
            self.shared.fresh(request.read, deadline).await?;
            let (period, executor) = (request.period, request.executor);
            self.read(move |shared| {
                let model = shared.model();
                let (metric, mut rows) = numbers(&model, &tenant, &id)?;
                rows.retain(|row| period.is_empty() || row.period == period);
                rows.retain(|row| executor.is_empty() || row.executor.as_deref() == Some(&*executor));
                let rows = rows.split_off(rows.len().saturating_sub(ROWS_MAX));
                Ok(v1::GetMetricResponse {
                    metric: Some(metric),
                    rows: rows.into_iter().map(row_to).collect(),
                    token: Some(shared.token(&model)),
                    as_of_ms: model.as_of().0,
                })
            })
            .await
        })
        .await
    }
}

fn metrics(model: &ReadModel, tenant: &str) -> Vec<v1::Metric> {
    let bundle = model.tenant(tenant).and_then(|of| of.bundle());
    bundle.into_iter().flat_map(|bundle| &bundle.metrics).map(|metric| metric_to(tenant, metric)).collect()
}

fn numbers(model: &ReadModel, name: &str, id: &str) -> Result<(v1::Metric, Vec<Row>), Status> {
    let tenant = model.tenant(name);
    let bundle = tenant.and_then(|tenant| tenant.bundle());
    let metric = bundle.and_then(|bundle| bundle.metrics.iter().find(|metric| metric.id == id));
    let (Some(tenant), Some(metric)) = (tenant, metric) else {
        let message = format!("no metric {id} in the active playbooks\nhint: see ListMetrics");
        return Err(error::status(Code::NotFound, "NO_METRIC", message));
    };
    Ok((metric_to(name, metric), table(metric, tenant.counted_of(id))))
}

fn metric_to(tenant: &str, metric: &Metric) -> v1::Metric {
    v1::Metric {
        name: names::child(tenant, "metrics", &metric.id),
        id: metric.id.clone(),
        playbook: metric.playbook.clone(),
        count: metric.count.write(),
        per: metric.write_per().into_iter().map(str::to_owned).collect(),
        target: metric.write_target(),
    }
}

fn row_to(row: Row) -> v1::MetricRow {
    let Row { executor, period, count, is_met } = row;
    v1::MetricRow { executor, period, count, met: is_met }
}
