use tidewire_shared::FaultKind;
use tidewire_shared::Lsn;
use tidewire_shared::spec::PostgresTask;
use tidewire_shared::spec::{
    BadRecord, Compression, Delivery, Format, KafkaTarget, KeyChange, Limits, Managed, NamePattern,
    ObjectRule, PartitionPolicy, PostgresSource, RecordKey, Retry, StartAt, TableName,
    TablePattern, Tls, TlsMode,
};

use super::*;
use crate::facts::{
    OddPartition, ServerFacts, SlotFacts, SlotOwner, SourcePrecheck, Surroundings, TableFacts,
    TargetPrecheck, TopicFacts, UniqueKey,
};
use crate::objects::resolve;

mod publication;
mod selection;
mod surroundings;
mod topics;

fn orders() -> TableName {
    TableName { schema: "public".into(), table: "Orders".into() }
}

fn spec() -> PostgresTask {
    PostgresTask {
        name: "orders".parse().expect("name"),
        display_name: String::new(),
        source: PostgresSource {
            hosts: vec!["db:5432".into()],
            database: "shop".into(),
            user: "tide".into(),
            password: None,
            tls: Tls { mode: TlsMode::Disable, ca: None, cert: None, key: None },
            slot: Managed::Managed,
            publication: Managed::Managed,
            ..PostgresSource::default()
        },
        target: KafkaTarget {
            brokers: vec!["k:9092".into()],
            compression: Compression::Lz4,
            ..KafkaTarget::default()
        },
        objects: vec![ObjectRule {
            tables: vec![orders()],
            topic: "orders".into(),
            ..ObjectRule::default()
        }],
        format: Format::default(),
        partition: PartitionPolicy::ByPrimaryKey,
        key_change: KeyChange::Split,
        delivery: Delivery::default(),
        start: StartAt::default(),
        on_bad_record: BadRecord::default(),
        retry: Retry::default(),
        limits: Limits::default(),
        alerts: Vec::new(),
    }
}

fn key(name: &str, primary: bool, not_null: bool) -> UniqueKey {
    let columns = vec!["id".into()];
    UniqueKey { name: name.into(), primary, replica_identity: false, not_null, columns }
}

fn source() -> SourcePrecheck {
    SourcePrecheck {
        server: ServerFacts {
            system_id: 7,
            timeline: 1,
            flush_lsn: Lsn(0x200),
            version_num: 150_018,
            in_recovery: false,
            wal_level: "logical".into(),
        },
        version: "15.18".into(),
        may_replicate: true,
        may_create: true,
        slots: (10, 3),
        wal_senders: (10, 3),
        slot: None,
        publication: None,
        tables: vec![TableFacts {
            name: orders(),
            oid: 1,
            kind: 'r',
            persistence: 'p',
            identity: 'd',
            selectable: true,
            owned: true,
            columns: Vec::new(),
            unique_keys: vec![key("orders_pkey", true, true)],
        }],
        odd_partitions: Vec::new(),
        encoding: "UTF8".into(),
        around: Surroundings::default(),
    }
}

fn slot() -> SlotFacts {
    SlotFacts {
        name: "tidewire_k".into(),
        plugin: "pgoutput".into(),
        database: "shop".into(),
        temporary: false,
        two_phase: false,
        restart_lsn: None,
        confirmed_flush: None,
        wal_status: "reserved".into(),
        invalidation: None,
        active_pid: None,
        active_application: None,
        failover: false,
        synced: false,
    }
}

fn items(started_before: bool, change: impl FnOnce(&mut SourcePrecheck)) -> Vec<CheckItem> {
    let mut seen = source();
    change(&mut seen);
    judged(&spec(), started_before, &seen)
}

fn judged(spec: &PostgresTask, started_before: bool, seen: &SourcePrecheck) -> Vec<CheckItem> {
    beside(spec, started_before, &[], seen)
}

/// As [`judged`], with other tasks.
fn beside(
    spec: &PostgresTask,
    started_before: bool,
    slot_owners: &[SlotOwner],
    seen: &SourcePrecheck,
) -> Vec<CheckItem> {
    let tables = resolve(&spec.objects, "shop", &[]);
    judge_source(&SourceLook {
        spec,
        tables: &tables,
        slot: "tidewire_k",
        publication: "tidewire_k",
        started_before,
        slot_owners,
        seen: Ok(seen),
    })
}

fn judged_target(spec: &PostgresTask, seen: &TargetPrecheck) -> Vec<CheckItem> {
    let tables = resolve(&spec.objects, "shop", &[]);
    judge_target(&TargetLook { spec, tables: &tables, neighbours: &[], seen })
}

