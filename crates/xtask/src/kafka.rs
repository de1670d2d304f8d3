//! `cargo xtask kafka`: a running broker for a developer or somebody who tries Touchline.

use crate::cargo::clock;
use crate::setup::{self, Need};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use touchline_broker::{Cluster, EXTERNAL, Options};

/// How often the brokers are looked at while they run.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What to start.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many brokers: 1, or 3 that replicate to one another (160 MB each, growing to 600 MB).
    #[arg(long, default_value_t = 1, value_parser = sizes)]
    brokers: u32,
    /// Directory for the data, kept and used again; a temporary one otherwise.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Port of the first broker, the others follow; free ones otherwise.
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1_024..))]
    port: Option<u16>,
}

const EXAMPLES: &str = "\
Listens on 127.0.0.1 only, without encryption or users: for trials, not for operation. Topics are not created by
themselves. Needs Java 17 and, the first time, Maven, which fetches the broker (54 MB); both are installed if they can be.

  cargo xtask kafka                                    one broker, gone with its data after Ctrl-C
  cargo xtask kafka --data-dir target/kafka --port 9092   the same data and address each time
  cargo xtask kafka --brokers 3                        kill one of them and see what goes on";

/// As many brokers as make a cluster.
pub(crate) fn sizes(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("1 or 3".to_owned()),
    }
}

/// Sets up, starts the brokers, waits for Ctrl-C or SIGTERM and stops them cleanly. Errors: a broker does not start, or
/// ends by itself.
pub(crate) fn run(args: &Args) -> Result<()> {
    if std::env::var_os(EXTERNAL).is_some() {
        bail!("{EXTERNAL} names a broker already\nhint: unset it to start another one");
    }
    setup::run(Need::Kafka)?;
    println!("starting {} …", count(args.brokers));
    let started = Instant::now();
    let directory = args.data_dir.clone();
    let options = Options { brokers: args.brokers, directory, port: args.port, ..Options::default() };
    let cluster = Cluster::start(&options)?;
    println!("ready after {}\n\n{}", clock(started.elapsed()), what_next(&cluster, args)?);
    let ended = wait_for_the_end(&cluster, args.brokers)?;
    if let Some((id, status)) = ended {
        bail!("broker {id} ended: {status}\n{}", cluster.log_end(id)?);
    }
    println!("\nstopping …");
    let cluster = &cluster;
    // The last ones have no majority to hand their partitions to: all at once, each by a thread of its own.
    std::thread::scope(|scope| {
        let stops: Vec<_> = (1..=args.brokers).map(|id| scope.spawn(move || cluster.stop(id))).collect();
        stops.into_iter().try_for_each(|stop| stop.join().expect("stopping does not panic"))
    })?;
    println!("stopped");
    Ok(())
}

fn count(brokers: u32) -> String {
    if brokers == 1 { "one broker".to_owned() } else { format!("{brokers} brokers") }
}

fn what_next(cluster: &Cluster, args: &Args) -> Result<String> {
    let bootstrap = cluster.bootstrap();
    let jars = cluster.jars()?.directory().display().to_string();
    let tool = format!("java -cp '{jars}/*' org.apache.kafka.tools");
    let kept = if args.data_dir.is_some() { "kept" } else { "removed at the end" };
    let directory = cluster.directory()?.display().to_string();
    let processes = (1..=args.brokers).map(|id| cluster.pid(id).map(|pid| format!("{id} = {pid}")));
    let processes = processes.collect::<Result<Vec<_>, _>>()?.join(", ");
    Ok(format!(
        "bootstrap  {bootstrap}
data       {directory} ({kept}; broker-N/broker.log is a broker's log)
processes  {processes}

In another terminal:
  {EXTERNAL}={bootstrap} cargo xtask test kafka
  {tool}.TopicCommand --bootstrap-server {bootstrap} --create --topic trial --partitions 8
  {tool}.TopicCommand --bootstrap-server {bootstrap} --describe
  {tool}.consumer.ConsoleConsumer --bootstrap-server {bootstrap} --topic trial --from-beginning \\
      --isolation-level read_committed

Ctrl-C stops."
    ))
}

/// Waits for a signal to end, or for a broker that ends by itself.
fn wait_for_the_end(cluster: &Cluster, brokers: u32) -> Result<Option<(u32, ExitStatus)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot wait for signals")?.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(None),
                _ = terminate.recv() => return Ok(None),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            // One of three may be killed on purpose, to see what goes on; without a majority nothing does.
            let mut ended = Vec::new();
            for id in 1..=brokers {
                ended.extend(cluster.ended(id)?.map(|status| (id, status)));
            }
            if ended.len() * 2 > brokers as usize || ended.len() == brokers as usize {
                return Ok(ended.first().copied());
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_a_majority() {
        assert_eq!(["1", "3"].map(sizes), [Ok(1), Ok(3)]);
        assert!(["0", "2", "x"].map(sizes).iter().all(Result::is_err));
    }
}
