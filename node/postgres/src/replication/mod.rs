//! Our replication client.

use bytes::Bytes;
use tidewire_node_core::facts::{ServerFacts, TimelineEnd};
use tidewire_shared::{Fault, Lsn};

use crate::fault::unbuilt;

/// What the server sent since the last batch: whole CopyData frames (tag and length included), in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawBatch {
    /// The frames: about 1 MiB at most, or one frame of up to 1 GiB; never a part of one.
    pub bytes: Bytes,
    /// A keepalive in it asked for an answer. [`Feedback`] has answered with the old position already;
    /// this is the moment to persist and report a newer one.
    pub reply_requested: bool,
}

/// A replication connection before it streams.
#[derive(Debug)]
pub struct ReplicationClient {}

impl ReplicationClient {
    /// The server: IDENTIFY_SYSTEM and a few settings.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn server(&mut self) -> Result<ServerFacts, Fault> {
        unbuilt()
    }

    /// The history of `timeline`, oldest first; empty for timeline 1.
    ///
    /// # Errors
    /// When the connection breaks or the server has no such history.
    pub async fn timeline_history(&mut self, _timeline: u32) -> Result<Vec<TimelineEnd>, Fault> {
        unbuilt()
    }

    /// Streams from `slot` from `start` on.
    ///
    /// # Errors
    /// `SourceState` when the slot cannot be used; `SourceBusy` when someone streams from it.
    pub async fn start(
        self,
        _slot: &str,
        _start: Lsn,
        _publications: &[&str],
    ) -> Result<(StreamReader, Feedback), Fault> {
        unbuilt()
    }
}

/// The reading half of a stream.
#[derive(Debug)]
pub struct StreamReader {}

impl StreamReader {
    /// The next frames; waits for some. Cancel safe: what was received is kept for the next call.
    ///
    /// # Errors
    /// When the connection breaks or the server ends the stream.
    pub async fn next(&mut self) -> Result<RawBatch, Fault> {
        unbuilt()
    }

    /// The highest LSN that the server has named on this connection.
    #[must_use]
    pub fn seen(&self) -> Lsn {
        Lsn::ZERO
    }

    /// Ends the stream in good order (last report, CopyDone, CommandComplete), within 5 s. Frames on
    /// their way are thrown away.
    ///
    /// # Errors
    /// When the server does not end it in time; the connection is closed in any case.
    pub async fn stop(self) -> Result<(), Fault> {
        unbuilt()
    }
}

/// Tells the server how far we are, from a task of its own. Clones report to the same stream.
///
/// The task lives until the [`StreamReader`] is stopped or dropped.
#[derive(Clone, Debug)]
pub struct Feedback {}

impl Feedback {
    /// Everything before `flush` is durable. Never goes back; held below the highest LSN that the
    /// server has named. Sent at once when a reply is due, else within 1 s.
    pub fn report(&self, _flush: Lsn) {}
}
