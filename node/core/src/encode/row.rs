//! What a record tells of: a row before and after, as far as the source sent it.

use crate::batch::Image;
use crate::change::{Change, Operation, Transaction, Value};
use crate::schema::RelationColumn;

/// One record to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// What the record says happened; the halves of a key change differ from the change.
    pub(crate) operation: Operation,
    pub(crate) before: Option<OldImage<'a>>,
    pub(crate) after: Option<Image<'a>>,
    pub(crate) change: &'a Change,
    pub(crate) transaction: &'a Transaction,
    /// Ordinal of the record in its task.
    pub(crate) ordinal: u64,
    /// The wall clock, microseconds since 1970 UTC.
    pub(crate) now_us: i64,
}

/// The row before a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OldImage<'a> {
    image: Image<'a>,
    /// The image is the new row of an update that left the replica identity alone: of the old row
    /// exactly the identity is known.
    identity_of_new: bool,
}

impl<'a> OldImage<'a> {
    /// The old row as it was sent.
    pub(crate) fn sent(image: Image<'a>) -> Self {
        Self { image, identity_of_new: false }
    }

    /// What the new row tells of an old row that was not sent.
    pub(crate) fn identity_of(new: Image<'a>) -> Self {
        Self { image: new, identity_of_new: true }
    }

    /// The value of a column in the old row as it was sent.
    #[inline]
    pub(crate) fn sent_value(&self, index: usize) -> Value<'a> {
        self.image.value(index)
    }

    /// The old value of a column.
    #[inline]
    pub(crate) fn value(&self, index: usize, column: &RelationColumn) -> Value<'a> {
        if self.identity_of_new && !column.in_identity {
            return Value::Missing;
        }
        self.image.value(index)
    }
}
