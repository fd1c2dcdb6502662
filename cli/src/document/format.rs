//! `format:` of a `postgres_to_kafka` document.

use tidewire_shared::spec::{Format, FormatKind, RecordKey, TimestampUnit};

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

/// Without the key: `dts_avro`, as the reference service does.
const DEFAULT: Format = Format {
    kind: FormatKind::DtsAvro,
    key: RecordKey::Json,
    identity_headers: false,
    source_timestamp_unit: TimestampUnit::Milliseconds,
};

pub(super) fn format(place: Option<&Place<'_>>) -> Walk<Format> {
    let Some(place) = place else { return Ok(DEFAULT) };
    let keys = place.keys(KEYS)?;
    let kind = kind(&keys.need("type")?)?;
    if let Some(at) = DEBEZIUM.iter().find_map(|key| keys.get(key)) {
        return at.wrong("is an option of debezium_json", "leave it out");
    }
    let unit = unit(&keys, kind)?;
    Ok(Format {
        kind,
        key: keys.get_or("key", RecordKey::Json, |at| {
            at.word(&[("json", RecordKey::Json), ("none", RecordKey::None)])
        })?,
        identity_headers: keys
            .get_or("headers", false, |at| at.word(&[("identity", true), ("none", false)]))?,
        source_timestamp_unit: unit,
    })
}

fn kind(place: &Place<'_>) -> Walk<FormatKind> {
    let kind = place.word(&[
        ("dts_avro", Some(FormatKind::DtsAvro)),
        ("shareplex_json", Some(FormatKind::ShareplexJson)),
        ("canal_json", None),
        ("debezium_json", None),
    ])?;
    match kind {
        Some(kind) => Ok(kind),
        None => {
            place.later(format_args!("format {}", place.text()?), "use dts_avro or shareplex_json")
        }
    }
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
