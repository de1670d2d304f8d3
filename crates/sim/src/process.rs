//! One process: its stores, the partitions it thinks are its own, and what becomes of them, as `processor::runner` and
//! `processor::opening` do it on threads.

use crate::handle::{Handle, believing};
use crate::judge::SharedStore;
use std::sync::Arc;
use touchline_log::{Ack, Error as LogError, Log, ManualWall, Marker, TakenOver};
use touchline_processor::error::Error;
use touchline_processor::partition::{Partition, Rest};
use touchline_processor::{Options, Role};
use touchline_store::memory::MemoryStores;
use touchline_store::{Origin, Store, Stores};

/// A process, running or not.
pub(crate) struct Process {
    pub(crate) number: usize,
    pub(crate) life: Life,
    pub(crate) handle: Handle,
    pub(crate) stores: MemoryStores,
    pub(crate) slots: Vec<Slot>,
    /// Standbys become owners without asking the log: a defect.
    pub(crate) promotes_blindly: bool,
}

/// Whether a process does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    /// It stands still, and does not know it.
    Paused,
    Dead,
}

/// What a process does with a partition.
pub(crate) enum Slot {
    Absent,
    /// The log is asked; `known`: what a standby knew to be published.
    TakingOver {
        answer: Ack<TakenOver>,
        known: Option<Marker>,
    },
    Open(Box<Open>),
}

/// A partition that is stepped.
pub(crate) struct Open {
    pub(crate) partition: Partition,
    pub(crate) store: SharedStore,
    pub(crate) role: Role,
}

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    /// The process has to die here.
    Dead(&'static str),
}

/// What may not happen to a partition, as a sentence.
pub(crate) type Broken = String;

impl Process {
    pub(crate) fn new(number: usize, handle: Handle, stores: MemoryStores, promotes_blindly: bool) -> Self {
        let slots = (0..handle.partitions()).map(|_| Slot::Absent).collect();
        Self { number, life: Life::Running, handle, stores, slots, promotes_blindly }
    }

    /// Does with a partition what `role` says: one step of it.
    pub(crate) fn step(&mut self, id: u32, role: Role, wall: &ManualWall, options: &Options) -> Result<Ended, Broken> {
        self.change_role(id, role);
        let at = id as usize;
        match std::mem::replace(&mut self.slots[at], Slot::Absent) {
            Slot::Absent if role == Role::Owner => {
                self.slots[at] = Slot::TakingOver { answer: self.handle.take_over(id), known: None };
                Ok(Ended::Well)
            }
            Slot::Absent if role == Role::Standby => self.open(id, None, wall, options),
            Slot::Absent => Ok(Ended::Well),
            Slot::TakingOver { mut answer, known } => match answer.try_recv() {
                Ok(None) => {
                    self.slots[at] = Slot::TakingOver { answer, known };
                    Ok(Ended::Well)
                }
                Ok(Some(Ok(taken))) => {
                    let taken = match known {
                        Some(marker) => believing(taken, marker),
                        None => taken,
                    };
                    self.open(id, Some(taken), wall, options)
                }
                Ok(Some(Err(LogError::NotOwner { .. } | LogError::Unavailable(_) | LogError::Fenced { .. }))) => {
                    Ok(Ended::Well)
                }
                // The process gives up and is started again.
                Ok(Some(Err(_))) | Err(_) => Ok(Ended::Dead("log")),
            },
            Slot::Open(mut open) => match open.partition.step() {
                Ok(_) => {
                    self.slots[at] = Slot::Open(open);
                    Ok(Ended::Well)
                }
                Err(error) => {
                    drop(open);
                    self.failed(id, &error)
                }
            },
        }
    }

