//! Up to where each partition is known to be readable.

use crate::context::Quiet;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use touchline_log::{Error, Topic};

/// How long a broker may take to answer a question.
pub(crate) const ASK_WAIT: Duration = Duration::from_secs(5);

/// One past the last record known to be readable, for every topic and partition: acknowledged to this process, read by
/// it, or seen below the last stable offset. Always the end of a record, never of a transaction's marker, so that a
/// reader below it has something to wait for.
pub(crate) struct Ends {
    ends: Vec<AtomicU64>,
    partitions: u32,
}

impl Ends {
    pub(crate) fn new(partitions: u32) -> Self {
        let ends = (0..Topic::ALL.len() * partitions as usize).map(|_| AtomicU64::new(0)).collect();
        Self { ends, partitions }
    }

    pub(crate) const fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The partition as librdkafka counts it.
    pub(crate) fn check(&self, partition: u32) -> Result<i32, Error> {
        match i32::try_from(partition) {
            Ok(checked) if partition < self.partitions => Ok(checked),
            _ => Err(Error::NoPartition { partition, partitions: self.partitions }),
        }
    }

    /// Where a topic's partition lies in arrays over all of them.
    pub(crate) const fn index(&self, topic: Topic, partition: u32) -> usize {
        topic as usize * self.partitions as usize + partition as usize
    }

    pub(crate) fn get(&self, index: usize) -> u64 {
        self.ends[index].load(Ordering::SeqCst)
    }

    pub(crate) fn raise(&self, index: usize, end: u64) {
        self.ends[index].fetch_max(end, Ordering::SeqCst);
    }
}

/// An offset of Kafka as the log counts it; those librdkafka uses as marks are 0.
pub(crate) fn offset(raw: i64) -> u64 {
    u64::try_from(raw).unwrap_or(0)
}

/// The reverse: no partition holds more than fit.
pub(crate) fn raw(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// The first offset of a partition, and one past the last one that this client may see.
///
/// librdkafka goes on asking a leader that is gone for as long as it remembers it: minutes (it forgets only what the
/// leader itself refuses). So after a failure the cluster is asked who leads; the next call asks the right one.
pub(crate) fn watermarks(client: &BaseConsumer<Quiet>, topic: &str, partition: i32) -> KafkaResult<(u64, u64)> {
    match client.fetch_watermarks(topic, partition, ASK_WAIT) {
        Ok((start, end)) => Ok((offset(start), offset(end))),
        Err(error) => {
            if let Err(unasked) = client.fetch_metadata(Some(topic), ASK_WAIT) {
                tracing::debug!(topic, partition, %unasked, "nobody says who leads the partition");
            }
            Err(error)
        }
    }
}
