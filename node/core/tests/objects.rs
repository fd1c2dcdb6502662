//! Each key of `objects`: changing it changes what comes out.

mod stream;

use serde_json::{Value, json};
use stream::{Cell, Described, Stream, decode_all, described, facts, name, primary_key, text};
use tidewire_node_core::decode::{Decoder, Options};
use tidewire_node_core::encode::{EncodeConfig, EncodedBatch, Encoder};
use tidewire_node_core::facts::TableFacts;
use tidewire_node_core::objects::ListedTable;
use tidewire_node_core::schema::TaskTables;
use tidewire_shared::spec::{
    ColumnChoice, Format, FormatKind, KeyChange, NamePattern, ObjectRule, Operations,
    PartitionPolicy, Rename, TablePattern,
};
use tidewire_shared::{FaultKind, Lsn};

const OID: u32 = 16_385;

fn columns(identity: char) -> Vec<Described> {
    [("id", 20), ("amount", 1700), ("note", 25)]
        .map(|(name, oid)| described(name == "id" || identity == 'f', name, oid))
        .into()
}

fn orders(identity: char) -> TableFacts {
    facts(OID, name("public", "orders"), &columns(identity), vec![primary_key(&["id"])])
}

/// The records of some changes of `public.orders` under a rule: topic, key and value of each.
fn records(kind: FormatKind, rule: ObjectRule, stream: &Stream) -> Vec<(String, Value, Value)> {
    let tables = TaskTables::resolve(&[rule], "shop", &[]).expect("rules");
    let topics = tables.topics().to_vec();
    let mut decoder = Decoder::new(Options::new(tables, Lsn::ZERO));
    decoder.provide(OID, Some(orders('d')));
    let batches = decode_all(&mut decoder, &stream.bytes);
    let mut encoder = Encoder::new(EncodeConfig {
        format: Format { kind, ..Format::default() },
        database: "shop".to_owned(),
        server_version: "15.0".to_owned(),
        partition: PartitionPolicy::ByPrimaryKey,
        key_change: KeyChange::Split,
        partitions: vec![2; topics.len()],
        record_bytes: 1 << 20,
        next_ordinal: 1,
        dead_letters: None,
    })
    .expect("encoder");
    let mut out = EncodedBatch::default();
    encoder.encode(&batches[0], 0, &mut out).expect("encodes");
    let read = |bytes: Option<&[u8]>| {
        bytes.map_or(Value::Null, |bytes| serde_json::from_slice(bytes).expect("JSON"))
    };
    out.records
        .iter()
        .map(|record| {
            let topic = topics[usize::from(record.topic)].clone();
            let key = record.key.clone().map(|key| &out.buf[key]);
            (topic, read(key), read(Some(&out.buf[record.value.clone()])))
        })
        .collect()
}

fn canal(rule: ObjectRule, stream: &Stream) -> Vec<(String, Value, Value)> {
    records(FormatKind::CanalJson, rule, stream)
}

/// An open transaction on `public.orders`.
fn opened(identity: char) -> Stream {
    let mut stream = Stream::default();
    stream.begin(100, 0, 7).relation(OID, ("public", "orders"), identity, &columns(identity));
    stream
}

fn row(id: &str, amount: &str, note: &str) -> [Cell; 3] {
    [text(id), text(amount), text(note)]
}

/// An insert, an update, a delete and a truncate.
fn all_operations() -> Stream {
    let mut stream = opened('f');
    let (old, new) = (row("1", "5", "a"), row("1", "20", "b"));
    stream
        .insert(OID, &old)
        .update(OID, Some((b'O', &old)), &new)
        .delete(OID, b'O', &new)
        .truncate(&[OID])
        .commit(100, 150);
    stream
}

fn plain() -> ObjectRule {
    ObjectRule {
        tables: vec![name("public", "orders")],
        topic: "orders".into(),
        ..ObjectRule::default()
    }
}

fn types(records: &[(String, Value, Value)]) -> Vec<&str> {
    records.iter().map(|(_, _, value)| value["type"].as_str().expect("type")).collect()
}

