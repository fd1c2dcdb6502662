//! Strategies for every word that goes over the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use tidewire_shared::alert::When;
use tidewire_shared::channel::{Mail, MailSecurity, Shape, Way, Webhook};
use tidewire_shared::precheck::{CheckItem, CheckResult, PrecheckReport, Waiver, WaiverKind};
use tidewire_shared::spec::{
    AtLimit, BadRecord, BinaryMode, ColumnChoice, Compression, CreateTopics, DebeziumOptions,
    DecimalMode, Delivery, ExistingData, Flavor, Format, FormatKind, Heartbeat, HeartbeatMode,
    HstoreMode, IntervalMode, KafkaSecurity, KafkaSource, KafkaStart, KafkaTarget, KafkaTask,
    KeyChange, Limits, Managed, NamePattern, ObjectRule, Operations, PartitionPolicy,
    PostgresSource, PostgresTask, RecordKey, Rename, Retry, Sasl, SaslMechanism, SecurityProtocol,
    Shards, SlotFailover, StartAt, StartOffset, SyncConfigs, TableName, TablePattern, TaskSpec,
    TimeMode, TimestampUnit, Tls, TlsMode, TopicChange, TopicRule, WalBudget,
};
use tidewire_shared::{
    AlertRule, ByteSize, CatalogRow, Channel, Clearing, Counters, Epoch, Fault, FaultKind,
    InTransaction, KafkaPosition, Lsn, PartitionPosition, PartitionProgress, Period, PgPosition,
    Phase, PositionHint, PublicationMark, RetryWindow, SecretRef, ShardId, ShardPhase, ShardReport,
    TopicPosition,
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

/// One of a few values.
fn one<T: Clone + std::fmt::Debug + 'static>(values: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(values)
}

/// One of the words of an option.
fn option_word<T: Copy + std::fmt::Debug + 'static>(
    words: &'static [(&'static str, T)],
) -> impl Strategy<Value = T> {
    prop::sample::select(words).prop_map(|(_, value)| value)
}

fn table() -> impl Strategy<Value = TableName> {
    (word(), word()).prop_map(|(schema, table)| TableName { schema, table })
}

fn pattern() -> impl Strategy<Value = TablePattern> {
    (name_pattern(), name_pattern()).prop_map(|(schema, table)| TablePattern { schema, table })
}

prop_compose! {
    fn source()(
        hosts in words(),
        (database, user) in (word(), word()),
        password in option::of(secret()),
        tls in tls(),
        flavor in one(&[Flavor::Auto, Flavor::Postgresql, Flavor::Polardb]),
        slot in managed(),
        slot_failover in one(&[SlotFailover::Auto, SlotFailover::On, SlotFailover::Off]),
        publication in managed(),
        mode in one(&[
            HeartbeatMode::Auto,
            HeartbeatMode::Message,
            HeartbeatMode::Table,
            HeartbeatMode::Off,
        ]),
        interval in 1..u64::MAX,
        table in option::of(table()),
        (warn, limit, at_limit) in
            (any::<u64>(), any::<u64>(), one(&[AtLimit::Alert, AtLimit::DropSlot])),
    ) -> PostgresSource {
        PostgresSource {
            connection: None,
            hosts, database, user, password, tls, flavor, slot, slot_failover, publication,
            heartbeat: Heartbeat { mode, interval: Period(interval), table },
            wal_budget: WalBudget { warn: ByteSize(warn), limit: ByteSize(limit), at_limit },
        }
    }
}

prop_compose! {
    fn security()(
        protocol in one(&[
            SecurityProtocol::Plaintext,
            SecurityProtocol::Ssl,
            SecurityProtocol::SaslPlaintext,
            SecurityProtocol::SaslSsl,
        ]),
        mechanism in
            one(&[SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512]),
        login in option::of((word(), secret())),
        (ca, cert, key) in (option::of(secret()), option::of(secret()), option::of(secret())),
    ) -> KafkaSecurity {
        let sasl = login.map(|(user, password)| Sasl { mechanism, user, password });
        KafkaSecurity { protocol, sasl, ca, cert, key }
    }
}

prop_compose! {
    fn target()(
        brokers in words(),
        security in security(),
        compression in one(&[
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
            Compression::Keep,
        ]),
        properties in btree_map(word(), word(), 0..3),
        create_topics in option::of((1..u32::MAX, 1..u16::MAX).prop_map(
            |(partitions, replication_factor)| CreateTopics { partitions, replication_factor }
        )),
        on_topic_change in one(&[TopicChange::Stop, TopicChange::AcceptGrowth, TopicChange::Accept]),
    ) -> KafkaTarget {
        KafkaTarget {
            connection: None,
            brokers,
            security,
            compression,
            properties,
            create_topics,
            on_topic_change,
        }
    }
}

