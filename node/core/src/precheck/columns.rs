//! The columns of a task's tables: what they hold and what of it reaches the records.

use super::{Finding, SourceLook, identifier, listed, qualified, selection, tables};
use crate::facts::{ColumnFacts, SourcePrecheck, TableFacts};

/// `pg_type.oid` of `oid`, which holds the number of a large object, also as the domain `lo`.
const OID: u32 = 26;

/// Every value can be written, and every column that the task names is there.
pub(super) fn types(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Finding {
    let lacking = lacking(look, seen);
    if !lacking.is_empty() {
        return Finding::fail(
            listed(&lacking, "; "),
            "partitionBy names columns that are not there",
            "correct partitionBy, or add the columns",
        );
    }
    let wrong = selection::wrong(look, seen);
    if !wrong.is_empty() {
        return Finding::fail(
            listed(&wrong, "; "),
            "columns, rename and where must fit the tables",
            "correct the task's objects, or the tables",
        );
    }
    let encoding = format!("server_encoding {}", seen.encoding);
    // The server converts from every encoding but the one that is none.
    if seen.encoding == "SQL_ASCII" {
        return Finding::fail(
            encoding,
            "text in it may be anything, and a value that is not UTF-8 stops the task or becomes a dead letter",
            "dump the database and restore it into one made with ENCODING 'UTF8'",
        )
        .overridable();
    }
    let generated =
        columns(look, seen, |table, column| column.generated && !is_published(seen, table, column));
    if generated.is_empty() {
        return Finding::pass(encoding);
    }
    let remedy = match seen.server.version_num {
        180_000.. => {
            "publish stored ones with a publication of your own, \
             WITH (publish_generated_columns = stored), or let readers compute them"
        }
        _ => "let readers compute them; PostgreSQL can publish stored ones from 18 on",
    };
    let found = format!("generated columns: {}", listed(&generated, ", "));
    Finding::warn(found, "their values are not published and stand in no record", remedy)
}

/// A publication of someone else may have generated columns.
fn is_published(seen: &SourcePrecheck, table: &TableFacts, column: &ColumnFacts) -> bool {
    let mut published = seen.publication.iter().flat_map(|it| &it.tables);
    published.any(|it| it.name == table.name && it.generated.contains(&column.name))
}

/// Columns of `partitionBy` that a table does not have.
fn lacking(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Vec<String> {
    let mut lacking = Vec::new();
    for (table, rule) in tables::present(look, seen) {
        for name in rule.map_or(&[][..], |rule| &rule.partition_by) {
            if !table.columns.iter().any(|column| column.name == *name) {
                lacking.push(format!(
                    "{} has no column {}",
                    qualified(&table.name),
                    identifier(name)
                ));
            }
        }
    }
    lacking
}

/// The content of large objects is not decoded: only their numbers are in the rows.
pub(super) fn large_objects(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Finding {
    if !seen.around.large_objects {
        return Finding::pass("the database holds no large objects");
    }
    let oids = columns(look, seen, |_, column| column.base.oid == OID);
    if oids.is_empty() {
        return Finding::pass("no column refers to large objects");
    }
    Finding::warn(
        format!("large objects, and columns of type oid: {}", listed(&oids, ", ")),
        "the content of large objects is not decoded: records hold their numbers",
        "keep the content in bytea columns, or leave these columns out of the task",
    )
}

/// The columns of the task's tables that `fits` picks.
fn columns(
    look: &SourceLook<'_>,
    seen: &SourcePrecheck,
    fits: impl Fn(&TableFacts, &ColumnFacts) -> bool,
) -> Vec<String> {
    let mut found = Vec::new();
    for (table, _) in tables::present(look, seen) {
        let fitting = table.columns.iter().filter(|column| fits(table, column));
        let name = qualified(&table.name);
        found.extend(fitting.map(|column| format!("{name}.{}", identifier(&column.name))));
    }
    found
}
