//! Publications: look, create, watch, drop.

use tidewire_node_core::facts::{PublicationFacts, PublishedTable};
use tidewire_shared::spec::TableName;
use tidewire_shared::{Fault, FaultKind};
use tokio_postgres::Row;

use crate::{Sql, quote};

/// The publication, or `None` when there is none of that name.
///
/// Its tables are those whose changes appear under their own name: with `via_root` a partitioned
/// table, without it the partitions.
///
/// # Errors
/// `SourceUnreachable` when the connection breaks.
pub async fn look(sql: &Sql, name: &str) -> Result<Option<PublicationFacts>, Fault> {
    let rows = sql.about(&object(name), &look_statement(sql.version_num()), &[&name]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    Ok(Some(PublicationFacts {
        oid: first.get(0),
        name: first.get(1),
        all_tables: first.get(2),
        insert: first.get(3),
        update: first.get(4),
        delete: first.get(5),
        truncate: first.get(6),
        via_root: first.get(7),
        tables: rows.iter().filter_map(table).collect(),
    }))
}

/// One statement, so that a publication that is made again in between cannot be seen half and half.
fn look_statement(version_num: u32) -> String {
    let via_root = if version_num >= 130_000 { "p.pubviaroot" } else { "false" };
    let (row_filter, columns) = if version_num >= 150_000 {
        (
            "t.rowfilter",
            "CASE WHEN EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid \
             AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' \
             AND a.attname <> ALL (t.attnames)) THEN t.attnames::text[] END",
        )
    } else {
        ("NULL::text", "NULL::text[]")
    };
    format!(
        "SELECT p.oid, p.pubname::text, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, \
         p.pubtruncate, {via_root}, t.schemaname::text, t.tablename::text, c.oid, {row_filter}, \
         {columns} FROM pg_publication p \
         LEFT JOIN (pg_publication_tables t \
           JOIN pg_namespace n ON n.nspname = t.schemaname \
           JOIN pg_class c ON c.relname = t.tablename AND c.relnamespace = n.oid) \
         ON t.pubname = p.pubname WHERE p.pubname = $1::text::name ORDER BY 9, 10"
    )
}

fn table(row: &Row) -> Option<PublishedTable> {
    let (schema, table): (Option<String>, Option<String>) = (row.get(8), row.get(9));
    Some(PublishedTable {
        name: TableName { schema: schema?, table: table? },
        oid: row.get::<_, Option<u32>>(10)?,
        row_filter: row.get(11),
        columns: row.get(12),
    })
}

fn object(name: &str) -> String {
    format!("publication {name}")
}

/// Creates a publication of exactly these tables, and of TRUNCATE only if `truncate`. From 13 on
/// changes of partitions appear under the partitioned table that was named.
///
/// # Errors
/// `SourceDenied` without CREATE on the database or ownership of the tables; `SourceState` when it
/// exists or a table does not; `Configuration` when there are no tables.
pub async fn create(
    sql: &Sql,
    name: &str,
    tables: &[TableName],
    truncate: bool,
) -> Result<PublicationFacts, Fault> {
    let object = object(name);
    sql.run(&object, &create_statement(sql.version_num(), name, tables, truncate)?).await?;
    look(sql, name).await?.ok_or_else(|| {
        Fault::new(FaultKind::SourceState, object, "vanished right after it was created")
    })
}

fn create_statement(
    version_num: u32,
    name: &str,
    tables: &[TableName],
    truncate: bool,
) -> Result<String, Fault> {
    if tables.is_empty() {
        return Err(Fault::new(FaultKind::Configuration, object(name), "would have no tables"));
    }
    let list = tables.iter().map(quote::table).collect::<Result<Vec<_>, _>>()?;
    let truncate = if truncate { ", truncate" } else { "" };
    let via_root = if version_num >= 130_000 { ", publish_via_partition_root = true" } else { "" };
    Ok(format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish = 'insert, update, delete{truncate}'\
         {via_root})",
        quote::identifier(name)?,
        list.join(", ")
    ))
}

/// Adds a table to the publication.
///
/// # Errors
/// `SourceDenied` without ownership of both; `SourceState` when one of them does not exist.
pub async fn add_table(sql: &Sql, name: &str, table: &TableName) -> Result<(), Fault> {
    let (publication, table) = (quote::identifier(name)?, quote::table(table)?);
    sql.run(&object(name), &format!("ALTER PUBLICATION {publication} ADD TABLE {table}")).await
}

/// Drops the publication; one that is not there is fine.
///
/// # Errors
/// `SourceDenied` when it is not ours to drop.
pub async fn drop(sql: &Sql, name: &str) -> Result<(), Fault> {
    let statement = format!("DROP PUBLICATION IF EXISTS {}", quote::identifier(name)?);
    sql.run(&object(name), &statement).await
}

/// Looks at the publication and compares it with what a task was started with; returns what there
/// is now. To be called every 10 s: from 18 on a server skips the changes of a missing publication
/// without an error.
///
/// # Errors
/// As [`compare`] and [`look`].
pub async fn watch(sql: &Sql, expected: &PublicationFacts) -> Result<PublicationFacts, Fault> {
    let seen = look(sql, &expected.name).await?;
    compare(expected, seen.as_ref())?;
    seen.ok_or_else(|| gone(&expected.name))
}

