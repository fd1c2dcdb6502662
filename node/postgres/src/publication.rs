//! Publications: look, create, watch, drop.

use tidewire_node_core::facts::{PublicationFacts, PublishedTable};
use tidewire_node_core::publish::{self, Alignment, Note, PublicationPlan, PublishTable};
use tidewire_node_core::rewind::way_on;
use tidewire_shared::spec::TableName;
use tidewire_shared::{Fault, FaultKind, LogPlace};
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
/// Column lists come from the catalog: the view's names are those of the table's newest shape, for which
/// it waits while a column is dropped, and the statement would hold them against the older one it sees.
fn look_statement(version_num: u32) -> String {
    let via_root = if version_num >= 130_000 { "p.pubviaroot" } else { "false" };
    let (row_filter, columns) = if version_num >= 150_000 {
        (
            "t.rowfilter",
            "CASE WHEN EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid \
             AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' \
             AND a.attnum <> ALL (r.prattrs)) THEN (SELECT array_agg(a.attname::text ORDER BY a.attnum) \
             FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs)) END",
        )
    } else {
        ("NULL::text", "NULL::text[]")
    };
    let generated = if version_num >= 180_000 {
        "ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid \
         AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> '' \
         AND a.attname = ANY (t.attnames))"
    } else {
        "'{}'::text[]"
    };
    format!(
        "SELECT p.oid, p.pubname::text, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, \
         p.pubtruncate, {via_root}, t.schemaname::text, t.tablename::text, c.oid, {row_filter}, \
         {columns}, {generated} FROM pg_publication p \
         LEFT JOIN (pg_publication_tables t \
           JOIN pg_namespace n ON n.nspname = t.schemaname \
           JOIN pg_class c ON c.relname = t.tablename AND c.relnamespace = n.oid) \
         ON t.pubname = p.pubname \
         LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid WHERE p.pubname = $1::text::name ORDER BY 9, 10"
    )
}

fn table(row: &Row) -> Option<PublishedTable> {
    let (schema, table): (Option<String>, Option<String>) = (row.get(8), row.get(9));
    Some(PublishedTable {
        name: TableName { schema: schema?, table: table? },
        oid: row.get::<_, Option<u32>>(10)?,
        row_filter: row.get(11),
        columns: row.get(12),
        generated: row.get(13),
    })
}

fn object(name: &str) -> String {
    format!("publication {name}")
}

/// Creates a publication as planned, with a note of its tables. From 13 on changes of partitions
/// appear under the partitioned table that was named.
///
/// # Errors
/// `SourceDenied` without CREATE on the database or ownership of the tables; `SourceState` when it
/// exists or a table does not.
pub async fn create(
    sql: &Sql,
    name: &str,
    plan: &PublicationPlan,
) -> Result<PublicationFacts, Fault> {
    let object = object(name);
    sql.run(&object, &create_statement(sql.version_num(), name, plan)?).await?;
    look(sql, name).await?.ok_or_else(|| {
        Fault::new(FaultKind::SourceState, object, "vanished right after it was created")
    })
}

/// Both statements go as one message, so they are one transaction.
fn create_statement(version_num: u32, name: &str, plan: &PublicationPlan) -> Result<String, Fault> {
    let tables = plan.tables.iter().map(published).collect::<Result<Vec<_>, _>>()?;
    let list = match tables.as_slice() {
        [] => String::new(),
        tables => format!(" FOR TABLE {}", tables.join(", ")),
    };
    let via_root = via_root(version_num);
    let name = quote::identifier(name)?;
    Ok(format!(
        "CREATE PUBLICATION {name}{list} WITH ({}{via_root}); {}",
        publish(plan),
        comment(&name, &publish::note(&plan.tables))?
    ))
}

/// A publication on its way to what is planned.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is to hold.
    pub plan: &'a PublicationPlan,
    /// What has to be done to it; `None`: it has to be made.
    pub alignment: Option<&'a Alignment>,
}

