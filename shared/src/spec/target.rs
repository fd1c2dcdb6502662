//! The Kafka side of a task.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::ConnectionName;
use crate::secret::SecretRef;

/// The Kafka side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaTarget {
    /// The registered connection that gives brokers, security and more properties; brokers and security
    /// are then empty here. Absent: they stand here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionName>,
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// Encryption and login.
    #[serde(default)]
    pub security: KafkaSecurity,
    /// Compression of what we write.
    pub compression: Compression,
    /// librdkafka properties that users may set; checked against an allow-list.
    pub properties: BTreeMap<String, String>,
    /// How missing topics are made; absent: they must exist.
    #[serde(default)]
    pub create_topics: Option<CreateTopics>,
    /// What becomes of the task when a topic is another one than it was. Of a task from PostgreSQL: a copy
    /// grows with its source.
    #[serde(default, skip_serializing_if = "TopicChange::is_default")]
    pub on_topic_change: TopicChange,
}

impl KafkaTarget {
    /// The librdkafka properties that users may set.
    ///
    /// Left out on purpose: everything that loads or runs code (`plugin.*`, `ssl.engine.*`,
    /// `ssl.keystore.*`, `sasl.kerberos.*`, `sasl.oauthbearer.*`), everything that names a file of the
    /// node, and what delivery rests on (`acks`, `enable.idempotence`, `transactional.id`,
    /// `transaction.timeout.ms`, `isolation.level`, `allow.auto.create.topics`, `socket.max.fails`,
    /// `socket.timeout.ms`, `message.max.bytes`, queue bounds).
    pub const ALLOWED_PROPERTIES: &[&str] = &[
        "batch.num.messages",
        "batch.size",
        "broker.address.family",
        "broker.address.ttl",
        "client.dns.lookup",
        "client.id",
        "client.rack",
        "compression.level",
        "connections.max.idle.ms",
        "linger.ms",
        "metadata.max.age.ms",
        "reconnect.backoff.max.ms",
        "reconnect.backoff.ms",
        "retry.backoff.max.ms",
        "retry.backoff.ms",
        "socket.connection.setup.timeout.ms",
        "socket.keepalive.enable",
        "socket.nagle.disable",
        "socket.receive.buffer.bytes",
        "socket.send.buffer.bytes",
        "topic.metadata.refresh.interval.ms",
    ];
}

/// Encryption of the connections to the brokers, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaSecurity {
    /// What the listener speaks.
    pub protocol: SecurityProtocol,
    /// How we log in; present exactly with the SASL protocols.
    pub sasl: Option<Sasl>,
    /// Certificates to trust, PEM; the system's roots when absent.
    pub ca: Option<SecretRef>,
    /// Client certificate, PEM.
    pub cert: Option<SecretRef>,
    /// Key of the client certificate, PEM.
    pub key: Option<SecretRef>,
}

/// `security.protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// No encryption, no login.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL inside TLS.
    SaslSsl,
}

/// A login by SASL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sasl {
    /// How the password is proven.
    pub mechanism: SaslMechanism,
    /// Who we are.
    pub user: String,
    /// Its password.
    pub password: SecretRef,
}

/// `sasl.mechanism`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// The password itself.
    #[serde(rename = "PLAIN")]
    Plain,
    /// SCRAM with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// SCRAM with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// Compression of record batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    #[default]
    Lz4,
    /// Zstandard.
    Zstd,
    /// As the source has them; of a task from Kafka only.
    Keep,
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
            Self::Keep => "keep",
        }
    }
}

/// How missing topics are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateTopics {
    /// Partitions of a new topic; at least 1.
    pub partitions: u32,
    /// Replicas of each partition; at least 1.
    pub replication_factor: u16,
}

/// What becomes of a task when a topic that it wrote to is another one than it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicChange {
    /// It stops, and names what changed.
    #[default]
    Stop,
    /// It goes on in a topic that has more partitions, and spreads keys over all of them from then on; it
    /// stops at one that was made again.
    AcceptGrowth,
    /// It goes on, also in a topic that was deleted and made again.
    Accept,
}

impl TopicChange {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
