//! Strategies for every word that goes over the wire.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use tidewire_shared::precheck::{CheckItem, CheckResult, PrecheckReport};
use tidewire_shared::spec::{
    Compression, Format, FormatKind, Heartbeat, KafkaTarget, KeyChange, Limits, Managed,
    ObjectRule, PartitionPolicy, PostgresSource, RecordKey, Retry, TableName, TaskSpec,
    TimestampUnit, Tls, TlsMode,
};
use tidewire_shared::{
    ByteSize, Counters, Epoch, Fault, FaultKind, InTransaction, Lsn, Period, PgPosition,
    PositionHint, RetryWindow, SecretRef, ShardId, ShardPhase, ShardReport,
};

fn word() -> impl Strategy<Value = String> {
    "[ -~äπ\u{1F30A}]{1,12}"
}

fn words() -> impl Strategy<Value = Vec<String>> {
    vec(word(), 1..4)
}

fn secret() -> impl Strategy<Value = SecretRef> {
    prop_oneof![
        word().prop_map(SecretRef::Env),
        word().prop_map(SecretRef::File),
        word().prop_map(SecretRef::Value),
    ]
}

fn managed() -> impl Strategy<Value = Managed> {
    prop_oneof![Just(Managed::Managed), word().prop_map(Managed::Existing)]
}

fn tls() -> impl Strategy<Value = Tls> {
    let mode = prop_oneof![
        Just(TlsMode::Disable),
        Just(TlsMode::Prefer),
        Just(TlsMode::Require),
        Just(TlsMode::VerifyCa),
        Just(TlsMode::VerifyFull),
    ];
    (mode, option::of(secret()), option::of(secret()), option::of(secret()))
        .prop_map(|(mode, ca, cert, key)| Tls { mode, ca, cert, key })
}

prop_compose! {
    fn source()(
        hosts in words(),
        database in word(),
        user in word(),
        password in option::of(secret()),
        tls in tls(),
        slot in managed(),
        publication in managed(),
        enabled in any::<bool>(),
        interval in 1..u64::MAX,
    ) -> PostgresSource {
        let heartbeat = Heartbeat { enabled, interval: Period(interval) };
        PostgresSource { hosts, database, user, password, tls, slot, publication, heartbeat }
    }
}

fn target() -> impl Strategy<Value = KafkaTarget> {
    let compression = prop_oneof![
        Just(Compression::None),
        Just(Compression::Gzip),
        Just(Compression::Snappy),
        Just(Compression::Lz4),
        Just(Compression::Zstd),
    ];
    (words(), compression, btree_map(word(), word(), 0..3)).prop_map(
        |(brokers, compression, properties)| KafkaTarget { brokers, compression, properties },
    )
}

fn rule() -> impl Strategy<Value = ObjectRule> {
    let table = (word(), word()).prop_map(|(schema, table)| TableName { schema, table });
    (vec(table, 1..3), word(), vec(word(), 0..3))
        .prop_map(|(tables, topic, partition_by)| ObjectRule { tables, topic, partition_by })
}

prop_compose! {
    fn format()(
        kind in prop_oneof![Just(FormatKind::DtsAvro), Just(FormatKind::ShareplexJson)],
        key in prop_oneof![Just(RecordKey::Json), Just(RecordKey::None)],
        identity_headers in any::<bool>(),
        source_timestamp_unit in
            prop_oneof![Just(TimestampUnit::Milliseconds), Just(TimestampUnit::Seconds)],
    ) -> Format {
        Format { kind, key, identity_headers, source_timestamp_unit }
    }
}

prop_compose! {
    pub(super) fn spec()(
        name in "[a-z0-9]{1,30}",
        display_name in ".{0,20}",
        source in source(),
        target in target(),
        objects in vec(rule(), 1..3),
        format in format(),
        partition in prop_oneof![
            Just(PartitionPolicy::AllToPartition0),
            Just(PartitionPolicy::ByTable),
            Just(PartitionPolicy::ByPrimaryKey),
            Just(PartitionPolicy::ByRecordKey),
        ],
        key_change in prop_oneof![Just(KeyChange::Split), Just(KeyChange::Keep)],
        (connection, other) in any::<(u64, u64)>(),
        record_bytes in 1..u64::MAX,
    ) -> TaskSpec {
        TaskSpec {
            name: name.parse().expect("a task name"),
            display_name, source, target, objects, format, partition, key_change,
            retry: Retry { connection: Period(connection), other: Period(other) },
            limits: Limits { record_bytes: ByteSize(record_bytes) },
        }
    }
}

