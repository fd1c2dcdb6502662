//! What is checked of a source besides its tables and its publication.

use tidewire_shared::ByteSize;
use tidewire_shared::spec::{HeartbeatMode, SlotFailover};

use super::*;
use crate::facts::{ColumnFacts, HeartbeatPlace, OpenTransaction, TypeFacts};

pub(super) fn column(name: &str, type_oid: u32) -> ColumnFacts {
    ColumnFacts {
        name: name.into(),
        type_oid,
        type_modifier: -1,
        not_null: false,
        generated: false,
        default: None,
        base: TypeFacts {
            oid: type_oid,
            name: "t".into(),
            schema: "pg_catalog".into(),
            kind: 'b',
            element: 0,
            element_kind: 'b',
            labels: Vec::new(),
        },
    }
}

type Told = (CheckResult, &'static str, &'static str, &'static str, bool);

/// Holds an item against what it must say after a change.
fn says(name: &str, expected: Told, change: impl FnOnce(&mut PostgresTask, &mut SourcePrecheck)) {
    let (mut spec, mut seen) = (spec(), source());
    change(&mut spec, &mut seen);
    let item = named(judged(&spec, false, &seen), name);
    let (result, found, message, remedy, overridable) = expected;
    assert_eq!(told(&item), (name, result, found, message, remedy, overridable));
}

use CheckResult::{Fail, Pass, Warn};

#[test]
fn what_columns_hold_is_looked_at() {
    let stops = (
        Fail,
        "server_encoding SQL_ASCII",
        "text in it may be anything, and a value that is not UTF-8 stops the task or becomes a dead letter",
        "dump the database and restore it into one made with ENCODING 'UTF8'",
        true,
    );
    says("column_types", stops, |_, seen| seen.encoding = "SQL_ASCII".into());
    let absent = (
        Fail,
        "\"public\".\"Orders\" has no column \"tenant\"",
        "partitionBy names columns that are not there",
        "correct partitionBy, or add the columns",
        false,
    );
    says("column_types", absent, |spec, _| spec.objects[0].partition_by = vec!["tenant".into()]);
    let generated = |seen: &mut SourcePrecheck| {
        seen.tables[0].columns = vec![ColumnFacts { generated: true, ..column("twice", 23) }];
    };
    let left_out = (
        Warn,
        "generated columns: \"public\".\"Orders\".\"twice\"",
        "their values are not published and stand in no record",
        "let readers compute them; PostgreSQL can publish stored ones from 18 on",
        false,
    );
    says("column_types", left_out, |_, seen| generated(seen));
    says("column_types", (Pass, "server_encoding UTF8", "", "", false), |_, _| {});
}

#[test]
fn large_objects_are_worth_a_word_where_columns_refer_to_them() {
    let warned = (
        Warn,
        "large objects, and columns of type oid: \"public\".\"Orders\".\"scan\"",
        "the content of large objects is not decoded: records hold their numbers",
        "keep the content in bytea columns, or leave these columns out of the task",
        false,
    );
    let scan = |seen: &mut SourcePrecheck| seen.tables[0].columns = vec![column("scan", 26)];
    says("large_objects", warned, |_, seen| {
        scan(seen);
        seen.around.large_objects = true;
    });
    let none = (Pass, "the database holds no large objects", "", "", false);
    says("large_objects", none, |_, seen| scan(seen));
    let elsewhere = (Pass, "no column refers to large objects", "", "", false);
    says("large_objects", elsewhere, |_, seen| seen.around.large_objects = true);
}

fn open(age_ms: Option<u64>, prepared: bool) -> OpenTransaction {
    let (who, end) =
        ("pid 7 (app in shop, active)".into(), "SELECT pg_terminate_backend(7);".into());
    OpenTransaction { who, prepared, age_ms, end }
}

#[test]
fn transactions_that_hold_up_a_slot_are_named() {
    let waits = (
        Warn,
        "pid 7 (app in shop, active), 10 s",
        "the slot of the task is made only when they are over",
        "end them: SELECT pg_terminate_backend(7);",
        false,
    );
    let with = |open: OpenTransaction| {
        move |_: &mut PostgresTask, seen: &mut SourcePrecheck| {
            seen.around.open_transactions = vec![open]
        }
    };
    says("long_transactions", waits, with(open(Some(10_000), false)));
    says("long_transactions", (Pass, "none", "", "", false), with(open(Some(9_999), false)));
    let hidden = "none seen; the age of 1 is hidden from the role";
    says("long_transactions", (Pass, hidden, "", "", false), with(open(None, false)));
    let keeps = (
        Warn,
        "pid 7 (app in shop, active), 600 s",
        "the slot keeps the log since they began",
        "end them: SELECT pg_terminate_backend(7);",
        false,
    );
    says("long_transactions", keeps, |_, seen| {
        seen.slot = Some(slot());
        seen.around.open_transactions = vec![open(Some(600_000), false), open(Some(5), true)];
    });
}

#[test]
fn a_failover_of_the_server_is_thought_of() {
    let old = (
        Fail,
        "PostgreSQL 15.18",
        "slots follow a failover from PostgreSQL 17 on",
        "write source.slot.failover: off, or upgrade the server",
        false,
    );
    says("slot_failover", old, |spec, _| spec.source.slot_failover = SlotFailover::On);
    says("slot_failover", (Pass, "no standby", "", "", false), |_, _| {});
    let standby = |seen: &mut SourcePrecheck, version| {
        seen.server.version_num = version;
        seen.around.physical_slots = vec![("b".into(), true), ("idle".into(), false)];
    };
    let without = (
        Warn,
        "standbys stream from b",
        "a promoted standby would not have the slot, and the task could not go on",
        "plan a new task after a failover; slots follow one from PostgreSQL 17 on",
        false,
    );
    says("slot_failover", without, |_, seen| standby(seen, 150_018));
    let off = (without.0, without.1, without.2, "write source.slot.failover: auto", false);
    says("slot_failover", off, |spec, seen| {
        standby(seen, 180_000);
        spec.source.slot_failover = SlotFailover::Off;
    });
    let ahead = (
        Warn,
        "standbys stream from b, and synchronized_standby_slots is empty",
        "the task may be ahead of a standby that is promoted, and would stop then",
        "ALTER SYSTEM SET synchronized_standby_slots = 'b'; SELECT pg_reload_conf();",
        false,
    );
    says("slot_failover", ahead, |_, seen| standby(seen, 180_000));
    let stuck = (
        Fail,
        "synchronized_standby_slots names gone, which does not exist",
        "the server would wait for it and send the task nothing",
        "ALTER SYSTEM SET synchronized_standby_slots = 'b'; SELECT pg_reload_conf();",
        false,
    );
    says("slot_failover", stuck, |_, seen| {
        standby(seen, 180_000);
        seen.around.synchronized_standby_slots = vec!["b".into(), "gone".into()];
    });
    says("slot_failover", (Pass, "standbys stream from b", "", "", false), |_, seen| {
        standby(seen, 180_000);
        seen.around.synchronized_standby_slots = vec!["b".into()];
    });
    let left_behind = (
        Fail,
        "slot tidewire_k does not follow a failover",
        "a promoted standby would not have it, and the task could not go on",
        "psql \"replication=database …\" -c 'ALTER_REPLICATION_SLOT tidewire_k (FAILOVER true)', \
         with the task paused",
        false,
    );
    says("slot_failover", left_behind, |spec, seen| {
        seen.server.version_num = 170_006;
        spec.source.slot = Managed::Existing("tidewire_k".into());
        spec.source.slot_failover = SlotFailover::On;
        seen.slot = Some(slot());
    });
}

#[test]
fn settings_that_give_up_log_are_named() {
    let warned = (
        Warn,
        "max_slot_wal_keep_size 1GiB, source.walBudget.limit 50GiB; \
         idle_replication_slot_timeout 12h",
        "the server drops log that a paused or slow task still needs, and the task is lost with it",
        "ALTER SYSTEM SET max_slot_wal_keep_size = '51200MB'; \
         ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();",
        false,
    );
    says("wal_retention", warned, |_, seen| {
        seen.around.wal_keep_bytes = Some(1 << 30);
        seen.around.idle_slot_timeout_ms = 43_200_000;
    });
    let kept = (Pass, "max_slot_wal_keep_size 1GiB", "", "", false);
    says("wal_retention", kept, |spec, seen| {
        seen.around.wal_keep_bytes = Some(1 << 30);
        spec.source.wal_budget.limit = ByteSize(1 << 30);
    });
    says("wal_retention", (Pass, "max_slot_wal_keep_size unlimited", "", "", false), |_, _| {});
}

#[test]
fn a_heartbeat_needs_its_rights() {
    const SILENT: &str = "the task could not write its heartbeat";
    let messages = (
        Fail,
        "role \"tide\" may not call pg_catalog.pg_logical_emit_message(boolean,text,text)",
        SILENT,
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_logical_emit_message(boolean,text,text) TO \"tide\";",
        false,
    );
    let function = "pg_catalog.pg_logical_emit_message(boolean,text,text)";
    says("heartbeat_rights", messages, |_, seen| {
        seen.around.refused_emitters = vec![function.into()];
    });
    says("heartbeat_rights", (Pass, "messages may be written", "", "", false), |_, _| {});
    let off = (
        Warn,
        "source.heartbeat.mode off",
        "nothing shows that a quiet database is still followed",
        "write source.heartbeat.mode: auto",
        false,
    );
    says("heartbeat_rights", off, |spec, _| spec.source.heartbeat.mode = HeartbeatMode::Off);
    let table = |schema: Option<bool>, table: Option<bool>| {
        move |spec: &mut PostgresTask, seen: &mut SourcePrecheck| {
            spec.source.heartbeat.mode = HeartbeatMode::Table;
            seen.may_create = false;
            seen.around.heartbeat = HeartbeatPlace { schema, usage: true, table, owned: true };
        }
    };
    let name = "\"tidewire\".\"dts_postgres_heartbeat\"";
    let grant: String = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO \"tide\";");
    let item = |schema, of| {
        let (mut spec, mut seen) = (spec(), source());
        table(schema, of)(&mut spec, &mut seen);
        named(judged(&spec, false, &seen), "heartbeat_rights")
    };
    let may_not = format!("role \"tide\" may not write {name}");
    let refused = item(Some(true), Some(false));
    assert_eq!(told(&refused), ("heartbeat_rights", Fail, &*may_not, SILENT, &*grant, false));
    let no_schema = (
        Fail,
        "schema \"tidewire\" does not exist, and role \"tide\" may not make it",
        SILENT,
        "CREATE SCHEMA \"tidewire\" AUTHORIZATION \"tide\";",
        false,
    );
    says("heartbeat_rights", no_schema, table(None, None));
    let closed = (
        Fail,
        "role \"tide\" may not create in schema \"tidewire\"",
        SILENT,
        "GRANT USAGE, CREATE ON SCHEMA \"tidewire\" TO \"tide\";",
        false,
    );
    says("heartbeat_rights", closed, table(Some(false), None));
    assert_eq!(item(Some(true), Some(true)).found, format!("{name} may be written"));
    assert_eq!(item(Some(true), None).result, Pass);
}

