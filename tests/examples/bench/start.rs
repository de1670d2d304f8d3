//! From `touchline dev` to the first answer, on a new and on a filled directory; and how large the program is.

use crate::embedded::{self, Pipeline, Stores, quiet};
use crate::report::Report;
use crate::{Options, Outcome, workload};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tonic::transport::Endpoint;
use touchline_proto::v1::GetStatusRequest;
use touchline_proto::v1::admin_service_client::AdminServiceClient;
use touchline_tests::{Server, binary, get};

/// Events in the filled directory.
const EVENTS: u64 = 200_000;
/// No start takes longer.
const READY_MAX: Duration = Duration::from_secs(100);

/// Measures starts; every run of the filled directory finds it as the one before left it.
pub(crate) fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    size(options, report)?;
    let events = options.events.unwrap_or(EVENTS);
    let filled = embedded::fresh(&options.dir)?;
    let pipeline = Pipeline::start(filled.path(), Stores::Rocks, &workload::playbook()?)?;
    pipeline.fill(embedded::records(events))?;
    drop(pipeline.stop());
    report.fact("data", format!("{events} events; {}", workload::MIX));
    for _ in 0..options.runs {
        let fresh = embedded::fresh(&options.dir)?;
        start(fresh.path(), "new directory", report)?;
        start(filled.path(), "filled directory", report)?;
        std::fs::remove_dir_all(filled.path().join("store"))?;
        start(filled.path(), "filled directory, state lost", report)?;
    }
    Ok(())
}

fn start(dir: &Path, name: &str, report: &mut Report) -> Outcome<()> {
    let started = Instant::now();
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let server = Server::start(dir, &quiet()).ok_or("the server did not start")?;
    let address = format!("http://{}", server.grpc);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = Endpoint::from_shared(address)?.connect().await?;
        AdminServiceClient::new(channel).get_status(GetStatusRequest {}).await?;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    })?;
    report.add(&format!("{name}, first gRPC answer"), "ms", ms(started));
    // The connection ends with the runtime: a server that stops waits for connections.
    drop(runtime);
    let readyz = format!("http://{}/readyz", server.http);
    while get(&readyz).is_none_or(|(status, ..)| status != 200) {
        if started.elapsed() > READY_MAX {
            return Err("the server did not become ready".into());
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    report.add(&format!("{name}, ready"), "ms", ms(started));
    server.settle();
    report.add(&format!("{name}, all applied"), "ms", ms(started));
    server.stop();
    Ok(())
}

fn size(options: &Options, report: &mut Report) -> Outcome<()> {
    const MIB: f64 = 1_048_576.0;
    let dir = embedded::fresh(&options.dir)?;
    let stripped = dir.path().join("touchline");
    report.add("program as built", "MiB", std::fs::metadata(binary())?.len() as f64 / MIB);
    if Command::new("strip").arg("-o").arg(&stripped).arg(binary()).status()?.success() {
        report.add("program, stripped", "MiB", std::fs::metadata(&stripped)?.len() as f64 / MIB);
    }
    Ok(())
}
