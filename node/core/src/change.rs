//! One change of one row, as the source sent it, without the bytes: those lie in the batch's arena.

use tidewire_shared::Lsn;
use tidewire_shared::spec::Operations;

/// What happened to a row (or, for a truncate, to a table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new row.
    Insert,
    /// A row got new values.
    Update,
    /// A row went away.
    Delete,
    /// All rows of the table went away.
    Truncate,
}

impl Operation {
    /// Whether it is one of `operations`.
    #[must_use]
    #[inline]
    pub fn is_among(self, operations: Operations) -> bool {
        match self {
            Self::Insert => operations.insert,
            Self::Update => operations.update,
            Self::Delete => operations.delete,
            Self::Truncate => operations.truncate,
        }
    }
}

/// How much of the old row came with an update or delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldRow {
    /// Nothing; on an update the columns of the replica identity did not change.
    Absent,
    /// The columns of the replica identity; all others are [`ColumnKind::Missing`].
    Identity,
    /// Every column (REPLICA IDENTITY FULL).
    Full,
}

/// One change. Its images are read through [`crate::batch::ChangeBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub operation: Operation,
    /// How much of the old row is known.
    pub old_row: OldRow,
    /// Index of the table in the batch's relations.
    pub relation: u32,
    /// Index of the transaction in the batch's transactions.
    pub transaction: u32,
    /// Place of the row message in its transaction as the server sent it, from 1. It counts messages
    /// of every table, wanted or not, so it is the same whenever the transaction is decoded again.
    pub sequence: u64,
    /// Where the old image begins in the batch's columns.
    pub(crate) old: u32,
    /// Where the new image begins in the batch's columns.
    pub(crate) new: u32,
    /// Why the change cannot become a record, where it cannot.
    pub(crate) flaw: Option<Flaw>,
}

/// Why a change that was decoded cannot become a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The first column that goes out and holds bytes that are not UTF-8: such values are there in hexadecimal.
    NotText(u16),
    /// The old row of an update did not come, and nothing tells what of it did not change.
    NoOldRow,
    /// The condition of the table looks at a column whose bytes are not UTF-8, so nobody knows what it
    /// says of the row: that column, where it goes out.
    Unjudged(Option<u16>),
}

/// What is known of one column in one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// SQL NULL.
    Null,
    /// Not sent: outside the replica identity, or an unchanged TOAST value.
    Missing,
    /// PostgreSQL's output text, valid UTF-8.
    Text,
}

/// One column of one image: a place in the batch's arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// What is known of it.
    pub kind: ColumnKind,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Column {
    /// A column that was not sent.
    pub(crate) const MISSING: Self = Self { kind: ColumnKind::Missing, offset: 0, len: 0 };
    /// SQL NULL.
    pub(crate) const NULL: Self = Self { kind: ColumnKind::Null, offset: 0, len: 0 };
}

/// The value of one column, borrowed from a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// Not sent.
    Missing,
    /// PostgreSQL's output text; the decoder has checked that it is UTF-8.
    Text(&'a [u8]),
}

/// A transaction of the source that changes of a batch belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// `Begin.final_lsn`: where its commit record starts; half of the identity of its changes.
    pub final_lsn: Lsn,
    /// Commit time, microseconds since 1970-01-01 UTC.
    pub commit_time_us: i64,
    /// Transaction id.
    pub xid: u32,
    /// How many row messages it has; 0 while that is not known.
    pub size: u64,
}

/// The identity of a change: the same whenever, and by whomever, it is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `Begin.final_lsn` of its transaction.
    pub commit_lsn: Lsn,
    /// Place in its transaction, from 1.
    pub sequence: u64,
    /// Transaction id.
    pub xid: u32,
}

/// A short text on the stack: the value of a header.
pub type HeaderText = TextBuffer<24>;

impl Identity {
    /// Names and values of the headers that carry the identity.
    #[must_use]
    pub fn headers(&self) -> [(&'static str, HeaderText); 3] {
        [
            ("tw.lsn", HeaderText::of(format_args!("{}", self.commit_lsn))),
            ("tw.seq", HeaderText::of(format_args!("{}", self.sequence))),
            ("tw.xid", HeaderText::of(format_args!("{}", self.xid))),
        ]
    }
}

/// Text of at most `N` bytes, without a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextBuffer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> TextBuffer<N> {
    /// The text of `arguments`, cut at `N` bytes.
    #[must_use]
    pub fn of(arguments: std::fmt::Arguments<'_>) -> Self {
        let mut text = Self { bytes: [0; N], len: 0 };
        // Writing fails only when the buffer is full: the cut that is documented.
        if std::fmt::Write::write_fmt(&mut text, arguments).is_err() {
            text.len = text.len.min(N);
        }
        text
    }

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<const N: usize> std::fmt::Write for TextBuffer<N> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
