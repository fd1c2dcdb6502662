//! Decodes records of the format `dts_avro` with the crate `apache-avro` and the published schema.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use tidewire_shared::Lsn;

use super::{Datum, Operation, Row};

/// The schema as Alibaba's example repository publishes it: an array of named schemas, the last of
/// which is the record.
const SCHEMA: &str = include_str!("../../schemas/Record.avsc");

/// A record of the format.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// Ordinal of the record in the task.
    pub id: i64,
    /// `Begin.final_lsn` of the transaction.
    pub commit: Lsn,
    /// Place of the change in its transaction, from 1.
    pub number: u64,
    /// The transaction.
    pub xid: u32,
    /// From where a reader could restart without missing this change.
    pub safe_position: Lsn,
    /// Commit time, as the record says it.
    pub source_timestamp: i64,
    /// `database.schema.table`.
    pub object: Vec<String>,
    /// What it did.
    pub operation: Operation,
    /// Names and type numbers of the columns.
    pub fields: Vec<(String, i32)>,
    /// The tags.
    pub tags: BTreeMap<String, String>,
    /// The row before.
    pub before: Option<Row>,
    /// The row after.
    pub after: Option<Row>,
    /// The statement, of a DDL record.
    pub statement: Option<String>,
}

/// Decodes values of the format.
#[derive(Debug)]
pub struct DtsAvro {
    schemas: Vec<Schema>,
}

impl DtsAvro {
    /// Parses the schema.
    ///
    /// # Errors
    /// Never, as long as the file is whole.
    pub fn new() -> Result<Self> {
        let parts: Vec<serde_json::Value> = serde_json::from_str(SCHEMA)?;
        Ok(Self { schemas: Schema::parse_list(parts.iter().map(ToString::to_string))? })
    }

    /// A decoder of many values.
    ///
    /// # Errors
    /// As [`DtsAvro::new`].
    pub fn decoder(&self) -> Result<Decoder<'_>> {
        let (record, _) = self.schemas.split_last().context("an empty schema")?;
        let reader = GenericDatumReader::builder(record)
            .writer_schemata(self.schemas.iter().collect())?
            .build()?;
        Ok(Decoder { reader })
    }
}

/// Decodes one value after another.
pub struct Decoder<'s> {
    reader: GenericDatumReader<'s>,
}

impl std::fmt::Debug for Decoder<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Decoder")
    }
}

impl Decoder<'_> {
    /// Decodes one value.
    ///
    /// # Errors
    /// When it is not a record of the format, or bytes are left over.
    pub fn decode(&self, mut value: &[u8]) -> Result<Delivered> {
        let decoded = self.reader.read_value(&mut value)?;
        ensure!(value.is_empty(), "{} bytes behind the record", value.len());
        delivered(Fields::of(decoded)?)
    }
}

/// The fields of an Avro record by name.
struct Fields(HashMap<String, Value>);

impl Fields {
    fn of(value: Value) -> Result<Self> {
        match value {
            Value::Record(fields) => Ok(Self(fields.into_iter().collect())),
            other => bail!("no record but {other:?}"),
        }
    }

    /// Takes a field; a union gives what it holds.
    fn take(&mut self, name: &str) -> Result<Value> {
        let value = self.0.remove(name).with_context(|| format!("no field {name}"))?;
        Ok(match value {
            Value::Union(_, inner) => *inner,
            plain => plain,
        })
    }

    fn text(&mut self, name: &str) -> Result<String> {
        match self.take(name)? {
            Value::String(text) | Value::Enum(_, text) => Ok(text),
            other => bail!("{name} is no text but {other:?}"),
        }
    }

    fn long(&mut self, name: &str) -> Result<i64> {
        match self.take(name)? {
            Value::Long(number) => Ok(number),
            Value::Int(number) => Ok(number.into()),
            other => bail!("{name} is no number but {other:?}"),
        }
    }

    fn bytes(&mut self, name: &str) -> Result<Vec<u8>> {
        match self.take(name)? {
            Value::Bytes(bytes) => Ok(bytes),
            other => bail!("{name} is no bytes but {other:?}"),
        }
    }

