//! The example records in docs/formats.md are what the code writes.
//!
//! `TIDEWIRE_WRITE_EXAMPLES=1` writes them into the page instead of comparing.

mod reader;
mod stream;

use std::fmt::Write;
use std::path::PathBuf;

use reader::RecordReader;
use stream::{Cell, Stream, described, facts, name, primary_key, rules, text};
use tidewire_node_core::batch::ChangeBatch;
use tidewire_node_core::decode::{Decoder, Options};
use tidewire_node_core::encode::{DeadLetterTopic, EncodeConfig, EncodedBatch, Encoder};
use tidewire_node_core::schema::TaskTables;
use tidewire_shared::Lsn;
use tidewire_shared::spec::{
    DebeziumOptions, Format, FormatKind, KeyChange, PartitionPolicy, RecordKey, TimestampUnit,
};

const OID: u32 = 16_385;
const LSN: u64 = 0x16B_3748;

/// An insert, an update, an update of the key, a delete and a truncate of `shop.public.orders`.
fn changes() -> ChangeBatch {
    let types = [("id", 20), ("note", 25), ("amount", 1700), ("paid", 16), ("created_at", 1184)];
    let columns = types.map(|(name, oid)| described(name == "id", name, oid));
    let row = |id, note: Cell, amount| {
        [text(id), note, text(amount), text("t"), text("2026-08-10 06:15:59.5+00")]
    };
    let key = |id| [text(id), Cell::Null, Cell::Null, Cell::Null, Cell::Null];
    let mut stream = Stream::default();
    stream
        .begin(LSN, 1_786_342_560_123_456, 741)
        .relation(OID, ("public", "orders"), 'd', &columns)
        .insert(OID, &row("42", text("first"), "12.50"))
        .update(OID, None, &row("42", Cell::Unchanged, "13.00"))
        .update(OID, Some((b'K', &key("42"))), &row("43", text("moved"), "13.00"))
        .delete(OID, b'K', &key("43"))
        .truncate(&[OID])
        .commit(LSN, LSN + 48);
    let table = name("public", "orders");
    let mut tables = TaskTables::new(&rules(&[("public", "orders", "orders")])).expect("rules");
    tables.set_operations(&table, |operations| operations.truncate = true);
    let mut decoder = Decoder::new(Options { hold: true, ..Options::new(tables, Lsn::ZERO) });
    decoder.provide(OID, Some(facts(OID, table, &columns, vec![primary_key(&["id"])])));
    stream::decode_all(&mut decoder, &stream.bytes).remove(0)
}

fn format(kind: FormatKind) -> Format {
    Format {
        kind,
        key: RecordKey::Json,
        identity_headers: false,
        source_timestamp_unit: TimestampUnit::Milliseconds,
        debezium: DebeziumOptions {
            topic_prefix: Some("orders".to_owned()),
            ..DebeziumOptions::default()
        },
    }
}

fn encoded(kind: FormatKind) -> EncodedBatch {
    encoded_with(format(kind), 1 << 20, None)
}

/// With a limit on records, and what is over it as dead letters of a task.
fn encoded_with(format: Format, record_bytes: u64, task: Option<&str>) -> EncodedBatch {
    let config = EncodeConfig {
        format,
        database: "shop".to_owned(),
        server_version: "15.18".to_owned(),
        partition: PartitionPolicy::ByPrimaryKey,
        key_change: KeyChange::Split,
        partitions: vec![1, 1],
        record_bytes,
        next_ordinal: 1,
        dead_letters: task.map(|task| DeadLetterTopic { topic: 1, task: task.to_owned() }),
    };
    let mut out = EncodedBatch::new();
    let mut encoder = Encoder::new(config).expect("encoder");
    encoder.encode(&changes(), 1_786_342_560_200_000, &mut out).expect("encodes");
    out
}

fn key_of(out: &EncodedBatch, record: usize) -> String {
    let key = out.key(&out.records[record]).unwrap_or(b"null");
    String::from_utf8(key.to_vec()).expect("UTF-8")
}

fn dts_avro(record: usize) -> String {
    let out = encoded(FormatKind::DtsAvro);
    let value = out.value(&out.records[record]);
    format!("key {}\n{}\n", key_of(&out, record), RecordReader::published().text(value))
}

fn dts_avro_hex(record: usize) -> String {
    let out = encoded(FormatKind::DtsAvro);
    let mut text = String::new();
    for line in out.value(&out.records[record]).chunks(48) {
        line.iter().for_each(|byte| write!(text, "{byte:02x}").expect("text"));
        text.push('\n');
    }
    text
}

/// Key and value of every record, a line each.
fn json_lines(out: &EncodedBatch) -> String {
    let line = |index: usize| {
        let record = &out.records[index];
        let value = String::from_utf8(out.value(record).to_vec()).expect("UTF-8");
        let value = if record.tombstone { "tombstone".to_owned() } else { value };
        let header = out.key_header(record).map_or_else(String::new, |(name, key)| {
            format!("header {name} {}\n", String::from_utf8_lossy(key))
        });
        format!("key {}\n{header}{value}\n", key_of(out, index))
    };
    (0..out.records.len()).map(line).collect()
}

/// The insert with its schema, as Connect's JsonConverter writes it with `schemas.enable`.
fn with_schemas() -> String {
    let mut format = format(FormatKind::DebeziumJson);
    format.debezium.schemas = true;
    let mut out = encoded_with(format, 1 << 20, None);
    out.records.truncate(1);
    json_lines(&out)
}

/// What a row becomes that is over a limit of 200 bytes.
fn dead_letter() -> String {
    let out = encoded_with(format(FormatKind::DtsAvro), 200, Some("orders"));
    let letter = out.records.iter().position(|record| record.dead_letter).expect("a dead letter");
    let value = String::from_utf8(out.value(&out.records[letter]).to_vec()).expect("UTF-8");
    format!("key {}\n{value}\n", key_of(&out, letter))
}

/// Puts `text` into the code block that follows the marker of `name`.
fn with_example(page: &str, name: &str, text: &str) -> String {
    let marker = format!("<!-- example: {name} -->\n```text\n");
    let (before, rest) = page.split_once(&marker).unwrap_or_else(|| panic!("no {marker}"));
    let (_, after) = rest.split_once("```").expect("the block ends");
    format!("{before}{marker}{text}```{after}")
}

#[test]
fn the_examples_are_what_the_code_writes() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
    let page = std::fs::read_to_string(&path).expect("docs/formats.md");
    let mut expected = page.clone();
    for (name, text) in [
        ("dts_avro insert", dts_avro(0)),
        ("dts_avro insert, bytes", dts_avro_hex(0)),
        ("dts_avro update", dts_avro(1)),
        ("dts_avro key change", dts_avro(2) + &dts_avro(3)),
        ("dts_avro delete", dts_avro(4)),
        ("dts_avro truncate", dts_avro(5)),
        ("shareplex_json", json_lines(&encoded(FormatKind::ShareplexJson))),
        ("canal_json", json_lines(&encoded(FormatKind::CanalJson))),
        ("debezium_json", json_lines(&encoded(FormatKind::DebeziumJson))),
        ("debezium_json with schemas", with_schemas()),
        ("dead letter", dead_letter()),
    ] {
        expected = with_example(&expected, name, &text);
    }
    if std::env::var_os("TIDEWIRE_WRITE_EXAMPLES").is_some() {
        std::fs::write(&path, &expected).expect("writable");
    } else {
        assert!(page == expected, "run this test with TIDEWIRE_WRITE_EXAMPLES=1");
    }
}
