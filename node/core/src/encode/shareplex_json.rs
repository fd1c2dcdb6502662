//! SharePlex JSON as DTS writes it (docs/formats.md): `meta`, `data`, and on updates `key`.

use tidewire_shared::Lsn;

use super::columns::{Columns, old, quoted};
use super::row::Row;
use super::text;
use crate::change::{OldRow, Operation, Transaction, Value};
use crate::schema::Relation;

/// How to write the records of one table.
#[derive(Debug)]
pub(crate) struct Plan {
    /// `"schema.table"`, quoted.
    table: Vec<u8>,
    columns: Columns,
}

impl Plan {
    pub(crate) fn new(relation: &Relation) -> Self {
        Self { table: quoted(&relation.out_name.to_string()), columns: Columns::new(relation) }
    }
}

/// Writes records; keeps the texts of the transaction it is in.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    of: Option<(Lsn, u32, u64)>,
    /// From the beginning to `op`.
    time: Vec<u8>,
    /// From `scn` to `rowid`.
    position: Vec<u8>,
    /// From `trans` to `seq`.
    xid: Vec<u8>,
    /// The size, in digits.
    size: Vec<u8>,
    number: Vec<u8>,
    posttime: (i64, Vec<u8>),
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
        self.enter(row.transaction, row.now_us);
        self.meta(out, plan, row);
        out.extend_from_slice(b",\"data\":{");
        data(out, plan, relation, row);
        out.push(b'}');
        if let (Operation::Update, Some(before)) = (row.operation, &row.before) {
            out.extend_from_slice(b",\"key\":{");
            plan.columns.members(out, |index| old(relation, before, index));
            out.push(b'}');
        }
        out.push(b'}');
    }

    fn meta(&mut self, out: &mut Vec<u8>, plan: &Plan, row: &Row<'_>) {
        self.number.clear();
        text::number(&mut self.number, row.change.sequence);
        for piece in [
            self.time.as_slice(),
            operation(row.operation),
            &self.position,
            &self.number,
            &self.xid,
            &self.number,
            b",\"size\":",
            &self.size,
            b",\"table\":",
            &plan.table,
            b",\"idx\":\"",
            &self.number,
            b"/",
            &self.size,
            &self.posttime.1,
        ] {
            out.extend_from_slice(piece);
        }
    }

    /// Writes what all records of a transaction share.
    fn enter(&mut self, transaction: &Transaction, now_us: i64) {
        if self.posttime.0 != now_us || self.posttime.1.is_empty() {
            let (of, posttime) = &mut self.posttime;
            *of = now_us;
            posttime.clear();
            posttime.extend_from_slice(b"\",\"posttime\":\"");
            text::utc_time(posttime, now_us);
            posttime.extend_from_slice(b"\"}");
        }
        let of = Some((transaction.final_lsn, transaction.xid, transaction.size));
        if self.of == of {
            return;
        }
        self.of = of;
        self.time.clear();
        self.time.extend_from_slice(b"{\"meta\":{\"time\":\"");
        text::utc_time(&mut self.time, transaction.commit_time_us);
        self.time.extend_from_slice(b"\",\"userid\":0,\"op\":\"");
        self.position.clear();
        self.position.extend_from_slice(b"\",\"scn\":\"");
        text::number(&mut self.position, transaction.final_lsn.0);
        self.position.extend_from_slice(b"\",\"rowid\":\"");
        text::lsn(&mut self.position, transaction.final_lsn);
        self.position.push(b'.');
        self.xid.clear();
        self.xid.extend_from_slice(b"\",\"trans\":\"");
        text::number(&mut self.xid, transaction.xid);
        self.xid.extend_from_slice(b"\",\"seq\":");
        self.size.clear();
        text::number(&mut self.size, transaction.size);
    }
}

fn operation(operation: Operation) -> &'static [u8] {
    match operation {
        Operation::Insert => b"ins",
        Operation::Update => b"upd",
        Operation::Delete => b"del",
        Operation::Truncate => b"trunc",
    }
}

/// An insert has its new row, a delete its old one, an update what changed where that can be told.
fn data(out: &mut Vec<u8>, plan: &Plan, relation: &Relation, row: &Row<'_>) {
    match (&row.before, &row.after) {
        (Some(before), Some(after)) if row.change.old_row == OldRow::Full => {
            plan.columns.members(out, |index| {
                let new = after.value(index);
                if old(relation, before, index) == new { Value::Missing } else { new }
            });
        }
        (_, Some(after)) => plan.columns.members(out, |index| after.value(index)),
        (Some(before), None) => plan.columns.members(out, |index| old(relation, before, index)),
        (None, None) => {}
    }
}
