//! A PostgreSQL database into Kafka.

use serde::{Deserialize, Serialize};

use super::{Delivery, Format, KafkaTarget, Limits, ObjectRule, PostgresSource, Retry};
use crate::alert::AlertRule;
use crate::id::TaskName;
use crate::lsn::Lsn;

/// One task: a PostgreSQL database into Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresTask {
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
