//! Sources as they are seldom met: too old, with a clock that is off, with slots, tables and standbys
//! of every kind.

use tidewire_postgres::{Source, slot};
use tidewire_shared::Lsn;
use tidewire_shared::precheck::{CheckItem, CheckResult};
use tidewire_shared::spec::{
    Flavor, Managed, Operations, PostgresTask, SlotFailover, StartAt, TableName,
};
use tidewire_testbed::servers::free_port;
use tidewire_testbed::servers::postgres::{Postgres, PostgresAddress};

use crate::support::{VERSIONS, server, sql, table, text};
use crate::{ROLE, SLOT, judged, only, repair, says_and_repairs, task, wrong};

const OWNED: &str = "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO tide";

/// A server with the role `tide` and its table `t`, and a task on it that nothing is wrong with.
async fn prepared(version: &str, settings: &[(&str, &str)]) -> (Postgres, PostgresTask) {
    let server = server(version, settings);
    sql(&server, ROLE).await;
    sql(&server, OWNED).await;
    let spec = task(&server, &["t"]);
    assert_eq!(wrong(&spec).await, []);
    (server, spec)
}

fn item<'a>(items: &'a [CheckItem], name: &str) -> &'a CheckItem {
    let found = items.iter().find(|item| item.name == name);
    found.unwrap_or_else(|| panic!("no {name} among {items:#?}"))
}

/// The part of a text between two others.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.strip_prefix(before).unwrap_or_else(|| panic!("{text}"));
    rest.strip_suffix(after).unwrap_or_else(|| panic!("{text}"))
}

/// A session that stays as long as its other end here.
struct Held {
    _end: std::sync::mpsc::SyncSender<()>,
}

