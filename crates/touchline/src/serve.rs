//! `touchline serve`: some or all roles over Kafka; any number of processes.

use crate::client::moment;
use crate::clock::ClockMode;
use crate::cluster;
use crate::config::Config;
use crate::dev::DATA_DIR;
use crate::listen::{self, Addresses};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use touchline_kafka::{Clock as KafkaClock, Settings};
use touchline_log::{SystemWall, Wall};
use touchline_model::time::Time;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Role {
    /// Takes events over HTTP and gRPC and appends them
    Ingest,
    /// Owns partitions: applies events, publishes tags, touches, contacts
    Processor,
    /// Answers questions and takes commands over gRPC
    Query,
}

/// Runs roles over Kafka. Start as many processes as you like, each with any of the roles; the partitions are shared
/// out among those with the processor role.
///
/// The topics have to exist: `touchline topics apply --brokers HOST:PORT`. What was acknowledged is kept when a process
/// is killed; another one takes its partitions over.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Roles of this process
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ingest,processor,query")]
    roles: Vec<Role>,
    #[command(flatten)]
    kafka: KafkaOptions,
    /// Directory for this processor's stores; made when it is not there. No two processes may share it
    #[arg(long, default_value = DATA_DIR)]
    data_dir: PathBuf,
    #[command(flatten)]
    addresses: Addresses,
    /// `manual`: time stands still until `touchline clock advance`; needs topics made with --clock manual
    #[arg(long, value_enum, default_value_t = ClockMode::System)]
    clock: ClockMode,
    /// With --clock manual and an empty log: where the clock starts
    #[arg(long, value_parser = moment)]
    clock_start: Option<Time>,
}

/// Which Kafka, and which topics.
#[derive(Debug, Clone, Args)]
pub(crate) struct KafkaOptions {
    /// Configuration (TOML): [kafka], [processor], [ingest]
    #[arg(long)]
    config: Option<PathBuf>,
    /// Brokers, `host:port,host:port`; instead of `brokers` in the section [kafka]
    #[arg(long, env = "TOUCHLINE_BROKERS")]
    brokers: Option<String>,
    /// Put before each topic name; instead of `topic_prefix` in the section [kafka]
    #[arg(long)]
    topic_prefix: Option<String>,
}

impl KafkaOptions {
    /// Whether anything says where Kafka is; where nothing does, a command may mean a directory instead.
    pub(crate) const fn is_given(&self) -> bool {
        self.brokers.is_some() || self.config.is_some()
    }

    /// The configuration, and the Kafka settings with what the command line says put in.
    pub(crate) fn load(&self, clock: ClockMode) -> anyhow::Result<(Config, Settings)> {
        let config = Config::load(self.config.as_deref())?;
        let mut settings = config.kafka.clone().unwrap_or_default();
        if let Some(brokers) = &self.brokers {
            settings.brokers.clone_from(brokers);
        }
        if let Some(prefix) = &self.topic_prefix {
            settings.topic_prefix.clone_from(prefix);
        }
        if settings.brokers.is_empty() {
            bail!(
                "no brokers\nhint: --brokers HOST:PORT, or `brokers` in the section [kafka] of --config; \
                 without a broker use `touchline dev`"
            );
        }
        if clock == ClockMode::Manual {
            settings.clock = KafkaClock::Manual;
        }
        Ok((config, settings))
    }
}

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    crate::roles::init_tracing();
    options.addresses.check()?;
    let (config, kafka) = options.kafka.load(options.clock)?;
    let clock = match kafka.clock {
        KafkaClock::System => ClockMode::System,
        KafkaClock::Manual => ClockMode::Manual,
    };
    if options.clock_start.is_some() && clock == ClockMode::System {
        bail!("--clock-start needs --clock manual");
    }
    let data_dir = options.data_dir;
    std::fs::create_dir_all(&data_dir).with_context(|| format!("making the data directory {}", data_dir.display()))?;
    let plan = cluster::Plan {
        config: &config,
        kafka,
        roles: options.roles.into_iter().collect(),
        data_dir: &data_dir,
        clock,
        clock_start: options.clock_start.unwrap_or_else(|| SystemWall.now()),
    };
    let hint = "next: touchline status";
    listen::serve(&options.addresses, &data_dir, hint, || cluster::start(&plan))
}
