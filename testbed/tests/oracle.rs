//! The oracle on trial: the truth of a real workload is complete.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use tidewire_testbed::oracle::truth::{Change, keys};
use tidewire_testbed::oracle::{Datum, Operation, TruthSlot, column};
use tidewire_testbed::servers::{Postgres, PostgresOptions};
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
