//! Partitions that did not get the REPLICA IDENTITY FULL of their table: one that is made later has the
//! default identity. Its rows come under the table's name, in the words of FULL.

use super::*;
use tidewire_node_core::change::OldRow;

/// Changes of a table whose column `amount` is NOT NULL: partitioned and under FULL, or neither.
fn changes_of((kind, identity): (char, char), build: impl FnOnce(&mut Stream)) -> ChangeBatch {
    let columns = columns();
    let columns: Vec<_> = columns
        .into_iter()
        .map(|c| Described { in_identity: c.in_identity || identity == 'f', ..c })
        .collect();
    let mut stream = Stream::default();
    stream.begin(LSN, COMMIT_US, 741).relation(OID, ("public", "orders"), identity, &columns);
    build(&mut stream);
    stream.commit(LSN, LSN + 48);
    let mut decoder = Decoder::new(options(&[("public", "orders", "orders")]));
    let mut facts = TableFacts { kind, ..orders() };
    facts.columns[2].not_null = true;
    decoder.provide(OID, Some(facts));
    decode_all(&mut decoder, &stream.bytes).remove(0)
}

fn partitioned(build: impl FnOnce(&mut Stream)) -> ChangeBatch {
    changes_of(('p', 'f'), build)
}

fn records(kind: FormatKind, batch: &ChangeBatch) -> Vec<(Option<String>, String)> {
    let out = encode(config(kind), batch);
    let value = |record| String::from_utf8_lossy(out.value(record)).into_owned();
    keys(&out).into_iter().zip(out.records.iter().map(value)).collect()
}

#[test]
fn its_changes_are_what_they_are_under_the_default_identity() {
    let new = [text("42"), Cell::Unchanged, text("2")];
    let moved = [text("43"), Cell::Unchanged, text("2")];
    let changes = |old: u8| {
        move |s: &mut Stream| {
            s.update(OID, None, &new).update(OID, Some((old, &key_only("42"))), &moved).delete(
                OID,
                old,
                &key_only("43"),
            );
        }
    };
    for kind in [
        FormatKind::DtsAvro,
        FormatKind::ShareplexJson,
        FormatKind::CanalJson,
        FormatKind::DebeziumJson,
    ] {
        // The server says `O`, the whole old row, because the table's identity is FULL.
        let seen = records(kind, &partitioned(changes.clone()(b'O')));
        let plain = records(kind, &changes_of(('r', 'd'), changes.clone()(b'K')));
        assert_eq!(seen, plain, "{kind:?}");
    }
}

#[test]
fn those_that_have_full_keep_their_old_rows() {
    let batch = partitioned(|s| {
        let old = [text("42"), Cell::Null, text("1")];
        s.update(OID, Some((b'O', &old)), &row("42", "n", "2")).delete(OID, b'O', &old);
    });
    let rows: Vec<_> = batch.changes().iter().map(|change| change.old_row).collect();
    assert_eq!(rows, [OldRow::Full, OldRow::Full]);
    let out = json_of(&encode(config(FormatKind::CanalJson), &batch));
    assert_eq!(out[0]["old"], json!([{"note": null, "amount": "1"}]));
}

#[test]
fn a_value_that_was_not_sent_again_is_never_taken_for_null() {
    // `note` may be NULL, so nothing tells that the old row is the key alone.
    let batch = batch('f', |s| {
        let new = [text("43"), Cell::Unchanged, text("1")];
        s.update(OID, Some((b'O', &key_only("42"))), &new);
    });
    let out = json_of(&encode(config(FormatKind::CanalJson), &batch));
    assert_eq!(out[1]["data"], json!([{"id": "43", "amount": "1"}]));
}

#[test]
fn without_a_key_of_the_table_an_update_without_its_old_row_is_refused() {
    // Of a table that is not partitioned, or has no primary key, nothing tells what did not change.
    let batch = batch('f', |s| {
        s.insert(OID, &row("1", "n", "1")).update(OID, None, &row("2", "m", "1"));
    });
    let fault = Fault::from(try_encode(config(FormatKind::DtsAvro), &batch).expect_err("stops"));
    assert_eq!(fault.kind, FaultKind::Encode);
    assert!(fault.message.contains("lacks its old row"), "{fault}");
    assert!(fault.remedy.contains("deadLetterTopic"), "{fault}");
    let out = encode(dead_letters::with_dead_letters(1 << 20), &batch);
    let topics: Vec<_> = out.records.iter().map(|record| record.topic).collect();
    assert_eq!(topics, [0, 1], "the update goes there");
}
