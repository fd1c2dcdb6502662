//! The schema that JsonConverter puts beside a key or value with `schemas.enable`.
//!
//! Source: `org.apache.kafka.connect.json.JsonConverter#asJsonSchema`, whose order of members is kept.

use tidewire_shared::spec::{BinaryMode, DecimalMode, HstoreMode, IntervalMode};

use super::kind::{Kind, Numeric, Precision};
use super::table::Column;
use crate::schema::Relation;

/// The schemas of one table.
#[derive(Debug)]
pub(super) struct Schemas {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Schemas {
    /// `key` are the columns of the record's key.
    pub(super) fn new(
        prefix: &str,
        relation: &Relation,
        columns: &[Column],
        key: &[Column],
    ) -> Self {
        let table = format!("{prefix}.{}", relation.out_name);
        let fields = |columns: &[Column]| {
            let fields = columns.iter().map(|column| {
                let optional = !column.required || is_figure(&column.kind);
                let schema = of(&column.kind).default(column.default.as_deref());
                schema.text(optional, Some(&column.field))
            });
            Schema::structure(fields.collect())
        };
        let row =
            |field| fields(columns).named(&format!("{table}.Value"), None).text(true, Some(field));
        let value = Schema::structure(vec![
            row("before"),
            row("after"),
            source(),
            transaction(),
            Schema::of("string").text(false, Some("op")),
            Schema::of("int64").text(true, Some("ts_ms")),
            Schema::of("int64").text(true, Some("ts_us")),
            Schema::of("int64").text(true, Some("ts_ns")),
        ]);
        let value = value.named(&format!("{table}.Envelope"), Some(2));
        let key = fields(key).named(&format!("{table}.Key"), None);
        Self {
            key: key.text(false, None).into_bytes(),
            value: value.text(false, None).into_bytes(),
        }
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }
}

/// What stands before and behind a payload.
pub(super) fn around(schema: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
    match schema {
        None => (Vec::new(), Vec::new()),
        Some(schema) => ([b"{\"schema\":", schema, b",\"payload\":"].concat(), b"}".to_vec()),
    }
}

/// A schema up to what its place adds: whether it is optional, and the name of its field.
struct Schema {
    /// From `type` to before `optional`.
    head: String,
    /// From `name` to before `field`.
    tail: String,
}

impl Schema {
    fn of(kind: &str) -> Self {
        Self { head: format!("\"type\":\"{kind}\""), tail: String::new() }
    }

    fn structure(fields: Vec<String>) -> Self {
        Self {
            head: format!("\"type\":\"struct\",\"fields\":[{}]", fields.join(",")),
            tail: String::new(),
        }
    }

    /// An array of `items`.
    fn array(items: &Self, optional: bool) -> Self {
        let items = items.text(optional, None);
        Self { head: format!("\"type\":\"array\",\"items\":{items}"), tail: String::new() }
    }

    /// A map from text to text.
    fn map(optional_values: bool) -> Self {
        let keys = Self::of("string").text(false, None);
        let values = Self::of("string").text(optional_values, None);
        let head = format!("\"type\":\"map\",\"keys\":{keys},\"values\":{values}");
        Self { head, tail: String::new() }
    }

    fn named(mut self, name: &str, version: Option<u32>) -> Self {
        self.tail.push_str(&format!(",\"name\":{}", quoted(name)));
        if let Some(version) = version {
            self.tail.push_str(&format!(",\"version\":{version}"));
        }
        self
    }

    /// A semantic type of version 1.
    fn semantic(kind: &str, name: &str) -> Self {
        Self::of(kind).named(name, Some(1))
    }

    fn doc(mut self, doc: &str) -> Self {
        self.tail.push_str(&format!(",\"doc\":{}", quoted(doc)));
        self
    }

    fn parameters(mut self, parameters: &[(&str, &str)]) -> Self {
        let members: Vec<_> = parameters
            .iter()
            .map(|(name, value)| format!("{}:{}", quoted(name), quoted(value)))
            .collect();
        self.tail.push_str(&format!(",\"parameters\":{{{}}}", members.join(",")));
        self
    }

