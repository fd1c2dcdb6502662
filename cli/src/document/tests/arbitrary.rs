//! A strategy for tasks that a document can describe.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use tidewire_shared::alert::{AlertRule, When};
use tidewire_shared::spec::{
    AtLimit, BadRecord, BinaryMode, ColumnChoice, Compression, CreateTopics, DebeziumOptions,
    DecimalMode, Delivery, ExistingData, Flavor, Format, FormatKind, Heartbeat, HeartbeatMode,
    HstoreMode, IntervalMode, KafkaSecurity, KafkaSource, KafkaStart, KafkaTarget, KafkaTask,
    KeyChange, Limits, Managed, NamePattern, ObjectRule, Operations, PartitionPolicy,
    PostgresSource, PostgresTask, RecordKey, Rename, Retry, Sasl, SaslMechanism, SecurityProtocol,
    Shards, SlotFailover, StartAt, StartOffset, SyncConfigs, TableName, TablePattern, TimeMode,
    TimestampUnit, Tls, TlsMode, TopicChange, TopicRule, WalBudget,
};
use tidewire_shared::{ByteSize, Lsn, Period, Phase, SecretRef, TaskSpec};

/// Texts that YAML likes to misread stand beside plain ones.
pub(super) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,9}",
        "[ -~äπ\u{1F30A}]{1,14}",
        prop::sample::select(vec![
            "off",
            "null",
            "~",
            "1",
            "1e3",
            "0x1f",
            "true",
            "- a",
            "a: b",
            "#",
            "'",
            "\"",
            ".inf",
            "1:30",
            "=",
            "<<",
            "!!str a",
            " a ",
            "{a",
            "*a",
            "&a",
            "@",
            "%",
            "`",
            "|",
            ">",
            "2026-01-01"
        ])
        .prop_map(str::to_owned),
    ]
}

fn secret() -> impl Strategy<Value = SecretRef> {
    prop_oneof![
        text().prop_map(SecretRef::Env),
        text().prop_map(SecretRef::File),
        "[ -~\n\täπ\u{1F30A}]{0,12}".prop_map(SecretRef::Value),
    ]
}

fn tls() -> impl Strategy<Value = Tls> {
    let pair = || option::of((secret(), secret()));
    let verified = (
        prop_oneof![Just(TlsMode::Require), Just(TlsMode::VerifyCa), Just(TlsMode::VerifyFull)],
        option::of(secret()),
        pair(),
    );
    let unverified = (Just(TlsMode::Prefer), Just(None), pair());
    let none = (Just(TlsMode::Disable), Just(None), Just(None));
    prop_oneof![verified, unverified, none].prop_map(|(mode, ca, pair)| {
        let (cert, key) = pair.unzip();
        Tls { mode, ca, cert, key }
    })
}

fn addresses() -> impl Strategy<Value = Vec<String>> {
    let host = prop_oneof!["[a-z0-9.-]{1,9}", "\\[[0-9a-f:]{2,9}\\]"];
    vec((host, 1..u16::MAX).prop_map(|(host, port)| format!("{host}:{port}")), 1..3)
}

prop_compose! {
    pub(super) fn source()(
        hosts in addresses(),
        (database, user) in (text(), text()),
        password in option::of(secret()),
        tls in tls(),
        slot in option::of("[a-z0-9_]{1,20}"),
        publication in option::of(text()),
        (mode, table) in beats(),
        interval in 1..3600_u64,
        flavor in prop::sample::select(vec![Flavor::Auto, Flavor::Postgresql, Flavor::Polardb]),
        slot_failover in prop::sample::select(
            vec![SlotFailover::Auto, SlotFailover::On, SlotFailover::Off]
        ),
        wal_budget in wal_budget(),
    ) -> PostgresSource {
        let managed = |name: Option<String>| name.map_or(Managed::Managed, Managed::Existing);
        PostgresSource {
            connection: None,
            hosts, database, user, password, tls,
            slot: managed(slot),
            publication: managed(publication),
            heartbeat: Heartbeat { mode, interval: Period::from_secs(interval), table },
            flavor, slot_failover, wal_budget,
        }
    }
}

