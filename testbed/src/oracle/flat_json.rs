//! Records of `canal_json` and `shareplex_json` as changes: both write values as PostgreSQL's text.
//! The identity is taken from the headers that `format: {headers: identity}` adds.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use tidewire_shared::Lsn;

use super::dts_avro::Delivered;
use super::{Datum, Operation, Row};
use crate::reader::Record;

/// A row in JSON: texts and nulls.
type Object = Map<String, Value>;

/// The change that a record of `canal_json` tells of.
///
/// # Errors
/// When it is no record of the format, or has no identity headers.
pub fn canal(record: &Record) -> Result<Delivered> {
    let value = parsed(record)?;
    let data = value["data"].get(0).and_then(Value::as_object);
    let old = value["old"].get(0).and_then(Value::as_object);
    let (before, after) = match text(&value, "type")? {
        "DELETE" => (data.cloned(), None),
        // What is not in `old` did not change.
        _ => (old.map(|old| overlaid(data, old)), data.cloned()),
    };
    let operation = match text(&value, "type")? {
        "INSERT" => Operation::Insert,
        "UPDATE" => Operation::Update,
        "DELETE" => Operation::Delete,
        "TRUNCATE" => Operation::Truncate,
        other => bail!("type {other}"),
    };
    let table = text(&value, "table")?;
    let (schema, table) = table.split_once('.').unwrap_or(("public", table));
    let object = [text(&value, "database")?, schema, table].map(str::to_owned).to_vec();
    let row_of = |object: Option<Object>| object.as_ref().map(row).transpose();
    identified(record, operation, object, row_of(before)?, row_of(after)?)
}

/// The change that a record of `shareplex_json` tells of.
///
/// # Errors
/// As [`canal`].
pub fn shareplex(record: &Record) -> Result<Delivered> {
    let value = parsed(record)?;
    let (meta, data, key) = (&value["meta"], value["data"].as_object(), value["key"].as_object());
    let (operation, before, after) = match text(meta, "op")? {
        "ins" => (Operation::Insert, None, data.cloned()),
        "upd" => {
            let after = overlaid(key, data.context("no data")?);
            (Operation::Update, key.cloned(), Some(after))
        }
        "del" => (Operation::Delete, data.cloned(), None),
        "trunc" => (Operation::Truncate, None, None),
        other => bail!("op {other}"),
    };
    let (schema, table) = text(meta, "table")?.split_once('.').context("no schema")?;
    let object = ["", schema, table].map(str::to_owned).to_vec();
    let row_of = |object: Option<Object>| object.as_ref().map(row).transpose();
    identified(record, operation, object, row_of(before)?, row_of(after)?)
}

fn parsed(record: &Record) -> Result<Value> {
    Ok(serde_json::from_slice(record.value.as_deref().context("no value")?)?)
}

fn text<'v>(value: &'v Value, name: &str) -> Result<&'v str> {
    value[name].as_str().with_context(|| format!("no {name}"))
}

/// `below` with the members of `above` in place of its own.
fn overlaid(below: Option<&Object>, above: &Object) -> Object {
    let mut all = below.cloned().unwrap_or_default();
    all.extend(above.clone());
    all
}

fn row(object: &Object) -> Result<Row> {
    let datum = |value: &Value| match value {
        Value::Null => Ok(Datum::Null),
        Value::String(text) => Ok(Datum::Text(text.as_str().into())),
        other => bail!("{other} is no text"),
    };
    object.iter().map(|(name, value)| Ok((Arc::from(name.as_str()), datum(value)?))).collect()
}

/// A change with the identity that the headers tell.
pub(super) fn identified(
    record: &Record,
    operation: Operation,
    object: Vec<String>,
    before: Option<Row>,
    after: Option<Row>,
) -> Result<Delivered> {
    let header = |name: &str| {
        let (_, value) = record.headers.iter().find(|(header, _)| header == name)?;
        value.as_deref().and_then(|value| std::str::from_utf8(value).ok())
    };
    let commit: Option<Lsn> = header("tw.lsn").and_then(|text| text.parse().ok());
    Ok(Delivered {
        id: 0,
        commit: commit.context("no header tw.lsn")?,
        number: header("tw.seq").context("no header tw.seq")?.parse()?,
        xid: header("tw.xid").context("no header tw.xid")?.parse()?,
        safe_position: Lsn(0),
        source_timestamp: 0,
        object,
        operation,
        fields: Vec::new(),
        tags: BTreeMap::new(),
        before,
        after,
        statement: None,
    })
}
