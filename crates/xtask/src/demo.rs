//! `cargo xtask demo`: the main job on a fresh directory with a virtual clock, in one process or on Kafka.

pub(crate) mod checks;
mod outputs;
pub(crate) mod payloads;
pub(crate) mod story;

use crate::cargo;
use crate::live::{self, Kafka, Server, touchline};
use crate::results::{Ran, Totals};
use crate::setup::{self, Need};
use anyhow::{Context, Result};
use checks::Checks;
use std::path::{Path, PathBuf};
use story::{Place, Story};
use touchline_broker::{Cluster, Options, available_or_skip};

/// How to run the demo.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Run it on Kafka: a broker, one process for ingest, one for query and two processors; then compare every output
    /// with those of the same story in one process.
    #[arg(long)]
    kafka: bool,
    /// Leave everything running until Ctrl-C, and say what to try next.
    #[arg(long)]
    serve: bool,
    /// Keep the directory with data, logs and configuration.
    #[arg(long)]
    keep: bool,
}

const EXAMPLES: &str = "\
Two customers, one playbook (tests/playbooks/a.yaml), five days on a virtual clock: every step is
shown, and what must come of it is checked. Then two others, each at Tmall, in WeCom and at Youzan,
become one contact each, in two orders of arrival. Near the end the state is deleted and the story
goes on from the log.

  cargo xtask demo                   all roles in one process, no broker
  cargo xtask demo --kafka           separate processes over a broker of its own; needs Java 17
  cargo xtask demo --kafka --serve   the same, left running: look at the topics, kill a processor

Ctrl-C ends it, with all its processes and directories. TOUCHLINE_TEST_KAFKA=host:port uses an
existing broker; the topics (touchline-demo-PID-…) then stay there.";

/// Sets up, compiles, runs the story. Errors: something of it was not observed.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::run(Need::Build)?;
    if args.kafka {
        setup::run(Need::Kafka)?;
    }
    cargo::build_programs()?;
    live::end_gracefully()?;
    in_fresh_directory(args.keep, |directory| {
        if args.kafka { on_kafka(directory, args.serve) } else { in_one_process(directory, args.serve) }
    })
    .map(drop)
}

/// The demo on Kafka as a suite of the tests. Errors: something of it was not observed.
pub(crate) fn check_on_kafka() -> Result<Ran> {
    let (success, mut totals) = (true, Totals::default());
    if !available_or_skip() {
        totals.skipped = 1;
        return Ok(Ran::of(success, totals));
    }
    cargo::build_programs()?;
    live::end_gracefully()?;
    totals.passed = in_fresh_directory(false, |directory| on_kafka(directory, false))? as u64;
    Ok(Ran::of(success, totals))
}

/// Removes the directory when the work is done; whoever wants to know why it failed, finds it.
fn in_fresh_directory(keep: bool, work: impl FnOnce(&Path) -> Result<usize>) -> Result<usize> {
    let directory = fresh_directory("demo")?;
    let outcome = work(&directory);
    if keep || (outcome.is_err() && !live::interrupted()) {
        println!("data, configuration and logs stay in {}", directory.display());
    } else {
        std::fs::remove_dir_all(&directory).ok();
    }
    outcome
}

/// How many expectations were observed: all.
fn in_one_process(directory: &Path, serve: bool) -> Result<usize> {
    println!("\nTouchline demo: all roles in one process, virtual clock, data in {}\n", directory.display());
    let mut checks = Checks::new();
    let story = play(directory, Place::OneProcess, &mut checks)?;
    checks.conclude()?;
    if serve {
        println!("{}", what_next(&story.server));
        story.server.wait_for_the_end();
    } else {
        story.server.stop()?;
    }
    Ok(checks.observed())
}

