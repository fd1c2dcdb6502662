//! A strategy for tasks that a document can describe.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use tidewire_shared::spec::{
    BadRecord, Compression, Delivery, Format, FormatKind, Heartbeat, HeartbeatMode, KafkaSecurity,
    KafkaTarget, KeyChange, Limits, Managed, ObjectRule, PartitionPolicy, PostgresSource,
    RecordKey, Retry, Sasl, SaslMechanism, SecurityProtocol, StartAt, TableName, TaskSpec,
    TimestampUnit, Tls, TlsMode,
};
use tidewire_shared::{ByteSize, Period, SecretRef};

/// Texts that YAML likes to misread stand beside plain ones.
fn text() -> impl Strategy<Value = String> {
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
        prop_oneof![Just(TlsMode::VerifyCa), Just(TlsMode::VerifyFull)],
        option::of(secret()),
        pair(),
    );
    let unverified =
        (prop_oneof![Just(TlsMode::Prefer), Just(TlsMode::Require)], Just(None), pair());
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
    fn source()(
        hosts in addresses(),
        (database, user) in (text(), text()),
        password in option::of(secret()),
        tls in tls(),
        slot in option::of("[a-z0-9_]{1,20}"),
        publication in option::of(text()),
        enabled in any::<bool>(),
        interval in 1..3600_u64,
    ) -> PostgresSource {
        let managed = |name: Option<String>| name.map_or(Managed::Managed, Managed::Existing);
        PostgresSource {
            hosts, database, user, password, tls,
            slot: managed(slot),
            publication: managed(publication),
            heartbeat: Heartbeat {
                mode: if enabled { HeartbeatMode::Auto } else { HeartbeatMode::Off },
                interval: Period::from_secs(interval),
                table: None,
            },
            ..PostgresSource::default()
        }
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
    let name = prop::sample::select(vec!["linger.ms", "client.id", "batch.size"]);
    let properties = btree_map(name.prop_map(str::to_owned), text(), 0..3);
    (addresses(), security(), compression, properties).prop_map(
        |(brokers, security, compression, properties)| KafkaTarget {
            brokers,
            security,
            compression,
            properties,
            ..KafkaTarget::default()
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

fn objects(policy: PartitionPolicy) -> impl Strategy<Value = Vec<ObjectRule>> {
    let columns = if policy == PartitionPolicy::ByPrimaryKey { 0..3 } else { 0..1 };
    let table =
        (identifier(), identifier()).prop_map(|(schema, table)| TableName { schema, table });
    let topic = "[a-zA-Z0-9][a-zA-Z0-9._-]{0,12}";
    (btree_set(table, 2..4), topic, btree_set(identifier(), columns)).prop_map(
        |(tables, topic, columns)| {
            let mut tables = tables.into_iter();
            let first = tables.next().into_iter().collect();
            let columns: Vec<_> = columns.into_iter().collect();
            let rule = |tables| ObjectRule {
                tables,
                topic: topic.clone(),
                partition_by: columns.clone(),
                ..ObjectRule::default()
            };
            vec![rule(first), rule(tables.collect())]
        },
    )
}

fn format() -> impl Strategy<Value = Format> {
    let unit = prop_oneof![Just(TimestampUnit::Milliseconds), Just(TimestampUnit::Seconds)];
    let kind = prop_oneof![
        unit.prop_map(|unit| (FormatKind::DtsAvro, unit)),
        Just((FormatKind::ShareplexJson, TimestampUnit::Milliseconds)),
        Just((FormatKind::CanalJson, TimestampUnit::Milliseconds)),
    ];
    let key = prop_oneof![Just(RecordKey::Json), Just(RecordKey::None)];
    (kind, key, any::<bool>()).prop_map(|((kind, unit), key, identity_headers)| Format {
        kind,
        key,
        identity_headers,
        source_timestamp_unit: unit,
        ..Format::default()
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
    pub(super) fn spec()(
        name in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
        display_name in prop_oneof![Just(String::new()), text()],
        source in source(),
        target in target(),
        (partition, objects) in policy().prop_flat_map(|policy| (Just(policy), objects(policy))),
        format in format(),
        key_change in prop_oneof![Just(KeyChange::Split), Just(KeyChange::Keep)],
        (connection, other) in (10..=1440_u64, 1..=1440_u64),
        record_bytes in 1..=(256_u64 << 20),
    ) -> TaskSpec {
        TaskSpec {
            name: name.parse().expect("a task name"),
            display_name, source, target, objects, format, partition, key_change,
            retry: Retry {
                connection: Period::from_mins(connection),
                other: Period::from_mins(other),
            },
            limits: Limits { record_bytes: ByteSize(record_bytes), ..Limits::default() },
            delivery: Delivery::default(),
            start: StartAt::default(),
            on_bad_record: BadRecord::default(),
        }
    }
}
