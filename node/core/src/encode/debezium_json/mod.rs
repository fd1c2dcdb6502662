//! What Debezium's PostgreSQL connector writes with Kafka Connect's JsonConverter (docs/formats.md).
//!
//! * `kind`: how each type is written under the options of the task.
//! * `value`, `temporal`, `number`, `geometry`: one value.
//! * `default`: what a column has where nothing is given.
//! * `schema`: the schema beside a key or value, where the task wants it.
//! * `table`: what is worked out once per table.
//!
//! Source: the connector's documentation ("Data change events") and its records, which `cargo x parity`
//! compares with ours.

mod default;
mod geometry;
mod kind;
mod number;
mod schema;
mod table;
mod temporal;
mod value;

use tidewire_shared::Lsn;
use tidewire_shared::spec::DebeziumOptions;

use self::number::Scratch;
use self::table::Column;
pub(crate) use self::table::Plan;
use super::dts_avro::Invalid;
use super::row::Row;
use super::text;
use crate::batch::Image;
use crate::change::{OldRow, Operation, Transaction, Value};

/// Writes records; keeps the texts of the transaction it is in.
#[derive(Debug)]
pub(crate) struct Writer {
    options: DebeziumOptions,
    of: Option<(Lsn, u32)>,
    /// Commit time, up to and without the name of the database.
    commit_time: Vec<u8>,
    /// `sequence` up to the number of the change.
    sequence: Vec<u8>,
    /// Commit time again, up to the names of the table.
    commit_time_again: Vec<u8>,
    /// Transaction id and position, up to the operation.
    position: Vec<u8>,
    work: Scratch,
}

impl Writer {
    pub(crate) fn new(options: &DebeziumOptions) -> Self {
        let [commit_time, sequence, commit_time_again, position] = [const { Vec::new() }; 4];
        Self {
            options: options.clone(),
            of: None,
            commit_time,
            sequence,
            commit_time_again,
            position,
            work: Scratch::default(),
        }
    }

    pub(crate) fn options(&self) -> &DebeziumOptions {
        &self.options
    }

    /// Writes the key of a row; `false` when the table has none.
    ///
    /// # Errors
    /// The column whose text is not of its type.
    pub(crate) fn key(
        &mut self,
        out: &mut Vec<u8>,
        plan: &Plan,
        image: Image<'_>,
    ) -> Result<bool, Invalid> {
        let Some(key) = &plan.key else { return Ok(false) };
        out.extend_from_slice(&key.before);
        for (place, column) in key.columns.iter().enumerate() {
            out.push(if place == 0 { b'{' } else { b',' });
            out.extend_from_slice(&column.name);
            self.value(out, column, image.value(column.index))?;
        }
        out.push(b'}');
        out.extend_from_slice(&key.after);
        Ok(true)
    }

