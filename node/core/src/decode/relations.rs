//! The tables that the server described on this connection, by object id.

use std::collections::HashMap;
use std::sync::Arc;

use tidewire_shared::spec::{Operations, TableName};
use tidewire_shared::{FaultKind, Lsn};

use super::pgoutput::{RelationMessage, RelationMessageColumn, Rows};
use super::{DecodeError, Selection};
use crate::batch::ChangeBatch;
use crate::change::Operation;
use crate::facts::{TableFacts, UniqueKey};
use crate::schema::{Relation, TaskTables, Wish};

/// A table of this connection.
#[derive(Debug)]
pub(super) enum Known {
    /// The task wants it.
    Wanted(Wanted),
    /// The task does not want it.
    Unwanted,
    /// The task wants it in a topic that it did not look at. Partitions are described though their rows
    /// come under their root, so only a change of its own is a reason to look again.
    NewTopic(TableName, String),
    /// Our own heartbeat table: never a change of the user's.
    Heartbeat,
}

/// A table that the task wants.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) relation: Arc<Relation>,
    /// What of its rows goes out; `None`: all.
    pub(super) selection: Option<Selection>,
    pub(super) operations: Operations,
    /// Where it stood in the last batch that had it: checked before use, so batches need no number.
    slot: u32,
    /// Of a partitioned table under FULL: the same table under the default identity, which is that of
    /// partitions that were made later, as they do not inherit it.
    keyed: Option<Box<Wanted>>,
    /// It is such a table: its old rows hold the key alone, whatever the server calls them.
    pub(super) of_partition: bool,
}

impl Wanted {
    /// The table as this row of it comes.
    #[inline]
    pub(super) fn as_it_comes(&mut self, operation: Operation, rows: Rows<'_>) -> &mut Self {
        let is_keyed = |keyed: &Self| super::rows::is_keyed(operation, rows, keyed);
        if !self.keyed.as_deref().is_some_and(is_keyed) {
            return self;
        }
        match self.keyed {
            Some(ref mut keyed) => keyed,
            None => self,
        }
    }

    /// The index of the table in `batch`, where it is put when it is not there.
    #[inline]
    pub(super) fn slot_in(&mut self, batch: &mut ChangeBatch) -> u32 {
        let there = batch.relations.get(self.slot as usize);
        if !there.is_some_and(|relation| Arc::ptr_eq(relation, &self.relation)) {
            // A batch has fewer relations than changes, and those are numbered by u32 too.
            self.slot = u32::try_from(batch.relations.len()).unwrap_or(u32::MAX);
            batch.relations.push(Arc::clone(&self.relation));
        }
        self.slot
    }
}

/// The tables of this connection, and the facts that wait for their Relation messages.
#[derive(Debug, Default)]
pub(super) struct Relations {
    tables: Vec<Known>,
    index: HashMap<u32, usize>,
    /// The object id looked up last: rows of one table come in runs.
    last: Option<(u32, usize)>,
    facts: HashMap<u32, Option<TableFacts>>,
    heartbeat: Option<TableName>,
}

impl Relations {
    pub(super) fn with_heartbeat(heartbeat: Option<TableName>) -> Self {
        Self { heartbeat, ..Self::default() }
    }

    pub(super) fn provide(&mut self, oid: u32, facts: Option<TableFacts>) {
        self.facts.insert(oid, facts);
    }

    /// Whether facts of a table will be asked for when its message is taken in.
    pub(super) fn asks_for(&self, message: &RelationMessage<'_>, tables: &TaskTables) -> bool {
        let name = TableName { schema: message.schema.to_owned(), table: message.name.to_owned() };
        let wanted = matches!(tables.wish(&name), Ok(Wish::Wanted(_)));
        wanted && self.heartbeat.as_ref() != Some(&name) && !self.facts.contains_key(&message.oid)
    }

    /// Takes in a Relation message; `false` when facts are needed first. `keys` are those that the table
    /// had when the stream was started.
    pub(super) fn describe(
        &mut self,
        message: &RelationMessage<'_>,
        tables: &TaskTables,
        keys: Option<&[UniqueKey]>,
        lsn: Lsn,
    ) -> Result<bool, DecodeError> {
        let name = TableName { schema: message.schema.to_owned(), table: message.name.to_owned() };
        if self.heartbeat.as_ref() == Some(&name) {
            self.put(message.oid, Known::Heartbeat);
            return Ok(true);
        }
        let configuration = |what: String| {
            DecodeError { kind: FaultKind::Configuration, ..DecodeError::malformed(lsn, what) }
                .of_table(&name)
                .remedy("change objects so that the columns it names are published and fit")
        };
        let rule = match tables.wish(&name).map_err(|fault| configuration(fault.message))? {
            Wish::Wanted(rule) => rule,
            Wish::Unwanted => {
                self.put(message.oid, Known::Unwanted);
                return Ok(true);
            }
            Wish::NewTopic(topic) => {
                self.put(message.oid, Known::NewTopic(name, topic));
                return Ok(true);
            }
        };
        let Some(facts) = self.facts.remove(&message.oid) else { return Ok(false) };
        let wanted = |message: &RelationMessage<'_>, of_partition| -> Result<_, DecodeError> {
            let (relation, selection) =
                Relation::prepare(message, &rule, facts.as_ref(), keys).map_err(configuration)?;
            let (relation, operations) = (Arc::new(relation), rule.operations);
            Ok(Wanted { relation, selection, operations, slot: 0, keyed: None, of_partition })
        };
        let mut whole = wanted(message, false)?;
        if let Some(keyed) = facts.as_ref().and_then(|facts| under_default(message, facts)) {
            whole.keyed = Some(Box::new(wanted(&keyed, true)?));
        }
        self.put(message.oid, Known::Wanted(whole));
        Ok(true)
    }

    /// Keeps the relation that is there when the new one says the same: encoders prepare each once.
    fn put(&mut self, oid: u32, known: Known) {
        let there = self.get(oid);
        if let (Some(Known::Wanted(old)), Known::Wanted(new)) = (there, &known)
            && (&old.relation, old.operations) == (&new.relation, new.operations)
            && old.selection == new.selection
        {
            return;
        }
        if let Some(table) = self.index.get(&oid).and_then(|at| self.tables.get_mut(*at)) {
            *table = known;
        } else {
            self.index.insert(oid, self.tables.len());
            self.tables.push(known);
        }
    }

    /// The table with that object id, if the server described it.
    #[inline]
    pub(super) fn get(&mut self, oid: u32) -> Option<&mut Known> {
        let at = match self.last {
            Some((last, at)) if last == oid => at,
            _ => *self.index.get(&oid)?,
        };
        self.last = Some((oid, at));
        self.tables.get_mut(at)
    }
}

/// What a message about a partitioned table under FULL would say of those of its partitions that have the
/// default identity; `None` for other tables, and without a primary key.
fn under_default<'a>(
    message: &RelationMessage<'a>,
    facts: &TableFacts,
) -> Option<RelationMessage<'a>> {
    if message.identity != 'f' || facts.kind != 'p' {
        return None;
    }
    let key = &facts.unique_keys.iter().find(|key| key.primary)?.columns;
    let is_sent = |name: &String| message.columns.iter().any(|column| column.name == name);
    let columns = message.columns.iter().map(|column| RelationMessageColumn {
        in_identity: key.iter().any(|name| name == column.name),
        ..*column
    });
    let columns = columns.collect();
    key.iter().all(is_sent).then(|| RelationMessage { identity: 'd', columns, ..message.clone() })
}
