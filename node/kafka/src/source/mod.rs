//! The Kafka source: many partitions from given offsets on, committed records only, in one stream.
//!
//! No consumer group takes part: who reads what is decided by the cluster's own assignments, positions
//! live with the output. So an account needs Read and Describe on the topics, and nothing else.
//!
//! What librdkafka mends by itself (a broken connection, a leader that moved) is not seen here but in
//! [`Consumer::unreachable`]; what it cannot mend is a fault and ends the consumer, which is made again
//! from the positions that are durable by then.

mod fetched;
mod lane;
mod lanes;
mod leaders;
mod load;
mod loss;
mod slots;

pub use fetched::{Fetched, Item, Items, SourceRecord};

use std::ops::Range;
use std::time::{Duration, Instant};

use tidewire_shared::Fault;

use crate::config::Settings;
use lanes::Lanes;

/// What is read ahead and handed out at once. The memory of one client is about `queue_bytes` and one
/// `fetch_bytes` per broker, decompressed, beside what its owner keeps of [`Fetched`]. A consumer has one
/// client, and with `busy_apart` at times a second one: twice the memory, the connections, the logins and
/// librdkafka's threads (one per broker and a few).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLimits {
    /// Bytes that are read ahead.
    pub queue_bytes: u64,
    /// Records that are read ahead: librdkafka keeps some 300 bytes beside each.
    pub queue_records: u32,
    /// Bytes of one answer of a broker, as compressed as they are stored.
    pub fetch_bytes: u64,
    /// Bytes of one partition in one answer.
    pub partition_bytes: u64,
    /// Most records of one [`Fetched`].
    pub batch_records: usize,
    /// Bytes of key and value that one [`Fetched`] aims at.
    pub batch_bytes: usize,
    /// How long a broker that has nothing new waits before it says so: the delay of
    /// [`Item::Reached`] behind the last record, and the pulse of an idle consumer.
    pub fetch_wait: Duration,
    /// Busy partitions are read by a client of their own; none: one client reads all. A request names all
    /// partitions of its client, and one that left without a busy partition, because the queue was full
    /// for a moment, comes back only when `fetch_wait` is over.
    pub busy_apart: Option<Apart>,
}

/// Which partitions are read by a client of their own. Where that client cannot be had, one reads all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apart {
    /// Those of which so much came within a second: keys, values, and what librdkafka keeps of each record.
    pub busy_bytes: u64,
    /// Until not as much came within this time; a client that could not be had is tried again after it.
    pub quiet: Duration,
}

impl Default for Apart {
    /// A quarter of what is read ahead.
    fn default() -> Self {
        Self { busy_bytes: 4 << 20, quiet: Duration::from_secs(60) }
    }
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            queue_bytes: 16 << 20,
            queue_records: 50_000,
            fetch_bytes: 4 << 20,
            partition_bytes: 1 << 20,
            batch_records: 2_000,
            batch_bytes: 1 << 20,
            fetch_wait: Duration::from_millis(500),
            busy_apart: None,
        }
    }
}

impl SourceLimits {
    /// What suits a consumer of so many partitions.
    #[must_use]
    pub fn for_partitions(count: usize) -> Self {
        match count {
            0..=256 => Self::default(),
            _ => Self::for_many(),
        }
    }

    /// What suits a consumer of many partitions.
    ///
    /// librdkafka names every partition in every request, and a broker that has nothing to say answers
    /// for every one: with thousands of them requests are made seldom, and answers large.
    #[must_use]
    pub fn for_many() -> Self {
        let few = Self::default();
        Self {
            partition_bytes: few.fetch_bytes,
            fetch_wait: Duration::from_secs(2),
            busy_apart: Some(Apart::default()),
            ..few
        }
    }

    /// What suits the busy ones among many partitions.
    fn of_busy(self) -> Self {
        let Self { partition_bytes, fetch_wait, busy_apart, .. } = Self::default();
        Self { partition_bytes, fetch_wait, busy_apart, ..self }
    }
}

/// A partition, and where to begin in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePartition {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: u32,
    /// Offset of the first record that is wanted.
    pub offset: i64,
    /// Leader epoch of the record before it. With it the log is checked for records that it took back
    /// since (brokers from 2.1); without it only an offset past its end is noticed.
    pub leader_epoch: Option<i32>,
}

