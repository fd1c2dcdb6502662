//! What a running shard tells about itself, once per heartbeat.

use serde::{Deserialize, Serialize};

use crate::epoch::Epoch;
use crate::fault::Fault;
use crate::id::ShardId;
use crate::lsn::Lsn;

/// The newest word of the owner of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardReport {
    /// Which shard.
    pub shard: ShardId,
    /// The epoch under which it runs here.
    pub epoch: Epoch,
    /// Where its pipeline is.
    pub phase: ShardPhase,
    /// Why it is retrying or failed.
    pub fault: Option<Fault>,
    /// Set while retrying.
    pub retry: Option<RetryWindow>,
    /// Newest position the source is known to have.
    pub source_lsn: Lsn,
    /// Everything before it is durable at the target.
    pub durable_lsn: Lsn,
    /// Everything before it was confirmed to the source.
    pub confirmed_lsn: Lsn,
    /// Where the newest durable position record stands; absent before the first one.
    pub position: Option<PositionHint>,
    /// Of an at_least_once task its newest durable position record, protobuf, which only the
    /// coordinators keep; empty for exactly_once.
    pub record: Vec<u8>,
    /// Everything the source had durable at the last look is durable at the target.
    pub caught_up: bool,
    /// Now minus commit time of the last durable record, milliseconds; 0 when caught up.
    pub delay_ms: u64,
    /// What was carried since the shard was assigned to this node.
    pub counters: Counters,
    /// Records per second, lately.
    pub records_per_second: f64,
    /// Log that the slot holds back on the source, bytes.
    pub wal_retained_bytes: u64,
    /// How long another node would need to be where this one is, milliseconds.
    pub predicted_failover_ms: u64,
    /// Pipelines built since the shard was assigned to this node, less one.
    pub restarts: u32,
    /// Of a shard that copies topics, how far each of its partitions is; else empty.
    pub partitions: Vec<PartitionProgress>,
}

/// How far the copy of one partition is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionProgress {
    /// Topic of the source.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Offset behind the newest committed record that the source is known to have.
    pub source: i64,
    /// Everything below it is durable at the target.
    pub durable: i64,
}

/// Where the pipeline of a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ShardPhase {
    /// On the way to its first record.
    Initializing,
    /// Changes flow.
    Synchronizing,
    /// A transient error is being retried.
    Retrying,
    /// Stopped by an error that needs a person.
    Failed,
}

/// How long a transient error is still retried; milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryWindow {
    /// When the trouble began.
    pub since_ms: i64,
    /// When the task fails, unless the trouble ends before.
    pub until_ms: i64,
    /// When the next attempt is made.
    pub next_attempt_ms: i64,
}

impl RetryWindow {
    /// The same window on a clock that is `ms` ahead.
    #[must_use]
    pub fn later(self, ms: i64) -> Self {
        let Self { since_ms, until_ms, next_attempt_ms } = self;
        Self {
            since_ms: since_ms.saturating_add(ms),
            until_ms: until_ms.saturating_add(ms),
            next_attempt_ms: next_attempt_ms.saturating_add(ms),
        }
    }
}

/// Where a position record of a shard was seen in the positions topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionHint {
    /// Kafka's id of the positions topic as two halves; (0, 0) where brokers have none.
    pub topic_id: (i64, i64),
    /// Partition of the positions topic.
    pub partition: u32,
    /// Offset of the record.
    pub offset: i64,
    /// Serial of the record, from 1.
    pub serial: u64,
}

/// What was carried; each number only grows while an owner keeps its shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Records written to the target.
    pub records: u64,
    /// Their keys and values, bytes before compression.
    pub bytes: u64,
    /// Rows inserted.
    pub insert: u64,
    /// Rows updated.
    pub update: u64,
    /// Rows deleted.
    pub delete: u64,
    /// Tables truncated.
    pub truncate: u64,
    /// Source transactions.
    pub transactions: u64,
    /// Changes that the task leaves out.
    pub filtered: u64,
    /// Changes that went to the dead-letter topic.
    #[serde(default)]
    pub dead_letters: u64,
    /// Records with the timestamp 0, which the Kafka client writes as the present time.
    #[serde(default)]
    pub restamped: u64,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, more: Self) {
        let Self {
            records,
            bytes,
            insert,
            update,
            delete,
            truncate,
            transactions,
            filtered,
            dead_letters,
            restamped,
        } = more;
        self.records += records;
        self.bytes += bytes;
        self.insert += insert;
        self.update += update;
        self.delete += delete;
        self.truncate += truncate;
        self.transactions += transactions;
        self.filtered += filtered;
        self.dead_letters += dead_letters;
        self.restamped += restamped;
    }
}