/// Everything that a user reads of an item.
fn told(item: &CheckItem) -> (&str, CheckResult, &str, &str, &str, bool) {
    let CheckItem { name, result, found, message, remedy, overridable, .. } = item;
    (name, *result, found, message, remedy, *overridable)
}

/// The one item of this name.
fn named(items: Vec<CheckItem>, name: &str) -> CheckItem {
    let item = items.into_iter().find(|item| item.name == name);
    item.expect(name)
}

/// The one item that does not pass after a change.
fn only(items: Vec<CheckItem>) -> CheckItem {
    let mut wrong: Vec<_> =
        items.into_iter().filter(|item| item.result != CheckResult::Pass).collect();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    let item = wrong.remove(0);
    assert!(!item.remedy.is_empty() && !item.found.is_empty() && !item.message.is_empty());
    item
}

#[test]
fn a_source_as_it_should_be_passes_every_item() {
    let items = items(false, |_| {});
    let names: Vec<_> = items.iter().map(|item| item.name.as_str()).collect();
    let expected = [
        "source_connect",
        "source_version",
        "source_account",
        "wal_level",
        "replication_slots",
        "wal_senders",
        "slot_state",
        "publication",
        "tables_exist",
        "tables_keyed",
        "tables_logged",
        "partition_roots",
        "column_types",
        "large_objects",
        "long_transactions",
        "slot_failover",
        "wal_retention",
        "heartbeat_rights",
        "slots_on_database",
        "clock_skew",
    ];
    assert_eq!(names, expected);
    assert!(items.iter().all(|item| item.result == CheckResult::Pass), "{items:?}");
}

#[test]
fn each_trouble_of_the_source_fails_its_own_item() {
    type Change = fn(&mut SourcePrecheck);
    let cases: [(&str, Change); 16] = [
        ("source_connect", |seen| seen.server.in_recovery = true),
        ("source_version", |seen| seen.server.version_num = 110_022),
        ("source_account", |seen| seen.may_replicate = false),
        ("source_account", |seen| seen.may_create = false),
        ("wal_level", |seen| seen.server.wal_level = "replica".into()),
        ("replication_slots", |seen| seen.slots = (3, 3)),
        ("wal_senders", |seen| seen.wal_senders = (3, 3)),
        ("slot_state", |seen| seen.slot = Some(SlotFacts { plugin: "wal2json".into(), ..slot() })),
        ("tables_exist", |seen| seen.tables.clear()),
        ("tables_exist", |seen| seen.tables[0].selectable = false),
        ("tables_keyed", |seen| seen.tables[0].unique_keys.clear()),
        ("tables_keyed", |seen| {
            let other = UniqueKey { columns: vec!["code".into()], ..key("code", false, true) };
            seen.tables[0].identity = 'i';
            seen.tables[0].unique_keys.push(UniqueKey { replica_identity: true, ..other });
        }),
        ("tables_keyed", |seen| {
            let root_identity = seen.tables[0].identity;
            let name = TableName { schema: "public".into(), table: "orders_2026".into() };
            seen.odd_partitions.push(OddPartition { name, root: orders(), root_identity });
        }),
        ("tables_logged", |seen| seen.tables[0].persistence = 'u'),
        ("tables_logged", |seen| {
            (seen.tables[0].kind, seen.tables[0].identity) = ('f', 'n');
            seen.tables[0].unique_keys.clear();
        }),
        ("column_types", |seen| seen.encoding = "SQL_ASCII".into()),
    ];
    for (name, change) in cases {
        let item = only(items(false, change));
        assert_eq!((item.name.as_str(), item.result), (name, CheckResult::Fail), "{item:?}");
    }
    let newer = only(items(false, |seen| seen.server.version_num = 190_000));
    assert_eq!((newer.name.as_str(), newer.result), ("source_version", CheckResult::Warn));
}

#[test]
fn columns_of_partition_by_must_come_with_a_delete() {
    let mut spec = spec();
    spec.objects[0].partition_by = vec!["tenant".into()];
    let judge = |identity: char| {
        let mut seen = source();
        seen.tables[0].identity = identity;
        seen.tables[0].columns = vec![surroundings::column("tenant", 23)];
        judged(&spec, false, &seen)
    };
    let item = only(judge('d'));
    assert_eq!(item.name, "tables_keyed");
    assert!(item.found.contains("tenant") && item.remedy.ends_with("FULL;"), "{item:?}");
    assert!(judge('f').iter().all(|item| item.result == CheckResult::Pass));
}

