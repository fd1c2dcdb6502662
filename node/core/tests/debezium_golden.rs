//! What Debezium itself wrote: `cargo x parity --golden` keeps the messages of a real PostgreSQL, what its
//! catalog said, and Debezium's records of the same changes. Of the same messages we write the same.

mod stream;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stream::{Stream, name, rules};
use tidewire_node_core::batch::ChangeBatch;
use tidewire_node_core::decode::{Decoder, Options};
use tidewire_node_core::encode::{EncodeConfig, EncodedBatch, Encoder, Record};
use tidewire_node_core::facts::{ColumnFacts, TableFacts, TypeFacts, UniqueKey};
use tidewire_node_core::schema::TaskTables;
use tidewire_shared::Lsn;
use tidewire_shared::spec::{Format, FormatKind, KeyChange, PartitionPolicy};

const GOLDEN: &str = include_str!("golden/debezium.json");

fn golden() -> Value {
    serde_json::from_str(GOLDEN).expect("JSON")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn letter(value: &Value) -> char {
    value.as_str().and_then(|text| text.chars().next()).expect("a letter")
}

fn number<N: TryFrom<i64, Error: std::fmt::Debug>>(value: &Value) -> N {
    N::try_from(value.as_i64().expect("a number")).expect("fits")
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn column(of: &Value) -> ColumnFacts {
    ColumnFacts {
        name: text(&of["name"]),
        type_oid: number(&of["type"]),
        type_modifier: number(&of["modifier"]),
        not_null: of["required"] == true,
        generated: false,
        default: of["default"].as_str().map(str::to_owned),
        base: TypeFacts {
            oid: number(&of["base"]),
            name: text(&of["baseName"]),
            schema: "pg_catalog".to_owned(),
            kind: letter(&of["kind"]),
            element: number(&of["element"]),
            element_kind: letter(&of["elementKind"]),
            labels: texts(&of["labels"]),
        },
    }
}

fn table(of: &Value) -> TableFacts {
    let identity = letter(&of["identity"]);
    TableFacts {
        name: name(&text(&of["schema"]), &text(&of["name"])),
        oid: number(&of["oid"]),
        kind: 'r',
        persistence: 'p',
        identity,
        selectable: true,
        owned: true,
        columns: of["columns"].as_array().expect("columns").iter().map(column).collect(),
        unique_keys: vec![UniqueKey {
            name: "its_key".to_owned(),
            primary: identity != 'i',
            replica_identity: identity == 'i',
            not_null: true,
            columns: texts(&of["key"]),
        }],
    }
}

/// The messages as a server would stream them.
fn stream(messages: &Value) -> Stream {
    let mut stream = Stream::default();
    for message in texts(messages) {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).expect("hexadecimal");
        let byte = |pair: &[u8]| pair.iter().fold(0, |sum, digits| sum * 16 + digit(digits));
        let bytes: Vec<u8> = message
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::try_from(byte(pair)).expect("a byte"))
            .collect();
        stream.payload(&bytes);
    }
    stream
}

fn decoded(options: Options, facts: &[TableFacts], bytes: &[u8]) -> Vec<ChangeBatch> {
    let mut decoder = Decoder::new(options);
    let (mut batches, mut batch, mut at) = (Vec::new(), ChangeBatch::new(), 0);
    while at < bytes.len() {
        let fed = decoder.feed(&bytes[at..], &mut batch).expect("decodes");
        at += fed.consumed;
        if let Some(need) = fed.need {
            let of_table = facts.iter().find(|table| table.oid == need.oid);
            decoder.provide(need.oid, of_table.cloned());
        }
        if fed.full {
            batches.push(std::mem::take(&mut batch));
        }
    }
    batches.push(batch);
    batches
}

/// A record as the file has it: key, value, header.
fn written(out: &EncodedBatch, record: &Record) -> Value {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let value = (!record.tombstone).then(|| {
        let value: Value = serde_json::from_slice(out.value(record)).expect("JSON");
        json!({"op": value["op"], "before": value["before"], "after": value["after"]})
    });
    let header = out.key_header(record).map(|(name, key)| (name, text(key)));
    json!({"key": out.key(record).map(text), "value": value, "header": header})
}

