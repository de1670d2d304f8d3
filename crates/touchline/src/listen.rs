//! From the first role to a graceful end: listeners, the file that says where they are, signals.

use crate::client::Ports;
use crate::roles::{Parts, Roles, install_metrics};
use anyhow::{Context, bail};
use clap::Args;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A graceful end that takes longer is none.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);

/// Where a server listens.
#[derive(Debug, Clone, Args)]
pub(crate) struct Addresses {
    /// Address for HTTP: events, callbacks, tracked links, metrics; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:7080")]
    http_listen: SocketAddr,
    /// Address for gRPC; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:7090")]
    grpc_listen: SocketAddr,
}

impl Addresses {
    /// Refuses what would be open to the network.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for address in [self.http_listen, self.grpc_listen] {
            if !address.ip().is_loopback() {
                bail!(
                    "{address} is not a loopback address, and this version has neither tokens nor TLS on its \
                     listeners\nhint: listen on 127.0.0.1 and put a TLS proxy with authentication in front"
                );
            }
        }
        Ok(())
    }
}

/// Starts the parts, listens, and runs until a signal or a failure. `data_dir` gets the file `ports.json`.
pub(crate) fn serve(
    addresses: &Addresses,
    data_dir: &Path,
    hint: &str,
    start: impl FnOnce() -> anyhow::Result<Parts>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = StopSignals::new()?;
        let rendered = install_metrics()?;
        let http = bind(addresses.http_listen).await?;
        let grpc = bind(addresses.grpc_listen).await?;
        // Starting blocks: it opens files and asks brokers.
        let parts = tokio::task::block_in_place(start)?;
        let mut roles = Roles::new(parts, rendered);
        let (http_address, grpc_address) = (http.local_addr()?.to_string(), grpc.local_addr()?.to_string());
        let ports = Ports { http: http_address, grpc: grpc_address, pid: std::process::id() };
        roles.listen(http, grpc).await;
        write_ports(data_dir, &ports)?;
        announce(data_dir, &ports, hint);
        let failed = tokio::select! {
            () = stop.received() => None,
            reason = roles.failed() => Some(reason),
        };
        let _ = std::fs::remove_file(Ports::path(data_dir));
        if let Some(reason) = failed {
            // What was acknowledged is durable; the next start reads what really became so.
            bail!("{reason}\nhint: nothing acknowledged is lost; mend what failed, then start again");
        }
        tracing::info!("stopping: intake closed, publishing what is applied");
        tokio::select! {
            done = tokio::time::timeout(SHUTDOWN_MAX, roles.stop()) => {
                if done.is_err() {
                    bail!("did not stop within {} s; nothing acknowledged is lost", SHUTDOWN_MAX.as_secs());
                }
            }
            () = stop.received() => bail!("stopped at once by a second signal; nothing acknowledged is lost"),
        }
        Ok(())
    })
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}\nhint: another server may run; port 0 picks a free port"))
}

fn write_ports(data_dir: &Path, ports: &Ports) -> anyhow::Result<()> {
    // Written beside and renamed: whoever waits for the file never reads half of it.
    let (path, draft) = (Ports::path(data_dir), data_dir.join("ports.json.new"));
    std::fs::write(&draft, serde_json::to_vec(ports)?).and_then(|()| std::fs::rename(&draft, &path))?;
    Ok(())
}

fn announce(data_dir: &Path, ports: &Ports, hint: &str) {
    crate::client::print_line(format!(
        "touchline is ready\n  http   http://{}   events, callbacks, links, /metrics, /readyz\n  grpc   {}\n  data   {}\n\n\
         {hint} --server {} --http http://{}",
        ports.http,
        ports.grpc,
        data_dir.display(),
        ports.grpc,
        ports.http
    ));
}

struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