    /// A default, as JSON.
    fn default(mut self, default: Option<&[u8]>) -> Self {
        if let Some(default) = default {
            self.tail.push_str(&format!(",\"default\":{}", String::from_utf8_lossy(default)));
        }
        self
    }

    fn text(&self, optional: bool, field: Option<&str>) -> String {
        let Self { head, tail } = self;
        let field = field.map_or_else(String::new, |f| format!(",\"field\":{}", quoted(f)));
        format!("{{{head},\"optional\":{optional}{tail}{field}}}")
    }
}

fn quoted(text: &str) -> String {
    String::from_utf8_lossy(&crate::encode::columns::quoted(text)).into_owned()
}

fn source() -> String {
    let text = |name, optional| Schema::of("string").text(optional, Some(name));
    let number = |name, optional| Schema::of("int64").text(optional, Some(name));
    let snapshot = Schema::semantic("string", "io.debezium.data.Enum")
        .parameters(&[(
            "allowed",
            "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental",
        )])
        .default(Some(b"\"false\""));
    let fields = vec![
        text("version", false),
        text("connector", false),
        text("name", false),
        number("ts_ms", false),
        snapshot.text(true, Some("snapshot")),
        text("db", false),
        text("sequence", true),
        number("ts_us", true),
        number("ts_ns", true),
        text("schema", false),
        text("table", false),
        number("txId", true),
        number("lsn", true),
        number("xmin", true),
        text("origin", true),
        number("origin_lsn", true),
    ];
    Schema::structure(fields)
        .named("io.debezium.connector.postgresql.Source", Some(1))
        .text(false, Some("source"))
}

fn transaction() -> String {
    let fields = vec![
        Schema::of("string").text(false, Some("id")),
        Schema::of("int64").text(false, Some("total_order")),
        Schema::of("int64").text(false, Some("data_collection_order")),
    ];
    Schema::structure(fields).named("event.block", Some(1)).text(true, Some("transaction"))
}

/// The schema of a kind of value.
fn of(kind: &Kind) -> Schema {
    match kind {
        Kind::Integer(name) | Kind::Float(name) => Schema::of(name),
        Kind::Bool | Kind::Bit => Schema::of("boolean"),
        Kind::Decimal(mode, numeric) => decimal(*mode, *numeric),
        Kind::Money(DecimalMode::Precise) => {
            Schema::semantic("bytes", "org.apache.kafka.connect.data.Decimal")
                .parameters(&[("scale", "2")])
        }
        Kind::Money(mode) => decimal(*mode, Numeric::Variable),
        Kind::Text("") => Schema::of("string"),
        Kind::Text(name) => Schema::semantic("string", name),
        Kind::Enum(labels) => Schema::semantic("string", "io.debezium.data.Enum")
            .parameters(&[("allowed", &labels.join(","))]),
        Kind::Bytes(BinaryMode::Bytes) | Kind::Unknown(BinaryMode::Bytes) => Schema::of("bytes"),
        Kind::Bytes(_) | Kind::Unknown(_) => Schema::of("string"),
        Kind::Bits(length) => {
            let length = if *length < 0 { i32::MAX } else { *length };
            Schema::semantic("bytes", "io.debezium.data.Bits")
                .parameters(&[("length", &length.to_string())])
        }
        Kind::Date(_) | Kind::Time(_) | Kind::Timestamp(_) => temporal(kind),
        Kind::ZonedTimestamp(_) => Schema::semantic("string", "io.debezium.time.ZonedTimestamp"),
        Kind::ZonedTime => Schema::semantic("string", "io.debezium.time.ZonedTime"),
        Kind::Interval(IntervalMode::Numeric) => {
            Schema::semantic("int64", "io.debezium.time.MicroDuration")
        }
        Kind::Interval(IntervalMode::String) => {
            Schema::semantic("string", "io.debezium.time.Interval")
        }
        Kind::Point | Kind::Line | Kind::Circle => figure(kind),
        Kind::Segment | Kind::Rectangle | Kind::Path | Kind::Polygon => geometry(),
        Kind::Hstore(HstoreMode::Json) => Schema::semantic("string", "io.debezium.data.Json"),
        Kind::Hstore(HstoreMode::Map) => Schema::map(true),
        Kind::Array(element) => {
            // Debezium forgets that these elements may be NULL.
            let required = matches!(**element, Kind::Enum(_) | Kind::Unknown(_));
            Schema::array(&of(element), !required)
        }
        Kind::Vector(name) => Schema::array(&Schema::of(name), false),
    }
}

fn decimal(mode: DecimalMode, numeric: Numeric) -> Schema {
    match (mode, numeric) {
        (DecimalMode::String, _) => Schema::of("string"),
        (DecimalMode::Double, _) => Schema::of("double"),
        (DecimalMode::Precise, Numeric::Variable) => {
            let fields = vec![
                Schema::of("int32").text(false, Some("scale")),
                Schema::of("bytes").text(false, Some("value")),
            ];
            Schema::structure(fields)
                .named("io.debezium.data.VariableScaleDecimal", Some(1))
                .doc("Variable scaled decimal")
        }
        (DecimalMode::Precise, Numeric::Fixed { precision, scale }) => {
            Schema::semantic("bytes", "org.apache.kafka.connect.data.Decimal").parameters(&[
                ("scale", &scale.to_string()),
                ("connect.decimal.precision", &precision.to_string()),
            ])
        }
    }
}

fn temporal(kind: &Kind) -> Schema {
    let (kind, name) = match kind {
        Kind::Date(Precision::Iso) => ("string", "io.debezium.time.IsoDate"),
        Kind::Date(Precision::Connect) => ("int32", "org.apache.kafka.connect.data.Date"),
        Kind::Date(_) => ("int32", "io.debezium.time.Date"),
        Kind::Time(Precision::Iso) => ("string", "io.debezium.time.IsoTime"),
        Kind::Time(Precision::Connect) => ("int32", "org.apache.kafka.connect.data.Time"),
        Kind::Time(Precision::Millis) => ("int32", "io.debezium.time.Time"),
        Kind::Time(Precision::Micros) => ("int64", "io.debezium.time.MicroTime"),
        Kind::Timestamp(Precision::Iso) => ("string", "io.debezium.time.IsoTimestamp"),
        Kind::Timestamp(Precision::Connect) => ("int64", "org.apache.kafka.connect.data.Timestamp"),
        Kind::Timestamp(Precision::Millis) => ("int64", "io.debezium.time.Timestamp"),
        _ => ("int64", "io.debezium.time.MicroTimestamp"),
    };
    Schema::semantic(kind, name)
}

fn doubles(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| Schema::of("double").text(false, Some(name))).collect()
}