/// A heartbeat's mode, and the table that only one of them may name.
fn beats() -> impl Strategy<Value = (HeartbeatMode, Option<TableName>)> {
    let table = option::of(("[a-z]{1,9}", "[a-z]{1,9}"))
        .prop_map(|name| name.map(|(schema, table)| TableName { schema, table }));
    let others = vec![HeartbeatMode::Auto, HeartbeatMode::Message, HeartbeatMode::Off];
    prop_oneof![
        prop::sample::select(others).prop_map(|mode| (mode, None)),
        table.prop_map(|table| (HeartbeatMode::Table, table)),
    ]
}

fn wal_budget() -> impl Strategy<Value = WalBudget> {
    let at_limit = prop::sample::select(vec![AtLimit::Alert, AtLimit::DropSlot]);
    (0..1_u64 << 50, 0..1_u64 << 50, at_limit).prop_map(|(warn, above, at_limit)| WalBudget {
        warn: ByteSize(warn),
        limit: ByteSize(warn + above),
        at_limit,
    })
}

pub(super) fn target() -> impl Strategy<Value = KafkaTarget> {
    let compression = prop_oneof![
        Just(Compression::None),
        Just(Compression::Gzip),
        Just(Compression::Snappy),
        Just(Compression::Lz4),
        Just(Compression::Zstd),
    ];
    let name = prop::sample::select(vec!["linger.ms", "client.id", "batch.size"]);
    let properties = btree_map(name.prop_map(str::to_owned), text(), 0..3);
    let create_topics =
        option::of((1..=10_000_u32, 1..=100_u16).prop_map(|(partitions, replication_factor)| {
            CreateTopics { partitions, replication_factor }
        }));
    let on_topic_change = prop_oneof![
        Just(TopicChange::Stop),
        Just(TopicChange::AcceptGrowth),
        Just(TopicChange::Accept),
    ];
    (addresses(), security(), compression, properties, create_topics, on_topic_change).prop_map(
        |(brokers, security, compression, properties, create_topics, on_topic_change)| {
            KafkaTarget {
                connection: None,
                brokers,
                security,
                compression,
                properties,
                create_topics,
                on_topic_change,
            }
        },
    )
}

fn security() -> impl Strategy<Value = KafkaSecurity> {
    let mechanism = prop_oneof![
        Just(SaslMechanism::Plain),
        Just(SaslMechanism::ScramSha256),
        Just(SaslMechanism::ScramSha512),
    ];
    let sasl = (mechanism, text(), secret()).prop_map(|(mechanism, user, password)| Sasl {
        mechanism,
        user,
        password,
    });
    let encryption = (option::of(secret()), option::of((secret(), secret())));
    (option::of(sasl), option::of(encryption)).prop_map(|(sasl, encryption)| {
        let protocol = match (&sasl, &encryption) {
            (None, None) => SecurityProtocol::Plaintext,
            (None, Some(_)) => SecurityProtocol::Ssl,
            (Some(_), None) => SecurityProtocol::SaslPlaintext,
            (Some(_), Some(_)) => SecurityProtocol::SaslSsl,
        };
        let (ca, pair) = encryption.unwrap_or_default();
        let (cert, key) = pair.unzip();
        KafkaSecurity { protocol, sasl, ca, cert, key }
    })
}

fn identifier() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_][a-z0-9_$]{0,9}", "[ -~äπ]{1,14}"]
}

fn table() -> impl Strategy<Value = TableName> {
    (identifier(), identifier()).prop_map(|(schema, table)| TableName { schema, table })
}

fn pattern() -> impl Strategy<Value = TablePattern> {
    let glob = "[a-z_]{0,5}[*?][a-z0-9_*?]{0,5}".prop_map(NamePattern::Glob);
    let exact = || identifier().prop_map(NamePattern::Exact);
    (prop_oneof![exact(), glob.clone()], glob)
        .prop_map(|(schema, table)| TablePattern { schema, table })
}

prop_compose! {
    fn rename()(
        (database, schema, table) in (option::of(text()), option::of(text()), option::of(text())),
        from in btree_set("[a-z]{1,9}", 2),
        to in btree_set(text(), 2),
        count in 0..3_usize,
    ) -> Rename {
        let columns = from.into_iter().zip(to).take(count).collect();
        Rename { database, schema, table, columns }
    }
}

