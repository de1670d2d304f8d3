//! `touchline dev`: all roles in one process, one data directory, listeners on loopback.

use crate::client::{Ports, moment};
use crate::config::Config;
use crate::roles::Roles;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use touchline_log::{ManualWall, SystemWall, Wall};
use touchline_model::time::Time;

/// Where `dev` keeps its data when not told otherwise.
pub(crate) const DATA_DIR: &str = ".touchline";
/// A graceful end that takes longer is none.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// Runs all roles in one process, without a broker. Stop it with Ctrl-C; what was acknowledged is kept.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory for log and state; made when it is not there
    #[arg(long, default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Address for HTTP: events, callbacks, tracked links, metrics; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:7080")]
    http_listen: SocketAddr,
    /// Address for gRPC; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:7090")]
    grpc_listen: SocketAddr,
    /// Channel accounts and keys (TOML); without it only /v1/events and gRPC take events
    #[arg(long)]
    config: Option<PathBuf>,
    /// `manual`: time stands still until `touchline clock advance`; marks the directory as virtual for good
    #[arg(long, value_enum, default_value_t = ClockMode::System)]
    clock: ClockMode,
    /// With --clock manual on a new directory: where the clock starts
    #[arg(long, value_parser = moment)]
    clock_start: Option<Time>,
    /// Partitions of a new directory; fixed for its life
    #[arg(long, default_value_t = 4)]
    partitions: u32,
}

/// What the server's time follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClockMode {
    /// The machine's clock
    System,
    /// Only `touchline clock advance`
    Manual,
}

/// The server's time.
#[derive(Clone)]
pub(crate) enum Clock {
    System,
    Manual(ManualWall),
}

impl Clock {
    pub(crate) fn wall(&self) -> Arc<dyn Wall> {
        match self {
            Self::System => Arc::new(SystemWall),
            Self::Manual(wall) => Arc::new(wall.clone()),
        }
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Manual(_) => "manual",
        }
    }
}

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    crate::roles::init_tracing();
    for address in [options.http_listen, options.grpc_listen] {
        if !address.ip().is_loopback() {
            bail!(
                "{address} is not a loopback address, and this version has neither tokens nor TLS on its listeners\n\
                 hint: listen on 127.0.0.1 and put a TLS proxy with authentication in front"
            );
        }
    }
    if let Some(start) = options.clock_start {
        if options.clock != ClockMode::Manual {
            bail!("--clock-start needs --clock manual");
        }
        if !start.is_plausible() {
            bail!("--clock-start {start} lies outside the years 2000 to 2200");
        }
    }
    let config = Config::load(options.config.as_deref())?;
    std::fs::create_dir_all(&options.data_dir)
        .with_context(|| format!("making the data directory {}", options.data_dir.display()))?;
    let clock = clock_of(&options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(options, config, clock))
}

/// The mode is written once: a directory whose times are invented must never meet the machine's clock, nor the other
/// way round.
fn clock_of(options: &Options) -> anyhow::Result<Clock> {
    let file = options.data_dir.join("clock");
    let mode = if options.clock == ClockMode::Manual { "manual" } else { "system" };
    match std::fs::read_to_string(&file) {
        Ok(stored) if stored.trim() != mode => {
            bail!(
                "{} was made with --clock {}\nhint: use the same mode, or another --data-dir",
                options.data_dir.display(),
                stored.trim()
            )
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::write(&file, mode).with_context(|| format!("writing {}", file.display()))?;
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    }
    Ok(match options.clock {
        ClockMode::System => Clock::System,
        ClockMode::Manual => Clock::Manual(ManualWall::new(options.clock_start.unwrap_or_else(|| SystemWall.now()))),
    })
}

async fn serve(options: Options, config: Config, clock: Clock) -> anyhow::Result<()> {
    let mut stop = StopSignals::new()?;
    let mut roles = Roles::start(&options.data_dir, options.partitions, &config, clock)?;
    let http = bind(options.http_listen).await?;
    let grpc = bind(options.grpc_listen).await?;
    let ports =
        Ports { http: http.local_addr()?.to_string(), grpc: grpc.local_addr()?.to_string(), pid: std::process::id() };
    roles.listen(http, grpc).await;
    write_ports(&options.data_dir, &ports)?;
    announce(&options.data_dir, &ports);
    let failed = tokio::select! {
        () = stop.received() => None,
        reason = roles.failed() => Some(reason),
    };
    let _ = std::fs::remove_file(Ports::path(&options.data_dir));
    if let Some(reason) = failed {
        // What was acknowledged is durable; the next start reads what really became so.
        bail!("{reason}\nhint: nothing acknowledged is lost; free space or mend the disk, then start again");
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

fn announce(data_dir: &Path, ports: &Ports) {
    crate::client::print_line(format!(
        "touchline is ready\n  http   http://{}   events, callbacks, links, /metrics, /readyz\n  grpc   {}\n  data   {}\n\n\
         next: touchline playbook activate tests/playbooks/a.yaml --server {} --http http://{}",
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
