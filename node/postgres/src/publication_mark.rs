//! Reads the rows of the catalog that decide what a publication publishes of a task.

use tidewire_node_core::facts::PublicationFacts;
use tidewire_node_core::publication_mark::{DecisiveTable, PublicationLook, name_hash};
use tidewire_node_core::publish::{Note, PublicationPlan};
use tidewire_shared::spec::TableName;
use tidewire_shared::{CatalogRow, Fault};
use tokio_postgres::Row;

use crate::{Sql, publication};

/// Looks at the rows of the publication `seen` that concern the tables of `plan`; `None` when there is
/// none of its name. A `managed` one has a note of the task's own changes.
///
/// # Errors
/// `SourceUnreachable` when the connection breaks.
pub async fn look(
    sql: &Sql,
    seen: &PublicationFacts,
    plan: &PublicationPlan,
    managed: bool,
) -> Result<Option<PublicationLook>, Fault> {
    let planned = |name: &TableName| plan.tables.iter().find(|table| table.name == *name);
    let (mut tables, mut named) = (Vec::new(), Vec::new());
    for table in &seen.tables {
        if let Some(planned) = planned(&table.name) {
            tables.push(table.oid);
            named.push(planned.named);
        }
    }
    let object = format!("publication {}", seen.name);
    let statement = statement(sql.version_num());
    let rows = sql.about(&object, &statement, &[&seen.name, &tables, &named]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let mut look = PublicationLook::default();
    look.mark.oid = first.get(0);
    look.mark.xmin = publication::transaction(&object, first.get(1))?;
    for row in &rows {
        read(&object, row, &mut look)?;
    }
    let note = if managed { publication::note(sql, &seen.name).await? } else { None };
    look.ours = note.as_ref().map(Note::transactions).unwrap_or_default();
    Ok(Some(look))
}

/// A row for each table that decides; one without where the task has none there. A partition is
/// published by what holds a table above it, too.
fn statement(version_num: u32) -> String {
    let (schema, of_schema) = if version_num >= 150_000 {
        (
            "s.oid, s.xmin::text",
            "LEFT JOIN pg_publication_namespace s ON s.pnpubid = p.oid AND s.pnnspid = c.relnamespace",
        )
    } else {
        ("NULL::oid, NULL::text", "")
    };
    format!(
        "WITH asked AS (SELECT * FROM unnest($2::oid[], $3::bool[]) AS t (oid, named)), \
         decisive AS (SELECT oid, bool_or(named) AS named FROM (SELECT oid, named FROM asked \
           UNION ALL SELECT a.relid::oid, t.named FROM asked t, \
             pg_partition_ancestors(t.oid::regclass) AS a (relid)) it GROUP BY oid) \
         SELECT p.oid, p.xmin::text, c.oid, c.nspname::text, c.relname::text, c.named, \
           r.oid, r.xmin::text, c.relnamespace, {schema} \
         FROM pg_publication p LEFT JOIN (SELECT c.oid, c.relname, c.relnamespace, n.nspname, d.named \
           FROM decisive d JOIN pg_class c ON c.oid = d.oid \
           JOIN pg_namespace n ON n.oid = c.relnamespace) c ON true \
         LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid \
         {of_schema} WHERE p.pubname = $1::text::name"
    )
}

fn read(object: &str, row: &Row, look: &mut PublicationLook) -> Result<(), Fault> {
    let Some(table) = row.get::<_, Option<u32>>(2) else { return Ok(()) };
    let name = TableName { schema: row.get(3), table: row.get(4) };
    let (namespace, schema): (u32, String) = (row.get(8), row.get(3));
    let held = |at: usize, name: &str| -> Result<Option<CatalogRow>, Fault> {
        let Some(oid) = row.get::<_, Option<u32>>(at) else { return Ok(None) };
        let xmin = publication::transaction(object, row.get(at + 1))?;
        Ok(Some(CatalogRow { name: name_hash(name), oid, xmin }))
    };
    let text = name.to_string();
    look.mark.tables.extend(held(6, &text)?.map(|row| (table, row)));
    look.mark.schemas.extend(held(9, &schema)?.map(|row| (namespace, row)));
    look.tables.insert(table, DecisiveTable { name: text, named: row.get(5) });
    look.schemas.insert(namespace, schema);
    Ok(())
}
