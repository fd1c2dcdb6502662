//! Tables whose publication would make statements of the application fail.

use tidewire_node_core::facts::TableFacts;
use tidewire_node_core::precheck::{qualified, with_identity};
use tidewire_node_core::publish::{self, PublishTable};
use tidewire_node_core::schema::TaskTables;
use tidewire_postgres::{Sql, catalog, precheck};
use tidewire_shared::spec::TableName;
use tidewire_shared::{Fault, FaultKind};

/// Those of `tables` whose updates and deletes may not be published, with the reason: the server could
/// not name their rows, by which those of the application would fail, or their condition could not be
/// told from what they bring.
pub(super) async fn harmed(
    sql: &mut Sql,
    tables: &[PublishTable],
    of_task: &TaskTables,
) -> Result<Vec<(TableName, Fault)>, Fault> {
    let names: Vec<_> = tables.iter().map(|table| table.name.clone()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut harmed = Vec::new();
    for table in catalog::tables(sql, &names).await? {
        let untold = of_task.rule(&table.name).map(|rule| publish::untold(rule, &table));
        if !publish::identifies(&table) {
            harmed.push((table.name.clone(), nameless(&table)));
        } else if let Some(column) = untold.and_then(|columns| columns.first().copied()) {
            let what = format!(
                "its condition `where` needs column {column}, which is not in its replica identity: \
                 nobody could tell which updates go out"
            );
            let remedy = format!(
                "ALTER TABLE {} REPLICA IDENTITY FULL; or take the table, or its `where`, out of \
                 objects; then resume the task",
                qualified(&table.name)
            );
            harmed.push((table.name.clone(), of_table(&table.name, what).remedy(remedy)));
        }
    }
    let odd = precheck::odd_partitions(sql, &names).await?;
    let leaves: Vec<_> = odd.iter().map(|partition| partition.name.clone()).collect();
    if !leaves.is_empty() {
        let leaves = catalog::tables(sql, &leaves).await?;
        let nameless_leaves = leaves.iter().filter(|leaf| !publish::identifies(leaf));
        harmed.extend(nameless_leaves.filter_map(|leaf| {
            let partition = odd.iter().find(|partition| partition.name == leaf.name)?;
            Some((partition.root.clone(), nameless(leaf)))
        }));
    }
    Ok(harmed)
}

fn of_table(table: &TableName, what: impl Into<String>) -> Fault {
    Fault::new(FaultKind::SourceState, format!("table {table}"), what.into())
}

fn nameless(table: &TableFacts) -> Fault {
    let what = "has no usable replica identity: publishing it would make the application's UPDATE and \
                DELETE fail";
    let identity = with_identity(table);
    of_table(&table.name, what).remedy(format!(
        "{identity} or give it a primary key, or take it out of objects; then resume the task"
    ))
}
