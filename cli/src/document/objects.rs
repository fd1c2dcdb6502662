//! `objects:` of a `postgres_to_kafka` document: which tables go to which topic.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_node_core::filter::{Condition, UNDERSTOOD};
use tidewire_shared::spec::{
    ColumnChoice, NamePattern, ObjectRule, Operations, PartitionPolicy, Rename, TableName,
    TablePattern,
};

use super::place::{Keys, Place, Walk};
use super::table_name::{column, table_pattern};

const KEYS: &[&str] =
    &["tables", "exclude", "topic", "rename", "columns", "where", "operations", "partitionBy"];

pub(super) fn objects(place: &Place<'_>, policy: PartitionPolicy) -> Walk<Vec<ObjectRule>> {
    let mut seen = BTreeSet::new();
    place.filled_list()?.iter().map(|place| rule(place, policy, &mut seen)).collect()
}

fn rule(
    place: &Place<'_>,
    policy: PartitionPolicy,
    seen: &mut BTreeSet<TableName>,
) -> Walk<ObjectRule> {
    let keys = place.keys(KEYS)?;
    let (tables, patterns) = tables(&keys.need("tables")?, seen)?;
    let rule = ObjectRule {
        tables,
        patterns,
        exclude: keys
            .get_or("exclude", Vec::new(), |at| at.list()?.iter().map(table_pattern).collect())?,
        topic: topic(&keys.need("topic")?)?,
        rename: keys.get_or("rename", Rename::default(), rename)?,
        columns: keys.get_or("columns", ColumnChoice::default(), columns)?,
        filter: keys.get_or("where", String::new(), condition)?,
        operations: keys.get_or("operations", Operations::default(), operations)?,
        partition_by: partition_by(&keys, policy)?,
    };
    let left_out = rule.partition_by.iter().find(|name| !goes_out(&rule.columns, name));
    if let (Some(name), Some(at)) = (left_out, keys.get("partitionBy")) {
        let problem = format_args!("column {name} is left out by `columns`");
        return at.wrong(problem, "let it go out, or partition by another column");
    }
    Ok(rule)
}

fn goes_out(columns: &ColumnChoice, name: &String) -> bool {
    (columns.include.is_empty() || columns.include.contains(name))
        && !columns.exclude.contains(name)
}

/// A condition that is understood; whether its columns are there is the precheck's to say.
fn condition(place: &Place<'_>) -> Walk<String> {
    let text = place.filled_text()?;
    match Condition::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(what) => {
            let (problem, understood) = what.split_once("; ").unwrap_or((&what, UNDERSTOOD));
            place.wrong(problem, understood)
        }
    }
}

/// Exact names and patterns apart; an exact name stands in one rule only.
fn tables(
    place: &Place<'_>,
    seen: &mut BTreeSet<TableName>,
) -> Walk<(Vec<TableName>, Vec<TablePattern>)> {
    let (mut tables, mut patterns) = (Vec::new(), Vec::new());
    for at in place.filled_list()? {
        match table_pattern(&at)? {
            TablePattern {
                schema: NamePattern::Exact(schema),
                table: NamePattern::Exact(table),
            } => {
                let name = TableName { schema, table };
                if !seen.insert(name.clone()) {
                    return at.wrong(format_args!("{name} is named twice"), "keep it in one place");
                }
                tables.push(name);
            }
            pattern => patterns.push(pattern),
        }
    }
    Ok((tables, patterns))
}

fn partition_by(keys: &Keys<'_>, policy: PartitionPolicy) -> Walk<Vec<String>> {
    let Some(place) = keys.get("partitionBy") else { return Ok(Vec::new()) };
    let columns = column_names(&place)?;
    if !columns.is_empty() && policy != PartitionPolicy::ByPrimaryKey {
        return place.wrong(
            "has no use with this partition policy",
            "write partition: by_primary_key, or leave it out",
        );
    }
    Ok(columns)
}

