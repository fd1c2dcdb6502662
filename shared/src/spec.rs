//! A task as the cluster runs it: checked, every default filled in.
//!
//! A document that people write becomes a [`TaskSpec`] in one place (`tidewire-cli`'s document
//! room); from there on no field is optional that must be present. The JSON form of these types is
//! kept in the coordinators' log, so fields are added with a default and never renamed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::TaskName;
use crate::secret::SecretRef;
use crate::unit::{ByteSize, Period};

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
    /// How long trouble is retried.
    pub retry: Retry,
    /// Bounds on single records.
    pub limits: Limits,
}

/// The PostgreSQL side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresSource {
    /// `host:port`, tried in order; the first that accepts writes is used.
    pub hosts: Vec<String>,
    /// The one database.
    pub database: String,
    /// Role with LOGIN and REPLICATION.
    pub user: String,
    /// Its password, if it has one.
    pub password: Option<SecretRef>,
    /// Encryption of the connection.
    pub tls: Tls,
    /// Slot that we manage, or one that exists.
    pub slot: Managed,
    /// Publication that we manage, or one that exists.
    pub publication: Managed,
    /// How an idle database is kept from holding WAL.
    pub heartbeat: Heartbeat,
}

/// An object of the source that is ours to make, or exists already under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Managed {
    /// Made, watched and dropped by us.
    Managed,
    /// Made by someone else; only used.
    Existing(String),
}

impl Managed {
    /// The name of the object, where a managed one is called `ours`.
    #[must_use]
    pub fn name(&self, ours: &str) -> String {
        match self {
            Self::Managed => ours.to_owned(),
            Self::Existing(name) => name.clone(),
        }
    }
}

/// Heartbeat of the source connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Heartbeat {
    /// Whether `pg_logical_emit_message` is called.
    pub enabled: bool,
    /// How often.
    pub interval: Period,
}

/// Encryption of a connection, with PostgreSQL's `sslmode` words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// How much is demanded of the server.
    pub mode: TlsMode,
    /// Certificates to trust, PEM; the system's roots when absent.
    pub ca: Option<SecretRef>,
    /// Client certificate, PEM.
    pub cert: Option<SecretRef>,
    /// Key of the client certificate, PEM.
    pub key: Option<SecretRef>,
}

/// `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never.
    Disable,
    /// When the server offers it, without checking who it is.
    Prefer,
    /// Always, without checking who it is.
    Require,
    /// Always, with a certificate from a trusted authority.
    VerifyCa,
    /// As `VerifyCa`, for the name that was asked for.
    VerifyFull,
}

/// The Kafka side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaTarget {
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// Compression of what we write.
    pub compression: Compression,
    /// librdkafka properties that users may set; checked against an allow-list.
    pub properties: BTreeMap<String, String>,
}

/// Compression of record batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4, the default.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// librdkafka's and Kafka's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Tables that go to one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectRule {
    /// Exact tables; not empty.
    pub tables: Vec<TableName>,
    /// The topic they go to.
    pub topic: String,
    /// Columns that decide the partition under [`PartitionPolicy::ByPrimaryKey`]; empty: the key.
    pub partition_by: Vec<String>,
}

/// A table by its schema and name, as PostgreSQL stores them (no quotes).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableName {
    /// Schema.
    pub schema: String,
    /// Table.
    pub table: String,
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// How records are written (docs/formats.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Format {
    /// The family.
    pub kind: FormatKind,
    /// Whether records carry a key.
    pub key: RecordKey,
    /// Whether headers with the identity of the change are added.
    pub identity_headers: bool,
    /// Unit of `sourceTimestamp` in `dts_avro`.
    pub source_timestamp_unit: TimestampUnit,
}

/// The families of formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatKind {
    /// DTS Avro.
    DtsAvro,
    /// SharePlex JSON as DTS writes it.
    ShareplexJson,
}

/// Whether records carry a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKey {
    /// JSON object of the key columns.
    Json,
    /// No key.
    None,
}

/// Unit of `sourceTimestamp` in `dts_avro`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimestampUnit {
    /// Milliseconds, the default.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
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

/// How long trouble is retried before the task fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// Failed connections.
    pub connection: Period,
    /// Other transient errors.
    pub other: Period,
}

/// Bounds on single records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Largest record (key and value) that is written.
    pub record_bytes: ByteSize,
}
