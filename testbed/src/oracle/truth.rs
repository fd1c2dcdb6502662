//! What PostgreSQL committed, from a second slot with the plugin `test_decoding`.
//!
//! The slot is made before the task's: it sees every change that the task must deliver.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use postgres::fallible_iterator::FallibleIterator as _;
use postgres::{Client, GenericClient};
use tidewire_shared::Lsn;

use super::truth_line::{self, Line};
use super::{Operation, Row};

/// One committed change of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The transaction.
    pub xid: u32,
    /// The end of the transaction's commit record.
    pub commit_end: Lsn,
    /// Its place among the transaction's changes of the watched tables, from 1; tables that one
    /// statement truncated share it.
    pub number: u64,
    /// `schema.table`, without quotes.
    pub table: Arc<str>,
    /// What it did.
    pub operation: Operation,
    /// The row before, as far as the replica identity gives it.
    pub before: Option<Row>,
    /// The row after.
    pub after: Option<Row>,
}

/// The second slot.
#[derive(Debug)]
pub struct TruthSlot {
    name: String,
    watched: BTreeSet<String>,
    inserts_only: BTreeSet<String>,
    truncated: BTreeSet<String>,
}

/// The settings under which PostgreSQL writes values as the task's own session does.
const SETTINGS: &str = "SET LOCAL DateStyle = ISO; SET LOCAL IntervalStyle = postgres; SET LOCAL TimeZone = UTC; \
    SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = hex; SET LOCAL lc_monetary = 'C'; \
    SET LOCAL search_path = pg_catalog";

impl TruthSlot {
    /// Makes the slot. `watched` are the tables of the task, as `schema.table` without quotes:
    /// changes of others are neither numbered nor returned, as in a publication. Changes of a
    /// partition are its root's. A standby gets the slot, too, where the server can (17+).
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub fn create(client: &mut Client, name: &str, watched: &[&str]) -> Result<Self> {
        let version = client.query_one("SELECT current_setting('server_version_num')::int", &[])?;
        let options = match version.get(0) {
            170_000.. => "'test_decoding', failover => true",
            ..170_000_i32 => "'test_decoding'",
        };
        client.execute(
            &format!("SELECT pg_create_logical_replication_slot($1::text::name, {options})"),
            &[&name],
        )?;
        let (inserts_only, truncated) = Default::default();
        Ok(Self { name: name.to_owned(), watched: owned(watched), inserts_only, truncated })
    }

    /// Of these tables the task takes new rows alone.
    #[must_use]
    pub fn inserts_only(self, tables: &[&str]) -> Self {
        Self { inserts_only: owned(tables), ..self }
    }

    /// Of these tables the task takes truncates, too.
    #[must_use]
    pub fn truncated(self, tables: &[&str]) -> Self {
        Self { truncated: owned(tables), ..self }
    }

    /// The name of the slot.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the changes that were committed since the last call, in commit order.
    ///
    /// # Errors
    /// When PostgreSQL refuses or the plugin's text is not understood.
    pub fn take(&mut self, client: &mut Client) -> Result<Vec<Change>> {
        let mut transaction = client.transaction()?;
        let roots = roots(&mut transaction)?;
        transaction.batch_execute(SETTINGS)?;
        let mut rows = transaction.query_raw(
            "SELECT lsn::text, data FROM pg_logical_slot_get_changes($1::text::name, NULL, NULL, \
             'include-xids', '1', 'skip-empty-xacts', '1')",
            [&self.name],
        )?;
        let mut names = Names::default();
        let mut changes = Vec::new();
        let mut first_of_transaction = 0;
        let mut number = 0;
        while let Some(row) = rows.next()? {
            let data: &str = row.try_get(1)?;
            let told = || format!("test_decoding said {:?}", data.get(..200).unwrap_or(data));
            match truth_line::parse(data, &mut names).with_context(told)? {
                Line::Begin => {
                    first_of_transaction = changes.len();
                    number = 0;
                }
                Line::Commit { xid } => {
                    let lsn: &str = row.try_get(0)?;
                    let commit_end: Lsn = lsn.parse().map_err(|_| anyhow!("LSN {lsn}"))?;
                    for change in changes.iter_mut().skip(first_of_transaction) {
                        let change: &mut Change = change;
                        change.xid = xid;
                        change.commit_end = commit_end;
                    }
                }
                Line::Message => {}
                Line::Change { table, operation, before, after } => {
                    let table = roots.get(&*table).map_or(table, Arc::clone);
                    if self.takes(&table, operation) {
                        number += 1;
                        changes.push(Change::open(number, table, operation, before, after));
                    }
                }
                // Of a root its partitions are truncated, too, which nobody publishes.
                Line::Truncate { mut tables } => {
                    tables.retain(|table| self.takes(table, Operation::Truncate));
                    number += u64::from(!tables.is_empty());
                    let truncated =
                        |table| Change::open(number, table, Operation::Truncate, None, None);
                    changes.extend(tables.into_iter().map(truncated));
                }
            }
        }
        drop(rows);
        transaction.commit()?;
        Ok(changes)
    }