fn column_names(place: &Place<'_>) -> Walk<Vec<String>> {
    let mut columns = Vec::new();
    for at in place.list()? {
        let name = column(&at)?;
        if columns.contains(&name) {
            return at.wrong(format_args!("column {name} is named twice"), "keep one");
        }
        columns.push(name);
    }
    Ok(columns)
}

fn rename(place: &Place<'_>) -> Walk<Rename> {
    let keys = place.keys(&["database", "schema", "table", "columns"])?;
    let name = |key| -> Walk<Option<String>> {
        keys.get(key).map(|at| Ok(at.filled_text()?.to_owned())).transpose()
    };
    let mut columns = BTreeMap::new();
    if let Some(place) = keys.get("columns") {
        for (from, to) in place.entries()? {
            let to_name = to.filled_text()?.to_owned();
            if columns.values().any(|taken| *taken == to_name) {
                return to.wrong("is the name of two columns", "give each a name of its own");
            }
            columns.insert(from.to_owned(), to_name);
        }
    }
    Ok(Rename {
        database: name("database")?,
        schema: name("schema")?,
        table: name("table")?,
        columns,
    })
}

fn columns(place: &Place<'_>) -> Walk<ColumnChoice> {
    let keys = place.keys(&["include", "exclude"])?;
    let choice = ColumnChoice {
        include: keys.get_or("include", Vec::new(), column_names)?,
        exclude: keys.get_or("exclude", Vec::new(), column_names)?,
    };
    if !choice.include.is_empty() && !choice.exclude.is_empty() {
        return place.wrong("has both include and exclude", "keep one of them");
    }
    Ok(choice)
}

fn operations(place: &Place<'_>) -> Walk<Operations> {
    let none = Operations { insert: false, update: false, delete: false, truncate: false };
    let mut operations = none;
    for at in place.filled_list()? {
        let words = [
            ("insert", "insert"),
            ("update", "update"),
            ("delete", "delete"),
            ("truncate", "truncate"),
        ];
        match at.word(&words)? {
            "insert" => operations.insert = true,
            "update" => operations.update = true,
            "delete" => operations.delete = true,
            _ => operations.truncate = true,
        }
    }
    Ok(operations)
}

/// The name of a topic, or a template of names.
fn topic(place: &Place<'_>) -> Walk<String> {
    let text = place.filled_text()?;
    let mut plain = text.to_owned();
    for known in ["{database}", "{schema}", "{table}"] {
        plain = plain.replace(known, "x");
    }
    if plain.contains(['{', '}']) {
        return place.wrong(
            format_args!("`{text}` holds a brace that is no placeholder"),
            "placeholders are {database}, {schema} and {table}",
        );
    }
    legal_topic(place, text, &plain)
}

/// A topic name that Kafka accepts and that is not one of Kafka's or ours.
pub(super) fn topic_name(place: &Place<'_>) -> Walk<String> {
    let text = place.filled_text()?;
    legal_topic(place, text, text)
}

/// Whether `plain` is a topic name, for a topic or template that is written as `text`.
pub(super) fn legal_topic(place: &Place<'_>, text: &str, plain: &str) -> Walk<String> {
    legal_name(place, text, plain)?;
    if matches!(text, "__tidewire_positions" | "__consumer_offsets" | "__transaction_state") {
        return place.wrong(format_args!("{text} is not for records"), "name another topic");
    }
    Ok(text.to_owned())
}

/// Whether `plain` is a name that a topic can have, for one that is written as `text`.
pub(super) fn legal_name(place: &Place<'_>, text: &str, plain: &str) -> Walk<()> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if plain.len() > 249 || matches!(plain, "." | "..") || !plain.bytes().all(fits) {
        return place.wrong(
            format_args!("`{text}` is no topic name"),
            "write at most 249 characters of a-z, A-Z, 0-9, `.`, `_` and `-`",
        );
    }
    Ok(())
}
