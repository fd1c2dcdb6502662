//! Every type of PostgreSQL, read back by the official DTS consumer with the source's values.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use postgres::Client;
use tidewire_cluster_tests::{Scene, kafka, postgres};
use tidewire_testbed::corpus::{COLUMNS, TABLE, change, create};
use tidewire_testbed::dts_reader::{DtsReader, SeenImage, SeenRecord, SeenValue};
use tidewire_testbed::oracle::dts_avro::{Delivered, DtsAvro};
use tidewire_testbed::oracle::{Datum, Prover, Row, TruthSlot};
use tidewire_testbed::reader::Reader;

/// Type numbers of the columns, domains as their base type.
fn type_numbers(client: &mut Client) -> Result<BTreeMap<String, u32>> {
    let rows = client.query(
        "SELECT a.attname::text, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END \
         FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
         WHERE a.attrelid = $1::text::regclass AND a.attnum > 0",
        &[&TABLE],
    )?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

#[test]
fn the_official_consumer_reads_every_type_with_the_values_of_the_source() {
    let mut scene = Scene::on_tables("types", 1, kafka(), &[TABLE], create).unwrap();
    change(&mut scene.client).unwrap();
    let types = type_numbers(&mut scene.client).unwrap();
    let (changes, keys) = scene.truth().unwrap();
    assert_eq!(changes.len(), 3 + 2 + 3 + 3);
    let avro = DtsAvro::new().unwrap();
    let decoder = avro.decoder().unwrap();
    let mut prover = Prover::new(&changes, &keys, 4);
    let mut sdk = DtsReader::start().unwrap();
    let mut refused = Vec::new();
    for record in Reader::until_end(scene.kafka, &["types"]).unwrap() {
        let record = record.unwrap();
        let delivered = prover.record(&record, &decoder).unwrap();
        let seen = sdk.read(record.value.as_deref().unwrap()).unwrap();
        if let Err(wrong) = agree(&delivered, &seen, &types) {
            refused.push(format!("{:?}: {wrong:#}", delivered.operation));
        }
    }
    let proof = prover.finish();
    assert!(proof.holds(), "{proof}");
    assert_eq!(refused, Vec::<String>::new());
}

/// Whether the SDK sees the record as the oracle does.
fn agree(delivered: &Delivered, seen: &SeenRecord, types: &BTreeMap<String, u32>) -> Result<()> {
    if let Some(exception) = &seen.exception {
        bail!("the SDK throws {}", exception.lines().take(4).collect::<Vec<_>>().join(" | "));
    }
    let operation = format!("{:?}", delivered.operation).to_uppercase();
    ensure!(seen.operation == operation, "operation {}", seen.operation);
    ensure!(seen.table.as_deref() == Some("corpus"), "table {:?}", seen.table);
    ensure!(seen.fields.len() == types.len(), "{} fields", seen.fields.len());
    for field in &seen.fields {
        ensure!(types.get(&field.name) == Some(&field.type_number), "type of {field:?}");
        ensure!(field.primary == (field.name == "id"), "key of {field:?}");
    }
    images_agree(delivered.before.as_ref(), seen.before.as_ref()).context("before")?;
    images_agree(delivered.after.as_ref(), seen.after.as_ref()).context("after")
}

fn images_agree(row: Option<&Row>, image: Option<&SeenImage>) -> Result<()> {
    let (Some(row), Some(image)) = (row, image) else {
        ensure!(row.is_none() == image.is_none(), "an image is missing");
        return Ok(());
    };
    for (name, datum) in row {
        let value = image.get(&**name).with_context(|| format!("no value of {name}"))?;
        ensure!(values_agree(datum, value.as_ref())?, "{name}: {value:?} instead of {datum:?}");
    }
    Ok(())
}

fn values_agree(datum: &Datum, value: Option<&SeenValue>) -> Result<bool> {
    let Some(value) = value else { return Ok(*datum == Datum::Null) };
    let shown = value.text.as_deref().unwrap_or_default();
    Ok(match (datum, value.kind.as_str()) {
        (Datum::Missing, kind) => kind == "NONE",
        (Datum::Float(number), "FLOAT_NUMERIC") => {
            let seen: f64 = shown.parse()?;
            seen == *number || (seen.is_nan() && number.is_nan())
        }
        (Datum::Text(text), "DATETIME") => same_time(text, shown),
        (Datum::Text(text), "BINARY_ENCODING_OBJECT") => {
            let seen = shown.to_lowercase();
            text.strip_prefix("\\x").map_or_else(|| hexadecimal(text), str::to_owned) == seen
        }
        (Datum::Text(text), _) => **text == *shown,
        _ => false,
    })
}

fn hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The SDK shows neither the zone nor, as PostgreSQL, zeros at the end of a fraction.
fn same_time(text: &str, shown: &str) -> bool {
    let (date, time) = match text.split_once(' ') {
        Some((date, time)) => (date, time),
        None if text.contains(':') => ("", text),
        None => (text, ""),
    };
    let time = time.split(['+', '-']).next().unwrap_or_default();
    let shown = match shown.split_once('.') {
        Some(_) => shown.trim_end_matches('0').trim_end_matches('.'),
        None => shown,
    };
    shown == format!("{date} {time}").trim()
}

#[test]
fn the_truth_slot_understands_every_type() {
    let address = postgres().create_database("corpus").unwrap();
    let mut client = address.connect().unwrap();
    create(&mut client).unwrap();
    let mut truth = TruthSlot::create(&mut client, "truth_corpus", &[TABLE]).unwrap();
    change(&mut client).unwrap();
    let changes = truth.take(&mut client).unwrap();
    truth.drop(&mut client).unwrap();
    assert_eq!(changes.len(), 3 + 2 + 3 + 3);
    let empty = changes[2].after.as_ref().unwrap();
    assert_eq!(empty.len(), COLUMNS.len() + 2);
    assert!(empty.iter().skip(1).all(|(_, datum)| *datum == Datum::Null));
    assert_eq!(type_numbers(&mut client).unwrap().len(), COLUMNS.len() + 2);
}
