//! What a server holds, and host by host whether it lets us in: for people who set up a connection.

use std::time::{Duration, Instant};

use tidewire_node_core::precheck::identifier;
use tidewire_shared::Fault;
use tidewire_shared::connection::{DatabaseRow, Discovery, HostTest, Right, TableRow, Verdict};
use tokio::time::timeout;

use crate::fault::broken;
use crate::source::{Host, Session};
use crate::transport::Transport;
use crate::{Source, Sql};

/// How long one host may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Rows of each kind that are listed at most; a person reads fewer, and the answer stays small.
pub const LISTED_MAX: usize = 10_000;

/// Tries every host of `source` by itself, all at once; in their order.
pub async fn try_hosts(source: &Source) -> Vec<HostTest> {
    let hosts = source.hosts.iter().map(|host| try_host(source, host));
    futures::future::join_all(hosts).await
}

async fn try_host(source: &Source, host: &Host) -> HostTest {
    let began = Instant::now();
    let attempt = async {
        let transport = Transport::open(host, &source.login.tls).await?;
        let encrypted = matches!(transport, Transport::Tls(_));
        let sql = Sql::open(&source.login, host, transport).await?;
        let version: String = sql.one("SHOW server_version", &[]).await?.get(0);
        Ok((sql.in_recovery(), version, encrypted))
    };
    let late = || Err(broken(&host.to_string(), format!("no answer within {PATIENCE:?}")));
    let tried = timeout(PATIENCE, attempt).await.unwrap_or_else(|_| late());
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let address = host.to_string();
    match tried {
        Ok((standby, version, encrypted)) => HostTest {
            address,
            verdict: if standby { Verdict::Standby } else { Verdict::Usable },
            version,
            encrypted,
            took_ms,
            fault: None,
        },
        Err(fault) => HostTest {
            address,
            verdict: Verdict::Failed,
            version: String::new(),
            encrypted: false,
            took_ms: 0,
            fault: Some(fault),
        },
    }
}

/// What the account may do of what tasks need, at the first host that accepts writes.
///
/// # Errors
/// Those of the connection, or `SourceUnreachable` when it breaks.
pub async fn rights(source: &Source) -> Result<Vec<Right>, Fault> {
    let sql = source.connect().await?;
    let row = sql
        .one(
            "SELECT r.rolreplication OR r.rolsuper, \
             has_database_privilege(current_database(), 'CREATE'), \
             current_setting('wal_level'), current_database()::text, r.rolname::text \
             FROM pg_roles r WHERE r.rolname = current_user",
            &[],
        )
        .await?;
    let (replication, create): (bool, bool) = (row.get(0), row.get(1));
    let (wal_level, database, role): (String, String, String) =
        (row.get(2), row.get(3), row.get(4));
    let (role, database) = (identifier(&role), identifier(&database));
    let right = |name: &str, granted: bool, remark: String| Right {
        name: name.to_owned(),
        granted,
        remark,
    };
    let remark = |needs: &str, repair: String, granted: bool| {
        if granted { needs.to_owned() } else { format!("{needs}: {repair}") }
    };
    let stream = if replication { Some(source.replicate().await) } else { None };
    let mut rights = vec![
        right(
            "REPLICATION",
            replication,
            remark("every task", format!("ALTER ROLE {role} REPLICATION;"), replication),
        ),
        right(
            "CREATE",
            create,
            remark(
                "a managed publication",
                format!("GRANT CREATE ON DATABASE {database} TO {role};"),
                create,
            ),
        ),
        right(
            "wal_level",
            wal_level == "logical",
            remark(
                "every task",
                format!("it is {wal_level}: ALTER SYSTEM SET wal_level = logical; then restart"),
                wal_level == "logical",
            ),
        ),
    ];
    if let Some(stream) = stream {
        let repair = stream.as_ref().err().map(ToString::to_string).unwrap_or_default();
        rights.push(right(
            "replication connection",
            stream.is_ok(),
            remark("every task", repair, stream.is_ok()),
        ));
    }
    Ok(rights)
}

