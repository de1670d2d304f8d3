//! `touchline link create`: mint tracked links, without a server.

use crate::client::{Server, identifier, print_json, print_line};
use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use touchline_channels::account::Secret;
use touchline_channels::link::{self, Link, Surface};
use touchline_model::id::{IdKey, IdKind};
use touchline_proto::v1;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Mint a link: whoever opens it is redirected, and the click becomes an event
    Create(CreateOptions),
}

#[derive(Debug, Args)]
pub(crate) struct CreateOptions {
    /// File with the link key, the one the server uses (`link_key_file` under [ingest])
    #[arg(long, env = "TOUCHLINE_LINK_KEY_FILE")]
    key_file: PathBuf,
    /// Where the link leads
    #[arg(long)]
    to: String,
    /// Content behind it: clicks count for it wherever they happen
    #[arg(long)]
    content: String,
    /// Made for this person, as kind/scope/value; default: whoever clicks
    #[arg(long, value_parser = identifier)]
    contact: Option<v1::IdKey>,
    /// The touch it goes out with
    #[arg(long)]
    touch: Option<String>,
    /// A token of `touchline token mint`: joins the first who opens the link to whom it was made for
    #[arg(long, conflicts_with = "contact")]
    state: Option<String>,
    /// Where it is shown: chat, group, moment, mp, sms, card
    #[arg(long, default_value = "unknown")]
    surface: String,
    /// Public address of the server; default: its HTTP address
    #[arg(long)]
    base: Option<String>,
}

pub(crate) fn run(server: &Server, command: Command) -> anyhow::Result<()> {
    let Command::Create(options) = command;
    let key = std::fs::read_to_string(&options.key_file)
        .with_context(|| format!("reading {}", options.key_file.display()))?;
    let surface = Surface::parse(&options.surface).ok_or_else(|| {
        let known: Vec<&str> = Surface::ALL.iter().map(|surface| surface.name()).collect();
        anyhow!("unknown surface {}; known: {}", options.surface, known.join(", "))
    })?;
    let contact = options.contact.map(|id| {
        let kind = IdKind::parse(&id.kind).expect("checked when parsed");
        IdKey::new(kind, id.scope, id.value)
    });
    let made = Link {
        tenant: server.tenant.clone(),
        content_id: options.content,
        contact,
        touch_id: options.touch,
        state: options.state,
        surface,
        url: options.to,
    };
    let token = link::mint(&Secret::new(key.trim()), &made)?;
    let base = options.base.unwrap_or_else(|| server.http());
    let url = format!("{}/l/{token}", base.trim_end_matches('/'));
    if server.json {
        print_json(&serde_json::json!({"url": url, "token": token}));
    } else {
        print_line(url);
    }
    Ok(())
}
