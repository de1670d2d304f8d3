//! `touchline touches` and `touchline report`.

use crate::client::{Server, full, identifier, local, moment, patiently, print_json, print_line, refusal};
use crate::json;
use anyhow::bail;
use clap::Args;
use std::collections::HashMap;
use touchline_model::output::Stream;
use touchline_model::time::Time;
use touchline_proto::v1;
use touchline_proto::v1::admin_service_client::AdminServiceClient;
use touchline_proto::v1::playbook_service_client::PlaybookServiceClient;
use touchline_proto::v1::touch_service_client::TouchServiceClient;

/// Lists touches, in order per partition: due, skipped, cancelled, missed.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Go on with touches as they fall due
    #[arg(long)]
    follow: bool,
    /// Start behind these sequences, e.g. 0:12,3:7 (partition:sequence); default: from the first
    #[arg(long, value_delimiter = ',', value_name = "P:N")]
    from: Vec<String>,
    /// Only touches in this state
    #[arg(long, value_parser = ["due", "skipped", "cancelled", "missed"])]
    state: Option<String>,
}

/// Reports what became of a touch.
#[derive(Debug, Args)]
pub(crate) struct ReportOptions {
    /// The touch's id
    touch: String,
    /// Its recipient, as kind/scope/value
    #[arg(long, value_parser = identifier)]
    recipient: v1::IdKey,
    /// It was sent
    #[arg(long, group = "result")]
    sent: bool,
    /// It could not be sent: not_friend, cap_reached, invalid_id, expired or api_error
    #[arg(long, group = "result", value_name = "CODE")]
    failed: Option<String>,
    /// When; default: now
    #[arg(long, value_parser = moment)]
    at: Option<Time>,
    /// Staff member who sent it
    #[arg(long, default_value = "")]
    staff: String,
}

pub(crate) async fn run(server: &Server, options: Options) -> anyhow::Result<()> {
    let channel = server.connect().await?;
    let mut positions = HashMap::new();
    for pair in &options.from {
        let parsed = pair.split_once(':').and_then(|(p, n)| Some((p.parse::<u32>().ok()?, n.parse::<u64>().ok()?)));
        let Some((partition, sequence)) = parsed else { bail!("--from takes partition:sequence, not {pair}") };
        positions.insert(partition, sequence);
    }
    let mut wanted = HashMap::new();
    if !options.follow {
        // Waits until everything accepted is readable: the list then ends where the log does.
        let everything = v1::ListPlaybooksRequest { parent: server.parent(), read: full() };
        PlaybookServiceClient::new(channel.clone()).list_playbooks(patiently(everything)).await.map_err(refusal)?;
        let status = AdminServiceClient::new(channel.clone()).get_status(v1::GetStatusRequest {}).await;
        for partition in status.map_err(refusal)?.into_inner().partitions {
            let sequences = partition.progress.unwrap_or_default().sequences;
            let last = sequences.get(Stream::Touches.index()).copied().unwrap_or_default();
            if last > positions.get(&partition.partition).copied().unwrap_or_default() {
                wanted.insert(partition.partition, last);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
    }
    // Every tenant, so that the last sequence of each partition is seen; others are left out here.
    let request = v1::SubscribeRequest { positions, tenant: String::new() };
    let mut stream = TouchServiceClient::new(channel).subscribe(request).await.map_err(refusal)?.into_inner();
    let mine = format!("{}/", server.tenant);
    while let Some(touch) = stream.message().await.map_err(refusal)? {
        let state_fits = options.state.as_ref().is_none_or(|state| *state == touch.state);
        if state_fits && touch.contact.starts_with(&mine) {
            print(server, &touch);
        }
        if options.follow {
            continue;
        }
        let partition = touch.source.as_ref().map(|source| source.partition).unwrap_or_default();
        if wanted.get(&partition).is_some_and(|last| touch.sequence >= *last) {
            wanted.remove(&partition);
        }
        if wanted.is_empty() {
            break;
        }
    }
    Ok(())
}

fn print(server: &Server, touch: &v1::Touch) {
    if server.json {
        print_json(&json::touch(touch));
        return;
    }
    let (who, executor) = (touch.recipient.clone().unwrap_or_default(), touch.executor.as_deref().unwrap_or("-"));
    let state =
        if touch.reason.is_empty() { touch.state.clone() } else { format!("{}({})", touch.state, touch.reason) };
    print_line(format!(
        "{}  {state:<18} {} {} → {}  by {executor}  {}",
        local(touch.due_at_ms),
        touch.touchpoint,
        touch.content,
        who.value,
        touch.id
    ));
}

pub(crate) async fn report(server: &Server, options: ReportOptions) -> anyhow::Result<()> {
    let touch_id = options.touch;
    let result = match options.failed {
        Some(code) => v1::report_result_request::Result::Failed(v1::TouchFailed {
            touch_id: Some(touch_id.clone()),
            code: Some(code),
            ..Default::default()
        }),
        None if options.sent => v1::report_result_request::Result::Sent(v1::TouchSent {
            touch_id: Some(touch_id.clone()),
            staff: (!options.staff.is_empty()).then_some(options.staff),
            ..Default::default()
        }),
        None => bail!("say what became of it: --sent or --failed CODE"),
    };
    let request = v1::ReportResultRequest {
        tenant: server.tenant.clone(),
        recipient: Some(options.recipient),
        occurred_at_ms: options.at.map(|at| at.0),
        request_id: touch_id.clone(),
        result: Some(result),
    };
    let mut client = TouchServiceClient::new(server.connect().await?);
    client.report_result(patiently(request)).await.map_err(refusal)?;
    if server.json {
        print_json(&serde_json::json!({"touch": touch_id, "reported": true}));
    } else {
        print_line(format!("reported {touch_id}"));
    }
    Ok(())
}
