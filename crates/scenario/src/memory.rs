//! Engines over maps in memory, with what they tell each other delivered at once, and a clock that stops at every due
//! moment: no log, no store, no processor.

use crate::world::{Broken, Refusal, World, answer, follow};
use std::collections::{BTreeMap, VecDeque};
use touchline_engine::{Effects, Engine, Map, Public};
use touchline_model::command::Command;
use touchline_model::counted::Counted;
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKind};
use touchline_model::output::{Contact, Numbered};
use touchline_model::record::{Input, Record};
use touchline_model::time::Time;
use touchline_playbook::metrics::{Metric, Row, table};

/// Where the scenario does not say: several, so that people who are linked live apart at first.
pub(crate) const PARTITIONS: u32 = 4;
/// Each is a whole engine, and nothing shows with many that does not with a few.
pub(crate) const PARTITIONS_MAX: u32 = 16;
/// Ticks per stretch of time: a timer that never goes away must not hang the run.
const TICKS_MAX: usize = 100_000;

/// Everything there is.
pub(crate) struct Memory {
    parts: Vec<Part>,
    /// Everything said so far.
    pub(crate) outputs: Vec<Numbered>,
    /// What each partition has counted, as it says it now.
    counted: BTreeMap<CellKey, Counted>,
    /// The only clock.
    now: Time,
}

/// One partition: an engine, its state and the next offset of its log.
struct Part {
    engine: Engine,
    map: Map,
    offset: u64,
}

impl Memory {
    pub(crate) fn new(start: Time, partitions: u32) -> Result<Self, Broken> {
        let mut parts = Vec::new();
        for partition in 0..partitions {
            let map = Map::default();
            let engine = Engine::open(&map, partition, partitions).map_err(|error| error.to_string())?;
            parts.push(Part { engine, map, offset: 0 });
        }
        Ok(Self { parts, outputs: Vec::new(), counted: BTreeMap::new(), now: start })
    }

    fn fire_until(&mut self, to: Time) -> Result<(), Broken> {
        for _ in 0..TICKS_MAX {
            let Some(due) = self.next_due()?.filter(|due| *due <= to) else { return Ok(()) };
            self.now = due.max(self.now);
            self.tick()?;
        }
        Err(format!("time does not get past {}: more than {TICKS_MAX} ticks", self.now))
    }

    fn next_due(&self) -> Result<Option<Time>, Broken> {
        let mut next: Option<Time> = None;
        for part in &self.parts {
            let due = part.engine.next_due(&part.map).map_err(|error| error.to_string())?;
            next = [next, due].into_iter().flatten().min();
        }
        Ok(next)
    }

    fn tick(&mut self) -> Result<(), Broken> {
        for partition in 0..self.partitions() {
            self.append(partition, None, Input::Tick { wall: self.now })?;
        }
        Ok(())
    }

    fn partitions(&self) -> u32 {
        u32::try_from(self.parts.len()).unwrap_or(PARTITIONS)
    }

    /// Appends and delivers what follows from it, everywhere, until nobody has anything to tell.
    fn append(&mut self, partition: u32, key: Option<String>, input: Input) -> Result<(), Broken> {
        let mut queue = VecDeque::from([(partition, key, input)]);
        while let Some((partition, key, input)) = queue.pop_front() {
            let part = &mut self.parts[partition as usize];
            let record = Record { offset: part.offset, append_time: self.now, key, input: Ok(input) };
            let effects = part.apply(&record)?;
            self.outputs.extend(effects.outputs);
            for cell in effects.dirty.iter().filter(|cell| cell.kind() == IdKind::Metric) {
                let public = part.engine.public_record(&part.map, cell).map_err(|error| error.to_string())?;
                if let Some(Public::Counted(counted)) = public {
                    self.counted.insert(cell.clone(), counted);
                }
            }
            for (destination, looped) in effects.loops {
                let key = looped.body.target().map(ToString::to_string);
                queue.push_back((destination, key, Input::Loop(Box::new(looped))));
            }
        }
        Ok(())
    }
}

impl World for Memory {
    /// Ticks every partition at each due moment on the way.
    fn advance(&mut self, to: Time) -> Result<(), Broken> {
        self.fire_until(to)?;
        self.now = to.max(self.now);
        self.tick()
    }

    /// As the owner of a partition does without being asked.
    fn settle(&mut self) -> Result<(), Broken> {
        self.fire_until(self.now)
    }

    fn event(&mut self, event: Event) -> Result<(), Broken> {
        let key = event.key();
        self.append(key.partition(self.partitions()), Some(key.to_string()), Input::Event(Box::new(event)))
    }

    fn command(&mut self, command: Command) -> Result<Result<(), Refusal>, Broken> {
        let key = command.body.contact().cloned();
        let partition = key.as_ref().map_or(0, |key| key.partition(self.partitions()));
        let request_id = command.request_id.clone();
        self.append(partition, key.map(|key| key.to_string()), Input::Command(Box::new(command)))?;
        answer(&self.outputs, &request_id).ok_or_else(|| "a command was not answered".to_owned())
    }

    fn active(&mut self, tenant: &str) -> Result<u64, Broken> {
        Ok(self.parts[0].engine.bundle(tenant).map_or(0, |bundle| bundle.number))
    }

    fn contact(&mut self, cells: Vec<CellKey>) -> Result<(Option<Contact>, Vec<CellKey>), Broken> {
        follow(cells, |cell| {
            let part = &self.parts[cell.partition(self.partitions()) as usize];
            part.engine.public_contact(&part.map, cell).map_err(|error| error.to_string())
        })
    }

    fn numbers(&mut self, tenant: &str, metric: &Metric) -> Result<Vec<Row>, Broken> {
        let of_tenant = self.counted.iter().filter(|(cell, _)| cell.tenant() == tenant);
        Ok(table(metric, of_tenant.map(|(_, counted)| counted)))
    }

    fn said(&mut self) -> Result<&[Numbered], Broken> {
        Ok(&self.outputs)
    }
}

impl Part {
    fn apply(&mut self, record: &Record) -> Result<Effects, Broken> {
        let effects = self.map.apply(&mut self.engine, record).map_err(|error| error.to_string())?;
        self.offset += 1;
        Ok(effects)
    }
}
