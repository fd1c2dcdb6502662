//! A task from Kafka.

use tidewire_shared::spec::{
    ExistingData, KafkaSource, KafkaStart, KafkaTask, Shards, StartOffset, SyncConfigs, TopicRule,
};

use super::alert::alerts;
use super::target::named_or_inline;
use super::{ConvertError, each, enumerated, listed, parsed, required, same_variants, text};
use crate::task::v1 as pb;
use crate::task::v1::kafka_start::{At, Earliest, Latest};

same_variants!(ExistingData, pb::ExistingData, [Stop, Append, Rewrite]);

impl From<KafkaTask> for pb::KafkaTask {
    fn from(task: KafkaTask) -> Self {
        Self {
            name: task.name.to_string(),
            display_name: task.display_name,
            source: Some(task.source.into()),
            target: Some(task.target.into()),
            start: Some(task.start.into()),
            existing_data: pb::ExistingData::from(task.existing_data).into(),
            topics: task.topics.into_iter().map(Into::into).collect(),
            sync_configs: Some(task.sync_configs.into()),
            shards: match task.shards {
                Shards::Auto => 0,
                Shards::Count(count) => count,
            },
            delivery: pb::Delivery::from(task.delivery).into(),
            retry: Some(task.retry.into()),
            limits: Some(task.limits.into()),
            alerts: task.alerts.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::KafkaTask> for KafkaTask {
    type Error = ConvertError;

    fn try_from(task: pb::KafkaTask) -> Result<Self, Self::Error> {
        Ok(Self {
            name: parsed("name", &task.name)?,
            display_name: task.display_name,
            source: required("source", task.source)?,
            target: required("target", task.target)?,
            start: required("start", task.start)?,
            existing_data: enumerated::<pb::ExistingData, _>("existing_data", task.existing_data)?,
            topics: listed("topics", each("topics", task.topics)?)?,
            sync_configs: required("sync_configs", task.sync_configs)?,
            shards: match task.shards {
                0 => Shards::Auto,
                count if count <= Shards::MOST => Shards::Count(count),
                count => {
                    let problem = format!("is {count}, out of bounds: at most {}", Shards::MOST);
                    return Err(ConvertError::new("shards", problem));
                }
            },
            delivery: enumerated::<pb::Delivery, _>("delivery", task.delivery)?,
            retry: required("retry", task.retry)?,
            limits: required("limits", task.limits)?,
            alerts: alerts(task.alerts)?,
        })
    }
}

impl From<KafkaSource> for pb::KafkaSource {
    fn from(source: KafkaSource) -> Self {
        Self {
            connection: source.connection.map_or_else(String::new, Into::into),
            brokers: source.brokers,
            properties: source.properties.into_iter().collect(),
            security: Some(source.security.into()),
        }
    }
}

impl TryFrom<pb::KafkaSource> for KafkaSource {
    type Error = ConvertError;

    fn try_from(source: pb::KafkaSource) -> Result<Self, Self::Error> {
        let (connection, brokers) =
            named_or_inline(&source.connection, source.security.as_ref(), source.brokers)?;
        Ok(Self {
            brokers,
            connection,
            properties: source.properties.into_iter().collect(),
            security: required("security", source.security)?,
        })
    }
}

impl From<KafkaStart> for pb::KafkaStart {
    fn from(start: KafkaStart) -> Self {
        let at = match start {
            KafkaStart::Earliest => At::Earliest(Earliest {}),
            KafkaStart::Latest => At::Latest(Latest {}),
            KafkaStart::Timestamp(ms) => At::TimestampMs(ms),
            KafkaStart::Offsets(partitions) => {
                let partitions = partitions.into_iter().map(Into::into).collect();
                At::Offsets(pb::StartOffsets { partitions })
            }
        };
        Self { at: Some(at) }
    }
}

impl TryFrom<pb::KafkaStart> for KafkaStart {
    type Error = ConvertError;

    fn try_from(start: pb::KafkaStart) -> Result<Self, Self::Error> {
        Ok(match start.at {
            Some(At::Earliest(Earliest {})) => Self::Earliest,
            Some(At::Latest(Latest {})) => Self::Latest,
            Some(At::TimestampMs(ms)) => Self::Timestamp(ms),
            Some(At::Offsets(offsets)) => Self::Offsets(each("offsets", offsets.partitions)?),
            None => return Err(ConvertError::new("at", "is missing")),
        })
    }
}

impl From<StartOffset> for pb::StartOffset {
    fn from(start: StartOffset) -> Self {
        let StartOffset { topic, partition, offset } = start;
        Self { topic, partition, offset }
    }
}

impl TryFrom<pb::StartOffset> for StartOffset {
    type Error = ConvertError;

    fn try_from(start: pb::StartOffset) -> Result<Self, Self::Error> {
        if start.offset < 0 {
            return Err(ConvertError::new("offset", "is negative"));
        }
        let topic = text("topic", start.topic)?;
        Ok(Self { topic, partition: start.partition, offset: start.offset })
    }
}

impl From<TopicRule> for pb::TopicRule {
    fn from(rule: TopicRule) -> Self {
        Self {
            topics: rule.topics.into_iter().map(Into::into).collect(),
            exclude: rule.exclude.into_iter().map(Into::into).collect(),
            rename: rule.rename,
        }
    }
}

impl TryFrom<pb::TopicRule> for TopicRule {
    type Error = ConvertError;

    fn try_from(rule: pb::TopicRule) -> Result<Self, Self::Error> {
        Ok(Self {
            topics: each("topics", rule.topics)?,
            exclude: each("exclude", rule.exclude)?,
            rename: text("rename", rule.rename)?,
        })
    }
}

impl From<SyncConfigs> for pb::SyncConfigs {
    fn from(sync: SyncConfigs) -> Self {
        let SyncConfigs { enabled, exclude } = sync;
        Self { enabled, exclude }
    }
}

impl TryFrom<pb::SyncConfigs> for SyncConfigs {
    type Error = ConvertError;

    fn try_from(sync: pb::SyncConfigs) -> Result<Self, Self::Error> {
        Ok(Self { enabled: sync.enabled, exclude: sync.exclude })
    }
}
