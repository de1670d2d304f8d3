//! `touchline contact` and `touchline explain`.

use crate::client::{ContactArg, Server, full, identifier, local, patiently, print_json, print_line, refusal};
use crate::json;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tonic::transport::Channel;
use touchline_model::command::TagRef;
use touchline_proto::v1;
use touchline_proto::v1::contact_service_client::ContactServiceClient;

/// Shows a contact, or does something about its identifiers.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(flatten)]
    show: Option<ShowOptions>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What is to be done about identifiers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what joined the identifiers of a contact, and which links were refused
    Links {
        /// Contact id, or kind/scope/value of an identifier
        contact: ContactArg,
    },
    /// Say that an identifier is this contact: the two become one
    Link(LinkOptions),
    /// Say that an identifier is somebody else: it becomes a contact of its own again, with what its own events set
    Unlink(LinkOptions),
}

/// Which identifier of whom, and why.
#[derive(Debug, Args)]
pub(crate) struct LinkOptions {
    /// Contact id, or kind/scope/value of an identifier
    contact: ContactArg,
    /// The other identifier, as kind/scope/value
    #[arg(value_parser = identifier)]
    identifier: v1::IdKey,
    /// Why: whoever reviews links reads it
    #[arg(long)]
    reason: String,
    /// Who says so
    #[arg(long, env = "USER", default_value = "")]
    actor: String,
    /// Repeat with the same id to be sure that it happens once
    #[arg(long)]
    request_id: Option<String>,
}

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
    let reply = ContactServiceClient::new(channel).get_contact(patiently(request)).await.map_err(refusal)?.into_inner();
    reply.contact.context("the server answered without a contact")
}

pub(crate) async fn run(server: &Server, options: Options) -> anyhow::Result<()> {
    match (options.command, options.show) {
        (Some(Command::Links { contact }), _) => links(server, contact).await,
        (Some(Command::Link(options)), _) => link(server, options).await,
        (Some(Command::Unlink(options)), _) => unlink(server, options).await,
        (None, Some(options)) => show(server, options).await,
        (None, None) => bail!("name a contact\nhint: touchline contact --help"),
    }
}

async fn links(server: &Server, contact: ContactArg) -> anyhow::Result<()> {
    let channel = server.connect().await?;
    let name = resolve(server, channel.clone(), contact).await?;
    let reply = list_links(&mut ContactServiceClient::new(channel), &name).await?;
    if server.json {
        let refused: Vec<Value> = reply.refused.iter().map(json::dead_letter).collect();
        let links: Vec<Value> = reply.links.iter().map(json::link).collect();
        print_json(&json!({"contact": name, "links": links, "refused": refused}));
        return Ok(());
    }
    for link in &reply.links {
        print_link(link);
    }
    for letter in &reply.refused {
        let (reason, at) = (&letter.reason, local(letter.clock_ms));
        print_line(format!("{at}  {reason}: {}\n  between    {}", letter.detail, letter.cells.join("\n  and        ")));
    }
    Ok(())
}

async fn list_links(client: &mut ContactServiceClient<Channel>, name: &str) -> anyhow::Result<v1::ListLinksResponse> {
    let request = v1::ListLinksRequest { name: name.to_owned(), read: full() };
    Ok(client.list_links(patiently(request)).await.map_err(refusal)?.into_inner())
}

fn print_link(link: &v1::ContactLink) {
    let identity = link.identity.clone().unwrap_or_default();
    let id = identity.id.unwrap_or_default();
    print_line(format!("{}/{}/{}", id.kind, id.scope, id.value));
    let Some(joined) = identity.joined else {
        print_line("  the contact lives under this identifier");
        return;
    };
    let by = joined.by.unwrap_or_default();
    let who = match (link.actor.as_str(), link.channel.as_str()) {
        ("", "") => String::new(),
        ("", channel) => format!(" over {channel}"),
        (actor, _) => format!(" by {actor} ({})", link.reason),
    };
    let said_by = if link.said_by.is_empty() { "a record" } else { &link.said_by };
    print_line(format!("  joined     {} to {}", local(joined.at_ms), joined.into));
    print_line(format!(
        "  because of {said_by} at {}@{}{who}, {} evidence",
        by.partition, by.offset, identity.evidence
    ));
}

async fn link(server: &Server, options: LinkOptions) -> anyhow::Result<()> {
    let channel = server.connect().await?;
    let request = v1::LinkContactRequest {
        name: resolve(server, channel.clone(), options.contact).await?,
        identifier: Some(options.identifier.clone()),
        reason: options.reason,
        request_id: options.request_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        actor: options.actor,
    };
    let name = request.name.clone();
    let mut client = ContactServiceClient::new(channel);
    // Refused before is not refused now.
    let before = list_links(&mut client, &name).await?.refused;
    client.link_contact(patiently(request)).await.map_err(refusal)?;
    // The other contact may live elsewhere and answers by a record of its own.
    let outcome = Outcome::wait_for(&mut client, &name, (&options.identifier, &before)).await?;
    if server.json {
        print_json(&json!({"contact": name, "outcome": outcome.name()}));
    } else {
        print_line(format!("{name}: {}", outcome.text()));
    }
    Ok(())
}

/// What became of a link that was asked for.
enum Outcome {
    Joined,
    Refused(String),
    Open,
}

