//! What encoders need to know of a table, worked out once per Relation message: columns with their
//! base types, key, partitioning columns, topic.

use std::collections::BTreeMap;

use tidewire_shared::spec::{ObjectRule, Operations, Rename, TableName};
use tidewire_shared::{Fault, FaultKind};

use crate::decode::pgoutput::{RelationMessage, RelationMessageColumn};
use crate::facts::{TableFacts, UniqueKey};

/// A table as one Relation message describes it, prepared for the encoders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Object id.
    pub oid: u32,
    /// Schema and name in the source: what placement and errors go by.
    pub name: TableName,
    /// Schema and name inside records.
    pub out_name: TableName,
    /// Name of the database inside records; `None`: that of the source.
    pub out_database: Option<String>,
    /// Index of its topic in [`TaskTables::topics`].
    pub topic: u16,
    /// `pg_class.relreplident`.
    pub identity: char,
    /// Columns in the order of every image.
    pub columns: Vec<RelationColumn>,
    /// Indexes of the key columns, in key order; empty without a key.
    pub key: Vec<usize>,
    /// Indexes of the columns that decide the partition under `by_primary_key`; empty without any.
    pub partition_columns: Vec<usize>,
    /// Unique keys whose columns are all among `columns`, the primary one first, then by name. Their
    /// columns are named as inside records.
    pub unique_keys: Vec<UniqueKey>,
}

/// One column of a [`Relation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationColumn {
    /// Name in the source: what errors go by.
    pub name: String,
    /// Name inside records.
    pub out_name: String,
    /// Object id of the type after domains were followed to their base.
    pub type_oid: u32,
    /// `pg_type.typtype` of that type; `b` when the catalog does not know it any more.
    pub type_kind: char,
    /// Name of that type, `int4[]` for arrays; empty when the catalog does not know it any more.
    pub type_name: String,
    /// Its old value comes with every update and delete.
    pub in_identity: bool,
}

/// What the task wants of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRule {
    /// Index of its topic in [`TaskTables::topics`].
    pub topic: u16,
    /// Columns that decide the partition; empty: the key.
    pub partition_by: Vec<String>,
    /// Operations that go out.
    pub operations: Operations,
    /// Names inside records.
    pub rename: Rename,
}

impl TableRule {
    /// The name inside records of the column that the source calls `name`.
    fn out_column(&self, name: &str) -> String {
        self.rename.columns.get(name).map_or(name, String::as_str).to_owned()
    }
}

/// The tables of a task and the topics they go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskTables {
    tables: BTreeMap<TableName, TableRule>,
    topics: Vec<String>,
}

impl TaskTables {
    /// The tables of a task's rules.
    ///
    /// # Errors
    /// A table that stands in two rules, or more topics than can be numbered.
    pub fn new(rules: &[ObjectRule]) -> Result<Self, Fault> {
        let mut result = Self::default();
        for rule in rules {
            let topic = result.topic_index(&rule.topic)?;
            for name in &rule.tables {
                let table = TableRule {
                    topic,
                    partition_by: rule.partition_by.clone(),
                    operations: rule.operations,
                    rename: rule.rename.clone(),
                };
                if result.tables.insert(name.clone(), table).is_some() {
                    return Err(Fault::new(
                        FaultKind::Configuration,
                        format!("table {name}"),
                        "stands in two entries of objects",
                    )
                    .remedy("name it once"));
                }
            }
        }
        Ok(result)
    }

    fn topic_index(&mut self, topic: &str) -> Result<u16, Fault> {
        let known = self.topics.iter().position(|name| name == topic);
        let index = known.unwrap_or(self.topics.len());
        if known.is_none() {
            self.topics.push(topic.to_owned());
        }
        u16::try_from(index).map_err(|_| {
            Fault::new(FaultKind::Configuration, format!("topic {topic}"), "is one topic too many")
                .remedy("spread the tables over several tasks")
        })
    }

    /// The topics, in the order of their indexes.
    #[must_use]
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// Changes which operations of a table go out; nothing for a table that the task does not have.
    pub fn set_operations(&mut self, table: &TableName, change: impl FnOnce(&mut Operations)) {
        if let Some(rule) = self.tables.get_mut(table) {
            change(&mut rule.operations);
        }
    }

    /// What the task wants of a table; `None` when it does not want it.
    #[must_use]
    pub fn rule(&self, table: &TableName) -> Option<&TableRule> {
        self.tables.get(table)
    }
}

