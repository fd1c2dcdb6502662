//! Keeps an idle database from holding WAL.

use std::time::Duration;

use tidewire_shared::{Fault, Lsn};
use tokio::sync::watch;

use crate::fault::unbuilt;
use crate::{Source, Sql};

/// Writes one heartbeat and returns its LSN.
///
/// # Errors
/// When the connection breaks or the role may not call `pg_logical_emit_message`.
pub async fn beat(_sql: &Sql) -> Result<Lsn, Fault> {
    unbuilt()
}

/// Writes a heartbeat every `interval` in which `seen` did not move. Reconnects by itself; runs until `seen` is closed.
pub async fn run(_source: Source, _interval: Duration, _seen: watch::Receiver<Lsn>) {}
