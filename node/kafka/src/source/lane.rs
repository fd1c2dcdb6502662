//! A client of librdkafka with the partitions that it reads, in one queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::Fault;

use super::fetched::{Fetched, Stretch};
use super::load::Load;
use super::slots::{self, Slots, Wanted};
use super::{SourceLimits, SourcePartition, Unreachable, loss, object};
use crate::config::{Settings, Side};
use crate::fault::{KafkaError, is_unknown, not_known_yet};
use crate::ffi::{Asked, Client, Inbox, Kind, Message, Partitions};

/// How long a broker may owe an answer, beyond what a fetch waits for records, before it counts as silent.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a topic that was just listed may be unknown to the broker that is asked for its leaders.
const SPREADING: Duration = Duration::from_secs(5);

/// Between two questions for the leaders of topics that no broker leads yet.
const LEADER_PAUSE: Duration = Duration::from_millis(100);

/// Longest wait for another client to go on with a partition.
const HAND_OVER: Duration = Duration::from_secs(10);

/// Least records of a batch, however large they are.
const LEAST_RECORDS: usize = 16;

/// One client of librdkafka with the partitions that it reads.
#[derive(Debug)]
pub(super) struct Lane {
    // Topics and queue go before the handle they belong to, which the messages that are still out hold.
    slots: Slots,
    inbox: Inbox,
    settings: Settings,
    limits: SourceLimits,
    /// What ended the stream, behind the records that came before it.
    ended: Option<Fault>,
    /// Records of the next batch, by the size of those of the last.
    records: usize,
    load: Load,
}

impl Lane {
    /// Makes the client; connections are made in the background.
    pub(super) fn open(settings: &Settings, limits: SourceLimits) -> Result<Self, Fault> {
        let client = Client::new(Kind::Consumer, &settings.source_reader(&limits))
            .map_err(|error| error.fault_at(Side::Source, "source.properties"))?;
        Ok(Self {
            slots: Slots::default(),
            inbox: Inbox::new(&Arc::new(client)),
            settings: settings.clone(),
            limits,
            ended: None,
            records: limits.batch_records.max(1),
            load: Load::default(),
        })
    }

    /// Begins to read partitions, beside those that it reads already, as those slots.
    pub(super) fn assign(
        &mut self,
        partitions: &[SourcePartition],
        numbers: &[usize],
        timeout: Duration,
    ) -> Result<(), Fault> {
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
        self.slots.add(&wanted, numbers);
        Ok(())
    }

    /// Ends the reading of partitions; nothing of them comes out of [`Self::next`] afterwards.
    pub(super) fn remove(&mut self, slots: &[usize]) {
        for slot in slots {
            self.load.forget(*slot);
            if let Some((topic, partition)) = self.slots.remove(*slot) {
                self.inbox.stop(topic, partition);
            }
        }
    }

    /// What comes next, waiting at most `timeout` for the first of it; `None` when nothing came.
    pub(super) fn next(&mut self, timeout: Duration) -> Result<Option<Fetched>, Fault> {
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

    /// Since when, and why, nothing comes from the source.
    pub(super) fn unreachable(&self) -> Option<Unreachable> {
        let patience = PATIENCE + self.limits.fetch_wait;
        let (since, error) = self.inbox.client().unreachable(patience)?;
        Some(Unreachable { since, fault: error.fault_at(Side::Source, self.cluster()) })
    }

    /// Lowest offset and end (transactions that are open included) of a partition, as the last answer of
    /// its broker told them.
    pub(super) fn ends(&self, slot: usize) -> Option<(i64, i64)> {
        let (topic, partition) = self.slots.name(slot)?;
        self.inbox.client().known_ends(topic, partition)
    }

    /// How often the brokers were asked what topics are.
    pub(super) fn metadata_requests(&self) -> u64 {
        self.inbox.client().metadata_requests()
    }

    /// Gives partitions to another client, which goes on behind what was handed out of them.
    pub(super) fn hand_over(&mut self, left: &[Stretch], to: &mut Self) -> Result<(), Fault> {
        let (numbers, partitions): (Vec<usize>, Vec<SourcePartition>) =
            left.iter().filter_map(|stretch| self.rest_of(stretch)).unzip();
        self.remove(&numbers);
        if !numbers.is_empty() {
            to.assign(&partitions, &numbers, HAND_OVER)?;
        }
        left.iter().for_each(|stretch| to.load.add(&Stretch { weight: 0, ..*stretch }));
        Ok(())
    }

    /// The slots that leave by their weight, looked at once in a period.
    pub(super) fn leaving(&mut self, period: Duration, leaves: fn(u64) -> bool) -> Vec<Stretch> {
        self.load.leaving(Instant::now(), period, leaves)
    }

    /// Whether nothing came to it that it has not handed over.
    pub(super) fn is_empty(&self) -> bool {
        self.load.is_empty()
    }

    /// The partition of a stretch, from its end on.
    fn rest_of(&self, stretch: &Stretch) -> Option<(usize, SourcePartition)> {
        let (topic, partition) = self.slots.name(stretch.slot)?;
        let rest = SourcePartition {
            topic: topic.to_owned(),
            partition: u32::try_from(partition).ok()?,
            offset: stretch.next,
            leader_epoch: stretch.leader_epoch,
        };
        Some((stretch.slot, rest))
    }

    fn batch(&mut self, messages: Vec<Message>) -> Fetched {
        let fetched = Fetched::new(messages, Arc::clone(self.inbox.client()));
        for stretch in fetched.stretches() {
            self.load.add(&stretch);
        }
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

impl Drop for Lane {
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

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