#[test]
fn a_slot_that_others_make_is_there() {
    let mut spec = spec();
    spec.source.slot = Managed::Existing("tidewire_k".into());
    let absent = named(judged(&spec, false, &source()), "slot_state");
    assert_eq!(absent.result, CheckResult::Fail);
    assert!(
        absent.remedy.contains("pg_create_logical_replication_slot('tidewire_k'"),
        "{absent:?}"
    );
}

#[test]
fn a_slot_is_another_tasks_only_as_long_as_that_lives() {
    let mut spec = spec();
    spec.source.slot = Managed::Existing("tidewire_k".into());
    let seen = |active_pid| SourcePrecheck {
        slot: Some(SlotFacts {
            active_pid,
            active_application: Some("psql".into()),
            confirmed_flush: Some(Lsn(0x100)),
            ..slot()
        }),
        ..source()
    };
    let judge = |owners: &[SlotOwner], active_pid| {
        named(beside(&spec, false, owners, &seen(active_pid)), "slot_state")
    };
    let owner = |slot: &str, deleted| SlotOwner { slot: slot.into(), task: "old".into(), deleted };
    assert_eq!(judge(&[owner("tidewire_j", false)], None).result, CheckResult::Pass);
    for (owners, active, words) in [
        (vec![owner("tidewire_k", false)], None, ["task old", "tidewire task terminate old"]),
        (vec![owner("tidewire_k", true)], None, ["deleted task old", "name another slot"]),
        (vec![], Some(42), ["backend 42 `psql`", "pg_terminate_backend(42)"]),
    ] {
        let item = judge(&owners, active);
        assert_eq!((item.result, item.overridable), (CheckResult::Fail, false));
        assert!(item.found.contains(words[0]) && item.remedy.contains(words[1]), "{item:?}");
    }
    let later = named(beside(&spec, true, &[], &seen(Some(42))), "slot_state");
    assert_eq!(later.result, CheckResult::Pass, "its own session");
}

#[test]
fn a_slot_about_to_lose_its_log_is_told_in_numbers() {
    let mut seen = source();
    seen.publication = publication::published(&["Orders"]).into();
    seen.server.flush_lsn = Lsn(96 << 20);
    seen.around.wal_keep_bytes = Some(16 << 20);
    let (restart_lsn, confirmed_flush) = (Some(Lsn(32 << 20)), Some(Lsn(32 << 20)));
    let mut judge = |status: &str| {
        let wal_status = status.to_owned();
        seen.slot = Some(SlotFacts { wal_status, restart_lsn, confirmed_flush, ..slot() });
        named(judged(&spec(), true, &seen), "slot_state")
    };
    for fine in ["reserved", "extended", ""] {
        assert_eq!(judge(fine).result, CheckResult::Pass, "{fine}");
    }
    let numbers = "wal_status unreserved, holds 64MiB of WAL, max_slot_wal_keep_size 16MiB";
    let item = judge("unreserved");
    assert_eq!(item.result, CheckResult::Warn);
    assert!(item.found.ends_with(numbers), "{item:?}");
    assert!(
        item.remedy.contains("ALTER SYSTEM SET max_slot_wal_keep_size = '51200MB'"),
        "{item:?}"
    );
    let lost = judge("lost");
    assert_eq!(lost.result, CheckResult::Fail);
    assert!(lost.found.ends_with("max_slot_wal_keep_size 16MiB"), "{lost:?}");
}

#[test]
fn a_start_lies_in_what_the_slot_has() {
    let mut spec = spec();
    let confirmed_flush = Some(Lsn(0x100));
    let seen = SourcePrecheck { slot: Some(SlotFacts { confirmed_flush, ..slot() }), ..source() };
    let mut judge = |start: u64, started_before: bool| {
        spec.start = StartAt::Lsn(Lsn(start));
        named(judged(&spec, started_before, &seen), "slot_state")
    };
    assert_eq!(judge(0x100, false).result, CheckResult::Pass);
    assert_eq!(judge(0x200, false).result, CheckResult::Pass, "the end of the log");
    for outside in [0xFF, 0x201] {
        let item = judge(outside, false);
        assert_eq!(item.result, CheckResult::Fail, "{outside}");
        assert!(item.found.contains("from 0/100 to 0/200") && item.remedy.contains("start: now"));
        assert_eq!(judge(outside, true).result, CheckResult::Pass, "it began long ago");
    }
}

#[test]
fn a_pattern_that_fits_nothing_is_worth_a_word() {
    let mut spec = spec();
    let name = |glob: &str| NamePattern::Glob(glob.into());
    spec.objects[0].patterns = vec![
        TablePattern { schema: name("publc"), table: name("*") },
        TablePattern { schema: name("public"), table: name("Ord*") },
    ];
    let item = only(judged(&spec, false, &source()));
    assert_eq!((item.name.as_str(), item.result), ("tables_exist", CheckResult::Warn));
    assert_eq!(item.found, "1 tables; none fits `publc.*`");
}

