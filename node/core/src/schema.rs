//! What encoders need to know of a table, worked out once per Relation message: columns with their
//! base types, key, partitioning columns, topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewire_shared::spec::{ColumnChoice, ObjectRule, Operations, Rename, TableName};
use tidewire_shared::{Fault, FaultKind};

use crate::decode::Selection;
use crate::decode::pgoutput::{RelationMessage, RelationMessageColumn};
use crate::facts::{TableFacts, UniqueKey};
use crate::filter::Condition;
use crate::objects::{self, ListedTable};

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
    /// Whether that is the key. Of a table that was gone before anyone looked the message alone tells,
    /// which knows no order, and under FULL no key at all.
    pub key_known: bool,
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
    /// What else is known of it.
    pub detail: ColumnDetail,
}

/// What a typed format has to know of a column beside its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDetail {
    /// Type modifier, −1 for none; of a domain that of its base.
    pub type_modifier: i32,
    /// NOT NULL.
    pub not_null: bool,
    /// Element type when it is an array, else 0.
    pub element: u32,
    /// `pg_type.typtype` of the element type.
    pub element_kind: char,
    /// Labels in their order, of an enum or of an array of enums.
    pub labels: Vec<String>,
    /// DEFAULT, as PostgreSQL prints it.
    pub default: Option<String>,
}

impl Default for ColumnDetail {
    fn default() -> Self {
        Self {
            type_modifier: -1,
            not_null: false,
            element: 0,
            element_kind: 'b',
            labels: Vec::new(),
            default: None,
        }
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
    /// Names inside records.
    pub rename: Rename,
    /// Columns that go out.
    pub columns: ColumnChoice,
    /// Rows that go out; `None`: all.
    pub filter: Option<Condition>,
}

impl TableRule {
    fn new(rule: &ObjectRule, topic: u16, table: &TableName) -> Result<Self, Fault> {
        let condition = Some(rule.filter.as_str()).filter(|text| !text.is_empty());
        let filter = condition.map(Condition::parse).transpose().map_err(|what| {
            Fault::new(FaultKind::Configuration, format!("where of table {table}"), what)
                .remedy("write a condition of these parts, or leave `where` out")
        })?;
        Ok(Self {
            topic,
            partition_by: rule.partition_by.clone(),
            operations: rule.operations,
            rename: rule.rename.clone(),
            columns: rule.columns.clone(),
            filter,
        })
    }

    /// The name inside records of the column that the source calls `name`.
    fn out_column(&self, name: &str) -> String {
        self.rename.columns.get(name).map_or(name, String::as_str).to_owned()
    }

    /// Whether a column goes out.
    #[must_use]
    pub fn keeps(&self, column: &str) -> bool {
        let among = |names: &[String]| names.iter().any(|name| name == column);
        let ColumnChoice { include, exclude } = &self.columns;
        (include.is_empty() || among(include)) && !among(exclude)
    }
}

/// The tables of a task and the topics they go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskTables {
    rules: Vec<ObjectRule>,
    database: String,
    tables: BTreeMap<TableName, Arc<TableRule>>,
    topics: Vec<String>,
}

/// What a task wants of a table that the stream names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It goes out.
    Wanted(Arc<TableRule>),
    /// It does not.
    Unwanted,
    /// It goes out to a topic that the task did not look at when it started.
    NewTopic(String),
}

impl TaskTables {
    /// The tables that rules name outright.
    ///
    /// # Errors
    /// As [`TaskTables::resolve`].
    pub fn new(rules: &[ObjectRule]) -> Result<Self, Fault> {
        Self::resolve(rules, "", &[])
    }

