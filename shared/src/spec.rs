//! A task as the cluster runs it: checked, every default filled in.
//!
//! A document that people write becomes a [`TaskSpec`] in one place (`tidewire-cli`'s document
//! room); from there on no field is optional that must be present. The JSON form of these types is
//! kept in the coordinators' log, so fields are added with a default and never renamed.

mod format;
mod objects;
mod source;
mod target;

use serde::{Deserialize, Serialize};

use crate::alert::AlertRule;
use crate::id::TaskName;
use crate::lsn::Lsn;
use crate::unit::{ByteSize, Period};

pub use format::{
    BinaryMode, DebeziumOptions, DecimalMode, Format, FormatKind, HstoreMode, IntervalMode,
    RecordKey, TimeMode, TimestampUnit,
};
pub use objects::{
    ColumnChoice, NamePattern, ObjectRule, Operations, Rename, TableName, TablePattern,
};
pub use source::{
    AtLimit, Flavor, Heartbeat, HeartbeatMode, Managed, PostgresSource, SlotFailover, Tls, TlsMode,
    WalBudget, WalState,
};
pub use target::{
    Compression, CreateTopics, KafkaSecurity, KafkaTarget, Sasl, SaslMechanism, SecurityProtocol,
};

/// One task: a PostgreSQL database into Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskSpec {
    /// The name people use.
    pub name: TaskName,
    /// Free text.
    #[serde(default)]
    pub display_name: String,
    /// Where changes come from.
    pub source: PostgresSource,
    /// Where records go.
    pub target: KafkaTarget,
    /// Which tables go to which topic; not empty.
    pub objects: Vec<ObjectRule>,
    /// How records are written.
    pub format: Format,
    /// Which partition a record goes to.
    pub partition: PartitionPolicy,
    /// What an update of the partitioning columns becomes.
    pub key_change: KeyChange,
    /// What is promised to readers.
    #[serde(default)]
    pub delivery: Delivery,
    /// Where the task begins.
    #[serde(default)]
    pub start: StartAt,
    /// What becomes of a record that cannot be written.
    #[serde(default)]
    pub on_bad_record: BadRecord,
    /// How long trouble is retried.
    pub retry: Retry,
    /// Bounds on single records.
    pub limits: Limits,
    /// When its user wants to hear of it.
    #[serde(default)]
    pub alerts: Vec<AlertRule>,
}

/// Which partition a record goes to (CONTRACT §6, docs/formats.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionPolicy {
    /// Everything to partition 0.
    AllToPartition0,
    /// One partition per table.
    ByTable,
    /// By the values of the key.
    ByPrimaryKey,
    /// As Kafka's own clients do with the record key.
    ByRecordKey,
}

/// What an update of the partitioning columns becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyChange {
    /// A DELETE of the old key, then an INSERT of the new row.
    Split,
    /// One UPDATE, to the new partition.
    Keep,
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

/// Where a task begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// Where a managed slot is made, or an existing one stands.
    #[default]
    Now,
    /// At a position that an existing slot still has.
    Lsn(Lsn),
}

/// What becomes of a record that cannot be written: too large, or beyond what its format can say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRecord {
    /// The task stops and names it.
    #[default]
    Stop,
    /// It goes to this topic, in the same transaction, and is counted.
    DeadLetter(String),
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