impl Relation {
    /// The name of the database inside records, where the source calls it `database`.
    #[must_use]
    pub fn database<'a>(&'a self, database: &'a str) -> &'a str {
        self.out_database.as_deref().unwrap_or(database)
    }

    /// The statement that a truncate of the table is told as, with the names inside records.
    pub(crate) fn truncate_statement(&self) -> String {
        let quoted = |name: &str| name.replace('"', "\"\"");
        let (schema, table) = (quoted(&self.out_name.schema), quoted(&self.out_name.table));
        format!("TRUNCATE TABLE \"{schema}\".\"{table}\"")
    }

    /// Prepares a table from its Relation message and what the catalog says now. Where the two
    /// disagree the message wins: it describes the table as it was when its rows changed.
    ///
    /// # Errors
    /// A column that `partitionBy` asks for is not published.
    pub(crate) fn prepare(
        message: &RelationMessage<'_>,
        rule: &TableRule,
        facts: Option<&TableFacts>,
    ) -> Result<Self, String> {
        let facts = facts.filter(|facts| facts.oid == message.oid);
        let index_of = |name: &String| message.columns.iter().position(|c| c.name == name);
        let indexes = |names: &[String]| names.iter().map(index_of).collect::<Option<Vec<_>>>();

        let mut unique_keys: Vec<UniqueKey> = facts
            .map(|facts| facts.unique_keys.as_slice())
            .unwrap_or_default()
            .iter()
            .filter(|key| indexes(&key.columns).is_some())
            .cloned()
            .collect();
        unique_keys.sort_by(|a, b| (!a.primary, &a.name).cmp(&(!b.primary, &b.name)));

        let key = key_of(&unique_keys)
            .and_then(|key| indexes(&key.columns))
            .unwrap_or_else(|| identity_columns(message));
        let partition_columns = match rule.partition_by.as_slice() {
            [] => key.clone(),
            names => indexes(names).ok_or_else(|| {
                format!("a column of partitionBy is not published: {}", names.join(", "))
            })?,
        };
        for column in unique_keys.iter_mut().flat_map(|key| &mut key.columns) {
            *column = rule.out_column(column);
        }
        let columns = message.columns.iter().map(|column| RelationColumn {
            name: column.name.to_owned(),
            out_name: rule.out_column(column.name),
            in_identity: column.in_identity,
            ..base_type(column, facts)
        });
        Ok(Self {
            oid: message.oid,
            out_name: TableName {
                schema: rule.rename.schema.as_deref().unwrap_or(message.schema).to_owned(),
                table: rule.rename.table.as_deref().unwrap_or(message.name).to_owned(),
            },
            out_database: rule.rename.database.clone(),
            name: TableName { schema: message.schema.to_owned(), table: message.name.to_owned() },
            topic: rule.topic,
            identity: message.identity,
            columns: columns.collect(),
            key,
            partition_columns,
            unique_keys,
        })
    }
}

/// The key: the primary key, else the replica identity index, else the first UNIQUE NOT NULL by name.
/// `unique_keys` is in that order of names.
fn key_of(unique_keys: &[UniqueKey]) -> Option<&UniqueKey> {
    let first = |fits: fn(&UniqueKey) -> bool| unique_keys.iter().find(|key| fits(key));
    first(|key| key.primary)
        .or_else(|| first(|key| key.replica_identity))
        .or_else(|| first(|key| key.not_null))
}

/// The columns that the message flags as replica identity. Under FULL every column is flagged, which
/// says nothing about a key.
fn identity_columns(message: &RelationMessage<'_>) -> Vec<usize> {
    let flagged = message.columns.iter().enumerate().filter(|(_, column)| column.in_identity);
    if message.identity == 'f' { Vec::new() } else { flagged.map(|(index, _)| index).collect() }
}

/// The type of a column, domains followed to their base as far as the catalog still knows them.
fn base_type(column: &RelationMessageColumn<'_>, facts: Option<&TableFacts>) -> RelationColumn {
    let known = facts
        .map(|facts| facts.columns.as_slice())
        .unwrap_or_default()
        .iter()
        .find(|known| known.type_oid == column.type_oid);
    let (type_oid, type_kind) =
        known.map_or((column.type_oid, 'b'), |known| (known.base.oid, known.base.kind));
    let type_name =
        known.map_or_else(String::new, |known| match known.base.name.strip_prefix('_') {
            Some(element) if known.base.element != 0 => format!("{element}[]"),
            _ => known.base.name.clone(),
        });
    RelationColumn {
        name: String::new(),
        out_name: String::new(),
        type_oid,
        type_kind,
        type_name,
        in_identity: false,
    }
}
