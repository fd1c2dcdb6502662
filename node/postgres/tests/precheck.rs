//! Every item of a precheck that a server can be brought into, as a user reads it, and the remedy that
//! repairs it.

mod rare;
mod support;

use std::time::{Duration, Instant};

use support::{VERSIONS, server, sql, table};
use tidewire_node_core::objects::resolve;
use tidewire_node_core::precheck::{SourceLook, judge_source};
use tidewire_postgres::Source;
use tidewire_postgres::precheck::{Wanted, precheck};
use tidewire_shared::precheck::{CheckItem, CheckResult};
use tidewire_shared::spec::{
    Format, HeartbeatMode, KafkaTarget, Limits, Managed, ObjectRule, PartitionPolicy, PostgresTask,
    Retry, SlotFailover, StartAt,
};
use tidewire_shared::{FaultKind, SecretRef};
use tidewire_testbed::servers::postgres::Postgres;

const SLOT: &str = "tidewire_k3v9_0";

/// A task of these tables, for the role `tide`.
fn task(server: &Postgres, tables: &[&str]) -> PostgresTask {
    let mut source = support::spec(server);
    source.user = "tide".into();
    source.password = Some(SecretRef::Value("t".into()));
    PostgresTask {
        name: "orders".parse().expect("name"),
        display_name: String::new(),
        source,
        target: KafkaTarget { brokers: vec!["127.0.0.1:9092".into()], ..KafkaTarget::default() },
        objects: vec![ObjectRule {
            tables: tables.iter().map(|name| table(name)).collect(),
            topic: "orders".into(),
            ..ObjectRule::default()
        }],
        format: Format::default(),
        partition: PartitionPolicy::ByPrimaryKey,
        key_change: tidewire_shared::spec::KeyChange::Split,
        delivery: tidewire_shared::spec::Delivery::default(),
        start: StartAt::default(),
        on_bad_record: tidewire_shared::spec::BadRecord::default(),
        retry: Retry::default(),
        limits: Limits::default(),
        alerts: Vec::new(),
    }
}

async fn judged(spec: &PostgresTask) -> Vec<CheckItem> {
    let source = Source::new(&spec.source, "precheck").expect("source");
    let tables = resolve(&spec.objects, &spec.source.database, &[]);
    let names: Vec<_> = tables.iter().map(|table| table.name.clone()).collect();
    let (slot, publication) = (spec.source.slot.name(SLOT), spec.source.publication.name(SLOT));
    let heartbeat = spec.source.heartbeat.beats_into();
    let wanted = Wanted {
        slot: &slot,
        publication: &publication,
        tables: &names,
        heartbeat: heartbeat.as_ref(),
    };
    let seen = precheck(&source, wanted).await;
    judge_source(&SourceLook {
        spec,
        tables: &tables,
        slot: &slot,
        publication: &publication,
        started_before: false,
        slot_owners: &[],
        seen: seen.as_ref(),
    })
}

/// The items that do not pass.
async fn wrong(spec: &PostgresTask) -> Vec<CheckItem> {
    let mut items = judged(spec).await;
    items.retain(|item| item.result != CheckResult::Pass);
    items
}

/// The one item that does not pass, in the words of a user.
async fn only(spec: &PostgresTask, name: &str) -> CheckItem {
    let mut items = wrong(spec).await;
    assert!(items.len() == 1 && items[0].name == name, "{name} alone: {items:#?}");
    let item = items.remove(0);
    assert!(!item.found.is_empty() && !item.message.is_empty() && !item.remedy.is_empty());
    item
}

/// Runs a remedy that is SQL, statement by statement, as an administrator would.
async fn repair(server: &Postgres, remedy: &str) {
    let address = server.address().clone();
    let statements: Vec<String> = remedy.split_inclusive(';').map(str::to_owned).collect();
    let run = move || {
        let mut client = address.connect().expect("connect");
        for statement in statements {
            client.batch_execute(&statement).expect(&statement);
        }
    };
    tokio::task::spawn_blocking(run).await.expect("remedy");
}