impl Outcome {
    /// Looks a few times: a link takes a few records in two partitions.
    async fn wait_for(
        client: &mut ContactServiceClient<Channel>,
        name: &str,
        (identifier, before): (&v1::IdKey, &[v1::DeadLetter]),
    ) -> anyhow::Result<Self> {
        const LOOKS: u32 = 20;
        const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);
        for _ in 0..LOOKS {
            let reply = list_links(client, name).await?;
            let has =
                |link: &v1::ContactLink| link.identity.as_ref().and_then(|known| known.id.as_ref()) == Some(identifier);
            if reply.links.iter().any(has) {
                return Ok(Self::Joined);
            }
            // Whoever refuses may be the contact that the identifier has become part of.
            if let Some(letter) = reply.refused.iter().find(|letter| !before.contains(letter)) {
                return Ok(Self::Refused(letter.detail.clone()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(Self::Open)
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Refused(_) => "refused",
            Self::Open => "open",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Joined => "joined".to_owned(),
            Self::Refused(why) => format!("refused: {why}"),
            Self::Open => "asked for; touchline contact links shows what becomes of it".to_owned(),
        }
    }
}

async fn unlink(server: &Server, options: LinkOptions) -> anyhow::Result<()> {
    let channel = server.connect().await?;
    let request = v1::UnlinkContactRequest {
        name: resolve(server, channel.clone(), options.contact).await?,
        identifier: Some(options.identifier),
        reason: options.reason,
        request_id: options.request_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        actor: options.actor,
    };
    let reply =
        ContactServiceClient::new(channel).unlink_contact(patiently(request)).await.map_err(refusal)?.into_inner();
    let contact = reply.contact.context("the server answered without a contact")?;
    if server.json {
        print_json(&json::contact(&contact));
    } else {
        print_contact(&contact);
    }
    Ok(())
}

pub(crate) async fn show(server: &Server, options: ShowOptions) -> anyhow::Result<()> {
    let channel = server.connect().await?;
    let contact = get(server, channel.clone(), options.contact).await?;
    let entries = match options.timeline {
        Some(page_size) => {
            let name = format!("{}/contacts/{}", server.parent(), contact.contact_id);
            let request = v1::ListTimelineRequest { name, page_size, page_token: String::new(), read: full() };
            let reply = ContactServiceClient::new(channel).list_timeline(patiently(request)).await.map_err(refusal)?;
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
        let by = tag.cause.as_ref().map(decided_by).unwrap_or_default();
        print_line(format!("  tag        {}/{} since {} by {by}", tag.group, tag.tag, local(tag.set_at_ms)));
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
    let request = v1::ExplainTagRequest { name: name.clone(), tag: Some(tag), read: full() };
    let mut client = ContactServiceClient::new(channel);
    let reply = client.explain_tag(patiently(request)).await.map_err(refusal)?.into_inner();
    let Some(carried) = reply.tag else {
        let last = reply.history.iter().max_by_key(|change| change.at_ms);
        let gone =
            last.map_or_else(|| "it never did".to_owned(), |change| format!("it lost it at {}", local(change.at_ms)));
        bail!("the contact does not carry {}; {gone}\nhint: touchline contact shows the tags it carries", options.tag);
    };
    // Where the event lies under another identifier, what made that one this contact.
    let native = carried.cause.as_ref().and_then(|cause| cause.native.clone());
    let link = match native {
        Some(native) => {
            let links = list_links(&mut client, &name).await?.links;
            let is_native =
                |link: &v1::ContactLink| link.identity.as_ref().is_some_and(|known| known.id.as_ref() == Some(&native));
            links.into_iter().find(is_native)
        }
        None => None,
    };
    if server.json {
        let history: Vec<Value> = reply.history.iter().map(json::tag_change).collect();
        print_json(&json!({
            "group": carried.group, "tag": carried.tag, "set_at": json::time(carried.set_at_ms),
            "cause": json::cause(carried.cause.as_ref()), "history": history, "text": reply.text,
            "link": link.as_ref().map(json::link),
        }));
        return Ok(());
    }
    print_line(format!("{}/{} since {}", carried.group, carried.tag, local(carried.set_at_ms)));
    if let Some(cause) = &carried.cause {
        print_cause(cause);
    }
    link.iter().for_each(print_link);
    Ok(())
}

/// The rule, or what else it was and who did it.
fn decided_by(cause: &v1::Cause) -> String {
    if !cause.rule.is_empty() {
        return format!("{}/{}", cause.playbook, cause.rule);
    }
    let words = [&cause.kind, &cause.actor, &cause.reason];
    words.into_iter().filter(|word| !word.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn print_cause(cause: &v1::Cause) {
    let at = |position: &v1::Position| format!("{}@{}", position.partition, position.offset);
    if cause.rule.is_empty() {
        print_line(format!("  by         {}", decided_by(cause)));
    } else {
        print_line(format!("  rule       {} in bundle {}", decided_by(cause), cause.bundle));
    }
    print_line(format!("  because of {} at {}", cause.kind, cause.position.as_ref().map(at).unwrap_or_default()));
    let logged_at = cause.origin.as_ref().or(cause.position.as_ref());
    if let (Some(logged_at), true) = (logged_at, cause.origin.is_some() || cause.native.is_some()) {
        let native = cause.native.as_ref().map(|id| format!(" under {}/{}/{}", id.kind, id.scope, id.value));
        print_line(format!("  logged at  {}{}", at(logged_at), native.unwrap_or_default()));
    }
    if let Some(hit) = &cause.hit {
        let place = format!("characters {} to {} of {}", hit.start, hit.end, hit.field);
        print_line(format!("  keyword    {} ({}) at {place}", hit.keyword, hit.keywords));
    }
}
