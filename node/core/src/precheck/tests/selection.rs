//! Columns, names and conditions of a task against its tables.

use tidewire_shared::spec::{ColumnChoice, Operations};

use super::*;
use crate::facts::{ColumnFacts, TypeFacts};

fn column(name: &str, oid: u32) -> ColumnFacts {
    ColumnFacts {
        name: name.into(),
        type_oid: oid,
        type_modifier: -1,
        not_null: false,
        generated: false,
        default: None,
        base: TypeFacts {
            oid,
            name: String::new(),
            schema: "pg_catalog".into(),
            kind: 'b',
            element: 0,
            element_kind: 'b',
            labels: Vec::new(),
        },
    }
}

/// The items of a task on `"Orders" (id bigint primary key, amount numeric, note text)`.
fn judged_rule(identity: char, change: impl FnOnce(&mut ObjectRule)) -> Vec<CheckItem> {
    let mut seen = source();
    seen.tables[0].identity = identity;
    seen.tables[0].columns = vec![column("id", 20), column("amount", 1700), column("note", 25)];
    let mut spec = spec();
    change(&mut spec.objects[0]);
    judged(&spec, false, &seen)
}

fn columns(include: &[&str], exclude: &[&str]) -> ColumnChoice {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    ColumnChoice { include: owned(include), exclude: owned(exclude) }
}

#[test]
fn columns_that_do_not_fit_the_table_fail_the_precheck() {
    let found = |change: fn(&mut ObjectRule)| {
        let item = named(judged_rule('d', change), "column_types");
        assert_eq!(item.result, CheckResult::Fail, "{item:?}");
        item.found
    };
    let table = "\"public\".\"Orders\"";
    for (change, wanted) in [
        (
            (|rule| rule.columns = columns(&["id", "gone"], &[])) as fn(&mut ObjectRule),
            format!("{table} has no column \"gone\""),
        ),
        (
            |rule| rule.columns = columns(&[], &["secert"]),
            format!("{table} has no column \"secert\""),
        ),
        (
            |rule| rule.columns = columns(&[], &["id"]),
            format!("{table}: \"id\" is part of the key and may not be left out"),
        ),
        (
            |rule| rule.rename.columns = [("note".to_owned(), "amount".to_owned())].into(),
            format!("{table}: two columns would be called \"amount\""),
        ),
        (
            |rule| rule.filter = "gone = 1".into(),
            format!("{table}: the condition `where` names column gone, which is not there"),
        ),
        (
            |rule| rule.filter = "note > 'x'".into(),
            format!(
                "{table}: the condition `where` compares column note, but the order of its type is \
                 not known here"
            ),
        ),
    ] {
        assert_eq!(found(change), wanted);
    }
    let fits = |rule: &mut ObjectRule| {
        rule.columns = columns(&[], &["note"]);
        rule.rename.columns = [("amount".to_owned(), "note".to_owned())].into();
        rule.filter = "id > 5 AND note IS NULL".into();
    };
    let item = named(judged_rule('f', fits), "column_types");
    assert_eq!(item.result, CheckResult::Pass, "{item:?}");
}

#[test]
fn a_condition_needs_its_columns_in_the_replica_identity() {
    let keyed = |identity, filter: &str, operations| {
        let change = |rule: &mut ObjectRule| {
            rule.filter = filter.to_owned();
            rule.operations = operations;
        };
        named(judged_rule(identity, change), "tables_keyed")
    };
    let item = keyed('d', "id > 5 AND amount > 10", Operations::default());
    assert_eq!(item.result, CheckResult::Fail);
    assert!(item.found.ends_with("where needs amount, not in the replica identity"), "{item:?}");
    assert!(item.remedy.contains("REPLICA IDENTITY FULL"));
    let inserts = Operations { update: false, delete: false, ..Operations::default() };
    for (identity, filter, operations) in [
        ('d', "id > 5", Operations::default()),
        ('f', "amount > 10", Operations::default()),
        ('d', "amount > 10", inserts),
        ('n', "amount > 10", inserts),
    ] {
        let item = keyed(identity, filter, operations);
        assert_eq!(item.result, CheckResult::Pass, "{item:?}");
    }
    assert_eq!(keyed('n', "", Operations::default()).result, CheckResult::Fail);
}