/// Our records of each table.
fn ours(golden: &Value) -> BTreeMap<String, Vec<Value>> {
    let facts: Vec<_> = golden["tables"].as_array().expect("tables").iter().map(table).collect();
    let topics: Vec<_> = facts.iter().map(|table| table.name.to_string()).collect();
    let of_tables: Vec<_> = facts
        .iter()
        .zip(&topics)
        .map(|(it, topic)| (it.name.schema.as_str(), it.name.table.as_str(), topic.as_str()))
        .collect();
    let tables = TaskTables::new(&rules(&of_tables)).expect("rules");
    let topics = tables.topics().to_vec();
    let mut encoder = Encoder::new(EncodeConfig {
        format: Format { kind: FormatKind::DebeziumJson, ..Format::default() },
        database: "shop".to_owned(),
        server_version: "15.0".to_owned(),
        partition: PartitionPolicy::ByPrimaryKey,
        key_change: KeyChange::Split,
        partitions: vec![1; topics.len()],
        record_bytes: 1 << 20,
        next_ordinal: 1,
        dead_letters: None,
    })
    .expect("encoder");
    let stream = stream(&golden["messages"]);
    let mut of = BTreeMap::<_, Vec<_>>::new();
    for batch in decoded(Options::new(tables, Lsn::ZERO), &facts, &stream.bytes) {
        let mut out = EncodedBatch::new();
        encoder.encode(&batch, 0, &mut out).expect("encodes");
        for record in &out.records {
            let topic = topics[usize::from(record.topic)].clone();
            of.entry(topic).or_default().push(written(&out, record));
        }
    }
    of
}

/// Texts that are JSON themselves, as keys are, become it.
fn opened(value: &Value) -> Value {
    let inner = value.as_str().and_then(|text| serde_json::from_str(text).ok());
    inner.unwrap_or_else(|| value.clone())
}

/// Where two values differ. Java's `float` has more digits than PostgreSQL's at times.
fn differ(path: &str, theirs: &Value, ours: &Value, into: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(one), Value::Object(two)) => {
            let names: BTreeSet<_> = one.keys().chain(two.keys()).collect();
            for name in names {
                let (one, two) = (one.get(name), two.get(name));
                let gap = json!("nothing");
                differ(&format!("{path}.{name}"), one.unwrap_or(&gap), two.unwrap_or(&gap), into);
            }
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            one.iter().zip(two).for_each(|(one, two)| differ(path, one, two, into));
        }
        (Value::Number(one), Value::Number(two)) if one.is_f64() && two.is_f64() => {
            #[expect(clippy::cast_possible_truncation, reason = "the value of a float4")]
            let short = |number: &serde_json::Number| number.as_f64().map(|it| it as f32);
            if one != two && short(one) != short(two) {
                into.push(format!("{path}: Debezium {one} | we {two}"));
            }
        }
        _ if theirs == ours => {}
        _ => into.push(format!("{path}: Debezium {theirs} | we {ours}")),
    }
}

/// What differs and is not explained, and how many records were compared.
fn differences(golden: &Value) -> (Vec<String>, usize) {
    let ours = ours(golden);
    let (mut differences, mut compared) = (Vec::new(), 0);
    for (table, theirs) in golden["records"].as_object().expect("records") {
        let (theirs, ours) = (theirs.as_array().expect("records"), &ours[table]);
        assert_eq!(theirs.len(), ours.len(), "records of {table}");
        for (at, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
            let mut found = Vec::new();
            differ("key", &opened(&theirs["key"]), &opened(&ours["key"]), &mut found);
            let header = |of: &Value| json!([of["header"][0], opened(&of["header"][1])]);
            differ("header", &header(theirs), &header(ours), &mut found);
            differ("value", &theirs["value"], &ours["value"], &mut found);
            // `cargo x parity` knows why these differ, and docs/formats.md tells.
            let known = texts(&theirs["explained"]);
            let is_known = |line: &String| {
                known.iter().any(|path| {
                    let rest = line.strip_prefix("value.").and_then(|it| it.strip_prefix(path));
                    rest.is_some_and(|rest| rest.starts_with(':') || rest.starts_with('.'))
                })
            };
            found.retain(|line| !is_known(line));
            differences.extend(found.into_iter().map(|line| format!("{table} {at} {line}")));
            compared += 1;
        }
    }
    (differences, compared)
}

#[test]
fn of_the_same_messages_the_records_are_those_that_debezium_wrote() {
    let (differences, compared) = differences(&golden());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared > 50, "{compared} records are too few to tell");
}

#[test]
fn another_value_key_or_header_would_be_seen() {
    let changed = |change: fn(&mut Value)| {
        let mut golden = golden();
        change(&mut golden["records"]);
        differences(&golden).0
    };
    let value = changed(|of| of["public.plain"][0]["value"]["after"]["note"] = json!("another"));
    assert_eq!(value, [r#"public.plain 0 value.after.note: Debezium "another" | we "first""#]);
    let key = changed(|of| of["public.plain"][0]["key"] = json!(r#"{"id":7}"#));
    assert_eq!(key, ["public.plain 0 key.id: Debezium 7 | we 1"]);
    let header = |of: &mut Value| {
        let records = of["public.plain"].as_array_mut().expect("records");
        let with = records.iter_mut().find(|record| !record["header"].is_null());
        with.expect("a key change")["header"] = Value::Null;
    };
    assert!(!changed(header).is_empty());
}
