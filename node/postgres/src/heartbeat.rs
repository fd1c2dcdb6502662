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
//!
//! A message does that with the least: it needs no object of ours. The reference's table
//! (`dts_postgres_heartbeat`, one row per slot) is for those who look at delay in the source, and
//! for servers whose users may not write messages: its changes are published, so that they come as
//! transactions and confirm, and are delivered to nobody.

use std::time::{Duration, SystemTime};

use tidewire_shared::spec::TableName;
use tidewire_shared::{Fault, FaultKind, Lsn};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::replication::Feedback;
use crate::{Source, Sql, quote};

/// How a beat is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// `pg_logical_emit_message`, and only while the stream does not move by itself.
    Message,
    /// The row of a slot in a heartbeat table, each time.
    Table {
        /// The table.
        table: TableName,
        /// The slot whose row it is.
        slot: String,
    },
}

/// Writes one heartbeat message and returns its LSN.
///
/// # Errors
/// `SourceDenied` when the role may not call `pg_logical_emit_message`; `SourceUnreachable` when the
/// connection breaks.
pub async fn beat(sql: &Sql) -> Result<Lsn, Fault> {
    let row = sql.one("SELECT pg_logical_emit_message(true, 'tidewire', '')::text", &[]).await?;
    let lsn: String = row.get(0);
    lsn.parse().map_err(|error| Fault::new(FaultKind::Decode, sql.host(), error))
}

/// Creates the heartbeat table, and its schema, unless it is there.
///
/// Columns and types are the reference's, its spelling of `revice` included.
///
/// # Errors
/// `SourceDenied` when the role may not create it.
pub async fn ensure_table(sql: &Sql, table: &TableName) -> Result<(), Fault> {
    let object = object(table);
    let (quoted, schema) = (quote::table(table)?, quote::identifier(&table.schema)?);
    let there = "SELECT to_regclass($1) IS NOT NULL, to_regnamespace($2) IS NOT NULL";
    let there = sql.about(&object, there, &[&quoted, &schema]).await?;
    let there = |at| there.first().is_some_and(|row| row.get(at));
    if there(0) {
        return Ok(());
    }
    // To ask for a schema that exists would need a right on the database.
    let schema = match there(1) {
        true => String::new(),
        false => format!("CREATE SCHEMA IF NOT EXISTS {schema};"),
    };
    // One implicit transaction; the lock keeps two tasks from creating it at the same moment.
    let statement = format!(
        "SELECT pg_advisory_xact_lock(hashtext('tidewire heartbeat table')); {schema} \
         CREATE TABLE IF NOT EXISTS {quoted} (slot_name varchar(64) NOT NULL PRIMARY KEY, \
         revice_time bigint, revice_lsn varchar(64), flushed_lsn varchar(64), \
         update_time timestamptz, dts_service_time bigint)"
    );
    sql.run(&object, &statement).await.map_err(|fault| match fault.kind {
        FaultKind::SourceDenied => fault.remedy(
            "give the role CREATE on the database, or create the table for it as docs/operations.md \
             shows, or set source.heartbeat.mode to message",
        ),
        _ => fault,
    })
}

/// Removes the row of a slot from the heartbeat table; a table that is not there is fine.
///
/// # Errors
/// `SourceDenied` when the role may not delete from it.
pub async fn forget(sql: &Sql, table: &TableName, slot: &str) -> Result<(), Fault> {
    let (object, quoted) = (object(table), quote::table(table)?);
    let there = sql.about(&object, "SELECT to_regclass($1) IS NOT NULL", &[&quoted]).await?;
    if !there.first().is_some_and(|row| row.get(0)) {
        return Ok(());
    }
    let statement = format!("DELETE FROM {quoted} WHERE slot_name = $1");
    sql.about(&object, &statement, &[&slot]).await.map(|_| ())
}

fn object(table: &TableName) -> String {
    format!("heartbeat table {table}")
}

/// Writes heartbeats until the stream ends. Connects again by itself.
///
/// A message is written after every `interval` in which `seen` (what the stream has named) did not
/// move; a row every `interval`.
pub async fn run(
    source: Source,
    interval: Duration,
    beat: Beat,
    seen: watch::Receiver<Lsn>,
    feedback: Feedback,
) {
    match beat {
        Beat::Message => run_messages(source, interval, seen).await,
        Beat::Table { table, slot } => {
            let rows = Rows { table, slot, feedback, received: (Lsn::ZERO, SystemTime::now()) };
            rows.run(source, interval, seen).await;
        }
    }
}

async fn run_messages(source: Source, interval: Duration, mut seen: watch::Receiver<Lsn>) {
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

/// The row of one slot.
struct Rows {
    table: TableName,
    slot: String,
    feedback: Feedback,
    /// What the stream had named at the last look, and when that was seen first.
    received: (Lsn, SystemTime),
}

impl Rows {
    async fn run(mut self, source: Source, every: Duration, seen: watch::Receiver<Lsn>) {
        let mut sql: Option<Sql> = None;
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while seen.has_changed().is_ok() {
            ticks.tick().await;
            let received = *seen.borrow();
            if received != self.received.0 {
                self.received = (received, SystemTime::now());
            }
            if let Err(fault) = self.write_on(&source, &mut sql).await {
                tracing::warn!(%fault, "heartbeat not written");
                sql = None;
            }
        }
    }

    async fn write_on(&self, source: &Source, sql: &mut Option<Sql>) -> Result<(), Fault> {
        let sql = match sql {
            Some(open) if !open.is_closed() => open,
            _ => sql.insert(source.connect().await?),
        };
        let statement = format!(
            "INSERT INTO {} AS h VALUES ($1, $2, $3, $4, now(), $5) ON CONFLICT (slot_name) DO UPDATE \
             SET revice_time = excluded.revice_time, revice_lsn = excluded.revice_lsn, \
             flushed_lsn = excluded.flushed_lsn, update_time = excluded.update_time, \
             dts_service_time = excluded.dts_service_time",
            quote::table(&self.table)?
        );
        let (received, at) = self.received;
        let (received, flushed) = (received.to_string(), self.feedback.flushed().to_string());
        let (at, now) = (millis(at), millis(SystemTime::now()));
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&self.slot, &at, &received, &flushed, &now];
        sql.about(&object(&self.table), &statement, &values).await.map(|_| ())
    }
}

/// Milliseconds since 1970.
fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