#[test]
fn rename_changes_every_name_inside_the_records_and_no_place() {
    let rename = Rename {
        database: Some("Shop".into()),
        schema: Some("sales".into()),
        table: Some("ORDERS".into()),
        columns: [("id".to_owned(), "order_id".to_owned())].into(),
    };
    let stream = all_operations();
    let renamed = ObjectRule { rename, ..plain() };
    let (_, key, value) = canal(renamed.clone(), &stream).remove(0);
    assert_eq!(key, json!({"order_id": "1"}));
    assert_eq!((&value["database"], &value["table"]), (&json!("Shop"), &json!("sales.ORDERS")));
    assert_eq!(value["pkNames"], json!(["order_id"]));
    assert_eq!(value["data"][0], json!({"order_id": "1", "amount": "5", "note": "a"}));
    assert!(value["mysqlType"]["order_id"].is_string() && value["mysqlType"]["id"].is_null());

    let (_, key, value) = records(FormatKind::ShareplexJson, renamed, &stream).remove(0);
    assert_eq!(key, json!({"order_id": "1"}));
    assert_eq!(value["meta"]["table"], json!("sales.ORDERS"));
    assert_eq!(value["data"]["order_id"], json!("1"));
}

#[test]
fn two_columns_may_not_get_one_name() {
    let rename =
        Rename { columns: [("note".to_owned(), "amount".to_owned())].into(), ..Rename::default() };
    let tables =
        TaskTables::resolve(&[ObjectRule { rename, ..plain() }], "shop", &[]).expect("rules");
    let mut decoder = Decoder::new(Options::new(tables, Lsn::ZERO));
    decoder.provide(OID, Some(orders('d')));
    let error = decoder.feed(&opened('d').bytes, &mut Default::default()).expect_err("refused");
    assert_eq!(error.kind, FaultKind::Configuration);
}

#[test]
fn columns_decide_which_columns_go_out() {
    let choose = |include: &[&str], exclude: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let columns = ColumnChoice { include: owned(include), exclude: owned(exclude) };
        let records = canal(ObjectRule { columns, ..plain() }, &all_operations());
        records.iter().take(3).map(|(_, _, value)| value["data"][0].clone()).collect::<Vec<_>>()
    };
    let without_note = [
        json!({"id": "1", "amount": "5"}),
        json!({"id": "1", "amount": "20"}),
        json!({"id": "1", "amount": "20"}),
    ];
    assert_eq!(choose(&[], &["note"]), without_note);
    assert_eq!(choose(&["id", "amount"], &[]), without_note);
    assert_eq!(choose(&[], &[])[0], json!({"id": "1", "amount": "5", "note": "a"}));
}

#[test]
fn the_key_must_go_out() {
    let columns = ColumnChoice { exclude: vec!["id".into()], ..ColumnChoice::default() };
    let tables =
        TaskTables::resolve(&[ObjectRule { columns, ..plain() }], "shop", &[]).expect("rules");
    let mut decoder = Decoder::new(Options::new(tables, Lsn::ZERO));
    decoder.provide(OID, Some(orders('d')));
    let error = decoder.feed(&opened('d').bytes, &mut Default::default()).expect_err("refused");
    assert!(error.what.contains("key") && error.what.contains("id"), "{error}");
}

#[test]
fn where_turns_updates_into_what_its_readers_see() {
    let mut stream = opened('f');
    let (low, high, higher) = (row("1", "5", "a"), row("1", "20", "b"), row("1", "30", "b"));
    stream
        .insert(OID, &low)
        .insert(OID, &high)
        .update(OID, Some((b'O', &low)), &high)
        .update(OID, Some((b'O', &high)), &higher)
        .update(OID, Some((b'O', &high)), &low)
        .update(OID, Some((b'O', &low)), &low)
        .delete(OID, b'O', &low)
        .delete(OID, b'O', &high)
        .commit(100, 150);
    let filtered = ObjectRule { filter: "amount > 10".into(), ..plain() };
    let seen = canal(filtered.clone(), &stream);
    assert_eq!(types(&seen), ["INSERT", "INSERT", "UPDATE", "DELETE", "DELETE"]);
    assert_eq!(
        seen[3].2["data"][0]["amount"],
        json!("20"),
        "a delete tells of the row that was seen"
    );
    // Operations count as they go out: an update that is an insert to readers is one.
    let inserts = Operations { insert: true, update: false, delete: false, truncate: false };
    let seen = canal(ObjectRule { operations: inserts, ..filtered.clone() }, &stream);
    assert_eq!(types(&seen), ["INSERT", "INSERT"]);
    // A column that does not go out may decide.
    let columns = ColumnChoice { exclude: vec!["amount".into()], ..ColumnChoice::default() };
    let seen = canal(ObjectRule { columns, ..filtered }, &stream);
    assert_eq!(seen.len(), 5);
    assert_eq!(seen[0].2["data"][0], json!({"id": "1", "note": "b"}));
}

