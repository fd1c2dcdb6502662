//! What a source has lost is named, and the command that the error names goes on without it: everything
//! that is committed behind the new place arrives exactly once, and the choice is on record.

use std::time::Duration;

use tidewire_cluster_tests::postgres;
use tidewire_testbed::servers::{Postgres, free_port};

use crate::accidents::{V17, V18, own_server, wait_replayed, wait_synced};
use crate::solo::{TABLE, Task, cluster, hosts};

const AT_LEAST_ONCE: (&str, &str) = ("delivery: exactly_once", "delivery: at_least_once");

/// A task whose records carry identities.
fn start(name: &'static str, server: &Postgres) -> Task {
    Task::with(name, server, TABLE, |yaml| {
        let yaml = yaml.replace("type: dts_avro", "type: dts_avro, headers: identity");
        if name.ends_with("-alo") { yaml.replace(AT_LEAST_ONCE.0, AT_LEAST_ONCE.1) } else { yaml }
    })
}

/// These rows arrived, each once and in order, under ids that were not given out again.
fn arrived(task: &Task, expected: impl IntoIterator<Item = i32>) {
    let ids: Vec<i32> = task.delivered().into_iter().map(|(_, id)| id.parse().unwrap()).collect();
    assert_eq!(ids, expected.into_iter().collect::<Vec<_>>());
    let records = task.records();
    let rising = records.windows(2).all(|pair| pair[0].id < pair[1].id);
    assert!(rising, "{:?}", records.iter().map(|record| record.id).collect::<Vec<_>>());
}

/// The choice is in the history, with its range, and in the log of the task.
fn on_record(task: &Task, words: &str) {
    let history = cluster().done(&["task", "history", task.name]).unwrap();
    assert!(history.contains(words) && history.contains('@'), "{words} is not in {history}");
    let log = cluster().done(&["task", "logs", task.name]).unwrap();
    assert!(log.contains(words) && log.contains("incarnation 1"), "{words} is not in {log}");
}

