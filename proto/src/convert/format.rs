//! How a task writes its records.

use tidewire_shared::spec::{
    BinaryMode, DebeziumOptions, DecimalMode, Format, FormatKind, HstoreMode, IntervalMode,
    RecordKey, TimeMode, TimestampUnit,
};

use super::{ConvertError, enumerated, required, same_variants};
use crate::task::v1 as pb;

same_variants!(FormatKind, pb::FormatKind, [DtsAvro, ShareplexJson, CanalJson, DebeziumJson]);
same_variants!(RecordKey, pb::RecordKey, [Json, None]);
same_variants!(TimestampUnit, pb::TimestampUnit, [Milliseconds, Seconds]);

impl From<Format> for pb::Format {
    fn from(format: Format) -> Self {
        Self {
            kind: pb::FormatKind::from(format.kind).into(),
            key: pb::RecordKey::from(format.key).into(),
            identity_headers: format.identity_headers,
            source_timestamp_unit: pb::TimestampUnit::from(format.source_timestamp_unit).into(),
            debezium: Some(format.debezium.into()),
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
            debezium: required("debezium", format.debezium)?,
        })
    }
}

impl From<DebeziumOptions> for pb::DebeziumOptions {
    fn from(options: DebeziumOptions) -> Self {
        Self {
            decimal: options.decimal.as_str().to_owned(),
            time: options.time.as_str().to_owned(),
            interval: options.interval.as_str().to_owned(),
            binary: options.binary.as_str().to_owned(),
            hstore: options.hstore.as_str().to_owned(),
            unknown_types: options.unknown_types,
            tombstones: options.tombstones,
            schemas: options.schemas,
            topic_prefix: options.topic_prefix.unwrap_or_default(),
        }
    }
}

impl TryFrom<pb::DebeziumOptions> for DebeziumOptions {
    type Error = ConvertError;

    fn try_from(options: pb::DebeziumOptions) -> Result<Self, Self::Error> {
        Ok(Self {
            decimal: word("decimal", &options.decimal, DecimalMode::WORDS)?,
            time: word("time", &options.time, TimeMode::WORDS)?,
            interval: word("interval", &options.interval, IntervalMode::WORDS)?,
            binary: word("binary", &options.binary, BinaryMode::WORDS)?,
            hstore: word("hstore", &options.hstore, HstoreMode::WORDS)?,
            unknown_types: options.unknown_types,
            tombstones: options.tombstones,
            schemas: options.schemas,
            topic_prefix: (!options.topic_prefix.is_empty()).then_some(options.topic_prefix),
        })
    }
}

fn word<T: Copy>(field: &str, text: &str, words: &[(&str, T)]) -> Result<T, ConvertError> {
    let known = words.iter().find(|(word, _)| *word == text);
    known
        .map(|(_, value)| *value)
        .ok_or_else(|| ConvertError::new(field, format!("`{text}` has no meaning in this version")))
}
