//! The formats, the partition policies and the key changes, from stream to records.

#[path = "encode/canal_json.rs"]
mod canal_json;
#[path = "encode/dead_letters.rs"]
mod dead_letters;
#[path = "encode/debezium_json.rs"]
mod debezium_json;
#[path = "encode/dropped.rs"]
mod dropped;
#[path = "encode/partitions.rs"]
mod partitions;
mod reader;
mod stream;

use reader::RecordReader;
use serde_json::{Value, json};
use stream::{
    Cell, Described, Stream, decode_all, described, facts, name, options, primary_key, rules, text,
};
use tidewire_node_core::batch::ChangeBatch;
use tidewire_node_core::decode::{Decoder, Options};
use tidewire_node_core::encode::{EncodeConfig, EncodeError, EncodedBatch, Encoder};
use tidewire_node_core::facts::{TableFacts, UniqueKey};
use tidewire_node_core::partition::{JavaHash, of_java_hash, of_record_key};
use tidewire_node_core::schema::TaskTables;
use tidewire_shared::spec::{
    Format, FormatKind, KeyChange, PartitionPolicy, RecordKey, TimestampUnit,
};
use tidewire_shared::{Fault, FaultKind, Lsn};

const OID: u32 = 16_385;
const COMMIT_US: i64 = 1_786_342_560_123_456;
const NOW_US: i64 = 1_786_342_561_000_000;
const LSN: u64 = 0x16B_3748;

fn columns() -> Vec<Described> {
    vec![described(true, "id", 20), described(false, "note", 25), described(false, "amount", 1700)]
}

fn orders() -> TableFacts {
    let code = UniqueKey {
        name: "by_note".to_owned(),
        primary: false,
        not_null: false,
        ..primary_key(&["note", "amount"])
    };
    facts(OID, name("public", "orders"), &columns(), vec![code, primary_key(&["id"])])
}

fn config(kind: FormatKind) -> EncodeConfig {
    EncodeConfig {
        format: Format {
            kind,
            key: RecordKey::Json,
            identity_headers: false,
            source_timestamp_unit: TimestampUnit::Milliseconds,
            ..Format::default()
        },
        database: "shop".to_owned(),
        server_version: "14.9".to_owned(),
        partition: PartitionPolicy::ByPrimaryKey,
        key_change: KeyChange::Split,
        partitions: vec![4],
        record_bytes: 1 << 20,
        next_ordinal: 1,
        dead_letters: None,
    }
}

/// Decodes what `build` writes into an open transaction on `orders`.
fn batch(identity: char, build: impl FnOnce(&mut Stream)) -> ChangeBatch {
    batch_of(Options { hold: true, ..options(&[("public", "orders", "orders")]) }, identity, build)
}

fn batch_of(options: Options, identity: char, build: impl FnOnce(&mut Stream)) -> ChangeBatch {
    let mut stream = Stream::default();
    let columns: Vec<_> = columns()
        .into_iter()
        .map(|c| Described { in_identity: c.in_identity || identity == 'f', ..c })
        .collect();
    stream.begin(LSN, COMMIT_US, 741).relation(OID, ("public", "orders"), identity, &columns);
    build(&mut stream);
    stream.commit(LSN, LSN + 48);
    let mut decoder = Decoder::new(options);
    decoder.provide(OID, Some(orders()));
    decode_all(&mut decoder, &stream.bytes).remove(0)
}

fn encode(config: EncodeConfig, batch: &ChangeBatch) -> EncodedBatch {
    try_encode(config, batch).expect("encodes")
}

fn try_encode(config: EncodeConfig, batch: &ChangeBatch) -> Result<EncodedBatch, EncodeError> {
    let mut out = EncodedBatch::new();
    Encoder::new(config).expect("encoder").encode(batch, NOW_US, &mut out)?;
    Ok(out)
}

fn avro(out: &EncodedBatch) -> Vec<Value> {
    let reader = RecordReader::published();
    out.records
        .iter()
        .map(|record| {
            let (value, left) = reader.read(out.value(record));
            assert_eq!(left, 0, "nothing is left over");
            value
        })
        .collect()
}