fn point() -> Schema {
    let mut fields = doubles(&["x", "y"]);
    fields.push(Schema::of("bytes").text(true, Some("wkb")));
    fields.push(Schema::of("int32").text(true, Some("srid")));
    Schema::structure(fields)
        .named("io.debezium.data.geometry.Point", Some(1))
        .doc("Geometry (POINT)")
}

fn figure(kind: &Kind) -> Schema {
    match kind {
        Kind::Point => point(),
        Kind::Line => Schema::structure(doubles(&["a", "b", "c"]))
            .named("io.debezium.data.geometry.Line", Some(1))
            .doc("Geometry (LINE)"),
        _ => {
            let mut fields = vec![point().text(false, Some("center"))];
            fields.extend(doubles(&["radius"]));
            Schema::structure(fields)
                .named("io.debezium.data.geometry.Circle", Some(1))
                .doc("Geometry (CIRCLE)")
        }
    }
}

/// Debezium calls these optional even in a NOT NULL column.
fn is_figure(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Line | Kind::Circle | Kind::Segment | Kind::Rectangle | Kind::Path | Kind::Polygon
    )
}

fn geometry() -> Schema {
    let fields = vec![
        Schema::of("bytes").text(false, Some("wkb")),
        Schema::of("int32").text(true, Some("srid")),
        Schema::map(false).text(true, Some("extensions")),
    ];
    Schema::structure(fields).named("io.debezium.data.geometry.Geometry", Some(2)).doc("Geometry")
}
