//! What the Kafka figures are compared with, and what measures them: see `tests/reference/README.md`.
//!
//! What it is: a load generator, a measurer of any program that reads `events` in a consumer group, and the
//! pass-through, the practical limit on Kafka. What it is not: a part of Touchline, or a test.

#![expect(clippy::print_stdout, reason = "a command-line tool")]

mod load;
mod measure;
mod outage;
mod passthrough;
mod process;
mod touchline;

use clap::{Args, Parser, Subcommand};
use rdkafka::ClientConfig;
use std::error::Error;

/// What a command returns: it fails as a whole or not at all.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Load, reference and measurement for the Kafka benchmark. Figures go to stdout as JSON, one object a line.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates topics (tests and trials; a cluster's are made by `touchline topics apply`).
    Topics(load::TopicsArguments),
    /// Writes events, the same for the same seed.
    Load(load::Arguments),
    /// Writes events given as JSON, one a line with its `append_time` (for a topic with CreateTime).
    Feed(load::FeedArguments),
    /// Prints the records of an output topic, one a line.
    Dump(measure::DumpArguments),
    /// Consumes `events` and produces the same bytes to `touches`.
    Passthrough(passthrough::Arguments),
    /// How fast a program works off what lies in `events`, by the offsets its group commits.
    Throughput(measure::ThroughputArguments),
    /// How long an event takes until its output can be read, at a given rate.
    Latency(measure::LatencyArguments),
    /// How long a program takes from its start until every partition is served.
    Probe(outage::ProbeArguments),
    /// How long partitions are not served when one of several Touchlines goes.
    Outage(outage::OutageArguments),
}

/// Which cluster.
#[derive(Debug, Clone, Args)]
struct Cluster {
    /// Brokers, `host:port`, comma-separated.
    #[arg(long)]
    brokers: String,
}

impl Cluster {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }
}

fn main() -> Outcome<()> {
    match Arguments::parse().command {
        Command::Topics(arguments) => load::topics(&arguments),
        Command::Load(arguments) => load::load(&arguments),
        Command::Feed(arguments) => load::feed(&arguments),
        Command::Dump(arguments) => measure::dump(&arguments),
        Command::Passthrough(arguments) => passthrough::run(&arguments),
        Command::Throughput(arguments) => measure::throughput(&arguments),
        Command::Latency(arguments) => measure::latency(&arguments),
        Command::Probe(arguments) => outage::probe(&arguments),
        Command::Outage(arguments) => outage::outage(&arguments),
    }
}
