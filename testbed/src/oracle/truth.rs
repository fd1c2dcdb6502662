//! What PostgreSQL committed, from a second slot with the plugin `test_decoding`.
//!
//! The slot is made before the task's: it sees every change that the task must deliver.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator as _;
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
    /// Its place among the transaction's changes of the watched tables, from 1.
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
}

/// The settings under which PostgreSQL writes values as the task's own session does.
const SETTINGS: &str = "SET LOCAL DateStyle = ISO; SET LOCAL IntervalStyle = postgres; SET LOCAL TimeZone = UTC; \
    SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = hex; SET LOCAL lc_monetary = 'C'; \
    SET LOCAL search_path = pg_catalog";

impl TruthSlot {
    /// Makes the slot. `watched` are the tables of the task, as `schema.table` without quotes:
    /// changes of others are neither numbered nor returned, as in a publication.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub fn create(client: &mut Client, name: &str, watched: &[&str]) -> Result<Self> {
        client.execute(
            "SELECT pg_create_logical_replication_slot($1::text::name, 'test_decoding')",
            &[&name],
        )?;
        Ok(Self {
            name: name.to_owned(),
            watched: watched.iter().map(|table| (*table).to_owned()).collect(),
        })
    }

    /// Takes the changes that were committed since the last call, in commit order.
    ///
    /// # Errors
    /// When PostgreSQL refuses or the plugin's text is not understood.
    pub fn take(&mut self, client: &mut Client) -> Result<Vec<Change>> {
        let mut transaction = client.transaction()?;
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
                    if self.watched.contains(&*table) {
                        number += 1;
                        let (xid, commit_end) = (0, Lsn(0));
                        changes.push(Change {
                            xid,
                            commit_end,
                            number,
                            table,
                            operation,
                            before,
                            after,
                        });
                    }
                }
            }
        }
        drop(rows);
        transaction.commit()?;
        Ok(changes)
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
/// is the replica identity.
///
/// # Errors
/// When PostgreSQL refuses or a table has no key.
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
        let columns: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        if columns.is_empty() {
            bail!("table {table} has no key");
        }
        keys.insert((*table).to_owned(), columns);
    }
    Ok(keys)
}