/// Runs a statement in a session that stays, and tells what a query there says.
async fn hold(address: &PostgresAddress, statement: String, query: &'static str) -> (Held, String) {
    let (end, ended) = std::sync::mpsc::sync_channel(1);
    let (tell, told) = tokio::sync::oneshot::channel();
    let address = address.clone();
    // The testbed's client brings a runtime of its own.
    std::thread::spawn(move || {
        let mut client = address.connect().expect("connect");
        client.batch_execute(&statement).expect("statement");
        let text = client.query_one(query, &[]).expect("query").get::<_, String>(0);
        tell.send(text).expect("somebody asks");
        ended.recv().expect_err("nothing is ever sent");
    });
    (Held { _end: end }, told.await.expect("told"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_is_told_by_its_version() {
    let server = server("11.22.0", &[]);
    sql(&server, ROLE).await;
    sql(&server, OWNED).await;
    let items = judged(&task(&server, &["t"])).await;
    let told: Vec<_> = items.iter().map(|item| (&*item.name, item.result)).collect();
    let expected = [("source_connect", CheckResult::Pass), ("source_version", CheckResult::Fail)];
    assert_eq!(told, expected, "{items:#?}");
    let version = item(&items, "source_version");
    assert!(version.found.starts_with("PostgreSQL 11.") && !version.overridable, "{version:?}");
    assert_eq!(version.remedy, "upgrade the server to a supported version, 12 to 18");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_server_that_is_taken_cannot_publish_a_partitioned_table() {
    let (server, spec) = prepared(VERSIONS[0], &[]).await;
    let items = judged(&spec).await;
    let version = item(&items, "source_version");
    assert_eq!((version.result, &*version.found), (CheckResult::Pass, "PostgreSQL 12.22"));
    let mut declared = spec.clone();
    declared.source.flavor = Flavor::Polardb;
    let items = judged(&declared).await;
    assert_eq!(item(&items, "source_version").found, "PostgreSQL 12.22 (PolarDB)");

    sql(
        &server,
        "CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (9);
        ALTER TABLE root OWNER TO tide; ALTER TABLE leaf OWNER TO tide",
    )
    .await;
    let item = only(&task(&server, &["root"]), "partition_roots").await;
    let found = "partitioned: \"public\".\"root\"";
    assert_eq!((item.result, &*item.found), (CheckResult::Fail, found));
    assert_eq!(item.remedy, "name its partitions in objects instead, or upgrade the server");
    assert_eq!(wrong(&task(&server, &["leaf"])).await, [], "what the remedy says");

    let standby = attached(&server).await;
    let item = only(&spec, "slot_failover").await;
    let found = "standbys stream from standby";
    assert_eq!((item.result, &*item.found), (CheckResult::Warn, found));
    assert!(item.remedy.starts_with("plan a new task after a failover"), "{item:?}");
    drop(standby);
}

/// A standby that streams.
async fn attached(server: &Postgres) -> Postgres {
    let standby = tokio::task::block_in_place(|| server.standby(free_port()?)).expect("standby");
    let active =
        "SELECT bool_or(active)::text FROM pg_replication_slots WHERE slot_name = 'standby'";
    while text(server, active).await != "true" {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    standby
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_attached_is_thought_of() {
    use CheckResult::{Fail, Warn};
    let (server, mut spec) = prepared(VERSIONS[2], &[]).await;
    let standby = attached(&server).await;
    let attached = "standbys stream from standby";
    let found = format!("{attached}, and synchronized_standby_slots is empty");
    let remedy =
        "ALTER SYSTEM SET synchronized_standby_slots = 'standby'; SELECT pg_reload_conf();";
    let item = only(&spec, "slot_failover").await;
    assert_eq!((item.result, &item.found, &*item.remedy), (Warn, &found, remedy));
    repair(&server, remedy).await;
    let set = "SELECT current_setting('synchronized_standby_slots')";
    while text(&server, set).await != "standby" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let items = judged(&spec).await;
    let passed = self::item(&items, "slot_failover");
    assert_eq!((passed.result, &*passed.found), (CheckResult::Pass, attached));

    spec.source.slot_failover = SlotFailover::Off;
    let item = only(&spec, "slot_failover").await;
    assert_eq!((item.result, &*item.found), (Warn, attached));
    assert_eq!(item.remedy, "write source.slot.failover: auto");

    let source = Source::new(&spec.source, "test").expect("source");
    let patience = std::time::Duration::from_secs(10);
    slot::create(&source, SLOT, false, patience).await.expect("slot");
    for (failover, result) in [(SlotFailover::Auto, Warn), (SlotFailover::On, Fail)] {
        spec.source.slot_failover = failover;
        let item = only(&spec, "slot_failover").await;
        let found = format!("slot {SLOT} does not follow a failover");
        assert_eq!((item.result, &item.found), (result, &found));
        let statement = format!("ALTER_REPLICATION_SLOT {SLOT} (FAILOVER true)");
        assert!(item.remedy.contains(&statement), "{item:?}");
    }
    sql(&server, &format!("SELECT pg_drop_replication_slot('{SLOT}')")).await;
    slot::create(&source, SLOT, true, patience).await.expect("slot");
    assert_eq!(wrong(&spec).await, [], "a slot that follows");
    drop(standby);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_told_with_how_far() {
    let (server, spec) = prepared(VERSIONS[1], &[]).await;
    sql(&server, "ALTER FUNCTION pg_catalog.clock_timestamp() RENAME TO true_clock_timestamp")
        .await;
    for (off, before, after, seconds) in [
        ("7 s", "the server's clock is ", " ms ahead of the node's", 7),
        ("-1 h", "the server's clock is ", " ms behind the node's", 3_600),
    ] {
        let clock = format!(
            "CREATE OR REPLACE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz \
             LANGUAGE sql AS 'SELECT pg_catalog.true_clock_timestamp() + interval ''{off}'''"
        );
        sql(&server, &clock).await;
        let item = only(&spec, "clock_skew").await;
        assert_eq!((item.result, item.overridable), (CheckResult::Warn, false));
        let told: i64 = between(&item.found, before, after).parse().expect("a number");
        assert!((told - seconds * 1_000).abs() < 500, "{item:?}");
        assert!(item.remedy.contains("chrony"), "{item:?}");
    }
    sql(
        &server,
        "DROP FUNCTION pg_catalog.clock_timestamp();
        ALTER FUNCTION pg_catalog.true_clock_timestamp() RENAME TO clock_timestamp",
    )
    .await;
    assert_eq!(wrong(&spec).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_cannot_serve_is_told_with_the_reason() {
    let (server, spec) = prepared(VERSIONS[2], &[]).await;
    let drop_it = format!("SELECT pg_drop_replication_slot('{SLOT}');");
    let make = |call: &str| format!("SELECT pg_create_{call}");
    for (call, found, message) in [
        (
            format!("logical_replication_slot('{SLOT}', 'test_decoding')"),
            format!("test_decoding slot {SLOT}, wal_status reserved"),
            "its plugin is not pgoutput",
        ),
        (
            format!("physical_replication_slot('{SLOT}', true)"),
            format!("physical slot {SLOT}, wal_status reserved"),
            "its plugin is not pgoutput",
        ),
        (
            format!("logical_replication_slot('{SLOT}', 'pgoutput', twophase => true)"),
            format!("pgoutput slot {SLOT}, wal_status reserved"),
            "it decodes prepared transactions before they are committed",
        ),
    ] {
        sql(&server, &make(&call)).await;
        let item = only(&spec, "slot_state").await;
        assert_eq!(
            (item.result, &item.found, &*item.message),
            (CheckResult::Fail, &found, message)
        );
        assert_eq!(item.remedy, drop_it);
        repair(&server, &item.remedy).await;
        assert_eq!(wrong(&spec).await, [], "after {drop_it}");
    }

    let temporary = make(&format!("logical_replication_slot('{SLOT}', 'pgoutput', true)"));
    let (held, _) = hold(server.address(), temporary, "SELECT 'held'").await;
    let item = only(&spec, "slot_state").await;
    assert_eq!(item.message, "it is temporary and vanishes with its session");
    repair(&server, &item.remedy).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(wrong(&spec).await, [], "after {}", item.remedy);
    drop(held);

    sql(&server, &make(&format!("logical_replication_slot('{SLOT}', 'pgoutput')"))).await;
    assert_eq!(wrong(&spec).await, []);
    for statement in [
        "ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'",
        "SELECT pg_reload_conf(), pg_sleep(0.3)",
    ] {
        sql(&server, statement).await;
    }
    for _ in 0..4 {
        sql(&server, "SELECT pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()").await;
    }
    for statement in [
        "CHECKPOINT",
        "ALTER SYSTEM RESET max_slot_wal_keep_size",
        "SELECT pg_reload_conf(), pg_sleep(0.3)",
    ] {
        sql(&server, statement).await;
    }
    let item = only(&spec, "slot_state").await;
    assert_eq!(item.found, format!("pgoutput slot {SLOT}, wal_status lost"));
    assert_eq!(item.message, "the server invalidated it: wal_removed");
    repair(&server, &item.remedy).await;
    assert_eq!(wrong(&spec).await, [], "after {}", item.remedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_others_is_there_and_has_the_start() {
    let (server, mut spec) = prepared(VERSIONS[2], &[]).await;
    let publish = "CREATE PUBLICATION theirs FOR TABLE t WITH (publish_via_partition_root = true)";
    sql(&server, publish).await;
    spec.source.publication = Managed::Existing("theirs".into());
    spec.source.slot = Managed::Existing("others".into());
    let missing = only(&spec, "slot_state").await;
    assert_eq!(
        (missing.result, &*missing.found),
        (CheckResult::Fail, "slot others does not exist")
    );
    let (statement, _) = missing.remedy.split_once(" or write ").expect("two ways");
    repair(&server, statement).await;
    assert_eq!(wrong(&spec).await, [], "after {statement}");

    let confirmed = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots";
    let from: Lsn = text(&server, confirmed).await.parse().expect("a position");
    for outside in [Lsn(1), Lsn(from.0 + (1 << 40))] {
        spec.start = StartAt::Lsn(outside);
        let item = only(&spec, "slot_state").await;
        let found = format!("start {outside}; slot others has the log from {from} to ");
        assert!(item.result == CheckResult::Fail && item.found.starts_with(&found), "{item:?}");
        assert!(item.remedy.contains(&format!("from {from} to ")), "{item:?}");
    }
    spec.start = StartAt::Lsn(from);
    assert_eq!(wrong(&spec).await, []);
    spec.start = StartAt::Now;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_tables_and_columns_that_are_missing_are_one_item_each() {
    use CheckResult::Fail;
    let (server, spec) = prepared(VERSIONS[2], &[]).await;
    let database = &spec.source.database;
    sql(&server, &format!("REVOKE CREATE ON DATABASE {database} FROM tide")).await;
    let found = format!("role \"tide\" has no CREATE on database \"{database}\"");
    let remedy = format!("GRANT CREATE ON DATABASE \"{database}\" TO \"tide\";");
    says_and_repairs(&server, &spec, ("source_account", Fail, &found, &remedy)).await;

    sql(
        &server,
        "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER far FOREIGN DATA WRAPPER nothing;
        CREATE FOREIGN TABLE f (id int NOT NULL) SERVER far; ALTER FOREIGN TABLE f OWNER TO tide",
    )
    .await;
    let item = only(&task(&server, &["f"]), "tables_logged").await;
    assert_eq!((item.result, &*item.found), (Fail, "\"public\".\"f\" is foreign"));
    assert_eq!(item.remedy, "take \"public\".\"f\" out of objects;");

    let mut role = server.address().clone();
    (role.user, role.password) = ("tide".into(), "t".into());
    let temporary = "CREATE TEMPORARY TABLE brief (id int PRIMARY KEY)".to_owned();
    let schema = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'brief'";
    let (held, schema) = hold(&role, temporary, schema).await;
    let mut of_temporary = task(&server, &[]);
    of_temporary.objects[0].tables = vec![TableName { schema, table: "brief".into() }];
    let item = only(&of_temporary, "tables_logged").await;
    assert!(item.result == Fail && item.found.ends_with(".\"brief\" is temporary"), "{item:?}");
    drop(held);

    let mut columns = spec.clone();
    columns.objects[0].partition_by = vec!["customer".into()];
    let item = only(&columns, "column_types").await;
    let found = "\"public\".\"t\" has no column \"customer\"";
    assert_eq!((item.result, &*item.found), (Fail, found));
    assert_eq!(item.message, "partitionBy names columns that are not there");
    let mut columns = spec.clone();
    columns.objects[0].columns.include = vec!["id".into(), "customer".into()];
    assert_eq!(only(&columns, "column_types").await.found, found);
    let mut columns = spec;
    columns.objects[0].filter = "customer > 3".into();
    columns.objects[0].operations =
        Operations { update: false, delete: false, ..Operations::default() };
    columns.objects[0].tables = vec![table("t")];
    let item = only(&columns, "column_types").await;
    assert!(item.result == Fail && item.found.contains("customer"), "{item:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_columns_are_warned_of_where_they_are_not_published() {
    let (server, _) = prepared(VERSIONS[2], &[]).await;
    sql(
        &server,
        "CREATE TABLE g (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED);
        ALTER TABLE g OWNER TO tide",
    )
    .await;
    let mut spec = task(&server, &["g"]);
    spec.source.publication = Managed::Existing("theirs".into());
    let via_root = "publish_via_partition_root = true";
    for (publishes, of) in [
        (true, format!("g WITH ({via_root}, publish_generated_columns = stored)")),
        (true, format!("g (id, a, twice) WITH ({via_root})")),
        (false, format!("g WITH ({via_root})")),
        (false, format!("g (id, a) WITH ({via_root})")),
    ] {
        sql(&server, &format!("CREATE PUBLICATION theirs FOR TABLE {of}")).await;
        let told: Vec<_> = wrong(&spec).await.into_iter().map(|item| item.found).collect();
        let warned = "generated columns: \"public\".\"g\".\"twice\"";
        let expected: &[&str] = if publishes { &[] } else { &[warned] };
        assert_eq!(told, expected, "{of}");
        sql(&server, "DROP PUBLICATION theirs").await;
    }
    sql(&server, "ALTER TABLE g ADD later int GENERATED ALWAYS AS (a + 1) VIRTUAL").await;
    let of = "CREATE PUBLICATION theirs FOR TABLE g \
              WITH (publish_via_partition_root = true, publish_generated_columns = stored)";
    sql(&server, of).await;
    let item = only(&spec, "column_types").await;
    assert_eq!(
        item.found, "generated columns: \"public\".\"g\".\"later\"",
        "virtual ones never are"
    );
}

/// A statement on a standby or anywhere else that comes true after a while.
async fn until_true(server: &Postgres, query: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while text(server, &format!("SELECT ({query})::text")).await != "true" {
        assert!(std::time::Instant::now() < end, "{query}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_a_standby_lost_are_told_with_the_reason_after_its_promotion() {
    let (mut server, mut spec) = prepared(VERSIONS[2], &[("autovacuum", "off")]).await;
    sql(&server, "CREATE PUBLICATION theirs FOR TABLE t WITH (publish_via_partition_root = true)")
        .await;
    let standby = attached(&server).await;
    for statement in
        ["ALTER SYSTEM SET hot_standby_feedback = off", "SELECT pg_reload_conf(), pg_sleep(0.5)"]
    {
        sql(&standby, statement).await;
    }
    let lost = async |server: &Postgres, slot: &str, reason: &str| {
        let reason = format!(
            "SELECT coalesce(invalidation_reason = '{reason}', false) FROM pg_replication_slots \
             WHERE slot_name = '{slot}'"
        );
        until_true(server, &reason).await;
    };
    make_slot(&server, &standby, "rows").await;
    // Rows of the catalog that its decoding would need are vacuumed away.
    for statement in [
        "CREATE TABLE brief (id int)",
        "DROP TABLE brief",
        "VACUUM pg_class",
        "VACUUM pg_attribute",
        "SELECT pg_current_xact_id()",
    ] {
        sql(&server, statement).await;
    }
    lost(&standby, "rows", "rows_removed").await;
    make_slot(&server, &standby, "level").await;
    tokio::task::block_in_place(|| server.restart_with(&[("wal_level", "replica")]))
        .expect("restart");
    sql(&server, "SELECT pg_current_xact_id()").await;
    lost(&standby, "level", "wal_level_insufficient").await;
    drop(server);
    tokio::task::block_in_place(|| standby.promote()).expect("promoted");

    let address = standby.address();
    spec.source.hosts = vec![format!("{}:{}", address.host, address.port)];
    spec.source.publication = Managed::Existing("theirs".into());
    for (slot, reason) in [("rows", "rows_removed"), ("level", "wal_level_insufficient")] {
        spec.source.slot = Managed::Existing(slot.into());
        let item = only(&spec, "slot_state").await;
        assert_eq!(item.result, CheckResult::Fail, "{item:?}");
        assert_eq!(item.message, format!("the server invalidated it: {reason}"));
        assert_eq!(item.remedy, format!("SELECT pg_drop_replication_slot('{slot}');"));
    }
}

/// Makes a logical slot on a standby, which waits for its primary to tell of running transactions.
async fn make_slot(primary: &Postgres, standby: &Postgres, name: &str) {
    let make = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
    let made = sql(standby, &make);
    let told = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            sql(primary, "SELECT pg_log_standby_snapshot()").await;
        }
    };
    tokio::select! {
        () = made => {}
        () = told => {}
    }
}