/// Columns out of reach of those that `partitionBy` draws.
fn column_choice() -> impl Strategy<Value = ColumnChoice> {
    let exclude = btree_set("Excluded [a-z]{1,9}", 0..3);
    exclude.prop_map(|names| ColumnChoice {
        exclude: names.into_iter().collect(),
        ..ColumnChoice::default()
    })
}

fn operations() -> impl Strategy<Value = Operations> {
    any::<[bool; 3]>().prop_map(|[insert, update, truncate]| Operations {
        insert,
        update,
        delete: true,
        truncate,
    })
}

prop_compose! {
    fn rule(topic: &'static str)(
        topic in topic,
        patterns in vec(pattern(), 0..3),
        exclude in vec(prop_oneof![pattern(), table().prop_map(|name| TablePattern {
            schema: NamePattern::Exact(name.schema),
            table: NamePattern::Exact(name.table),
        })], 0..3),
        rename in rename(),
        columns in column_choice(),
        filter in prop::sample::select(vec![
            "", "amount > 10", "note IS NOT NULL AND \"Mixed \"\"q\" <> 'it''s'", "NOT flag",
        ]),
        operations in operations(),
    ) -> ObjectRule {
        let filter = filter.to_owned();
        ObjectRule {
            topic, patterns, exclude, rename, columns, filter, operations, ..ObjectRule::default()
        }
    }
}

fn objects(policy: PartitionPolicy) -> impl Strategy<Value = Vec<ObjectRule>> {
    let columns = if policy == PartitionPolicy::ByPrimaryKey { 0..3 } else { 0..1 };
    let plain = rule("[a-zA-Z0-9][a-zA-Z0-9._-]{0,12}");
    let template = rule("([a-z.-]{0,3}\\{(database|schema|table)\\}){1,3}");
    (btree_set(table(), 2..4), plain, template, btree_set(identifier(), columns)).prop_map(
        |(tables, first, second, columns)| {
            let mut tables = tables.into_iter();
            let alone = tables.next().into_iter().collect();
            let partition_by: Vec<_> = columns.into_iter().collect();
            let second = ObjectRule {
                columns: ColumnChoice { include: partition_by.clone(), ..ColumnChoice::default() },
                ..second
            };
            vec![
                ObjectRule { tables: alone, partition_by: partition_by.clone(), ..first },
                ObjectRule { tables: tables.collect(), partition_by, ..second },
            ]
        },
    )
}

fn format() -> impl Strategy<Value = Format> {
    let unit = prop_oneof![Just(TimestampUnit::Milliseconds), Just(TimestampUnit::Seconds)];
    let kind = prop_oneof![
        unit.prop_map(|unit| (FormatKind::DtsAvro, unit)),
        Just((FormatKind::ShareplexJson, TimestampUnit::Milliseconds)),
        Just((FormatKind::CanalJson, TimestampUnit::Milliseconds)),
        Just((FormatKind::DebeziumJson, TimestampUnit::Milliseconds)),
    ];
    let key = prop_oneof![Just(RecordKey::Json), Just(RecordKey::None)];
    (kind, key, any::<bool>(), debezium()).prop_map(
        |((kind, unit), key, identity_headers, debezium)| Format {
            kind,
            key,
            identity_headers,
            source_timestamp_unit: unit,
            debezium: if kind == FormatKind::DebeziumJson {
                debezium
            } else {
                DebeziumOptions::default()
            },
        },
    )
}

fn debezium() -> impl Strategy<Value = DebeziumOptions> {
    fn word<T: Copy + std::fmt::Debug + 'static>(
        words: &'static [(&'static str, T)],
    ) -> impl Strategy<Value = T> {
        prop::sample::select(words).prop_map(|(_, value)| value)
    }
    let words = (
        word(DecimalMode::WORDS),
        word(TimeMode::WORDS),
        word(IntervalMode::WORDS),
        word(BinaryMode::WORDS),
        word(HstoreMode::WORDS),
    );
    let truths = (any::<bool>(), any::<bool>(), any::<bool>());
    (words, truths, option::of(text())).prop_map(|(words, truths, topic_prefix)| {
        let (decimal, time, interval, binary, hstore) = words;
        let (unknown_types, tombstones, schemas) = truths;
        DebeziumOptions {
            decimal,
            time,
            interval,
            binary,
            hstore,
            unknown_types,
            tombstones,
            schemas,
            topic_prefix,
        }
    })
}

