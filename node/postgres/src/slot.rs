//! Replication slots: look, create, take, drop.
//!
//! A slot is mutual exclusion, not a fence: the server checks no epoch. What fences an old owner is
//! the target; taking the slot from it only ends its stream.

use std::time::Duration;

use tidewire_node_core::facts::SlotFacts;
use tidewire_node_core::rewind::way_on;
use tidewire_node_core::takeover::{Holder, Owner};
use tidewire_shared::{Fault, FaultKind, LogPlace, Lsn};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Row;

use crate::replication::client::NewSlot;
use crate::{ReplicationClient, Source, Sql, quote};

/// How long an old walsender may take to end.
const EVICTION: Duration = Duration::from_secs(10);

/// The slot, or `None` when there is none of that name.
///
/// # Errors
/// `SourceUnreachable` when the connection breaks.
pub async fn look(sql: &Sql, name: &str) -> Result<Option<SlotFacts>, Fault> {
    let rows = sql.about(&object(name), &look_statement(sql.version_num()), &[&name]).await?;
    rows.first().map(facts).transpose()
}

/// Columns that a version lacks are read as constants.
fn look_statement(version_num: u32) -> String {
    let since = |version: u32, column: &'static str, absent: &'static str| {
        if version_num >= version { column } else { absent }
    };
    let wal_status = since(130_000, "coalesce(s.wal_status, '')", "''");
    let two_phase = since(140_000, "s.two_phase", "false");
    let invalidation = match version_num {
        170_000.. => "s.invalidation_reason",
        160_000.. => "CASE WHEN s.conflicting THEN 'conflicting' END",
        _ => "NULL::text",
    };
    let failover = since(170_000, "s.failover", "false");
    let synced = since(170_000, "s.synced", "false");
    format!(
        "SELECT s.slot_name::text, coalesce(s.plugin::text, ''), coalesce(s.database::text, ''), \
         s.temporary, {two_phase}, s.restart_lsn::text, s.confirmed_flush_lsn::text, {wal_status}, \
         {invalidation}, s.active_pid, a.application_name, {failover}, {synced} \
         FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid \
         WHERE s.slot_name = $1::text::name"
    )
}

fn facts(row: &Row) -> Result<SlotFacts, Fault> {
    let name: String = row.get(0);
    let lsn = |at: usize| lsn(row.get(at), &name);
    Ok(SlotFacts {
        plugin: row.get(1),
        database: row.get(2),
        temporary: row.get(3),
        two_phase: row.get(4),
        restart_lsn: lsn(5)?,
        confirmed_flush: lsn(6)?,
        wal_status: row.get(7),
        invalidation: row.get(8),
        active_pid: row.get(9),
        active_application: row.get(10),
        failover: row.get(11),
        synced: row.get(12),
        name,
    })
}

fn lsn(text: Option<String>, name: &str) -> Result<Option<Lsn>, Fault> {
    let parsed = text.map(|text| text.parse()).transpose();
    parsed.map_err(|error| Fault::new(FaultKind::Decode, object(name), error))
}

fn object(name: &str) -> String {
    format!("slot {name}")
}

/// Creates a logical slot for `pgoutput` and returns its consistent point. The server waits for the
/// transactions that are open; after `patience` the attempt is ended and the fault names them.
///
/// `failover` (17+) has the slot copied to standbys.
///
/// # Errors
/// `SourceState` when a slot of that name exists; `SourceBusy` when none is free or old transactions
/// did not end in time.
pub async fn create(
    source: &Source,
    name: &str,
    failover: bool,
    patience: Duration,
) -> Result<Lsn, Fault> {
    let client = source.replicate().await?;
    make(source, client, name, NewSlot::Lasting { failover }, patience).await
}

/// The end of the log behind every transaction that is open: the consistent point of a slot that is made
/// for that and goes with its session. Whatever commits after it began after this was asked.
///
/// # Errors
/// As [`create`].
pub async fn end_of_open(source: &Source, patience: Duration) -> Result<Lsn, Fault> {
    let client = source.replicate().await?;
    let name = format!("tidewire_end_{}", client.pid());
    make(source, client, &name, NewSlot::Passing, patience).await
}

async fn make(
    source: &Source,
    mut client: ReplicationClient,
    name: &str,
    kind: NewSlot,
    patience: Duration,
) -> Result<Lsn, Fault> {
    match timeout(patience, client.create_slot(name, kind)).await {
        Ok(created) => created,
        Err(_) => {
            // Without an end the backend would go on waiting and keep the name taken.
            let sql = source.connect().await?;
            let holders = open_transactions(&sql, client.pid()).await?;
            sql.all("SELECT pg_terminate_backend($1)", &[&client.pid()]).await?;
            let message = format!(
                "was not created within {patience:?}: the server waits for open transactions \
                 {holders}"
            );
            Err(Fault::new(FaultKind::SourceBusy, object(name), message)
                .remedy("end these transactions, for example by pg_terminate_backend(pid)"))
        }
    }
}

