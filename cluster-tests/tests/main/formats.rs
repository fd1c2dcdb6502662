//! The JSON formats over every type of PostgreSQL, read by those who read them: Canal's client
//! library, Flink, Kafka's console consumer. Their values are compared with the source's.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidewire_cluster_tests::{Scene, kafka};
use tidewire_testbed::corpus::{self, COLUMNS, TABLE};
use tidewire_testbed::format_reader::FormatReader;
use tidewire_testbed::oracle::dts_avro::Delivered;
use tidewire_testbed::oracle::truth::Change;
use tidewire_testbed::oracle::{Datum, Operation, Prover, Row, flat_json};
use tidewire_testbed::reader::{Reader, Record};
use tidewire_testbed::task::TaskDocument;

const LIMIT: Duration = Duration::from_secs(60);

/// Starts a task that writes the corpus to `topic` in another format.
fn start_task(scene: &Scene<'_>, topic: &str, format: &str) -> Result<()> {
    scene.kafka.create_topic(topic, 4, &[])?;
    let document = TaskDocument {
        name: topic,
        postgres: &scene.address,
        bootstrap: &scene.kafka.bootstrap(),
        objects: &[(TABLE, topic)],
        format,
        partition: "by_primary_key",
    };
    scene.cluster.apply_and_start(&document.yaml())
}

#[test]
fn the_consumers_of_each_json_format_read_every_type_with_the_values_of_the_source() {
    let mut scene = Scene::on_tables("formats", 1, kafka(), &[TABLE], corpus::create).unwrap();
    let formats = [
        ("formats-canal", "canal_json"),
        ("formats-shareplex", "shareplex_json"),
        ("formats-debezium", "debezium_json"),
    ];
    for (topic, format) in formats {
        start_task(&scene, topic, &format!("{format}, headers: identity")).unwrap();
    }
    for (topic, _) in formats {
        scene.cluster.wait(topic, "Synchronizing", LIMIT).unwrap();
    }
    corpus::change(&mut scene.client).unwrap();
    let (changes, keys) = scene.truth().unwrap();
    for (topic, _) in formats {
        scene.cluster.wait(topic, "caught-up", LIMIT).unwrap();
    }
    let proven = |topic: &str, decode: fn(&Record) -> Result<Delivered>| {
        let mut prover = Prover::new(&changes, &keys, 4);
        let read = |record: Result<Record>| {
            let record = record?;
            let delivered = decode(&record)?;
            prover.delivered(&record, &delivered);
            Ok((record, delivered))
        };
        let records: Result<Vec<_>> =
            Reader::until_end(scene.kafka, &[topic]).unwrap().map(read).collect();
        let records = records.unwrap();
        let proof = prover.finish();
        assert!(proof.holds(), "{topic}: {proof}");
        records
    };
    canal_is_read(&proven("formats-canal", flat_json::canal)).unwrap();
    let lines = proven("formats-shareplex", flat_json::shareplex);
    console_is_read(&scene, "formats-shareplex", &lines).unwrap();
    debezium_is_read(&scene, "formats-debezium", &changes).unwrap();
}

fn names() -> Vec<String> {
    let columns = (0..COLUMNS.len()).map(|number| format!("c{number}"));
    ["id".to_owned(), "o.dd \"Näme".to_owned()].into_iter().chain(columns).collect()
}

/// Canal's own library and Flink's `canal-json`.
fn canal_is_read(records: &[(Record, Delivered)]) -> Result<()> {
    let names = names();
    let columns: Vec<_> = names.iter().map(String::as_str).collect();
    let (mut canal, mut flink) =
        (FormatReader::canal()?, FormatReader::flink("canal-json", &columns)?);
    for (record, delivered) in records {
        let value = record.value.as_deref().context("a value")?;
        let seen = canal.read(value)?;
        ensure!(seen == serde_json::from_slice::<Value>(value)?, "Canal sees {seen}");
        let row = if delivered.operation == Operation::Delete {
            &delivered.before
        } else {
            &delivered.after
        };
        ensure!(seen["data"][0] == object(row.as_ref().context("a row")?), "Canal sees {seen}");
        rows_agree(delivered, &flink.read(value)?)?;
    }
    Ok(())
}

/// The row changes that Flink makes of a change.
fn rows_agree(delivered: &Delivered, seen: &Value) -> Result<()> {
    let (before, after) = (delivered.before.as_ref(), delivered.after.as_ref());
    let expected: Vec<_> = match delivered.operation {
        Operation::Insert => vec![("+I", after)],
        Operation::Update => vec![("-U", before), ("+U", after)],
        Operation::Delete => vec![("-D", before)],
        Operation::Truncate => vec![],
    };
    let seen = seen.as_array().context("rows")?;
    ensure!(seen.len() == expected.len(), "Flink sees {seen:?}");
    for (seen, (kind, row)) in seen.iter().zip(expected) {
        ensure!(seen["kind"] == kind, "Flink sees {seen}");
        let row = object(row.context("a row")?);
        ensure!(seen["row"] == row, "Flink sees {seen} instead of {row}");
    }
    Ok(())
}

