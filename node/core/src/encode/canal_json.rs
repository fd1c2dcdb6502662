//! Canal's flat messages (docs/formats.md): one row per message, every value as text.
//!
//! Source: Canal's `FlatMessage`, whose members are written in its order.

use tidewire_shared::Lsn;

use super::columns::{Columns, old, quoted};
use super::row::Row;
use super::{sql_type, text};
use crate::change::{OldRow, Operation, Transaction, Value};
use crate::schema::Relation;

/// How to write the records of one table.
#[derive(Debug)]
pub(crate) struct Plan {
    /// From `database` to before the operation.
    row_head: Vec<u8>,
    /// From `sql` to before the members of the row.
    row_types: Vec<u8>,
    /// From `database` to before `es` of a truncate.
    truncate_head: Vec<u8>,
    /// From `sql` to before the position of a truncate.
    truncate_tail: Vec<u8>,
    columns: Columns,
}

impl Plan {
    pub(crate) fn new(database: &str, relation: &Relation) -> Self {
        let columns = Columns::new(relation);
        let name = &relation.out_name;
        let table = if name.schema == "public" { name.table.clone() } else { name.to_string() };
        let object = |pk_names: &[u8], is_ddl: &[u8]| {
            [
                b",\"database\":",
                quoted(relation.database(database)).as_slice(),
                b",\"table\":",
                &quoted(&table),
                b",\"pkNames\":",
                pk_names,
                b",\"isDdl\":",
                is_ddl,
                b",\"type\":\"",
            ]
            .concat()
        };
        Self {
            row_head: object(&pk_names(relation), b"false"),
            row_types: row_types(relation, &columns),
            truncate_head: object(b"null", b"true"),
            truncate_tail: [
                b",\"sql\":",
                quoted(&relation.truncate_statement()).as_slice(),
                b",\"sqlType\":null,\"mysqlType\":null,\"data\":null,\"old\":null",
            ]
            .concat(),
            columns,
        }
    }
}

/// A JSON array of the key columns; null without a key.
fn pk_names(relation: &Relation) -> Vec<u8> {
    let names = relation.key.iter().filter_map(|index| relation.columns.get(*index));
    let names: Vec<_> = names.map(|column| quoted(&column.out_name)).collect();
    if names.is_empty() {
        b"null".to_vec()
    } else {
        [b"[", names.join(&b',').as_slice(), b"]"].concat()
    }
}

/// The types of all columns: the same in every row, whatever of it was sent.
fn row_types(relation: &Relation, columns: &Columns) -> Vec<u8> {
    let (mut codes, mut names) = (Vec::new(), Vec::new());
    for (name, column) in columns.names().zip(&relation.columns) {
        let (type_name, code) = sql_type::of(column);
        codes.push([name, code.to_string().as_bytes()].concat());
        names.push([name, &quoted(&type_name)].concat());
    }
    [
        b",\"sql\":\"\",\"sqlType\":{",
        codes.join(&b',').as_slice(),
        b"},\"mysqlType\":{",
        &names.join(&b','),
        b"},\"data\":[{",
    ]
    .concat()
}

/// Writes records; keeps the texts of the transaction it is in.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    of: Option<(Lsn, i64)>,
    /// `es`, with what stands before it.
    commit_time: Vec<u8>,
    /// `gtid` up to the number.
    position: Vec<u8>,
}

impl Writer {
    /// Writes one record.
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        plan: &Plan,
        relation: &Relation,
        row: &Row<'_>,
    ) {
        self.enter(row.transaction);
        let truncate = row.operation == Operation::Truncate;
        out.extend_from_slice(b"{\"id\":");
        text::number(out, row.ordinal);
        out.extend_from_slice(if truncate { &plan.truncate_head } else { &plan.row_head });
        out.extend_from_slice(operation(row.operation));
        out.extend_from_slice(&self.commit_time);
        out.extend_from_slice(b",\"ts\":");
        text::number(out, row.now_us.div_euclid(1_000));
        if truncate {
            out.extend_from_slice(&plan.truncate_tail);
        } else {
            out.extend_from_slice(&plan.row_types);
            data(out, plan, relation, row);
            out.extend_from_slice(b"}],\"old\":");
            changed(out, plan, relation, row);
        }
        out.extend_from_slice(&self.position);
        text::number(out, row.change.sequence);
        out.extend_from_slice(b"\"}");
    }

    /// Writes what all records of a transaction share.
    fn enter(&mut self, transaction: &Transaction) {
        let of = Some((transaction.final_lsn, transaction.commit_time_us));
        if self.of == of {
            return;
        }
        self.of = of;
        self.commit_time.clear();
        self.commit_time.extend_from_slice(b"\",\"es\":");
        text::number(&mut self.commit_time, transaction.commit_time_us.div_euclid(1_000));
        self.position.clear();
        self.position.extend_from_slice(b",\"gtid\":\"");
        text::lsn(&mut self.position, transaction.final_lsn);
        self.position.push(b'@');
    }
}

fn operation(operation: Operation) -> &'static [u8] {
    match operation {
        Operation::Insert => b"INSERT",
        Operation::Update => b"UPDATE",
        Operation::Delete => b"DELETE",
        Operation::Truncate => b"TRUNCATE",
    }
}

/// The new row; of a delete the old one.
fn data(out: &mut Vec<u8>, plan: &Plan, relation: &Relation, row: &Row<'_>) {
    match (&row.before, &row.after) {
        (_, Some(after)) => plan.columns.members(out, |index| after.value(index)),
        (Some(before), None) => plan.columns.members(out, |index| old(relation, before, index)),
        (None, None) => {}
    }
}

/// On an update the old values of the columns that changed, as far as the old row came.
fn changed(out: &mut Vec<u8>, plan: &Plan, relation: &Relation, row: &Row<'_>) {
    match (&row.before, &row.after) {
        (Some(before), Some(after)) if row.change.old_row != OldRow::Absent => {
            out.extend_from_slice(b"[{");
            plan.columns.members(out, |index| match old(relation, before, index) {
                same if same == after.value(index) => Value::Missing,
                changed => changed,
            });
            out.extend_from_slice(b"}]");
        }
        _ => out.extend_from_slice(b"null"),
    }
}
