//! Changes that cannot become records, on their way to the dead-letter topic.

use tidewire_node_core::encode::{DeadLetterTopic, Record};
use tidewire_shared::spec::{ColumnChoice, ObjectRule, Operations};

use super::*;

/// Tables go to topic 0 of four partitions, dead letters to topic 1 of two.
pub(super) fn with_dead_letters(record_bytes: u64) -> EncodeConfig {
    EncodeConfig {
        partitions: vec![4, 2],
        record_bytes,
        dead_letters: Some(DeadLetterTopic { topic: 1, task: "orders".to_owned() }),
        ..config(FormatKind::DtsAvro)
    }
}

/// The row that the parts of one dead letter hold together.
fn row_of(parts: &[&Value]) -> Value {
    let text: String = parts.iter().map(|part| part["row"].as_str().expect("text")).collect();
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_refused_change_goes_there_with_its_row_and_the_others_go_on() {
    let long = "long \"ä\" ".repeat(80);
    let batch = batch('d', |s| {
        s.insert(OID, &row("1", "n", "1")).insert(OID, &row("42", &long, "1"));
        s.insert(OID, &row("3", "n", "12,5")).insert(OID, &row("4", "n", "1"));
    });
    let out = encode(with_dead_letters(400), &batch);
    let topics: Vec<_> = out.records.iter().map(|r| (r.topic, r.dead_letter)).collect();
    assert_eq!(topics, [(0, false), (1, true), (1, true), (0, false)]);
    assert_eq!((out.counters.dead_letters, out.counters.insert), (2, 4));
    assert_eq!(out.next_ordinal, 1 + 4);
    let letter = |index: usize| -> Value {
        serde_json::from_slice(out.value(&out.records[index])).expect("JSON")
    };
    let first = letter(1);
    assert_eq!(
        row_of(&[&first]),
        json!({"new": {"id": "42", "note": long, "amount": "1"}}),
        "the row is not lost"
    );
    for (member, expected) in [
        ("task", json!("orders")),
        ("table", json!("public.orders")),
        ("lsn", json!("0/16B3748")),
        ("sequence", json!(2)),
        ("xid", json!(741)),
        ("time", json!("2026-08-10T06:16:00.123456Z")),
        ("operation", json!("INSERT")),
        ("keyHash", json!("0000067e")),
        ("part", json!(1)),
        ("parts", json!(1)),
    ] {
        assert_eq!(first[member], expected, "{member}");
    }
    assert!(
        first["reason"].as_str().is_some_and(|reason| reason.contains("over the limit of 400"))
    );
    assert_eq!(letter(2)["reason"], "column amount does not hold a numeric");
    assert_eq!(keys(&out)[1].as_deref(), Some(r#"{"id":"42"}"#));
    assert_eq!(out.records[1].partition, of_java_hash(JavaHash::of("42"), 2));
    assert_eq!(out.records[1].identity.sequence, 2);
}

#[test]
fn a_large_row_comes_in_parts_of_the_allowed_size() {
    let note = "\"ä\\\u{1}\u{1F30A}".repeat(20_000);
    let batch = batch('f', |s| {
        s.update(OID, Some((b'O', &row("42", "n", "1"))), &row("42", &note, "2"));
    });
    let out = encode(with_dead_letters(32 << 10), &batch);
    let letters = json_of(&out);
    let parts: Vec<&Value> = letters.iter().collect();
    assert!(parts.len() > 10);
    for (index, (letter, record)) in letters.iter().zip(&out.records).enumerate() {
        assert_eq!((&letter["part"], &letter["parts"]), (&json!(index + 1), &json!(parts.len())));
        assert_eq!(record.partition, out.records[0].partition, "all in one partition, in order");
        let size = record.value.end - record.key.clone().expect("key").start;
        assert!(size <= 32 << 10, "{size}");
    }
    let row = row_of(&parts);
    assert_eq!(row["old"], json!({"id": "42", "note": "n", "amount": "1"}));
    assert_eq!(row["new"], json!({"id": "42", "note": note, "amount": "2"}));
    assert_eq!(out.counters.dead_letters, 1, "one change");
    assert_eq!(out.next_ordinal, 1 + parts.len() as u64);
}

#[test]
fn a_change_without_its_key_goes_there_without_a_key() {
    let mut rules = rules(&[("public", "orders", "orders")]);
    rules[0].partition_by = vec!["note".to_owned()];
    let options = Options::new(TaskTables::new(&rules).expect("rules"), Lsn::ZERO);
    let batch = batch_of(options, 'd', |s| {
        s.delete(OID, b'K', &key_only("1")).insert(OID, &row("2", "n", "1"));
    });
    let out = encode(with_dead_letters(1 << 20), &batch);
    let first: Value = serde_json::from_slice(out.value(&out.records[0])).expect("JSON");
    assert_eq!(
        (row_of(&[&first]), out.records[0].dead_letter),
        (json!({"old": {"id": "1"}}), true)
    );
    assert_eq!(avro(&EncodedBatch { records: out.records[1..].to_vec(), ..out }).len(), 1);
}

#[test]
fn the_first_half_of_a_key_change_stays_when_the_second_is_refused() {
    let batch = batch('d', |s| {
        let new = row("2", &"x".repeat(500), "7");
        s.update(OID, Some((b'K', &key_only("1"))), &new);
    });
    let out = encode(with_dead_letters(400), &batch);
    let topics: Vec<_> = out.records.iter().map(|record| record.topic).collect();
    assert_eq!(topics, [0, 1], "the delete, then the whole update as a dead letter");
    let letter: Value = serde_json::from_slice(out.value(&out.records[1])).expect("JSON");
    assert_eq!(
        (&letter["operation"], &row_of(&[&letter])["old"]),
        (&json!("UPDATE"), &json!({"id": "1"}))
    );
}

/// A row of a database whose encoding is SQL_ASCII, between two that are text.
fn not_text() -> ChangeBatch {
    batch('f', |s| {
        s.insert(OID, &row("1", "n", "1"));
        s.insert(OID, &[text("2"), Cell::NoText(b"caf\xE9 secret".to_vec()), text("1")]);
        s.update(OID, Some((b'O', &row("3", "n", "1"))), &row("3", "m", "1"));
    })
}

#[test]
fn bytes_that_are_no_text_stop_the_task_with_table_place_and_key() {
    for kind in [
        FormatKind::DtsAvro,
        FormatKind::ShareplexJson,
        FormatKind::CanalJson,
        FormatKind::DebeziumJson,
    ] {
        let fault = Fault::from(try_encode(config(kind), &not_text()).expect_err("stops"));
        assert_eq!(fault.kind, FaultKind::Encode);
        assert_eq!(fault.object, "table public.orders at 0/16B3748 change 2 key hash 00000032");
        assert!(fault.message.starts_with("column note holds bytes that are not UTF-8"), "{fault}");
        assert!(fault.remedy.contains("deadLetterTopic"), "{fault}");
        assert!(!format!("{fault:?}").contains("secret"), "{fault:?}");
    }
}

#[test]
fn bytes_that_are_no_text_go_there_in_hexadecimal() {
    let out = encode(with_dead_letters(1 << 20), &not_text());
    let topics: Vec<_> = out.records.iter().map(|record| record.topic).collect();
    assert_eq!(topics, [0, 1, 0]);
    let letter: Value = serde_json::from_slice(out.value(&out.records[1])).expect("JSON");
    let note = "\\x636166e920736563726574";
    assert_eq!(row_of(&[&letter]), json!({"new": {"id": "2", "note": note, "amount": "1"}}));
    assert!(letter["reason"].as_str().is_some_and(|it| it.contains("column note")), "{letter}");
    assert_eq!((out.counters.dead_letters, out.counters.insert, out.counters.update), (1, 2, 1));
    let refused = out.refused.as_ref().expect("is told");
    assert_eq!((refused.table.table.as_str(), refused.sequence), ("orders", 2));
}

#[test]
fn an_old_row_that_is_no_text_makes_its_change_no_record_either() {
    let batch = batch('f', |s| {
        let old = [text("2"), Cell::NoText(vec![0xFF]), text("1")];
        s.update(OID, Some((b'O', &old)), &row("2", "n", "1")).delete(OID, b'O', &old);
    });
    let out = encode(with_dead_letters(1 << 20), &batch);
    let rows: Vec<Value> = json_of(&out).iter().map(|letter| row_of(&[letter])).collect();
    let old = json!({"id": "2", "note": "\\xff", "amount": "1"});
    let new = json!({"id": "2", "note": "n", "amount": "1"});
    assert_eq!(rows, [json!({"old": old, "new": new}), json!({"old": old})]);
}

/// Options of a decoder with one rule for `public.orders`.
fn ruled(change: impl FnOnce(&mut ObjectRule)) -> Options {
    let mut rules = rules(&[("public", "orders", "orders")]);
    change(&mut rules[0]);
    let tables = TaskTables::resolve(&rules, "shop", &[]).expect("rules");
    Options { hold: true, ..Options::new(tables, Lsn::ZERO) }
}

fn no_text(id: &str, amount: &str) -> [Cell; 3] {
    [text(id), Cell::NoText(vec![0xE9]), text(amount)]
}

/// Topic and operation or, of a dead letter, operation and reason of each record.
fn told(out: &EncodedBatch) -> Vec<String> {
    let records = out.records.iter().zip(json_of(out));
    let of = |(record, value): (&Record, Value)| {
        let text = |member: &str| value[member].as_str().unwrap_or_default().to_owned();
        match record.dead_letter {
            true => format!("letter {}: {}", text("operation"), text("reason")),
            false => text("type"),
        }
    };
    records.map(of).collect()
}

#[test]
fn a_row_that_its_condition_cannot_be_held_against_goes_there() {
    let reason = "the condition `where` looks at column note, which holds bytes that are not UTF-8";
    let options = || ruled(|rule| rule.filter = "note = 'a' AND amount > 1".to_owned());
    let of_rows = batch_of(options(), 'f', |s| {
        s.insert(OID, &row("1", "a", "2")).insert(OID, &row("2", "b", "2"));
        s.insert(OID, &no_text("3", "2")).insert(OID, &row("4", "a", "2"));
        s.update(OID, Some((b'O', &row("3", "a", "2"))), &no_text("3", "2"));
        s.update(OID, Some((b'O', &no_text("3", "2"))), &row("3", "b", "2"));
        s.delete(OID, b'O', &no_text("3", "2"));
    });
    let letters = EncodeConfig {
        partitions: vec![4, 2],
        dead_letters: Some(DeadLetterTopic { topic: 1, task: "orders".to_owned() }),
        ..config(FormatKind::CanalJson)
    };
    let out = encode(letters, &of_rows);
    let letter = |operation: &str| format!("letter {operation}: {reason}");
    let insert = || "INSERT".to_owned();
    let expected = [
        insert(),
        letter("INSERT"),
        insert(),
        letter("UPDATE"),
        letter("UPDATE"),
        letter("DELETE"),
    ];
    assert_eq!(told(&out), expected);
    let third = &json_of(&out)[3];
    let old = json!({"id": "3", "note": "a", "amount": "2"});
    let new = json!({"id": "3", "note": "\\xe9", "amount": "2"});
    assert_eq!(row_of(&[third]), json!({"old": old, "new": new}), "both rows, whole");
    assert_eq!((out.counters.dead_letters, out.counters.filtered), (4, 1));

    // Without a topic for them it stops the task.
    let fault = try_encode(config(FormatKind::CanalJson), &of_rows).expect_err("stops");
    let fault = Fault::from(fault);
    assert_eq!(fault.object, "table public.orders at 0/16B3748 change 3 key hash 00000033");
    assert!(fault.message == reason && fault.remedy.contains("deadLetterTopic"), "{fault}");
}

#[test]
fn a_row_that_is_not_judged_goes_nowhere_where_its_operation_goes_nowhere() {
    let seen = |identity: char, change: fn(&mut Operations)| {
        let mut operations =
            Operations { insert: false, update: false, delete: false, truncate: false };
        change(&mut operations);
        let options = ruled(|rule| {
            rule.filter = "note = 'a'".to_owned();
            rule.operations = operations;
        });
        let batch = batch_of(options, identity, |s| {
            let old = no_text("3", "2");
            s.insert(OID, &old);
            let old = (identity == 'f').then_some((b'O', old.as_slice()));
            s.update(OID, old, &no_text("3", "3"));
        });
        let out = encode(with_dead_letters(1 << 20), &batch);
        let operations = json_of(&out).into_iter().map(|letter| letter["operation"].clone());
        operations.collect::<Vec<_>>()
    };
    // What was in the condition's view and is not any more is a delete.
    assert_eq!(seen('f', |o| o.delete = true), ["UPDATE"]);
    assert_eq!(seen('f', |o| o.insert = true), ["INSERT", "UPDATE"]);
    assert_eq!(seen('d', |o| o.insert = true), ["INSERT"], "an update that is none else");
    assert_eq!(seen('f', |o| o.truncate = true), Vec::<Value>::new());
}

#[test]
fn a_column_that_does_not_go_out_hides_no_other_that_is_no_text() {
    let columns = ColumnChoice { exclude: vec!["note".into()], ..ColumnChoice::default() };
    let options = || ruled(|rule| rule.columns = columns.clone());
    let batch = batch_of(options(), 'f', |s| {
        let bad = || Cell::NoText(vec![0xE9]);
        s.insert(OID, &[text("1"), bad(), text("1")]).insert(OID, &[text("2"), bad(), bad()]);
    });
    let fault = Fault::from(try_encode(config(FormatKind::CanalJson), &batch).expect_err("stops"));
    assert!(fault.object.contains("change 2"), "{fault}");
    assert!(fault.message.starts_with("column amount holds bytes that are not UTF-8"), "{fault}");
}

#[test]
fn a_column_of_the_condition_that_does_not_go_out_stays_within() {
    let columns = ColumnChoice { exclude: vec!["note".into()], ..ColumnChoice::default() };
    let options = ruled(|rule| {
        rule.columns = columns;
        rule.filter = "note = 'a'".to_owned();
    });
    let batch = batch_of(options, 'f', |s| {
        s.insert(OID, &no_text("3", "2"));
    });
    let out = encode(with_dead_letters(1 << 20), &batch);
    let letter = &json_of(&out)[0];
    assert_eq!(row_of(&[letter]), json!({"new": {"id": "3", "amount": "2"}}));
    let reason = letter["reason"].as_str().expect("text");
    assert!(reason.contains("(one that does not go out)"), "{reason}");
}