#[test]
fn a_heartbeat_must_come_through_the_publication() {
    let name = "\"tidewire\".\"dts_postgres_heartbeat\"";
    let judge = |place: HeartbeatPlace, publication: Managed, held: Option<&[&str]>| {
        let (mut spec, mut seen) = (spec(), source());
        spec.source.heartbeat.mode = HeartbeatMode::Table;
        spec.source.publication = publication;
        seen.around.heartbeat = place;
        seen.publication = held.map(publication::published);
        for table in seen.publication.iter_mut().flat_map(|it| &mut it.tables) {
            if table.name.table.starts_with("dts") {
                "tidewire".clone_into(&mut table.name.schema);
            }
        }
        named(judged(&spec, false, &seen), "heartbeat_rights")
    };
    let theirs =
        HeartbeatPlace { schema: Some(true), usage: true, table: Some(true), owned: false };
    let item = judge(theirs, Managed::Managed, None);
    let found = format!("{name} is not owned by role \"tide\", so it cannot publish it");
    let message = "the heartbeat would be written and never arrive";
    let remedy = format!("ALTER TABLE {name} OWNER TO \"tide\";");
    assert_eq!(told(&item), ("heartbeat_rights", Fail, &*found, message, &*remedy, false));
    let held: &[&str] = &["Orders", "dts_postgres_heartbeat"];
    assert_eq!(judge(theirs, Managed::Managed, Some(held)).result, Pass, "it is published already");

    let existing = || Managed::Existing("shop pub".into());
    let item = judge(theirs, existing(), Some(&["Orders"]));
    let found = format!("publication \"shop pub\" does not hold {name}");
    let remedy = format!("ALTER PUBLICATION \"shop pub\" ADD TABLE {name};");
    assert_eq!(told(&item), ("heartbeat_rights", Fail, &*found, message, &*remedy, false));
    let absent = HeartbeatPlace { table: None, ..theirs };
    let item = judge(absent, existing(), Some(&["Orders"]));
    assert!(
        item.remedy.starts_with("make the table") && item.remedy.ends_with(&remedy),
        "{item:?}"
    );
    assert_eq!(judge(theirs, existing(), Some(held)).result, Pass);

    let outside = HeartbeatPlace { usage: false, owned: true, ..theirs };
    let item = judge(outside, Managed::Managed, None);
    assert!(
        item.remedy.starts_with("GRANT USAGE ON SCHEMA \"tidewire\" TO \"tide\"; GRANT SELECT")
    );
}

