use tidewire_shared::spec::{ColumnChoice, NamePattern, ObjectRule, Operations, TablePattern};

use super::*;
use crate::facts::{ColumnFacts, PublishedTable, TypeFacts, UniqueKey};

fn name(table: &str) -> TableName {
    TableName { schema: "public".into(), table: table.into() }
}

fn column(name: &str, oid: u32) -> ColumnFacts {
    let base = TypeFacts {
        oid,
        name: String::new(),
        schema: "pg_catalog".into(),
        kind: 'b',
        element: 0,
        element_kind: 'b',
        labels: Vec::new(),
    };
    ColumnFacts {
        name: name.into(),
        type_oid: oid,
        type_modifier: -1,
        not_null: true,
        generated: false,
        default: None,
        base,
    }
}

/// `orders(id bigint primary key, amount numeric, secret text)`.
fn orders() -> TableFacts {
    TableFacts {
        name: name("orders"),
        oid: 7,
        kind: 'r',
        persistence: 'p',
        identity: 'd',
        selectable: true,
        owned: true,
        columns: vec![column("id", 20), column("amount", 1700), column("secret", 25)],
        unique_keys: vec![UniqueKey {
            name: "orders_pkey".into(),
            primary: true,
            replica_identity: false,
            not_null: true,
            columns: vec!["id".into()],
        }],
    }
}

fn plans(
    change: impl FnOnce(&mut ObjectRule),
    facts: &TableFacts,
    version: u32,
) -> PublicationPlans {
    let mut rule = ObjectRule {
        tables: vec![name("orders")],
        topic: "orders".into(),
        ..ObjectRule::default()
    };
    change(&mut rule);
    let tables = TaskTables::resolve(&[rule], "shop", &[]).expect("tables");
    PublicationPlans::managed(&tables, &[], std::slice::from_ref(facts), version)
}

fn filtered(filter: &str) -> impl FnOnce(&mut ObjectRule) {
    let filter = filter.to_owned();
    move |rule| rule.filter = filter
}

#[test]
fn conditions_are_pushed_only_where_the_identity_holds_their_columns() {
    let pushed = |filter: &str, facts: &TableFacts, version| {
        plans(filtered(filter), facts, version).changes.tables[0].row_filter.clone()
    };
    assert_eq!(pushed("id > 5", &orders(), 150_000).as_deref(), Some("(\"id\" > 5)"));
    assert_eq!(pushed("id > 5", &orders(), 140_000), None);
    assert_eq!(pushed("amount > 5", &orders(), 150_000), None);
    let full = TableFacts { identity: 'f', ..orders() };
    assert!(pushed("amount > 5", &full, 150_000).is_some());
    let root = TableFacts { kind: 'p', ..orders() };
    assert_eq!(pushed("id > 5", &root, 150_000), None);
}

#[test]
fn a_table_of_inserts_alone_is_published_apart_and_filtered_there() {
    let inserts = Operations { insert: true, update: false, delete: false, truncate: true };
    let change = |rule: &mut ObjectRule| {
        rule.operations = inserts;
        rule.filter = "amount > 5".into();
        rule.columns = ColumnChoice { include: vec!["secret".into()], exclude: vec![] };
    };
    let plans = plans(change, &orders(), 150_000);
    assert!(plans.changes.tables.is_empty());
    let inserts = plans.inserts.expect("publication of inserts");
    assert!(inserts.publish.truncate && !inserts.publish.update && !inserts.publish.delete);
    assert_eq!(inserts.tables[0].row_filter.as_deref(), Some("(\"amount\" > 5)"));
    let listed = inserts.tables[0].columns.as_deref().expect("listed");
    assert_eq!(listed, ["amount", "secret"]);
}

#[test]
fn column_lists_are_pushed_for_inclusion_and_only_around_the_identity() {
    let listed = |include: &[&str], exclude: &[&str], facts: &TableFacts| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let choice = ColumnChoice { include: owned(include), exclude: owned(exclude) };
        plans(|rule| rule.columns = choice, facts, 150_000).changes.tables[0].columns.clone()
    };
    assert!(listed(&["id", "amount"], &[], &orders()).is_some());
    assert_eq!(listed(&["amount"], &[], &orders()), None);
    assert_eq!(listed(&[], &["secret"], &orders()), None);
    let full = TableFacts { identity: 'f', ..orders() };
    assert_eq!(listed(&["id", "amount"], &[], &full), None);
}

