//! Keeps an idle database from holding WAL.

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