fn json_of(out: &EncodedBatch) -> Vec<Value> {
    out.records.iter().map(|r| serde_json::from_slice(out.value(r)).expect("JSON")).collect()
}

fn keys(out: &EncodedBatch) -> Vec<Option<String>> {
    let text = |key: &[u8]| String::from_utf8(key.to_vec()).expect("UTF-8");
    out.records.iter().map(|record| out.key(record).map(text)).collect()
}

fn row(id: &str, note: &str, amount: &str) -> [Cell; 3] {
    [text(id), text(note), text(amount)]
}

fn key_only(id: &str) -> [Cell; 3] {
    [text(id), Cell::Null, Cell::Null]
}

fn character(value: &str) -> Value {
    json!({"Character": {"charset": "utf8", "value": value}})
}

fn integer(value: &str) -> Value {
    json!({"Integer": {"precision": 0, "value": value}})
}

fn none() -> Value {
    json!({"EmptyObject": "NONE"})
}

#[test]
fn an_avro_insert_holds_everything_the_schema_asks_for() {
    let batch = batch('d', |s| {
        s.insert(OID, &row("42", "first", "12.50"));
    });
    let out = encode(config(FormatKind::DtsAvro), &batch);
    assert_eq!(
        avro(&out),
        vec![json!({
            "version": 0,
            "id": 1,
            "sourceTimestamp": 1_786_342_560_123_i64,
            "sourcePosition": "0/16B3748@1",
            "safeSourcePosition": "0/16B3748",
            "sourceTxid": "741",
            "source": {"sourceType": "PostgreSQL", "version": "14.9"},
            "operation": "INSERT",
            "objectName": "shop.public.orders",
            "processTimestamps": null,
            "tags": {"pk_uk_info": "{\"PRIMARY\":[\"id\"],\"by_note\":[\"note\",\"amount\"]}"},
            "fields": [
                {"name": "id", "dataTypeNumber": 20},
                {"name": "note", "dataTypeNumber": 25},
                {"name": "amount", "dataTypeNumber": 1700}
            ],
            "beforeImages": null,
            "afterImages": [
                integer("42"),
                character("first"),
                {"Decimal": {"value": "12.50", "precision": 4, "scale": 2}}
            ],
            "bornTimestamp": 1_786_342_561_000_i64
        })]
    );
    let (_, left) = RecordReader::without_born_timestamp().read(out.value(&out.records[0]));
    assert_eq!(left, 6, "older consumers leave the last field unread");
}

#[test]
fn an_avro_update_has_both_images() {
    let new = [text("42"), Cell::Unchanged, Cell::Null];
    let unchanged_identity = batch('d', |s| {
        s.update(OID, None, &new);
    });
    let records = avro(&encode(config(FormatKind::DtsAvro), &unchanged_identity));
    assert_eq!(records[0]["operation"], "UPDATE");
    assert_eq!(records[0]["beforeImages"], json!([integer("42"), none(), none()]));
    assert_eq!(records[0]["afterImages"], json!([integer("42"), none(), null]));

    let old = row("42", "large", "1");
    let full = batch('f', |s| {
        s.update(OID, Some((b'O', &old)), &new);
    });
    let records = avro(&encode(config(FormatKind::DtsAvro), &full));
    assert_eq!(records[0]["beforeImages"][1], character("large"));
    assert_eq!(records[0]["afterImages"], json!([integer("42"), character("large"), null]));
}

#[test]
fn an_avro_delete_has_what_the_identity_gives() {
    let batch = batch('d', |s| {
        s.delete(OID, b'K', &key_only("42"));
    });
    let records = avro(&encode(config(FormatKind::DtsAvro), &batch));
    assert_eq!(records[0]["operation"], "DELETE");
    assert_eq!(records[0]["beforeImages"], json!([integer("42"), none(), none()]));
    assert_eq!(records[0]["afterImages"], Value::Null);
}

