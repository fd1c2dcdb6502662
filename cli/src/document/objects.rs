//! `objects:` of a `postgres_to_kafka` document: which tables go to which topic.

use std::collections::{BTreeMap, BTreeSet};

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
    Ok(ObjectRule {
        tables,
        patterns,
        exclude: keys
            .get_or("exclude", Vec::new(), |at| at.list()?.iter().map(table_pattern).collect())?,
        topic: topic(&keys.need("topic")?)?,
        rename: keys.get_or("rename", Rename::default(), rename)?,
        columns: keys.get_or("columns", ColumnChoice::default(), columns)?,
        filter: keys.get_or("where", "", |at| at.filled_text())?.to_owned(),
        operations: keys.get_or("operations", Operations::default(), operations)?,
        partition_by: partition_by(&keys, policy)?,
    })
    .and_then(|rule| what_comes_later(&keys, &rule).map(|()| rule))
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
    if plain != text {
        return place.later("a topic template", "write the topic's name");
    }
    topic_name(place)
}

/// A topic name that Kafka accepts and that is not one of Kafka's or ours.
pub(super) fn topic_name(place: &Place<'_>) -> Walk<String> {
    let text = place.filled_text()?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.len() > 249 || matches!(text, "." | "..") || !text.bytes().all(fits) {
        return place.wrong(
            format_args!("`{text}` is no topic name"),
            "write at most 249 characters of a-z, A-Z, 0-9, `.`, `_` and `-`",
        );
    }
    if matches!(text, "__tidewire_positions" | "__consumer_offsets" | "__transaction_state") {
        return place.wrong(format_args!("{text} is not for records"), "name another topic");
    }
    Ok(text.to_owned())
}

fn what_comes_later(keys: &Keys<'_>, rule: &ObjectRule) -> Walk<()> {
    keys.later_unless("tables", rule.patterns.is_empty(), "name each table")?;
    keys.later_unless("exclude", rule.exclude.is_empty(), "leave it out")?;
    keys.later_unless("rename", rule.rename == Rename::default(), "leave it out")?;
    keys.later_unless("columns", rule.columns == ColumnChoice::default(), "leave it out")?;
    keys.later_unless("where", rule.filter.is_empty(), "leave it out")?;
    keys.later_unless("operations", rule.operations == Operations::default(), "leave it out")
}