#[test]
fn without_an_old_row_the_condition_looks_at_the_new_one() {
    let mut stream = opened('d');
    stream
        .update(OID, None, &row("7", "1", "a"))
        .update(OID, None, &row("1", "1", "a"))
        .delete(OID, b'K', &[text("7"), Cell::Null, Cell::Null])
        .commit(100, 150);
    let rule = ObjectRule { filter: "id > 5".into(), ..plain() };
    assert_eq!(types(&canal(rule, &stream)), ["UPDATE", "DELETE"]);
}

#[test]
fn a_condition_whose_column_was_not_sent_stops_the_task() {
    let rule = ObjectRule { filter: "amount > 5".into(), ..plain() };
    let tables = TaskTables::resolve(&[rule], "shop", &[]).expect("rules");
    let mut decoder = Decoder::new(Options::new(tables, Lsn::ZERO));
    decoder.provide(OID, Some(orders('d')));
    let mut stream = opened('d');
    stream.delete(OID, b'K', &[text("7"), Cell::Null, Cell::Null]);
    let error = decoder.feed(&stream.bytes, &mut Default::default()).expect_err("stops");
    assert!(error.what.contains("amount"), "{error}");
    assert!(error.remedy.contains("take `where` of the table out"), "{}", error.remedy);
}

#[test]
fn an_update_that_does_not_tell_what_its_row_was_stops_the_task() {
    let rule = ObjectRule { filter: "amount > 5".into(), ..plain() };
    let tables = TaskTables::resolve(&[rule], "shop", &[]).expect("rules");
    let mut decoder = Decoder::new(Options::new(tables, Lsn::ZERO));
    decoder.provide(OID, Some(orders('d')));
    let mut stream = opened('d');
    stream.update(OID, None, &row("7", "1", "a"));
    let error = decoder.feed(&stream.bytes, &mut Default::default()).expect_err("stops");
    assert!(error.what.contains("old value of column amount"), "{error}");
    assert!(error.remedy.contains("take `where` of the table out"), "{}", error.remedy);
}

#[test]
fn a_condition_stops_the_task_at_an_update_whose_old_row_did_not_come_under_full() {
    let rule = ObjectRule { filter: "amount > 5".into(), ..plain() };
    let tables = TaskTables::resolve(&[rule], "shop", &[]).expect("rules");
    // A partition with another identity than its table; the table with a key, and without one.
    for (kind, keys) in [('p', vec![primary_key(&["id"])]), ('p', vec![]), ('r', vec![])] {
        let mut decoder = Decoder::new(Options::new(tables.clone(), Lsn::ZERO));
        let facts = facts(OID, name("public", "orders"), &columns('f'), keys);
        decoder.provide(OID, Some(TableFacts { kind, ..facts }));
        let mut stream = opened('f');
        stream.update(OID, None, &row("7", "1", "a"));
        let error = decoder.feed(&stream.bytes, &mut Default::default()).expect_err("stops");
        assert!(error.what.contains("the condition `where`"), "{error}");
        assert!(error.remedy.contains("take `where` of the table out"), "{}", error.remedy);
    }
}