    /// Gives a partition up, or promotes a standby, where the role is another now.
    fn change_role(&mut self, id: u32, role: Role) {
        let slot = &mut self.slots[id as usize];
        let found = match slot {
            Slot::Absent => return,
            Slot::TakingOver { .. } => Role::Owner,
            Slot::Open(open) => open.role,
        };
        if found == role {
            return;
        }
        let Slot::Open(mut open) = std::mem::replace(slot, Slot::Absent) else { return };
        // A store that is closed in an orderly way keeps everything.
        if let Err(error) = open.store.flush() {
            unreachable!("memory does not fail: {error}");
        }
        if self.promotes_blindly && found == Role::Standby && role == Role::Owner {
            let known = self.handle.published(id).ok();
            *slot = Slot::TakingOver { answer: self.handle.take_over_unfenced(id), known };
        }
    }

    fn open(
        &mut self,
        id: u32,
        taken: Option<TakenOver>,
        wall: &ManualWall,
        options: &Options,
    ) -> Result<Ended, Broken> {
        let (store, origin, _) = match self.stores.open_memory(id) {
            Ok(opened) => opened,
            Err(touchline_store::Error::Damaged(_)) => return self.discard(id),
            Err(error) => return Err(error.to_string()),
        };
        let store = SharedStore::new(store);
        let (log, clock, options) = (Arc::new(self.handle.clone()), Arc::new(wall.clone()), options.clone());
        let role = if taken.is_some() { Role::Owner } else { Role::Standby };
        let boxed = Box::new(store.clone());
        let partition = match taken {
            Some(taken) => Partition::open(id, log, taken, boxed, clock, options),
            None => Partition::follow(id, log, boxed, clock, options),
        };
        match partition {
            Ok(partition) => {
                self.slots[id as usize] = Slot::Open(Box::new(Open { partition, store, role }));
                Ok(Ended::Well)
            }
            Err(error) if error.is_of_store() && origin == Origin::Empty => {
                Err(format!("process {} partition {id}: an empty store does not open: {error}", self.number))
            }
            Err(error) => self.failed(id, &error),
        }
    }

    fn failed(&mut self, id: u32, error: &Error) -> Result<Ended, Broken> {
        match error {
            Error::Crashed(point) => Ok(Ended::Dead(point.name())),
            Error::NotOwner { .. } | Error::Overtaken { .. } => Ok(Ended::Well),
            error if error.is_of_store() => self.discard(id),
            error if error.is_of_log() => Ok(Ended::Dead("log")),
            error => Err(format!("process {} partition {id} stopped: {error}", self.number)),
        }
    }

    fn discard(&self, id: u32) -> Result<Ended, Broken> {
        self.stores.discard(id).map_err(|error| error.to_string())?;
        Ok(Ended::Well)
    }

    /// The process dies without warning. Of each store, `batches` that were not flushed are kept.
    pub(crate) fn die(&mut self, batches: usize) {
        self.life = Life::Dead;
        self.handle.crash();
        for slot in &mut self.slots {
            if let Slot::Open(open) = std::mem::replace(slot, Slot::Absent) {
                open.store.persist(batches);
            }
        }
    }

    /// Keeps a checkpoint of a partition where every process finds it.
    pub(crate) fn checkpoint(&self, id: u32, of_all: &[MemoryStores]) {
        let Slot::Open(open) = &self.slots[id as usize] else { return };
        for stores in of_all {
            let kept = stores.checkpoint(id, &open.store, open.partition.meta().offset);
            kept.expect("memory takes checkpoints");
        }
    }

    /// Whether nothing is under way here.
    pub(crate) fn is_quiet(&self) -> bool {
        let quiet = |slot: &Slot| match slot {
            Slot::Absent => true,
            Slot::TakingOver { .. } => false,
            Slot::Open(open) => open.partition.rest().is_ok_and(|rest| rest == Rest::Quiet),
        };
        self.handle.is_quiet() && self.slots.iter().all(quiet)
    }

    /// Whether it owns a partition, ready to be stepped.
    pub(crate) fn owns(&self, id: u32) -> bool {
        matches!(&self.slots[id as usize], Slot::Open(open) if open.role == Role::Owner)
    }
}