prop_compose! {
    fn rule()(
        tables in vec(table(), 1..3),
        (patterns, exclude) in (vec(pattern(), 0..3), vec(pattern(), 0..3)),
        (topic, filter) in (word(), ".{0,9}"),
        (database, schema, table) in (option::of(word()), option::of(word()), option::of(word())),
        renamed in btree_map(word(), word(), 0..3),
        (include, exclude_columns) in (vec(word(), 0..3), vec(word(), 0..3)),
        (update, delete, truncate) in any::<(bool, bool, bool)>(),
        partition_by in vec(word(), 0..3),
    ) -> ObjectRule {
        ObjectRule {
            tables, patterns, exclude, topic, filter, partition_by,
            rename: Rename { database, schema, table, columns: renamed },
            columns: ColumnChoice { include, exclude: exclude_columns },
            operations: Operations { insert: true, update, delete, truncate },
        }
    }
}

prop_compose! {
    fn debezium()(
        decimal in option_word(DecimalMode::WORDS),
        time in option_word(TimeMode::WORDS),
        interval in option_word(IntervalMode::WORDS),
        binary in option_word(BinaryMode::WORDS),
        hstore in option_word(HstoreMode::WORDS),
        (unknown_types, tombstones, schemas) in any::<(bool, bool, bool)>(),
        topic_prefix in option::of(word()),
    ) -> DebeziumOptions {
        DebeziumOptions {
            decimal, time, interval, binary, hstore, unknown_types, tombstones, schemas,
            topic_prefix,
        }
    }
}

prop_compose! {
    fn format()(
        kind in one(&[
            FormatKind::DtsAvro,
            FormatKind::ShareplexJson,
            FormatKind::CanalJson,
            FormatKind::DebeziumJson,
        ]),
        key in one(&[RecordKey::Json, RecordKey::None]),
        identity_headers in any::<bool>(),
        source_timestamp_unit in one(&[TimestampUnit::Milliseconds, TimestampUnit::Seconds]),
        debezium in debezium(),
    ) -> Format {
        Format { kind, key, identity_headers, source_timestamp_unit, debezium }
    }
}

/// A task of either kind.
pub(super) fn spec() -> impl Strategy<Value = TaskSpec> {
    prop_oneof![
        // Boxed: a tree of both kinds is too large for the stack of a test.
        postgres_task().prop_map(TaskSpec::PostgresToKafka).boxed(),
        kafka_task().prop_map(TaskSpec::KafkaToKafka).boxed(),
    ]
}

