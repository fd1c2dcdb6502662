//! The PostgreSQL source: connections, replication stream, slot, publication and catalog.
//!
//! * [`source`]: where a source is and who we are there; everything else starts from a [`Source`].
//! * [`connect`]: SQL connections ([`Sql`]) to the first host that accepts writes.
//! * [`replication`]: our replication client: commands, the frames of the stream, feedback.
//! * [`slot`], [`publication`]: what we make, watch and drop on the server; [`publication_mark`]: what else was done there.
//! * [`server`], [`catalog`], [`precheck`]: the facts that the cores judge.
//! * [`discover`]: what a server holds, for people who set up a connection.
//! * [`heartbeat`]: keeps an idle database from holding WAL.
//!
//! Nothing here decodes a row; frames go to `tidewire-node-core` as they came.

pub mod catalog;
pub mod connect;
pub mod discover;
mod fault;
pub mod heartbeat;
pub mod precheck;
pub mod publication;
pub mod publication_mark;
pub mod quote;
pub mod replication;
pub mod server;
pub mod session;
pub mod slot;
pub mod source;
pub mod tls;
mod transport;

pub use connect::Sql;
pub use replication::{Feedback, RawBatch, ReplicationClient, StreamReader};
pub use source::{Source, Writable};
