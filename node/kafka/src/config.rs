//! From the clusters of a task to librdkafka's properties.

use std::collections::BTreeMap;

use tidewire_shared::spec::{Compression, KafkaSecurity, KafkaSource, KafkaTarget};
use tidewire_shared::{ByteSize, Fault, FaultKind};

use crate::plain_producer::Idempotence;
use crate::security::{self, Secrets};
use crate::source::SourceLimits;

/// How long the broker keeps a transaction open without news of us, in milliseconds (DESIGN §4).
pub const TRANSACTION_TIMEOUT_MS: u64 = 30_000;

/// Least size of the producer's queue, in KiB.
const LEAST_QUEUE_KIB: u64 = 32 * 1024;

/// Most bytes that librdkafka takes as `message.max.bytes`.
const MOST_MESSAGE_BYTES: u64 = 1_000_000_000;

/// Least bytes that librdkafka takes as `message.max.bytes`.
const LEAST_MESSAGE_BYTES: u64 = 1_000;

/// Most bytes of one batch before compression. Half of what a topic takes by default
/// (`max.message.bytes`), so that a batch of records that do not compress is never refused.
pub(crate) const BATCH_BYTES: u64 = 512 * 1024;

/// Longest wait for an answer of a source broker beyond what a fetch may wait: a frozen broker is given
/// up after it, and the partitions that moved away from it are read elsewhere. Nothing that is read
/// twice can do harm, so it is far below that of a producer.
const READ_TIMEOUT_MS: u64 = 10_000;

/// Longest pause before a source broker is dialled again.
const RECONNECT_MS: u64 = 2_000;

/// Least bytes of one answer that librdkafka takes at all.
const LEAST_ANSWER_BYTES: u64 = 100_000_000;

/// Which end of a task a cluster is; decides the kind of its faults and the words of their remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Records are read there.
    Source,
    /// Records are written there.
    Target,
}

impl Side {
    /// The key of a task's document that names the cluster.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// How to reach a cluster, and write to it: checked, ready to make clients from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    side: Side,
    brokers: String,
    compression: &'static str,
    record_bytes: u64,
    properties: BTreeMap<String, String>,
    security: Secrets,
}

impl Settings {
    /// Settings for the target of a task whose records (key and value) are at most `record_bytes`.
    /// Reads the secrets that the target names.
    ///
    /// # Errors
    ///
    /// `Configuration`, naming the property, broker or secret that cannot be used.
    pub fn new(target: &KafkaTarget, record_bytes: ByteSize) -> Result<Self, Fault> {
        let side = Side::Target;
        allowed(&target.properties, KafkaTarget::ALLOWED_PROPERTIES, side)?;
        Ok(Self {
            side,
            brokers: broker_list(&target.brokers, side)?,
            compression: match target.compression {
                // Of topics whose records told no codec.
                Compression::Keep => Compression::Lz4.as_str(),
                named => named.as_str(),
            },
            record_bytes: possible(record_bytes)?,
            properties: target.properties.clone(),
            security: security::properties(&target.security, side)?,
        })
    }

    /// Settings for the source of a task whose records (key and value) are at most `record_bytes`.
    /// Reads the secrets that it names; what goes wrong with it are faults of the source.
    ///
    /// # Errors
    ///
    /// `Configuration`, naming the property, broker or secret that cannot be used.
    pub fn source(
        brokers: &[String],
        security: &KafkaSecurity,
        properties: &BTreeMap<String, String>,
        record_bytes: ByteSize,
    ) -> Result<Self, Fault> {
        let side = Side::Source;
        allowed(properties, KafkaSource::ALLOWED_PROPERTIES, side)?;
        Ok(Self {
            side,
            brokers: broker_list(brokers, side)?,
            compression: "none",
            record_bytes: possible(record_bytes)?,
            properties: properties.clone(),
            security: security::properties(security, side)?,
        })
    }

