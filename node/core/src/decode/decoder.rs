//! The state between messages: relations of the connection, the open transaction, the sequence.

use tidewire_shared::Lsn;
use tidewire_shared::position::InTransaction;

use super::DecodeError;
use crate::batch::ChangeBatch;
use crate::facts::TableFacts;
use crate::schema::TaskTables;

/// What a decoder is told when a stream begins.
#[derive(Clone, Debug)]
pub struct Options {
    /// The tables that the task wants.
    pub tables: TaskTables,
    /// Where the stream was started: the durable position.
    pub start: Lsn,
    /// The durable part of the transaction that comes first, if one was broken off.
    pub resume: Option<InTransaction>,
    /// Keep transactions of up to 1,000 row messages whole in one batch, so that their size is known.
    pub hold: bool,
    /// A batch is full when it holds this many bytes of row text.
    pub batch_bytes: usize,
    /// A batch is full when it holds this many changes.
    pub batch_changes: usize,
}

impl Options {
    /// Batches of 1 MiB or 1,000 changes, whatever comes first.
    #[must_use]
    pub fn new(tables: TaskTables, start: Lsn) -> Self {
        Self {
            tables,
            start,
            resume: None,
            hold: false,
            batch_bytes: 1 << 20,
            batch_changes: 1_000,
        }
    }
}

/// What one call of [`Decoder::feed`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    /// Bytes of the input that are done with. A rest without `need` or `full` is an incomplete frame.
    pub consumed: usize,
    /// Set when decoding waits for the facts of a table: look them up, call [`Decoder::provide`],
    /// then feed the rest.
    pub need: Option<NeedTable>,
    /// The batch is to be taken; the rest goes into the next one.
    pub full: bool,
    /// The batch must not be taken yet: it holds a part of a transaction that is kept whole.
    pub held: bool,
}

/// A table whose facts are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedTable {
    /// Its object id.
    pub oid: u32,
    /// Its schema when the change was made.
    pub schema: String,
    /// Its name when the change was made.
    pub name: String,
}

/// Decodes the stream of one connection; a new connection takes a new decoder.
#[derive(Debug)]
pub struct Decoder {
    options: Options,
}

impl Decoder {
    /// A decoder for a stream that begins.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Decodes whole frames from the front of `bytes` and appends to `batch`.
    ///
    /// # Errors
    /// The stream is malformed, does not continue what is durable, or a table cannot be taken as the
    /// task asks. The decoder is of no use afterwards.
    pub fn feed(&mut self, bytes: &[u8], batch: &mut ChangeBatch) -> Result<Fed, DecodeError> {
        let _ = (bytes, batch, &self.options);
        Ok(Fed::default())
    }

    /// Answers [`Fed::need`]: what the catalog says of the table with that object id, `None` when it
    /// is gone. Facts may be given ahead too; each Relation message of the stream uses them up.
    pub fn provide(&mut self, oid: u32, facts: Option<TableFacts>) {
        let _ = (oid, facts);
    }
}