#[test]
fn another_task_on_the_database_is_worth_a_word() {
    let warned = (
        Warn,
        "tidewire_other",
        "another task decodes the same database: each slot reads all of its log",
        "put the tables into one task, or delete the task that is not needed",
        false,
    );
    says("slots_on_database", warned, |_, seen| {
        seen.around.other_slots = vec!["audit".into(), "tidewire_other".into()];
    });
    says("slots_on_database", (Pass, "1 other logical slots", "", "", false), |_, seen| {
        seen.around.other_slots = vec!["audit".into()];
    });
}

#[test]
fn clocks_that_differ_are_worth_a_word() {
    let warned = (
        Warn,
        "the server's clock is 5000 ms behind the node's",
        "the delay of the task is shown wrong by as much",
        "synchronise the clocks of server and nodes, for example by chrony or ntpd",
        false,
    );
    says("clock_skew", warned, |_, seen| seen.around.clock_ahead_ms = -5_000);
    says("clock_skew", (Pass, "within 1700 ms", "", "", false), |_, seen| {
        seen.around.clock_ahead_ms = 1_700;
        seen.around.clock_error_ms = 700;
    });
}

#[test]
fn a_long_list_ends_with_how_much_more_there_is() {
    let many: Vec<String> = (0..22).map(|number| format!("t{number}")).collect();
    assert!(listed(&many, ", ").ends_with("t19, and 2 more"));
    assert_eq!(listed(&many[..2], ", "), "t0, t1");
}
