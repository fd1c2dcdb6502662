//! A client of librdkafka with the partitions that it reads, in one queue.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::{Fault, FaultKind, PartitionPosition};

use super::fetched::{Fetched, Stretch};
use super::leaders::{Leaders, left};
use super::load::Load;
use super::slots::{Slots, Wanted};
use super::{SourceLimits, SourcePartition, Unreachable, loss, object};
use crate::config::{Settings, Side};
use crate::fault::KafkaError;
use crate::ffi::{Client, Inbox, Kind, Message, Partitions};

/// How long a broker may owe an answer, beyond what a fetch waits for records, before it counts as silent.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest wait for a client to reach the leaders of partitions that it is to go on with, and then for
/// its own threads to begin.
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
        self.name(partitions)?;
        self.leaders().learn(partitions, deadline)?;
        self.begin(partitions, numbers, deadline)
    }

    /// Connects to the leaders of partitions that it is about to be given; what it reads goes on.
    pub(super) fn prepare(
        &mut self,
        partitions: Vec<SourcePartition>,
    ) -> Result<JoinHandle<Result<(), Fault>>, Fault> {
        self.name(&partitions)?;
        let leaders = self.leaders();
        thread::Builder::new()
            .name("prepare".to_owned())
            .spawn(move || leaders.reach(&partitions, Instant::now() + HAND_OVER))
            .map_err(|error| Fault::new(FaultKind::Internal, "reader", format!("thread: {error}")))
    }

    /// Gives partitions to another client, which knows their leaders, and goes on behind what was handed
    /// out of them. It begins before they go from here: where it cannot, they stay.
    pub(super) fn hand_over(&mut self, slots: &[usize], to: &mut Self) -> Result<(), Fault> {
        let rest = slots.iter().filter_map(|slot| Some((*slot, self.rest_of(*slot)?)));
        let (numbers, partitions): (Vec<usize>, Vec<SourcePartition>) = rest.unzip();
        to.begin(&partitions, &numbers, Instant::now() + HAND_OVER)?;
        for (slot, rest) in numbers.iter().zip(&partitions) {
            let at = PartitionPosition { next: rest.offset, leader_epoch: rest.leader_epoch };
            to.load.add(&Stretch { slot: *slot, weight: 0, at });
        }
        self.remove(&numbers);
        Ok(())
    }

    /// Ends the reading of these partitions, whatever slots they have.
    pub(super) fn give_up(&mut self, partitions: &[SourcePartition]) {
        let slots: Vec<usize> = partitions.iter().filter_map(|it| self.slots.slot_of(it)).collect();
        self.remove(&slots);
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
        self.away(self.inbox.client().unreachable(self.patience()))
    }

    /// Since when a broker that was asked has not answered.
    pub(super) fn silent(&self) -> Option<Unreachable> {
        self.away(self.inbox.client().silent(self.patience()))
    }

    fn patience(&self) -> Duration {
        PATIENCE + self.limits.fetch_wait
    }

    fn away(&self, told: Option<(Instant, KafkaError)>) -> Option<Unreachable> {
        let (since, error) = told?;
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

    /// The slots of which at least so much came in a period, looked at once in each.
    pub(super) fn busy(&mut self, period: Duration, bytes: u64) -> Vec<usize> {
        self.load.busy(Instant::now(), period, bytes)
    }

    /// The slots of which less came in the whole of a period, looked at once in each.
    pub(super) fn quiet(&mut self, period: Duration, bytes: u64) -> Vec<usize> {
        self.load.quiet(Instant::now(), period, bytes)
    }

    /// Whether nothing came to it that it has not handed over.
    pub(super) fn is_empty(&self) -> bool {
        self.load.is_empty()
    }

    /// A partition from the place on that was reached in it.
    pub(super) fn rest_of(&self, slot: usize) -> Option<SourcePartition> {
        let (topic, partition) = self.slots.name(slot)?;
        let PartitionPosition { next: offset, leader_epoch } = self.load.at(slot)?;
        let partition = u32::try_from(partition).ok()?;
        Some(SourcePartition { topic: topic.to_owned(), partition, offset, leader_epoch })
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

    /// Has the handle know the topics of partitions.
    fn name(&mut self, partitions: &[SourcePartition]) -> Result<Vec<Wanted>, Fault> {
        let client = self.inbox.client();
        partitions.iter().map(|partition| self.slots.wanted(client, partition)).collect()
    }

    /// Begins to read partitions whose leaders are known: all, or none of them.
    fn begin(
        &mut self,
        partitions: &[SourcePartition],
        numbers: &[usize],
        deadline: Instant,
    ) -> Result<(), Fault> {
        let wanted = self.name(partitions)?;
        self.give_up(partitions);
        let started = self.start(partitions, &wanted);
        let begun = started.and_then(|()| self.validate(partitions, &wanted, left(deadline)));
        match begun {
            Ok(()) => self.slots.add(&wanted, numbers),
            Err(_) => wanted.iter().for_each(|it| {
                self.inbox.stop(self.slots.topic(it.topic), it.partition);
            }),
        }
        begun
    }

    fn start(&self, partitions: &[SourcePartition], wanted: &[Wanted]) -> Result<(), Fault> {
        for (partition, wanted) in partitions.iter().zip(wanted) {
            self.inbox
                .start(self.slots.topic(wanted.topic), wanted.partition, partition.offset)
                .map_err(|error| error.fault_at(Side::Source, object(partition)))?;
        }
        Ok(())
    }

    /// Has the positions checked that can be.
    fn validate(
        &self,
        partitions: &[SourcePartition],
        wanted: &[Wanted],
        timeout: Duration,
    ) -> Result<(), Fault> {
        let mut epochs = Partitions::with_capacity(0);
        let mut any = false;
        for (partition, wanted) in partitions.iter().zip(wanted) {
            // An offset of 0 has no record before it that could have been taken back.
            if partition.leader_epoch.is_some() && partition.offset > 0 {
                any = true;
                let SourcePartition { topic, offset, leader_epoch, .. } = partition;
                epochs
                    .push(topic, wanted.partition, *offset, *leader_epoch)
                    .map_err(|error| error.fault_at(Side::Source, object(partition)))?;
            }
        }
        if !any {
            return Ok(());
        }
        let asked = self.inbox.client().validate(&epochs, timeout);
        asked.map_err(|error| self.leaders().unanswered(&error))
    }

    fn leaders(&self) -> Leaders {
        Leaders { client: Arc::clone(self.inbox.client()), cluster: self.cluster() }
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