/// Brings publications to what is planned, all in one transaction: a table that moves from one to
/// another is published by one of them at every place of the log.
///
/// # Errors
/// `SourceDenied` without ownership of publication and tables; `SourceState` when one of them does
/// not exist, or a publication to be made does.
pub async fn align(sql: &Sql, steps: &[Step<'_>]) -> Result<(), Fault> {
    let Some(first) = steps.first() else { return Ok(()) };
    sql.run(&object(first.name), &statements(sql.version_num(), steps)?).await
}

fn statements(version_num: u32, steps: &[Step<'_>]) -> Result<String, Fault> {
    let statement = |step: &Step<'_>| match step.alignment {
        Some(alignment) => align_statement(version_num, step, alignment),
        None => create_statement(version_num, step.name, step.plan),
    };
    let statements = steps.iter().map(statement).collect::<Result<Vec<_>, _>>()?;
    Ok(statements.join("; "))
}

fn align_statement(
    version_num: u32,
    step: &Step<'_>,
    alignment: &Alignment,
) -> Result<String, Fault> {
    let name = quote::identifier(step.name)?;
    let mut statements = Vec::new();
    if !alignment.drop.is_empty() {
        let tables =
            alignment.drop.iter().map(quote::table).collect::<Result<Vec<_>, _>>()?.join(", ");
        statements.push(format!("ALTER PUBLICATION {name} DROP TABLE {tables}"));
    }
    if !alignment.add.is_empty() {
        let tables = alignment.add.iter().map(published).collect::<Result<Vec<_>, _>>()?.join(", ");
        statements.push(format!("ALTER PUBLICATION {name} ADD TABLE {tables}"));
    }
    if alignment.publish {
        let options = format!("{}{}", publish(step.plan), via_root(version_num));
        statements.push(format!("ALTER PUBLICATION {name} SET ({options})"));
    }
    statements.push(comment(&name, &alignment.note)?);
    Ok(statements.join("; "))
}

fn published(table: &PublishTable) -> Result<String, Fault> {
    let mut text = quote::table(&table.name)?;
    if let Some(columns) = &table.columns {
        let columns: Result<Vec<_>, _> =
            columns.iter().map(|column| quote::identifier(column)).collect();
        text.push_str(&format!(" ({})", columns?.join(", ")));
    }
    if let Some(row_filter) = &table.row_filter {
        text.push_str(&format!(" WHERE ({row_filter})"));
    }
    Ok(text)
}

fn publish(plan: &PublicationPlan) -> String {
    let operations = [
        ("insert", plan.publish.insert),
        ("update", plan.publish.update),
        ("delete", plan.publish.delete),
        ("truncate", plan.publish.truncate),
    ];
    let names: Vec<_> =
        operations.iter().filter(|(_, published)| *published).map(|(name, _)| *name).collect();
    format!("publish = '{}'", names.join(", "))
}

/// From 13 on changes of partitions appear under the partitioned table.
fn via_root(version_num: u32) -> &'static str {
    if version_num >= 130_000 { ", publish_via_partition_root = true" } else { "" }
}

fn comment(quoted: &str, note: &str) -> Result<String, Fault> {
    Ok(format!("COMMENT ON PUBLICATION {quoted} IS {}", quote::literal(note)?))
}

/// The comment of the publication, where its tables are noted; `None` without one.
///
/// # Errors
/// `SourceUnreachable` when the connection breaks.
pub async fn note(sql: &Sql, name: &str) -> Result<Option<Note>, Fault> {
    let statement = "SELECT d.description, d.xmin::text FROM pg_publication p \
         JOIN pg_description d ON d.classoid = 'pg_publication'::regclass \
         AND d.objoid = p.oid AND d.objsubid = 0 WHERE p.pubname = $1::text::name";
    let object = object(name);
    let rows = sql.about(&object, statement, &[&name]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Note { text: row.get(0), transaction: transaction(&object, row.get(1))? }))
}

/// The number of a transaction as `xmin` shows it.
pub(crate) fn transaction(object: &str, text: &str) -> Result<u32, Fault> {
    text.parse().map_err(|_| {
        Fault::new(FaultKind::Internal, object, format!("has a row of transaction {text:?}"))
    })
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
        .remedy(without("changes in between may be lost")));
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
    expected.tables.iter().try_for_each(|table| {
        renamed(table, seen)?;
        compare_table(table, seen)
    })
}

fn renamed(expected: &PublishedTable, seen: &PublicationFacts) -> Result<(), Fault> {
    let now = seen.tables.iter().find(|table| table.oid == expected.oid);
    let Some(now) = now.filter(|table| table.name != expected.name) else { return Ok(()) };
    let message = format!("table {} is called {} now", expected.name, now.name);
    Err(Fault::new(FaultKind::SourceState, object(&seen.name), message).remedy(
        "rename it back, or change the task's objects to the new name, then resume the task; \
         nothing is lost so far",
    ))
}