    /// Settings to look into a cluster without a task at hand.
    ///
    /// # Errors
    ///
    /// `Configuration` when a broker's address or a secret cannot be used.
    pub fn to_look(brokers: &[String], security: &KafkaSecurity) -> Result<Self, Fault> {
        let side = Side::Target;
        Ok(Self {
            side,
            brokers: broker_list(brokers, side)?,
            compression: "none",
            record_bytes: 1024 * 1024,
            properties: BTreeMap::new(),
            security: security::properties(security, side)?,
        })
    }

    /// Which end of the task the cluster is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// The brokers as one list, to name the cluster in faults.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Most bytes of key and value of a record.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        self.record_bytes
    }

    /// What every client of ours gets.
    pub(crate) fn base(&self) -> Properties {
        let mut properties = Properties::default();
        properties.set("client.id", "tidewire");
        for (key, value) in &self.properties {
            if !PRODUCER_ONLY.contains(&key.as_str()) && !CONSUMER_ONLY.contains(&key.as_str()) {
                properties.set(key, value.as_str());
            }
        }
        properties.set("bootstrap.servers", self.brokers.as_str());
        properties.set("allow.auto.create.topics", "false");
        properties.set("socket.max.fails", "1");
        for (key, value) in &self.security {
            properties.set(key, value.expose());
        }
        properties
    }

    /// A transactional producer. `linger.ms` bounds only what waits for more records of the same
    /// transaction: a commit flushes at once.
    pub(crate) fn producer(&self, transactional_id: &str) -> Properties {
        let mut properties = self.writing();
        properties.set("transactional.id", transactional_id);
        properties.set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string());
        properties
    }

    /// A producer without transactions. Its records wait for as long as it lives: who owns it decides
    /// when they have waited long enough, and a gap ends it.
    pub(crate) fn plain_producer(&self, idempotence: Idempotence) -> Properties {
        let mut properties = self.writing();
        match idempotence {
            Idempotence::On => {
                properties.set("enable.idempotence", "true");
                properties.set("enable.gapless.guarantee", "true");
            }
            Idempotence::Off => {
                properties.set("max.in.flight.requests.per.connection", "1");
                properties.set("message.send.max.retries", i32::MAX.to_string());
            }
        }
        properties.set("request.required.acks", "all");
        properties.set("message.timeout.ms", "0");
        properties
    }

    /// What every producer of ours gets.
    fn writing(&self) -> Properties {
        let queue_kib = LEAST_QUEUE_KIB.max(self.record_bytes.saturating_mul(2).div_ceil(1024));
        let mut properties = Properties::default();
        // Full batches leave at once and commits flush the rest. A batch whose time is over while an
        // earlier one is under way would make librdkafka ask itself without a pause whether it may go.
        properties.set("linger.ms", "500");
        properties.set("batch.size", BATCH_BYTES.min(self.message_bytes()).to_string());
        properties.set("batch.num.messages", "50000");
        properties.extend(self.base());
        for key in PRODUCER_ONLY {
            if let Some(value) = self.properties.get(*key) {
                properties.set(key, value.as_str());
            }
        }
        properties.set("queue.buffering.max.kbytes", queue_kib.min(2_097_151).to_string());
        properties.set("queue.buffering.max.messages", "1000000");
        properties.set("message.max.bytes", self.message_bytes().to_string());
        properties.set("compression.codec", self.compression);
        properties
    }

    /// A reader of committed, or of all, records. It belongs to no consumer group.
    pub(crate) fn reader(&self, isolation: Isolation) -> Properties {
        let mut properties = self.base();
        properties.set("isolation.level", isolation.as_str());
        properties.set("enable.partition.eof", "true");
        properties.set("auto.offset.reset", "error");
        // The end of a partition is told by an empty answer: these readers are short-lived, so it comes soon.
        properties.set("fetch.wait.max.ms", "10");
        properties.set("fetch.error.backoff.ms", "100");
        properties.set("queued.max.messages.kbytes", "16384");
        properties
    }

    /// The reader of a task. No consumer group: librdkafka's simple consumer asks for no right on one.
    pub(crate) fn source_reader(&self, limits: &SourceLimits) -> Properties {
        let mut properties = Properties::default();
        properties.set("fetch.min.bytes", "1");
        properties.set("fetch.wait.max.ms", limits.fetch_wait.as_millis().to_string());
        properties.set("fetch.message.max.bytes", limits.partition_bytes.to_string());
        properties.set("fetch.max.bytes", limits.fetch_bytes.to_string());
        properties.set("queued.max.messages.kbytes", limits.queue_bytes.div_ceil(1024).to_string());
        properties.set("reconnect.backoff.max.ms", RECONNECT_MS.to_string());
        properties.extend(self.base());
        for key in CONSUMER_ONLY {
            if let Some(value) = self.properties.get(*key) {
                properties.set(key, value.as_str());
            }
        }
        properties.set("isolation.level", Isolation::Committed.as_str());
        properties.set("enable.partition.eof", "true");
        properties.set("auto.offset.reset", "error");
        properties.set("enable.auto.commit", "false");
        properties.set("enable.auto.offset.store", "false");
        properties.set("check.crcs", "true");
        properties.set("queued.min.messages", limits.queue_records.to_string());
        // A full queue is looked at again this soon: with queues this small a second would be a stall.
        properties.set("fetch.queue.backoff.ms", "5");
        properties.set("fetch.error.backoff.ms", "100");
        properties.set("socket.timeout.ms", READ_TIMEOUT_MS.to_string());
        // A topic that goes soon after it was made is told sooner than in half a minute; whether it is
        // really gone is asked again.
        properties.set("topic.metadata.propagation.max.ms", "5000");
        // Brokers send a batch that is larger than all bounds whole, so that reading goes on.
        let answer = LEAST_ANSWER_BYTES.max(self.record_bytes.saturating_mul(2));
        properties.set("receive.message.max.bytes", answer.min(2_147_483_647).to_string());
        properties.set("message.max.bytes", LEAST_MESSAGE_BYTES.to_string());
        properties
    }

    /// A reader that tells, in librdkafka's words for developers, how what it reads is compressed.
    pub(crate) fn codec_reader(&self) -> Properties {
        let limits = SourceLimits {
            partition_bytes: 64 * 1024,
            fetch_wait: std::time::Duration::from_millis(100),
            ..SourceLimits::default()
        };
        let mut properties = self.source_reader(&limits);
        properties.set("debug", "msg");
        properties.set("log_level", "7");
        properties
    }

    /// A client that says how old its brokers are.
    pub(crate) fn release_teller(&self) -> Properties {
        let mut properties = self.base();
        properties.set("debug", "feature");
        properties.set("log_level", "7");
        properties
    }

    fn message_bytes(&self) -> u64 {
        self.record_bytes.clamp(LEAST_MESSAGE_BYTES, MOST_MESSAGE_BYTES)
    }
}