fn truncating() -> Options {
    let mut tables = TaskTables::new(&rules(&[("public", "orders", "orders")])).expect("rules");
    tables.set_operations(&name("public", "orders"), |operations| operations.truncate = true);
    Options { hold: true, ..Options::new(tables, Lsn::ZERO) }
}

#[test]
fn a_truncate_goes_to_every_partition() {
    let batch = batch_of(truncating(), 'd', |s| {
        s.truncate(&[OID]);
    });
    let out = encode(config(FormatKind::DtsAvro), &batch);
    let partitions: Vec<_> = out.records.iter().map(|record| record.partition).collect();
    assert_eq!(partitions, vec![0, 1, 2, 3]);
    assert_eq!(keys(&out), vec![None; 4]);
    assert_eq!((out.counters.truncate, out.counters.records, out.next_ordinal), (1, 4, 5));
    for (ordinal, record) in (1..).zip(avro(&out)) {
        assert_eq!(record["id"], ordinal);
        assert_eq!(record["operation"], "DDL");
        assert_eq!(record["fields"], Value::Null);
        assert_eq!(record["tags"], json!({}));
        assert_eq!(record["afterImages"], "TRUNCATE TABLE \"public\".\"orders\"");
    }
    let out = encode(config(FormatKind::ShareplexJson), &batch);
    assert_eq!(json_of(&out)[3]["meta"]["op"], "trunc");
    assert_eq!(json_of(&out)[3]["data"], json!({}));
}

fn text_object(kind: &str, value: &str) -> Value {
    json!({"TextObject": {"type": kind, "value": value}})
}

fn date_time(parts: [Option<i32>; 7]) -> Value {
    let [year, month, day, hour, minute, second, millis] = parts;
    json!({"year": year, "month": month, "day": day, "hour": hour, "minute": minute,
           "second": second, "millis": millis})
}

fn at(parts: [i32; 7]) -> Value {
    date_time(parts.map(Some))
}

