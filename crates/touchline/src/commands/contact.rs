//! `touchline contact` and `touchline explain`.

use crate::client::{ContactArg, Server, full, local, print_json, print_line, refusal};
use crate::json;
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use tonic::transport::Channel;
use touchline_model::command::TagRef;
use touchline_proto::v1;
use touchline_proto::v1::contact_service_client::ContactServiceClient;

/// Shows a contact.
#[derive(Debug, Args)]
pub(crate) struct ShowOptions {
    /// Contact id, or kind/scope/value of an identifier
    contact: ContactArg,
    /// Show the newest entries of the timeline too
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20")]
    timeline: Option<u32>,
}

/// Says why a contact carries a tag.
#[derive(Debug, Args)]
pub(crate) struct ExplainOptions {
    /// Contact id, or kind/scope/value of an identifier
    contact: ContactArg,
    /// The tag, as group/tag
    tag: String,
}

/// The resource name of a contact.
pub(crate) async fn resolve(server: &Server, channel: Channel, contact: ContactArg) -> anyhow::Result<String> {
    match contact {
        ContactArg::Id(id) => Ok(format!("{}/contacts/{id}", server.parent())),
        ContactArg::Identifier(_) => {
            let contact = get(server, channel, contact).await?;
            Ok(format!("{}/contacts/{}", server.parent(), contact.contact_id))
        }
    }
}

async fn get(server: &Server, channel: Channel, contact: ContactArg) -> anyhow::Result<v1::Contact> {
    let by = match contact {
        ContactArg::Id(id) => v1::get_contact_request::By::Name(format!("{}/contacts/{id}", server.parent())),
        ContactArg::Identifier(id) => {
            let tenant = server.tenant.clone();
            v1::get_contact_request::By::Identifier(v1::TenantIdentifier { tenant, id: Some(id) })
        }
    };
    let request = v1::GetContactRequest { by: Some(by), read: full() };
    let reply = ContactServiceClient::new(channel).get_contact(request).await.map_err(refusal)?.into_inner();
    reply.contact.context("the server answered without a contact")
}

pub(crate) async fn show(server: &Server, options: ShowOptions) -> anyhow::Result<()> {
    let channel = server.connect().await?;
    let contact = get(server, channel.clone(), options.contact).await?;
    let entries = match options.timeline {
        Some(page_size) => {
            let name = format!("{}/contacts/{}", server.parent(), contact.contact_id);
            let request = v1::ListTimelineRequest { name, page_size, page_token: String::new(), read: full() };
            let reply = ContactServiceClient::new(channel).list_timeline(request).await.map_err(refusal)?;
            reply.into_inner().entries
        }
        None => Vec::new(),
    };
    if server.json {
        let mut value = json::contact(&contact);
        if options.timeline.is_some() {
            value["timeline"] = entries.iter().map(json::timeline_entry).collect::<Vec<Value>>().into();
        }
        print_json(&value);
    } else {
        print_contact(&contact);
        for entry in &entries {
            print_line(format!("  {}  {:<18} {}", local(entry.at_ms), entry.kind, entry.summary));
        }
    }
    Ok(())
}

fn print_contact(contact: &v1::Contact) {
    print_line(format!("contact {}", contact.contact_id));
    if let Some(merged) = &contact.merged_into {
        print_line(format!("  merged into {merged}"));
    }
    for identity in &contact.identities {
        let id = identity.id.clone().unwrap_or_default();
        print_line(format!("  known as   {}/{}/{} ({})", id.kind, id.scope, id.value, identity.evidence));
    }
    print_line(format!("  seen       {} to {}", local(contact.first_seen_ms), local(contact.last_seen_ms)));
    print_line(format!("  owner      {}", contact.owner.as_deref().unwrap_or("-")));
    for tag in &contact.tags {
        let rule = tag.cause.as_ref().map(|cause| format!("{}/{}", cause.playbook, cause.rule)).unwrap_or_default();
        print_line(format!("  tag        {}/{} since {} by {rule}", tag.group, tag.tag, local(tag.set_at_ms)));
    }
    for stage in &contact.stages {
        print_line(format!("  stage      {}: {} since {}", stage.board, stage.column, local(stage.entered_at_ms)));
    }
    for enrolment in &contact.enrolments {
        let state = match (&enrolment.next, &enrolment.ended) {
            (_, Some(ended)) => format!("ended by {} at {}", ended.name, local(ended.at_ms)),
            (Some(next), None) => format!("next {} at {}", next.name, local(next.at_ms)),
            (None, None) => "all steps done, goal open".to_owned(),
        };
        print_line(format!("  journey    {} #{}: {state}", enrolment.journey, enrolment.number));
    }
}

pub(crate) async fn explain(server: &Server, options: ExplainOptions) -> anyhow::Result<()> {
    let tag = TagRef::parse(&options.tag).context("the tag has the form group/tag, e.g. 商机/考虑价格")?;
    let channel = server.connect().await?;
    let name = resolve(server, channel.clone(), options.contact).await?;
    let tag = v1::TagRef { group: tag.group, tag: tag.tag };
    let request = v1::ExplainTagRequest { name, tag: Some(tag), read: full() };
    let reply = ContactServiceClient::new(channel).explain_tag(request).await.map_err(refusal)?.into_inner();
    let Some(carried) = reply.tag else {
        let last = reply.history.iter().max_by_key(|change| change.at_ms);
        let gone =
            last.map_or_else(|| "it never did".to_owned(), |change| format!("it lost it at {}", local(change.at_ms)));
        bail!("the contact does not carry {}; {gone}\nhint: touchline contact shows the tags it carries", options.tag);
    };
    if server.json {
        let history: Vec<Value> = reply.history.iter().map(json::tag_change).collect();
        print_json(&json!({
            "group": carried.group, "tag": carried.tag, "set_at": json::time(carried.set_at_ms),
            "cause": json::cause(carried.cause.as_ref()), "history": history, "text": reply.text,
        }));
        return Ok(());
    }
    print_line(format!("{}/{} since {}", carried.group, carried.tag, local(carried.set_at_ms)));
    if let Some(cause) = &carried.cause {
        print_cause(cause);
    }
    Ok(())
}

fn print_cause(cause: &v1::Cause) {
    let at = |position: &v1::Position| format!("{}@{}", position.partition, position.offset);
    if cause.rule.is_empty() {
        print_line(format!("  by         {} {} {}", cause.kind, cause.actor, cause.reason));
    } else {
        print_line(format!("  rule       {}/{} in bundle {}", cause.playbook, cause.rule, cause.bundle));
    }
    print_line(format!("  because of {} at {}", cause.kind, cause.position.as_ref().map(at).unwrap_or_default()));
    if let Some(origin) = &cause.origin {
        print_line(format!("  logged at  {}", at(origin)));
    }
    if let Some(hit) = &cause.hit {
        let place = format!("characters {} to {} of {}", hit.start, hit.end, hit.field);
        print_line(format!("  keyword    {} ({}) at {place}", hit.keyword, hit.keywords));
    }
}
