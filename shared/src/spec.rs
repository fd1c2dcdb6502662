//! A task as the cluster runs it: checked, every default filled in.
//!
//! A document that people write becomes a [`TaskSpec`] in one place (`tidewire-cli`'s document
//! room); from there on no field is optional that must be present. The JSON form of these types is
//! kept in the coordinators' log, so fields are added with a default and never renamed.

mod format;
mod kafka_task;
mod objects;
mod postgres_task;
mod source;
mod target;

use serde::{Deserialize, Serialize};

use crate::alert::AlertRule;
use crate::id::{ConnectionName, TaskName};
use crate::unit::{ByteSize, Period};

pub use format::{
    BinaryMode, DebeziumOptions, DecimalMode, Format, FormatKind, HstoreMode, IntervalMode,
    RecordKey, TimeMode, TimestampUnit,
};
pub use kafka_task::{
    ExistingData, KafkaSource, KafkaStart, KafkaTask, Shards, StartOffset, SyncConfigs, TopicRule,
};
pub use objects::{
    ColumnChoice, NamePattern, ObjectRule, Operations, Rename, TableName, TablePattern,
};
pub use postgres_task::{BadRecord, KeyChange, PartitionPolicy, PostgresTask, StartAt};
pub use source::{
    AtLimit, Flavor, Heartbeat, HeartbeatMode, Managed, PostgresSource, SlotFailover, Tls, TlsMode,
    WalBudget, WalState,
};
pub use target::{
    Compression, CreateTopics, KafkaSecurity, KafkaTarget, Sasl, SaslMechanism, SecurityProtocol,
    TopicChange,
};

/// One task, of either kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskSpec {
    /// A PostgreSQL database into Kafka.
    PostgresToKafka(PostgresTask),
    /// Topics of one Kafka cluster into another.
    KafkaToKafka(KafkaTask),
}

impl TaskSpec {
    /// `postgres_to_kafka` or `kafka_to_kafka`, as documents write it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::PostgresToKafka(_) => "postgres_to_kafka",
            Self::KafkaToKafka(_) => "kafka_to_kafka",
        }
    }

    /// The name people use.
    #[must_use]
    pub fn name(&self) -> &TaskName {
        match self {
            Self::PostgresToKafka(task) => &task.name,
            Self::KafkaToKafka(task) => &task.name,
        }
    }

    /// Free text.
    #[must_use]
    pub fn display_name(&self) -> &str {
        match self {
            Self::PostgresToKafka(task) => &task.display_name,
            Self::KafkaToKafka(task) => &task.display_name,
        }
    }

    /// The registered connection of the source.
    #[must_use]
    pub fn source_connection(&self) -> Option<&ConnectionName> {
        match self {
            Self::PostgresToKafka(task) => task.source.connection.as_ref(),
            Self::KafkaToKafka(task) => task.source.connection.as_ref(),
        }
    }

    /// Where records go.
    #[must_use]
    pub fn target(&self) -> &KafkaTarget {
        match self {
            Self::PostgresToKafka(task) => &task.target,
            Self::KafkaToKafka(task) => &task.target,
        }
    }

    /// Where records go.
    pub fn target_mut(&mut self) -> &mut KafkaTarget {
        match self {
            Self::PostgresToKafka(task) => &mut task.target,
            Self::KafkaToKafka(task) => &mut task.target,
        }
    }

    /// What is promised to readers.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::PostgresToKafka(task) => task.delivery,
            Self::KafkaToKafka(task) => task.delivery,
        }
    }

    /// How long trouble is retried.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::PostgresToKafka(task) => task.retry,
            Self::KafkaToKafka(task) => task.retry,
        }
    }

    /// Bounds on records and rates.
    #[must_use]
    pub fn limits(&self) -> Limits {
        match self {
            Self::PostgresToKafka(task) => task.limits,
            Self::KafkaToKafka(task) => task.limits,
        }
    }

    /// When its user wants to hear of it.
    #[must_use]
    pub fn alerts(&self) -> &[AlertRule] {
        match self {
            Self::PostgresToKafka(task) => &task.alerts,
            Self::KafkaToKafka(task) => &task.alerts,
        }
    }

    /// When its user wants to hear of it.
    pub fn alerts_mut(&mut self) -> &mut Vec<AlertRule> {
        match self {
            Self::PostgresToKafka(task) => &mut task.alerts,
            Self::KafkaToKafka(task) => &mut task.alerts,
        }
    }

    /// Into how many shards it is divided; at least 1.
    #[must_use]
    pub fn shards(&self) -> u32 {
        match self {
            // One replication slot.
            Self::PostgresToKafka(_) => 1,
            Self::KafkaToKafka(task) => task.shards.count(),
        }
    }

    /// The task as one from PostgreSQL.
    #[must_use]
    pub fn as_postgres(&self) -> Option<&PostgresTask> {
        match self {
            Self::PostgresToKafka(task) => Some(task),
            Self::KafkaToKafka(_) => None,
        }
    }
}

impl From<PostgresTask> for TaskSpec {
    fn from(task: PostgresTask) -> Self {
        Self::PostgresToKafka(task)
    }
}

impl From<KafkaTask> for TaskSpec {
    fn from(task: KafkaTask) -> Self {
        Self::KafkaToKafka(task)
    }
}

/// What is promised to readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Every change once, to readers of committed records.
    #[default]
    ExactlyOnce,
    /// Every change, some of them twice.
    AtLeastOnce,
}

/// How long trouble is retried before the task fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// Failed connections.
    pub connection: Period,
    /// Other transient errors.
    pub other: Period,
}

impl Retry {
    /// Least and most of [`Retry::connection`].
    pub const CONNECTION_BOUNDS: (Period, Period) = (Period::from_mins(10), DAY);
    /// Least and most of [`Retry::other`].
    pub const OTHER_BOUNDS: (Period, Period) = (Period::from_mins(1), DAY);
}

const DAY: Period = Period::from_mins(1440);

impl Default for Retry {
    fn default() -> Self {
        Self { connection: Period::from_mins(720), other: Period::from_mins(10) }
    }
}

/// Bounds on what a task may do to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Largest record (key and value) that is written.
    pub record_bytes: ByteSize,
    /// Largest rate of record bytes (key and value) per second; 0: no limit.
    #[serde(default)]
    pub bytes_per_second: ByteSize,
    /// Largest rate of records per second; 0: no limit.
    #[serde(default)]
    pub rows_per_second: u64,
}

impl Limits {
    /// Largest [`Limits::record_bytes`].
    pub const LARGEST_RECORD: ByteSize = ByteSize(256 << 20);
}

impl Default for Limits {
    fn default() -> Self {
        Self { record_bytes: ByteSize(1 << 20), bytes_per_second: ByteSize(0), rows_per_second: 0 }
    }
}