    /// The tables that a task has now, where `listed` is what the database holds.
    ///
    /// # Errors
    /// `Configuration`: a table that stands in two rules, a topic that Kafka would refuse, more topics
    /// than can be numbered, or a condition that is not understood.
    pub fn resolve(
        rules: &[ObjectRule],
        database: &str,
        listed: &[ListedTable],
    ) -> Result<Self, Fault> {
        let mut named = BTreeSet::new();
        if let Some(twice) = rules.iter().flat_map(|rule| &rule.tables).find(|t| !named.insert(*t))
        {
            return Err(Fault::new(
                FaultKind::Configuration,
                format!("table {twice}"),
                "stands in two entries of objects",
            )
            .remedy("name it once"));
        }
        let mut result =
            Self { rules: rules.to_vec(), database: database.to_owned(), ..Self::default() };
        for table in objects::resolve(rules, database, listed) {
            objects::usable(&table)?;
            let Some(rule) = rules.get(table.rule) else { continue };
            let topic = result.topic_index(&table.topic)?;
            let rule = TableRule::new(rule, topic, &table.name)?;
            result.tables.insert(table.name, Arc::new(rule));
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

    /// Adds a topic that tables of the task went to and may come back to: those that the stream still
    /// holds changes of, though they were dropped.
    ///
    /// # Errors
    /// `Configuration` for more topics than can be numbered.
    pub fn add_topic(&mut self, topic: &str) -> Result<(), Fault> {
        self.topic_index(topic).map(drop)
    }

    /// The topics, in the order of their indexes.
    #[must_use]
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// The tables that the task has now, in name order.
    pub fn names(&self) -> impl Iterator<Item = &TableName> {
        self.tables.keys()
    }

    /// The tables that the task has now and what it wants of each, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&TableName, &TableRule)> {
        self.tables.iter().map(|(name, rule)| (name, &**rule))
    }

    /// Whether a rule names the table itself.
    pub(crate) fn names_outright(&self, table: &TableName) -> bool {
        self.rules.iter().any(|rule| rule.tables.contains(table))
    }

    /// Changes which operations of a table go out; nothing for a table that the task does not have.
    pub fn set_operations(&mut self, table: &TableName, change: impl FnOnce(&mut Operations)) {
        if let Some(rule) = self.tables.get_mut(table) {
            change(&mut Arc::make_mut(rule).operations);
        }
    }

    /// What the task wants of a table; `None` when it does not have it now.
    #[must_use]
    pub fn rule(&self, table: &TableName) -> Option<&TableRule> {
        self.tables.get(table).map(|rule| &**rule)
    }

    /// What the task wants of a table that the stream names: also one that was dropped, or appeared,
    /// since the tables were resolved.
    ///
    /// # Errors
    /// A condition that is not understood.
    pub fn wish(&self, table: &TableName) -> Result<Wish, Fault> {
        if let Some(rule) = self.tables.get(table) {
            return Ok(Wish::Wanted(Arc::clone(rule)));
        }
        let found = objects::rule_of(&self.rules, table).and_then(|index| self.rules.get(index));
        let Some(rule) = found else { return Ok(Wish::Unwanted) };
        let topic = objects::topic_of(&rule.topic, &self.database, table);
        let known = self.topics.iter().position(|name| *name == topic);
        match known.and_then(|index| u16::try_from(index).ok()) {
            Some(index) => Ok(Wish::Wanted(Arc::new(TableRule::new(rule, index, table)?))),
            None => Ok(Wish::NewTopic(topic)),
        }
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

    /// Prepares a table from its Relation message and what the catalog says now, or, where the table is
    /// gone or has another key by now, said when the stream was started (`keys`). Where they disagree
    /// the message wins: it describes the table as it was when its rows changed.
    ///
    /// # Errors
    /// A column that `partitionBy` asks for is not published or does not go out, one of the key does
    /// not go out, or the condition does not fit the columns.
    pub(crate) fn prepare(
        message: &RelationMessage<'_>,
        rule: &TableRule,
        facts: Option<&TableFacts>,
        keys: Option<&[UniqueKey]>,
    ) -> Result<(Self, Option<Selection>), String> {
        let facts = facts.filter(|facts| facts.oid == message.oid);
        let sent: Vec<RelationColumn> = message
            .columns
            .iter()
            .map(|column| RelationColumn {
                name: column.name.to_owned(),
                out_name: rule.out_column(column.name),
                in_identity: column.in_identity,
                ..base_type(column, facts)
            })
            .collect();
        let columns: Vec<_> =
            sent.iter().filter(|column| rule.keeps(&column.name)).cloned().collect();
        one_name_each(&columns)?;
        let index_of = |name: &String| columns.iter().position(|c| c.name == *name);
        let indexes = |names: &[String]| names.iter().map(index_of).collect::<Option<Vec<_>>>();

        let now = facts.map(|facts| facts.unique_keys.as_slice());
        let mut unique_keys = published_keys(&sent, now.unwrap_or_default());
        let chosen = |keys: &[UniqueKey]| {
            key_of(keys).filter(|key| !outdates(message, key)).map(|key| key.columns.clone())
        };
        // Of a table that is there the message has to confirm what it had before.
        let confirms = message.identity == 'd' && !identity_columns(message).is_empty();
        let keys = keys.filter(|_| facts.is_none() || confirms);
        let before = || chosen(&published_keys(&sent, keys?));
        let key = chosen(&unique_keys).or_else(before);
        let key_known = key.is_some() || now.or(keys).is_some() || tells_key(message);
        let key = key.unwrap_or_else(|| identity_columns(message));
        let key = indexes(&key)
            .ok_or_else(|| format!("a column of the key does not go out: {}", key.join(", ")))?;
        let partition_columns = match rule.partition_by.as_slice() {
            [] => key.clone(),
            names => indexes(names).ok_or_else(|| {
                format!("a column of partitionBy is not published: {}", names.join(", "))
            })?,
        };
        unique_keys.retain(|key| indexes(&key.columns).is_some());
        for column in unique_keys.iter_mut().flat_map(|key| &mut key.columns) {
            *column = rule.out_column(column);
        }
        let relation = Self {
            oid: message.oid,
            out_name: TableName {
                schema: rule.rename.schema.as_deref().unwrap_or(message.schema).to_owned(),
                table: rule.rename.table.as_deref().unwrap_or(message.name).to_owned(),
            },
            out_database: rule.rename.database.clone(),
            name: TableName { schema: message.schema.to_owned(), table: message.name.to_owned() },
            topic: rule.topic,
            identity: message.identity,
            columns,
            key,
            key_known,
            partition_columns,
            unique_keys,
        };
        let selection = Selection::new(sent, &relation.columns, rule.filter.as_ref())?;
        Ok((relation, selection))
    }
}

/// The unique keys whose columns the server sends, the primary one first, then by name.
fn published_keys(sent: &[RelationColumn], known: &[UniqueKey]) -> Vec<UniqueKey> {
    let was_sent = |name: &String| sent.iter().any(|column| column.name == *name);
    let mut keys: Vec<UniqueKey> =
        known.iter().filter(|key| key.columns.iter().all(was_sent)).cloned().collect();
    keys.sort_by(|a, b| (!a.primary, &a.name).cmp(&(!b.primary, &b.name)));
    keys
}

/// Refuses names that `rename` gives to a column while another one has them.
fn one_name_each(columns: &[RelationColumn]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    match columns.iter().find(|column| !names.insert(&column.out_name)) {
        Some(twice) => Err(format!("two columns would be called {}", twice.out_name)),
        None => Ok(()),
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

/// Whether a primary key of the catalog is not the one that the table had when its rows changed: under
/// the default identity the message flags that one's columns.
fn outdates(message: &RelationMessage<'_>, key: &UniqueKey) -> bool {
    let flagged = identity_columns(message);
    let same = flagged.len() == key.columns.len()
        && flagged.iter().all(|column| key.columns.contains(column));
    message.identity == 'd' && !flagged.is_empty() && !same
}

/// The columns that the message flags as replica identity. Under FULL every column is flagged, which
/// says nothing about a key.
fn identity_columns(message: &RelationMessage<'_>) -> Vec<String> {
    let flagged = message.columns.iter().filter(|column| column.in_identity);
    if message.identity == 'f' {
        return Vec::new();
    }
    flagged.map(|column| column.name.to_owned()).collect()
}

/// Whether the columns that a message flags are the key by themselves: those of the default identity are the
/// primary key, but the order of several of them is not told.
fn tells_key(message: &RelationMessage<'_>) -> bool {
    message.identity == 'd' && identity_columns(message).len() == 1
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
        detail: detail(column, facts),
    }
}

/// What the catalog says of a column of that name and type; of any column of that type, what the
/// type alone decides.
fn detail(column: &RelationMessageColumn<'_>, facts: Option<&TableFacts>) -> ColumnDetail {
    let type_modifier = column.type_modifier;
    let columns = facts.map(|facts| facts.columns.as_slice()).unwrap_or_default();
    let of_type = || columns.iter().filter(|known| known.type_oid == column.type_oid);
    let same = of_type().find(|known| known.name == column.name);
    let Some(known) = same.or_else(|| of_type().next()) else {
        return ColumnDetail { type_modifier, ..ColumnDetail::default() };
    };
    ColumnDetail {
        type_modifier: if type_modifier < 0 && same.is_some() {
            known.type_modifier
        } else {
            type_modifier
        },
        not_null: same.is_some_and(|known| known.not_null),
        element: known.base.element,
        element_kind: known.base.element_kind,
        labels: known.base.labels.clone(),
        default: same.and_then(|known| known.default.clone()),
    }
}
