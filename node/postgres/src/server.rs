//! A server as an SQL connection shows it.

use tidewire_node_core::facts::ServerFacts;
use tidewire_shared::{Fault, FaultKind};

use crate::Sql;

/// The server, without needing the right to replicate. The host was writable when `sql` was opened.
///
/// The timeline is read from the name of the current WAL file, because the control file names the
/// old one until the first checkpoint after a promotion.
///
/// # Errors
/// `SourceUnreachable` when the connection breaks; `SourceState` when the host is a standby by now.
pub async fn facts(sql: &Sql) -> Result<ServerFacts, Fault> {
    let row = sql
        .one(
            "SELECT system_identifier::text, pg_walfile_name(pg_current_wal_flush_lsn()), \
             pg_current_wal_flush_lsn()::text, pg_is_in_recovery(), current_setting('wal_level') \
             FROM pg_control_system()",
            &[],
        )
        .await?;
    let odd =
        |what| Fault::new(FaultKind::Decode, sql.host(), format!("its {what} does not parse"));
    let system_id: String = row.get(0);
    let segment: String = row.get(1);
    let flush: String = row.get(2);
    let timeline = segment.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    Ok(ServerFacts {
        // The view shows the unsigned number as a signed one.
        system_id: system_id
            .parse::<i64>()
            .map(i64::cast_unsigned)
            .map_err(|_| odd("system identifier"))?,
        timeline: timeline.ok_or_else(|| odd("timeline"))?,
        flush_lsn: flush.parse().map_err(|_| odd("WAL position"))?,
        version_num: sql.version_num(),
        in_recovery: row.get(3),
        wal_level: row.get(4),
    })
}
