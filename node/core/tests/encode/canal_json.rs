//! Canal's flat messages.

use super::*;

fn canal(batch: &ChangeBatch) -> Vec<Value> {
    json_of(&encode(config(FormatKind::CanalJson), batch))
}

#[test]
fn an_insert_is_this_text() {
    let batch = batch('d', |s| {
        s.insert(OID, &row("42", "fi\"rst", "12.50")).insert(OID, &key_only("43"));
    });
    let out = encode(EncodeConfig { next_ordinal: 7, ..config(FormatKind::CanalJson) }, &batch);
    assert_eq!(
        std::str::from_utf8(out.value(&out.records[0])).expect("UTF-8"),
        concat!(
            r#"{"id":7,"database":"shop","table":"orders","pkNames":["id"],"isDdl":false,"#,
            r#""type":"INSERT","es":1786342560123,"ts":1786342561000,"sql":"","#,
            r#""sqlType":{"id":-5,"note":12,"amount":2},"#,
            r#""mysqlType":{"id":"int8","note":"text","amount":"numeric"},"#,
            r#""data":[{"id":"42","note":"fi\"rst","amount":"12.50"}],"old":null,"#,
            r#""gtid":"0/16B3748@1"}"#
        )
    );
    let second = &json_of(&out)[1];
    assert_eq!(second["data"], json!([{"id": "43", "note": null, "amount": null}]));
    assert_eq!((&second["id"], &second["gtid"]), (&json!(8), &json!("0/16B3748@2")));
}

#[test]
fn old_has_what_changed_where_the_old_row_is_known() {
    let new = [text("42"), Cell::Unchanged, text("2")];
    let without = batch('d', |s| {
        s.update(OID, None, &new);
    });
    let record = canal(&without).remove(0);
    assert_eq!(record["type"], "UPDATE");
    assert_eq!(record["data"], json!([{"id": "42", "amount": "2"}]), "not sent, so left out");
    assert_eq!(record["old"], Value::Null);
    assert_eq!(record["sqlType"]["note"], 12, "types do not depend on what was sent");

    let full = batch('f', |s| {
        s.update(OID, Some((b'O', &row("42", "n", "1"))), &new);
        s.update(OID, Some((b'O', &[text("42"), Cell::Null, text("2")])), &row("42", "n", "2"));
        s.update(OID, Some((b'O', &row("42", "n", "2"))), &row("42", "n", "2"));
    });
    let records = canal(&full);
    assert_eq!(records[0]["data"], json!([{"id": "42", "note": "n", "amount": "2"}]));
    let old: Vec<_> = records.iter().map(|record| record["old"].clone()).collect();
    assert_eq!(old, [json!([{"amount": "1"}]), json!([{"note": null}]), json!([{}])]);
}

#[test]
fn a_delete_has_the_row_that_was() {
    let of = |identity, kind, old: &[Cell]| {
        canal(&batch(identity, |s| {
            s.delete(OID, kind, old);
        }))
        .remove(0)
    };
    let key = of('d', b'K', &key_only("42"));
    assert_eq!((&key["type"], &key["old"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(key["data"], json!([{"id": "42"}]));
    let full = of('f', b'O', &row("42", "n", "1"));
    assert_eq!(full["data"], json!([{"id": "42", "note": "n", "amount": "1"}]));
}

#[test]
fn a_key_change_that_is_kept_tells_the_old_key() {
    let keep = EncodeConfig { key_change: KeyChange::Keep, ..config(FormatKind::CanalJson) };
    let records = json_of(&encode(keep, &key_change()));
    assert_eq!((records.len(), &records[0]["type"]), (1, &json!("UPDATE")));
    assert_eq!(records[0]["old"], json!([{"id": "1"}]));
    let types: Vec<_> = canal(&key_change()).iter().map(|record| record["type"].clone()).collect();
    assert_eq!(types, ["DELETE", "INSERT"]);
}

#[test]
fn a_truncate_is_a_statement_and_other_schemas_are_named() {
    let mut stream = Stream::default();
    let odd = ("a.b", "c\"d");
    stream.begin(LSN, COMMIT_US, 741).relation(OID, odd, 'd', &columns());
    stream.insert(OID, &row("1", "n", "1")).truncate(&[OID]).commit(LSN, LSN + 8);
    let mut tables = TaskTables::new(&rules(&[(odd.0, odd.1, "orders")])).expect("rules");
    tables.set_operations(&name(odd.0, odd.1), |operations| operations.truncate = true);
    let mut decoder = Decoder::new(Options::new(tables, Lsn::ZERO));
    decoder.provide(OID, Some(orders()));
    let batch = decode_all(&mut decoder, &stream.bytes).remove(0);
    let records = canal(&batch);
    assert_eq!(records[0]["table"], "a.b.c\"d");
    assert_eq!(records.len(), 1 + 4, "one for each partition");
    let truncate = &records[1];
    assert_eq!((&truncate["isDdl"], &truncate["type"]), (&json!(true), &json!("TRUNCATE")));
    assert_eq!(truncate["sql"], "TRUNCATE TABLE \"a.b\".\"c\"\"d\"");
    for empty in ["pkNames", "sqlType", "mysqlType", "data", "old"] {
        assert_eq!(truncate.get(empty), Some(&Value::Null), "{empty}");
    }
}

#[test]
fn a_table_without_a_key_has_no_names_of_one() {
    let mut stream = Stream::default();
    let columns = [described(true, "a", 25)];
    stream.begin(LSN, COMMIT_US, 741).relation(OID, ("public", "orders"), 'f', &columns);
    stream.insert(OID, &[text("x")]).commit(LSN, LSN + 8);
    let mut decoder = Decoder::new(options(&[("public", "orders", "orders")]));
    decoder.provide(OID, Some(facts(OID, name("public", "orders"), &columns, Vec::new())));
    let batch = decode_all(&mut decoder, &stream.bytes).remove(0);
    assert_eq!(canal(&batch)[0].get("pkNames"), Some(&Value::Null));
}
