//! `touchline status` and `touchline dead-letters`.

use crate::client::{Server, local, print_json, print_line, refusal};
use crate::json;
use clap::Args;
use serde_json::{Value, json};
use touchline_proto::v1::admin_service_client::AdminServiceClient;
use touchline_proto::v1::{GetStatusRequest, ListDeadLettersRequest};

/// Lists records that could not be applied.
#[derive(Debug, Args)]
pub(crate) struct DeadLetterOptions {
    /// Only this reason, e.g. undecodable
    #[arg(long, default_value = "")]
    reason: String,
    /// How many at most
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

pub(crate) async fn run(server: &Server) -> anyhow::Result<()> {
    let mut client = AdminServiceClient::new(server.connect().await?);
    let status = client.get_status(GetStatusRequest {}).await.map_err(refusal)?.into_inner();
    if server.json {
        let partitions: Vec<Value> = status
            .partitions
            .iter()
            .map(|partition| {
                json!({
                    "partition": partition.partition,
                    "progress": partition.progress.as_ref().map(json::progress),
                    "end_offset": partition.end_offset,
                    "lag_records": partition.lag_records,
                    "next_due": partition.next_due_ms.map(json::time),
                })
            })
            .collect();
        print_json(&json!({
            "epoch": status.epoch, "version": status.version, "clock_mode": status.clock_mode, "partitions": partitions,
        }));
        return Ok(());
    }
    print_line(format!("version {}, clock {}, log {}", status.version, status.clock_mode, status.epoch));
    for partition in &status.partitions {
        let progress = partition.progress.clone().unwrap_or_default();
        let due = partition.next_due_ms.map_or_else(|| "-".to_owned(), local);
        print_line(format!(
            "partition {}: applied {} of {}, clock {}, bundle {}, next due {due}",
            partition.partition,
            progress.offset,
            partition.end_offset,
            local(progress.clock_ms),
            progress.bundle
        ));
    }
    Ok(())
}

pub(crate) async fn dead_letters(server: &Server, options: DeadLetterOptions) -> anyhow::Result<()> {
    let mut client = AdminServiceClient::new(server.connect().await?);
    let request =
        ListDeadLettersRequest { reason: options.reason, page_size: options.limit, page_token: String::new() };
    for letter in client.list_dead_letters(request).await.map_err(refusal)?.into_inner().dead_letters {
        if server.json {
            print_json(&json::dead_letter(&letter));
        } else {
            let at = letter.source.unwrap_or_default();
            let (when, reason, detail) = (local(letter.clock_ms), &letter.reason, &letter.detail);
            print_line(format!("{when}  {}@{}  {reason}: {detail}", at.partition, at.offset));
        }
    }
    Ok(())
}
