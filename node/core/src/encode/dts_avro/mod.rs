//! DTS Avro: bare binary `Record`s of the published schema (docs/formats.md).
//!
//! What does not change from record to record is written once: the source per encoder; object name,
//! tags and fields per table; positions per transaction.

mod datetime;
mod value;

use tidewire_shared::Lsn;
use tidewire_shared::spec::TimestampUnit;

pub(crate) use self::value::Invalid;
use self::value::ValueKind;
use super::avro;
use super::json;
use super::row::Row;
use super::text;
use crate::change::{Operation, Transaction, Value};
use crate::schema::Relation;

/// `SourceType` PostgreSQL.
const POSTGRESQL: i64 = 3;
/// Branches of the unions of `fields`, `beforeImages` and `afterImages`.
const STRING: i64 = 1;
const ARRAY: i64 = 2;
/// A value that was not sent: branch `EmptyObject`, symbol `NONE`.
const NONE_VALUE: [u8; 2] = [24, 2];

/// How to write the records of one table.
#[derive(Debug)]
pub(crate) struct Plan {
    kinds: Vec<ValueKind>,
    /// `objectName` to `fields` of a row.
    row_middle: Vec<u8>,
    /// `objectName` to `afterImages` of a truncate.
    truncate: Vec<u8>,
}

impl Plan {
    pub(crate) fn new(database: &str, relation: &Relation) -> Self {
        let kinds = relation.columns.iter().map(|c| ValueKind::of(c.type_oid, c.type_kind));
        Self {
            kinds: kinds.collect(),
            row_middle: row_middle(database, relation),
            truncate: truncate(database, relation),
        }
    }
}

/// Writes records; keeps the texts of the transaction it is in.
#[derive(Debug)]
pub(crate) struct Writer {
    unit: TimestampUnit,
    source: Vec<u8>,
    of: Option<(Lsn, u32)>,
    /// The commit LSN and `@`, as the beginning of `sourcePosition`.
    position: Vec<u8>,
    /// `safeSourcePosition` and `sourceTxid`.
    safe_and_xid: Vec<u8>,
    number: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(unit: TimestampUnit, server_version: &str) -> Self {
        let mut source = Vec::new();
        avro::long(&mut source, POSTGRESQL);
        avro::bytes(&mut source, server_version.as_bytes());
        let [position, safe_and_xid, number] = [const { Vec::new() }; 3];
        Self { unit, source, of: None, position, safe_and_xid, number }
    }

    /// Writes one record.
    ///
    /// # Errors
    /// The column whose text is not of its type.
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        plan: &Plan,
        relation: &Relation,
        row: &Row<'_>,
    ) -> Result<(), Invalid> {
        self.enter(row.transaction);
        avro::long(out, 0);
        avro::long(out, row.ordinal.cast_signed());
        avro::long(out, row.transaction.commit_time_us.div_euclid(self.divisor()));
        self.source_position(out, row.change.sequence);
        out.extend_from_slice(&self.safe_and_xid);
        out.extend_from_slice(&self.source);
        avro::long(out, operation(row.operation));
        if row.operation == Operation::Truncate {
            out.extend_from_slice(&plan.truncate);
        } else {
            out.extend_from_slice(&plan.row_middle);
            images(out, plan, relation, row)?;
        }
        avro::long(out, row.now_us.div_euclid(1_000));
        Ok(())
    }

    fn divisor(&self) -> i64 {
        match self.unit {
            TimestampUnit::Milliseconds => 1_000,
            TimestampUnit::Seconds => 1_000_000,
        }
    }

    fn source_position(&mut self, out: &mut Vec<u8>, sequence: u64) {
        self.number.clear();
        text::number(&mut self.number, sequence);
        let length = self.position.len() + self.number.len();
        avro::long(out, i64::try_from(length).unwrap_or(i64::MAX));
        out.extend_from_slice(&self.position);
        out.extend_from_slice(&self.number);
    }

    /// Writes what all records of a transaction share. A restart at `final_lsn` delivers the
    /// transaction again, whole: that makes it the safe position.
    fn enter(&mut self, transaction: &Transaction) {
        let of = Some((transaction.final_lsn, transaction.xid));
        if self.of == of {
            return;
        }
        self.of = of;
        self.position.clear();
        text::lsn(&mut self.position, transaction.final_lsn);
        self.safe_and_xid.clear();
        avro::bytes(&mut self.safe_and_xid, &self.position);
        self.position.push(b'@');
        self.number.clear();
        text::number(&mut self.number, transaction.xid);
        avro::bytes(&mut self.safe_and_xid, &self.number);
    }
}