/// Allowed properties that only a producer understands.
const PRODUCER_ONLY: &[&str] =
    &["batch.num.messages", "batch.size", "compression.level", "linger.ms", "retry.backoff.max.ms"];

/// Allowed properties that only a consumer understands.
const CONSUMER_ONLY: &[&str] = &[
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "queued.max.messages.kbytes",
];

/// Which records a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Those of committed transactions, and of none.
    Committed,
    /// All.
    Uncommitted,
}

impl Isolation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "read_committed",
            Self::Uncommitted => "read_uncommitted",
        }
    }
}

/// librdkafka properties of one client; a later value of a key replaces the earlier one. Some are
/// secrets, so they are not to be printed.
#[derive(Clone, Default)]
pub(crate) struct Properties(BTreeMap<String, String>);

impl Properties {
    fn set(&mut self, key: &str, value: impl Into<String>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

fn allowed(properties: &BTreeMap<String, String>, list: &[&str], side: Side) -> Result<(), Fault> {
    let Some(key) = properties.keys().find(|key| !list.contains(&key.as_str())) else {
        return Ok(());
    };
    Err(Fault::new(
        FaultKind::Configuration,
        format!("{}.properties.{key}", side.as_str()),
        "this property cannot be set by a task",
    )
    .remedy(format!("remove it; allowed are {}", list.join(", "))))
}

fn possible(record_bytes: ByteSize) -> Result<u64, Fault> {
    if record_bytes.0 <= MOST_MESSAGE_BYTES {
        return Ok(record_bytes.0);
    }
    Err(Fault::new(
        FaultKind::Configuration,
        "limits.recordBytes",
        format!("{record_bytes} is more than a Kafka record can hold"),
    )
    .remedy(format!("set it to at most {MOST_MESSAGE_BYTES}")))
}

fn broker_list(brokers: &[String], side: Side) -> Result<String, Fault> {
    let usable = |broker: &String| {
        !broker.is_empty() && !broker.contains(|c: char| c == ',' || c.is_whitespace() || c == '\0')
    };
    if brokers.is_empty() || !brokers.iter().all(usable) {
        return Err(Fault::new(
            FaultKind::Configuration,
            format!("{}.brokers", side.as_str()),
            "brokers are a list of host:port",
        )
        .remedy("name at least one broker as host:port"));
    }
    Ok(brokers.join(","))
}

#[cfg(test)]
mod tests {

    use super::*;

    fn target(properties: &[(&str, &str)]) -> KafkaTarget {
        KafkaTarget {
            brokers: vec!["127.0.0.1:9092".to_owned()],
            compression: Compression::Lz4,
            properties: properties
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..KafkaTarget::default()
        }
    }

    fn value(properties: &Properties, key: &str) -> Option<String> {
        properties.iter().find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
    }

    #[test]
    fn a_property_that_delivery_rests_on_is_refused_by_name() {
        for key in ["acks", "socket.max.fails", "plugin.library.paths", "transactional.id"] {
            let fault = Settings::new(&target(&[(key, "1")]), ByteSize(1 << 20)).expect_err(key);
            assert_eq!(fault.kind, FaultKind::Configuration);
            assert!(fault.object.contains(key), "{fault}");
        }
    }

    #[test]
    fn an_allowed_property_replaces_our_default() {
        let settings =
            Settings::new(&target(&[("linger.ms", "3")]), ByteSize(1 << 20)).expect("settings");
        assert_eq!(value(&settings.producer("t"), "linger.ms").as_deref(), Some("3"));
        assert_eq!(value(&settings.reader(Isolation::Committed), "linger.ms"), None);
    }

    #[test]
    fn the_queue_holds_two_records_of_the_largest_size() {
        let kbytes = |bytes| {
            let settings = Settings::new(&target(&[]), ByteSize(bytes)).expect("settings");
            value(&settings.producer("t"), "queue.buffering.max.kbytes").expect("set")
        };
        assert_eq!(kbytes(1 << 20), "32768");
        assert_eq!(kbytes(64 << 20), "131072");
    }

    #[test]
    fn a_source_says_source_and_refuses_what_producers_know() {
        let open = KafkaSecurity::default();
        let brokers = ["127.0.0.1:9092".to_owned()];
        let properties = BTreeMap::from([("linger.ms".to_owned(), "3".to_owned())]);
        let fault =
            Settings::source(&brokers, &open, &properties, ByteSize(1 << 20)).expect_err("linger");
        assert_eq!(fault.object, "source.properties.linger.ms");
        let properties = BTreeMap::from([("fetch.max.bytes".to_owned(), "9000000".to_owned())]);
        let settings =
            Settings::source(&brokers, &open, &properties, ByteSize(1 << 20)).expect("settings");
        let reader = settings.source_reader(&SourceLimits::default());
        assert_eq!(value(&reader, "fetch.max.bytes").as_deref(), Some("9000000"));
        assert_eq!(value(&reader, "auto.offset.reset").as_deref(), Some("error"));
        assert_eq!(value(&settings.base(), "fetch.max.bytes"), None);
    }

    #[test]
    fn a_broker_list_cannot_smuggle_a_second_broker() {
        let open = KafkaSecurity::default();
        assert!(Settings::to_look(&["a:1,b:2".to_owned()], &open).is_err());
        assert!(Settings::to_look(&[], &open).is_err());
    }
}
