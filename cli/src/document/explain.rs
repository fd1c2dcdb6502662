//! A task written back as a document, with every default filled in.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use tidewire_shared::SecretRef;
use tidewire_shared::spec::{
    Format, FormatKind, KafkaTarget, KeyChange, Managed, ObjectRule, PartitionPolicy,
    PostgresSource, RecordKey, TableName, TaskSpec, TimestampUnit, Tls,
};

use super::postgres_task::POLICIES;
use super::table_name::quoted;
use super::{secret, target};

/// A document that says everything and reads back as the same task.
///
/// A secret that stands in the document stays in it: the reader has the document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
    display_name: &'a str,
    source: Source<'a>,
    target: Target<'a>,
    objects: Vec<Object<'a>>,
    format: FormatOptions,
    partition: &'static str,
    key_change: &'static str,
    delivery: &'static str,
    start: &'static str,
    on_bad_record: &'static str,
    retry: Retry,
    limits: Limits,
}

impl<'a> Explained<'a> {
    /// Everything that `spec` says.
    #[must_use]
    pub fn new(spec: &'a TaskSpec) -> Self {
        Self {
            api_version: "tidewire/v1",
            kind: "postgres_to_kafka",
            name: spec.name.as_str(),
            display_name: &spec.display_name,
            source: Source::new(&spec.source),
            target: Target::new(&spec.target),
            objects: spec.objects.iter().map(Object::new).collect(),
            format: FormatOptions::new(&spec.format),
            partition: policy(spec.partition),
            key_change: match spec.key_change {
                KeyChange::Split => "split",
                KeyChange::Keep => "keep",
            },
            delivery: "exactly_once",
            start: "now",
            on_bad_record: "stop",
            retry: Retry {
                connection: spec.retry.connection.to_string(),
                other: spec.retry.other.to_string(),
            },
            limits: Limits { record_bytes: spec.limits.record_bytes.to_string() },
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

fn policy(policy: PartitionPolicy) -> &'static str {
    POLICIES.iter().find(|(_, known)| *known == policy).map_or("", |(word, _)| word)
}

#[derive(Debug, Serialize)]
struct Source<'a> {
    hosts: &'a [String],
    database: &'a str,
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<Place<'a>>,
    tls: TlsOptions<'a>,
    slot: Ownership<'a>,
    publication: Ownership<'a>,
    heartbeat: Heartbeat,
}

impl<'a> Source<'a> {
    fn new(source: &'a PostgresSource) -> Self {
        Self {
            hosts: &source.hosts,
            database: &source.database,
            user: &source.user,
            password: source.password.as_ref().map(Place),
            tls: TlsOptions::new(&source.tls),
            slot: Ownership::new(&source.slot),
            publication: Ownership::new(&source.publication),
            heartbeat: Heartbeat {
                mode: if source.heartbeat.enabled { "auto" } else { "off" },
                interval: source.heartbeat.interval.to_string(),
            },
        }
    }
}

/// Where a secret is: one key, one value.
#[derive(Debug)]
struct Place<'a>(&'a SecretRef);

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
struct TlsOptions<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Place<'a>>,
}

impl<'a> TlsOptions<'a> {
    fn new(tls: &'a Tls) -> Self {
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
struct Heartbeat {
    mode: &'static str,
    interval: String,
}

#[derive(Debug, Serialize)]
struct Target<'a> {
    brokers: &'a [String],
    security: Security,
    compression: &'static str,
    properties: &'a BTreeMap<String, String>,
}

impl<'a> Target<'a> {
    fn new(target: &'a KafkaTarget) -> Self {
        Self {
            brokers: &target.brokers,
            security: Security { protocol: "plaintext" },
            compression: target::COMPRESSIONS
                .iter()
                .find(|(_, known)| *known == target.compression)
                .map_or("", |(word, _)| word),
            properties: &target.properties,
        }
    }
}

#[derive(Debug, Serialize)]
struct Security {
    protocol: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    tables: Vec<String>,
    topic: &'a str,
    operations: [&'static str; 3],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partition_by: Vec<String>,
}

impl<'a> Object<'a> {
    fn new(rule: &'a ObjectRule) -> Self {
        let table = |name: &TableName| format!("{}.{}", quoted(&name.schema), quoted(&name.table));
        Self {
            tables: rule.tables.iter().map(table).collect(),
            topic: &rule.topic,
            operations: ["insert", "update", "delete"],
            partition_by: rule.partition_by.iter().map(|column| quoted(column)).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FormatOptions {
    r#type: &'static str,
    key: &'static str,
    headers: &'static str,
    /// An option of `dts_avro` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_timestamp_unit: Option<&'static str>,
}

impl FormatOptions {
    fn new(format: &Format) -> Self {
        let unit = match format.source_timestamp_unit {
            TimestampUnit::Milliseconds => "ms",
            TimestampUnit::Seconds => "s",
        };
        let (r#type, source_timestamp_unit) = match format.kind {
            FormatKind::DtsAvro => ("dts_avro", Some(unit)),
            FormatKind::ShareplexJson => ("shareplex_json", None),
        };
        let key = match format.key {
            RecordKey::Json => "json",
            RecordKey::None => "none",
        };
        let headers = if format.identity_headers { "identity" } else { "none" };
        Self { r#type, key, headers, source_timestamp_unit }
    }
}

#[derive(Debug, Serialize)]
struct Retry {
    connection: String,
    other: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    record_bytes: String,
}