fn object(row: &Row) -> Value {
    let value = |datum: &Datum| match datum {
        Datum::Text(text) => Value::from(&**text),
        Datum::OneOf(texts) => texts.first().map_or(Value::Null, |text| Value::from(&**text)),
        Datum::Float(number) => Value::from(*number),
        Datum::Null | Datum::Missing | Datum::Unread => Value::Null,
    };
    row.iter().map(|(name, datum)| (name.to_string(), value(datum))).collect()
}

/// Flink's `debezium-json`: every change once, with the key and the texts of the source. What the
/// format writes of types that are no text is compared with Debezium itself by `cargo x parity`.
fn debezium_is_read(scene: &Scene<'_>, topic: &str, changes: &[Change]) -> Result<()> {
    let names = names();
    let columns: Vec<_> = names.iter().map(String::as_str).collect();
    let mut flink = FormatReader::flink("debezium-json", &columns)?;
    let mut seen = BTreeMap::new();
    for record in Reader::until_end(scene.kafka, &[topic])? {
        let record = record?;
        let Some(value) = record.value.as_deref() else { continue };
        let header = |name: &str| {
            let value = record.headers.iter().find(|(header, _)| header == name)?.1.as_deref();
            value.and_then(|value| std::str::from_utf8(value).ok()?.parse::<u64>().ok())
        };
        let at = (header("tw.xid").context("xid")?, header("tw.seq").context("number")?);
        let rows = flink.read(value)?;
        seen.entry(at).or_insert_with(Vec::new).extend(rows.as_array().context("rows")?.clone());
    }
    ensure!(seen.len() == changes.len(), "{} changes of {}", seen.len(), changes.len());
    for change in changes {
        let rows = seen.get_mut(&(change.xid.into(), change.number)).context("a change")?;
        // The halves of a key change stand in different partitions: the old row first.
        rows.sort_by_key(|row| !row["kind"].as_str().is_some_and(|kind| kind.starts_with('-')));
        let images = [("-U", "-D", &change.before), ("+U", "+I", &change.after)];
        let expected: Vec<_> = images.iter().filter(|(_, _, image)| image.is_some()).collect();
        ensure!(rows.len() == expected.len(), "Flink sees {rows:?} of {change:?}");
        for (row, (update, alone, image)) in rows.iter().zip(expected) {
            ensure!(row["kind"] == *update || row["kind"] == *alone, "Flink sees {row}");
            let image = object(image.as_ref().context("an image")?);
            for name in columns.iter().filter(|name| is_text(name)) {
                ensure!(row["row"][name] == image[name], "{name}: Flink sees {}", row["row"][name]);
            }
        }
    }
    Ok(())
}

/// Whether a column holds what any format writes as PostgreSQL's own text.
fn is_text(name: &str) -> bool {
    const TEXTS: [&str; 10] = [
        "text",
        "varchar(20)",
        "char(5)",
        "citext",
        "uuid",
        "json",
        "mood",
        "inet",
        "cidr",
        "int4",
    ];
    let column =
        name.strip_prefix('c').and_then(|number| COLUMNS.get(number.parse::<usize>().ok()?));
    column.is_none_or(|(name, _)| TEXTS.contains(name))
}

/// Kafka's console consumer prints a line of JSON for each record.
fn console_is_read(scene: &Scene<'_>, topic: &str, records: &[(Record, Delivered)]) -> Result<()> {
    let output = scene
        .kafka
        .classes()
        .program("org.apache.kafka.tools.consumer.ConsoleConsumer")
        .args(["--bootstrap-server", &scene.kafka.bootstrap(), "--topic", topic])
        .args(["--from-beginning", "--isolation-level", "read_committed"])
        .args(["--max-messages", &records.len().to_string(), "--timeout-ms", "20000"])
        .output()?;
    let lines = String::from_utf8(output.stdout)?;
    let mut seen = BTreeMap::new();
    for line in lines.lines() {
        let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        *seen.entry(value.to_string()).or_insert(0) += 1;
    }
    let mut written = BTreeMap::new();
    for (record, _) in records {
        let value: Value = serde_json::from_slice(record.value.as_deref().unwrap_or_default())?;
        *written.entry(value.to_string()).or_insert(0) += 1;
    }
    ensure!(seen == written, "the console shows {} records of {}", seen.len(), written.len());
    Ok(())
}
