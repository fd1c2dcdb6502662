//! From a [`ChangeBatch`](crate::batch::ChangeBatch) to records of Kafka: partition, key and value,
//! written as bytes into one buffer.
//!
//! [`Encoder`] turns each change into rows to be written, `placement` finds their partition, a format
//! (`dts_avro`, `shareplex_json`, `canal_json`) writes their value.

mod avro;
mod canal_json;
mod columns;
mod dead_letter;
mod debezium_json;
mod dts_avro;
mod encoder;
mod error;
pub(crate) mod json;
mod placement;
mod record;
mod row;
mod shareplex_json;
mod sql_type;
mod text;

pub use dead_letter::DeadLetterTopic;
pub use encoder::{EncodeConfig, Encoder};
pub use error::EncodeError;
pub use record::{EncodedBatch, KeyHeader, Record};
