//! Records of `debezium_json` as changes: the schemas that stand in the records say how a value
//! becomes PostgreSQL's text. The task writes `schemas: true`, `decimal: string` and `headers: identity`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp, ToSpan as _, tz::TimeZone};
use serde_json::Value;

use super::dts_avro::Delivered;
use super::flat_json::identified;
use super::{Datum, Operation, Row};
use crate::reader::Record;

/// The change that a record tells of; none of a tombstone.
///
/// # Errors
/// When it is no record of the format, or has no identity headers.
pub fn change(record: &Record) -> Result<Option<Delivered>> {
    let Some(value) = record.value.as_deref() else { return Ok(None) };
    let value: Value = serde_json::from_slice(value)?;
    let (schema, payload) = (&value["schema"], &value["payload"]);
    let operation = match payload["op"].as_str().context("no op")? {
        "c" => Operation::Insert,
        "u" => Operation::Update,
        "d" => Operation::Delete,
        "t" => Operation::Truncate,
        other => bail!("op {other}"),
    };
    let source = &payload["source"];
    let object = ["db", "schema", "table"].map(|name| source[name].as_str().map(str::to_owned));
    let object: Option<Vec<_>> = object.into_iter().collect();
    let image = |name: &str| {
        let fields = &member(schema, name).context("no schema of the image")?["fields"];
        row(fields, &payload[name]).with_context(|| name.to_owned())
    };
    let (before, after) = (image("before")?, image("after")?);
    identified(record, operation, object.context("no table")?, before, after).map(Some)
}

/// The schema of a member of a struct.
fn member<'v>(schema: &'v Value, name: &str) -> Option<&'v Value> {
    schema["fields"].as_array()?.iter().find(|field| field["field"] == name)
}

fn row(fields: &Value, image: &Value) -> Result<Option<Row>> {
    let Some(image) = image.as_object() else { return Ok(None) };
    let fields = fields.as_array().context("no fields")?;
    let column = |field: &Value| {
        let name = field["field"].as_str().context("a field without its name")?;
        let value = image.get(name).with_context(|| format!("no {name}"))?;
        let datum = datum(field, value).with_context(|| format!("{name}: {field}"))?;
        Ok((Arc::from(name), datum))
    };
    fields.iter().map(column).collect::<Result<Row>>().map(Some)
}

/// The infinite dates, as Debezium's types tell them.
const FUTURE_DAY: i64 = 2_146_033_979;
const PAST_DAY: i64 = -2_147_472_691;

fn datum(field: &Value, value: &Value) -> Result<Datum> {
    if value.is_null() {
        return Ok(Datum::Null);
    }
    if *value == "__debezium_unavailable_value" {
        return Ok(Datum::Missing);
    }
    let number = || value.as_i64().context("no whole number");
    let text = || value.as_str().context("no text");
    let name = field["name"].as_str().unwrap_or_default();
    let told = match (field["type"].as_str().unwrap_or_default(), name) {
        ("int16" | "int32" | "int64", "") => number()?.to_string(),
        ("float" | "double", "") => {
            // JSON has no number for NaN and the infinities: they stand there as texts.
            let told = value.as_f64().or_else(|| value.as_str()?.parse().ok());
            return told.map(Datum::Float).context("no number");
        }
        ("boolean", "") => if value.as_bool().context("no truth")? { "t" } else { "f" }.to_owned(),
        ("string", "") => return Ok(plain(text()?)),
        ("string", "io.debezium.data.Json") => return Ok(json(text()?)),
        ("string", "io.debezium.data.Uuid") => text()?.to_owned(),
        ("int32", "io.debezium.time.Date") => match number()? {
            FUTURE_DAY => "infinity".to_owned(),
            PAST_DAY => "-infinity".to_owned(),
            days => {
                let date = Date::constant(1970, 1, 1).checked_add(days.days())?;
                of_era(date.year(), "", |year| {
                    date.with().year(year).build().map(|it| it.to_string())
                })?
            }
        },
        ("int64", "io.debezium.time.MicroTimestamp") => match number()? {
            i64::MAX => "infinity".to_owned(),
            i64::MIN => "-infinity".to_owned(),
            micros => {
                let since = SignedDuration::from_micros(micros);
                moment(DateTime::constant(1970, 1, 1, 0, 0, 0, 0).checked_add(since)?, "")?
            }
        },
        ("string", "io.debezium.time.ZonedTimestamp") => match text()? {
            infinite @ ("infinity" | "-infinity") => infinite.to_owned(),
            told => {
                // Six digits are what jiff wants of a year before Christ.
                let at: Timestamp = match told.strip_prefix('-') {
                    Some(before_christ) => format!("-00{before_christ}").parse()?,
                    None => told.parse()?,
                };
                moment(TimeZone::UTC.to_datetime(at), "+00")?
            }
        },
        ("bytes", "") => return Ok(bytes(&STANDARD.decode(text()?)?)),
        // `cargo x parity` compares it with what Debezium writes.
        (_, _) => return Ok(Datum::Unread),
    };
    Ok(Datum::Text(told.into()))
}