#[test]
fn a_task_that_has_run_needs_its_slot() {
    let published = || Some(publication::published(&["Orders"]));
    let item = only(items(true, |seen| seen.publication = published()));
    assert_eq!(item.name, "slot_state");
    let healthy = items(true, |seen| {
        seen.publication = published();
        seen.slot = Some(slot());
        seen.slots = (3, 3);
    });
    assert!(healthy.iter().all(|item| item.result == CheckResult::Pass), "{healthy:?}");
}

#[test]
fn the_narrowest_identity_is_proposed() {
    let remedy = |identity: char, keys: Vec<UniqueKey>| {
        only(items(false, |seen| {
            seen.tables[0].identity = identity;
            seen.tables[0].unique_keys = keys;
        }))
        .remedy
    };
    let table = "ALTER TABLE \"public\".\"Orders\" REPLICA IDENTITY";
    assert_eq!(remedy('n', vec![key("pk", true, true)]), format!("{table} DEFAULT;"));
    assert_eq!(
        remedy('d', vec![key("b", false, true), key("a", false, false)]),
        format!("{table} USING INDEX \"b\";")
    );
    assert_eq!(remedy('d', vec![key("a", false, false)]), format!("{table} FULL;"));
}

#[test]
fn a_source_that_cannot_be_reached_is_one_item() {
    let fault = Fault::new(FaultKind::SourceUnreachable, "db:5432", "refused").remedy("start it");
    let (slot, publication, started_before) = ("s", "p", false);
    let spec = spec();
    let items = judge_source(&SourceLook {
        spec: &spec,
        tables: &[],
        slot,
        publication,
        started_before,
        slot_owners: &[],
        seen: Err(&fault),
    });
    assert_eq!(items.len(), 1);
    assert_eq!(only(items).name, "source_connect");
}

fn topic() -> TopicFacts {
    TopicFacts {
        name: "orders".into(),
        id: (1, 2),
        partitions: 4,
        cleanup_policy: "delete".into(),
        max_message_bytes: 1_048_588,
        min_insync_replicas: 1,
        replication_factor: 1,
    }
}

fn target(topic: Option<TopicFacts>) -> TargetPrecheck {
    TargetPrecheck {
        brokers: Ok(1),
        addresses: vec!["k:9092".into()],
        health: Vec::new(),
        topics: vec![("orders".into(), Ok(topic))],
        writable: vec![("orders".into(), Ok(()))],
        transactions: Ok(()),
        positions_topic: Ok(None),
    }
}

#[test]
fn each_trouble_of_the_target_has_its_own_item() {
    use CheckResult::{Fail, Warn};
    assert!(
        judged_target(&spec(), &target(Some(topic())))
            .iter()
            .all(|i| i.result == CheckResult::Pass)
    );
    let fault = || Fault::new(FaultKind::TargetDenied, "topic orders", "denied").remedy("grant it");
    let away = Fault::new(FaultKind::TargetUnreachable, "brokers k:9092", "away").remedy("start");
    let mut keyless = spec();
    keyless.format.key = RecordKey::None;
    let compact = || Some(TopicFacts { cleanup_policy: "compact".into(), ..topic() });
    let small = Some(TopicFacts { max_message_bytes: 1_000, ..topic() });
    let strict = Some(TopicFacts { min_insync_replicas: 2, ..topic() });
    let fine = || target(Some(topic()));
    let cases = [
        ("target_connect", Fail, spec(), TargetPrecheck { brokers: Err(away), ..fine() }),
        ("topics_exist", Fail, spec(), target(None)),
        (
            "topic_rights",
            Fail,
            spec(),
            TargetPrecheck { writable: vec![("orders".into(), Err(fault()))], ..fine() },
        ),
        ("topic_policy", Warn, spec(), target(compact())),
        ("topic_policy", Fail, keyless, target(compact())),
        ("topic_policy", Fail, spec(), target(small)),
        ("topic_policy", Fail, spec(), target(strict)),
        ("topic_policy", Warn, spec(), TargetPrecheck { brokers: Ok(3), ..fine() }),
        (
            "target_transactions",
            Fail,
            spec(),
            TargetPrecheck { transactions: Err(fault()), ..fine() },
        ),
        (
            "target_transactions",
            Fail,
            spec(),
            TargetPrecheck { positions_topic: Ok(Some(topic())), ..fine() },
        ),
    ];
    for (name, result, spec, seen) in cases {
        let item = only(judged_target(&spec, &seen));
        assert_eq!((item.name.as_str(), item.result), (name, result), "{item:?}");
    }
}