/// Type, `typtype`, text, and what the record holds.
fn type_corpus() -> Vec<(u32, char, &'static str, Value)> {
    let float = |value: &str| json!({"Float": {"value": value, "precision": 8, "scale": 15}});
    let decimal = |value: &str, precision: i32, scale: i32| json!({"Decimal": {"value": value, "precision": precision, "scale": scale}});
    let zoned = |value: Value, zone: &str| json!({"TimestampWithTimeZone": {"value": value, "timezone": zone}});
    let whole = [2026, 8, 10, 6, 16, 0, 123_456];
    let day = [Some(2026), Some(8), Some(10), None, None, None, None];
    let clock = [None, None, None, Some(24), Some(0), Some(0), Some(0)];
    vec![
        (21, 'b', "-32768", integer("-32768")),
        (23, 'b', "2147483647", integer("2147483647")),
        (20, 'b', "-9223372036854775808", integer("-9223372036854775808")),
        (1700, 'b', "0.00", decimal("0.00", 1, 2)),
        (1700, 'b', "-1234.5", decimal("-1234.5", 5, 1)),
        (1700, 'b', "NaN", text_object("XTYPE", "NaN")),
        (1700, 'b', "-Infinity", text_object("XTYPE", "-Infinity")),
        (700, 'b', "0.1", float("0.1")),
        (701, 'b', "1e+300", float("1e300")),
        (701, 'b', "-0", float("-0.0")),
        (701, 'b', "NaN", float("NaN")),
        (701, 'b', "-Infinity", float("-inf")),
        (18, 'b', "c", character("c")),
        (25, 'b', "ü\"\\\n", character("ü\"\\\n")),
        (1042, 'b', "ab  ", character("ab  ")),
        (1043, 'b', "", character("")),
        (16, 'b', "t", text_object("BOOL", "t")),
        (1082, 'b', "2026-08-10", json!({"DateTime": date_time(day)})),
        (1082, 'b', "infinity", text_object("XTYPE", "infinity")),
        (1082, 'b', "0044-03-15 BC", text_object("XTYPE", "0044-03-15 BC")),
        (1083, 'b', "24:00:00", json!({"DateTime": date_time(clock)})),
        (1114, 'b', "2026-08-10 06:16:00.123456", json!({"DateTime": at(whole)})),
        (1184, 'b', "2026-08-10 06:16:00.123456+00", zoned(at(whole), "+00:00")),
        (
            1266,
            'b',
            "06:16:00.5-03:30",
            zoned(
                date_time([None, None, None, Some(6), Some(16), Some(0), Some(500_000)]),
                "-03:30",
            ),
        ),
        (17, 'b', "\\x", json!({"BinaryObject": {"type": "BYTEA", "value": ""}})),
        (17, 'b', "\\x00ff41", json!({"BinaryObject": {"type": "BYTEA", "value": [0, 255, 65]}})),
        (114, 'b', "{\"a\": 1}", text_object("JSON", "{\"a\": 1}")),
        (3802, 'b', "{\"a\": 1}", json!({"BinaryObject": {"type": "JSON", "value": "{\"a\": 1}"}})),
        (142, 'b', "<a/>", text_object("XML", "<a/>")),
        (2950, 'b', "a0ee-bc99", text_object("UUID", "a0ee-bc99")),
        (99_999, 'e', "glad", text_object("ENUM", "glad")),
        (99_999, 'c', "(1,2)", text_object("XTYPE", "(1,2)")),
        (1007, 'b', "{1,NULL,3}", text_object("XTYPE", "{1,NULL,3}")),
        (3904, 'r', "[1,5)", text_object("XTYPE", "[1,5)")),
        (869, 'b', "10.0.0.1/8", text_object("XTYPE", "10.0.0.1/8")),
        (1186, 'b', "1 mon", text_object("XTYPE", "1 mon")),
        (790, 'b', "$1.00", text_object("XTYPE", "$1.00")),
        (1560, 'b', "101", text_object("XTYPE", "101")),
        (600, 'b', "(1,2)", text_object("XTYPE", "(1,2)")),
        (26, 'b', "16385", text_object("XTYPE", "16385")),
        (19, 'b', "pg_class", text_object("XTYPE", "pg_class")),
        (4_000_000_000, 'b', "citext", text_object("XTYPE", "citext")),
    ]
}

#[test]
fn every_type_has_its_branch() {
    for (oid, kind, value, expected) in type_corpus() {
        let columns = [described(true, "id", 20), described(false, "value", oid)];
        let mut facts = facts(OID, name("public", "orders"), &columns, vec![primary_key(&["id"])]);
        facts.columns[1].base.kind = kind;
        let mut stream = Stream::default();
        stream.begin(LSN, COMMIT_US, 741).relation(OID, ("public", "orders"), 'd', &columns);
        stream.insert(OID, &[text("1"), text(value)]).commit(LSN, LSN + 8);
        let mut decoder = Decoder::new(options(&[("public", "orders", "orders")]));
        decoder.provide(OID, Some(facts));
        let batch = decode_all(&mut decoder, &stream.bytes).remove(0);
        let record = avro(&encode(config(FormatKind::DtsAvro), &batch)).remove(0);
        assert_eq!(record["afterImages"][1], expected, "{oid} {value}");
        assert_eq!(record["fields"][1]["dataTypeNumber"], json!(oid.cast_signed()));
    }
}

#[test]
fn a_shareplex_insert_is_this_text() {
    let batch = batch('d', |s| {
        s.insert(OID, &row("42", "fi\"rst", "12.50")).insert(OID, &key_only("43"));
    });
    let out = encode(config(FormatKind::ShareplexJson), &batch);
    assert_eq!(
        std::str::from_utf8(out.value(&out.records[0])).expect("UTF-8"),
        concat!(
            r#"{"meta":{"time":"2026-08-10T06:16:00.123456Z","userid":0,"op":"ins","#,
            r#""scn":"23803720","rowid":"0/16B3748.1","trans":"741","seq":1,"size":2,"#,
            r#""table":"public.orders","idx":"1/2","posttime":"2026-08-10T06:16:01.000000Z"},"#,
            r#""data":{"id":"42","note":"fi\"rst","amount":"12.50"}}"#
        )
    );
    assert_eq!(json_of(&out)[1]["data"], json!({"id": "43", "note": null, "amount": null}));
    assert_eq!(json_of(&out)[1]["meta"]["idx"], "2/2");
}

