//! The Kafka side of a task: brokers, and what is written how.

use tidewire_shared::spec::{
    Compression, Format, FormatKind, KafkaTarget, ObjectRule, RecordKey, TableName, TimestampUnit,
};

use super::{ConvertError, each, enumerated, listed, same_variants, text, texts};
use crate::task::v1 as pb;

same_variants!(Compression, pb::Compression, [None, Gzip, Snappy, Lz4, Zstd]);
same_variants!(FormatKind, pb::FormatKind, [DtsAvro, ShareplexJson]);
same_variants!(RecordKey, pb::RecordKey, [Json, None]);
same_variants!(TimestampUnit, pb::TimestampUnit, [Milliseconds, Seconds]);

impl From<KafkaTarget> for pb::KafkaTarget {
    fn from(target: KafkaTarget) -> Self {
        Self {
            brokers: target.brokers,
            compression: pb::Compression::from(target.compression).into(),
            properties: target.properties.into_iter().collect(),
        }
    }
}

impl TryFrom<pb::KafkaTarget> for KafkaTarget {
    type Error = ConvertError;

    fn try_from(target: pb::KafkaTarget) -> Result<Self, Self::Error> {
        Ok(Self {
            brokers: texts("brokers", target.brokers)?,
            compression: enumerated::<pb::Compression, _>("compression", target.compression)?,
            properties: target.properties.into_iter().collect(),
        })
    }
}

impl From<ObjectRule> for pb::ObjectRule {
    fn from(rule: ObjectRule) -> Self {
        Self {
            tables: rule.tables.into_iter().map(Into::into).collect(),
            topic: rule.topic,
            partition_by: rule.partition_by,
        }
    }
}

impl TryFrom<pb::ObjectRule> for ObjectRule {
    type Error = ConvertError;

    fn try_from(rule: pb::ObjectRule) -> Result<Self, Self::Error> {
        Ok(Self {
            tables: listed("tables", each("tables", rule.tables)?)?,
            topic: text("topic", rule.topic)?,
            partition_by: rule.partition_by,
        })
    }
}

impl From<TableName> for pb::TableName {
    fn from(name: TableName) -> Self {
        Self { schema: name.schema, table: name.table }
    }
}

impl TryFrom<pb::TableName> for TableName {
    type Error = ConvertError;

    fn try_from(name: pb::TableName) -> Result<Self, Self::Error> {
        Ok(Self { schema: text("schema", name.schema)?, table: text("table", name.table)? })
    }
}

impl From<Format> for pb::Format {
    fn from(format: Format) -> Self {
        Self {
            kind: pb::FormatKind::from(format.kind).into(),
            key: pb::RecordKey::from(format.key).into(),
            identity_headers: format.identity_headers,
            source_timestamp_unit: pb::TimestampUnit::from(format.source_timestamp_unit).into(),
        }
    }
}

impl TryFrom<pb::Format> for Format {
    type Error = ConvertError;

    fn try_from(format: pb::Format) -> Result<Self, Self::Error> {
        Ok(Self {
            kind: enumerated::<pb::FormatKind, _>("kind", format.kind)?,
            key: enumerated::<pb::RecordKey, _>("key", format.key)?,
            identity_headers: format.identity_headers,
            source_timestamp_unit: enumerated::<pb::TimestampUnit, _>(
                "source_timestamp_unit",
                format.source_timestamp_unit,
            )?,
        })
    }
}
