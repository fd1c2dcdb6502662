//! A whole task.

use tidewire_shared::spec::{
    BadRecord, Delivery, KeyChange, Limits, PartitionPolicy, PostgresTask, Retry, StartAt, TaskSpec,
};
use tidewire_shared::{ByteSize, Lsn, Period};

use super::alert::alerts;
use super::{ConvertError, each, enumerated, listed, parsed, required, same_variants};
use crate::task::v1 as pb;
use crate::task::v1::task_spec::Kind;

same_variants!(
    PartitionPolicy,
    pb::PartitionPolicy,
    [AllToPartition0, ByTable, ByPrimaryKey, ByRecordKey]
);
same_variants!(KeyChange, pb::KeyChange, [Split, Keep]);
same_variants!(Delivery, pb::Delivery, [ExactlyOnce, AtLeastOnce]);

impl From<TaskSpec> for pb::TaskSpec {
    fn from(spec: TaskSpec) -> Self {
        let kind = match spec {
            TaskSpec::PostgresToKafka(task) => Kind::PostgresToKafka(task.into()),
            TaskSpec::KafkaToKafka(task) => Kind::KafkaToKafka(task.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::TaskSpec> for TaskSpec {
    type Error = ConvertError;

    fn try_from(spec: pb::TaskSpec) -> Result<Self, Self::Error> {
        match spec.kind {
            Some(Kind::PostgresToKafka(task)) => {
                required("postgres_to_kafka", Some(task)).map(Self::PostgresToKafka)
            }
            Some(Kind::KafkaToKafka(task)) => {
                required("kafka_to_kafka", Some(task)).map(Self::KafkaToKafka)
            }
            None => Err(ConvertError::new("kind", "is missing, or of a later version")),
        }
    }
}

impl From<PostgresTask> for pb::PostgresTask {
    fn from(spec: PostgresTask) -> Self {
        Self {
            name: spec.name.to_string(),
            display_name: spec.display_name,
            source: Some(spec.source.into()),
            target: Some(spec.target.into()),
            objects: spec.objects.into_iter().map(Into::into).collect(),
            format: Some(spec.format.into()),
            partition: pb::PartitionPolicy::from(spec.partition).into(),
            key_change: pb::KeyChange::from(spec.key_change).into(),
            delivery: pb::Delivery::from(spec.delivery).into(),
            start_lsn: match spec.start {
                StartAt::Now => 0,
                StartAt::Lsn(lsn) => lsn.0,
            },
            dead_letter_topic: match spec.on_bad_record {
                BadRecord::Stop => String::new(),
                BadRecord::DeadLetter(topic) => topic,
            },
            retry: Some(spec.retry.into()),
            limits: Some(spec.limits.into()),
            alerts: spec.alerts.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::PostgresTask> for PostgresTask {
    type Error = ConvertError;

    fn try_from(spec: pb::PostgresTask) -> Result<Self, Self::Error> {
        Ok(Self {
            name: parsed("name", &spec.name)?,
            display_name: spec.display_name,
            source: required("source", spec.source)?,
            target: required("target", spec.target)?,
            objects: listed("objects", each("objects", spec.objects)?)?,
            format: required("format", spec.format)?,
            partition: enumerated::<pb::PartitionPolicy, _>("partition", spec.partition)?,
            key_change: enumerated::<pb::KeyChange, _>("key_change", spec.key_change)?,
            delivery: enumerated::<pb::Delivery, _>("delivery", spec.delivery)?,
            start: match spec.start_lsn {
                0 => StartAt::Now,
                lsn => StartAt::Lsn(Lsn(lsn)),
            },
            on_bad_record: match spec.dead_letter_topic {
                none if none.is_empty() => BadRecord::Stop,
                topic => BadRecord::DeadLetter(topic),
            },
            retry: required("retry", spec.retry)?,
            limits: required("limits", spec.limits)?,
            alerts: alerts(spec.alerts)?,
        })
    }
}

impl From<Retry> for pb::Retry {
    fn from(retry: Retry) -> Self {
        Self { connection_ms: retry.connection.0, other_ms: retry.other.0 }
    }
}

impl TryFrom<pb::Retry> for Retry {
    type Error = ConvertError;

    fn try_from(retry: pb::Retry) -> Result<Self, Self::Error> {
        let bounded = |field: &str, ms: u64, (least, most): (Period, Period)| {
            let period = Period(ms);
            if (least..=most).contains(&period) {
                return Ok(period);
            }
            let problem = format!("is {period}, out of bounds: from {least} to {most}");
            Err(ConvertError::new(field, problem))
        };
        Ok(Self {
            connection: bounded("connection_ms", retry.connection_ms, Self::CONNECTION_BOUNDS)?,
            other: bounded("other_ms", retry.other_ms, Self::OTHER_BOUNDS)?,
        })
    }
}

impl From<Limits> for pb::Limits {
    fn from(limits: Limits) -> Self {
        Self {
            record_bytes: limits.record_bytes.0,
            bytes_per_second: limits.bytes_per_second.0,
            rows_per_second: limits.rows_per_second,
        }
    }
}

impl TryFrom<pb::Limits> for Limits {
    type Error = ConvertError;

    fn try_from(limits: pb::Limits) -> Result<Self, Self::Error> {
        match limits.record_bytes {
            0 => Err(ConvertError::new("record_bytes", "is 0: no record would fit")),
            bytes if bytes > Limits::LARGEST_RECORD.0 => {
                let most = Limits::LARGEST_RECORD;
                let problem = format!("is {bytes}, out of bounds: at most {most}");
                Err(ConvertError::new("record_bytes", problem))
            }
            bytes => Ok(Self {
                record_bytes: ByteSize(bytes),
                bytes_per_second: ByteSize(limits.bytes_per_second),
                rows_per_second: limits.rows_per_second,
            }),
        }
    }
}