fn retry() -> impl Strategy<Value = Retry> {
    (600_000..=86_400_000_u64, 60_000..=86_400_000_u64).prop_map(|(connection, other)| Retry {
        connection: Period(connection),
        other: Period(other),
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    (1..=256_u64 << 20, any::<u64>(), any::<u64>()).prop_map(|(record, bytes, rows)| Limits {
        record_bytes: ByteSize(record),
        bytes_per_second: ByteSize(bytes),
        rows_per_second: rows,
    })
}

fn alerts() -> impl Strategy<Value = Vec<AlertRule>> {
    let delay = (100..=604_800_000_u64).prop_map(Period);
    let phases = prop::sample::subsequence(Phase::ALL.to_vec(), 0..4);
    let when = (option::of(delay), phases, 0..=86_400_000_u64)
        .prop_map(|(delay_above, phases, ms)| {
            let wal_above = delay_above.map(|delay| ByteSize(delay.0));
            When { delay_above, phases, wal_above, lasting: Period(ms) }
        })
        .prop_filter("no condition", |it| it.delay_above.is_some() || !it.phases.is_empty());
    let to = vec("[a-z0-9]{1,9}", 1..4)
        .prop_map(|names| names.iter().map(|name| name.parse().expect("a channel name")).collect());
    let repeat = prop_oneof![Just(0), 300_000..=604_800_000_u64].prop_map(Period);
    btree_map("[a-z0-9]{1,9}", (when, to, repeat), 0..3).prop_map(|rules| {
        let rule = |(name, (when, to, repeat)): (String, _)| AlertRule {
            name: name.parse().expect("an alert name"),
            when,
            to,
            repeat,
        };
        rules.into_iter().map(rule).collect()
    })
}

pub(super) fn channel() -> impl Strategy<Value = Channel> {
    let url = prop_oneof![
        word().prop_map(SecretRef::Env),
        word().prop_map(SecretRef::File),
        "https://[a-z]{1,9}(:[1-9][0-9]{0,3})?/[a-z?=/]{0,9}".prop_map(SecretRef::Value),
        Just(SecretRef::Value("***".to_owned())),
    ];
    let shape = one(&[Shape::Plain, Shape::Slack, Shape::DingTalk, Shape::Feishu, Shape::WeCom]);
    let hook = (url, shape, option::of(secret()), option::of(secret())).prop_map(
        |(url, shape, sign, ca)| {
            let sign = sign.filter(|_| shape.signs());
            Way::Webhook(Webhook { url, shape, sign, ca })
        },
    );
    let security = one(&[MailSecurity::StartTls, MailSecurity::Tls, MailSecurity::None]);
    let login = option::of((word(), secret()));
    let mail = (word(), security, login, word(), words(), option::of(secret())).prop_map(
        |(server, security, login, from, to, ca)| {
            let (user, password) = login.unzip();
            let user = user.unwrap_or_default();
            Way::Mail(Mail { server, security, user, password, from, to, ca })
        },
    );
    (prop_oneof![hook, mail], ".{0,20}").prop_map(|(way, display_name)| Channel {
        name: "ops".parse().expect("a channel name"),
        display_name,
        way,
    })
}

prop_compose! {
    fn postgres_task()(
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
        delivery in one(&[Delivery::ExactlyOnce, Delivery::AtLeastOnce]),
        start in prop_oneof![Just(StartAt::Now), (1..u64::MAX).prop_map(|at| StartAt::Lsn(Lsn(at)))],
        on_bad_record in
            prop_oneof![Just(BadRecord::Stop), word().prop_map(BadRecord::DeadLetter)],
        (retry, limits, alerts) in (retry(), limits(), alerts()),
    ) -> PostgresTask {
        PostgresTask {
            name: name.parse().expect("a task name"),
            display_name, source, target, objects, format, partition, key_change, delivery, start,
            on_bad_record, retry, limits, alerts,
        }
    }
}

fn name_pattern() -> impl Strategy<Value = NamePattern> {
    prop_oneof![word().prop_map(NamePattern::Exact), word().prop_map(NamePattern::Glob)]
}

prop_compose! {
    fn kafka_source()(
        brokers in words(),
        security in security(),
        properties in btree_map(word(), word(), 0..3),
        connection in option::of("[a-z]{1,9}"),
    ) -> KafkaSource {
        let Some(name) = connection else {
            return KafkaSource { connection: None, brokers, security, properties };
        };
        let connection = Some(name.parse().expect("a name"));
        KafkaSource { connection, properties, ..KafkaSource::default() }
    }
}

fn kafka_start() -> impl Strategy<Value = KafkaStart> {
    let offset = (word(), any::<u32>(), 0..i64::MAX);
    let offset =
        offset.prop_map(|(topic, partition, offset)| StartOffset { topic, partition, offset });
    prop_oneof![
        Just(KafkaStart::Earliest),
        Just(KafkaStart::Latest),
        any::<i64>().prop_map(KafkaStart::Timestamp),
        vec(offset, 0..4).prop_map(KafkaStart::Offsets),
    ]
}

prop_compose! {
    fn topic_rule()(
        topics in vec(name_pattern(), 0..3),
        exclude in vec(name_pattern(), 0..3),
        rename in word(),
    ) -> TopicRule {
        TopicRule { topics, exclude, rename }
    }
}

prop_compose! {
    fn kafka_task()(
        name in "[a-z0-9]{1,30}",
        display_name in ".{0,20}",
        source in kafka_source(),
        target in target(),
        start in kafka_start(),
        existing_data in
            one(&[ExistingData::Stop, ExistingData::Append, ExistingData::Rewrite]),
        topics in vec(topic_rule(), 1..3),
        (enabled, exclude) in (any::<bool>(), vec(word(), 0..3)),
        shards in
            prop_oneof![Just(Shards::Auto), (1..=Shards::MOST).prop_map(Shards::Count)],
        delivery in one(&[Delivery::ExactlyOnce, Delivery::AtLeastOnce]),
        (retry, limits, alerts) in (retry(), limits(), alerts()),
    ) -> KafkaTask {
        KafkaTask {
            name: name.parse().expect("a task name"),
            display_name, source, target, start, existing_data, topics,
            sync_configs: SyncConfigs { enabled, exclude },
            shards, delivery, retry, limits, alerts,
        }
    }
}

pub(super) fn plain_spec() -> PostgresTask {
    PostgresTask {
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
            ..PostgresSource::default()
        },
        target: KafkaTarget {
            brokers: vec!["k1:9092".into()],
            compression: Compression::Lz4,
            ..KafkaTarget::default()
        },
        objects: vec![ObjectRule {
            tables: vec![TableName { schema: "public".into(), table: "orders".into() }],
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

const FAULT_KINDS: [FaultKind; 18] = [
    FaultKind::SourceUnreachable,
    FaultKind::SourceBusy,
    FaultKind::SourceDenied,
    FaultKind::SourceLogin,
    FaultKind::TargetLogin,
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
    let kind = prop_oneof![Just(WaiverKind::Ignored), Just(WaiverKind::Overridden)];
    let waiver =
        (kind, ".{0,9}", any::<i64>()).prop_map(|(kind, by, at_ms)| Waiver { kind, by, at_ms });
    let said = (".{0,9}", ".{0,9}", ".{0,9}");
    let item = (word(), result, said, any::<bool>(), option::of(waiver)).prop_map(
        |(name, result, (found, message, remedy), overridable, waiver)| CheckItem {
            name,
            result,
            found,
            message,
            remedy,
            overridable,
            waiver,
        },
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
        publications in vec(publication_mark(), 0..3),
    ) -> PgPosition {
        PgPosition {
            system_id, timeline, lsn: Lsn(lsn), inside, incarnation, fingerprint, next_ordinal,
            publications: Arc::new(publications),
        }
    }
}

fn catalog_rows() -> impl Strategy<Value = BTreeMap<u32, CatalogRow>> {
    let row = any::<(u32, u32, u32)>().prop_map(|(name, oid, xmin)| CatalogRow { name, oid, xmin });
    btree_map(any::<u32>(), row, 0..4)
}

prop_compose! {
    fn publication_mark()(
        (oid, xmin) in any::<(u32, u32)>(),
        tables in catalog_rows(),
        schemas in catalog_rows(),
    ) -> PublicationMark {
        PublicationMark { oid, xmin, tables, schemas }
    }
}

prop_compose! {
    fn topic_position()(
        id in any::<(i64, i64)>(),
        target in option::of(word()),
        partitions in btree_map(
            any::<u32>(),
            (0..i64::MAX, option::of(0..i32::MAX)).prop_map(|(next, leader_epoch)| {
                PartitionPosition { next, leader_epoch }
            }),
            0..4,
        ),
    ) -> TopicPosition {
        TopicPosition { id, target, partitions }
    }
}

prop_compose! {
    pub(super) fn kafka_position()(
        topics in btree_map(word(), topic_position(), 0..3),
        clearing in vec((word(), any::<u32>(), 0..i64::MAX), 0..3),
    ) -> KafkaPosition {
        let clearing = clearing
            .into_iter()
            .map(|(topic, partition, before)| Clearing { topic, partition, before });
        KafkaPosition { topics, clearing: clearing.collect() }
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
        (dead_letters, restamped) in any::<(u64, u64)>(),
    ) -> Counters {
        Counters {
            records,
            bytes,
            insert,
            update,
            delete,
            truncate,
            transactions,
            filtered,
            dead_letters,
            restamped,
        }
    }
}

prop_compose! {
    fn partition_progress()(
        topic in word(),
        partition in any::<u32>(),
        (source, durable) in any::<(i64, i64)>(),
    ) -> PartitionProgress {
        PartitionProgress { topic, partition, source, durable }
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
        (position, record) in (option::of(hint()), any::<Vec<u8>>()),
        (caught_up, delay_ms, restarts) in any::<(bool, u64, u32)>(),
        counters in counters(),
        records_per_second in 0.0..1e12_f64,
        (wal_retained_bytes, predicted_failover_ms) in any::<(u64, u64)>(),
        partitions in vec(partition_progress(), 0..3),
    ) -> ShardReport {
        ShardReport {
            shard: ShardId { task: task.parse().expect("a task id"), index },
            epoch: Epoch(epoch),
            phase, fault, retry,
            source_lsn: Lsn(source),
            durable_lsn: Lsn(durable),
            confirmed_lsn: Lsn(confirmed),
            position, record, caught_up, delay_ms, counters, records_per_second,
            wal_retained_bytes, predicted_failover_ms, restarts, partitions,
        }
    }
}
