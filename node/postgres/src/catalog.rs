//! Tables, columns, types and keys from the catalog, in three queries over one snapshot.

use std::collections::BTreeMap;

use tidewire_node_core::facts::{ColumnFacts, TableFacts, TypeFacts, UniqueKey};
use tidewire_node_core::objects::ListedTable;
use tidewire_shared::spec::TableName;
use tidewire_shared::{Fault, FaultKind};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};

use crate::Sql;
use crate::fault::of_query;

const TABLES: &str = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind, \
     c.relpersistence, c.relreplident, has_table_privilege(c.oid, 'SELECT'), \
     pg_has_role(c.relowner, 'USAGE') \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ";

const BY_NAME: &str = "(n.nspname, c.relname) IN \
     (SELECT w.s::name, w.t::name FROM unnest($1::text[], $2::text[]) AS w(s, t))";

const BY_OID: &str = "c.oid = ANY ($1::oid[])";

/// Domains are followed to their base; a modifier that only a domain on the way gives is the
/// column's. An array type is one that its element type names as its array, which leaves out
/// `int2vector`, `point` and the like.
const COLUMNS: &str = "WITH RECURSIVE col AS (\
       SELECT attrelid, attnum, attname, atttypid, atttypmod, attnotnull, attgenerated, \
         (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d \
          WHERE d.adrelid = attrelid AND d.adnum = attnum) AS initial \
       FROM pg_attribute WHERE attrelid = ANY ($1::oid[]) AND attnum > 0 AND NOT attisdropped), \
     down AS (\
       SELECT t.oid AS declared, t.oid, t.typtype, t.typbasetype, -1 AS typmod FROM pg_type t \
       WHERE t.oid IN (SELECT atttypid FROM col) \
       UNION ALL \
       SELECT d.declared, b.oid, b.typtype, b.typbasetype, \
         CASE WHEN d.typmod >= 0 THEN d.typmod ELSE u.typtypmod END \
       FROM down d JOIN pg_type u ON u.oid = d.oid JOIN pg_type b ON b.oid = d.typbasetype \
       WHERE d.typtype = 'd') \
     SELECT col.attrelid, col.attname::text, col.atttypid, \
       CASE WHEN col.atttypmod >= 0 THEN col.atttypmod ELSE down.typmod END, col.attnotnull, \
       col.attgenerated <> '', t.oid, t.typname::text, n.nspname::text, t.typtype, \
       coalesce(e.oid, 0::oid), coalesce(e.typtype, 'b'), \
       ARRAY(SELECT enumlabel::text FROM pg_enum l \
         WHERE l.enumtypid IN (t.oid, e.oid) ORDER BY enumsortorder), col.initial \
     FROM col JOIN down ON down.declared = col.atttypid AND down.typtype <> 'd' \
       JOIN pg_type t ON t.oid = down.oid JOIN pg_namespace n ON n.oid = t.typnamespace \
       LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid \
     ORDER BY col.attrelid, col.attnum";

const KEYS: &str = "SELECT i.indrelid, x.relname::text, i.indisprimary, i.indisreplident, \
       bool_and(a.attnotnull), array_agg(a.attname::text ORDER BY k.place) \
     FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid \
       CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
     WHERE i.indrelid = ANY ($1::oid[]) AND i.indisunique AND i.indisvalid AND i.indimmediate \
       AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts \
     GROUP BY i.indrelid, x.relname, i.indisprimary, i.indisreplident ORDER BY 1, 2";

/// Every table that a publication can take, but for those of the system and of a heartbeat.
const LISTED: &str = "SELECT c.oid, n.nspname::text, c.relname::text, \
       CASE WHEN c.relispartition THEN ARRAY(SELECT a.relid::oid \
         FROM pg_partition_ancestors(c.oid) AS a WHERE a.relid <> c.oid) ELSE '{}' END \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384 \
       AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
       AND c.relname <> 'dts_postgres_heartbeat'";

/// The tables that patterns may take, in no order.
///
/// # Errors
/// `SourceUnreachable` when the connection breaks.
pub async fn list(sql: &Sql) -> Result<Vec<ListedTable>, Fault> {
    let rows = sql.all(LISTED, &[]).await?;
    let table = |row: &Row| ListedTable {
        oid: row.get(0),
        name: TableName { schema: row.get(1), table: row.get(2) },
        ancestors: row.get(3),
    };
    Ok(rows.iter().map(table).collect())
}

