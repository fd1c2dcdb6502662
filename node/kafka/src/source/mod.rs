//! The Kafka source: many partitions from given offsets on, committed records only, in one stream.
//!
//! No consumer group takes part: who reads what is decided by the cluster's own assignments, positions
//! live with the output. So an account needs Read and Describe on the topics, and nothing else.
//!
//! What librdkafka mends by itself (a broken connection, a leader that moved) is not seen here but in
//! [`Consumer::unreachable`]; what it cannot mend is a fault and ends the consumer, which is made again
//! from the positions that are durable by then.

mod fetched;
mod loss;
mod slots;

pub use fetched::{Fetched, Item, Items, SourceRecord};

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::Fault;

use crate::config::{Settings, Side};
use crate::fault::{KafkaError, is_unknown, not_known_yet};
use crate::ffi::{Asked, Client, Inbox, Kind, Message, Partitions};
use slots::{Slots, Wanted};

/// How long a broker may owe an answer, beyond what a fetch waits for records, before it counts as silent.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a topic that was just listed may be unknown to the broker that is asked for its leaders.
const SPREADING: Duration = Duration::from_secs(5);

/// Between two questions for the leaders of topics that no broker leads yet.
const LEADER_PAUSE: Duration = Duration::from_millis(100);

/// Least records of a batch, however large they are.
const LEAST_RECORDS: usize = 16;

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
            _ => {
                Self { partition_bytes: few.fetch_bytes, fetch_wait: Duration::from_secs(2), ..few }
            }
        }
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
    // Topics and queue go before the handle they belong to, which the messages that are still out hold.
    slots: Slots,
    inbox: Inbox,
    settings: Settings,
    limits: SourceLimits,
    /// What ended the stream, behind the records that came before it.
    ended: Option<Fault>,
    /// Records of the next batch, by the size of those of the last.
    records: usize,
}