    /// Writes the key of the other half of a key change as its header has it: without a schema,
    /// decimals as numbers.
    ///
    /// # Errors
    /// As [`Writer::key`].
    pub(crate) fn key_header(
        &mut self,
        out: &mut Vec<u8>,
        plan: &Plan,
        image: Image<'_>,
    ) -> Result<(), Invalid> {
        for (place, column) in plan.key.iter().flat_map(|key| &key.columns).enumerate() {
            out.push(if place == 0 { b'{' } else { b',' });
            out.extend_from_slice(&column.name);
            match image.value(column.index) {
                Value::Text(text) if column.plain_in_header => out.extend_from_slice(text),
                value => self.value(out, column, value)?,
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// Writes the value of a record.
    ///
    /// # Errors
    /// As [`Writer::key`].
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        plan: &Plan,
        row: &Row<'_>,
    ) -> Result<(), Invalid> {
        self.enter(row.transaction);
        out.extend_from_slice(&plan.before);
        out.extend_from_slice(b"{\"before\":");
        // The old row of an update is shown where it came whole, or with the key that it lost.
        match &row.before {
            Some(before) if row.change.old_row != OldRow::Absent => {
                self.old_row(out, plan, row, |index| before.sent_value(index))?;
            }
            _ => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"after\":");
        match row.after {
            Some(after) => self.new_row(out, plan, after)?,
            None => out.extend_from_slice(b"null"),
        }
        self.source(out, plan, row);
        out.extend_from_slice(operation(row.operation));
        times(out, b"\",\"ts_ms\":", row.now_us);
        out.push(b'}');
        out.extend_from_slice(&plan.after);
        Ok(())
    }

    fn source(&self, out: &mut Vec<u8>, plan: &Plan, row: &Row<'_>) {
        out.extend_from_slice(&plan.source);
        out.extend_from_slice(&self.commit_time);
        out.extend_from_slice(&plan.database);
        out.extend_from_slice(&self.sequence);
        text::number(out, row.change.sequence);
        out.extend_from_slice(&self.commit_time_again);
        out.extend_from_slice(&plan.names);
        out.extend_from_slice(&self.position);
    }

    fn new_row(&mut self, out: &mut Vec<u8>, plan: &Plan, after: Image<'_>) -> Result<(), Invalid> {
        self.row(out, plan, |column| match after.value(column.index) {
            Value::Missing => Err(&column.unavailable),
            value => Ok(value),
        })
    }

    /// Of an old row that did not come whole, Debezium shows the rest as null or, in columns that
    /// cannot be, as zero.
    fn old_row<'a>(
        &mut self,
        out: &mut Vec<u8>,
        plan: &Plan,
        row: &Row<'_>,
        old: impl Fn(usize) -> Value<'a>,
    ) -> Result<(), Invalid> {
        let whole = row.change.old_row == OldRow::Full;
        self.row(out, plan, |column| match old(column.index) {
            Value::Missing if whole => Err(&column.unavailable),
            Value::Missing => Err(&column.absent),
            value => Ok(value),
        })
    }

    /// Writes each column's value, or the bytes that stand for one that was not sent.
    fn row<'a, 'p>(
        &mut self,
        out: &mut Vec<u8>,
        plan: &'p Plan,
        value: impl Fn(&'p Column) -> Result<Value<'a>, &'p Vec<u8>>,
    ) -> Result<(), Invalid> {
        out.push(b'{');
        for (place, column) in plan.columns.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&column.name);
            match value(column) {
                Ok(value) => self.value(out, column, value)?,
                Err(instead) => out.extend_from_slice(instead),
            }
        }
        out.push(b'}');
        Ok(())
    }

    #[inline]
    fn value(
        &mut self,
        out: &mut Vec<u8>,
        column: &Column,
        value: Value<'_>,
    ) -> Result<(), Invalid> {
        let Value::Text(text) = value else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        let invalid = Invalid { index: column.index, what: "a value of its type" };
        column.kind.write(out, text, &mut self.work).ok_or(invalid)
    }

    /// Writes what all records of a transaction share.
    fn enter(&mut self, transaction: &Transaction) {
        let of = Some((transaction.final_lsn, transaction.xid));
        if self.of == of {
            return;
        }
        self.of = of;
        let micros = transaction.commit_time_us;
        self.commit_time.clear();
        text::number(&mut self.commit_time, micros.div_euclid(1_000));
        self.sequence.clear();
        text::number(&mut self.sequence, transaction.final_lsn.0);
        self.sequence.extend_from_slice(b"\\\",\\\"");
        let again = &mut self.commit_time_again;
        again.clear();
        again.extend_from_slice(b"\\\"]\",\"ts_us\":");
        text::number(again, micros);
        again.extend_from_slice(b",\"ts_ns\":");
        text::number(again, i128::from(micros) * 1_000);
        let position = &mut self.position;
        position.clear();
        text::number(position, transaction.xid);
        position.extend_from_slice(b",\"lsn\":");
        text::number(position, transaction.final_lsn.0);
        position.extend_from_slice(b",\"xmin\":null,\"origin\":null,\"origin_lsn\":null},");
        position.extend_from_slice(b"\"transaction\":null,\"op\":\"");
    }
}

fn operation(operation: Operation) -> &'static [u8] {
    match operation {
        Operation::Insert => b"c",
        Operation::Update => b"u",
        Operation::Delete => b"d",
        Operation::Truncate => b"t",
    }
}

/// Writes a time in milliseconds, microseconds and nanoseconds.
fn times(out: &mut Vec<u8>, before: &[u8], micros: i64) {
    out.extend_from_slice(before);
    text::number(out, micros.div_euclid(1_000));
    out.extend_from_slice(b",\"ts_us\":");
    text::number(out, micros);
    out.extend_from_slice(b",\"ts_ns\":");
    text::number(out, i128::from(micros) * 1_000);
}