/// Why nothing comes from the source at present.
#[derive(Clone, Debug)]
pub struct Unreachable {
    /// Since then nothing was heard of it.
    pub since: Instant,
    /// What is the matter.
    pub fault: Fault,
}

/// Reads partitions of one cluster. Its calls block and are made from one thread at a time.
#[derive(Debug)]
pub struct Consumer {
    lanes: Lanes,
    /// Slots that were given.
    given: usize,
    ended: Option<Fault>,
}

impl Consumer {
    /// Makes the client; connections are made in the background.
    ///
    /// # Errors
    ///
    /// `Configuration`, naming the property that librdkafka refuses.
    pub fn open(settings: &Settings, limits: SourceLimits) -> Result<Self, Fault> {
        Ok(Self { lanes: Lanes::open(settings, limits)?, given: 0, ended: None })
    }

    /// Begins to read partitions, beside those that are read already. They get slots in the order they
    /// are given in, which no later partition gets again; one that is read already has only its new slot
    /// then.
    ///
    /// # Errors
    ///
    /// `SourceState` for a topic or partition that is not there, `SourceDenied` for one that we may not
    /// read, `SourceUnreachable` or `SourceLogin` when no broker answers in time.
    pub fn assign(
        &mut self,
        partitions: &[SourcePartition],
        timeout: Duration,
    ) -> Result<Range<usize>, Fault> {
        let slots = self.given..self.given + partitions.len();
        self.lanes.assign(partitions, &slots.clone().collect::<Vec<_>>(), timeout)?;
        self.given = slots.end;
        Ok(slots)
    }

    /// Ends the reading of partitions; nothing of them comes out of [`Self::next`] afterwards.
    pub fn remove(&mut self, slots: &[usize]) {
        self.lanes.remove(slots);
    }

    /// What comes next, waiting at most `timeout` for the first of it; `None` when nothing came.
    ///
    /// # Errors
    ///
    /// What ended the stream of a partition, and with it the consumer: `SourceHistory` for an offset
    /// that is gone or a log that took records back, `SourceState` for a topic that is gone,
    /// `SourceDenied` and `SourceLogin` for rights that are, `Decode` for a damaged batch. All that was
    /// read of the partition before it was handed out before it, and nothing is handed out after it.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Fetched>, Fault> {
        if let Some(fault) = &self.ended {
            return Err(fault.clone());
        }
        let next = self.lanes.next(timeout);
        self.ended = next.as_ref().err().cloned();
        next
    }

    /// Since when, and why, nothing comes from the source. librdkafka goes on trying; how long that is
    /// waited for is its owner's to decide.
    #[must_use]
    pub fn unreachable(&self) -> Option<Unreachable> {
        self.lanes.unreachable()
    }

    /// Since when a broker that was asked has not answered, whatever comes from the others. While records
    /// wait here nobody may be asked, so that a connection that was lost tells nothing.
    #[must_use]
    pub fn silent(&self) -> Option<Unreachable> {
        self.lanes.silent()
    }

    /// Lowest offset and end (transactions that are open included) of a partition, as the last answer of
    /// its broker told them.
    #[must_use]
    pub fn ends(&self, slot: usize) -> Option<(i64, i64)> {
        self.lanes.ends(slot)
    }

    /// How often the brokers were asked what topics are. librdkafka learns only from those answers that
    /// a topic was made again, and then reads the new one on from the old one's offset without a word
    /// (brokers from 3.1 refuse to serve one topic for another): if this number is what it was when the
    /// ids of the topics were last compared, all that was read since is of those ids.
    #[must_use]
    pub fn metadata_requests(&self) -> u64 {
        self.lanes.metadata_requests()
    }

    /// Clients of librdkafka that read: one, or two while partitions are read apart.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.lanes.count()
    }
}

fn object(partition: &SourcePartition) -> String {
    format!("topic {}, partition {}", partition.topic, partition.partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_may_go_to_another_thread() {
        fn goes<T: Send>() {}
        goes::<Consumer>();
        goes::<Fetched>();
    }
}
