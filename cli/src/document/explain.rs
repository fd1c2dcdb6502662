//! A task written back as a document, with every default filled in.

mod kafka_task;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use tidewire_shared::spec::{
    BadRecord, ColumnChoice, CreateTopics, DebeziumOptions, Format, FormatKind, KafkaSecurity,
    KafkaTarget, KeyChange, Managed, ObjectRule, Operations, PostgresSource, PostgresTask,
    RecordKey, Rename, StartAt, TableName, TimestampUnit, Tls,
};
use tidewire_shared::{ConnectionName, SecretRef, TaskSpec, spec};

use super::alerts::Alert;
use super::postgres_task::{DELIVERIES, POLICIES};
use super::table_name::{pattern, quoted};
use super::{format, secret, source, target};
use kafka_task::KafkaDocument;

/// A document that says everything and reads back as the same task.
///
/// A secret that stands in the document stays in it: the reader has the document.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Explained<'a> {
    /// A `postgres_to_kafka` document.
    Postgres(Box<PostgresDocument<'a>>),
    /// A `kafka_to_kafka` document.
    Kafka(Box<KafkaDocument<'a>>),
}

impl<'a> Explained<'a> {
    /// Everything that `spec` says.
    #[must_use]
    pub fn new(spec: &'a TaskSpec) -> Self {
        match spec {
            TaskSpec::PostgresToKafka(task) => {
                Self::Postgres(Box::new(PostgresDocument::new(task)))
            }
            TaskSpec::KafkaToKafka(task) => Self::Kafka(Box::new(KafkaDocument::new(task))),
        }
    }

    /// The document as YAML.
    ///
    /// # Errors
    /// When the YAML writer refuses, which no task should make it do.
    pub fn yaml(&self) -> anyhow::Result<String> {
        Ok(serde_saphyr::to_string(self)?)
    }
}

/// A `postgres_to_kafka` document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PostgresDocument<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
    display_name: &'a str,
    source: Source<'a>,
    target: Target<'a>,
    objects: Vec<Object<'a>>,
    format: FormatOptions<'a>,
    partition: &'static str,
    key_change: &'static str,
    delivery: &'static str,
    start: Start,
    on_bad_record: OnBadRecord<'a>,
    retry: Retry,
    limits: Limits,
    alerts: Vec<Alert<'a>>,
}

impl<'a> PostgresDocument<'a> {
    fn new(spec: &'a PostgresTask) -> Self {
        Self {
            api_version: "tidewire/v1",
            kind: "postgres_to_kafka",
            name: spec.name.as_str(),
            display_name: &spec.display_name,
            source: Source::new(&spec.source),
            target: Target {
                create_topics: Some(Creation::new(spec.target.create_topics)),
                on_topic_change: Some(word(&target::TOPIC_CHANGES, spec.target.on_topic_change)),
                ..Target::new(&spec.target)
            },
            objects: spec.objects.iter().map(Object::new).collect(),
            format: FormatOptions::new(&spec.format),
            partition: word(&POLICIES, spec.partition),
            key_change: match spec.key_change {
                KeyChange::Split => "split",
                KeyChange::Keep => "keep",
            },
            delivery: word(&DELIVERIES, spec.delivery),
            start: match spec.start {
                StartAt::Now => Start::Now("now"),
                StartAt::Lsn(lsn) => Start::At { lsn: lsn.to_string() },
            },
            on_bad_record: match &spec.on_bad_record {
                BadRecord::Stop => OnBadRecord::Stop("stop"),
                BadRecord::DeadLetter(topic) => {
                    OnBadRecord::DeadLetter { dead_letter_topic: topic }
                }
            },
            retry: Retry::new(spec.retry),
            limits: Limits::new(spec.limits),
            alerts: spec.alerts.iter().map(Alert::new).collect(),
        }
    }
}