#[test]
fn a_condition_on_inserts_alone_needs_no_old_rows() {
    let operations = Operations { insert: true, update: false, delete: false, truncate: false };
    let rule = ObjectRule { filter: "amount > 5".into(), operations, ..plain() };
    let key = |id: &str| [text(id), Cell::Null, Cell::Null];
    let mut stream = opened('d');
    stream
        .insert(OID, &row("1", "20", "a"))
        .insert(OID, &row("2", "1", "a"))
        .update(OID, None, &row("2", "30", "a"))
        .update(OID, Some((b'K', &key("2"))), &row("3", "30", "a"))
        .delete(OID, b'K', &key("3"))
        .commit(100, 150);
    assert_eq!(types(&canal(rule, &stream)), ["INSERT"]);
}

#[test]
fn bytes_that_are_no_text_matter_only_in_columns_that_go_out() {
    let mut stream = opened('d');
    stream.insert(OID, &[text("1"), text("5"), Cell::NoText(vec![0xE9])]).commit(100, 150);
    let columns = ColumnChoice { exclude: vec!["note".into()], ..ColumnChoice::default() };
    let seen = canal(ObjectRule { columns, ..plain() }, &stream);
    assert_eq!(seen[0].2["data"][0], json!({"id": "1", "amount": "5"}));

    // A condition is answered where it looks at other columns.
    stream = opened('d');
    stream.insert(OID, &[text("1"), text("5"), Cell::NoText(vec![0xE9])]);
    stream.insert(OID, &[text("2"), text("4"), Cell::NoText(vec![0xE9])]).commit(100, 150);
    let columns = ColumnChoice { exclude: vec!["note".into()], ..ColumnChoice::default() };
    let seen = canal(ObjectRule { columns, filter: "amount > 4".into(), ..plain() }, &stream);
    assert_eq!(types(&seen), ["INSERT"]);
    assert_eq!(seen[0].2["data"][0], json!({"id": "1", "amount": "5"}));
}

#[test]
fn an_update_that_is_split_goes_out_whole_where_updates_do() {
    let mut stream = opened('d');
    let key = |id: &str| [text(id), Cell::Null, Cell::Null];
    stream
        .insert(OID, &row("1", "5", "a"))
        .update(OID, Some((b'K', &key("1"))), &row("2", "5", "a"))
        .delete(OID, b'K', &key("2"))
        .commit(100, 150);
    let seen = |change: fn(&mut Operations)| {
        let mut operations = Operations::default();
        change(&mut operations);
        let records = canal(ObjectRule { operations, ..plain() }, &stream);
        types(&records).join(" ")
    };
    assert_eq!(seen(|_| {}), "INSERT DELETE INSERT DELETE");
    assert_eq!(seen(|o| o.delete = false), "INSERT DELETE INSERT", "its own halves, no deletes");
    assert_eq!(seen(|o| o.insert = false), "DELETE INSERT DELETE");
    assert_eq!(seen(|o| o.update = false), "INSERT DELETE");
}

#[test]
fn operations_decide_which_go_out() {
    let only = |change: fn(&mut Operations)| {
        let mut operations =
            Operations { insert: false, update: false, delete: false, truncate: false };
        change(&mut operations);
        let seen = canal(ObjectRule { operations, ..plain() }, &all_operations());
        types(&seen).join(" ")
    };
    assert_eq!(only(|o| o.insert = true), "INSERT");
    assert_eq!(only(|o| o.update = true), "UPDATE");
    assert_eq!(only(|o| o.delete = true), "DELETE");
    assert_eq!(only(|o| o.truncate = true), "TRUNCATE TRUNCATE", "to both partitions");
}

fn glob(table: &str) -> TablePattern {
    TablePattern {
        schema: NamePattern::Exact("public".into()),
        table: NamePattern::Glob(table.into()),
    }
}