fn policy() -> impl Strategy<Value = PartitionPolicy> {
    prop_oneof![
        Just(PartitionPolicy::AllToPartition0),
        Just(PartitionPolicy::ByTable),
        Just(PartitionPolicy::ByPrimaryKey),
        Just(PartitionPolicy::ByRecordKey),
    ]
}

prop_compose! {
    fn limits()(
        record_bytes in 1..=(256_u64 << 20),
        bytes_per_second in prop_oneof![Just(0), any::<u64>()],
        rows_per_second in prop_oneof![Just(0), 0..=i64::MAX.unsigned_abs()],
    ) -> Limits {
        let (record_bytes, bytes_per_second) = (ByteSize(record_bytes), ByteSize(bytes_per_second));
        Limits { record_bytes, bytes_per_second, rows_per_second }
    }
}

/// A prefix keeps the topic apart from those of tables.
fn bad_record() -> impl Strategy<Value = BadRecord> {
    let topic = "dead-letters-of-[a-z]{1,9}";
    prop_oneof![Just(BadRecord::Stop), topic.prop_map(BadRecord::DeadLetter)]
}

/// A source with its account inline, or under a name, then with or without a database of its own.
fn maybe_named_source() -> impl Strategy<Value = PostgresSource> {
    let named = (source(), any::<bool>()).prop_map(|(source, own_database)| PostgresSource {
        connection: Some("shop-db".parse().expect("a name")),
        hosts: Vec::new(),
        database: if own_database { source.database } else { String::new() },
        user: String::new(),
        password: None,
        tls: Tls::default(),
        flavor: Flavor::default(),
        ..source
    });
    prop_oneof![3 => source(), 1 => named]
}

fn maybe_named_target() -> impl Strategy<Value = KafkaTarget> {
    let named = target().prop_map(|target| KafkaTarget {
        connection: Some("bus".parse().expect("a name")),
        brokers: Vec::new(),
        security: KafkaSecurity::default(),
        ..target
    });
    prop_oneof![3 => target(), 1 => named]
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![Just(Delivery::ExactlyOnce), Just(Delivery::AtLeastOnce)]
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
    (10..=1440_u64, 1..=1440_u64).prop_map(|(connection, other)| Retry {
        connection: Period::from_mins(connection),
        other: Period::from_mins(other),
    })
}

fn when() -> impl Strategy<Value = When> {
    let phases = prop::sample::subsequence(Phase::ALL.to_vec(), 0..4);
    let delay = option::of((100..=604_800_000_u64).prop_map(Period));
    let some = |(delay_above, phases): &(Option<Period>, Vec<Phase>)| {
        delay_above.is_some() || !phases.is_empty()
    };
    ((delay, phases).prop_filter("no condition", some), 0..=86_400_000_u64).prop_map(
        |((delay_above, phases), ms)| When {
            delay_above,
            phases,
            wal_above: None,
            lasting: Period(ms),
        },
    )
}

fn alerts() -> impl Strategy<Value = Vec<AlertRule>> {
    let repeat = prop_oneof![Just(0), 300_000..=604_800_000_u64].prop_map(Period);
    let to = btree_set("[a-z0-9]{1,9}", 1..4)
        .prop_map(|names| names.iter().map(|name| name.parse().expect("a channel name")).collect());
    let rest = (when(), to, repeat);
    btree_map("[a-z0-9]{1,9}", rest, 0..3).prop_map(|rules| {
        let rule = |(name, (when, to, repeat)): (String, _)| AlertRule {
            name: name.parse().expect("an alert name"),
            when,
            to,
            repeat,
        };
        rules.into_iter().map(rule).collect()
    })
}