#[test]
fn a_shareplex_update_tells_what_changed_where_it_can() {
    let new = [text("42"), Cell::Unchanged, text("2")];
    let default = batch('d', |s| {
        s.update(OID, None, &new);
    });
    let record = json_of(&encode(config(FormatKind::ShareplexJson), &default)).remove(0);
    assert_eq!(record["meta"]["op"], "upd");
    assert_eq!(record["data"], json!({"id": "42", "amount": "2"}));
    assert_eq!(record["key"], json!({"id": "42"}));

    let old = row("42", "n", "1");
    let full = batch('f', |s| {
        s.update(OID, Some((b'O', &old)), &new);
    });
    let record = json_of(&encode(config(FormatKind::ShareplexJson), &full)).remove(0);
    assert_eq!(record["data"], json!({"amount": "2"}));
    assert_eq!(record["key"], json!({"id": "42", "note": "n", "amount": "1"}));

    let delete = batch('d', |s| {
        s.delete(OID, b'K', &key_only("42"));
    });
    let record = json_of(&encode(config(FormatKind::ShareplexJson), &delete)).remove(0);
    assert_eq!((&record["data"], &record["meta"]["op"]), (&json!({"id": "42"}), &json!("del")));
    assert_eq!(record.get("key"), None);
}

/// An update of the primary key, from 1 to 2.
fn key_change() -> ChangeBatch {
    batch('d', |s| {
        s.update(OID, Some((b'K', &key_only("1"))), &[text("2"), Cell::Unchanged, text("7")]);
    })
}