pub(super) fn plain_spec() -> TaskSpec {
    TaskSpec {
        name: "orders".parse().expect("a task name"),
        display_name: String::new(),
        source: PostgresSource {
            hosts: vec!["db1:5432".into()],
            database: "shop".into(),
            user: "tidewire".into(),
            password: None,
            tls: Tls { mode: TlsMode::Prefer, ca: None, cert: None, key: None },
            slot: Managed::Managed,
            publication: Managed::Managed,
            heartbeat: Heartbeat { enabled: true, interval: Period::from_secs(10) },
        },
        target: KafkaTarget {
            brokers: vec!["k1:9092".into()],
            compression: Compression::Lz4,
            properties: std::collections::BTreeMap::default(),
        },
        objects: vec![ObjectRule {
            tables: vec![TableName { schema: "public".into(), table: "orders".into() }],
            topic: "orders".into(),
            partition_by: vec![],
        }],
        format: Format {
            kind: FormatKind::DtsAvro,
            key: RecordKey::Json,
            identity_headers: false,
            source_timestamp_unit: TimestampUnit::Milliseconds,
        },
        partition: PartitionPolicy::ByPrimaryKey,
        key_change: KeyChange::Split,
        retry: Retry { connection: Period::from_mins(720), other: Period::from_mins(10) },
        limits: Limits { record_bytes: ByteSize(1 << 20) },
    }
}

const FAULT_KINDS: [FaultKind; 16] = [
    FaultKind::SourceUnreachable,
    FaultKind::SourceBusy,
    FaultKind::SourceDenied,
    FaultKind::SourceState,
    FaultKind::SourceHistory,
    FaultKind::Decode,
    FaultKind::Encode,
    FaultKind::TargetUnreachable,
    FaultKind::TargetBusy,
    FaultKind::TargetDenied,
    FaultKind::TargetState,
    FaultKind::TargetHistory,
    FaultKind::Fenced,
    FaultKind::Coordination,
    FaultKind::Configuration,
    FaultKind::Internal,
];

pub(super) fn fault() -> impl Strategy<Value = Fault> {
    (prop::sample::select(FAULT_KINDS.as_slice()), word(), word(), ".{0,9}")
        .prop_map(|(kind, object, message, remedy)| Fault { kind, object, message, remedy })
}

pub(super) fn precheck() -> impl Strategy<Value = PrecheckReport> {
    let result =
        prop_oneof![Just(CheckResult::Pass), Just(CheckResult::Warn), Just(CheckResult::Fail)];
    let item = (word(), result, ".{0,9}", ".{0,9}", ".{0,9}").prop_map(
        |(name, result, found, message, remedy)| CheckItem { name, result, found, message, remedy },
    );
    (any::<i64>(), vec(item, 0..5)).prop_map(|(at_ms, items)| PrecheckReport { at_ms, items })
}

prop_compose! {
    fn inside()(final_lsn in any::<u64>(), xid in any::<u32>(), sequence in 1..u64::MAX)
        -> InTransaction {
        InTransaction { final_lsn: Lsn(final_lsn), xid, sequence }
    }
}

prop_compose! {
    pub(super) fn position()(
        (system_id, timeline, lsn) in any::<(u64, u32, u64)>(),
        inside in option::of(inside()),
        (incarnation, fingerprint, next_ordinal) in any::<(u32, u64, u64)>(),
    ) -> PgPosition {
        PgPosition {
            system_id, timeline, lsn: Lsn(lsn), inside, incarnation, fingerprint, next_ordinal,
        }
    }
}

prop_compose! {
    pub(super) fn hint()(
        topic_id in any::<(i64, i64)>(),
        partition in any::<u32>(),
        offset in 0..i64::MAX,
        serial in 1..u64::MAX,
    ) -> PositionHint {
        PositionHint { topic_id, partition, offset, serial }
    }
}

prop_compose! {
    fn retry_window()(since_ms in 1..i64::MAX, (until_ms, next_attempt_ms) in any::<(i64, i64)>())
        -> RetryWindow {
        RetryWindow { since_ms, until_ms, next_attempt_ms }
    }
}

prop_compose! {
    fn counters()(
        (records, bytes, insert, update) in any::<(u64, u64, u64, u64)>(),
        (delete, truncate, transactions, filtered) in any::<(u64, u64, u64, u64)>(),
    ) -> Counters {
        Counters { records, bytes, insert, update, delete, truncate, transactions, filtered }
    }
}

prop_compose! {
    pub(super) fn report()(
        (task, index, epoch) in ("[a-z0-9]{1,12}", any::<u32>(), 1..u64::MAX),
        phase in prop_oneof![
            Just(ShardPhase::Initializing),
            Just(ShardPhase::Synchronizing),
            Just(ShardPhase::Retrying),
            Just(ShardPhase::Failed),
        ],
        fault in option::of(fault()),
        retry in option::of(retry_window()),
        (source, durable, confirmed) in any::<(u64, u64, u64)>(),
        position in option::of(hint()),
        (caught_up, delay_ms, restarts) in any::<(bool, u64, u32)>(),
        counters in counters(),
        records_per_second in 0.0..1e12_f64,
        (wal_retained_bytes, predicted_failover_ms) in any::<(u64, u64)>(),
    ) -> ShardReport {
        ShardReport {
            shard: ShardId { task: task.parse().expect("a task id"), index },
            epoch: Epoch(epoch),
            phase, fault, retry,
            source_lsn: Lsn(source),
            durable_lsn: Lsn(durable),
            confirmed_lsn: Lsn(confirmed),
            position, caught_up, delay_ms, counters, records_per_second,
            wal_retained_bytes, predicted_failover_ms, restarts,
        }
    }
}
