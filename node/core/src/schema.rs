//! What encoders need to know of a table, worked out once per Relation message: columns with their
//! base types, key, partitioning columns, topic.

use std::collections::BTreeMap;

use tidewire_shared::spec::{ObjectRule, TableName};
use tidewire_shared::{Fault, FaultKind};

use crate::facts::{TableFacts, UniqueKey};

/// A table as one Relation message describes it, prepared for the encoders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Object id.
    pub oid: u32,
    /// Schema and name in the source.
    pub name: TableName,
    /// Index of its topic in [`TaskTables::topics`].
    pub topic: u16,
    /// Columns in the order of every image.
    pub columns: Vec<RelationColumn>,
    /// Indexes of the key columns, in key order; empty without a key.
    pub key: Vec<usize>,
    /// Indexes of the columns that decide the partition under `by_primary_key`; empty without any.
    pub partition_columns: Vec<usize>,
    /// Unique keys whose columns are all among `columns`, the primary one first, then by name.
    pub unique_keys: Vec<UniqueKey>,
}

/// One column of a [`Relation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationColumn {
    /// Name.
    pub name: String,
    /// Object id of the type after domains were followed to their base.
    pub type_oid: u32,
    /// `pg_type.typtype` of that type; `b` when the catalog does not know it any more.
    pub type_kind: char,
    /// Its old value comes with every update and delete.
    pub in_identity: bool,
}

/// Which operations of a table go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operations {
    /// Inserts.
    pub insert: bool,
    /// Updates.
    pub update: bool,
    /// Deletes.
    pub delete: bool,
    /// Truncates.
    pub truncate: bool,
}

impl Default for Operations {
    fn default() -> Self {
        Self { insert: true, update: true, delete: true, truncate: false }
    }
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
                    operations: Operations::default(),
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

    /// What the task wants of a table; `None` when it does not want it.
    #[must_use]
    pub fn rule(&self, table: &TableName) -> Option<&TableRule> {
        self.tables.get(table)
    }
}