/// The oldest transactions that could hold up the making of a slot, as text.
async fn open_transactions(sql: &Sql, walsender: i32) -> Result<String, Fault> {
    let rows = sql
        .all(
            "SELECT coalesce(string_agg(line, ', '), '(none seen)') FROM (\
               SELECT format('pid %s', pid) AS line FROM pg_stat_activity \
               WHERE backend_xid IS NOT NULL AND pid <> $1 \
               UNION ALL SELECT format('prepared %s', transaction) FROM pg_prepared_xacts \
               LIMIT 5) held",
            &[&walsender],
        )
        .await?;
    Ok(rows.first().map_or_else(String::new, |row| row.get(0)))
}

/// Makes sure that no walsender holds the slot, as [`free`] does. Returns the slot as it is then.
///
/// # Errors
/// As [`free`]; `SourceState` when there is no slot.
pub async fn take(sql: &Sql, name: &str, owner: &Owner) -> Result<SlotFacts, Fault> {
    free(sql, name, owner).await?.ok_or_else(|| {
        Fault::new(FaultKind::SourceState, object(name), "does not exist").remedy(format!(
            "someone dropped it: the changes since then cannot be had any more; to go on without \
                 them: {}",
            way_on(LogPlace::Now)
        ))
    })
}

/// Ends the session that holds the slot, where it is of the same shard with our epoch or a lower one,
/// and waits for its end, up to 10 s. A session that was still making the slot takes it with it.
///
/// # Errors
/// `Fenced` when the holder has a higher epoch; `SourceBusy` when it is not of this shard or did not
/// end in time.
pub async fn free(sql: &Sql, name: &str, owner: &Owner) -> Result<Option<SlotFacts>, Fault> {
    let deadline = Instant::now() + EVICTION;
    loop {
        let Some(slot) = look(sql, name).await? else { return Ok(None) };
        let Some(pid) = slot.active_pid else { return Ok(Some(slot)) };
        // The session may have ended between the views; its name is gone then, and soon the pid.
        let holder = slot.active_application.clone().unwrap_or_default();
        let gone = holder.is_empty() && !is_running(sql, pid).await?;
        match owner.judge(&slot) {
            Holder::Terminate(pid) => {
                tracing::info!(slot = name, pid, holder, "ending the old owner's stream");
                evict(sql, name, pid, &holder).await?;
            }
            Holder::Other(_) | Holder::Nobody if gone => {}
            Holder::Other(fault) => return Err(named(sql, pid, fault).await?),
            Holder::Nobody => return Ok(Some(slot)),
        }
        if Instant::now() >= deadline {
            let message = format!("pid {pid} ({holder}) did not let go within {EVICTION:?}");
            return Err(Fault::new(FaultKind::SourceBusy, object(name), message)
                .remedy(format!("SELECT pg_terminate_backend({pid})")));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Says who the session is that holds a slot: a backend's number alone tells nobody whom to ask.
async fn named(sql: &Sql, pid: i32, fault: Fault) -> Result<Fault, Fault> {
    let statement = "SELECT format('application %s, role %s, from %s', \
         coalesce(nullif(application_name, ''), '(none)'), usename, \
         coalesce(host(client_addr), 'the server itself')) FROM pg_stat_activity WHERE pid = $1";
    let rows = sql.all(statement, &[&pid]).await?;
    let who = rows.first().and_then(|row| row.get::<_, Option<String>>(0));
    Ok(match who {
        Some(who) if fault.kind == FaultKind::SourceBusy => {
            Fault { message: format!("{} ({who})", fault.message), ..fault }
        }
        _ => fault,
    })
}

async fn is_running(sql: &Sql, pid: i32) -> Result<bool, Fault> {
    let rows = sql.all("SELECT 1 FROM pg_stat_activity WHERE pid = $1", &[&pid]).await?;
    Ok(!rows.is_empty())
}

/// Ends the session only if it still is the one that was judged.
async fn evict(sql: &Sql, name: &str, pid: i32, holder: &str) -> Result<(), Fault> {
    let statement = "SELECT pg_terminate_backend(s.active_pid) FROM pg_replication_slots s \
         JOIN pg_stat_activity a ON a.pid = s.active_pid \
         WHERE s.slot_name = $1::text::name AND s.active_pid = $2 AND a.application_name = $3";
    sql.about(&object(name), statement, &[&name, &pid, &holder]).await.map(|_| ())
}

/// Drops the slot; one that is not there is fine.
///
/// # Errors
/// `SourceBusy` when someone streams from it.
pub async fn drop(sql: &Sql, name: &str) -> Result<(), Fault> {
    quote::slot(name)?;
    let statement = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
         WHERE slot_name = $1::text::name";
    sql.about(&object(name), statement, &[&name]).await.map(|_| ())
}
