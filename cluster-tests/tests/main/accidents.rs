//! Accidents of the source: either the task goes on and nothing is lost or doubled, or it stops and
//! says what happened, where, what would be lost, and how to go on.
//!
//! All tasks here share one cluster; each has a database, a topic and a table of its own.

use std::time::{Duration, Instant};

use postgres::Client;
use serde_json::Value;
use tidewire_cluster_tests::{Scene, kafka, postgres};
use tidewire_testbed::servers::free_port;
use tidewire_testbed::servers::postgres::StopMode;
use tidewire_testbed::servers::{Postgres, PostgresOptions};

use crate::solo::{LIMIT, TABLE, Task, cluster, hosts};

pub(crate) fn own_server(version: &str, settings: &[(&str, &str)]) -> Postgres {
    let setting = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let settings = settings.iter().map(setting).collect();
    Postgres::start(PostgresOptions { version: version.to_owned(), settings }).unwrap()
}

/// Longer than the publication is left unwatched, and a stream built anew.
const WATCHED: Duration = Duration::from_secs(13);

pub(crate) const V17: &str = "17.6.0";
pub(crate) const V18: &str = "18.0.0";

#[test]
fn a_server_that_restarts_in_any_way_loses_nothing() {
    let mut server = own_server(V17, &[("max_prepared_transactions", "2")]);
    let mut task = Task::start("restarts", &server);
    // A transaction in two phases outlives them all, and is a change when it is committed.
    task.sql("BEGIN; INSERT INTO t VALUES (8000000, 'x'); PREPARE TRANSACTION 'half'");
    let restarts: [fn(&mut Postgres); 3] = [
        |server| server.restart(StopMode::Fast).unwrap(),
        |server| server.restart(StopMode::Immediate).unwrap(),
        |server| {
            server.kill();
            // Its sessions end by themselves, and a new server waits for none of them.
            std::thread::sleep(Duration::from_secs(1));
            server.resume().unwrap();
        },
    ];
    for (round, restart) in (0..).zip(restarts) {
        let address = task.address.clone();
        let writer = std::thread::spawn(move || -> Option<()> {
            let mut client = address.connect().ok()?;
            for id in round * 1_000_000.. {
                // What is not answered may be committed or not: the table knows.
                client.execute("INSERT INTO t VALUES ($1, 'x')", &[&id]).ok()?;
            }
            None
        });
        std::thread::sleep(Duration::from_secs(1));
        restart(&mut server);
        writer.join().unwrap();
        task.reconnect(server.address());
    }
    task.insert(9_000_000..=9_000_010);
    task.sql("COMMIT PREPARED 'half'");
    assert!(task.delivered_inserts_of_the_table() > 100);
}

