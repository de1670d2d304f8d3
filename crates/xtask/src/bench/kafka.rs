//! `cargo xtask bench kafka`: Touchline, a pass-through and Kafka Streams, one after the other, on one broker.
//!
//! What the programs do, how they are tuned and what counts is written in `tests/reference/README.md`. Contenders take
//! turns within a round, so that what else the machine does meets all of them; ratios are of one round.

mod contenders;
mod outages;

use crate::bench::report::{Report, load_average};
use crate::bench::rig::{Programs, Publish, Rig, Topics, words};
use anyhow::Result;
use contenders::Contender;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The rate at which goals for delays are set.
const RATE: u64 = 2_000;

/// A load that falls further behind measures itself.
const LOAD_BEHIND_MS_MAX: f64 = 1_000.0;

/// How it is measured.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
    /// Rounds; figures are their median and spread.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Small counts, one round: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Events in a topic, and contacts in the stores that are recovered; 1 000 000 if not given.
    #[arg(long)]
    events: Option<u64>,
    /// Events per second of `half-load`: half of what the machine carries with the load, the broker and a program on it.
    /// Half of what a program works off alone is more than that: the load itself falls behind. Two cores carried 6 000 to
    /// 9 000.
    #[arg(long, default_value_t = 3_000)]
    half_load: u64,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
    /// Directory with `touchline` and `reference` compiled before, e.g. of another version; compiles nothing.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Where data lies meanwhile (some gigabytes); the system's directory for temporary files otherwise.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave that data there, and the logs of all programs.
    #[arg(long)]
    keep: bool,
}

const EXAMPLES: &str = "\
Needs Java 17 with its compiler and Maven, about 40 minutes and 10 GB for three rounds of everything.

  cargo xtask bench kafka --only throughput     events per second, CPU, memory
  cargo xtask bench kafka --quick               everything, small, in some minutes";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Section {
    /// Working off a full topic of four partitions.
    Throughput,
    /// The same with 24 partitions.
    Partitions,
    /// Delay of an event at 2 000 events per second.
    Latency,
    /// Delay at half of what the machine carries.
    HalfLoad,
    /// From the start of a process to its outputs, after kill -9.
    Recovery,
    /// What a partition waits when one of two processes goes.
    Failover,
}

impl Section {
    const ALL: [Self; 6] =
        [Self::Throughput, Self::Partitions, Self::Latency, Self::HalfLoad, Self::Recovery, Self::Failover];
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Counts {
    runs: u16,
    /// Events that lie in a topic.
    events: u64,
    /// Seconds of a delay measurement before it counts, and that count.
    warm_seconds: u64,
    seconds: u64,
    /// Contacts in the stores that are recovered.
    contacts: u64,
    /// Seconds of load at [`RATE`] before a process is killed: longer than the time between flushes of a store (30 s).
    load_seconds: u64,
    /// Seconds between checkpoints.
    checkpoint_seconds: u64,
}

impl Counts {
    fn of(args: &Args) -> Self {
        if args.quick {
            let events = args.events.unwrap_or(20_000);
            let (runs, warm_seconds, seconds, load_seconds, checkpoint_seconds) = (1, 1, 2, 4, 1);
            return Self { runs, events, warm_seconds, seconds, contacts: events, load_seconds, checkpoint_seconds };
        }
        let (runs, events) = (args.runs, args.events.unwrap_or(1_000_000));
        let (warm_seconds, seconds, load_seconds, checkpoint_seconds) = (5, 15, 35, 20);
        Self { runs, events, warm_seconds, seconds, contacts: events, load_seconds, checkpoint_seconds }
    }
}

/// A benchmark under way.
struct Bench {
    rig: Rig,
    report: Report,
    counts: Counts,
    half_load: u64,
    /// Loaded topics that pass-through and Kafka Streams read again and again, by their number of partitions.
    loaded: BTreeMap<u32, Topics>,
}

/// Measures, and prints what was found; each run's figures go to stderr as they come. Errors: something does not start,
/// or loses events.
pub(crate) fn run(args: &Args) -> Result<()> {
    let programs = Programs::provide(args.programs.as_deref())?;
    let dir = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let rig = Rig::start(programs, &dir, args.keep)?;
    let counts = Counts::of(args);
    let mut bench = Bench { rig, report: Report::new(), counts, half_load: args.half_load, loaded: BTreeMap::new() };
    bench.note_facts();
    let chosen = |section: &Section| args.only.is_empty() || args.only.contains(section);
    let sections: Vec<Section> = Section::ALL.into_iter().filter(chosen).collect();
    let measured = sections.iter().try_for_each(|section| bench.section(*section));
    bench.report.fact("load after", load_average());
    // What was measured before something failed is worth seeing.
    if args.json {
        println!("{}", bench.report.to_json());
    } else {
        println!("{}", bench.report);
    }
    measured
}

impl Bench {
    fn note_facts(&mut self) {
        let Counts { runs, events, contacts, .. } = self.counts;
        self.report.fact("broker", "Apache Kafka 4.3.0, one, on the same machine, Java's full compiler");
        let data = format!(
            "{events} events of about 245 bytes and 8 headers, of {} contacts; recovery and failover:",
            events / 8
        );
        self.report.fact("data", format!("{data} {contacts} contacts; {runs} rounds"));
        self.report.fact("load before", load_average());
    }

