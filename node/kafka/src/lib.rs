//! Kafka at both ends of a task: the source's consumer, our transactional producer, the positions
//! topic, and who a topic is.
//!
//! Everything here blocks; whoever calls gives it a thread of its own. This is the only room with
//! `unsafe`, and `ffi` is the only module of it that has any: librdkafka's safe bindings lack
//! the three things that exactly-once delivery rests on, which are a count of the EndTxn requests that
//! were really sent, topic ids, and the place in the log where a reader of committed records stands.
//!
//! * [`source`]: many partitions of a source, read from given offsets on.
//! * [`codec`]: how the topics of a source are compressed.
//! * [`TransactionalProducer`]: records in, transactions out, and whether each ended cleanly.
//! * [`PlainProducer`]: records in, acknowledgements out, for at_least_once.
//! * [`positions`]: the compacted topic whose records are the truth about a shard.
//! * [`topics`]: what topics are; [`TopicIdentity`]: whether they are still the same ones.
//! * [`discover`]: what a cluster holds, for people who set up a connection.
//! * [`precheck`]: what a precheck wants to know of the target.

pub mod codec;
pub mod config;
mod destination;
pub mod discover;
mod fault;
mod ffi;
pub mod plain_producer;
pub mod positions;
pub mod precheck;
pub mod producer;
pub mod record;
mod release;
mod security;
mod settle;
pub mod source;
pub mod topics;
pub mod watch;

pub use config::{Isolation, Settings, Side};
pub use plain_producer::{Idempotence, PlainProducer};
pub use positions::{PositionRead, Positions};
pub use producer::{End, Sent, TopicHandle, TransactionalProducer};
pub use record::{HeaderList, Headers, Record, Timestamp};
pub use source::{
    Apart, Consumer, Fetched, Item, SourceLimits, SourcePartition, SourceRecord, Unreachable,
};
pub use watch::TopicIdentity;