/// Compares what a task was started with and what there is now. Additions are fine.
///
/// # Errors
/// `SourceState` when the publication is gone, another one (by oid), lacks an expected table or
/// operation, or shows fewer rows or columns of it.
pub fn compare(expected: &PublicationFacts, seen: Option<&PublicationFacts>) -> Result<(), Fault> {
    let Some(seen) = seen else { return Err(gone(&expected.name)) };
    let state = |message: String| Fault::new(FaultKind::SourceState, object(&seen.name), message);
    if seen.oid != expected.oid {
        return Err(state(format!(
            "was dropped and created again (oid {} instead of {})",
            seen.oid, expected.oid
        ))
        .remedy("changes in between may be lost; delete the task and create it again"));
    }
    if seen.via_root != expected.via_root {
        let remedy = format!("publish_via_partition_root = {}", expected.via_root);
        return Err(state("shows partitions under other names than before".into())
            .remedy(alter(seen, &format!("SET ({remedy})"))));
    }
    let lacking = [
        ("insert", expected.insert && !seen.insert),
        ("update", expected.update && !seen.update),
        ("delete", expected.delete && !seen.delete),
        ("truncate", expected.truncate && !seen.truncate),
    ];
    if let Some((operation, _)) = lacking.iter().find(|(_, lacks)| *lacks) {
        return Err(state(format!("no longer publishes {operation}"))
            .remedy("set its publish option back; changes since then are lost to this task"));
    }
    expected.tables.iter().try_for_each(|table| compare_table(table, seen))
}

fn compare_table(expected: &PublishedTable, seen: &PublicationFacts) -> Result<(), Fault> {
    let name = &expected.name;
    let state = |message: String| Fault::new(FaultKind::SourceState, object(&seen.name), message);
    let Some(table) = seen.tables.iter().find(|table| table.name == *name) else {
        let add = quote::table(name).unwrap_or_default();
        return Err(state(format!("no longer holds table {name}"))
            .remedy(alter(seen, &format!("ADD TABLE {add}"))));
    };
    if table.oid != expected.oid {
        let message = format!("holds another table {name}: it was dropped and created again");
        return Err(state(message).remedy("delete the task and create it again"));
    }
    if table.row_filter.is_some() && table.row_filter != expected.row_filter {
        return Err(state(format!("shows other rows of {name} than before"))
            .remedy("take the row filter back; rows it hid since then are lost to this task"));
    }
    let narrower = match (&table.columns, &expected.columns) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(now), Some(before)) => before.iter().any(|column| !now.contains(column)),
    };
    if narrower {
        return Err(state(format!("shows fewer columns of {name} than before"))
            .remedy("take the column list back; values it hid since then are lost to this task"));
    }
    Ok(())
}

fn alter(publication: &PublicationFacts, change: &str) -> String {
    let name = quote::identifier(&publication.name).unwrap_or_default();
    format!("ALTER PUBLICATION {name} {change}")
}

fn gone(name: &str) -> Fault {
    Fault::new(FaultKind::SourceState, object(name), "was dropped")
        .remedy("changes since then may be lost; delete the task and create it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(table: &str) -> TableName {
        TableName { schema: "s".into(), table: table.into() }
    }

    fn published(table: &str) -> PublishedTable {
        PublishedTable { name: name(table), oid: 7, row_filter: None, columns: None }
    }

    fn publication() -> PublicationFacts {
        PublicationFacts {
            oid: 1,
            name: "p".into(),
            all_tables: false,
            insert: true,
            update: true,
            delete: true,
            truncate: false,
            via_root: true,
            tables: vec![published("a"), published("b")],
        }
    }

    #[test]
    fn additions_are_fine() {
        let mut seen = publication();
        seen.truncate = true;
        seen.tables.push(published("c"));
        assert_eq!(compare(&publication(), Some(&seen)), Ok(()));
    }

    #[test]
    fn every_narrowing_is_a_fault() {
        assert!(compare(&publication(), None).is_err());
        let narrowings: [fn(&mut PublicationFacts); 8] = [
            |p| p.oid = 2,
            |p| p.update = false,
            |p| p.via_root = false,
            |p| p.tables.truncate(1),
            |p| p.tables[0].oid = 8,
            |p| p.tables[0].row_filter = Some("(id > 3)".into()),
            |p| p.tables[0].columns = Some(vec!["id".into()]),
            |p| p.tables.clear(),
        ];
        for narrow in narrowings {
            let mut seen = publication();
            narrow(&mut seen);
            let fault = compare(&publication(), Some(&seen)).expect_err("narrower");
            assert_eq!(fault.kind, FaultKind::SourceState);
            assert!(!fault.remedy.is_empty());
        }
    }

    #[test]
    fn statements_fit_their_version() {
        let old = create_statement(120_000, "p", &[name("A b")], false).expect("statement");
        assert_eq!(
            old,
            "CREATE PUBLICATION \"p\" FOR TABLE \"s\".\"A b\" \
             WITH (publish = 'insert, update, delete')"
        );
        let new = create_statement(180_000, "p", &[name("a")], true).expect("statement");
        assert!(new.ends_with("delete, truncate', publish_via_partition_root = true)"));
        assert!(create_statement(180_000, "p", &[], true).is_err());
    }
}
