//! The tables of a task: there, publishable without harm to the application, and logged.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_shared::spec::PostgresTask;
use tidewire_shared::spec::{Managed, ObjectRule, PartitionPolicy, RecordKey, TableName};

use super::{Finding, SourceLook, listed, qualified, selection};
use crate::facts::{OddPartition, SourcePrecheck, TableFacts};
use crate::publish::identifies;

/// The names of the tables that a task has.
pub(super) fn wanted<'a>(look: &SourceLook<'a>) -> impl Iterator<Item = &'a TableName> {
    look.tables.iter().map(|table| &table.name)
}

/// The tables of the task that exist, each with its rule.
pub(super) fn present<'a>(
    look: &SourceLook<'a>,
    seen: &'a SourcePrecheck,
) -> impl Iterator<Item = (&'a TableFacts, Option<&'a ObjectRule>)> {
    let facts: BTreeMap<_, _> = seen.tables.iter().map(|table| (&table.name, table)).collect();
    let objects = &look.spec.objects;
    look.tables.iter().filter_map(move |table| {
        facts.get(&table.name).map(|facts| (*facts, objects.get(table.rule)))
    })
}

/// Every table exists, can be published, and may be read and published by the role.
pub(super) fn exist(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Finding {
    let role = super::identifier(&look.spec.source.user);
    // A table that a revision adds has yet to be published, by its owner alone.
    let managed = look.spec.source.publication == Managed::Managed;
    let published: BTreeSet<_> =
        seen.publication.iter().flat_map(|it| &it.tables).map(|table| &table.name).collect();
    let (mut wrong, mut remedies) = (Vec::new(), Vec::new());
    let facts: BTreeMap<_, _> = seen.tables.iter().map(|table| (&table.name, table)).collect();
    for name in wanted(look) {
        let quoted = qualified(name);
        match facts.get(name) {
            None => {
                wrong.push(format!("{quoted} does not exist"));
                remedies.push(format!("create {quoted}, or take it out of objects"));
            }
            Some(table) if !matches!(table.kind, 'r' | 'p' | 'f') => {
                wrong.push(format!("{quoted} is not a table"));
                remedies.push(format!("take {quoted} out of objects"));
            }
            Some(table) => {
                if !table.selectable {
                    wrong.push(format!("{quoted} may not be read"));
                    remedies.push(format!("GRANT SELECT ON {quoted} TO {role};"));
                }
                if managed && !table.owned && !published.contains(name) {
                    wrong.push(format!("{quoted} is not owned by {role}, so it cannot publish it"));
                    remedies.push(format!(
                        "GRANT the owning role of {quoted} TO {role}, or make the publication as \
                         the owner"
                    ));
                }
            }
        }
    }
    let idle = without_a_table(look);
    if wrong.is_empty() && !idle.is_empty() {
        return Finding::warn(
            format!("{} tables; none fits {}", wanted(look).count(), listed(&idle, ", ")),
            "nothing goes out by these patterns until tables appear that fit",
            "correct objects, unless that is meant",
        );
    }
    if wrong.is_empty() {
        return Finding::pass(format!("{} tables", wanted(look).count()));
    }
    let (found, remedy) = (listed(&wrong, "; "), listed(&remedies, " "));
    Finding::fail(found, "the task cannot publish all of its tables", remedy)
}

/// The patterns that no table fits.
fn without_a_table(look: &SourceLook<'_>) -> Vec<String> {
    let patterns = look.spec.objects.iter().flat_map(|rule| &rule.patterns);
    let idle = patterns.filter(|pattern| !look.tables.iter().any(|it| pattern.fits(&it.name)));
    idle.map(|pattern| format!("`{pattern}`")).collect()
}

/// Publishing a table without a usable replica identity makes the application's UPDATE and DELETE
/// fail, so such a table fails the precheck.
pub(super) fn keyed(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Finding {
    let hurt: Vec<_> = present(look, seen)
        // A foreign table can have none: `tables_logged` tells what to do about it.
        .filter(|(table, _)| table.kind != 'f')
        .filter(|(table, rule)| !rule.is_some_and(inserts_only) && !identifies(table))
        .map(|(table, _)| table)
        .collect();
    if hurt.is_empty() {
        return placed(look, seen);
    }
    let names: Vec<_> = hurt.iter().map(|table| qualified(&table.name)).collect();
    let statements: Vec<_> = hurt.iter().map(|table| with_identity(table)).collect();
    Finding::fail(
        format!("no usable replica identity: {}", listed(&names, ", ")),
        "publishing these tables would make the application's UPDATE and DELETE fail",
        listed(&statements, " "),
    )
}

/// Such a table is published for its inserts alone, which need no replica identity.
fn inserts_only(rule: &ObjectRule) -> bool {
    !rule.operations.update && !rule.operations.delete
}

/// What decides key and partition of a record, and whether it goes out, must come with every UPDATE
/// and DELETE.
fn placed(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Finding {
    let (mut wrong, mut remedies) = (Vec::new(), Vec::new());
    for (table, rule) in present(look, seen) {
        if let Some((what, remedy)) = selection::untold(rule, table) {
            wrong.push(what);
            remedies.push(remedy);
        }
        let hidden = hidden_columns(look.spec, table, rule);
        if !rule.is_some_and(inserts_only) && !hidden.is_empty() {
            let name = qualified(&table.name);
            wrong.push(format!("{name}: {} not in the replica identity", hidden.join(", ")));
            remedies.push(format!("ALTER TABLE {name} REPLICA IDENTITY FULL;"));
        }
    }
    for partition in &seen.odd_partitions {
        let (name, root) = (qualified(&partition.name), qualified(&partition.root));
        wrong.push(format!("partition {name} has another replica identity than {root}"));
        remedies.push(as_its_root(partition));
    }
    if wrong.is_empty() {
        return Finding::pass("every table has a replica identity");
    }
    Finding::fail(
        listed(&wrong, "; "),
        "key and partition of an UPDATE or DELETE, or whether it goes out, could not be told",
        listed(&remedies, " "),
    )
}

/// The statement that gives a partition the replica identity of its root.
#[must_use]
pub fn as_its_root(partition: &OddPartition) -> String {
    let identity = match partition.root_identity {
        'd' => "DEFAULT",
        'f' => "FULL",
        _ => "USING INDEX (the index that belongs to the one of the root)",
    };
    format!("ALTER TABLE {} REPLICA IDENTITY {identity};", qualified(&partition.name))
}

/// The columns that decide key or partition and do not come with a DELETE.
fn hidden_columns<'a>(
    spec: &PostgresTask,
    table: &'a TableFacts,
    rule: Option<&'a ObjectRule>,
) -> Vec<&'a str> {
    let primary = || table.unique_keys.iter().find(|key| key.primary);
    let chosen = || table.unique_keys.iter().find(|key| key.replica_identity);
    let identity = match table.identity {
        'd' => primary(),
        'i' => chosen(),
        _ => return Vec::new(),
    };
    let first_unique =
        || table.unique_keys.iter().filter(|key| key.not_null).min_by_key(|key| &key.name);
    let key = primary().or_else(chosen).or_else(first_unique);
    let key = key.map_or(&[][..], |key| &key.columns);
    let partition_by = rule.map_or(&[][..], |rule| &rule.partition_by);
    // Of a column that is not there `column_types` tells.
    let is_there = |name: &&String| table.columns.iter().any(|column| column.name == **name);
    let mut deciding = Vec::new();
    if spec.partition == PartitionPolicy::ByPrimaryKey {
        deciding.extend(partition_by.iter().filter(is_there));
        deciding.extend(if partition_by.is_empty() { key } else { &[] });
    }
    if spec.format.key == RecordKey::Json {
        deciding.extend(key);
    }
    let in_identity = |name: &String| identity.is_some_and(|key| key.columns.contains(name));
    let mut hidden: Vec<_> =
        deciding.into_iter().filter(|name| !in_identity(name)).map(String::as_str).collect();
    hidden.sort_unstable();
    hidden.dedup();
    hidden
}

/// The statement that gives a table the narrowest replica identity it can have.
#[must_use]
pub fn with_identity(table: &TableFacts) -> String {
    let name = qualified(&table.name);
    if table.unique_keys.iter().any(|key| key.primary) {
        return format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT;");
    }
    match table.unique_keys.iter().filter(|key| key.not_null).min_by_key(|key| &key.name) {
        Some(key) => format!(
            "ALTER TABLE {name} REPLICA IDENTITY USING INDEX {};",
            super::identifier(&key.name)
        ),
        None => format!("ALTER TABLE {name} REPLICA IDENTITY FULL;"),
    }
}

/// Temporary, unlogged and foreign tables write no log that could be decoded.
pub(super) fn logged(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Finding {
    let (mut wrong, mut remedies) = (Vec::new(), Vec::new());
    for (table, _) in present(look, seen) {
        let name = qualified(&table.name);
        let (kind, remedy) = match (table.kind, table.persistence) {
            ('f', _) => ("foreign", format!("take {name} out of objects;")),
            (_, 'u') => ("unlogged", format!("ALTER TABLE {name} SET LOGGED;")),
            (_, 't') => ("temporary", format!("take {name} out of objects;")),
            _ => continue,
        };
        wrong.push(format!("{name} is {kind}"));
        remedies.push(remedy);
    }
    if wrong.is_empty() {
        return Finding::pass("every table is logged");
    }
    Finding::fail(
        listed(&wrong, "; "),
        "changes of these tables are not in the log",
        listed(&remedies, " "),
    )
}
