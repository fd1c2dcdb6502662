//! Topics of one Kafka cluster into another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Delivery, KafkaSecurity, KafkaTarget, Limits, NamePattern, Retry};
use crate::alert::AlertRule;
use crate::id::{ConnectionName, TaskName};

/// One task: topics of a Kafka cluster into another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaTask {
    /// The name people use.
    pub name: TaskName,
    /// Free text.
    #[serde(default)]
    pub display_name: String,
    /// Where records come from.
    pub source: KafkaSource,
    /// Where they go.
    pub target: KafkaTarget,
    /// Where the copy of the topics that exist at the first start begins.
    pub start: KafkaStart,
    /// What becomes of records that the target topics hold already.
    pub existing_data: ExistingData,
    /// Which topics are copied, and under which names; not empty.
    pub topics: Vec<TopicRule>,
    /// Whether changes of topic configurations are carried over.
    pub sync_configs: SyncConfigs,
    /// How many nodes may share the task.
    pub shards: Shards,
    /// What is promised to readers.
    #[serde(default)]
    pub delivery: Delivery,
    /// How long trouble is retried.
    pub retry: Retry,
    /// Bounds on single records.
    pub limits: Limits,
    /// When its user wants to hear of it.
    #[serde(default)]
    pub alerts: Vec<AlertRule>,
}

/// The Kafka cluster that is copied from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaSource {
    /// The registered connection that gives brokers, security and more properties; brokers and security
    /// are then empty here. Absent: they stand here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionName>,
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// Encryption and login.
    #[serde(default)]
    pub security: KafkaSecurity,
    /// librdkafka properties that users may set; checked against [`KafkaSource::ALLOWED_PROPERTIES`].
    pub properties: BTreeMap<String, String>,
}

impl KafkaSource {
    /// The librdkafka properties that users may set. Left out is what
    /// [`KafkaTarget::ALLOWED_PROPERTIES`] leaves out, and what only producers know.
    pub const ALLOWED_PROPERTIES: &[&str] = &[
        "broker.address.family",
        "broker.address.ttl",
        "client.dns.lookup",
        "client.id",
        "client.rack",
        "connections.max.idle.ms",
        "fetch.max.bytes",
        "fetch.message.max.bytes",
        "fetch.min.bytes",
        "fetch.wait.max.ms",
        "metadata.max.age.ms",
        "queued.max.messages.kbytes",
        "reconnect.backoff.max.ms",
        "reconnect.backoff.ms",
        "socket.connection.setup.timeout.ms",
        "socket.keepalive.enable",
        "socket.nagle.disable",
        "socket.receive.buffer.bytes",
        "socket.send.buffer.bytes",
        "topic.metadata.refresh.interval.ms",
    ];
}

/// Where the copy of the topics that exist at the first start begins. Topics and partitions that appear
/// later are copied from their beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KafkaStart {
    /// With the oldest record there is.
    #[default]
    Earliest,
    /// With the first record that is written from then on.
    Latest,
    /// With the first record that is not older, milliseconds since 1970.
    Timestamp(i64),
    /// At these offsets; partitions that are not named begin with their oldest record.
    Offsets(Vec<StartOffset>),
}

/// Where one partition begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartOffset {
    /// Topic of the source.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Offset of the first record that is copied; not negative.
    pub offset: i64,
}

/// What becomes of records that the target topics hold before the first start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExistingData {
    /// The task does not start.
    #[default]
    Stop,
    /// They stay, and the copy follows them.
    Append,
    /// They are deleted, once.
    Rewrite,
}

/// Topics that are treated alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicRule {
    /// Which topics; empty: all but internal ones. Internal topics are taken by their exact name only.
    pub topics: Vec<NamePattern>,
    /// Topics that are left out all the same.
    pub exclude: Vec<NamePattern>,
    /// Name at the target; `{topic}` stands for the name at the source.
    pub rename: String,
}

impl TopicRule {
    /// The name that stands for the topic's own.
    pub const SAME_NAME: &str = "{topic}";

    /// Whether the rule takes a topic.
    #[must_use]
    pub fn takes(&self, topic: &str, internal: bool) -> bool {
        let named =
            || self.topics.iter().any(|it| matches!(it, NamePattern::Exact(name) if name == topic));
        let fits = || self.topics.is_empty() || self.topics.iter().any(|it| it.fits(topic));
        let taken = if internal { named() } else { fits() };
        taken && !self.exclude.iter().any(|it| it.fits(topic))
    }

    /// The name of a topic at the target.
    #[must_use]
    pub fn renamed(&self, topic: &str) -> String {
        self.rename.replace(Self::SAME_NAME, topic)
    }
}

/// Whether changes of topic configurations are carried over to the copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncConfigs {
    /// Whether they are.
    pub enabled: bool,
    /// Configurations that are never carried over.
    pub exclude: Vec<String>,
}

impl Default for SyncConfigs {
    /// What would delete or restamp the copy is left out.
    fn default() -> Self {
        let exclude = ["retention.ms", "message.timestamp.type"].map(str::to_owned).to_vec();
        Self { enabled: true, exclude }
    }
}

/// Into how many shards a task is divided; each is run by one node at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shards {
    /// [`Shards::AUTO`] of them.
    #[default]
    Auto,
    /// So many, from 1 to [`Shards::MOST`].
    Count(u32),
}

impl Shards {
    /// Divides evenly among one, two, three and six nodes.
    pub const AUTO: u32 = 6;
    /// Most shards of a task.
    pub const MOST: u32 = 1_000;

    /// How many; at least 1.
    #[must_use]
    pub fn count(self) -> u32 {
        match self {
            Self::Auto => Self::AUTO,
            Self::Count(count) => count.max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(topics: &[&str], exclude: &[&str]) -> TopicRule {
        let pattern = |text: &&str| match text.contains('*') {
            true => NamePattern::Glob((*text).to_owned()),
            false => NamePattern::Exact((*text).to_owned()),
        };
        TopicRule {
            topics: topics.iter().map(pattern).collect(),
            exclude: exclude.iter().map(pattern).collect(),
            rename: "dr.{topic}".to_owned(),
        }
    }

    #[test]
    fn a_rule_takes_what_fits_and_is_not_excluded() {
        let clicks = rule(&["orders", "clicks_*"], &["clicks_tmp"]);
        for (topic, taken) in
            [("orders", true), ("clicks_a", true), ("clicks_tmp", false), ("other", false)]
        {
            assert_eq!(clicks.takes(topic, false), taken, "{topic}");
        }
        assert_eq!(clicks.renamed("orders"), "dr.orders");
    }

    #[test]
    fn internal_topics_are_taken_by_their_exact_name_only() {
        assert!(!rule(&[], &[]).takes("__consumer_offsets", true));
        assert!(!rule(&["__*"], &[]).takes("__consumer_offsets", true));
        assert!(rule(&["__consumer_offsets"], &[]).takes("__consumer_offsets", true));
    }
}
