//! From a [`ChangeBatch`] to records of Kafka: partition, key and value, written as bytes into one buffer.

use std::ops::Range;

use tidewire_shared::spec::{Format, KeyChange, PartitionPolicy};
use tidewire_shared::{Counters, Fault};

use crate::batch::{BatchEnd, ChangeBatch};
use crate::change::Identity;

mod error;

pub use error::EncodeError;

/// What an encoder has to know of its task.
#[derive(Clone, Debug)]
pub struct EncodeConfig {
    /// Family and options.
    pub format: Format,
    /// Name of the source database.
    pub database: String,
    /// `server_version` of the source, as text.
    pub server_version: String,
    /// Which partition a record goes to.
    pub partition: PartitionPolicy,
    /// What an update of the partitioning columns becomes.
    pub key_change: KeyChange,
    /// Partition counts, by topic index of [`crate::schema::TaskTables::topics`].
    pub partitions: Vec<u32>,
    /// Largest record, key and value together, in bytes.
    pub record_bytes: u64,
    /// Ordinal of the next record, from the durable position.
    pub next_ordinal: u64,
}

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
    /// What was carried: of this batch alone.
    pub counters: Counters,
    /// Size of the largest record, key and value together, in bytes.
    pub largest: usize,
    /// Whether records are to carry [`Identity::headers`].
    pub identity_headers: bool,
}

/// One record. Its bytes lie in [`EncodedBatch::buf`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Index of the topic.
    pub topic: u16,
    /// Partition.
    pub partition: i32,
    /// Where the key lies, if there is one.
    pub key: Option<Range<usize>>,
    /// Where the value lies.
    pub value: Range<usize>,
    /// The change it tells of.
    pub identity: Identity,
}

/// Turns changes into records.
#[derive(Debug)]
pub struct Encoder {
    config: EncodeConfig,
}

impl Encoder {
    /// An encoder for one run of a shard.
    ///
    /// # Errors
    /// A topic without partitions.
    pub fn new(config: EncodeConfig) -> Result<Self, Fault> {
        Ok(Self { config })
    }

    /// Encodes `batch` into `out`, which is cleared first. `now_us` is the wall clock, microseconds
    /// since 1970 UTC.
    ///
    /// # Errors
    /// A record that is too large or that the format cannot hold. Nothing of the batch is to be sent.
    pub fn encode(
        &mut self,
        batch: &ChangeBatch,
        now_us: i64,
        out: &mut EncodedBatch,
    ) -> Result<(), EncodeError> {
        let _ = (batch, now_us, out, &self.config);
        Ok(())
    }
}