fn a_slot_that_was_moved_ahead(name: &'static str) {
    let mut task = start(name, postgres());
    task.insert(1..=5);
    arrived(&task, 1..=5);
    let early = cluster().cli(&["task", "rewind", name, "--to", "slot", "--yes"]).unwrap();
    assert_eq!(early.code, 4, "it runs: {}", early.stderr);
    task.pause();
    task.insert(6..=8);
    let slot = task.slot.clone();
    task.sql(&format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"));
    task.insert(9..=10);
    task.refuses_to_resume(&[&slot, "moved ahead", "rewind NAME --to slot --yes"]);
    let asked = cluster().cli(&["task", "rewind", name, "--to", "slot"]).unwrap();
    assert_eq!(asked.code, 2, "{}", asked.stderr);
    assert!(asked.stderr.contains("are never delivered"), "{}", asked.stderr);
    let far = cluster().cli(&["task", "rewind", name, "--to", "FF/0", "--yes"]).unwrap();
    assert!(far.code == 4 && far.stderr.contains("name slot, now or a position"), "{}", far.stderr);
    task.refuses_to_resume(&[&slot, "moved ahead"]);
    let told = task.goes_on_as_told();
    assert!(told.contains("are never delivered"), "{told}");
    task.insert(11..=12);
    arrived(&task, (1..=5).chain(9..=12));
    on_record(&task, "are never delivered");
    let incarnations: Vec<_> = task.headers("tw.inc");
    let second = Some("1".to_owned());
    assert_eq!(incarnations[..5], [const { None }; 5]);
    assert!(incarnations[5..].iter().all(|it| *it == second), "{incarnations:?}");
}

#[test]
fn a_task_goes_on_behind_a_slot_that_was_moved_ahead() {
    a_slot_that_was_moved_ahead("ahead");
    a_slot_that_was_moved_ahead("ahead-alo");
}

fn a_slot_that_was_dropped(name: &'static str) {
    let mut task = start(name, postgres());
    task.insert(1..=3);
    arrived(&task, 1..=3);
    task.pause();
    let slot = task.slot.clone();
    task.sql(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    task.insert(4..=4);
    task.sql(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
    task.insert(5..=5);
    task.refuses_to_resume(&[&slot, "moved ahead", "--to slot --yes"]);
    task.goes_on_as_told();
    arrived(&task, (1..=3).chain([5]));

    task.pause();
    task.sql(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    task.insert(6..=6);
    task.refuses_to_resume(&[&slot, "does not exist any more", "--to now --yes"]);
    let nowhere = cluster().cli(&["task", "rewind", name, "--to", "slot", "--yes"]).unwrap();
    assert!(nowhere.code == 4 && nowhere.stderr.contains("--to now --yes"), "{}", nowhere.stderr);
    let told = task.goes_on_as_told();
    assert!(told.contains(&format!("slot {slot} is made anew")), "{told}");
    task.insert(7..=8);
    arrived(&task, [1, 2, 3, 5, 7, 8]);
    on_record(&task, "is made anew");
}

#[test]
fn a_task_goes_on_with_a_slot_that_was_dropped_or_made_again() {
    a_slot_that_was_dropped("regained");
    a_slot_that_was_dropped("regained-alo");
}

fn a_slot_that_was_invalidated(name: &'static str, server: &Postgres) {
    let mut task = start(name, server);
    task.insert(1..=3);
    arrived(&task, 1..=3);
    task.pause();
    task.insert(4..=5);
    for _ in 0..5 {
        let fill =
            "SELECT pg_logical_emit_message(false, 'x', 'x'); SELECT pg_switch_wal(); CHECKPOINT";
        task.sql(fill);
    }
    task.refuses_to_resume(&[&task.slot, "invalidated", "--to now --yes"]);
    task.goes_on_as_told();
    task.insert(6..=9);
    arrived(&task, (1..=3).chain(6..=9));
    on_record(&task, "are never delivered");
}

#[test]
fn a_task_goes_on_past_a_slot_that_the_server_invalidated() {
    let small = [("max_slot_wal_keep_size", "16MB")];
    a_slot_that_was_invalidated("invalidated", &own_server(V18, &small));
    let older = own_server("15.14.0", &small);
    a_slot_that_was_invalidated("invalidated-15", &older);
    a_slot_that_was_invalidated("invalidated-alo", &older);
}

/// A transaction is open while the publication is made again: its changes from before cannot be decoded.
fn a_publication_that_was_made_again(name: &'static str, server: &Postgres) {
    let mut task = start(name, server);
    task.insert(1..=3);
    arrived(&task, 1..=3);
    let mut other = task.address.connect().unwrap();
    other.batch_execute("BEGIN; INSERT INTO t VALUES (100, 'open')").unwrap();
    let publication = task.slot.clone();
    task.sql(&format!("DROP PUBLICATION {publication}"));
    task.insert(4..=4);
    let with = "WITH (publish = 'insert, update, delete')";
    task.sql(&format!("CREATE PUBLICATION {publication} FOR TABLE t {with}"));
    task.shows("Failed", &[&publication]);
    // What the server itself says of it may still be on its way.
    std::thread::sleep(Duration::from_secs(1));
    task.refuses_to_resume(&[&publication, "dropped and created again", "--to now --yes"]);
    let end = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        other.batch_execute("COMMIT").unwrap();
    });
    let told = task.goes_on_as_told();
    end.join().unwrap();
    assert!(told.contains("the publication is another one"), "{told}");
    task.insert(5..=6);
    arrived(&task, (1..=3).chain(5..=6));

    task.sql(&format!("DROP PUBLICATION {publication}"));
    task.shows("Failed", &[&publication]);
    task.refuses_to_resume(&[&publication, "does not exist any more", "--to now --yes"]);
    task.goes_on_as_told();
    task.insert(7..=8);
    arrived(&task, (1..=3).chain(5..=8));
}

#[test]
fn a_task_goes_on_with_a_publication_that_was_made_again() {
    a_publication_that_was_made_again("published-anew", postgres());
    a_publication_that_was_made_again("published-anew-alo", postgres());
    a_publication_that_was_made_again("published-anew-15", &own_server("15.14.0", &[]));
    a_publication_that_was_made_again("published-anew-18", &own_server(V18, &[]));
}

#[test]
fn of_a_publication_that_was_narrowed_only_what_it_hid_is_lost() {
    let mut task = start("narrowed", postgres());
    task.insert(1..=3);
    arrived(&task, 1..=3);
    task.pause();
    task.insert(4..=5);
    let publication = task.slot.clone();
    task.sql(&format!("ALTER PUBLICATION {publication} DROP TABLE t"));
    task.insert(6..=6);
    task.refuses_to_resume(&[&publication, "does not publish public.t any more", "--to "]);
    let told = task.goes_on_as_told();
    assert!(told.contains("as before"), "{told}");
    task.insert(7..=8);
    arrived(&task, (1..=5).chain(7..=8));
}

#[test]
fn a_task_keeps_to_the_promoted_server_when_the_old_primary_is_up_again() {
    let mut old = own_server(V17, &[]);
    let port = free_port().unwrap();
    let address = old.address().clone();
    let mut task = Task::with("old-primary", &old, TABLE, |yaml| hosts(&yaml, &address, &[port]));
    let new = old.standby(port).unwrap();
    task.insert(1..=5);
    wait_synced(&new, &task.slot);
    arrived(&task, 1..=5);
    task.pause();
    wait_replayed(&new, &mut task.client);
    old.kill();
    new.promote().unwrap();
    old.resume().unwrap();
    // Whoever still writes to the old primary writes for nobody.
    task.reconnect(old.address());
    task.insert(1_000..=1_005);
    task.reconnect(new.address());
    task.insert(6..=10);
    task.resume();
    arrived(&task, 1..=10);
    let log = cluster().done(&["task", "logs", task.name]).unwrap();
    let passed = format!("passes over 127.0.0.1:{}, which accepts writes too", address.port);
    assert!(log.contains(&passed), "{passed} is not in {log}");

    // By now the position is on the new timeline, from which the old primary does not descend.
    task.cut();
    task.insert(11..=15);
    arrived(&task, 1..=15);
}