/// How many expectations were observed: all.
fn on_kafka(directory: &Path, serve: bool) -> Result<usize> {
    println!("\nTouchline demo: first in one process, for comparison …");
    let (alone, mut silent) = (subdirectory(directory, "alone")?, Checks::quiet());
    let expected = play(&alone, Place::OneProcess, &mut silent)?;
    silent.conclude()?;
    let expected = expected.end()?;
    println!("  {} expectations observed, {} outputs and contacts", silent.observed(), expected.len());
    println!("… and now on Kafka, one process for each role and two processors");
    let cluster = Cluster::start(&Options::default())?;
    let kafka = topics(&cluster)?;
    let mut checks = Checks::new();
    let story = play(&subdirectory(directory, "cluster")?, Place::Kafka(kafka.clone()), &mut checks)?;
    let told = format!("{} outputs and contacts, equal to the embedded demo's record by record", expected.len());
    checks.expect(&told, Vec::new(), || Ok(outputs::differences(&expected, &story.outputs()?)));
    checks.conclude()?;
    if serve {
        println!("{}{}", what_next(&story.server), what_next_on_kafka(&story.server, &kafka));
        story.server.wait_for_the_end();
    } else {
        story.server.stop()?;
    }
    Ok(checks.observed())
}

/// Makes the topics of virtual time.
fn topics(cluster: &Cluster) -> Result<Kafka> {
    let topic_prefix = format!("touchline-demo-{}-", std::process::id());
    let kafka = Kafka { brokers: cluster.bootstrap(), topic_prefix };
    let partitions = story::PARTITIONS.to_string();
    let how = ["topics", "apply", "--replication", "1", "--partitions", &partitions, "--clock", "manual"];
    println!("  broker at {}\n  $ touchline {} --brokers {0} …", kafka.brokers, how.join(" "));
    for line in touchline(&[&how[..], &kafka.arguments()[..]].concat())?.lines() {
        println!("    {line}");
    }
    Ok(kafka)
}

/// The whole story; it is left running.
fn play(directory: &Path, place: Place, checks: &mut Checks) -> Result<Story> {
    let story = Story::start_at(directory, place)?;
    if let Err(error) = story.tell(checks) {
        live::check_interrupted()?;
        let log_end = story.server.log_end();
        return Err(error).with_context(|| format!("the story broke off; the end of the server's log:\n{log_end}"));
    }
    live::check_interrupted()?;
    story.lose_the_state(checks)
}

/// An empty directory for one run, below the target directory.
pub(crate) fn fresh_directory(name: &str) -> Result<PathBuf> {
    let directory = cargo::target_dir().join("xtask").join(format!("{name}-{}", std::process::id()));
    std::fs::remove_dir_all(&directory).ok();
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    Ok(directory)
}

fn subdirectory(directory: &Path, name: &str) -> Result<PathBuf> {
    let directory = directory.join(name);
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    Ok(directory)
}

fn what_next(server: &Server) -> String {
    let bin = cargo::touchline_bin();
    format!(
        "\nIt runs until Ctrl-C. In another terminal:\n\n\
         \x20 export TOUCHLINE_SERVER={} TOUCHLINE_HTTP={} TOUCHLINE_TENANT={}\n\
         \x20 alias touchline={}\n\
         \x20 touchline board show 商机看板\n\
         \x20 touchline contact {} --timeline\n\
         \x20 touchline segment count 'tag(商机/考虑价格)'\n\
         \x20 touchline touches\n\
         \x20 touchline send --example chat.message --send\n\
         \x20 touchline clock advance --to 2026-03-20T09:00:00+08:00\n\
         \x20 curl http://{}/metrics\n",
        server.grpc,
        server.http,
        payloads::TENANT,
        bin.display(),
        story::ANNA.address(),
        server.http
    )
}

fn what_next_on_kafka(server: &Server, kafka: &Kafka) -> String {
    let arguments = kafka.arguments().join(" ");
    format!(
        "\x20 touchline status\n\
         \x20 touchline topics check {arguments} --clock manual --replication 1 --partitions {}\n\
         \x20 touchline verify {arguments} --clock manual\n\n\
         Processes: {}. Kill a processor, and the other one goes on with all partitions.\n",
        story::PARTITIONS,
        server.names().join(", ")
    )
}
