//! Our replication client, on `postgres-protocol` (PostgreSQL documentation, "Streaming Replication
//! Protocol").
//!
//! * [`client`]: login, the commands before a stream, and its start.
//! * [`reader`]: the frames of the stream, in batches, as they came.
//! * [`feedback`]: status updates from a task of their own.
//!
//! The walsender flushes its socket after every message, so a client that reads whenever something
//! is there spends its time in wake-ups. [`pace`] lets bytes collect for a millisecond while they
//! come fast, with the socket out of the poller so that arrivals wake nobody.

pub mod client;
mod feedback;
mod frames;
mod inlet;
mod login;
mod pace;
pub mod reader;
mod wire;

pub use client::ReplicationClient;
pub use feedback::Feedback;
pub use reader::{RawBatch, StreamReader};