fn operation(operation: Operation) -> i64 {
    match operation {
        Operation::Insert => 0,
        Operation::Update => 1,
        Operation::Delete => 2,
        // DDL.
        Operation::Truncate => 3,
    }
}

fn images(
    out: &mut Vec<u8>,
    plan: &Plan,
    relation: &Relation,
    row: &Row<'_>,
) -> Result<(), Invalid> {
    match &row.before {
        None => out.push(avro::NULL),
        Some(before) => image(out, plan, |index| {
            relation.columns.get(index).map_or(Value::Missing, |c| before.value(index, c))
        })?,
    }
    match &row.after {
        None => out.push(avro::NULL),
        Some(after) => image(out, plan, |index| after.value(index))?,
    }
    Ok(())
}

#[inline]
fn image<'a>(
    out: &mut Vec<u8>,
    plan: &Plan,
    value: impl Fn(usize) -> Value<'a>,
) -> Result<(), Invalid> {
    avro::long(out, ARRAY);
    avro::block(out, plan.kinds.len());
    for (index, kind) in plan.kinds.iter().enumerate() {
        match value(index) {
            Value::Null => out.push(avro::NULL),
            Value::Missing => out.extend_from_slice(&NONE_VALUE),
            Value::Text(text) => kind.write(out, text).map_err(|what| Invalid { index, what })?,
        }
    }
    out.push(avro::END);
    Ok(())
}

fn row_middle(database: &str, relation: &Relation) -> Vec<u8> {
    let mut out = object_name(database, relation);
    out.push(avro::NULL);
    if let Some(keys) = pk_uk_info(relation) {
        avro::block(&mut out, 1);
        avro::bytes(&mut out, b"pk_uk_info");
        avro::bytes(&mut out, &keys);
    }
    out.push(avro::END);
    avro::long(&mut out, ARRAY);
    avro::block(&mut out, relation.columns.len());
    for column in &relation.columns {
        avro::bytes(&mut out, column.out_name.as_bytes());
        avro::long(&mut out, i64::from(column.type_oid.cast_signed()));
    }
    out.push(avro::END);
    out
}

/// A truncate has no fields, so it has no tags either: the official consumer looks key columns up
/// among the fields.
fn truncate(database: &str, relation: &Relation) -> Vec<u8> {
    let mut out = object_name(database, relation);
    out.extend_from_slice(&[avro::NULL, avro::END, avro::NULL, avro::NULL]);
    avro::long(&mut out, STRING);
    avro::bytes(&mut out, relation.truncate_statement().as_bytes());
    out
}

/// `database.schema.table`; a dot inside a name is written as the six characters `\u002E`.
fn object_name(database: &str, relation: &Relation) -> Vec<u8> {
    let parts = [relation.database(database), &relation.out_name.schema, &relation.out_name.table];
    let name = parts.map(|part| part.replace('.', "\\u002E")).join(".");
    let mut out = Vec::new();
    avro::long(&mut out, STRING);
    avro::bytes(&mut out, name.as_bytes());
    out
}

/// `{"PRIMARY":["id"],"orders_code_key":["code"]}`. A unique index that is itself named `PRIMARY`
/// cannot stand beside a primary key and is left out.
fn pk_uk_info(relation: &Relation) -> Option<Vec<u8>> {
    let has_primary = relation.unique_keys.iter().any(|key| key.primary);
    let mut out = Vec::new();
    for key in &relation.unique_keys {
        if has_primary && !key.primary && key.name == "PRIMARY" {
            continue;
        }
        out.push(if out.is_empty() { b'{' } else { b',' });
        json::string(&mut out, if key.primary { b"PRIMARY" } else { key.name.as_bytes() });
        for (place, column) in key.columns.iter().enumerate() {
            out.extend_from_slice(if place == 0 { b":[" } else { b"," });
            json::string(&mut out, column.as_bytes());
        }
        out.push(b']');
    }
    (!out.is_empty()).then(|| {
        out.push(b'}');
        out
    })
}