/// The word of a table of words that stands for `value`.
pub(super) fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Start {
    Now(&'static str),
    At { lsn: String },
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum OnBadRecord<'a> {
    Stop(&'static str),
    #[serde(rename_all = "camelCase")]
    DeadLetter {
        dead_letter_topic: &'a str,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    hosts: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    database: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsOptions<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flavor: Option<&'static str>,
    slot: Slot<'a>,
    publication: Ownership<'a>,
    heartbeat: Heartbeat,
    wal_budget: WalBudget,
}

impl<'a> Source<'a> {
    fn new(source: &'a PostgresSource) -> Self {
        let inline = source.connection.is_none();
        Self {
            connection: source.connection.as_ref().map(ConnectionName::as_str),
            hosts: &source.hosts,
            database: &source.database,
            user: &source.user,
            password: source.password.as_ref().map(Place),
            tls: inline.then(|| TlsOptions::new(&source.tls)),
            flavor: inline.then(|| word(&source::FLAVORS, source.flavor)),
            slot: Slot {
                ownership: Ownership::new(&source.slot),
                failover: word(&source::FAILOVERS, source.slot_failover),
            },
            publication: Ownership::new(&source.publication),
            heartbeat: Heartbeat {
                mode: word(&source::HEARTBEATS, source.heartbeat.mode),
                interval: source.heartbeat.interval.to_string(),
                table: source.heartbeat.table.as_ref().map(table),
            },
            wal_budget: WalBudget {
                warn: source.wal_budget.warn.to_string(),
                limit: source.wal_budget.limit.to_string(),
                at_limit: word(&source::AT_LIMITS, source.wal_budget.at_limit),
            },
        }
    }
}

/// Where a secret is: one key, one value.
#[derive(Debug)]
pub(super) struct Place<'a>(pub(super) &'a SecretRef);

impl Serialize for Place<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, value) = match self.0 {
            SecretRef::Env(name) => ("env", name),
            SecretRef::File(path) => ("file", path),
            SecretRef::Value(value) => ("value", value),
        };
        BTreeMap::from([(key, value)]).serialize(serializer)
    }
}

#[derive(Debug, Serialize)]
pub(super) struct TlsOptions<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Place<'a>>,
}

impl<'a> TlsOptions<'a> {
    pub(super) fn new(tls: &'a Tls) -> Self {
        Self {
            mode: secret::mode_word(tls.mode),
            ca: tls.ca.as_ref().map(Place),
            cert: tls.cert.as_ref().map(Place),
            key: tls.key.as_ref().map(Place),
        }
    }
}

/// A slot or publication: managed, or existing under a name.
#[derive(Debug, Serialize)]
struct Ownership<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl<'a> Ownership<'a> {
    fn new(object: &'a Managed) -> Self {
        match object {
            Managed::Managed => Self { mode: "managed", name: None },
            Managed::Existing(name) => Self { mode: "existing", name: Some(name) },
        }
    }
}

#[derive(Debug, Serialize)]
struct Slot<'a> {
    #[serde(flatten)]
    ownership: Ownership<'a>,
    failover: &'static str,
}

