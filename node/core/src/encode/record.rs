//! Records ready for the producer.

use std::ops::Range;

use tidewire_shared::Counters;

use super::EncodeError;
use crate::batch::BatchEnd;
use crate::change::Identity;

/// Bytes that an emptied batch keeps; more is given back, so that one huge record does not stay.
const KEPT_BYTES: usize = 4 << 20;
/// Records that an emptied batch keeps room for.
const KEPT_RECORDS: usize = 16 << 10;

/// Records ready for the producer, in order; reusable.
#[derive(Debug, Default)]
pub struct EncodedBatch {
    /// Keys and values of all records.
    pub buf: Vec<u8>,
    /// The records, in the order they have to be produced.
    pub records: Vec<Record>,
    /// How far the shard has come once all of them are durable.
    pub end: BatchEnd,
    /// Ordinal of the next record of the task.
    pub next_ordinal: u64,
    /// What was carried, of this batch alone: operations count once per row message and table,
    /// however many records it became.
    pub counters: Counters,
    /// Why the first change of this batch went to the dead-letter topic, where one did.
    pub refused: Option<Box<EncodeError>>,
    /// Size of the largest record, key and value together, in bytes.
    pub largest: usize,
    /// Whether records are to carry [`Identity::headers`].
    pub identity_headers: bool,
    /// Headers of the halves of key changes.
    pub key_headers: Vec<KeyHeader>,
}

/// One record. Its bytes lie in [`EncodedBatch::buf`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Index of the topic in [`crate::schema::TaskTables::topics`].
    pub topic: u16,
    /// Partition.
    pub partition: i32,
    /// Where the key lies, if there is one.
    pub key: Option<Range<usize>>,
    /// Where the value lies.
    pub value: Range<usize>,
    /// The change it tells of.
    pub identity: Identity,
    /// It stands in for a change that was refused, and carries the headers of the identity always.
    pub dead_letter: bool,
    /// It has no value, not even an empty one: what had its key is gone.
    pub tombstone: bool,
    /// Index of its header in [`EncodedBatch::key_headers`]: of `debezium_json`, for the halves of a
    /// key change.
    pub key_header: Option<u32>,
}

/// A header that names the other key of a key change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHeader {
    /// Its name.
    pub name: &'static str,
    /// Where its value lies in [`EncodedBatch::buf`].
    pub value: Range<usize>,
}

impl EncodedBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the batch and keeps its memory, up to a bound.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.buf.shrink_to(KEPT_BYTES);
        self.records.clear();
        self.records.shrink_to(KEPT_RECORDS);
        self.key_headers.clear();
        let (buf, records) = (std::mem::take(&mut self.buf), std::mem::take(&mut self.records));
        let key_headers = std::mem::take(&mut self.key_headers);
        *self = Self { buf, records, key_headers, ..Self::default() };
    }

    /// The key of a record of this batch.
    #[must_use]
    pub fn key(&self, record: &Record) -> Option<&[u8]> {
        record.key.clone().and_then(|range| self.buf.get(range))
    }

    /// The header of a record of this batch that names the other key of a key change.
    #[must_use]
    pub fn key_header(&self, record: &Record) -> Option<(&'static str, &[u8])> {
        let header = self.key_headers.get(usize::try_from(record.key_header?).ok()?)?;
        Some((header.name, self.buf.get(header.value.clone())?))
    }

    /// The value of a record of this batch; empty for a tombstone.
    #[must_use]
    pub fn value(&self, record: &Record) -> &[u8] {
        self.buf.get(record.value.clone()).unwrap_or_default()
    }
}