    /// A number of at least `digits` digits, or nothing where the field is null.
    fn digits(&mut self, name: &str, digits: usize) -> Result<Option<String>> {
        match self.take(name)? {
            Value::Null => Ok(None),
            Value::Int(number) => Ok(Some(format!("{number:0digits$}"))),
            other => bail!("{name} is no number but {other:?}"),
        }
    }
}

fn delivered(mut record: Fields) -> Result<Delivered> {
    ensure!(record.long("version")? == 0, "version other than 0");
    let position = record.text("sourcePosition")?;
    let (commit, number) = position.split_once('@').context("sourcePosition without @")?;
    let mut source = Fields::of(record.take("source")?)?;
    let source_type = source.text("sourceType")?;
    ensure!(source_type == "PostgreSQL", "source type {source_type}");
    let operation = match record.text("operation")?.as_str() {
        "INSERT" => Operation::Insert,
        "UPDATE" => Operation::Update,
        "DELETE" => Operation::Delete,
        "DDL" => Operation::Truncate,
        other => bail!("operation {other}"),
    };
    let fields = columns(record.take("fields")?)?;
    let before = record.take("beforeImages")?;
    let after = record.take("afterImages")?;
    let (after, statement) = match after {
        Value::String(statement) => (Value::Null, Some(statement)),
        images => (images, None),
    };
    let lsn = |text: &str| text.parse().map_err(|_| anyhow!("LSN {text}"));
    Ok(Delivered {
        id: record.long("id")?,
        commit: lsn(commit)?,
        number: number.parse().context("sourcePosition")?,
        xid: record.text("sourceTxid")?.parse().context("sourceTxid")?,
        safe_position: lsn(&record.text("safeSourcePosition")?)?,
        source_timestamp: record.long("sourceTimestamp")?,
        object: record
            .text("objectName")?
            .split('.')
            .map(|part| part.replace("\\u002E", "."))
            .collect(),
        operation,
        tags: tags(record.take("tags")?)?,
        before: image(before, &fields)?,
        after: image(after, &fields)?,
        fields,
        statement,
    })
}

fn columns(fields: Value) -> Result<Vec<(String, i32)>> {
    let items = match fields {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        other => bail!("fields are {other:?}"),
    };
    items
        .into_iter()
        .map(|item| {
            let mut field = Fields::of(item)?;
            Ok((field.text("name")?, i32::try_from(field.long("dataTypeNumber")?)?))
        })
        .collect()
}

fn tags(tags: Value) -> Result<BTreeMap<String, String>> {
    let Value::Map(tags) = tags else { bail!("tags are no map") };
    tags.into_iter()
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            other => bail!("tag {name} is {other:?}"),
        })
        .collect()
}

fn image(image: Value, fields: &[(String, i32)]) -> Result<Option<Row>> {
    let values = match image {
        Value::Null => return Ok(None),
        Value::Array(values) => values,
        other => bail!("an image is {other:?}"),
    };
    ensure!(values.len() == fields.len(), "{} values, {} fields", values.len(), fields.len());
    let row = values.into_iter().zip(fields).map(|(value, (name, type_number))| {
        let datum = datum(value, *type_number).with_context(|| format!("column {name}"))?;
        Ok((Arc::from(name.as_str()), datum))
    });
    row.collect::<Result<Row>>().map(Some)
}

/// The text that PostgreSQL has for a value. Branches are numbered in the order of the union.
fn datum(value: Value, type_number: i32) -> Result<Datum> {
    const BYTEA: i32 = 17;
    const TIME_ZONE: [i32; 2] = [1266, 1184];
    let Value::Union(branch, inner) = value else { bail!("{value:?} is no union") };
    let of = Fields::of;
    let text = match branch {
        0 => return Ok(Datum::Null),
        1 | 3 | 9 | 11 => of(*inner)?.text("value")?,
        2 => String::from_utf8(of(*inner)?.bytes("value")?)?,
        4 => match of(*inner)?.take("value")? {
            Value::Double(number) => return Ok(Datum::Float(number)),
            other => bail!("a float of {other:?}"),
        },
        6 => date_time(of(*inner)?)?,
        7 => {
            let mut zoned = of(*inner)?;
            ensure!(TIME_ZONE.contains(&type_number), "a time zone in type {type_number}");
            let zone = zoned.text("timezone")?;
            format!("{}{}", date_time(of(zoned.take("value")?)?)?, short_zone(&zone))
        }
        10 => {
            let bytes = of(*inner)?.bytes("value")?;
            if type_number == BYTEA { hexadecimal(&bytes) } else { String::from_utf8(bytes)? }
        }
        12 => match *inner {
            Value::Enum(_, symbol) if symbol == "NONE" => return Ok(Datum::Missing),
            other => bail!("an empty object {other:?}"),
        },
        other => bail!("branch {other} of the union, which PostgreSQL values never take"),
    };
    Ok(Datum::Text(text.into()))
}