#[derive(Debug, Serialize)]
struct Heartbeat {
    mode: &'static str,
    interval: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WalBudget {
    warn: String,
    limit: String,
    at_limit: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Target<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    brokers: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<Security<'a>>,
    compression: &'static str,
    properties: &'a BTreeMap<String, String>,
    /// An option of tasks from PostgreSQL alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    create_topics: Option<Creation>,
    /// As above.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_topic_change: Option<&'static str>,
}

impl<'a> Target<'a> {
    fn new(target: &'a KafkaTarget) -> Self {
        Self {
            connection: target.connection.as_ref().map(ConnectionName::as_str),
            brokers: &target.brokers,
            security: target.connection.is_none().then(|| Security::new(&target.security)),
            compression: target.compression.as_str(),
            properties: &target.properties,
            create_topics: None,
            on_topic_change: None,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Security<'a> {
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mechanism: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Place<'a>>,
}

impl<'a> Security<'a> {
    pub(super) fn new(security: &'a KafkaSecurity) -> Self {
        let sasl = security.sasl.as_ref();
        Self {
            protocol: word(&target::PROTOCOLS, security.protocol),
            mechanism: sasl.map(|sasl| word(&target::MECHANISMS, sasl.mechanism)),
            user: sasl.map(|sasl| sasl.user.as_str()),
            password: sasl.map(|sasl| Place(&sasl.password)),
            ca: security.ca.as_ref().map(Place),
            cert: security.cert.as_ref().map(Place),
            key: security.key.as_ref().map(Place),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Creation {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replication_factor: Option<u16>,
}

impl Creation {
    fn new(topics: Option<CreateTopics>) -> Self {
        Self {
            enabled: topics.is_some(),
            partitions: topics.map(|topics| topics.partitions),
            replication_factor: topics.map(|topics| topics.replication_factor),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    tables: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exclude: Vec<String>,
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rename: Option<Names<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<Columns>,
    #[serde(skip_serializing_if = "str::is_empty")]
    r#where: &'a str,
    operations: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partition_by: Vec<String>,
}

impl<'a> Object<'a> {
    fn new(rule: &'a ObjectRule) -> Self {
        let by_pattern = |of: &tidewire_shared::spec::TablePattern| {
            format!("{}.{}", pattern(&of.schema), pattern(&of.table))
        };
        Self {
            tables: rule
                .tables
                .iter()
                .map(table)
                .chain(rule.patterns.iter().map(by_pattern))
                .collect(),
            exclude: rule.exclude.iter().map(by_pattern).collect(),
            topic: &rule.topic,
            rename: (rule.rename != Rename::default()).then(|| Names::new(&rule.rename)),
            columns: (rule.columns != ColumnChoice::default()).then(|| Columns::new(&rule.columns)),
            r#where: &rule.filter,
            operations: operations(rule.operations),
            partition_by: rule.partition_by.iter().map(|column| quoted(column)).collect(),
        }
    }
}

/// The columns that are taken, or those that are left out, as a document writes their names.
#[derive(Debug, Serialize)]
struct Columns {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exclude: Vec<String>,
}

impl Columns {
    fn new(choice: &ColumnChoice) -> Self {
        let written = |names: &[String]| names.iter().map(|name| quoted(name)).collect();
        Self { include: written(&choice.include), exclude: written(&choice.exclude) }
    }
}

fn table(name: &TableName) -> String {
    format!("{}.{}", quoted(&name.schema), quoted(&name.table))
}

fn operations(operations: Operations) -> Vec<&'static str> {
    let all = [
        (operations.insert, "insert"),
        (operations.update, "update"),
        (operations.delete, "delete"),
        (operations.truncate, "truncate"),
    ];
    all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, word)| word).collect()
}

#[derive(Debug, Serialize)]
struct Names<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    columns: &'a BTreeMap<String, String>,
}

impl<'a> Names<'a> {
    fn new(rename: &'a Rename) -> Self {
        Self {
            database: rename.database.as_deref(),
            schema: rename.schema.as_deref(),
            table: rename.table.as_deref(),
            columns: &rename.columns,
        }
    }
}

#[derive(Debug, Serialize)]
struct FormatOptions<'a> {
    r#type: &'static str,
    key: &'static str,
    headers: &'static str,
    /// An option of `dts_avro` alone.
    #[serde(rename = "sourceTimestampUnit", skip_serializing_if = "Option::is_none")]
    source_timestamp_unit: Option<&'static str>,
    /// Options of `debezium_json` alone.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    debezium: Option<Debezium<'a>>,
}

impl<'a> FormatOptions<'a> {
    fn new(format: &'a Format) -> Self {
        let unit = match format.source_timestamp_unit {
            TimestampUnit::Milliseconds => "ms",
            TimestampUnit::Seconds => "s",
        };
        Self {
            r#type: word(&format::KINDS, format.kind),
            key: match format.key {
                RecordKey::Json => "json",
                RecordKey::None => "none",
            },
            headers: if format.identity_headers { "identity" } else { "none" },
            source_timestamp_unit: (format.kind == FormatKind::DtsAvro).then_some(unit),
            debezium: (format.kind == FormatKind::DebeziumJson)
                .then(|| Debezium::new(&format.debezium)),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Debezium<'a> {
    decimal: &'static str,
    time: &'static str,
    interval: &'static str,
    binary: &'static str,
    hstore: &'static str,
    unknown_types: bool,
    tombstones: bool,
    schemas: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic_prefix: Option<&'a str>,
}

impl<'a> Debezium<'a> {
    fn new(options: &'a DebeziumOptions) -> Self {
        Self {
            decimal: options.decimal.as_str(),
            time: options.time.as_str(),
            interval: options.interval.as_str(),
            binary: options.binary.as_str(),
            hstore: options.hstore.as_str(),
            unknown_types: options.unknown_types,
            tombstones: options.tombstones,
            schemas: options.schemas,
            topic_prefix: options.topic_prefix.as_deref(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Retry {
    connection: String,
    other: String,
}

impl Retry {
    fn new(retry: spec::Retry) -> Self {
        Self { connection: retry.connection.to_string(), other: retry.other.to_string() }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    bytes_per_second: String,
    rows_per_second: u64,
    record_bytes: String,
}

impl Limits {
    fn new(limits: spec::Limits) -> Self {
        Self {
            bytes_per_second: limits.bytes_per_second.to_string(),
            rows_per_second: limits.rows_per_second,
            record_bytes: limits.record_bytes.to_string(),
        }
    }
}