fn compare_table(expected: &PublishedTable, seen: &PublicationFacts) -> Result<(), Fault> {
    let name = &expected.name;
    let state = |message: String| Fault::new(FaultKind::SourceState, object(&seen.name), message);
    let Some(table) = seen.tables.iter().find(|table| table.name == *name) else {
        let add = quote::table(name).unwrap_or_default();
        return Err(state(format!("no longer holds table {name}")).remedy(format!(
            "{}; changes of the table until then are lost to this task",
            alter(seen, &format!("ADD TABLE {add}"))
        )));
    };
    if table.oid != expected.oid {
        let message = format!("holds another table {name}: it was dropped and created again");
        return Err(state(message).remedy(without("its changes until now are lost to this task")));
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
        .remedy(without("changes since then may be lost"))
}

/// How to go on without what is lost.
fn without(lost: &str) -> String {
    format!("{lost}; to go on without them: {}", way_on(LogPlace::Now))
}

#[cfg(test)]
mod tests {
    use tidewire_shared::spec::Operations;

    use super::*;

    fn name(table: &str) -> TableName {
        TableName { schema: "s".into(), table: table.into() }
    }

    fn published(table: &str) -> PublishedTable {
        let oid = u32::from(table.as_bytes()[0]);
        let (row_filter, columns, generated) = (None, None, Vec::new());
        PublishedTable { name: name(table), oid, row_filter, columns, generated }
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
        let narrowings: [fn(&mut PublicationFacts); 9] = [
            |p| p.oid = 2,
            |p| p.update = false,
            |p| p.via_root = false,
            |p| p.tables.truncate(1),
            |p| p.tables[0].oid = 8,
            |p| p.tables[0].name = name("z"),
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
        let table = |name: &str| PublishTable {
            name: self::name(name),
            oid: 7,
            named: true,
            columns: None,
            row_filter: None,
        };
        let plan = |tables: &[PublishTable], truncate| PublicationPlan {
            tables: tables.to_vec(),
            publish: Operations { truncate, ..Operations::default() },
        };
        let old = create_statement(120_000, "p", &plan(&[table("A b")], false)).expect("statement");
        assert!(old.starts_with(
            "CREATE PUBLICATION \"p\" FOR TABLE \"s\".\"A b\" \
             WITH (publish = 'insert, update, delete'); COMMENT ON PUBLICATION \"p\" IS '"
        ));
        let narrow = PublishTable {
            columns: Some(vec!["id".into(), "n".into()]),
            row_filter: Some("(\"n\" > 1)".into()),
            ..table("a")
        };
        let new = create_statement(180_000, "p", &plan(&[narrow], true)).expect("statement");
        assert!(new.contains(" FOR TABLE \"s\".\"a\" (\"id\", \"n\") WHERE ((\"n\" > 1)) WITH"));
        assert!(new.contains("delete, truncate', publish_via_partition_root = true); "));
        let empty = create_statement(180_000, "p", &plan(&[], false)).expect("statement");
        assert!(empty.starts_with("CREATE PUBLICATION \"p\" WITH ("));
    }

    #[test]
    fn a_publication_is_brought_to_its_plan_in_one_message() {
        let added =
            PublishTable { name: name("c"), oid: 9, named: false, columns: None, row_filter: None };
        let plan = PublicationPlan { tables: vec![added.clone()], publish: Operations::default() };
        let alignment = Alignment {
            drop: vec![name("b")],
            add: vec![added],
            publish: true,
            note: "it's noted".into(),
        };
        let step = Step { name: "p", plan: &plan, alignment: Some(&alignment) };
        assert_eq!(
            align_statement(130_000, &step, &alignment).expect("statement"),
            "ALTER PUBLICATION \"p\" DROP TABLE \"s\".\"b\"; \
             ALTER PUBLICATION \"p\" ADD TABLE \"s\".\"c\"; \
             ALTER PUBLICATION \"p\" SET (publish = 'insert, update, delete', \
             publish_via_partition_root = true); \
             COMMENT ON PUBLICATION \"p\" IS 'it''s noted'"
        );
        let none = PublicationPlan { tables: Vec::new(), publish: Operations::default() };
        let steps = [
            Step { name: "p", plan: &plan, alignment: Some(&alignment) },
            Step { name: "q", plan: &none, alignment: None },
        ];
        let both = statements(150_000, &steps).expect("statements");
        assert!(both.contains(" IS 'it''s noted'; CREATE PUBLICATION \"q\" WITH ("), "{both}");
    }
}