    fn section(&mut self, section: Section) -> Result<()> {
        match section {
            Section::Throughput => self.rounds(|bench| bench.throughput(4, &Contender::ALL)),
            Section::Partitions => {
                let contenders = Contender::ALL
                    .map(|contender| (contender.publish() == Publish::Transactional).then_some(contender));
                let contenders: Vec<Contender> = contenders.into_iter().flatten().collect();
                self.rounds(|bench| bench.throughput(24, &contenders))
            }
            Section::Latency => self.rounds(|bench| bench.latency("delay at 2 000 events/s", RATE, 1)),
            Section::HalfLoad => {
                let rate = self.half_load;
                self.report.fact("half load", format!("{rate} events/s, the mix; one of ten events is waited for"));
                self.rounds(|bench| bench.latency("delay at half load", rate, 10))
            }
            Section::Recovery => self.recovery(),
            Section::Failover => self.failover(),
        }
    }

    fn rounds(&mut self, mut round: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        (0..self.counts.runs).try_for_each(|_| round(self))
    }

    /// How fast contenders work off a full topic.
    fn throughput(&mut self, partitions: u32, contenders: &[Contender]) -> Result<()> {
        let section = format!("{partitions} partitions, {} events in the topic", self.counts.events);
        let mut found = BTreeMap::new();
        for &contender in contenders {
            let value = self.work_off(contender, partitions)?;
            shown(&section, contender.name(), &value);
            for (part, name) in [("whole", "whole run"), ("warm", "from 30 % on")] {
                self.take(&section, contender, &format!("events/s, {name}"), &value[part]["events_per_second"]);
                let cpu = &value[part]["program_cpu_seconds_per_million"];
                self.take(&section, contender, &format!("CPU s per million, {name}"), cpu);
            }
            let broker = &value["whole"]["broker_cpu_seconds_per_million"];
            self.take(&section, contender, "CPU s per million of the broker", broker);
            self.take(&section, contender, "MiB at its peak", &value["peak_rss_mib"]);
            self.take(&section, contender, "ms commit p50", &value["touchline"]["commit_p50_ms"]);
            found.insert(contender, value);
        }
        self.compare(&section, &found);
        Ok(())
    }

    /// Ratios of one round.
    fn compare(&mut self, section: &str, found: &BTreeMap<Contender, Value>) {
        let number = |contender, part: &str, name: &str| {
            found.get(&contender).and_then(|value: &Value| value[part][name].as_f64()).unwrap_or_default()
        };
        for (touchline, limit) in [
            (Contender::Touchline, Contender::PassThrough),
            (Contender::TouchlineSequenced, Contender::PassThroughSequenced),
        ] {
            if !found.contains_key(&touchline) {
                continue;
            }
            let name = touchline.name();
            for (part, of) in [("whole", "whole run"), ("warm", "from 30 % on")] {
                let [cpu, rate] = ["program_cpu_seconds_per_million", "events_per_second"];
                let what = |of_whom: &str| format!("{name}, {of}: {of_whom}");
                for other in [Contender::Streams, limit] {
                    let (own_cpu, other_cpu) = (number(touchline, part, cpu), number(other, part, cpu));
                    let (own_rate, other_rate) = (number(touchline, part, rate), number(other, part, rate));
                    let other = other.name();
                    self.report.ratio(section, &what("CPU"), &format!("times that of {other}"), own_cpu, other_cpu);
                    self.report.ratio(section, &what("rate"), &format!("times that of {other}"), own_rate, other_rate);
                }
            }
        }
    }

    /// How long events take at a rate; of so many events one is waited for.
    fn latency(&mut self, section: &str, rate: u64, asking_every: u64) -> Result<()> {
        let Counts { warm_seconds, seconds, .. } = self.counts;
        let mut found = BTreeMap::new();
        for contender in Contender::ALL {
            let mut options = words(&["--rate", &rate.to_string(), "--asking-every", &asking_every.to_string()]);
            options.extend(words(&["--seconds", &seconds.to_string(), "--warm-seconds", &warm_seconds.to_string()]));
            let value = self.follow(contender, asking_every > 1, options)?;
            shown(section, contender.name(), &value);
            let behind_ms = value["load_behind_ms_max"].as_f64().unwrap_or_default();
            self.take(section, contender, "ms the load fell behind at most", &value["load_behind_ms_max"]);
            if behind_ms > LOAD_BEHIND_MS_MAX {
                let fact = format!("{section}, {}: no delay measured", contender.name());
                self.report.fact(&fact, format!("the load fell {behind_ms:.0} ms behind: too much for this machine"));
                continue;
            }
            for (part, name) in [("p50_ms", "p50"), ("p99_ms", "p99")] {
                self.take(section, contender, &format!("ms {name}"), &value[part]);
            }
            self.take(section, contender, "outputs missing", &value["missing"]);
            let cpu = &value["program_cpu_seconds_per_million"];
            self.take(section, contender, "CPU s per million", cpu);
            self.take(section, contender, "ms commit p50", &value["touchline"]["commit_p50_ms"]);
            found.insert(contender, value);
        }
        let number =
            |contender, name: &str| found.get(&contender).and_then(|value| value[name].as_f64()).unwrap_or_default();
        for (touchline, limit) in [
            (Contender::Touchline, Contender::PassThrough),
            (Contender::TouchlineSequenced, Contender::PassThroughSequenced),
        ] {
            for (part, name) in [("p50_ms", "p50"), ("p99_ms", "p99")] {
                for other in [Contender::Streams, limit] {
                    let unit = format!("times that of {}", other.name());
                    let what = format!("{}: {name}", touchline.name());
                    self.report.ratio(section, &what, &unit, number(touchline, part), number(other, part));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, section: &str, contender: Contender, unit: &str, value: &Value) {
        if let Some(value) = value.as_f64() {
            self.report.add(section, contender.name(), unit, value);
        }
    }
}

/// One run's figures, on stderr.
fn shown(section: &str, who: &str, value: &Value) {
    eprintln!("[load {}] {section} | {who} | {value}", load_average());
}