impl Consumer {
    /// Makes the client; connections are made in the background.
    ///
    /// # Errors
    ///
    /// `Configuration`, naming the property that librdkafka refuses.
    pub fn open(settings: &Settings, limits: SourceLimits) -> Result<Self, Fault> {
        let client = Client::new(Kind::Consumer, &settings.source_reader(&limits))
            .map_err(|error| error.fault_at(Side::Source, "source.properties"))?;
        Ok(Self {
            slots: Slots::default(),
            inbox: Inbox::new(&Arc::new(client)),
            settings: settings.clone(),
            limits,
            ended: None,
            records: limits.batch_records.max(1),
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
        let deadline = Instant::now() + timeout;
        let wanted = partitions
            .iter()
            .map(|partition| self.slots.wanted(self.inbox.client(), partition))
            .collect::<Result<Vec<_>, _>>()?;
        self.learn_leaders(partitions, deadline)?;
        let mut epochs = Partitions::with_capacity(0);
        let mut any = false;
        for (partition, wanted) in partitions.iter().zip(&wanted) {
            self.start(partition, wanted)?;
            // An offset of 0 has no record before it that could have been taken back.
            if partition.leader_epoch.is_some() && partition.offset > 0 {
                any = true;
                epochs
                    .push(
                        &partition.topic,
                        wanted.partition,
                        partition.offset,
                        partition.leader_epoch,
                    )
                    .map_err(|error| error.fault_at(Side::Source, object(partition)))?;
            }
        }
        if any {
            self.inbox
                .client()
                .validate(&epochs, left(deadline))
                .map_err(|error| self.unanswered(&error))?;
        }
        Ok(self.slots.add(&wanted))
    }

    /// Ends the reading of partitions; nothing of them comes out of [`Self::next`] afterwards.
    pub fn remove(&mut self, slots: &[usize]) {
        for slot in slots {
            if let Some((topic, partition)) = self.slots.remove(*slot) {
                self.inbox.stop(topic, partition);
            }
        }
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
        if let Some(fault) = &self.ended {
            return Err(fault.clone());
        }
        let client = Arc::clone(self.inbox.client());
        client.poll(Duration::ZERO);
        let mut messages = Vec::new();
        let mut failed = None;
        let slots = &self.slots;
        self.inbox.take(self.records, timeout, |mut message| {
            if failed.is_some() {
                return;
            }
            // A message of a partition that was removed meanwhile has no slot.
            if let Some(slot) = slots.of(&message) {
                message.slot = slot;
                match message.news() {
                    None | Some(Code::PartitionEOF) => messages.push(message),
                    Some(code) => failed = Some((message, code)),
                }
            } else if let Some(code) = message.news().filter(|code| *code != Code::PartitionEOF) {
                tracing::debug!(?code, "news of no partition that is read");
            }
        });
        let absent = client.take_absent().filter(|(topic, _)| self.slots.reads(topic));
        if let Some((message, code)) = failed {
            self.ended = Some(self.judge(&message, code));
        } else if let Some((topic, error)) = absent {
            self.ended = Some(loss::absent(&client, &topic, &error));
        } else if messages.is_empty()
            && let Err(refused) = client.refused()
        {
            self.ended = Some(refused.fault_at(Side::Source, self.cluster()));
        }
        match (&self.ended, messages.is_empty()) {
            (Some(fault), true) => Err(fault.clone()),
            (None, true) => Ok(None),
            (_, false) => Ok(Some(self.batch(messages))),
        }
    }

    /// Since when, and why, nothing comes from the source. librdkafka goes on trying; how long that is
    /// waited for is its owner's to decide.
    #[must_use]
    pub fn unreachable(&self) -> Option<Unreachable> {
        let patience = PATIENCE + self.limits.fetch_wait;
        let (since, error) = self.inbox.client().unreachable(patience)?;
        Some(Unreachable { since, fault: error.fault_at(Side::Source, self.cluster()) })
    }

    /// Lowest offset and end (transactions that are open included) of a partition, as the last answer of
    /// its broker told them.
    #[must_use]
    pub fn ends(&self, slot: usize) -> Option<(i64, i64)> {
        let (topic, partition) = self.slots.name(slot)?;
        self.inbox.client().known_ends(topic, partition)
    }

    /// How often the brokers were asked what topics are. librdkafka learns only from those answers that
    /// a topic was made again, and then reads the new one on from the old one's offset without a word
    /// (brokers from 3.1 refuse to serve one topic for another): if this number is what it was when the
    /// ids of the topics were last compared, all that was read since is of those ids.
    #[must_use]
    pub fn metadata_requests(&self) -> u64 {
        self.inbox.client().metadata_requests()
    }

    fn batch(&mut self, messages: Vec<Message>) -> Fetched {
        let fetched = Fetched::new(messages, Arc::clone(self.inbox.client()));
        let size = fetched.bytes().div_ceil(fetched.len().max(1)).max(1);
        let most = self.limits.batch_records.max(LEAST_RECORDS);
        self.records = (self.limits.batch_bytes / size).clamp(LEAST_RECORDS, most);
        fetched
    }

    fn start(&self, partition: &SourcePartition, wanted: &Wanted) -> Result<(), Fault> {
        let topic = self.slots.topic(wanted.topic);
        self.inbox
            .start(topic, wanted.partition, partition.offset)
            .map_err(|error| error.fault_at(Side::Source, object(partition)))
    }

    /// Has the handle learn who leads the partitions, so that positions can be checked before anything
    /// is read, and says of those that are not there.
    fn learn_leaders(
        &self,
        partitions: &[SourcePartition],
        deadline: Instant,
    ) -> Result<(), Fault> {
        let patience = deadline.min(Instant::now() + SPREADING);
        loop {
            let client = self.inbox.client();
            let told = client.told_topics(Asked::Known, left(deadline));
            client.poll(Duration::ZERO);
            let told = told.map_err(|error| self.unanswered(&error))?;
            let Some((partition, code)) = slots::missing(partitions, &told) else { return Ok(()) };
            if !may_appear(code) || Instant::now() >= patience {
                let object = object(partition);
                let error = KafkaError { code, text: code.to_string() };
                return Err(match is_unknown(code) {
                    true => not_known_yet(Side::Source, object),
                    false => error.fault_at(Side::Source, object),
                });
            }
            std::thread::sleep(LEADER_PAUSE);
        }
    }

    /// The fault of a question that got no answer, explained by what the connection reported.
    fn unanswered(&self, error: &KafkaError) -> Fault {
        let client = self.inbox.client();
        client.poll(Duration::ZERO);
        let late = matches!(
            error.code,
            Code::OperationTimedOut | Code::RequestTimedOut | Code::BrokerTransportFailure
        );
        match client.trouble() {
            Some(trouble) if late => trouble.fault_at(Side::Source, self.cluster()),
            _ if late => {
                let code = Code::BrokerTransportFailure;
                KafkaError { code, text: error.text.clone() }.fault_at(Side::Source, self.cluster())
            }
            _ => error.fault_at(Side::Source, self.cluster()),
        }
    }

    fn judge(&self, message: &Message, code: Code) -> Fault {
        let error = message.error(code);
        match self.slots.name(message.slot as usize) {
            Some((topic, partition)) => {
                loss::judge(self.inbox.client(), topic, partition, message.offset(), &error)
            }
            None => error.fault_at(Side::Source, self.cluster()),
        }
    }

    fn cluster(&self) -> String {
        format!("brokers {}", self.settings.brokers())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        for (topic, partition) in self.slots.drain() {
            self.inbox.stop(&topic, partition);
        }
    }
}

/// Whether what is missing may be there a moment later.
fn may_appear(code: Code) -> bool {
    is_unknown(code) || code == Code::LeaderNotAvailable
}

fn object(partition: &SourcePartition) -> String {
    format!("topic {}, partition {}", partition.topic, partition.partition)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
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