#[test]
fn patterns_take_a_table_that_the_stream_still_names_though_it_was_dropped() {
    let rule = |patterns: &[&str], exclude: &[&str], topic: &str| ObjectRule {
        patterns: patterns.iter().map(|text| glob(text)).collect(),
        exclude: exclude.iter().map(|text| glob(text)).collect(),
        topic: topic.into(),
        ..ObjectRule::default()
    };
    let stream = all_operations();
    let decoded = |rule: ObjectRule, topic: &str| {
        let mut tables = TaskTables::resolve(&[rule], "shop", &[]).expect("rules");
        tables.add_topic(topic).expect("topic");
        let mut decoder = Decoder::new(Options::new(tables, Lsn::ZERO));
        decoder.provide(OID, Some(orders('d')));
        let mut batch = Default::default();
        decoder.feed(&stream.bytes, &mut batch).map(|_| batch.changes().len())
    };
    assert_eq!(decoded(rule(&["ord*"], &[], "all"), "all"), Ok(3));
    assert_eq!(decoded(rule(&["ord*"], &["orders"], "all"), "all"), Ok(0));
    assert_eq!(decoded(rule(&["*x"], &[], "all"), "all"), Ok(0));
    let error = decoded(rule(&["*"], &[], "cdc.{database}.{table}"), "all").expect_err("new topic");
    assert_eq!(error.kind, FaultKind::SourceBusy, "the task looks again: {error}");
    assert!(error.what.contains("cdc.shop.orders"), "{error}");
}

#[test]
fn a_partition_that_is_described_but_brings_no_row_needs_no_topic() {
    // Under publish_via_partition_root the server describes the root, then the partition itself.
    let leaf = ("public", "orders_1");
    let mut stream = opened('d');
    stream.relation(99, leaf, 'd', &columns('d')).insert(OID, &row("1", "5", "a")).commit(100, 150);
    let rule = ObjectRule {
        patterns: vec![glob("*")],
        topic: "{schema}.{table}".into(),
        ..ObjectRule::default()
    };
    let listed = [
        ListedTable { name: name("public", "orders"), oid: OID, ancestors: Vec::new() },
        ListedTable { name: name("public", "orders_1"), oid: 99, ancestors: vec![OID] },
    ];
    let tables = TaskTables::resolve(&[rule], "shop", &listed).expect("rules");
    assert_eq!(tables.topics(), ["public.orders"]);
    let decoder = || {
        let mut decoder = Decoder::new(Options::new(tables.clone(), Lsn::ZERO));
        decoder.provide(OID, Some(orders('d')));
        decoder
    };
    let batches = decode_all(&mut decoder(), &stream.bytes);
    assert_eq!(batches[0].changes().len(), 1);

    // Detached from its root it is a table of its own, which the task has to look at first.
    let alone: [fn(&mut Stream); 2] = [
        |stream| {
            stream.insert(99, &row("2", "5", "a"));
        },
        |stream| {
            stream.truncate(&[OID, 99]);
        },
    ];
    for change in alone {
        let mut stream = opened('d');
        stream.relation(99, leaf, 'd', &columns('d'));
        change(&mut stream);
        let error = decoder().feed(&stream.bytes, &mut Default::default()).expect_err("new topic");
        assert_eq!(error.kind, FaultKind::SourceBusy);
        assert!(error.what.contains("public.orders_1"), "{error}");
        assert!(error.remedy.contains("exclude"), "where the table is gone: {}", error.remedy);
    }
}

#[test]
fn templates_decide_the_topic() {
    let rule = ObjectRule { topic: "{database}.{schema}.{table}".into(), ..plain() };
    assert_eq!(canal(rule, &all_operations())[0].0, "shop.public.orders");
}

#[test]
fn a_condition_that_does_not_fit_the_columns_is_refused() {
    for filter in ["gone = 1", "note > 5", "amount LIKE 'x'"] {
        let rule = ObjectRule { filter: filter.into(), ..plain() };
        let tables = TaskTables::resolve(&[rule], "shop", &[]).expect("rules");
        let mut decoder = Decoder::new(Options::new(tables, Lsn::ZERO));
        decoder.provide(OID, Some(orders('d')));
        let error = decoder.feed(&opened('d').bytes, &mut Default::default()).expect_err(filter);
        assert_eq!(error.kind, FaultKind::Configuration);
    }
    let rule = ObjectRule { filter: "id = ".into(), ..plain() };
    assert!(TaskTables::resolve(&[rule], "shop", &[]).is_err());
}
