//! A `kafka_to_kafka` task written back as a document.

use std::collections::BTreeMap;

use serde::Serialize;
use tidewire_shared::ConnectionName;
use tidewire_shared::spec::{KafkaSource, KafkaStart, KafkaTask, NamePattern, Shards, TopicRule};

use super::super::alerts::Alert;
use super::super::kafka_task::EXISTING_DATA;
use super::super::postgres_task::DELIVERIES;
use super::{Limits, Retry, Security, Target, word};

/// A `kafka_to_kafka` document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaDocument<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
    display_name: &'a str,
    source: Source<'a>,
    target: Target<'a>,
    start: Start<'a>,
    existing_data: &'static str,
    topics: Vec<Topics<'a>>,
    partitions: &'static str,
    sync_configs: SyncConfigs<'a>,
    shards: ShardCount,
    delivery: &'static str,
    retry: Retry,
    limits: Limits,
    alerts: Vec<Alert<'a>>,
}

impl<'a> KafkaDocument<'a> {
    pub(super) fn new(task: &'a KafkaTask) -> Self {
        Self {
            api_version: "tidewire/v1",
            kind: "kafka_to_kafka",
            name: task.name.as_str(),
            display_name: &task.display_name,
            source: Source::new(&task.source),
            target: Target::new(&task.target),
            start: Start::new(&task.start),
            existing_data: word(&EXISTING_DATA, task.existing_data),
            topics: task.topics.iter().map(Topics::new).collect(),
            partitions: "keep",
            sync_configs: SyncConfigs {
                enabled: task.sync_configs.enabled,
                exclude: &task.sync_configs.exclude,
            },
            shards: match task.shards {
                Shards::Auto => ShardCount::Auto("auto"),
                Shards::Count(count) => ShardCount::Count(count),
            },
            delivery: word(&DELIVERIES, task.delivery),
            retry: Retry::new(task.retry),
            limits: Limits::new(task.limits),
            alerts: task.alerts.iter().map(Alert::new).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Source<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    brokers: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<Security<'a>>,
    properties: &'a BTreeMap<String, String>,
}

impl<'a> Source<'a> {
    fn new(source: &'a KafkaSource) -> Self {
        Self {
            connection: source.connection.as_ref().map(ConnectionName::as_str),
            brokers: &source.brokers,
            security: source.connection.is_none().then(|| Security::new(&source.security)),
            properties: &source.properties,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Start<'a> {
    Word(&'static str),
    Timestamp { timestamp: String },
    Offsets { offsets: BTreeMap<&'a str, BTreeMap<u32, i64>> },
}

impl<'a> Start<'a> {
    fn new(start: &'a KafkaStart) -> Self {
        match start {
            KafkaStart::Earliest => Self::Word("earliest"),
            KafkaStart::Latest => Self::Word("latest"),
            KafkaStart::Timestamp(ms) => Self::Timestamp {
                // What was read as a time is one.
                timestamp: jiff::Timestamp::from_millisecond(*ms)
                    .map_or_else(|_| ms.to_string(), |at| at.to_string()),
            },
            KafkaStart::Offsets(starts) => {
                let mut offsets: BTreeMap<&str, BTreeMap<u32, i64>> = BTreeMap::new();
                for start in starts {
                    let topic = offsets.entry(&start.topic).or_default();
                    topic.insert(start.partition, start.offset);
                }
                Self::Offsets { offsets }
            }
        }
    }
}

#[derive(Debug, Serialize)]
struct Topics<'a> {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    all: bool,
    #[serde(rename = "match", skip_serializing_if = "Vec::is_empty")]
    matching: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exclude: Vec<&'a str>,
    rename: &'a str,
}

impl<'a> Topics<'a> {
    fn new(rule: &'a TopicRule) -> Self {
        let texts = |patterns: &'a [NamePattern]| patterns.iter().map(text).collect();
        Self {
            all: rule.topics.is_empty(),
            matching: texts(&rule.topics),
            exclude: texts(&rule.exclude),
            rename: &rule.rename,
        }
    }
}

fn text(pattern: &NamePattern) -> &str {
    let (NamePattern::Exact(text) | NamePattern::Glob(text)) = pattern;
    text
}

#[derive(Debug, Serialize)]
struct SyncConfigs<'a> {
    enabled: bool,
    exclude: &'a [String],
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ShardCount {
    Auto(&'static str),
    Count(u32),
}