prop_compose! {
    fn postgres_task()(
        name in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
        display_name in prop_oneof![Just(String::new()), text()],
        source in maybe_named_source(),
        target in maybe_named_target(),
        (partition, objects) in policy().prop_flat_map(|policy| (Just(policy), objects(policy))),
        format in format(),
        key_change in prop_oneof![Just(KeyChange::Split), Just(KeyChange::Keep)],
        (retry, limits) in (retry(), limits()),
        (delivery, on_bad_record, alerts) in (delivery(), bad_record(), alerts()),
        lsn in option::of(1..=u64::MAX),
    ) -> PostgresTask {
        let start = match (&source.slot, lsn) {
            (Managed::Existing(_), Some(lsn)) => StartAt::Lsn(Lsn(lsn)),
            _ => StartAt::Now,
        };
        PostgresTask {
            name: name.parse().expect("a task name"),
            display_name, source, target, objects, format, partition, key_change,
            retry,
            limits,
            delivery,
            start,
            on_bad_record,
            alerts,
        }
    }
}

fn topic_name() -> impl Strategy<Value = String> {
    "[a-zA-Z][a-zA-Z0-9._-]{0,12}"
}

fn name_pattern() -> impl Strategy<Value = NamePattern> {
    prop_oneof![
        topic_name().prop_map(NamePattern::Exact),
        "[a-z]{1,4}[*?][a-z]{0,4}".prop_map(NamePattern::Glob),
    ]
}

prop_compose! {
    fn template()(before in "[a-z.]{0,5}", after in "[a-z._-]{0,5}") -> String {
        format!("{before}{{topic}}{after}")
    }
}

fn topic_rule() -> impl Strategy<Value = TopicRule> {
    let patterns = (vec(name_pattern(), 0..3), vec(name_pattern(), 0..3), template());
    let many = patterns.prop_map(|(topics, exclude, rename)| TopicRule { topics, exclude, rename });
    let one = (topic_name(), topic_name()).prop_map(|(topic, rename)| TopicRule {
        topics: Vec::from([NamePattern::Exact(topic)]),
        exclude: Vec::new(),
        rename,
    });
    prop_oneof![many, one]
}

fn kafka_start() -> impl Strategy<Value = KafkaStart> {
    let offsets = btree_map((topic_name(), 0..9_u32), 0..i64::MAX, 1..5).prop_map(|offsets| {
        let start = |((topic, partition), offset)| StartOffset { topic, partition, offset };
        KafkaStart::Offsets(offsets.into_iter().map(start).collect())
    });
    prop_oneof![
        Just(KafkaStart::Earliest),
        Just(KafkaStart::Latest),
        (0..4_000_000_000_000_i64).prop_map(KafkaStart::Timestamp),
        offsets,
    ]
}

prop_compose! {
    fn kafka_task()(
        name in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
        display_name in prop_oneof![Just(String::new()), text()],
        source in maybe_named_target(),
        target in maybe_named_target(),
        compression in prop_oneof![Just(Compression::Keep), Just(Compression::Zstd)],
        start in kafka_start(),
        existing_data in prop_oneof![
            Just(ExistingData::Stop),
            Just(ExistingData::Append),
            Just(ExistingData::Rewrite),
        ],
        topics in vec(topic_rule(), 1..3),
        (enabled, exclude) in (any::<bool>(), vec("[a-z.]{1,9}", 0..3)),
        shards in prop_oneof![Just(Shards::Auto), (1..=Shards::MOST).prop_map(Shards::Count)],
        (retry, limits) in (retry(), limits()),
        (delivery, alerts) in (delivery(), alerts()),
    ) -> KafkaTask {
        let KafkaTarget { connection, brokers, security, mut properties, .. } = source;
        properties.retain(|name, _| KafkaSource::ALLOWED_PROPERTIES.contains(&name.as_str()));
        KafkaTask {
            name: name.parse().expect("a task name"),
            display_name,
            source: KafkaSource { connection, brokers, security, properties },
            target: KafkaTarget {
                compression,
                create_topics: None,
                on_topic_change: TopicChange::Stop,
                ..target
            },
            start, existing_data, topics,
            sync_configs: SyncConfigs { enabled, exclude },
            shards, delivery, retry, limits, alerts,
        }
    }
}
