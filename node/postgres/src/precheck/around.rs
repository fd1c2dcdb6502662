//! What is around a task's objects, in two statements.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidewire_node_core::facts::{HeartbeatPlace, OpenTransaction, Surroundings};
use tidewire_shared::Fault;

use super::Wanted;
use crate::Sql;

/// Settings that a version lacks read as absent.
const AROUND: &str = "SELECT EXISTS (SELECT 1 FROM pg_largeobject_metadata), \
     ARRAY(SELECT slot_name::text FROM pg_replication_slots WHERE slot_type = 'logical' \
       AND database = current_database() AND slot_name <> $1::text::name ORDER BY 1), \
     ARRAY(SELECT slot_name::text FROM pg_replication_slots WHERE slot_type = 'physical' \
       ORDER BY 1), \
     ARRAY(SELECT active FROM pg_replication_slots WHERE slot_type = 'physical' \
       ORDER BY slot_name::text), \
     coalesce(current_setting('synchronized_standby_slots', true), ''), \
     coalesce(pg_size_bytes(current_setting('max_slot_wal_keep_size', true)), -1), \
     coalesce((1000 * extract(epoch FROM \
       current_setting('idle_replication_slot_timeout', true)::interval))::int8, 0), \
     ARRAY(SELECT 'pg_catalog.' || oid::regprocedure FROM pg_proc \
       WHERE proname = 'pg_logical_emit_message' \
       AND pronamespace = 'pg_catalog'::regnamespace \
       AND NOT has_function_privilege(oid, 'EXECUTE') ORDER BY 1), \
     (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace \
       WHERE nspname = $2::text::name), \
     (SELECT has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') \
       AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE') \
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
       WHERE n.nspname = $2::text::name AND c.relname = $3::text::name), \
     (1000 * extract(epoch FROM clock_timestamp()))::int8, \
     coalesce((SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace \
       WHERE nspname = $2::text::name), false), \
     EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
       WHERE n.nspname = $2::text::name AND c.relname = $3::text::name \
       AND pg_has_role(c.relowner, 'USAGE'))";

/// The oldest that hold a transaction id: a new slot waits for them, in whatever database they are.
const TRANSACTIONS: &str = "SELECT format('pid %s (%s in %s, %s)', pid, usename, datname, \
       coalesce(state, 'state hidden')), false, \
       (1000 * extract(epoch FROM clock_timestamp() - xact_start))::int8 AS age, \
       format('SELECT pg_terminate_backend(%s);', pid) \
     FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() \
     UNION ALL SELECT format('prepared transaction %L in %s', gid, database), true, \
       (1000 * extract(epoch FROM clock_timestamp() - prepared))::int8, \
       format('COMMIT PREPARED %L;', gid) \
     FROM pg_prepared_xacts ORDER BY age DESC NULLS LAST LIMIT 20";

pub(super) async fn look(sql: &Sql, wanted: &Wanted<'_>) -> Result<Surroundings, Fault> {
    let (schema, table) = match wanted.heartbeat {
        Some(named) => (named.schema.as_str(), named.table.as_str()),
        None => ("", ""),
    };
    let before = now();
    let row = sql.one(AROUND, &[&wanted.slot, &schema, &table]).await?;
    let after = now();
    let physical: (Vec<String>, Vec<bool>) = (row.get(2), row.get(3));
    let standbys: String = row.get(4);
    let theirs: i64 = row.get(10);
    let ours = before.saturating_add(after) / 2;
    Ok(Surroundings {
        open_transactions: open_transactions(sql).await?,
        large_objects: row.get(0),
        other_slots: row.get(1),
        physical_slots: physical.0.into_iter().zip(physical.1).collect(),
        synchronized_standby_slots: names(&standbys),
        wal_keep_bytes: u64::try_from(row.get::<_, i64>(5)).ok(),
        idle_slot_timeout_ms: u64::try_from(row.get::<_, i64>(6)).unwrap_or_default(),
        refused_emitters: row.get(7),
        heartbeat: HeartbeatPlace {
            schema: row.get(8),
            usage: row.get(11),
            table: row.get(9),
            owned: row.get(12),
        },
        clock_ahead_ms: theirs.saturating_sub(ours),
        clock_error_ms: after.saturating_sub(before),
    })
}

async fn open_transactions(sql: &Sql) -> Result<Vec<OpenTransaction>, Fault> {
    let rows = sql.all(TRANSACTIONS, &[]).await?;
    let open = rows.iter().map(|row| OpenTransaction {
        who: row.get(0),
        prepared: row.get(1),
        age_ms: row.get::<_, Option<i64>>(2).map(|age| u64::try_from(age).unwrap_or_default()),
        end: row.get(3),
    });
    Ok(open.collect())
}

/// The names in a list setting of the server, which keeps quotes as they were written.
fn names(setting: &str) -> Vec<String> {
    let names = setting.split(',').map(|name| name.trim().trim_matches('"'));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
