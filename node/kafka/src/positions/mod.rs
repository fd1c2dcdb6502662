//! The positions topic: the truth about how far each shard has come.
//!
//! A record is written in the same transaction as the output it speaks of. Reading goes up to the
//! *read_uncommitted* end of the partition: reading only what read_committed consumers see at the
//! moment would miss our own committed record while someone else's transaction is open below it.

mod read;
mod show;
mod topic;

pub use read::PositionRead;
pub use show::{ShownPosition, show};
pub use topic::partition_of;
pub(crate) use topic::probe;

use std::time::Duration;

use tidewire_node_core::facts::TopicFacts;
use tidewire_proto::position::v1::PositionHint;
use tidewire_shared::{Fault, FaultKind};

use crate::config::{Settings, TRANSACTION_TIMEOUT_MS};
use crate::producer::{Sent, TransactionalProducer};
use crate::topics::Topics;

/// The topic's name (CONTRACT §8).
pub const TOPIC: &str = "__tidewire_positions";

/// Partitions it is made with, unless configured.
pub const PARTITIONS: u32 = 64;

/// Longest wait of [`Positions::read`] that can help: a transaction of someone else ends within its
/// timeout, and the brokers look for overdue ones every 10 s.
pub const READ_TIMEOUT: Duration = Duration::from_millis(TRANSACTION_TIMEOUT_MS + 15_000);

/// The positions topic of one target cluster, verified.
#[derive(Clone, Debug)]
pub struct Positions {
    settings: Settings,
    facts: TopicFacts,
}

impl Positions {
    /// Makes the topic where it is absent, with `partitions` partitions, and verifies it.
    ///
    /// # Errors
    ///
    /// `TargetState` when it exists with a policy that loses records, with the command that repairs it;
    /// `TargetDenied`, `TargetUnreachable` or `TargetBusy` when it cannot be made or asked for.
    pub fn ensure(settings: &Settings, partitions: u32, timeout: Duration) -> Result<Self, Fault> {
        let facts = topic::ensure(settings, partitions, timeout)?;
        Ok(Self { settings: settings.clone(), facts })
    }

    /// The topic where it is there, verified; nothing is made.
    ///
    /// # Errors
    ///
    /// As [`Self::ensure`].
    pub fn existing(settings: &Settings, timeout: Duration) -> Result<Option<Self>, Fault> {
        let facts = topic::look(&Topics::new(settings)?, timeout)?;
        Ok(facts.map(|facts| Self { settings: settings.clone(), facts }))
    }

    /// The topic as it is.
    #[must_use]
    pub fn facts(&self) -> &TopicFacts {
        &self.facts
    }

    /// The partition of the shard with this ordinal.
    #[must_use]
    pub fn partition_of(&self, ordinal: u64) -> u32 {
        partition_of(ordinal, self.facts.partitions)
    }

    /// The newest committed record under `key`. Call it after InitProducerId, which ends what an
    /// earlier owner left open; then it waits only for other shards' transactions in the partition.
    ///
    /// # Errors
    ///
    /// `TargetHistory` when `hint` was given and no committed record with a serial at least as high lies
    /// between it and the end, when the topic is not the hint's, or when a record does not decode;
    /// `TargetBusy` when someone's transaction stayed open for `timeout`.
    pub fn read(
        &self,
        key: &str,
        partition: u32,
        hint: Option<&PositionHint>,
        timeout: Duration,
    ) -> Result<PositionRead, Fault> {
        read::read(&self.settings, &self.facts, key, partition, hint, timeout)
    }

    /// Deletes the records of a shard that is gone, and fences whoever may still write for it.
    ///
    /// # Errors
    ///
    /// What [`TransactionalProducer`] answers.
    pub fn erase(
        &self,
        transactional_id: &str,
        key: &str,
        partition: u32,
        timeout: Duration,
    ) -> Result<(), Fault> {
        let mut producer = TransactionalProducer::create(&self.settings, transactional_id)?;
        producer.init(timeout)?;
        let topic = producer.topic(TOPIC);
        producer.begin()?;
        if producer.send_tombstone(&topic, partition, Some(key.as_bytes()), &[])? == Sent::Full {
            return Err(Fault::new(
                FaultKind::Internal,
                format!("topic {TOPIC}"),
                "an empty queue is full",
            ));
        }
        producer.commit(timeout).outcome
    }
}