/// Holds the one item that is wrong against what it must say, repairs it by its own remedy, and sees
/// that nothing is wrong any more.
async fn says_and_repairs(
    server: &Postgres,
    spec: &PostgresTask,
    expected: (&str, CheckResult, &str, &str),
) {
    let (name, result, found, remedy) = expected;
    let item = only(spec, name).await;
    assert_eq!((item.result, &*item.found, &*item.remedy), (result, found, remedy), "{item:?}");
    repair(server, remedy).await;
    assert_eq!(wrong(spec).await, [], "after {remedy}");
}

const ROLE: &str = "CREATE ROLE tide LOGIN REPLICATION PASSWORD 't';
    DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO tide', current_database()); END $$;
    GRANT CREATE ON SCHEMA public TO tide";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_lacks_is_named_with_the_statement_that_repairs_it() {
    use CheckResult::{Fail, Warn};
    let settings = [("max_prepared_transactions", "5")];
    let server = server(VERSIONS[2], &settings);
    sql(&server, ROLE).await;
    sql(&server, "CREATE TABLE t (id int PRIMARY KEY, scan oid); ALTER TABLE t OWNER TO tide")
        .await;
    let spec = task(&server, &["t"]);
    let items = judged(&spec).await;
    assert!(items.iter().all(|item| item.result == CheckResult::Pass), "{items:#?}");
    let says = async |before: &str, expected| {
        for statement in before.split_inclusive(';') {
            sql(&server, statement).await;
        }
        says_and_repairs(&server, &spec, expected).await;
    };

    let remedy = "ALTER ROLE \"tide\" REPLICATION;";
    let found = "role \"tide\" has no REPLICATION";
    says("ALTER ROLE tide NOREPLICATION", ("source_account", Fail, found, remedy)).await;

    let found = "\"public\".\"t\" may not be read";
    let remedy = "GRANT SELECT ON \"public\".\"t\" TO \"tide\";";
    says("REVOKE SELECT ON t FROM tide", ("tables_exist", Fail, found, remedy)).await;

    let found = "no usable replica identity: \"public\".\"t\"";
    let remedy = "ALTER TABLE \"public\".\"t\" REPLICA IDENTITY DEFAULT;";
    says("ALTER TABLE t REPLICA IDENTITY NOTHING", ("tables_keyed", Fail, found, remedy)).await;

    let found = "\"public\".\"t\" is unlogged";
    let remedy = "ALTER TABLE \"public\".\"t\" SET LOGGED;";
    says("ALTER TABLE t SET UNLOGGED", ("tables_logged", Fail, found, remedy)).await;

    let found = "max_slot_wal_keep_size 1GiB, source.walBudget.limit 50GiB; \
                 idle_replication_slot_timeout 1h";
    let remedy = "ALTER SYSTEM SET max_slot_wal_keep_size = '51200MB'; \
                  ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();";
    let before = "ALTER SYSTEM SET max_slot_wal_keep_size = '1GB';
        ALTER SYSTEM SET idle_replication_slot_timeout = '1h';
        SELECT pg_reload_conf(); SELECT pg_sleep(0.3)";
    says(before, ("wal_retention", Warn, found, remedy)).await;

    let function = "pg_catalog.pg_logical_emit_message(boolean,text,text,boolean)";
    let found = format!("role \"tide\" may not call {function}");
    let remedy = format!("GRANT EXECUTE ON FUNCTION {function} TO \"tide\";");
    let before = format!("REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC");
    says(&before, ("heartbeat_rights", Fail, &found, &remedy)).await;

    let found = "synchronized_standby_slots names gone, which does not exist";
    let remedy = "ALTER SYSTEM SET synchronized_standby_slots = ''; SELECT pg_reload_conf();";
    let before = "SELECT pg_create_physical_replication_slot('gone');
        ALTER SYSTEM SET synchronized_standby_slots = 'gone'; SELECT pg_reload_conf();
        SELECT pg_drop_replication_slot('gone'); SELECT pg_sleep(0.3)";
    says(before, ("slot_failover", Fail, found, remedy)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_around_the_tables_is_named() {
    let server = server(VERSIONS[2], &[("max_prepared_transactions", "5")]);
    sql(&server, ROLE).await;
    sql(&server, "CREATE TABLE t (id int PRIMARY KEY, scan oid); ALTER TABLE t OWNER TO tide")
        .await;
    let spec = task(&server, &["t"]);
    let database = spec.source.database.clone();

    sql(&server, "SELECT lo_create(4711)").await;
    let item = only(&spec, "large_objects").await;
    let found = "large objects, and columns of type oid: \"public\".\"t\".\"scan\"";
    assert_eq!((item.result, &*item.found), (CheckResult::Warn, found));
    sql(&server, "SELECT lo_unlink(4711)").await;
    assert_eq!(wrong(&spec).await, []);

    let prepare = "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'half'";
    let address = server.address().clone();
    let run = move || address.connect().expect("connect").batch_execute(prepare).expect("prepared");
    tokio::task::spawn_blocking(run).await.expect("prepared");
    let item = only(&spec, "long_transactions").await;
    let found = format!("prepared transaction 'half' in {database}, 0 s");
    assert_eq!((item.result, &item.found), (CheckResult::Warn, &found));
    assert_eq!(item.message, "the slot of the task is made only when they are over");
    let remedy = item.remedy.strip_prefix("end them: ").expect("a statement");
    assert_eq!(remedy, "COMMIT PREPARED 'half';");
    repair(&server, remedy).await;
    assert_eq!(wrong(&spec).await, []);

    sql(&server, "SELECT pg_create_logical_replication_slot('tidewire_other_0', 'pgoutput')").await;
    let item = only(&spec, "slots_on_database").await;
    assert_eq!((item.result, &*item.found), (CheckResult::Warn, "tidewire_other_0"));
    sql(&server, "SELECT pg_drop_replication_slot('tidewire_other_0')").await;

    sql(&server, "ALTER TABLE t ADD twice int GENERATED ALWAYS AS (id * 2) STORED").await;
    let item = only(&spec, "column_types").await;
    let found = "generated columns: \"public\".\"t\".\"twice\"";
    assert_eq!((item.result, &*item.found, item.overridable), (CheckResult::Warn, found, false));
    sql(&server, "ALTER TABLE t DROP COLUMN twice").await;

    let other = "CREATE DATABASE other";
    sql(&server, other).await;
    let mut elsewhere = server.address().clone();
    "other".clone_into(&mut elsewhere.database);
    let make = format!("SELECT pg_create_logical_replication_slot('{SLOT}', 'pgoutput')");
    let run = move || elsewhere.connect().expect("connect").batch_execute(&make).expect("slot");
    tokio::task::spawn_blocking(run).await.expect("slot");
    let item = only(&spec, "slot_state").await;
    assert_eq!(item.message, format!("it belongs to database other, not {database}"));
    assert_eq!(item.remedy, format!("SELECT pg_drop_replication_slot('{SLOT}');"));
    repair(&server, &item.remedy).await;

    sql(
        &server,
        "CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
        ALTER TABLE root OWNER TO tide",
    )
    .await;
    let item = only(&task(&server, &["root"]), "partition_roots").await;
    assert_eq!(
        (item.result, &*item.found),
        (CheckResult::Warn, "partitioned: \"public\".\"root\"")
    );
    let mut old = spec.clone();
    old.source.slot_failover = SlotFailover::Off;
    old.source.heartbeat.mode = HeartbeatMode::Off;
    let item = only(&old, "heartbeat_rights").await;
    assert_eq!(item.remedy, "write source.heartbeat.mode: auto");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_or_heartbeat_table_of_someone_else_is_held_against_the_task() {
    use CheckResult::Fail;
    let server = server(VERSIONS[1], &[]);
    sql(&server, ROLE).await;
    sql(
        &server,
        "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO tide;
        CREATE TABLE u (id int PRIMARY KEY); ALTER TABLE u OWNER TO tide",
    )
    .await;
    let mut spec = task(&server, &["t", "u"]);
    spec.source.publication = Managed::Existing("shop pub".into());
    let found = "publication \"shop pub\" does not exist";
    let remedy = "CREATE PUBLICATION \"shop pub\" FOR TABLE \"public\".\"t\", \"public\".\"u\" \
                  WITH (publish = 'insert, update, delete', publish_via_partition_root = true);";
    says_and_repairs(&server, &spec, ("publication", Fail, found, remedy)).await;

    sql(&server, "ALTER PUBLICATION \"shop pub\" DROP TABLE u").await;
    let found = "it does not hold \"public\".\"u\"";
    let remedy = "ALTER PUBLICATION \"shop pub\" ADD TABLE \"public\".\"u\";";
    says_and_repairs(&server, &spec, ("publication", Fail, found, remedy)).await;

    sql(&server, "ALTER PUBLICATION \"shop pub\" SET (publish = 'insert')").await;
    let found = "it does not publish update, delete";
    let remedy = "ALTER PUBLICATION \"shop pub\" SET (publish = 'insert, update, delete');";
    says_and_repairs(&server, &spec, ("publication", Fail, found, remedy)).await;

    sql(&server, "ALTER PUBLICATION \"shop pub\" SET TABLE t WHERE (id > 3), u").await;
    let item = only(&spec, "publication").await;
    assert_eq!(
        (item.result, &*item.found),
        (CheckResult::Warn, "\"public\".\"t\" has a row filter")
    );
    sql(&server, "DROP PUBLICATION \"shop pub\"").await;

    let mut spec = task(&server, &["t"]);
    spec.source.slot_failover = SlotFailover::On;
    let item = only(&spec, "slot_failover").await;
    assert_eq!(item.message, "slots follow a failover from PostgreSQL 17 on");
    assert_eq!(item.remedy, "write source.slot.failover: off, or upgrade the server");
    spec.source.slot_failover = SlotFailover::Auto;

    spec.source.heartbeat.mode = HeartbeatMode::Table;
    assert_eq!(wrong(&spec).await, [], "schema and table can be made");
    sql(&server, "CREATE SCHEMA tidewire").await;
    let found = "role \"tide\" may not create in schema \"tidewire\"";
    let remedy = "GRANT USAGE, CREATE ON SCHEMA \"tidewire\" TO \"tide\";";
    says_and_repairs(&server, &spec, ("heartbeat_rights", Fail, found, remedy)).await;
    sql(
        &server,
        "CREATE TABLE tidewire.dts_postgres_heartbeat (slot_name text PRIMARY KEY);
        GRANT SELECT, INSERT, UPDATE, DELETE ON tidewire.dts_postgres_heartbeat TO tide",
    )
    .await;
    let found = "\"tidewire\".\"dts_postgres_heartbeat\" is not owned by role \"tide\", so it cannot \
                 publish it";
    let remedy = "ALTER TABLE \"tidewire\".\"dts_postgres_heartbeat\" OWNER TO \"tide\";";
    says_and_repairs(&server, &spec, ("heartbeat_rights", Fail, found, remedy)).await;
    sql(
        &server,
        "REVOKE ALL ON tidewire.dts_postgres_heartbeat FROM tide;
        REVOKE ALL ON SCHEMA tidewire FROM tide",
    )
    .await;
    let found = "role \"tide\" may not write \"tidewire\".\"dts_postgres_heartbeat\"";
    let remedy = "GRANT USAGE ON SCHEMA \"tidewire\" TO \"tide\"; GRANT SELECT, INSERT, UPDATE, DELETE ON \
                  \"tidewire\".\"dts_postgres_heartbeat\" TO \"tide\";";
    says_and_repairs(&server, &spec, ("heartbeat_rights", Fail, found, remedy)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_room_says_which_setting_to_raise() {
    use CheckResult::Fail;
    let settings =
        [("wal_level", "replica"), ("max_replication_slots", "1"), ("max_wal_senders", "1")];
    let server = server(VERSIONS[1], &settings);
    sql(&server, ROLE).await;
    sql(
        &server,
        "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO tide;
        SELECT pg_create_physical_replication_slot('standby')",
    )
    .await;
    let spec = task(&server, &["t"]);
    let source = Source::new(&spec.source, "holder").expect("source");
    let held = source.replicate().await.expect("replication");
    let seen: Vec<_> = wrong(&spec)
        .await
        .into_iter()
        .map(|item| (item.name, item.result, item.found, item.remedy))
        .collect();
    let raise = |setting| format!("ALTER SYSTEM SET {setting} = 11; then restart the server");
    let level = "ALTER SYSTEM SET wal_level = logical; then restart the server";
    let full = "1 of 1 used";
    let expected = [
        ("wal_level", "replica", level.to_owned()),
        ("replication_slots", full, raise("max_replication_slots")),
        ("wal_senders", full, raise("max_wal_senders")),
    ];
    let expected =
        expected.map(|(name, found, remedy)| (name.into(), Fail, found.to_owned(), remedy));
    assert_eq!(seen, expected);
    let full = source.replicate().await.expect_err("the one that there is is taken");
    assert_eq!(full.kind, FaultKind::SourceBusy, "which is tried again: {full}");
    assert!(full.remedy.contains("max_wal_senders"), "{full:?}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_may_be_anything_can_be_overridden() {
    let server = server(VERSIONS[1], &[]);
    sql(&server, ROLE).await;
    sql(&server, "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' OWNER tide").await;
    let mut spec = task(&server, &[]);
    "ascii".clone_into(&mut spec.source.database);
    let item = only(&spec, "column_types").await;
    assert_eq!(
        (item.result, &*item.found, item.overridable),
        (CheckResult::Fail, "server_encoding SQL_ASCII", true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_tables_are_looked_at_within_seconds() {
    let server = server(VERSIONS[2], &[("max_locks_per_transaction", "256")]);
    sql(&server, ROLE).await;
    let make = "DO $$ BEGIN FOR i IN 1..2000 LOOP
          EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, a text, b numeric)', i);
          EXECUTE format('ALTER TABLE t%s OWNER TO tide', i);
          IF i % 500 = 0 THEN COMMIT; END IF;
        END LOOP; END $$";
    sql(&server, make).await;
    let names: Vec<String> = (1..=2000).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let spec = task(&server, &names);
    let began = Instant::now();
    let wrong = wrong(&spec).await;
    let took = began.elapsed();
    eprintln!("a precheck of 2,000 tables took {took:?}");
    assert_eq!(wrong, []);
    assert!(took.as_secs() < 5, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_about_to_lose_its_log_is_warned_of_before_it_is_lost() {
    let server = server(VERSIONS[2], &[]);
    sql(&server, ROLE).await;
    sql(&server, "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO tide").await;
    sql(&server, &format!("SELECT pg_create_logical_replication_slot('{SLOT}', 'pgoutput')")).await;
    let spec = task(&server, &["t"]);
    let state = async || {
        let items = judged(&spec).await;
        items.into_iter().find(|item| item.name == "slot_state").expect("the item")
    };
    let reloaded = || tokio::time::sleep(Duration::from_millis(500));
    let keep_little = async || {
        sql(&server, "ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'").await;
        sql(&server, "SELECT pg_reload_conf()").await;
        reloaded().await;
    };
    keep_little().await;
    assert_eq!(state().await.result, CheckResult::Pass);
    // A segment of 16 MB each; what a slot may hold is enforced by checkpoints only.
    for _ in 0..5 {
        sql(&server, "INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t").await;
        sql(&server, "SELECT pg_switch_wal()").await;
    }
    let item = state().await;
    assert_eq!(item.result, CheckResult::Warn, "{item:?}");
    assert!(item.found.contains("wal_status unreserved, holds "), "{item:?}");
    assert!(item.found.ends_with("max_slot_wal_keep_size 16MiB"), "{item:?}");
    let statement = item.remedy.split_inclusive(';').take(2).collect::<Vec<_>>();
    for statement in statement {
        sql(&server, statement).await;
    }
    reloaded().await;
    assert_eq!(state().await.result, CheckResult::Pass, "the remedy repairs it");
    keep_little().await;
    sql(&server, "CHECKPOINT").await;
    let item = state().await;
    assert_eq!(item.result, CheckResult::Fail, "{item:?}");
    assert!(item.found.contains("wal_status lost"), "{item:?}");
}
