//! Where the server is, how to reach it, and how answers are printed.

use anyhow::{Context, anyhow};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;
use touchline_model::id::{ContactId, IdKind};
use touchline_model::time::{Time, Zone};
use touchline_proto::v1;

/// As long as servers let a client wait at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of every command that talks to a server.
#[derive(Debug, Clone, Args)]
pub(crate) struct Server {
    /// gRPC address of the server; default: what `touchline dev` wrote into `.touchline/ports.json`,
    /// else 127.0.0.1:7090
    #[arg(long, env = "TOUCHLINE_SERVER", global = true)]
    server: Option<String>,
    /// HTTP address of the server; default as for --server, else 127.0.0.1:7080
    #[arg(long, env = "TOUCHLINE_HTTP", global = true)]
    http: Option<String>,
    /// Whose data
    #[arg(long, env = "TOUCHLINE_TENANT", default_value = "demo", global = true)]
    pub(crate) tenant: String,
    /// Print JSON for programs instead of text for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What `touchline dev` writes into its data directory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) http: String,
    pub(crate) grpc: String,
    pub(crate) pid: u32,
}

impl Ports {
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("ports.json")
    }

    fn of_default_directory() -> Option<Self> {
        let text = std::fs::read_to_string(Self::path(Path::new(crate::dev::DATA_DIR))).ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl Server {
    /// `tenants/{tenant}`.
    pub(crate) fn parent(&self) -> String {
        format!("tenants/{}", self.tenant.replace('%', "%25").replace('/', "%2F"))
    }

    /// Base address for HTTP, without a slash at the end.
    pub(crate) fn http(&self) -> String {
        let known = || Ports::of_default_directory().map(|ports| ports.http);
        with_scheme(&self.http.clone().or_else(known).unwrap_or_else(|| "127.0.0.1:7080".to_owned()))
    }

    /// The same questions to a process at another gRPC address.
    pub(crate) fn at(&self, address: &str) -> Self {
        Self { server: Some(address.to_owned()), ..self.clone() }
    }

    /// Connects to the gRPC server.
    pub(crate) async fn connect(&self) -> anyhow::Result<Channel> {
        let known = || Ports::of_default_directory().map(|ports| ports.grpc);
        let address = with_scheme(&self.server.clone().or_else(known).unwrap_or_else(|| "127.0.0.1:7090".to_owned()));
        let endpoint = Endpoint::from_shared(address.clone()).with_context(|| format!("--server {address}"))?;
        endpoint.connect().await.with_context(|| {
            format!(
                "no server answers at {address}\nhint: start one with `touchline dev`, or name another with --server"
            )
        })
    }
}

fn with_scheme(address: &str) -> String {
    if address.contains("://") { address.trim_end_matches('/').to_owned() } else { format!("http://{address}") }
}

/// Who is meant: a contact id, or `kind/scope/value` of one of their identifiers.
#[derive(Debug, Clone)]
pub(crate) enum ContactArg {
    Id(ContactId),
    Identifier(v1::IdKey),
}

impl std::str::FromStr for ContactArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(id) = ContactId::parse(text) {
            return Ok(Self::Id(id));
        }
        identifier(text).map(Self::Identifier)
    }
}

/// Parses `kind/scope/value`.
pub(crate) fn identifier(text: &str) -> Result<v1::IdKey, String> {
    let mut parts = text.splitn(3, '/');
    let (Some(kind), Some(scope), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("expected a contact id (26 characters) or kind/scope/value, e.g. \
                    wecom_external_userid/wwcorp/wmXYZ"
            .to_owned());
    };
    if !IdKind::parse(kind).is_some_and(IdKind::is_public) {
        let kinds: Vec<&str> = IdKind::ALL.iter().map(|kind| kind.name()).collect();
        return Err(format!("unknown kind {kind:?}; known: {}", kinds.join(", ")));
    }
    Ok(v1::IdKey { kind: kind.to_owned(), scope: scope.to_owned(), value: value.to_owned() })
}

/// Parses a moment: RFC 3339.
pub(crate) fn moment(text: &str) -> Result<Time, String> {
    Time::parse_rfc3339(text).ok_or_else(|| "expected RFC 3339, e.g. 2026-03-02T10:00:00+08:00".to_owned())
}

/// A moment for people, in the zone operators live in.
pub(crate) fn local(ms: i64) -> String {
    Zone::SHANGHAI.format(Time(ms))
}

/// A gRPC refusal as an error for people: what, how it stands now, and what to do next.
pub(crate) fn refusal(status: tonic::Status) -> anyhow::Error {
    let details = status.get_error_details();
    let facts = details.error_info().map(|info| info.metadata.clone()).unwrap_or_default();
    let current = facts.iter().find(|(name, _)| name.starts_with("current"));
    let stands = current.map_or_else(String::new, |(name, value)| {
        format!("\n{}: {}", name.replace('_', " "), if value.is_empty() { "none" } else { value })
    });
    let hint = match status.code() {
        _ if status.message().contains("hint:") => "",
        tonic::Code::Aborted => "\nhint: look again and repeat with what stands now",
        tonic::Code::Unavailable => "\nhint: the server is catching up or down; repeating is safe",
        tonic::Code::Unimplemented => "\nhint: this version does not support it yet",
        _ => "",
    };
    anyhow!("{}{stands}{hint}", status.message())
}

/// Reads of the command line see everything accepted before them: whoever types waits for that gladly.
pub(crate) fn full() -> Option<v1::ReadOptions> {
    Some(v1::ReadOptions { consistency: Some(v1::read_options::Consistency::Full(true)) })
}

/// A full read or a command: without a word about it the server gives up after a few seconds, which is little for
/// whatever has to be applied in every partition and read back.
pub(crate) fn patiently<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

/// Prints one JSON value as a line.
pub(crate) fn print_json(value: &serde_json::Value) {
    print_line(value);
}

/// Prints one line of the answer. A reader that has seen enough (`| head`) ends the program quietly.
pub(crate) fn print_line(line: impl std::fmt::Display) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{line}") {
        let seen_enough = error.kind() == std::io::ErrorKind::BrokenPipe;
        std::process::exit(if seen_enough { 0 } else { 1 });
    }
}
