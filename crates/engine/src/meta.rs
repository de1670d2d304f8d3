//! What a partition remembers beside its cells.

use crate::activation::Settling;
use crate::overlay::{View, ViewError};
use crate::{STATE_SCHEMA, keys};
use serde::{Deserialize, Serialize};
use touchline_model::output::Progress;
use touchline_model::time::Time;

/// Counters and clock of a partition: stored in the same batch as the cells they belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The partition.
    pub partition: u32,
    /// Next offset of `events` to apply.
    pub offset: u64,
    /// Clock of the partition; `None` before its first record.
    pub clock: Option<Time>,
    /// Last number given in each stream.
    pub sequences: [u64; 4],
    /// Last loopback number sent, per destination partition.
    pub loop_sent: Vec<u64>,
    /// Last loopback number accepted, per source partition.
    pub loop_received: Vec<u64>,
    /// Number of the last bundle in force here.
    pub bundle: u64,
    /// Tenants whose contacts are coming under a new bundle, in the order of activation.
    pub settling: Vec<Settling>,
    /// Timers below this key are fired or stale: every seek starts here (inclusive).
    pub timers_from: Vec<u8>,
    /// xxh3_128 over the writes of every record so far: equal states have equal chains.
    pub chain: u128,
}

impl Meta {
    /// The state of a partition that has seen nothing.
    pub fn new(partition: u32, partitions: u32) -> Self {
        let per_partition = vec![0; partitions as usize];
        Self {
            partition,
            offset: 0,
            clock: None,
            sequences: [0; 4],
            loop_sent: per_partition.clone(),
            loop_received: per_partition,
            bundle: 0,
            settling: Vec::new(),
            timers_from: keys::TIMERS.to_vec(),
            chain: 0,
        }
    }

    /// Reads the stored state; `None` in an empty store. Another schema or shape is an error.
    pub fn load(view: &dyn View, partition: u32, partitions: u32) -> Result<Option<Self>, ViewError> {
        let Some(bytes) = view.get(keys::META)? else { return Ok(None) };
        let meta: Self = crate::cell::decode(&bytes)?;
        if meta.partition != partition || meta.loop_sent.len() != partitions as usize {
            return Err(ViewError(format!(
                "store belongs to partition {} of {}, not {partition} of {partitions}",
                meta.partition,
                meta.loop_sent.len()
            )));
        }
        Ok(Some(meta))
    }

    /// The bytes stored under [`keys::META`] with every batch.
    pub fn encode(&self) -> Vec<u8> {
        crate::cell::encode(self)
    }

    /// What the publisher tells the world.
    pub fn progress(&self) -> Progress {
        Progress {
            partition: self.partition,
            offset: self.offset,
            clock: self.clock.unwrap_or_default(),
            sequences: self.sequences,
            loop_sent: self.loop_sent.clone(),
            loop_received: self.loop_received.clone(),
            bundle: self.bundle,
            next_due: None,
        }
    }
}

const _: () = assert!(STATE_SCHEMA > 0, "0 marks nothing");
