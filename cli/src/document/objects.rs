//! `objects:` of a `postgres_to_kafka` document: which tables go to which topic.

use std::collections::BTreeSet;

use tidewire_shared::spec::{ObjectRule, PartitionPolicy};

use super::place::{Keys, Place, Walk};
use super::table_name::{column, table};

const KEYS: &[&str] =
    &["tables", "exclude", "topic", "rename", "columns", "where", "operations", "partitionBy"];

pub(super) fn objects(place: &Place<'_>, policy: PartitionPolicy) -> Walk<Vec<ObjectRule>> {
    let mut seen = BTreeSet::new();
    let mut rules = Vec::new();
    for place in place.filled_list()? {
        let keys = place.keys(KEYS)?;
        what_comes_later(&keys)?;
        let mut tables = Vec::new();
        for at in keys.need("tables")?.filled_list()? {
            let name = table(&at)?;
            if !seen.insert(name.clone()) {
                return at.wrong(format_args!("{name} is named twice"), "keep it in one place");
            }
            tables.push(name);
        }
        rules.push(ObjectRule {
            tables,
            topic: topic(&keys.need("topic")?)?,
            partition_by: partition_by(&keys, policy)?,
        });
    }
    Ok(rules)
}

fn partition_by(keys: &Keys<'_>, policy: PartitionPolicy) -> Walk<Vec<String>> {
    let Some(place) = keys.get("partitionBy") else { return Ok(Vec::new()) };
    let mut columns = Vec::new();
    for at in place.list()? {
        let name = column(&at)?;
        if columns.contains(&name) {
            return at.wrong(format_args!("column {name} is named twice"), "keep one");
        }
        columns.push(name);
    }
    if !columns.is_empty() && policy != PartitionPolicy::ByPrimaryKey {
        return place.wrong(
            "has no use with this partition policy",
            "write partition: by_primary_key, or leave it out",
        );
    }
    Ok(columns)
}

/// A topic name that Kafka accepts and that is not one of Kafka's or ours.
fn topic(place: &Place<'_>) -> Walk<String> {
    let text = place.filled_text()?;
    if text.contains(['{', '}']) {
        return place.later("a topic template", "write the topic's name");
    }
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

fn what_comes_later(keys: &Keys<'_>) -> Walk<()> {
    let names = |at: &Place<'_>| -> Walk<usize> {
        at.list()?.iter().try_for_each(|name| name.filled_text().map(drop))?;
        Ok(at.list()?.len())
    };
    if let Some(at) = keys.get("exclude") {
        let count = names(&at)?;
        if count > 0 {
            return at.later("`exclude`", "leave it out: only the named tables are taken");
        }
    }
    if let Some(place) = keys.get("rename") {
        let rename = place.keys(&["table", "columns"])?;
        rename.only("table", &"", Place::text)?;
        rename.only("columns", &0, |at| {
            at.entries()?.iter().try_for_each(|(_, name)| name.filled_text().map(drop))?;
            Ok(at.entries()?.len())
        })?;
    }
    if let Some(place) = keys.get("columns") {
        let columns = place.keys(&["include", "exclude"])?;
        columns.only("include", &0, names)?;
        columns.only("exclude", &0, names)?;
    }
    keys.only("where", &"", Place::text)?;
    keys.only("operations", &BTreeSet::from(["insert", "update", "delete"]), |at| {
        let words = [
            ("insert", "insert"),
            ("update", "update"),
            ("delete", "delete"),
            ("truncate", "truncate"),
        ];
        at.filled_list()?.iter().map(|operation| operation.word(&words)).collect()
    })
}
