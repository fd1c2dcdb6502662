//! The data plane without I/O: bytes in, bytes out, and the verdicts that decide whether data is safe.
//!
//! * [`facts`]: what the shells have seen, as plain values.
//! * [`objects`]: which tables a task has. [`filter`]: which of their rows go out.
//! * [`publish`]: what the managed publications hold. [`publication_mark`]: was anything unpublished meanwhile?
//! * [`schema`]: tables, prepared for the encoders.
//! * [`change`]: one change of one row.
//! * [`batch`]: changes between decode and encode, in one arena.
//! * [`decode`]: the replication stream, from bytes to changes.
//! * [`encode`]: records of Kafka, from changes to bytes.
//! * [`key`]: the key of a record.
//! * [`partition`]: which partition a record goes to.
//! * [`takeover`]: the order of a start. [`reconnect`]: may I stream from here? [`rewind`]: or from
//!   before?
//! * [`transaction`], [`pacing`], [`progress`]: when a Kafka transaction ends, and what then is durable.
//! * [`throttle`]: how fast a task may write.
//! * [`precheck`]: may this task start at all?

pub mod batch;
pub mod change;
pub mod copy;
pub mod decode;
pub mod encode;
pub mod facts;
pub mod filter;
pub mod flavor;
pub mod key;
pub mod leased;
pub mod objects;
pub mod pacing;
pub mod partition;
pub mod precheck;
pub mod progress;
pub mod publication_mark;
pub mod publish;
pub mod reconnect;
pub mod rewind;
pub mod schema;
pub mod takeover;
pub mod throttle;
pub mod transaction;