/// Waits until a standby holds the slot for good.
pub(crate) fn wait_synced(standby: &Postgres, slot: &str) {
    let mut client = standby.address().connect_to("postgres").unwrap();
    let end = Instant::now() + LIMIT;
    let synced = "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1::text::name AND synced \
                  AND NOT temporary AND invalidation_reason IS NULL";
    while client.query(synced, &[&slot]).unwrap().is_empty() {
        assert!(Instant::now() < end, "slot {slot} is not ready on the standby");
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(crate) fn wait_replayed(standby: &Postgres, primary: &mut Client) {
    let lsn: String =
        primary.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).unwrap().get(0);
    let mut client = standby.address().connect_to("postgres").unwrap();
    let end = Instant::now() + LIMIT;
    let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
    while !client.query_one(replayed, &[&lsn]).unwrap().get::<_, bool>(0) {
        assert!(Instant::now() < end, "the standby does not follow");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A task that went over to a promoted standby, and that server, which was the second. Others may be
/// started at the ports.
fn over_a_first_switch(name: &'static str, version: &str, ports: &[u16; 3]) -> (Task, Postgres) {
    let mut first = own_server(version, &[]);
    let address = first.address().clone();
    let mut task = Task::with(name, &first, TABLE, |yaml| hosts(&yaml, &address, ports));
    let second = first.standby(ports[0]).unwrap();
    task.insert(1..=100);
    second.wait_synced(&task.slot, LIMIT).unwrap();
    task.insert(101..=200);
    wait_replayed(&second, &mut task.client);
    first.kill();
    second.promote().unwrap();
    task.reconnect(second.address());
    task.insert(201..=300);
    assert_eq!(task.delivered_inserts_of_the_table(), 300, "over the first switch");
    (task, second)
}

fn three_ports() -> [u16; 3] {
    [free_port().unwrap(), free_port().unwrap(), free_port().unwrap()]
}

#[test]
fn a_task_follows_a_promoted_standby_of_18() {
    let (task, second) = over_a_first_switch("promoted-18", V18, &three_ports());
    task.pause();
    let slot = "SELECT failover AND wal_status = 'reserved' FROM pg_replication_slots \
                WHERE slot_name = $1::text::name";
    let mut client = second.address().connect_to("postgres").unwrap();
    assert!(
        client.query_one(slot, &[&task.slot]).unwrap().get::<_, bool>(0),
        "the slot that was copied"
    );
    task.resume();
    assert_eq!(task.delivered().len(), 300);
}

#[test]
fn a_task_follows_a_promoted_standby_twice_and_is_led_on_where_history_parts() {
    let ports = three_ports();
    let (mut task, mut second) = over_a_first_switch("promoted", V17, &ports);

    let mut third = second.standby(ports[1]).unwrap();
    third.wait_synced(&task.slot, LIMIT).unwrap();
    task.insert(301..=400);
    wait_replayed(&third, &mut task.client);
    second.kill();
    third.promote().unwrap();
    task.reconnect(third.address());
    task.insert(401..=500);
    assert_eq!(task.delivered_inserts_of_the_table(), 500, "over the second switch");

    let mut fourth = third.standby(ports[2]).unwrap();
    fourth.wait_synced(&task.slot, LIMIT).unwrap();
    wait_replayed(&fourth, &mut task.client);
    fourth.kill();
    task.insert(501..=510);
    assert_eq!(task.delivered_inserts_of_the_table(), 510, "ahead of the standby");
    third.kill();
    fourth.resume().unwrap();
    fourth.promote().unwrap();
    let words = ["SourceHistory", "timeline", "does not exist any more", "rewind NAME --to 0/"];
    task.shows("Failed", &words);
    assert_eq!(task.read().len(), 510, "nothing of the other history went out");
    task.reconnect(fourth.address());
    task.insert(511..=515);
    let told = task.goes_on_as_told();
    assert!(told.contains("does not exist any more"), "{told}");
    task.insert(516..=520);
    let ids: Vec<i32> = task.delivered().into_iter().map(|(_, id)| id.parse().unwrap()).collect();
    assert_eq!(ids, (1..=520).collect::<Vec<_>>(), "all of the new history, and nothing twice");
    let history = cluster().done(&["task", "history", task.name]).unwrap();
    assert!(history.contains("does not exist any more"), "{history}");
}

#[test]
fn a_promoted_standby_without_the_slot_stops_the_task() {
    let mut first = own_server("15.14.0", &[]);
    let port = free_port().unwrap();
    let address = first.address().clone();
    let mut task = Task::with("unslotted", &first, TABLE, |yaml| hosts(&yaml, &address, &[port]));
    let second = first.standby(port).unwrap();
    task.insert(1..=10);
    wait_replayed(&second, &mut task.client);
    assert_eq!(task.delivered_inserts_of_the_table(), 10);
    first.kill();
    second.promote().unwrap();
    let slot = task.slot.clone();
    task.shows("Failed", &["SourceState", &slot, "does not exist any more", "--to now --yes"]);
    task.reconnect(second.address());
    task.insert(11..=12);
    task.goes_on_as_told();
    task.insert(13..=15);
    let ids: Vec<i32> = task.delivered().into_iter().map(|(_, id)| id.parse().unwrap()).collect();
    assert_eq!(ids, (1..=10).chain(13..=15).collect::<Vec<_>>());
}

#[test]
fn a_slot_that_was_made_again_stops_the_task_also_in_mid_run() {
    let remake = |slot: &str| {
        format!(
            "SELECT pg_drop_replication_slot('{slot}'); \
             SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        )
    };
    let mut task = Task::start("remade", postgres());
    task.insert(1..=5);
    assert_eq!(task.delivered_inserts_of_the_table(), 5);
    task.pause();
    task.insert(6..=6);
    let slot = task.slot.clone();
    task.sql(&remake(&slot));
    task.refuses_to_resume(&[&slot, "moved ahead", "not delivered"]);

    let mut task = Task::start("remade-running", postgres());
    let slot = task.slot.clone();
    let remade = (0..300).any(|_| {
        task.cut();
        task.client.batch_execute(&remake(&slot)).is_ok()
    });
    assert!(remade, "the task was always quicker");
    task.shows("Failed", &["SourceHistory", &slot, "moved ahead"]);
}

#[test]
fn a_slot_that_the_server_invalidated_stops_the_task_with_the_reason() {
    let server = own_server(V18, &[]);
    let mut admin = server.connect().unwrap();
    let mut set = |setting: &str| {
        admin.batch_execute(&format!("ALTER SYSTEM SET {setting}")).unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").unwrap();
        std::thread::sleep(Duration::from_millis(300));
    };
    let wal = "SELECT pg_logical_emit_message(false, 'x', 'x'); SELECT pg_switch_wal(); CHECKPOINT";
    let mut task = Task::start("outrun", &server);
    task.pause();
    set("max_slot_wal_keep_size = '16MB'");
    for _ in 0..5 {
        task.sql(wal);
    }
    let slot = task.slot.clone();
    task.refuses_to_resume(&[&slot, "invalidated", "wal_removed", "cannot be had any more"]);

    let older = own_server("15.14.0", &[("max_slot_wal_keep_size", "16MB")]);
    let mut task = Task::start("outrun-15", &older);
    task.pause();
    for _ in 0..5 {
        task.sql(wal);
    }
    let slot = task.slot.clone();
    task.refuses_to_resume(&[&slot, "invalidated", "its log was removed"]);
    drop((task, older));

    set("max_slot_wal_keep_size = '-1'");
    let mut task = Task::start("idled", &server);
    task.pause();
    set("idle_replication_slot_timeout = '1s'");
    std::thread::sleep(Duration::from_millis(1500));
    task.sql("CHECKPOINT");
    let slot = task.slot.clone();
    task.refuses_to_resume(&[&slot, "invalidated", "idle_timeout", "cannot be had any more"]);
    set("idle_replication_slot_timeout = '0'");

    let mut task = Task::start("republished", &server);
    task.insert(1..=3);
    assert_eq!(task.delivered_inserts_of_the_table(), 3);
    let publication = task.slot.clone();
    task.sql(&format!("DROP PUBLICATION {publication}"));
    task.insert(4..=4);
    let with = "WITH (publish = 'insert, update, delete', publish_via_partition_root = true)";
    task.sql(&format!("CREATE PUBLICATION {publication} FOR TABLE t {with}"));
    task.shows("Failed", &["SourceState", &publication, "dropped and created again"]);
    task.refuses_to_resume(&[&publication, "dropped and created again"]);
}

#[test]
fn a_publication_that_lacks_something_for_a_moment_stops_the_task() {
    let mut task = Task::start("unlisted", postgres());
    task.insert(1..=3);
    assert_eq!(task.delivered_inserts_of_the_table(), 3);
    let publication = task.slot.clone();
    task.sql(&format!("ALTER PUBLICATION {publication} DROP TABLE t"));
    task.insert(4..=4);
    task.sql(&format!("ALTER PUBLICATION {publication} ADD TABLE t"));
    task.shows("Failed", &["SourceState", &publication, "taken out and put back", "resume"]);
    task.resume();
    task.insert(5..=5);
    let ids: Vec<_> = task.delivered().into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["1", "2", "3", "5"], "the user went on with the gap that was named");

    task.sql(&format!("ALTER PUBLICATION {publication} SET (publish = 'update')"));
    task.insert(6..=6);
    let all = "publish = 'insert, update, delete'";
    task.sql(&format!("ALTER PUBLICATION {publication} SET ({all})"));
    task.shows("Failed", &["SourceState", &publication, "altered"]);
}

#[test]
fn columns_and_types_change_in_mid_stream_and_nothing_is_lost() {
    let create = |client: &mut Client| Ok(client.batch_execute(TABLE)?);
    let mut scene = Scene::on_tables("ddl", 1, kafka(), &["public.t"], create).unwrap();
    let steps = [
        "INSERT INTO t VALUES (1, 'a')",
        "ALTER TABLE t ADD COLUMN n int DEFAULT 7",
        "INSERT INTO t VALUES (2, 'b', 8); UPDATE t SET n = 9 WHERE id = 1",
        "ALTER TABLE t ALTER COLUMN n TYPE numeric(8,2) USING n / 2.0",
        "INSERT INTO t VALUES (3, 'c', 1.25)",
        "CREATE TYPE mood AS ENUM ('sad', 'glad'); ALTER TABLE t ADD COLUMN m mood",
        "INSERT INTO t VALUES (4, 'd', 2, 'glad'); UPDATE t SET m = 'sad' WHERE id < 3",
        "ALTER TYPE mood ADD VALUE 'so so'",
        "INSERT INTO t VALUES (5, 'e', 3, 'so so')",
        "CREATE DOMAIN small AS int CHECK (VALUE < 10); ALTER TABLE t ADD COLUMN s small",
        "UPDATE t SET s = id",
        "ALTER TABLE t ALTER COLUMN s TYPE text",
        "ALTER TABLE t RENAME COLUMN note TO remark",
        "INSERT INTO t (id, remark, s) VALUES (6, 'f', 'six')",
        "ALTER TABLE t DROP COLUMN n",
        "UPDATE t SET remark = remark || '!'",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "UPDATE t SET remark = 'full' WHERE id = 1; DELETE FROM t WHERE id = 2",
        "ALTER TABLE t REPLICA IDENTITY DEFAULT",
        "UPDATE t SET id = 60 WHERE id = 6; DELETE FROM t WHERE id = 3",
        "INSERT INTO t (id, remark) VALUES (7, 'g')",
    ];
    // Slowly, so that the catalog is looked at in between; then all at once, so that it has gone on.
    for step in steps {
        scene.client.batch_execute(step).unwrap();
        std::thread::sleep(Duration::from_millis(150));
    }
    scene.cluster.wait("orders", "caught-up", LIMIT).unwrap();
    scene.cluster.done(&["task", "pause", "orders", "--wait", "--timeout", "30s"]).unwrap();
    let again = "DROP TYPE mood CASCADE; DROP DOMAIN small; ALTER TABLE t RENAME COLUMN remark TO note; \
         ALTER TABLE t DROP COLUMN s; DELETE FROM t";
    scene.client.batch_execute(again).unwrap();
    for step in steps {
        scene.client.batch_execute(step).unwrap();
    }
    scene.cluster.done(&["task", "resume", "orders", "--wait", "--timeout", "30s"]).unwrap();
    scene.prove().unwrap();
}

#[test]
fn a_table_that_is_renamed_stops_the_task_and_loses_nothing() {
    let mut task = Task::start("renamed", postgres());
    task.insert(1..=2);
    assert_eq!(task.delivered_inserts_of_the_table(), 2);
    task.sql("ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (3, 'x')");
    task.shows("Failed", &["SourceState", "is called", "rename it back"]);
    task.sql("INSERT INTO u VALUES (4, 'x'); ALTER TABLE u RENAME TO t");
    task.resume();
    task.insert(5..=5);
    assert_eq!(task.delivered_inserts_of_the_table(), 5);

    task.pause();
    task.sql("ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (6, 'x')");
    task.refuses_to_resume(&["called public.u now", "rename it back", "nothing is lost"]);
    task.sql("ALTER TABLE u RENAME TO t");
    task.resume();
    assert_eq!(task.delivered_inserts_of_the_table(), 6);

    task.sql("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, note text)");
    task.insert(6..=6);
    task.shows("Failed", &["SourceState", "no longer holds table public.t", "are lost"]);
}

#[test]
fn partitions_come_and_go() {
    let create = "CREATE TABLE public.t (id int PRIMARY KEY, note text) PARTITION BY RANGE (id); \
         CREATE TABLE public.p1 PARTITION OF public.t FOR VALUES FROM (0) TO (10)";
    let mut task = Task::with("partitions", postgres(), create, |yaml| yaml);
    task.insert(1..=1);
    task.sql(
        "CREATE TABLE p2 (id int PRIMARY KEY, note text); INSERT INTO p2 VALUES (11, 'before'); \
         ALTER TABLE t ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)",
    );
    task.insert(12..=12);
    task.sql("INSERT INTO p2 VALUES (13, 'x'); ALTER TABLE t DETACH PARTITION p1");
    task.sql("INSERT INTO p1 VALUES (2, 'alone')");
    task.insert(14..=14);
    let ids: Vec<_> = task.delivered().into_iter().map(|(_, id)| id).collect();
    assert_eq!(
        ids,
        ["1", "12", "13", "14"],
        "what a partition held or does alone is not the table's"
    );
}

#[test]
fn a_table_that_is_attached_to_another_one_of_the_task_goes_on_under_its_name() {
    let create = "CREATE TABLE public.t (id int PRIMARY KEY, note text) PARTITION BY RANGE (id); \
         CREATE TABLE public.p1 PARTITION OF public.t FOR VALUES FROM (0) TO (10); \
         CREATE TABLE public.p2 (id int PRIMARY KEY, note text)";
    let by_pattern = |yaml: String| yaml.replace("['public.t']", "['public.t', 'public.p*']");
    let mut task = Task::with("attached", postgres(), create, by_pattern);
    task.insert(1..=1);
    task.sql(
        "INSERT INTO p2 VALUES (11, 'alone'); \
         ALTER TABLE t ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)",
    );
    task.insert(12..=12);
    std::thread::sleep(WATCHED);
    task.insert(2..=2);
    task.sql("INSERT INTO p2 VALUES (13, 'x'); ALTER TABLE t DETACH PARTITION p2");
    task.sql("INSERT INTO p2 VALUES (14, 'alone')");
    std::thread::sleep(WATCHED);
    task.sql("INSERT INTO p2 VALUES (15, 'alone')");
    let ids: Vec<_> = task.delivered().into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["1", "11", "12", "2", "13", "14", "15"]);
}

#[test]
fn a_rotated_password_and_a_revoked_right_are_told_and_come_back() {
    let mut task = Task::with(
        "rotated",
        postgres(),
        &format!(
            "CREATE ROLE rotated LOGIN REPLICATION PASSWORD 'one'; {TABLE}; \
             ALTER TABLE t OWNER TO rotated; GRANT CREATE ON DATABASE rotated TO rotated"
        ),
        |yaml| {
            yaml.replace("user: postgres", "user: rotated")
                .replace("{value: tidewire}", "{value: one}")
        },
    );
    task.insert(1..=1);
    assert_eq!(task.delivered_inserts_of_the_table(), 1, "by then every session is open");
    task.sql("ALTER ROLE rotated PASSWORD 'two'");
    task.insert(2..=2);
    assert_eq!(task.delivered_inserts_of_the_table(), 2, "sessions that are open go on");
    task.cut();
    task.shows("Retrying", &["rotated", "28P01"]);
    task.insert(3..=3);
    task.sql("ALTER ROLE rotated PASSWORD 'one'");
    assert_eq!(task.delivered_inserts_of_the_table(), 3);

    task.sql("ALTER ROLE rotated NOREPLICATION");
    task.cut();
    task.shows("Failed", &["SourceDenied", "42501", "REPLICATION"]);
    task.sql("ALTER ROLE rotated REPLICATION");
    task.insert(4..=4);
    task.resume();
    assert_eq!(task.delivered_inserts_of_the_table(), 4);
}

#[test]
fn a_paused_task_shows_the_log_it_holds_and_gives_it_up_at_its_limit() {
    let budget = "  walBudget: {warn: 40MiB, limit: 100MiB, atLimit: drop_slot}\ntarget:\n";
    let with_budget = |yaml: String| yaml.replace("target:\n", budget);
    let mut task = Task::with("budget", postgres(), TABLE, with_budget);
    task.pause();
    let mut state = |awaited: &str| {
        let end = Instant::now() + LIMIT;
        loop {
            task.sql("SELECT pg_logical_emit_message(false, 'x', 'x'); SELECT pg_switch_wal()");
            let shown = cluster().task("budget").unwrap();
            if shown.pointer("/wal/state") == Some(&Value::from(awaited)) {
                return shown;
            }
            assert!(Instant::now() < end, "not {awaited}: {shown}");
            std::thread::sleep(Duration::from_secs(2));
        }
    };
    let warned = state("warn");
    assert!(warned["walRetainedBytes"].as_u64() >= Some(40 << 20), "{warned}");
    let slot = task.slot.clone();
    let lost =
        ["SourceState", slot.as_str(), "walBudget.limit", "drop_slot", "lost", "--to now --yes"];
    let end = Instant::now() + LIMIT;
    while cluster().task("budget").unwrap()["phase"] != "Failed" {
        assert!(Instant::now() < end, "the slot is still there");
        task.sql("SELECT pg_logical_emit_message(false, 'x', 'x'); SELECT pg_switch_wal()");
        std::thread::sleep(Duration::from_secs(1));
    }
    task.shows("Failed", &lost);
    let there = "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1::text::name";
    assert!(task.client.query(there, &[&slot]).unwrap().is_empty());
    task.refuses_to_resume(&[&slot, "does not exist any more"]);
    task.goes_on_as_told();
    task.insert(1..=3);
    assert_eq!(task.delivered_inserts_of_the_table(), 3);
}

#[test]
fn beats_in_a_table_are_seen_in_the_source_and_by_nobody_else() {
    let beats = "  heartbeat: {mode: table, interval: 1s}\ntarget:\n";
    let mut task = Task::with("beats", postgres(), TABLE, |yaml| yaml.replace("target:\n", beats));
    task.insert(1..=2);
    assert_eq!(task.delivered_inserts_of_the_table(), 2);
    let row = "SELECT update_time, revice_lsn::pg_lsn, dts_service_time \
               FROM tidewire.dts_postgres_heartbeat WHERE slot_name = $1";
    let slot = task.slot.clone();
    let beat = |client: &mut Client| client.query_one(row, &[&slot]).unwrap().get::<_, i64>(2);
    let first = beat(&mut task.client);
    std::thread::sleep(Duration::from_secs(3));
    assert!(beat(&mut task.client) > first);
    let shown = cluster().task("beats").unwrap();
    assert_eq!(shown.pointer("/counters/filtered"), Some(&Value::from(0)), "{shown}");
    assert_eq!(shown.pointer("/counters/transactions"), Some(&Value::from(1)), "{shown}");
    assert!(shown["delayMs"].as_u64() < Some(2_000), "{shown}");
    assert_eq!(task.delivered_inserts_of_the_table(), 2);
    cluster().done(&["task", "delete", "beats"]).unwrap();
    let left = "SELECT 1 FROM tidewire.dts_postgres_heartbeat";
    let end = Instant::now() + LIMIT;
    while !task.client.query(left, &[]).unwrap().is_empty() {
        assert!(Instant::now() < end, "its row did not go with the task");
        std::thread::sleep(Duration::from_millis(200));
    }
}
