//! `touchline topics`: the topics as `deploy/kafka/topics.yaml` says they must be.

use crate::client::{Server, print_json, print_line};
use crate::clock::ClockMode;
use crate::serve::KafkaOptions;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use touchline_kafka::topics::{self, Difference, Report, Spec};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the topics that are missing and set right what can be; say what cannot. Safe to repeat
    Apply(Options),
    /// Say every difference between the brokers and what Touchline needs; fails when there is one
    Check(Options),
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    kafka: KafkaOptions,
    /// Another description of the topics than the built-in deploy/kafka/topics.yaml
    #[arg(long)]
    spec: Option<PathBuf>,
    /// Partitions of every topic; fixed for the cluster's life. Default: what the description says
    #[arg(long)]
    partitions: Option<u32>,
    /// Replicas of every partition. Default: what the description says
    #[arg(long)]
    replication: Option<u32>,
    /// `manual`: topics of virtual time, for demos and tests
    #[arg(long, value_enum, default_value_t = ClockMode::System)]
    clock: ClockMode,
}

impl Options {
    fn load(&self) -> anyhow::Result<(touchline_kafka::Settings, Spec)> {
        let (_, settings) = self.kafka.load(self.clock)?;
        let mut spec = match &self.spec {
            None => Spec::built_in()?,
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
                Spec::parse(&text).with_context(|| format!("in {}", path.display()))?
            }
        };
        if let Some(partitions) = self.partitions {
            spec.partitions = partitions;
        }
        if let Some(replication) = self.replication {
            spec = spec.with_replication(replication);
        }
        Ok((settings, spec))
    }
}

pub(crate) fn run(server: &Server, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Apply(options) => {
            let (settings, spec) = options.load()?;
            let applied = topics::apply(&settings, &spec)?;
            if server.json {
                let altered = applied.altered.iter().map(shown).collect::<Vec<_>>();
                let left = applied.left.differences.iter().map(shown).collect::<Vec<_>>();
                print_json(&json!({"created": applied.created, "altered": altered, "left": left}));
            } else {
                for topic in &applied.created {
                    print_line(format!("created  {topic}"));
                }
                for difference in &applied.altered {
                    print_line(format!("altered  {difference}"));
                }
                if applied.created.is_empty() && applied.altered.is_empty() && applied.left.is_empty() {
                    print_line("nothing to do: every topic is as it has to be".to_owned());
                }
            }
            conclude(server, &applied.left, "these differences cannot be set right from here")
        }
        Command::Check(options) => {
            let (settings, spec) = options.load()?;
            let report = topics::check(&settings, &spec)?;
            if server.json {
                let differences = report.differences.iter().map(shown).collect::<Vec<_>>();
                print_json(&json!({"differences": differences}));
            } else if report.is_empty() {
                print_line("every topic is as it has to be".to_owned());
            }
            conclude(server, &report, "the topics are not as they have to be\nhint: touchline topics apply")
        }
    }
}

fn conclude(server: &Server, report: &Report, message: &str) -> anyhow::Result<()> {
    if report.is_empty() {
        return Ok(());
    }
    if !server.json {
        for difference in &report.differences {
            print_line(format!("differs  {difference}"));
        }
    }
    bail!("{message}")
}

fn shown(difference: &Difference) -> serde_json::Value {
    let Difference { place, setting, expected, found } = difference;
    json!({"place": place, "setting": setting, "expected": expected, "found": found})
}