fn planned(table: &str, oid: u32, named: bool) -> PublishTable {
    PublishTable { name: name(table), oid, named, columns: None, row_filter: None }
}

fn plan(tables: &[PublishTable]) -> PublicationPlan {
    PublicationPlan { tables: tables.to_vec(), publish: Operations::default() }
}

fn seen(tables: &[(&str, u32)]) -> PublicationFacts {
    let table = |(table, oid): &(&str, u32)| PublishedTable {
        name: name(table),
        oid: *oid,
        row_filter: None,
        columns: None,
        generated: Vec::new(),
    };
    PublicationFacts {
        oid: 1,
        name: "p".into(),
        all_tables: false,
        insert: true,
        update: true,
        delete: true,
        truncate: false,
        via_root: true,
        tables: tables.iter().map(table).collect(),
    }
}

fn noted(tables: &[PublishTable]) -> Note {
    Note { text: note(tables), transaction: 70 }
}

#[test]
fn a_note_tells_our_last_transactions() {
    let tables = [planned("a", 1, true)];
    let mut noted = noted(&tables);
    assert_eq!(noted.transactions(), [70].into());
    for transaction in 71..100 {
        let alignment = align(&plan(&tables), &seen(&[("a", 1)]), Some(&noted)).expect("planned");
        assert!(alignment.is_empty(), "what is noted beside the tables is none");
        noted = Note { text: alignment.note, transaction };
    }
    let last: Vec<_> = noted.transactions().into_iter().collect();
    assert_eq!(last, (83..100).collect::<Vec<_>>());
}

#[test]
fn tables_that_appear_are_added_and_those_taken_out_by_others_stop_the_task() {
    let before = [planned("a", 1, true), planned("b", 2, false)];
    let noted = noted(&before);
    let all = seen(&[("a", 1), ("b", 2)]);
    assert!(align(&plan(&before), &all, Some(&noted)).expect("as planned").is_empty());

    let later = [before[0].clone(), before[1].clone(), planned("c", 3, false)];
    let alignment = align(&plan(&later), &all, Some(&noted)).expect("one more");
    assert_eq!((alignment.add.as_slice(), alignment.drop.len()), (&later[2..], 0));
    assert_eq!(alignment.note, format!("{}\nchanged before in transactions 70", note(&later)));

    let taken_out = align(&plan(&before), &seen(&[("a", 1)]), Some(&noted)).expect_err("b is gone");
    assert_eq!(taken_out.kind, FaultKind::SourceState);
}

#[test]
fn another_table_under_a_name_that_the_task_names_stops_it_but_a_pattern_takes_it() {
    let noted = noted(&[planned("a", 1, true), planned("b", 2, false)]);
    let none = seen(&[]);
    assert!(align(&plan(&[planned("a", 9, true)]), &none, Some(&noted)).is_err());
    let again = align(&plan(&[planned("b", 9, false)]), &none, Some(&noted)).expect("new table");
    assert_eq!(again.add.len(), 1);
    assert!(align(&plan(&[planned("a", 1, true)]), &none, None).is_err());
}

#[test]
fn a_table_that_was_renamed_meanwhile_is_told_so_and_lost_is_nothing() {
    let noted = noted(&[planned("a", 1, true), planned("b", 2, false)]);
    let there = seen(&[("b", 2), ("z", 1)]);
    // There is none of its name now, or another one.
    for oid in [0, 9] {
        let before = plan(&[planned("a", oid, true), planned("b", 2, false)]);
        let fault = align(&before, &there, Some(&noted)).expect_err("another name");
        assert!(fault.message.contains("called public.z now"), "{fault}");
        assert!(
            fault.remedy.contains("rename it back") && fault.remedy.contains("nothing is lost")
        );
    }
    let followed =
        align(&plan(&[planned("b", 2, false), planned("z", 1, true)]), &there, Some(&noted));
    assert!(followed.expect("the document says so").is_empty());
    let both = plan(&[planned("a", 9, true), planned("b", 2, false), planned("z", 1, true)]);
    let added = align(&both, &there, Some(&noted)).expect("and a new table under the old name").add;
    assert_eq!(added, [planned("a", 9, true)]);
}