#[cfg(test)]
mod tests {
    use tidewire_shared::spec::TableName;

    use super::*;
    use crate::facts::UniqueKey;
    use crate::schema::RelationColumn;

    fn orders() -> Relation {
        let types =
            [("id", 20), ("note", 25), ("amount", 1700), ("paid", 16), ("created_at", 1184)];
        let column = |(name, type_oid): (&str, u32)| RelationColumn {
            name: name.to_owned(),
            out_name: name.to_owned(),
            type_oid,
            type_kind: 'b',
            type_name: String::new(),
            in_identity: name == "id",
            detail: crate::schema::ColumnDetail::default(),
        };
        Relation {
            oid: 16_385,
            name: TableName { schema: "public".to_owned(), table: "orders".to_owned() },
            out_name: TableName { schema: "public".to_owned(), table: "orders".to_owned() },
            out_database: None,
            topic: 0,
            identity: 'd',
            columns: types.map(column).into(),
            key_known: true,
            key: vec![0],
            partition_columns: vec![0],
            unique_keys: vec![UniqueKey {
                name: "orders_pkey".to_owned(),
                primary: true,
                replica_identity: false,
                not_null: true,
                columns: vec!["id".to_owned()],
            }],
        }
    }

    /// Up to `operation`, as the samples have it.
    fn head(operation: i64) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [0, 1, 1_786_342_560] {
            avro::long(&mut out, number);
        }
        for text in ["0/16B3748@0/16B3720", "0/16B36F8", "741"] {
            avro::bytes(&mut out, text.as_bytes());
        }
        out.extend_from_slice(&Writer::new(TimestampUnit::Seconds, "14.9").source);
        avro::long(&mut out, operation);
        out
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    // Both samples were made with another Avro library from the published schema.
    const INSERT: &str = "0002c0b2cba70d26302f3136423337343840302f3136423337323012302f3136423336463\
        806373431060831342e3900022473686f702e7075626c69632e6f7264657273000214706b5f756b5f696e666f24\
        7b225052494d415259223a5b226964225d7d00040a04696428086e6f7465320c616d6f756e74c81a08706169642\
        014637265617465645f6174c0120000040a02000434320408757466380a6669727374060a31322e353008041608\
        424f4f4c02740e02d41f02100214020c022002000280890f0c2b30303a303000f6c582a5fd67";
    const DDL: &str = "0004c0b2cba70d26302f3136423337343840302f3136423337323012302f3136423336463806\
        373431060831342e3906021673686f702e7075626c6963000000000246414c544552205441424c45206f7264657\
        2732041444420434f4c554d4e206320696e74f6c582a5fd67";

    #[test]
    fn an_insert_is_byte_for_byte_that_of_another_writer() {
        let relation = orders();
        let plan = Plan::new("shop", &relation);
        let row = ["42", "first", "12.50", "t", "2026-08-10 06:16:00.123456+00"];
        let mut out = head(0);
        out.extend_from_slice(&plan.row_middle);
        out.push(avro::NULL);
        image(&mut out, &plan, |index| Value::Text(row[index].as_bytes())).expect("valid");
        avro::long(&mut out, 1_786_342_560_123);
        assert_eq!(hex(&out), INSERT);
    }

    #[test]
    fn a_statement_is_byte_for_byte_that_of_another_writer() {
        let mut out = head(3);
        // The sample has the id 2.
        out[1] = 4;
        avro::long(&mut out, STRING);
        avro::bytes(&mut out, b"shop.public");
        out.extend_from_slice(&[avro::NULL, avro::END, avro::NULL, avro::NULL]);
        avro::long(&mut out, STRING);
        avro::bytes(&mut out, b"ALTER TABLE orders ADD COLUMN c int");
        avro::long(&mut out, 1_786_342_560_123);
        assert_eq!(hex(&out), DDL);
    }
}