    fn takes(&self, table: &str, operation: Operation) -> bool {
        let wanted = match operation {
            Operation::Insert => true,
            Operation::Update | Operation::Delete => !self.inserts_only.contains(table),
            Operation::Truncate => self.truncated.contains(table),
        };
        wanted && self.watched.contains(table)
    }

    /// Removes the slot.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub fn drop(self, client: &mut Client) -> Result<()> {
        client.execute("SELECT pg_drop_replication_slot($1::text::name)", &[&self.name])?;
        Ok(())
    }
}

impl Change {
    /// A change of a transaction whose commit is not read yet.
    fn open(
        number: u64,
        table: Arc<str>,
        operation: Operation,
        before: Option<Row>,
        after: Option<Row>,
    ) -> Self {
        Self { xid: 0, commit_end: Lsn(0), number, table, operation, before, after }
    }
}

fn owned(tables: &[&str]) -> BTreeSet<String> {
    tables.iter().map(|table| (*table).to_owned()).collect()
}

/// The root of each partition.
fn roots(client: &mut impl GenericClient) -> Result<HashMap<String, Arc<str>>> {
    let rows = client.query(
        "SELECT n.nspname || '.' || c.relname, m.nspname || '.' || r.relname FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class r ON r.oid = pg_partition_root(c.oid) \
         JOIN pg_namespace m ON m.oid = r.relnamespace WHERE c.relispartition AND c.relkind = 'r'",
        &[],
    )?;
    Ok(rows.iter().map(|row| (row.get(0), Arc::from(row.get::<_, &str>(1)))).collect())
}

/// Names of tables and columns, each kept once.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, Arc<str>>);

impl Names {
    pub(super) fn keep(&mut self, name: String) -> Arc<str> {
        let kept = self.0.entry(name).or_insert_with_key(|name| Arc::from(name.as_str()));
        Arc::clone(kept)
    }
}

/// Key columns in key order, by `schema.table`.
pub type Keys = BTreeMap<String, Vec<String>>;

/// The key columns of tables, in key order, read from the catalog: primary key, else the index that
/// is the replica identity; none of a table that has neither.
///
/// # Errors
/// When PostgreSQL refuses.
pub fn keys(client: &mut Client, tables: &[&str]) -> Result<Keys> {
    let mut keys = Keys::new();
    for table in tables {
        let (schema, name) = table.split_once('.').context("a table without its schema")?;
        let rows = client.query(
            "SELECT a.attname::text FROM pg_index i \
             JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum \
             WHERE n.nspname = $1::text AND c.relname = $2::text AND place <= i.indnkeyatts \
             AND (i.indisprimary OR i.indisreplident AND NOT EXISTS (SELECT FROM pg_index p \
             WHERE p.indrelid = c.oid AND p.indisprimary)) ORDER BY k.place",
            &[&schema, &name],
        )?;
        keys.insert((*table).to_owned(), rows.iter().map(|row| row.get(0)).collect());
    }
    Ok(keys)
}
