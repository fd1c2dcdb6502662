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
mod load;
mod loss;
mod slots;

pub use fetched::{Fetched, Item, Items, SourceRecord};

use std::ops::Range;
use std::time::{Duration, Instant};

use tidewire_shared::Fault;

use crate::config::Settings;
use lane::Lane;

/// How soon a partition is known to be busy.
const BUSY_PERIOD: Duration = Duration::from_secs(1);
/// Longest wait for one client while another one may have something.
const GLANCE: Duration = Duration::from_millis(10);

/// What is read ahead and handed out at once. The memory of a consumer is about `queue_bytes` and one
/// `fetch_bytes` per broker, decompressed, beside what its owner keeps of [`Fetched`].
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
    /// Busy partitions are read by a client of their own until they were not busy for so long; none:
    /// one client reads all. A request names all partitions of its client, and one that left without a
    /// busy partition, because the queue was full for a moment, comes back only when `fetch_wait` is over.
    pub busy_apart: Option<Duration>,
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
    ///
    /// librdkafka names every partition in every request, and a broker that has nothing to say answers
    /// for every one: with thousands of them requests are made seldom, and answers large.
    #[must_use]
    pub fn for_partitions(count: usize) -> Self {
        let few = Self::default();
        match count {
            0..=256 => few,
            _ => Self {
                partition_bytes: few.fetch_bytes,
                fetch_wait: Duration::from_secs(2),
                busy_apart: Some(Duration::from_secs(60)),
                ..few
            },
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
    settings: Settings,
    limits: SourceLimits,
    quiet: Lane,
    /// Reads the busy partitions, while there are any that are to be read apart.
    busy: Option<Lane>,
    /// Whether the busy partitions are asked first this time.
    busy_first: bool,
    /// Slots that were given.
    given: usize,
    /// Metadata requests of clients that are gone.
    requests_before: u64,
}

impl Consumer {
    /// Makes the client; connections are made in the background.
    ///
    /// # Errors
    ///
    /// `Configuration`, naming the property that librdkafka refuses.
    pub fn open(settings: &Settings, limits: SourceLimits) -> Result<Self, Fault> {
        Ok(Self {
            settings: settings.clone(),
            limits,
            quiet: Lane::open(settings, limits)?,
            busy: None,
            busy_first: false,
            given: 0,
            requests_before: 0,
        })
    }

    /// Begins to read partitions, beside those that are read already. They get slots in the order they
    /// are given in, which no later partition gets again.
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
        self.quiet.assign(partitions, &slots.clone().collect::<Vec<_>>(), timeout)?;
        self.given = slots.end;
        Ok(slots)
    }

    /// Ends the reading of partitions; nothing of them comes out of [`Self::next`] afterwards.
    pub fn remove(&mut self, slots: &[usize]) {
        self.lanes_mut().for_each(|lane| lane.remove(slots));
    }

    /// What comes next, waiting at most `timeout` for the first of it; `None` when nothing came.
    ///
    /// # Errors
    ///
    /// What ended the stream of a partition, and with it the consumer: `SourceHistory` for an offset
    /// that is gone or a log that took records back, `SourceState` for a topic that is gone,
    /// `SourceDenied` and `SourceLogin` for rights that are, `Decode` for a damaged batch. All that was
    /// read before it was handed out before it.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Fetched>, Fault> {
        if let Some(quiet_period) = self.limits.busy_apart {
            self.sort(quiet_period)?;
        }
        let Some(busy) = &mut self.busy else { return self.quiet.next(timeout) };
        self.busy_first = !self.busy_first;
        let (first, second) = match self.busy_first {
            true => (&mut *busy, &mut self.quiet),
            false => (&mut self.quiet, &mut *busy),
        };
        if let Some(fetched) = first.next(Duration::ZERO)? {
            return Ok(Some(fetched));
        }
        if let Some(fetched) = second.next(Duration::ZERO)? {
            return Ok(Some(fetched));
        }
        busy.next(timeout.min(GLANCE))
    }

    /// Since when, and why, nothing comes from the source. librdkafka goes on trying; how long that is
    /// waited for is its owner's to decide.
    #[must_use]
    pub fn unreachable(&self) -> Option<Unreachable> {
        self.lanes().find_map(Lane::unreachable)
    }

    /// Lowest offset and end (transactions that are open included) of a partition, as the last answer of
    /// its broker told them.
    #[must_use]
    pub fn ends(&self, slot: usize) -> Option<(i64, i64)> {
        self.lanes().find_map(|lane| lane.ends(slot))
    }

    /// How often the brokers were asked what topics are. librdkafka learns only from those answers that
    /// a topic was made again, and then reads the new one on from the old one's offset without a word
    /// (brokers from 3.1 refuse to serve one topic for another): if this number is what it was when the
    /// ids of the topics were last compared, all that was read since is of those ids.
    #[must_use]
    pub fn metadata_requests(&self) -> u64 {
        self.requests_before + self.lanes().map(Lane::metadata_requests).sum::<u64>()
    }

    /// Clients of librdkafka that read: one, or two while partitions are read apart.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.lanes().count()
    }

    /// Has every partition read where it belongs by what came of it.
    fn sort(&mut self, quiet_period: Duration) -> Result<(), Fault> {
        let risen = self.quiet.leaving(BUSY_PERIOD, load::is_busy);
        if !risen.is_empty() {
            let busy = match self.busy.take() {
                Some(busy) => busy,
                None => Lane::open(&self.settings, self.limits.of_busy())?,
            };
            self.quiet.hand_over(&risen, self.busy.insert(busy))?;
        }
        let Some(busy) = &mut self.busy else { return Ok(()) };
        let fallen = busy.leaving(quiet_period, |weight| !load::is_busy(weight));
        busy.hand_over(&fallen, &mut self.quiet)?;
        if let Some(done) = self.busy.take_if(|busy| busy.is_empty()) {
            self.requests_before += done.metadata_requests();
        }
        Ok(())
    }

    /// The busy partitions' client first: what both know it knows better.
    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.busy.iter().chain([&self.quiet])
    }

    fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.busy.iter_mut().chain([&mut self.quiet])
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
