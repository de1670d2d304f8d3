//! `touchline clock`: move the virtual clock of a server started with `--clock manual`.

use crate::client::{Server, local, moment, print_json, print_line, refusal};
use crate::json;
use clap::Subcommand;
use touchline_model::time::Time;
use touchline_proto::v1::AdvanceClockRequest;
use touchline_proto::v1::admin_service_client::AdminServiceClient;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Move it forward, stopping at every due moment on the way
    Advance {
        /// Where to, e.g. 2026-03-05T12:00:00+08:00
        #[arg(long, value_parser = moment)]
        to: Time,
    },
}

pub(crate) async fn run(server: &Server, command: Command) -> anyhow::Result<()> {
    let Command::Advance { to } = command;
    let mut client = AdminServiceClient::new(server.connect().await?);
    let reply = client.advance_clock(AdvanceClockRequest { to_ms: to.0 }).await.map_err(refusal)?.into_inner();
    if server.json {
        print_json(&serde_json::json!({"clock": json::time(reply.clock_ms)}));
    } else {
        print_line(format!("the clock stands at {}", local(reply.clock_ms)));
    }
    Ok(())
}