/// `+00:00` is `+00` in PostgreSQL's text; minutes and seconds show where they are not zero.
fn short_zone(zone: &str) -> &str {
    let mut short = zone;
    while short.len() > 3 {
        let Some(shorter) = short.strip_suffix(":00") else { break };
        short = shorter;
    }
    short
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold("\\x".to_owned(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

/// A date, a time of day, or both; the field `millis` holds microseconds.
fn date_time(mut parts: Fields) -> Result<String> {
    let date = match (parts.digits("year", 4)?, parts.digits("month", 2)?, parts.digits("day", 2)?)
    {
        (Some(year), Some(month), Some(day)) => Some(format!("{year}-{month}-{day}")),
        (None, None, None) => None,
        partly => bail!("a date of {partly:?}"),
    };
    let time = (parts.digits("hour", 2)?, parts.digits("minute", 2)?, parts.digits("second", 2)?);
    let micros = parts.digits("millis", 6)?.unwrap_or_default();
    let time = match time {
        (Some(hour), Some(minute), Some(second)) => {
            let fraction = micros.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            Some(format!("{hour}:{minute}:{second}{point}{fraction}"))
        }
        (None, None, None) => None,
        partly => bail!("a time of {partly:?}"),
    };
    match (date, time) {
        (Some(date), Some(time)) => Ok(format!("{date} {time}")),
        (Some(one), None) | (None, Some(one)) => Ok(one),
        (None, None) => bail!("neither date nor time"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::column;
    use super::*;

    /// An INSERT made with another Avro library, fastavro 1.13.1; only its position is ours.
    const INSERT: &str = "0002c0b2cba70d16302f31364233373438403112302f313642333646380637343106\
        0831342e3900022473686f702e7075626c69632e6f7264657273000214706b5f756b5f696e666f247b22505249\
        4d415259223a5b226964225d7d00040a04696428086e6f7465320c616d6f756e74c81a08706169642014637265\
        617465645f6174c0120000040a02000434320408757466380a6669727374060a31322e353008041608424f4f4c\
        02740e02d41f02100214020c022002000280890f0c2b30303a303000f6c582a5fd67";

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let digits: Vec<u8> = hexadecimal
            .chars()
            .filter_map(|letter| letter.to_digit(16))
            .map(|digit| u8::try_from(digit).unwrap())
            .collect();
        digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
    }

    #[test]
    fn a_record_of_another_library_is_read() {
        let avro = DtsAvro::new().unwrap();
        let record = avro.decoder().unwrap().decode(&bytes(INSERT)).unwrap();
        assert_eq!((record.commit, record.number, record.xid), (Lsn(0x16B_3748), 1, 741));
        assert_eq!(record.object, ["shop", "public", "orders"]);
        assert_eq!(record.tags["pk_uk_info"], "{\"PRIMARY\":[\"id\"]}");
        assert_eq!(record.before, None);
        let after = record.after.unwrap();
        let text = |name| match column(&after, name) {
            Some(Datum::Text(text)) => text.to_string(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(text("id"), "42");
        assert_eq!(text("note"), "first");
        assert_eq!(text("amount"), "12.50");
        assert_eq!(text("paid"), "t");
        assert_eq!(text("created_at"), "2026-08-10 06:16:00.123456+00");
    }

    #[test]
    fn a_record_with_bytes_missing_or_left_over_is_refused() {
        let avro = DtsAvro::new().unwrap();
        let decoder = avro.decoder().unwrap();
        let whole = bytes(INSERT);
        assert!(decoder.decode(&whole[..whole.len() - 1]).is_err());
        assert!(decoder.decode(&[whole, vec![0]].concat()).is_err());
    }
}
