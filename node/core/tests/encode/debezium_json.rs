//! Debezium's change events.

use tidewire_shared::spec::{BinaryMode, DebeziumOptions, DecimalMode, HstoreMode, TimeMode};

use super::*;

fn debezium(options: DebeziumOptions) -> EncodeConfig {
    let config = config(FormatKind::DebeziumJson);
    let debezium = DebeziumOptions { topic_prefix: Some("shop1".to_owned()), ..options };
    EncodeConfig { format: Format { debezium, ..config.format }, ..config }
}

/// Key, value (none: a tombstone) and header of each record.
fn records(out: &EncodedBatch) -> Vec<(String, Option<Value>, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    out.records
        .iter()
        .map(|record| {
            let json = || serde_json::from_slice(out.value(record)).expect("JSON");
            let header = out.key_header(record).map(|(name, key)| format!("{name} {}", text(key)));
            let key = out.key(record).map_or_else(|| "null".to_owned(), text);
            (key, (!record.tombstone).then(json), header)
        })
        .collect()
}

#[test]
fn an_insert_is_this_text() {
    let batch = batch('d', |s| {
        s.insert(OID, &row("42", "fi\"rst", "12.50"));
    });
    let out = encode(debezium(DebeziumOptions::default()), &batch);
    assert_eq!(
        std::str::from_utf8(out.value(&out.records[0])).expect("UTF-8"),
        concat!(
            r#"{"before":null,"after":{"id":42,"note":"fi\"rst","amount":{"scale":1,"value":"fQ=="}},"#,
            r#""source":{"version":""#,
            env!("CARGO_PKG_VERSION"),
            r#"","connector":"postgresql","name":"shop1","ts_ms":1786342560123,"snapshot":"false","#,
            r#""db":"shop","sequence":"[\"23803720\",\"1\"]","ts_us":1786342560123456,"#,
            r#""ts_ns":1786342560123456000,"schema":"public","table":"orders","txId":741,"#,
            r#""lsn":23803720,"xmin":null,"origin":null,"origin_lsn":null},"transaction":null,"#,
            r#""op":"c","ts_ms":1786342561000,"ts_us":1786342561000000,"#,
            r#""ts_ns":1786342561000000000}"#
        )
    );
    assert_eq!(out.key(&out.records[0]), Some(&br#"{"id":42}"#[..]));
}

#[test]
fn a_delete_is_followed_by_a_tombstone_under_its_key() {
    let batch = batch('d', |s| {
        s.delete(OID, b'K', &key_only("42"));
    });
    let out = encode(debezium(DebeziumOptions::default()), &batch);
    let all = records(&out);
    let deleted = all[0].1.as_ref().expect("a value");
    assert_eq!((&deleted["op"], &deleted["after"]), (&json!("d"), &Value::Null));
    assert_eq!(deleted["before"], json!({"id": 42, "note": null, "amount": null}));
    assert_eq!(all[1], (r#"{"id":42}"#.to_owned(), None, None));
    assert_eq!(out.records[0].partition, out.records[1].partition);
    assert_eq!(out.next_ordinal, 3);

    let without = DebeziumOptions { tombstones: false, ..DebeziumOptions::default() };
    assert_eq!(encode(debezium(without), &batch).records.len(), 1);
}

#[test]
fn the_old_row_of_an_update_is_shown_where_it_came_whole() {
    let new = [text("42"), Cell::Unchanged, text("2")];
    let without = batch('d', |s| {
        s.update(OID, None, &new);
    });
    let update = records(&encode(debezium(DebeziumOptions::default()), &without)).remove(0).1;
    let update = update.expect("a value");
    assert_eq!((&update["op"], &update["before"]), (&json!("u"), &Value::Null));
    assert_eq!(update["after"]["note"], "__debezium_unavailable_value");

    let full = batch('f', |s| {
        s.update(OID, Some((b'O', &row("42", "n", "1"))), &new);
    });
    let update = records(&encode(debezium(DebeziumOptions::default()), &full)).remove(0).1;
    let update = update.expect("a value");
    assert_eq!((&update["before"]["note"], &update["after"]["note"]), (&json!("n"), &json!("n")));
}

#[test]
fn a_new_key_splits_an_update_under_every_policy() {
    for partition in [PartitionPolicy::ByPrimaryKey, PartitionPolicy::ByTable] {
        let config = EncodeConfig { partition, ..debezium(DebeziumOptions::default()) };
        let out = encode(config, &key_change());
        let all = records(&out);
        let ops: Vec<_> = all.iter().map(|r| r.1.as_ref().map(|v| v["op"].clone())).collect();
        assert_eq!(ops, [Some(json!("d")), None, Some(json!("c"))]);
        let header = |at: usize| all[at].2.clone().expect("a header");
        assert_eq!(header(0), header(1), "the tombstone has it too");
        assert_eq!(header(0), r#"__debezium.newkey {"id":2}"#);
        assert_eq!(header(2), r#"__debezium.oldkey {"id":1}"#);
    }
    let keep = EncodeConfig { key_change: KeyChange::Keep, ..debezium(DebeziumOptions::default()) };
    let all = records(&encode(keep, &key_change()));
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].1.as_ref().expect("a value")["op"], "u");
    assert_eq!(all[0].2, None);
}

/// The value of one column of that type, with an option changed.
fn value_of(type_oid: u32, written: &str, options: &DebeziumOptions) -> Value {
    let columns = vec![described(true, "id", 20), described(false, "v", type_oid)];
    let table = facts(OID, name("public", "t"), &columns, vec![primary_key(&["id"])]);
    let mut stream = Stream::default();
    stream.begin(LSN, COMMIT_US, 741).relation(OID, ("public", "t"), 'd', &columns);
    stream.insert(OID, &[text("1"), text(written)]).commit(LSN, LSN + 48);
    let mut decoder = Decoder::new(options_of("t"));
    decoder.provide(OID, Some(table));
    let batch = decode_all(&mut decoder, &stream.bytes).remove(0);
    let value = records(&encode(debezium(options.clone()), &batch)).remove(0).1.expect("a value");
    value["after"].get("v").cloned().unwrap_or_else(|| json!("left out"))
}

fn options_of(table: &str) -> Options {
    options(&[("public", table, "t")])
}

#[test]
fn each_option_changes_what_comes_out() {
    let default = DebeziumOptions::default();
    let cases = [
        (
            1700,
            "1.50",
            DebeziumOptions { decimal: DecimalMode::String, ..default.clone() },
            json!("1.50"),
        ),
        (
            1700,
            "1.50",
            DebeziumOptions { decimal: DecimalMode::Double, ..default.clone() },
            json!(1.5),
        ),
        (
            1082,
            "2026-01-01",
            DebeziumOptions { time: TimeMode::Isostring, ..default.clone() },
            json!("2026-01-01Z"),
        ),
        (
            1114,
            "2026-01-01 00:00:00",
            DebeziumOptions { time: TimeMode::Connect, ..default.clone() },
            json!(1_767_225_600_000_i64),
        ),
        (
            17,
            "\\x00ff",
            DebeziumOptions { binary: BinaryMode::Hex, ..default.clone() },
            json!("00ff"),
        ),
        (
            17,
            "\\xffef",
            DebeziumOptions { binary: BinaryMode::Base64UrlSafe, ..default.clone() },
            json!("_-8="),
        ),
        (
            4072,
            "$.a",
            DebeziumOptions { unknown_types: false, ..default.clone() },
            json!("left out"),
        ),
    ];
    for (type_oid, written, options, expected) in cases {
        assert_eq!(value_of(type_oid, written, &options), expected, "{type_oid} {options:?}");
        assert_ne!(value_of(type_oid, written, &default), expected, "{type_oid}");
    }
    let string = tidewire_shared::spec::IntervalMode::String;
    let options = DebeziumOptions { interval: string, ..default.clone() };
    assert_eq!(value_of(1186, "1 day 00:00:01", &options), json!("P0Y0M1DT0H0M1S"));
    assert_eq!(value_of(1186, "1 day 00:00:01", &default), json!(86_401_000_000_i64));
    let options = DebeziumOptions { time: TimeMode::AdaptiveTimeMicroseconds, ..default };
    assert_eq!(value_of(1083, "00:00:01", &options), json!(1_000_000));
}

/// The value of a column of the extension's type, which has no number of its own.
fn hstore(options: &DebeziumOptions) -> Value {
    const HSTORE: u32 = 90_001;
    let columns = vec![described(true, "id", 20), described(false, "v", HSTORE)];
    let mut table = facts(OID, name("public", "t"), &columns, vec![primary_key(&["id"])]);
    "hstore".clone_into(&mut table.columns[1].base.name);
    "public".clone_into(&mut table.columns[1].base.schema);
    let mut stream = Stream::default();
    stream.begin(LSN, COMMIT_US, 741).relation(OID, ("public", "t"), 'd', &columns);
    stream.insert(OID, &[text("1"), text(r#""a"=>"1", "b"=>NULL"#)]).commit(LSN, LSN + 48);
    let mut decoder = Decoder::new(options_of("t"));
    decoder.provide(OID, Some(table));
    let batch = decode_all(&mut decoder, &stream.bytes).remove(0);
    let value = records(&encode(debezium(options.clone()), &batch)).remove(0).1.expect("a value");
    value["after"]["v"].clone()
}

#[test]
fn hstore_tombstones_and_prefix_are_as_they_are_asked_for() {
    let default = DebeziumOptions::default();
    assert_eq!(hstore(&default), json!(r#"{"a":"1","b":null}"#));
    let map = DebeziumOptions { hstore: HstoreMode::Map, ..default.clone() };
    assert_eq!(hstore(&map), json!({"a": "1", "b": null}));
    let base64 = DebeziumOptions { binary: BinaryMode::Base64, ..default.clone() };
    assert_eq!(value_of(17, "\\xffef", &base64), json!("/+8="));

    let deleted = batch('d', |s| {
        s.delete(OID, b'K', &key_only("42"));
    });
    let count = |options: DebeziumOptions| encode(debezium(options), &deleted).records.len();
    assert_eq!(count(default.clone()), 2);
    assert_eq!(count(DebeziumOptions { tombstones: false, ..default.clone() }), 1);

    let mut config = debezium(default);
    config.format.debezium.topic_prefix = Some("other".to_owned());
    let value = records(&encode(config, &deleted)).remove(0).1.expect("a value");
    assert_eq!(value["source"]["name"], "other");
}

#[test]
fn a_text_that_is_not_of_its_type_is_refused() {
    let batch = batch('d', |s| {
        s.insert(OID, &row("42", "n", "twelve"));
    });
    let error = try_encode(debezium(DebeziumOptions::default()), &batch).expect_err("refused");
    assert_eq!(error.what, "column amount does not hold a value of its type");
}

#[test]
fn with_schemas_key_and_value_stand_beside_theirs() {
    let batch = batch('d', |s| {
        s.insert(OID, &row("42", "n", "1"));
    });
    let options = DebeziumOptions { schemas: true, ..DebeziumOptions::default() };
    let out = encode(debezium(options), &batch);
    assert_eq!(
        std::str::from_utf8(out.key(&out.records[0]).expect("a key")).expect("UTF-8"),
        concat!(
            r#"{"schema":{"type":"struct","fields":[{"type":"int64","optional":true,"field":"id"}],"#,
            r#""optional":false,"name":"shop1.public.orders.Key"},"payload":{"id":42}}"#
        )
    );
    let value: Value = serde_json::from_slice(out.value(&out.records[0])).expect("JSON");
    assert_eq!(value["payload"]["after"]["id"], 42);
    assert_eq!(value["schema"]["name"], "shop1.public.orders.Envelope");
    assert_eq!(
        value["schema"]["fields"][1]["fields"][1],
        json!({"type": "string", "optional": true, "field": "note"})
    );
}
