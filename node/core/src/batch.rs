//! A batch of changes between decode and encode: one arena of bytes and flat vectors of small structs,
//! used again and again, so that a row costs no heap allocation.

use std::sync::Arc;

use tidewire_shared::Lsn;
use tidewire_shared::position::InTransaction;

use crate::change::{Change, Column, ColumnKind, OldRow, Operation, Transaction, Value};
use crate::schema::Relation;

/// Bytes of arena that an emptied batch keeps; more is given back, so that one huge row does not stay.
const KEPT_BYTES: usize = 4 << 20;
/// Entries of each vector that an emptied batch keeps.
const KEPT_ENTRIES: usize = 64 << 10;

/// Changes in commit order, and how far they bring the shard.
#[derive(Debug, Default)]
pub struct ChangeBatch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) columns: Vec<Column>,
    pub(crate) changes: Vec<Change>,
    pub(crate) relations: Vec<Arc<Relation>>,
    pub(crate) transactions: Vec<Transaction>,
    /// How far the shard has come once everything in this batch is durable.
    pub end: BatchEnd,
}

/// How far a batch brings the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchEnd {
    /// End of the last whole transaction, or a keepalive position past it. The resume point.
    pub lsn: Lsn,
    /// Set when the batch ends inside a transaction of which changes were taken.
    pub inside: Option<InTransaction>,
    /// Commit time of the newest transaction begun, microseconds since 1970 UTC; 0 before the first.
    pub last_commit_time_us: i64,
    /// Newest end of WAL that the server told of; the distance to `lsn` is what is left to do.
    pub server_wal_end: Lsn,
    /// A keepalive asked for a status reply.
    pub reply_requested: bool,
    /// Transactions that ended in this batch, empty ones included.
    pub transactions: u64,
    /// Row messages of this batch that the task does not want: other tables, other operations.
    pub filtered: u64,
}

impl ChangeBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The changes, in commit order and within a transaction in its order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The tables that changes of this batch refer to.
    #[must_use]
    pub fn relations(&self) -> &[Arc<Relation>] {
        &self.relations
    }

    /// The transactions that changes of this batch refer to.
    #[must_use]
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }

    /// Whether there is no change in it; `end` may have moved all the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of row text held.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Empties the batch and keeps its memory, up to a bound.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.columns.clear();
        self.columns.shrink_to(KEPT_ENTRIES);
        self.changes.clear();
        self.changes.shrink_to(KEPT_ENTRIES);
        self.transactions.clear();
        self.transactions.shrink_to(KEPT_ENTRIES);
        self.relations.clear();
        self.end = BatchEnd::default();
    }

    /// The table of a change of this batch.
    #[must_use]
    #[inline]
    pub fn relation(&self, change: &Change) -> Option<&Arc<Relation>> {
        self.relations.get(change.relation as usize)
    }

    /// The transaction of a change of this batch.
    #[must_use]
    #[inline]
    pub fn transaction(&self, change: &Change) -> Option<&Transaction> {
        self.transactions.get(change.transaction as usize)
    }

    /// The old image of a change; empty without one.
    #[must_use]
    pub fn old_image(&self, change: &Change) -> Image<'_> {
        let present = change.old_row != OldRow::Absent;
        self.image(present, change.old, change)
    }

    /// The new image of a change; empty for deletes and truncates.
    #[must_use]
    pub fn new_image(&self, change: &Change) -> Image<'_> {
        let present = matches!(change.operation, Operation::Insert | Operation::Update);
        self.image(present, change.new, change)
    }

    /// The value at `index` of the image that begins at `start` of the columns.
    pub(crate) fn value(&self, start: u32, index: usize) -> Value<'_> {
        let columns = self.columns.get(start as usize..).unwrap_or_default();
        Image { bytes: &self.bytes, columns }.value(index)
    }

    fn image(&self, present: bool, start: u32, change: &Change) -> Image<'_> {
        let relation = self.relation(change).filter(|_| present);
        let width = relation.map_or(0, |relation| relation.columns.len());
        let start = start as usize;
        let columns = self.columns.get(start..start + width).unwrap_or_default();
        Image { bytes: &self.bytes, columns }
    }
}

/// One image of a row: as many columns as its relation has, or none.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    bytes: &'a [u8],
    columns: &'a [Column],
}

impl<'a> Image<'a> {
    /// Whether there is no such image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Number of columns.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// The value of the column at `index`; missing when there is no such column.
    #[must_use]
    #[inline]
    pub fn value(&self, index: usize) -> Value<'a> {
        let Some(column) = self.columns.get(index) else { return Value::Missing };
        match column.kind {
            ColumnKind::Null => Value::Null,
            ColumnKind::Missing => Value::Missing,
            ColumnKind::Text => {
                let start = column.offset as usize;
                self.bytes
                    .get(start..start + column.len as usize)
                    .map_or(Value::Missing, Value::Text)
            }
        }
    }

    /// All values in column order.
    pub fn values(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let image = *self;
        (0..image.len()).map(move |index| image.value(index))
    }
}