#[test]
fn a_key_change_is_a_delete_there_and_an_insert_here() {
    let out = encode(config(FormatKind::DtsAvro), &key_change());
    let records = avro(&out);
    assert_eq!(
        (&records[0]["operation"], &records[1]["operation"]),
        (&json!("DELETE"), &json!("INSERT"))
    );
    assert_eq!(records[0]["beforeImages"], json!([integer("1"), none(), none()]));
    assert_eq!(records[1]["afterImages"][1], none(), "not sent, so missing");
    assert_eq!(records[0]["sourcePosition"], records[1]["sourcePosition"]);
    assert_eq!((&records[0]["id"], &records[1]["id"]), (&json!(1), &json!(2)));
    assert_eq!(out.records[0].identity, out.records[1].identity);
    let partition = |id: &str| of_java_hash(JavaHash::of(id), 4);
    assert_eq!(out.records[0].partition, partition("1"));
    assert_eq!(out.records[1].partition, partition("2"));
    assert_eq!(keys(&out), vec![Some(r#"{"id":"1"}"#.into()), Some(r#"{"id":"2"}"#.into())]);
    assert_eq!((out.counters.update, out.counters.insert, out.counters.delete), (1, 0, 0));
}

#[test]
fn a_key_change_that_is_kept_is_one_update() {
    let keep = EncodeConfig { key_change: KeyChange::Keep, ..config(FormatKind::DtsAvro) };
    let out = encode(keep, &key_change());
    let records = avro(&out);
    assert_eq!((records.len(), &records[0]["operation"]), (1, &json!("UPDATE")));
    assert_eq!(records[0]["beforeImages"][0], integer("1"));
    assert_eq!(out.records[0].partition, of_java_hash(JavaHash::of("2"), 4));
}

#[test]
fn each_policy_has_its_partition() {
    let batch = batch('d', |s| {
        s.insert(OID, &row("42", "n", "1"));
    });
    let placed = |partition| {
        let config = EncodeConfig { partition, ..config(FormatKind::ShareplexJson) };
        encode(config, &batch).records[0].partition
    };
    assert_eq!(placed(PartitionPolicy::AllToPartition0), 0);
    // "shop.public.orders" has the hash -200135406.
    assert_eq!(placed(PartitionPolicy::ByTable), 200_135_406 % 4);
    assert_eq!(placed(PartitionPolicy::ByPrimaryKey), 1_662 % 4);
    assert_eq!(placed(PartitionPolicy::ByRecordKey), of_record_key(br#"{"id":"42"}"#, 4));
}

#[test]
fn partition_columns_of_the_user_go_before_the_key() {
    let mut rules = rules(&[("public", "orders", "orders")]);
    rules[0].partition_by = vec!["note".to_owned(), "amount".to_owned()];
    let options = Options::new(TaskTables::new(&rules).expect("rules"), Lsn::ZERO);
    let batch = batch_of(options, 'f', |s| {
        s.insert(OID, &[text("1"), text("ä"), Cell::Null]);
        s.update(OID, Some((b'O', &row("1", "a", "1"))), &row("2", "a", "1"));
        s.update(OID, Some((b'O', &row("1", "a", "1"))), &row("1", "b", "1"));
    });
    let out = encode(config(FormatKind::ShareplexJson), &batch);
    assert_eq!(out.records[0].partition, of_java_hash(JavaHash::of("ä\u{1f}"), 4));
    let operations: Vec<_> = json_of(&out).iter().map(|r| r["meta"]["op"].clone()).collect();
    assert_eq!(operations, ["ins", "upd", "del", "ins"], "only the second update moves its row");
}

#[test]
fn a_table_without_a_key_has_no_record_key() {
    let mut stream = Stream::default();
    let columns = [described(true, "a", 25)];
    stream.begin(LSN, COMMIT_US, 741).relation(OID, ("public", "orders"), 'f', &columns);
    stream.insert(OID, &[text("x")]).commit(LSN, LSN + 8);
    let mut decoder = Decoder::new(options(&[("public", "orders", "orders")]));
    decoder.provide(OID, Some(facts(OID, name("public", "orders"), &columns, Vec::new())));
    let batch = decode_all(&mut decoder, &stream.bytes).remove(0);
    for (partition, expected) in
        [(PartitionPolicy::ByPrimaryKey, 0), (PartitionPolicy::ByRecordKey, 200_135_406 % 4)]
    {
        let out = encode(EncodeConfig { partition, ..config(FormatKind::DtsAvro) }, &batch);
        assert_eq!((keys(&out), out.records[0].partition), (vec![None], expected));
        assert_eq!(avro(&out)[0]["tags"], json!({}));
    }
}

#[test]
fn the_identity_is_offered_as_headers() {
    let mut config = config(FormatKind::DtsAvro);
    config.format.identity_headers = true;
    config.format.key = RecordKey::None;
    let out = encode(config, &key_change());
    assert!(out.identity_headers);
    assert_eq!(keys(&out), vec![None, None]);
    let headers = out.records[1].identity.headers();
    let texts: Vec<_> = headers.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    let expected: [(&str, &[u8]); 3] =
        [("tw.lsn", b"0/16B3748"), ("tw.seq", b"1"), ("tw.xid", b"741")];
    assert_eq!(texts, expected);
}

#[test]
fn the_end_and_the_counters_come_along() {
    let batch = batch('d', |s| {
        s.insert(OID, &row("1", "n", "1")).delete(OID, b'K', &key_only("1"));
    });
    let out = encode(EncodeConfig { next_ordinal: 7, ..config(FormatKind::DtsAvro) }, &batch);
    assert_eq!(out.end, batch.end);
    assert_eq!(out.next_ordinal, 9);
    assert_eq!((out.counters.insert, out.counters.delete, out.counters.transactions), (1, 1, 1));
    assert_eq!(out.counters.bytes, out.buf.len() as u64);
    let sizes = out.records.iter().map(|r| r.value.end - r.key.clone().expect("key").start);
    assert_eq!(Some(out.largest), sizes.max());
}

#[test]
fn a_record_that_is_too_large_names_its_row_by_a_hash() {
    let batch = batch('d', |s| {
        s.insert(OID, &row("1", "n", "1")).insert(OID, &row("42", &"secret".repeat(99), "1"));
    });
    let mut encoder =
        Encoder::new(EncodeConfig { record_bytes: 400, ..config(FormatKind::DtsAvro) })
            .expect("encoder");
    let mut out = EncodedBatch::new();
    let error = encoder.encode(&batch, NOW_US, &mut out).expect_err("is refused");
    assert!(out.records.is_empty() && out.buf.is_empty(), "nothing of the batch is to be sent");
    assert_eq!(error.key_hash, JavaHash::of("42"));
    let fault = Fault::from(error);
    assert_eq!(fault.kind, FaultKind::Encode);
    assert_eq!(fault.object, "table public.orders at 0/16B3748 change 2 key hash 0000067e");
    assert!(fault.remedy.contains("recordBytes"));
    assert!(!format!("{fault:?}").contains("secret"));
}

#[test]
fn a_value_that_is_not_of_its_type_is_refused() {
    let batch = batch('d', |s| {
        s.insert(OID, &row("1", "n", "12,5"));
    });
    let error = try_encode(config(FormatKind::DtsAvro), &batch).expect_err("is refused");
    assert_eq!(error.what, "column amount does not hold a numeric");
}

#[test]
fn a_key_that_did_not_come_is_refused() {
    let mut rules = rules(&[("public", "orders", "orders")]);
    rules[0].partition_by = vec!["note".to_owned()];
    let options = || Options::new(TaskTables::new(&rules).expect("rules"), Lsn::ZERO);
    let delete = batch_of(options(), 'd', |s| {
        s.delete(OID, b'K', &key_only("1"));
    });
    let update = batch_of(options(), 'd', |s| {
        s.update(OID, None, &row("1", "n", "1"));
    });
    for batch in [delete, update] {
        let error = try_encode(config(FormatKind::DtsAvro), &batch).expect_err("is refused");
        assert!(error.what.contains("column note"), "{}", error.what);
    }
}

#[test]
fn a_topic_without_partitions_is_refused() {
    for partitions in [vec![0], vec![u32::MAX]] {
        let config = EncodeConfig { partitions, ..config(FormatKind::DtsAvro) };
        assert_eq!(Encoder::new(config).expect_err("is refused").kind, FaultKind::TargetState);
    }
}

#[test]
fn names_with_dots_and_quotes_are_told_apart() {
    let mut stream = Stream::default();
    let odd = ("a.b", "c\"d");
    stream.begin(LSN, COMMIT_US, 741).relation(OID, odd, 'd', &columns());
    stream.insert(OID, &row("1", "n", "1")).truncate(&[OID]).commit(LSN, LSN + 8);
    let mut tables = TaskTables::new(&rules(&[(odd.0, odd.1, "orders")])).expect("rules");
    tables.set_operations(&name(odd.0, odd.1), |operations| operations.truncate = true);
    let mut decoder = Decoder::new(Options::new(tables, Lsn::ZERO));
    decoder.provide(OID, Some(orders()));
    let batch = decode_all(&mut decoder, &stream.bytes).remove(0);
    let records = avro(&encode(config(FormatKind::DtsAvro), &batch));
    assert_eq!(records[0]["objectName"], "shop.a\\u002Eb.c\"d");
    assert_eq!(records[1]["afterImages"], "TRUNCATE TABLE \"a.b\".\"c\"\"d\"");
    let records = json_of(&encode(config(FormatKind::ShareplexJson), &batch));
    assert_eq!(records[0]["meta"]["table"], "a.b.c\"d");
}

#[test]
fn seconds_are_there_for_who_asks() {
    let batch = batch('d', |s| {
        s.insert(OID, &row("1", "n", "1"));
    });
    let mut config = config(FormatKind::DtsAvro);
    config.format.source_timestamp_unit = TimestampUnit::Seconds;
    assert_eq!(avro(&encode(config, &batch))[0]["sourceTimestamp"], 1_786_342_560);
}
