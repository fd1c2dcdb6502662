//! Task documents for the demo, the tests and the bench.

use std::collections::BTreeMap;

use crate::servers::postgres::PostgresAddress;

/// A task from PostgreSQL to Kafka with its connections inline.
#[derive(Clone, Debug)]
pub struct TaskDocument<'a> {
    /// The task's name.
    pub name: &'a str,
    /// The source.
    pub postgres: &'a PostgresAddress,
    /// The target's brokers, with commas between them.
    pub bootstrap: &'a str,
    /// Tables as `schema.table` without quotes, and the topic of each.
    pub objects: &'a [(&'a str, &'a str)],
    /// The format's type.
    pub format: &'a str,
    /// The partition policy.
    pub partition: &'a str,
}

impl TaskDocument<'_> {
    /// The document's text.
    #[must_use]
    pub fn yaml(&self) -> String {
        let PostgresAddress { user, password, database, .. } = self.postgres;
        let mut text = format!(
            "apiVersion: tidewire/v1\n\
             kind: postgres_to_kafka\n\
             name: {name}\n\
             source:\n  \
               hosts: [{hosts}]\n  \
               database: {database}\n  \
               user: {user}\n  \
               password: {{value: {password}}}\n  \
               tls: {{mode: disable}}\n\
             target:\n  \
               brokers: [{brokers}]\n\
             format: {{type: {format}}}\n\
             partition: {partition}\n\
             delivery: exactly_once\n\
             start: now\n\
             objects:\n",
            name = self.name,
            hosts = self.postgres.hosts(),
            brokers = listed(self.bootstrap),
            format = self.format,
            partition = self.partition,
        );
        let mut tables_of = BTreeMap::<&str, Vec<String>>::new();
        for (table, topic) in self.objects {
            let (schema, name) = table.split_once('.').unwrap_or(("public", table));
            let table = format!("{}.{}", quoted(schema), quoted(name)).replace('\'', "''");
            tables_of.entry(topic).or_default().push(format!("'{table}'"));
        }
        for (topic, tables) in tables_of {
            text.push_str(&format!("  - tables: [{}]\n    topic: {topic}\n", tables.join(", ")));
        }
        text
    }
}

/// Brokers as a document lists them.
fn listed(bootstrap: &str) -> String {
    let brokers: Vec<_> = bootstrap.split(',').map(|broker| format!("\"{broker}\"")).collect();
    brokers.join(", ")
}

/// A task that copies topics, with its connections inline.
#[derive(Clone, Debug)]
pub struct CopyDocument<'a> {
    /// The task's name.
    pub name: &'a str,
    /// The source's brokers, with commas between them.
    pub source: &'a str,
    /// The target's brokers, with commas between them.
    pub target: &'a str,
    /// What else the document says; without `topics` all are copied.
    pub lines: &'a str,
}

impl CopyDocument<'_> {
    /// The document's text.
    #[must_use]
    pub fn yaml(&self) -> String {
        let Self { name, source, target, lines } = self;
        let mut text = format!(
            "apiVersion: tidewire/v1\nkind: kafka_to_kafka\nname: {name}\n\
             source: {{brokers: [{}]}}\ntarget: {{brokers: [{}]}}\n{lines}\n",
            listed(source),
            listed(target)
        );
        if !lines.contains("topics:") {
            text.push_str("topics: [{all: true}]\n");
        }
        text
    }
}

/// A name as SQL needs it: in quotes unless it is plain.
#[must_use]
pub fn quoted(name: &str) -> String {
    let plain = name.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_')
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
