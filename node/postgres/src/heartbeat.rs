//! Keeps an idle database from holding WAL.
//!
//! What was seen on servers 12.22 and 18.0, with 8 MB of WAL written in another database:
//!
//! * A walsender that has caught up sends a keepalive with its position before it sleeps. Reporting
//!   that position as flushed moves `confirmed_flush` to the end of WAL within two seconds, with or
//!   without a heartbeat: acknowledging keepalives is what lets WAL go.
//! * A client that reports commits only stays behind for as long as its own tables are idle. Before
//!   15 a heartbeat helps it, because the empty transaction arrives as Begin and Commit; from 15 on
//!   empty transactions are not sent and it stays behind even so.
//! * WAL is held by `restart_lsn`, which follows with the next record of running transactions
//!   (background writer, 15 s to 25 s) once that is acknowledged, again with or without a heartbeat.
//!
//! So the heartbeat frees nothing by itself. It makes a quiet server write WAL, hence send
//! keepalives: a position that moves at a known interval shows that the stream is alive, and the
//! background writer logs running transactions only when there was other WAL.

use std::time::Duration;

use tidewire_shared::{Fault, FaultKind, Lsn};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::{Source, Sql};

/// Writes one heartbeat and returns its LSN.
///
/// # Errors
/// `SourceDenied` when the role may not call `pg_logical_emit_message`; `SourceUnreachable` when the
/// connection breaks.
pub async fn beat(sql: &Sql) -> Result<Lsn, Fault> {
    let row = sql.one("SELECT pg_logical_emit_message(true, 'tidewire', '')::text", &[]).await?;
    let lsn: String = row.get(0);
    lsn.parse().map_err(|error| Fault::new(FaultKind::Decode, sql.host(), error))
}

/// Writes a heartbeat after every `interval` in which `seen` (what the stream has named, see
/// `StreamReader::seen`) did not move. Connects again by itself; runs until `seen` is closed.
pub async fn run(source: Source, interval: Duration, mut seen: watch::Receiver<Lsn>) {
    let mut sql: Option<Sql> = None;
    loop {
        match timeout(interval, seen.changed()).await {
            Ok(Ok(())) => continue,
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        if let Err(fault) = beat_on(&source, &mut sql).await {
            tracing::warn!(%fault, "heartbeat not written");
            sql = None;
        }
    }
}

async fn beat_on(source: &Source, sql: &mut Option<Sql>) -> Result<Lsn, Fault> {
    match sql {
        Some(open) if !open.is_closed() => beat(open).await,
        _ => beat(sql.insert(source.connect().await?)).await,
    }
}
