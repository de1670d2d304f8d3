//! `touchline segment`: count and list contacts by the condition language.

use crate::client::{Server, full, local, patiently, print_json, print_line, refusal};
use crate::json;
use clap::{Args, Subcommand};
use serde_json::json;
use touchline_proto::v1::segment_service_client::SegmentServiceClient;
use touchline_proto::v1::{
    CountSegmentRequest, ListMembersRequest, ListSegmentsRequest, count_segment_request, list_members_request,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Count contacts, e.g. 'tag(商机/考虑价格) and not tag(商机/赢单)'
    Count(Which),
    /// List contacts
    Members {
        #[command(flatten)]
        which: Which,
        /// How many at most
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// List the segments that the active playbooks name
    List,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// A condition
    filter: Option<String>,
    /// A segment named by a playbook
    #[arg(long)]
    name: Option<String>,
}

pub(crate) async fn run(server: &Server, command: Command) -> anyhow::Result<()> {
    let mut client = SegmentServiceClient::new(server.connect().await?);
    match command {
        Command::Count(which) => {
            let of = match (which.filter, which.name) {
                (Some(filter), _) => count_segment_request::Of::Filter(filter),
                (None, name) => count_segment_request::Of::Segment(name.unwrap_or_default()),
            };
            let request = CountSegmentRequest { parent: server.parent(), of: Some(of), read: full() };
            let reply = client.count_segment(patiently(request)).await.map_err(refusal)?.into_inner();
            if server.json {
                let as_of = json::time(reply.as_of_ms);
                print_json(&json!({"count": reply.count, "as_of": as_of, "eval_micros": reply.eval_micros}));
            } else {
                print_line(format!("{} contacts", reply.count));
            }
        }
        Command::Members { which, limit } => {
            let of = match (which.filter, which.name) {
                (Some(filter), _) => list_members_request::Of::Filter(filter),
                (None, name) => list_members_request::Of::Segment(name.unwrap_or_default()),
            };
            members(server, &mut client, of, limit).await?;
        }
        Command::List => {
            let request = ListSegmentsRequest { parent: server.parent() };
            let segments = client.list_segments(request).await.map_err(refusal)?.into_inner().segments;
            for segment in segments {
                if server.json {
                    let (id, filter) = (segment.id, segment.filter);
                    print_json(
                        &json!({"id": id, "playbook": segment.playbook, "filter": filter, "count": segment.count}),
                    );
                } else {
                    print_line(format!("{}\t{} contacts\t{}", segment.id, segment.count, segment.playbook));
                }
            }
        }
    }
    Ok(())
}

async fn members(
    server: &Server,
    client: &mut SegmentServiceClient<tonic::transport::Channel>,
    of: list_members_request::Of,
    limit: usize,
) -> anyhow::Result<()> {
    let (mut left, mut page_token) = (limit, String::new());
    while left > 0 {
        let page_size = u32::try_from(left.min(1_000))?;
        let (parent, of) = (server.parent(), Some(of.clone()));
        let request = ListMembersRequest { parent, of, page_size, page_token, read: full() };
        let reply = client.list_members(patiently(request)).await.map_err(refusal)?.into_inner();
        for contact in &reply.contacts {
            if server.json {
                print_json(&json::contact(contact));
            } else {
                let tags: Vec<String> = contact.tags.iter().map(|tag| format!("{}/{}", tag.group, tag.tag)).collect();
                let owner = contact.owner.as_deref().unwrap_or("-");
                print_line(format!(
                    "{}\t{}\t{}\t{owner}",
                    contact.contact_id,
                    local(contact.last_seen_ms),
                    tags.join(" ")
                ));
            }
        }
        left = left.saturating_sub(reply.contacts.len());
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(())
}
