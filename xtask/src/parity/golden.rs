//! The file from which `node/core/tests/debezium_golden.rs` learns what Debezium wrote: messages of
//! PostgreSQL, what its catalog said, and Debezium's records of the same changes.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use postgres::Client;
use serde_json::{Value, json};
use tidewire_testbed::corpus;
use tidewire_testbed::reader::Record;

use super::compare::Difference;
use super::scene::TABLES;
use super::variant::VARIANTS;
use crate::cargo;

/// Tables whose values are long would make the file long.
const LEFT_OUT: [&str; 3] = ["public.long_values", "public.keyless", "public.finish"];
/// Of the corpus only the inserts.
const OF_CORPUS: usize = 3;

const CATALOG: &str = "
    SELECT json_agg(json_build_object('oid', c.oid::bigint, 'schema', nspname, 'name', relname,
      'identity', relreplident::text,
      'key', (SELECT json_agg(a.attname ORDER BY k.place) FROM pg_index i
        CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY k(n, place)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.n
        WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident)),
      'columns', (SELECT json_agg(json_build_object('name', a.attname, 'type', a.atttypid::bigint,
          'modifier', a.atttypmod, 'required', a.attnotnull,
          'default', pg_get_expr(d.adbin, d.adrelid), 'base', b.oid::bigint,
          'baseName', b.typname, 'kind', b.typtype::text, 'element', coalesce(e.oid, 0)::bigint,
          'elementKind', coalesce(e.typtype, 'b')::text,
          'labels', (SELECT coalesce(json_agg(enumlabel ORDER BY enumsortorder), '[]')
            FROM pg_enum WHERE enumtypid IN (b.oid, e.oid))) ORDER BY a.attnum)
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        JOIN pg_type t ON t.oid = a.atttypid
        JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
        LEFT JOIN pg_type e ON e.oid = b.typelem AND e.typarray = b.oid
        WHERE a.attrelid = c.oid AND a.attnum > 0)))::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE nspname || '.' || relname = ANY ($1)";

fn tables() -> Vec<&'static str> {
    TABLES.iter().copied().filter(|table| !LEFT_OUT.contains(table)).collect()
}

/// Makes a slot that keeps the messages.
pub(super) fn begin(client: &mut Client) -> Result<()> {
    let quoted: Vec<_> = tables()
        .iter()
        .filter_map(|table| table.split_once('.'))
        .map(|(schema, name)| format!("\"{schema}\".\"{name}\""))
        .collect();
    client.batch_execute(&format!(
        "CREATE PUBLICATION golden FOR TABLE {} WITH (publish = 'insert, update, delete')",
        quoted.join(", ")
    ))?;
    client.batch_execute("SELECT pg_create_logical_replication_slot('golden', 'pgoutput')")?;
    Ok(())
}

/// Writes the file; `records` are Debezium's with the first set of options.
pub(super) fn write(
    client: &mut Client,
    records: &BTreeMap<&str, Vec<Record>>,
    differences: &[Difference],
) -> Result<()> {
    client
        .batch_execute("SET extra_float_digits = 3; SET TimeZone = 'UTC'; SET lc_monetary = 'C'")?;
    let messages = client.query(
        "SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('golden', NULL, NULL, \
         'proto_version', '1', 'publication_names', 'golden')",
        &[],
    )?;
    let messages = wanted(messages.iter().map(|row| row.get(0)).collect());
    let catalog: String = client.query_one(CATALOG, &[&tables()])?.get(0);
    let catalog: Value = serde_json::from_str(&catalog)?;
    let mut of = serde_json::Map::new();
    for (table, records) in records.iter().filter(|(table, _)| tables().contains(table)) {
        let limit = if *table == corpus::TABLE { OF_CORPUS } else { usize::MAX };
        let all = records.iter().enumerate().take(limit);
        let all = all.filter(|(_, record)| !is_truncate(record));
        let seen = all.map(|(place, record)| seen(record, &explained(table, place, differences)));
        of.insert((*table).to_owned(), Value::Array(seen.collect::<Result<_>>()?));
    }
    let golden = json!({"tables": catalog, "messages": messages, "records": of});
    let path = cargo::top().join("node/core/tests/golden/debezium.json");
    fs::create_dir_all(path.parent().context("a folder")?)?;
    fs::write(&path, format!("{golden}\n"))?;
    Ok(())
}

/// Whole transactions: of the corpus, which comes first, only the inserts.
fn wanted(messages: Vec<String>) -> Vec<String> {
    const BEGIN: &str = "42";
    const INSERT: &str = "49";
    let (mut kept, mut transaction, mut first) = (Vec::new(), Vec::new(), None);
    for message in messages {
        if message.starts_with(BEGIN) {
            transaction.clear();
        }
        let ended = message.starts_with("43");
        if first.is_none() && message.starts_with(INSERT) {
            // The object id of the corpus.
            first = message.get(2..10).map(str::to_owned);
        }
        transaction.push(message);
        let changes_corpus = |message: &String| {
            (message.starts_with("55") || message.starts_with("44"))
                && message.get(2..10) == first.as_deref()
        };
        if ended && !transaction.iter().any(changes_corpus) {
            kept.append(&mut transaction);
        }
    }
    kept
}

fn is_truncate(record: &Record) -> bool {
    record.key.is_none() && record.value.is_some()
}

/// The members of a row that differ with a reason.
fn explained(table: &str, place: usize, differences: &[Difference]) -> Vec<String> {
    let first = VARIANTS.first().map_or("", |variant| variant.name);
    let here =
        differences.iter().filter(|d| d.variant == first && d.table == table && d.record == place);
    let rows = here.filter_map(|d| d.path.strip_prefix("value."));
    let rows = rows.filter(|path| path.starts_with("before.") || path.starts_with("after."));
    let mut paths: Vec<_> =
        rows.filter_map(|path| Some(path.split('[').next()?.to_owned())).collect();
    paths.dedup();
    paths
}

fn seen(record: &Record, explained: &[String]) -> Result<Value> {
    let text = |bytes: &Option<Vec<u8>>| {
        bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let value: Option<Value> = record.value.as_deref().map(serde_json::from_slice).transpose()?;
    let value = value.map(|mut value| {
        let mut take = |name: &str| value.get_mut(name).map_or(Value::Null, Value::take);
        json!({"op": take("op"), "before": take("before"), "after": take("after")})
    });
    let header = record
        .headers
        .iter()
        .find(|(name, _)| matches!(name.as_str(), "__debezium.newkey" | "__debezium.oldkey"))
        .map(|(name, value)| (name, text(value)));
    Ok(json!({"key": text(&record.key), "value": value, "header": header, "explained": explained}))
}