/// The databases of the server, and the tables of the one that `source` connects to.
///
/// # Errors
/// Those of the connection; `SourceBusy` when a table is locked for longer than 10 s.
pub async fn discover(source: &Source) -> Result<Discovery, Fault> {
    let sql = source.connect().await?;
    let mut databases = databases(&sql).await?;
    let mut tables = tables(&sql).await?;
    let truncated = databases.len() > LISTED_MAX || tables.len() > LISTED_MAX;
    databases.truncate(LISTED_MAX);
    tables.truncate(LISTED_MAX);
    let database = source.login.database.clone();
    Ok(Discovery { databases, database, tables, topics: Vec::new(), truncated })
}

async fn databases(sql: &Sql) -> Result<Vec<DatabaseRow>, Fault> {
    let rows = sql
        .all(
            "SELECT d.datname::text, has_database_privilege(d.oid, 'CONNECT'), \
             CASE WHEN has_database_privilege(d.oid, 'CONNECT') \
               OR pg_has_role('pg_read_all_stats', 'USAGE') THEN pg_database_size(d.oid) END \
             FROM pg_database d WHERE d.datallowconn AND NOT d.datistemplate \
             ORDER BY 1 LIMIT $1",
            &[&limit()],
        )
        .await?;
    let database = |row: &tokio_postgres::Row| DatabaseRow {
        name: row.get(0),
        may_connect: row.get(1),
        bytes: row.get::<_, Option<i64>>(2).map(count),
    };
    Ok(rows.iter().map(database).collect())
}

/// One row for each table that is not a partition: a partitioned one with its whole tree.
const TABLES: &str = "\
    SELECT n.nspname::text, c.relname::text, \
      CASE WHEN c.relkind = 'p' THEN 'partitioned' WHEN c.relpersistence = 'u' THEN 'unlogged' \
           ELSE 'table' END, \
      c.relreplident::text, \
      has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), \
      ARRAY(SELECT a.attname::text FROM pg_index i \
            CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
            WHERE i.indrelid = c.oid AND i.indisprimary AND k.place <= i.indnkeyatts \
            ORDER BY k.place), \
      (SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid \
       WHERE i.indrelid = c.oid AND i.indisreplident LIMIT 1), \
      size.bytes::int8, size.rows::int8 \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    CROSS JOIN LATERAL ( \
      SELECT sum(pg_total_relation_size(t.relid)) AS bytes, \
        sum(CASE WHEN l.reltuples < 0 OR (l.reltuples = 0 AND l.relpages = 0) THEN NULL \
            ELSE l.reltuples END) AS rows \
      FROM (SELECT c.oid AS relid WHERE c.relkind = 'r' UNION ALL \
            SELECT p.relid FROM pg_partition_tree(c.oid) AS p WHERE c.relkind = 'p' AND p.isleaf) AS t \
      JOIN pg_class l ON l.oid = t.relid) AS size \
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' \
      AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
    ORDER BY 1, 2 LIMIT $1";

async fn tables(sql: &Sql) -> Result<Vec<TableRow>, Fault> {
    Ok(sql.all(TABLES, &[&limit()]).await?.iter().map(table).collect())
}

fn table(row: &tokio_postgres::Row) -> TableRow {
    let key: Vec<String> = row.get(5);
    let index: Option<String> = row.get(6);
    let kind: String = row.get(2);
    let (identity, identified) = match row.get::<_, &str>(3) {
        "f" => ("full".to_owned(), true),
        "n" => ("nothing".to_owned(), false),
        "i" => match index {
            Some(index) => (format!("index {index}"), true),
            // The index of the identity was dropped.
            None => ("nothing".to_owned(), false),
        },
        _ => ("default".to_owned(), !key.is_empty()),
    };
    TableRow {
        schema: row.get(0),
        name: row.get(1),
        keyed: identified,
        key,
        identity,
        kind,
        may_select: row.get(4),
        bytes: row.get::<_, Option<i64>>(7).map_or(0, count),
        rows: row.get::<_, Option<i64>>(8).map(count),
    }
}

/// One more than is listed, so that the rest is noticed.
fn limit() -> i64 {
    i64::try_from(LISTED_MAX).unwrap_or(i64::MAX).saturating_add(1)
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
