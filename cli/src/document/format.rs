//! `format:` of a `postgres_to_kafka` document.

use tidewire_shared::spec::{
    BinaryMode, DebeziumOptions, DecimalMode, Format, FormatKind, HstoreMode, IntervalMode,
    RecordKey, TimeMode, TimestampUnit,
};

use super::place::{Keys, Place, Walk};

const KEYS: &[&str] = &[
    "type",
    "key",
    "headers",
    "sourceTimestampUnit",
    "decimal",
    "time",
    "interval",
    "binary",
    "hstore",
    "unknownTypes",
    "tombstones",
    "schemas",
    "topicPrefix",
];

/// Options of `debezium_json`, by Debezium's own names.
const DEBEZIUM: [&str; 9] = [
    "decimal",
    "time",
    "interval",
    "binary",
    "hstore",
    "unknownTypes",
    "tombstones",
    "schemas",
    "topicPrefix",
];

pub(super) const KINDS: [(&str, FormatKind); 4] = [
    ("dts_avro", FormatKind::DtsAvro),
    ("shareplex_json", FormatKind::ShareplexJson),
    ("canal_json", FormatKind::CanalJson),
    ("debezium_json", FormatKind::DebeziumJson),
];

pub(super) fn format(place: Option<&Place<'_>>) -> Walk<Format> {
    let default = Format::default();
    let Some(place) = place else { return Ok(default) };
    let keys = place.keys(KEYS)?;
    let kind = keys.need("type")?.word(&KINDS)?;
    if kind != FormatKind::DebeziumJson
        && let Some(at) = DEBEZIUM.iter().find_map(|key| keys.get(key))
    {
        return at.wrong("is an option of debezium_json", "leave it out");
    }
    Ok(Format {
        kind,
        key: keys.get_or("key", default.key, |at| {
            at.word(&[("json", RecordKey::Json), ("none", RecordKey::None)])
        })?,
        identity_headers: keys
            .get_or("headers", false, |at| at.word(&[("identity", true), ("none", false)]))?,
        source_timestamp_unit: unit(&keys, kind)?,
        debezium: debezium(&keys)?,
    })
}

fn debezium(keys: &Keys<'_>) -> Walk<DebeziumOptions> {
    let default = DebeziumOptions::default();
    Ok(DebeziumOptions {
        decimal: keys.get_or("decimal", default.decimal, |at| at.word(DecimalMode::WORDS))?,
        time: keys.get_or("time", default.time, |at| at.word(TimeMode::WORDS))?,
        interval: keys.get_or("interval", default.interval, |at| at.word(IntervalMode::WORDS))?,
        binary: keys.get_or("binary", default.binary, |at| at.word(BinaryMode::WORDS))?,
        hstore: keys.get_or("hstore", default.hstore, |at| at.word(HstoreMode::WORDS))?,
        unknown_types: keys.get_or("unknownTypes", default.unknown_types, Place::truth)?,
        tombstones: keys.get_or("tombstones", default.tombstones, Place::truth)?,
        schemas: keys.get_or("schemas", default.schemas, Place::truth)?,
        topic_prefix: keys
            .get("topicPrefix")
            .map(|at| Ok(at.filled_text()?.to_owned()))
            .transpose()?,
    })
}

fn unit(keys: &Keys<'_>, kind: FormatKind) -> Walk<TimestampUnit> {
    let Some(place) = keys.get("sourceTimestampUnit") else {
        return Ok(TimestampUnit::Milliseconds);
    };
    let unit = place.word(&[("ms", TimestampUnit::Milliseconds), ("s", TimestampUnit::Seconds)])?;
    if kind != FormatKind::DtsAvro {
        return place.wrong("is an option of dts_avro", "leave it out");
    }
    Ok(unit)
}
