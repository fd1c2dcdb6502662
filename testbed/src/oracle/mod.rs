//! Whether what Kafka holds is what PostgreSQL committed: once each, in order, with equal values; and
//! whether copies of topics are as their originals ([`copy`]).
//!
//! ```text
//! PostgreSQL ── second slot, test_decoding ──► truth ──┐
//!                                                      ├─► proof
//! Kafka ── Java client, read_committed ──► a format ───┘
//! ```
//!
//! Nothing here is shared with the code under test.

pub mod copy;
pub mod debezium_json;
pub mod dts_avro;
pub mod flat_json;
pub mod format;
pub mod proof;
pub mod truth;
mod truth_line;

pub use copy::CopyProof;
pub use format::Format;
pub use proof::{Proof, Prover, prove};
pub use truth::TruthSlot;

use std::sync::Arc;

/// What a change did to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A new row.
    Insert,
    /// A row changed.
    Update,
    /// A row went.
    Delete,
    /// All rows of a table went.
    Truncate,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    /// SQL's NULL.
    Null,
    /// Not in this image: outside the replica identity, or TOAST that did not change.
    Missing,
    /// PostgreSQL's output text, under ISO dates, UTC and hexadecimal bytes.
    Text(Box<str>),
    /// One of these texts: the format writes values of several types alike.
    OneOf(Vec<Box<str>>),
    /// A value, of a type that the reader of a format does not turn into text.
    Unread,
    /// A float whose text the format does not keep.
    Float(f64),
}

/// The values of a row by column name.
pub type Row = Vec<(Arc<str>, Datum)>;

/// The value of a column.
#[must_use]
pub fn column<'a>(row: &'a Row, name: &str) -> Option<&'a Datum> {
    row.iter().find(|(column, _)| &**column == name).map(|(_, datum)| datum)
}
