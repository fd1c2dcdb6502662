//! Reads DTS Avro records with `apache-avro` and the published schema: the oracle of the encoder.

#![allow(dead_code, unreachable_pub, missing_docs)]

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use serde_json::{Map, Value, json};

/// Branches of the union of one value in an image.
const BRANCHES: [&str; 13] = [
    "null",
    "Integer",
    "Character",
    "Decimal",
    "Float",
    "Timestamp",
    "DateTime",
    "TimestampWithTimeZone",
    "BinaryGeometry",
    "TextGeometry",
    "BinaryObject",
    "TextObject",
    "EmptyObject",
];

/// The published schema; without its last field for consumers that do not know it.
pub struct RecordReader {
    schemas: Vec<Schema>,
}

impl RecordReader {
    pub fn published() -> Self {
        Self::with(|_| ())
    }

    pub fn without_born_timestamp() -> Self {
        Self::with(|record| drop(record["fields"].as_array_mut().expect("fields").pop()))
    }

    fn with(change: impl FnOnce(&mut Value)) -> Self {
        let text = include_str!("../schemas/Record.avsc");
        let mut schemas: Vec<Value> = serde_json::from_str(text).expect("JSON");
        change(schemas.last_mut().expect("record"));
        let texts: Vec<String> = schemas.iter().map(Value::to_string).collect();
        Self { schemas: Schema::parse_list(&texts).expect("schema") }
    }

    /// The record as text: fields in the order of the schema, one a line.
    pub fn text(&self, bytes: &[u8]) -> String {
        let Avro::Record(fields) = self.value(&mut &bytes[..]) else { panic!("a record") };
        let lines: Vec<_> =
            fields.iter().map(|(name, value)| format!(" \"{name}\": {}", compact(value))).collect();
        format!("{{\n{}\n}}", lines.join(",\n"))
    }

    /// The record as JSON, values of images tagged with their branch, and how many bytes are left.
    pub fn read(&self, mut bytes: &[u8]) -> (Value, usize) {
        (view(&self.value(&mut bytes)), bytes.len())
    }

    fn value(&self, bytes: &mut &[u8]) -> Avro {
        let record = self.schemas.last().expect("record");
        GenericDatumReader::builder(record)
            .writer_schemata(self.schemas.iter().collect())
            .expect("schemas")
            .build()
            .expect("reader")
            .read_value(bytes)
            .expect("record")
    }
}

/// A value on one line, records in the order of the schema.
fn compact(value: &Avro) -> String {
    match value {
        Avro::Record(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("\"{name}\": {}", compact(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Avro::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| format!("\n  {}", compact(item))).collect();
            format!("[{}]", items.join(","))
        }
        Avro::Union(branch, inner) => match inner.as_ref() {
            Avro::Record(_) | Avro::Enum(..) => {
                format!("{{\"{}\": {}}}", BRANCHES[*branch as usize], compact(inner))
            }
            _ => compact(inner),
        },
        other => view(other).to_string(),
    }
}

fn view(value: &Avro) -> Value {
    match value {
        Avro::Null => Value::Null,
        Avro::Int(number) => json!(number),
        Avro::Long(number) => json!(number),
        Avro::Double(number) => json!(format!("{number:?}")),
        Avro::String(text) => json!(text),
        Avro::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!(bytes),
        },
        Avro::Enum(_, symbol) => json!(symbol),
        Avro::Array(items) => items.iter().map(view).collect(),
        Avro::Map(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), view(value))).collect())
        }
        Avro::Record(fields) => {
            let fields: Map<_, _> =
                fields.iter().map(|(name, value)| (name.clone(), view(value))).collect();
            Value::Object(fields)
        }
        Avro::Union(branch, inner) => match inner.as_ref() {
            Avro::Record(_) | Avro::Enum(..) => json!({ BRANCHES[*branch as usize]: view(inner) }),
            _ => view(inner),
        },
        other => panic!("not in the schema: {other:?}"),
    }
}
