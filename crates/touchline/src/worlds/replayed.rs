//! A log in memory under the owners of its partitions: records are encoded, decoded and published as everywhere.

use super::Heard;
use touchline_model::command::Command;
use touchline_model::event::Event;
use touchline_model::id::CellKey;
use touchline_model::output::{Contact, Numbered};
use touchline_model::time::Time;
use touchline_playbook::metrics::{Metric, Row, table};
use touchline_processor::Error;
use touchline_processor::cluster::Cluster;
use touchline_scenario::{Broken, Refusal, World, answer, follow};

/// A cluster on one thread.
pub(crate) struct Replayed {
    cluster: Cluster,
    heard: Heard,
}

impl Replayed {
    /// Nothing has happened yet; the clock stands at `start`.
    pub(crate) fn new(partitions: u32, start: Time) -> anyhow::Result<Self> {
        Ok(Self { cluster: Cluster::new(partitions, start)?, heard: Heard::default() })
    }

    /// Everything said, as `touchline replay` shows it, and every contact as it is now.
    pub(crate) fn end(&self) -> anyhow::Result<(Vec<Numbered>, Vec<Contact>)> {
        Ok((self.cluster.outputs()?, self.cluster.contacts()?))
    }

    fn rest(&mut self) -> Result<(), Error> {
        self.cluster.settle()?;
        let now = self.cluster.now();
        self.cluster.pass_due(now)
    }
}

fn broken(error: Error) -> Broken {
    error.to_string()
}

impl World for Replayed {
    fn advance(&mut self, to: Time) -> Result<(), Broken> {
        self.cluster.advance(to).map_err(broken)
    }

    fn settle(&mut self) -> Result<(), Broken> {
        self.rest().map_err(broken)
    }

    fn event(&mut self, event: Event) -> Result<(), Broken> {
        self.cluster.append_event(event).map_err(broken)?;
        self.cluster.settle().map_err(broken)
    }

    fn command(&mut self, command: Command) -> Result<Result<(), Refusal>, Broken> {
        let request_id = command.request_id.clone();
        self.cluster.append_command(command).map_err(broken)?;
        self.cluster.settle().map_err(broken)?;
        answer(self.said()?, &request_id).ok_or_else(|| "a command was not answered".to_owned())
    }

    /// The world has one tenant.
    fn active(&mut self, _tenant: &str) -> Result<u64, Broken> {
        Ok(self.cluster.partitions().first().map_or(0, |partition| partition.meta().bundle))
    }

    fn contact(&mut self, cells: Vec<CellKey>) -> Result<(Option<Contact>, Vec<CellKey>), Broken> {
        let contacts = self.cluster.contacts().map_err(broken)?;
        follow(cells, |cell| Ok(contacts.iter().find(|contact| contact.key == *cell).cloned()))
    }

    fn numbers(&mut self, tenant: &str, metric: &Metric) -> Result<Vec<Row>, Broken> {
        let counted = self.cluster.counted().map_err(broken)?;
        Ok(table(metric, counted.iter().filter(|counted| counted.key.tenant() == tenant)))
    }

    fn said(&mut self) -> Result<&[Numbered], Broken> {
        self.heard.add(self.cluster.outputs().map_err(broken)?);
        Ok(&self.heard.said)
    }
}
