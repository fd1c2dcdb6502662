//! The oracle on trial: the truth of a real workload is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use tidewire_testbed::oracle::truth::{Change, keys};
use tidewire_testbed::oracle::{Datum, Operation, Row, TruthSlot, column};
use tidewire_testbed::servers::{Postgres, PostgresOptions};
use tidewire_testbed::variety::{self, Variety};
use tidewire_testbed::workload::{self, TABLES, Workload, WorkloadOptions};

/// The orders that exist after `changes`, with their amounts.
fn replay(changes: &[Change]) -> BTreeMap<String, Datum> {
    let mut orders = BTreeMap::new();
    let id = |row| match column(row, "id") {
        Some(Datum::Text(id)) => id.to_string(),
        other => panic!("{other:?}"),
    };
    for change in changes.iter().filter(|change| &*change.table == "public.orders") {
        if change.operation != Operation::Insert
            && let Some(before) = &change.before
        {
            orders.remove(&id(before));
        }
        if let Some(after) = &change.after {
            orders.insert(id(after), column(after, "amount").cloned().unwrap_or(Datum::Missing));
        }
    }
    orders
}

#[test]
fn the_truth_slot_gives_every_committed_change_and_no_other() {
    let postgres = Postgres::start(PostgresOptions::default()).unwrap();
    let mut client = postgres.connect().unwrap();
    workload::create_tables(&mut client).unwrap();
    let mut truth = TruthSlot::create(&mut client, "truth", &TABLES).unwrap();
    let options = WorkloadOptions { rows_per_second: 3_000, ..WorkloadOptions::default() };
    let load = Workload::start(postgres.address(), &options).unwrap();
    thread::sleep(Duration::from_secs(3));
    let written = load.stop().unwrap();
    workload::big_transaction(&mut client, 9_000_000_000, 5_000).unwrap();
    let changes = truth.take(&mut client).unwrap();
    assert!(written.rows > 1_000, "{written:?}");
    assert_eq!(u64::try_from(changes.len()).unwrap(), written.rows + 5_000);
    assert!(changes.is_sorted_by_key(|change| (change.commit_end, change.number)));
    assert!(changes.iter().any(|change| change.operation == Operation::Delete));
    let rows = client.query("SELECT id::text, amount::text FROM public.orders", &[]).unwrap();
    let orders: BTreeMap<String, Datum> =
        rows.iter().map(|row| (row.get(0), Datum::Text(row.get::<_, String>(1).into()))).collect();
    assert_eq!(replay(&changes), orders);
    assert_eq!(keys(&mut client, &TABLES).unwrap()["public.lines"], ["order_id", "line"]);
    truth.drop(&mut client).unwrap();
}

/// The keys of the rows of a table that exist after `changes`.
fn keys_left(changes: &[Change], table: &str, columns: &[&str]) -> BTreeSet<Vec<String>> {
    let key = |row: &Row| {
        let text = |name: &&str| match column(row, name) {
            Some(Datum::Text(text)) => text.to_string(),
            other => panic!("{name}: {other:?}"),
        };
        columns.iter().map(text).collect::<Vec<_>>()
    };
    let mut left = BTreeSet::new();
    for change in changes.iter().filter(|change| &*change.table == table) {
        if change.operation == Operation::Truncate {
            left.clear();
        }
        if let Some(before) = change.before.as_ref() {
            left.remove(&key(before));
        }
        left.extend(change.after.as_ref().map(key));
    }
    left
}

#[test]
fn the_truth_follows_truncates_partitions_and_transactions_in_two_phases() {
    let (name, value) = variety::SETTING;
    let settings = vec![(name.to_owned(), value.to_owned())];
    let postgres = Postgres::start(PostgresOptions { settings, ..Default::default() }).unwrap();
    let mut client = postgres.connect().unwrap();
    variety::create_tables(&mut client).unwrap();
    let tables = variety::tables(17);
    let truth = TruthSlot::create(&mut client, "truth", &tables).unwrap();
    let mut truth = truth.inserts_only(&[variety::KEYLESS]).truncated(&tables);
    let variety = Variety::start(postgres.address(), 5).unwrap();
    for statement in ["TRUNCATE public.labels", "TRUNCATE public.regions"] {
        thread::sleep(Duration::from_secs(4));
        client.batch_execute(statement).unwrap();
    }
    thread::sleep(Duration::from_secs(4));
    assert!(variety.stop().unwrap() > 100);
    let changes = truth.take(&mut client).unwrap();
    let truncates = changes.iter().filter(|change| change.operation == Operation::Truncate);
    assert!(truncates.count() >= 2);
    let of_events = |change: &&Change| &*change.table == variety::KEYLESS;
    assert!(changes.iter().filter(of_events).all(|change| change.before.is_none()));
    for (table, columns) in
        [("public.labels", vec!["code"]), ("public.regions", vec!["region", "id"])]
    {
        let text = columns.iter().map(|name| format!("{name}::text")).collect::<Vec<_>>();
        let rows = format!("SELECT {} FROM {table}", text.join(", "));
        let rows = client.query(&rows, &[]).unwrap();
        let row = |row: &postgres::Row| (0..columns.len()).map(|at| row.get(at)).collect();
        let expected: BTreeSet<Vec<String>> = rows.iter().map(row).collect();
        assert_eq!(keys_left(&changes, table, &columns), expected, "{table}");
    }
    truth.drop(&mut client).unwrap();
}
