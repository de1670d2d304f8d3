//! `touchline token mint`: tokens that join whoever brings them back, once.

use crate::client::{Server, identifier, moment, patiently, print_json, print_line, refusal};
use clap::{Args, Subcommand};
use touchline_model::time::Time;
use touchline_proto::v1;
use touchline_proto::v1::contact_service_client::ContactServiceClient;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Mint a token: put it into the `state` of a contact way, a group code or a tracked link
    Mint(MintOptions),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MintOptions {
    /// Who it is for, as kind/scope/value: an order, or an identifier of a person
    #[arg(long = "for", value_parser = identifier, value_name = "ID")]
    bearer: v1::IdKey,
    /// Until when it counts, RFC 3339
    #[arg(long, value_parser = moment, value_name = "TIME")]
    expires: Time,
    /// Who asks
    #[arg(long, env = "USER", default_value = "")]
    actor: String,
}

const EXAMPLES: &str = "\
A card in the parcel: whoever adds staff by a code with this state is the buyer of the order.
  touchline token mint --for order/taobao:2212345/612055618715866263 --expires 2026-12-31T23:59:59+08:00
A landing page: whoever adds staff by its code is the visitor.
  touchline token mint --for click_visitor/go.acme.example/v-1 --expires 2026-12-31T23:59:59+08:00";

pub(crate) async fn run(server: &Server, command: Command) -> anyhow::Result<()> {
    let Command::Mint(options) = command;
    let request = v1::MintTokenRequest {
        parent: server.parent(),
        bearer: Some(options.bearer),
        expires_at_ms: options.expires.0,
        actor: options.actor,
    };
    let mut client = ContactServiceClient::new(server.connect().await?);
    let state = client.mint_token(patiently(request)).await.map_err(refusal)?.into_inner().state;
    if server.json {
        print_json(&serde_json::json!({"state": state}));
    } else {
        print_line(state);
    }
    Ok(())
}