/// The tables of these names that exist, in name order.
///
/// # Errors
/// `SourceUnreachable` when the connection breaks.
pub async fn tables(sql: &mut Sql, names: &[TableName]) -> Result<Vec<TableFacts>, Fault> {
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let tables: Vec<&str> = names.iter().map(|name| name.table.as_str()).collect();
    gather(sql, BY_NAME, &[&schemas, &tables]).await
}

/// The tables of these oids that exist, in name order.
///
/// # Errors
/// `SourceUnreachable` when the connection breaks.
pub async fn tables_by_oid(sql: &mut Sql, oids: &[u32]) -> Result<Vec<TableFacts>, Fault> {
    gather(sql, BY_OID, &[&oids]).await
}

/// The unique keys of the tables of these oids, by oid; a table without any has none of it.
///
/// # Errors
/// `SourceUnreachable` when the connection breaks.
pub async fn keys(sql: &Sql, oids: &[u32]) -> Result<BTreeMap<u32, Vec<UniqueKey>>, Fault> {
    Ok(by_table(&sql.all(KEYS, &[&oids]).await?))
}

async fn gather(
    sql: &mut Sql,
    which: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<TableFacts>, Fault> {
    let (host, session) = (sql.host().to_owned(), sql.session().to_owned());
    let look = async {
        let snapshot = sql.snapshot().await?;
        let seen = read(&snapshot, &format!("{TABLES}{which}"), parameters).await;
        let rolled_back = snapshot.rollback().await;
        let seen = seen.and_then(|seen| rolled_back.map(|()| seen));
        seen.map_err(|error| of_query(&error, &host, &session))
    };
    let (tables, columns, keys) = Sql::in_time(&host, look).await?;
    assemble(&tables, &columns, &keys)
}

type Rows = (Vec<Row>, Vec<Row>, Vec<Row>);

async fn read(
    snapshot: &Transaction<'_>,
    statement: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Rows, tokio_postgres::Error> {
    let tables = snapshot.query(statement, parameters).await?;
    let oids: Vec<u32> = tables.iter().map(|row| row.get(0)).collect();
    let columns = snapshot.query(COLUMNS, &[&oids]).await?;
    let keys = snapshot.query(KEYS, &[&oids]).await?;
    Ok((tables, columns, keys))
}

fn assemble(tables: &[Row], columns: &[Row], keys: &[Row]) -> Result<Vec<TableFacts>, Fault> {
    let mut columns_of: BTreeMap<u32, Vec<ColumnFacts>> = BTreeMap::new();
    for row in columns {
        columns_of.entry(row.get(0)).or_default().push(column(row)?);
    }
    let mut keys_of = by_table(keys);
    let table = |row: &Row| {
        let oid = row.get(0);
        Ok(TableFacts {
            name: TableName { schema: row.get(1), table: row.get(2) },
            oid,
            kind: letter(row, 3)?,
            persistence: letter(row, 4)?,
            identity: letter(row, 5)?,
            selectable: row.get(6),
            owned: row.get(7),
            columns: columns_of.remove(&oid).unwrap_or_default(),
            unique_keys: keys_of.remove(&oid).unwrap_or_default(),
        })
    };
    let mut facts = tables.iter().map(table).collect::<Result<Vec<_>, Fault>>()?;
    facts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(facts)
}

fn by_table(keys: &[Row]) -> BTreeMap<u32, Vec<UniqueKey>> {
    let mut keys_of: BTreeMap<u32, Vec<UniqueKey>> = BTreeMap::new();
    for row in keys {
        keys_of.entry(row.get(0)).or_default().push(key(row));
    }
    keys_of
}

fn column(row: &Row) -> Result<ColumnFacts, Fault> {
    Ok(ColumnFacts {
        name: row.get(1),
        type_oid: row.get(2),
        type_modifier: row.get(3),
        not_null: row.get(4),
        generated: row.get(5),
        default: row.get(13),
        base: TypeFacts {
            oid: row.get(6),
            name: row.get(7),
            schema: row.get(8),
            kind: letter(row, 9)?,
            element: row.get(10),
            element_kind: letter(row, 11)?,
            labels: row.get(12),
        },
    })
}

fn key(row: &Row) -> UniqueKey {
    UniqueKey {
        name: row.get(1),
        primary: row.get(2),
        replica_identity: row.get(3),
        not_null: row.get(4),
        columns: row.get(5),
    }
}

/// A value of PostgreSQL's one-byte type `"char"`.
fn letter(row: &Row, at: usize) -> Result<char, Fault> {
    let byte = u8::try_from(row.get::<_, i8>(at)).ok().filter(u8::is_ascii_graphic);
    byte.map(char::from)
        .ok_or_else(|| Fault::new(FaultKind::Decode, "the catalog", "a code is not a letter"))
}
