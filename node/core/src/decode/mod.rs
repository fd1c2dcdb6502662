//! From bytes of the replication stream to a [`ChangeBatch`](crate::batch::ChangeBatch).
//!
//! [`frames`] cuts the stream into CopyData payloads, [`pgoutput`] reads one logical message,
//! [`decoder`] keeps what messages mean together: relations, the open transaction, sequences.

mod decoder;
mod error;
pub mod frames;
pub mod pgoutput;
mod relations;
mod rows;
mod selection;

pub use decoder::{Decoder, Fed, NeedTable, Options};
pub use error::DecodeError;
pub(crate) use selection::Selection;
