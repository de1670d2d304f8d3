//! How long partitions are not served: after kill -9, at a failover, at a planned move.

use super::{Bench, RATE, shown};
use crate::bench::rig::{Publish, Running, Server, Settings, Topics, words};
use anyhow::Result;
use serde_json::Value;

/// Partitions of these measurements.
const PARTITIONS: u32 = 4;
/// One name for every start: whoever comes back keeps the partitions without waiting for the session to end.
const INSTANCE: &str = "bench";
/// Section of the report.
const RECOVERY: &str = "from the start of a killed process until all is served";
/// Section of the report.
const FAILOVER: &str = "what events wait at most when one of two processes goes";

impl Bench {
    /// kill -9 of a processor, with and without its disk.
    pub(super) fn recovery(&mut self) -> Result<()> {
        let alone = Settings { instance: Some(INSTANCE.to_owned()), ..Settings::new(Publish::Transactional) };
        let (topics, local) = self.filled(&alone)?;
        let checkpoints = Some((self.rig.directory(), self.counts.checkpoint_seconds));
        let kept = Settings { checkpoints, ..alone };
        // Without store and checkpoint everything is replayed.
        let mut keeper = self.rig.server(&topics, &kept)?;
        let value = self.probe("neither stores nor checkpoint: all is replayed", &topics, &keeper)?;
        let records = self.counts.contacts as f64;
        let seconds = value["all_ms"].as_f64().unwrap_or_default() / 1e3;
        let cpu = value["program_cpu_seconds"].as_f64().unwrap_or_default();
        self.report.ratio(RECOVERY, "replayed meanwhile", "events/s", records, seconds);
        self.report.ratio(RECOVERY, "replayed meanwhile", "events per CPU second", records, cpu);
        for run in 0..u64::from(self.counts.runs) {
            self.kill_under_load(&topics, &local, 2 * run)?;
            self.probe("its own stores", &topics, &local)?;
            self.kill_under_load(&topics, &keeper, 2 * run + 1)?;
            keeper = self.rig.server(&topics, &kept)?;
            self.probe("an empty directory and a checkpoint", &topics, &keeper)?;
        }
        Ok(())
    }

    /// One of two processors goes, at once or gracefully; the other one has never owned its partitions.
    pub(super) fn failover(&mut self) -> Result<()> {
        let checkpoints = Some((self.rig.directory(), self.counts.checkpoint_seconds));
        let cold = Settings { checkpoints, ..Settings::new(Publish::Transactional) };
        let (topics, first) = self.filled(&cold)?;
        // Long enough for a checkpoint of each partition.
        let running = self.rig.serve(&first)?;
        self.background(&topics, 1_000)?;
        running.stop()?;
        let warm = Settings { standby: true, ..cold.clone() };
        for (settings, how) in [(cold, "no standby"), (warm, "standby")] {
            let server = self.rig.server(&topics, &settings)?;
            let mut elder = self.rig.serve(&server)?;
            elder.await_owned(PARTITIONS)?;
            for _ in 0..self.counts.runs {
                for (signal, what) in [("KILL", "kill -9"), ("TERM", "graceful stop")] {
                    elder = self.outage(&topics, &settings, elder, (signal, &format!("{what}, {how}")))?;
                }
            }
            elder.stop()?;
        }
        Ok(())
    }

    /// Topics with one event for each contact, and a server that has applied them all and stopped.
    fn filled(&self, settings: &Settings) -> Result<(Topics, Server)> {
        let topics = self.rig.topics(PARTITIONS)?;
        let server = self.rig.server(&topics, settings)?;
        self.rig.activate(&topics, &server)?;
        let contacts = self.counts.contacts.to_string();
        self.load(&topics, &["--in-turn", "--contacts", &contacts])?;
        let running = self.rig.serve(&server)?;
        running.await_caught_up(PARTITIONS)?;
        running.stop()?;
        Ok((topics, server))
    }

    /// Runs it under load for longer than its stores wait to flush, then kills it.
    fn kill_under_load(&self, topics: &Topics, server: &Server, seed: u64) -> Result<()> {
        let running = self.rig.serve(server)?;
        self.background(topics, 10 + seed)?;
        running.await_caught_up(PARTITIONS)?;
        running.kill()
    }

    fn background(&self, topics: &Topics, seed: u64) -> Result<Value> {
        let [rate, count, contacts, seed] =
            [RATE, RATE * self.counts.load_seconds, self.counts.contacts, seed].map(|number| number.to_string());
        let mut options = words(&["--events", &topics.name("events"), "--rate", &rate, "--count", &count]);
        options.extend(words(&["--contacts", &contacts, "--seed", &seed]));
        self.rig.reference("load", &options, &[])
    }

    fn probe(&mut self, what: &str, topics: &Topics, server: &Server) -> Result<Value> {
        let mut options = words(&["--events", &topics.name("events"), "--output", &topics.name("tag-changes")]);
        options.extend(server.options());
        let value = self.rig.reference("probe", &options, server.command())?;
        shown(RECOVERY, what, &value);
        if let Some(ms) = value["all_ms"].as_f64() {
            self.report.add(RECOVERY, what, "ms", ms);
        }
        Ok(value)
    }

    /// Starts a second processor, ends the first, and returns the second.
    fn outage(
        &mut self,
        topics: &Topics,
        settings: &Settings,
        elder: Running,
        (signal, what): (&str, &str),
    ) -> Result<Running> {
        let server = self.rig.server(topics, settings)?;
        let heir = self.rig.serve(&server)?;
        heir.await_owned(PARTITIONS / 2)?;
        elder.await_owned(PARTITIONS / 2)?;
        heir.await_caught_up(if settings.standby { PARTITIONS } else { PARTITIONS / 2 })?;
        let mut options = words(&["--events", &topics.name("events"), "--output", &topics.name("tag-changes")]);
        options.extend(words(&["--pid", &elder.pid().to_string(), "--signal", signal]));
        let value = self.rig.reference("outage", &options, &[])?;
        drop(elder);
        shown(FAILOVER, what, &value);
        for (name, whose) in [("moved_ms_max", "its partitions"), ("others_ms_max", "the others")] {
            if let Some(ms) = value[name].as_f64() {
                self.report.add(FAILOVER, &format!("{what}: {whose}"), "ms", ms);
            }
        }
        for name in ["missing", "repeated"] {
            if let Some(count) = value[name].as_f64() {
                self.report.add(FAILOVER, &format!("{what}: outputs {name}"), "records", count);
            }
        }
        Ok(heir)
    }
}