/// Texts, and with `decimal: string` numbers, whose infinities have Java's names, and money without its
/// sign.
fn plain(text: &str) -> Datum {
    let other = match text {
        "NAN" => "NaN".to_owned(),
        "POSITIVE_INFINITY" => "Infinity".to_owned(),
        "NEGATIVE_INFINITY" => "-Infinity".to_owned(),
        _ if is_money(text) => match text.strip_prefix('-') {
            Some(amount) => format!("-${amount}"),
            None => format!("${text}"),
        },
        _ => return Datum::Text(text.into()),
    };
    Datum::OneOf(vec![text.into(), other.into()])
}

/// JSON, as which `hstore` goes, too.
fn json(text: &str) -> Datum {
    let pair = |(key, value): (String, Option<String>)| match value {
        Some(value) => format!("{key:?}=>{value:?}"),
        None => format!("{key:?}=>NULL"),
    };
    match serde_json::from_str::<BTreeMap<String, Option<String>>>(text) {
        Ok(pairs) => {
            let hstore = pairs.into_iter().map(pair).collect::<Vec<_>>().join(", ");
            Datum::OneOf(vec![text.into(), hstore.into()])
        }
        Err(_) => Datum::Text(text.into()),
    }
}

/// Whether it may be an amount with cents.
fn is_money(text: &str) -> bool {
    let cents = text.rsplit_once('.').map(|(_, cents)| cents.len());
    cents == Some(2) && text.parse::<f64>().is_ok()
}

/// Bytes, and the texts of types that Debezium does not know.
fn bytes(bytes: &[u8]) -> Datum {
    let hex = bytes.iter().fold("\\x".to_owned(), |hex, byte| format!("{hex}{byte:02x}"));
    match std::str::from_utf8(bytes) {
        Ok(text) => Datum::OneOf(vec![hex.into(), text.into()]),
        Err(_) => Datum::Text(hex.into()),
    }
}

/// As PostgreSQL writes a time stamp under ISO dates.
fn moment(at: DateTime, zone: &str) -> Result<String> {
    of_era(at.year(), zone, |year| Ok(at.with().year(year).build()?.to_string().replace('T', " ")))
}

/// Writes a year before Christ as PostgreSQL does: year 0 of the calendar is 1 BC.
fn of_era(
    year: i16,
    zone: &str,
    write: impl FnOnce(i16) -> Result<String, jiff::Error>,
) -> Result<String> {
    match year {
        ..=0 => Ok(format!("{}{zone} BC", write(1 - year)?)),
        _ => Ok(format!("{}{zone}", write(year)?)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_told_as_postgresql_tells_them() {
        let named = |kind: &str, name: &str| json!({"type": kind, "name": name});
        let cases = [
            (json!({"type": "int64"}), json!(-7), "-7"),
            (json!({"type": "boolean"}), json!(false), "f"),
            (named("int32", "io.debezium.time.Date"), json!(20_454), "2026-01-01"),
            (
                named("int64", "io.debezium.time.MicroTimestamp"),
                json!(-999_500),
                "1969-12-31 23:59:59.0005",
            ),
            (named("int64", "io.debezium.time.MicroTimestamp"), json!(i64::MAX), "infinity"),
            (named("int32", "io.debezium.time.Date"), json!(-735_160), "0044-03-15 BC"),
            (named("int32", "io.debezium.time.Date"), json!(2_146_033_979), "infinity"),
            (
                named("int64", "io.debezium.time.MicroTimestamp"),
                json!(-735_160 * 86_400_000_000_i64 + 36_000_000_000),
                "0044-03-15 10:00:00 BC",
            ),
            (
                named("string", "io.debezium.time.ZonedTimestamp"),
                json!("-0043-03-15T10:00:00.000000Z"),
                "0044-03-15 10:00:00+00 BC",
            ),
            (
                named("string", "io.debezium.time.ZonedTimestamp"),
                json!("2026-01-01T10:00:00.120000Z"),
                "2026-01-01 10:00:00.12+00",
            ),
            (named("string", "io.debezium.time.ZonedTimestamp"), json!("-infinity"), "-infinity"),
            (json!({"type": "bytes"}), json!("AP8="), "\\x00ff"),
        ];
        for (field, value, expected) in cases {
            assert_eq!(datum(&field, &value).expect("read"), Datum::Text(expected.into()));
        }
        let infinite = datum(&json!({"type": "float"}), &json!("-Infinity")).expect("read");
        assert_eq!(infinite, Datum::Float(f64::NEG_INFINITY));
        for (field, value, both) in [
            (json!({"type": "string"}), "NAN", ["NAN", "NaN"]),
            (json!({"type": "string"}), "-0.01", ["-0.01", "-$0.01"]),
            (
                named("string", "io.debezium.data.Json"),
                "{\"a\":\"1\",\"b\":null}",
                ["{\"a\":\"1\",\"b\":null}", "\"a\"=>\"1\", \"b\"=>NULL"],
            ),
            (json!({"type": "bytes"}), "JA==", ["\\x24", "$"]),
        ] {
            let both = both.map(Into::into).to_vec();
            assert_eq!(datum(&field, &json!(value)).expect("read"), Datum::OneOf(both));
        }
        let null = datum(&json!({"type": "int64"}), &Value::Null).expect("read");
        assert_eq!(null, Datum::Null);
        let strange = datum(&named("struct", "io.debezium.data.geometry.Point"), &json!({}));
        assert_eq!(strange.expect("read"), Datum::Unread);
        assert!(datum(&json!({"type": "int64"}), &json!("7")).is_err());
    }
}