#[test]
fn a_table_that_left_the_task_leaves_the_publication_and_foreign_ones_stay() {
    let noted = noted(&[planned("a", 1, true), planned("b", 2, false)]);
    let there = seen(&[("a", 1), ("b", 2), ("beats", 5)]);
    let alignment =
        align(&plan(&[planned("a", 1, true)]), &there, Some(&noted)).expect("one fewer");
    assert_eq!(alignment.drop, [name("b")]);
}

#[test]
fn a_table_with_another_condition_is_published_anew() {
    let noted = noted(&[planned("a", 1, true)]);
    let now = PublishTable { row_filter: Some("(id > 1)".into()), ..planned("a", 1, true) };
    let alignment = align(&plan(&[now]), &seen(&[("a", 1)]), Some(&noted)).expect("changed");
    assert_eq!((alignment.add.len(), alignment.drop.len()), (1, 1));
}

#[test]
fn patterns_do_not_name_tables() {
    let any = TablePattern {
        schema: NamePattern::Exact("public".into()),
        table: NamePattern::Glob("*".into()),
    };
    let rule = ObjectRule { patterns: vec![any], topic: "t".into(), ..ObjectRule::default() };
    let listed = [crate::objects::ListedTable { name: name("a"), oid: 4, ancestors: Vec::new() }];
    let tables = TaskTables::resolve(&[rule], "shop", &listed).expect("tables");
    let plans = PublicationPlans::managed(&tables, &listed, &[], 150_000);
    assert!(!plans.changes.tables[0].named);
    assert!(plans.inserts.is_some_and(|plan| plan.tables.is_empty()), "ready for later tables");
    assert!(!PublicationPlans::existing(&tables).changes.tables[0].named);
}

#[test]
fn a_condition_outside_of_the_identity_is_told_unless_only_inserts_go_out() {
    let untold = |filter: &str, facts: &TableFacts, update| {
        let operations = Operations { update, delete: false, ..Operations::default() };
        let rule = ObjectRule {
            tables: vec![name("orders")],
            topic: "orders".into(),
            filter: filter.into(),
            operations,
            ..ObjectRule::default()
        };
        let tables = TaskTables::resolve(&[rule], "shop", &[]).expect("tables");
        super::untold(tables.rule(&name("orders")).expect("rule"), facts).join(", ")
    };
    assert_eq!(untold("id > 5 AND amount > 5", &orders(), true), "amount");
    assert_eq!(untold("id > 5", &orders(), true), "");
    assert_eq!(untold("amount > 5", &orders(), false), "");
    assert_eq!(untold("amount > 5", &TableFacts { identity: 'f', ..orders() }, true), "");
}

#[test]
fn the_comment_of_someone_else_does_not_hide_that_a_table_was_taken_out() {
    let named = plan(&[planned("a", 1, true)]);
    let foreign = Note { text: "owned by the data team".into(), transaction: 70 };
    assert!(align(&named, &seen(&[]), Some(&foreign)).is_err());
    assert!(foreign.transactions().is_empty());
    let alignment = align(&named, &seen(&[("a", 1)]), Some(&foreign)).expect("as planned");
    assert_eq!(alignment.note, note(&named.tables));
}

#[test]
fn a_publication_that_was_narrowed_is_mended() {
    let wanted = plan(&[planned("a", 1, true), planned("b", 9, true), planned("c", 3, false)]);
    let noted = noted(&wanted.tables);
    let whole = seen(&[("a", 1), ("b", 9), ("c", 3)]);
    assert!(mend(&wanted, &whole, Some(&noted)).is_empty());
    let mut narrowed = seen(&[("a", 1), ("c", 3), ("gone", 5)]);
    narrowed.tables[0].row_filter = Some("id > 1".into());
    narrowed.delete = false;
    let before = super::tests::noted(&[wanted.tables[0].clone(), planned("gone", 5, true)]);
    let mended = mend(&wanted, &narrowed, Some(&before));
    assert!(mended.publish);
    assert_eq!(mended.add, wanted.tables[..2]);
    assert_eq!(mended.drop, [name("gone"), name("a")]);
    assert_eq!(mended.note, format!("{}\nchanged before in transactions 70", note(&wanted.tables)));
}
