//! Everything a precheck wants to know about a source, in one go.

mod around;

use std::time::Duration;

use tidewire_node_core::facts::{OddPartition, SourcePrecheck, Surroundings};
use tidewire_node_core::flavor::{FlavorAnswers, recognise};
use tidewire_node_core::precheck::is_too_old;
use tidewire_shared::spec::TableName;
use tidewire_shared::{Fault, FaultKind};
use tokio::time::timeout;

use crate::fault::broken;
use crate::{Source, Sql, catalog, publication, server, slot};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a task has at its source, or would have.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Name of its slot.
    pub slot: &'a str,
    /// Name of its publication.
    pub publication: &'a str,
    /// Its tables.
    pub tables: &'a [TableName],
    /// Its heartbeat table, where it has one.
    pub heartbeat: Option<&'a TableName>,
}

/// Looks at the source, within 10 s.
///
/// Where the role may replicate, a replication connection is opened too: it has its own lines in
/// `pg_hba.conf`.
///
/// # Errors
/// Those of the connections: no host can be reached, accepts writes and lets us in; or all of it
/// takes too long.
pub async fn precheck(source: &Source, wanted: Wanted<'_>) -> Result<SourcePrecheck, Fault> {
    let looked = timeout(PATIENCE, look(source, wanted)).await;
    looked.unwrap_or_else(|_| {
        Err(broken("the source", format!("precheck took longer than {PATIENCE:?}")))
    })
}

async fn look(source: &Source, wanted: Wanted<'_>) -> Result<SourcePrecheck, Fault> {
    let Wanted { slot, publication, tables, .. } = wanted;
    let mut sql = source.connect().await?;
    let account = account(&sql).await?;
    let kind = recognise(source.login.flavor, &account.answers);
    if account.may_replicate
        && let Err(fault) = source.replicate().await
        && !(fault.kind == FaultKind::SourceBusy && account.wal_senders.1 >= account.wal_senders.0)
    {
        return Err(fault);
    }
    let server = SourcePrecheck {
        server: server::facts(&sql).await?,
        version: kind.describe(&account.answers),
        may_replicate: account.may_replicate,
        may_create: account.may_create,
        slots: account.slots,
        wal_senders: account.wal_senders,
        slot: None,
        publication: None,
        odd_partitions: Vec::new(),
        encoding: account.encoding,
        around: Surroundings::default(),
        tables: Vec::new(),
    };
    // What follows asks for what older servers do not have.
    if is_too_old(&server) {
        return Ok(server);
    }
    Ok(SourcePrecheck {
        slot: slot::look(&sql, slot).await?,
        publication: publication::look(&sql, publication).await?,
        odd_partitions: odd_partitions(&sql, tables).await?,
        around: around::look(&sql, &wanted).await?,
        tables: catalog::tables(&mut sql, tables).await?,
        ..server
    })
}

struct Account {
    answers: FlavorAnswers,
    may_replicate: bool,
    may_create: bool,
    slots: (u32, u32),
    wal_senders: (u32, u32),
    encoding: String,
}

/// Leaves of the partitioned tables among `tables` whose replica identity is of another kind than
/// their root's: under publish_via_partition_root their rows come with the identity of the leaf.
///
/// # Errors
/// `SourceUnreachable` when the connection breaks.
pub async fn odd_partitions(sql: &Sql, tables: &[TableName]) -> Result<Vec<OddPartition>, Fault> {
    let schemas: Vec<&str> = tables.iter().map(|name| name.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|name| name.table.as_str()).collect();
    let rows = sql
        .all(
            "SELECT ln.nspname::text, l.relname::text, w.schema, w.name, r.relreplident::text \
             FROM unnest($1::text[], $2::text[]) AS w(schema, name) \
             JOIN pg_namespace rn ON rn.nspname = w.schema \
             JOIN pg_class r ON r.relnamespace = rn.oid AND r.relname = w.name AND r.relkind = 'p' \
             CROSS JOIN LATERAL pg_partition_tree(r.oid) AS p \
             JOIN pg_class l ON l.oid = p.relid JOIN pg_namespace ln ON ln.oid = l.relnamespace \
             WHERE p.isleaf AND l.relreplident <> r.relreplident ORDER BY 1, 2",
            &[&schemas, &names],
        )
        .await?;
    let odd = rows.iter().map(|row| OddPartition {
        name: TableName { schema: row.get(0), table: row.get(1) },
        root: TableName { schema: row.get(2), table: row.get(3) },
        root_identity: row.get::<_, String>(4).chars().next().unwrap_or('n'),
    });
    Ok(odd.collect())
}

async fn account(sql: &Sql) -> Result<Account, Fault> {
    let row = sql
        .one(
            "SELECT current_setting('server_version'), \
             (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user), \
             has_database_privilege(current_database(), 'CREATE'), \
             current_setting('max_replication_slots')::int8, \
             (SELECT count(*) FROM pg_replication_slots), \
             current_setting('max_wal_senders')::int8, \
             (SELECT count(*) FROM pg_stat_replication), current_setting('server_encoding'), \
             version(), current_setting('polar_compatibility_mode', true)",
            &[],
        )
        .await?;
    let number = |at: usize| u32::try_from(row.get::<_, i64>(at)).unwrap_or(u32::MAX);
    Ok(Account {
        answers: FlavorAnswers {
            server_version: row.get(0),
            version: row.get(8),
            compatibility_mode: row.get(9),
        },
        may_replicate: row.get(1),
        may_create: row.get(2),
        slots: (number(3), number(4)),
        wal_senders: (number(5), number(6)),
        encoding: row.get(7),
    })
}
